// Package journaltest is the contract of [gateway.Journal], as tests: an engine
// proves itself by running [Test] on what it opens.
//
// The contract: an entry or a settlement is written whole or not at all; of
// duplicates at once exactly one succeeds; nothing is leased twice, nor out of
// order where documents are shared; a letter keeps its bytes and its Message-ID,
// and a receipt changes it once; of two decisions of people one is written; a sweep never takes what a row names. What
// an engine promises after a crash it proves by tests of its own, because only
// it knows how to crash.
package journaltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	t.Run("fate", func(t *testing.T) { testFate(t, open) })
	t.Run("settle", func(t *testing.T) { testSettle(t, open) })
	t.Run("mark-letter", func(t *testing.T) { testMarkLetter(t, open) })
	t.Run("waiting", func(t *testing.T) { testWaiting(t, open) })
	t.Run("apply", func(t *testing.T) { testApply(t, open) })
	t.Run("letter-order", func(t *testing.T) { testLetterOrder(t, open) })
	t.Run("consent", func(t *testing.T) { testConsent(t, open) })
	t.Run("webhook", func(t *testing.T) { testWebhook(t, open) })
	t.Run("decide", func(t *testing.T) { testDecide(t, open) })
	t.Run("sweep", func(t *testing.T) { testSweep(t, open) })
}
