package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

func testSettle(t *testing.T, open Open) {
	const to = gateway.DestinationDMP
	event := func(id, step string) gateway.Event {
		return gateway.Event{Submission: id, Time: T0, Step: step, Outcome: "ok", Destination: to, Attempt: 1}
	}
	t.Run("ok/everything-at-once", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.2<1.1")
		claim(t, j, to, "h", T0, 1)
		zam := Notice("a")
		settle(t, j, gateway.Settlement{
			Delivery: "dmp-a", State: gateway.Done, Sent: true, Events: []gateway.Event{event("a", "dmp")},
			Documents: []gateway.DocumentFate{{UniqueID: "1.2", Fate: "current"}, {UniqueID: "1.1", Fate: "superseded", ReplacedBy: "1.2"}},
			Next:      []gateway.Delivery{zam},
		})
		d := delivery(t, j, "a", "dmp-a")
		if d.State != gateway.Done || !d.Sent || d.Attempts != 1 {
			t.Fatalf("%+v", d)
		}
		want(t, "zam", delivery(t, j, "a", "zam-a"), zam)
		want(t, "state", submission(t, j, "a").State, gateway.Done)
		want(t, "steps", steps(t, j, "a", 0), []string{"accepted", "dmp"})
		for id, w := range map[string]gateway.DocumentFate{
			"1.2": {UniqueID: "1.2", Fate: "current"}, "1.1": {UniqueID: "1.1", Fate: "superseded", ReplacedBy: "1.2"},
		} {
			got, err := j.Fate(t.Context(), Site.FINESSEJ, id)
			if err != nil {
				t.Fatal(err)
			}
			want(t, "fate", got, w)
		}
		if _, err := j.Fate(t.Context(), "999999999", "1.2"); !errors.Is(err, gateway.ErrNotFound) {
			t.Fatalf("another establishment sees it: %v", err)
		}
		want(t, "due again", claim(t, j, to, "h", T0.Add(time.Hour), 9), []string(nil))
		claim(t, j, gateway.DestinationZAM, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "zam-a", State: gateway.Failed, Code: "HL7-X", Events: []gateway.Event{event("a", "zam")}})
		s := submission(t, j, "a")
		if s.State != gateway.Done {
			t.Fatalf("a ZAM is not what was asked for: %s", s.State)
		}
	})
	t.Run("ok/fates-follow-each-other", func(t *testing.T) {
		j := open(t, NewClock())
		for i, c := range []struct{ fate, by, want string }{
			{"current", "", "current"}, {"superseded", "1.9", "superseded"}, {"current", "", "superseded"}, {"deleted", "", "deleted"},
		} {
			id := fmt.Sprintf("s%d", i)
			Record(t, j, id, "1.1")
			claim(t, j, to, "h", T0, 1)
			settle(t, j, gateway.Settlement{Delivery: "dmp-" + id, State: gateway.Done,
				Documents: []gateway.DocumentFate{{UniqueID: "1.1", Fate: c.fate, ReplacedBy: c.by}}})
			f, err := j.Fate(t.Context(), Site.FINESSEJ, "1.1")
			if err != nil || f.Fate != c.want {
				t.Fatalf("after %s: %+v, %v", c.fate, f, err)
			}
		}
	})
	t.Run("ok/due-again", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		claim(t, j, to, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Due, Due: T0.Add(time.Minute), Sent: true, Code: "DMP-UNREACHABLE"})
		d := delivery(t, j, "a", "dmp-a")
		if d.State != gateway.Due || !d.Due.Equal(T0.Add(time.Minute)) || !d.Sent || d.Code != "DMP-UNREACHABLE" || d.Attempts != 1 {
			t.Fatalf("%+v", d)
		}
		s := submission(t, j, "a")
		if s.State != gateway.Pending || s.Code != "DMP-UNREACHABLE" {
			t.Fatalf("%s %s", s.State, s.Code)
		}
		want(t, "at once", claim(t, j, to, "h", T0.Add(59*time.Second), 1), []string(nil))
		want(t, "later", claim(t, j, to, "h", T0.Add(time.Minute), 1), []string{"dmp-a"})
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done, Sent: true})
		s = submission(t, j, "a")
		if s.State != gateway.Done || s.Code != "" {
			t.Fatalf("%s %s", s.State, s.Code)
		}
	})
	for _, c := range []struct {
		name  string
		ends  []gateway.State // in the order of the deliveries
		state gateway.State
		code  string
	}{
		{"ok/state/done", []gateway.State{gateway.Done, gateway.Done}, gateway.Done, ""},
		{"ok/state/failed", []gateway.State{gateway.Failed, gateway.Failed}, gateway.Failed, "X1"},
		{"ok/state/partial", []gateway.State{gateway.Failed, gateway.Done}, gateway.Partial, "X0"},
		{"ok/state/partial-the-other-way", []gateway.State{gateway.Done, gateway.Failed}, gateway.Partial, "X1"},
		{"ok/state/pending", []gateway.State{gateway.Done, gateway.Due}, gateway.Pending, "X1"},
		{"ok/state/pending-after-a-failure", []gateway.State{gateway.Failed}, gateway.Pending, "X0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, NewClock())
			e := Entry(t, j, "a", "1.1")
			second := e.Deliveries[0]
			second.ID, second.Destination = "mail-a", "mss-pro"
			e.Deliveries = append(e.Deliveries, second, Notice("a"))
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			claim(t, j, to, "h", T0, 1)
			claim(t, j, "mss-pro", "h", T0, 1)
			for i, end := range c.ends {
				s := gateway.Settlement{Delivery: e.Deliveries[i].ID, State: end, Due: T0.Add(time.Minute)}
				if end != gateway.Done {
					s.Code = fmt.Sprintf("X%d", i)
				}
				settle(t, j, s)
			}
			s := submission(t, j, "a")
			if s.State != c.state || s.Code != c.code {
				t.Fatalf("got %s %q, want %s %q", s.State, s.Code, c.state, c.code)
			}
		})
	}
	// A notice that the hospital refused left no trace on its submission (found by
	// the review of issue 2).
	for _, c := range []struct {
		name   string
		before gateway.State // of what was asked for
		notice gateway.State
		late   bool // what was asked for is settled after the notice
		state  gateway.State
		code   string
	}{
		{"ok/untold/refused", gateway.Done, gateway.Failed, false, gateway.Done, "ZAM"},
		{"ok/untold/refused-before-the-end", gateway.Done, gateway.Failed, true, gateway.Done, "ZAM"},
		{"ok/untold/tried-again", gateway.Done, gateway.Due, false, gateway.Done, ""},
		{"ok/untold/taken", gateway.Done, gateway.Done, false, gateway.Done, ""},
		{"ok/untold/what-was-asked-for-failed-too", gateway.Failed, gateway.Failed, false, gateway.Failed, "DMP"},
		{"ok/untold/what-was-asked-for-fails-later", gateway.Failed, gateway.Failed, true, gateway.Failed, "DMP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, NewClock())
			e := Entry(t, j, "a", "1.1")
			e.Deliveries = append(e.Deliveries, Notice("a"))
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			claim(t, j, to, "h", T0, 1)
			claim(t, j, gateway.DestinationZAM, "h", T0, 1)
			order := []gateway.Settlement{{Delivery: "dmp-a", State: c.before, Code: "DMP"}, {Delivery: "zam-a", State: c.notice, Due: T0.Add(time.Hour), Code: "ZAM"}}
			if c.late {
				order[0], order[1] = order[1], order[0]
			}
			for _, s := range order {
				if s.State == gateway.Done {
					s.Code = ""
				}
				settle(t, j, s)
			}
			s := submission(t, j, "a")
			if s.State != c.state || s.Code != c.code {
				t.Fatalf("got %s %q, want %s %q", s.State, s.Code, c.state, c.code)
			}
		})
	}
	t.Run("ok/untold/nothing-was-asked-for", func(t *testing.T) {
		j := open(t, NewClock())
		e := Entry(t, j, "a")
		e.Submission.State, e.Deliveries = gateway.Kept, []gateway.Delivery{Notice("a")}
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		claim(t, j, gateway.DestinationZAM, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "zam-a", State: gateway.Failed, Code: "ZAM"})
		if s := submission(t, j, "a"); s.State != gateway.Kept || s.Code != "ZAM" {
			t.Fatalf("got %s %q", s.State, s.Code)
		}
	})
	// A settlement that cannot be committed leaves nothing.
	for name, c := range map[string]struct {
		s    gateway.Settlement
		lost bool
	}{
		"another-holder":              {gateway.Settlement{Delivery: "dmp-a", Holder: "stale", State: gateway.Done}, true},
		"no-holder":                   {gateway.Settlement{Delivery: "dmp-a", State: gateway.Done}, true},
		"unknown-delivery":            {gateway.Settlement{Delivery: "no", Holder: "h", State: gateway.Done}, true},
		"never-leased":                {gateway.Settlement{Delivery: "dmp-b", Holder: "h", State: gateway.Done}, true},
		"never-leased-no-holder":      {gateway.Settlement{Delivery: "dmp-b", State: gateway.Done}, true},
		"not-an-end":                  {gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Pending}, false},
		"due-but-never":               {gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Due}, false},
		"event-of-another-submission": {gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done, Events: []gateway.Event{event("b", "dmp")}}, false},
		"next-of-another-submission":  {gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done, Next: []gateway.Delivery{Notice("b")}}, false},
		"next-with-a-taken-id": {gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done,
			Next: []gateway.Delivery{func() gateway.Delivery { d := Notice("a"); d.ID = "dmp-b"; return d }()}}, false},
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			j := open(t, NewClock())
			Record(t, j, "a", "1.1")
			b := Entry(t, j, "b", "1.2")
			b.Deliveries[0].Due = T0.Add(time.Hour)
			if err := j.Record(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			claim(t, j, to, "h", T0, 1)
			s := c.s
			s.Documents = []gateway.DocumentFate{{UniqueID: "1.1", Fate: "deleted"}}
			if len(s.Events) == 0 {
				s.Events = []gateway.Event{event("a", "dmp")}
			}
			err := j.Settle(t.Context(), s)
			if errors.Is(err, gateway.ErrLeaseLost) != c.lost || !c.lost && Code(err) == "" {
				t.Fatalf("got %v", err)
			}
			d := delivery(t, j, "a", "dmp-a")
			d2 := delivery(t, j, "b", "dmp-b")
			if d.State != gateway.Due || d2.State != gateway.Due || submission(t, j, "a").State != gateway.Pending {
				t.Fatalf("something was written: %+v %+v", d, d2)
			}
			want(t, "steps", append(steps(t, j, "a", 0), steps(t, j, "b", 0)...), []string{"accepted", "accepted"})
			if f, err := j.Fate(t.Context(), Site.FINESSEJ, "1.1"); err != nil || f.Fate != "current" { // it is queued
				t.Fatalf("a fate was written: %+v, %v", f, err)
			}
			if all, err := j.Deliveries(t.Context(), "a"); err != nil || len(all) != 1 {
				t.Fatalf("a delivery was written: %v, %v", all, err)
			}
			settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done})
		})
	}
	t.Run("fail/settled-twice", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a")
		claim(t, j, to, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done})
		err := j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Failed})
		if !errors.Is(err, gateway.ErrLeaseLost) || submission(t, j, "a").State != gateway.Done {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("fail/taken-over", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a")
		claim(t, j, to, "h", T0, 1)
		claim(t, j, to, "h2", T0.Add(time.Hour), 1)
		err := j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done})
		if !errors.Is(err, gateway.ErrLeaseLost) {
			t.Fatalf("got %v", err)
		}
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", Holder: "h2", State: gateway.Done})
	})
	t.Run("ok/one-of-many-settles", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a")
		claim(t, j, to, "h", T0, 1)
		results := make([]error, 8)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				results[i] = j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done, Events: []gateway.Event{event("a", "dmp")}})
			})
		}
		wg.Wait()
		yes := 0
		for _, err := range results {
			if err == nil {
				yes++
			} else if !errors.Is(err, gateway.ErrLeaseLost) {
				t.Fatal(err)
			}
		}
		want(t, "settled", yes, 1)
		want(t, "steps", steps(t, j, "a", 0), []string{"accepted", "dmp"})
	})
}
