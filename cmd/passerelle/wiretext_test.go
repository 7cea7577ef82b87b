//go:build !nosandbox

package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/testdata"
)

// peeler takes what left a port apart, layer by layer, until the text that a
// person or a program would read lies bare. It guesses at every encoding
// wherever it might begin, instead of following the structure of a message: a
// leak that stands where no structure has a place for it is one all the same.
type peeler struct {
	seen  map[[32]byte]bool
	visit func(layer []byte)
}

const (
	peelDepth = 8
	peelMax   = 32 << 20 // bytes of one layer
)

func (p *peeler) peel(data []byte, depth int) {
	sum := sha256.Sum256(data)
	if len(data) < 13 || depth == 0 || p.seen[sum] {
		return
	}
	p.seen[sum] = true
	p.visit(data)
	again := func(layer []byte) { p.peel(layer, depth-1) }
	p.archives(data, again)
	if bytes.Contains(data, []byte("%PDF-")) {
		p.pdf(data, again)
	}
	for _, unescape := range unescapes {
		if out := unescape(data); out != nil && !bytes.Equal(out, data) {
			again(out)
		}
	}
	runs(data, isBase64, true, 18, func(run []byte) {
		for offset := range 4 { // a word before it may count as its beginning
			out, err := base64.RawStdEncoding.DecodeString(string(groups(run[min(offset, len(run)):])))
			if err == nil && offset == 0 {
				again(out)
			} else if err == nil {
				p.visit(out)
			}
		}
	})
	runs(data, isBase64URL, false, 18, func(run []byte) {
		if out, err := base64.RawURLEncoding.DecodeString(string(groups(run))); err == nil && bytes.ContainsAny(run, "-_") {
			again(out)
		}
	})
	runs(data, isHex, true, 26, func(run []byte) {
		if out, err := hex.DecodeString(string(run[:len(run)&^1])); err == nil {
			again(out)
		}
	})
}

// archives opens what is compressed, whether it begins at the first byte or not.
func (p *peeler) archives(data []byte, again func([]byte)) {
	if at := bytes.Index(data, []byte("PK\x03\x04")); at >= 0 {
		if z, err := zip.NewReader(bytes.NewReader(data[at:]), int64(len(data)-at)); err == nil {
			for _, f := range z.File {
				again([]byte(f.Name + "\n" + f.Comment))
				if r, err := f.Open(); err == nil {
					again(readMost(r))
				}
			}
		}
	}
	if at := bytes.Index(data, []byte("\x1f\x8b\x08")); at >= 0 {
		if r, err := gzip.NewReader(bytes.NewReader(data[at:])); err == nil {
			again(readMost(r))
		}
	}
	if len(data) > 2 && data[0]&0x0f == 8 && (int(data[0])<<8|int(data[1]))%31 == 0 {
		if r, err := zlib.NewReader(bytes.NewReader(data)); err == nil {
			again(readMost(r))
		}
	}
}

// readMost reads what can be read: what is cut still tells.
func readMost(r io.Reader) []byte {
	out, _ := io.ReadAll(io.LimitReader(r, peelMax))
	return out
}

var (
	pdfStream  = regexp.MustCompile(`(?s)stream\r?\n(.*?)\r?\nendstream`)
	pdfMapping = regexp.MustCompile(`<([0-9A-Fa-f]{2,4})>\s*<([0-9A-Fa-f]{4})>`)
	pdfHex     = regexp.MustCompile(`<([0-9A-Fa-f\s]+)>`)
	pdfLiteral = regexp.MustCompile(`\(((?:[^()\\]|\\.)*)\)`)
)

// pdf inflates the streams and reads the text by the maps of the fonts.
func (p *peeler) pdf(data []byte, again func([]byte)) {
	var streams [][]byte
	var fonts []map[string]string
	for _, m := range pdfStream.FindAllSubmatch(data, -1) {
		body := m[1]
		if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
			body = readMost(r)
		} else if out := readMost(flate.NewReader(bytes.NewReader(body))); len(out) > len(body) {
			body = out
		}
		streams = append(streams, body)
		font := map[string]string{}
		for _, pair := range pdfMapping.FindAllSubmatch(body, -1) {
			if c, err := strconv.ParseUint(string(pair[2]), 16, 16); err == nil {
				font[strings.ToUpper(string(pair[1]))] = string(rune(c))
			}
		}
		if len(font) > 0 {
			fonts = append(fonts, font)
		}
	}
	for _, s := range streams {
		again(s)
		var literal strings.Builder
		for _, m := range pdfLiteral.FindAllSubmatch(s, -1) {
			literal.Write(m[1])
		}
		again([]byte(literal.String()))
		for _, font := range fonts {
			var text strings.Builder
			for _, m := range pdfHex.FindAllSubmatch(s, -1) {
				code := strings.ToUpper(strings.Join(strings.Fields(string(m[1])), ""))
				for _, width := range []int{4, 2} {
					if len(code)%width != 0 || font[code[:min(width, len(code))]] == "" {
						continue
					}
					for i := 0; i+width <= len(code); i += width {
						text.WriteString(font[code[i:i+width]])
					}
				}
			}
			again([]byte(text.String()))
		}
	}
}

var (
	tags     = regexp.MustCompile(`<[^<>]*>`)
	jsonHex  = regexp.MustCompile(`\\u[0-9A-Fa-f]{4}`)
	hl7Hex   = regexp.MustCompile(`\\X((?:[0-9A-Fa-f]{2})+)\\`)
	wordForm = regexp.MustCompile(`=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=`)
)

// unescapes undo what a format does to its texts. Each gives nil when there is
// nothing of its kind.
var unescapes = []func([]byte) []byte{
	func(b []byte) []byte { // quoted-printable, and its soft line ends
		if !bytes.Contains(b, []byte("=\r\n")) && !bytes.Contains(b, []byte("=3")) {
			return nil
		}
		return readMost(quotedprintable.NewReader(bytes.NewReader(b)))
	},
	func(b []byte) []byte { // encoded words of mail headers
		var d mime.WordDecoder
		if !bytes.Contains(b, []byte("=?")) {
			return nil
		}
		joined := regexp.MustCompile(`\?=\s+=\?`).ReplaceAll(b, []byte("?==?"))
		return wordForm.ReplaceAllFunc(joined, func(w []byte) []byte {
			text, err := d.Decode(string(w))
			if err != nil {
				return w
			}
			return []byte(text)
		})
	},
	func(b []byte) []byte { // JSON
		if !bytes.Contains(b, []byte(`\u`)) && !bytes.Contains(b, []byte(`\/`)) && !bytes.Contains(b, []byte(`\n`)) && !bytes.Contains(b, []byte(`\r`)) {
			return nil
		}
		b = jsonHex.ReplaceAllFunc(b, func(m []byte) []byte {
			c, _ := strconv.ParseUint(string(m[2:]), 16, 16)
			return []byte(string(rune(c)))
		})
		return []byte(strings.NewReplacer(`\/`, `/`, `\n`, "\n", `\r`, "\r").Replace(string(b)))
	},
	func(b []byte) []byte { // XML and HTML
		if !bytes.Contains(b, []byte("&#")) {
			return nil
		}
		return []byte(html.UnescapeString(string(b)))
	},
	func(b []byte) []byte { // markup between the digits
		if !bytes.Contains(b, []byte("</")) {
			return nil
		}
		return tags.ReplaceAll(b, nil)
	},
	func(b []byte) []byte { // addresses and forms
		if !bytes.Contains(b, []byte("%3")) && !bytes.Contains(b, []byte("%2")) {
			return nil
		}
		out, err := url.PathUnescape(string(b))
		if err != nil {
			return nil
		}
		return []byte(out)
	},
	func(b []byte) []byte { // HL7
		if !bytes.Contains(b, []byte(`\X`)) {
			return nil
		}
		return hl7Hex.ReplaceAllFunc(b, func(m []byte) []byte {
			out, _ := hex.DecodeString(string(m[2 : len(m)-1]))
			return out
		})
	},
}

func isBase64(c byte) bool    { return c == '+' || c == '/' || isAlphanumeric(c) }
func isBase64URL(c byte) bool { return c == '-' || c == '_' || isAlphanumeric(c) }
func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// runs finds the longest runs of an alphabet, joined over single line ends if
// folded.
func runs(data []byte, in func(byte) bool, folded bool, least int, found func([]byte)) {
	var run []byte
	for i := 0; i < len(data); {
		switch c := data[i]; {
		case in(c):
			run = append(run, c)
			i++
			continue
		case folded && len(run) >= 4 && c == '\r' && i+2 < len(data) && data[i+1] == '\n' && in(data[i+2]):
			i += 2
			continue
		case folded && len(run) >= 4 && c == '\n' && i+1 < len(data) && in(data[i+1]):
			i++
			continue
		}
		if len(run) >= least {
			found(run)
		}
		run = run[:0]
		i++
	}
	if len(run) >= least {
		found(run)
	}
}

// groups drops the character of a group that is cut, which no decoder takes.
func groups(run []byte) []byte {
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	return run
}

// spoken gives those of the known matricules that data carries: whole or without
// their key, spaced or not, in any encoding. Keys of known are the 13 characters
// before the key.
func spoken(data []byte, known map[string]string) map[string]bool {
	found := map[string]bool{}
	p := peeler{seen: map[[32]byte]bool{}, visit: func(layer []byte) {
		// What separates the groups of a number in print is left out; two fields
		// that would make one by chance would need thirteen given digits.
		compact := make([]byte, 0, len(layer))
		digits := 0
		for _, c := range layer {
			switch {
			case c >= '0' && c <= '9':
				digits++
			case c >= 'a' && c <= 'z':
				c -= 'a' - 'A'
				fallthrough
			case c >= 'A' && c <= 'Z':
				if c != 'A' && c != 'B' { // of Corsica
					digits = 0
				}
			default:
				continue
			}
			compact = append(compact, c)
			if digits < 12 || len(compact) < 13 {
				continue
			}
			if whole, ok := known[string(compact[len(compact)-13:])]; ok {
				found[whole] = true
			}
		}
	}}
	p.peel(data, peelDepth)
	return found
}

// The decoder sees through every wrapping that a protocol of ours may put around
// a matricule, and through several at once. What it cannot see, the property
// would not prove.
func TestSpoken(t *testing.T) {
	const m = "280076311310118"
	known := map[string]string{m[:13]: m, "155112A004033": "155112A00403363"}
	zipped := func(name, text string) string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, strings.Repeat(text, 3))
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	deflated := func(text string) string {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return b.String()
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	folded := func(s string) string {
		var b strings.Builder
		for s = b64(s); len(s) > 76; s = s[76:] {
			b.WriteString(s[:76] + "\r\n")
		}
		return b.String() + s
	}
	wide := func(s string) string {
		var b strings.Builder
		for _, c := range utf16.Encode([]rune(s)) {
			b.Write([]byte{byte(c), byte(c >> 8)})
		}
		return b.String()
	}
	printed := func(lines ...string) string { return string(testdata.PDF("Titre", lines)) }
	long := strings.Repeat("Des mots avant. ", 30)
	for name, text := range map[string]string{
		"ok/bare":                      "PID|1||" + m + "^^^&1.2.250.1.213.1.4.10&ISO^INS",
		"ok/spaced for people":         "INS : 2 80 07 63 113 101 18",
		"ok/spaced without breaks":     "2\u00a080\u00a007\u00a063\u00a0113\u00a0101\u00a018",
		"ok/without key":               "x2800763113101y",
		"ok/Corsica in small letters":  "1 55 11 2a 004 033 63",
		"ok/an address":                "RCPT TO:<" + m + "@patient.mssante.fr>",
		"ok/base64":                    "OBX|1|ED|||^TEXT^XML^Base64^" + b64(long+m) + "|",
		"ok/base64 behind a word":      "jeton/" + b64("  "+m+" "),
		"ok/base64 folded":             "base64\r\n\r\n" + folded(long+m) + "\r\n--fin--",
		"ok/base64 for URLs":           "code=" + base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe\xfb\xef"+m+"\xff\xff")),
		"ok/base64 twice":              b64(long + b64(long+m)),
		"ok/zip":                       zipped("a.xml", m),
		"ok/name in a zip":             zipped(m+".xml", "rien"),
		"ok/zip in mail":               "Content-Type: application/zip\r\n\r\n" + folded(zipped("a.xml", long+m)) + "\r\n--fin--",
		"ok/zip in base64 in JSON":     `{"data":"` + strings.ReplaceAll(b64(zipped("a.xml", long+m)), "/", `\/`) + `"}`,
		"ok/deflate":                   deflated(long + m),
		"ok/quoted-printable":          "2800=\r\n763113=3101=318",
		"ok/encoded word":              "Subject: =?utf-8?B?" + b64("INS "+m) + "?=",
		"ok/encoded words, cut":        "Subject: =?utf-8?Q?28007=36?=\r\n =?utf-8?Q?311310118?=",
		"ok/JSON":                      `{"a":"\u0032800763\u003113101"}`,
		"ok/XML":                       "<id extension=\"&#50;&#x38;0076311310118\"/>",
		"ok/markup":                    "<td>2 80 <b>07</b> 63 113</td><td>101 18</td>",
		"ok/percent":                   "identifier=urn%3Aoid%3A1.2%7C%32%38%30%30%37%36%33%31%31%33%31%30%31%31%38",
		"ok/HL7":                       `OBX|1|TX|||\X3238\00\X37\6311310118`,
		"ok/hexadecimal":               hex.EncodeToString([]byte(m)),
		"ok/UTF-16":                    wide("matricule " + m),
		"ok/PDF":                       printed("Patient : " + m),
		"ok/PDF, compressed":           "%PDF-1.4\n1 0 obj\n<<>>\nstream\n" + deflated("BT [(2800)-20(763)](11310118) TJ ET") + "\nendstream\nendobj",
		"ok/PDF in a document in mail": folded(zipped("DOC00001.XML", "<text mediaType=\"application/pdf\">"+b64(printed("INS", "2 80 07 63 113 101 18"))+"</text>")),
		"fail/another number":          "280076311310218 2800763113102",
		"fail/too short":               "280076311310",
		"fail/nothing":                 long,
	} {
		t.Run(name, func(t *testing.T) {
			if got := len(spoken([]byte(text), known)) > 0; got != strings.HasPrefix(name, "ok/") {
				t.Errorf("seen: %v", got)
			}
		})
	}
	t.Run("ok/PDF copy that we draw", func(t *testing.T) {
		d, err := cda.Read(testdata.CDA(testdata.CDAOptions{Level: 3, NoPDFCopy: true}))
		if err != nil {
			t.Fatal(err)
		}
		drawn, _, err := d.PDFCopy()
		if err != nil || len(spoken(drawn, known)) != 1 {
			t.Errorf("not read: %v", err)
		}
	})
	if fmt.Sprint(spoken([]byte(m+" 155112A00403363"), known)) != "map[155112A00403363:true "+m+":true]" {
		t.Error("two in one text")
	}
}
