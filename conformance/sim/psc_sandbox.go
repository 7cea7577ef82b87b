package sim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// openPSC starts Pro Santé Connect: its realm and its login page, on two ports
// as outside on two hosts.
func (s *Sandbox) openPSC(ca *authority, certs map[string]tls.Certificate) error {
	realm, err := s.listen(PortPSC)
	if err != nil {
		return err
	}
	wallet, err := s.listen(PortPSCWallet)
	if err != nil {
		return err
	}
	issuer := "https://" + realm.Addr().String() + PSCRealm
	s.psc, err = NewPSC(PSCConfig{Issuer: issuer, Wallet: "https://" + wallet.Addr().String() + "/auth", Dir: s.path("psc"),
		CA: ca.pool(), Clock: s.Now, Rand: s.cfg.Rand})
	if err != nil {
		return err
	}
	secret, err := s.pscSecret()
	if err != nil {
		return err
	}
	s.info.PSC = PSCInfo{Issuer: issuer, Discovery: issuer + "/.well-known/wallet-openid-configuration", Authorization: s.psc.cfg.Wallet,
		Token: issuer + "/protocol/openid-connect/token", ClientID: commonNames[roleClient], ClientSecret: secret}
	s.auth.subject = s.psc.subject
	s.registerPSC()
	s.serve(tls.NewListener(realm, serverTLS(certs[rolePSC], ca.pool())), s.psc.Realm())
	// A browser must not be asked for a certificate.
	s.serve(tls.NewListener(wallet, &tls.Config{Certificates: []tls.Certificate{certs[rolePSC]}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}}), s.psc.Wallet())
	return nil
}

// pscSecret reads the secret of the clients of the sandbox, or draws it.
func (s *Sandbox) pscSecret() (string, error) {
	path := s.path("psc-secret")
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return string(data), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("sim: %w", err)
	}
	secret, err := s.psc.text(24)
	if err != nil {
		return "", err
	}
	return secret, writeFile(path, []byte(secret), 0o600)
}

// registerPSC tells Pro Santé Connect its clients: that of the sandbox, which is
// also known by the vendor's certificate, and that of a vendor, if any. The
// caller does not hold the lock: Pro Santé Connect reads the clock under its own.
func (s *Sandbox) registerPSC() {
	s.mu.Lock()
	redirect, v, habits := s.redirect, s.vendor, s.registration
	s.mu.Unlock()
	own := PSCClient{ID: s.info.PSC.ClientID, Secret: s.info.PSC.ClientSecret, CommonName: commonNames[roleClient],
		MTLSOnly: habits.MTLSOnly, CIBA: habits.CIBA}
	if redirect != "" {
		own.RedirectURIs = []string{redirect}
		own.PostLogoutURIs = []string{strings.TrimSuffix(redirect, "/callback") + "/"}
	}
	list := []PSCClient{own}
	if v.ClientID == own.ID {
		list[0].RedirectURIs = append(list[0].RedirectURIs, v.RedirectURI)
	} else if v.ClientID != "" {
		list = append(list, PSCClient{ID: v.ClientID, Secret: own.Secret, CommonName: own.CommonName, RedirectURIs: []string{v.RedirectURI},
			MTLSOnly: habits.MTLSOnly, CIBA: habits.CIBA})
	}
	s.psc.SetClients(list...)
}

// PSCRegistration is what Pro Santé Connect grants the clients of the sandbox.
type PSCRegistration struct {
	MTLSOnly bool `json:"mtls_only"` // espace de Confiance: a secret is not enough
	CIBA     bool `json:"ciba"`
}

// SetRegistration changes it; outside, the ANS does on request.
func (s *Sandbox) SetRegistration(r PSCRegistration) {
	s.mu.Lock()
	s.registration = r
	s.mu.Unlock()
	s.registerPSC()
}

func (s *Sandbox) registered() PSCRegistration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registration
}

// SetRedirectURI registers where the gateway takes a browser back from Pro Santé
// Connect; it is known once the ports of the gateway are.
func (s *Sandbox) SetRedirectURI(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("sim: the redirect URI is not an absolute URL")
	}
	s.mu.Lock()
	s.redirect = uri
	s.mu.Unlock()
	s.registerPSC()
	return nil
}

// PSC is the simulated Pro Santé Connect, for what goes wrong with it.
func (s *Sandbox) PSC() *PSC { return s.psc }

// pscInfo is what the sandbox file says: the vendor's own client if there is one.
func (s *Sandbox) pscInfo() PSCInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.info.PSC
	i.RedirectURI = s.redirect
	if s.vendor.ClientID != "" {
		i.ClientID, i.RedirectURI = s.vendor.ClientID, s.vendor.RedirectURI
	}
	return i
}

func (s *Sandbox) pscKnobs() []knob {
	return append([]knob{
		s.cibaKnob(),
		{Path: "/psc/faults", state: func() any { return s.psc.Faults() },
			Values: map[string]any{"fault": PSCFaults(), "token": []string{"id", "access", "userinfo"},
				"path": "down, unavailable, slow, html : fin du chemin, par exemple /token", "count": "0 = jusqu'à remise à zéro", "ms": "slow"},
			Description: "Pannes et mensonges de Pro Santé Connect. PUT remplace la liste (un objet ou un tableau), POST ajoute, DELETE répare tout.",
			set:         func(b []byte) error { return s.setPSCFaults(b, nil) },
			add:         func(b []byte) error { return s.setPSCFaults(b, s.psc.Faults()) },
			reset:       func() error { return s.psc.SetFaults() }},
		{Path: "/psc/keys", Values: "corps vide", Description: "POST : Pro Santé Connect signe désormais avec une nouvelle clé ; la précédente reste publiée.",
			add: func([]byte) error { return s.psc.RotateKeys() }},
		{Path: "/psc/token", state: func() any { return map[string]int{"lifetime_seconds": int(s.psc.AccessLife().Seconds())} },
			Values:      map[string]string{"lifetime_seconds": "1 à 86400"},
			Description: "Durée de vie des jetons d'accès de Pro Santé Connect. DELETE revient à 120 secondes.",
			set:         s.setPSCLife, reset: func() error { s.psc.SetAccessLife(0); return nil }},
	}, s.pscMore()...)
}

// pscMore are the knobs of who may do what, and of time.
func (s *Sandbox) pscMore() []knob {
	return []knob{
		{Path: "/psc/registration", state: func() any { return s.registered() }, Values: map[string]any{"ciba": []bool{false, true}, "mtls_only": []bool{false, true}},
			Description: "Ce que Pro Santé Connect accorde aux clients du bac à sable : connexion sans navigateur (ciba, désactivée au départ comme à l'extérieur), certificat obligatoire (mtls_only).",
			set: func(b []byte) error {
				var v PSCRegistration
				if err := decodeStrict(b, &v); err != nil {
					return err
				}
				s.SetRegistration(v)
				return nil
			},
			reset: func() error { s.SetRegistration(PSCRegistration{}); return nil }},
		{Path: "/psc/clock", state: func() any { return map[string]string{"offset": s.psc.Skew().String()} },
			Values:      map[string]string{"offset": `décalage de Pro Santé Connect seul, par exemple "45s" ou "-2m"`},
			Description: "Horloge de Pro Santé Connect, par rapport au reste du bac à sable. DELETE la remet à l'heure.",
			set: func(b []byte) error {
				var v struct {
					Offset string `json:"offset"`
				}
				if err := decodeStrict(b, &v); err != nil {
					return err
				}
				d, err := time.ParseDuration(v.Offset)
				if err != nil {
					return errors.New(`offset est une durée, par exemple "45s"`)
				}
				s.psc.SetSkew(d)
				return nil
			},
			reset: func() error { s.psc.SetSkew(0); return nil }},
		{Path: "/psc/people", state: func() any {
			type person struct {
				ID         string `json:"id"`
				NationalID string `json:"national_id"`
				Profession string `json:"profession"`
				Name       string `json:"name"`
			}
			var all []person
			for _, p := range pscPeople() {
				all = append(all, person{p.ID, p.NationalID, p.Profession, p.Name})
			}
			return all
		}, Description: "Professionnels que connaît Pro Santé Connect ; national_id vaut login_hint."},
	}
}

func (s *Sandbox) setPSCFaults(body []byte, before []PSCFault) error {
	var list []PSCFault
	var one PSCFault
	if err := decodeStrict(body, &one); err == nil {
		list = []PSCFault{one}
	} else if listErr := decodeStrict(body, &list); listErr != nil {
		return err
	}
	return s.psc.SetFaults(slices.Concat(before, list)...)
}

func (s *Sandbox) setPSCLife(body []byte) error {
	var v struct {
		Seconds int `json:"lifetime_seconds"`
	}
	if err := decodeStrict(body, &v); err != nil {
		return err
	}
	if v.Seconds < 1 || v.Seconds > 86400 {
		return errors.New("lifetime_seconds va de 1 à 86400")
	}
	s.psc.SetAccessLife(time.Duration(v.Seconds) * time.Second)
	return nil
}
