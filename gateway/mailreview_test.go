package gateway_test

import (
	"slices"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// The tests of this file are regressions found by the review of issue 3.

// A document that never reached the hospital was answered as integrated.
func TestGivenUpDocumentIsNotAnsweredAsIntegrated(t *testing.T) {
	r := newMailRoute(t)
	r.d.Backoff.GiveUp = time.Minute
	r.app.answers = []error{fault.New("HL7-MDM-DOWN")}
	r.receive(delivered(testdata.LetterOptions{To: bal, WantMDN: true}))
	r.clock.Add(2 * time.Minute)
	id := r.incoming()[0].ID
	r.settle(r.d, id)
	in, err := mss.Read(r.post.got[0].Raw, mss.DefaultLimits())
	if err != nil || in.MDN == nil || !in.MDN.Failed || in.MDN.Code != "906" {
		t.Errorf("%v %+v", err, in.MDN)
	}
	if got := r.state(id); got != gateway.Failed {
		t.Errorf("state %s", got)
	}
}

// A replacement in a letter is filed as one.
func TestActionOfAReceivedDocument(t *testing.T) {
	r := newMailRoute(t)
	r.receive(delivered(testdata.LetterOptions{To: bal, Replaces: true, Document: testdata.CDAOptions{ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)}}))
	r.settle(r.d, r.incoming()[0].ID)
	if got := r.app.got[0].Action; got != dmp.Replace {
		t.Errorf("action %q", got)
	}
}

// A mailbox named twice gets one letter.
func TestRecipientNamedTwice(t *testing.T) {
	r := newMailRoute(t)
	in := mailed("M1")
	in.Flags.ToPatient = false
	in.Recipients = []gateway.Recipient{in.Recipients[0], in.Recipients[0], {Kind: "professional", Address: "Lea.Morel@TEST-CI-SIS.mssante.fr"}}
	d := r.accept(in)
	r.letters(d.Submission)
	if len(r.post.got) != 1 {
		t.Errorf("%d letters", len(r.post.got))
	}
}

// A receipt counts only from whom it speaks for.
func TestForgedReceipts(t *testing.T) {
	const stranger = "quelquun@partenaire.mssante.fr"
	r := newMailRoute(t)
	in := mailed("M1")
	in.Flags.ToPatient, in.Recipients = false, in.Recipients[:1]
	d := r.accept(in)
	l := r.letters(d.Submission)["lea.morel@test-ci-sis.mssante.fr"]
	forged := map[string][]byte{
		"fail/MDN of a stranger": append([]byte("Return-Path: <"+stranger+">\r\n"), testdata.MDN(testdata.MDNOptions{
			Return: testdata.Return{From: stranger, To: bal}, Recipient: l.Recipient, OriginalMessageID: l.MessageID})...),
		"fail/DSN with a return path and no ENVID": append([]byte("Return-Path: <"+stranger+">\r\n"), testdata.DSN(testdata.DSNOptions{
			Return:     testdata.Return{From: stranger, To: bal, Original: r.post.got[0].Raw},
			Recipients: []testdata.DSNRecipient{{Final: "rfc822;" + l.Recipient, Action: "failed"}}})...),
	}
	for name, raw := range forged {
		t.Run(name, func(t *testing.T) {
			before := len(r.incoming())
			r.receive(raw)
			if all := r.incoming(); len(all) != before+1 || all[0].Code != gateway.FaultReceiptUnknown {
				t.Errorf("%+v", all)
			}
		})
	}
	r.settle(r.d, d.Submission)
	if len(r.hospital.got) != 0 {
		t.Errorf("the hospital was told %+v", r.hospital.got)
	}
}

// A letter whose report never comes ends, with a warning and without a ZAM.
func TestReportThatNeverComes(t *testing.T) {
	r := newMailRoute(t)
	in := mailed("M1")
	in.Flags.ToPatient, in.Recipients = false, in.Recipients[:1]
	d := r.accept(in)
	r.letters(d.Submission)
	r.clock.Add(2 * time.Hour)
	r.d.Wake()
	r.until(r.d, func() bool { return r.state(d.Submission) == gateway.Done })
	if got := r.outcomes(d.Submission); !slices.Contains(got, "mss-pro warning") || r.state(d.Submission) != gateway.Done {
		t.Errorf("%s %v", r.state(d.Submission), got)
	}
	if len(r.post.got) != 1 || len(r.hospital.got) != 0 {
		t.Errorf("%d submissions, %d ZAM", len(r.post.got), len(r.hospital.got))
	}
}
