package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// Bounds of what a foreign system may answer.
const (
	maxFrame = 64 << 20
	maxBody  = 256 << 20
)

// grantPersona is the grant of the sandbox for the bearer of a fictitious
// professional.
const grantPersona = "urn:passerelle:params:oauth:grant-type:sandbox-persona"

// wire speaks to the target and records what is said.
type wire struct {
	target Target
	client *http.Client
	rec    *recorder
	bearer string
	last   map[string][32]byte // digest of the last answer, by request
	lastN  map[string]int
}

// mllp sends one message on a connection of its own, and reads one answer.
func (w *wire) mllp(ctx context.Context, label string, message []byte) (answer []byte, n int, err error) {
	x := Exchange{Began: w.rec.clock(), Channel: "mllp", Peer: w.target.Gateway.MLLP, Label: label}
	framed := make([]byte, 0, len(message)+3)
	framed = append(framed, 0x0b)
	framed = append(framed, message...)
	framed = append(framed, 0x1c, 0x0d)
	raw, err := roundTrip(ctx, w.target.Gateway.MLLP, framed)
	if err != nil {
		x.Error = err.Error()
	}
	n = w.rec.add(x, framed, raw)
	if err != nil {
		return nil, n, err
	}
	return raw[1 : len(raw)-2], n, nil
}

func roundTrip(ctx context.Context, address string, framed []byte) (raw []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxFrame))
	for {
		part, err := r.ReadBytes(0x0d)
		raw = append(raw, part...)
		if err != nil {
			return raw, fmt.Errorf("the answer is not a whole MLLP frame: %w", err)
		}
		if bytes.HasSuffix(raw, []byte{0x1c, 0x0d}) {
			break
		}
	}
	if raw[0] != 0x0b {
		return raw, errors.New("the answer does not begin an MLLP frame")
	}
	return raw, nil
}

var errNotFound = errors.New("nothing there")

// http sends one request. An answer to a GET that is the one that was recorded
// before is not recorded again.
func (w *wire) http(ctx context.Context, label, method, link, contentType string, body []byte) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, method, link, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	onDMP := w.target.DMP.FHIR != "" && strings.HasPrefix(link, w.target.DMP.FHIR)
	x := Exchange{Began: w.rec.clock(), Channel: "http", Peer: req.URL.Host, Label: label}
	// The request is written down before the bearer is put on it: no token is kept.
	sent, err := httputil.DumpRequestOut(req, true)
	if err != nil {
		return nil, 0, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	if onDMP {
		req.Header.Set("Authorization", "Bearer "+w.bearer)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		x.Error = err.Error()
		return nil, w.rec.add(x, sent, nil), err
	}
	defer resp.Body.Close()
	head, _ := httputil.DumpResponse(resp, false)
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", method, req.URL.Path, resp.Status)
		if resp.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", errNotFound, err)
		}
	}
	if link == w.target.DMP.Token {
		return data, 0, err // what it says is a token
	}
	if err != nil {
		x.Error = err.Error()
	}
	key, sum := method+" "+link, sha256.Sum256(data)
	if method == http.MethodGet && err == nil && w.last[key] == sum {
		return data, w.lastN[key], nil
	}
	n := w.rec.add(x, sent, append(head, data...))
	if method == http.MethodGet {
		w.last[key], w.lastN[key] = sum, n
	}
	return data, n, err
}

// redirect asks for a page and follows nothing. What stands in the cookies and in
// the state of a login is not kept.
func (w *wire) redirect(ctx context.Context, client *http.Client, label, link string) *redirection {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return &redirection{err: err}
	}
	x := Exchange{Began: w.rec.clock(), Channel: "http", Peer: req.URL.Host, Label: label}
	sent, err := httputil.DumpRequestOut(req, false)
	if err != nil {
		return &redirection{err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		x.Error = err.Error()
		return &redirection{err: err, n: w.rec.add(x, sent, nil)}
	}
	defer resp.Body.Close()
	out := &redirection{status: resp.StatusCode}
	kept := fmt.Sprintf("%s %s\r\n", resp.Proto, resp.Status)
	if out.to, err = resp.Location(); err == nil {
		shown := *out.to
		q := shown.Query()
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if q.Has(name) {
				q.Set(name, "(non gardé)")
			}
		}
		shown.RawQuery = q.Encode()
		kept += "Location: " + shown.String() + "\r\n"
	}
	out.n = w.rec.add(x, sent, []byte(kept))
	return out
}

// json gets a view of the outside world.
func (w *wire) json(ctx context.Context, label, link string, v any) (int, error) {
	data, n, err := w.http(ctx, label, http.MethodGet, link, "", nil)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	return n, err
}

// login gets the bearer of the first professional, who may read the first
// patient's DMP. Without it what the DMP holds is not looked at.
func (w *wire) login(ctx context.Context) error {
	if w.target.DMP.Token == "" || w.target.DMP.FHIR == "" {
		return errors.New("no DMP in the target")
	}
	form := url.Values{"grant_type": {grantPersona}, "persona": {w.target.Personas[0].ID}, "scope": {"dmp"}}
	data, _, err := w.http(ctx, "Jeton du professionnel", http.MethodPost, w.target.DMP.Token, "application/x-www-form-urlencoded", []byte(form.Encode()))
	if err != nil {
		return err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	if answer.AccessToken == "" {
		return errors.New("no token was given")
	}
	w.bearer = answer.AccessToken
	return nil
}

// document is what the DMP holds of one document.
type document struct {
	found   int
	status  string
	labels  []string // securityLabel codes
	content []byte
	n       int // exchange
	err     error
}

// document looks one document of the first patient up, by ITI-67 then ITI-68.
func (w *wire) document(ctx context.Context, patient testPatient, c *scene, read bool) (d document) {
	form := url.Values{
		"patient.identifier": {"urn:oid:" + patient.OID + "|" + patient.Matricule},
		"identifier":         {"urn:ietf:rfc:3986|urn:oid:" + c.doc},
	}
	data, n, err := w.http(ctx, "Recherche au DMP (ITI-67) : "+c.key, http.MethodPost, w.target.DMP.FHIR+"/DocumentReference/_search",
		"application/x-www-form-urlencoded", []byte(form.Encode()))
	d.n, d.err = n, err
	if err != nil {
		return d
	}
	var b struct {
		Total int `json:"total"`
		Entry []struct {
			Resource struct {
				Status        string `json:"status"`
				SecurityLabel []struct {
					Coding []struct {
						Code string `json:"code"`
					} `json:"coding"`
				} `json:"securityLabel"`
				Content []struct {
					Attachment struct {
						URL string `json:"url"`
					} `json:"attachment"`
				} `json:"content"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if d.err = json.Unmarshal(data, &b); d.err != nil || b.Total == 0 || len(b.Entry) == 0 {
		return d
	}
	r := b.Entry[0].Resource
	d.found, d.status = b.Total, r.Status
	for _, l := range r.SecurityLabel {
		for _, c := range l.Coding {
			d.labels = append(d.labels, c.Code)
		}
	}
	if !read || len(r.Content) == 0 {
		return d
	}
	link := r.Content[0].Attachment.URL
	if !strings.Contains(link, "://") {
		link = w.target.DMP.FHIR + "/" + strings.TrimPrefix(link, "/")
	}
	d.content, d.n, d.err = w.http(ctx, "Lecture au DMP (ITI-68) : "+c.key, http.MethodGet, link, "", nil)
	return d
}

// control turns a knob of the sandbox.
func (w *wire) control(ctx context.Context, method, path string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, _, err = w.http(ctx, "Réglage du bac à sable "+path, method, w.target.Control+path, "application/json", body)
	return err
}
