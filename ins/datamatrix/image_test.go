package datamatrix_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/datamatrix"
)

func day() time.Time { return time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC) }

func drawing(t testing.TB, id ins.Identity, module int) []byte {
	t.Helper()
	s, err := datamatrix.New(id)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.PNG(&b, module); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImageComesBack(t *testing.T) {
	for _, module := range []int{1, 2, 3, 4, 7, 12} {
		scan, err := datamatrix.Read(bytes.NewReader(drawing(t, patTrois(), module)))
		if err != nil || scan.Traits != patTrois().Traits || scan.Repaired {
			t.Errorf("%d points a module: %+v %v", module, scan, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		id := qualified(t)
		s, err := datamatrix.New(id)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := s.PNG(&b, 4); err != nil {
			t.Fatal(err)
		}
		scan, err := datamatrix.Read(&b)
		if err != nil || scan.Traits != id.Traits || scan.INS.Matricule != id.Matricule {
			t.Fatalf("%+v became %+v (%v)", id, scan, err)
		}
	})
}

// A symbol on a larger, grey, turned page, as a scanner gives it.
func TestPhotograph(t *testing.T) {
	symbol, err := png.Decode(bytes.NewReader(drawing(t, patTrois(), 6)))
	if err != nil {
		t.Fatal(err)
	}
	side := symbol.Bounds().Dx()
	page := image.NewGray(image.Rect(0, 0, side+200, side+300))
	for i := range page.Pix {
		page.Pix[i] = 0xE6
	}
	turned := image.NewGray(image.Rect(0, 0, side+300, side+200))
	for y := range side {
		for x := range side {
			g, _ := color.GrayModel.Convert(symbol.At(x, y)).(color.Gray)
			page.SetGray(x+90, y+140, color.Gray{Y: g.Y/2 + 60})
			turned.SetGray(turned.Bounds().Dx()-1-(y+140), x+90, color.Gray{Y: g.Y/2 + 60})
		}
	}
	for i := range turned.Pix {
		if turned.Pix[i] == 0 {
			turned.Pix[i] = 0xE6
		}
	}
	var asJPEG, asGIF bytes.Buffer
	if err := jpeg.Encode(&asJPEG, page, &jpeg.Options{Quality: 70}); err != nil {
		t.Fatal(err)
	}
	if err := gif.Encode(&asGIF, turned, nil); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*bytes.Buffer{"jpeg": &asJPEG, "gif, turned": &asGIF} {
		if scan, err := datamatrix.Read(b); err != nil || scan.Traits != patTrois().Traits {
			t.Errorf("%s: %+v %v", name, scan, err)
		}
	}
}

func TestQuietZone(t *testing.T) {
	s, err := datamatrix.New(patTrois())
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(drawing(t, patTrois(), 3)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds().Dx() != 3*s.Side() || img.Bounds().Dy() != 3*s.Side() {
		t.Fatalf("%v for %d modules", img.Bounds(), s.Side())
	}
	dark := func(x, y int) bool { r, _, _, _ := img.At(x, y).RGBA(); return r < 0x8000 }
	n := img.Bounds().Dx()
	for i := range n {
		for border := range 3 {
			if dark(i, border) || dark(i, n-1-border) || dark(border, i) || dark(n-1-border, i) {
				t.Fatal("no white module around the symbol")
			}
		}
	}
	if !dark(2*3, n-1-2*3) {
		t.Error("the corner of the finder is not black")
	}
}

func TestSVG(t *testing.T) {
	s, err := datamatrix.New(patTrois())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.SVG(&b, 0.5); err != nil {
		t.Fatal(err)
	}
	// Drawn again from the path alone, the symbol reads the same.
	n := s.Side()
	img := image.NewGray(image.Rect(0, 0, 4*n, 4*n))
	for i := range img.Pix {
		img.Pix[i] = 0xFF
	}
	runs := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllStringSubmatch(b.String(), -1)
	for _, r := range runs {
		var v [4]int
		for i := range v {
			for _, c := range r[i+1] {
				v[i] = v[i]*10 + int(c-'0')
			}
		}
		if v[2] != v[3] {
			t.Fatalf("run %q is not closed", r[0])
		}
		for y := range 4 {
			for x := range 4 * v[2] {
				img.SetGray(4*v[0]+x, 4*v[1]+y, color.Gray{})
			}
		}
	}
	var drawn bytes.Buffer
	if err := png.Encode(&drawn, img); err != nil {
		t.Fatal(err)
	}
	if scan, err := datamatrix.Read(&drawn); err != nil || scan.Traits != patTrois().Traits {
		t.Fatalf("%+v %v", scan, err)
	}
	if !strings.Contains(b.String(), "<title>INS à scanner</title>") || strings.Contains(b.String(), "PAT-TROIS") {
		t.Error("the drawing must bear its caption and no trait in clear")
	}
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed")
	}
	cmd := exec.Command(xmllint, "--noout", "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("not well-formed: %s", out)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (broken) Read([]byte) (int, error)  { return 0, io.ErrUnexpectedEOF }

func TestImageRefusals(t *testing.T) {
	white := image.NewGray(image.Rect(0, 0, 60, 60))
	for i := range white.Pix {
		white.Pix[i] = 0xFF
	}
	var blank bytes.Buffer
	if err := png.Encode(&blank, white); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Clone(blank.Bytes())
	copy(bomb[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // IHDR: 65536 x 65536
	good := drawing(t, patTrois(), 4)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"fail/nothing", nil, datamatrix.FaultImage},
		{"fail/text", []byte(published), datamatrix.FaultImage},
		{"fail/checksum-of-header", bomb, datamatrix.FaultImage},
		{"fail/blank", blank.Bytes(), datamatrix.FaultNoSymbol},
		{"fail/cut", good[:len(good)/2], datamatrix.FaultImage},
		{"fail/too-many-bytes", make([]byte, 17<<20), datamatrix.FaultImageSize},
		{"fail/too-many-points", sparse(t, 4000, 3001), datamatrix.FaultImageSize},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := datamatrix.Read(bytes.NewReader(c.data)); code(err) != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
	t.Run("fail/reader", func(t *testing.T) {
		if _, err := datamatrix.Read(broken{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	})
	t.Run("fail/drawing", func(t *testing.T) {
		s, err := datamatrix.New(patTrois())
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{s.PNG(io.Discard, 0), s.PNG(io.Discard, 41), s.SVG(io.Discard, 0), s.SVG(io.Discard, 11),
			datamatrix.Symbol{}.PNG(io.Discard, 4), datamatrix.Symbol{}.SVG(io.Discard, 1)} {
			if code(err) != datamatrix.FaultDrawing {
				t.Errorf("got %v", err)
			}
		}
		for _, err := range []error{s.PNG(broken{}, 4), s.SVG(broken{}, 1)} {
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// sparse is an image of many points and few bytes.
func sparse(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gif.Encode(&b, image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.White, color.Black}), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzRead(f *testing.F) {
	f.Add(drawing(f, patTrois(), 1))
	f.Add(drawing(f, patTrois(), 3))
	var j bytes.Buffer
	img, err := png.Decode(bytes.NewReader(drawing(f, patTrois(), 3)))
	if err != nil {
		f.Fatal(err)
	}
	if err := jpeg.Encode(&j, img, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(j.Bytes())
	f.Add(sparse(f, 40, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		// Large but allowed images only cost time here.
		if c, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil && c.Width*c.Height > 1<<16 {
			return
		}
		scan, err := datamatrix.Read(bytes.NewReader(data))
		if err != nil && strings.HasPrefix(code(err), "untyped") {
			t.Fatalf("untyped refusal %v", err)
		}
		if err == nil && ins.CheckMatricule(scan.INS.Matricule, scan.INS.OID) != nil {
			t.Fatal("a matricule that cannot be one")
		}
	})
}
