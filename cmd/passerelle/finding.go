package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

// judging is what the commands that judge files have in common.
type judging struct {
	JSON bool   `name:"json" help:"Résultat lisible par une machine."`
	Lang tongue `default:"fr" enum:"fr,en" help:"Langue des textes : fr ou en."`
}

// end tells the result of a command that judged files, and gives its exit code:
// 2 before 1, because a file that could not be read was not judged.
func (j judging) end(e *env, unread error, wrong int, report any, total string) error {
	var usage usageError
	if unread != nil && !errors.As(unread, &usage) {
		return unread
	}
	if j.JSON {
		if err := writeJSON(e.out, report); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(e.out, total)
	}
	if unread == nil && wrong > 0 {
		return errWrong
	}
	return unread
}

// tongue is the language of what is told: fr or en.
type tongue string

func (t tongue) say(fr, en string) string {
	if t == "en" {
		return en
	}
	return fr
}

// finding is one thing found wrong, or tolerated, in the language asked for.
type finding struct {
	Level string `json:"level"` // erreur, avertissement
	Code  string `json:"code"`
	Rule  string `json:"rule,omitempty"`
	Text  string `json:"text"`
	Fix   string `json:"fix"`
	Where string `json:"where,omitempty"`
}

// wrong is an error as a finding. It names the flag or the rule that the row of
// the table, written for all, does not.
func (t tongue) wrong(err error) finding {
	f := fault.From(err)
	out := t.row(f.Row, t.say("erreur", "error"), f.Where)
	var inner fault.Located
	if errors.As(f.Unwrap(), &inner) && inner.FaultWhere() != f.Where {
		out.Where = join(", ", f.Where, t.lines(inner.FaultWhere())) // the line of the document, the trait
	}
	var read *hl7v2.Refusal
	if errors.As(err, &read) {
		out.Where = join(", ", out.Where, read.Detail)
	}
	var doc *cda.Finding
	if errors.As(err, &doc) {
		out.Rule = doc.Rule
		if rule, ok := cda.RuleOf(doc.Rule); ok && t != "en" {
			out.Text, out.Fix = rule.FR, rule.Fix
		}
	}
	return out
}

// warned is something tolerated.
func (t tongue) warned(n gateway.Note) finding {
	row, _ := fault.Lookup(n.Code)
	return t.row(row, t.say("avertissement", "warning"), n.Where)
}

func (t tongue) row(r fault.Row, level, where string) finding {
	return finding{Level: level, Code: r.Code, Text: t.say(r.FR, r.EN), Fix: t.say(r.FixFR, r.FixEN), Where: t.lines(where)}
}

var lineForm = regexp.MustCompile(`\bline ([0-9]+)`)

// lines says the line of a place in the language.
func (t tongue) lines(where string) string {
	return lineForm.ReplaceAllString(where, t.say("ligne $1", "line $1"))
}

// action is what is done with a document.
func (t tongue) action(a dmp.Action) string {
	return map[dmp.Action]string{
		dmp.New: t.say("nouveau document", "new document"), dmp.Replace: t.say("remplacement", "replacement"), dmp.Delete: t.say("suppression", "deletion"),
	}[a]
}

// print writes a finding for a person, as that of a CDA is.
func (f finding) print(w io.Writer) {
	fmt.Fprintf(w, "  %-13s %s\n    %s\n    → %s\n", f.Level, strings.TrimSpace(f.Code+" "+f.Rule), f.Text, f.Fix)
	if f.Where != "" {
		fmt.Fprintf(w, "    %s\n", f.Where)
	}
}

// tally says how many errors and warnings there are; empty if none.
func (t tongue) tally(all []finding) string {
	errs, warnings := 0, 0
	for _, f := range all {
		if f.Level == t.say("erreur", "error") {
			errs++
		} else {
			warnings++
		}
	}
	var parts []string
	if errs > 0 {
		parts = append(parts, count(errs, t.say("erreur", "error")))
	}
	if warnings > 0 {
		parts = append(parts, count(warnings, t.say("avertissement", "warning")))
	}
	return strings.Join(parts, ", ")
}

// join joins what is not empty.
func join(sep string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}

// eachFile has every file judged. Those that cannot be opened are told at the
// end: the others are judged all the same.
func eachFile(names []string, judge func(name string, f io.Reader) error) error {
	var unread error
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			unread = errors.Join(unread, errors.New(said(err)))
			continue
		}
		err = judge(name, f)
		_ = f.Close()
		var usage usageError
		switch {
		case errors.As(err, &usage):
			unread = errors.Join(unread, err)
		case err != nil:
			return err
		}
	}
	if unread != nil {
		return usageError{unread}
	}
	return nil
}

// bounded reads a file that may weigh so much and no more.
func bounded(name string, f io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, usageError{err}
	case int64(len(b)) > limit:
		return nil, usageError{fmt.Errorf("%s : plus de %d Mio", name, limit>>20)}
	}
	return b, nil
}
