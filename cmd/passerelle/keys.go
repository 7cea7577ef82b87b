package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"Montre les clés qui signent les jetons de la passerelle."`
	Rotate keysRotateCmd `cmd:"" help:"Signe désormais avec une nouvelle clé ; les jetons déjà émis restent valables."`
}

type keysListCmd struct {
	Config string `required:"" help:"Configuration." placeholder:"FICHIER"`
	JSON   bool   `name:"json" help:"Résultat lisible par une machine."`
}

// keysFile is where the keys are kept.
func keysFile(c *Config) string { return filepath.Join(c.Data, "psc-keys.json") }

// openKeys opens the keys of a configuration; it makes none, because those of a
// gateway that never ran belong to nobody yet.
func openKeys(e *env, config string) (*psc.Keys, error) {
	c, err := loadConfig(config)
	if err != nil {
		return nil, usageError{err}
	}
	file := keysFile(&c)
	if _, err := os.Stat(file); err != nil {
		return nil, usageError{fmt.Errorf("aucune clé en %s : elles naissent au premier démarrage de « serve » avec une section psc (%w)", file, err)}
	}
	return psc.OpenKeys(file, e.clock, e.random)
}

// Run lists the keys.
func (c *keysListCmd) Run(e *env) error {
	keys, err := openKeys(e, c.Config)
	if err != nil {
		return err
	}
	return tellKeys(e, keys, c.JSON)
}

func tellKeys(e *env, keys *psc.Keys, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(keys.List())
	}
	for _, k := range keys.List() {
		state := "signe les jetons"
		if !k.Retired.IsZero() {
			state = "publiée jusqu'au " + k.Until.UTC().Format(time.DateTime) + " UTC"
		}
		if _, err := fmt.Fprintf(e.out, "%s  créée le %s UTC, %s\n", k.ID, k.Created.UTC().Format(time.DateTime), state); err != nil {
			return err
		}
	}
	return nil
}

type keysRotateCmd struct {
	Config string `required:"" help:"Configuration." placeholder:"FICHIER"`
	JSON   bool   `name:"json" help:"Résultat lisible par une machine."`
}

// Run rotates the keys; a gateway that runs follows by itself.
func (c *keysRotateCmd) Run(e *env) error {
	keys, err := openKeys(e, c.Config)
	if err != nil {
		return err
	}
	if err := keys.Rotate(); err != nil {
		return err
	}
	return tellKeys(e, keys, c.JSON)
}
