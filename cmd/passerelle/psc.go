package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/console"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// PSCConfig is Pro Santé Connect: how people log in, and which software may
// bring their tokens.
type PSCConfig struct {
	Issuer           string `yaml:"issuer"`
	Discovery        string `yaml:"discovery"` // default: issuer + /.well-known/wallet-openid-configuration
	ClientID         string `yaml:"client_id"`
	ClientSecretFile string `yaml:"client_secret_file"` // or a certificate, or both
	Certificate      string `yaml:"certificate"`        // presented to PSC (EXI PSC 24)
	Key              string `yaml:"key"`
	CA               string `yaml:"ca"`           // empty: the authorities of the machine
	RedirectURI      string `yaml:"redirect_uri"` // byte-exact as registered at PSC
	// PublicURL is where software finds the gateway, and the issuer of the
	// gateway's tokens. Default: the origin of redirect_uri.
	PublicURL string            `yaml:"public_url"`
	Clients   []PSCClientConfig `yaml:"clients"`
	// DMPExchange also asks the DMP for a token in the name of who logs in;
	// without it professionals do not consult the DMP through the gateway.
	DMPExchange *bool         `yaml:"dmp_exchange"`
	TokenLife   time.Duration `yaml:"token_life"`
	Idle        time.Duration `yaml:"idle"`    // of a session in a browser
	Session     time.Duration `yaml:"session"` // at most
	// Proxies are CIDR whose headers Client-Cert and X-Forwarded-For are believed.
	Proxies []string     `yaml:"proxies"`
	Proxy   *ProxyConfig `yaml:"proxy,omitempty"` // absent: no /connect
}

// PSCClientConfig is software that may exchange tokens of Pro Santé Connect. It
// is known by its certificate: by its subject, or by the certificate itself. A
// common name alone is for an authority of one's own.
type PSCClientConfig struct {
	ID           string   `yaml:"id"`
	Subject      string   `yaml:"subject,omitempty"` // whole, in any order
	CommonName   string   `yaml:"common_name,omitempty"`
	Thumbprints  []string `yaml:"thumbprints,omitempty"`  // x5t#S256
	Certificates []string `yaml:"certificates,omitempty"` // PEM files, instead of thumbprints
	PSCClients   []string `yaml:"psc_clients"`            // client_id at PSC whose tokens it brings
}

func (c *PSCConfig) defaults() {
	or(&c.TokenLife, time.Hour)
	or(&c.Idle, 30*time.Minute)
	or(&c.Session, 4*time.Hour)
	if c.DMPExchange == nil {
		yes := true
		c.DMPExchange = &yes
	}
	if u, err := url.Parse(c.RedirectURI); err == nil && u.Scheme == "https" && u.Host != "" {
		or(&c.PublicURL, "https://"+u.Host)
	}
}

func (c *PSCConfig) paths() []*string {
	all := []*string{&c.ClientSecretFile, &c.Certificate, &c.Key, &c.CA}
	for i := range c.Clients {
		for j := range c.Clients[i].Certificates {
			all = append(all, &c.Clients[i].Certificates[j])
		}
	}
	if c.Proxy != nil {
		all = append(all, c.Proxy.paths()...)
	}
	return all
}

var (
	thumbprintForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	// callbackForm leaves out what a mux reads as a pattern.
	callbackForm = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	ownPaths     = []string{"login", "logout", "oauth", "fhir", "v1", ".well-known", "openapi.yaml", "console", "healthz", "readyz", "metrics",
		"connect", "send", "disconnect", "traces"}
)

func (c *Config) pscProblems(p *problemList, now time.Time) {
	s := c.PSC
	if s == nil {
		return
	}
	p.outside(c.Environment, "psc.issuer", s.Issuer)
	if s.Discovery != "" {
		p.outside(c.Environment, "psc.discovery", s.Discovery)
	}
	p.require("psc.client_id", s.ClientID)
	if s.ClientSecretFile != "" {
		if _, err := clientSecret(s.ClientSecretFile); err != nil {
			p.add("psc.client_secret_file", said(err))
		}
	}
	if s.Certificate != "" || s.Key != "" {
		p.pair(c.Environment, "psc", s.Certificate, s.Key, clientRole, now)
	} else if s.ClientSecretFile == "" {
		p.add("psc", "indiquez le fichier du secret (client_secret_file), ou un certificat et sa clé (certificate, key)")
	}
	if s.CA != "" {
		p.authority(c.Environment, "psc.ca", s.CA)
	}
	c.redirectProblems(p)
	if u, err := url.Parse(s.PublicURL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		p.add("psc.public_url", "adresse https://hôte[:port] attendue, sans chemin : celle où les logiciels joignent la passerelle")
	}
	c.pscClientProblems(p)
	for _, d := range []struct {
		at          string
		value, most time.Duration
	}{{"psc.token_life", s.TokenLife, 4 * time.Hour}, {"psc.idle", s.Idle, 30 * time.Minute}, {"psc.session", s.Session, 4 * time.Hour}} {
		if d.value < time.Minute || d.value > d.most {
			p.add(d.at, fmt.Sprintf("durée attendue : entre 1 minute et %d minutes", int(d.most.Minutes())))
		}
	}
	c.proxyProblems(p, now)
	if _, err := prefixes(s.Proxies); err != nil {
		p.add("psc.proxies", "réseaux attendus, par exemple 192.0.2.10/32")
	}
}

// outside is the https address of a service that is not ours.
func (p *problemList) outside(environment, at, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "":
		p.add(at, "adresse https:// attendue")
	case environment == envProduction && loopback(u.Hostname()):
		p.add(at, "adresse d'un simulateur (boucle locale) refusée en production")
	}
}

func (c *Config) redirectProblems(p *problemList) {
	const at = "psc.redirect_uri"
	u, err := url.Parse(c.PSC.RedirectURI)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http"):
		p.add(at, "adresse https://hôte[:port]/chemin attendue, telle qu'enregistrée à Pro Santé Connect")
	case u.Scheme == "http" && c.Environment == envProduction:
		p.add(at, "https:// obligatoire en production")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		p.add(at, "https:// obligatoire en dehors de la boucle locale")
	case !callbackForm.MatchString(u.Path) || slices.Contains(ownPaths, strings.Split(u.Path, "/")[1]):
		p.add(at, "chemin attendu : simple et propre au retour de connexion, par exemple /callback")
	}
}

func (c *Config) pscClientProblems(p *problemList) {
	taken := map[string]string{}
	claim := func(at, what string) {
		if other, ok := taken[what]; ok {
			p.add(at, "déjà pris par "+other)
		}
		taken[what] = at
	}
	for i, one := range c.PSC.Clients {
		at := fmt.Sprintf("psc.clients[%d]", i)
		p.require(at+".id", one.ID)
		claim(at+".id", "id "+one.ID)
		ways := 0
		for _, named := range []bool{one.Subject != "", one.CommonName != "", len(one.Thumbprints)+len(one.Certificates) > 0} {
			if named {
				ways++
			}
		}
		if ways != 1 {
			p.add(at, "désignez son certificat d'une seule façon : subject, common_name, ou thumbprints et certificates")
		}
		if one.CommonName != "" {
			claim(at+".common_name", "cn "+one.CommonName)
			if c.Environment == envProduction {
				p.add(at+".common_name", "à l'IGC-Santé le CN est libre : une autre structure peut obtenir le même ; désignez le certificat par subject (le DN entier) ou certificates")
			}
		}
		if one.Subject != "" {
			claim(at+".subject", "dn "+one.Subject)
			if !psc.SubjectForm(one.Subject) {
				p.add(at+".subject", "DN entier attendu, par exemple CN=dpi,OU=3990000028,O=CH DES ESSAIS,C=FR")
			}
		}
		for j, t := range one.Thumbprints {
			if !thumbprintForm.MatchString(t) {
				p.add(fmt.Sprintf("%s.thumbprints[%d]", at, j), "empreinte x5t#S256 attendue : 43 caractères (SHA-256 en base64url)")
			}
			claim(fmt.Sprintf("%s.thumbprints[%d]", at, j), "certificate "+t)
		}
		for j, file := range one.Certificates {
			cert, err := readCertificate(file)
			if err != nil {
				p.add(fmt.Sprintf("%s.certificates[%d]", at, j), said(err))
				continue
			}
			claim(fmt.Sprintf("%s.certificates[%d]", at, j), "certificate "+thumbprint(cert))
		}
		if len(one.PSCClients) == 0 || slices.Contains(one.PSCClients, "") {
			p.add(at+".psc_clients", "indiquez les client_id (à Pro Santé Connect) dont ce logiciel présente les jetons")
		}
		if slices.Contains(one.PSCClients, "*") && c.Environment != envSandbox {
			p.add(at+".psc_clients", `"*" est réservé au bac à sable : tout service de Pro Santé Connect pourrait y faire accepter ses jetons`)
		}
	}
}

// clientSecret reads the secret that PSC knows us by. What is pasted often
// carries characters that do not show, and PSC then says invalid_client.
func clientSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s : lisible par d'autres utilisateurs : chmod 600", file)
	}
	if info.Size() > 4096 {
		return "", fmt.Errorf("%s : trop long pour un secret", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s : vide", file)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s : contient un caractère invisible ou accentué ; copiez de nouveau le secret", file)
	}
	return secret, nil
}

// thumbprint is x5t#S256 of a certificate (RFC 8705).
func thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func prefixes(list []string) (all []netip.Prefix, err error) {
	for _, s := range list {
		one, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// professionals are the doors of Pro Santé Connect.
type professionals struct {
	login   *psc.Login  // of browsers
	server  *psc.Server // of software
	proxy   *psc.Proxy  // of software without a browser; nil: there is none
	dmp     *httpapi.Upstream
	secure  bool             // browsers come by https
	host    string           // where they come
	console *console.Console // nil: there is none
}

// loginSweep is how often sessions and tokens that are over are removed.
const loginSweep = time.Minute

// professionals makes them; nil when no Pro Santé Connect is configured. It asks
// PSC nothing: the gateway starts without it.
func (m *Main) professionals() (*professionals, error) {
	c := m.Config.PSC
	if c == nil {
		return nil, nil
	}
	client, err := m.pscClient()
	if err != nil {
		return nil, err
	}
	keys, err := psc.OpenKeys(keysFile(&m.Config), m.Clock, m.Random)
	if err != nil {
		return nil, err
	}
	atDMP, err := m.dmpTLS()
	if err != nil {
		return nil, err
	}
	store := m.journal.Logins()
	var exchanger psc.DMPExchanger
	if *c.DMPExchange {
		exchanger = &psc.Exchanger{TokenURL: m.Config.DMP.Token, RevokeURL: m.Config.DMP.Revoke, ClientID: m.Config.DMP.ClientID,
			HTTP: m.outward(atDMP), Clock: m.Clock}
	}
	home, err := url.Parse(c.RedirectURI)
	if err != nil {
		return nil, err
	}
	out := &professionals{secure: home.Scheme == "https", host: home.Host}
	out.login, err = psc.NewLogin(psc.LoginConfig{Client: client, Keys: keys, Store: store, DMP: exchanger, Logger: m.Log, Idle: c.Idle, Absolute: c.Session})
	if err != nil {
		return nil, err
	}
	registered, err := c.registered()
	if err != nil {
		return nil, err
	}
	proxies, err := prefixes(c.Proxies)
	if err != nil {
		return nil, err
	}
	out.server, err = psc.NewServer(psc.ServerConfig{Issuer: c.PublicURL, Client: client, Clients: registered, Keys: keys, Store: store, DMP: exchanger,
		Logger: m.Log, Life: c.TokenLife, Proxies: proxies})
	if err != nil {
		return nil, err
	}
	if out.proxy, err = m.proxy(out.server, exchanger, atDMP); err != nil {
		return nil, err
	}
	if out.dmp, err = httpapi.NewUpstream(m.Config.DMP.FHIR, atDMP, m.Config.DMP.Timeout); err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func(context.Context) error { out.dmp.Close(); return nil })
	m.background = append(m.background, func(ctx context.Context) { m.sweepLogins(ctx, store, keys) })
	return out, nil
}

func (m *Main) pscClient() (*psc.Client, error) {
	c := m.Config.PSC
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	secret := ""
	var err error
	if c.ClientSecretFile != "" {
		if secret, err = clientSecret(c.ClientSecretFile); err != nil {
			return nil, err
		}
	}
	if c.Certificate != "" {
		kp, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{kp}
	}
	if c.CA != "" {
		if conf.RootCAs, err = pool(c.CA); err != nil {
			return nil, err
		}
	}
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	transport := &http.Transport{TLSClientConfig: conf, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	m.closers = append(m.closers, func(context.Context) error { transport.CloseIdleConnections(); return nil })
	return psc.NewClient(psc.Config{Issuer: c.Issuer, Discovery: c.Discovery, ClientID: c.ClientID, ClientSecret: secret,
		RedirectURI: c.RedirectURI, HTTP: &http.Client{Transport: transport}, Clock: m.Clock, Rand: m.Random})
}

func (c *PSCConfig) registered() (all []psc.RegisteredClient, err error) {
	for _, one := range c.Clients {
		r := psc.RegisteredClient{ID: one.ID, Subject: one.Subject, CommonName: one.CommonName, Thumbprints: slices.Clone(one.Thumbprints), PSCClients: one.PSCClients}
		for _, file := range one.Certificates {
			cert, err := readCertificate(file)
			if err != nil {
				return nil, err
			}
			r.Thumbprints = append(r.Thumbprints, thumbprint(cert))
		}
		all = append(all, r)
	}
	return all, nil
}

// sweepLogins removes what is over, and says when the file of keys is not good;
// nothing depends on when.
func (m *Main) sweepLogins(ctx context.Context, store psc.Store, keys *psc.Keys) {
	tick := time.NewTicker(loginSweep)
	defer tick.Stop()
	for {
		if err := keys.Reload(); err != nil {
			m.Log.Error("the keys of tokens cannot be read again; those that are held go on", "error", err)
		}
		n, err := store.Sweep(ctx, m.Clock())
		switch {
		case err != nil && ctx.Err() == nil:
			m.Log.Error("sweep of logins failed", "error", err)
		case n > 0:
			m.Log.LogAttrs(ctx, slog.LevelDebug, "sweep of logins", slog.Int("removed", n))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// doors adds the doors of Pro Santé Connect to those there are: those of software
// on gateway.https, those of browsers there too, or on gateway.http when that is
// where PSC sends them back to.
func (p *professionals) doors(notice string, overHTTPS, overHTTP http.Handler) (onHTTPS, onHTTP http.Handler) {
	if p == nil {
		return overHTTPS, overHTTP
	}
	software, browsers := http.NewServeMux(), http.NewServeMux()
	software.Handle("/", overHTTPS)
	browsers.Handle("/", overHTTP)
	p.server.Register(software)
	if p.proxy != nil {
		p.proxy.Register(software)
	}
	door := browsers
	if p.secure {
		door = software
	}
	p.login.Register(door)
	p.consoleDoors(door, browsers)
	return announced(notice, software), announced(notice, browsers)
}

// announced says in every answer that this is not production.
func announced(notice string, h http.Handler) http.Handler {
	if notice == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Passerelle-Environnement", notice)
		h.ServeHTTP(w, r)
	})
}
