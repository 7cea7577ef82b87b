package main

import (
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

//go:embed init.yaml
var initYAML []byte

// sandboxMark stands in the organisation of every certificate of a sandbox's
// throw-away CA, so that production can refuse them.
const sandboxMark = "Passerelle bac à sable"

func isSandboxCertificate(cert *x509.Certificate) bool {
	for _, o := range append(cert.Subject.Organization, cert.Issuer.Organization...) {
		if strings.HasPrefix(o, sandboxMark) {
			return true
		}
	}
	return false
}

type initCmd struct {
	File string `arg:"" optional:"" default:"gateway.yaml" help:"Fichier à écrire."`
}

// Run writes the commented configuration; it never overwrites one.
func (c *initCmd) Run(e *env) error {
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usageError{fmt.Errorf("%s existe déjà : rien n'a été écrit", c.File)}
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(initYAML); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s écrit. Complétez-le, puis : passerelle check --config %s\n", c.File, c.File)
	return nil
}

type checkCmd struct {
	Config string `required:"" help:"Configuration à vérifier." placeholder:"FICHIER"`
	JSON   bool   `name:"json" help:"Résultat lisible par une machine."`
}

// Run says everything that is wrong at once. Exit 1 when something is.
func (c *checkCmd) Run(e *env) error {
	problems, err := checkFile(c.Config, e)
	if err != nil {
		return err
	}
	if c.JSON {
		if problems == nil {
			problems = []string{}
		}
		if err := json.NewEncoder(e.out).Encode(map[string]any{"file": c.Config, "problems": problems}); err != nil {
			return err
		}
	} else {
		tell(e, c.Config, problems)
	}
	if len(problems) > 0 {
		return errWrong
	}
	return nil
}

func checkFile(path string, e *env) ([]string, error) {
	cfg, err := loadConfig(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usageError{err}
		}
		var lines *misreadError
		if !errors.As(err, &lines) {
			return []string{said(err)}, nil //nolint:nilerr // an unreadable configuration is what is judged
		}
		if cfg.Environment == "" && cfg.Data == "" && len(cfg.Establishments) == 0 {
			return lines.lines, nil
		}
		return append(lines.lines, cfg.problems(e.clock())...), nil
	}
	return cfg.problems(e.clock()), nil
}

func tell(e *env, path string, problems []string) {
	if len(problems) == 0 {
		fmt.Fprintf(e.out, "%s : configuration correcte.\n", path)
		return
	}
	fmt.Fprintf(e.out, "%s : %d point(s) à corriger\n", path, len(problems))
	for _, p := range problems {
		fmt.Fprintln(e.out, "  -", p)
	}
}
