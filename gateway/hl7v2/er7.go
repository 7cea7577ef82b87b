package hl7v2

import (
	"bytes"
	"encoding/hex"
	"iter"
	"strconv"
	"strings"
)

// maxSegments bounds what one message may cost in segments: the largest
// legitimate message has a few hundred.
const maxSegments = 5000

// Segment is one segment of a message. Nothing is split before it is asked
// for: one OBX may weigh 20 MB and is never copied.
type Segment struct {
	Name string
	Occ  int // occurrence among the segments of that name, from 1
	from int // where it begins in the message
	raw  []byte
	set  charset
}

// Field is a piece of a segment: a field, a repetition, a component or a
// sub-component, still escaped.
type Field struct {
	raw []byte
	set charset
}

// splitSegments cuts a message at CR, LF or CRLF. A line that does not begin
// like a segment continues the OBX before it, because base64 is sometimes sent
// in lines; after any other segment it is malformed.
func splitSegments(msg []byte, set charset) (segments []Segment, err error) {
	seen := map[string]int{}
	for start := 0; start < len(msg); {
		end := start + lineEnd(msg[start:])
		line := msg[start:end]
		next := end
		for next < len(msg) && (msg[next] == '\r' || msg[next] == '\n') {
			next++
		}
		begin := start
		start = next
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !beginsSegment(line) {
			if n := len(segments); n > 0 && segments[n-1].Name == "OBX" {
				last := &segments[n-1]
				// The line breaks stay inside: the base64 reader ignores them.
				last.raw = msg[last.from:end]
				continue
			}
			bad := refuse(FaultSegmentMalformed, "")
			bad.Detail = "segment " + strconv.Itoa(len(segments)+1)
			return segments, bad
		}
		if len(segments) == maxSegments {
			return segments, refuse(FaultTooManySegments, "")
		}
		name := string(line[:3])
		seen[name]++
		segments = append(segments, Segment{Name: name, Occ: seen[name], from: begin, raw: msg[begin:end], set: set})
	}
	return segments, nil
}

func lineEnd(b []byte) int {
	if i := bytes.IndexAny(b, "\r\n"); i >= 0 {
		return i
	}
	return len(b)
}

func beginsSegment(line []byte) bool {
	if len(line) < 3 || len(line) > 3 && line[3] != '|' {
		return false
	}
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return upper(line[0]) && (upper(line[1]) || digit(line[1])) && (upper(line[2]) || digit(line[2]))
}

// Field gives field n, from 1; an absent field is an empty one. The first
// field of MSH is its separator.
func (s Segment) Field(n int) Field {
	if s.Name == "MSH" {
		if n == 1 {
			return Field{[]byte{'|'}, s.set}
		}
		n--
	}
	b := s.raw
	for range n {
		i := bytes.IndexByte(b, '|')
		if i < 0 {
			return Field{nil, s.set}
		}
		b = b[i+1:]
	}
	if i := bytes.IndexByte(b, '|'); i >= 0 {
		b = b[:i]
	}
	return Field{b, s.set}
}

// At is the HL7 location of field n of this segment.
func (s Segment) At(n int) string { return place(s.Name, s.Occ, n) }

func place(segment string, occurrence, field int) string {
	p := segment
	if occurrence > 0 {
		p += "^" + strconv.Itoa(occurrence)
	}
	if field > 0 {
		p += "^" + strconv.Itoa(field)
	}
	return p
}

// Repetitions walks through the repetitions of a field; an empty field has none.
func (f Field) Repetitions() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		b := f.raw
		for len(b) > 0 {
			i := bytes.IndexByte(b, '~')
			if i < 0 {
				yield(Field{b, f.set})
				return
			}
			if i > 0 && !yield(Field{b[:i], f.set}) {
				return
			}
			b = b[i+1:]
		}
	}
}

// Repeated tells whether there is more than one repetition.
func (f Field) Repeated() bool {
	n := 0
	for range f.Repetitions() {
		if n++; n > 1 {
			return true
		}
	}
	return false
}

// First is the first repetition.
func (f Field) First() Field {
	b, _, _ := bytes.Cut(f.raw, []byte{'~'})
	return Field{b, f.set}
}

// Component gives component n, from 1, of a repetition.
func (f Field) Component(n int) Field { return f.part('^', n) }

// Sub gives sub-component n, from 1, of a component.
func (f Field) Sub(n int) Field { return f.part('&', n) }

func (f Field) part(sep byte, n int) Field {
	b := f.raw
	for i := 1; i < n; i++ {
		j := bytes.IndexByte(b, sep)
		if j < 0 {
			return Field{nil, f.set}
		}
		b = b[j+1:]
	}
	if j := bytes.IndexByte(b, sep); j >= 0 {
		b = b[:j]
	}
	return Field{b, f.set}
}

// Text is the decoded and unescaped text, without blanks around it (U+00A0
// included: real senders paste it from forms). The HL7 null "" is no text.
func (f Field) Text() string {
	s := strings.TrimSpace(unescape(f.raw, f.set))
	if s == `""` {
		return ""
	}
	return s
}

// Code is the text of the first component of the first repetition.
func (f Field) Code() string { return f.First().Component(1).Text() }

// Empty tells whether nothing but blanks and separators stands in the field.
func (f Field) Empty() bool {
	if len(f.raw) > 4096 {
		return false
	}
	return strings.Trim(f.set.decode(f.raw), " \t\u00a0^~&\"") == ""
}

// unescape resolves the escape sequences of HL7. A sequence that means nothing
// to us stays as it is: dropping it could change a name.
func unescape(b []byte, set charset) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return set.decode(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			break
		}
		s.WriteString(set.decode(b[:i]))
		j := bytes.IndexByte(b[i+1:], '\\')
		if j < 0 {
			b = b[i:]
			break
		}
		seq, rest := b[i+1:i+1+j], b[i+2+j:]
		text, known := escapeSequence(seq, set)
		if !known {
			// The closing backslash may open the next sequence.
			s.WriteString(set.decode(b[i : i+1+j]))
			b = b[i+1+j:]
			continue
		}
		s.WriteString(text)
		b = rest
	}
	s.WriteString(set.decode(b))
	return s.String()
}

func escapeSequence(seq []byte, set charset) (string, bool) {
	switch string(seq) {
	case "F":
		return "|", true
	case "S":
		return "^", true
	case "T":
		return "&", true
	case "R":
		return "~", true
	case "E":
		return `\`, true
	case ".br":
		return "\n", true
	case "H", "N": // highlighting has no meaning in data
		return "", true
	}
	if len(seq) > 1 && len(seq) <= 256 && seq[0] == 'X' {
		raw, err := hex.DecodeString(string(seq[1:]))
		if err == nil {
			return set.decode(raw), true
		}
	}
	return "", false
}

// escape makes text safe inside a component. Control characters that would
// break the framing or the segments are written in hexadecimal.
func escape(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || strings.ContainsRune(`|^~\&`, r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '|':
			b.WriteString(`\F\`)
		case r == '^':
			b.WriteString(`\S\`)
		case r == '&':
			b.WriteString(`\T\`)
		case r == '~':
			b.WriteString(`\R\`)
		case r == '\\':
			b.WriteString(`\E\`)
		case r < 0x20 || r == 0x7f:
			const digits = "0123456789ABCDEF"
			b.WriteString(`\X`)
			b.WriteByte(digits[r>>4])
			b.WriteByte(digits[r&15])
			b.WriteByte('\\')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
