package store_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// label is a security label as the national examples write it.
func label(code string) string {
	system := fhir.SystemVisibility
	if len(code) == 1 {
		system = fhir.SystemConfidentiality
	}
	return `{"coding":[{"system":"` + system + `","code":"` + code + `"}]}`
}

// visible is the patch of TD3.3a/b, word for word as in the draft.
func visible(code string) string {
	return `[{"op":"replace","path":"/securityLabel/0","value":` + label(code) + `}]`
}

// archive is the patch of TD3.3d as in the draft, which is no RFC 6901.
func archive(value string) string {
	return `[{"op":"replace","path":"/extension[url:'` + fhir.ExtIsArchived + `']/valueBoolean","value":` + value + `}]`
}

// asPro makes a patch with the certificate of a professional or a patient.
func (w *world) asPro(token, path, body string) answer {
	w.t.Helper()
	return w.call(w.doctor, token, "PATCH", path, []byte(body), header{"Content-Type": "application/json-patch+json"})
}

// labels are the codes of the security labels of a resource, and whether it is
// archived.
func labels(t *testing.T, body []byte) (codes []string) {
	t.Helper()
	n, err := fhir.Parse(body)
	must(t, err)
	for _, l := range n.Get("securityLabel").Items() {
		codes = append(codes, l.Get("coding").Items()[0].Get("code").Text())
	}
	for _, e := range n.Get("extension").Items() {
		if e.Get("url").Text() == fhir.ExtIsArchived {
			codes = append(codes, "archived="+string(e.Get("valueBoolean").Raw()))
		}
	}
	return codes
}

// depositOne puts a document of patientTwo and gives its id.
func (w *world) depositOne(n int, visibility ...dmp.Visibility) string {
	w.t.Helper()
	d := someDocument(fmt.Sprintf("1.2.250.1.999.1.%d", n), fmt.Sprint("document ", n))
	d.Metadata.Visibility = visibility
	b := w.post(w.structure(finess), build(w.t, forPatient(someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", n), d), patientTwo))).bundle(w.t)
	id, _, _ := strings.Cut(strings.TrimPrefix(b.Entry[1].Response.Location, "DocumentReference/"), "/")
	return id
}

// whoSees lists the personas of patientTwo who see a document, by every way in,
// or by two: all ways must agree.
func (w *world) whoSees(id string, everyWay bool) (out []string) {
	w.t.Helper()
	for _, who := range []struct{ name, token string }{
		{"author", w.professional(physician)}, {"attending", w.professional(attending)}, {"nurse", w.professional(nurse)},
		{"patient", w.patient(patientTwo, false)}, {"representative", w.patient(patientTwo, true)},
	} {
		ways := map[string]bool{}
		found := w.search(who.token, "DocumentReference", of(patientTwo)+"&_id="+id)
		ways["search"] = *found.bundle(w.t).Total == 1
		ways["read"] = w.get(who.token, "/DocumentReference/"+id, nil).status == 200
		if everyWay {
			ways["binary"] = w.get(who.token, "/Binary/"+id, nil).status == 200
			ways["version"] = w.get(who.token, "/DocumentReference/"+id+"/_history/1", nil).status == 200
			ways["history"] = w.get(who.token, "/DocumentReference/"+id+"/_history", nil).status == 200
			ways["lot"] = *w.search(who.token, "List", of(patientTwo)+"&item=DocumentReference/"+id).bundle(w.t).Total == 1
			ways["included"] = bytes.Contains(w.search(who.token, "List", of(patientTwo)+"&_include=List:item").body, []byte(`DocumentReference/`+id+`"`))
			ways["in a lot"] = bytes.Contains(w.search(who.token, "List", of(patientTwo)).body, []byte(id))
		}
		for way, sees := range ways {
			if sees != ways["read"] {
				w.t.Errorf("%s: %s says %v, a read %v", who.name, way, sees, ways["read"])
			}
		}
		if ways["read"] {
			out = append(out, who.name)
		}
	}
	return out
}

// TestVisibility changes one attribute at a time (TD3.3a, b, d), by each
// persona: who may, what it becomes, and who sees it then.
func TestVisibility(t *testing.T) {
	w := newWorld(t)
	all := []string{"author", "attending", "nurse", "patient", "representative"}
	tokens := map[string]string{
		"author": w.professional(physician), "attending": w.professional(attending), "nurse": w.professional(nurse),
		"stranger": w.professional("899700000099"), "blocked": w.professional(blocked),
		"patient": w.patient(patientTwo, false), "representative": w.patient(patientTwo, true), "another patient": w.patient(patientOpen, false),
	}
	tried := map[string]bool{} // each audience by every way in, once
	const mask, unseen, secret = dmp.HiddenFromProfessionals, dmp.HiddenFromPatient, dmp.HiddenFromRepresentatives
	for i, c := range []struct {
		name, by string
		deposit  []dmp.Visibility
		patch    string
		code     string   // of the refusal
		labels   []string // after
		seen     []string // by whom, after
	}{
		{"ok/the structure masks", "structure", nil, visible("MASQUE_PS"), "", []string{"N", "MASQUE_PS"}, []string{"author", "attending", "patient", "representative"}},
		{"ok/the author masks", "author", nil, visible("MASQUE_PS"), "", []string{"N", "MASQUE_PS"}, []string{"author", "attending", "patient", "representative"}},
		{"ok/the patient masks", "patient", nil, visible("MASQUE_PS"), "", []string{"N", "MASQUE_PS"}, []string{"author", "attending", "patient", "representative"}},
		{"ok/the representative masks", "representative", nil, visible("MASQUE_PS"), "", []string{"N", "MASQUE_PS"}, []string{"author", "attending", "patient", "representative"}},
		{"ok/the patient unmasks", "patient", []dmp.Visibility{mask}, visible("N"), "", []string{"N"}, all},
		{"ok/the médecin traitant unmasks", "attending", []dmp.Visibility{mask}, visible("N"), "", []string{"N"}, all},
		{"ok/masked by RFC 6902", "author", nil, `[{"op":"add","path":"/securityLabel/-","value":` + label("MASQUE_PS") + `}]`, "", []string{"N", "MASQUE_PS"}, []string{"author", "attending", "patient", "representative"}},
		{"ok/unmasked by RFC 6902", "author", []dmp.Visibility{mask}, `[{"op":"remove","path":"/securityLabel/1"}]`, "", []string{"N"}, all},
		{"ok/one flag for another", "author", []dmp.Visibility{mask}, `[{"op":"replace","path":"/securityLabel/1","value":` + label("INVISIBLE_PATIENT") + `}]`, "", []string{"N", "INVISIBLE_PATIENT"}, []string{"author", "attending", "nurse"}},
		{"ok/the whole list", "author", []dmp.Visibility{mask, secret}, `[{"op":"replace","path":"/securityLabel","value":[` + label("N") + "," + label("INVISIBLE_REPRESENTANTS_LEGAUX") + `]}]`, "", []string{"N", "INVISIBLE_REPRESENTANTS_LEGAUX"}, []string{"author", "attending", "nurse", "patient"}},
		{"fail/a nurse masks", "nurse", nil, visible("MASQUE_PS"), "STORE-ATTRIBUTE", nil, all},
		{"fail/a nurse unmasks: it is not there", "nurse", []dmp.Visibility{mask}, visible("N"), "STORE-NOT-FOUND", nil, []string{"author", "attending", "patient", "representative"}},
		{"fail/a stranger masks", "stranger", nil, visible("MASQUE_PS"), "STORE-ATTRIBUTE", nil, all},
		{"fail/another patient masks", "another patient", nil, visible("MASQUE_PS"), "STORE-NOT-FOUND", nil, all},

		{"ok/the author hides from the patient", "author", nil, visible("INVISIBLE_PATIENT"), "", []string{"N", "INVISIBLE_PATIENT"}, []string{"author", "attending", "nurse"}},
		{"ok/the structure shows to the patient", "structure", []dmp.Visibility{unseen}, visible("N"), "", []string{"N"}, all},
		{"ok/the médecin traitant shows to the patient", "attending", []dmp.Visibility{unseen}, visible("N"), "", []string{"N"}, all},
		{"ok/the author hides from representatives", "author", nil, visible("INVISIBLE_REPRESENTANTS_LEGAUX"), "", []string{"N", "INVISIBLE_REPRESENTANTS_LEGAUX"}, []string{"author", "attending", "nurse", "patient"}},
		{"fail/a nurse shows to the patient", "nurse", []dmp.Visibility{unseen}, visible("N"), "STORE-ATTRIBUTE", nil, []string{"author", "attending", "nurse"}},
		{"fail/the patient shows what they may not know of", "patient", []dmp.Visibility{unseen}, visible("N"), "STORE-NOT-FOUND", nil, []string{"author", "attending", "nurse"}},
		{"fail/the patient hides from themself", "patient", nil, visible("INVISIBLE_PATIENT"), "STORE-ATTRIBUTE", nil, all},
		{"fail/the patient takes away the protection of a minor", "patient", []dmp.Visibility{secret}, visible("N"), "STORE-ATTRIBUTE", nil, []string{"author", "attending", "nurse", "patient"}},
		{"fail/hidden from all", "author", []dmp.Visibility{mask}, `[{"op":"add","path":"/securityLabel/-","value":` + label("INVISIBLE_PATIENT") + `}]`, "STORE-VISIBILITY", nil, []string{"author", "attending", "patient", "representative"}},

		{"ok/a nurse archives", "nurse", nil, archive("true"), "", []string{"N", "archived=true"}, all},
		{"ok/the patient archives, by RFC 6902", "patient", nil, `[{"op":"add","path":"/extension","value":[{"url":"` + fhir.ExtIsArchived + `","valueBoolean":true}]}]`, "", []string{"N", "archived=true"}, all},
		{"ok/archived and masked at once", "author", nil, `[{"op":"add","path":"/extension/-","value":{"url":"` + fhir.ExtIsArchived + `","valueBoolean":true}},` + visible("MASQUE_PS")[1:], "", []string{"N", "MASQUE_PS", "archived=true"}, []string{"author", "attending", "patient", "representative"}},
		{"fail/a stranger archives", "stranger", nil, archive("true"), "STORE-ATTRIBUTE", nil, all},
		{"fail/the patient deletes", "patient", nil, deletion, "STORE-NOT-AUTHOR", nil, all},
		{"fail/the médecin traitant deletes", "attending", nil, deletion, "STORE-NOT-AUTHOR", nil, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := w.depositOne(100+i, c.deposit...)
			path := "/DocumentReference/" + id
			var a answer
			if c.by == "structure" {
				a = w.patch(w.structure(finess), path, c.patch, nil)
			} else {
				a = w.asPro(tokens[c.by], path, c.patch)
			}
			if c.code != "" {
				if codes, _ := a.codes(t); codes[0] != c.code {
					t.Errorf("HTTP %d %v", a.status, codes)
				}
			} else if got := labels(t, a.body); a.status != 200 || !slices.Equal(got, c.labels) || a.header.Get("ETag") != `W/"2"` {
				t.Errorf("HTTP %d %v, want %v: %s", a.status, got, c.labels, a.body)
			}
			seen := strings.Join(c.seen, " ")
			if got := w.whoSees(id, !tried[seen]); !slices.Equal(got, c.seen) {
				t.Errorf("seen by %v, want %v", got, c.seen)
			}
			tried[seen] = true
		})
	}
	t.Run("ok/audit", func(t *testing.T) {
		if _, err := w.store.VerifyAudit(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestArchived archives and takes back: versions grow, nothing is hidden, and a
// search can tell one from the other.
func TestArchived(t *testing.T) {
	w := newWorld(t)
	one, two := w.depositOne(1), w.depositOne(2)
	tok := w.professional(nurse)
	path := "/DocumentReference/" + one
	count := func(query string) int {
		return *w.search(tok, "DocumentReference", of(patientTwo)+query).bundle(t).Total
	}
	if count("&isArchived=false") != 2 || count("&isArchived=true") != 0 {
		t.Error("archived from the start")
	}
	first := w.asPro(tok, path, archive("true"))
	if again := w.asPro(tok, path, archive("true")); again.status != 200 || again.header.Get("ETag") != `W/"2"` || !bytes.Equal(again.body, first.body) {
		t.Errorf("asked again: HTTP %d %s", again.status, again.body)
	}
	if count("&isArchived=true") != 1 || count("&isArchived=true&_id="+two) != 0 || count("") != 2 || count("&status=current") != 2 {
		t.Error("search")
	}
	back := w.asPro(tok, path, `[{"op":"replace","path":"/extension/0/valueBoolean","value":false}]`)
	if got := labels(t, back.body); back.header.Get("ETag") != `W/"3"` || !slices.Equal(got, []string{"N", "archived=false"}) {
		t.Errorf("%v %v", back.header, got)
	}
	h := w.get(tok, path+"/_history", nil).bundle(t)
	if h.Type != "history" || *h.Total != 3 || len(h.Entry) != 3 || h.Entry[2].Request.Method != "POST" || h.Entry[0].Response.Etag != `W/"3"` {
		t.Errorf("%+v", h)
	}
	seen := map[string]bool{}
	for v, want := range map[string]string{"1": "", "2": "archived=true", "3": "archived=false"} {
		a := w.get(tok, path+"/_history/"+v, nil)
		n, err := fhir.Parse(a.body)
		must(t, err)
		seen[n.Get("identifier").Items()[0].Get("value").Text()] = true
		if got := labels(t, a.body); a.header.Get("ETag") != `W/"`+v+`"` || n.Get("meta", "versionId").Text() != v || got[len(got)-1] != want && want != "" || want == "" && len(got) != 1 {
			t.Errorf("version %s: %v %v", v, a.header, got)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d entryUUID for three versions", len(seen))
	}
	for _, v := range []string{"4", "0", "x", "1/2"} {
		w.get(tok, path+"/_history/"+v, nil).refused(t, 404, "STORE-NOT-FOUND")
	}
}

// TestAnnouncement: a document is kept from the patient for a month at most
// (R.1111-53), and cannot be from then on.
func TestAnnouncement(t *testing.T) {
	w := newWorld(t)
	id := w.depositOne(1, dmp.HiddenFromPatient)
	other := w.depositOne(2)
	if got := w.whoSees(id, true); !slices.Equal(got, []string{"author", "attending", "nurse"}) {
		t.Errorf("at first seen by %v", got)
	}
	w.clock.Move(32 * 24 * time.Hour)
	if got := w.whoSees(id, true); len(got) != 5 {
		t.Errorf("a month later seen by %v", got)
	}
	w.asPro(w.professional(physician), "/DocumentReference/"+other, visible("INVISIBLE_PATIENT")).refused(t, 422, "STORE-VISIBILITY")
	a := w.asPro(w.patient(patientTwo, false), "/DocumentReference/"+id, `[{"op":"add","path":"/securityLabel/-","value":`+label("MASQUE_PS")+`}]`)
	if got := labels(t, a.body); a.status != 200 || !slices.Equal(got, []string{"N", "MASQUE_PS"}) {
		t.Errorf("the label that lapsed stands in the way: HTTP %d %v", a.status, got)
	}
}

// TestMaskedChain: masking follows what a document replaced, and is inherited by
// what replaces it; who does not see a replaced document learns nothing of it.
func TestMaskedChain(t *testing.T) {
	w := newWorld(t)
	x := w.depositOne(1)
	tok := w.structure(finess)
	next := func(n int, old string, oldN int, visibility ...dmp.Visibility) string {
		t.Helper()
		d := replacing(fmt.Sprintf("1.2.250.1.999.1.%d", n), old, fmt.Sprintf("1.2.250.1.999.1.%d", oldN))
		d.Metadata.Visibility = visibility
		b := w.post(tok, build(t, forPatient(someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", n), d), patientTwo))).bundle(t)
		id, _, _ := strings.Cut(strings.TrimPrefix(b.Entry[1].Response.Location, "DocumentReference/"), "/")
		return id
	}
	y := next(2, x, 1)
	masked := []string{"author", "attending", "patient", "representative"}
	w.asPro(w.patient(patientTwo, false), "/DocumentReference/"+x, visible("MASQUE_PS")).refused(t, 409, "STORE-NOT-CURRENT")
	if a := w.asPro(w.patient(patientTwo, false), "/DocumentReference/"+y, visible("MASQUE_PS")); a.status != 200 {
		t.Fatalf("HTTP %d %s", a.status, a.body)
	}
	z := next(3, y, 2)
	for name, id := range map[string]string{"replaced": x, "masked": y, "its replacement": z} {
		if got := w.whoSees(id, true); !slices.Equal(got, masked) {
			t.Errorf("%s: seen by %v", name, got)
		}
	}
	if a := w.asPro(w.patient(patientTwo, false), "/DocumentReference/"+z, visible("N")); a.status != 200 {
		t.Fatalf("HTTP %d %s", a.status, a.body)
	}
	for name, id := range map[string]string{"first": x, "second": y, "third": z} {
		if got := w.whoSees(id, false); len(got) != 5 {
			t.Errorf("unmasked, %s: seen by %v", name, got)
		}
	}
	// A version that hides less than the one before: the link would tell of it.
	u := next(4, z, 3, dmp.HiddenFromPatient)
	v := next(5, u, 4)
	pro, patient := w.professional(nurse), w.patient(patientTwo, false)
	for _, a := range []answer{
		w.get(patient, "/DocumentReference/"+v, nil), w.get(patient, "/DocumentReference/"+v+"/_history/1", nil),
		w.search(patient, "DocumentReference", of(patientTwo)+"&_include=DocumentReference:relatesto"),
		w.search(patient, "DocumentReference", of(patientTwo)+"&relatesto=DocumentReference/"+u),
	} {
		if a.status != 200 || bytes.Contains(a.body, []byte(u)) {
			t.Errorf("HTTP %d, the patient learns of %s: %s", a.status, u, a.body)
		}
	}
	if b := w.search(pro, "DocumentReference", of(patientTwo)+"&relatesto=DocumentReference/"+u+"&_include=DocumentReference:relatesto").bundle(t); *b.Total != 1 || len(b.Entry) != 2 || b.Entry[1].Search.Mode != "include" {
		t.Errorf("a professional: %+v", b)
	}
}

// TestMaskAtOnce masks and unmasks one document by many at once: versions are
// whole and in a row, and the audit holds.
func TestMaskAtOnce(t *testing.T) {
	w := newWorld(t)
	id := w.depositOne(1)
	var wg sync.WaitGroup
	answers := make([]answer, 12)
	for i := range answers {
		wg.Go(func() {
			code := []string{"MASQUE_PS", "N"}[i%2]
			answers[i] = w.asPro(w.professional(physician), "/DocumentReference/"+id, visible(code))
		})
	}
	wg.Wait()
	highest := 0
	for i, a := range answers {
		got := labels(t, a.body)
		if a.status != 200 || slices.Contains(got, "MASQUE_PS") != (i%2 == 0) {
			t.Errorf("HTTP %d %v", a.status, got)
		}
		var n int
		_, err := fmt.Sscanf(a.header.Get("ETag"), `W/"%d"`, &n)
		must(t, err)
		highest = max(highest, n)
	}
	if b := w.get(w.professional(physician), "/DocumentReference/"+id+"/_history", nil).bundle(t); *b.Total != highest || len(b.Entry) != highest {
		t.Errorf("%d versions, the highest answered is %d", *b.Total, highest)
	}
	if _, err := w.store.VerifyAudit(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPatientMode: a patient sees one record, their own, and deposits nothing.
func TestPatientMode(t *testing.T) {
	w := newWorld(t)
	id := w.depositOne(1)
	me, other := w.patient(patientTwo, false), w.patient(patientOpen, false)
	who := "identifier=urn%3Aoid%3A" + string(patientTwo.OID) + "%7C" + patientTwo.Matricule
	if b := w.search(me, "Patient", who).bundle(t); *b.Total != 1 {
		t.Errorf("%+v", b)
	}
	w.search(other, "Patient", who).refused(t, 403, "STORE-MODE")
	w.search(other, "DocumentReference", of(patientTwo)).refused(t, 403, "STORE-MODE")
	w.search(other, "List", of(patientTwo)).refused(t, 403, "STORE-MODE")
	for _, path := range []string{"/DocumentReference/" + id, "/Binary/" + id, "/DocumentReference/" + id + "/_history"} {
		w.get(other, path, nil).refused(t, 404, "STORE-NOT-FOUND")
	}
	patient, _, _ := strings.Cut(id, "-")
	w.get(other, "/Patient/"+patient, nil).refused(t, 404, "STORE-NOT-FOUND")
	if a := w.get(me, "/Patient/"+patient, nil); a.status != 200 || bytes.Contains(a.body, []byte("dmp-autorisation")) {
		t.Errorf("HTTP %d %s", a.status, a.body)
	}
	w.call(w.doctor, me, "POST", "", build(t, someDeposit("1.2.250.1.999.2.9", someDocument("1.2.250.1.999.1.9", "x"))), header{"Content-Type": fhir.MediaType}).
		refused(t, 403, "STORE-MODE")
	w.get(w.patient(patientClosed, false), "/DocumentReference?"+of(patientClosed), nil).refused(t, 422, "STORE-DMP-CLOSED")
	w.get(w.sign(w.doctor, map[string]any{"mode": "patient"}), "/DocumentReference?"+of(patientTwo), nil).refused(t, 401, "STORE-TOKEN")
}
