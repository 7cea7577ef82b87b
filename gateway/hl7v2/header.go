package hl7v2

import (
	"bytes"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway"
)

// Header is what an acknowledgement needs of a message: its MSH, as far as it
// can be read, whatever is wrong with the rest. The zero value is a message
// without a readable MSH.
type Header struct {
	Present  bool
	Standard bool // separators are |^~\&
	From, To gateway.Party
	Message  gateway.Message
	set      charset
	known    bool // MSH-18 is a charset that we know
	profiles []string
	event    string
	segment  Segment
}

// maxHeader bounds an MSH: the longest legitimate one has some 300 bytes.
const maxHeader = 4 << 10

// ReadHeader reads the MSH at the start of a message. Blank lines and a byte
// order mark before it are skipped.
func ReadHeader(message []byte, fallback string) Header {
	b := bytes.TrimLeft(bytes.TrimPrefix(message, []byte("\xEF\xBB\xBF")), "\r\n \t")
	line := b[:min(len(b), maxHeader)]
	line = line[:lineEnd(line)]
	if len(line) < 8 || string(line[:3]) != "MSH" {
		return Header{}
	}
	sep := line[3]
	if sep >= 0x80 || sep <= ' ' || sep >= '0' && sep <= '9' || sep >= 'A' && sep <= 'Z' || sep >= 'a' && sep <= 'z' {
		return Header{}
	}
	encoding, rest, _ := bytes.Cut(line[4:], []byte{sep})
	h := Header{Present: true, Standard: sep == '|' && string(encoding) == `^~\&`}
	if !h.Standard {
		// Whatever the separators, the sender must find its control id in
		// the refusal: the header is read as if it were regular.
		component := byte('^')
		if len(encoding) > 0 && encoding[0] > ' ' && encoding[0] < 0x80 {
			component = encoding[0]
		}
		swapped := bytes.Map(func(r rune) rune {
			switch r {
			case rune(sep):
				return '|'
			case rune(component):
				return '^'
			}
			return r
		}, rest)
		line = append([]byte(`MSH|^~\&|`), swapped...)
	}
	s := Segment{Name: "MSH", Occ: 1, raw: line}
	h.set, h.known = charsetNamed(s.Field(18).First().Text())
	if s.Field(18).Empty() {
		h.set, h.known = charsetNamed(fallback)
		if fallback == "" {
			h.set, h.known = charsetUTF8, true
		}
	}
	s.set, h.segment = h.set, s
	h.From = gateway.Party{Application: hd(s.Field(3)), Facility: hd(s.Field(4))}
	h.To = gateway.Party{Application: hd(s.Field(5)), Facility: hd(s.Field(6))}
	kind, event := s.Field(9).Component(1).Text(), s.Field(9).Component(2).Text()
	h.event = event
	for r := range s.Field(21).Repetitions() {
		if len(h.profiles) == 8 {
			break
		}
		h.profiles = append(h.profiles, strings.TrimSuffix(r.Component(1).Text()+"^"+r.Component(2).Text(), "^"))
	}
	h.Message = gateway.Message{
		Type:       strings.TrimSuffix(kind+"^"+event, "^"),
		ControlID:  s.Field(10).Text(), // whole: MSA-2 gives back all of it
		Version:    s.Field(12).Code(),
		Processing: s.Field(11).Code(),
		Charset:    h.set.String(),
		To:         h.To,
	}
	if len(h.profiles) > 0 {
		h.Message.Profile = h.profiles[0]
	}
	return h
}

// Text takes a message, or the answer to it, out of the charset of MSH-18.
func (h Header) Text(message []byte) string { return h.set.decode(message) }

// hd reads an HD: the name alone, or name^id^type when there is more.
func hd(f Field) string {
	f = f.First()
	s := f.Component(1).Text()
	if id := f.Component(2).Text(); id != "" {
		s += "^" + id + "^" + f.Component(3).Text()
	}
	return s
}

// writeHD writes what hd read.
func writeHD(s string) string {
	parts := strings.Split(s, "^")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	return strings.Join(parts, "^")
}
