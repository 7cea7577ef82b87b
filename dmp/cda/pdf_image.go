package cda

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif" // registers the decoder
	_ "image/jpeg"
	_ "image/png"
)

// maxPixels bounds the pictures of one file together: three A4 pages at 400 dpi.
const maxPixels = 48 << 20

// maxPicture is the height of a picture on a page, in points.
const maxPicture = textHeight * 0.7

// pictures are the images of one file, each written once.
type pictures struct {
	all    []imageObject
	pixels int
	of     map[*Embedded]int // 1 + index; 0 for one that cannot be shown
}

type imageObject struct {
	width, height int
	dict          string
	data          []byte // as the filter of dict wants it; compressed when dict names none
}

// load decodes a picture. JPEG of one or three components stands in the file as
// it is; everything else becomes opaque RGB, because PDF/A-1 knows no
// transparency.
func (p *pictures) load(m *Embedded) (int, bool) {
	if p.of == nil {
		p.of = map[*Embedded]int{}
	}
	if n, ok := p.of[m]; ok {
		return n - 1, n > 0
	}
	p.of[m] = 0
	data, err := m.Bytes()
	if err != nil {
		return 0, false
	}
	conf, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || conf.Width < 1 || conf.Height < 1 || conf.Width > (maxPixels-p.pixels)/conf.Height {
		return 0, false
	}
	p.pixels += conf.Width * conf.Height
	img, format, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return 0, false
	}
	o := imageObject{width: img.Bounds().Dx(), height: img.Bounds().Dy()}
	space := ""
	switch img.(type) {
	case *image.YCbCr:
		space = "/DeviceRGB"
	case *image.Gray:
		space = "/DeviceGray"
	}
	if format == "jpeg" && space != "" {
		o.dict, o.data = "/ColorSpace"+space+"/BitsPerComponent 8/Filter/DCTDecode", data
	} else {
		o.dict, o.data = "/ColorSpace/DeviceRGB/BitsPerComponent 8", opaque(img)
	}
	p.all = append(p.all, o)
	p.of[m] = len(p.all)
	return len(p.all) - 1, true
}

// opaque gives the pixels of a picture laid on white paper.
func opaque(img image.Image) []byte {
	b := img.Bounds()
	out := make([]byte, 0, 3*b.Dx()*b.Dy())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, a := img.At(x, y).RGBA()
			white := 0xFFFF - a
			out = append(out, byte((r+white)>>8), byte((g+white)>>8), byte((bl+white)>>8))
		}
	}
	return out
}

// objects writes the pictures and gives their numbers.
func (p *pictures) objects(w *pdfFile) []int {
	var out []int
	for _, o := range p.all {
		dict := fmt.Sprintf("/Type/XObject/Subtype/Image/Width %d/Height %d%s", o.width, o.height, o.dict)
		if bytes.HasSuffix([]byte(dict), []byte("DCTDecode")) {
			out = append(out, w.plain(dict, o.data))
		} else {
			out = append(out, w.stream(dict, o.data))
		}
	}
	return out
}

// picture draws an image of the narrative at 96 dpi, smaller when it does not
// fit; words stand in the place of one that cannot be shown.
func (l *layout) picture(b block, size, width float64) []strip {
	var out []strip
	if b.media != nil {
		if n, ok := l.images.load(b.media); ok {
			o := l.images.all[n]
			w, h := float64(o.width)*0.75, float64(o.height)*0.75
			scale := min(1, width/w, maxPicture/h)
			w, h = w*scale, h*scale
			out = append(out, strip{height: h + 4, draw: func(p *sheet, x, y float64) {
				fmt.Fprintf(p, "q %s 0 0 %s %s %s cm /Im%d Do Q\n", num(w), num(h), num(x), num(pageHeight-y-h), n)
			}})
		}
	}
	if len(out) == 0 {
		out = l.text([]run{{b.standIn(), italic}}, size, width, "")
	}
	return append(out, l.text(b.caption, size, width, "")...)
}

// standIn says what could not be shown.
func (b block) standIn() string {
	if b.media == nil {
		return "[Illustration absente du document]"
	}
	kind := "de type inconnu"
	switch b.media.MediaType {
	case "application/pdf", "image/jpeg", "image/png", "image/gif", "image/tiff", "text/plain", "text/rtf":
		kind = b.media.MediaType
	}
	return "[Fichier joint au document, non affiché : " + kind + "]"
}
