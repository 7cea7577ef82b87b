package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
)

func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"action":"new","patient":{"matricule":"1","traits":{"sex":"F"}},"flags":{"destdmp":true}}`,
		`{"action":"delete","recipients":[{"kind":"patient","address":"a@b.fr"}],"act":{"start":"2026-01-05T07:30:00+01:00"}}`,
		`{"action":"replace","document":{"replaces":{"root":"1.2"}},"author":{"device":{"id":{"root":"1.2"}}}}`,
		`{"action":1}`, `{"x":{}}`, `[]`, `{"patient":{"traits":[]}}`, `{"act":{"start":{}}}`, `{"recipients":[[]]}`,
	} {
		f.Add([]byte(s))
	}
	site := gateway.Establishment{FINESSEJ: "990000010", FINESSGeo: "990000028"}
	c := &caller{sites: []gateway.Establishment{site}, name: "essai"}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := readEnvelope(data)
		if err == nil {
			// What passes has no member that we do not know: written again and read
			// again it is the same.
			again, err := readEnvelope(mustMarshal(e))
			if err != nil {
				t.Fatalf("written again it is refused: %v", err)
			}
			if a, b := mustMarshal(e), mustMarshal(again); string(a) != string(b) {
				t.Fatalf("%s became %s", a, b)
			}
		}
		for _, document := range []string{"%PDF-1.4", "<ClinicalDocument/>", ""} {
			in, err := (&API{}).inbound(form{data, []byte(document)}, c)
			if err != nil {
				t.Fatalf("one site, and yet nobody's: %v", err)
			}
			if !json.Valid(in.Raw) || len(in.Refusals) == 0 && len(in.Documents) != 1 {
				t.Fatalf("%+v", in)
			}
		}
	})
}

func FuzzLot(f *testing.F) {
	for _, s := range []string{
		`{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"List","code":{"coding":[{"system":"x/MHDlistTypes","code":"submissionset"}]},"identifier":[{"use":"usual","value":"urn:oid:1.2"}],"subject":{"reference":"Patient?identifier=urn:oid:1.2.250.1.213.1.4.10|1"},"entry":[{"item":{"reference":"urn:uuid:2"}}]},"request":{"method":"POST","url":"List"}},{"fullUrl":"urn:uuid:2","resource":{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"url":"urn:uuid:3"}}]},"request":{"method":"POST","url":"DocumentReference"}},{"fullUrl":"urn:uuid:3","resource":{"resourceType":"Binary","data":"AA=="},"request":{"method":"POST","url":"Binary"}}]}`,
		`{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Parameters"},"request":{"method":"PATCH","url":"DocumentReference/1"}}]}`,
		`{"resourceType":"DocumentReference","status":"current","subject":{"reference":"#p"},"contained":[{"resourceType":"Patient","id":"p"}],"content":[{"attachment":{"data":"AA=="}}]}`,
		`{"resourceType":"DocumentReference","content":[{"attachment":{"data":7}}],"author":[{"reference":"#"}]}`,
		`{}`, `[]`, `{"resourceType":"Bundle","type":"transaction","entry":[1,null,{}]}`,
	} {
		f.Add([]byte(s))
	}
	site := gateway.Establishment{FINESSEJ: "990000010", FINESSGeo: "990000028"}
	c := &caller{sites: []gateway.Establishment{site}, name: "essai"}
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := fhir.Parse(data)
		if err != nil {
			return
		}
		for _, read := range []func(*fhir.Node) *lot{readTransaction, readPublication} {
			l := read(root)
			in := l.inbound(c, site)
			if len(in.Refusals) > 0 {
				continue
			}
			if len(in.Documents) == 0 || in.Patient.Matricule == "" || in.Action != dmp.New && in.Action != dmp.Replace {
				t.Fatalf("nothing refused, and yet %+v", in)
			}
			for _, d := range in.Documents {
				if len(d.Content) == 0 || d.Claimed == nil {
					t.Fatal("a document without content or claims")
				}
			}
			remote := strings.Repeat("DocumentReference/1/_history/1 ", len(l.documents)) + "List/1 " + strings.Repeat("Binary/1 ", len(l.documents))
			if a, ok := l.response(remote, nil); !ok || !json.Valid(a.Body) {
				t.Fatalf("no answer: %s", a.Body)
			}
		}
	})
}

func FuzzRebase(f *testing.F) {
	f.Add([]byte(`{"fullUrl":"https://dmp/fhir/List/1","link":[{"url":"https://dmp/fhir?x"}],"a":"https://dmp/fhirx"}`))
	f.Add([]byte(`["https://dmp/fhir",{"b":{"c":"https:\/\/dmp\/fhir\/1"}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := fhir.Parse(data)
		if err != nil {
			return
		}
		out := rebase(root, "https://dmp/fhir", "https://passerelle/fhir")
		moved, err := fhir.Parse(out)
		if err != nil {
			t.Fatalf("%s became %s", data, out)
		}
		if again := rebase(moved, "https://dmp/fhir", "https://passerelle/fhir"); string(again) != string(out) {
			t.Fatalf("moved twice: %s", again)
		}
	})
}
