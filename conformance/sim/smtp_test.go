package sim

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/passerelle-sante/passerelle/testdata"
)

// letters lists the Message-IDs of a mailbox, newest first.
func letters(s *Sandbox, address string) []string {
	out := []string{}
	for _, m := range s.Mailbox(address) {
		out = append(out, m.MessageID)
	}
	return out
}

// gatewayMail reads the newest mail of the gateway's mailbox.
func gatewayMail(t *testing.T, s *Sandbox) string {
	t.Helper()
	list := s.Mailbox(testdata.GatewayMailbox)
	if len(list) == 0 {
		t.Fatal("the gateway has no mail")
	}
	return string(must[[]byte](t)(s.Mail(testdata.GatewayMailbox, list[0].ID)))
}

func faults(t *testing.T, s *Sandbox, body string) {
	t.Helper()
	control(t, s, http.MethodPut, "/operator/smtp/faults", body, http.StatusOK)
}

func TestSMTPRefusesOnDemand(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct{ fault, each, all string }{
		"fail/connect":           {`{"mode":"refuse","method":"CONNECT","status":554,"code":"5.3.2"}`, "", "554 5.3.2"},
		"fail/hello":             {`{"mode":"refuse","method":"EHLO","status":421,"code":"4.3.2"}`, "", "421 4.3.2"},
		"fail/mail by default":   {`{"mode":"refuse"}`, "", "451 4.3.0"},
		"fail/mail for good":     {`{"mode":"refuse","method":"MAIL","status":550,"code":"5.7.1"}`, "", "550 5.7.1"},
		"fail/one recipient":     {`{"mode":"refuse","method":"RCPT","path":"Paul.","status":450,"code":"4.2.1"}`, "450 4.2.1", "<nil>"},
		"ok/another recipient":   {`{"mode":"refuse","method":"RCPT","path":"lea."}`, "<nil>", "<nil>"},
		"fail/data":              {`{"mode":"refuse","method":"DATA","status":452,"code":"4.3.1"}`, "<nil>", "452 4.3.1"},
		"fail/dot":               {`{"mode":"refuse","method":"DOT","status":554,"code":"5.6.0"}`, "<nil>", "554 5.6.0"},
		"fail/dot, yet stored":   {`{"mode":"refuse","method":"DOT","when":"after"}`, "<nil>", "451 4.3.0"},
		"fail/quota":             {`{"mode":"quota"}`, "452 4.2.2", "<nil>"},
		"fail/quota of a letter": {`{"mode":"refuse","method":"DOT","status":552,"code":"5.2.2"}`, "<nil>", "552 5.2.2"},
	} {
		t.Run(name, func(t *testing.T) {
			faults(t, s, c.fault)
			defer control(t, s, http.MethodDelete, "/operator/smtp/faults", "", http.StatusOK)
			id := fmt.Sprintf("%x@x.fr", name)
			each, err := submit(t, s, submission{raw: outgoing(id)})
			wantReply(t, err, c.all)
			if c.each != "" {
				wantReply(t, each[0], c.each)
			}
			stored := slices.Contains(letters(s, colleague), id)
			if want := strings.HasPrefix(name, "ok/") || strings.Contains(name, "yet stored"); stored != want {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}

func TestSMTPOtherTroubles(t *testing.T) {
	s := start(t)
	t.Run("down and up", func(t *testing.T) {
		faults(t, s, `{"mode":"down"}`)
		if _, err := submit(t, s, submission{raw: outgoing("down@x.fr")}); err == nil {
			t.Error("it is up")
		}
		faults(t, s, `{"mode":"down","count":1}`)
		if _, err := submit(t, s, submission{raw: outgoing("down@x.fr")}); err == nil {
			t.Error("it is up")
		}
		mustSubmit(t, s, submission{raw: outgoing("down@x.fr")})
	})
	t.Run("greylist", func(t *testing.T) {
		faults(t, s, `{"mode":"greylist"}`)
		to := []string{colleague, citizen}
		each, err := submit(t, s, submission{raw: outgoing("grey@x.fr"), to: to})
		wantReply(t, each[0], "451 4.7.1")
		wantReply(t, each[1], "451 4.7.1")
		wantReply(t, err, "<nil>")
		mustSubmit(t, s, submission{raw: outgoing("grey@x.fr"), to: to})
		faults(t, s, `{"mode":"greylist"}`) // set again: nobody is known any more
		each, _ = submit(t, s, submission{raw: outgoing("grey@x.fr")})
		wantReply(t, each[0], "451 4.7.1")
	})
	t.Run("bounce", func(t *testing.T) {
		faults(t, s, `{"mode":"bounce","path":"absent@"}`)
		absentee := "absent@test-ci-sis.mssante.fr"
		mustSubmit(t, s, submission{raw: outgoing("bounce@x.fr"), to: []string{colleague, absentee}, notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}, envid: "dlv-b", full: true})
		report := gatewayMail(t, s)
		for _, want := range []string{"Subject: Undelivered Mail Returned to Sender\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n", "Diagnostic-Code: smtp; 550 5.1.1 ",
			"Original-Envelope-Id: dlv-b\r\n", "Final-Recipient: rfc822; " + absentee, "Content-Type: message/rfc822", "JVBERi0"} {
			if !strings.Contains(report, want) {
				t.Errorf("no %q", want)
			}
		}
		if n := len(s.Mailbox(testdata.GatewayMailbox)); n != 1 {
			t.Errorf("%d reports: a success was not asked for", n)
		}
		if s.MailCounts()[absentee].Copies != 0 || !slices.Contains(letters(s, colleague), "bounce@x.fr") {
			t.Error("delivered to the wrong mailbox")
		}
		faults(t, s, `{"mode":"bounce","path":"absent@","code":"5.2.2"}`)
		mustSubmit(t, s, submission{raw: outgoing("never@x.fr"), to: []string{absentee}, notify: []smtp.DSNNotify{smtp.DSNNotifyNever}})
		if n := len(s.Mailbox(testdata.GatewayMailbox)); n != 1 {
			t.Error("a report although NOTIFY=NEVER")
		}
		mustSubmit(t, s, submission{raw: outgoing("default@x.fr"), to: []string{absentee}})
		if report := gatewayMail(t, s); !strings.Contains(report, "Status: 5.2.2\r\n") || !strings.Contains(report, "552 5.2.2") {
			t.Error(report)
		}
	})
	t.Run("lost around the final dot", func(t *testing.T) {
		for when, stored := range map[string]bool{Before: false, After: true} {
			faults(t, s, `{"mode":"cut","method":"DOT","when":"`+when+`","count":1}`)
			id := when + "-dot@x.fr"
			if _, err := submit(t, s, submission{raw: outgoing(id), notify: everyNotice}); err == nil {
				t.Error(when, "was answered")
			}
			// Cut before: the dialogue ends unseen, with no letter and no report.
			eventually(t, "the submission is recorded", func() bool { return s.Submissions()[0].MessageID == id })
			if got := slices.Contains(letters(s, colleague), id); got != stored {
				t.Errorf("%s: stored %v", when, got)
			}
			if last := s.Submissions()[0]; last.Stored != stored || last.Reply != "" {
				t.Errorf("%+v", last)
			}
			if got := strings.Contains(gatewayMail(t, s), id); got != stored {
				t.Errorf("%s: reported %v", when, got)
			}
		}
		mustSubmit(t, s, submission{raw: outgoing("after-dot@x.fr")})
		if got := s.MailCounts()[colleague].MessageIDs["after-dot@x.fr"]; got != 2 {
			t.Errorf("%d copies", got)
		}
	})
	t.Run("slow, held and silent reports", func(t *testing.T) {
		before := len(s.Mailbox(testdata.GatewayMailbox))
		faults(t, s, `{"mode":"silent"}`)
		mustSubmit(t, s, submission{raw: outgoing("silent@x.fr"), notify: everyNotice})
		faults(t, s, `{"mode":"hold","method":"DSN"}`)
		mustSubmit(t, s, submission{raw: outgoing("held@x.fr"), notify: everyNotice})
		eventually(t, "the report is held", func() bool { return s.SMTPCounters().Held == 1 })
		if n := len(s.Mailbox(testdata.GatewayMailbox)); n != before {
			t.Errorf("%d reports", n-before)
		}
		control(t, s, http.MethodPost, "/operator/smtp/release", "", http.StatusOK)
		eventually(t, "the report arrives", func() bool { return len(s.Mailbox(testdata.GatewayMailbox)) == before+1 })
		faults(t, s, `[{"mode":"slow","method":"DSN","ms":1},{"mode":"slow","method":"RCPT","ms":1}]`)
		mustSubmit(t, s, submission{raw: outgoing("slow@x.fr"), notify: everyNotice})
		eventually(t, "the report arrives", func() bool { return len(s.Mailbox(testdata.GatewayMailbox)) == before+2 })
	})
	t.Run("what is held at the dot is stored after the release", func(t *testing.T) {
		faults(t, s, `{"mode":"hold","method":"DOT"}`)
		done := make(chan error, 1)
		go func() { _, err := submit(t, s, submission{raw: outgoing("hold@x.fr")}); done <- err }()
		eventually(t, "held", func() bool { return s.SMTPCounters().Held == 1 })
		if slices.Contains(letters(s, colleague), "hold@x.fr") {
			t.Error("stored before the release")
		}
		s.ReleaseOperator()
		if err := <-done; err != nil {
			t.Error(err)
		}
		faults(t, s, `[]`)
	})
	// Wherever it is cut, the letter is there whole or not at all.
	t.Run("cut at any byte", func(t *testing.T) {
		cuts, answered := 0, 0
		for n := 1; answered < 3 && n < 1<<20; n += 1009 {
			faults(t, s, fmt.Sprintf(`{"mode":"cut","bytes":%d,"count":1}`, n))
			id := fmt.Sprintf("cut-%d@x.fr", n)
			raw := outgoing(id)
			_, err := submit(t, s, submission{raw: raw})
			if err == nil {
				answered++
			} else {
				cuts++
			}
			if err == nil && !slices.Contains(letters(s, colleague), id) {
				t.Errorf("%d bytes: answered and not stored", n)
			}
			for _, m := range s.Mailbox(colleague) {
				if m.MessageID == id && m.SHA256 != fmt.Sprintf("%x", sum(raw)) {
					t.Errorf("%d bytes: stored in part", n)
				}
			}
		}
		if cuts == 0 || answered == 0 {
			t.Errorf("%d cut, %d not", cuts, answered)
		}
	})
	t.Run("counted", func(t *testing.T) {
		c := s.SMTPCounters()
		if c.Processed == 0 || c.Processed < c.Answered || c.Received < c.Processed {
			t.Errorf("%+v", c)
		}
		control(t, s, http.MethodDelete, "/operator/smtp/counters", "", http.StatusOK)
		if c := s.SMTPCounters(); c.Received != 0 {
			t.Errorf("%+v", c)
		}
		mails := control(t, s, http.MethodGet, "/operator/mails", "", http.StatusOK)
		if !bytes.Contains(mails.body, []byte(`"after-dot@x.fr": 2`)) {
			t.Errorf("%s", mails.body)
		}
	})
}

func TestSMTPRules(t *testing.T) {
	s := start(t)
	raw := outgoing("rules@x.fr")
	rules := func(body string) {
		t.Helper()
		control(t, s, http.MethodPut, "/operator/rules", body, http.StatusOK)
	}
	t.Run("fail/too big, announced", func(t *testing.T) {
		rules(`{"size":1000}`)
		d := dial(t, s)
		d.startTLS(balApp(t, s))
		d.say("MAIL FROM:<> SIZE=1001", "552 5.3.4")
		if !strings.Contains(d.say("EHLO essai", "250 "), "SIZE 1000\r\n") {
			t.Error("another SIZE is announced")
		}
	})
	t.Run("fail/too big, not announced", func(t *testing.T) {
		_, err := submit(t, s, submission{raw: raw})
		wantReply(t, err, "552 5.3.4")
		if len(letters(s, colleague)) != 0 {
			t.Error("stored")
		}
	})
	t.Run("fail/too many recipients", func(t *testing.T) {
		rules(`{"recipients":1}`)
		each, err := submit(t, s, submission{raw: raw, to: []string{colleague, citizen}})
		wantReply(t, each[0], "<nil>")
		wantReply(t, each[1], "452 4.5.3")
		wantReply(t, err, "<nil>")
	})
	t.Run("fail/no AUTH", func(t *testing.T) {
		rules(`{"auth_required":true}`)
		_, err := submit(t, s, submission{raw: raw})
		wantReply(t, err, "530 5.7.0")
	})
	t.Run("fail/STARTTLS stripped", func(t *testing.T) {
		rules(`{"hide":["STARTTLS","DSN"]}`)
		d := dial(t, s)
		if hello := d.say("EHLO essai", "250 "); strings.Contains(hello, "STARTTLS") || strings.Contains(hello, "DSN") {
			t.Error(hello)
		}
		d.say("STARTTLS", "502 ")
		d.say("MAIL FROM:<>", "530 ")
	})
	control(t, s, http.MethodDelete, "/operator/rules", "", http.StatusOK)
	t.Run("fail/patient over 25 MB", func(t *testing.T) {
		big := append(bytes.Clone(raw), bytes.Repeat([]byte("remplissage de la lettre\r\n"), 25_000_000/26)...)
		mustSubmit(t, s, submission{raw: big, to: []string{colleague, citizen}, notify: everyNotice})
		if !slices.Contains(letters(s, colleague), "rules@x.fr") || len(letters(s, citizen)) != 0 {
			t.Error("delivered to the wrong mailbox")
		}
		if report := gatewayMail(t, s); !strings.Contains(report, "Status: 5.3.4") || !strings.Contains(report, citizen) {
			t.Error("no bounce for the patient")
		}
	})
	for name, body := range map[string]string{"fail/size": `{"size":0}`, "fail/recipients": `{"recipients":0}`, "fail/misspelt": `{"sise":1}`} {
		t.Run(name, func(t *testing.T) { control(t, s, http.MethodPut, "/operator/rules", body, http.StatusBadRequest) })
	}
	for name, body := range map[string]string{"fail/unknown mode": `{"mode":"lie","lie":"html"}`, "fail/unknown stage": `{"mode":"slow","method":"BDAT"}`,
		"fail/reply of success": `{"mode":"refuse","status":250}`, "fail/codes disagree": `{"mode":"refuse","status":451,"code":"5.7.1"}`, "fail/not JSON": `salade`} {
		t.Run(name, func(t *testing.T) {
			control(t, s, http.MethodPut, "/operator/smtp/faults", body, http.StatusBadRequest)
		})
	}
}

// Return-Receipt-To asks for a report where NOTIFY does not speak (ECO.2.3.1).
func TestReturnReceiptTo(t *testing.T) {
	s := start(t)
	raw := append([]byte("Return-Receipt-To: <"+testdata.GatewayMailbox+">\r\n"), outgoing("rrt@x.fr")...)
	mustSubmit(t, s, submission{raw: raw})
	if !strings.Contains(gatewayMail(t, s), "Action: delivered") {
		t.Error("no report")
	}
	mustSubmit(t, s, submission{raw: raw, notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}})
	if n := len(s.Mailbox(testdata.GatewayMailbox)); n != 1 {
		t.Errorf("%d reports", n)
	}
}

func FuzzSMTPData(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\nc\r\n.\r\n"))
	f.Add([]byte("..\r\n.\n\r\n.\r\nMAIL"))
	f.Add([]byte("x\r\r\n.\r\n"))
	f.Add(bytes.Repeat([]byte("y"), maxCommand+3))
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, refusal, err := readMail(bufio.NewReaderSize(bytes.NewReader(data), maxCommand), 1000)
		if err != nil || refusal != "" {
			return
		}
		if len(raw) > 1000 {
			t.Errorf("%d bytes over the limit", len(raw))
		}
		if bytes.Contains(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\n")) || len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\r\n")) {
			t.Errorf("bare line ends in %q", raw)
		}
	})
}

func FuzzSMTPPath(f *testing.F) {
	f.Add("FROM:<a@b.fr> SIZE=10 ENVID=a+2Bb")
	f.Add("FROM:<> RET=FULL RET=HDRS")
	f.Add("FROM:<\"a b\"@c.fr>")
	f.Fuzz(func(t *testing.T, arg string) {
		address, params, ok := pathOf(arg, "FROM:")
		if ok && strings.ContainsAny(address, "<> ") {
			t.Errorf("address %q", address)
		}
		for _, v := range params {
			if s, ok := xtext(v); ok && strings.ContainsAny(s, "\r\n\x00") {
				t.Errorf("xtext %q", s)
			}
		}
	})
}
