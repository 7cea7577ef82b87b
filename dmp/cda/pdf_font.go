package cda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unicode"

	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gobolditalic"
	"golang.org/x/image/font/gofont/goitalic"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/text/unicode/norm"
)

// The fonts are the Go fonts (Bigelow & Holmes, BSD licence of the Go project,
// embedding and redistribution allowed). They hold Latin, Greek and Cyrillic
// (WGL4).

// typeface is a TrueType font that can be measured and cut.
type typeface struct {
	name                    string // PostScript name
	tables                  map[string][]byte
	glyphs                  map[rune]uint16
	unitsPerEm              float64
	ascent, descent         int
	bounds                  [4]int
	hMetrics, numGlyphs     int
	loca                    []uint32
	italicAngle, stemV, cap int
}

// typefaces are regular, bold, italic, bold italic: the index is style&3.
var typefaces = [4]*typeface{
	loadFace("GoRegular", goregular.TTF, 0, 80),
	loadFace("Go-Bold", gobold.TTF, 0, 140),
	loadFace("Go-Italic", goitalic.TTF, -12, 80),
	loadFace("Go-BoldItalic", gobolditalic.TTF, -12, 140),
}

func u16(b []byte, at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
func i16(b []byte, at int) int { return int(int16(binary.BigEndian.Uint16(b[at:]))) }
func u32(b []byte, at int) int { return int(binary.BigEndian.Uint32(b[at:])) }

// loadFace reads a font that is part of the program: its bytes are trusted.
func loadFace(name string, ttf []byte, italicAngle, stemV int) *typeface {
	f := &typeface{name: name, tables: map[string][]byte{}, glyphs: map[rune]uint16{}, italicAngle: italicAngle, stemV: stemV}
	for i := range u16(ttf, 4) {
		rec := ttf[12+16*i:]
		f.tables[string(rec[:4])] = ttf[u32(rec, 8) : u32(rec, 8)+u32(rec, 12)]
	}
	head, hhea := f.tables["head"], f.tables["hhea"]
	f.unitsPerEm = float64(u16(head, 18))
	for i := range f.bounds {
		f.bounds[i] = f.milli(i16(head, 36+2*i))
	}
	f.ascent, f.descent = f.milli(i16(hhea, 4)), f.milli(i16(hhea, 6))
	f.hMetrics = u16(hhea, 34)
	f.numGlyphs = u16(f.tables["maxp"], 4)
	loca := f.tables["loca"]
	for i := range f.numGlyphs + 1 {
		if i16(head, 50) == 0 {
			f.loca = append(f.loca, uint32(2*u16(loca, 2*i)))
		} else {
			f.loca = append(f.loca, uint32(u32(loca, 4*i)))
		}
	}
	f.readCmap(f.tables["cmap"])
	f.cap = 700
	if os2 := f.tables["OS/2"]; len(os2) >= 90 {
		f.cap = f.milli(i16(os2, 88))
	}
	return f
}

// readCmap reads a Unicode table of format 4.
func (f *typeface) readCmap(cmap []byte) {
	for i := range u16(cmap, 2) {
		rec := cmap[4+8*i:]
		sub := cmap[u32(rec, 4):]
		if u16(rec, 0) != 3 || u16(rec, 2) != 1 || u16(sub, 0) != 4 {
			continue
		}
		n := u16(sub, 6) // twice the number of segments
		for s := 0; s < n; s += 2 {
			end, start := u16(sub, 14+s), u16(sub, 16+n+s)
			delta, offset := u16(sub, 16+2*n+s), u16(sub, 16+3*n+s)
			for c := start; c <= end && c != 0xFFFF; c++ {
				g := c + delta
				if offset != 0 {
					if g = u16(sub, 16+3*n+s+offset+2*(c-start)); g != 0 {
						g += delta
					}
				}
				if g &= 0xFFFF; g != 0 {
					f.glyphs[rune(c)] = uint16(g)
				}
			}
		}
	}
}

// milli converts font units to thousandths of the size.
func (f *typeface) milli(units int) int { return int(math.Round(float64(units) * 1000 / f.unitsPerEm)) }

// advance is the width of a glyph, in font units.
func (f *typeface) advance(g uint16) int {
	return u16(f.tables["hmtx"], 4*min(int(g), f.hMetrics-1))
}

// alike are characters that the fonts lack and what is drawn for them; copied
// text keeps the character.
var alike = map[rune]rune{
	'\u202f': '\u00a0', '\u2007': '\u00a0', '\u2011': '-', '\u2010': '-', '☐': '□', '☑': '■', '☒': '■', '✓': '√', '✔': '√',
	'▪': '■', '⁃': '-', '➔': '→', '➜': '→', '⇒': '→', '❏': '□', '⩽': '≤', '⩾': '≥', '‒': '–',
}

// glyph finds what is drawn for a character: its glyph, one alike, its base
// letter, or the box of a missing character.
func (f *typeface) glyph(r rune) uint16 {
	for _, c := range []rune{r, alike[r], []rune(norm.NFKD.String(string(r)))[0]} {
		if g, ok := f.glyphs[c]; ok {
			return g
		}
	}
	if unicode.IsSpace(r) {
		return f.glyphs[' ']
	}
	return 0
}

// subset is the part of a font that one file uses. Characters are numbered in
// the order of their first use; that number is the CID and the glyph number.
type subset struct {
	*typeface
	cids  map[rune]uint16
	runes []rune
	from  []uint16 // glyph of the whole font, by CID
}

func newSubset(f *typeface) *subset {
	return &subset{typeface: f, cids: map[rune]uint16{}, runes: []rune{0xFFFD}, from: []uint16{0}}
}

// maxRunes bounds the different characters of one font in one file.
const maxRunes = 60000

func (s *subset) cid(r rune) uint16 {
	if c, ok := s.cids[r]; ok {
		return c
	}
	if len(s.runes) >= maxRunes {
		return 0
	}
	c := uint16(len(s.runes))
	s.cids[r] = c
	s.runes = append(s.runes, r)
	s.from = append(s.from, s.glyph(r))
	return c
}

// width is the width of a character in points.
func (s *subset) width(r rune, size float64) float64 {
	return float64(s.advance(s.from[s.cid(r)])) * size / s.unitsPerEm
}

// file writes the subset as a TrueType font.
func (s *subset) file() []byte {
	old := s.tables["glyf"]
	from := slices.Clone(s.from)
	var glyf, loca, hmtx bytes.Buffer
	put32 := func(b *bytes.Buffer, v int) { _ = binary.Write(b, binary.BigEndian, uint32(v)) }
	for i := 0; i < len(from); i++ {
		put32(&loca, glyf.Len())
		g := slices.Clone(old[s.loca[from[i]]:s.loca[from[i]+1]])
		if len(g) > 0 && i16(g, 0) < 0 {
			// A composite glyph: its parts follow the last one, renumbered.
			for at, more := 10, true; more; {
				flags := u16(g, at)
				binary.BigEndian.PutUint16(g[at+2:], uint16(len(from)))
				from = append(from, uint16(u16(old[s.loca[from[i]]:], at+2)))
				at += 4 + 2
				if flags&1 != 0 {
					at += 2
				}
				switch {
				case flags&8 != 0:
					at += 2
				case flags&0x40 != 0:
					at += 4
				case flags&0x80 != 0:
					at += 8
				}
				more = flags&0x20 != 0
			}
		}
		glyf.Write(g)
		glyf.Write(make([]byte, -len(g)&3))
		side := u16(s.tables["hmtx"], 4*min(int(from[i]), s.hMetrics-1)+2)
		if int(from[i]) >= s.hMetrics {
			side = u16(s.tables["hmtx"], 4*s.hMetrics+2*(int(from[i])-s.hMetrics))
		}
		put32(&hmtx, s.advance(from[i])<<16|side)
	}
	put32(&loca, glyf.Len())
	s.from = from

	head, hhea, maxp := slices.Clone(s.tables["head"]), slices.Clone(s.tables["hhea"]), slices.Clone(s.tables["maxp"])
	binary.BigEndian.PutUint32(head[8:], 0) // checkSumAdjustment, set below
	binary.BigEndian.PutUint16(head[50:], 1)
	binary.BigEndian.PutUint16(hhea[34:], uint16(len(from)))
	binary.BigEndian.PutUint16(maxp[4:], uint16(len(from)))
	tables := []struct {
		tag  string
		data []byte
	}{
		{"cvt ", s.tables["cvt "]}, {"fpgm", s.tables["fpgm"]}, {"glyf", glyf.Bytes()}, {"head", head}, {"hhea", hhea},
		{"hmtx", hmtx.Bytes()}, {"loca", loca.Bytes()}, {"maxp", maxp}, {"prep", s.tables["prep"]},
	}
	var out bytes.Buffer
	out.Write([]byte{0, 1, 0, 0, 0, byte(len(tables)), 0, 128, 0, 3, 0, byte(16*len(tables) - 128)})
	at, headAt := 12+16*len(tables), 0
	for _, t := range tables {
		if t.tag == "head" {
			headAt = at
		}
		out.WriteString(t.tag)
		put32(&out, int(checksum(t.data)))
		put32(&out, at)
		put32(&out, len(t.data))
		at += (len(t.data) + 3) &^ 3
	}
	for _, t := range tables {
		out.Write(t.data)
		out.Write(make([]byte, -len(t.data)&3))
	}
	b := out.Bytes()
	binary.BigEndian.PutUint32(b[headAt+8:], 0xB1B0AFBA-checksum(b))
	return b
}

func checksum(b []byte) uint32 {
	var sum uint32
	for len(b) >= 4 {
		sum += binary.BigEndian.Uint32(b)
		b = b[4:]
	}
	var last [4]byte
	copy(last[:], b)
	return sum + binary.BigEndian.Uint32(last[:])
}

// objects writes the font into a file and gives the number of its dictionary.
func (s *subset) objects(w *pdfFile) int {
	data := s.file() // extends s.from with the parts of composite glyphs
	n := len(s.from)
	tag := make([]byte, 6)
	sum := crc32.ChecksumIEEE(data)
	for i := range tag {
		tag[i] = 'A' + byte(sum%26)
		sum /= 26
	}
	name := string(tag) + "+" + s.name
	file := w.stream(fmt.Sprintf("/Length1 %d", len(data)), data)
	set := make([]byte, (n+7)/8)
	for i := range n {
		set[i/8] |= 0x80 >> (i % 8)
	}
	cidSet := w.stream("", set)
	descriptor := w.object(fmt.Sprintf("<</Type/FontDescriptor/FontName/%s/Flags %d/FontBBox[%d %d %d %d]/ItalicAngle %d/Ascent %d/Descent %d/CapHeight %d/StemV %d/FontFile2 %d 0 R/CIDSet %d 0 R>>",
		name, 4|map[bool]int{true: 64}[s.italicAngle != 0], s.bounds[0], s.bounds[1], s.bounds[2], s.bounds[3], s.italicAngle, s.ascent, s.descent, s.cap, s.stemV, file, cidSet))
	var widths, uni bytes.Buffer
	for _, g := range s.from {
		fmt.Fprintf(&widths, "%d ", s.milli(s.advance(g)))
	}
	descendant := w.object(fmt.Sprintf("<</Type/Font/Subtype/CIDFontType2/BaseFont/%s/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor %d 0 R/DW 1000/W[0[%s]]/CIDToGIDMap/Identity>>",
		name, descriptor, bytes.TrimSpace(widths.Bytes())))
	uni.WriteString("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n" +
		"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n")
	for i := 1; i < len(s.runes); i += 100 {
		part := s.runes[i:min(i+100, len(s.runes))]
		fmt.Fprintf(&uni, "%d beginbfchar\n", len(part))
		for j, r := range part {
			fmt.Fprintf(&uni, "<%04X> <%s>\n", i+j, utf16Hex(string(r)))
		}
		uni.WriteString("endbfchar\n")
	}
	uni.WriteString("endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n")
	toUnicode := w.stream("", uni.Bytes())
	return w.object(fmt.Sprintf("<</Type/Font/Subtype/Type0/BaseFont/%s/Encoding/Identity-H/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>", name, descendant, toUnicode))
}
