package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

type insQueryCmd struct {
	Config string `xor:"from" required:"" help:"Configuration de la passerelle ; les appels sont tracés dans son journal." placeholder:"FICHIER"`
	Info   string `xor:"from" required:"" help:"Fichier écrit par « sandbox --info » ; les appels ne sont pas tracés." placeholder:"FICHIER"`

	Name      string `help:"Nom de naissance. Sans lui, une identité en JSON est lue sur l'entrée standard, comme pour /v1/identities/query."`
	First     string `help:"Premier prénom de naissance."`
	Given     string `help:"Prénoms de naissance, séparés par des espaces."`
	Sex       string `help:"M ou F."`
	Born      string `help:"Date de naissance, AAAA-MM-JJ."`
	Place     string `help:"Lieu de naissance, code INSEE."`
	Status    string `default:"PROV" enum:"PROV,VALI" help:"VALI : traits contrôlés avec un titre d'identité."`
	Matricule string `help:"INS à vérifier, au lieu d'une recherche."`
	OID       string `name:"oid" help:"Son autorité d'affectation."`

	As     string `help:"Identifiant national du professionnel qui demande ; sans lui, la demande est celle d'une machine." placeholder:"NUMERO"`
	FINESS string `name:"finess" help:"FINESS géographique de l'établissement ; par défaut le premier." placeholder:"FINESS"`
	JSON   bool   `name:"json" help:"Résultat lisible par une machine."`
}

// maxQuery bounds the JSON of one identity.
const maxQuery = 64 << 10

// Run asks INSi. Exit 0 when the identity takes an INS, or INSi agrees with the
// one it has; 1 when not, or when the question cannot be asked.
func (c *insQueryCmd) Run(e *env) (err error) {
	id, err := c.identity()
	if err != nil {
		return err
	}
	m := &Main{Clock: e.clock, Random: e.random, Log: slog.New(slog.DiscardHandler), stop: func() {}}
	if e.verbose {
		m.Log = e.log
	}
	defer func() { err = errors.Join(err, m.Close(e.ctx)) }()
	g, site, err := c.open(e, m)
	if err != nil {
		return err
	}
	who := gateway.Asker{Actor: ins.Actor{ID: c.As, Human: c.As != ""}}
	if !who.Human {
		who.ID = "passerelle ins query"
	}
	v, err := g.AskINSi(e.ctx, gateway.INSiQuery{Establishment: site, Asker: who, Identity: id})
	if f := fault.From(err); err != nil && f.HTTP < 500 {
		fmt.Fprintln(e.out, explain(err))
		return errWrong
	}
	if err != nil {
		return err
	}
	answer := httpapi.NewIdentityAnswer(v, "fr")
	if c.JSON {
		err = json.NewEncoder(e.out).Encode(answer)
	} else {
		err = tellAnswer(e.out, answer)
	}
	if err == nil && !answer.Accepted {
		err = errWrong
	}
	return err
}

func (c *insQueryCmd) identity() (ins.Identity, error) {
	if c.Name != "" {
		return ins.Identity{Matricule: c.Matricule, OID: ins.OID(c.OID), Status: ins.Status(c.Status), Traits: ins.Traits{
			BirthName: c.Name, FirstGiven: c.First, GivenNames: c.Given, Sex: c.Sex, BirthDate: c.Born, BirthPlace: c.Place}}, nil
	}
	if c.First+c.Given+c.Sex+c.Born+c.Place+c.Matricule+c.OID != "" {
		return ins.Identity{}, usageError{errors.New("--name manque : donnez tous les traits en options, ou une identité en JSON sur l'entrée standard")}
	}
	in, err := openInput("-")
	if err != nil {
		return ins.Identity{}, err
	}
	var id ins.Identity
	d := json.NewDecoder(io.LimitReader(in, maxQuery))
	d.DisallowUnknownFields()
	if err := d.Decode(&id); err != nil {
		// Its text may repeat what was read.
		return id, usageError{errors.New(`identité illisible sur l'entrée standard ; attendu : {"status":"VALI","traits":{"birth_name":…}}`)}
	}
	return id, nil
}

// open makes a gateway that asks INSi and does nothing else.
func (c *insQueryCmd) open(e *env, m *Main) (*gateway.Gateway, gateway.Establishment, error) {
	if c.Info != "" {
		return c.openSandbox(m)
	}
	var site gateway.Establishment
	problems, err := checkFile(c.Config, e)
	if err != nil {
		return nil, site, err
	}
	if len(problems) > 0 {
		tell(e, c.Config, problems)
		return nil, site, errWrong
	}
	if m.Config, err = loadConfig(c.Config); err != nil {
		return nil, site, err
	}
	found := false
	for _, s := range m.sites() {
		if !found && (c.FINESS == "" || s.FINESSGeo == c.FINESS) {
			site, found = s, true
		}
	}
	if !found {
		return nil, site, usageError{errors.New("--finess : établissement non déclaré dans la configuration")}
	}
	if m.Config.INSi == nil {
		return nil, site, fault.New(gateway.FaultNoINSi)
	}
	switch err := m.openJournal(e.ctx); {
	case fault.From(err).Code == journal.FaultLocked:
		return nil, site, errors.New("la passerelle tourne et tient son journal : demandez-lui par POST /v1/identities/query, ou arrêtez-la (" + journal.FaultLocked + ")")
	case err != nil:
		return nil, site, err
	}
	g := &gateway.Gateway{Clock: m.Clock}
	if err := m.openRegister(e.ctx, g); err != nil {
		return nil, site, err
	}
	return g, site, m.openINSi(g)
}

// openSandbox asks the simulated INSi, about fictitious people: nothing is kept.
func (c *insQueryCmd) openSandbox(m *Main) (*gateway.Gateway, gateway.Establishment, error) {
	var site gateway.Establishment
	data, err := os.ReadFile(c.Info)
	if err != nil {
		return nil, site, usageError{err}
	}
	var info struct {
		INSi struct {
			URL string `json:"url"`
		} `json:"insi"`
		TLS struct {
			CA   string `json:"ca"`
			Cert string `json:"insi_cert"`
			Key  string `json:"insi_key"`
		} `json:"tls"`
	}
	if err := json.Unmarshal(data, &info); err != nil || info.INSi.URL == "" {
		return nil, site, usageError{errors.New(c.Info + " : n'est pas un fichier de « sandbox --info »")}
	}
	instance, err := uuid.NewRandomFromReader(m.Random)
	if err != nil {
		return nil, site, err
	}
	m.Config = Config{Environment: envSandbox, INSi: &INSiConfig{URL: info.INSi.URL, Certificate: info.TLS.Cert, Key: info.TLS.Key, CA: info.TLS.CA,
		Software: INSiSoftwareConfig{Authorisation: "BAC-A-SABLE", Instance: instance.String()}, Verification: verificationGuessed}}
	m.Config.INSi.defaults()
	if site.FINESSGeo = c.FINESS; site.FINESSGeo == "" {
		leaf, err := readCertificate(info.TLS.Cert)
		if err != nil {
			return nil, site, err
		}
		// The OU of an IGC-Santé certificate: 1, then the FINESS.
		for _, ou := range leaf.Subject.OrganizationalUnit {
			site.FINESSGeo = strings.TrimPrefix(ou, "1")
		}
	}
	client, err := m.insiClient(unkept{})
	return &gateway.Gateway{INSi: teleservice{client}}, site, err
}

// unkept lets traces go.
type unkept struct{}

func (unkept) Keep(context.Context, insi.Trace) error { return nil }

// tellAnswer writes an answer for people.
func tellAnswer(w io.Writer, a httpapi.IdentityAnswer) error {
	var b strings.Builder
	switch {
	case a.Returned != nil:
		fmt.Fprintf(&b, "INSi : une personne trouvée (code %s, %d appel(s)).\n", a.Result, a.Calls)
	case a.Accepted:
		fmt.Fprintf(&b, "INSi : l'INS et les traits vont ensemble (code %s).\n", a.Result)
	default:
		fmt.Fprintf(&b, "INSi : code %s, %d appel(s).\n", a.Result, a.Calls)
	}
	if t := a.Returned; t != nil {
		fmt.Fprintf(&b, "  Nom de naissance     : %s\n  Prénoms de naissance : %s\n  Sexe                 : %s\n  Date de naissance    : %s\n  Lieu (code INSEE)    : %s\n",
			t.BirthName, t.GivenNames, t.Sex, t.BirthDate, t.BirthPlace)
	}
	if id := a.Identity; id != nil {
		fmt.Fprintf(&b, "  Matricule            : %s\n  OID                  : %s\n  Statut               : %s\n", ins.Display(id.Matricule), id.OID, id.Status)
		for _, f := range a.Former {
			fmt.Fprintf(&b, "  Ancien INS           : %s (%s)\n", ins.Display(f.Matricule), f.OID)
		}
	}
	for _, f := range a.Findings {
		place := ""
		if f.Where != "" {
			place = ", " + f.Where
		}
		fmt.Fprintf(&b, "  - %s (%s%s) : %s %s\n", f.Code, severityFR[f.Severity], place, f.Text, f.Remedy)
	}
	if id := a.Identity; id != nil && id.Status == ins.Retrieved {
		b.WriteString("Identité récupérée, pas qualifiée : son INS ne se transmet pas. Contrôlez-la avec un titre d'identité, puis relancez avec --status VALI.\n")
	}
	if a.Returned != nil {
		b.WriteString("Comparez ces traits avec le patient et son titre d'identité avant de prendre l'INS.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
