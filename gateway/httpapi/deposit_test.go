package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// envelope is that of an ordinary document of the first patient, to the DMP.
func envelope(t *testing.T, n int) string {
	t.Helper()
	p := testdata.PersonaByID(testdata.PersonaPhysician)
	v := map[string]any{
		"action": "new", "patient": identity(testdata.Patients()[0]), "flags": map[string]any{"destdmp": true},
		"author": map[string]any{
			"id": map[string]any{"extension": p.NationalID}, "family": p.Family, "given": p.Given, "prefix": p.Prefix, "suffix": p.Suffix,
			"specialty": map[string]any{"code": p.Specialty, "display": p.SpecialtyDisplay},
		},
		"document": map[string]any{
			"id": map[string]any{"root": testdata.DocumentID(n)}, "created": "2026-01-05T09:15:00+01:00",
			"type": map[string]any{"code": "11488-4", "display": "CR ou fiche de consultation ou de visite"}, "title": "Compte rendu d'essai",
		},
		"act": map[string]any{
			"start": "2026-01-05T07:30:00+01:00", "class": "O",
			"practice_setting": map[string]any{"code": "ETABLISSEMENT", "display": "Etablissement de santé"},
			"facility":         map[string]any{"code": "SA01", "display": "Etablissement public de santé"},
		},
	}
	out, err := json.Marshal(v)
	must(t, err)
	return string(out)
}

// thin is the least that goes with a CDA: what the document cannot say.
func thin(t *testing.T) string {
	return edit(t, edit(t, edit(t, envelope(t, 0), "document", nil), "act", nil), "author.specialty", nil)
}

func pdf() string { return string(testdata.PDF("Compte rendu d'essai", []string{"Rien à signaler."})) }

func document(n int) string {
	return string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(n)}))
}

func TestDeposit(t *testing.T) {
	w := newWorld(t, options{})
	doctor := w.bearer(testdata.PersonaPhysician)
	second := w.bearer(testdata.PersonaRadiologist)
	trois := identity(testdata.PatientByID(testdata.PatientTrois))
	vali := identity(testdata.Patients()[0])
	vali.Status = "VALI"
	html := "<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>"
	for _, tt := range []struct {
		name     string
		envelope string
		document string
		vendor   string // bearer; empty: the machine
		status   int
		code     string // first of the refusal, with its place
		warning  string
	}{
		{name: "ok/CDA", envelope: thin(t), document: document(1), status: 202},
		{name: "ok/CDA level 3 and what the envelope says of it", document: string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(2), Level: 3})), status: 202,
			envelope: edit(t, edit(t, thin(t), "document.id.root", testdata.DocumentID(2)), "document.type.code", "11502-2")},
		{name: "ok/PDF", envelope: envelope(t, 3), document: pdf(), status: 202},
		{name: "ok/by a professional", envelope: thin(t), document: document(4), vendor: doctor, status: 202},
		{name: "ok/of two sites, one is named", envelope: edit(t, thin(t), "establishment", "990000028"), document: document(5), vendor: second, status: 202},
		{name: "ok/another title is told", envelope: edit(t, thin(t), "document.title", "Autre"), document: document(6), status: 202, warning: cda.FaultMetaDiffers},
		{name: "fail/of two sites, none is named", envelope: thin(t), document: document(7), vendor: second, status: 422, code: httpapi.FaultEstablishment + " /establishment"},
		{name: "fail/of another establishment", envelope: edit(t, thin(t), "establishment", "990000044"), document: document(7), status: 422, code: httpapi.FaultEstablishment},
		{name: "fail/HTML under the name of a PDF", envelope: envelope(t, 7), document: html, status: 422, code: cda.FaultNotPDF},
		{name: "fail/HTML inside a CDA", envelope: thin(t), document: string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(7), PDF: []byte(html)})), status: 422, code: cda.FaultBodyFormat},
		{name: "fail/cut PDF", envelope: envelope(t, 7), document: pdf()[:60], status: 422, code: cda.FaultNotPDF},
		{name: "fail/PDF without a type", envelope: edit(t, envelope(t, 7), "document.type", nil), document: pdf(), status: 422, code: cda.FaultNoType},
		{name: "fail/PDF without an id", envelope: edit(t, envelope(t, 7), "document.id", nil), document: pdf(), status: 422, code: cda.FaultNoID},
		{name: "fail/text", envelope: envelope(t, 7), document: "Bonjour", status: 422, code: httpapi.FaultDocument},
		{name: "fail/nothing", envelope: envelope(t, 7), document: "", status: 422, code: httpapi.FaultDocument},
		{name: "fail/broken CDA", envelope: thin(t), document: document(7)[:500], status: 400, code: cda.FaultXML},
		{name: "fail/another patient", envelope: edit(t, thin(t), "patient", trois), document: document(7), status: 422, code: "INS-MISMATCH"},
		{name: "fail/not qualified, CDA", envelope: edit(t, thin(t), "patient", vali), document: document(7), status: 422, code: "INS-NOT-QUALIFIED"},
		{name: "fail/not qualified, PDF", envelope: edit(t, envelope(t, 7), "patient", vali), document: pdf(), status: 422, code: "INS-NOT-QUALIFIED"},
		{name: "fail/another type", envelope: edit(t, thin(t), "document.type.code", "34133-9"), document: document(7), status: 422, code: cda.FaultMetaContradicts + " typeCode"},
		{name: "fail/no author, so nobody asks", envelope: edit(t, thin(t), "author", nil), document: document(7), status: 422, code: gateway.FaultNoSender},
		{name: "fail/unknown field", envelope: edit(t, thin(t), "patient.traits.birth_nme", "X"), document: document(7), status: 422, code: httpapi.FaultUnknownField + " /patient/traits/birth_nme"},
		{name: "fail/unknown field in another case", envelope: edit(t, thin(t), "Patient", map[string]any{}), document: document(7), status: 400, code: httpapi.FaultJSON},
		{name: "fail/unknown field that is no name", envelope: edit(t, thin(t), "280076311310118", 1), document: document(7), status: 422, code: httpapi.FaultUnknownField + " /?"},
		{name: "fail/unknown field deep", envelope: edit(t, thin(t), "recipients", []any{map[string]any{"kind": "patient", "address": "a@b.fr", "x": 1}}), document: document(7), status: 422, code: httpapi.FaultUnknownField + " /recipients/0/x"},
		{name: "fail/wrong kind", envelope: edit(t, thin(t), "flags.destdmp", "oui"), document: document(7), status: 422, code: httpapi.FaultField + " /flags/destdmp"},
		{name: "fail/no time", envelope: edit(t, thin(t), "act.start", "hier"), document: document(7), status: 422, code: httpapi.FaultField},
		{name: "fail/no action", envelope: edit(t, thin(t), "action", nil), document: document(7), status: 422, code: httpapi.FaultMissing + " /action"},
		{name: "fail/unknown action", envelope: edit(t, thin(t), "action", "burn"), document: document(7), status: 422, code: httpapi.FaultField + " /action"},
		{name: "fail/letter to nobody", envelope: edit(t, thin(t), "flags.destmssanteps", true), document: document(7), status: 422, code: httpapi.FaultRecipient + " /recipients"},
		{name: "fail/letter to no address", envelope: edit(t, thin(t), "recipients", []any{map[string]any{"kind": "professional", "address": "docteur"}}), document: document(7), status: 422, code: httpapi.FaultRecipient + " /recipients/0/address"},
		{name: "fail/kind of recipient", envelope: edit(t, thin(t), "recipients", []any{map[string]any{"kind": "friend", "address": "a@b.fr"}}), document: document(7), status: 422, code: httpapi.FaultField + " /recipients/0/kind"},
		{name: "fail/envelope is no JSON", envelope: "{", document: document(7), status: 400, code: httpapi.FaultJSON},
		{name: "fail/envelope is a list", envelope: "[]", document: document(7), status: 400, code: httpapi.FaultJSON},
		{name: "fail/member twice", envelope: `{"action":"new","action":"delete"}`, document: document(7), status: 400, code: httpapi.FaultJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.machine
			if tt.vendor != "" {
				c = w.vendor
			}
			before := w.count()
			dry := w.submit(c, "?dry_run=1", tt.envelope, tt.document, with(tt.vendor))
			if w.count() != before {
				t.Error("a dry run left something")
			}
			a := w.submit(c, "", tt.envelope, tt.document, with(tt.vendor))
			if a.status != tt.status {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if tt.code != "" {
				a.refused(t, tt.status, tt.code)
				if strings.HasPrefix(tt.code, httpapi.FaultEstablishment) {
					dry.refused(t, tt.status, tt.code)
					return
				}
				if id := a.json(t)["submission"]; id == nil || id != a.header.Get("X-Passerelle-Submission") || w.do(w.machine, "GET", fmt.Sprint("/v1/submissions/", id), nil, nil).json(t)["state"] != "refused" {
					t.Errorf("the refusal is not in the journal: %s", a.body)
				}
				v := dry.json(t)
				errors, _ := v["errors"].([]any)
				if dry.status != 200 || v["verdict"] != "refused" || v["rules"] == "" || len(errors) == 0 || errors[0].(map[string]any)["code"] != a.json(t)["code"] {
					t.Errorf("dry run: %d %s", dry.status, dry.body)
				}
				return
			}
			v := a.json(t)
			if v["outcome"] != "accepted" || v["rules"] == "" || a.header.Get("Location") != fmt.Sprint("/v1/submissions/", v["id"]) {
				t.Fatalf("%v %s", a.header, a.body)
			}
			if d := dry.json(t); dry.status != 200 || d["verdict"] != "accepted" || d["rules"] != v["rules"] || fmt.Sprint(d["warnings"]) != fmt.Sprint(v["warnings"]) {
				t.Errorf("dry run: %s\npublication: %s", dry.body, a.body)
			}
			if tt.warning != "" && !strings.Contains(a.body, tt.warning) {
				t.Errorf("no %s in %s", tt.warning, a.body)
			}
			if s := w.state(v["id"].(string)); s != "done" {
				t.Errorf("state %q: %s", s, w.do(w.machine, "GET", a.header.Get("Location"), nil, nil).body)
			}
		})
	}
	for _, secret := range []string{testdata.Patients()[0].Matricule, testdata.Patients()[0].BirthName, trois.Matricule, doctor} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%.6s… stands in the log", secret)
		}
	}
}

// TestLife replaces and deletes by REST what was deposited by REST.
func TestLife(t *testing.T) {
	w := newWorld(t, options{})
	send := func(name, envelope, document string) {
		t.Helper()
		a := w.submit(w.machine, "", envelope, document, nil)
		if a.status != 202 {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		if s := w.state(a.json(t)["id"].(string)); s != "done" {
			t.Fatalf("%s: %s", name, s)
		}
	}
	next := edit(t, edit(t, edit(t, edit(t, envelope(t, 2), "action", "replace"), "document.replaces.root", testdata.DocumentID(1)), "document.version", 2),
		"document.set_id.root", testdata.DocumentID(1))
	send("first", envelope(t, 1), pdf())
	send("second", next, pdf())
	send("gone", edit(t, next, "action", "delete"), pdf())
	first, err := w.journal.Fate(t.Context(), establishments()[0].FINESSEJ, testdata.DocumentID(1))
	must(t, err)
	second, err := w.journal.Fate(t.Context(), establishments()[0].FINESSEJ, testdata.DocumentID(2))
	must(t, err)
	if first.Fate != gateway.FateSuperseded || second.Fate != gateway.FateDeleted {
		t.Errorf("first %q, second %q", first.Fate, second.Fate)
	}
	a := w.submit(w.machine, "", next, pdf(), nil)
	a.refused(t, 409, gateway.FaultNotLatest)
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t, options{})
	key := with("", "Idempotency-Key", "cle-1")
	first := w.submit(w.machine, "", thin(t), document(1), key)
	again := w.submit(w.machine, "", thin(t), document(1), key) // another boundary, the same content
	if first.status != 202 || again.status != 202 || again.body != first.body || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d %s\n%d %s", first.status, first.body, again.status, again.body)
	}
	w.submit(w.machine, "", thin(t), document(2), key).refused(t, 409, gateway.FaultKeyReused)
	w.submit(w.machine, "", edit(t, thin(t), "act.class", "I"), document(1), key).refused(t, 409, gateway.FaultKeyReused)
	refused := w.submit(w.machine, "", "{", document(3), with("", "Idempotency-Key", "cle-2"))
	same := w.submit(w.machine, "", "{", document(3), with("", "Idempotency-Key", "cle-2"))
	if refused.status != 400 || same.status != 400 || same.body != refused.body {
		t.Errorf("a refusal: %s\nagain: %s", refused.body, same.body)
	}
	if a := w.submit(w.machine, "", thin(t), document(3), with("", "Idempotency-Key", "cle-2")); a.status != 202 {
		t.Errorf("corrected under the same key: %d %s", a.status, a.body)
	}
	for name, h := range map[string]http.Header{
		"empty": with("", "Idempotency-Key", ""), "long": with("", "Idempotency-Key", strings.Repeat("k", 129)),
		"blank inside": with("", "Idempotency-Key", "a b"), "accents": with("", "Idempotency-Key", "clé"),
		"two": {"Idempotency-Key": {"a", "b"}},
	} {
		t.Run("fail/"+name, func(t *testing.T) { w.submit(w.machine, "", thin(t), document(4), h).refused(t, 400, httpapi.FaultKey) })
	}

	t.Run("ok/at once", func(t *testing.T) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids := map[string]bool{}
		for range 6 {
			wg.Go(func() {
				a := w.submit(w.machine, "", thin(t), document(5), with("", "Idempotency-Key", "cle-3"))
				mu.Lock()
				defer mu.Unlock()
				ids[a.header.Get("Location")] = true
			})
		}
		wg.Wait()
		if len(ids) != 1 {
			t.Errorf("one key, %d submissions: %v", len(ids), ids)
		}
	})
}

// TestForm sends what is no deposit.
func TestForm(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{Body: 3 << 20}})
	good, kind := parts(t, "envelope", thin(t), "document", document(1))
	form := func(pairs ...string) func() ([]byte, string) {
		return func() ([]byte, string) { return parts(t, pairs...) }
	}
	for _, tt := range []struct {
		name   string
		body   func() ([]byte, string)
		status int
		code   string
	}{
		{"fail/JSON instead of a form", func() ([]byte, string) { return []byte(thin(t)), "application/json" }, 415, httpapi.FaultMediaType},
		{"fail/no type", func() ([]byte, string) { return good, "" }, 415, httpapi.FaultMediaType},
		{"fail/no boundary", func() ([]byte, string) { return good, "multipart/form-data" }, 400, httpapi.FaultMultipart},
		{"fail/another boundary", func() ([]byte, string) { return good, "multipart/form-data; boundary=x" }, 400, ""},
		{"fail/cut", func() ([]byte, string) { return good[:len(good)-20], kind }, 400, httpapi.FaultCut},
		{"fail/no document", form("envelope", thin(t)), 400, httpapi.FaultPart + " document"},
		{"fail/no envelope", form("document", document(1)), 400, httpapi.FaultPart + " envelope"},
		{"fail/document twice", form("envelope", thin(t), "document", "a", "document", "b"), 400, httpapi.FaultPart + " document"},
		{"fail/unknown part", form("envelope", thin(t), "document", document(1), "note", "x"), 400, httpapi.FaultPart + " note"},
		{"fail/envelope too large", form("envelope", strings.Repeat(" ", 2<<20), "document", "x"), 413, httpapi.FaultTooLarge + " envelope"},
		{"fail/body too large", form("envelope", thin(t), "document", strings.Repeat("x", 4<<20)), 413, httpapi.FaultTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, kind := tt.body()
			a := w.do(w.machine, "POST", "/v1/submissions", body, with("", "Content-Type", kind))
			if tt.code == "" {
				if a.status != tt.status {
					t.Errorf("%d %s", a.status, a.body)
				}
				return
			}
			a.refused(t, tt.status, tt.code)
		})
	}
	t.Run("fail/dry run neither yes nor no", func(t *testing.T) {
		w.submit(w.machine, "?dry_run=maybe", thin(t), document(1), nil).refused(t, 422, httpapi.FaultField+" dry_run")
	})
	if n := w.count(); n != 0 {
		t.Errorf("%d submissions", n)
	}
}

// TestLarge asks for the limits that stand in production: 60 MB is too much.
func TestLarge(t *testing.T) {
	w := newWorld(t, options{idle: true})
	body := make([]byte, 60_000_000)
	for _, path := range []string{"/v1/submissions", "/fhir", "/fhir/DocumentReference"} {
		a, err := w.try(w.machine, "POST", path, body, with("", "Content-Type", "multipart/form-data; boundary=x"))
		if err != nil {
			t.Fatalf("%s: %v", path, err) // the answer must be readable, although the body was not read
		}
		a.refused(t, 413, httpapi.FaultTooLarge)
	}
}

func TestBusy(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{InHand: 1000}})
	a := w.submit(w.machine, "", thin(t), document(1), nil)
	a.refused(t, 503, httpapi.FaultBusy)
	if a.header.Get("Retry-After") == "" || a.json(t)["temporary"] != true {
		t.Errorf("%v %s", a.header, a.body)
	}
}

// TestJournalDown takes the journal away: nothing is accepted, the caller is told
// to come back, and nothing says where to follow what was not kept.
func TestJournalDown(t *testing.T) {
	w := newWorld(t, options{idle: true})
	must(t, w.journal.Close())
	for name, a := range map[string]answer{
		"REST": w.submit(w.machine, "", thin(t), document(1), nil),
		"FHIR": w.fhirPost(w.machine, "/fhir", ordinary(t, 1), nil),
		"list": w.do(w.machine, "GET", "/v1/submissions", nil, nil),
	} {
		if a.status < 500 || a.header.Get("Location")+a.header.Get("Content-Location")+a.header.Get("X-Passerelle-Submission") != "" {
			t.Errorf("%s: %d %v %s", name, a.status, a.header, a.body)
		}
		if row, ok := fault.Lookup(a.codes(t)[0]); !ok || row.Kind != fault.Temporary {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestIdentityCheck(t *testing.T) {
	w := newWorld(t, options{idle: true})
	for _, tt := range []struct {
		name  string
		body  string
		valid bool
		find  string // code and place
	}{
		{"ok/qualified", mustJSON(t, identity(testdata.Patients()[0])), true, ""},
		{"ok/traits alone", `{"traits":{"birth_name":"DURAND","sex":"F"}}`, true, ""},
		{"ok/unknown birth place is told", edit(t, mustJSON(t, identity(testdata.Patients()[0])), "traits.birth_place", "99999"), true, "INS-BIRTH-PLACE /traits/birth_place"},
		// Found by review, issue 6: only the batch looked places up.
		{"ok/birth place of no table is told", edit(t, mustJSON(t, identity(testdata.Patients()[0])), "traits.birth_place", "2A020"), true, "INS-PLACE-UNKNOWN /traits/birth_place"},
		{"ok/birth place before its time is told", `{"traits":{"birth_name":"DURAND","birth_date":"1990-07-01","birth_place":"97801"}}`, true, "INS-PLACE-DATE /traits/birth_place"},
		// Found by the audit of issue 6, 2026-11-22: only the batch knew the day and
		// the environment.
		{"ok/born long ago is told", `{"traits":{"birth_date":"1869-12-31"}}`, true, "INS-BIRTH-DATE /traits/birth_date"},
		{"fail/born in the future", `{"traits":{"birth_date":"2199-01-01"}}`, false, "INS-BIRTH-DATE /traits/birth_date"},
		{"fail/provisional with a matricule", edit(t, mustJSON(t, identity(testdata.Patients()[0])), "status", "PROV"), false, "INS-NOT-QUALIFIED /status"},
		{"fail/matricule without its OID", edit(t, mustJSON(t, identity(testdata.Patients()[0])), "oid", nil), false, ""},
		{"fail/short matricule", edit(t, mustJSON(t, identity(testdata.Patients()[0])), "matricule", "2800763"), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.do(w.machine, "POST", "/v1/identities/check", []byte(tt.body), with("", "Content-Type", "application/json"))
			var v httpapi.IdentityVerdict
			must(t, json.Unmarshal([]byte(a.body), &v))
			if a.status != 200 || v.Valid != tt.valid || !tt.valid && len(v.Findings) == 0 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if tt.find != "" && !slices.ContainsFunc(v.Findings, func(f httpapi.IdentityFinding) bool { return f.Code+" "+f.Where == tt.find }) {
				t.Errorf("no %s in %s", tt.find, a.body)
			}
			if strings.Contains(a.body, "VALADIER") || strings.Contains(a.body, "2800763") {
				t.Error("the answer repeats the identity")
			}
		})
	}
	t.Run("fail/test identity in production", func(t *testing.T) {
		w.api.Environment = ins.Production
		a := w.do(w.machine, "POST", "/v1/identities/check", []byte(mustJSON(t, identity(testdata.Patients()[0]))), with("", "Content-Type", "application/json"))
		if !strings.Contains(a.body, ins.FaultTestOID) || !strings.Contains(a.body, `"valid":false`) {
			t.Error(a.body)
		}
	})
	w.api.Environment = ""
	for name, tt := range map[string]struct {
		body, kind string
		status     int
		code       string
	}{
		"no JSON":       {"{", "application/json", 400, httpapi.FaultJSON},
		"unknown field": {`{"nir":"1"}`, "application/json", 422, httpapi.FaultUnknownField + " /nir"},
		"form":          {"a=b", "application/x-www-form-urlencoded", 415, httpapi.FaultMediaType},
		"too large":     {`{"status":"` + strings.Repeat("x", 100<<10) + `"}`, "application/json", 413, httpapi.FaultTooLarge},
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			w.do(w.machine, "POST", "/v1/identities/check", []byte(tt.body), with("", "Content-Type", tt.kind)).refused(t, tt.status, tt.code)
		})
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	must(t, err)
	return string(out)
}

// TestFaces proves that each row of the error table can be written on both faces.
func TestFaces(t *testing.T) {
	issue := map[string]bool{}
	for _, row := range fault.Table {
		if row.HTTP < 400 || row.HTTP > 599 || http.StatusText(row.HTTP) == "" {
			t.Errorf("%s: status %d", row.Code, row.HTTP)
		}
		issue[row.FHIR] = true
	}
	for kind := range issue {
		if !httpapi.IssueType(kind) {
			t.Errorf("issue type %q is not one of FHIR", kind)
		}
	}
}
