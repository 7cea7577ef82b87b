package psc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

func (w *world) json(c *http.Client, method, path, body string, header http.Header) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.gateway.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return w.do(c, req)
}

func connectBody(change func(map[string]string)) string {
	m := map[string]string{"nationalId": doctor.NationalID, "bindingMessage": "42", "clientId": software, "channel": "MOBILE"}
	if change != nil {
		change(m)
	}
	b, _ := json.Marshal(m) // a map of texts can always be written
	return string(b)
}

// connected logs the doctor in by their device, and gives the session's cookie.
func (w *world) connected() http.Header {
	w.t.Helper()
	a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil)
	if a.status != 200 {
		w.t.Fatalf("connect: %d %s", a.status, a.body)
	}
	return http.Header{"Cookie": {strings.Split(a.header.Get("Set-Cookie"), ";")[0]}}
}

// A login on a device, and all the ways in which it does not succeed. No case
// makes a session, and each that names a person leaves a trace.
func TestCIBA(t *testing.T) {
	for _, o := range []options{{}, {secret: true}} {
		w := build(t, o)
		a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil)
		v := decoded(t, a.body)
		cookie := a.header.Get("Set-Cookie")
		if a.status != 200 || v["session_state"] == "" || !strings.HasPrefix(cookie, psc.ProxyCookie+"="+v["proxy_session_id"].(string)+";") {
			t.Fatalf("%d %s %s", a.status, a.body, cookie)
		}
		for _, flag := range []string{"; HttpOnly", "; Secure", "; SameSite=Strict", "; Path=/", "; Max-Age=14400"} {
			if !strings.Contains(cookie, flag) {
				t.Errorf("cookie without %s", flag)
			}
		}
		if asked := w.dmp.asked(); len(asked) != 2 { // the DMP and the other backend
			t.Errorf("%d exchanges", len(asked))
		}
		for _, r := range w.store.added() {
			if strings.Contains(string(r.Value), "dmp-bearer") || r.Key == v["proxy_session_id"] {
				t.Error("the store reads what it keeps")
			}
		}
	}
	w := build(t, options{})
	set := func(name, value string) func(map[string]string) {
		return func(m map[string]string) { m[name] = value }
	}
	for _, c := range []struct {
		name   string
		change func(map[string]string)
		faults []sim.PSCFault
		device string
		off    bool
		status int
		code   string
		traced bool
	}{
		{name: "fail/no identifier", change: set("nationalId", ""), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/identifier with a line end", change: set("nationalId", "8\r\n"), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/three digits to compare", change: set("bindingMessage", "123"), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/no number to compare", change: set("bindingMessage", ""), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/other channel", change: set("channel", "SMS"), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/no client", change: set("clientId", ""), status: 400, code: psc.FaultProxyRequest},
		{name: "fail/unknown client", change: set("clientId", "x"), status: 404, code: psc.FaultProxyClient},
		{name: "fail/unknown person", change: set("nationalId", "899999999999"), status: 404, code: psc.FaultCIBANobody, traced: true},
		{name: "fail/not enabled", off: true, status: 401, code: psc.FaultCIBAOff, traced: true},
		{name: "fail/refused on the device", device: "deny", status: 401, code: psc.FaultCIBARefused, traced: true},
		{name: "fail/nobody answers", device: "silence", status: 401, code: psc.FaultCIBAExpired, traced: true},
		{name: "fail/N16 another person answers", faults: []sim.PSCFault{{Fault: "ciba-other-person"}}, status: 401, code: psc.FaultOtherPerson, traced: true},
		{name: "fail/the channel is broken", faults: []sim.PSCFault{{Fault: "ciba-channel"}}, status: 503, code: psc.FaultUnreachable, traced: true},
		{name: "fail/PSC is down", faults: []sim.PSCFault{{Fault: "down", Path: "/ciba/auth"}}, status: 503, code: psc.FaultUnreachable, traced: true},
		{name: "fail/PSC is down while we ask", faults: []sim.PSCFault{{Fault: "down", Path: "/token"}}, status: 503, code: psc.FaultUnreachable, traced: true},
		{name: "fail/a page in front of PSC", faults: []sim.PSCFault{{Fault: "html", Path: "/ciba/auth"}}, status: 502, code: psc.FaultAnswer, traced: true},
		{name: "fail/N1 none", faults: []sim.PSCFault{{Fault: "alg-none"}}, status: 401, code: psc.FaultIDToken, traced: true},
		{name: "fail/N4 other audience", faults: []sim.PSCFault{{Fault: "aud-wrong"}}, status: 401, code: psc.FaultIDToken, traced: true},
		{name: "fail/N5 expired", faults: []sim.PSCFault{{Fault: "expired"}}, status: 401, code: psc.FaultIDToken, traced: true},
		{name: "fail/N7 no acr", faults: []sim.PSCFault{{Fault: "acr-absent"}}, status: 401, code: psc.FaultACR, traced: true},
		{name: "fail/N13 access token as ID token", faults: []sim.PSCFault{{Fault: "typ-wrong"}}, status: 401, code: psc.FaultIDToken, traced: true},
		{name: "fail/N15 userinfo of another", faults: []sim.PSCFault{{Fault: "userinfo-sub"}}, status: 401, code: psc.FaultUserinfo, traced: true},
		{name: "fail/N22 a token of 1 MB", faults: []sim.PSCFault{{Fault: "huge"}}, status: 502, code: psc.FaultAnswer, traced: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer w.fault()
			defer w.psc.SetClients(w.registered(true)...)
			w.fault(c.faults...)
			w.psc.SetClients(w.registered(!c.off)...)
			device := sim.PSCDevice{Auto: "approve"}
			switch c.device {
			case "deny":
				device.Auto = "deny"
			case "silence":
				device.Auto = ""
			}
			if err := w.psc.SetDevice(device); err != nil {
				t.Fatal(err)
			}
			before, asked := len(w.traces(t)), len(w.dmp.asked())
			a := w.json(w.http(software), "POST", "/connect", connectBody(c.change), nil)
			v := decoded(t, a.body)
			if a.status != c.status || v["code"] != c.code || a.header.Get("Set-Cookie") != "" || v["message"] == "" || v["remedy"] == "" {
				t.Fatalf("%d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			all := w.traces(t)
			if c.traced != (len(all) == before+1) {
				t.Fatalf("%d traces more", len(all)-before)
			}
			if meta, _ := v["metadata"].(map[string]any); c.traced && (all[before].Type != psc.TraceRefused || all[before].Code != c.code ||
				all[before].NationalID == "" || meta["clientId"] != software || meta["nationalId"] != all[before].NationalID) {
				t.Errorf("%+v %v", all[before], meta)
			}
			if len(w.dmp.asked()) != asked {
				t.Error("a token was asked for")
			}
		})
	}
	if strings.Contains(w.log.String(), "eyJ") {
		t.Error("a token in the log")
	}
}

// PSC is asked as rarely as it wants, and no more once it said no, the person
// is too late, or the caller has gone.
func TestCIBAPolling(t *testing.T) {
	open := func(t *testing.T, device string) *world {
		w := build(t, options{})
		if err := w.psc.SetDevice(sim.PSCDevice{Auto: device}); err != nil {
			t.Fatal(err)
		}
		w.waits = nil
		return w
	}
	t.Run("ok/slow_down adds five seconds", func(t *testing.T) {
		w := open(t, "approve")
		w.fault(sim.PSCFault{Fault: "ciba-slow-down", Count: 2})
		w.connected()
		if len(w.waits) != 3 || w.waits[0] != 5*time.Second || w.waits[1] != 10*time.Second || w.waits[2] != 15*time.Second {
			t.Errorf("waited %v", w.waits)
		}
	})
	t.Run("fail/never after it expired", func(t *testing.T) {
		w := open(t, "")
		if a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil); a.code() != psc.FaultCIBAExpired {
			t.Fatalf("%d %s", a.status, a.body)
		}
		total := time.Duration(0)
		for _, d := range w.waits {
			total += d
		}
		if total > 120*time.Second || len(w.waits) != 24 {
			t.Errorf("%d waits, %v in all", len(w.waits), total)
		}
	})
	t.Run("fail/the caller goes away", func(t *testing.T) {
		w := open(t, "")
		ctx, cancel := context.WithCancel(context.Background())
		w.onWait = func() { cancel() }
		req, err := http.NewRequestWithContext(ctx, "POST", w.gateway.URL+"/connect", strings.NewReader(connectBody(nil)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if res, err := w.http(software).Do(req); err == nil {
			_ = res.Body.Close()
			t.Fatal("there was an answer")
		}
		// The trace is written once the handler has noticed.
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
			if len(w.traces(t)) == 1 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if all := w.traces(t); len(all) != 1 || all[0].Code != psc.FaultCIBAExpired {
			t.Errorf("%+v", all)
		}
		w.onWait = nil
		w.psc.Answer(doctor.NationalID, "42", "deny")
		if err := w.psc.SetDevice(sim.PSCDevice{Auto: "approve"}); err != nil {
			t.Fatal(err)
		}
		w.connected() // and the person can be asked again
	})
	t.Run("fail/twice for one person", func(t *testing.T) {
		w := open(t, "")
		inner := ""
		w.onWait = func() {
			if inner != "" {
				return
			}
			inner = w.json(w.http(software), "POST", "/connect", connectBody(nil), nil).code()
			w.psc.Answer(doctor.NationalID, "42", "approve")
		}
		w.connected()
		if inner != psc.FaultCIBABusy {
			t.Errorf("the second was told %q", inner)
		}
	})
}

// Who has no professional data may log in and reach no API.
func TestProxyCare(t *testing.T) {
	w := build(t, options{})
	for _, id := range []string{"agent", "radie", "interne"} {
		national := map[string]string{"agent": "599999999900012/agent1", "radie": "819990000135", "interne": "819990000119"}[id]
		t.Run("fail/N17 "+id, func(t *testing.T) {
			a := w.json(w.http(software), "POST", "/connect", connectBody(func(m map[string]string) { m["nationalId"] = national }), nil)
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			cookie := http.Header{"Cookie": {strings.Split(a.header.Get("Set-Cookie"), ";")[0]}}
			if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 403 || a.code() != psc.FaultNoCare {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}
