package insi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/passerelle-sante/passerelle/ins"
)

// Config is what a client needs. Everything but Timeout, Attempts and
// Verification is required.
type Config struct {
	URL         string       // https
	HTTP        *http.Client // with the certificate, see [NewHTTPClient]
	Auth        Authenticator
	Software    Software
	Environment ins.Environment
	Tracer      Tracer
	Clock       func() time.Time
	Rand        io.Reader
	Logger      *slog.Logger

	Timeout      time.Duration // of one call; 30 seconds when it is 0
	Attempts     int           // of one search; 8 when it is 0
	Verification *Verification // nil: verification is off
}

// Client asks INSi. It may be used by several goroutines.
type Client struct {
	cfg   Config
	calls chan struct{} // one for each call under way
}

// atOnce bounds the calls under way: while INSi hangs, those who ask wait for it
// with what they brought in memory. One more is refused at once, and not called.
const atOnce = 32

// New judges a configuration and makes a client. It calls nobody.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	for _, c := range [...]struct {
		ok    bool
		where string
	}{
		{err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "", "url"},
		{cfg.HTTP != nil, "http"},
		{cfg.Auth != nil, "auth"},
		{cfg.Software.Authorisation != "" && cfg.Software.Name != "" && cfg.Software.Version != "", "software"},
		{uuid.Validate(cfg.Software.Instance) == nil, "instance"},
		{slices.Contains([]ins.Environment{ins.Production, ins.Test, ins.Sandbox}, cfg.Environment), "environment"},
		{cfg.Tracer != nil, "tracer"},
		{cfg.Clock != nil, "clock"},
		{cfg.Rand != nil, "rand"},
		{cfg.Logger != nil, "logger"},
		{cfg.Timeout >= 0 && cfg.Timeout <= 10*time.Minute, "timeout"},
		{cfg.Attempts >= 0 && cfg.Attempts <= 50, "attempts"},
		{cfg.Verification == nil || cfg.Verification.complete(), "verification"},
	} {
		if !c.ok {
			return nil, fail(FaultConfig, c.where, nil)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 8
	}
	return &Client{cfg, make(chan struct{}, atOnce)}, nil
}

// SearchVitale asks by what was read of a carte Vitale, in one call.
func (c *Client) SearchVitale(ctx context.Context, who Actor, subject string, v Vitale) (Answer, error) {
	if err := admit(who); err != nil {
		return Answer{}, err
	}
	if err := v.check(); err != nil {
		return Answer{}, err
	}
	return c.search(ctx, who, call{op: OpVitale, action: actionCarte, subject: subject, attempt: 1, criteria: v.names(), coverage: v.coverage, body: v.body})
}

// Verdict is the answer to a verification. INSi says yes or no and never
// corrects a trait.
type Verdict struct {
	Agrees    bool      `json:"agrees"`
	Code      string    `json:"code"`
	MessageID string    `json:"message_id"`
	At        time.Time `json:"at"`
}

// Err is the verdict in the words of the error table; nil when INSi agrees.
func (v Verdict) Err() error {
	if v.Agrees {
		return nil
	}
	return fail(FaultDisagrees, "", nil)
}

// Verify asks whether a matricule, its OID and the traits belong to one person.
// UNCONFIRMED: see [Verification].
func (c *Client) Verify(ctx context.Context, who Actor, q Query) (Verdict, error) {
	v := c.cfg.Verification
	if v == nil {
		return Verdict{}, fail(FaultUnconfirmed, "verification", nil)
	}
	if err := errors.Join(admit(who), ins.MayCallINSi(q.Identity)); err != nil {
		return Verdict{}, err
	}
	if err := ins.CheckMatricule(q.Identity.Matricule, q.Identity.OID); err != nil {
		return Verdict{}, err
	}
	crit, err := criteriaOf(q.Identity.Traits)
	if err != nil {
		return Verdict{}, err
	}
	given, err := givenNames(q.Identity.Traits)
	if err != nil {
		return Verdict{}, err
	}
	if list, err := ins.GivenNameForINSi(q.Identity.Traits.GivenNames); err == nil {
		given = strings.Fields(list)
	}
	var verdict Verdict
	one := call{op: OpVerify, action: v.Action, subject: q.Subject, attempt: 1,
		criteria: append([]string{ins.TraitMatricule, ins.TraitOID}, crit.names()...),
		body:     func(w *writer) { v.body(w, q.Identity, crit, given) }}
	err = c.exchange(ctx, who, one, func(e *element, t *Trace) error {
		code := e.value("CR", "CodeCR")
		switch {
		case !e.is(v.AnswerNamespace, v.AnswerRoot):
			return fail(FaultAnswer, v.AnswerRoot, nil)
		case !slices.Contains(v.Agree, code) && !slices.Contains(v.Disagree, code):
			return fail(FaultAnswer, "CodeCR", nil)
		}
		t.Result = code
		verdict = Verdict{Agrees: slices.Contains(v.Agree, code), Code: code, MessageID: t.MessageID, At: t.At}
		return nil
	})
	if err != nil {
		return Verdict{}, err
	}
	return verdict, nil
}

// admit refuses who does not say who they are (INS va1.49).
func admit(who Actor) error {
	switch {
	case who.ID == "" || len(who.ID) > 200:
		return fail(FaultActor, "actor", nil)
	case who.FINESSGeo == "" || len(who.FINESSGeo) > 20:
		return fail(FaultActor, "finess_geo", nil)
	}
	return nil
}

// search makes one call of a search.
func (c *Client) search(ctx context.Context, who Actor, one call) (Answer, error) {
	var answer Answer
	err := c.exchange(ctx, who, one, func(e *element, t *Trace) (err error) {
		answer, err = readResult(e, c.cfg.Environment)
		if err != nil {
			return err
		}
		t.Result = string(answer.Result)
		answer.Operation, answer.MessageID, answer.At = one.op, t.MessageID, t.At
		return nil
	})
	if err != nil {
		return Answer{}, err
	}
	return answer, nil
}

// exchange makes one call and keeps its trace, whatever became of it. read reads
// the body of the answer.
func (c *Client) exchange(ctx context.Context, who Actor, one call, read func(*element, *Trace) error) error {
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	default:
		return fail(FaultBusy, "", nil)
	}
	var ids [4]string
	for i := range ids {
		id, err := uuid.NewRandomFromReader(c.cfg.Rand)
		if err != nil {
			return fail(FaultConfig, "rand", err)
		}
		ids[i] = id.String()
	}
	at := c.cfg.Clock()
	cred, err := c.cfg.Auth.Authenticate(ctx, Caller{Actor: who, ID: ids[3], At: at})
	if err != nil {
		var own *Error
		if errors.As(err, &own) {
			return err
		}
		return fail(FaultCredential, "", err)
	}
	request, err := one.envelope([3]string(ids[:3]), at.UTC().Format(instant), cred, c.cfg.Software)
	if err != nil {
		return err
	}
	trace := Trace{Operation: one.op, MessageID: messageID(ids[2]), At: at, Actor: who, Subject: one.subject,
		Attempt: one.attempt, Criteria: one.criteria, Request: request}
	trace.Response, err = c.post(ctx, request, cred)
	if err == nil {
		err = c.judge(trace.Response, read, &trace)
	}
	trace.Took = c.cfg.Clock().Sub(at)
	var own *Error
	if errors.As(err, &own) {
		trace.Fault, trace.Remote = own.code, own.RemoteCode()
	}
	c.cfg.Logger.Info("insi", "call", trace)
	// Who gave up is traced as well.
	if kept := c.cfg.Tracer.Keep(context.WithoutCancel(ctx), trace); kept != nil {
		var own interface{ FaultCode() string }
		if errors.As(kept, &own) {
			return kept // a full disk is that, and no trouble of INSi
		}
		return fail(FaultTrace, "", errors.Join(kept, err))
	}
	return err
}

// judge reads an answer: a SOAP fault, or what read expects.
func (c *Client) judge(response []byte, read func(*element, *Trace) error, trace *Trace) error {
	e, ok := bodyOf(response)
	if !ok {
		return fail(FaultAnswer, "Envelope", nil)
	}
	if fault, is := faultOf(e); is {
		return fault
	}
	return read(e, trace)
}

// post sends a request and gives the answer, when it may be SOAP.
func (c *Client) post(ctx context.Context, request []byte, cred Credential) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, bytes.NewReader(request))
	if err != nil {
		return nil, fail(FaultConfig, "url", nil)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", "application/soap+xml")
	if cred.Prepare != nil {
		if err := cred.Prepare(r); err != nil {
			return nil, err
		}
	}
	client := *c.cfg.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(r)
	if err != nil {
		return nil, network(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, network(err)
	}
	_, soap := bodyOf(body)
	switch s := res.StatusCode; {
	case soap && (s == http.StatusOK || s >= 400):
		// The envelope says more than the status.
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return body, fail(FaultRights, "", nil)
	case s == http.StatusTooManyRequests || s >= 500:
		return body, fail(FaultUnavailable, "", nil)
	default:
		return body, fail(FaultAnswer, "", nil)
	}
	return body, nil
}

// network classifies a failure below HTTP. The cause is not kept: its text would
// only repeat the address.
func network(err error) *Error {
	var certificate *tls.CertificateVerificationError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return fail(FaultInterrupted, "", context.Canceled)
	case errors.As(err, &certificate):
		return fail(FaultServer, "", nil)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fail(FaultTimeout, "", context.DeadlineExceeded)
	}
	return fail(FaultUnreachable, "", nil)
}
