package store_test

import (
	"net/url"
	"sync"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

const deletion = `[{"op":"replace","path":"/status","value":"entered-in-error"}]`

func (w *world) patch(token, path, body string, h header) answer {
	w.t.Helper()
	all := header{"Content-Type": "application/json-patch+json"}
	for k, v := range h {
		all[k] = v
	}
	return w.call(w.gateway, token, "PATCH", path, []byte(body), all)
}

func TestPatch(t *testing.T) {
	w := newWorld(t)
	w.fill()
	held := w.held()
	tok := w.structure(finess)
	one := held["1.2.250.1.999.1.1"]
	path := "/DocumentReference/" + one.ID
	for _, c := range []struct {
		name, token, path, body string
		h                       header
		status                  int
		code                    string
	}{
		{"fail/not JSON", tok, path, "[", nil, 422, "STORE-PATCH"},
		{"fail/an object", tok, path, "{}", nil, 422, "STORE-PATCH"},
		{"fail/no operation", tok, path, "[]", nil, 422, "STORE-PATCH"},
		{"fail/other operation", tok, path, `[{"op":"remove","path":"/status"}]`, nil, 422, "STORE-PATCH"},
		{"fail/other status", tok, path, `[{"op":"replace","path":"/status","value":"current"}]`, nil, 422, "STORE-PATCH"},
		{"fail/superseded by hand", tok, path, `[{"op":"replace","path":"/status","value":"superseded"}]`, nil, 422, "STORE-PATCH"},
		{"fail/title", tok, path, `[{"op":"replace","path":"/content/0/attachment/title","value":"x"}]`, nil, 405, "STORE-PATCH-ELEMENT"},
		{"fail/one good, one forbidden", tok, path, `[{"op":"replace","path":"/status","value":"entered-in-error"},{"op":"remove","path":"/type"}]`, nil, 405, "STORE-PATCH-ELEMENT"},
		{"fail/label without a code", tok, path, `[{"op":"replace","path":"/securityLabel/0","value":{}}]`, nil, 422, "STORE-PATCH"},
		{"fail/label of another set", tok, path, `[{"op":"replace","path":"/securityLabel/0","value":` + label("SECRET") + `}]`, nil, 422, "STORE-PATCH"},
		{"fail/label that is not there", tok, path, `[{"op":"remove","path":"/securityLabel/1"}]`, nil, 422, "STORE-PATCH"},
		{"fail/confidentiality removed", tok, path, `[{"op":"remove","path":"/securityLabel/0"}]`, nil, 422, "STORE-PATCH"},
		{"fail/no label at all", tok, path, `[{"op":"replace","path":"/securityLabel","value":[]}]`, nil, 422, "STORE-PATCH"},
		{"fail/inside a label", tok, path, `[{"op":"replace","path":"/securityLabel/0/coding/0/code","value":"MASQUE_PS"}]`, nil, 422, "STORE-PATCH"},
		{"fail/index written twice", tok, path, `[{"op":"add","path":"/securityLabel/01","value":` + label("MASQUE_PS") + `}]`, nil, 422, "STORE-PATCH"},
		{"fail/copied", tok, path, `[{"op":"copy","path":"/securityLabel/1","from":"/securityLabel/0"}]`, nil, 422, "STORE-PATCH"},
		{"fail/element whose name begins alike", tok, path, `[{"op":"add","path":"/securityLabelX","value":1}]`, nil, 405, "STORE-PATCH-ELEMENT"},
		{"fail/another extension", tok, path, `[{"op":"replace","path":"/extension[url:'x']/valueBoolean","value":true}]`, nil, 422, "STORE-PATCH"},
		{"fail/archived is no word", tok, path, archive(`"true"`), nil, 422, "STORE-PATCH"},
		{"fail/extension that is not there", tok, path, `[{"op":"replace","path":"/extension/0/valueBoolean","value":true}]`, nil, 405, "STORE-PATCH-ELEMENT"},
		{"fail/any extension added", tok, path, `[{"op":"add","path":"/extension/-","value":{"url":"http://example.org/x","valueBoolean":true}}]`, nil, 422, "STORE-PATCH"},
		{"fail/deleted and masked at once", tok, path, `[{"op":"replace","path":"/status","value":"entered-in-error"},{"op":"add","path":"/securityLabel/-","value":` + label("MASQUE_PS") + `}]`, nil, 422, "STORE-PATCH"},
		{"fail/hidden from all", tok, path, `[{"op":"replace","path":"/securityLabel","value":[` + label("N") + "," + label("MASQUE_PS") + "," + label("INVISIBLE_PATIENT") + `]}]`, nil, 422, "STORE-VISIBILITY"},
		{"fail/masked by another structure", w.structure(otherSite), path, visible("MASQUE_PS"), nil, 403, "STORE-ATTRIBUTE"},
		{"fail/other media type", tok, path, deletion, header{"Content-Type": "application/json"}, 415, "STORE-MEDIA-TYPE"},
		{"fail/another structure", w.structure(otherSite), path, deletion, nil, 403, "STORE-NOT-AUTHOR"},
		{"fail/unknown", tok, "/DocumentReference/unknown", deletion, nil, 404, "STORE-NOT-FOUND"},
		{"fail/no condition", tok, "/DocumentReference", deletion, nil, 400, "STORE-SEARCH"},
		{"fail/condition on something else", tok, "/DocumentReference?status=current", deletion, nil, 400, "STORE-SEARCH"},
		{"fail/condition that nothing meets", tok, "/DocumentReference?identifier=urn:ietf:rfc:3986%7Curn:oid:9.9", deletion, nil, 404, "STORE-NOT-FOUND"},
		{"fail/another version", tok, path, deletion, header{"If-Match": `W/"2"`}, 412, "STORE-VERSION"},
	} {
		t.Run(c.name, func(t *testing.T) { w.patch(c.token, c.path, c.body, c.h).refused(t, c.status, c.code) })
	}
	t.Run("ok/nothing changed so far", func(t *testing.T) {
		if got := w.held()["1.2.250.1.999.1.1"]; got.Meta.VersionID != "1" || got.Status != "current" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("fail/a professional who is not the author", func(t *testing.T) {
		w.call(w.doctor, w.professional(otherPhys), "PATCH", path, []byte(deletion), header{"Content-Type": "application/json-patch+json"}).
			refused(t, 403, "STORE-NOT-AUTHOR")
	})
	t.Run("ok/by id and version", func(t *testing.T) {
		a := w.patch(tok, path, deletion, header{"If-Match": `W/"1"`})
		n, err := fhir.Parse(a.body)
		must(t, err)
		if a.status != 200 || a.header.Get("ETag") != `W/"2"` || a.header.Get("Last-Modified") == "" || n.Get("status").Text() != "entered-in-error" ||
			n.Get("meta", "versionId").Text() != "2" || n.Get("identifier").Items()[0].Get("value").Text() == one.Identifier[0].Value {
			t.Errorf("HTTP %d %s", a.status, a.body)
		}
		w.patch(tok, path, deletion, nil).refused(t, 410, "STORE-DELETED")
		w.get(w.professional(physician), path, nil).refused(t, 410, "STORE-DELETED")
		w.get(w.professional(physician), "/Binary/"+one.ID, nil).refused(t, 410, "STORE-DELETED")
		if _, there := w.held()["1.2.250.1.999.1.1"]; there {
			t.Error("still found")
		}
		w.post(tok, build(t, someDeposit("1.2.250.1.999.2.50", someDocument("1.2.250.1.999.1.1", "encore")))).refused(t, 409, "STORE-DUPLICATE")
	})
	t.Run("ok/by uniqueId", func(t *testing.T) {
		q := "/DocumentReference?identifier=" + url.QueryEscape("urn:ietf:rfc:3986|urn:oid:1.2.250.1.999.1.2")
		if a := w.patch(tok, q, deletion, nil); a.status != 200 {
			t.Errorf("HTTP %d %s", a.status, a.body)
		}
	})
	t.Run("ok/by the author", func(t *testing.T) {
		a := w.call(w.doctor, w.professional(physician), "PATCH", "/DocumentReference/"+held["1.2.250.1.999.1.3"].ID, []byte(deletion), header{"Content-Type": "application/json-patch+json"})
		if a.status != 200 {
			t.Errorf("HTTP %d %s", a.status, a.body)
		}
	})
	t.Run("ok/at once, one wins", func(t *testing.T) {
		var wg sync.WaitGroup
		answers := make([]answer, 6)
		for i := range answers {
			wg.Go(func() {
				answers[i] = w.patch(tok, "/DocumentReference/"+held["1.2.250.1.999.1.4"].ID, deletion, header{"If-Match": `W/"1"`})
			})
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			if a.status == 200 {
				won++
			} else {
				a.refused(t, 410, "STORE-DELETED")
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	})
	t.Run("ok/persists", func(t *testing.T) {
		before := len(w.held())
		w.open()
		if got := len(w.held()); got != before || got != 3 {
			t.Errorf("%d documents after reopening, %d before", got, before)
		}
		if _, err := w.store.VerifyAudit(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
