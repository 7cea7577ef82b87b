package testdata

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// PDF makes a PDF/A-1b of one page whose text can be extracted. Lines are cut at
// 84 characters, the text at 60 lines.
func PDF(title string, lines []string) []byte {
	all := append([]string{title, ""}, lines...)
	if len(all) > 60 {
		all = all[:60]
	}
	used := map[byte]bool{}
	var page bytes.Buffer
	page.WriteString("/CS0 cs 0 sc\nBT /F1 10 Tf 50 790 Td 12 TL\n")
	for _, line := range all {
		b := latin(line)
		if len(b) > 84 {
			b = b[:84]
		}
		page.WriteByte('<')
		for _, c := range b {
			used[c] = true
			fmt.Fprintf(&page, "%02X", c)
		}
		page.WriteString("> Tj T*\n")
	}
	page.WriteString("ET\n")

	var w pdfWriter
	w.out.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	w.object(1, "<</Type/Catalog/Pages 2 0 R/Metadata 4 0 R>>")
	w.object(2, "<</Type/Pages/Kids[3 0 R]/Count 1>>")
	w.object(3, "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R"+
		"/Resources<</Font<</F1 6 0 R>>/ColorSpace<</CS0[/CalGray<</WhitePoint[0.9505 1 1.089]>>]>>>>>>")
	w.stream(4, "/Type/Metadata/Subtype/XML", []byte(xmp))
	w.stream(5, "", page.Bytes())
	w.font(6, used)
	return w.finish()
}

// xmp declares PDF/A-1b. There is no Info dictionary, hence nothing that could
// disagree with it.
const xmp = `<?xpacket begin="` + "\ufeff" + `" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"><pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance></rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>`

type pdfWriter struct {
	out     bytes.Buffer
	offsets []int
}

func (w *pdfWriter) object(n int, body string) {
	for len(w.offsets) <= n {
		w.offsets = append(w.offsets, 0)
	}
	w.offsets[n] = w.out.Len()
	fmt.Fprintf(&w.out, "%d 0 obj\n%s\nendobj\n", n, body)
}

func (w *pdfWriter) stream(n int, dict string, data []byte) {
	w.object(n, fmt.Sprintf("<<%s/Length %d>>\nstream\n%s\nendstream", dict, len(data), data))
}

// font writes a Type 3 font at object n: one procedure for each character used.
func (w *pdfWriter) font(n int, used map[byte]bool) {
	toUnicode, next := n+1, n+2
	var differences, procs, chars strings.Builder
	count := 0
	widths := make([]string, 256)
	for c := range 256 {
		widths[c] = "0"
		if !used[byte(c)] {
			continue
		}
		widths[c] = "600"
		fmt.Fprintf(&differences, " %d/c%d", c, c)
		fmt.Fprintf(&procs, "/c%d %d 0 R", c, next)
		fmt.Fprintf(&chars, "<%02X> <%04X>\n", c, unlatin(byte(c)))
		w.stream(next, "", glyph(byte(c)))
		next, count = next+1, count+1
	}
	w.object(n, fmt.Sprintf("<</Type/Font/Subtype/Type3/Name/F1/FontBBox[0 -200 600 1000]/FontMatrix[.001 0 0 .001 0 0]"+
		"/FirstChar 0/LastChar 255/Widths[%s]/Encoding<</Type/Encoding/Differences[%s]>>/CharProcs<<%s>>/Resources<<>>/ToUnicode %d 0 R>>",
		strings.Join(widths, " "), differences.String(), procs.String(), toUnicode))
	var cmap strings.Builder
	cmap.WriteString("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n" +
		"/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n" +
		"/CMapName /Passerelle def\n/CMapType 2 def\n1 begincodespacerange\n<00> <FF>\nendcodespacerange\n")
	entries := strings.SplitAfter(chars.String(), "\n")
	entries = entries[:len(entries)-1]
	for len(entries) > 0 { // at most 100 entries a block
		k := min(100, len(entries))
		fmt.Fprintf(&cmap, "%d beginbfchar\n%sendbfchar\n", k, strings.Join(entries[:k], ""))
		entries = entries[k:]
	}
	cmap.WriteString("endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n")
	w.stream(toUnicode, "", []byte(cmap.String()))
}

func (w *pdfWriter) finish() []byte {
	start := w.out.Len()
	fmt.Fprintf(&w.out, "xref\n0 %d\n0000000000 65535 f \n", len(w.offsets))
	for _, at := range w.offsets[1:] {
		fmt.Fprintf(&w.out, "%010d 00000 n \n", at)
	}
	id := sha256.Sum256(w.out.Bytes())
	fmt.Fprintf(&w.out, "trailer\n<</Size %d/Root 1 0 R/ID[<%X><%X>]>>\nstartxref\n%d\n%%%%EOF\n",
		len(w.offsets), id[:16], id[:16], start)
	return w.out.Bytes()
}

// latin writes text in ISO 8859-1; what does not fit becomes a question mark.
func latin(s string) []byte {
	var b []byte
	for _, r := range strings.NewReplacer("’", "'", "œ", "oe", "–", "-", "≥", ">=").Replace(s) {
		if r > 255 {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return b
}

func unlatin(c byte) rune { return rune(c) }

// glyph draws a character on a grid of five by seven. Small letters are small
// capitals and accents are strokes above: enough to be read, and ours.
func glyph(c byte) []byte {
	var b bytes.Buffer
	b.WriteString("600 0 0 -200 600 1000 d1\n")
	base, accent := c, byte(0)
	if at := strings.IndexRune("àâäçéèêëîïôöùûüÀÂÇÉÈÊËÎÏÔÙÛ", rune(c)); at >= 0 && c > 127 {
		const from = "àâäçéèêëîïôöùûüÀÂÇÉÈÊËÎÏÔÙÛ"
		n := len([]rune(from[:at]))
		base, accent = "aaaceeeeiioouuuAACEEEEIIOUU"[n], "`^\",'`^\"^\"^\"`^\"`^,'`^\"^\"^`^"[n]
	}
	cell := 90.0
	if base >= 'a' && base <= 'z' {
		base, cell = base-'a'+'A', 68
	}
	rows := font5x7[base]
	for y, digit := range rows {
		bits, _ := strconv.ParseUint(string(digit), 32, 8)
		for x := range 5 {
			if bits&(1<<(4-x)) != 0 {
				fmt.Fprintf(&b, "%.0f %.0f %.0f %.0f re\n", 60+float64(x)*cell, float64(6-y)*cell, cell, cell)
			}
		}
	}
	top := 7*cell + 60
	switch accent {
	case '\'':
		fmt.Fprintf(&b, "260 %.0f 80 70 re 330 %.0f 80 70 re\n", top, top+70)
	case '`':
		fmt.Fprintf(&b, "260 %.0f 80 70 re 190 %.0f 80 70 re\n", top, top+70)
	case '^':
		fmt.Fprintf(&b, "160 %.0f 80 70 re 230 %.0f 80 70 re 300 %.0f 80 70 re\n", top, top+70, top)
	case '"':
		fmt.Fprintf(&b, "150 %.0f 80 70 re 310 %.0f 80 70 re\n", top, top)
	case ',':
		b.WriteString("230 -140 80 110 re\n")
	}
	if len(rows) > 0 {
		b.WriteString("f\n")
	}
	return b.Bytes()
}

// font5x7 is our own small font: seven rows from the top, each a base-32 digit
// whose bits are five dots.
var font5x7 = map[byte]string{
	'A': "ehhvhhh", 'B': "uhhuhhu", 'C': "ehggghe", 'D': "uhhhhhu", 'E': "vgguggv", 'F': "vgguggg",
	'G': "ehgnhhf", 'H': "hhhvhhh", 'I': "e44444e", 'J': "72222ic", 'K': "hikokih", 'L': "ggggggv",
	'M': "hrllhhh", 'N': "hhpljhh", 'O': "ehhhhhe", 'P': "uhhuggg", 'Q': "ehhhlid", 'R': "uhhukih",
	'S': "fgge11u", 'T': "v444444", 'U': "hhhhhhe", 'V': "hhhhha4", 'W': "hhhllla", 'X': "hha4ahh",
	'Y': "hhha444", 'Z': "v1248gv",
	'0': "ehjlphe", '1': "4c4444e", '2': "eh1248v", '3': "v2421he", '4': "26aiv22", '5': "vgu11he",
	'6': "68guhhe", '7': "v124888", '8': "ehhehhe", '9': "ehhf12c",
	'.': "00000cc", ',': "0000c48", ':': "0cc0cc0", ';': "0cc0c48", '-': "000v000", '\'': "c480000",
	'/': "01248g0", '(': "2488842", ')': "8422248", '%': "op248j3", '<': "248g842", '>': "g84248g",
	'=': "00v0v00", '+': "044v440", '?': "eh12404", '!': "4444404", '"': "aa00000", '*': "0l4e4l0",
	'[': "e88888e", ']': "e22222e", '@': "ehnlngf", '_': "000000v", '&': "cik8lid", 0xb0: "caac000",
}
