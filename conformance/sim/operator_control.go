package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/testdata"
)

var (
	smtpModes      = []Mode{Down, Slow, Refuse, Cut, Hold, Bounce, Quota, Greylist, Silent}
	imapModes      = []Mode{Down, Slow, Refuse, Cut, Hold}
	directoryModes = []Mode{Down, Slow, Refuse, Cut, Hold}
	imapCommands   = []string{"LOGIN", "SELECT", "CREATE", "FETCH", "STORE", "SEARCH", "EXPUNGE", "COPY", "MOVE", "APPEND"}
)

// readTroubles reads one trouble or a list of them, for a service whose Method
// is one of stages.
func readTroubles(body []byte, modes []Mode, stages []string) ([]Trouble, error) {
	var list []Trouble
	var one Trouble
	if err := decodeStrict(body, &one); err == nil {
		list = []Trouble{one}
	} else if listErr := decodeStrict(body, &list); listErr != nil {
		return nil, err
	}
	if len(list) > 100 {
		return nil, errors.New("cent pannes au plus")
	}
	for i := range list {
		t := &list[i]
		if err := t.check(modes); err != nil {
			return nil, err
		}
		if stages != nil && t.Method != "" && !slices.Contains(stages, strings.ToUpper(t.Method)) {
			return nil, fmt.Errorf("method vaut l'un de %v", stages)
		}
		if slices.Contains(stages, stageMAIL) && t.Mode == Refuse && t.Status != 0 && (t.Status < 400 || t.Code != "" && t.Code[0] != byte('0'+t.Status/100)) {
			return nil, errors.New("status va de 400 à 599, et code commence par le même chiffre")
		}
		if stages != nil { // an address; otherwise a path
			t.Path = strings.ToLower(t.Path)
		}
	}
	return list, nil
}

// faultKnobs are the three knobs of a service: faults, release, counters.
func faultKnobs(path, what string, t *troubles, modes []Mode, stages []string, values map[string]any, set func(...Trouble)) []knob {
	values["mode"], values["count"] = modes, "0 = jusqu'à remise à zéro"
	put := func(more func() []Trouble) func([]byte) error {
		return func(b []byte) error {
			list, err := readTroubles(b, modes, stages)
			if err == nil {
				set(append(more(), list...)...)
			}
			return err
		}
	}
	return []knob{
		{Path: path + "/faults", state: func() any { return t.get() }, Values: values,
			Description: "Pannes : " + what + ". PUT remplace la liste (un objet ou un tableau), POST ajoute, DELETE répare tout et libère ce qui est retenu.",
			set:         put(func() []Trouble { return nil }), add: put(t.get), reset: func() error { set(); return nil }},
		{Path: path + "/release", Values: "corps vide", Description: "POST : libère ce qui est retenu (hold) sans changer les pannes.",
			add: func([]byte) error { t.letGo(); return nil }},
		{Path: path + "/counters", state: func() any { return t.seen(false) }, Description: "Reçus, traités, répondus : " + what + ". DELETE remet à zéro.",
			reset: func() error { t.seen(true); return nil }},
	}
}

// operatorKnobs are those of the operator, the white list and the directory.
func (s *Sandbox) operatorKnobs() []knob {
	o := s.operator
	out := faultKnobs("/operator/smtp", "SMTP de l'opérateur", o.smtp, smtpModes, smtpStages, map[string]any{
		"method": fmt.Sprintf("étape : %v ; par défaut MAIL. cut sans étape coupe au bout de bytes octets, dans les deux sens, TLS compris", smtpStages),
		"path":   "filtre : début de l'adresse (destinataire pour RCPT, DSN, bounce, quota, greylist ; émetteur sinon)",
		"status": "refuse : réponse SMTP, 451 par défaut ; 421 ferme la connexion", "code": "refuse, bounce : code étendu, par exemple 5.1.1", "ms": "slow",
		"bytes": "cut", "when": "cut, hold, refuse, slow à DOT : before (rien n'est gardé) ou after (le courrier est remis)"}, s.SetSMTPTroubles)
	out = append(out, faultKnobs("/operator/imap", "IMAP de l'opérateur", o.imap, imapModes, imapCommands, map[string]any{
		"method": fmt.Sprintf("commande : %v. cut sans commande coupe au bout de bytes octets", imapCommands), "path": "filtre : début de l'adresse de la boîte",
		"code": "refuse : code de réponse, UNAVAILABLE par défaut", "ms": "slow", "when": "STORE et MOVE : before ou after"}, s.SetIMAPTroubles)...)
	out = append(out, faultKnobs("/directory", "Annuaire Santé et liste blanche", s.directory.troubles, directoryModes, nil, map[string]any{
		"path": "filtre : début du chemin, /fhir/v2 ou /listeblanchemssante.xml", "status": "refuse : statut HTTP, par exemple 429"}, func(l ...Trouble) {
		s.directory.troubles.set(l)
		s.directoryGate.enforce()
	})...)
	return append(out,
		knob{Path: "/operator/rules", state: func() any { return o.rules() },
			Values:      map[string]string{"size": "octets", "recipients": "1 à 1000", "auth_required": "true : AUTH en plus du certificat", "hide": "extensions tues par EHLO, par exemple [\"DSN\",\"STARTTLS\"]"},
			Description: "Ce que l'opérateur annonce et exige en SMTP. PUT remplace, DELETE revient à l'ordinaire.",
			set: func(b []byte) error {
				r := ordinaryRules()
				if err := decodeStrict(b, &r); err != nil {
					return err
				}
				return s.SetSMTPRules(r)
			}, reset: func() error { return s.SetSMTPRules(ordinaryRules()) }},
		knob{Path: "/operator/auto_mdn", state: func() any {
			o.mu.Lock()
			defer o.mu.Unlock()
			return append([]AutoAnswer{}, o.answers...)
		}, Values: map[string]any{"dialect": testdata.MDNDialects(), "code": "902 par défaut", "label": "libellé de l'erreur", "reply": "true : réponse d'absence",
			"rude": "true : réponse sans Auto-Submitted, qui demande un accusé", "mailboxes": "débuts d'adresses ; vide = toutes"},
			Description: "Correspondants qui répondent seuls : accusé de lecture (MDN) ou message d'absence. PUT remplace la liste, DELETE les fait taire.",
			set: func(b []byte) error {
				var list []AutoAnswer
				var one AutoAnswer
				if err := decodeStrict(b, &one); err == nil {
					list = []AutoAnswer{one}
				} else if decodeStrict(b, &list) != nil {
					return err
				}
				if len(list) > 100 {
					return errors.New("cent correspondants au plus")
				}
				return s.SetAutoAnswers(list...)
			}, reset: func() error { return s.SetAutoAnswers() }},
		knob{Path: "/operator/mails", state: func() any { return o.store.counts() },
			Description: "Remises par boîte : copies physiques, Message-ID distincts, et combien de fois chacun."},
		knob{Path: "/operator/whitelist", state: func() any { return o.trust.get() },
			Values:      map[string]any{"mode": listModes, "add": "domaines ajoutés", "remove": "domaines retirés"},
			Description: "Liste blanche. PUT remplace, DELETE revient à l'ordinaire.",
			set: func(b []byte) error {
				var w Whitelist
				if err := decodeStrict(b, &w); err != nil {
					return err
				}
				return s.SetWhitelist(w)
			}, reset: func() error { return s.SetWhitelist(Whitelist{}) }},
		knob{Path: "/operator/crl", state: func() any { return o.trust.revocations() },
			Values:      map[string]string{"roles": "certificats révoqués, par exemple [\"operator-server\"]", "stale": "true : la liste elle-même a expiré", "down": "true : elle n'est plus servie"},
			Description: "Liste de révocation de l'AC du bac à sable. DELETE revient à l'ordinaire.",
			set: func(b []byte) error {
				var r Revocations
				if err := decodeStrict(b, &r); err != nil {
					return err
				}
				return s.SetRevocations(r)
			}, reset: func() error { return s.SetRevocations(Revocations{}) }})
}
