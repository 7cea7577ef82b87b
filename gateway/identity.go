package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Person is one identity that a legal entity (FINESS EJ) holds. It is a value:
// a change is a new one, of the next version.
type Person struct {
	ID            string        // names nobody; may stand in a log
	Establishment Establishment // where it was first seen, and which is told what changes
	Version       int64         // of its last change; 0: not held yet
	Record        ins.Record
	UsedName      string // nom utilisé
	UsedGiven     string // prénom utilisé
}

// Candidate is the person as searches and filing see them.
func (p Person) Candidate() ins.Candidate {
	return ins.Candidate{
		Identity: p.Record.Identity, UsedName: p.UsedName, UsedGiven: p.UsedGiven, Former: p.Record.Former, Merged: p.Record.Merged,
	}
}

// PersonChange is one event and the person after it: the history of a person is
// the list of them, oldest first.
type PersonChange struct {
	Person Person
	Entry  ins.Entry
	// Under, of a new person: the ids of those whom [Register.Search] found under
	// its INS when it was decided that it is none of them; nil: nobody looked.
	Under []string
}

// INSiExchange is one call of INSi, successful or not (EXI REC 07). It belongs
// to the establishment that asked; Actor, Request and Response name people.
type INSiExchange struct {
	MessageID     string // unique for ever
	Establishment Establishment
	Operation     string // WS_INS1, WS_INS2, WS_INS3
	At            time.Time
	Took          time.Duration
	Actor         json.RawMessage `json:",omitempty"` // who asked, as the client writes it
	Subject       string          // id of a [Person], or of a submission; never an INS
	Attempt       int
	Criteria      []string // names of what was sent, no value
	Result        string   // 00, 01, 02; empty when it failed
	Fault         string   // our code
	Remote        string   // code of INSi
	Request       []byte
	Response      []byte
}

// INSiCount is how many calls of a site had one result (TBB-3). Result is 00,
// 01, 02, or "fault".
type INSiCount struct {
	FINESSGeo string
	Operation string
	Result    string
	Calls     int
}

// MaxFound is how many people a search gives at most: one that finds more is
// refused ([FaultIdentityMany]), because a list that is cut hides somebody.
const MaxFound = 100

// ErrChanged says that somebody else changed a person, or took one of their
// local numbers, since they were read: nothing was written, read again.
var ErrChanged = errors.New("register: changed meanwhile")

// Register holds identities, their history and the INSi exchanges behind them.
// What a method that returned nil wrote survives a crash. Every read is bound to
// one legal entity: what another one holds is not found.
type Register interface {
	// Person reads one. ErrNotFound when the legal entity holds no such person.
	Person(ctx context.Context, finessEJ, id string) (Person, error)
	// Search finds by [ins.Query], oldest first: by INS, active or former, or by
	// birth date with the first letters of names. People that were merged are
	// never found.
	Search(ctx context.Context, finessEJ string, q ins.Query) ([]Person, error)
	// Known finds who has one of the local numbers, merged people too.
	Known(ctx context.Context, finessEJ string, local []ins.LocalID) ([]Person, error)
	// History gives every change of a person, oldest first.
	History(ctx context.Context, finessEJ, id string) ([]PersonChange, error)
	// Commit writes changes, and with them the entry of the journal that they come
	// from or that they cause (nil: none): all of it or nothing. Each change must
	// be of the version that follows the one held, a local number belongs to one
	// person, and who is found Under an INS has not changed: else ErrChanged. A change by an INSi answer names an exchange
	// that the legal entity kept before ([FaultIdentityTrace]).
	Commit(ctx context.Context, changes []PersonChange, e *Entry) error
	// KeepINSi keeps an exchange, before its answer is used. A MessageID is kept
	// once: ErrDuplicate.
	KeepINSi(ctx context.Context, x INSiExchange) error
	// INSi reads one exchange of a legal entity by MessageID.
	INSi(ctx context.Context, finessEJ, messageID string) (INSiExchange, error)
	// INSiCounts counts the calls of sites (none: nothing) from a time on and
	// before another.
	INSiCounts(ctx context.Context, finessGeo []string, from, to time.Time) ([]INSiCount, error)
}

// IdentitySettings are what a site decides of the identities that it holds.
type IdentitySettings struct {
	Rules ins.Rules
	// TrustADT tells whether the ADT of an establishment teach identities; nil: none.
	TrustADT func(Establishment) bool
	// Software names the application of an establishment that is told of a lowered
	// identity (ADT^A47); false, or nil: nobody is told.
	Software func(Establishment) (Party, bool)
}

// IdentityEvent is one event that happens to a person.
type IdentityEvent struct {
	Establishment Establishment
	Person        string    // id; empty with [ins.Create]
	Event         ins.Event // its At is set by the gateway when it is zero
	Local         []ins.LocalID
	UsedName      string // with [ins.Create]
	UsedGiven     string // with [ins.Create]
}

// identityRaces is how often a change is decided anew because somebody else was
// faster.
const identityRaces = 10

// ApplyIdentity decides of one event by [ins.Rules] and commits the person, the
// entry of its history and what must be told downstream: all of it or nothing.
// It is the one way by which a held identity changes, but for [Gateway.Accept]
// of an ADT, which does the same with its submission. The search for an
// antecedent comes before [ins.Create], and is the caller's.
func (g *Gateway) ApplyIdentity(ctx context.Context, in IdentityEvent) (PersonChange, error) {
	if g.Register == nil {
		return PersonChange{}, fault.New(FaultNoRegister)
	}
	if in.Event.At.IsZero() {
		in.Event.At = g.Clock()
	}
	for range identityRaces {
		change, err := g.decideIdentity(ctx, in)
		if err != nil {
			return PersonChange{}, err
		}
		told, err := g.lowered(ctx, change)
		if err != nil {
			return PersonChange{}, err
		}
		switch err := g.Register.Commit(ctx, []PersonChange{change}, told); {
		case errors.Is(err, ErrChanged):
		case err != nil:
			return PersonChange{}, err
		default:
			if told != nil {
				g.wake()
			}
			return change, nil
		}
	}
	return PersonChange{}, fault.New(FaultIdentityRace)
}

func (g *Gateway) decideIdentity(ctx context.Context, in IdentityEvent) (PersonChange, error) {
	e := in.Event
	if e.Kind == ins.Create {
		var t ins.Traits
		if e.Traits != nil {
			t = *e.Traits
		}
		record, entry, err := g.Identity.Rules.Create(t, e.Corrected, e.Actor, e.At)
		if err != nil {
			return PersonChange{}, err
		}
		known, err := g.Register.Known(ctx, in.Establishment.FINESSEJ, in.Local)
		if err != nil {
			return PersonChange{}, err
		}
		if len(known) > 0 {
			return PersonChange{}, fault.New(FaultIdentityTwo)
		}
		entry.Event.Reason, record.Identity.Local = e.Reason, in.Local
		p := Person{ID: g.NewID(), Establishment: in.Establishment, Version: 1, Record: record, UsedName: in.UsedName, UsedGiven: in.UsedGiven}
		return PersonChange{Person: p, Entry: entry}, nil
	}
	p, err := g.Register.Person(ctx, in.Establishment.FINESSEJ, in.Person)
	if err != nil {
		return PersonChange{}, err
	}
	return g.changed(p, e)
}

// changed is a person after an event.
func (g *Gateway) changed(p Person, e ins.Event) (c PersonChange, err error) {
	p.Record, c.Entry, err = g.Identity.Rules.Apply(p.Record, e)
	p.Version++
	c.Person = p
	return c, err
}
