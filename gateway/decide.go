package gateway

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Decider takes the decisions of people and has the journal commit them: one
// transaction each, with a line of the timeline that says who and why. Who may
// decide is the caller's affair.
//
// A delivery whose attempt is under way cannot be stopped: what it does is not
// known yet, and telling a failure could be a lie (GW-BUSY). Of two people the
// first decides; the other learns that things changed (GW-DECIDED).
//
// A replay opens the same row for a new round, and its names follow from what is
// known. What may have arrived keeps its name: the lot of the DMP, which is asked
// first; the bytes and the Message-ID of a letter; the MSH-10 of a notice, and of
// a document whose acknowledgement never came. What tells something new has a new
// one: the notices of the round, the ENVID of a letter, and the MSH-10 of a
// document that the hospital refused.
type Decider struct {
	Gateway  *Gateway
	Receiver *Receiver // nil: no mailbox, hence no quarantine
}

// Opinion is who decides, and why.
type Opinion struct {
	By  string // national identifier of a professional
	Why string
}

// The length of a reason, in characters.
const (
	minReason = 5
	maxReason = 200
)

// reason is the reason as it is kept, or a refusal: the timeline names no
// patient, and people write what they have before their eyes.
func (o Opinion) reason(patients ...ins.Identity) (string, error) {
	why := strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, o.Why)), " ")
	if n := utf8.RuneCountInString(why); n < minReason || n > maxReason || !utf8.ValidString(why) || o.By == "" {
		return "", fault.New(FaultReason)
	}
	digits := 0
	for _, r := range why {
		switch {
		case unicode.IsDigit(r):
			if digits++; digits >= 13 {
				return "", fault.New(FaultReasonTells)
			}
		case r != ' ' && r != '.' && r != '-':
			digits = 0
		}
	}
	words := " " + ins.MatchKey(why) + " "
	for _, p := range patients {
		for _, name := range []string{p.Traits.BirthName, p.Traits.FirstGiven} {
			if key := ins.MatchKey(name); len(key) > 2 && strings.Contains(words, " "+key+" ") {
				return "", fault.New(FaultReasonTells)
			}
		}
	}
	return why, nil
}

// patients are those whom a submission is about, as far as it is known.
func (g *Gateway) patients(ctx context.Context, s Submission) ([]ins.Identity, error) {
	if s.Envelope == nil {
		return nil, nil
	}
	if s.Door == DoorMail {
		v, err := g.received(ctx, s.ID)
		return []ins.Identity{v.letter.Person}, err
	}
	w, err := g.envelope(ctx, s.ID)
	return []ins.Identity{w.in.Patient}, err
}

// ruling begins a decision about one delivery, as the person saw it.
func (d Decider) ruling(ctx context.Context, submission, delivery string, o Opinion) (Delivery, Ruling, error) {
	j := d.Gateway.Journal
	s, _, err := j.Submission(ctx, submission)
	if err != nil {
		return Delivery{}, Ruling{}, err
	}
	people, err := d.Gateway.patients(ctx, s)
	if err != nil {
		return Delivery{}, Ruling{}, err
	}
	why, err := o.reason(people...)
	if err != nil {
		return Delivery{}, Ruling{}, err
	}
	all, err := j.Deliveries(ctx, submission)
	if err != nil {
		return Delivery{}, Ruling{}, err
	}
	i := slices.IndexFunc(all, func(del Delivery) bool { return del.ID == delivery })
	if i < 0 {
		return Delivery{}, Ruling{}, ErrNotFound
	}
	del, now := all[i], d.Gateway.Clock()
	return del, Ruling{
		Submission: submission, Delivery: delivery, Was: del.State, Round: del.Round, Now: now,
		Events: []Event{{Submission: submission, Time: now, Outcome: OutcomeOK, Destination: del.Destination, Recipient: del.Recipient, By: o.By, Why: why}},
	}, nil
}

// commit has the journal write a decision.
func (d Decider) commit(ctx context.Context, r Ruling) error {
	err := d.Gateway.Journal.Decide(ctx, r)
	switch {
	case errors.Is(err, ErrLeased):
		return fault.New(FaultBusy)
	case errors.Is(err, ErrDecided):
		return fault.New(FaultDecided)
	case errors.Is(err, ErrSuperseded) && r.Events[0].Destination == DestinationA47:
		return fault.New(FaultIdentityLater)
	case errors.Is(err, ErrSuperseded):
		return fault.New(FaultNotLatest)
	case err != nil:
		return err
	}
	e := r.Events[0]
	d.Gateway.Log.Info("decision", "submission", r.Submission, "delivery", r.Delivery, "step", e.Step, "national_id", e.By, "code", r.Code)
	d.Gateway.wake()
	return nil
}

// Stop ends a delivery that is due; round is the one that the person saw. It is
// told as any failure is: by ZAM where one was asked for, by a read receipt to
// the sender of a received document.
func (d Decider) Stop(ctx context.Context, submission, delivery string, round int, o Opinion) error {
	del, r, err := d.ruling(ctx, submission, delivery, o)
	switch {
	case err != nil:
		return err
	case del.State != Due || del.Round != round:
		return fault.New(FaultDecided)
	}
	end := result{err: fault.New(FaultStopped)}
	switch del.Destination {
	case DestinationDMP, DestinationPro, DestinationPat:
		w, err := d.Gateway.envelope(ctx, submission)
		if err != nil {
			return err
		}
		switch {
		case !w.in.Flags.WantReception:
		case del.Destination == DestinationDMP:
			end.notice = w.notice("Z01", "zam", del)
		default:
			// Not the name of a report's ZAM: a late report may come all the same.
			end.notice = w.letterNotice("Z02", "S", del)
		}
	case DestinationMDM:
		v, err := d.Gateway.received(ctx, submission)
		if err != nil {
			return err
		}
		end.next = d.Gateway.answer(del, v.letter.Receipt, "")
	}
	s := (&Deliverer{Gateway: d.Gateway}).settlement(lease{Delivery: del}, end)
	r.State, r.Code, r.Next = Stopped, s.Code, s.Next
	r.Events[0].Step, r.Events[0].Outcome, r.Events[0].Code = EventStopped, OutcomeFailed, s.Code
	return d.commit(ctx, r)
}

// Replay begins a delivery that failed or was stopped again; round is the one
// that the person saw.
func (d Decider) Replay(ctx context.Context, submission, delivery string, round int, o Opinion) error {
	del, r, err := d.ruling(ctx, submission, delivery, o)
	switch {
	case err != nil:
		return err
	case del.State != Failed && del.State != Stopped || del.Round != round:
		return fault.New(FaultDecided)
	}
	// What ended by a refusal did not arrive; of the rest nobody knows.
	refused := del.State == Failed && del.Code != FaultExpired
	r.State, r.Sent, r.Remote = Due, del.Sent && !refused, del.Remote
	switch {
	case del.Destination == DestinationDMP:
		r.Sent = true // asked first, whatever is known
	case del.Destination == DestinationMDM && refused:
		r.Remote = strconv.Itoa(del.Round + 1)
	}
	r.Events[0].Step, r.Next = EventReplayed, d.Gateway.hook(del, r.Now)
	return d.commit(ctx, r)
}

// answer is the read receipt to the sender of a received document; none where
// none was asked for.
func (g *Gateway) answer(del Delivery, to, code string) []Delivery {
	if to == "" {
		return nil
	}
	next := g.follow(del, DestinationMDN, g.Clock(), nil)
	// Remote, because Code is that of the last failure to send the receipt.
	next.Recipient, next.Remote = to, code
	return []Delivery{next}
}
