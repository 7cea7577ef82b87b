package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// TestRoute is the way of one document: in by a structure, found and read by a
// professional, byte for byte.
func TestRoute(t *testing.T) {
	w := newWorld(t)
	doc := someDocument("1.2.250.1.999.1.1", "contenu")
	a := w.post(w.structure(finess), build(t, someDeposit("1.2.250.1.999.2.1", doc)))
	b := a.bundle(t)
	if b.Type != "transaction-response" || len(b.Entry) != 3 {
		t.Fatalf("%s", a.body)
	}
	for _, e := range b.Entry {
		if e.Response.Status != "201 Created" || e.Response.Location == "" {
			t.Fatalf("%+v", e.Response)
		}
	}

	tok := w.professional(physician)
	found := w.search(tok, "DocumentReference", of(patientOpen)+"&status=current").bundle(t)
	if *found.Total != 1 || len(found.Entry) != 1 {
		t.Fatalf("%+v", found)
	}
	if !strings.HasPrefix(found.Entry[0].FullURL, w.server.URL+"/fhir/DocumentReference/") {
		t.Errorf("fullUrl %s", found.Entry[0].FullURL)
	}
	n, err := fhir.Parse(found.Entry[0].Resource)
	must(t, err)
	var r fhir.DocumentReference
	must(t, n.Decode(&r))
	if r.Meta.VersionID != "1" || !strings.HasPrefix(r.Subject.Reference, "Patient/") || len(r.Contained) == 0 {
		t.Errorf("%+v", r)
	}
	if bytes.Contains(found.Entry[0].Resource, []byte("Patient?identifier")) {
		t.Error("the conditional reference was not resolved")
	}
	raw := w.get(tok, "/"+r.Content[0].Attachment.URL, header{"Accept": "text/xml"})
	if raw.status != 200 || !bytes.Equal(raw.body, doc.Content) || raw.header.Get("Content-Type") != "text/xml" {
		t.Fatalf("HTTP %d %s", raw.status, raw.body)
	}
	asFHIR := w.get(tok, "/"+r.Content[0].Attachment.URL, header{"Accept": fhir.MediaType})
	var binary fhir.Binary
	must(t, json.Unmarshal(asFHIR.body, &binary))
	if binary.ResourceType != "Binary" || binary.ContentType != "text/xml" || binary.Data == "" {
		t.Errorf("%s", asFHIR.body)
	}
	if got := w.get(tok, "/"+r.Content[0].Attachment.URL, header{"Accept": "image/png"}); got.status != http.StatusNotAcceptable {
		t.Errorf("HTTP %d", got.status)
	}
	read := w.get(tok, "/DocumentReference/"+r.ID, nil)
	if read.status != 200 || read.header.Get("ETag") != `W/"1"` || !bytes.Equal(read.body, found.Entry[0].Resource) {
		t.Errorf("HTTP %d %s", read.status, read.body)
	}
	patient := w.get(tok, "/"+r.Subject.Reference, nil)
	if patient.status != 200 || !bytes.Contains(patient.body, []byte(`"active":true`)) {
		t.Errorf("HTTP %d %s", patient.status, patient.body)
	}
	lists := w.search(tok, "List", of(patientOpen)+"&code=submissionset&status=current").bundle(t)
	if *lists.Total != 1 || !bytes.Contains(lists.Entry[0].Resource, []byte("DocumentReference/"+r.ID)) {
		t.Errorf("%+v", lists)
	}
	lot, err := fhir.Parse(lists.Entry[0].Resource)
	must(t, err)
	if got := w.get(tok, "/List/"+lot.Get("id").Text(), nil); got.status != 200 {
		t.Errorf("HTTP %d", got.status)
	}
}

// TestFidelity sends members that Go models drop, and reads them back.
func TestFidelity(t *testing.T) {
	w := newWorld(t)
	raw := string(build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x"))))
	marks := []string{
		`"_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime","valueDateTime":"1979-03-01T08:00:00+01:00"}]}`,
		`"_description":{"extension":[{"url":"http://example.org/x","valueDecimal":1.10}]}`,
		`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">été &amp; <b>hiver</b> \u00e9</div>"}`,
	}
	raw = strings.Replace(raw, `"birthDate":"1979-03-01"`, `"birthDate":"1979-03-01" , `+marks[0], 1)
	raw = strings.Replace(raw, `"masterIdentifier":`, marks[1]+`,  `+marks[2]+`,"masterIdentifier":`, 1)
	w.post(w.structure(finess), []byte(raw)).bundle(t)
	found := w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t)
	for _, m := range marks {
		if !bytes.Contains(found.Entry[0].Resource, []byte(m)) {
			t.Errorf("lost or changed: %s\nin %s", m, found.Entry[0].Resource)
		}
	}
	sent, err := fhir.Parse([]byte(raw))
	must(t, err)
	listed, err := fhir.Parse(found.Entry[0].Resource)
	must(t, err)
	// Read by id, not one byte differs; in a search, only blanks between tokens.
	kept, err := fhir.Parse(w.get(w.professional(physician), "/DocumentReference/"+listed.Get("id").Text(), nil).body)
	must(t, err)
	want := sent.Get("entry").Items()[1].Get("resource")
	for _, name := range []string{"contained", "masterIdentifier", "identifier", "status", "type", "category", "date", "author", "authenticator", "custodian", "securityLabel", "context"} {
		if !bytes.Equal(want.Get(name).Raw(), kept.Get(name).Raw()) {
			t.Errorf("%s changed:\n%s\n%s", name, want.Get(name).Raw(), kept.Get(name).Raw())
		}
	}
}

// TestRefusedLots makes one fault at a time in a good lot; each leaves no trace.
func TestRefusedLots(t *testing.T) {
	w := newWorld(t)
	tok := w.structure(finess)
	base := someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "un"), someDocument("1.2.250.1.999.1.2", "deux"))
	good := string(build(t, base))
	sub := func(old, with string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("the good lot has no %s", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	last := func(old, with string) string {
		t.Helper()
		i := strings.LastIndex(good, old)
		if i < 0 {
			t.Fatalf("the good lot has no %s", old)
		}
		return good[:i] + with + good[i+len(old):]
	}
	binary := func(i int) string { return docURL(t, good, i) }
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"fail/not JSON", "{", 400, "STORE-JSON"},
		{"fail/empty", "", 400, "STORE-JSON"},
		{"fail/member twice", sub(`"type":"transaction"`, `"type":"transaction","type":"transaction"`), 400, "STORE-JSON"},
		{"fail/member twice in another case", sub(`"type":"transaction"`, `"type":"transaction","Type":"transaction"`), 400, "STORE-JSON"},
		{"fail/too deep", strings.Repeat("[", 100) + strings.Repeat("]", 100), 400, "STORE-JSON"},
		{"fail/not UTF-8", sub("MARTIN", "MART\xff"), 400, "STORE-JSON"},
		{"fail/batch", sub(`"type":"transaction"`, `"type":"batch"`), 400, "STORE-NOT-TRANSACTION"},
		{"fail/other resource", `{"resourceType":"Patient"}`, 400, "STORE-NOT-TRANSACTION"},
		{"fail/profile of the bundle", sub(fhir.ProfileProvideBundle, "http://example.org/p"), 422, "STORE-PROFILE"},
		{"fail/profile of a document", sub(fhir.ProfileDocumentReference, "http://example.org/p"), 422, "STORE-PROFILE"},
		{"fail/no lot", `{"resourceType":"Bundle","meta":{"profile":["` + fhir.ProfileProvideBundle + `"]},"type":"transaction","entry":[]}`, 422, "STORE-LOT"},
		{"fail/entry outside the slices", sub(`"request":{"method":"POST","url":"Binary"}`, `"request":{"method":"PUT","url":"Binary/1"}`), 422, "STORE-ENTRY"},
		{"fail/fullUrl twice", strings.ReplaceAll(good, binary(1), binary(0)), 422, "STORE-VALUE"},
		{"fail/status", sub(`"status":"current","type"`, `"status":"superseded","type"`), 422, "STORE-VALUE"},
		{"fail/masterIdentifier use", sub(`"masterIdentifier":{"use":"usual"`, `"masterIdentifier":{"use":"official"`), 422, "STORE-VALUE"},
		{"fail/masterIdentifier not an OID", sub(`urn:oid:1.2.250.1.999.1.1"`, `urn:oid:1.2..3"`), 422, "STORE-VALUE"},
		{"fail/no custodian", sub(`"custodian"`, `"custodian2"`), 422, "STORE-REQUIRED"},
		{"fail/two categories", sub(`"category":[`, `"category":[{"coding":[{"system":"s","code":"c"}]},`), 422, "STORE-CARDINALITY"},
		{"fail/category not a list", splice(t, good, 1, `{"coding":[{"system":"s","code":"10"}]}`, "category"), 422, "STORE-CARDINALITY"},
		{"fail/docStatus", sub(`"status":"current","type"`, `"docStatus":"final","status":"current","type"`), 422, "STORE-NOT-ALLOWED"},
		{"fail/type unknown to the DMP", sub(`"code":"11502-2"`, `"code":"00000-0"`), 422, "STORE-CODE"},
		{"fail/class of another type", sub(`"code":"10","display":"Compte rendu"`, `"code":"11","display":"Compte rendu"`), 422, "STORE-CODE"},
		{"fail/author not contained", sub(`"author":[{"reference":"#auteur-1"}]`, `"author":[{"reference":"Practitioner/1"}]`), 422, "STORE-CONTAINED"},
		{"fail/date without zone", sub(`"date":"2026-11-20T10:30:00+01:00"`, `"date":"2026-11-20T10:30:00"`), 422, "STORE-VALUE"},
		{"fail/confidentiality unknown", sub(`"code":"N"`, `"code":"X"`), 422, "STORE-CODE"},
		{"fail/invisible to all", sub(`"code":"N"}]}]`, `"code":"N"}]},{"coding":[{"system":"s","code":"MASQUE_PS"}]},{"coding":[{"system":"s","code":"INVISIBLE_PATIENT"}]}]`), 422, "STORE-CODE"},
		{"fail/no sourceId", sub(fhir.ExtSourceID, "http://example.org/e"), 422, "STORE-REQUIRED"},
		{"fail/hash of the second document", splice(t, good, 2, `"AAAAAAAAAAAAAAAAAAAAAAAAAAA="`, "content", "0", "attachment", "hash"), 422, "STORE-HASH"},
		{"fail/size", sub(`"size":`, `"size":1`), 422, "STORE-SIZE"},
		{"fail/HTML announced as XML", swapData(t, good, "PGh0bWw+"), 422, "STORE-CONTENT-TYPE"},
		{"fail/data not base64", swapData(t, good, "%%%%"), 422, "STORE-VALUE"},
		{"fail/two patients", last(patientOpen.Matricule+`"},"date"`, patientTwo.Matricule+`"},"date"`), 422, "STORE-PATIENT-DIFFERS"},
		{"fail/traits of another patient", last(`"value":"`+patientOpen.Matricule, `"value":"`+patientTwo.Matricule), 422, "STORE-PATIENT-DIFFERS"},
		{"fail/CDA cut short", swapDocument(t, base, `<ClinicalDocument xmlns="urn:hl7-org:v3"><id`), 422, "STORE-CDA"},
		{"fail/CDA with a DTD", swapDocument(t, base, `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ClinicalDocument xmlns="urn:hl7-org:v3">&e;</ClinicalDocument>`), 422, "STORE-CDA"},
		{"fail/CDA of another id", swapDocument(t, base, `<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.250.1.999.1.77"/></ClinicalDocument>`), 422, "STORE-CDA-DIFFERS"},
		{"fail/CDA of another type", swapDocument(t, base, `<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.250.1.999.1.1"/><code code="34112-3" codeSystem="2.16.840.1.113883.6.1"/></ClinicalDocument>`), 422, "STORE-CDA-DIFFERS"},
		{"fail/CDA of another patient", swapDocument(t, base, `<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.250.1.999.1.1"/><recordTarget><patientRole><id root="1.2.250.1.213.1.4.10" extension="`+patientTwo.Matricule+`"/></patientRole></recordTarget></ClinicalDocument>`), 422, "STORE-CDA-DIFFERS"},
		{"fail/attachment of no entry", splice(t, good, 2, `"urn:uuid:00000000-0000-4000-8000-000000000000"`, "content", "0", "attachment", "url"), 422, "STORE-REFERENCE"},
		{"fail/binary nobody names", strings.TrimSuffix(good, "]}") + `,{"fullUrl":"urn:uuid:00000000-0000-4000-8000-000000000000","resource":{"resourceType":"Binary","contentType":"text/xml","data":"PGEvPg=="},"request":{"method":"POST","url":"Binary"}}]}`, 422, "STORE-REFERENCE"},
		{"fail/document the list does not name", splice(t, good, 0, `[{"item":{"reference":"`+fullURL(t, good, 1)+`"}}]`, "entry"), 422, "STORE-REFERENCE"},
		{"fail/document the list names twice", splice(t, good, 0, `[{"item":{"reference":"`+fullURL(t, good, 1)+`"}},{"item":{"reference":"`+fullURL(t, good, 1)+`"}},{"item":{"reference":"`+fullURL(t, good, 2)+`"}}]`, "entry"), 422, "STORE-REFERENCE"},
		{"fail/two documents, one binary", oneBinary(t), 422, "STORE-REFERENCE"},
		{"fail/two lots", strings.TrimSuffix(good, "]}") + "," + lotEntry(t, good) + "]}", 422, "STORE-LOT"},
		{"fail/no DMP", strings.ReplaceAll(good, patientOpen.Matricule, patientNone.Matricule), 404, "STORE-NO-DMP"},
		{"fail/closed DMP", strings.ReplaceAll(good, patientOpen.Matricule, patientClosed.Matricule), 422, "STORE-DMP-CLOSED"},
		{"fail/same uniqueId twice in a lot", strings.Replace(good, "1.2.250.1.999.1.2", "1.2.250.1.999.1.1", 1), 422, "STORE-DUPLICATE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.post(tok, []byte(c.body))
			if c.code == "STORE-DUPLICATE" {
				c.status = 409
			}
			a.refused(t, c.status, c.code)
		})
	}
	t.Run("fail/no trace left", func(t *testing.T) {
		for _, kind := range []string{"DocumentReference", "List"} {
			if b := w.search(w.professional(physician), kind, of(patientOpen)).bundle(t); *b.Total != 0 {
				t.Errorf("%d %s after refusals", *b.Total, kind)
			}
		}
		if n := blobs(t, w.dir); n != 0 {
			t.Errorf("%d blobs after refusals", n)
		}
	})
	t.Run("ok/the same CDA, all agreed", func(t *testing.T) {
		d := someDeposit("1.2.250.1.999.2.9", someDocument("1.2.250.1.999.1.9", ""))
		w.post(tok, []byte(swapDocument(t, d, `<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.250.1.999.1.9"/><code code="11502-2" codeSystem="2.16.840.1.113883.6.1"/><recordTarget><patientRole><id root="1.2.250.1.213.1.4.10" extension="`+patientOpen.Matricule+`"/></patientRole></recordTarget></ClinicalDocument>`))).bundle(t)
	})
	t.Run("ok/the good lot", func(t *testing.T) { w.post(tok, []byte(good)).bundle(t) })
	t.Run("ok/audit", func(t *testing.T) {
		n, err := w.store.VerifyAudit(t.Context())
		if err != nil || n < 30 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

// docURL is the attachment.url of document i.
func docURL(t *testing.T, bundle string, i int) string {
	t.Helper()
	n, err := fhir.Parse([]byte(bundle))
	must(t, err)
	return n.Get("entry").Items()[1+i].Get("resource", "content").Items()[0].Get("attachment", "url").Text()
}

func fullURL(t *testing.T, bundle string, i int) string {
	t.Helper()
	n, err := fhir.Parse([]byte(bundle))
	must(t, err)
	return n.Get("entry").Items()[i].Get("fullUrl").Text()
}

// lotEntry is the entry of the lot, under another fullUrl.
func lotEntry(t *testing.T, bundle string) string {
	t.Helper()
	n, err := fhir.Parse([]byte(bundle))
	must(t, err)
	e := n.Get("entry").Items()[0]
	return string(fhir.Splice(e, e.Get("fullUrl").Replace(`"urn:uuid:00000000-0000-4000-8000-000000000000"`)))
}

// oneBinary is a lot of two documents with the same bytes, sent once.
func oneBinary(t *testing.T) string {
	t.Helper()
	twins := string(build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "jumeaux"), someDocument("1.2.250.1.999.1.2", "jumeaux"))))
	last := strings.LastIndex(twins, `,{"fullUrl"`)
	return splice(t, twins[:last]+"]}", 2, `"`+docURL(t, twins, 0)+`"`, "content", "0", "attachment", "url")
}

// splice gives one element of the resource of entry i other bytes.
func splice(t *testing.T, bundle string, i int, raw string, path ...string) string {
	t.Helper()
	n, err := fhir.Parse([]byte(bundle))
	must(t, err)
	at := n.Get("entry").Items()[i].Get("resource")
	for _, name := range path {
		if name == "0" {
			at = at.Items()[0]
		} else {
			at = at.Get(name)
		}
	}
	return string(fhir.Splice(n, at.Replace(raw)))
}

// swapDocument builds the lot with another first document.
func swapDocument(t *testing.T, d dmp.Deposit, content string) string {
	t.Helper()
	d.Documents = slices.Clone(d.Documents)
	d.Documents[0].Content = []byte(content)
	return string(build(t, d))
}

// swapData gives the first Binary other data.
func swapData(t *testing.T, bundle, data string) string {
	t.Helper()
	n, err := fhir.Parse([]byte(bundle))
	must(t, err)
	for _, e := range n.Get("entry").Items() {
		if d := e.Get("resource", "data"); d != nil {
			return string(fhir.Splice(n, d.Replace(fhir.Quote(data))))
		}
	}
	t.Fatal("no Binary")
	return ""
}

func blobs(t *testing.T, dir string) (n int) {
	t.Helper()
	must(t, filepath.WalkDir(filepath.Join(dir, "blobs"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}))
	return n
}

func TestDuplicates(t *testing.T) {
	w := newWorld(t)
	tok := w.structure(finess)
	lot := build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "un")))
	first := w.post(tok, lot)
	first.bundle(t)
	t.Run("ok/same lot again", func(t *testing.T) {
		again := w.post(tok, lot)
		if again.status != 200 || !bytes.Equal(again.body, first.body) {
			t.Errorf("HTTP %d %s", again.status, again.body)
		}
	})
	t.Run("ok/same lot after reopening", func(t *testing.T) {
		w.open()
		again := w.post(tok, lot)
		if again.status != 200 || !bytes.Equal(again.body, first.body) {
			t.Errorf("HTTP %d %s", again.status, again.body)
		}
	})
	t.Run("fail/same lot, another structure", func(t *testing.T) {
		w.post(w.structure(otherSite), lot).refused(t, 409, "STORE-LOT-CONFLICT")
	})
	t.Run("fail/same lot, other content", func(t *testing.T) {
		w.post(tok, build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.9", "neuf")))).refused(t, 409, "STORE-LOT-CONFLICT")
	})
	t.Run("fail/same document, same bytes, another lot", func(t *testing.T) {
		w.post(tok, build(t, someDeposit("1.2.250.1.999.2.2", someDocument("1.2.250.1.999.1.1", "un")))).refused(t, 409, "STORE-DUPLICATE")
	})
	t.Run("fail/same document, other bytes, another lot", func(t *testing.T) {
		w.post(tok, build(t, someDeposit("1.2.250.1.999.2.3", someDocument("1.2.250.1.999.1.1", "autre")))).refused(t, 409, "STORE-DUPLICATE")
	})
	t.Run("fail/same document for another patient", func(t *testing.T) {
		w.post(tok, build(t, forPatient(someDeposit("1.2.250.1.999.2.4", someDocument("1.2.250.1.999.1.1", "un")), patientTwo))).refused(t, 409, "STORE-DUPLICATE")
	})
	t.Run("fail/second document of a lot is known: the first leaves no trace", func(t *testing.T) {
		w.post(tok, build(t, someDeposit("1.2.250.1.999.2.5", someDocument("1.2.250.1.999.1.5", "cinq"), someDocument("1.2.250.1.999.1.1", "un")))).
			refused(t, 409, "STORE-DUPLICATE")
		if b := w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t); *b.Total != 1 {
			t.Errorf("%d documents", *b.Total)
		}
	})
}

// TestConcurrent sends one lot, and one document in many lots, at once.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	tok := w.structure(finess)
	same := build(t, someDeposit("1.2.250.1.999.2.100", someDocument("1.2.250.1.999.1.100", "même")))
	const n = 8
	answers := make([]answer, 2*n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = w.post(tok, same) })
		rival := build(t, someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", 200+i), someDocument("1.2.250.1.999.1.200", "rival")))
		wg.Go(func() { answers[n+i] = w.post(tok, rival) })
	}
	wg.Wait()
	won := 0
	for i, a := range answers {
		switch {
		case i < n:
			if a.status != 200 || !bytes.Equal(a.body, answers[0].body) {
				t.Errorf("HTTP %d %s", a.status, a.body)
			}
		case a.status == 200:
			won++
		default:
			a.refused(t, 409, "STORE-DUPLICATE")
		}
	}
	if won != 1 {
		t.Errorf("%d rivals won", won)
	}
	if b := w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t); *b.Total != 2 {
		t.Errorf("%d documents", *b.Total)
	}
	if _, err := w.store.VerifyAudit(t.Context()); err != nil {
		t.Error(err)
	}
}

// held reads the documents of the open patient by uniqueId.
func (w *world) held() map[string]fhir.DocumentReference {
	w.t.Helper()
	out := map[string]fhir.DocumentReference{}
	for _, e := range w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(w.t).Entry {
		n, err := fhir.Parse(e.Resource)
		must(w.t, err)
		var r fhir.DocumentReference
		must(w.t, n.Decode(&r))
		out[strings.TrimPrefix(r.MasterIdentifier.Value, "urn:oid:")] = r
	}
	return out
}

func replacing(uniqueID, oldID, oldUnique string) dmp.DepositDocument {
	d := someDocument(uniqueID, "version "+uniqueID)
	d.ReplacesID = oldID
	d.Metadata.Replaces = &dmp.ID{Root: oldUnique}
	return d
}

func TestReplacement(t *testing.T) {
	w := newWorld(t)
	tok := w.structure(finess)
	const x, y, z = "1.2.250.1.999.1.1", "1.2.250.1.999.1.2", "1.2.250.1.999.1.3"
	lot := func(n int, d ...dmp.DepositDocument) []byte {
		return build(t, someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", n), d...))
	}
	w.post(tok, lot(1, someDocument(x, "x"))).bundle(t)
	before := w.held()[x]
	good := lot(2, replacing(y, before.ID, x))

	t.Run("fail/patch without relatesTo", func(t *testing.T) {
		n, err := fhir.Parse(good)
		must(t, err)
		rel := n.Get("entry").Items()[1].Get("resource", "relatesTo")
		broken := strings.Replace(string(good), `"relatesTo":`+string(rel.Raw())+",", "", 1)
		w.post(tok, []byte(broken)).refused(t, 422, "STORE-REPLACEMENT")
	})
	t.Run("fail/relatesTo and patch name two documents", func(t *testing.T) {
		w.post(tok, bytes.Replace(good, []byte(`"target":{"reference":"DocumentReference/`), []byte(`"target":{"reference":"DocumentReference/z`), 1)).
			refused(t, 422, "STORE-REPLACEMENT")
	})
	t.Run("fail/patch of something else", func(t *testing.T) {
		w.post(tok, bytes.Replace(good, []byte(`"valueCode":"superseded"`), []byte(`"valueCode":"entered-in-error"`), 1)).refused(t, 422, "STORE-VALUE")
	})
	t.Run("fail/target unknown", func(t *testing.T) {
		w.post(tok, lot(3, replacing(y, strings.Repeat("a", 26)+"-"+strings.Repeat("b", 26), x))).refused(t, 422, "STORE-UNKNOWN-TARGET")
	})
	t.Run("fail/target is another document than named", func(t *testing.T) {
		w.post(tok, lot(4, replacing(y, before.ID, z))).refused(t, 422, "STORE-UNKNOWN-TARGET")
	})
	t.Run("fail/target of another patient", func(t *testing.T) {
		w.post(tok, build(t, forPatient(someDeposit("1.2.250.1.999.2.5", replacing(y, before.ID, x)), patientTwo))).refused(t, 422, "STORE-UNKNOWN-TARGET")
	})
	t.Run("fail/another structure", func(t *testing.T) {
		w.post(w.structure(otherSite), good).refused(t, 403, "STORE-NOT-AUTHOR")
	})
	t.Run("fail/two replace the same", func(t *testing.T) {
		w.post(tok, lot(6, replacing(y, before.ID, x), replacing(z, before.ID, x))).refused(t, 409, "STORE-NOT-CURRENT")
	})
	t.Run("ok/replaced in one step", func(t *testing.T) {
		b := w.post(tok, good).bundle(t)
		if len(b.Entry) != 4 || b.Entry[2].Response.Status != "200 OK" || !strings.HasSuffix(b.Entry[2].Response.Location, "/_history/2") {
			t.Errorf("%+v", b.Entry)
		}
		after := w.held()
		if after[x].Status != "superseded" || after[x].Meta.VersionID != "2" || after[x].ID != before.ID {
			t.Errorf("%+v", after[x])
		}
		if after[x].Identifier[0].Value == before.Identifier[0].Value {
			t.Error("the entryUUID did not change with the version")
		}
		if after[x].Meta.LastUpdated <= before.Meta.LastUpdated || after[y].Meta.LastUpdated <= before.Meta.LastUpdated {
			t.Errorf("lastUpdated does not grow: %s, %s, %s", before.Meta.LastUpdated, after[x].Meta.LastUpdated, after[y].Meta.LastUpdated)
		}
		if len(after[y].RelatesTo) != 1 || after[y].RelatesTo[0].Target.Reference != "DocumentReference/"+before.ID {
			t.Errorf("%+v", after[y].RelatesTo)
		}
	})
	t.Run("ok/same replacement again", func(t *testing.T) {
		w.post(tok, good).bundle(t)
		if got := w.held()[x].Meta.VersionID; got != "2" {
			t.Errorf("version %s", got)
		}
	})
	t.Run("fail/not the latest", func(t *testing.T) {
		w.post(tok, lot(7, replacing(z, before.ID, x))).refused(t, 409, "STORE-NOT-CURRENT")
	})
	t.Run("ok/chain", func(t *testing.T) {
		w.post(tok, lot(8, replacing(z, w.held()[y].ID, y))).bundle(t)
		now := w.held()
		if now[y].Status != "superseded" || now[z].Status != "current" {
			t.Errorf("%s %s", now[y].Status, now[z].Status)
		}
		found := w.search(w.professional(physician), "DocumentReference", of(patientOpen)+"&status=current").bundle(t)
		if *found.Total != 1 {
			t.Errorf("%d current", *found.Total)
		}
	})
}

// TestClockGoesBack keeps lastUpdated growing when the clock does not.
func TestClockGoesBack(t *testing.T) {
	w := newWorld(t)
	w.post(w.structure(finess), build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x")))).bundle(t)
	first := w.held()["1.2.250.1.999.1.1"]
	tok := w.structure(finess)
	w.clock.Move(-20 * time.Second)
	w.post(tok, build(t, someDeposit("1.2.250.1.999.2.2", replacing("1.2.250.1.999.1.2", first.ID, "1.2.250.1.999.1.1")))).bundle(t)
	if got := w.held()["1.2.250.1.999.1.2"]; got.Meta.LastUpdated <= first.Meta.LastUpdated {
		t.Errorf("%s after %s", got.Meta.LastUpdated, first.Meta.LastUpdated)
	}
}

// TestCrash opens a copy of the folder as a crash would have left it: taken
// while the store is open, after the answer.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	lot := build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x")))
	first := w.post(w.structure(finess), lot)
	first.bundle(t)
	dead := t.TempDir()
	must(t, os.CopyFS(dead, os.DirFS(w.dir)))
	w.dir = dead
	w.open()
	if got := w.held(); len(got) != 1 {
		t.Errorf("%d documents", len(got))
	}
	for _, r := range w.held() {
		if a := w.get(w.professional(physician), "/"+r.Content[0].Attachment.URL, nil); a.status != 200 {
			t.Errorf("HTTP %d", a.status)
		}
	}
	if again := w.post(w.structure(finess), lot); !bytes.Equal(again.body, first.body) {
		t.Errorf("HTTP %d %s", again.status, again.body)
	}
}
