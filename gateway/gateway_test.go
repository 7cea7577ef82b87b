package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// house is a gateway on a real journal, with a clock that a test moves.
type house struct {
	*gateway.Gateway
	t     *testing.T
	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var ids atomic.Int64

func newHouse(t *testing.T, change func(*gateway.Gateway)) *house {
	t.Helper()
	h := &house{t: t, clock: &clock{now: time.Date(2026, 1, 5, 9, 30, 0, 0, time.UTC)}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	j, err := journal.Open(t.Context(), journal.Config{Dir: t.TempDir(), Clock: h.clock.Now, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	h.Gateway = &gateway.Gateway{
		Journal: j, Rules: "test", StayKey: bytes.Repeat([]byte{7}, 32), Clock: h.clock.Now, Log: log, Alarms: &gateway.Alarms{},
		NewID:    func() string { return fmt.Sprintf("id-%06d", ids.Add(1)) },
		Settings: gateway.Settings{Environment: ins.Sandbox, CDA: "blocking", PDFA: "warn", Duplicates: "warn", Mail: true},
	}
	if change != nil {
		change(h.Gateway)
	}
	return h
}

// receipt renders what a door would answer, so that a test can see it replayed.
func receipt(d gateway.Decision) []byte {
	s := string(d.Outcome) + " " + d.Submission
	for _, f := range d.Faults {
		s += " " + f.Code
	}
	return []byte(s)
}

func identity(p testdata.Patient) ins.Identity {
	id := ins.Identity{
		Matricule: p.Matricule, Status: ins.Status(p.Status),
		Traits: ins.Traits{
			BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames,
			BirthDate: p.BirthDate, Sex: p.Sex, BirthPlace: p.BirthPlace,
		},
	}
	if p.Matricule != "" {
		id.OID = ins.OID(p.OID)
	}
	return id
}

var house1 = gateway.Establishment{Name: "CH", FINESSEJ: "990000010", FINESSGeo: "990000028", SourceOID: "1.2.3"}

// inbound is an ordinary message: one new document, to the DMP, outcome wanted.
func inbound(control string, o testdata.CDAOptions) gateway.Inbound {
	p := o.Patient
	if p.ID == "" {
		p = testdata.Patients()[0]
	}
	content := testdata.CDA(o)
	return gateway.Inbound{
		Door: "hl7", Establishment: house1, From: gateway.Party{Application: "DPI", Facility: "CH"},
		Message: gateway.Message{Type: "MDM^T02", ControlID: control, Version: "2.6", Processing: "T", To: gateway.Party{Application: "PFI", Facility: "CH"}},
		Raw:     append([]byte("raw of "+control+"\x00"), content...), Action: dmp.New, Patient: identity(p),
		Visit:     gateway.Visit{Class: "I", Number: "VEN1"},
		Flags:     gateway.Flags{ToDMP: true, WantReception: true},
		Documents: []gateway.InboundDocument{{Where: "OBX^1^5", Content: content}},
		Requester: &dmp.Requester{Person: &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "819990000010"}}},
	}
}

func (h *house) accept(in gateway.Inbound) gateway.Decision {
	h.t.Helper()
	d := h.Accept(h.t.Context(), in, receipt)
	if len(d.Receipt) == 0 {
		h.t.Fatal("a decision without a receipt: the door would stay silent")
	}
	return d
}

func TestAccept(t *testing.T) {
	trois := testdata.PatientByID(testdata.PatientTrois)
	noINS := testdata.PatientByID(testdata.PatientNoINS)
	retrieved := testdata.PatientByID(testdata.PatientRetrieved)
	tests := []struct {
		name    string
		doc     testdata.CDAOptions
		change  func(*gateway.Inbound)
		gateway func(*gateway.Gateway)
		code    string // first refusal; empty: accepted
		app     string // ERR-5
		warning string
	}{
		{name: "ok/level 1"},
		{name: "ok/level 3", doc: testdata.CDAOptions{Level: 3}},
		{name: "ok/professional mail without INS", doc: testdata.CDAOptions{Patient: noINS, NoINS: true},
			change: func(in *gateway.Inbound) { in.Flags = gateway.Flags{ToProfessionals: true} }},
		{name: "ok/nothing asked is kept and said", change: func(in *gateway.Inbound) { in.Flags = gateway.Flags{} }, warning: gateway.FaultNoDestination},
		{name: "ok/given names that differ are a warning", change: func(in *gateway.Inbound) { in.Patient.Traits.GivenNames = "CLAIRE" }, warning: ins.FaultTraitDiffers},
		{name: "ok/id with extension waits for the DMP to fail", doc: testdata.CDAOptions{ID: testdata.DocumentID(9) + "^A1"}, warning: "CDA-ID-EXTENSION"},
		{name: "ok/target unknown to us: the DMP decides", doc: testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)},
			change: func(in *gateway.Inbound) { in.Action = dmp.Replace }, warning: gateway.FaultUnknownTarget},
		{name: "ok/mail without an operator is said", change: func(in *gateway.Inbound) { in.Flags.ToProfessionals = true },
			gateway: func(g *gateway.Gateway) { g.Settings.Mail = false }, warning: gateway.FaultNoMail},

		{name: "fail/what the door could not read", change: func(in *gateway.Inbound) { in.Refusals = []error{fault.New(gateway.FaultMethod)} }, code: gateway.FaultMethod, app: "906"},
		{name: "fail/not a CDA", change: func(in *gateway.Inbound) { in.Documents[0].Content = []byte("une phrase") }, code: "CDA-XML"},
		{name: "fail/DTD", change: func(in *gateway.Inbound) {
			in.Documents[0].Content = append([]byte(`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>`), in.Documents[0].Content...)
		}, code: "CDA-ENTITY-EXTERNAL"},
		{name: "fail/readability comes before flags", change: func(in *gateway.Inbound) {
			in.Documents[0].Content = []byte("une phrase")
			in.Refusals, in.FlagRefusals = []error{fault.New(gateway.FaultMethod)}, 1
		}, code: "CDA-XML"},
		{name: "fail/the same document twice", change: func(in *gateway.Inbound) { in.Documents = append(in.Documents, in.Documents[0]) }, code: gateway.FaultSameDocument, app: "906"},
		{name: "fail/type of the message is not that of the document", change: func(in *gateway.Inbound) { in.Documents[0].Type.Code = "18748-4" }, code: gateway.FaultTypeMismatch, app: "906"},
		{name: "fail/id of the message is not that of the document", change: func(in *gateway.Inbound) { in.Documents[0].ID = &dmp.ID{Root: "1.2.3"} }, code: gateway.FaultIDMismatch, app: "906"},
		{name: "fail/replacement of nothing", change: func(in *gateway.Inbound) { in.Action = dmp.Replace }, code: gateway.FaultReplacesMissing, app: "906"},
		{name: "fail/replacement of something else", doc: testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)},
			change: func(in *gateway.Inbound) {
				in.Action, in.Documents[0].Replaces = dmp.Replace, &dmp.ID{Root: "1.2.3"}
			}, code: gateway.FaultReplacesMismatch, app: "906"},
		{name: "fail/strict targets", doc: testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)},
			change: func(in *gateway.Inbound) { in.Action = dmp.Replace }, gateway: func(g *gateway.Gateway) { g.Settings.StrictTargets = true },
			code: gateway.FaultUnknownTarget, app: "900"},
		{name: "fail/no sender for the DMP", change: func(in *gateway.Inbound) { in.Requester = nil }, code: gateway.FaultNoSender},
		{name: "fail/document of another patient", change: func(in *gateway.Inbound) { in.Patient = identity(trois) }, code: ins.FaultMismatch, app: "904"},
		{name: "fail/birth name differs", change: func(in *gateway.Inbound) { in.Patient.Traits.BirthName = "VALADIERE" }, code: ins.FaultMismatch, app: "904"},
		{name: "fail/sex differs", change: func(in *gateway.Inbound) { in.Patient.Traits.Sex = "M" }, code: ins.FaultMismatch, app: "904"},
		{name: "fail/no INS for the DMP", doc: testdata.CDAOptions{Patient: noINS, NoINS: true}, code: ins.FaultAbsent, app: "903"},
		{name: "fail/INS of the document, none vouched by the message", change: func(in *gateway.Inbound) { in.Patient = in.Patient.WithoutINS() }, code: ins.FaultNotQualified, app: "905"},
		{name: "fail/retrieved is not qualified", doc: testdata.CDAOptions{Patient: retrieved}, code: ins.FaultNotQualified, app: "905"},
		{name: "fail/doubtful identity", change: func(in *gateway.Inbound) { in.Patient.Attributes = []string{"DOUT"} }, code: ins.FaultNotQualified, app: "905"},
		{name: "fail/professional mail with a matricule that is not qualified", doc: testdata.CDAOptions{Patient: retrieved},
			change: func(in *gateway.Inbound) { in.Flags = gateway.Flags{ToProfessionals: true} }, code: ins.FaultNotQualified, app: "905"},
		{name: "fail/test identity in production", gateway: func(g *gateway.Gateway) { g.Settings.Environment = ins.Production }, code: ins.FaultTestOID},
		{name: "fail/strict about PDF/A", doc: testdata.CDAOptions{PDF: []byte("%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\n%%EOF\n")},
			gateway: func(g *gateway.Gateway) { g.Settings.PDFA = "require" }, code: "CDA-PDFA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, tt.gateway)
			in := inbound("M1", tt.doc)
			if tt.change != nil {
				tt.change(&in)
			}
			d := h.accept(in)
			if tt.code == "" {
				if d.Outcome != gateway.Accepted {
					t.Fatalf("outcome %s, faults %v", d.Outcome, d.Faults)
				}
			} else if d.Outcome != gateway.Refused || d.Faults[0].Code != tt.code {
				t.Fatalf("outcome %s, faults %v, want %s", d.Outcome, d.Faults, tt.code)
			}
			if tt.app != "" && d.Faults[0].HL7.App != tt.app {
				t.Errorf("ERR-5 %s, want %s", d.Faults[0].HL7.App, tt.app)
			}
			if tt.warning != "" && !warned(d, tt.warning) {
				t.Errorf("no warning %s in %v", tt.warning, d.Warnings)
			}
			s, docs, err := h.Journal.Submission(t.Context(), d.Submission)
			if err != nil {
				t.Fatal("the decision is not journaled:", err)
			}
			if !bytes.Equal(s.Receipt, d.Receipt) {
				t.Error("the journal does not hold the receipt that was answered")
			}
			if d.Outcome == gateway.Refused && (len(docs) > 0 || s.Envelope != nil) {
				t.Error("a refusal is journaled with its document or its envelope")
			}
			events, err := h.Journal.Events(t.Context(), d.Submission, 0)
			if err != nil || len(events) == 0 {
				t.Fatalf("no timeline: %v", err)
			}
			for _, e := range events {
				if gateway.Describe(e, "fr") == "" || gateway.Describe(e, "en") == "" {
					t.Errorf("event without text: %+v", e)
				}
			}
		})
	}
}

// The HL7 door and the gateway each had a code for a message without sender and
// one for a message without destination, and a sender was told of both.
func TestOneCodeForOneThing(t *testing.T) {
	h := newHouse(t, nil)
	nobody := inbound("M1", testdata.CDAOptions{})
	nobody.Requester = nil
	nobody.Refusals, nobody.FlagRefusals = []error{fault.New(gateway.FaultNoSender).At("PRT^2")}, 1
	if d := h.accept(nobody); len(d.Faults) != 1 || d.Faults[0].Code != gateway.FaultNoSender || d.Faults[0].Where != "PRT^2" {
		t.Errorf("refused by %v, want the door's place alone", d.Faults)
	}
	nowhere := inbound("M2", testdata.CDAOptions{})
	nowhere.Flags = gateway.Flags{}
	if d := h.accept(nowhere); !slices.Equal(d.Warnings, []gateway.Note{{Code: gateway.FaultNoDestination, Where: "OBX"}}) {
		t.Errorf("warned %v", d.Warnings)
	}
}

func warned(d gateway.Decision, code string) bool {
	for _, n := range d.Warnings {
		if n.Code == code {
			return true
		}
	}
	return false
}

// No trait, matricule or name of a person may reach a timeline or an answer.
func TestNothingOutwardNamesThePatient(t *testing.T) {
	h := newHouse(t, nil)
	p := testdata.Patients()[0]
	bad := inbound("M1", testdata.CDAOptions{})
	bad.Patient.Traits.BirthName = "AUTREMENT"
	for _, in := range []gateway.Inbound{bad, inbound("M2", testdata.CDAOptions{})} {
		d := h.accept(in)
		events, err := h.Journal.Events(t.Context(), d.Submission, 0)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		out.Write(d.Receipt)
		for _, e := range events {
			out.WriteString(gateway.Describe(e, "fr") + e.Where)
		}
		for _, f := range d.Faults {
			out.WriteString(f.Error())
		}
		for _, secret := range []string{p.Matricule, p.BirthName, p.FirstGiven, p.BirthDate, "AUTREMENT"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%q is told outside: %s", secret, out.String())
			}
		}
	}
}

func TestExactRetransmissionGetsTheStoredAnswer(t *testing.T) {
	h := newHouse(t, nil)
	first := h.accept(inbound("M1", testdata.CDAOptions{}))
	again := h.accept(inbound("M1", testdata.CDAOptions{}))
	if again.Outcome != gateway.Replayed || !bytes.Equal(first.Receipt, again.Receipt) || again.Submission != first.Submission {
		t.Fatalf("not replayed: %+v", again)
	}
	// Same ids, other bytes: real senders do it. A new submission, and a warning.
	other := h.accept(inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(7)}))
	if other.Outcome != gateway.Accepted || !warned(other, gateway.FaultControlIDReused) {
		t.Fatalf("%+v", other)
	}
	h.Settings.Duplicates = "refuse"
	refused := h.accept(inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(8)}))
	if refused.Outcome != gateway.Refused || refused.Faults[0].Code != gateway.FaultControlIDReused {
		t.Fatalf("%+v", refused)
	}
}

// TestTargetIsQueued: a document that waits for the DMP was unknown to what
// follows it (found by the review of issue 2).
func TestTargetIsQueued(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { g.Settings.StrictTargets = true })
	send := func(control string, action dmp.Action, id, replaces int) gateway.Decision {
		opt := testdata.CDAOptions{ID: testdata.DocumentID(id)}
		if replaces > 0 {
			opt.Replaces = testdata.DocumentID(replaces)
		}
		in := inbound(control, opt)
		in.Action = action
		return h.accept(in)
	}
	for _, c := range []struct {
		name         string
		action       dmp.Action
		id, replaces int
		app          string // of the refusal; empty: accepted without a warning about its target
	}{
		{"fed", dmp.New, 1, 0, ""},
		{"replaced", dmp.Replace, 2, 1, ""},
		{"replaced twice", dmp.Replace, 3, 1, "900"},
		{"the replacement is deleted", dmp.Delete, 2, 0, ""},
		{"and deleted again", dmp.Delete, 2, 0, "900"},
		{"what was never fed", dmp.Delete, 9, 0, "900"},
	} {
		d := send("M-"+c.name, c.action, c.id, c.replaces)
		switch {
		case c.app == "" && (d.Outcome != gateway.Accepted || warned(d, gateway.FaultUnknownTarget)):
			t.Errorf("%s: %v %v %v", c.name, d.Outcome, d.Faults, d.Warnings)
		case c.app != "" && (d.Outcome != gateway.Refused || d.Faults[0].HL7.App != c.app):
			t.Errorf("%s: %v %v", c.name, d.Outcome, d.Faults)
		}
	}
}

func TestRefusalStandsUntilTheRulesChange(t *testing.T) {
	h := newHouse(t, func(g *gateway.Gateway) { g.Settings.StrictTargets = true })
	in := inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
	in.Action = dmp.Replace
	first := h.accept(in)
	again := h.accept(in)
	if first.Outcome != gateway.Refused || again.Outcome != gateway.Replayed || !bytes.Equal(first.Receipt, again.Receipt) {
		t.Fatalf("first %v, again %v", first.Outcome, again.Outcome)
	}
	h.Settings.StrictTargets = false
	if d := h.accept(in); d.Outcome != gateway.Accepted {
		t.Fatalf("after the settings changed: %v %v", d.Outcome, d.Faults)
	}
}

// TestRefusalIsJudgedAnew: who changed what the remedy named got the old refusal
// for ever (found by the audit of issue 2, 2026-11-22).
func TestRefusalIsJudgedAnew(t *testing.T) {
	replacement := inbound("M2", testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)})
	replacement.Action = dmp.Replace
	masked := inbound("M2", testdata.CDAOptions{})
	masked.Refusals, masked.FlagRefusals = []error{fault.New(gateway.FaultNoSender)}, 1
	lifted := inbound("M2", testdata.CDAOptions{})
	for name, c := range map[string]struct {
		first, then gateway.Inbound
		between     func(*house)
		want        gateway.Outcome
	}{
		"ok/the target was fed meanwhile":        {replacement, replacement, func(h *house) { h.accept(inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(1)})) }, gateway.Accepted},
		"ok/the port was set otherwise":          {masked, lifted, func(*house) {}, gateway.Accepted},
		"fail/refused for the same reason":       {masked, masked, func(*house) {}, gateway.Replayed},
		"fail/refused now, for something before": {replacement, masked, func(*house) {}, gateway.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(g *gateway.Gateway) { g.Settings.StrictTargets = true })
			c.then.Raw = c.first.Raw
			first := h.accept(c.first)
			c.between(h)
			then := h.accept(c.then)
			if first.Outcome != gateway.Refused || then.Outcome != c.want || (then.Submission == first.Submission) != (c.want == gateway.Replayed) {
				t.Errorf("first %v %v, then %v %v", first.Outcome, first.Faults, then.Outcome, then.Faults)
			}
		})
	}
}

func TestSimultaneousCopiesMakeOneSubmission(t *testing.T) {
	h := newHouse(t, nil)
	in := inbound("M1", testdata.CDAOptions{})
	var wg sync.WaitGroup
	seen := make([]gateway.Decision, 8)
	for i := range seen {
		wg.Go(func() { seen[i] = h.Accept(t.Context(), in, receipt) })
	}
	wg.Wait()
	accepted := 0
	for _, d := range seen {
		if d.Outcome == gateway.Accepted {
			accepted++
		}
		if d.Submission != seen[0].Submission || !bytes.Equal(d.Receipt, seen[0].Receipt) {
			t.Errorf("two answers to one message: %q and %q", seen[0].Receipt, d.Receipt)
		}
	}
	if accepted != 1 {
		t.Errorf("%d submissions of one message", accepted)
	}
}

// broken is a journal that fails where a test says.
type broken struct {
	gateway.Journal
	keep, record, settle error
	died                 func() // after settle failed
}

func (b *broken) Keep(ctx context.Context, data []byte) (string, error) {
	if b.keep != nil {
		return "", b.keep
	}
	return b.Journal.Keep(ctx, data)
}

func (b *broken) Record(ctx context.Context, e gateway.Entry) error {
	if b.record != nil {
		return b.record
	}
	return b.Journal.Record(ctx, e)
}

func (b *broken) Settle(ctx context.Context, s gateway.Settlement) error {
	if b.settle != nil {
		err := b.settle
		b.settle = nil
		b.died()
		return err
	}
	return b.Journal.Settle(ctx, s)
}

func TestNothingIsAcceptedThatWasNotCommitted(t *testing.T) {
	full := fault.New("GW-DISK-FULL")
	for name, b := range map[string]*broken{
		"fail/bytes cannot be kept":    {keep: full},
		"fail/commit fails":            {record: full},
		"fail/an error without a code": {record: errors.New("boom")},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			b.Journal = h.Journal
			h.Gateway.Journal = b
			d := h.accept(inbound("M1", testdata.CDAOptions{}))
			if d.Outcome != gateway.Unavailable || d.Faults[0].HL7.Ack != "AR" {
				t.Fatalf("%v %v", d.Outcome, d.Faults)
			}
			if len(h.Alarms.Standing()) != 1 {
				t.Error("no alarm stands")
			}
			h.Gateway.Journal = b.Journal
			if d := h.accept(inbound("M1", testdata.CDAOptions{})); d.Outcome != gateway.Accepted {
				t.Fatalf("resent as it was: %v %v", d.Outcome, d.Faults)
			}
			if len(h.Alarms.Standing()) != 0 {
				t.Error("the alarm stands although the journal works")
			}
		})
	}
}

func TestEnvelopeSurvives(t *testing.T) {
	in := inbound("M1", testdata.CDAOptions{})
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var back gateway.Inbound
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Patient.Matricule != in.Patient.Matricule || back.Flags != in.Flags || back.Requester.Person.ID != in.Requester.Person.ID {
		t.Errorf("%+v", back)
	}
	if bytes.Contains(data, []byte("ClinicalDocument")) {
		t.Error("the envelope holds the document")
	}
}
