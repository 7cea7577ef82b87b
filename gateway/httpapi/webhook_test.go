package httpapi_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/testdata"
)

const hookSecret = "un-secret-partage-de-trente-deux-caracteres"

// received is one POST as a software gets it.
type received struct {
	header http.Header
	body   []byte
}

// listener is a software that is told.
type listener struct {
	mu  sync.Mutex
	got []received
}

func (l *listener) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, received{r.Header, body})
}

func telling() gateway.Telling {
	p := testdata.Patients()[0]
	house := establishments()[0]
	return gateway.Telling{
		ID: "0197", Submission: gateway.Submission{
			ID: "s-1", Door: "rest", Establishment: house, State: gateway.Pending, Receipt: []byte("reçu"),
			From: gateway.Party{Application: "DPI", Facility: "CH"}, Message: gateway.Message{Type: "POST", ControlID: "k"},
		},
		Events: []gateway.Event{{
			Seq: 7, Submission: "s-1", Time: noon, Step: gateway.EventDSN, Outcome: gateway.OutcomeFailed, Code: "MSS-ADDRESS",
			Destination: gateway.DestinationPat, Recipient: p.Matricule + "@patient.mssante.fr",
		}},
	}
}

func hooks(h httpapi.Hook, now func() time.Time) *httpapi.Webhooks {
	return httpapi.NewWebhooks(map[string]httpapi.Hook{establishments()[0].FINESSGeo: h}, now)
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// What is sent can be proven with the recipe of the README, and names nobody.
func TestWebhookIsSigned(t *testing.T) {
	l := &listener{}
	server := httptest.NewServer(l)
	defer server.Close()
	now := noon
	w := hooks(httpapi.Hook{URL: server.URL + "/ici", Secret: []byte(hookSecret)}, func() time.Time { return now })
	defer w.Close()
	for range 2 {
		must(t, w.Tell(t.Context(), telling()))
		now = now.Add(time.Hour)
	}
	first, second := l.got[0], l.got[1]
	if !bytes.Equal(first.body, second.body) || first.header.Get("Passerelle-Event") != "0197" || second.header.Get("Passerelle-Event") != "0197" {
		t.Errorf("a resend is not the same event:\n%s\n%s", first.body, second.body)
	}
	if first.header.Get("Passerelle-Signature") == second.header.Get("Passerelle-Signature") {
		t.Error("an hour later the signature is the same: a replay cannot be told")
	}
	// By a tool that is not ours, as the README says it.
	sign, v1, ok := strings.Cut(first.header.Get("Passerelle-Signature"), ",v1=")
	stamp := strings.TrimPrefix(sign, "t=")
	if !ok || stamp != "1767614400" {
		t.Fatalf("%s", first.header.Get("Passerelle-Signature"))
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-hmac", hookSecret, "-r")
	cmd.Stdin = io.MultiReader(strings.NewReader(stamp+"."), bytes.NewReader(first.body))
	if out, err := cmd.Output(); err != nil {
		t.Log("openssl is not here: ", err)
	} else if got, _, _ := strings.Cut(string(out), " "); got != v1 {
		t.Errorf("openssl says %s, the header %s", got, v1)
	}

	var told map[string]any
	must(t, json.Unmarshal(first.body, &told))
	api := httptest.NewServer((&httpapi.API{}).Handler())
	defer api.Close()
	d := read(t, &world{t: t, nobody: http.DefaultClient, server: api})
	body := d["webhooks"].(map[string]any)["outcome"].(map[string]any)["post"].(map[string]any)["requestBody"].(map[string]any)
	for _, wrong := range d.check(body["content"].(map[string]any)["application/json"].(map[string]any)["schema"], told, "") {
		t.Error(wrong)
	}
	for _, p := range testdata.Patients() {
		if p.Matricule != "" && bytes.Contains(first.body, []byte(p.Matricule)) {
			t.Errorf("a matricule leaves: %s", first.body)
		}
	}
}

// The bytes that are signed, by openssl:
//
//	{ printf '%s.' 1767614400; printf '{"id":"0197"}'; } | openssl dgst -sha256 -hmac un-secret-partage-de-trente-deux-caracteres -r
func TestWebhookSignature(t *testing.T) {
	got := httpapi.Signature([]byte(hookSecret), noon, []byte(`{"id":"0197"}`))
	want := "t=1767614400,v1=f20fb5aa4a1622f961aff11c22e7549a5e94e556d42f41546515deb17199f025"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWebhookAnswers(t *testing.T) {
	other := &listener{}
	elsewhere := httptest.NewServer(other)
	defer elsewhere.Close()
	tests := []struct {
		name string
		do   http.HandlerFunc
		code string
		ack  string
	}{
		{name: "ok/204", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{name: "ok/an endless answer is not read to its end", do: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}},
		{name: "fail/401", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, code: httpapi.FaultHookRefused, ack: "401"},
		{name: "fail/500", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, code: httpapi.FaultHookRefused, ack: "500"},
		{name: "fail/redirection", do: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, code: httpapi.FaultHookRefused, ack: "307"},
		{name: "fail/cut", do: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, code: httpapi.FaultHookDown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.do)
			defer server.Close()
			w := hooks(httpapi.Hook{URL: server.URL, Secret: []byte(hookSecret)}, at(noon))
			defer w.Close()
			err := w.Tell(t.Context(), telling())
			if tt.code == "" {
				must(t, err)
				return
			}
			f := fault.From(err)
			if f.Code != tt.code || f.Kind != fault.Temporary {
				t.Errorf("%v, want %s", err, tt.code)
			}
			if a, ok := f.Unwrap().(interface{ AckCode() string }); tt.ack != "" && (!ok || a.AckCode() != tt.ack) {
				t.Errorf("what was answered is lost: %v", err)
			}
		})
	}
	if len(other.got) != 0 {
		t.Error("a redirection was followed")
	}
}

// One establishment that is silent is not asked again at once; another one is.
func TestWebhookOfASilentSoftware(t *testing.T) {
	l := &listener{}
	server := httptest.NewServer(l)
	defer server.Close()
	gone := httptest.NewServer(l)
	gone.Close()
	now := noon
	sites := establishments()
	w := httpapi.NewWebhooks(map[string]httpapi.Hook{
		sites[0].FINESSGeo: {URL: gone.URL, Secret: []byte(hookSecret)}, sites[1].FINESSGeo: {URL: server.URL, Secret: []byte(hookSecret)},
	}, func() time.Time { return now })
	defer w.Close()
	asked := func(site gateway.Establishment) (bool, error) {
		one := telling()
		one.Submission.Establishment = site
		err := w.Tell(t.Context(), one)
		return fault.From(err).Unwrap() != nil, err // only who was asked has a cause
	}
	for i, want := range []bool{true, false, true} {
		if got, err := asked(sites[0]); got != want || fault.From(err).Code != httpapi.FaultHookDown {
			t.Errorf("attempt %d: asked %v, %v", i, got, err)
		}
		if i == 1 {
			now = now.Add(time.Minute)
		}
	}
	if _, err := asked(sites[1]); err != nil || len(l.got) != 1 {
		t.Errorf("the other establishment: %v", err)
	}
	if err := httpapi.NewWebhooks(nil, at(noon)).Tell(t.Context(), telling()); fault.From(err).Code != httpapi.FaultHookNone {
		t.Errorf("no webhook any more: %v", err)
	}
}

// The server's certificate is checked.
func TestWebhookOverTLS(t *testing.T) {
	l := &listener{}
	server := httptest.NewUnstartedServer(l)
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	tests := map[string]struct {
		roots *x509.CertPool
		want  string
	}{
		"ok/known authority":     {roots, ""},
		"fail/unknown authority": {x509.NewCertPool(), httpapi.FaultHookDown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := hooks(httpapi.Hook{URL: server.URL, Secret: []byte(hookSecret), TLS: &tls.Config{RootCAs: tt.roots}}, at(noon))
			defer w.Close()
			err := w.Tell(t.Context(), telling())
			if tt.want == "" {
				must(t, err)
			} else if fault.From(err).Code != tt.want {
				t.Errorf("%v", err)
			}
		})
	}
	if len(l.got) != 1 || !slices.Contains(l.got[0].header["Content-Type"], "application/json; charset=utf-8") {
		t.Errorf("%d received", len(l.got))
	}
}
