package fhir

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// ClientConfig says where the DMP is and how to be believed there.
type ClientConfig struct {
	BaseURL   string           // FHIR base
	TokenURL  string           // token endpoint of the DMP's authorization server
	ClientID  string           // as registered there
	TLS       *tls.Config      // client certificate and roots
	Clock     func() time.Time // required
	Timeout   time.Duration    // of one exchange; 0 means 30 s
	MaxAnswer int64            // bytes of one answer; 0 means 4 MiB
}

// Client is one DMP. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	http      *http.Client
	tokens    *tokens
	maxAnswer int64
}

// NewClient makes a client; it opens no connection.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.BaseURL, "/"))
	if err != nil || base.Host == "" {
		return nil, errors.New("dmp/fhir: BaseURL is not an absolute URL")
	}
	if u, err := url.Parse(cfg.TokenURL); err != nil || u.Host == "" {
		return nil, errors.New("dmp/fhir: TokenURL is not an absolute URL")
	}
	if cfg.Clock == nil {
		return nil, errors.New("dmp/fhir: a clock is required")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.MaxAnswer <= 0 {
		cfg.MaxAnswer = 4 << 20
	}
	hc := &http.Client{
		Timeout:   cfg.Timeout,
		Transport: &http.Transport{TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute},
		// A redirection would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{
		base:      base,
		http:      hc,
		tokens:    &tokens{url: cfg.TokenURL, clientID: cfg.ClientID, http: hc, clock: cfg.Clock, cached: map[tokenKey]token{}},
		maxAnswer: cfg.MaxAnswer,
	}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Deposit hands over a lot (ITI-65). Sent again with the same LotID it creates
// no second one.
func (c *Client) Deposit(ctx context.Context, d dmp.Deposit) (dmp.Deposited, error) {
	body, err := BuildITI65(d)
	if err != nil {
		return dmp.Deposited{}, err
	}
	answer, err := c.do(ctx, d.Caller, call{op: opDeposit, method: http.MethodPost, contentType: MediaType, body: body})
	if err != nil {
		return dmp.Deposited{}, err
	}
	var bundle Bundle
	if err := answer.bundle("transaction-response", &bundle); err != nil {
		return dmp.Deposited{}, err
	}
	replaced := 0
	for _, doc := range d.Documents {
		if doc.ReplacesID != "" {
			replaced++
		}
	}
	if want := 1 + 2*len(d.Documents) + replaced; len(bundle.Entry) != want {
		return dmp.Deposited{}, answer.bad("Bundle.entry")
	}
	var out dmp.Deposited
	for i, e := range bundle.Entry {
		where := fmt.Sprintf("Bundle.entry[%d].response", i)
		if e.Response == nil || !strings.HasPrefix(e.Response.Status, "2") {
			return dmp.Deposited{}, answer.bad(where + ".status")
		}
		if len(e.Response.Outcome) > 0 {
			codes, err := warnings(e.Response.Outcome)
			if err != nil {
				return dmp.Deposited{}, answer.bad(where + ".outcome")
			}
			out.Warnings = append(out.Warnings, codes...)
		}
		kind := ""
		switch {
		case i == 0:
			kind = "List"
		case i <= len(d.Documents):
			kind = "DocumentReference"
		case i > len(d.Documents)+replaced:
			// Nothing of ours hangs on it: a DMP that gives none is believed.
			location, _ := c.location(e.Response.Location, "Binary")
			out.Binaries = append(out.Binaries, location)
			continue
		default:
			continue
		}
		location, ok := c.location(e.Response.Location, kind)
		if !ok {
			return dmp.Deposited{}, answer.bad(where + ".location")
		}
		if i == 0 {
			out.Lot = location
		} else {
			if i == 1 {
				out.Status = e.Response.Status[:min(3, len(e.Response.Status))]
			}
			out.Locations = append(out.Locations, location)
		}
	}
	return out, nil
}

// location keeps Resource/id[/_history/v] of a location, absolute or relative.
func (c *Client) location(raw, kind string) (string, bool) {
	raw = strings.TrimPrefix(strings.TrimPrefix(raw, c.base.String()), "/")
	if i := strings.LastIndex(raw, "/"+kind+"/"); i >= 0 && strings.Contains(raw, "://") {
		raw = raw[i+1:]
	}
	parts := strings.Split(raw, "/")
	ok := len(parts) == 2 || len(parts) == 4 && parts[2] == "_history" && IsID(parts[3])
	if !ok || parts[0] != kind || !IsID(parts[1]) {
		return "", false
	}
	return raw, true
}

// IsID tells whether s can be the id of a FHIR resource.
func IsID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return false
		}
	}
	return true
}

// Find asks for one document by its uniqueId (TD3.1b), whatever its status. It
// returns nil when the DMP does not know it or holds it as deleted.
func (c *Client) Find(ctx context.Context, caller dmp.Caller, patient ins.Identity, id dmp.ID) (*dmp.Held, error) {
	if id.Extension != "" {
		return nil, &Error{code: FaultIDExtension, where: "masterIdentifier"}
	}
	if id.Root == "" || patient.Matricule == "" || patient.OID == "" {
		return nil, &Error{code: FaultIncomplete, where: "masterIdentifier"}
	}
	urn := OIDPrefix + id.Root
	form := url.Values{
		"patient.identifier": {OIDPrefix + string(patient.OID) + "|" + patient.Matricule},
		"identifier":         {SystemURN + "|" + urn},
	}
	answer, err := c.do(ctx, caller, call{op: opFind, method: http.MethodPost, path: "/DocumentReference/_search",
		contentType: "application/x-www-form-urlencoded", body: []byte(form.Encode())})
	if err != nil {
		return nil, err
	}
	var bundle Bundle
	if err := answer.bundle("searchset", &bundle); err != nil {
		return nil, err
	}
	var held *dmp.Held
	for i, e := range bundle.Entry {
		where := fmt.Sprintf("Bundle.entry[%d].resource", i)
		node, err := Parse(e.Resource)
		if err != nil {
			return nil, answer.bad(where)
		}
		if node.Get("resourceType").Text() == "OperationOutcome" {
			continue
		}
		var r DocumentReference
		if err := node.Decode(&r); err != nil || r.ResourceType != "DocumentReference" || !IsID(r.ID) || held != nil {
			return nil, answer.bad(where)
		}
		if r.MasterIdentifier == nil || r.MasterIdentifier.Value != urn {
			return nil, answer.bad(where + ".masterIdentifier")
		}
		held = &dmp.Held{ID: r.ID, UniqueID: id, Status: r.Status}
		switch r.Status {
		case "current", "superseded", "entered-in-error":
		default:
			return nil, answer.bad(where + ".status")
		}
		if len(r.Content) != 1 {
			return nil, answer.bad(where + ".content")
		}
		a := r.Content[0].Attachment
		sum, err := base64.StdEncoding.DecodeString(a.Hash)
		if err != nil || len(sum) != 20 {
			return nil, answer.bad(where + ".content.attachment.hash")
		}
		held.SHA1, held.Size = sum, a.Size
	}
	if held != nil && held.Status == "entered-in-error" {
		return nil, nil
	}
	return held, nil
}

// Delete marks a document as deleted (TD3.3c). A document that is already
// deleted is a success.
func (c *Client) Delete(ctx context.Context, caller dmp.Caller, _ ins.Identity, technicalID string) error {
	if !IsID(technicalID) {
		return &Error{code: FaultIncomplete, where: "DocumentReference.id"}
	}
	answer, err := c.do(ctx, caller, call{op: opDelete, method: http.MethodPatch, path: "/DocumentReference/" + technicalID,
		contentType: "application/json-patch+json",
		body:        []byte(`[{"op":"replace","path":"/status","value":"entered-in-error"}]`)})
	var refused *Error
	if errors.As(err, &refused) && refused.ack == "410" && refused.code == FaultUnknown {
		return nil
	}
	if err != nil {
		return err
	}
	node, err := answer.json()
	if err != nil {
		return err
	}
	if node.Get("resourceType").Text() != "DocumentReference" || node.Get("id").Text() != technicalID ||
		node.Get("status").Text() != "entered-in-error" {
		return answer.bad("DocumentReference.status")
	}
	return nil
}

// op is the transaction that an answer belongs to: the same status does not
// mean the same thing for all.
type op int

const (
	opDeposit op = iota
	opFind
	opDelete
)

type call struct {
	op          op
	method      string
	path        string
	contentType string
	body        []byte
}

// answer is a success of the DMP, not yet believed.
type answer struct {
	status      int
	contentType string
	body        []byte
}

func (a *answer) bad(where string) error {
	return &Error{code: FaultBadAnswer, where: where, ack: strconv.Itoa(a.status)}
}

func (a *answer) json() (*Node, error) {
	kind, _, err := mime.ParseMediaType(a.contentType)
	if err != nil || kind != MediaType && kind != "application/json" {
		return nil, a.bad("Content-Type")
	}
	node, err := Parse(a.body)
	if err != nil {
		return nil, a.bad("")
	}
	return node, nil
}

func (a *answer) bundle(kind string, into *Bundle) error {
	node, err := a.json()
	if err != nil {
		return err
	}
	if err := node.Decode(into); err != nil || into.ResourceType != "Bundle" || into.Type != kind {
		return a.bad("Bundle.type")
	}
	return nil
}

// do makes one call with a token, and a second one with a fresh token when the
// first was refused.
func (c *Client) do(ctx context.Context, caller dmp.Caller, what call) (*answer, error) {
	key, err := keyOf(caller)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		tok, err := c.tokens.get(ctx, key)
		if err != nil {
			return nil, err
		}
		a, err := c.once(ctx, tok, what)
		var refused *Error
		if errors.As(err, &refused) && refused.ack == "401" {
			c.tokens.forget(key, tok)
			if attempt == 0 {
				continue
			}
		}
		return a, err
	}
}

func (c *Client) once(ctx context.Context, tok string, what call) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, what.method, c.base.String()+what.path, bytes.NewReader(what.body))
	if err != nil {
		return nil, &Error{code: FaultIncomplete, cause: err}
	}
	req.Header.Set("Authorization", "Bearer "+tok)
	req.Header.Set("Content-Type", what.contentType)
	req.Header.Set("Accept", MediaType)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.maxAnswer+1))
	a := &answer{status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"), body: body}
	switch {
	case err != nil && isTimeout(err):
		return nil, &Error{code: FaultTimeout, ack: strconv.Itoa(a.status), cause: err}
	case err != nil:
		return nil, &Error{code: FaultBadAnswer, ack: strconv.Itoa(a.status), cause: err}
	case int64(len(body)) > c.maxAnswer:
		return nil, a.bad("")
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated:
		return a, nil
	}
	return nil, refusal(what.op, a)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// transportError classifies a call that got no answer. Its text may name the
// host, never the identity: no identity stands in a URL.
func transportError(err error) error {
	if isTimeout(err) {
		return &Error{code: FaultTimeout, cause: err}
	}
	return &Error{code: FaultUnreachable, cause: err}
}
