package sim_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/operator"
	"github.com/passerelle-sante/passerelle/mss/trust"
	"github.com/passerelle-sante/passerelle/testdata"
)

// The gateway's own client, over the operator of the sandbox: a letter leaves,
// its report comes back.
func TestOwnClient(t *testing.T) {
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	ctx := context.Background()
	s, err := sim.Start(ctx, sim.Config{Dir: t.TempDir(), Clock: func() time.Time { return noon }, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info := s.Info()
	pem, err := os.ReadFile(info.TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(info.TLS.BALAppCert, info.TLS.BALAppKey)
	if err != nil {
		t.Fatal(err)
	}
	server := operator.Server{Address: info.Operator.SMTP, Name: "127.0.0.1", Roots: roots, Client: pair, Username: info.Operator.GatewayMailbox, Timeout: time.Minute}
	out, err := operator.NewSMTP(server, "passerelle.example")
	if err != nil {
		t.Fatal(err)
	}
	address := func(a string) mss.Address {
		t.Helper()
		out, err := mss.ParseAddress(a)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	raw := testdata.Letter(testdata.LetterOptions{MessageID: "own@x.fr", From: info.Operator.GatewayMailbox})
	fates := out.Submit(ctx, operator.Envelope{From: address(info.Operator.GatewayMailbox), ID: "dlv-9", Raw: raw,
		To: []mss.Address{address(testdata.Personas()[0].Mailbox), address("absent@patient.mssante.fr")}})
	if fates[0].Fate != operator.Accepted || !fates[0].DSN || fates[1].Fate != operator.Permanent || fates[1].Enhanced != "5.1.1" {
		t.Fatalf("%+v", fates)
	}
	server.Address = info.Operator.IMAP
	box, err := operator.NewIMAP(server, "INBOX", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	session, err := box.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := session.Unseen(ctx, 10)
	if err != nil || len(refs) != 1 {
		t.Fatalf("%v %v", refs, err)
	}
	got, err := session.Fetch(ctx, refs[0])
	if err != nil {
		t.Fatal(err)
	}
	in, err := mss.Read(got, mss.Limits{})
	if err != nil || in.DSN == nil || in.DSN.EnvelopeID != "dlv-9" || in.DSN.OriginalMessageID != "own@x.fr" {
		t.Fatalf("%+v %v", in, err)
	}
	if err := session.MarkSeen(ctx, refs[0]); err != nil {
		t.Error(err)
	}
	if err := session.Move(ctx, refs[0], "Traités"); err != nil {
		t.Error(err)
	}
	if refs, err := session.Unseen(ctx, 10); err != nil || len(refs) != 0 {
		t.Errorf("%v %v", refs, err)
	}
	if err := session.Close(ctx); err != nil {
		t.Error(err)
	}
	if list := s.Mailbox(info.Operator.GatewayMailbox); len(list) != 1 || list[0].Folder != "Traités" || len(list[0].Flags) != 1 {
		t.Errorf("%+v", list)
	}
}

// The gateway's own trust space, over the white list and the CRL of the sandbox.
func TestOwnTrust(t *testing.T) {
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	ctx := context.Background()
	s, err := sim.Start(ctx, sim.Config{Dir: t.TempDir(), Clock: func() time.Time { return noon }, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info := s.Info()
	pem, err := os.ReadFile(info.TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	list, err := trust.OpenWhitelist(trust.WhitelistConfig{URL: info.Operator.Whitelist, TLS: &tls.Config{RootCAs: roots}, Dir: t.TempDir(), Clock: s.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	trusted := func(domain string) bool {
		t.Helper()
		ok, err := list.Trusted(domain)
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	if !trusted(mss.PatientDomain) || !trusted(info.Operator.Domain) || trusted("hopital.fr") {
		t.Error("another list")
	}
	if err := s.SetWhitelist(sim.Whitelist{Mode: "truncated"}); err != nil {
		t.Fatal(err)
	}
	if err := list.Refresh(ctx); err == nil || !trusted(mss.PatientDomain) {
		t.Errorf("a list cut short: %v", err)
	}

	revocations, err := trust.OpenRevocations(trust.RevocationConfig{Dir: t.TempDir(), Clock: s.Now})
	if err != nil {
		t.Fatal(err)
	}
	shake := func() error {
		conn, err := smtp.DialStartTLS(info.Operator.SMTP, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", VerifyConnection: revocations.Verify})
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Hello("essai")
	}
	if err := shake(); err != nil {
		t.Fatal(err)
	}
	if err := s.SetRevocations(sim.Revocations{Roles: []string{"operator-server"}}); err != nil {
		t.Fatal(err)
	}
	if revocations, err = trust.OpenRevocations(trust.RevocationConfig{Dir: t.TempDir(), Clock: s.Now}); err != nil {
		t.Fatal(err)
	}
	if err := shake(); err == nil {
		t.Error("a revoked server is accepted")
	}
}

// What openssl sees from outside: the client certificate is asked for, and the
// six suites of the API LPS are those of TLS 1.2.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	s, err := sim.Start(context.Background(), sim.Config{Dir: t.TempDir(), Clock: time.Now, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tlsInfo := s.Info().TLS
	run := func(protocol, address string, more ...string) string {
		args := append([]string{"s_client", "-connect", address, "-starttls", protocol, "-CAfile", tlsInfo.CA, "-cert", tlsInfo.BALAppCert, "-key", tlsInfo.BALAppKey}, more...)
		out, _ := exec.Command(openssl, args...).CombinedOutput() // a refusal is an answer here
		return string(out)
	}
	for name, c := range map[string]struct {
		protocol, address string
		args              []string
		want              string
	}{
		"ok/smtp, TLS 1.2":   {"smtp", s.Info().Operator.SMTP, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"}, "Verify return code: 0 (ok)"},
		"ok/imap, TLS 1.3":   {"imap", s.Info().Operator.IMAP, []string{"-tls1_3"}, "Verify return code: 0 (ok)"},
		"ok/authority named": {"smtp", s.Info().Operator.SMTP, nil, "Acceptable client certificate CA names"},
		"fail/weak suite":    {"smtp", s.Info().Operator.SMTP, []string{"-tls1_2", "-cipher", "AES128-SHA"}, "alert"},
	} {
		t.Run(name, func(t *testing.T) {
			if out := run(c.protocol, c.address, c.args...); !strings.Contains(out, c.want) {
				t.Errorf("no %q in %s", c.want, out)
			}
		})
	}
}
