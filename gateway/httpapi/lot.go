package httpapi

import (
	"crypto/sha1" //nolint:gosec // the hash that XDS and MHD prescribe, not a protection
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// lot is what a FHIR deposit says. What is wrong with it is collected, and the
// gateway refuses with it.
type lot struct {
	single    bool   // ITI-105
	uniqueID  string // of the SubmissionSet: urn:oid:…, which the profile leaves optional
	sourceID  string // OID of the sending system
	entries   []lotEntry
	documents []*lotDocument
	patient   ins.Identity
	source    *dmp.Requester
	class     string // PV1-2 that gives the same contentTypeCode
	letters   []gateway.Recipient
	warnings  []gateway.Note
	refusals  []error

	list     *fhir.Node
	binaries map[string]*fhir.Node // by fullUrl
}

type lotEntry struct {
	kind     string // List, DocumentReference, Binary, Parameters
	document int    // which one, or whose
	target   string // of a PATCH
	fullURL  string
	where    string
}

type lotDocument struct {
	resource *fhir.Node
	fullURL  string
	where    string
	content  []byte
	replaces bool
	claimed  dmp.Metadata
	hidden   []string // visibility codes, sorted
}

const (
	maxDocuments  = 100
	maxRecipients = 100
	maxItems      = 500 // of any list: references are looked for among contained resources
)

// bounded tells whether no list of a resource is longer than we read.
func bounded(n *fhir.Node) bool {
	if len(n.Items()) > maxItems {
		return false
	}
	return !slices.ContainsFunc(n.Items(), func(i *fhir.Node) bool { return !bounded(i) }) &&
		!slices.ContainsFunc(n.Members(), func(m fhir.Member) bool { return !bounded(m.Value) })
}

func (l *lot) refuse(code, where string) { l.refusals = append(l.refusals, fault.New(code).At(where)) }

func (l *lot) warn(code, where string) {
	l.warnings = append(l.warnings, gateway.Note{Code: code, Where: where})
}

// readTransaction reads the Bundle of ITI-65.
func readTransaction(root *fhir.Node) *lot {
	l := &lot{binaries: map[string]*fhir.Node{}}
	entries := root.Get("entry")
	if root.Get("resourceType").Text() != "Bundle" || root.Get("type").Text() != "transaction" || !entries.Is(fhir.Array) {
		l.refuse(FaultBundle, "Bundle.type")
		return l
	}
	if len(entries.Items()) > 4*maxDocuments || !bounded(entries) {
		l.refuse(FaultTooLarge, "Bundle.entry")
		return l
	}
	seen := map[string]bool{}
	for i, e := range entries.Items() {
		l.sort(e, fmt.Sprintf("Bundle.entry[%d]", i), seen)
	}
	if len(l.refusals) > 0 {
		return l
	}
	if l.list == nil || len(l.documents) == 0 {
		l.refuse(FaultEntry, "Bundle.entry")
		return l
	}
	l.readList()
	l.tie()
	for _, d := range l.documents {
		d.read(l)
	}
	l.patients()
	l.together()
	return l
}

// sort puts one entry where the profile has a place for it.
func (l *lot) sort(e *fhir.Node, where string, seen map[string]bool) {
	resource, fullURL := e.Get("resource"), e.Get("fullUrl").Text()
	kind := resource.Get("resourceType").Text()
	method, url := e.Get("request", "method").Text(), e.Get("request", "url").Text()
	entry := lotEntry{kind: kind, fullURL: fullURL, where: where}
	if kind != "Parameters" && (fullURL == "" || seen[fullURL]) {
		l.refuse(FaultReference, where+".fullUrl")
		return
	}
	seen[fullURL] = true
	switch {
	case kind == "List" && method == "POST" && url == "List" && l.list == nil && listCode(resource) == "submissionset":
		l.list = resource
	case kind == "DocumentReference" && method == "POST" && url == "DocumentReference":
		entry.document = len(l.documents)
		l.documents = append(l.documents, &lotDocument{resource: resource, fullURL: fullURL, where: where + ".resource"})
	case kind == "Binary" && (method == "POST" && url == "Binary" || method == "" && e.Get("request") == nil):
		l.binaries[fullURL] = resource
	case kind == "Parameters" && method == "PATCH" && strings.HasPrefix(url, "DocumentReference/") && fhir.IsID(strings.TrimPrefix(url, "DocumentReference/")):
		entry.target = strings.TrimPrefix(url, "DocumentReference/")
	default:
		l.refuse(FaultEntry, where)
		return
	}
	l.entries = append(l.entries, entry)
}

func listCode(list *fhir.Node) string {
	for _, c := range list.Get("code", "coding").Items() {
		if strings.HasSuffix(c.Get("system").Text(), "MHDlistTypes") {
			return c.Get("code").Text()
		}
	}
	return ""
}

// tie checks that the entries hold together: every document is listed, every
// Binary belongs to one document.
func (l *lot) tie() {
	listed := map[string]int{}
	for i, e := range l.list.Get("entry").Items() {
		ref := e.Get("item", "reference").Text()
		listed[ref]++
		if listed[ref] > 1 || !slices.ContainsFunc(l.documents, func(d *lotDocument) bool { return d.fullURL == ref }) {
			l.refuse(FaultReference, fmt.Sprintf("List.entry[%d].item", i))
		}
	}
	owner := map[string]int{}
	for i, d := range l.documents {
		if listed[d.fullURL] == 0 {
			l.refuse(FaultReference, d.where)
		}
		url := attachment(d.resource).Get("url").Text()
		if _, twice := owner[url]; twice || l.binaries[url] == nil {
			l.refuse(FaultReference, d.where+".content[0].attachment.url")
			continue
		}
		owner[url] = i
	}
	for i := range l.entries {
		e := &l.entries[i]
		switch e.kind {
		case "Binary":
			document, used := owner[e.fullURL]
			if !used {
				l.refuse(FaultReference, e.where)
			}
			e.document = document
		case "Parameters":
			if !slices.ContainsFunc(l.documents, func(d *lotDocument) bool {
				return replaced(d.resource).Get("target", "reference").Text() == "DocumentReference/"+e.target || replaced(d.resource).Get("target", "identifier") != nil
			}) {
				l.refuse(FaultReference, e.where)
			}
		}
	}
}

func attachment(resource *fhir.Node) *fhir.Node {
	if items := resource.Get("content").Items(); len(items) == 1 {
		return items[0].Get("attachment")
	}
	return nil
}

// replaced is the relation that says which document this one replaces.
func replaced(resource *fhir.Node) *fhir.Node {
	for _, r := range resource.Get("relatesTo").Items() {
		if r.Get("code").Text() == "replaces" {
			return r
		}
	}
	return nil
}

// readPublication reads the DocumentReference of ITI-105.
func readPublication(root *fhir.Node) *lot {
	l := &lot{single: true}
	if root.Get("resourceType").Text() != "DocumentReference" {
		l.refuse(FaultBundle, "DocumentReference")
		return l
	}
	if !bounded(root) {
		l.refuse(FaultTooLarge, "DocumentReference")
		return l
	}
	d := &lotDocument{resource: root, where: "DocumentReference"}
	l.documents = []*lotDocument{d}
	if attachment(root).Get("data") == nil || attachment(root).Get("url") != nil {
		l.refuse(FaultElement, "DocumentReference.content[0].attachment.data")
		return l
	}
	d.read(l)
	l.patients()
	l.source = requesterOf(d.claimed.Authors)
	return l
}

// read decodes the document and what is said of it.
func (d *lotDocument) read(l *lot) {
	a := attachment(d.resource)
	data, at := a.Get("data"), d.where+".content[0].attachment.data"
	if !l.single {
		binary := l.binaries[a.Get("url").Text()]
		if binary == nil {
			return // told by tie
		}
		data, at = binary.Get("data"), d.where+".content[0].attachment.url"
	}
	var err error
	d.content, err = base64.StdEncoding.DecodeString(data.Text())
	if err != nil || len(d.content) == 0 {
		l.refuse(FaultElement, at)
		return
	}
	if h := a.Get("hash"); h != nil || !l.single {
		sum := sha1.Sum(d.content) //nolint:gosec // see the import
		claimed, err := base64.StdEncoding.DecodeString(h.Text())
		if err != nil || subtle.ConstantTimeCompare(claimed, sum[:]) != 1 {
			l.refuse(FaultHash, d.where+".content[0].attachment.hash")
		}
	}
	if size := a.Get("size"); size != nil && string(size.Raw()) != strconv.Itoa(len(d.content)) {
		l.refuse(FaultHash, d.where+".content[0].attachment.size")
	}
	d.describe(l)
}

// patients finds the one patient of a lot. Who the lot is about and whose traits
// it gives must be the same person, for every document.
func (l *lot) patients() {
	type named struct {
		id    ins.Identity
		where string
	}
	var all []named
	if l.list != nil {
		id, ok := subjectOf(l.list)
		if !ok {
			l.refuse(FaultPatient, "List.subject")
		}
		all = append(all, named{id, "List.subject"})
	}
	for _, d := range l.documents {
		id, ok := subjectOf(d.resource)
		if !ok {
			l.refuse(FaultPatient, d.where+".subject")
		}
		all = append(all, named{id, d.where + ".subject"})
		if p := d.resource.Contained(d.resource.Get("context", "sourcePatientInfo")); p != nil {
			where := d.where + ".context.sourcePatientInfo"
			id, ok := identityOf(p)
			if !ok {
				l.refuse(FaultPatient, where)
			}
			all = append(all, named{id, where})
		}
	}
	for _, n := range all {
		if ins.Contradiction(ins.CompareOutbound(l.patient, n.id)) != nil {
			l.refuse(FaultPatient, n.where)
			continue
		}
		if s := n.id.Status; s != "" && l.patient.Status == ins.Qualified {
			l.patient.Status = s // the most careful of those that are said
		}
		merge(&l.patient, n.id)
	}
	if l.patient.Matricule == "" {
		l.refuse(FaultPatient, "subject")
	}
	if l.patient.Status == "" {
		// A bundle has no PID-32: an INS in it counts as qualified by contract of
		// its sender, as in a CDA, unless identityReliability says otherwise.
		l.patient = l.patient.ByContract()
	}
}

// merge completes an identity with what another one gives of the same person.
func merge(into *ins.Identity, from ins.Identity) {
	for _, f := range []struct {
		to *string
		v  string
	}{
		{&into.Matricule, from.Matricule}, {(*string)(&into.OID), string(from.OID)}, {(*string)(&into.Status), string(from.Status)},
		{&into.Traits.BirthName, from.Traits.BirthName}, {&into.Traits.FirstGiven, from.Traits.FirstGiven},
		{&into.Traits.GivenNames, from.Traits.GivenNames}, {&into.Traits.BirthDate, from.Traits.BirthDate},
		{&into.Traits.Sex, from.Traits.Sex}, {&into.Traits.BirthPlace, from.Traits.BirthPlace},
	} {
		if *f.to == "" {
			*f.to = f.v
		}
	}
	for _, a := range from.Attributes {
		if !slices.Contains(into.Attributes, a) {
			into.Attributes = append(into.Attributes, a)
		}
	}
	for _, local := range from.Local {
		if !slices.Contains(into.Local, local) {
			into.Local = append(into.Local, local)
		}
	}
}

// together checks that the documents ask for the same.
func (l *lot) together() {
	for _, d := range l.documents[1:] {
		if d.replaces != l.documents[0].replaces {
			l.refuse(FaultMixed, d.where+".relatesTo")
		}
		if !slices.Equal(d.hidden, l.documents[0].hidden) {
			l.refuse(FaultMixed, d.where+".securityLabel")
		}
	}
}

// classes gives the PV1-2 whose contentTypeCode is this code of TRE_R209: the
// lot that reaches the DMP is the gateway's own.
var classes = map[string]string{"03": "I", "07": "O", "19": "R", "97": "N"}

// readList reads the SubmissionSet.
func (l *lot) readList() {
	for _, id := range l.list.Get("identifier").Items() {
		if v := id.Get("value").Text(); id.Get("use").Text() == "usual" && strings.HasPrefix(v, fhir.OIDPrefix) && len(v) <= 128 {
			l.uniqueID = v
		}
	}
	for i, e := range l.list.Get("extension").Items() {
		where := fmt.Sprintf("List.extension[%d]", i)
		switch url := e.Get("url").Text(); {
		case url == fhir.ExtSourceID:
			l.sourceID = strings.TrimPrefix(e.Get("valueIdentifier", "value").Text(), fhir.OIDPrefix)
		case url == fhir.ExtDesignationType:
			for _, c := range e.Get("valueCodeableConcept", "coding").Items() {
				l.class = classes[c.Get("code").Text()]
			}
			if l.class == "" {
				l.warn(FaultLotContent, where)
			}
		case url == fhir.ExtIntendedRecipient, strings.HasSuffix(url, "/pdsm-ext-intended-recipient"):
			l.addressee(l.list.Contained(e.Get("valueReference")), where)
		}
	}
	source := l.list.Contained(l.list.Get("source"))
	if author, ok := authorOf(l.list, source); ok {
		l.source = requesterOf([]dmp.Author{author})
		for _, e := range l.list.Get("source", "extension").Items() {
			if org := l.list.Contained(e.Get("valueReference")); e.Get("url").Text() == fhir.ExtAuthorOrg && org != nil {
				l.source.Organisation = organisationOf(org)
			}
		}
	}
}

// requesterOf is the first author, as who asks for a transaction.
func requesterOf(authors []dmp.Author) *dmp.Requester {
	if len(authors) == 0 {
		return nil
	}
	return &dmp.Requester{Person: authors[0].Person, Device: authors[0].Device, Organisation: authors[0].Organisation}
}

// addressee is one intendedRecipient: a letter leaves when it has an address.
func (l *lot) addressee(resource *fhir.Node, where string) {
	r := gateway.Recipient{}
	switch resource.Get("resourceType").Text() {
	case "Practitioner", "PractitionerRole":
		r.Kind = "professional"
	case "Patient", "RelatedPerson":
		r.Kind = gateway.RecipientPatient
	case "Organization":
		r.Kind, r.Org = "organisation", organisationOf(resource)
	case "Device":
		r.Kind, r.Device = "device", resource.Get("id").Text()
	}
	if author, ok := authorOf(l.list, resource); ok {
		r.Person, r.Org = author.Person, author.Organisation
	}
	for _, holder := range []*fhir.Node{resource, l.list.Contained(resource.Get("practitioner"))} {
		for _, t := range holder.Get("telecom").Items() {
			address, err := mss.ParseAddress(strings.TrimPrefix(t.Get("value").Text(), "mailto:"))
			if r.Address == "" && t.Get("system").Text() == "email" && err == nil {
				r.Address = address.String()
			}
		}
	}
	if r.Kind == "" || r.Address == "" || len(l.letters) == maxRecipients {
		l.warn(FaultNoAddress, where)
		return
	}
	l.letters = append(l.letters, r)
}

// forget drops everything but what an answer is made of.
func (l *lot) forget() {
	l.list, l.binaries, l.letters = nil, nil, nil
	for i := range l.documents {
		l.documents[i] = nil
	}
}

// site is the establishment that a lot is for: the one whose system it names,
// or the caller's only one.
func (l *lot) site(c *caller) (gateway.Establishment, bool) {
	for _, s := range c.sites {
		if l.sourceID != "" && s.SourceOID == l.sourceID {
			return s, true
		}
	}
	return c.site("")
}

// inbound is the lot as the gateway takes it.
func (l *lot) inbound(c *caller, site gateway.Establishment) gateway.Inbound {
	in := gateway.Inbound{
		Door: "fhir", Establishment: site, From: c.party(site), Message: gateway.Message{Type: "ITI-65"}, Action: dmp.New,
		Patient: l.patient, Visit: gateway.Visit{Class: l.class}, Flags: gateway.Flags{ToDMP: true}, Requester: c.requester(l.source, site),
		Recipients: l.letters, Warnings: l.warnings, Refusals: l.refusals,
	}
	if l.single {
		in.Message.Type = "ITI-105"
	}
	for _, r := range l.letters {
		if r.Kind == gateway.RecipientPatient {
			in.Flags.ToPatient = true
		} else {
			in.Flags.ToProfessionals = true
		}
	}
	for _, d := range l.documents {
		if d.replaces {
			in.Action = dmp.Replace
		}
		for _, code := range d.hidden {
			switch dmp.Visibility(code) {
			case dmp.HiddenFromProfessionals:
				in.Flags.HiddenFromProfessionals = true
			case dmp.HiddenFromPatient:
				in.Flags.HiddenFromPatient = true
			case dmp.HiddenFromRepresentatives:
				in.Flags.HiddenFromRepresentatives = true
			}
		}
		claimed := d.claimed
		in.Documents = append(in.Documents, gateway.InboundDocument{Where: d.where, Content: d.content, Claimed: &claimed})
	}
	return in
}
