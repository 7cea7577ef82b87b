package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goodModule breaks no rule; each case below changes one file of it.
var goodModule = map[string]string{
	"go.mod":     "module example.org/house\n\ngo 1.26\n\nrequire example.org/direct v1.0.0\n\nrequire (\n\texample.org/other v1.0.0\n\texample.org/hidden v1.0.0 // indirect\n)\n",
	".gitignore": "/scratch/\n",
	"ins/ins.go": comment("ins") + `package ins

import (
	"fmt"
	"time"

	"example.org/direct/sub"
	_ "example.org/other"
)

// Zero is the zero value.
const Zero = 0

// Clock tells the time.
type Clock interface{ Now() time.Time }

type hidden struct{}

func (hidden) Exported() {}

// Wait says how long, and leaves #12 for later.
func Wait(c Clock) string { return fmt.Sprint(c.Now(), time.Second, sub.X) } // TODO(#12): round
`,
	"ins/ins_test.go":                   "package ins\n\nimport \"time\"\n\nvar now = time.Now()\n",
	"ins/outside_test.go":               "package ins_test\n\nimport _ \"example.org/house/gateway\"\n",
	"dmp/dmp.go":                        comment("dmp") + "package dmp\n\nimport _ \"example.org/house/ins\"\n",
	"dmp/store/store.go":                comment("store") + "package store\n\nimport _ \"example.org/house/dmp/blob\"\n",
	"gateway/gateway.go":                comment("gateway") + "package gateway\n\nimport _ \"example.org/house/mss\"\n",
	"testdata/testdata.go":              comment("testdata") + "package testdata\n",
	"scratch/notes.go":                  "package anything\n",
	".ci/tool.go":                       "package main\n",
	"cmd/passerelle/main.go":            "// Command passerelle is\n// a gateway\n// and more.\npackage main\n\nimport (\n\t\"fmt\"\n\t\"time\"\n\n\t_ \"example.org/house/dmp/store\"\n)\n\nfunc main() { fmt.Println(time.Now()) }\n",
	"cmd/passerelle/passerelle_test.go": "package main_test\n",
}

func comment(name string) string {
	return "// Package " + name + " is a room.\n//\n// It promises little\n// and keeps it.\n"
}

func TestHouseRules(t *testing.T) {
	ins := goodModule["ins/ins.go"]
	cases := []struct {
		name string
		file string
		text string
		want string // part of the only finding; none when empty
	}{
		{name: "ok/nothing changed"},
		{"ok/room of the table that did not exist", "mss/trust/trust.go", comment("trust") + "package trust\n\nimport _ \"example.org/house/mss\"\n", ""},
		{"ok/local generator", "mss/mss.go", comment("mss") + "package mss\n\nimport \"math/rand/v2\"\n\nvar r = rand.New(rand.NewPCG(1, 2))\n", ""},
		{"fail/room that may not be imported", "dmp/dmp.go", comment("dmp") + "package dmp\n\nimport _ \"example.org/house/mss\"\n", "dmp may not import mss"},
		{"fail/wildcard does not reach another room", "dmp/store/store.go", comment("store") + "package store\n\nimport _ \"example.org/house/gateway\"\n", "dmp/store may not import gateway "},
		{"fail/import in a test of the package", "dmp/x_test.go", "package dmp\n\nimport _ \"example.org/house/testdata\"\n", "dmp may not import testdata"},
		{"fail/import in testdata", "testdata/testdata.go", comment("testdata") + "package testdata\n\nimport _ \"example.org/house/ins\"\n", "testdata may not import ins"},
		{"fail/sub-package of a room that is allowed", "dmp/dmp.go", comment("dmp") + "package dmp\n\nimport _ \"example.org/house/ins/insi\"\n", "dmp may not import ins/insi"},
		{"fail/indirect requirement", "dmp/dmp.go", comment("dmp") + "package dmp\n\nimport _ \"example.org/hidden\"\n", "go.mod requires directly"},
		{"fail/name that begins like a requirement", "dmp/dmp.go", comment("dmp") + "package dmp\n\nimport _ \"example.org/directly\"\n", "go.mod requires directly"},
		{"fail/cgo", "dmp/dmp.go", comment("dmp") + "package dmp\n\nimport \"C\"\n", "imports C"},
		{"fail/socket in gateway", "gateway/gateway.go", comment("gateway") + "package gateway\n\nimport _ \"net/http\"\n", "opens no sockets"},
		{"fail/package outside the table", "gateway/extra/extra.go", comment("extra") + "package extra\n", "no row in the import table"},
		{"fail/package in a testdata of a room", "ins/testdata/x.go", comment("testdata") + "package testdata\n", "no row in the import table"},
		{"fail/eighth top-level folder", "docs2/x.txt", "x", "not one of the seven"},
		{"fail/banned name", "gateway/util/x.txt", "x", "says nothing of what it holds"},
		{"fail/package named otherwise", "dmp/dmp.go", comment("house") + "package house\n", "package house in folder dmp"},
		{"fail/no package comment", "testdata/testdata.go", "package testdata\n", "no package comment"},
		{"fail/package comment too short", "testdata/testdata.go", "// Package testdata is short.\npackage testdata\n", "no package comment"},
		{"fail/package comment of another", "testdata/testdata.go", comment("dmp") + "package testdata\n", "no package comment"},
		{"fail/package comment of a command", "cmd/passerelle/main.go", comment("main") + "package main\n\nfunc main() {}\n", "no package comment"},
		{"fail/clock", "ins/ins.go", strings.Replace(ins, "c.Now()", "time.Now()", 1), "time.Now reads the clock"},
		{"fail/clock as a value", "ins/ins.go", strings.Replace(ins, "c.Now()", "time.Now", 1), "time.Now reads the clock"},
		{"fail/clock in disguise", "ins/ins.go", strings.Replace(ins, "c.Now()", "time.Since(c.Now())", 1), "time.Since reads the clock"},
		{"fail/clock under another name", "ins/ins.go", strings.ReplaceAll(strings.Replace(ins, "\"time\"", "clock \"time\"", 1), "time.", "clock.") + "\nvar _ = clock.Now\n", "clock.Now reads the clock"},
		{"fail/clock by dot import", "mss/mss.go", comment("mss") + "package mss\n\nimport . \"time\"\n\nvar now = Now()\n", "dot import of time"},
		{"fail/clock in testdata", "testdata/testdata.go", comment("testdata") + "package testdata\n\nimport \"time\"\n\nvar now = time.Now()\n", "reads the clock"},
		{"fail/global generator", "mss/mss.go", comment("mss") + "package mss\n\nimport \"math/rand/v2\"\n\nvar n = rand.IntN(3)\n", "global generator"},
		{"fail/global generator of old", "mss/mss.go", comment("mss") + "package mss\n\nimport \"math/rand\"\n\nvar n = rand.Intn(3)\n", "global generator"},
		{"fail/print", "ins/ins.go", strings.Replace(ins, "fmt.Sprint(", "fmt.Print(", 1), "fmt.Print prints"},
		{"fail/standard output", "mss/mss.go", comment("mss") + "package mss\n\nimport \"os\"\n\nvar w = os.Stdout\n", "os.Stdout writes"},
		{"fail/unfinished work", "ins/ins.go", strings.Replace(ins, "TODO(#12)", "TODO", 1), "without an issue"},
		{"fail/unfinished work in a test", "ins/ins_test.go", "package ins\n\n// FIX" + "ME later, see page 12\nvar x = 1\n", "without an issue"},
		{"fail/function without comment", "ins/ins.go", ins + "\nfunc Bare() {}\n", "exported Bare"},
		{"fail/method without comment", "ins/ins.go", ins + "\n// T is one.\ntype T[K any] struct{}\n\nfunc (*T[K]) Bare() {}\n", "exported T.Bare"},
		{"ok/method of a known interface", "ins/ins.go", ins + "\n// T is one.\ntype T struct{}\n\nfunc (*T) Error() string { return \"\" }\n", ""},
		{"fail/type without comment", "ins/ins.go", ins + "\ntype Bare struct{}\n", "exported Bare"},
		{"fail/constant without comment", "ins/ins.go", ins + "\nconst Bare = 1\n", "exported Bare"},
		{"fail/not formatted", "testdata/testdata.go", comment("testdata") + "package testdata\n\nvar  x = 1\n", "run gofmt -w testdata/testdata.go"},
		{"fail/not Go", "ins/broken.go", "package ins\n\nfunc {\n", "does not parse"},
		{"fail/no go.mod", "go.mod", "", "go.mod"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wantFinding(t, judge(plant(t, goodModule, c.file, c.text)), c.want)
		})
	}
}

// plant writes a module to a folder, one file of it changed; an empty text
// leaves the file out.
func plant(t *testing.T, files map[string]string, changed, text string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if name != changed {
			write(name, text)
		}
	}
	if changed != "" && text != "" {
		write(changed, text)
	}
	return root
}

// TestHouseTable keeps the table itself honest: every name in it is a room, and
// a room that the design does not list says why it exists.
func TestHouseTable(t *testing.T) {
	for dir, row := range rooms {
		top, _, _ := strings.Cut(dir, "/")
		if !slices.Contains(topLevel, top) {
			t.Errorf("%s is under no top-level folder", dir)
		}
		for _, allowed := range row.may {
			if _, ok := rooms[strings.TrimSuffix(allowed, "/*")]; !ok {
				t.Errorf("%s may import %s, which is no room", dir, allowed)
			}
			if allowed == dir {
				t.Errorf("%s may import itself", dir)
			}
		}
	}
	for _, dir := range []string{"gateway", "gateway/httpapi", "gateway/hl7v2", "gateway/journal", "mss/operator"} {
		if rooms[dir].allows("dmp/store") {
			t.Errorf("%s may import dmp/store, which nobody on the gateway's side may", dir)
		}
	}
}
