package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

func testClaim(t *testing.T, open Open) {
	const to = gateway.DestinationDMP
	t.Run("ok/oldest-due-first-and-only-what-is-due", func(t *testing.T) {
		j := open(t, NewClock())
		for id, due := range map[string]time.Duration{"a": 3 * time.Second, "b": 1 * time.Second, "c": 2 * time.Second, "d": time.Hour} {
			e := Entry(t, j, id)
			e.Deliveries[0].Due = T0.Add(due)
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		now := T0.Add(5 * time.Second)
		want(t, "too early", claim(t, j, to, "h", T0, 10), []string(nil))
		want(t, "none asked", claim(t, j, to, "h", now, 0), []string(nil))
		want(t, "two", claim(t, j, to, "h", now, 2), []string{"dmp-b", "dmp-c"})
		want(t, "the rest", claim(t, j, to, "h", now, 9), []string{"dmp-a"})
		want(t, "other destination", claim(t, j, gateway.DestinationZAM, "h", now, 9), []string(nil))
	})
	t.Run("ok/a-lease-ends", func(t *testing.T) {
		j := open(t, NewClock())
		e := Record(t, j, "s1")
		first, err := j.Claim(t.Context(), to, "h1", T0, T0.Add(time.Minute), 1)
		if err != nil || len(first) != 1 {
			t.Fatal(first, err)
		}
		e.Deliveries[0].Attempts = 1
		want(t, "leased", first[0], e.Deliveries[0])
		want(t, "still leased", claim(t, j, to, "h2", T0.Add(59*time.Second), 1), []string(nil))
		want(t, "ended", claim(t, j, to, "h2", T0.Add(time.Minute), 1), []string{"dmp-s1"})
		want(t, "attempts", delivery(t, j, "s1", "dmp-s1").Attempts, 2)
	})
	t.Run("ok/next-due", func(t *testing.T) {
		j := open(t, NewClock())
		next := func() time.Time {
			at, err := j.NextDue(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		want(t, "empty", next(), time.Time{})
		e := Entry(t, j, "a")
		e.Deliveries[0].Due = T0.Add(time.Hour)
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want(t, "one", next(), T0.Add(time.Hour))
		Record(t, j, "b")
		want(t, "an earlier one", next(), T0)
		claim(t, j, to, "h", T0, 1)
		want(t, "the end of a lease", next(), T0.Add(time.Minute))
		settle(t, j, gateway.Settlement{Delivery: "dmp-b", State: gateway.Due, Due: T0.Add(2 * time.Hour)})
		want(t, "put off", next(), T0.Add(time.Hour))
		claim(t, j, to, "h", T0.Add(time.Hour), 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Done})
		want(t, "settled", next(), T0.Add(2*time.Hour))
		Record(t, j, "c", "1.1")
		Record(t, j, "d", "1.2<1.1")
		claim(t, j, to, "h", T0, 1)
		settle(t, j, gateway.Settlement{Delivery: "dmp-c", State: gateway.Due, Due: T0.Add(30 * time.Minute)})
		want(t, "held back by an earlier one", next(), T0.Add(30*time.Minute))
	})
	t.Run("ok/sites-left-for-later", func(t *testing.T) {
		j := open(t, NewClock())
		for i, site := range []string{"010000019", "010000019", "020000027", "030000035"} {
			e := Entry(t, j, fmt.Sprint("s", i))
			e.Deliveries[0].Establishment.FINESSGeo = site
			e.Deliveries[0].Due = T0.Add(time.Duration(i) * time.Second)
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		now := T0.Add(time.Minute)
		but := func(except ...string) (ids []string, next time.Time) {
			next, err := j.NextDue(t.Context(), to, except...)
			if err != nil {
				t.Fatal(err)
			}
			all, err := j.Claim(t.Context(), to, "h", now, now.Add(time.Minute), 9, except...)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range all {
				ids = append(ids, d.ID)
			}
			return ids, next
		}
		ids, next := but("010000019", "020000027")
		want(t, "the third site", ids, []string{"dmp-s3"})
		want(t, "due first there", next, T0.Add(3*time.Second))
		ids, next = but("010000019", "020000027")
		want(t, "nothing more", ids, []string(nil))
		want(t, "the lease", next, now.Add(time.Minute))
		// Found by the review of 2026-11-22: a lease that a crash left in a site whose
		// workers are all busy had the deliverer look a hundred times a second.
		_, next = but("010000019", "020000027", "030000035")
		want(t, "no lease of a site left out", next, time.Time{})
		ids, next = but()
		want(t, "the rest, in order", ids, []string{"dmp-s0", "dmp-s1", "dmp-s2"})
		want(t, "due first of all", next, T0)
	})
	t.Run("fail/no-holder", func(t *testing.T) {
		_, err := open(t, NewClock()).Claim(t.Context(), to, "", T0, T0.Add(1), 1)
		if Code(err) == "" {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("ok/never-leased-twice", func(t *testing.T) {
		j := open(t, NewClock())
		const n = 60
		for i := range n {
			Record(t, j, fmt.Sprintf("s%02d", i), fmt.Sprintf("1.2.%d", i))
		}
		var mu sync.Mutex
		holders := map[string]string{}
		var wg sync.WaitGroup
		for g := range 8 {
			holder := fmt.Sprintf("h%d", g)
			wg.Go(func() {
				for {
					got, err := j.Claim(t.Context(), to, holder, T0, T0.Add(time.Hour), 3)
					if err != nil {
						t.Error(err)
						return
					}
					if len(got) == 0 {
						return
					}
					for _, d := range got {
						mu.Lock()
						if before := holders[d.ID]; before != "" {
							t.Errorf("%s leased to %s and to %s", d.ID, before, holder)
						}
						holders[d.ID] = holder
						mu.Unlock()
						if err := j.MarkSent(t.Context(), d.ID, holder, ""); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		want(t, "leased", len(holders), n)
	})
	t.Run("ok/mark-sent", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "s1")
		claim(t, j, to, "h", T0, 1)
		for _, remote := range []string{"DocumentReference/7", ""} {
			if err := j.MarkSent(t.Context(), "dmp-s1", "h", remote); err != nil {
				t.Fatal(err)
			}
		}
		d := delivery(t, j, "s1", "dmp-s1")
		if !d.Sent || d.Remote != "DocumentReference/7" {
			t.Fatalf("%+v", d)
		}
		for _, stale := range []struct{ delivery, holder string }{{"dmp-s1", "other"}, {"dmp-s1", ""}, {"no", "h"}} {
			if err := j.MarkSent(t.Context(), stale.delivery, stale.holder, "x"); !errors.Is(err, gateway.ErrLeaseLost) {
				t.Errorf("%+v: got %v", stale, err)
			}
		}
		settle(t, j, gateway.Settlement{Delivery: "dmp-s1", State: gateway.Done, Sent: true})
		if err := j.MarkSent(t.Context(), "dmp-s1", "h", "x"); !errors.Is(err, gateway.ErrLeaseLost) {
			t.Errorf("settled: got %v", err)
		}
	})
}

func testOrder(t *testing.T, open Open) {
	const to = gateway.DestinationDMP
	for _, c := range []struct {
		name   string
		first  []string // documents of the first submission
		second []string
		free   bool // the second need not wait
	}{
		{"ok/strangers", []string{"1.1"}, []string{"1.2"}, true},
		{"ok/strangers-that-replace-nothing", []string{"1.1", "1.3"}, []string{"1.2", "1.4"}, true},
		{"ok/no-documents", nil, nil, true},
		{"ok/the-same-document-twice", []string{"1.1"}, []string{"1.1"}, false},
		{"ok/replaces-what-the-first-brings", []string{"1.1"}, []string{"1.2<1.1"}, false},
		{"ok/both-replace-the-same", []string{"1.2<1.1"}, []string{"1.3<1.1"}, false},
		{"ok/brings-what-the-first-replaces", []string{"1.2<1.1"}, []string{"1.1"}, false},
		{"ok/one-of-several", []string{"1.1", "1.2", "1.3"}, []string{"1.9", "1.8<1.3"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, NewClock())
			Record(t, j, "a", c.first...)
			e := Entry(t, j, "b", c.second...)
			e.Deliveries[0].Due = T0.Add(-time.Hour) // due earlier, accepted later
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			got := claim(t, j, to, "h", T0, 10)
			if c.free {
				want(t, "both", got, []string{"dmp-b", "dmp-a"})
				return
			}
			want(t, "the first alone", got, []string{"dmp-a"})
			want(t, "while it is leased", claim(t, j, to, "h2", T0, 10), []string(nil))
			settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Due, Due: T0.Add(time.Hour)})
			want(t, "while it waits to be tried again", claim(t, j, to, "h2", T0, 10), []string(nil))
			claim(t, j, to, "h", T0.Add(time.Hour), 1)
			settle(t, j, gateway.Settlement{Delivery: "dmp-a", State: gateway.Failed, Code: "DMP-X"})
			want(t, "when it is settled", claim(t, j, to, "h2", T0.Add(time.Hour), 10), []string{"dmp-b"})
		})
	}
	t.Run("ok/other-destinations-do-not-wait", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		e := Entry(t, j, "b", "1.1")
		e.Deliveries = []gateway.Delivery{Notice("b")}
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want(t, "zam", claim(t, j, gateway.DestinationZAM, "h", T0, 10), []string{"zam-b"})
	})
	t.Run("ok/a-chain-goes-one-by-one", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "a", "1.1")
		Record(t, j, "b", "1.2<1.1")
		Record(t, j, "c", "1.3<1.2")
		for _, id := range []string{"dmp-a", "dmp-b", "dmp-c"} {
			want(t, "next", claim(t, j, to, "h", T0, 10), []string{id})
			settle(t, j, gateway.Settlement{Delivery: id, State: gateway.Done})
		}
	})
}
