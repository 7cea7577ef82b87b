package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/passerelle-sante/passerelle/conformance/sim"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

// forge changes the claims of a token and signs it with the gateway's own key:
// only the claim can be what refuses it.
func (w *world) forge(token string, change map[string]any) string {
	t := w.t
	t.Helper()
	data, err := os.ReadFile(w.keyFile)
	must(t, err)
	var file struct {
		Keys []struct {
			JWK jose.JSONWebKey `json:"jwk"`
		} `json:"keys"`
	}
	must(t, json.Unmarshal(data, &file))
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(payload, &claims))
	for k, v := range change {
		claims[k] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: file.Keys[0].JWK}, (&jose.SignerOptions{}).WithType("at+jwt"))
	must(t, err)
	out, err := signer.Sign([]byte(mustJSON(t, claims)))
	must(t, err)
	s, err := out.CompactSerialize()
	must(t, err)
	return s
}

// unsigned writes a token with another header and no signature, or one of rubbish.
func unsigned(token, header, signature string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + strings.Split(token, ".")[1] + "." + enc([]byte(signature))
}

// TestBearers brings every token that must not pass to every kind of operation.
func TestBearers(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{Wait: 50 * time.Millisecond}})
	good := w.bearer(testdata.PersonaPhysician)
	dead := w.forge(good, map[string]any{"exp": noon.Add(-time.Minute).Unix()})
	dmp := w.form(w.info.DMP.Token, url.Values{"grant_type": {sim.GrantPersona}, "persona": {testdata.PersonaPhysician}, "scope": {"dmp"}})
	nurse := w.bearer(testdata.PersonaNurse)
	w.form2(w.server.URL+"/oauth/revoke", url.Values{"token": {nurse}})
	body, kind := parts(t, "envelope", thin(t), "document", document(1))
	operations := []struct {
		name, method, path string
		body               []byte
		kind               string
		bearer             bool // a certificate alone never does
	}{
		{"deposit", "POST", "/v1/submissions", body, kind, false},
		{"dry run", "POST", "/v1/submissions?dry_run=1", body, kind, false},
		{"list", "GET", "/v1/submissions", nil, "", false},
		{"identity", "POST", "/v1/identities/check", []byte("{}"), "application/json", false},
		{"question to INSi", "POST", "/v1/identities/query", []byte(traitsOf(t, twin)), "application/json", false},
		{"ITI-65", "POST", "/fhir", []byte(ordinary(t, 1)), "application/fhir+json", false},
		{"ITI-105", "POST", "/fhir/DocumentReference", []byte(published(t, 1, nil)), "application/fhir+json", false},
		{"search", "GET", "/fhir/DocumentReference?status=current", nil, "", true},
		{"search by form", "POST", "/fhir/List/_search", []byte("status=current"), "application/x-www-form-urlencoded", true},
		{"read", "GET", "/fhir/Binary/1", nil, "", true},
		{"patch", "PATCH", "/fhir/DocumentReference/1", []byte("[]"), "application/json-patch+json", true},
	}
	tokens := []struct {
		name   string
		who    *http.Client
		token  string // empty: none
		status int
		code   string
		either string // code where a certificate alone could have done
	}{
		{"fail/nothing at all", w.nobody, "", 401, psc.FaultNoToken, gateway.FaultUnauthenticated},
		{"fail/certificate without bearer", w.vendor, "", 401, psc.FaultCertificateOnly, gateway.FaultUnauthenticated},
		{"fail/garbage", w.vendor, "garbage", 401, psc.FaultTokenMalformed, ""},
		{"fail/garbage in three parts", w.vendor, "a.b.c", 401, psc.FaultTokenMalformed, ""},
		{"fail/alg none", w.vendor, unsigned(good, `{"alg":"none","typ":"at+jwt"}`, ""), 401, psc.FaultAlgNone, ""},
		{"fail/HS256", w.vendor, unsigned(good, `{"alg":"HS256","typ":"at+jwt","kid":"x"}`, "rubbish"), 401, psc.FaultAlg, ""},
		{"fail/altered", w.vendor, good[:len(good)-8] + "AAAAAAAA", 401, psc.FaultSignature, ""},
		{"fail/expired", w.vendor, dead, 401, psc.FaultExpired, ""},
		{"fail/other issuer", w.vendor, dmp, 401, psc.FaultIssuer, ""},
		{"fail/other audience", w.vendor, w.forge(good, map[string]any{"aud": "dmp"}), 401, psc.FaultAudience, ""},
		{"fail/other scope", w.vendor, w.forge(good, map[string]any{"scope": "dmp"}), 403, psc.FaultScope, ""},
		{"fail/bound to another certificate", w.machine, good, 401, psc.FaultBinding, ""},
		{"fail/bearer without certificate", w.nobody, good, 401, psc.FaultNoCertificate, ""},
		{"fail/revoked", w.vendor, nurse, 401, psc.FaultRevoked, ""},
		{"fail/unknown to the gateway", w.vendor, w.forge(good, map[string]any{"jti": "another"}), 401, psc.FaultRevoked, ""},
	}
	for _, tt := range tokens {
		t.Run(tt.name, func(t *testing.T) {
			for _, o := range operations {
				a := w.do(tt.who, o.method, o.path, o.body, with(tt.token, "Content-Type", o.kind))
				code := tt.code
				if !o.bearer && tt.either != "" {
					code = tt.either
				}
				if got := a.codes(t); a.status != tt.status || len(got) == 0 || !strings.HasPrefix(got[0]+" ", code+" ") {
					t.Errorf("%s: %d %v, want %d %s", o.name, a.status, got, tt.status, code)
				}
				if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: no challenge", o.name)
				}
				if tt.token != "" && (strings.Contains(a.body, tt.token) || strings.Contains(a.body, "VALADIER")) {
					t.Errorf("%s: the answer repeats what it was told", o.name)
				}
			}
		})
	}
	t.Run("fail/1 MB token", func(t *testing.T) {
		for _, o := range operations {
			a, err := w.try(w.vendor, o.method, o.path, nil, with(strings.Repeat("a", 1<<20)))
			if err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s: %d", o.name, a.status)
			}
		}
	})
	t.Run("fail/token above the limit, below that of headers", func(t *testing.T) {
		w.do(w.vendor, "GET", "/v1/submissions", nil, with(strings.Repeat("a", 20<<10))).refused(t, 401, psc.FaultTokenLong)
	})
	t.Run("fail/machine where a bearer is needed", func(t *testing.T) {
		for _, o := range operations {
			if a := w.do(w.machine, o.method, o.path, o.body, with("", "Content-Type", o.kind)); o.bearer {
				a.refused(t, 401, psc.FaultCertificateOnly)
			}
		}
	})
	if n := w.count(); n != 3 { // those of the machine, to which a deposit needs no bearer
		t.Errorf("%d submissions", n)
	}
}

// form2 posts a form whose answer has no body.
func (w *world) form2(address string, form url.Values) {
	w.t.Helper()
	if a := w.do(w.vendor, "POST", address, []byte(form.Encode()), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}); a.status != 200 {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
}

// TestExpiry lets time pass instead of forging it.
func TestExpiry(t *testing.T) {
	w := newWorld(t, options{idle: true})
	bearer := w.bearer(testdata.PersonaPhysician)
	if a := w.do(w.vendor, "GET", "/v1/submissions", nil, with(bearer)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.sandbox.SetOffset(2 * time.Hour)
	w.do(w.vendor, "GET", "/v1/submissions", nil, with(bearer)).refused(t, 401, psc.FaultExpired)
}

// TestNoLogin brings a bearer to a gateway that knows no Pro Santé Connect.
func TestNoLogin(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	w.do(w.machine, "GET", "/v1/submissions", nil, with("a.b.c")).refused(t, 401, httpapi.FaultNoLogin)
	w.do(w.machine, "GET", "/fhir/Binary/1", nil, nil).refused(t, 401, httpapi.FaultNoLogin)
	if a := w.do(w.machine, "GET", "/v1/submissions", nil, nil); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
