package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/passerelle-sante/passerelle/ins"
)

type insPlacesCmd struct {
	File      string `arg:"" optional:"" help:"Table à décrire ; sans elle, celle du programme."`
	Communes  string `help:"Paquet npm @etalab/decoupage-administratif, tel que « npm pack » le donne." placeholder:"TGZ"`
	Countries string `help:"Nomenclature TRE_R20-Pays de l'ANS, en colonnes séparées par des tabulations (code, display, date_fin) ; sa première ligne nomme la source : « # source: … »." placeholder:"TSV"`
	Out       string `help:"Table à écrire, pour « ins batch --places » et le réglage places." placeholder:"FICHIER"`
}

// Run names the source, the date and the licence of a table; before that, it
// makes one if asked.
func (c *insPlacesCmd) Run(e *env) error {
	if (c.Out == "") != (c.Communes == "") || (c.Out == "") != (c.Countries == "") || c.Out != "" && c.File != "" {
		return usageError{errors.New("--communes, --countries et --out vont ensemble, sans FICHIER")}
	}
	if c.Out != "" {
		communes, err := openInput(c.Communes)
		if err != nil {
			return err
		}
		defer func() { _ = communes.Close() }()
		countries, err := openInput(c.Countries)
		if err != nil {
			return err
		}
		defer func() { _ = countries.Close() }()
		if err := whole(c.Out, func(w io.Writer) error { return ins.BuildCOG(w, communes, countries) }); err != nil {
			return usageError{fmt.Errorf("--communes ou --countries n'est pas le fichier attendu, voir « passerelle ins places --help » (%w)", err)}
		}
		c.File = c.Out
	}
	places, err := loadPlaces(c.File)
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintf(e.out, "%d codes de communes et de pays. La table conseille, elle ne refuse jamais.\n", places.Len())
	for _, line := range places.Source() {
		fmt.Fprintln(e.out, "  "+line)
	}
	return nil
}

// loadPlaces reads a table of places; that of the program when no file is named.
func loadPlaces(name string) (*ins.COG, error) {
	if name == "" {
		return ins.EmbeddedCOG()
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	places, err := ins.LoadCOG(f)
	if err != nil {
		return nil, fmt.Errorf("%s : table des communes et des pays illisible ; fabriquez-la par « passerelle ins places --communes … --countries … --out … » (%w)", name, err)
	}
	return places, nil
}
