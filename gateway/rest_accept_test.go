package gateway_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/testdata"
)

func codes(d gateway.Decision) (all []string) {
	for _, f := range d.Faults {
		all = append(all, f.Code+" "+f.Where)
	}
	for _, w := range d.Warnings {
		all = append(all, w.Code+" "+w.Where)
	}
	return all
}

// TestDryRun asks for the verdict first, then publishes the same: the two must
// agree to the last finding, and the dry run must leave nothing.
func TestDryRun(t *testing.T) {
	trois := testdata.PatientByID(testdata.PatientTrois)
	for _, tt := range []struct {
		name    string
		doc     testdata.CDAOptions
		change  func(*gateway.Inbound)
		outcome gateway.Outcome
		code    string
		where   string
	}{
		{name: "ok/accepted", outcome: gateway.Accepted},
		{name: "ok/nothing to deliver", outcome: gateway.Noted, change: func(in *gateway.Inbound) { in.Documents = nil }},
		{name: "ok/what is claimed is what is written", outcome: gateway.Accepted,
			change: func(in *gateway.Inbound) {
				in.Documents[0].Claimed = &dmp.Metadata{Type: dmp.Code{Code: "11502-2"}, UniqueID: dmp.ID{Root: testdata.DocumentID(1)}}
			}},
		{name: "ok/another title is only told", outcome: gateway.Accepted, code: "CDA-META-DIFFERS", where: "title",
			change: func(in *gateway.Inbound) { in.Documents[0].Claimed = &dmp.Metadata{Title: "Autre titre"} }},
		{name: "fail/another type is claimed", outcome: gateway.Refused, code: "CDA-META-CONTRADICTS", where: "typeCode",
			change: func(in *gateway.Inbound) {
				in.Documents[0].Claimed = &dmp.Metadata{Type: dmp.Code{Code: "34133-9"}}
			}},
		{name: "fail/another id is claimed", outcome: gateway.Refused, code: "CDA-META-CONTRADICTS", where: "uniqueId",
			change: func(in *gateway.Inbound) {
				in.Documents[0].Claimed = &dmp.Metadata{UniqueID: dmp.ID{Root: "1.2.3"}}
			}},
		{name: "fail/another date is claimed", outcome: gateway.Refused, code: "CDA-META-CONTRADICTS", where: "creationTime",
			change: func(in *gateway.Inbound) {
				in.Documents[0].Claimed = &dmp.Metadata{Created: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}
			}},
		{name: "fail/another patient", outcome: gateway.Refused, code: "INS-MISMATCH", change: func(in *gateway.Inbound) { in.Patient = identity(trois) }},
		{name: "fail/no document at all in the bytes", outcome: gateway.Refused, code: "CDA-XML",
			change: func(in *gateway.Inbound) { in.Documents[0].Content = []byte("<ClinicalDocument") }},
		{name: "fail/no sender, no HL7 place", outcome: gateway.Refused, code: gateway.FaultNoSender,
			change: func(in *gateway.Inbound) { in.Requester, in.Door = nil, "rest" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, nil)
			if tt.doc.ID == "" {
				tt.doc.ID = testdata.DocumentID(1)
			}
			in := inbound("M1", tt.doc)
			if tt.change != nil {
				tt.change(&in)
			}
			dry := h.DryRun(t.Context(), in)
			if dry.Outcome != tt.outcome || dry.Rules == "" || dry.Submission != "" {
				t.Fatalf("%q %q under rules %q: %v", dry.Outcome, dry.Submission, dry.Rules, codes(dry))
			}
			if tt.code != "" && !slices.ContainsFunc(codes(dry), func(s string) bool { return strings.HasPrefix(s, tt.code+" "+tt.where) }) {
				t.Errorf("no %s at %q in %v", tt.code, tt.where, codes(dry))
			}
			kept, err := h.Journal.Submissions(t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}, Limit: 10})
			if err != nil || len(kept) != 0 {
				t.Fatalf("a dry run left %d submissions, %v", len(kept), err)
			}
			real := h.accept(in)
			if real.Outcome != dry.Outcome || real.Rules != dry.Rules || !slices.Equal(codes(real), codes(dry)) {
				t.Errorf("dry run %q %v, publication %q %v", dry.Outcome, codes(dry), real.Outcome, codes(real))
			}
		})
	}
}

func keyed(key string, n int) gateway.Inbound {
	in := inbound("", testdata.CDAOptions{ID: testdata.DocumentID(n)})
	in.Door, in.IdempotencyKey, in.Message.ControlID = "rest", key, key
	return in
}

func TestIdempotencyKey(t *testing.T) {
	h := newHouse(t, nil)
	first := h.accept(keyed("k1", 1))
	again := h.accept(keyed("k1", 1))
	if first.Outcome != gateway.Accepted || again.Outcome != gateway.Replayed || again.Submission != first.Submission || string(again.Receipt) != string(first.Receipt) {
		t.Errorf("first %q, again %q %q", first.Outcome, again.Outcome, again.Receipt)
	}
	other := h.accept(keyed("k1", 2))
	if other.Outcome != gateway.Refused || other.Faults[0].Code != gateway.FaultKeyReused || other.Faults[0].HTTP != 409 || other.Faults[0].Kind != fault.Permanent {
		t.Errorf("other content: %q %v", other.Outcome, codes(other))
	}
	if s, _, err := h.Journal.Submission(t.Context(), other.Submission); err != nil || s.State != gateway.RefusedState || len(s.Envelope) > 0 {
		t.Errorf("the refusal in the journal: %+v, %v", s.State, err)
	}
	if back := h.accept(keyed("k1", 1)); back.Outcome != gateway.Replayed || back.Submission != first.Submission {
		t.Errorf("the first content after a refused one: %q", back.Outcome)
	}
	for name, change := range map[string]func(*gateway.Inbound){
		"another sender":        func(in *gateway.Inbound) { in.From.Application = "AUTRE" },
		"another establishment": func(in *gateway.Inbound) { in.Establishment.FINESSGeo = "990000044" },
		"another door":          func(in *gateway.Inbound) { in.Door = "fhir" },
	} {
		in := keyed("k1", 3)
		change(&in)
		if d := h.accept(in); d.Outcome != gateway.Accepted {
			t.Errorf("the same key of %s: %q %v", name, d.Outcome, codes(d))
		}
	}
	// Without a key nothing is recognised, and no earlier message is mistaken for it.
	if d := h.accept(keyed("", 4)); d.Outcome != gateway.Accepted || slices.ContainsFunc(d.Warnings, func(n gateway.Note) bool { return n.Code == gateway.FaultControlIDReused }) {
		t.Errorf("without a key: %q %v", d.Outcome, codes(d))
	}

	bad := keyed("k2", 5)
	bad.Requester = nil
	if d := h.accept(bad); d.Outcome != gateway.Refused {
		t.Fatalf("%q", d.Outcome)
	}
	if d := h.accept(bad); d.Outcome != gateway.Replayed {
		t.Errorf("a refusal sent again: %q", d.Outcome)
	}
	if d := h.accept(keyed("k2", 6)); d.Outcome != gateway.Accepted {
		t.Errorf("corrected under the same key: %q %v", d.Outcome, codes(d))
	}
	if d := h.accept(bad); d.Outcome != gateway.Refused || d.Faults[0].Code != gateway.FaultKeyReused {
		t.Errorf("the refused content after the corrected one: %q %v", d.Outcome, codes(d))
	}
}

// TestIdempotencyRace sends two contents under one key at once: one is taken,
// whatever the order, and the other is told so.
func TestIdempotencyRace(t *testing.T) {
	h := newHouse(t, nil)
	const each = 8
	got := make(chan gateway.Decision, 2*each)
	var wg sync.WaitGroup
	for i := range 2 * each {
		wg.Go(func() { got <- h.Accept(t.Context(), keyed("k", 1+i%2), receipt) })
	}
	wg.Wait()
	close(got)
	count := map[gateway.Outcome]int{}
	for d := range got {
		count[d.Outcome]++
	}
	if count[gateway.Accepted] != 1 || count[gateway.Replayed] != each-1 || count[gateway.Refused] != each {
		t.Errorf("%v", count)
	}
}
