package cda

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the binary is static and its image may hold no zones
)

// Limits of a document. The size can be raised in [Options], the others are
// far above what any national document reaches.
const (
	DefaultMaxBytes = 50 << 20
	maxDepth        = 200
	maxNodes        = 200_000 // elements kept: header and frame
	maxAttrs        = 64      // attributes of one element
)

// Options changes how a document is read. The zero value is the default.
type Options struct {
	MaxBytes int64          // refuse more with CDA-TOO-LARGE; 0 means DefaultMaxBytes
	Location *time.Location // of times written without a zone; nil means Europe/Paris
}

// Document is a CDA that was read.
type Document struct {
	Header Header
	Body   Body

	// SelfRendering tells that a stylesheet wraps the document.
	SelfRendering bool

	// Models are the templateId of the document, in order.
	Models []Template

	text     []byte // the document in UTF-8
	root     *node  // ClinicalDocument
	foreign  bool   // a stylesheet from elsewhere is asked for
	location *time.Location
}

// Read reads a document with the default options.
func Read(data []byte) (*Document, error) { return Options{}.Read(data) }

// Read reads a document. The error is a *[Finding].
func (o Options) Read(data []byte) (*Document, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Location == nil {
		o.Location = paris
	}
	if int64(len(data)) > o.MaxBytes {
		return nil, &Finding{Code: FaultTooLarge, Severity: Blocking}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &Finding{Code: FaultEmpty, Severity: Blocking}
	}
	text, bad := decode(data)
	if bad != nil {
		return nil, bad
	}
	d := &Document{text: text, location: o.Location}
	p := parser{doc: d, dec: xml.NewDecoder(bytes.NewReader(text)), bound: map[string]bool{"": true, nsXML: true, "xml": true, nsXMLNS: true}}
	p.dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // decoded already
	if bad := p.parse(); bad != nil {
		return nil, bad
	}
	d.readHeader()
	d.readBody()
	return d, nil
}

var paris = func() *time.Location {
	l, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		panic("cda: time/tzdata without Europe/Paris") // a mistake of the build
	}
	return l
}()

// parser builds the tree of one document. Outside the ClinicalDocument, in the
// narrative and in entries it only checks.
type parser struct {
	doc   *Document
	dec   *xml.Decoder
	open  []frame
	nodes int
	roots int
	bound map[string]bool // namespaces that the document declared so far
}

// frame is an element whose end tag has not come.
type frame struct {
	name xml.Name
	node *node // nil when not kept
}

func (p *parser) fail(code string, err error) *Finding {
	line, _ := p.dec.InputPos()
	f := &Finding{Code: code, Severity: Blocking, Line: line, cause: err}
	for i := len(p.open) - 1; i >= 0; i-- {
		if n := p.open[i].node; n != nil {
			f.XPath = n.xpath()
			break
		}
	}
	return f
}

func (p *parser) parse() *Finding {
	for {
		start := int(p.dec.InputOffset())
		line, _ := p.dec.InputPos()
		tok, err := p.dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p.fail(FaultXML, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if bad := p.start(t, start, line); bad != nil {
				return bad
			}
		case xml.EndElement:
			if n := p.open[len(p.open)-1].node; n != nil {
				n.end = int(p.dec.InputOffset())
			}
			p.open = p.open[:len(p.open)-1]
		case xml.CharData:
			if len(p.open) == 0 {
				if len(bytes.TrimSpace(t)) != 0 {
					return p.fail(FaultXML, nil)
				}
				continue
			}
			if n := p.open[len(p.open)-1].node; n != nil {
				p.chars(n, t, start)
			}
		case xml.ProcInst:
			if t.Target == "xml-stylesheet" {
				p.sheet(href(t.Inst))
			}
		case xml.Directive:
			return p.directive(t)
		}
	}
	switch {
	case p.roots == 0:
		return p.fail(FaultXML, nil)
	case p.doc.root == nil:
		return p.fail(FaultNotCDA, nil)
	}
	return nil
}

func (p *parser) start(t xml.StartElement, start, line int) *Finding {
	if len(p.open) == 0 {
		if p.roots++; p.roots > 1 {
			return p.fail(FaultXML, nil)
		}
	}
	if len(p.open) >= maxDepth || len(t.Attr) > maxAttrs {
		return p.fail(FaultTooDeep, nil)
	}
	if twice(t.Attr) || p.unbound(t) {
		return p.fail(FaultXML, nil)
	}
	if t.Name.Space == nsXSL && (t.Name.Local == "import" || t.Name.Local == "include") {
		for _, a := range t.Attr {
			if a.Name.Local == "href" && a.Name.Space == "" {
				p.sheet(a.Value)
			}
		}
	}
	f := frame{name: t.Name}
	var parent *node
	if len(p.open) > 0 {
		parent = p.open[len(p.open)-1].node
	}
	keep := false
	switch {
	case parent != nil && !parent.opaque:
		keep = true
	case p.inDocument():
		// Under an entry only multimedia is kept, hung on the kept ancestor.
		if keep = t.Name.Space == nsHL7 && t.Name.Local == "observationMedia"; keep {
			parent = p.kept()
		}
	case t.Name.Space == nsHL7 && t.Name.Local == "ClinicalDocument":
		if p.doc.root != nil {
			return p.fail(FaultNotCDA, nil)
		}
		if len(p.open) > 0 && p.open[0].name.Space != nsXSL {
			return p.fail(FaultNotCDA, nil) // wrapped in something that is no stylesheet
		}
		keep = true
		p.doc.SelfRendering = len(p.open) > 0
	}
	if keep {
		if p.nodes++; p.nodes > maxNodes {
			return p.fail(FaultTooDeep, nil)
		}
		n := &node{name: t.Name, attrs: plain(t.Attr), parent: parent, line: line, start: start}
		n.opaque = n.is("entry") || n.is("text") && parent != nil && parent.is("section")
		if parent == nil {
			p.doc.root = n
		} else {
			parent.kids = append(parent.kids, n)
		}
		f.node = n
	}
	p.open = append(p.open, f)
	return nil
}

// inDocument tells whether the reader stands inside the ClinicalDocument.
func (p *parser) inDocument() bool { return p.kept() != nil }

// kept is the nearest open element that is kept.
func (p *parser) kept() *node {
	for i := len(p.open) - 1; i >= 0; i-- {
		if n := p.open[i].node; n != nil {
			return n
		}
	}
	return nil
}

// chars adds character data to n, without a copy when the bytes stand in the
// document as they are.
func (p *parser) chars(n *node, t xml.CharData, start int) {
	if n.opaque || len(n.kids) > 0 && len(bytes.TrimSpace(t)) == 0 {
		return
	}
	raw := p.doc.text[start:p.dec.InputOffset()]
	if len(n.text) == 0 && bytes.Equal(raw, t) {
		n.text = raw[:len(raw):len(raw)] // appending copies it, once
		return
	}
	n.text = append(n.text, t...)
}

// sheet notes whether the document wants a stylesheet from elsewhere, by an
// xml-stylesheet instruction or by an import of the one that wraps it.
func (p *parser) sheet(href string) { p.doc.foreign = p.doc.foreign || outside(href) }

// unbound tells whether a name carries a prefix that nothing declares, which
// encoding/xml lets pass: it then gives the prefix itself as the namespace.
func (p *parser) unbound(t xml.StartElement) bool {
	for _, a := range t.Attr {
		if a.Name.Space == nsXMLNS || a.Name.Space == "" && a.Name.Local == nsXMLNS {
			if len(p.bound) > maxAttrs*maxDepth {
				return true
			}
			p.bound[a.Value] = true
		}
	}
	if !p.bound[t.Name.Space] {
		return true
	}
	for _, a := range t.Attr {
		if !p.bound[a.Name.Space] {
			return true
		}
	}
	return false
}

// plain gives the attributes without namespace declarations.
func plain(attrs []xml.Attr) []xml.Attr {
	kept := attrs[:0]
	for _, a := range attrs {
		if a.Name.Space == nsXMLNS || a.Name.Space == "" && a.Name.Local == nsXMLNS {
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

// twice tells whether an attribute stands twice, which encoding/xml lets pass.
func twice(attrs []xml.Attr) bool {
	for i := range attrs {
		for j := range i {
			if attrs[i].Name == attrs[j].Name {
				return true
			}
		}
	}
	return false
}

// directive refuses <!DOCTYPE …> by what it would do.
func (p *parser) directive(t xml.Directive) *Finding {
	s := string(t)
	switch {
	case strings.Contains(s, "<!ENTITY") && (strings.Contains(s, "SYSTEM") || strings.Contains(s, "PUBLIC")):
		return p.fail(FaultEntityExternal, nil)
	case strings.Contains(s, "<!ENTITY"):
		return p.fail(FaultEntity, nil)
	}
	return p.fail(FaultDTD, nil)
}

var hrefOf = regexp.MustCompile(`\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')`)

// href is the address in an xml-stylesheet instruction.
func href(inst []byte) string {
	m := hrefOf.FindSubmatch(inst)
	if m == nil {
		return ""
	}
	return string(m[1]) + string(m[2])
}
