package cda

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

var declaration = regexp.MustCompile(`^<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']`)

// decode gives the document in UTF-8. Bytes already in UTF-8 are not copied.
func decode(data []byte) ([]byte, *Finding) {
	for _, bom := range [][]byte{{0xFE, 0xFF}, {0xFF, 0xFE}} { // UTF-16, UTF-32
		if bytes.HasPrefix(data, bom) {
			return nil, &Finding{Code: FaultEncoding, Severity: Blocking, Line: 1}
		}
	}
	text, bom := bytes.CutPrefix(data, []byte{0xEF, 0xBB, 0xBF})
	name := "utf-8"
	if m := declaration.FindSubmatch(text); m != nil {
		name = strings.ToLower(string(m[1]))
	}
	switch name {
	case "utf-8", "us-ascii":
		if bad := firstInvalid(text); bad >= 0 {
			return nil, &Finding{Code: FaultEncoding, Severity: Blocking, Line: 1 + bytes.Count(text[:bad], []byte{'\n'})}
		}
		return text, nil
	case "iso-8859-1", "latin1", "iso-8859-15", "latin9", "latin-9":
		if bom { // the mark says UTF-8, the declaration says otherwise
			return nil, &Finding{Code: FaultEncoding, Severity: Blocking, Line: 1}
		}
		table := charmap.ISO8859_1
		if strings.HasSuffix(name, "5") || strings.HasSuffix(name, "9") {
			table = charmap.ISO8859_15
		}
		out, err := table.NewDecoder().Bytes(text)
		if err != nil {
			return nil, &Finding{Code: FaultEncoding, Severity: Blocking, Line: 1, cause: err}
		}
		return out, nil
	}
	return nil, &Finding{Code: FaultEncoding, Severity: Blocking, Line: 1}
}

// firstInvalid is the offset of the first byte that is not UTF-8; -1 if none.
func firstInvalid(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
