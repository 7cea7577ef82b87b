package store

import (
	"slices"
	"strings"
	"unicode"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
	"golang.org/x/text/unicode/norm"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// indexed is a row of a search: its columns, and its resource for the
// parameters that read it.
type indexed struct {
	held
	node   *fhir.Node
	unseen map[string]bool // ids that the caller may not know of
}

// found is what a parameter reads in a row, in the form of its type.
type found struct {
	tokens []string // system|code, or code alone
	texts  []string
	ranges [][2]int64 // from, up to but not including
	refs   []string
}

func (f found) missing() bool {
	return len(f.tokens)+len(f.texts)+len(f.ranges)+len(f.refs) == 0
}

// searchParam is one parameter of a search: how it is declared, and what it
// reads. Without get it names the patient, which every search does first.
type searchParam struct {
	kind models.SearchParamType
	deep bool // reads the resource, and not only columns
	get  func(row *indexed, of string) found
}

// bind gives the declared parameters what they read.
func bind(declared []fhir.SearchParam, columns, deep map[string]func(*indexed, string) found) map[string]searchParam {
	out := map[string]searchParam{}
	for _, d := range declared {
		p := searchParam{kind: d.Type, get: columns[d.Name]}
		if p.get == nil {
			p.get, p.deep = deep[d.Name], true
		}
		out[d.Name] = p
	}
	return out
}

// documentParams are the parameters of ITI-67, listParams those of ITI-66, and
// patientParams that of TD0.2.
var (
	documentParams = bind(fhir.DocumentSearch, documentColumns, documentElements)
	listParams     = bind(fhir.ListSearch, listColumns, listElements)
	patientParams  = bind(fhir.PatientSearch, nil, nil)
)

var documentColumns = map[string]func(*indexed, string) found{
	"_id":          func(r *indexed, _ string) found { return found{tokens: []string{r.id}} },
	"_lastUpdated": func(r *indexed, _ string) found { return at(r.updated) },
	"date":         func(r *indexed, _ string) found { return at(r.date) },
	"status":       func(r *indexed, _ string) found { return status("document-reference-status", r.status) },
	"type":         func(r *indexed, _ string) found { return lines(r.typ) },
	"category":     func(r *indexed, _ string) found { return lines(r.category) },
	"isArchived":   archivedOf,
}

var documentElements = map[string]func(*indexed, string) found{
	"identifier": func(r *indexed, _ string) found {
		return found{tokens: identifiers(append([]*fhir.Node{r.node.Get("masterIdentifier")}, r.node.Get("identifier").Items()...)...)}
	},
	"author":            func(r *indexed, _ string) found { return references(r.node.Get("author").Items()...) },
	"author.identifier": func(r *indexed, of string) found { return people(r.node, of, r.node.Get("author").Items()...).ids },
	"author.family":     func(r *indexed, of string) found { return people(r.node, of, r.node.Get("author").Items()...).family },
	"author.given":      func(r *indexed, of string) found { return people(r.node, of, r.node.Get("author").Items()...).given },
	"creation":          func(r *indexed, _ string) found { return when(attachment(r.node).Get("creation")) },
	"event":             func(r *indexed, _ string) found { return concepts(r.node.Get("context", "event").Items()...) },
	"facility":          func(r *indexed, _ string) found { return concepts(r.node.Get("context", "facilityType")) },
	"setting":           func(r *indexed, _ string) found { return concepts(r.node.Get("context", "practiceSetting")) },
	"security-label":    func(r *indexed, _ string) found { return concepts(r.node.Get("securityLabel").Items()...) },
	"period-start":      func(r *indexed, _ string) found { return when(r.node.Get("context", "period", "start")) },
	"period-end":        func(r *indexed, _ string) found { return when(r.node.Get("context", "period", "end")) },
	"period":            periodOf,
	"format": func(r *indexed, _ string) (out found) {
		for _, c := range r.node.Get("content").Items() {
			f := c.Get("format")
			out.tokens = append(out.tokens, f.Get("system").Text()+"|"+f.Get("code").Text())
		}
		return out
	},
	"related": func(r *indexed, _ string) found { return references(r.node.Get("context", "related").Items()...) },
	"related.identifier": func(r *indexed, _ string) (out found) {
		for _, ref := range r.node.Get("context", "related").Items() {
			out.tokens = append(out.tokens, identifiers(ref.Get("identifier"))...)
		}
		return out
	},
	"relatesto": func(r *indexed, _ string) (out found) {
		if r.replaces != "" && !r.unseen[r.replaces] {
			out.refs = append(out.refs, "DocumentReference/"+r.replaces)
		}
		return out
	},
}

var listColumns = map[string]func(*indexed, string) found{
	"_id":          documentColumns["_id"],
	"_lastUpdated": documentColumns["_lastUpdated"],
	"date":         documentColumns["date"],
	"status":       func(r *indexed, _ string) found { return status("list-status", r.status) },
}

var listElements = map[string]func(*indexed, string) found{
	"identifier": documentElements["identifier"],
	"code": func(r *indexed, _ string) found {
		// The national example writes http:; both are one code system.
		out := concepts(r.node.Get("code"))
		for _, t := range out.tokens {
			out.tokens = append(out.tokens, strings.Replace(t, "https:", "http:", 1), strings.Replace(t, "http:", "https:", 1))
		}
		return out
	},
	"designationType": func(r *indexed, _ string) (out found) {
		for _, e := range extensions(r.node, fhir.ExtDesignationType) {
			out.tokens = append(out.tokens, concepts(e.Get("valueCodeableConcept")).tokens...)
		}
		return out
	},
	"sourceId": func(r *indexed, _ string) (out found) {
		for _, e := range extensions(r.node, fhir.ExtSourceID) {
			out.tokens = append(out.tokens, identifiers(e.Get("valueIdentifier"))...)
		}
		return out
	},
	"isArchived": func(r *indexed, _ string) found {
		return found{tokens: []string{archivedText(string(archivedExtension(r.node).Get("valueBoolean").Raw()) == "true")}}
	},
	"item": func(r *indexed, _ string) (out found) {
		for _, e := range r.node.Get("entry").Items() {
			out.refs = append(out.refs, references(e.Get("item")).refs...)
		}
		return out
	},
	"title":             func(r *indexed, _ string) found { return texts(r.node.Get("title")) },
	"source":            func(r *indexed, _ string) found { return references(r.node.Get("source")) },
	"source.identifier": func(r *indexed, of string) found { return people(r.node, of, r.node.Get("source")).ids },
	"source.family":     func(r *indexed, of string) found { return people(r.node, of, r.node.Get("source")).family },
	"source.given":      func(r *indexed, of string) found { return people(r.node, of, r.node.Get("source")).given },
	"authorOrg":         func(r *indexed, _ string) found { return references(authorOrgs(r.node)...) },
	"authorOrg.identifier": func(r *indexed, _ string) (out found) {
		for _, ref := range authorOrgs(r.node) {
			out.tokens = append(out.tokens, identifiers(append(r.node.Contained(ref).Get("identifier").Items(), ref.Get("identifier"))...)...)
		}
		return out
	},
	"authorOrg.name": func(r *indexed, _ string) (out found) {
		for _, ref := range authorOrgs(r.node) {
			out.texts = append(out.texts, texts(r.node.Contained(ref).Get("name"), ref.Get("display")).texts...)
		}
		return out
	},
}

func at(ms int64) found { return found{ranges: [][2]int64{{ms, ms + 1}}} }

func lines(s string) (out found) {
	if s != "" {
		out.tokens = strings.Split(s, "\n")
	}
	return out
}

// status is a code whose system the draft does not write, and FHIR does.
func status(system, code string) found {
	return found{tokens: []string{code, "http://hl7.org/fhir/" + system + "|" + code}}
}

func archivedText(on bool) string {
	if on {
		return "true"
	}
	return "false"
}

// archivedOf is never missing: what does not say so is not archived.
func archivedOf(r *indexed, _ string) found {
	return found{tokens: []string{archivedText(r.archived)}}
}

func concepts(list ...*fhir.Node) found { return lines(tokens(list...)) }

func identifiers(list ...*fhir.Node) (out []string) {
	for _, id := range list {
		if v := id.Get("value").Text(); v != "" {
			out = append(out, id.Get("system").Text()+"|"+v)
		}
	}
	return out
}

func texts(list ...*fhir.Node) (out found) {
	for _, n := range list {
		if s := n.Text(); s != "" {
			out.texts = append(out.texts, s)
		}
	}
	return out
}

func references(list ...*fhir.Node) (out found) {
	for _, n := range list {
		if s := n.Get("reference").Text(); s != "" {
			out.refs = append(out.refs, s)
		}
	}
	return out
}

func when(n *fhir.Node) (out found) {
	if lo, hi, ok := timeRange(n.Text()); ok {
		out.ranges = [][2]int64{{lo, hi}}
	}
	return out
}

// endless is the end of a period that has none.
const endless = 1 << 60

func periodOf(r *indexed, _ string) found {
	start, end := when(r.node.Get("context", "period", "start")), when(r.node.Get("context", "period", "end"))
	if start.missing() {
		return found{}
	}
	hi := int64(endless)
	if !end.missing() {
		hi = end.ranges[0][1]
	}
	return found{ranges: [][2]int64{{start.ranges[0][0], hi}}}
}

func extensions(r *fhir.Node, url string) (out []*fhir.Node) {
	for _, e := range r.Get("extension").Items() {
		if e.Get("url").Text() == url {
			out = append(out, e)
		}
	}
	return out
}

// authorOrgs are where the two readings of PDSm put the structure of a lot: on
// its source, or on the lot.
func authorOrgs(r *fhir.Node) (out []*fhir.Node) {
	for _, e := range append(extensions(r.Get("source"), fhir.ExtAuthorOrg), extensions(r, fhir.ExtAuthorOrg)...) {
		out = append(out, e.Get("valueReference"))
	}
	return out
}

// persons are the identifiers and names that references to contained resources
// lead to.
type persons struct{ ids, family, given found }

// people follows references, and a PractitionerRole to its practitioner; of
// keeps to one type of resource, that which the reference leads to.
func people(r *fhir.Node, of string, refs ...*fhir.Node) (out persons) {
	add := func(n *fhir.Node) {
		out.ids.tokens = append(out.ids.tokens, identifiers(n.Get("identifier").Items()...)...)
		for _, name := range n.Get("name").Items() {
			out.family.texts = append(out.family.texts, texts(name.Get("family")).texts...)
			out.given.texts = append(out.given.texts, texts(name.Get("given").Items()...).texts...)
		}
	}
	for _, ref := range refs {
		target := r.Contained(ref)
		if kind := target.Get("resourceType").Text(); of != "" && kind != of {
			continue
		}
		add(target)
		add(r.Contained(target.Get("practitioner")))
		out.ids.tokens = append(out.ids.tokens, identifiers(ref.Get("identifier"))...)
	}
	return out
}

// matchTokens matches system|code, |code, code or system|.
func matchTokens(have []string, want string) bool {
	system, code, both := strings.Cut(want, "|")
	return slices.ContainsFunc(have, func(one string) bool {
		s, c, hasSystem := strings.Cut(one, "|")
		if !hasSystem {
			s, c = "", one
		}
		return !both && c == want || both && s == system && (c == code || code == "")
	})
}

// folded is a text as strings are compared by default: without case, accents
// and repeated blanks.
func folded(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(strings.ToLower(s)))
	return strings.Join(strings.Fields(s), " ")
}

// matchTexts compares texts with values, which are folded unless exact.
func matchTexts(have, values []string, modifier string) bool {
	return slices.ContainsFunc(have, func(one string) bool {
		if modifier == "exact" {
			return slices.Contains(values, one)
		}
		one = folded(one)
		return slices.ContainsFunc(values, func(want string) bool {
			return strings.HasPrefix(one, want) || modifier == "contains" && strings.Contains(one, want)
		})
	})
}

// dateTest is a value of a date parameter, read.
type dateTest struct {
	prefix string
	lo, hi int64
}

func readDate(v string) (d dateTest, ok bool) {
	d.prefix = "eq"
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		d.prefix, v = v[:2], v[2:]
	}
	d.lo, d.hi, ok = timeRange(v)
	return d, ok && slices.Contains([]string{"eq", "ne", "ge", "gt", "le", "lt", "sa", "eb", "ap"}, d.prefix)
}

// matches compares ranges as FHIR R4 says. overlap: a period meets a date that
// falls in it, as MHD has it; otherwise the date contains the value.
func (d dateTest) matches(have [][2]int64, now int64, overlap bool) bool {
	return slices.ContainsFunc(have, func(t [2]int64) bool {
		from, to := t[0], t[1]
		equal := d.lo <= from && to <= d.hi || overlap && from < d.hi && d.lo < to
		switch d.prefix {
		case "ne":
			return !equal
		case "ge":
			return equal || to > d.hi
		case "gt":
			return to > d.hi
		case "le":
			return equal || from < d.lo
		case "lt":
			return from < d.lo
		case "sa":
			return from >= d.hi
		case "eb":
			return to <= d.lo
		case "ap": // a tenth of the distance to now, as FHIR suggests
			slack := max(now-d.lo, d.lo-now) / 10
			return from < d.hi+slack && d.lo-slack < to
		}
		return equal
	})
}
