package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/console"
)

// ConsoleConfig is who may open the console; nobody else can.
type ConsoleConfig struct {
	Allowed []ConsolePerson `yaml:"allowed"`
}

// ConsolePerson is one professional and the sites whose messages they see.
type ConsolePerson struct {
	ID             string   `yaml:"id"`             // national identifier (SubjectNameID at Pro Santé Connect)
	Establishments []string `yaml:"establishments"` // FINESS géographiques; "*" is all
	Decide         bool     `yaml:"decide"`         // may stop, replay, file and reject there; absent: only looks
}

func (c *Config) consoleProblems(p *problemList) {
	if c.Console == nil {
		return
	}
	if c.PSC == nil {
		p.add("console", "la console a besoin de Pro Santé Connect : renseignez psc")
	}
	seen := map[string]bool{}
	for i, one := range c.Console.Allowed {
		at := fmt.Sprintf("console.allowed[%d]", i)
		switch {
		case one.ID == "" || len(one.ID) > 100 || strings.ContainsFunc(one.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
			p.add(at+".id", "identifiant national attendu, par exemple 8 suivi du numéro RPPS")
		case seen[one.ID]:
			p.add(at+".id", "déjà déclaré")
		}
		seen[one.ID] = true
		if len(one.Establishments) == 0 {
			p.add(at+".establishments", `indiquez les FINESS géographiques que cette personne voit ("*" : tous)`)
		}
		for j, site := range one.Establishments {
			if site != "*" && !slices.ContainsFunc(c.Establishments, func(e EstablishmentConfig) bool { return e.FINESSGeo == site }) {
				p.add(fmt.Sprintf("%s.establishments[%d]", at, j), "établissement "+site+" non déclaré")
			}
		}
	}
}

// access gives each person of the configuration their sites.
func (c *Config) access() map[string][]string {
	out := map[string][]string{}
	for _, one := range c.Console.Allowed {
		sites := one.Establishments
		if slices.Contains(sites, "*") {
			sites = nil
			for _, e := range c.Establishments {
				sites = append(sites, e.FINESSGeo)
			}
		}
		out[one.ID] = sites
	}
	return out
}

// deciders names those who may decide.
func (c *Config) deciders() map[string]bool {
	out := map[string]bool{}
	for _, one := range c.Console.Allowed {
		out[one.ID] = one.Decide
	}
	return out
}

// openConsole makes the console; nobody sees it where nobody can log in.
func (m *Main) openConsole(sites []gateway.Establishment, alarms *gateway.Alarms, notice string) error {
	if m.people == nil || m.Config.Console == nil {
		return nil
	}
	c, err := console.New(console.Config{
		Journal: m.journal, Sessions: m.people.login, Establishments: sites, Access: m.Config.access(), Zone: m.zone, Log: m.Log, Notice: notice,
		Decisions: m.decider, Decide: m.Config.deciders(), Alarms: alarms.Standing, Certificates: m.Config.certificates, Clock: m.Clock,
	})
	m.people.console = c
	return err
}

// consoleDoors serves the console where browsers log in, and shows the way from
// gateway.http when that is elsewhere.
func (p *professionals) consoleDoors(door, local *http.ServeMux) {
	if p.console == nil {
		return
	}
	p.console.Register(door)
	if door == local {
		return
	}
	there := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, (&url.URL{Scheme: "https", Host: p.host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}).String(), http.StatusSeeOther)
	}
	local.HandleFunc("GET /{$}", there)
	local.HandleFunc("GET /console/", there)
}

// certificates reads those that the gateway uses, as they stand on the disk now:
// one that was renewed and not taken up yet shows its new date.
func (c *Config) certificates() []console.Certificate {
	type setting struct{ name, file string }
	all := []setting{{"gateway.certificate", c.Gateway.Certificate}, {"gateway.client_ca", c.Gateway.ClientCA}, {"dmp.certificate", c.DMP.Certificate}, {"dmp.ca", c.DMP.CA}}
	if c.MSS != nil {
		all = append(all, setting{"mss.certificate", c.MSS.Certificate}, setting{"mss.ca", c.MSS.CA})
	}
	if c.INSi != nil {
		all = append(all, setting{"insi.certificate", c.INSi.Certificate}, setting{"insi.ca", c.INSi.CA})
	}
	if c.PSC != nil {
		all = append(all, setting{"psc.certificate", c.PSC.Certificate}, setting{"psc.ca", c.PSC.CA})
	}
	for i, h := range c.HL7 {
		all = append(all, setting{fmt.Sprintf("hl7[%d].certificate", i), h.Certificate})
	}
	var out []console.Certificate
	for _, s := range all {
		if s.file == "" {
			continue
		}
		certs, err := readCertificates(s.file)
		if err != nil {
			out = append(out, console.Certificate{Name: s.name, Problem: "le fichier ne peut pas être lu / the file cannot be read"})
			continue
		}
		if !strings.HasSuffix(s.name, "ca") {
			certs = certs[:1] // what follows is its chain
		}
		for _, cert := range certs {
			out = append(out, console.Certificate{Name: s.name, Subject: cert.Subject.CommonName, Expires: cert.NotAfter})
		}
	}
	return out
}
