package cda

import (
	"regexp"
	"slices"
	"strings"
)

// The skeleton of the CDA schema, as the national extension has it: for each
// element of the header and of the frame of the body, what it may hold, in
// order. Entries and narrative are not described.
//
// The grammar of a type: names in order, each with its cardinality (none = 1,
// ? + *) and, after a colon, its type; a|b is a choice of one; a name with a
// prefix is an extension. realmCode, typeId and templateId are understood
// before the rest, except in data types, which begin with "=".
type schemaType struct {
	name    string
	grammar string
	attrs   string // name=fixed, name! required, blank-separated; nullFlavor is understood
	example string // path to one in our documents, where mutants are made; n3: is level 3
}

var schemaTypes = []schemaType{
	{"ClinicalDocument", "id:II code:CD title?:Free effectiveTime:TS confidentialityCode:CD languageCode?:CD setId?:II versionNumber?:INT " +
		"copyTime?:TS recordTarget+:RecordTarget author+:Author dataEnterer?:DataEnterer informant*:Informant custodian:Custodian " +
		"informationRecipient*:InformationRecipient legalAuthenticator?:LegalAuthenticator authenticator*:Authenticator " +
		"participant*:Participant inFulfillmentOf*:InFulfillmentOf documentationOf*:DocumentationOf relatedDocument*:RelatedDocument " +
		"authorization*:Authorization componentOf?:ComponentOf component:Component sdtc:statusCode?:Free",
		"classCode=DOCCLIN moodCode=EVN", ""},
	{"RecordTarget", "patientRole:PatientRole", "typeCode=RCT contextControlCode=OP", "recordTarget"},
	{"PatientRole", "id+:II addr*:AD telecom*:TEL patient?:Patient providerOrganization?:Organization", "classCode=PAT", "recordTarget/patientRole"},
	{"Patient", "id?:II name*:PN sdtc:desc?:Free administrativeGenderCode?:CD birthTime?:TS sdtc:deceasedInd?:Free sdtc:deceasedTime?:Free " +
		"sdtc:multipleBirthInd?:Free sdtc:multipleBirthOrderNumber?:Free maritalStatusCode?:CD religiousAffiliationCode?:CD raceCode?:CD " +
		"sdtc:raceCode*:Free ethnicGroupCode?:CD sdtc:ethnicGroupCode*:Free guardian*:Guardian birthplace?:Birthplace languageCommunication*:LanguageCommunication",
		"classCode=PSN determinerCode=INSTANCE", "recordTarget/patientRole/patient"},
	{"Guardian", "id*:II code?:CD addr*:AD telecom*:TEL guardianPerson|guardianOrganization:Person|Organization", "classCode=GUARD", "recordTarget/patientRole/patient/guardian"},
	{"Birthplace", "place:Place", "classCode=BIRTHPL", "recordTarget/patientRole/patient/birthplace"},
	{"Place", "name?:PN addr?:AD", "classCode=PLC determinerCode=INSTANCE", "recordTarget/patientRole/patient/birthplace/place"},
	{"LanguageCommunication", "languageCode?:CD modeCode?:CD proficiencyLevelCode?:CD preferenceInd?:Free", "", "+recordTarget/patientRole/patient <languageCommunication><languageCode code=\"fr-FR\"/></languageCommunication>"},
	{"Author", "functionCode?:CD time:TS assignedAuthor:AssignedAuthor", "typeCode=AUT contextControlCode=OP", "author"},
	{"AssignedAuthor", "id+:II code?:CD addr*:AD telecom*:TEL assignedPerson|assignedAuthoringDevice?:Person|AuthoringDevice representedOrganization?:Organization", "classCode=ASSIGNED", "author/assignedAuthor"},
	{"AuthoringDevice", "code?:CD manufacturerModelName?:Free softwareName?:Free asMaintainedEntity*:Free", "classCode=DEV determinerCode=INSTANCE", "author[2]/assignedAuthor/assignedAuthoringDevice"},
	{"Person", "name*:PN sdtc:desc?:Free sdtc:asPatientRelationship?:Free", "classCode=PSN determinerCode=INSTANCE", "author/assignedAuthor/assignedPerson"},
	{"Organization", "id*:II name*:PN telecom*:TEL addr*:AD standardIndustryClassCode?:CD asOrganizationPartOf?:OrganizationPartOf", "classCode=ORG determinerCode=INSTANCE", "author/assignedAuthor/representedOrganization"},
	{"OrganizationPartOf", "id*:II code?:CD statusCode?:CD effectiveTime?:IVL wholeOrganization?:Organization", "classCode=PART", "+author/assignedAuthor/representedOrganization <asOrganizationPartOf><code code=\"X\"/></asOrganizationPartOf>"},
	{"DataEnterer", "time?:TS assignedEntity:AssignedEntity", "typeCode=ENT contextControlCode=OP", "dataEnterer"},
	{"AssignedEntity", "id+:II code?:CD addr*:AD telecom*:TEL assignedPerson?:Person representedOrganization?:Organization sdtc:patient?:Free", "classCode=ASSIGNED", "legalAuthenticator/assignedEntity"},
	{"Informant", "assignedEntity|relatedEntity:AssignedEntity|RelatedEntity", "typeCode=INF contextControlCode=OP", "informant"},
	{"RelatedEntity", "code?:CD addr*:AD telecom*:TEL effectiveTime?:IVL relatedPerson?:Person", "classCode!", "informant/relatedEntity"},
	{"Custodian", "assignedCustodian:AssignedCustodian", "typeCode=CST", "custodian"},
	{"AssignedCustodian", "representedCustodianOrganization:CustodianOrganization", "classCode=ASSIGNED", "custodian/assignedCustodian"},
	{"CustodianOrganization", "id+:II name?:PN telecom?:TEL addr?:AD", "classCode=ORG determinerCode=INSTANCE", "custodian/assignedCustodian/representedCustodianOrganization"},
	{"InformationRecipient", "intendedRecipient:IntendedRecipient", "typeCode", "informationRecipient"},
	{"IntendedRecipient", "id*:II addr*:AD telecom*:TEL informationRecipient?:Person receivedOrganization?:Organization", "classCode", "informationRecipient/intendedRecipient"},
	{"LegalAuthenticator", "time:TS signatureCode:CD sdtc:signatureText?:Free assignedEntity:AssignedEntity", "typeCode=LA contextControlCode=OP", "legalAuthenticator"},
	{"Authenticator", "time:TS signatureCode:CD assignedEntity:AssignedEntity sdtc:signatureText?:Free", "typeCode=AUTHEN", "authenticator"},
	{"Participant", "functionCode?:CD time?:IVL associatedEntity:AssociatedEntity", "typeCode! contextControlCode=OP", "participant"},
	{"AssociatedEntity", "id*:II code?:CD addr*:AD telecom*:TEL associatedPerson?:Person scopingOrganization?:Organization", "classCode!", "participant/associatedEntity"},
	{"InFulfillmentOf", "order:Order", "typeCode=FLFS", "inFulfillmentOf"},
	{"Order", "id+:II code?:CD priorityCode?:CD ps3-20:accessionNumber*:Free", "classCode moodCode=RQO", "inFulfillmentOf/order"},
	{"DocumentationOf", "serviceEvent:ServiceEvent", "typeCode=DOC", "documentationOf"},
	{"ServiceEvent", "id*:II code?:CD lab:statusCode?:Free effectiveTime?:IVL performer*:Performer", "classCode moodCode=EVN", "documentationOf/serviceEvent"},
	{"Performer", "functionCode?:CD time?:IVL assignedEntity:AssignedEntity", "typeCode!", "documentationOf/serviceEvent/performer"},
	{"RelatedDocument", "parentDocument:ParentDocument", "typeCode!", "relatedDocument"},
	{"ParentDocument", "id+:II code?:CD text?:Free setId?:II versionNumber?:INT", "classCode=DOCCLIN moodCode=EVN", "relatedDocument/parentDocument"},
	{"Authorization", "consent:Consent", "typeCode=AUTH", "authorization"},
	{"Consent", "id*:II code?:CD statusCode:CD", "classCode=CONS moodCode=EVN", "authorization/consent"},
	{"ComponentOf", "encompassingEncounter:EncompassingEncounter", "typeCode=COMP", "componentOf"},
	{"EncompassingEncounter", "id*:II code?:CD effectiveTime:IVL dischargeDispositionCode?:CD responsibleParty?:ResponsibleParty encounterParticipant*:EncounterParticipant location?:Location",
		"classCode=ENC moodCode=EVN", "componentOf/encompassingEncounter"},
	{"ResponsibleParty", "assignedEntity:AssignedEntity", "typeCode=RESP", "componentOf/encompassingEncounter/responsibleParty"},
	{"EncounterParticipant", "time?:IVL assignedEntity:AssignedEntity", "typeCode!", "componentOf/encompassingEncounter/encounterParticipant"},
	{"Location", "healthCareFacility:HealthCareFacility", "typeCode=LOC", "componentOf/encompassingEncounter/location"},
	{"HealthCareFacility", "id*:II code?:CD location?:Place serviceProviderOrganization?:Organization", "classCode", "componentOf/encompassingEncounter/location/healthCareFacility"},
	{"Component", "nonXMLBody|structuredBody:NonXMLBody|StructuredBody", "typeCode=COMP contextConductionInd=true", "component"},
	{"NonXMLBody", "text:Free confidentialityCode?:CD languageCode?:CD", "classCode=DOCBODY moodCode=EVN", "component/nonXMLBody"},
	{"StructuredBody", "confidentialityCode?:CD languageCode?:CD component+:BodyComponent", "classCode=DOCBODY moodCode=EVN", "n3: component/structuredBody"},
	{"BodyComponent", "section:Section", "typeCode=COMP contextConductionInd=true", "n3: component/structuredBody/component"},
	{"Section", "id?:II code?:CD title?:Free text?:Free confidentialityCode?:CD languageCode?:CD subject?:Free author*:Author informant*:Informant " +
		"entry*:Free component*:BodyComponent", "ID classCode=DOCSECT moodCode=EVN", "n3: component/structuredBody/component/section"},

	// Data types. Attributes of names, addresses and texts are not described.
	{"II", "=", "root extension assigningAuthorityName displayable", "id"},
	{"CD", "=originalText?:Free qualifier*:Free translation*:CD", "code codeSystem codeSystemName codeSystemVersion displayName", "code"},
	{"TS", "=", "value", "effectiveTime"},
	{"INT", "=", "value", "versionNumber"},
	{"IVL", "=low?:TS center?:TS width?:Free high?:TS", "value operator", "documentationOf/serviceEvent/effectiveTime"},
	{"TEL", "=useablePeriod*:Free", "value use", "recordTarget/patientRole/telecom"},
}

// particle is one step of a grammar.
type particle struct {
	names    []string // a choice when several
	types    []string
	min, max int // max -1 is unbounded
}

type attrRule struct {
	name, fixed string
	required    bool
}

type compiledType struct {
	schemaType
	particles []particle
	attrs     []attrRule
}

var schema = compileSchema()

func compileSchema() map[string]*compiledType {
	m := map[string]*compiledType{}
	for _, t := range schemaTypes {
		c := &compiledType{schemaType: t}
		grammar, isData := strings.CutPrefix(t.grammar, "=")
		if !isData {
			typeID := " typeId?:II "
			if t.name == "ClinicalDocument" {
				typeID = " typeId:II "
			}
			grammar = "realmCode*:CD" + typeID + "templateId*:II " + grammar
		}
		for step := range strings.FieldsSeq(grammar) {
			c.particles = append(c.particles, parseStep(step))
		}
		for a := range strings.FieldsSeq(t.attrs) {
			name, fixed, _ := strings.Cut(a, "=")
			name, required := strings.CutSuffix(name, "!")
			c.attrs = append(c.attrs, attrRule{name, fixed, required})
		}
		m[t.name] = c
	}
	return m
}

// parseStep reads name[|name][?+*]:Type[|Type]; the prefix of an extension
// holds the first colon.
func parseStep(step string) particle {
	i := strings.LastIndexByte(step, ':')
	names, types := step[:i], step[i+1:]
	p := particle{min: 1, max: 1}
	switch names[len(names)-1] {
	case '?':
		p.min = 0
	case '+':
		p.max = -1
	case '*':
		p.min, p.max = 0, -1
	}
	p.names = strings.Split(strings.TrimRight(names, "?+*"), "|")
	p.types = strings.Split(types, "|")
	return p
}

// extensions are the prefixes of the grammar.
var extensions = map[string]string{
	"urn:hl7-org:sdtc":                   "sdtc:",
	"urn:oid:1.3.6.1.4.1.19376.1.3.2":    "lab:",
	"urn:dicom-org:ps3-20":               "ps3-20:",
	"urn:ihe:pharm:medication":           "pharm:",
	"http://www.w3.org/2000/09/xmldsig#": "ds:",
}

// schemaName is the name of an element as the grammar writes it.
func schemaName(n *node) string {
	if n.name.Space == nsHL7 {
		return n.name.Local
	}
	if p, ok := extensions[n.name.Space]; ok {
		return p + n.name.Local
	}
	return "?"
}

// The facets of the schema that a rule checks apart, because their remedy is
// not that of an element out of place.
const (
	facetContent = "content" // order, cardinality, unknown elements
	facetAttrs   = "attributes"
	facetUID     = "uid"
	facetTime    = "ts"
	facetInt     = "int"
	facetCode    = "cs"
	facetNull    = "nullFlavor"
)

// breach is one violation of the schema: the type it concerns, or the facet.
type breach struct {
	key string // type/content, type/attributes, or a facet
	n   *node
}

// validate gives the breaches of the document, in document order.
func (d *Document) validate() []breach {
	var found []breach
	validate(d.root, "ClinicalDocument", &found)
	return found
}

func validate(n *node, typeName string, found *[]breach) {
	if typeName == "Free" || typeName == "AD" || typeName == "PN" {
		return
	}
	t := schema[typeName]
	t.checkAttrs(n, found)
	pos, count := 0, 0
	bad := false
	for _, k := range n.kids {
		name := schemaName(k)
		for pos < len(t.particles) && !slices.Contains(t.particles[pos].names, name) {
			bad = bad || count < t.particles[pos].min
			pos, count = pos+1, 0
		}
		if pos == len(t.particles) {
			*found = append(*found, breach{typeName + "/" + facetContent, k})
			return // what follows cannot be placed
		}
		p := t.particles[pos]
		if count++; p.max == 1 && count > 1 {
			*found = append(*found, breach{typeName + "/" + facetContent, k})
			return
		}
		validate(k, p.types[min(slices.Index(p.names, name), len(p.types)-1)], found)
	}
	for ; pos < len(t.particles); pos, count = pos+1, 0 {
		bad = bad || count < t.particles[pos].min
	}
	if bad {
		*found = append(*found, breach{typeName + "/" + facetContent, n})
	}
}

// Lexical forms of the HL7 data types.
var (
	oidForm  = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))*$`)
	uuidForm = regexp.MustCompile(`^[0-9a-zA-Z]{8}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{12}$`)
	ruidForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9\-]*$`)
	timeForm = regexp.MustCompile(`^([0-9]{1,8}|([0-9]{9,14}|[0-9]{14}\.[0-9]+)([+\-][0-9]{1,4})?)$`)
	intForm  = regexp.MustCompile(`^[+\-]?[0-9]{1,18}$`)
)

var nullFlavors = strings.Fields("NI OTH NINF PINF UNK ASKU NAV NASK TRC MSK NA INV DER QS UNC NP NAVU")

func isUID(s string) bool {
	return oidForm.MatchString(s) || uuidForm.MatchString(s) || ruidForm.MatchString(s)
}

func (t *compiledType) checkAttrs(n *node, found *[]breach) {
	key := t.name + "/" + facetAttrs
	add := func(key string) { *found = append(*found, breach{key, n}) }
	for i := range t.attrs {
		if v, ok := n.attr(t.attrs[i].name); t.attrs[i].required && !ok || ok && t.attrs[i].fixed != "" && v != t.attrs[i].fixed {
			add(key)
		}
	}
	for i := range n.attrs {
		a := &n.attrs[i]
		if a.Name.Space != "" {
			continue // xsi:type, xml:lang, …
		}
		if a.Name.Local == "nullFlavor" {
			if !slices.Contains(nullFlavors, a.Value) {
				add(facetNull)
			}
			continue
		}
		if !slices.ContainsFunc(t.attrs, func(r attrRule) bool { return r.name == a.Name.Local }) {
			add(key)
			continue
		}
		switch {
		case t.name == "II" && a.Name.Local == "root", t.name == "CD" && a.Name.Local == "codeSystem":
			// ASTM is what JDV_J07 itself writes for a signature.
			if !isUID(a.Value) {
				add(facetUID)
			}
		case (t.name == "TS" || t.name == "IVL") && a.Name.Local == "value":
			if !timeForm.MatchString(a.Value) {
				add(facetTime)
			}
		case t.name == "INT" && a.Name.Local == "value":
			if !intForm.MatchString(a.Value) {
				add(facetInt)
			}
		case t.name == "CD" && a.Name.Local == "code":
			if a.Value == "" || strings.ContainsAny(a.Value, " \t\r\n") {
				add(facetCode)
			}
		}
	}
}
