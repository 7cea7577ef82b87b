package sim

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

func (w pscWorld) ciba() url.Values {
	return url.Values{"client_id": {w.Info().PSC.ClientID}, "client_secret": {w.Info().PSC.ClientSecret}, "scope": {"openid scope_all"},
		"login_hint": {testdata.Personas()[0].NationalID}, "binding_message": {"42"}, "acr_values": {"eidas1"}, "channel": {"MOBILE"}}
}

func (w pscWorld) ask(form url.Values) answered {
	w.t.Helper()
	return w.post(w.plain, w.Info().PSC.Issuer+"/protocol/openid-connect/ext/ciba/auth", form)
}

func (w pscWorld) poll(id string) answered {
	w.t.Helper()
	return w.post(w.plain, w.Info().PSC.Token, url.Values{"client_id": {w.Info().PSC.ClientID}, "client_secret": {w.Info().PSC.ClientSecret},
		"grant_type": {grantCIBA}, "auth_req_id": {id}})
}

// CIBA is refused in the order that was measured outside.
func TestPSCCIBARefused(t *testing.T) {
	w := startPSC(t)
	if a := w.ask(w.ciba()); a.status != 401 || a.json(t)["error"] != "invalid_grant" {
		t.Fatalf("before it is enabled: %d %s", a.status, a.body)
	}
	control(t, w.Sandbox, "PUT", "/psc/registration", `{"ciba":true}`, 200)
	set := func(name, value string) func(url.Values) { return func(f url.Values) { f.Set(name, value) } }
	drop := func(names ...string) func(url.Values) {
		return func(f url.Values) {
			for _, n := range names {
				f.Del(n)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(url.Values)
		status int
		error  string
	}{
		{"ok/mobile", func(url.Values) {}, 200, ""},
		{"ok/card", set("channel", "CARD"), 200, ""},
		{"fail/client before the rest", drop("client_secret", "login_hint", "scope"), 401, "invalid_client"},
		{"fail/nobody named", drop("login_hint", "scope"), 400, "invalid_request"},
		{"fail/no scope", drop("scope"), 400, "invalid_request"},
		{"fail/unknown person", set("login_hint", "899999999999"), 400, "invalid_request"},
		{"fail/bare RPPS", set("login_hint", testdata.Personas()[0].NationalID[1:]), 400, "invalid_request"},
		{"fail/scope without openid", set("scope", "scope_all"), 400, "invalid_scope"},
		{"fail/no acr", drop("acr_values"), 400, "invalid_request"},
		{"fail/other channel", set("channel", "SMS"), 400, "invalid_request"},
		{"fail/three digits", set("binding_message", "042"), 400, "invalid_binding_message"},
		{"fail/words", set("binding_message", "ab"), 400, "invalid_binding_message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := w.ciba()
			c.change(form)
			a := w.ask(form)
			v := a.json(t)
			if a.status != c.status || c.error != "" && v["error"] != c.error {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if c.error == "" && (v["expires_in"] != 120.0 || v["interval"] != 5.0 || v["auth_req_id"] == "") {
				t.Errorf("%v", v)
			}
		})
	}
	t.Run("fail/the channel is broken", func(t *testing.T) {
		control(t, w.Sandbox, "PUT", "/psc/faults", `{"fault":"ciba-channel","count":1}`, 200)
		if a := w.ask(w.ciba()); a.status != 503 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// A login on a device: pending, too fast, accepted, once.
func TestPSCCIBA(t *testing.T) {
	w := startPSC(t)
	w.SetRegistration(PSCRegistration{CIBA: true})
	first := testdata.Personas()[0]
	begin := func() string { w.t.Helper(); return w.ask(w.ciba()).json(t)["auth_req_id"].(string) }
	at := func(d time.Duration) { w.SetOffset(d) }
	expect := func(id, code string) {
		t.Helper()
		if a := w.poll(id); a.json(t)["error"] != code {
			t.Fatalf("%d %s, want %s", a.status, a.body, code)
		}
	}
	t.Run("ok/accepted on the page", func(t *testing.T) {
		defer at(0)
		id := begin()
		expect(id, "slow_down") // at once: the interval is to be waited first
		at(6 * time.Second)
		expect(id, "slow_down") // slow_down added five seconds
		at(30 * time.Second)
		expect(id, "authorization_pending")
		wallet, _ := url.Parse(w.Info().PSC.Authorization)
		device := "https://" + wallet.Host + "/ciba"
		page := string(do(t, w.plain, http.MethodGet, device, "", "").body)
		button := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(page)
		if button == nil || !strings.Contains(page, "<strong>42</strong>") || !strings.Contains(page, first.Name) || strings.Contains(page, id) {
			t.Fatal(page)
		}
		form := url.Values{"id": {button[1]}, "answer": {"approve"}}
		if a := w.post(w.plain, device, form); a.status != 303 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := w.post(w.plain, device, form); a.status != 400 {
			t.Errorf("answered twice: %d", a.status)
		}
		at(60 * time.Second)
		a := w.poll(id)
		v := a.json(t)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		c := pscClaims(t, v["id_token"])
		if c["SubjectNameID"] != first.NationalID || c["authMode"] != "MOBILE" || c["acr"] != "eidas1" || c["nonce"] != nil || v["refresh_token"] == "" {
			t.Errorf("%v", c)
		}
		expect(id, "invalid_grant")
	})
	t.Run("fail/refused, by the control port", func(t *testing.T) {
		defer at(0)
		id := begin()
		control(t, w.Sandbox, "POST", "/psc/ciba", `{"login_hint":"`+first.NationalID+`","binding_message":"42","answer":"deny"}`, 200)
		at(6 * time.Second)
		expect(id, "access_denied")
		expect(id, "invalid_grant")
	})
	t.Run("fail/nobody answers", func(t *testing.T) {
		defer at(0)
		id := begin()
		at(121 * time.Second)
		expect(id, "expired_token")
		control(t, w.Sandbox, "POST", "/psc/ciba", `{"login_hint":"`+first.NationalID+`","binding_message":"42","answer":"approve"}`, 400)
	})
	t.Run("fail/unknown auth_req_id", func(t *testing.T) { expect("x", "invalid_grant") })
	t.Run("ok/answered at once", func(t *testing.T) {
		defer at(0)
		control(t, w.Sandbox, "PUT", "/psc/ciba", `{"auto":"approve","interval":1}`, 200)
		id := begin()
		at(time.Second)
		if a := w.poll(id); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		control(t, w.Sandbox, "PUT", "/psc/ciba", `{"auto":"maybe"}`, 400)
		control(t, w.Sandbox, "DELETE", "/psc/ciba", "", 200)
	})
}

// What each person looks like in userinfo.
func TestPSCPeople(t *testing.T) {
	w := startPSC(t)
	userinfo := func(id string) map[string]any {
		t.Helper()
		who, ok := pscPersonBy(id)
		if !ok {
			t.Fatal("nobody is " + id)
		}
		q := w.request()
		q.Set("login_hint", who.NationalID)
		v := w.post(w.plain, w.Info().PSC.Token, w.redeem(w.code(q))).json(t)
		req, err := http.NewRequest(http.MethodGet, w.Info().PSC.Issuer+"/protocol/openid-connect/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+v["access_token"].(string))
		res, err := w.plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var u map[string]any
		decodeInto(t, body, &u)
		return u
	}
	for id, want := range map[string]struct {
		activities             int // -1: no SubjectRefPro, -2: no exercise
		role, category, leaf   string
		value, origin, section string
	}{
		"dr-liberal":     {1, "10", "C", "codeSecteurDactivite", "SA07", "RPPS", ""},
		"dr-mixte":       {2, "10", "C", "codeModeExercice", "L", "RPPS", ""},
		"ph-officine":    {1, "21", "C", "codeSectionPharmacien", "A", "RPPS", ""},
		"ide-ipa":        {1, "60", "C", "codeSecteurDactivite", "SA04", "RPPS", ""},
		"interne":        {1, "10", "E", "codeRole", "FON-48", "RPPS", ""},
		"aide-soignante": {1, "99", "C", "codeRole", "313", "FINESS", ""},
		"psychologue":    {1, "93", "C", "codeGenreActivite", "GENR01", "RPPS", ""},
		"adeli":          {1, "91", "C", "codeModeExercice", "L", "ADELI", ""},
		"edit":           {1, "10", "C", "codeSecteurDactivite", "SA07", "EDIT", ""},
		"agent":          {-1, "", "", "", "", "SIRET", ""},
		"radie":          {-2, "", "", "", "", "RPPS", ""},
	} {
		t.Run("ok/"+id, func(t *testing.T) {
			u := userinfo(id)
			if got := u["otherIds"].([]any)[0].(map[string]any)["origine"]; got != want.origin {
				t.Errorf("origin %v", got)
			}
			pro, there := u["SubjectRefPro"].(map[string]any)
			if want.activities == -1 {
				if _, role := u["SubjectRole"]; there || role {
					t.Errorf("%v", u)
				}
				return
			}
			exercises := pro["exercices"].([]any)
			if want.activities == -2 {
				if len(exercises) != 0 {
					t.Errorf("%v", exercises)
				}
				return
			}
			e := exercises[0].(map[string]any)
			activities := e["activities"].([]any)
			a := activities[0].(map[string]any)
			role := u["SubjectRole"].([]any)[0].(string)
			if len(activities) != want.activities || e["codeProfession"] != want.role || e["codeCategorieProfessionnelle"] != want.category ||
				a[want.leaf] != want.value || role != want.role+"^"+roleSystem || len(a) != len(pscActivityLeaves) {
				t.Errorf("%v %v", e, role)
			}
		})
	}
	seen := map[string]bool{}
	for _, p := range pscPeople() {
		if seen[p.NationalID] || seen[p.ID] {
			t.Errorf("two people are %s", p.ID)
		}
		seen[p.NationalID], seen[p.ID] = true, true
	}
}

// The clock of Pro Santé Connect alone is moved.
func TestPSCSkew(t *testing.T) {
	w := startPSC(t)
	control(t, w.Sandbox, "PUT", "/psc/clock", `{"offset":"10m"}`, 200)
	if c := pscClaims(t, w.tokens()["id_token"]); c["iat"] != float64(noon.Add(10*time.Minute).Unix()) {
		t.Errorf("iat %v", c["iat"])
	}
	control(t, w.Sandbox, "DELETE", "/psc/clock", "", 200)
	if c := pscClaims(t, w.tokens()["id_token"]); c["iat"] != float64(noon.Unix()) {
		t.Errorf("iat %v", c["iat"])
	}
	control(t, w.Sandbox, "PUT", "/psc/registration", `{"mtls_only":true}`, 200)
	form := w.redeem(w.code(w.request()))
	if a := w.post(w.plain, w.Info().PSC.Token, form); a.status != 401 {
		t.Errorf("a secret in the espace de Confiance: %d", a.status)
	}
	if a := w.post(w.vendor, w.Info().PSC.Token, form); a.status != 200 {
		t.Errorf("a certificate: %d %s", a.status, a.body)
	}
}

// A token of the DMP that was revoked opens nothing, and cnf in hexadecimal is
// refused by a store that was not told to take it.
func TestDMPTokenRevoked(t *testing.T) {
	w := startPSC(t)
	matricule := testdata.Patients()[0].Matricule
	token := func() string {
		t.Helper()
		a := w.post(w.vendor, w.Info().DMP.Token, url.Values{"grant_type": {grantExchange}, "subject_token": {w.tokens()["access_token"].(string)},
			"subject_token_type": {typeAccessToken}, "scope": {"dmp"}})
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a.json(t)["access_token"].(string)
	}
	revoke := strings.TrimSuffix(w.Info().DMP.Token, "/token") + "/revoke"
	good := token()
	if a := w.post(w.plain, revoke, url.Values{"token": {good}}); a.status != 401 {
		t.Errorf("revoked by nobody: %d", a.status)
	}
	machine := client(t, w.Sandbox, w.Info().TLS.MachineCert, w.Info().TLS.MachineKey)
	if a := w.post(machine, revoke, url.Values{"token": {good}}); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	if a := askDMP(t, w.vendor, w.Sandbox, good, matricule); a.status != 200 {
		t.Errorf("revoked by another client: %d", a.status)
	}
	if a := w.post(w.vendor, revoke, url.Values{"token": {good}}); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := askDMP(t, w.vendor, w.Sandbox, good, matricule); a.status != 401 {
		t.Errorf("revoked, and yet %d", a.status)
	}
	control(t, w.Sandbox, "PUT", "/dmp/token", `{"cnf":"hex"}`, 200)
	hex := token()
	if cnf := pscClaims(t, hex)["cnf"].(map[string]any)["x5t#S256"].(string); len(cnf) != 88 {
		t.Errorf("cnf of %d characters", len(cnf))
	}
	if a := askDMP(t, w.vendor, w.Sandbox, hex, matricule); a.status != 401 {
		t.Errorf("cnf in hexadecimal passes: %d", a.status)
	}
	control(t, w.Sandbox, "DELETE", "/dmp/token", "", 200)
}
