package sim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/passerelle-sante/passerelle/testdata"
)

const (
	colleague = "paul.delmas@test-ci-sis.mssante.fr"
	citizen   = "280076311310118@patient.mssante.fr"
)

// balApp is the TLS configuration of the gateway at the operator.
func balApp(t *testing.T, s *Sandbox) *tls.Config {
	return mailTLS(t, s, s.Info().TLS.BALAppCert, s.Info().TLS.BALAppKey)
}

func mailTLS(t *testing.T, s *Sandbox, cert, key string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(s.Info().TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Time: clock}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// outgoing is a letter as the gateway would send it.
func outgoing(id string) []byte {
	return testdata.Letter(testdata.LetterOptions{MessageID: id, From: testdata.GatewayMailbox, FromName: "CH des Essais", To: colleague})
}

// submission is one letter handed over by a client that is not the simulator's.
type submission struct {
	tls    *tls.Config
	auth   sasl.Client
	from   string
	to     []string
	notify []smtp.DSNNotify
	raw    []byte
	envid  string
	full   bool
}

// submit gives the error of each recipient, then that of the whole.
func submit(t *testing.T, s *Sandbox, o submission) ([]error, error) {
	t.Helper()
	if o.tls == nil {
		o.tls = balApp(t, s)
	}
	c, err := smtp.DialStartTLS(s.Info().Operator.SMTP, o.tls)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if o.auth != nil {
		if err := c.Auth(o.auth); err != nil {
			return nil, err
		}
	}
	if o.from == "" {
		o.from = testdata.GatewayMailbox
	}
	if o.from == "<>" {
		o.from = ""
	}
	if o.to == nil {
		o.to = []string{colleague}
	}
	opts := &smtp.MailOptions{EnvelopeID: o.envid}
	if o.full {
		opts.Return = smtp.DSNReturnFull
	}
	if err := c.Mail(o.from, opts); err != nil {
		return nil, err
	}
	each := make([]error, len(o.to))
	taken := false
	for i, to := range o.to {
		r := &smtp.RcptOptions{Notify: o.notify}
		if o.notify != nil {
			r.OriginalRecipient, r.OriginalRecipientType = to, smtp.DSNAddressTypeRFC822
		}
		each[i] = c.Rcpt(to, r)
		taken = taken || each[i] == nil
	}
	if !taken {
		return each, nil
	}
	w, err := c.Data()
	if err != nil {
		return each, err
	}
	if _, err := w.Write(o.raw); err != nil {
		return each, err
	}
	if err := w.Close(); err != nil {
		return each, err
	}
	return each, c.Quit()
}

func reply(err error) string {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return fmt.Sprintf("%d %d.%d.%d", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	return fmt.Sprint(err)
}

func wantReply(t *testing.T, err error, want string) {
	t.Helper()
	if got := reply(err); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func mustSubmit(t *testing.T, s *Sandbox, o submission) {
	t.Helper()
	each, err := submit(t, s, o)
	if err := errors.Join(append(each, err)...); err != nil {
		t.Fatal(err)
	}
}

var everyNotice = []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}

func TestSubmission(t *testing.T) {
	s := start(t)
	raw := outgoing("a1@bac-a-sable.mssante.fr")
	mustSubmit(t, s, submission{raw: raw, to: []string{colleague, citizen, "hote@partenaire.mssante.fr"}, notify: everyNotice, envid: "dlv-1"})
	for _, to := range []string{colleague, citizen, "hote@partenaire.mssante.fr"} {
		list := s.Mailbox(to)
		if len(list) != 1 || list[0].MessageID != "a1@bac-a-sable.mssante.fr" || list[0].Sender != testdata.GatewayMailbox || list[0].Envelope != "dlv-1" {
			t.Fatalf("%s: %+v", to, list)
		}
		got := do(t, http.DefaultClient, http.MethodGet, list[0].Raw, "", "")
		if !bytes.HasSuffix(got.body, raw) || !bytes.HasPrefix(got.body, []byte("Return-Path: <"+testdata.GatewayMailbox+">\r\nReceived: from ")) {
			t.Errorf("%s: other bytes: %.200s", to, got.body)
		}
		if _, err := mail.ReadMessage(bytes.NewReader(got.body)); err != nil {
			t.Error(err)
		}
	}
	reports := s.Mailbox(testdata.GatewayMailbox)
	if len(reports) != 3 {
		t.Fatalf("%d reports", len(reports))
	}
	seen := map[string]bool{}
	for _, m := range reports {
		report := string(do(t, http.DefaultClient, http.MethodGet, m.Raw, "", "").body)
		for _, want := range []string{"Return-Path: <>\r\n", "report-type=delivery-status", "Original-Envelope-Id: dlv-1\r\n", "Action: delivered\r\n", "Status: 2.0.0\r\n", "text/rfc822-headers", "Message-ID: <a1@"} {
			if !strings.Contains(report, want) {
				t.Errorf("no %q in %s", want, report)
			}
		}
		for _, to := range []string{colleague, citizen, "hote@partenaire.mssante.fr"} {
			if strings.Contains(report, "Original-Recipient: RFC822;"+to+"\r\nFinal-Recipient: rfc822; "+to) {
				seen[to] = true
			}
		}
		if strings.Contains(report, "JVBERi0") {
			t.Error("a report of headers gives the PDF back")
		}
	}
	if len(seen) != 3 {
		t.Errorf("reports about %v", seen)
	}
	last := s.Submissions()[0]
	if last.CommonName != "bal-app-ch-essais" || last.EnvelopeID != "dlv-1" || !last.Stored || last.TLS != "TLS 1.3" || len(last.Recipients) != 3 ||
		last.Recipients[0].Notify != "SUCCESS,FAILURE,DELAY" || !strings.HasPrefix(last.Reply, "250 2.0.0 queued") {
		t.Errorf("%+v", last)
	}
}

func TestRefusals(t *testing.T) {
	s := start(t)
	i := s.Info().TLS
	raw := outgoing("r1@bac-a-sable.mssante.fr")
	noNIL := testdata.Letter(testdata.LetterOptions{From: testdata.GatewayMailbox, NIL: "-"})
	for name, c := range map[string]struct {
		o    submission
		each string
		all  string
	}{
		"fail/no certificate":             {submission{tls: mailTLS(t, s, "", ""), raw: raw}, "", "530 5.7.0"},
		"fail/certificate of a vendor":    {submission{tls: mailTLS(t, s, i.ClientCert, i.ClientKey), raw: raw}, "", "550 5.7.1"},
		"fail/certificate of a machine":   {submission{tls: mailTLS(t, s, i.MachineCert, i.MachineKey), raw: raw}, "", "550 5.7.1"},
		"fail/certificate of INSi":        {submission{tls: mailTLS(t, s, i.INSiCert, i.INSiKey), raw: raw}, "", "550 5.7.1"},
		"fail/login of another mailbox":   {submission{auth: sasl.NewPlainClient("", colleague, ""), raw: raw}, "", "535 5.7.8"},
		"fail/login with no certificate":  {submission{tls: mailTLS(t, s, "", ""), auth: sasl.NewPlainClient("", testdata.GatewayMailbox, "x"), raw: raw}, "", "535 5.7.8"},
		"fail/sender of another mailbox":  {submission{from: colleague, raw: raw}, "", "550 5.7.1"},
		"fail/domain off the list":        {submission{to: []string{"x@hopital.fr"}, raw: raw}, "550 5.7.1", "<nil>"},
		"fail/domain that looks alike":    {submission{to: []string{"x@test-ci-sis.mssante.fr.evil.com"}, raw: raw}, "550 5.7.1", "<nil>"},
		"fail/child of a listed domain":   {submission{to: []string{"x@a.test-ci-sis.mssante.fr"}, raw: raw}, "550 5.7.1", "<nil>"},
		"fail/parent of a listed domain":  {submission{to: []string{"x@mssante.fr"}, raw: raw}, "550 5.7.1", "<nil>"},
		"fail/absent":                     {submission{to: []string{"absent@test-ci-sis.mssante.fr"}, raw: raw}, "550 5.1.1", "<nil>"},
		"fail/no X-MSS-NIL":               {submission{raw: noNIL}, "<nil>", "550 5.6.0"},
		"fail/a line over its limit":      {submission{raw: append([]byte("X-Long: "+strings.Repeat("a", 1000)+"\r\n"), raw...)}, "<nil>", "554 5.6.0"},
		"fail/no header":                  {submission{raw: []byte("bonjour\r\n")}, "<nil>", "554 5.6.0"},
		"ok/login":                        {submission{auth: sasl.NewPlainClient("", testdata.GatewayMailbox, "x"), raw: raw}, "<nil>", "<nil>"},
		"ok/login by certificate":         {submission{auth: sasl.NewExternalClient(""), raw: raw}, "<nil>", "<nil>"},
		"ok/null return-path":             {submission{from: "<>", raw: raw}, "<nil>", "<nil>"},
		"ok/domain in capitals":           {submission{to: []string{"Paul.Delmas@TEST-CI-SIS.mssante.fr"}, raw: raw}, "<nil>", "<nil>"},
		"ok/a dot at the start of a line": {submission{raw: append(bytes.Clone(raw), ".\r\n..fin\r\n"...)}, "<nil>", "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(s.Mailbox(colleague))
			each, err := submit(t, s, c.o)
			wantReply(t, err, c.all)
			if c.each != "" {
				wantReply(t, each[0], c.each)
			}
			list := s.Mailbox(colleague)
			if got := len(list) - before; got != map[bool]int{true: 1, false: 0}[strings.HasPrefix(name, "ok/")] {
				t.Fatalf("%d letters more", got)
			}
			if strings.HasPrefix(name, "ok/") {
				b, err := s.Mail(colleague, list[0].ID)
				if err != nil || !bytes.HasSuffix(b, c.o.raw) {
					t.Errorf("other bytes, %v", err)
				}
			}
		})
	}
	if got := s.Mailbox("x@hopital.fr"); len(got) != 0 {
		t.Error("a mailbox off the list was made")
	}
}

// raw is a dialogue by hand.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, s *Sandbox) *dialogue {
	t.Helper()
	conn, err := net.Dial("tcp", s.Info().Operator.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d := &dialogue{t, conn, bufio.NewReader(conn)}
	d.want("220 ")
	return d
}

func (d *dialogue) want(prefix string) string {
	d.t.Helper()
	var all strings.Builder
	for {
		line, err := d.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			d.t.Fatalf("%v after %q, want %q", err, all.String(), prefix)
		}
		if len(line) > 3 && line[3] == ' ' {
			if !strings.HasPrefix(line, prefix) {
				d.t.Fatalf("got %q, want %q", line, prefix)
			}
			return all.String()
		}
	}
}

func (d *dialogue) say(line, prefix string) string {
	d.t.Helper()
	if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
		d.t.Fatal(err)
	}
	return d.want(prefix)
}

func (d *dialogue) startTLS(c *tls.Config) {
	d.t.Helper()
	d.say("EHLO essai", "250 ")
	d.say("STARTTLS", "220 ")
	conn := tls.Client(d.conn, c)
	if err := conn.Handshake(); err != nil {
		d.t.Fatal(err)
	}
	d.conn, d.r = conn, bufio.NewReader(conn)
	d.say("EHLO essai", "250 ")
}

func TestDialogue(t *testing.T) {
	s := start(t)
	t.Run("fail/in clear", func(t *testing.T) {
		d := dial(t, s)
		hello := d.say("EHLO essai", "250 ")
		if !strings.Contains(hello, "STARTTLS") || strings.Contains(hello, "AUTH") {
			t.Errorf("announces %q", hello)
		}
		for _, line := range []string{"MAIL FROM:<" + testdata.GatewayMailbox + ">", "RCPT TO:<" + colleague + ">", "DATA", "AUTH PLAIN AGEAYg==", "SALADE"} {
			d.say(line, "530 5.7.0")
		}
		d.say("QUIT", "221 ")
	})
	t.Run("fail/commands slipped in before TLS", func(t *testing.T) {
		d := dial(t, s)
		d.say("EHLO essai", "250 ")
		d.say("STARTTLS\r\nMAIL FROM:<>", "501 ")
		if _, err := d.r.ReadByte(); err == nil {
			t.Error("the dialogue goes on")
		}
	})
	t.Run("ok/announced", func(t *testing.T) {
		d := dial(t, s)
		d.startTLS(balApp(t, s))
		hello := d.say("EHLO essai", "250 ")
		for _, want := range []string{"DSN", "SIZE 26214400", "8BITMIME", "AUTH PLAIN EXTERNAL", "PIPELINING", "ENHANCEDSTATUSCODES"} {
			if !strings.Contains(hello, want) {
				t.Errorf("no %s in %q", want, hello)
			}
		}
		if strings.Contains(hello, "STARTTLS") {
			t.Error("STARTTLS twice")
		}
	})
	t.Run("ok/order and parameters", func(t *testing.T) {
		d := dial(t, s)
		d.startTLS(balApp(t, s))
		from := "MAIL FROM:<" + testdata.GatewayMailbox + ">"
		d.say("RCPT TO:<"+colleague+">", "503 ")
		d.say("DATA", "503 ")
		d.say(from+" SIZE=26214401", "552 5.3.4")
		d.say(from+" RET=ALL", "501 ")
		d.say(from+" ENVID=a+4", "501 ")
		d.say(from+" ENVID=a=b", "501 ")
		d.say(from+" SMTPUTF8", "555 ")
		d.say(from+" BODY=BINARYMIME", "501 ")
		d.say("MAIL FROM:"+testdata.GatewayMailbox, "501 ")
		d.say("STARTTLS", "503 ")
		d.say(from+" SIZE=10 BODY=8BITMIME RET=HDRS ENVID=dlv+2B1", "250 ")
		d.say(from, "503 ")
		d.say("RCPT TO:<"+colleague+"> NOTIFY=NEVER,SUCCESS", "501 ")
		d.say("RCPT TO:<"+colleague+"> NOTIFY=SOMETIMES", "501 ")
		d.say("RCPT TO:<"+colleague+"> ORCPT=rfc822", "501 ")
		d.say("RCPT TO:<"+colleague+"> PRIORITY=9", "555 ")
		d.say("RCPT TO:<pas une adresse>", "501 ")
		d.say("RCPT TO:<x@[127.0.0.1]>", "501 5.1.3")
		d.say("RCPT TO:<"+colleague+"> NOTIFY=SUCCESS ORCPT=rfc822;paul+2Bx@test-ci-sis.mssante.fr", "250 ")
		d.say("DATA", "354 ")
		d.say(strings.TrimSuffix(string(outgoing("d1@x.fr")), "\r\n")+"\r\n.", "250 2.0.0")
		d.say("RSET", "250 ")
		d.say("NOOP", "250 ")
		report, err := s.Mail(testdata.GatewayMailbox, s.Mailbox(testdata.GatewayMailbox)[0].ID)
		if err != nil || !bytes.Contains(report, []byte("Original-Envelope-Id: dlv+1\r\n")) || !bytes.Contains(report, []byte("Original-Recipient: rfc822;paul+x@test-ci-sis.mssante.fr\r\n")) {
			t.Errorf("%v: %s", err, report)
		}
	})
	for name, end := range map[string]string{"fail/bare LF before the dot": "\n.\r\n", "fail/bare LF after the dot": "\r\n.\n", "fail/bare CR": "\r.\r\n"} {
		t.Run(name, func(t *testing.T) {
			before := len(s.Mailbox(colleague))
			d := dial(t, s)
			d.startTLS(balApp(t, s))
			d.say("MAIL FROM:<"+testdata.GatewayMailbox+">", "250 ")
			d.say("RCPT TO:<"+colleague+">", "250 ")
			d.say("DATA", "354 ")
			d.say(string(outgoing("s1@x.fr"))+"fin"+end+"MAIL FROM:<x@y.fr>\r\n.", "554 5.6.0")
			if got := len(s.Mailbox(colleague)); got != before {
				t.Error("it was delivered")
			}
		})
	}
	t.Run("fail/endless line", func(t *testing.T) {
		d := dial(t, s)
		_, _ = io.WriteString(d.conn, strings.Repeat("A", maxCommand+10)) // it may hang up meanwhile
		line, _ := d.r.ReadString('\n')
		if !strings.HasPrefix(line, "500 5.5.6") {
			t.Errorf("%q", line)
		}
	})
	t.Run("fail/too many errors", func(t *testing.T) {
		d := dial(t, s)
		d.startTLS(balApp(t, s))
		for range maxErrors {
			d.say("SALADE", "500 ")
		}
		d.say("SALADE", "421 ")
	})
}

// The profile of the API LPS: its two suites of TLS 1.2, and TLS 1.3.
func TestTLSProfile(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct {
		change func(*tls.Config)
		ok     bool
	}{
		"ok/TLS 1.3":            {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
		"ok/TLS 1.2 C030":       {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.CipherSuites = []uint16{0xC030} }, true},
		"ok/TLS 1.2 C02F":       {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.CipherSuites = []uint16{0xC02F} }, true},
		"ok/P-256":              {func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }, true},
		"fail/TLS 1.1":          {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, false},
		"fail/weak suite":       {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.CipherSuites = []uint16{0xC013} }, false},
		"fail/another server":   {func(c *tls.Config) { c.ServerName = "operateur.example" }, false},
		"fail/foreign CA":       {func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, false},
		"fail/a client foreign": {func(c *tls.Config) { c.Certificates = foreign(t); c.MaxVersion = tls.VersionTLS12 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := balApp(t, s)
			c.change(config)
			_, err := submit(t, s, submission{tls: config, raw: outgoing("t@x.fr")})
			if (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

// foreign is a client certificate of another sandbox.
func foreign(t *testing.T) []tls.Certificate {
	ca, err := openAuthority(t.TempDir(), rand.Reader, noon)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.leaf(roleBALApp)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{pair}
}

func TestMailSurvives(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	cfg := Config{Dir: dir, Clock: clock, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)}
	s, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustSubmit(t, s, submission{raw: outgoing("k1@x.fr")})
	mustSubmit(t, s, submission{raw: outgoing("k1@x.fr")})
	mustSubmit(t, s, submission{raw: outgoing("k2@x.fr")})
	before := s.MailCounts()[colleague]
	if before.Copies != 3 || before.Distinct != 2 || before.MessageIDs["k1@x.fr"] != 2 {
		t.Errorf("%+v", before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A line that a crash cut is dropped.
	f, err := os.OpenFile(dir+"/operator/journal.jsonl", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"op":"add","box":"paul`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s = startIn(t, dir)
	if after := s.MailCounts()[colleague]; fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%+v, was %+v", after, before)
	}
	mustSubmit(t, s, submission{raw: outgoing("k3@x.fr")})
	list := s.Mailbox(colleague)
	if len(list) != 4 || list[0].MessageID != "k3@x.fr" || list[0].UID != 4 || list[3].UID != 1 {
		t.Errorf("%+v", list)
	}
}

func TestSwaks(t *testing.T) {
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		t.Skip("swaks is not installed")
	}
	if out, err := exec.Command(swaks, "--support").CombinedOutput(); err != nil || bytes.Contains(out, []byte("TLS not available")) {
		t.Skip("swaks has no TLS here (perl module Net::SSLeay)")
	}
	s := start(t)
	file := t.TempDir() + "/letter.eml"
	if err := os.WriteFile(file, bytes.ReplaceAll(outgoing("swaks@x.fr"), []byte("\r\n"), []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(swaks, "--server", s.Info().Operator.SMTP, "--tls", "--tls-cert", s.Info().TLS.BALAppCert, "--tls-key", s.Info().TLS.BALAppKey,
		"--from", testdata.GatewayMailbox, "--to", colleague, "--data", "@"+file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if list := s.Mailbox(colleague); len(list) != 1 || list[0].MessageID != "swaks@x.fr" {
		t.Errorf("%+v\n%s", list, out)
	}
}

func sum(raw []byte) [32]byte { return sha256.Sum256(raw) }
