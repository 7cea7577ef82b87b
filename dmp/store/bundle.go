package store

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// lot is a transaction that holds together: judged, not yet compared with what
// the store holds.
type lot struct {
	digest    string // SHA-256 of the transaction as it came
	uniqueID  string // urn:oid of the lot
	oid       ins.OID
	matricule string
	list      *part
	documents []*document
	patches   []*part
	binaries  []*part
	entries   int
}

// part is one entry of a transaction.
type part struct {
	index    int
	fullURL  string
	resource *fhir.Node
	target   string // id in the request URL of a patch
}

func (p *part) at(path string) string {
	where := fmt.Sprintf("Bundle.entry[%d].resource", p.index)
	if path != "" {
		where += "." + path
	}
	return where
}

// document is one DocumentReference with its bytes.
type document struct {
	*part
	uniqueID    string
	binary      *part
	content     []byte
	digest      string // where the bytes are kept
	contentType string
	hash        string
	attributes
	replaces *fhir.Node // target of relatesTo
	patch    *part
}

// readLot judges a transaction by everything that the store's content does not
// decide.
func readLot(body []byte) (*lot, error) {
	root, err := fhir.Parse(body)
	if err != nil {
		return nil, refusals{fault.New(FaultJSON).Because(err)}
	}
	if root.Get("resourceType").Text() != "Bundle" || root.Get("type").Text() != "transaction" || !root.Get("entry").Is(fhir.Array) {
		return nil, refuseAt(FaultNotTransaction, "Bundle.type")
	}
	var out refusals
	if !hasProfile(root, fhir.ProfileProvideBundle) {
		out.add(FaultProfile, "Bundle.meta.profile")
	}
	sum := sha256.Sum256(body)
	l := &lot{digest: hex.EncodeToString(sum[:])}
	l.slice(root.Get("entry").Items(), &out)
	if len(out) > 0 {
		return nil, out
	}
	apply(listRules, l.list.resource, l.list.at(""), &out)
	l.judgeList(&out)
	for _, p := range l.patches {
		apply(patchRules, p.resource, p.at(""), &out)
	}
	for _, d := range l.documents {
		apply(documentRules, d.resource, d.at(""), &out)
	}
	if len(out) > 0 {
		return nil, out
	}
	l.judgeReferences(&out)
	for _, d := range l.documents {
		d.judgeLabels(&out)
		l.judgeSourcePatient(d, &out)
		d.judgeContent(&out)
		l.judgeCDA(d, &out)
	}
	l.judgeReplacements(&out)
	return l, out.err()
}

func hasProfile(resource *fhir.Node, profile string) bool {
	for _, p := range resource.Get("meta", "profile").Items() {
		if name, _, _ := strings.Cut(p.Text(), "|"); name == profile {
			return true
		}
	}
	return false
}

// slice sorts entries into the closed slices of the profile.
func (l *lot) slice(entries []*fhir.Node, out *refusals) {
	l.entries = len(entries)
	seen := make(map[string]bool)
	for i, e := range entries {
		where := fmt.Sprintf("Bundle.entry[%d]", i)
		p := &part{index: i, fullURL: e.Get("fullUrl").Text(), resource: e.Get("resource")}
		method, url := e.Get("request", "method").Text(), e.Get("request", "url").Text()
		kind := p.resource.Get("resourceType").Text()
		if !isUUIDURN(p.fullURL) && kind != "Parameters" || p.fullURL != "" && seen[p.fullURL] {
			out.add(FaultValue, where+".fullUrl")
			continue
		}
		seen[p.fullURL] = true
		switch {
		case kind == "List" && method == "POST" && url == "List" && hasProfile(p.resource, fhir.ProfileFolder):
			out.add(FaultEntry, where)
		case kind == "List" && method == "POST" && url == "List":
			if l.list != nil {
				out.add(FaultLot, where)
				continue
			}
			l.list = p
		case kind == "DocumentReference" && method == "POST" && url == "DocumentReference":
			l.documents = append(l.documents, &document{part: p})
		case kind == "Binary" && method == "POST" && url == "Binary":
			l.binaries = append(l.binaries, p)
		case kind == "Parameters" && method == "PATCH":
			id, ok := strings.CutPrefix(url, "DocumentReference/")
			if !ok || !fhir.IsID(id) {
				out.add(FaultValue, where+".request.url")
				continue
			}
			p.target = id
			l.patches = append(l.patches, p)
		default:
			out.add(FaultEntry, where)
		}
	}
	if len(*out) > 0 {
		return
	}
	if l.list == nil {
		out.add(FaultLot, "Bundle.entry")
	}
	if len(l.documents) == 0 {
		out.add(FaultRequired, "Bundle.entry")
	}
}

// judgeList judges what the rules of the SubmissionSet cannot say.
func (l *lot) judgeList(out *refusals) {
	if !hasProfile(l.list.resource, fhir.ProfileSubmissionSet) {
		out.add(FaultProfile, l.list.at("meta.profile"))
	}
	for _, d := range l.documents {
		if !hasProfile(d.resource, fhir.ProfileDocumentReference) {
			out.add(FaultProfile, d.at("meta.profile"))
		}
	}
	counts := map[string]int{}
	for i, e := range l.list.resource.Get("extension").Items() {
		url := e.Get("url").Text()
		counts[url]++
		where := l.list.at(fmt.Sprintf("extension[%d]", i))
		switch {
		case url == fhir.ExtDesignationType && len(codings(e.Get("valueCodeableConcept"))) == 0:
			out.add(FaultCode, where)
		case url == fhir.ExtSourceID && !isOIDURN(e.Get("valueIdentifier", "value").Text()):
			out.add(FaultValue, where)
		}
	}
	for _, url := range []string{fhir.ExtDesignationType, fhir.ExtSourceID} {
		where := l.list.at("extension('" + url + "')")
		switch {
		case counts[url] == 0:
			out.add(FaultRequired, where)
		case counts[url] > 1:
			out.add(FaultCardinality, where)
		}
	}
	for _, id := range l.list.resource.Get("identifier").Items() {
		if id.Get("use").Text() != "usual" {
			continue
		}
		if l.uniqueID != "" {
			out.add(FaultCardinality, l.list.at("identifier"))
		}
		l.uniqueID = id.Get("value").Text()
	}
	if l.uniqueID == "" {
		out.add(FaultRequired, l.list.at("identifier"))
	}
}

// judgeReferences judges what ties the entries of a lot together.
func (l *lot) judgeReferences(out *refusals) {
	oid, matricule, ok := subject(l.list.resource)
	if !ok {
		out.add(FaultReference, l.list.at("subject"))
	}
	l.oid, l.matricule = oid, matricule
	listed := map[string]int{}
	for i, e := range l.list.resource.Get("entry").Items() {
		ref := e.Get("item", "reference").Text()
		listed[ref]++
		if !slices.ContainsFunc(l.documents, func(d *document) bool { return d.fullURL == ref }) || listed[ref] > 1 {
			out.add(FaultReference, l.list.at(fmt.Sprintf("entry[%d].item", i)))
		}
	}
	used := map[string]int{}
	uniqueIDs := map[string]bool{}
	for _, d := range l.documents {
		if listed[d.fullURL] == 0 {
			out.add(FaultReference, d.at(""))
		}
		if o, m, ok := subject(d.resource); !ok || o != oid || m != matricule {
			out.add(FaultPatientDiffers, d.at("subject"))
		}
		d.uniqueID = d.resource.Get("masterIdentifier", "value").Text()
		if uniqueIDs[d.uniqueID] {
			out.add(FaultDuplicate, d.at("masterIdentifier"))
		}
		uniqueIDs[d.uniqueID] = true
		url := attachment(d.resource).Get("url").Text()
		used[url]++
		i := slices.IndexFunc(l.binaries, func(b *part) bool { return b.fullURL == url })
		if i < 0 || used[url] > 1 {
			out.add(FaultReference, d.at("content[0].attachment.url"))
			continue
		}
		d.binary = l.binaries[i]
	}
	for _, b := range l.binaries {
		if used[b.fullURL] == 0 {
			out.add(FaultReference, b.at(""))
		}
	}
}

func attachment(resource *fhir.Node) *fhir.Node {
	items := resource.Get("content").Items()
	if len(items) == 0 {
		return nil
	}
	return items[0].Get("attachment")
}

// subject reads the patient of a resource: a conditional reference, which a
// transaction may use, or a logical one.
func subject(resource *fhir.Node) (ins.OID, string, bool) {
	ref := resource.Get("subject", "reference").Text()
	if token, ok := strings.CutPrefix(ref, "Patient?identifier="); ok {
		return parsePatientToken(strings.ReplaceAll(strings.ReplaceAll(token, "%7C", "|"), "%7c", "|"))
	}
	id := resource.Get("subject", "identifier")
	if ref != "" || id == nil {
		return "", "", false
	}
	return parsePatientToken(id.Get("system").Text() + "|" + id.Get("value").Text())
}

// judgeLabels asks for one confidentiality, first, and for visibility flags
// that go together.
func (d *document) judgeLabels(out *refusals) {
	d.status = statusCurrent
	for i, label := range d.resource.Get("securityLabel").Items() {
		code := labelOf(label)
		isConfidentiality := len(code) == 1
		if isConfidentiality != (i == 0) {
			out.add(FaultCode, d.at(fmt.Sprintf("securityLabel[%d]", i)))
		}
		d.setFlag(code, true)
	}
	// EX_2.1-1050: a document nobody but its author could see.
	if d.hidden && d.invisible {
		out.add(FaultCode, d.at("securityLabel"))
	}
	archived := 0
	for i, e := range d.resource.Get("extension").Items() {
		if e.Get("url").Text() != fhir.ExtIsArchived {
			continue
		}
		if archived++; archived > 1 || !e.Get("valueBoolean").Is(fhir.Bool) {
			out.add(FaultValue, d.at(fmt.Sprintf("extension[%d]", i)))
		}
		d.archived = string(e.Get("valueBoolean").Raw()) == "true"
	}
}

// judgeSourcePatient asks that an INS in the traits is that of the lot.
func (l *lot) judgeSourcePatient(d *document, out *refusals) {
	source := d.resource.Contained(d.resource.Get("context", "sourcePatientInfo"))
	for _, id := range source.Get("identifier").Items() {
		oid := ins.OID(strings.TrimPrefix(id.Get("system").Text(), fhir.OIDPrefix))
		if oid.Known() && (oid != l.oid || id.Get("value").Text() != l.matricule) {
			out.add(FaultPatientDiffers, d.at("context.sourcePatientInfo"))
		}
	}
}

// judgeContent decodes the bytes and compares them with what is said of them.
func (d *document) judgeContent(out *refusals) {
	if d.binary == nil {
		return
	}
	var err error
	a := attachment(d.resource)
	d.content, err = base64.StdEncoding.DecodeString(d.binary.resource.Get("data").Text())
	if err != nil || len(d.content) == 0 {
		out.add(FaultValue, d.binary.at("data"))
		return
	}
	d.contentType = a.Get("contentType").Text()
	kind, _, err := mime.ParseMediaType(d.contentType)
	if err != nil || d.binary.resource.Get("contentType").Text() != d.contentType {
		out.add(FaultContentType, d.at("content[0].attachment.contentType"))
	} else if !looksLike(kind, d.content) {
		out.add(FaultContentType, d.binary.at("data"))
	}
	if string(a.Get("size").Raw()) != strconv.Itoa(len(d.content)) {
		out.add(FaultSize, d.at("content[0].attachment.size"))
	}
	sum := sha1.Sum(d.content)
	claimed, err := base64.StdEncoding.DecodeString(a.Get("hash").Text())
	if err != nil || subtle.ConstantTimeCompare(claimed, sum[:]) != 1 {
		out.add(FaultHash, d.at("content[0].attachment.hash"))
	}
	d.hash = base64.StdEncoding.EncodeToString(sum[:])
}

// judgeCDA compares a CDA with what is said of it, on what files it: its id,
// its patient, its type. What the CDA does not say is not held against it here.
func (l *lot) judgeCDA(d *document, out *refusals) {
	if d.binary == nil || !isXML(d.contentType) {
		return
	}
	doc, err := cda.Read(d.content)
	var finding *cda.Finding
	if errors.As(err, &finding) && finding.Code == cda.FaultNotCDA {
		return // another XML, such as a signature
	}
	if err != nil {
		out.add(FaultCDA, d.binary.at("data"))
		return
	}
	if id := doc.Header.ID.ID(); !id.Zero() && fhir.OIDPrefix+id.String() != d.uniqueID {
		out.add(FaultCDADiffers, d.at("masterIdentifier"))
	}
	if who := doc.Patient(); who.Matricule != "" && (who.Matricule != l.matricule || who.OID != l.oid) {
		out.add(FaultCDADiffers, d.at("subject"))
	}
	if code := doc.Header.Code.Code; code != "" && !slices.ContainsFunc(codings(d.resource.Get("type")), func(c [2]string) bool { return c[1] == code }) {
		out.add(FaultCDADiffers, d.at("type"))
	}
}

func isXML(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "text/xml" || kind == "application/xml" || strings.HasSuffix(kind, "+xml"))
}

// looksLike compares the first bytes with a media type. A type whose beginning
// we do not know passes.
func looksLike(kind string, content []byte) bool {
	switch {
	case kind == "application/pdf":
		return bytes.HasPrefix(content, []byte("%PDF-"))
	case isXML(kind):
		head := bytes.TrimLeft(bytes.TrimPrefix(content, []byte("\ufeff")), " \t\r\n")
		lower := bytes.ToLower(head[:min(len(head), 64)])
		return bytes.HasPrefix(head, []byte("<")) && !bytes.HasPrefix(lower, []byte("<!doctype html")) && !bytes.HasPrefix(lower, []byte("<html"))
	}
	return true
}

// judgeReplacements pairs each document that replaces with its patch.
func (l *lot) judgeReplacements(out *refusals) {
	left := slices.Clone(l.patches)
	for _, d := range l.documents {
		items := d.resource.Get("relatesTo").Items()
		if len(items) == 0 {
			continue
		}
		d.replaces = items[0].Get("target")
		ref := d.replaces.Get("reference").Text()
		i := slices.IndexFunc(left, func(p *part) bool { return ref == "" || ref == "DocumentReference/"+p.target })
		if i < 0 {
			out.add(FaultReplacement, d.at("relatesTo[0].target"))
			continue
		}
		d.patch = left[i]
		left = slices.Delete(left, i, i+1)
	}
	for _, p := range left {
		out.add(FaultReplacement, p.at(""))
	}
}
