package mss

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// mailOf writes CRLF lines, as a test prefers to hold them.
func mailOf(lines ...string) []byte {
	return []byte(strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\r\n") + "\r\n")
}

func dsnMail(fields ...string) []byte {
	return mailOf(append(append([]string{
		"Return-Path: <>",
		"From: MAILER-DAEMON@op.mssante.fr",
		"To: passerelle@ch.mssante.fr",
		"Subject: Undelivered Mail Returned to Sender",
		"MIME-Version: 1.0",
		`Content-Type: multipart/report; report-type=delivery-status; boundary="b"`,
		"",
		"--b", "Content-Type: text/plain", "", "Message non distribué", "",
		"--b", "Content-Type: message/delivery-status", "",
	}, fields...),
		"",
		"--b", "Content-Type: text/rfc822-headers", "",
		"Message-ID: <abc@ch.mssante.fr>", "Subject: XDM/1.0/DDM+CR", "",
		"--b--")...)
}

func TestReadDSN(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []string
		want   DSN
		smtp   []int
		code   string
	}{
		{
			"ok/delivered",
			[]string{"Reporting-MTA: dns; mx.op.fr", "Original-Envelope-Id: dlv-0001", "",
				"Original-Recipient: rfc822;lea@exemple.mssante.fr", "Final-Recipient: rfc822;lea.morel@exemple.mssante.fr",
				"Action: delivered", "Status: 2.0.0"},
			DSN{EnvelopeID: "dlv-0001", OriginalMessageID: "abc@ch.mssante.fr", ReportingMTA: "mx.op.fr",
				Recipients: []DSNRecipient{{Original: "lea@exemple.mssante.fr", Final: "lea.morel@exemple.mssante.fr", Action: "delivered", Status: "2.0.0"}}},
			nil, "",
		},
		{
			"fail/no such mailbox, folded",
			[]string{"Reporting-MTA: dns; mx.op.fr", "", "Final-Recipient: rfc822; <absent@exemple.mssante.fr>",
				"ACTION: Failed", "Status: 5.1.1 (no such user)", "Diagnostic-Code: smtp; 550 5.1.1", " unknown user"},
			DSN{OriginalMessageID: "abc@ch.mssante.fr", ReportingMTA: "mx.op.fr",
				Recipients: []DSNRecipient{{Final: "absent@exemple.mssante.fr", Action: "failed", Status: "5.1.1", Diagnostic: "smtp; 550 5.1.1 unknown user"}}},
			[]int{550}, FaultBounced,
		},
		{
			"ok/delayed",
			[]string{"Reporting-MTA: dns; mx.op.fr", "", "Final-Recipient: rfc822;a@b.fr", "Action: delayed", "Status: 4.4.1"},
			DSN{OriginalMessageID: "abc@ch.mssante.fr", ReportingMTA: "mx.op.fr", Recipients: []DSNRecipient{{Final: "a@b.fr", Action: "delayed", Status: "4.4.1"}}},
			nil, "",
		},
		{
			"ok/block of the message left out",
			[]string{"Final-Recipient: rfc822;a@b.fr", "Action: relayed"},
			DSN{OriginalMessageID: "abc@ch.mssante.fr", Recipients: []DSNRecipient{{Final: "a@b.fr", Action: "relayed"}}},
			nil, "",
		},
		// Found by the audit of issue 3, 2026-11-22: the report was taken for one that
		// settles nothing, and was lost.
		{
			"fail/comment behind the action",
			[]string{"Final-Recipient: rfc822;a@b.fr", "Action: failed (no such user)", "Status: 5.1.1"},
			DSN{OriginalMessageID: "abc@ch.mssante.fr", Recipients: []DSNRecipient{{Final: "a@b.fr", Action: "failed", Status: "5.1.1"}}},
			[]int{550}, FaultBounced,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := Read(dsnMail(c.fields...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if in.Kind != KindDSN || !reflect.DeepEqual(*in.DSN, c.want) {
				t.Fatalf("%s %+v", in.Kind, in.DSN)
			}
			r := in.DSN.Recipients[0]
			if c.code == "" {
				if r.Err() != nil || r.Delivered() != (r.Action == "delivered") || r.Settled() == (r.Action == "delayed") {
					t.Errorf("err %v delivered %v settled %v", r.Err(), r.Delivered(), r.Settled())
				}
				return
			}
			wantFault(t, r.Err(), c.code, "dsn")
			if r.Delivered() || !r.Settled() || r.SMTPErrorCode() != c.smtp[0] {
				t.Errorf("delivered %v, code %d", r.Delivered(), r.SMTPErrorCode())
			}
			if strings.Contains(r.Err().Error(), "@") {
				t.Error("the error text holds an address")
			}
		})
	}
	t.Run("fail/no recipient", func(t *testing.T) {
		_, err := Read(dsnMail("Reporting-MTA: dns; mx.op.fr"), Limits{})
		wantFault(t, err, FaultReport, "recipients")
	})
	t.Run("fail/action that is none", func(t *testing.T) {
		_, err := Read(dsnMail("Final-Recipient: rfc822;a@b.fr", "Action: echec", "Status: 5.1.1"), Limits{})
		wantFault(t, err, FaultReport, "action")
	})
	t.Run("fail/report without machine part", func(t *testing.T) {
		raw := bytes.ReplaceAll(dsnMail("x: y"), []byte("message/delivery-status"), []byte("text/html"))
		_, err := Read(raw, Limits{})
		wantFault(t, err, FaultReport, "")
	})
}

func TestSMTPErrorCode(t *testing.T) {
	for _, c := range []struct {
		name, status, diagnostic string
		want                     int
	}{
		{"ok/reply of the table", "5.0.0", "smtp; 553 5.1.3 bad", 553},
		{"ok/reply with a hyphen", "5.0.0", "smtp;550-5.1.1 no", 550},
		{"ok/reply outside of the table", "5.1.1", "smtp; 571 no", 550},
		{"ok/full", "5.2.2", "", 552},
		{"ok/full for now", "4.2.2", "", 452},
		{"ok/no answer", "4.4.1", "", 442},
		{"ok/temporary", "4.7.0", "", 451},
		{"ok/nothing known", "", "", 554},
		{"ok/no number out of an address", "5.1.1", "x; 10.0.250.1 said no", 550},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (DSNRecipient{Status: c.status, Diagnostic: c.diagnostic}).SMTPErrorCode(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func mdnMail(fields ...string) []byte {
	return mailOf(append(append([]string{
		"Return-Path: <auto@chb.mssante.fr>",
		"From: auto@chb.mssante.fr",
		"To: passerelle@ch.mssante.fr",
		"Subject: XDM/1.0/DDM+CR PAT DOMINIQUE 05/03/1979",
		"MIME-Version: 1.0",
		`Content-Type: multipart/report; report-type=disposition-notification; boundary="b"`,
		"",
		"--b", "Content-Type: text/plain", "", "Accusé", "",
		"--b", "Content-Type: message/disposition-notification", "",
	}, fields...),
		"",
		"--b", "Content-Type: message/rfc822", "",
		"Message-ID: <quoted@ch.mssante.fr>", "", "texte", "",
		"--b", `Content-Type: application/zip; name="IHE_XDM.zip"`, "Content-Transfer-Encoding: base64", "", "UEsDBA==", "",
		"--b--")...)
}

func TestReadMDN(t *testing.T) {
	head := []string{"Original-Recipient: rfc822;auto@chb.mssante.fr", "Final-Recipient: rfc822;auto@chb.mssante.fr", "Original-Message-ID: <abc@ch.mssante.fr>"}
	const mode = "automatic-action/MDN-sent-automatically; "
	for _, c := range []struct {
		name              string
		fields            []string
		disposition       string
		failed            bool
		code, text, ident string
	}{
		{"ok/processed", append(head, "Disposition: "+mode+"processed"), "processed", false, "", "", "abc@ch.mssante.fr"},
		{"ok/displayed by hand", append(head, "Disposition: manual-action/MDN-sent-manually; displayed"), "displayed", false, "", "", "abc@ch.mssante.fr"},
		{"ok/comment behind the disposition", append(head, "Disposition: manual-action/MDN-sent-manually; displayed (by hand)"), "displayed", false, "", "", "abc@ch.mssante.fr"},
		// Found by the audit of issue 3, 2026-11-22: told as read.
		{"fail/deleted", append(head, "Disposition:manual-action/MDN-sent-manually;deleted"), "deleted", true, "", "", "abc@ch.mssante.fr"},
		{"fail/denied", append(head, "Disposition:manual-action/MDN-sent-manually;denied"), "denied", true, "", "", "abc@ch.mssante.fr"},
		{"fail/encoded label", append(head, "Disposition: "+mode+"processed/error", "Error: 901^Demandeur non =?iso-8859-15?q?habilit=E9?="), "processed", true, "901", "Demandeur non habilité", "abc@ch.mssante.fr"},
		{"fail/label that is not UTF-8", append(head, "Disposition: "+mode+"processed/error", "Error: 901^Demandeur non habilit\xe9"), "processed", true, "901", "Demandeur non habilité", "abc@ch.mssante.fr"},
		{"ok/id of the returned mail", []string{"Final-Recipient: rfc822;a@b.fr", "Disposition: " + mode + "processed"}, "processed", false, "", "", "quoted@ch.mssante.fr"},
		{"fail/volet of April 2025", append(head, "Disposition:"+mode+"processed/Error: 902^Identifiant de patient inconnu^messageErrorCondition| E^Error^errorSeverity"),
			"processed", true, "902", "Identifiant de patient inconnu", "abc@ch.mssante.fr"},
		{"fail/short form", append(head, "Disposition: "+mode+"processed/Error: 903^Pas d'INS"), "processed", true, "903", "Pas d'INS", "abc@ch.mssante.fr"},
		{"fail/RFC 8098", append(head, "Disposition: "+mode+"processed/error", "Error: 902^Inconnu^applicationErrorCondition|E^Error^errorSeverity"),
			"processed", true, "902", "Inconnu", "abc@ch.mssante.fr"},
		{"fail/ITI-32", append(head, "Disposition: "+mode+"deleted/Error", "Error: hash mismatch"), "deleted", true, "", "hash mismatch", "abc@ch.mssante.fr"},
		{"fail/field alone", append(head, "Disposition: "+mode+"processed", "Failure: 906^Autre"), "processed", true, "906", "Autre", "abc@ch.mssante.fr"},
		{"fail/RFC 3798", append(head, "Disposition: "+mode+"failed"), "failed", true, "", "", "abc@ch.mssante.fr"},
		{"fail/several modifiers", append(head, "Disposition: "+mode+"processed/warning,ERROR"), "processed", true, "", "", "abc@ch.mssante.fr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := Read(mdnMail(c.fields...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			m := in.MDN
			if in.Kind != KindMDN || m.Disposition != c.disposition || m.Failed != c.failed || m.Code != c.code || m.Text != c.text || m.OriginalMessageID != c.ident {
				t.Errorf("%s %+v", in.Kind, m)
			}
			if m.Unread && (m.Code != "" || !c.failed) {
				t.Errorf("unread: %+v", m)
			}
			if (m.Err() != nil) != c.failed || m.Recipient() == "" {
				t.Errorf("err %v, recipient %q", m.Err(), m.Recipient())
			}
		})
	}
	for name, fields := range map[string][]string{
		"fail/no disposition":           head,
		"fail/disposition that is none": append(slices.Clone(head), "Disposition: "+mode+"banana"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(mdnMail(fields...), Limits{})
			wantFault(t, err, FaultReport, "disposition")
		})
	}
}

// Found by the audit of issue 3, 2026-11-22: a name that its sender wrote wrong cost
// the address behind it, and a subject that was not UTF-8 its letters.
func TestReadNamesWrittenWrong(t *testing.T) {
	for name, from := range map[string]string{
		"ok/comma":           "Hopital C, Biologie <hugo@exemple.mssante.fr>",
		"ok/bracket":         "Dr. Hugo [NOEL] <hugo@exemple.mssante.fr>",
		"ok/latin 1":         "Dr Hugo NO\xcbL <hugo@exemple.mssante.fr>",
		"ok/unknown charset": "=?cp-850?q?NO=CBL?= <hugo@exemple.mssante.fr>",
	} {
		t.Run(name, func(t *testing.T) {
			in, err := Read(mailOf("From: "+from, "Disposition-Notification-To: "+from, "Subject: XDM/1.0/DDM+\xc9chographie", "", "x"), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if in.From != "hugo@exemple.mssante.fr" || !slices.Equal(in.ReceiptTo, []string{in.From}) || in.Subject != "XDM/1.0/DDM+Échographie" {
				t.Errorf("%q %q %q", in.From, in.ReceiptTo, in.Subject)
			}
		})
	}
	t.Run("fail/no address at all", func(t *testing.T) {
		in, err := Read(mailOf("From: Dr. Hugo [NOEL]", "", "x"), Limits{})
		if err != nil || in.From != "" {
			t.Errorf("%v %+v", err, in)
		}
	})
}

// What we send, we read.
func TestReadOwnLetter(t *testing.T) {
	l := letter()
	l.WantReading = true
	out := mustCompose(t, composer(t, nil), l)
	in, err := Read(append([]byte("Return-Path: <passerelle@ch.mssante.fr>\r\n"), out.Raw...), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := in.Archive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := xdm.Unpack(archive, xdm.Limits{}); err != nil {
		t.Fatal(err)
	}
	if in.Kind != KindLetter || in.MessageID != out.MessageID || in.INS != "O" || in.NIL != "1234" ||
		!reflect.DeepEqual(in.CodesCDA, []string{"18748-4"}) || in.Subject != "XDM/1.0/DDM+Échographie abdominopelvienne PAT-TROIS DOMINIQUE 05/03/1979" ||
		in.From != "passerelle@ch.mssante.fr" || !reflect.DeepEqual(in.To, []string{l.To}) || !in.Date.Equal(sent) ||
		!strings.HasPrefix(in.Text, "Bonjour,") || len(in.Attachments) != 2 || in.Automatic() {
		t.Errorf("%+v", in)
	}
	to, err := in.ReceiptAddress(func(string) bool { return false })
	if err != nil || to.String() != "passerelle@ch.mssante.fr" {
		t.Errorf("receipt to %s, %v", to, err)
	}
}

func TestMDN(t *testing.T) {
	l := letter()
	l.WantReading = true
	mailed := mustCompose(t, composer(t, nil), l)
	raw := append([]byte("Return-Path: <passerelle@ch.mssante.fr>\nOriginal-Recipient: rfc822;alias@exemple.mssante.fr\n"), mailed.Raw...)
	in, err := Read(raw, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	peer := func(adjust func(*Config)) *Composer {
		return composer(t, func(c *Config) {
			c.From, c.FromName = address("auto@exemple.mssante.fr"), "Service Y"
			if adjust != nil {
				adjust(c)
			}
		})
	}
	receipt := Receipt{ID: "in-1", Date: sent, To: address("passerelle@ch.mssante.fr"), Mail: in}
	for _, c := range []struct {
		name       string
		old        bool
		code, text string
	}{
		{"ok/success", false, "", ""},
		{"ok/error", false, "902", "Identifiant de patient inconnu^|é’"},
		{"ok/error, older form", true, "902", "Identifiant de patient inconnu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receipt
			r.Code, r.Text = c.code, c.text
			p := peer(func(cfg *Config) { cfg.OldMDN = c.old })
			out, err := p.MDN(r)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := p.MDN(r); err != nil || !bytes.Equal(again.Raw, out.Raw) {
				t.Errorf("not the same bytes: %v", err)
			}
			got, err := Read(out.Raw, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			m := got.MDN
			if got.Kind != KindMDN || m.OriginalMessageID != mailed.MessageID || m.Failed != (c.code != "") || m.Code != c.code ||
				m.OriginalRecipient != "alias@exemple.mssante.fr" || m.FinalRecipient != "auto@exemple.mssante.fr" {
				t.Fatalf("%s %+v", got.Kind, m)
			}
			want := in.Subject
			if c.code != "" {
				want = "[KO Intégration système !][902] " + want
			}
			if got.Subject != want || got.NIL != "1234" || !got.Automatic() || len(got.ReceiptTo) != 0 || got.InReplyTo[0] != mailed.MessageID {
				t.Errorf("%+v", got)
			}
			o := open(t, out.Raw)
			// Found by the audit of issue 3, 2026-11-22: RFC 8098 §3 has it 7 bits.
			if !ascii(string(o.parts[1].body)) {
				t.Errorf("machine part: %s", o.parts[1].body)
			}
			if len(o.parts) != 3 || o.parts[2].kind != "message/rfc822" || !bytes.Contains(o.parts[2].body, []byte("Content-Type: application/zip")) {
				t.Errorf("%d parts", len(o.parts))
			}
		})
	}
	t.Run("ok/header alone when the mail is too big", func(t *testing.T) {
		r := receipt
		out, err := peer(func(c *Config) { c.MaxSize = int64(len(raw)) }).MDN(r)
		if err != nil {
			t.Fatal(err)
		}
		if o := open(t, out.Raw); o.parts[2].kind != "text/rfc822-headers" {
			t.Errorf("third part %s", o.parts[2].kind)
		}
	})
	// Found by the proof on the wire (issue 6): the receipt of a letter that the gate
	// held back brought its matricule out again.
	t.Run("ok/header alone when the documents may not leave", func(t *testing.T) {
		r := receipt
		r.Bare = true
		out, err := peer(nil).MDN(r)
		if err != nil {
			t.Fatal(err)
		}
		if o := open(t, out.Raw); o.parts[2].kind != "text/rfc822-headers" || bytes.Contains(out.Raw, []byte("base64")) {
			t.Errorf("third part %s", o.parts[2].kind)
		}
	})
	for _, c := range []struct {
		name, code, where string
		spoil             func(*Receipt)
	}{
		{"fail/answers a report", FaultLoop, "", func(r *Receipt) { m := *in; m.Kind = KindMDN; r.Mail = &m }},
		{"fail/outside of the trust space", FaultDomain, "to", func(r *Receipt) { r.To = address("a@gmail.com") }},
		{"fail/no id", FaultLetter, "id", func(r *Receipt) { r.ID = "" }},
		{"fail/code that is none", FaultLetter, "code", func(r *Receipt) { r.Code = "9\r\n" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receipt
			c.spoil(&r)
			_, err := peer(nil).MDN(r)
			wantFault(t, err, c.code, c.where)
		})
	}
}

func TestReceiptAddress(t *testing.T) {
	base := []string{"Return-Path: <a@ch.mssante.fr>", "Message-ID: <x@ch.mssante.fr>", "From: a@ch.mssante.fr", "Disposition-Notification-To: A <A@ch.mssante.fr>"}
	with := func(lines ...string) []byte { return mailOf(append(append([]string{}, lines...), "", "texte")...) }
	for _, c := range []struct {
		name, code, where string
		raw               []byte
	}{
		{"ok/asked", "", "", with(base...)},
		{"ok/auto-submitted: no", "", "", with(append(base, "Auto-Submitted: no")...)},
		{"fail/not asked", FaultMDNUnasked, "", with(base[:3]...)},
		{"fail/no return path", FaultLoop, "return-path", with(base[1:]...)},
		{"fail/null return path", FaultLoop, "", with(append([]string{"Return-Path: <>"}, base[1:]...)...)},
		{"fail/other return path", FaultLoop, "return-path", with(append([]string{"Return-Path: <b@ch.mssante.fr>"}, base[1:]...)...)},
		{"fail/automatic", FaultLoop, "", with(append(base, "Auto-Submitted: auto-generated; x=y")...)},
		{"fail/two addresses", FaultLoop, "disposition-notification-to", with(append(base[:3:3], "Disposition-Notification-To: a@ch.mssante.fr, b@ch.mssante.fr")...)},
		{"fail/our own letter", FaultLoop, "", with(append(base, "X: y")...)},
		{"fail/no Message-ID", FaultLoop, "", with(base[0], base[2], base[3])},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := Read(c.raw, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			to, err := in.ReceiptAddress(func(id string) bool { return c.name == "fail/our own letter" && id == "x@ch.mssante.fr" })
			if c.code == "" {
				if err != nil || to.Key() != "a@ch.mssante.fr" {
					t.Errorf("to %s, %v", to, err)
				}
				return
			}
			wantFault(t, err, c.code, c.where)
		})
	}
}

func TestArchive(t *testing.T) {
	zip := base64.StdEncoding.EncodeToString([]byte("PK\x03\x04....Ihe_Xdm/SUBSET01/METADATA.XML"))
	file := func(name, kind, data string) []string {
		return []string{"--b", fmt.Sprintf("Content-Type: %s; name=%q", kind, name), "Content-Transfer-Encoding: base64",
			fmt.Sprintf("Content-Disposition: attachment; filename=%q", name), "", data}
	}
	build := func(files ...[]string) []byte {
		lines := []string{"From: a@b.fr", "Subject: s", "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", ""}
		for _, f := range files {
			lines = append(lines, f...)
		}
		return mailOf(append(lines, "--b--")...)
	}
	for _, c := range []struct {
		name  string
		raw   []byte
		found bool
		code  string
	}{
		{"ok/capitals", build(file("IHE_XDM.ZIP", "application/octet-stream", "AAAA")), true, ""},
		{"ok/encoded name", build(file("=?utf-8?b?SUhFX1hETS56aXA=?=", "application/zip", "AAAA")), true, ""},
		{"ok/other name, same content", build(file("documents.zip", "application/x-zip-compressed", zip)), true, ""},
		{"ok/the name wins", build(file("other.zip", "application/zip", zip), file("ihe_xdm.zip", "application/zip", zip)), true, ""},
		{"ok/none", build(file("a.pdf", "application/pdf", "AAAA")), false, ""},
		{"fail/two", build(file("IHE_XDM.zip", "application/zip", zip), file("ihe_xdm.ZIP", "application/zip", zip)), false, FaultSeveralArchives},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := Read(c.raw, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			a, err := in.Archive()
			if c.code != "" {
				wantFault(t, err, c.code, "")
				return
			}
			if err != nil || (a != nil) != c.found {
				t.Errorf("found %v, %v", a != nil, err)
			}
		})
	}
}

func TestReadOddMail(t *testing.T) {
	deep := []string{"From: a@b.fr"}
	for i := range 12 {
		deep = append(deep, fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d", i), "", fmt.Sprintf("--b%d", i))
	}
	many := []string{"Content-Type: multipart/mixed; boundary=b", ""}
	for range 40 {
		many = append(many, "--b", "", "x")
	}
	for _, c := range []struct {
		name, code, where string
		raw               []byte
		lim               Limits
		check             func(*Incoming) bool
	}{
		{name: "ok/no MIME", raw: mailOf("Subject: s", "", "bonjour"), check: func(in *Incoming) bool { return in.Text == "bonjour\n" && in.Subject == "s" }},
		{name: "ok/latin 1", raw: mailOf("Subject: =?iso-8859-1?q?=E9?=", "Content-Type: text/plain; charset=iso-8859-1", "", "\xe9"), check: func(in *Incoming) bool { return in.Text == "é\n" && in.Subject == "é" }},
		{name: "ok/unknown charset", raw: mailOf("Content-Type: text/plain; charset=x-unknown", "", "abc"), check: func(in *Incoming) bool { return strings.Contains(in.Text, "abc") }},
		{name: "ok/bare LF", raw: []byte("Subject: s\n\nbonjour\n"), check: func(in *Incoming) bool { return in.Text == "bonjour\n" }},
		{name: "ok/forwarded mail is a leaf", raw: mailOf("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--", "--b--"),
			check: func(in *Incoming) bool {
				return len(in.Attachments) == 1 && in.Attachments[0].Type == "message/rfc822" && in.Text == ""
			}},
		{name: "ok/a path in a name", raw: mailOf("Content-Type: multipart/mixed; boundary=b", "", "--b", `Content-Disposition: attachment; filename="..\\..\\a/b.pdf"`, "Content-Type: application/pdf", "", "x", "--b--"),
			check: func(in *Incoming) bool { return len(in.Attachments) == 1 && in.Attachments[0].Name == "b.pdf" }},
		{name: "ok/a success MDN is no letter", raw: mdnMail("Final-Recipient: rfc822;a@b.fr", "Disposition: automatic-action/MDN-sent-automatically; processed"),
			check: func(in *Incoming) bool { return in.Kind == KindMDN && in.Automatic() }},
		{name: "fail/too big", raw: mailOf("Subject: s", "", "x"), lim: Limits{Size: 5}, code: FaultInboundSize},
		{name: "fail/long header", raw: mailOf("Subject: "+strings.Repeat("a ", 40<<10), "", "x"), code: FaultMIMELimit, where: "header"},
		{name: "fail/deep", raw: mailOf(deep...), code: FaultMIMELimit, where: "depth"},
		{name: "fail/many parts", raw: mailOf(append(many, "--b--")...), lim: Limits{Parts: 20}, code: FaultMIMELimit, where: "parts"},
		{name: "fail/cut", raw: mailOf("Content-Type: multipart/mixed; boundary=b", "", "--b", "", "x"), code: FaultMIME, where: "body"},
		{name: "fail/broken base64", raw: mailOf("Content-Transfer-Encoding: base64", "Content-Type: application/zip", "", "!!!!"), code: FaultMIME, where: "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := Read(c.raw, c.lim)
			if c.code != "" {
				wantFault(t, err, c.code, c.where)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(in) {
				t.Errorf("%+v", in)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	c := composer(f, nil)
	f.Add(mustCompose(f, c, letter()).Raw)
	f.Add(dsnMail("Reporting-MTA: dns; a", "", "Final-Recipient: rfc822;a@b.fr", "Action: failed", "Status: 5.1.1"))
	f.Add(mdnMail("Final-Recipient: rfc822;a@b.fr", "Disposition: automatic-action/x; processed/Error: 902^a^b|c"))
	f.Add([]byte("Content-Type: multipart/report\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := Read(raw, Limits{Size: 1 << 20})
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("not a fault: %v", err)
			}
			return
		}
		if (in.Kind == KindDSN) != (in.DSN != nil) || (in.Kind == KindMDN) != (in.MDN != nil) {
			t.Fatalf("%s without its report", in.Kind)
		}
		_, _ = in.Archive()
		_, _ = in.ReceiptAddress(func(string) bool { return false })
		if in.Kind == KindLetter {
			// Whatever came, the answer to it is a mail that we can read.
			out, err := c.MDN(Receipt{ID: "x", Date: sent, To: address("a@ch.mssante.fr"), Mail: in, Code: "906", Text: in.Subject})
			if err != nil {
				t.Fatal(err)
			}
			back, err := Read(out.Raw, Limits{Size: 20 << 20})
			if err != nil || back.Kind != KindMDN || back.MDN.Code != "906" {
				t.Fatalf("%v %+v", err, back)
			}
		}
	})
}

func FuzzReports(f *testing.F) {
	f.Add([]byte("Original-Envelope-Id: a\n\nFinal-Recipient: rfc822;a@b.fr\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 x"))
	f.Add([]byte("Disposition: a/b; processed/Error: 902^a^b|c\nError: x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lim := Limits{}.orDefault()
		if d, err := parseDSN(data, lim); err == nil {
			for _, r := range d.Recipients {
				if !clean(r.Address()) || !clean(r.Diagnostic) || r.SMTPErrorCode() == 0 {
					t.Fatalf("%+v", r)
				}
			}
		}
		if m, err := parseMDN(data, lim); err == nil && (!clean(m.Text) || !clean(m.OriginalMessageID) || m.Code != "" && len(m.Code) != 3) {
			t.Fatalf("%+v", m)
		}
	})
}
