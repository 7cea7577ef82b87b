//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance"
	"github.com/passerelle-sante/passerelle/conformance/sim"
)

// tape stands between the judge and all that it speaks to. It keeps every answer
// of one run, in order; played again at the same clock, the same run gets the
// same answers, but for one thing that is changed. So a judgement of a gateway
// made wrong takes no gateway and no waiting.
type tape struct {
	t      *testing.T
	client *http.Client
	fronts []string // pairs: address behind, address in front
	info   sim.Info

	mu    sync.Mutex
	began time.Time
	kept  map[string][]taped
	next  map[string]int
	live  bool
	wrong tampering
	sent  [][]byte // messages sent to the gateway
	mails []string // Message-ID of the letters put in its mailbox
}

type taped struct {
	status   int
	kind, to string // Content-Type, Location
	body     []byte
}

// tampering is what is changed in the answers.
type tampering struct {
	name   string
	fails  []string
	ack    func(n int, q, a []byte) []byte       // n: how many times the message was sent before
	told   func(m []byte) []byte                 // messages of the hospital; nil: it never got it
	mail   func(raw []byte) []byte               // letters of the mailboxes
	view   func(link string, body []byte) []byte // JSON and documents
	to     func(location string) string          // where the browser is sent
	forged []byte                                // a letter that view may list
}

// newTape puts the tape in front of a sandbox and of the door of a gateway.
func newTape(t *testing.T, info sim.Info, door string) *tape {
	pair, err := tls.LoadX509KeyPair(info.TLS.ClientCert, info.TLS.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(info.TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	p := &tape{t: t, live: true, kept: map[string][]taped{}, next: map[string]int{}, client: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	t.Cleanup(p.client.CloseIdleConnections)
	p.info = info
	p.info.TLS = sim.TLSInfo{} // certificates are shown by the tape
	for _, link := range []*string{&p.info.Hospital.Messages, &p.info.Operator.Mailboxes, &p.info.Control, &p.info.DMP.FHIR, &p.info.DMP.Token, &p.info.Gateway.HTTPS} {
		*link = p.front(*link)
	}
	var relay *relay
	relay, p.info.Gateway.MLLP = mllpRelay(t, door)
	relay.with(func(m []byte) []byte {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.live {
			return m
		}
		return nil
	}, p.acknowledge)
	return p
}

// front gives the address in front of one that is behind.
func (p *tape) front(link string) string {
	scheme, rest, _ := strings.Cut(link, "://")
	host, _, _ := strings.Cut(rest, "/")
	behind := scheme + "://" + host
	for i := 0; i < len(p.fronts); i += 2 {
		if p.fronts[i] == behind {
			return p.fronts[i+1] + strings.TrimPrefix(link, behind)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { p.serve(w, q, behind) }))
	p.t.Cleanup(s.Close)
	p.fronts = append(p.fronts, behind, s.URL)
	return s.URL + strings.TrimPrefix(link, behind)
}

// take gives the answer of this time, the last one again when there is no more.
func (p *tape) take(key string) (taped, int) {
	n := p.next[key]
	p.next[key]++
	list := p.kept[key]
	if len(list) == 0 {
		return taped{status: http.StatusNotFound}, n
	}
	return list[min(n, len(list)-1)], n
}

func (p *tape) acknowledge(q, a []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := "mllp " + field(q, "MSH", 10)
	if p.live {
		p.sent = append(p.sent, q)
		p.kept[key] = append(p.kept[key], taped{body: a})
		return a
	}
	got, n := p.take(key)
	if p.wrong.ack != nil {
		return p.wrong.ack(n, q, bytes.Clone(got.body))
	}
	return got.body
}

func (p *tape) serve(w http.ResponseWriter, q *http.Request, behind string) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.URL.Path == "/forge" {
		_, _ = w.Write(p.wrong.forged)
		return
	}
	key := q.Method + " " + behind + q.URL.RequestURI()
	if strings.HasSuffix(q.URL.Path, "/_search") {
		key += " " + string(body)
	}
	if p.live {
		p.record(key, q, behind, body)
	}
	got, _ := p.take(key)
	answer := []byte(strings.NewReplacer(p.fronts...).Replace(string(got.body)))
	changed := answer
	switch {
	case p.live:
	case strings.HasPrefix(got.kind, "message/rfc822"):
		if p.wrong.mail != nil {
			changed = p.wrong.mail(answer)
		}
	case strings.HasSuffix(q.URL.Path, "/messages") && p.wrong.told != nil:
		changed = toldOtherwise(p.t, answer, p.wrong.told)
	case p.wrong.view != nil:
		changed = p.wrong.view(q.URL.Path+"?"+string(body), answer)
	}
	if got.kind != "" {
		w.Header().Set("Content-Type", got.kind)
	}
	if got.to != "" {
		if !p.live && p.wrong.to != nil {
			got.to = p.wrong.to(got.to)
		}
		w.Header().Set("Location", got.to)
	}
	if !bytes.Equal(changed, answer) && got.status == http.StatusNotFound {
		got.status = http.StatusOK // what is forged is there
	}
	w.WriteHeader(got.status)
	_, _ = w.Write(changed)
}

// record passes a request on and keeps the answer.
func (p *tape) record(key string, q *http.Request, behind string, body []byte) {
	out, err := http.NewRequestWithContext(q.Context(), q.Method, behind+q.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return
	}
	out.Header = q.Header.Clone()
	out.Header.Del("Accept-Encoding")
	resp, err := p.client.Do(out)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Error(err)
	}
	if _, rest, ok := strings.Cut(string(body), "Message-ID: <"); ok && strings.Contains(q.URL.Path, "/mailboxes/") {
		id, _, _ := strings.Cut(rest, ">")
		p.mails = append(p.mails, id)
	}
	p.kept[key] = append(p.kept[key], taped{resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Location"), data})
}

// toldOtherwise changes the messages in the list of the hospital.
func toldOtherwise(t *testing.T, body []byte, change func([]byte) []byte) []byte {
	var view struct {
		Messages []map[string]any `json:"messages"`
	}
	if err := json.Unmarshal(body, &view); err != nil {
		t.Error(err)
		return body
	}
	kept := []map[string]any{}
	for _, m := range view.Messages {
		raw := change([]byte(m["raw"].(string)))
		if raw != nil {
			m["raw"] = string(raw)
			kept = append(kept, m)
		}
	}
	out, err := json.Marshal(map[string]any{"messages": kept})
	if err != nil {
		t.Error(err)
	}
	return out
}

// judge plays the tape once more with one thing changed.
func (p *tape) judge(t *testing.T, wrong tampering) map[string]conformance.Verdict {
	t.Helper()
	file := t.TempDir() + "/sandbox.json"
	if err := sim.WriteInfo(file, p.info); err != nil {
		t.Fatal(err)
	}
	target, err := conformance.ReadInfo(file)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := conformance.LoadCatalogue(conformance.DefaultCatalogue)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	live := p.live
	p.wrong, p.next = wrong, map[string]int{}
	if live {
		p.began = time.Now()
	}
	now := p.began
	p.mu.Unlock()
	c := conformance.Config{Target: target, Catalogue: cat, Out: t.TempDir(), Version: "essai", Quiet: 10 * time.Second, Wait: time.Minute,
		Clock: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }}
	if live {
		c.Quiet, c.Wait = 30*time.Second, 3*time.Minute
		c.Sleep = func(ctx context.Context, d time.Duration) error { now = now.Add(d); return sleep(ctx, d) }
	}
	res, err := conformance.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.live = false
	p.mu.Unlock()
	return res.Verdicts()
}
