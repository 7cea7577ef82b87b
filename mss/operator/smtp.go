package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/passerelle-sante/passerelle/mss"
)

// Fate is what became of a letter for one recipient, as far as this submission
// tells.
type Fate string

// The four fates.
const (
	Accepted  Fate = "accepted"  // the operator answers for it
	Temporary Fate = "temporary" // nothing was handed over: send again
	Permanent Fate = "permanent" // sending again changes nothing
	Unknown   Fate = "unknown"   // lost after the final dot: the operator may hold it
)

// Outcome is the fate of a letter for one recipient.
type Outcome struct {
	To       mss.Address
	Fate     Fate
	SMTP     int    // reply code; 0 when there was no reply
	Enhanced string // 5.1.1; empty when there was none
	Queue    string // what the operator said on accepting; bounded, one line
	DSN      bool   // a delivery report was asked for: false when the operator knows none
	Err      error  // an [*Error], or an [*mss.Error]; nil when accepted
}

// ErrorCode is the outcome in the HL7 table SMTPERRORCODE.
func (o Outcome) ErrorCode() int { return mss.SMTPErrorCode(o.SMTP, o.Enhanced) }

// Envelope is one submission.
type Envelope struct {
	From mss.Address
	To   []mss.Address
	ID   string // ENVID: id of the delivery
	Raw  []byte // RFC 5322, CRLF
}

// SMTP submits letters. Make one with [NewSMTP].
type SMTP struct {
	server Server
	hello  string
}

// NewSMTP checks the door; hello is the name given in EHLO.
func NewSMTP(server Server, hello string) (*SMTP, error) {
	if err := server.check(); err != nil {
		return nil, err
	}
	if hello == "" || strings.ContainsAny(hello, " \r\n") {
		return nil, &mss.Error{Code: mss.FaultSender, Where: "hello"}
	}
	return &SMTP{server, hello}, nil
}

// Submit hands a letter over. It gives one outcome for each recipient, in their
// order, whatever happens; when ctx ends, the connection is cut where it stands.
func (s *SMTP) Submit(ctx context.Context, e Envelope) []Outcome {
	t := &transaction{out: make([]Outcome, len(e.To))}
	for i, to := range e.To {
		t.out[i].To = to
	}
	if len(e.To) == 0 {
		return t.out
	}
	conn, err := s.server.dial(ctx)
	if err != nil {
		return t.all("connect", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	c, err := s.start(ctx, conn)
	if err != nil {
		return t.all("starttls", err)
	}
	c.CommandTimeout, c.SubmissionTimeout = s.server.Timeout, s.server.Timeout
	// The handshake happens here, and so do its errors.
	if err := c.Hello(s.hello); err != nil {
		return t.all("tls", err)
	}
	if s.server.Username != "" {
		if !c.SupportsAuth(sasl.Plain) {
			return t.fail("login", &Error{Code: FaultLogin, Where: "login"})
		}
		if err := c.Auth(sasl.NewPlainClient("", s.server.Username, s.server.Password)); err != nil {
			return t.all("login", err)
		}
	}
	if max, ok := c.MaxMessageSize(); ok && max > 0 && len(e.Raw) > max {
		return t.fail("size", &mss.Error{Code: mss.FaultSize})
	}
	s.transfer(c, e, t)
	// The fates are decided; the server may say goodbye or not.
	_ = c.Quit()
	return t.out
}

// start goes as far as STARTTLS. The library waits five minutes for each answer
// here, so that the time is kept from outside.
func (s *SMTP) start(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, s.server.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	return smtp.NewClientStartTLS(conn, s.server.tls())
}

func (s *SMTP) transfer(c *smtp.Client, e Envelope, t *transaction) {
	if err := c.Mail(e.From.String(), &smtp.MailOptions{
		Size: int64(len(e.Raw)), Return: smtp.DSNReturnHeaders, EnvelopeID: e.ID,
	}); err != nil {
		t.all("mail", err)
		return
	}
	dsn, _ := c.Extension("DSN")
	some := false
	for i := range t.out {
		o := &t.out[i]
		err := c.Rcpt(o.To.String(), &smtp.RcptOptions{
			Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed},
			OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: o.To.String(),
		})
		o.DSN = dsn
		var reply *smtp.SMTPError
		switch {
		case err == nil:
			some = true
		case errors.As(err, &reply):
			o.settle("rcpt", err)
		default:
			t.all("rcpt", err)
			return
		}
	}
	if !some {
		return
	}
	w, err := c.Data()
	if err != nil {
		t.all("data", err)
		return
	}
	if _, err := w.Write(e.Raw); err != nil {
		// Closing would send the final dot after half a letter.
		t.all("data", err)
		return
	}
	done, err := w.CloseWithResponse()
	if err != nil {
		t.all("dot", err)
		return
	}
	for i := range t.out {
		if o := &t.out[i]; o.Fate == "" {
			o.Fate, o.SMTP, o.Queue = Accepted, 250, oneLine(done.StatusText)
		}
	}
}

// transaction holds the outcomes; those that are settled stay.
type transaction struct{ out []Outcome }

func (t *transaction) all(stage string, err error) []Outcome {
	for i := range t.out {
		if t.out[i].Fate == "" {
			t.out[i].settle(stage, err)
		}
	}
	return t.out
}

// fail settles with a refusal of our own.
func (t *transaction) fail(_ string, err error) []Outcome {
	for i := range t.out {
		t.out[i].Fate, t.out[i].Err = Permanent, err
	}
	return t.out
}

// settle classifies a failure. This is the one place where it is decided whether
// the same letter may be sent again.
func (o *Outcome) settle(stage string, err error) {
	e := &Error{Where: stage, Cause: err}
	var reply *smtp.SMTPError
	if errors.As(err, &reply) {
		e.SMTP = reply.Code
		if ec := reply.EnhancedCode; ec[0] >= 2 && ec[0] <= 5 {
			e.Enhanced = fmt.Sprintf("%d.%d.%d", ec[0], ec[1], ec[2])
		}
		switch {
		case stage == "dot" && reply.Code/100 == 2: // not 250, yet taken
			o.Fate, o.SMTP, o.Enhanced = Accepted, reply.Code, e.Enhanced
			return
		case reply.Code/100 == 5:
			o.Fate, e.Code = Permanent, FaultRefused
			switch {
			case stage == "login":
				e.Code = FaultLogin
			case stage == "starttls" && reply.Code < 510: // unknown or not implemented
				o.Fate, e.Code = Temporary, FaultSTARTTLS
			case strings.HasPrefix(e.Enhanced, "5.1.") || stage == "rcpt" && reply.Code == 550 && e.Enhanced == "":
				e.Code = FaultNoMailbox
			}
		default:
			o.Fate, e.Code = Temporary, FaultBusy
		}
		o.SMTP, o.Enhanced, o.Err = e.SMTP, e.Enhanced, e
		return
	}
	code := secure(err)
	var garbage textproto.ProtocolError
	switch {
	case stage == "dot":
		o.Fate, e.Code = Unknown, FaultFateUnknown
	case code == FaultClientCertificate:
		o.Fate, e.Code = Permanent, code
	case code != "":
		o.Fate, e.Code = Temporary, code
	case stage == "starttls" && !broken(err) && !errors.As(err, &garbage):
		// What is left is the library refusing to go on in clear.
		o.Fate, e.Code = Temporary, FaultSTARTTLS
	case stage == "mail" || stage == "rcpt":
		if !broken(err) && !errors.As(err, &garbage) {
			// The library refused to write the command: an address or an id that
			// no protocol can carry.
			o.Fate, e.Code = Permanent, FaultRefused
			break
		}
		fallthrough
	default:
		o.Fate, e.Code = Temporary, FaultDown
	}
	o.Err = e
}

// oneLine bounds what an operator says before it is kept.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}
