package journaltest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

func testKeep(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		size int
	}{{"ok/empty", 0}, {"ok/small", 100}, {"ok/24-MiB", 24 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, NewClock())
			data := make([]byte, c.size)
			rand.Read(data)
			first, err := j.Keep(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			again, err := j.Keep(t.Context(), data)
			if err != nil || again != first {
				t.Fatalf("kept twice: %s, %s, %v", first, again, err)
			}
			got, err := j.Fetch(t.Context(), first)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("fail/never-kept", func(t *testing.T) {
		_, err := open(t, NewClock()).Fetch(t.Context(), fmt.Sprintf("%064x", 1))
		want(t, "code", Code(err), "GW-BLOB-MISSING")
	})
}

func testRecord(t *testing.T, open Open) {
	t.Run("ok/comes-back-whole", func(t *testing.T) {
		j := open(t, NewClock())
		e := Entry(t, j, "s1", "1.2.3", "1.2.4^ext<1.2.2")
		zam := Notice("s1")
		e.Deliveries = append(e.Deliveries, zam)
		e.Events = append(e.Events, gateway.Event{
			Submission: "s1", Time: T0.Add(time.Second), Step: "x", Outcome: "warning", Code: "C", AckCode: "201", Destination: "dmp",
			Recipient: "r", Where: "w", Attempt: 3, Document: gateway.DocumentMark{UniqueID: "u", SetID: "s", Version: 2, TypeCode: "t", Flags: "MASQUE_PS"},
		})
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		s, docs, err := j.Submission(t.Context(), "s1")
		if err != nil {
			t.Fatal(err)
		}
		want(t, "submission", s, e.Submission)
		want(t, "documents", docs, e.Documents)
		deliveries, err := j.Deliveries(t.Context(), "s1")
		if err != nil {
			t.Fatal(err)
		}
		want(t, "deliveries", deliveries, e.Deliveries)
		events, err := j.Events(t.Context(), "s1", 0)
		if err != nil || len(events) != 2 || events[1].Seq <= events[0].Seq {
			t.Fatalf("%+v, %v", events, err)
		}
		for i := range events {
			e.Events[i].Seq = events[i].Seq
		}
		want(t, "events", events, e.Events)
		later, err := j.Events(t.Context(), "s1", events[0].Seq)
		if err != nil || len(later) != 1 || later[0].Step != "x" {
			t.Fatalf("after the first: %+v, %v", later, err)
		}
		byKey, err := j.Recorded(t.Context(), "key-s1")
		if err != nil {
			t.Fatal(err)
		}
		want(t, "by key", byKey, e.Submission)
	})
	t.Run("ok/refusal-keeps-no-bytes", func(t *testing.T) {
		j := open(t, NewClock())
		e := gateway.Entry{Submission: gateway.Submission{
			ID: "s1", Received: T0, Door: "hl7", Establishment: Site, Key: "k", Digest: fmt.Sprintf("%064x", 7),
			State: gateway.RefusedState, Code: "HL7-X", Receipt: []byte("MSA|AE"),
		}}
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want(t, "submission", submission(t, j, "s1"), e.Submission)
	})
	t.Run("ok/empty-key-is-never-a-duplicate", func(t *testing.T) {
		j := open(t, NewClock())
		for _, id := range []string{"s1", "s2"} {
			e := Entry(t, j, id)
			e.Submission.Key = ""
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		_, err := j.Recorded(t.Context(), "")
		want(t, "the empty key", err, gateway.ErrNotFound)
	})
	t.Run("fail/duplicate-leaves-nothing", func(t *testing.T) {
		j := open(t, NewClock())
		Record(t, j, "s1", "1.2.3")
		e := Entry(t, j, "s2", "1.2.4")
		e.Submission.Key = "key-s1"
		if err := j.Record(t.Context(), e); !errors.Is(err, gateway.ErrDuplicate) {
			t.Fatalf("got %v", err)
		}
		_, _, err := j.Submission(t.Context(), "s2")
		want(t, "the second", err, gateway.ErrNotFound)
		want(t, "due", claim(t, j, gateway.DestinationDMP, "h", T0, 10), []string{"dmp-s1"})
	})
	t.Run("fail/duplicates-at-once", func(t *testing.T) {
		j := open(t, NewClock())
		var wg sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			e := Entry(t, j, fmt.Sprintf("s%d", i), "1.2.3")
			e.Submission.Key = "the-same"
			wg.Go(func() { results[i] = j.Record(t.Context(), e) })
		}
		wg.Wait()
		winner := ""
		for i, err := range results {
			switch {
			case err == nil && winner == "":
				winner = fmt.Sprintf("s%d", i)
			case !errors.Is(err, gateway.ErrDuplicate):
				t.Fatalf("a second success, or another error: %v", err)
			}
		}
		s, err := j.Recorded(t.Context(), "the-same")
		if err != nil || s.ID != winner {
			t.Fatalf("recorded %q, %v, but %q was told yes", s.ID, err, winner)
		}
	})
	for name, spoil := range map[string]func(*gateway.Entry){
		"message-never-kept":             func(e *gateway.Entry) { e.Submission.Digest = fmt.Sprintf("%064x", 1) },
		"document-never-kept":            func(e *gateway.Entry) { e.Documents[0].Digest = fmt.Sprintf("%064x", 1) },
		"no-id":                          func(e *gateway.Entry) { e.Submission.ID = "" },
		"no-state":                       func(e *gateway.Entry) { e.Submission.State = "" },
		"id-taken":                       func(e *gateway.Entry) { e.Submission.ID, e.Deliveries, e.Events = "s0", nil, nil },
		"delivery-id-taken":              func(e *gateway.Entry) { e.Deliveries[0].ID = "dmp-s0" },
		"delivery-of-another-submission": func(e *gateway.Entry) { e.Deliveries[0].Submission = "s0" },
		"delivery-never-due":             func(e *gateway.Entry) { e.Deliveries[0].Due = time.Time{} },
		"event-of-another-submission":    func(e *gateway.Entry) { e.Events[0].Submission = "s0" },
		"envelope-that-is-not-JSON":      func(e *gateway.Entry) { e.Submission.Envelope = json.RawMessage(`{`) },
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			j := open(t, NewClock())
			Record(t, j, "s0", "1.2.2")
			e := Entry(t, j, "s1", "1.2.3")
			spoil(&e)
			err := j.Record(t.Context(), e)
			if err == nil || Code(err) == "" || errors.Is(err, gateway.ErrDuplicate) {
				t.Fatalf("got %v, want an error with a code", err)
			}
			if _, err := j.Recorded(t.Context(), "key-s1"); !errors.Is(err, gateway.ErrNotFound) {
				t.Fatalf("something is left: %v", err)
			}
			want(t, "due", claim(t, j, gateway.DestinationDMP, "h", T0, 10), []string{"dmp-s0"})
		})
	}
	t.Run("fail/not-found", func(t *testing.T) {
		j := open(t, NewClock())
		_, err1 := j.Recorded(t.Context(), "no")
		_, _, err2 := j.Submission(t.Context(), "no")
		_, err3 := j.Deliveries(t.Context(), "no")
		_, err4 := j.Events(t.Context(), "no", 0)
		_, err5 := j.Fate(t.Context(), Site.FINESSEJ, "no")
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, gateway.ErrNotFound) {
				t.Errorf("%d: got %v", i, err)
			}
		}
	})
}

func testList(t *testing.T, open Open) {
	j := open(t, NewClock())
	other := Site
	other.FINESSGeo = "020000027"
	for i := range 7 {
		e := Entry(t, j, fmt.Sprintf("s%d", i), fmt.Sprintf("1.2.%d", i))
		e.Submission.Received = T0.Add(time.Duration(i) * time.Hour)
		if i == 3 {
			e.Documents[0].Replaces = "1.2.1"
		}
		if i%3 == 2 { // s2, s5
			e.Submission.Establishment = other
		}
		if i >= 5 {
			e.Submission.Message.ControlID = "SHARED"
		}
		if i == 4 || i == 5 {
			e.Submission.Door = "mail"
		}
		if i == 4 {
			e.Submission.State, e.Deliveries = gateway.Quarantined, nil
		}
		if i == 0 {
			e.Submission.State, e.Submission.Envelope, e.Deliveries = gateway.RefusedState, nil, nil
		}
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	site, both := []string{Site.FINESSGeo}, []string{Site.FINESSGeo, other.FINESSGeo}
	for _, c := range []struct {
		name string
		q    gateway.Query
		want []string
	}{
		{"ok/no-site-sees-nothing", gateway.Query{Limit: 9}, nil},
		{"ok/own-site-newest-first", gateway.Query{FINESSGeo: site}, []string{"s6", "s4", "s3", "s1", "s0"}},
		{"ok/both-sites", gateway.Query{FINESSGeo: both, Limit: 3}, []string{"s6", "s5", "s4"}},
		{"ok/several-sites-newest-of-all", gateway.Query{FINESSGeo: both, Limit: 1}, []string{"s6"}},
		{"ok/several-sites-newest-of-the-first", gateway.Query{FINESSGeo: both, Limit: 1, Before: "s6"}, []string{"s5"}},
		{"ok/a-site-named-twice", gateway.Query{FINESSGeo: append(site, both...), Limit: 4}, []string{"s6", "s5", "s4", "s3"}},
		{"ok/next-page", gateway.Query{FINESSGeo: both, Limit: 3, Before: "s4"}, []string{"s3", "s2", "s1"}},
		{"ok/page-after-a-foreign-submission", gateway.Query{FINESSGeo: site, Before: "s5", Limit: 2}, []string{"s4", "s3"}},
		{"ok/unknown-page", gateway.Query{FINESSGeo: site, Before: "no"}, nil},
		{"ok/control-id", gateway.Query{FINESSGeo: both, ControlID: "SHARED"}, []string{"s6", "s5"}},
		{"ok/control-id-of-another-site", gateway.Query{FINESSGeo: site, ControlID: "SHARED"}, []string{"s6"}},
		{"ok/state", gateway.Query{FINESSGeo: both, State: gateway.RefusedState}, []string{"s0"}},
		{"ok/door", gateway.Query{FINESSGeo: both, Door: "mail"}, []string{"s5", "s4"}},
		{"ok/door-of-another-site", gateway.Query{FINESSGeo: site, Door: "mail"}, []string{"s4"}},
		{"ok/door-and-state", gateway.Query{FINESSGeo: both, Door: "mail", State: gateway.Quarantined}, []string{"s4"}},
		{"ok/unknown-door", gateway.Query{FINESSGeo: both, Door: "no"}, nil},
		{"ok/document-and-what-replaces-it", gateway.Query{FINESSGeo: both, Document: "1.2.1"}, []string{"s3", "s1"}},
		{"ok/document-of-another-site", gateway.Query{FINESSGeo: site, Document: "1.2.2"}, nil},
		{"ok/since-included", gateway.Query{FINESSGeo: both, Since: T0.Add(5 * time.Hour)}, []string{"s6", "s5"}},
		{"ok/until-excluded", gateway.Query{FINESSGeo: both, Until: T0.Add(time.Hour)}, []string{"s0"}},
		{"ok/one-hour-of-a-site", gateway.Query{FINESSGeo: site, Since: T0.Add(2 * time.Hour), Until: T0.Add(4 * time.Hour)}, []string{"s3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := j.Submissions(t.Context(), c.q)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, s := range all {
				ids = append(ids, s.ID)
				if s.From.Application != "DPI" || len(s.Warnings) != 1 {
					t.Errorf("%s is not complete: %+v", s.ID, s)
				}
			}
			want(t, "ids", ids, c.want)
		})
	}
}

func testSweep(t *testing.T, open Open) {
	t.Run("ok/old-and-unnamed-only", func(t *testing.T) {
		clock := NewClock()
		j := open(t, clock)
		e := Record(t, j, "a", "1.1")
		keep := func(s string) string {
			digest, err := j.Keep(t.Context(), []byte(s))
			if err != nil {
				t.Fatal(err)
			}
			return digest
		}
		forgotten, renewed, ofRefused := keep("forgotten"), keep("renewed"), keep("refused")
		refused := gateway.Entry{Submission: gateway.Submission{ID: "r", Establishment: Site, Digest: ofRefused, State: gateway.RefusedState}}
		if err := j.Record(t.Context(), refused); err != nil {
			t.Fatal(err)
		}
		clock.Add(25 * time.Hour)
		fresh := keep("fresh")
		keep("renewed")
		removed, err := j.Sweep(t.Context(), clock.Now().Add(-24*time.Hour))
		if err != nil || removed != 2 {
			t.Fatalf("%d removed, %v", removed, err)
		}
		for digest, kept := range map[string]bool{
			e.Submission.Digest: true, e.Documents[0].Digest: true, forgotten: false, ofRefused: false, fresh: true, renewed: true,
		} {
			if _, err := j.Fetch(t.Context(), digest); (err == nil) != kept {
				t.Errorf("%.8s: kept %v, %v", digest, kept, err)
			}
		}
		if removed, err = j.Sweep(t.Context(), clock.Now().Add(-24*time.Hour)); err != nil || removed != 0 {
			t.Fatalf("a second sweep: %d removed, %v", removed, err)
		}
	})
	t.Run("ok/many", func(t *testing.T) {
		clock := NewClock()
		j := open(t, clock)
		for i := range 450 {
			if _, err := j.Keep(t.Context(), []byte{byte(i), byte(i >> 8)}); err != nil {
				t.Fatal(err)
			}
		}
		e := Record(t, j, "a", "1.1")
		removed, err := j.Sweep(t.Context(), clock.Now().Add(time.Hour))
		if err != nil || removed != 450 {
			t.Fatalf("%d removed, %v", removed, err)
		}
		if _, err := j.Fetch(t.Context(), e.Documents[0].Digest); err != nil {
			t.Fatal(err)
		}
	})
	// Even a sweep that takes everything, however young, never takes what a
	// Record that said yes has named.
	t.Run("ok/against-records", func(t *testing.T) {
		clock := NewClock()
		j := open(t, clock)
		stop := make(chan struct{})
		var sweeper sync.WaitGroup
		sweeper.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := j.Sweep(t.Context(), clock.Now().Add(time.Hour)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		var digests []string
		for g := range 4 {
			wg.Go(func() {
				for i := range 15 {
					id := fmt.Sprintf("s%d-%d", g, i)
					digest, err := j.Keep(t.Context(), []byte(id))
					if err != nil {
						t.Error(err)
						return
					}
					err = j.Record(t.Context(), gateway.Entry{Submission: gateway.Submission{ID: id, Establishment: Site, Digest: digest, State: gateway.Kept}})
					switch {
					case err == nil:
						mu.Lock()
						digests = append(digests, digest)
						mu.Unlock()
					case Code(err) != "GW-BLOB-MISSING":
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		sweeper.Wait()
		slices.Sort(digests)
		for _, d := range digests {
			if _, err := j.Fetch(t.Context(), d); err != nil {
				t.Fatalf("recorded, and gone: %v", err)
			}
		}
	})
}
