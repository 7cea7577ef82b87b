package psc

import (
	"encoding/json"
	"net/url"
	pathpkg "path"
	"strings"
	"testing"
)

// A token that is let through has three parts, one object each for header and
// claims, a kid, and no key of its own.
func FuzzInspect(f *testing.F) {
	for _, seed := range []string{"", ".", "..", "a.b.c", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJ4In0.AAAA",
		"eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJqd2siOnt9fQ.e30.AAAA", "eyJhIjoxLCJBIjoyfQ.e30.AA", strings.Repeat("A", 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		h, payload, err := inspect(token, maxBearer)
		if err != nil {
			return
		}
		var claims map[string]any
		if strings.Count(token, ".") != 2 || len(token) > maxBearer || h.Kid == "" || h.Alg == "" || strings.HasPrefix(h.Alg, "HS") ||
			strings.EqualFold(h.Alg, "none") || json.Unmarshal(payload, &claims) != nil {
			t.Fatalf("let through: %q", token)
		}
	})
}

// What strictObject takes, encoding/json takes; and nothing comes twice in it.
func FuzzStrictObject(f *testing.F) {
	for _, seed := range []string{`{}`, `[]`, `{"a":1}`, `{"a":1,"A":2}`, `{"a":{"a":1}}`, `{"a":[{"b":1},{"b":2}]}`, `{"a":1}{}`, `{"a":"b","b":"a"}`, `{"a`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strictObject(data) != nil {
			return
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("taken, and not an object: %q", data)
		}
		lower := map[string]bool{}
		for k := range m {
			if lower[strings.ToLower(k)] {
				t.Fatalf("twice: %q", data)
			}
			lower[strings.ToLower(k)] = true
		}
	})
}

func TestStrictObject(t *testing.T) {
	for data, ok := range map[string]bool{`{}`: true, `{"a":1}`: true, `{"a":{"a":{"a":null}}}`: true, `{"a":[{"b":1},{"b":2}],"b":"a"}`: true,
		`{"a":"b","b":"a"}`: true, `{"a":["a","a"]}`: true, ` {"a":1} `: true, `{"a":[[],[]],"c":{}}`: true,
		`[]`: false, `null`: false, `"a"`: false, ``: false, `{"a":1}{}`: false, `{"a":1,"a":1}`: false, `{"a":1,"A":1}`: false,
		`{"x":{"a":1,"a":2}}`: false, `{"x":[{"a":1,"a":2}]}`: false, `{"a":1`: false, `{"a":}`: false, `{"a":1,}`: false,
		`{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`: false} {
		if err := strictObject([]byte(data)); (err == nil) != ok {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// Userinfo is read from foreign bytes, and what is kept of it is bounded.
func FuzzUserinfo(f *testing.F) {
	f.Add([]byte(`{"sub":"f:x:8","SubjectRole":["10^1.2"],"SubjectRefPro":{"exercices":[{"codeProfession":"10","activities":[{"codeGenreActivite":"GENR01"}]}]}}`))
	f.Add([]byte(`{"SubjectRole":"10","otherIds":[{"identifiant":"8","origine":"RPPS","qualite":1}]}`))
	f.Add([]byte(`{"SubjectRefPro":{"exercices":[{"activities":[{},{},{}]}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var u userinfo
		if json.Unmarshal(data, &u) != nil {
			return
		}
		var p Professional
		p.describe(u)
		if len(p.Situations) > maxSituations || len(p.Professions) > 20 || len(p.OtherIDs) > 20 {
			t.Fatal("not bounded")
		}
		for _, s := range p.Situations {
			if err := p.choose(s.Key); err != nil {
				t.Fatalf("a situation of theirs is refused: %v", err)
			}
		}
	})
}

// What passes as a path of /send stays below its backend, however it is read.
func FuzzSendPath(f *testing.F) {
	for _, seed := range []string{"/send/api/x", "/send/api", "/send/api/a%20b/c", "/send/api/../x", "/send/api/%2e%2e/x", "/send/api/..%2f", "/send/api/%252e",
		"/send//x", "/send/api//x", "/send/api/a;b", "/send/api/%00", "/send/https:%2f%2fx/y", "/send/api/%ff", "/send/api/é"} {
		f.Add(seed)
	}
	base := &Backend{Name: "api", Base: "https://api.example/v1"}
	f.Fuzz(func(t *testing.T, escaped string) {
		name, path, err := sendPath(escaped)
		if err != nil {
			return
		}
		target, err := url.Parse(base.Base + (&url.URL{Path: path}).EscapedPath())
		if err != nil {
			t.Fatalf("%q makes an address that cannot be read: %v", escaped, err)
		}
		cleaned := pathpkg.Clean(target.Path)
		if !backendForm.MatchString(name) || target.Host != "api.example" || target.RawQuery != "" || target.Fragment != "" ||
			cleaned != target.Path || cleaned != "/v1" && !strings.HasPrefix(cleaned, "/v1/") {
			t.Fatalf("%q reaches %s", escaped, target)
		}
		if here, ok := base.here(target.String()); !ok || !strings.HasPrefix(here, "/send/api") {
			t.Fatalf("%q does not come back: %q", escaped, here)
		}
	})
}

// An answer of CIBA is read, or is no answer; none panics, and a page never
// counts as one.
func FuzzCIBAAnswer(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"auth_req_id":"a","expires_in":120,"interval":5}`, `{"error":"slow_down"}`, `{"expires_in":1e400}`,
		`{"error":"a","ERROR":"b"}`, "<html>", `{"access_token":"x","token_type":"Bearer","id_token":"a.b.c"}`, "[]", `{"interval":-1}`} {
		f.Add(200, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		_, a, err := parseCIBA(status, body)
		if err == nil && !json.Valid(body) {
			t.Fatalf("read: %q", body)
		}
		if err != nil && a != (cibaAnswer{}) {
			t.Fatalf("refused, and used: %+v", a)
		}
	})
}
