package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle-sante/passerelle/gateway"
)

// Config is gateway.yaml. Relative paths are relative to the file. `passerelle
// init` writes a commented one; `passerelle check` says everything that is
// wrong with one.
type Config struct {
	Environment    string                `yaml:"environment"` // production, test or sandbox; mandatory
	Data           string                `yaml:"data"`        // folder of the journal
	Gateway        GatewayConfig         `yaml:"gateway"`
	Establishments []EstablishmentConfig `yaml:"establishments"`
	HL7            []HL7Config           `yaml:"hl7"`
	DMP            DMPConfig             `yaml:"dmp"`
	MSS            *MSSConfig            `yaml:"mss,omitempty"`     // absent: no mail
	PSC            *PSCConfig            `yaml:"psc,omitempty"`     // absent: nobody logs in
	INSi           *INSiConfig           `yaml:"insi,omitempty"`    // absent: INSi is not asked
	Console        *ConsoleConfig        `yaml:"console,omitempty"` // absent: no console
	Places         string                `yaml:"places,omitempty"`  // table of communes and countries; absent: that of the program
	Accept         AcceptConfig          `yaml:"accept"`
	Delivery       DeliveryConfig        `yaml:"delivery"`
	Storage        StorageConfig         `yaml:"storage"`
}

// GatewayConfig is where the gateway listens for HTTP.
type GatewayConfig struct {
	HTTP        string `yaml:"http"`  // health; loopback
	HTTPS       string `yaml:"https"` // everything else
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ClientCA    string `yaml:"client_ca"`
}

// EstablishmentConfig is one site that the gateway serves.
type EstablishmentConfig struct {
	Name      string         `yaml:"name"`
	FINESSEJ  string         `yaml:"finess_ej"`
	FINESSGeo string         `yaml:"finess_geo"`
	SourceOID string         `yaml:"source_oid"`
	Senders   []SenderConfig `yaml:"senders"`
	Hospital  string         `yaml:"hospital"` // host:port where ZAM and received documents are delivered by MLLP
	// Application names the software that files documents received by mail
	// (MSH-5/6 of the MDM).
	Application SenderConfig `yaml:"application"`
	Machines    []string     `yaml:"machines"` // PEM files of client certificates that may read its submissions
	// TrustADT lets its ADT teach identities; empty: in the sandbox only.
	TrustADT *bool `yaml:"trust_adt,omitempty"`

	Webhook *WebhookConfig `yaml:"webhook,omitempty"` // absent: its software asks for itself
}

func (e EstablishmentConfig) establishment() gateway.Establishment {
	return gateway.Establishment{Name: e.Name, FINESSEJ: e.FINESSEJ, FINESSGeo: e.FINESSGeo, SourceOID: e.SourceOID}
}

// SenderConfig is one MSH-3/4; "*" is any.
type SenderConfig struct {
	Application string `yaml:"application"`
	Facility    string `yaml:"facility"`
}

// HL7Config is one MLLP port.
type HL7Config struct {
	Listen         string   `yaml:"listen"`
	Establishments []string `yaml:"establishments"` // FINESS géographique; empty: all
	Profiles       []string `yaml:"profiles"`       // MSH-21 accepted
	Matrix         string   `yaml:"matrix"`         // rules or strict
	Charset        string   `yaml:"charset"`        // of a message without MSH-18
	MaskedToPro    bool     `yaml:"masked_to_pro"`  // take MASQUE_PS with DESTMSSANTEPS
	StrictBodies   bool     `yaml:"strict_bodies"`  // refuse a CORPSMAIL that is cut
	Certificate    string   `yaml:"certificate"`    // TLS when set
	Key            string   `yaml:"key"`
	ClientCA       string   `yaml:"client_ca"`
}

// DMPConfig is the DMP and its authorization server.
type DMPConfig struct {
	FHIR        string        `yaml:"fhir"`
	Token       string        `yaml:"token"`
	Revoke      string        `yaml:"revoke,omitempty"` // RFC 7009; absent: tokens live until they expire
	ClientID    string        `yaml:"client_id"`
	Certificate string        `yaml:"certificate"`
	Key         string        `yaml:"key"`
	CA          string        `yaml:"ca"`
	Timeout     time.Duration `yaml:"timeout"`
}

// AcceptConfig is the decisions that a site may take otherwise.
type AcceptConfig struct {
	CDA           string `yaml:"cda"`
	PDFA          string `yaml:"pdfa"`
	Duplicates    string `yaml:"duplicates"`
	StrictTargets bool   `yaml:"strict_targets"`
	Opposition    string `yaml:"opposition"` // while nothing is known of the patient's opposition to the DMP: proceed or hold
	Zone          string `yaml:"zone"`       // of times that carry no zone
}

// DeliveryConfig is how often and how long a delivery is tried.
type DeliveryConfig struct {
	First   time.Duration `yaml:"first"`
	Max     time.Duration `yaml:"max"`
	GiveUp  time.Duration `yaml:"give_up"`
	Workers int           `yaml:"workers"`
	// AckTimeout is how long the hospital may take to acknowledge a ZAM.
	AckTimeout time.Duration `yaml:"ack_timeout"`
}

// StorageConfig is the disk budget.
type StorageConfig struct {
	ReserveMiB int64 `yaml:"reserve_mib"` // below this free space messages are answered AR
	// KeyFile seals the identities; empty: no identity is held, no INSi exchange kept.
	KeyFile string `yaml:"key_file,omitempty"`
}

// The environments.
const (
	envProduction = "production"
	envTest       = "test"
	envSandbox    = "sandbox"
)

// loadConfig reads a configuration and puts the defaults in. Unknown settings
// are errors: a misspelt one would otherwise be silently ignored.
func loadConfig(path string) (Config, error) {
	c := Config{}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var misread error
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		lines, read := yamlProblems(err)
		if misread = (&misreadError{path, lines}); !read {
			return c, misread
		}
	}
	c.defaults()
	base := filepath.Dir(path)
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	return c, misread
}

func (c *Config) paths() []*string {
	all := []*string{&c.Data, &c.Gateway.Certificate, &c.Gateway.Key, &c.Gateway.ClientCA, &c.DMP.Certificate, &c.DMP.Key, &c.DMP.CA, &c.Storage.KeyFile, &c.Places}
	if c.MSS != nil {
		all = append(all, &c.MSS.Certificate, &c.MSS.Key, &c.MSS.CA, &c.MSS.PasswordFile, &c.MSS.Identities)
		if d := c.MSS.Directory; d != nil {
			all = append(all, &d.KeyFile, &d.CA)
		}
	}
	if c.PSC != nil {
		all = append(all, c.PSC.paths()...)
	}
	if c.INSi != nil {
		all = append(all, c.INSi.paths()...)
	}
	for i := range c.Establishments {
		for j := range c.Establishments[i].Machines {
			all = append(all, &c.Establishments[i].Machines[j])
		}
		if w := c.Establishments[i].Webhook; w != nil {
			all = append(all, &w.SecretFile, &w.CA)
		}
	}
	for i := range c.HL7 {
		all = append(all, &c.HL7[i].Certificate, &c.HL7[i].Key, &c.HL7[i].ClientCA)
	}
	return all
}

func (c *Config) defaults() {
	or(&c.Accept.CDA, "blocking")
	or(&c.Accept.PDFA, "warn")
	or(&c.Accept.Duplicates, "warn")
	or(&c.Accept.Opposition, gateway.OppositionProceed)
	or(&c.Accept.Zone, "Europe/Paris")
	or(&c.DMP.ClientID, "passerelle")
	or(&c.DMP.Timeout, 30*time.Second)
	or(&c.Delivery.First, 5*time.Second)
	or(&c.Delivery.Max, 10*time.Minute)
	or(&c.Delivery.GiveUp, 7*24*time.Hour)
	or(&c.Delivery.Workers, 4)
	or(&c.Delivery.AckTimeout, 30*time.Second)
	or(&c.Storage.ReserveMiB, 256)
	if c.MSS != nil {
		c.MSS.defaults()
	}
	if c.PSC != nil {
		c.PSC.defaults()
	}
	if c.INSi != nil {
		c.INSi.defaults()
	}
	for i := range c.HL7 {
		or(&c.HL7[i].Matrix, "rules")
		or(&c.HL7[i].Charset, "UNICODE UTF-8")
		if len(c.HL7[i].Profiles) == 0 {
			c.HL7[i].Profiles = []string{"2.1^CISIS_CDA_HL7_V2", "2.11^IHE_FRANCE-2.11-PAM"}
		}
	}
}

func or[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

var (
	finessForm = regexp.MustCompile(`^[0-9][0-9AB][0-9]{7}$`)
	oidForm    = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))+$`)
)

// problems says everything that is wrong, in French, without starting anything.
func (c *Config) problems(now time.Time) []string {
	p := &problemList{}
	p.oneOf("environment", c.Environment, envProduction, envTest, envSandbox)
	p.require("data", c.Data)
	p.folder("data", c.Data)
	c.gatewayProblems(p, now)
	c.establishmentProblems(p)
	c.hl7Problems(p, now)
	c.dmpProblems(p, now)
	c.mssProblems(p, now)
	c.pscProblems(p, now)
	c.insiProblems(p, now)
	c.registerProblems(p)
	if _, err := loadPlaces(c.Places); c.Places != "" && err != nil {
		p.add("places", "table des communes et des pays illisible : fabriquez-la par « passerelle ins places »")
	}
	c.consoleProblems(p)
	p.oneOf("accept.cda", c.Accept.CDA, "blocking", "strict")
	p.oneOf("accept.pdfa", c.Accept.PDFA, "warn", "require")
	p.oneOf("accept.duplicates", c.Accept.Duplicates, "warn", "refuse")
	p.oneOf("accept.opposition", c.Accept.Opposition, gateway.OppositionProceed, gateway.OppositionHold)
	if _, err := time.LoadLocation(c.Accept.Zone); err != nil {
		p.add("accept.zone", "fuseau horaire inconnu ; exemple : Europe/Paris")
	}
	if c.Delivery.First <= 0 || c.Delivery.Max < c.Delivery.First {
		p.add("delivery", "il faut 0 < first ≤ max")
	}
	for _, d := range []struct {
		at    string
		value time.Duration
	}{{"delivery.give_up", c.Delivery.GiveUp}, {"delivery.ack_timeout", c.Delivery.AckTimeout}, {"dmp.timeout", c.DMP.Timeout}} {
		if d.value <= 0 {
			p.add(d.at, "durée positive attendue")
		}
	}
	if c.Storage.ReserveMiB < 0 {
		p.add("storage.reserve_mib", "nombre positif attendu")
	}
	c.listenProblems(p)
	if c.Delivery.Workers < 1 || c.Delivery.Workers > 64 {
		p.add("delivery.workers", "entre 1 et 64")
	}
	return p.list
}

func (c *Config) gatewayProblems(p *problemList, now time.Time) {
	p.address("gateway.http", c.Gateway.HTTP)
	p.address("gateway.https", c.Gateway.HTTPS)
	if host, _, err := net.SplitHostPort(c.Gateway.HTTP); err == nil && !loopback(host) {
		p.add("gateway.http", "doit rester sur la boucle locale (127.0.0.1) : cette adresse n'est pas chiffrée")
	}
	p.pair(c.Environment, "gateway", c.Gateway.Certificate, c.Gateway.Key, serverRole, now)
	p.authority(c.Environment, "gateway.client_ca", c.Gateway.ClientCA)
}

func (c *Config) establishmentProblems(p *problemList) {
	if len(c.Establishments) == 0 {
		p.add("establishments", "au moins un établissement est nécessaire")
	}
	seen := map[string]bool{}
	for i, e := range c.Establishments {
		at := fmt.Sprintf("establishments[%d]", i)
		p.require(at+".name", e.Name)
		if !finessForm.MatchString(e.FINESSEJ) {
			p.add(at+".finess_ej", "numéro FINESS de l'entité juridique : 9 caractères")
		}
		if !finessForm.MatchString(e.FINESSGeo) {
			p.add(at+".finess_geo", "numéro FINESS géographique : 9 caractères")
		}
		if seen[e.FINESSGeo] {
			p.add(at+".finess_geo", "déjà déclaré par un autre établissement")
		}
		seen[e.FINESSGeo] = true
		if !oidForm.MatchString(e.SourceOID) {
			p.add(at+".source_oid", "OID du système émetteur attendu")
		}
		if len(e.Senders) == 0 {
			p.add(at+".senders", "indiquez au moins un couple MSH-3/MSH-4 (application, facility)")
		}
		for j, s := range e.Senders {
			if s.Application == "" || s.Facility == "" {
				p.add(fmt.Sprintf("%s.senders[%d]", at, j), `application et facility sont nécessaires ("*" accepte tout)`)
			}
		}
		if e.Hospital != "" {
			p.address(at+".hospital", e.Hospital)
		}
		if e.Webhook != nil {
			e.Webhook.problems(p, c.Environment, at+".webhook")
		}
		for j, m := range e.Machines {
			if _, err := readCertificate(m); err != nil {
				p.add(fmt.Sprintf("%s.machines[%d]", at, j), said(err))
			}
		}
	}
}

func (c *Config) hl7Problems(p *problemList, now time.Time) {
	known := map[string]bool{}
	for _, e := range c.Establishments {
		known[e.FINESSGeo] = true
	}
	if len(c.HL7) == 0 {
		p.add("hl7", "au moins un port HL7 est nécessaire")
	}
	for i, h := range c.HL7 {
		at := fmt.Sprintf("hl7[%d]", i)
		p.address(at+".listen", h.Listen)
		c.routeProblems(p, at, h)
		p.oneOf(at+".matrix", h.Matrix, "rules", "strict")
		p.oneOf(at+".charset", h.Charset, "UNICODE UTF-8", "8859/15", "8859/1")
		for _, f := range h.Establishments {
			if !known[f] {
				p.add(at+".establishments", "établissement "+f+" non déclaré")
			}
		}
		for _, profile := range h.Profiles {
			if !strings.Contains(profile, "^") {
				p.add(at+".profiles", "forme attendue : version^nom, par exemple 2.1^CISIS_CDA_HL7_V2")
			}
		}
		if h.Certificate != "" || h.Key != "" {
			p.pair(c.Environment, at, h.Certificate, h.Key, serverRole, now)
		}
		if h.ClientCA != "" {
			p.authority(c.Environment, at+".client_ca", h.ClientCA)
		}
	}
}

// listenProblems finds two doors on one address.
func (c *Config) listenProblems(p *problemList) {
	taken := map[string]string{}
	claim := func(at, address string) {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "0" {
			return
		}
		if other, ok := taken[address]; ok {
			p.add(at, "même adresse que "+other)
		}
		taken[address] = at
	}
	claim("gateway.http", c.Gateway.HTTP)
	claim("gateway.https", c.Gateway.HTTPS)
	for i, h := range c.HL7 {
		claim(fmt.Sprintf("hl7[%d].listen", i), h.Listen)
	}
}

// routeProblems finds a sender, on one port, that two establishments claim: its
// documents could go under the wrong FINESS.
func (c *Config) routeProblems(p *problemList, at string, h HL7Config) {
	owner := map[SenderConfig]string{}
	for _, e := range c.Establishments {
		if len(h.Establishments) > 0 && !slices.Contains(h.Establishments, e.FINESSGeo) {
			continue
		}
		for _, s := range e.Senders {
			if other, ok := owner[s]; ok && other != e.FINESSGeo {
				p.add(at, fmt.Sprintf("l'émetteur %s / %s est déclaré par deux établissements", s.Application, s.Facility))
			}
			owner[s] = e.FINESSGeo
		}
	}
}

func (c *Config) dmpProblems(p *problemList, now time.Time) {
	addresses := [][2]string{{"dmp.fhir", c.DMP.FHIR}, {"dmp.token", c.DMP.Token}}
	if c.DMP.Revoke != "" {
		addresses = append(addresses, [2]string{"dmp.revoke", c.DMP.Revoke})
	}
	for _, d := range addresses {
		name := d[0]
		u, err := url.Parse(d[1])
		switch {
		case err != nil || u.Scheme != "https" || u.Host == "":
			p.add(name, "adresse https:// attendue")
		case c.Environment == envProduction && loopback(u.Hostname()):
			p.add(name, "adresse d'un simulateur (boucle locale) refusée en production")
		}
	}
	p.pair(c.Environment, "dmp", c.DMP.Certificate, c.DMP.Key, clientRole, now)
	p.authority(c.Environment, "dmp.ca", c.DMP.CA)
}

const (
	serverRole = x509.ExtKeyUsageServerAuth
	clientRole = x509.ExtKeyUsageClientAuth
)

// pair checks that a certificate and its key exist, belong together, are in
// their dates, and may play the role.
func (p *problemList) pair(environment, at, cert, key string, role x509.ExtKeyUsage, now time.Time) {
	if at != "" {
		at += "."
	}
	if cert == "" || key == "" {
		p.add(at+"certificate", "certificat et clé (certificate, key) sont nécessaires")
		return
	}
	kp, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		p.add(at+"certificate", said(err))
		return
	}
	leaf, err := x509.ParseCertificate(kp.Certificate[0])
	if err != nil {
		p.add(at+"certificate", said(err))
		return
	}
	if now.After(leaf.NotAfter) {
		p.add(at+"certificate", "expiré depuis le "+leaf.NotAfter.Format("02/01/2006")+" : faites-le renouveler")
	}
	if now.Before(leaf.NotBefore) {
		p.add(at+"certificate", "pas encore valide : il le sera le "+leaf.NotBefore.Format("02/01/2006"))
	}
	allowed := len(leaf.ExtKeyUsage) == 0
	for _, u := range leaf.ExtKeyUsage {
		allowed = allowed || u == role || u == x509.ExtKeyUsageAny
	}
	if !allowed {
		name := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "serveur (serverAuth)", x509.ExtKeyUsageClientAuth: "client (clientAuth)"}[role]
		p.add(at+"certificate", "ce certificat ne peut pas jouer le rôle "+name)
	}
	p.noSandbox(environment, at+"certificate", leaf)
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o077 != 0 {
		p.add(at+"key", "clé lisible par d'autres utilisateurs : chmod 600")
	}
}

func (p *problemList) authority(environment, at, file string) {
	if file == "" {
		p.add(at, "fichier PEM des autorités de certification nécessaire")
		return
	}
	pool, err := readCertificates(file)
	if err != nil {
		p.add(at, said(err))
		return
	}
	for _, cert := range pool {
		p.noSandbox(environment, at, cert)
	}
}

func (p *problemList) noSandbox(environment, at string, cert *x509.Certificate) {
	if environment == envProduction && isSandboxCertificate(cert) {
		p.add(at, "certificat du bac à sable refusé en production")
	}
}

type problemList struct{ list []string }

func (p *problemList) add(at, text string) { p.list = append(p.list, at+" : "+text) }

func (p *problemList) require(at, value string) {
	if value == "" {
		p.add(at, "valeur obligatoire")
	}
}

// folder says why a folder that may not exist yet could not be made.
func (p *problemList) folder(at, path string) {
	for path != "" {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			p.add(at, path+" est un fichier ; un dossier est attendu")
		}
		// Beneath a file nothing exists either: the error is another one there.
		parent := filepath.Dir(path)
		if err == nil || parent == path {
			return
		}
		path = parent
	}
}

func (p *problemList) oneOf(at, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.add(at, "valeur attendue : "+strings.Join(allowed, ", "))
}

func (p *problemList) address(at, value string) {
	_, port, err := net.SplitHostPort(value)
	if n, notNumber := strconv.Atoi(port); err != nil || notNumber != nil || n < 0 || n > 65535 {
		p.add(at, "adresse hôte:port attendue, port de 1 à 65535")
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func readCertificate(file string) (*x509.Certificate, error) {
	all, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s : %w", file, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s : aucun certificat PEM", file)
	}
	return all, nil
}
