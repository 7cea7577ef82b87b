package gateway_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// The tests of this file are regressions found by the audit of issue 3, 2026-11-22.

// letterTo sends one letter to one professional.
func letterTo(t *testing.T, address string) (*mailRoute, string, gateway.Delivery) {
	t.Helper()
	r := newMailRoute(t)
	in := oneLetter()
	in.Recipients[0].Address = address
	id := r.accept(in).Submission
	return r, id, r.letters(id)[address]
}

// told are the outcomes that the hospital was told, and ERR-5 of each.
func (r *mailRoute) told(submission string) (all []string) {
	r.t.Helper()
	r.settle(r.d, submission)
	for _, n := range r.hospital.got {
		all = append(all, strings.TrimSpace(n.Event+" "+map[bool]string{true: "Y", false: "N"}[n.Success]+" "+n.Code))
	}
	return all
}

func TestDeliveryReportsOfEveryKind(t *testing.T) {
	const lea, plus = "lea.morel@test-ci-sis.mssante.fr", "lea+urgences=1@test-ci-sis.mssante.fr"
	line := func(original, action string) testdata.DSNRecipient {
		return testdata.DSNRecipient{Original: "rfc822;" + original, Final: original, Action: action}
	}
	for name, tt := range map[string]struct {
		to    string
		lines []testdata.DSNRecipient
		state gateway.State
		told  []string
	}{
		"ok/delivered":                          {lea, []testdata.DSNRecipient{line(lea, "delivered")}, gateway.Done, []string{"Z02 Y"}},
		"ok/expanded":                           {lea, []testdata.DSNRecipient{line(lea, "expanded")}, gateway.Done, []string{"Z02 Y"}},
		"ok/a stranger beside our recipient":    {lea, []testdata.DSNRecipient{line("x@test-ci-sis.mssante.fr", "failed"), line(lea, "delivered")}, gateway.Done, []string{"Z02 Y"}},
		"ok/address left in xtext":              {plus, []testdata.DSNRecipient{line("lea+2Burgences+3D1@test-ci-sis.mssante.fr", "delivered")}, gateway.Done, []string{"Z02 Y"}},
		"ok/relayed: nobody saw it delivered":   {lea, []testdata.DSNRecipient{line(lea, "relayed")}, gateway.Done, nil},
		"fail/failed, with a comment behind it": {lea, []testdata.DSNRecipient{line(lea, "failed (unknown user)")}, gateway.Failed, []string{"Z02 N 554"}},
		"fail/of a stranger alone":              {lea, []testdata.DSNRecipient{line("x@test-ci-sis.mssante.fr", "failed")}, gateway.Waiting, nil},
		"fail/action that is none":              {lea, []testdata.DSNRecipient{line(lea, "echec")}, gateway.Waiting, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, id, l := letterTo(t, tt.to)
			r.receive(testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: l.ID, Recipients: tt.lines}))
			if got := r.told(id); !slices.Equal(got, tt.told) {
				t.Errorf("told %v, want %v", got, tt.told)
			}
			if got := r.letters(id)[tt.to].State; got != tt.state {
				t.Errorf("state %s, want %s", got, tt.state)
			}
			if kept := len(r.incoming()); kept != 0 != (tt.state == gateway.Waiting) {
				t.Errorf("%d mails in quarantine", kept)
			}
		})
	}
	t.Run("fail/relayed, then failed", func(t *testing.T) {
		r, id, l := letterTo(t, lea)
		for _, action := range []string{"relayed", "failed"} {
			r.receive(testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: l.ID, Recipients: []testdata.DSNRecipient{line(lea, action)}}))
		}
		if got := r.told(id); !slices.Equal(got, []string{"Z02 N 554"}) || r.state(id) != gateway.Failed {
			t.Errorf("told %v, state %s", got, r.state(id))
		}
	})
}

// A report that came while its letter was still being handed over took the line of
// that attempt with it: the timeline missed it, and so did the indicators.
func TestReportFasterThanItsAttempt(t *testing.T) {
	r := newMailRoute(t)
	r.d.Mail.Operator = reporting{r}
	id := r.accept(oneLetter()).Submission
	r.settle(r.d, id)
	if got := r.outcomes(id); !slices.Equal(got, []string{"mss-pro ok", "mss-pro ok", "zam ok"}) || r.state(id) != gateway.Done {
		t.Errorf("%v, state %s", got, r.state(id))
	}
}

func TestReadReceiptsOfEveryKind(t *testing.T) {
	const lea = "lea.morel@test-ci-sis.mssante.fr"
	for name, tt := range map[string]struct {
		disposition string
		z03         string
		text        string
		code        string // of the timeline
	}{
		"ok/displayed":                   {"displayed", "Z03 Y", "", ""},
		"ok/dispatched":                  {"dispatched", "Z03 Y", "", ""},
		"fail/deleted":                   {"deleted", "Z03 N 906", "rien ne prouve", mss.FaultNotRead},
		"fail/denied":                    {"denied", "Z03 N 906", "rien ne prouve", mss.FaultNotRead},
		"fail/code that is none":         {"processed/Error: 999^Bizarre", "Z03 N 906", "Bizarre", mss.FaultNotIntegrated},
		"fail/error without a label":     {"processed/Error: 902", "Z03 N 902", "Patient inconnu", mss.FaultNotIntegrated},
		"fail/error without code either": {"failed", "Z03 N 906", "Autre", mss.FaultNotIntegrated},
	} {
		t.Run(name, func(t *testing.T) {
			r, id, l := letterTo(t, lea)
			raw := testdata.MDN(testdata.MDNOptions{Return: testdata.Return{To: bal}, Recipient: lea, OriginalMessageID: l.MessageID})
			r.receive(bytes.Replace(raw, []byte("automatically; processed"), []byte("automatically; "+tt.disposition), 1))
			if got := r.told(id); !slices.Equal(got, []string{tt.z03}) || !strings.Contains(r.hospital.got[0].Text, tt.text) {
				t.Errorf("told %v, %+v", got, r.hospital.got)
			}
			if got := r.letters(id)[lea].Code; got != tt.code {
				t.Errorf("code %q", got)
			}
		})
	}
}

// A letter whose From names nobody became an MDM that could not be written.
func TestLetterWithoutFrom(t *testing.T) {
	letter := testdata.Letter(testdata.LetterOptions{To: bal, From: testdata.Personas()[0].Mailbox})
	i := bytes.Index(letter, []byte("\r\nFrom: "))
	j := i + 2 + bytes.Index(letter[i+2:], []byte("\r\n"))
	anonymous := slices.Concat(letter[:i], letter[j:])
	t.Run("ok/the envelope says it", func(t *testing.T) {
		r := newMailRoute(t)
		r.receive(append([]byte("Return-Path: <lea.morel@test-ci-sis.mssante.fr>\r\n"), anonymous...))
		r.settle(r.d, r.incoming()[0].ID)
		if len(r.app.got) != 1 || r.app.got[0].Sender != "lea.morel@test-ci-sis.mssante.fr" {
			t.Errorf("%+v", r.incoming())
		}
	})
	t.Run("fail/nobody does", func(t *testing.T) {
		r := newMailRoute(t)
		r.receive(anonymous)
		if all := r.incoming(); all[0].State != gateway.Quarantined || all[0].Code != mss.FaultMIME || fault.From(&mss.Error{Code: all[0].Code}).FR == "" {
			t.Errorf("%+v", all)
		}
	})
}

// A mail without attachments was dropped when its sender reused a Message-ID.
func TestAnotherTextUnderTheSameMessageID(t *testing.T) {
	r := newMailRoute(t)
	for _, text := range []string{"Merci de me rappeler.", "Merci de me rappeler.", "Le rendez-vous est annulé."} {
		r.receive([]byte("Message-ID: <q@x.mssante.fr>\r\nFrom: <a@x.mssante.fr>\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n" + text + "\r\n"))
	}
	if all := r.incoming(); len(all) != 2 {
		t.Errorf("%d mails kept", len(all))
	}
}

// reporting is an operator that reports before it answers.
type reporting struct{ r *mailRoute }

func (o reporting) Submit(_ context.Context, p gateway.Posting) gateway.Posted {
	o.r.receive(testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: p.ID,
		Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + p.To.String(), Final: p.To.String()}}}))
	return gateway.Posted{Report: true}
}
