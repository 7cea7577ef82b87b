package store_test

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// fill puts seven documents, one a day, each in its lot.
func (w *world) fill() {
	w.t.Helper()
	tok := w.structure(finess)
	for i := range 7 {
		d := someDocument(fmt.Sprintf("1.2.250.1.999.1.%d", i+1), fmt.Sprint(i))
		d.Metadata.Created = time.Date(2026, 11, 10+i, 9, 0, 0, 0, time.UTC)
		if i%2 == 1 {
			d.Metadata.Type = dmp.Code{Code: "34112-3", System: dmp.OIDLoinc}
			d.Metadata.Class = dmp.Code{Code: "10", System: dmp.OIDClass}
			if class, ok := dmp.ClassOf("34112-3"); ok {
				d.Metadata.Class = class
			}
		}
		w.post(tok, build(w.t, someDeposit(fmt.Sprintf("1.2.250.1.999.2.%d", i+1), d))).bundle(w.t)
	}
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.fill()
	held := w.held()
	one := held["1.2.250.1.999.1.1"]
	for _, c := range []struct {
		name, query string
		want        int
	}{
		{"ok/all", "", 7},
		{"ok/current", "status=current", 7},
		{"ok/superseded", "status=superseded", 0},
		{"ok/status, alternatives", "status=superseded,current", 7},
		{"ok/type code", "type=34112-3", 3},
		{"ok/type system and code", "type=http%3A%2F%2Floinc.org%7C34112-3", 3},
		{"ok/type of another system", "type=http%3A%2F%2Fexample.org%7C34112-3", 0},
		{"ok/type alternatives", "type=34112-3,11502-2", 7},
		{"ok/type twice is both", "type=34112-3&type=11502-2", 0},
		{"ok/category", "category=" + one.Category[0].Coding[0].Code + "," + held["1.2.250.1.999.1.2"].Category[0].Coding[0].Code, 7},
		{"ok/identifier", "identifier=urn%3Aietf%3Arfc%3A3986%7Curn%3Aoid%3A1.2.250.1.999.1.3", 1},
		{"ok/identifier without system", "identifier=urn%3Aoid%3A1.2.250.1.999.1.3", 1},
		{"ok/identifier of another system", "identifier=http%3A%2F%2Fx%7Curn%3Aoid%3A1.2.250.1.999.1.3", 0},
		{"ok/entryUUID", "identifier=" + url.QueryEscape("urn:ietf:rfc:3986|"+one.Identifier[0].Value), 1},
		{"ok/_id", "_id=" + one.ID, 1},
		{"ok/day", "date=2026-11-12", 1},
		{"ok/month", "date=2026-11", 7},
		{"ok/other year", "date=2025", 0},
		{"ok/from", "date=ge2026-11-14", 3},
		{"ok/after the day", "date=gt2026-11-14", 2},
		{"ok/before", "date=lt2026-11-12", 2},
		{"ok/until the day", "date=le2026-11-12", 3},
		{"ok/range", "date=ge2026-11-12&date=le2026-11-13", 2},
		{"ok/starts after", "date=sa2026-11-15", 1},
		{"ok/ends before", "date=eb2026-11-11", 1},
		{"ok/not", "date=ne2026-11-12", 6},
		{"ok/instant in another zone", "date=2026-11-12T10%3A00%3A00%2B01%3A00", 1},
		{"ok/updated since", "_lastUpdated=ge2000", 7},
		{"ok/updated before", "_lastUpdated=lt2000", 0},
		{"ok/updated after that of the first", "_lastUpdated=gt" + url.QueryEscape(one.Meta.LastUpdated), 6},
		{"ok/combined", "type=34112-3&date=ge2026-11-13&status=current", 2},
		{"fail/bad date", "date=yesterday", -1},
		{"fail/bad prefix", "date=zz2026", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.search(w.professional(physician), "DocumentReference", of(patientOpen)+"&"+c.query)
			if c.want < 0 {
				a.refused(t, 400, "STORE-SEARCH")
				return
			}
			b := a.bundle(t)
			if *b.Total != c.want || len(b.Entry) != c.want {
				t.Errorf("total %d, %d entries, want %d", *b.Total, len(b.Entry), c.want)
			}
			g := w.get(w.professional(physician), "/DocumentReference?"+of(patientOpen)+"&"+c.query, nil).bundle(t)
			if *g.Total != c.want {
				t.Errorf("GET finds %d, want %d", *g.Total, c.want)
			}
		})
	}
	t.Run("ok/lists", func(t *testing.T) {
		for query, want := range map[string]int{
			"": 7, "code=submissionset": 7, "code=folder": 0, "status=current": 7, "date=ge2030": 0,
			"code=" + url.QueryEscape(fhir.SystemListTypes+"|submissionset"): 7,
			"identifier=" + url.QueryEscape("urn:oid:1.2.250.1.999.2.4"):     1,
		} {
			if b := w.search(w.professional(physician), "List", of(patientOpen)+"&"+query).bundle(t); *b.Total != want {
				t.Errorf("%s: %d, want %d", query, *b.Total, want)
			}
		}
	})
	t.Run("ok/by literal patient", func(t *testing.T) {
		if b := w.get(w.professional(physician), "/DocumentReference?patient="+one.Subject.Reference, nil).bundle(t); *b.Total != 7 {
			t.Errorf("%d", *b.Total)
		}
	})
}

// TestPaging follows the links to the end: every document once, newest first,
// no INS in a link, also when documents arrive meanwhile.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	w.fill()
	tok := w.professional(physician)
	seen := map[string]int{}
	last := "9999"
	path := "/DocumentReference?_count=3&" + of(patientOpen)
	for page := 0; path != ""; page++ {
		a := w.get(tok, path, nil)
		b := a.bundle(t)
		if page == 0 {
			w.post(w.structure(finess), build(t, someDeposit("1.2.250.1.999.2.99", someDocument("1.2.250.1.999.1.99", "arrivé entre deux pages")))).bundle(t)
		}
		path = ""
		for _, l := range b.Link {
			if strings.Contains(l.URL, patientOpen.Matricule) {
				t.Errorf("a matricule in %s", l.URL)
			}
			if l.Relation == "next" {
				path = strings.TrimPrefix(l.URL, w.server.URL+"/fhir")
			}
		}
		for _, e := range b.Entry {
			n, err := fhir.Parse(e.Resource)
			must(t, err)
			if date := n.Get("date").Text(); date > last {
				t.Errorf("%s after %s", date, last)
			} else {
				last = date
			}
			seen[n.Get("id").Text()]++
		}
		if page > 5 {
			t.Fatal("no end")
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d documents", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s %d times", id, n)
		}
	}
	t.Run("fail/cursor of another kind", func(t *testing.T) {
		b := w.get(tok, "/List?_count=1&"+of(patientOpen), nil).bundle(t)
		_, sealed, _ := strings.Cut(b.Link[0].URL, "_cursor=")
		w.get(tok, "/DocumentReference?_cursor="+sealed, nil).refused(t, 400, "STORE-SEARCH")
	})
	t.Run("fail/cursor does not carry the access", func(t *testing.T) {
		b := w.get(tok, "/DocumentReference?_count=1&"+of(patientOpen), nil).bundle(t)
		w.get(w.professional(blocked), strings.TrimPrefix(b.Link[1].URL, w.server.URL+"/fhir"), nil).refused(t, 403, "STORE-BLOCKED")
	})
	t.Run("ok/count zero", func(t *testing.T) {
		b := w.get(tok, "/DocumentReference?_count=0&"+of(patientOpen), nil).bundle(t)
		if *b.Total != 8 || len(b.Entry) != 0 {
			t.Errorf("%+v", b)
		}
	})
}

func TestPatient(t *testing.T) {
	w := newWorld(t)
	identifier := func(token string) string { return "identifier=" + url.QueryEscape(token) }
	id := func(m string) string { return "urn:oid:1.2.250.1.213.1.4.10|" + m }
	for _, c := range []struct {
		name, token, query string
		total              int
		want, never        string
	}{
		{"ok/open, authorised", w.professional(physician), identifier(id(patientOpen.Matricule)), 1, `"VALIDE"`, ""},
		{"ok/open, expired", w.professional(otherPhys), identifier(id(patientOpen.Matricule)), 1, `"EXPIRE"`, ""},
		{"ok/open, blocked", w.professional(blocked), identifier(id(patientOpen.Matricule)), 1, `"INTERDIT"`, ""},
		{"ok/never asked", w.professional("899700000041"), identifier(id(patientOpen.Matricule)), 1, `"NON_EXISTE"`, ""},
		{"ok/closed", w.professional(physician), identifier(id(patientClosed.Matricule)), 1, `"active":false`, ""},
		{"ok/none", w.professional(physician), identifier(id(patientNone.Matricule)), 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.search(c.token, "Patient", c.query)
			b := a.bundle(t)
			if *b.Total != c.total || !bytes.Contains(a.body, []byte(c.want)) {
				t.Errorf("%s", a.body)
			}
		})
	}
	t.Run("ok/a structure asks", func(t *testing.T) {
		a := w.call(w.gateway, w.structure(finess), "GET", "/Patient?"+identifier(id(patientOpen.Matricule)), nil, nil)
		if *a.bundle(t).Total != 1 || bytes.Contains(a.body, []byte("dmp-autorisation")) {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("fail/no identifier", func(t *testing.T) {
		w.search(w.professional(physician), "Patient", "").refused(t, 400, "STORE-NO-PATIENT")
	})
	t.Run("fail/unknown authority", func(t *testing.T) {
		w.search(w.professional(physician), "Patient", identifier("urn:oid:1.2.3|1")).refused(t, 400, "STORE-SEARCH")
	})
}
