package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Consent is what an ADT of PAM.fr says of its patient (ZFA). Empty fields were
// not said.
type Consent struct {
	Feeding          string `json:"feeding,omitempty"`           // ZFA-9: INO, IO, NA
	FeedingDate      string `json:"feeding_date,omitempty"`      // ZFA-10, YYYY-MM-DD
	Consultation     string `json:"consultation,omitempty"`      // ZFA-11: IC, INC, NA
	ConsultationDate string `json:"consultation_date,omitempty"` // ZFA-12, YYYY-MM-DD
}

// What a patient said of the feeding of the DMP.
const (
	NotOpposed   = "INO" // informed, not opposed
	Opposed      = "IO"  // informed, opposed
	NotCollected = "NA"
)

// The values of Settings.Opposition: what is done while nothing is known.
const (
	OppositionProceed = "proceed" // default: feed, and say so in the timeline
	OppositionHold    = "hold"    // do not feed
)

// ConsentRow is one thing that was said of a person. Rows are only added.
//
// Of several rows about a person the one of the latest day counts, and of the
// same day the last recorded: ZFA-10 is a day, and messages about older days
// come late.
type ConsentRow struct {
	Person  string // keyed hash of one identifier: no matricule stands here
	Feeding string // INO or IO
	At      time.Time
}

// consents are the rows that a message leaves, one for each identifier of its
// patient, so that a sender that knows one of them finds them. NA leaves none:
// what was not collected withdraws nothing that was said before. A day in the
// future would outlive every correction, and counts as the day of reception.
//
// A merge adds to them what counts of both its records, its day included, for
// each identifier of both: they are one patient, and who opposed under either
// number is opposed under the other. It tells whether it did.
func (g *Gateway) consents(ctx context.Context, in Inbound, received time.Time) (rows []ConsentRow, merged bool, err error) {
	if in.Message.Type == eventMerge && in.Prior != nil {
		both := g.persons(in, in.Patient, *in.Prior)
		row, err := g.Journal.Consent(ctx, both)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, false, err
		}
		for _, p := range both {
			if err == nil && p != row.Person {
				rows = append(rows, ConsentRow{Person: p, Feeding: row.Feeding, At: row.At})
			}
		}
		merged = len(rows) > 0
	}
	if !in.Consent.known() {
		return rows, merged, nil
	}
	y, m, d := received.In(g.zone()).Date()
	at := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if said, err := time.Parse(time.DateOnly, in.Consent.FeedingDate); err == nil && said.Before(at) && said.Year() > 1900 {
		at = said
	}
	of := []ins.Identity{in.Patient}
	if in.Message.Type == eventMerge && in.Prior != nil {
		of = append(of, *in.Prior)
	}
	for _, p := range g.persons(in, of...) {
		rows = append(rows, ConsentRow{Person: p, Feeding: in.Consent.Feeding, At: at})
	}
	return rows, merged, nil
}

func (c *Consent) known() bool {
	return c != nil && (c.Feeding == Opposed || c.Feeding == NotOpposed)
}

func (g *Gateway) zone() *time.Location {
	if g.Settings.Zone == nil {
		return time.UTC
	}
	return g.Settings.Zone
}

// persons are the keyed hashes of the identifiers of one patient inside one
// legal entity. A local number without authority is that of its facility.
func (g *Gateway) persons(in Inbound, patients ...ins.Identity) (all []string) {
	add := func(kind, authority, value string) {
		if value == "" {
			return
		}
		mac := hmac.New(sha256.New, g.StayKey)
		mac.Write([]byte(strings.Join([]string{"consent", in.Establishment.FINESSEJ, kind, authority, value}, "\x00")))
		if p := hex.EncodeToString(mac.Sum(nil)); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, p := range patients {
		add("ins", string(p.OID), p.Matricule)
		for _, l := range p.Local {
			if l.Authority == "" {
				add("facility", in.From.Facility, l.Value)
				continue
			}
			add("local", l.Authority, l.Value)
		}
	}
	return all
}

// feeding is the last that is known: INO, IO, or empty.
func (g *Gateway) feeding(ctx context.Context, in Inbound, docs []judgedDocument) (string, error) {
	patients := []ins.Identity{in.Patient}
	for _, d := range docs {
		patients = append(patients, d.metadata.Patient)
	}
	row, err := g.Journal.Consent(ctx, g.persons(in, patients...))
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return row.Feeding, err
}

// judgeConsent says beforehand what the opposition of the patient will do. It
// does not refuse a document: the outcome comes by Z01, and a patient may have
// changed their mind by then. It refuses an opposition that it cannot attach to
// anybody, because it would be lost.
func (g *Gateway) judgeConsent(ctx context.Context, in Inbound, v *verdict) {
	if in.Consent.known() && len(g.persons(in, in.Patient)) == 0 {
		v.refuseAt(FaultConsentUnlinked, patientWhere(in))
		return
	}
	if len(in.Documents) == 0 || !in.Flags.ToDMP || in.Action == dmp.Delete {
		return
	}
	said, err := g.feeding(ctx, in, v.documents)
	switch {
	case err != nil:
		v.refuse(err)
	case said == Opposed:
		v.warn(FaultOpposed, "")
	case said == "" && g.Settings.Opposition == OppositionHold:
		v.warn(FaultConsentUnknown, "")
	case said == "":
		v.aside = append(v.aside, Note{Code: FaultConsentUnknown})
	}
}

// mayFeed is asked just before a document would be shown to the DMP.
func (g *Gateway) mayFeed(ctx context.Context, w request) error {
	said, err := g.feeding(ctx, w.in, w.docs)
	switch {
	case err != nil:
		return err
	case said == Opposed:
		return fault.New(FaultOpposed)
	case said == "" && g.Settings.Opposition == OppositionHold:
		return fault.New(FaultConsentUnknown)
	}
	return nil
}

// opposedToMail tells whether a letter must not go to the patient.
func (g *Gateway) opposedToMail(ctx context.Context, w request, del Delivery) (bool, error) {
	if del.Destination != DestinationPat {
		return false, nil
	}
	said, err := g.feeding(ctx, w.in, w.docs)
	return said == Opposed, err
}
