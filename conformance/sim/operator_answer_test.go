package sim

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
	"github.com/passerelle-sante/passerelle/testdata"
)

// asking is a letter of the gateway that asks for a read receipt.
func asking(id string, headers ...string) []byte {
	return testdata.Letter(testdata.LetterOptions{MessageID: id, From: testdata.GatewayMailbox, To: colleague, WantMDN: true, Headers: headers})
}

// newest reads the newest mail of the gateway's mailbox as the gateway does.
func newest(t *testing.T, s *Sandbox) *mss.Incoming {
	t.Helper()
	return must[*mss.Incoming](t)(mss.Read([]byte(gatewayMail(t, s)), mss.Limits{}))
}

func TestReportsAreUnderstood(t *testing.T) {
	s := start(t)
	faults(t, s, `{"mode":"bounce","path":"lea."}`)
	mustSubmit(t, s, submission{raw: outgoing("u1@x.fr"), to: []string{colleague, "lea.morel@test-ci-sis.mssante.fr"}, notify: everyNotice, envid: "dlv-7"})
	bounced := newest(t, s)
	if bounced.DSN == nil || bounced.DSN.EnvelopeID != "dlv-7" || len(bounced.DSN.Recipients) != 1 || bounced.DSN.OriginalMessageID != "u1@x.fr" || !bounced.Automatic() || !bounced.NullReturn {
		t.Fatalf("%+v %+v", bounced.Kind, bounced.DSN)
	}
	if r := bounced.DSN.Recipients[0]; r.Address() != "lea.morel@test-ci-sis.mssante.fr" || r.Delivered() || r.SMTPErrorCode() != 550 {
		t.Errorf("%+v", r)
	}
	second := s.Mailbox(testdata.GatewayMailbox)[1]
	delivered := must[*mss.Incoming](t)(mss.Read(must[[]byte](t)(s.Mail(testdata.GatewayMailbox, second.ID)), mss.Limits{}))
	if delivered.DSN == nil || !delivered.DSN.Recipients[0].Delivered() || delivered.DSN.Recipients[0].Address() != colleague {
		t.Errorf("%+v", delivered.DSN)
	}
}

func TestAutomaticReceipts(t *testing.T) {
	s := start(t)
	failed := []string{testdata.MDNError, testdata.MDNErrorApril, testdata.MDNDeleted}
	for _, dialect := range testdata.MDNDialects() {
		t.Run("ok/"+dialect, func(t *testing.T) {
			control(t, s, http.MethodPut, "/operator/auto_mdn", `{"dialect":"`+dialect+`","code":"903","label":"Document sans INS"}`, http.StatusOK)
			id := dialect + "@x.fr"
			mustSubmit(t, s, submission{raw: asking(id)})
			in := newest(t, s)
			if in.MDN == nil || in.MDN.OriginalMessageID != id || in.MDN.Recipient() != colleague || in.NIL == "" || !in.NullReturn {
				t.Fatalf("%+v", in.MDN)
			}
			if want := slices.Contains(failed, dialect); in.MDN.Failed != want || (want && in.MDN.Code != "903") {
				t.Errorf("%+v", in.MDN)
			}
		})
	}
	for name, o := range map[string]submission{
		"fail/not asked for":           {raw: outgoing("n1@x.fr")},
		"fail/asked for elsewhere":     {raw: testdata.Letter(testdata.LetterOptions{From: testdata.GatewayMailbox, MDNTo: "lea.morel@test-ci-sis.mssante.fr"})},
		"fail/written by a machine":    {raw: asking("n2@x.fr", "Auto-Submitted: auto-generated")},
		"fail/null return-path":        {raw: asking("n3@x.fr"), from: "<>"},
		"fail/another mailbox answers": {raw: asking("n4@x.fr"), to: []string{citizen}},
	} {
		t.Run(name, func(t *testing.T) {
			control(t, s, http.MethodPut, "/operator/auto_mdn", `[{"dialect":"processed","mailboxes":["Paul.Delmas@"]}]`, http.StatusOK)
			before := s.MailCounts()
			mustSubmit(t, s, o)
			after := s.MailCounts()
			for _, box := range []string{testdata.GatewayMailbox, "lea.morel@test-ci-sis.mssante.fr"} {
				if after[box].Copies != before[box].Copies {
					t.Errorf("%s got an answer", box)
				}
			}
		})
	}
	control(t, s, http.MethodPut, "/operator/auto_mdn", `{"dialect":"salade"}`, http.StatusBadRequest)
	control(t, s, http.MethodDelete, "/operator/auto_mdn", "", http.StatusOK)
}

func TestAbsentPeopleAnswer(t *testing.T) {
	s := start(t)
	control(t, s, http.MethodPut, "/operator/auto_mdn", `{"reply":true,"mailboxes":["280076311310118@"]}`, http.StatusOK)
	mustSubmit(t, s, submission{raw: outgoing("p1@x.fr"), to: []string{citizen}})
	in := newest(t, s)
	if in.Kind != mss.KindLetter || in.From != citizen || !in.Automatic() || !slices.Contains(in.InReplyTo, "p1@x.fr") || !strings.Contains(in.Text, "absent") {
		t.Errorf("%+v", in)
	}
	n := len(s.Mailbox(testdata.GatewayMailbox))
	// FIN closes the patient's side; what a machine sent is not answered.
	mustSubmit(t, s, submission{raw: asking("p2@x.fr", "X-MSS-MES: FIN"), to: []string{citizen}})
	mustSubmit(t, s, submission{raw: asking("p3@x.fr", "Auto-Submitted: auto-replied"), to: []string{citizen}})
	if got := len(s.Mailbox(testdata.GatewayMailbox)); got != n {
		t.Errorf("%d answers", got-n)
	}
	// Rude: it answers a machine, hides that it is one, and asks for a receipt.
	control(t, s, http.MethodPut, "/operator/auto_mdn", `{"reply":true,"rude":true}`, http.StatusOK)
	mustSubmit(t, s, submission{raw: asking("p4@x.fr", "Auto-Submitted: auto-replied"), to: []string{citizen}})
	if in := newest(t, s); in.Automatic() || len(in.ReceiptTo) != 1 || in.ReturnPath != citizen {
		t.Errorf("%+v", in)
	}
}

// The letters of testdata are what they say, for readers that did not write them.
func TestIncomingLetters(t *testing.T) {
	other := testdata.PatientByID(testdata.PatientTrois)
	second := testdata.CDAOptions{ID: testdata.DocumentID(7), Kind: testdata.Imaging}
	for name, c := range map[string]struct {
		o     testdata.LetterOptions
		fault string
		check func(a *xdm.Archive) bool
	}{
		"ok/ordinary": {testdata.LetterOptions{}, "", func(a *xdm.Archive) bool {
			d := a.Documents[0]
			return len(a.Documents) == 1 && a.Patient.Matricule == "280076311310118" && d.Action == dmp.New && d.Metadata.Type.Code == "11502-2" &&
				bytes.Equal(d.Content, testdata.CDA(testdata.CDAOptions{})) && len(a.Warnings) == 0
		}},
		"ok/two documents": {testdata.LetterOptions{Second: &second}, "", func(a *xdm.Archive) bool { return len(a.Documents) == 2 }},
		"ok/replacement": {testdata.LetterOptions{Replaces: true}, "", func(a *xdm.Archive) bool {
			return a.Documents[0].Action == dmp.Replace && a.Documents[0].Metadata.UniqueID.String() == testdata.DocumentID(2)
		}},
		"ok/deletion": {testdata.LetterOptions{Deletes: true}, "", func(a *xdm.Archive) bool { return a.Documents[0].Action == dmp.Delete }},
		"ok/metadata of another patient": {testdata.LetterOptions{Metadata: &other}, "", func(a *xdm.Archive) bool {
			return a.Patient.Matricule == other.Matricule && bytes.Contains(a.Documents[0].Content, []byte("280076311310118"))
		}},
		"ok/without INS":            {testdata.LetterOptions{Document: testdata.CDAOptions{NoINS: true}}, "", func(a *xdm.Archive) bool { return a.Patient.Matricule == "" && a.PatientID != "" }},
		"ok/hidden":                 {testdata.LetterOptions{Invisible: true, Masked: true}, "", func(a *xdm.Archive) bool { return len(a.Documents[0].Metadata.Visibility) == 2 }},
		"ok/metadata in lower case": {testdata.LetterOptions{Archive: testdata.ArchiveMetadataCase}, "", func(a *xdm.Archive) bool { return len(a.Documents) == 1 }},
		"fail/traversal":            {testdata.LetterOptions{Archive: testdata.ArchiveTraversal}, xdm.FaultPath, nil},
		"fail/bomb":                 {testdata.LetterOptions{Archive: testdata.ArchiveBomb}, xdm.FaultLimit, nil},
		"fail/no metadata":          {testdata.LetterOptions{Archive: testdata.ArchiveNoMetadata}, xdm.FaultNoMetadata, nil},
		"fail/digest":               {testdata.LetterOptions{Archive: testdata.ArchiveHash}, xdm.FaultDigest, nil},
		"fail/doctype":              {testdata.LetterOptions{Archive: testdata.ArchiveBadXML}, xdm.FaultMetadata, nil},
		"fail/no zip":               {testdata.LetterOptions{Archive: testdata.ArchiveNotZip}, xdm.FaultZip, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw := testdata.Letter(c.o)
			if !bytes.Equal(raw, testdata.Letter(c.o)) {
				t.Error("not the same twice")
			}
			in := must[*mss.Incoming](t)(mss.Read(raw, mss.Limits{}))
			if !strings.HasPrefix(in.Subject, "XDM/1.0/DDM+") || in.NIL != "9001" || len(in.CodesCDA) != 1 || len(in.Attachments) != 2 {
				t.Errorf("%+v", in)
			}
			archive := must[[]byte](t)(in.Archive())
			a, err := xdm.Unpack(archive, xdm.Limits{})
			if c.fault != "" {
				var e *xdm.Error
				if !errors.As(err, &e) || e.Code != c.fault {
					t.Errorf("got %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(a) {
				t.Errorf("%d documents of %s, warnings %v", len(a.Documents), a.PatientID, a.Warnings)
			}
		})
	}
	none := must[*mss.Incoming](t)(mss.Read(testdata.Letter(testdata.LetterOptions{Archive: testdata.ArchiveNone, NoPDF: true, AutoSent: true, ReplyTo: colleague}), mss.Limits{}))
	if a, err := none.Archive(); a != nil || err != nil || !none.Automatic() || none.INS != "" {
		t.Errorf("%+v %v", none, err)
	}
}

func TestDrop(t *testing.T) {
	s := start(t)
	boxes := s.Info().Operator.Mailboxes
	raw := string(testdata.Letter(testdata.LetterOptions{}))
	post := func(path, body string) answered {
		return do(t, http.DefaultClient, http.MethodPost, boxes+path, "message/rfc822", body)
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
		sender     string
	}{
		"ok/sender of the header":   {"/" + testdata.GatewayMailbox, raw, 201, "lea.morel@test-ci-sis.mssante.fr"},
		"ok/another sender":         {"/" + testdata.GatewayMailbox + "?from=hugo.noel@test-ci-sis.mssante.fr", raw, 201, "hugo.noel@test-ci-sis.mssante.fr"},
		"ok/a report":               {"/" + testdata.GatewayMailbox + "?from=%3C%3E", raw, 201, ""},
		"fail/domain":               {"/x@hopital.fr", raw, 400, ""},
		"fail/absent":               {"/absent@patient.mssante.fr", raw, 400, ""},
		"fail/no mail":              {"/" + testdata.GatewayMailbox, "salade", 400, ""},
		"fail/sender of no address": {"/" + testdata.GatewayMailbox + "?from=salade", raw, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.Mailbox(testdata.GatewayMailbox)
			if a := post(c.path, c.body); a.status != c.status {
				t.Fatalf("%d %s", a.status, a.body)
			}
			after := s.Mailbox(testdata.GatewayMailbox)
			if c.status != 201 {
				if len(after) != len(before) {
					t.Error("kept")
				}
				return
			}
			if after[0].Sender != c.sender {
				t.Errorf("sender %q", after[0].Sender)
			}
			got := do(t, http.DefaultClient, http.MethodGet, after[0].Raw, "", "")
			if string(got.body) != "Return-Path: <"+c.sender+">\r\n"+raw {
				t.Errorf("%.200s", got.body)
			}
		})
	}
	list := do(t, http.DefaultClient, http.MethodGet, boxes+"/"+testdata.GatewayMailbox, "", "").json(t)
	first := list["messages"].([]any)[0].(map[string]any)
	for _, k := range []string{"id", "received", "from", "subject", "raw"} {
		if v, _ := first[k].(string); v == "" {
			t.Errorf("no %s in %v", k, first)
		}
	}
	if a := do(t, http.DefaultClient, http.MethodGet, boxes+"/jamais.vu@patient.mssante.fr", "", ""); len(a.json(t)["messages"].([]any)) != 0 {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{"/" + testdata.GatewayMailbox + "/999", "/x@hopital.fr", "/x@hopital.fr/1", "/" + colleague + "/1"} {
		if a := do(t, http.DefaultClient, http.MethodGet, boxes+path, "", ""); a.status != http.StatusNotFound {
			t.Errorf("%s answers %d", path, a.status)
		}
	}
}
