package cda

import "strings"

import "github.com/passerelle-sante/passerelle/dmp"

// Header is the header of a document as its sender wrote it. What is absent is
// the zero value with a zero Place.
type Header struct {
	ID                 II
	Code               CD
	Title              Text
	EffectiveTime      TS
	Confidentiality    CD
	Language           Text
	SetID              II
	VersionNumber      Text
	Patients           []PatientRole
	Authors            []Author
	Custodian          Organisation
	LegalAuthenticator *Signer
	Authenticators     []Signer
	Recipients         []Recipient // informationRecipient
	Orders             []II        // inFulfillmentOf/order/id
	Acts               []Act       // documentationOf/serviceEvent
	Related            []Related
	Encounter          *Encounter
}

// II is an instance identifier.
type II struct {
	Root, Extension string
	Place
}

// ID gives the identifier in the words of dmp.
func (i II) ID() dmp.ID { return dmp.ID{Root: i.Root, Extension: i.Extension} }

// CD is a coded value.
type CD struct {
	Code, System, Display string
	Translations          []CD
	Place
}

// DMP gives the code in the words of dmp.
func (c CD) DMP() dmp.Code { return dmp.Code{Code: c.Code, System: c.System, Display: c.Display} }

// Text is a text or an attribute.
type Text struct {
	Value string
	Place
}

// TS is a point in time as written.
type TS struct {
	Value string
	Place
}

// Template is a templateId; Extension is its version, such as 2024.01.
type Template struct {
	Root, Extension string
	Place
}

// Part is one part of a name; Qualifier is BR, CL or empty in France.
type Part struct {
	Value, Qualifier string
	Place
}

// Name is the name of a person, parts in document order.
type Name struct {
	Family, Given  []Part
	Prefix, Suffix string
	Place
}

// PatientRole is a recordTarget.
type PatientRole struct {
	IDs        []II
	Telecoms   []string
	Name       Name
	Gender     CD
	BirthTime  TS
	BirthPlace Text // county of the birthplace: code officiel géographique
	Place
}

// Author is one author.
type Author struct {
	Function     CD
	Time         TS
	ID           II
	Code         CD
	Person       *Name
	Device       *Device
	Organisation Organisation
	Place
}

// Device is an author that is not human.
type Device struct {
	Model, Software string
	Place
}

// Organisation is a structure.
type Organisation struct {
	ID       II
	Name     string
	Industry CD // standardIndustryClassCode
	Place
}

// Signer is the legal authenticator or an authenticator.
type Signer struct {
	Time         TS
	Signature    string
	ID           II
	Code         CD
	Name         Name
	Organisation Organisation
	Place
}

// Recipient is an informationRecipient.
type Recipient struct {
	ID           II
	Telecoms     []string
	Name         Name
	Organisation Organisation
	Place
}

// Act is a documented act.
type Act struct {
	IDs        []II
	Code       CD
	Start      TS
	Stop       TS
	Performers []Performer
	Place
}

// Performer is who performed an act.
type Performer struct {
	Type         string // PRF is the main one
	ID           II
	Code         CD
	Name         Name
	Organisation Organisation
	Place
}

// Related is a relatedDocument.
type Related struct {
	Type string // RPLC replaces
	ID   II
	Place
}

// Encounter is the stay or visit.
type Encounter struct {
	IDs         []II
	Code        CD
	Start, Stop TS
	Facility    CD
	Place
}

func (d *Document) readHeader() {
	r, h := d.root, &d.Header
	for _, n := range r.all("templateId") {
		d.Models = append(d.Models, Template{n.get("root"), n.get("extension"), Place{n}})
	}
	h.ID = readII(r.one("id"))
	h.Code = readCD(r.one("code"))
	h.Title = readText(r.one("title"))
	h.Title.Value = strings.Join(strings.Fields(h.Title.Value), " ") // how the XML is laid out is not part of a title
	h.EffectiveTime = readTS(r.one("effectiveTime"))
	h.Confidentiality = readCD(r.one("confidentialityCode"))
	h.Language = readAttr(r.one("languageCode"), "code")
	h.SetID = readII(r.one("setId"))
	h.VersionNumber = readAttr(r.one("versionNumber"), "value")
	for _, n := range r.all("recordTarget") {
		h.Patients = append(h.Patients, readPatient(n))
	}
	for _, n := range r.all("author") {
		h.Authors = append(h.Authors, readAuthor(n))
	}
	h.Custodian = readOrganisation(r.one("custodian/assignedCustodian/representedCustodianOrganization"))
	if n := r.one("legalAuthenticator"); n != nil {
		s := readSigner(n)
		h.LegalAuthenticator = &s
	}
	for _, n := range r.all("authenticator") {
		h.Authenticators = append(h.Authenticators, readSigner(n))
	}
	for _, n := range r.all("informationRecipient/intendedRecipient") {
		h.Recipients = append(h.Recipients, Recipient{
			ID: readII(n.one("id")), Telecoms: telecoms(n), Place: Place{n},
			Name:         readName(n.one("informationRecipient/name")),
			Organisation: readOrganisation(n.one("receivedOrganization")),
		})
	}
	for _, n := range r.all("inFulfillmentOf/order/id") {
		h.Orders = append(h.Orders, readII(n))
	}
	for _, n := range r.all("documentationOf/serviceEvent") {
		h.Acts = append(h.Acts, readAct(n))
	}
	for _, n := range r.all("relatedDocument") {
		h.Related = append(h.Related, Related{n.get("typeCode"), readII(n.one("parentDocument/id")), Place{n}})
	}
	if n := r.one("componentOf/encompassingEncounter"); n != nil {
		h.Encounter = &Encounter{
			IDs: readIIs(n.all("id")), Code: readCD(n.one("code")), Place: Place{n},
			Start: readTS(n.one("effectiveTime/low")), Stop: readTS(n.one("effectiveTime/high")),
			Facility: readCD(n.one("location/healthCareFacility/code")),
		}
	}
}

func readII(n *node) II {
	if n == nil || n.null() {
		return II{Place: Place{n}}
	}
	return II{n.get("root"), n.get("extension"), Place{n}}
}

func readIIs(ns []*node) []II {
	var ids []II
	for _, n := range ns {
		ids = append(ids, readII(n))
	}
	return ids
}

func readCD(n *node) CD {
	if n == nil {
		return CD{}
	}
	c := CD{Code: n.get("code"), System: n.get("codeSystem"), Display: n.get("displayName"), Place: Place{n}}
	for _, t := range n.all("translation") {
		c.Translations = append(c.Translations, readCD(t))
	}
	return c
}

func readTS(n *node) TS { return TS{n.get("value"), Place{n}} }

func readText(n *node) Text { return Text{n.value(), Place{n}} }

func readAttr(n *node, name string) Text { return Text{n.get(name), Place{n}} }

func readName(n *node) Name {
	if n == nil {
		return Name{}
	}
	name := Name{Prefix: n.one("prefix").value(), Suffix: n.one("suffix").value(), Place: Place{n}}
	for _, f := range n.all("family") {
		name.Family = append(name.Family, Part{f.value(), f.get("qualifier"), Place{f}})
	}
	for _, g := range n.all("given") {
		name.Given = append(name.Given, Part{g.value(), g.get("qualifier"), Place{g}})
	}
	return name
}

func telecoms(n *node) []string {
	var values []string
	for _, t := range n.all("telecom") {
		if v := t.get("value"); v != "" {
			values = append(values, v)
		}
	}
	return values
}

func readPatient(n *node) PatientRole {
	role := n.one("patientRole")
	p := role.one("patient")
	return PatientRole{
		IDs: readIIs(role.all("id")), Telecoms: telecoms(role), Place: Place{n},
		Name:       readName(p.one("name")),
		Gender:     readCD(p.one("administrativeGenderCode")),
		BirthTime:  readTS(p.one("birthTime")),
		BirthPlace: readText(p.one("birthplace/place/addr/county")),
	}
}

func readOrganisation(n *node) Organisation {
	if n == nil {
		return Organisation{}
	}
	return Organisation{
		ID: readII(n.one("id")), Name: n.one("name").value(),
		Industry: readCD(n.one("standardIndustryClassCode")), Place: Place{n},
	}
}

func readAuthor(n *node) Author {
	as := n.one("assignedAuthor")
	a := Author{
		Function: readCD(n.one("functionCode")), Time: readTS(n.one("time")),
		ID: readII(as.one("id")), Code: readCD(as.one("code")),
		Organisation: readOrganisation(as.one("representedOrganization")), Place: Place{n},
	}
	if p := as.one("assignedPerson"); p != nil {
		name := readName(p.one("name"))
		a.Person = &name
	}
	if v := as.one("assignedAuthoringDevice"); v != nil {
		a.Device = &Device{v.one("manufacturerModelName").value(), v.one("softwareName").value(), Place{v}}
	}
	return a
}

func readSigner(n *node) Signer {
	e := n.one("assignedEntity")
	return Signer{
		Time: readTS(n.one("time")), Signature: n.one("signatureCode").get("code"),
		ID: readII(e.one("id")), Code: readCD(e.one("code")),
		Name:         readName(e.one("assignedPerson/name")),
		Organisation: readOrganisation(e.one("representedOrganization")), Place: Place{n},
	}
}

func readAct(n *node) Act {
	a := Act{
		IDs: readIIs(n.all("id")), Code: readCD(n.one("code")), Place: Place{n},
		Start: readTS(n.one("effectiveTime/low")), Stop: readTS(n.one("effectiveTime/high")),
	}
	for _, p := range n.all("performer") {
		e := p.one("assignedEntity")
		a.Performers = append(a.Performers, Performer{
			Type: p.get("typeCode"), ID: readII(e.one("id")), Code: readCD(e.one("code")),
			Name:         readName(e.one("assignedPerson/name")),
			Organisation: readOrganisation(e.one("representedOrganization")), Place: Place{p},
		})
	}
	return a
}
