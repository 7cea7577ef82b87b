package psc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// apiServer is an API behind the proxy: it keeps what it was asked.
type apiServer struct {
	*httptest.Server
	mu      sync.Mutex
	seen    []asked
	handler http.HandlerFunc
}

type asked struct {
	method, uri, body, cert string
	header                  http.Header
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a caller that leaves is part of the tests
	one := asked{r.Method, r.RequestURI, string(body), "", r.Header.Clone()}
	for _, c := range r.TLS.PeerCertificates {
		one.cert = c.Subject.CommonName
	}
	s.mu.Lock()
	s.seen = append(s.seen, one)
	h := s.handler
	s.mu.Unlock()
	if h != nil {
		h(w, r)
	}
}

func (s *apiServer) answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// take gives what was asked since the last time.
func (s *apiServer) take() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.seen
	s.seen = nil
	return out
}

// registered are the clients of PSC.
func (w *world) registered(ciba bool) []sim.PSCClient {
	own := sim.PSCClient{ID: software, CommonName: software, Secret: w.secret, RedirectURIs: []string{w.callback}, CIBA: ciba}
	if w.secret != "" {
		own.CommonName = ""
	}
	return []sim.PSCClient{own, {ID: other, Secret: "autre-secret", RedirectURIs: []string{"https://autre.example/retour"}}}
}

// wait lets the time of the world pass.
func (w *world) wait(ctx context.Context, d time.Duration) error {
	w.waits = append(w.waits, d)
	w.advance(d)
	if w.onWait != nil {
		w.onWait()
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // a caller that left is noticed
		}
	}
	return ctx.Err()
}

// proxied opens the proxy: two backends, one of them under the rules of a DMP.
func (w *world) proxied(mux *http.ServeMux, server tls.Certificate) {
	w.t.Helper()
	w.api = &apiServer{}
	w.api.Server = w.serve(server, w.api)
	var err error
	if w.tracer, err = psc.OpenTraces(w.t.TempDir(), 365*24*time.Hour); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.tracer.Close(); err != nil {
			w.t.Error(err)
		}
	})
	tokens := &psc.Exchanger{TokenURL: w.dmp.URL + "/token", RevokeURL: w.dmp.URL + "/revoke", ClientID: "passerelle-dmp", HTTP: w.http(software), Clock: w.now}
	p, err := psc.NewProxy(psc.ProxyConfig{Server: w.server, Traces: w, ShowTraces: true, Backends: []psc.Backend{
		{Name: "api", Base: w.api.URL + "/v1", HTTP: w.http(software), Tokens: tokens},
		{Name: "dmp", Base: w.api.URL + "/fhir", HTTP: w.http(software), Tokens: tokens, Allow: psc.ConsultationOnly}}})
	if err != nil {
		w.t.Fatal(err)
	}
	p.Register(mux)
}

// Write is that of psc.Tracer, unless the disk is full.
func (w *world) Write(ctx context.Context, t psc.Trace) error {
	if w.untraceable {
		return errors.New("no space left on device")
	}
	return w.tracer.Write(ctx, t)
}

// Between is that of psc.Tracer.
func (w *world) Between(ctx context.Context, start, end time.Time, most int) ([]psc.Trace, error) {
	return w.tracer.Between(ctx, start, end, most)
}

// traces lists all that were written.
func (w *world) traces(t *testing.T) []psc.Trace {
	t.Helper()
	all, err := w.tracer.Between(context.Background(), noon.Add(-time.Hour), noon.Add(1000*time.Hour), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
