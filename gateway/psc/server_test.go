package psc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

func TestExchange(t *testing.T) {
	w := build(t, options{})
	a := w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(w.pscToken(doctor.NationalID)["access_token"].(string)))
	if a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	v := decoded(t, a.body)
	if v["token_type"] != "Bearer" || v["issued_token_type"] != "urn:ietf:params:oauth:token-type:access_token" || v["scope"] != "gateway" || v["expires_in"] != 3600.0 {
		t.Errorf("answer: %s", a.body)
	}
	token := v["access_token"].(string)
	claims := payload(t, token)
	sum := sha256.Sum256(w.clients[software].Leaf.Raw)
	cnf, _ := claims["cnf"].(map[string]any)
	if claims["aud"] != "gateway" || claims["iss"] != w.gateway.URL || claims["client_id"] != software || claims["SubjectNameID"] != doctor.NationalID ||
		claims["scope"] != "gateway" || cnf["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) || claims["exp"].(float64)-claims["iat"].(float64) != 3600 {
		t.Errorf("claims: %v", claims)
	}
	for _, name := range []string{doctor.Family, doctor.Given, "dmp-bearer"} {
		raw, _ := json.Marshal(claims)
		if strings.Contains(string(raw), name) {
			t.Errorf("the token tells %s", name)
		}
	}
	a = w.bearer(w.http(software), token)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	p, dmp, care := who(t, a)
	if p.NationalID != doctor.NationalID || p.Client != software || p.Family != doctor.Family || dmp != "dmp-bearer" || care != "" || p.Situation == nil {
		t.Errorf("known as %+v, dmp %q, care %q", p, dmp, care)
	}
	if log := w.log.String(); strings.Contains(log, "eyJ") || strings.Contains(log, "dmp-bearer") || !strings.Contains(log, doctor.NationalID) {
		t.Errorf("log: %s", log)
	}
}

// The gateway token never outlives the DMP token; without one it is issued all
// the same, and reads of the DMP are refused for the time being.
func TestExchangeAndDMP(t *testing.T) {
	cases := []struct {
		name    string
		options options
		status  int
		body    string
		expires float64
		dmp     string
	}{
		{"ok/the shorter of the two", options{}, 200, `{"access_token":"dmp-bearer","token_type":"bearer","expires_in":600}`, 600, "dmp-bearer"},
		{"ok/the DMP token lives longer", options{life: 5 * time.Minute}, 200, dmpAnswer, 300, "dmp-bearer"},
		{"ok/never above four hours", options{life: 9 * time.Hour, noDMP: true}, 0, "", 14400, ""},
		{"ok/no DMP", options{noDMP: true}, 0, "", 3600, ""},
		{"ok/DMP server down", options{}, 503, "", 3600, ""},
		{"ok/DMP server refuses", options{}, 400, `{"error":"invalid_request"}`, 3600, ""},
		{"ok/DMP server gives a page", options{}, 200, "<html>", 3600, ""},
		{"ok/DMP server gives no bearer", options{}, 200, `{"access_token":"x","token_type":"mac","expires_in":60}`, 3600, ""},
		{"ok/DMP server gives another scope", options{}, 200, `{"access_token":"x","token_type":"Bearer","expires_in":60,"scope":"autre"}`, 3600, ""},
		{"ok/DMP server gives no life", options{}, 200, `{"access_token":"x","token_type":"Bearer"}`, 3600, ""},
		{"ok/DMP server redirects", options{}, 302, "", 3600, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := build(t, c.options)
			w.dmp.set(c.status, c.body)
			a := w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(w.pscToken(doctor.NationalID)["access_token"].(string)))
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			v := decoded(t, a.body)
			if v["expires_in"] != c.expires {
				t.Errorf("expires in %v, want %v", v["expires_in"], c.expires)
			}
			p, dmp, _ := who(t, w.bearer(w.http(software), v["access_token"].(string)))
			if p.NationalID != doctor.NationalID || dmp != c.dmp {
				t.Errorf("dmp %q, want %q", dmp, c.dmp)
			}
		})
	}
	t.Run("ok/with the gateway's own certificate", func(t *testing.T) {
		w := build(t, options{})
		w.token(doctor.NationalID)
		if !slices.Contains(w.dmp.certs, software) {
			t.Errorf("certificates: %v", w.dmp.certs)
		}
	})
}

// N19 and the rest of RFC 8693, 6749 and 8705: wrong requests, each with its
// error.
func TestExchangeRefused(t *testing.T) {
	w := build(t, options{})
	set := func(k, v string) func(url.Values) { return func(f url.Values) { f.Set(k, v) } }
	nothing := func(url.Values) {}
	cases := []struct {
		name   string
		cert   string
		fault  *sim.PSCFault // for the PSC access token, or the calls of the exchange
		change func(url.Values)
		status int
		error  string
		code   string
	}{
		{"ok/client_id named", software, nil, set("client_id", software), 200, "", ""},
		{"ok/JWT", software, nil, set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), 200, "", ""},
		{"ok/audience named", software, nil, set("audience", "gateway"), 200, "", ""},
		{"ok/subject_issuer", software, nil, set("subject_issuer", "psc"), 200, "", ""},
		{"fail/no certificate", "", nil, nothing, 401, "invalid_client", psc.FaultClient},
		{"fail/unknown certificate", "inconnu", nil, nothing, 401, "invalid_client", psc.FaultClient},
		{"fail/client_id of another", software, nil, set("client_id", other), 401, "invalid_client", psc.FaultClient},
		{"fail/token that another service obtained", other, nil, nothing, 400, "invalid_request", psc.FaultSubjectClient},
		{"fail/no grant", software, nil, func(f url.Values) { f.Del("grant_type") }, 400, "invalid_request", psc.FaultRequest},
		{"fail/client_credentials", software, nil, set("grant_type", "client_credentials"), 400, "unsupported_grant_type", psc.FaultGrant},
		{"fail/password", software, nil, set("grant_type", "password"), 400, "unsupported_grant_type", psc.FaultGrant},
		{"fail/no scope", software, nil, func(f url.Values) { f.Del("scope") }, 400, "invalid_scope", psc.FaultScopeAsked},
		{"fail/scope of the DMP", software, nil, set("scope", "dmp"), 400, "invalid_scope", psc.FaultScopeAsked},
		{"fail/two scopes", software, nil, set("scope", "gateway dmp"), 400, "invalid_scope", psc.FaultScopeAsked},
		{"fail/other audience", software, nil, set("audience", "dmp"), 400, "invalid_target", psc.FaultTarget},
		{"fail/resource", software, nil, set("resource", "https://dmp.example"), 400, "invalid_target", psc.FaultTarget},
		{"fail/no subject token", software, nil, func(f url.Values) { f.Del("subject_token") }, 400, "invalid_request", psc.FaultRequest},
		{"fail/no type", software, nil, func(f url.Values) { f.Del("subject_token_type") }, 400, "invalid_request", psc.FaultRequest},
		{"fail/type of an ID token", software, nil, set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"), 400, "invalid_request", psc.FaultRequest},
		{"fail/refresh token wanted", software, nil, set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), 400, "invalid_request", psc.FaultRequest},
		{"fail/actor", software, nil, set("actor_token", "x"), 400, "invalid_request", psc.FaultRequest},
		{"fail/repeated", software, nil, func(f url.Values) { f.Add("scope", "gateway") }, 400, "invalid_request", psc.FaultRequest},
		{"fail/garbage", software, nil, set("subject_token", "garbage"), 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/JWE", software, nil, set("subject_token", "e30.e30.e30.e30.e30"), 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/token of 1 MB", software, nil, set("subject_token", strings.Repeat("A", 1<<20)), 400, "invalid_request", psc.FaultRequest},
		{"fail/token of 100 kB", software, nil, set("subject_token", strings.Repeat("A", 100<<10)), 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/alg none", software, &sim.PSCFault{Fault: "alg-none", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/HS256", software, &sim.PSCFault{Fault: "alg-hs256", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/other key", software, &sim.PSCFault{Fault: "key-other", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/other issuer", software, &sim.PSCFault{Fault: "iss-wrong", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/expired", software, &sim.PSCFault{Fault: "expired", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectExpired},
		{"fail/no exp", software, &sim.PSCFault{Fault: "exp-absent", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/not yet", software, &sim.PSCFault{Fault: "nbf-future", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/N13 typ ID", software, &sim.PSCFault{Fault: "typ-wrong", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/other azp", software, &sim.PSCFault{Fault: "azp-wrong", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectClient},
		{"fail/no acr", software, &sim.PSCFault{Fault: "acr-absent", Token: "access"}, nothing, 400, "invalid_request", psc.FaultACR},
		{"fail/nobody", software, &sim.PSCFault{Fault: "no-name-id", Token: "access"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/N10 inactive", software, &sim.PSCFault{Fault: "inactive"}, nothing, 400, "invalid_request", psc.FaultSubjectToken},
		{"fail/N10 introspection down", software, &sim.PSCFault{Fault: "down", Path: "/introspect"}, nothing, 503, "temporarily_unavailable", psc.FaultUnreachable},
		{"fail/N10 introspection unavailable", software, &sim.PSCFault{Fault: "unavailable", Path: "/introspect"}, nothing, 503, "temporarily_unavailable", psc.FaultUnreachable},
		{"fail/N15 userinfo of another", software, &sim.PSCFault{Fault: "userinfo-sub"}, nothing, 400, "invalid_request", psc.FaultUserinfo},
		{"fail/userinfo down", software, &sim.PSCFault{Fault: "down", Path: "/userinfo"}, nothing, 503, "temporarily_unavailable", psc.FaultUnreachable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer w.fault()
			if c.fault != nil {
				w.fault(*c.fault)
			}
			form := exchangeForm(w.pscToken(doctor.NationalID)["access_token"].(string))
			c.change(form)
			a := w.post(w.http(c.cert), w.gateway.URL+"/oauth/token", form)
			v := decoded(t, a.body)
			if a.status != c.status || (c.error != "" && v["error"] != c.error) || a.code() != c.code {
				t.Fatalf("answers %d %s, want %d %s %s", a.status, a.body, c.status, c.error, c.code)
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("headers: %v", a.header)
			}
			if strings.Contains(a.body, form.Get("subject_token")) && form.Get("subject_token") != "" {
				t.Error("the answer repeats the token")
			}
		})
	}
	t.Run("fail/GET", func(t *testing.T) {
		a := w.get(w.http(software), w.gateway.URL+"/oauth/token")
		if a.status != 405 || a.header.Get("Allow") != "POST" || decoded(t, a.body)["error"] != "invalid_request" {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	})
	t.Run("fail/JSON body", func(t *testing.T) {
		req, err := http.NewRequest(http.MethodPost, w.gateway.URL+"/oauth/token", strings.NewReader(`{"grant_type":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if a := w.do(w.http(software), req); a.status != 400 || a.code() != psc.FaultRequest {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// A PSC token passes once, also when it comes several times at the same moment.
func TestExchangeOnce(t *testing.T) {
	w := build(t, options{})
	subject := w.pscToken(doctor.NationalID)["access_token"].(string)
	const callers = 8
	var wg sync.WaitGroup
	codes := make(chan string, callers)
	client := w.http(software)
	for range callers {
		wg.Go(func() {
			a := w.post(client, w.gateway.URL+"/oauth/token", exchangeForm(subject))
			codes <- a.code()
		})
	}
	wg.Wait()
	close(codes)
	passed := 0
	for code := range codes {
		switch code {
		case "":
			passed++
		case psc.FaultSubjectUsed:
		default:
			t.Errorf("refused as %s", code)
		}
	}
	if passed != 1 || len(w.dmp.asked()) != 1 {
		t.Errorf("%d passed, the DMP was asked %d times", passed, len(w.dmp.asked()))
	}
}

// A refusal before the token is known to be good does not use it up.
func TestExchangeAgainAfterOutage(t *testing.T) {
	w := build(t, options{})
	subject := w.pscToken(doctor.NationalID)["access_token"].(string)
	w.fault(sim.PSCFault{Fault: "down", Path: "/introspect"})
	if a := w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(subject)); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.fault()
	if a := w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(subject)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

func TestIntrospectAndRevoke(t *testing.T) {
	w := build(t, options{})
	token := w.token(doctor.NationalID)
	ask := func(cert, path, token string) answer {
		return w.post(w.http(cert), w.gateway.URL+"/oauth/"+path, url.Values{"token": {token}})
	}
	a := ask(software, "introspect", token)
	v := decoded(t, a.body)
	if a.status != 200 || v["active"] != true || v["SubjectNameID"] != doctor.NationalID || v["aud"] != "gateway" || v["client_id"] != software || v["token_type"] != "Bearer" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for name, c := range map[string]struct {
		cert, token string
		status      int
		body        string
	}{
		"ok/of another client":    {other, token, 200, `{"active":false}`},
		"ok/garbage":              {software, "garbage", 200, `{"active":false}`},
		"ok/altered":              {software, token[:len(token)-4] + "AAAA", 200, `{"active":false}`},
		"ok/of PSC":               {software, w.pscToken(doctor.NationalID)["access_token"].(string), 200, `{"active":false}`},
		"fail/no certificate":     {"", token, 401, `"invalid_client"`},
		"fail/nothing to look at": {software, "", 400, `"invalid_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			if a := ask(c.cert, "introspect", c.token); a.status != c.status || !strings.Contains(a.body, c.body) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	if a := ask(other, "revoke", token); a.status != 400 || decoded(t, a.body)["error"] != "unauthorized_client" || a.code() != psc.FaultNotYours {
		t.Errorf("revoked by another: %d %s", a.status, a.body)
	}
	if a := w.bearer(w.http(software), token); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for range 2 { // RFC 7009: a token that is revoked already is no error
		if a := ask(software, "revoke", token); a.status != 200 || a.body != "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := ask(software, "revoke", "garbage"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.bearer(w.http(software), token); a.status != 401 || a.code() != psc.FaultRevoked {
		t.Errorf("revoked, and yet %d %s", a.status, a.code())
	}
	if a := ask(software, "introspect", token); strings.TrimSpace(a.body) != `{"active":false}` {
		t.Errorf("%s", a.body)
	}
}

func TestMetadata(t *testing.T) {
	w := build(t, options{})
	v := decoded(t, w.get(w.http(""), w.gateway.URL+"/.well-known/oauth-authorization-server").body)
	if v["issuer"] != w.gateway.URL || v["token_endpoint"] != w.gateway.URL+"/oauth/token" || v["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("%v", v)
	}
	if raw, _ := json.Marshal(v["grant_types_supported"]); string(raw) != `["urn:ietf:params:oauth:grant-type:token-exchange"]` {
		t.Errorf("grants: %s", raw)
	}
	a := w.get(w.http(""), v["jwks_uri"].(string))
	keys := decoded(t, a.body)["keys"].([]any)
	if len(keys) != 1 {
		t.Fatalf("%s", a.body)
	}
	key := keys[0].(map[string]any)
	if _, private := key["d"]; private || key["alg"] != "ES256" || key["use"] != "sig" || key["kid"] == "" {
		t.Errorf("key: %v", key)
	}
}

// Descriptions of RFC 6749 §5.2 and of RFC 6750 §3 are ASCII without quotes.
func TestEnglishIsASCII(t *testing.T) {
	n := 0
	for _, row := range fault.Table {
		if !strings.HasPrefix(row.Code, "PSC-") && !strings.HasPrefix(row.Code, "AUTH-") {
			continue
		}
		n++
		for _, r := range row.EN {
			if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
				t.Errorf("%s: %q", row.Code, row.EN)
				break
			}
		}
	}
	if n < 40 {
		t.Fatalf("only %d rows", n)
	}
}
