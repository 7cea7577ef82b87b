package sim

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// claimsOf checks a token by the published keys and reads it.
func claimsOf(t *testing.T, s *Sandbox, raw string) map[string]any {
	t.Helper()
	tok, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	a := do(t, gatewayClient(t, s), http.MethodGet, s.Files().DMPJWKS, "", "")
	var set jose.JSONWebKeySet
	decodeInto(t, a.body, &set)
	claims := map[string]any{}
	if err := tok.Claims(set, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestTokenIndirect(t *testing.T) {
	s := start(t)
	a := token(t, s, gatewayClient(t, s), indirectForm(s))
	if a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	body := a.json(t)
	if body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 || body["scope"] != "dmp" {
		t.Errorf("answer is %v", body)
	}
	c := claimsOf(t, s, body["access_token"].(string))
	for name, want := range map[string]any{"iss": s.Files().DMPIssuer, "aud": "dmp", "client_id": "passerelle-dmp", "mode": "indirecte",
		"finess": "990000028", "sender": "819990000028", "sub": "990000028",
		"iat": float64(noon.Unix()), "nbf": float64(noon.Unix()), "exp": float64(noon.Add(time.Hour).Unix())} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	if c["jti"] == "" || c["cnf"].(map[string]any)["x5t#S256"] != thumbprint(readCert(t, s.Files().DMPCert)) {
		t.Errorf("jti %v, cnf %v", c["jti"], c["cnf"])
	}
	again := token(t, s, gatewayClient(t, s), indirectForm(s)).json(t)
	if claimsOf(t, s, again["access_token"].(string))["jti"] == c["jti"] {
		t.Error("two tokens have the same jti")
	}
}

func TestTokenPersona(t *testing.T) {
	s := start(t)
	for name, form := range map[string]url.Values{
		"ok/by id":          {"persona": {"dr-delmas"}, "client_id": {s.Files().ClientCN}},
		"ok/by national id": {"persona": {"819990000010"}, "scope": {"dmp"}},
	} {
		t.Run(name, func(t *testing.T) {
			form.Set("grant_type", GrantPersona)
			a := token(t, s, client(t, s, s.Info().TLS.ClientCert, s.Info().TLS.ClientKey), form)
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			c := claimsOf(t, s, a.json(t)["access_token"].(string))
			if c["mode"] != "direct" || c["SubjectNameID"] != "819990000010" || c["SubjectRole"].([]any)[0] != "10^1.2.250.1.213.1.1.5.5" {
				t.Errorf("claims are %v", c)
			}
			if c["finess"] != nil || c["cnf"].(map[string]any)["x5t#S256"] != thumbprint(readCert(t, s.Info().TLS.ClientCert)) {
				t.Errorf("claims are %v", c)
			}
		})
	}
}

func TestTokenRefused(t *testing.T) {
	s := start(t)
	i := s.Info().TLS
	vendor := url.Values{"grant_type": {GrantPersona}, "client_id": {s.Files().ClientCN}, "persona": {"dr-delmas"}}
	for _, c := range []struct {
		name      string
		cert, key string
		form      url.Values
		change    func(url.Values)
		status    int
		code      string
	}{
		{"fail/no certificate", "", "", indirectForm(s), nil, 401, "invalid_client"},
		{"fail/certificate of another role", i.INSiCert, i.INSiKey, indirectForm(s), nil, 401, "invalid_client"},
		{"fail/another client's id", i.MachineCert, i.MachineKey, indirectForm(s), nil, 401, "invalid_client"},
		{"fail/no grant", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Del("grant_type") }, 400, "invalid_request"},
		{"fail/unknown grant", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
		{"fail/grant of others", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Set("grant_type", GrantPersona) }, 400, "unauthorized_client"},
		{"fail/client_credentials by a vendor", i.ClientCert, i.ClientKey, indirectForm(s), func(v url.Values) { v.Set("client_id", "editeur-essai") }, 400, "unauthorized_client"},
		{"fail/scope", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Set("scope", "gateway") }, 400, "invalid_scope"},
		{"fail/mode", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Set("mode", "direct") }, 400, "invalid_request"},
		{"fail/finess", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Set("finess", "1990000028") }, 400, "invalid_request"},
		{"fail/sender", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Del("sender") }, 400, "invalid_request"},
		{"fail/repeated", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Add("finess", "990000010") }, 400, "invalid_request"},
		{"fail/persona under another name", i.ClientCert, i.ClientKey, vendor, func(v url.Values) { v.Set("client_id", "") }, 401, "invalid_client"},
		{"fail/client_credentials without client_id", s.files.DMPCert, s.files.DMPKey, indirectForm(s), func(v url.Values) { v.Del("client_id") }, 401, "invalid_client"},
		{"fail/unknown persona", i.ClientCert, i.ClientKey, vendor, func(v url.Values) { v.Set("persona", "nobody") }, 400, "invalid_grant"},
		{"fail/no persona", i.ClientCert, i.ClientKey, vendor, func(v url.Values) { v.Del("persona") }, 400, "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := url.Values{}
			for k, v := range c.form {
				form[k] = append([]string{}, v...)
			}
			if c.change != nil {
				c.change(form)
			}
			a := token(t, s, client(t, s, c.cert, c.key), form)
			if a.status != c.status || a.json(t)["error"] != c.code || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v %s, want %d %s", a.status, a.header, a.body, c.status, c.code)
			}
		})
	}
	t.Run("fail/GET", func(t *testing.T) {
		if a := do(t, gatewayClient(t, s), http.MethodGet, s.Info().DMP.Token, "", ""); a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
}

func TestMachineMayAskForTokens(t *testing.T) {
	s := start(t)
	form := indirectForm(s)
	form.Set("client_id", s.Files().MachineCN)
	if a := token(t, s, client(t, s, s.Info().TLS.MachineCert, s.Info().TLS.MachineKey), form); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAuthorizationServerMetadata(t *testing.T) {
	s := start(t)
	m := do(t, gatewayClient(t, s), http.MethodGet, s.Files().DMPIssuer+"/.well-known/oauth-authorization-server", "", "").json(t)
	if m["issuer"] != s.Files().DMPIssuer || m["token_endpoint"] != s.Info().DMP.Token || m["jwks_uri"] != s.Files().DMPJWKS {
		t.Errorf("metadata are %v", m)
	}
	set := do(t, gatewayClient(t, s), http.MethodGet, s.Files().DMPJWKS, "", "").json(t)
	if key := set["keys"].([]any)[0].(map[string]any); key["d"] != nil || key["kid"] == "" {
		t.Error("the set of keys shows a private key, or names none")
	}
}

func TestTokenLifetimeAndClock(t *testing.T) {
	s := start(t)
	control(t, s, "PUT", "/dmp/token", `{"lifetime_seconds": 60}`, 200)
	control(t, s, "PUT", "/clock", `{"offset": "2h"}`, 200)
	body := token(t, s, gatewayClient(t, s), indirectForm(s)).json(t)
	c := claimsOf(t, s, body["access_token"].(string))
	if body["expires_in"] != 60.0 || c["iat"] != float64(noon.Add(2*time.Hour).Unix()) || c["exp"] != c["iat"].(float64)+60 {
		t.Errorf("%v %v", body, c)
	}
	control(t, s, "DELETE", "/dmp/token", "", 200)
	control(t, s, "DELETE", "/clock", "", 200)
	if s.Offset() != 0 || s.auth.getLifetime() != time.Hour || !s.Now().Equal(noon) {
		t.Error("knobs are not back")
	}
}
