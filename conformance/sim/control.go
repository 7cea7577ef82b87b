package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"
)

// notice stands in every textual answer of the sandbox.
const notice = "Bac à sable Passerelle : services et personnes fictifs, aucune donnée réelle, ne jamais utiliser en production."

// knob is one thing that the control port can turn.
type knob struct {
	Path        string   `json:"path"`
	Methods     []string `json:"methods"`
	Values      any      `json:"values"`
	State       any      `json:"state"`
	Description string   `json:"description"`

	state func() any
	set   func(body []byte) error // PUT
	add   func(body []byte) error // POST
	reset func() error            // DELETE
}

// VendorClient is a vendor's own client of Pro Santé Connect.
type VendorClient struct {
	ClientID    string `json:"client_id"`
	RedirectURI string `json:"redirect_uri"`
}

var (
	dmpModes      = []Mode{Down, Slow, Refuse, Cut, Hold, Lie}
	hospitalModes = []Mode{Down, Slow, Refuse, Cut, Hold, Silent, Lie}
)

func (s *Sandbox) knobs() []knob {
	filter := "count (0 = jusqu'à remise à zéro)"
	return append([]knob{
		{Path: "/dmp/faults", state: func() any { return s.dmp.troubles.get() },
			Values: map[string]any{"mode": dmpModes, "method": "filtre", "path": "filtre : début du chemin, par exemple /fhir ou /token", "count": filter,
				"ms": "slow", "status": "refuse", "code": "refuse : code FHIR", "bytes": "cut : octets de la réponse, ligne d'état comprise",
				"when": "cut, hold, refuse, lie : before (reçu, non traité) ou after (traité)", "lie": lies},
			Description: "Pannes du DMP. PUT remplace la liste (un objet ou un tableau), POST ajoute, DELETE répare tout et libère ce qui est retenu.",
			set:         func(b []byte) error { return setTroubles(b, dmpModes, s.SetDMPTroubles) },
			add: func(b []byte) error {
				return setTroubles(b, dmpModes, func(l ...Trouble) { s.SetDMPTroubles(append(s.dmp.troubles.get(), l...)...) })
			},
			reset: func() error { s.SetDMPTroubles(); return nil }},
		{Path: "/dmp/release", Values: "corps vide", Description: "POST : libère les requêtes retenues (hold) sans changer les pannes.",
			add: func([]byte) error { s.dmp.troubles.letGo(); return nil }},
		{Path: "/dmp/counters", state: func() any { return s.dmp.troubles.seen(false) }, Values: nil,
			Description: "Requêtes reçues, traitées, répondues par le DMP. DELETE remet à zéro.",
			reset:       func() error { s.dmp.troubles.seen(true); return nil }},
		{Path: "/dmp/token", state: func() any {
			return map[string]any{"lifetime_seconds": int(s.auth.getLifetime().Seconds()), "cnf": s.auth.getCNF()}
		},
			Values:      map[string]string{"lifetime_seconds": "1 à 86400", "cnf": "rfc (RFC 8705) ou hex (empreinte hexadécimale en base64, vue dans des exemples de l'ANS)"},
			Description: "Jetons émis par le serveur d'autorisation du DMP : durée de vie, forme de cnf. DELETE revient à une heure et à la RFC.",
			set:         s.setTokenHabits, reset: func() error { s.auth.setLifetime(time.Hour); s.auth.setCNF(cnfRFC); return nil }},
		{Path: "/hospital/faults", state: func() any { return s.hospital.troubles.get() },
			Values: map[string]any{"mode": hospitalModes, "path": "filtre : début de MSH-9, par exemple ZAM^Z01", "count": filter, "ms": "slow",
				"code": "refuse : AE ou AR", "bytes": "cut : octets de l'acquittement"},
			Description: "Pannes du logiciel de l'hôpital. Sauf down (et cut/before), le message est gardé avant la panne. PUT remplace, POST ajoute, DELETE répare.",
			set:         func(b []byte) error { return setTroubles(b, hospitalModes, s.SetHospitalTroubles) },
			add: func(b []byte) error {
				return setTroubles(b, hospitalModes, func(l ...Trouble) { s.SetHospitalTroubles(append(s.hospital.troubles.get(), l...)...) })
			},
			reset: func() error { s.SetHospitalTroubles(); return nil }},
		{Path: "/hospital/release", Values: "corps vide", Description: "POST : libère les acquittements retenus (hold).",
			add: func([]byte) error { s.hospital.troubles.letGo(); return nil }},
		{Path: "/hospital/counters", state: func() any { return s.hospital.troubles.seen(false) }, Values: nil,
			Description: "Messages reçus, gardés, acquittés par l'hôpital. DELETE remet à zéro.",
			reset:       func() error { s.hospital.troubles.seen(true); return nil }},
		{Path: "/clock", state: func() any { return map[string]any{"offset": s.Offset().String(), "now": s.Now()} },
			Values:      map[string]string{"offset": `décalage, par exemple "1h30m" ou "-15m"`},
			Description: "Horloge du bac à sable. DELETE revient à l'heure.",
			set:         s.setClock, reset: func() error { s.SetOffset(0); return nil }},
		{Path: "/psc/client", state: func() any { return s.vendorClient() },
			Values:      map[string]string{"client_id": "identifiant", "redirect_uri": "URL absolue http(s)"},
			Description: "Enregistre le client Pro Santé Connect d'un éditeur. DELETE l'oublie.",
			set:         s.setVendor, reset: func() error { return s.storeVendor(VendorClient{}) }},
	}, slices.Concat(s.operatorKnobs(), s.pscKnobs(), s.insiKnobs())...)
}

// decodeStrict reads one JSON value and nothing else, so that a misspelt knob
// is an error and not a fault that never strikes.
func decodeStrict(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("JSON illisible : %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("JSON illisible : une seule valeur attendue")
	}
	return nil
}

func setTroubles(body []byte, modes []Mode, apply func(...Trouble)) error {
	var list []Trouble
	var one Trouble
	if err := decodeStrict(body, &one); err == nil {
		list = []Trouble{one}
	} else if listErr := decodeStrict(body, &list); listErr != nil {
		return err
	}
	if len(list) > 100 {
		return errors.New("cent pannes au plus")
	}
	hospital := slices.Contains(modes, Silent)
	for i, t := range list {
		if hospital && t.Mode == Lie {
			list[i].Lie = "count" // the hospital knows one lie: another MSA-2
		}
		if hospital && t.Mode == Refuse && t.Code != "AE" && t.Code != "AR" {
			return errors.New("code vaut AE ou AR")
		}
		if err := list[i].check(modes); err != nil {
			return err
		}
	}
	apply(list...)
	return nil
}

func (s *Sandbox) setTokenHabits(body []byte) error {
	v := struct {
		Seconds int    `json:"lifetime_seconds"`
		CNF     string `json:"cnf"`
	}{int(s.auth.getLifetime().Seconds()), s.auth.getCNF()}
	if err := decodeStrict(body, &v); err != nil {
		return err
	}
	if v.Seconds < 1 || v.Seconds > 86400 {
		return errors.New("lifetime_seconds va de 1 à 86400")
	}
	if v.CNF != cnfRFC && v.CNF != cnfHex {
		return errors.New("cnf vaut rfc ou hex")
	}
	s.auth.setLifetime(time.Duration(v.Seconds) * time.Second)
	s.auth.setCNF(v.CNF)
	return nil
}

func (s *Sandbox) setClock(body []byte) error {
	var v struct {
		Offset string `json:"offset"`
	}
	if err := decodeStrict(body, &v); err != nil {
		return err
	}
	d, err := time.ParseDuration(v.Offset)
	if err != nil {
		return errors.New(`offset est une durée, par exemple "1h30m"`)
	}
	s.SetOffset(d)
	return nil
}

func (s *Sandbox) setVendor(body []byte) error {
	var v VendorClient
	if err := decodeStrict(body, &v); err != nil {
		return err
	}
	u, err := url.Parse(v.RedirectURI)
	if err != nil || u.Host == "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("redirect_uri est une URL absolue, sans fragment")
	}
	if v.ClientID == "" || len(v.ClientID) > 200 {
		return errors.New("client_id manque ou est trop long")
	}
	return s.storeVendor(v)
}

func (s *Sandbox) storeVendor(v VendorClient) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.keepVendor(v, data); err != nil {
		return errors.New("l'enregistrement a échoué")
	}
	s.registerPSC()
	return nil
}

func (s *Sandbox) keepVendor(v VendorClient, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeFile(s.path("psc-client.json"), data, 0o600); err != nil {
		return err
	}
	s.vendor = v
	return nil
}

func (s *Sandbox) loadVendor() error {
	data, err := os.ReadFile(s.path("psc-client.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	return json.Unmarshal(data, &s.vendor)
}

func (s *Sandbox) vendorClient() VendorClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vendor
}

// control is the handler of the control port.
func (s *Sandbox) control() http.Handler {
	mux := http.NewServeMux()
	list := s.knobs()
	for i, k := range list {
		if k.state != nil {
			list[i].Methods = append(list[i].Methods, http.MethodGet)
		}
		if k.set != nil {
			list[i].Methods = append(list[i].Methods, http.MethodPut)
		}
		if k.add != nil {
			list[i].Methods = append(list[i].Methods, http.MethodPost)
		}
		if k.reset != nil {
			list[i].Methods = append(list[i].Methods, http.MethodDelete)
		}
		mux.HandleFunc(k.Path, func(w http.ResponseWriter, r *http.Request) { turn(w, r, list[i]) })
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		now := slices.Clone(list)
		for i := range now {
			if now[i].state != nil {
				now[i].State = now[i].state()
			}
		}
		writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "knobs": now})
	})
	return localOnly(mux)
}

func turn(w http.ResponseWriter, r *http.Request, k knob) {
	if !slices.Contains(k.Methods, r.Method) {
		w.Header().Set("Allow", fmt.Sprint(k.Methods))
		refuseControl(w, http.StatusMethodNotAllowed, "méthodes admises ici : "+fmt.Sprint(k.Methods))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err == nil {
		switch r.Method {
		case http.MethodPut:
			err = k.set(body)
		case http.MethodPost:
			err = k.add(body)
		case http.MethodDelete:
			err = k.reset()
		}
	}
	if err != nil {
		refuseControl(w, http.StatusBadRequest, err.Error())
		return
	}
	var state any
	if k.state != nil {
		state = k.state()
	}
	writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "path": k.Path, "state": state})
}

func refuseControl(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]any{"bac_a_sable": notice, "error": text})
}

// localOnly refuses a page of the web that would reach the sandbox through the
// browser of its user: a foreign Host (DNS rebinding) or a foreign Origin.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		origin := r.Header.Get("Origin")
		u, err := url.Parse(origin)
		if (host != "127.0.0.1" && host != "localhost") ||
			(origin != "" && (err != nil || (u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost"))) {
			refuseControl(w, http.StatusForbidden, "le bac à sable ne répond qu'à cette machine")
			return
		}
		next.ServeHTTP(w, r)
	})
}
