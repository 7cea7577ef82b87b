package cda

import (
	"bytes"
	"slices"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// Compare says where the metadata that a client submitted disagree with those
// that its document gives. What a client does not claim contradicts nothing,
// and displays are never compared. A disagreement on what files or finds the
// document (identifiers, patient, type, dates, digest) is an Error; any other
// is a Warning, and the document has the last word. Each finding names the
// field in XPath, in the words of XDS; never a value.
func Compare(submitted, document dmp.Metadata) []*Finding {
	c := comparison{}
	c.id("uniqueId", submitted.UniqueID, document.UniqueID)
	c.identity(submitted.Patient, document.Patient)
	c.code(FaultMetaContradicts, "typeCode", submitted.Type, document.Type)
	c.time("creationTime", submitted.Created, document.Created)
	c.time("serviceStartTime", submitted.ServiceStart, document.ServiceStart)
	c.time("serviceStopTime", submitted.ServiceStop, document.ServiceStop)
	if submitted.Replaces != nil {
		var replaces dmp.ID
		if document.Replaces != nil {
			replaces = *document.Replaces
		}
		c.id("relatesTo", *submitted.Replaces, replaces)
	}
	c.when(len(submitted.SHA1) > 0 && !bytes.Equal(submitted.SHA1, document.SHA1), FaultMetaContradicts, "hash")
	c.when(submitted.Size > 0 && submitted.Size != document.Size, FaultMetaContradicts, "size")

	c.code(FaultMetaDiffers, "classCode", submitted.Class, document.Class)
	c.code(FaultMetaDiffers, "formatCode", submitted.Format, document.Format)
	c.code(FaultMetaDiffers, "confidentialityCode", submitted.Confidentiality, document.Confidentiality)
	c.code(FaultMetaDiffers, "healthcareFacilityTypeCode", submitted.Facility, document.Facility)
	c.code(FaultMetaDiffers, "practiceSettingCode", submitted.PracticeSetting, document.PracticeSetting)
	c.text("title", submitted.Title, document.Title)
	c.text("languageCode", submitted.Language, document.Language)
	c.when(submitted.MimeType != "" && mime(submitted.MimeType) != mime(document.MimeType), FaultMetaDiffers, "mimeType")
	c.when(!submitted.SetID.Zero() && submitted.SetID != document.SetID, FaultMetaDiffers, "setId")
	c.when(submitted.Version > 0 && submitted.Version != document.Version, FaultMetaDiffers, "versionNumber")
	c.when(!submitted.SourcePatientID.Zero() && !names(document, submitted.SourcePatientID), FaultMetaDiffers, "sourcePatientId")
	c.when(len(submitted.Authors) > 0 && !slices.EqualFunc(submitted.Authors, document.Authors, sameAuthor), FaultMetaDiffers, "author")
	c.when(submitted.LegalAuthenticator != nil && !samePerson(submitted.LegalAuthenticator, document.LegalAuthenticator), FaultMetaDiffers, "legalAuthenticator")
	c.when(len(submitted.Events) > 0 && !slices.EqualFunc(submitted.Events, document.Events, sameCode), FaultMetaDiffers, "eventCodeList")
	return c.found
}

type comparison struct{ found []*Finding }

func (c *comparison) when(differs bool, code, field string) {
	if !differs {
		return
	}
	severity := Warning
	if code == FaultMetaContradicts {
		severity = Error
	}
	c.found = append(c.found, &Finding{Code: code, Severity: severity, XPath: field})
}

func (c *comparison) id(field string, submitted, document dmp.ID) {
	c.when(!submitted.Zero() && submitted != document, FaultMetaContradicts, field)
}

func (c *comparison) code(code, field string, submitted, document dmp.Code) {
	c.when(submitted.Code != "" && !sameCode(submitted, document), code, field)
}

func (c *comparison) text(field, submitted, document string) {
	c.when(submitted != "" && submitted != document, FaultMetaDiffers, field)
}

// time compares to the second, which is what XDS can write.
func (c *comparison) time(field string, submitted, document time.Time) {
	c.when(!submitted.IsZero() && !submitted.Truncate(time.Second).Equal(document.Truncate(time.Second)), FaultMetaContradicts, field)
}

func (c *comparison) identity(submitted, document ins.Identity) {
	for _, d := range ins.CompareOutbound(submitted, document) {
		f := d.Finding()
		severity := Warning
		if f.Severity == ins.Error {
			severity = Error
		}
		c.found = append(c.found, &Finding{Code: f.Code, Severity: severity, XPath: "patientId/" + f.Where})
	}
}

// sameCode compares the code, and the system where both name one, as an OID or
// as its FHIR URI.
func sameCode(a, b dmp.Code) bool {
	return a.Code == b.Code && (a.System == "" || b.System == "" || system(a.System) == system(b.System))
}

func system(s string) string {
	if oid, ok := dmp.SystemOID(s); ok {
		return oid
	}
	return s
}

// mime makes one of the media types that the texts give to a CDA.
func mime(s string) string {
	switch s {
	case "application/xml", "application/hl7-v3+xml":
		return MimeXML
	}
	return s
}

// names tells whether the document gives the patient this identifier.
func names(document dmp.Metadata, id dmp.ID) bool {
	p := document.Patient
	return id.Root == string(p.OID) && id.Extension == p.Matricule ||
		slices.Contains(p.Local, ins.LocalID{Value: id.Extension, Authority: id.Root})
}

func samePerson(a, b *dmp.Person) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID.Zero() || b.ID.Zero() || a.ID == b.ID
}

func sameAuthor(a, b dmp.Author) bool {
	if (a.Device == nil) != (b.Device == nil) || !samePerson(a.Person, b.Person) {
		return false
	}
	return a.Organisation.ID.Zero() || b.Organisation.ID.Zero() || a.Organisation.ID == b.Organisation.ID
}
