package sim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"
)

// imapServer opens the mailboxes of the operator over STARTTLS. What a session
// answers for (flags, moves, expunges, appends) is on the disk.
type imapServer struct {
	o        *operator
	listener *gate
	server   *imapserver.Server

	mu       sync.Mutex
	closed   bool
	accepts  sync.WaitGroup
	sessions sync.WaitGroup
}

func newIMAPServer(o *operator, l *gate, config *tls.Config) *imapServer {
	s := &imapServer{o: o, listener: l}
	s.server = imapserver.New(&imapserver.Options{
		NewSession: s.open, TLSConfig: config, Logger: quiet{o.log},
		Caps: imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}, imap.CapMove: {}, imap.CapNamespace: {}},
	})
	s.accepts.Go(func() {
		if err := s.server.Serve(cuttingListener{l, o.imap}); err != nil && !errors.Is(err, net.ErrClosed) {
			o.log.Error("operator: IMAP stopped", "error", err)
		}
	})
	return s
}

// cuttingListener counts the bytes of connections when asked to.
type cuttingListener struct {
	net.Listener
	troubles *troubles
}

func (l cuttingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if t, _ := l.troubles.strikeIf(func(t Trouble) bool { return t.Mode == Down && t.Count > 0 }); t.Mode == Down {
			reset(conn)
			conn.Close()
			continue
		}
		return cutting(conn, l.troubles), nil
	}
}

// quiet puts the complaints of the library where nobody is disturbed.
type quiet struct{ log *slog.Logger }

// Printf is the logger of the library.
func (q quiet) Printf(format string, args ...any) {
	q.log.Debug("operator: imap", "text", fmt.Sprintf(format, args...))
}

func (s *imapServer) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.server.Close()
	s.accepts.Wait()
	s.sessions.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *imapServer) open(conn *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, &imap.Error{Type: imap.StatusResponseTypeBye, Text: "closing"}
	}
	s.sessions.Add(1)
	return &imapSession{s: s, o: s.o, conn: conn}, &imapserver.GreetingData{}, nil
}

// imapSession is one connection.
type imapSession struct {
	s       *imapServer
	o       *operator
	conn    *imapserver.Conn
	box     string
	folder  *folder
	tracker *imapserver.SessionTracker
	once    sync.Once
}

var _ interface {
	imapserver.SessionNamespace
	imapserver.SessionMove
	imapserver.SessionSASL
} = (*imapSession)(nil)

func refusal(code imap.ResponseCode, text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

// trouble does what was asked for at a command.
func (c *imapSession) trouble(command, when string) error {
	t, release := c.o.imap.strikeIf(func(t Trouble) bool {
		if !slices.Contains([]Mode{Slow, Hold, Refuse, Cut}, t.Mode) || (t.Mode == Cut && t.Method == "") {
			return false
		}
		at := t.When
		if at == "" {
			at = Before
		}
		return at == when && (t.Method == "" || strings.EqualFold(t.Method, command)) && strings.HasPrefix(c.box, t.Path)
	})
	if when == Before {
		c.o.imap.received(command)
	} else {
		c.o.imap.count(func(n *Counters) { n.Processed++ })
	}
	switch t.Mode {
	case Slow:
		wait(time.Duration(t.Milliseconds)*time.Millisecond, c.o.quit)
	case Hold:
		c.o.hold(c.o.imap, release)
	case Cut:
		conn := c.conn.NetConn()
		reset(conn)
		conn.Close()
		return net.ErrClosed
	case Refuse:
		code := imap.ResponseCode(t.Code)
		if code == "" {
			code = imap.ResponseCodeUnavailable
		}
		return refusal(code, "refus demande au bac a sable")
	}
	return nil
}

// Close ends a session.
func (c *imapSession) Close() error {
	c.once.Do(func() {
		c.leave()
		c.s.sessions.Done()
	})
	return nil
}

func (c *imapSession) leave() {
	if c.tracker != nil {
		c.tracker.Close()
	}
	c.folder, c.tracker = nil, nil
}

// admit decides whether a certificate opens a mailbox: that of the application
// the gateway's, that of a vendor those of everybody else.
func (c *imapSession) admit(login string) error {
	if err := c.trouble("LOGIN", Before); err != nil {
		return err
	}
	conn, ok := c.conn.NetConn().(*tls.Conn)
	if !ok {
		return refusal(imap.ResponseCodePrivacyRequired, "STARTTLS first")
	}
	certs := conn.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return refusal(imap.ResponseCodeAuthenticationFailed, "A client certificate is required")
	}
	cn := certs[0].Subject.CommonName
	box := c.o.host(login)
	switch {
	case box == "":
	case cn == commonNames[roleBALApp] && box == c.o.gateway:
	case cn == commonNames[roleClient] && box != c.o.gateway:
	default:
		box = ""
	}
	if box == "" {
		return refusal(imap.ResponseCodeAuthorizationFailed, "Certificate and mailbox do not go together")
	}
	c.o.store.mu.Lock()
	_, err := c.o.store.open(box)
	c.o.store.mu.Unlock()
	if err != nil {
		return refusal(imap.ResponseCodeServerBug, "The mailbox cannot be opened")
	}
	c.box = box
	return nil
}

// Login is the command LOGIN. The password is not looked at: the certificate is
// the proof.
func (c *imapSession) Login(username, _ string) error { return c.admit(strings.ToLower(username)) }

// AuthenticateMechanisms lists those of AUTHENTICATE.
func (c *imapSession) AuthenticateMechanisms() []string { return []string{"PLAIN", "EXTERNAL"} }

// Authenticate is the command AUTHENTICATE.
func (c *imapSession) Authenticate(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(func(identity, username, _ string) error {
			if identity != "" && !strings.EqualFold(identity, username) {
				return refusal(imap.ResponseCodeAuthorizationFailed, "One mailbox a login")
			}
			return c.admit(strings.ToLower(username))
		}), nil
	case "EXTERNAL":
		return sasl.NewExternalServer(func(identity string) error {
			if identity == "" {
				identity = c.o.gateway
			}
			return c.admit(strings.ToLower(identity))
		}), nil
	}
	return nil, refusal("", "PLAIN or EXTERNAL")
}

// find gives a folder of the mailbox; the caller holds the lock.
func (c *imapSession) find(name string) (*folder, error) {
	if strings.EqualFold(name, inbox) {
		name = inbox
	}
	f := c.o.store.boxes[c.box].folders[name]
	if f == nil {
		return nil, refusal(imap.ResponseCodeNonExistent, "No such folder")
	}
	return f, nil
}

// Select opens a folder.
func (c *imapSession) Select(name string, _ *imap.SelectOptions) (*imap.SelectData, error) {
	if err := c.trouble("SELECT", Before); err != nil {
		return nil, err
	}
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	f, err := c.find(name)
	if err != nil {
		return nil, err
	}
	c.leave()
	c.folder, c.tracker = f, f.tracker.NewSession()
	flags := []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft}
	data := &imap.SelectData{Flags: flags, PermanentFlags: append(slices.Clone(flags), imap.FlagWildcard),
		NumMessages: uint32(len(f.mails)), UIDNext: imap.UID(f.next), UIDValidity: f.validity}
	for i, m := range f.mails {
		if !hasFlag(m, imap.FlagSeen) {
			data.FirstUnseenSeqNum = uint32(i + 1)
			break
		}
	}
	return data, nil
}

// Unselect leaves the folder.
func (c *imapSession) Unselect() error {
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	c.leave()
	return nil
}

// Create makes a folder.
func (c *imapSession) Create(name string, _ *imap.CreateOptions) error {
	if err := c.trouble("CREATE", Before); err != nil {
		return err
	}
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	b := c.o.store.boxes[c.box]
	name = strings.TrimRight(name, "/")
	switch {
	case name == "" || len(name) > 200:
		return refusal(imap.ResponseCodeCannot, "No such name")
	case strings.EqualFold(name, inbox) || b.folders[name] != nil:
		return refusal(imap.ResponseCodeAlreadyExists, "It exists already")
	case len(b.folders) >= maxFolders:
		return refusal(imap.ResponseCodeLimit, "Too many folders")
	}
	return c.failure(c.o.store.commit(mailOp{Op: "folder", Box: c.box, Folder: name, Validity: c.o.store.valid + 1}))
}

func (c *imapSession) failure(err error) error {
	if err == nil {
		return nil
	}
	c.o.log.Error("operator: a mailbox could not be changed", "error", err)
	return refusal(imap.ResponseCodeServerBug, "The disk refuses")
}

// Delete is refused: nothing of what was received is lost here.
func (c *imapSession) Delete(string) error {
	return refusal(imap.ResponseCodeCannot, "Folders stay")
}

// Rename is refused.
func (c *imapSession) Rename(string, string, *imap.RenameOptions) error {
	return refusal(imap.ResponseCodeCannot, "Folders stay")
}

// Subscribe does nothing: every folder is subscribed to.
func (c *imapSession) Subscribe(string) error { return nil }

// Unsubscribe does nothing.
func (c *imapSession) Unsubscribe(string) error { return nil }

// Namespace has one part, that of the mailbox.
func (c *imapSession) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: '/'}}}, nil
}

// List gives the folders.
func (c *imapSession) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	c.o.store.mu.Lock()
	names := slices.Clone(c.o.store.boxes[c.box].lists)
	c.o.store.mu.Unlock()
	for _, name := range names {
		if slices.ContainsFunc(patterns, func(p string) bool { return imapserver.MatchList(name, '/', ref, p) }) {
			data := &imap.ListData{Mailbox: name, Delim: '/'}
			if options.ReturnStatus != nil {
				var err error
				if data.Status, err = c.Status(name, options.ReturnStatus); err != nil {
					return err
				}
			}
			if err := w.WriteList(data); err != nil {
				return err
			}
		}
	}
	return nil
}

// Status counts the mails of a folder.
func (c *imapSession) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	f, err := c.find(name)
	if err != nil {
		return nil, err
	}
	var total, unseen, deleted, recent uint32
	var size int64
	for _, m := range f.mails {
		total++
		size += m.Size
		if !hasFlag(m, imap.FlagSeen) {
			unseen++
		}
		if hasFlag(m, imap.FlagDeleted) {
			deleted++
		}
	}
	data := &imap.StatusData{Mailbox: f.name, UIDNext: imap.UID(f.next), UIDValidity: f.validity}
	for _, one := range []struct {
		wanted bool
		to     **uint32
		n      *uint32
	}{{options.NumMessages, &data.NumMessages, &total}, {options.NumUnseen, &data.NumUnseen, &unseen},
		{options.NumDeleted, &data.NumDeleted, &deleted}, {options.NumRecent, &data.NumRecent, &recent}} {
		if one.wanted {
			*one.to = one.n
		}
	}
	if options.Size {
		data.Size = &size
	}
	return data, nil
}

// Poll gives what others changed.
func (c *imapSession) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	if c.tracker == nil {
		return nil
	}
	return c.tracker.Poll(w, allowExpunge)
}

// Idle gives what others change.
func (c *imapSession) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	if c.tracker == nil {
		<-stop
		return nil
	}
	return c.tracker.Idle(w, stop)
}

// Append puts a mail into a folder.
func (c *imapSession) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	if r.Size() > maxBody {
		return nil, refusal(imap.ResponseCodeTooBig, "Too big")
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxBody))
	if err != nil {
		return nil, err
	}
	if err := c.trouble("APPEND", Before); err != nil {
		return nil, err
	}
	sum, err := c.o.store.keep(raw)
	if err != nil {
		return nil, c.failure(err)
	}
	from, subject, id := glance(raw)
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	f, err := c.find(name)
	if err != nil {
		return nil, refusal(imap.ResponseCodeTryCreate, "No such folder")
	}
	m := Mail{ID: fmt.Sprint(c.o.store.number + 1), Received: c.o.now().UTC(), From: from, Subject: subject, Mailbox: c.box, Folder: f.name,
		UID: f.next, Flags: change(nil, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: options.Flags}), MessageID: id, Size: int64(len(raw)), SHA256: sum}
	err = c.o.store.commit(mailOp{Op: "add", Box: c.box, Folder: f.name, Mail: &m})
	return &imap.AppendData{UIDValidity: f.validity, UID: imap.UID(m.UID)}, c.failure(err)
}
