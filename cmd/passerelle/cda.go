package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

type cdaCmd struct {
	Check cdaCheckCmd `cmd:"" help:"Juge des documents CDA : structure nationale, jeux de valeurs, INS."`
	Meta  cdaMetaCmd  `cmd:"" help:"Donne les métadonnées tirées d'un document, en JSON."`
	Build cdaBuildCmd `cmd:"" help:"Fabrique un document de niveau 1 à partir d'une enveloppe JSON et d'un PDF."`
	Show  cdaShowCmd  `cmd:"" help:"Affiche un document : texte, ou page HTML sans script."`
	PDF   cdaPDFCmd   `cmd:"" name:"pdf" help:"Donne la copie PDF d'un document (PDF/A-1b quand elle est fabriquée)."`
}

// readCDA reads one file. A file that cannot be opened is a mistake of the
// caller; one that is no CDA is told as such.
func readCDA(name string) (*cda.Document, []byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usageError{fmt.Errorf("%s : fichier introuvable", name)}
	}
	if err != nil {
		return nil, nil, usageError{err}
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, cda.DefaultMaxBytes+1))
	if err != nil {
		return nil, nil, usageError{err}
	}
	d, err := cda.Read(content)
	return d, content, err
}

// cdaFinding is a finding with what a person needs of it.
type cdaFinding struct {
	*cda.Finding
	Level string `json:"level"` // bloquant, erreur, avertissement
	Text  string `json:"text"`
	Fix   string `json:"fix"`
}

// levels are the severities in French.
var levels = map[cda.Severity]string{cda.Blocking: "bloquant", cda.Error: "erreur", cda.Warning: "avertissement"}

// explained gives a finding the text of its rule, or else that of its code.
func explained(f *cda.Finding) cdaFinding {
	out := cdaFinding{Finding: f, Level: levels[f.Severity]}
	if r, ok := cda.RuleOf(f.Rule); ok {
		out.Text, out.Fix = r.FR, r.Fix
		return out
	}
	row := fault.From(f)
	out.Text, out.Fix = row.FR, row.FixFR
	return out
}

// print writes a finding for a person.
func (f cdaFinding) print(w io.Writer) {
	fmt.Fprintf(w, "  %-13s %s\n", f.Level, strings.TrimSpace(f.Code+" "+f.Rule))
	fmt.Fprintf(w, "    %s\n    → %s\n    %s\n", f.Text, f.Fix, f.where())
}

// where is the place of a finding, for a person.
func (f cdaFinding) where() string {
	switch {
	case f.Line == 0:
		return cmp.Or(f.XPath, "document entier")
	case f.XPath == "":
		return fmt.Sprintf("ligne %d", f.Line)
	}
	return fmt.Sprintf("ligne %d, %s", f.Line, f.XPath)
}

type cdaCheckCmd struct {
	Files []string `arg:"" name:"fichier" help:"Documents à juger ; un dossier vaut pour ses fichiers .xml."`
	JSON  bool     `name:"json" help:"Résultat lisible par une machine."`
	HTML  string   `name:"html" help:"Écrit aussi un rapport HTML." placeholder:"FICHIER"`
	PDFA  bool     `name:"pdfa" help:"Contrôle aussi le PDF encapsulé (PDF/A-1)."`
}

// cdaReport is the result of `cda check`.
type cdaReport struct {
	RuleSet string       `json:"rule_set"`
	Wrong   int          `json:"wrong"` // files that have an error
	Files   []cdaVerdict `json:"files"`
}

// cdaVerdict is what was found in one file.
type cdaVerdict struct {
	File     string       `json:"file"`
	OK       bool         `json:"ok"` // no error
	Model    string       `json:"model,omitempty"`
	Errors   int          `json:"errors"`
	Warnings int          `json:"warnings"`
	Findings []cdaFinding `json:"findings"`
}

// documents replaces each folder by the XML files that stand in it.
func documents(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if s, err := os.Stat(name); err != nil || !s.IsDir() {
			out = append(out, name) // what cannot be opened is told in its turn
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, usageError{err}
		}
		before := len(out)
		for _, f := range entries {
			if !f.IsDir() && strings.EqualFold(filepath.Ext(f.Name()), ".xml") {
				out = append(out, filepath.Join(name, f.Name()))
			}
		}
		if len(out) == before {
			return nil, usageError{fmt.Errorf("%s : ce dossier ne contient aucun fichier .xml", name)}
		}
	}
	return out, nil
}

// Run judges every file. Exit 1 when one has an error, 2 when one could not be
// opened: the others are judged and told all the same.
func (c *cdaCheckCmd) Run(e *env) error {
	var err error
	if c.Files, err = documents(c.Files); err != nil {
		return err
	}
	report := cdaReport{RuleSet: cda.RuleSet, Files: make([]cdaVerdict, len(c.Files))}
	unread := c.judgeAll(e, report.Files)
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	report.Files = slices.DeleteFunc(report.Files, func(v cdaVerdict) bool { return v.File == "" })
	for _, v := range report.Files {
		if !v.OK {
			report.Wrong++
		}
	}
	if c.HTML != "" {
		if err := writeReport(c.HTML, report); err != nil {
			return err
		}
	}
	if c.JSON {
		if err := writeJSON(e.out, report); err != nil {
			return err
		}
	} else {
		report.print(e.out)
	}
	if unread != nil {
		return unread
	}
	if report.Wrong > 0 {
		return errWrong
	}
	return nil
}

// judgeAll judges the files on all cores and keeps their order. The error is of
// the files that could not be opened, whose verdict stays empty.
func (c *cdaCheckCmd) judgeAll(e *env, out []cdaVerdict) error {
	next, done := make(chan int), make(chan error)
	var workers sync.WaitGroup
	for range min(runtime.NumCPU(), len(out)) {
		workers.Go(func() {
			for i := range next {
				var err error
				out[i], err = c.judge(c.Files[i])
				done <- err
			}
		})
	}
	go func() {
		defer close(done)
		defer workers.Wait()
		defer close(next)
		for i := range out {
			select {
			case next <- i:
			case <-e.ctx.Done():
				return
			}
		}
	}()
	progress := terminal(e.err) && len(out) > 1
	var failed error
	n := 0
	for err := range done {
		n++
		failed = errors.Join(failed, err)
		if progress {
			fmt.Fprintf(e.err, "\r%d / %d", n, len(out))
		}
	}
	if progress {
		fmt.Fprint(e.err, "\r\033[K")
	}
	if failed != nil {
		return usageError{failed}
	}
	return nil
}

// terminal tells whether a person watches w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0
}

func (c *cdaCheckCmd) judge(name string) (cdaVerdict, error) {
	v := cdaVerdict{File: name, OK: true, Findings: []cdaFinding{}}
	add := func(f *cda.Finding) {
		v.Findings = append(v.Findings, explained(f))
		if f.Severity >= cda.Error {
			v.OK = false
			v.Errors++
		} else {
			v.Warnings++
		}
	}
	d, content, err := readCDA(name)
	var unreadable *cda.Finding
	switch {
	case errors.As(err, &unreadable):
		add(unreadable)
		return v, nil
	case err != nil:
		return cdaVerdict{}, err
	}
	if m, ok := d.Model(); ok {
		v.Model = strings.TrimSpace(m.Name + " " + m.Version)
	}
	for _, f := range d.Verdict().Findings {
		add(f)
	}
	_, notes := d.Metadata(content)
	for _, f := range notes {
		add(f)
	}
	if c.PDFA {
		if pdf, kind, err := d.PDFCopy(); err == nil && kind != cda.CopyRendered {
			for _, f := range cda.CheckPDFA(pdf) {
				add(f)
			}
		}
	}
	return v, nil
}

func (r cdaReport) print(w io.Writer) {
	for _, v := range r.Files {
		fmt.Fprintf(w, "%s : %s\n", v.File, v.summary())
		for _, f := range v.Findings {
			f.print(w)
		}
	}
	fmt.Fprintf(w, "%s, %d en erreur. Jeu de règles : %s\n", count(len(r.Files), "document"), r.Wrong, r.RuleSet)
}

func (v cdaVerdict) summary() string {
	s := "conforme"
	switch {
	case v.Errors > 0 && v.Warnings > 0:
		s = count(v.Errors, "erreur") + ", " + count(v.Warnings, "avertissement")
	case v.Errors > 0:
		s = count(v.Errors, "erreur")
	case v.Warnings > 0:
		s = "conforme, " + count(v.Warnings, "avertissement")
	}
	if v.Model != "" {
		s += " (" + v.Model + ")"
	}
	return s
}

func count(n int, word string) string {
	if n > 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// refused tells on the error output why a document is not acceptable, and gives
// the exit code of a thing judged wrong. Errors that are none of a document
// pass through.
func refused(e *env, name string, err error) error {
	var usage usageError
	if errors.As(err, &usage) {
		return err
	}
	var all *cda.Refused
	var one *cda.Finding
	switch {
	case errors.As(err, &all):
		fmt.Fprintf(e.err, "%s : %s\n", name, count(len(all.Findings), "erreur"))
		for _, f := range all.Findings {
			explained(f).print(e.err)
		}
		fmt.Fprintln(e.err, "Jeu de règles :", all.RuleSet)
	case errors.As(err, &one):
		fmt.Fprintf(e.err, "%s :\n", name)
		explained(one).print(e.err)
	default:
		f := fault.From(err)
		if f.Code == fault.Internal {
			return err
		}
		fmt.Fprintf(e.err, "%s : %s\n  %s\n  → %s\n", name, f.Code, f.FR, f.FixFR)
		if f.Where != "" {
			fmt.Fprintf(e.err, "  champ : %s\n", f.Where)
		}
	}
	return errWrong
}

type cdaMetaCmd struct {
	File string `arg:"" name:"fichier" help:"Document."`
}

// Run writes the metadata, what could not be derived, and the name of the copy.
func (c *cdaMetaCmd) Run(e *env) error {
	d, content, err := readCDA(c.File)
	if err != nil {
		return refused(e, c.File, err)
	}
	m, notes := d.Metadata(content)
	out := struct {
		Metadata dmp.Metadata `json:"metadata"`
		Model    *cda.Model   `json:"model,omitempty"`
		PDFName  string       `json:"pdf_name"`
		Notes    []cdaFinding `json:"notes"`
	}{Metadata: m, PDFName: cda.PDFName(m, ""), Notes: []cdaFinding{}}
	if model, ok := d.Model(); ok {
		out.Model = &model
	}
	for _, n := range notes {
		out.Notes = append(out.Notes, explained(n))
	}
	return writeJSON(e.out, out)
}

type cdaBuildCmd struct {
	Envelope string `required:"" help:"Enveloppe JSON : patient, auteur, structure, acte, type…" placeholder:"FICHIER"`
	PDF      string `name:"pdf" required:"" help:"PDF à encapsuler." placeholder:"FICHIER"`
	Out      string `required:"" help:"Document à écrire." placeholder:"FICHIER"`
	Replaces string `help:"Version précédente : le document fabriqué la remplace." placeholder:"FICHIER"`
}

// Run builds one document. Exit 1 when it would not be acceptable: then nothing
// is written.
func (c *cdaBuildCmd) Run(e *env) error {
	envelope, err := os.Open(c.Envelope)
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = envelope.Close() }()
	var in cda.BuildInput
	dec := json.NewDecoder(envelope)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return usageError{fmt.Errorf("%s : enveloppe illisible : %w", c.Envelope, err)}
	}
	if in.PDF, err = os.ReadFile(c.PDF); err != nil {
		return usageError{err}
	}
	if c.Replaces != "" {
		d, content, err := readCDA(c.Replaces)
		if err != nil {
			return refused(e, c.Replaces, err)
		}
		previous, _ := d.Metadata(content)
		in = in.Replacing(previous)
	}
	out, err := cda.Build(in)
	if err != nil {
		return refused(e, c.Out, err)
	}
	if err := os.WriteFile(c.Out, out, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s écrit (%d octets). Jeu de règles : %s\n", c.Out, len(out), cda.RuleSet)
	return nil
}

type cdaShowCmd struct {
	File string `arg:"" name:"fichier" help:"Document."`
	HTML bool   `name:"html" help:"Page HTML au lieu du texte."`
	Out  string `help:"Écrit dans ce fichier ; la copie PDF est écrite à côté d'une page HTML." placeholder:"FICHIER"`
}

// Run shows one document.
func (c *cdaShowCmd) Run(e *env) error {
	d, _, err := readCDA(c.File)
	if err != nil {
		return refused(e, c.File, err)
	}
	if !c.HTML {
		return c.write(e, []byte(d.Text()))
	}
	var o cda.PageOptions
	if c.Out != "" {
		if pdf, kind, err := d.PDFCopy(); err == nil && kind != cda.CopyRendered {
			name := strings.TrimSuffix(c.Out, filepath.Ext(c.Out)) + ".pdf"
			if err := os.WriteFile(name, pdf, 0o600); err != nil {
				return err
			}
			o.PDF = "./" + filepath.Base(name)
		}
	}
	return c.write(e, d.Page(o))
}

func (c *cdaShowCmd) write(e *env, b []byte) error {
	if c.Out == "" {
		_, err := e.out.Write(b)
		return err
	}
	if err := os.WriteFile(c.Out, b, 0o600); err != nil {
		return err
	}
	fmt.Fprintln(e.out, c.Out, "écrit.")
	return nil
}

type cdaPDFCmd struct {
	File   string `arg:"" name:"fichier" help:"Document."`
	Out    string `required:"" help:"PDF à écrire ; dans un dossier, il prend le nom voulu par MSSanté." placeholder:"FICHIER"`
	Number string `help:"Numéro de dossier, pour ce nom." placeholder:"NUMÉRO"`
}

// Run writes the PDF copy and says where it comes from and what keeps it from
// PDF/A.
func (c *cdaPDFCmd) Run(e *env) error {
	d, content, err := readCDA(c.File)
	if err != nil {
		return refused(e, c.File, err)
	}
	pdf, kind, err := d.PDFCopy()
	if err != nil {
		return refused(e, c.File, err)
	}
	out := c.Out
	if s, err := os.Stat(out); err == nil && s.IsDir() {
		m, _ := d.Metadata(content)
		out = filepath.Join(out, cda.PDFName(m, c.Number))
		if _, err := os.Stat(out); err == nil { // two documents of one day may bear one name
			return usageError{fmt.Errorf("%s existe déjà : donnez un autre dossier, un numéro (--number) ou un nom de fichier", out)}
		}
	}
	if err := os.WriteFile(out, pdf, 0o600); err != nil {
		return err
	}
	origin := map[cda.Copy]string{
		cda.CopyEmbedded: "PDF encapsulé dans le document, octet pour octet",
		cda.CopyAttached: "copie jointe au document, octet pour octet",
		cda.CopyRendered: "fabriquée à partir de l'en-tête et des sections",
	}[kind]
	fmt.Fprintf(e.out, "%s écrit (%d octets) : %s.\n", out, len(pdf), origin)
	for _, f := range cda.CheckPDFA(pdf) {
		explained(f).print(e.out)
	}
	return nil
}
