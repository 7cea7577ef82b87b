package mss

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// MaxPatientSize is what a patient's mailbox takes, in all.
const MaxPatientSize = 25_000_000

// Kind is who a letter is for; the two kinds never share a letter.
type Kind string

// The two kinds of recipient. An organisation or an application is a
// professional here.
const (
	Professional Kind = "professional"
	Patient      Kind = "patient"
)

// Config is the gateway as a sender.
type Config struct {
	NIL         string      // X-MSS-NIL: product reference given by ANS
	From        Address     // the BAL APP
	FromName    string      // functional entity: "Hôpital C – Biologie"
	ReplyTo     Address     // PER or ORG mailbox for answers; zero: each message brings its own
	Institution string      // legal name, for INDEX.HTM and README.TXT
	Contact     string      // how to reach it
	Product     xdm.Product // README.TXT
	MaxSize     int64       // bytes of a letter, whatever the operator announces

	// Trusted tells whether a domain is in the trust space. An error (the list is
	// stale) refuses as it is.
	Trusted func(domain string) (bool, error)

	// SendHidden lets letters to professionals through though the patient hid the
	// document from them.
	SendHidden bool
	// OldMDN writes the error of an MDN inside Disposition, as the volet of April
	// 2025 printed it, instead of in a field of its own.
	OldMDN bool
}

// Composer writes letters and read receipts. Make one with [New].
type Composer struct{ c Config }

// New checks the configuration. Without product reference, the gateway does not
// start: every mail carries it (ECO.2.4.3).
func New(c Config) (*Composer, error) {
	switch {
	case strings.TrimSpace(c.NIL) == "":
		return nil, refuse(FaultNIL, "nil")
	case !clean(c.NIL) || !ascii(c.NIL) || strings.Contains(c.NIL, " ") || len(c.NIL) > 64:
		return nil, refuse(FaultNIL, "nil")
	case c.From == Address{}:
		return nil, refuse(FaultSender, "from")
	case strings.TrimSpace(c.FromName) == "" || !clean(c.FromName) || len(c.FromName) > 200:
		return nil, refuse(FaultSender, "from_name")
	case c.From.IsPatient() || c.ReplyTo.IsPatient():
		return nil, refuse(FaultSender, "from")
	case c.ReplyTo.Key() == c.From.Key(): // ECO.2.2.5: an answer needs a reader, and a machine is none
		return nil, refuse(FaultSender, "reply_to")
	case c.MaxSize <= 0:
		return nil, refuse(FaultSender, "max_size")
	case c.Trusted == nil:
		return nil, refuse(FaultSender, "trusted")
	}
	return &Composer{c}, nil
}

// Document is one document of a letter.
type Document struct {
	Metadata dmp.Metadata
	Content  []byte // the CDA
	PDF      []byte // its PDF copy: the encapsulated one for level 1; nil when there is none
}

// Letter is one letter to one recipient. Everything that its bytes follow from
// is here or in the configuration: the same letter gives the same bytes.
type Letter struct {
	Delivery string // id of the delivery: ENVID, and root of the Message-ID
	Date     time.Time
	Kind     Kind
	To       string // address; may be empty for the patient, whose address follows from the INS
	ReplyTo  string // address of PRT REPLY; may be empty
	Action   dmp.Action

	Patient     ins.Identity // of the envelope, with its status
	Documents   []Document
	LotID       dmp.ID
	SourceID    string
	ContentType dmp.Code
	Requester   *dmp.Requester
	FileNumber  string // of the stay; ends the name of the PDF; may be empty
	Body        []byte // CORPSMAIL_*; nil for the default text

	HiddenFromPatient       bool
	HiddenFromProfessionals bool
	Opposed                 bool // to this mail
	PatientMayNotReply      bool
	WantReception           bool
	WantReading             bool
}

// Warning is something tolerated: a code of the error table and a place.
type Warning struct {
	Code, Where string
}

// Composed is a message ready to be submitted.
type Composed struct {
	MessageID string // without angle brackets
	From, To  Address
	Raw       []byte // RFC 5322, CRLF
	Warnings  []Warning
}

// Compose writes a letter. A refusal means that nothing may leave to this
// recipient; other recipients are not concerned.
func (c *Composer) Compose(l Letter) (*Composed, error) {
	if err := l.complete(); err != nil {
		return nil, err
	}
	out := &Composed{From: c.c.From}
	var err error
	if out.To, err = c.recipient(l); err != nil {
		return nil, err
	}
	patient, err := l.identity()
	if err != nil {
		return nil, err
	}
	replyTo, warnings, err := c.replyTo(l)
	if err != nil {
		return nil, err
	}
	out.Warnings = warnings

	archive, err := c.archive(l, patient, out.To)
	if err != nil {
		return nil, err
	}
	out.MessageID = c.messageID(l, out.To)
	h, err := c.header(l, patient, out, replyTo)
	if err != nil {
		return nil, err
	}
	parts := []part{{}, filePart("application/zip", xdm.Name, archive)}
	names := map[string]bool{}
	for i, d := range l.Documents {
		where := fmt.Sprintf("document[%d]/pdf", i+1)
		if len(d.PDF) == 0 {
			out.Warnings = append(out.Warnings, Warning{FaultNoPDF, where})
			continue
		}
		if !bytes.Contains(d.PDF[:min(1024, len(d.PDF))], []byte("%PDF-")) {
			return nil, refuse(FaultLetter, where)
		}
		parts = append(parts, filePart("application/pdf", pdfName(l, d, patient, names), d.PDF))
	}
	parts[0] = textPart(c.body(l, replyTo, len(parts) > 2))
	out.Raw = assemble(h, "mixed", nil, out.MessageID, parts)

	limit := c.c.MaxSize
	if l.Kind == Patient {
		limit = min(limit, MaxPatientSize)
	}
	if int64(len(out.Raw)) > limit {
		return nil, refuse(FaultSize, "")
	}
	return out, nil
}

func (l Letter) complete() error {
	switch {
	case l.Delivery == "" || len(l.Delivery) > 100 || !printable(l.Delivery):
		return refuse(FaultLetter, "delivery")
	case l.Date.IsZero():
		return refuse(FaultLetter, "date")
	case l.Kind != Professional && l.Kind != Patient:
		return refuse(FaultLetter, "kind")
	case l.Action != dmp.New && l.Action != dmp.Replace && l.Action != dmp.Delete:
		return refuse(FaultLetter, "action")
	case len(l.Documents) == 0:
		return refuse(FaultLetter, "documents")
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// recipient applies the rules on who may receive, then on where.
func (c *Composer) recipient(l Letter) (Address, error) {
	hiddenPatient, hiddenPros := l.HiddenFromPatient, l.HiddenFromProfessionals
	for _, d := range l.Documents {
		for _, v := range d.Metadata.Visibility {
			hiddenPatient = hiddenPatient || v == dmp.HiddenFromPatient
			hiddenPros = hiddenPros || v == dmp.HiddenFromProfessionals
		}
	}
	var to Address
	var err error
	switch {
	case l.Opposed:
		return to, refuse(FaultOpposed, "")
	case l.Kind == Patient && hiddenPatient:
		return to, refuse(FaultHiddenPatient, "")
	case l.Kind == Professional && hiddenPros && !c.c.SendHidden:
		return to, refuse(FaultHiddenProfessionals, "")
	case l.Kind == Patient:
		to, err = CheckPatientAddress(l.Documents[0].Metadata.Patient.VouchedBy(l.Patient), l.To)
	default:
		if to, err = ParseAddress(l.To); err != nil {
			return to, refuse(FaultAddress, "to")
		}
		// A patient's address among professionals would get their body and rules.
		if to.IsPatient() {
			return to, refuse(FaultPatientAddress, "to")
		}
	}
	if err != nil {
		return Address{}, err
	}
	return to, c.trusted(to, "to")
}

func (c *Composer) trusted(a Address, where string) error {
	ok, err := c.c.Trusted(a.Domain())
	if err != nil {
		return err
	}
	if !ok {
		return refuse(FaultDomain, where)
	}
	return nil
}

// identity is the one identity that the letter carries: that of its documents,
// for which the envelope vouches. It went through the INS gate.
func (l Letter) identity() (ins.Identity, error) {
	to := ins.ToProfessional
	if l.Kind == Patient {
		to = ins.ToPatient
	}
	var patient ins.Identity
	for i, d := range l.Documents {
		id := d.Metadata.Patient.VouchedBy(l.Patient)
		if err := ins.Gate(id, to); err != nil {
			return id, err
		}
		if err := ins.Contradiction(ins.CompareOutbound(l.Patient, id)); err != nil {
			return id, err
		}
		if i == 0 {
			patient = id
			continue
		}
		if id.Matricule != patient.Matricule || id.OID != patient.OID {
			return id, refuse(xdm.FaultPatient, fmt.Sprintf("document[%d]", i+1))
		}
		if err := ins.Contradiction(ins.CompareOutbound(patient, id)); err != nil {
			return id, err
		}
	}
	return patient, nil
}

func (c *Composer) replyTo(l Letter) (Address, []Warning, error) {
	if l.ReplyTo != "" {
		a, err := ParseAddress(l.ReplyTo)
		if err == nil && !a.IsPatient() && a.Key() != c.c.From.Key() {
			ok, err := c.c.Trusted(a.Domain())
			if err != nil {
				return Address{}, nil, err
			}
			if ok {
				return a, nil, nil
			}
		}
	}
	switch {
	case c.c.ReplyTo == Address{}:
		return Address{}, nil, refuse(FaultReplyTo, "reply_to")
	case l.ReplyTo != "":
		return c.c.ReplyTo, []Warning{{FaultReplyToIgnored, "reply_to"}}, nil
	}
	return c.c.ReplyTo, nil, nil
}

func (c *Composer) archive(l Letter, patient ins.Identity, to Address) ([]byte, error) {
	entries := make([]xdm.Entry, len(l.Documents))
	for i, d := range l.Documents {
		entries[i] = xdm.Entry{Metadata: d.Metadata, Content: d.Content, Action: l.Action}
	}
	return xdm.Pack(entries, xdm.Lot{
		UniqueID: l.LotID, SourceID: l.SourceID, Submitted: l.Date.Truncate(time.Second), ContentType: l.ContentType,
		Patient: patient, Sender: l.Requester, Recipients: []string{to.String()},
		Institution: c.c.Institution, Contact: c.c.Contact, Product: c.c.Product,
	})
}

// messageID is the same on every resend and for no other letter. It says
// nothing: the matricule in a patient's address must not be read from it.
func (c *Composer) messageID(l Letter, to Address) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n", l.Delivery, to.Key(), l.Action)
	for _, d := range l.Documents {
		fmt.Fprintf(h, "%s\n", d.Metadata.UniqueID)
	}
	return hex.EncodeToString(h.Sum(nil)[:20]) + "@" + c.c.From.Domain()
}

func (c *Composer) header(l Letter, patient ins.Identity, out *Composed, replyTo Address) (header, error) {
	subject, err := subject(l, patient)
	if err != nil {
		return nil, err
	}
	var codes []string
	for i, d := range l.Documents {
		code := d.Metadata.Type.Code
		if !printable(code) || strings.Contains(code, ",") || len(code) > 64 {
			return nil, refuse(FaultHeader, fmt.Sprintf("document[%d]/type", i+1))
		}
		codes = append(codes, code)
	}
	qualified := "N"
	if patient.HasINS() {
		qualified = "O"
	}
	var h header
	add := func(name, value string) {
		if value != "" && err == nil {
			err = h.add(name, value)
		}
	}
	add("Date", l.Date.UTC().Format(time.RFC1123Z))
	add("Message-ID", "<"+out.MessageID+">")
	add("From", mailbox(c.c.FromName, out.From))
	add("To", mailbox("", out.To))
	add("Reply-To", mailbox("", replyTo))
	add("Subject", encodeText(subject))
	if l.WantReading {
		add("Disposition-Notification-To", mailbox("", out.From))
	}
	if l.WantReception {
		add("Return-Receipt-To", mailbox("", out.From))
	}
	add("X-MSS-NIL", c.c.NIL)
	comma := ","
	if len(codes) > 10 {
		comma = ", " // a line must be foldable before 998 characters
	}
	add("X-MSS-CODECDA", strings.Join(codes, comma))
	add("X-MSS-INS", qualified)
	if l.Kind == Patient && l.PatientMayNotReply {
		add("X-MSS-MES", "FIN")
	}
	add("MIME-Version", "1.0")
	return h, err
}

// subject is XDM/1.0/DDM+<libellé> <NOM> <prénom> <date de naissance>
// (ECO.2.1.3).
func subject(l Letter, patient ins.Identity) (string, error) {
	m := l.Documents[0].Metadata
	label := strings.TrimSpace(m.Title)
	if label == "" {
		label = strings.TrimSpace(m.Type.Display)
	}
	t := patient.Traits
	for _, v := range []struct{ where, value string }{
		{"document[1]/title", label},
		{"patient/birth_name", t.BirthName},
		{"patient/first_given", t.FirstGiven},
	} {
		if strings.TrimSpace(v.value) == "" {
			return "", refuse(FaultLetter, v.where)
		}
		if !clean(v.value) {
			return "", refuse(FaultHeader, v.where)
		}
	}
	mark := "XDM/1.0/DDM+"
	switch l.Action {
	case dmp.Replace:
		mark += "[Annule et remplace] "
	case dmp.Delete:
		mark += "[Suppression] "
	}
	parts := []string{mark + cut(label, 120), strings.ToUpper(cut(t.BirthName, 80)), cut(t.FirstGiven, 80)}
	if d := t.BirthDate; len(d) == len(time.DateOnly) {
		if ymd := strings.Split(d, "-"); len(ymd) == 3 && clean(d) {
			parts = append(parts, ymd[2]+"/"+ymd[1]+"/"+ymd[0])
		}
	}
	return strings.Join(parts, " "), nil
}

// pdfName is <date>_<type>_<NOM>_<prénom>[_<dossier>].pdf (ECO.2.1.6), made
// different for each document of the letter.
func pdfName(l Letter, d Document, patient ins.Identity, used map[string]bool) string {
	m := d.Metadata
	when := m.ServiceStart
	if when.IsZero() {
		when = m.Created
	}
	kind := m.Type.Display
	if kind == "" {
		kind = m.Type.Code
	}
	fields := []string{kind, strings.ToUpper(patient.Traits.BirthName), patient.Traits.FirstGiven, l.FileNumber}
	for i, f := range fields {
		fields[i] = cut(fileField(f), 40)
	}
	if !when.IsZero() {
		fields = append([]string{when.Format("20060102")}, fields...)
	}
	name := strings.Trim(strings.Join(fields, "_"), "_")
	for base, n := name, 2; used[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	used[strings.ToLower(name)] = true
	return name + ".pdf"
}

// fileField drops what no file system takes, and the separator of the fields.
func fileField(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|_`, r) || !clean(string(r)) {
			return ' '
		}
		return r
	}, s)
	return strings.Trim(strings.Join(strings.Fields(s), " "), ".")
}
