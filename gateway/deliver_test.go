package gateway_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// archive is a DMP in a map. before and after fail a call, before or after it
// took effect, once each.
type archive struct {
	mu            sync.Mutex
	docs          map[string]*dmp.Held
	lots          []string
	asked         int
	before, after error
	deposits      []dmp.Deposit
}

func take(err *error) error {
	e := *err
	*err = nil
	return e
}

func (a *archive) Deposit(_ context.Context, d dmp.Deposit) (dmp.Deposited, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := take(&a.before); err != nil {
		return dmp.Deposited{}, err
	}
	a.deposits = append(a.deposits, d)
	if !slices.Contains(a.lots, d.LotID.String()) {
		for _, doc := range d.Documents {
			id := doc.Metadata.UniqueID.String()
			if a.docs[id] != nil {
				return dmp.Deposited{}, fault.New("DMP-DUPLICATE")
			}
			sum := sha1.Sum(doc.Content)
			a.docs[id] = &dmp.Held{ID: "t-" + id, UniqueID: doc.Metadata.UniqueID, Status: "current", SHA1: sum[:], Size: int64(len(doc.Content))}
			if doc.Metadata.Replaces != nil {
				a.docs[doc.Metadata.Replaces.String()].Status = "superseded"
			}
		}
		a.lots = append(a.lots, d.LotID.String())
	}
	return dmp.Deposited{Status: "201"}, take(&a.after)
}

func (a *archive) Find(_ context.Context, _ dmp.Caller, _ ins.Identity, id dmp.ID) (*dmp.Held, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if h := a.docs[id.String()]; h != nil && h.Status != "entered-in-error" {
		held := *h
		return &held, nil
	}
	return nil, nil
}

func (a *archive) Delete(_ context.Context, _ dmp.Caller, _ ins.Identity, technicalID string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := take(&a.before); err != nil {
		return err
	}
	for _, h := range a.docs {
		if h.ID == technicalID {
			h.Status = "entered-in-error"
			return take(&a.after)
		}
	}
	return fault.New("DMP-UNKNOWN-DOCUMENT")
}

// hospital keeps the notices it acknowledged.
type hospital struct {
	mu    sync.Mutex
	got   []gateway.Notice
	fails []error
}

func (h *hospital) Notify(_ context.Context, n gateway.Notice) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, n)
	if len(h.fails) > 0 {
		err := h.fails[0]
		h.fails = h.fails[1:]
		return err
	}
	return nil
}

type route struct {
	*house
	archive  *archive
	hospital *hospital
	d        *gateway.Deliverer
}

func newRoute(t *testing.T) *route {
	r := &route{house: newHouse(t, nil), archive: &archive{docs: map[string]*dmp.Held{}}, hospital: &hospital{}}
	r.d = r.deliverer("first")
	return r
}

func (r *route) deliverer(holder string) *gateway.Deliverer {
	return &gateway.Deliverer{
		Gateway: r.Gateway, Archive: r.archive, Hospital: r.hospital, Holder: holder, Lease: time.Minute, Poll: 50 * time.Millisecond, // woken by what happens: eight loops that look all the time cost more than the tests
		Workers: 2, Jitter: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Backoff: gateway.Backoff{First: 10 * time.Millisecond, Max: 20 * time.Millisecond, GiveUp: time.Hour},
	}
}

// settle runs the deliverer until nothing is due for the submissions.
func (r *route) settle(d *gateway.Deliverer, submissions ...string) {
	r.t.Helper()
	r.until(d, func() bool {
		for _, id := range submissions {
			deliveries, err := r.Journal.Deliveries(r.t.Context(), id)
			if err != nil {
				r.t.Fatal(err)
			}
			if slices.ContainsFunc(deliveries, func(del gateway.Delivery) bool { return del.State == gateway.Due }) {
				return false
			}
		}
		return true
	})
}

// until runs the deliverer until something is so. The limit is for what never
// comes: with the race detector and a slow disk one submission can take seconds.
func (r *route) until(d *gateway.Deliverer, so func() bool) {
	r.t.Helper()
	run, stop := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() { d.Run(run); close(done) }()
	defer func() { stop(); <-done }()
	for deadline := time.Now().Add(5 * time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("deliveries do not end")
		}
	}
}

// settleFor lets the deliverer run for a while.
func (r *route) settleFor(d time.Duration) {
	ctx, stop := context.WithTimeout(r.t.Context(), d)
	defer stop()
	r.d.Run(ctx)
}

func (r *route) state(id string) gateway.State {
	r.t.Helper()
	s, _, err := r.Journal.Submission(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.State
}

func (r *route) outcomes(id string) (all []string) {
	r.t.Helper()
	events, err := r.Journal.Events(r.t.Context(), id, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range events {
		if e.Destination != "" {
			all = append(all, e.Destination+" "+e.Outcome)
		}
	}
	return all
}

// Regression: what the other side answered stood in the journal for refusals only
// (found by the audit of issue 2, 2026-11-22).
func TestAnswersAreKept(t *testing.T) {
	r := newRoute(t)
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.settle(r.d, d.Submission)
	events, err := r.Journal.Events(t.Context(), d.Submission, 0)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for _, e := range events {
		answers[e.Step] = e.AckCode
	}
	if answers[gateway.DestinationDMP] != "201" || answers[gateway.DestinationZAM] != "AA" {
		t.Errorf("%v", answers)
	}
}

func TestDelivery(t *testing.T) {
	down := fault.New("DMP-UNREACHABLE")
	tests := []struct {
		name     string
		change   func(*gateway.Inbound)
		prepare  func(*route)
		state    gateway.State
		success  bool
		code     string
		outcomes []string
		asked    bool
	}{
		{name: "ok/first time", state: gateway.Done, success: true, outcomes: []string{"dmp ok", "zam ok"}},
		{name: "ok/DMP down once", prepare: func(r *route) { r.archive.before = down }, state: gateway.Done, success: true, asked: true,
			outcomes: []string{"dmp retry", "dmp ok", "zam ok"}},
		{name: "ok/answer lost: asked, not sent twice", prepare: func(r *route) { r.archive.after = down }, state: gateway.Done, success: true, asked: true,
			outcomes: []string{"dmp retry", "dmp ok", "zam ok"}},
		{name: "ok/hospital down twice", prepare: func(r *route) {
			r.hospital.fails = []error{fault.New("HL7-ZAM-DOWN"), fault.New("HL7-ZAM-DOWN")}
		}, state: gateway.Done, success: true, outcomes: []string{"dmp ok", "zam retry", "zam retry", "zam ok"}},
		{name: "fail/closed DMP is told with its code", prepare: func(r *route) { r.archive.before = fault.New("DMPClosed") }, state: gateway.Failed, code: "DMPClosed",
			outcomes: []string{"dmp failed", "zam ok"}},
		{name: "fail/id with extension", change: func(in *gateway.Inbound) {
			*in = inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(9) + "^A1"})
		}, state: gateway.Failed, code: "CDA-ID-EXTENSION", outcomes: []string{"dmp failed", "zam ok"}},
		{name: "fail/replacement of what the DMP does not hold", change: func(in *gateway.Inbound) {
			*in = inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
			in.Action = dmp.Replace
		}, state: gateway.Failed, code: gateway.FaultUnknownTarget, outcomes: []string{"dmp failed", "zam ok"}, asked: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoute(t)
			in := inbound("M1", testdata.CDAOptions{})
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.prepare != nil {
				tt.prepare(r)
			}
			d := r.accept(in)
			r.settle(r.d, d.Submission)
			if got := r.state(d.Submission); got != tt.state {
				t.Errorf("state %s, want %s", got, tt.state)
			}
			if got := r.outcomes(d.Submission); !slices.Equal(got, tt.outcomes) {
				t.Errorf("outcomes %v, want %v", got, tt.outcomes)
			}
			if (r.archive.asked > 0) != tt.asked {
				t.Errorf("the DMP was asked %d times first", r.archive.asked)
			}
			n := r.hospital.got[len(r.hospital.got)-1]
			if n.Success != tt.success || n.Code != tt.code || n.Answers != "M1" || n.Event != "Z01" {
				t.Errorf("notice %+v", n)
			}
			for _, other := range r.hospital.got {
				if other != n {
					t.Errorf("a resent notice differs: %+v and %+v", other, n)
				}
			}
			if len(r.archive.lots) > 1 {
				t.Errorf("lots %v", r.archive.lots)
			}
		})
	}
}

func TestNoNoticeThatWasNotWanted(t *testing.T) {
	r := newRoute(t)
	in := inbound("M1", testdata.CDAOptions{})
	in.Flags.WantReception = false
	d := r.accept(in)
	r.settle(r.d, d.Submission)
	if len(r.hospital.got) != 0 {
		t.Errorf("notices %v", r.hospital.got)
	}
}

// A whole life: fed, replaced, deleted; each step in its order although all
// three are queued before the first leaves.
func TestChainIsDeliveredInOrder(t *testing.T) {
	r := newRoute(t)
	first := r.accept(inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(1)}))
	second := inbound("M2", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
	second.Action = dmp.Replace
	replaced := r.accept(second)
	third := inbound("M3", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
	third.Action = dmp.Delete
	deleted := r.accept(third)
	r.settle(r.d, first.Submission, replaced.Submission, deleted.Submission)
	for _, id := range []string{first.Submission, replaced.Submission, deleted.Submission} {
		if got := r.state(id); got != gateway.Done {
			t.Errorf("%s is %s: %v", id, got, r.outcomes(id))
		}
	}
	if s := r.archive.docs[testdata.DocumentID(1)].Status; s != "superseded" {
		t.Errorf("the first version is %s", s)
	}
	if s := r.archive.docs[testdata.DocumentID(2)].Status; s != "entered-in-error" {
		t.Errorf("the second version is %s", s)
	}
	// What was learned of the document refuses a second deletion at the door.
	fourth := inbound("M4", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
	fourth.Action = dmp.Delete
	if d := r.accept(fourth); d.Outcome != gateway.Refused || d.Faults[0].HL7.App != "900" {
		t.Errorf("%v %v", d.Outcome, d.Faults)
	}
}

// A deletion whose answer was lost is asked for again by the noted id, although
// the DMP does not find the document any more.
func TestDeletionAnswerLost(t *testing.T) {
	r := newRoute(t)
	fed := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.settle(r.d, fed.Submission)
	r.archive.after = fault.New("DMP-TIMEOUT")
	in := inbound("M2", testdata.CDAOptions{})
	in.Action = dmp.Delete
	d := r.accept(in)
	r.settle(r.d, d.Submission)
	if got := r.state(d.Submission); got != gateway.Done {
		t.Errorf("%s: %v", got, r.outcomes(d.Submission))
	}
}

// The answer came but the outcome could not be written: the next attempt finds
// the document there and sends nothing.
func TestOutcomeThatCouldNotBeWritten(t *testing.T) {
	r := newRoute(t)
	b := &broken{Journal: r.Journal, settle: errors.New("disk"), died: func() { r.clock.Add(2 * r.d.Lease) }}
	r.Gateway.Journal = b
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.settle(r.d, d.Submission)
	if got := r.state(d.Submission); got != gateway.Done {
		t.Errorf("state %s", got)
	}
	if len(r.archive.deposits) != 1 {
		t.Errorf("%d deposits", len(r.archive.deposits))
	}
	if len(r.hospital.got) != 1 {
		t.Errorf("%d notices", len(r.hospital.got))
	}
}

// Regression: an attempt that used up its time could not be settled, because it
// was settled within the same time (found by the kill test, silent hospital).
func TestAttemptThatUsedUpItsTimeIsSettled(t *testing.T) {
	r := newRoute(t)
	r.d.Hospital = deaf{}
	r.d.Lease = 3 * time.Second
	// The attempt runs on real time, so its lease must too: the clock of the
	// other tests also moves on at each reading, and ended every lease early.
	start, began := r.clock.Now(), time.Now()
	r.Gateway.Clock = func() time.Time { return start.Add(time.Since(began)) }
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.d.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	for range 500 {
		if slices.Contains(r.outcomes(d.Submission), "zam retry") {
			return
		}
		// Where a slow disk took the time that settling has, the lease ends and the
		// next attempt says it.
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("never settled: %v", r.outcomes(d.Submission))
}

// deaf is a hospital that never answers.
type deaf struct{}

func (deaf) Notify(ctx context.Context, _ gateway.Notice) error {
	<-ctx.Done()
	return fault.New("HL7-ZAM-SILENT").Because(ctx.Err())
}

// The same document in another message: the DMP refuses the double, and the
// sender is told that it is there.
func TestSameDocumentInAnotherMessage(t *testing.T) {
	r := newRoute(t)
	a := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.settle(r.d, a.Submission)
	b := r.accept(inbound("M2", testdata.CDAOptions{}))
	if !warned(b, gateway.FaultAlreadyFed) {
		t.Error("no warning at the door")
	}
	r.settle(r.d, b.Submission)
	if got := r.state(b.Submission); got != gateway.Done {
		t.Errorf("%s %v", got, r.outcomes(b.Submission))
	}
}

func TestGiveUp(t *testing.T) {
	r := newRoute(t)
	r.d.Backoff.GiveUp = time.Minute
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.clock.Add(2 * time.Minute)
	r.archive.before = fault.New("DMP-UNREACHABLE")
	r.settle(r.d, d.Submission)
	if n := r.hospital.got[0]; n.Success || n.Code != gateway.FaultExpired {
		t.Errorf("%+v", n)
	}
}

// Identity rules are applied again at the moment of sending.
func TestRulesAreAppliedAgain(t *testing.T) {
	r := newRoute(t)
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.Settings.Environment = ins.Production // the site went live with a test message queued
	r.settle(r.d, d.Submission)
	if len(r.archive.deposits) != 0 {
		t.Error("a test identity left in production")
	}
	if n := r.hospital.got[0]; n.Success || n.Code != ins.FaultTestOID {
		t.Errorf("%+v", n)
	}
}
