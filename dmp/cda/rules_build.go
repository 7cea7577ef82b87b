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
	for i := range mutants {
		mutants[i] = plain(mutants[i])
	}
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
	at := route(parent)
	r.check = func(d *checkup, hit func(*node)) {
		for _, p := range at(d.Document) {
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
	places := routes(paths)
	r.check = func(d *checkup, hit func(*node)) {
		for _, at := range places {
			for _, n := range at(d.Document) {
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
	places := routes(paths)
	r.check = func(d *checkup, hit func(*node)) {
		for _, at := range places {
			for _, n := range at(d.Document) {
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
	places := routes(paths)
	r.check = func(d *checkup, hit func(*node)) {
		for _, at := range places {
			for _, n := range at(d.Document) {
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

// eachType: hit every typed element of the header for which wrong is true, be it
// read by the schematron or not.
func (r Rule) eachType(wrong func(n *node, typeName string) bool) Rule {
	r.XPath = "//*"
	r.check = func(d *checkup, hit func(*node)) {
		for _, t := range d.typed {
			if wrong(t.n, t.typeName) {
				hit(t.n)
			}
		}
	}
	return r
}

// orRead adds every element that the schematron reads for which wrong is true.
func (r Rule) orRead(wrong func(n *node, typeName string) bool) Rule {
	before := r.check
	r.check = func(d *checkup, hit func(*node)) {
		said := map[*node]bool{}
		before(d, func(n *node) { said[n] = true; hit(n) })
		for _, t := range d.looked {
			if !said[t.n] && wrong(t.n, t.typeName) {
				said[t.n] = true
				hit(t.n)
			}
		}
	}
	return r
}

// route gives the elements at a path under ClinicalDocument, with conditions;
// the document itself for an empty one.
func route(path string) func(*Document) []*node {
	var steps []step
	if path != "" {
		steps = parsePath(path)
	}
	return func(d *Document) []*node {
		var found []*node
		d.root.follow(steps, func(n *node) { found = append(found, n) })
		return found
	}
}

func routes(paths []string) []func(*Document) []*node {
	var out []func(*Document) []*node
	for _, p := range paths {
		out = append(out, route(p))
	}
	return out
}

func xpathOf(path, last string) string {
	path = asXPath(path)
	x := strings.TrimSuffix("/ClinicalDocument/"+path, "/")
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
