package fault

// httpRows are the refusals of gateway/httpapi: HTTP for what any request must
// be, FHIR for the transactions of document sharing. In an acknowledgement they
// would be 906: HL7 messages never meet them.
var httpRows = []Row{
	door("HTTP-NO-LOGIN", 401, "login",
		"Un jeton est présenté mais aucune connexion Pro Santé Connect n'est configurée.", "A token is presented but no Pro Sante Connect login is configured.",
		"Configurez psc dans la passerelle, ou présentez le certificat d'un établissement sans jeton.", "Configure psc in the gateway, or present the certificate of an establishment without a token."),
	door("HTTP-MULTIPART", 400, "structure",
		"La requête n'est pas un formulaire multipart/form-data lisible.", "The request is no readable multipart/form-data form.",
		"Envoyez deux parties : envelope (JSON) et document (PDF ou CDA), par exemple avec curl -F.", "Send two parts: envelope (JSON) and document (PDF or CDA), with curl -F for instance."),
	door("HTTP-PART", 400, "structure",
		"Une partie du formulaire manque, est répétée ou n'est pas connue.", "A part of the form is missing, repeated or unknown.",
		"Envoyez exactement une partie envelope et une partie document.", "Send exactly one part envelope and one part document."),
	door("HTTP-TOO-LARGE", 413, "too-long",
		"La requête dépasse la taille acceptée.", "The request is larger than what is accepted.",
		"Restez sous 50 Mio pour la requête et 1 Mio pour l'enveloppe ; réduisez le PDF.", "Stay below 50 MiB for the request and 1 MiB for the envelope; make the PDF smaller."),
	door("HTTP-CUT", 400, "incomplete",
		"La requête s'est interrompue avant sa fin : rien n'a été conservé.", "The request stopped before its end: nothing was kept.",
		"Renvoyez-la entière, avec la même Idempotency-Key.", "Send it again in full, with the same Idempotency-Key."),
	busy("HTTP-BUSY", 503,
		"La passerelle reçoit trop de gros documents ou de suivis à la fois.", "The gateway receives too many large documents or follows at once.",
		"Réessayez dans quelques secondes, avec la même Idempotency-Key.", "Try again in a few seconds, with the same Idempotency-Key."),
	door("HTTP-MEDIA-TYPE", 415, "not-supported",
		"Le type de contenu (Content-Type) n'est pas accepté ici.", "The content type (Content-Type) is not accepted here.",
		"Consultez GET /openapi.yaml ; sous /fhir, utilisez application/fhir+json.", "See GET /openapi.yaml; under /fhir, use application/fhir+json."),
	door("HTTP-ACCEPT", 406, "not-supported",
		"La passerelle ne sait pas répondre dans le format demandé.", "The gateway cannot answer in the format that is asked for.",
		"Demandez application/fhir+json (Accept, _format).", "Ask for application/fhir+json (Accept, _format)."),
	door("HTTP-JSON", 400, "structure",
		"Le JSON est illisible, trop profond, ou un membre y est répété.", "The JSON cannot be read, is too deep, or repeats a member.",
		"Envoyez un seul objet JSON en UTF-8, chaque membre une fois.", "Send one JSON object in UTF-8, each member once."),
	door("HTTP-UNKNOWN-FIELD", 422, "structure",
		"L'enveloppe contient un champ inconnu.", "The envelope holds an unknown field.",
		"Corrigez ou retirez le champ indiqué ; la casse compte. La liste est dans GET /openapi.yaml.", "Correct or remove the field that is named; case counts. The list is in GET /openapi.yaml."),
	door("HTTP-FIELD", 422, "value",
		"Un champ a une valeur du mauvais genre ou hors de sa liste.", "A field has a value of the wrong kind or outside its list.",
		"Corrigez le champ indiqué d'après GET /openapi.yaml.", "Correct the field that is named, after GET /openapi.yaml."),
	door("HTTP-MISSING-FIELD", 422, "required",
		"Un champ obligatoire manque.", "A required field is missing.",
		"Ajoutez le champ indiqué.", "Add the field that is named."),
	door("HTTP-KEY", 400, "invalid",
		"L'en-tête Idempotency-Key n'est pas utilisable.", "The header Idempotency-Key cannot be used.",
		"Donnez une seule clé de 1 à 128 caractères ASCII visibles, par exemple un UUID.", "Give one key of 1 to 128 visible ASCII characters, a UUID for instance."),
	door("HTTP-ESTABLISHMENT", 422, "forbidden",
		"L'établissement n'est pas l'un des vôtres, ou il faut le nommer car vous en avez plusieurs.", "The establishment is not one of yours, or must be named because you have several.",
		"Mettez dans establishment le FINESS géographique d'un site rattaché à votre certificat ou à votre situation d'exercice.", "Put in establishment the geographic FINESS of a site mapped to your certificate or your work situation."),
	door("HTTP-DOCUMENT", 422, "not-supported",
		"Le document n'est ni un CDA ni un PDF.", "The document is neither a CDA nor a PDF.",
		"Envoyez un CDA R2 (XML) ou un PDF.", "Send a CDA R2 (XML) or a PDF."),
	door("HTTP-RECIPIENT", 422, "required",
		"Un destinataire n'a pas d'adresse MSSanté utilisable.", "A recipient has no usable MSSante address.",
		"Donnez une adresse local@domaine, sans nom affiché ; les drapeaux destmssante… demandent un destinataire.", "Give an address local@domain, without display name; the flags destmssante… ask for a recipient."),
	door("HTTP-NO-DMP", 422, "not-supported",
		"La consultation du DMP n'est pas configurée sur cette passerelle.", "Consulting the DMP is not configured on this gateway.",
		"Configurez psc et dmp, puis reconnectez le professionnel.", "Configure psc and dmp, then log the professional in again."),

	door("HTTP-HOOK-NONE", 422, "not-supported",
		"L'évènement attendait son webhook, mais l'établissement n'en a plus dans la configuration.", "The event waited for its webhook, but the establishment has none in the configuration any more.",
		"Remettez establishments[].webhook si le logiciel doit être prévenu ; le suivi (GET) garde l'évènement.", "Put establishments[].webhook back if the software must be told; the timeline (GET) keeps the event."),
	untold("HTTP-HOOK-DOWN", "transient",
		"Le logiciel de l'établissement ne répond pas à l'adresse de son webhook.", "The establishment's software does not answer at the address of its webhook.",
		"Vérifiez l'adresse, le certificat et le pare-feu (establishments[].webhook) ; l'envoi reprend tout seul.", "Check address, certificate and firewall (establishments[].webhook); sending goes on by itself."),
	untold("HTTP-HOOK-REFUSED", "transient",
		"Le logiciel de l'établissement a répondu au webhook autre chose que 2xx.", "The establishment's software answered the webhook with something else than 2xx.",
		"Cherchez dans son journal l'en-tête Passerelle-Event ; vérifiez le secret partagé et l'heure. Il doit répondre 204 dès que l'évènement est gardé.", "Look for the header Passerelle-Event in its log; check shared secret and clock. It should answer 204 as soon as the event is kept."),

	door("FHIR-BUNDLE", 400, "structure",
		"La ressource n'est pas celle de cette opération : Bundle de type transaction sur /fhir, DocumentReference sur /fhir/DocumentReference.", "The resource is not that of this operation: a Bundle of type transaction on /fhir, a DocumentReference on /fhir/DocumentReference.",
		"Suivez le profil PDSm (ITI-65 ou ITI-105).", "Follow the PDSm profile (ITI-65 or ITI-105)."),
	door("FHIR-ENTRY", 422, "structure",
		"Le lot contient une entrée que la passerelle ne prend pas, ou il lui en manque une.", "The lot holds an entry that the gateway does not take, or lacks one.",
		"Mettez un List (SubmissionSet), un DocumentReference et un Binary par document, et un PATCH par document remplacé ; ni Patient ni classeur.", "Put one List (SubmissionSet), one DocumentReference and one Binary a document, and one PATCH a replaced document; neither Patient nor folder."),
	door("FHIR-REFERENCE", 422, "not-found",
		"Les entrées du lot ne se tiennent pas : une référence ne mène nulle part, ou une entrée n'est citée par aucune autre.", "The entries of the lot do not hold together: a reference leads nowhere, or no entry names this one.",
		"Chaque DocumentReference est cité dans List.entry, chaque Binary par un seul attachment.url, par leur fullUrl.", "Each DocumentReference stands in List.entry, each Binary in one attachment.url, by their fullUrl."),
	door("FHIR-PATIENT", 422, "business-rule",
		"Le lot ne désigne pas un patient et un seul par son INS.", "The lot does not name one patient and one only by INS.",
		"Mettez la même référence Patient?identifier=urn:oid:…|matricule partout, et le même INS dans sourcePatientInfo.", "Put the same reference Patient?identifier=urn:oid:…|matricule everywhere, and the same INS in sourcePatientInfo."),
	door("FHIR-HASH", 422, "value",
		"L'empreinte ou la taille annoncée n'est pas celle du document.", "The announced digest or size is not that of the document.",
		"hash est le SHA-1 des octets décodés, en base64 ; size leur nombre.", "hash is the SHA-1 of the decoded bytes, in base64; size their number."),
	door("FHIR-ELEMENT", 422, "required",
		"Un élément obligatoire manque ou ne peut être lu.", "A required element is missing or cannot be read.",
		"Complétez l'élément indiqué d'après le profil PDSm.", "Complete the element that is named, after the PDSm profile."),
	door("FHIR-MIXED", 422, "not-supported",
		"Les documents du lot ne demandent pas tous la même chose : nouveau ou remplacement, mêmes visibilités.", "The documents of the lot do not all ask for the same: new or replacement, same visibility.",
		"Faites un lot par demande.", "Make one lot for each request."),
	door("FHIR-NO-ADDRESS", 422, "incomplete",
		"Un intendedRecipient n'a pas d'adresse MSSanté : aucun courriel ne lui sera envoyé.", "An intendedRecipient has no MSSante address: no letter will be sent to it.",
		"Ajoutez telecom (system email) à la ressource contenue.", "Add telecom (system email) to the contained resource."),
	door("FHIR-LOT", 422, "informational",
		"Le lot transmis au DMP est celui de la passerelle : son contentTypeCode est celui d'une activité indifférenciée.", "The lot that reaches the DMP is the gateway's own: its contentTypeCode is that of an undifferentiated activity.",
		"Utilisez 03, 07, 19 ou 97 de TRE_R209 si ce code compte pour vous.", "Use 03, 07, 19 or 97 of TRE_R209 if this code matters to you."),
}

func door(code string, status int, issue, fr, en, fixFR, fixEN string) Row {
	return Row{Code: code, Kind: Permanent, HTTP: status, FHIR: issue, HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: fr, EN: en, FixFR: fixFR, FixEN: fixEN}
}

func busy(code string, status int, fr, en, fixFR, fixEN string) Row {
	return Row{Code: code, Kind: Temporary, HTTP: status, FHIR: "throttled", HL7: retry906, SMTP: SMTP{451, "4.3.2"},
		FR: fr, EN: en, FixFR: fixFR, FixEN: fixEN}
}

// untold is a webhook that was not taken: it is tried again.
func untold(code, issue, fr, en, fixFR, fixEN string) Row {
	return Row{Code: code, Kind: Temporary, HTTP: 502, FHIR: issue, HL7: retry906, SMTP: SMTP{451, "4.4.1"},
		FR: fr, EN: en, FixFR: fixFR, FixEN: fixEN}
}
