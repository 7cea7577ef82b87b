package cda

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// The templates that every national document declares.
const (
	templateHL7France = "2.16.840.1.113883.2.8.2.1"
	templateCISIS     = "1.2.250.1.213.1.1.1.1"
	templateXDSSD     = "1.3.6.1.4.1.19376.1.2.20" // level 1
)

var (
	languageForm = regexp.MustCompile(`^[a-z]{2}-[A-Z]{2}$`)
	yearForm     = regexp.MustCompile(`^[0-9]{4}`)
)

const (
	patientRole = "recordTarget[valued]/patientRole[patient]"
	patient     = patientRole + "/patient[valued]"
	guardian    = patient + "/guardian"
)

// headerRules are about the document and its patient.
var headerRules = []Rule{
	with("T01", FaultStructure, "Le document ne se déclare pas français : realmCode FR manque ou figure plusieurs fois.",
		"Écrivez <realmCode code=\"FR\"/> une fois.",
		"set realmCode/@code US", "remove realmCode", "twice realmCode").
		declared("realmCode", "code", "FR"),
	with("T02", FaultStructure, "typeId n'est pas celui d'un CDA R2.",
		"Écrivez <typeId root=\"2.16.840.1.113883.1.3\" extension=\"POCD_HD000040\"/>.",
		"set typeId/@extension POCD_HD000041", "remove typeId", "set typeId/@root 2.16.840.1.113883.1.4").
		declared("typeId", "root extension", "2.16.840.1.113883.1.3 POCD_HD000040"),
	with("T03", FaultTemplate, "Le templateId de HL7 France manque ou figure plusieurs fois.",
		"Écrivez une fois <templateId root=\"2.16.840.1.113883.2.8.2.1\"/>.",
		"remove templateId[1]", "twice templateId[1]").
		declared("templateId", "root", templateHL7France),
	with("T04", FaultTemplate, "Le templateId de la structuration minimale manque ou figure plusieurs fois.",
		"Écrivez une fois <templateId root=\"1.2.250.1.213.1.1.1.1\"/>.",
		"remove templateId[2]", "twice templateId[2]").
		declared("templateId", "root", templateCISIS),
	{
		ID: "T05", Code: FaultTemplate, Severity: Error, XPath: "/ClinicalDocument/templateId", Source: SourceStructure,
		FR:  "Aucun templateId ne dit de quel modèle est le document.",
		Fix: "Déclarez le modèle du volet, ou 1.3.6.1.4.1.19376.1.2.20 pour un document non structuré.",
		Mutants: []string{
			"remove templateId[3]", "n3: remove templateId[3] ; remove templateId[3]",
		},
		check: func(d *checkup, hit func(*node)) {
			for _, t := range d.Models {
				if t.Root != templateHL7France && t.Root != templateCISIS {
					return
				}
			}
			hit(d.root)
		},
	},
	{
		ID: "T06", Code: FaultTemplate, Severity: Error, XPath: "/ClinicalDocument/templateId", Source: SourceStructure,
		FR:  "Un document non structuré déclare d'autres templateId que les trois admis.",
		Fix: "Déclarez exactement 2.16.840.1.113883.2.8.2.1, 1.2.250.1.213.1.1.1.1 et 1.3.6.1.4.1.19376.1.2.20.",
		Mutants: []string{
			"set templateId[3]/@root 1.2.250.1.213.1.1.1.45", `after templateId[3] <templateId root="1.2.250.1.213.1.1.1.45" extension="2024.01"/>`,
		},
		check: func(d *checkup, hit func(*node)) {
			if d.root.one("component/nonXMLBody") == nil {
				return
			}
			seen := map[string]bool{}
			for _, t := range d.Models {
				seen[t.Root] = true
			}
			if len(d.Models) != 3 || !seen[templateHL7France] || !seen[templateCISIS] || !seen[templateXDSSD] {
				hit(d.root)
			}
		},
	},
	with("T07", FaultStructure, "Un identifiant porte une extension vide.", "Renseignez extension, ou retirez l'attribut.",
		"set id/@extension ", "set setId/@extension ", "set recordTarget/patientRole/id[2]/@extension ").
		eachType(func(n *node, typeName string) bool {
			v, ok := n.attr("extension")
			return (typeName == "II" || typeName == "TypeID") && ok && v == ""
		}),
	with("T32", FaultTemplate, "Un templateId n'a pas de root.", "Renseignez root, ou retirez templateId.",
		"replace templateId[3] <templateId nullFlavor=\"NA\"/>").each(func(n *node) bool { return n.get("root") == "" }, "templateId", recipient+"/templateId"),
	with("T08", FaultStructure, "Le type du document n'a pas de libellé ou de nomenclature, ou porte un nullFlavor.",
		"Renseignez code/@displayName et code/@codeSystem.",
		"unset code/@displayName", "unset code/@codeSystem", "set code/@displayName ", "set code/@nullFlavor UNK").
		each(func(n *node) bool { return n.null() || n.get("displayName") == "" || n.get("codeSystem") == "" }, "code"),
	with("T09", FaultTypeUnknown, "Le type du document n'est pas dans JDV_J07.", "Choisissez un code de JDV_J07-XdsTypeCode-CISIS.",
		"set code/@code 99999-9", "n3: set code/@code 57016-8").in(dmp.SetJ07, "code", "code"),
	with("T10", FaultStructure, "Le titre manque.", "Renseignez title.",
		"remove title", "set title/@nullFlavor UNK").count("", "title", 1, 1),
	with("T11", FaultStructure, "La date de création du document manque.", "Renseignez effectiveTime/@value.",
		"remove effectiveTime", "unset effectiveTime/@value", "set effectiveTime/@nullFlavor UNK").valued("", "effectiveTime", "value"),
	with("T12", FaultStructure, "Le niveau de confidentialité manque, ou n'a pas de code, de libellé ou de nomenclature.",
		"Écrivez <confidentialityCode code=\"N\" displayName=\"Normal\" codeSystem=\"2.16.840.1.113883.5.25\"/>.",
		"remove confidentialityCode", "unset confidentialityCode/@displayName", "unset confidentialityCode/@codeSystem", "unset confidentialityCode/@code").
		valued("", "confidentialityCode", "code displayName codeSystem"),
	with("T13", FaultValueSet, "Le niveau de confidentialité n'est ni N, ni R, ni V.", "Utilisez N, R ou V.",
		"set confidentialityCode/@code X", "set confidentialityCode/@code L").each(outsideOf("code", "N", "R", "V"), "confidentialityCode[valued]"),
	with("T14", FaultStructure, "La langue du document manque.", "Écrivez <languageCode code=\"fr-FR\"/>.",
		"remove languageCode", "unset languageCode/@code").valued("", "languageCode", "code"),
	with("T15", FaultStructure, "La langue du document n'a pas la forme langue-PAYS.", "Écrivez fr-FR.",
		"set languageCode/@code fr", "set languageCode/@code FR-fr").each(matches(languageForm, "code"), "languageCode"),
	with("T16", FaultNoSetID, "setId manque : les versions du document ne peuvent pas être reliées.", "Renseignez setId/@root, identique pour toutes les versions.",
		"remove setId", "unset setId/@root", "set setId/@nullFlavor UNK").valued("", "setId", "root"),
	with("T17", FaultVersion, "Le numéro de version manque.", "Renseignez versionNumber/@value.",
		"remove versionNumber", "unset versionNumber/@value").valued("", "versionNumber", "value"),
	with("T18", FaultVersion, "Le numéro de version n'est pas un entier positif.", "Commencez à 1.",
		"set versionNumber/@value 0", "set versionNumber/@value -1", "set versionNumber/@value 99999999999").each(func(n *node) bool {
		v, ok := n.attr("value")
		i, err := strconv.ParseInt(v, 10, 32)
		return ok && (err != nil || i < 1)
	}, "versionNumber").ours(),

	with("T19", FaultStructure, "La nomenclature d'un code n'est pas un OID.", "Écrivez codeSystem sous la forme d'un OID, par exemple 2.16.840.1.113883.6.1 pour LOINC.",
		"set code/@codeSystem LOINC", "set confidentialityCode/@codeSystem A1B2C3D4-0000-1111-2222-333344445555", "set author/functionCode/@codeSystem HL7").
		each(matches(oidForm, "codeSystem"), "code[valued]", "confidentialityCode[valued]", "author/functionCode"),

	with("T20", FaultStructure, "Le patient n'a pas d'identifiant, ou l'un d'eux n'a pas root et extension.",
		"Renseignez patientRole/id avec root et extension : l'INS, puis l'IPP.",
		"remove recordTarget/patientRole/id[2] ; remove recordTarget/patientRole/id[1]",
		"unset recordTarget/patientRole/id[2]/@extension", "unset recordTarget/patientRole/id[2]/@root").
		valuedAll(patientRole, "id", "root extension"),
	with("T21", FaultStructure, "Le nom du patient manque ou figure plusieurs fois.", "Renseignez patient/name une fois.",
		"remove "+patient+"/name", "twice "+patient+"/name", "set "+patient+"/name/@nullFlavor UNK").count(patient, "name", 1, 1),
	with("T22", FaultStructure, "Le nom du patient n'a pas de family.", "Renseignez family avec qualifier BR (naissance) et, s'il diffère, CL (utilisé).",
		"remove "+patient+"/name/family ; remove "+patient+"/name/family").must(patient+"/name[valued]", "family"),
	with("T23", FaultStructure, "Le nom du patient n'a pas de given.", "Renseignez la liste des prénoms (sans qualifier) et le premier prénom (BR).",
		"remove "+patient+"/name/given ; remove "+patient+"/name/given ; remove "+patient+"/name/given").must(patient+"/name[valued]", "given"),
	with("T24", FaultQualifier, "Un nom de famille du patient n'a pas de qualifier.", "Ajoutez qualifier=\"BR\" (naissance) ou \"CL\" (utilisé).",
		"unset "+patient+"/name/family/@qualifier", "set "+patient+"/name/family/@qualifier ").attrs("qualifier", patient+"/name[valued]/family"),
	with("T25", FaultQualifier, "Un nom de famille du patient a un qualifier autre que BR ou CL.", "Utilisez BR (naissance) ou CL (utilisé).",
		"set "+patient+"/name/family/@qualifier AC", "set "+patient+"/name/family[2]/@qualifier SP").each(outsideOf("qualifier", "BR", "CL", ""), patient+"/name[valued]/family"),
	with("T26", FaultQualifier, "Un prénom du patient a un qualifier autre que BR ou CL.", "Utilisez BR (premier prénom), CL (utilisé) ou rien (liste).",
		"set "+patient+"/name/given[1]/@qualifier AC", "set "+patient+"/name/given[3]/@qualifier SP").each(outsideOf("qualifier", "BR", "CL"), patient+"/name[valued]/given"),
	with("T27", FaultStructure, "Le nom du patient a plusieurs civilités ou plusieurs titres.", "Gardez un seul prefix et un seul suffix.",
		"into "+patient+"/name <prefix>MME</prefix><prefix>M</prefix>", "into "+patient+"/name <suffix>DR</suffix><suffix>PR</suffix>").
		each(func(n *node) bool { return len(n.all("prefix")) > 1 || len(n.all("suffix")) > 1 }, patient+"/name[valued]"),
	with("T28", FaultStructure, "Le sexe du patient manque ou n'a pas de code.", "Renseignez administrativeGenderCode/@code : F, M ou UN.",
		"remove "+patient+"/administrativeGenderCode", "unset "+patient+"/administrativeGenderCode/@code").presentWith(patient, "administrativeGenderCode", "code"),
	with("T29", FaultValueSet, "Le sexe du patient n'est ni F, ni M, ni UN.", "Utilisez F, M ou UN.",
		"set "+patient+"/administrativeGenderCode/@code Z", "set "+patient+"/administrativeGenderCode/@code U").in(dmp.SetJ143, "code", patient+"/administrativeGenderCode"),
	with("T30", FaultStructure, "La date de naissance manque.", "Renseignez birthTime/@value : AAAAMMJJ.",
		"remove "+patient+"/birthTime", "unset "+patient+"/birthTime/@value").presentWith(patient, "birthTime", "value"),
	with("T31", FaultTime, "Une date ne commence pas par une année.", "Écrivez AAAA, puis le mois, le jour et l'heure s'ils sont connus.",
		"set "+patient+"/birthTime/@value 12", "set author/time/@value 20").each(matches(yearForm, "value"), patient+"/birthTime",
		"effectiveTime[valued]", "author/time", "legalAuthenticator[S]/time", "authenticator[S]/time"),

	typeRule("T40", FaultTelecom, "Une coordonnée télécom n'a ni préfixe et valeur, ni un nullFlavor seul parmi UNK, NASK, ASKU, NAV et MSK.",
		"Écrivez value=\"tel:…\" sans espace (ou fax, mailto, http, ftp, mllp), ou nullFlavor=\"UNK\" sans autre attribut.",
		func(n *node, typeName string) bool { return typeName == "TEL" && badTelecom(n) },
		"set recordTarget/patientRole/telecom/@value abc", "set recordTarget/patientRole/telecom/@value sip:1", "set recordTarget/patientRole/telecom/@value tel:", "set recordTarget/patientRole/telecom/@value tel:01 23 45 67 89",
		"set recordTarget/patientRole/telecom/@nullFlavor UNK", "unset recordTarget/patientRole/telecom/@value",
		"replace recordTarget/patientRole/telecom <telecom nullFlavor=\"OTH\"/>", "set author/assignedAuthor/telecom/@value 0100000001"),
	typeRule("T41", FaultTelecom, "L'usage d'une coordonnée télécom n'est pas admis.", "Utilisez H, HP, HV, WP, DIR, PUB, EC, MC ou PG, ou retirez use.",
		func(n *node, typeName string) bool {
			return typeName == "TEL" && outsideOf("use", "H", "HP", "HV", "WP", "DIR", "PUB", "EC", "MC", "PG")(n)
		},
		"set recordTarget/patientRole/telecom/@use XX", "set author/assignedAuthor/telecom/@use TMP"),
	typeRule("T42", FaultStructure, "L'usage d'une adresse n'est pas admis.", "Utilisez H, HP, HV, WP ou TMP, ou retirez use.",
		func(n *node, typeName string) bool {
			return typeName == "AD" && outsideOf("use", "H", "HP", "HV", "WP", "TMP")(n)
		},
		"set recordTarget/patientRole/addr/@use BAD", "set author/assignedAuthor/addr/@use XX"),
	typeRule("T43", FaultStructure, "Une adresse répète une de ses parties.", "Gardez chaque partie une fois, ou utilisez streetAddressLine (sept au plus).",
		func(n *node, typeName string) bool { return typeName == "AD" && badAddress(n) },
		"twice recordTarget/patientRole/addr/city", "twice author/assignedAuthor/addr/postalCode", "twice custodian/assignedCustodian/representedCustodianOrganization/addr/streetName",
		"replace recordTarget/patientRole/addr <addr>"+strings.Repeat("<streetAddressLine>x</streetAddressLine>", 8)+"</addr>"),
}

// ours marks a rule that goes beyond the national ones.
func (r Rule) ours() Rule { r.Source = SourcePasserelle; return r }

// declared: exactly one element carries these attributes with these values.
func (r Rule) declared(name, attrs, values string) Rule {
	r.XPath = xpathOf(name, "")
	a, v := strings.Fields(attrs), strings.Fields(values)
	r.check = func(d *checkup, hit func(*node)) {
		n := 0
		for _, e := range d.root.all(name) {
			same := true
			for i := range a {
				same = same && e.get(a[i]) == v[i]
			}
			if same {
				n++
			}
		}
		if n != 1 {
			hit(d.root)
		}
	}
	return r
}

// valued: each element at parent holds exactly one child without nullFlavor,
// and it carries these attributes, not empty.
func (r Rule) valued(parent, child, attrs string) Rule {
	return r.children(parent, child, attrs, func(valued, all int) bool { return valued == 1 })
}

// valuedAll: at least one such child, and every valued one carries these.
func (r Rule) valuedAll(parent, child, attrs string) Rule {
	return r.children(parent, child, attrs, func(valued, all int) bool { return valued >= 1 })
}

// presentWith: exactly one child, nullFlavor or not, with these attributes.
func (r Rule) presentWith(parent, child, attrs string) Rule {
	r.XPath = xpathOf(parent, child)
	at := route(parent)
	r.check = func(d *checkup, hit func(*node)) {
		for _, p := range at(d.Document) {
			all := p.all(child)
			if len(all) != 1 || !all[0].carries(attrs) {
				hit(p)
			}
		}
	}
	return r
}

func (r Rule) children(parent, child, attrs string, enough func(valued, all int) bool) Rule {
	r.XPath = xpathOf(parent, child)
	at := route(parent)
	r.check = func(d *checkup, hit func(*node)) {
		for _, p := range at(d.Document) {
			valued, all := 0, p.all(child)
			for _, c := range all {
				if c.null() {
					continue
				}
				valued++
				if !c.carries(attrs) {
					hit(c)
				}
			}
			if !enough(valued, len(all)) {
				hit(p)
			}
		}
	}
	return r
}

// carries tells whether n has all the attributes, not empty.
func (n *node) carries(attrs string) bool {
	for a := range strings.FieldsSeq(attrs) {
		if n.get(a) == "" {
			return false
		}
	}
	return true
}

// badTelecom is the national test: a known prefix and something after it, or a
// nullFlavor alone.
func badTelecom(n *node) bool {
	value, hasValue := n.attr("value")
	null, hasNull := n.attr("nullFlavor")
	if hasNull {
		switch null {
		case "UNK", "NASK", "ASKU", "NAV", "MSK":
			return len(n.attrs) != 1
		}
		return true
	}
	prefix, rest, _ := strings.Cut(value, ":")
	switch prefix {
	case "tel", "fax", "mailto", "http", "ftp", "mllp":
		return !hasValue || rest == "" || strings.ContainsFunc(value, notURI)
	}
	return true
}

// addressOnce are the parts that an address may hold once.
var addressOnce = strings.Fields("country state city postalCode county houseNumber houseNumberNumeric streetName streetNameType additionalLocator unitID postBox precinct")

// notURI tells whether a URI must write a character in another way: "tel:01 23".
func notURI(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("<>\"{}|\\^`", r)
}

// badAddress tells whether an address repeats a part.
func badAddress(n *node) bool {
	if lines := n.all("streetAddressLine"); len(lines) > 0 {
		return len(lines) > 7
	}
	for _, part := range addressOnce {
		if len(n.all(part)) > 1 {
			return true
		}
	}
	return false
}
