package hl7v2_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

func TestReader(t *testing.T) {
	const sb, eb, cr = "\x0b", "\x1c", "\r"
	long := strings.Repeat("x", 100_000)
	cases := map[string]struct {
		in     string
		frames []string
		end    error
	}{
		"ok/one":                 {sb + "A" + eb + cr, []string{"A"}, io.EOF},
		"ok/two":                 {sb + "A" + eb + cr + sb + "B" + eb + cr, []string{"A", "B"}, io.EOF},
		"ok/no final CR":         {sb + "A" + eb + sb + "B" + eb, []string{"A", "B"}, io.EOF},
		"ok/CRLF after":          {sb + "A" + eb + "\r\n" + sb + "B" + eb + "\r\n", []string{"A", "B"}, io.EOF},
		"ok/noise between":       {"junk" + sb + "A" + eb + cr + "junk" + sb + "B" + eb + cr, []string{"A", "B"}, io.EOF},
		"ok/restart in a frame":  {sb + "cut" + sb + "B" + eb + cr, []string{"B"}, io.EOF},
		"ok/restart, long":       {sb + long + sb + long + eb + cr, []string{long}, io.EOF},
		"ok/empty frame":         {sb + eb + cr, []string{""}, io.EOF},
		"ok/longer than buffers": {sb + long + eb + cr, []string{long}, io.EOF},
		"fail/nothing":           {"", nil, io.EOF},
		"fail/cut":               {sb + "A" + eb + cr + sb + "half", []string{"A"}, hl7v2.ErrTruncated},
		"fail/cut, long":         {sb + long, nil, hl7v2.ErrTruncated},
		"fail/start alone":       {sb, nil, hl7v2.ErrTruncated},
		"fail/HTTP":              {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", nil, io.EOF},
		"fail/noise without end": {strings.Repeat("n", 70_000), nil, hl7v2.ErrNoise},
	}
	for name, c := range cases {
		for _, how := range []struct {
			name string
			wrap func(io.Reader) io.Reader
		}{{"", func(r io.Reader) io.Reader { return r }}, {" byte by byte", iotest.OneByteReader}, {" error with data", iotest.DataErrReader}} {
			t.Run(name+how.name, func(t *testing.T) {
				r := hl7v2.NewReader(how.wrap(strings.NewReader(c.in)), 0, nil)
				for _, want := range c.frames {
					f, err := r.Next()
					if err != nil || string(f.Bytes) != want {
						t.Fatal(f, err)
					}
				}
				if f, err := r.Next(); !errors.Is(err, c.end) {
					t.Errorf("%v %v, want %v", f, err, c.end)
				}
			})
		}
	}
}

func TestReaderLimits(t *testing.T) {
	stream := string(frame(bytes.Repeat([]byte("A"), 100))) + string(frame(bytes.Repeat([]byte("B"), 101))) + string(frame([]byte("C")))
	r := hl7v2.NewReader(strings.NewReader(stream), 100, nil)
	for i, want := range []string{"", hl7v2.FaultFrameTooLarge, ""} {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if f.Refused != nil {
			got = f.Refused.Code
		}
		if got != want {
			t.Errorf("frame %d: %q, want %q", i, got, want)
		}
	}
	t.Run("fail/frame without end", func(t *testing.T) {
		r := hl7v2.NewReader(io.MultiReader(strings.NewReader("\x0b"), neverEnding{}), 1000, nil)
		if _, err := r.Next(); !errors.Is(err, hl7v2.ErrNoise) {
			t.Error(err)
		}
	})
}

type neverEnding struct{}

// Read gives the same byte for ever.
func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestBudget: frames share one limit, refused frames give theirs back, and the
// end of a frame gives all of it back.
func TestBudget(t *testing.T) {
	budget := &hl7v2.Budget{Max: 100_000}
	one := hl7v2.NewReader(bytes.NewReader(frame(bytes.Repeat([]byte("A"), 60_000))), 0, budget)
	f, err := one.Next()
	if err != nil || f.Refused != nil {
		t.Fatal(f, err)
	}
	read := func() *hl7v2.Frame {
		g, err := hl7v2.NewReader(bytes.NewReader(frame(bytes.Repeat([]byte("B"), 60_000))), 0, budget).Next()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for range 3 {
		g := read()
		if g.Refused == nil || g.Refused.Code != hl7v2.FaultBusy {
			t.Fatal("no refusal above the budget")
		}
		g.Release()
	}
	f.Release()
	for range 3 {
		g := read()
		if g.Refused != nil {
			t.Fatal("the budget was not given back:", g.Refused)
		}
		g.Release()
	}
	if _, err := hl7v2.NewReader(strings.NewReader("\x0b"+strings.Repeat("C", 60_000)), 0, budget).Next(); !errors.Is(err, hl7v2.ErrTruncated) {
		t.Fatal(err)
	}
	if g := read(); g.Refused != nil {
		t.Error("a cut frame kept its share")
	}
}
