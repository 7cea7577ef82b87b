package testdata

import (
	"strings"
)

// Return is one mail that another mail system sends back: a delivery report or
// a read receipt. The dates are RFC 5322, as text.
type Return struct {
	MessageID string // without angle brackets; default report-1@operateur.example
	From      string // default MAILER-DAEMON@, or the recipient, at their domain
	To        string // who sent the letter
	Date      string // default Mon, 05 Jan 2026 09:40:00 +0100
	NIL       string // X-MSS-NIL; none by default
	Original  []byte // the letter that it is about
	Whole     bool   // returns the whole letter and not its header only
	Boundary  string // default retour-bac-a-sable
}

// DSNOptions says what a delivery report tells (RFC 3464).
type DSNOptions struct {
	Return
	EnvelopeID   string // Original-Envelope-Id; none when empty
	ReportingMTA string // default the domain of From
	Recipients   []DSNRecipient
}

// DSNRecipient is one recipient of a delivery report.
type DSNRecipient struct {
	Original   string // Original-Recipient, such as rfc822;a@b; none when empty
	Final      string
	Action     string // delivered (default), failed, delayed, relayed
	Status     string // default 2.0.0 or 5.0.0 by action
	Diagnostic string // of the far server, such as 550 5.1.1 Unknown; none when empty
}

// DSN writes a delivery report, lines ended by CRLF.
func DSN(o DSNOptions) []byte {
	if len(o.Recipients) == 0 {
		o.Recipients = []DSNRecipient{{Final: Personas()[0].Mailbox}}
	}
	o.Return = o.filled("MAILER-DAEMON@"+domainOf(o.Recipients[0].Final), "livraison")
	failed := false
	machine := []string{}
	if o.EnvelopeID != "" {
		machine = append(machine, "Original-Envelope-Id: "+o.EnvelopeID)
	}
	machine = append(machine, "Reporting-MTA: dns; "+orString(o.ReportingMTA, domainOf(o.From)), "Arrival-Date: "+o.Date)
	words := []string{}
	for _, r := range o.Recipients {
		r.Action = orString(r.Action, "delivered")
		r.Status = orString(r.Status, map[string]string{"failed": "5.0.0", "delayed": "4.0.0"}[r.Action])
		failed = failed || r.Action == "failed"
		machine = append(machine, "")
		if r.Original != "" {
			machine = append(machine, "Original-Recipient: "+r.Original)
		}
		machine = append(machine, "Final-Recipient: rfc822; "+r.Final, "Action: "+r.Action, "Status: "+orString(r.Status, "2.0.0"))
		if r.Diagnostic != "" {
			machine = append(machine, "Diagnostic-Code: smtp; "+r.Diagnostic)
		}
		words = append(words, "  <"+r.Final+"> : "+map[string]string{"delivered": "remis dans la boîte", "relayed": "transmis au serveur suivant",
			"delayed": "retardé, nouvel essai plus tard", "failed": "non distribué"}[r.Action])
	}
	subject := "Accusé de réception (DSN)"
	if failed {
		subject = "Undelivered Mail Returned to Sender"
	}
	text := "Rapport de livraison.\r\n\r\n" + strings.Join(words, "\r\n") + "\r\n"
	return o.write(subject, "delivery-status", "message/delivery-status", text, machine, "")
}

// The dialects in which read receipts are met.
const (
	MDNProcessed  = "processed"       // the volet: integrated
	MDNError      = "processed-error" // the volet, RFC 8098 form: a field Error
	MDNErrorApril = "error-2025"      // the volet of April 2025: the code inside Disposition
	MDNDisplayed  = "displayed"       // a person read it (ITI-32)
	MDNDeleted    = "deleted-error"   // ITI-32: deleted, with an error
)

// MDNDialects lists them.
func MDNDialects() []string {
	return []string{MDNProcessed, MDNError, MDNErrorApril, MDNDisplayed, MDNDeleted}
}

// MDNOptions says what a read receipt tells (RFC 8098).
type MDNOptions struct {
	Return
	Dialect           string // default MDNProcessed
	Code              string // default 902
	Label             string // default Patient inconnu
	Recipient         string // Final-Recipient; default the first persona's mailbox
	OriginalRecipient string // none when empty
	OriginalMessageID string // without angle brackets
	Subject           string // of the letter
}

// MDN writes a read receipt, lines ended by CRLF.
func MDN(o MDNOptions) []byte {
	o.Recipient = orString(o.Recipient, Personas()[0].Mailbox)
	o.Return = o.filled(o.Recipient, "lecture")
	o.Code, o.Label = orString(o.Code, "902"), orString(o.Label, "Patient inconnu")
	label := o.Code + "^" + o.Label + "^applicationErrorCondition|E^Error^errorSeverity"
	const automatic = "automatic-action/MDN-sent-automatically; "
	disposition := map[string]string{
		"": automatic + "processed", MDNProcessed: automatic + "processed", MDNError: automatic + "processed/error",
		MDNErrorApril: automatic + "processed/Error: " + label, MDNDisplayed: "manual-action/MDN-sent-manually; displayed",
		MDNDeleted: automatic + "deleted/error",
	}[o.Dialect]
	failed := strings.Contains(strings.ToLower(disposition), "error")
	machine := []string{"Reporting-UA: logiciel-du-bac-a-sable; Passerelle simulateur"}
	if o.OriginalRecipient != "" {
		machine = append(machine, "Original-Recipient: "+o.OriginalRecipient)
	}
	machine = append(machine, "Final-Recipient: rfc822; "+o.Recipient)
	if o.OriginalMessageID != "" {
		machine = append(machine, "Original-Message-ID: <"+o.OriginalMessageID+">")
	}
	machine = append(machine, "Disposition: "+disposition)
	subject, text := o.Subject, "Le document a été intégré.\r\n"
	if o.Dialect == MDNDisplayed {
		text = "Le message a été affiché.\r\n"
	}
	if failed {
		subject, text = "[KO Intégration système !]["+o.Code+"] "+subject, "Le document n'a pas été intégré : "+o.Code+" "+o.Label+"\r\n"
	}
	if o.Dialect == MDNError || o.Dialect == MDNDeleted {
		machine = append(machine, "Error: "+label)
	}
	return o.write(subject, "disposition-notification", "message/disposition-notification", text, machine, o.OriginalMessageID)
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

func (r Return) filled(from, kind string) Return {
	r.From = orString(r.From, from)
	r.MessageID = orString(r.MessageID, kind+"-1@operateur.example")
	r.Date = orString(r.Date, "Mon, 05 Jan 2026 09:40:00 +0100")
	r.Boundary = orString(r.Boundary, "retour-bac-a-sable")
	return r
}

func (r Return) write(subject, report, kind, text string, machine []string, answers string) []byte {
	var b strings.Builder
	line := func(words ...string) { b.WriteString(strings.Join(words, "") + "\r\n") }
	line("Date: ", r.Date)
	line("Message-ID: <", r.MessageID, ">")
	line("From: <", r.From, ">")
	line("To: <", r.To, ">")
	line("Subject: ", encodedWords(subject))
	if answers != "" {
		line("In-Reply-To: <", answers, ">")
		line("References: <", answers, ">")
	}
	line("Auto-Submitted: auto-replied")
	if r.NIL != "" {
		line("X-MSS-NIL: ", r.NIL)
	}
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=", report, `; boundary="`, r.Boundary, `"`)
	line()
	line("--", r.Boundary)
	line("Content-Type: text/plain; charset=UTF-8")
	line("Content-Transfer-Encoding: 8bit")
	line()
	line(text)
	line("--", r.Boundary)
	line("Content-Type: ", kind)
	line()
	line(strings.Join(machine, "\r\n"))
	line()
	line("--", r.Boundary)
	original, eol := r.Original, "\r\n\r\n"
	if !r.Whole {
		if top, _, found := strings.Cut(string(original), eol); found {
			original = []byte(top + "\r\n")
		}
		line("Content-Type: text/rfc822-headers")
	} else {
		line("Content-Type: message/rfc822")
	}
	line()
	b.Write(original)
	line()
	line("--", r.Boundary, "--")
	return []byte(b.String())
}
