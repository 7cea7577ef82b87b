package testdata

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPeople(t *testing.T) {
	wantDMP := map[string]bool{}
	for i, p := range Patients() {
		wantDMP[p.DMP] = true
		if PatientByID(p.ID).BirthName != p.BirthName {
			t.Errorf("%s: not found by id", p.ID)
		}
		if (p.Matricule == "") != (p.OID == "") {
			t.Errorf("%s: matricule and OID go together", p.ID)
		}
		if p.Matricule != "" && (p.OID != OIDTest || !keyValid(t, p.Matricule)) {
			t.Errorf("%s: matricule %s is not a valid test matricule", p.ID, p.Matricule)
		}
		if !strings.HasPrefix(p.GivenNames, p.FirstGiven) {
			t.Errorf("%s: the list of given names begins with the first", p.ID)
		}
		if p.Matricule != "" && p.Matricule[1:3] != p.BirthDate[2:4] {
			t.Errorf("%s: year of birth", p.ID)
		}
		if i == 0 && (p.Status != "QUAL" || p.DMP != "open") {
			t.Errorf("the first patient is qualified and has an open DMP")
		}
	}
	for _, want := range []string{"open", "closed", "none"} {
		if !wantDMP[want] {
			t.Errorf("no patient whose DMP is %s", want)
		}
	}
	trois := PatientByID(PatientTrois)
	if trois.Matricule != "279035121518989" || trois.GivenNames != "DOMINIQUE MARIE-LOUISE" || trois.BirthPlace != "51215" {
		t.Errorf("PAT-TROIS is %+v", trois)
	}
	if p := PatientByID(PatientNoINS); p.Status != "VALI" || p.Matricule != "" {
		t.Errorf("%s has no INS and is VALI", PatientNoINS)
	}
	for i, p := range Personas() {
		if len(p.NationalID) != 12 || p.NationalID[0] != '8' || !luhn(p.NationalID[1:]) {
			t.Errorf("%s: national id %s", p.ID, p.NationalID)
		}
		if PersonaByID(p.NationalID).ID != p.ID || PersonaByID(p.ID).ID != p.ID {
			t.Errorf("%s: not found", p.ID)
		}
		if i == 0 && (p.Profession != "10" || !p.Authorised) {
			t.Errorf("the first persona is an authorised physician")
		}
	}
	for _, h := range Establishments() {
		if !luhn(h.FINESSEJ) || !luhn(h.FINESSGeo) || len(h.FINESSGeo) != 9 {
			t.Errorf("%s: FINESS %s %s", h.ID, h.FINESSEJ, h.FINESSGeo)
		}
	}
	if PatientByID("nobody").ID != "" || PersonaByID("nobody").ID != "" {
		t.Error("nobody is somebody")
	}
}

// keyValid is written apart from package ins, so that each judges the other.
func keyValid(t *testing.T, m string) bool {
	t.Helper()
	body := strings.NewReplacer("2A", "19", "2B", "18").Replace(m[5:7])
	n, err := strconv.ParseInt(m[:5]+body+m[7:13], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return len(m) == 15 && fmt.Sprintf("%02d", 97-n%97) == m[13:]
}

func luhn(s string) bool {
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func TestCDA(t *testing.T) {
	for _, c := range []struct {
		name string
		o    CDAOptions
		has  []string
		not  []string
	}{
		{"ok/ordinary", CDAOptions{}, []string{`<id root="1.2.250.1.999.1.1"/>`, `code="11502-2"`, `<setId root="1.2.250.1.999.1.1.0"/>`, `versionNumber value="1"`,
			`root="1.2.250.1.213.1.4.10" extension="280076311310118"`, "nonXMLBody", `"1.3.6.1.4.1.19376.1.2.20"`}, []string{"relatedDocument", "structuredBody"}},
		{"ok/level 3 biology", CDAOptions{Level: 3}, []string{"structuredBody", `"1.2.250.1.213.1.1.1.55" extension="2024.01"`, "observationMedia"}, []string{"nonXMLBody", `"1.3.6.1.4.1.19376.1.2.20"`}},
		{"ok/level 3 imaging", CDAOptions{Level: 3, Kind: Imaging, NoPDFCopy: true}, []string{`code="18748-4"`, "1.2.250.1.213.1.1.1.45"}, []string{"observationMedia"}},
		{"ok/level 3 discharge", CDAOptions{Level: 3, Kind: Discharge}, []string{`code="11490-0"`, "1.2.250.1.213.1.1.1.29"}, nil},
		{"ok/replacement", CDAOptions{ID: DocumentID(8), Replaces: DocumentID(7)}, []string{`<relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.250.1.999.1.7"/>`,
			`versionNumber value="2"`, `<setId root="1.2.250.1.999.1.7.0"/>`}, nil},
		{"ok/id with extension", CDAOptions{ID: "1.2.3^A1"}, []string{`<id root="1.2.3" extension="A1"/>`}, nil},
		{"ok/restricted", CDAOptions{Confidentiality: "R"}, []string{`confidentialityCode code="R"`}, nil},
		{"ok/without INS", CDAOptions{NoINS: true}, []string{`extension="900001"`}, []string{"280076311310118"}},
		{"ok/device", CDAOptions{Device: "AUTOMATE <1>"}, []string{"<softwareName>AUTOMATE &lt;1&gt;</softwareName>"}, nil},
		{"ok/person without INS", CDAOptions{Patient: PatientByID(PatientNoINS)}, []string{"LEMAIRE"}, []string{"1.2.250.1.213.1.4."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := CDA(c.o)
			if !bytes.Equal(doc, CDA(c.o)) {
				t.Fatal("two calls give two documents")
			}
			order := headerOrder(t, doc)
			want := "realmCode typeId templateId id code title effectiveTime confidentialityCode languageCode setId versionNumber recordTarget author custodian legalAuthenticator documentationOf relatedDocument componentOf component"
			if c.o.Replaces == "" {
				want = strings.Replace(want, "relatedDocument ", "", 1)
			}
			if order != want {
				t.Errorf("order of the header is\n%s\nwant\n%s", order, want)
			}
			for _, s := range c.has {
				if !bytes.Contains(doc, []byte(s)) {
					t.Errorf("lacks %s", s)
				}
			}
			for _, s := range c.not {
				if bytes.Contains(doc, []byte(s)) {
					t.Errorf("has %s", s)
				}
			}
		})
	}
}

// headerOrder reads the children of the root, in order, repetitions merged; it
// fails when the document is not well-formed.
func headerOrder(t *testing.T, doc []byte) string {
	t.Helper()
	d, depth, names := xml.NewDecoder(bytes.NewReader(doc)), 0, []string{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return strings.Join(names, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 2 && (len(names) == 0 || names[len(names)-1] != e.Name.Local) {
				names = append(names, e.Name.Local)
			}
		case xml.EndElement:
			depth--
		}
	}
}

func TestPDF(t *testing.T) {
	b := PDF("Titre à lire", []string{"Été çà où ; 5,1 mmol/L (3,9 - 5,8)", strings.Repeat("x", 200)})
	start := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(b)
	if start == nil {
		t.Fatal("no startxref")
	}
	at, _ := strconv.Atoi(string(start[1]))
	rows := regexp.MustCompile(`(\d{10}) 00000 n `).FindAllSubmatch(b[at:], -1)
	for i, row := range rows {
		off, _ := strconv.Atoi(string(row[1]))
		if head := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(b[off:], []byte(head)) {
			t.Errorf("object %d is not at %d", i+1, off)
		}
	}
	if len(rows) < 10 {
		t.Errorf("only %d objects", len(rows))
	}
	for _, m := range regexp.MustCompile(`(?s)/Length (\d+)>>\nstream\n(.*?)\nendstream`).FindAllSubmatch(b, -1) {
		if n, _ := strconv.Atoi(string(m[1])); n != len(m[2]) {
			t.Errorf("a stream says %d bytes and has %d", n, len(m[2]))
		}
	}
	if !bytes.Contains(b, []byte("<pdfaid:part>1</pdfaid:part>")) {
		t.Error("does not say that it is PDF/A-1")
	}
}

func segmentsOf(b []byte) []string {
	return strings.Split(strings.TrimSuffix(string(b), "\r"), "\r")
}

func field(t *testing.T, segment string, n int) string {
	t.Helper()
	f := strings.Split(segment, "|")
	if strings.HasPrefix(segment, "MSH") {
		n--
	}
	if n >= len(f) {
		return ""
	}
	return f[n]
}

func names(segments []string) string {
	var out []string
	for _, s := range segments {
		out = append(out, s[:3])
	}
	return strings.Join(out, " ")
}

func TestMessages(t *testing.T) {
	ten := strings.Repeat("OBX ", 9) + "OBX"
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"ok/ORU", ORU(MessageOptions{}), "MSH PID PV1 ORC OBR OBX PRT " + ten},
		{"ok/ORU with two documents", ORU(MessageOptions{Second: &CDAOptions{Level: 3, ID: DocumentID(2)}}), "MSH PID PV1 ORC OBR OBX PRT OBX " + ten},
		{"ok/MDM", MDM(MessageOptions{}), "MSH EVN PID PV1 ORC OBR TXA OBX PRT " + ten},
		{"ok/MDM without sender", MDM(MessageOptions{NoSender: true}), "MSH EVN PID PV1 ORC OBR TXA OBX " + ten},
		{"ok/everyone", MDM(MessageOptions{PatientNoReply: true, ReplyTo: "a@b.mssante.fr", BodyPatient: "corps", BodyProfessional: "corps", Recipients: []Recipient{
			{Persona: Personas()[1], Address: "x@y"}, {Patient: Patients()[0], Address: "x@y"}, {Unit: "4210", Address: "x@y"}, {Device: "APP", Address: "x@y"}}}),
			"MSH EVN PID PV1 ORC OBR TXA OBX PRT PRT PRT PRT PRT PRT " + strings.Repeat("OBX ", 8) + "NTE OBX OBX OBX OBX"},
		{"ok/flag left out", ORU(MessageOptions{Flags: Flags{"ACK_RECEPTION": "-"}}), "MSH PID PV1 ORC OBR OBX PRT " + strings.Repeat("OBX ", 8) + "OBX"},
		{"ok/ADT", ADT(ADTOptions{}), "MSH EVN PID PV1 ZBE ZFA"},
		{"ok/ADT without ZFA", ADT(ADTOptions{Event: "A03", Feeding: "-"}), "MSH EVN PID PV1 ZBE"},
		{"ok/edited", ORU(MessageOptions{Edit: func(s []string) []string { return s[:3] }}), "MSH PID PV1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := names(segmentsOf(c.b)); got != c.want {
				t.Errorf("segments are\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestActionsAgree(t *testing.T) {
	for action, want := range map[string][4]string{New: {"MDM^T02^MDM_T02", "NW", "F", ""},
		Replace: {"MDM^T10^MDM_T02", "RO", "C", DocumentID(1)}, Delete: {"MDM^T04^MDM_T02", "CA", "D", ""}} {
		t.Run("ok/"+action, func(t *testing.T) {
			s := segmentsOf(MDM(MessageOptions{Action: action}))
			got := [4]string{field(t, s[0], 9), field(t, s[4], 1), field(t, s[7], 11), field(t, s[6], 13)}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			doc, err := base64.StdEncoding.DecodeString(strings.Split(field(t, s[7], 5), "^")[4])
			if err != nil {
				t.Fatal(err)
			}
			if id := field(t, s[6], 12); !bytes.Contains(doc, []byte(`<id root="`+id+`"/>`)) {
				t.Errorf("TXA-12 %s is not the id of the document", id)
			}
			if replaces := bytes.Contains(doc, []byte("RPLC")); replaces != (action == Replace) {
				t.Errorf("relatedDocument: %v", replaces)
			}
		})
	}
}

func TestFieldsOfMessages(t *testing.T) {
	s := segmentsOf(ORU(MessageOptions{}))
	for _, c := range []struct {
		name     string
		segment  string
		n        int
		want     string
		contains bool
	}{
		{"MSH-9", s[0], 9, "ORU^R01^ORU_R01", false},
		{"MSH-12", s[0], 12, "2.5", false},
		{"MSH-17", s[0], 17, "FRA", false},
		{"MSH-18", s[0], 18, UTF8, false},
		{"MSH-21", s[0], 21, "2.1^CISIS_CDA_HL7_V2", false},
		{"PID-3", s[1], 3, "280076311310118^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS", true},
		{"PID-5", s[1], 5, "VALADIER^CLAIRE^CLAIRE ANNE LUCIE^^^^L", false},
		{"PID-7", s[1], 7, "19800714", false},
		{"PID-8", s[1], 8, "F", false},
		{"PID-11", s[1], 11, "~^^^^^^BDL^^63113", true},
		{"PID-32", s[1], 32, "VALI", false},
		{"PV1-2", s[2], 2, "I", false},
		{"PV1-19", s[2], 19, "VEN900001", true},
		{"OBR-4", s[4], 4, "11502-2^CR d'examens biologiques^LN", false},
		{"PRT-4", s[6], 4, "SB^Send by^participation", false},
		{"PRT-5", s[6], 5, "819990000028^MOREL^Léa", true},
		{"PRT-8", s[6], 8, "^FINEG^^^990000028", true},
		{"DESTDMP", s[12], 5, "Y^^expandedYes-NoIndicator", false},
	} {
		got := field(t, c.segment, c.n)
		if got != c.want && !(c.contains && strings.Contains(got, c.want)) {
			t.Errorf("%s is %q, want %q", c.name, got, c.want)
		}
	}
	for status, want := range map[string]string{PatientRetrieved: "PROV", PatientNoINS: "VALI", PatientOpen: "VALI"} {
		if got := field(t, segmentsOf(ORU(MessageOptions{Patient: PatientByID(status)}))[1], 32); got != want {
			t.Errorf("PID-32 of %s is %s, want %s", status, got, want)
		}
	}
	if pid := segmentsOf(ORU(MessageOptions{NoINS: true}))[1]; strings.Contains(pid, "280076311310118") {
		t.Error("the matricule is there")
	}
}

func TestCharsetAndSeparators(t *testing.T) {
	latin := ORU(MessageOptions{Charset: Latin9})
	if utf8.Valid(latin) || !bytes.Contains(latin, []byte("Masqu\xe9")) {
		t.Error("not in ISO 8859-15")
	}
	if !bytes.HasPrefix(ORU(MessageOptions{Separators: "#^~\\&"}), []byte("MSH#^~\\&#DPI-ESSAIS#")) {
		t.Error("separators are not those asked for")
	}
	if !bytes.HasPrefix(ORU(MessageOptions{Separators: "|^˜\\&"}), []byte("MSH|^˜\\&|DPI-ESSAIS|")) {
		t.Error("U+02DC is not where the national examples have it")
	}
}

func TestOppositionOfADT(t *testing.T) {
	s := segmentsOf(ADT(ADTOptions{Feeding: "IO", Consultable: "NA"}))
	zfa := s[len(s)-1]
	if field(t, zfa, 9) != "IO" || field(t, zfa, 10) == "" || field(t, zfa, 11) != "NA" || field(t, zfa, 12) != "" {
		t.Errorf("ZFA is %s", zfa)
	}
	if got := field(t, s[0], 12); got != "2.5^FRA^2.11" {
		t.Errorf("MSH-12 is %s", got)
	}
}
