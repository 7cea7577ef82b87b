package main

import (
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	const (
		passed  = `{"Action":"output","Package":"p","Test":"TestA","Output":"x\n"}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
		quoting = `{"Action":"output","Package":"p","Test":"TestA","Output":"{\"Action\":\"fail\",\"Test\":\"TestB\"}\n"}` + "\n"
		skipped = `{"Action":"output","Package":"p","Test":"TestS","Output":"=== RUN   TestS\n"}` + "\n" + `{"Action":"output","Package":"p","Test":"TestS","Output":"    a_test.go:3: no data\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestS"}` + "\n"
		failed  = `{"Action":"output","Package":"p","Test":"TestF","Output":"wrong\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestF"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		broken  = `{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}` + "\n" + `{"Action":"fail","Package":"p","FailedBuild":"p"}` + "\n"
		noTests = `{"Action":"output","Package":"p","Output":"? p [no test files]\n"}` + "\n" + `{"Action":"skip","Package":"p"}` + "\n"
		judged  = `{"Action":"output","Package":"p","Test":"TestReference","Output":"    a_test.go:9: reference: 5 judged / 5 expected\n"}` + "\n"
		fewer   = `{"Action":"output","Package":"p","Test":"TestReference","Output":"    a_test.go:9: reference: 4 judged / 5 expected\n"}` + "\n"
	)
	cases := []struct {
		name, input string
		want        totals
		shown       string
	}{
		{"ok/passed", passed, totals{passed: 1}, ""},
		{"ok/output that looks like an event", quoting + passed, totals{passed: 1}, ""},
		{"ok/skipped with its reason", skipped, totals{skipped: 1}, "skipped p a_test.go:3: no data"},
		{"ok/package without tests", noTests, totals{}, ""},
		{"ok/all judged", judged, totals{}, "reference: 5 judged / 5 expected"},
		{"fail/fewer judged", fewer, totals{short: 1}, "reference: 4 judged / 5 expected"},
		{"fail/failed, its package not counted again", passed + failed, totals{passed: 1, failed: 1}, "wrong"},
		{"fail/not built", broken, totals{failed: 1}, "undefined: x"},
		{"ok/line that is no event", "go: downloading x\n" + passed, totals{passed: 1}, "go: downloading x"},
		{"ok/last line without its end", strings.TrimSuffix(passed, "\n"), totals{passed: 1}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			got, err := summarize(strings.NewReader(c.input), &out)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
			if !strings.Contains(out.String(), c.shown) {
				t.Errorf("%q is not in %q", c.shown, out.String())
			}
		})
	}
}
