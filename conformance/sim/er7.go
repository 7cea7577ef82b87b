package sim

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// message is an HL7 v2 message, split and no more: the sandbox has its own
// small grammar so that the gateway is not judged by its own reader.
type message struct {
	field, component string
	segments         [][]string
}

// parseER7 splits a message; ok is false when it does not begin with a usable
// MSH. Segments may end with CR, LF or both.
func parseER7(raw []byte) (m message, ok bool) {
	text := decode(raw)
	if !strings.HasPrefix(text, "MSH") || len(text) < 9 {
		return message{}, false
	}
	_, size := utf8.DecodeRuneInString(text[3:])
	m.field = text[3 : 3+size]
	_, csize := utf8.DecodeRuneInString(text[3+size:])
	m.component = text[3+size : 3+size+csize]
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		f := strings.Split(line, m.field)
		if f[0] == "MSH" { // MSH-1 is the separator itself
			f = append([]string{"MSH", m.field}, f[1:]...)
		}
		m.segments = append(m.segments, f)
	}
	return m, true
}

// get is one field of the first segment of that name.
func (m message) get(segment string, n int) string {
	for _, s := range m.segments {
		if s[0] == segment && n < len(s) {
			return strings.TrimSpace(s[n])
		}
	}
	return ""
}

// decode gives text: UTF-8 when it is, ISO 8859-15 otherwise.
func decode(raw []byte) string {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if utf8.Valid(raw) {
		return string(raw)
	}
	out, err := charmap.ISO8859_15.NewDecoder().Bytes(raw)
	if err != nil {
		return strings.ToValidUTF8(string(raw), "?")
	}
	return string(out)
}

// acknowledge answers a message with AA, AE or AR.
func (m message) acknowledge(code, controlID string, now time.Time) []byte {
	if m.component == "" {
		m.component = "^" // what came was no message
	}
	// The sender's separators may be others than ours, and a control character
	// may not end our block.
	own := func(n int) string {
		v := strings.ReplaceAll(strings.ReplaceAll(m.get("MSH", n), m.component, "^"), "|", " ")
		return strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, v)
	}
	event := ""
	if kind := strings.Split(m.get("MSH", 9), m.component); len(kind) > 1 {
		event = strings.Trim(strings.ReplaceAll(kind[1], "|", " "), "\x1c\x0b ")
	}
	processing, version := own(11), own(12)
	if processing == "" {
		processing = "T"
	}
	if version == "" {
		version = "2.6"
	}
	charset := own(18)
	lines := []string{
		strings.Join([]string{`MSH|^~\&`, own(5), own(6), own(3), own(4), now.Format("20060102150405"), "",
			"ACK^" + event + "^ACK", controlID, processing, version, "", "", "", "", "FRA", charset}, "|"),
		"MSA|" + code + "|" + own(10),
	}
	switch code {
	case "AE":
		lines = append(lines, "ERR||MSH^1|207^Application error^messageErrorCondition|E|906^Refus demandé au bac à sable^applicationErrorCode")
	case "AR":
		lines = append(lines, "ERR||MSH^1|207^Application error^messageErrorCondition|E|906^Indisponibilité demandée au bac à sable^applicationErrorCode")
	}
	text := strings.Join(lines, "\r") + "\r"
	if charset == "8859/15" {
		if out, err := charmap.ISO8859_15.NewEncoder().Bytes([]byte(text)); err == nil {
			return out
		}
	}
	return []byte(text)
}
