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
	{"ClinicalDocument", "id:II code:CE title?:ST effectiveTime:TS confidentialityCode:CE languageCode?:CS setId?:II versionNumber?:INT " +
		"copyTime?:TS recordTarget+:RecordTarget author+:Author dataEnterer?:DataEnterer informant*:Informant custodian:Custodian " +
		"informationRecipient*:InformationRecipient legalAuthenticator?:LegalAuthenticator authenticator*:Authenticator " +
		"participant*:Participant inFulfillmentOf*:InFulfillmentOf documentationOf*:DocumentationOf relatedDocument*:RelatedDocument " +
		"authorization*:Authorization componentOf?:ComponentOf component:Component sdtc:statusCode?:Free",
		"classCode=DOCCLIN moodCode=EVN", ""},
	{"RecordTarget", "patientRole:PatientRole", "typeCode=RCT contextControlCode=OP", "recordTarget"},
	{"PatientRole", "id+:II addr*:AD telecom*:TEL patient?:Patient providerOrganization?:Organization", "classCode=PAT", "recordTarget/patientRole"},
	{"Patient", "id?:II name*:PN sdtc:desc?:Free administrativeGenderCode?:CE birthTime?:TS sdtc:deceasedInd?:Free sdtc:deceasedTime?:Free " +
		"sdtc:multipleBirthInd?:Free sdtc:multipleBirthOrderNumber?:Free maritalStatusCode?:CE religiousAffiliationCode?:CE raceCode?:CE " +
		"sdtc:raceCode*:Free ethnicGroupCode?:CE sdtc:ethnicGroupCode*:Free guardian*:Guardian birthplace?:Birthplace languageCommunication*:LanguageCommunication",
		"classCode=PSN determinerCode=INSTANCE", "recordTarget/patientRole/patient"},
	{"Guardian", "id*:II code?:CE addr*:AD telecom*:TEL guardianPerson|guardianOrganization:Person|Organization", "classCode=GUARD", "recordTarget/patientRole/patient/guardian"},
	{"Birthplace", "place:Place", "classCode=BIRTHPL", "recordTarget/patientRole/patient/birthplace"},
	{"Place", "name?:EN addr?:AD", "classCode=PLC determinerCode=INSTANCE", "recordTarget/patientRole/patient/birthplace/place"},
	{"LanguageCommunication", "languageCode?:CS modeCode?:CE proficiencyLevelCode?:CE preferenceInd?:Free", "", "+recordTarget/patientRole/patient <languageCommunication><languageCode code=\"fr-FR\"/></languageCommunication>"},
	{"Author", "functionCode?:CE time:TS assignedAuthor:AssignedAuthor", "typeCode=AUT contextControlCode=OP", "author"},
	{"AssignedAuthor", "id+:II code?:CE addr*:AD telecom*:TEL assignedPerson|assignedAuthoringDevice?:Person|AuthoringDevice representedOrganization?:Organization", "classCode=ASSIGNED", "author/assignedAuthor"},
	{"AuthoringDevice", "code?:CE manufacturerModelName?:SC softwareName?:SC asMaintainedEntity*:Free", "classCode=DEV determinerCode=INSTANCE", "author[2]/assignedAuthor/assignedAuthoringDevice"},
	{"Person", "name*:PN sdtc:desc?:Free sdtc:asPatientRelationship?:Free", "classCode=PSN determinerCode=INSTANCE", "author/assignedAuthor/assignedPerson"},
	{"Organization", "id*:II name*:ON telecom*:TEL addr*:AD standardIndustryClassCode?:CE asOrganizationPartOf?:OrganizationPartOf", "classCode=ORG determinerCode=INSTANCE", "author/assignedAuthor/representedOrganization"},
	{"OrganizationPartOf", "id*:II code?:CE statusCode?:CS effectiveTime?:IVL wholeOrganization?:Organization", "classCode=PART", "+author/assignedAuthor/representedOrganization <asOrganizationPartOf><code code=\"X\"/></asOrganizationPartOf>"},
	{"DataEnterer", "time?:TS assignedEntity:AssignedEntity", "typeCode=ENT contextControlCode=OP", "dataEnterer"},
	{"AssignedEntity", "id+:II code?:CE addr*:AD telecom*:TEL assignedPerson?:Person representedOrganization?:Organization sdtc:patient?:Free", "classCode=ASSIGNED", "legalAuthenticator/assignedEntity"},
	{"Informant", "assignedEntity|relatedEntity:AssignedEntity|RelatedEntity", "typeCode=INF contextControlCode=OP", "informant"},
	{"RelatedEntity", "code?:CE addr*:AD telecom*:TEL effectiveTime?:IVL relatedPerson?:Person", "classCode!", "informant/relatedEntity"},
	{"Custodian", "assignedCustodian:AssignedCustodian", "typeCode=CST", "custodian"},
	{"AssignedCustodian", "representedCustodianOrganization:CustodianOrganization", "classCode=ASSIGNED", "custodian/assignedCustodian"},
	{"CustodianOrganization", "id+:II name?:ON telecom?:TEL addr?:AD", "classCode=ORG determinerCode=INSTANCE", "custodian/assignedCustodian/representedCustodianOrganization"},
	{"InformationRecipient", "intendedRecipient:IntendedRecipient", "typeCode", "informationRecipient"},
	{"IntendedRecipient", "id*:II addr*:AD telecom*:TEL informationRecipient?:Person receivedOrganization?:Organization", "classCode", "informationRecipient/intendedRecipient"},
	{"LegalAuthenticator", "time:TS signatureCode:CS sdtc:signatureText?:Free assignedEntity:AssignedEntity", "typeCode=LA contextControlCode=OP", "legalAuthenticator"},
	{"Authenticator", "time:TS signatureCode:CS assignedEntity:AssignedEntity sdtc:signatureText?:Free", "typeCode=AUTHEN", "authenticator"},
	{"Participant", "functionCode?:CE time?:IVL associatedEntity:AssociatedEntity", "typeCode! contextControlCode=OP", "participant"},
	{"AssociatedEntity", "id*:II code?:CE addr*:AD telecom*:TEL associatedPerson?:Person scopingOrganization?:Organization", "classCode!", "participant/associatedEntity"},
	{"InFulfillmentOf", "order:Order", "typeCode=FLFS", "inFulfillmentOf"},
	{"Order", "id+:II code?:CE priorityCode?:CE ps3-20:accessionNumber*:Free", "classCode moodCode=RQO", "inFulfillmentOf/order"},
	{"DocumentationOf", "serviceEvent:ServiceEvent", "typeCode=DOC", "documentationOf"},
	{"ServiceEvent", "id*:II code?:CE lab:statusCode?:Free effectiveTime?:IVL performer*:Performer", "classCode moodCode=EVN", "documentationOf/serviceEvent"},
	{"Performer", "functionCode?:CE time?:IVL assignedEntity:AssignedEntity", "typeCode!", "documentationOf/serviceEvent/performer"},
	{"RelatedDocument", "parentDocument:ParentDocument", "typeCode!", "relatedDocument"},
	{"ParentDocument", "id+:II code?:CD text?:Free setId?:II versionNumber?:INT", "classCode=DOCCLIN moodCode=EVN", "relatedDocument/parentDocument"},
	{"Authorization", "consent:Consent", "typeCode=AUTH", "authorization"},
	{"Consent", "id*:II code?:CE statusCode:CS", "classCode=CONS moodCode=EVN", "authorization/consent"},
	{"ComponentOf", "encompassingEncounter:EncompassingEncounter", "typeCode=COMP", "componentOf"},
	{"EncompassingEncounter", "id*:II code?:CE effectiveTime:IVL dischargeDispositionCode?:CE responsibleParty?:ResponsibleParty encounterParticipant*:EncounterParticipant location?:Location",
		"classCode=ENC moodCode=EVN", "componentOf/encompassingEncounter"},
	{"ResponsibleParty", "assignedEntity:AssignedEntity", "typeCode=RESP", "componentOf/encompassingEncounter/responsibleParty"},
	{"EncounterParticipant", "time?:IVL assignedEntity:AssignedEntity", "typeCode!", "componentOf/encompassingEncounter/encounterParticipant"},
	{"Location", "healthCareFacility:HealthCareFacility", "typeCode=LOC", "componentOf/encompassingEncounter/location"},
	{"HealthCareFacility", "id*:II code?:CE location?:Place serviceProviderOrganization?:Organization", "classCode", "componentOf/encompassingEncounter/location/healthCareFacility"},
	{"Component", "nonXMLBody|structuredBody:NonXMLBody|StructuredBody", "typeCode=COMP contextConductionInd=true", "component"},
	{"NonXMLBody", "text:Free confidentialityCode?:CE languageCode?:CS", "classCode=DOCBODY moodCode=EVN", "component/nonXMLBody"},
	{"StructuredBody", "confidentialityCode?:CE languageCode?:CS component+:BodyComponent", "classCode=DOCBODY moodCode=EVN", "n3: component/structuredBody"},
	{"BodyComponent", "section:Section", "typeCode=COMP contextConductionInd=true", "n3: component/structuredBody/component"},
	{"Section", "id?:II code?:CE title?:ST text?:Free confidentialityCode?:CE languageCode?:CS subject?:Free author*:Author informant*:Informant " +
		"entry*:Free component*:BodyComponent", "ID classCode=DOCSECT moodCode=EVN", "n3: component/structuredBody/component/section"},

	// Data types.
	{"II", "=", "root extension assigningAuthorityName displayable", "id"},
	{"TypeID", "=", "root!=2.16.840.1.113883.1.3 extension! assigningAuthorityName displayable", "typeId"},
	{"CD", "=originalText?:Free qualifier*:Free translation*:CD", "code codeSystem codeSystemName codeSystemVersion displayName", "+code <translation code=\"X\" codeSystem=\"1.2.3\"/>"},
	{"CE", "=originalText?:Free translation*:CD", "code codeSystem codeSystemName codeSystemVersion displayName", "code"},
	{"CS", "=", "code", "languageCode"},
	{"TS", "=", "value", "effectiveTime"},
	{"INT", "=", "value", "versionNumber"},
	{"IVL", "=low?:IVXB center?:TS width?:PQ high?:IVXB", "value operator", "documentationOf/serviceEvent/effectiveTime"},
	{"IVXB", "=", "value inclusive", "documentationOf/serviceEvent/effectiveTime/low"},
	{"PQ", "=", "value unit", "+documentationOf/serviceEvent/performer/time <width value=\"1\" unit=\"d\"/>"},
	{"TEL", "=useablePeriod*:Free", "value use", "recordTarget/patientRole/telecom"},
	{"ST", "=", "representation=TXT mediaType=text/plain language", "title"},
	{"SC", "=", "code codeSystem codeSystemName codeSystemVersion displayName representation=TXT mediaType=text/plain language", "author[2]/assignedAuthor/assignedAuthoringDevice/softwareName"},
	{"AD", "=useablePeriod|" + addressParts + "*:Free|ADXP", "use isNotOrdered", "recordTarget/patientRole/addr"},
	{"ADXP", "=", "partType representation=TXT mediaType=text/plain language", "recordTarget/patientRole/addr/city"},
	{"PN", "=validTime|delimiter|family|given|prefix|suffix*:Free|ENXP", "use", "recordTarget/patientRole/patient/name"},
	{"EN", "=validTime|delimiter|family|given|prefix|suffix*:Free|ENXP", "use", "componentOf/encompassingEncounter/location/healthCareFacility/location/name"},
	{"ON", "=validTime|delimiter|prefix|suffix*:Free|ENXP", "use", "custodian/assignedCustodian/representedCustodianOrganization/name"},
	{"ENXP", "=", "partType qualifier representation=TXT mediaType=text/plain language", "recordTarget/patientRole/patient/name/family"},
}

// addressParts are the parts of an address, in any order and number.
const addressParts = "delimiter|country|state|county|city|postalCode|streetAddressLine|houseNumber|houseNumberNumeric|direction|streetName|" +
	"streetNameBase|streetNameType|additionalLocator|unitID|unitType|careOf|censusTract|deliveryAddressLine|deliveryInstallationType|" +
	"deliveryInstallationArea|deliveryInstallationQualifier|deliveryMode|deliveryModeIdentifier|buildingNumberSuffix|postBox|precinct"

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
			typeID := " typeId?:TypeID "
			if t.name == "ClinicalDocument" {
				typeID = " typeId:TypeID "
			}
			grammar = "realmCode*:CS" + typeID + "templateId*:II " + grammar
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
	facetEmpty   = "st"
	facetBool    = "bl"
)

// breach is one violation of the schema: the type it concerns, or the facet.
type breach struct {
	key string // type/content, type/attributes, or a facet
	n   *node
}

// validate gives the breaches of the document, in document order, and the
// typed elements of its header.
func (d *Document) validate() ([]breach, []typed) {
	var v validator
	v.element(d.root, "ClinicalDocument")
	return v.found, v.header
}

type validator struct {
	found  []breach
	header []typed
	body   bool
}

func (v *validator) element(n *node, typeName string) {
	if typeName == "Component" {
		v.body = true // the header ends here
	}
	if !v.body && n.parent != nil {
		v.header = append(v.header, typed{n, typeName})
	}
	if typeName == "Free" {
		return
	}
	t := schema[typeName]
	t.checkAttrs(n, &v.found)
	breaks := func(n *node) { v.found = append(v.found, breach{typeName + "/" + facetContent, n}) }
	pos, count := 0, 0
	bad := false
	for _, k := range n.kids {
		name := schemaName(k)
		for pos < len(t.particles) && !slices.Contains(t.particles[pos].names, name) {
			bad = bad || count < t.particles[pos].min
			pos, count = pos+1, 0
		}
		if pos == len(t.particles) {
			breaks(k)
			return // what follows cannot be placed
		}
		p := t.particles[pos]
		if count++; p.max == 1 && count > 1 {
			breaks(k)
			return
		}
		v.element(k, p.types[min(slices.Index(p.names, name), len(p.types)-1)])
	}
	for ; pos < len(t.particles); pos, count = pos+1, 0 {
		bad = bad || count < t.particles[pos].min
	}
	if bad {
		breaks(n)
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
		case t.name == "II" && a.Name.Local == "root", t.coded() && a.Name.Local == "codeSystem":
			// ASTM is what JDV_J07 itself writes for a signature.
			if !isUID(a.Value) {
				add(facetUID)
			}
		case (t.name == "TS" || t.name == "IVL" || t.name == "IVXB") && a.Name.Local == "value":
			if !timeForm.MatchString(a.Value) {
				add(facetTime)
			}
		case t.name == "INT" && a.Name.Local == "value":
			if !intForm.MatchString(a.Value) {
				add(facetInt)
			}
		case t.coded() && a.Name.Local == "code":
			if a.Value == "" || strings.ContainsAny(a.Value, " \t\r\n") {
				add(facetCode)
			}
		case a.Name.Local == "inclusive", a.Name.Local == "displayable", a.Name.Local == "isNotOrdered":
			if !slices.Contains([]string{"true", "false", "1", "0"}, a.Value) {
				add(facetBool)
			}
		case t.coded(), t.isID() && a.Name.Local != "extension": // an empty extension is T07
			if a.Value == "" {
				add(facetEmpty)
			}
		}
	}
}

// isID tells whether the type is one of identifiers.
func (t *compiledType) isID() bool { return t.name == "II" || t.name == "TypeID" }

// coded tells whether the type is one of codes.
func (t *compiledType) coded() bool {
	return t.name == "SC" || t.name == "CD" || t.name == "CE" || t.name == "CS"
}
