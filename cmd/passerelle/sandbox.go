//go:build !nosandbox

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

type sandboxCommands struct {
	Sandbox sandboxCmd `cmd:"" help:"Bac à sable : le monde extérieur simulé, et la passerelle, sans réseau."`
	Token   tokenCmd   `cmd:"" help:"Donne un jeton du bac à sable pour un professionnel fictif."`
}

type sandboxCmd struct {
	Data      string `help:"Dossier des données ; temporaire et effacé à la fin s'il est absent." placeholder:"DOSSIER"`
	Info      string `help:"Fichier décrivant le bac à sable, écrit quand tout écoute." placeholder:"FICHIER"`
	Demo      bool   `help:"Joue une démonstration de bout en bout."`
	Once      bool   `help:"S'arrête à la fin de la démonstration."`
	NoGateway bool   `help:"Le monde extérieur seul ; écrit un gateway.yaml pour « serve »."`
	Webhook   string `help:"Adresse prévenue de chaque issue par webhook signé." placeholder:"URL"`
	BasePort  int    `help:"Premier port ; ports libres si absent." placeholder:"N"`
}

// The offsets from --base-port of the gateway's own ports; the simulators use
// those from sim.PortCount down.
const (
	portHTTP = 0 + iota
	portHTTPS
	portMLLP
	simPorts = 10 // the first of the simulators
)

// Run starts the sandbox, and the demonstration if it is asked for.
func (c *sandboxCmd) Run(e *env) (err error) {
	if c.Demo && c.NoGateway {
		return usageError{errors.New("--demo a besoin de la passerelle : retirez --no-gateway")}
	}
	if c.Webhook != "" {
		p := &problemList{}
		if p.hookURL(envSandbox, "--webhook", c.Webhook); len(p.list) > 0 {
			return usageError{errors.New(p.list[0])}
		}
	}
	if c.Once && !c.Demo {
		return usageError{errors.New("--once accompagne --demo")}
	}
	if c.BasePort != 0 && (c.BasePort < 1024 || c.BasePort > 65000) {
		return usageError{errors.New("--base-port : entre 1024 et 65000")}
	}
	started := e.clock()
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "passerelle-bac-a-sable-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	quiet := e.log
	if !e.verbose {
		level := slog.LevelWarn // a mail in quarantine, a delivery that failed
		if c.Demo {
			level = slog.LevelError // the demonstration tells the rest itself
		}
		quiet = slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level}))
	}
	w, err := startWorld(e.ctx, worldConfig{dir: dir, basePort: c.BasePort, webhook: c.Webhook, e: e, log: quiet})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	config := filepath.Join(dir, "gateway.yaml")
	if err := writeConfig(config, w.config); err != nil {
		return err
	}
	if err := writeSamples(filepath.Join(dir, "exemples"), w.info.Operator.GatewayMailbox); err != nil {
		return err
	}
	if !c.NoGateway {
		m := &Main{Config: w.config, Clock: w.sim.Now, Random: e.random, Log: quiet}
		if err := m.Start(e.ctx); err != nil {
			return err
		}
		defer func() {
			stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if closed := m.Close(stop); !errors.Is(closed, context.DeadlineExceeded) {
				err = errors.Join(err, closed)
			}
		}()
		w.info.Gateway.HTTP, w.info.Gateway.HTTPS = "http://"+m.HTTP, "https://"+m.HTTPS
		w.info.Gateway.MLLP = m.MLLP[0]
	}
	if c.Info != "" {
		if err := sim.WriteInfo(c.Info, *w.info); err != nil {
			return err
		}
	}
	c.announce(e, w, config, e.clock().Sub(started))
	if c.Demo {
		d, err := newDemo(e, w.info)
		if err != nil {
			return err
		}
		if err := d.play(); err != nil || c.Once {
			return err
		}
		fmt.Fprintln(e.out, "\nLe bac à sable reste ouvert ; Ctrl-C pour l'arrêter.")
	}
	<-e.ctx.Done()
	return nil
}

func (c *sandboxCmd) announce(e *env, w *world, config string, took time.Duration) {
	i := w.info
	fmt.Fprintf(e.out, "BAC À SABLE PASSERELLE — personnes fictives, autorité de certification jetable, boucle locale seulement.\nPrêt en %s.\n",
		took.Round(time.Millisecond))
	if c.NoGateway {
		fmt.Fprintf(e.out, "  Sans passerelle : passerelle serve --config %s\n", config)
	} else {
		fmt.Fprintf(e.out, "  Passerelle HL7 (MLLP) : %s\n  Passerelle HTTPS      : %s\n  Console (PSC fictif)  : %s/console/\n  Santé                 : %s/readyz\n",
			i.Gateway.MLLP, i.Gateway.HTTPS, i.Gateway.HTTPS, i.Gateway.HTTP)
	}
	fmt.Fprintf(e.out, "  DMP simulé (FHIR)     : %s\n  Établissement (ZAM)   : %s, liste : %s\n  Réglage des pannes    : %s\n",
		i.DMP.FHIR, i.Hospital.MLLP, i.Hospital.Messages, i.Control)
	fmt.Fprintf(e.out, "  Opérateur MSSanté     : SMTP %s, IMAP %s, boîtes : %s\n", i.Operator.SMTP, i.Operator.IMAP, i.Operator.Mailboxes)
	if hook := w.config.Establishments[0].Webhook; hook != nil {
		fmt.Fprintf(e.out, "  Webhook               : %s, secret : %s\n", hook.URL, hook.SecretFile)
	}
	if c.Data != "" {
		fmt.Fprintf(e.out, "  Messages d'exemple    : %s\n", filepath.Join(c.Data, "exemples"))
	}
	if c.Info != "" {
		fmt.Fprintf(e.out, "  Description complète  : %s\n", c.Info)
	}
}

// world is everything outside the gateway, and the configuration of a gateway
// that speaks to it.
type world struct {
	sim    *sim.Sandbox
	info   *sim.Info
	config Config
}

type worldConfig struct {
	dir      string
	basePort int
	webhook  string // where the fictitious establishment's software is told; empty: nowhere
	e        *env
	log      *slog.Logger
}

func startWorld(ctx context.Context, c worldConfig) (*world, error) {
	first := 0
	if c.basePort != 0 {
		first = c.basePort + simPorts
	}
	s, err := sim.Start(ctx, sim.Config{
		Dir: filepath.Join(c.dir, "exterieur"), BasePort: first, Clock: c.e.clock, Rand: c.e.random, Logger: c.log,
	})
	if err != nil {
		return nil, err
	}
	info := s.Info()
	w := &world{sim: s, info: &info}
	w.config, err = sandboxConfig(c, s)
	if err == nil {
		err = s.SetRedirectURI(w.config.PSC.RedirectURI)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.info.PSC = s.Info().PSC
	g := &w.info.Gateway
	g.FHIR, g.Token = "https://"+w.config.Gateway.HTTPS+"/fhir", "https://"+w.config.Gateway.HTTPS+"/oauth/token"
	g.HTTP, g.HTTPS, g.MLLP = "http://"+w.config.Gateway.HTTP, "https://"+w.config.Gateway.HTTPS, w.config.HL7[0].Listen
	return w, nil
}

func (w *world) close() error { return w.sim.Close() }

// sandboxConfig is the configuration of a gateway that serves the fictitious
// establishments and speaks to the simulators. Nothing in it is special to
// simulators but the addresses and the certificates.
func sandboxConfig(c worldConfig, s *sim.Sandbox) (Config, error) {
	i, files := s.Info(), s.Files()
	var ports [3]string
	for n := range ports {
		if c.basePort != 0 {
			ports[n] = "127.0.0.1:" + strconv.Itoa(c.basePort+n)
			continue
		}
		addr, err := freePort()
		if err != nil {
			return Config{}, err
		}
		ports[n] = addr
	}
	house := testdata.Establishments()[0]
	cfg := Config{
		Environment: envSandbox,
		Data:        filepath.Join(c.dir, "passerelle"),
		Gateway: GatewayConfig{
			HTTP: ports[portHTTP], HTTPS: ports[portHTTPS],
			Certificate: files.ServerCert, Key: files.ServerKey, ClientCA: i.TLS.CA,
		},
		Establishments: []EstablishmentConfig{{
			Name: house.Name, FINESSEJ: house.FINESSEJ, FINESSGeo: house.FINESSGeo, SourceOID: house.SourceOID,
			Application: SenderConfig{"DPI-ESSAIS", house.Namespace},
			Senders:     []SenderConfig{{"*", "*"}}, Hospital: i.Hospital.MLLP, Machines: []string{i.TLS.MachineCert},
		}},
		HL7: []HL7Config{{Listen: ports[portMLLP]}},
		DMP: DMPConfig{
			FHIR: i.DMP.FHIR, Token: i.DMP.Token, Revoke: strings.TrimSuffix(i.DMP.Token, "/token") + "/revoke", ClientID: files.DMPClientID, Certificate: files.DMPCert, Key: files.DMPKey, CA: i.TLS.CA,
			Timeout: 10 * time.Second,
		},
		Delivery: DeliveryConfig{First: 200 * time.Millisecond, Max: 5 * time.Second, AckTimeout: 5 * time.Second},
		Storage:  StorageConfig{ReserveMiB: 64},
	}
	if c.webhook != "" {
		hook := &WebhookConfig{URL: c.webhook, SecretFile: filepath.Join(c.dir, "webhook-secret")}
		if _, err := secretFile(hook.SecretFile, c.e.random); err != nil {
			return cfg, err
		}
		cfg.Establishments[0].Webhook = hook
	}
	cfg.Storage.KeyFile = filepath.Join(c.dir, "identites.key")
	if _, err := secretFile(cfg.Storage.KeyFile, c.e.random); err != nil {
		return cfg, err
	}
	people := filepath.Join(c.dir, "identites.json")
	if err := writeIdentities(people, house); err != nil {
		return cfg, err
	}
	name, _, err := net.SplitHostPort(i.Operator.SMTP)
	if err != nil {
		return cfg, err
	}
	cfg.MSS = &MSSConfig{
		NIL: "9000", Mailbox: i.Operator.GatewayMailbox, Name: house.Name, Contact: "support@" + i.Operator.Domain,
		SMTP: i.Operator.SMTP, IMAP: i.Operator.IMAP, ServerName: name, ReplyTo: "secretariat@" + i.Operator.Domain,
		Certificate: i.TLS.BALAppCert, Key: i.TLS.BALAppKey, CA: i.TLS.CA, WhiteList: i.Operator.Whitelist, Identities: people,
		Poll: 200 * time.Millisecond, UnknownWait: 2 * time.Second, Timeout: 10 * time.Second, ReportWait: time.Hour,
	}
	annuaire := filepath.Join(c.dir, "annuaire-cle")
	if err := os.WriteFile(annuaire, []byte(i.Directory.APIKey+"\n"), 0o600); err != nil {
		return cfg, err
	}
	cfg.MSS.Directory = &DirectoryConfig{URL: i.Directory.FHIR, KeyFile: annuaire, CA: i.TLS.CA}
	secret := filepath.Join(c.dir, "psc-secret")
	if err := os.WriteFile(secret, []byte(i.PSC.ClientSecret+"\n"), 0o600); err != nil {
		return cfg, err
	}
	cfg.PSC = &PSCConfig{
		Issuer: i.PSC.Issuer, ClientID: files.ClientCN, ClientSecretFile: secret, CA: i.TLS.CA,
		RedirectURI: "https://" + ports[portHTTPS] + "/callback",
		// A vendor may have registered a client_id of its own: all are taken.
		Clients: []PSCClientConfig{{ID: files.ClientCN, CommonName: files.ClientCN, PSCClients: []string{"*"}}},
		// Another API than the DMP's, to show one: the gateway's own.
		Proxy: &ProxyConfig{Backends: []BackendConfig{{Name: "passerelle", URL: "https://" + ports[portHTTPS], Token: "https://" + ports[portHTTPS] + "/oauth/token",
			Revoke: "https://" + ports[portHTTPS] + "/oauth/revoke", ClientID: files.ClientCN, Scope: psc.ScopeGateway,
			Certificate: i.TLS.ClientCert, Key: i.TLS.ClientKey, CA: i.TLS.CA}}},
	}
	cfg.INSi = &INSiConfig{
		URL: i.INSi.URL, Certificate: i.TLS.INSiCert, Key: i.TLS.INSiKey, CA: i.TLS.CA, Timeout: 5 * time.Second,
		Software: INSiSoftwareConfig{Authorisation: "BAC-A-SABLE"}, Verification: verificationGuessed,
	}
	cfg.Console = &ConsoleConfig{Allowed: []ConsolePerson{{ID: testdata.Personas()[0].NationalID, Establishments: []string{"*"}, Decide: true}}}
	cfg.defaults()
	return cfg, nil
}

// writeIdentities writes the people that the fictitious hospital holds as
// qualified, with their IPP.
func writeIdentities(path string, house testdata.Establishment) error {
	var held []ins.Candidate
	for _, p := range testdata.Patients() {
		if p.Status != string(ins.Qualified) {
			continue
		}
		held = append(held, ins.Candidate{Identity: ins.Identity{
			Matricule: p.Matricule, OID: ins.OID(p.OID), Status: ins.Qualified,
			Traits: ins.Traits{
				BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames,
				Sex: p.Sex, BirthDate: p.BirthDate, BirthPlace: p.BirthPlace,
			},
			Local: []ins.LocalID{{Value: p.IPP, Authority: house.IPPOID}},
		}})
	}
	data, err := json.MarshalIndent(held, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func writeConfig(path string, c Config) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	head := "# Écrit par « passerelle sandbox » : personnes fictives, autorité jetable. Ne pas utiliser en production.\n"
	return os.WriteFile(path, append([]byte(head), data...), 0o600)
}
