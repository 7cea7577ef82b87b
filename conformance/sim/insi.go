package sim

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// INSiPath is where the teleservice answers.
const INSiPath = "/lps"

// maxINSiBody bounds a request to the teleservice.
const maxINSiBody = 256 << 10

// Styles of the XML that INSi answers. Both were seen; the server changed from
// one to the other without notice.
const (
	INSiStyleDefault  = "default" // no prefix in the result, soap in faults
	INSiStylePrefixed = "ns2"     // prefix ns2 in the result, S in faults
)

// INSi plays the INSi teleservice of CNAM: search by traits, search by carte
// Vitale, unit verification, over mutual TLS with a certificate named INSI-AUTO
// or INSI-MANU. It holds the fictitious people of testdata and those that CNDA
// and ANS publish; it changes nothing and keeps nothing.
//
// # Where we differ or had to choose
//
//   - A given name matches when it is the list or its first words, blank for
//     blank and hyphen for hyphen; the names that INSi neutralises are unknown.
//   - What INSi answers to a request that is not in order is not published: the
//     sandbox answers the fault bas_requete, which names the element.
//   - Every authorisation number is known but those that begin with INCONNU.
//   - The unit verification is UNCONFIRMED: its names come from public clients.
type INSi struct {
	people   []insiPerson
	troubles *troubles

	mu    sync.Mutex
	style string
}

var (
	insiModes = []Mode{Down, Slow, Refuse, Cut, Hold, Lie}
	insiLies  = []string{"html", "empty", "count", "other-id"}
)

// NewINSi makes the teleservice.
func NewINSi() *INSi {
	return &INSi{people: insiPeople(), troubles: newTroubles(), style: INSiStyleDefault}
}

// SetStyle chooses how answers are written.
func (s *INSi) SetStyle(style string) error {
	if style != INSiStyleDefault && style != INSiStylePrefixed {
		return errors.New("style vaut default ou ns2")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.style = style
	return nil
}

// Style is how answers are written.
func (s *INSi) Style() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.style
}

// SetTroubles replaces what goes wrong, and lets go what is held.
func (s *INSi) SetTroubles(list ...Trouble) { s.troubles.set(list) }

// Counters tell what reached the teleservice.
func (s *INSi) Counters() Counters { return s.troubles.seen(false) }

// ServeHTTP answers one request, badly if that is asked for. Path filters of
// troubles are those of HTTP; the operation is in the counters.
func (s *INSi) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, release := s.troubles.strike(r.Method, r.URL.Path)
	if t.Mode == Down {
		hangUp(w, nil)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxINSiBody))
	if err != nil {
		http.Error(w, "Bac à sable : requête illisible ou trop longue", http.StatusRequestEntityTooLarge)
		return
	}
	request, bad := readINSi(body)
	s.troubles.received(request.operation())
	answer := func() *recorder {
		s.troubles.count(func(c *Counters) { c.Processed++ })
		a := &recorder{header: http.Header{}, status: http.StatusOK}
		s.answer(a, r, request, bad)
		return a
	}
	var a *recorder
	switch t.Mode {
	case Slow:
		wait(time.Duration(t.Milliseconds)*time.Millisecond, r.Context().Done())
	case Hold:
		s.troubles.count(func(c *Counters) { c.Held++ })
		select {
		case <-release:
		case <-r.Context().Done():
		}
		s.troubles.count(func(c *Counters) { c.Held-- })
	case Refuse:
		a = s.refuse(t, request.id())
	case Cut:
		raw := answer().wire(r)
		hangUp(w, raw[:min(t.Bytes, len(raw))])
		return
	case Lie:
		a = s.lie(t.Lie)
	}
	if r.Context().Err() != nil {
		hangUp(w, nil) // nobody waits any more: a bare return would say 200
		return
	}
	if a == nil {
		a = answer()
	}
	a.copyTo(w)
	s.troubles.count(func(c *Counters) { c.Answered++ })
}

// refuse is the fault that a knob asks for: one of those of INSi by its code, or
// a bare HTTP status.
func (s *INSi) refuse(t Trouble, messageID string) *recorder {
	a := &recorder{header: http.Header{}, status: t.Status}
	if f, known := insiFaults[strings.ToLower(t.Code)]; known {
		s.fault(a, f, messageID)
		return a
	}
	if a.status == 0 {
		a.status = http.StatusServiceUnavailable
	}
	a.header.Set("Content-Type", "text/plain; charset=utf-8")
	a.body.WriteString("Bac à sable : refus demandé")
	return a
}

// lie is a wrong answer with status 200.
func (s *INSi) lie(lie string) *recorder {
	a := &recorder{header: http.Header{}, status: http.StatusOK}
	switch lie {
	case "html":
		a.header.Set("Content-Type", "text/html; charset=utf-8")
		a.body.WriteString("<!doctype html><title>Bac à sable</title><p>Mensonge demandé au bac à sable : ceci n'est pas du SOAP.</p>")
	case "count": // found, and nobody
		s.result(a, crFound, nil)
	case "other-id": // somebody else
		s.result(a, crFound, &s.people[len(s.people)-1])
	}
	return a
}

// answer is what the teleservice itself says.
func (s *INSi) answer(w http.ResponseWriter, r *http.Request, q insiRequest, bad string) {
	plain := func(status int, text string) { http.Error(w, "Bac à sable : "+text, status) }
	switch {
	case r.TLS == nil || len(r.TLS.PeerCertificates) == 0:
		plain(http.StatusUnauthorized, "l'INSi exige un certificat client, INSI-AUTO ou INSI-MANU")
		return
	case r.URL.Path != INSiPath:
		plain(http.StatusNotFound, "l'INSi répond sous "+INSiPath)
		return
	case r.Method != http.MethodPost:
		plain(http.StatusMethodNotAllowed, "l'INSi se demande par POST")
		return
	case !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/soap+xml"):
		plain(http.StatusUnsupportedMediaType, "Content-Type: application/soap+xml")
		return
	}
	if bad == "" {
		bad = q.incomplete()
	}
	caller := r.TLS.PeerCertificates[0].Subject
	fault := ""
	switch {
	case caller.CommonName != "INSI-AUTO" && caller.CommonName != "INSI-MANU":
		fault = "desir_560"
	case bad != "":
		s.fault(w, insiFault{subcode: "siram_bas", detail: "bas_requete", severity: "erreur", text: "Requête refusée par le bac à sable : " + bad}, q.id())
		return
	case strings.HasPrefix(q.Header.LPS.LPS.IDAM.Value, "INCONNU"):
		fault = "desir_550"
	case q.Header.Security == nil && len(caller.OrganizationalUnit) > 0 && !slices.Contains(caller.OrganizationalUnit, q.Header.LPS.Emetteur):
		fault = "desir_560"
	case q.Body.Sans != nil:
		fault = insiMagic[q.Body.Sans.Name]
	}
	if f, known := insiFaults[fault]; known {
		s.fault(w, f, q.id())
		return
	}
	switch fault {
	case "html":
		s.lie("html").copyTo(w)
		return
	case "count":
		s.result(w, crFound, nil)
		return
	case "slow":
		wait(2*time.Second, r.Context().Done())
	}
	var found []insiPerson
	switch {
	case q.Body.Verify != nil:
		s.verdict(w, slices.ContainsFunc(s.people, q.Body.Verify.agrees))
		return
	case q.Body.Vitale != nil:
		found = s.find(q.Body.Vitale.matches)
	default:
		found = s.find(q.Body.Sans.matches)
	}
	switch len(found) {
	case 0:
		s.result(w, crNone, nil)
	case 1:
		s.result(w, crFound, &found[0])
	default:
		s.result(w, crSeveral, nil)
	}
}

func (s *INSi) find(matches func(insiPerson) bool) []insiPerson {
	var out []insiPerson
	for _, p := range s.people {
		if matches(p) {
			out = append(out, p)
		}
	}
	return out
}

// insiTroubles reads the body of a knob.
func insiTroubles(body []byte) ([]Trouble, error) {
	var list []Trouble
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		var one Trouble
		if err := decodeStrict(body, &one); err != nil {
			return nil, err
		}
		list = []Trouble{one}
	} else if err := decodeStrict(body, &list); err != nil {
		return nil, err
	}
	if len(list) > 100 {
		return nil, errors.New("cent pannes au plus")
	}
	for _, t := range list {
		if t.Mode == Lie && !slices.Contains(insiLies, t.Lie) {
			return nil, fmt.Errorf("lie vaut l'un de %v", insiLies)
		}
		if _, known := insiFaults[strings.ToLower(t.Code)]; t.Code != "" && !known {
			return nil, errors.New("code vaut insi_102, desir_1020, desir_550, desir_560 ou insi_999")
		}
		if err := t.check(insiModes); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// openINSi starts the teleservice on its own port.
func (s *Sandbox) openINSi(ca *authority, certs map[string]tls.Certificate) error {
	l, err := s.listen(PortINSi)
	if err != nil {
		return err
	}
	s.insi = NewINSi()
	s.insiGate = &gate{Listener: l, troubles: s.insi.troubles, conns: map[net.Conn]bool{}}
	s.serve(tls.NewListener(s.insiGate, serverTLS(certs[roleINSiServer], ca.pool())), s.insi)
	s.info.INSi.URL = "https://" + l.Addr().String() + INSiPath
	return nil
}

// INSi is the simulated teleservice.
func (s *Sandbox) INSi() *INSi { return s.insi }

// SetINSiTroubles replaces what goes wrong with INSi; without arguments
// everything works again.
func (s *Sandbox) SetINSiTroubles(list ...Trouble) {
	s.insi.SetTroubles(list...)
	s.insiGate.enforce()
}

func (s *Sandbox) insiKnobs() []knob {
	put := func(add bool) func([]byte) error {
		return func(b []byte) error {
			list, err := insiTroubles(b)
			if err != nil {
				return err
			}
			if add {
				list = append(s.insi.troubles.get(), list...)
			}
			s.SetINSiTroubles(list...)
			return nil
		}
	}
	return []knob{
		{Path: "/insi/faults", state: func() any { return s.insi.troubles.get() },
			Values: map[string]any{"mode": insiModes, "count": "count (0 = jusqu'à remise à zéro)", "ms": "slow", "status": "refuse : statut HTTP sans SOAP",
				"code": "refuse : insi_102, desir_1020, desir_550, desir_560, insi_999", "bytes": "cut", "lie": insiLies},
			Description: "Pannes de l'INSi. PUT remplace, POST ajoute, DELETE répare. Sans bouton : les noms de naissance " + strings.Join(insiMagicNames(), ", ") + " déclenchent les mêmes pannes.",
			set:         put(false), add: put(true), reset: func() error { s.SetINSiTroubles(); return nil }},
		{Path: "/insi/release", Values: "corps vide", Description: "POST : libère les requêtes retenues (hold).",
			add: func([]byte) error { s.insi.troubles.letGo(); return nil }},
		{Path: "/insi/style", state: func() any { return map[string]string{"style": s.insi.Style()} }, Values: []string{INSiStyleDefault, INSiStylePrefixed},
			Description: "Écriture du XML de l'INSi : préfixes et modes de nommage observés. DELETE revient à default.",
			set: func(b []byte) error {
				var v struct {
					Style string `json:"style"`
				}
				if err := decodeStrict(b, &v); err != nil {
					return err
				}
				return s.insi.SetStyle(v.Style)
			}, reset: func() error { return s.insi.SetStyle(INSiStyleDefault) }},
		{Path: "/insi/people", state: func() any { return s.insi.known() }, Values: nil,
			Description: "Personnes fictives que l'INSi connaît, et ce que chacune fait essayer."},
		{Path: "/insi/counters", state: func() any { return s.insi.troubles.seen(false) }, Values: nil,
			Description: "Requêtes reçues, traitées, répondues par l'INSi, par opération. DELETE remet à zéro.",
			reset:       func() error { s.insi.troubles.seen(true); return nil }},
	}
}

// known lists the people of the teleservice for whoever rehearses.
func (s *INSi) known() []json.RawMessage {
	var out []json.RawMessage
	for _, p := range s.people {
		one, err := json.Marshal(map[string]string{"birth_name": p.name, "given_names": p.list, "sex": p.sex, "birth_date": p.born,
			"birth_place": p.place, "matricule": p.matricule, "oid": p.oid, "shows": p.shows})
		if err == nil { // a map of strings always encodes
			out = append(out, one)
		}
	}
	return out
}

// insiOU is the organizational unit of the certificate of the hospital, as
// IGC-Santé writes a FINESS.
func insiOU() []string { return []string{"1" + testdata.Establishments()[0].FINESSEJ} }
