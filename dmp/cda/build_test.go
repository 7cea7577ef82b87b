package cda

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// smallPDF is the least that begins and ends as a PDF does.
var smallPDF = []byte("%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer\n<</Root 1 0 R>>\nstartxref\n0\n%%EOF\n")

// buildInput is the envelope of testdata/envelope.json, with a PDF.
func buildInput(t testing.TB) BuildInput {
	t.Helper()
	var in BuildInput
	dec := json.NewDecoder(bytes.NewReader(load(t, "envelope.json")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		t.Fatal(err)
	}
	in.PDF = smallPDF
	return in
}

func TestBuild(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*BuildInput)
		code string // empty: built
		rule string // of the first finding
	}{
		{"ok/envelope", func(*BuildInput) {}, "", ""},
		{"ok/no INS between professionals", func(in *BuildInput) {
			in.To, in.Patient.Identity = ins.ToProfessional, in.Patient.WithoutINS()
		}, "", ""},
		{"ok/device alone", func(in *BuildInput) {
			in.Signatory, in.Authors = &in.Authors[0], nil
			in.Device = &BuildDevice{Device: dmp.Device{ID: dmp.ID{Root: "1.2.250.1.999.3.1", Extension: "A1"}, Model: "Modèle", Name: "Logiciel"}}
			in.Device.Organisation = in.Signatory.Organisation
		}, "", ""},
		{"ok/new version", func(in *BuildInput) {
			*in = in.Replacing(dmp.Metadata{UniqueID: dmp.ID{Root: "1.2.250.1.999.1.1.300.1"}, SetID: dmp.ID{Root: "1.2.250.1.999.1.1.300"}, Version: 1})
		}, "", ""},
		{"ok/markup in every text", func(in *BuildInput) {
			in.Title, in.Authors[0].Family, in.Custodian.Name = `a<b & "c"`, "D'ORSAY <br/>", "]]>"
		}, "", ""},
		{"ok/nothing optional", func(in *BuildInput) {
			in.Recipients, in.Orders, in.Encounter.Code, in.Act.Code, in.Act.Stop = nil, nil, dmp.Code{}, dmp.Code{}, time.Time{}
			in.Encounter.Start, in.Encounter.Stop = time.Time{}, time.Time{}
			in.Authors[0].Telecoms, in.Authors[0].Address, in.Patient.Telecoms, in.Patient.Address = nil, BuildAddress{}, nil, BuildAddress{}
		}, "", ""},
		{"fail/matricule not qualified", func(in *BuildInput) { in.Patient.Status = ins.Validated }, ins.FaultNotQualified, ""},
		{"fail/matricule of a doubtful identity", func(in *BuildInput) { in.Patient.Attributes = []string{"DOUT"} }, ins.FaultNotQualified, ""},
		{"fail/matricule without traits, to a professional", func(in *BuildInput) {
			in.To, in.Patient.Traits.BirthPlace = ins.ToProfessional, ""
		}, ins.FaultIncomplete, ""},
		{"fail/no INS to the DMP", func(in *BuildInput) { in.Patient.Identity = in.Patient.WithoutINS() }, ins.FaultAbsent, ""},
		{"fail/no destination", func(in *BuildInput) { in.To = "" }, ins.FaultDestination, ""},
		{"fail/HTML", func(in *BuildInput) { in.PDF = []byte("<!DOCTYPE html><html><body>%PDF-1.4 startxref</body></html>") }, FaultNotPDF, ""},
		{"fail/no PDF", func(in *BuildInput) { in.PDF = nil }, FaultNotPDF, ""},
		{"fail/cut PDF", func(in *BuildInput) { in.PDF = smallPDF[:40] }, FaultNotPDF, ""},
		{"fail/PNG", func(in *BuildInput) { in.PDF = []byte("\x89PNG\r\n\x1a\n startxref") }, FaultNotPDF, ""},
		{"fail/no id", func(in *BuildInput) { in.ID = dmp.ID{} }, FaultNoID, "B01"},
		{"fail/no type", func(in *BuildInput) { in.Type = dmp.Code{} }, FaultNoType, "B02"},
		{"fail/unknown type", func(in *BuildInput) { in.Type.Code = "99999-9"; in.Type.System = dmp.OIDLoinc }, FaultTypeUnknown, "T09"},
		{"fail/no author", func(in *BuildInput) { in.Signatory, in.Authors = &in.Authors[0], nil }, FaultSchema, "S-ClinicalDocument"},
		{"fail/author without specialty system", func(in *BuildInput) { in.Authors[0].Specialty = dmp.Code{Code: "G15_99"} }, FaultStructure, ""},
		{"fail/civility as a title", func(in *BuildInput) { in.Authors[0].Prefix = "DR" }, FaultValueSet, "P10"},
		{"fail/no practice setting", func(in *BuildInput) { in.Act.PracticeSetting = dmp.Code{} }, FaultStructure, "E09"},
		{"fail/no date of the act", func(in *BuildInput) { in.Act.Start = time.Time{} }, FaultStructure, "E03"},
		{"fail/no facility", func(in *BuildInput) { in.Encounter.Facility = dmp.Code{} }, FaultStructure, "E35"},
		{"fail/confidentiality", func(in *BuildInput) { in.Confidentiality.Code = "X" }, FaultStructure, "T12"},
		{"fail/replaces itself", func(in *BuildInput) { in.Replaces, in.SetID, in.Version = &in.ID, in.ID, 2 }, FaultStructure, "E22"},
		{"fail/replaces without version", func(in *BuildInput) { in.Replaces = &dmp.ID{Root: "1.2.3"} }, FaultNoSetID, "T16"},
		{"fail/replaces as version 1", func(in *BuildInput) { in.Replaces, in.SetID, in.Version = &dmp.ID{Root: "1.2.3"}, in.ID, 1 }, FaultVersion, ""},
		{"fail/language with a control character", func(in *BuildInput) { in.Language = "fr\x00FR" }, FaultStructure, "T15"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := buildInput(t)
			c.edit(&in)
			out, err := Build(in)
			if c.code != "" {
				var f interface{ FaultCode() string }
				if !errors.As(err, &f) || f.FaultCode() != c.code {
					t.Fatalf("got %v, want %s", err, c.code)
				}
				var refused *Refused
				if errors.As(err, &refused) && c.rule != "" && refused.Findings[0].Rule != c.rule {
					t.Errorf("first rule %s, want %s", refused.Findings[0].Rule, c.rule)
				}
				if m := in.Patient.Matricule; m != "" && strings.Contains(err.Error(), m) {
					t.Error("the error tells the matricule")
				}
				return
			}
			if err != nil {
				var refused *Refused
				if errors.As(err, &refused) {
					for _, f := range refused.Findings {
						t.Log(f)
					}
				}
				t.Fatal(err)
			}
			d, err := Read(out)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range d.Verdict().Findings {
				if f.Rule != "C01" && f.Rule != "I06" && f.Rule != "I01" { // our PDF is no PDF/A, our INS is of test
					t.Errorf("finding %v", f)
				}
			}
			if pdf, err := d.Body.File.Bytes(); err != nil || !bytes.Equal(pdf, in.PDF) {
				t.Errorf("the PDF came out otherwise: %v", err)
			}
			again, err := Build(in)
			if err != nil || !bytes.Equal(out, again) {
				t.Error("built twice, it differs")
			}
		})
	}
}

// TestBuildMetadata proves that what goes in is what the one derivation finds.
func TestBuildMetadata(t *testing.T) {
	in := buildInput(t)
	first, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	previous := metadataOf(t, first)
	if previous.Version != 1 || previous.SetID != in.ID || previous.Replaces != nil {
		t.Errorf("first version: %d of %v", previous.Version, previous.SetID)
	}
	next := in.Replacing(previous)
	next.ID = dmp.ID{Root: in.ID.Root + ".2"}
	second, err := Build(next)
	if err != nil {
		t.Fatal(err)
	}
	m := metadataOf(t, second)
	if m.Version != 2 || m.SetID != previous.SetID || m.Replaces == nil || *m.Replaces != previous.UniqueID {
		t.Errorf("second version: %d of %v replaces %v", m.Version, m.SetID, m.Replaces)
	}
	for what, same := range map[string]bool{
		"id":              m.UniqueID == next.ID,
		"type":            m.Type.Code == in.Type.Code && m.Type.System == dmp.OIDLoinc,
		"title":           m.Title == in.Title,
		"created":         m.Created.Equal(in.Created),
		"start":           m.ServiceStart.Equal(in.Act.Start),
		"stop":            m.ServiceStop.Equal(in.Act.Stop),
		"traits":          m.Patient.Traits == in.Patient.Traits,
		"matricule":       m.Patient.Matricule == in.Patient.Matricule && m.Patient.OID == in.Patient.OID,
		"local":           len(m.Patient.Local) == 1 && m.Patient.Local[0] == in.Patient.Local[0],
		"author":          m.Authors[0].Person.Family == in.Authors[0].Family && m.Authors[0].Person.ID.Root == dmp.OIDPerson,
		"structure":       m.Authors[0].Organisation.Name == in.Authors[0].Organisation.Name,
		"signatory":       m.LegalAuthenticator.ID.Extension == in.Authors[0].ID.Extension,
		"custodian":       m.Custodian.ID.Extension == in.Authors[0].Organisation.ID.Extension,
		"practice":        m.PracticeSetting.Code == in.Act.PracticeSetting.Code && m.PracticeSetting.System == dmp.OIDPracticeSetting,
		"facility":        m.Facility.Code == in.Encounter.Facility.Code && m.Facility.System == dmp.OIDFacility,
		"confidentiality": m.Confidentiality.Code == "N",
		"format":          m.Format.Code == "urn:ihe:iti:xds-sd:pdf:2008",
		"language":        m.Language == "fr-FR",
	} {
		if !same {
			t.Errorf("%s came out otherwise", what)
		}
	}
}

func metadataOf(t testing.TB, doc []byte) dmp.Metadata {
	t.Helper()
	d, err := Read(doc)
	if err != nil {
		t.Fatal(err)
	}
	m, notes := d.Metadata(doc)
	if len(notes) != 0 {
		t.Errorf("notes of the derivation: %v", notes)
	}
	return m
}
