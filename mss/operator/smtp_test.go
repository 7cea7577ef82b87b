package operator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"

	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/passerelle-sante/passerelle/mss"
)

// backend is an operator in memory whose steps can be made to fail or to cut.
type backend struct {
	mu      sync.Mutex
	refuse  map[string]error // step, or "rcpt "+address
	cut     string           // step at which the connection is dropped
	mail    smtp.MailOptions
	rcpt    []smtp.RcptOptions
	to      []string
	letters [][]byte
	login   string
}

func (b *backend) NewSession(c *smtp.Conn) (smtp.Session, error) { return &session{b, c}, nil }

type session struct {
	b *backend
	c *smtp.Conn
}

func (s *session) step(names ...string) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, n := range names {
		if s.b.cut == n {
			s.c.Conn().Close()
			return io.ErrClosedPipe
		}
		if err := s.b.refuse[n]; err != nil {
			return err
		}
	}
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, _ string) error {
		if err := s.step("login"); err != nil {
			return err
		}
		s.b.login = user
		return nil
	}), nil
}

func (s *session) Mail(_ string, o *smtp.MailOptions) error {
	if _, secure := s.c.TLSConnectionState(); !secure {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "TLS first"}
	}
	s.b.mail = *o
	return s.step("mail")
}

func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	if err := s.step("rcpt", "rcpt "+to); err != nil {
		return err
	}
	s.b.rcpt, s.b.to = append(s.b.rcpt, *o), append(s.b.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	if s.b.cut == "half" {
		_, _ = io.ReadFull(r, make([]byte, 10))
		return s.step("half")
	}
	letter, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.step("refused"); err != nil {
		return err
	}
	s.b.mu.Lock()
	s.b.letters = append(s.b.letters, letter)
	s.b.mu.Unlock()
	return s.step("dot")
}

func reply(code int, a, b, c int) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{a, b, c}, Message: "lea@exemple.mssante.fr says no"}
}

// serve starts an operator and gives the door to it.
func (w *world) serve(t *testing.T, b *backend, adjust func(*smtp.Server)) Server {
	t.Helper()
	l := listen(t)
	s := smtp.NewServer(b)
	s.Domain, s.TLSConfig, s.EnableDSN, s.MaxMessageBytes = operatorName, w.server, true, 40<<20
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	s.ErrorLog = log.New(io.Discard, "", 0)
	if adjust != nil {
		adjust(s)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); l.Close(); <-done })
	door := w.door
	door.Address = l.Addr().String()
	return door
}

func envelope(to ...string) Envelope {
	e := Envelope{From: address("passerelle@ch.mssante.fr"), ID: "dlv-0001", Raw: []byte("Subject: s\r\n\r\nbonjour\r\n.\r\nfin\r\n")}
	for _, a := range to {
		e.To = append(e.To, address(a))
	}
	return e
}

func submit(t *testing.T, door Server, e Envelope) []Outcome {
	t.Helper()
	s, err := NewSMTP(door, "passerelle.ch.test")
	if err != nil {
		t.Fatal(err)
	}
	return s.Submit(context.Background(), e)
}

const lea, paul, absent = "lea@exemple.mssante.fr", "paul@exemple.mssante.fr", "absent@exemple.mssante.fr"

func TestSubmit(t *testing.T) {
	w := newWorld(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run("ok/"+tls.VersionName(version), func(t *testing.T) {
			b := &backend{}
			door := w.serve(t, b, func(s *smtp.Server) {
				s.TLSConfig = w.server.Clone()
				s.TLSConfig.MinVersion, s.TLSConfig.MaxVersion = version, version
			})
			door.Username, door.Password = "passerelle@ch.mssante.fr", "secret"
			e := envelope(lea, paul)
			out := submit(t, door, e)
			for i, o := range out {
				if o.Fate != Accepted || o.Err != nil || o.To != e.To[i] || o.SMTP != 250 || !o.DSN || o.Queue == "" {
					t.Errorf("%+v", o)
				}
			}
			if len(b.letters) != 1 || !bytes.Equal(b.letters[0], e.Raw) {
				t.Errorf("letters %q", b.letters)
			}
			if b.login != door.Username || b.mail.EnvelopeID != "dlv-0001" || b.mail.Return != smtp.DSNReturnHeaders || b.mail.Size != int64(len(e.Raw)) {
				t.Errorf("login %q, mail %+v", b.login, b.mail)
			}
			want := smtp.RcptOptions{
				Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed},
				OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: lea,
			}
			if !reflect.DeepEqual(b.rcpt[0], want) {
				t.Errorf("rcpt %+v", b.rcpt[0])
			}
		})
	}
	t.Run("ok/operator without DSN", func(t *testing.T) {
		b := &backend{}
		out := submit(t, w.serve(t, b, func(s *smtp.Server) { s.EnableDSN = false }), envelope(lea))
		if out[0].Fate != Accepted || out[0].DSN {
			t.Errorf("%+v", out[0])
		}
	})
	t.Run("ok/nobody", func(t *testing.T) {
		if out := submit(t, w.serve(t, &backend{}, nil), envelope()); len(out) != 0 {
			t.Errorf("%+v", out)
		}
	})
}

func TestSubmitOneOfTwo(t *testing.T) {
	w := newWorld(t)
	b := &backend{refuse: map[string]error{"rcpt " + absent: reply(550, 5, 1, 1)}}
	out := submit(t, w.serve(t, b, nil), envelope(lea, absent, paul))
	if out[0].Fate != Accepted || out[2].Fate != Accepted {
		t.Errorf("the others: %+v", out)
	}
	o := out[1]
	wantCode(t, o.Err, FaultNoMailbox)
	if o.Fate != Permanent || o.SMTP != 550 || o.Enhanced != "5.1.1" || o.ErrorCode() != 550 {
		t.Errorf("%+v", o)
	}
	if strings.Contains(o.Err.Error(), "@") {
		t.Errorf("the error text holds an address: %v", o.Err)
	}
	if !reflect.DeepEqual(b.to, []string{lea, paul}) || len(b.letters) != 1 {
		t.Errorf("to %v", b.to)
	}
}

func TestSubmitReplies(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, step string
		err        error
		fate       Fate
		code       string
		smtp       int
	}{
		{"fail/login", "login", reply(535, 5, 7, 8), Permanent, FaultLogin, 535},
		{"fail/login not now", "login", reply(454, 4, 7, 0), Temporary, FaultBusy, 454},
		{"fail/sender", "mail", reply(550, 5, 7, 1), Permanent, FaultRefused, 550},
		{"fail/sender not now", "mail", reply(451, 4, 3, 0), Temporary, FaultBusy, 451},
		{"fail/closing", "mail", reply(421, 4, 3, 2), Temporary, FaultBusy, 421},
		{"fail/recipient not now", "rcpt", reply(450, 4, 2, 1), Temporary, FaultBusy, 450},
		{"fail/recipient refused by rule", "rcpt", reply(550, 5, 7, 1), Permanent, FaultRefused, 550},
		{"fail/recipient unknown, bare code", "rcpt", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.NoEnhancedCode, Message: "unknown"}, Permanent, FaultNoMailbox, 550},
		{"fail/letter refused", "refused", reply(554, 5, 6, 0), Permanent, FaultRefused, 554},
		{"fail/letter not now", "refused", reply(452, 4, 3, 1), Temporary, FaultBusy, 452},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backend{refuse: map[string]error{c.step: c.err}}
			door := w.serve(t, b, nil)
			door.Username = "passerelle@ch.mssante.fr"
			for _, o := range submit(t, door, envelope(lea, paul)) {
				wantCode(t, o.Err, c.code)
				if o.Fate != c.fate || o.SMTP != c.smtp {
					t.Errorf("%+v", o)
				}
			}
			if len(b.letters) != 0 {
				t.Error("a letter was taken")
			}
		})
	}
}

// The connection is dropped at every stage; only after the final dot is the fate
// unknown.
func TestSubmitCut(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, cut string
		fate      Fate
		code      string
		taken     int
	}{
		{"fail/at login", "login", Temporary, FaultDown, 0},
		{"fail/at MAIL", "mail", Temporary, FaultDown, 0},
		{"fail/at RCPT", "rcpt", Temporary, FaultDown, 0},
		{"fail/at the second RCPT", "rcpt " + paul, Temporary, FaultDown, 0},
		{"fail/in the middle of the letter", "half", Temporary, FaultDown, 0},
		{"fail/after the dot, taken", "dot", Unknown, FaultFateUnknown, 1},
		{"fail/after the dot, not taken", "refused", Unknown, FaultFateUnknown, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backend{cut: c.cut}
			door := w.serve(t, b, nil)
			door.Username = "passerelle@ch.mssante.fr"
			e := envelope(lea, paul)
			if c.cut == "half" {
				// Larger than every buffer on the way, so that a cut is seen while writing.
				e.Raw = append(e.Raw, bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 300_000)...)
			}
			for _, o := range submit(t, door, e) {
				wantCode(t, o.Err, c.code)
				if o.Fate != c.fate || o.SMTP != 0 {
					t.Errorf("%+v", o)
				}
			}
			if len(b.letters) != c.taken {
				t.Errorf("%d letters taken", len(b.letters))
			}
		})
	}
	t.Run("fail/nobody listens", func(t *testing.T) {
		l := listen(t)
		door := w.door
		door.Address = l.Addr().String()
		l.Close()
		o := submit(t, door, envelope(lea))[0]
		wantCode(t, o.Err, FaultDown)
		if o.Fate != Temporary {
			t.Errorf("%+v", o)
		}
	})
}

// scripted speaks SMTP in clear, line by line: each answer is sent when a line
// has come, the first at once. After the last one the connection is closed.
func scripted(t *testing.T, answers ...string) (addr string, heard func() string) {
	t.Helper()
	l := listen(t)
	var mu sync.Mutex
	var got strings.Builder
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for i, a := range answers {
				if i > 0 {
					line, err := r.ReadString('\n')
					if err != nil {
						break
					}
					mu.Lock()
					got.WriteString(line)
					mu.Unlock()
				}
				fmt.Fprint(conn, a)
			}
			conn.Close()
		}
	}()
	return l.Addr().String(), func() string { mu.Lock(); defer mu.Unlock(); return got.String() }
}

func TestSubmitInClear(t *testing.T) {
	w := newWorld(t)
	const hello = "220 op ESMTP\r\n"
	for _, c := range []struct {
		name    string
		answers []string
		fate    Fate
		code    string
	}{
		{"fail/cut before the greeting", nil, Temporary, FaultDown},
		{"fail/cut after the greeting", []string{hello}, Temporary, FaultDown},
		{"fail/greeting refuses for now", []string{"421 4.3.2 later\r\n"}, Temporary, FaultBusy},
		{"fail/greeting refuses", []string{"554 5.7.1 not you\r\n"}, Permanent, FaultRefused},
		{"fail/no STARTTLS", []string{hello, "250-op\r\n250 SIZE 1000\r\n", "250 ok\r\n", "250 ok\r\n"}, Temporary, FaultSTARTTLS},
		{"fail/STARTTLS fails", []string{hello, "250-op\r\n250 STARTTLS\r\n", "454 4.7.0 not now\r\n"}, Temporary, FaultBusy},
		{"fail/STARTTLS unknown", []string{hello, "250-op\r\n250 STARTTLS\r\n", "502 5.5.1 what\r\n"}, Temporary, FaultSTARTTLS},
		{"fail/cut after STARTTLS", []string{hello, "250-op\r\n250 STARTTLS\r\n", "220 go\r\n"}, Temporary, FaultDown},
		{"fail/no TLS behind STARTTLS", []string{hello, "250-op\r\n250 STARTTLS\r\n", "220 go\r\n", "500 what is this?\r\n"}, Temporary, FaultDown},
		{"fail/garbage", []string{"SSH-2.0-OpenSSH\r\n"}, Temporary, FaultDown},
	} {
		t.Run(c.name, func(t *testing.T) {
			door := w.door
			var heard func() string
			door.Address, heard = scripted(t, c.answers...)
			door.Username, door.Password = "passerelle@ch.mssante.fr", "secret"
			o := submit(t, door, envelope(lea))[0]
			wantCode(t, o.Err, c.code)
			if o.Fate != c.fate {
				t.Errorf("%+v", o)
			}
			if h := heard(); strings.Contains(h, "mssante.fr") || strings.Contains(h, "AUTH") {
				t.Errorf("said in clear: %q", h)
			}
		})
	}
}

func TestSubmitCertificates(t *testing.T) {
	w := newWorld(t)
	other := newAuthority(t, "other CA")
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name   string
		adjust func(door *Server, s *tls.Config)
		fate   Fate
		code   string
	}{
		{"fail/client certificate of another authority", func(d *Server, _ *tls.Config) { d.Client = other.issue("x", later) }, Permanent, FaultClientCertificate},
		{"fail/client certificate expired", func(d *Server, _ *tls.Config) { d.Client = w.ca.issue("x", time.Now().Add(-time.Hour)) }, Permanent, FaultClientCertificate},
		{"fail/server of another authority", func(d *Server, _ *tls.Config) { d.Roots = other.pool() }, Temporary, FaultServerCertificate},
		{"fail/server of another name", func(d *Server, _ *tls.Config) { d.Name = "other.mssante.test" }, Temporary, FaultServerCertificate},
		{"fail/server expired", func(_ *Server, s *tls.Config) {
			s.Certificates = []tls.Certificate{w.ca.issue(operatorName, time.Now().Add(-time.Hour))}
		}, Temporary, FaultServerCertificate},
		{"fail/server revoked", func(d *Server, _ *tls.Config) {
			d.Verify = func(tls.ConnectionState) error { return errors.New("revoked") }
		}, Temporary, FaultServerCertificate},
		{"fail/TLS 1.1", func(_ *Server, s *tls.Config) { s.MinVersion, s.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, Temporary, FaultDown},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(c.name+", "+tls.VersionName(version), func(t *testing.T) {
				b := &backend{}
				var door Server
				door = w.serve(t, b, func(s *smtp.Server) {
					s.TLSConfig = w.server.Clone()
					s.TLSConfig.MinVersion, s.TLSConfig.MaxVersion = version, version
					c.adjust(&door, s.TLSConfig)
				})
				c.adjust(&door, &tls.Config{})
				o := submit(t, door, envelope(lea))[0]
				wantCode(t, o.Err, c.code)
				if o.Fate != c.fate {
					t.Errorf("%+v", o)
				}
				if len(b.letters) != 0 || len(b.to) != 0 {
					t.Error("something was handed over")
				}
			})
		}
	}
}

func TestSubmitSize(t *testing.T) {
	w := newWorld(t)
	b := &backend{}
	o := submit(t, w.serve(t, b, func(s *smtp.Server) { s.MaxMessageBytes = 10 }), envelope(lea))[0]
	wantCode(t, o.Err, mss.FaultSize)
	if o.Fate != Permanent || len(b.to) != 0 {
		t.Errorf("%+v, to %v", o, b.to)
	}
}

func TestSubmitTime(t *testing.T) {
	w := newWorld(t)
	silent := listen(t) // accepts, by the kernel, and says nothing
	door := w.door
	door.Address = silent.Addr().String()
	t.Run("fail/silent operator", func(t *testing.T) {
		d := door
		d.Timeout = 50 * time.Millisecond
		o := submit(t, d, envelope(lea))[0]
		wantCode(t, o.Err, FaultDown)
		if o.Fate != Temporary {
			t.Errorf("%+v", o)
		}
	})
	t.Run("fail/stopped by the caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s, err := NewSMTP(door, "x")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		wantCode(t, s.Submit(ctx, envelope(lea))[0].Err, FaultDown)
	})
}

func TestNewSMTP(t *testing.T) {
	w := newWorld(t)
	good := w.door
	good.Address = "127.0.0.1:587"
	for _, c := range []struct {
		name  string
		hello string
		spoil func(*Server)
	}{
		{"fail/no address", "x", func(s *Server) { s.Address = "" }},
		{"fail/no name", "x", func(s *Server) { s.Name = "" }},
		{"fail/no client certificate", "x", func(s *Server) { s.Client = tls.Certificate{} }},
		{"fail/no authority", "x", func(s *Server) { s.Roots = nil }},
		{"fail/no time limit", "x", func(s *Server) { s.Timeout = 0 }},
		{"fail/hello with a line break", "a\r\nb", func(*Server) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.spoil(&s)
			_, err := NewSMTP(s, c.hello)
			wantCode(t, err, mss.FaultSender)
		})
	}
}
