package hl7v2

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// charset is one of the encodings that a message may declare in MSH-18.
type charset int

const (
	charsetUTF8 charset = iota
	charset88591
	charset885915
	charsetASCII
)

// charsetNames are the spellings of MSH-18 that we know, without blanks, in
// capitals. The volet allows UNICODE UTF-8 and 8859/15; 8859/1 and the
// synonyms are what interface engines write.
var charsetNames = map[string]charset{
	"UNICODEUTF-8": charsetUTF8, "UTF-8": charsetUTF8, "UTF8": charsetUTF8, "UNICODE": charsetUTF8,
	"8859/1": charset88591, "8859-1": charset88591, "ISO8859-1": charset88591,
	"ISO-8859-1": charset88591, "ISO8859/1": charset88591, "LATIN1": charset88591,
	"8859/15": charset885915, "8859-15": charset885915, "ISO8859-15": charset885915,
	"ISO-8859-15": charset885915, "ISO8859/15": charset885915, "LATIN9": charset885915,
	"ASCII": charsetASCII,
}

func charsetNamed(name string) (charset, bool) {
	if len(name) > 40 {
		return charsetUTF8, false
	}
	c, ok := charsetNames[strings.ToUpper(strings.ReplaceAll(name, " ", ""))]
	return c, ok
}

// String is the value of table 0211, as we write it in MSH-18.
func (c charset) String() string {
	switch c {
	case charset88591:
		return "8859/1"
	case charset885915:
		return "8859/15"
	case charsetASCII:
		return "ASCII"
	default:
		return "UNICODE UTF-8"
	}
}

// valid tells whether b can be text in c. The C1 controls that ISO 8859 leaves
// to bytes 0x80–0x9F are refused: in practice they are Windows-1252 typed
// under a wrong label, and a name would be damaged in silence.
func (c charset) valid(b []byte) bool {
	switch c {
	case charsetUTF8:
		return utf8.Valid(b)
	case charsetASCII:
		for _, x := range b {
			if x >= 0x80 {
				return false
			}
		}
	default:
		for _, x := range b {
			if x >= 0x80 && x <= 0x9f {
				return false
			}
		}
	}
	return true
}

// suspect tells whether a message labelled ISO 8859 is really UTF-8.
func (c charset) suspect(b []byte) bool {
	if c != charset88591 && c != charset885915 {
		return false
	}
	high := bytes.IndexFunc(b, func(r rune) bool { return r >= 0x80 })
	return high >= 0 && utf8.Valid(b[high:])
}

// decode never fails: what is not text in c becomes U+FFFD.
func (c charset) decode(b []byte) string {
	plain := true
	for _, x := range b {
		if x >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return string(b)
	}
	var table *charmap.Charmap
	switch c {
	case charset88591:
		table = charmap.ISO8859_1
	case charset885915:
		table = charmap.ISO8859_15
	default:
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	var s strings.Builder
	s.Grow(len(b) + len(b)/8)
	for _, x := range b {
		s.WriteRune(table.DecodeByte(x))
	}
	return s.String()
}

// encode never fails: what c cannot say becomes a question mark.
func (c charset) encode(s string) []byte {
	var table *charmap.Charmap
	switch c {
	case charset88591, charsetASCII:
		table = charmap.ISO8859_1
	case charset885915:
		table = charmap.ISO8859_15
	default:
		return []byte(strings.ToValidUTF8(s, "?"))
	}
	out := make([]byte, 0, len(s))
	for _, r := range s {
		x, ok := table.EncodeRune(r)
		if !ok || c == charsetASCII && r >= 0x80 {
			x = '?'
		}
		out = append(out, x)
	}
	return out
}
