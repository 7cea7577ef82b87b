package hl7v2_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

// FuzzRead: no bytes can make the reading panic; each refusal has its row; the
// answer can be read back, names the message, and holds no more segments than
// it should.
func FuzzRead(f *testing.F) {
	for _, m := range []message{mdm(), oru(), adt(), mdm().field("MSH", 18, "8859/15").sub("É", "\xC9"), mdm().sub("|", "#")} {
		f.Add(m.bytes(), "", false)
		f.Add(bytes.ReplaceAll(m.bytes(), []byte("\r"), []byte("\n")), "8859/15", true)
	}
	f.Add([]byte("MSH|^~\\&|\\X\\|\\\\|\\F"), "", false)
	f.Add([]byte("MSH\x00\xff"), "x", true)
	f.Fuzz(func(t *testing.T, raw []byte, charset string, strict bool) {
		opt := hl7v2.Options{DefaultCharset: charset, StrictBodies: strict}
		if strict {
			opt.Matrix = hl7v2.MatrixStrict
		}
		in, h := hl7v2.Read(raw, opt)
		d := gateway.Decision{Submission: "S1", Outcome: gateway.Accepted}
		for _, err := range in.Refusals {
			found := fault.From(err)
			if found.Row.Code == fault.Internal {
				t.Fatal("no row:", err)
			}
			d.Faults, d.Outcome = append(d.Faults, found), gateway.Refused
		}
		for _, n := range in.Warnings {
			if _, ok := fault.Lookup(n.Code); !ok {
				t.Fatal("no row:", n.Code)
			}
		}
		for _, doc := range in.Documents {
			if len(in.Refusals) == 0 && len(doc.Content) == 0 {
				t.Fatal("a document without content and without refusal")
			}
		}
		answer := hl7v2.Acknowledge(h, d, stamp)
		if bytes.ContainsAny(answer, "\x0b\x1c\n") {
			t.Fatalf("the answer breaks its frame: %q", answer)
		}
		a, err := hl7v2.ReadAnswer(answer)
		if err != nil {
			t.Fatalf("unreadable answer %q: %v", answer, err)
		}
		if want := 2 + min(len(d.Faults), 50); bytes.Count(answer, []byte("\r")) != want {
			t.Fatalf("%q", answer)
		}
		if (a.Code == "AA") != (len(in.Refusals) == 0) {
			t.Fatal(a.Code, codes(in.Refusals))
		}
	})
}

// FuzzReader: no bytes can make the framing panic, exceed its limit, or keep a
// share of the budget.
func FuzzReader(f *testing.F) {
	f.Add(frame(mdm().bytes()))
	f.Add(append(frame([]byte("A")), frame([]byte("B"))...))
	f.Add([]byte("junk\x0bcut\x0bwhole\x1c\x0bhalf"))
	f.Add([]byte("\x0b" + strings.Repeat("x", 6000) + "\x1c\r\x0bA\x1c"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		budget := &hl7v2.Budget{Max: 5000}
		r := hl7v2.NewReader(bytes.NewReader(stream), 4500, budget)
		for {
			frame, err := r.Next()
			if err != nil {
				break
			}
			if len(frame.Bytes) > 4500 || bytes.ContainsAny(frame.Bytes, "\x0b\x1c") {
				t.Fatalf("%d bytes, %q", len(frame.Bytes), frame.Bytes)
			}
			frame.Release()
		}
		whole, err := hl7v2.NewReader(strings.NewReader("\x0b"+strings.Repeat("y", 4500)+"\x1c"), 4500, budget).Next()
		if err != nil || whole.Refused != nil {
			t.Fatal("the budget leaks:", err, whole)
		}
	})
}

// FuzzReadAnswer: what a hospital answers is foreign too.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(strings.Trim(ack("AA", "1"), "\x0b\x1c\r")))
	f.Add([]byte("MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.6\nERR||\\X\\|^^^|\nMSA|AE"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if a, err := hl7v2.ReadAnswer(raw); err == nil && a.Code == "" {
			t.Fatal("an answer without a code")
		}
	})
}
