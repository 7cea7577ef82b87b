package httpapi_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
)

// reference is a file of the reference data, or a reason to skip.
func reference(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("PASSERELLE_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Skipf("reference data: %v (set PASSERELLE_DATA)", err)
	}
	return string(data)
}

// TestReferenceBundles gives the door the national examples as they stand. They
// carry an empty ClinicalDocument: that must be the first thing that refuses
// them, and nothing of their own shape may.
func TestReferenceBundles(t *testing.T) {
	w := newWorld(t, options{idle: true})
	judged := 0
	for _, tt := range []struct{ file, path, code string }{
		{"A_iti65.json", "/fhir", cda.FaultNoID + " Bundle.entry[1].resource"},
		{"B_replace.json", "/fhir", cda.FaultNoID + " Bundle.entry[1].resource"},
		{"D_simplified.json", "/fhir/DocumentReference", cda.FaultNoID + " DocumentReference"},
		// What a search gives back is not what a deposit takes.
		{"C_docref.json", "/fhir/DocumentReference", httpapi.FaultElement + " DocumentReference.content[0].attachment.data"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			a := w.fhirPost(w.machine, tt.path+"?dry_run=1", reference(t, "fhir/examples/"+tt.file), nil)
			if got := a.codes(t); a.status != 422 || got[0] != tt.code {
				t.Errorf("%d %q", a.status, got)
			}
			judged++
		})
	}
	if judged > 0 {
		t.Logf("reference: pdsm-door: %d judged / 4 expected", judged)
	}
}

// TestReferenceCDA deposits the national CDA by REST: each is seen as a CDA and
// accepted, with an envelope that says its patient and another author, which is
// told and refuses nothing.
func TestReferenceCDA(t *testing.T) {
	w := newWorld(t, options{idle: true})
	for _, name := range []string{
		"DOC_NON_STRUCTURE_CDA-R2-N1.xml", "BIO-CR-BIO_2021.01_CDA-R2-Niveau-1.xml", "BIO-CR-BIO_2021.01_Auto-Presentable.xml",
		"VSM_1.4_2022.01.xml", "LDL-SES_2022.01.xml",
	} {
		t.Run(name, func(t *testing.T) {
			content := reference(t, "cda/"+name)
			doc, err := cda.Read([]byte(content))
			must(t, err)
			who := doc.Patient()
			who.Status = "QUAL"
			envelope := edit(t, thin(t), "patient", who)
			v := w.submit(w.machine, "?dry_run=1", envelope, content, nil).json(t)
			differs := slices.ContainsFunc(v["warnings"].([]any), func(f any) bool {
				return f.(map[string]any)["code"] == cda.FaultMetaDiffers && f.(map[string]any)["where"] == "author"
			})
			if v["verdict"] != "accepted" || !differs {
				t.Errorf("%v", v)
			}
			who.Traits.BirthName = "AUTRE"
			v = w.submit(w.machine, "?dry_run=1", edit(t, thin(t), "patient", who), content, nil).json(t)
			if v["verdict"] != "refused" || v["errors"].([]any)[0].(map[string]any)["code"] != "INS-MISMATCH" {
				t.Errorf("as another person: %v", v)
			}
		})
	}
}
