package httpapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Hook is where the software of one establishment is told.
type Hook struct {
	URL    string
	Secret []byte      // shared with that software
	TLS    *tls.Config // nil: the authorities of the machine
}

// Webhooks tells outcomes to the software of establishments; it is the
// gateway's [gateway.Webhook].
//
// One event is one POST: [Told] as JSON, whose bytes are the same on each
// resend, with the headers
//
//	Passerelle-Event: <id>
//	Passerelle-Signature: t=<seconds since 1970>,v1=<hex>
//
// where v1 is HMAC-SHA256, under the shared secret, of t, a full stop and the
// body as received. The software recomputes it, refuses a t that is more than
// five minutes away, and keeps the ids that it has treated: an event may come
// several times. Only 2xx counts; redirections are not followed, and of the
// answer at most 64 KiB are read and none is kept.
type Webhooks struct {
	clock func() time.Time
	sites map[string]*site // by FINESS géographique
}

type site struct {
	Hook
	client *http.Client

	mu      sync.Mutex
	until   time.Time // not asked before: it did not answer
	probing bool      // it did not answer, and one event is trying again
}

// enter tells whether the software may be asked now. While it does not answer,
// one event at a time tries it.
func (s *site) enter(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing || now.Before(s.until) {
		return false
	}
	s.probing = !s.until.IsZero()
	return true
}

// leave notes whether the software answered.
func (s *site) leave(now time.Time, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probing, s.until = false, time.Time{}
	if !answered {
		s.until = now.Add(hookPause)
	}
}

const (
	hookTimeout = 10 * time.Second
	// hookPause spares the workers of the establishment, and a software that comes
	// back: while it is silent, its events do not each wait for a timeout. After it
	// one event tries, alone.
	hookPause = 5 * time.Second
)

// NewWebhooks tells the establishments named by their FINESS géographique.
func NewWebhooks(hooks map[string]Hook, clock func() time.Time) *Webhooks {
	w := &Webhooks{clock: clock, sites: map[string]*site{}}
	for finess, h := range hooks {
		transport := &http.Transport{TLSClientConfig: h.TLS, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute}
		w.sites[finess] = &site{Hook: h, client: &http.Client{
			Transport: transport, Timeout: hookTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	}
	return w
}

// Hooked tells whether an establishment is told.
func (w *Webhooks) Hooked(e gateway.Establishment) bool { return w.sites[e.FINESSGeo] != nil }

// Close drops idle connections.
func (w *Webhooks) Close() {
	for _, s := range w.sites {
		s.client.CloseIdleConnections()
	}
}

// Told is the body of a webhook. It has no state: that is asked for by GET,
// because it moves between two sendings of one event.
type Told struct {
	ID         string         `json:"id"`
	Submission ToldSubmission `json:"submission"`
	Events     []Event        `json:"events"`
}

// ToldSubmission names the submission as its sender does.
type ToldSubmission struct {
	ID        string  `json:"id"`
	Door      string  `json:"door"`
	FINESSEJ  string  `json:"finess_ej"`
	FINESSGeo string  `json:"finess_geo"`
	Message   Message `json:"message"`
	Action    string  `json:"action,omitempty"`
}

// status is what the software answered, for the timeline.
type status int

func (s status) Error() string   { return "status " + strconv.Itoa(int(s)) }
func (s status) AckCode() string { return strconv.Itoa(int(s)) }

// Tell implements [gateway.Webhook].
func (w *Webhooks) Tell(ctx context.Context, t gateway.Telling) error {
	s := w.sites[t.Submission.Establishment.FINESSGeo]
	if s == nil {
		return fault.New(FaultHookNone)
	}
	h := header(t.Submission)
	told := Told{ID: t.ID, Submission: ToldSubmission{h.ID, h.Door, h.FINESSEJ, h.FINESSGeo, h.Message, h.Action}, Events: []Event{}}
	for _, e := range t.Events {
		told.Events = append(told.Events, line(e, h.Door, "fr"))
	}
	body := mustMarshal(told)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return fault.New(FaultHookNone).Because(bare(err))
	}
	now := w.clock()
	if !s.enter(now) {
		return fault.New(FaultHookDown)
	}
	req.Header.Set("Content-Type", typeJSON)
	req.Header.Set("User-Agent", "Passerelle")
	req.Header.Set("Passerelle-Event", t.ID)
	req.Header.Set("Passerelle-Signature", signature(s.Secret, now, body))
	res, err := s.client.Do(req)
	s.leave(w.clock(), err == nil)
	if err != nil {
		return fault.New(FaultHookDown).Because(bare(err))
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection serves again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fault.New(FaultHookRefused).Because(status(res.StatusCode))
	}
	return nil
}

// signature is the header that proves who sent a body, and when.
func signature(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(mac.Sum(nil)))
}
