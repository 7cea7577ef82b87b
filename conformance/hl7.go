package conformance

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// er7 is an HL7 v2 message, split and no more: the suite has its own reading, so
// that no gateway is judged by the reader of another.
type er7 [][]string

func readER7(raw []byte) er7 {
	text := string(raw)
	if !utf8.ValidString(text) {
		if out, err := charmap.ISO8859_15.NewDecoder().String(text); err == nil {
			text = out
		}
	}
	var m er7
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		f := strings.Split(line, "|")
		if f[0] == "MSH" {
			f = append([]string{"MSH", "|"}, f[1:]...)
		}
		m = append(m, f)
	}
	return m
}

// get is one component (from 1) of one field of the first segment of that name;
// component 0 is the whole field.
func (m er7) get(segment string, field, component int) string {
	for _, s := range m {
		if s[0] == segment {
			return pick(s, field, component)
		}
	}
	return ""
}

func pick(s []string, field, component int) string {
	if field >= len(s) {
		return ""
	}
	if component == 0 {
		return s[field]
	}
	parts := strings.Split(s[field], "^")
	if component > len(parts) {
		return ""
	}
	return parts[component-1]
}

// told is one message that the gateway sent to the hospital software.
type told struct {
	raw []byte
	m   er7
	ack string // MSA-1 that the hospital answered
	n   int    // exchange
}

func (t told) event() string   { return t.m.get("MSH", 9, 2) }
func (t told) control() string { return t.m.get("MSH", 10, 0) }

// answers is the MSH-10 of the message that a ZAM speaks of.
func (t told) answers() string { return t.m.get("OBX", 4, 0) }

// yes is the answer of a ZAM: Y or N.
func (t told) yes() string { return t.m.get("OBX", 5, 1) }

// about is the address that a Z02 or a Z03 speaks of.
func (t told) about() string {
	for _, s := range t.m {
		if s[0] == "OBX" && pick(s, 2, 0) == "XTN" {
			return pick(s, 5, 4)
		}
	}
	return ""
}
