package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"unicode"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Accepted is the answer to a deposit.
type Accepted struct {
	ID       string    `json:"id"`
	Outcome  string    `json:"outcome"`
	Rules    string    `json:"rules"`
	Warnings []Finding `json:"warnings"`
}

// Verdict is the answer to a dry run.
type Verdict struct {
	Verdict  string    `json:"verdict"` // accepted or refused
	Rules    string    `json:"rules"`
	Errors   []Finding `json:"errors"`
	Warnings []Finding `json:"warnings"`
}

// deposit is POST /v1/submissions.
func (a *API) deposit(w http.ResponseWriter, r *http.Request, c *caller) error {
	dry, key, release, err := a.begin(r)
	if err != nil {
		return err
	}
	defer release()
	f, err := readForm(r)
	if err != nil {
		return err
	}
	in, err := a.inbound(f, c)
	if err != nil {
		return err
	}
	in.IdempotencyKey, in.Message.ControlID = key, key
	if dry {
		return a.dryRun(w, r, in)
	}
	a.accept(w, r, in)
	return nil
}

// idempotencyKey reads the header; empty when there is none.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > 128 {
		return "", fault.New(FaultKey)
	}
	for _, c := range key {
		if c > unicode.MaxASCII || !unicode.IsGraphic(c) || c == ' ' {
			return "", fault.New(FaultKey)
		}
	}
	return key, nil
}

func (a *API) dryRun(w http.ResponseWriter, r *http.Request, in gateway.Inbound) error {
	d := a.Door.DryRun(r.Context(), in)
	d.Faults, d.Warnings = placing(inEnvelope).faults(d.Faults), placing(inEnvelope).notes(d.Warnings)
	if d.Outcome == gateway.Unavailable {
		return d.Faults[0]
	}
	v := Verdict{Verdict: "accepted", Rules: d.Rules, Errors: faultFindings(d.Faults, language(r)), Warnings: noteFindings(d.Warnings, language(r))}
	if d.Outcome == gateway.Refused {
		v.Verdict = "refused"
	}
	reply(w, v)
	return nil
}

// accept hands a message to the gateway and answers with what was stored with
// it, so that a second copy gets the same answer.
func (a *API) accept(w http.ResponseWriter, r *http.Request, in gateway.Inbound) {
	d := a.Door.Accept(r.Context(), in, func(d gateway.Decision) []byte {
		out := answer{}
		d.Faults, d.Warnings = placing(inEnvelope).faults(d.Faults), placing(inEnvelope).notes(d.Warnings)
		switch d.Outcome {
		case gateway.Accepted, gateway.Noted:
			out = jsonAnswer(http.StatusAccepted, typeJSON, Accepted{
				ID: d.Submission, Outcome: string(d.Outcome), Rules: d.Rules, Warnings: noteFindings(d.Warnings, language(r)),
			})
			out.Location = "/v1/submissions/" + d.Submission
		case gateway.Unavailable: // nothing was kept under this id
			out = problemFace(r, "", d.Faults, nil)
		default:
			out = problemFace(r, d.Submission, d.Faults, nil)
		}
		return mustMarshal(out)
	})
	a.answer(problemFace, w, r, d)
}

// answer gives the stored answer of a decision.
func (a *API) answer(face face, w http.ResponseWriter, r *http.Request, d gateway.Decision) {
	var out answer
	if err := json.Unmarshal(d.Receipt, &out); err != nil || out.Status == 0 {
		a.fail(face, w, r, fault.New(fault.Internal).Because(errors.New("a stored answer cannot be read")))
		return
	}
	if len(d.Faults) > 0 {
		headers(w, r, d.Faults[0], d.Faults[0])
	}
	if d.Outcome != gateway.Unavailable { // under which the journal has it, refusals too
		w.Header().Set("X-Passerelle-Submission", d.Submission)
	}
	if d.Outcome == gateway.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	out.write(w)
}

// mustMarshal writes one of our own types, which can always be written; if it
// could not, the empty answer says so where it is read.
func mustMarshal(v any) []byte {
	b, err := fhir.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// form is the two parts of a deposit.
type form struct{ envelope, document []byte }

// readForm reads the parts as they come. Nothing is written to disk: the bytes
// in hand are counted by [API.hold].
func readForm(r *http.Request) (form, error) {
	kind, params, err := contentType(r)
	if err != nil {
		return form{}, err
	}
	if kind != "multipart/form-data" {
		return form{}, fault.New(FaultMediaType)
	}
	if b := params["boundary"]; b == "" || len(b) > 200 {
		return form{}, fault.New(FaultMultipart)
	}
	var f form
	seen := map[string]bool{}
	for parts := multipart.NewReader(r.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return form{}, cutOr(err, FaultMultipart)
		}
		name := p.FormName()
		into, limit := map[string]*[]byte{"envelope": &f.envelope, "document": &f.document}[name], int64(maxEnvelope)
		if into == nil || seen[name] {
			return form{}, fault.New(FaultPart).At(safeName(name))
		}
		seen[name] = true
		if name == "document" {
			limit = 1 << 40 // the body as a whole is bounded
		}
		data, err := io.ReadAll(io.LimitReader(p, limit+1))
		if err != nil {
			return form{}, cutOr(err, FaultMultipart)
		}
		if int64(len(data)) > limit {
			return form{}, fault.New(FaultTooLarge).At(name)
		}
		*into = data
	}
	for _, name := range []string{"envelope", "document"} {
		if !seen[name] {
			return form{}, fault.New(FaultPart).At(name)
		}
	}
	return f, nil
}

// cutOr tells a body that is too long, too slow, or that stopped, from one that is
// wrong.
func cutOr(err error, code string) error {
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return fault.New(FaultTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(FaultSlow).Because(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(FaultCut).Because(err)
	}
	return fault.New(code).Because(err)
}

// inbound understands a deposit. What is wrong with it becomes a refusal of the
// gateway, so that it is journaled, as soon as it is known whose it is.
func (a *API) inbound(f form, c *caller) (gateway.Inbound, error) {
	e, refusal := readEnvelope(f.envelope)
	site, ok := c.site(e.Establishment)
	if !ok {
		if refusal == nil {
			refusal = fault.New(FaultEstablishment).At("/establishment")
		}
		return gateway.Inbound{}, refusal
	}
	in := gateway.Inbound{
		Door: "rest", Establishment: site, From: c.party(site), Message: gateway.Message{Type: "POST submissions"},
		Raw: record(f), Action: e.Action, Patient: e.Patient.Identity, Flags: e.Flags.flags(), ReplyTo: e.ReplyTo,
		Visit:   gateway.Visit{Class: e.Act.Class, Number: e.Act.Stay, FileNumber: e.Act.FileNumber},
		BodyPro: text(e.Messages.Professional), BodyPatient: text(e.Messages.Patient),
	}
	if refusal != nil {
		in.Action, in.Refusals = dmp.New, []error{refusal}
		return in, nil
	}
	e.complete(site)
	in.Requester = c.requester(e.requester(), site)
	var err error
	if in.Recipients, err = e.recipients(); err != nil {
		in.Refusals = append(in.Refusals, err)
	}
	in.Asker = c.asker()
	document, err := a.document(e, f.document)
	if err != nil {
		in.Refusals = append(in.Refusals, err)
	}
	in.Documents = []gateway.InboundDocument{document}
	return in, nil
}

func text(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// record is the message as the journal keeps it: the envelope as it came, and
// the digest of the document, which is kept beside it. The boundary of the form
// is left out, so that a client that sends the same again sends the same.
func record(f form) []byte {
	sum := sha256.Sum256(f.document)
	return mustMarshal(map[string]any{"envelope": string(f.envelope), "document": hex.EncodeToString(sum[:]), "size": len(f.document)})
}

// complete fills what follows from the establishment.
func (e *Envelope) complete(site gateway.Establishment) {
	if e.Organisation.ID.Zero() {
		e.Organisation.Organisation = structure(site)
	}
	if e.Author != nil && e.Author.Organisation.ID.Zero() {
		e.Author.Organisation = e.Organisation
	}
}

// requester is the author, for a machine that sends on its behalf.
func (e Envelope) requester() *dmp.Requester {
	if e.Author == nil {
		return nil
	}
	r := &dmp.Requester{Organisation: e.Author.Organisation.Organisation}
	if e.Author.Device != nil {
		r.Device = e.Author.Device
		return r
	}
	p := e.Author.Person
	if p.ID.Root == "" {
		p.ID.Root = dmp.OIDPerson
	}
	r.Person = &p
	return r
}

// document is the CDA: as it came, with what the envelope claims of it, or built
// from a PDF once the gateway has settled who the patient is.
func (a *API) document(e Envelope, data []byte) (gateway.InboundDocument, error) {
	head := bytes.TrimLeft(bytes.TrimPrefix(data[:min(len(data), 1024)], []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case bytes.HasPrefix(data, []byte("%PDF-")):
		if e.Action == dmp.Replace && e.Document.Replaces == nil {
			return gateway.InboundDocument{}, fault.New(FaultMissing).At("/document/replaces")
		}
		return gateway.InboundDocument{Build: func(patient ins.Identity) ([]byte, []error) {
			input := e.build(data)
			input.Patient.Identity = patient
			built, err := cda.Build(input)
			var several *cda.Refused
			switch {
			case errors.As(err, &several):
				return nil, enveloped(several.Findings)
			case err != nil:
				return nil, []error{err}
			}
			return built, nil
		}}, nil
	case isHTML(head):
		// What is announced as a PDF and is a web page: an error page, most often.
		return gateway.InboundDocument{}, &cda.Finding{Code: cda.FaultNotPDF, Severity: cda.Blocking}
	case bytes.HasPrefix(head, []byte("<")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.HasPrefix(data, []byte("\xff\xfe")):
		return gateway.InboundDocument{Content: data, Claimed: e.claims()}, nil
	}
	return gateway.InboundDocument{}, fault.New(FaultDocument)
}

func isHTML(head []byte) bool {
	lower := bytes.ToLower(head[:min(len(head), 64)])
	return bytes.HasPrefix(lower, []byte("<!doctype html")) || bytes.HasPrefix(lower, []byte("<html"))
}

// build is the input of the CDA that a PDF becomes.
func (e Envelope) build(pdf []byte) cda.BuildInput {
	in := cda.BuildInput{
		To: e.destination(), ID: e.Document.ID, SetID: e.Document.SetID, Version: e.Document.Version, Replaces: e.Document.Replaces,
		Type: e.Document.Type, Title: e.Document.Title, Created: e.Document.Created, Confidentiality: e.Document.Confidentiality,
		Language: e.Document.Language, Patient: e.Patient, Custodian: e.Organisation, PDF: pdf,
		Act:       cda.BuildAct{Code: e.Act.Code, Start: e.Act.Start, Stop: e.Act.Stop, PracticeSetting: e.Act.PracticeSetting},
		Encounter: cda.BuildEncounter{Code: e.Act.Encounter, Facility: e.Act.Facility},
	}
	if e.Author == nil {
		return in
	}
	if e.Author.Device != nil {
		in.Device = &cda.BuildDevice{Device: *e.Author.Device, Organisation: e.Author.Organisation}
		return in
	}
	in.Authors = []cda.Professional{e.Author.Professional}
	return in
}

// destination is the strictest of those asked for, for the INS gate of a
// document that is built once for all of them.
func (e Envelope) destination() ins.Destination {
	switch {
	case e.Flags.ToDMP:
		return ins.ToDMP
	case e.Flags.ToPatient:
		return ins.ToPatient
	}
	return ins.ToProfessional
}

// claims is what the envelope says of a CDA. The patient is compared by the
// gateway, for every door.
func (e Envelope) claims() *dmp.Metadata {
	d := e.Document
	m := &dmp.Metadata{
		UniqueID: d.ID, SetID: d.SetID, Version: d.Version, Replaces: d.Replaces, Type: d.Type, Title: d.Title, Created: d.Created,
		Confidentiality: d.Confidentiality, Language: d.Language,
		ServiceStart: e.Act.Start, ServiceStop: e.Act.Stop, Facility: e.Act.Facility, PracticeSetting: e.Act.PracticeSetting,
	}
	if e.Author != nil {
		r := e.requester()
		m.Authors = []dmp.Author{{Person: r.Person, Device: r.Device, Organisation: r.Organisation}}
	}
	return m
}
