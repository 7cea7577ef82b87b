package psc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

// What passes through /send in either direction, and what does not.
func TestSend(t *testing.T) {
	w := build(t, options{})
	cookie := w.connected()
	w.api.take()
	w.api.answer(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		for _, c := range []string{"a=b", "passerelle=x; Path=/", "proxy_session_id=x"} {
			h.Add("Set-Cookie", c)
		}
		h.Set("Content-Type", "text/html")
		h.Set("ETag", `W/"1"`)
		h.Set("Location", w.api.URL+"/v1/things/7?x=1")
		h.Set("Content-Location", "https://ailleurs.example/v1/things/7")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Clear-Site-Data", `"*"`)
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("Content-Security-Policy", "default-src *")
		rw.WriteHeader(201)
		_, _ = io.WriteString(rw, "<script>alert(1)</script>")
	})
	head := cookie.Clone()
	for k, v := range map[string]string{"Authorization": "Bearer celui-du-client", "X-Forwarded-For": "192.0.2.9", "Forwarded": "for=192.0.2.9", "X-Forwarded-Host": "x",
		"Connection": "X-Mine", "X-Mine": "1", "Te": "trailers", "Proxy-Authorization": "Basic x", "Client-Cert": ":AAAA:", "Accept": "application/json",
		"If-Match": `"3"`, "Idempotency-Key": "k1", "X-Http-Method-Override": "DELETE", "Referer": "https://x.example/patient"} {
		head.Set(k, v)
	}
	a := w.json(w.http(software), "PUT", "/send/api/things/a%20b?q=%C3%A9&_id=1", `{"x":1}`, head)
	seen := w.api.take()
	if a.status != 201 || a.body != "<script>alert(1)</script>" || len(seen) != 1 {
		t.Fatalf("%d %s, %d requests", a.status, a.body, len(seen))
	}
	got := seen[0]
	if got.method != "PUT" || got.uri != "/v1/things/a%20b?_id=1&q=%C3%A9" || got.body != `{"x":1}` || got.cert != software {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{"Authorization": "Bearer dmp-bearer", "Accept": "application/json", "If-Match": `"3"`, "Idempotency-Key": "k1",
		"Content-Type": "application/json"} {
		if v := got.header.Values(name); len(v) != 1 || v[0] != want {
			t.Errorf("%s: %q", name, v)
		}
	}
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "Connection", "X-Mine", "Te", "Proxy-Authorization", "Client-Cert",
		"X-Http-Method-Override", "Referer", "Origin"} {
		if v := got.header.Values(name); len(v) > 0 {
			t.Errorf("%s passed: %q", name, v)
		}
	}
	for name, want := range map[string]string{"ETag": `W/"1"`, "Location": "/send/api/things/7?x=1", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'"} {
		if v := a.header.Values(name); len(v) != 1 || v[0] != want {
			t.Errorf("answer, %s: %q", name, v)
		}
	}
	for _, name := range []string{"Set-Cookie", "Content-Location", "Access-Control-Allow-Origin", "Clear-Site-Data", "Strict-Transport-Security"} {
		if v := a.header.Values(name); len(v) > 0 {
			t.Errorf("answer, %s passed: %q", name, v)
		}
	}
	last := w.traces(t)[1]
	if last.Type != psc.TraceSent || last.Request == nil || *last.Request != (psc.APIRequest{Backend: "api", Method: "PUT", Path: "/things/a b"}) ||
		last.NationalID != doctor.NationalID || last.ClientID != software || last.SessionState == "" || last.DN != "CN="+software {
		t.Errorf("%+v", last)
	}
}

// Nobody reaches what is not below the base of a backend, and nothing that two
// readers could understand differently passes.
func TestSendRefused(t *testing.T) {
	w := build(t, options{})
	cookie := w.connected()
	stranger := w.json(w.http(other), "POST", "/connect", connectBody(nil), nil).header.Get("Set-Cookie")
	with := func(kv ...string) http.Header {
		h := cookie.Clone()
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	cases := []struct {
		name, cert, method, path string
		header                   http.Header
		status                   int
		code                     string
	}{
		{"ok/below", software, "GET", "/send/api/x", cookie, 200, ""},
		{"ok/the base itself", software, "POST", "/send/api", cookie, 200, ""},
		{"ok/dots in a name", software, "GET", "/send/api/a..b", cookie, 200, ""},
		{"ok/same origin", software, "GET", "/send/api/x", with("Sec-Fetch-Site", "same-origin"), 200, ""},
		{"ok/consultation", software, "GET", "/send/dmp/DocumentReference/1", cookie, 200, ""},
		{"ok/search in a body", software, "POST", "/send/dmp/DocumentReference/_search", cookie, 200, ""},
		{"fail/no session", software, "GET", "/send/api/x", nil, 401, psc.FaultSession},
		{"fail/unknown session", software, "GET", "/send/api/x", http.Header{"Cookie": {psc.ProxyCookie + "=x"}}, 401, psc.FaultSession},
		{"fail/empty session", software, "GET", "/send/api/x", http.Header{"Cookie": {psc.ProxyCookie + "="}}, 401, psc.FaultSession},
		{"fail/N11 no certificate", "", "GET", "/send/api/x", cookie, 401, psc.FaultClient},
		{"fail/N11 unknown certificate", "inconnu", "GET", "/send/api/x", cookie, 401, psc.FaultClient},
		{"fail/N11 another certificate", other, "GET", "/send/api/x", cookie, 401, psc.FaultSession},
		{"fail/a browser's session", software, "GET", "/send/api/x", http.Header{"Cookie": {psc.ProxyCookie + "=" + w.browserSession()}}, 401, psc.FaultSession},
		{"fail/cross-site GET", software, "GET", "/send/api/x", with("Sec-Fetch-Site", "cross-site"), 403, psc.FaultCrossOrigin},
		{"fail/sibling site", software, "GET", "/send/api/x", with("Sec-Fetch-Site", "same-site"), 403, psc.FaultCrossOrigin},
		{"fail/cross-site POST of an old browser", software, "POST", "/send/api/x", with("Origin", "https://ailleurs.example"), 403, psc.FaultCrossOrigin},
		{"fail/unknown backend", software, "GET", "/send/autre/x", cookie, 404, psc.FaultProxyBackend},
		{"fail/address as a backend", software, "GET", "/send/https:%2f%2fevil.example/x", cookie, 404, psc.FaultProxyBackend},
		{"fail/host as a backend", software, "GET", "/send/evil.example/x", cookie, 404, psc.FaultProxyBackend},
		{"fail/no backend", software, "GET", "/send/", cookie, 404, psc.FaultProxyBackend},
		{"fail/up, escaped", software, "GET", "/send/api/%2e%2e/admin", cookie, 0, psc.FaultProxyPath},
		{"fail/up, slashes escaped", software, "GET", "/send/api/..%2f..%2fadmin", cookie, 400, psc.FaultProxyPath},
		{"fail/up, backslashes", software, "GET", "/send/api/..%5cadmin", cookie, 400, psc.FaultProxyPath},
		{"fail/escaped twice", software, "GET", "/send/api/%252e%252e/admin", cookie, 400, psc.FaultProxyPath},
		{"fail/parameter of a segment", software, "GET", "/send/api/..;/admin", cookie, 400, psc.FaultProxyPath},
		{"fail/line end", software, "GET", "/send/api/a%0d%0aX:1", cookie, 400, psc.FaultProxyPath},
		{"fail/zero byte", software, "GET", "/send/api/a%00", cookie, 400, psc.FaultProxyPath},
		{"fail/query of two readings", software, "GET", "/send/api/x?a=1;b=2", cookie, 400, psc.FaultProxyPath},
		{"fail/long", software, "GET", "/send/api/" + strings.Repeat("a", 3000), cookie, 400, psc.FaultProxyPath},
		{"fail/HEAD", software, "HEAD", "/send/api/x", cookie, 405, ""},
		{"fail/OPTIONS", software, "OPTIONS", "/send/api/x", cookie, 405, psc.FaultProxyMethod},
		{"fail/TRACE", software, "TRACE", "/send/api/x", cookie, 405, psc.FaultProxyMethod},
		{"fail/deposit at the DMP", software, "POST", "/send/dmp", cookie, 403, psc.FaultProxyDeposit},
		{"fail/document at the DMP", software, "POST", "/send/dmp/DocumentReference", cookie, 403, psc.FaultProxyDeposit},
		{"fail/change at the DMP", software, "PATCH", "/send/dmp/DocumentReference/1", cookie, 403, psc.FaultProxyDeposit},
		{"fail/identity in an address", software, "GET", "/send/dmp/DocumentReference?patient.identifier=x", cookie, 400, psc.FaultProxyPath},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.api.take()
			a := w.json(w.http(c.cert), c.method, c.path, "", c.header)
			seen := w.api.take()
			if c.status == 0 { // the server itself may send away what the handler would refuse
				if len(seen) != 0 || a.status < 300 {
					t.Fatalf("%d, %d requests", a.status, len(seen))
				}
				return
			}
			if a.status != c.status || a.code() != c.code {
				t.Fatalf("%d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			if passed := c.status == 200; passed != (len(seen) == 1) {
				t.Fatalf("the backend was asked %d times", len(seen))
			}
		})
	}
	t.Run("fail/17 MB", func(t *testing.T) {
		big := strings.Repeat("x", 17<<20)
		if a := w.json(w.http(software), "POST", "/send/api/x", big, cookie); a.status != 413 || a.code() != psc.FaultProxySize {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("ok/2 MB", func(t *testing.T) {
		w.api.take()
		big := strings.Repeat("x", 2<<20)
		if a := w.json(w.http(software), "POST", "/send/api/x", big, cookie); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if seen := w.api.take(); len(seen) != 1 || len(seen[0].body) != len(big) {
			t.Error("the body did not pass whole")
		}
	})
	if stranger == "" {
		t.Error("the other software could not connect")
	}
}

// browserSession is the id of a session of a browser, which opens no API.
func (w *world) browserSession() string {
	b := w.browser()
	w.enter(b, doctor.NationalID)
	u, _ := url.Parse(w.gateway.URL) // it is one
	return b.Jar.Cookies(u)[0].Value
}

// Backends that fail, each in its way.
func TestSendFailures(t *testing.T) {
	w := build(t, options{})
	cookie := w.connected()
	send := func() answer { return w.json(w.http(software), "GET", "/send/api/x", "", cookie) }
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		code    string
	}{
		{"fail/hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, psc.FaultBackendDown},
		{"fail/redirects elsewhere", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://evil.example/", http.StatusFound)
		}, 502, psc.FaultBackendDown},
		{"fail/redirects above its base", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.api.URL+"/admin", http.StatusFound)
		}, 502, psc.FaultBackendDown},
		{"fail/redirects in clear", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, strings.Replace(w.api.URL, "https", "http", 1)+"/v1/y", http.StatusFound)
		}, 502, psc.FaultBackendDown},
		{"fail/an answer without end", func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Content-Length", "99999999999") }, 502, psc.FaultBackendDown},
		{"ok/redirects within", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.api.URL+"/v1/y?z=1", http.StatusFound)
		}, 302, ""},
		{"ok/its own 404", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(404) }, 404, ""},
		{"ok/its own 500", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) }, 500, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.api.answer(c.handler)
			a := send()
			if a.status != c.status || a.code() != c.code {
				t.Fatalf("%d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			if c.status == 302 && a.header.Get("Location") != "/send/api/y?z=1" {
				t.Errorf("to %s", a.header.Get("Location"))
			}
		})
	}
}

// A session outlives its tokens: PSC is asked for new ones, once for a call that
// the backend refuses, and until the person is no longer logged in there.
func TestSendRenews(t *testing.T) {
	open := func(t *testing.T) (*world, http.Header, func() answer) {
		w := build(t, options{})
		w.dmp.set(200, `{"access_token":"first","token_type":"Bearer","expires_in":600,"scope":"dmp"}`)
		cookie := w.connected()
		w.dmp.set(200, `{"access_token":"second","token_type":"Bearer","expires_in":600,"scope":"dmp"}`)
		w.api.take()
		return w, cookie, func() answer { return w.json(w.http(software), "POST", "/send/api/x", `{"a":1}`, cookie) }
	}
	bearers := func(w *world) (all []string) {
		for _, one := range w.api.take() {
			all = append(all, strings.TrimPrefix(one.header.Get("Authorization"), "Bearer "))
			if one.body != `{"a":1}` {
				all = append(all, "another body")
			}
		}
		return all
	}
	t.Run("ok/before it expires", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(9 * time.Minute)
		if a := send(); a.status != 200 || fmt.Sprint(bearers(w)) != "[first]" {
			t.Errorf("%d", a.status)
		}
	})
	t.Run("ok/once it expired", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(10 * time.Minute)
		for range 2 {
			if a := send(); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		if got := fmt.Sprint(bearers(w)); got != "[second second]" || len(w.dmp.asked()) != 3 {
			t.Errorf("%s, %d exchanges", got, len(w.dmp.asked()))
		}
	})
	t.Run("ok/refused by the backend, sent again once", func(t *testing.T) {
		w, _, send := open(t)
		w.api.answer(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer second" {
				rw.WriteHeader(401)
			}
		})
		if a := send(); a.status != 200 || fmt.Sprint(bearers(w)) != "[first second]" {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.api.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(401) })
		if a := send(); a.status != 401 || fmt.Sprint(bearers(w)) != "[second second]" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/the authorization server is down: temporary", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(10 * time.Minute)
		w.dmp.set(503, "")
		if a := send(); a.status != 503 || a.code() != psc.FaultBackendToken {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.dmp.set(200, dmpAnswer)
		if a := send(); a.status != 200 || fmt.Sprint(bearers(w)) != "[dmp-bearer]" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/PSC is down: temporary", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(10 * time.Minute)
		w.fault(sim.PSCFault{Fault: "down"})
		if a := send(); a.status != 503 || a.code() != psc.FaultUnreachable {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.fault()
		if a := send(); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/PSC ended its session: so do we", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(10 * time.Minute)
		w.fault(sim.PSCFault{Fault: "refresh-refused"})
		if a := send(); a.status != 401 || a.code() != psc.FaultSessionExpired {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.fault()
		if a := send(); a.status != 401 || a.code() != psc.FaultSession || len(bearers(w)) != 0 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/idle for 30 minutes", func(t *testing.T) {
		w, _, send := open(t)
		w.advance(29 * time.Minute)
		if a := send(); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.advance(30 * time.Minute)
		bearers(w)
		if a := send(); a.status != 401 || a.code() != psc.FaultSessionExpired {
			t.Errorf("%d %s", a.status, a.body)
		}
		// Nobody revokes its tokens, so they must be out of reach.
		if a := send(); a.status != 401 || a.code() != psc.FaultSession || len(bearers(w)) != 0 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// /connect again, for the same person and for another.
func TestConnectAgain(t *testing.T) {
	w := build(t, options{})
	cookie := w.connected()
	asked := len(w.dmp.asked())
	w.fault(sim.PSCFault{Fault: "down"}) // nobody outside is needed
	a := w.json(w.http(software), "POST", "/connect", connectBody(nil), cookie)
	if a.status != 304 || a.body != "" || len(w.dmp.asked()) != asked {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.fault()
	if a := w.json(w.http(other), "POST", "/connect", connectBody(nil), cookie); a.status != 200 {
		t.Fatalf("with the cookie of another: %d %s", a.status, a.body)
	}
	if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 200 {
		t.Errorf("another has ended the session: %d", a.status)
	}
	nurse := testdata.PersonaByID(testdata.PersonaNurse).NationalID
	a = w.json(w.http(software), "POST", "/connect", connectBody(func(m map[string]string) { m["nationalId"] = nurse }), cookie)
	if a.status != 200 || strings.Contains(a.body, strings.TrimPrefix(cookie.Get("Cookie"), psc.ProxyCookie+"=")) {
		t.Fatalf("N20: %d %s", a.status, a.body)
	}
	if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.code() != psc.FaultSession {
		t.Errorf("the session before lives: %d", a.status)
	}
	var types []string
	for _, one := range w.traces(t) {
		types = append(types, one.Type)
	}
	if got := strings.Join(types, " "); got != "CONNECT_SUCCESS CONNECT_REPLAY CONNECT_SUCCESS SEND CONNECT_SUCCESS" {
		t.Error(got)
	}
	for _, c := range []struct {
		name, cert, kind, body string
		header                 http.Header
		status                 int
		code                   string
	}{
		{"fail/no certificate", "", "application/json", connectBody(nil), nil, 401, psc.FaultClient},
		{"fail/unknown certificate", "inconnu", "application/json", connectBody(nil), nil, 401, psc.FaultClient},
		{"fail/a form", software, "application/x-www-form-urlencoded", "nationalId=8", nil, 400, psc.FaultProxyRequest},
		{"fail/text, as another site may post it", software, "text/plain", connectBody(nil), nil, 400, psc.FaultProxyRequest},
		{"fail/from another site", software, "application/json", connectBody(nil), http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403, psc.FaultCrossOrigin},
		{"fail/a key twice", software, "application/json", `{"nationalId":"819990000010","NATIONALID":"819990000044"}`, nil, 400, psc.FaultProxyRequest},
		{"fail/a list", software, "application/json", `[]`, nil, 400, psc.FaultProxyRequest},
		{"fail/20 kB", software, "application/json", `{"x":"` + strings.Repeat("x", 20<<10) + `"}`, nil, 400, psc.FaultProxyRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := c.header.Clone()
			if h == nil {
				h = http.Header{}
			}
			h.Set("Content-Type", c.kind)
			if a := w.json(w.http(c.cert), "POST", "/connect", c.body, h); a.status != c.status || a.code() != c.code {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// Backends of which some, or none, give a token.
func TestConnectWithoutTokens(t *testing.T) {
	for name, c := range map[string]struct {
		answer int
		status int
		code   string
	}{"fail/refused": {400, 401, psc.FaultBackendRefuse}, "fail/away": {503, 503, psc.FaultBackendToken}} {
		t.Run(name, func(t *testing.T) {
			w := build(t, options{})
			w.dmp.set(c.answer, `{"error":"invalid_client"}`)
			if a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil); a.status != c.status || a.code() != c.code || a.header.Get("Set-Cookie") != "" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if all := w.traces(t); len(all) != 1 || all[0].Type != psc.TraceRefused {
				t.Errorf("%+v", all)
			}
		})
	}
}

// Logged out: here, at the backends, at PSC, whatever does not answer.
func TestDisconnect(t *testing.T) {
	ends := func(w *world) (revoked []string) {
		for _, f := range w.dmp.asked() {
			if f.Get("token") != "" {
				revoked = append(revoked, f.Get("token"))
			}
		}
		return revoked
	}
	off := func(w *world, cert string, h http.Header) answer {
		return w.json(w.http(cert), "DELETE", "/disconnect", "", h)
	}
	t.Run("ok/everywhere", func(t *testing.T) {
		w := build(t, options{})
		cookie := w.connected()
		a := off(w, software, cookie)
		if a.status != 200 || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Fatalf("%d %s %s", a.status, a.body, a.header.Get("Set-Cookie"))
		}
		if got := ends(w); len(got) != 2 || got[0] != "dmp-bearer" {
			t.Errorf("revoked: %d", len(got))
		}
		w.fault(sim.PSCFault{Fault: "down"}) // a session that is not there does not concern PSC
		if a := off(w, software, cookie); a.status != 401 || a.code() != psc.FaultSession {
			t.Errorf("again: %d %s", a.status, a.body)
		}
		if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 401 {
			t.Errorf("send: %d", a.status)
		}
		all := w.traces(t)
		if len(all) != 2 || all[1].Type != psc.TraceDisconnected || all[1].Session != all[0].Session || all[1].SessionState != all[0].SessionState {
			t.Errorf("%+v", all)
		}
	})
	t.Run("ok/nobody answers", func(t *testing.T) {
		w := build(t, options{})
		cookie := w.connected()
		w.fault(sim.PSCFault{Fault: "down"})
		w.dmp.set(503, "")
		if a := off(w, software, cookie); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 401 {
			t.Errorf("send: %d", a.status)
		}
	})
	for name, c := range map[string]struct {
		cert   string
		change func(http.Header)
		status int
	}{
		"fail/no session":          {software, func(h http.Header) { h.Del("Cookie") }, 401},
		"fail/another certificate": {other, func(http.Header) {}, 401},
		"fail/no certificate":      {"", func(http.Header) {}, 401},
		"fail/from another site":   {software, func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") }, 403},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, options{})
			cookie := w.connected()
			h := cookie.Clone()
			c.change(h)
			if a := off(w, c.cert, h); a.status != c.status {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 200 || len(ends(w)) != 0 {
				t.Errorf("it ended all the same: %d", a.status)
			}
		})
	}
}

// A browser's logout revokes the token of the DMP too (psc.md 4.4, the gaps of
// the sample).
func TestLogoutRevokes(t *testing.T) {
	w := build(t, options{})
	b := w.browser()
	w.enter(b, doctor.NationalID)
	w.post(b, w.gateway.URL+"/logout", url.Values{})
	if asked := w.dmp.asked(); len(asked) != 1 {
		t.Fatalf("%d requests without an address to revoke at", len(asked))
	}
	e := &psc.Exchanger{TokenURL: w.dmp.URL, RevokeURL: w.dmp.URL + "/revoke", ClientID: "x", HTTP: w.http(software), Clock: w.now}
	for name, c := range map[string]struct {
		token  psc.DMPToken
		status int
		asked  int
		fails  bool
	}{
		"ok/alive":         {psc.DMPToken{Value: "t", Expires: noon.Add(time.Hour)}, 200, 1, false},
		"ok/none":          {psc.DMPToken{}, 200, 0, false},
		"ok/over":          {psc.DMPToken{Value: "t", Expires: noon}, 200, 0, false},
		"fail/no such way": {psc.DMPToken{Value: "t", Expires: noon.Add(time.Hour)}, 404, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			w.dmp.set(c.status, "")
			before := len(w.dmp.asked())
			err := e.Revoke(context.Background(), c.token)
			if (err != nil) != c.fails || len(w.dmp.asked())-before != c.asked {
				t.Errorf("%v, asked %d times", err, len(w.dmp.asked())-before)
			}
		})
	}
}

// An access that cannot be traced does not take place.
func TestUntracedIsRefused(t *testing.T) {
	w := build(t, options{})
	cookie := w.connected()
	w.untraceable = true
	w.api.take()
	if a := w.json(w.http(software), "GET", "/send/api/x", "", cookie); a.status != 503 || a.code() != psc.FaultTrace || len(w.api.take()) != 0 {
		t.Errorf("send: %d %s", a.status, a.body)
	}
	if a := w.json(w.http(software), "POST", "/connect", connectBody(nil), nil); a.status != 503 || a.code() != psc.FaultTrace || a.header.Get("Set-Cookie") != "" {
		t.Errorf("connect: %d %s", a.status, a.body)
	}
}
