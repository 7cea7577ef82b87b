// Package journaltest is the contract of [gateway.Journal], as tests: an engine
// proves itself by running [Test] on what it opens.
//
// The contract: an entry or a settlement is written whole or not at all; of
// duplicates at once exactly one succeeds; nothing is leased twice, nor out of
// order where documents are shared; a sweep never takes what a row names. What
// an engine promises after a crash it proves by tests of its own, because only
// it knows how to crash.
package journaltest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
)

// Open opens a new, empty journal that reads its time from the clock.
type Open func(t *testing.T, clock *Clock) gateway.Journal

// Clock is a clock that a test moves by hand.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// T0 is when every test begins.
var T0 = time.Date(2026, 3, 1, 8, 0, 0, 123456789, time.UTC)

// NewClock starts a clock.
func NewClock() *Clock { return &Clock{now: T0} }

// Now reads it.
func (c *Clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

// Add moves it.
func (c *Clock) Add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// Code is the code of an error, empty when it declares none.
func Code(err error) string {
	var c interface{ FaultCode() string }
	if errors.As(err, &c) {
		return c.FaultCode()
	}
	return ""
}

// Site is the establishment of the entries that the suite records.
var Site = gateway.Establishment{Name: "Centre hospitalier d'essai", FINESSEJ: "010000001", FINESSGeo: "010000019", SourceOID: "1.2.250.1.999.1"}

// Entry is an accepted message that brings documents to the DMP. Each document
// is its unique id, or "id<replaced". Its bytes are kept.
func Entry(t testing.TB, j gateway.Journal, id string, documents ...string) gateway.Entry {
	t.Helper()
	keep := func(data string) string {
		digest, err := j.Keep(t.Context(), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	e := gateway.Entry{
		Submission: gateway.Submission{
			ID: id, Received: T0, Door: "hl7", Establishment: Site,
			From:    gateway.Party{Application: "DPI", Facility: "CH"},
			Message: gateway.Message{Type: "ORU^R01", ControlID: "MSG-" + id, Version: "2.6", To: gateway.Party{Application: "PFI"}},
			Key:     "key-" + id, Digest: keep("message " + id), Rules: "r1", Action: dmp.New, INSStatus: "QUAL", Stay: "5ta1",
			State: gateway.Pending, Warnings: []gateway.Note{{Code: "CDA-X", Where: "OBX^1^5"}},
			Envelope: json.RawMessage(`{"door":"hl7","patient":{"oid":"1.2.250.1.213.1.4.8"}}`), Receipt: []byte("MSH|AA\r"),
		},
		Deliveries: []gateway.Delivery{{
			ID: "dmp-" + id, Submission: id, Establishment: Site, Destination: gateway.DestinationDMP,
			State: gateway.Due, Created: T0, Due: T0,
		}},
		Events: []gateway.Event{{Submission: id, Time: T0, Step: "accepted", Outcome: "ok"}},
	}
	for i, name := range documents {
		unique, replaced, _ := bytes.Cut([]byte(name), []byte("<"))
		e.Documents = append(e.Documents, gateway.DocumentRow{
			Index: i, Where: fmt.Sprintf("OBX^%d^5", i+1), UniqueID: string(unique), SetID: "set-" + string(unique), Version: 1,
			TypeCode: "11490-0", Replaces: string(replaced), Digest: keep("document " + name), Size: int64(len("document " + name)),
		})
	}
	return e
}

// Record records an accepted message; see [Entry].
func Record(t testing.TB, j gateway.Journal, id string, documents ...string) gateway.Entry {
	t.Helper()
	e := Entry(t, j, id, documents...)
	if err := j.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// Notice is a ZAM that follows from a settlement.
func Notice(submission string) gateway.Delivery {
	return gateway.Delivery{
		ID: "zam-" + submission, Submission: submission, Establishment: Site, Destination: gateway.DestinationZAM, State: gateway.Due,
		Created: T0, Due: T0, Notice: &gateway.Notice{ControlID: "Z-" + submission, Event: "Z01", Composed: T0, Answers: "MSG-" + submission, Success: true},
	}
}

func claim(t *testing.T, j gateway.Journal, destination, holder string, now time.Time, max int) (ids []string) {
	t.Helper()
	all, err := j.Claim(t.Context(), destination, holder, now, now.Add(time.Minute), max)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	return ids
}

func settle(t *testing.T, j gateway.Journal, s gateway.Settlement) {
	t.Helper()
	if s.Holder == "" {
		s.Holder = "h"
	}
	if err := j.Settle(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func submission(t *testing.T, j gateway.Journal, id string) gateway.Submission {
	t.Helper()
	s, _, err := j.Submission(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func delivery(t *testing.T, j gateway.Journal, submission, id string) gateway.Delivery {
	t.Helper()
	all, err := j.Deliveries(t.Context(), submission)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.ID == id {
			return d
		}
	}
	t.Fatalf("no delivery %s", id)
	return gateway.Delivery{}
}

func steps(t *testing.T, j gateway.Journal, id string, after int64) (steps []string) {
	t.Helper()
	all, err := j.Events(t.Context(), id, after)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		steps = append(steps, e.Step)
	}
	return steps
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// Test runs the contract.
func Test(t *testing.T, open Open) {
	t.Run("keep", func(t *testing.T) { testKeep(t, open) })
	t.Run("record", func(t *testing.T) { testRecord(t, open) })
	t.Run("list", func(t *testing.T) { testList(t, open) })
	t.Run("claim", func(t *testing.T) { testClaim(t, open) })
	t.Run("order", func(t *testing.T) { testOrder(t, open) })
	t.Run("settle", func(t *testing.T) { testSettle(t, open) })
	t.Run("sweep", func(t *testing.T) { testSweep(t, open) })
}

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
		e := Entry(t, j, fmt.Sprintf("s%d", i))
		if i%3 == 2 { // s2, s5
			e.Submission.Establishment = other
		}
		if i >= 5 {
			e.Submission.Message.ControlID = "SHARED"
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
		{"ok/next-page", gateway.Query{FINESSGeo: both, Limit: 3, Before: "s4"}, []string{"s3", "s2", "s1"}},
		{"ok/page-after-a-foreign-submission", gateway.Query{FINESSGeo: site, Before: "s5", Limit: 2}, []string{"s4", "s3"}},
		{"ok/unknown-page", gateway.Query{FINESSGeo: site, Before: "no"}, nil},
		{"ok/control-id", gateway.Query{FINESSGeo: both, ControlID: "SHARED"}, []string{"s6", "s5"}},
		{"ok/control-id-of-another-site", gateway.Query{FINESSGeo: site, ControlID: "SHARED"}, []string{"s6"}},
		{"ok/state", gateway.Query{FINESSGeo: both, State: gateway.RefusedState}, []string{"s0"}},
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
		if s.State != gateway.Done || s.Code != "" {
			t.Fatalf("a ZAM is not what was asked for: %s %s", s.State, s.Code)
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
			s.Documents = []gateway.DocumentFate{{UniqueID: "1.1", Fate: "current"}}
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
			if _, err := j.Fate(t.Context(), Site.FINESSEJ, "1.1"); !errors.Is(err, gateway.ErrNotFound) {
				t.Fatalf("a fate was written: %v", err)
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
