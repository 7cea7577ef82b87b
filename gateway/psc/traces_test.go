package psc_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Who came from where: X-Forwarded-For is believed from a named proxy alone.
func TestTraceSource(t *testing.T) {
	here := netip.MustParsePrefix("127.0.0.1/32")
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		said    []string
		want    string
	}{
		"ok/nobody between":              {nil, nil, "127.0.0.1"},
		"fail/said by anybody":           {nil, []string{"198.51.100.7"}, "127.0.0.1"},
		"ok/said by our proxy":           {[]netip.Prefix{here}, []string{"198.51.100.7"}, "198.51.100.7"},
		"fail/what the caller added":     {[]netip.Prefix{here}, []string{"203.0.113.1, 198.51.100.7"}, "198.51.100.7"},
		"fail/in a header of its own":    {[]netip.Prefix{here}, []string{"203.0.113.1", "198.51.100.7"}, "198.51.100.7"},
		"ok/two proxies":                 {[]netip.Prefix{here, netip.MustParsePrefix("10.0.0.0/8")}, []string{"198.51.100.7, 10.1.2.3"}, "198.51.100.7"},
		"fail/our proxy says no address": {[]netip.Prefix{here}, []string{"inconnu"}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, options{proxies: c.proxies})
			h := http.Header{"X-Forwarded-For": c.said}
			if c.proxies != nil {
				h.Set("Client-Cert", certificate(w, software))
			}
			if a := w.json(w.http(software), "POST", "/connect", connectBody(nil), h); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			got := w.traces(t)[0]
			own, _ := url.Parse(w.gateway.URL) // it is one
			if got.Address != c.want || len(got.Ports) != 2 || fmt.Sprint(got.Ports[1]) != own.Port() {
				t.Errorf("%s %v", got.Address, got.Ports)
			}
		})
	}
}

// GET /traces, where there is one.
func TestTracesListed(t *testing.T) {
	w := build(t, options{})
	a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil)
	id := decoded(t, a.body)["proxy_session_id"].(string)
	sum := sha256.Sum256([]byte(id))
	span := "start=" + noon.Format(time.RFC3339) + "&end=" + noon.Add(time.Hour).Format(time.RFC3339)
	a = w.json(w.http(software), "GET", "/traces?"+span, "", nil)
	var list []map[string]any
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 || len(list) != 1 || strings.Contains(a.body, id) {
		t.Fatalf("%d %s %v", a.status, a.body, err)
	}
	for name, want := range map[string]any{"type": "CONNECT_SUCCESS", "clientId": software, "IdRPPS": doctor.NationalID, "ipAddress": "127.0.0.1",
		"proxy_id_session": hex.EncodeToString(sum[:])} {
		if list[0][name] != want {
			t.Errorf("%s: %v", name, list[0][name])
		}
	}
	for path, want := range map[string]int{"/traces": 400, "/traces?" + strings.Replace(span, "start", "x", 1): 400} {
		if a := w.json(w.http(software), "GET", path, "", nil); a.status != want {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := w.json(w.http(""), "GET", "/traces?"+span, "", nil); a.status != 401 {
		t.Errorf("without a certificate: %d", a.status)
	}
	mux := http.NewServeMux()
	p, err := psc.NewProxy(psc.ProxyConfig{Server: w.server, Traces: w.tracer, Backends: []psc.Backend{{Name: "api", Base: w.api.URL, HTTP: w.http(""),
		Tokens: &psc.Exchanger{}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.Register(mux)
	if _, pattern := mux.Handler(&http.Request{Method: "GET", URL: &url.URL{Path: "/traces"}}); pattern != "" {
		t.Error("it is served without being asked for")
	}
}

// Traces outlive a crash in the middle of a line, the day, and not their term.
func TestTraceFolder(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	open := func() *psc.TraceFolder {
		t.Helper()
		f, err := psc.OpenTraces(dir, 48*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	write := func(f *psc.TraceFolder, at time.Time) {
		t.Helper()
		if err := f.Write(ctx, psc.Trace{Type: psc.TraceSent, NationalID: "8", Time: at}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(f *psc.TraceFolder, most int) int {
		t.Helper()
		all, err := f.Between(ctx, noon, noon.Add(1000*time.Hour), most)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	f := open()
	write(f, noon)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "psc-traces-2026-01-05.jsonl")
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"type":"SEND","Id`); err != nil { // cut by a crash
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f = open()
	write(f, noon.Add(time.Minute))
	write(f, noon.Add(24*time.Hour))
	if n := count(f, 100); n != 3 {
		t.Errorf("%d traces after a crash", n)
	}
	if n := count(f, 2); n != 2 {
		t.Errorf("%d of two", n)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	write(f, noon.Add(96*time.Hour)) // the first day is past its term
	if n := count(f, 100); n != 1 {
		t.Errorf("%d traces after two days", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := psc.OpenTraces(dir, time.Hour); err == nil {
		t.Error("kept for an hour")
	}
}
