package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/testdata"
)

// description is the OpenAPI document, as a tree.
type description map[string]any

func read(t *testing.T, w *world) description {
	t.Helper()
	a := w.do(w.nobody, "GET", "/openapi.yaml", nil, nil)
	if a.status != 200 || a.header.Get("Content-Type") != "application/yaml; charset=utf-8" || a.body != string(httpapi.OpenAPI()) {
		t.Fatalf("%d %v", a.status, a.header)
	}
	var d map[string]any
	must(t, yaml.Unmarshal([]byte(a.body), &d))
	return d
}

// resolve follows $ref.
func (d description) resolve(v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	var at any = map[string]any(d)
	for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.(map[string]any)[name]
	}
	if at == nil {
		panic("no " + ref)
	}
	return d.resolve(at)
}

// check says where a value is not what its schema says.
func (d description) check(schema any, v any, at string) (wrong []string) {
	s := d.resolve(schema)
	bad := func(text string) { wrong = append(wrong, at+": "+text) }
	if list, ok := s["enum"].([]any); ok && !slices.Contains(list, v) {
		bad(fmt.Sprintf("%v is not in the list", v))
	}
	kind := s["type"]
	if either, ok := kind.([]any); ok { // one type, or null
		if v == nil && slices.Contains(either, any("null")) {
			return wrong
		}
		kind = either[0]
	}
	switch kind {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			bad("no object")
			return wrong
		}
		properties, _ := s["properties"].(map[string]any)
		for name, value := range m {
			if p, known := properties[name]; known {
				wrong = append(wrong, d.check(p, value, at+"/"+name)...)
			} else if s["additionalProperties"] == false {
				bad("unknown member " + name)
			}
		}
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, there := m[name.(string)]; !there {
				bad("no member " + name.(string))
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			bad("no array")
		}
		for i, item := range list {
			wrong = append(wrong, d.check(s["items"], item, fmt.Sprintf("%s/%d", at, i))...)
		}
	case "string":
		text, ok := v.(string)
		if !ok {
			bad("no string")
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				bad("no date-time")
			}
		}
	case "integer":
		if n, ok := v.(float64); !ok || n != float64(int64(n)) {
			bad("no integer")
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			bad("no boolean")
		}
	default:
		bad(fmt.Sprintf("the schema has type %v", s["type"]))
	}
	return wrong
}

// probe is a request that must be answered with one status of one operation.
type probe struct {
	operation string
	status    int
	do        func() answer
}

// TestOpenAPI makes the running server give every status of every operation,
// and compares each answer with its description: nothing is described that the
// server does not do.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, options{insi: true, limits: httpapi.Limits{Body: 1 << 20, Streams: 1, Poll: 10 * time.Millisecond, Beat: 10 * time.Millisecond, InHand: 10 << 20}})
	busy := newWorld(t, options{idle: true, limits: httpapi.Limits{InHand: 10}})
	away := newWorld(t, options{idle: true, directory: "https://127.0.0.1:1"})
	away.api.Journal, away.api.Door = lost{}, full{}
	d := read(t, w)
	key := with("", "Idempotency-Key", "k")
	first := w.submit(w.machine, "", edit(t, thin(t), "document.title", "Autre"), document(1), key)
	id := strings.TrimPrefix(first.header.Get("Location"), "/v1/submissions/")
	w.state(id)
	w.submit(w.machine, "", "{", document(1), nil) // a refused one in the list
	check := func(body, kind string) func() answer {
		return func() answer {
			return w.do(w.machine, "POST", "/v1/identities/check", []byte(body), with("", "Content-Type", kind))
		}
	}
	query := func(name string) func() answer {
		return func() answer {
			return w.do(w.machine, "POST", "/v1/identities/query", []byte(traitsOf(t, name)), with("", "Content-Type", "application/json"))
		}
	}
	get := func(c *http.Client, target string) func() answer {
		return func() answer { return w.do(c, "GET", target, nil, nil) }
	}
	form := func(query, envelope, doc string, h http.Header) func() answer {
		return func() answer { return w.submit(w.machine, query, envelope, doc, h) }
	}
	probes := []probe{
		{"deposit", 200, form("?dry_run=1", edit(t, thin(t), "document.type.code", "34133-9"), document(1), nil)},
		{"deposit", 200, form("?dry_run=true", thin(t), document(2), nil)},
		{"deposit", 202, form("", edit(t, thin(t), "document.title", "Autre"), document(1), key)},
		{"deposit", 202, form("", thin(t), document(3), nil)},
		{"deposit", 400, form("", "{", document(1), nil)},
		{"deposit", 401, func() answer { return w.submit(w.nobody, "", thin(t), document(1), nil) }},
		{"deposit", 409, form("", thin(t), document(2), key)},
		{"deposit", 413, form("", thin(t), strings.Repeat("x", 2<<20), nil)},
		{"deposit", 415, func() answer {
			return w.do(w.machine, "POST", "/v1/submissions", []byte("{}"), with("", "Content-Type", "application/json"))
		}},
		{"deposit", 422, form("", envelope(t, 4), "Bonjour", nil)},
		{"deposit", 422, form("", edit(t, edit(t, envelope(t, 4), "act", nil), "author.specialty", nil), pdf(), nil)}, // several findings
		{"deposit", 503, func() answer { return busy.submit(busy.machine, "", thin(t), document(1), nil) }},
		{"list", 200, get(w.machine, "/v1/submissions?limit=200&state=refused")},
		{"list", 200, get(w.machine, "/v1/submissions")},
		{"deposit", 507, func() answer { return away.submit(away.machine, "", thin(t), document(1), nil) }},
		{"list", 400, get(w.machine, "/v1/submissions?etat=refused")},
		{"list", 503, func() answer { return away.do(away.machine, "GET", "/v1/submissions", nil, nil) }},
		{"list", 401, get(w.nobody, "/v1/submissions")},
		{"list", 422, get(w.machine, "/v1/submissions?limit=0")},
		{"submission", 200, get(w.machine, "/v1/submissions/"+id)},
		{"submission", 400, get(w.machine, "/v1/submissions/"+id+"?lang=en&lang=fr")},
		{"submission", 503, func() answer { return away.do(away.machine, "GET", "/v1/submissions/"+id, nil, nil) }},
		{"submission", 401, get(w.nobody, "/v1/submissions/"+id)},
		{"submission", 404, get(w.machine, "/v1/submissions/none?lang=en")},
		{"events", 200, get(w.machine, "/v1/submissions/"+id+"/events?after=0")},
		{"events", 400, get(w.machine, "/v1/submissions/"+id+"/events?since=1")},
		{"events", 401, get(w.nobody, "/v1/submissions/"+id+"/events")},
		{"events", 404, get(w.machine, "/v1/submissions/none/events")},
		{"events", 422, get(w.machine, "/v1/submissions/"+id+"/events?after=-1")},
		{"events", 503, func() answer {
			s := w.follow("/v1/submissions/"+id+"/events?follow", nil)
			defer s.close()
			s.next()
			return w.do(w.machine, "GET", "/v1/submissions/"+id+"/events?follow", nil, nil)
		}},
		{"checkIdentity", 200, check(`{"status":"QUAL","traits":{"sex":"X"}}`, "application/json")},
		{"checkIdentity", 400, check("[]", "application/json")},
		{"checkIdentity", 401, func() answer { return w.do(w.nobody, "POST", "/v1/identities/check", []byte("{}"), nil) }},
		{"checkIdentity", 413, check(`"`+strings.Repeat("x", 70<<10)+`"`, "application/json")},
		{"checkIdentity", 415, check("{}", "text/plain")},
		{"checkIdentity", 422, check(`{"x":1}`, "application/json")},
		{"deposit", 502, form("", edit(t, thin(t), "patient", asked("PANNE DROITS")), document(9), nil)},
		{"deposit", 504, form("", edit(t, thin(t), "patient", asked("PANNE ATTENTE")), document(9), nil)},
		{"queryIdentity", 200, query(twin)},
		{"queryIdentity", 200, query("PERSONNE")},
		{"queryIdentity", 200, query("AUTRE")},
		{"queryIdentity", 400, func() answer {
			return w.do(w.machine, "POST", "/v1/identities/query", []byte("["), with("", "Content-Type", "application/json"))
		}},
		{"queryIdentity", 401, func() answer { return w.do(w.nobody, "POST", "/v1/identities/query", []byte("{}"), nil) }},
		{"queryIdentity", 413, func() answer {
			return w.do(w.machine, "POST", "/v1/identities/query", []byte(strings.Repeat(" ", 70<<10)), with("", "Content-Type", "application/json"))
		}},
		{"queryIdentity", 415, func() answer { return w.do(w.machine, "POST", "/v1/identities/query", []byte("{}"), nil) }},
		{"queryIdentity", 422, func() answer {
			return w.do(w.machine, "POST", "/v1/identities/query", []byte(`{"matricul":"1"}`), with("", "Content-Type", "application/json"))
		}},
		{"queryIdentity", 501, func() answer {
			return busy.do(busy.machine, "POST", "/v1/identities/query", []byte(traitsOf(t, twin)), with("", "Content-Type", "application/json"))
		}},
		{"queryIdentity", 502, query("PANNE DROITS")},
		{"queryIdentity", 503, query("PANNE SERVICE")},
		{"queryIdentity", 504, query("PANNE ATTENTE")},
		{"mailboxes", 200, get(w.machine, "/v1/mailboxes?domain=patient.mssante.fr")},
		{"mailboxes", 200, get(w.machine, "/v1/mailboxes?address="+testdata.Personas()[0].Mailbox)},
		{"mailboxes", 400, get(w.machine, "/v1/mailboxes?adress=a@b.fr")},
		{"mailboxes", 401, get(w.nobody, "/v1/mailboxes?domain=x.fr")},
		{"mailboxes", 422, get(w.machine, "/v1/mailboxes")},
		{"mailboxes", 503, func() answer { return away.do(away.machine, "GET", "/v1/mailboxes?id=1990000028", nil, nil) }},
		{"mailboxes", 502, func() answer {
			away.api.Directory = locked{}
			return away.do(away.machine, "GET", "/v1/mailboxes?id=1990000028", nil, nil)
		}},
		{"openapi", 200, get(w.nobody, "/openapi.yaml")},
		{"deposit", 408, func() answer { return w.slow("/v1/submissions", slowBodies["/v1/submissions"]) }},
		{"checkIdentity", 408, func() answer { return w.slow("/v1/identities/check", "application/json") }},
		{"queryIdentity", 408, func() answer { return w.slow("/v1/identities/query", "application/json") }},
	}

	done := map[string]bool{}
	operations := map[string]map[string]any{}
	for path, item := range d["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			o := operation.(map[string]any)
			operations[o["operationId"].(string)] = o
			// Another method than those described is refused as such.
			if a := w.do(w.machine, "DELETE", strings.ReplaceAll(path, "{id}", id), nil, nil); a.status != 405 || !strings.Contains(a.header.Get("Allow"), strings.ToUpper(method)) {
				t.Errorf("DELETE %s: %d, allowed %q", path, a.status, a.header.Get("Allow"))
			}
		}
	}
	for _, p := range probes {
		name := fmt.Sprintf("%s %d", p.operation, p.status)
		done[name] = true
		described, ok := operations[p.operation]["responses"].(map[string]any)[strconv.Itoa(p.status)]
		if !ok {
			t.Errorf("%s is not described", name)
			continue
		}
		a := p.do()
		kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
		response := d.resolve(described)
		media, ok := response["content"].(map[string]any)[kind]
		if a.status != p.status || !ok {
			t.Errorf("%s: %d %s %.300s", name, a.status, kind, a.body)
			continue
		}
		for header := range d.resolve(response["headers"]) {
			if a.header.Get(header) == "" && header != "Idempotent-Replayed" {
				t.Errorf("%s: no header %s", name, header)
			}
		}
		if kind == "application/yaml" {
			continue
		}
		var v any
		must(t, json.Unmarshal([]byte(a.body), &v))
		for _, wrong := range d.check(media.(map[string]any)["schema"], v, "") {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	for id, o := range operations {
		for status := range o["responses"].(map[string]any) {
			if !done[id+" "+status] {
				t.Errorf("%s %s is described and never seen", id, status)
			}
		}
	}
}

// TestSchemas compares the members of each schema with the fields of the type
// that the server writes or reads: the description cannot drift.
func TestSchemas(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	d := read(t, w)
	schemas := d["components"].(map[string]any)["schemas"].(map[string]any)
	for name, v := range map[string]any{
		"Envelope": httpapi.Envelope{}, "Submission": httpapi.Submission{}, "Event": httpapi.Event{}, "Accepted": httpapi.Accepted{},
		"Verdict": httpapi.Verdict{}, "Finding": httpapi.Finding{}, "IdentityVerdict": httpapi.IdentityVerdict{},
		"IdentityQuery": httpapi.IdentityQuery{}, "IdentityAnswer": httpapi.IdentityAnswer{},
	} {
		compare(t, d, schemas[name], reflect.TypeOf(v), name)
	}
}

func compare(t *testing.T, d description, schema any, typ reflect.Type, at string) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice {
			schema = d.resolve(schema)["items"]
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		return
	}
	s := d.resolve(schema)
	properties, _ := s["properties"].(map[string]any)
	fields := map[string]reflect.Type{}
	var collect func(reflect.Type)
	collect = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" {
				collect(f.Type)
			} else if name != "-" {
				fields[name] = f.Type
			}
		}
	}
	collect(typ)
	for name, f := range fields {
		if p, ok := properties[name]; ok {
			compare(t, d, p, f, at+"/"+name)
		} else {
			t.Errorf("%s/%s is not described", at, name)
		}
	}
	for name := range properties {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s/%s is described and does not exist", at, name)
		}
	}
	if s["additionalProperties"] != false {
		t.Errorf("%s is open", at)
	}
}
