package console

import (
	"strings"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// words are one text in French and in English.
type words [2]string

func (t words) in(lang string) string { return in(lang, t[0], t[1]) }

func in(lang, fr, en string) string {
	if lang == "en" {
		return en
	}
	return fr
}

// The titles of pages: what a page is, never whom it concerns.
var (
	titleLogin      = words{"Connexion", "Log in"}
	titleFault      = words{"Demande refusée", "Request refused"}
	titleSearch     = words{"Messages", "Messages"}
	titleQuarantine = words{"Quarantaine", "Quarantine"}
	titleSubmission = words{"Suivi d'un message", "Timeline of a message"}
	titleDocument   = words{"Document", "Document"}
	titleWarnings   = words{"Alertes", "Warnings"}
	titleMail       = words{"Courriel reçu", "Received mail"}
)

// mark is a state in words, with the look that goes with it.
type mark struct{ Label, Look string }

// The looks of a mark: the style sheet gives each its colour.
const (
	lookGood  = "good"
	lookWait  = "wait"
	lookWarn  = "warn"
	lookBad   = "bad"
	lookPlain = "plain"
)

// searchStates are the states that a submission may have.
var searchStates = []gateway.State{
	gateway.Pending, gateway.Done, gateway.Partial, gateway.Failed, gateway.RefusedState, gateway.Kept, gateway.Quarantined,
}

var states = map[gateway.State]struct {
	words
	look string
}{
	gateway.Due:          {words{"À envoyer", "To be sent"}, lookWait},
	gateway.Waiting:      {words{"Remis, rapport attendu", "Handed over, report awaited"}, lookWait},
	gateway.Done:         {words{"Terminé", "Done"}, lookGood},
	gateway.Failed:       {words{"Échec", "Failed"}, lookBad},
	gateway.Stopped:      {words{"Arrêté par une personne", "Stopped by a person"}, lookWarn},
	gateway.Pending:      {words{"En cours", "In progress"}, lookWait},
	gateway.Partial:      {words{"Échec partiel", "Partly failed"}, lookWarn},
	gateway.RefusedState: {words{"Refusé à l'entrée", "Refused at the door"}, lookBad},
	gateway.Kept:         {words{"Conservé, rien à envoyer", "Kept, nothing to send"}, lookPlain},
	gateway.Quarantined:  {words{"En quarantaine", "In quarantine"}, lookWarn},
}

func stateMark(lang string, s gateway.State) mark {
	known, ok := states[s]
	if !ok {
		return mark{string(s), lookPlain}
	}
	return mark{known.in(lang), known.look}
}

// submissionMark is the state of a submission: a mail is refused by a person.
func submissionMark(lang string, s gateway.Submission) mark {
	m := stateMark(lang, s.State)
	if s.Door == gateway.DoorMail && s.State == gateway.RefusedState {
		m.Label = in(lang, "Écarté par une personne", "Rejected by a person")
	}
	return m
}

var outcomes = map[string]struct {
	words
	look string
}{
	gateway.OutcomeOK:      {words{"Fait", "Done"}, lookGood},
	gateway.OutcomeWarning: {words{"Avertissement", "Warning"}, lookWarn},
	gateway.OutcomeRetry:   {words{"À réessayer", "To be retried"}, lookWait},
	gateway.OutcomeFailed:  {words{"Échec", "Failed"}, lookBad},
}

func outcomeMark(lang, outcome string) mark {
	known, ok := outcomes[outcome]
	if !ok {
		return mark{outcome, lookPlain}
	}
	return mark{known.in(lang), known.look}
}

// named is the text of a code, or the code itself when it has none.
func named(table map[string]words, lang, code string) string {
	if t, ok := table[code]; ok {
		return t.in(lang)
	}
	return code
}

var doors = map[string]words{
	"hl7":                {"HL7 (MLLP)", "HL7 (MLLP)"},
	"fhir":               {"FHIR", "FHIR"},
	"rest":               {"REST", "REST"},
	gateway.DoorMail:     {"Messagerie (MSSanté)", "Secure mail (MSSanté)"},
	gateway.DoorIdentity: {"Identités", "Identities"},
}

func doorName(lang, door string) string { return named(doors, lang, door) }

var steps = map[string]words{
	gateway.EventAccepted:    {"Acceptation", "Acceptance"},
	gateway.EventINSi:        {"INSi", "INSi"},
	gateway.EventRefused:     {"Refus", "Refusal"},
	gateway.EventQuarantined: {"Quarantaine", "Quarantine"},
	gateway.EventDMP:         {"DMP", "DMP"},
	gateway.EventZAM:         {"Compte rendu à l'établissement", "Outcome told to the hospital"},
	gateway.EventMail:        {"Courriel", "Mail"},
	gateway.EventDSN:         {"Rapport de remise", "Delivery report"},
	gateway.EventMDN:         {"Accusé de lecture", "Read receipt"},
	gateway.EventMDM:         {"Logiciel de l'établissement", "Hospital software"},
	gateway.EventStopped:     {"Arrêt décidé", "Stopped"},
	gateway.EventReplayed:    {"Relance décidée", "Begun again"},
	gateway.EventFiled:       {"Rattachement décidé", "Filed by a person"},
	gateway.EventRejected:    {"Courriel écarté", "Mail rejected"},
	gateway.EventKept:        {"Note", "Note"},
	gateway.EventLowered:     {"Identité abaissée", "Identity lowered"},
	gateway.EventWebhook:     {"Évènement (webhook)", "Event (webhook)"},
	gateway.EventIdentity:    {"Changement d'INS vers l'établissement", "Change of INS to the hospital"},
}

func stepName(lang, step string) string { return named(steps, lang, step) }

var actions = map[string]words{
	"new":     {"Nouveau document", "New document"},
	"replace": {"Remplacement", "Replacement"},
	"delete":  {"Suppression", "Deletion"},
}

func actionName(lang, action string) string { return named(actions, lang, action) }

var identityStatuses = map[string]words{
	"PROV":  {"Provisoire (PROV)", "Provisional (PROV)"},
	"VALI":  {"Validée (VALI)", "Validated (VALI)"},
	"RECUP": {"Récupérée (RECUP)", "Retrieved (RECUP)"},
	"QUAL":  {"Qualifiée (QUAL)", "Qualified (QUAL)"},
}

var destinations = map[string]words{
	gateway.DestinationDMP: {"DMP", "DMP"},
	gateway.DestinationZAM: {"Compte rendu à l'établissement", "Outcome told to the hospital"},
	gateway.DestinationPro: {"Courriel à un professionnel", "Letter to a professional"},
	gateway.DestinationPat: {"Courriel au patient", "Letter to the patient"},
	gateway.DestinationMDM: {"Document vers le logiciel de l'établissement", "Document to the hospital software"},
	gateway.DestinationMDN: {"Accusé vers l'expéditeur du courriel", "Receipt to the sender of the mail"},

	gateway.DestinationWebhook: {"Évènement au logiciel de l'établissement (webhook)", "Event to the establishment's software (webhook)"},
	gateway.DestinationA47:     {"Changement d'INS vers l'établissement", "Change of INS to the hospital"},
}

func destinationName(lang string, d gateway.Delivery) string {
	name := named(destinations, lang, d.Destination)
	if d.Notice != nil {
		answer := " N"
		if d.Notice.Success {
			answer = " Y"
		}
		name += " (" + d.Notice.Event + answer + ")"
	}
	return name
}

// recipient is an address, but for that of a patient: it is a matricule.
func recipient(lang, destination, address string) string {
	_, domain, _ := strings.Cut(address, "@")
	if destination == gateway.DestinationPat || strings.EqualFold(strings.TrimSpace(domain), mss.PatientDomain) {
		return in(lang, "Messagerie du patient (Mon espace santé)", "The patient's mailbox (Mon espace santé)")
	}
	return address
}

// answers are what a sender may be told of a document that is not filed (VOL-B).
var answers = map[string]words{
	"900": {"version du document incorrecte", "wrong version of the document"},
	"901": {"demandeur non habilité", "requester not entitled"},
	"902": {"patient inconnu", "unknown patient"},
	"903": {"INS absent du document", "no INS in the document"},
	"904": {"INS ou traits discordants", "INS or traits differ"},
	"905": {"traits INS incomplets", "INS traits incomplete"},
	"906": {"autre motif", "another reason"},
}

var traitNames = map[string]words{
	ins.TraitMatricule:  {"Matricule INS", "INS matricule"},
	ins.TraitOID:        {"OID du matricule", "OID of the matricule"},
	ins.TraitBirthName:  {"Nom de naissance", "Birth name"},
	ins.TraitFirstGiven: {"Premier prénom", "First given name"},
	ins.TraitGivenNames: {"Liste des prénoms", "Given names"},
	ins.TraitBirthDate:  {"Date de naissance", "Birth date"},
	ins.TraitSex:        {"Sexe", "Sex"},
	ins.TraitBirthPlace: {"Lieu de naissance (code)", "Birth place (code)"},
}

func traitName(lang, trait string) string { return named(traitNames, lang, trait) }

var criterionNames = map[string]words{
	"control":  {"Identifiant du message", "Message id"},
	"document": {"Identifiant du document", "Document id"},
	"state":    {"État", "State"},
	"site":     {"Établissement", "Establishment"},
	"since":    {"Reçus du", "Received from"},
	"until":    {"Reçus jusqu'au", "Received to"},
}

func criterionName(lang, field string) string { return named(criterionNames, lang, field) }

// tell is a row of the error table in the language of the reader.
type tell struct{ Text, Fix, Code, Where string }

// waitingWords say, in the words of a received mail, what a row says in those of
// a message that is sent.
var waitingWords = map[string]words{
	ins.FaultMismatch:     {"Le patient du document n'est pas exactement celui de l'identité connue : un trait diffère.", "The patient of the document is not exactly the identity held: a trait differs."},
	ins.FaultNotQualified: {"L'identité du document ou l'identité connue n'est pas qualifiée.", "The identity of the document, or the one held, is not qualified."},
}

// reason is why a submission is where it is. What to do about a mail in
// quarantine is the affair of who reads this, not of its sender.
func reason(lang string, s gateway.Submission) *tell {
	if s.Code == "" {
		return nil
	}
	out := notice(lang, s.Code, "")
	if s.State == gateway.Quarantined {
		if t, ok := waitingWords[s.Code]; ok {
			out.Text = t.in(lang)
		}
		out.Fix = in(lang, "Lisez le courriel, puis rattachez-le à une identité vérifiée, écartez-le ou gardez-le en quarantaine.",
			"Read the mail, then file it under an identity that you checked, reject it or keep it in quarantine.")
		if s.Code == gateway.FaultNoArchive { // nothing to file
			out.Fix = in(lang, "Lisez le courriel, puis écartez-le ou gardez-le en quarantaine.", "Read the mail, then reject it or keep it in quarantine.")
		}
	}
	return &out
}

func notice(lang, code, where string) tell {
	row, ok := fault.Lookup(code)
	if !ok {
		row, _ = fault.Lookup(fault.Internal)
	}
	return tell{in(lang, row.FR, row.EN), in(lang, row.FixFR, row.FixEN), code, where}
}
