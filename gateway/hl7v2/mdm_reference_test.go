package hl7v2_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
)

// reference reads one sample of the volet as lists of fields, without our own
// reader, so that the writer is not judged by it.
type reference map[string][][]string

func readReference(raw []byte) reference {
	m := reference{}
	for _, line := range strings.FieldsFunc(string(raw), func(r rune) bool { return r == '\r' || r == '\n' }) {
		f := strings.Split(line, "|")
		if f[0] == "MSH" {
			f = append([]string{"MSH", "|"}, f[1:]...)
		}
		f = append(f, make([]string, 40)...)
		key := f[0]
		if key == "PRT" {
			key += " " + component(f[4], 1)
		}
		m[key] = append(m[key], f)
	}
	return m
}

// at is one field, component or sub-component of the first segment of a name,
// or of the OBX of that number.
func (m reference) at(segment string, n int, sub ...int) string {
	list := m[segment]
	if set, ok := strings.CutPrefix(segment, "OBX "); ok {
		for _, s := range m["OBX"] {
			if s[1] == set {
				list = [][]string{s}
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	v := list[0][n]
	for i, s := range sub {
		sep := "^"
		if i == 1 {
			sep = "&"
		}
		if parts := strings.Split(v, sep); s <= len(parts) {
			v = parts[s-1]
		} else {
			v = ""
		}
	}
	return strings.TrimSpace(v)
}

func component(v string, n int) string {
	parts := strings.Split(v, "^")
	if n > len(parts) {
		return ""
	}
	return parts[n-1]
}

// birthPlace is the repetition of PID-11 of type BDL, as far as the volet fixes it.
func (m reference) birthPlace() string {
	for a := range strings.SplitSeq(m.at("PID", 11), "~") {
		if component(a, 7) == "BDL" {
			return component(a, 9)
		}
	}
	return ""
}

// filing is what the gateway would have received to write such a message.
func (m reference) filing(t *testing.T) gateway.Filing {
	t.Helper()
	decode := func(segment string) []byte {
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m.at(segment, 5, 5), "="))
		if err != nil {
			t.Fatal(segment, err)
		}
		return b
	}
	id := func(field int) dmp.ID {
		if m.at("TXA", field, 3) == "" {
			return dmp.ID{Root: m.at("TXA", field, 1)}
		}
		return dmp.ID{Root: m.at("TXA", field, 3), Extension: m.at("TXA", field, 1)}
	}
	birth := m.at("PID", 7)
	f := gateway.Filing{
		ControlID: m.at("MSH", 10), Composed: noon(),
		Action: map[string]dmp.Action{"T02": dmp.New, "T10": dmp.Replace, "T04": dmp.Delete}[m.at("MSH", 9, 2)],
		Patient: ins.Identity{
			Matricule: m.at("PID", 3, 1), OID: ins.OID(m.at("PID", 3, 4, 2)), Status: ins.Qualified,
			Traits: ins.Traits{
				BirthName: m.at("PID", 5, 1), FirstGiven: m.at("PID", 5, 2), GivenNames: m.at("PID", 5, 3),
				BirthDate: birth[:4] + "-" + birth[4:6] + "-" + birth[6:], Sex: m.at("PID", 8), BirthPlace: m.birthPlace(),
			},
		},
		Document: decode("OBX 1"),
		Metadata: dmp.Metadata{
			UniqueID: id(12),
			Type:     dmp.Code{Code: m.at("OBX 1", 3, 1), Display: m.at("OBX 1", 3, 2), System: "2.16.840.1.113883.6.1"},
		},
		MessageID: m.at("OBX 2", 3, 1), Subject: m.at("OBX 2", 3, 2), Body: string(decode("OBX 2")),
		Sender: m.at("PRT SB", 15, 4), Recipients: []string{m.at("PRT RCT", 15, 4)}, ReplyTo: []string{m.at("PRT REPLY", 15, 4)},
		VisibilityChange: m.at("OBX 6", 5, 1) == "Y",
	}
	if replaced := id(13); replaced != (dmp.ID{}) {
		f.Metadata.Replaces = &replaced
	}
	for set, v := range map[string]dmp.Visibility{"OBX 3": dmp.HiddenFromProfessionals, "OBX 4": dmp.HiddenFromPatient, "OBX 5": dmp.HiddenFromRepresentatives} {
		if m.at(set, 5, 1) == "Y" {
			f.Metadata.Visibility = append(f.Metadata.Visibility, v)
		}
	}
	return f
}

// fixed are the fields that the volet fixes and that 1.0 and 1.1 have in
// common: segment, field, component, sub-component.
var fixed = []struct {
	segment string
	n       int
	sub     []int
}{
	{"MSH", 1, nil}, {"MSH", 2, nil}, {"MSH", 3, nil}, {"MSH", 4, nil}, {"MSH", 5, nil}, {"MSH", 6, nil},
	{"MSH", 9, nil}, {"MSH", 10, nil}, {"MSH", 11, nil}, {"MSH", 12, nil}, {"MSH", 17, nil}, {"MSH", 18, nil}, {"MSH", 21, []int{2}},
	{"PID", 5, []int{1}}, {"PID", 5, []int{2}}, {"PID", 5, []int{3}}, {"PID", 5, []int{7}}, {"PID", 7, nil}, {"PID", 8, nil}, {"PID", 32, nil},
	{"PV1", 1, nil},
	{"TXA", 1, nil}, {"TXA", 2, nil}, {"TXA", 3, nil}, {"TXA", 12, []int{1}}, {"TXA", 12, []int{3}},
	{"OBX 1", 2, nil}, {"OBX 1", 3, []int{1}}, {"OBX 1", 3, []int{2}}, {"OBX 1", 5, []int{1}}, {"OBX 1", 5, []int{2}},
	{"OBX 1", 5, []int{3}}, {"OBX 1", 5, []int{4}},
	{"PRT SB", 2, nil}, {"PRT SB", 15, nil}, {"PRT RCT", 2, nil}, {"PRT RCT", 15, nil}, {"PRT REPLY", 2, nil}, {"PRT REPLY", 15, nil},
	{"OBX 2", 2, nil}, {"OBX 2", 3, nil}, {"OBX 2", 5, nil}, {"OBX 2", 11, nil},
	{"OBX 3", 2, nil}, {"OBX 3", 3, []int{1}}, {"OBX 3", 3, []int{2}}, {"OBX 3", 5, []int{1}}, {"OBX 3", 11, nil},
	{"OBX 4", 2, nil}, {"OBX 4", 3, []int{1}}, {"OBX 4", 3, []int{2}}, {"OBX 4", 5, []int{1}}, {"OBX 4", 11, nil},
	{"OBX 5", 2, nil}, {"OBX 5", 3, []int{1}}, {"OBX 5", 3, []int{2}}, {"OBX 5", 5, []int{1}}, {"OBX 5", 11, nil},
	{"OBX 6", 2, nil}, {"OBX 6", 3, []int{1}}, {"OBX 6", 3, []int{2}}, {"OBX 6", 5, []int{1}}, {"OBX 6", 11, nil},
}

// since are the fields that only 1.1 has as we write them.
var since = []struct {
	segment string
	n       int
	sub     []int
}{
	{"MSH", 21, nil}, {"PV1", 2, nil}, {"ORC", 1, nil}, {"OBR", 1, nil}, {"OBR", 4, nil}, {"TXA", 13, []int{1}}, {"TXA", 17, nil},
	{"OBX 1", 3, nil}, {"PRT SB", 4, []int{3}}, {"PRT RCT", 4, []int{3}}, {"PRT REPLY", 4, []int{3}},
	{"PID", 3, []int{1}}, {"PID", 3, []int{4, 1}}, {"PID", 3, []int{4, 2}}, {"PID", 3, []int{4, 3}}, {"PID", 3, []int{5}},
	{"OBX 3", 3, nil}, {"OBX 3", 5, nil}, {"OBX 4", 5, nil}, {"OBX 5", 5, nil}, {"OBX 6", 5, nil},
}

// lpsSamples are the messages of the volet in the reference data, with what the
// gate says of the identity in their PID: the samples of 1.0 have people that
// no INS could be written for (a wrong key under the OID of production, no list
// of given names). Those are compared without it.
var lpsSamples = []struct{ path, gate string }{
	{"Vague 2/Trans_LPS_CDA_MSSanté/TRANSMISSION_LPS_DOC_CDA_COURRIEL_FROM_MSSANTE_V1.1/Transmission initiale MDM/message_MDM__LPS_MSS_CR_Radio_INIT_N1.er7", ""},
	{"Vague 2/Trans_LPS_CDA_MSSanté/TRANSMISSION_LPS_DOC_CDA_COURRIEL_FROM_MSSANTE_V1.1/Transmission initiale MDM/message_MDM__LPS_MSS_CR_Radio_INIT_N1_Base64.er7", ""},
	{"Vague 2/Trans_LPS_CDA_MSSanté/TRANSMISSION_LPS_DOC_CDA_COURRIEL_FROM_MSSANTE_V1.1/Remplacement MDM/message_MDM__LPS_MSS_CR_Radio_RPLC_N1.er7", ""},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/MDM/message.hl7", "INS-KEY"},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/MDM/messageDocB64.hl7", "INS-KEY"},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/Transmission initiale MDM/message_MDM__LPS_MSS_CR_Radio_INIT_N1.er7", "INS-INCOMPLETE"},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/Transmission initiale MDM/message_MDM__LPS_MSS_CR_Radio_INIT_N1_Base64.er7", "INS-INCOMPLETE"},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/Remplacement MDM/message_MDM__LPS_MSS_CR_Radio_RPLC_N1.er7", "INS-INCOMPLETE"},
	{"Volets/Trans_LPS_CDA_MSSanté/V1.0/Suppression MDM/message_MDM__LPS_MSS_CR_Radio_DEL_N1.er7", "INS-INCOMPLETE"},
}

// TestReferenceMDM writes the samples of the volet again from their content and
// compares, field by field, what the volet fixes.
func TestReferenceMDM(t *testing.T) {
	dir := dataDir(t)
	judged := 0
	for _, sample := range lpsSamples {
		t.Run(filepath.Base(sample.path), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(dir, "hl7v2", sample.path))
			if err != nil {
				t.Fatal(err)
			}
			want := readReference(raw)
			f := want.filing(t)
			to := hl7v2.Software{
				As: gateway.Party{Application: want.at("MSH", 3), Facility: want.at("MSH", 4)},
				To: gateway.Party{Application: want.at("MSH", 5), Facility: want.at("MSH", 6)}, Processing: want.at("MSH", 11),
			}
			written, err := hl7v2.RenderMDM(f, to, nil)
			if sample.gate != "" {
				if err == nil || fault.From(err).Code != sample.gate {
					t.Fatalf("%v, want %s", err, sample.gate)
				}
				f.Patient = f.Patient.WithoutINS()
				f.Patient.Local = []ins.LocalID{{Value: "1", Authority: "990000001"}}
				written, err = hl7v2.RenderMDM(f, to, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := readReference(written)
			compared := slices.Clone(fixed)
			if strings.Contains(sample.path, "V1.1") {
				compared = append(compared, since...)
				if got.birthPlace() != want.birthPlace() {
					t.Errorf("PID-11: %q, want %q", got.birthPlace(), want.birthPlace())
				}
			}
			for _, c := range compared {
				if g, w := got.at(c.segment, c.n, c.sub...), want.at(c.segment, c.n, c.sub...); g != w {
					t.Errorf("%s-%d%v: %q, want %q", c.segment, c.n, c.sub, g, w)
				}
			}
			// The samples leave the padding out, and one is cut inside a byte.
			if g, err := base64.StdEncoding.DecodeString(got.at("OBX 1", 5, 5)); err != nil || !bytes.Equal(g, f.Document) {
				t.Error("OBX-5.5 differs", err)
			}
			status := map[dmp.Action]string{dmp.New: "F", dmp.Replace: "C", dmp.Delete: "D"}[f.Action]
			if got.at("OBX 1", 11) != status || want.at("OBX 1", 11) != status {
				t.Errorf("OBX-11: %q, sample %q", got.at("OBX 1", 11), want.at("OBX 1", 11))
			}
			judged++
		})
	}
	t.Logf("reference: mdm-lps: %d judged / %d expected", judged, len(lpsSamples))
	if judged != len(lpsSamples) {
		t.Errorf("%d samples judged, want %d", judged, len(lpsSamples))
	}
}
