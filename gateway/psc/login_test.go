package psc_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

func TestLogin(t *testing.T) {
	for name, o := range map[string]options{"ok/certificate": {}, "ok/secret": {secret: true}} {
		t.Run(name, func(t *testing.T) {
			w := build(t, o)
			b := w.browser()
			a := w.enter(b, doctor.NationalID)
			if a.status != http.StatusSeeOther || a.header.Get("Location") != "/apres" {
				t.Fatalf("%d %s %s", a.status, a.header.Get("Location"), a.body)
			}
			session := ""
			for _, c := range a.header.Values("Set-Cookie") {
				if !strings.HasPrefix(c, "__Host-passerelle") || !strings.Contains(c, "Path=/") || !strings.Contains(c, "HttpOnly") ||
					!strings.Contains(c, "Secure") || !strings.Contains(c, "SameSite=Lax") || strings.Contains(c, "Domain") {
					t.Errorf("cookie %s", c)
				}
				if strings.HasPrefix(c, "__Host-passerelle=") {
					session = c
				}
			}
			if session == "" {
				t.Fatal("no session cookie")
			}
			p, dmp, care := who(t, w.get(b, w.gateway.URL+"/me?dmp"))
			if p.NationalID != doctor.NationalID || p.Family != doctor.Family || p.ACR != "eidas1" || p.Means != "CARD" || p.SessionState == "" {
				t.Errorf("known as %+v", p)
			}
			if len(p.Professions) != 1 || p.Professions[0] != "10" || p.Situation == nil || p.Situation.FINESSGeo != "990000028" || p.Situation.Speciality != "SM27" {
				t.Errorf("activity: %+v %+v", p.Professions, p.Situation)
			}
			if dmp != "dmp-bearer" || care != "" {
				t.Errorf("dmp %q, care %q", dmp, care)
			}
			log := w.log.String()
			if !strings.Contains(log, doctor.NationalID) || !strings.Contains(log, p.SessionState) {
				t.Errorf("the login left no trace: %s", log)
			}
			if strings.Contains(log, "eyJ") || strings.Contains(log, "dmp-bearer") || strings.Contains(log, doctor.Family) {
				t.Errorf("a token or a name in the log: %s", log)
			}
			if got := w.dmp.asked(); len(got) != 1 || got[0].Get("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token" || got[0].Get("scope") != "dmp" {
				t.Errorf("the DMP was asked %v", got)
			}
		})
	}
}

// The request that leaves for PSC.
func TestLoginRequest(t *testing.T) {
	w := build(t, options{})
	first := location(t, w.get(w.browser(), w.gateway.URL+"/login?kc_idp_hint=fi-locale"))
	q := first.Query()
	for k, want := range map[string]string{"response_type": "code", "client_id": software, "redirect_uri": w.callback, "scope": "openid scope_all",
		"acr_values": "eidas1", "code_challenge_method": "S256", "kc_idp_hint": "fi-locale"} {
		if q.Get(k) != want {
			t.Errorf("%s=%s, want %s", k, q.Get(k), want)
		}
	}
	if strings.TrimSuffix(first.String(), "?"+first.RawQuery) != w.wallet.URL+"/auth" {
		t.Errorf("sent to %s", first)
	}
	again := location(t, w.get(w.browser(), w.gateway.URL+"/login")).Query()
	for _, k := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(k)) != 43 || q.Get(k) == again.Get(k) {
			t.Errorf("%s is not random: %s", k, q.Get(k))
		}
	}
}

// Everything that PSC can send and that must not open a session (N1–N7, N12–N15, N22).
func TestLoginRefused(t *testing.T) {
	w := build(t, options{})
	cases := []struct {
		name   string
		fault  sim.PSCFault
		status int
		code   string
	}{
		{"fail/N1 none", sim.PSCFault{Fault: "alg-none"}, 401, psc.FaultIDToken},
		{"fail/N2 HS256 with the public key", sim.PSCFault{Fault: "alg-hs256"}, 401, psc.FaultIDToken},
		{"fail/N3 other issuer", sim.PSCFault{Fault: "iss-wrong"}, 401, psc.FaultIDToken},
		{"fail/N3 issuer with a slash", sim.PSCFault{Fault: "iss-slash"}, 401, psc.FaultIDToken},
		{"fail/N4 other audience", sim.PSCFault{Fault: "aud-wrong"}, 401, psc.FaultIDToken},
		{"fail/N4 us and another, azp another", sim.PSCFault{Fault: "azp-wrong"}, 401, psc.FaultIDToken},
		{"fail/N5 expired past the leeway", sim.PSCFault{Fault: "expired"}, 401, psc.FaultIDToken},
		{"fail/N5 no exp", sim.PSCFault{Fault: "exp-absent"}, 401, psc.FaultIDToken},
		{"fail/N5 issued in an hour", sim.PSCFault{Fault: "iat-future"}, 401, psc.FaultIDToken},
		{"fail/N5 not yet valid", sim.PSCFault{Fault: "nbf-future"}, 401, psc.FaultIDToken},
		{"fail/N6 other nonce", sim.PSCFault{Fault: "nonce-wrong"}, 401, psc.FaultNonce},
		{"fail/N6 no nonce", sim.PSCFault{Fault: "nonce-absent"}, 401, psc.FaultNonce},
		{"fail/N7 no acr", sim.PSCFault{Fault: "acr-absent"}, 401, psc.FaultACR},
		{"fail/N7 acr 0", sim.PSCFault{Fault: "acr-0"}, 401, psc.FaultACR},
		{"fail/N7 acr 1", sim.PSCFault{Fault: "acr-1"}, 401, psc.FaultACR},
		{"fail/N7 acr unknown", sim.PSCFault{Fault: "acr-unknown"}, 401, psc.FaultACR},
		{"fail/N12 callback of another provider", sim.PSCFault{Fault: "callback-iss"}, 400, psc.FaultMixUp},
		{"fail/N8 other state", sim.PSCFault{Fault: "callback-state"}, 400, psc.FaultState},
		{"fail/N13 access token as ID token", sim.PSCFault{Fault: "typ-wrong"}, 401, psc.FaultIDToken},
		{"fail/N14 unknown kid", sim.PSCFault{Fault: "kid-unknown"}, 401, psc.FaultIDToken},
		{"fail/N14 no kid", sim.PSCFault{Fault: "kid-absent"}, 401, psc.FaultIDToken},
		{"fail/N14 same kid other key", sim.PSCFault{Fault: "key-other"}, 401, psc.FaultIDToken},
		{"fail/N14 its own key", sim.PSCFault{Fault: "jwk-embedded"}, 401, psc.FaultIDToken},
		{"fail/at_hash", sim.PSCFault{Fault: "at-hash-wrong"}, 401, psc.FaultIDToken},
		{"fail/no SubjectNameID", sim.PSCFault{Fault: "no-name-id"}, 401, psc.FaultIDToken},
		{"fail/N15 userinfo of another sub", sim.PSCFault{Fault: "userinfo-sub"}, 401, psc.FaultUserinfo},
		{"fail/N15 userinfo of another SubjectNameID", sim.PSCFault{Fault: "userinfo-name-id"}, 401, psc.FaultUserinfo},
		{"fail/N15 userinfo is a page", sim.PSCFault{Fault: "userinfo-html"}, 502, psc.FaultAnswer},
		{"fail/N22 duplicate claims", sim.PSCFault{Fault: "claims-duplicate"}, 401, psc.FaultIDToken},
		{"fail/N22 deep claims", sim.PSCFault{Fault: "claims-deep"}, 401, psc.FaultIDToken},
		{"fail/N22 a token of 1 MB", sim.PSCFault{Fault: "huge"}, 502, psc.FaultAnswer},
		{"fail/token endpoint down", sim.PSCFault{Fault: "down", Path: "/token"}, 503, psc.FaultUnreachable},
		{"fail/token endpoint unavailable", sim.PSCFault{Fault: "unavailable", Path: "/token"}, 503, psc.FaultUnreachable},
		{"fail/token endpoint behind a page", sim.PSCFault{Fault: "html", Path: "/token"}, 502, psc.FaultAnswer},
		{"fail/userinfo down", sim.PSCFault{Fault: "down", Path: "/userinfo"}, 503, psc.FaultUnreachable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer w.fault()
			b := w.browser()
			back := w.toPSC(b, "/", doctor.NationalID)
			if strings.HasPrefix(c.fault.Fault, "callback-") {
				w.fault(c.fault)
				back = w.toPSC(b, "/", doctor.NationalID)
			}
			w.fault(c.fault)
			a := w.get(b, back.String())
			if a.status != c.status || a.code() != c.code {
				t.Errorf("answers %d %s, want %d %s", a.status, a.code(), c.status, c.code)
			}
			if !strings.Contains(a.body, `lang="fr"`) || strings.Contains(a.body, "eyJ") || strings.Contains(a.body, doctor.NationalID) {
				t.Errorf("page: %s", a.body)
			}
			if me := w.get(b, w.gateway.URL+"/me"); me.status != 401 || me.code() != psc.FaultSession {
				t.Errorf("a session is open: %d %s", me.status, me.code())
			}
		})
	}
	t.Run("ok/nothing was broken for good", func(t *testing.T) {
		w.fault()
		if a := w.enter(w.browser(), doctor.NationalID); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
	})
	if strings.Contains(w.log.String(), "eyJ") {
		t.Error("a token in the log")
	}
}

// What PSC may do and that must not refuse anybody.
func TestLoginTolerated(t *testing.T) {
	w := build(t, options{})
	for _, f := range []string{"userinfo-jwt"} {
		t.Run("ok/"+f, func(t *testing.T) {
			w.fault(sim.PSCFault{Fault: f})
			defer w.fault()
			if a := w.enter(w.browser(), doctor.NationalID); a.status != http.StatusSeeOther {
				t.Fatalf("%d %s", a.status, a.body)
			}
		})
	}
	for _, c := range []struct {
		fault string
		code  string
	}{{"alg-none", psc.FaultUserinfo}, {"alg-hs256", psc.FaultUserinfo}, {"key-other", psc.FaultUserinfo}, {"iss-wrong", psc.FaultUserinfo}, {"aud-wrong", psc.FaultUserinfo}} {
		t.Run("fail/signed userinfo "+c.fault, func(t *testing.T) {
			w.fault(sim.PSCFault{Fault: "userinfo-jwt"}, sim.PSCFault{Fault: c.fault, Token: "userinfo"})
			defer w.fault()
			if a := w.enter(w.browser(), doctor.NationalID); a.code() != c.code {
				t.Fatalf("%d %s", a.status, a.code())
			}
		})
	}
}

// N8: state, and N9: a code that comes back twice.
func TestState(t *testing.T) {
	w := build(t, options{})
	t.Run("fail/no state", func(t *testing.T) {
		b := w.browser()
		w.toPSC(b, "/", doctor.NationalID)
		if a := w.get(b, w.callback+"?code=x"); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/from another browser", func(t *testing.T) {
		back := w.toPSC(w.browser(), "/", doctor.NationalID)
		if a := w.get(w.browser(), back.String()); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/with the cookie of another login", func(t *testing.T) {
		back := w.toPSC(w.browser(), "/", doctor.NationalID)
		b := w.browser()
		w.toPSC(b, "/", doctor.NationalID)
		if a := w.get(b, back.String()); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/repeated", func(t *testing.T) {
		b := w.browser()
		back := w.toPSC(b, "/", doctor.NationalID)
		if a := w.get(b, back.String()+"&state=x"); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/after ten minutes", func(t *testing.T) {
		b := w.browser()
		back := w.toPSC(b, "/", doctor.NationalID)
		w.advance(10 * time.Minute)
		if a := w.get(b, back.String()); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/twice, and no second request to PSC", func(t *testing.T) {
		b := w.browser()
		back := w.toPSC(b, "/", doctor.NationalID)
		cookies := b.Jar.Cookies(back)
		if a := w.get(b, back.String()); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
		again := w.browser()
		again.Jar.SetCookies(back, cookies)
		w.fault(sim.PSCFault{Fault: "down", Path: "/token"}) // a request would answer 503
		defer w.fault()
		if a := w.get(again, back.String()); a.code() != psc.FaultState {
			t.Fatalf("%d %s", a.status, a.code())
		}
		w.fault()
		if a := w.get(b, w.gateway.URL+"/me"); a.status != 200 {
			t.Errorf("the first session died: %d", a.status)
		}
	})
	t.Run("fail/code expired", func(t *testing.T) {
		b := w.browser()
		back := w.toPSC(b, "/", doctor.NationalID)
		w.advance(61 * time.Second)
		if a := w.get(b, back.String()); a.code() != psc.FaultCode {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/code of another login: PKCE", func(t *testing.T) {
		stolen := w.toPSC(w.browser(), "/", doctor.NationalID).Query().Get("code")
		b := w.browser()
		back := w.toPSC(b, "/", doctor.NationalID)
		q := back.Query()
		q.Set("code", stolen)
		back.RawQuery = q.Encode()
		if a := w.get(b, back.String()); a.code() != psc.FaultCode {
			t.Fatalf("%d %s", a.status, a.code())
		}
	})
	for e, code := range map[string]string{"access_denied": psc.FaultRefused, "login_required": psc.FaultLogin, "server_error": psc.FaultUnreachable,
		"invalid_request": psc.FaultRegistration} {
		t.Run("fail/"+e, func(t *testing.T) {
			b := w.browser()
			state := w.toPSC(b, "/", doctor.NationalID).Query().Get("state")
			if a := w.get(b, w.callback+"?error="+e+"&state="+state); a.code() != code {
				t.Fatalf("%d %s", a.status, a.code())
			}
		})
	}
}

// N20: fixation and open redirect.
func TestReturnAndFixation(t *testing.T) {
	w := build(t, options{})
	for to, want := range map[string]string{"/timeline?x=1": "/timeline?x=1", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
		"evil": "/", "/a\r\nX: y": "/", "": "/"} {
		b := w.browser()
		a := w.get(b, w.toPSC(b, to, doctor.NationalID).String())
		if got := a.header.Get("Location"); got != want {
			t.Errorf("return_to %q leads to %q", to, got)
		}
	}
	b := w.browser()
	w.enter(b, doctor.NationalID)
	gateway, err := url.Parse(w.gateway.URL)
	if err != nil {
		t.Fatal(err)
	}
	before := b.Jar.Cookies(gateway)
	w.enter(b, doctor.NationalID)
	after := b.Jar.Cookies(gateway)
	if len(before) != 1 || len(after) != 1 || before[0].Value == after[0].Value {
		t.Fatalf("the session id did not change: %d, %d cookies", len(before), len(after))
	}
	old := w.browser()
	old.Jar.SetCookies(gateway, before)
	if a := w.get(old, w.gateway.URL+"/me"); a.code() != psc.FaultSession {
		t.Errorf("the session before lives: %d %s", a.status, a.code())
	}
}

func TestSessionLimits(t *testing.T) {
	cases := []struct {
		name  string
		steps []time.Duration // between two requests
		code  string          // of the last
	}{
		{"ok/used every 29 minutes", []time.Duration{29 * time.Minute, 29 * time.Minute, 29 * time.Minute}, ""},
		{"fail/idle for 30 minutes", []time.Duration{29 * time.Minute, 30 * time.Minute}, psc.FaultSessionExpired},
		{"fail/four hours", []time.Duration{29 * time.Minute, 29 * time.Minute, 29 * time.Minute, 29 * time.Minute, 29 * time.Minute,
			29 * time.Minute, 29 * time.Minute, 29 * time.Minute, 8 * time.Minute}, psc.FaultSessionExpired},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := build(t, options{})
			b := w.browser()
			w.enter(b, doctor.NationalID)
			var a answer
			for _, d := range c.steps {
				if a.status != 0 && a.status != 200 {
					t.Fatalf("too early: %d %s", a.status, a.code())
				}
				w.advance(d)
				a = w.get(b, w.gateway.URL+"/me")
			}
			if a.code() != c.code {
				t.Errorf("%d %s, want %q", a.status, a.code(), c.code)
			}
			if c.code != "" {
				if a := w.get(b, w.gateway.URL+"/me"); a.code() != psc.FaultSession {
					t.Errorf("expired once, then %d %s", a.status, a.code())
				}
			}
		})
	}
}

func TestLogout(t *testing.T) {
	open := func(t *testing.T) (*world, *http.Client, string) {
		w := build(t, options{})
		b := w.browser()
		w.enter(b, doctor.NationalID)
		p, _, _ := who(t, w.get(b, w.gateway.URL+"/me"))
		return w, b, p.SessionState
	}
	closed := func(t *testing.T, w *world, b *http.Client) {
		t.Helper()
		if a := w.get(b, w.gateway.URL+"/me"); a.code() != psc.FaultSession {
			t.Errorf("still logged in: %d %s", a.status, a.code())
		}
	}
	t.Run("ok/here and at PSC", func(t *testing.T) {
		w, b, _ := open(t)
		gateway, _ := url.Parse(w.gateway.URL)
		cookies := b.Jar.Cookies(gateway)
		if a := w.post(b, w.gateway.URL+"/logout", nil); a.status != http.StatusSeeOther || a.header.Get("Location") != "/" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		closed(t, w, b)
		kept := w.browser()
		kept.Jar.SetCookies(gateway, cookies)
		closed(t, w, kept)
		if log := w.log.String(); !strings.Contains(log, `msg="psc: logout"`) || strings.Contains(log, "PSC keeps") {
			t.Errorf("log: %s", log)
		}
	})
	t.Run("ok/PSC is down", func(t *testing.T) {
		w, b, _ := open(t)
		w.fault(sim.PSCFault{Fault: "down"})
		if a := w.post(b, w.gateway.URL+"/logout", nil); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
		closed(t, w, b)
		if !strings.Contains(w.log.String(), "PSC keeps its session") {
			t.Error("nobody was told")
		}
	})
	t.Run("ok/nobody is logged in", func(t *testing.T) {
		w := build(t, options{})
		if a := w.post(w.browser(), w.gateway.URL+"/logout", nil); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
	})
	t.Run("fail/by GET", func(t *testing.T) {
		w, b, _ := open(t)
		if a := w.get(b, w.gateway.URL+"/logout"); a.status != http.StatusMethodNotAllowed {
			t.Fatalf("%d", a.status)
		}
	})
	t.Run("fail/from another site", func(t *testing.T) {
		w, b, _ := open(t)
		req, err := http.NewRequest(http.MethodPost, w.gateway.URL+"/logout", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://evil.example")
		if a := w.do(b, req); a.status != 403 || a.code() != psc.FaultCrossOrigin {
			t.Fatalf("%d %s", a.status, a.code())
		}
		if a := w.get(b, w.gateway.URL+"/me"); a.status != 200 {
			t.Errorf("logged out all the same: %d", a.status)
		}
	})
}

// A session outlives its DMP token: PSC is asked for a new one.
func TestSessionDMPToken(t *testing.T) {
	open := func(t *testing.T) (*world, *http.Client) {
		w := build(t, options{})
		b := w.browser()
		w.dmp.set(200, `{"access_token":"first","token_type":"Bearer","expires_in":600,"scope":"dmp"}`)
		w.enter(b, doctor.NationalID)
		w.dmp.set(200, `{"access_token":"second","token_type":"Bearer","expires_in":600,"scope":"dmp"}`)
		return w, b
	}
	t.Run("ok/kept while it lives", func(t *testing.T) {
		w, b := open(t)
		w.advance(9 * time.Minute)
		if _, dmp, _ := who(t, w.get(b, w.gateway.URL+"/me?dmp")); dmp != "first" || len(w.dmp.asked()) != 1 {
			t.Errorf("%q after %d requests", dmp, len(w.dmp.asked()))
		}
	})
	t.Run("ok/renewed", func(t *testing.T) {
		w, b := open(t)
		w.advance(10 * time.Minute)
		if _, dmp, _ := who(t, w.get(b, w.gateway.URL+"/me?dmp")); dmp != "second" {
			t.Errorf("%q", dmp)
		}
		asked := w.dmp.asked()
		if len(asked) != 2 || asked[0].Get("subject_token") == asked[1].Get("subject_token") {
			t.Errorf("asked %d times, or with the same PSC token", len(asked))
		}
	})
	t.Run("fail/the DMP's server is down: temporary", func(t *testing.T) {
		w, b := open(t)
		w.dmp.set(503, `{"error":"temporarily_unavailable"}`)
		w.advance(10 * time.Minute)
		if a := w.get(b, w.gateway.URL+"/me?dmp"); a.status != 503 || a.code() != psc.FaultDMPToken {
			t.Errorf("%d %s", a.status, a.code())
		}
		if a := w.get(b, w.gateway.URL+"/me"); a.status != 200 {
			t.Errorf("the session ended: %d", a.status)
		}
	})
	t.Run("fail/PSC is down: temporary", func(t *testing.T) {
		w, b := open(t)
		w.advance(10 * time.Minute)
		w.fault(sim.PSCFault{Fault: "down"})
		if a := w.get(b, w.gateway.URL+"/me?dmp"); a.status != 503 || a.code() != psc.FaultUnreachable {
			t.Errorf("%d %s", a.status, a.code())
		}
	})
	t.Run("fail/PSC ended its session: so do we", func(t *testing.T) {
		w, b := open(t)
		w.advance(10 * time.Minute)
		w.fault(sim.PSCFault{Fault: "refresh-refused"})
		if a := w.get(b, w.gateway.URL+"/me?dmp"); a.status != 401 || a.code() != psc.FaultSessionExpired {
			t.Errorf("%d %s", a.status, a.code())
		}
		if a := w.get(b, w.gateway.URL+"/me"); a.code() != psc.FaultSession {
			t.Errorf("%d %s", a.status, a.code())
		}
	})
	t.Run("ok/login without a DMP", func(t *testing.T) {
		w := build(t, options{})
		w.dmp.set(503, "")
		b := w.browser()
		if a := w.enter(b, doctor.NationalID); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
	})
}

// N17, N18: who may log in and do nothing, and work situations.
func TestSituations(t *testing.T) {
	w := build(t, options{})
	for fault, want := range map[string]string{"person-no-pro": psc.FaultNoCare, "person-student": psc.FaultNoCare, "person-non-care": psc.FaultNoCare} {
		t.Run("fail/"+fault, func(t *testing.T) {
			w.fault(sim.PSCFault{Fault: fault})
			defer w.fault()
			b := w.browser()
			if a := w.enter(b, doctor.NationalID); a.status != http.StatusSeeOther {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if _, _, care := who(t, w.get(b, w.gateway.URL+"/me")); care != want {
				t.Errorf("care: %q", care)
			}
		})
	}
	b := w.browser()
	w.enter(b, testdata.PersonaByID(testdata.PersonaRadiologist).NationalID)
	p, _, care := who(t, w.get(b, w.gateway.URL+"/me"))
	if len(p.Situations) != 2 || p.Situation != nil || care != "" {
		t.Fatalf("%d situations, chosen %v, care %q", len(p.Situations), p.Situation, care)
	}
	t.Run("fail/a situation that PSC did not tell", func(t *testing.T) {
		if a := w.post(b, w.gateway.URL+"/situation", url.Values{"key": {"forged"}}); a.status != 403 || a.code() != psc.FaultSituation {
			t.Errorf("%d %s", a.status, a.code())
		}
	})
	t.Run("ok/the second", func(t *testing.T) {
		w.post(b, w.gateway.URL+"/situation", url.Values{"key": {p.Situations[1].Key}})
		p, _, _ := who(t, w.get(b, w.gateway.URL+"/me"))
		if p.Situation == nil || p.Situation.FINESSGeo != "990000044" {
			t.Errorf("%+v", p.Situation)
		}
	})
}

// The gateway starts while PSC is down, and heals by itself.
func TestPSCDown(t *testing.T) {
	w := build(t, options{})
	for _, c := range []struct{ fault, code string }{{"down", psc.FaultUnreachable}, {"unavailable", psc.FaultUnreachable}, {"html", psc.FaultAnswer},
		{"discovery-issuer", psc.FaultDiscovery}, {"discovery-http", psc.FaultDiscovery}} {
		w.fault(sim.PSCFault{Fault: c.fault})
		if a := w.get(w.browser(), w.gateway.URL+"/login"); a.code() != c.code {
			t.Errorf("%s: %d %s", c.fault, a.status, a.code())
		}
	}
	// Found by the audit of issue 4, 2026-11-22: the page existed in French only.
	for _, c := range []struct{ query, lang, text string }{
		{"", "fr", "Connexion impossible"}, {"?lang=en", "en", "Login impossible"},
		{"?return_to=" + url.QueryEscape("/console/?lang=en"), "en", "Login impossible"}, {"?return_to=//ailleurs?lang=en", "fr", "Connexion impossible"},
	} {
		a := w.get(w.browser(), w.gateway.URL+"/login"+c.query)
		if !strings.Contains(a.body, `<html lang="`+c.lang+`">`) || !strings.Contains(a.body, c.text) {
			t.Errorf("%q: %s", c.query, a.body)
		}
	}
	w.fault()
	b := w.browser()
	if a := w.enter(b, doctor.NationalID); a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.fault(sim.PSCFault{Fault: "down"})
	if a := w.get(b, w.gateway.URL+"/me"); a.status != 200 {
		t.Errorf("a session needs PSC: %d", a.status)
	}
}

// The keys of PSC change while we run; forged kids do not become requests.
func TestKeyRotationAtPSC(t *testing.T) {
	w := build(t, options{})
	if a := w.enter(w.browser(), doctor.NationalID); a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if err := w.psc.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	if a := w.enter(w.browser(), doctor.NationalID); a.status != http.StatusSeeOther {
		t.Fatalf("after a rotation: %d %s", a.status, a.body)
	}
	w.fault(sim.PSCFault{Fault: "kid-unknown"}, sim.PSCFault{Fault: "down", Path: "/certs"})
	if a := w.enter(w.browser(), doctor.NationalID); a.code() != psc.FaultIDToken {
		t.Errorf("within a minute the keys were asked for again: %d %s", a.status, a.code())
	}
	w.advance(2 * time.Minute)
	if a := w.enter(w.browser(), doctor.NationalID); a.code() != psc.FaultUnreachable {
		t.Errorf("after a minute they were not: %d %s", a.status, a.code())
	}
}
