package cda

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/passerelle-sante/passerelle/dmp"
)

// RuleSetVersion is the version of the rules. It changes with any change of what
// a rule means.
const RuleSetVersion = "2026.11.3"

// RuleSet names the rules in every verdict: their version, and a fingerprint of
// the rule table, of the places that it reads, of the schema and of the value sets, which changes with any
// of them.
var RuleSet = "passerelle-cda " + RuleSetVersion + " " + fingerprint()

func fingerprint() string {
	h := sha256.New()
	for _, r := range rules {
		fmt.Fprintln(h, r.ID, r.Code, r.Severity, r.XPath, r.FR, r.Fix, r.Source, r.Mutants)
	}
	for _, t := range schemaTypes {
		fmt.Fprintln(h, t)
	}
	fmt.Fprintln(h, lookedLines)
	for _, s := range []*dmp.ValueSet{
		dmp.SetJ01, dmp.SetJ02, dmp.SetJ04, dmp.SetJ07, dmp.SetJ47, dmp.SetJ141, dmp.SetJ142,
		dmp.SetJ143, dmp.SetJ144, dmp.SetJ245, dmp.SetJ246,
	} {
		fmt.Fprintln(h, s.Name, s.Version, s.Len())
	}
	fmt.Fprintln(h, dmp.TypeTables, dmp.FormatTables)
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// Sources of rules.
const (
	SourceSchema     = "POCD_HD000040 (schéma CDA R2, extensions CI-SIS)"
	SourceStructure  = "CI-SIS structuration minimale 1.2.250.1.213.1.1.1.1"
	SourceValueSets  = "CI-SIS jeux de valeurs"
	SourcePasserelle = "Passerelle"
)

// Rule is one line of the rule table.
type Rule struct {
	ID       string // stable; never reused
	Code     string // of the error table
	Severity Severity
	XPath    string // what the rule is about
	FR       string // what is wrong, to a hospital integrator
	Fix      string // what to do
	Source   string
	Mutants  []string // one-fault edits of our documents that break this rule

	check func(d *checkup, hit func(*node))
}

// checkup is a document being judged.
type checkup struct {
	*Document
	breaches map[string][]*node // of the schema, by breach key
	typed    []typed            // elements of the header, with their type in the schema
	looked   []typed            // those that the schematron reads, with its own
	file     []byte             // of a level 1 body, decoded once
	fileErr  error
	said     []*Finding // so far
}

// broken tells whether a rule that stands before in the table was found broken.
func (c *checkup) broken(rule string) bool {
	return slices.ContainsFunc(c.said, func(f *Finding) bool { return f.Rule == rule })
}

// maxHits bounds what one rule may say of one document.
const maxHits = 20

// Verdict is what a rule set says of a document.
type Verdict struct {
	RuleSet  string     `json:"rule_set"`
	Findings []*Finding `json:"findings"` // in the order of the rule table
}

// Worst is the heaviest severity among the findings; 0 when there is none.
func (v Verdict) Worst() Severity {
	var worst Severity
	for _, f := range v.Findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Verdict judges the document by every rule of the table.
func (d *Document) Verdict() Verdict {
	v := Verdict{RuleSet: RuleSet}
	c := &checkup{Document: d, breaches: map[string][]*node{}}
	if d.Body.File != nil {
		c.file, c.fileErr = d.Body.File.Bytes()
	}
	breaches, header := d.validate()
	c.typed, c.looked = header, d.lookedAt()
	for _, b := range breaches {
		c.breaches[b.key] = append(c.breaches[b.key], b.n)
	}
	for i := range rules {
		r := &rules[i]
		hits := 0
		r.check(c, func(n *node) {
			if hits++; hits > maxHits {
				return
			}
			p := Place{n}
			c.said = append(c.said, &Finding{Code: r.Code, Rule: r.ID, Severity: r.Severity, Line: p.Line(), XPath: p.XPath()})
		})
	}
	v.Findings = c.said
	return v
}

// Blocking gives the findings that refuse the document whatever the settings.
func (d *Document) Blocking() []error {
	var found []error
	for _, f := range d.Verdict().Findings {
		if f.Severity == Blocking {
			found = append(found, f)
		}
	}
	return found
}

// Warnings gives the findings that do not refuse by default: errors and
// warnings. With accept.cda strict, errors refuse too.
func (d *Document) Warnings() []*Finding {
	var found []*Finding
	for _, f := range d.Verdict().Findings {
		if f.Severity != Blocking {
			found = append(found, f)
		}
	}
	return found
}

// Rules gives a copy of the rule table.
func Rules() []Rule { return append([]Rule(nil), rules...) }

// RuleOf finds a rule of the table, or one of [CheckPDFA], by its id.
func RuleOf(id string) (Rule, bool) {
	if i, ok := ruleIndex[id]; ok {
		return rules[i], true
	}
	for _, r := range pdfaRules {
		if r.ID == id {
			r.Code, r.Severity, r.Source = FaultPDFA, Error, "ISO 19005-1"
			return r, true
		}
	}
	return Rule{}, false
}
