package cda

import "github.com/passerelle-sante/passerelle/dmp"

const (
	act        = "documentationOf[valued]/serviceEvent[valued]"
	practice   = performer + "/representedOrganization/standardIndustryClassCode"
	facility   = encounter + "/location/healthCareFacility[valued]"
	consentAt  = "authorization/consent[completed]"
	replacedAt = "relatedDocument[RPLC]/parentDocument[valued]"
)

// actRules are about acts, replaced documents, consents and the encounter.
var actRules = []Rule{
	with("E01", FaultStructure, "L'acte documenté manque.", "Renseignez au moins un documentationOf/serviceEvent.",
		"remove documentationOf", "set documentationOf/@nullFlavor UNK").must("", "documentationOf"),
	{
		ID: "E02", Code: FaultStructure, Severity: Error, XPath: "/ClinicalDocument/documentationOf[1]/serviceEvent/performer", Source: SourceStructure,
		FR:      "L'acte principal (le premier) n'a pas un exécutant, et un seul.",
		Fix:     "Renseignez un performer dans le premier serviceEvent.",
		Mutants: []string{"remove documentationOf/serviceEvent/performer", "twice documentationOf/serviceEvent/performer"},
		check:   firstAct("performer"),
	},
	{
		ID: "E03", Code: FaultStructure, Severity: Error, XPath: "/ClinicalDocument/documentationOf[1]/serviceEvent/effectiveTime", Source: SourceStructure,
		FR:      "L'acte principal (le premier) n'a pas de date.",
		Fix:     "Renseignez effectiveTime dans le premier serviceEvent.",
		Mutants: []string{"remove documentationOf/serviceEvent/effectiveTime"},
		check:   firstAct("effectiveTime"),
	},
	with("E04", FaultStructure, "La date d'un acte n'a pas de début.", "Renseignez effectiveTime/low/@value.",
		"remove "+act+"/effectiveTime/low", "unset "+act+"/effectiveTime/low/@value").presentWith(act+"/effectiveTime", "low", "value"),
	with("E05", FaultStructure, "Le code d'un acte n'a pas code et codeSystem, ou les a à côté d'un nullFlavor.", "Renseignez code et codeSystem, ou nullFlavor seul.",
		"unset "+act+"/code/@code", "unset "+act+"/code/@codeSystem", "set "+act+"/code/@nullFlavor UNK", "replace "+act+"/code <code displayName=\"x\"/>").
		each(func(n *node) bool {
			_, code := n.attr("code")
			_, system := n.attr("codeSystem")
			if n.null() {
				return code || system
			}
			return !code || !system
		}, act+"/code"),
	with("E06", FaultStructure, "Un acte a plusieurs exécutants principaux.", "Gardez un seul performer de typeCode PRF par serviceEvent.",
		"twice "+act+"/performer").each(func(n *node) bool {
		main := 0
		for _, p := range n.all("performer") {
			if p.get("typeCode") == "PRF" {
				main++
			}
		}
		return main > 1
	}, act),
	with("E07", FaultStructure, "L'exécutant n'a pas un identifiant, et un seul.", "Renseignez performer/assignedEntity/id une fois.",
		"remove "+performer+"/id", "twice "+performer+"/id").each(func(n *node) bool { return len(n.all("id")) != 1 }, performer),
	with("E08", FaultStructure, "La structure de l'exécutant manque.", "Renseignez performer/assignedEntity/representedOrganization.",
		"remove "+performer+"/representedOrganization").each(func(n *node) bool { return n.one("representedOrganization") == nil }, performance+"/assignedEntity"),
	with("E09", FaultStructure, "Le cadre d'exercice de l'exécutant manque ou est incomplet.", "Renseignez standardIndustryClassCode avec code, displayName et codeSystem.",
		"remove "+practice, "set "+practice+"/@nullFlavor UNK", "unset "+practice+"/@codeSystem").
		valued(performer+"/representedOrganization", "standardIndustryClassCode", "code displayName codeSystem"),
	with("E10", FaultValueSet, "Le cadre d'exercice de l'exécutant n'est pas dans JDV_J04.", "Choisissez un code de JDV_J04-XdsPracticeSettingCode-CISIS.",
		"set "+practice+"/@code ZZ99").in(dmp.SetJ04, "code", practice+"[valued]"),

	{
		ID: "E20", Code: FaultStructure, Severity: Error, XPath: "/ClinicalDocument/relatedDocument[@typeCode='RPLC']", Source: SourceStructure,
		FR:      "Le document dit remplacer plusieurs documents.",
		Fix:     "Gardez un seul relatedDocument de typeCode RPLC.",
		Mutants: []string{"twice relatedDocument"},
		check: func(d *checkup, hit func(*node)) {
			replaces := 0
			for _, n := range d.root.all("relatedDocument") {
				if n.get("typeCode") == "RPLC" {
					if replaces++; replaces > 1 {
						hit(n)
					}
				}
			}
		},
	},
	with("E21", FaultStructure, "Le document remplacé n'a pas un identifiant, et un seul.", "Renseignez parentDocument/id une fois, avec root.",
		"remove "+replacedAt+"/id", "twice "+replacedAt+"/id", "unset "+replacedAt+"/id/@root", "set "+replacedAt+"/id/@nullFlavor UNK").
		valued(replacedAt, "id", "root"),
	with("E22", FaultStructure, "Le document se remplace lui-même.", "Donnez au document un nouvel identifiant ; parentDocument/id est celui du document remplacé.",
		"set "+replacedAt+"/id/@root 1.2.250.1.999.1.1.100.2").each(func(n *node) bool {
		self := n.parent.parent.parent.one("id")
		return n.get("root") != "" && n.get("root") == self.get("root") && n.get("extension") == self.get("extension")
	}, replacedAt+"/id").ours(),
	with("E23", FaultStructure, "Le consentement n'a pas de code.", "Renseignez consent/code.",
		"remove "+consentAt+"/code").each(func(n *node) bool { return len(n.all("code")) != 1 }, consentAt),
	with("E24", FaultValueSet, "Le consentement n'est pas terminé.", "Écrivez <statusCode code=\"completed\"/>, ou un nullFlavor.",
		"set "+consentAt+"/statusCode/@code active", "unset "+consentAt+"/statusCode/@code").
		each(func(n *node) bool { return !n.null() && n.get("code") != "completed" }, "authorization/consent/statusCode"),

	with("E30", FaultStructure, "La prise en charge manque.", "Renseignez componentOf/encompassingEncounter une fois.",
		"remove componentOf", "set componentOf/@nullFlavor UNK").count("", "componentOf", 1, 1),
	with("E31", FaultStructure, "La prise en charge est sans valeur.", "Renseignez encompassingEncounter sans nullFlavor.",
		"set "+encounter+"/@nullFlavor UNK").must("componentOf[valued]", "encompassingEncounter"),
	with("E32", FaultStructure, "Le type de rencontre n'a pas de code, de libellé ou de nomenclature.", "Renseignez encompassingEncounter/code avec code, displayName et codeSystem, ou retirez-le.",
		"unset "+encounter+"/code/@displayName", "unset "+encounter+"/code/@codeSystem", "unset "+encounter+"/code/@code").
		each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, encounter+"/code"),
	with("E33", FaultValueSet, "Le type de rencontre n'est pas dans JDV_J142.", "Choisissez un code de JDV_J142-TypeRencontre-CISIS.",
		"set "+encounter+"/code/@code ZZ").in(dmp.SetJ142, "code", encounter+"/code"),
	with("E34", FaultStructure, "Le lieu de la prise en charge manque.", "Renseignez encompassingEncounter/location/healthCareFacility.",
		"remove "+encounter+"/location", "set "+facility+"/@nullFlavor UNK").must("componentOf[valued]/encompassingEncounter[valued]", "location/healthCareFacility"),
	with("E35", FaultStructure, "Le secteur d'activité du lieu manque ou est incomplet.", "Renseignez healthCareFacility/code avec code, displayName et codeSystem.",
		"remove "+facility+"/code", "set "+facility+"/code/@nullFlavor UNK", "unset "+facility+"/code/@codeSystem", "unset "+facility+"/code/@displayName").
		valued(facility, "code", "code displayName codeSystem"),
	with("E36", FaultValueSet, "Le secteur d'activité du lieu n'est pas dans JDV_J02.", "Choisissez un code de JDV_J02-XdsHealthcareFacilityTypeCode-CISIS.",
		"set "+facility+"/code/@code ZZ99", "set "+facility+"/code/@code SA99").in(dmp.SetJ02, "code", facility+"/code[valued]"),
	with("E42", FaultStructure, "La traduction du secteur d'activité n'a pas de code, de libellé ou de nomenclature.", "Renseignez translation avec code, displayName et codeSystem, ou retirez-la.",
		"into "+facility+"/code <translation code=\"T\" codeSystem=\"1.2.3\"/>").
		each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, facility+"/code[valued]/translation"),
	with("E43", FaultSchema, "Le rôle d'un participant à la prise en charge n'existe pas.", "Utilisez ADM, ATND, CON, DIS ou REF.", "set "+encounter+"/encounterParticipant/@typeCode ZZZ").
		each(outsideOf("typeCode", "ADM", "ATND", "CON", "DIS", "REF"), "componentOf/encompassingEncounter/encounterParticipant"),
	with("E44", FaultSchema, "Le rôle du destinataire n'existe pas.", "Utilisez ASSIGNED pour une personne, HLTHCHRT pour un dossier, ou retirez classCode.", "set informationRecipient/intendedRecipient/@classCode ZZZ").
		each(outsideOf("classCode", "ASSIGNED", "HLTHCHRT"), "informationRecipient/intendedRecipient"),
	with("E37", FaultStructure, "L'identifiant d'une prise en charge n'a pas de racine.", "Renseignez encompassingEncounter/id/@root.",
		"unset "+encounter+"/id/@root").each(func(n *node) bool { return n.get("root") == "" }, encounter+"/id"),
	with("E38", FaultStructure, "Un professionnel de la prise en charge n'est pas identifié, une fois, par un numéro national.",
		"Renseignez assignedEntity/id une fois avec la racine 1.2.250.1.71.4.2.1 et son extension.",
		"set "+encounter+"/responsibleParty/assignedEntity/id/@root 1.2.3", "twice "+encounter+"/encounterParticipant/assignedEntity/id",
		"unset "+encounter+"/encounterParticipant/assignedEntity/id/@extension").each(func(n *node) bool { return !oneNational(n) || bareID(n, dmp.OIDPerson) },
		encounter+"/responsibleParty/assignedEntity", encounter+"/encounterParticipant/assignedEntity"),
	with("E39", FaultStructure, "Le mode de sortie est incomplet.", "Renseignez dischargeDispositionCode avec code et displayName ; sa nomenclature est 1.2.250.1.213.2.14.",
		"after "+encounter+"/effectiveTime <dischargeDispositionCode code=\"8\"/>",
		"after "+encounter+"/effectiveTime <dischargeDispositionCode code=\"8\" displayName=\"Domicile\" codeSystem=\"1.2.3\"/>").
		each(func(n *node) bool {
			system, ok := n.attr("codeSystem")
			return !n.carries("code displayName") || ok && system != "1.2.250.1.213.2.14"
		}, encounter+"/dischargeDispositionCode"),
	with("E40", FaultStructure, "Une borne d'une période de participation n'a pas de valeur.", "Renseignez low/@value et high/@value, ou retirez la borne.",
		"unset "+encounter+"/encounterParticipant/time/low/@value", "replace participant/time <time><low/></time>").
		each(func(n *node) bool { return n.get("value") == "" },
			encounter+"/encounterParticipant/time/low", encounter+"/encounterParticipant/time/high", "participant/time/low", "participant/time/high"),
}

// firstAct checks that the first act holds exactly one such child.
func firstAct(child string) func(*checkup, func(*node)) {
	return func(d *checkup, hit func(*node)) {
		if n := d.root.one("documentationOf"); n != nil && len(n.all("serviceEvent/"+child)) != 1 {
			hit(n)
		}
	}
}
