package xdm

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/antchfx/xmlquery"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

var submitted = time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC)

func patient() ins.Identity {
	return ins.Identity{
		Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified,
		Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE",
			BirthDate: "1979-03-05", Sex: "F", BirthPlace: "51215"},
	}
}

func document(extension string) dmp.Metadata {
	return dmp.Metadata{
		UniqueID: dmp.ID{Root: "1.2.250.1.999.1", Extension: extension},
		Type:     dmp.Code{Code: "11488-4", System: "2.16.840.1.113883.6.1", Display: "CR de consultation"},
		Class:    dmp.Code{Code: "10", System: "1.2.250.1.213.1.1.4.1", Display: "Compte rendu"},
		Format: dmp.Code{Code: "urn:ihe:iti:xds-sd:pdf:2008", Display: "PDF",
			System: "https://mos.esante.gouv.fr/NOS/TRE_A11-IheFormatCode/FHIR/TRE-A11-IheFormatCode"},
		Title: `CR d'examen "A" & <B>`, Language: "fr-FR", MimeType: "text/xml",
		Confidentiality: dmp.Code{Code: "N", System: "2.16.840.1.113883.5.25", Display: "Normal"},
		Visibility:      []dmp.Visibility{dmp.HiddenFromRepresentatives},
		Created:         time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		ServiceStart:    time.Date(2026, 2, 28, 9, 0, 0, 0, time.UTC),
		ServiceStop:     time.Date(2026, 2, 28, 10, 0, 0, 0, time.UTC),
		Authors: []dmp.Author{
			{
				Person:       &dmp.Person{ID: dmp.ID{Root: oidPersons, Extension: "810000000001"}, Family: "MOREL", Given: "LEA", Prefix: "MME", Suffix: "DR"},
				Organisation: dmp.Organisation{ID: dmp.ID{Root: oidOrgs, Extension: "1990000001"}, Name: "CH EXEMPLE & FILS"},
				Specialty:    dmp.Code{Code: "G15_10/SM26", System: "1.2.250.1.213.1.1.4.5", Display: "Médecine générale"},
				Role:         "Médecin traitant",
			},
			{
				Device:       &dmp.Device{ID: dmp.ID{Root: "1.2.250.1.999.9", Extension: "77"}, Model: "Modèle", Name: "Automate"},
				Organisation: dmp.Organisation{ID: dmp.ID{Root: oidOrgs, Extension: "1990000001"}},
			},
		},
		LegalAuthenticator: &dmp.Person{ID: dmp.ID{Root: oidPersons, Extension: "810000000001"}, Family: "MOREL", Given: "LEA"},
		Facility:           dmp.Code{Code: "SA01", System: "1.2.250.1.71.4.2.4", Display: "Hôpital"},
		PracticeSetting:    dmp.Code{Code: "ETABLISSEMENT", System: "1.2.250.1.213.1.1.4.9", Display: "Établissement"},
		Events:             []dmp.Code{{Code: "E1", System: "1.2.3"}, {Code: "E2", System: "1.2.3", Display: "Acte"}},
		Patient:            patient(),
		SourcePatientID:    dmp.ID{Root: "1.2.250.1.999.2", Extension: "IPP0042"},
	}
}

func lot() Lot {
	return Lot{
		UniqueID: dmp.ID{Root: "1.2.250.1.999.3.77"}, SourceID: "1.2.250.1.999.4", Submitted: submitted,
		ContentType: dmp.Code{Code: "03", System: "1.2.250.1.213.2.2", Display: "Hospitalisation complète"},
		Patient:     patient(),
		Sender: &dmp.Requester{
			Person:       &dmp.Person{ID: dmp.ID{Root: oidPersons, Extension: "810000000002"}, Family: "NOEL", Given: "PAUL"},
			Organisation: dmp.Organisation{ID: dmp.ID{Root: oidOrgs, Extension: "1990000001"}, Name: "CH EXEMPLE"},
		},
		Recipients:  []string{"lea.morel@exemple.mssante.fr"},
		Institution: "CH Exemple", Contact: "DSI", Product: Product{Name: "Passerelle", Version: "1"},
	}
}

func entry(extension string, action dmp.Action) Entry {
	e := Entry{Metadata: document(extension), Content: []byte("<ClinicalDocument>" + extension + "</ClinicalDocument>"), Action: action}
	if action == dmp.Replace {
		e.Metadata.Replaces = &dmp.ID{Root: "1.2.250.1.999.1", Extension: "old"}
	}
	return e
}

func mustPack(t testing.TB, entries []Entry, l Lot) []byte {
	t.Helper()
	data, err := Pack(entries, l)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantFault(t *testing.T, err error, code, where string) {
	t.Helper()
	var e interface {
		FaultCode() string
		FaultWhere() string
	}
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.FaultCode() != code || e.FaultWhere() != where {
		t.Fatalf("got %s at %q, want %s at %q", e.FaultCode(), e.FaultWhere(), code, where)
	}
}

func TestRoundTrip(t *testing.T) {
	entries := []Entry{entry("a", dmp.New), entry("b", dmp.Replace), entry("c", dmp.Delete)}
	data := mustPack(t, entries, lot())
	got, err := Unpack(data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) != 0 {
		t.Errorf("warnings: %v", got.Warnings)
	}
	for i, d := range got.Documents {
		want := entries[i].Metadata
		sum := sha1.Sum(entries[i].Content)
		want.SHA1, want.Size = sum[:], int64(len(entries[i].Content))
		// What ebRIM has no place for.
		want.Replaces, want.Patient.Status, want.Patient.Traits.BirthPlace = nil, "", ""
		if !reflect.DeepEqual(d.Metadata, want) {
			t.Errorf("document %d:\n got %+v\nwant %+v", i, d.Metadata, want)
		}
		if !bytes.Equal(d.Content, entries[i].Content) || d.Action != entries[i].Action {
			t.Errorf("document %d: content or action %q", i, d.Action)
		}
		if d.EntryUUID != EntryUUID(want.UniqueID) || d.Name != fmt.Sprintf("IHE_XDM/SUBSET01/DOC%05d.XML", i+1) {
			t.Errorf("document %d: %s %s", i, d.EntryUUID, d.Name)
		}
	}
	l := got.Lots[0]
	if l.UniqueID != lot().UniqueID || l.SourceID != lot().SourceID || !l.Submitted.Equal(submitted) ||
		l.ContentType != lot().ContentType || !slices.Equal(l.Recipients, lot().Recipients) || !reflect.DeepEqual(l.Sender, lot().Sender) {
		t.Errorf("lot: %+v", l)
	}
	if got.Patient.Matricule != patient().Matricule || got.Patient.OID != patient().OID || got.Patient.Status != "" {
		t.Errorf("patient: %+v", got.Patient)
	}
}

func TestPackIsDeterministic(t *testing.T) {
	entries := []Entry{entry("a", dmp.New), entry("b", dmp.Replace)}
	if a, b := mustPack(t, entries, lot()), mustPack(t, entries, lot()); !bytes.Equal(a, b) {
		t.Error("the same lot gives other bytes")
	}
	if entries[0].Metadata.SHA1 != nil {
		t.Error("Pack wrote into its input")
	}
}

func TestLayout(t *testing.T) {
	data := mustPack(t, []Entry{entry("a", dmp.New), entry("b", dmp.New)}, lot())
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	iso := regexp.MustCompile(`^[A-Z0-9_]{1,8}(\.[A-Z]{3})?$`)
	for _, f := range z.File {
		names = append(names, f.Name)
		for part := range strings.SplitSeq(f.Name, "/") {
			if !iso.MatchString(part) {
				t.Errorf("not an ISO 9660 level 1 name: %s", part)
			}
		}
		if !f.Modified.Equal(submitted) {
			t.Errorf("%s: time %v", f.Name, f.Modified)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f.Name, "DATA.XML") && bytes.Contains(content, []byte("PAT-TROIS")) {
			t.Errorf("%s names the patient", f.Name)
		}
	}
	want := []string{"INDEX.HTM", "README.TXT", "IHE_XDM/SUBSET01/METADATA.XML", "IHE_XDM/SUBSET01/DOC00001.XML", "IHE_XDM/SUBSET01/DOC00002.XML"}
	if !slices.Equal(names, want) {
		t.Errorf("entries %q", names)
	}
}

// The metadata are read here by XPath, not by our own reader.
func TestMetadataXML(t *testing.T) {
	e := entry("new", dmp.Replace)
	e.Metadata.Format.Display = "" // as it comes of a CDA
	prepared := e
	if err := prepare(&prepared, lot(), "x"); err != nil {
		t.Fatal(err)
	}
	root, err := xmlquery.Parse(bytes.NewReader(metadata([]Entry{prepared}, lot())))
	if err != nil {
		t.Fatal(err)
	}
	value := func(path string) string {
		n := xmlquery.FindOne(root, path)
		if n == nil {
			return "(none)"
		}
		return n.InnerText()
	}
	slot := func(name string) string {
		return value(`//rim:ExtrinsicObject/rim:Slot[@name="` + name + `"]//rim:Value`)
	}
	const doc = "//rim:ExtrinsicObject"
	sum := sha1.Sum(e.Content)
	for name, c := range map[string][2]string{
		"ok/objectType":  {value(doc + "/@objectType"), typeStable},
		"ok/mimeType":    {value(doc + "/@mimeType"), "text/xml"},
		"ok/action":      {slot("action"), "C"},
		"ok/hash":        {slot("hash"), hex.EncodeToString(sum[:])},
		"ok/size":        {slot("size"), fmt.Sprint(len(e.Content))},
		"ok/URI":         {slot("URI"), "DOC00001.XML"},
		"ok/creation":    {slot("creationTime"), "20260301100000"},
		"ok/legal":       {slot("legalAuthenticator"), "810000000001^MOREL^LEA^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"},
		"ok/patientId":   {value(doc + `/rim:ExternalIdentifier[@identificationScheme="` + docPatientID + `"]/@value`), "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"},
		"ok/source":      {slot("sourcePatientId"), "IPP0042^^^&1.2.250.1.999.2&ISO^PI"},
		"ok/info":        {slot("sourcePatientInfo"), "PID-5|PAT-TROIS^DOMINIQUE^DOMINIQUE MARIE-LOUISE^^^^L"},
		"ok/uniqueId":    {value(doc + `/rim:ExternalIdentifier[@identificationScheme="` + docUniqueID + `"]/@value`), "1.2.250.1.999.1^new"},
		"ok/institution": {value(doc + `/rim:Classification[1]/rim:Slot[@name="authorInstitution"]//rim:Value`), `CH EXEMPLE \T\ FILS^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1990000001`},
		"ok/visibility":  {value(doc + `/rim:Classification[@classificationScheme="` + docConf + `"][2]/@nodeRepresentation`), "INVISIBLE_REPRESENTANTS_LEGAUX"},
		"ok/format":      {value(doc + `/rim:Classification[@classificationScheme="` + docFormat + `"]//rim:Value`), "1.3.6.1.4.1.19376.1.2.3"},
		"ok/set mark":    {value(`//rim:RegistryObjectList/rim:Classification/@classificationNode`), nodeSubmissionSet},
		"ok/set time":    {value(`//rim:RegistryPackage/rim:Slot[@name="submissionTime"]//rim:Value`), "20260304050608"},
		// Found by the audit of issue 3, 2026-11-22: validators refuse a code without a name.
		"ok/format name": {value(doc + `/rim:Classification[@classificationScheme="` + docFormat + `"]/rim:Name/rim:LocalizedString/@value`), "urn:ihe:iti:xds-sd:pdf:2008"},
		"ok/member":      {value(`//rim:Association[@associationType="` + hasMember + `"]/@targetObject`), EntryUUID(e.Metadata.UniqueID)},
		"ok/replaced":    {value(`//rim:Association[@associationType="` + replaces + `"]/@targetObject`), EntryUUID(*e.Metadata.Replaces)},
	} {
		t.Run(name, func(t *testing.T) {
			if c[0] != c[1] {
				t.Errorf("got %q, want %q", c[0], c[1])
			}
		})
	}
}

func TestPackWithoutINS(t *testing.T) {
	e, l := entry("a", dmp.New), lot()
	e.Metadata.Patient, l.Patient = e.Metadata.Patient.WithoutINS(), l.Patient.WithoutINS()
	got, err := Unpack(mustPack(t, []Entry{e}, l), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got.PatientID != "IPP0042^^^&1.2.250.1.999.2&ISO^PI" || got.Patient.Matricule != "" {
		t.Errorf("patientId %q", got.PatientID)
	}
}

func TestPackRefuses(t *testing.T) {
	cases := []struct {
		name, code, where string
		spoil             func(e *Entry, l *Lot)
	}{
		{"fail/lot without id", FaultLot, "uniqueId", func(_ *Entry, l *Lot) { l.UniqueID = dmp.ID{} }},
		{"fail/lot without source", FaultLot, "sourceId", func(_ *Entry, l *Lot) { l.SourceID = "" }},
		{"fail/lot without time", FaultLot, "submissionTime", func(_ *Entry, l *Lot) { l.Submitted = time.Time{} }},
		{"fail/identity not qualified", ins.FaultNotQualified, ins.TraitStatus, func(_ *Entry, l *Lot) { l.Patient.Status = ins.Validated }},
		{"fail/other patient", FaultPatient, "document[1]/patientId", func(e *Entry, _ *Lot) { e.Metadata.Patient.Matricule = "146026322000196" }},
		{"fail/matricule hidden in the document", FaultPatient, "document[1]/patientId", func(_ *Entry, l *Lot) { l.Patient = l.Patient.WithoutINS() }},
		{"fail/no identifier at all", FaultDocument, "document[1]/sourcePatientId", func(e *Entry, l *Lot) {
			e.Metadata.Patient, l.Patient = e.Metadata.Patient.WithoutINS(), l.Patient.WithoutINS()
			e.Metadata.SourcePatientID = dmp.ID{}
		}},
		{"fail/empty document", FaultDocument, "document[1]", func(e *Entry, _ *Lot) { e.Content = nil }},
		{"fail/no uniqueId", FaultDocument, "document[1]/uniqueId", func(e *Entry, _ *Lot) { e.Metadata.UniqueID = dmp.ID{} }},
		{"fail/no type", FaultDocument, "document[1]/typeCode", func(e *Entry, _ *Lot) { e.Metadata.Type = dmp.Code{} }},
		{"fail/hash of another", FaultDigest, "document[1]/hash", func(e *Entry, _ *Lot) { e.Metadata.SHA1 = make([]byte, 20) }},
		{"fail/size of another", FaultDigest, "document[1]/size", func(e *Entry, _ *Lot) { e.Metadata.Size = 7 }},
		{"fail/replaces nothing", FaultTarget, "document[1]", func(e *Entry, _ *Lot) { e.Action = dmp.Replace }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e, l := entry("a", dmp.New), lot()
			c.spoil(&e, &l)
			_, err := Pack([]Entry{e}, l)
			wantFault(t, err, c.code, c.where)
		})
	}
	t.Run("fail/nothing to pack", func(t *testing.T) {
		_, err := Pack(nil, lot())
		wantFault(t, err, FaultLot, "documents")
	})
}

// The tools of the issue: unzip and xmllint accept what we write.
func TestForeignTools(t *testing.T) {
	for _, tool := range []string{"unzip", "xmllint"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, Name)
	if err := os.WriteFile(file, mustPack(t, []Entry{entry("a", dmp.New)}, lot()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("unzip", "-q", file, "-d", dir).CombinedOutput(); err != nil {
		t.Fatalf("unzip: %v %s", err, out)
	}
	if out, err := exec.Command("xmllint", "--noout", "--nonet", filepath.Join(dir, "IHE_XDM/SUBSET01/METADATA.XML"), filepath.Join(dir, "INDEX.HTM")).CombinedOutput(); err != nil {
		t.Fatalf("xmllint: %v %s", err, out)
	}
}
