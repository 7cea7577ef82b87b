package sim

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificates(t *testing.T) {
	s := start(t)
	i, f := s.Info().TLS, s.Files()
	roots := x509.NewCertPool()
	roots.AddCert(readCert(t, i.CA))
	seen := map[string]string{}
	for _, c := range []struct {
		name, cert, key, cn string
		server              bool
	}{
		{"ok/gateway server", f.ServerCert, f.ServerKey, "passerelle.bac-a-sable", true},
		{"ok/gateway at the DMP", f.DMPCert, f.DMPKey, "passerelle-dmp", false},
		{"ok/client", i.ClientCert, i.ClientKey, "editeur-essai", false},
		{"ok/machine", i.MachineCert, i.MachineKey, "machine-ch-essais", false},
		{"ok/insi", i.INSiCert, i.INSiKey, "INSI-AUTO", false},
		{"ok/bal app", i.BALAppCert, i.BALAppKey, "bal-app-ch-essais", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cert := readCert(t, c.cert)
			if cert.Subject.CommonName != c.cn {
				t.Errorf("CN is %s, want %s", cert.Subject.CommonName, c.cn)
			}
			if other := seen[string(cert.RawSubjectPublicKeyInfo)]; other != "" {
				t.Errorf("plays the role of %s too", other)
			}
			seen[string(cert.RawSubjectPublicKeyInfo)] = c.name
			if !slices.Contains(cert.Issuer.Organization, Marker) && !slices.Contains(cert.Subject.Organization, Marker) {
				t.Error("does not carry the marker")
			}
			right, wrong := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
			if c.server {
				right, wrong = wrong, right
				for _, name := range []string{"127.0.0.1", "localhost"} {
					if err := cert.VerifyHostname(name); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{right}}); err != nil {
				t.Error(err)
			}
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{wrong}}); err == nil {
				t.Error("can play the other side too")
			}
			st, err := os.Stat(c.key)
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != 0o600 {
				t.Errorf("key is %v", st.Mode())
			}
		})
	}
}

func TestAuthority(t *testing.T) {
	t.Run("ok/kept", func(t *testing.T) {
		dir := t.TempDir()
		a, err := openAuthority(dir, rand.Reader, noon)
		if err != nil {
			t.Fatal(err)
		}
		l1, err := a.leaf(roleClient)
		if err != nil {
			t.Fatal(err)
		}
		b, err := openAuthority(dir, rand.Reader, noon)
		if err != nil {
			t.Fatal(err)
		}
		l2, err := b.leaf(roleClient)
		if err != nil {
			t.Fatal(err)
		}
		if !a.cert.Equal(b.cert) || !l1.Leaf.Equal(l2.Leaf) {
			t.Error("opened again, it is another one")
		}
		soon := noon.AddDate(0, 0, 350)
		c, err := openAuthority(dir, rand.Reader, soon)
		if err != nil {
			t.Fatal(err)
		}
		l3, err := c.leaf(roleClient)
		if err != nil {
			t.Fatal(err)
		}
		if l3.Leaf.Equal(l1.Leaf) || !l3.Leaf.NotAfter.After(soon) {
			t.Error("about to expire, it is not renewed")
		}
	})
	t.Run("fail/damaged", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"ca.pem", "ca.key"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("nothing"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openAuthority(dir, rand.Reader, noon); err == nil {
			t.Error("a damaged authority is silently replaced")
		}
	})
}
