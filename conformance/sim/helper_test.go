package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// clock stands at noon, but certificates are checked by it and by the real one.
func clock() time.Time { return noon }

func startIn(t *testing.T, dir string) *Sandbox {
	t.Helper()
	s, err := Start(context.Background(), Config{Dir: dir, Clock: clock, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func start(t *testing.T) *Sandbox { t.Helper(); return startIn(t, t.TempDir()) }

// client is an HTTP client of the sandbox that presents a certificate, or none.
func client(t *testing.T, s *Sandbox, cert, key string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.Info().TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	cfg := &tls.Config{RootCAs: pool, Time: clock}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func gatewayClient(t *testing.T, s *Sandbox) *http.Client {
	return client(t, s, s.Files().DMPCert, s.Files().DMPKey)
}

// answered is what an HTTP exchange gave.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (a answered) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, a.body)
	}
	return v
}

func do(t *testing.T, c *http.Client, method, target, contentType, body string) answered {
	t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, b}
}

// control turns a knob.
func control(t *testing.T, s *Sandbox, method, path, body string, want int) answered {
	t.Helper()
	a := do(t, http.DefaultClient, method, s.Info().Control+path, "application/json", body)
	if a.status != want {
		t.Fatalf("%s %s answers %d, want %d: %s", method, path, a.status, want, a.body)
	}
	if !bytes.Contains(a.body, []byte("Bac à sable")) {
		t.Errorf("%s %s does not say that it is a sandbox: %s", method, path, a.body)
	}
	return a
}

func token(t *testing.T, s *Sandbox, c *http.Client, form url.Values) answered {
	t.Helper()
	return do(t, c, http.MethodPost, s.Info().DMP.Token, "application/x-www-form-urlencoded", form.Encode())
}

func indirectForm(s *Sandbox) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {s.Files().DMPClientID}, "scope": {"dmp"},
		"mode": {"indirecte"}, "finess": {"990000028"}, "sender": {"819990000028"}}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func decodeInto(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// askDMP searches the documents of a person in a professional's name.
func askDMP(t *testing.T, c *http.Client, s *Sandbox, bearer, matricule string) answered {
	t.Helper()
	form := url.Values{"patient.identifier": {"urn:oid:1.2.250.1.213.1.4.10|" + matricule}}
	req, err := http.NewRequest(http.MethodPost, s.Info().DMP.FHIR+"/DocumentReference/_search", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, b}
}
