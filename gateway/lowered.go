package gateway

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Downstream tells the hospital software that an identity lost its INS or got
// another one (PAM.fr, ADT^A47), and waits for the acknowledgement. Nil means AA.
type Downstream interface {
	Lowered(ctx context.Context, n IdentityNotice) error
}

// IdentityNotice is one A47: the same on every resend.
type IdentityNotice struct {
	ControlID     string
	Composed      time.Time
	Establishment Establishment
	Old           ins.Pair     // MRG-1: the INS that was sent, to be withdrawn
	Patient       ins.Identity // as held after the event; its INS goes to PID-3 if the gate lets it
}

// DoorIdentity is the door of what an event of an identity causes.
const DoorIdentity = "identity"

// loweredWords is what is kept of the submission of an A47: it names nobody.
type loweredWords struct {
	Door    string `json:"door"`
	Person  string `json:"person"`
	Version int64  `json:"version"`
	Event   string `json:"event"`
}

// lowered is the submission that tells downstream of a change; nil when there is
// nothing to tell.
func (g *Gateway) lowered(ctx context.Context, c PersonChange) (*Entry, error) {
	del, ok := g.loweredDelivery(c, Party{})
	if !ok {
		return nil, nil
	}
	words, err := json.Marshal(loweredWords{DoorIdentity, c.Person.ID, c.Person.Version, string(c.Entry.Event.Kind)})
	if err != nil {
		return nil, fault.New(fault.Internal).Because(err)
	}
	digest, err := g.Journal.Keep(ctx, words)
	if err != nil {
		return nil, err
	}
	s := Submission{
		ID: g.NewID(), Received: del.Created, Door: DoorIdentity, Establishment: c.Person.Establishment, Message: Message{Type: "ADT^A47"},
		Digest: digest, Rules: g.fingerprint(), INSStatus: string(c.Entry.To), State: Pending, Envelope: words,
	}
	del.Submission = s.ID
	return &Entry{Submission: s, Deliveries: []Delivery{del}, Events: []Event{loweredEvent(s)}}, nil
}

func loweredEvent(s Submission) Event {
	return Event{Submission: s.ID, Time: s.Received, Step: EventLowered, Outcome: OutcomeOK}
}

// loweredDelivery is the A47 of a change, when there is one to send. The
// application that said so itself is not told.
func (g *Gateway) loweredDelivery(c PersonChange, said Party) (Delivery, bool) {
	_, tell := a47(c.Entry)
	if !tell || g.Identity.Software == nil {
		return Delivery{}, false
	}
	to, ok := g.Identity.Software(c.Person.Establishment)
	if !ok || said != (Party{}) && said == to {
		return Delivery{}, false
	}
	del := g.follow(Delivery{Establishment: c.Person.Establishment}, DestinationA47, g.Clock(), nil)
	del.Recipient, del.Remote = c.Person.ID, strconv.FormatInt(c.Person.Version, 10)
	return del, true
}

func a47(e ins.Entry) (ins.Tell, bool) {
	i := slices.IndexFunc(e.Tell, func(t ins.Tell) bool { return t.Event == "A47" && t.Old != nil })
	if i < 0 {
		return ins.Tell{}, false
	}
	return e.Tell[i], true
}

// toSoftware tells the hospital of one change, as the history of the person
// holds it: what happened since does not change what is sent.
func (d *Deliverer) toSoftware(ctx context.Context, del lease) result {
	g := d.Gateway
	if g.Register == nil || d.Downstream == nil {
		return result{err: fault.New(FaultNoRegister)}
	}
	history, err := g.Register.History(ctx, del.Establishment.FINESSEJ, del.Recipient)
	if err != nil {
		return result{err: err}
	}
	i := slices.IndexFunc(history, func(c PersonChange) bool { return strconv.FormatInt(c.Person.Version, 10) == del.Remote })
	if i < 0 {
		return result{err: fault.New(fault.Internal)}
	}
	tell, ok := a47(history[i].Entry)
	if !ok {
		return result{err: fault.New(fault.Internal)}
	}
	if err := g.Journal.MarkSent(ctx, del.ID, del.holder, ""); err != nil {
		return result{err: err}
	}
	err = d.Downstream.Lowered(ctx, IdentityNotice{
		ControlID: noticeID("a47/"+del.Recipient+"/"+del.Remote, del.ID), Composed: del.Created, Establishment: del.Establishment,
		Old: *tell.Old, Patient: history[i].Person.Record.Identity,
	})
	return result{err: err, sent: true, ack: ackApplication}
}
