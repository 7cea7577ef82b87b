package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/datamatrix"
)

type insScanCmd struct {
	Text  string `arg:"" optional:"" help:"Texte donné par la douchette ; sans lui, l'entrée standard est lue."`
	Image string `help:"Image à lire (PNG, JPEG, GIF) ; « - » pour l'entrée standard." placeholder:"FICHIER"`
	JSON  bool   `name:"json" help:"Résultat lisible par une machine."`
}

// maxScanText is more than any datamatrix holds; Parse judges the rest.
const maxScanText = 4096

// Run reads a datamatrix. Exit 1 when it is none.
func (c *insScanCmd) Run(e *env) error {
	scan, err := c.read()
	var bad *datamatrix.Refusal
	if errors.As(err, &bad) {
		fmt.Fprintln(e.out, explain(err))
		return errWrong
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(e.out).Encode(map[string]any{"ins": scan.INS, "traits": scan.Traits, "status": scan.Identity().Status, "repaired": scan.Repaired})
	}
	t := scan.Traits
	fmt.Fprintf(e.out, "Nom de naissance     : %s\nPrénoms de naissance : %s\nSexe                 : %s\nDate de naissance    : %s\nLieu (code INSEE)    : %s\nMatricule            : %s\nOID                  : %s\n",
		t.BirthName, t.GivenNames, t.Sex, t.BirthDate, t.BirthPlace, ins.Display(scan.INS.Matricule), scan.INS.OID)
	if scan.Repaired {
		fmt.Fprintln(e.out, "Un séparateur manquait ou était écrit en toutes lettres : réglez la douchette pour qu'elle transmette le caractère GS.")
	}
	fmt.Fprintln(e.out, "Le datamatrix INS n'est pas signé : il ne qualifie jamais une identité. Interrogez INSi, et contrôlez une pièce d'identité.")
	return nil
}

func (c *insScanCmd) read() (datamatrix.Scan, error) {
	if c.Image != "" {
		f, err := openInput(c.Image)
		if err != nil {
			return datamatrix.Scan{}, err
		}
		defer func() { _ = f.Close() }()
		return datamatrix.Read(f)
	}
	text := c.Text
	if text == "" {
		in, _ := openInput("-")
		data, err := io.ReadAll(io.LimitReader(in, maxScanText))
		if err != nil {
			return datamatrix.Scan{}, err
		}
		text = strings.TrimRight(string(data), "\r\n")
	}
	return datamatrix.Parse(text)
}

type insDatamatrixCmd struct {
	File   string  `arg:"" help:"Identité en JSON (matricule, oid, status, traits), comme pour /v1/identities/check ; « - » pour l'entrée standard."`
	PNG    string  `name:"png" help:"Écrit une image PNG." placeholder:"FICHIER"`
	SVG    string  `name:"svg" help:"Écrit une image SVG." placeholder:"FICHIER"`
	Module int     `default:"4" help:"Points d'un module du PNG, de 1 à 40."`
	Size   float64 `default:"0.5" help:"Millimètres d'un module du SVG, de 0,1 à 10."`
}

// Run draws a symbol, or gives its text when no image is asked. Exit 1 when the
// identity may have none.
func (c *insDatamatrixCmd) Run(e *env) error {
	if c.Module < 1 || c.Module > 40 || c.Size < 0.1 || c.Size > 10 {
		return usageError{errors.New("--module va de 1 à 40, --size de 0,1 à 10")}
	}
	in, err := openInput(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	var id ins.Identity
	d := json.NewDecoder(io.LimitReader(in, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&id); err != nil {
		return usageError{errors.New("l'identité n'est pas lisible : un objet JSON matricule, oid, status, traits est attendu")}
	}
	symbol, err := datamatrix.New(id)
	if err != nil {
		fmt.Fprintln(e.out, explain(err))
		return errWrong
	}
	if c.PNG == "" && c.SVG == "" {
		text, err := datamatrix.Text(id)
		if err != nil {
			return err
		}
		fmt.Fprintln(e.out, text)
		return nil
	}
	for _, image := range []struct {
		name string
		draw func(io.Writer) error
	}{
		{c.PNG, func(w io.Writer) error { return symbol.PNG(w, c.Module) }},
		{c.SVG, func(w io.Writer) error { return symbol.SVG(w, c.Size) }},
	} {
		if image.name == "" {
			continue
		}
		var b bytes.Buffer
		if err := image.draw(&b); err != nil {
			return err
		}
		if err := whole(image.name, func(w io.Writer) error { _, err := b.WriteTo(w); return err }); err != nil {
			return err
		}
	}
	return nil
}
