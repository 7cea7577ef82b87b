package hl7v2_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

// TestVerdicts reads every reference message over a socket, with a door that
// refuses only what Read refused or what does not look like a document. What
// Accept decides alone (904 between message and document) is read here as the
// acceptance of the envelope.
func TestVerdicts(t *testing.T) {
	dir := dataDir(t)
	table, err := os.ReadFile(filepath.Join(dir, "verdicts.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	d := &door{judge: func(in gateway.Inbound) []*fault.Fault {
		for _, doc := range in.Documents {
			if !bytes.Contains(doc.Content, []byte("<ClinicalDocument")) {
				return []*fault.Fault{fault.New(hl7v2.FaultBase64).At(doc.Where)}
			}
		}
		return nil
	}}
	_, addr, _ := serve(t, d)
	ran := 0
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) < 4 || f[1] != "message" {
			continue
		}
		ran++
		want, code := f[2], f[3]
		if code == "904" {
			want, code = "AA", "-"
		}
		t.Run(f[0], func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(dir, f[0]))
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, addr)
			mustWrite(t, c, frame(raw))
			a, text := answer(t, hl7v2.NewReader(c, 0, nil))
			if a.Code != want {
				t.Fatalf("%s, want %s: %s", a.Code, want, text)
			}
			if a.ControlID == "" {
				t.Error("MSA-2 is empty")
			}
			if want == "AE" && (len(a.Errors) == 0 || a.Errors[0].Code != code) {
				t.Errorf("first ERR %+v, want %s", a.Errors, code)
			}
		})
	}
	if ran == 0 {
		t.Fatal("no message in verdicts.tsv")
	}
}
