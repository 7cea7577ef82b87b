package cda

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text gives the document as plain text, for a terminal: header card, then
// narrative. It holds no control character but the end of line.
func (d *Document) Text() string {
	var t textWriter
	t.line(0, d.heading())
	t.line(0, strings.Repeat("=", utf8.RuneCountInString(d.heading())))
	for _, f := range d.card() {
		t.line(0, f.label+" : "+f.value)
	}
	if d.Body.Kind == Level3 {
		chapters, err := d.chapters()
		if err != nil {
			t.line(0, tooLong)
		}
		for _, c := range chapters {
			t.chapter(c, 0)
		}
		return t.String()
	}
	t.line(0, "")
	switch f := d.Body.File; {
	case f == nil:
		t.line(0, "Le document n'a pas de corps.")
	case f.MediaType == "text/plain":
		if data, err := f.Bytes(); err == nil && sniff(data) == "" && len(data) <= maxNarrative {
			t.blocks(plainText(data), 0)
			break
		}
		fallthrough
	default:
		t.line(0, block{media: f}.standIn())
	}
	return t.String()
}

type textWriter struct{ strings.Builder }

func (t *textWriter) line(indent int, s string) {
	t.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+s, " ") + "\n")
}

func (t *textWriter) chapter(c chapter, depth int) {
	t.line(0, "")
	if c.title != "" {
		t.line(2*depth, c.title)
		t.line(2*depth, strings.Repeat("-", utf8.RuneCountInString(c.title)))
	}
	t.blocks(c.blocks, 2*depth)
	for _, s := range c.subs {
		t.chapter(s, depth+1)
	}
}

func (t *textWriter) runs(indent int, runs []run) {
	var b strings.Builder
	for _, r := range runs {
		b.WriteString(r.text)
	}
	if b.Len() == 0 {
		return
	}
	for l := range strings.SplitSeq(b.String(), "\n") {
		t.line(indent, l)
	}
}

func (t *textWriter) blocks(blocks []block, indent int) {
	for _, b := range blocks {
		switch b.kind {
		case paragraph:
			t.runs(indent, b.runs)
		case list:
			t.runs(indent, b.caption)
			for i, it := range b.items {
				mark := "- "
				if b.ordered {
					mark = fmt.Sprintf("%d. ", i+1)
				}
				var inner textWriter
				inner.blocks(it.blocks, 0)
				for j, l := range strings.Split(strings.TrimRight(inner.String(), "\n"), "\n") {
					if j > 0 {
						mark = strings.Repeat(" ", len(mark))
					}
					t.line(indent, mark+l)
				}
			}
		case table:
			t.runs(indent, b.caption)
			t.table(b, indent)
		case picture:
			what := b.standIn()
			if b.media != nil && strings.HasPrefix(b.media.MediaType, "image/") {
				what = "[Illustration]"
			}
			t.line(indent, what)
			t.runs(indent, b.caption)
		}
	}
}

// maxColumn is the width that a cell of one line may take to be aligned.
const maxColumn = 40

// table aligns the cells of one line; any other cell follows under its row.
func (t *textWriter) table(b block, indent int) {
	rows := make([][]string, len(b.rows))
	var widths []int
	for i, r := range b.rows {
		for j, c := range r.cells {
			var inner textWriter
			inner.blocks(c.contents, 0)
			s := strings.Join(strings.Split(strings.TrimRight(inner.String(), "\n"), "\n"), " / ")
			rows[i] = append(rows[i], s)
			if j == len(widths) {
				widths = append(widths, 0)
			}
			if n := utf8.RuneCountInString(s); n <= maxColumn && c.colspan == 1 {
				widths[j] = max(widths[j], n)
			}
		}
	}
	for _, cells := range rows {
		var l strings.Builder
		for j, s := range cells {
			if j > 0 {
				l.WriteString(" | ")
			}
			l.WriteString(s)
			if j < len(cells)-1 {
				l.WriteString(strings.Repeat(" ", max(0, widths[j]-utf8.RuneCountInString(s))))
			}
		}
		t.line(indent, l.String())
	}
}
