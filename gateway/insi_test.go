package gateway_test

import (
	"context"
	"errors"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// insiOf answers every search with one answer, and counts them.
type insiOf struct {
	answer gateway.INSiAnswer
	err    error
	calls  int
}

func (i *insiOf) Search(context.Context, gateway.INSiQuery) (gateway.INSiAnswer, error) {
	i.calls++
	return i.answer, i.err
}

func (i *insiOf) Verify(context.Context, gateway.INSiQuery) (gateway.INSiAnswer, error) {
	return i.answer, errors.New("nobody asked for a verification")
}

// TestIdentifyDoors: only a message whose door names an asker has INSi asked,
// and a patient who has an INS never.
func TestIdentifyDoors(t *testing.T) {
	me := testdata.Patients()[0]
	found := gateway.INSiAnswer{Calls: 1, Trace: ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:1", Result: ins.Found,
		INS: ins.Pair{Matricule: me.Matricule, OID: ins.OID(me.OID)}, Traits: identity(me).Traits}}
	for _, tt := range []struct {
		name    string
		change  func(*gateway.Inbound)
		insi    *insiOf
		outcome gateway.Outcome
		code    string
		calls   int
		alarms  int
	}{
		{"ok/asked", func(*gateway.Inbound) {}, &insiOf{answer: found}, gateway.Accepted, "", 1, 0},
		{"ok/has an INS", func(in *gateway.Inbound) { in.Patient = identity(me) }, &insiOf{answer: found}, gateway.Accepted, "", 0, 0},
		{"fail/no asker: HL7, FHIR", func(in *gateway.Inbound) { in.Asker = nil }, &insiOf{answer: found}, gateway.Refused, "INS-NOT-QUALIFIED", 0, 0},
		{"fail/no INSi", func(*gateway.Inbound) {}, nil, gateway.Refused, "INS-NOT-QUALIFIED", 0, 0},
		{"fail/refused before", func(in *gateway.Inbound) { in.Refusals = []error{fault.New(gateway.FaultSameDocument)} }, &insiOf{answer: found}, gateway.Refused, gateway.FaultSameDocument, 0, 0},
		{"fail/temporary", func(*gateway.Inbound) {}, &insiOf{err: fault.New("INSI-TIMEOUT")}, gateway.Unavailable, "INSI-TIMEOUT", 1, 0},
		{"fail/undeclared error", func(*gateway.Inbound) {}, &insiOf{err: errors.New("x")}, gateway.Unavailable, fault.Internal, 1, 0},
		// Found by review, issue 4: a disk without room for the trace was taken for trouble of INSi, and no alarm told it.
		{"fail/no room for the trace", func(*gateway.Inbound) {}, &insiOf{err: fault.New("GW-DISK-FULL")}, gateway.Unavailable, "GW-DISK-FULL", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(g *gateway.Gateway) {
				if tt.insi != nil {
					g.INSi = tt.insi
				}
			})
			in := inbound("M1", testdata.CDAOptions{ID: testdata.DocumentID(1)})
			in.Patient, in.Asker = identity(me).WithoutINS(), &gateway.Asker{Actor: ins.Actor{ID: "logiciel"}}
			tt.change(&in)
			d := h.accept(in)
			if d.Outcome != tt.outcome || tt.code != "" && d.Faults[0].Code != tt.code || tt.insi != nil && tt.insi.calls != tt.calls {
				t.Fatalf("%q %v after %+v", d.Outcome, codes(d), tt.insi)
			}
			// INSi that is away is no alarm of the gateway: it stays ready.
			if n := len(h.Alarms.Standing()); n != tt.alarms {
				t.Errorf("%d alarms", n)
			}
			if d.Outcome == gateway.Accepted && h.record(d.Submission).INSStatus != string(ins.Qualified) {
				t.Error("not qualified in the journal")
			}
		})
	}
}

func (h *house) record(id string) gateway.Submission {
	h.t.Helper()
	s, _, err := h.Journal.Submission(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}
