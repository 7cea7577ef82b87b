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
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	raw, err := Exchange(ctx, target, message, func() {
		if c.Trace != nil {
			c.Trace(n)
		}
	})
	if err != nil {
		return err
	}
	return judge(raw, n.ControlID)
}

// judge reads the answer to a message of ours.
func judge(raw []byte, controlID string) error {
	a, err := ReadAnswer(raw)
	if err != nil {
		return err
	}
	if a.ControlID != controlID {
		return &Refusal{Code: FaultNoticeAnswer, Where: "MSA^1^2"}
	}
	switch a.Code {
	case "AA":
		return nil
	case "AE":
		return &Refusal{Code: FaultNoticeRefused, Answer: a.Code}
	case "AR":
		return &Refusal{Code: FaultNoticeBusy, Answer: a.Code}
	}
	return &Refusal{Code: FaultNoticeAnswer, Where: "MSA^1^1"}
}

// Exchange sends one message by MLLP and returns the frame that answers it.
// sent, if not nil, is called when all bytes were written. ctx bounds the whole
// exchange.
func Exchange(ctx context.Context, target Target, message []byte, sent func()) ([]byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", target.Address)
	if err != nil {
		return nil, &Refusal{Code: FaultNoticeDown, Cause: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })
	defer stop()
	if target.TLS != nil {
		cfg := target.TLS
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			if host, _, err := net.SplitHostPort(target.Address); err == nil {
				cfg.ServerName = host
			}
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &Refusal{Code: FaultNoticeDown, Cause: err}
		}
		conn = secure
	}
	if err := WriteFrame(conn, message); err != nil {
		return nil, &Refusal{Code: FaultNoticeSilent, Cause: err}
	}
	if sent != nil {
		sent()
	}
	f, err := NewReader(conn, maxAnswer, nil).Next()
	switch {
	case errors.Is(err, ErrNoise):
		return nil, &Refusal{Code: FaultNoticeAnswer, Cause: err}
	case err != nil:
		return nil, &Refusal{Code: FaultNoticeSilent, Cause: err}
	case f.Refused != nil:
		return nil, &Refusal{Code: FaultNoticeAnswer, Cause: f.Refused}
	}
	return f.Bytes, nil
}
