package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/passerelle-sante/passerelle/mss"
)

const bal = "passerelle@ch.mssante.fr"

type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// mailbox starts an IMAP server over real TLS with the given mails in INBOX.
func (w *world) mailbox(t *testing.T, mails ...string) (Server, *imapmemserver.User) {
	t.Helper()
	mem := imapmemserver.New()
	user := imapmemserver.NewUser(bal, "secret")
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range mails {
		if _, err := user.Append("INBOX", literal{bytes.NewReader([]byte(m))}, &imap.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mem.AddUser(user)
	s := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps: imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}}, TLSConfig: w.server,
		Logger: log.New(io.Discard, "", 0),
	})
	l := listen(t)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); l.Close(); <-done })
	door := w.door
	door.Address, door.Username, door.Password = l.Addr().String(), bal, "secret"
	return door, user
}

func openMailbox(t *testing.T, door Server, max int64) *Session {
	t.Helper()
	m, err := NewIMAP(door, "INBOX", max)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Open(context.Background())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func mailText(i int) string { return fmt.Sprintf("Subject: mail %d\r\n\r\nbonjour %d\r\n", i, i) }

func TestMailbox(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	door, user := w.mailbox(t, mailText(1), mailText(2), mailText(3))
	s := openMailbox(t, door, 1000)

	refs, err := s.Unseen(ctx, 10)
	if err != nil || len(refs) != 3 {
		t.Fatalf("%v %v", refs, err)
	}
	for i, r := range refs {
		raw, err := s.Fetch(ctx, r)
		if err != nil || string(raw) != mailText(i+1) || r.Size != int64(len(raw)) {
			t.Errorf("mail %d: %q %v", i+1, raw, err)
		}
	}
	// Reading marked nothing: a crash here reads everything again.
	if again, err := s.Unseen(ctx, 2); err != nil || len(again) != 2 || again[0] != refs[0] || again[1] != refs[1] {
		t.Errorf("%v %v", again, err)
	}
	if err := s.MarkSeen(ctx, refs[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.MarkSeen(ctx, refs[0]); err != nil {
		t.Errorf("marking twice: %v", err)
	}
	// The folder does not exist yet.
	if err := s.Move(ctx, refs[1], "Quarantaine"); err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	left, err := s.Unseen(ctx, 10)
	if err != nil || len(left) != 1 || left[0].Key() != refs[2].Key() {
		t.Errorf("%v %v", left, err)
	}
	status, err := user.Status("Quarantaine", &imap.StatusOptions{NumMessages: true, NumUnseen: true})
	if err != nil || *status.NumMessages != 1 {
		t.Errorf("%+v %v", status, err)
	}
	_, err = s.Fetch(ctx, refs[1])
	wantCode(t, err, FaultMailGone)
	other := refs[2]
	other.Validity++
	_, err = s.Fetch(ctx, other)
	wantCode(t, err, FaultMailGone)
}

func TestMailboxEmpty(t *testing.T) {
	w := newWorld(t)
	door, _ := w.mailbox(t)
	refs, err := openMailbox(t, door, 1000).Unseen(context.Background(), 10)
	if err != nil || len(refs) != 0 {
		t.Errorf("%v %v", refs, err)
	}
}

func TestMailboxLimit(t *testing.T) {
	w := newWorld(t)
	door, _ := w.mailbox(t, "Subject: s\r\n\r\n"+strings.Repeat("x", 5000), mailText(2))
	s := openMailbox(t, door, 1000)
	ctx := context.Background()
	refs, err := s.Unseen(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Fetch(ctx, refs[0])
	wantCode(t, err, mss.FaultInboundSize)
	// The size is what the server says; what it sends is bounded too.
	lie := refs[0]
	lie.Size = 10
	_, err = s.Fetch(ctx, lie)
	wantCode(t, err, mss.FaultInboundSize)
	if raw, err := s.Fetch(ctx, refs[1]); err != nil || string(raw) != mailText(2) {
		t.Errorf("after a mail that is too big: %q %v", raw, err)
	}
}

func TestMailboxRefuses(t *testing.T) {
	w := newWorld(t)
	later := time.Now().Add(time.Hour)
	door, _ := w.mailbox(t)
	const greeting = "* OK ready\r\n"
	for _, c := range []struct {
		name, code, folder string
		answers            []string // of a server in clear, instead of the real one
		spoil              func(*Server)
	}{
		{name: "fail/password", code: FaultLogin, spoil: func(s *Server) { s.Password = "other" }},
		{name: "fail/folder", code: FaultMailboxRefused, folder: "Absent"},
		{name: "fail/server of another authority", code: FaultServerCertificate, spoil: func(s *Server) { s.Roots = newAuthority(t, "other").pool() }},
		{name: "fail/server of another name", code: FaultServerCertificate, spoil: func(s *Server) { s.Name = "x.mssante.test" }},
		{name: "fail/server revoked", code: FaultServerCertificate, spoil: func(s *Server) {
			s.Verify = func(tls.ConnectionState) error { return errors.New("revoked") }
		}},
		{name: "fail/client of another authority", code: FaultClientCertificate, spoil: func(s *Server) { s.Client = newAuthority(t, "other").issue("x", later) }},
		{name: "fail/cut at once", code: FaultMailboxDown, answers: []string{}},
		{name: "fail/cut after the greeting", code: FaultMailboxDown, answers: []string{greeting}},
		{name: "fail/no STARTTLS", code: FaultSTARTTLS, answers: []string{greeting, "S1 BAD what\r\n"}},
		{name: "fail/PREAUTH", code: FaultSTARTTLS, answers: []string{"* PREAUTH welcome\r\n", "S1 BAD what\r\n"}},
		{name: "fail/no TLS behind STARTTLS", code: FaultMailboxDown, answers: []string{greeting, "S1 OK go\r\n", "* BAD what\r\n"}},
		{name: "fail/not IMAP", code: FaultMailboxDown, answers: []string{"SSH-2.0-OpenSSH\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, folder := door, "INBOX"
			if c.answers != nil {
				d.Address, _ = scripted(t, c.answers...)
			}
			if c.spoil != nil {
				c.spoil(&d)
			}
			if c.folder != "" {
				folder = c.folder
			}
			m, err := NewIMAP(d, folder, 1000)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Open(context.Background())
			wantCode(t, err, c.code)
		})
	}
	t.Run("fail/silent server", func(t *testing.T) {
		d := door
		d.Address, d.Timeout = listen(t).Addr().String(), 50*time.Millisecond
		m, err := NewIMAP(d, "INBOX", 1000)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Open(context.Background())
		wantCode(t, err, FaultMailboxDown)
	})
	t.Run("fail/stopped by the caller", func(t *testing.T) {
		s := openMailbox(t, door, 1000)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := s.Unseen(ctx, 1)
		wantCode(t, err, FaultMailboxDown)
	})
}

func TestNewIMAP(t *testing.T) {
	w := newWorld(t)
	good := w.door
	good.Address, good.Username = "127.0.0.1:143", bal
	for _, c := range []struct {
		name   string
		folder string
		max    int64
		spoil  func(*Server)
	}{
		{"fail/no folder", "", 1, nil},
		{"fail/no limit", "INBOX", 0, nil},
		{"fail/no login", "INBOX", 1, func(s *Server) { s.Username = "" }},
		{"fail/no authority", "INBOX", 1, func(s *Server) { s.Roots = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			if c.spoil != nil {
				c.spoil(&s)
			}
			_, err := NewIMAP(s, c.folder, c.max)
			wantCode(t, err, mss.FaultSender)
		})
	}
}
