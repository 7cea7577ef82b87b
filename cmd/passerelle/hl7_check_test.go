package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/testdata"
)

// commandLine runs one command and gives its exit code and outputs.
func commandLine(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// writeAll writes files into a new folder, and gives their paths by name.
func writeAll(t *testing.T, files map[string][]byte) func(names ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
}

// saysNobody fails when a text tells who the first patient is.
func saysNobody(t *testing.T, text string) {
	t.Helper()
	p := testdata.Patients()[0]
	for _, trait := range []string{p.Matricule, p.BirthName, p.BirthDate, strings.ReplaceAll(p.BirthDate, "-", "")} {
		if strings.Contains(text, trait) {
			t.Errorf("a patient is told in\n%s", text)
			return
		}
	}
}

func TestHL7Check(t *testing.T) {
	me := testdata.Personas()[0]
	oru := testdata.ORU(testdata.MessageOptions{Document: testdata.CDAOptions{NoPDFCopy: true}})
	other := testdata.Patients()[1]
	at := writeAll(t, map[string][]byte{
		"oru.hl7": oru,
		"adt.hl7": testdata.ADT(testdata.ADTOptions{}),
		"mdm.hl7": testdata.MDM(testdata.MessageOptions{Action: testdata.Replace, Charset: testdata.Latin9, Flags: testdata.Flags{"DESTMSSANTEPS": "Y"},
			Recipients: []testdata.Recipient{{Address: me.Mailbox, Persona: me}}}),
		"profil.hl7":  testdata.ORU(testdata.MessageOptions{Profile: "1.0^CISIS_CDA_HL7_V2", Charset: testdata.Latin9}),
		"drapeau.hl7": testdata.ORU(testdata.MessageOptions{Edit: func(s []string) []string { return without(s, "DESTDMP") }}),
		"cda.hl7":     testdata.ORU(testdata.MessageOptions{Content: []byte("<a>")}),
		"patient.hl7": testdata.ORU(testdata.MessageOptions{Document: testdata.CDAOptions{Patient: other}}),
		"segment.hl7": testdata.ORU(testdata.MessageOptions{Edit: func(s []string) []string { return without(s, "OBR|") }}),
		"texte.hl7":   []byte("bonjour"),
		"vide.hl7":    nil,
		"deux.mllp":   framed(oru, []byte("MSH|^~\\&|x")),
		"coupe.mllp":  framed(oru)[:300],
		"ecran.hl7":   bytes.ReplaceAll(oru, []byte("M0001"), []byte("\x1b[2JM1")),
		"zam.hl7":     []byte("MSH|^~\\&|PFI|X|SIL|Y|20260105||ZAM^Z01^ZAM_Z01|9|P|2.6|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2\r"),
		"gateway.yaml": []byte(`environment: test
establishments: [{name: A, finess_ej: "990000001", finess_geo: "990000019", source_oid: 1.2, senders: [{application: AUTRE, facility: "*"}]}]
hl7: [{listen: "127.0.0.1:2575"}, {listen: "127.0.0.1:2576", profiles: ["1.0^CISIS_CDA_HL7_V2"]}]
`),
	})
	config, profile := at("gateway.yaml")[0], fault.New(hl7v2.FaultProfile)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"ok/ORU", at("oru.hl7"), 0, []string{"oru.hl7 : accepté (AA)", "ORU^R01, 2.1^CISIS_CDA_HL7_V2, M0001 ; nouveau document → DMP", "MSA|AA|M0001", "1 message, 0 sans acquittement AA. Réglages : test."}},
		{"ok/admission", at("adt.hl7"), 0, []string{"adt.hl7 : accepté (AA)", "ADT^A01"}},
		// What is unknown here is what came before, not the target.
		{"ok/replacement", at("mdm.hl7"), 0, []string{"remplacement → DMP, MSSanté professionnels (1)"}},
		{"ok/English", append(at("oru.hl7"), "--lang", "en"), 0, []string{"accepted (AA)", "new document → DMP", "1 message, 0 not answered AA."}},
		{"ok/a control id that draws on the screen", at("ecran.hl7"), 0, []string{", [2JM1 ;"}},
		{"fail/profile", at("profil.hl7"), exitWrong, []string{"refusé (AE), 1 erreur", "HL7-PROFILE", "→ " + profile.FixFR, "    MSH, champ 21\n", "ERR||MSH^1^21|199", profile.FR}},
		{"fail/profile in English", append(at("profil.hl7"), "--lang", "en"), exitWrong, []string{"refused (AE), 1 error", "→ " + profile.FixEN, "MSH, field 21"}},
		{"fail/flag", at("drapeau.hl7"), exitWrong, []string{"HL7-FLAG-MISSING", "DESTDMP"}},
		{"fail/segment", at("segment.hl7"), exitWrong, []string{"HL7-SEGMENT-MISSING"}},
		{"fail/document", at("cda.hl7"), exitWrong, []string{"CDA-XML", "OBX, champ 5, ligne 1"}},
		{"fail/another patient", at("patient.hl7"), exitWrong, []string{"INS-MISMATCH", "PID, champ 3, matricule", "904^INS ou traits discordants"}},
		{"fail/no HL7", at("texte.hl7"), exitWrong, []string{"HL7-NO-MSH", "MSA|AE"}},
		{"fail/empty", at("vide.hl7"), exitWrong, []string{"HL7-NO-MSH"}},
		{"fail/second of two frames", at("deux.mllp"), exitWrong, []string{"deux.mllp, trame 1 : accepté (AA)", "deux.mllp, trame 2 : refusé (AE)", "2 messages, 1 sans"}},
		{"fail/frame cut", at("coupe.mllp"), exitWrong, []string{"trame 1 : aucune réponse"}},
		{"fail/a message of the gateway", at("zam.hl7"), exitWrong, []string{"HL7-TYPE", "va de la passerelle au logiciel du site"}},
		{"fail/test identity in production", append(at("oru.hl7"), "--env", "production"), exitWrong, []string{"INS-TEST-OID", "Réglages : production"}},
		{"fail/sender of nobody", append(at("oru.hl7"), "--config", config), exitWrong, []string{"HL7-SENDER", "Réglages : " + config + ", test"}},
		{"fail/port of another profile", append(at("oru.hl7"), "--config", config, "--port", "127.0.0.1:2576"), exitWrong, []string{"HL7-PROFILE"}},
		{"fail/no such port", append(at("oru.hl7"), "--config", config, "--port", "127.0.0.1:1"), exitUsage, []string{"aucun port HL7 127.0.0.1:1"}},
		{"fail/port without configuration", append(at("oru.hl7"), "--port", "127.0.0.1:1"), exitUsage, []string{"--port accompagne --config"}},
		{"fail/two environments", append(at("oru.hl7"), "--config", config, "--env", "test"), exitUsage, []string{"ne vont pas ensemble"}},
		{"fail/no such configuration", append(at("oru.hl7"), "--config", "absent.yaml"), exitUsage, []string{"absent.yaml : fichier ou dossier introuvable"}},
		{"fail/absent file among others", at("absent.hl7", "oru.hl7"), exitUsage, []string{"oru.hl7 : accepté (AA)", "absent.hl7 : fichier ou dossier introuvable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := commandLine(t, append([]string{"hl7", "check"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errOut)
			}
			for _, w := range c.want {
				if !strings.Contains(out+errOut, w) {
					t.Errorf("%q is not in\n%s%s", w, out, errOut)
				}
			}
			saysNobody(t, out+errOut)
			if strings.Contains(out+errOut, "\x1b") {
				t.Error("the message writes to the terminal")
			}
		})
	}

	_, out, _ := commandLine(t, append([]string{"hl7", "check", "--json"}, at("oru.hl7", "profil.hl7", "deux.mllp")...)...)
	var r hl7Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Messages) != 4 || r.Wrong != 2 || r.RuleSet != rulesVersion {
		t.Fatalf("%+v, %v", r, err)
	}
	if m := r.Messages[1]; m.Answer != "AE" || len(m.Findings) != 1 || m.Findings[0].Code != hl7v2.FaultProfile || m.Findings[0].Text == "" || m.Findings[0].Fix == "" || m.Ack == "" {
		t.Errorf("%+v", m)
	}
}

func without(segments []string, part string) (kept []string) {
	for _, s := range segments {
		if !strings.Contains(s, part) {
			kept = append(kept, s)
		}
	}
	return kept
}

func framed(messages ...[]byte) (out []byte) {
	for _, m := range messages {
		out = append(append(append(out, 0x0B), m...), 0x1C, 0x0D)
	}
	return out
}

// The command says what the table of the reference verdicts says of each message.
func TestHL7CheckReference(t *testing.T) {
	root := os.Getenv("PASSERELLE_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	table, err := os.ReadFile(filepath.Join(root, "verdicts.tsv"))
	if err != nil {
		t.Skip("reference data absent: set PASSERELLE_DATA")
	}
	args, want := []string{"hl7", "check", "--json"}, map[string][2]string{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) > 3 && f[1] == "message" {
			name := filepath.Join(root, f[0])
			args, want[name] = append(args, name), [2]string{f[2], f[3]}
		}
	}
	_, out, errOut := commandLine(t, args...)
	var r hl7Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Messages) != len(want) || len(want) == 0 {
		t.Fatalf("%d of %d messages, %v\n%s", len(r.Messages), len(want), err, errOut)
	}
	for _, m := range r.Messages {
		got := [2]string{m.Answer, "-"}
		if a, err := hl7v2.ReadAnswer([]byte(strings.ReplaceAll(m.Ack, "\n", "\r"))); err != nil {
			t.Errorf("%s: %v", m.File, err)
		} else if len(a.Errors) > 0 {
			if got[1] = a.Errors[0].Code; got[1] == "207" {
				got[1] = a.Errors[0].Application
			}
		}
		if got != want[m.File] {
			t.Errorf("%s: %v, want %v", m.File, got, want[m.File])
		}
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct{ name, where, want string }{
		{"ok/field", "PID^1^3", "PID, champ 3"},
		{"ok/second segment", "OBX^2^5", "OBX n° 2, champ 5"},
		{"ok/segment", "PV1", "PV1"},
		{"ok/document", "OBX^1^5, ligne 4, /ClinicalDocument", "OBX, champ 5, ligne 4, /ClinicalDocument"},
		{"fail/XPath", "/ClinicalDocument/id^1", "/ClinicalDocument/id^1"},
		{"fail/trait", "matricule", "matricule"},
		{"fail/too deep", "PID^1^3^4^5", "PID^1^3^4^5"},
		{"fail/nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tongue("fr").place(c.where); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
