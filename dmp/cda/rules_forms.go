package cda

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// formRules are what the national schematron asks of addresses, coordinates,
// names and periods that it reads, and of who takes part.
var formRules = []Rule{
	typeRule("D06", FaultStructure, "Une adresse, une coordonnée ou un nom figure deux fois, ou porte un nullFlavor à côté d'un autre qui est renseigné.",
		"Gardez-le une fois, et retirez celui qui porte nullFlavor.", doubled,
		"twice recordTarget/patientRole/addr", "twice recordTarget/patientRole/telecom[1]", `after recordTarget/patientRole/telecom <telecom nullFlavor="MSK"/>`,
		`after author/assignedAuthor/addr <addr nullFlavor="UNK"/>`),
	typeRule("D07", FaultStructure, "Une adresse, un nom ou un texte est vide, mêle du texte et des éléments, ou contient une partie vide.",
		"Écrivez soit du texte, soit des éléments, tous remplis ; ou nullFlavor seul.", func(n *node, typeName string) bool {
			switch {
			case n.null():
				return false
			case typeName == "ED" || typeName == "ST" || typeName == "SC":
				return len(n.kids) == 0 && n.value() == ""
			case typeName == "ON":
				return len(n.kids) > 0 || n.value() == ""
			case typeName == "AD":
				return (len(n.kids) > 0) == (n.value() != "") || slices.ContainsFunc(n.kids, emptyPart)
			}
			return (typeName == "PN" || typeName == "EN") && (len(n.kids) > 0) == (n.value() != "")
		},
		"text recordTarget/patientRole/addr ", "text recordTarget/patientRole/addr/city ", "into recordTarget/patientRole/patient/name DUPONT",
		"into documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/name <prefix>X</prefix>"),
	with("D08", FaultSchema, "Un type (xsi:type) n'est pas celui que le schéma ou la structuration minimale donne à l'élément.", "Retirez xsi:type.",
		"set id/@xsi:type ST", "set documentationOf/serviceEvent/effectiveTime/@xsi:type TS", "set legalAuthenticator/assignedEntity/code/@xsi:type CE").
		// The schema has CE where the schematron has CD: the code of a professional.
		eachType(wrongType).orRead(wrongType),
	typeRule("D09", FaultTime, "Une date n'a ni valeur ni nullFlavor, ou a les deux.", "Renseignez value, ou nullFlavor.", func(n *node, typeName string) bool {
		_, ok := n.attr("value")
		return (typeName == "TS" || typeName == "IVL" || typeName == "IVXB") && !ok && !n.null() && len(n.kids) == 0
	}, "replace participant/time <time/>", "unset author/time/@value"),
	typeRule("D10", FaultTime, "Une période se contredit : fin avant le début ou égale à lui, fuseau incomplet, ou durée sans unité connue.",
		"Écrivez low avant high, le fuseau en entier (+0100), et l'unité de width en UCUM (h, d, wk, mo, a).", func(n *node, typeName string) bool {
			return typeName == "IVL" && badPeriod(n)
		},
		"replace participant/time <time><low value=\"20260102\"/><high value=\"20260101\"/></time>", "replace participant/time <time><low value=\"20260102\"/><high value=\"20260102\"/></time>",
		"replace participant/time <time><low value=\"20260105093000+01\"/></time>", "replace participant/time <time><low value=\"2026\"/><width value=\"2\" unit=\"mois\"/></time>"),
	with("D11", FaultStructure, "La nomenclature d'un code n'est pas un OID.", "Renseignez codeSystem avec l'OID de la nomenclature.",
		"set author/assignedAuthor/code/@codeSystem LOINC", "set "+encounter+"/code/@codeSystem LOINC").
		each(matches(oidForm, "codeSystem"), assignedAuthor+"/code", informant+"/code", relative+"/code", informant+"/representedOrganization/standardIndustryClassCode",
			cosigner+"/code", "participant/functionCode", participantAt+"/code", act+"/code", practice+"[valued]", encounter+"/code", facility+"/code[valued]", facility+"/code[valued]/translation"),
	typeRule("D12", FaultStructure, "Une partie d'un nom porte le qualifier LS, qui est celui d'une organisation.", "Retirez LS de qualifier.", func(n *node, typeName string) bool {
		return typeName == "PN" && slices.ContainsFunc(n.kids, func(k *node) bool { return slices.Contains(strings.Fields(k.get("qualifier")), "LS") })
	}, "set author/assignedAuthor/assignedPerson/name/family/@qualifier LS"),
	typeRule("D13", FaultVersion, "Un numéro de version a une valeur et un nullFlavor, n'a ni l'un ni l'autre, ou commence par un zéro ou un signe.", "Écrivez un entier en chiffres, sans zéro devant.", func(n *node, typeName string) bool {
		v, ok := n.attr("value")
		return typeName == "INT" && (ok == n.null() || ok && !wholeNumber.MatchString(v))
	}, "unset versionNumber/@value", "set versionNumber/@value -01"),

	with("P16", FaultStructure, "L'auteur manque.", "Renseignez author sans nullFlavor.", "remove author[2] ; set author/@nullFlavor UNK").
		each(func(n *node) bool { return allNull(n.all("author")) }, ""),
	with("T44", FaultStructure, "Le patient est sans valeur, ou n'est pas seul.", "Renseignez recordTarget et patient une fois, sans nullFlavor.", "set recordTarget/@nullFlavor UNK", "set recordTarget/patientRole/patient/@nullFlavor UNK", "twice recordTarget").
		each(func(n *node) bool {
			valued := 0
			for _, r := range n.all("recordTarget") {
				if !r.null() {
					valued++
				}
			}
			return valued != 1 || allNull(n.all("recordTarget/patientRole/patient"))
		}, ""),
	with("P36", FaultStructure, "Un signataire n'a pas de date de signature, ou pas un identifiant national complet, et un seul.", "Renseignez authenticator/time/@value, et un seul assignedEntity/id de racine 1.2.250.1.71.4.2.1, avec extension.",
		"unset authenticator/time/@value", "twice authenticator/assignedEntity/id", "unset authenticator/assignedEntity/id/@extension").each(func(n *node) bool {
		return n.one("time").get("value") == "" || bareID(n.one("assignedEntity"), dmp.OIDPerson) || !oneNational(n.one("assignedEntity"))
	}, "authenticator[S]"),
	with("P37", FaultStructure, "L'identifiant national d'un destinataire n'a pas d'extension.", "Renseignez intendedRecipient/id/@extension.",
		"unset informationRecipient/intendedRecipient/id/@extension").each(func(n *node) bool { return bareID(n, dmp.OIDPerson) }, recipient),
	with("P38", FaultStructure, "L'informateur n'a pas un identifiant, et un seul, avec root et extension ou nullFlavor.", "Renseignez informant/assignedEntity/id une fois.",
		"replace informant <informant><assignedEntity><id root=\"1.2.3\"/></assignedEntity></informant>").each(func(n *node) bool {
		ids := n.all("id")
		return len(ids) != 1 || !ids[0].null() && (ids[0].get("root") == "" || ids[0].get("extension") == "")
	}, informant),
	with("P46", FaultStructure, "Le lien de l'informateur avec le patient n'a pas de code, de libellé ou de nomenclature.", "Renseignez relatedEntity/code avec code, displayName et codeSystem, ou retirez-le.",
		"unset informant/relatedEntity/code/@displayName").each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, relative+"/code"),
	with("P47", FaultStructure, "L'informateur n'est ni un professionnel ni une personne nommée.", "Renseignez assignedEntity, ou relatedEntity/relatedPerson.",
		"remove informant/relatedEntity/relatedPerson").each(func(n *node) bool {
		return n.one("assignedEntity") == nil && n.one("relatedEntity/relatedPerson") == nil
	}, "informant"),
	with("P48", FaultStructure, "Une structure porte plusieurs noms.", "Gardez un seul name.",
		"before author/assignedAuthor/representedOrganization/name <name>AUTRE</name>").each(func(n *node) bool { return len(n.all("name")) > 1 }, append(organisations, participantAt+"/scopingOrganization", guardian+"/guardianOrganization")...),
	with("P49", FaultStructure, "La structure d'un participant porte plusieurs identifiants.", "Gardez un seul id.",
		"replace participant/associatedEntity/scopingOrganization <scopingOrganization><id root=\"1.2.3\"/><id root=\"1.2.4\"/></scopingOrganization>").
		each(func(n *node) bool { return len(n.all("id")) > 1 }, participantAt+"/scopingOrganization"),
	with("E11", FaultStructure, "Un acte est sans valeur.", "Renseignez serviceEvent sans nullFlavor.", "set documentationOf/serviceEvent/@nullFlavor UNK").
		each(func(n *node) bool { return n.one("serviceEvent").null() }, "documentationOf[valued]"),
	with("E25", FaultStructure, "Le document remplacé est sans valeur.", "Renseignez parentDocument sans nullFlavor.", "set relatedDocument/parentDocument/@nullFlavor UNK").
		each(func(n *node) bool { return n.one("parentDocument").null() }, "relatedDocument[RPLC]"),
	with("E27", FaultStructure, "La prescription n'a pas un identifiant, et un seul.", "Renseignez inFulfillmentOf/order/id une fois.",
		"before inFulfillmentOf/order/id <id root=\"1.2.3\" extension=\"1\"/>").each(func(n *node) bool { return len(n.all("id")) != 1 }, "inFulfillmentOf/order"),
	with("E28", FaultSchema, "Le rôle d'un exécutant n'existe pas.", "Utilisez PRF pour l'exécutant principal, SPRF ou PPRF pour un autre.", "set documentationOf/serviceEvent/performer/@typeCode ZZZ").
		each(outsideOf("typeCode", "PRF", "SPRF", "PPRF"), "documentationOf/serviceEvent/performer"),
	with("E29", FaultSchema, "Le rôle d'un destinataire n'existe pas.", "Utilisez PRCP pour le destinataire principal, TRC pour une copie.", "set informationRecipient/@typeCode ZZZ").
		each(outsideOf("typeCode", "PRCP", "TRC"), "informationRecipient"),
	with("E41", FaultStructure, "L'identifiant de la structure du responsable de la prise en charge n'a pas root et extension.", "Renseignez representedOrganization/id avec root et extension.",
		"unset "+encounter+"/responsibleParty/assignedEntity/representedOrganization/id/@extension", "set "+responsible+"/representedOrganization/id/@nullFlavor UNK").
		each(func(n *node) bool { return n.null() || !n.carries("root extension") }, responsible+"/representedOrganization/id"),
	with("E26", FaultSchema, "Le lien avec un autre document n'existe pas.", "Utilisez RPLC, APND ou XFRM.", "set relatedDocument/@typeCode ZZZ").
		each(outsideOf("typeCode", "RPLC", "APND", "XFRM"), "relatedDocument"),
}

// under tells whether n stands in an element of one of these names, or is one.
func (n *node) under(names ...string) bool {
	for ; n != nil; n = n.parent {
		if n.name.Space == nsHL7 && slices.Contains(names, n.name.Local) {
			return true
		}
	}
	return false
}

// allNull tells whether there are elements, and none with a value.
func allNull(found []*node) bool {
	return len(found) > 0 && !slices.ContainsFunc(found, func(n *node) bool { return !n.null() })
}

// oneNational tells whether n has one national identifier of a professional.
func oneNational(n *node) bool {
	found := 0
	for _, id := range n.all("id") {
		if id.get("root") == dmp.OIDPerson {
			found++
		}
	}
	return found == 1
}

// bareID tells whether an identifier of that root has no extension.
func bareID(n *node, root string) bool {
	return slices.ContainsFunc(n.all("id"), func(id *node) bool { return id.get("root") == root && id.get("extension") == "" })
}

// wholeNumber is an integer as the schematron has it.
var wholeNumber = regexp.MustCompile(`^(-?[1-9][0-9]*|\+?[0-9]*)$`)

// emptyPart tells whether a part of an address is read, and says nothing.
func emptyPart(n *node) bool {
	if n.null() || len(n.kids) > 0 || n.value() != "" {
		return false
	}
	if n.parent.one("streetAddressLine") != nil {
		return n.is("streetAddressLine")
	}
	return n.name.Space == nsHL7 && slices.Contains(addressOnce, n.name.Local)
}

// doubled tells whether a sibling says the same, or says something beside a null.
func doubled(n *node, typeName string) bool {
	switch typeName {
	case "TS", "IVL", "IVXB", "INT", "AD", "TEL", "PN", "EN", "ON":
	default:
		return false
	}
	said := words(n)
	for _, s := range n.parent.kids {
		switch {
		case s == n, !s.is(n.name.Local):
		case n.null() && !s.null():
			return true
		case typeName == "TEL":
			use, ok := n.attr("use")
			value, given := n.attr("value")
			if ok && given && s.get("use") == use && s.get("value") == value {
				return true
			}
		case typeName == "AD" || typeName == "PN" || typeName == "EN" || typeName == "ON":
			if words(s) == said {
				return true
			}
		}
	}
	return false
}

// words is what two addresses or names are compared by.
func words(n *node) string {
	all := n.get("use") + string(n.text)
	for _, k := range n.kids {
		all += words(k)
	}
	return all
}

// wrongType tells whether xsi:type is not the type of the element.
func wrongType(n *node, typeName string) bool {
	for i := range n.attrs {
		if a := &n.attrs[i]; a.Name.Space == nsXSI && a.Name.Local == "type" {
			_, said, prefixed := strings.Cut(a.Value, ":")
			if !prefixed {
				said = a.Value
			}
			switch typeName {
			case "Free", "ADXP", "ENXP", "ANY", "ED":
				return false
			case "IVL":
				typeName = "IVL_TS"
			case "TypeID":
				typeName = "II"
			case "IVXB":
				typeName = "IVXB_TS"
			}
			return said != typeName
		}
	}
	return false
}

// badPeriod tells whether the bounds of a period contradict each other.
func badPeriod(n *node) bool {
	if _, ok := n.attr("value"); ok && len(n.kids) > 0 || n.one("center") != nil && len(n.kids) > 1 {
		return true
	}
	if w := n.one("width"); w != nil {
		unit, given := w.attr("unit")
		_, value := w.attr("value")
		if given && (!value || !slices.Contains(strings.Fields("us ms s min h d wk mo a"), unit)) {
			return true
		}
	}
	times := map[string]time.Time{}
	for _, name := range []string{"low", "high", "center"} {
		b := n.one(name)
		if v, given := b.attr("value"); given {
			t, ok := instant(v, false)
			if !ok {
				return true
			}
			times[name] = t
		}
	}
	low, high := n.one("low"), n.one("high")
	if low.get("nullFlavor") == "PINF" || high.get("nullFlavor") == "NINF" {
		return true
	}
	from, ok1 := times["low"]
	to, ok2 := times["high"]
	return ok1 && ok2 && (from.After(to) || low.get("value") == high.get("value"))
}
