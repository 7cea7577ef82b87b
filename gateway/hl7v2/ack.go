package hl7v2

import (
	"encoding/base32"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Stamp is what an acknowledgement has of its own.
type Stamp struct {
	Time      time.Time // MSH-7, written in its own zone, without offset
	ControlID string    // MSH-10, at most 20 characters
}

// NewControlID draws a control id of 20 characters.
func NewControlID(random io.Reader) (string, error) {
	b := make([]byte, 12)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b), nil
}

// maxErrors bounds the ERR segments of one answer.
const maxErrors = 50

// Texts of table 0357 and of the application errors, as the volet lists them.
var (
	errorTexts = map[string]string{
		"100": "Segment sequence error", "101": "Required field missing",
		"102": "Data type error", "103": "Table value not found",
		"198": "Non-Conformant Cardinality", "199": "Other HL7 Error",
		"200": "Unsupported message type", "201": "Unsupported event code",
		"202": "Unsupported processing id", "203": "Unsupported version id",
		"207": "Application error",
	}
	applicationTexts = map[string]string{
		"900": "Version du document non valide",
		"901": "Demandeur non autorisé",
		"902": "Patient inconnu",
		"903": "INS absent",
		"904": "INS ou traits discordants",
		"905": "INS incomplet",
		"906": "Autre",
	}
)

// traitFields are the fields of PID behind the traits that ins names.
var traitFields = map[string]string{
	ins.TraitMatricule: "PID^1^3", ins.TraitOID: "PID^1^3",
	ins.TraitBirthName: "PID^1^5", ins.TraitFirstGiven: "PID^1^5", ins.TraitGivenNames: "PID^1^5",
	ins.TraitBirthDate: "PID^1^7", ins.TraitSex: "PID^1^8", ins.TraitBirthPlace: "PID^1^11",
	ins.TraitStatus: "PID^1^32", ins.TraitAttributes: "PID^1^32",
}

var versionForm = regexp.MustCompile(`^2(\.[0-9]){1,2}$`)

var location = regexp.MustCompile(`^[A-Z][A-Z0-9]{2}(\^[0-9]{0,5}){0,5}$`)

// Acknowledge writes the answer to a message: AA when the gateway is
// responsible for it, AE when the sender must correct, AR when it may send the
// same again. A replayed decision is answered with the bytes of the first
// time. The answer is in the charset of the sender.
func Acknowledge(h Header, d gateway.Decision, stamp Stamp) []byte {
	if d.Outcome == gateway.Replayed {
		return d.Receipt
	}
	code := map[gateway.Outcome]string{
		gateway.Accepted: "AA", gateway.Noted: "AA", gateway.Refused: "AE",
	}[d.Outcome]
	if code == "" {
		code = "AR"
	}
	var b strings.Builder
	processing, version := h.Message.Processing, h.Message.Version
	if !versionForm.MatchString(version) {
		version = "2.6"
	}
	if processing != "P" && processing != "T" && processing != "D" {
		processing = "P"
	}
	answer := "ACK"
	if h.event != "" {
		answer = "ACK^" + escape(h.event) + "^ACK"
	}
	segment(&b, "MSH", `^~\&`, writeHD(h.To.Application), writeHD(h.To.Facility),
		writeHD(h.From.Application), writeHD(h.From.Facility), timestamp(stamp.Time), "",
		answer, escape(stamp.ControlID), processing, version, "", "", "", "", "FRA", h.set.String())
	segment(&b, "MSA", code, escape(h.Message.ControlID), escape(d.Submission))
	if code != "AA" {
		for i, f := range d.Faults {
			if i == maxErrors {
				break
			}
			writeERR(&b, f)
		}
	}
	return h.set.encode(b.String())
}

// writeERR writes one refusal: ERR-7 is our code, its place when HL7 cannot say
// it, and the detail; ERR-8 is for people.
func writeERR(b *strings.Builder, f *fault.Fault) {
	where, diagnostic := f.Where, f.Row.Code
	if field, ok := traitFields[where]; ok {
		where = field
	}
	if where != "" && !location.MatchString(where) {
		diagnostic += " " + where
		where = ""
	}
	var r *Refusal
	if errors.As(f.Unwrap(), &r) && r.Detail != "" {
		diagnostic += " " + r.Detail
	}
	if behind := placeBehind(f); behind != "" && behind != where {
		diagnostic += " " + strings.ReplaceAll(behind, "PID^1^", "PID-")
	}
	face := f.Row.HL7
	code, ok := errorTexts[face.Code]
	if !ok {
		face.Code, code = "207", errorTexts["207"]
	}
	application := face.App
	if application == "" && face.Code == "207" {
		application = "906"
	}
	if application != "" {
		application += "^" + applicationTexts[application] + "^applicationErrorCode"
	}
	segment(b, "ERR", "", where, face.Code+"^"+code+"^messageErrorCondition", "E",
		application, "", escape(diagnostic), escape(f.FR+" "+f.FixFR))
}

// placeBehind is the place that an error had before the message's own took its
// stead: the line of the document, the field of PID behind a trait.
func placeBehind(f *fault.Fault) string {
	var l fault.Located
	if !errors.As(f.Unwrap(), &l) || l.FaultWhere() == f.Where {
		return ""
	}
	if field, ok := traitFields[l.FaultWhere()]; ok {
		return field
	}
	return l.FaultWhere()
}

// writer is what a message is written to, in memory.
type writer interface {
	io.Writer
	io.StringWriter
	io.ByteWriter
}

// segment writes one segment; its fields are already escaped.
func segment(b writer, name string, fields ...string) {
	for len(fields) > 0 && fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	_, _ = b.WriteString(name)
	for _, f := range fields {
		_ = b.WriteByte('|')
		_, _ = b.WriteString(f)
	}
	_ = b.WriteByte('\r')
}

func timestamp(t time.Time) string { return t.Format("20060102150405") }

// Answer is what an acknowledgement says.
type Answer struct {
	Code      string // MSA-1
	ControlID string // MSA-2
	Text      string // MSA-3
	Errors    []AnswerError
}

// AnswerError is one ERR segment.
type AnswerError struct{ Where, Code, Application, Text, Diagnostic, User string }

// ReadAnswer reads an acknowledgement.
func ReadAnswer(message []byte) (Answer, error) {
	h := ReadHeader(message, "")
	if !h.Present || !h.Standard || !strings.HasPrefix(h.Message.Type, "ACK") {
		return Answer{}, refuse(FaultNoticeAnswer, "MSH")
	}
	segments, err := splitSegments(message[strings.Index(string(message[:min(len(message), maxHeader)]), "MSH"):], h.set)
	if err != nil {
		return Answer{}, &Refusal{Code: FaultNoticeAnswer, Where: "MSH", Cause: err}
	}
	var a Answer
	for _, s := range segments {
		switch s.Name {
		case "MSA":
			a.Code, a.ControlID, a.Text = s.Field(1).Code(), s.Field(2).Text(), s.Field(3).Text()
		case "ERR":
			if len(a.Errors) == maxErrors {
				continue
			}
			a.Errors = append(a.Errors, AnswerError{
				Where: s.Field(2).set.decode(s.Field(2).First().raw), Code: s.Field(3).Code(),
				Application: s.Field(5).Code(), Text: s.Field(5).First().Component(2).Text(),
				Diagnostic: s.Field(7).Text(), User: s.Field(8).Text(),
			})
		}
	}
	if a.Code == "" {
		return Answer{}, refuse(FaultNoticeAnswer, place("MSA", 1, 1))
	}
	return a, nil
}

// fallbackID is a control id for a machine without randomness: the time and a
// counter, still unique to this process.
func fallbackID(now time.Time, n int64) string {
	id := strconv.FormatInt(now.UnixNano(), 36) + "-" + strconv.FormatInt(n, 36)
	return id[max(0, len(id)-20):]
}
