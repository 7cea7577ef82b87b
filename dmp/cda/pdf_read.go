package cda

import (
	"bytes"
	"compress/zlib"
	"io"
	"strconv"
)

// Values of a PDF file. Strings are []byte, arrays []any, numbers float64.
type (
	pdfName string
	pdfRef  int
	pdfDict map[pdfName]any
)

// pdfObject is an indirect object; stream is nil when it is none.
type pdfObject struct {
	value  any
	stream []byte // as it stands in the file
}

// pdfDoc is a PDF file taken apart. It is read from its beginning, without its
// cross-reference: a later object replaces an earlier one of its number.
type pdfDoc struct {
	objects  map[pdfRef]pdfObject
	trailers []pdfDict
	inflated int  // bytes that object streams gave
	read     int  // bytes of them that were read as objects
	packed   bool // it holds object or cross-reference streams (PDF 1.5)
}

// Bounds of what is read of a foreign PDF.
const (
	maxPDFDepth   = 60
	maxPDFObjects = 500_000
	maxPDFInflate = 64 << 20
)

// readPDF takes a file apart; what cannot be read is left out.
func readPDF(b []byte) *pdfDoc {
	d := &pdfDoc{objects: map[pdfRef]pdfObject{}}
	p := &pdfLexer{b: b}
	next := -1 // where the next trailer stands; looked for once each
	for p.at < len(b) && len(d.objects) < maxPDFObjects {
		if next < p.at {
			if next = bytes.Index(b[p.at:], []byte("trailer")); next < 0 {
				next = len(b)
			} else {
				next += p.at
			}
		}
		i := bytes.IndexByte(b[p.at:], 'j')
		if next < len(b) && (i < 0 || next < p.at+i) {
			p.at = next + len("trailer")
			if dict, ok := p.value(0).(pdfDict); ok {
				d.trailers = append(d.trailers, dict)
			}
			continue
		}
		if i < 0 {
			break
		}
		p.at += i + 1
		n, ok := numberOf(b, p.at)
		if !ok {
			continue
		}
		o := pdfObject{value: p.value(0)}
		if dict, ok := o.value.(pdfDict); ok {
			o.stream = p.stream(dict)
			switch dict["Type"] {
			case pdfName("XRef"):
				d.packed = true
				d.trailers = append(d.trailers, dict)
			case pdfName("ObjStm"):
				d.packed = true
				d.unpack(o)
			}
		}
		d.objects[n] = o
	}
	return d
}

// numberOf reads "12 0 obj" backwards from its end.
func numberOf(b []byte, end int) (pdfRef, bool) {
	if end < 3 || string(b[end-3:end]) != "obj" {
		return 0, false
	}
	at := end - 3
	var numbers [2]string
	for i := range numbers {
		for at > 0 && isBlank(b[at-1]) {
			at--
		}
		stop := at
		for at > 0 && b[at-1] >= '0' && b[at-1] <= '9' && stop-at < 9 {
			at--
		}
		numbers[i] = string(b[at:stop])
	}
	n, err := strconv.Atoi(numbers[1])
	return pdfRef(n), err == nil && numbers[0] != ""
}

// unpack reads the objects of an object stream.
func (d *pdfDoc) unpack(o pdfObject) {
	if d.inflated > maxPDFInflate {
		return
	}
	data := o.inflate()
	d.inflated += len(data)
	dict := o.value.(pdfDict)
	n, first := toInt(dict["N"]), toInt(dict["First"])
	if first < 0 || first > len(data) {
		return
	}
	index := &pdfLexer{b: data[:first]}
	for range min(n, maxPDFObjects) {
		num, ok1 := index.value(0).(float64)
		off, ok2 := index.value(0).(float64)
		at := first + int(off)
		if !ok1 || !ok2 || off < 0 || off > float64(len(data)) || at >= len(data) {
			return
		}
		p := &pdfLexer{b: data, at: at}
		d.objects[pdfRef(num)] = pdfObject{value: p.value(0)}
		// Several entries may name one place: what is read again counts again.
		if d.read += p.at - at; d.read > maxPDFInflate {
			return
		}
	}
}

func toInt(v any) int {
	f, ok := v.(float64)
	if !ok || f < 0 || f > 1<<31 {
		return -1
	}
	return int(f)
}

// inflate decodes a stream that is plain or FlateDecode without predictor; nil
// for anything else.
func (o pdfObject) inflate() []byte {
	dict, _ := o.value.(pdfDict)
	filter := dict["Filter"]
	if a, ok := filter.([]any); ok && len(a) == 1 {
		filter = a[0]
	}
	switch filter {
	case nil:
		return o.stream
	case pdfName("FlateDecode"):
		z, err := zlib.NewReader(bytes.NewReader(o.stream))
		if err != nil {
			return nil
		}
		out, _ := io.ReadAll(io.LimitReader(z, maxPDFInflate)) // what could be read is enough
		return out
	}
	return nil
}

// get follows references to a value.
func (d *pdfDoc) get(v any) any {
	for range 8 {
		r, ok := v.(pdfRef)
		if !ok {
			return v
		}
		v = d.objects[r].value
	}
	return nil
}

func (d *pdfDoc) dict(v any) pdfDict {
	m, _ := d.get(v).(pdfDict)
	return m
}

// pdfLexer reads values.
type pdfLexer struct {
	b  []byte
	at int
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

func (p *pdfLexer) skip() {
	for p.at < len(p.b) {
		switch c := p.b[p.at]; {
		case isBlank(c):
			p.at++
		case c == '%':
			for p.at < len(p.b) && p.b[p.at] != '\n' && p.b[p.at] != '\r' {
				p.at++
			}
		default:
			return
		}
	}
}

// pdfWord is a keyword or an operator.
type pdfWord string

// value reads one value; nil at the end, and for what is none.
func (p *pdfLexer) value(depth int) any {
	p.skip()
	if p.at >= len(p.b) || depth > maxPDFDepth {
		return nil
	}
	switch c := p.b[p.at]; {
	case c == '/':
		p.at++
		return pdfName(p.word())
	case c == '(':
		return p.literal()
	case c == '[':
		p.at++
		var out []any
		for {
			p.skip()
			if p.at >= len(p.b) {
				return out
			}
			if p.b[p.at] == ']' {
				p.at++
				return out
			}
			before := p.at
			v := p.value(depth + 1)
			if w, ok := v.(pdfWord); ok && w == "R" && len(out) >= 2 {
				if n := toInt(out[len(out)-2]); n >= 0 {
					out = append(out[:len(out)-2], pdfRef(n))
					continue
				}
			}
			if p.at == before {
				p.at++
			}
			out = append(out, v)
		}
	case c == '<' && p.at+1 < len(p.b) && p.b[p.at+1] == '<':
		return p.dictionary(depth)
	case c == '<':
		return p.hex()
	case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9':
		return p.number()
	case isDelimiter(c):
		p.at++
		return nil
	}
	switch w := p.word(); w {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	default:
		return pdfWord(w)
	}
}

// number reads a number, or a reference when two integers and R follow.
func (p *pdfLexer) number() any {
	w := p.word()
	f, err := strconv.ParseFloat(w, 64)
	if err != nil {
		return pdfWord(w)
	}
	n, err := strconv.Atoi(w)
	if err != nil || n < 0 {
		return f
	}
	back := p.at
	p.skip()
	if g := p.word(); number(g) {
		p.skip()
		if p.at < len(p.b) && p.b[p.at] == 'R' && p.word() == "R" {
			return pdfRef(n)
		}
	}
	p.at = back
	return f
}

func (p *pdfLexer) word() string {
	start := p.at
	for p.at < len(p.b) && !isBlank(p.b[p.at]) && !isDelimiter(p.b[p.at]) {
		p.at++
	}
	return string(p.b[start:p.at])
}

func (p *pdfLexer) dictionary(depth int) pdfDict {
	p.at += 2
	out := pdfDict{}
	for {
		p.skip()
		if p.at >= len(p.b) {
			return out
		}
		if p.b[p.at] == '>' {
			p.at = min(p.at+2, len(p.b))
			return out
		}
		before := p.at
		key, ok := p.value(depth + 1).(pdfName)
		if !ok {
			if p.at == before {
				p.at++
			}
			continue
		}
		p.skip()
		if p.at < len(p.b) && p.b[p.at] == '>' && !(p.at+1 < len(p.b) && p.b[p.at+1] != '>') {
			continue // a key without value
		}
		out[key] = p.value(depth + 1)
	}
}

func (p *pdfLexer) literal() []byte {
	start := p.at + 1
	for depth := 0; p.at < len(p.b); p.at++ {
		switch p.b[p.at] {
		case '\\':
			p.at++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.at++
				return p.b[start : p.at-1]
			}
		}
	}
	p.at = len(p.b)
	return p.b[min(start, len(p.b)):]
}

func (p *pdfLexer) hex() []byte {
	p.at++
	var out []byte
	half := -1
	for ; p.at < len(p.b) && p.b[p.at] != '>'; p.at++ {
		d := bytes.IndexByte([]byte("0123456789abcdef"), p.b[p.at]|0x20)
		switch {
		case d < 0:
		case half < 0:
			half = d
		default:
			out, half = append(out, byte(half<<4|d)), -1
		}
	}
	if half >= 0 {
		out = append(out, byte(half<<4))
	}
	p.at = min(p.at+1, len(p.b))
	return out
}

// stream reads what follows a dictionary, if that is a stream.
func (p *pdfLexer) stream(dict pdfDict) []byte {
	p.skip()
	if !bytes.HasPrefix(p.b[p.at:], []byte("stream")) {
		return nil
	}
	p.at += len("stream")
	if p.at < len(p.b) && p.b[p.at] == '\r' {
		p.at++
	}
	if p.at < len(p.b) && p.b[p.at] == '\n' {
		p.at++
	}
	end := []byte("endstream")
	start := p.at
	if n := toInt(dict["Length"]); n >= 0 && n <= len(p.b)-start {
		rest := p.b[start+n:]
		if bytes.HasPrefix(bytes.TrimLeft(rest[:min(len(rest), 16)], "\r\n"), end) {
			p.at = start + n
			return p.b[start : start+n : start+n]
		}
	}
	n := bytes.Index(p.b[start:], end)
	if n < 0 {
		n = len(p.b) - start
	}
	p.at = start + n
	return bytes.TrimRight(p.b[start:start+n:start+n], "\r\n")
}
