package cda

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"strconv"
	"strings"
)

// Stylesheet is what the classes of [Document.Fragment] look like. It asks for
// nothing from elsewhere.
const Stylesheet = `.cda{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;max-width:60rem;margin:1.5rem auto;padding:0 1rem}
.cda h1{font-size:1.5rem;margin:0 0 .8rem}.cda h2,.cda h3,.cda h4,.cda h5,.cda h6{margin:1.4rem 0 .5rem;border-bottom:1px solid #bbb}
.cda-card{background:#f3f5f8;border:1px solid #cfd6df;border-radius:6px;padding:1rem 1.2rem}
.cda-card dl{display:grid;grid-template-columns:minmax(9rem,16rem) 1fr;gap:.25rem 1rem;margin:0}
.cda-card dt{color:#555}.cda-card dd{margin:0}
.cda table{border-collapse:collapse;margin:.4rem 0;max-width:100%}
.cda td,.cda th{border:1px solid #bbb;padding:.25rem .5rem;vertical-align:top;text-align:left}.cda th{background:#eee}
.cda .cda-right{text-align:right}.cda .cda-center{text-align:center}
.cda p{margin:.2rem 0}.cda img{max-width:100%;height:auto}.cda figure{margin:.6rem 0}
.cda-caption{font-weight:bold}.cda-absent{color:#555;font-style:italic}.cda-pdf{width:100%;height:85vh;border:1px solid #bbb}
`

// PagePolicy is the Content-Security-Policy that a page of [Document.Page]
// needs, and carries.
var PagePolicy = func() string {
	sum := sha256.Sum256([]byte(Stylesheet))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-src 'self'; object-src 'self'; base-uri 'none'; form-action 'none'"
}()

// PageOptions says where a page finds what is not in it.
type PageOptions struct {
	// PDF is the address of the PDF copy: relative, http or https; any other is
	// left out. A level 1 document shows it, a level 3 document links to it.
	PDF string
}

// Page gives the document as one HTML page: header card, then narrative. It
// holds no script, no link but that to the PDF, and fetches nothing else;
// everything from the document is escaped. The document decides neither tags,
// nor attributes, nor styles.
func (d *Document) Page(o PageOptions) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"fr\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"%s\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n",
		html.EscapeString(PagePolicy), html.EscapeString(d.heading()), Stylesheet)
	b.WriteString(string(d.Fragment(o)))
	b.WriteString("</body>\n</html>\n")
	return b.Bytes()
}

// Fragment gives the part of [Document.Page] that goes into a page of somebody
// else: one article of class cda.
func (d *Document) Fragment(o PageOptions) template.HTML {
	w := page{pdf: safeAddress(o.PDF)}
	w.tag("article", "cda", func() {
		w.tag("header", "cda-card", func() {
			w.tag("h1", "", func() { w.text(d.heading()) })
			w.tag("dl", "", func() {
				for _, f := range d.card() {
					w.tag("dt", "", func() { w.text(f.label) })
					w.tag("dd", "", func() { w.text(f.value) })
				}
			})
		})
		if d.Body.Kind == Level3 {
			if w.pdf != "" {
				w.tag("p", "", func() { w.link("Copie PDF du document") })
			}
			chapters, err := d.chapters()
			if err != nil {
				w.absent(tooLong)
			}
			for _, c := range chapters {
				w.chapter(c, 2)
			}
			return
		}
		w.body(d)
	})
	return template.HTML(w.String()) //nolint:gosec // made of constants and escaped text, see page
}

// safeAddress keeps an address that fetches from the place of the page or over
// HTTP, and nothing that runs.
func safeAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "", "http", "https":
		return u.String()
	}
	return ""
}

// page writes HTML: tags and classes are constants of this file, text is
// escaped.
type page struct {
	bytes.Buffer
	pdf     string
	inlined int // bytes of pictures so far, encoded
}

func (w *page) tag(name, class string, inside func()) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	w.WriteString("<" + name + class + ">")
	inside()
	w.WriteString("</" + name + ">")
	switch name {
	case "p", "section", "header", "article", "table", "tr", "ul", "ol", "li", "dl", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "figure":
		w.WriteByte('\n')
	}
}

func (w *page) text(s string) { w.WriteString(html.EscapeString(s)) }

func (w *page) link(label string) {
	w.WriteString(`<a href="` + html.EscapeString(w.pdf) + `" rel="noopener noreferrer">`)
	w.text(label)
	w.WriteString("</a>")
}

// body shows the file of a level 1 document.
func (w *page) body(d *Document) {
	f := d.Body.File
	switch {
	case f == nil:
		w.absent("Le document n'a pas de corps.")
	case w.pdf != "":
		w.WriteString(`<object class="cda-pdf" type="application/pdf" data="` + html.EscapeString(w.pdf) + `">`)
		w.link("Ouvrir le PDF du document")
		w.WriteString("</object>\n")
	default:
		if data, err := f.Bytes(); err == nil && f.MediaType == "text/plain" && sniff(data) == "" && len(data) <= maxNarrative {
			w.blocks(plainText(data))
			return
		}
		w.figure(block{kind: picture, media: f})
	}
}

func (w *page) absent(s string) {
	w.tag("p", "cda-absent", func() { w.text(s) })
}

func (w *page) chapter(c chapter, level int) {
	w.tag("section", "", func() {
		if c.title != "" {
			w.tag("h"+strconv.Itoa(min(level, 6)), "", func() { w.text(c.title) })
		}
		w.blocks(c.blocks)
		for _, s := range c.subs {
			w.chapter(s, level+1)
		}
	})
}

func (w *page) blocks(blocks []block) {
	for _, b := range blocks {
		if b.kind != picture && len(b.caption) > 0 && b.kind != table {
			w.tag("p", "cda-caption", func() { w.runs(b.caption) })
		}
		switch b.kind {
		case paragraph:
			w.tag("p", "", func() { w.runs(b.runs) })
		case list:
			name := "ul"
			if b.ordered {
				name = "ol"
			}
			w.tag(name, "", func() {
				for _, it := range b.items {
					w.tag("li", "", func() { w.inline(it.blocks) })
				}
			})
		case table:
			w.table(b)
		case picture:
			w.figure(b)
		}
	}
}

// inline writes a lone paragraph without its tag.
func (w *page) inline(blocks []block) {
	if len(blocks) == 1 && blocks[0].kind == paragraph {
		w.runs(blocks[0].runs)
		return
	}
	w.blocks(blocks)
}

func (w *page) table(b block) {
	w.tag("table", "", func() {
		if len(b.caption) > 0 {
			w.tag("caption", "cda-caption", func() { w.runs(b.caption) })
		}
		for _, r := range b.rows {
			w.tag("tr", "", func() {
				for _, c := range r.cells {
					w.cell(c, r.head)
				}
			})
		}
	})
}

func (w *page) cell(c cell, head bool) {
	name, class := "td", ""
	if c.head || head {
		name = "th"
	}
	switch c.align {
	case "right", "center":
		class = ` class="cda-` + c.align + `"`
	}
	w.WriteString("<" + name + class)
	if c.colspan > 1 {
		fmt.Fprintf(w, ` colspan="%d"`, c.colspan)
	}
	if c.rowspan > 1 {
		fmt.Fprintf(w, ` rowspan="%d"`, c.rowspan)
	}
	w.WriteString(">")
	w.inline(c.contents)
	w.WriteString("</" + name + ">")
}

// styles are the tags of the styles, outermost first.
var styles = []struct {
	of  style
	tag string
}{{bold, "strong"}, {italic, "em"}, {underline, "u"}, {strike, "del"}, {subscript, "sub"}, {superscript, "sup"}}

func (w *page) runs(runs []run) {
	for _, r := range runs {
		if r.text == "\n" {
			w.WriteString("<br>")
			continue
		}
		var end strings.Builder
		for i := range styles {
			if s := styles[i]; r.style&s.of != 0 {
				w.WriteString("<" + s.tag + ">")
			}
			if s := styles[len(styles)-1-i]; r.style&s.of != 0 {
				end.WriteString("</" + s.tag + ">")
			}
		}
		w.text(r.text)
		w.WriteString(end.String())
	}
}

// maxInline bounds the pictures of one page together: the same one may be asked
// for many times.
const maxInline = 24 << 20

// tooLong stands for a narrative above maxNarrative.
const tooLong = "Le texte de ce document est trop long pour être affiché ici."

// figure shows a PNG or a JPEG inside the page; words stand for anything else.
func (w *page) figure(b block) {
	w.tag("figure", "", func() {
		shown := false
		if b.media != nil && w.inlined+b.media.Encoded() <= maxInline {
			if data, err := b.media.Bytes(); err == nil {
				switch kind := sniff(data); kind {
				case "image/png", "image/jpeg":
					shown = true
					w.inlined += b.media.Encoded()
					w.WriteString(`<img alt="Illustration du document" src="data:` + kind + `;base64,` + base64.StdEncoding.EncodeToString(data) + `">`)
				}
			}
		}
		if !shown {
			w.absent(b.standIn())
		}
		if len(b.caption) > 0 {
			w.tag("figcaption", "", func() { w.runs(b.caption) })
		}
	})
}
