package gateway

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// The events of PAM.fr that say more than who a patient is.
const (
	eventMerge     = "ADT^A40" // Prior was absorbed by the patient
	eventChangeINS = "ADT^A47" // Prior is the INS that the patient no longer has
)

// learns tells whether a message teaches identities: an ADT of an establishment
// whose ADT are trusted. What a document's message says teaches nothing.
func (g *Gateway) learns(in Inbound) bool {
	return g.Register != nil && g.Identity.TrustADT != nil && g.Identity.TrustADT(in.Establishment) &&
		in.Door == "hl7" && strings.HasPrefix(in.Message.Type, "ADT^")
}

// record commits an entry and what its message teaches, all of it or nothing.
// What the rules of identities refuse to learn is told in the timeline: the ADT
// itself is in order, and says more than that.
func (g *Gateway) record(ctx context.Context, in Inbound, e *Entry) error {
	if !g.learns(in) {
		return g.Journal.Record(ctx, *e)
	}
	for range identityRaces {
		with := *e
		with.Events, with.Deliveries = slices.Clip(e.Events), slices.Clip(e.Deliveries)
		s := &with.Submission
		changes, err := g.learn(ctx, in, s.Received)
		var refused *ins.Refusal
		if f := fault.From(err); err != nil {
			if !errors.As(err, &refused) && f.Code != FaultIdentityTwo && f.Code != FaultIdentityNoNumber && f.Code != FaultIdentityMany {
				return err
			}
			with.Events = append(with.Events, Event{
				Submission: s.ID, Time: s.Received, Step: EventAccepted, Outcome: OutcomeWarning, Code: f.Code, Where: patientWhere(in),
			})
		}
		for _, c := range changes {
			if del, ok := g.loweredDelivery(c, in.From); ok {
				del.Submission, s.State = s.ID, Pending
				with.Deliveries, with.Events = append(with.Deliveries, del), append(with.Events, loweredEvent(*s))
			}
		}
		if err = g.Register.Commit(ctx, changes, &with); !errors.Is(err, ErrChanged) {
			*e = with
			return err
		}
	}
	return fault.New(FaultIdentityRace)
}

// learn gives the changes that an ADT makes; none when it says what is known.
func (g *Gateway) learn(ctx context.Context, in Inbound, at time.Time) (changes []PersonChange, err error) {
	said := in.Patient
	said.Local = localNumbers(in, in.Patient)
	if said.HasINS() && g.Settings.Environment.Check(said.OID) != nil {
		said.Matricule, said.OID = "", ""
		if said.Status == ins.Qualified {
			said.Status = ins.Validated
		}
	}
	var prior ins.Identity
	if in.Prior != nil {
		prior = *in.Prior
		prior.Local = localNumbers(in, prior)
	}
	p, under, err := g.meant(ctx, in, said, prior)
	if err != nil || p.ID == "" {
		return nil, err
	}
	e := ins.Event{
		At: at, Actor: ins.Actor{ID: in.From.Application + "|" + in.From.Facility}, Reason: in.Message.Type + " " + in.Message.ControlID,
	}
	var former []ins.Pair // of the absorbed, their last INS too: a letter may still come under it
	if in.Message.Type == eventMerge {
		absorbed, err := g.Register.Known(ctx, in.Establishment.FINESSEJ, prior.Local)
		if err != nil {
			return nil, err
		}
		for _, a := range absorbed {
			if a.ID == p.ID || a.Record.Merged {
				continue
			}
			e.Kind = ins.Merge
			c, err := g.changed(a, e)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
			former = append(former, c.Person.Record.Former...)
		}
	}
	// An A47 that names no other INS withdraws the one it names: that is more
	// than silence, which leaves evidence of our own alone.
	if held := p.Record.Identity; in.Message.Type == eventChangeINS && prior.HasINS() && !said.Qualified() &&
		held.Matricule == prior.Matricule && held.OID == prior.OID {
		e.Kind = ins.RemoveINS
		c, err := g.changed(p, e)
		if err != nil {
			return nil, err
		}
		changes, p = append(changes, c), c.Person
	}
	e.Kind, e.Said, e.Corrected, e.Former = ins.Assert, &said, in.DateCorrected, former
	c, err := g.changed(p, e)
	if err != nil {
		return nil, err
	}
	c.Under = under
	if p.Version == 0 || !reflect.DeepEqual(c.Person.Record, p.Record) {
		changes = append(changes, c)
	}
	return changes, nil
}

// meant finds the person whom an ADT concerns: who has one of its local numbers;
// else whose INS an A47 withdraws; else the one person held who agrees with it
// in all and has no other number of the same authority; else a new one. Two
// people with one INS stay two: that is for the hospital to merge. Of a new
// person it also gives who was found under the INS ([PersonChange]).
func (g *Gateway) meant(ctx context.Context, in Inbound, said, prior ins.Identity) (_ Person, under []string, _ error) {
	house := in.Establishment.FINESSEJ
	known, err := g.Register.Known(ctx, house, said.Local)
	switch {
	case err != nil:
		return Person{}, nil, err
	case len(known) == 1:
		return known[0], nil, nil
	case len(known) > 1:
		return Person{}, nil, fault.New(FaultIdentityTwo).At(patientWhere(in))
	}
	if in.Message.Type == eventChangeINS && len(said.Local) == 0 {
		held, _, err := g.holders(ctx, house, prior)
		if err != nil || len(held) != 1 {
			return Person{}, nil, err // who has two records under this INS said not which
		}
		return held[0], nil, nil
	}
	if said.Qualified() {
		var held []Person
		held, under, err = g.holders(ctx, house, said)
		switch {
		case err != nil:
			return Person{}, nil, err
		case len(held) == 1 && held[0].Record.Identity.Qualified() && ins.Equal(held[0].Record.Identity, said) &&
			!otherNumber(held[0].Record.Identity, said):
			return held[0], nil, nil
		case len(held) > 0 && len(said.Local) == 0: // each such message would make one more
			return Person{}, nil, fault.New(FaultIdentityNoNumber).At(patientWhere(in))
		}
	}
	if len(said.Local) == 0 && !said.Qualified() {
		return Person{}, nil, nil // nothing by which it could be found again
	}
	return Person{ID: g.NewID(), Establishment: in.Establishment, Record: ins.Record{Identity: ins.Identity{Status: ins.Provisional}}}, under, nil
}

// holders are those who have an INS now; found are the ids of those who have or
// had it.
func (g *Gateway) holders(ctx context.Context, house string, id ins.Identity) (now []Person, found []string, _ error) {
	if !id.HasINS() {
		return nil, nil, nil
	}
	all, err := g.Register.Search(ctx, house, ins.Query{INS: ins.Pair{Matricule: id.Matricule, OID: id.OID}})
	found = []string{}
	for _, p := range all {
		found = append(found, p.ID)
		if p.Record.Identity.Matricule == id.Matricule {
			now = append(now, p)
		}
	}
	return now, found, err
}

// otherNumber tells whether two identities have different numbers of one
// authority, hence are two records of one house.
func otherNumber(a, b ins.Identity) bool {
	for _, x := range a.Local {
		for _, y := range b.Local {
			if x.Authority == y.Authority && x.Value != y.Value {
				return true
			}
		}
	}
	return false
}

// localNumbers are the local numbers of a patient; one without authority is that
// of the facility that sent it.
func localNumbers(in Inbound, id ins.Identity) []ins.LocalID {
	local := slices.Clone(id.Local)
	for i := range local {
		if local[i].Authority == "" {
			local[i].Authority = in.From.Facility
		}
	}
	return local
}

// Held are the people that a legal entity knows: those of its register, and
// those of another source (a file) that the register does not know. The register
// has the last word on whoever has the same local number, because it follows
// what happens to them.
type Held struct {
	Register Register // nil: File alone
	File     Identities
}

// Candidates implements [Identities].
func (h Held) Candidates(ctx context.Context, finessEJ string, received ins.Identity) ([]ins.Candidate, error) {
	file, err := h.File.Candidates(ctx, finessEJ, received)
	if err != nil || h.Register == nil {
		return file, err
	}
	var known []Person
	add := func(all []Person, err error) error {
		for _, p := range all {
			if !slices.ContainsFunc(known, func(k Person) bool { return k.ID == p.ID }) {
				known = append(known, p)
			}
		}
		return err
	}
	if received.Matricule != "" {
		err = add(h.Register.Search(ctx, finessEJ, ins.Query{INS: ins.Pair{Matricule: received.Matricule}}))
	}
	if t := received.Traits; err == nil && t.BirthDate != "" {
		err = add(h.Register.Search(ctx, finessEJ, ins.Query{BirthDate: t.BirthDate, Name: t.BirthName}))
	}
	if err != nil {
		return nil, err
	}
	var held []ins.Candidate
	for _, c := range file {
		if c.Identity.Matricule != received.Matricule && c.Identity.Traits != received.Traits {
			held = append(held, c) // files nothing; a person may be shown it
			continue
		}
		same, err := h.Register.Known(ctx, finessEJ, c.Identity.Local)
		if err != nil {
			return nil, err
		}
		_ = add(same, nil)
		// Without a common number, one person is known by having or having had the
		// INS, under the same traits.
		agrees := func(p Person) bool {
			id, pair := p.Record.Identity, ins.Pair{Matricule: c.Identity.Matricule, OID: c.Identity.OID}
			had := id.Matricule == pair.Matricule && id.OID == pair.OID || slices.Contains(p.Record.Former, pair)
			return had && id.Traits == c.Identity.Traits && !otherNumber(id, c.Identity)
		}
		if len(same) == 0 && !slices.ContainsFunc(known, agrees) {
			held = append(held, c)
		}
	}
	for _, p := range known {
		held = append(held, p.Candidate())
	}
	return held, nil
}
