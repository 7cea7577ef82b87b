//go:build !nosandbox

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// samples are messages to send by hand, one file each.
var samples = []struct {
	name    string
	message func(testdata.MessageOptions) []byte
	options testdata.MessageOptions
}{
	{"1-biologie.hl7", testdata.ORU, testdata.MessageOptions{ControlID: "EX-1", Document: testdata.CDAOptions{Level: 3, ID: testdata.DocumentID(1)}}},
	{"2-biologie-remplacement.hl7", testdata.ORU, testdata.MessageOptions{
		ControlID: "EX-2", Action: testdata.Replace, Document: testdata.CDAOptions{Level: 3, ID: testdata.DocumentID(2), Replaces: testdata.DocumentID(1)}}},
	{"3-imagerie.hl7", testdata.MDM, testdata.MessageOptions{ControlID: "EX-3", Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(3)}}},
	{"4-imagerie-suppression.hl7", testdata.MDM, testdata.MessageOptions{
		ControlID: "EX-4", Action: testdata.Delete, Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(3)}}},
	{"5-autre-patient.hl7", testdata.MDM, testdata.MessageOptions{
		ControlID: "EX-5", Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(5), Patient: testdata.PatientByID(testdata.PatientTrois)}}},
	{"6-dmp-ferme.hl7", testdata.MDM, testdata.MessageOptions{
		ControlID: "EX-6", Patient: testdata.PatientByID(testdata.PatientClosed), Document: testdata.CDAOptions{Kind: testdata.Discharge, ID: testdata.DocumentID(6)}}},
	{"7-admission.hl7", func(o testdata.MessageOptions) []byte { return testdata.ADT(testdata.ADTOptions{MessageOptions: o}) }, testdata.MessageOptions{ControlID: "EX-7"}},
	{"8-courriel.hl7", testdata.MDM, testdata.MessageOptions{
		ControlID: "EX-8", Document: testdata.CDAOptions{Kind: testdata.Discharge, ID: testdata.DocumentID(8)},
		Recipients: []testdata.Recipient{
			{Address: testdata.Personas()[0].Mailbox, Persona: testdata.Personas()[0]},
			{Address: testdata.Patients()[0].Matricule + "@patient.mssante.fr", Patient: testdata.Patients()[0]},
		},
		Flags: testdata.Flags{"DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "Y", "ACK_LECTURE_MSS": "Y"}}},
}

// The deposit at the REST door of a patient without INS, who is looked for at INSi.
const (
	traitsSample    = "9-sans-ins.json"
	traitsSamplePDF = "9-sans-ins.pdf"
)

// traitsEnvelope is the envelope of a PDF about a patient as a hospital that did
// not ask INSi knows them.
func traitsEnvelope(patient ins.Identity, document string, flags ...string) ([]byte, error) {
	me := testdata.Personas()[0]
	asked := map[string]bool{}
	for _, f := range flags {
		asked[f] = true
	}
	return json.MarshalIndent(map[string]any{
		"action": "new", "patient": patient, "flags": asked,
		"author": map[string]any{"id": map[string]any{"extension": me.NationalID}, "family": me.Family, "given": me.Given,
			"specialty": map[string]any{"code": me.Specialty, "display": me.SpecialtyDisplay}},
		"document": map[string]any{"id": map[string]any{"root": document}, "created": "2026-01-05T09:15:00+01:00", "title": "Consultation",
			"type": map[string]any{"code": "11488-4", "display": "CR ou fiche de consultation ou de visite"}},
		"act": map[string]any{"start": "2026-01-05T07:30:00+01:00", "class": "O",
			"practice_setting": map[string]any{"code": "ETABLISSEMENT", "display": "Etablissement de santé"},
			"facility":         map[string]any{"code": "SA01", "display": "Etablissement public de santé"}},
	}, "", "  ")
}

// traitsOnly is a patient whose traits were controlled, without INS.
func traitsOnly(p testdata.Patient) ins.Identity {
	return ins.Identity{Status: ins.Validated, Traits: ins.Traits{BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames,
		Sex: p.Sex, BirthDate: p.BirthDate, BirthPlace: p.BirthPlace}}
}

// A document for « submit », and a lot for POST /fhir (ITI-65).
const (
	documentSample = "10-lettre.xml"
	lotSample      = "11-lot-iti65.json"
)

// Letters to drop into the gateway's mailbox: one to be filed, one to be kept for
// a person.
const (
	receivedSample   = "courriel-recu.eml"
	quarantineSample = "courriel-sans-archive.eml"
)

// lot is the ITI-65 bundle of one document, as the software of a hospital makes it.
func lot(o testdata.CDAOptions) ([]byte, error) {
	content := testdata.CDA(o)
	doc, err := cda.Read(content)
	if err != nil {
		return nil, err
	}
	metadata, _ := doc.Metadata(content)
	house, who := testdata.Establishments()[0], testdata.Personas()[0]
	return fhir.BuildITI65(dmp.Deposit{
		Caller: dmp.Caller{
			Establishment: gateway.Establishment{Name: house.Name, FINESSEJ: house.FINESSEJ, FINESSGeo: house.FINESSGeo, SourceOID: house.SourceOID},
			Requester: dmp.Requester{Person: &dmp.Person{
				ID: dmp.ID{Root: dmp.OIDPerson, Extension: who.NationalID}, Family: who.Family, Given: who.Given}},
		},
		LotID: dmp.ID{Root: o.ID + ".1"}, EntryUUID: fhir.EntryUUID(o.ID, 0),
		Submitted: time.Date(2026, time.January, 5, 9, 30, 0, 0, time.UTC), Patient: metadata.Patient,
		ContentType: dmp.Code{Code: "03", System: "1.2.250.1.213.2.2"},
		Documents:   []dmp.DepositDocument{{Metadata: metadata, Content: content}},
	})
}

func writeSamples(dir, gatewayMailbox string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	envelope, err := traitsEnvelope(traitsOnly(testdata.Patients()[0]), testdata.DocumentID(9), "destdmp")
	if err != nil {
		return err
	}
	bundle, err := lot(testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(11)})
	if err != nil {
		return err
	}
	letter := testdata.LetterOptions{
		From: testdata.Personas()[2].Mailbox, To: gatewayMailbox, WantMDN: true,
		Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: testdata.DocumentID(50)},
	}
	bare := letter
	bare.MessageID, bare.Archive = "courrier-2@test-ci-sis.mssante.fr", testdata.ArchiveNone
	files := map[string][]byte{
		traitsSample: envelope, traitsSamplePDF: testdata.PDF("Consultation", []string{"Rien à signaler."}),
		documentSample:   testdata.CDA(testdata.CDAOptions{Kind: testdata.Discharge, ID: testdata.DocumentID(10)}),
		lotSample:        bundle,
		receivedSample:   testdata.Letter(letter),
		quarantineSample: testdata.Letter(bare),
	}
	for _, s := range samples {
		files[s.name] = s.message(s.options)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
