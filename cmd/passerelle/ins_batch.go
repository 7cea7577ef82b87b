package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

type insBatchCmd struct {
	File   string `arg:"" help:"Fichier CSV dont la première ligne nomme les colonnes : matricule, oid, status, birth_name, first_given, given_names, birth_date, sex, birth_place (au moins une) ; « - » pour l'entrée standard."`
	Out    string `required:"" help:"Fichier CSV du résultat (ligne, verdict, constats) ; « - » pour la sortie standard."`
	OID    string `name:"oid" default:"1.2.250.1.213.1.4.8" help:"Autorité d'affectation des lignes qui n'en donnent pas."`
	Places string `name:"places" help:"Table des communes et des pays, faite par « ins places », qui remplace celle du programme." placeholder:"FICHIER"`
	Env    string `name:"env" enum:"production,test,sandbox," default:"" help:"Ajoute la règle de l'environnement : production, test ou sandbox."`
	JSON   bool   `name:"json" help:"Bilan lisible par une machine."`
}

// insCount is how often a code was found.
type insCount struct {
	insFinding
	Count int `json:"count"`
}

// Run judges a file. Neither the result nor the account holds a trait. Exit 1
// when a line has an error. The result appears when it is whole.
func (c *insBatchCmd) Run(e *env) (err error) {
	in, err := openInput(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	places, err := loadPlaces(c.Places)
	if err != nil {
		return usageError{err}
	}
	start := e.clock()
	type kind struct {
		code     string
		severity ins.Severity
	}
	counts := map[kind]int{}
	account := e.out
	batch := ins.Batch{
		OID: ins.OID(c.OID), Environment: ins.Environment(c.Env), Today: e.clock(), Places: places,
		Progress: func(s ins.Summary) { fmt.Fprintf(e.err, "\rlignes jugées : %d", s.Lines) },
		Found:    func(f ins.Finding) { counts[kind{f.Code, f.Severity}]++ },
	}
	var sum ins.Summary
	if c.Out == "-" {
		account = e.err
		sum, err = batch.Run(e.ctx, e.out, in)
	} else {
		err = whole(c.Out, func(w io.Writer) error {
			sum, err = batch.Run(e.ctx, w, in)
			return err
		})
	}
	fmt.Fprintln(e.err)
	if bad := (*ins.Refusal)(nil); errors.As(err, &bad) {
		fmt.Fprintln(account, explain(err))
		return errWrong
	}
	if err != nil {
		return err
	}
	var all []insCount
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b kind) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.code, b.code), int(b.severity)-int(a.severity))
	}) {
		row, _ := fault.Lookup(k.code)
		all = append(all, insCount{insFinding{k.code, k.severity.String(), row.FR, row.FixFR}, counts[k]})
	}
	if c.JSON {
		if err := json.NewEncoder(account).Encode(struct {
			ins.Summary
			Findings []insCount `json:"findings"`
		}{sum, append([]insCount{}, all...)}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(account, "%s : %d sans remarque, %d avec avertissement, %d en erreur.\n", count(sum.Lines, "identité"), sum.OK, sum.Warnings, sum.Errors)
		if took := e.clock().Sub(start); took > 0 {
			fmt.Fprintf(account, "%.0f identités par seconde.\n", float64(sum.Lines)/took.Seconds())
		}
		for _, n := range all {
			fmt.Fprintf(account, "  %7d × %s (%s) : %s %s\n", n.Count, n.Code, severityFR[n.Severity], n.Text, n.Remedy)
		}
	}
	if sum.Errors > 0 {
		return errWrong
	}
	return nil
}

// openInput opens a file that a person named; "-" is the standard input.
func openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	return f, nil
}

// whole writes a file that has its name only once it is complete.
func whole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	err = write(f)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
