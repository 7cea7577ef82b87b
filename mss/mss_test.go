package mss

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

var sent = time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))

func address(s string) Address {
	a, err := ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var trustSpace = map[string]bool{"ch.mssante.fr": true, "exemple.mssante.fr": true, PatientDomain: true}

func config() Config {
	return Config{
		NIL: "1234", From: address("passerelle@ch.mssante.fr"), FromName: "Hôpital C – Biologie",
		ReplyTo: address("biologie@ch.mssante.fr"), Institution: "Hôpital C", Contact: "DSI",
		Product: xdm.Product{Name: "Passerelle", Version: "1"}, MaxSize: 10 << 20,
		Trusted: func(d string) (bool, error) { return trustSpace[d], nil },
	}
}

func composer(t testing.TB, adjust func(*Config)) *Composer {
	t.Helper()
	c := config()
	if adjust != nil {
		adjust(&c)
	}
	out, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func qualified() ins.Identity {
	return ins.Identity{
		Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified,
		Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE",
			BirthDate: "1979-03-05", Sex: "F", BirthPlace: "51215"},
	}
}

func letter() Letter {
	patient := qualified()
	patient.Status = "" // a CDA has none
	return Letter{
		Delivery: "dlv-0001", Date: sent, Kind: Professional, To: "lea.morel@exemple.mssante.fr", Action: dmp.New,
		Patient: qualified(), LotID: dmp.ID{Root: "1.2.250.1.999.3.7"}, SourceID: "1.2.250.1.999.4",
		Documents: []Document{{
			Metadata: dmp.Metadata{
				UniqueID: dmp.ID{Root: "1.2.250.1.999.1", Extension: "42"}, Title: "Échographie abdominopelvienne",
				Type:    dmp.Code{Code: "18748-4", System: "2.16.840.1.113883.6.1", Display: "CR d'imagerie: médicale"},
				Created: sent, Patient: patient, SourcePatientID: dmp.ID{Root: "1.2.250.1.999.2", Extension: "IPP0042"},
			},
			Content: []byte("<ClinicalDocument/>"), PDF: []byte("%PDF-1.4 test"),
		}},
	}
}

func patientLetter() Letter {
	l := letter()
	l.Kind, l.To = Patient, ""
	return l
}

func mustCompose(t testing.TB, c *Composer, l Letter) *Composed {
	t.Helper()
	out, err := c.Compose(l)
	if err != nil {
		t.Fatal(err)
	}
	return out
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

// opened is a letter as a reader that is not ours sees it.
type opened struct {
	header mail.Header
	parts  []opened
	kind   string
	params map[string]string
	name   string
	body   []byte
}

func open(t *testing.T, raw []byte) opened {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	out := opened{header: m.Header}
	if out.kind, out.params, err = mime.ParseMediaType(m.Header.Get("Content-Type")); err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, out.params["boundary"])
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		o := opened{header: mail.Header(p.Header), name: p.FileName()}
		if o.kind, o.params, err = mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil {
			t.Fatal(err)
		}
		if o.body, err = io.ReadAll(p); err != nil {
			t.Fatal(err)
		}
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			if o.body, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(string(o.body), "\r\n", "")); err != nil {
				t.Fatal(err)
			}
		}
		out.parts = append(out.parts, o)
	}
}

func decoded(t *testing.T, s string) string {
	t.Helper()
	d, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLetterToAProfessional(t *testing.T) {
	l := letter()
	l.WantReading, l.WantReception, l.FileNumber, l.PatientMayNotReply = true, true, "1215/0302", true
	got := mustCompose(t, composer(t, nil), l)
	if len(got.Warnings) != 0 {
		t.Errorf("warnings %v", got.Warnings)
	}
	o := open(t, got.Raw)
	for name, want := range map[string]string{
		"From":                        `"Hôpital C – Biologie" <passerelle@ch.mssante.fr>`,
		"To":                          "<lea.morel@exemple.mssante.fr>",
		"Reply-To":                    "<biologie@ch.mssante.fr>",
		"Subject":                     "XDM/1.0/DDM+Échographie abdominopelvienne PAT-TROIS DOMINIQUE 05/03/1979",
		"Date":                        "Wed, 04 Mar 2026 04:06:07 +0000",
		"Message-Id":                  "<" + got.MessageID + ">",
		"Disposition-Notification-To": "<passerelle@ch.mssante.fr>",
		"Return-Receipt-To":           "<passerelle@ch.mssante.fr>",
		"X-Mss-Nil":                   "1234",
		"X-Mss-Codecda":               "18748-4",
		"X-Mss-Ins":                   "O",
		"X-Mss-Mes":                   "",
		"Auto-Submitted":              "",
		"Mime-Version":                "1.0",
	} {
		t.Run("ok/"+name, func(t *testing.T) {
			v := decoded(t, o.header.Get(name))
			if name == "From" {
				a, err := mail.ParseAddress(o.header.Get(name))
				if err != nil {
					t.Fatal(err)
				}
				v = `"` + a.Name + `" <` + a.Address + ">"
			}
			if v != want {
				t.Errorf("got %q, want %q", v, want)
			}
		})
	}
	if o.kind != "multipart/mixed" || len(o.parts) != 3 {
		t.Fatalf("%s with %d parts", o.kind, len(o.parts))
	}
	text, zip, pdf := o.parts[0], o.parts[1], o.parts[2]
	if text.kind != "text/plain" || !strings.EqualFold(text.params["charset"], "utf-8") {
		t.Errorf("text: %s %v", text.kind, text.params)
	}
	for _, want := range []string{"IHE_XDM.zip", "produit automatiquement par Hôpital C – Biologie", "biologie@ch.mssante.fr"} {
		if !strings.Contains(string(text.body), want) {
			t.Errorf("the text does not say %q: %s", want, text.body)
		}
	}
	if zip.kind != "application/zip" || zip.name != "IHE_XDM.zip" {
		t.Errorf("archive: %s %s", zip.kind, zip.name)
	}
	a, err := xdm.Unpack(zip.body, xdm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Documents[0].Content, l.Documents[0].Content) || a.Patient.Matricule != l.Patient.Matricule {
		t.Errorf("archive: %+v", a)
	}
	if pdf.kind != "application/pdf" || pdf.name != "20260304_CR d'imagerie médicale_PAT-TROIS_DOMINIQUE_1215 0302.pdf" || string(pdf.body) != "%PDF-1.4 test" {
		t.Errorf("pdf: %s %q", pdf.kind, pdf.name)
	}
	for line := range bytes.Lines(got.Raw) {
		if !bytes.HasSuffix(line, []byte("\r\n")) || len(line) > 1000 {
			t.Fatalf("not a line of mail: %q", line)
		}
		for _, b := range line {
			if b > 127 {
				t.Fatalf("not ASCII: %q", line)
			}
		}
	}
}

func TestLetterToThePatient(t *testing.T) {
	l := patientLetter()
	l.PatientMayNotReply = true
	l.Body = []byte("Bonjour,\r\nvoici vos r\xe9sultats.\x00\n") // windows-1252
	l.Documents[0].PDF = nil
	got := mustCompose(t, composer(t, nil), l)
	o := open(t, got.Raw)
	if got.To.String() != "279035121518989@patient.mssante.fr" || o.header.Get("To") != "<"+got.To.String()+">" {
		t.Errorf("to %s, %s", got.To, o.header.Get("To"))
	}
	if o.header.Get("X-MSS-MES") != "FIN" {
		t.Error("no X-MSS-MES: FIN")
	}
	if !strings.Contains(string(o.parts[0].body), "voici vos résultats.\r\n") || strings.Contains(string(o.parts[0].body), "Pour répondre") {
		t.Errorf("text: %s", o.parts[0].body)
	}
	if len(o.parts) != 2 || len(got.Warnings) != 1 || got.Warnings[0] != (Warning{FaultNoPDF, "document[1]/pdf"}) {
		t.Errorf("%d parts, warnings %v", len(o.parts), got.Warnings)
	}
	if strings.Contains(got.MessageID, "27903512151") {
		t.Error("the Message-ID tells the matricule")
	}
}

func TestActions(t *testing.T) {
	for name, c := range map[string]struct {
		action      dmp.Action
		kind        Kind
		mark, words string
		archive     dmp.Action
	}{
		"ok/replace to a professional": {dmp.Replace, Professional, "XDM/1.0/DDM+[Annule et remplace] ", "annule et remplace la version", dmp.Replace},
		"ok/replace to the patient":    {dmp.Replace, Patient, "XDM/1.0/DDM+[Annule et remplace] ", "supprimer l'ancien", dmp.Replace},
		"ok/delete to a professional":  {dmp.Delete, Professional, "XDM/1.0/DDM+[Suppression] ", "demande de supprimer un document", dmp.Delete},
		"ok/delete to the patient":     {dmp.Delete, Patient, "XDM/1.0/DDM+[Suppression] ", "supprimer le courriel", dmp.Delete},
	} {
		t.Run(name, func(t *testing.T) {
			l := letter()
			l.Action, l.Kind = c.action, c.kind
			if c.kind == Patient {
				l.To = ""
			}
			l.Documents[0].Metadata.Replaces = &dmp.ID{Root: "1.2.250.1.999.1", Extension: "41"}
			o := open(t, mustCompose(t, composer(t, nil), l).Raw)
			if s := decoded(t, o.header.Get("Subject")); !strings.HasPrefix(s, c.mark) {
				t.Errorf("subject %q", s)
			}
			// Quoted-printable text has been decoded by the reader.
			if !strings.Contains(string(o.parts[0].body), c.words) {
				t.Errorf("text %s", o.parts[0].body)
			}
			a, err := xdm.Unpack(o.parts[1].body, xdm.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if a.Documents[0].Action != c.archive {
				t.Errorf("action %q", a.Documents[0].Action)
			}
		})
	}
}

func TestSameLetterSameBytes(t *testing.T) {
	c := composer(t, nil)
	a, b := mustCompose(t, c, letter()), mustCompose(t, c, letter())
	if !bytes.Equal(a.Raw, b.Raw) {
		t.Error("the same letter gives other bytes")
	}
	elsewhere := letter()
	elsewhere.Date = elsewhere.Date.UTC()
	if d := mustCompose(t, c, elsewhere); !bytes.Equal(a.Raw, d.Raw) {
		t.Error("the zone of the clock changes the bytes")
	}
	ids := map[string]string{a.MessageID: "base"}
	for name, change := range map[string]func(*Letter){
		"other delivery":  func(l *Letter) { l.Delivery = "dlv-0002" },
		"other recipient": func(l *Letter) { l.To = "paul.noel@exemple.mssante.fr" },
		"other document":  func(l *Letter) { l.Documents[0].Metadata.UniqueID.Extension = "43" },
	} {
		l := letter()
		change(&l)
		id := mustCompose(t, c, l).MessageID
		if other, seen := ids[id]; seen {
			t.Errorf("%s has the Message-ID of %s", name, other)
		}
		ids[id] = name
	}
}

func TestSeveralDocuments(t *testing.T) {
	l := letter()
	second := l.Documents[0]
	second.Metadata.UniqueID.Extension = "43"
	second.Metadata.Type.Code = "11502-2"
	l.Documents = append(l.Documents, second)
	o := open(t, mustCompose(t, composer(t, nil), l).Raw)
	if got := o.header.Get("X-MSS-CODECDA"); got != "18748-4,11502-2" {
		t.Errorf("codes %q", got)
	}
	if len(o.parts) != 4 || o.parts[2].name == o.parts[3].name {
		t.Errorf("%d parts", len(o.parts))
	}
}

func TestWithoutINS(t *testing.T) {
	l := letter()
	l.Patient = l.Patient.WithoutINS()
	l.Documents[0].Metadata.Patient = l.Documents[0].Metadata.Patient.WithoutINS()
	got := mustCompose(t, composer(t, nil), l)
	if o := open(t, got.Raw); o.header.Get("X-MSS-INS") != "N" {
		t.Errorf("X-MSS-INS %q", o.header.Get("X-MSS-INS"))
	}
	if bytes.Contains(got.Raw, []byte("279035121518989")) {
		t.Error("a matricule left")
	}
}

func TestReplyTo(t *testing.T) {
	for name, c := range map[string]struct {
		given, want string
		warned      bool
	}{
		"ok/of the message":        {"dr.noel@exemple.mssante.fr", "<dr.noel@exemple.mssante.fr>", false},
		"ok/none":                  {"", "<biologie@ch.mssante.fr>", false},
		"ok/outside replaced":      {"dr.noel@gmail.com", "<biologie@ch.mssante.fr>", true},
		"ok/malformed replaced":    {"dr.noel", "<biologie@ch.mssante.fr>", true},
		"ok/of a patient replaced": {"279035121518989@patient.mssante.fr", "<biologie@ch.mssante.fr>", true},
		// Found by the audit of issue 3, 2026-11-22: answers went to the machine.
		"ok/the sending mailbox replaced": {"Passerelle@ch.mssante.fr", "<biologie@ch.mssante.fr>", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := letter()
			l.ReplyTo = c.given
			got := mustCompose(t, composer(t, nil), l)
			if v := open(t, got.Raw).header.Get("Reply-To"); v != c.want {
				t.Errorf("Reply-To %s", v)
			}
			if warned := len(got.Warnings) > 0; warned != c.warned {
				t.Errorf("warnings %v", got.Warnings)
			}
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	stale := refuse("TEST-STALE", "")
	cases := []struct {
		name, code, where string
		spoil             func(l *Letter, c *Config)
	}{
		{"fail/no delivery", FaultLetter, "delivery", func(l *Letter, _ *Config) { l.Delivery = "" }},
		{"fail/delivery with a line break", FaultLetter, "delivery", func(l *Letter, _ *Config) { l.Delivery = "a\r\nb" }},
		{"fail/no date", FaultLetter, "date", func(l *Letter, _ *Config) { l.Date = time.Time{} }},
		{"fail/no kind", FaultLetter, "kind", func(l *Letter, _ *Config) { l.Kind = "" }},
		{"fail/no action", FaultLetter, "action", func(l *Letter, _ *Config) { l.Action = "" }},
		{"fail/no document", FaultLetter, "documents", func(l *Letter, _ *Config) { l.Documents = nil }},
		{"fail/not a PDF", FaultLetter, "document[1]/pdf", func(l *Letter, _ *Config) { l.Documents[0].PDF = []byte("<html>") }},
		{"fail/no label", FaultLetter, "document[1]/title", func(l *Letter, _ *Config) {
			l.Documents[0].Metadata.Title, l.Documents[0].Metadata.Type.Display = "", ""
		}},
		{"fail/address", FaultAddress, "to", func(l *Letter, _ *Config) { l.To = "lea.morel" }},
		{"fail/address with a second header", FaultAddress, "to", func(l *Letter, _ *Config) { l.To = "a@exemple.mssante.fr\r\nBcc: b@exemple.mssante.fr" }},
		{"fail/domain off the list", FaultDomain, "to", func(l *Letter, _ *Config) { l.To = "lea@mssante.fr" }},
		{"fail/look-alike domain", FaultDomain, "to", func(l *Letter, _ *Config) { l.To = "lea@exemple.mssante.fr.evil.com" }},
		{"fail/child domain", FaultDomain, "to", func(l *Letter, _ *Config) { l.To = "lea@sub.exemple.mssante.fr" }},
		{"fail/homoglyph", FaultAddress, "to", func(l *Letter, _ *Config) { l.To = "lea@ex\u0435mple.mssante.fr" }},
		{"fail/patient among professionals", FaultPatientAddress, "to", func(l *Letter, _ *Config) { l.To = "279035121518989@patient.mssante.fr" }},
		{"fail/list stale", "TEST-STALE", "", func(_ *Letter, c *Config) { c.Trusted = func(string) (bool, error) { return false, stale } }},
		{"fail/opposed", FaultOpposed, "", func(l *Letter, _ *Config) { l.Opposed = true }},
		{"fail/hidden from professionals", FaultHiddenProfessionals, "", func(l *Letter, _ *Config) { l.HiddenFromProfessionals = true }},
		{"fail/document hidden from professionals", FaultHiddenProfessionals, "", func(l *Letter, _ *Config) {
			l.Documents[0].Metadata.Visibility = []dmp.Visibility{dmp.HiddenFromProfessionals}
		}},
		{"fail/no reply address", FaultReplyTo, "reply_to", func(_ *Letter, c *Config) { c.ReplyTo = Address{} }},
		{"fail/line break in the name", FaultHeader, "patient/birth_name", func(l *Letter, _ *Config) {
			l.Patient.Traits.BirthName = "PAT\r\nBcc: x@y.fr"
			l.Documents[0].Metadata.Patient.Traits.BirthName = "PAT\r\nBcc: x@y.fr"
		}},
		{"fail/line break in the title", FaultHeader, "document[1]/title", func(l *Letter, _ *Config) { l.Documents[0].Metadata.Title = "CR\nX: y" }},
		{"fail/line separator in the title", FaultHeader, "document[1]/title", func(l *Letter, _ *Config) { l.Documents[0].Metadata.Title = "CR\u2028X" }},
		{"fail/line break in the code", FaultHeader, "document[1]/type", func(l *Letter, _ *Config) { l.Documents[0].Metadata.Type.Code = "1\r\n2" }},
		{"fail/not qualified", ins.FaultNotQualified, ins.TraitStatus, func(l *Letter, _ *Config) { l.Patient.Status = ins.Validated }},
		{"fail/another patient in the envelope", ins.FaultMismatch, "matricule", func(l *Letter, _ *Config) { l.Patient.Matricule = "146026322000196" }},
		{"fail/too big", FaultSize, "", func(_ *Letter, c *Config) { c.MaxSize = 2000 }},
		{"fail/lot without id", xdm.FaultLot, "uniqueId", func(l *Letter, _ *Config) { l.LotID = dmp.ID{} }},
		{"fail/replacement of nothing", xdm.FaultTarget, "document[1]", func(l *Letter, _ *Config) { l.Action = dmp.Replace }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, cfg := letter(), config()
			c.spoil(&l, &cfg)
			_, err := composer(t, func(to *Config) { *to = cfg }).Compose(l)
			wantFault(t, err, c.code, c.where)
		})
	}
}

func TestComposeToPatientRefuses(t *testing.T) {
	cases := []struct {
		name, code, where string
		spoil             func(l *Letter)
	}{
		{"fail/another address in PRT", FaultPatientAddress, "to", func(l *Letter) { l.To = "146026322000196@patient.mssante.fr" }},
		{"fail/private address in PRT", FaultPatientAddress, "to", func(l *Letter) { l.To = "dominique@gmail.com" }},
		{"fail/address that is none", FaultPatientAddress, "to", func(l *Letter) { l.To = "x" }},
		{"fail/invisible by flag", FaultHiddenPatient, "", func(l *Letter) { l.HiddenFromPatient = true }},
		{"fail/invisible by the document", FaultHiddenPatient, "", func(l *Letter) { l.Documents[0].Metadata.Visibility = []dmp.Visibility{dmp.HiddenFromPatient} }},
		{"fail/opposed", FaultOpposed, "", func(l *Letter) { l.Opposed = true }},
		{"fail/no INS", ins.FaultAbsent, ins.TraitMatricule, func(l *Letter) {
			l.Patient = l.Patient.WithoutINS()
			l.Documents[0].Metadata.Patient = l.Documents[0].Metadata.Patient.WithoutINS()
		}},
		{"fail/provisional", ins.FaultNotQualified, ins.TraitStatus, func(l *Letter) { l.Patient.Status = ins.Provisional }},
		{"fail/doubtful", ins.FaultNotQualified, ins.TraitAttributes, func(l *Letter) { l.Patient.Attributes = []string{"DOUT"} }},
		{"fail/trait missing", ins.FaultIncomplete, ins.TraitBirthDate, func(l *Letter) { l.Documents[0].Metadata.Patient.Traits.BirthDate = "" }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := patientLetter()
			c.spoil(&l)
			_, err := composer(t, nil).Compose(l)
			wantFault(t, err, c.code, c.where)
		})
	}
	t.Run("ok/address in PRT is that of the INS", func(t *testing.T) {
		l := patientLetter()
		l.To = "279035121518989@PATIENT.mssante.fr"
		mustCompose(t, composer(t, nil), l)
	})
	t.Run("fail/bigger than a patient's mailbox", func(t *testing.T) {
		l := patientLetter()
		l.Documents[0].PDF = append([]byte("%PDF-1.4"), make([]byte, MaxPatientSize*3/4)...)
		_, err := composer(t, func(c *Config) { c.MaxSize = 100 << 20 }).Compose(l)
		wantFault(t, err, FaultSize, "")
	})
}

func TestHiddenSwitch(t *testing.T) {
	l := letter()
	l.HiddenFromProfessionals = true
	mustCompose(t, composer(t, func(c *Config) { c.SendHidden = true }), l)
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		name, code, where string
		spoil             func(*Config)
	}{
		{"fail/no NIL", FaultNIL, "nil", func(c *Config) { c.NIL = " " }},
		{"fail/NIL with a line break", FaultNIL, "nil", func(c *Config) { c.NIL = "1\n2" }},
		{"fail/no address", FaultSender, "from", func(c *Config) { c.From = Address{} }},
		{"fail/no name", FaultSender, "from_name", func(c *Config) { c.FromName = "" }},
		{"fail/line break in the name", FaultSender, "from_name", func(c *Config) { c.FromName = "a\r\nb" }},
		{"fail/no limit", FaultSender, "max_size", func(c *Config) { c.MaxSize = 0 }},
		{"fail/no list", FaultSender, "trusted", func(c *Config) { c.Trusted = nil }},
		{"fail/answers to the sending mailbox", FaultSender, "reply_to", func(c *Config) { c.ReplyTo = address("PASSERELLE@ch.mssante.fr") }},
		{"fail/patient as sender", FaultSender, "from", func(c *Config) { c.From = address("1@patient.mssante.fr") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			c.spoil(&cfg)
			_, err := New(cfg)
			wantFault(t, err, c.code, c.where)
		})
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"ok/plain", "a.b@c.mssante.fr", "a.b@c.mssante.fr"},
		{"ok/blanks and case", " A.B@C.MSSante.FR ", "A.B@c.mssante.fr"},
		{"ok/plus", "a+b@c.fr", "a+b@c.fr"},
		{"fail/empty", "", ""},
		{"fail/no domain", "a@", ""},
		{"fail/no local part", "@c.fr", ""},
		{"fail/single label", "a@localhost", ""},
		{"fail/two dots", "a..b@c.fr", ""},
		{"fail/dot at the end", "a.@c.fr", ""},
		{"fail/blank", "a b@c.fr", ""},
		{"fail/display name", "A <a@c.fr>", ""},
		{"fail/quoted", `"a"@c.fr`, ""},
		{"fail/line break", "a@c.fr\r\nb", ""},
		{"fail/two addresses", "a@c.fr,b@c.fr", ""},
		{"fail/hyphen first", "a@-c.fr", ""},
		{"fail/empty label", "a@c..fr", ""},
		{"fail/IP", "a@10.0.0.1", ""},
		{"fail/not ASCII", "é@c.fr", ""},
		{"fail/long local part", strings.Repeat("a", 65) + "@c.fr", ""},
		{"fail/long", "a@" + strings.Repeat("a.", 130) + "fr", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAddress(c.in)
			if a.String() != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v", a, err)
			}
		})
	}
}

func TestHeaderText(t *testing.T) {
	for name, s := range map[string]string{
		"ok/ascii":            "XDM/1.0/DDM+CR PAT DOMINIQUE 05/03/1979",
		"ok/accent in front":  "XDM/1.0/DDM+Échographie PAT",
		"ok/accent behind":    "XDM/1.0/DDM+CR PAT Zoé 05/03/1979",
		"ok/accents far away": "É a b c É",
		"ok/looks encoded":    "XDM/1.0/DDM+=?utf-8?q?x?= PAT",
		"ok/long":             strings.Repeat("é", 300),
		"ok/double blank":     "a  b  é  c",
		"ok/other scripts":    "日本語 𝕏 ok",
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			header{{"Subject", encodeText(s)}}.write(&b)
			b.WriteString("\r\n")
			for line := range strings.Lines(b.String()) {
				if len(line) > 80 && strings.Contains(line, "=?") && strings.Count(line, "=?utf-8") > 1 {
					t.Errorf("not folded: %q", line)
				}
			}
			m, err := mail.ReadMessage(&b)
			if err != nil {
				t.Fatal(err)
			}
			if got := decoded(t, m.Header.Get("Subject")); got != s {
				t.Errorf("got %q, want %q", got, s)
			}
		})
	}
	if v := encodeText("XDM/1.0/DDM+CR PAT Zoé"); !strings.HasPrefix(v, "XDM/1.0/DDM+CR PAT =?") {
		t.Errorf("the marker is encoded: %s", v)
	}
}

func TestBoundaryIsInNoPart(t *testing.T) {
	first := assemble(nil, "mixed", nil, "seed", []part{{body: []byte("x")}})
	_, params, err := mime.ParseMediaType(strings.TrimPrefix(strings.SplitN(string(first), "\r\n\r\n", 2)[0], "Content-Type: "))
	if err != nil {
		t.Fatal(err)
	}
	body := "--" + params["boundary"] + "--\r\nhidden"
	again := open(t, assemble(header{{"X", "y"}}, "mixed", nil, "seed", []part{{header{{"Content-Type", "text/plain"}}, []byte(body)}}))
	if len(again.parts) != 1 || !reflect.DeepEqual(strings.TrimSpace(string(again.parts[0].body)), body) {
		t.Errorf("parts %+v", again.parts)
	}
}
