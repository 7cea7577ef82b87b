package cda

import "strings"

// schemaRules makes the rules of the schema: for each type one on its content
// and one on its attributes, then one for each lexical form.
func schemaRules() []Rule {
	var out []Rule
	for _, t := range schemaTypes {
		c := schema[t.name]
		out = append(out, c.contentRule(), c.attrsRule())
	}
	form := func(id, key, fr, fix string, mutants ...string) {
		out = append(out, breachRule(Rule{
			ID: id, Code: FaultSchema, Severity: Error, XPath: "//*", FR: fr, Fix: fix, Source: SourceSchema, Mutants: mutants,
		}, key))
	}
	form("F01", facetUID, "Un identifiant ou une nomenclature n'est ni un OID ni un UUID.",
		"Écrivez root et codeSystem sous la forme d'un OID (1.2.250…) ou d'un UUID.",
		"set id/@root pas_un_oid", "set setId/@root 1..2", "set code/@codeSystem LOINC!", "set custodian/assignedCustodian/representedCustodianOrganization/id/@root 1.02.3")
	form("F02", facetInt, "Un nombre entier est mal formé.", "Écrivez un entier en chiffres, sans espace.",
		"set versionNumber/@value abc", "set versionNumber/@value 1.5", "set versionNumber/@value ")
	form("F03", facetCode, "Un code est vide ou contient un espace.", "Retirez l'espace, ou remplacez l'attribut code par un nullFlavor s'il est permis.",
		"set code/@code 11488 4", "set languageCode/@code ", "set confidentialityCode/@code N R")
	form("F04", facetNull, "Un nullFlavor n'existe pas.", "Utilisez une valeur HL7 : UNK, NA, NASK, ASKU, NAV, MSK…",
		"set participant/time/@nullFlavor RIEN", "set informant/relatedEntity/code/@nullFlavor X")
	form("F06", facetEmpty, "Un libellé ou un nom de nomenclature est vide.", "Renseignez l'attribut, ou retirez-le.",
		"set code/@displayName ", "set code/@codeSystemName ", "set id/@assigningAuthorityName ")
	form("F07", facetBool, "Un booléen n'est ni true ni false.", "Écrivez true ou false, ou retirez l'attribut.",
		"set id/@displayable oui", "set documentationOf/serviceEvent/effectiveTime/low/@inclusive x")
	out = append(out, breachRule(Rule{
		ID: "F05", Code: FaultTime, Severity: Error, XPath: "//@value",
		FR: "Une date n'a pas la forme HL7.", Fix: "Écrivez AAAAMMJJ ou AAAAMMJJHHMMSS+HHMM.", Source: SourceSchema,
		Mutants: []string{
			"set effectiveTime/@value 2026-01-05", "set author/time/@value 20260105T0925", "set documentationOf/serviceEvent/effectiveTime/low/@value hier",
			"set recordTarget/patientRole/patient/birthTime/@value 12/05/1984", "set effectiveTime/@value 20260105093000+01000",
		},
	}, facetTime))
	return out
}

// breachRule hits where the schema was found broken.
func breachRule(r Rule, key string) Rule {
	r.check = func(d *checkup, hit func(*node)) {
		for _, n := range d.breaches[key] {
			hit(n)
		}
	}
	return r
}

// place is the path of the example of a type, with what must be done before it
// can be edited.
func (t *compiledType) place() (prefix, path string) {
	path = t.example
	if rest, ok := strings.CutPrefix(path, "n3: "); ok {
		return "n3: ", rest
	}
	if rest, ok := strings.CutPrefix(path, "+"); ok {
		parent, xml, _ := strings.Cut(rest, " ")
		name := strings.FieldsFunc(xml, func(r rune) bool { return strings.ContainsRune("<> /", r) })[0]
		return "into " + rest + " ; ", parent + "/" + name
	}
	return "", path
}

// names lists what a type may hold, for a person.
func (t *compiledType) names() string {
	var names []string
	for _, p := range t.particles {
		switch p.names[0] {
		case "realmCode", "typeId", "templateId":
		default:
			names = append(names, strings.Join(p.names, " ou "))
		}
	}
	if len(names) == 0 {
		return "aucun élément"
	}
	return strings.Join(names, ", ")
}

func (t *compiledType) contentRule() Rule {
	prefix, path := t.place()
	in := path
	if path != "" {
		in += "/"
	}
	mutants := []string{prefix + "into " + path + " <inconnu/>"}
	for _, p := range t.particles {
		if p.min == 0 || len(p.names) > 1 || p.names[0] == "typeId" {
			continue
		}
		// Without these the document is refused before the schema is looked at.
		remove := prefix + "remove " + in + p.names[0]
		switch in + p.names[0] {
		case "author", "recordTarget/patientRole/id": // our documents hold two
			remove += " ; " + remove
		}
		mutants = append(mutants, remove)
		if p.max == 1 {
			mutants = append(mutants, prefix+"twice "+in+p.names[0])
		}
	}
	if t.name == "StructuredBody" {
		mutants = mutants[:1] // its two components would both have to go: B06
	}
	return breachRule(Rule{
		ID: "S-" + t.name, Code: FaultSchema, Severity: Error, XPath: "/ClinicalDocument/" + path,
		FR:     "Un élément manque, est de trop, est inconnu ou n'est pas à sa place (type " + t.name + ").",
		Fix:    "Respectez l'ordre du schéma : " + t.names() + ".",
		Source: SourceSchema, Mutants: mutants,
	}, t.name+"/"+facetContent)
}

func (t *compiledType) attrsRule() Rule {
	prefix, path := t.place()
	if path != "" {
		path += "/"
	}
	mutants := []string{prefix + "set " + path + "@inconnu x"}
	var known []string
	for _, a := range t.attrs {
		switch {
		case a.required:
			mutants = append(mutants, prefix+"unset "+path+"@"+a.name)
			known = append(known, a.name+" (obligatoire)")
		case a.fixed != "":
			mutants = append(mutants, prefix+"set "+path+"@"+a.name+" ZZZ")
			known = append(known, a.name+"="+a.fixed)
		default:
			known = append(known, a.name)
		}
	}
	return breachRule(Rule{
		ID: "A-" + t.name, Code: FaultSchema, Severity: Error, XPath: "/ClinicalDocument/" + path + "@*",
		FR:     "Un attribut manque, est inconnu ou n'a pas la valeur fixée par le schéma (type " + t.name + ").",
		Fix:    "Attributs permis : " + strings.Join(append(known, "nullFlavor"), ", ") + ".",
		Source: SourceSchema, Mutants: mutants,
	}, t.name+"/"+facetAttrs)
}
