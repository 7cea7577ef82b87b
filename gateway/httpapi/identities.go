package httpapi

import (
	"io"
	"net/http"
	"slices"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// IdentityVerdict is what is wrong or odd about an identity. It repeats nothing
// of it.
type IdentityVerdict struct {
	Valid     bool              `json:"valid"`     // nothing wrong
	Qualified bool              `json:"qualified"` // INS, status QUAL, no attribute against it
	Findings  []IdentityFinding `json:"findings"`
}

// IdentityFinding is one of them.
type IdentityFinding struct {
	Finding
	Severity string `json:"severity"` // error or warning
}

// checkIdentity is POST /v1/identities/check: the judgement of package ins, that
// of the environment and of the day, advice on the birth place, and no call to INSi. Nothing is kept.
func (a *API) checkIdentity(w http.ResponseWriter, r *http.Request, _ *caller) error {
	body, err := readBody(r, maxSmall, "application/json")
	if err != nil {
		return err
	}
	var id ins.Identity
	if err := strict(body, &id); err != nil {
		return err
	}
	found := ins.Judge(id)
	if a.Environment != "" && a.Environment.Check(id.OID) != nil {
		found = append(found, ins.Finding{Code: ins.FaultTestOID, Where: ins.TraitOID, Severity: ins.Error})
	}
	// A date that is none was judged; the place is looked up all the same.
	born, err := ins.ParseBirthDate(id.Traits.BirthDate)
	if err != nil {
		born = ins.BirthDate{}
	}
	if a.Clock != nil && born.Real() {
		found = append(found, born.Check(a.Clock())...)
	}
	if a.Places != nil {
		places, err := a.Places()
		if err != nil {
			return err
		}
		found = append(found, places.Judge(id.Traits.BirthPlace, born)...)
	}
	out := IdentityVerdict{Valid: true, Qualified: id.Qualified(), Findings: []IdentityFinding{}}
	for _, f := range found {
		row, ok := fault.Lookup(f.Code)
		if !ok {
			return fault.New(fault.Internal)
		}
		severity := "warning"
		if f.Severity == ins.Error {
			severity, out.Valid = "error", false
		}
		out.Findings = append(out.Findings, IdentityFinding{finding(row, inIdentity(f.Where), language(r)), severity})
	}
	reply(w, out)
	return nil
}

// IdentityQuery is a person to ask INSi about: an identity without INS is looked
// for, one with its INS is verified.
type IdentityQuery struct {
	Establishment string `json:"establishment,omitempty"` // FINESS géographique; may be left out by who has one
	ins.Identity
}

// IdentityAnswer is what INSi answered, and what the identity becomes.
type IdentityAnswer struct {
	Result    string            `json:"result"`               // as INSi gives it: 00 one person, 01 nobody, 02 several
	Accepted  bool              `json:"accepted"`             // the identity takes the INS, or INSi agrees with it
	Identity  *ins.Identity     `json:"identity,omitempty"`   // with the INS and the traits of INSi, when accepted
	Returned  *ins.Traits       `json:"returned,omitempty"`   // what INSi returned, verbatim, for a person to compare
	Former    []ins.Pair        `json:"former,omitempty"`     // INS that the person once had
	MessageID string            `json:"message_id,omitempty"` // of the last call, as the trace has it
	Calls     int               `json:"calls"`
	Findings  []IdentityFinding `json:"findings"` // why it is not accepted; where INSi differs from what was asked
}

// queryIdentity is POST /v1/identities/query: a search by traits, or a unit
// verification. Each exchange is traced; nothing else is kept, and no log line
// has anything of the person.
func (a *API) queryIdentity(w http.ResponseWriter, r *http.Request, c *caller) error {
	body, err := readBody(r, maxSmall, "application/json")
	if err != nil {
		return err
	}
	var q IdentityQuery
	if err := strict(body, &q); err != nil {
		return err
	}
	site, ok := c.site(q.Establishment)
	if !ok {
		return fault.New(FaultEstablishment).At("/establishment")
	}
	v, err := a.Door.AskINSi(r.Context(), gateway.INSiQuery{Establishment: site, Asker: *c.asker(), Identity: q.Identity})
	if err != nil {
		return placed(err)
	}
	reply(w, NewIdentityAnswer(v, language(r)))
	return nil
}

// NewIdentityAnswer says a verdict in a language, fr or en.
func NewIdentityAnswer(v gateway.INSiVerdict, lang string) IdentityAnswer {
	out := IdentityAnswer{Result: v.Trace.Result, Accepted: v.Against == nil, MessageID: v.Trace.MessageID, Former: v.Former, Calls: v.Calls, Findings: []IdentityFinding{}}
	if v.Trace.INS != (ins.Pair{}) {
		out.Returned = &v.Trace.Traits
	}
	refused := ""
	if v.Against != nil {
		f := placed(v.Against)
		refused = f.Where
		out.Findings = append(out.Findings, IdentityFinding{finding(f.Row, f.Where, lang), "error"})
	} else if v.Trace.INS != (ins.Pair{}) {
		out.Identity = &v.Identity
		// What INSi returned is kept verbatim, a wrong key too, which the gate then
		// holds back: whoever takes it must know.
		for _, found := range ins.Judge(v.Identity) {
			f := placed(fault.New(found.Code).At(found.Where))
			out.Findings = append(out.Findings, IdentityFinding{finding(f.Row, f.Where, lang), "warning"})
		}
	}
	for _, d := range v.Differences {
		f := fault.New(ins.FaultReplaced)
		if d.Severity == ins.Error {
			f = fault.New(ins.FaultUnconfirmed)
		}
		if f = placed(f.At(d.Trait)); f.Where != refused {
			out.Findings = append(out.Findings, IdentityFinding{finding(f.Row, f.Where, lang), "warning"})
		}
	}
	return out
}

// placed turns the name of a trait, where an error has one, into its place in the
// JSON that was sent.
func placed(err error) *fault.Fault {
	f := fault.From(err)
	return f.At(inIdentity(f.Where))
}

// pointer is where a field of an identity stands in its JSON.
func pointer(where string) string {
	switch where {
	case ins.TraitMatricule, ins.TraitOID, ins.TraitStatus, ins.TraitAttributes, "":
		return where
	}
	return "traits/" + where
}

// readBody reads a body of one of the media types, within a limit.
func readBody(r *http.Request, limit int64, kinds ...string) ([]byte, error) {
	kind, _, err := contentType(r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(kinds, kind) {
		return nil, fault.New(FaultMediaType)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, cutOr(err, FaultCut)
	}
	if int64(len(data)) > limit {
		return nil, fault.New(FaultTooLarge)
	}
	return data, nil
}
