package cda

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// chars is text as written, checked.
type chars struct {
	raw   []byte
	plain bool // it reads as it is written: no reference, no carriage return
	cdata bool // & is no reference
}

// charRef reads &…; and gives its length; 0 when it is none, a negative
// character when it is none that XML allows.
func charRef(b []byte) (r rune, n int) {
	for _, e := range entities {
		if bytes.HasPrefix(b, []byte(e.name)) {
			return e.r, len(e.name)
		}
	}
	if !bytes.HasPrefix(b, []byte("&#")) {
		return 0, 0
	}
	from, base := 2, 10
	if len(b) > 2 && b[2] == 'x' {
		from, base = 3, 16
	}
	end := bytes.IndexByte(b[:min(len(b), 40)], ';')
	if end < 0 {
		return 0, 0
	}
	for _, d := range b[from:max(from, end)] {
		if d == '_' || d == '+' {
			return 0, 0
		}
	}
	v, err := strconv.ParseUint(string(b[from:max(from, end)]), base, 64)
	if err != nil || v > unicode.MaxRune {
		return 0, 0
	}
	r = rune(v)
	if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0xD800 && r < 0xE000 || r == 0xFFFE || r == 0xFFFF {
		r = -1
	}
	return r, end + 1
}

var entities = []struct {
	name string
	r    rune
}{{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&apos;", '\''}, {"&quot;", '"'}}

// append adds the text as it reads: references replaced, ends of line as \n.
func (c chars) append(to []byte) []byte {
	if c.plain {
		return append(to, c.raw...)
	}
	for i := 0; i < len(c.raw); i++ {
		switch b := c.raw[i]; {
		case b == '\r':
			to = append(to, '\n')
			if i+1 < len(c.raw) && c.raw[i+1] == '\n' {
				i++
			}
		case b == '&' && !c.cdata:
			r, n := charRef(c.raw[i:])
			to = utf8.AppendRune(to, r)
			i += n - 1
		default:
			to = append(to, b)
		}
	}
	return to
}

// String gives the text as it reads.
func (c chars) String() string {
	if c.plain {
		return string(c.raw)
	}
	return string(c.append(nil))
}
