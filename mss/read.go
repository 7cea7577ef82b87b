package mss

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // letters in other encodings than UTF-8
	"github.com/emersion/go-message/mail"

	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// MailKind is what an incoming mail is, by its structure.
type MailKind string

// The kinds of incoming mail, in the order in which they are tried.
const (
	KindDSN    MailKind = "dsn"    // delivery report (RFC 3464)
	KindMDN    MailKind = "mdn"    // read receipt (RFC 8098)
	KindLetter MailKind = "letter" // everything else
)

// Limits bound what [Read] accepts. A field that is zero means its value in
// [DefaultLimits].
type Limits struct {
	Size   int64 // bytes of the mail
	Header int64 // bytes of the header, and of that of one part
	Parts  int
	Depth  int   // of nested multiparts
	Text   int64 // characters kept of the text
}

// DefaultLimits hold any mail that an operator lets through.
func DefaultLimits() Limits {
	return Limits{Size: 64 << 20, Header: 64 << 10, Parts: 100, Depth: 8, Text: 1 << 20}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Size <= 0 {
		l.Size = d.Size
	}
	if l.Header <= 0 {
		l.Header = d.Header
	}
	if l.Parts <= 0 {
		l.Parts = d.Parts
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	if l.Text <= 0 {
		l.Text = d.Text
	}
	return l
}

// Attachment is one file of a mail.
type Attachment struct {
	Name    string // as the sender wrote it, decoded; never a path to write to
	Type    string // media type
	Content []byte
}

// Incoming is a mail that was read. Nothing of it is trusted: who sent it, the
// operator knows; whom it concerns, the archive and its CDA say.
type Incoming struct {
	Kind          MailKind
	MessageID     string // without angle brackets
	InReplyTo     []string
	References    []string
	Date          time.Time // zero when it cannot be read
	Subject       string
	From          string // first address; empty when it cannot be read
	To            []string
	ReturnPath    string
	NullReturn    bool     // Return-Path: <>
	ReceiptTo     []string // Disposition-Notification-To
	OriginalTo    string   // Original-Recipient, without its type
	AutoSubmitted string
	NIL           string // X-MSS-NIL
	CodesCDA      []string
	INS           string // X-MSS-INS
	Text          string // first text/plain that is no attachment
	Attachments   []Attachment
	DSN           *DSN
	MDN           *MDN
	Raw           []byte

	archives []int // of Attachments
}

// Read reads a mail. A refusal is an [*Error]; a report without usable machine
// part is one too.
func Read(raw []byte, limits Limits) (*Incoming, error) {
	r := &reader{lim: limits.orDefault(), in: &Incoming{Kind: KindLetter, Raw: raw}}
	if int64(len(raw)) > r.lim.Size {
		return nil, refuse(FaultInboundSize, "")
	}
	e, err := message.ReadWithOptions(bytes.NewReader(raw), &message.ReadOptions{MaxHeaderBytes: r.lim.Header})
	if err != nil && !tolerable(err) {
		if headerTooBig(raw, r.lim.Header) {
			return nil, refuse(FaultMIMELimit, "header")
		}
		return nil, &Error{Code: FaultMIME, Where: "header", Cause: err}
	}
	r.headers(mail.Header{Header: e.Header})
	root, _, _ := e.Header.ContentType()
	r.report = strings.EqualFold(root, "multipart/report")
	if err := r.part(e, 0); err != nil {
		return nil, err
	}
	if err := r.reports(); err != nil {
		return nil, err
	}
	r.find()
	return r.in, nil
}

// tolerable errors come with a usable entity: text in an unknown encoding.
func tolerable(err error) bool {
	return message.IsUnknownCharset(err) || message.IsUnknownEncoding(err)
}

func headerTooBig(raw []byte, limit int64) bool {
	for _, end := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(raw, []byte(end)); i >= 0 && int64(i) < limit {
			return false
		}
	}
	return int64(len(raw)) > limit
}

type reader struct {
	lim    Limits
	in     *Incoming
	parts  int
	report bool
	status []byte // message/delivery-status
	notice []byte // message/disposition-notification
	quoted []byte // the returned message, or its header
}

func (r *reader) headers(h mail.Header) {
	in := r.in
	in.MessageID = strings.Trim(strings.TrimSpace(h.Get("Message-Id")), "<>")
	in.InReplyTo, _ = h.MsgIDList("In-Reply-To")
	in.References, _ = h.MsgIDList("References")
	in.Date, _ = h.Date()
	in.Subject, _ = h.Subject()
	in.Subject = legacy(in.Subject)
	if from := addresses(h, "From"); len(from) > 0 {
		in.From = from[0]
	}
	in.To = addresses(h, "To")
	in.ReceiptTo = addresses(h, "Disposition-Notification-To")
	if h.Has("Return-Path") {
		v := strings.TrimSpace(h.Get("Return-Path"))
		in.ReturnPath = strings.Trim(v, "<> ")
		in.NullReturn = in.ReturnPath == ""
	}
	_, to, found := strings.Cut(h.Get("Original-Recipient"), ";")
	if found {
		in.OriginalTo = strings.TrimSpace(to)
	}
	in.AutoSubmitted = strings.TrimSpace(h.Get("Auto-Submitted"))
	in.NIL, in.INS = strings.TrimSpace(h.Get("X-Mss-Nil")), strings.TrimSpace(h.Get("X-Mss-Ins"))
	for code := range strings.SplitSeq(h.Get("X-Mss-Codecda"), ",") {
		if code = strings.TrimSpace(code); code != "" {
			in.CodesCDA = append(in.CodesCDA, code)
		}
	}
}

// angled is an address where every writer of mail puts it, whatever the name
// before it.
var angled = regexp.MustCompile(`<([^<>@\s"]+@[^<>@\s"]+)>`)

// addresses reads the addresses of a field, without their names. The names of
// people are what senders write wrong (a comma, a bracket, bare accents): they
// must not cost the address. A field without any gives none.
func addresses(h mail.Header, name string) (out []string) {
	list, err := h.AddressList(name)
	if err != nil {
		for _, m := range angled.FindAllStringSubmatch(h.Get(name), maxAddresses) {
			out = append(out, m[1])
		}
		return out
	}
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}

const maxAddresses = 1000 // of a field that cannot be read whole

// part walks through the structure. Nested messages are leaves: what a forwarded
// mail holds was not written to us.
func (r *reader) part(e *message.Entity, depth int) error {
	if r.parts++; r.parts > r.lim.Parts {
		return refuse(FaultMIMELimit, "parts")
	}
	if m := e.MultipartReader(); m != nil {
		if depth >= r.lim.Depth {
			return refuse(FaultMIMELimit, "depth")
		}
		for {
			p, err := m.NextPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil && !tolerable(err) {
				return &Error{Code: FaultMIME, Where: "parts", Cause: err}
			}
			if err := r.part(p, depth+1); err != nil {
				return err
			}
		}
	}
	return r.leaf(e, depth)
}

func (r *reader) leaf(e *message.Entity, depth int) error {
	body, err := io.ReadAll(e.Body)
	if err != nil && !tolerable(err) {
		return &Error{Code: FaultMIME, Where: "body", Cause: err}
	}
	kind, params, _ := e.Header.ContentType()
	kind = strings.ToLower(kind)
	disposition, dparams, _ := e.Header.ContentDisposition()
	name := dparams["filename"]
	if name == "" {
		name = params["name"]
	}
	if d, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
		name = d
	}
	if r.report && depth == 1 {
		switch kind {
		case "message/delivery-status":
			r.status = body
			return nil
		case "message/disposition-notification":
			r.notice = body
			return nil
		case "message/rfc822", "text/rfc822-headers", "message/rfc822-headers":
			r.quoted = body
			return nil
		}
	}
	if (kind == "" || kind == "text/plain") && name == "" && !strings.EqualFold(disposition, "attachment") {
		if r.in.Text == "" {
			text := plainText(body)
			if int64(len(text)) > r.lim.Text {
				text = cut(text, int(r.lim.Text))
			}
			r.in.Text = text
		}
		return nil
	}
	// The HTML twin of the text is kept as an attachment: nobody renders it.
	r.in.Attachments = append(r.in.Attachments, Attachment{Name: path.Base(strings.ReplaceAll(name, `\`, "/")), Type: kind, Content: body})
	return nil
}

func (r *reader) reports() error {
	switch {
	case !r.report:
		return nil
	case r.status != nil:
		r.in.Kind = KindDSN
		d, err := parseDSN(r.status, r.lim)
		if err != nil {
			return err
		}
		d.OriginalMessageID = quotedMessageID(r.quoted, r.lim)
		r.in.DSN = d
	case r.notice != nil:
		r.in.Kind = KindMDN
		m, err := parseMDN(r.notice, r.lim)
		if err != nil {
			return err
		}
		if m.OriginalMessageID == "" {
			m.OriginalMessageID = quotedMessageID(r.quoted, r.lim)
		}
		r.in.MDN = m
	default:
		return refuse(FaultReport, "")
	}
	return nil
}

// quotedMessageID reads the Message-ID of the message that a report returns.
func quotedMessageID(quoted []byte, lim Limits) string {
	if len(quoted) == 0 {
		return ""
	}
	if i := bytes.Index(quoted, []byte("\r\n\r\n")); i >= 0 {
		quoted = quoted[:i]
	}
	if int64(len(quoted)) > lim.Header {
		quoted = quoted[:lim.Header]
	}
	for _, f := range fields(quoted) {
		if f.name == "message-id" {
			return strings.Trim(f.value, "<> ")
		}
	}
	return ""
}

// find marks the attachments that are archives: by name first, then the zips
// that look like one inside.
func (r *reader) find() {
	for i, a := range r.in.Attachments {
		if strings.EqualFold(a.Name, xdm.Name) {
			r.in.archives = append(r.in.archives, i)
		}
	}
	if len(r.in.archives) > 0 {
		return
	}
	for i, a := range r.in.Attachments {
		if bytes.HasPrefix(a.Content, []byte("PK\x03\x04")) && containsFold(a.Content, "ihe_xdm/") {
			r.in.archives = append(r.in.archives, i)
		}
	}
}

// containsFold looks for an ASCII text whatever its case. The names of a zip
// stand at its end, uncompressed.
func containsFold(data []byte, lower string) bool {
	const directory = 64 << 10
	if len(data) > directory {
		data = data[len(data)-directory:]
	}
	return bytes.Contains(bytes.ToLower(data), []byte(lower))
}

// Archive gives the one IHE_XDM archive of the mail; nil when there is none.
func (in *Incoming) Archive() ([]byte, error) {
	switch len(in.archives) {
	case 0:
		return nil, nil
	case 1:
		return in.Attachments[in.archives[0]].Content, nil
	}
	return nil, refuse(FaultSeveralArchives, "")
}

// Automatic tells whether a machine wrote the mail by itself: nothing automatic
// is ever answered to it (RFC 3834).
func (in *Incoming) Automatic() bool {
	a, _, _ := strings.Cut(in.AutoSubmitted, ";")
	a = strings.TrimSpace(a)
	return in.Kind != KindLetter || in.NullReturn || a != "" && !strings.EqualFold(a, "no")
}

// ReceiptAddress says where an MDN may be sent without a person: asked for, by a
// mail that no machine wrote by itself, that is not ours, and to the address
// that it came from. ours tells our own Message-IDs.
func (in *Incoming) ReceiptAddress(ours func(messageID string) bool) (Address, error) {
	if len(in.ReceiptTo) == 0 {
		return Address{}, refuse(FaultMDNUnasked, "")
	}
	if in.Automatic() || in.MessageID == "" || ours(in.MessageID) {
		return Address{}, refuse(FaultLoop, "")
	}
	if len(in.ReceiptTo) != 1 {
		return Address{}, refuse(FaultLoop, "disposition-notification-to")
	}
	to, err := ParseAddress(in.ReceiptTo[0])
	if err != nil {
		return Address{}, refuse(FaultAddress, "disposition-notification-to")
	}
	from, err := ParseAddress(in.ReturnPath)
	if err != nil || from.Key() != to.Key() {
		return Address{}, refuse(FaultLoop, "return-path")
	}
	return to, nil
}
