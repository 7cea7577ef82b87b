package cda

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// narrativeWords gives the words of the title and text of every section, read
// from the raw XML apart from the code that renders them.
func narrativeWords(t testing.TB, doc []byte) []string {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(doc))
	dec.Strict = false
	var open []string
	var b strings.Builder
	for {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		switch v := tok.(type) {
		case xml.StartElement:
			open = append(open, v.Name.Local)
			switch v.Name.Local {
			case "content", "sub", "sup", "b", "i", "span", "linkHtml":
			default:
				b.WriteByte(' ')
			}
		case xml.EndElement:
			switch v.Name.Local {
			case "content", "sub", "sup", "b", "i", "span", "linkHtml":
			default:
				b.WriteByte(' ')
			}
			open = open[:len(open)-1]
		case xml.CharData:
			i := slices.Index(open, "section")
			if i < 0 || slices.Contains(open, "entry") {
				continue
			}
			in := open[i:]
			if slices.Contains(in, "text") || in[len(in)-1] == "title" {
				b.Write(v)
			}
		}
	}
	return strings.FieldsFunc(norm.NFC.String(b.String()), unicode.IsSpace)
}

var operator = regexp.MustCompile(`/F(\d) [\d.]+ Tf 1 0 0 1 ([\d.]+) ([\d.]+) Tm <([0-9A-F]+)> Tj`)

// ownText reads the text of a PDF of ours back, through its own maps from
// glyphs to characters: one line a drawn line.
func ownText(t testing.TB, pdf []byte) string {
	t.Helper()
	d := readPDF(pdf)
	root := d.dict(d.trailers[0]["Root"])
	pages, _ := d.dict(root["Pages"])["Kids"].([]any)
	if len(pages) == 0 {
		t.Fatal("no page")
	}
	var out strings.Builder
	for _, p := range pages {
		page := d.dict(p)
		fonts := d.dict(d.dict(page["Resources"])["Font"])
		maps := map[string]map[int]string{}
		for name, f := range fonts {
			ref := d.dict(f)["ToUnicode"].(pdfRef)
			m := map[int]string{}
			for _, pair := range regexp.MustCompile(`<([0-9A-F]{4})> <([0-9A-F]+)>\n`).FindAllStringSubmatch(string(d.objects[ref].inflate()), -1) {
				cid, _ := strconv.ParseInt(pair[1], 16, 32)
				m[int(cid)] = fromUTF16(pair[2])
			}
			maps[string(name)] = m
		}
		var last string
		for _, op := range operator.FindAllSubmatch(d.objects[page["Contents"].(pdfRef)].inflate(), -1) {
			if last != string(op[3]) {
				out.WriteByte('\n')
			}
			last = string(op[3])
			for i := 0; i+4 <= len(op[4]); i += 4 {
				cid, _ := strconv.ParseInt(string(op[4][i:i+4]), 16, 32)
				out.WriteString(maps["F"+string(op[1])][int(cid)])
			}
		}
	}
	return out.String()
}

func fromUTF16(hex string) string {
	var u []uint16
	for i := 0; i+4 <= len(hex); i += 4 {
		v, _ := strconv.ParseUint(hex[i:i+4], 16, 16)
		u = append(u, uint16(v))
	}
	return string(utf16.Decode(u))
}

// rendered is the copy that a level 3 document would be given.
func rendered(t testing.TB, d *Document) []byte {
	t.Helper()
	pdf, err := d.render()
	if err != nil {
		t.Fatal(err)
	}
	return pdf
}

// missing gives the words that a text lacks. A word broken over two lines
// counts as there.
func missing(text string, words []string) []string {
	have := map[string]bool{}
	for _, w := range strings.FieldsFunc(text, unicode.IsSpace) {
		have[norm.NFC.String(w)] = true
	}
	joined := strings.Join(strings.FieldsFunc(text, unicode.IsSpace), "")
	var out []string
	for _, w := range words {
		if !have[w] && !strings.Contains(joined, w) {
			out = append(out, w)
		}
	}
	return out
}

// TestReferencePDF renders every published level 3 document and reads it back,
// by our own reader and by pdftotext.
func TestReferencePDF(t *testing.T) {
	dir := reference(t)
	files, err := filepath.Glob(filepath.Join(dir, "cda", "*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no document", err)
	}
	tool, noTool := exec.LookPath("pdftotext")
	expected, judged := 0, 0
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(doc)
		if err != nil {
			t.Fatal(err)
		}
		pdf, kind, err := d.PDFCopy()
		if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if d.Body.Kind != Level3 {
			if kind != CopyEmbedded {
				t.Errorf("%s: copy is %s", filepath.Base(file), kind)
			}
			continue
		}
		expected++
		t.Run("ok/"+filepath.Base(file), func(t *testing.T) {
			judged++
			pdf := rendered(t, d)
			words := narrativeWords(t, doc)
			if len(words) < 10 {
				t.Fatalf("only %d words", len(words))
			}
			if m := missing(ownText(t, pdf), words); len(m) > 0 {
				t.Errorf("missing in our own reading: %q", m)
			}
			if f := CheckPDFA(pdf); len(f) > 0 {
				t.Errorf("not PDF/A: %v", f)
			}
			out := os.Getenv("PASSERELLE_PDF_OUT")
			if out == "" {
				out = t.TempDir()
			}
			name := filepath.Join(out, filepath.Base(file)+".pdf")
			if err := os.WriteFile(name, pdf, 0o600); err != nil {
				t.Fatal(err)
			}
			if noTool != nil {
				t.Skip("pdftotext is not installed; our own reading was judged")
			}
			text, err := exec.Command(tool, "-enc", "UTF-8", "-raw", name, "-").Output()
			if err != nil {
				t.Fatal(err)
			}
			if m := missing(string(text), words); len(m) > 0 {
				t.Errorf("missing in pdftotext: %q", m)
			}
			t.Logf("%d words, %d bytes", len(words), len(pdf))
		})
	}
	t.Logf("reference: pdf: %d judged / %d expected", judged, expected)
	if judged != expected || expected == 0 {
		t.Error("not every document was judged")
	}
}
