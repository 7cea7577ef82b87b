package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// face is how a door writes refusals.
type face func(r *http.Request, submission string, faults []*fault.Fault, warnings []gateway.Note) answer

// answer is an HTTP answer that can be kept and given again.
type answer struct {
	Status   int             `json:"status"`
	Type     string          `json:"type"`
	Location string          `json:"location,omitempty"`
	Body     json.RawMessage `json:"body"`
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", a.Type)
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	if a.Location != "" {
		h.Set("Location", a.Location)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the caller went away: nobody is left to tell
}

// jsonAnswer writes v. It is called with our own types only, which can always
// be written.
func jsonAnswer(status int, kind string, v any) answer {
	body, err := fhir.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	return answer{Status: status, Type: kind, Body: body}
}

// fail answers a refusal that concerns no submission.
func (a *API) fail(face face, w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, gateway.ErrNotFound) {
		err = fault.New(gateway.FaultNotFound)
	}
	f := fault.From(err)
	if f.HTTP >= 500 {
		a.Log.Error("request failed", "route", r.Pattern, "code", f.Code, "cause", f.Unwrap())
	}
	headers(w, r, f, err)
	face(r, "", []*fault.Fault{f}, nil).write(w)
}

// headers are those that go with a refusal.
func headers(w http.ResponseWriter, r *http.Request, f *fault.Fault, err error) {
	h := w.Header()
	switch f.HTTP {
	case http.StatusUnauthorized, http.StatusForbidden:
		challenge := psc.Challenge(err)
		// Who showed nothing is told of no error (RFC 6750, 3.1).
		if f.Code == gateway.FaultUnauthenticated || challenge == "" && f.HTTP == http.StatusUnauthorized {
			challenge = `Bearer realm="passerelle", scope="gateway"`
		}
		if challenge != "" {
			h.Set("WWW-Authenticate", challenge)
		}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "5")
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close") // the rest of the body is not read
	}
}

const (
	typeProblem = "application/problem+json; charset=utf-8"
	typeJSON    = "application/json; charset=utf-8"
)

// Problem answers with one row of the error table (RFC 9457).
func Problem(w http.ResponseWriter, r *http.Request, f *fault.Fault) {
	problemFace(r, "", []*fault.Fault{f}, nil).write(w)
}

// problem is RFC 9457 with our members: the stable code, the place, whether the
// same request may succeed later, the requirements concerned, and the
// submission under which the refusal is journaled.
type problem struct {
	Type         string    `json:"type"`
	Title        string    `json:"title"`
	Status       int       `json:"status"`
	Detail       string    `json:"detail"`
	Code         string    `json:"code"`
	Where        string    `json:"where,omitempty"`
	Temporary    bool      `json:"temporary"`
	Requirements []string  `json:"requirements,omitempty"`
	Submission   string    `json:"submission,omitempty"`
	Errors       []Finding `json:"errors,omitempty"` // all of them, when there are several
}

// Finding is one thing that refuses or is only told.
type Finding struct {
	Code   string `json:"code"`
	Where  string `json:"where,omitempty"`
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
}

func finding(row fault.Row, where, lang string) Finding {
	if lang == "en" {
		return Finding{row.Code, where, row.EN, row.FixEN}
	}
	return Finding{row.Code, where, row.FR, row.FixFR}
}

func faultFindings(faults []*fault.Fault, lang string) []Finding {
	out := []Finding{}
	for _, f := range faults {
		out = append(out, finding(f.Row, f.Where, lang))
	}
	return out
}

func noteFindings(notes []gateway.Note, lang string) []Finding {
	out := []Finding{}
	for _, n := range notes {
		row, ok := fault.Lookup(n.Code)
		if !ok {
			row, _ = fault.Lookup(fault.Internal)
		}
		out = append(out, finding(row, n.Where, lang))
	}
	return out
}

// problemFace is the face of /v1.
func problemFace(r *http.Request, submission string, faults []*fault.Fault, _ []gateway.Note) answer {
	f, lang := faults[0], language(r)
	first := finding(f.Row, f.Where, lang)
	p := problem{
		Type: "urn:passerelle:" + f.Code, Title: first.Text, Status: f.HTTP, Detail: first.Remedy, Code: f.Code, Where: f.Where,
		Temporary: f.Kind == fault.Temporary, Requirements: f.Requirements, Submission: submission,
	}
	if len(faults) > 1 {
		p.Errors = faultFindings(faults, lang)
	}
	return jsonAnswer(f.HTTP, typeProblem, p)
}

const typeFHIR = fhir.MediaType + "; charset=utf-8"

// outcomeFace is the face of /fhir: an OperationOutcome.
func outcomeFace(_ *http.Request, _ string, faults []*fault.Fault, warnings []gateway.Note) answer {
	return jsonAnswer(faults[0].HTTP, typeFHIR, operationOutcome(faults, warnings))
}

// operationOutcome writes refusals and warnings: constants of the error table
// and places, never a value.
func operationOutcome(faults []*fault.Fault, warnings []gateway.Note) models.OperationOutcome {
	out := models.OperationOutcome{}
	add := func(severity models.IssueSeverity, row fault.Row, where string) {
		kind := models.IssueTypeProcessing
		_ = kind.UnmarshalJSON([]byte(strconv.Quote(row.FHIR))) // a test proves that each row has a type that exists
		system, code, text := fhir.SystemFaults, row.Code, row.EN
		diagnostics := row.FR + " " + row.FixFR
		issue := models.OperationOutcomeIssue{
			Severity: severity, Code: kind, Diagnostics: &diagnostics,
			Details: &models.CodeableConcept{Coding: []models.Coding{{System: &system, Code: &code}}, Text: &text},
		}
		if where != "" {
			issue.Expression = []string{where}
		}
		out.Issue = append(out.Issue, issue)
	}
	for _, f := range faults {
		add(models.IssueSeverityError, f.Row, f.Where)
	}
	for _, n := range warnings {
		if row, ok := fault.Lookup(n.Code); ok {
			add(models.IssueSeverityWarning, row, n.Where)
		}
	}
	return out
}

func reply(w http.ResponseWriter, v any) { jsonAnswer(http.StatusOK, typeJSON, v).write(w) }

func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l != "" {
		return l
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Accept-Language")), "en") {
		return "en"
	}
	return "fr"
}
