package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// exchange is one request on its way through the store.
type exchange struct {
	s     *Store
	r     *http.Request
	w     http.ResponseWriter
	trace trace
}

// reply is an answer that is not a refusal.
type reply struct {
	status      int
	contentType string // empty means FHIR JSON
	etag        string
	modified    int64 // ms; 0 means none
	body        []byte
	stream      io.ReadCloser // instead of body
	size        int64
}

type handler func(*exchange, context.Context) (*reply, error)

// route is what one method on one path does, and the name of its audit rows.
type route struct {
	action string
	open   bool // asks for no caller and leaves no audit row
	do     handler
}

// routes by method and shape of the path; * stands for the id of a resource.
var routes = map[string]route{
	"POST ":                          {action: "ITI-65", do: (*exchange).transaction},
	"GET metadata":                   {open: true, do: (*exchange).metadata},
	"GET DocumentReference":          {action: "ITI-67", do: (*exchange).searchDocuments},
	"POST DocumentReference/_search": {action: "ITI-67", do: (*exchange).searchDocuments},
	"GET DocumentReference/*":        {action: "READ-DocumentReference", do: (*exchange).readDocument},

	"GET DocumentReference/*/_history":   {action: "READ-DocumentReference", do: (*exchange).readHistory},
	"GET DocumentReference/*/_history/*": {action: "READ-DocumentReference", do: (*exchange).readVersion},

	"PATCH DocumentReference":   {action: "TD3.3", do: (*exchange).patchByIdentifier},
	"PATCH DocumentReference/*": {action: "TD3.3", do: (*exchange).patchByID},
	"GET List":                  {action: "ITI-66", do: (*exchange).searchLists},
	"POST List/_search":         {action: "ITI-66", do: (*exchange).searchLists},
	"GET List/*":                {action: "READ-List", do: (*exchange).readList},
	"GET Binary/*":              {action: "ITI-68", do: (*exchange).readBinary},
	"GET Patient":               {action: "TD0.2", do: (*exchange).searchPatients},
	"POST Patient/_search":      {action: "TD0.2", do: (*exchange).searchPatients},
	"GET Patient/*":             {action: "READ-Patient", do: (*exchange).readPatient},
}

// find gives the route of a request, and the id in its path.
func (s *Store) find(r *http.Request) (rt route, id string, err error) {
	path, ok := strings.CutPrefix(r.URL.Path, s.base.Path)
	rest, slash := strings.CutPrefix(path, "/")
	path = strings.TrimSuffix(rest, "/")
	if !ok || rest != "" && !slash {
		return rt, "", refuse(FaultNoRoute)
	}
	shape := path
	if kind, rest, found := strings.Cut(path, "/"); found && rest != "_search" {
		shape, id = kind+"/*", rest
		if base, version, of := strings.Cut(rest, "/_history"); of && (version == "" || version[0] == '/') {
			shape, id = shape+"/_history", base
			if version != "" {
				shape += "/*"
				r.SetPathValue("version", strings.TrimPrefix(version, "/"))
			}
		}
		if !fhir.IsID(id) {
			return rt, "", refuse(FaultNoRoute)
		}
	}
	if rt, ok := routes[r.Method+" "+shape]; ok {
		return rt, id, nil
	}
	for key := range routes {
		if _, known, _ := strings.Cut(key, " "); known == shape {
			return rt, "", refuse(FaultMethod)
		}
	}
	return rt, "", refuse(FaultNoRoute)
}

// ServeHTTP answers one request, and notes it before it does.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, r: r, w: w, trace: trace{action: "unknown"}}
	out, err := x.run()
	status := http.StatusOK
	outcome := "ok"
	var refused refusals
	if err != nil {
		refused = faultsOf(err)
		status, outcome = refused[0].HTTP, refused[0].Row.Code
	} else {
		status = out.status
	}
	if x.trace.action != "" && !x.trace.noted {
		ctx := context.WithoutCancel(r.Context()) // a caller that is gone is noted too
		noteErr := s.db.Write(ctx, func(tx *sqldb.Tx) error {
			return s.note(ctx, tx, &x.trace, outcome, status)
		})
		if noteErr != nil {
			s.log.Error("audit row not written", "action", x.trace.action, "error", noteErr)
			if err == nil {
				// What cannot be audited is not served.
				if out.stream != nil {
					out.stream.Close()
				}
				refused = faultsOf(noteErr)
				status, outcome = refused[0].HTTP, refused[0].Row.Code
			}
		}
	}
	s.log.Info("exchange", "action", x.trace.action, "method", r.Method, "status", status, "outcome", outcome)
	if refused != nil {
		for _, f := range refused {
			if f.Row.Code == fault.Internal || status >= 500 {
				s.log.Error("exchange failed", "action", x.trace.action, "error", f.Error())
			}
		}
		x.refuse(refused)
		return
	}
	x.answer(out)
}

// run checks what is common to all requests, then does what is asked for.
func (x *exchange) run() (*reply, error) {
	rt, id, err := x.s.find(x.r)
	if err != nil {
		return nil, err
	}
	x.trace.action = rt.action
	if rt.open {
		return rt.do(x, x.r.Context())
	}
	c, err := x.s.authenticate(x.r)
	if err != nil {
		return nil, err
	}
	x.trace.caller = *c
	if id != "" {
		x.r.SetPathValue("id", id)
		if patient, ok := patientOf(id); ok {
			x.trace.patient = patient
		}
	}
	return rt.do(x, x.r.Context())
}

// id is the id in the path.
func (x *exchange) id() string { return x.r.PathValue("id") }

func (x *exchange) answer(out *reply) {
	h := x.w.Header()
	if out.contentType == "" {
		out.contentType = fhir.MediaType
	}
	h.Set("Content-Type", out.contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if out.etag != "" {
		h.Set("ETag", out.etag)
	}
	if out.modified != 0 {
		h.Set("Last-Modified", lastModified(out.modified))
	}
	if out.stream == nil {
		h.Set("Content-Length", strconv.Itoa(len(out.body)))
		x.w.WriteHeader(out.status)
		_, _ = x.w.Write(out.body) // the caller is gone: nothing to tell it
		return
	}
	defer out.stream.Close()
	h.Set("Content-Length", strconv.FormatInt(out.size, 10))
	x.w.WriteHeader(out.status)
	if _, err := io.Copy(x.w, out.stream); err != nil {
		x.s.log.Error("document cut short", "error", err)
		// The length was announced: the connection must not look complete.
		panic(http.ErrAbortHandler)
	}
}

// refuse answers with an OperationOutcome.
func (x *exchange) refuse(refused refusals) {
	body, err := Outcome(refused...)
	if err != nil {
		x.s.log.Error("outcome not written", "error", err)
		body = []byte(`{"resourceType":"OperationOutcome"}`)
	}
	status := refused[0].HTTP
	h := x.w.Header()
	h.Set("Content-Type", fhir.MediaType)
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusUnauthorized:
		challenge := `Bearer realm="dmp"`
		if refused[0].Row.Code != FaultNoToken && refused[0].Row.Code != FaultNoCertificate {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, POST, PATCH")
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body)
}

// Outcome writes refusals as an OperationOutcome: constants of the error table
// and places, never a value.
func Outcome(refused ...*fault.Fault) ([]byte, error) {
	oo := models.OperationOutcome{}
	for _, f := range refused {
		kind := models.IssueTypeProcessing
		if err := kind.UnmarshalJSON([]byte(strconv.Quote(f.FHIR))); err != nil {
			return nil, fmt.Errorf("store: issue type of %s: %w", f.Row.Code, err)
		}
		system, code, text := fhir.SystemFaults, f.Row.Code, f.EN
		diagnostics := f.FR + " " + f.FixFR
		issue := models.OperationOutcomeIssue{
			Severity:    models.IssueSeverityError,
			Code:        kind,
			Details:     &models.CodeableConcept{Coding: []models.Coding{{System: &system, Code: &code}}, Text: &text},
			Diagnostics: &diagnostics,
		}
		if f.Where != "" {
			issue.Expression = []string{f.Where}
		}
		oo.Issue = append(oo.Issue, issue)
	}
	return fhir.Marshal(oo)
}

// read reads a body of one media type, within the limit.
func (x *exchange) read(limit int64, accepted ...string) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	ok := false
	for _, a := range accepted {
		ok = ok || err == nil && kind == a
	}
	if !ok {
		return nil, refuse(FaultMediaType)
	}
	if x.r.ContentLength > limit {
		return nil, refuse(FaultTooLarge)
	}
	// A deadline in the past ends the reading; the clock of the store is not that
	// of the connection.
	slow := time.AfterFunc(x.s.limits.BodyTime, func() { _ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0)) })
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	inTime := slow.Stop()
	var large *http.MaxBytesError
	switch {
	case err != nil && !inTime:
		return nil, refuse(FaultSlow)
	case errors.As(err, &large):
		return nil, refuse(FaultTooLarge)
	case err != nil:
		return nil, refuse(FaultJSON)
	}
	return body, nil
}

// acceptsFHIR refuses a caller that wants no JSON.
func (x *exchange) acceptsFHIR() error {
	if f := x.r.URL.Query().Get("_format"); f != "" {
		if f == "json" || strings.HasSuffix(f, "json") {
			return nil
		}
		return refuse(FaultAccept)
	}
	if accepts(x.r, fhir.MediaType) || accepts(x.r, "application/json") {
		return nil
	}
	return refuse(FaultAccept)
}

// accepts tells whether the Accept header admits a media type.
func accepts(r *http.Request, mediaType string) bool {
	headers := r.Header.Values("Accept")
	if len(headers) == 0 {
		return true
	}
	major, _, _ := strings.Cut(mediaType, "/")
	for _, one := range strings.Split(strings.Join(headers, ","), ",") {
		kind, params, err := mime.ParseMediaType(one)
		if err != nil || params["q"] == "0" || params["q"] == "0.0" {
			continue
		}
		if kind == "*/*" || kind == major+"/*" || kind == mediaType {
			return true
		}
	}
	return false
}
