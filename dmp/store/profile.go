package store

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// rule is one line of a profile. A path is dotted from the resource; a segment
// that ends with [] is a list. min and max count the values under each parent
// that is there; many stands for no upper bound.
type rule struct {
	path     string
	min, max int
	check    func(resource, value *fhir.Node) (code string) // of each value; nil means none
}

// many stands for no upper bound of the profile. There is one all the same: some
// rules look for each value of a list among all of another.
const many = 500

// documentRules are the profile pdsm-comprehensive-document-reference.
var documentRules = []rule{
	{"meta.profile[]", 1, many, nil},
	{"contained[]", 1, many, containedResource},
	{"modifierExtension[]", 0, 0, nil},
	{"docStatus", 0, 0, nil},
	{"masterIdentifier", 1, 1, nil},
	{"masterIdentifier.use", 1, 1, fixed("usual")},
	{"masterIdentifier.system", 1, 1, fixed(fhir.SystemURN)},
	{"masterIdentifier.value", 1, 1, oidURN},
	{"identifier[]", 0, many, entryUUID},
	{"status", 1, 1, fixed("current")},
	{"type", 1, 1, documentType},
	{"category[]", 1, 1, documentClass},
	{"subject", 1, 1, nil},
	{"date", 1, 1, fullInstant},
	{"author[]", 1, many, contained("Practitioner", "PractitionerRole", "Device", "Patient")},
	{"authenticator", 0, 1, contained("Practitioner", "PractitionerRole", "Organization")},
	{"custodian", 1, 1, anyReference},
	{"relatesTo[]", 0, 1, nil},
	{"relatesTo[].code", 1, 1, fixed("replaces")},
	{"relatesTo[].target", 1, 1, anyReference},
	{"description", 0, 1, text},
	{"securityLabel[]", 1, 4, securityLabel},
	{"content[]", 1, 1, nil},
	{"content[].attachment", 1, 1, nil},
	{"content[].attachment.contentType", 1, 1, shortText},
	{"content[].attachment.language", 1, 1, text},
	{"content[].attachment.data", 0, 0, nil},
	{"content[].attachment.url", 1, 1, text},
	{"content[].attachment.size", 1, 1, positive},
	{"content[].attachment.hash", 1, 1, sha1Base64},
	{"content[].attachment.title", 1, 1, text},
	{"content[].attachment.creation", 1, 1, dateTime},
	{"content[].format", 1, 1, nil},
	{"content[].format.system", 1, 1, text},
	{"content[].format.code", 1, 1, text},
	{"context", 1, 1, nil},
	{"context.period", 1, 1, nil},
	{"context.period.start", 1, 1, dateTime},
	{"context.period.end", 0, 1, dateTime},
	{"context.facilityType", 1, 1, coded},
	{"context.practiceSetting", 1, 1, coded},
	{"context.event[]", 0, many, coded},
	{"context.sourcePatientInfo", 1, 1, contained("Patient")},
}

// listRules are the profile pdsm-submissionset-comprehensive.
var listRules = []rule{
	{"meta.profile[]", 1, many, nil},
	{"contained[]", 1, many, containedResource},
	{"extension[]", 2, many, nil},
	{"identifier[]", 1, many, lotIdentifier},
	{"status", 1, 1, fixed("current")},
	{"mode", 1, 1, fixed("working")},
	{"code", 1, 1, submissionSet},
	{"subject", 1, 1, nil},
	{"encounter", 0, 0, nil},
	{"date", 1, 1, dateTime},
	{"source", 1, 1, contained("PractitionerRole", "Device", "Patient")},
	{"orderedBy", 0, 0, nil},
	{"emptyReason", 0, 0, nil},
	{"entry[]", 1, many, nil},
	{"entry[].flag", 0, 0, nil},
	{"entry[].deleted", 0, 0, nil},
	{"entry[].date", 0, 0, nil},
	{"entry[].item", 1, 1, anyReference},
}

// patchRules are the profile IHE.MHD.Patch.Parameters: everything in it is fixed.
var patchRules = []rule{
	{"parameter[]", 1, 1, nil},
	{"parameter[].name", 1, 1, fixed("operation")},
	{"parameter[].part[]", 3, 3, patchPart},
}

// apply judges a resource by rules; where is the place of the resource.
func apply(rules []rule, resource *fhir.Node, where string, out *refusals) {
	for _, r := range rules {
		r.walk(resource, resource, strings.Split(r.path, "."), where, out)
	}
}

func (r rule) walk(resource, parent *fhir.Node, path []string, where string, out *refusals) {
	name, list := strings.CutSuffix(path[0], "[]")
	where += "." + name
	child := parent.Get(name)
	last := len(path) == 1
	switch {
	case child == nil:
		if last && r.min > 0 {
			out.add(FaultRequired, where)
		}
		return
	case last && r.max == 0:
		out.add(FaultNotAllowed, where)
		return
	case child.Is(fhir.Array) != list, list && len(child.Items()) == 0:
		if last { // once for each element, not once for each rule below it
			out.add(FaultCardinality, where)
		}
		return
	}
	values := []*fhir.Node{child}
	if list {
		values = child.Items()
	}
	if last && len(values) < r.min {
		out.add(FaultRequired, where)
	}
	if last && len(values) > r.max {
		out.add(FaultCardinality, where)
		return
	}
	for i, v := range values {
		at := where
		if list {
			at = fmt.Sprintf("%s[%d]", where, i)
		}
		if !last {
			r.walk(resource, v, path[1:], at, out)
			continue
		}
		if r.check != nil {
			if code := r.check(resource, v); code != "" {
				out.add(code, at)
			}
		}
	}
}

// bad is code unless ok.
func bad(ok bool, code string) string {
	if ok {
		return ""
	}
	return code
}

func fixed(want string) func(_, v *fhir.Node) string {
	return func(_, v *fhir.Node) string { return bad(v.Text() == want, FaultValue) }
}

func text(_, v *fhir.Node) string { return bad(strings.TrimSpace(v.Text()) != "", FaultValue) }

// shortText is what comes back in a header.
func shortText(_, v *fhir.Node) string {
	return bad(strings.TrimSpace(v.Text()) != "" && len(v.Text()) <= 200, FaultValue)
}

func oidURN(_, v *fhir.Node) string { return bad(isOIDURN(v.Text()), FaultValue) }

func isOIDURN(s string) bool {
	oid, ok := strings.CutPrefix(s, fhir.OIDPrefix)
	if !ok || len(oid) > 64 {
		return false
	}
	arcs := strings.Split(oid, ".")
	for _, arc := range arcs {
		if arc == "" || len(arc) > 1 && arc[0] == '0' || strings.Trim(arc, "0123456789") != "" {
			return false
		}
	}
	return len(arcs) > 1 && arcs[0] <= "2" && len(arcs[0]) == 1
}

// entryUUID judges the slice of identifiers whose use is official.
func entryUUID(_, v *fhir.Node) string {
	if v.Get("use").Text() != "official" {
		return ""
	}
	return bad(v.Get("system").Text() == fhir.SystemURN && isUUIDURN(v.Get("value").Text()), FaultValue)
}

func isUUIDURN(s string) bool {
	u, ok := strings.CutPrefix(s, "urn:uuid:")
	if !ok || len(u) != 36 {
		return false
	}
	for i, r := range u {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (r == '-') || !hyphen && !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return false
		}
	}
	return true
}

func lotIdentifier(resource, v *fhir.Node) string {
	if v.Get("use").Text() == "usual" {
		return bad(v.Get("system").Text() == fhir.SystemURN && isOIDURN(v.Get("value").Text()), FaultValue)
	}
	return entryUUID(resource, v)
}

// codings are the codings of a CodeableConcept that have a system and a code.
func codings(v *fhir.Node) (out [][2]string) {
	for _, c := range v.Get("coding").Items() {
		if system, code := c.Get("system").Text(), c.Get("code").Text(); system != "" && code != "" {
			out = append(out, [2]string{system, code})
		}
	}
	return out
}

func coded(_, v *fhir.Node) string { return bad(len(codings(v)) > 0, FaultCode) }

// documentType asks for a type that the DMP takes (JDV_J66).
func documentType(_, v *fhir.Node) string {
	for _, c := range codings(v) {
		if dmp.TypeAllowedOnDMP(c[1]) {
			return ""
		}
	}
	return FaultCode
}

// documentClass asks for the class that goes with the type (ASS_X16).
func documentClass(resource, v *fhir.Node) string {
	for _, t := range codings(resource.Get("type")) {
		class, ok := dmp.ClassOf(t[1])
		if !ok {
			continue
		}
		for _, c := range codings(v) {
			if c[1] == class.Code {
				return ""
			}
		}
		return FaultCode
	}
	return bad(len(codings(v)) > 0, FaultCode)
}

func submissionSet(_, v *fhir.Node) string {
	for _, c := range codings(v) {
		if c[1] == "submissionset" && (c[0] == fhir.SystemListTypes || c[0] == strings.Replace(fhir.SystemListTypes, "https:", "http:", 1)) {
			return ""
		}
	}
	return FaultValue
}

// securityLabel asks for a code of JDV_J08.
func securityLabel(_, v *fhir.Node) string {
	return bad(labelOf(v) != "", FaultCode)
}

// labelOf is the code of a security label; empty when it is not in JDV_J08, or
// when there are several, of which one would not be obeyed.
func labelOf(v *fhir.Node) (label string) {
	for _, c := range codings(v) {
		switch code := c[1]; code {
		case "N", "R", "V", string(dmp.HiddenFromProfessionals), string(dmp.HiddenFromPatient), string(dmp.HiddenFromRepresentatives):
			if label != "" && label != code {
				return ""
			}
			label = code
		}
	}
	return label
}

func anyReference(_, v *fhir.Node) string {
	return bad(v.Get("reference").Text() != "" || v.Get("identifier", "value").Text() != "", FaultReference)
}

// containedResource asks that a contained resource can be referred to.
func containedResource(_, v *fhir.Node) string {
	return bad(v.Get("resourceType").Text() != "" && fhir.IsID(v.Get("id").Text()), FaultContained)
}

// contained asks for a reference to a contained resource of one of the types.
func contained(types ...string) func(resource, v *fhir.Node) string {
	return func(resource, v *fhir.Node) string {
		target := resource.Contained(v)
		for _, t := range types {
			if target.Get("resourceType").Text() == t {
				return ""
			}
		}
		return FaultContained
	}
}

func fullInstant(_, v *fhir.Node) string {
	_, _, ok := timeRange(v.Text())
	return bad(ok && len(v.Text()) >= len("2006-01-02T15:04:05Z"), FaultValue)
}

func dateTime(_, v *fhir.Node) string {
	_, _, ok := timeRange(v.Text())
	return bad(ok, FaultValue)
}

func positive(_, v *fhir.Node) string {
	s := string(v.Raw())
	return bad(v.Is(fhir.Number) && strings.Trim(s, "0123456789") == "" && s != "0" && len(s) < 11, FaultValue)
}

func sha1Base64(_, v *fhir.Node) string {
	sum, err := base64.StdEncoding.DecodeString(v.Text())
	return bad(err == nil && len(sum) == 20, FaultValue)
}

func patchPart(_, v *fhir.Node) string {
	switch v.Get("name").Text() {
	case "type":
		return bad(v.Get("valueCode").Text() == "replace", FaultValue)
	case "path":
		return bad(v.Get("valueString").Text() == "DocumentReference.status", FaultValue)
	case "value":
		return bad(v.Get("valueCode").Text() == "superseded", FaultValue)
	}
	return FaultValue
}

// timeRange reads a FHIR date, dateTime or instant as the milliseconds that it
// covers: from lo, up to but not including hi. Without a zone it is UTC.
func timeRange(s string) (lo, hi int64, ok bool) {
	if strings.Contains(s, ",") { // which Go takes for a decimal point
		return 0, 0, false
	}
	for _, f := range []struct {
		layout string
		end    func(time.Time) time.Time
	}{
		{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
		{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
		{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
		{"2006-01-02T15:04Z07:00", func(t time.Time) time.Time { return t.Add(time.Minute) }},
		{"2006-01-02T15:04:05Z07:00", func(t time.Time) time.Time {
			if strings.Contains(s, ".") {
				return t.Add(time.Millisecond)
			}
			return t.Add(time.Second)
		}},
	} {
		if t, err := time.Parse(f.layout, s); err == nil && t.Year() >= 1000 {
			return t.UnixMilli(), f.end(t).UnixMilli(), true
		}
	}
	return 0, 0, false
}
