package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

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
	Recipient   string     `json:"recipient,omitempty"`
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

func (a *API) submission(w http.ResponseWriter, r *http.Request, c *caller) error {
	s, docs, err := a.load(r, c)
	if err != nil {
		return err
	}
	out := header(s)
	for _, d := range docs {
		out.Documents = append(out.Documents, Document{d.UniqueID, d.TypeCode, d.Version, d.Replaces})
	}
	deliveries, err := a.Journal.Deliveries(r.Context(), s.ID)
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		v := Delivery{Destination: d.Destination, State: string(d.State), Attempts: d.Attempts, Recipient: shown(d.Destination, d.Recipient), Code: d.Code}
		if d.State == gateway.Due {
			v.Next = &d.Due
		}
		out.Deliveries = append(out.Deliveries, v)
	}
	if out.Events, err = a.timeline(r, s, 0); err != nil {
		return err
	}
	reply(w, out)
	return nil
}

// states are those of a submission.
var states = []gateway.State{gateway.Pending, gateway.Done, gateway.Failed, gateway.Partial, gateway.RefusedState, gateway.Kept, gateway.Quarantined}

func (a *API) submissions(w http.ResponseWriter, r *http.Request, c *caller) error {
	q := r.URL.Query()
	limit := 50
	if raw := q.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > 200 {
			return fault.New(FaultField).At("limit")
		}
		limit = n
	}
	state := gateway.State(q.Get("state"))
	if state != "" && !slices.Contains(states, state) {
		return fault.New(FaultField).At("state")
	}
	before := q.Get("before")
	if before != "" {
		last, _, err := a.Journal.Submission(r.Context(), before)
		if errors.Is(err, gateway.ErrNotFound) || err == nil && !slices.Contains(c.finess(), last.Establishment.FINESSGeo) {
			return fault.New(FaultField).At("before") // not an empty page, which would say that there is nothing more
		}
		if err != nil {
			return err
		}
	}
	found, err := a.Journal.Submissions(r.Context(), gateway.Query{
		FINESSGeo: c.finess(), ControlID: q.Get("control_id"), State: state, Before: before, Limit: limit,
	})
	if err != nil {
		return err
	}
	out := make([]Submission, 0, len(found))
	for _, s := range found {
		out = append(out, header(s))
	}
	reply(w, map[string]any{"submissions": out})
	return nil
}

// load finds the submission of the path among those that the caller may see.
func (a *API) load(r *http.Request, c *caller) (gateway.Submission, []gateway.DocumentRow, error) {
	s, docs, err := a.Journal.Submission(r.Context(), r.PathValue("id"))
	if err == nil && !slices.Contains(c.finess(), s.Establishment.FINESSGeo) {
		err = gateway.ErrNotFound // as if unknown
	}
	return s, docs, err
}

func header(s gateway.Submission) Submission {
	return Submission{
		ID: s.ID, Received: s.Received, State: string(s.State), Code: s.Code, Door: s.Door,
		FINESSEJ: s.Establishment.FINESSEJ, FINESSGeo: s.Establishment.FINESSGeo,
		Message: Message{s.Message.Type, s.Message.ControlID, s.From.Application, s.From.Facility},
		Action:  string(s.Action), Rules: s.Rules,
	}
}

func (a *API) timeline(r *http.Request, s gateway.Submission, after int64) ([]Event, error) {
	events, err := a.Journal.Events(r.Context(), s.ID, after)
	if err != nil {
		return nil, err
	}
	out := make([]Event, 0, len(events))
	for _, e := range events {
		out = append(out, line(e, s.Door, language(r)))
	}
	return out, nil
}

// line is one line of a timeline as every answer and every webhook writes it.
func line(e gateway.Event, door, lang string) Event {
	if place := places[door]; place != nil {
		e.Where = place(e.Where)
	}
	return Event{
		Seq: e.Seq, Time: e.Time, Step: e.Step, Outcome: e.Outcome, Code: e.Code, Where: e.Where,
		Destination: e.Destination, Recipient: shown(e.Destination, e.Recipient), Document: e.Document.UniqueID, Attempt: e.Attempt,
		Text: gateway.Describe(e, lang),
	}
}

// shown is a recipient as an answer names it: a patient's address holds the
// matricule, which no answer does.
func shown(destination, recipient string) string {
	if destination == gateway.DestinationPat {
		return "(patient)"
	}
	return recipient
}
