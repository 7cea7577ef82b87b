package main

import (
	"encoding/json"
	"fmt"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

type insCmd struct {
	Check      insCheckCmd      `cmd:"" help:"Juge la forme et la clé d'un matricule INS."`
	Query      insQueryCmd      `cmd:"" help:"Interroge l'INSi : recherche par traits, ou vérification d'un INS."`
	Batch      insBatchCmd      `cmd:"" help:"Juge un fichier CSV d'identités, une par ligne, et écrit le verdict de chacune."`
	Places     insPlacesCmd     `cmd:"" help:"Décrit la table des communes et des pays, ou en fabrique une autre."`
	Scan       insScanCmd       `cmd:"" help:"Lit un datamatrix INS : texte d'une douchette ou image."`
	Datamatrix insDatamatrixCmd `cmd:"" help:"Dessine le datamatrix INS d'une identité qualifiée (PNG, SVG) ou en donne le texte."`
}

type insCheckCmd struct {
	Matricule string `arg:"" help:"Matricule de 15 caractères ; les espaces d'affichage sont admis."`
	OID       string `name:"oid" default:"1.2.250.1.213.1.4.8" help:"Autorité d'affectation (OID)."`
	Env       string `name:"env" enum:"production,test,sandbox," default:"" help:"Ajoute la règle de l'environnement : production, test ou sandbox."`
	JSON      bool   `name:"json" help:"Résultat lisible par une machine."`
}

// insFinding is one finding as people and machines read it.
type insFinding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Remedy   string `json:"remedy"`
}

var severityFR = map[string]string{"error": "erreur", "warning": "avertissement"}

// Run says what is wrong. Exit 0 when the matricule is valid, 1 when it is not;
// a warning alone is valid.
func (c *insCheckCmd) Run(e *env) error {
	oid := ins.OID(c.OID)
	var findings []insFinding
	valid := true
	add := func(code, severity string) {
		row, _ := fault.Lookup(code)
		findings = append(findings, insFinding{code, severity, row.FR, row.FixFR})
		valid = valid && severity != ins.Error.String()
	}
	matricule, err := ins.ParseMatricule(c.Matricule)
	if err != nil {
		matricule = c.Matricule // an OID that assigns no INS says more than the form
	}
	for _, f := range ins.Inspect(matricule, oid) {
		add(f.Code, f.Severity.String())
	}
	if c.Env != "" {
		if err := ins.Environment(c.Env).Check(oid); err != nil {
			add(fault.From(err).Code, ins.Error.String())
		}
	}
	if c.JSON {
		if findings == nil {
			findings = []insFinding{}
		}
		if err := json.NewEncoder(e.out).Encode(map[string]any{"valid": valid, "oid": c.OID, "findings": findings}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(e.out, map[bool]string{true: "Matricule valide.", false: "Matricule non valide."}[valid])
		for _, f := range findings {
			fmt.Fprintf(e.out, "  - %s (%s) : %s %s\n", f.Code, severityFR[f.Severity], f.Text, f.Remedy)
		}
	}
	if !valid {
		return errWrong
	}
	return nil
}
