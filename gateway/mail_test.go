package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// post is an operator that answers what a test says, in turn, then yes.
type post struct {
	mu      sync.Mutex
	answers []gateway.Posted
	got     []gateway.Posting
}

func (p *post) Submit(_ context.Context, l gateway.Posting) gateway.Posted {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, l)
	if len(p.answers) > 0 {
		a := p.answers[0]
		p.answers = p.answers[1:]
		return a
	}
	return gateway.Posted{Report: true}
}

// application is hospital software that files what it is given.
type application struct {
	mu      sync.Mutex
	answers []error
	got     []gateway.Filing
}

func (a *application) File(_ context.Context, f gateway.Filing) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, f)
	if len(a.answers) > 0 {
		err := a.answers[0]
		a.answers = a.answers[1:]
		return err
	}
	return nil
}

type refusal struct{ error }

func (refusal) ApplicationCode() string { return "904" }
func (refusal) FaultCode() string       { return "HL7-ZAM-REFUSED" }

// candidates are people known to the hospital.
type candidates []ins.Candidate

func (c candidates) Candidates(context.Context, string, ins.Identity) ([]ins.Candidate, error) {
	return c, nil
}

const bal = "passerelle@bac-a-sable.mssante.fr"

type mailRoute struct {
	*route
	post     *post
	app      *application
	receiver *gateway.Receiver
}

func newMailRoute(t *testing.T) *mailRoute {
	t.Helper()
	r := &mailRoute{route: newRoute(t), post: &post{}, app: &application{}}
	from, err := mss.ParseAddress(bal)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := mss.ParseAddress("secretariat@bac-a-sable.mssante.fr")
	if err != nil {
		t.Fatal(err)
	}
	composer, err := mss.New(mss.Config{
		NIL: "9001", From: from, FromName: "CH", ReplyTo: reply, Institution: "CH", Contact: "DSI", MaxSize: 20 << 20,
		Trusted: func(d string) (bool, error) { return strings.HasSuffix(d, "mssante.fr"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.d.Mail = &gateway.Mail{Composer: composer, From: from, Operator: r.post, ReportWait: time.Hour, UnknownWait: time.Millisecond}
	r.d.Application = r.app
	var known candidates
	for _, p := range testdata.Patients() {
		id := identity(p)
		id.Local = []ins.LocalID{{Value: p.IPP, Authority: "1.2.3"}}
		known = append(known, ins.Candidate{Identity: id})
	}
	r.receiver = &gateway.Receiver{Gateway: r.Gateway, Identities: known, Establishment: house1, Poll: time.Hour, OnError: func(err error) { t.Error(err) }}
	return r
}

// mailed is an ordinary message to one professional and the patient.
func mailed(control string) gateway.Inbound {
	in := inbound(control, testdata.CDAOptions{})
	in.Flags = gateway.Flags{ToProfessionals: true, ToPatient: true, WantReception: true, WantReading: true}
	p := testdata.Patients()[0]
	in.Recipients = []gateway.Recipient{
		{Kind: "professional", Address: "lea.morel@test-ci-sis.mssante.fr", Person: &dmp.Person{ID: dmp.ID{Extension: "819990000028"}}},
		{Kind: gateway.RecipientPatient, Address: p.Matricule + "@patient.mssante.fr"},
	}
	return in
}

// letters waits until every letter left or ended.
func (r *mailRoute) letters(submission string) map[string]gateway.Delivery {
	r.t.Helper()
	r.settle(r.d, submission)
	all, err := r.Journal.Deliveries(r.t.Context(), submission)
	if err != nil {
		r.t.Fatal(err)
	}
	by := map[string]gateway.Delivery{}
	for _, d := range all {
		if d.Recipient != "" && d.Notice == nil {
			by[d.Recipient] = d
		}
	}
	return by
}

func (r *mailRoute) receive(raw []byte) {
	r.t.Helper()
	if err := r.receiver.Receive(r.t.Context(), raw); err != nil {
		r.t.Fatal(err)
	}
}

func TestLettersAndTheirReceipts(t *testing.T) {
	r := newMailRoute(t)
	d := r.accept(mailed("M1"))
	letters := r.letters(d.Submission)
	if len(r.post.got) != 2 || len(letters) != 2 {
		t.Fatalf("%d postings, %d letters", len(r.post.got), len(letters))
	}
	ids := map[string]bool{}
	for to, l := range letters {
		if l.State != gateway.Waiting || l.Letter == "" || l.MessageID == "" {
			t.Errorf("%+v", l)
		}
		ids[l.MessageID] = true
		_ = to
	}
	if len(ids) != 2 {
		t.Error("two letters share a Message-ID")
	}
	if got := r.state(d.Submission); got != gateway.Pending {
		t.Errorf("state %s while reports are awaited", got)
	}

	pro := letters["lea.morel@test-ci-sis.mssante.fr"]
	var raw []byte
	for _, p := range r.post.got {
		if p.ID == pro.ID {
			raw = p.Raw
		}
	}
	dsn := testdata.DSN(testdata.DSNOptions{
		Return: testdata.Return{To: bal, Original: raw}, EnvelopeID: pro.ID,
		Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + pro.Recipient, Final: "rfc822;" + pro.Recipient}},
	})
	mdn := testdata.MDN(testdata.MDNOptions{Return: testdata.Return{To: bal, Original: raw}, Recipient: pro.Recipient, OriginalMessageID: pro.MessageID})
	for range 2 { // each receipt is received twice, and told once
		r.receive(dsn)
		r.receive(mdn)
	}
	r.settle(r.d, d.Submission)
	var events []string
	for _, n := range r.hospital.got {
		if !n.Success || n.Answers != "M1" || n.Recipient != pro.Recipient || n.RecipientID != "819990000028" {
			t.Errorf("notice %+v", n)
		}
		events = append(events, n.Event)
	}
	slices.Sort(events)
	if !slices.Equal(events, []string{"Z02", "Z03"}) {
		t.Errorf("notices %v", events)
	}

	// The patient's letter bounces: Z02 N with an SMTP code, and only its line changes.
	p := testdata.Patients()[0]
	patient := letters[p.Matricule+"@patient.mssante.fr"]
	r.receive(testdata.DSN(testdata.DSNOptions{
		Return: testdata.Return{To: bal}, EnvelopeID: patient.ID,
		Recipients: []testdata.DSNRecipient{{Original: "rfc822;" + patient.Recipient, Final: "rfc822;" + patient.Recipient, Action: "failed", Status: "5.1.1", Diagnostic: "550 5.1.1 unknown"}},
	}))
	letters = r.letters(d.Submission)
	if letters[pro.Recipient].State != gateway.Done || letters[patient.Recipient].State != gateway.Failed {
		t.Errorf("states %v %v", letters[pro.Recipient].State, letters[patient.Recipient].State)
	}
	last := r.hospital.got[len(r.hospital.got)-1]
	if last.Event != "Z02" || last.Success || last.Code != "550" || last.Recipient != patient.Recipient {
		t.Errorf("%+v", last)
	}
	if got := r.state(d.Submission); got != gateway.Partial {
		t.Errorf("state %s", got)
	}
}

func TestLetterFates(t *testing.T) {
	one := func(in *gateway.Inbound) { in.Flags.ToPatient, in.Recipients = false, in.Recipients[:1] }
	tests := []struct {
		name    string
		change  func(*gateway.Inbound)
		answers []gateway.Posted
		state   gateway.State
		sends   int
		z02     string // ERR-5, or Y; empty: none
	}{
		{name: "ok/operator busy once", answers: []gateway.Posted{{Err: fault.New("MSS-OPERATOR-BUSY"), Code: 450}}, state: gateway.Waiting, sends: 2},
		{name: "ok/lost after the final dot: the same bytes again", answers: []gateway.Posted{{Err: fault.New("MSS-FATE-UNKNOWN"), Unknown: true}}, state: gateway.Waiting, sends: 2},
		{name: "ok/operator without reports: done, and nothing told that was not seen", answers: []gateway.Posted{{}}, state: gateway.Done, sends: 1},
		{name: "fail/mailbox unknown", answers: []gateway.Posted{{Err: fault.New("MSS-NO-MAILBOX"), Code: 550}}, state: gateway.Failed, sends: 1, z02: "550"},
		{name: "fail/domain outside the trust space", change: func(in *gateway.Inbound) { in.Recipients[0].Address = "lea@gmail.example" }, state: gateway.Failed, sends: 0, z02: "550"},
		{name: "fail/header injection", change: func(in *gateway.Inbound) { in.Recipients[0].Address = "lea@test-ci-sis.mssante.fr\r\nBcc: x@y.fr" }, state: gateway.Failed, sends: 0, z02: "553"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newMailRoute(t)
			r.post.answers = tt.answers
			in := mailed("M1")
			one(&in)
			if tt.change != nil {
				tt.change(&in)
			}
			d := r.accept(in)
			for _, l := range r.letters(d.Submission) {
				if l.State != tt.state {
					t.Errorf("state %s, want %s (%s)", l.State, tt.state, l.Code)
				}
			}
			if len(r.post.got) != tt.sends {
				t.Fatalf("%d submissions, want %d", len(r.post.got), tt.sends)
			}
			for _, p := range r.post.got {
				if !bytes.Equal(p.Raw, r.post.got[0].Raw) || p.ID != r.post.got[0].ID {
					t.Error("a resend differs")
				}
			}
			answer := ""
			for _, n := range r.hospital.got {
				if answer = "Y"; !n.Success {
					answer = n.Code
				}
			}
			if answer != tt.z02 {
				t.Errorf("Z02 %q, want %q", answer, tt.z02)
			}
		})
	}
}

// A patient address that is not the one of the INS is never used, silently or
// otherwise; an invisible document never goes to the patient.
func TestPatientLetterRules(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*gateway.Inbound)
		state  gateway.State
	}{
		"fail/address of somebody else": {func(in *gateway.Inbound) { in.Recipients[1].Address = "279035121518989@patient.mssante.fr" }, gateway.RefusedState},
		"fail/invisible to the patient": {func(in *gateway.Inbound) { in.Flags.HiddenFromPatient = true }, gateway.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newMailRoute(t)
			in := mailed("M1")
			in.Flags.ToProfessionals = false
			tt.change(&in)
			d := r.accept(in)
			if tt.state != gateway.RefusedState {
				r.letters(d.Submission)
			}
			if len(r.post.got) != 0 {
				t.Errorf("a letter left to %v", r.post.got[0].To)
			}
			if got := r.state(d.Submission); got != tt.state {
				t.Errorf("state %s", got)
			}
		})
	}
}

func (r *mailRoute) incoming() []gateway.Submission {
	r.t.Helper()
	all, err := r.Journal.Submissions(r.t.Context(), gateway.Query{FINESSGeo: []string{house1.FINESSGeo}, Door: gateway.DoorMail, Limit: 50})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// delivered is a letter as it stands in a mailbox: the operator wrote down who
// really sent it.
func delivered(o testdata.LetterOptions) []byte {
	o.From = testdata.Personas()[0].Mailbox
	return append([]byte("Return-Path: <"+o.From+">\r\n"), testdata.Letter(o)...)
}

func TestIncomingLetter(t *testing.T) {
	r := newMailRoute(t)
	letter := delivered(testdata.LetterOptions{To: bal, WantMDN: true})
	for range 2 { // physically received twice, filed once
		r.receive(letter)
	}
	all := r.incoming()
	if len(all) != 1 || all[0].State != gateway.Pending {
		t.Fatalf("%+v", all)
	}
	r.settle(r.d, all[0].ID)
	if len(r.app.got) != 1 {
		t.Fatalf("%d MDM", len(r.app.got))
	}
	f := r.app.got[0]
	if f.Patient.Matricule != testdata.Patients()[0].Matricule || len(f.Patient.Local) != 1 || len(f.Document) == 0 || f.MessageID == "" {
		t.Errorf("%+v", f.Patient)
	}
	if len(r.post.got) != 1 || !bytes.Contains(r.post.got[0].Raw, []byte("disposition-notification")) {
		t.Fatalf("%d read receipts", len(r.post.got))
	}
	if got := r.state(all[0].ID); got != gateway.Done {
		t.Errorf("state %s", got)
	}
}

// What the archive says of visibility reaches the hospital: it is not in the CDA.
func TestVisibilityOfAReceivedDocument(t *testing.T) {
	r := newMailRoute(t)
	r.receive(delivered(testdata.LetterOptions{To: bal, Invisible: true}))
	r.settle(r.d, r.incoming()[0].ID)
	if got := r.app.got[0].Metadata.Visibility; !slices.Equal(got, []dmp.Visibility{dmp.HiddenFromPatient}) {
		t.Errorf("%v", got)
	}
}

// The hospital refuses the document: the sender is told with the code.
func TestIncomingLetterRefusedByTheHospital(t *testing.T) {
	r := newMailRoute(t)
	r.app.answers = []error{fault.New("HL7-ZAM-BUSY"), refusal{errInput}}
	r.receive(delivered(testdata.LetterOptions{To: bal, WantMDN: true}))
	id := r.incoming()[0].ID
	r.settle(r.d, id)
	if len(r.app.got) != 2 || r.app.got[0].ControlID != r.app.got[1].ControlID {
		t.Errorf("%d MDM", len(r.app.got))
	}
	in, err := mss.Read(r.post.got[0].Raw, mss.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if in.MDN == nil || !in.MDN.Failed || in.MDN.Code != "904" {
		t.Errorf("%+v", in.MDN)
	}
}

var errInput = fault.New("HL7-ZAM-REFUSED")

// Regression (found by the journal's author): a read receipt that had to be
// retried lost its code, hence changed, and was refused for ever.
func TestReadReceiptIsRetriedAsItWas(t *testing.T) {
	r := newMailRoute(t)
	r.app.answers = []error{refusal{errInput}}
	r.post.answers = []gateway.Posted{{Err: fault.New("MSS-OPERATOR-BUSY"), Code: 450}}
	r.receive(delivered(testdata.LetterOptions{To: bal, WantMDN: true}))
	id := r.incoming()[0].ID
	r.settle(r.d, id)
	if len(r.post.got) != 2 || !bytes.Equal(r.post.got[0].Raw, r.post.got[1].Raw) {
		t.Fatalf("%d submissions: %v", len(r.post.got), r.outcomes(id))
	}
	in, err := mss.Read(r.post.got[1].Raw, mss.DefaultLimits())
	if err != nil || in.MDN == nil || in.MDN.Code != "904" {
		t.Errorf("%v %+v", err, in)
	}
}

// A letter that a crash caught on its way waits for its report before it leaves
// again, with the same bytes.
func TestLetterCaughtByACrash(t *testing.T) {
	r := newMailRoute(t)
	in := mailed("M1")
	in.Flags.ToPatient, in.Recipients = false, in.Recipients[:1]
	d := r.accept(in)
	r.Gateway.Journal = &broken{Journal: r.Journal, settle: errors.New("the process died here"), died: func() { r.clock.Add(2 * r.d.Lease) }}
	for _, l := range r.letters(d.Submission) {
		if l.State != gateway.Waiting {
			t.Errorf("state %s", l.State)
		}
	}
	if got := r.outcomes(d.Submission); !slices.Equal(got, []string{"mss-pro retry", "mss-pro ok"}) {
		t.Errorf("outcomes %v", got)
	}
	if len(r.post.got) != 2 || !bytes.Equal(r.post.got[0].Raw, r.post.got[1].Raw) {
		t.Errorf("%d submissions", len(r.post.got))
	}
}

// Anything that is not exactly a document of one person held as qualified waits
// for a person.
func TestQuarantine(t *testing.T) {
	trois := testdata.PatientByID(testdata.PatientTrois)
	stranger := testdata.Patients()[0]
	stranger.GivenNames = "CLAIRE ANNE"
	tests := []struct {
		name string
		raw  []byte
	}{
		{"fail/METADATA of another patient", testdata.Letter(testdata.LetterOptions{To: bal, Metadata: &trois})},
		{"fail/traversal", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveTraversal})},
		{"fail/bomb", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveBomb})},
		{"fail/no archive", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveNone})},
		{"fail/not a zip", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveNotZip})},
		{"fail/hash", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveHash})},
		{"fail/DTD in METADATA", testdata.Letter(testdata.LetterOptions{To: bal, Archive: testdata.ArchiveBadXML})},
		{"fail/a trait differs from the person held", testdata.Letter(testdata.LetterOptions{To: bal, Document: testdata.CDAOptions{Patient: stranger}})},
		{"fail/not a mail", []byte("une phrase")},
		{"fail/receipt of nothing of ours", testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: "nothing", Recipients: []testdata.DSNRecipient{{Final: "rfc822;a@b.fr"}}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newMailRoute(t)
			r.receive(tt.raw)
			r.receive(tt.raw)
			all := r.incoming()
			if len(all) != 1 || all[0].State != gateway.Quarantined || all[0].Code == "" {
				t.Fatalf("%+v", all)
			}
			raw, err := r.Journal.Fetch(t.Context(), all[0].Digest)
			if err != nil || !bytes.Equal(raw, tt.raw) {
				t.Errorf("the mail is not kept: %v", err)
			}
			if len(r.app.got) != 0 {
				t.Error("something was filed")
			}
		})
	}
	t.Run("fail/our own letter comes back", func(t *testing.T) {
		r := newMailRoute(t)
		d := r.accept(mailed("M1"))
		r.letters(d.Submission)
		r.receive(r.post.got[0].Raw)
		if all := r.incoming(); len(all) != 1 || all[0].Code != gateway.FaultMailLoop {
			t.Errorf("%+v", all)
		}
	})
	t.Run("fail/receipt that names another recipient", func(t *testing.T) {
		r := newMailRoute(t)
		d := r.accept(mailed("M1"))
		var any gateway.Delivery
		for _, l := range r.letters(d.Submission) {
			any = l
		}
		r.receive(testdata.DSN(testdata.DSNOptions{Return: testdata.Return{To: bal}, EnvelopeID: any.ID,
			Recipients: []testdata.DSNRecipient{{Original: "rfc822;autre@test-ci-sis.mssante.fr", Final: "rfc822;autre@test-ci-sis.mssante.fr"}}}))
		if all := r.incoming(); len(all) != 1 || all[0].Code != gateway.FaultReceiptUnknown {
			t.Errorf("%+v", all)
		}
	})
}
