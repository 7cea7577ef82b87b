package hl7v2

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

// Target is where an application of the hospital listens.
type Target struct {
	Address string
	TLS     *tls.Config // nil: in clear
}

// Client tells the hospital software what became of its messages; it is the
// gateway's [gateway.Hospital]. One connection carries one message: the volume
// is small, and a connection that a firewall forgot costs a delivery.
type Client struct {
	// Route finds the application that a notice is for.
	Route func(gateway.Establishment, gateway.Party) (Target, bool)
	// Timeout of one exchange, connection included; 30 s if zero.
	Timeout time.Duration
	// Zone of the times written; nil keeps the one of the notice.
	Zone *time.Location
	// Trace is told when the bytes of a notice have been written.
	Trace func(gateway.Notice)
}

const (
	defaultTimeout = 30 * time.Second
	maxAnswer      = 1 << 20
)

// Notify sends one notice and waits for its acknowledgement. AA is success; AE
// is permanent, because the same bytes would be refused again; AR, silence and
// an answer to something else are temporary.
func (c *Client) Notify(ctx context.Context, n gateway.Notice) error {
	message, err := RenderNotice(n, c.Zone)
	if err != nil {
		return err
	}
	target, ok := c.Route(n.Establishment, n.To)
	if !ok {
		return refuse(FaultNoticeRoute, "")
	}
	e := errand{target: target, timeout: c.Timeout, message: message, controlID: n.ControlID, words: noticeWords}
	if c.Trace != nil {
		e.sent = func() { c.Trace(n) }
	}
	return e.run(ctx)
}

// words are the codes for what can become of a message of ours: they differ by
// message, because the remedies do.
type words struct{ down, silent, answer, busy, refused string }

var (
	noticeWords = words{FaultNoticeDown, FaultNoticeSilent, FaultNoticeAnswer, FaultNoticeBusy, FaultNoticeRefused}
	mdmWords    = words{FaultMDMDown, FaultMDMSilent, FaultMDMAnswer, FaultMDMBusy, FaultMDMRefused}
)

// errand is one message of ours on its way to an application, until its answer.
type errand struct {
	target    Target
	timeout   time.Duration
	message   []byte
	controlID string
	sent      func()
	words     words
}

func (e errand) run(ctx context.Context) error {
	if e.timeout <= 0 {
		e.timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	raw, err := e.exchange(ctx)
	if err != nil {
		return err
	}
	return e.judge(raw)
}

// judge reads the answer to a message of ours.
func (e errand) judge(raw []byte) error {
	a, err := ReadAnswer(raw)
	if err != nil {
		return &Refusal{Code: e.words.answer, Cause: err}
	}
	if a.ControlID != e.controlID {
		return &Refusal{Code: e.words.answer, Where: "MSA^1^2"}
	}
	switch a.Code {
	case "AA":
		return nil
	case "AE":
		return &Refusal{Code: e.words.refused, Answer: a.Code, Application: a.application()}
	case "AR":
		return &Refusal{Code: e.words.busy, Answer: a.Code}
	}
	return &Refusal{Code: e.words.answer, Where: "MSA^1^1"}
}

// application is the first ERR-5 of the table of the volet. Its system has two
// spellings there, so the code alone is looked at.
func (a Answer) application() string {
	for _, e := range a.Errors {
		if _, ok := applicationTexts[e.Application]; ok {
			return e.Application
		}
	}
	return ""
}

// Exchange sends one message by MLLP and returns the frame that answers it.
// sent, if not nil, is called when all bytes were written. ctx bounds the whole
// exchange.
func Exchange(ctx context.Context, target Target, message []byte, sent func()) ([]byte, error) {
	return errand{target: target, message: message, sent: sent, words: noticeWords}.exchange(ctx)
}

func (e errand) exchange(ctx context.Context) ([]byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", e.target.Address)
	if err != nil {
		return nil, &Refusal{Code: e.words.down, Cause: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })
	defer stop()
	if e.target.TLS != nil {
		cfg := e.target.TLS
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			if host, _, err := net.SplitHostPort(e.target.Address); err == nil {
				cfg.ServerName = host
			}
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &Refusal{Code: e.words.down, Cause: err}
		}
		conn = secure
	}
	if err := WriteFrame(conn, e.message); err != nil {
		return nil, &Refusal{Code: e.words.silent, Cause: err}
	}
	if e.sent != nil {
		e.sent()
	}
	f, err := NewReader(conn, maxAnswer, nil).Next()
	switch {
	case errors.Is(err, ErrNoise):
		return nil, &Refusal{Code: e.words.answer, Cause: err}
	case err != nil:
		return nil, &Refusal{Code: e.words.silent, Cause: err}
	case f.Refused != nil:
		return nil, &Refusal{Code: e.words.answer, Cause: f.Refused}
	}
	return f.Bytes, nil
}
