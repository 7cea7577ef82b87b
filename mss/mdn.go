package mss

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Receipt is an MDN to write: what became of a mail that we received.
type Receipt struct {
	ID   string // of the treatment: the same on every resend
	Date time.Time
	To   Address   // from [Incoming.ReceiptAddress]
	Mail *Incoming // the mail that it answers
	Code string    // 900 to 906 when the document was not integrated; empty on success
	Text string    // label of the code
	// Bare leaves the documents of the mail out: its header answers for it.
	Bare bool
}

const koMark = "[KO Intégration système !]"

// MDN writes a read receipt (RFC 8098), with the mail that it answers as its
// third part, or the header of that mail where the whole would be too big or may
// not leave. It never asks for a receipt itself and says that a machine wrote it.
func (c *Composer) MDN(r Receipt) (*Composed, error) {
	switch {
	case r.ID == "" || len(r.ID) > 100 || !printable(r.ID):
		return nil, refuse(FaultLetter, "id")
	case r.Date.IsZero():
		return nil, refuse(FaultLetter, "date")
	case r.Mail == nil || r.Mail.Kind != KindLetter:
		return nil, refuse(FaultLoop, "")
	case r.Code != "" && !businessCode.MatchString(r.Code):
		return nil, refuse(FaultLetter, "code")
	}
	if err := c.trusted(r.To, "to"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("mdn\n" + r.ID + "\n" + r.Mail.MessageID))
	out := &Composed{From: c.c.From, To: r.To, MessageID: hex.EncodeToString(sum[:20]) + "@" + c.c.From.Domain()}

	// The subject of a foreign mail: one line, whatever it held.
	subject := line(r.Mail.Subject)
	if r.Code != "" {
		subject = koMark + "[" + r.Code + "] " + subject
	}
	var h header
	for _, f := range []field{
		{"Date", r.Date.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + out.MessageID + ">"},
		{"From", mailbox(c.c.FromName, out.From)},
		{"To", mailbox("", out.To)},
		{"Subject", encodeText(subject)},
		{"In-Reply-To", "<" + messageIDOf(r.Mail) + ">"},
		{"References", "<" + messageIDOf(r.Mail) + ">"},
		{"Auto-Submitted", "auto-replied"},
		{"X-MSS-NIL", c.c.NIL},
		{"MIME-Version", "1.0"},
	} {
		if err := h.add(f.name, f.value); err != nil {
			return nil, err
		}
	}
	machine := c.machine(r)
	parts := func(original part) []part {
		return []part{textPart(receiptText(r)), {
			header{{"Content-Type", "message/disposition-notification"}, {"Content-Transfer-Encoding", transfer(machine)}}, machine,
		}, original}
	}
	params := map[string]string{"report-type": "disposition-notification"}
	whole := crlf(r.Mail.Raw)
	out.Raw = assemble(h, "report", params, out.MessageID, parts(part{
		header{{"Content-Type", "message/rfc822"}, {"Content-Transfer-Encoding", transfer(whole)}}, whole}))
	if r.Bare || int64(len(out.Raw)) > c.c.MaxSize {
		top, _, _ := bytes.Cut(whole, []byte("\r\n\r\n"))
		out.Raw = assemble(h, "report", params, out.MessageID, parts(part{
			header{{"Content-Type", "text/rfc822-headers"}, {"Content-Transfer-Encoding", transfer(top)}}, top}))
	}
	if int64(len(out.Raw)) > c.c.MaxSize {
		return nil, refuse(FaultSize, "")
	}
	return out, nil
}

// messageIDOf is the Message-ID of a mail where it can be written back.
func messageIDOf(in *Incoming) string {
	return cut(strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '<' || r == '>' {
			return -1
		}
		return r
	}, in.MessageID), 900)
}

func receiptText(r Receipt) string {
	if r.Code == "" {
		return "Le document a été transmis au système destinataire, qui l'a intégré.\n"
	}
	return "Le message ci-dessous n'a pas pu être intégré automatiquement dans le dossier du patient.\n" +
		"Le système a retourné l'erreur " + r.Code + " : " + line(r.Text) + "\n"
}

// machine is the part that a program reads.
func (c *Composer) machine(r Receipt) []byte {
	const mode = "automatic-action/MDN-sent-automatically; "
	label := r.Code + "^" + strings.ReplaceAll(plainASCII(line(r.Text)), "^", " ") + "^applicationErrorCondition|E^Error^errorSeverity"
	original := r.Mail.OriginalTo
	if original == "" {
		original = c.c.From.String()
	}
	h := header{
		{"Reporting-UA", plainASCII(line(c.c.From.Domain() + "; " + c.c.Product.Name + " " + c.c.Product.Version))},
		{"Original-Recipient", "rfc822;" + plainASCII(line(original))},
		{"Final-Recipient", "rfc822;" + c.c.From.String()},
		{"Original-Message-ID", "<" + messageIDOf(r.Mail) + ">"},
	}
	switch {
	case r.Code == "":
		h = append(h, field{"Disposition", mode + "processed"})
	case c.c.OldMDN:
		h = append(h, field{"Disposition", mode + "processed/Error: " + label})
	default:
		h = append(h, field{"Disposition", mode + "processed/error"}, field{"Error", label})
	}
	var b bytes.Buffer
	h.write(&b)
	return b.Bytes()
}

// crlf ends every line as mail wants it.
func crlf(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

// transfer names the encoding of a part that may not be encoded (RFC 2046).
func transfer(raw []byte) string {
	for _, b := range raw {
		if b > 127 {
			return "8bit"
		}
	}
	return "7bit"
}
