package cda

import (
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// typeRules are what the national schematron asks of the data types of the
// header (ART-DECOR DTr1), beyond their schema.
var typeRules = []Rule{
	typeRule("D01", FaultStructure, "Un nullFlavor accompagne une valeur : un autre attribut, un texte ou un élément.",
		"Retirez nullFlavor, ou ne laissez que lui.", func(n *node, typeName string) bool { return contradicted(n) && judgedNull(n, typeName) },
		"set recordTarget/patientRole/@nullFlavor UNK", "set recordTarget/patientRole/patient/name/given/@nullFlavor NA", "set realmCode/@nullFlavor UNK",
		"set recordTarget/patientRole/addr/city/@nullFlavor UNK", "set id/@nullFlavor UNK"),
	typeRule("D02", FaultStructure, "Un identifiant n'a ni root ni nullFlavor, ou son root n'est ni un OID ni un UUID.",
		"Renseignez root avec un OID (1.2.250…) ou un UUID.", func(n *node, typeName string) bool {
			root, ok := n.attr("root")
			return typeName == "II" && !looseID(n) && (!ok && !n.null() || ok && ruidForm.MatchString(root) && !uuidForm.MatchString(root))
		},
		"unset templateId[3]/@root", "set setId/@root abc-DEF", "set recordTarget/patientRole/id[2]/@root abc"),
	typeRule("D03", FaultStructure, "Un identifiant figure deux fois au même endroit.", "Gardez-le une fois.", func(n *node, typeName string) bool {
		return typeName == "II" && repeated(n)
	}, "twice recordTarget/patientRole/id[1]", "twice templateId[3]", "twice author/assignedAuthor/id"),
	typeRule("D04", FaultStructure, "Un code et ses attributs se contredisent : un code sans codeSystem, un libellé sans code, ou rien de tout cela.",
		"Renseignez code et codeSystem ensemble, et displayName avec eux ; ou nullFlavor seul.", func(n *node, typeName string) bool {
			return (typeName == "CE" || typeName == "CD") && !coherent(n)
		},
		"unset recordTarget/patientRole/patient/administrativeGenderCode/@codeSystem", "unset code/@codeSystem",
		`into code <translation nullFlavor="UNK"/>`, `into code <translation codeSystem="1.2.3"/>`,
		`into code <translation code="X" codeSystem="1.2.3"/><translation code="X" codeSystem="1.2.3"/>`),
	typeRule("D05", FaultTime, "Une date n'existe pas, ou n'est pas écrite en entier.", "Écrivez AAAA, AAAAMM, AAAAMMJJ ou AAAAMMJJHHMMSS+HHMM, avec un jour qui existe.",
		func(n *node, typeName string) bool {
			v, ok := n.attr("value")
			return typeName == "TS" && ok && timeForm.MatchString(v) && !exists(v)
		},
		"set effectiveTime/@value 2026112", "set effectiveTime/@value 20260230", "set recordTarget/patientRole/patient/birthTime/@value 20261322",
		"set effectiveTime/@value 20260105093000+9900"),
}

// typeRule checks each typed element of the header.
func typeRule(id, code, fr, fix string, wrong func(n *node, typeName string) bool, mutants ...string) Rule {
	return Rule{
		ID: id, Code: code, Severity: Error, XPath: "//*", FR: fr, Fix: fix, Source: SourceStructure + ", types de données", Mutants: mutants,
		check: func(d *checkup, hit func(*node)) {
			for _, t := range d.typed {
				if wrong(t.n, t.typeName) {
					hit(t.n)
				}
			}
		},
	}
}

// typed is an element of the header and its type in the schema.
type typed struct {
	n        *node
	typeName string
}

// Attributes that may stand beside a nullFlavor: what the schema fixes, and for
// some flavors what says more.
var (
	besideNull  = strings.Fields("nullFlavor classCode typeCode determinerCode moodCode partType")
	besideOther = strings.Fields("nullFlavor codeSystem codeSystemName codeSystemVersion extension partType")
)

// contradicted tells whether something stands beside a nullFlavor.
func contradicted(n *node) bool {
	flavor, null := n.attr("nullFlavor")
	if !null {
		return false
	}
	only := func(allowed []string) bool {
		for i := range n.attrs {
			if a := n.attrs[i].Name; a.Space == "" && !slices.Contains(allowed, a.Local) {
				return false
			}
		}
		return true
	}
	if only(besideNull) && len(n.kids) == 0 && n.value() == "" {
		return false
	}
	switch flavor {
	case "OTH", "NA", "UNC":
		says := n.get("extension") != "" || n.get("codeSystem") != "" || n.one("originalText") != nil || n.one("translation") != nil
		return !only(besideOther) || !says
	}
	return true
}

// judgedNull tells whether the schematron looks at a nullFlavor there: on the
// data types that it types, and at any depth of some roles.
func judgedNull(n *node, typeName string) bool {
	if n.under(nullable...) || n.under("assignedEntity", "relatedEntity") && n.under("informant") {
		return true
	}
	switch typeName {
	case "II", "CD", "CE", "CS", "TS", "INT", "IVL", "TEL", "ST", "AD", "ADXP", "Free":
		return !n.under(unjudged...)
	case "PN", "ON":
		return judgedForm(n, typeName)
	case "ENXP":
		return judgedForm(n.parent, "PN") && n.parent.is("name") || judgedForm(n.parent, "ON") && !n.parent.under("assignedPerson")
	}
	return false
}

// looseTranslation tells whether n is a translation whose system nobody asks
// for: the schematron does so under an act, a function and a facility only.
func looseTranslation(n *node) bool {
	if !n.is("translation") {
		return false
	}
	code := n.parent
	return !(code.is("functionCode") && code.under("participant")) && !(code.is("code") && (code.parent.is("serviceEvent") || code.parent.is("healthCareFacility")))
}

// looseID tells whether n is an identifier of a structure that is not national,
// where the schematron looks at national ones only.
func looseID(n *node) bool {
	return (n.parent.is("representedOrganization") || n.parent.is("receivedOrganization")) && n.get("root") != dmp.OIDOrganisation && !n.under("performer", "responsibleParty")
}

// repeated tells whether a sibling carries the same identifier.
func repeated(n *node) bool {
	root, ok := n.attr("root")
	if !ok {
		return false
	}
	extension, extended := n.attr("extension")
	for _, s := range n.parent.kids {
		if s == n || !s.is(n.name.Local) || s.get("root") != root {
			continue
		}
		if other, ok := s.attr("extension"); !extended || ok && other == extension {
			return true
		}
	}
	return false
}

// coherent tells whether the attributes of a code go together, those of its
// translations too.
func coherent(n *node) bool {
	has := func(name string) bool { _, ok := n.attr(name); return ok }
	switch {
	case !n.null() && !has("code") && n.one("originalText") == nil,
		!has("codeSystem") && (has("code") && !looseTranslation(n) || has("codeSystemName") || has("codeSystemVersion")),
		has("displayName") && !has("code"),
		n.is("translation") && (n.null() || has("codeSystem") && !has("code")):
		return false
	}
	translations := n.all("translation")
	for i, t := range translations {
		for _, other := range translations[:i] {
			if t.get("code") == other.get("code") && t.get("codeSystem") == other.get("codeSystem") {
				return false
			}
		}
	}
	return true
}

// exists tells whether a time of the right form is one: each field whole, on a
// day of the calendar, in a zone of the earth.
func exists(v string) bool {
	v, _, _ = strings.Cut(v, ".")
	digits, zone := v, ""
	if i := strings.IndexAny(v, "+-"); i >= 0 {
		digits, zone = v[:i], (v[i+1:] + "0000")[:4]
	}
	if len(digits) < 4 || len(digits)%2 != 0 {
		return false
	}
	if _, err := time.Parse("20060102150405", digits+"00000101000000"[len(digits):]); err != nil {
		return false
	}
	return zone <= "1400" && (zone == "" || zone[2:] < "60")
}
