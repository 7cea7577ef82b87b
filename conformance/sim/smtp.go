package sim

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
)

// The stages at which the SMTP of the operator can be troubled.
const (
	stageConnect  = "CONNECT"
	stageEHLO     = "EHLO"
	stageSTARTTLS = "STARTTLS"
	stageAUTH     = "AUTH"
	stageMAIL     = "MAIL"
	stageRCPT     = "RCPT"
	stageDATA     = "DATA"
	stageDot      = "DOT" // the final dot was received
	stageReport   = "DSN" // a delivery report is due
)

var smtpStages = []string{stageConnect, stageEHLO, stageSTARTTLS, stageAUTH, stageMAIL, stageRCPT, stageDATA, stageDot, stageReport}

// Limits of a dialogue.
const (
	maxCommand  = 16 << 10
	maxLine     = 1000 // of a mail, CRLF included (RFC 5321)
	maxErrors   = 20
	smtpTimeout = 5 * time.Minute
)

// Submission is one letter handed over, or an attempt that reached MAIL.
type Submission struct {
	Time       time.Time             `json:"time"`
	CommonName string                `json:"certificate"` // of the client
	TLS        string                `json:"tls"`
	Suite      string                `json:"suite"`
	Offered    []string              `json:"offered"` // suites of the client, in hexadecimal, without the reserved values of RFC 8701
	Login      string                `json:"login"`   // of AUTH; empty without
	Hello      string                `json:"hello"`
	From       string                `json:"from"`
	EnvelopeID string                `json:"envelope_id"`
	Return     string                `json:"ret"`
	Recipients []SubmissionRecipient `json:"recipients"`
	MessageID  string                `json:"message_id"`
	Size       int64                 `json:"size"`
	Stored     bool                  `json:"stored"`
	Reply      string                `json:"reply"` // last one; empty when the connection was cut instead
}

// SubmissionRecipient is one RCPT.
type SubmissionRecipient struct {
	Address  string `json:"address"`
	Notify   string `json:"notify"`
	Original string `json:"orcpt"`
	Reply    string `json:"reply"`

	key    string // mailbox
	bounce string // enhanced code and text of the report that is to come
}

// smtpServer takes submissions over STARTTLS, by the rules of RFC 5321, 3207,
// 4954, 1870, 6152, 3461 and 2034. It is written here and not taken from the
// library that the gateway uses, so that two of a kind do not agree in error.
type smtpServer struct {
	o        *operator
	listener *gate
	tls      *tls.Config

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	done   sync.WaitGroup
}

func (s *smtpServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		conn = cutting(conn, s.o.smtp)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = true
		s.done.Go(func() { (&smtpConn{s: s, raw: conn}).serve(conn) })
		s.mu.Unlock()
	}
}

func (s *smtpServer) close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.done.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// smtpConn is one dialogue.
type smtpConn struct {
	s       *smtpServer
	raw     net.Conn
	conn    net.Conn
	r       *bufio.Reader
	state   tls.ConnectionState
	offered []string
	isTLS   bool
	hello   string
	login   string
	wrong   int // errors so far
	now     *Submission
}

// errHangUp ends a dialogue without a word.
var errHangUp = errors.New("sim: hang up")

func (c *smtpConn) serve(conn net.Conn) {
	defer func() {
		if c.now != nil { // cut off in the middle
			c.now.Reply = ""
			c.s.o.record(*c.now)
		}
		c.conn.Close()
		c.s.mu.Lock()
		delete(c.s.conns, c.raw)
		c.s.mu.Unlock()
	}()
	c.use(conn)
	if stop, err := c.trouble(stageConnect, ""); stop || err != nil {
		return
	}
	if c.say("220 "+c.s.o.domain+" ESMTP bac a sable Passerelle") != nil {
		return
	}
	for {
		line, err := c.line()
		if err == nil {
			err = c.command(line)
		}
		if err != nil {
			if errors.Is(err, errHangUp) {
				reset(c.conn)
			}
			return
		}
	}
}

func (c *smtpConn) use(conn net.Conn) {
	c.conn, c.r = conn, bufio.NewReaderSize(conn, maxCommand)
}

// say writes one reply.
func (c *smtpConn) say(lines ...string) error {
	if c.now != nil {
		c.now.Reply = lines[0]
	}
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n")
	return err
}

// line reads one command. Who says nothing, too much, or ends its lines badly
// is cut off.
func (c *smtpConn) line() (string, error) {
	timer := time.AfterFunc(smtpTimeout, func() { c.conn.Close() })
	defer timer.Stop()
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		_ = c.say("500 5.5.6 Line too long") // it is over anyway
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\x00") {
		_ = c.say("500 5.5.2 Lines end with CRLF") // it is over anyway
		return "", errors.New("sim: bare LF")
	}
	return text, nil
}

// trouble does what was asked for at a stage. It tells to stop there when the
// stage has been answered, and gives an error to end the dialogue.
func (c *smtpConn) trouble(stage, address string) (bool, error) {
	t, release := c.s.o.strikeSMTP(stage, address)
	return c.suffer(t, release)
}

func (c *smtpConn) suffer(t Trouble, release <-chan struct{}) (bool, error) {
	switch t.Mode {
	case Slow:
		wait(time.Duration(t.Milliseconds)*time.Millisecond, c.s.o.quit)
	case Hold:
		c.s.o.hold(c.s.o.smtp, release)
	case Cut, Down:
		if c.now != nil {
			c.now.Reply = ""
		}
		return true, errHangUp
	case Refuse:
		status, code := t.Status, t.Code
		if status == 0 {
			status = 451
		}
		if code == "" {
			code = strconv.Itoa(status/100) + ".3.0"
		}
		if err := c.say(fmt.Sprintf("%d %s refus demande au bac a sable", status, code)); err != nil {
			return true, err
		}
		if status == 421 {
			return true, io.EOF
		}
		return true, nil
	}
	return false, nil
}

func (c *smtpConn) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "EHLO", "HELO":
		return c.greet(verb, arg)
	case "NOOP":
		return c.say("250 2.0.0 OK")
	case "RSET":
		c.now = nil
		return c.say("250 2.0.0 OK")
	case "QUIT":
		c.now = nil
		return errors.Join(c.say("221 2.0.0 "+c.s.o.domain+" au revoir"), io.EOF)
	case "STARTTLS":
		return c.startTLS(arg)
	case "VRFY", "EXPN", "HELP":
		return c.say("502 5.5.1 Not implemented")
	}
	if !c.isTLS {
		return c.say("530 5.7.0 Must issue a STARTTLS command first")
	}
	switch verb {
	case "AUTH":
		return c.auth(arg)
	case "MAIL":
		return c.mail(arg)
	case "RCPT":
		return c.rcpt(arg)
	case "DATA":
		return c.data(arg)
	}
	return c.wrongly("500 5.5.2 Command unrecognized")
}

// wrongly answers an error of syntax or order; too many end the dialogue.
func (c *smtpConn) wrongly(reply string) error {
	if c.wrong++; c.wrong > maxErrors {
		return errors.Join(c.say("421 4.7.0 Too many errors"), io.EOF)
	}
	return c.say(reply)
}

func (c *smtpConn) greet(verb, name string) error {
	if name == "" || strings.ContainsAny(name, " <>") {
		return c.wrongly("501 5.5.4 A name is expected")
	}
	if stop, err := c.trouble(stageEHLO, ""); stop || err != nil {
		return err
	}
	c.hello, c.now = name, nil
	if verb == "HELO" {
		return c.say("250 " + c.s.o.domain)
	}
	rules := c.s.o.rules()
	lines := []string{c.s.o.domain + " bonjour"}
	offer := func(name, words string) {
		if !slices.Contains(rules.Hide, name) {
			lines = append(lines, strings.TrimSpace(name+" "+words))
		}
	}
	offer("PIPELINING", "")
	offer("8BITMIME", "")
	offer("ENHANCEDSTATUSCODES", "")
	offer("SIZE", strconv.FormatInt(rules.Size, 10))
	offer("DSN", "")
	if c.isTLS {
		offer("AUTH", "PLAIN EXTERNAL")
	} else {
		offer("STARTTLS", "")
	}
	for i := range lines {
		lines[i] = "250" + map[bool]string{true: " ", false: "-"}[i == len(lines)-1] + lines[i]
	}
	return c.say(lines...)
}

func (c *smtpConn) startTLS(arg string) error {
	switch {
	case c.isTLS:
		return c.wrongly("503 5.5.1 TLS is on already")
	case arg != "":
		return c.wrongly("501 5.5.4 No parameter is expected")
	case slices.Contains(c.s.o.rules().Hide, "STARTTLS"):
		return c.wrongly("502 5.5.1 Not implemented")
	}
	if stop, err := c.trouble(stageSTARTTLS, ""); stop || err != nil {
		return err
	}
	if c.r.Buffered() > 0 { // commands slipped in before the protection
		return errors.Join(c.say("501 5.5.4 Nothing may follow STARTTLS"), io.EOF)
	}
	if err := c.say("220 2.0.0 Ready to start TLS"); err != nil {
		return err
	}
	settings := c.s.tls.Clone()
	settings.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.offered = nil
		for _, one := range hello.CipherSuites {
			if one&0x0f0f != 0x0a0a {
				c.offered = append(c.offered, fmt.Sprintf("%04X", one))
			}
		}
		return nil, nil // the same settings for all
	}
	conn := tls.Server(c.conn, settings)
	timer := time.AfterFunc(smtpTimeout, func() { conn.NetConn().Close() })
	defer timer.Stop()
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.state, c.isTLS = conn.ConnectionState(), true
	c.hello, c.now = "", nil
	c.use(conn)
	return nil
}

// who is the mailbox that the client certificate stands for.
func (c *smtpConn) who() (string, string) {
	switch {
	case len(c.state.PeerCertificates) == 0:
		return "", "530 5.7.0 A client certificate (BAL APP) is required"
	case c.state.PeerCertificates[0].Subject.CommonName != commonNames[roleBALApp]:
		return "", "550 5.7.1 This certificate is not one of an application mailbox"
	}
	return c.s.o.gateway, ""
}

func (c *smtpConn) auth(arg string) error {
	if c.hello == "" || c.login != "" || c.now != nil {
		return c.wrongly("503 5.5.1 Not now")
	}
	if stop, err := c.trouble(stageAUTH, ""); stop || err != nil {
		return err
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	if mechanism != "PLAIN" && mechanism != "EXTERNAL" {
		return c.wrongly("504 5.5.4 PLAIN or EXTERNAL")
	}
	if !given {
		if err := c.say("334 "); err != nil {
			return err
		}
		var err error
		if initial, err = c.line(); err != nil {
			return err
		}
	}
	if initial == "*" {
		return c.wrongly("501 5.0.0 Given up")
	}
	login, ok := saslLogin(mechanism, initial)
	if !ok {
		return c.wrongly("501 5.5.2 Malformed response")
	}
	mailbox, refusal := c.who()
	if refusal != "" || (login != mailbox && (login != "" || mechanism == "PLAIN")) {
		return c.wrongly("535 5.7.8 Certificate and mailbox do not go together")
	}
	c.login = mailbox
	return c.say("235 2.7.0 OK")
}

func (c *smtpConn) mail(arg string) error {
	mailbox, refusal := c.who()
	rules := c.s.o.rules()
	switch {
	case c.hello == "":
		return c.wrongly("503 5.5.1 EHLO first")
	case refusal != "":
		return c.wrongly(refusal)
	case rules.AuthRequired && c.login == "":
		return c.wrongly("530 5.7.0 Authentication required")
	case c.now != nil:
		return c.wrongly("503 5.5.1 A letter is under way")
	}
	from, params, ok := pathOf(arg, "FROM:")
	if !ok {
		return c.wrongly("501 5.5.4 MAIL FROM:<address> is expected")
	}
	c.now = &Submission{Time: c.s.o.now().UTC(), CommonName: c.state.PeerCertificates[0].Subject.CommonName,
		TLS: tls.VersionName(c.state.Version), Suite: tls.CipherSuiteName(c.state.CipherSuite), Offered: c.offered,
		Login: c.login, Hello: c.hello, From: from, Recipients: []SubmissionRecipient{}}
	now := c.now
	defer func() {
		if c.now == nil {
			c.s.o.record(*now)
		}
	}()
	no := func(reply string) error {
		err := c.say(reply)
		c.now = nil
		return err
	}
	for name, value := range params {
		var err error
		switch name {
		case "SIZE":
			now.Size, err = strconv.ParseInt(value, 10, 64)
			if err == nil && now.Size > rules.Size {
				return no("552 5.3.4 Message size exceeds " + strconv.FormatInt(rules.Size, 10))
			}
		case "BODY":
			if v := strings.ToUpper(value); v != "7BIT" && v != "8BITMIME" {
				err = errors.New("body")
			}
		case "RET":
			if now.Return = strings.ToUpper(value); now.Return != "FULL" && now.Return != "HDRS" {
				err = errors.New("ret")
			}
		case "ENVID":
			if now.EnvelopeID, ok = xtext(value); !ok || len(now.EnvelopeID) > 100 {
				err = errors.New("envid")
			}
		case "AUTH":
		default:
			return no("555 5.5.4 Unknown parameter")
		}
		if err != nil {
			return no("501 5.5.4 Malformed parameter " + name)
		}
	}
	if stop, err := c.trouble(stageMAIL, from); stop || err != nil {
		c.now = nil
		return err
	}
	if from != "" {
		a, err := mss.ParseAddress(from)
		if err != nil {
			return no("501 5.1.7 Malformed address")
		}
		if a.Key() != mailbox {
			return no("550 5.7.1 This certificate writes for another mailbox")
		}
	}
	return c.say("250 2.1.0 OK")
}

func (c *smtpConn) rcpt(arg string) error {
	if c.now == nil {
		return c.wrongly("503 5.5.1 MAIL first")
	}
	to, params, ok := pathOf(arg, "TO:")
	if !ok || to == "" {
		return c.wrongly("501 5.5.4 RCPT TO:<address> is expected")
	}
	r := SubmissionRecipient{Address: to}
	answer := func(reply string) error {
		r.Reply = reply
		c.now.Recipients = append(c.now.Recipients, r)
		return c.say(reply)
	}
	if n := c.s.o.rules().Recipients; len(c.now.Recipients) >= n {
		if len(c.now.Recipients) >= 2*n {
			return errors.Join(c.say("421 4.5.3 Too many recipients"), io.EOF)
		}
		return answer("452 4.5.3 Too many recipients")
	}
	for name, value := range params {
		switch name {
		case "NOTIFY":
			if r.Notify = strings.ToUpper(value); !validNotify(r.Notify) {
				return answer("501 5.5.4 Malformed NOTIFY")
			}
		case "ORCPT":
			kind, address, found := strings.Cut(value, ";")
			address, ok := xtext(address)
			if !found || !ok || len(value) > 500 || kind == "" {
				return answer("501 5.5.4 Malformed ORCPT")
			}
			r.Original = kind + ";" + address
		default:
			return answer("555 5.5.4 Unknown parameter")
		}
	}
	a, err := mss.ParseAddress(to)
	if err != nil {
		return answer("501 5.1.3 Malformed address")
	}
	r.key = a.Key()
	if stop, err := c.trouble(stageRCPT, r.key); stop || err != nil {
		if err == nil {
			r.Reply = c.now.Reply
			c.now.Recipients = append(c.now.Recipients, r)
		}
		return err
	}
	refusal, bounce := c.s.o.judge(c.now.From, a)
	if refusal != "" {
		return answer(refusal)
	}
	r.bounce = bounce
	return answer("250 2.1.5 OK")
}

func (c *smtpConn) data(arg string) error {
	if c.now == nil || !slices.ContainsFunc(c.now.Recipients, SubmissionRecipient.taken) {
		return c.wrongly("503 5.5.1 No recipient")
	}
	if arg != "" {
		return c.wrongly("501 5.5.4 No parameter is expected")
	}
	now := c.now
	defer func() { c.now = nil; c.s.o.record(*now) }()
	if stop, err := c.trouble(stageDATA, now.From); stop || err != nil {
		return err
	}
	if err := c.say("354 End with <CRLF>.<CRLF>"); err != nil {
		return err
	}
	now.Reply = ""
	timer := time.AfterFunc(smtpTimeout, func() { c.conn.Close() })
	raw, refusal, err := readMail(c.r, c.s.o.rules().Size)
	timer.Stop()
	if err != nil {
		return err
	}
	now.Size = int64(len(raw))
	if refusal == "" {
		now.MessageID, refusal = examine(raw)
	}
	c.s.o.smtp.received("DATA")
	t, release := c.s.o.strikeSMTP(stageDot, now.From)
	if t.Mode == "" || t.When != After {
		if stop, err := c.suffer(t, release); stop || err != nil {
			return err
		}
	}
	if refusal != "" {
		return c.say(refusal)
	}
	id, err := c.s.o.take(now, raw, c.received())
	if err != nil {
		return c.say("451 4.3.0 The disk refuses")
	}
	now.Stored = true
	c.s.o.smtp.count(func(n *Counters) { n.Processed++ })
	if t.When == After {
		if stop, err := c.suffer(t, release); stop || err != nil {
			return err
		}
	}
	err = c.say("250 2.0.0 queued as " + id)
	if err == nil {
		c.s.o.smtp.count(func(n *Counters) { n.Answered++ })
	}
	return err
}

func (r SubmissionRecipient) taken() bool { return strings.HasPrefix(r.Reply, "250") }

// received is the trace header of this hop.
func (c *smtpConn) received() string {
	return "Received: from " + c.hello + " by " + c.s.o.domain + " with ESMTPS; " + c.s.o.now().Format(time.RFC1123Z) + "\r\n"
}
