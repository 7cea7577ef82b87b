package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// Unfiled is what a person must know to decide of a mail in quarantine.
type Unfiled struct {
	// Err says why it cannot be filed at all; nil: it can, under a proposal.
	Err       error
	Received  ins.Identity // whom its documents are about, as they say
	Proposals []Proposal
	// Receipt is where a read receipt would go when the mail is rejected; empty:
	// its sender asked for none, or none may be sent to where it was asked for.
	Receipt string
	Code    string // 900 to 906, that its refusal suggests
}

// Proposal is an identity held that a received document may concern.
type Proposal struct {
	Key         string // opaque; changes with anything that the person compares
	Identity    ins.Identity
	Differences []ins.Difference
	Err         error // why nobody may file under it; nil: a person may
}

// maxProposals bounds what a person is asked to compare.
const maxProposals = 20

// mail reads a mail that waits for a person.
func (d Decider) mail(ctx context.Context, submission string) (Submission, *mss.Incoming, error) {
	s, _, err := d.Gateway.Journal.Submission(ctx, submission)
	if err != nil {
		return s, nil, err
	}
	if s.State != Quarantined {
		return s, nil, fault.New(FaultDecided)
	}
	raw, err := d.Gateway.Journal.Fetch(ctx, s.Digest)
	if err != nil {
		return s, nil, err
	}
	in, err := mss.Read(raw, mss.DefaultLimits())
	var refused *mss.Error
	if errors.As(err, &refused) {
		return s, nil, nil // nothing can be read of it
	}
	return s, in, err
}

// documents opens the letter again, as if it just came.
func (d Decider) documents(ctx context.Context, in *mss.Incoming) ([]opened, error) {
	if d.Receiver == nil || in == nil || in.Kind != mss.KindLetter {
		return nil, fault.New(FaultUnread)
	}
	if in.MessageID != "" {
		if _, err := d.Gateway.Journal.Letter(ctx, "", in.MessageID); err == nil {
			return nil, fault.New(FaultMailLoop)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	docs, err := d.Receiver.open(in)
	if err != nil {
		return nil, err
	}
	first := docs[0].metadata.Patient.ByContract()
	for _, doc := range docs[1:] {
		if err := ins.Contradiction(ins.CompareOutbound(first, doc.metadata.Patient)); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// Unfiled reads a mail in quarantine again and says what may be decided of it.
func (d Decider) Unfiled(ctx context.Context, submission string) (Unfiled, error) {
	s, in, err := d.mail(ctx, submission)
	if err != nil {
		return Unfiled{}, err
	}
	out := Unfiled{Code: "906"}
	if row, ok := fault.Lookup(s.Code); ok && row.HL7.App != "" {
		out.Code = row.HL7.App
	}
	if in != nil && in.Kind == mss.KindLetter && d.Receiver != nil {
		out.Receipt = d.Receiver.receiptTo(in)
	}
	docs, err := d.documents(ctx, in)
	if err == nil {
		out.Received = docs[0].metadata.Patient.ByContract()
		out.Proposals, err = d.proposals(ctx, s, out.Received, docs)
	}
	if err != nil && fault.From(err).Kind == fault.Temporary {
		return out, err
	}
	out.Err = err
	return out, nil
}

// proposals are the identities held that resemble the one received. A resemblance
// proposes; [ins.Policy.ByHand] and the gate say whether a person may choose.
func (d Decider) proposals(ctx context.Context, s Submission, received ins.Identity, docs []opened) (all []Proposal, err error) {
	held, err := d.Receiver.Identities.Candidates(ctx, s.Establishment.FINESSEJ, received)
	if err != nil {
		return nil, err
	}
	for i, c := range held {
		same := c.Identity.Matricule != "" && c.Identity.Matricule == received.Matricule // whatever the OID
		if c.Merged || !same && ins.Compare(ins.Candidate{Identity: received}, c) == ins.Distinct {
			continue
		}
		p := Proposal{Identity: c.Identity}
		p.Differences, p.Err = ins.Policy{}.ByHand(received, held, i)
		for _, doc := range docs {
			if p.Err == nil { // as for what is filed without a person
				p.Err = ins.Gate(doc.metadata.Patient.VouchedBy(c.Identity), ins.ToHL7)
			}
		}
		if p.Key, err = d.Gateway.pairKey(s.ID, received, c.Identity); err != nil {
			return nil, err
		}
		if all = append(all, p); len(all) == maxProposals {
			break
		}
	}
	return all, nil
}

// pairKey names what a person compared: another document, identity or trait has
// another key. Keyed, so that it tells nothing of whom it names.
func (g *Gateway) pairKey(submission string, received, held ins.Identity) (string, error) {
	data, err := json.Marshal([]any{submission, received, held})
	if err != nil {
		return "", fault.New(fault.Internal).Because(err)
	}
	mac := hmac.New(sha256.New, g.StayKey)
	mac.Write([]byte("pair\x00"))
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)[:16]), nil
}

// ruleMail is a decision about a mail in quarantine.
func (d Decider) ruleMail(s Submission, step string, state State, o Opinion, patients ...ins.Identity) (Ruling, error) {
	why, err := o.reason(patients...)
	if err != nil {
		return Ruling{}, err
	}
	now := d.Gateway.Clock()
	return Ruling{
		Submission: s.ID, Was: Quarantined, Now: now, State: state,
		Events: []Event{{Submission: s.ID, Time: now, Step: step, Outcome: OutcomeOK, By: o.By, Why: why}},
	}, nil
}

// File files a mail under the proposal that a person compared with it and
// chose. Everything is judged again: the key no longer fits when anything that
// was compared is not as it was.
func (d Decider) File(ctx context.Context, submission, key string, o Opinion) error {
	s, in, err := d.mail(ctx, submission)
	if err != nil {
		return err
	}
	docs, err := d.documents(ctx, in)
	if err != nil {
		return err
	}
	received := docs[0].metadata.Patient.ByContract()
	all, err := d.proposals(ctx, s, received, docs)
	if err != nil {
		return err
	}
	for _, p := range all {
		if !hmac.Equal([]byte(p.Key), []byte(key)) {
			continue
		}
		if p.Err != nil {
			return p.Err
		}
		r, err := d.ruleMail(s, EventFiled, Pending, o, received, p.Identity)
		if err != nil {
			return err
		}
		if r.Filed, err = d.Receiver.filed(ctx, in, docs, p.Identity); err != nil {
			return err
		}
		r.Next = []Delivery{d.Gateway.follow(Delivery{Submission: s.ID, Establishment: s.Establishment}, DestinationMDM, r.Now, nil)}
		return d.commit(ctx, r)
	}
	return fault.New(FaultDecided)
}

// Reject ends the wait of a mail without filing it. With a code of 900 to 906 its
// sender is told by a read receipt, if they asked for one; with none, nobody is.
func (d Decider) Reject(ctx context.Context, submission, code string, o Opinion) error {
	s, in, err := d.mail(ctx, submission)
	if err != nil {
		return err
	}
	r, err := d.ruleMail(s, EventRejected, RefusedState, o, d.namedIn(ctx, in)...)
	if err != nil {
		return err
	}
	r.Code = FaultRejected
	if code == "" {
		return d.commit(ctx, r)
	}
	to := ""
	if in != nil && in.Kind == mss.KindLetter && d.Receiver != nil {
		to = d.Receiver.receiptTo(in)
	}
	if _, known := applicationTexts[code]; !known || to == "" {
		return fault.New(FaultDecided) // the page offered no such answer
	}
	r.Events[0].Outcome, r.Events[0].Code, r.Events[0].AckCode = OutcomeWarning, FaultRejected, code
	r.Next = d.Gateway.answer(Delivery{Submission: s.ID, Establishment: s.Establishment}, to, code)
	return d.commit(ctx, r)
}

// Keep leaves a mail in quarantine, with a note for those who look next.
func (d Decider) Keep(ctx context.Context, submission string, o Opinion) error {
	s, in, err := d.mail(ctx, submission)
	if err != nil {
		return err
	}
	r, err := d.ruleMail(s, EventKept, Quarantined, o, d.namedIn(ctx, in)...)
	if err != nil {
		return err
	}
	return d.commit(ctx, r)
}

// namedIn are the people whom the documents of a mail name, if they can be read.
func (d Decider) namedIn(ctx context.Context, in *mss.Incoming) (all []ins.Identity) {
	docs, err := d.documents(ctx, in)
	if err != nil {
		return nil // nothing to read, and nothing to compare with
	}
	for _, doc := range docs {
		all = append(all, doc.metadata.Patient)
	}
	return all
}
