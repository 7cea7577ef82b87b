package cda

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shown reads a page with a reader of its own: the tags, the attributes and the
// text that a browser would see.
func shown(t *testing.T, page string) (tags, attrs []string, text string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var b strings.Builder
	for {
		tok, err := dec.Token()
		if err != nil {
			return tags, attrs, b.String()
		}
		switch v := tok.(type) {
		case xml.StartElement:
			b.WriteByte(' ')
			tags = append(tags, v.Name.Local)
			for _, a := range v.Attr {
				attrs = append(attrs, a.Name.Local+"="+a.Value)
			}
		case xml.EndElement:
			b.WriteByte(' ')
		case xml.CharData:
			b.Write(v)
		}
	}
}

// allowed is all that a page may hold.
var (
	allowedTags = strings.Fields("html head meta title style body article header h1 h2 h3 h4 h5 h6 dl dt dd section p br ul ol li table caption tr td th " +
		"strong em u del sub sup figure figcaption img object a")
	allowedAttrs = regexp.MustCompile(`^(class=cda[a-z-]*|colspan=\d+|rowspan=\d+|alt=Illustration du document|src=data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+|` +
		`lang=fr|charset=utf-8|http-equiv=Content-Security-Policy|content=.*|name=(viewport|referrer)|type=application/pdf|data=copie\.pdf|href=copie\.pdf|rel=noopener noreferrer)$`)
)

func TestPage(t *testing.T) {
	evil := `<script>alert(1)</script><content onclick="x()" style="background:url(http://x/)" styleCode="Bold url(http://x)">clic</content>` +
		`<linkHtml href="javascript:alert(1)">lien</linkHtml><img src="http://exemple.invalid/x.png"/><iframe src="//exemple.invalid"/>` +
		`<paragraph>&lt;script&gt;alert(2)&lt;/script&gt; &amp;lt;b&amp;gt; "guillemets" 'x'</paragraph>` +
		`<table background="http://x/" onload="y()"><tr><td align="right;x" colspan="2&quot; onmouseover=&quot;z()">case</td></tr></table>` +
		`<renderMultiMedia referencedObject="svg faux p"/><style>@import url(http://x/)</style><object data="http://x/">objet</object>`
	entries := media("svg", "image/svg+xml", []byte(`<svg onload="alert(3)"/>`)) + media("faux", `image/png"onerror="x`, []byte("<svg/>")) + media("p", "image/png", picturePNG(t))
	entries = strings.ReplaceAll(entries, `image/png"onerror="x`, `image/png&quot;onerror=&quot;x`)
	for _, c := range []struct {
		name string
		doc  []byte
		pdf  string
		want []string // in the text
		not  []string // anywhere in the page
	}{
		{"ok/level 3", load(t, "level3.xml"), "", []string{"Type de document", "FICTIF-DURAND"}, []string{"<object"}},
		{"ok/level 3 with its copy", load(t, "level3.xml"), "copie.pdf", []string{"Copie PDF"}, []string{"<object"}},
		{"ok/level 1", load(t, "level1.xml"), "copie.pdf", []string{"CR de consultation fictive", "Ouvrir le PDF"}, nil},
		{"ok/level 1 without address", load(t, "level1.xml"), "", []string{"non affiché"}, []string{"<object"}},
		{"ok/level 1, address that runs", load(t, "level1.xml"), "javascript:alert(1)", []string{"non affiché"}, []string{"javascript"}},
		{"ok/level 1, address of data", load(t, "level1.xml"), "data:text/html,x", []string{"non affiché"}, []string{"data:text"}},
		{"ok/level 1, text", body1(t, "text/plain", []byte("<b>texte</b>")), "", []string{"<b>texte</b>"}, []string{"<b>"}},
		{"ok/hostile narrative", level3(t, evil, entries), "", []string{"clic", "lien", "case", "<script>alert(2)</script> &lt;b&gt;", "non affiché"},
			[]string{"alert(1)", "alert(3)", "http://", "javascript", "onclick", "onload", "@import", "iframe"}},
		{"ok/hostile header", []byte(strings.NewReplacer(">CR de consultation fictive<", `>"/&gt;&lt;script&gt;x()&lt;/script&gt;<`, "Clinique des Essais", "&lt;img src=x&gt;").Replace(string(load(t, "level1.xml")))), "",
			[]string{"<script>x()</script>", "<img src=x>"}, []string{"<script", "<img"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Read(c.doc)
			if err != nil {
				t.Fatal(err)
			}
			page := string(d.Page(PageOptions{PDF: c.pdf}))
			tags, attrs, text := shown(t, page)
			for _, tag := range tags {
				if !slices.Contains(allowedTags, tag) {
					t.Errorf("tag %s", tag)
				}
			}
			for _, a := range attrs {
				if !allowedAttrs.MatchString(a) {
					t.Errorf("attribute %.80s", a)
				}
			}
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not shown", w)
				}
			}
			for _, n := range c.not {
				if strings.Contains(page, n) {
					t.Errorf("%q is in the page", n)
				}
			}
			if f := string(d.Fragment(PageOptions{PDF: c.pdf})); !strings.Contains(page, f) || strings.Contains(f, "<style") {
				t.Error("the fragment is not the part of the page without its style")
			}
			if strings.ContainsFunc(d.Text(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x9b }) {
				t.Error("the plain text holds a control character")
			}
		})
	}
}

// TestFragment writes one narrative of everything, to the letter.
func TestFragment(t *testing.T) {
	narrative := `début <content styleCode="Bold Italics">fort</content><br/>suite
		<paragraph><caption>Titre</caption>H<sub>2</sub>O &lt; 10<sup>3</sup><footnote>note</footnote></paragraph>
		<list listType="ordered"><caption>Liste</caption><item>un</item><item>deux<list><item><content revised="delete">trois</content></item></list></item></list>
		<table><caption>Tableau</caption><thead><tr><th colspan="2">A</th></tr></thead><tbody align="right"><tr align="right"><td rowspan="2">b</td><td><paragraph>c</paragraph><paragraph>d</paragraph></td></tr></tbody></table>
		<renderMultiMedia referencedObject="absent"><caption>légende</caption></renderMultiMedia>`
	want := `<section><h2>Section d&#39;essai</h2>
<p>début <strong><em>fort</em></strong><br>suite</p>
<p><strong>Titre</strong><br>H<sub>2</sub>O &lt; 10<sup>3</sup> [note]</p>
<p class="cda-caption"><strong>Liste</strong></p>
<ol><li>un</li>
<li><p>deux</p>
<ul><li><del>trois</del></li>
</ul>
</li>
</ol>
<table><caption class="cda-caption"><strong>Tableau</strong></caption><tr><th colspan="2"><strong>A</strong></th></tr>
<tr><td class="cda-right" rowspan="2">b</td><td class="cda-right"><p>c</p>
<p>d</p>
</td></tr>
</table>
<figure><p class="cda-absent">[Illustration absente du document]</p>
<figcaption><strong>légende</strong></figcaption></figure>
</section>
</article>
`
	d, err := Read(level3(t, narrative, ""))
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(d.Fragment(PageOptions{})), "</header>\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPageBounds proves that a picture asked for many times does not make a page
// without bound, and that a narrative too long is told, not cut.
func TestPageBounds(t *testing.T) {
	big := append(picturePNG(t), make([]byte, 5<<20)...)
	d, err := Read(level3(t, strings.Repeat(`<renderMultiMedia referencedObject="p"/>`, 50), media("p", "image/png", big)))
	if err != nil {
		t.Fatal(err)
	}
	page := string(d.Page(PageOptions{}))
	if len(page) > maxInline+1<<20 || strings.Count(page, "<img") != 3 || strings.Count(page, "non affiché") != 47 {
		t.Errorf("%d bytes, %d pictures", len(page), strings.Count(page, "<img"))
	}
	d, err = Read(level3(t, "<paragraph>"+strings.Repeat("mot ", 1<<20)+"</paragraph>", ""))
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{"page": string(d.Page(PageOptions{})), "text": d.Text()} {
		if !strings.Contains(s, tooLong) || strings.Contains(s, "mot mot") {
			t.Errorf("the %s does not say that the narrative is too long", what)
		}
	}
}

// TestReferencePage looks for every word of the narrative of the published
// documents, in the page and in the plain text.
func TestReferencePage(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(reference(t), "cda", "*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no document", err)
	}
	for _, file := range files {
		t.Run("ok/"+filepath.Base(file), func(t *testing.T) {
			doc, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Read(doc)
			if err != nil {
				t.Fatal(err)
			}
			_, _, text := shown(t, string(d.Page(PageOptions{})))
			words := narrativeWords(t, doc)
			if m := missing(text, words); len(m) > 0 {
				t.Errorf("missing in the page: %q", m)
			}
			if m := missing(d.Text(), words); len(m) > 0 {
				t.Errorf("missing in the text: %q", m)
			}
		})
	}
}
