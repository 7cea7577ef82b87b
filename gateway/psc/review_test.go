package psc_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Found on review: the four hours were counted from the exchange, or from the
// login here, so that who came with a session of PSC that had begun earlier was
// let in for longer than PSC itself would (EXI RIE-PS 13).
func TestNothingOutlivesPSC(t *testing.T) {
	t.Run("ok/a token", func(t *testing.T) {
		w := build(t, options{life: 4 * time.Hour, noDMP: true})
		first := w.pscToken(doctor.NationalID)
		w.advance(20 * time.Minute)
		a := w.post(w.http(software), w.issuer+"/protocol/openid-connect/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {software},
			"refresh_token": {first["refresh_token"].(string)}})
		a = w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(decoded(t, a.body)["access_token"].(string)))
		if got := decoded(t, a.body)["expires_in"]; a.status != 200 || got != float64(4*3600-20*60) {
			t.Errorf("%d, expires_in %v", a.status, got)
		}
	})
	t.Run("ok/a session", func(t *testing.T) {
		w := build(t, options{})
		b := w.browser()
		back := w.toPSC(b, "/apres", doctor.NationalID)
		w.advance(50 * time.Second) // between the proof at PSC and the session here
		if a := w.get(b, back.String()); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for range 8 {
			w.advance(29*time.Minute + 30*time.Second)
			w.get(b, w.gateway.URL+"/me")
		}
		p, _, _ := who(t, w.get(b, w.gateway.URL+"/me"))
		if end := p.At.Add(4 * time.Hour); !p.Expires.Equal(end) || !p.At.Equal(noon) {
			t.Errorf("ends at %v, want %v", p.Expires, end)
		}
	})
}

// Found on review: under a national authority the common name is free text, and
// another structure may hold a certificate with the same. The whole subject can
// be asked for.
func TestWholeSubject(t *testing.T) {
	w := build(t, options{})
	subject := w.pscToken(doctor.NationalID)["access_token"].(string)
	logger := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		subject string
		status  int
	}{
		"ok/the same":             {"CN=" + software, 200},
		"fail/more than it has":   {"CN=" + software + ",OU=3999", 401},
		"fail/another":            {"CN=autre", 401},
		"fail/same, in lowercase": {"CN=EDITEUR-ESSAI", 401},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := psc.NewServer(psc.ServerConfig{Issuer: w.gateway.URL, Client: w.client, Keys: w.keys, Store: psc.NewMemoryStore(10), Logger: logger,
				Clients: []psc.RegisteredClient{{ID: software, Subject: c.subject, PSCClients: []string{software}}}})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			s.Register(mux)
			server := w.serve(w.certificate("serveur", true), mux)
			if a := w.post(w.http(software), server.URL+"/oauth/token", exchangeForm(subject)); a.status != c.status {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	for name, c := range map[string]psc.RegisteredClient{
		"fail/two ways":   {ID: "x", Subject: "CN=a", CommonName: "a", PSCClients: []string{"x"}},
		"fail/no way":     {ID: "x", PSCClients: []string{"x"}},
		"fail/not a name": {ID: "x", Subject: "CN", PSCClients: []string{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := psc.NewServer(psc.ServerConfig{Issuer: w.gateway.URL, Client: w.client, Keys: w.keys, Store: psc.NewMemoryStore(10), Logger: logger,
				Clients: []psc.RegisteredClient{c}})
			if err == nil {
				t.Error("taken")
			}
		})
	}
}
