package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// ProxyConfig opens /connect, /send and /disconnect: software without a browser
// logs professionals in on their own device, and calls APIs in their name. The
// DMP is always among them, under the name dmp.
type ProxyConfig struct {
	Backends []BackendConfig `yaml:"backends,omitempty"`
}

// BackendConfig is one API behind /send/<name>/.
type BackendConfig struct {
	Name        string `yaml:"name"`
	URL         string `yaml:"url"`
	Token       string `yaml:"token"`            // exchange of RFC 8693
	Revoke      string `yaml:"revoke,omitempty"` // RFC 7009, at logout
	ClientID    string `yaml:"client_id"`        // at its authorization server
	Scope       string `yaml:"scope"`            // asked for at exchange
	Certificate string `yaml:"certificate"`      // that tokens are bound to
	Key         string `yaml:"key"`
	CA          string `yaml:"ca,omitempty"` // empty: the authorities of the machine
}

// traceLife is how long traces of the proxy are kept.
const traceLife = 365 * 24 * time.Hour

var backendForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (c *ProxyConfig) paths() (all []*string) {
	for i := range c.Backends {
		b := &c.Backends[i]
		all = append(all, &b.Certificate, &b.Key, &b.CA)
	}
	return all
}

func (c *Config) proxyProblems(p *problemList, now time.Time) {
	if c.PSC.Proxy == nil {
		return
	}
	if len(c.PSC.Clients) == 0 {
		p.add("psc.proxy", "aucun logiciel ne peut s'en servir : déclarez leurs certificats sous psc.clients")
	}
	if c.PSC.DMPExchange != nil && !*c.PSC.DMPExchange && len(c.PSC.Proxy.Backends) == 0 {
		p.add("psc.proxy.backends", "aucun service : mettez dmp_exchange à true, ou déclarez-en un")
	}
	seen := map[string]bool{"dmp": true}
	for i, b := range c.PSC.Proxy.Backends {
		at := fmt.Sprintf("psc.proxy.backends[%d]", i)
		switch {
		case !backendForm.MatchString(b.Name):
			p.add(at+".name", "nom attendu : lettres minuscules, chiffres et tirets, 32 au plus")
		case seen[b.Name]:
			p.add(at+".name", "déjà pris (dmp est celui du DMP)")
		}
		seen[b.Name] = true
		p.outside(c.Environment, at+".url", b.URL)
		if u, err := url.Parse(b.URL); err == nil && (u.RawQuery != "" || strings.HasSuffix(b.URL, "/")) {
			p.add(at+".url", "adresse attendue sans paramètre ni / final")
		}
		p.outside(c.Environment, at+".token", b.Token)
		if b.Revoke != "" {
			p.outside(c.Environment, at+".revoke", b.Revoke)
		}
		p.require(at+".client_id", b.ClientID)
		p.require(at+".scope", b.Scope)
		p.pair(c.Environment, at, b.Certificate, b.Key, clientRole, now)
		if b.CA != "" {
			p.authority(c.Environment, at+".ca", b.CA)
		}
	}
}

// proxy makes it; nil when it is not configured.
func (m *Main) proxy(server *psc.Server, dmp psc.DMPExchanger, atDMP *tls.Config) (*psc.Proxy, error) {
	c := m.Config.PSC
	if c.Proxy == nil {
		return nil, nil
	}
	traces, err := psc.OpenTraces(filepath.Join(m.Config.Data, "psc-traces"), traceLife)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func(context.Context) error { return traces.Close() })
	var backends []psc.Backend
	if dmp != nil {
		backends = append(backends, psc.Backend{Name: "dmp", Base: strings.TrimSuffix(m.Config.DMP.FHIR, "/"), HTTP: m.outward(atDMP),
			Tokens: dmp, Allow: psc.ConsultationOnly})
	}
	for _, b := range c.Proxy.Backends {
		cert, err := tls.LoadX509KeyPair(b.Certificate, b.Key)
		if err != nil {
			return nil, err
		}
		conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
		if b.CA != "" {
			if conf.RootCAs, err = pool(b.CA); err != nil {
				return nil, err
			}
		}
		client := m.outward(conf)
		backends = append(backends, psc.Backend{Name: b.Name, Base: b.URL, HTTP: client, Tokens: &psc.Exchanger{
			TokenURL: b.Token, RevokeURL: b.Revoke, ClientID: b.ClientID, Scope: b.Scope, HTTP: client, Clock: m.Clock}})
	}
	return psc.NewProxy(psc.ProxyConfig{Server: server, Backends: backends, Traces: traces, Idle: c.Idle, Absolute: c.Session,
		ShowTraces: m.Config.Environment == envSandbox})
}

// outward is a client that presents a certificate, and takes no way but its own:
// a proxy of the environment would be one that nobody named.
func (m *Main) outward(conf *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	transport := &http.Transport{TLSClientConfig: conf, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		MaxIdleConnsPerHost: 8, DisableCompression: true}
	m.closers = append(m.closers, func(context.Context) error { transport.CloseIdleConnections(); return nil })
	return &http.Client{Transport: transport}
}
