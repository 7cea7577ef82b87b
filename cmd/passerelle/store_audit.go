package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/passerelle-sante/passerelle/dmp/store"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

type storeAuditCmd struct {
	Config string `xor:"where" required:"" help:"Configuration du dépôt." placeholder:"FICHIER"`
	Data   string `xor:"where" required:"" help:"Ou dossier de ses données ; celui du bac à sable est exterieur/dmp." placeholder:"DOSSIER"`
	judging
}

// auditReport is the result of `store audit verify`.
type auditReport struct {
	Folder   string    `json:"folder"`
	OK       bool      `json:"ok"`
	Rows     int       `json:"rows"` // read before the first that is wrong
	Findings []finding `json:"findings"`
}

// Run verifies the audit of a store. Exit 1 when its chain is broken.
func (c *storeAuditCmd) Run(e *env) (err error) {
	report := auditReport{Folder: c.Data, Findings: []finding{}}
	if c.Config != "" {
		cfg, err := loadStoreConfig(c.Config)
		if err != nil {
			return usageError{err}
		}
		report.Folder = cfg.Data
	}
	// Opening would make a store where there is none, and find it in order.
	if _, err := os.Stat(filepath.Join(report.Folder, "store.db")); err != nil {
		return usageError{err}
	}
	s, err := store.Open(e.ctx, store.Config{Dir: report.Folder, BaseURL: "https://localhost", Clock: e.clock, Rand: e.random, Logger: e.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	report.Rows, err = s.VerifyAudit(e.ctx)
	report.OK = err == nil
	wrong := 0
	total := fmt.Sprintf(c.Lang.say("%s : journal d'audit intact, %s.", "%s: audit trail whole, %s."), report.Folder, count(report.Rows, c.Lang.say("ligne", "row")))
	if err != nil {
		if fault.From(err).Code != store.FaultAudit {
			return err
		}
		wrong++
		report.Findings = append(report.Findings, c.Lang.wrong(err))
		if !c.JSON {
			report.Findings[0].print(e.out)
		}
		total = fmt.Sprintf(c.Lang.say("%s : journal d'audit rompu.", "%s: audit trail broken."), report.Folder)
	}
	return c.end(e, nil, wrong, report, total)
}
