package cda

import (
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// Who is not a patient, found by the name of the element around.
var (
	// unjudged holds what no rule of the schematron looks into.
	unjudged = strings.Fields("dataEnterer providerOrganization serviceProviderOrganization wholeOrganization")
	// nullable are the roles where the schematron refuses a nullFlavor beside a
	// value at any depth; elsewhere it does so on data types only.
	nullable = strings.Fields("dataEnterer scopingOrganization asOrganizationPartOf patientRole")
)

// formRules are what the national schematron asks of addresses, coordinates,
// names and periods, wherever it looks at one.
var formRules = []Rule{
	typeRule("D06", FaultStructure, "Une adresse, une coordonnée ou un nom figure deux fois, ou porte un nullFlavor à côté d'un autre qui est renseigné.",
		"Gardez-le une fois, et retirez celui qui porte nullFlavor.", func(n *node, typeName string) bool {
			return (typeName == "TEL" || judgedForm(n, typeName)) && !n.under(unjudged...) && doubled(n, typeName)
		},
		"twice recordTarget/patientRole/addr", "twice recordTarget/patientRole/telecom[1]", `after recordTarget/patientRole/telecom <telecom nullFlavor="MSK"/>`,
		`after author/assignedAuthor/addr <addr nullFlavor="UNK"/>`),
	typeRule("D07", FaultStructure, "Une adresse ou un nom est vide, mêle du texte et des éléments, ou contient une partie vide.",
		"Écrivez soit du texte, soit des éléments, tous remplis ; ou nullFlavor seul.", func(n *node, typeName string) bool {
			switch {
			case n.null() || n.under(unjudged...):
				return false
			case typeName == "ADXP":
				return len(n.kids) == 0 && n.value() == "" && judgedPart(n)
			case typeName == "ON" && judgedForm(n, typeName):
				return len(n.kids) > 0 || n.value() == ""
			}
			return judgedForm(n, typeName) && (len(n.kids) > 0) == (n.value() != "")
		},
		"text recordTarget/patientRole/addr ", "text recordTarget/patientRole/addr/city ", "into recordTarget/patientRole/patient/name DUPONT",
		"into documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/name <prefix>X</prefix>"),
	typeRule("D08", FaultSchema, "Un type (xsi:type) n'est pas celui que le schéma donne à l'élément.", "Retirez xsi:type.", wrongType,
		"set id/@xsi:type ST", "set documentationOf/serviceEvent/effectiveTime/@xsi:type TS"),
	typeRule("D09", FaultTime, "Une date n'a ni valeur ni nullFlavor.", "Renseignez value, ou nullFlavor.", func(n *node, typeName string) bool {
		_, ok := n.attr("value")
		return (typeName == "TS" && !n.under("performer") || typeName == "IVL") && !ok && !n.null() && len(n.kids) == 0
	}, "replace participant/time <time/>", "unset author/time/@value"),
	with("D10", FaultTime, "Une période se contredit : fin avant le début ou égale à lui, fuseau incomplet, ou durée sans unité connue.",
		"Écrivez low avant high, le fuseau en entier (+0100), et l'unité de width en UCUM (h, d, wk, mo, a).",
		"replace participant/time <time><low value=\"20260102\"/><high value=\"20260101\"/></time>", "replace participant/time <time><low value=\"20260102\"/><high value=\"20260102\"/></time>",
		"replace participant/time <time><low value=\"20260105093000+01\"/></time>", "replace participant/time <time><low value=\"2026\"/><width value=\"2\" unit=\"mois\"/></time>").
		each(badPeriod, "participant/time", "documentationOf/serviceEvent/performer/time", encounter+"/effectiveTime", encounter+"/encounterParticipant/time"),
	with("D11", FaultStructure, "La nomenclature d'un code n'est pas un OID.", "Renseignez codeSystem avec l'OID de la nomenclature.",
		"set author/assignedAuthor/code/@codeSystem LOINC", "set "+encounter+"/code/@codeSystem LOINC").
		each(matches(oidForm, "codeSystem"), "author/functionCode", assignedAuthor+"/code", "informant/assignedEntity/code", "informant/relatedEntity/code",
			"authenticator/assignedEntity/code", "participant/functionCode", participantAt+"/code", act+"/code", practice, encounter+"/code", facility+"/code", facility+"/code/translation"),

	with("P16", FaultStructure, "L'auteur manque.", "Renseignez author sans nullFlavor.", "remove author[2] ; set author/@nullFlavor UNK").
		each(func(n *node) bool { return allNull(n.all("author")) }, ""),
	with("T44", FaultStructure, "Le patient est sans valeur.", "Renseignez recordTarget sans nullFlavor.", "set recordTarget/@nullFlavor UNK").
		each(func(n *node) bool { return allNull(n.all("recordTarget")) }, ""),
	with("P36", FaultStructure, "Un signataire n'a pas de date de signature, ou pas un identifiant national complet, et un seul.", "Renseignez authenticator/time/@value, et un seul assignedEntity/id de racine 1.2.250.1.71.4.2.1, avec extension.",
		"unset authenticator/time/@value", "twice authenticator/assignedEntity/id", "unset authenticator/assignedEntity/id/@extension").each(func(n *node) bool {
		return n.one("signatureCode").get("code") == "S" && (n.one("time").get("value") == "" || bareID(n.one("assignedEntity"), dmp.OIDPerson) || !oneNational(n.one("assignedEntity")))
	}, "authenticator"),
	with("P37", FaultStructure, "L'identifiant national d'un destinataire n'a pas d'extension.", "Renseignez intendedRecipient/id/@extension.",
		"unset informationRecipient/intendedRecipient/id/@extension").each(func(n *node) bool { return bareID(n, dmp.OIDPerson) }, "informationRecipient/intendedRecipient"),
	with("P38", FaultStructure, "L'informateur n'a pas un identifiant, et un seul, avec root et extension ou nullFlavor.", "Renseignez informant/assignedEntity/id une fois.",
		"replace informant <informant><assignedEntity><id root=\"1.2.3\"/></assignedEntity></informant>").each(func(n *node) bool {
		ids := n.all("id")
		return len(ids) != 1 || !ids[0].null() && (ids[0].get("root") == "" || ids[0].get("extension") == "")
	}, "informant/assignedEntity"),
	with("P46", FaultStructure, "Le lien de l'informateur avec le patient n'a pas de code, de libellé ou de nomenclature.", "Renseignez relatedEntity/code avec code, displayName et codeSystem, ou retirez-le.",
		"unset informant/relatedEntity/code/@displayName").each(func(n *node) bool { return !n.carries("code displayName codeSystem") }, "informant/relatedEntity/code"),
	with("P47", FaultStructure, "L'informateur n'est ni un professionnel ni une personne nommée.", "Renseignez assignedEntity, ou relatedEntity/relatedPerson.",
		"remove informant/relatedEntity/relatedPerson").each(func(n *node) bool {
		return n.one("assignedEntity") == nil && n.one("relatedEntity/relatedPerson") == nil
	}, "informant"),
	with("P48", FaultStructure, "Une structure porte plusieurs noms.", "Gardez un seul name.",
		"before author/assignedAuthor/representedOrganization/name <name>AUTRE</name>").each(func(n *node) bool { return len(n.all("name")) > 1 },
		assignedAuthor+"/representedOrganization", signer+"/representedOrganization", "authenticator/assignedEntity/representedOrganization",
		"informant/assignedEntity/representedOrganization", participantAt+"/scopingOrganization", performer+"/representedOrganization",
		encounter+"/responsibleParty/assignedEntity/representedOrganization", encounter+"/encounterParticipant/assignedEntity/representedOrganization"),
	with("P49", FaultStructure, "La structure d'un participant porte plusieurs identifiants.", "Gardez un seul id.",
		"replace participant/associatedEntity/scopingOrganization <scopingOrganization><id root=\"1.2.3\"/><id root=\"1.2.4\"/></scopingOrganization>").
		each(func(n *node) bool { return len(n.all("id")) > 1 }, participantAt+"/scopingOrganization"),
	with("E11", FaultStructure, "Un acte est sans valeur.", "Renseignez serviceEvent sans nullFlavor.", "set documentationOf/serviceEvent/@nullFlavor UNK").
		each(func(n *node) bool { return !n.null() && n.one("serviceEvent").null() }, "documentationOf"),
	with("E25", FaultStructure, "Le document remplacé est sans valeur.", "Renseignez parentDocument sans nullFlavor.", "set relatedDocument/parentDocument/@nullFlavor UNK").
		each(func(n *node) bool { return n.get("typeCode") == "RPLC" && n.one("parentDocument").null() }, "relatedDocument"),
	with("E27", FaultStructure, "La prescription n'a pas un identifiant, et un seul.", "Renseignez inFulfillmentOf/order/id une fois.",
		"before inFulfillmentOf/order/id <id root=\"1.2.3\" extension=\"1\"/>").each(func(n *node) bool { return len(n.all("id")) != 1 }, "inFulfillmentOf/order"),
	with("E28", FaultSchema, "Le rôle d'un exécutant n'existe pas.", "Utilisez PRF pour l'exécutant principal, SPRF ou PPRF pour un autre.", "set documentationOf/serviceEvent/performer/@typeCode ZZZ").
		each(outsideOf("typeCode", "PRF", "SPRF", "PPRF"), "documentationOf/serviceEvent/performer"),
	with("E29", FaultSchema, "Le rôle d'un destinataire n'existe pas.", "Utilisez PRCP pour le destinataire principal, TRC pour une copie.", "set informationRecipient/@typeCode ZZZ").
		each(outsideOf("typeCode", "PRCP", "TRC"), "informationRecipient"),
	with("E41", FaultStructure, "L'identifiant de la structure du responsable de la prise en charge n'a pas root et extension.", "Renseignez representedOrganization/id avec root et extension.",
		"unset "+encounter+"/responsibleParty/assignedEntity/representedOrganization/id/@extension", "set "+encounter+"/responsibleParty/assignedEntity/representedOrganization/id/@nullFlavor UNK").
		each(func(n *node) bool { return n.null() || !n.carries("root extension") }, encounter+"/responsibleParty/assignedEntity/representedOrganization/id"),
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

// judgedForm tells whether the schematron looks at this address or name: at a
// person's when it carries a family, at a structure's only beside some roles.
func judgedForm(n *node, typeName string) bool {
	switch typeName {
	case "AD":
		return true
	case "ON":
		return n.parent.is("receivedOrganization") || n.parent.is("guardianOrganization") ||
			n.parent.is("representedOrganization") && !n.under("author", "legalAuthenticator")
	case "PN":
		if n.parent.is("patient") || n.under("legalAuthenticator") {
			return !n.null() && (n.parent.is("patient") || n.one("family") != nil)
		}
		return n.parent.is("place") || n.parent.is("location") || n.one("family") != nil && !n.parent.is("associatedPerson")
	}
	return false
}

// judgedPart tells whether the schematron looks at this part of an address.
func judgedPart(n *node) bool {
	if n.parent.one("streetAddressLine") != nil {
		return n.is("streetAddressLine")
	}
	return slices.Contains(addressOnce, n.name.Local)
}

// doubled tells whether a sibling says the same, or says something beside a null.
func doubled(n *node, typeName string) bool {
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
		case words(s) == said:
			return true
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
			switch {
			case typeName == "Free" || typeName == "ADXP" || typeName == "ENXP":
				return false
			case typeName == "IVL":
				typeName = "IVL_TS"
			case typeName == "TS" && (n.is("low") || n.is("high")):
				typeName = "IVXB_TS"
			case typeName == "PN" && (n.parent.is("place") || n.parent.is("location")):
				typeName = "EN"
			}
			return said != typeName
		}
	}
	return false
}

// badPeriod tells whether the bounds of a period contradict each other.
func badPeriod(n *node) bool {
	instant := func(b *node) (t time.Time, ok, bad bool) {
		v, given := b.attr("value")
		if !given || !timeForm.MatchString(v) || !exists(v) {
			return t, false, false // said elsewhere
		}
		v, _, _ = strings.Cut(v, ".")
		digits, zone := v, ""
		if i := strings.IndexAny(v, "+-"); i >= 0 {
			digits, zone = v[:i], v[i:]
		}
		if zone != "" && len(zone) != len("+0100") {
			return t, false, true
		}
		layout := "20060102150405"
		if zone != "" {
			layout += "-0700"
		}
		t, err := time.Parse(layout, digits+"00000101000000"[len(digits):]+zone)
		return t, err == nil, false
	}
	if u, ok := n.one("width").attr("unit"); ok && !slices.Contains(strings.Fields("us ms s min h d wk mo a"), u) {
		return true
	}
	low, hasLow, badLow := instant(n.one("low"))
	high, hasHigh, badHigh := instant(n.one("high"))
	if badLow || badHigh {
		return true
	}
	return hasLow && hasHigh && (low.After(high) || n.one("low").get("value") == n.one("high").get("value"))
}
