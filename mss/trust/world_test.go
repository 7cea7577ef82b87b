package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// authority is a CA made for one test. Its certificates are valid around any
// clock that the tests use, the real one of the TLS library included.
type authority struct {
	t      testing.TB
	cert   *x509.Certificate
	key    crypto.Signer
	serial int64
}

var (
	begin = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	end   = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t, elliptic.P256())}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert = a.sign(template, template, a.key.Public(), a.key)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// sub makes an authority below this one.
func (a *authority) sub(name string, points ...string) *authority {
	b := &authority{t: a.t, key: newKey(a.t, elliptic.P256())}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.serial), Subject: pkix.Name{CommonName: name}, NotBefore: begin, NotAfter: end, CRLDistributionPoints: points,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	b.cert = a.sign(template, a.cert, b.key.Public(), a.key)
	return b
}

// issue makes a certificate for both ends of a connection on this machine.
func (a *authority) issue(edit func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.serial), Subject: pkix.Name{CommonName: "op.mssante.test"},
		DNSNames: []string{"op.mssante.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: begin, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	key := newKey(a.t, elliptic.P256())
	cert := a.sign(template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// crl signs a list.
func (a *authority) crl(this, next time.Time, edit func(*x509.RevocationList), serials ...*big.Int) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(this.Unix()), ThisUpdate: this, NextUpdate: next}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: this})
	}
	if edit != nil {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// source is a server whose answer a test sets.
type source struct {
	*httptest.Server
	mu       sync.Mutex
	status   int
	body     []byte
	etag     string
	redirect string
	asked    int
	since    []string // If-None-Match, request by request
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.since = append(s.since, r.Header.Get("If-None-Match"))
	if s.redirect != "" {
		http.Redirect(w, r, s.redirect, http.StatusFound)
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
		if r.Header.Get("If-None-Match") == s.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	_, _ = io.Copy(w, bytes.NewReader(s.body))
}

func (s *source) set(status int, body []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body, s.etag = status, body, etag
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newSource(t testing.TB) *source {
	t.Helper()
	s := &source{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func newTLSSource(t testing.TB, a *authority) *source {
	t.Helper()
	s := &source{}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(nil)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// document is a white list.
func document(generated time.Time, domains ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListeBlancheMSSante xmlns=%q><DateDeGeneration>%s</DateDeGeneration><ListeDomaines>", namespace, generated.Format(time.RFC3339))
	for _, d := range domains {
		fmt.Fprintf(&b, "<Domaine><Nom>%s</Nom><Description>é</Description><DNCertificatOperateur>CN=x,C=FR</DNCertificatOperateur><DateMAJ>2026-01-01T00:00:00Z</DateMAJ></Domaine>", d)
	}
	b.WriteString("</ListeDomaines></ListeBlancheMSSante>")
	return []byte(b.String())
}

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.FaultCode()
	}
	if err != nil {
		return "not of this room: " + err.Error()
	}
	return ""
}

func want(t testing.TB, err error, wanted string) {
	t.Helper()
	if got := code(err); got != wanted {
		t.Errorf("%q (%v), want %q", got, err, wanted)
	}
}
