package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// Found by review, issue 4: what happens between reading and writing.

// meddled is a journal in which something else happens once, just before a
// receipt is applied.
type meddled struct {
	gateway.Journal
	once   sync.Once
	before func()
}

func (m *meddled) Apply(ctx context.Context, r gateway.Report) error {
	m.once.Do(m.before)
	return m.Journal.Apply(ctx, r)
}

func (r *mailRoute) report(envelope, to, action, status string) error {
	return r.receiver.Receive(r.t.Context(), testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: envelope,
		Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + to, Final: "rfc822;" + to, Action: action, Status: status}}}))
}

func oneLetter() gateway.Inbound {
	in := mailed("M1")
	in.Flags.ToPatient, in.Recipients = false, in.Recipients[:1]
	return in
}

// A report that comes while its absence is being written has the last word.
func TestReportAgainstNoReport(t *testing.T) {
	r := newMailRoute(t)
	id := r.accept(oneLetter()).Submission
	r.settle(r.d, id)
	l := r.first(id, "mss-pro")
	if l.State != gateway.Waiting {
		t.Fatalf("%s", l.State)
	}
	r.clock.Add(2 * r.d.Mail.ReportWait)
	real, meddling := r.Gateway.Journal, make(chan struct{})
	r.Gateway.Journal = &meddled{Journal: real, before: func() {
		defer close(meddling)
		events := []gateway.Event{{Submission: id, Step: gateway.EventDSN, Outcome: gateway.OutcomeFailed, Code: "MSS-NO-MAILBOX", Time: r.clock.Now()}}
		if err := real.Apply(t.Context(), gateway.Report{Key: "dsn", Delivery: l.ID, State: gateway.Failed, Code: "MSS-NO-MAILBOX", Events: events}); err != nil {
			t.Error(err)
		}
	}}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	done := make(chan struct{})
	go func() { r.d.Run(ctx); close(done) }()
	<-meddling
	stop()
	<-done // the absence was being written: it is over
	if got := r.first(id, "mss-pro"); got.State != gateway.Failed || got.Code != "MSS-NO-MAILBOX" {
		t.Errorf("%s %s", got.State, got.Code)
	}
}

// A failure of the round before, read just before a person has the letter begin
// again, does not end the new round.
func TestReportAgainstReplay(t *testing.T) {
	r := newMailRoute(t)
	r.post.answers = []gateway.Posted{{Err: fault.New("MSS-NO-MAILBOX"), Code: 550}}
	id := r.accept(oneLetter()).Submission
	r.settle(r.d, id)
	l := r.first(id, "mss-pro")
	r.Gateway.Journal = &meddled{Journal: r.Gateway.Journal, before: func() { must(t, r.replay(id, "mss-pro")) }}
	must(t, r.report(r.post.got[0].ID, l.Recipient, "failed", "5.1.1"))
	if got := r.first(id, "mss-pro"); got.State != gateway.Due || got.Round != 1 {
		t.Errorf("%s in round %d", got.State, got.Round)
	}
}

// A receipt about the answer to a mail that a person rejected is taken like
// another: it held up the whole mailbox.
func TestReceiptAboutARejection(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   func(to string, l gateway.Delivery) []byte
	}{
		{"ok/read receipt", func(to string, l gateway.Delivery) []byte {
			return testdata.MDN(testdata.MDNOptions{Return: testdata.Return{From: to, To: bal}, Recipient: to, OriginalMessageID: l.MessageID})
		}},
		{"ok/delivery report", func(to string, l gateway.Delivery) []byte {
			return testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: l.ID,
				Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + to, Final: "rfc822;" + to, Action: "failed"}}})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newMailRoute(t)
			other := testdata.Patients()[0]
			other.GivenNames = "CLAIRE ANNE"
			d, id := r.quarantined(testdata.LetterOptions{Document: testdata.CDAOptions{Patient: other}, WantMDN: true})
			must(t, d.Reject(t.Context(), id, "904", because))
			r.settle(r.d, id)
			l := r.first(id, gateway.DestinationMDN)
			before := len(r.outcomes(id))
			r.receive(tt.of(l.Recipient, l))
			if got := r.outcomes(id); len(got) != before+1 {
				t.Errorf("the timeline says %v", got)
			}
		})
	}
}

// An outdated A47 does not begin again once a later one was told.
func TestOutdatedA47(t *testing.T) {
	r, s := newLoweredRoute(t)
	s.fails = []error{fault.New("HL7-A47-REFUSED")}
	lower := func(id ins.Identity, control string) string {
		t.Helper()
		r.accept(adt(control, "A31", "IPP-1", id))
		p := held(t, r.Gateway, "IPP-1")
		_, err := r.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: p.ID,
			Event: ins.Event{Kind: ins.RemoveINS, Actor: ins.Actor{ID: "x"}}})
		must(t, err)
		all, err := r.Journal.Submissions(t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}, Door: gateway.DoorIdentity})
		must(t, err)
		return all[0].ID
	}
	first := lower(trois(), "ADT-1")
	r.settle(r.d, first)
	if got := r.first(first, gateway.DestinationA47).State; got != gateway.Failed {
		t.Fatalf("%s", got)
	}
	second := lower(identity(testdata.Patients()[0]), "ADT-2")
	now := r.clock.Now()
	_, err := r.Journal.Claim(t.Context(), gateway.DestinationA47, "h", now, now.Add(time.Hour), 1)
	must(t, err)
	if got := code(r.replay(first, gateway.DestinationA47)); got != gateway.FaultBusy {
		t.Errorf("while a later one is being told: %q", got)
	}
	must(t, r.Journal.Settle(t.Context(), gateway.Settlement{Delivery: r.first(second, gateway.DestinationA47).ID, Holder: "h", State: gateway.Due, Due: now}))
	r.settle(r.d, second)
	if got := code(r.replay(first, gateway.DestinationA47)); got != gateway.FaultIdentityLater {
		t.Errorf("after a later one was told: %q", got)
	}
}

// Without its register, a gateway tells nobody and gives nothing up.
func TestA47WaitsForTheRegister(t *testing.T) {
	r, s := newLoweredRoute(t)
	r.accept(adt("ADT-1", "A28", "IPP-1", trois()))
	p := held(t, r.Gateway, "IPP-1")
	_, err := r.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: p.ID,
		Event: ins.Event{Kind: ins.VerifyKO, Actor: ins.Actor{ID: "INSi"}}})
	must(t, err)
	id := r.identitySubmission().ID
	register := r.Gateway.Register
	r.Gateway.Register = nil
	r.settleFor(50 * time.Millisecond)
	if got := r.first(id, gateway.DestinationA47); got.State != gateway.Due || got.Attempts != 0 {
		t.Fatalf("%s after %d attempts", got.State, got.Attempts)
	}
	r.Gateway.Register = register
	r.settle(r.d, id)
	if len(s.got) != 1 || r.state(id) != gateway.Done {
		t.Errorf("%d told, %s", len(s.got), r.state(id))
	}
}

// racing is a register that lets two decisions be made of the same state.
type racing struct {
	gateway.Register
	mu      sync.Mutex
	waiting int
	both    chan struct{}
}

func (r *racing) Commit(ctx context.Context, c []gateway.PersonChange, e *gateway.Entry) error {
	r.mu.Lock()
	if r.waiting++; r.waiting == 2 {
		close(r.both)
	}
	r.mu.Unlock()
	<-r.both
	return r.Register.Commit(ctx, c, e)
}

// The first two ADT of one person, at once, from two applications with numbers of
// their own or without: one person. An INS that says nothing else makes no new
// person each time.
func TestFirstADTAtOnce(t *testing.T) {
	numbered := func(n int) gateway.Inbound {
		in := adt(fmt.Sprint("A-", n), "A28", "", trois())
		in.Patient.Local = []ins.LocalID{{Value: "N", Authority: fmt.Sprint("1.2.", n)}}
		return in
	}
	unnumbered := func(n int) gateway.Inbound { return adt(fmt.Sprint("A-", n), "A28", "", trois()) }
	for _, tt := range []struct {
		name    string
		message func(int) gateway.Inbound
		numbers int
	}{{"ok/two authorities", numbered, 2}, {"ok/no number", unnumbered, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
			register := h.Register
			h.Register = &racing{Register: register, both: make(chan struct{})}
			var wg sync.WaitGroup
			for n := range 2 {
				wg.Go(func() {
					if d := h.Accept(t.Context(), tt.message(n), receipt); d.Outcome != gateway.Noted {
						t.Errorf("%s %+v", d.Outcome, d.Faults)
					}
				})
			}
			wg.Wait()
			all := underTrois(t, register)
			if len(all) != 1 || len(all[0].Record.Identity.Local) != tt.numbers {
				t.Fatalf("%d people: %+v", len(all), all)
			}
		})
	}
	t.Run("fail/no number, other traits", func(t *testing.T) {
		h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
		h.accept(unnumbered(0))
		other := trois()
		other.Traits.BirthName = "AUTRE"
		for n := range 3 {
			d := h.accept(adt(fmt.Sprint("B-", n), "A31", "", other))
			events, err := h.Journal.Events(t.Context(), d.Submission, 0)
			must(t, err)
			if d.Outcome != gateway.Noted || !slices.ContainsFunc(events, func(e gateway.Event) bool { return e.Code == gateway.FaultIdentityNoNumber }) {
				t.Errorf("%s %+v", d.Outcome, events)
			}
		}
		if all := underTrois(t, h.Register); len(all) != 1 {
			t.Errorf("%d people", len(all))
		}
	})
}

func underTrois(t *testing.T, r gateway.Register) []gateway.Person {
	t.Helper()
	all, err := r.Search(t.Context(), house1.FINESSEJ, ins.Query{INS: ins.Pair{Matricule: trois().Matricule, OID: trois().OID}})
	must(t, err)
	return all
}
