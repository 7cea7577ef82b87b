package gateway

import (
	"context"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// INSi asks the INSi teleservice who a person is; ins/insi does it. Whoever
// implements it keeps the trace of each exchange before the answer is returned.
// Errors carry a code of the table that says whether they are temporary.
type INSi interface {
	// Search looks for a person without INS by traits.
	Search(ctx context.Context, q INSiQuery) (INSiAnswer, error)
	// Verify asks whether the INS and the traits of an identity belong together.
	Verify(ctx context.Context, q INSiQuery) (INSiAnswer, error)
}

// Asker is on whose behalf INSi is asked: a professional, or the software of an
// establishment.
type Asker struct {
	ins.Actor
	Name      string // of a person
	Specialty string // of a doctor
}

// INSiQuery is a person to ask about.
type INSiQuery struct {
	Establishment Establishment
	Asker         Asker
	Subject       string // the submission, for the trace; never an INS
	Identity      ins.Identity
}

// INSiAnswer is what INSi answered, after as many calls as it took.
type INSiAnswer struct {
	Trace   ins.Trace  // Result 00, 01 or 02; INS and traits of a search with 00 only
	Former  []ins.Pair // that the person once had
	Calls   int
	Refusal error // the answer in the words of the error table; nil for one person, or agreement
}

// INSiVerdict is what an identity becomes by the answer of INSi.
type INSiVerdict struct {
	INSiAnswer
	Identity    ins.Identity     // with its INS when Against is nil, else as it was asked about
	Differences []ins.Difference // between what was asked and what INSi returned
	Against     error            // why the identity takes no INS
}

// AskINSi asks INSi about an identity. One that carries no INS is looked for, and
// becomes what [ins.Identity.Confirm] says; one that carries its INS is verified
// and stays as it is. An error is a question that could not be asked, or a
// failure of the exchange.
func (g *Gateway) AskINSi(ctx context.Context, q INSiQuery) (INSiVerdict, error) {
	v := INSiVerdict{Identity: q.Identity}
	if g.INSi == nil {
		return v, fault.New(FaultNoINSi)
	}
	if err := ins.MayCallINSi(q.Identity); err != nil {
		return v, err
	}
	ask, search := g.INSi.Verify, q.Identity.Matricule == "" && q.Identity.OID == ""
	if search {
		ask = g.INSi.Search
	}
	var err error
	if v.INSiAnswer, err = ask(ctx, q); err != nil {
		return v, err
	}
	if v.Against = v.Refusal; v.Against == nil && search {
		v.Identity, v.Differences, v.Against = q.Identity.Confirm(v.Trace)
	}
	return v, nil
}

// examine judges a message as it would be published: the INS of the patient
// looked for, if it is to be, and the documents made that the gateway makes.
func (g *Gateway) examine(ctx context.Context, in Inbound, submission string) (Inbound, verdict) {
	in, asked, err := g.identify(ctx, in, submission)
	if err != nil {
		f := fault.From(err)
		// What failed here, a disk that has no room for the trace, is our own affair.
		return in, verdict{faults: []*fault.Fault{f}, warnings: in.Warnings, asked: asked, unanswered: f.Code == fault.Internal || !strings.HasPrefix(f.Code, "GW-")}
	}
	documents := make([]InboundDocument, len(in.Documents))
	for i, doc := range in.Documents {
		if doc.Build != nil {
			content, refusals := doc.Build(in.Patient)
			doc.Content = content
			in.Refusals = append(in.Refusals[:len(in.Refusals):len(in.Refusals)], refusals...)
		}
		documents[i] = doc
	}
	in.Documents = documents
	v := g.judge(ctx, in)
	v.asked = asked
	return in, v
}

// identify asks INSi for the INS of a patient whom the message gives by traits
// only, where its door has an asker. It is not asked about what is refused
// already.
//
// A destination that needs an INS waits for the answer, and is refused by a bad
// one. A letter to professionals does not: a validated patient gets the INS into
// the document that is made, if INSi gives it; if not, the letter leaves without
// it, which its timeline says.
func (g *Gateway) identify(ctx context.Context, in Inbound, submission string) (_ Inbound, asked bool, _ error) {
	needed := in.Flags.ToDMP || in.Flags.ToPatient
	made := len(in.Documents) > 0 && in.Documents[0].Build != nil
	wanted := in.Flags.ToProfessionals && made && in.Patient.Status == ins.Validated && ins.MayCallINSi(in.Patient) == nil
	p := in.Patient
	if g.INSi == nil || in.Asker == nil || p.Matricule != "" || p.OID != "" || len(in.Refusals) > 0 || !needed && !wanted {
		return in, false, nil
	}
	v, err := g.AskINSi(ctx, INSiQuery{Establishment: in.Establishment, Asker: *in.Asker, Subject: submission, Identity: p})
	if err == nil {
		err = v.Against
	}
	in.Warnings = in.Warnings[:len(in.Warnings):len(in.Warnings)]
	if err != nil && needed {
		return in, true, err
	}
	if err != nil {
		f := fault.From(err)
		in.Warnings = append(in.Warnings, Note{f.Code, f.Where})
		return in, true, nil
	}
	in.Patient = v.Identity
	if len(v.Differences) > 0 {
		in.Warnings = append(in.Warnings, Note{ins.FaultReplaced, v.Differences[0].Trait})
	}
	return in, true, nil
}
