package fault

// directoryRows: prefix DIR. The Annuaire Santé gives advice: nothing that is
// sent waits for it.
var directoryRows = []Row{
	annuaire("DIR-SETTINGS", Permanent, 500, "invalid",
		"Un réglage de l'Annuaire Santé est absent ou inutilisable.", "A setting of the Annuaire Santé is missing or cannot be used.",
		"Corrigez mss.directory : adresse en https, clé ESANTE-API-KEY.", "Correct mss.directory: https address, ESANTE-API-KEY."),
	annuaire("DIR-PATIENT", Permanent, 422, "security",
		"L'Annuaire Santé n'est jamais interrogé sur l'adresse d'un patient.", "The Annuaire Santé is never asked about the address of a patient.",
		"Rien à faire : l'adresse d'un patient découle de son INS.", "Nothing to do: a patient's address follows from the INS."),
	annuaire("DIR-UNREACHED", Temporary, 503, "transient",
		"L'Annuaire Santé ne répond pas.", "The Annuaire Santé does not answer.",
		"Réessayez plus tard ; les envois n'en dépendent pas. Vérifiez l'accès à gateway.api.esante.gouv.fr.", "Try again later; sending does not depend on it. Check the access to gateway.api.esante.gouv.fr."),
	annuaire("DIR-KEY", Permanent, 502, "forbidden",
		"L'Annuaire Santé refuse la clé de la passerelle.", "The Annuaire Santé refuses the key of the gateway.",
		"Demandez ou renouvelez la clé (portail Gravitee de l'ANS), puis mettez-la dans mss.directory.key_file.", "Ask for the key or renew it (Gravitee portal of ANS), then put it in mss.directory.key_file."),
	annuaire("DIR-BUSY", Temporary, 503, "throttled",
		"L'Annuaire Santé reçoit trop de questions de la passerelle.", "The Annuaire Santé gets too many questions from the gateway.",
		"Réessayez dans quelques secondes.", "Try again in a few seconds."),
	annuaire("DIR-ANSWER", Temporary, 502, "structure",
		"La réponse de l'Annuaire Santé n'est pas celle d'un annuaire FHIR.", "The answer of the Annuaire Santé is not that of a FHIR directory.",
		"Vérifiez l'adresse mss.directory.url (base FHIR, par exemple …/fhir/v2) et les mandataires.", "Check the address mss.directory.url (FHIR base, …/fhir/v2 for instance) and the proxies."),
}

func annuaire(code string, kind Kind, status int, issue, fr, en, fixFR, fixEN string) Row {
	h, s := refused906, SMTP{554, "5.3.5"}
	if kind == Temporary {
		h, s = retry906, SMTP{451, "4.4.1"}
	}
	return Row{Code: code, Kind: kind, HTTP: status, FHIR: issue, HL7: h, SMTP: s, FR: fr, EN: en, FixFR: fixFR, FixEN: fixEN}
}
