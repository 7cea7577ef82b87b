package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Settings are the decisions that a site may take otherwise.
type Settings struct {
	Environment   ins.Environment
	CDA           string // blocking (default) or strict: every error refuses
	PDFA          string // warn (default) or require
	Duplicates    string // warn (default) or refuse: MSH-10 used again with other bytes
	StrictTargets bool   // refuse to replace or delete what was not fed here
	Mail          bool   // an MSSanté operator is configured
	Opposition    string // OppositionProceed (default) or OppositionHold
	Zone          *time.Location
}

// Gateway accepts what the doors bring. All fields are required but INSi, Trace,
// Wake, Hooked, Meters, Register and Identity.
type Gateway struct {
	Journal  Journal
	Settings Settings
	INSi     INSi   // nil: a patient whose message gives no INS has none
	Rules    string // version of the rule sets, named in each verdict
	StayKey  []byte // key of the hash of stay numbers in event records
	Clock    func() time.Time
	NewID    func() string
	Log      *slog.Logger
	Trace    Trace
	Wake     func() // called after a commit that queued a delivery
	Alarms   *Alarms
	Meters   *Meters // nil: nothing is counted
	// Hooked tells whether the software of an establishment is told by webhook;
	// nil: of none.
	Hooked   func(Establishment) bool
	Register Register         // nil: no identity is held
	Identity IdentitySettings // with Register
}

// Accept implements [Door].
func (g *Gateway) Accept(ctx context.Context, in Inbound, receipt Receipt) Decision {
	d := g.accept(ctx, in, receipt)
	g.Meters.add(MeterSubmissions, in.Door, string(d.Outcome))
	level := slog.LevelInfo
	if d.Outcome == Unavailable || len(d.Faults) > 0 && d.Faults[0].HTTP >= 500 {
		level = slog.LevelError
	}
	switch {
	case d.elsewhere: // the gateway itself is well, and ready for other messages
	case d.Outcome == Unavailable:
		if _, fresh := g.Alarms.Raise(d.Faults[0], g.Clock()); fresh {
			g.Log.Error("alarm", "code", d.Faults[0].Code, "text", d.Faults[0].FR, "fix", d.Faults[0].FixFR)
		}
	case d.Outcome != Replayed:
		g.Alarms.Clear(nil) // the journal just committed: what stopped it is over
	}
	attrs := []any{"submission", d.Submission, "outcome", d.Outcome, "type", in.Message.Type, "finess", in.Establishment.FINESSGeo}
	if len(d.Faults) > 0 {
		attrs = append(attrs, "code", d.Faults[0].Code, "where", d.Faults[0].Where)
		if d.Outcome == Unavailable {
			attrs = append(attrs, "cause", d.Faults[0].Unwrap())
		}
	}
	g.Log.Log(ctx, level, "submission", attrs...)
	return d
}

func (g *Gateway) accept(ctx context.Context, in Inbound, receipt Receipt) Decision {
	d := Decision{Submission: g.NewID(), Rules: g.fingerprint()}
	sum := sha256.Sum256(in.Raw)
	digest := hex.EncodeToString(sum[:])
	keys := g.keys(in, digest)

	// A refusal is judged anew: a setting, or what was fed since, may have changed
	// the verdict.
	if replay, err := g.replay(ctx, keys.accepted); err != nil {
		return unavailable(d, err, receipt)
	} else if replay != nil {
		if replay.Digest != digest {
			return g.keyReused(ctx, d, g.submission(d, in, digest), receipt)
		}
		return replay.decision()
	}

	in, v := g.examine(ctx, in, d.Submission)
	d.Faults, d.Warnings = v.faults, v.warnings
	for _, f := range d.Faults {
		if f.Kind == fault.Temporary {
			d.elsewhere = v.unanswered
			return unavailable(d, f, receipt)
		}
	}
	if v.asked {
		keys.refused = "" // INSi may answer otherwise tomorrow: the same content is then judged anew
	}

	s := g.submission(d, in, digest)
	if len(d.Faults) > 0 {
		keys.refused = keys.refused.because(d.Faults)
		return g.refuse(ctx, d, s, keys, receipt)
	}
	return g.commit(ctx, d, s, in, v, keys, receipt)
}

func (g *Gateway) submission(d Decision, in Inbound, digest string) Submission {
	return Submission{
		ID: d.Submission, Received: g.Clock(), Door: in.Door, Establishment: in.Establishment,
		From: in.From, Message: in.Message, Digest: digest, Rules: d.Rules,
		Action: in.Action, INSStatus: string(in.Patient.Status), Stay: g.stay(in), Warnings: d.Warnings,
	}
}

// refuse journals a refusal, without the document, and answers it.
func (g *Gateway) refuse(ctx context.Context, d Decision, s Submission, keys duplicateKeys, receipt Receipt) Decision {
	d.Outcome = Refused
	d.Receipt = receipt(d)
	s.State, s.Code, s.Key, s.Receipt = RefusedState, d.Faults[0].Code, string(keys.refused), d.Receipt
	var events []Event
	for _, f := range d.Faults {
		events = append(events, Event{Submission: s.ID, Time: s.Received, Step: EventRefused, Outcome: OutcomeFailed, Code: f.Code, Where: f.Where})
	}
	hooks := g.hook(Delivery{Submission: s.ID, Establishment: s.Establishment}, s.Received)
	err := g.Journal.Record(ctx, Entry{Submission: s, Events: events, Deliveries: hooks})
	if errors.Is(err, ErrDuplicate) {
		return g.lostRace(ctx, d, s, keys, receipt)
	}
	if err != nil {
		return unavailable(d, err, receipt)
	}
	if len(hooks) > 0 {
		g.wake()
	}
	return d
}

// commit makes an accepted message durable: bytes first, then one transaction.
// Only then may the door answer.
func (g *Gateway) commit(ctx context.Context, d Decision, s Submission, in Inbound, v verdict, keys duplicateKeys, receipt Receipt) Decision {
	if _, err := g.Journal.Keep(ctx, in.Raw); err != nil {
		return unavailable(d, err, receipt)
	}
	for i, doc := range v.documents {
		digest, err := g.Journal.Keep(ctx, in.Documents[i].Content)
		if err != nil {
			return unavailable(d, err, receipt)
		}
		doc.row.Digest = digest
	}
	g.step(StepStored, s.ID)

	envelope, err := json.Marshal(in)
	if err != nil {
		return unavailable(d, err, receipt)
	}
	consents, merged, err := g.consents(ctx, in, s.Received)
	if err != nil {
		return unavailable(d, err, receipt)
	}
	if merged {
		v.aside = append(v.aside, Note{Code: FaultConsentMerged, Where: patientWhere(in)})
	}
	s.Envelope, s.Key, s.State = envelope, keys.accepted, Done
	d.Outcome = Accepted
	if len(in.Documents) == 0 {
		d.Outcome, s.State = Noted, Kept
	}

	e := Entry{Consents: consents, Events: []Event{{Submission: s.ID, Time: s.Received, Step: EventAccepted, Outcome: OutcomeOK}}}
	if v.asked && in.Patient.HasINS() {
		e.Events = append(e.Events, Event{Submission: s.ID, Time: s.Received, Step: EventINSi, Outcome: OutcomeOK, AckCode: ins.Found})
	}
	for _, w := range slices.Concat(d.Warnings, v.aside) {
		e.Events = append(e.Events, Event{Submission: s.ID, Time: s.Received, Step: EventAccepted, Outcome: OutcomeWarning, Code: w.Code, Where: w.Where})
	}
	for _, doc := range v.documents {
		e.Documents = append(e.Documents, *doc.row)
	}
	if in.Flags.ToDMP && len(in.Documents) > 0 {
		s.State = Pending
		e.Deliveries = append(e.Deliveries, Delivery{
			ID: g.NewID(), Submission: s.ID, Establishment: s.Establishment, Destination: DestinationDMP,
			State: Due, Created: s.Received, Due: s.Received,
		})
	}
	if letters := g.letters(in, s); len(letters) > 0 {
		s.State = Pending
		e.Deliveries = append(e.Deliveries, letters...)
	}
	d.Receipt = receipt(d)
	s.Receipt = d.Receipt
	e.Submission = s
	switch err := g.record(ctx, in, &e); {
	case errors.Is(err, ErrDuplicate):
		return g.lostRace(ctx, d, s, keys, receipt)
	case err != nil:
		d.Outcome = ""
		return unavailable(d, err, receipt)
	}
	g.step(StepCommitted, s.ID)
	if len(e.Deliveries) > 0 {
		g.wake()
	}
	return d
}

func (g *Gateway) wake() {
	if g.Wake != nil {
		g.Wake()
	}
}

// duplicateKeys are the keys under which an exact retransmission is found: an
// accepted message for ever, a refused one for as long as the same rules and
// settings refuse it for the same reasons.
type duplicateKeys struct {
	accepted string
	refused  refusedKey
}

type refusedKey string

// because completes the key of a refusal with what was refused, and where.
func (k refusedKey) because(faults []*fault.Fault) refusedKey {
	if k == "" {
		return ""
	}
	h := sha256.New()
	for _, f := range faults {
		h.Write([]byte(f.Code + "\x00" + f.Where + "\x00"))
	}
	return k + refusedKey("/"+hex.EncodeToString(h.Sum(nil)[:8]))
}

func (g *Gateway) keys(in Inbound, digest string) duplicateKeys {
	if in.IdempotencyKey != "" {
		return g.idempotencyKeys(in, digest)
	}
	if in.Message.ControlID == "" {
		return duplicateKeys{} // nothing to recognise it by: every copy is judged anew
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		in.Establishment.FINESSGeo, in.From.Application, in.From.Facility, in.Message.ControlID, digest,
	}, "\x00")))
	key := hex.EncodeToString(sum[:])
	return duplicateKeys{accepted: key, refused: refusedKey(key + "/" + g.fingerprint())}
}

// replay finds the stored receipt of an exact retransmission.
func (g *Gateway) replay(ctx context.Context, keys ...string) (*replay, error) {
	for _, key := range keys {
		if key == "" {
			continue
		}
		s, err := g.Journal.Recorded(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &replay{s}, nil
	}
	return nil, nil
}

// replay is the submission that a key names already.
type replay struct{ Submission }

func (r replay) decision() Decision {
	return Decision{Submission: r.ID, Outcome: Replayed, Warnings: r.Warnings, Receipt: r.Receipt, Rules: r.Rules}
}

// lostRace answers the slower of two identical messages that came at once.
func (g *Gateway) lostRace(ctx context.Context, d Decision, s Submission, keys duplicateKeys, receipt Receipt) Decision {
	replay, err := g.replay(ctx, keys.accepted, string(keys.refused))
	if err == nil && replay == nil {
		err = errors.New("gateway: duplicate key without a record")
	}
	if err != nil {
		return unavailable(d, err, receipt)
	}
	if replay.Digest != s.Digest {
		return g.keyReused(ctx, d, s, receipt)
	}
	return replay.decision()
}

// unavailable answers AR: nothing was kept, the sender may resend as is.
func unavailable(d Decision, err error, receipt Receipt) Decision {
	f := fault.From(err)
	if f.Kind == fault.Permanent {
		f = fault.New(fault.Internal).Because(err)
	}
	d.Outcome, d.Faults = Unavailable, []*fault.Fault{f}
	// The answer names no submission: none was journaled.
	unnamed := d
	unnamed.Submission = ""
	d.Receipt = receipt(unnamed)
	return d
}

// fingerprint names the rules and the settings that judge.
func (g *Gateway) fingerprint() string {
	s := g.Settings
	sum := sha256.Sum256([]byte(strings.Join([]string{
		s.CDA, s.PDFA, s.Duplicates, string(s.Environment), yes(s.StrictTargets), yes(s.Mail), s.Opposition, yes(g.INSi != nil),
	}, "|")))
	return g.Rules + "+" + hex.EncodeToString(sum[:4])
}

func yes(b bool) string {
	if b {
		return "Y"
	}
	return "N"
}

// stay is the keyed hash of the stay number, so that stays can be counted
// without being named.
func (g *Gateway) stay(in Inbound) string {
	number := in.Visit.Number
	if number == "" {
		number = in.Visit.FileNumber
	}
	if number == "" {
		return ""
	}
	mac := hmac.New(sha256.New, g.StayKey)
	mac.Write([]byte(in.Establishment.FINESSEJ + "\x00" + number))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (g *Gateway) step(s Step, submission string) {
	if g.Trace != nil {
		g.Trace(s, submission)
	}
}
