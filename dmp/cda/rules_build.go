package cda

import (
	"regexp"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// The builders below make one line of the rule table each. Paths are under
// ClinicalDocument; an element with a nullFlavor counts as absent where the
// structuration minimale asks for a value.

// with sets what every rule has.
func with(id, code, fr, fix string, mutants ...string) Rule {
	return Rule{ID: id, Code: code, Severity: Error, FR: fr, Fix: fix, Source: SourceStructure, Mutants: mutants}
}

// must: each element at parent holds at least one valued child.
func (r Rule) must(parent, child string) Rule {
	return r.count(parent, child, 1, -1)
}

// count: each element at parent holds between low and high valued children
// (high -1: no limit).
func (r Rule) count(parent, child string, low, high int) Rule {
	r.XPath = xpathOf(parent, child)
	r.check = func(d *checkup, hit func(*node)) {
		for _, p := range d.at(parent) {
			n := 0
			for _, c := range p.all(child) {
				if !c.null() {
					n++
				}
			}
			if n < low || high >= 0 && n > high {
				hit(p)
			}
		}
	}
	return r
}

// attrs: each valued element at one of the paths carries these attributes, not
// empty.
func (r Rule) attrs(names string, paths ...string) Rule {
	r.XPath = xpathOf(paths[0], "@"+strings.Join(strings.Fields(names), " et @"))
	r.check = func(d *checkup, hit func(*node)) {
		for _, path := range paths {
			for _, n := range d.at(path) {
				if n.null() {
					continue
				}
				for a := range strings.FieldsSeq(names) {
					if n.get(a) == "" {
						hit(n)
						break
					}
				}
			}
		}
	}
	return r
}

// in: the attribute, where present, is in the value set.
func (r Rule) in(set *dmp.ValueSet, attr string, paths ...string) Rule {
	r.XPath = xpathOf(paths[0], "@"+attr)
	if r.Source == SourceStructure {
		r.Source = SourceValueSets + " " + set.Name + " (" + set.Version + ")"
	}
	r.check = func(d *checkup, hit func(*node)) {
		for _, path := range paths {
			for _, n := range d.at(path) {
				if v, ok := n.attr(attr); ok && !set.Has(v) {
					hit(n)
				}
			}
		}
	}
	return r
}

// each: hit every element at one of the paths for which wrong is true.
func (r Rule) each(wrong func(*node) bool, paths ...string) Rule {
	r.XPath = xpathOf(paths[0], "")
	r.check = func(d *checkup, hit func(*node)) {
		for _, path := range paths {
			for _, n := range d.at(path) {
				if wrong(n) {
					hit(n)
				}
			}
		}
	}
	return r
}

// warn makes the rule a warning.
func (r Rule) warn() Rule { r.Severity = Warning; return r }

// at gives the elements at a path under ClinicalDocument; the document itself
// for an empty one. A path that begins with // is that element anywhere in the
// header.
func (d *Document) at(path string) []*node {
	switch {
	case path == "":
		return []*node{d.root}
	case !strings.HasPrefix(path, "//"):
		return d.root.all(path)
	}
	name := path[2:]
	var found []*node
	d.root.walk(func(n *node) bool {
		switch {
		case n.is(name):
			found = append(found, n)
		case n.is("component"):
			return false // the header ends here
		}
		return true
	})
	return found
}

func xpathOf(path, last string) string {
	x := strings.TrimSuffix("/ClinicalDocument/"+path, "/")
	if strings.HasPrefix(path, "//") {
		x = path
	}
	if last != "" {
		x += "/" + last
	}
	return x
}

// matches tells whether an attribute is absent or has the form.
func matches(form *regexp.Regexp, attr string) func(*node) bool {
	return func(n *node) bool {
		v, ok := n.attr(attr)
		return ok && !form.MatchString(v)
	}
}

// outsideOf tells whether an attribute is none of the values.
func outsideOf(attr string, values ...string) func(*node) bool {
	return func(n *node) bool {
		v, ok := n.attr(attr)
		return ok && !slices.Contains(values, v)
	}
}
