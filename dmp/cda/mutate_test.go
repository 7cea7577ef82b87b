package cda

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mutate applies the edits of a mutant to a document, one after the other. The
// little language is that of Rule.Mutants: an operation, a path under
// ClinicalDocument, and the rest of the line.
func mutate(doc []byte, mutant string) ([]byte, error) {
	for edit := range strings.SplitSeq(mutant, " ; ") {
		var err error
		if doc, err = applyEdit(doc, edit); err != nil {
			return nil, fmt.Errorf("%s: %w", edit, err)
		}
	}
	return doc, nil
}

func applyEdit(doc []byte, edit string) ([]byte, error) {
	if href, ok := strings.CutPrefix(edit, "sheet "); ok {
		return []byte(strings.Replace(string(doc), `href="cda.xsl"`, `href="`+href+`"`, 1)), nil
	}
	d, err := Read(doc)
	if err != nil {
		return nil, err
	}
	return d.edited(edit)
}

// edited applies one edit to a document that was read.
func (d *Document) edited(edit string) ([]byte, error) {
	op, rest, _ := strings.Cut(edit, " ")
	path, arg, _ := strings.Cut(rest, " ")
	path, attr, _ := strings.Cut(path, "@")
	n := locate(d.root, strings.TrimSuffix(path, "/"))
	if n == nil {
		return nil, fmt.Errorf("no element")
	}
	s := string(d.text)
	tagEnd := n.start + strings.IndexByte(s[n.start:], '>') + 1 // our documents keep no '>' in attributes
	tag, whole := s[n.start:tagEnd], s[n.start:n.end]
	raw := tag[1 : 1+strings.IndexAny(tag[1:], " \t\r\n/>")] // with its prefix
	prefix, _, prefixed := strings.Cut(raw, ":")
	if i := strings.IndexAny(arg, " />"); prefixed && strings.HasPrefix(arg, "<") {
		arg = arg[:i] + ` xmlns="` + nsHL7 + `"` + arg[i:]
	}
	switch op {
	case "remove":
		whole = ""
	case "twice":
		whole += whole
	case "replace":
		whole = arg
	case "before":
		whole = arg + whole
	case "after":
		whole += arg
	case "into":
		whole = open(tag) + s[tagEnd:n.end]
		if strings.HasSuffix(tag, "/>") {
			whole += arg + "</" + raw + ">"
		} else {
			whole = whole[:strings.LastIndex(whole, "</")] + arg + "</" + raw + ">"
		}
	case "text":
		whole = open(tag) + arg + "</" + raw + ">"
	case "swap": // with the element that follows
		at := slices.Index(n.parent.kids, n)
		if at+1 == len(n.parent.kids) {
			return nil, fmt.Errorf("nothing follows")
		}
		next := n.parent.kids[at+1]
		return []byte(s[:n.start] + s[next.start:next.end] + s[n.end:next.start] + whole + s[next.end:]), nil
	case "rename":
		if prefixed {
			arg = prefix + ":" + arg
		}
		end := ""
		if !strings.HasSuffix(tag, "/>") {
			whole, end = whole[:strings.LastIndex(whole, "</")], "</"+arg+">"
		}
		whole = "<" + arg + strings.TrimPrefix(whole, "<"+raw) + end
	case "set", "unset":
		bare := tag
		at := regexp.MustCompile(`\s` + regexp.QuoteMeta(attr) + `\s*=\s*("[^"]*"|'[^']*')`)
		if loc := at.FindStringIndex(tag); loc != nil {
			bare = tag[:loc[0]] + tag[loc[1]:]
		} else if op == "unset" {
			return nil, fmt.Errorf("no attribute")
		}
		if op == "set" {
			bare = "<" + raw + " " + attr + `="` + arg + `"` + strings.TrimPrefix(bare, "<"+raw)
		}
		whole = bare + s[tagEnd:n.end]
	default:
		return nil, fmt.Errorf("no such operation")
	}
	return []byte(s[:n.start] + whole + s[n.end:]), nil
}

// open makes a start tag of a self-closing one.
func open(tag string) string {
	if t, ok := strings.CutSuffix(tag, "/>"); ok {
		return t + ">"
	}
	return tag
}

func locate(n *node, path string) *node {
	if path == "" {
		return n
	}
	for step := range strings.SplitSeq(path, "/") {
		name, at, _ := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		want := 1
		if at != "" {
			want, _ = strconv.Atoi(at)
		}
		var next *node
		for _, k := range n.kids {
			if k.name.Local == name {
				if want--; want == 0 {
					next = k
					break
				}
			}
		}
		if next == nil {
			return nil
		}
		n = next
	}
	return n
}

// base gives the document that a mutant edits, and the edit.
func base(t testing.TB, mutant string) ([]byte, string) {
	t.Helper()
	file, edit := "level1.xml", mutant
	if e, ok := strings.CutPrefix(mutant, "n3: "); ok {
		file, edit = "level3.xml", e
	}
	real := false
	if e, ok := strings.CutPrefix(edit, "real: "); ok {
		real, edit = true, e
	}
	doc := load(t, file)
	if real {
		doc = []byte(strings.Replace(string(doc), `"1.2.250.1.213.1.4.10"`, `"1.2.250.1.213.1.4.8"`, 1))
	}
	return doc, edit
}

func load(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reference gives the folder of the reference data written by others, or
// skips: none of it is part of this repository.
func reference(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("PASSERELLE_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "cda")); err != nil {
		t.Skip("reference data absent: set PASSERELLE_DATA")
	}
	return dir
}

func TestRuleTable(t *testing.T) {
	seen := map[string]bool{}
	mutants := 0
	whole := map[string]map[string]bool{} // rules that the documents break before any edit
	for _, r := range Rules() {
		if seen[r.ID] {
			t.Errorf("%s stands twice", r.ID)
		}
		seen[r.ID] = true
		if r.Code == "" || r.Severity == 0 || r.XPath == "" || r.FR == "" || r.Fix == "" || r.Source == "" {
			t.Errorf("%s is incomplete", r.ID)
		}
		if len(r.Mutants) == 0 {
			t.Errorf("%s has no mutant", r.ID)
		}
		for i, m := range r.Mutants {
			mutants++
			t.Run(fmt.Sprintf("fail/%s/%d", r.ID, i+1), func(t *testing.T) {
				doc, edit := base(t, m)
				if whole[string(doc)] == nil {
					whole[string(doc)] = broken(t, doc)
				}
				if whole[string(doc)][r.ID] {
					t.Fatalf("the document breaks the rule before the edit")
				}
				edited, err := mutate(doc, edit)
				if err != nil {
					t.Fatal(err)
				}
				if !broken(t, edited)[r.ID] {
					t.Errorf("%q does not break the rule", m)
				}
			})
		}
	}
	t.Logf("%d rules, %d mutants", len(seen), mutants)
}

// broken gives the rules that a document breaks.
func broken(t testing.TB, doc []byte) map[string]bool {
	t.Helper()
	d, err := Read(doc)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, f := range d.Verdict().Findings {
		rules[f.Rule] = true
	}
	return rules
}
