package gateway_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// untrusted is a legal entity whose ADT teach nothing.
const untrusted = "990000044"

var dpi = gateway.Party{Application: "DPI", Facility: "CH"}

// withRegister gives a house its identities; its ADT are trusted, and the
// application told of what is lowered is not the one that sends them.
func withRegister(t *testing.T, g *gateway.Gateway) {
	t.Helper()
	keys, err := journal.ParseKeys([]byte("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Journal.(*journal.Journal).Register(t.Context(), keys, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g.Register = r
	g.Identity = gateway.IdentitySettings{
		Rules:    ins.Rules{Assertions: true},
		TrustADT: func(e gateway.Establishment) bool { return e.FINESSEJ != untrusted },
		Software: func(gateway.Establishment) (gateway.Party, bool) { return gateway.Party{Application: "RANGE"}, true },
	}
}

// adt is an ADT of one patient under one local number.
func adt(control, event, ipp string, id ins.Identity) gateway.Inbound {
	in := admission(control, "NA", "")
	in.Message.Type, in.Patient = "ADT^"+event, id
	if ipp != "" {
		in.Patient.Local = []ins.LocalID{{Value: ipp, Authority: "1.2.3"}}
	}
	return in
}

func trois() ins.Identity { return identity(testdata.PatientByID(testdata.PatientTrois)) }

func held(t *testing.T, g *gateway.Gateway, ipp string) gateway.Person {
	t.Helper()
	return heldBy(t, g, house1.FINESSEJ, ipp)
}

func heldBy(t *testing.T, g *gateway.Gateway, finessEJ, ipp string) gateway.Person {
	t.Helper()
	all, err := g.Register.Known(t.Context(), finessEJ, []ins.LocalID{{Value: ipp, Authority: "1.2.3"}})
	if err != nil || len(all) > 1 {
		t.Fatalf("%d people have %s, %v", len(all), ipp, err)
	}
	if len(all) == 0 {
		return gateway.Person{}
	}
	return all[0]
}

func TestADTTeaches(t *testing.T) {
	as := func(s ins.Status, attributes ...string) ins.Identity {
		id := trois()
		id.Status, id.Attributes = s, attributes
		return id
	}
	noINS := func(s ins.Status) ins.Identity {
		id := trois().WithoutINS()
		id.Status = s
		return id
	}
	renamed := as(ins.Qualified)
	renamed.Traits.BirthName = "PAT-QUATRE"
	production := as(ins.Qualified)
	production.OID = ins.OIDNIR
	badKey := production
	badKey.Matricule = "279035121518988"
	incomplete := as(ins.Qualified)
	incomplete.Traits.BirthPlace = ""
	nameless := as(ins.Qualified)
	nameless.Traits.BirthName = ""
	corrected := func(in *gateway.Inbound) { in.DateCorrected = true }
	prior := func(id ins.Identity, ipp string) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) {
			id.Local = nil
			if ipp != "" {
				id.Local = []ins.LocalID{{Value: ipp, Authority: "1.2.3"}}
			}
			in.Prior = &id
		}
	}
	type step struct {
		event, ipp string
		id         ins.Identity
		change     func(*gateway.Inbound)
	}
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	for n, c := range []struct {
		name   string
		adt    []step
		want   ins.Status // of IPP-1; empty: nobody
		ins    bool
		warned string // in the timeline of the last one
	}{
		{name: "ok/vali-with-ins", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}}, want: ins.Qualified, ins: true},
		{name: "ok/vali-without-ins", adt: []step{{"A28", "IPP-1", noINS(ins.Validated), nil}}, want: ins.Validated},
		{name: "ok/ins-without-vali", adt: []step{{"A28", "IPP-1", as(ins.Provisional), nil}}, want: ins.Provisional},
		{name: "ok/doubtful", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A31", "IPP-1", as(ins.Provisional, "DOUT"), nil}}, want: ins.Provisional},
		{name: "ok/doubt-lifted", adt: []step{{"A28", "IPP-1", as(ins.Provisional, "DOUT"), nil}, {"A31", "IPP-1", as(ins.Qualified), nil}}, want: ins.Qualified, ins: true},
		{name: "ok/lowered-by-the-next", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A31", "IPP-1", noINS(ins.Validated), nil}}, want: ins.Validated},
		{name: "ok/traits-changed", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A31", "IPP-1", renamed, nil}}, want: ins.Qualified, ins: true},
		{name: "ok/corrected-date-bars-the-ins", adt: []step{{"A28", "IPP-1", as(ins.Qualified), corrected}}, want: ins.Validated},
		{name: "ok/bad-key-is-vali", adt: []step{{"A28", "IPP-1", badKey, nil}}, want: ins.Validated},
		{name: "ok/incomplete-is-vali", adt: []step{{"A28", "IPP-1", incomplete, nil}}, want: ins.Validated},
		{name: "ok/a47-withdraws", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A47", "IPP-1", noINS(ins.Provisional), prior(trois(), "")}}, want: ins.Provisional},
		{name: "ok/a47-without-local-number", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A47", "", noINS(ins.Provisional), prior(trois(), "")}}, want: ins.Provisional},
		{name: "ok/a40-absorbs", adt: []step{{"A28", "IPP-2", as(ins.Qualified), nil}, {"A40", "IPP-1", as(ins.Qualified), prior(ins.Identity{}, "IPP-2")}}, want: ins.Qualified, ins: true},
		{name: "fail/nothing-to-find-it-by", adt: []step{{"A28", "", noINS(ins.Validated), nil}}},
		{name: "fail/no-name", adt: []step{{"A28", "IPP-1", nameless, nil}}, warned: ins.FaultIncomplete},
		{name: "fail/two-people-named", adt: []step{{"A28", "IPP-1", as(ins.Qualified), nil}, {"A28", "IPP-2", noINS(ins.Provisional), nil},
			{"A31", "IPP-1", as(ins.Provisional), func(in *gateway.Inbound) {
				in.Patient.Local = append(in.Patient.Local, ins.LocalID{Value: "IPP-2", Authority: "1.2.3"})
			}}}, want: ins.Qualified, ins: true, warned: gateway.FaultIdentityTwo},
		{name: "fail/of-a-house-that-is-not-trusted", adt: []step{{"A28", "IPP-1", as(ins.Qualified), func(in *gateway.Inbound) { in.Establishment.FINESSEJ = untrusted }}}},
		{name: "fail/not-an-adt", adt: []step{{"A28", "IPP-1", as(ins.Qualified), func(in *gateway.Inbound) { in.Message.Type = "ORU^R01" }}}},
		{name: "fail/not-by-hl7", adt: []step{{"A28", "IPP-1", as(ins.Qualified), func(in *gateway.Inbound) { in.Door = "rest" }}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			house := fmt.Sprintf("99001%04d", n) // each case in a legal entity of its own
			last := ""
			for i, s := range c.adt {
				in := adt(fmt.Sprint("ADT-", n, "-", i), s.event, s.ipp, s.id)
				in.Establishment.FINESSEJ = house
				if s.change != nil {
					s.change(&in)
				}
				d := h.accept(in)
				if d.Outcome != gateway.Noted {
					t.Fatalf("%s %+v", d.Outcome, d.Faults)
				}
				last = d.Submission
			}
			p := heldBy(t, h.Gateway, house, "IPP-1")
			if id := p.Record.Identity; id.Status != c.want || id.HasINS() != c.ins {
				t.Errorf("held as %q, INS %v", id.Status, id.HasINS())
			}
			if learned := heldBy(t, h.Gateway, untrusted, "IPP-1"); learned.ID != "" {
				t.Error("an ADT that is not trusted taught an identity")
			}
			if err := p.Record.Check(); p.ID != "" && err != nil {
				t.Error(err)
			}
			events, err := h.Journal.Events(t.Context(), last, 0)
			if err != nil {
				t.Fatal(err)
			}
			warned := slices.ContainsFunc(events, func(e gateway.Event) bool { return e.Code == c.warned })
			if c.warned != "" && !warned {
				t.Errorf("no %s in %+v", c.warned, events)
			}
		})
	}
}

// The evidence of what an ADT taught is that ADT; what says nothing new changes
// nothing; evidence of our own outlives the silence of the other register.
func TestADTEvidence(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	h.accept(adt("C-1", "A28", "IPP-1", trois()))
	h.accept(adt("C-2", "A31", "IPP-1", trois()))
	p := held(t, h.Gateway, "IPP-1")
	if p.Version != 1 || p.Record.Trace == nil || p.Record.Trace.Channel != ins.ChannelADT || !strings.Contains(p.Record.Trace.MessageID, "C-1") {
		t.Fatalf("version %d, %+v", p.Version, p.Record.Trace)
	}
	history, err := h.Register.History(t.Context(), house1.FINESSEJ, p.ID)
	if err != nil || len(history) != 1 || history[0].Entry.Event.Actor.ID != "DPI|CH" {
		t.Fatalf("%+v, %v", history, err)
	}

	x := gateway.INSiExchange{MessageID: "uuid:1", Establishment: house1, Operation: "WS_INS2", At: h.clock.Now(), Result: ins.Found}
	if err := h.Register.KeepINSi(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	trace := &ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:1", Result: ins.Found, INS: p.Record.Trace.INS, Traits: trois().Traits, At: x.At}
	officer := ins.Actor{ID: "899900000001", Human: true, Entitled: true}
	if _, err := h.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: p.ID,
		Event: ins.Event{Kind: ins.Retrieve, Actor: officer, Trace: trace, Proof: &ins.Proof{Device: "CN"}}}); err != nil {
		t.Fatal(err)
	}
	silent := trois().WithoutINS()
	silent.Status = ins.Provisional
	h.accept(adt("C-3", "A31", "IPP-1", silent))
	if got := held(t, h.Gateway, "IPP-1"); got.Record.Identity.Status != ins.Qualified || got.Record.Trace.Channel != ins.ChannelINSi {
		t.Errorf("%s by %+v", got.Record.Identity.Status, got.Record.Trace)
	}

	for _, c := range []struct {
		name string
		e    gateway.IdentityEvent
		code string
	}{
		{"fail/an-answer-that-was-not-kept", gateway.IdentityEvent{Establishment: house1, Person: p.ID, Event: ins.Event{Kind: ins.Retrieve, Actor: officer,
			Trace: &ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:2", Result: ins.Found, INS: trace.INS, Traits: trace.Traits}}}, gateway.FaultIdentityTrace},
		{"fail/a-batch-controls", gateway.IdentityEvent{Establishment: house1, Person: p.ID, Event: ins.Event{Kind: ins.Control, Actor: ins.Actor{ID: "lot"}}}, ins.FaultActor},
		{"fail/a-local-number-that-is-taken", gateway.IdentityEvent{Establishment: house1, Event: ins.Event{Kind: ins.Create, Actor: officer, Traits: &trace.Traits},
			Local: []ins.LocalID{{Value: "IPP-1", Authority: "1.2.3"}}}, gateway.FaultIdentityTwo},
		{"ok/created", gateway.IdentityEvent{Establishment: house1, Event: ins.Event{Kind: ins.Create, Actor: officer, Traits: &trace.Traits}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.ApplyIdentity(t.Context(), c.e)
			if c.code == "" && err != nil || c.code != "" && (err == nil || fault.From(err).Code != c.code) {
				t.Fatalf("%v", err)
			}
		})
	}
	t.Run("fail/no-register", func(t *testing.T) {
		_, err := newHouse(t, nil).ApplyIdentity(t.Context(), gateway.IdentityEvent{})
		if fault.From(err).Code != gateway.FaultNoRegister {
			t.Fatalf("%v", err)
		}
	})
	t.Run("fail/nobody", func(t *testing.T) {
		_, err := h.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: "x", Event: ins.Event{Kind: ins.VerifyKO, Actor: officer}})
		if !errors.Is(err, gateway.ErrNotFound) {
			t.Fatalf("%v", err)
		}
	})
}

// What leaves is compared inside its own message only, whatever was learned of
// the same number and the same INS.
func TestOutboundIsNeverComparedWithWhatWasLearned(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	in := inbound("OUT-1", testdata.CDAOptions{})
	other := in.Patient
	other.Traits.BirthName, other.Traits.FirstGiven, other.Traits.GivenNames = "AUTRE", "NOM", "NOM"
	h.accept(adt("ADT-1", "A28", "IPP-1", other))
	in.Patient.Local = []ins.LocalID{{Value: "IPP-1", Authority: "1.2.3"}}
	if d := h.accept(in); d.Outcome != gateway.Accepted || len(d.Warnings) > 0 {
		t.Fatalf("%s %+v %+v", d.Outcome, d.Faults, d.Warnings)
	}
	if p := held(t, h.Gateway, "IPP-1"); p.Record.Identity.Traits.BirthName != "AUTRE" {
		t.Error("a document's message taught an identity")
	}
}

// An ADT whose identity cannot be kept is not acknowledged, and nothing of it is
// kept.
func TestADTIsKeptWholeOrNotAtAll(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	g := *h.Gateway
	g.Register = refusing{h.Register}
	d := g.Accept(t.Context(), adt("ADT-1", "A28", "IPP-1", trois()), receipt)
	if d.Outcome != gateway.Unavailable {
		t.Fatalf("%s", d.Outcome)
	}
	all, err := h.Journal.Submissions(t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}})
	if err != nil || len(all) != 0 || held(t, h.Gateway, "IPP-1").ID != "" {
		t.Fatalf("%d submissions, %v", len(all), err)
	}
}

// refusing is a register whose disk is full.
type refusing struct{ gateway.Register }

func (refusing) Commit(context.Context, []gateway.PersonChange, *gateway.Entry) error {
	return fault.New("GW-DISK-FULL")
}

// Two at once on one person, and two first ADT of one person at once: one person,
// both told, no change lost.
func TestIdentitiesAtOnce(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if d := h.Accept(t.Context(), adt(fmt.Sprint("A-", i), "A28", "IPP-1", trois()), receipt); d.Outcome != gateway.Noted {
				t.Errorf("%s %+v", d.Outcome, d.Faults)
			}
		})
	}
	wg.Wait()
	p := held(t, h.Gateway, "IPP-1")
	if p.Version != 1 {
		t.Fatalf("version %d", p.Version)
	}
	marks := []string{"HOMA", "DPOT", "COLP", "FILI"}
	for _, a := range marks {
		wg.Go(func() {
			e := gateway.IdentityEvent{Establishment: house1, Person: p.ID, Event: ins.Event{Kind: ins.Mark, Actor: ins.Actor{ID: "x"}, Attribute: a}}
			if _, err := h.ApplyIdentity(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := held(t, h.Gateway, "IPP-1"); len(got.Record.Identity.Attributes) != len(marks) || got.Version != int64(1+len(marks)) {
		t.Errorf("version %d, %v", got.Version, got.Record.Identity.Attributes)
	}
}

// listener is the application that is told of lowered identities.
type listener struct {
	mu    sync.Mutex
	got   []gateway.IdentityNotice
	fails []error
}

func (s *listener) Lowered(_ context.Context, n gateway.IdentityNotice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, n)
	if len(s.fails) == 0 {
		return nil
	}
	err := s.fails[0]
	s.fails = s.fails[1:]
	return err
}

func newLoweredRoute(t *testing.T) (*route, *listener) {
	r := newRoute(t)
	withRegister(t, r.Gateway)
	s := &listener{}
	r.d.Downstream = s
	return r, s
}

// identitySubmission is the one that an event of an identity made.
func (r *route) identitySubmission() gateway.Submission {
	r.t.Helper()
	all, err := r.Journal.Submissions(r.t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}, Door: gateway.DoorIdentity})
	if err != nil || len(all) != 1 {
		r.t.Fatalf("%d submissions of identities, %v", len(all), err)
	}
	return all[0]
}

// A lowered identity is told until it is acknowledged, always under the same
// MSH-10 and with the same content, whatever happened since.
func TestLoweredIsTold(t *testing.T) {
	r, s := newLoweredRoute(t)
	s.fails = []error{fault.New("HL7-A47-SILENT"), fault.New("HL7-A47-BUSY")}
	r.accept(adt("ADT-1", "A28", "IPP-1", trois()))
	p := held(t, r.Gateway, "IPP-1")
	ko := gateway.IdentityEvent{Establishment: house1, Person: p.ID, Event: ins.Event{Kind: ins.VerifyKO, Actor: ins.Actor{ID: "INSi"}}}
	c, err := r.ApplyIdentity(t.Context(), ko)
	if err != nil || c.Person.Record.Identity.Status != ins.Validated {
		t.Fatalf("%+v, %v", c.Entry, err)
	}
	sub := r.identitySubmission()
	r.accept(adt("ADT-2", "A31", "IPP-1", trois())) // qualified again before it was told
	r.settle(r.d, sub.ID)
	if len(s.got) != 3 {
		t.Fatalf("%d A47", len(s.got))
	}
	for _, n := range s.got {
		if n.ControlID != s.got[0].ControlID || n.ControlID == "" || !n.Composed.Equal(s.got[0].Composed) ||
			n.Old.Matricule != trois().Matricule || n.Patient.HasINS() || n.Patient.Status != ins.Validated || len(n.Patient.Local) != 1 {
			t.Errorf("%+v", n)
		}
	}
	if got := r.state(sub.ID); got != gateway.Done {
		t.Errorf("state %s", got)
	}
	if got := strings.Join(r.outcomes(sub.ID), ", "); got != "identity retry, identity retry, identity ok" {
		t.Errorf("%s", got)
	}
	// Neither envelope nor delivery says whom it is about.
	full, _, err := r.Journal.Submission(t.Context(), sub.ID)
	if err != nil || strings.Contains(fmt.Sprintf("%+v %s", full, full.Envelope), trois().Matricule) {
		t.Errorf("the submission names the patient: %+v, %v", full, err)
	}
	if _, err := r.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: p.ID,
		Event: ins.Event{Kind: ins.Mark, Actor: ins.Actor{ID: "x"}, Attribute: "HOMA"}}); err != nil {
		t.Fatal(err)
	}
	r.identitySubmission() // a mark lowers nothing: no second one
}

func TestLoweredByAnADT(t *testing.T) {
	lowering := trois().WithoutINS()
	lowering.Status = ins.Provisional
	for _, c := range []struct {
		name   string
		change func(*gateway.Gateway)
		told   int
	}{
		{"ok/another-application-is-told", func(*gateway.Gateway) {}, 1},
		{"fail/who-said-it-is-not", func(g *gateway.Gateway) {
			g.Identity.Software = func(gateway.Establishment) (gateway.Party, bool) { return dpi, true }
		}, 0},
		{"fail/nobody-to-tell", func(g *gateway.Gateway) {
			g.Identity.Software = func(gateway.Establishment) (gateway.Party, bool) { return gateway.Party{}, false }
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, s := newLoweredRoute(t)
			c.change(r.Gateway)
			r.accept(adt("ADT-1", "A28", "IPP-1", trois()))
			d := r.accept(adt("ADT-2", "A31", "IPP-1", lowering))
			r.settle(r.d, d.Submission)
			if len(s.got) != c.told {
				t.Fatalf("%d A47", len(s.got))
			}
			if got := r.state(d.Submission); c.told == 1 && got != gateway.Done || c.told == 0 && got != gateway.Kept {
				t.Errorf("state %s", got)
			}
		})
	}
}

// Two A47 about one person are told in their order, even when the first has to
// wait; another person's does not wait for them.
func TestLoweredInOrder(t *testing.T) {
	r, s := newLoweredRoute(t)
	s.fails = []error{fault.New("HL7-A47-BUSY")}
	another := identity(testdata.Patients()[0])
	r.accept(adt("ADT-1", "A28", "IPP-1", trois()))
	lower := func() {
		t.Helper()
		p := held(t, r.Gateway, "IPP-1")
		if _, err := r.ApplyIdentity(t.Context(), gateway.IdentityEvent{Establishment: house1, Person: p.ID,
			Event: ins.Event{Kind: ins.RemoveINS, Actor: ins.Actor{ID: "x"}}}); err != nil {
			t.Fatal(err)
		}
	}
	lower()
	r.accept(adt("ADT-2", "A31", "IPP-1", another))
	lower()
	all, err := r.Journal.Submissions(t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}, Door: gateway.DoorIdentity})
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	r.settle(r.d, all[0].ID, all[1].ID)
	var old []string
	for _, n := range s.got {
		old = append(old, n.Old.Matricule)
	}
	if want := []string{trois().Matricule, trois().Matricule, another.Matricule}; !slices.Equal(old, want) {
		t.Errorf("told %v", old)
	}
}

// A person who must decide is shown those who resemble, of both sources.
func TestCandidatesThatResemble(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	who := trois()
	sibling, near := who, who.WithoutINS()
	sibling.Traits.FirstGiven, sibling.Traits.GivenNames, sibling.Matricule = "CAMILLE", "CAMILLE", testdata.Patients()[0].Matricule
	near.Traits.BirthName = "PAT-TROIX"
	h.accept(adt("1", "A28", "IPP-1", sibling))
	all, err := gateway.Held{Register: h.Register, File: candidates{{Identity: near}}}.Candidates(t.Context(), house1.FINESSEJ, who)
	if err != nil || len(all) != 2 || all[0].Identity.Traits != near.Traits || all[1].Identity.Traits != sibling.Traits {
		t.Fatalf("%d, %v", len(all), err)
	}
}

// Received mail is filed under whom the register or the file holds, exactly; the
// register has the last word on a number that both know.
func TestFilingUnderTheRegister(t *testing.T) {
	who := identity(testdata.Patients()[0])
	withIPP := func(id ins.Identity, ipp string) ins.Candidate {
		id.Local = []ins.LocalID{{Value: ipp, Authority: "1.2.3"}}
		return ins.Candidate{Identity: id}
	}
	doubtful := who
	doubtful.Status, doubtful.Attributes = ins.Provisional, []string{"DOUT"}
	twin := who
	twin.Traits.FirstGiven, twin.Traits.GivenNames, twin.Matricule = "CAMILLE", "CAMILLE", trois().Matricule
	differs := who
	differs.Traits.GivenNames += " X"
	for _, c := range []struct {
		name string
		file candidates
		adt  []gateway.Inbound
		code string // empty: filed
	}{
		{name: "ok/register-alone", adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who)}},
		{name: "ok/file-alone", file: candidates{withIPP(who, "IPP-1")}},
		{name: "ok/both-know-the-same", file: candidates{withIPP(who, "IPP-1")}, adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who)}},
		{name: "ok/both-know-it-by-numbers-of-two-authorities", file: candidates{{Identity: who}}, adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who)}},
		{name: "ok/a-twin-beside", adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who), adt("2", "A28", "IPP-2", twin)}},
		{name: "fail/nobody", code: ins.FaultUnknown},
		{name: "fail/not-qualified", adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who), adt("2", "A31", "IPP-1", doubtful)}, code: ins.FaultFormer},
		{name: "fail/the-file-is-behind", file: candidates{withIPP(who, "IPP-1")}, adt: []gateway.Inbound{adt("1", "A28", "IPP-1", doubtful)}, code: ins.FaultUnknown},
		{name: "fail/the-file-is-behind-under-another-number", file: candidates{{Identity: who}},
			adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who), adt("2", "A31", "IPP-1", doubtful)}, code: ins.FaultFormer},
		{name: "fail/a-trait-differs", adt: []gateway.Inbound{adt("1", "A28", "IPP-1", differs)}, code: ins.FaultMismatch},
		{name: "fail/two-records-of-one-house", adt: []gateway.Inbound{adt("1", "A28", "IPP-1", who), adt("2", "A28", "IPP-2", who)}, code: ins.FaultDuplicate},
		{name: "fail/two-records-of-two-sources", file: candidates{withIPP(who, "IPP-1")}, adt: []gateway.Inbound{adt("1", "A28", "IPP-2", who)}, code: ins.FaultDuplicate},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newMailRoute(t)
			withRegister(t, r.Gateway)
			r.receiver.Identities = gateway.Held{Register: r.Register, File: c.file}
			for _, in := range c.adt {
				r.accept(in)
			}
			r.receive(delivered(testdata.LetterOptions{To: bal}))
			all := r.incoming()
			if len(all) != 1 {
				t.Fatalf("%+v", all)
			}
			if got := all[0]; c.code == "" && got.State != gateway.Pending || c.code != "" && (got.State != gateway.Quarantined || got.Code != c.code) {
				t.Fatalf("%s %s", got.State, got.Code)
			}
			if c.code != "" {
				return
			}
			r.settle(r.d, all[0].ID)
			if len(r.app.got) != 1 || r.app.got[0].Patient.Matricule != who.Matricule || r.app.got[0].Action != dmp.New {
				t.Errorf("%d filed", len(r.app.got))
			}
		})
	}
}

// A merge loses nothing of the record that it absorbs: the INS that it had leads
// a letter to the record that survives, for a person to decide, and the timeline
// says that the answer about the DMP is now that of both. Found by the audit of
// issue 6, 2026-11-22.
func TestMergeKeepsWhatTheAbsorbedRecordHad(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { withRegister(t, g) })
	absorbed := adt("MK-1", "A28", "IPP-2", trois())
	absorbed.Consent = &gateway.Consent{Feeding: gateway.Opposed}
	h.accept(absorbed)
	merge := adt("MK-2", "A40", "IPP-1", trois().WithoutINS())
	merge.Prior = &ins.Identity{Local: []ins.LocalID{{Value: "IPP-2", Authority: "1.2.3"}}}
	d := h.accept(merge)
	survivor := held(t, h.Gateway, "IPP-1")
	if had := survivor.Record.Former; !slices.Equal(had, []ins.Pair{{Matricule: trois().Matricule, OID: trois().OID}}) {
		t.Errorf("%d former INS", len(had))
	}
	found, err := gateway.Held{Register: h.Register, File: candidates(nil)}.Candidates(t.Context(), house1.FINESSEJ, trois())
	if err != nil {
		t.Fatal(err)
	}
	f := ins.Policy{}.File(trois(), found)
	if f.Code != ins.FaultFormer || len(f.Candidates) != 1 || !slices.Contains(found[f.Candidates[0]].Identity.Local, ins.LocalID{Value: "IPP-1", Authority: "1.2.3"}) {
		t.Errorf("%s, %d candidates", f.Code, len(f.Candidates))
	}
	events, err := h.Journal.Events(t.Context(), d.Submission, 0)
	if err != nil || !slices.ContainsFunc(events, func(e gateway.Event) bool { return e.Code == gateway.FaultConsentMerged }) {
		t.Errorf("the answer that follows the merge is not in the timeline: %+v, %v", events, err)
	}
}
