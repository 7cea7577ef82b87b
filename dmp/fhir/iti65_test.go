package fhir

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

var patient = ins.Identity{Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified,
	Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-24", Sex: "F", BirthPlace: "51215"}}

func sample() dmp.Deposit {
	author := dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "899700000017"}, Family: "MARTIN", Given: "Claire", Prefix: "DR"}
	org := dmp.Organisation{ID: dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1990000012"}, Name: "CH de Test"}
	created := time.Date(2026, 11, 20, 10, 30, 0, 0, time.FixedZone("", 3600))
	return dmp.Deposit{
		Caller: dmp.Caller{Establishment: dmp.Establishment{FINESSEJ: "990000001", FINESSGeo: "990000012", SourceOID: "1.2.250.1.999.9"},
			Requester: dmp.Requester{Person: &author, Organisation: org}},
		LotID: dmp.ID{Root: "1.2.250.1.999.2.1"}, EntryUUID: "urn:uuid:6b1c5f0e-0000-4000-8000-000000000001",
		Submitted: created.Add(time.Hour), Patient: patient, ContentType: dmp.Code{Code: "03", System: "1.2.250.1.213.2.2"},
		Documents: []dmp.DepositDocument{{
			Content: []byte("<ClinicalDocument/>"),
			Metadata: dmp.Metadata{
				UniqueID: dmp.ID{Root: "1.2.250.1.999.1.2"}, Type: dmp.Code{Code: "11502-2", System: dmp.OIDLoinc}, Class: dmp.Code{Code: "10", System: dmp.OIDClass},
				Format: dmp.Code{Code: "urn:x", System: "http://example.org/format"}, Title: "Titre & <suite>", Language: "fr-FR", MimeType: "text/xml",
				Confidentiality: dmp.Code{Code: "R", System: dmp.OIDConfidentiality}, Visibility: []dmp.Visibility{dmp.HiddenFromProfessionals},
				Created: created, ServiceStart: created.Add(-time.Hour), ServiceStop: created,
				Authors:            []dmp.Author{{Person: &author, Organisation: org, Specialty: dmp.Code{Code: "G15_10/SM03", System: dmp.OIDSpecialty}, Role: "Biologiste"}},
				LegalAuthenticator: &author, Custodian: org, Facility: dmp.Code{Code: "SA01", System: dmp.OIDFacility},
				PracticeSetting: dmp.Code{Code: "ETABLISSEMENT", System: dmp.OIDPracticeSetting}, Events: []dmp.Code{{Code: "HGHB001", System: "1.2.250.1.213.2.5"}},
				Patient: patient, SourcePatientID: dmp.ID{Root: "1.2.250.1.999.1", Extension: "IPP42"}, Replaces: &dmp.ID{Root: "1.2.250.1.999.1.1"},
			},
			ReplacesID: "old-id",
		}},
	}
}

func TestBuildITI65(t *testing.T) {
	raw, err := BuildITI65(sample())
	if err != nil {
		t.Fatal(err)
	}
	again, err := BuildITI65(sample())
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("the same deposit gave other bytes, %v", err)
	}
	root, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	entries := root.Get("entry").Items()
	if len(entries) != 4 {
		t.Fatalf("%d entries", len(entries))
	}
	// at follows names, and an index written as a digit.
	at := func(entry int, path string) string {
		n := entries[entry]
		for _, name := range strings.Split(path, ".") {
			if len(name) == 1 && name[0] >= '0' && name[0] <= '9' {
				items := n.Items()
				if int(name[0]-'0') >= len(items) {
					return "absent"
				}
				n = items[name[0]-'0']
			} else {
				n = n.Get(name)
			}
		}
		if n.Is(String) {
			return n.Text()
		}
		return string(n.Raw())
	}
	sum := sha1.Sum([]byte("<ClinicalDocument/>"))
	const list, doc, patch, bin = 0, 1, 2, 3
	for _, c := range []struct {
		entry      int
		path, want string
	}{
		{list, "resource.meta.profile.0", ProfileSubmissionSet},
		{list, "resource.identifier.0.use", "usual"},
		{list, "resource.identifier.0.value", "urn:oid:1.2.250.1.999.2.1"},
		{list, "resource.identifier.1.value", "urn:uuid:6b1c5f0e-0000-4000-8000-000000000001"},
		{list, "resource.status", "current"},
		{list, "resource.mode", "working"},
		{list, "resource.code.coding.0.code", "submissionset"},
		{list, "resource.date", "2026-11-20T11:30:00+01:00"},
		{list, "resource.extension.0.valueCodeableConcept.coding.0.code", "03"},
		{list, "resource.extension.1.valueIdentifier.value", "urn:oid:1.2.250.1.999.9"},
		{list, "resource.source.reference", "#source"},
		{list, "resource.source.extension.0.url", ExtAuthorOrg},
		{list, "resource.source.extension.0.valueReference.reference", "#structure"},
		{list, "resource.subject.reference", "Patient?identifier=urn:oid:1.2.250.1.213.1.4.10|279035121518989"},
		{list, "request.url", "List"},
		{doc, "resource.meta.profile.0", ProfileDocumentReference},
		{doc, "resource.masterIdentifier.use", "usual"},
		{doc, "resource.masterIdentifier.system", "urn:ietf:rfc:3986"},
		{doc, "resource.masterIdentifier.value", "urn:oid:1.2.250.1.999.1.2"},
		{doc, "resource.identifier.0.use", "official"},
		{doc, "resource.identifier.0.value", EntryUUID("urn:uuid:6b1c5f0e-0000-4000-8000-000000000001", 0)},
		{doc, "resource.type.coding.0.system", "http://loinc.org"},
		{doc, "resource.category.0.coding.0.system", "https://mos.esante.gouv.fr/NOS/TRE_A03-ClasseDocument/FHIR/TRE-A03-ClasseDocument"},
		{doc, "resource.date", "2026-11-20T10:30:00+01:00"},
		{doc, "resource.author.0.reference", "#auteur-1"},
		{doc, "resource.authenticator.reference", "#responsable"},
		{doc, "resource.custodian.identifier.value", "1990000012"},
		{doc, "resource.custodian.identifier.system", SystemStructure},
		{doc, "resource.securityLabel.0.coding.0.code", "R"},
		{doc, "resource.securityLabel.0.coding.0.system", SystemConfidentiality},
		{doc, "resource.securityLabel.1.coding.0.code", "MASQUE_PS"},
		{doc, "resource.securityLabel.1.coding.0.system", SystemVisibility},
		{doc, "resource.content.0.attachment.hash", base64.StdEncoding.EncodeToString(sum[:])},
		{doc, "resource.content.0.attachment.size", "19"},
		{doc, "resource.content.0.attachment.title", "Titre & <suite>"},
		{doc, "resource.content.0.attachment.language", "fr-FR"},
		{doc, "resource.content.0.attachment.creation", "2026-11-20T10:30:00+01:00"},
		{doc, "resource.content.0.format.code", "urn:x"},
		{doc, "resource.context.period.start", "2026-11-20T09:30:00+01:00"},
		{doc, "resource.context.period.end", "2026-11-20T10:30:00+01:00"},
		{doc, "resource.context.facilityType.coding.0.code", "SA01"},
		{doc, "resource.context.practiceSetting.coding.0.code", "ETABLISSEMENT"},
		{doc, "resource.context.event.0.coding.0.code", "HGHB001"},
		{doc, "resource.context.sourcePatientInfo.reference", "#patient"},
		{doc, "resource.relatesTo.0.code", "replaces"},
		{doc, "resource.relatesTo.0.target.reference", "DocumentReference/old-id"},
		{doc, "resource.relatesTo.0.target.identifier.value", "urn:oid:1.2.250.1.999.1.1"},
		{patch, "request.method", "PATCH"},
		{patch, "request.url", "DocumentReference/old-id"},
		{patch, "resource.parameter.0.part.1.valueString", "DocumentReference.status"},
		{patch, "resource.parameter.0.part.2.valueCode", "superseded"},
		{bin, "resource.contentType", "text/xml"},
		{bin, "resource.data", base64.StdEncoding.EncodeToString([]byte("<ClinicalDocument/>"))},
		{bin, "request.url", "Binary"},
	} {
		if got := at(c.entry, c.path); got != c.want {
			t.Errorf("entry %d %s\n got %s\nwant %s", c.entry, c.path, got, c.want)
		}
	}
	if at(doc, "resource.content.0.attachment.url") != at(bin, "fullUrl") || at(list, "resource.entry.0.item.reference") != at(doc, "fullUrl") {
		t.Error("the entries are not linked")
	}
	if !bytes.Contains(raw, []byte("Titre & <suite>")) {
		t.Error("& and < were escaped")
	}
	// Each contained resource is referred to (dom-3), each reference leads somewhere.
	for _, e := range entries[:2] {
		text := string(e.Get("resource").Raw())
		for _, c := range e.Get("resource", "contained").Items() {
			if !strings.Contains(text, `"#`+c.Get("id").Text()+`"`) {
				t.Errorf("nothing refers to contained %s", c.Get("id").Text())
			}
		}
		if strings.Count(text, `"reference":"#`) != len(e.Get("resource", "contained").Items()) {
			t.Errorf("references and contained resources differ in %s", text)
		}
	}
}

func TestAuthors(t *testing.T) {
	for _, c := range []struct {
		name   string
		author dmp.Author
		want   []string // types of contained resources, the author's last
	}{
		{"ok/professional", dmp.Author{Person: &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: "8"}}}, []string{"Practitioner", "PractitionerRole"}},
		{"ok/professional in a structure", dmp.Author{Person: &dmp.Person{}, Organisation: dmp.Organisation{Name: "CH"}}, []string{"Organization", "Practitioner", "PractitionerRole"}},
		{"ok/patient", dmp.Author{Person: &dmp.Person{ID: dmp.ID{Root: string(ins.OIDTest), Extension: "279035121518989"}}}, []string{"Patient"}},
		{"ok/device", dmp.Author{Device: &dmp.Device{ID: dmp.ID{Root: "1.2.3"}, Model: "LGC", Name: "Éditeur"}}, []string{"Device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := sample()
			d.Documents[0].Metadata.Authors = []dmp.Author{c.author}
			raw, err := BuildITI65(d)
			if err != nil {
				t.Fatal(err)
			}
			root, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range root.Get("entry").Items()[1].Get("resource", "contained").Items() {
				if strings.HasPrefix(r.Get("id").Text(), "auteur-1") {
					got = append(got, r.Get("resourceType").Text())
				}
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRefusedDeposits(t *testing.T) {
	meta := func(f func(*dmp.Metadata)) func(*dmp.Deposit) {
		return func(d *dmp.Deposit) { f(&d.Documents[0].Metadata) }
	}
	for _, c := range []struct {
		name   string
		change func(*dmp.Deposit)
		code   string
	}{
		{"fail/uniqueId with extension", meta(func(m *dmp.Metadata) { m.UniqueID.Extension = "1" }), FaultIDExtension},
		{"fail/lot with extension", func(d *dmp.Deposit) { d.LotID.Extension = "1" }, FaultIDExtension},
		{"fail/no lot id", func(d *dmp.Deposit) { d.LotID = dmp.ID{} }, FaultIncomplete},
		{"fail/no entryUUID", func(d *dmp.Deposit) { d.EntryUUID = "" }, FaultIncomplete},
		{"fail/no matricule", func(d *dmp.Deposit) { d.Patient.Matricule = "" }, FaultIncomplete},
		{"fail/no source", func(d *dmp.Deposit) { d.Caller.Establishment.SourceOID = "" }, FaultIncomplete},
		{"fail/no requester", func(d *dmp.Deposit) { d.Caller.Requester = dmp.Requester{} }, FaultIncomplete},
		{"fail/no document", func(d *dmp.Deposit) { d.Documents = nil }, FaultIncomplete},
		{"fail/no content", func(d *dmp.Deposit) { d.Documents[0].Content = nil }, FaultIncomplete},
		{"fail/no type", meta(func(m *dmp.Metadata) { m.Type = dmp.Code{} }), FaultIncomplete},
		{"fail/no date", meta(func(m *dmp.Metadata) { m.Created = time.Time{} }), FaultIncomplete},
		{"fail/no author", meta(func(m *dmp.Metadata) { m.Authors = nil }), FaultIncomplete},
		{"fail/author who is nobody", meta(func(m *dmp.Metadata) { m.Authors = []dmp.Author{{}} }), FaultIncomplete},
		{"fail/no service start", meta(func(m *dmp.Metadata) { m.ServiceStart = time.Time{} }), FaultIncomplete},
		{"fail/hash of other bytes", meta(func(m *dmp.Metadata) { m.SHA1 = make([]byte, 20) }), FaultInconsistent},
		{"fail/size of other bytes", meta(func(m *dmp.Metadata) { m.Size = 1 }), FaultInconsistent},
		{"fail/document of another patient", meta(func(m *dmp.Metadata) { m.Patient.Matricule = "160017500100115" }), FaultInconsistent},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := sample()
			c.change(&d)
			_, err := BuildITI65(d)
			var e *Error
			if !errors.As(err, &e) || e.FaultCode() != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if strings.Contains(err.Error(), patient.Matricule) {
				t.Errorf("a matricule in %v", err)
			}
		})
	}
}

func TestPatientView(t *testing.T) {
	for date, want := range map[string]string{
		"1979-03-24": "1979-03-24", "1979-00-00": "1979", "1979-03-00": "1979-03", "1979-31-12": "1979", "1979-02-30": "1979-02", "1979": "1979", "": "", "x": "",
	} {
		who := patient
		who.Traits.BirthDate = date
		if got := PatientView("p", who, dmp.ID{}).BirthDate; got != want {
			t.Errorf("%q became %q, want %q", date, got, want)
		}
	}
	for sex, want := range map[string]string{"M": "male", "F": "female", "U": "unknown", "": ""} {
		who := patient
		who.Traits.Sex = sex
		if got := PatientView("p", who, dmp.ID{}).Gender; got != want {
			t.Errorf("%q became %q, want %q", sex, got, want)
		}
	}
	p := PatientView("p", patient, dmp.ID{Root: string(patient.OID), Extension: patient.Matricule})
	if len(p.Identifier) != 1 {
		t.Errorf("the INS stands twice: %+v", p.Identifier)
	}
	if oid, m := Matricule(p.Identifier); oid != patient.OID || m != patient.Matricule {
		t.Errorf("%s %s", oid, m)
	}
}

// TestMatricule: a billing number was taken for an INS, and a NIA was written as
// if it were for ever (found by the review of issue 2).
func TestMatricule(t *testing.T) {
	const nir, nia, billing = "279035121518989", "810000000000101", "179035121518969"
	id := func(kind, use string, oid ins.OID, value string) Identifier {
		one := Identifier{Use: use, System: OIDPrefix + string(oid), Value: value}
		if kind != "" {
			one.Type = &CodeableConcept{Coding: []Coding{{System: systemIdentifierType, Code: kind}}}
		}
		return one
	}
	text := id("", "official", ins.OIDNIR, billing)
	text.Type = &CodeableConcept{Text: "NIR de facturation"}
	for name, c := range map[string]struct {
		given []Identifier
		oid   ins.OID
		want  string
	}{
		"ok/INS-NIR":                     {[]Identifier{id("INS-NIR", "official", ins.OIDNIR, nir)}, ins.OIDNIR, nir},
		"ok/INS-NIA":                     {[]Identifier{id("INS-NIA", "temp", ins.OIDNIA, nia)}, ins.OIDNIA, nia},
		"ok/no type":                     {[]Identifier{id("", "", ins.OIDTest, nir)}, ins.OIDTest, nir},
		"ok/billing first":               {[]Identifier{id("NH", "official", ins.OIDNIR, billing), id("INS-NIR", "official", ins.OIDNIR, nir)}, ins.OIDNIR, nir},
		"ok/former first":                {[]Identifier{id("INS-NIA", "old", ins.OIDNIA, nia), id("INS-NIR", "official", ins.OIDNIR, nir)}, ins.OIDNIR, nir},
		"ok/NIR before NIA":              {[]Identifier{id("INS-NIA", "temp", ins.OIDNIA, nia), id("INS-NIR", "official", ins.OIDNIR, nir)}, ins.OIDNIR, nir},
		"fail/billing only":              {[]Identifier{id("NH", "official", ins.OIDNIR, billing)}, "", ""},
		"fail/type in words":             {[]Identifier{text}, "", ""},
		"fail/type of another authority": {[]Identifier{id("INS-NIA", "temp", ins.OIDNIR, nir)}, "", ""},
		"fail/two":                       {[]Identifier{id("INS-NIR", "official", ins.OIDNIR, nir), id("INS-NIR", "official", ins.OIDNIR, billing)}, "", ""},
		"fail/none":                      {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if oid, m := Matricule(c.given); oid != c.oid || m != c.want {
				t.Errorf("got %q of %q", m, oid)
			}
		})
	}
	for oid, want := range map[ins.OID]Identifier{
		ins.OIDNIR: id("INS-NIR", "official", ins.OIDNIR, nir), ins.OIDNIA: id("INS-NIA", "temp", ins.OIDNIA, nir),
		ins.OIDTest: id("INS-NIR-TEST", "official", ins.OIDTest, nir), ins.OIDDemo: id("INS-NIR-DEMO", "official", ins.OIDDemo, nir),
	} {
		p := PatientView("p", ins.Identity{Matricule: nir, OID: oid}, dmp.ID{})
		if len(p.Identifier) != 1 || !reflect.DeepEqual(p.Identifier[0], want) {
			t.Errorf("%s: %+v", oid, p.Identifier)
		}
	}
}

// TestRefusalText keeps foreign text out of our errors.
func TestRefusalText(t *testing.T) {
	for in, want := range map[string]bool{
		"DMPClosed": true, "XDSDuplicateUniqueIdInRegistry": true, "STORE-NO-DMP": true,
		"279035121518989": false, "a b": false, "": false, strings.Repeat("a", 65): false, "2790-3512-1518-989": false, "2-7.9-0-3-5-1-2-1-5-1-8-9": false,
	} {
		if isWord(in) != want {
			t.Errorf("%q: %v", in, !want)
		}
	}
	if isPath("Patient.identifier[279035121518989]") || !isPath("Bundle.entry[12].resource.content[0]") {
		t.Error("paths")
	}
}
