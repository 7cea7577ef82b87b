package main_test

// The rules of the house, as tests: which room may import which, and the
// habits that no compiler checks. judge reads a module as files, so that the
// packages `./...` skips (testdata) are judged like the others, and so that
// house_self_test.go can feed it modules that are wrong on purpose.

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is one row of the import table.
type room struct {
	may     []string // rooms of ours it may import; "x/*" is every room below x
	all     bool     // may import everything: wiring
	sockets bool     // false forbids the packages in socketPackages
	why     string   // for a package that the design does not list: why it exists
}

func may(rooms ...string) room { return room{may: rooms, sockets: true} }

// rooms is the import table of the design, §1, row by row. The standard library
// and the direct requirements of go.mod are open to every room. It binds
// non-test files and tests of the same package; a test in its own package
// (x_test) stands outside the room and may see what it needs.
var rooms = map[string]room{
	"ins":             may(),
	"ins/insi":        may("ins"),
	"ins/datamatrix":  may("ins"),
	"mss":             may("ins", "mss/xdm", "dmp"),
	"mss/xdm":         may("ins", "dmp", "dmp/cda"),
	"mss/operator":    may("mss", "mss/trust"),
	"mss/trust":       may("mss"),
	"mss/directory":   may("mss"),
	"dmp":             may("ins"),
	"dmp/cda":         may("ins", "dmp"),
	"dmp/fhir":        may("dmp", "dmp/cda", "ins"),
	"dmp/blob":        may(),
	"dmp/sqldb":       may(),
	"dmp/store":       may("dmp", "dmp/*", "ins", "gateway/fault"),
	"gateway":         {may: []string{"ins", "dmp", "dmp/cda", "mss", "mss/xdm", "gateway/fault"}, sockets: false},
	"gateway/fault":   may(),
	"gateway/httpapi": may("gateway", "gateway/fault", "gateway/psc", "ins", "dmp", "dmp/cda", "dmp/fhir", "mss"),
	"gateway/hl7v2":   may("gateway", "gateway/fault", "ins", "dmp", "mss"),
	"gateway/psc":     may("gateway/fault"),
	"gateway/journal": may("gateway", "gateway/psc", "ins", "dmp", "mss", "dmp/blob", "dmp/sqldb"),
	"gateway/console": may("gateway", "gateway/fault", "gateway/psc", "ins", "dmp", "dmp/cda", "mss"),
	"conformance":     may("ins", "dmp", "dmp/cda", "dmp/fhir", "mss", "mss/xdm", "conformance/sim", "testdata"),
	"conformance/sim": may("ins", "dmp", "dmp/*", "mss", "mss/xdm", "testdata"),
	"testdata":        may(),
	"cmd/passerelle":  {all: true, sockets: true},
	"dmp/blob/blobtest": {may: []string{"dmp/blob"}, sockets: true,
		why: "the contract that every byte store proves; only tests import it"},
	"gateway/psc/psctest": {may: []string{"gateway/psc"}, sockets: true,
		why: "the contract that every store of sessions proves; only tests import it"},
	"gateway/journal/journaltest": {may: []string{"gateway", "ins", "dmp"}, sockets: true,
		why: "the contract that every journal proves; only tests import it"},
}

// socketPackages are what "no sockets" means in the row of gateway.
var socketPackages = []string{"net", "net/http", "net/smtp", "net/rpc", "crypto/tls"}

// topLevel are the seven folders of the design; bannedNames say nothing of what
// they hold.
var (
	topLevel    = []string{"cmd", "conformance", "dmp", "gateway", "ins", "mss", "testdata"}
	bannedNames = []string{"internal", "pkg", "util", "utils", "docs"}
)

// undocumented are methods whose meaning is that of the interface they satisfy.
var undocumented = []string{"Error", "Unwrap", "Is", "As", "String", "FaultCode", "FaultWhere",
	"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "Len", "Less", "Swap",
	"Read", "Write", "Close", "ServeHTTP", "Scan", "Value"}

// source is one Go file.
type source struct {
	path string // from the module root, with slashes
	dir  string
	test bool
	fset *token.FileSet
	file *ast.File
	text []byte
}

// bound tells whether the import table binds the file.
func (s source) bound() bool { return !s.test || !strings.HasSuffix(s.file.Name.Name, "_test") }

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

// module is a tree of Go files and its requirements.
type module struct {
	path    string
	direct  []string // module paths of the direct requirements
	sources []source
	folders []string
}

func TestHouse(t *testing.T) {
	for _, finding := range judge(moduleRoot(t)) {
		t.Error(finding)
	}
}

// moduleRoot is two folders above this package.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("no module root: %v", err)
	}
	return root
}

// judge lists everything in the module that breaks a rule, each with what to do.
func judge(root string) []string {
	m, findings := load(root)
	findings = append(findings, m.layout()...)
	findings = append(findings, m.packageComments()...)
	for _, s := range m.sources {
		findings = append(findings, s.formatting()...)
		findings = append(findings, s.openEnds()...)
		if s.bound() {
			findings = append(findings, m.imports(s)...)
		}
		if s.test {
			continue
		}
		if s.dir != "cmd" && !strings.HasPrefix(s.dir, "cmd/") {
			findings = append(findings, s.ambient()...)
		}
		if s.file.Name.Name != "main" {
			findings = append(findings, s.exported()...)
		}
	}
	slices.Sort(findings)
	return findings
}

// load reads every Go file under root but those in folders whose name begins
// with a dot and those that .gitignore names at the root (/folder/).
func load(root string) (module, []string) {
	var m module
	var findings []string
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return m, []string{"go.mod: " + err.Error()}
	}
	m.path, m.direct = requirements(string(mod))
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil && !os.IsNotExist(err) {
		findings = append(findings, ".gitignore: "+err.Error())
	}
	ignoredLines := strings.Split(string(ignored), "\n")
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			if strings.HasPrefix(d.Name(), ".") || slices.Contains(ignoredLines, "/"+rel+"/") {
				return fs.SkipDir
			}
			m.folders = append(m.folders, rel)
			return nil
		}
		if path.Ext(rel) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s := source{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), fset: token.NewFileSet(), text: text}
		s.file, err = parser.ParseFile(s.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			findings = append(findings, fmt.Sprintf("%s: does not parse: %v", rel, err))
			return nil
		}
		m.sources = append(m.sources, s)
		return nil
	})
	if err != nil {
		findings = append(findings, err.Error())
	}
	return m, findings
}

// requirements reads the module path and the direct requirements of a go.mod.
func requirements(mod string) (modulePath string, direct []string) {
	block := false
	for line := range strings.Lines(mod) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "module" && len(f) > 1:
			modulePath = f[1]
		case f[0] == "require" && len(f) > 1 && f[1] == "(":
			block = true
		case f[0] == ")":
			block = false
		case strings.Contains(line, "// indirect"):
		case f[0] == "require" && len(f) > 2:
			direct = append(direct, f[1])
		case block:
			direct = append(direct, f[0])
		}
	}
	return modulePath, direct
}

// layout judges the folders and the names of packages.
func (m module) layout() []string {
	var out []string
	for _, dir := range m.folders {
		if !strings.Contains(dir, "/") && !slices.Contains(topLevel, dir) {
			out = append(out, fmt.Sprintf("%s: not one of the seven top-level folders (%s): move what it holds into its room", dir, strings.Join(topLevel, ", ")))
		}
		if name := path.Base(dir); slices.Contains(bannedNames, name) {
			out = append(out, fmt.Sprintf("%s: a folder named %s says nothing of what it holds: name it by the term of the field, or put the code in its room", dir, name))
		}
	}
	seen := map[string]bool{}
	for _, s := range m.sources {
		if _, ok := rooms[s.dir]; !ok && !seen[s.dir] {
			seen[s.dir] = true
			out = append(out, fmt.Sprintf("%s: no row in the import table of the design (§1): move the code into a room; a package that only tests use is declared in rooms (cmd/passerelle/house_test.go) with its reason", s.path))
		}
		want := path.Base(s.dir)
		if strings.HasPrefix(s.dir, "cmd/") {
			want = "main"
		}
		if got := s.file.Name.Name; got != want && !(s.test && got == want+"_test") {
			out = append(out, fmt.Sprintf("%s: package %s in folder %s: call it %s", s.path, got, s.dir, want))
		}
	}
	return out
}

// imports judges one file against its row.
func (m module) imports(s source) []string {
	row, ok := rooms[s.dir]
	if !ok {
		return nil // told by layout
	}
	var out []string
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it
		}
		ours, isOurs := strings.CutPrefix(imported, m.path+"/")
		first, _, _ := strings.Cut(imported, "/")
		switch {
		case imported == "C":
			out = append(out, s.at(spec)+": imports C: the binary is static and pure Go, find another way")
		case imported == m.path:
			out = append(out, s.at(spec)+": imports the module root, which holds no package")
		case isOurs && !row.allows(ours):
			out = append(out, fmt.Sprintf("%s: %s may not import %s (design §1; it may import: %s): declare an interface here and let cmd/passerelle wire it, or move the code",
				s.at(spec), s.dir, ours, strings.Join(append([]string{"the standard library"}, row.may...), ", ")))
		case isOurs:
		case strings.Contains(first, "."):
			if !slices.ContainsFunc(m.direct, func(d string) bool { return imported == d || strings.HasPrefix(imported, d+"/") }) {
				out = append(out, fmt.Sprintf("%s: %s is not of a module that go.mod requires directly: use one that is, or have it added to go.mod", s.at(spec), imported))
			}
		case !row.sockets && slices.Contains(socketPackages, imported):
			out = append(out, fmt.Sprintf("%s: %s opens no sockets, so it may not import %s: a door or a client does", s.at(spec), s.dir, imported))
		}
	}
	return out
}

// allows tells whether the row lets a room of ours in.
func (r room) allows(ours string) bool {
	return r.all || slices.ContainsFunc(r.may, func(allowed string) bool {
		below, wild := strings.CutSuffix(allowed, "*")
		return allowed == ours || wild && strings.HasPrefix(ours, below)
	})
}

// packageComments asks of every package a comment that says what it promises.
func (m module) packageComments() []string {
	const least = 3
	longest := map[string]int{}
	for _, s := range m.sources {
		if s.test {
			continue
		}
		lines := 0
		opening := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			opening = "Command " + path.Base(s.dir) + " "
		}
		if text := s.file.Doc.Text(); strings.HasPrefix(text, opening) {
			for line := range strings.Lines(text) {
				if strings.TrimSpace(line) != "" {
					lines++
				}
			}
		}
		longest[s.dir] = max(longest[s.dir], lines)
	}
	var out []string
	for _, dir := range slices.Sorted(maps.Keys(longest)) {
		if longest[dir] < least {
			out = append(out, fmt.Sprintf("%s: no package comment of at least %d lines beginning \"Package …\" (\"Command …\" for a command): say what the package promises on crash, order and duplicates", dir, least))
		}
	}
	return out
}

// formatting judges the file as gofmt does.
func (s source) formatting() []string {
	if formatted, err := format.Source(s.text); err != nil || !bytes.Equal(formatted, s.text) {
		return []string{s.path + ": not formatted: run gofmt -w " + s.path}
	}
	return nil
}

// The two words, written so that no search for them finds this file.
const openWords = "TO" + "DO|FIX" + "ME"

var (
	openEnd  = regexp.MustCompile(`\b(` + openWords + `)\b`)
	numbered = regexp.MustCompile(`\b(` + openWords + `)\b[^#\n]*#\d+`)
)

// openEnds finds unfinished work that no issue follows.
func (s source) openEnds() []string {
	var out []string
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if len(openEnd.FindAllString(c.Text, -1)) > len(numbered.FindAllString(c.Text, -1)) {
				out = append(out, s.at(c)+": unfinished work without an issue: finish it, or give the number (#123) of the issue")
			}
		}
	}
	return out
}

// ambient finds what must be handed in: the clock, randomness, the output.
func (s source) ambient() []string {
	names := map[string]string{} // local name of an import → its path
	var out []string
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !slices.Contains([]string{"time", "math/rand", "math/rand/v2", "fmt", "os"}, imported) {
			continue
		}
		switch {
		case spec.Name == nil:
			names[path.Base(strings.TrimSuffix(imported, "/v2"))] = imported
		case spec.Name.Name == ".":
			out = append(out, fmt.Sprintf("%s: dot import of %s hides what it uses: import it by name", s.at(spec), imported))
		default:
			names[spec.Name.Name] = imported
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		advice := ""
		switch name := sel.Sel.Name; names[x.Name] {
		case "time":
			if name == "Now" || name == "Since" || name == "Until" {
				advice = "reads the clock: take a clock from the caller; only cmd reads the real one"
			}
		case "math/rand", "math/rand/v2":
			if !strings.HasPrefix(name, "New") && !slices.Contains([]string{"Rand", "Source", "Source64", "Zipf", "PCG", "ChaCha8"}, name) {
				advice = "uses the global generator: take a *rand.Rand or an io.Reader from the caller"
			}
		case "fmt":
			if strings.HasPrefix(name, "Print") {
				advice = "prints to the standard output: take an io.Writer or a logger from the caller"
			}
		case "os":
			if name == "Stdout" {
				advice = "writes to the standard output: take an io.Writer from the caller"
			}
		}
		if advice != "" {
			out = append(out, fmt.Sprintf("%s: %s.%s %s", s.at(sel), x.Name, sel.Sel.Name, advice))
		}
		return true
	})
	return out
}

// exported asks a comment of every exported symbol. A group of constants or
// variables may share one; a method of a well-known interface needs none.
func (s source) exported() []string {
	var out []string
	missing := func(n ast.Node, name string) {
		out = append(out, fmt.Sprintf("%s: exported %s has no comment: say what it promises, or do not export it", s.at(n), name))
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() || d.Doc != nil {
				continue
			}
			if d.Recv == nil {
				missing(d, d.Name.Name)
			} else if r := receiver(d); ast.IsExported(r) && !slices.Contains(undocumented, d.Name.Name) {
				missing(d, r+"."+d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch sp := spec.(type) {
				case *ast.TypeSpec:
					if sp.Name.IsExported() && sp.Doc == nil && d.Doc == nil {
						missing(sp, sp.Name.Name)
					}
				case *ast.ValueSpec:
					if d.Doc != nil || sp.Doc != nil || sp.Comment != nil {
						continue
					}
					for _, name := range sp.Names {
						if name.IsExported() {
							missing(name, name.Name)
						}
					}
				}
			}
		}
	}
	return out
}

// receiver names the type of a method, without its pointer and parameters.
func receiver(d *ast.FuncDecl) string {
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
