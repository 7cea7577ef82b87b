package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/store"
	"github.com/passerelle-sante/passerelle/ins"
)

// TestReferenceMended plays the two national lots over a socket, once what is
// known to be wrong with them is mended: no id of the lot, a class that is not
// that of the type, and a replaced document that exists nowhere. The document is
// then masked and deleted with the patches of the draft.
func TestReferenceMended(t *testing.T) {
	dir := os.Getenv("PASSERELLE_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	w := newWorld(t)
	who := ins.Identity{Matricule: "123456789012345", OID: ins.OIDNIR, Status: ins.Qualified}
	must(t, w.store.Seed(t.Context(), []store.Patient{{Identity: who, State: store.StateOpen, Authorisations: []store.Authorisation{{NationalID: "899700218896", Status: store.Valid}}}}))
	class, ok := dmp.ClassOf("11488-4")
	if !ok {
		t.Fatal("no class for 11488-4")
	}
	mended := func(file, lot string) string {
		raw, err := os.ReadFile(filepath.Join(dir, "fhir", "examples", file))
		if err != nil {
			t.Skipf("reference data: %v (set PASSERELLE_DATA)", err)
		}
		n, err := fhir.Parse(raw)
		must(t, err)
		entries := n.Get("entry").Items()
		return string(fhir.Splice(n,
			entries[0].Get("resource").Set("identifier", `[{"use":"usual","system":"urn:ietf:rfc:3986","value":"urn:oid:`+lot+`"}]`),
			entries[1].Get("resource", "category").Items()[0].Get("coding").Items()[0].Get("code").Replace(fhir.Quote(class.Code))))
	}
	tok, author := w.structure(finess), w.professional("899700218896")
	idOf := func(a answer) string {
		b := a.bundle(t)
		id, _, _ := strings.Cut(strings.TrimPrefix(b.Entry[1].Response.Location, "DocumentReference/"), "/")
		return id
	}
	x := idOf(w.post(tok, []byte(mended("A_iti65.json", "1.2.250.1.999.3.1"))))
	again := mended("B_replace.json", "1.2.250.1.999.3.2")
	w.post(tok, []byte(again)).refused(t, 422, "STORE-UNKNOWN-TARGET")
	y := idOf(w.post(tok, []byte(strings.ReplaceAll(again, "DocumentReference/doc-x-id", "DocumentReference/"+x))))
	for id, want := range map[string]string{x: "superseded", y: "current"} {
		if a := w.get(author, "/DocumentReference/"+id, nil); a.status != 200 || !bytes.Contains(a.body, []byte(`"`+want+`"`)) {
			t.Errorf("%s: HTTP %d %s", want, a.status, a.body)
		}
	}
	for _, patch := range []string{visible("MASQUE_PS"), visible("N"), archive("true"), deletion} {
		if a := w.asPro(author, "/DocumentReference?identifier=urn:ietf:rfc:3986%7Curn:oid:1.2.250.1.213.1.4.8.99999.3", patch); a.status != 200 {
			t.Errorf("%s: HTTP %d %s", patch, a.status, a.body)
		}
	}
	t.Log("reference: pdsm-mended: 2 judged / 2 expected")
}
