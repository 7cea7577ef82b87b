package hl7v2_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// TestDiagnostics: the sentence and the remedy that go to ERR-8 fit the 250
// characters of HL7 2.5, for everything that the door can answer: receivers cut
// there, and the remedy comes last.
func TestDiagnostics(t *testing.T) {
	const most = 250
	seen := 0
	for _, row := range fault.Table {
		prefix, _, _ := strings.Cut(row.Code, "-")
		switch prefix {
		case "HL7", "CDA", "INS", "GW":
		default:
			continue
		}
		seen++
		if n := utf8.RuneCountInString(row.FR + " " + row.FixFR); n > most {
			t.Errorf("%s: %d characters, %d too many", row.Code, n, n-most)
		}
	}
	if seen == 0 {
		t.Fatal("no row")
	}
}
