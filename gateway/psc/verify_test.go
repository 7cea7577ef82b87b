package psc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// signingKey is the key of the gateway, as its file has it: what an attacker
// does not have, and a test needs to change one claim at a time.
func signingKey(t *testing.T, w *world) jose.JSONWebKey {
	t.Helper()
	data, err := os.ReadFile(w.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Keys []struct {
			JWK jose.JSONWebKey `json:"jwk"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(data, &f); err != nil || len(f.Keys) == 0 {
		t.Fatalf("%v, %d keys", err, len(f.Keys))
	}
	return f.Keys[0].JWK
}

// sign makes a token of any header and payload.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[string]any, payload []byte) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	for k, v := range header {
		opts.WithHeader(jose.HeaderKey(k), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
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

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Every wrong bearer, with its code. Each but the first few is a good token in
// which one thing is wrong.
func TestVerify(t *testing.T) {
	w := build(t, options{})
	good := w.token(doctor.NationalID)
	key := signingKey(t, w)
	parts := strings.Split(good, ".")
	claims := payload(t, good)
	with := func(change func(map[string]any)) []byte {
		c := map[string]any{}
		for k, v := range claims {
			c[k] = v
		}
		change(c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	ours := map[string]any{"typ": "at+jwt"}
	claim := func(k string, v any) string {
		return sign(t, jose.ES256, key, ours, with(func(c map[string]any) {
			if v == nil {
				delete(c, k)
			} else {
				c[k] = v
			}
		}))
	}
	same := with(func(map[string]any) {})
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hs := func(secret []byte) string {
		input := b64(`{"alg":"HS256","typ":"at+jwt","kid":"`+key.KeyID+`"}`) + "." + parts[1]
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	public, err := json.Marshal(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.TrimSuffix(string(same), "}") + `,"deep":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}"
	fromPSC := w.pscToken(doctor.NationalID)
	now := float64(w.now().Unix())
	unix := func(d time.Duration) float64 { return now + d.Seconds() }

	cases := []struct {
		name   string
		cert   string
		token  string
		status int
		code   string
	}{
		{"ok/as issued", software, good, 200, ""},
		{"ok/signed again", software, sign(t, jose.ES256, key, ours, same), 200, ""},
		{"ok/full media type", software, sign(t, jose.ES256, key, map[string]any{"typ": "application/at+jwt"}, same), 200, ""},
		{"fail/nothing at all", "", "", 401, psc.FaultNoToken},
		{"fail/certificate without bearer", software, "", 401, psc.FaultCertificateOnly},
		{"fail/bearer without certificate", "", good, 401, psc.FaultNoCertificate},
		{"fail/bound to another certificate", other, good, 401, psc.FaultBinding},
		{"fail/garbage", software, "garbage", 401, psc.FaultTokenMalformed},
		{"fail/garbage in three parts", software, "a.b.c", 401, psc.FaultTokenMalformed},
		{"fail/not base64url", software, parts[0] + "." + parts[1] + ".====", 401, psc.FaultTokenMalformed},
		{"fail/JWE", software, "e30.e30.e30.e30.e30", 401, psc.FaultTokenMalformed},
		{"fail/1 MB", software, strings.Repeat("A", 1<<20), 401, psc.FaultTokenLong},
		{"fail/long and well formed", software, claim("padding", strings.Repeat("A", 9<<10)), 401, psc.FaultTokenLong},
		{"fail/none", software, b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", 401, psc.FaultAlgNone},
		{"fail/none, spelt NoNe", software, b64(`{"alg":"NoNe","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultAlgNone},
		{"fail/no alg", software, b64(`{"typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultAlgNone},
		{"fail/HS256 with the public key", software, hs(public), 401, psc.FaultAlg},
		{"fail/HS256 with nothing", software, hs(nil), 401, psc.FaultAlg},
		{"fail/ES384 in name", software, b64(`{"alg":"ES384","typ":"at+jwt","kid":"`+key.KeyID+`"}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultAlg},
		{"fail/no signature", software, parts[0] + "." + parts[1] + ".", 401, psc.FaultSignature},
		{"fail/other payload, same signature", software, parts[0] + "." + strings.Split(claim("SubjectNameID", "899999999999"), ".")[1] + "." + parts[2], 401, psc.FaultSignature},
		{"fail/other key, our kid", software, sign(t, jose.ES256, jose.JSONWebKey{Key: foreign, KeyID: key.KeyID}, ours, same), 401, psc.FaultSignature},
		{"fail/unknown kid", software, sign(t, jose.ES256, jose.JSONWebKey{Key: foreign, KeyID: "autre"}, ours, same), 401, psc.FaultKey},
		{"fail/no kid", software, sign(t, jose.ES256, key.Key, ours, same), 401, psc.FaultKey},
		{"fail/its own key", software, b64(`{"alg":"ES256","kid":"`+key.KeyID+`","jwk":{"kty":"EC"}}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultKey},
		{"fail/its own URL", software, b64(`{"alg":"ES256","kid":"`+key.KeyID+`","jku":"https://evil.example"}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultKey},
		{"fail/crit", software, b64(`{"alg":"ES256","kid":"`+key.KeyID+`","crit":["x"]}`) + "." + parts[1] + "." + parts[2], 401, psc.FaultKey},
		{"fail/typ JWT", software, sign(t, jose.ES256, key, map[string]any{"typ": "JWT"}, same), 401, psc.FaultTokenType},
		{"fail/N13 ID token of PSC", software, fromPSC["id_token"].(string), 401, psc.FaultIssuer},
		{"fail/N13 access token of PSC", software, fromPSC["access_token"].(string), 401, psc.FaultIssuer},
		{"fail/other issuer", software, claim("iss", "https://autre.example"), 401, psc.FaultIssuer},
		{"fail/issuer with a slash", software, claim("iss", w.gateway.URL+"/"), 401, psc.FaultIssuer},
		{"fail/no issuer", software, claim("iss", nil), 401, psc.FaultIssuer},
		{"fail/audience dmp", software, claim("aud", "dmp"), 401, psc.FaultAudience},
		{"fail/two audiences", software, claim("aud", []string{"gateway", "dmp"}), 401, psc.FaultAudience},
		{"fail/no audience", software, claim("aud", nil), 401, psc.FaultAudience},
		{"fail/expired", software, claim("exp", unix(-time.Second)), 401, psc.FaultExpired},
		{"fail/expires now", software, claim("exp", now), 401, psc.FaultExpired},
		{"fail/no exp", software, claim("exp", nil), 401, psc.FaultTokenMalformed},
		{"fail/not yet valid", software, claim("nbf", unix(time.Minute)), 401, psc.FaultNotYet},
		{"fail/issued in the future", software, claim("iat", unix(time.Hour)), 401, psc.FaultNotYet},
		{"fail/other scope", software, claim("scope", "dmp"), 403, psc.FaultScope},
		{"fail/no cnf", software, claim("cnf", nil), 401, psc.FaultBinding},
		{"fail/empty cnf", software, claim("cnf", map[string]string{"x5t#S256": ""}), 401, psc.FaultBinding},
		{"fail/never issued", software, claim("jti", "un-autre"), 401, psc.FaultRevoked},
		{"fail/no jti", software, claim("jti", nil), 401, psc.FaultTokenMalformed},
		{"fail/exp is a text", software, claim("exp", "demain"), 401, psc.FaultTokenMalformed},
		{"fail/duplicate claim", software, sign(t, jose.ES256, key, ours, []byte(`{"exp":9999999999,`+string(same[1:]))), 401, psc.FaultTokenMalformed},
		{"fail/duplicate claim in another case", software, sign(t, jose.ES256, key, ours, []byte(`{"EXP":9999999999,`+string(same[1:]))), 401, psc.FaultTokenMalformed},
		{"fail/deep", software, sign(t, jose.ES256, key, ours, []byte(deep)), 401, psc.FaultTokenMalformed},
		{"fail/payload is a list", software, sign(t, jose.ES256, key, ours, []byte(`[]`)), 401, psc.FaultTokenMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := w.bearer(w.http(c.cert), c.token)
			if a.status != c.status || a.code() != c.code {
				t.Fatalf("answers %d %s, want %d %s", a.status, a.code(), c.status, c.code)
			}
			challenge := a.header.Get("WWW-Authenticate")
			switch {
			case c.status == 200 && challenge != "":
				t.Errorf("challenge of a success: %s", challenge)
			case c.status != 200 && !strings.HasPrefix(challenge, `Bearer realm="passerelle", scope="gateway"`):
				t.Errorf("challenge: %s", challenge)
			case c.token == "" && strings.Contains(challenge, "error"): // RFC 6750 §3.1
				t.Errorf("challenge of a request without a token: %s", challenge)
			case c.token != "" && c.status == 401 && !strings.Contains(challenge, `error="invalid_token"`):
				t.Errorf("challenge: %s", challenge)
			case c.status == 403 && !strings.Contains(challenge, `error="insufficient_scope"`):
				t.Errorf("challenge: %s", challenge)
			}
		})
	}
	t.Run("fail/after an hour", func(t *testing.T) {
		w.advance(time.Hour)
		if a := w.bearer(w.http(software), good); a.code() != psc.FaultExpired {
			t.Errorf("%d %s", a.status, a.code())
		}
	})
}

func TestAuthorizationHeader(t *testing.T) {
	w := build(t, options{})
	good := w.token(doctor.NationalID)
	for name, c := range map[string]struct {
		values []string
		code   string
	}{
		"ok/lower case":     {[]string{"bearer " + good}, ""},
		"fail/twice":        {[]string{"Bearer " + good, "Bearer " + good}, psc.FaultTokenMalformed},
		"fail/Basic":        {[]string{"Basic " + good}, psc.FaultCertificateOnly},
		"fail/no token":     {[]string{"Bearer "}, psc.FaultTokenMalformed},
		"fail/two in one":   {[]string{"Bearer " + good + ", Bearer " + good}, psc.FaultTokenMalformed},
		"fail/token, alone": {[]string{good}, psc.FaultCertificateOnly},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, w.gateway.URL+"/who", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Authorization"] = c.values
			if a := w.do(w.http(software), req); a.code() != c.code {
				t.Errorf("%d %s", a.status, a.code())
			}
		})
	}
}

// certificate is the header Client-Cert of a name.
func certificate(w *world, cn string) string {
	return ":" + base64.StdEncoding.EncodeToString(w.clients[cn].Leaf.Raw) + ":"
}

// N11: a certificate in a header counts from a named proxy only.
func TestProxy(t *testing.T) {
	header := func(w *world, token, value string) answer {
		req, err := http.NewRequest(http.MethodGet, w.gateway.URL+"/who", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if value != "" {
			req.Header.Set("Client-Cert", value)
		}
		return w.do(w.http(""), req)
	}
	outside := build(t, options{})
	if a := header(outside, outside.token(doctor.NationalID), certificate(outside, software)); a.code() != psc.FaultNoCertificate {
		t.Errorf("forged from outside: %d %s", a.status, a.code())
	}

	// Tokens come through the proxy too: the exchange sees the same header.
	w := build(t, options{proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	subject := w.pscToken(doctor.NationalID)["access_token"].(string)
	req, err := http.NewRequest(http.MethodPost, w.gateway.URL+"/oauth/token", strings.NewReader(exchangeForm(subject).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Client-Cert", certificate(w, software))
	a := w.do(w.http(""), req)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	token := decoded(t, a.body)["access_token"].(string)
	for name, c := range map[string]struct{ value, code string }{
		"ok/its certificate":        {certificate(w, software), ""},
		"fail/another certificate":  {certificate(w, other), psc.FaultBinding},
		"fail/no header":            {"", psc.FaultNoCertificate},
		"fail/not a byte sequence":  {"MIIB", psc.FaultNoCertificate},
		"fail/not base64":           {":!!!:", psc.FaultNoCertificate},
		"fail/not a certificate":    {":AAAA:", psc.FaultNoCertificate},
		"fail/a header of nothing:": {":", psc.FaultNoCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			if a := header(w, token, c.value); a.code() != c.code {
				t.Errorf("%d %s", a.status, a.code())
			}
		})
	}
}

// The keys of the gateway are rotated under its tokens.
func TestRotation(t *testing.T) {
	w := build(t, options{})
	before := w.token(doctor.NationalID)
	if err := w.keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	after := w.token(doctor.NationalID)
	for name, token := range map[string]string{"before": before, "after": after} {
		if a := w.bearer(w.http(software), token); a.status != 200 {
			t.Errorf("token of %s: %d %s", name, a.status, a.code())
		}
	}
	if n := len(w.keys.Public().Keys); n != 2 {
		t.Errorf("%d keys published", n)
	}
	w.advance(25 * time.Hour)
	if n := len(w.keys.Public().Keys); n != 1 {
		t.Errorf("a day later %d keys are published", n)
	}
	reopened, err := psc.OpenKeys(w.keyFile, w.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := reopened.Public().Keys[0].KeyID, w.keys.Public().Keys[0].KeyID; got != want {
		t.Errorf("reopened with key %s, want %s", got, want)
	}
}
