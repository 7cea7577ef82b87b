package hl7v2_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
)

var stamp = hl7v2.Stamp{Time: noon(), ControlID: "ACK1"}

func TestAcknowledge(t *testing.T) {
	const head = `MSH|^~\&|PFI-EX|CH-EX|DPI-EX|CH-EX|20260105120000||ACK^T02^ACK|ACK1|T|2.6|||||FRA|UNICODE UTF-8` + "\r"
	const headORU = `MSH|^~\&|PFI-EX|CH-EX|DPI-EX|CH-EX|20260105120000||ACK^R01^ACK|ACK1|T|2.5|||||FRA|UNICODE UTF-8` + "\r"
	profile := fault.New(hl7v2.FaultProfile)
	flag := fault.From(&hl7v2.Refusal{Code: hl7v2.FaultFlagMissing, Where: "OBX", Detail: "DESTDMP"})
	text := func(f *fault.Fault) string { return f.FR + " " + f.FixFR }
	esc := strings.NewReplacer(`\`, `\E\`, "^", `\S\`, "|", `\F\`, "~", `\R\`, "&", `\T\`)
	cases := map[string]struct {
		m    message
		d    gateway.Decision
		want string
	}{
		"ok/accepted": {mdm(), gateway.Decision{Outcome: gateway.Accepted, Submission: "S1"}, head + "MSA|AA|M0001|S1\r"},
		"ok/ORU":      {oru(), gateway.Decision{Outcome: gateway.Accepted, Submission: "S1"}, headORU + "MSA|AA|M0001|S1\r"},
		"ok/noted": {adt(), gateway.Decision{Outcome: gateway.Noted, Submission: "S1"},
			`MSH|^~\&|PFI-EX|CH-EX|GAM|CH-EX|20260105120000||ACK^A01^ACK|ACK1|T|2.5|||||FRA|UNICODE UTF-8` + "\rMSA|AA|M0002|S1\r"},
		"ok/no ERR beside AA": {mdm(), gateway.Decision{Outcome: gateway.Accepted, Submission: "S1", Faults: []*fault.Fault{profile}}, head + "MSA|AA|M0001|S1\r"},
		"ok/replayed":         {mdm(), gateway.Decision{Outcome: gateway.Replayed, Receipt: []byte("as before")}, "as before"},
		"fail/refused": {mdm(), gateway.Decision{Outcome: gateway.Refused, Submission: "S1", Faults: []*fault.Fault{profile.At("MSH^1^21"), flag}},
			head + "MSA|AE|M0001|S1\r" +
				"ERR||MSH^1^21|199^Other HL7 Error^messageErrorCondition|E|||HL7-PROFILE|" + esc.Replace(text(profile)) + "\r" +
				"ERR||OBX|101^Required field missing^messageErrorCondition|E|||HL7-FLAG-MISSING DESTDMP|" + esc.Replace(text(flag)) + "\r"},
		"fail/unavailable": {mdm(), gateway.Decision{Outcome: gateway.Unavailable, Faults: []*fault.Fault{fault.New(fault.Internal)}},
			head + "MSA|AR|M0001\r" +
				"ERR|||207^Application error^messageErrorCondition|E|906^Autre^applicationErrorCode||INTERNAL|" + esc.Replace(text(fault.New(fault.Internal))) + "\r"},
		"fail/trait of ins": {mdm(), gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.From(&ins.Refusal{Code: ins.FaultMismatch, Where: ins.TraitBirthDate})}},
			head + "MSA|AE|M0001\r" +
				"ERR||PID^1^7|207^Application error^messageErrorCondition|E|904^INS ou traits discordants^applicationErrorCode||INS-MISMATCH|" + esc.Replace(text(fault.New(ins.FaultMismatch))) + "\r"},
		// Found by the audit of issue 2, 2026-11-22: the remedies speak of the line, and
		// of the field, that the answer did not tell.
		"fail/line of the document": {mdm(), gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.From(&cda.Finding{Code: cda.FaultXML, Line: 7}).At("OBX^1^5")}},
			head + "MSA|AE|M0001\r" +
				"ERR||OBX^1^5|102^Data type error^messageErrorCondition|E|||CDA-XML line 7|" + esc.Replace(text(fault.New(cda.FaultXML))) + "\r"},
		"fail/field of PID behind the patient": {mdm(), gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.From(&ins.Refusal{Code: ins.FaultMismatch, Where: ins.TraitBirthDate}).At("PID^1^3")}},
			head + "MSA|AE|M0001\r" +
				"ERR||PID^1^3|207^Application error^messageErrorCondition|E|904^INS ou traits discordants^applicationErrorCode||INS-MISMATCH PID-7|" + esc.Replace(text(fault.New(ins.FaultMismatch))) + "\r"},
		"fail/control id with a tilde": {mdm().field("MSH", 10, "A~B"), gateway.Decision{Outcome: gateway.Accepted, Submission: "S1"}, head + "MSA|AA|A\\R\\B|S1\r"},
		"fail/place in the document": {mdm(), gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.New(hl7v2.FaultBase64).At("/ClinicalDocument/id[1]")}},
			head + "MSA|AE|M0001\r" +
				"ERR|||102^Data type error^messageErrorCondition|E|||HL7-BASE64 /ClinicalDocument/id[1]|" + esc.Replace(text(fault.New(hl7v2.FaultBase64))) + "\r"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := hl7v2.Acknowledge(hl7v2.ReadHeader(c.m.bytes(), ""), c.d, stamp)
			if string(got) != c.want {
				t.Errorf("got\n%s\nwant\n%s", bytes.ReplaceAll(got, []byte("\r"), []byte("\n")), strings.ReplaceAll(c.want, "\r", "\n"))
			}
		})
	}
}

func TestAcknowledgeUnreadable(t *testing.T) {
	refused := gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.New(hl7v2.FaultNotHL7)}}
	for name, c := range map[string]struct{ raw, id string }{
		"ok/empty":                 {"", ""},
		"ok/noise":                 {"\x00\xff", ""},
		"ok/other separators":      {`MSH#*~\&#A#B#C#D#20260105##ORU*R01*ORU_R01#M9#P#2.5`, "M9"},
		"ok/MSH alone":             {`MSH|^~\&|`, ""},
		"ok/letters as separators": {`MSHxyz`, ""},
		"ok/id to escape":          {`MSH|^~\&|A|B|C|D|20260105||ORU^R01^ORU_R01|M\T\9|P|2.5`, "M&9"},
		"ok/hostile version":       {`MSH|^~\&|A|B|C|D|20260105||ORU^R\F\01|M9|\X0D\|2\X0D\MSA`, "M9"},
		"ok/bytes of no charset":   {"MSH|^~\\&|\xff\xfe|B|C|D|20260105||ORU^R01|M9|P|2.5", "M9"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := hl7v2.Acknowledge(hl7v2.ReadHeader([]byte(c.raw), ""), refused, stamp)
			a, err := hl7v2.ReadAnswer(raw)
			if err != nil || a.Code != "AE" || a.ControlID != c.id || len(a.Errors) != 1 || bytes.Count(raw, []byte("\r")) != 3 {
				t.Errorf("%q: %+v %v", raw, a, err)
			}
		})
	}
}

func TestAcknowledgeInTheCharsetOfTheSender(t *testing.T) {
	h := hl7v2.ReadHeader(mdm().field("MSH", 18, "8859/15").field("MSH", 3, "H\xD4PITAL").bytes(), "")
	got := hl7v2.Acknowledge(h, gateway.Decision{Outcome: gateway.Refused, Faults: []*fault.Fault{fault.New(hl7v2.FaultProfile)}}, stamp)
	if !bytes.Contains(got, []byte("|H\xD4PITAL|")) || !bytes.Contains(got, []byte("|8859/15\r")) || !bytes.Contains(got, []byte("accept\xE9")) {
		t.Errorf("%q", got)
	}
}

func TestControlIDs(t *testing.T) {
	random := &zeros{}
	seen := map[string]bool{}
	for range 20 {
		id, err := hl7v2.NewControlID(random)
		if err != nil || len(id) != 20 || seen[id] {
			t.Fatal(id, err)
		}
		seen[id] = true
	}
}

// TestRows: each refusal of this room has a row, and no warning is lost.
func TestRows(t *testing.T) {
	for _, row := range fault.Table {
		if !strings.HasPrefix(row.Code, "HL7-") {
			continue
		}
		if (row.Kind == fault.Temporary) != (row.HL7.Ack == "AR") || (row.HL7.Code == "207") != (row.HL7.App != "") {
			t.Errorf("%s: %+v", row.Code, row.HL7)
		}
		if row.HL7.Ack == "AE" && row.HTTP == 422 && strings.ContainsAny(row.FR+row.FixFR, "|^~\\&") && row.Code != hl7v2.FaultMatriculeAlone {
			// \S\ for ^ cannot be read in an ERR-8 (found by the audit of issue 2, 2026-11-22).
			t.Errorf("%s: ERR-8 would be full of escapes", row.Code)
		}
		if len([]rune(row.FR+" "+row.FixFR)) > 250 {
			t.Errorf("%s: ERR-8 above the 250 characters of HL7 2.5", row.Code)
		}
	}
}
