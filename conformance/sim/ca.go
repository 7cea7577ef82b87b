package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Marker is the organization of every certificate of a sandbox. A production
// configuration that meets it is refused.
const Marker = "Passerelle bac à sable — ne jamais utiliser en production"

// The roles that certificates of a sandbox play: one role each.
const (
	roleDMPServer     = "dmp-server"
	roleGatewayServer = "gateway-server"
	roleGatewayDMP    = "gateway-dmp"
	roleClient        = "client"
	roleMachine       = "machine"
	roleINSi          = "insi"
	roleBALApp        = "bal-app"
	roleOperator      = "operator-server"
	roleOperatorRSA   = "operator-server-rsa" // for TLS 1.2, whose suites of the API LPS are RSA
	roleDirectory     = "directory-server"
	rolePSC           = "psc-server"
	roleINSiServer    = "insi-server"
)

// commonNames are the subjects. At the authorization server a client's
// identifier is its common name.
var commonNames = map[string]string{
	roleDMPServer:     "dmp.bac-a-sable",
	roleGatewayServer: "passerelle.bac-a-sable",
	roleGatewayDMP:    "passerelle-dmp",
	roleClient:        "editeur-essai",
	roleMachine:       "machine-ch-essais",
	roleINSi:          "INSI-AUTO", // imposed by the teleservice
	roleBALApp:        "bal-app-ch-essais",
	roleOperator:      "operateur.bac-a-sable",
	roleDirectory:     "annuaire.bac-a-sable",
	rolePSC:           "psc.bac-a-sable",
	roleINSiServer:    "insi.bac-a-sable",
}

// authority is the throw-away CA of one folder.
type authority struct {
	dir  string
	rand io.Reader
	now  time.Time
	cert *x509.Certificate
	key  crypto.Signer
	crl  string // where the certificates of the operator say that revocations are listed
}

// openAuthority reads the CA of a folder, or makes one.
func openAuthority(dir string, random io.Reader, now time.Time) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sim: folder of certificates: %w", err)
	}
	a := &authority{dir: dir, rand: &oneAtATime{r: random}, now: now}
	cert, key, err := readPair(a.certPath("ca"), a.keyPath("ca"))
	if err == nil && now.Before(cert.NotAfter) {
		a.cert, a.key = cert, key
		return a, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), a.rand)
	if err != nil {
		return nil, fmt.Errorf("sim: key of the CA: %w", err)
	}
	t := a.template("AC du bac à sable", 10*365)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	a.cert = t
	a.cert, err = a.sign(t, a.key, "ca")
	return a, err
}

func (a *authority) certPath(role string) string { return filepath.Join(a.dir, role+".pem") }
func (a *authority) keyPath(role string) string  { return filepath.Join(a.dir, role+".key") }

func (a *authority) template(cn string, days int) *x509.Certificate {
	serial, err := rand.Int(a.rand, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		serial = big.NewInt(a.now.UnixNano())
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cn, Organization: []string{Marker}, Country: []string{"FR"}},
		// Well before now, so that machines whose clocks differ, and tests
		// whose clock stands still, agree that the certificate is valid.
		NotBefore: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  a.now.AddDate(0, 0, days),
	}
}

func (a *authority) sign(t *x509.Certificate, key crypto.Signer, role string) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(a.rand, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sim: certificate %s: %w", role, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("sim: key %s: %w", role, err)
	}
	if err := writeFile(a.keyPath(role), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(a.certPath(role), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// leaf reads the certificate of a role, or makes it when it is absent, not
// signed by this CA, or about to expire.
func (a *authority) leaf(role string) (tls.Certificate, error) {
	cn, revocations := commonNames[role], []string(nil)
	switch role {
	case roleOperatorRSA:
		cn = commonNames[roleOperator]
		fallthrough
	case roleOperator:
		revocations = []string{a.crl}
	}
	cert, key, err := readPair(a.certPath(role), a.keyPath(role))
	if err == nil && cert.CheckSignatureFrom(a.cert) == nil && a.now.AddDate(0, 0, 30).Before(cert.NotAfter) &&
		slices.Equal(cert.CRLDistributionPoints, revocations) {
		return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
	}
	if role == roleOperatorRSA {
		key, err = rsa.GenerateKey(a.rand, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), a.rand)
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sim: key %s: %w", role, err)
	}
	t := a.template(cn, 365)
	t.KeyUsage, t.CRLDistributionPoints = x509.KeyUsageDigitalSignature, revocations
	switch role {
	case roleINSiServer, rolePSC, roleDMPServer, roleGatewayServer, roleOperator, roleOperatorRSA, roleDirectory:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		t.DNSNames = []string{"localhost"}
	case roleINSi:
		// INSi knows a house by the OU of its certificate.
		t.Subject.OrganizationalUnit = insiOU()
		fallthrough
	default:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	cert, err = a.sign(t, key, role)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// leaves reads or makes the certificates of all roles, together: each one waits
// for the disk.
func (a *authority) leaves() (map[string]tls.Certificate, error) {
	out := map[string]tls.Certificate{}
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	for role := range commonNames {
		all.Go(func() {
			pair, err := a.leaf(role)
			mu.Lock()
			defer mu.Unlock()
			out[role], failed = pair, errors.Join(failed, err)
		})
	}
	all.Wait()
	return out, failed
}

// oneAtATime lets several goroutines read one source of chance.
type oneAtATime struct {
	mu sync.Mutex
	r  io.Reader
}

func (o *oneAtATime) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.r.Read(p)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func readPair(certPath, keyPath string) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return nil, nil, fmt.Errorf("sim: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("sim: %s cannot sign", keyPath)
	}
	return pair.Leaf, key, nil
}

// writeFile replaces a file in one step; a crash leaves the old or the new one.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	return nil
}
