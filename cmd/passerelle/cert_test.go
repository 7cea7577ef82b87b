package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certFolder is a folder of certificates, as a site may hold them.
type certFolder struct {
	t      *testing.T
	dir    string
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newCertFolder(t *testing.T) *certFolder {
	t.Helper()
	f := &certFolder{t: t, dir: t.TempDir()}
	f.key = f.newKey()
	f.ca = f.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "AC essai"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, f.key)
	f.write("ca.pem", "CERTIFICATE", f.ca.Raw)
	return f
}

func (f *certFolder) newKey() *ecdsa.PrivateKey {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

// sign fills what a template leaves out and signs it; the first signs itself.
func (f *certFolder) sign(c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	f.t.Helper()
	f.serial++
	c.SerialNumber = big.NewInt(f.serial)
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(365*24*time.Hour)
	}
	parent := f.ca
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return cert
}

func (f *certFolder) write(name, kind string, der []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// pair writes a certificate and its key.
func (f *certFolder) pair(name string, c *x509.Certificate) *x509.Certificate {
	f.t.Helper()
	key := f.newKey()
	cert := f.sign(c, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name+".pem", "CERTIFICATE", cert.Raw)
	f.write(name+".key", "PRIVATE KEY", der)
	return cert
}

// crl writes the list of the authority.
func (f *certFolder) crl(name string, next time.Time, revoked ...*x509.Certificate) {
	f.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: next.Add(-48 * time.Hour), NextUpdate: next}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, f.ca, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, "X509 CRL", der)
}

func TestCertCheck(t *testing.T) {
	f := newCertFolder(t)
	client := func(cn string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: cn}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	dated := func(c *x509.Certificate, from, until time.Duration) *x509.Certificate {
		c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(until)
		return c
	}
	const day = 24 * time.Hour
	bal := f.pair("bal", client("bal-app"))
	f.pair("serveur", &x509.Certificate{Subject: pkix.Name{CommonName: "passerelle"}, DNSNames: []string{"passerelle.ch.test"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	auto := client("INSI-AUTO")
	auto.Subject.OrganizationalUnit = []string{"1990000010"}
	f.pair("insi", auto)
	f.pair("manu", client("INSI-MANU"))
	f.pair("vieux", dated(client("vieux"), -9*day, -time.Hour))
	f.pair("futur", dated(client("futur"), day, 300*day))
	f.pair("bientot", dated(client("bientôt"), -day, 10*day+time.Hour))
	f.pair("signature", &x509.Certificate{Subject: pkix.Name{CommonName: "s"}, KeyUsage: x509.KeyUsageContentCommitment})
	f.pair("bac", &x509.Certificate{Subject: pkix.Name{CommonName: "b", Organization: []string{sandboxMark}}})
	next := time.Now().Add(day)
	f.crl("vide.crl", next)
	f.crl("revoque.crl", next, bal)
	f.crl("perimee.crl", time.Now().Add(-day))
	f.write("scellee.key", "ENCRYPTED PRIVATE KEY", []byte("x"))
	f.write("cassee.key", "PRIVATE KEY", []byte("secretsecret"))
	f.write("casse.pem", "CERTIFICATE", []byte("x"))
	if err := os.WriteFile(filepath.Join(f.dir, "bal.cer"), bal.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "bal.p12"), []byte("\x30\x82p12"), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadFile(filepath.Join(f.dir, "bal.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "ouverte.key"), open, 0o644); err != nil {
		t.Fatal(err)
	}
	stranger := newCertFolder(t)
	if err := os.Rename(filepath.Join(stranger.dir, "ca.pem"), filepath.Join(f.dir, "autre-ca.pem")); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		args string // names with a dot are files
		code int
		want []string
	}{
		{"ok/client, key, chain, list", "bal.pem bal.key ca.pem vide.crl", 0, []string{"bal.pem : utilisable", "CN=bal-app", "CN=AC essai", "encore 364 jours", "mss.certificate (BAL APP)", "la sienne, ",
			"remonte à une autorité donnée", "non révoqué, selon ", "client_ca, ca : autorités acceptées", "2 certificats, 0 à corriger."}},
		{"ok/certificate alone", "bal.cer", 0, []string{"chaîne non vérifiée", "révocation non vérifiée", "clé privée absente"}},
		{"ok/server", "serveur.pem --for gateway --name passerelle.ch.test", 0, []string{"gateway.certificate, hl7.certificate"}},
		{"ok/INSi", "insi.pem --for insi", 0, []string{"convient à   insi.certificate\n"}},
		{"ok/INSi without OU", "manu.pem --for insi", 0, []string{"convient à   insi.certificate\n", "avertissement INSI-"}},
		{"ok/soon", "bientot.pem", 0, []string{"utilisable, 1 avertissement", "TRUST-CERT-EXPIRING", "encore 10 jours"}},
		{"ok/sandbox", "bac.pem", 0, []string{"refusé en production"}},
		{"ok/key that others can read", "bal.pem ouverte.key", 0, []string{"chmod 600 "}},
		{"ok/English", "bal.pem bal.key ca.pem vide.crl --lang en", 0, []string{"bal.pem : usable", "364 days left", "not revoked, by "}},
		{"fail/expired", "vieux.pem", exitWrong, []string{"TRUST-CERT-EXPIRED", ", expiré\n", "    → "}},
		{"fail/not yet", "futur.pem", exitWrong, []string{"TRUST-CERT-NOT-YET"}},
		{"fail/no usage of ours", "signature.pem", exitWrong, []string{"TRUST-CERT-ROLE", "aucun réglage"}},
		{"fail/client as server", "bal.pem --for gateway", exitWrong, []string{"TRUST-CERT-ROLE"}},
		{"fail/client as INSi", "bal.pem --for insi", exitWrong, []string{"TRUST-CERT-NAME"}},
		{"fail/INSi as client of the DMP", "insi.pem --for dmp", exitWrong, []string{"TRUST-CERT-ROLE"}},
		{"fail/name of the server", "serveur.pem --name autre.ch.test", exitWrong, []string{"TRUST-CERT-NAME"}},
		{"fail/another authority", "bal.pem autre-ca.pem", exitWrong, []string{"TRUST-CERT-AUTHORITY"}},
		{"fail/another key", "bal.pem insi.key", exitWrong, []string{"TRUST-CERT-KEY", "clé privée absente", "1 certificat, 1 à corriger."}},
		{"fail/key under a password", "bal.pem scellee.key", exitWrong, []string{"TRUST-CERT-KEY-LOCKED", "scellee.key"}},
		{"fail/revoked", "bal.pem ca.pem revoque.crl", exitWrong, []string{"TRUST-REVOKED"}},
		{"fail/list out of date", "bal.pem ca.pem perimee.crl", exitWrong, []string{"TRUST-CRL-STALE"}},
		{"ok/list without its authority", "insi.key insi.pem vide.crl", 0, []string{"l'autorité qui signe la CRL manque"}},
		{"fail/no certificate", "bal.key", exitUsage, []string{"aucun certificat"}},
		{"fail/p12", "bal.p12", exitUsage, []string{"openssl pkcs12"}},
		{"fail/unreadable key", "bal.pem cassee.key", exitUsage, []string{"cassee.key : clé privée illisible"}},
		{"fail/unreadable certificate", "casse.pem", exitUsage, []string{"casse.pem : certificat illisible"}},
		{"fail/absent", "absent.pem", exitUsage, []string{"fichier ou dossier introuvable"}},
		{"fail/use", "bal.pem --for lune", exitUsage, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.args)
			for i, a := range args {
				if strings.Contains(a, ".") && !strings.HasSuffix(a, ".test") {
					args[i] = filepath.Join(f.dir, a)
				}
			}
			code, out, errOut := commandLine(t, append([]string{"cert", "check"}, args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errOut)
			}
			for _, w := range c.want {
				if !strings.Contains(out+errOut, w) {
					t.Errorf("%q is not in\n%s%s", w, out, errOut)
				}
			}
			body, _ := pem.Decode(open)
			for _, secret := range [][]byte{bytes.Split(open, []byte("\n"))[1], body.Bytes, []byte("secretsecret")} {
				if bytes.Contains([]byte(out+errOut), secret) {
					t.Error("a private key is told")
				}
			}
		})
	}

	_, out, _ := commandLine(t, "cert", "check", "--json", filepath.Join(f.dir, "bal.pem"), filepath.Join(f.dir, "bal.key"), filepath.Join(f.dir, "vieux.pem"))
	var r certReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Certificates) != 2 || r.Wrong != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if v := r.Certificates[0]; !v.OK || v.Days != 364 || len(v.Serves) != 4 || v.Key == "" || v.Authority {
		t.Errorf("%+v", v)
	}
}
