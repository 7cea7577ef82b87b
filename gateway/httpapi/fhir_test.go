package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// deposit is a lot as a vendor's software would make it of these documents.
func deposit(t *testing.T, lot int, docs ...testdata.CDAOptions) dmp.Deposit {
	t.Helper()
	p := testdata.PersonaByID(testdata.PersonaPhysician)
	d := dmp.Deposit{
		Caller: dmp.Caller{Establishment: establishments()[0], Requester: dmp.Requester{Person: &dmp.Person{
			ID: dmp.ID{Root: dmp.OIDPerson, Extension: p.NationalID}, Family: p.Family, Given: p.Given}}},
		LotID: dmp.ID{Root: fmt.Sprintf("1.2.250.1.999.9.%d", lot)}, EntryUUID: fmt.Sprintf("urn:uuid:00000000-0000-4000-8000-%012d", lot),
		Submitted: noon, Patient: identity(testdata.Patients()[0]), ContentType: dmp.Code{Code: "07", System: "1.2.250.1.213.2.2"},
	}
	for _, o := range docs {
		content := testdata.CDA(o)
		doc, err := cda.Read(content)
		must(t, err)
		md, _ := doc.Metadata(content)
		item := dmp.DepositDocument{Metadata: md, Content: content}
		d.Patient = md.Patient
		if md.Replaces != nil {
			item.ReplacesID = "x"
		}
		d.Documents = append(d.Documents, item)
	}
	return d
}

func bundle(t *testing.T, d dmp.Deposit) string {
	t.Helper()
	b, err := fhir.BuildITI65(d)
	must(t, err)
	return string(b)
}

// ordinary is a lot of one new document.
func ordinary(t *testing.T, n int) string {
	return bundle(t, deposit(t, n, testdata.CDAOptions{ID: testdata.DocumentID(n)}))
}

// change edits a bundle as a tree.
func change(t *testing.T, text string, f func(entries []map[string]any)) string {
	t.Helper()
	var b map[string]any
	must(t, json.Unmarshal([]byte(text), &b))
	var entries []map[string]any
	for _, e := range b["entry"].([]any) {
		entries = append(entries, e.(map[string]any))
	}
	f(entries)
	return mustJSON(t, b)
}

// reliable says how sure the identity of the contained patients is.
func reliable(resource map[string]any, code string, system ...string) {
	for _, c := range resource["contained"].([]any) {
		if p := c.(map[string]any); p["resourceType"] == "Patient" {
			known, _ := p["extension"].([]any)
			p["extension"] = append(known, map[string]any{"url": "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability",
				"extension": []any{map[string]any{"url": "identityStatus", "valueCoding": map[string]any{"code": code, "system": strings.Join(system, "")}}}})
		}
	}
}

// also puts identifiers before those of the contained patients.
func also(resource map[string]any, more ...any) {
	for _, c := range resource["contained"].([]any) {
		if p := c.(map[string]any); p["resourceType"] == "Patient" {
			p["identifier"] = append(more, p["identifier"].([]any)...)
		}
	}
}

// identifier is one of a FHIR Patient, with a type of FR Core.
func identifier(kind, use, oid, value string) map[string]any {
	id := map[string]any{"system": "urn:oid:" + oid, "value": value, "use": use}
	if kind != "" {
		id["type"] = map[string]any{"coding": []any{map[string]any{"code": kind}}}
	}
	return id
}

// Which of the identifiers of a patient is an INS, and what identityReliability
// says of it, follow package ins. Found by review, issue 6: the door took the
// first identifier under the OID of an INS, a billing number or a former INS as
// well, and refused VALI of FR Core 2.1, which means qualified beside an INS.
func TestFHIRPatientOfALot(t *testing.T) {
	doc := func(e []map[string]any) map[string]any { return resource(e, "DocumentReference") }
	other := testdata.PatientByID(testdata.PatientTrois).Matricule
	w := newWorld(t, options{})
	for n, tt := range []struct {
		name   string
		edit   func(e []map[string]any)
		status int
		code   string
	}{
		{"ok/billing number", func(e []map[string]any) { also(doc(e), identifier("NH", "official", "1.2.250.1.213.1.4.8", other)) }, 201, ""},
		{"ok/former INS", func(e []map[string]any) { also(doc(e), identifier("INS-NIR-TEST", "old", testdata.OIDTest, other)) }, 201, ""},
		{"ok/NIA before the NIR", func(e []map[string]any) { also(doc(e), identifier("INS-NIA", "temp", "1.2.250.1.213.1.4.9", other)) }, 201, ""},
		{"ok/VALI of 2.1", func(e []map[string]any) { reliable(doc(e), "VALI", ins.FHIRSystem0445) }, 201, ""},
		{"ok/QUAL", func(e []map[string]any) { reliable(doc(e), "QUAL", ins.FHIRSystemStatus) }, 201, ""},
		{"fail/VALI where QUAL exists", func(e []map[string]any) { reliable(doc(e), "VALI", ins.FHIRSystemStatus) }, 422, "INS-NOT-QUALIFIED"},
		{"fail/VALI and doubtful", func(e []map[string]any) {
			reliable(doc(e), "VALI", ins.FHIRSystem0445)
			reliable(doc(e), "DOUT", ins.FHIRSystem0445)
		}, 422, "INS-NOT-QUALIFIED"},
		{"fail/two NIR", func(e []map[string]any) {
			also(doc(e), identifier("INS-NIR-TEST", "official", testdata.OIDTest, other))
		}, 422, httpapi.FaultPatient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := change(t, ordinary(t, n+1), tt.edit)
			a := w.fhirPost(w.machine, "/fhir", body, nil)
			if a.status/100 != tt.status/100 || !strings.Contains(string(a.body), tt.code) {
				t.Fatalf("%d %s", a.status, a.body)
			}
		})
	}
}

// resource is that of the first entry of a kind.
func resource(entries []map[string]any, kind string) map[string]any {
	for _, e := range entries {
		if r := e["resource"].(map[string]any); r["resourceType"] == kind {
			return r
		}
	}
	return nil
}

func (w *world) fhirPost(c *http.Client, path, body string, h http.Header) answer {
	w.t.Helper()
	if h == nil {
		h = http.Header{}
	}
	h = h.Clone()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", fhir.MediaType)
	}
	return w.do(c, "POST", path, []byte(body), h)
}

// response checks a transaction-response against its request, entry by entry.
func response(t *testing.T, request string, a answer) (locations []string) {
	t.Helper()
	var asked, got fhir.Bundle
	must(t, json.Unmarshal([]byte(request), &asked))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	must(t, json.Unmarshal([]byte(a.body), &got))
	if got.Type != "transaction-response" || len(got.Entry) != len(asked.Entry) {
		t.Fatalf("%d entries for %d: %s", len(got.Entry), len(asked.Entry), a.body)
	}
	for i, e := range got.Entry {
		kind, _, _ := strings.Cut(asked.Entry[i].Request.URL, "/")
		status := map[string]string{"POST": "201", "PATCH": "200"}[asked.Entry[i].Request.Method]
		if !strings.HasPrefix(e.Response.Status, status) || !strings.HasPrefix(e.Response.Location, kind+"/") {
			t.Errorf("entry %d, %s %s: %+v", i, asked.Entry[i].Request.Method, asked.Entry[i].Request.URL, e.Response)
		}
		locations = append(locations, e.Response.Location)
	}
	return locations
}

func TestITI65(t *testing.T) {
	w := newWorld(t, options{})
	doctor := w.bearer(testdata.PersonaPhysician)

	t.Run("ok/machine, two documents in another order of entries", func(t *testing.T) {
		request := change(t, bundle(t, deposit(t, 1, testdata.CDAOptions{ID: testdata.DocumentID(1)}, testdata.CDAOptions{ID: testdata.DocumentID(2), Level: 3})),
			func(entries []map[string]any) { slices.Reverse(entries) })
		var asked map[string]any
		must(t, json.Unmarshal([]byte(request), &asked))
		list := asked["entry"].([]any)
		slices.Reverse(list)
		request = mustJSON(t, asked)
		got := response(t, request, w.fhirPost(w.machine, "/fhir", request, nil))
		// What the answer names is what the DMP holds: the first DocumentReference
		// of the request is the second document.
		for i, location := range got {
			if strings.HasPrefix(location, "DocumentReference/") {
				id, _, _ := strings.Cut(strings.TrimPrefix(location, "DocumentReference/"), "/")
				held := w.do(w.vendor, "GET", "/fhir/DocumentReference/"+id, nil, with(doctor)).json(t)
				want := list[i].(map[string]any)["resource"].(map[string]any)["masterIdentifier"].(map[string]any)["value"]
				if held["masterIdentifier"].(map[string]any)["value"] != want {
					t.Errorf("entry %d is located at another document", i)
				}
			}
		}
	})
	t.Run("ok/professional, trailing slash", func(t *testing.T) {
		request := ordinary(t, 3)
		a := w.fhirPost(w.vendor, "/fhir/", request, with(doctor, "Content-Type", "application/json"))
		response(t, request, a)
		id := a.header.Get("X-Passerelle-Submission")
		v := w.do(w.vendor, "GET", "/v1/submissions/"+id, nil, with(doctor)).json(t)
		if v["state"] != "done" || v["door"] != "fhir" || v["message"].(map[string]any)["type"] != "ITI-65" {
			t.Errorf("%v", v)
		}
	})
	t.Run("ok/replacement", func(t *testing.T) {
		request := bundle(t, deposit(t, 4, testdata.CDAOptions{ID: testdata.DocumentID(4), Replaces: testdata.DocumentID(3)}))
		response(t, request, w.fhirPost(w.machine, "/fhir", request, nil))
		fate, err := w.journal.Fate(t.Context(), establishments()[0].FINESSEJ, testdata.DocumentID(3))
		if err != nil || fate.Fate != gateway.FateSuperseded {
			t.Errorf("%v %v", fate, err)
		}
	})
	t.Run("ok/sent again", func(t *testing.T) {
		before := w.count()
		request := ordinary(t, 5)
		first := w.fhirPost(w.machine, "/fhir", request, nil)
		again := w.fhirPost(w.machine, "/fhir", request, nil)
		if response(t, request, first); again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" || w.count() != before+1 {
			t.Errorf("%s\n%s", first.body, again.body)
		}
		other := strings.Replace(request, "T12:00:00", "T12:00:01", 1)
		w.fhirPost(w.machine, "/fhir", other, nil).refused(t, 409, gateway.FaultKeyReused)
	})
	t.Run("ok/asynchronous", func(t *testing.T) {
		a := w.fhirPost(w.machine, "/fhir", ordinary(t, 6), with("", "Prefer", "return=minimal, respond-async"))
		where := a.header.Get("Content-Location")
		if a.status != 202 || !strings.HasPrefix(where, "/v1/submissions/") {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		if s := w.state(strings.TrimPrefix(where, "/v1/submissions/")); s != "done" {
			t.Errorf("state %q", s)
		}
	})
	t.Run("ok/a lot without uniqueId has no key", func(t *testing.T) {
		request := change(t, ordinary(t, 11), func(e []map[string]any) { delete(resource(e, "List"), "identifier") })
		response(t, request, w.fhirPost(w.machine, "/fhir", request, nil))
		again := w.fhirPost(w.machine, "/fhir", request, nil) // another submission: the DMP holds these bytes already
		if again.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%v %s", again.header, again.body)
		}
		if s := w.state(again.header.Get("X-Passerelle-Submission")); s != "done" {
			t.Errorf("state %q", s)
		}
	})
	t.Run("ok/warnings are in the answer", func(t *testing.T) {
		request := change(t, ordinary(t, 7), func(e []map[string]any) {
			content := resource(e, "DocumentReference")["content"].([]any)[0].(map[string]any)
			content["attachment"].(map[string]any)["title"] = "Un autre titre"
		})
		a := w.fhirPost(w.machine, "/fhir", request, nil)
		response(t, request, a)
		if !strings.Contains(a.body, cda.FaultMetaDiffers) {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("ok/dry run", func(t *testing.T) {
		before := w.count()
		a := w.fhirPost(w.machine, "/fhir?dry_run=1", ordinary(t, 8), nil)
		if a.status != 200 || a.json(t)["resourceType"] != "OperationOutcome" || a.header.Get("X-Passerelle-Rules") == "" || w.count() != before {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/the DMP says no", func(t *testing.T) {
		closed := testdata.PatientByID(testdata.PatientClosed)
		request := bundle(t, deposit(t, 9, testdata.CDAOptions{ID: testdata.DocumentID(9), Patient: closed}))
		a := w.fhirPost(w.machine, "/fhir", request, nil)
		a.refused(t, 422, "DMPClosed")
		if again := w.fhirPost(w.machine, "/fhir", request, nil); again.body != a.body || again.status != a.status {
			t.Errorf("again: %d %s", again.status, again.body)
		}
	})
	t.Run("fail/refused at the door, again the same", func(t *testing.T) {
		request := strings.Replace(ordinary(t, 10), `"status":"current"`, `"status":"superseded"`, 2)
		a := w.fhirPost(w.machine, "/fhir", request, nil)
		a.refused(t, 422, httpapi.FaultElement)
		if v := w.do(w.machine, "GET", "/v1/submissions/"+a.header.Get("X-Passerelle-Submission"), nil, nil).json(t); v["state"] != "refused" {
			t.Errorf("the refusal is not in the journal: %v", v)
		}
		if again := w.fhirPost(w.machine, "/fhir", request, nil); again.body != a.body || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("again: %d %s", again.status, again.body)
		}
	})
}

// TestPatience holds the DMP's answer back: the deposit is durable, the caller
// is told where to follow it, and nothing is deposited twice.
func TestPatience(t *testing.T) {
	w := newWorld(t, options{limits: httpapi.Limits{Wait: 300 * time.Millisecond}})
	w.sandbox.SetDMPTroubles(sim.Trouble{Mode: sim.Hold, Method: "POST", Path: "/fhir", When: sim.Before})
	request := ordinary(t, 1)
	a := w.fhirPost(w.machine, "/fhir", request, nil)
	if a.status != 202 || a.header.Get("Content-Location") == "" || a.json(t)["resourceType"] != "OperationOutcome" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	w.sandbox.SetDMPTroubles()
	w.sandbox.ReleaseDMP()
	if s := w.state(strings.TrimPrefix(a.header.Get("Content-Location"), "/v1/submissions/")); s != "done" {
		t.Errorf("state %q", s)
	}
	response(t, request, w.fhirPost(w.machine, "/fhir", request, nil)) // the same lot, asked for again
	if n := w.count(); n != 1 {
		t.Errorf("%d submissions", n)
	}
}

func TestRefusedLots(t *testing.T) {
	w := newWorld(t, options{idle: true})
	trois := testdata.PatientByID(testdata.PatientTrois)
	ofTrois := "Patient?identifier=urn:oid:" + trois.OID + "|" + trois.Matricule
	two := func() string {
		return bundle(t, deposit(t, 1, testdata.CDAOptions{ID: testdata.DocumentID(1)}, testdata.CDAOptions{ID: testdata.DocumentID(2)}))
	}
	edited := func(f func(e []map[string]any)) string { return change(t, ordinary(t, 1), f) }
	doc := func(e []map[string]any) map[string]any { return resource(e, "DocumentReference") }
	att := func(e []map[string]any) map[string]any {
		return doc(e)["content"].([]any)[0].(map[string]any)["attachment"].(map[string]any)
	}
	for _, tt := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"fail/unreferenced Binary", edited(func(e []map[string]any) { e[2]["fullUrl"] = "urn:uuid:00000000-0000-4000-8000-00000000ffff" }), 422, httpapi.FaultReference},
		{"fail/one Binary of two documents", change(t, two(), func(e []map[string]any) {
			content := e[2]["resource"].(map[string]any)["content"].([]any)[0].(map[string]any)["attachment"].(map[string]any)
			content["url"] = att(e)["url"]
		}), 422, httpapi.FaultReference},
		{"fail/hash of another document", edited(func(e []map[string]any) { att(e)["hash"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" }), 422, httpapi.FaultHash + " Bundle.entry[1].resource.content[0].attachment.hash"},
		{"fail/hash as hexadecimal in base64", edited(func(e []map[string]any) {
			att(e)["hash"] = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 40)))
		}), 422, httpapi.FaultHash},
		{"fail/no hash", edited(func(e []map[string]any) { delete(att(e), "hash") }), 422, httpapi.FaultHash},
		{"fail/size", edited(func(e []map[string]any) { att(e)["size"] = 12 }), 422, httpapi.FaultHash},
		{"fail/two patients, in the list", edited(func(e []map[string]any) { resource(e, "List")["subject"] = map[string]any{"reference": ofTrois} }), 422, httpapi.FaultPatient},
		{"fail/two patients, in two documents", change(t, two(), func(e []map[string]any) {
			e[2]["resource"].(map[string]any)["subject"] = map[string]any{"reference": ofTrois}
		}), 422, httpapi.FaultPatient},
		{"fail/two patients, in the traits", edited(func(e []map[string]any) {
			for _, c := range doc(e)["contained"].([]any) {
				if p := c.(map[string]any); p["resourceType"] == "Patient" {
					p["name"].([]any)[0].(map[string]any)["family"] = trois.BirthName
				}
			}
		}), 422, "INS-MISMATCH Patient.name.family"},
		{"fail/two patients, list and document against the CDA", bundle(t, func() dmp.Deposit {
			d := deposit(t, 1, testdata.CDAOptions{ID: testdata.DocumentID(1)})
			d.Patient, d.Documents[0].Metadata.Patient = identity(trois), identity(trois)
			return d
		}()), 422, "INS-MISMATCH"},
		{"fail/no patient", edited(func(e []map[string]any) { delete(doc(e), "subject") }), 422, httpapi.FaultPatient},
		{"fail/not qualified", edited(func(e []map[string]any) { reliable(doc(e), "VALI") }), 422, "INS-NOT-QUALIFIED"},
		// Found by the proof on the wire (issue 6): both counted as qualified.
		{"fail/not qualified, in a word that nobody knows", edited(func(e []map[string]any) { reliable(doc(e), "CERTAIN") }), 422, "INS-NOT-QUALIFIED"},
		{"fail/qualified here, provisional there", edited(func(e []map[string]any) {
			list := resource(e, "List")
			list["contained"] = append(list["contained"].([]any), map[string]any{"resourceType": "Patient", "id": "sujet",
				"identifier": []any{map[string]any{"system": "urn:oid:" + testdata.OIDTest, "value": testdata.Patients()[0].Matricule}}})
			list["subject"] = map[string]any{"reference": "#sujet"}
			reliable(list, "QUAL")
			reliable(doc(e), "PROV")
		}), 422, "INS-NOT-QUALIFIED"},
		{"fail/document not listed", edited(func(e []map[string]any) { delete(resource(e, "List"), "entry") }), 422, httpapi.FaultReference},
		{"fail/list names what is not there", edited(func(e []map[string]any) {
			resource(e, "List")["entry"] = []any{map[string]any{"item": map[string]any{"reference": "urn:uuid:none"}}}
		}), 422, httpapi.FaultReference},
		{"fail/two lists", edited(func(e []map[string]any) { e[2]["resource"], e[2]["request"] = e[0]["resource"], e[0]["request"] }), 422, httpapi.FaultEntry},
		{"fail/a Patient entry", edited(func(e []map[string]any) { e[2]["resource"] = map[string]any{"resourceType": "Patient"} }), 422, httpapi.FaultEntry},
		{"fail/a Binary that is put", edited(func(e []map[string]any) { e[2]["request"] = map[string]any{"method": "PUT", "url": "Binary/1"} }), 422, httpapi.FaultEntry},
		{"fail/no document", edited(func(e []map[string]any) {
			e[1]["resource"] = map[string]any{"resourceType": "Binary"}
			e[1]["request"] = e[2]["request"]
		}), 422, httpapi.FaultEntry},
		{"fail/two entries of one fullUrl", edited(func(e []map[string]any) { e[1]["fullUrl"] = e[0]["fullUrl"] }), 422, httpapi.FaultReference},
		{"fail/patch of nothing", edited(func(e []map[string]any) {
			e[2]["resource"], e[2]["request"] = map[string]any{"resourceType": "Parameters"}, map[string]any{"method": "PATCH", "url": "DocumentReference/1"}
		}), 422, httpapi.FaultReference},
		{"fail/new and replacement in one lot", bundle(t, deposit(t, 1, testdata.CDAOptions{ID: testdata.DocumentID(1)}, testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(0)})), 422, httpapi.FaultMixed},
		{"fail/masked and not in one lot", change(t, two(), func(e []map[string]any) {
			doc(e)["securityLabel"] = append(doc(e)["securityLabel"].([]any), map[string]any{"coding": []any{map[string]any{"system": fhir.SystemVisibility, "code": "MASQUE_PS"}}})
		}), 422, httpapi.FaultMixed},
		{"fail/unknown label", edited(func(e []map[string]any) {
			doc(e)["securityLabel"] = []any{map[string]any{"coding": []any{map[string]any{"code": "SECRET"}}}}
		}), 422, httpapi.FaultElement},
		{"fail/content is no base64", edited(func(e []map[string]any) { resource(e, "Binary")["data"] = "***" }), 422, httpapi.FaultElement},
		{"fail/superseded from the start", edited(func(e []map[string]any) { doc(e)["status"] = "superseded" }), 422, httpapi.FaultElement},
		{"fail/no uniqueId", edited(func(e []map[string]any) { delete(doc(e), "masterIdentifier") }), 422, httpapi.FaultElement},
		{"fail/a date that is none", edited(func(e []map[string]any) { att(e)["creation"] = "2026-13-45" }), 422, httpapi.FaultElement},
		{"fail/another type than the CDA", edited(func(e []map[string]any) {
			doc(e)["type"].(map[string]any)["coding"].([]any)[0].(map[string]any)["code"] = "34133-9"
		}), 422, cda.FaultMetaContradicts + " typeCode"},
		{"fail/another id than the CDA", edited(func(e []map[string]any) { doc(e)["masterIdentifier"].(map[string]any)["value"] = "urn:oid:1.2.3" }), 422, cda.FaultMetaContradicts + " uniqueId"},
		{"fail/a searchset", strings.Replace(ordinary(t, 1), `"transaction"`, `"searchset"`, 1), 400, httpapi.FaultBundle},
		{"fail/a DocumentReference", `{"resourceType":"DocumentReference"}`, 400, httpapi.FaultBundle},
		{"fail/no JSON", `{"resourceType":`, 400, httpapi.FaultJSON},
		{"fail/member twice", `{"resourceType":"Bundle","ResourceType":"List"}`, 400, httpapi.FaultJSON},
		{"fail/empty", ``, 400, httpapi.FaultJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.fhirPost(w.machine, "/fhir", tt.body, nil)
			a.refused(t, tt.status, tt.code)
			if v := a.json(t); v["resourceType"] != "OperationOutcome" || a.header.Get("Content-Type") != fhir.MediaType+"; charset=utf-8" {
				t.Errorf("%v %s", a.header, a.body)
			}
			if dry := w.fhirPost(w.machine, "/fhir?dry_run=1", tt.body, nil); !slices.Equal(dry.codes(t), a.codes(t)) || dry.status != a.status {
				t.Errorf("dry run: %d %v", dry.status, dry.codes(t))
			}
		})
	}
	t.Run("fail/media type", func(t *testing.T) {
		w.fhirPost(w.machine, "/fhir", ordinary(t, 1), with("", "Content-Type", "application/fhir+xml")).refused(t, 415, httpapi.FaultMediaType)
	})
	t.Run("fail/wants XML", func(t *testing.T) {
		w.fhirPost(w.machine, "/fhir", ordinary(t, 1), with("", "Accept", "application/fhir+xml")).refused(t, 406, httpapi.FaultAccept)
		w.fhirPost(w.machine, "/fhir?_format=xml", ordinary(t, 1), nil).refused(t, 406, httpapi.FaultAccept)
	})
}

// TestConsultation reads the DMP through the gateway, as one professional.
func TestConsultation(t *testing.T) {
	w := newWorld(t, options{})
	doctor := w.bearer(testdata.PersonaPhysician)
	mine := testdata.CDAOptions{ID: testdata.DocumentID(1), Author: testdata.PersonaByID(testdata.PersonaPhysician)}
	request := bundle(t, deposit(t, 1, mine))
	response(t, request, w.fhirPost(w.machine, "/fhir", request, nil))
	p := testdata.Patients()[0]
	who := "urn:oid:" + p.OID + "|" + p.Matricule
	query := url.Values{"patient.identifier": {who}, "status": {"current"}}.Encode()
	base := w.server.URL + "/fhir/"

	var found fhir.Bundle
	for name, a := range map[string]answer{
		"GET":  w.do(w.vendor, "GET", "/fhir/DocumentReference?"+query, nil, with(doctor)),
		"POST": w.do(w.vendor, "POST", "/fhir/DocumentReference/_search", []byte(query), with(doctor, "Content-Type", "application/x-www-form-urlencoded")),
	} {
		must(t, json.Unmarshal([]byte(a.body), &found))
		if a.status != 200 || len(found.Entry) != 1 || !strings.HasPrefix(found.Entry[0].FullURL, base+"DocumentReference/") || strings.Contains(a.body, w.info.DMP.FHIR) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		for _, l := range found.Link {
			if !strings.HasPrefix(l.URL, base) {
				t.Errorf("%s: the link %s leads elsewhere", name, l.Relation)
			}
		}
	}
	var ref fhir.DocumentReference
	must(t, json.Unmarshal(found.Entry[0].Resource, &ref))
	file := ref.Content[0].Attachment.URL
	if !strings.HasPrefix(file, base+"Binary/") {
		file = base + file
	}
	raw := w.do(w.vendor, "GET", file, nil, with(doctor, "Accept", "text/xml"))
	if raw.status != 200 || raw.body != string(testdata.CDA(mine)) || raw.header.Get("Content-Type") != "text/xml" {
		t.Errorf("%d %v, %d bytes", raw.status, raw.header, len(raw.body))
	}
	if a := w.do(w.vendor, "GET", found.Link[0].URL, nil, with(doctor)); a.status != 200 || !strings.Contains(a.body, ref.ID) {
		t.Errorf("the self link: %d %s", a.status, a.body)
	}
	if a := w.do(w.vendor, "GET", "/fhir/List?"+url.Values{"patient.identifier": {who}, "code": {"submissionset"}, "status": {"current"}}.Encode(), nil, with(doctor)); a.status != 200 || a.json(t)["total"] != 1.0 {
		t.Errorf("lots: %d %s", a.status, a.body)
	}
	if a := w.do(w.vendor, "GET", "/fhir/Patient?identifier="+url.QueryEscape(who), nil, with(doctor)); a.status != 200 || a.json(t)["total"] != 1.0 {
		t.Errorf("existence of the DMP: %d %s", a.status, a.body)
	}

	gone := `[{"op":"replace","path":"/status","value":"entered-in-error"}]`
	patch := func(target, match string) answer {
		return w.do(w.vendor, "PATCH", target, []byte(gone), with(doctor, "Content-Type", "application/json-patch+json", "If-Match", match))
	}
	if a := patch("/fhir/DocumentReference/"+ref.ID, `W/"7"`); a.status != 412 || a.json(t)["resourceType"] != "OperationOutcome" {
		t.Errorf("another version is patched: %d %s", a.status, a.body)
	}
	last := func() {
		byID := url.Values{"identifier": {"urn:ietf:rfc:3986|urn:oid:" + testdata.DocumentID(1)}}.Encode()
		if a := patch("/fhir/DocumentReference?"+byID, `W/"1"`); a.status != 200 || a.header.Get("ETag") != `W/"2"` || a.json(t)["status"] != "entered-in-error" {
			t.Errorf("deletion: %d %v %s", a.status, a.header, a.body)
		}
	}
	t.Run("fail/the DMP's own refusal comes through", func(t *testing.T) {
		blocked := w.bearer(testdata.PersonaBlocked)
		a := w.do(w.vendor, "GET", "/fhir/DocumentReference/"+ref.ID, nil, with(blocked))
		if a.status < 400 || a.status >= 500 || a.json(t)["resourceType"] != "OperationOutcome" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/without care", func(t *testing.T) {
		w.do(w.machine, "GET", "/fhir/DocumentReference?"+query, nil, nil).refused(t, 401, "AUTH-CERTIFICATE-ONLY")
	})
	t.Run("fail/id", func(t *testing.T) {
		w.do(w.vendor, "GET", "/fhir/Binary/a%2Fb", nil, with(doctor)).refused(t, 422, httpapi.FaultField)
	})
	t.Run("fail/patch of another kind", func(t *testing.T) {
		w.do(w.vendor, "PATCH", "/fhir/DocumentReference/"+ref.ID, []byte(gone), with(doctor, "Content-Type", "application/json")).refused(t, 415, httpapi.FaultMediaType)
	})
	for name, trouble := range map[string]struct {
		sim.Trouble
		status int
		code   string
	}{
		"down":  {sim.Trouble{Mode: sim.Refuse, Path: "/fhir/DocumentReference", Status: 503}, 503, ""},
		"a lie": {sim.Trouble{Mode: sim.Lie, Lie: "html", Path: "/fhir/DocumentReference"}, 502, fhir.FaultBadAnswer},
		"cut":   {sim.Trouble{Mode: sim.Cut, Bytes: 60, Path: "/fhir/DocumentReference"}, 0, ""},
	} {
		t.Run("fail/DMP "+name, func(t *testing.T) {
			w.sandbox.SetDMPTroubles(trouble.Trouble)
			defer w.sandbox.SetDMPTroubles()
			a := w.do(w.vendor, "GET", "/fhir/DocumentReference/"+ref.ID, nil, with(doctor))
			if a.status < 500 || trouble.status != 0 && a.status != trouble.status || a.json(t)["resourceType"] != "OperationOutcome" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if trouble.code != "" {
				a.refused(t, trouble.status, trouble.code)
			}
		})
	}
	t.Run("fail/a Binary cut on its way", func(t *testing.T) {
		w.sandbox.SetDMPTroubles(sim.Trouble{Mode: sim.Cut, Bytes: 2000, Path: "/fhir/Binary"})
		defer w.sandbox.SetDMPTroubles()
		if a, err := w.try(w.vendor, "GET", file, nil, with(doctor, "Accept", "text/xml")); err == nil && a.status == 200 {
			t.Errorf("%d bytes of %d look complete", len(a.body), len(raw.body))
		}
	})
	last()
	for _, secret := range []string{p.Matricule, p.BirthName, doctor} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%.6s… stands in the log", secret)
		}
	}
}

func TestCapability(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	a := w.do(w.nobody, "GET", "/fhir/metadata", nil, nil)
	v := a.json(t)
	if a.status != 200 || v["resourceType"] != "CapabilityStatement" || v["fhirVersion"] != "4.0.1" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	// What it promises has a route: everything asks who calls, nothing is unknown.
	rest := v["rest"].([]any)[0].(map[string]any)
	for _, r := range rest["resource"].([]any) {
		kind := r.(map[string]any)["type"].(string)
		for _, i := range r.(map[string]any)["interaction"].([]any) {
			method, path := "GET", "/fhir/"+kind
			switch i.(map[string]any)["code"] {
			case "read":
				path += "/1"
			case "create":
				method = "POST"
			case "patch":
				method = "PATCH"
			}
			if a := w.do(w.nobody, method, path, []byte("{}"), nil); a.status != 401 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
	w.do(w.nobody, "GET", "/fhir/metadata?_format=xml", nil, nil).refused(t, 406, httpapi.FaultAccept)
}
