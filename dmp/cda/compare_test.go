package cda

import (
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

func TestCompare(t *testing.T) {
	doc := load(t, "level1.xml")
	d, err := Read(doc)
	if err != nil {
		t.Fatal(err)
	}
	derived, _ := d.Metadata(doc)
	for _, c := range []struct {
		name string
		edit func(m *dmp.Metadata)
		want string // code severity field, comma-separated
	}{
		{"ok/the same", func(m *dmp.Metadata) {}, ""},
		{"ok/nothing claimed", func(m *dmp.Metadata) { *m = dmp.Metadata{} }, ""},
		{"ok/another display", func(m *dmp.Metadata) { m.Type.Display = "x" }, ""},
		{"ok/system as URI", func(m *dmp.Metadata) { m.Type.System = "http://loinc.org" }, ""},
		{"ok/system not named", func(m *dmp.Metadata) { m.Facility.System = "" }, ""},
		{"ok/another zone", func(m *dmp.Metadata) { m.Created = m.Created.UTC() }, ""},
		{"ok/fraction of a second", func(m *dmp.Metadata) { m.Created = m.Created.Add(time.Millisecond) }, ""},
		{"ok/application/xml", func(m *dmp.Metadata) { m.MimeType = "application/xml" }, ""},
		{"ok/source id is the INS", func(m *dmp.Metadata) {
			m.SourcePatientID = dmp.ID{Root: "1.2.250.1.213.1.4.10", Extension: "284057511234528"}
		}, ""},
		{"ok/author without id", func(m *dmp.Metadata) {
			m.Authors = append([]dmp.Author(nil), m.Authors...)
			m.Authors[0].Person = &dmp.Person{Family: "AUTREMENT"}
		}, ""},
		{"fail/uniqueId", func(m *dmp.Metadata) { m.UniqueID.Root = "1.2" }, "CDA-META-CONTRADICTS error uniqueId"},
		{"fail/matricule", func(m *dmp.Metadata) { m.Patient.Matricule = "187055935012341" }, "INS-MISMATCH error patientId/" + ins.TraitMatricule},
		{"fail/list of given names", func(m *dmp.Metadata) { m.Patient.Traits.GivenNames = "ALICE" }, "INS-TRAIT-DIFFERS warning patientId/" + ins.TraitGivenNames},
		{"fail/type", func(m *dmp.Metadata) { m.Type.Code = "11502-2" }, "CDA-META-CONTRADICTS error typeCode"},
		{"fail/type of another system", func(m *dmp.Metadata) { m.Type.System = dmp.OIDTypeFR }, "CDA-META-CONTRADICTS error typeCode"},
		{"fail/created", func(m *dmp.Metadata) { m.Created = m.Created.Add(time.Hour) }, "CDA-META-CONTRADICTS error creationTime"},
		{"fail/start and stop", func(m *dmp.Metadata) { m.ServiceStart, m.ServiceStop = m.ServiceStop, m.ServiceStart }, "CDA-META-CONTRADICTS error serviceStartTime,CDA-META-CONTRADICTS error serviceStopTime"},
		{"fail/replaced", func(m *dmp.Metadata) { m.Replaces = &dmp.ID{Root: "1.2"} }, "CDA-META-CONTRADICTS error relatesTo"},
		{"fail/hash", func(m *dmp.Metadata) { m.SHA1 = []byte("x") }, "CDA-META-CONTRADICTS error hash"},
		{"fail/size", func(m *dmp.Metadata) { m.Size++ }, "CDA-META-CONTRADICTS error size"},
		{"fail/class", func(m *dmp.Metadata) { m.Class.Code = "11" }, "CDA-META-DIFFERS warning classCode"},
		{"fail/format", func(m *dmp.Metadata) { m.Format.Code = "x" }, "CDA-META-DIFFERS warning formatCode"},
		{"fail/confidentiality", func(m *dmp.Metadata) { m.Confidentiality.Code = "R" }, "CDA-META-DIFFERS warning confidentialityCode"},
		{"fail/facility and setting", func(m *dmp.Metadata) { m.Facility.Code, m.PracticeSetting.Code = "SA02", "HAD" },
			"CDA-META-DIFFERS warning healthcareFacilityTypeCode,CDA-META-DIFFERS warning practiceSettingCode"},
		{"fail/title and language", func(m *dmp.Metadata) { m.Title, m.Language = "x", "en-GB" }, "CDA-META-DIFFERS warning title,CDA-META-DIFFERS warning languageCode"},
		{"fail/mime type", func(m *dmp.Metadata) { m.MimeType = "application/pdf" }, "CDA-META-DIFFERS warning mimeType"},
		{"fail/version", func(m *dmp.Metadata) { m.Version, m.SetID.Root = 9, "1.2" }, "CDA-META-DIFFERS warning setId,CDA-META-DIFFERS warning versionNumber"},
		{"fail/source id", func(m *dmp.Metadata) { m.SourcePatientID.Extension = "AUTRE" }, "CDA-META-DIFFERS warning sourcePatientId"},
		{"fail/one author less", func(m *dmp.Metadata) { m.Authors = m.Authors[:1] }, "CDA-META-DIFFERS warning author"},
		{"fail/legal authenticator", func(m *dmp.Metadata) { m.LegalAuthenticator = &dmp.Person{ID: dmp.ID{Root: "1.2"}} }, "CDA-META-DIFFERS warning legalAuthenticator"},
		{"fail/events", func(m *dmp.Metadata) { m.Events = []dmp.Code{{Code: "x"}} }, "CDA-META-DIFFERS warning eventCodeList"},
	} {
		t.Run(c.name, func(t *testing.T) {
			submitted := derived
			c.edit(&submitted)
			var got []string
			for _, f := range Compare(submitted, derived) {
				got = append(got, f.Code+" "+f.Severity.String()+" "+f.FaultWhere())
			}
			if s := strings.Join(got, ","); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

// TestNoTraitInFindings puts recognisable values in a document with many
// faults, and looks for them in everything that a finding says.
func TestNoTraitInFindings(t *testing.T) {
	const secret = "SECRETISSIME"
	for _, mutant := range []string{
		"text recordTarget/patientRole/patient/name/family " + secret + " ; set recordTarget/patientRole/patient/name/family/@qualifier " + secret,
		"set recordTarget/patientRole/id/@extension " + secret,
		"set recordTarget/patientRole/telecom/@value " + secret,
		"text recordTarget/patientRole/patient/birthplace/place/addr/county " + secret,
		"set recordTarget/patientRole/patient/birthTime/@value " + secret,
		"set effectiveTime/@value " + secret,
		"set code/@code " + secret,
		"text component/nonXMLBody/text *" + secret,
		"sheet https://" + secret + "/x.xsl",
	} {
		doc, err := mutate(load(t, "level1.xml"), mutant)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(doc)
		if err != nil {
			t.Fatal(err)
		}
		_, notes := d.Metadata(doc)
		found := append(d.Verdict().Findings, notes...)
		if len(found) == 0 {
			t.Errorf("%s: nothing found", mutant)
		}
		for _, f := range found {
			if s := f.Error() + f.FaultWhere() + f.FaultCode(); strings.Contains(s, secret) {
				t.Errorf("%s: %s", mutant, s)
			}
		}
	}
	cut := strings.Replace(string(load(t, "level1.xml")), "FICTIF-DURAND</family>", secret+"</nom>", 1)
	if _, err := Read([]byte(cut)); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
}
