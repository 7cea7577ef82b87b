package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// routesFHIR adds the FHIR door.
func (a *API) routesFHIR(mux *http.ServeMux) {
	mux.HandleFunc("POST /fhir", a.depositor(outcomeFace, asking(a.provide, "dry_run")))
	mux.HandleFunc("POST /fhir/{$}", a.depositor(outcomeFace, asking(a.provide, "dry_run")))
	mux.HandleFunc("POST /fhir/DocumentReference", a.depositor(outcomeFace, asking(a.publish, "dry_run")))
	mux.HandleFunc("GET /fhir/metadata", a.metadata)
	for _, kind := range []string{"DocumentReference", "List", "Patient"} {
		mux.HandleFunc("GET /fhir/"+kind, a.carer(outcomeFace, a.search(kind)))
		mux.HandleFunc("POST /fhir/"+kind+"/_search", a.carer(outcomeFace, a.search(kind)))
		mux.HandleFunc("GET /fhir/"+kind+"/{id}", a.carer(outcomeFace, a.read(kind)))
	}
	mux.HandleFunc("GET /fhir/DocumentReference/{id}/_history", a.carer(outcomeFace, a.read("DocumentReference")))
	mux.HandleFunc("GET /fhir/DocumentReference/{id}/_history/{version}", a.carer(outcomeFace, a.read("DocumentReference")))
	mux.HandleFunc("GET /fhir/Binary/{id}", a.carer(outcomeFace, a.read("Binary")))
	mux.HandleFunc("PATCH /fhir/DocumentReference", a.carer(outcomeFace, a.patch))
	mux.HandleFunc("PATCH /fhir/DocumentReference/{id}", a.carer(outcomeFace, a.patch))
}

// faceOf is the face of a path that has no route.
func faceOf(r *http.Request) face {
	if r.URL.Path == "/fhir" || strings.HasPrefix(r.URL.Path, "/fhir/") {
		return outcomeFace
	}
	return problemFace
}

// provide is ITI-65: a transaction that hands a lot over.
func (a *API) provide(w http.ResponseWriter, r *http.Request, c *caller) error {
	return a.depositFHIR(w, r, c, readTransaction)
}

// publish is ITI-105: one DocumentReference with its document inside.
func (a *API) publish(w http.ResponseWriter, r *http.Request, c *caller) error {
	return a.depositFHIR(w, r, c, readPublication)
}

func (a *API) depositFHIR(w http.ResponseWriter, r *http.Request, c *caller, read func(*fhir.Node) *lot) error {
	if !acceptsFHIR(r) {
		return fault.New(FaultAccept)
	}
	dry, key, release, err := a.begin(r)
	if err != nil {
		return err
	}
	defer release()
	body, err := readBody(r, a.Limits.Body, fhir.MediaType, "application/json")
	if err != nil {
		return err
	}
	root, err := fhir.Parse(body)
	if err != nil {
		return fault.New(FaultJSON).Because(err)
	}
	l := read(root)
	site, ok := l.site(c)
	if !ok {
		if len(l.refusals) > 0 {
			return l.refusals[0]
		}
		return fault.New(FaultEstablishment).At("List.extension('" + fhir.ExtSourceID + "')")
	}
	in := l.inbound(c, site)
	in.Raw = body
	if key == "" {
		key = l.uniqueID
	}
	in.IdempotencyKey, in.Message.ControlID = key, key
	if dry {
		d := a.Door.DryRun(r.Context(), in)
		d.Faults, d.Warnings = placing(inBundle).faults(d.Faults), placing(inBundle).notes(d.Warnings)
		status := http.StatusOK
		if len(d.Faults) > 0 {
			status = d.Faults[0].HTTP
		}
		w.Header().Set("X-Passerelle-Rules", d.Rules)
		jsonAnswer(status, typeFHIR, verdictOutcome(d)).write(w)
		return nil
	}
	d := a.Door.Accept(r.Context(), in, func(d gateway.Decision) []byte {
		d.Faults, d.Warnings = placing(inBundle).faults(d.Faults), placing(inBundle).notes(d.Warnings)
		if len(d.Faults) > 0 {
			return mustMarshal(outcomeFace(r, d.Submission, d.Faults, d.Warnings))
		}
		return mustMarshal(jsonAnswer(http.StatusAccepted, typeFHIR, verdictOutcome(d)))
	})
	var kept answer
	if err := json.Unmarshal(d.Receipt, &kept); err != nil || kept.Status >= 400 || kept.Status == 0 {
		a.answer(outcomeFace, w, r, d)
		return nil
	}
	if d.Outcome == gateway.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	// The journal has the bytes: they are not held while the DMP is waited for.
	l.forget()
	release()
	return a.finish(w, r, d, l, kept)
}

// finish answers an accepted lot with what the DMP answered, or with where to
// follow it.
func (a *API) finish(w http.ResponseWriter, r *http.Request, d gateway.Decision, l *lot, later answer) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.Limits.Wait)
	defer cancel()
	w.Header().Set("X-Passerelle-Submission", d.Submission)
	var del gateway.Delivery
	if !prefersAsync(r) {
		var err error
		if del, err = a.settled(ctx, d.Submission); err != nil {
			return err
		}
	}
	switch del.State {
	case gateway.Failed, gateway.Stopped:
		code := del.Code
		if _, ok := fault.Lookup(code); !ok {
			code = fault.Internal
		}
		f := fault.New(code)
		headers(w, r, f, f)
		outcomeFace(r, d.Submission, []*fault.Fault{f}, d.Warnings).write(w)
		return nil
	case gateway.Done:
		if out, ok := l.response(del.Remote, d.Warnings); ok {
			if l.single {
				w.Header().Set("ETag", etagOf(out.Location))
				out.Location = "https://" + r.Host + "/fhir/" + out.Location
			}
			out.write(w)
			return nil
		}
	}
	w.Header().Set("Content-Location", "/v1/submissions/"+d.Submission)
	later.write(w)
	return nil
}

// settled waits for the end of the delivery to the DMP. The zero delivery: not
// yet.
func (a *API) settled(ctx context.Context, submission string) (gateway.Delivery, error) {
	look := time.NewTicker(a.Limits.Poll / 4)
	defer look.Stop()
	for {
		all, err := a.Journal.Deliveries(context.WithoutCancel(ctx), submission)
		if err != nil {
			return gateway.Delivery{}, err
		}
		for _, d := range all {
			if d.Destination == gateway.DestinationDMP && d.State != gateway.Due {
				return d, nil
			}
		}
		select {
		case <-ctx.Done():
			return gateway.Delivery{}, nil
		case <-a.Closing:
			return gateway.Delivery{}, nil
		case <-look.C:
		}
	}
}

func prefersAsync(r *http.Request) bool {
	for _, v := range r.Header.Values("Prefer") {
		for one := range strings.FieldsFuncSeq(v, func(c rune) bool { return c == ',' || c == ';' || c == ' ' }) {
			if strings.EqualFold(one, "respond-async") {
				return true
			}
		}
	}
	return false
}

// acceptsFHIR tells whether the caller takes FHIR as JSON.
func acceptsFHIR(r *http.Request) bool {
	if f := r.URL.Query().Get("_format"); f != "" {
		return strings.HasSuffix(f, "json")
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	for _, kind := range []string{"", "*/*", "application/*", "json"} {
		if accept == kind || kind != "" && strings.Contains(accept, kind) {
			return true
		}
	}
	return false
}

// verdictOutcome is an OperationOutcome that is never empty: FHIR asks for one
// issue at least.
func verdictOutcome(d gateway.Decision) models.OperationOutcome {
	out := operationOutcome(d.Faults, d.Warnings)
	if len(out.Issue) == 0 {
		text := "Rien à signaler."
		out.Issue = []models.OperationOutcomeIssue{{Severity: models.IssueSeverityInformation, Code: models.IssueTypeInformational, Diagnostics: &text}}
	}
	return out
}

// response is the answer of the DMP in the shape of the request. False when the
// journal does not know every location.
func (l *lot) response(remote string, warnings []gateway.Note) (answer, bool) {
	found := map[string][]string{}
	for location := range strings.FieldsSeq(remote) {
		kind, _, _ := strings.Cut(location, "/")
		found[kind] = append(found[kind], location)
	}
	if len(found["DocumentReference"]) != len(l.documents) {
		return answer{}, false
	}
	if l.single {
		out := jsonAnswer(http.StatusCreated, typeFHIR, verdictOutcome(gateway.Decision{Warnings: warnings}))
		out.Location = found["DocumentReference"][0]
		return out, true
	}
	if len(found["List"]) != 1 || len(found["Binary"]) != len(l.documents) {
		return answer{}, false
	}
	b := fhir.Bundle{ResourceType: "Bundle", Type: "transaction-response"}
	for _, e := range l.entries {
		res := fhir.Response{Status: "201 Created"}
		switch e.kind {
		case "List":
			res.Location = found["List"][0]
			if len(warnings) > 0 {
				res.Outcome = mustMarshal(operationOutcome(nil, warnings))
			}
		case "Parameters":
			res.Status, res.Location = "200 OK", "DocumentReference/"+e.target
		default:
			res.Location = found[e.kind][e.document]
		}
		if version := versionOf(res.Location); version != "" {
			res.Etag = `W/"` + version + `"`
		}
		b.Entry = append(b.Entry, fhir.Entry{Response: &res})
	}
	return jsonAnswer(http.StatusOK, typeFHIR, b), true
}

func versionOf(location string) string {
	_, version, _ := strings.Cut(location, "/_history/")
	return version
}

func etagOf(location string) string {
	if v := versionOf(location); v != "" {
		return "W/" + strconv.Quote(v)
	}
	return `W/"1"`
}
