package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/passerelle-sante/passerelle/testdata"
)

// box is a mailbox opened by a client that is not the simulator's.
func box(t *testing.T, s *Sandbox) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialStartTLS(s.Info().Operator.IMAP, &imapclient.Options{TLSConfig: balApp(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Authenticate(sasl.NewPlainClient("", testdata.GatewayMailbox, "")); err != nil {
		t.Fatal(err)
	}
	return c
}

func drop(t *testing.T, s *Sandbox, id string) []byte {
	t.Helper()
	raw := testdata.Letter(testdata.LetterOptions{MessageID: id, WantMDN: true})
	got := do(t, http.DefaultClient, http.MethodPost, s.Info().Operator.Mailboxes+"/"+testdata.GatewayMailbox, "message/rfc822", string(raw))
	if got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	return raw
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func uids(t *testing.T, c *imapclient.Client, q *imap.SearchCriteria) []imap.UID {
	t.Helper()
	return must[*imap.SearchData](t)(c.UIDSearch(q, nil).Wait()).AllUIDs()
}

var unseen = &imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}

func TestMailboxByIMAP(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Clock: clock, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)}
	s := must[*Sandbox](t)(Start(context.Background(), cfg))
	first := drop(t, s, "i1@x.fr")
	for _, id := range []string{"i2@x.fr", "i3@x.fr", "i4@x.fr"} {
		drop(t, s, id)
	}
	c := box(t, s)
	selected := must[*imap.SelectData](t)(c.Select("INBOX", nil).Wait())
	if selected.NumMessages != 4 || selected.UIDNext != 5 || selected.UIDValidity == 0 {
		t.Errorf("%+v", selected)
	}
	if got := uids(t, c, unseen); fmt.Sprint(got) != "[1 2 3 4]" {
		t.Errorf("unseen %v", got)
	}
	one := imap.UIDSetNum(1)
	got := must[[]*imapclient.FetchMessageBuffer](t)(c.Fetch(one, &imap.FetchOptions{UID: true, Flags: true, RFC822Size: true, Envelope: true, InternalDate: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect())
	if len(got) != 1 {
		t.Fatalf("%d mails", len(got))
	}
	m := got[0]
	raw := m.FindBodySection(&imap.FetchItemBodySection{Peek: true})
	if want := append([]byte("Return-Path: <lea.morel@test-ci-sis.mssante.fr>\r\n"), first...); !bytes.Equal(raw, want) || m.RFC822Size != int64(len(want)) {
		t.Errorf("other bytes: %.300s", raw)
	}
	if m.Envelope.MessageID != "i1@x.fr" || !strings.HasPrefix(m.Envelope.Subject, "XDM/1.0/DDM+") || len(m.Flags) != 0 || !m.InternalDate.Equal(noon) || m.BodyStructure.MediaType() != "multipart/mixed" {
		t.Errorf("%+v %v %v %s", m.Envelope, m.Flags, m.InternalDate, m.BodyStructure.MediaType())
	}
	header := must[[]*imapclient.FetchMessageBuffer](t)(c.Fetch(one, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, Peek: true}}}).Collect())
	if h := header[0].BodySection[0].Bytes; !bytes.HasSuffix(h, []byte("\r\n\r\n")) || bytes.Contains(h, []byte("--courrier")) {
		t.Errorf("header %q", h)
	}

	// Marked, moved, taken out; and one is read without PEEK.
	if err := c.Store(one, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagSeen, "$Traite"}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	var refused *imap.Error
	if _, err := c.Move(imap.UIDSetNum(2), "Quarantaine").Wait(); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeTryCreate {
		t.Errorf("moved to nowhere: %v", err)
	}
	if err := c.Create("Quarantaine", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if data := must[*imapclient.MoveData](t)(c.Move(imap.UIDSetNum(2), "Quarantaine").Wait()); data.UIDValidity == selected.UIDValidity {
		t.Errorf("%+v", data)
	}
	must[[]*imapclient.FetchMessageBuffer](t)(c.Fetch(imap.UIDSetNum(3), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect())
	if err := c.Store(imap.UIDSetNum(4), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if got := uids(t, c, &imap.SearchCriteria{}); fmt.Sprint(got) != "[1 3]" {
		t.Errorf("left %v", got)
	}
	if status := must[*imap.StatusData](t)(c.Status("Quarantaine", &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true}).Wait()); *status.NumMessages != 1 || *status.NumUnseen != 1 || status.UIDNext != 2 {
		t.Errorf("%+v", status)
	}
	if list := must[[]*imap.ListData](t)(c.List("", "*", nil).Collect()); len(list) != 2 || list[0].Mailbox != "INBOX" || list[1].Mailbox != "Quarantaine" {
		t.Errorf("%+v", list)
	}
	if err := c.Delete("Quarantaine").Wait(); err == nil {
		t.Error("a folder was deleted")
	}
	if err := c.Logout().Wait(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = startIn(t, dir)
	c = box(t, s)
	again := must[*imap.SelectData](t)(c.Select("inbox", nil).Wait())
	if again.UIDValidity != selected.UIDValidity || again.UIDNext != 5 || again.NumMessages != 2 {
		t.Errorf("%+v", again)
	}
	if got := uids(t, c, unseen); len(got) != 0 {
		t.Errorf("unseen %v", got)
	}
	if got := uids(t, c, &imap.SearchCriteria{Flag: []imap.Flag{"$traite"}}); fmt.Sprint(got) != "[1]" {
		t.Errorf("keyword %v", got)
	}
	if err := c.Store(one, &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if got := uids(t, c, unseen); fmt.Sprint(got) != "[1]" {
		t.Errorf("unseen %v", got)
	}
	if counts := s.MailCounts()[testdata.GatewayMailbox]; counts.Copies != 4 || counts.Distinct != 4 {
		t.Errorf("a move counts as a delivery: %+v", counts)
	}
}

func TestSearchByIMAP(t *testing.T) {
	s := start(t)
	drop(t, s, "s1@x.fr")
	s.SetOffset(72 * time.Hour)
	drop(t, s, "s2@x.fr")
	c := box(t, s)
	must[*imap.SelectData](t)(c.Select("INBOX", nil).Wait())
	for name, tc := range map[string]struct {
		q    *imap.SearchCriteria
		want string
	}{
		"ok/all":        {&imap.SearchCriteria{}, "[1 2]"},
		"ok/message id": {&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: "s2@X.fr"}}}, "[2]"},
		"ok/no header":  {&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "X-Absent"}}}, "[]"},
		"ok/text":       {&imap.SearchCriteria{Text: []string{"s1@x.fr"}}, "[1]"},
		"ok/body":       {&imap.SearchCriteria{Body: []string{"s1@x.fr"}}, "[]"},
		"ok/since":      {&imap.SearchCriteria{Since: noon.AddDate(0, 0, 2)}, "[2]"},
		"ok/before":     {&imap.SearchCriteria{Before: noon.AddDate(0, 0, 2)}, "[1]"},
		"ok/larger":     {&imap.SearchCriteria{Larger: 1 << 20}, "[]"},
		"ok/smaller":    {&imap.SearchCriteria{Smaller: 1 << 20}, "[1 2]"},
		"ok/not":        {&imap.SearchCriteria{Not: []imap.SearchCriteria{{Text: []string{"s1@x.fr"}}}}, "[2]"},
		"ok/or":         {&imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{Text: []string{"s1@x.fr"}}, {Text: []string{"s2@x.fr"}}}}}, "[1 2]"},
		"ok/uid":        {&imap.SearchCriteria{UID: []imap.UIDSet{imap.UIDSetNum(2, 9)}}, "[2]"},
		"ok/last":       {&imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 0, Stop: 0}}}}, "[2]"},
		"ok/number":     {&imap.SearchCriteria{SeqNum: []imap.SeqSet{imap.SeqSetNum(1)}}, "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := uids(t, c, tc.q); fmt.Sprint(got) != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

func TestWhoOpensAMailbox(t *testing.T) {
	s := start(t)
	i := s.Info().TLS
	for name, c := range map[string]struct {
		cert, key string
		client    sasl.Client
		ok        bool
	}{
		"ok/application":                     {i.BALAppCert, i.BALAppKey, sasl.NewPlainClient("", testdata.GatewayMailbox, "secret"), true},
		"ok/application, in capitals":        {i.BALAppCert, i.BALAppKey, sasl.NewPlainClient("", strings.ToUpper(testdata.GatewayMailbox), ""), true},
		"ok/application, by certificate":     {i.BALAppCert, i.BALAppKey, sasl.NewExternalClient(""), true},
		"ok/correspondent":                   {i.ClientCert, i.ClientKey, sasl.NewPlainClient("", colleague, ""), true},
		"ok/patient":                         {i.ClientCert, i.ClientKey, sasl.NewExternalClient(citizen), true},
		"fail/application elsewhere":         {i.BALAppCert, i.BALAppKey, sasl.NewPlainClient("", colleague, ""), false},
		"fail/vendor in the gateway's":       {i.ClientCert, i.ClientKey, sasl.NewPlainClient("", testdata.GatewayMailbox, ""), false},
		"fail/machine":                       {i.MachineCert, i.MachineKey, sasl.NewPlainClient("", colleague, ""), false},
		"fail/no certificate":                {"", "", sasl.NewPlainClient("", testdata.GatewayMailbox, ""), false},
		"fail/on behalf of another":          {i.BALAppCert, i.BALAppKey, sasl.NewPlainClient(colleague, testdata.GatewayMailbox, ""), false},
		"fail/absent":                        {i.ClientCert, i.ClientKey, sasl.NewPlainClient("", "absent@test-ci-sis.mssante.fr", ""), false},
		"fail/domain out of the trust space": {i.ClientCert, i.ClientKey, sasl.NewPlainClient("", "x@hopital.fr", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := imapclient.DialStartTLS(s.Info().Operator.IMAP, &imapclient.Options{TLSConfig: mailTLS(t, s, c.cert, c.key)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = client.Authenticate(c.client)
			if (err == nil) != c.ok {
				t.Fatalf("%v", err)
			}
			if c.ok {
				must[*imap.SelectData](t)(client.Select("INBOX", nil).Wait())
			}
		})
	}
	t.Run("ok/command LOGIN", func(t *testing.T) {
		client := must[*imapclient.Client](t)(imapclient.DialStartTLS(s.Info().Operator.IMAP, &imapclient.Options{TLSConfig: balApp(t, s)}))
		defer client.Close()
		if err := client.Login(testdata.GatewayMailbox, "").Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("fail/in clear", func(t *testing.T) {
		client := must[*imapclient.Client](t)(imapclient.DialInsecure(s.Info().Operator.IMAP, nil))
		defer client.Close()
		if !client.Caps().Has(imap.CapStartTLS) || !client.Caps().Has(imap.CapLoginDisabled) {
			t.Error("STARTTLS is not announced as the only way")
		}
		if err := client.Login(testdata.GatewayMailbox, "").Wait(); err == nil {
			t.Error("logged in without TLS")
		}
	})
}

// Two sessions on one mailbox: what one changes, the other hears of.
func TestTwoSessions(t *testing.T) {
	s := start(t)
	drop(t, s, "t1@x.fr")
	a, b := box(t, s), box(t, s)
	must[*imap.SelectData](t)(a.Select("INBOX", nil).Wait())
	must[*imap.SelectData](t)(b.Select("INBOX", nil).Wait())
	drop(t, s, "t2@x.fr")
	if err := a.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	if n := a.Mailbox().NumMessages; n != 2 {
		t.Errorf("a sees %d mails", n)
	}
	if err := a.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	if n := b.Mailbox().NumMessages; n != 1 {
		t.Errorf("b sees %d mails", n)
	}
	if got := uids(t, b, &imap.SearchCriteria{}); fmt.Sprint(got) != "[2]" {
		t.Errorf("b finds %v", got)
	}
}

func TestIMAPTroubles(t *testing.T) {
	s := start(t)
	drop(t, s, "f1@x.fr")
	open := func(t *testing.T) (*imapclient.Client, error) {
		c, err := imapclient.DialStartTLS(s.Info().Operator.IMAP, &imapclient.Options{TLSConfig: balApp(t, s)})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		if err := c.Authenticate(sasl.NewPlainClient("", testdata.GatewayMailbox, "")); err != nil {
			return c, err
		}
		_, err = c.Select("INBOX", nil).Wait()
		return c, err
	}
	fetch := func(c *imapclient.Client) error {
		_, err := c.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
		return err
	}
	seen := func() bool { return slices.Contains(s.Mailbox(testdata.GatewayMailbox)[0].Flags, `\Seen`) }
	mark := func(c *imapclient.Client) error {
		return c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close()
	}
	t.Run("down", func(t *testing.T) {
		c := must[*imapclient.Client](t)(open(t))
		control(t, s, http.MethodPut, "/operator/imap/faults", `{"mode":"down"}`, 200)
		if fetch(c) == nil {
			t.Error("an open connection goes on")
		}
		if _, err := open(t); err == nil {
			t.Error("it is open")
		}
		control(t, s, http.MethodDelete, "/operator/imap/faults", "", 200)
		must[*imapclient.Client](t)(open(t))
	})
	t.Run("down once", func(t *testing.T) {
		control(t, s, http.MethodPut, "/operator/imap/faults", `{"mode":"down","count":1}`, 200)
		if _, err := open(t); err == nil {
			t.Error("it is open")
		}
		must[*imapclient.Client](t)(open(t))
	})
	t.Run("refuse login", func(t *testing.T) {
		control(t, s, http.MethodPut, "/operator/imap/faults", `{"mode":"refuse","method":"login","count":1}`, 200)
		var refused *imap.Error
		if _, err := open(t); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeUnavailable {
			t.Errorf("%v", err)
		}
		must[*imapclient.Client](t)(open(t))
	})
	t.Run("refuse one fetch", func(t *testing.T) {
		c := must[*imapclient.Client](t)(open(t))
		control(t, s, http.MethodPut, "/operator/imap/faults", `{"mode":"refuse","method":"FETCH","code":"SERVERBUG","count":1}`, 200)
		var refused *imap.Error
		if err := fetch(c); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeServerBug {
			t.Errorf("%v", err)
		}
		if err := fetch(c); err != nil {
			t.Error(err)
		}
	})
	t.Run("cut before and after a mark", func(t *testing.T) {
		c := must[*imapclient.Client](t)(open(t))
		s.SetIMAPTroubles(Trouble{Mode: Cut, Method: "STORE", Count: 1})
		if mark(c) == nil || seen() {
			t.Error("marked")
		}
		c = must[*imapclient.Client](t)(open(t))
		s.SetIMAPTroubles(Trouble{Mode: Cut, Method: "STORE", When: After, Count: 1})
		if mark(c) == nil || !seen() {
			t.Error("not marked, or answered")
		}
	})
	t.Run("slow and held", func(t *testing.T) {
		c := must[*imapclient.Client](t)(open(t))
		s.SetIMAPTroubles(Trouble{Mode: Slow, Method: "FETCH", Milliseconds: 1}, Trouble{Mode: Hold, Method: "SEARCH"})
		if err := fetch(c); err != nil {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { _, err := c.UIDSearch(unseen, nil).Wait(); done <- err }()
		eventually(t, "the search is held", func() bool { return s.IMAPCounters().Held == 1 })
		control(t, s, http.MethodPost, "/operator/imap/release", "", 200)
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.SetIMAPTroubles()
	})
	// Wherever it is cut, nothing is lost: the next session finds the mail.
	t.Run("cut at any byte", func(t *testing.T) {
		for n := 1; n < 12_000; n += 577 {
			s.SetIMAPTroubles(Trouble{Mode: Cut, Bytes: n, Count: 1})
			c, err := open(t)
			if err == nil {
				err = fetch(c)
			}
			if err == nil {
				t.Errorf("%d bytes were enough", n)
			}
		}
		s.SetIMAPTroubles()
		if err := fetch(must[*imapclient.Client](t)(open(t))); err != nil {
			t.Error(err)
		}
	})
	t.Run("counted", func(t *testing.T) {
		if n := s.IMAPCounters().By["STORE"]; n != 2 {
			t.Errorf("%d marks", n)
		}
	})
}

// Foreign bytes end nothing but their own connection.
func TestIMAPGarbage(t *testing.T) {
	s := start(t)
	for _, line := range []string{"\x00\x01\x02\r\n", "a LOGIN {999999999}\r\n", "a " + strings.Repeat("x", 100_000), "a STARTTLS\r\n\x16\x03\x01", "a AUTHENTICATE PLAIN\r\n"} {
		conn := must[net.Conn](t)(net.Dial("tcp", s.Info().Operator.IMAP))
		_, _ = io.WriteString(conn, line) // it may hang up meanwhile
		conn.Close()
	}
	must[*imap.SelectData](t)(box(t, s).Select("INBOX", nil).Wait())
}
