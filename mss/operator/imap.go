package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/passerelle-sante/passerelle/mss"
)

// IMAP reads the gateway's mailbox. Make one with [NewIMAP].
type IMAP struct {
	server Server
	folder string
	max    int64
}

// NewIMAP checks the door; folder is where mail arrives (INBOX), max the bytes
// of the largest mail that is read.
func NewIMAP(server Server, folder string, max int64) (*IMAP, error) {
	if err := server.check(); err != nil {
		return nil, err
	}
	switch {
	case folder == "":
		return nil, &mss.Error{Code: mss.FaultSender, Where: "folder"}
	case max <= 0:
		return nil, &mss.Error{Code: mss.FaultSender, Where: "max"}
	case server.Username == "":
		return nil, &mss.Error{Code: mss.FaultSender, Where: "username"}
	}
	return &IMAP{server, folder, max}, nil
}

// Ref names one mail of the mailbox.
type Ref struct {
	Validity uint32 // UIDVALIDITY of the folder
	UID      uint32
	Size     int64 // as the server says
}

// Key names the mail as long as the folder lives.
func (r Ref) Key() string { return fmt.Sprintf("%d/%d", r.Validity, r.UID) }

// Session is one connection to the mailbox, for one goroutine.
type Session struct {
	m        *IMAP
	c        *imapclient.Client
	conn     *watched
	validity uint32
}

// Open connects, logs in and selects the folder.
func (m *IMAP) Open(ctx context.Context) (*Session, error) {
	conn, err := m.server.dial(ctx)
	if err != nil {
		return nil, mailboxError("connect", err, nil)
	}
	s := &Session{m: m}
	err = s.within(ctx, "starttls", conn.Close, func() error {
		var err error
		s.conn, err = startTLS(conn, m.server.tls())
		return err
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.c = imapclient.New(s.conn, nil)
	if err := s.do(ctx, "login", func() error {
		return s.c.Authenticate(sasl.NewPlainClient("", m.server.Username, m.server.Password))
	}); err != nil {
		s.c.Close()
		return nil, err
	}
	if err := s.do(ctx, "select", func() error {
		data, err := s.c.Select(m.folder, nil).Wait()
		if err == nil {
			s.validity = data.UIDValidity
		}
		return err
	}); err != nil {
		s.c.Close()
		return nil, err
	}
	return s, nil
}

// Unseen lists up to max mails that nobody has marked as seen, oldest first.
func (s *Session) Unseen(ctx context.Context, max int) ([]Ref, error) {
	var out []Ref
	err := s.do(ctx, "search", func() error {
		found, err := s.c.UIDSearch(&imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen, imap.FlagDeleted}}, nil).Wait()
		if err != nil {
			return err
		}
		uids := found.AllUIDs()
		slices.Sort(uids)
		if len(uids) > max {
			uids = uids[:max]
		}
		if len(uids) == 0 {
			return nil
		}
		sizes, err := s.c.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{UID: true, RFC822Size: true}).Collect()
		if err != nil {
			return err
		}
		for _, m := range sizes {
			out = append(out, Ref{Validity: s.validity, UID: uint32(m.UID), Size: m.RFC822Size})
		}
		slices.SortFunc(out, func(a, b Ref) int { return int(int64(a.UID) - int64(b.UID)) })
		return nil
	})
	return out, err
}

// Fetch reads a mail and leaves its state as it is. A mail over the limit is an
// [*mss.Error] with [mss.FaultInboundSize]; one that is gone is [FaultMailGone].
func (s *Session) Fetch(ctx context.Context, r Ref) ([]byte, error) {
	if r.Validity != s.validity {
		return nil, &Error{Code: FaultMailGone, Where: "fetch"}
	}
	if r.Size > s.m.max {
		return nil, &mss.Error{Code: mss.FaultInboundSize}
	}
	var raw []byte
	found, tooBig := false, false
	err := s.do(ctx, "fetch", func() error {
		cmd := s.c.Fetch(imap.UIDSetNum(imap.UID(r.UID)), &imap.FetchOptions{
			UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		})
		for m := cmd.Next(); m != nil; m = cmd.Next() {
			for item := m.Next(); item != nil; item = m.Next() {
				body, ok := item.(imapclient.FetchItemDataBodySection)
				if !ok || body.Literal == nil || found {
					continue
				}
				found = true
				var err error
				// The server may send more than it said.
				if raw, err = io.ReadAll(io.LimitReader(body.Literal, s.m.max+1)); err != nil {
					return err
				}
				tooBig = int64(len(raw)) > s.m.max
			}
		}
		return cmd.Close()
	})
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, &Error{Code: FaultMailGone, Where: "fetch"}
	case tooBig:
		return nil, &mss.Error{Code: mss.FaultInboundSize}
	}
	return raw, nil
}

// MarkSeen marks a mail as treated. A mail that is gone is a success.
func (s *Session) MarkSeen(ctx context.Context, r Ref) error {
	if r.Validity != s.validity {
		return nil
	}
	return s.do(ctx, "store", func() error {
		return s.c.Store(imap.UIDSetNum(imap.UID(r.UID)), &imap.StoreFlags{
			Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagSeen},
		}, nil).Close()
	})
}

// Move puts a mail into another folder, which it creates when there is none.
func (s *Session) Move(ctx context.Context, r Ref, folder string) error {
	if r.Validity != s.validity {
		return &Error{Code: FaultMailGone, Where: "move"}
	}
	uid := imap.UIDSetNum(imap.UID(r.UID))
	return s.do(ctx, "move", func() error {
		_, err := s.c.Move(uid, folder).Wait()
		var refusal *imap.Error
		if errors.As(err, &refusal) && refusal.Code == imap.ResponseCodeTryCreate {
			if err := s.c.Create(folder, nil).Wait(); err != nil {
				return err
			}
			_, err = s.c.Move(uid, folder).Wait()
		}
		return err
	})
}

// Close says goodbye.
func (s *Session) Close(ctx context.Context) error {
	defer s.c.Close()
	return s.do(ctx, "logout", func() error { return s.c.Logout().Wait() })
}

func (s *Session) do(ctx context.Context, stage string, f func() error) error {
	return s.within(ctx, stage, s.c.Close, f)
}

// within bounds one command: the library waits without end for a server that
// holds the line. When the time is over, the connection is cut.
func (s *Session) within(ctx context.Context, stage string, cutOff func() error, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, s.m.server.Timeout)
	defer cancel()
	// Cutting off may wait for the reader of the library; nobody waits for it.
	stop := context.AfterFunc(ctx, func() { _ = cutOff() })
	defer stop()
	err := ctx.Err() // a server may be faster than the cut
	if err == nil {
		err = f()
	}
	if err != nil {
		return mailboxError(stage, err, s.conn.why())
	}
	return nil
}

// mailboxError says what a failure means; why is how the connection ended, when
// it did.
func mailboxError(stage string, err, why error) error {
	e := &Error{Code: FaultMailboxDown, Where: stage, Cause: err}
	var refusal *imap.Error
	switch code := secure(err); {
	case code != "":
		e.Code = code
	case errors.Is(err, errNoSTARTTLS):
		e.Code = FaultSTARTTLS
	case errors.As(err, &refusal) && stage == "login" && refusal.Code != imap.ResponseCodeUnavailable:
		e.Code = FaultLogin
	case errors.As(err, &refusal):
		e.Code = FaultMailboxRefused
	case refusedByPeer(why):
		e.Code = FaultClientCertificate
	}
	return e
}
