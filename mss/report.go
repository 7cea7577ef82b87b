package mss

import (
	"bytes"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-message/charset"
)

// DSN is a delivery report (RFC 3464).
type DSN struct {
	EnvelopeID        string // Original-Envelope-Id: the id of our delivery
	OriginalMessageID string // of the returned message or header; may be empty
	ReportingMTA      string
	Recipients        []DSNRecipient
}

// DSNRecipient is what a report says of one recipient.
type DSNRecipient struct {
	Original   string // address that we gave (ORCPT); may be empty
	Final      string // address that the report is about
	Action     string // delivered, failed, delayed, relayed, expanded
	Status     string // 5.1.1
	Diagnostic string // of the far server; quotes addresses: never for a log
}

// Address is the address to find the delivery with: ours first.
func (r DSNRecipient) Address() string {
	if r.Original != "" {
		return r.Original
	}
	return r.Final
}

// Delivered tells whether the letter is in the mailbox: expanded is, and went on
// from there.
func (r DSNRecipient) Delivered() bool { return r.Action == "delivered" || r.Action == "expanded" }

// Relayed tells that no more will be heard: the next server sends no reports. The
// letter may be in the mailbox, and nobody says so.
func (r DSNRecipient) Relayed() bool { return r.Action == "relayed" }

// Settled tells whether a report settles its recipient; delayed does not.
func (r DSNRecipient) Settled() bool { return r.Delivered() || r.Relayed() || r.Action == "failed" }

// Err is nil unless the letter failed for good.
func (r DSNRecipient) Err() error {
	if r.Action != "failed" {
		return nil
	}
	return refuse(FaultBounced, "dsn")
}

// smtpErrorCodes is the HL7 table SMTPERRORCODE.
var smtpErrorCodes = []int{
	101, 111, 251, 252, 420, 421, 422, 431, 432, 441, 442, 450, 451, 452, 500, 501, 502, 503, 504,
	510, 512, 513, 523, 530, 541, 550, 551, 552, 553, 554,
}

var (
	replyCode    = regexp.MustCompile(`(?:^|[^0-9.])([245][0-9]{2})(?:[ -]|$)`)
	statusCode   = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)
	businessCode = regexp.MustCompile(`^[0-9]{3}$`)
)

// SMTPErrorCode is the code that a ZAM^Z02 gives (HL7 table SMTPERRORCODE): that
// of the far server when the table has it, else one that its status implies.
func (r DSNRecipient) SMTPErrorCode() int {
	if m := replyCode.FindStringSubmatch(r.Diagnostic); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && slices.Contains(smtpErrorCodes, n) {
			return n
		}
	}
	return SMTPErrorCode(0, r.Status)
}

// SMTPErrorCode brings a reply code and an enhanced code into the table
// SMTPERRORCODE.
func SMTPErrorCode(reply int, enhanced string) int {
	if slices.Contains(smtpErrorCodes, reply) {
		return reply
	}
	class, detail, _ := strings.Cut(enhanced, ".")
	temporary := class == "4" || class != "5" && reply/100 == 4
	switch {
	case detail == "2.2" || detail == "3.4" || detail == "2.3":
		if temporary {
			return 452
		}
		return 552
	case temporary && (detail == "4.1" || detail == "4.2"):
		return 442
	case temporary:
		return 451
	case strings.HasPrefix(detail, "1."):
		return 550
	}
	return 554
}

// MDN is a read receipt (RFC 8098), in any of the three forms that the volet has
// printed.
type MDN struct {
	OriginalMessageID string
	OriginalRecipient string
	FinalRecipient    string
	ReportingUA       string
	Mode              string // automatic-action/mdn-sent-automatically
	Disposition       string // processed, displayed, dispatched, deleted, …; lower case
	Failed            bool
	Unread            bool   // Failed, only because it was deleted or the receipt was denied: nothing says that it was read
	Code              string // 900 to 906 when Failed and the sender gave one
	Text              string // label of the code, one line; may be empty
}

// Recipient is the address to find the delivery with: ours first.
func (m MDN) Recipient() string {
	if m.OriginalRecipient != "" {
		return m.OriginalRecipient
	}
	return m.FinalRecipient
}

// Err is nil unless the receipt says that the document was not integrated, or
// does not say that it was read.
func (m MDN) Err() error {
	switch {
	case m.Unread:
		return refuse(FaultNotRead, "mdn")
	case m.Failed:
		return refuse(FaultNotIntegrated, "mdn")
	}
	return nil
}

// dispositions are those of RFC 8098 and of the texts before it (RFC 3798, 2298).
var dispositions = []string{"displayed", "processed", "dispatched", "deleted", "denied", "failed"}

// maxReportFields bounds the machine part of a report.
const maxReportFields = 2000

type reportField struct{ name, value string }

// fields unfolds "Name: value" lines. Lines that are no field are skipped.
func fields(block []byte) []reportField {
	var out []reportField
	for line := range bytes.Lines(block) {
		text := strings.TrimRight(string(line), "\r\n")
		if text != "" && (text[0] == ' ' || text[0] == '\t') {
			if n := len(out); n > 0 && len(out[n-1].value) < 4000 {
				out[n-1].value += " " + strings.TrimSpace(text)
			}
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || len(out) >= maxReportFields {
			continue
		}
		out = append(out, reportField{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
	}
	return out
}

// blocks cuts the machine part of a report at its blank lines.
func blocks(data []byte) [][]byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	var out [][]byte
	for b := range bytes.SplitSeq(data, []byte("\n\n")) {
		if len(bytes.TrimSpace(b)) > 0 && len(out) < maxReportFields {
			out = append(out, b)
		}
	}
	return out
}

// typed reads "rfc822; address"; some senders leave out the type.
func typed(v string) string {
	if _, after, ok := strings.Cut(v, ";"); ok {
		v = after
	}
	return line(strings.Trim(strings.TrimSpace(v), "<>"))
}

// word is a keyword of a report, which a comment may follow.
func word(s string) string {
	s, _, _ = strings.Cut(line(s), "(")
	return strings.ToLower(strings.TrimSpace(s))
}

// words is a text of a report: 7 bits and encoded (RFC 2047), or not at all.
func words(s string) string {
	d := mime.WordDecoder{CharsetReader: charset.Reader}
	if decoded, err := d.DecodeHeader(legacy(s)); err == nil {
		return line(decoded)
	}
	return line(legacy(s))
}

// line makes one bounded line of foreign text.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		if !clean(string(r)) {
			return ' '
		}
		return r
	}, s)
	return cut(strings.Join(strings.Fields(s), " "), 500)
}

func parseDSN(data []byte, lim Limits) (*DSN, error) {
	if int64(len(data)) > lim.Text {
		return nil, refuse(FaultMIMELimit, "report")
	}
	d := &DSN{}
	for i, b := range blocks(data) {
		var r DSNRecipient
		for _, f := range fields(b) {
			switch f.name {
			case "original-envelope-id":
				d.EnvelopeID = line(f.value)
			case "reporting-mta":
				d.ReportingMTA = typed(f.value)
			case "original-recipient":
				r.Original = typed(f.value)
			case "final-recipient":
				r.Final = typed(f.value)
			case "action":
				r.Action = word(f.value)
			case "status":
				// A comment may follow the code.
				status, _, _ := strings.Cut(f.value, " ")
				if statusCode.MatchString(status) {
					r.Status = status
				}
			case "diagnostic-code":
				r.Diagnostic = line(f.value)
			}
		}
		// The first block is of the message, unless a sender left it out.
		if i == 0 && r.Final == "" || r.Address() == "" {
			continue
		}
		if !r.Settled() && r.Action != "delayed" {
			return nil, refuse(FaultReport, "action") // it must not be taken for a report that says nothing
		}
		d.Recipients = append(d.Recipients, r)
	}
	if len(d.Recipients) == 0 {
		return nil, refuse(FaultReport, "recipients")
	}
	return d, nil
}

func parseMDN(data []byte, lim Limits) (*MDN, error) {
	if int64(len(data)) > lim.Text {
		return nil, refuse(FaultMIMELimit, "report")
	}
	m := &MDN{}
	disposition, errorText := "", ""
	for _, f := range fields(data) {
		switch f.name {
		case "original-message-id":
			m.OriginalMessageID = strings.Trim(line(f.value), "<> ")
		case "original-recipient":
			m.OriginalRecipient = typed(f.value)
		case "final-recipient":
			m.FinalRecipient = typed(f.value)
		case "reporting-ua":
			m.ReportingUA = line(f.value)
		case "disposition":
			disposition = words(f.value)
		case "error", "failure":
			m.Failed = true
			errorText = words(f.value)
		}
	}
	mode, rest, ok := strings.Cut(disposition, ";")
	if !ok {
		return nil, refuse(FaultReport, "disposition")
	}
	kind, modifier, _ := strings.Cut(rest, "/")
	m.Mode = strings.ToLower(strings.TrimSpace(mode))
	if m.Disposition = word(kind); !slices.Contains(dispositions, m.Disposition) {
		return nil, refuse(FaultReport, "disposition")
	}
	lower := strings.ToLower(modifier)
	if strings.Contains(lower, "error") || strings.Contains(lower, "failure") || m.Disposition == "failed" {
		m.Failed = true
		if errorText == "" {
			_, errorText, _ = strings.Cut(modifier, ":")
		}
	}
	if !m.Failed && (m.Disposition == "deleted" || m.Disposition == "denied") {
		m.Failed, m.Unread = true, true
		return m, nil
	}
	if m.Failed {
		// 902^label^system|E^Error^errorSeverity
		first, _, _ := strings.Cut(errorText, "|")
		parts := strings.Split(first, "^")
		if code := strings.TrimSpace(parts[0]); businessCode.MatchString(code) {
			m.Code = code
			if len(parts) > 1 {
				m.Text = strings.TrimSpace(parts[1])
			}
		} else {
			m.Text = strings.TrimSpace(errorText)
		}
	}
	return m, nil
}
