//go:build !nosandbox

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCheckPSC(t *testing.T) {
	r := newRehearsal(t)
	secret := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	again := func(c *Config) *PSCClientConfig {
		c.PSC.Clients = append(c.PSC.Clients, c.PSC.Clients[0])
		return &c.PSC.Clients[1]
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // each stands in a problem; empty: none
	}{
		{"ok/a certificate instead of a secret", func(c *Config) {
			c.PSC.ClientSecretFile, c.PSC.Certificate, c.PSC.Key = "", c.DMP.Certificate, c.DMP.Key
		}, nil},
		{"ok/the authorities of the machine", func(c *Config) { c.PSC.CA = "" }, nil},
		{"ok/nobody brings tokens", func(c *Config) { c.PSC.Clients, c.PSC.Proxy = nil, nil }, nil},
		{"ok/the whole subject", func(c *Config) {
			c.PSC.Clients[0].CommonName, c.PSC.Clients[0].Subject = "", "CN=dpi, OU=3990000028, O=CH DES ESSAIS, C=FR"
		}, nil},
		{"fail/a subject that is none", func(c *Config) { c.PSC.Clients[0].CommonName, c.PSC.Clients[0].Subject = "", "dpi" }, []string{"psc.clients[0].subject : DN"}},
		{"fail/a common name in production", func(c *Config) { c.Environment = envProduction }, []string{"psc.clients[0].common_name : à l'IGC-Santé"}},
		{"ok/proxies", func(c *Config) { c.PSC.Proxies = []string{"192.0.2.10/32", "2001:db8::/64"} }, nil},
		{"ok/a line end after the secret", func(c *Config) { c.PSC.ClientSecretFile = secret("abc\r\n", 0o600) }, nil},
		{"ok/another way back", func(c *Config) { c.PSC.RedirectURI = "https://pfi.ch.example/psc/retour" }, nil},
		{"fail/nothing filled in", func(c *Config) { *c.PSC = PSCConfig{}; c.PSC.defaults() },
			[]string{"psc.issuer", "psc.client_id", "psc : indiquez", "psc.redirect_uri", "psc.public_url"}},
		{"fail/simulator in production", func(c *Config) { c.Environment = envProduction; c.PSC.Discovery = c.PSC.Issuer + "/x" },
			[]string{"psc.issuer : adresse d'un simulateur", "psc.discovery : adresse d'un simulateur", "psc.ca : certificat du bac à sable", `"*" est réservé`}},
		{"fail/every service's tokens, outside a sandbox", func(c *Config) { c.Environment = envTest }, []string{`psc.clients[0].psc_clients : "*" est réservé`}},
		{"fail/issuer in clear", func(c *Config) { c.PSC.Issuer = "http://127.0.0.1/auth" }, []string{"psc.issuer : adresse https"}},
		{"fail/no secret", func(c *Config) { c.PSC.ClientSecretFile = "" }, []string{"client_secret_file"}},
		{"fail/secret that is not there", func(c *Config) { c.PSC.ClientSecretFile += "-absent" }, []string{"psc.client_secret_file"}},
		{"fail/secret of all", func(c *Config) { c.PSC.ClientSecretFile = secret("abc", 0o644) }, []string{"chmod 600"}},
		{"fail/empty secret", func(c *Config) { c.PSC.ClientSecretFile = secret("\n", 0o600) }, []string{": vide"}},
		{"fail/endless secret", func(c *Config) { c.PSC.ClientSecretFile = secret(strings.Repeat("x", 5000), 0o600) }, []string{"trop long"}},
		{"fail/secret with what does not show", func(c *Config) { c.PSC.ClientSecretFile = secret("abc\u200b", 0o600) }, []string{"invisible"}},
		{"fail/a server's certificate", func(c *Config) { c.PSC.Certificate, c.PSC.Key = c.Gateway.Certificate, c.Gateway.Key }, []string{"psc.certificate", "clientAuth"}},
		{"fail/way back in clear", func(c *Config) { c.PSC.RedirectURI = "http://pfi.ch.example/callback" }, []string{"psc.redirect_uri : https"}},
		{"fail/way back in clear, in production", func(c *Config) { c.Environment, c.PSC.RedirectURI = envProduction, "http://127.0.0.1/callback" }, []string{"psc.redirect_uri : https"}},
		{"fail/way back with a query", func(c *Config) { c.PSC.RedirectURI += "?a=b" }, []string{"psc.redirect_uri"}},
		{"fail/way back to the root", func(c *Config) { c.PSC.RedirectURI = "https://pfi.ch.example/" }, []string{"psc.redirect_uri : chemin"}},
		{"fail/way back over a door of ours", func(c *Config) { c.PSC.RedirectURI = "https://pfi.ch.example/login" }, []string{"psc.redirect_uri : chemin"}},
		{"fail/way back that reads as a pattern", func(c *Config) { c.PSC.RedirectURI = "https://pfi.ch.example/{x}" }, []string{"psc.redirect_uri : chemin"}},
		{"fail/public address with a path", func(c *Config) { c.PSC.PublicURL += "/fhir" }, []string{"psc.public_url"}},
		{"fail/software without a certificate", func(c *Config) { c.PSC.Clients[0].CommonName = "" }, []string{"psc.clients[0] : désignez"}},
		{"fail/software with a name and a certificate", func(c *Config) { c.PSC.Clients[0].Thumbprints = []string{strings.Repeat("A", 43)} }, []string{"psc.clients[0] : désignez"}},
		{"fail/thumbprint in hexadecimal", func(c *Config) {
			c.PSC.Clients[0].CommonName, c.PSC.Clients[0].Thumbprints = "", []string{strings.Repeat("a0", 32)}
		}, []string{"thumbprints[0] : empreinte"}},
		{"fail/certificate that is not there", func(c *Config) {
			c.PSC.Clients[0].CommonName, c.PSC.Clients[0].Certificates = "", []string{"/absent.pem"}
		}, []string{"psc.clients[0].certificates[0]"}},
		{"fail/one name, two clients", func(c *Config) { again(c).ID = "autre" }, []string{"psc.clients[1].common_name : déjà pris"}},
		{"fail/one id, two clients", func(c *Config) { again(c).CommonName = "autre" }, []string{"psc.clients[1].id : déjà pris"}},
		{"fail/one certificate, two clients", func(c *Config) {
			for _, one := range []*PSCClientConfig{again(c), &c.PSC.Clients[0]} {
				one.CommonName, one.Certificates = "", []string{r.w.info.TLS.ClientCert}
			}
			c.PSC.Clients[1].ID = "autre"
		}, []string{"psc.clients[1].certificates[0] : déjà pris"}},
		{"fail/nobody's tokens", func(c *Config) { c.PSC.Clients[0].PSCClients = nil }, []string{"psc.clients[0].psc_clients : indiquez"}},
		{"fail/lives", func(c *Config) { c.PSC.TokenLife, c.PSC.Idle, c.PSC.Session = 5*time.Hour, 31*time.Minute, time.Second },
			[]string{"psc.token_life", "psc.idle", "psc.session"}},
		{"fail/proxies", func(c *Config) { c.PSC.Proxies = []string{"192.0.2.10"} }, []string{"psc.proxies"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadConfig(r.config)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&c)
			got := strings.Join(c.problems(time.Now()), "\n")
			if len(tt.want) == 0 && got != "" {
				t.Errorf("problems:\n%s", got)
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("nothing about %q in:\n%s", w, got)
				}
			}
		})
	}
}

// No secret stands in a configuration, not even the sandbox's.
func TestSecretStaysInItsFile(t *testing.T) {
	r := newRehearsal(t)
	data, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	if secret := r.w.info.PSC.ClientSecret; secret == "" || strings.Contains(string(data), secret) {
		t.Error("the secret of Pro Santé Connect is in gateway.yaml")
	}
}

// The commented section of the written configuration, without its comments, is
// a section: nothing is wrong with it but the files that a newcomer lacks.
func TestInitPSC(t *testing.T) {
	lines := strings.Split(string(initYAML), "\n")
	setting, inside := regexp.MustCompile(`^# ( *(- )?[a-z_]+:.*)$`), false
	found := 0
	for i, line := range lines {
		inside = inside && strings.HasPrefix(line, "#") || line == "# psc:"
		if m := setting.FindStringSubmatch(line); inside && (m != nil || line == "# psc:") {
			lines[i] = strings.TrimPrefix(line, "# ")
			found++
		}
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.PSC == nil || found < 15 || !*c.PSC.DMPExchange || c.PSC.PublicURL != "https://passerelle.exemple.fr" {
		t.Fatalf("%d settings: %+v", found, c.PSC)
	}
	for _, problem := range c.problems(time.Now()) {
		if strings.HasPrefix(problem, "psc") && !strings.Contains(problem, "fichier ou dossier introuvable") {
			t.Error(problem)
		}
	}
}
