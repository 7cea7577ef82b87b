package cda_test

import (
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/testdata"
)

// A matricule is found wherever a reader of the document would read it.
func TestMentions(t *testing.T) {
	const m, spaced = "280076311310118", "2 80 07 63 113 101 18"
	drawn := func() []byte { // a PDF of ours: compressed, with fonts of two-byte codes
		d, err := cda.Read(testdata.CDA(testdata.CDAOptions{Level: 3, NoPDFCopy: true}))
		if err != nil {
			t.Fatal(err)
		}
		pdf, _, err := d.PDFCopy()
		if err != nil {
			t.Fatal(err)
		}
		return pdf
	}()
	for _, tt := range []struct {
		name string
		o    testdata.CDAOptions
		edit func(string) string
	}{
		{"ok/in recordTarget", testdata.CDAOptions{}, nil},
		{"ok/in the title", testdata.CDAOptions{NoINS: true, Title: "Bilan de " + spaced}, nil},
		{"ok/without its key", testdata.CDAOptions{NoINS: true, Title: "Bilan de " + m[:13]}, nil},
		{"ok/as references to characters", testdata.CDAOptions{NoINS: true}, func(s string) string {
			return strings.Replace(s, "<addr", `<id root="1.2.3" extension="&#50;&#x38;00763113101&#49;8"/><addr`, 1)
		}},
		{"ok/in a PDF of one-byte codes", testdata.CDAOptions{NoINS: true, PDF: testdata.PDF("Bilan", []string{"INS : " + spaced})}, nil},
		{"ok/in a PDF of two-byte codes", testdata.CDAOptions{NoINS: true, PDF: drawn}, nil},
		{"ok/in the copy of a structured document", testdata.CDAOptions{NoINS: true, Level: 3, PDF: drawn}, nil},
		{"fail/nowhere", testdata.CDAOptions{NoINS: true}, nil},
		{"fail/nowhere, level 3", testdata.CDAOptions{NoINS: true, Level: 3}, nil},
		{"fail/another number", testdata.CDAOptions{NoINS: true, Title: "Bilan de 2 80 07 63 113 102 18"}, nil},
		{"fail/two fields", testdata.CDAOptions{NoINS: true}, func(s string) string {
			return strings.Replace(s, "<addr", `<id root="1.2.3" extension="2800763"/><id extension="11310118"/><addr`, 1)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := string(testdata.CDA(tt.o))
			if tt.edit != nil {
				text = tt.edit(text)
			}
			d, err := cda.Read([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Mentions(m); got != strings.HasPrefix(tt.name, "ok/") {
				t.Errorf("mentions: %v", got)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	for name, add := range map[string]string{
		"ok/INS":                   `<id root="1.2.250.1.213.1.4.10" extension="279035121518989"/>`,
		"ok/the other way round":   `<id extension='279035121518989' root = '1.2.250.1.213.1.4.10'></id>`,
		"ok/INS-C":                 `<id root="1.2.250.1.213.1.4.2" extension="0123"/>`,
		"fail/an authority alone":  `<id root="1.2.250.1.213.1.4.10" nullFlavor="UNK"/>`,
		"fail/another OID":         `<id root="1.2.250.1.213.1.1" extension="279035121518989"/>`,
		"fail/said in a name":      `<id root="1.2.3" assigningAuthorityName="1.2.250.1.213.1.4.10" extension="279035121518989"/>`,
		"fail/longer than the arc": `<id root="9.1.2.250.1.213.1.4.10" extension="279035121518989"/>`,
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(string(testdata.CDA(testdata.CDAOptions{NoINS: true})), "<legalAuthenticator", add+"<legalAuthenticator", 1)
			d, err := cda.Read([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if pair, got := d.Named(); got != strings.HasPrefix(name, "ok/") || got && pair.Matricule == "" {
				t.Errorf("named: %v", got)
			}
		})
	}
}
