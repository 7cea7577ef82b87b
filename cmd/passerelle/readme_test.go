package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/conformance"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// The error table of the README is the one of the code.
func TestReadmeErrorTable(t *testing.T) {
	const begin, end = "<!-- errors:begin -->\n", "<!-- errors:end -->"
	path := "../../README.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	from, to := strings.Index(text, begin), strings.Index(text, end)
	if from < 0 || to < from {
		t.Fatal("README.md has no place for the error table")
	}
	want := text[:from+len(begin)] + errorPage() + text[to:]
	if want == text {
		return
	}
	if os.Getenv("UPDATE_README") == "" {
		t.Fatal("the error table of README.md has drifted: UPDATE_README=1 go test ./cmd/passerelle -run TestReadmeErrorTable")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a public page
		t.Fatal(err)
	}
}

// Regression (found by the review of issue 2): the page was published with its
// places for output still empty.
func TestReadmeIsFilled(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(data), "\n") {
		if strings.Contains(line, "@@") {
			t.Errorf("README.md:%d: %s", i+1, line)
		}
	}
}

// Found by a newcomer who followed the page: it gave another number of
// requirements than « conformance list ».
func TestReadmeCatalogue(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	cat, err := conformance.LoadCatalogue(conformance.DefaultCatalogue)
	if err != nil {
		t.Fatal(err)
	}
	played, scenarios, playedScenarios := 0, 0, 0
	for _, r := range cat.Requirements {
		scenarios += len(r.Scenarios)
		automated := 0
		for _, s := range r.Scenarios {
			if s.Mode == conformance.Automated {
				automated++
			}
		}
		playedScenarios += automated
		if automated > 0 {
			played++
		}
	}
	for _, want := range []string{
		fmt.Sprintf("%d requirements of the PFI corridor and %d scenarios; %d requirements (%d scenarios) are played", len(cat.Requirements), scenarios, played, playedScenarios),
		fmt.Sprintf("%d of %d catalogued PFI requirements", played, len(cat.Requirements)),
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}

func errorPage() string {
	rows := slices.Clone(fault.Table)
	slices.SortFunc(rows, func(a, b fault.Row) int { return strings.Compare(a.Code, b.Code) })
	var b strings.Builder
	b.WriteString("| Code | Kind | HTTP | FHIR | HL7 | SMTP | En français | Remède |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		kind := "permanent"
		if r.Kind == fault.Temporary {
			kind = "temporary"
		}
		hl7 := r.HL7.Ack + " " + r.HL7.Code
		if r.HL7.App != "" {
			hl7 += "/" + r.HL7.App
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %s | %s | %d %s | %s | %s |\n",
			r.Code, kind, r.HTTP, r.FHIR, hl7, r.SMTP.Code, r.SMTP.Enhanced, cell(r.FR), cell(r.FixFR))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
