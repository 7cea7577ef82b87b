//go:build !nosandbox

package main

import (
	"io"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// The opposition of the patient, from the ADT that tells it to the one that
// withdraws it, over real sockets.
func TestOpposition(t *testing.T) {
	r := newRoute(t, nil)
	d, err := newDemo(&env{ctx: t.Context(), out: io.Discard, clock: time.Now}, r.w.info)
	if err != nil {
		t.Fatal(err)
	}
	me := testdata.Patients()[0]
	box := me.Matricule + "@patient.mssante.fr"
	admit := func(control, feeding, at string) {
		t.Helper()
		ack := r.send(testdata.ADT(testdata.ADTOptions{Feeding: feeding, MessageOptions: testdata.MessageOptions{ControlID: control, Time: at}}))
		if msa, _ := verdict(ack); msa != "AA" {
			t.Fatalf("%s", ack)
		}
	}
	message := func(control, id, action string, flags testdata.Flags) testdata.MessageOptions {
		o := testdata.MessageOptions{ControlID: control, Action: action, Flags: flags, Document: testdata.CDAOptions{ID: id}}
		if flags["DESTMSSANTEPAT"] == "Y" {
			o.Recipients = []testdata.Recipient{{Address: box, Patient: me}}
		}
		return o
	}
	send := func(o testdata.MessageOptions, told, status string, letters int) {
		t.Helper()
		ack := r.send(testdata.ORU(o))
		if msa, _ := verdict(ack); msa != "AA" {
			t.Fatalf("%s", ack)
		}
		r.ended(field(ack, "MSA", 3))
		if got := r.said(o.ControlID); got != told {
			t.Errorf("%s: told %q, want %q", o.ControlID, got, told)
		}
		if err := d.inDMP(expectation{o.ControlID, me, o.Document.ID, status, testdata.CDA(o.Document)}); err != nil {
			t.Errorf("%s: %v", o.ControlID, err)
		}
		if n := len(r.inbox(box)); n != letters {
			t.Errorf("%s: %d letters in the patient's mailbox, want %d", o.ControlID, n, letters)
		}
	}
	both := testdata.Flags{"DESTDMP": "Y", "DESTMSSANTEPAT": "Y"}

	admit("OPA1", "IO", "20260105093000")
	send(message("OP1", testdata.DocumentID(6001), testdata.New, both), "Z01 N GW-OPPOSED, Z02 N 550", "", 0)
	admit("OPA2", "-", "20260105100000") // an ADT without ZFA withdraws nothing
	send(message("OP2", testdata.DocumentID(6002), testdata.New, both), "Z01 N GW-OPPOSED, Z02 N 550", "", 0)
	admit("OPA3", "INO", "20260105110000")
	send(message("OP3", testdata.DocumentID(6003), testdata.New, both), "Z01 Y, Z02 Y", "current", 1)
	admit("OPA4", "IO", "20260106093000")
	send(message("OP4", testdata.DocumentID(6003), testdata.Delete, testdata.Flags{"DESTDMP": "Y"}), "Z01 Y", "", 1)
}

// On a site that holds, a document waits for nobody: it is refused until an
// ADT told that the patient is informed.
func TestOppositionHold(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.Accept.Opposition = "hold" })
	send := func(control string, n int) string {
		ack := r.send(testdata.ORU(testdata.MessageOptions{ControlID: control, Document: testdata.CDAOptions{ID: testdata.DocumentID(n)}}))
		r.ended(field(ack, "MSA", 3))
		return r.said(control)
	}
	if got := send("OH1", 6101); got != "Z01 N GW-CONSENT-UNKNOWN" {
		t.Errorf("told %q", got)
	}
	r.send(testdata.ADT(testdata.ADTOptions{MessageOptions: testdata.MessageOptions{ControlID: "OHA1"}}))
	if got := send("OH2", 6102); got != "Z01 Y" {
		t.Errorf("told %q", got)
	}
}
