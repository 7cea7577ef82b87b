package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/testdata"
)

// published is the DocumentReference of ITI-105 of a document.
func published(t *testing.T, n int, f func(map[string]any)) string {
	t.Helper()
	content := testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(n)})
	p := testdata.Patients()[0]
	v := map[string]any{
		"resourceType": "DocumentReference", "status": "current", "date": "2026-01-05T09:15:00+01:00",
		"masterIdentifier": map[string]any{"system": "urn:ietf:rfc:3986", "value": "urn:oid:" + testdata.DocumentID(n)},
		"subject":          map[string]any{"identifier": map[string]any{"system": "urn:oid:" + p.OID, "value": p.Matricule}},
		"contained": []any{map[string]any{"resourceType": "Practitioner", "id": "a", "identifier": []any{
			map[string]any{"system": "https://rpps.esante.gouv.fr", "value": testdata.PersonaByID(testdata.PersonaBiologist).NationalID[1:]}}}},
		"author":  []any{map[string]any{"reference": "#a"}},
		"content": []any{map[string]any{"attachment": map[string]any{"contentType": "text/xml", "data": base64.StdEncoding.EncodeToString(content)}}},
	}
	if f != nil {
		f(v)
	}
	return mustJSON(t, v)
}

func TestITI105(t *testing.T) {
	w := newWorld(t, options{})
	doctor := w.bearer(testdata.PersonaPhysician)
	a := w.fhirPost(w.machine, "/fhir/DocumentReference", published(t, 1, nil), nil)
	location := a.header.Get("Location")
	if a.status != 201 || !strings.HasPrefix(location, w.server.URL+"/fhir/DocumentReference/") || a.header.Get("ETag") != `W/"1"` {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	at, _, _ := strings.Cut(location, "/_history/")
	held := w.do(w.vendor, "GET", at, nil, with(doctor)).json(t)
	if held["masterIdentifier"].(map[string]any)["value"] != "urn:oid:"+testdata.DocumentID(1) {
		t.Errorf("%v", held["masterIdentifier"])
	}
	att := func(v map[string]any) map[string]any {
		return v["content"].([]any)[0].(map[string]any)["attachment"].(map[string]any)
	}
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		status int
		code   string
	}{
		{"fail/no data", func(v map[string]any) { delete(att(v), "data") }, 422, httpapi.FaultElement},
		{"fail/an address too", func(v map[string]any) { att(v)["url"] = "Binary/1" }, 422, httpapi.FaultElement},
		{"fail/hash", func(v map[string]any) { att(v)["hash"] = "AAAA" }, 422, httpapi.FaultHash},
		{"fail/HTML", func(v map[string]any) { att(v)["data"] = base64.StdEncoding.EncodeToString([]byte("<html><body>")) }, 400, cda.FaultXML},
		{"fail/another author", func(v map[string]any) { v["date"] = "2020-01-05T09:15:00+01:00" }, 422, cda.FaultMetaContradicts + " creationTime"},
		{"fail/no patient", func(v map[string]any) { delete(v, "subject") }, 422, httpapi.FaultPatient},
		{"fail/two contents", func(v map[string]any) { v["content"] = append(v["content"].([]any), v["content"].([]any)[0]) }, 422, httpapi.FaultElement},
		// Found by review, issue 4: a matricule would have gone out as the id of a sender.
		{"fail/the patient as sender", func(v map[string]any) {
			p := testdata.Patients()[0]
			v["contained"] = []any{map[string]any{"resourceType": "Patient", "id": "a", "identifier": []any{
				map[string]any{"system": "urn:oid:" + p.OID, "value": p.Matricule}}}}
		}, 422, gateway.FaultNoSender},
		{"fail/a Bundle", func(v map[string]any) { v["resourceType"] = "Bundle" }, 400, httpapi.FaultBundle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.fhirPost(w.machine, "/fhir/DocumentReference", published(t, 2, tt.change), nil).refused(t, tt.status, tt.code)
		})
	}
	t.Run("ok/contained patient with traits", func(t *testing.T) {
		patient, err := fhir.Marshal(fhir.PatientView("p", identity(testdata.Patients()[0]), dmp.ID{Root: testdata.Establishments()[0].IPPOID, Extension: "900001"}))
		must(t, err)
		body := published(t, 3, func(v map[string]any) {
			v["contained"] = append(v["contained"].([]any), json.RawMessage(patient))
			v["subject"] = map[string]any{"reference": "#p"}
		})
		if a := w.fhirPost(w.vendor, "/fhir/DocumentReference", body, with(doctor)); a.status != 201 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestIntendedRecipient mails the professional whom a lot names.
func TestIntendedRecipient(t *testing.T) {
	w := newWorld(t, options{mail: true, idle: true})
	address := testdata.PersonaByID(testdata.PersonaNurse).Mailbox
	request := change(t, ordinary(t, 1), func(e []map[string]any) {
		list := resource(e, "List")
		list["contained"] = append(list["contained"].([]any),
			map[string]any{"resourceType": "Practitioner", "id": "dest", "telecom": []any{map[string]any{"system": "email", "value": "mailto:" + address}}},
			map[string]any{"resourceType": "Organization", "id": "muet", "name": "Sans adresse"})
		for _, id := range []string{"#dest", "#muet"} {
			list["extension"] = append(list["extension"].([]any), map[string]any{"url": fhir.ExtIntendedRecipient, "valueReference": map[string]any{"reference": id}})
		}
	})
	a := w.fhirPost(w.machine, "/fhir", request, with("", "Prefer", "respond-async"))
	if a.status != 202 || !strings.Contains(a.body, httpapi.FaultNoAddress) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	all, err := w.journal.Deliveries(t.Context(), a.header.Get("X-Passerelle-Submission"))
	must(t, err)
	var to []string
	for _, d := range all {
		to = append(to, d.Destination+" "+d.Recipient)
	}
	slices.Sort(to)
	if !slices.Equal(to, []string{"dmp ", "mss-pro " + address}) {
		t.Errorf("deliveries %q", to)
	}
}
