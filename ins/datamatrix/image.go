package datamatrix

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // formats that cameras and scanners give
	_ "image/jpeg"
	"image/png"
	"io"

	encoder "github.com/boombuler/barcode/datamatrix"
	"github.com/makiuchi-d/gozxing"
	reader "github.com/makiuchi-d/gozxing/datamatrix"

	"github.com/passerelle-sante/passerelle/ins"
)

// Limits of an image to read and of a drawing to make.
const (
	maxImageBytes  = 16 << 20
	maxImagePoints = 12_000_000
	maxModule      = 40 // points a module
)

// quiet is the white border, in modules: one is required, two survive a
// careless layout.
const quiet = 2

// Caption is what must stand beside the symbol on paper.
const Caption = "INS à scanner"

// Symbol is a datamatrix that may be drawn.
type Symbol struct {
	side  int // modules, border included
	black []bool
}

// New makes the symbol of an identity, see [Text] for who may have one.
func New(id ins.Identity) (Symbol, error) {
	text, err := Text(id)
	if err != nil {
		return Symbol{}, err
	}
	return encode(text)
}

func encode(text string) (Symbol, error) {
	code, err := encoder.Encode(text)
	if err != nil {
		// The longest text fits; the library says no more than that.
		return Symbol{}, &Refusal{Code: FaultTooLong}
	}
	n := code.Bounds().Dx()
	s := Symbol{side: n + 2*quiet, black: make([]bool, (n+2*quiet)*(n+2*quiet))}
	for y := range n {
		for x := range n {
			c, ok := color.GrayModel.Convert(code.At(x, y)).(color.Gray)
			s.black[(y+quiet)*s.side+x+quiet] = ok && c.Y < 128
		}
	}
	return s, nil
}

// Side is the number of modules of one side, white border included.
func (s Symbol) Side() int { return s.side }

// PNG draws the symbol, so many points a module (1 to 40).
func (s Symbol) PNG(w io.Writer, module int) error {
	if module < 1 || module > maxModule || s.side == 0 {
		return &Refusal{Code: FaultDrawing}
	}
	img := image.NewPaletted(image.Rect(0, 0, s.side*module, s.side*module), color.Palette{color.White, color.Black})
	for y := range s.side * module {
		for x := range s.side * module {
			if s.black[y/module*s.side+x/module] {
				img.Pix[y*img.Stride+x] = 1
			}
		}
	}
	if err := png.Encode(w, img); err != nil {
		return fmt.Errorf("datamatrix: %w", err)
	}
	return nil
}

// SVG draws the symbol, so many millimetres a module (0.1 to 10).
func (s Symbol) SVG(w io.Writer, millimetres float64) error {
	if !(millimetres >= 0.1 && millimetres <= 10) || s.side == 0 {
		return &Refusal{Code: FaultDrawing}
	}
	b := bufio.NewWriter(w)
	size := float64(s.side) * millimetres
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.2fmm" height="%.2fmm" viewBox="0 0 %d %d" shape-rendering="crispEdges">`, size, size, s.side, s.side)
	fmt.Fprintf(b, `<title>%s</title><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="`, Caption, s.side, s.side)
	for y := range s.side {
		for x := 0; x < s.side; x++ {
			from := x
			for x < s.side && s.black[y*s.side+x] {
				x++
			}
			if x > from {
				fmt.Fprintf(b, "M%d %dh%dv1h-%dz", from, y, x-from, x-from)
			}
		}
	}
	fmt.Fprint(b, `"/></svg>`+"\n")
	if err := b.Flush(); err != nil { // gives the first error of the writes
		return fmt.Errorf("datamatrix: %w", err)
	}
	return nil
}

// Read finds the INS datamatrix of an image (PNG, JPEG, GIF) and reads it.
func Read(r io.Reader) (Scan, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxImageBytes+1))
	if err != nil {
		return Scan{}, fmt.Errorf("datamatrix: %w", err)
	}
	text, err := decode(data)
	if err != nil {
		return Scan{}, err
	}
	return Parse(text)
}

// decode gives the text of the first datamatrix of an image. What the libraries
// do with foreign bytes is not ours: a panic of theirs is an image that cannot
// be read.
func decode(data []byte) (text string, err error) {
	defer func() {
		if recover() != nil {
			text, err = "", &Refusal{Code: FaultNoSymbol}
		}
	}()
	if len(data) > maxImageBytes {
		return "", &Refusal{Code: FaultImageSize}
	}
	c, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return "", &Refusal{Code: FaultImage}
	}
	if c.Width <= 0 || c.Height <= 0 || c.Width > maxImagePoints/c.Height {
		return "", &Refusal{Code: FaultImageSize}
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return "", &Refusal{Code: FaultImage}
	}
	source := gozxing.NewLuminanceSourceFromImage(img)
	for _, binarizer := range [...]func(gozxing.LuminanceSource) gozxing.Binarizer{gozxing.NewHybridBinarizer, gozxing.NewGlobalHistgramBinarizer} {
		bitmap, err := gozxing.NewBinaryBitmap(binarizer(source))
		if err != nil {
			continue
		}
		// A drawing first, then a photograph.
		for _, hints := range [...]map[gozxing.DecodeHintType]any{{gozxing.DecodeHintType_PURE_BARCODE: true}, nil} {
			if found, err := attempt(bitmap, hints); err == nil {
				return found, nil
			}
		}
	}
	return "", &Refusal{Code: FaultNoSymbol}
}

// attempt keeps a panic of one way of looking from spoiling the others.
func attempt(bitmap *gozxing.BinaryBitmap, hints map[gozxing.DecodeHintType]any) (text string, err error) {
	defer func() {
		if recover() != nil {
			err = &Refusal{Code: FaultNoSymbol}
		}
	}()
	result, err := reader.NewDataMatrixReader().Decode(bitmap, hints)
	if err != nil {
		return "", err
	}
	return result.GetText(), nil
}
