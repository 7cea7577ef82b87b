package xdm

import (
	"cmp"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
)

// The schemes of ebRIM 3.0 metadata (ITI TF-3).
const (
	nodeSubmissionSet = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
	setAuthor         = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
	setContentType    = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
	setPatientID      = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
	setUniqueID       = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
	setSourceID       = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"

	typeStable   = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
	docAuthor    = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
	docClass     = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
	docConf      = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
	docEvent     = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
	docFormat    = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
	docFacility  = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
	docPractice  = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
	docType      = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
	docPatientID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
	docUniqueID  = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

	hasMember = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
	replaces  = "urn:ihe:iti:2007:AssociationType:RPLC"
	approved  = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"

	rimObject = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"

	oidVisibility = "1.2.250.1.213.1.1.4.13"
	actionSlot    = "action"
)

// rim writes ebRIM elements. Ids of the parts that nobody refers to are
// numbered, so that the same input gives the same bytes.
type rim struct {
	b    strings.Builder
	next int
}

func (w *rim) raw(s string) { w.b.WriteString(s) }

func (w *rim) esc(s string) string {
	var b strings.Builder
	// A strings.Builder never fails. Characters that XML cannot hold become U+FFFD.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (w *rim) id() string {
	w.next++
	return fmt.Sprintf("id-%03d", w.next)
}

func (w *rim) slot(name string, values ...string) {
	open := false
	for _, v := range values {
		if v == "" {
			continue
		}
		if !open {
			w.raw(`<rim:Slot name="` + name + `"><rim:ValueList>`)
			open = true
		}
		w.raw(`<rim:Value>` + w.esc(v) + `</rim:Value>`)
	}
	if open {
		w.raw("</rim:ValueList></rim:Slot>\n")
	}
}

func (w *rim) label(element, value string) {
	if value == "" {
		return
	}
	w.raw(`<rim:` + element + `><rim:LocalizedString xml:lang="fr-FR" charset="UTF-8" value="` + w.esc(value) + `"/></rim:` + element + ">")
}

func (w *rim) open(scheme, object, representation string) {
	w.raw(`<rim:Classification id="` + w.id() + `" objectType="` + rimObject + `Classification" classificationScheme="` + scheme +
		`" classifiedObject="` + w.esc(object) + `" nodeRepresentation="` + w.esc(representation) + `">`)
}

func (w *rim) code(scheme, object string, c dmp.Code) {
	if c.Code == "" {
		return
	}
	w.open(scheme, object, c.Code)
	w.slot("codingScheme", c.System)
	w.label("Name", c.Display)
	w.raw("</rim:Classification>\n")
}

func (w *rim) author(scheme, object, person string, org dmp.Organisation, role string, specialty dmp.Code) {
	w.open(scheme, object, "")
	w.slot("authorPerson", person)
	if org.Name != "" || !org.ID.Zero() {
		w.slot("authorInstitution", xon(org))
	}
	w.slot("authorRole", role)
	if specialty.Code != "" {
		w.slot("authorSpecialty", ce(specialty))
	}
	w.raw("</rim:Classification>\n")
}

func (w *rim) external(scheme, object, value, name string) {
	w.raw(`<rim:ExternalIdentifier id="` + w.id() + `" objectType="` + rimObject + `ExternalIdentifier" identificationScheme="` + scheme +
		`" registryObject="` + w.esc(object) + `" value="` + w.esc(value) + `">`)
	w.label("Name", name)
	w.raw("</rim:ExternalIdentifier>\n")
}

func (w *rim) association(kind, source, target, slot, value string) {
	w.raw(`<rim:Association id="` + w.id() + `" objectType="` + rimObject + `Association" associationType="` + kind +
		`" sourceObject="` + w.esc(source) + `" targetObject="` + w.esc(target) + `">`)
	w.slot(slot, value)
	w.raw("</rim:Association>\n")
}

func metadata(entries []Entry, lot Lot) []byte {
	set := lot.EntryUUID
	if set == "" {
		set = EntryUUID(lot.UniqueID)
	}
	w := &rim{}
	w.raw(xml.Header)
	w.raw(`<lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0" xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">` + "\n<rim:RegistryObjectList>\n")
	for i := range entries {
		w.document(documentName(i), &entries[i])
	}
	w.set(set, lot, entries[0].Metadata)
	w.raw(`<rim:Classification id="` + w.id() + `" objectType="` + rimObject + `Classification" classificationNode="` + nodeSubmissionSet +
		`" classifiedObject="` + w.esc(set) + "\"/>\n")
	for _, e := range entries {
		entry := EntryUUID(e.Metadata.UniqueID)
		w.association(hasMember, set, entry, "SubmissionSetStatus", "Original")
		if e.Action == dmp.Replace {
			w.association(replaces, entry, EntryUUID(*e.Metadata.Replaces), "", "")
		}
	}
	w.raw("</rim:RegistryObjectList>\n</lcm:SubmitObjectsRequest>\n")
	return []byte(w.b.String())
}

func patientID(m dmp.Metadata) string {
	if m.Patient.Matricule != "" {
		return cxINS(m.Patient)
	}
	return cxLocal(m.SourcePatientID)
}

func (w *rim) set(id string, lot Lot, first dmp.Metadata) {
	w.raw(`<rim:RegistryPackage id="` + w.esc(id) + `" objectType="` + rimObject + `RegistryPackage" status="` + approved + "\">\n")
	var to []string
	for _, r := range lot.Recipients {
		to = append(to, "||^^Internet^"+escaper.Replace(r))
	}
	w.slot("submissionTime", writeDTM(lot.Submitted))
	w.slot("intendedRecipient", to...)
	w.label("Name", lot.Title)
	w.label("Description", lot.Comments)
	if s := lot.Sender; s != nil {
		person := ""
		switch {
		case s.Person != nil:
			person = xcn(*s.Person)
		case s.Device != nil:
			person = xcnDevice(*s.Device)
		}
		w.author(setAuthor, id, person, s.Organisation, "", dmp.Code{})
	}
	w.code(setContentType, id, lot.ContentType)
	w.external(setPatientID, id, patientID(first), "XDSSubmissionSet.patientId")
	w.external(setUniqueID, id, lot.UniqueID.String(), "XDSSubmissionSet.uniqueId")
	w.external(setSourceID, id, lot.SourceID, "XDSSubmissionSet.sourceId")
	w.raw("</rim:RegistryPackage>\n")
}

func (w *rim) document(name string, e *Entry) {
	m := &e.Metadata
	id := EntryUUID(m.UniqueID)
	w.raw(`<rim:ExtrinsicObject id="` + id + `" objectType="` + typeStable + `" mimeType="` + w.esc(m.MimeType) + `" status="` + approved + "\">\n")
	switch e.Action {
	case dmp.Replace:
		w.slot(actionSlot, "C")
	case dmp.Delete:
		w.slot(actionSlot, "D")
	}
	if !m.Created.IsZero() {
		w.slot("creationTime", writeDTM(m.Created))
	}
	w.slot("hash", hex.EncodeToString(m.SHA1))
	w.slot("languageCode", m.Language)
	if m.LegalAuthenticator != nil {
		w.slot("legalAuthenticator", xcn(*m.LegalAuthenticator))
	}
	if !m.ServiceStart.IsZero() {
		w.slot("serviceStartTime", writeDTM(m.ServiceStart))
	}
	if !m.ServiceStop.IsZero() {
		w.slot("serviceStopTime", writeDTM(m.ServiceStop))
	}
	w.slot("size", strconv.FormatInt(m.Size, 10))
	source := patientID(*m)
	if m.SourcePatientID.Extension != "" {
		source = cxLocal(m.SourcePatientID)
	}
	w.slot("sourcePatientId", source)
	w.slot("sourcePatientInfo", patientInfo(m.Patient.Traits)...)
	w.slot("URI", name)
	w.label("Name", m.Title)
	for _, a := range m.Authors {
		person := ""
		switch {
		case a.Person != nil:
			person = xcn(*a.Person)
		case a.Device != nil:
			person = xcnDevice(*a.Device)
		}
		w.author(docAuthor, id, person, a.Organisation, a.Role, a.Specialty)
	}
	w.code(docClass, id, m.Class)
	w.code(docConf, id, m.Confidentiality)
	for _, v := range m.Visibility {
		w.code(docConf, id, dmp.Code{Code: string(v), System: oidVisibility, Display: visibilityNames[v]})
	}
	for _, c := range m.Events {
		w.code(docEvent, id, c)
	}
	format := m.Format
	format.System = formatOID(format.System)
	format.Display = cmp.Or(format.Display, format.Code) // ITI TF-3 4.2.3.1.2: a code has a name
	w.code(docFormat, id, format)
	w.code(docFacility, id, m.Facility)
	w.code(docPractice, id, m.PracticeSetting)
	w.code(docType, id, m.Type)
	w.external(docPatientID, id, patientID(*m), "XDSDocumentEntry.patientId")
	w.external(docUniqueID, id, m.UniqueID.String(), "XDSDocumentEntry.uniqueId")
	w.raw("</rim:ExtrinsicObject>\n")
}

var visibilityNames = map[dmp.Visibility]string{
	dmp.HiddenFromProfessionals:   "Masqué aux professionnels de santé",
	dmp.HiddenFromPatient:         "Non visible par le patient",
	dmp.HiddenFromRepresentatives: "Non visible par les représentants légaux du patient",
}
