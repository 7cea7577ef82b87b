package cda

import (
	"slices"
	"strings"
)

// maxColumns bounds a table; what stands further right joins the last column.
const maxColumns = 64

// placed is a cell at its column.
type placed struct {
	*cell     // nil under a cell of a row above
	col, span int
	last      bool // the last row under such a cell
}

// grid places the cells of a table: a cell that spans rows keeps its columns in
// the rows below. Its content stands in its first row.
func grid(rows []row) (out [][]placed, columns int) {
	var busy [maxColumns]int // rows that a column is still taken for
	for i := range rows {
		var line []placed
		col := 0
		under := func() { // pass what the rows above still take
			from := col
			for col < maxColumns-1 && busy[col] > 0 {
				col++
			}
			if col > from {
				line = append(line, placed{nil, from, col - from, busy[from] == 1 || i == len(rows)-1})
			}
		}
		for c := range rows[i].cells {
			cl := &rows[i].cells[c]
			under()
			at := min(col, maxColumns-1)
			n := min(cl.colspan, maxColumns-at)
			for k := at; k < at+n; k++ {
				busy[k] = max(busy[k], cl.rowspan)
			}
			if k := len(line) - 1; k >= 0 && line[k].cell != nil && line[k].col+line[k].span > at {
				both := *line[k].cell // the table is too wide: the last column takes the rest
				both.contents = append(slices.Clone(both.contents), cl.contents...)
				line[k].cell = &both
			} else {
				line = append(line, placed{cl, at, n, false})
			}
			col = at + n
			columns = max(columns, min(col, maxColumns))
		}
		under()
		for k := range busy {
			busy[k] = max(0, busy[k]-1)
		}
		out = append(out, line)
	}
	return out, max(columns, 1)
}

// table makes one strip a row; a row taller than a page makes several.
func (l *layout) table(b block, size, width float64) []strip {
	lines, columns := grid(b.rows)
	var widths []float64
	fits := false
	for _, s := range tableSizes {
		if s > size {
			continue
		}
		size = s
		if widths, fits = l.columns(lines, columns, s, width); fits {
			break
		}
	}
	if widths == nil { // inside a table already at the smallest size
		widths, _ = l.columns(lines, columns, size, width)
	}
	if !fits && columns > foldColumns {
		return l.table(folded(lines, b.rows), tableSize, width)
	}
	left := make([]float64, columns+1)
	for i, w := range widths {
		left[i+1] = left[i] + w
	}
	var head, out []strip
	for i, line := range lines {
		strips := l.tableRow(line, left, size)
		if b.rows[i].head && len(out) == len(head) {
			for j := range strips {
				strips[j].isHead, strips[j].keep = true, true
			}
			head = append(head, strips...)
		}
		out = append(out, strips...)
	}
	var tall float64
	for _, h := range head {
		tall += h.height
	}
	if tall > textHeight/3 { // a head that would fill the pages is shown once
		head = nil
	}
	for i := range out {
		out[i].repeat = head
	}
	return out
}

// foldColumns is how many columns a table may have and be drawn too narrow for
// its words; with more it is folded.
const foldColumns = 10

// folded makes a table of one column: in each row its cells one under another,
// each after the head of its column.
func folded(lines [][]placed, rows []row) block {
	heads := map[int]string{}
	out := block{kind: table}
	for i, line := range lines {
		one := cell{colspan: 1, rowspan: 1}
		if rows[i].head && len(heads) == 0 {
			one.head = true
			for _, c := range line {
				if c.cell != nil {
					heads[c.col] = label(c.contents)
				}
			}
		}
		for _, c := range line {
			if c.cell == nil || len(c.contents) == 0 {
				continue
			}
			contents := c.contents
			if one.head { // the heads one after another, pictures and all
				one.contents = alongside(one.contents, contents, ", ")
				continue
			}
			if h := heads[c.col]; h != "" {
				contents = alongside([]block{{kind: paragraph, runs: []run{{h, bold}}}}, contents, " ")
			}
			one.contents = append(one.contents, contents...)
		}
		out.rows = append(out.rows, row{cells: []cell{one}})
	}
	return out
}

// alongside puts blocks after others, on the line of the last one when both are
// text.
func alongside(before, after []block, between string) []block {
	n := len(before)
	if n == 0 || len(after) == 0 || before[n-1].kind != paragraph || after[0].kind != paragraph {
		return append(before, after...)
	}
	runs := append(slices.Clone(before[n-1].runs), run{between, 0})
	out := append(slices.Clone(before[:n-1]), block{kind: paragraph, runs: append(runs, after[0].runs...)})
	return append(out, after[1:]...)
}

// maxLabel is how much of the head of a column is repeated in each row.
const maxLabel = 60

// label is the head of a column, short enough to be repeated.
func label(blocks []block) string {
	var b strings.Builder
	for _, r := range flat(blocks) {
		b.WriteString(r.text)
	}
	runes := []rune(clean(b.String()))
	if len(runes) == 0 {
		return ""
	}
	if len(runes) > maxLabel {
		runes = append(runes[:maxLabel], '…')
	}
	return string(runes) + " :"
}

// flat gives the text of blocks.
func flat(blocks []block) []run {
	var out []run
	for _, b := range blocks {
		out = append(out, b.caption...)
		out = append(out, b.runs...)
		for _, it := range b.items {
			out = append(out, flat(it.blocks)...)
		}
		for _, r := range b.rows {
			for _, c := range r.cells {
				out = append(out, flat(c.contents)...)
			}
		}
		out = append(out, run{" ", 0})
	}
	return joined(out)
}

// columns shares a width out. It tells whether every word fits.
func (l *layout) columns(lines [][]placed, columns int, size, width float64) ([]float64, bool) {
	least, most := make([]float64, columns), make([]float64, columns)
	for pass := range 2 { // spanning cells after the others
		for _, line := range lines {
			for _, c := range line {
				if c.cell == nil || (c.span > 1) != (pass == 1) || c.col >= columns {
					continue
				}
				word, whole := l.contents(c.contents, size)
				to := min(c.col+c.span, columns)
				spread(least[c.col:to], word+2*cellPad+0.5)
				spread(most[c.col:to], whole+2*cellPad+0.5)
			}
		}
	}
	var sumLeast, sumMost float64
	for i := range least {
		least[i] = max(least[i], 2*cellPad+1)
		most[i] = max(most[i], least[i])
		sumLeast, sumMost = sumLeast+least[i], sumMost+most[i]
	}
	out := make([]float64, columns)
	for i := range out {
		switch {
		case sumMost <= width:
			out[i] = most[i] + (width-sumMost)*most[i]/sumMost
		case sumLeast <= width:
			out[i] = least[i] + (width-sumLeast)*(most[i]-least[i])/max(sumMost-sumLeast, 1)
		default:
			out[i] = least[i] * width / sumLeast
		}
	}
	return out, sumLeast <= width
}

// spread makes columns wide enough, together, for a width.
func spread(cols []float64, width float64) {
	var sum float64
	for _, c := range cols {
		sum += c
	}
	if sum >= width {
		return
	}
	for i := range cols {
		cols[i] += (width - sum) / float64(len(cols))
	}
}

// contents gives the width of the longest word and of the longest line of blocks.
func (l *layout) contents(blocks []block, size float64) (word, line float64) {
	grow := func(w, n, more float64) { word, line = max(word, w+more), max(line, n+more) }
	for _, b := range blocks {
		w, n := l.extent(b.caption, size)
		grow(w, n, 0)
		switch b.kind {
		case paragraph:
			w, n = l.extent(b.runs, size)
			grow(w, n, 0)
		case list:
			for _, it := range b.items {
				w, n = l.contents(it.blocks, size)
				grow(w, n, indentStep)
			}
		case table:
			lines, columns := grid(b.rows)
			var sums [2]float64
			least, most := make([]float64, columns), make([]float64, columns)
			for _, r := range lines {
				for _, c := range r {
					if c.cell == nil || c.col >= columns {
						continue
					}
					w, n = l.contents(c.contents, size)
					to := min(c.col+c.span, columns)
					spread(least[c.col:to], w+2*cellPad)
					spread(most[c.col:to], n+2*cellPad)
				}
			}
			for i := range least {
				sums[0], sums[1] = sums[0]+least[i], sums[1]+most[i]
			}
			grow(sums[0], sums[1], 1)
		case picture:
			grow(40, 240, 0)
		}
	}
	return word, line
}

// tableRow lays out one row. Cells that are taller than a page are cut between
// their strips, all at the same height.
func (l *layout) tableRow(line []placed, left []float64, size float64) []strip {
	columns := len(left) - 1
	cells := make([][]strip, len(line))
	for i, c := range line {
		if c.cell == nil {
			continue
		}
		to := min(c.col+c.span, columns)
		cells[i] = l.blocks(c.contents, size, max(left[to]-left[c.col]-2*cellPad, 4), c.align)
	}
	const tallest = textHeight * 0.8
	var out []strip
	for {
		height, more := size*leading, false
		parts := make([][]strip, len(line))
		for i := range cells {
			var h float64
			n := 0
			for n < len(cells[i]) && (n == 0 || h+cells[i][n].height <= tallest) {
				h += cells[i][n].height
				n++
			}
			parts[i], cells[i] = cells[i][:n], cells[i][n:]
			more = more || len(cells[i]) > 0
			height = max(height, h)
		}
		height += 2 * cellPad
		out = append(out, strip{height: height, draw: func(p *sheet, x, y float64) {
			for i, c := range line {
				to := min(c.col+c.span, columns)
				if c.cell == nil {
					p.sides(x+left[c.col], y, left[to]-left[c.col], height, c.last)
					continue
				}
				fill := -1.0
				if c.head {
					fill = 0.93
				}
				p.box(x+left[c.col], y, left[to]-left[c.col], height, fill)
				at := y + cellPad
				for _, s := range parts[i] {
					s.draw(p, x+left[c.col]+cellPad, at)
					at += s.height
				}
			}
		}})
		if !more {
			return out
		}
	}
}
