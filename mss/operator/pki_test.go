package operator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
)

// authority is a throw-away CA.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, 1}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// leafKey is RSA, as the suites of the API LPS want it; made once.
var leafKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func (a *authority) issue(name string, until time.Time) tls.Certificate {
	a.t.Helper()
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &leafKey().PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey()}
}

const operatorName = "op.mssante.test"

// world is a CA, the certificates of both sides, and the door between them.
type world struct {
	ca     *authority
	server *tls.Config // of the operator: a client certificate is required
	door   Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ca := newAuthority(t, "test CA")
	later := time.Now().Add(time.Hour)
	return &world{
		ca: ca,
		server: &tls.Config{
			Certificates: []tls.Certificate{ca.issue(operatorName, later)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
		},
		door: Server{Name: operatorName, Roots: ca.pool(), Client: ca.issue("passerelle", later), Timeout: time.Minute},
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func address(s string) mss.Address {
	a, err := mss.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e interface{ FaultCode() string }
	if !errors.As(err, &e) || e.FaultCode() != code {
		t.Fatalf("got %v (cause %v), want %s", err, errors.Unwrap(err), code)
	}
}
