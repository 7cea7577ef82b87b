//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

// restart closes the gateway and starts it again on the same folder.
func (r *route) restart() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.m.Close(ctx); err != nil {
		r.t.Fatal(err)
	}
	*r.m = Main{Config: r.m.Config, Clock: time.Now, Random: rand.Reader, Log: r.m.Log}
	if err := r.m.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// with is a client with a certificate; nil is one without.
func (r *route) with(cert, key string) *http.Client {
	r.t.Helper()
	roots, err := pool(r.w.info.TLS.CA)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &http.Client{Timeout: 30 * time.Second}
	if cert != "" {
		if c, err = clientFor(r.w.info.TLS.CA, cert, key); err != nil {
			r.t.Fatal(err)
		}
	} else {
		c.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.t.Cleanup(c.CloseIdleConnections)
	return c
}

func (r *route) vendor() *http.Client { return r.with(r.w.info.TLS.ClientCert, r.w.info.TLS.ClientKey) }

// heard is an answer.
type heard struct {
	status int
	header http.Header
	body   string
}

func (r *route) do(c *http.Client, method, address string, form url.Values, header http.Header) heard {
	r.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return heard{resp.StatusCode, resp.Header, string(data)}
}

func bearing(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// consult searches the documents of the first patient through the gateway.
func (r *route) consult(c *http.Client, token string) heard {
	r.t.Helper()
	p := testdata.Patients()[0]
	return r.do(c, "POST", r.w.info.Gateway.FHIR+"/DocumentReference/_search",
		url.Values{"patient.identifier": {"urn:oid:" + p.OID + "|" + p.Matricule}, "status": {"current"}}, bearing(token))
}

// token runs the command token.
func (r *route) token(persona, scope string) string {
	r.t.Helper()
	code, out := r.tokenCommand(persona, scope)
	if code != 0 {
		r.t.Fatalf("token: exit %d\n%s", code, out)
	}
	return strings.TrimSuffix(out, "\n")
}

func (r *route) tokenCommand(persona, scope string) (int, string) {
	r.t.Helper()
	info := filepath.Join(r.t.TempDir(), "sandbox.json")
	r.w.info.PSC = r.w.sim.Info().PSC
	if err := sim.WriteInfo(info, *r.w.info); err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	code := run(r.t.Context(), []string{"token", "--info", info, "--as", persona, "--for", scope}, &out, &out)
	return code, out.String()
}

var compactForm = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// A bearer is had without a browser, for either server, and opens what it is for
// and nothing else.
func TestTokens(t *testing.T) {
	r := newRoute(t, nil)
	vendor, doctor := r.vendor(), testdata.Personas()[0]
	gateway, dmp := r.token(doctor.ID, "gateway"), r.token(doctor.NationalID, "dmp")
	if !compactForm.MatchString(gateway) || !compactForm.MatchString(dmp) {
		t.Fatal("the command prints more or less than a bearer")
	}
	p := testdata.Patients()[0]
	search := url.Values{"patient.identifier": {"urn:oid:" + p.OID + "|" + p.Matricule}, "status": {"current"}}
	if a := r.do(vendor, "POST", r.w.info.DMP.FHIR+"/DocumentReference/_search", search, bearing(dmp)); a.status != 200 {
		t.Errorf("at the DMP: %d %s", a.status, a.body)
	}
	if a := r.do(vendor, "POST", r.w.info.DMP.FHIR+"/DocumentReference/_search", search, bearing(gateway)); a.status != 401 {
		t.Errorf("the gateway's bearer at the DMP: %d", a.status)
	}
	machine := r.with(r.w.info.TLS.MachineCert, r.w.info.TLS.MachineKey)
	subject, err := pscLogin(t.Context(), vendor, r.w.info.PSC, doctor.NationalID)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		client *http.Client
		header http.Header
		status int
		code   string
	}{
		{"ok/bound to this certificate", vendor, bearing(gateway), 200, ""},
		{"fail/over another certificate", machine, bearing(gateway), 401, psc.FaultBinding},
		{"fail/without a certificate", r.with("", ""), bearing(gateway), 401, psc.FaultNoCertificate},
		{"fail/a certificate alone does not consult", machine, nil, 401, psc.FaultCertificateOnly},
		{"fail/neither", r.with("", ""), nil, 401, psc.FaultNoToken},
		{"fail/the DMP's bearer", vendor, bearing(dmp), 401, psc.FaultIssuer},
		{"fail/the token of Pro Santé Connect itself", vendor, bearing(subject), 401, psc.FaultIssuer},
		{"fail/a header that no proxy of ours sent", r.with("", ""), http.Header{"Authorization": {"Bearer " + gateway}, "Client-Cert": {":AAAA:"}}, 401, psc.FaultNoCertificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do(tt.client, "POST", r.w.info.Gateway.FHIR+"/DocumentReference/_search", search, tt.header)
			if a.status != tt.status || !strings.Contains(a.body, tt.code) {
				t.Errorf("%d, want %d %s: %s", a.status, tt.status, tt.code, a.body)
			}
			if tt.status == 401 && !strings.Contains(a.header.Get("WWW-Authenticate"), `Bearer realm="passerelle"`) {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}
	t.Run("ok/outlives a restart, and its end too", func(t *testing.T) {
		r.restart()
		if a := r.consult(vendor, gateway); a.status != 200 {
			t.Fatalf("after a restart: %d %s", a.status, a.body)
		}
		if a := r.do(vendor, "POST", "https://"+r.m.HTTPS+"/oauth/revoke", url.Values{"token": {gateway}}, nil); a.status != 200 {
			t.Fatalf("revoke: %d %s", a.status, a.body)
		}
		r.restart()
		if a := r.consult(vendor, gateway); a.status != 401 || !strings.Contains(a.body, psc.FaultRevoked) {
			t.Errorf("revoked, then a restart: %d %s", a.status, a.body)
		}
	})
	t.Run("fail/a token of Pro Santé Connect passes once, also after a restart", func(t *testing.T) {
		subject, err := pscLogin(t.Context(), vendor, r.w.info.PSC, doctor.NationalID)
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "scope": {"gateway"}, "subject_token": {subject},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}
		if a := r.do(vendor, "POST", r.w.info.Gateway.Token, form, nil); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		r.restart()
		if a := r.do(vendor, "POST", r.w.info.Gateway.Token, form, nil); a.status != 400 || !strings.Contains(a.body, psc.FaultSubjectUsed) {
			t.Errorf("again: %d %s", a.status, a.body)
		}
	})
	t.Run("fail/nobody of that name", func(t *testing.T) {
		if code, out := r.tokenCommand("dr-personne", "gateway"); code != exitUsage || !strings.Contains(out, doctor.ID) {
			t.Errorf("exit %d: %s", code, out)
		}
	})
	t.Run("fail/a certificate that is no registered client", func(t *testing.T) {
		if _, err := sandboxToken(t.Context(), machine, r.w.info, doctor.ID, "gateway"); err == nil {
			t.Error("the machine got a professional's bearer")
		}
	})
}

// What the metadata say is where things are.
func TestAuthorizationServerMetadata(t *testing.T) {
	r := newRoute(t, nil)
	a := r.do(r.with("", ""), "GET", r.w.info.Gateway.HTTPS+"/.well-known/oauth-authorization-server", nil, nil)
	var meta struct {
		Issuer string `json:"issuer"`
		Token  string `json:"token_endpoint"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(a.body), &meta); err != nil || a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if meta.Issuer != r.w.info.Gateway.HTTPS || meta.Token != r.w.info.Gateway.Token || a.header.Get("X-Passerelle-Environnement") != envSandbox {
		t.Errorf("%+v, environment %q", meta, a.header.Get("X-Passerelle-Environnement"))
	}
	a = r.do(r.with("", ""), "GET", meta.JWKS, nil, nil)
	if a.status != 200 || !strings.Contains(a.body, `"kty":"EC"`) || strings.Contains(a.body, `"d"`) {
		t.Errorf("keys: %d %s", a.status, a.body)
	}
	info, err := os.Stat(filepath.Join(r.m.Config.Data, "psc-keys.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys: %v, %v", info, err)
	}
}

// Software is registered by name or by certificate, and brings the tokens of the
// services that are named, no others.
func TestRegisteredSoftware(t *testing.T) {
	doctor := testdata.Personas()[0].ID
	tests := []struct {
		name   string
		change func(*route, *PSCConfig)
		vendor bool // has a client_id of its own at PSC
		fails  string
	}{
		{"ok/by its certificate", func(r *route, c *PSCConfig) {
			c.Clients = []PSCClientConfig{{ID: "dpi", Certificates: []string{r.w.info.TLS.ClientCert}, PSCClients: []string{r.w.info.PSC.ClientID}}}
		}, false, ""},
		{"ok/by its thumbprint", func(r *route, c *PSCConfig) {
			cert, err := readCertificate(r.w.info.TLS.ClientCert)
			if err != nil {
				r.t.Fatal(err)
			}
			c.Clients = []PSCClientConfig{{ID: "dpi", Thumbprints: []string{thumbprint(cert)}, PSCClients: []string{r.w.info.PSC.ClientID}}}
		}, false, ""},
		{"ok/a service of its own", func(_ *route, c *PSCConfig) { c.Clients[0].PSCClients = []string{"logiciel-du-ch"} }, true, ""},
		{"fail/the tokens of another service", func(r *route, c *PSCConfig) { c.Clients[0].PSCClients = []string{r.w.info.PSC.ClientID} }, true, "400"},
		{"fail/not registered", func(_ *route, c *PSCConfig) { c.Clients, c.Proxy = nil, nil }, false, "401"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &route{rehearsal: newRehearsal(t)}
			tt.change(r, r.w.config.PSC)
			r.start(t)
			if tt.vendor {
				knob := r.w.info.Control + "/psc/client"
				body := `{"client_id": "logiciel-du-ch", "redirect_uri": "https://dpi.exemple.fr/retour"}`
				req, err := http.NewRequestWithContext(t.Context(), "PUT", knob, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := do(http.DefaultClient, req); err != nil {
					t.Fatal(err)
				}
			}
			r.w.info.PSC = r.w.sim.Info().PSC
			token, err := sandboxToken(t.Context(), r.vendor(), r.w.info, doctor, "gateway")
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("%v, want %s", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a := r.consult(r.vendor(), token); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// start is newRoute for a rehearsal whose configuration was changed.
func (r *route) start(t *testing.T) {
	t.Helper()
	if p := r.w.config.problems(time.Now()); len(p) > 0 {
		t.Fatal(p)
	}
	r.m = &Main{Config: r.w.config, Clock: time.Now, Random: rand.Reader, Log: (&logText{}).talkative(t, "the gateway")}
	if err := r.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := r.m.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	})
}

// Without a bearer of the DMP that of the gateway is issued all the same; what
// needs the DMP says that it is not there for now, until the next login.
func TestNoDMPToken(t *testing.T) {
	no := false
	for name, change := range map[string]func(*Config){"ok/not asked for": func(c *Config) { c.PSC.DMPExchange = &no }, "ok/the DMP is away": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRoute(t, change)
			if change == nil {
				r.w.sim.SetDMPTroubles(sim.Trouble{Mode: sim.Down})
			}
			token := r.token(testdata.Personas()[0].ID, "gateway")
			r.w.sim.SetDMPTroubles()
			if a := r.consult(r.vendor(), token); a.status != 503 || !strings.Contains(a.body, psc.FaultDMPToken) {
				t.Errorf("consultation: %d %s", a.status, a.body)
			}
			if a := r.do(r.vendor(), "GET", r.w.info.Gateway.HTTPS+"/v1/submissions", nil, bearing(token)); a.status != 200 {
				t.Errorf("own submissions: %d %s", a.status, a.body)
			}
			if change != nil {
				return
			}
			if a := r.consult(r.vendor(), r.token(testdata.Personas()[0].ID, "gateway")); a.status != 200 {
				t.Errorf("after the next login: %d %s", a.status, a.body)
			}
		})
	}
}

// Without a section psc there are no doors, and what does not need them works.
func TestNoPSC(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.PSC, c.Console = nil, nil })
	for _, path := range []string{"/login", "/oauth/jwks", "/.well-known/oauth-authorization-server"} {
		if a := r.do(r.vendor(), "GET", "https://"+r.m.HTTPS+path, nil, nil); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := r.do(r.client, "GET", "https://"+r.m.HTTPS+"/v1/submissions", nil, nil); a.status != 200 {
		t.Errorf("the machine: %d %s", a.status, a.body)
	}
}

// Pro Santé Connect that is away stops nobody but who logs in; when it is back
// they do, without a restart.
func TestWithoutPSC(t *testing.T) {
	r := &route{rehearsal: newRehearsal(t)}
	if err := r.w.sim.PSC().SetFaults(sim.PSCFault{Fault: "down"}); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	if msa, code := verdict(r.send(testdata.MDM(testdata.MessageOptions{ControlID: "PSC-DOWN"}))); msa != "AA" {
		t.Errorf("HL7: %s %s", msa, code)
	}
	a := r.do(r.with("", ""), "GET", r.w.info.Gateway.HTTPS+"/login", nil, nil)
	if a.status != 503 || !strings.Contains(a.body, psc.FaultUnreachable) || !strings.Contains(a.body, "Connexion impossible") || a.header.Get("Retry-After") == "" {
		t.Errorf("login: %d %s", a.status, a.body)
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "scope": {"gateway"}, "subject_token": {"a.b.c"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}
	a = r.do(r.vendor(), "POST", r.w.info.Gateway.Token, form, nil)
	if a.status != 503 || !strings.Contains(a.body, "temporarily_unavailable") {
		t.Errorf("exchange: %d %s", a.status, a.body)
	}
	if err := r.w.sim.PSC().SetFaults(); err != nil {
		t.Fatal(err)
	}
	if a := r.consult(r.vendor(), r.token(testdata.Personas()[0].ID, "gateway")); a.status != 200 {
		t.Errorf("when it is back: %d %s", a.status, a.body)
	}
}

var requestForm = regexp.MustCompile(`name="request" value="([^"]+)"`)

// A person logs in with a browser, by the page of Pro Santé Connect; the session
// outlives a restart of the gateway, and the end of it too.
func TestBrowserLogin(t *testing.T) {
	tests := []struct {
		name   string
		base   func(c *Config) string
		cookie string
	}{
		{"ok/over https", func(c *Config) string { return "https://" + c.Gateway.HTTPS }, "__Host-passerelle"},
		{"ok/on this machine, over http", func(c *Config) string { return "http://" + c.Gateway.HTTP }, "passerelle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &route{rehearsal: newRehearsal(t)}
			base := tt.base(&r.w.config)
			r.w.config.PSC.RedirectURI = base + "/retour-psc"
			if err := r.w.sim.SetRedirectURI(r.w.config.PSC.RedirectURI); err != nil {
				t.Fatal(err)
			}
			r.start(t)
			browser := r.with("", "")
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser.Jar = jar
			home, err := url.Parse(base + "/")
			if err != nil {
				t.Fatal(err)
			}
			// who asks the session that the browser's cookies name.
			who := func(cookies []*http.Cookie) (string, error) {
				req, err := http.NewRequestWithContext(t.Context(), "GET", base, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range cookies {
					req.AddCookie(c)
				}
				s, err := r.m.people.login.Session(req)
				return s.Professional.NationalID, err
			}

			a := r.do(browser, "GET", base+"/login?return_to=/apres", nil, nil)
			page := a.header.Get("Location")
			if a.status != 303 || !strings.HasPrefix(page, r.w.info.PSC.Authorization+"?") || a.header.Get("X-Passerelle-Environnement") != envSandbox {
				t.Fatalf("%d to %q %s", a.status, page, a.body)
			}
			request := requestForm.FindStringSubmatch(r.do(browser, "GET", page, nil, nil).body)
			if request == nil {
				t.Fatal("no page to choose from")
			}
			nurse := testdata.PersonaByID(testdata.PersonaNurse)
			a = r.do(browser, "POST", page, url.Values{"request": {request[1]}, "persona": {nurse.ID}, "means": {"MOBILE"}, "outcome": {""}}, nil)
			a = r.do(browser, "GET", a.header.Get("Location"), nil, nil)
			if a.status != 303 || a.header.Get("Location") != "/apres" {
				t.Fatalf("back with %d to %q %s", a.status, a.header.Get("Location"), a.body)
			}
			cookies := jar.Cookies(home)
			if len(cookies) != 1 || cookies[0].Name != tt.cookie {
				t.Fatalf("cookies: %d", len(cookies))
			}
			if id, err := who(cookies); err != nil || id != nurse.NationalID {
				t.Fatalf("logged in as %q, %v", id, err)
			}
			r.restart()
			if id, err := who(cookies); err != nil || id != nurse.NationalID {
				t.Fatalf("after a restart: %q, %v", id, err)
			}
			a = r.do(browser, "POST", base+"/logout", url.Values{}, http.Header{"Origin": {"https://ailleurs.example"}, "Sec-Fetch-Site": {"cross-site"}})
			if id, err := who(cookies); a.status != 403 || err != nil || id == "" {
				t.Errorf("logged out by another site: %d, %v", a.status, err)
			}
			if a = r.do(browser, "POST", base+"/logout", url.Values{}, nil); a.status != 303 {
				t.Errorf("logout: %d %s", a.status, a.body)
			}
			r.restart()
			if id, err := who(cookies); err == nil {
				t.Errorf("logged out, then a restart, and still %s", id)
			}
		})
	}
}

// What is over is removed from the database.
func TestLoginsAreSwept(t *testing.T) {
	r := newRoute(t, nil)
	old := psc.Record{Kind: "session", Key: "old", Expires: time.Now().Add(-time.Hour)}
	if _, err := r.m.journal.Logins().Add(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	r.restart()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := r.until(ctx, func() bool {
		_, err := r.m.journal.Logins().Get(ctx, "session", "old")
		return errors.Is(err, psc.ErrNoRecord)
	})
	if err != nil {
		t.Error("a session that is over stays in the database")
	}
}

// curlRecipe is the README's: a bearer with nothing but curl and sed. Its
// variables are in the sandbox file: psc.*, gateway.token (or dmp.token), tls.*.
const curlRecipe = `
set -eu
CODE=$(curl -sS --cacert "$CA" -o /dev/null -w '%{redirect_url}' -G "$PSC_AUTHORIZATION" \
  -d response_type=code -d client_id="$PSC_CLIENT_ID" --data-urlencode redirect_uri="$PSC_REDIRECT_URI" \
  --data-urlencode scope='openid scope_all' -d acr_values=eidas1 -d state=etat-1 -d nonce=nonce-1 \
  -d login_hint="$NATIONAL_ID" | sed -nE 's/.*[?&]code=([^&]+).*/\1/p')
PSC_TOKEN=$(curl -sS --cacert "$CA" -u "$PSC_CLIENT_ID:$PSC_CLIENT_SECRET" "$PSC_TOKEN_URL" \
  -d grant_type=authorization_code -d code="$CODE" --data-urlencode redirect_uri="$PSC_REDIRECT_URI" |
  sed -nE 's/.*"access_token": *"([^"]+)".*/\1/p')
curl -sS --cacert "$CA" --cert "$CLIENT_CERT" --key "$CLIENT_KEY" "$TOKEN_URL" \
  -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange -d scope="$SCOPE" \
  -d subject_token_type=urn:ietf:params:oauth:token-type:access_token -d subject_token="$PSC_TOKEN" |
  sed -nE 's/.*"access_token": *"([^"]+)".*/\1/p'
`

func TestTokenWithCurl(t *testing.T) {
	for _, tool := range []string{"curl", "sh", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, " is not installed")
		}
	}
	r := newRoute(t, nil)
	i := r.w.info
	for scope, server := range map[string]string{"gateway": i.Gateway.Token, "dmp": i.DMP.Token} {
		t.Run("ok/"+scope, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", curlRecipe)
			cmd.Env = append(os.Environ(), "CA="+i.TLS.CA, "CLIENT_CERT="+i.TLS.ClientCert, "CLIENT_KEY="+i.TLS.ClientKey,
				"PSC_AUTHORIZATION="+i.PSC.Authorization, "PSC_TOKEN_URL="+i.PSC.Token, "PSC_CLIENT_ID="+i.PSC.ClientID,
				"PSC_CLIENT_SECRET="+i.PSC.ClientSecret, "PSC_REDIRECT_URI="+i.PSC.RedirectURI, "NATIONAL_ID="+i.Personas[0].NationalID,
				"SCOPE="+scope, "TOKEN_URL="+server)
			out, err := cmd.Output()
			token := strings.TrimSuffix(string(out), "\n")
			if err != nil || !compactForm.MatchString(token) {
				t.Fatalf("%v: %s", err, out)
			}
			p := testdata.Patients()[0]
			base := map[string]string{"gateway": i.Gateway.FHIR, "dmp": i.DMP.FHIR}[scope]
			a := r.do(r.vendor(), "GET", base+"/DocumentReference?"+url.Values{"patient.identifier": {"urn:oid:" + p.OID + "|" + p.Matricule}, "status": {"current"}}.Encode(),
				nil, bearing(token))
			if a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}
