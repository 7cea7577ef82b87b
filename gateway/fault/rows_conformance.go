package fault

// conformanceRows: prefix CONF. What stops a judgement before any verdict.
var conformanceRows = []Row{
	{
		Code: "CONF-CATALOGUE", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AE", "207", "906"}, SMTP: SMTP{554, "5.3.0"},
		FR:    "Le catalogue des exigences est illisible ou incohérent.",
		EN:    "The catalogue of requirements is unreadable or inconsistent.",
		FixFR: "Corrigez l'entrée nommée, ou revenez à une édition livrée avec le programme.",
		FixEN: "Fix the entry that is named, or go back to an edition shipped with the program.",
	},
	{
		Code: "CONF-TARGET", Kind: Permanent, HTTP: 400, FHIR: "invalid",
		HL7: HL7{"AE", "207", "906"}, SMTP: SMTP{554, "5.5.0"},
		FR:    "Le fichier qui décrit le système à juger est incomplet ou illisible.",
		EN:    "The file that describes the system to judge is incomplete or unreadable.",
		FixFR: "Donnez le fichier écrit par « passerelle sandbox --info », ou une fiche de produit avec name et sandbox ; le bac à sable doit tourner.",
		FixEN: "Give the file written by « passerelle sandbox --info », or a product file with name and sandbox; the sandbox must be running.",
	},
	{
		Code: "CONF-WIRE", Kind: Temporary, HTTP: 503, FHIR: "transient",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Le système à juger ne répond pas : rien n'a pu être joué.",
		EN:    "The system to judge does not answer: nothing could be played.",
		FixFR: "Vérifiez que la passerelle et le bac à sable tournent et que les adresses de la fiche sont les leurs, puis recommencez.",
		FixEN: "Check that the gateway and the sandbox run and that the addresses of the file are theirs, then start again.",
	},
	{
		Code: "CONF-RUN", Kind: Permanent, HTTP: 500, FHIR: "exception",
		HL7: HL7{"AE", "207", "906"}, SMTP: SMTP{554, "5.3.0"},
		FR:    "Le dossier du jugement ne peut pas être lu ou écrit.",
		EN:    "The folder of the judgement cannot be read or written.",
		FixFR: "Donnez un dossier neuf à --out, avec de la place ; pour relire, un dossier qui contient run.json.",
		FixEN: "Give --out a new folder, with room; to read again, a folder that holds run.json.",
	},
	{
		Code: "CONF-BUSY", Kind: Temporary, HTTP: 503, FHIR: "transient",
		HL7: HL7{"AR", "207", "906"}, SMTP: SMTP{451, "4.3.0"},
		FR:    "Une panne est encore réglée dans le bac à sable : le système jugé en serait accusé.",
		EN:    "A fault is still set in the sandbox: the system that is judged would be blamed for it.",
		FixFR: "Réparez le réglage nommé (« curl -X DELETE » sur cette adresse du contrôle) ou laissez finir l'autre jugement, puis recommencez.",
		FixEN: "Repair the knob that is named (« curl -X DELETE » on that address of the control) or let the other judgement end, then start again.",
	},
}
