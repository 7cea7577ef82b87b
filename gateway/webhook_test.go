package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/testdata"
)

// software is told by webhook; it fails as told first.
type software struct {
	mu    sync.Mutex
	fails []error
	got   []gateway.Telling
	hold  chan struct{} // it does not answer before this is closed
}

func (s *software) Tell(ctx context.Context, t gateway.Telling) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, t)
	if len(s.fails) > 0 {
		err := s.fails[0]
		s.fails = s.fails[1:]
		return err
	}
	return nil
}

// lines are what it was told: steps, outcomes, codes.
func (s *software) lines() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.got {
		for _, e := range t.Events {
			all = append(all, strings.TrimSpace(e.Step+" "+e.Outcome+" "+e.Code))
		}
	}
	return all
}

func (r *route) hooked() *software {
	s := &software{}
	r.Gateway.Hooked = func(e gateway.Establishment) bool { return e.FINESSGeo == house1.FINESSGeo }
	r.d.Webhook = s
	return s
}

func TestWebhookTellsOutcomes(t *testing.T) {
	down := fault.New("DMP-UNREACHABLE")
	tests := []struct {
		name    string
		change  func(*gateway.Inbound)
		prepare func(*route)
		want    []string
	}{
		{name: "ok/fed", want: []string{"dmp ok"}},
		{name: "ok/no ZAM wanted", change: func(in *gateway.Inbound) { in.Flags.WantReception = false }, want: []string{"dmp ok"}},
		{name: "ok/a retry is no outcome", prepare: func(r *route) { r.archive.before = down }, want: []string{"dmp ok"}},
		{name: "ok/another establishment has no webhook", change: func(in *gateway.Inbound) { in.Establishment.FINESSGeo = "990000099" }},
		{name: "fail/refused by the DMP", prepare: func(r *route) { r.archive.before = fault.New("DMPClosed") }, want: []string{"dmp failed DMPClosed"}},
		{name: "fail/refused at the door", change: func(in *gateway.Inbound) { in.Requester = nil }, want: []string{"refused failed GW-NO-SENDER"}},
		{name: "fail/given up", prepare: func(r *route) {
			r.d.Backoff.GiveUp = time.Nanosecond
			r.archive.before = down
		}, want: []string{"dmp failed GW-EXPIRED"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoute(t)
			s := r.hooked()
			in := inbound("M1", testdata.CDAOptions{})
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.prepare != nil {
				tt.prepare(r)
			}
			d := r.accept(in)
			r.settle(r.d, d.Submission)
			if got := s.lines(); !slices.Equal(got, tt.want) {
				t.Errorf("told %v, want %v", got, tt.want)
			}
			for _, one := range s.got {
				if one.Submission.ID != d.Submission || one.ID == "" {
					t.Errorf("%+v", one)
				}
			}
		})
	}
}

// Letters: what a ZAM would tell of each recipient, and the end without a report.
func TestWebhookTellsReceipts(t *testing.T) {
	r := newMailRoute(t)
	s := r.hooked()
	in := mailed("M1")
	in.Flags.WantReception, in.Flags.WantReading = false, false
	d := r.accept(in)
	letters := r.letters(d.Submission)
	if got := s.lines(); len(got) != 0 {
		t.Fatalf("told before any report: %v", got)
	}
	pro := letters["lea.morel@test-ci-sis.mssante.fr"]
	patient := letters[testdata.Patients()[0].Matricule+"@patient.mssante.fr"]
	for range 2 { // received twice, told once
		r.receive(testdata.DSN(testdata.DSNOptions{
			Return: testdata.Return{To: bal}, EnvelopeID: pro.ID,
			Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + pro.Recipient, Final: "rfc822;" + pro.Recipient}},
		}))
		r.receive(testdata.MDN(testdata.MDNOptions{Return: testdata.Return{To: bal}, Recipient: pro.Recipient, OriginalMessageID: pro.MessageID}))
	}
	r.receive(testdata.DSN(testdata.DSNOptions{
		Return: testdata.Return{To: bal}, EnvelopeID: patient.ID,
		Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + patient.Recipient, Final: "rfc822;" + patient.Recipient, Action: "failed", Status: "5.1.1"}},
	}))
	r.settle(r.d, d.Submission)
	got := s.lines()
	slices.Sort(got)
	if len(got) != 3 || !strings.HasPrefix(got[0], "dsn failed MSS-") || got[1] != "dsn ok" || got[2] != "mdn ok" {
		t.Errorf("told %v", got)
	}
}

// Killed between the answer of the software and the outcome, and refused before
// that: the same event comes again, under the same id.
func TestWebhookIsToldAgainAsItWas(t *testing.T) {
	r := newRoute(t)
	s := r.hooked()
	s.fails = []error{fault.New("HTTP-HOOK-DOWN")}
	in := inbound("M1", testdata.CDAOptions{})
	in.Flags.WantReception = false
	d := r.accept(in)
	b := &broken{Journal: r.Journal, died: func() { r.clock.Add(2 * r.d.Lease) }}
	r.Gateway.Journal = b
	told := 0
	r.Gateway.Trace = func(step gateway.Step, _ string) {
		if step != gateway.StepTold {
			return
		}
		if told++; told == 2 { // the software has it, and its settlement is lost
			b.settle = errors.New("the process died here")
		}
	}
	r.settle(r.d, d.Submission)
	if len(s.got) != 3 {
		t.Fatalf("told %d times: %v", len(s.got), r.outcomes(d.Submission))
	}
	for _, one := range s.got {
		if one.ID != s.got[0].ID || !reflect.DeepEqual(one.Events, s.got[0].Events) || len(one.Events) != 1 {
			t.Errorf("%+v and %+v", one, s.got[0])
		}
	}
	if got := r.outcomes(d.Submission); !slices.Equal(got, []string{"dmp ok", "webhook retry", "webhook ok"}) {
		t.Errorf("outcomes %v", got)
	}
}

// A software that does not answer holds up nothing but what it is told.
func TestWebhookHoldsNothingUp(t *testing.T) {
	r := newRoute(t)
	s := r.hooked()
	s.hold = make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.d.Run(ctx); close(done) }()
	defer func() { close(s.hold); stop(); <-done }()
	for i := range 2 * r.d.Workers {
		d := r.accept(inbound(fmt.Sprint("M", i), testdata.CDAOptions{ID: testdata.DocumentID(i + 1)}))
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
			if got := r.outcomes(d.Submission); slices.Equal(got, []string{"dmp ok", "zam ok"}) {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("outcomes %v", got)
			}
		}
	}
}

// silence is the software of several hospitals, of which some do not answer
// before hold is closed.
type silence struct {
	silent []string // FINESS géographique
	hold   chan struct{}
	mu     sync.Mutex
	asked  map[string]int
}

func (s *silence) answer(site string) error {
	s.mu.Lock()
	s.asked[site]++
	s.mu.Unlock()
	if slices.Contains(s.silent, site) {
		<-s.hold
	}
	return nil
}

func (s *silence) Notify(_ context.Context, n gateway.Notice) error {
	return s.answer(n.Establishment.FINESSGeo)
}

func (s *silence) Tell(_ context.Context, t gateway.Telling) error {
	return s.answer(t.Submission.Establishment.FINESSGeo)
}

// Workers were shared by all sites: one whose webhook or hospital was silent took
// them all, and the others waited for its timeouts.
func TestSilentSitesHoldUpNoOther(t *testing.T) {
	for name, told := range map[string]string{"ok/ZAM": "zam ok", "ok/webhook": "webhook ok"} {
		t.Run(name, func(t *testing.T) {
			r := newRoute(t)
			r.d.Poll = time.Second // woken by what happens: eight loops that look all the time cost more than the test
			s := &silence{silent: []string{"990000101", "990000102"}, hold: make(chan struct{}), asked: map[string]int{}}
			if told == "zam ok" {
				r.d.Hospital = s
			} else {
				r.d.Webhook = s
				r.Gateway.Hooked = func(gateway.Establishment) bool { return true }
			}
			n := 0
			send := func(site string) string {
				n++
				in := inbound(fmt.Sprint("M", n), testdata.CDAOptions{ID: testdata.DocumentID(n)})
				in.Establishment.FINESSGeo, in.Flags.WantReception = site, told == "zam ok"
				defer r.d.Wake()
				return r.accept(in).Submission
			}
			var held []string
			for range r.d.Workers + 1 {
				for _, site := range s.silent {
					held = append(held, send(site))
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { r.d.Run(ctx); close(done) }()
			release := sync.OnceFunc(func() { close(s.hold) })
			defer func() { release(); stop(); <-done }()
			until := func(what string, reached func() bool) {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal(what)
					}
				}
			}
			asked := func(want int) func() bool {
				return func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return !slices.ContainsFunc(s.silent, func(site string) bool { return s.asked[site] != want })
				}
			}
			until("each silent site has its workers", asked(r.d.Workers))
			for range 2 {
				id := send(house1.FINESSGeo)
				until("the site that answers", func() bool { return slices.Contains(r.outcomes(id), told) })
			}
			if !asked(r.d.Workers)() {
				t.Error("more at once than workers")
			}
			release()
			for _, id := range held {
				until("once they answer", func() bool { return slices.Contains(r.outcomes(id), told) })
			}
		})
	}
}

// A webhook that is never taken is given up like any delivery, and shows.
func TestWebhookGivenUp(t *testing.T) {
	r := newRoute(t)
	s := r.hooked()
	r.d.Backoff.GiveUp = time.Minute
	s.fails = []error{fault.New("HTTP-HOOK-DOWN"), fault.New("HTTP-HOOK-DOWN")}
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.Gateway.Trace = func(step gateway.Step, _ string) {
		if step == gateway.StepTold {
			r.clock.Add(2 * time.Minute)
		}
	}
	r.settle(r.d, d.Submission)
	sub, _, err := r.Journal.Submission(t.Context(), d.Submission)
	if err != nil || sub.State != gateway.Done || sub.Code != gateway.FaultExpired {
		t.Errorf("%s %s %v", sub.State, sub.Code, err)
	}
}
