package hl7v2_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
)

// filing is one received document for the synthetic patient.
func filing(set ...func(*gateway.Filing)) gateway.Filing {
	f := gateway.Filing{
		ControlID: "ZABC", Composed: noon(), Action: dmp.New,
		Establishment: gateway.Establishment{Name: "CH-EX", FINESSEJ: "990000001", FINESSGeo: "990000002"},
		Patient: ins.Identity{
			Matricule: matricule, OID: testOID, Status: ins.Qualified,
			Traits: ins.Traits{BirthName: "TESTEUR", FirstGiven: "ZOÉ", GivenNames: "ZOÉ MARIE", BirthDate: "1985-07-14", Sex: "F", BirthPlace: "63220"},
			Local:  []ins.LocalID{{Value: "900001", Authority: "990000001"}},
		},
		Document: []byte(document),
		Metadata: dmp.Metadata{
			UniqueID: dmp.ID{Root: "1.2.250.1.999.1.42"},
			Type:     dmp.Code{Code: "11502-2", Display: "CR d'examens biologiques", System: "2.16.840.1.113883.6.1"},
			Patient:  ins.Identity{Matricule: matricule, OID: testOID},
		},
		MessageID: "m1@exemple.mssante.fr", Subject: "XDM/1.0/DDM+CR TESTEUR ZOÉ 14/07/1985", Body: "Cher confrère",
		Sender: "lea.morel@exemple.mssante.fr", Recipients: []string{"ch-ex@exemple.mssante.fr"},
	}
	for _, s := range set {
		s(&f)
	}
	return f
}

func software() hl7v2.Software {
	return hl7v2.Software{
		To: gateway.Party{Application: "DPI-EX", Facility: "CH-EX"}, As: gateway.Party{Application: "PFI-EX", Facility: "CH-EX"}, Processing: "T",
	}
}

// wanted is the message of filing.
func wanted() message {
	return message{
		`MSH|^~\&|PFI-EX|CH-EX|DPI-EX|CH-EX|20260105120000||MDM^T02^MDM_T02|ZABC|T|2.6|||||FRA|UNICODE UTF-8|||1.1^CISIS_CDA_HL7_LPS`,
		`EVN||20260105120000`,
		`PID|1||` + matricule + `^^^ASIP-SANTE-INS-NIR&` + testOID + `&ISO^INS~900001^^^CH-EX&990000001&N^PI||TESTEUR^ZOÉ^ZOÉ MARIE^^^^L||19850714|F|||^^^^^^BDL^^63220|||||||||||||||||||||VALI`,
		`PV1|1|N`,
		`ORC|NW`,
		`OBR|1|||11502-2^CR d'examens biologiques^LN`,
		`TXA|1|11502-2|TEXT|||||||||1.2.250.1.999.1.42|||||AU`,
		`OBX|1|ED|11502-2^CR d'examens biologiques^LN||^text^XML^Base64^` + b64(document) + `||||||F`,
		`PRT||UC||SB^Send by^participation|||||||||||^^X.400^lea.morel@exemple.mssante.fr`,
		`PRT||UC||RCT^Result Copies To^participation|||||||||||^^X.400^ch-ex@exemple.mssante.fr`,
		`OBX|2|ED|m1@exemple.mssante.fr^XDM/1.0/DDM+CR TESTEUR ZOÉ 14/07/1985||^text^^Base64^` + b64("Cher confrère") + `||||||F`,
		`OBX|3|CWE|MASQUE_PS^Masqué aux professionnels de Santé^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F`,
		`OBX|4|CWE|INVISIBLE_PATIENT^Document Non Visible par le patient^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F`,
		`OBX|5|CWE|INVISIBLE_REP_LEGAUX^Non visible par les représentants Légaux du patient^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F`,
		`OBX|6|CWE|MODIF_CONF_CODE^Modification Confidentiality Code^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F`,
	}
}

// line replaces one segment.
func (m message) line(i int, segment string) message {
	out := append(message(nil), m...)
	out[i] = segment
	return out
}

func TestRenderMDM(t *testing.T) {
	const pid = `PID|1||%||TESTEUR^ZOÉ^ZOÉ MARIE^^^^L||19850714|F|||^^^^^^BDL^^63220|||||||||||||||||||||VALI`
	with := func(ids string) string { return strings.Replace(pid, "%", ids, 1) }
	insID := matricule + `^^^ASIP-SANTE-INS-NIR&` + testOID + `&ISO^INS`
	for name, c := range map[string]struct {
		set  func(*gateway.Filing)
		want message
	}{
		"ok/new": {func(*gateway.Filing) {}, wanted()},
		"ok/replace": {func(f *gateway.Filing) {
			f.Action, f.Metadata.Replaces, f.VisibilityChange = dmp.Replace, &dmp.ID{Root: "1.2.250.1.999.1.41"}, true
		}, wanted().sub("MDM^T02^", "MDM^T10^").line(4, "ORC|RO").
			line(6, `TXA|1|11502-2|TEXT|||||||||1.2.250.1.999.1.42|1.2.250.1.999.1.41||||AU`).
			line(7, strings.TrimSuffix(wanted()[7], "F")+"C").flag("MODIF_CONF_CODE", "Y")},
		"ok/delete names no replaced document": {func(f *gateway.Filing) {
			f.Action, f.Metadata.Replaces = dmp.Delete, &dmp.ID{Root: "1.2.250.1.999.1.41"}
		}, wanted().sub("MDM^T02^", "MDM^T04^").line(4, "ORC|CA").line(7, strings.TrimSuffix(wanted()[7], "F")+"D")},
		"ok/ids with extensions": {func(f *gateway.Filing) {
			f.Action = dmp.Replace
			f.Metadata.UniqueID, f.Metadata.Replaces = dmp.ID{Root: "1.2.3", Extension: "B^2"}, &dmp.ID{Root: "1.2.3", Extension: "A1"}
		}, wanted().sub("MDM^T02^", "MDM^T10^").line(4, "ORC|RO").line(6, `TXA|1|11502-2|TEXT|||||||||B\S\2^^1.2.3^ISO|A1^^1.2.3^ISO||||AU`).
			line(7, strings.TrimSuffix(wanted()[7], "F")+"C")},
		"ok/hidden from the patient and representatives": {func(f *gateway.Filing) {
			f.Metadata.Visibility = []dmp.Visibility{dmp.HiddenFromRepresentatives, dmp.HiddenFromPatient}
		}, wanted().flag("INVISIBLE_PATIENT", "Y").flag("INVISIBLE_REP_LEGAUX", "Y")},
		"ok/reply addresses": {func(f *gateway.Filing) { f.ReplyTo = []string{"a@x.mssante.fr", "b@x.mssante.fr"} },
			wanted().after("PRT||UC||RCT", `PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^a@x.mssante.fr`).
				after("PRT||UC||REPLY", `PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^b@x.mssante.fr`)},
		"ok/no recipient known": {func(f *gateway.Filing) { f.Recipients = nil }, wanted().drop("PRT||UC||RCT")},
		"ok/empty mail":         {func(f *gateway.Filing) { f.Subject, f.Body = "", "" }, wanted().line(10, `OBX|2|ED|m1@exemple.mssante.fr^||^text^^Base64^||||||F`)},
		"ok/separators and lines in the mail": {func(f *gateway.Filing) { f.Subject, f.MessageID = "a|b^c&d~e\\f\r\nMSH|\x1c\x0b\xff", "<1|@x>" },
			wanted().line(10, `OBX|2|ED|<1\F\@x>^a\F\b\S\c\T\d\R\e\E\f\X0D\\X0A\MSH\F\\X1C\\X0B\`+"\uFFFD"+`||^text^^Base64^`+b64("Cher confrère")+`||||||F`)},
		"ok/French type code": {func(f *gateway.Filing) {
			f.Metadata.Type = dmp.Code{Code: "SYNTH", Display: "Synthèse", System: "1.2.250.1.213.1.1.4.12"}
		}, wanted().sub("11502-2^CR d'examens biologiques^LN", "SYNTH^Synthèse^TRE_A05").sub("|11502-2|", "|SYNTH|")},
		"ok/type code of another system": {func(f *gateway.Filing) { f.Metadata.Type = dmp.Code{Code: "X", System: "1.2.3"} },
			wanted().sub("11502-2^CR d'examens biologiques^LN", "X^^1.2.3").sub("|11502-2|", "|X|")},
		"ok/type code alone": {func(f *gateway.Filing) { f.Metadata.Type = dmp.Code{Code: "X"} },
			wanted().sub("11502-2^CR d'examens biologiques^LN", "X").sub("|11502-2|", "|X|")},
		"ok/no INS": {func(f *gateway.Filing) { f.Patient = f.Patient.WithoutINS(); f.Metadata.Patient = ins.Identity{} },
			wanted().line(2, with(`900001^^^CH-EX&990000001&N^PI`))},
		"ok/no IPP": {func(f *gateway.Filing) { f.Patient.Local = nil }, wanted().line(2, with(insID))},
		"ok/local authorities": {func(f *gateway.Filing) {
			f.Patient.Local = []ins.LocalID{{Value: "1", Authority: "1.2.250.1.999.5"}, {Value: "2", Authority: "990000099"}, {Value: "3", Authority: "LABO&X"}, {Value: "4"}}
		}, wanted().line(2, with(insID+`~1^^^&1.2.250.1.999.5&ISO^PI~2^^^&990000099&N^PI~3^^^LABO\T\X^PI~4^^^^PI`))},
		"ok/attributes": {func(f *gateway.Filing) { f.Patient.Attributes = []string{"HOMA", "IDVER"} },
			wanted().line(2, wanted()[2]+"~HOMA~IDVER")},
		"ok/NIA": {func(f *gateway.Filing) {
			f.Patient.OID, f.Metadata.Patient.OID = ins.OIDNIA, ins.OIDNIA
		}, wanted().sub("ASIP-SANTE-INS-NIR&"+testOID, "ASIP-SANTE-INS-NIA&1.2.250.1.213.1.4.9")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hl7v2.RenderMDM(filing(c.set), software(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.want.bytes(); !bytes.Equal(got, want) {
				t.Errorf("\ngot  %s\nwant %s", readable(got), readable(want))
			}
			if again, _ := hl7v2.RenderMDM(filing(c.set), software(), nil); !bytes.Equal(got, again) {
				t.Error("a resend differs")
			}
		})
	}
	local, err := hl7v2.RenderMDM(filing(), hl7v2.Software{}, time.FixedZone("", 3600))
	if err != nil || !bytes.HasPrefix(local, []byte(`MSH|^~\&|||||20260105130000||MDM^T02^MDM_T02|ZABC|P|`)) {
		t.Errorf("%q %v", local[:80], err)
	}
}

func readable(b []byte) string { return strings.ReplaceAll(string(b), "\r", "\n     ") }

// refusedFilings leave nothing on the wire.
var refusedFilings = map[string]struct {
	set  func(*gateway.Filing)
	want string
}{
	"fail/masked": {func(f *gateway.Filing) { f.Metadata.Visibility = []dmp.Visibility{dmp.HiddenFromProfessionals} }, "HL7-MDM-MASKED@OBX^3^5"},
	"fail/masked deletion": {func(f *gateway.Filing) {
		f.Action, f.Metadata.Visibility = dmp.Delete, []dmp.Visibility{dmp.HiddenFromPatient, dmp.HiddenFromProfessionals}
	}, "HL7-MDM-MASKED@OBX^3^5"},
	"fail/validated only":        {func(f *gateway.Filing) { f.Patient.Status = ins.Validated }, "INS-NOT-QUALIFIED@status"},
	"fail/retrieved only":        {func(f *gateway.Filing) { f.Patient.Status = ins.Retrieved }, "INS-NOT-QUALIFIED@status"},
	"fail/doubtful":              {func(f *gateway.Filing) { f.Patient.Attributes = []string{"DOUT"} }, "INS-NOT-QUALIFIED@attributes"},
	"fail/matricule without OID": {func(f *gateway.Filing) { f.Patient.OID = "" }, "INS-INCOMPLETE@oid"},
	"fail/trait missing":         {func(f *gateway.Filing) { f.Patient.Traits.BirthPlace = "" }, "INS-INCOMPLETE@birth_place"},
	"fail/document of another":   {func(f *gateway.Filing) { f.Metadata.Patient.Matricule = "279035121518989" }, "HL7-MDM-PATIENT@PID^1^3"},
	"fail/document, other OID":   {func(f *gateway.Filing) { f.Metadata.Patient.OID = ins.OIDDemo }, "HL7-MDM-PATIENT@PID^1^3"},
	// Found by the proof on the wire (issue 6): the person had no INS, so that the
	// gate had nothing to hold back, and the document had one.
	"fail/document with an INS, person without": {func(f *gateway.Filing) { f.Patient = f.Patient.WithoutINS() }, "HL7-MDM-PATIENT@PID^1^3"},
	"fail/nobody": {func(f *gateway.Filing) {
		f.Patient = f.Patient.WithoutINS()
		f.Patient.Local = nil
	}, "HL7-MDM-INCOMPLETE@PID^1^3"},
	"fail/no name": {func(f *gateway.Filing) {
		f.Patient = f.Patient.WithoutINS()
		f.Patient.Traits.BirthName = ""
	}, "HL7-MDM-INCOMPLETE@PID^1^5"},
	"fail/no type":           {func(f *gateway.Filing) { f.Metadata.Type = dmp.Code{} }, "HL7-MDM-INCOMPLETE@TXA^1^2"},
	"fail/no id":             {func(f *gateway.Filing) { f.Metadata.UniqueID = dmp.ID{} }, "HL7-MDM-INCOMPLETE@TXA^1^12"},
	"fail/replaces nothing":  {func(f *gateway.Filing) { f.Action = dmp.Replace }, "HL7-MDM-INCOMPLETE@TXA^1^13"},
	"fail/no document":       {func(f *gateway.Filing) { f.Document = nil }, "HL7-MDM-INCOMPLETE@OBX^1^5"},
	"fail/no sender":         {func(f *gateway.Filing) { f.Sender = "" }, "HL7-MDM-INCOMPLETE@PRT^1^15"},
	"fail/no such action":    {func(f *gateway.Filing) { f.Action = "archive" }, "HL7-EVENT@MSH^1^9"},
	"fail/no action decided": {func(f *gateway.Filing) { f.Action = "" }, "HL7-EVENT@MSH^1^9"},
}

func TestRenderMDMRefuses(t *testing.T) {
	for name, c := range refusedFilings {
		t.Run(name, func(t *testing.T) {
			message, err := hl7v2.RenderMDM(filing(c.set), software(), nil)
			if message != nil || err == nil {
				t.Fatal("rendered")
			}
			if got := codes([]error{err}); got[0] != c.want {
				t.Errorf("%s, want %s", got[0], c.want)
			}
			if text := err.Error(); strings.Contains(text, matricule) || strings.Contains(text, "TESTEUR") {
				t.Errorf("a trait in %q", text)
			}
			if fault.From(err).Kind != fault.Permanent {
				t.Error("a resend has the same bytes: it cannot succeed later")
			}
		})
	}
}

// TestMDMReadBack: what is written says the same to a reader of the volet,
// which shares the MDM grammar up to the flags.
func TestMDMReadBack(t *testing.T) {
	big := filing(func(f *gateway.Filing) { f.Document = bytes.Repeat([]byte(document), 80_000) })
	raw, err := hl7v2.RenderMDM(big, software(), nil)
	if err != nil {
		t.Fatal(err)
	}
	in, h := hl7v2.Read(raw, hl7v2.Options{Profiles: []string{hl7v2.ProfileApplication}})
	if h.Message.Profile != hl7v2.ProfileApplication || h.Message.Type != "MDM^T02" || h.Message.ControlID != big.ControlID {
		t.Errorf("%+v", h.Message)
	}
	p, w := in.Patient, big.Patient
	if p.Matricule != w.Matricule || p.OID != w.OID || p.Traits != w.Traits || p.Status != w.Status || len(p.Local) != 1 || p.Local[0] != w.Local[0] {
		t.Errorf("%+v, want %+v", p, w)
	}
	if len(in.Documents) != 1 || !bytes.Equal(in.Documents[0].Content, big.Document) || *in.Documents[0].ID != big.Metadata.UniqueID {
		t.Error("another document")
	}
	if in.Documents[0].Type != big.Metadata.Type {
		t.Errorf("%+v", in.Documents[0].Type)
	}
}

func mdmAck(code, id, rest string) string {
	return "\x0b" + `MSH|^~\&|DPI-EX|CH-EX|PFI-EX|CH-EX|20260105120000||ACK^T02^ACK|1|T|2.6|||||FRA|UNICODE UTF-8` + "\rMSA|" + code + "|" + id + "\r" + rest + "\x1c\r"
}

func application(target hl7v2.Target) *hl7v2.Application {
	return &hl7v2.Application{Timeout: 5 * time.Second, Route: func(gateway.Establishment) (hl7v2.Software, bool) {
		s := software()
		s.Target = target
		return s, target.Address != ""
	}}
}

func TestFile(t *testing.T) {
	reason := func(err5 string) string {
		return mdmAck("AE", "ZABC", "ERR||PID^1^3|207^Application error^messageErrorCondition|E|"+err5+"\r")
	}
	for name, c := range map[string]struct {
		reply, want, ack, application string
		timeout                       time.Duration
	}{
		"ok/AA":                    {reply: mdmAck("AA", "ZABC", "")},
		"fail/AE 902":              {reply: reason("902^Patient inconnu^applicationErrorCode"), want: hl7v2.FaultMDMRefused, ack: "AE", application: "902"},
		"fail/AE 906, other name":  {reply: reason("906^Autre^applicationErrorCondition"), want: hl7v2.FaultMDMRefused, ack: "AE", application: "906"},
		"fail/AE 900, no name":     {reply: reason("900"), want: hl7v2.FaultMDMRefused, ack: "AE", application: "900"},
		"fail/AE of another table": {reply: reason("42^x^y"), want: hl7v2.FaultMDMRefused, ack: "AE"},
		"fail/AE, second ERR tells": {reply: mdmAck("AE", "ZABC", "ERR|||101^x|E\rERR|||207^x|E|904^INS^applicationErrorCode\r"),
			want: hl7v2.FaultMDMRefused, ack: "AE", application: "904"},
		"fail/AE alone":        {reply: mdmAck("AE", "ZABC", ""), want: hl7v2.FaultMDMRefused, ack: "AE"},
		"fail/AR":              {reply: mdmAck("AR", "ZABC", "ERR|||207^x|E|906^Autre^applicationErrorCode\r"), want: hl7v2.FaultMDMBusy, ack: "AR"},
		"fail/another message": {reply: mdmAck("AA", "ZABD", ""), want: hl7v2.FaultMDMAnswer},
		"fail/AE of another":   {reply: mdmAck("AE", "ZABD", ""), want: hl7v2.FaultMDMAnswer},
		"fail/no MSA":          {reply: "\x0b" + `MSH|^~\&|A|B|C|D|2026||ACK^T02^ACK|1|T|2.6` + "\r\x1c\r", want: hl7v2.FaultMDMAnswer},
		"fail/CA":              {reply: mdmAck("CA", "ZABC", ""), want: hl7v2.FaultMDMAnswer},
		"fail/our own message": {reply: string(frame(wanted().bytes())), want: hl7v2.FaultMDMAnswer},
		"fail/garbage":         {reply: strings.Repeat("x", 70_000), want: hl7v2.FaultMDMAnswer},
		"fail/huge":            {reply: "\x0b" + strings.Repeat("x", 2<<20) + "\x1c", want: hl7v2.FaultMDMAnswer},
		"fail/cut":             {reply: mdmAck("AA", "ZABC", "")[:30], want: hl7v2.FaultMDMSilent},
		"fail/silence":         {want: hl7v2.FaultMDMSilent, timeout: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			a := application(receiver(t, func(m string) string { got = m; return c.reply }))
			if c.timeout > 0 {
				a.Timeout = c.timeout
			}
			sent := 0
			a.Trace = func(gateway.Filing) { sent++ }
			err := a.File(context.Background(), filing())
			told(t, err, c.want, c.ack, c.application)
			if sent != 1 {
				t.Errorf("traced %d times", sent)
			}
			if c.reply != "" && got != string(wanted().bytes()) {
				t.Errorf("received %q", got)
			}
		})
	}
	t.Run("ok/a large document", func(t *testing.T) {
		f := filing(func(f *gateway.Filing) { f.Document = bytes.Repeat([]byte(document), 60_000) })
		var got string
		a := application(receiver(t, func(m string) string { got = m; return mdmAck("AA", "ZABC", "") }))
		if err := a.File(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if want, _ := hl7v2.RenderMDM(f, software(), nil); got != string(want) {
			t.Errorf("received %d bytes, want %d", len(got), len(want))
		}
	})
	t.Run("fail/no route", func(t *testing.T) {
		told(t, application(hl7v2.Target{}).File(t.Context(), filing()), hl7v2.FaultMDMRoute, "", "")
	})
	t.Run("fail/nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		told(t, application(hl7v2.Target{Address: ln.Addr().String()}).File(t.Context(), filing()), hl7v2.FaultMDMDown, "", "")
	})
	for name, c := range refusedFilings {
		t.Run("nothing leaves/"+name, func(t *testing.T) {
			var reached bool
			a := application(receiver(t, func(string) string { reached = true; return mdmAck("AA", "ZABC", "") }))
			a.Trace = func(gateway.Filing) { reached = true }
			err := a.File(t.Context(), filing(c.set))
			if err == nil || reached {
				t.Errorf("%v, reached: %v", err, reached)
			}
		})
	}
}

// told looks at an error as the gateway does.
func told(t *testing.T, err error, code, ack, reason string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var r *hl7v2.Refusal
	if !errors.As(err, &r) || r.Code != code || r.AckCode() != ack || r.ApplicationCode() != reason {
		t.Fatalf("%v, want %s %s %s", err, code, ack, reason)
	}
	if permanent := code == hl7v2.FaultMDMRefused; (fault.From(err).Kind == fault.Permanent) != permanent {
		t.Errorf("%s is of the wrong kind", code)
	}
}

// FuzzRenderMDM: whatever stands in a letter, a document or a register, the
// message keeps its segments, and the mail and the document come back.
func FuzzRenderMDM(f *testing.F) {
	f.Add("subject", "body", "id@x", "NOM", "a@x.fr", "1.2.3", []byte("<x/>"))
	f.Add("0", "0", "0", " ", "0", "0", []byte("0")) // found by fuzzing in CI: a name of blanks is none
	f.Add("|^~\\&\r\n\x0b\x1c", "\x1c\r", "\r", "É\xff", "\\F\\", "^", []byte{0, 0x1c, 0xff})
	f.Fuzz(func(t *testing.T, subject, body, id, name, address, extension string, doc []byte) {
		if strings.TrimSpace(name) == "" || address == "" || len(doc) == 0 {
			return
		}
		in := filing(func(f *gateway.Filing) {
			f.Subject, f.Body, f.MessageID, f.Sender, f.Document = subject, body, id, address, doc
			f.Patient.Traits.BirthName, f.Metadata.UniqueID.Extension = name, extension
			f.Recipients = []string{address}
			f.Patient.Local = []ins.LocalID{{Value: name, Authority: extension}}
		})
		raw, err := hl7v2.RenderMDM(in, software(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(raw, "\x0b\x1c\n") {
			t.Fatalf("breaks its frame: %q", raw)
		}
		lines := strings.Split(strings.TrimSuffix(string(raw), "\r"), "\r")
		if len(lines) != len(wanted()) {
			t.Fatalf("%d segments: %q", len(lines), raw)
		}
		for i, w := range wanted() {
			if got, want := strings.Count(lines[i], "|"), strings.Count(w, "|"); got != want || lines[i][:3] != w[:3] {
				t.Fatalf("%q", lines[i])
			}
		}
		for i, want := range map[int][]byte{7: doc, 10: []byte(body)} {
			value := strings.Split(strings.Split(lines[i], "|")[5], "^")
			if got, err := base64.StdEncoding.DecodeString(value[4]); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%q: %v", lines[i], err)
			}
		}
	})
}
