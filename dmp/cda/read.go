package cda

import (
	"bytes"
	"encoding/xml"
	"errors"
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
	maxKids         = 500     // of one element of the header, which rules compare with each other
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
	p := parser{doc: d, scan: scanner{text: text}, line: 1, names: map[string]string{}}
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
	doc      *Document
	scan     scanner
	open     []*node // elements whose end tag has not come; nil when not kept
	inside   int     // how many of them are kept
	wrapping string  // namespace of the root
	nodes    int
	roots    int
	counted  int               // offset up to which lines were counted
	line     int               // line of that offset
	names    map[string]string // of elements, attributes and namespaces, one string each
}

// lineAt is the line of an offset, which never goes back.
func (p *parser) lineAt(offset int) int {
	p.line += bytes.Count(p.doc.text[p.counted:offset], []byte{'\n'})
	p.counted = offset
	return p.line
}

func (p *parser) fail(code string, err error) *Finding {
	f := &Finding{Code: code, Severity: Blocking, Line: p.lineAt(p.scan.at), cause: err}
	if n := p.kept(); n != nil {
		f.XPath = n.xpath()
	}
	return f
}

func (p *parser) parse() *Finding {
	s := &p.scan
	for {
		kind, err := s.next()
		switch {
		case errors.Is(err, errTooMany):
			return p.fail(FaultTooDeep, err)
		case err != nil:
			return p.fail(FaultXML, err)
		}
		switch kind {
		case startTag:
			if bad := p.start(); bad != nil {
				return bad
			}
		case endTag:
			if n := p.open[len(p.open)-1]; n != nil {
				n.end = s.at
				p.inside--
			}
			p.open = p.open[:len(p.open)-1]
		case charData:
			if len(p.open) == 0 {
				if s.chars.cdata || len(bytes.TrimSpace(s.chars.raw)) != 0 {
					return p.fail(FaultXML, errSyntax)
				}
				continue
			}
			if n := p.open[len(p.open)-1]; n != nil && !n.opaque {
				n.add(s.chars)
			}
		case instruction:
			if string(s.local) == "xml-stylesheet" {
				p.sheet(href(s.chars.raw))
			}
		case directive:
			return p.directive(s.chars.raw)
		case endOfText:
			switch {
			case p.roots == 0:
				return p.fail(FaultXML, errUnclosed)
			case p.doc.root == nil:
				return p.fail(FaultNotCDA, nil)
			}
			return nil
		}
	}
}

func (p *parser) start() *Finding {
	s := &p.scan
	if len(p.open) == 0 {
		if p.roots++; p.roots > 1 {
			return p.fail(FaultXML, errSyntax)
		}
		p.wrapping = s.space
	}
	if len(p.open) >= maxDepth {
		return p.fail(FaultTooDeep, nil)
	}
	if s.space == nsXSL && (string(s.local) == "import" || string(s.local) == "include") {
		for _, a := range s.attrs {
			if string(a.local) == "href" && a.space == "" {
				p.sheet(a.value.String())
			}
		}
	}
	var parent *node
	if len(p.open) > 0 {
		parent = p.open[len(p.open)-1]
	}
	keep := false
	switch {
	case parent != nil && !parent.opaque:
		keep = true
	case p.inside > 0:
		// Under an entry only multimedia is kept, hung on the kept ancestor.
		if keep = s.space == nsHL7 && string(s.local) == "observationMedia"; keep {
			parent = p.kept()
		}
	case s.space == nsHL7 && string(s.local) == "ClinicalDocument":
		if p.doc.root != nil {
			return p.fail(FaultNotCDA, nil)
		}
		if len(p.open) > 0 && p.wrapping != nsXSL {
			return p.fail(FaultNotCDA, nil) // wrapped in something that is no stylesheet
		}
		keep = true
		p.doc.SelfRendering = len(p.open) > 0
	}
	var n *node
	if keep {
		if p.nodes++; p.nodes > maxNodes || parent != nil && !parent.is("section") && len(parent.kids) >= maxKids {
			return p.fail(FaultTooDeep, nil)
		}
		n = p.node(parent)
		p.inside++
	}
	p.open = append(p.open, n)
	return nil
}

// node keeps the start tag that was read.
func (p *parser) node(parent *node) *node {
	s := &p.scan
	n := &node{name: xml.Name{Space: s.space, Local: p.word(s.local)}, parent: parent, line: p.lineAt(s.start), start: s.start}
	if len(s.attrs) > 0 {
		n.attrs = make([]xml.Attr, len(s.attrs))
		for i, a := range s.attrs {
			n.attrs[i] = xml.Attr{Name: xml.Name{Space: a.space, Local: p.word(a.local)}, Value: p.text(a.value)}
		}
	}
	n.opaque = n.is("entry") || n.is("text") && parent != nil && parent.is("section")
	if parent == nil {
		p.doc.root = n
	} else {
		parent.kids = append(parent.kids, n)
	}
	return n
}

// Names and short values (OIDs, codes) stand again and again in a document:
// one string serves them all.
const maxWord, maxWords = 64, 4096

func (p *parser) word(b []byte) string {
	if w, ok := p.names[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(w) <= maxWord && len(p.names) < maxWords {
		p.names[w] = w
	}
	return w
}

func (p *parser) text(c chars) string {
	if c.plain {
		return p.word(c.raw)
	}
	return c.String()
}

// kept is the nearest open element that is kept.
func (p *parser) kept() *node {
	for i := len(p.open) - 1; i >= 0; i-- {
		if n := p.open[i]; n != nil {
			return n
		}
	}
	return nil
}

// add adds character data to n, without a copy when the bytes stand in the
// document as they are.
func (n *node) add(c chars) {
	if len(n.kids) > 0 && len(bytes.TrimSpace(c.raw)) == 0 {
		return
	}
	if len(n.text) == 0 && c.plain {
		n.text = c.raw[:len(c.raw):len(c.raw)] // appending copies it, once
		return
	}
	n.text = c.append(n.text)
}

// sheet notes whether the document wants a stylesheet from elsewhere, by an
// xml-stylesheet instruction or by an import of the one that wraps it.
func (p *parser) sheet(href string) { p.doc.foreign = p.doc.foreign || outside(href) }

// directive refuses <!DOCTYPE …> by what it would do.
func (p *parser) directive(t []byte) *Finding {
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
