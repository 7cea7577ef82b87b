package fault

var (
	refused906 = HL7{"AE", "207", "906"}
	retry906   = HL7{"AR", "207", "906"}
)

// gatewayRows are the refusals of the gateway itself: acceptance, delivery,
// HTTP surface. Prefix GW. Rows whose HL7 face is never used as a refusal are
// warnings of a timeline.
var gatewayRows = []Row{
	{
		Code: Internal, Kind: Temporary, HTTP: 500, FHIR: "exception", HL7: retry906, SMTP: SMTP{451, "4.3.0"},
		FR: "Erreur interne de la passerelle.", EN: "Internal error of the gateway.",
		FixFR: "Réessayez ; si l'erreur persiste, transmettez l'identifiant de la soumission à l'exploitant.",
		FixEN: "Try again; if it persists, give the submission id to the operator.",
	},
	{
		Code: "GW-SAME-DOCUMENT", HTTP: 422, FHIR: "duplicate", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Deux documents du même envoi portent le même identifiant.", EN: "Two documents of one submission carry the same id.",
		FixFR: "Donnez un ClinicalDocument/id propre à chaque document, ou n'envoyez le document qu'une fois.", FixEN: "Give each document its own ClinicalDocument/id, or send the document once.",
	},
	{
		Code: "GW-TYPE-MISMATCH", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Le type annoncé par le message n'est pas celui du document CDA.", EN: "The type announced by the message is not that of the CDA document.",
		FixFR: "Mettez le même code dans OBR-4, OBX-3, TXA-2 et ClinicalDocument/code.", FixEN: "Put the same code in OBR-4, OBX-3, TXA-2 and ClinicalDocument/code.",
	},
	{
		Code: "GW-ID-MISMATCH", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "L'identifiant de document du message (TXA-12) n'est pas celui du CDA.", EN: "The document id of the message (TXA-12) is not that of the CDA.",
		FixFR: "Recopiez ClinicalDocument/id dans TXA-12.", FixEN: "Copy ClinicalDocument/id into TXA-12.",
	},
	{
		Code: "GW-REPLACES-MISSING", HTTP: 422, FHIR: "required", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Un remplacement est demandé mais le CDA ne nomme pas le document remplacé.", EN: "A replacement is asked for but the CDA does not name the replaced document.",
		FixFR: "Ajoutez relatedDocument (typeCode RPLC) avec l'identifiant de la version précédente.", FixEN: "Add relatedDocument (typeCode RPLC) with the id of the previous version.",
	},
	{
		Code: "GW-REPLACES-MISMATCH", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Le document remplacé n'est pas le même dans TXA-13 et dans le CDA.", EN: "The replaced document is not the same in TXA-13 and in the CDA.",
		FixFR: "Recopiez relatedDocument/parentDocument/id dans TXA-13.", FixEN: "Copy relatedDocument/parentDocument/id into TXA-13.",
	},
	{
		Code: "GW-NOT-LATEST", HTTP: 409, FHIR: "conflict", HL7: HL7{"AE", "207", "900"}, SMTP: SMTP{550, "5.7.1"},
		FR: "Le document visé n'est plus la dernière version.", EN: "The targeted document is not the latest version any more.",
		FixFR: "Remplacez ou supprimez la dernière version transmise.", FixEN: "Replace or delete the latest version that was sent.",
	},
	{
		Code: "GW-UNKNOWN-TARGET", HTTP: 404, FHIR: "not-found", HL7: HL7{"AE", "207", "900"}, SMTP: SMTP{550, "5.7.1"},
		FR: "Le document à remplacer ou à supprimer n'est pas connu.", EN: "The document to replace or delete is not known.",
		FixFR: "Vérifiez l'identifiant ; si le document a été déposé par un autre système, seul le DMP peut répondre.", FixEN: "Check the id; if another system fed the document, only the DMP can tell.",
	},
	{
		Code: "GW-NO-SENDER", HTTP: 422, FHIR: "required", HL7: HL7{"AE", "101", ""}, SMTP: SMTP{550, "5.6.0"},
		FR: "L'émetteur de la demande manque ou est incomplet, alors que le DMP est demandé.", EN: "The sender of the request is missing or incomplete, although the DMP is asked for.",
		FixFR: "Donnez l'identifiant du professionnel ou de l'appareil : PRT SB, en PRT-5 ou PRT-10, et le FINESS en PRT-8.10 (HL7), author.id (REST), List.source ou l'auteur (FHIR).", FixEN: "Give the id of the professional or of the device: PRT SB, in PRT-5 or PRT-10, and the FINESS in PRT-8.10 (HL7), author.id (REST), List.source or the author (FHIR).",
		Requirements: []string{"SC.DMP/CONF.12", "CDA/HL7.01"},
	},
	{
		Code: "GW-CONTROL-ID-REUSED", HTTP: 409, FHIR: "duplicate", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "L'identifiant de message (MSH-10) a déjà servi pour un autre contenu.", EN: "The message id (MSH-10) was already used for another content.",
		FixFR: "Donnez un MSH-10 unique à chaque message ; sans cela les comptes rendus ZAM sont ambigus.", FixEN: "Give each message a unique MSH-10; otherwise ZAM outcomes are ambiguous.",
	},
	{
		Code: "GW-KEY-REUSED", HTTP: 409, FHIR: "duplicate", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Cette clé (Idempotency-Key, ou identifiant du lot) a déjà servi pour un autre contenu.", EN: "This key (Idempotency-Key, or the id of the lot) was already used for another content.",
		FixFR: "Renvoyez le contenu d'origine à l'octet près, ou donnez une nouvelle clé à ce nouveau contenu.", FixEN: "Send the original content again byte for byte, or give this new content a new key.",
	},
	{
		Code: "GW-ALREADY-FED", HTTP: 409, FHIR: "duplicate", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Ce document a déjà été déposé.", EN: "This document was already fed.",
		FixFR: "Rien à faire si c'est un renvoi ; pour une nouvelle version, changez l'identifiant et demandez un remplacement.", FixEN: "Nothing to do if this is a resend; for a new version, change the id and ask for a replacement.",
	},
	{
		Code: "GW-NO-DESTINATION", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Le message ne demande ni DMP ni messagerie : il est conservé, rien ne part.", EN: "The message asks for neither DMP nor mail: it is kept, nothing leaves.",
		FixFR: "Mettez DESTDMP, DESTMSSANTEPS ou DESTMSSANTEPAT à Y si le document doit partir.", FixEN: "Set DESTDMP, DESTMSSANTEPS or DESTMSSANTEPAT to Y if the document must leave.",
	},
	{
		Code: "GW-NO-MAIL", HTTP: 422, FHIR: "not-supported", HL7: refused906, SMTP: SMTP{550, "5.3.5"},
		FR: "Un envoi MSSanté est demandé mais aucun opérateur n'est configuré : le courriel ne partira pas.", EN: "MSSanté mail is asked for but no operator is configured: no letter will leave.",
		FixFR: "Configurez l'opérateur MSSanté, puis renvoyez le document.", FixEN: "Configure the MSSanté operator, then send the document again.",
	},
	{
		Code: "GW-NO-INSI", HTTP: 501, FHIR: "not-supported", HL7: refused906, SMTP: SMTP{550, "5.3.5"},
		FR: "Cette passerelle n'interroge pas l'INSi : le service n'est pas configuré.", EN: "This gateway does not ask INSi: the service is not configured.",
		FixFR: "Ajoutez la section insi à la configuration (certificat INSI-AUTO ou INSI-MANU), ou envoyez l'identité déjà qualifiée, avec son INS.", FixEN: "Add the section insi to the configuration (certificate INSI-AUTO or INSI-MANU), or send the identity qualified already, with its INS.",
	},
	{
		Code: "GW-RESTRICTED", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Un document de confidentialité R ou V ne devrait pas être partagé au DMP.", EN: "A document of confidentiality R or V should not be shared on the DMP.",
		FixFR: "Vérifiez confidentialityCode ; le document a été transmis.", FixEN: "Check confidentialityCode; the document was sent on.",
	},
	{
		Code: "GW-STOPPED", HTTP: 409, FHIR: "suppressed", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Une personne a arrêté cet envoi depuis la console.", EN: "A person stopped this delivery in the console.",
		FixFR: "Relancez-le depuis la console s'il doit partir. Si un essai est resté sans réponse, le destinataire a pu le recevoir : la passerelle le vérifie avant de renvoyer.",
		FixEN: "Have it begin again in the console if it must leave. If an attempt got no answer, it may have arrived: the gateway asks before it sends again.",
	},
	{
		Code: "GW-REJECTED", HTTP: 422, FHIR: "suppressed", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Une personne a écarté ce courriel de la quarantaine.", EN: "A person rejected this mail from the quarantine.",
		FixFR: "Le document n'est pas intégré ; l'expéditeur doit le corriger et le renvoyer.",
		FixEN: "The document is not filed; its sender must correct it and send it again.",
	},
	{
		Code: "GW-DECIDED", HTTP: 409, FHIR: "conflict", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "La situation a changé depuis l'affichage de la page : un essai a abouti, ou une autre personne a décidé.", EN: "Things changed since the page was shown: an attempt ended, or another person decided.",
		FixFR: "Rien n'a été fait. Rouvrez le suivi du message, puis décidez de nouveau si c'est encore utile.",
		FixEN: "Nothing was done. Open the timeline again, and decide again if it is still needed.",
	},
	{
		Code: "GW-BUSY", Kind: Temporary, HTTP: 409, FHIR: "lock-error", HL7: retry906, SMTP: SMTP{451, "4.3.0"},
		FR: "Un essai est en cours en ce moment : son résultat n'est pas encore connu.", EN: "An attempt is under way now: its result is not known yet.",
		FixFR: "Rien n'a été fait. Attendez quelques secondes, rouvrez le suivi du message, puis décidez.",
		FixEN: "Nothing was done. Wait some seconds, open the timeline again, then decide.",
	},
	{
		Code: "GW-REASON", HTTP: 422, FHIR: "required", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Le motif manque, ou il est trop long.", EN: "The reason is missing, or too long.",
		FixFR: "Écrivez en une phrase pourquoi vous décidez ainsi : de 5 à 200 caractères.", FixEN: "Write in one sentence why you decide so: 5 to 200 characters.",
	},
	{
		Code: "GW-REASON-TELLS", HTTP: 422, FHIR: "security", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Le motif semble nommer le patient ou contenir un matricule.", EN: "The reason seems to name the patient or to hold a matricule.",
		FixFR: "Le motif reste dans la chronologie, que d'autres lisent : retirez-en les noms et les matricules.", FixEN: "The reason stays in the timeline, which others read: take names and matricules out of it.",
	},
	{
		Code: "GW-UNREAD", HTTP: 422, FHIR: "invalid", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Ce courriel ne peut pas être rattaché : ce n'est pas une lettre qui porte un document lisible.", EN: "This mail cannot be filed: it is not a letter that carries a readable document.",
		FixFR: "Écartez-le, ou demandez à l'expéditeur de le renvoyer après correction.", FixEN: "Reject it, or ask its sender to correct it and send it again.",
	},
	{
		Code: "GW-UNCONFIRMED", HTTP: 422, FHIR: "required", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "La vérification de l'identité n'est pas confirmée.", EN: "The check of the identity is not confirmed.",
		FixFR: "Comparez chaque ligne, puis cochez la case de confirmation.", FixEN: "Compare each line, then tick the box.",
	},
	{
		Code: "GW-OPPOSED", HTTP: 422, FHIR: "suppressed", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Le patient s'oppose à l'alimentation de son DMP.", EN: "The patient opposes the feeding of the DMP.",
		FixFR:        "Rien n'est déposé. Si le patient a changé d'avis, envoyez un ADT dont ZFA-9 vaut INO, puis renvoyez le document.",
		FixEN:        "Nothing is deposited. If the patient changed their mind, send an ADT with ZFA-9 INO, then send the document again.",
		Requirements: []string{"SC.DMP/ALI/PROG.10"},
	},
	{
		Code: "GW-CONSENT-UNKNOWN", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Aucun ADT n'a dit si le patient s'oppose à l'alimentation de son DMP.", EN: "No ADT has told whether the patient opposes the feeding of the DMP.",
		FixFR: "Envoyez un ADT PAM.fr avec ZFA-9 (INO ou IO) ; le réglage accept.opposition dit si le document part en attendant.",
		FixEN: "Send a PAM.fr ADT with ZFA-9 (INO or IO); the setting accept.opposition says whether the document leaves meanwhile.",
	},
	{
		Code: "GW-CONSENT-UNLINKED", HTTP: 422, FHIR: "required", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "L'opposition du patient ne peut être rattachée à personne : PID-3 ne porte ni INS ni identifiant local.", EN: "The opposition of the patient belongs to nobody: PID-3 has neither an INS nor a local id.",
		FixFR: "Ajoutez en PID-3 l'INS avec son autorité, ou l'IPP (type PI).", FixEN: "Add the INS with its authority, or the local patient number (type PI), in PID-3.",
	},
	{
		Code: "GW-CONSENT-MERGED", HTTP: 422, FHIR: "informational", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR:           "Fusion : la dernière réponse du patient sur l'alimentation de son DMP (ZFA-9) vaut désormais pour les deux dossiers.",
		EN:           "Merge: the last answer of the patient about the feeding of the DMP (ZFA-9) now holds for both records.",
		FixFR:        "Rien à faire si cette réponse est la bonne ; sinon, envoyez sous le dossier conservé un ADT avec ZFA-9 (INO ou IO) et sa date.",
		FixEN:        "Nothing to do if that answer is right; if not, send an ADT of the surviving record with ZFA-9 (INO or IO) and its date.",
		Requirements: []string{"SC.DMP/ALI/PROG.10"},
	},
	{
		Code: "GW-EXPIRED", HTTP: 504, FHIR: "timeout", HL7: refused906, SMTP: SMTP{550, "5.4.7"},
		FR: "Envoi abandonné : le destinataire est resté indisponible trop longtemps.", EN: "Given up: the other side stayed unavailable for too long.",
		FixFR: "Rétablissez la liaison, puis renvoyez le document.", FixEN: "Restore the link, then send the document again.",
	},
	{
		Code: "GW-NOT-FOUND", HTTP: 404, FHIR: "not-found", HL7: refused906, SMTP: SMTP{550, "5.1.1"},
		FR: "Ressource inconnue.", EN: "Unknown resource.",
		FixFR: "Vérifiez l'adresse et l'identifiant.", FixEN: "Check the address and the id.",
	},
	{
		Code: "GW-UNAUTHENTICATED", HTTP: 401, FHIR: "login", HL7: refused906, SMTP: SMTP{530, "5.7.0"},
		FR: "Appelant non identifié.", EN: "Caller not identified.",
		FixFR: "Présentez un certificat client rattaché à un établissement dans la configuration, ou le jeton d'un professionnel avec son certificat.", FixEN: "Present a client certificate that the configuration maps to an establishment, or a professional's token with its certificate.",
	},
	{
		Code: "GW-FORBIDDEN", HTTP: 403, FHIR: "forbidden", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Accès refusé.", EN: "Access denied.",
		FixFR: "Utilisez le certificat de l'établissement concerné.", FixEN: "Use the certificate of the establishment concerned.",
	},
	{
		Code: "GW-METHOD", HTTP: 405, FHIR: "not-supported", HL7: refused906, SMTP: SMTP{502, "5.5.1"},
		FR: "Opération non prise en charge à cette adresse.", EN: "Operation not supported at this address.",
		FixFR: "L'en-tête Allow de la réponse donne les méthodes permises ; les opérations sont dans GET /openapi.yaml et GET /fhir/metadata.", FixEN: "The header Allow of the answer gives the methods; the operations are in GET /openapi.yaml and GET /fhir/metadata.",
	},
	{
		Code: "GW-FATE-UNKNOWN", Kind: Temporary, HTTP: 503, FHIR: "transient", HL7: retry906, SMTP: SMTP{451, "4.4.2"},
		FR: "On ne sait pas si l'opérateur a pris le courriel : son accusé de remise est attendu avant tout renvoi.", EN: "It is not known whether the operator took the letter: its delivery report is awaited before any resend.",
		FixFR: "Rien à faire : le même courriel, avec le même Message-ID, repartira si aucun accusé n'arrive.", FixEN: "Nothing to do: the same letter, with the same Message-ID, leaves again if no report comes.",
	},
	{
		Code: "GW-NO-REPORT", HTTP: 422, FHIR: "informational", HL7: refused906, SMTP: SMTP{550, "5.3.3"},
		FR: "L'opérateur a pris le courriel mais ne rend pas compte de la remise.", EN: "The operator took the letter but reports no delivery.",
		FixFR: "Demandez à l'opérateur d'activer les accusés de remise (DSN) ; aucun ZAM Z02 ne partira.", FixEN: "Ask the operator to turn delivery reports (DSN) on; no ZAM Z02 will leave.",
	},
	{
		Code: "GW-RECEIPT-UNKNOWN", HTTP: 422, FHIR: "not-found", HL7: refused906, SMTP: SMTP{550, "5.6.0"},
		FR: "Accusé reçu qui ne correspond à aucun de nos courriels ni à son destinataire.", EN: "A receipt that matches none of our letters, or not its recipient.",
		FixFR: "Lisez l'accusé en quarantaine ; rien n'a été changé.", FixEN: "Read the receipt in quarantine; nothing was changed.",
	},
	{
		Code: "GW-MAIL-LOOP", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{554, "5.4.6"},
		FR: "Un de nos propres courriels est revenu dans la boîte de la passerelle.", EN: "One of our own letters came back to the gateway's mailbox.",
		FixFR: "Vérifiez les règles de transfert de la boîte du destinataire.", FixEN: "Check the forwarding rules of the recipient's mailbox.",
	},
	{
		Code: "GW-NO-ARCHIVE", HTTP: 422, FHIR: "required", HL7: HL7{"AE", "207", "903"}, SMTP: SMTP{550, "5.6.0"},
		FR: "Courriel reçu sans archive IHE_XDM : il n'y a pas de document à intégrer.", EN: "A letter without an IHE_XDM archive: there is no document to file.",
		FixFR: "Lisez le courriel en quarantaine et répondez à son auteur.", FixEN: "Read the letter in quarantine and answer its author.",
	},
	{
		Code: "GW-NO-REGISTER", HTTP: 501, FHIR: "not-supported", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Cette passerelle ne tient pas d'identités : aucun fichier de clés n'est configuré.", EN: "This gateway holds no identities: no key file is configured.",
		FixFR: "Créez un fichier de clés (openssl rand -hex 32, chmod 600) et nommez-le dans storage.key_file.", FixEN: "Make a key file (openssl rand -hex 32, chmod 600) and name it in storage.key_file.",
	},
	{
		Code: "GW-IDENTITY-MANY", HTTP: 422, FHIR: "too-costly", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Trop d'identités répondent à cette recherche.", EN: "Too many identities answer this search.",
		FixFR: "Ajoutez les premières lettres du nom ou d'un prénom à la date de naissance.", FixEN: "Add the first letters of the name or of a given name to the birth date.",
	},
	{
		Code: "GW-IDENTITY-TRACE", HTTP: 422, FHIR: "business-rule", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "La réponse INSi invoquée n'est pas conservée par cet établissement : aucun INS n'entre sans sa trace.", EN: "The INSi answer named is not kept by this establishment: no INS enters without its trace.",
		FixFR: "Interrogez l'INSi par la passerelle, puis acceptez sa réponse.", FixEN: "Ask INSi through the gateway, then accept its answer.",
		Requirements: []string{"EXI REC 07"},
	},
	{
		Code: "GW-IDENTITY-RACE", Kind: Temporary, HTTP: 503, FHIR: "conflict", HL7: retry906, SMTP: SMTP{451, "4.3.0"},
		FR: "Cette identité est modifiée sans cesse par d'autres demandes.", EN: "This identity is being changed over and over by other requests.",
		FixFR: "Renvoyez la même demande : rien n'a été enregistré.", FixEN: "Send the same request again: nothing was recorded.",
	},
	{
		Code: "GW-IDENTITY-TWO", HTTP: 409, FHIR: "multiple-matches", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Les numéros locaux de ce message désignent deux identités différentes : rien n'en a été appris.", EN: "The local numbers of this message name two different identities: nothing was learned from it.",
		FixFR: "Corrigez les identifiants (PID-3) dans le logiciel émetteur ; s'il s'agit d'un doublon, fusionnez-le (ADT^A40).", FixEN: "Correct the identifiers (PID-3) in the sending software; if it is a duplicate, merge it (ADT^A40).",
	},
	{
		Code: "GW-IDENTITY-NO-NUMBER", HTTP: 409, FHIR: "multiple-matches", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR:    "Ce message ne donne aucun numéro local, et son INS est déjà tenu sous d'autres traits ou par plusieurs identités : rien n'en a été appris.",
		EN:    "This message gives no local number, and its INS is held already under other traits or by several identities: nothing was learned from it.",
		FixFR: "Envoyez le numéro local du patient (PID-3, type PI) ; s'il s'agit d'un doublon, fusionnez-le (ADT^A40).", FixEN: "Send the local number of the patient (PID-3, type PI); if it is a duplicate, merge it (ADT^A40).",
	},
	{
		Code: "GW-IDENTITY-LATER", HTTP: 409, FHIR: "conflict", HL7: refused906, SMTP: SMTP{550, "5.7.1"},
		FR: "Un changement plus récent de cette identité a déjà été annoncé à l'établissement.", EN: "A later change of this identity was already told to the hospital.",
		FixFR: "Rien à faire : relancer celui-ci lui annoncerait une identité périmée.", FixEN: "Nothing to do: to begin this one again would tell it an outdated identity.",
	},
}
