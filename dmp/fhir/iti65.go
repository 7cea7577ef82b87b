package fhir

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// BuildITI65 writes the transaction that hands a lot over: its SubmissionSet,
// one DocumentReference and one Binary for each document, and for each
// replacement the patch that supersedes the replaced document. The same
// deposit gives the same bytes.
func BuildITI65(d dmp.Deposit) ([]byte, error) {
	if err := checkDeposit(d); err != nil {
		return nil, err
	}
	b := &bundleBuilder{deposit: d}
	set, err := b.submissionSet()
	if err != nil {
		return nil, err
	}
	entries := []Entry{set}
	var patches, binaries []Entry
	for i, doc := range d.Documents {
		entry, err := b.documentReference(i)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
		if doc.ReplacesID != "" {
			patch, err := b.patch(i)
			if err != nil {
				return nil, err
			}
			patches = append(patches, patch)
		}
		binary, err := Marshal(Binary{ResourceType: "Binary", ContentType: doc.Metadata.MimeType,
			Data: base64.StdEncoding.EncodeToString(doc.Content)})
		if err != nil {
			return nil, err
		}
		binaries = append(binaries, Entry{FullURL: b.name("binary", i), Resource: binary,
			Request: &Request{Method: "POST", URL: "Binary"}})
	}
	return Marshal(Bundle{
		ResourceType: "Bundle",
		Meta:         &Meta{Profile: []string{ProfileProvideBundle}},
		Type:         "transaction",
		Entry:        append(append(entries, patches...), binaries...),
	})
}

// EntryUUID is the entryUUID that BuildITI65 gives to document i of a lot.
func EntryUUID(lot string, i int) string { return nameUUID(lot, fmt.Sprintf("entry/%d", i)) }

// checkDeposit refuses what no DMP could take, before anything leaves.
func checkDeposit(d dmp.Deposit) error {
	missing := func(where string) error { return &Error{code: FaultIncomplete, where: where} }
	switch {
	case d.LotID.Root == "":
		return missing("List.identifier")
	case d.LotID.Extension != "":
		return &Error{code: FaultIDExtension, where: "List.identifier"}
	case !strings.HasPrefix(d.EntryUUID, "urn:uuid:"):
		return missing("List.identifier")
	case d.Submitted.IsZero():
		return missing("List.date")
	case d.Patient.Matricule == "" || d.Patient.OID == "":
		return missing("List.subject")
	case d.Caller.Establishment.SourceOID == "":
		return missing("List.extension('" + ExtSourceID + "')")
	case d.ContentType.Code == "":
		return missing("List.extension('" + ExtDesignationType + "')")
	case d.Caller.Requester.Person == nil && d.Caller.Requester.Device == nil:
		return missing("List.source")
	case len(d.Documents) == 0:
		return missing("List.entry")
	}
	for i, doc := range d.Documents {
		m := doc.Metadata
		at := func(element string) string {
			return fmt.Sprintf("Bundle.entry[%d].resource.%s", i+1, element)
		}
		if m.UniqueID.Extension != "" {
			return &Error{code: FaultIDExtension, where: at("masterIdentifier")}
		}
		for _, need := range []struct {
			absent  bool
			element string
		}{
			{m.UniqueID.Root == "", "masterIdentifier"},
			{m.Type.Code == "", "type"},
			{m.Class.Code == "", "category"},
			{m.Created.IsZero(), "date"},
			{len(m.Authors) == 0, "author"},
			{m.Custodian.ID.Zero() && m.Custodian.Name == "", "custodian"},
			{m.Confidentiality.Code == "", "securityLabel"},
			{m.MimeType == "", "content.attachment.contentType"},
			{m.Language == "", "content.attachment.language"},
			{m.Title == "", "content.attachment.title"},
			{m.Format.Code == "", "content.format"},
			{m.ServiceStart.IsZero(), "context.period.start"},
			{m.Facility.Code == "", "context.facilityType"},
			{m.PracticeSetting.Code == "", "context.practiceSetting"},
			{len(doc.Content) == 0, "content.attachment"},
		} {
			if need.absent {
				return missing(at(need.element))
			}
		}
		sum := sha1.Sum(doc.Content)
		if len(m.SHA1) > 0 && !bytes.Equal(m.SHA1, sum[:]) {
			return &Error{code: FaultInconsistent, where: at("content.attachment.hash")}
		}
		if m.Size != 0 && m.Size != int64(len(doc.Content)) {
			return &Error{code: FaultInconsistent, where: at("content.attachment.size")}
		}
		if m.Patient.Matricule != "" && (m.Patient.Matricule != d.Patient.Matricule || m.Patient.OID != d.Patient.OID) {
			return &Error{code: FaultInconsistent, where: at("subject")}
		}
		for _, a := range m.Authors {
			if (a.Person == nil) == (a.Device == nil) {
				return missing(at("author"))
			}
		}
	}
	return nil
}

// bundleBuilder holds what the entries of one lot share.
type bundleBuilder struct{ deposit dmp.Deposit }

// name is the fullUrl of an entry: derived, so that it is the same on a resend.
func (b *bundleBuilder) name(kind string, i int) string {
	return nameUUID(b.deposit.EntryUUID, fmt.Sprintf("%s/%d", kind, i))
}

func (b *bundleBuilder) subject() *Reference {
	p := b.deposit.Patient
	return &Reference{Reference: "Patient?identifier=" + OIDPrefix + string(p.OID) + "|" + p.Matricule}
}

func (b *bundleBuilder) submissionSet() (Entry, error) {
	d := b.deposit
	var c container
	source := c.requester("source", d.Caller.Requester)
	if org := d.Caller.Requester.Organisation; !org.ID.Zero() || org.Name != "" {
		ref := c.organisation("structure", org)
		source.Extension = []Extension{{URL: ExtAuthorOrg, ValueReference: ref}}
	}
	list := List{
		ResourceType: "List",
		Meta:         &Meta{Profile: []string{ProfileSubmissionSet}},
		Extension: []Extension{
			{URL: ExtDesignationType, ValueCodeableConcept: concept(d.ContentType)},
			{URL: ExtSourceID, ValueIdentifier: &Identifier{System: SystemURN, Value: OIDPrefix + d.Caller.Establishment.SourceOID}},
		},
		Identifier: []Identifier{
			{Use: "usual", System: SystemURN, Value: OIDPrefix + d.LotID.Root},
			{Use: "official", System: SystemURN, Value: d.EntryUUID},
		},
		Status:  "current",
		Mode:    "working",
		Code:    &CodeableConcept{Coding: []Coding{{System: SystemListTypes, Code: "submissionset"}}},
		Subject: b.subject(),
		Date:    instant(d.Submitted),
		Source:  source,
	}
	for i := range d.Documents {
		list.Entry = append(list.Entry, ListEntry{Item: Reference{Reference: b.name("document", i)}})
	}
	list.Contained = c.resources
	raw, err := c.marshal(list)
	return Entry{FullURL: b.name("lot", 0), Resource: raw, Request: &Request{Method: "POST", URL: "List"}}, err
}

func (b *bundleBuilder) documentReference(i int) (Entry, error) {
	doc := b.deposit.Documents[i]
	m := doc.Metadata
	sum := sha1.Sum(doc.Content)
	var c container
	r := DocumentReference{
		ResourceType: "DocumentReference",
		Meta:         &Meta{Profile: []string{ProfileDocumentReference}},
		MasterIdentifier: &Identifier{
			Use: "usual", System: SystemURN, Value: OIDPrefix + m.UniqueID.Root,
		},
		Identifier: []Identifier{{Use: "official", System: SystemURN, Value: EntryUUID(b.deposit.EntryUUID, i)}},
		Status:     "current",
		Type:       concept(m.Type),
		Category:   []CodeableConcept{*concept(m.Class)},
		Subject:    b.subject(),
		Date:       instant(m.Created),
		Custodian:  custodian(m.Custodian),
		Content: []Content{{
			Attachment: Attachment{
				ContentType: m.MimeType,
				Language:    m.Language,
				URL:         b.name("binary", i),
				Size:        int64(len(doc.Content)),
				Hash:        base64.StdEncoding.EncodeToString(sum[:]),
				Title:       m.Title,
				Creation:    instant(m.Created),
			},
			Format: &Coding{System: m.Format.System, Code: m.Format.Code, Display: m.Format.Display},
		}},
		Context: &Context{
			Period:          &Period{Start: instant(m.ServiceStart)},
			FacilityType:    concept(m.Facility),
			PracticeSetting: concept(m.PracticeSetting),
		},
	}
	if !m.ServiceStop.IsZero() {
		r.Context.Period.End = instant(m.ServiceStop)
	}
	for _, event := range m.Events {
		r.Context.Event = append(r.Context.Event, *concept(event))
	}
	r.SecurityLabel = append(r.SecurityLabel, *confidentiality(m.Confidentiality))
	for _, v := range m.Visibility {
		r.SecurityLabel = append(r.SecurityLabel, CodeableConcept{Coding: []Coding{{System: SystemVisibility, Code: string(v)}}})
	}
	for k, author := range m.Authors {
		r.Author = append(r.Author, *c.author(fmt.Sprintf("auteur-%d", k+1), author))
	}
	if m.LegalAuthenticator != nil {
		r.Authenticator = c.person("responsable", *m.LegalAuthenticator)
	}
	patient := m.Patient
	if patient.Matricule == "" {
		patient.Matricule, patient.OID = b.deposit.Patient.Matricule, b.deposit.Patient.OID
	}
	r.Context.SourcePatientInfo = c.add("patient", PatientView("patient", patient, m.SourcePatientID))
	if doc.ReplacesID != "" {
		target := Reference{Reference: "DocumentReference/" + doc.ReplacesID}
		if m.Replaces != nil && m.Replaces.Extension == "" {
			target.Identifier = &Identifier{System: SystemURN, Value: OIDPrefix + m.Replaces.Root}
		}
		r.RelatesTo = []RelatesTo{{Code: "replaces", Target: target}}
	}
	r.Contained = c.resources
	raw, err := c.marshal(r)
	return Entry{FullURL: b.name("document", i), Resource: raw, Request: &Request{Method: "POST", URL: "DocumentReference"}}, err
}

func (b *bundleBuilder) patch(i int) (Entry, error) {
	raw, err := Marshal(Parameters{ResourceType: "Parameters", Parameter: []Parameter{{
		Name: "operation",
		Part: []Parameter{
			{Name: "type", ValueCode: "replace"},
			{Name: "path", ValueString: "DocumentReference.status"},
			{Name: "value", ValueCode: "superseded"},
		},
	}}})
	return Entry{FullURL: b.name("patch", i), Resource: raw,
		Request: &Request{Method: "PATCH", URL: "DocumentReference/" + b.deposit.Documents[i].ReplacesID}}, err
}

// container collects contained resources and the first error in writing them.
type container struct {
	resources []json.RawMessage
	err       error
}

func (c *container) add(id string, view any) *Reference {
	raw, err := Marshal(view)
	c.err = errors.Join(c.err, err)
	c.resources = append(c.resources, raw)
	return &Reference{Reference: "#" + id}
}

func (c *container) marshal(view any) ([]byte, error) {
	raw, err := Marshal(view)
	return raw, errors.Join(c.err, err)
}

func (c *container) organisation(id string, o dmp.Organisation) *Reference {
	return c.add(id, Organization{ResourceType: "Organization", ID: id, Identifier: identifier(o.ID, "IDNST"), Name: o.Name})
}

func (c *container) person(id string, p dmp.Person) *Reference {
	return c.add(id, Practitioner{ResourceType: "Practitioner", ID: id, Identifier: identifier(p.ID, "IDNPS"), Name: names(p)})
}

func (c *container) device(id string, d dmp.Device, owner *Reference) *Reference {
	r := DeviceResource{ResourceType: "Device", ID: id, Identifier: identifier(d.ID, ""), Owner: owner}
	if d.Model != "" {
		r.DeviceName = append(r.DeviceName, DeviceName{Name: d.Model, Type: "model-name"})
	}
	if d.Name != "" {
		r.DeviceName = append(r.DeviceName, DeviceName{Name: d.Name, Type: "manufacturer-name"})
	}
	return c.add(id, r)
}

// author writes one author; a person whose identifier is an INS is the patient.
func (c *container) author(id string, a dmp.Author) *Reference {
	var structure *Reference
	if !a.Organisation.ID.Zero() || a.Organisation.Name != "" {
		structure = c.organisation(id+"-structure", a.Organisation)
	}
	if a.Device != nil {
		return c.device(id, *a.Device, structure)
	}
	if isINS(a.Person.ID) {
		return c.add(id, Patient{ResourceType: "Patient", ID: id, Identifier: identifier(a.Person.ID, ""), Name: names(*a.Person)})
	}
	role := PractitionerRole{ResourceType: "PractitionerRole", ID: id, Organization: structure}
	role.Practitioner = c.person(id+"-ps", *a.Person)
	if a.Specialty.Code != "" {
		role.Specialty = []CodeableConcept{*concept(a.Specialty)}
	}
	if a.Role != "" {
		role.Code = []CodeableConcept{{Text: a.Role}}
	}
	return c.add(id, role)
}

func (c *container) requester(id string, r dmp.Requester) *Reference {
	if r.Person != nil {
		role := PractitionerRole{ResourceType: "PractitionerRole", ID: id}
		role.Practitioner = c.person(id+"-ps", *r.Person)
		return c.add(id, role)
	}
	return c.device(id, *r.Device, nil)
}

func custodian(o dmp.Organisation) *Reference {
	ref := &Reference{Display: o.Name}
	if ids := identifier(o.ID, "IDNST"); ids != nil {
		ref.Identifier = &ids[0]
	}
	return ref
}

// identifier writes an HL7 II; an identifier without extension is the OID itself.
func identifier(id dmp.ID, kind string) []Identifier {
	if id.Zero() {
		return nil
	}
	out := Identifier{System: OIDPrefix + id.Root, Value: id.Extension}
	if id.Extension == "" {
		out = Identifier{System: SystemURN, Value: OIDPrefix + id.Root}
	}
	if kind != "" {
		out.Type = &CodeableConcept{Coding: []Coding{{System: systemIdentifierType, Code: kind}}}
	}
	return []Identifier{out}
}

func names(p dmp.Person) []HumanName {
	n := HumanName{Family: p.Family}
	for _, part := range []struct {
		to   *[]string
		text string
	}{{&n.Given, p.Given}, {&n.Prefix, p.Prefix}, {&n.Suffix, p.Suffix}} {
		if part.text != "" {
			*part.to = []string{part.text}
		}
	}
	if n.Family == "" && n.Given == nil {
		return nil
	}
	return []HumanName{n}
}

func concept(c dmp.Code) *CodeableConcept {
	return &CodeableConcept{Coding: []Coding{{System: systemURI(c.System), Code: c.Code, Display: c.Display}}}
}

// confidentiality is N, R or V of HL7, whichever national alias was written.
func confidentiality(c dmp.Code) *CodeableConcept {
	return &CodeableConcept{Coding: []Coding{{System: SystemConfidentiality, Code: c.Code}}}
}

func systemURI(oid string) string {
	if uri, ok := dmp.SystemURI(oid); ok {
		return uri
	}
	if oid == "" || strings.Contains(oid, ":") {
		return oid
	}
	return OIDPrefix + oid
}

func instant(t time.Time) string { return t.Format("2006-01-02T15:04:05.999Z07:00") }

// nameUUID derives a UUID from another and a name (RFC 9562, version 5).
func nameUUID(space, name string) string {
	h := sha1.New()
	if raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(space, "urn:uuid:"), "-", "")); err == nil && len(raw) == 16 {
		h.Write(raw)
	} else {
		h.Write([]byte(space))
	}
	h.Write([]byte(name))
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
