package main

import (
	"context"
	"fmt"
	"os"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/ins"
)

// readKeys reads the key file of the identities. It must be nobody else's: who
// reads it reads every identity in a copy of the journal.
func readKeys(file string) (journal.Keys, error) {
	info, err := os.Stat(file)
	if err != nil {
		return journal.Keys{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return journal.Keys{}, fmt.Errorf("%s : lisible par d'autres utilisateurs : chmod 600", file)
	}
	const most = 64 << 10
	if info.Size() > most {
		return journal.Keys{}, fmt.Errorf("%s : trop long pour un fichier de clés", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return journal.Keys{}, err
	}
	keys, err := journal.ParseKeys(data)
	if err != nil {
		f := fault.From(err)
		return keys, fmt.Errorf("%s (%w) : %s %s", file, err, f.FR, f.FixFR)
	}
	return keys, nil
}

// trustsADT tells whether the ADT of an establishment teach identities.
func (c *Config) trustsADT(e EstablishmentConfig) bool {
	if e.TrustADT != nil {
		return *e.TrustADT
	}
	return c.Environment == envSandbox
}

func (c *Config) registerProblems(p *problemList) {
	if c.Storage.KeyFile != "" {
		if _, err := readKeys(c.Storage.KeyFile); err != nil {
			p.add("storage.key_file", said(err))
		}
		return
	}
	for i, e := range c.Establishments {
		if e.TrustADT != nil && *e.TrustADT {
			p.add(fmt.Sprintf("establishments[%d].trust_adt", i), "aucune identité n'est tenue sans fichier de clés : indiquez storage.key_file")
		}
	}
}

// openRegister gives the gateway its identities, when a key file seals them.
func (m *Main) openRegister(ctx context.Context, g *gateway.Gateway) error {
	c := m.Config
	if c.Storage.KeyFile == "" {
		sealed, err := m.journal.Sealed(ctx)
		if sealed {
			m.Log.Warn("the journal holds sealed identities and no key file is configured: they are not used", "setting", "storage.key_file")
		}
		return err
	}
	keys, err := readKeys(c.Storage.KeyFile)
	if err != nil {
		return err
	}
	register, err := m.journal.Register(ctx, keys, m.Random)
	if err != nil {
		return err
	}
	trusted, software := map[string]bool{}, map[string]gateway.Party{}
	for _, e := range c.Establishments {
		trusted[e.FINESSGeo] = c.trustsADT(e)
		if e.Hospital != "" {
			software[e.FINESSGeo] = gateway.Party{Application: e.Application.Application, Facility: e.Application.Facility}
		}
	}
	g.Register = register
	g.Identity = gateway.IdentitySettings{
		Rules:    ins.Rules{Assertions: true}, // which assertions come is TrustADT's
		TrustADT: func(e gateway.Establishment) bool { return trusted[e.FINESSGeo] },
		Software: func(e gateway.Establishment) (gateway.Party, bool) {
			to, ok := software[e.FINESSGeo]
			return to, ok
		},
	}
	return nil
}
