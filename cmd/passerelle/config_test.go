//go:build !nosandbox

package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
)

func TestCheck(t *testing.T) {
	r := newRehearsal(t)
	now := time.Now()
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // each stands in a problem; empty: none
	}{
		{"ok/as the sandbox writes it", func(*Config) {}, nil},
		{"fail/no environment", func(c *Config) { c.Environment = "" }, []string{"environment"}},
		{"fail/sandbox certificates and addresses in production", func(c *Config) { c.Environment = envProduction },
			[]string{"gateway.certificate : certificat du bac à sable", "gateway.client_ca : certificat du bac à sable", "dmp.certificate : certificat du bac à sable", "dmp.fhir : adresse d'un simulateur", "dmp.token : adresse d'un simulateur"}},
		{"fail/everything at once", func(c *Config) { *c = Config{}; c.defaults() },
			[]string{"environment", "data", "gateway.http", "gateway.https", "gateway.certificate", "gateway.client_ca", "establishments", "dmp.fhir", "dmp.token", "dmp.certificate", "dmp.ca"}},
		{"fail/health in the open", func(c *Config) { c.Gateway.HTTP = "0.0.0.0:8080" }, []string{"gateway.http"}},
		{"fail/FINESS", func(c *Config) { c.Establishments[0].FINESSGeo = "12" }, []string{"finess_geo"}},
		{"fail/two sites with one number", func(c *Config) { c.Establishments = append(c.Establishments, c.Establishments[0]) }, []string{"déjà déclaré"}},
		{"fail/client certificate as server", func(c *Config) { c.Gateway.Certificate, c.Gateway.Key = c.DMP.Certificate, c.DMP.Key }, []string{"serverAuth"}},
		{"fail/server certificate as client", func(c *Config) { c.DMP.Certificate, c.DMP.Key = c.Gateway.Certificate, c.Gateway.Key }, []string{"clientAuth"}},
		{"fail/key of another certificate", func(c *Config) { c.DMP.Key = c.Gateway.Key }, []string{"dmp.certificate"}},
		{"fail/DMP in clear", func(c *Config) { c.DMP.FHIR = "http://127.0.0.1/fhir" }, []string{"dmp.fhir : adresse https"}},
		{"fail/port of an undeclared site", func(c *Config) { c.HL7[0].Establishments = []string{"990000099"} }, []string{"non déclaré"}},
		{"fail/words", func(c *Config) { c.Accept.CDA, c.Accept.PDFA, c.HL7[0].Matrix = "x", "y", "z" }, []string{"accept.cda", "accept.pdfa", "matrix"}},
		{"fail/durations that nothing would obey", func(c *Config) {
			c.DMP.Timeout, c.Delivery.AckTimeout, c.Delivery.GiveUp, c.Storage.ReserveMiB = -1, -1, -1, -1
		},
			[]string{"dmp.timeout", "delivery.ack_timeout", "delivery.give_up", "storage.reserve_mib"}},
		{"fail/one sender, two establishments", func(c *Config) {
			e := c.Establishments[0]
			e.FINESSGeo = "990000044"
			c.Establishments = append(c.Establishments, e)
		}, []string{"deux établissements"}},
		{"fail/a sender without a name", func(c *Config) { c.Establishments[0].Senders = []SenderConfig{{}} }, []string{"senders[0]"}},
		{"fail/port", func(c *Config) { c.HL7[0].Listen = "127.0.0.1:99999" }, []string{"hl7[0].listen"}},
		{"fail/one port, two doors", func(c *Config) { c.HL7[0].Listen = c.Gateway.HTTPS }, []string{"même adresse"}},
		{"ok/without identities", func(c *Config) { c.Storage.KeyFile, c.INSi = "", nil }, nil},
		{"fail/no key file there", func(c *Config) { c.Storage.KeyFile = "/nowhere/identites.key" }, []string{"storage.key_file"}},
		{"fail/key file readable by others", func(c *Config) { c.Storage.KeyFile = keyFile(t, strings.Repeat("0f1e", 16), 0o644) }, []string{"storage.key_file", "chmod 600"}},
		{"fail/short key", func(c *Config) { c.Storage.KeyFile = keyFile(t, "0f1e", 0o600) }, []string{"storage.key_file", "openssl rand"}},
		{"fail/no table of places", func(c *Config) { c.Places = "/nowhere/cog.gz" }, []string{"places", "passerelle ins places"}},
		{"fail/trusted ADT without key file", func(c *Config) {
			c.Storage.KeyFile = ""
			yes := true
			c.Establishments[0].TrustADT = &yes
		}, []string{"trust_adt", "storage.key_file"}},
		{"fail/no HL7 port", func(c *Config) { c.HL7 = nil }, []string{"hl7 :"}},
		{"ok/webhook in clear in the sandbox", func(c *Config) {
			c.Establishments[0].Webhook = &WebhookConfig{URL: "http://dpi.exemple.fr/", SecretFile: secretOf(t, 32)}
		}, nil},
		{"fail/webhook in clear", func(c *Config) {
			c.Environment = envTest
			c.Establishments[0].Webhook = &WebhookConfig{URL: "http://dpi.exemple.fr/", SecretFile: secretOf(t, 32)}
		}, []string{"webhook.url : https://"}},
		{"fail/webhook without a secret", func(c *Config) {
			c.Establishments[0].Webhook = &WebhookConfig{URL: "https://moi:motdepasse@dpi.exemple.fr/"}
		}, []string{"webhook.url", "webhook : indiquez le secret"}},
		{"fail/webhook with a short secret", func(c *Config) {
			c.Establishments[0].Webhook = &WebhookConfig{URL: "https://dpi.exemple.fr/", SecretFile: secretOf(t, 31), CA: "absent.pem"}
		}, []string{"trop court", "webhook.ca"}},
		{"fail/webhook whose variable is empty", func(c *Config) {
			c.Establishments[0].Webhook = &WebhookConfig{URL: "https://dpi.exemple.fr/", SecretEnv: "PASSERELLE_TEST_ABSENTE"}
		}, []string{"trop court"}},
		// Found by the audit of issue 3, 2026-11-22: the sandbox itself was so.
		{"fail/answers go to the machine's own mailbox", func(c *Config) { c.MSS.ReplyTo = strings.ToUpper(c.MSS.Mailbox) }, []string{"mss.reply_to : boîte personnelle"}},
		{"fail/directory in clear, without its key", func(c *Config) {
			c.MSS.Directory = &DirectoryConfig{URL: "http://annuaire.exemple.fr?a=b", KeyFile: "absent", CA: "absent.pem"}
		}, []string{"mss.directory.url : adresse https", "sans paramètre", "mss.directory.key_file", "mss.directory.ca"}},
		{"fail/a certificate that INSi does not take", func(c *Config) { c.INSi.Certificate, c.INSi.Key = c.DMP.Certificate, c.DMP.Key }, []string{"insi.certificate : Le certificat présenté à l'INSi", "CN est exactement INSI-AUTO"}},
		{"fail/INSi", func(c *Config) {
			c.INSi.URL, c.INSi.Software, c.INSi.Timeout, c.INSi.Attempts, c.INSi.Verification = "http://127.0.0.1/lps", INSiSoftwareConfig{Instance: "1"}, time.Hour, 99, "maybe"
		}, []string{"insi.url", "insi.software.authorisation", "insi.software.instance", "insi.timeout", "insi.attempts", "insi.verification"}},
		{"fail/INSi without a key file for its traces", func(c *Config) { c.Storage.KeyFile = "" }, []string{"insi : les appels doivent être tracés"}},
		{"fail/no key file", func(c *Config) { c.Storage.KeyFile += ".none" }, []string{"storage.key_file"}},
		{"fail/opposition", func(c *Config) { c.Accept.Opposition = "refuse" }, []string{"accept.opposition"}},
		{"fail/time zone", func(c *Config) { c.Accept.Zone = "Lune/Mer" }, []string{"accept.zone"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadConfig(r.config)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&c)
			got := strings.Join(c.problems(now), "\n")
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
	t.Run("fail/expired", func(t *testing.T) {
		c, err := loadConfig(r.config)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.problems(now.AddDate(20, 0, 0)), "\n"); !strings.Contains(got, "expiré") {
			t.Errorf("%s", got)
		}
	})
}

// The commented configuration must read as one, and nothing in it be wrong but
// the certificates that a newcomer does not have yet.
func TestInitThenCheck(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	file := filepath.Join(dir, "gateway.yaml")
	if code := run(t.Context(), []string{"init", file}, &out, &out); code != 0 {
		t.Fatalf("init: %d\n%s", code, &out)
	}
	if code := run(t.Context(), []string{"init", file}, &out, &out); code != exitUsage {
		t.Errorf("init over an existing file: %d", code)
	}
	out.Reset()
	if code := run(t.Context(), []string{"check", "--config", file}, &out, &out); code != exitWrong {
		t.Errorf("check: %d", code)
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		if !strings.Contains(line, "certificat") {
			t.Errorf("the commented configuration is wrong beyond its certificates: %s", line)
		}
	}
}

// A commented section, once uncommented, reads as one.
func TestInitSections(t *testing.T) {
	for _, name := range []string{"mss", "insi"} {
		t.Run("ok/"+name, func(t *testing.T) {
			text := string(initYAML)
			from := strings.Index(text, "# "+name+":\n")
			to := from + strings.Index(text[from:], "\n\n")
			section := strings.ReplaceAll("\n"+text[from:to], "\n# ", "\n")
			file := filepath.Join(t.TempDir(), "gateway.yaml")
			if err := os.WriteFile(file, []byte(text[:from]+section+text[to:]), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := loadConfig(file)
			if err != nil {
				t.Fatal(err)
			}
			if (c.MSS != nil) != (name == "mss") || (c.INSi != nil) != (name == "insi") {
				t.Fatal("the section is not read")
			}
			for _, p := range c.problems(time.Now()) {
				if strings.HasPrefix(p, name) && !strings.Contains(p, "certificat") && !strings.Contains(p, "fichier ou dossier introuvable") && !strings.Contains(p, "storage.key_file") {
					t.Error(p)
				}
			}
		})
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("environnement: test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"ok/help", []string{"--help"}, 0, "sandbox"},
		{"fail/no command", nil, exitUsage, "passerelle"},
		{"fail/unknown command", []string{"fly"}, exitUsage, "fly"},
		{"fail/no file", []string{"check", "--config", filepath.Join(dir, "none.yaml")}, exitUsage, "none.yaml"},
		{"fail/misspelt setting", []string{"check", "--config", bad}, exitWrong, "environnement"},
		{"fail/serve refuses what check refuses", []string{"serve", "--config", bad}, exitWrong, "environnement"},
		{"fail/demo without gateway", []string{"sandbox", "--demo", "--no-gateway"}, exitUsage, "--no-gateway"},
		{"fail/once without demo", []string{"sandbox", "--once"}, exitUsage, "--demo"},
		{"fail/port", []string{"sandbox", "--base-port", "80"}, exitUsage, "--base-port"},
		{"fail/token without a sandbox", []string{"token", "--info", filepath.Join(dir, "none.json"), "--as", "x"}, exitUsage, "none.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), tt.args, &out, &out); code != tt.code {
				t.Errorf("exit %d, want %d\n%s", code, tt.code, &out)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("nothing about %q in:\n%s", tt.says, &out)
			}
		})
	}
}

// The mark that production refuses is the one that the sandbox's CA writes.
func TestSandboxMark(t *testing.T) {
	if !strings.HasPrefix(sim.Marker, sandboxMark) {
		t.Errorf("%q does not begin with %q", sim.Marker, sandboxMark)
	}
}

// The same data folder serves one process at a time.
func TestOneProcessPerFolder(t *testing.T) {
	r := newRoute(t, nil)
	second := &Main{Config: r.m.Config, Clock: time.Now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	err := second.Start(t.Context())
	if err == nil {
		_ = second.Close(t.Context())
		t.Fatal("two gateways on one journal")
	}
	if !strings.Contains(err.Error(), "GW-JOURNAL-LOCKED") {
		t.Errorf("%v", err)
	}
}

// secretOf writes a secret of so many characters.
func secretOf(t *testing.T, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", n)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
