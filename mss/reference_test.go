package mss_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// The national sample documents go through a letter and come out as they were,
// with the metadata that one derivation gives on both sides.
func TestReferenceDocuments(t *testing.T) {
	root := os.Getenv("PASSERELLE_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	files, err := filepath.Glob(filepath.Join(root, "cda", "*.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("reference data absent: set PASSERELLE_DATA")
	}
	from, err := mss.ParseAddress("passerelle@ch.mssante.fr")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := mss.ParseAddress("secretariat@ch.mssante.fr")
	if err != nil {
		t.Fatal(err)
	}
	composer, err := mss.New(mss.Config{
		NIL: "1234", From: from, FromName: "Hôpital", ReplyTo: reply, MaxSize: 64 << 20,
		Trusted: func(string) (bool, error) { return true, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run("ok/"+filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := cda.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := doc.Metadata(data)
			envelope := m.Patient
			envelope.Status = ins.Qualified
			if err := ins.Gate(m.Patient.VouchedBy(envelope), ins.ToProfessional); err != nil {
				t.Skipf("the sample may not leave: %v", err)
			}
			out, err := composer.Compose(mss.Letter{
				Delivery: "dlv-1", Date: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Kind: mss.Professional,
				To: "lea@ch.mssante.fr", Action: dmp.New, Patient: envelope,
				Documents: []mss.Document{{Metadata: m, Content: data}},
				LotID:     dmp.ID{Root: "1.2.250.1.999.3.7"}, SourceID: "1.2.250.1.999.4",
			})
			if err != nil {
				t.Fatal(err)
			}
			in, err := mss.Read(out.Raw, mss.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			zip, err := in.Archive()
			if err != nil {
				t.Fatal(err)
			}
			a, err := xdm.Unpack(zip, xdm.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got := a.Documents[0]
			if !bytes.Equal(got.Content, data) {
				t.Error("the document changed")
			}
			g := got.Metadata
			if g.UniqueID != m.UniqueID || g.Type != m.Type || g.Class != m.Class || g.Title != m.Title || g.Format.Code != m.Format.Code ||
				g.Format.System != m.Format.System || !g.Created.Equal(m.Created) || !g.ServiceStart.Equal(m.ServiceStart) ||
				g.Patient.Matricule != m.Patient.Matricule || g.Patient.Traits.BirthName != m.Patient.Traits.BirthName ||
				len(g.Authors) != len(m.Authors) || g.PracticeSetting != m.PracticeSetting || g.Facility != m.Facility {
				t.Errorf("metadata:\n got %+v\nwant %+v", g, m)
			}
		})
	}
}
