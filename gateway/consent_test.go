package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// admission is an ADT of the ordinary patient.
func admission(control, feeding, day string) gateway.Inbound {
	in := inbound(control, testdata.CDAOptions{})
	in.Message.Type, in.Raw = "ADT^A01", []byte("raw of "+control)
	in.Documents, in.Requester, in.Action, in.Flags = nil, nil, "", gateway.Flags{}
	in.Consent = &gateway.Consent{Feeding: feeding, FeedingDate: day}
	return in
}

// said is one ADT: what it says, of which day, and what it says of the patient.
type said struct {
	feeding, day string
	change       func(*gateway.Inbound)
}

func TestOpposition(t *testing.T) {
	local := []ins.LocalID{{Value: "900001", Authority: "990000028"}}
	withoutINS := func(in *gateway.Inbound) { in.Patient = in.Patient.WithoutINS(); in.Patient.Local = local }
	number := func(value string) ins.Identity {
		return ins.Identity{Local: []ins.LocalID{{Value: value, Authority: "990000028"}}}
	}
	under := func(value string) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) {
			in.Patient = in.Patient.WithoutINS()
			in.Patient.Local = number(value).Local
		}
	}
	sentUnder := func(value string) func(*gateway.Inbound) {
		return func(in *gateway.Inbound) { in.Patient.Local = number(value).Local }
	}
	event := func(event, survivor, absorbed string) said {
		return said{change: func(in *gateway.Inbound) {
			under(survivor)(in)
			prior := number(absorbed)
			in.Message.Type, in.Prior, in.Consent = event, &prior, nil
		}}
	}
	tests := []struct {
		name   string
		adt    []said
		change func(*gateway.Inbound) // of the document's message
		hold   bool
		code   string // of the failure at the DMP; empty: deposited
		aside  bool   // flagged in the timeline
	}{
		{name: "ok/nothing known feeds and is flagged", aside: true},
		{name: "ok/informed and not opposed", adt: []said{{feeding: "INO", day: "2026-01-04"}}},
		{name: "ok/informed and not opposed, on hold", adt: []said{{feeding: "INO", day: "2026-01-04"}}, hold: true},
		{name: "ok/not collected is nothing known", adt: []said{{feeding: "NA"}}, aside: true},
		{name: "ok/opposition withdrawn", adt: []said{{feeding: "IO", day: "2026-01-03"}, {feeding: "INO", day: "2026-01-04"}}},
		{name: "ok/opposition withdrawn the same day", adt: []said{{feeding: "IO", day: "2026-01-04"}, {feeding: "INO", day: "2026-01-04"}}},
		{name: "ok/another patient is opposed", adt: []said{{feeding: "IO", change: func(in *gateway.Inbound) { in.Patient = identity(testdata.PatientByID(testdata.PatientTrois)) }}}, aside: true},
		{name: "ok/opposed in another legal entity", adt: []said{{feeding: "IO", change: func(in *gateway.Inbound) { in.Establishment.FINESSEJ = "990000044" }}}, aside: true},
		{name: "ok/same local number, another authority", adt: []said{{feeding: "IO", change: withoutINS}},
			change: func(in *gateway.Inbound) { in.Patient.Local = []ins.LocalID{{Value: "900001", Authority: "990000036"}} }, aside: true},

		{name: "fail/opposed", adt: []said{{feeding: "IO", day: "2026-01-04"}}, code: gateway.FaultOpposed},
		{name: "fail/opposed, no day", adt: []said{{feeding: "INO"}, {feeding: "IO"}}, code: gateway.FaultOpposed},
		{name: "fail/opposed, no such day", adt: []said{{feeding: "IO", day: "2026-00-00"}}, code: gateway.FaultOpposed},
		{name: "fail/an older answer that comes late", adt: []said{{feeding: "IO", day: "2026-01-04"}, {feeding: "INO", day: "2026-01-03"}}, code: gateway.FaultOpposed},
		{name: "fail/a day in the future outlives nothing", adt: []said{{feeding: "INO", day: "2062-01-01"}, {feeding: "IO", day: "2026-01-05"}}, code: gateway.FaultOpposed},
		{name: "fail/not collected withdraws nothing", adt: []said{{feeding: "IO", day: "2026-01-04"}, {feeding: "NA"}}, code: gateway.FaultOpposed},
		{name: "fail/an ADT that says nothing withdraws nothing", adt: []said{{feeding: "IO"}, {change: func(in *gateway.Inbound) { in.Consent = nil }}}, code: gateway.FaultOpposed},
		{name: "fail/known by the local number only", adt: []said{{feeding: "IO", change: withoutINS}},
			change: func(in *gateway.Inbound) { in.Patient.Local = local }, code: gateway.FaultOpposed},
		{name: "fail/known by the local number of the facility", adt: []said{{feeding: "IO", change: func(in *gateway.Inbound) {
			in.Patient = in.Patient.WithoutINS()
			in.Patient.Local = []ins.LocalID{{Value: "900001"}}
		}}}, change: func(in *gateway.Inbound) { in.Patient.Local = []ins.LocalID{{Value: "900001"}} }, code: gateway.FaultOpposed},
		// Found by the audit of issue 6, 2026-11-22: a merge lost the opposition.
		{name: "ok/merge, opposition older than the answer of the survivor", adt: []said{{feeding: "IO", day: "2026-01-03", change: under("1")}, {feeding: "INO", day: "2026-01-04", change: under("2")},
			event("ADT^A40", "2", "1")}, change: sentUnder("2")},
		{name: "ok/merge, then withdrawn", adt: []said{{feeding: "IO", day: "2026-01-03", change: under("1")}, event("ADT^A40", "2", "1"), {feeding: "INO", day: "2026-01-04", change: under("2")}},
			change: sentUnder("2")},
		{name: "ok/merge of two other records", adt: []said{{feeding: "IO", change: under("1")}, event("ADT^A40", "2", "3")}, change: sentUnder("2"), aside: true},
		{name: "ok/MRG of what is no merge", adt: []said{{feeding: "IO", change: under("1")}, event("ADT^A31", "2", "1")}, change: sentUnder("2"), aside: true},
		{name: "fail/merge, the absorbed is opposed", adt: []said{{feeding: "IO", change: under("1")}, event("ADT^A40", "2", "1")}, change: sentUnder("2"), code: gateway.FaultOpposed},
		{name: "fail/merge, twice", adt: []said{{feeding: "IO", change: under("1")}, event("ADT^A40", "2", "1"), event("ADT^A40", "3", "2")}, change: sentUnder("3"), code: gateway.FaultOpposed},
		{name: "fail/merge, the absorbed is opposed since", adt: []said{{feeding: "INO", day: "2026-01-03", change: under("2")}, {feeding: "IO", day: "2026-01-04", change: under("1")},
			event("ADT^A40", "2", "1")}, change: sentUnder("2"), code: gateway.FaultOpposed},
		{name: "fail/merge, the survivor is opposed, sent under the absorbed", adt: []said{{feeding: "IO", change: under("2")}, event("ADT^A40", "2", "1")}, change: sentUnder("1"), code: gateway.FaultOpposed},
		{name: "fail/merge that says the opposition itself", adt: []said{{feeding: "IO", change: func(in *gateway.Inbound) {
			consent := in.Consent
			event("ADT^A40", "2", "1").change(in)
			in.Consent = consent
		}}}, change: sentUnder("1"), code: gateway.FaultOpposed},
		{name: "fail/nothing known, on hold", hold: true, code: gateway.FaultConsentUnknown},
		{name: "fail/not collected, on hold", adt: []said{{feeding: "NA"}}, hold: true, code: gateway.FaultConsentUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoute(t)
			if tt.hold {
				r.Settings.Opposition = gateway.OppositionHold
			}
			for i, a := range tt.adt {
				in := admission(fmt.Sprintf("A%d", i), a.feeding, a.day)
				if a.change != nil {
					a.change(&in)
				}
				if d := r.accept(in); d.Outcome != gateway.Noted {
					t.Fatalf("%s %v", d.Outcome, d.Faults)
				}
			}
			in := inbound("M1", testdata.CDAOptions{})
			if tt.change != nil {
				tt.change(&in)
			}
			dry := r.DryRun(t.Context(), in)
			d := r.accept(in)
			if d.Outcome != gateway.Accepted || dry.Outcome != gateway.Accepted {
				t.Fatalf("%s %v, dry run %s", d.Outcome, d.Faults, dry.Outcome)
			}
			if tt.code != "" && (!warned(d, tt.code) || !warned(dry, tt.code)) {
				t.Errorf("not said beforehand: %v, dry run %v", d.Warnings, dry.Warnings)
			}
			if tt.code == "" && len(d.Warnings) != 0 {
				t.Errorf("warnings %v", d.Warnings)
			}
			events, err := r.Journal.Events(t.Context(), d.Submission, 0)
			if err != nil {
				t.Fatal(err)
			}
			aside := slices.ContainsFunc(events, func(e gateway.Event) bool {
				return e.Step == gateway.EventAccepted && e.Code == gateway.FaultConsentUnknown
			})
			if aside != (tt.aside || tt.code == gateway.FaultConsentUnknown) {
				t.Errorf("flagged in the timeline: %v", aside)
			}
			r.settle(r.d, d.Submission)
			n := r.hospital.got[len(r.hospital.got)-1]
			if n.Event != "Z01" || n.Success != (tt.code == "") || n.Code != tt.code {
				t.Errorf("notice %+v, want %q", n, tt.code)
			}
			if fed := len(r.archive.docs) == 1; fed != (tt.code == "") {
				t.Errorf("%d documents in the DMP", len(r.archive.docs))
			}
		})
	}
}

// An opposition stops what comes after it, a replacement included; it hides
// nothing of what is there, and forbids nobody to take it away.
func TestOppositionLater(t *testing.T) {
	r := newRoute(t)
	first := r.accept(inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(1)}))
	r.settle(r.d, first.Submission)
	waiting := r.accept(inbound("M2", testdata.CDAOptions{ID: testdata.DocumentID(2)}))
	r.accept(admission("A1", gateway.Opposed, "2026-01-05"))
	replacement := inbound("M3", testdata.CDAOptions{ID: testdata.DocumentID(3), Replaces: testdata.DocumentID(1)})
	replacement.Action = dmp.Replace
	replaced := r.accept(replacement)
	r.settle(r.d, waiting.Submission, replaced.Submission)
	for _, d := range []gateway.Decision{waiting, replaced} {
		if s, _, err := r.Journal.Submission(t.Context(), d.Submission); err != nil || s.State != gateway.Failed || s.Code != gateway.FaultOpposed {
			t.Errorf("%s %s %v", s.State, s.Code, err)
		}
	}
	if len(r.archive.docs) != 1 {
		t.Errorf("%d documents in the DMP", len(r.archive.docs))
	}
	deletion := inbound("M4", testdata.CDAOptions{ID: testdata.DocumentID(1)})
	deletion.Action = dmp.Delete
	d := r.accept(deletion)
	if warned(d, gateway.FaultOpposed) {
		t.Error("a deletion is said to be stopped")
	}
	r.settle(r.d, d.Submission)
	if got := r.state(d.Submission); got != gateway.Done {
		t.Errorf("deletion %s", got)
	}
}

// What the DMP holds already is told as it is, although the patient opposed
// between the request and its lost answer.
func TestOppositionAfterALostAnswer(t *testing.T) {
	r := newRoute(t)
	r.archive.after = fault.New("DMP-UNREACHABLE")
	var once sync.Once
	r.Gateway.Trace = func(step gateway.Step, _ string) {
		if step == gateway.StepRequested {
			once.Do(func() { r.accept(admission("A1", gateway.Opposed, "2026-01-05")) })
		}
	}
	d := r.accept(inbound("M1", testdata.CDAOptions{}))
	r.settle(r.d, d.Submission)
	if got := r.state(d.Submission); got != gateway.Done || len(r.archive.docs) != 1 {
		t.Errorf("state %s, %d documents", got, len(r.archive.docs))
	}
}

func TestOppositionStopsPatientLetters(t *testing.T) {
	patient := testdata.Patients()[0].Matricule + "@patient.mssante.fr"
	r := newMailRoute(t)
	r.accept(admission("A1", gateway.Opposed, "2026-01-04"))
	letters := r.letters(r.accept(mailed("M1")).Submission)
	if d := letters[patient]; d.State != gateway.Failed || d.Code != mss.FaultOpposed {
		t.Errorf("to the patient: %s %s", d.State, d.Code)
	}
	if d := letters["lea.morel@test-ci-sis.mssante.fr"]; d.State != gateway.Waiting {
		t.Errorf("to the professional: %s %s", d.State, d.Code)
	}
	for _, l := range r.post.got {
		if strings.Contains(fmt.Sprint(l.To), "patient.mssante.fr") {
			t.Error("a letter left to the patient")
		}
	}
	r.accept(admission("A2", gateway.NotOpposed, "2026-01-05"))
	in := inbound("M2", testdata.CDAOptions{ID: testdata.DocumentID(2)})
	in.Flags, in.Recipients = mailed("M2").Flags, mailed("M2").Recipients
	if d := r.letters(r.accept(in).Submission)[patient]; d.State != gateway.Waiting {
		t.Errorf("to the patient, not opposed any more: %s %s", d.State, d.Code)
	}
}

// spy keeps the entries that were recorded.
type spy struct {
	gateway.Journal
	entries []gateway.Entry
}

func (s *spy) Record(ctx context.Context, e gateway.Entry) error {
	s.entries = append(s.entries, e)
	return s.Journal.Record(ctx, e)
}

func TestConsentRowsNameNobody(t *testing.T) {
	r := newHouse(t, nil)
	s := &spy{Journal: r.Journal}
	r.Gateway.Journal = s
	in := admission("A1", gateway.Opposed, "")
	in.Patient.Local = []ins.LocalID{{Value: "900001", Authority: "990000028"}}
	r.accept(in)
	rows := s.entries[0].Consents
	if len(rows) != 2 || rows[0].Person == rows[1].Person {
		t.Fatalf("%+v", rows)
	}
	for _, row := range rows {
		if len(row.Person) != 64 || strings.Contains(row.Person, in.Patient.Matricule) || strings.Contains(row.Person, "900001") || row.Feeding != gateway.Opposed {
			t.Errorf("%+v", row)
		}
	}
	r.StayKey = []byte("another key")
	in.Message.ControlID = "A2"
	r.accept(in)
	if again := s.entries[1].Consents; again[0].Person == rows[0].Person {
		t.Error("the hash does not depend on the key")
	}
	refused := admission("A3", gateway.Opposed, "")
	refused.Patient = refused.Patient.WithoutINS()
	if d := r.accept(refused); d.Outcome != gateway.Refused || d.Faults[0].Code != gateway.FaultConsentUnlinked {
		t.Errorf("an opposition of nobody: %s %v", d.Outcome, d.Faults)
	}
}
