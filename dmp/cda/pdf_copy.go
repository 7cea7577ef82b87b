package cda

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"github.com/passerelle-sante/passerelle/dmp"
)

// Copy is where the PDF copy of a document comes from.
type Copy string

// The origins of a copy.
const (
	CopyEmbedded Copy = "embedded" // the body of a level 1 document, byte for byte
	CopyAttached Copy = "attached" // the PDF that a level 3 document carries of itself, byte for byte
	CopyRendered Copy = "rendered" // made here from the header and the narrative, as PDF/A-1b
)

// Where a level 3 document carries its own copy (FR-Document-PDF-copie).
const (
	templatePDFCopy = "1.2.250.1.213.1.1.2.243"
	codePDFCopy     = "55108-5"
)

// PDFCopy gives the PDF that goes beside the document in a letter. Level 1: the
// embedded PDF. Level 3: the PDF that the document carries as its own copy; if
// it carries none that is a PDF, one is rendered as PDF/A-1b. A level 1 body of
// text or of a picture is rendered too. Anything else, and a text too long to be
// drawn, is CDA-NO-COPY.
// The same document gives the same bytes.
func (d *Document) PDFCopy() ([]byte, Copy, error) {
	switch {
	case d.Body.Kind == Level3:
		if pdf := d.attachedCopy(); pdf != nil {
			return pdf, CopyAttached, nil
		}
		pdf, err := d.render()
		if err != nil {
			return nil, "", err
		}
		return pdf, CopyRendered, nil
	case d.Body.File != nil:
		file, err := d.Body.File.Bytes()
		if err != nil {
			return nil, "", err
		}
		l := newLayout()
		var body []block
		switch media := d.Body.File.MediaType; {
		case media == "application/pdf" && looksLike(file, media):
			return file, CopyEmbedded, nil
		case media == "text/plain" && sniff(file) == "" && len(file) <= maxNarrative:
			body = plainText(file)
		case strings.HasPrefix(media, "image/"):
			if _, ok := l.images.load(d.Body.File); ok {
				body = []block{{kind: picture, media: d.Body.File}}
			}
		}
		if body == nil {
			return nil, "", d.Body.File.fault(FaultNoCopy)
		}
		l.head(d)
		l.place(l.blocks(body, bodySize, textWidth, ""), marginX)
		return l.file(d), CopyRendered, nil
	}
	return nil, "", d.noCopy()
}

// render draws the header and the narrative of every section.
func (d *Document) render() ([]byte, error) {
	chapters, err := d.chapters()
	if err != nil {
		return nil, err
	}
	l := newLayout()
	l.head(d)
	for _, c := range chapters {
		l.chapter(c, 0)
	}
	return l.file(d), nil
}

// attachedCopy finds the PDF of the section that holds the copy of the document.
// Without such a section, a single PDF in the whole body is that copy; one among
// several is not guessed.
func (d *Document) attachedCopy() []byte {
	var all, copies []*Embedded
	for _, m := range d.Body.Media {
		if m.MediaType != "application/pdf" {
			continue
		}
		all = append(all, m)
		for n := m.n; n != nil; n = n.parent {
			if n.is("section") {
				if n.one("code").get("code") == codePDFCopy || n.declares(templatePDFCopy) {
					copies = append(copies, m)
				}
				break
			}
		}
	}
	if len(copies) == 0 && len(all) == 1 {
		copies = all
	}
	if len(copies) != 1 {
		return nil
	}
	if pdf, err := copies[0].Bytes(); err == nil && looksLike(pdf, "application/pdf") {
		return pdf
	}
	return nil
}

// declares tells whether n has a templateId of that root.
func (n *node) declares(root string) bool {
	for _, t := range n.all("templateId") {
		if t.get("root") == root {
			return true
		}
	}
	return false
}

// plainText makes a paragraph of each line. What is not UTF-8 is read as
// Windows-1252, which holds ISO-8859-1.
func plainText(b []byte) []block {
	if !utf8.Valid(b) {
		b, _ = charmap.Windows1252.NewDecoder().Bytes(b) // every byte has a character
	}
	out := []block{}
	for line := range strings.Lines(string(b)) {
		runs := joined([]run{{text: visible(line)}})
		if runs == nil {
			runs = []run{{text: "\u00a0"}} // an empty line stays a line
		}
		out = append(out, block{kind: paragraph, runs: runs})
	}
	return out
}

// head draws the title and the header card.
func (l *layout) head(d *Document) {
	strips := l.text([]run{{d.heading(), bold}}, 15, textWidth, "")
	strips = append(strips, space(6))
	b := block{kind: table}
	for _, f := range d.card() {
		b.rows = append(b.rows, row{cells: []cell{
			{head: true, colspan: 1, rowspan: 1, contents: []block{{kind: paragraph, runs: []run{{f.label, 0}}}}},
			{colspan: 1, rowspan: 1, contents: []block{{kind: paragraph, runs: []run{{f.value, 0}}}}},
		}})
	}
	strips = append(strips, l.table(b, tableSize, textWidth)...)
	strips = append(strips, space(14))
	l.place(strips, marginX)
}

// chapter draws a section: its title stays with what follows.
func (l *layout) chapter(c chapter, depth int) {
	size := max(12.5-1.2*float64(depth), bodySize+0.5)
	var strips []strip
	if c.title != "" {
		strips = l.text([]run{{c.title, bold}}, size, textWidth, "")
		strips = append(strips, strip{height: 3, draw: func(p *sheet, x, y float64) {
			fmt.Fprintf(p, "q 0.6 0.6 0.6 rg %s %s %s 0.5 re f Q\n", num(x), num(pageHeight-y), num(textWidth))
		}})
		for i := range strips {
			strips[i].keep = true
		}
	}
	body := l.blocks(c.blocks, bodySize, textWidth, "")
	strips = append(strips, body...)
	if len(body) > 0 || len(c.subs) == 0 {
		strips = append(strips, space(10))
	} else {
		strips = append(strips, space(2))
	}
	l.place(strips, marginX)
	for _, s := range c.subs {
		l.chapter(s, depth+1)
	}
}

// file ends the pages and writes them.
func (l *layout) file(d *Document) []byte {
	if len(l.sheets) == 0 {
		l.sheets = append(l.sheets, &sheet{})
	}
	var w pdfFile
	catalog, tree := w.reserve(), w.reserve()
	left := clean(d.heading())
	for i, p := range l.sheets {
		right := fmt.Sprintf("Page %d / %d", i+1, len(l.sheets))
		y := pageHeight - marginBottom + 24
		fmt.Fprintf(p, "q 0.6 0.6 0.6 rg %s %s %s 0.5 re f Q\n", num(marginX), num(pageHeight-y+14), num(textWidth))
		if lines := l.lines([]run{{text: left}}, 7.5, textWidth-80); len(lines) > 0 {
			l.write(p, lines[0], 7.5, marginX, y)
		}
		var width float64
		for _, g := range glyphs(right) {
			width += l.measure(g, 7.5)
		}
		l.write(p, glyphs(right), 7.5, marginX+textWidth-width, y)
	}
	resources := w.reserve()
	var fonts, images bytes.Buffer
	for i, f := range l.fonts {
		if len(f.runes) > 1 {
			fmt.Fprintf(&fonts, "/F%d %d 0 R", i, f.objects(&w))
		}
	}
	for i, n := range l.images.objects(&w) {
		fmt.Fprintf(&images, "/Im%d %d 0 R", i, n)
	}
	w.set(resources, fmt.Sprintf("<</ProcSet[/PDF/Text/ImageB/ImageC]/Font<<%s>>/XObject<<%s>>>>", fonts.Bytes(), images.Bytes()))
	var kids bytes.Buffer
	for _, p := range l.sheets {
		content := w.stream("", p.Bytes())
		page := w.object(fmt.Sprintf("<</Type/Page/Parent %d 0 R/MediaBox[0 0 %s %s]/Resources %d 0 R/Contents %d 0 R>>", tree, num(pageWidth), num(pageHeight), resources, content))
		fmt.Fprintf(&kids, "%d 0 R ", page)
	}
	w.set(tree, fmt.Sprintf("<</Type/Pages/Count %d/Kids[%s]>>", len(l.sheets), bytes.TrimSpace(kids.Bytes())))
	when, _, _ := ParseTime(d.Header.EffectiveTime.Value, d.location)
	info, metadata := w.info(d.heading(), when)
	language := ""
	if lang := d.Header.Language.Value; languageForm.MatchString(lang) {
		language = "/Lang(" + lang + ")"
	}
	w.set(catalog, fmt.Sprintf("<</Type/Catalog/Pages %d 0 R/Metadata %d 0 R/OutputIntents[%d 0 R]%s>>", tree, metadata, w.intent(), language))
	return w.bytes(catalog, info)
}

// PDFName is the name of the PDF copy in a letter:
// <date of the act>_<type>_<NOM>_<prénom>[_<dossier>].pdf. The type is cut at 40
// characters; what no file system takes, and the separator, are left out of the
// parts. An absent part is left out.
func PDFName(m dmp.Metadata, fileNumber string) string {
	when := m.ServiceStart
	if when.IsZero() {
		when = m.Created
	}
	kind := m.Type.Display
	if kind == "" {
		kind = m.Type.Code
	}
	var parts []string
	if !when.IsZero() {
		parts = append(parts, when.Format("20060102"))
	}
	for _, p := range []string{kind, strings.ToUpper(m.Patient.Traits.BirthName), m.Patient.Traits.FirstGiven, fileNumber} {
		p = strings.Map(func(r rune) rune {
			if strings.ContainsRune(`/\:*?"<>|_`, r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
				return ' '
			}
			return r
		}, p)
		runes := []rune(strings.Join(strings.Fields(p), " "))
		if p = strings.Trim(string(runes[:min(len(runes), 40)]), " ."); p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return "document.pdf"
	}
	return strings.Join(parts, "_") + ".pdf"
}
