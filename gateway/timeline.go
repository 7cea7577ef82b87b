package gateway

import (
	"fmt"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Steps of a timeline.
const (
	EventAccepted    = "accepted"    // at the door
	EventINSi        = "insi"        // INSi gave the INS of the patient
	EventRefused     = "refused"     // at the door
	EventQuarantined = "quarantined" // an incoming mail that waits for a person
	EventDMP         = "dmp"         // one attempt at the DMP
	EventZAM         = "zam"         // one attempt at telling the hospital
	EventMail        = "mail"        // one attempt at handing a letter to the operator
	EventDSN         = "dsn"         // the operator's report on a letter
	EventMDN         = "mdn"         // a read receipt: received about our letter, or sent about theirs
	EventMDM         = "mdm"         // one attempt at bringing a received document to the hospital
	EventWebhook     = "webhook"     // one attempt at telling the software of the establishment
	EventLowered     = "lowered"     // an identity held here lost its INS or its qualification
	EventIdentity    = "identity"    // one attempt at telling the hospital (ADT^A47)

	// What a person decided.
	EventStopped  = "stopped"
	EventReplayed = "replayed"
	EventFiled    = "filed"
	EventRejected = "rejected"
	EventKept     = "kept"
)

// Outcomes of an event.
const (
	OutcomeOK      = "ok"
	OutcomeWarning = "warning"
	OutcomeRetry   = "retry"
	OutcomeFailed  = "failed"
)

// Fates of a document in the DMP.
const (
	FateCurrent    = "current"
	FateSuperseded = "superseded"
	FateDeleted    = "deleted"
)

// sentences are the texts of events that carry no code, by step and outcome.
var sentences = map[string]map[string][2]string{
	EventAccepted: {
		OutcomeOK: {"Message accepté et conservé durablement.", "Message accepted and durably kept."},
	},
	EventINSi: {
		OutcomeOK: {"L'INSi a renvoyé l'INS du patient à partir de ses traits.", "INSi returned the INS of the patient from the traits."},
	},
	EventDMP: {
		OutcomeOK: {"Le DMP a répondu : demande exécutée.", "The DMP answered: done."},
	},
	EventMail: {
		OutcomeOK: {"Courriel remis à l'opérateur MSSanté.", "Letter handed to the MSSanté operator."},
	},
	EventDSN: {
		OutcomeOK: {"Courriel déposé dans la boîte du destinataire.", "Letter delivered to the recipient's mailbox."},
	},
	EventMDN: {
		OutcomeOK: {"Accusé de lecture ou de traitement transmis.", "Read or processing receipt passed on."},
	},
	EventMDM: {
		OutcomeOK: {"Document reçu par messagerie, intégré par le logiciel de l'établissement.", "Document received by mail, filed by the hospital software."},
	},
	EventWebhook: {
		OutcomeOK: {"Évènement reçu par le logiciel de l'établissement (webhook).", "Event taken by the establishment's software (webhook)."},
	},
	EventLowered: {
		OutcomeOK: {"Une identité qualifiée a perdu son INS ou sa qualification ; l'établissement va en être informé (ADT^A47).", "A qualified identity lost its INS or its qualification; the hospital will be told (ADT^A47)."},
	},
	EventIdentity: {
		OutcomeOK: {"Changement d'INS (ADT^A47) acquitté par le logiciel de l'établissement.", "Change of INS (ADT^A47) acknowledged by the hospital software."},
	},
	EventReplayed: {
		OutcomeOK: {"Envoi relancé par une personne.", "Begun again by a person."},
	},
	EventFiled: {
		OutcomeOK: {"Courriel rattaché à une identité connue, par décision d'une personne.", "Mail filed under a known identity, by a person's decision."},
	},
	EventRejected: {
		OutcomeOK: {"Courriel écarté par une personne ; l'expéditeur n'est pas prévenu.", "Mail rejected by a person; its sender is not told."},
	},
	EventKept: {
		OutcomeOK: {"Courriel gardé en quarantaine par une personne.", "Mail kept in quarantine by a person."},
	},
	EventZAM: {
		OutcomeOK: {"Compte rendu (ZAM) acquitté par le logiciel de l'établissement.", "Outcome (ZAM) acknowledged by the hospital software."},
	},
}

// Describe is one readable line about an event, in French ("fr") or English.
// It holds no patient trait: its words come from constants and the error table.
func Describe(e Event, lang string) string {
	i := 0
	if lang == "en" {
		i = 1
	}
	var text string
	if e.Code != "" {
		row, ok := fault.Lookup(e.Code)
		if !ok {
			row, _ = fault.Lookup(fault.Internal)
		}
		text = [2]string{row.FR + " " + row.FixFR, row.EN + " " + row.FixEN}[i]
	} else {
		text = sentences[e.Step][e.Outcome][i]
	}
	if e.Outcome == OutcomeRetry {
		text += fmt.Sprintf([2]string{" Nouvel essai prévu (essai %d).", " Will be tried again (attempt %d)."}[i], e.Attempt)
	}
	return text
}
