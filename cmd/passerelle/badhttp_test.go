//go:build !nosandbox

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/passerelle-sante/passerelle/testdata"
)

// refusedWith sends a request and gives status and code, read from a problem or
// from an OperationOutcome.
func refusedWith(t *testing.T, c *http.Client, req *http.Request) (status int, code string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var v struct {
		Code  string
		Issue []struct {
			Details struct{ Coding []struct{ Code string } }
		}
	}
	_ = json.Unmarshal(data, &v) // what net/http itself answers is no JSON
	if len(v.Issue) > 0 && len(v.Issue[0].Details.Coding) > 0 {
		v.Code = v.Issue[0].Details.Coding[0].Code
	}
	return res.StatusCode, v.Code
}

// The list of wrong callers of issue 4, against the gateway as it is served:
// each has a code, on both faces. (Every wrong token has one more test in
// gateway/psc, every wrong lot one in gateway/httpapi.)
func TestWrongCallers(t *testing.T) {
	r := newRoute(t, nil)
	vendor, err := clientFor(r.w.info.TLS.CA, r.w.info.TLS.ClientCert, r.w.info.TLS.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: vendor.Transport.(*http.Transport).TLSClientConfig.Clone()}}
	bare.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	good, err := sandboxToken(t.Context(), vendor, r.w.info, r.w.info.Personas[0].ID, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	atDMP, err := dmpToken(t.Context(), vendor, r.w.info, r.w.info.Personas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	var keys struct {
		Keys []struct {
			JWK jose.JSONWebKey `json:"jwk"`
		} `json:"keys"`
	}
	data, err := os.ReadFile(filepath.Join(r.m.Config.Data, "psc-keys.json"))
	if err == nil {
		err = json.Unmarshal(data, &keys)
	}
	if err != nil || len(keys.Keys) == 0 {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	var claims map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	signed := func(alg jose.SignatureAlgorithm, key any, name string, value any) string {
		t.Helper()
		changed := maps.Clone(claims)
		changed[name] = value
		payload, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ours := keys.Keys[0].JWK
	secret := jose.JSONWebKey{Key: []byte(strings.Repeat("s", 32)), KeyID: ours.KeyID}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	tests := []struct {
		name   string
		client *http.Client
		bearer string
		status int
		code   string // on /v1
		fhir   string // on /fhir; empty: the same
	}{
		{"ok/as issued", vendor, good, 200, "", ""},
		{"fail/nothing", bare, "", 401, "GW-UNAUTHENTICATED", "AUTH-NO-TOKEN"},
		{"fail/certificate without bearer", vendor, "", 401, "GW-UNAUTHENTICATED", "AUTH-CERTIFICATE-ONLY"},
		{"fail/bearer without certificate", bare, good, 401, "AUTH-NO-CERTIFICATE", ""},
		{"fail/garbage", vendor, "garbage", 401, "AUTH-TOKEN-MALFORMED", ""},
		{"fail/alg none", vendor, none, 401, "AUTH-ALG-NONE", ""},
		{"fail/HS256", vendor, signed(jose.HS256, secret, "x", 1), 401, "AUTH-ALG", ""},
		{"fail/expired", vendor, signed(jose.ES256, ours, "exp", time.Now().Add(-time.Hour).Unix()), 401, "AUTH-EXPIRED", ""},
		{"fail/other issuer", vendor, signed(jose.ES256, ours, "iss", "https://ailleurs.exemple.fr"), 401, "AUTH-ISSUER", ""},
		{"fail/token of the DMP", vendor, atDMP, 401, "AUTH-ISSUER", ""},
		{"fail/other audience", vendor, signed(jose.ES256, ours, "aud", "dmp"), 401, "AUTH-AUDIENCE", ""},
		{"fail/bound to another certificate", r.client, good, 401, "AUTH-BINDING", ""},
		{"fail/20 kB, below the header limit", vendor, strings.Repeat("x", 20<<10), 401, "AUTH-TOKEN-LONG", ""},
		{"fail/1 MB", vendor, strings.Repeat("x", 1<<20), 431, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for path, code := range map[string]string{"/v1/submissions": tt.code, "/fhir/DocumentReference?_id=1": tt.fhir} {
				if code == "" {
					code = tt.code
				}
				if tt.status == 200 && strings.HasPrefix(path, "/fhir") {
					continue // what the DMP answers is not the question here
				}
				req := must(t, "https://"+r.m.HTTPS+path)
				if tt.bearer != "" {
					req.Header.Set("Authorization", "Bearer "+tt.bearer)
				}
				if status, got := refusedWith(t, tt.client, req); status != tt.status || got != code {
					t.Errorf("%s: %d %s, want %d %s", path, status, got, tt.status, code)
				}
			}
		})
	}
}

// The wrong deposits of issue 4, against the gateway as it is served.
func TestWrongDeposits(t *testing.T) {
	r := newRoute(t, nil)
	envelope := `{"action":"new","patient":{},"flags":{"destdmp":true}}`
	first := string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(1)}))
	post := func(key, envelope, document string) *http.Request {
		t.Helper()
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, text := range map[string]string{"envelope": envelope, "document": document} {
			w, err := form.CreateFormFile(name, name)
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = form.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.m.HTTPS+"/v1/submissions", &body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		return req
	}
	fhir := func(body []byte) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.m.HTTPS+"/fhir", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/fhir+json")
		return req
	}
	s := &sender{submitCmd: &submitCmd{DMP: true}}
	good, err := s.envelope("premier.xml", []byte(first))
	if err != nil {
		t.Fatal(err)
	}
	request := func(path string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.w.info.Gateway.HTTPS+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	tests := []struct {
		name   string
		req    *http.Request
		status int
		code   string
	}{
		{"ok/under a key", post("k", string(good), first), 202, ""},
		{"ok/the same under the same key", post("k", string(good), first), 202, ""},
		{"fail/another under the same key", post("k", string(good), string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(2)}))), 409, "GW-KEY-REUSED"},
		{"fail/unknown field", post("", strings.Replace(envelope, "action", "Action", 1), first), 422, "HTTP-UNKNOWN-FIELD"},
		{"fail/PDF that is HTML", post("", envelope, "<!DOCTYPE html><html><body>503</body></html>"), 422, "CDA-NOT-PDF"},
		// Found by the audit of issue 4, 2026-11-22: an HTML page and a redirection.
		{"fail/a slash too many", request("//v1/submissions"), 404, "GW-NOT-FOUND"},
		{"fail/a slash too many, FHIR", request("//fhir"), 404, "GW-NOT-FOUND"},
		{"fail/60 MB by REST", post("", envelope, strings.Repeat("x", 60_000_000)), 413, "HTTP-TOO-LARGE"},
		{"fail/60 MB by FHIR", fhir(make([]byte, 60_000_000)), 413, "HTTP-TOO-LARGE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, code := refusedWith(t, r.client, tt.req); status != tt.status || code != tt.code {
				t.Errorf("%d %s, want %d %s", status, code, tt.status, tt.code)
			}
		})
	}
}
