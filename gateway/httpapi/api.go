package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// API serves /v1. All fields are required.
type API struct {
	Journal gateway.Journal
	// Machines maps the SHA-256 fingerprint (hex) of a client certificate to the
	// FINESS géographique whose submissions it may see.
	Machines map[string][]string
	Notice   string // said in every answer of a sandbox (header X-Passerelle-Environnement)
	Log      *slog.Logger
}

// Handler returns the routes.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/submissions/{id}", a.known(a.submission))
	mux.HandleFunc("GET /v1/submissions/{id}/events", a.known(a.events))
	mux.HandleFunc("GET /v1/submissions", a.known(a.submissions))
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			Problem(w, r, fault.New(gateway.FaultMethod))
			return
		}
		Problem(w, r, fault.New(gateway.FaultNotFound))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { Problem(w, r, fault.New(gateway.FaultNotFound)) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Notice != "" {
			w.Header().Set("X-Passerelle-Environnement", a.Notice)
		}
		w.Header().Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		mux.ServeHTTP(w, r)
	})
}

// Fingerprint is how [API.Machines] names a certificate (DER).
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// known lets through a caller whose certificate is mapped to an establishment.
func (a *API) known(next func(http.ResponseWriter, *http.Request, []string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			Problem(w, r, fault.New(gateway.FaultUnauthenticated))
			return
		}
		sites := a.Machines[Fingerprint(r.TLS.PeerCertificates[0].Raw)]
		if len(sites) == 0 {
			Problem(w, r, fault.New(gateway.FaultUnauthenticated))
			return
		}
		next(w, r, sites)
	}
}

// Submission is the JSON of one submission and its timeline.
type Submission struct {
	ID         string     `json:"id"`
	Received   time.Time  `json:"received"`
	State      string     `json:"state"`
	Code       string     `json:"code,omitempty"`
	Door       string     `json:"door"`
	FINESSEJ   string     `json:"finess_ej"`
	FINESSGeo  string     `json:"finess_geo"`
	Message    Message    `json:"message"`
	Action     string     `json:"action,omitempty"`
	Rules      string     `json:"rules"`
	Documents  []Document `json:"documents,omitempty"`
	Deliveries []Delivery `json:"deliveries,omitempty"`
	Events     []Event    `json:"events,omitempty"`
}

// Message names the message as its sender does.
type Message struct {
	Type        string `json:"type"`
	ControlID   string `json:"control_id"`
	Application string `json:"application"`
	Facility    string `json:"facility"`
}

// Document names one document.
type Document struct {
	UniqueID string `json:"unique_id"`
	TypeCode string `json:"type_code"`
	Version  int    `json:"version,omitempty"`
	Replaces string `json:"replaces,omitempty"`
}

// Delivery is where one destination stands.
type Delivery struct {
	Destination string     `json:"destination"`
	State       string     `json:"state"`
	Attempts    int        `json:"attempts"`
	Next        *time.Time `json:"next,omitempty"`
	Code        string     `json:"code,omitempty"`
}

// Event is one line of a timeline.
type Event struct {
	Seq         int64     `json:"seq"`
	Time        time.Time `json:"time"`
	Step        string    `json:"step"`
	Outcome     string    `json:"outcome"`
	Code        string    `json:"code,omitempty"`
	Where       string    `json:"where,omitempty"`
	Destination string    `json:"destination,omitempty"`
	Recipient   string    `json:"recipient,omitempty"`
	Document    string    `json:"document,omitempty"`
	Attempt     int       `json:"attempt,omitempty"`
	Text        string    `json:"text"`
}

func (a *API) submission(w http.ResponseWriter, r *http.Request, sites []string) {
	s, docs, ok := a.load(w, r, sites)
	if !ok {
		return
	}
	out := header(s)
	for _, d := range docs {
		out.Documents = append(out.Documents, Document{d.UniqueID, d.TypeCode, d.Version, d.Replaces})
	}
	deliveries, err := a.Journal.Deliveries(r.Context(), s.ID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	for _, d := range deliveries {
		v := Delivery{Destination: d.Destination, State: string(d.State), Attempts: d.Attempts, Code: d.Code}
		if d.State == gateway.Due {
			v.Next = &d.Due
		}
		out.Deliveries = append(out.Deliveries, v)
	}
	if out.Events, err = a.timeline(r, s.ID, 0); err != nil {
		a.fail(w, r, err)
		return
	}
	reply(w, out)
}

func (a *API) events(w http.ResponseWriter, r *http.Request, sites []string) {
	s, _, ok := a.load(w, r, sites)
	if !ok {
		return
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	events, err := a.timeline(r, s.ID, after)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	reply(w, map[string]any{"events": events})
}

func (a *API) submissions(w http.ResponseWriter, r *http.Request, sites []string) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 200 {
		limit = 50
	}
	found, err := a.Journal.Submissions(r.Context(), gateway.Query{
		FINESSGeo: sites, ControlID: q.Get("control_id"), State: gateway.State(q.Get("state")), Before: q.Get("before"), Limit: limit,
	})
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := make([]Submission, 0, len(found))
	for _, s := range found {
		out = append(out, header(s))
	}
	reply(w, map[string]any{"submissions": out})
}

// load finds the submission of the path among those that the caller may see.
func (a *API) load(w http.ResponseWriter, r *http.Request, sites []string) (gateway.Submission, []gateway.DocumentRow, bool) {
	s, docs, err := a.Journal.Submission(r.Context(), r.PathValue("id"))
	if err == nil {
		for _, site := range sites {
			if site == s.Establishment.FINESSGeo {
				return s, docs, true
			}
		}
		err = gateway.ErrNotFound
	}
	a.fail(w, r, err)
	return s, nil, false
}

func header(s gateway.Submission) Submission {
	return Submission{
		ID: s.ID, Received: s.Received, State: string(s.State), Code: s.Code, Door: s.Door,
		FINESSEJ: s.Establishment.FINESSEJ, FINESSGeo: s.Establishment.FINESSGeo,
		Message: Message{s.Message.Type, s.Message.ControlID, s.From.Application, s.From.Facility},
		Action:  string(s.Action), Rules: s.Rules,
	}
}

func (a *API) timeline(r *http.Request, id string, after int64) ([]Event, error) {
	events, err := a.Journal.Events(r.Context(), id, after)
	if err != nil {
		return nil, err
	}
	out := make([]Event, 0, len(events))
	for _, e := range events {
		out = append(out, Event{
			Seq: e.Seq, Time: e.Time, Step: e.Step, Outcome: e.Outcome, Code: e.Code, Where: e.Where,
			Destination: e.Destination, Recipient: e.Recipient, Document: e.Document.UniqueID, Attempt: e.Attempt,
			Text: gateway.Describe(e, language(r)),
		})
	}
	return out, nil
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, gateway.ErrNotFound) {
		err = fault.New(gateway.FaultNotFound)
	}
	f := fault.From(err)
	if f.HTTP >= 500 {
		a.Log.Error("request failed", "path", r.URL.Path, "code", f.Code, "error", err)
	}
	Problem(w, r, f)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the caller went away: nobody is left to tell
}

func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l != "" {
		return l
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Accept-Language")), "en") {
		return "en"
	}
	return "fr"
}

// Problem answers with one row of the error table (RFC 9457).
func Problem(w http.ResponseWriter, r *http.Request, f *fault.Fault) {
	title, detail := f.FR, f.FixFR
	if language(r) == "en" {
		title, detail = f.EN, f.FixEN
	}
	w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
	w.WriteHeader(f.HTTP)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(problem{ // the caller went away: nobody is left to tell
		Type: "urn:passerelle:" + f.Code, Title: title, Status: f.HTTP, Detail: detail, Code: f.Code, Where: f.Where,
		Temporary: f.Kind == fault.Temporary, Requirements: f.Requirements,
	})
}

// problem is RFC 9457 with our members: the stable code, the place, whether the
// same request may succeed later, and the requirements concerned.
type problem struct {
	Type         string   `json:"type"`
	Title        string   `json:"title"`
	Status       int      `json:"status"`
	Detail       string   `json:"detail"`
	Code         string   `json:"code"`
	Where        string   `json:"where,omitempty"`
	Temporary    bool     `json:"temporary"`
	Requirements []string `json:"requirements,omitempty"`
}
