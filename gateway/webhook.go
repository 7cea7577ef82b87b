package gateway

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Webhook tells the software of an establishment what became of a submission.
// Nil means that it answered yes. An error with a method AckCode() string gives
// what it answered instead.
type Webhook interface {
	Tell(ctx context.Context, t Telling) error
}

// Telling is one outcome: the lines of the timeline that its settlement
// committed. Told again it is the same in all.
type Telling struct {
	ID         string // of the delivery: drawn and committed with the outcome
	Submission Submission
	Events     []Event
}

// hook is the delivery that tells the software of the establishment what is
// committed with it. Nothing is told of telling.
func (g *Gateway) hook(about Delivery, now time.Time) []Delivery {
	switch about.Destination {
	case DestinationZAM, DestinationMDN, DestinationWebhook, DestinationA47:
		return nil
	}
	if g.Hooked == nil || !g.Hooked(about.Establishment) {
		return nil
	}
	return []Delivery{g.follow(about, DestinationWebhook, now, nil)}
}

// toWebhook tells one outcome. What is told is read back from the timeline, so
// that the webhook and who asks for the timeline see the same lines.
func (d *Deliverer) toWebhook(ctx context.Context, del lease) result {
	j := d.Gateway.Journal
	told := strings.Fields(del.Remote)
	if d.Webhook == nil || len(told) == 0 {
		return result{err: fault.New(fault.Internal).Because(errors.New("a webhook without sender or without events"))}
	}
	first, err := strconv.ParseInt(told[0], 10, 64)
	if err != nil {
		return result{err: fault.New(fault.Internal).Because(err)}
	}
	s, _, err := j.Submission(ctx, del.Submission)
	if err != nil {
		return result{err: err}
	}
	events, err := j.Events(ctx, del.Submission, first-1)
	if err != nil {
		return result{err: err}
	}
	events = slices.DeleteFunc(events, func(e Event) bool { return !slices.Contains(told, strconv.FormatInt(e.Seq, 10)) })
	if err := j.MarkSent(ctx, del.ID, del.holder, ""); err != nil {
		return result{err: err}
	}
	err = d.Webhook.Tell(ctx, Telling{ID: del.ID, Submission: s, Events: events})
	d.Gateway.step(StepTold, del.Submission)
	return result{err: err, sent: true}
}
