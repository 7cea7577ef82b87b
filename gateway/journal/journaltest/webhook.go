package journaltest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

// hook is a webhook about a submission.
func hook(submission string) gateway.Delivery {
	return gateway.Delivery{
		ID: "hook-" + submission, Submission: submission, Establishment: Site, Destination: gateway.DestinationWebhook,
		State: gateway.Due, Created: T0, Due: T0,
	}
}

// testWebhook: a webhook names the lines of the timeline that were committed
// with it, and no others.
func testWebhook(t *testing.T, open Open) {
	event := func(id, step string) gateway.Event {
		return gateway.Event{Submission: id, Time: T0, Step: step, Outcome: "ok", Attempt: 1}
	}
	// told gives the steps that a webhook names.
	told := func(t *testing.T, j gateway.Journal, id string) (names []string) {
		t.Helper()
		events, err := j.Events(t.Context(), id, 0)
		if err != nil {
			t.Fatal(err)
		}
		seqs := strings.Fields(delivery(t, j, id, "hook-"+id).Remote)
		for _, e := range events {
			for _, s := range seqs {
				if s == fmt.Sprint(e.Seq) {
					names = append(names, e.Step)
				}
			}
		}
		if len(names) != len(seqs) {
			t.Errorf("%d lines of %v", len(names), seqs)
		}
		return names
	}
	t.Run("ok/of-a-settlement", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, gateway.DestinationDMP, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done, Events: []gateway.Event{event("a", "one"), event("a", "two")}, Next: []gateway.Delivery{Notice("a"), hook("a")}})
		want(t, "told", told(t, j, "a"), []string{"one", "two"})
		want(t, "zam", delivery(t, j, "a", "zam-a").Remote, "")

		// Its own failure neither changes the state nor hides: the code stays.
		claim(t, j, gateway.DestinationWebhook, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "hook-a", State: gateway.Due, Due: T0.Add(time.Hour), Code: "HOOK", Events: []gateway.Event{event("a", "webhook")}})
		want(t, "told on the next attempt", told(t, j, "a"), []string{"one", "two"})
		s := submission(t, j, "a")
		want(t, "while it is tried", string(s.State)+" "+s.Code, "done ")
		claim(t, j, gateway.DestinationWebhook, "h", T0.Add(time.Hour), 1)
		settle(t, j, gateway.Settlement{Delivery: "hook-a", State: gateway.Failed, Code: "HOOK", Events: []gateway.Event{event("a", "webhook")}})
		s = submission(t, j, "a")
		want(t, "once given up", string(s.State)+" "+s.Code, "done HOOK")
	})
	t.Run("ok/of-a-refusal", func(t *testing.T) {
		j := open(t, NewClock())
		err := j.Record(t.Context(), gateway.Entry{
			Submission: gateway.Submission{ID: "a", Received: T0, Door: "rest", Establishment: Site, Digest: fmt.Sprintf("%064x", 7), State: gateway.RefusedState, Code: "X"},
			Events:     []gateway.Event{event("a", "refused")}, Deliveries: []gateway.Delivery{hook("a")},
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, "told", told(t, j, "a"), []string{"refused"})
		claim(t, j, gateway.DestinationWebhook, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "hook-a", State: gateway.Done, Events: []gateway.Event{event("a", "webhook")}})
		s := submission(t, j, "a")
		want(t, "state", string(s.State)+" "+s.Code, "refused X")
	})
	t.Run("ok/of-a-receipt-faster-than-its-attempt", func(t *testing.T) {
		j := open(t, NewClock())
		letter := RecordLetter(t, j, "a", toPro, "")
		Mark(t, j, letter, "h")
		r := gateway.Report{Key: "dsn", Delivery: letter.ID, State: gateway.Done, Ended: []gateway.Event{event("a", "mail")},
			Events: []gateway.Event{event("a", "dsn")}, Next: []gateway.Delivery{hook("a")}}
		if err := j.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want(t, "told", told(t, j, "a"), []string{"dsn"})
	})
	t.Run("ok/of-a-receipt", func(t *testing.T) {
		j := open(t, NewClock())
		e := Entry(t, j, "a", "1.1")
		letter := Letter("a", toPro, "")
		e.Deliveries = []gateway.Delivery{letter}
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		r := gateway.Report{Key: "dsn", Delivery: letter.ID, State: gateway.Done, Events: []gateway.Event{event("a", "dsn")}, Next: []gateway.Delivery{hook("a")}}
		if err := j.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want(t, "told", told(t, j, "a"), []string{"dsn"})
	})
	t.Run("fail/it-tells-nothing", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, gateway.DestinationDMP, "h", T0, 1)
		err := j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done, Next: []gateway.Delivery{hook("a")}})
		want(t, "code", Code(err), "GW-JOURNAL-ENTRY")
		want(t, "nothing was settled", delivery(t, j, "a", "dmp-a").State, gateway.Due)
	})
}
