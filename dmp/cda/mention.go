package cda

import (
	"bytes"
	"html"
	"regexp"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

var (
	insArc       = []byte("1.2.250.1.213.1.4.")
	rootForm     = regexp.MustCompile(`\broot\s*=\s*["'](1\.2\.250\.1\.213\.1\.4\.[0-9]+)["']`)
	extensionOf  = regexp.MustCompile(`\bextension\s*=\s*["']([^"'<>]+)["']`)
	matriculeLen = 13 // without its key
)

// Named gives the first number under an OID of the INS, or near one (INS-C),
// that stands anywhere in the document: header, participants, entries. It is
// for a document whose patient carries no INS: there, nothing vouches for it.
func (d *Document) Named() (ins.Pair, bool) {
	for at := 0; ; at++ {
		i := bytes.Index(d.text[at:], insArc)
		if i < 0 {
			return ins.Pair{}, false
		}
		at += i
		start, end := bytes.LastIndexByte(d.text[:at], '<'), bytes.IndexByte(d.text[at:], '>')
		if start < 0 || end < 0 {
			continue
		}
		tag := d.text[start : at+end]
		root, extension := rootForm.FindSubmatch(tag), extensionOf.FindSubmatch(tag)
		if root != nil && extension != nil {
			return ins.Pair{Matricule: html.UnescapeString(string(extension[1])), OID: ins.OID(root[1])}, true
		}
	}
}

// Mentions tells whether the document says a matricule: as an identifier or in
// words, in the XML or in the text of an embedded PDF, whole or without its key,
// its groups apart or not. Of a PDF it reads what is text; a scan says nothing.
func (d *Document) Mentions(matricule string) bool {
	if Says(d.text, matricule) || bytes.Contains(d.text, []byte("&#")) && Says([]byte(html.UnescapeString(string(d.text))), matricule) {
		return true
	}
	files := d.Body.Media
	if d.Body.File != nil {
		files = append(files[:len(files):len(files)], d.Body.File)
	}
	for _, f := range files {
		content, err := f.Bytes()
		if err == nil && (Says(content, matricule) || looksLike(content, "application/pdf") && readPDF(content).says(matricule)) {
			return true
		}
	}
	return false
}

// Says tells whether a text says a matricule, as [Document.Mentions] does.
func Says(text []byte, matricule string) bool {
	want := groups([]byte(matricule))
	if len(want) < matriculeLen {
		return false
	}
	return bytes.Contains(groups(text), want[:matriculeLen])
}

// groups drops what stands between the groups of a number.
func groups(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z':
			out = append(out, c-'a'+'A')
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '<', c == '>', c == '"', c == '\'', c == '|':
			out = append(out, c) // two fields do not make one number
		}
	}
	return out
}

// says looks through the text of every page, as each font of the file would
// show it and as plain characters.
func (d *pdfDoc) says(matricule string) bool {
	fonts := []map[string]string{nil}
	var texts [][][]byte // of each stream, its strings
	budget := maxPDFInflate
	for _, o := range d.objects {
		dict, _ := o.value.(pdfDict)
		if o.stream == nil || dict["Subtype"] == pdfName("Image") || budget < 0 {
			continue
		}
		content := o.inflate()
		budget -= len(content)
		if bytes.Contains(content, []byte("begincmap")) {
			fonts = append(fonts, readToUnicode(content))
			continue
		}
		texts = append(texts, pdfStrings(content))
	}
	for _, stream := range texts {
		for _, font := range fonts {
			var shown strings.Builder
			for _, s := range stream {
				show(&shown, s, font)
			}
			if Says([]byte(shown.String()), matricule) {
				return true
			}
		}
	}
	return false
}

// pdfStrings are the strings of a content stream, those of arrays too.
func pdfStrings(content []byte) (all [][]byte) {
	p := &pdfLexer{b: content}
	var take func(v any)
	take = func(v any) {
		switch v := v.(type) {
		case []byte:
			all = append(all, v)
		case []any:
			for _, one := range v {
				take(one)
			}
		}
	}
	for p.at < len(content) {
		before := p.at
		take(p.value(0))
		if p.at == before {
			p.at++
		}
	}
	return all
}

// show writes a string as a font shows it: codes of two bytes, or of one.
func show(out *strings.Builder, s []byte, font map[string]string) {
	for i := 0; i < len(s); i++ {
		switch {
		case font == nil:
			out.WriteByte(s[i])
		case i+1 < len(s) && font[string(s[i:i+2])] != "":
			out.WriteString(font[string(s[i:i+2])])
			i++
		default:
			out.WriteString(font[string(s[i:i+1])])
		}
	}
}

// readToUnicode reads the map of a font to characters.
func readToUnicode(content []byte) map[string]string {
	font := map[string]string{}
	var codes [][]byte
	p := &pdfLexer{b: content}
	for p.at < len(content) && len(font) < 1<<16 {
		before := p.at
		switch v := p.value(0).(type) {
		case []byte:
			codes = append(codes, v)
		case []any: // a range whose characters are listed
			if len(codes) >= 2 {
				from := codes[len(codes)-2]
				codes = codes[:len(codes)-2]
				for i, one := range v {
					if c, ok := one.([]byte); ok {
						font[plus(from, i)] = wide(c, 0)
					}
				}
			}
		case pdfWord:
			switch v {
			case "endbfchar":
				for i := 0; i+1 < len(codes); i += 2 {
					font[string(codes[i])] = wide(codes[i+1], 0)
				}
			case "endbfrange":
				for i := 0; i+2 < len(codes); i += 3 {
					for k := 0; k <= distance(codes[i], codes[i+1]); k++ {
						font[plus(codes[i], k)] = wide(codes[i+2], k)
					}
				}
			}
			codes = codes[:0]
		}
		if p.at == before {
			p.at++
		}
	}
	return font
}

// plus is the code k after another, within its last byte.
func plus(code []byte, k int) string {
	out := bytes.Clone(code)
	if len(out) > 0 {
		out[len(out)-1] += byte(k)
	}
	return string(out)
}

func distance(from, to []byte) int {
	if len(from) == 0 || len(from) != len(to) {
		return -1
	}
	return int(to[len(to)-1]) - int(from[len(from)-1])
}

// wide is the character k after a UTF-16 one of the basic plane.
func wide(c []byte, k int) string {
	if len(c) < 2 {
		return ""
	}
	return string(rune(int(c[0])<<8 | int(c[1]) + k))
}
