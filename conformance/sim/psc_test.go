package sim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

const pscBack = "https://127.0.0.1:9/callback"

// pscWorld is a sandbox whose client has a redirect URI, and HTTP clients that
// follow nothing.
type pscWorld struct {
	*Sandbox
	t      *testing.T
	vendor *http.Client // presents the vendor's certificate
	plain  *http.Client // presents none
}

func startPSC(t *testing.T) pscWorld {
	t.Helper()
	s := start(t)
	if err := s.SetRedirectURI(pscBack); err != nil {
		t.Fatal(err)
	}
	w := pscWorld{s, t, client(t, s, s.Info().TLS.ClientCert, s.Info().TLS.ClientKey), client(t, s, "", "")}
	for _, c := range []*http.Client{w.vendor, w.plain} {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return w
}

func (w pscWorld) request() url.Values {
	i := w.Info().PSC
	return url.Values{"response_type": {"code"}, "client_id": {i.ClientID}, "redirect_uri": {i.RedirectURI}, "scope": {"openid scope_all"},
		"acr_values": {"eidas1"}, "state": {"etat"}, "nonce": {"nonce"}, "login_hint": {testdata.Personas()[0].NationalID}}
}

func (w pscWorld) authorize(q url.Values) answered {
	w.t.Helper()
	return do(w.t, w.plain, http.MethodGet, w.Info().PSC.Authorization+"?"+q.Encode(), "", "")
}

func (w pscWorld) code(q url.Values) string {
	w.t.Helper()
	u, err := url.Parse(w.authorize(q).header.Get("Location"))
	if err != nil || u.Query().Get("code") == "" {
		w.t.Fatalf("no code: %v %s", err, u)
	}
	return u.Query().Get("code")
}

func (w pscWorld) post(c *http.Client, address string, form url.Values) answered {
	w.t.Helper()
	return do(w.t, c, http.MethodPost, address, "application/x-www-form-urlencoded", form.Encode())
}

func (w pscWorld) redeem(code string) url.Values {
	i := w.Info().PSC
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {i.ClientID}, "client_secret": {i.ClientSecret},
		"code": {code}, "redirect_uri": {i.RedirectURI}}
}

func (w pscWorld) tokens() map[string]any {
	w.t.Helper()
	a := w.post(w.plain, w.Info().PSC.Token, w.redeem(w.code(w.request())))
	if a.status != 200 {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	return a.json(w.t)
}

func pscClaims(t *testing.T, token any) map[string]any {
	t.Helper()
	parts := strings.Split(token.(string), ".")
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	decodeInto(t, b, &v)
	return v
}

func TestPSCDiscovery(t *testing.T) {
	w := startPSC(t)
	i := w.Info().PSC
	if a := do(t, w.plain, http.MethodGet, i.Issuer+"/.well-known/openid-configuration", "", ""); a.status != 404 {
		t.Errorf("the standard path answers %d", a.status)
	}
	v := do(t, w.plain, http.MethodGet, i.Discovery, "", "").json(t)
	if v["issuer"] != i.Issuer || v["authorization_endpoint"] != i.Authorization || v["token_endpoint"] != i.Token || !strings.HasSuffix(i.Issuer, PSCRealm) {
		t.Errorf("%v", v)
	}
	if raw, _ := json.Marshal(v["acr_values_supported"]); string(raw) != `["0","0"]` {
		t.Errorf("acr: %s", raw)
	}
	realm, _ := url.Parse(i.Issuer)
	wallet, _ := url.Parse(i.Authorization)
	if realm.Host == wallet.Host {
		t.Error("the wallet is where the realm is")
	}
	keys := do(t, w.plain, http.MethodGet, v["jwks_uri"].(string), "", "").json(t)["keys"].([]any)
	if len(keys) != 2 || keys[0].(map[string]any)["use"] != "sig" || keys[1].(map[string]any)["use"] != "enc" {
		t.Errorf("%v", keys)
	}
	control(t, w.Sandbox, "POST", "/psc/keys", "", 200)
	after := do(t, w.plain, http.MethodGet, v["jwks_uri"].(string), "", "").json(t)["keys"].([]any)
	if len(after) != 3 || after[1].(map[string]any)["kid"] != keys[0].(map[string]any)["kid"] {
		t.Errorf("after a rotation: %v", after)
	}
}

// What plain curl does: code, tokens, userinfo, refresh, introspection, logout.
func TestPSCFlow(t *testing.T) {
	w := startPSC(t)
	i, first := w.Info().PSC, testdata.Personas()[0]
	a := w.authorize(w.request())
	back, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound || back.Query().Get("state") != "etat" || back.Query().Get("iss") != i.Issuer || back.Query().Get("session_state") == "" {
		t.Fatalf("%d %s", a.status, back)
	}
	a = w.post(w.plain, i.Token, w.redeem(back.Query().Get("code")))
	v := a.json(t)
	if a.status != 200 || v["expires_in"] != 120.0 || v["refresh_expires_in"] != 1800.0 || v["token_type"] != "Bearer" || v["session_state"] != back.Query().Get("session_state") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	access, id := pscClaims(t, v["access_token"]), pscClaims(t, v["id_token"])
	if _, ok := access["aud"]; ok || access["typ"] != "Bearer" || access["azp"] != i.ClientID || access["acr"] != "eidas1" || access["SubjectNameID"] != first.NationalID {
		t.Errorf("access token: %v", access)
	}
	half := sha256.Sum256([]byte(v["access_token"].(string)))
	if id["aud"] != i.ClientID || id["typ"] != "ID" || id["nonce"] != "nonce" || id["given_name"] != first.Given || id["at_hash"] != base64.RawURLEncoding.EncodeToString(half[:16]) {
		t.Errorf("ID token: %v", id)
	}

	userinfo := func(token any, accept string) answered {
		req, err := http.NewRequest(http.MethodGet, i.Issuer+"/protocol/openid-connect/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token.(string))
		req.Header.Set("Accept", accept)
		res, err := w.plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answered{res.StatusCode, res.Header, body}
	}
	info := userinfo(v["access_token"], "application/json").json(t)
	exercise := info["SubjectRefPro"].(map[string]any)["exercices"].([]any)[0].(map[string]any)
	activity := exercise["activities"].([]any)[0].(map[string]any)
	if info["sub"] != id["sub"] || info["SubjectRole"].([]any)[0] != "10^1.2.250.1.213.1.1.5.5" || exercise["codeSavoirFaire"] != "SM27" ||
		activity["numeroFinessSite"] != "990000028" || len(activity) != len(pscActivityLeaves) || activity["telecopie"] != "" {
		t.Errorf("userinfo: %v", info)
	}
	if a := userinfo(v["access_token"], "application/jwt"); a.header.Get("Content-Type") != "application/jwt" || pscClaims(t, strings.TrimSpace(string(a.body)))["sub"] != id["sub"] {
		t.Errorf("signed: %v %s", a.header, a.body)
	}

	ask := func(token any) map[string]any {
		return w.post(w.plain, i.Token+"/introspect", url.Values{"token": {token.(string)}, "client_id": {i.ClientID}, "client_secret": {i.ClientSecret}}).json(t)
	}
	if got := ask(v["access_token"]); got["active"] != true || got["SubjectNameID"] != first.NationalID || got["client_id"] != i.ClientID {
		t.Errorf("introspection: %v", got)
	}
	if got := ask(v["refresh_token"]); got["active"] != true || got["SubjectNameID"] != nil {
		t.Errorf("introspection of a refresh token: %v", got)
	}
	if got := ask("garbage"); got["active"] != false || len(got) != 1 {
		t.Errorf("introspection of garbage: %v", got)
	}

	refreshed := w.post(w.vendor, i.Token, url.Values{"grant_type": {"refresh_token"}, "client_id": {i.ClientID}, "refresh_token": {v["refresh_token"].(string)}})
	if refreshed.status != 200 || refreshed.json(t)["access_token"] == v["access_token"] {
		t.Fatalf("%d %s", refreshed.status, refreshed.body)
	}
	w.SetOffset(121 * time.Second)
	if a := userinfo(v["access_token"], ""); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("expired: %d %v", a.status, a.header)
	}
	w.SetOffset(0)
	if a := w.post(w.plain, i.Issuer+"/protocol/openid-connect/logout", url.Values{"id_token_hint": {v["id_token"].(string)}}); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := ask(v["access_token"]); got["active"] != false {
		t.Errorf("logged out, and yet %v", got)
	}
	if a := w.post(w.plain, i.Token, url.Values{"grant_type": {"refresh_token"}, "client_id": {i.ClientID}, "client_secret": {i.ClientSecret},
		"refresh_token": {v["refresh_token"].(string)}}); a.status != 400 || a.json(t)["error"] != "invalid_grant" {
		t.Errorf("refreshed after logout: %d %s", a.status, a.body)
	}
}

func TestPSCAuthorizeRefused(t *testing.T) {
	w := startPSC(t)
	for name, c := range map[string]struct {
		change func(url.Values)
		error  string // in the redirection; empty: a page, and no redirection
	}{
		"fail/unknown client":          {func(q url.Values) { q.Set("client_id", "x") }, ""},
		"fail/other redirect_uri":      {func(q url.Values) { q.Set("redirect_uri", pscBack+"/") }, ""},
		"fail/repeated":                {func(q url.Values) { q.Add("state", "x") }, ""},
		"fail/no response_type":        {func(q url.Values) { q.Del("response_type") }, "invalid_request"},
		"fail/implicit":                {func(q url.Values) { q.Set("response_type", "token") }, "unsupported_response_type"},
		"fail/no openid":               {func(q url.Values) { q.Set("scope", "scope_all") }, "invalid_scope"},
		"fail/no acr_values":           {func(q url.Values) { q.Del("acr_values") }, "invalid_request"},
		"fail/eidas2":                  {func(q url.Values) { q.Set("acr_values", "eidas2") }, "invalid_request"},
		"fail/plain PKCE":              {func(q url.Values) { q.Set("code_challenge", strings.Repeat("a", 43)) }, "invalid_request"},
		"fail/method without PKCE":     {func(q url.Values) { q.Set("code_challenge_method", "S256") }, "invalid_request"},
		"fail/silent":                  {func(q url.Values) { q.Set("prompt", "none") }, "login_required"},
		"fail/challenge of no SHA-256": {func(q url.Values) { q.Set("code_challenge", "a"); q.Set("code_challenge_method", "S256") }, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			q := w.request()
			c.change(q)
			a := w.authorize(q)
			u, _ := url.Parse(a.header.Get("Location"))
			if c.error == "" && (a.status != 400 || u.String() != "") || c.error != "" && (u.Query().Get("error") != c.error || u.Query().Get("state") != "etat") {
				t.Errorf("%d %s", a.status, u)
			}
		})
	}
}

func TestPSCTokenRefused(t *testing.T) {
	w := startPSC(t)
	i := w.Info().PSC
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	pkce := w.request()
	pkce.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	pkce.Set("code_challenge_method", "S256")
	for _, c := range []struct {
		name   string
		cert   bool
		query  url.Values
		change func(url.Values)
		later  time.Duration
		status int
		error  string
	}{
		{"ok/secret", false, w.request(), func(url.Values) {}, 0, 200, ""},
		{"ok/certificate", true, w.request(), func(f url.Values) { f.Del("client_secret") }, 0, 200, ""},
		{"ok/PKCE", false, pkce, func(f url.Values) { f.Set("code_verifier", verifier) }, 0, 200, ""},
		{"fail/no authentication", false, w.request(), func(f url.Values) { f.Del("client_secret") }, 0, 401, "invalid_client"},
		{"fail/wrong secret", false, w.request(), func(f url.Values) { f.Set("client_secret", "x") }, 0, 401, "invalid_client"},
		{"fail/unknown client", true, w.request(), func(f url.Values) { f.Set("client_id", "x") }, 0, 401, "invalid_client"},
		{"fail/PKCE, no verifier", false, pkce, func(url.Values) {}, 0, 400, "invalid_grant"},
		{"fail/PKCE, other verifier", false, pkce, func(f url.Values) { f.Set("code_verifier", strings.Repeat("w", 43)) }, 0, 400, "invalid_grant"},
		{"fail/verifier without challenge", false, w.request(), func(f url.Values) { f.Set("code_verifier", verifier) }, 0, 400, "invalid_grant"},
		{"fail/other redirect_uri", false, w.request(), func(f url.Values) { f.Set("redirect_uri", pscBack+"/") }, 0, 400, "invalid_grant"},
		{"fail/unknown code", false, w.request(), func(f url.Values) { f.Set("code", "x") }, 0, 400, "invalid_grant"},
		{"fail/code of 61 seconds", false, w.request(), func(url.Values) {}, 61 * time.Second, 400, "invalid_grant"},
		{"fail/no grant", false, w.request(), func(f url.Values) { f.Del("grant_type") }, 0, 400, "invalid_request"},
		{"fail/password", false, w.request(), func(f url.Values) { f.Set("grant_type", "password") }, 0, 400, "unsupported_grant_type"},
		{"fail/repeated", false, w.request(), func(f url.Values) { f.Add("code", "x") }, 0, 400, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer w.SetOffset(0)
			form := w.redeem(w.code(c.query))
			c.change(form)
			w.SetOffset(c.later)
			hc := w.plain
			if c.cert {
				hc = w.vendor
			}
			a := w.post(hc, i.Token, form)
			v := a.json(t)
			if a.status != c.status || c.error != "" && v["error"] != c.error || a.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if text, _ := v["error_description"].(string); regexp.MustCompile(`[^\x20-\x21\x23-\x5b\x5d-\x7e]`).MatchString(text) {
				t.Errorf("RFC 6749 does not admit %q", text)
			}
		})
	}
	t.Run("fail/code twice ends the session", func(t *testing.T) {
		form := w.redeem(w.code(w.request()))
		first := w.post(w.plain, i.Token, form).json(t)
		if a := w.post(w.plain, i.Token, form); a.status != 400 || a.json(t)["error"] != "invalid_grant" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		a := w.post(w.plain, i.Token+"/introspect", url.Values{"token": {first["access_token"].(string)}, "client_id": {i.ClientID}, "client_secret": {i.ClientSecret}})
		if a.json(t)["active"] != false {
			t.Errorf("the first session lives: %s", a.body)
		}
	})
}

// The page: a person is chosen without script, and once.
func TestPSCPage(t *testing.T) {
	w := startPSC(t)
	q := w.request()
	q.Del("login_hint")
	a := w.authorize(q)
	page := string(a.body)
	if a.status != 200 || !strings.Contains(page, `lang="fr"`) || strings.Contains(page, "<script") || !strings.Contains(page, "Bac à sable") {
		t.Fatalf("%d %s", a.status, page)
	}
	for _, p := range testdata.Personas() {
		if !strings.Contains(page, p.Name) || !strings.Contains(page, `value="`+p.ID+`"`) {
			t.Errorf("%s is not on the page", p.ID)
		}
	}
	request := regexp.MustCompile(`name="request" value="([^"]+)"`).FindStringSubmatch(page)
	if request == nil {
		t.Fatal("no request in the page")
	}
	form := url.Values{"request": {request[1]}, "persona": {testdata.PersonaNurse}, "means": {"MOBILE"}}
	a = w.post(w.plain, w.Info().PSC.Authorization, form)
	u, _ := url.Parse(a.header.Get("Location"))
	v := w.post(w.plain, w.Info().PSC.Token, w.redeem(u.Query().Get("code"))).json(t)
	if c := pscClaims(t, v["access_token"]); c["SubjectNameID"] != testdata.PersonaByID(testdata.PersonaNurse).NationalID || c["authMode"] != "MOBILE" {
		t.Errorf("%v", c)
	}
	if a := w.post(w.plain, w.Info().PSC.Authorization, form); a.status != 400 {
		t.Errorf("the page served twice: %d", a.status)
	}
}

// The DMP's server takes an access token of Pro Santé Connect, once.
func TestPSCExchangeAtDMP(t *testing.T) {
	w := startPSC(t)
	form := func(token any) url.Values {
		return url.Values{"grant_type": {grantExchange}, "subject_token": {token.(string)}, "subject_token_type": {typeAccessToken}, "scope": {"dmp"}}
	}
	v := w.tokens()
	a := w.post(w.vendor, w.Info().DMP.Token, form(v["access_token"]))
	got := a.json(t)
	if a.status != 200 || got["issued_token_type"] != typeAccessToken || got["token_type"] != "Bearer" || got["scope"] != "dmp" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	c := pscClaims(t, got["access_token"])
	if c["aud"] != "dmp" || c["mode"] != "direct" || c["SubjectNameID"] != testdata.Personas()[0].NationalID || c["cnf"] == nil {
		t.Errorf("%v", c)
	}
	p := testdata.Patients()[0]
	if a := askDMP(t, w.vendor, w.Sandbox, got["access_token"].(string), p.Matricule); a.status != 200 {
		t.Errorf("the DMP refuses it: %d %s", a.status, a.body)
	}
	fresh := func() url.Values { return form(w.tokens()["access_token"]) }
	for name, c := range map[string]struct {
		client *http.Client
		form   url.Values
		change func(url.Values)
		status int
		error  string
	}{
		"fail/twice":                {w.vendor, form(v["access_token"]), nil, 400, "invalid_request"},
		"fail/no certificate":       {w.plain, fresh(), nil, 401, "invalid_client"},
		"fail/ID token":             {w.vendor, form(w.tokens()["id_token"]), nil, 400, "invalid_request"},
		"fail/garbage":              {w.vendor, form("garbage"), nil, 400, "invalid_request"},
		"fail/other scope":          {w.vendor, fresh(), func(f url.Values) { f.Set("scope", "gateway") }, 400, "invalid_scope"},
		"fail/other audience":       {w.vendor, fresh(), func(f url.Values) { f.Set("audience", "gateway") }, 400, "invalid_target"},
		"fail/no token":             {w.vendor, fresh(), func(f url.Values) { f.Del("subject_token") }, 400, "invalid_request"},
		"fail/no type":              {w.vendor, fresh(), func(f url.Values) { f.Del("subject_token_type") }, 400, "invalid_request"},
		"fail/client_id of another": {w.vendor, fresh(), func(f url.Values) { f.Set("client_id", "x") }, 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.form)
			}
			if a := w.post(c.client, w.Info().DMP.Token, c.form); a.status != c.status || a.json(t)["error"] != c.error {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

func TestPSCKnobs(t *testing.T) {
	w := startPSC(t)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"ok/one fault":         {"PUT", "/psc/faults", `{"fault":"alg-none"}`, 200},
		"ok/several":           {"PUT", "/psc/faults", `[{"fault":"down","path":"/token","count":1},{"fault":"slow","ms":1}]`, 200},
		"fail/unknown fault":   {"PUT", "/psc/faults", `{"fault":"on fire"}`, 400},
		"fail/unknown token":   {"PUT", "/psc/faults", `{"fault":"alg-none","token":"x"}`, 400},
		"fail/misspelt":        {"PUT", "/psc/faults", `{"falt":"alg-none"}`, 400},
		"fail/negative":        {"PUT", "/psc/faults", `{"fault":"slow","ms":-1}`, 400},
		"ok/shorter tokens":    {"PUT", "/psc/token", `{"lifetime_seconds":5}`, 200},
		"fail/no life":         {"PUT", "/psc/token", `{"lifetime_seconds":0}`, 400},
		"ok/usual tokens":      {"DELETE", "/psc/token", "", 200},
		"ok/nothing is broken": {"DELETE", "/psc/faults", "", 200},
	} {
		t.Run(name, func(t *testing.T) { control(t, w.Sandbox, c.method, c.path, c.body, c.status) })
	}
	control(t, w.Sandbox, "PUT", "/psc/faults", `{"fault":"unavailable","path":"/token","count":1}`, 200)
	form := w.redeem(w.code(w.request()))
	if a := w.post(w.plain, w.Info().PSC.Token, form); a.status != 503 {
		t.Errorf("%d", a.status)
	}
	if a := w.post(w.plain, w.Info().PSC.Token, form); a.status != 200 {
		t.Errorf("the fault struck twice: %d", a.status)
	}
	control(t, w.Sandbox, "PUT", "/psc/client", `{"client_id":"mon-logiciel","redirect_uri":"https://127.0.0.1:9/retour"}`, 200)
	if i := w.Info().PSC; i.ClientID != "mon-logiciel" || w.code(w.request()) == "" {
		t.Errorf("%+v", i)
	}
	if a := w.post(w.plain, w.Info().PSC.Token, w.redeem(w.code(w.request()))); a.status != 200 || pscClaims(t, a.json(t)["access_token"])["azp"] != "mon-logiciel" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
