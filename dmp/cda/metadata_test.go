package cda

import (
	"crypto/sha1"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

func TestMetadata(t *testing.T) {
	doc := load(t, "level1.xml")
	d, err := Read(doc)
	if err != nil {
		t.Fatal(err)
	}
	m, notes := d.Metadata(doc)
	if len(notes) != 0 {
		t.Errorf("notes: %v", notes)
	}
	sum := sha1.Sum(doc)
	person := dmp.Person{ID: dmp.ID{Root: dmp.OIDPerson, Extension: "899999999901"}, Family: "TESTEUR", Given: "Camille", Prefix: "MME", Suffix: "DR"}
	org := dmp.Organisation{ID: dmp.ID{Root: dmp.OIDOrganisation, Extension: "1999999992"}, Name: "Clinique des Essais"}
	at := func(h, m, s int) time.Time {
		return time.Date(2026, 1, 5, h, m, s, 0, time.FixedZone("", 3600))
	}
	want := dmp.Metadata{
		UniqueID: dmp.ID{Root: "1.2.250.1.999.1.1.100.2"}, SetID: dmp.ID{Root: "1.2.250.1.999.1.1.100"}, Version: 2,
		Type:   dmp.Code{Code: "11488-4", System: dmp.OIDLoinc, Display: "CR ou fiche de consultation ou de visite"},
		Class:  dmp.Code{Code: "10", System: dmp.OIDClass, Display: "Compte rendu"},
		Format: dmp.Code{Code: "urn:ihe:iti:xds-sd:pdf:2008", System: "https://mos.esante.gouv.fr/NOS/TRE_A11-IheFormatCode/FHIR/TRE-A11-IheFormatCode"},
		Title:  "CR de consultation fictive", Language: "fr-FR", MimeType: "text/xml",
		Confidentiality: dmp.Code{Code: "N", System: dmp.OIDConfidentiality, Display: "Normal"},
		Created:         at(9, 30, 0), ServiceStart: at(9, 0, 0), ServiceStop: at(9, 20, 0),
		Authors: []dmp.Author{
			{
				Person: &person, Organisation: org, Role: "Médecin responsable du patient dans la structure de soins", Time: "20260105092500+0100",
				Specialty: dmp.Code{Code: "G15_10/SM26", System: dmp.OIDSpecialty, Display: "Médecin - Qualifié en Médecine Générale (SM)"},
			},
			{
				Device:       &dmp.Device{ID: dmp.ID{Root: "1.2.250.1.999.3.1", Extension: "APPAREIL-1"}, Model: "Analyseur fictif", Name: "Logiciel fictif 1.0"},
				Organisation: org, Time: "20260105092600+0100",
			},
		},
		LegalAuthenticator: &person, Custodian: org,
		Facility:        dmp.Code{Code: "SA01", System: dmp.OIDFacility, Display: "Etablissement public de santé"},
		PracticeSetting: dmp.Code{Code: "ETABLISSEMENT", System: dmp.OIDPracticeSetting, Display: "Etablissement de santé"},
		Events:          []dmp.Code{{Code: "11488-4", System: dmp.OIDLoinc, Display: "Consultation"}},
		Patient: ins.Identity{
			Matricule: "284057511234528", OID: ins.OIDTest, Status: ins.Qualified,
			Traits: ins.Traits{BirthName: "FICTIF-DURAND", FirstGiven: "ALICE", GivenNames: "ALICE JEANNE", BirthDate: "1984-05-12", Sex: "F", BirthPlace: "75112"},
			Local:  []ins.LocalID{{Value: "IPP0001", Authority: "1.2.250.1.999.2.1"}},
		},
		SourcePatientID: dmp.ID{Root: "1.2.250.1.999.2.1", Extension: "IPP0001"},
		Replaces:        &dmp.ID{Root: "1.2.250.1.999.1.1.100.1"},
		SHA1:            sum[:], Size: int64(len(doc)),
	}
	g, _ := json.MarshalIndent(m, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if string(g) != string(w) {
		gl, wl := strings.Split(string(g), "\n"), strings.Split(string(w), "\n")
		for i := range min(len(gl), len(wl)) {
			if gl[i] != wl[i] {
				t.Fatalf("line %d\n got %s\nwant %s", i, gl[i], wl[i])
			}
		}
		t.Fatalf("got %s", g)
	}
}

func TestMetadataOfEdits(t *testing.T) {
	type got = dmp.Metadata
	for _, c := range []struct {
		name, edit, note string
		ok               func(m got) bool
	}{
		{"ok/level 3, template before IHE", "n3: set title/@ID x", "", func(m got) bool {
			return m.Format.Code == "urn:asip:ci-sis:ldl-ses:2017" && m.Class.Code == "11"
		}},
		{"ok/no act", "remove documentationOf", "", func(m got) bool {
			return m.ServiceStart.IsZero() && m.PracticeSetting.Code == "" && len(m.Events) == 0
		}},
		{"ok/the main act is the one with a start", "before documentationOf <documentationOf><serviceEvent><code code=\"Z\"/></serviceEvent></documentationOf>", "", func(m got) bool {
			return !m.ServiceStart.IsZero() && len(m.Events) == 2
		}},
		{"ok/no replacement", "remove relatedDocument", "", func(m got) bool { return m.Replaces == nil }},
		{"ok/a transformation replaces nothing", "set relatedDocument/@typeCode XFRM", "", func(m got) bool { return m.Replaces == nil }},
		{"ok/no local id", "remove recordTarget/patientRole/id[2]", "", func(m got) bool {
			return m.SourcePatientID == dmp.ID{Root: "1.2.250.1.213.1.4.10", Extension: "284057511234528"}
		}},
		{"ok/a NIR under another OID of the arc is neither INS nor local", "set recordTarget/patientRole/id[1]/@root 1.2.250.1.213.1.4.13", "", func(m got) bool {
			return !m.Patient.HasINS() && len(m.Patient.Local) == 1 && m.SourcePatientID.Extension == "IPP0001"
		}},
		{"ok/no INS", "remove recordTarget/patientRole/id[1]", "", func(m got) bool {
			return m.Patient.Status == "" && !m.Patient.HasINS() && m.Patient.Traits.BirthName == "FICTIF-DURAND"
		}},
		{"ok/id with extension", "set id/@extension 7", "", func(m got) bool { return m.UniqueID.String() == "1.2.250.1.999.1.1.100.2^7" }},
		{"ok/sex indeterminate", "set recordTarget/patientRole/patient/administrativeGenderCode/@code UN", "", func(m got) bool {
			return m.Patient.Traits.Sex == "U"
		}},
		{"ok/lunar birth date", "set recordTarget/patientRole/patient/birthTime/@value 19841332", "", func(m got) bool {
			return m.Patient.Traits.BirthDate == "1984-13-32"
		}},
		{"ok/list of given names in several elements", "after recordTarget/patientRole/patient/name/given <given>LOUISE</given>", "", func(m got) bool {
			return m.Patient.Traits.GivenNames == "ALICE JEANNE LOUISE"
		}},
		{"ok/summer time without zone", "set effectiveTime/@value 20260705093000", FaultTimeZone, func(m got) bool {
			return m.Created.UTC().Format(time.RFC3339) == "2026-07-05T07:30:00Z"
		}},
		{"fail/time", "set effectiveTime/@value 2026-01-05", FaultTime, func(m got) bool { return m.Created.IsZero() }},
		{"fail/unknown type", "set code/@code 99999-9", FaultClassUnknown, func(m got) bool { return m.Class.Code == "" }},
		{"fail/unknown media type", "set component/nonXMLBody/text/@mediaType application/dicom", FaultFormatUnknown, func(m got) bool {
			return m.Format.Code == dmp.FormatUnknownModel
		}},
		{"fail/unknown template", "n3: set templateId[4]/@root 1.2.3", FaultFormatUnknown, func(m got) bool {
			return m.Format.Code == dmp.FormatUnknownModel
		}},
		{"fail/format that the DMP does not know", "n3: set templateId[4]/@root 1.2.250.1.213.1.1.1.48", FaultFormatNotDMP, func(m got) bool {
			return m.Format.Code == "urn:asip:ci-sis:dlu-dlu-dom:2022"
		}},
		{"fail/version", "set versionNumber/@value 99999999999", "", func(m got) bool { return m.Version == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, edit := base(t, c.edit)
			doc, err := mutate(doc, edit)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Read(doc)
			if err != nil {
				t.Fatal(err)
			}
			m, notes := d.Metadata(doc)
			if !c.ok(m) {
				t.Errorf("%+v", m)
			}
			var codes []string
			for _, n := range notes {
				codes = append(codes, n.Code)
			}
			if strings.Join(codes, " ") != c.note {
				t.Errorf("notes %v, want %q", codes, c.note)
			}
		})
	}
}

func TestMetadataSelfRendering(t *testing.T) {
	doc := strings.Replace(string(load(t, "level3.xml")), "<ClinicalDocument", `<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><ClinicalDocument`, 1) + "</xsl:stylesheet>"
	d, err := Read([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := d.Metadata([]byte(doc)); m.MimeType != "application/xslt+xml" {
		t.Errorf("mime type %s", m.MimeType)
	}
}

func TestModel(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       Model
		ok         bool
	}{
		{"ok/letter of discharge", "level3.xml", Model{Root: "1.2.250.1.213.1.1.1.29", Name: "LDL-SES", Version: "2022.01"}, true},
		{"fail/not structured", "level1.xml", Model{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Read(load(t, c.file))
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := d.Model(); got != c.want || ok != c.ok {
				t.Errorf("%+v %v", got, ok)
			}
		})
	}
}

func TestVerdictNamesItsRules(t *testing.T) {
	d, err := Read(load(t, "level1.xml"))
	if err != nil {
		t.Fatal(err)
	}
	v := d.Verdict()
	if v.RuleSet != RuleSet || !strings.Contains(RuleSet, RuleSetVersion) || RuleSet != "passerelle-cda "+RuleSetVersion+" "+fingerprint() {
		t.Errorf("rule set %q", v.RuleSet)
	}
}

func TestParseTime(t *testing.T) {
	for _, c := range []struct {
		name, in, want string // RFC 3339 in UTC
		zoned          bool
	}{
		{"ok/seconds and zone", "20210108111700+0100", "2021-01-08T10:17:00Z", true},
		{"ok/minutes and zone", "202101040735+0100", "2021-01-04T06:35:00Z", true},
		{"ok/west", "20210104073500-0330", "2021-01-04T11:05:00Z", true},
		{"ok/fraction", "20210104073500.5+0000", "2021-01-04T07:35:00.5Z", true},
		{"ok/winter in Paris", "20210104073500", "2021-01-04T06:35:00Z", false},
		{"ok/day", "20210704", "2021-07-03T22:00:00Z", false},
		{"ok/month", "202107", "2021-06-30T22:00:00Z", false},
		{"ok/year", "2021", "2020-12-31T23:00:00Z", false},
		{"fail/empty", "", "", false},
		{"fail/five digits", "20211", "", false},
		{"fail/ISO 8601", "2021-01-08T11:17:00Z", "", false},
		{"fail/month 13", "20211301", "", false},
		{"fail/hour 25", "2021010125", "", false},
		{"fail/zone of two digits", "20210108111700+01", "", false},
		{"fail/zone beyond", "20210108111700+2500", "", false},
		{"fail/fraction of minutes", "202101081117.5", "", false},
		{"fail/no fraction", "20210108111700.", "", false},
		{"fail/letters", "2021010811170X", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, zoned, ok := ParseTime(c.in, paris)
			if ok != (c.want != "") || zoned != c.zoned {
				t.Fatalf("ok %v, zoned %v", ok, zoned)
			}
			if ok && got.UTC().Format(time.RFC3339Nano) != c.want {
				t.Errorf("got %s, want %s", got.UTC().Format(time.RFC3339Nano), c.want)
			}
		})
	}
}
