package cda

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf16"
)

// pdfFile gathers the objects of a PDF 1.4 file. Numbers follow the order of
// writing, so the same content gives the same bytes.
type pdfFile struct {
	objects [][]byte
	zlib    *zlib.Writer // one for all streams: it is large
}

func (w *pdfFile) reserve() int {
	w.objects = append(w.objects, nil)
	return len(w.objects)
}

func (w *pdfFile) set(n int, body string) { w.objects[n-1] = []byte(body) }

func (w *pdfFile) object(body string) int {
	n := w.reserve()
	w.set(n, body)
	return n
}

// stream writes a compressed stream; dict is what its dictionary holds besides.
func (w *pdfFile) stream(dict string, data []byte) int {
	var b bytes.Buffer
	if w.zlib == nil {
		w.zlib = zlib.NewWriter(&b)
	} else {
		w.zlib.Reset(&b)
	}
	_, _ = w.zlib.Write(data) // a bytes.Buffer does not fail
	_ = w.zlib.Close()
	return w.plain(dict+"/Filter/FlateDecode", b.Bytes())
}

// plain writes a stream as it is.
func (w *pdfFile) plain(dict string, data []byte) int {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<<%s/Length %d>>\nstream\n", dict, len(data))
	b.Write(data)
	b.WriteString("\nendstream")
	n := w.reserve()
	w.objects[n-1] = b.Bytes()
	return n
}

// bytes writes the file.
func (w *pdfFile) bytes(root, info int) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	at := make([]int, len(w.objects))
	for i, o := range w.objects {
		at[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n", i+1)
		b.Write(o)
		b.WriteString("\nendobj\n")
	}
	id := sha256.Sum256(b.Bytes())
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, a := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", a)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root %d 0 R/Info %d 0 R/ID[<%x><%x>]>>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, root, info, id[:16], id[:16], start)
	return b.Bytes()
}

// utf16Hex writes text as UTF-16 in hexadecimal.
func utf16Hex(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04X", u)
	}
	return b.String()
}

func pdfText(s string) string { return "<FEFF" + utf16Hex(s) + ">" }

const producer = "Passerelle"

// info writes the document information and the XMP metadata, which must say
// the same. when may be zero: then neither tells a date.
func (w *pdfFile) info(title string, when time.Time) (info, metadata int) {
	dates, xmpDates := "", ""
	if !when.IsZero() {
		_, offset := when.Zone()
		sign := '+'
		if offset < 0 {
			sign, offset = '-', -offset
		}
		stamp := fmt.Sprintf("(D:%s%c%02d'%02d')", when.Format("20060102150405"), sign, offset/3600, offset/60%60)
		dates = "/CreationDate" + stamp + "/ModDate" + stamp
		iso := when.Format("2006-01-02T15:04:05-07:00")
		xmpDates = "<xmp:CreateDate>" + iso + "</xmp:CreateDate><xmp:ModifyDate>" + iso + "</xmp:ModifyDate>"
	}
	info = w.object("<</Title" + pdfText(title) + "/Producer(" + producer + ")/Creator(" + producer + ")" + dates + ">>")
	var t strings.Builder
	_ = xml.EscapeText(&t, []byte(title)) // a strings.Builder does not fail
	xmp := "<?xpacket begin=\"\ufeff\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n" +
		`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">` +
		`<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"><pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance></rdf:Description>` +
		`<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:format>application/pdf</dc:format><dc:title><rdf:Alt><rdf:li xml:lang="x-default">` + t.String() + `</rdf:li></rdf:Alt></dc:title></rdf:Description>` +
		`<rdf:Description rdf:about="" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"><pdf:Producer>` + producer + `</pdf:Producer></rdf:Description>` +
		`<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"><xmp:CreatorTool>` + producer + `</xmp:CreatorTool>` + xmpDates + `</rdf:Description>` +
		"</rdf:RDF></x:xmpmeta>\n<?xpacket end=\"w\"?>"
	return info, w.plain("/Type/Metadata/Subtype/XML", []byte(xmp))
}

// intent writes the output intent: sRGB, by a profile of our own making.
func (w *pdfFile) intent() int {
	profile := w.stream("/N 3/Alternate/DeviceRGB", sRGB())
	return w.object(fmt.Sprintf("<</Type/OutputIntent/S/GTS_PDFA1/OutputConditionIdentifier(sRGB IEC61966-2.1)/Info(sRGB IEC61966-2.1)/RegistryName(http://www.color.org)/DestOutputProfile %d 0 R>>", profile))
}

// sRGB makes an ICC profile (version 2.1, matrix and curves) from the numbers of
// IEC 61966-2-1, adapted to D50.
func sRGB() []byte {
	text := func(s string) []byte { return append([]byte("text\x00\x00\x00\x00"), s+"\x00"...) }
	desc := func(s string) []byte {
		b := []byte("desc\x00\x00\x00\x00")
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)+1))
		b = append(b, s+"\x00"...)
		return append(b, make([]byte, 4+4+2+1+67)...) // no Unicode, no ScriptCode
	}
	xyz := func(v ...float64) []byte {
		b := []byte("XYZ \x00\x00\x00\x00")
		for _, f := range v {
			b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(f*65536))))
		}
		return b
	}
	curve := []byte("curv\x00\x00\x00\x00\x00\x00\x04\x00")
	for i := range 1024 {
		v := float64(i) / 1023
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		curve = binary.BigEndian.AppendUint16(curve, uint16(math.Round(v*65535)))
	}
	tags := []struct {
		sig  string
		data []byte
	}{
		{"cprt", text("No copyright, use freely")}, {"desc", desc("sRGB IEC61966-2.1")}, {"wtpt", xyz(0.9504, 1, 1.0889)},
		{"rXYZ", xyz(0.43607, 0.22249, 0.01392)}, {"gXYZ", xyz(0.38515, 0.71687, 0.09708)}, {"bXYZ", xyz(0.14307, 0.06061, 0.7141)},
		{"rTRC", curve}, {"gTRC", nil}, {"bTRC", nil}, // one curve for the three
	}
	at := 128 + 4 + 12*len(tags)
	var table, data []byte
	curveAt := 0
	for _, t := range tags {
		table = append(table, t.sig...)
		if t.data == nil {
			table = binary.BigEndian.AppendUint32(table, uint32(curveAt))
			table = binary.BigEndian.AppendUint32(table, uint32(len(curve)))
			continue
		}
		curveAt = at + len(data)
		table = binary.BigEndian.AppendUint32(table, uint32(curveAt))
		table = binary.BigEndian.AppendUint32(table, uint32(len(t.data)))
		data = append(data, t.data...)
		data = append(data, make([]byte, -len(data)&3)...)
	}
	h := make([]byte, 128)
	binary.BigEndian.PutUint32(h, uint32(at+len(data)))
	copy(h[8:], "\x02\x10\x00\x00mntrRGB XYZ ")
	copy(h[24:], []byte{0x07, 0xEA, 0, 1, 0, 1}) // 2026-01-01: when this profile was written down
	copy(h[36:], "acsp")
	copy(h[68:], xyz(0.9642, 1, 0.8249)[8:])
	h = binary.BigEndian.AppendUint32(h, uint32(len(tags)))
	return append(append(h, table...), data...)
}
