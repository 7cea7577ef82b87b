package cda

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

func picturePNG(t testing.TB) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 40, 20))
	for x := range 40 {
		img.Set(x, x/2, color.NRGBA{200, 0, 0, 128})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pictureJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// level3 makes a level 3 document of one section with this narrative and these
// entries, in the place of those of our document.
func level3(t testing.TB, narrative, entries string) []byte {
	t.Helper()
	doc, err := mutate(load(t, "level3.xml"), "replace component <component><structuredBody><component><section><title>Section d'essai</title><text>"+
		strings.ReplaceAll(narrative, " ; ", " , ")+"</text>"+entries+"</section></component></structuredBody></component>")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// media is an entry that holds a file.
func media(id, mediaType string, data []byte) string {
	return `<entry><organizer classCode="CLUSTER" moodCode="EVN"><component><observationMedia classCode="OBS" moodCode="EVN" ID="` + id + `"><value mediaType="` +
		mediaType + `" representation="B64">` + base64.StdEncoding.EncodeToString(data) + `</value></observationMedia></component></organizer></entry>`
}

// body1 makes a level 1 document of this body.
func body1(t testing.TB, mediaType string, data []byte) []byte {
	t.Helper()
	doc, err := mutate(load(t, "level1.xml"), "set component/nonXMLBody/text/@mediaType "+mediaType+" ; text component/nonXMLBody/text "+base64.StdEncoding.EncodeToString(data))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestPDFCopy(t *testing.T) {
	other := bytes.Replace(smallPDF, []byte("%PDF-1.4"), []byte("%PDF-1.5"), 1)
	gray := pictureJPEG(t, image.NewGray(image.Rect(0, 0, 20, 20)))
	copySection := `<code code="55108-5" codeSystem="2.16.840.1.113883.6.1"/>`
	inCopy := func(entries string) []byte {
		return []byte(strings.Replace(string(level3(t, "<paragraph>x</paragraph>", media("autre", "application/pdf", other))), "</structuredBody>",
			"<component><section>"+copySection+"<title>Copie</title><text>y</text>"+entries+"</section></component></structuredBody>", 1))
	}
	for _, c := range []struct {
		name string
		doc  []byte
		kind Copy
		pdf  []byte // byte for byte, when not rendered
		text string // of a rendered copy
		code string
	}{
		{"ok/level 1", body1(t, "application/pdf", smallPDF), CopyEmbedded, smallPDF, "", ""},
		{"ok/level 3 with a PDF", level3(t, "<paragraph>x</paragraph>", media("doc", "application/pdf", smallPDF)), CopyAttached, smallPDF, "", ""},
		{"ok/level 3, the PDF of the copy section", inCopy(media("doc", "application/pdf", smallPDF)), CopyAttached, smallPDF, "", ""},
		{"ok/level 3, two PDFs and no copy section", level3(t, "<paragraph>Bonjour</paragraph>", media("a", "application/pdf", smallPDF)+media("b", "application/pdf", other)), CopyRendered, nil, "Bonjour", ""},
		{"ok/level 3, HTML under the name of a PDF", level3(t, "<paragraph>Bonjour</paragraph>", media("a", "application/pdf", []byte("<html><body>x</body></html>"))), CopyRendered, nil, "Bonjour", ""},
		{"ok/level 3 without a PDF", level3(t, "<paragraph>L’œuvre coûte 3 €…</paragraph>", ""), CopyRendered, nil, "L’œuvre coûte 3 €…", ""},
		{"ok/level 3, empty narrative", level3(t, "", ""), CopyRendered, nil, "Section d'essai", ""},
		{"ok/level 1, plain text", body1(t, "text/plain", []byte("Ligne un\n\nLigne d\xe9ux \x80\n")), CopyRendered, nil, "Ligne déux €", ""},
		{"ok/level 1, picture", body1(t, "image/jpeg", gray), CopyRendered, nil, "CR de consultation fictive", ""},
		{"fail/level 3, narrative too long", level3(t, "<paragraph>"+strings.Repeat("mot ", 1<<20)+"</paragraph>", ""), "", nil, "", FaultNoCopy},
		{"fail/level 1, text too long", body1(t, "text/plain", bytes.Repeat([]byte("mot "), 1<<20+1)), "", nil, "", FaultNoCopy},
		{"fail/level 1, RTF", body1(t, "text/rtf", []byte(`{\rtf1 x}`)), "", nil, "", FaultNoCopy},
		{"fail/level 1, TIFF", body1(t, "image/tiff", []byte("II*\x00xxxx")), "", nil, "", FaultNoCopy},
		{"fail/level 1, HTML", body1(t, "application/pdf", []byte("<html><body>x</body></html>")), "", nil, "", FaultNoCopy},
		{"fail/level 1, base64 cut", func() []byte {
			doc, err := mutate(load(t, "level1.xml"), "text component/nonXMLBody/text JVBER")
			if err != nil {
				t.Fatal(err)
			}
			return doc
		}(), "", nil, "", FaultBodyBase64},
		{"fail/no body", func() []byte {
			doc, err := mutate(load(t, "level1.xml"), "remove component")
			if err != nil {
				t.Fatal(err)
			}
			return doc
		}(), "", nil, "", FaultNoCopy},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Read(c.doc)
			if err != nil {
				t.Fatal(err)
			}
			pdf, kind, err := d.PDFCopy()
			if c.code != "" {
				var f *Finding
				if !errors.As(err, &f) || f.Code != c.code {
					t.Fatalf("got %v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if kind != c.kind || c.pdf != nil && !bytes.Equal(pdf, c.pdf) {
				t.Errorf("%s, %d bytes", kind, len(pdf))
			}
			if kind != CopyRendered {
				return
			}
			if text := ownText(t, pdf); !strings.Contains(text, c.text) {
				t.Errorf("%q is not in %q", c.text, text)
			}
			if f := CheckPDFA(pdf); len(f) > 0 {
				t.Errorf("not PDF/A: %v", f)
			}
			if again, _, _ := d.PDFCopy(); !bytes.Equal(pdf, again) {
				t.Error("rendered twice, it differs")
			}
		})
	}
}

// TestRender draws narratives that are hard to draw, and looks for every word.
func TestRender(t *testing.T) {
	long := strings.Repeat("anticonstitutionnellement", 30)
	manyRows := strings.Repeat("<tr><td>gauche</td><td>droite</td></tr>", 200)
	wide := strings.Repeat("<td>colonne</td>", 90)
	tall := strings.Repeat("<paragraph>paragraphe</paragraph>", 200)
	nested := strings.Repeat("<table><tbody><tr><td>dedans", 20) + strings.Repeat("</td></tr></tbody></table>", 20)
	for _, c := range []struct{ name, narrative, entries string }{
		{"ok/styles", `<content styleCode="Bold">gras</content><content styleCode="Italics">ital</content>ique H<sub>2</sub>O 10<sup>9</sup>/l <content revised="delete">biffé</content> <content styleCode="Underline">souligné</content>`, ""},
		{"ok/list", `<list listType="ordered"><caption>Titre</caption><item>un</item><item><caption>c</caption>deux<list><item>trois</item></list></item></list>`, ""},
		{"ok/long word", "<paragraph>" + long + "</paragraph>", ""},
		{"ok/long word in a table", "<table><tbody><tr><td>" + long + "</td><td>" + long + "</td></tr></tbody></table>", ""},
		{"ok/many rows under a head", "<table><thead><tr><th>A</th><th>B</th></tr></thead><tbody>" + manyRows + "</tbody></table>", ""},
		{"ok/many columns", "<table><tbody><tr>" + wide + "</tr></tbody></table>", ""},
		{"ok/many columns under a head", "<table><thead><tr>" + strings.ReplaceAll(wide, "td>", "th>") + "</tr></thead><tbody><tr>" + wide + "</tr><tr>" + wide + "</tr></tbody></table>", ""},
		{"ok/many columns, heads only", "<table><thead><tr>" + wide + "</tr></thead></table>", ""},
		{"ok/cell taller than a page", "<table><tbody><tr><td>" + tall + "</td><td>court</td></tr></tbody></table>", ""},
		{"ok/head taller than a page", "<table><thead><tr><th>" + tall + "</th></tr></thead><tbody>" + manyRows + "</tbody></table>", ""},
		{"ok/spans", `<table><tbody><tr><td rowspan="3">haut</td><td colspan="2">large</td></tr><tr><td>b</td><td>c</td></tr><tr><td colspan="99999999999">d</td></tr></tbody></table>`, ""},
		{"ok/nested tables", nested, ""},
		{"ok/table outside the rules", `<table>perdu<caption>légende</caption><tr>égaré<td>case</td></tr><td>seule</td></table>`, ""},
		{"ok/unknown elements", `<foo>mot <bar>autre</bar></foo><ul><li>puce</li></ul><p>para</p><div>bloc</div>`, ""},
		{"ok/foreign letters", "<paragraph>Ǵdańsk Łódź Ελλάδα Кириллица 漢字 مرحبا ≥ ≤ ☑ e\u0301tat no\u202fbreak</paragraph>", ""},
		{"ok/link and footnote", `<paragraph>avant<footnote ID="f">note</footnote> <linkHtml href="javascript:x()">lien</linkHtml></paragraph>`, ""},
		{"ok/pages filled to their end", strings.Repeat("<paragraph>ligne</paragraph>", 35) + strings.Repeat("<table><tbody><tr><td>ligne</td></tr></tbody></table>", 60), ""},
		{"ok/pictures", `<paragraph>avant</paragraph><renderMultiMedia referencedObject="p j absent casse"><caption>sous-titre</caption></renderMultiMedia>`,
			media("p", "image/png", picturePNG(t)) + media("j", "image/jpeg", pictureJPEG(t, image.NewYCbCr(image.Rect(0, 0, 900, 3000), image.YCbCrSubsampleRatio420))) + media("casse", "image/png", []byte("\x89PNG\r\n\x1a\nxx"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := level3(t, c.narrative, c.entries)
			d, err := Read(doc)
			if err != nil {
				t.Fatal(err)
			}
			pdf := rendered(t, d)
			if m := missing(ownText(t, pdf), narrativeWords(t, doc)); len(m) > 0 {
				t.Errorf("missing: %.200q", m)
			}
			if f := CheckPDFA(pdf); len(f) > 0 {
				t.Errorf("not PDF/A: %v", f)
			}
			onPage(t, pdf)
		})
	}
}

var position = regexp.MustCompile(`Tf 1 0 0 1 (\S+) (\S+) Tm`)

// onPage proves that no line was drawn outside the page, and no page for nothing.
func onPage(t *testing.T, pdf []byte) {
	t.Helper()
	d := readPDF(pdf)
	root := d.dict(d.trailers[0]["Root"])
	pages, _ := d.dict(root["Pages"])["Kids"].([]any)
	for i, p := range pages {
		content := d.objects[d.dict(p)["Contents"].(pdfRef)].inflate()
		drawn := position.FindAllSubmatch(content, -1)
		if len(drawn) <= 2 && !bytes.Contains(content, []byte(" Do Q")) {
			t.Errorf("page %d of %d holds its foot only", i+1, len(pages))
		}
		for _, op := range drawn {
			x, errX := strconv.ParseFloat(string(op[1]), 64)
			y, errY := strconv.ParseFloat(string(op[2]), 64)
			if errX != nil || errY != nil || x < 0 || x > pageWidth || y < 0 || y > pageHeight {
				t.Fatalf("page %d of %d: a line at %s %s", i+1, len(pages), op[1], op[2])
			}
		}
	}
}

func TestRenderedPictures(t *testing.T) {
	doc := level3(t, `<renderMultiMedia referencedObject="p"/><renderMultiMedia referencedObject="p"/>`, media("p", "image/png", picturePNG(t)))
	d, err := Read(doc)
	if err != nil {
		t.Fatal(err)
	}
	pdf := rendered(t, d)
	if n := bytes.Count(pdf, []byte("/Subtype/Image")); n != 1 {
		t.Errorf("%d images in the file, want 1: it is written once", n)
	}
	content := readPDF(pdf)
	drawn := 0
	for _, o := range content.objects {
		drawn += bytes.Count(o.inflate(), []byte("/Im0 Do"))
	}
	if drawn != 2 {
		t.Errorf("drawn %d times, want 2", drawn)
	}
}

func TestPDFName(t *testing.T) {
	day := time.Date(2015, 8, 2, 7, 0, 0, 0, time.UTC)
	m := dmp.Metadata{ServiceStart: day, Type: dmp.Code{Code: "11502-2", Display: "CR d'examens biologiques"},
		Patient: ins.Identity{Traits: ins.Traits{BirthName: "Vial", FirstGiven: "Paul"}}}
	for _, c := range []struct {
		name string
		edit func(*dmp.Metadata)
		file string
		want string
	}{
		{"ok/example of the specification", func(*dmp.Metadata) {}, "12150302014578", "20150802_CR d'examens biologiques_VIAL_Paul_12150302014578.pdf"},
		{"ok/no file number", func(*dmp.Metadata) {}, "", "20150802_CR d'examens biologiques_VIAL_Paul.pdf"},
		{"ok/no act", func(m *dmp.Metadata) { m.ServiceStart, m.Created = time.Time{}, day.AddDate(0, 0, 1) }, "", "20150803_CR d'examens biologiques_VIAL_Paul.pdf"},
		{"ok/no display", func(m *dmp.Metadata) { m.Type.Display = "" }, "", "20150802_11502-2_VIAL_Paul.pdf"},
		{"ok/accents", func(m *dmp.Metadata) { m.Patient.Traits.BirthName = "d'élan" }, "", "20150802_CR d'examens biologiques_D'ÉLAN_Paul.pdf"},
		{"ok/what no file system takes", func(m *dmp.Metadata) {
			m.Type.Display, m.Patient.Traits.FirstGiven = "a/b\\c:d*e?f\"g<h>i|j_k\x00l", "../../etc"
		}, "", "20150802_a b c d e f g h i j k l_VIAL_etc.pdf"},
		{"ok/cut at 40", func(m *dmp.Metadata) { m.Type.Display = strings.Repeat("é", 60) }, "", "20150802_" + strings.Repeat("é", 40) + "_VIAL_Paul.pdf"},
		{"ok/nothing", func(m *dmp.Metadata) { *m = dmp.Metadata{} }, "", "document.pdf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := m
			c.edit(&m)
			if got := PDFName(m, c.file); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCheckPDFA breaks a PDF/A of ours in one place at a time.
func TestCheckPDFA(t *testing.T) {
	d, err := Read(level3(t, "<paragraph>x</paragraph>", ""))
	if err != nil {
		t.Fatal(err)
	}
	good := string(rendered(t, d))
	swap := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q does not occur", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for _, c := range []struct{ name, pdf, rule string }{
		{"ok/rendered", good, ""},
		{"fail/empty", "", "PDFA-FILE"},
		{"fail/HTML", "<html></html>", "PDFA-FILE"},
		{"fail/cut", good[:len(good)/2], "PDFA-FILE"},
		{"fail/encrypted", swap("trailer\n<<", "trailer\n<</Encrypt 1 0 R"), "PDFA-ENCRYPT"},
		{"fail/no ID", swap("/ID[", "/Id["), "PDFA-ID"},
		{"fail/no XMP", swap("/Metadata", "/Metadate"), "PDFA-XMP"},
		{"fail/no declaration", swap("pdfaid:part>1", "pdfaid:port>1"), "PDFA-XMP"},
		{"fail/no level", swap("pdfaid:conformance>B", "pdfaid:conformance>Z"), "PDFA-XMP"},
		{"fail/part 3", swap("pdfaid:part>1", "pdfaid:part>3"), "PDFA-PART"},
		{"fail/no output intent", swap("/OutputIntents", "/OutputIntentz"), "PDFA-INTENT"},
		{"fail/no profile", swap("/DestOutputProfile", "/DestOutputProfilo"), "PDFA-INTENT"},
		{"fail/font not embedded", swap("/FontFile2", "/FontFileX"), "PDFA-FONT"},
		{"fail/script", swap("/Type/Catalog", "/Type/Catalog/OpenAction<</S/JavaScript/JS(x)>>"), "PDFA-SCRIPT"},
		{"fail/automatic action", swap("/Type/Catalog", "/Type/Catalog/AA<<>>"), "PDFA-SCRIPT"},
		{"fail/attached file", swap("/Type/Catalog", "/Type/Catalog/Names<</EmbeddedFiles<<>>>>"), "PDFA-ATTACHED"},
		{"fail/transparency group", swap("/Type/Page/", "/Group<</S/Transparency>>/Type/Page/"), "PDFA-ALPHA"},
		{"fail/alpha", swap("/ProcSet", "/ExtGState<</G<</ca 0.5>>>>/ProcSet"), "PDFA-ALPHA"},
		{"fail/soft mask", swap("/ProcSet", "/ExtGState<</G<</SMask<<>>>>>>/ProcSet"), "PDFA-ALPHA"},
		{"fail/LZW", swap("/Filter/FlateDecode", "/Filter/LZWDecode"), "PDFA-LZW"},
		{"fail/cross-reference stream", swap("1 0 obj", "99 0 obj\n<</Type/XRef/Length 0>>\nstream\n\nendstream\nendobj\n1 0 obj"), "PDFA-PACKED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := CheckPDFA([]byte(c.pdf))
			if c.rule == "" {
				if len(found) > 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			for _, f := range found {
				r, ok := RuleOf(f.Rule)
				if !ok || r.FR == "" || r.Fix == "" || f.Code != FaultPDFA {
					t.Errorf("%s is not in the table", f.Rule)
				}
				if f.Rule == c.rule {
					return
				}
			}
			t.Errorf("found %v, want %s", found, c.rule)
		})
	}
}

// FuzzCheckPDFA: foreign bytes end in findings, never in a panic.
func FuzzCheckPDFA(f *testing.F) {
	d, err := Read(level3(f, "<paragraph>x</paragraph>", ""))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rendered(f, d))
	f.Add(smallPDF)
	f.Add([]byte("%PDF-1.5\n1 0 obj<</Type/ObjStm/N 3/First 9/Length 40>>stream\n2 0 3 9 4 <</A[1 0 R<ABC>(x\\)y)]>>\nendstream trailer<</Root 2 0 R>>"))
	f.Add([]byte("1 0 obj<<<<<<[[[[((("))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, x := range CheckPDFA(b) {
			if _, ok := RuleOf(x.Rule); !ok {
				t.Errorf("no rule %q", x.Rule)
			}
		}
	})
}

// FuzzRender: any narrative that is well-formed is drawn, with all its words.
func FuzzRender(f *testing.F) {
	f.Add("<paragraph>Bonjour <content styleCode='Bold'>tout</content></paragraph>")
	f.Add("<table><thead><tr><th colspan='3'>a</th></tr></thead><tr><td rowspan='9'>b<table><tr><td>c</td></tr></table></td></tr></table>")
	f.Add("<list><item><list><item/></list></item>x</list><renderMultiMedia referencedObject='a b'/>")
	f.Fuzz(func(t *testing.T, narrative string) {
		if len(narrative) > 4096 {
			t.Skip()
		}
		base := string(load(t, "level3.xml"))
		i, j := strings.Index(base, "<structuredBody>"), strings.Index(base, "</structuredBody>")
		doc := []byte(base[:i] + "<structuredBody><component><section><text>" + narrative + "</text></section></component>" + base[j:])
		d, err := Read(doc)
		if err != nil || d.Body.Sections != 1 {
			t.Skip()
		}
		if found := CheckPDFA(rendered(t, d)); len(found) > 0 {
			t.Errorf("not PDF/A: %v", found)
		}
	})
}

func BenchmarkPDFCopy(b *testing.B) {
	doc := grown(b, 300<<10)
	d, err := Read(doc)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.render(); err != nil {
			b.Fatal(err)
		}
	}
}
