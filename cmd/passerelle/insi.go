package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

// INSiConfig is the INSi teleservice of CNAM, asked by the certificate of the
// organisation. Its common name says who may ask: INSI-AUTO people and machines,
// INSI-MANU people only.
type INSiConfig struct {
	URL         string             `yaml:"url"`
	Certificate string             `yaml:"certificate"`
	Key         string             `yaml:"key"`
	CA          string             `yaml:"ca"`      // empty: the authorities of the machine
	Emitter     string             `yaml:"emitter"` // Emetteur, where the certificate has no OU
	Software    INSiSoftwareConfig `yaml:"software"`
	Timeout     time.Duration      `yaml:"timeout"`  // of one call
	Attempts    int                `yaml:"attempts"` // calls of one search at most
	// Verification is the unit verification of an INS (WS_INS3), which no published
	// file describes in full: off (default), or guessed.
	Verification string `yaml:"verification"`
}

// INSiSoftwareConfig is what CNDA knows of the software.
type INSiSoftwareConfig struct {
	Authorisation string `yaml:"authorisation"` // number of the CNDA authorisation (IDAM)
	Name          string `yaml:"name"`
	Version       string `yaml:"version"`
	Instance      string `yaml:"instance"` // UUID of the installation; empty: one is drawn and kept
}

const (
	verificationOff     = "off"
	verificationGuessed = "guessed"
	// insiSearch bounds all calls of one search: the caller waits for the answer,
	// and the HTTP door gives two minutes.
	insiSearch = 45 * time.Second
)

func (c *INSiConfig) defaults() {
	or(&c.Software.Name, "Passerelle")
	or(&c.Software.Version, "1.0")
	or(&c.Timeout, 10*time.Second)
	or(&c.Attempts, 8)
	or(&c.Verification, verificationOff)
}

func (c *INSiConfig) paths() []*string { return []*string{&c.Certificate, &c.Key, &c.CA} }

func (c *Config) insiProblems(p *problemList, now time.Time) {
	i := c.INSi
	if i == nil {
		return
	}
	p.outside(c.Environment, "insi.url", i.URL)
	p.pair(c.Environment, "insi", i.Certificate, i.Key, clientRole, now)
	if leaf, err := readCertificate(i.Certificate); err == nil {
		if _, err := insi.NewOrganisation(leaf, i.Emitter); err != nil {
			f := fault.From(err)
			p.add("insi."+f.Where, f.FR+" "+f.FixFR)
		}
	}
	if i.CA != "" {
		p.authority(c.Environment, "insi.ca", i.CA)
	}
	if i.Software.Authorisation == "" {
		p.add("insi.software.authorisation", "numéro d'autorisation CNDA du logiciel nécessaire")
	}
	if i.Software.Instance != "" && uuid.Validate(i.Software.Instance) != nil {
		p.add("insi.software.instance", "UUID attendu ; vide, il est tiré et conservé")
	}
	if i.Timeout < time.Second || i.Timeout > insiSearch {
		p.add("insi.timeout", "durée attendue : entre 1s et "+insiSearch.String())
	}
	if i.Attempts < 1 || i.Attempts > 50 {
		p.add("insi.attempts", "entre 1 et 50")
	}
	p.oneOf("insi.verification", i.Verification, verificationOff, verificationGuessed)
	if c.Storage.KeyFile == "" {
		p.add("insi", "les appels doivent être tracés (EXI REC 07) : indiquez le fichier de clés qui chiffre leurs traces (storage.key_file)")
	}
}

// openINSi lets the gateway ask INSi; each exchange is kept in the register.
func (m *Main) openINSi(g *gateway.Gateway) error {
	if m.Config.INSi == nil {
		return nil
	}
	if g.Register == nil {
		return fault.New(gateway.FaultNoRegister)
	}
	client, err := m.insiClient(tracer{g.Register.KeepINSi, m.sites()})
	if err != nil {
		return err
	}
	g.INSi = teleservice{client}
	return nil
}

// insiClient makes the client of a configuration. It calls nobody.
func (m *Main) insiClient(trace insi.Tracer) (*insi.Client, error) {
	c := m.Config.INSi
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	who, err := insi.NewOrganisation(leaf, c.Emitter)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if c.CA != "" {
		if roots, err = pool(c.CA); err != nil {
			return nil, err
		}
	}
	instance := c.Software.Instance
	if instance == "" {
		// Drawn once: INSi recognises an installation by it.
		drawn, err := secretFile(filepath.Join(m.Config.Data, "insi-instance"), m.Random)
		if err != nil {
			return nil, err
		}
		id, err := uuid.NewRandomFromReader(bytes.NewReader(drawn))
		if err != nil {
			return nil, err
		}
		instance = id.String()
	}
	conf := insi.Config{
		URL: c.URL, HTTP: insi.NewHTTPClient(cert, roots), Auth: who, Environment: ins.Environment(m.Config.Environment), Tracer: trace,
		Software: insi.Software{Authorisation: c.Software.Authorisation, Name: c.Software.Name, Version: c.Software.Version, Instance: instance},
		Clock:    m.Clock, Rand: m.Random, Logger: m.Log, Timeout: c.Timeout, Attempts: c.Attempts,
	}
	if c.Verification == verificationGuessed {
		conf.Verification = insi.GuessedVerification()
	}
	m.closers = append(m.closers, func(context.Context) error { conf.HTTP.CloseIdleConnections(); return nil })
	return insi.New(conf)
}

// teleservice is INSi as the gateway needs it.
type teleservice struct{ *insi.Client }

func actorOf(q gateway.INSiQuery) insi.Actor {
	return insi.Actor{Actor: q.Asker.Actor, FINESSGeo: q.Establishment.FINESSGeo, Name: q.Asker.Name, Specialty: q.Asker.Specialty}
}

// Search implements [gateway.INSi].
func (t teleservice) Search(ctx context.Context, q gateway.INSiQuery) (gateway.INSiAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, insiSearch)
	defer cancel()
	out, err := t.Client.Search(ctx, actorOf(q), insi.Query{Subject: q.Subject, Identity: q.Identity})
	a := gateway.INSiAnswer{Calls: len(out.Calls)}
	if err != nil {
		return a, err
	}
	a.Refusal = out.Err()
	found := false
	if a.Trace, found = out.Trace(); !found {
		a.Trace = ins.Trace{Channel: ins.ChannelINSi, MessageID: out.MessageID, Result: string(out.Result), At: out.At}
	}
	for _, f := range out.Former {
		a.Former = append(a.Former, f.Pair)
	}
	return a, nil
}

// Verify implements [gateway.INSi].
func (t teleservice) Verify(ctx context.Context, q gateway.INSiQuery) (gateway.INSiAnswer, error) {
	v, err := t.Client.Verify(ctx, actorOf(q), insi.Query{Subject: q.Subject, Identity: q.Identity})
	if err != nil {
		return gateway.INSiAnswer{}, err
	}
	return gateway.INSiAnswer{Calls: 1, Refusal: v.Err(), Trace: ins.Trace{Channel: ins.ChannelINSi, MessageID: v.MessageID, Result: v.Code, At: v.At}}, nil
}

// tracer keeps the exchanges in the identity store, under their establishment.
type tracer struct {
	keep  func(context.Context, gateway.INSiExchange) error
	sites []gateway.Establishment
}

// Keep implements [insi.Tracer].
func (t tracer) Keep(ctx context.Context, x insi.Trace) error {
	who, err := json.Marshal(x.Actor)
	if err != nil {
		return err
	}
	site := gateway.Establishment{FINESSGeo: x.Actor.FINESSGeo}
	for _, s := range t.sites {
		if s.FINESSGeo == x.Actor.FINESSGeo {
			site = s
		}
	}
	return t.keep(ctx, gateway.INSiExchange{
		MessageID: x.MessageID, Establishment: site, Operation: string(x.Operation), At: x.At, Took: x.Took, Actor: who, Subject: x.Subject,
		Attempt: x.Attempt, Criteria: x.Criteria, Result: x.Result, Fault: x.Fault, Remote: x.Remote, Request: x.Request, Response: x.Response,
	})
}

// insiCalls counts the calls of this month and of the last one (TBB-3), as the
// register has them.
func (m *Main) insiCalls(r gateway.Register) func(context.Context) ([]httpapi.INSiCalls, error) {
	var finess []string
	for _, s := range m.sites() {
		finess = append(finess, s.FINESSGeo)
	}
	return func(ctx context.Context) (all []httpapi.INSiCalls, _ error) {
		now := m.Clock().In(m.zone)
		for back := 1; back >= 0; back-- {
			from := time.Date(now.Year(), now.Month()-time.Month(back), 1, 0, 0, 0, 0, m.zone)
			counts, err := r.INSiCounts(ctx, finess, from, from.AddDate(0, 1, 0))
			if err != nil {
				return nil, err
			}
			for _, c := range counts {
				all = append(all, httpapi.INSiCalls{INSiCount: c, Month: from.Format("2006-01")})
			}
		}
		return all, nil
	}
}
