package cda

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// Kind is the kind of a body.
type Kind uint8

// The kinds of body. NoBody also stands for a body that is neither.
const (
	NoBody Kind = iota
	Level1      // nonXMLBody: an embedded file
	Level3      // structuredBody: sections
)

// Body is the body of a document.
type Body struct {
	Kind     Kind
	File     *Embedded   // of level 1
	Media    []*Embedded // observationMedia of a structured body
	Sections int         // of a structured body, at every depth
	Count    int         // body components; more than one is a fault
	Place
}

// Embedded is a file inside a document. Its bytes are decoded on demand.
type Embedded struct {
	MediaType      string
	Representation string // B64 or TXT, as written
	Compressed     bool   // the compression attribute stands, which CI-SIS never uses
	raw            []byte
	Place
}

// Encoded is the size of the embedded text as written.
func (e *Embedded) Encoded() int { return len(e.raw) }

// Bytes decodes the embedded file. Blanks inside base64 are allowed, padding
// may be missing; everything else that is not base64 is CDA-BODY-BASE64.
func (e *Embedded) Bytes() ([]byte, error) {
	if e.Compressed {
		return nil, e.fault(FaultBodyFormat)
	}
	if !strings.EqualFold(e.Representation, "B64") {
		return bytes.TrimSpace(e.raw), nil
	}
	clean := e.raw // the decoder skips line ends itself
	if bytes.ContainsAny(clean, " \t") {
		clean = bytes.Map(func(r rune) rune {
			if r == ' ' || r == '\t' {
				return -1
			}
			return r
		}, clean)
	}
	clean = bytes.TrimRight(clean, "=\r\n")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, err := base64.RawStdEncoding.Decode(out, clean)
	if err != nil {
		return nil, e.fault(FaultBodyBase64)
	}
	return out[:n], nil
}

func (e *Embedded) fault(code string) *Finding {
	return &Finding{Code: code, Severity: Blocking, Line: e.Line(), XPath: e.XPath()}
}

func (d *Document) readBody() {
	for _, c := range d.root.all("component") {
		d.Body.Count++
		if d.Body.Count > 1 {
			continue
		}
		d.Body.Place = Place{c}
		if n := c.one("nonXMLBody"); n != nil {
			d.Body.Kind = Level1
			if t := n.one("text"); t != nil {
				d.Body.File = readEmbedded(t)
			}
		}
		if n := c.one("structuredBody"); n != nil {
			if d.Body.Kind == Level1 {
				d.Body.Count++ // both in one component: two bodies all the same
			}
			d.Body.Kind = Level3
			n.walk(func(e *node) bool {
				switch {
				case e.is("section"):
					d.Body.Sections++
				case e.is("observationMedia"):
					if v := e.one("value"); v != nil {
						d.Body.Media = append(d.Body.Media, readEmbedded(v))
					}
				}
				return true
			})
		}
	}
}

func readEmbedded(n *node) *Embedded {
	_, compressed := n.attr("compression")
	return &Embedded{n.get("mediaType"), n.get("representation"), compressed, n.text, Place{n}}
}

// sniff tells what the first bytes of a file show, among what a document may
// embed; empty when they show nothing known.
func sniff(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("%PDF-")):
		return "application/pdf"
	case bytes.HasPrefix(b, []byte{0xFF, 0xD8, 0xFF}):
		return "image/jpeg"
	case bytes.HasPrefix(b, []byte("II*\x00")), bytes.HasPrefix(b, []byte("MM\x00*")):
		return "image/tiff"
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	case bytes.HasPrefix(b, []byte(`{\rtf`)):
		return "text/rtf"
	}
	head := bytes.ToLower(bytes.TrimSpace(b[:min(len(b), 512)]))
	if bytes.HasPrefix(head, []byte("<!doctype html")) || bytes.HasPrefix(head, []byte("<html")) {
		return "text/html"
	}
	return ""
}

// declaresPDFA tells whether a PDF says, in its XMP metadata, that it is PDF/A.
// That is a declaration, not a proof. XMP is never compressed in PDF/A.
func declaresPDFA(pdf []byte) bool {
	return bytes.Contains(pdf, []byte("pdfaid:part")) || bytes.Contains(pdf, []byte("http://www.aiim.org/pdfa/ns/id/"))
}
