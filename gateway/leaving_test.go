package gateway_test

import (
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// What recordTarget does not say, the rest of a letter did: found by the proof on
// the wire (issue 6). Each of these left to a physician with the matricule of a
// person who is not qualified.
func TestMatriculeBesideRecordTarget(t *testing.T) {
	me := testdata.Patients()[0]
	const spaced = "2 80 07 63 113 101 18"
	within := func(after, more string) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) {
			doc := string(in.Documents[0].Content)
			if !strings.Contains(doc, after) {
				t.Fatal("no place for it: ", after)
			}
			in.Documents[0].Content = []byte(strings.Replace(doc, after, more+after, 1))
		}
	}
	document := func(o testdata.CDAOptions) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) {
			o.NoINS = true
			in.Documents[0].Content = testdata.CDA(o)
		}
	}
	to := func(kind, address string) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) {
			in.Recipients = []gateway.Recipient{{Kind: kind, Address: address}}
		}
	}
	other := func(in *gateway.Inbound) { in.Patient.Matricule, in.Patient.OID = "", "" }
	for _, tt := range []struct {
		name      string
		qualified bool
		changes   []func(*gateway.Inbound)
		code      string
	}{
		{"ok/nowhere", false, nil, ""},
		{"ok/in the title, of a qualified person", true, []func(*gateway.Inbound){document(testdata.CDAOptions{Title: "Bilan " + me.Matricule})}, ""},
		{"fail/as a local identifier", false, []func(*gateway.Inbound){within("<addr", `<id root="1.2.250.1.999.77" extension="`+me.Matricule+`"/>`)}, ins.FaultNotQualified},
		{"fail/as an INS-C", false, []func(*gateway.Inbound){within("<addr", `<id root="1.2.250.1.213.1.4.2" extension="`+me.Matricule+`"/>`)}, ins.FaultNotQualified},
		{"fail/of a participant, the envelope has none", false, []func(*gateway.Inbound){other, within("<legalAuthenticator",
			`<informationRecipient><intendedRecipient><id extension='279035121518989' root='1.2.250.1.213.1.4.10'/></intendedRecipient></informationRecipient>`)}, ins.FaultNotQualified},
		{"fail/of a participant beside a qualified person's letter", true, []func(*gateway.Inbound){within("<legalAuthenticator",
			`<informationRecipient><intendedRecipient><id extension="279035121518989" root="1.2.250.1.213.1.4.10"/></intendedRecipient></informationRecipient>`)}, ins.FaultNotQualified},
		{"fail/in the title", false, []func(*gateway.Inbound){document(testdata.CDAOptions{Title: "Bilan " + spaced})}, ins.FaultNotQualified},
		{"fail/printed in the PDF", false, []func(*gateway.Inbound){document(testdata.CDAOptions{PDF: testdata.PDF("Bilan", []string{"INS " + spaced})})}, ins.FaultNotQualified},
		{"fail/in the text of the letter", false, []func(*gateway.Inbound){func(in *gateway.Inbound) { in.BodyPro = []byte("INS : " + spaced) }}, ins.FaultNotQualified},
		{"fail/as the number of the file", false, []func(*gateway.Inbound){func(in *gateway.Inbound) { in.Visit.FileNumber = me.Matricule }}, ins.FaultNotQualified},
		{"fail/a patient's mailbox among physicians", false, []func(*gateway.Inbound){to("professional", me.Matricule+"@patient.mssante.fr")}, ins.FaultAbsent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(g *gateway.Gateway) { g.Settings.Mail = true })
			in := inbound("M1", testdata.CDAOptions{NoINS: true})
			in.Flags = gateway.Flags{ToProfessionals: true}
			in.Recipients = []gateway.Recipient{{Kind: "professional", Address: testdata.Personas()[0].Mailbox}}
			if !tt.qualified {
				in.Patient.Status = ins.Provisional
			}
			for _, change := range tt.changes {
				change(&in)
			}
			d := h.accept(in)
			code := ""
			if len(d.Faults) > 0 {
				code = d.Faults[0].Code
			}
			if code != tt.code {
				t.Errorf("%q, want %q", code, tt.code)
			}
		})
	}
}
