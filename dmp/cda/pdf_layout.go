package cda

import (
	"bytes"
	"fmt"
	"strconv"
)

// A4, in points, and the space left around the text.
const (
	pageWidth, pageHeight = 595.28, 841.89
	marginX, marginTop    = 48.0, 48.0
	marginBottom          = 56.0
	textWidth             = pageWidth - 2*marginX
	textHeight            = pageHeight - marginTop - marginBottom
	bodySize, tableSize   = 9.5, 8.5
	leading               = 1.28
	cellPad               = 3.0
	indentStep            = 14.0
)

// tableSizes are tried in turn until every word of a table fits its column.
var tableSizes = []float64{tableSize, 7.5, 6.5, 5.5}

// strip is a horizontal strip of a page, the atom of page breaks: a line, a
// row, a picture. draw is given the top left corner.
type strip struct {
	height  float64
	draw    func(p *sheet, x, y float64)
	repeat  []strip // to draw again on top of a new page: the head of a table
	isHead  bool
	keep    bool // stay on the page of the next strip
	spacing bool // nothing at the top of a page
}

// sheet is one page being drawn.
type sheet struct{ bytes.Buffer }

// layout lays blocks out in strips, then on pages.
type layout struct {
	fonts  [4]*subset
	images pictures
	sheets []*sheet
	y      float64 // from the top of the page
}

func newLayout() *layout {
	l := &layout{}
	for i, f := range typefaces {
		l.fonts[i] = newSubset(f)
	}
	return l
}

// place puts strips on pages at x. A strip that does not fit begins a new page,
// and takes with it those before it that must stay with it.
func (l *layout) place(strips []strip, x float64) {
	for i := 0; i < len(strips); {
		n := 1
		need := strips[i].height
		for strips[i+n-1].keep && i+n < len(strips) {
			need += strips[i+n].height
			n++
		}
		s := strips[i]
		if s.spacing && l.y+s.height > textHeight {
			i++ // nothing at the end of a page either
			continue
		}
		if len(l.sheets) == 0 || l.y+need > textHeight && (l.y > 0 && l.y+s.height > textHeight || need <= textHeight) {
			l.sheets = append(l.sheets, &sheet{})
			l.y = 0
			if !s.isHead {
				for _, h := range s.repeat {
					h.draw(l.sheet(), x, marginTop+l.y)
					l.y += h.height
				}
			}
		}
		if s.spacing && l.y == 0 {
			i++
			continue
		}
		s.draw(l.sheet(), x, marginTop+l.y)
		l.y += s.height
		i++
	}
}

func (l *layout) sheet() *sheet { return l.sheets[len(l.sheets)-1] }

func space(h float64) strip {
	return strip{height: h, draw: func(*sheet, float64, float64) {}, spacing: true}
}

// glyphRun is a character with its style.
type glyphRun struct {
	r rune
	s style
}

func (l *layout) font(s style) *subset { return l.fonts[s&3] }

func sized(s style, size float64) float64 {
	if s&(subscript|superscript) != 0 {
		return size * 0.7
	}
	return size
}

func (l *layout) measure(g glyphRun, size float64) float64 {
	return l.font(g.s).width(g.r, sized(g.s, size))
}

// lines breaks runs into lines that fit a width: at blanks, and inside a word
// only when the word alone is wider.
func (l *layout) lines(runs []run, size, width float64) [][]glyphRun {
	var out [][]glyphRun
	var line, word []glyphRun
	var lineWidth, wordWidth float64
	endWord := func() {
		if len(word) == 0 {
			return
		}
		if len(line) > 0 && lineWidth+wordWidth > width {
			out = append(out, trimmed(line))
			line, lineWidth = nil, 0
		}
		for _, g := range word {
			w := l.measure(g, size)
			if lineWidth+w > width && len(line) > 0 {
				out = append(out, line)
				line, lineWidth = nil, 0
			}
			line, lineWidth = append(line, g), lineWidth+w
		}
		word, wordWidth = nil, 0
	}
	for _, r := range runs {
		if r.text == "\n" {
			endWord()
			out = append(out, trimmed(line))
			line, lineWidth = nil, 0
			continue
		}
		for _, c := range r.text {
			g := glyphRun{c, r.style}
			if !blank(c) {
				word, wordWidth = append(word, g), wordWidth+l.measure(g, size)
				continue
			}
			endWord()
			if len(line) > 0 {
				line, lineWidth = append(line, g), lineWidth+l.measure(g, size)
			}
		}
	}
	endWord()
	if len(line) > 0 {
		out = append(out, trimmed(line))
	}
	return out
}

func trimmed(line []glyphRun) []glyphRun {
	for len(line) > 0 && blank(line[len(line)-1].r) {
		line = line[:len(line)-1]
	}
	return line
}

// extent gives the width of the longest word and of the longest line.
func (l *layout) extent(runs []run, size float64) (word, line float64) {
	var w, n float64
	for _, r := range runs {
		if r.text == "\n" {
			w, n = 0, 0
			continue
		}
		for _, c := range r.text {
			m := l.measure(glyphRun{c, r.style}, size)
			n += m
			if w += m; blank(c) {
				w = 0
			}
			word, line = max(word, w), max(line, n)
		}
	}
	return word, line
}

// text makes one strip a line.
func (l *layout) text(runs []run, size, width float64, align string) []strip {
	var out []strip
	for _, line := range l.lines(runs, size, width) {
		out = append(out, strip{height: size * leading, draw: func(p *sheet, x, y float64) {
			var total float64
			for _, g := range line {
				total += l.measure(g, size)
			}
			switch align {
			case "right":
				x += width - total
			case "center":
				x += (width - total) / 2
			}
			l.write(p, line, size, x, y+size)
		}})
	}
	return out
}

// write draws one line of text with its baseline at y.
func (l *layout) write(p *sheet, line []glyphRun, size, x, y float64) {
	for i := 0; i < len(line); {
		j, s := i, line[i].s
		var width float64
		for j < len(line) && line[j].s == s {
			width += l.measure(line[j], size)
			j++
		}
		base := y
		switch {
		case s&superscript != 0:
			base -= size * 0.33
		case s&subscript != 0:
			base += size * 0.15
		}
		fmt.Fprintf(p, "BT /F%d %s Tf 1 0 0 1 %s %s Tm <", s&3, num(sized(s, size)), num(x), num(pageHeight-base))
		for _, g := range line[i:j] {
			fmt.Fprintf(p, "%04X", l.font(s).cid(g.r))
		}
		p.WriteString("> Tj ET\n")
		if s&underline != 0 {
			fmt.Fprintf(p, "%s %s %s 0.5 re f\n", num(x), num(pageHeight-base-1.6), num(width))
		}
		if s&strike != 0 {
			fmt.Fprintf(p, "%s %s %s 0.5 re f\n", num(x), num(pageHeight-base+size*0.28), num(width))
		}
		x += width
		i = j
	}
}

// num writes a number as PDF does.
func num(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// box draws a frame; fill is a grey level from 0 to 1, none when negative.
func (p *sheet) box(x, y, w, h, fill float64) {
	if fill >= 0 {
		fmt.Fprintf(p, "q %[1]s %[1]s %[1]s rg %s %s %s %s re f Q\n", num(fill), num(x), num(pageHeight-y-h), num(w), num(h))
	}
	fmt.Fprintf(p, "q 0.6 0.6 0.6 RG 0.5 w %s %s %s %s re S Q\n", num(x), num(pageHeight-y-h), num(w), num(h))
}

// sides draws what goes on of a cell of a row above; last closes it.
func (p *sheet) sides(x, y, w, h float64, last bool) {
	if last {
		fmt.Fprintf(p, "q 0.6 0.6 0.6 RG 0.5 w %s %s m %s %s l S Q\n", num(x), num(pageHeight-y-h), num(x+w), num(pageHeight-y-h))
	}
	fmt.Fprintf(p, "q 0.6 0.6 0.6 RG 0.5 w %[1]s %[2]s m %[1]s %[3]s l %[4]s %[2]s m %[4]s %[3]s l S Q\n", num(x), num(pageHeight-y), num(pageHeight-y-h), num(x+w))
}

// blocks lays blocks out one under another.
func (l *layout) blocks(blocks []block, size, width float64, align string) []strip {
	var out []strip
	for i, b := range blocks {
		if i > 0 && (b.kind != paragraph || blocks[i-1].kind != paragraph) {
			out = append(out, space(size*0.4))
		}
		if b.kind != picture && len(b.caption) > 0 {
			title := l.text(b.caption, size, width, "")
			for i := range title {
				title[i].keep = true
			}
			out = append(out, title...)
		}
		switch b.kind {
		case paragraph:
			out = append(out, l.text(b.runs, size, width, align)...)
		case list:
			out = append(out, l.list(b, size, width)...)
		case table:
			out = append(out, l.table(b, size, width)...)
		case picture:
			out = append(out, l.picture(b, size, width)...)
		}
	}
	return out
}

// list draws a mark before the first line of each item.
func (l *layout) list(b block, size, width float64) []strip {
	indent := min(indentStep, width/4)
	var out []strip
	for i, it := range b.items {
		mark := "•"
		if b.ordered {
			mark = strconv.Itoa(i+1) + "."
		}
		inner := l.blocks(it.blocks, size, width-indent, "")
		if len(inner) == 0 {
			inner = []strip{{height: size * leading, draw: func(*sheet, float64, float64) {}}}
		}
		for j, s := range inner {
			draw := s.draw
			inner[j].repeat = shifted(s.repeat, indent)
			inner[j].draw = func(p *sheet, x, y float64) {
				if j == 0 {
					l.write(p, glyphs(mark), size, x, y+size)
				}
				draw(p, x+indent, y)
			}
		}
		out = append(out, inner...)
	}
	return out
}

func shifted(strips []strip, dx float64) []strip {
	var out []strip
	for _, s := range strips {
		draw := s.draw
		s.draw = func(p *sheet, x, y float64) { draw(p, x+dx, y) }
		out = append(out, s)
	}
	return out
}

func glyphs(s string) []glyphRun {
	var out []glyphRun
	for _, r := range s {
		out = append(out, glyphRun{r: r})
	}
	return out
}
