package cda

import "github.com/passerelle-sante/passerelle/dmp"

// Where professionals stand in the header, as far as they are read.
const (
	assignedAuthor = "author/assignedAuthor[valued]"
	informant      = "informant/assignedEntity"
	relative       = "informant/relatedEntity[relatedPerson]"
	custodianOrg   = "custodian[valued]/assignedCustodian/representedCustodianOrganization"
	recipient      = "informationRecipient/intendedRecipient"
	signer         = "legalAuthenticator[S]/assignedEntity"
	cosigner       = "authenticator[S]/assignedEntity[byPS]"
	participantAt  = "participant/associatedEntity"
	performance    = act + "/performer[PRF]"
	performer      = performance + "/assignedEntity[representedOrganization]"
	encounter      = "componentOf[valued]/encompassingEncounter[valued][location]"
	responsible    = encounter + "/responsibleParty/assignedEntity[byPS]"
	attendant      = encounter + "/encounterParticipant/assignedEntity[byPS]"
)

// personNames are the names of people other than the patient.
var personNames = []string{
	assignedAuthor + "/assignedPerson/name[family]", signer + "/assignedPerson/name[valued][family]", cosigner + "/assignedPerson/name[family]",
	guardian + "/guardianPerson/name[family]", informant + "/assignedPerson/name[family]", relative + "/relatedPerson/name[family]", recipient + "/informationRecipient/name[family]",
	participantAt + "/associatedPerson/name[family]", performer + "/assignedPerson/name[family]",
	responsible + "/assignedPerson/name[family]", attendant + "/assignedPerson/name[family]",
}

// titled are the names whose civility and title are checked nationally.
var titled = []string{
	"author/assignedAuthor/assignedPerson/name", signer + "/assignedPerson/name", "documentationOf[valued]/serviceEvent/performer/assignedEntity/assignedPerson/name",
	"componentOf[valued]/encompassingEncounter/responsibleParty/assignedEntity/assignedPerson/name",
	"componentOf[valued]/encompassingEncounter/encounterParticipant/assignedEntity/assignedPerson/name",
	"authenticator[S]/assignedEntity/assignedPerson/name", participantAt + "/associatedPerson/name", relative + "/relatedPerson/name",
	informant + "/assignedPerson/name", recipient + "/informationRecipient/name",
}

// organisations are the structures of professionals.
var organisations = []string{
	assignedAuthor + "/representedOrganization", signer + "/representedOrganization", cosigner + "/representedOrganization",
	informant + "/representedOrganization", performer + "/representedOrganization",
	responsible + "/representedOrganization", attendant + "/representedOrganization",
}

// actorRules are about those who wrote, signed and keep the document.
var actorRules = []Rule{
	with("P01", FaultStructure, "Le rôle fonctionnel de l'auteur n'a pas de code ou de nomenclature.", "Renseignez functionCode/@code et @codeSystem.",
		"unset author/functionCode/@code", "unset author/functionCode/@codeSystem").
		each(func(n *node) bool { return !n.carries("code codeSystem") }, "author/functionCode"),
	with("P02", FaultValueSet, "Le rôle fonctionnel n'est pas dans JDV_J47.", "Choisissez un code de JDV_J47-FunctionCode-CISIS.",
		"set author/functionCode/@code ZZ", "set participant/functionCode/@code ZZ").in(dmp.SetJ47, "code", "author/functionCode", "participant/functionCode"),
	with("P03", FaultStructure, "La date de participation de l'auteur manque.", "Renseignez author/time/@value.",
		"remove author/time", "unset author/time/@value").presentWith("author", "time", "value"),
	with("P04", FaultStructure, "L'auteur n'est pas identifié.", "Renseignez assignedAuthor sans nullFlavor.",
		"set author/assignedAuthor/@nullFlavor UNK", "remove author[2] ; remove author/assignedAuthor").must("author", "assignedAuthor"),
	with("P05", FaultStructure, "L'identifiant de l'auteur n'a pas root et extension.", "Renseignez assignedAuthor/id : 1.2.250.1.71.4.2.1 et le numéro RPPS précédé de 8.",
		"unset author/assignedAuthor/id/@extension", "unset author/assignedAuthor/id/@root", "set author/assignedAuthor/id/@extension ").
		each(func(n *node) bool { return !n.carries("root extension") }, assignedAuthor+"/id"),
	with("P06", FaultStructure, "La spécialité de l'auteur n'a pas de code, de libellé ou de nomenclature.", "Renseignez assignedAuthor/code avec code, displayName et codeSystem.",
		"unset author/assignedAuthor/code/@displayName", "unset author/assignedAuthor/code/@codeSystem", "unset author/assignedAuthor/code/@code").
		each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, assignedAuthor+"/code"),
	with("P07", FaultValueSet, "Une spécialité n'est pas dans JDV_J01.", "Choisissez un code de JDV_J01-XdsAuthorSpecialty-CISIS.",
		"set author/assignedAuthor/code/@code ZZ/ZZ99", "set legalAuthenticator/assignedEntity/code/@code G15_99",
		"set participant/associatedEntity/code/@code G15_99", "set documentationOf/serviceEvent/performer/assignedEntity/code/@code G15_99").
		in(dmp.SetJ01, "code", assignedAuthor+"/code", signer+"/code", participantAt+"/code", performer+"/code"),
	with("P08", FaultStructure, "Une personne n'a pas un nom, et un seul.", "Renseignez name avec family.",
		"remove author/assignedAuthor/assignedPerson/name", "twice author/assignedAuthor/assignedPerson/name", "remove author/assignedAuthor/assignedPerson/name/family",
		"remove informant/relatedEntity/relatedPerson/name", "remove legalAuthenticator/assignedEntity/assignedPerson/name/family").each(func(n *node) bool {
		named := 0
		for _, c := range n.all("name") {
			if c.one("family") != nil && (!c.null() || !n.under("legalAuthenticator")) {
				named++
			}
		}
		return named != 1 && !(n.is("associatedPerson") && n.one("name") == nil)
	}, assignedAuthor+"/assignedPerson", informant+"/assignedPerson", relative+"/relatedPerson", signer+"/assignedPerson", guardian+"/guardianPerson",
		cosigner+"/assignedPerson", participantAt+"/associatedPerson", responsible+"/assignedPerson", attendant+"/assignedPerson"),
	with("P09", FaultStructure, "Le nom d'une personne répète une de ses parties.", "Gardez un family, un given, un prefix et un suffix au plus ; pour un responsable légal, trois family et un prefix.",
		"twice author/assignedAuthor/assignedPerson/name/family", "twice author/assignedAuthor/assignedPerson/name/given",
		"twice legalAuthenticator/assignedEntity/assignedPerson/name/prefix", "twice participant/associatedEntity/associatedPerson/name/suffix",
		"twice documentationOf/serviceEvent/performer/assignedEntity/assignedPerson/name/given").each(func(n *node) bool {
		if n.parent.is("guardianPerson") {
			return len(n.all("family")) > 3 || len(n.all("prefix")) > 1
		}
		return len(n.all("family")) > 1 || len(n.all("given")) > 1 || len(n.all("prefix")) > 1 || len(n.all("suffix")) > 1 && !n.parent.is("relatedPerson")
	}, personNames...),
	with("P10", FaultValueSet, "Une civilité n'est pas dans JDV_J245.", "Utilisez M ou MME.",
		"text author/assignedAuthor/assignedPerson/name/prefix Docteur", "text legalAuthenticator/assignedEntity/assignedPerson/name/prefix DR",
		"text componentOf/encompassingEncounter/responsibleParty/assignedEntity/assignedPerson/name/prefix Monsieur").
		each(outsideSet(dmp.SetJ245), suffixed(titled, "/prefix")...),
	with("P11", FaultValueSet, "Un titre n'est pas dans JDV_J246.", "Utilisez DR, PR, MC, MG, PC ou PG.",
		"text author/assignedAuthor/assignedPerson/name/suffix Docteur", "text documentationOf/serviceEvent/performer/assignedEntity/assignedPerson/name/suffix MME").
		each(outsideSet(dmp.SetJ246), suffixed(titled, "/suffix")...),
	with("P12", FaultStructure, "Un appareil auteur n'a pas de modèle.", "Renseignez assignedAuthoringDevice/manufacturerModelName une fois.",
		"remove author[2]/assignedAuthor/assignedAuthoringDevice/manufacturerModelName").
		each(func(n *node) bool { return len(n.all("manufacturerModelName")) != 1 }, assignedAuthor+"/assignedAuthoringDevice"),
	with("P13", FaultStructure, "Un appareil auteur n'a pas de nom de logiciel.", "Renseignez assignedAuthoringDevice/softwareName une fois.",
		"remove author[2]/assignedAuthor/assignedAuthoringDevice/softwareName").
		each(func(n *node) bool { return len(n.all("softwareName")) != 1 }, assignedAuthor+"/assignedAuthoringDevice"),
	with("P14", FaultStructure, "L'identifiant d'une structure n'a pas d'extension.", "Renseignez extension : 1 suivi du FINESS, ou 3 suivi du SIRET.",
		"unset author/assignedAuthor/representedOrganization/id/@extension", "unset legalAuthenticator/assignedEntity/representedOrganization/id/@extension",
		"unset documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/id/@extension").
		each(func(n *node) bool { return n.get("extension") == "" }, append(suffixed(organisations, "/id[ORG]"), recipient+"/receivedOrganization/id[ORG]", guardian+"/guardianOrganization/id[ORG]")...),
	with("P15", FaultStructure, "La structure de l'auteur, ou du responsable légal du patient, porte plusieurs identifiants nationaux.", "Gardez un seul id de racine 1.2.250.1.71.4.2.2.",
		"twice author/assignedAuthor/representedOrganization/id").each(func(n *node) bool {
		found := 0
		for _, c := range n.all("id") {
			if c.get("root") == dmp.OIDOrganisation {
				found++
			}
		}
		return found > 1
	}, assignedAuthor+"/representedOrganization", guardian+"/guardianOrganization"),

	with("P20", FaultStructure, "L'organisation qui conserve le document n'a pas un identifiant, et un seul.", "Renseignez representedCustodianOrganization/id une fois, avec root.",
		"remove "+custodianOrg+"/id", "twice "+custodianOrg+"/id", "unset "+custodianOrg+"/id/@root", "set "+custodianOrg+"/id/@nullFlavor UNK").valued(custodianOrg, "id", "root"),
	with("P21", FaultValueSet, "L'organisation qui conserve le document n'est ni une structure de santé ni l'hébergeur des documents du patient.",
		"Utilisez la racine 1.2.250.1.71.4.2.2, ou 1.2.250.1.213.4.1 pour un document du patient.",
		"set "+custodianOrg+"/id/@root 1.2.3.4").each(outsideOf("root", dmp.OIDOrganisation, "1.2.250.1.213.4.1"), custodianOrg+"/id[valued]"),
	with("P22", FaultStructure, "L'organisation qui conserve le document manque.", "Renseignez custodian sans nullFlavor.",
		"remove custodian", "set custodian/@nullFlavor UNK").count("", "custodian", 1, 1),

	{
		ID: "P30", Code: FaultStructure, Severity: Error, XPath: "/ClinicalDocument/legalAuthenticator[signatureCode/@code='S']", Source: SourceStructure,
		FR:      "Le responsable du document manque, ou n'a pas signé (signatureCode S).",
		Fix:     "Renseignez legalAuthenticator une fois, avec <signatureCode code=\"S\"/>.",
		Mutants: []string{"remove legalAuthenticator", "set legalAuthenticator/signatureCode/@code X", "twice legalAuthenticator"},
		check: func(d *checkup, hit func(*node)) {
			signed := 0
			for _, n := range d.root.all("legalAuthenticator") {
				if n.one("signatureCode").get("code") == "S" {
					signed++
				}
			}
			if signed != 1 {
				hit(first(d.root.one("legalAuthenticator"), d.root))
			}
		},
	},
	with("P31", FaultStructure, "La date de signature du responsable manque.", "Renseignez legalAuthenticator/time/@value.",
		"unset legalAuthenticator/time/@value").presentWith("legalAuthenticator[S]", "time", "value"),
	with("P32", FaultStructure, "Le responsable n'a pas un identifiant complet, et un seul.", "Renseignez assignedEntity/id une fois, avec root et extension.",
		"remove "+signer+"/id", "twice "+signer+"/id", "unset "+signer+"/id/@extension", "unset "+signer+"/id/@root", "set "+signer+"/id/@nullFlavor UNK").
		valued(signer, "id", "root extension"),
	with("P33", FaultStructure, "Un signataire n'a pas signé (signatureCode S).", "Écrivez <signatureCode code=\"S\"/>.",
		"set authenticator/signatureCode/@code I").each(outsideOf("code", "S"), "authenticator/signatureCode").warn(),

	{
		ID: "P34", Code: FaultStructure, Severity: Error, XPath: "/ClinicalDocument/authenticator/assignedEntity/id", Source: SourceStructure,
		FR:      "Un signataire n'est pas identifié comme professionnel.",
		Fix:     "Renseignez authenticator/assignedEntity/id avec la racine 1.2.250.1.71.4.2.1.",
		Mutants: []string{"set authenticator/assignedEntity/id/@root 1.2.3"},
		check: func(d *checkup, hit func(*node)) {
			for _, n := range d.root.all("authenticator") {
				if n.one("signatureCode").get("code") == "S" && !n.one("assignedEntity").identified(dmp.OIDPerson) {
					hit(n)
				}
			}
		},
	},
	with("P35", FaultValueSet, "Le cadre d'exercice d'un signataire ou d'un informateur n'est pas dans JDV_J04.", "Choisissez un code de JDV_J04-XdsPracticeSettingCode-CISIS, ou retirez standardIndustryClassCode.",
		"set legalAuthenticator/assignedEntity/representedOrganization/standardIndustryClassCode/@code ZZ99").
		in(dmp.SetJ04, "code", signer+"/representedOrganization/standardIndustryClassCode",
			informant+"/representedOrganization/standardIndustryClassCode"),
	with("P39", FaultStructure, "Le cadre d'exercice d'une structure n'a pas de code, de libellé ou de nomenclature.", "Renseignez standardIndustryClassCode avec code, displayName et codeSystem, ou retirez-le.",
		"unset author/assignedAuthor/representedOrganization/standardIndustryClassCode/@displayName").
		each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, informant+"/representedOrganization/standardIndustryClassCode",
			assignedAuthor+"/representedOrganization/standardIndustryClassCode[J04]", cosigner+"/representedOrganization/standardIndustryClassCode[J04]",
			responsible+"/representedOrganization/standardIndustryClassCode[J04]", attendant+"/representedOrganization/standardIndustryClassCode[J04]"),

	with("P40", FaultValueSet, "Le lien de la personne n'est pas admis.", "Utilisez ECON, NOK, CON, CAREGIVER ou PAT.",
		"set informant/relatedEntity/@classCode GUARD").each(outsideOf("classCode", "ECON", "NOK", "CON", "CAREGIVER", "PAT"), relative),
	with("P41", FaultValueSet, "Le type de participation n'est pas dans JDV_J144.", "Choisissez un code de JDV_J144-ParticipationType-CISIS.",
		"set participant/@typeCode ZZZ", "set participant/@typeCode AUT").in(dmp.SetJ144, "typeCode", "participant"),
	with("P42", FaultValueSet, "Le rôle du participant n'est ni PROV ni AGNT.", "Utilisez PROV pour un professionnel, AGNT sinon.",
		"set participant/associatedEntity/@classCode ASSIGNED").in(dmp.SetJ141, "classCode", participantAt),
	with("P43", FaultStructure, "Le participant a plusieurs identifiants, ou un identifiant incomplet.", "Renseignez associatedEntity/id une fois, avec root et extension.",
		"twice participant/associatedEntity/id", "unset participant/associatedEntity/id/@extension", "unset participant/associatedEntity/id/@root").
		each(func(n *node) bool {
			ids := n.all("id")
			return len(ids) > 1 || len(ids) == 1 && !ids[0].carries("root extension")
		}, participantAt),
	with("P50", FaultStructure, "Un participant porte plusieurs templateId.", "Gardez un seul templateId.",
		"before participant/time <templateId root=\"1.2.3\"/><templateId root=\"1.2.4\"/>").
		each(func(n *node) bool { return len(n.all("templateId")) > 1 }, "participant"),
	with("P45", FaultStructure, "La date de participation manque.", "Renseignez participant/time, ou <time nullFlavor=\"NA\"/>.",
		"remove participant/time").each(func(n *node) bool { return len(n.all("time")) != 1 }, "participant"),
	with("P44", FaultStructure, "La profession du participant n'a pas de code, de libellé ou de nomenclature.", "Renseignez associatedEntity/code avec code, displayName et codeSystem.",
		"unset participant/associatedEntity/code/@displayName", "unset participant/associatedEntity/code/@codeSystem").
		each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, participantAt+"/code"),
}

// outsideSet tells whether the text of an element is not in the set.
func outsideSet(set *dmp.ValueSet) func(*node) bool {
	return func(n *node) bool { return !set.Has(string(n.text)) }
}

// identified tells whether n has an id of that root.
func (n *node) identified(root string) bool {
	for _, id := range n.all("id") {
		if id.get("root") == root {
			return true
		}
	}
	return false
}

func suffixed(paths []string, suffix string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, p+suffix)
	}
	return out
}
