package hl7v2_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
)

func lowered(status ins.Status, now ins.Pair) gateway.IdentityNotice {
	return gateway.IdentityNotice{
		ControlID: "ZA47", Composed: time.Date(2026, 1, 5, 9, 30, 0, 0, time.UTC),
		Establishment: gateway.Establishment{Name: "CH", FINESSEJ: "990000010", FINESSGeo: "990000028"},
		Old:           ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest},
		Patient: ins.Identity{
			Matricule: now.Matricule, OID: now.OID, Status: status, Local: []ins.LocalID{{Value: "IPP|1", Authority: "990000028"}},
			Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-28", Sex: "F", BirthPlace: "51215"},
		},
	}
}

func TestRenderA47(t *testing.T) {
	const (
		gone  = `PID|1||""^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS~IPP\F\1^^^CH&990000028&N^PI||PAT-TROIS^`
		prior = "MRG|279035121518989^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS~IPP\\F\\1^^^CH&990000028&N^PI\r"
	)
	other := ins.Pair{Matricule: "260058815400233", OID: ins.OIDNIR}
	wrongKey := ins.Pair{Matricule: "260058815400244", OID: ins.OIDNIR}
	for _, c := range []struct {
		name string
		n    gateway.IdentityNotice
		pid  string
		end  string // PID-32
	}{
		{"ok/withdrawn-validated", lowered(ins.Validated, ins.Pair{}), gone, "|VALI"},
		{"ok/withdrawn-provisional", lowered(ins.Provisional, ins.Pair{}), gone, "|PROV"},
		{"ok/recup-keeps-its-matricule-in", lowered(ins.Retrieved, other), gone, "|PROV"},
		{"ok/another-ins", lowered(ins.Qualified, other), "PID|1||260058815400233^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS~IPP", "|VALI"},
		{"ok/a-wrong-key-stays-in", lowered(ins.Qualified, wrongKey), gone, "|VALI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := hl7v2.Software{To: gateway.Party{Application: "DPI", Facility: "CH"}, As: gateway.Party{Application: "PASSERELLE", Facility: "CH"}, Processing: "T"}
			got := string(hl7v2.RenderA47(c.n, to, nil))
			segments := strings.Split(got, "\r")
			if !strings.HasPrefix(got, `MSH|^~\&|PASSERELLE|CH|DPI|CH|20260105093000`) || !strings.Contains(segments[0], "|ADT^A47^ADT_A30|ZA47|T|2.5^FRA^2.11|") {
				t.Errorf("%s", segments[0])
			}
			if !strings.HasPrefix(segments[2], c.pid) || !strings.HasSuffix(segments[2], c.end) {
				t.Errorf("%s", segments[2])
			}
			if !strings.HasSuffix(got, prior) {
				t.Errorf("%s", segments[3])
			}
			in, _ := hl7v2.Read([]byte(got), hl7v2.Options{})
			if len(in.Refusals) > 0 || in.Prior == nil || in.Prior.Matricule != c.n.Old.Matricule || len(in.Prior.Local) != 1 {
				t.Errorf("read back: %v, %+v", in.Refusals, in.Prior)
			}
			if !bytes.Equal(hl7v2.RenderA47(c.n, to, nil), []byte(got)) {
				t.Error("a resend has other bytes")
			}
		})
	}
}

func TestLoweredAnswers(t *testing.T) {
	for _, c := range []struct {
		name, reply, code, ack string
	}{
		{"ok/aa", mdmAck("AA", "ZA47", ""), "", ""},
		{"fail/ae", mdmAck("AE", "ZA47", ""), hl7v2.FaultA47Refused, "AE"},
		{"fail/ar", mdmAck("AR", "ZA47", ""), hl7v2.FaultA47Busy, "AR"},
		{"fail/of-another-message", mdmAck("AA", "other", ""), hl7v2.FaultA47Answer, ""},
		{"fail/silent", mdmAck("AA", "ZA47", "")[:30], hl7v2.FaultA47Silent, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			a := application(receiver(t, func(m string) string { got = m; return c.reply }))
			err := a.Lowered(t.Context(), lowered(ins.Validated, ins.Pair{}))
			var r *hl7v2.Refusal
			if c.code == "" && err != nil || c.code != "" && (!errors.As(err, &r) || r.Code != c.code || r.AckCode() != c.ack) {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(got, "|ADT^A47^ADT_A30|ZA47|") {
				t.Errorf("received %q", got)
			}
		})
	}
	t.Run("fail/no-route", func(t *testing.T) {
		var r *hl7v2.Refusal
		if err := application(hl7v2.Target{}).Lowered(t.Context(), lowered(ins.Validated, ins.Pair{})); !errors.As(err, &r) || r.Code != hl7v2.FaultA47Route {
			t.Fatalf("%v", err)
		}
	})
}

// What an ADT says to those who hold identities is read wherever it stands, and
// never refuses the ADT.
func TestADTForTheRegister(t *testing.T) {
	head := "MSH|^~\\&|DPI|CH|PFI|CH|20260105093000||ADT^A47^ADT_A30|C1|T|2.5^FRA^2.11|||||FRA|UNICODE UTF-8|||2.11^IHE_FRANCE-2.11-PAM\rEVN||20260105093000\r"
	pid := `PID|1||""^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS~1^^^CH&990000028&N^PI||PAT-TROIS^DOMINIQUE^^^^^L||19790328|F||||||||||||||||||||||||PROV` + "\r"
	ins1 := "279035121518989^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS"
	ins2 := "260058815400233^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS"
	for _, c := range []struct {
		name, rest string
		prior      string // matricule; "-": no MRG
		corrected  bool
		warned     string
	}{
		{"ok/nothing", "", "-", false, ""},
		{"ok/mrg", "MRG|" + ins1 + "\r", "279035121518989", false, ""},
		{"ok/zfd", "ZFD|||N|Y\r", "-", true, ""},
		{"ok/zfd-not-corrected", "ZFD||||N\rMRG|" + ins1 + "\r", "279035121518989", false, ""},
		{"fail/two-prior-ins", "MRG|" + ins1 + "~" + ins2 + "\r", "", false, hl7v2.FaultFieldRepeated},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, _ := hl7v2.Read([]byte(head+pid+c.rest), hl7v2.Options{})
			if len(in.Refusals) > 0 || in.Patient.HasINS() || in.DateCorrected != c.corrected {
				t.Fatalf("%v, %+v, corrected %v", in.Refusals, in.Patient, in.DateCorrected)
			}
			if (in.Prior == nil) != (c.prior == "-") || in.Prior != nil && in.Prior.Matricule != c.prior {
				t.Errorf("%+v", in.Prior)
			}
			if c.warned != "" && (len(in.Warnings) == 0 || in.Warnings[0].Code != c.warned) {
				t.Errorf("%+v", in.Warnings)
			}
		})
	}
}
