package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle-sante/passerelle/dmp/store"
	"github.com/passerelle-sante/passerelle/ins"
)

// StoreConfig is store.yaml: the DMP-style store alone. It is a resource
// server: an issuer that it trusts must exist.
type StoreConfig struct {
	Environment string              `yaml:"environment"`
	Data        string              `yaml:"data"`
	Listen      string              `yaml:"listen"`
	BaseURL     string              `yaml:"base_url"` // as callers see it, with its path
	Certificate string              `yaml:"certificate"`
	Key         string              `yaml:"key"`
	ClientCA    string              `yaml:"client_ca"`
	CA          string              `yaml:"ca"` // to reach the issuers
	Issuers     []StoreIssuerConfig `yaml:"issuers"`
	Patients    []StorePatient      `yaml:"patients"` // DMPs to open at start
	ReserveMiB  int64               `yaml:"reserve_mib"`
}

// StoreIssuerConfig is one authorization server whose tokens are accepted.
type StoreIssuerConfig struct {
	Issuer   string `yaml:"issuer"`
	JWKS     string `yaml:"jwks"`
	Audience string `yaml:"audience"`
}

// StorePatient opens one DMP.
type StorePatient struct {
	Matricule  string   `yaml:"matricule"`
	OID        string   `yaml:"oid"`
	State      string   `yaml:"state"`      // open or closed
	Authorised []string `yaml:"authorised"` // national ids of professionals
	Attending  string   `yaml:"attending"`  // of the médecin traitant, one of them
	BirthName  string   `yaml:"birth_name"`
	FirstGiven string   `yaml:"first_given"`
	GivenNames string   `yaml:"given_names"`
	Sex        string   `yaml:"sex"`
	BirthDate  string   `yaml:"birth_date"`
	BirthPlace string   `yaml:"birth_place"`
}

type storeCmds struct {
	Serve storeCmd       `cmd:"" default:"withargs" help:"Démarre seul le dépôt (« store --config FICHIER » suffit)."`
	Audit storeAuditCmds `cmd:"" help:"Journal d'audit du dépôt."`
}

type storeAuditCmds struct {
	Verify storeAuditCmd `cmd:"" help:"Recalcule la chaîne du journal d'audit, dépôt arrêté. Ce qui serait retiré à la fin d'une chaîne ne se voit qu'au nombre de lignes."`
}

type storeCmd struct {
	Config string `required:"" help:"Configuration du dépôt." placeholder:"FICHIER"`
}

// Run serves the store until it is told to stop.
func (c *storeCmd) Run(e *env) error {
	cfg, err := loadStoreConfig(c.Config)
	if err != nil {
		return usageError{err}
	}
	if problems := cfg.problems(e.clock()); len(problems) > 0 {
		tell(e, c.Config, problems)
		return errWrong
	}
	s := &StoreMain{Config: cfg, env: e}
	if err := s.start(e.ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "Dépôt de type DMP démarré (environnement %s) : %s\n", cfg.Environment, cfg.BaseURL)
	<-e.ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return s.close(stop)
}

func loadStoreConfig(path string) (StoreConfig, error) {
	c := StoreConfig{ReserveMiB: 256}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("%s : %w", path, err)
	}
	for _, p := range []*string{&c.Data, &c.Certificate, &c.Key, &c.ClientCA, &c.CA} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return c, nil
}

func (c *StoreConfig) problems(now time.Time) []string {
	p := &problemList{}
	p.oneOf("environment", c.Environment, envProduction, envTest, envSandbox)
	p.require("data", c.Data)
	p.address("listen", c.Listen)
	if u, err := url.Parse(c.BaseURL); err != nil || u.Scheme != "https" || u.Host == "" {
		p.add("base_url", "adresse https:// attendue")
	}
	p.pair(c.Environment, "", c.Certificate, c.Key, serverRole, now)
	p.authority(c.Environment, "client_ca", c.ClientCA)
	p.authority(c.Environment, "ca", c.CA)
	if len(c.Issuers) == 0 {
		p.add("issuers", "au moins un émetteur de jetons est nécessaire")
	}
	for i, s := range c.Issuers {
		at := fmt.Sprintf("issuers[%d]", i)
		p.require(at+".issuer", s.Issuer)
		p.require(at+".audience", s.Audience)
		if u, err := url.Parse(s.JWKS); err != nil || u.Scheme != "https" {
			p.add(at+".jwks", "adresse https:// attendue")
		}
	}
	for i, patient := range c.Patients {
		at := fmt.Sprintf("patients[%d]", i)
		p.oneOf(at+".state", patient.State, "open", "closed")
		if err := ins.CheckMatricule(patient.Matricule, ins.OID(patient.OID)); err != nil {
			p.add(at, "matricule ou OID incorrect")
		} else if patient.Attending != "" && !slices.Contains(patient.Authorised, patient.Attending) {
			p.add(at+".attending", "le médecin traitant doit figurer dans authorised")
		} else if err := ins.Environment(c.Environment).Check(ins.OID(patient.OID)); err != nil {
			p.add(at+".oid", "identité de test refusée en production")
		}
	}
	return p.list
}

// StoreMain is the store as the command runs it.
type StoreMain struct {
	Config StoreConfig
	env    *env
	store  *store.Store
	server *http.Server
	done   chan error
}

func (s *StoreMain) start(ctx context.Context) error {
	c := s.Config
	roots, err := pool(c.CA)
	if err != nil {
		return err
	}
	conf, err := serverTLS(c.Certificate, c.Key, c.ClientCA)
	if err != nil {
		return err
	}
	var issuers []store.Issuer
	for _, i := range c.Issuers {
		issuers = append(issuers, store.Issuer{Issuer: i.Issuer, JWKSURL: i.JWKS, Audience: i.Audience})
	}
	s.store, err = store.Open(ctx, store.Config{
		Dir: c.Data, BaseURL: c.BaseURL, Issuers: issuers, Clock: s.env.clock, Rand: s.env.random, Logger: s.env.log, Reserve: c.ReserveMiB << 20,
		HTTPClient: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}},
	})
	if err != nil {
		return err
	}
	if err := s.store.Seed(ctx, c.seeds()); err != nil {
		return errors.Join(err, s.store.Close())
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	s.server = &http.Server{
		Handler: s.store, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, WriteTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.env.log.Handler(), slog.LevelDebug),
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.server.Serve(tls.NewListener(l, conf)) }()
	return nil
}

func (s *StoreMain) close(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, s.store.Close())
}

func (c *StoreConfig) seeds() []store.Patient {
	var all []store.Patient
	for _, p := range c.Patients {
		seed := store.Patient{State: p.State, Identity: ins.Identity{
			Matricule: p.Matricule, OID: ins.OID(p.OID), Status: ins.Qualified,
			Traits: ins.Traits{
				BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames,
				Sex: p.Sex, BirthDate: p.BirthDate, BirthPlace: p.BirthPlace,
			},
		}}
		for _, id := range p.Authorised {
			seed.Authorisations = append(seed.Authorisations, store.Authorisation{NationalID: id, Status: store.Valid, Attending: id == p.Attending})
		}
		all = append(all, seed)
	}
	return all
}
