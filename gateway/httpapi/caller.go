package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/ins"
)

// Callers says who calls; gateway/psc implements it.
type Callers interface {
	// Certificate is the caller's, verified by TLS or by a named proxy; nil when
	// there is none.
	Certificate(r *http.Request) (*x509.Certificate, error)
	// Verify gives the holder of the bearer, over the certificate it is bound to.
	Verify(r *http.Request) (psc.Professional, error)
	// DMPToken is the DMP bearer that was kept for this professional at exchange.
	DMPToken(ctx context.Context, p psc.Professional) (string, error)
}

// caller is who makes a request: a machine of one or several establishments, or
// a professional.
type caller struct {
	sites []gateway.Establishment // it may act for
	name  string                  // of its software, as the journal names a sender
	pro   *psc.Professional       // nil: a machine
}

// finess lists the sites as the journal selects by them.
func (c *caller) finess() []string {
	var all []string
	for _, s := range c.sites {
		all = append(all, s.FINESSGeo)
	}
	return all
}

// site finds one of the caller's sites: the one named, or the only one.
func (c *caller) site(finess string) (gateway.Establishment, bool) {
	if finess == "" && len(c.sites) == 1 {
		return c.sites[0], true
	}
	for _, s := range c.sites {
		if finess != "" && s.FINESSGeo == finess {
			return s, true
		}
	}
	return gateway.Establishment{}, false
}

// party is how the journal names this sender.
func (c *caller) party(site gateway.Establishment) gateway.Party {
	return gateway.Party{Application: c.name, Facility: site.FINESSGeo}
}

// requester is who asks for a transaction: the professional who is logged in,
// else whom the envelope names.
func (c *caller) requester(claimed *dmp.Requester, site gateway.Establishment) *dmp.Requester {
	if c.pro != nil {
		return &dmp.Requester{
			Person:       &dmp.Person{ID: dmp.ID{Root: dmp.OIDPerson, Extension: c.pro.NationalID}, Family: c.pro.Family, Given: c.pro.Given},
			Organisation: structure(site),
		}
	}
	if claimed != nil && claimed.Organisation.ID.Zero() {
		claimed.Organisation = structure(site)
	}
	return claimed
}

// asker is who INSi is asked for: the professional who is logged in, else the
// machine.
func (c *caller) asker() *gateway.Asker {
	if c.pro == nil {
		return &gateway.Asker{Actor: ins.Actor{ID: c.name}}
	}
	a := &gateway.Asker{Actor: ins.Actor{ID: c.pro.NationalID, Human: true}, Name: strings.TrimSpace(c.pro.Given + " " + c.pro.Family)}
	if c.pro.Situation != nil {
		a.Specialty = c.pro.Situation.Speciality
	}
	return a
}

// structure is the establishment as an author's structure: 1 before a FINESS.
func structure(site gateway.Establishment) dmp.Organisation {
	return dmp.Organisation{ID: dmp.ID{Root: dmp.OIDOrganisation, Extension: "1" + site.FINESSGeo}, Name: site.Name}
}

// Fingerprint is how [API.Machines] names a certificate (DER).
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// certificate is the caller's; nil when there is none.
func (a *API) certificate(r *http.Request) (*x509.Certificate, error) {
	if a.Callers != nil {
		return a.Callers.Certificate(r)
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil, nil
	}
	return r.TLS.VerifiedChains[0][0], nil
}

// machine finds a caller by its certificate alone.
func (a *API) machine(r *http.Request) (*caller, error) {
	cert, err := a.certificate(r)
	if err != nil {
		return nil, err
	}
	if cert == nil {
		return nil, fault.New(gateway.FaultUnauthenticated)
	}
	c := &caller{name: cert.Subject.CommonName}
	for _, finess := range a.Machines[Fingerprint(cert.Raw)] {
		for _, e := range a.Establishments {
			if e.FINESSGeo == finess {
				c.sites = append(c.sites, e)
			}
		}
	}
	if len(c.sites) == 0 {
		return nil, fault.New(gateway.FaultUnauthenticated)
	}
	return c, nil
}

// professional finds a caller by its bearer. What is asked of it on top of
// being logged in is for the operation to say.
func (a *API) professional(r *http.Request) (*caller, error) {
	if a.Callers == nil {
		return nil, fault.New(FaultNoLogin)
	}
	p, err := a.Callers.Verify(r)
	if err != nil {
		return nil, err
	}
	c := &caller{name: p.Client, pro: &p}
	for _, e := range a.Establishments {
		if worksAt(p, e) {
			c.sites = append(c.sites, e)
		}
	}
	return c, nil
}

// worksAt tells whether one of the professional's situations is at a site: the
// chosen one, when one was chosen.
func worksAt(p psc.Professional, e gateway.Establishment) bool {
	situations := p.Situations
	if p.Situation != nil {
		situations = []psc.Situation{*p.Situation}
	}
	for _, s := range situations {
		if s.FINESSGeo == e.FINESSGeo {
			return true
		}
	}
	return false
}

// bears tells whether a request carries a bearer: then it is judged by it, and
// never falls back to its certificate.
func bears(r *http.Request) bool {
	for _, v := range r.Header.Values("Authorization") {
		if scheme, _, _ := strings.Cut(v, " "); strings.EqualFold(scheme, "Bearer") {
			return true
		}
	}
	return false
}

type handler func(http.ResponseWriter, *http.Request, *caller) error

// depositor lets through a machine of an establishment or a professional.
func (a *API) depositor(face face, next handler) http.HandlerFunc {
	return a.door(face, func(r *http.Request) (*caller, error) {
		if bears(r) {
			return a.professional(r)
		}
		return a.machine(r)
	}, next)
}

// carer lets through a professional with an activity of care, and nobody else.
func (a *API) carer(face face, next handler) http.HandlerFunc {
	return a.door(face, func(r *http.Request) (*caller, error) {
		c, err := a.professional(r)
		if err == nil {
			err = c.pro.Care()
		}
		return c, err
	}, next)
}

func (a *API) door(face face, who func(*http.Request) (*caller, error), next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := who(r)
		if err == nil {
			err = next(w, r, c)
		}
		if err != nil {
			a.fail(face, w, r, err)
		}
	}
}
