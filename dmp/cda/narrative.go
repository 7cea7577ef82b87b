package cda

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// The narrative of a structured body, as the PDF copy and the viewer show it.
// Elements are known by their local name; what is unknown is read for its text,
// so that no word is lost. Text is in NFC, blanks are joined, and characters
// that show nothing (controls, marks of direction) are dropped.

// chapter is one section.
type chapter struct {
	title  string
	blocks []block
	subs   []chapter
}

type blockKind uint8

const (
	paragraph blockKind = iota
	list
	table
	picture
)

// block is one thing under another.
type block struct {
	kind    blockKind
	caption []run
	runs    []run  // of a paragraph; of a picture, what stands in its place
	items   []item // of a list
	ordered bool
	rows    []row // of a table
	media   *Embedded
}

type item struct {
	blocks []block
}

type row struct {
	head  bool // of thead
	cells []cell
}

type cell struct {
	head     bool
	colspan  int
	rowspan  int
	align    string // right or center; else left
	contents []block
}

// run is text of one style; "\n" alone is a line break.
type run struct {
	text  string
	style style
}

type style uint8

const (
	bold style = 1 << iota
	italic
	underline
	strike
	subscript
	superscript
)

const maxSpan = 64 // columns or rows of one cell

// element is the narrative as a tree, without namespaces.
type element struct {
	name  string
	attrs []xml.Attr
	kids  []*element
	text  string // of a text node, whose name is empty
}

func (e *element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// maxNarrative bounds what is shown of one document: forty times the longest
// narrative that the national examples hold. More is a document that cannot be
// shown, rather than one shown in part.
const maxNarrative = 4 << 20

// chapters gives the sections of the body, in order. The error is CDA-NO-COPY.
func (d *Document) chapters() ([]chapter, error) {
	media := map[string]*Embedded{}
	for _, m := range d.Body.Media {
		if id := m.n.parent.get("ID"); id != "" && media[id] == nil {
			media[id] = m
		}
	}
	r := &reader{doc: d, media: media}
	out := r.sections(d.Body.n.one("structuredBody"))
	if r.size > maxNarrative {
		return nil, d.noCopy()
	}
	return out, nil
}

// noCopy says that the body cannot be shown.
func (d *Document) noCopy() *Finding {
	return &Finding{Code: FaultNoCopy, Severity: Blocking, Line: d.Body.Line(), XPath: d.Body.XPath()}
}

// reader turns the bytes of a narrative into blocks.
type reader struct {
	doc   *Document
	media map[string]*Embedded
	size  int // bytes of narrative so far
}

func (r *reader) sections(parent *node) []chapter {
	var out []chapter
	for _, s := range parent.all("component/section") {
		c := chapter{title: clean(s.one("title").value()), subs: r.sections(s)}
		if t := s.one("text"); t != nil {
			if r.size += t.end - t.start; r.size <= maxNarrative {
				c.blocks = r.read(r.doc.text[t.start:t.end])
			}
		}
		out = append(out, c)
	}
	return out
}

// read reads one narrative. Its bytes were found well-formed by [Read], so what
// cannot be read ends it without a word.
func (r *reader) read(xmlText []byte) []block {
	dec := xml.NewDecoder(bytes.NewReader(xmlText))
	dec.Strict = false
	root := &element{}
	open := []*element{root}
	for {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		top := open[len(open)-1]
		switch t := tok.(type) {
		case xml.StartElement:
			e := &element{name: t.Name.Local, attrs: t.Copy().Attr}
			top.kids = append(top.kids, e)
			open = append(open, e)
		case xml.EndElement:
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case xml.CharData:
			top.kids = append(top.kids, &element{text: visible(string(t))})
		}
	}
	var f flow
	f.reader = r
	f.walk(root, 0)
	f.flush()
	return f.out
}

// flow collects blocks; text gathers in a paragraph until a block ends it.
type flow struct {
	reader *reader
	out    []block
	cur    []run
}

func (f *flow) flush() {
	if runs := joined(f.cur); len(runs) > 0 {
		f.out = append(f.out, block{kind: paragraph, runs: runs})
	}
	f.cur = nil
}

func (f *flow) walk(e *element, s style) {
	s |= styleOf(e)
	for _, k := range e.kids {
		switch k.name {
		case "":
			f.cur = append(f.cur, run{k.text, s})
		case "br":
			f.cur = append(f.cur, run{"\n", s})
		case "paragraph", "p", "div", "text", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "section", "title", "dt", "dd":
			f.flush()
			if k.name[0] == 'h' || k.name == "title" {
				f.walk(k, s|bold)
			} else {
				f.walk(k, s)
			}
			f.flush()
		case "caption":
			f.walk(k, s|bold)
			f.cur = append(f.cur, run{"\n", s})
		case "list", "ul", "ol":
			f.flush()
			f.list(k, s)
		case "table":
			f.flush()
			f.table(k, s)
		case "renderMultiMedia":
			f.flush()
			f.pictures(k, s)
		case "sub":
			f.walk(k, s|subscript)
		case "sup":
			f.walk(k, s|superscript)
		case "b", "strong", "th":
			f.walk(k, s|bold)
		case "i", "em":
			f.walk(k, s|italic)
		case "u":
			f.walk(k, s|underline)
		case "footnote":
			f.cur = append(f.cur, run{" [", s})
			f.walk(k, s)
			f.cur = append(f.cur, run{"]", s})
		case "script", "style", "colgroup", "col":
			// Nothing of it is text to a reader.
		default:
			f.walk(k, s)
		}
	}
}

// list reads items; anything else under a list is read as text before it.
func (f *flow) list(e *element, s style) {
	s |= styleOf(e)
	b := block{kind: list, ordered: e.name == "ol" || e.attr("listType") == "ordered"}
	for _, k := range e.kids {
		switch k.name {
		case "item", "li":
			b.items = append(b.items, item{f.inner(k, s)})
		case "caption":
			b.caption = append(b.caption, f.words(k, s|bold)...)
		default:
			if blocks := f.inner(&element{kids: []*element{k}}, s); len(blocks) > 0 {
				b.items = append(b.items, item{blocks})
			}
		}
	}
	if len(b.items) > 0 || len(b.caption) > 0 {
		f.out = append(f.out, b)
	}
}

func (f *flow) table(e *element, s style) {
	s |= styleOf(e)
	b := block{kind: table}
	f.tableRows(&b, e, s, false)
	if len(b.rows) > 0 || len(b.caption) > 0 {
		f.out = append(f.out, b)
	}
}

func (f *flow) tableRows(b *block, e *element, s style, head bool) {
	for _, k := range e.kids {
		switch k.name {
		case "thead":
			f.tableRows(b, k, s|styleOf(k), true)
		case "tbody", "tfoot":
			f.tableRows(b, k, s|styleOf(k), false)
		case "caption":
			b.caption = append(b.caption, f.words(k, s|bold)...)
		case "tr":
			r := row{head: head}
			rs := s | styleOf(k)
			for _, c := range k.kids {
				switch c.name {
				case "td", "th":
					r.cells = append(r.cells, f.cell(c, rs, cmp.Or(c.attr("align"), k.attr("align"), e.attr("align"))))
				default:
					if blocks := f.inner(&element{kids: []*element{c}}, rs); len(blocks) > 0 {
						r.cells = append(r.cells, cell{colspan: 1, rowspan: 1, contents: blocks})
					}
				}
			}
			if len(r.cells) > 0 {
				b.rows = append(b.rows, r)
			}
		case "colgroup", "col":
		default:
			if blocks := f.inner(&element{kids: []*element{k}}, s); len(blocks) > 0 {
				b.rows = append(b.rows, row{cells: []cell{{colspan: 1, rowspan: 1, contents: blocks}}})
			}
		}
	}
}

func (f *flow) cell(e *element, s style, align string) cell {
	c := cell{head: e.name == "th", colspan: span(e.attr("colspan")), rowspan: span(e.attr("rowspan")), align: align}
	if c.head {
		s |= bold
	}
	c.contents = f.inner(e, s)
	return c
}

// inner reads what stands inside an element as blocks of their own.
func (f *flow) inner(e *element, s style) []block {
	in := flow{reader: f.reader}
	in.walk(e, s)
	in.flush()
	return in.out
}

// words reads what stands inside an element as text only.
func (f *flow) words(e *element, s style) []run {
	in := flow{reader: f.reader}
	in.walk(e, s)
	in.flush()
	var out []run
	for _, b := range in.out {
		out = append(out, b.runs...)
	}
	return out
}

func (f *flow) pictures(e *element, s style) {
	caption := f.words(e, s)
	for id := range strings.FieldsSeq(e.attr("referencedObject")) {
		b := block{kind: picture, media: f.reader.media[id], caption: caption}
		caption = nil
		f.out = append(f.out, b)
	}
	if len(caption) > 0 {
		f.out = append(f.out, block{kind: paragraph, runs: caption})
	}
}

func span(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 1
	}
	return min(n, maxSpan)
}

// styleOf reads what an element says of the style of its text.
func styleOf(e *element) style {
	var s style
	for code := range strings.FieldsSeq(e.attr("styleCode")) {
		switch strings.ToLower(code) {
		case "bold", "xb", "emphasis", "strong":
			s |= bold
		case "italics", "italic", "xitalics":
			s |= italic
		case "underline", "xunderline":
			s |= underline
		}
	}
	if e.attr("revised") == "delete" {
		s |= strike
	}
	return s
}

// visible puts a text in NFC and drops what shows nothing.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.Is(unicode.Cf, r), unicode.IsControl(r):
			return -1
		}
		return r
	}, norm.NFC.String(s))
}

// clean is visible text on one line.
func clean(s string) string { return strings.Join(strings.FieldsFunc(visible(s), blank), " ") }

// blank tells whether a line may be broken at r: not at a no-break space.
func blank(r rune) bool {
	switch r {
	case '\u00a0', '\u202f', '\u2007':
		return false
	}
	return unicode.IsSpace(r)
}

// joined joins blanks across runs, drops those at the ends of lines, and drops
// empty runs.
func joined(runs []run) []run {
	var out []run
	space, begin := false, true // a blank is owed; a line begins
	owner := -1                 // the run before, when the blank stood at its end
	for _, r := range runs {
		if r.text == "\n" {
			out = append(out, r)
			space, begin = false, true
			continue
		}
		var b strings.Builder
		for _, c := range r.text {
			if blank(c) {
				if !space {
					owner = -1
					if b.Len() > 0 {
						owner = len(out)
					}
				}
				space = true
				continue
			}
			switch {
			case !space || begin:
			case owner >= 0 && owner < len(out):
				out[owner].text += " "
			default:
				b.WriteByte(' ')
			}
			space, begin = false, false
			b.WriteRune(c)
		}
		if b.Len() > 0 {
			out = append(out, run{b.String(), r.style})
		}
	}
	for len(out) > 0 && out[len(out)-1].text == "\n" {
		out = out[:len(out)-1]
	}
	for len(out) > 0 && out[0].text == "\n" {
		out = out[1:]
	}
	return out
}
