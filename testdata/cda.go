package testdata

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// Kind is a sort of clinical document.
type Kind int

// The kinds that this package can write.
const (
	Biology   Kind = iota // compte rendu d'examens biologiques
	Imaging               // compte rendu d'imagerie médicale
	Discharge             // lettre de liaison à la sortie
)

// Code is a code of JDV_J07 with its label and its HL7 v2 system.
type Code struct{ Code, Display, System string }

// TypeCode is the document type of a kind (JDV_J07).
func (k Kind) TypeCode() Code {
	switch k {
	case Imaging:
		return Code{"18748-4", "CR d'imagerie médicale", "LN"}
	case Discharge:
		return Code{"11490-0", "Lettre de liaison à la sortie d'un établissement de soins", "LN"}
	default:
		return Code{"11502-2", "CR d'examens biologiques", "LN"}
	}
}

// classCode is the class of a document (ASS_X04).
func (o CDAOptions) classCode() Code {
	if o.Kind == Imaging {
		return Code{"31", "Imagerie médicale", "1.2.250.1.213.1.1.4.1"}
	}
	return Code{"10", "Compte rendu", "1.2.250.1.213.1.1.4.1"}
}

// formatCode is the format of a document (ASS_A11, ASS_A12).
func (o CDAOptions) formatCode() Code {
	const ihe = "1.3.6.1.4.1.19376.1.2.3"
	switch {
	case o.Level != 3:
		return Code{"urn:ihe:iti:xds-sd:pdf:2008", "Document PDF", ihe}
	case o.Kind == Imaging:
		return Code{"urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013", "CR d'imagerie", ihe}
	case o.Kind == Discharge:
		return Code{"urn:asip:ci-sis:ldl-ses:2017", "Lettre de liaison", "1.2.250.1.213.1.1.4.2.282"}
	}
	return Code{"urn:ihe:lab:xd-lab:2008", "CR d'examens biologiques", ihe}
}

// CDAOptions says what differs from the ordinary document: the biology report
// of the first patient, level 1, first version, normal confidentiality.
type CDAOptions struct {
	Kind  Kind
	Level int // 1 (default) or 3

	ID       string // root or root^extension; default DocumentID(1)
	SetID    string // default: ID's root (Replaces' when set) followed by .0
	Version  int    // default 1, or 2 when Replaces is set
	Replaces string // id of the replaced document: adds relatedDocument RPLC

	Patient       Patient // default: the first
	NoINS         bool    // leave the matricule out, as for mail between professionals
	NoIPP         bool
	Author        Persona       // default: by kind
	Authenticator Persona       // default: the author
	Establishment Establishment // default: the first
	Device        string        // software name: the author is a device

	Title           string // default: by kind
	Created         string // effectiveTime; default 20260105091500+0100
	ServiceStart    string // default 20260105073000+0100
	ServiceStop     string // default 20260105090000+0100
	Confidentiality string // N (default), R or V
	Language        string // default fr-FR
	PDF             []byte // default: a PDF of the same text
	NoPDFCopy       bool   // level 3 without the section that carries the PDF
	MediaType       string // level 1; default application/pdf
}

// DocumentID makes the n-th document identifier of our arc.
func DocumentID(n int) string { return DocumentArc + "." + strconv.Itoa(n) }

func orPatient(p Patient) Patient {
	if p.ID == "" && p.BirthName == "" {
		return Patients()[0]
	}
	return p
}

func orHouse(e Establishment) Establishment {
	if e.FINESSGeo == "" {
		return Establishments()[0]
	}
	return e
}

func orString(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (o CDAOptions) filled() CDAOptions {
	o.Patient, o.Establishment = orPatient(o.Patient), orHouse(o.Establishment)
	if o.Level == 0 {
		o.Level = 1
	}
	if o.Author.NationalID == "" {
		o.Author = PersonaByID([]string{PersonaBiologist, PersonaRadiologist, PersonaPhysician}[o.Kind])
	}
	if o.Authenticator.NationalID == "" {
		o.Authenticator = o.Author
	}
	o.ID = orString(o.ID, DocumentID(1))
	root, _, _ := strings.Cut(orString(o.Replaces, o.ID), "^")
	o.SetID = orString(o.SetID, root+".0")
	if o.Version == 0 {
		o.Version = 1
		if o.Replaces != "" {
			o.Version = 2
		}
	}
	o.Title = orString(o.Title, []string{"Compte rendu d'examens biologiques",
		"Compte rendu de radiographie du thorax", "Lettre de liaison à la sortie"}[o.Kind])
	o.Created = orString(o.Created, "20260105091500+0100")
	o.ServiceStart = orString(o.ServiceStart, "20260105073000+0100")
	o.ServiceStop = orString(o.ServiceStop, "20260105090000+0100")
	o.Confidentiality = orString(o.Confidentiality, "N")
	o.Language = orString(o.Language, "fr-FR")
	o.MediaType = orString(o.MediaType, "application/pdf")
	if o.PDF == nil {
		o.PDF = PDF(o.Title, o.pdfLines())
	}
	return o
}

// CDA writes a CDA R2 document after the CI-SIS "structuration minimale".
func CDA(o CDAOptions) []byte {
	o = o.filled()
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	w(`<?xml version="1.0" encoding="UTF-8"?>`)
	w(`<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:lab="urn:oid:1.3.6.1.4.1.19376.1.3.2" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">`)
	w(`<realmCode code="FR"/>`)
	w(`<typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>`)
	w(`<templateId root="2.16.840.1.113883.2.8.2.1"/>`)
	w(`<templateId root="1.2.250.1.213.1.1.1.1"/>`)
	w("%s", o.volet())
	w(`<id %s/>`, ii(o.ID))
	w(`<code code="%s" displayName="%s" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/>`,
		o.Kind.TypeCode().Code, x(o.Kind.TypeCode().Display))
	w(`<title>%s</title>`, x(o.Title))
	w(`<effectiveTime value="%s"/>`, x(o.Created))
	w(`<confidentialityCode code="%s" displayName="%s" codeSystem="2.16.840.1.113883.5.25" codeSystemName="Confidentiality"/>`,
		x(o.Confidentiality), map[string]string{"N": "Normal", "R": "Restreint", "V": "Très restreint"}[o.Confidentiality])
	w(`<languageCode code="%s"/>`, x(o.Language))
	w(`<setId %s/>`, ii(o.SetID))
	w(`<versionNumber value="%d"/>`, o.Version)
	w("%s", o.recordTarget())
	w("%s", o.author())
	h := o.Establishment
	w(`<custodian><assignedCustodian><representedCustodianOrganization>%s<name>%s</name><telecom value="tel:%s" use="WP"/>%s`+
		`</representedCustodianOrganization></assignedCustodian></custodian>`, houseID(h), x(h.Name), h.Phone, address(h.Street, h.PostCode, h.City))
	w(`<legalAuthenticator><time value="%s"/><signatureCode code="S"/>%s</legalAuthenticator>`,
		x(o.Created), assigned("assignedEntity", o.Authenticator, h, false))
	w("%s", o.documentationOf())
	if o.Replaces != "" {
		w(`<relatedDocument typeCode="RPLC"><parentDocument><id %s/></parentDocument></relatedDocument>`, ii(o.Replaces))
	}
	w(`<componentOf><encompassingEncounter><code code="IMP" displayName="Hospitalisation (établissement, y compris HAD)" codeSystem="2.16.840.1.113883.5.4"/>`+
		`<effectiveTime><low value="%s"/></effectiveTime><location><healthCareFacility>%s<code code="%s" displayName="%s" codeSystem="1.2.250.1.71.4.2.4"/>`+
		`<location><name>%s</name>%s</location></healthCareFacility></location></encompassingEncounter></componentOf>`,
		x(o.ServiceStart), houseID(h), h.Facility, x(h.FacilityDisplay), x(h.Name), address(h.Street, h.PostCode, h.City))
	w("%s", o.body())
	b.WriteString("</ClinicalDocument>\n")
	return []byte(b.String())
}

// volet is the third declaration of conformity: the model of the document, or
// IHE XDS-SD and nothing else when the body is not structured.
func (o CDAOptions) volet() string {
	if o.Level != 3 {
		return `<templateId root="1.3.6.1.4.1.19376.1.2.20"/>`
	}
	switch o.Kind {
	case Imaging:
		return `<templateId root="1.2.250.1.213.1.1.1.45" extension="2024.01"/>`
	case Discharge:
		return `<templateId root="1.2.250.1.213.1.1.1.29" extension="2022.01"/>`
	default:
		return `<templateId root="1.3.6.1.4.1.19376.1.3.3"/>` + "\n" + `<templateId root="1.2.250.1.213.1.1.1.55" extension="2024.01"/>`
	}
}

func (o CDAOptions) recordTarget() string {
	p, h := o.Patient, o.Establishment
	var b strings.Builder
	b.WriteString("<recordTarget><patientRole>")
	if p.Matricule != "" && !o.NoINS {
		fmt.Fprintf(&b, `<id root="%s" extension="%s"/>`, x(p.OID), x(p.Matricule))
	}
	if p.IPP != "" && !o.NoIPP {
		fmt.Fprintf(&b, `<id root="%s" extension="%s"/>`, h.IPPOID, x(p.IPP))
	}
	b.WriteString(address(p.Street, p.PostCode, p.City))
	b.WriteString(`<telecom nullFlavor="NASK"/>`)
	given := ""
	if p.GivenNames != "" {
		given = "<given>" + x(p.GivenNames) + "</given>"
	}
	fmt.Fprintf(&b, `<patient classCode="PSN"><name><family qualifier="BR">%s</family>%s<given qualifier="BR">%s</given></name>`,
		x(p.BirthName), given, x(p.FirstGiven))
	sex, display := p.Sex, map[string]string{"F": "Féminin", "M": "Masculin"}[p.Sex]
	if display == "" {
		sex, display = "UN", "Inconnu"
	}
	fmt.Fprintf(&b, `<administrativeGenderCode code="%s" displayName="%s" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="%s"/>`,
		sex, display, strings.ReplaceAll(p.BirthDate, "-", ""))
	if p.BirthPlace != "" {
		fmt.Fprintf(&b, `<birthplace><place><addr><county>%s</county><city>%s</city></addr></place></birthplace>`, x(p.BirthPlace), x(p.BirthCity))
	}
	b.WriteString("</patient></patientRole></recordTarget>")
	return b.String()
}

func (o CDAOptions) author() string {
	if o.Device != "" {
		h := o.Establishment
		return fmt.Sprintf(`<author><time value="%s"/><assignedAuthor><id root="%s" extension="1"/>%s<telecom value="tel:%s" use="WP"/>`+
			`<assignedAuthoringDevice><manufacturerModelName>%s</manufacturerModelName><softwareName>%s</softwareName></assignedAuthoringDevice>%s</assignedAuthor></author>`,
			x(o.Created), h.SourceOID, address(h.Street, h.PostCode, h.City), h.Phone, x(o.Device), x(o.Device), house(h, false))
	}
	return fmt.Sprintf(`<author><time value="%s"/>%s</author>`, x(o.Created), assigned("assignedAuthor", o.Author, o.Establishment, false))
}

func (o CDAOptions) documentationOf() string {
	event := [][2]string{{"18719-5", "Biochimie"}, {"36643-5", "Radiographie thoracique deux incidences"}, {"34133-9", "Episode de soins"}}[o.Kind]
	status := ""
	if o.Kind == Biology && o.Level == 3 {
		status = `<lab:statusCode code="completed"/>`
	}
	return fmt.Sprintf(`<documentationOf><serviceEvent><id root="%s.9" extension="%d"/><code code="%s" displayName="%s" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/>%s`+
		`<effectiveTime><low value="%s"/><high value="%s"/></effectiveTime><performer typeCode="PRF">%s</performer></serviceEvent></documentationOf>`,
		o.Establishment.SourceOID, o.Version, event[0], event[1], status, x(o.ServiceStart), x(o.ServiceStop),
		assigned("assignedEntity", o.Author, o.Establishment, true))
}

// assigned writes a professional acting for a house.
func assigned(element string, p Persona, h Establishment, practice bool) string {
	prefix, suffix := "", ""
	if p.Prefix != "" {
		prefix = "<prefix>" + x(p.Prefix) + "</prefix>"
	}
	if p.Suffix != "" {
		suffix = "<suffix>" + x(p.Suffix) + "</suffix>"
	}
	return fmt.Sprintf(`<%s><id root="1.2.250.1.71.4.2.1" extension="%s"/><code code="%s" displayName="%s" codeSystem="1.2.250.1.213.1.1.4.5"/>%s<telecom value="tel:%s" use="WP"/>`+
		`<assignedPerson><name>%s<given>%s</given><family>%s</family>%s</name></assignedPerson>%s</%s>`,
		element, x(p.NationalID), x(p.Specialty), x(p.SpecialtyDisplay), address(h.Street, h.PostCode, h.City), h.Phone,
		prefix, x(p.Given), x(p.Family), suffix, house(h, practice), element)
}

func house(h Establishment, practice bool) string {
	industry := ""
	if practice {
		industry = fmt.Sprintf(`<standardIndustryClassCode code="%s" displayName="%s" codeSystem="1.2.250.1.213.1.1.4.9"/>`, h.Practice, x(h.PracticeDisplay))
	}
	return fmt.Sprintf(`<representedOrganization>%s<name>%s</name><telecom value="tel:%s" use="WP"/>%s%s</representedOrganization>`,
		houseID(h), x(h.Name), h.Phone, address(h.Street, h.PostCode, h.City), industry)
}

func houseID(h Establishment) string {
	return fmt.Sprintf(`<id root="1.2.250.1.71.4.2.2" extension="1%s"/>`, x(h.FINESSGeo))
}

func address(street, code, city string) string {
	return fmt.Sprintf(`<addr><streetAddressLine>%s</streetAddressLine><postalCode>%s</postalCode><city>%s</city></addr>`, x(street), x(code), x(city))
}

// ii writes root and extension as attributes.
func ii(id string) string {
	root, extension, ok := strings.Cut(id, "^")
	if !ok {
		return fmt.Sprintf(`root="%s"`, x(root))
	}
	return fmt.Sprintf(`root="%s" extension="%s"`, x(root), x(extension))
}

// x escapes text for an element or an attribute.
func x(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
