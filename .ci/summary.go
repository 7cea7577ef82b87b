// Command summary reads `go test -json` on its standard input and prints what a
// person wants of it: one line a package, all that a failed test wrote, each
// skipped test with its reason, the lines beginning "reference:", and at last
// "N passed, N failed, N skipped".
//
// With -reference a skipped test fails, as does a reference line that judged
// less than it expected, and a run without any test.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
}

type totals struct{ passed, failed, skipped, short int }

var referenceLine = regexp.MustCompile(`reference: (?:[\w-]+: )?(\d+) judged / (\d+) expected.*`)

func main() {
	reference := flag.Bool("reference", false, "judge the run on the reference data")
	flag.Parse()
	t, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(3)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 || *reference && (t.skipped > 0 || t.short > 0 || t.passed == 0) {
		os.Exit(1)
	}
}

// summarize counts every test and sub-test, and a package that failed without a
// failed test (it did not build, or died) as one.
func summarize(r io.Reader, w io.Writer) (totals, error) {
	var t totals
	written := map[string]*strings.Builder{} // by package and test
	failedIn := map[string]bool{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(w, "%s\n", line) // not of the test's making: show it
			} else {
				t.take(e, written, failedIn, w)
			}
		}
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
	}
}

func (t *totals) take(e event, written map[string]*strings.Builder, failedIn map[string]bool, w io.Writer) {
	if e.Action == "build-output" {
		fmt.Fprint(w, e.Output)
		return
	}
	key := e.Package + " " + e.Test
	if written[key] == nil {
		written[key] = &strings.Builder{}
	}
	switch e.Action {
	case "output":
		written[key].WriteString(e.Output)
		if m := referenceLine.FindStringSubmatch(e.Output); m != nil {
			fmt.Fprintln(w, m[0])
			if m[1] != m[2] {
				t.short++
			}
		}
		return
	case "pass":
		if e.Test != "" {
			t.passed++
		}
	case "skip":
		if e.Test != "" {
			t.skipped++
			fmt.Fprintf(w, "skipped %s %s\n", e.Package, reason(written[key].String()))
		}
	case "fail":
		if e.Test != "" || !failedIn[e.Package] {
			t.failed++
			fmt.Fprint(w, written[key])
		}
		failedIn[e.Package] = true
	default:
		return
	}
	if e.Test == "" && e.Action != "skip" {
		fmt.Fprintf(w, "%s %s\n", e.Action, e.Package)
	}
	delete(written, key)
}

// reason is what a skipped test said, on one line.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}
