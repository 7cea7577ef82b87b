//go:build !nosandbox

package main

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

// json posts a body of JSON, or makes a request without one.
func (r *route) json(c *http.Client, method, address, body string, header http.Header) heard {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return heard{resp.StatusCode, resp.Header, text.String()}
}

// connect logs the first professional in by their device.
func (r *route) connect() heard {
	return r.json(r.vendor(), "POST", "https://"+r.m.HTTPS+"/connect", `{"nationalId":"`+testdata.Personas()[0].NationalID+
		`","bindingMessage":"42","clientId":"`+r.m.Config.PSC.ClientID+`","channel":"MOBILE"}`, nil)
}

// Software without a browser: login on a device, the DMP and another API through
// /send, and the end; all of it over the running sandbox.
func TestConnectSendDisconnect(t *testing.T) {
	r := newRoute(t, nil)
	base := "https://" + r.m.HTTPS
	if a := r.connect(); a.status != 401 || !strings.Contains(a.body, psc.FaultCIBAOff) {
		t.Fatalf("before the ANS enables it: %d %s", a.status, a.body)
	}
	r.w.sim.SetRegistration(sim.PSCRegistration{CIBA: true})
	if err := r.w.sim.PSC().SetDevice(sim.PSCDevice{Auto: "approve", Interval: 1}); err != nil {
		t.Fatal(err)
	}
	a := r.connect()
	if a.status != 200 || !strings.Contains(a.body, `"session_state"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	cookie := http.Header{"Cookie": {strings.Split(a.header.Get("Set-Cookie"), ";")[0]}}
	p := testdata.Patients()[0]
	search := func() heard {
		h := cookie.Clone()
		h.Set("Content-Type", "application/x-www-form-urlencoded")
		return r.json(r.vendor(), "POST", base+"/send/dmp/DocumentReference/_search",
			url.Values{"patient.identifier": {"urn:oid:" + p.OID + "|" + p.Matricule}, "status": {"current"}}.Encode(), h)
	}
	if a := search(); a.status != 200 || !strings.Contains(a.body, `"Bundle"`) {
		t.Fatalf("DMP: %d %s", a.status, a.body)
	}
	if a := r.json(r.vendor(), "GET", base+"/send/passerelle/v1/submissions", "", cookie); a.status != 200 || !strings.Contains(a.body, "submissions") {
		t.Errorf("another API: %d %s", a.status, a.body)
	}
	if a := r.json(r.vendor(), "POST", base+"/send/dmp", `{"resourceType":"Bundle"}`, cookie); a.status != 403 || !strings.Contains(a.body, psc.FaultProxyDeposit) {
		t.Errorf("a deposit past the INS gate: %d %s", a.status, a.body)
	}
	r.restart()
	base = "https://" + r.m.HTTPS
	if a := search(); a.status != 200 {
		t.Errorf("after a restart: %d %s", a.status, a.body)
	}
	span := "start=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + "&end=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	traces := r.json(r.vendor(), "GET", base+"/traces?"+span, "", nil)
	if traces.status != 200 || strings.Count(traces.body, `"SEND"`) != 3 || strings.Count(traces.body, `"CONNECT_FAILURE"`) != 1 || strings.Contains(traces.body, p.Matricule) {
		t.Errorf("traces: %d %s", traces.status, traces.body)
	}
	if a := r.json(r.vendor(), "DELETE", base+"/disconnect", "", cookie); a.status != 200 {
		t.Errorf("disconnect: %d %s", a.status, a.body)
	}
	if a := search(); a.status != 401 {
		t.Errorf("after the end: %d %s", a.status, a.body)
	}
}

// Outside the sandbox nobody lists traces, and without its section there is no
// proxy.
func TestNoTracesOutsideTheSandbox(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Config)
		connect int
	}{
		"ok/test environment": {func(c *Config) { c.Environment = envTest; c.PSC.Clients[0].PSCClients = []string{"x"} }, 401},
		"ok/no proxy":         {func(c *Config) { c.PSC.Proxy = nil }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoute(t, c.change)
			if a := r.json(r.vendor(), "GET", "https://"+r.m.HTTPS+"/traces?start=x", "", nil); a.status != 404 {
				t.Errorf("traces: %d %s", a.status, a.body)
			}
			if a := r.connect(); a.status != c.connect {
				t.Errorf("connect: %d %s", a.status, a.body)
			}
		})
	}
}

// The command rotates the keys of a gateway that runs.
func TestKeysRotate(t *testing.T) {
	r := newRoute(t, nil)
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := writeConfig(config, r.m.Config); err != nil {
		t.Fatal(err)
	}
	doctor := testdata.Personas()[0].ID
	before := r.token(doctor, "gateway")
	keys := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append(append([]string{"keys"}, args...), "--config", config), &out, &out)
		return code, out.String()
	}
	published := func() string {
		return r.do(r.with("", ""), "GET", "https://"+r.m.HTTPS+"/oauth/jwks", nil, nil).body
	}
	code, out := keys("list")
	kid, _, _ := strings.Cut(out, " ")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "signe les jetons") || !strings.Contains(published(), kid) {
		t.Fatalf("exit %d: %s", code, out)
	}
	code, out = keys("rotate")
	fresh, _, _ := strings.Cut(out, " ")
	if code != 0 || strings.Count(out, "\n") != 2 || fresh == kid || !strings.Contains(out, kid) || !strings.Contains(out, "publiée jusqu'au") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if set := published(); !strings.Contains(set, kid) || !strings.Contains(set, fresh) {
		t.Errorf("published: %s", set)
	}
	after := r.token(doctor, "gateway")
	for name, token := range map[string]string{"before": before, "after": after} {
		if a := r.consult(r.vendor(), token); a.status != 200 {
			t.Errorf("token of %s: %d %s", name, a.status, a.body)
		}
	}
	if code, out := keys("list", "--json"); code != 0 || strings.Index(out, fresh) > strings.Index(out, kid) || strings.Contains(out, `"d"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if err := os.Remove(keysFile(&r.m.Config)); err != nil {
		t.Fatal(err)
	}
	if code, out := keys("rotate"); code != exitUsage || !strings.Contains(out, "premier démarrage") {
		t.Errorf("without keys: exit %d %s", code, out)
	}
}

func TestCheckProxy(t *testing.T) {
	r := newRehearsal(t)
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"ok/the DMP alone", func(c *Config) { c.PSC.Proxy.Backends = nil }, nil},
		{"ok/nothing to revoke with", func(c *Config) { c.PSC.Proxy.Backends[0].Revoke = "" }, nil},
		{"fail/nothing behind", func(c *Config) { no := false; c.PSC.DMPExchange = &no; c.PSC.Proxy.Backends = nil }, []string{"psc.proxy.backends : aucun service"}},
		{"fail/nobody before", func(c *Config) { c.PSC.Clients = nil }, []string{"psc.proxy : aucun logiciel"}},
		{"fail/the name of the DMP", func(c *Config) { c.PSC.Proxy.Backends[0].Name = "dmp" }, []string{"backends[0].name : déjà pris"}},
		{"fail/a name with a slash", func(c *Config) { c.PSC.Proxy.Backends[0].Name = "a/b" }, []string{"backends[0].name : nom attendu"}},
		{"fail/in clear", func(c *Config) { c.PSC.Proxy.Backends[0].URL = "http://127.0.0.1" }, []string{"backends[0].url : adresse https"}},
		{"fail/a last slash", func(c *Config) { c.PSC.Proxy.Backends[0].URL += "/" }, []string{"backends[0].url : adresse attendue"}},
		{"fail/simulator in production", func(c *Config) { c.Environment = envProduction }, []string{"backends[0].url : adresse d'un simulateur", "backends[0].revoke", "dmp.revoke"}},
		{"fail/a server's certificate", func(c *Config) {
			c.PSC.Proxy.Backends[0].Certificate, c.PSC.Proxy.Backends[0].Key = c.Gateway.Certificate, c.Gateway.Key
		}, []string{"backends[0].certificate"}},
		{"fail/nothing filled in", func(c *Config) { c.PSC.Proxy.Backends[0] = BackendConfig{} },
			[]string{"backends[0].name", "backends[0].url", "backends[0].token", "backends[0].client_id", "backends[0].scope", "backends[0].certificate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadConfig(r.config)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&c)
			got := strings.Join(c.problems(time.Now()), "\n")
			if len(tt.want) == 0 && got != "" {
				t.Errorf("problems:\n%s", got)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("nothing about %q in:\n%s", want, got)
				}
			}
		})
	}
}
