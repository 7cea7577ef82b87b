package hl7v2

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestEscapeRoundTrip: whatever text we write can be read back, and nothing in
// it can end a field, a segment or a frame.
func TestEscapeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune(`|^~\&XFSTRE.br0`+"\r\n\x0b\x1c\x00")))).Draw(t, "text")
		e := escape(s)
		if strings.ContainsAny(e, "|^~&\r\n\x0b\x1c\x00") {
			t.Fatalf("%q escapes to %q", s, e)
		}
		if got := unescape([]byte(e), charsetUTF8); got != s {
			t.Fatalf("%q became %q by %q", s, got, e)
		}
	})
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`a\F\b\S\c\T\d\R\e\E\f`: `a|b^c&d~e\f`,
		`\H\gras\N\`:            "gras",
		`\.br\`:                 "\n",
		`\XC389\`:               "É",
		`\X\`:                   `\X\`,
		`\XZZ\`:                 `\XZZ\`,
		`\Zmine\x`:              `\Zmine\x`,
		`\nope\F\`:              `\nope|`,
		`C:\dir`:                `C:\dir`,
		`\`:                     `\`,
		`\\`:                    `\\`,
		`\\F\`:                  `\|`,
	} {
		if got := unescape([]byte(in), charsetUTF8); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := unescape([]byte(`\XC9\`), charset885915); got != "É" {
		t.Errorf("hexadecimal is in the charset of the message: %q", got)
	}
}

func TestFields(t *testing.T) {
	segments, err := splitSegments([]byte("MSH|^~\\&|A\rPID|1||a^b&c^d~e|\n\nOBX|1\r\nZZZ"), charsetUTF8)
	if err != nil || len(segments) != 4 {
		t.Fatal(segments, err)
	}
	pid := segments[1]
	for _, c := range []struct{ got, want string }{
		{segments[0].Field(1).Text(), "|"},
		{string(segments[0].Field(2).raw), `^~\&`},
		{segments[0].Field(3).Text(), "A"},
		{pid.Field(1).Text(), "1"},
		{pid.Field(2).Text(), ""},
		{pid.Field(3).First().Component(2).Sub(2).Text(), "c"},
		{pid.Field(3).First().Component(3).Text(), "d"},
		{pid.Field(3).First().Component(9).Text(), ""},
		{pid.Field(99).Text(), ""},
		{segments[3].Field(1).Text(), ""},
		{segments[3].Name, "ZZZ"},
		{pid.At(3), "PID^1^3"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	var reps []string
	for r := range pid.Field(3).Repetitions() {
		reps = append(reps, string(r.raw))
	}
	if strings.Join(reps, " ") != "a^b&c^d e" {
		t.Error(reps)
	}
}

func TestIsTime(t *testing.T) {
	for s, want := range map[string]bool{
		"2026": true, "202601": true, "20260105": true, "202601050930": true, "20260105093000": true,
		"20260105093000.123": true, "20260105093000+0100": true, "202601050930-0500": true,
		"": false, "2": false, "20260": false, "2026-01-05": false, "20260105T0930": false,
		"20260105093000.": false, "202601050930.1": false, "20260105+01": false, "２０２６": false,
	} {
		if isTime(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestMailAddress(t *testing.T) {
	for a, want := range map[string]bool{
		"lea.morel@exemple.mssante.fr": true, "a+b_c@x-y.fr": true, matriculeLike + "@patient.mssante.fr": true,
		"": false, "@x.fr": false, "a@": false, "a@x": false, "a@@x.fr": false, "a b@x.fr": false,
		"a@x.fr\r\nBcc: b@y.fr": false, "<a@x.fr>": false, "é@x.fr": false, "a@-x.fr": false, "a@x..fr": false,
		strings.Repeat("a", 65) + "@x.fr": false, "a@" + strings.Repeat("x", 64) + ".fr": false,
		"a@" + strings.Repeat("xxxxxxx.", 32) + "fr": false,
	} {
		if mailAddress(a) != want {
			t.Errorf("%q: %v", a, !want)
		}
	}
}

const matriculeLike = "285079900100130"

func TestTablesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range flagTable {
		if seen[f.name] || (f.set == nil) == (f.body == nil) {
			t.Error(f.name)
		}
		seen[f.name] = true
	}
	for _, rules := range [][]fieldRule{fieldsMSH, fieldsVolet, fieldsADT} {
		for _, r := range rules {
			if r.field < 1 || len(r.segment) != 3 {
				t.Error(r)
			}
		}
	}
}
