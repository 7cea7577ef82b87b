package store

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// FuzzReadPatch reads foreign patches: no panic, and whatever is accepted leaves
// a document whose first label is its confidentiality, and changes nothing but
// the three attributes.
func FuzzReadPatch(f *testing.F) {
	for _, s := range []string{
		`[{"op":"replace","path":"/status","value":"entered-in-error"}]`,
		`[{"op":"replace","path":"/securityLabel/0","value":{"coding":[{"system":"s","code":"MASQUE_PS"}]}}]`,
		`[{"op":"add","path":"/securityLabel/-","value":{"coding":[{"system":"s","code":"INVISIBLE_PATIENT"}]}},{"op":"remove","path":"/securityLabel/1"}]`,
		`[{"op":"replace","path":"/securityLabel","value":[{"coding":[{"system":"s","code":"R"}]}]}]`,
		`[{"op":"replace","path":"/extension[url:'` + fhir.ExtIsArchived + `']/valueBoolean","value":true}]`,
		`[{"op":"remove","path":"/extension/0"},{"op":"add","path":"/extension/-","value":{"url":"` + fhir.ExtIsArchived + `","valueBoolean":false}}]`,
		`[{"op":"add","path":"/securityLabel/99999999999999999999","value":{}}]`, `[{}]`, `[[]]`, `[null]`,
	} {
		f.Add([]byte(s))
	}
	const resource = `{"resourceType":"DocumentReference","extension":[{"url":"` + fhir.ExtIsArchived + `","valueBoolean":true}],"status":"current","title":"x",
		"securityLabel":[{"coding":[{"system":"s","code":"V"}]},{"coding":[{"system":"s","code":"INVISIBLE_REPRESENTANTS_LEGAUX"}]}]}`
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := readPatch(body)
		if err != nil {
			return
		}
		h := &held{attributes: attributes{status: statusCurrent, secret: true, archived: true}, resource: []byte(resource)}
		to, err := w.on(h)
		if err != nil {
			return
		}
		r, err := fhir.Parse(h.resource)
		if err != nil {
			t.Fatal(err)
		}
		after := fhir.Splice(r, r.Get("status").Replace(fhir.Quote(to.status)), labelsEdit(r, to.flags()), archivedEdit(r, to.archived))
		n, err := fhir.Parse(after)
		if err != nil || !json.Valid(after) {
			t.Fatalf("%v: %s", err, after)
		}
		labels := n.Get("securityLabel").Items()
		if labelOf(labels[0]) != "V" || len(labels) != 1+len(to.flags()) || n.Get("title").Text() != "x" || len(n.Members()) != len(r.Members()) {
			t.Fatalf("%s became %s", body, after)
		}
		if to.status != statusCurrent && to.status != statusDeleted || w.deletes != (to.status == statusDeleted) {
			t.Fatalf("%s: status %s", body, to.status)
		}
	})
}

// FuzzTake reads foreign parameters of a search: no panic, and a row can be
// matched with whatever is accepted.
func FuzzTake(f *testing.F) {
	for _, s := range [][2]string{{"status", "current"}, {"author:PractitionerRole.practitioner.family:exact", `a\,b,c`}, {"date", "ap2026-01"}, {"related:identifier", "a|b"},
		{"period:missing", "true"}, {"_sort", "-date,_id"}, {"_include:iterate", "List:item"}, {":", ":"}, {"..", `\`}, {"type:not", "|"}, {"_count", "-0"}, {"author.family", " \u0301"}} {
		f.Add(s[0], s[1])
	}
	good := []byte(`{"masterIdentifier":{"value":"a"},"context":{"period":{"start":"2026"}},"author":[{"reference":"#a"}],"contained":[{"resourceType":"Practitioner","id":"a","name":[{"family":"a"}]}]}`)
	f.Fuzz(func(t *testing.T, name, value string) {
		for _, what := range []search{documentSearch, listSearch, patientSearch} {
			var c cursor
			known, err := c.take(what, name, value)
			if !known && (err != nil || len(c.Criteria) > 0) {
				t.Fatalf("%q unknown, and %v %+v", name, err, c)
			}
			for _, q := range c.Criteria {
				if _, served := what.params[q.Name]; !served || slices.Contains(q.Values, "") {
					t.Fatalf("%q=%q became %+v", name, value, q)
				}
			}
			c.Criteria = slices.DeleteFunc(c.Criteria, func(q criterion) bool { return what.params[q.Name].get == nil })
			if _, err := c.matches(what.params, &indexed{held: held{resource: good}}, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}
