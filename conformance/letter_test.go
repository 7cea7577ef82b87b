package conformance

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// mailed is a run whose letters all came, as canned bytes. The letters are those
// of testdata, with the headers that a gateway adds.
func mailed(t *testing.T, change func(raw []byte) []byte) *run {
	t.Helper()
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	j := &run{boxes: map[string][]*letter{}, target: Target{Personas: testdata.Personas(), Patients: testdata.Patients()}}
	j.script = newScript(j.target, at.UnixMilli())
	j.script.second()
	for i, want := range leaving {
		c := j.script.scene[want.key]
		c.ack = er7{{"MSA", "AA"}}
		c.sent = true
		kind := map[string]testdata.Kind{"11490-0": testdata.Discharge, "11502-2": testdata.Biology, "18748-4": testdata.Imaging}[want.code]
		o := testdata.LetterOptions{MessageID: "l" + string(rune('a'+i)) + "@bac", To: c.boxes[want.box], WantMDN: true, ReplyTo: "r@bac",
			Content: c.cda, Document: testdata.CDAOptions{Kind: kind, ID: c.doc}}
		if want.ins == "N" {
			o.Document.Patient, o.Document.NoINS = testdata.PatientByID(testdata.PatientNoINS), true
		}
		if want.key == "sans reponse" {
			o.Headers = []string{"X-MSS-MES: FIN"}
		}
		raw := testdata.Letter(o)
		if change != nil {
			raw = change(raw)
		}
		l, err := readLetter(raw)
		if err != nil {
			t.Fatal(err)
		}
		box := c.boxes[want.box]
		j.boxes[box] = append(j.boxes[box], l)
	}
	return j
}

func header(name, value string) func([]byte) []byte {
	form := regexp.MustCompile(`(?mi)^` + name + `:[^\r]*(\r\n[ \t][^\r]*)*\r\n`)
	return func(raw []byte) []byte {
		if value == "" {
			return form.ReplaceAll(raw, nil)
		}
		return form.ReplaceAll(raw, []byte(name+": "+value+"\r\n"))
	}
}

// Each check of a letter sees its own header, and only that.
func TestLetterChecks(t *testing.T) {
	all := []string{"mss-ins", "mss-codecda", "mss-nil", "mss-fin", "mss-content", "mss-one-patient", "mss-subject", "mss-mdn-asked", "mss-message-id", "mss-text", "mss-sender", "mss-patient"}
	tests := []struct {
		name   string
		change func([]byte) []byte
		fails  string
	}{
		{"ok/as they are", nil, ""},
		{"fail/X-MSS-INS", header("X-MSS-INS", ""), "mss-ins"},
		{"fail/X-MSS-INS in full", header("X-MSS-INS", "Oui"), "mss-ins"},
		{"fail/X-MSS-CODECDA", header("X-MSS-CODECDA", "34112-3"), "mss-codecda"},
		{"fail/X-MSS-NIL", header("X-MSS-NIL", ""), "mss-nil"},
		{"fail/X-MSS-MES", header("X-MSS-MES", ""), "mss-fin"},
		{"fail/subject", header("Subject", "Compte rendu VALADIER CLAIRE 14/07/1980"), "mss-subject"},
		{"fail/read receipt", header("Disposition-Notification-To", ""), "mss-mdn-asked"},
		{"fail/Message-ID", header("Message-ID", "<le-meme@bac>"), "mss-message-id"},
		{"fail/sender without a name", header("From", "<a@bac>"), "mss-sender"},
		{"fail/PDF copy", func(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte(".pdf"), []byte(".bin")) }, "mss-content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := mailed(t, tt.change)
			for _, name := range all {
				v := &judgement{}
				checks[name](j, v)
				got, why := v.verdict()
				if want := map[bool]Verdict{true: NotConform, false: Conform}[name == tt.fails]; got != want {
					t.Errorf("%s is %s, want %s: %s", name, got, want, why)
				}
			}
		})
	}
	t.Run("fail/nothing came: not tested, never conforme", func(t *testing.T) {
		j := mailed(t, nil)
		clear(j.boxes)
		for _, name := range all {
			v := &judgement{}
			checks[name](j, v)
			if got, _ := v.verdict(); got == Conform {
				t.Errorf("%s is conforme without a letter", name)
			}
		}
	})
}

// A gateway that accepts all and does nothing is not praised for what it does
// not send.
func TestInertia(t *testing.T) {
	j := &run{boxes: map[string][]*letter{}, state: map[string][]string{}, taken: map[string]document{}, noLink: "rien",
		target: Target{Personas: testdata.Personas(), Patients: testdata.Patients()}}
	j.script = newScript(j.target, 1)
	j.script.hl7("file d'attente", testdata.MessageOptions{})
	j.script.second()
	for key, c := range j.script.scene {
		c.sent, c.ack = true, readER7([]byte("MSH|^~\\&|||||||ACK\rMSA|AA|"+c.control))
		c.again = []byte("MSA|AA")
		j.taken[key] = document{n: 1}
	}
	for name, c := range checks {
		v := &judgement{}
		c(j, v)
		switch got, _ := v.verdict(); {
		case got != Conform:
		case name == "hl7-accept", name == "hl7-correlation", name == "hl7-duplicate": // these it did
		default:
			t.Errorf("%s is conforme of a gateway that does nothing", name)
		}
	}
}

// Every check survives a run where nothing was answered, and praises nothing.
func TestSilence(t *testing.T) {
	j := &run{boxes: map[string][]*letter{}, state: map[string][]string{}, taken: map[string]document{}, noDMP: "rien", noLink: "rien",
		target: Target{Personas: testdata.Personas(), Patients: testdata.Patients()}}
	j.script = newScript(j.target, 1)
	j.script.hl7("file d'attente", testdata.MessageOptions{})
	j.script.second()
	for _, c := range j.script.scene {
		c.sent = true
		c.ackErr = bytes.ErrTooLarge
	}
	for name, c := range checks {
		v := &judgement{}
		c(j, v)
		if got, _ := v.verdict(); got == Conform {
			t.Errorf("%s is conforme of a gateway that says nothing", name)
		}
	}
}

func TestReadLetter(t *testing.T) {
	nested := ""
	for i := range maxDepth + 2 {
		boundary := strings.Repeat("b", i+1)
		nested += "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n"
	}
	nested += "\r\nx"
	tests := []struct {
		name string
		raw  []byte
		ok   bool
	}{
		{"ok/letter", testdata.Letter(testdata.LetterOptions{}), true},
		{"ok/plain", []byte("Subject: a\r\n\r\nbonjour"), true},
		{"fail/empty", nil, false},
		{"fail/archive that is none", testdata.Letter(testdata.LetterOptions{Archive: testdata.ArchiveNotZip}), false},
		{"fail/metadata with a DOCTYPE", testdata.Letter(testdata.LetterOptions{Archive: testdata.ArchiveBadXML}), false},
		{"fail/bomb", testdata.Letter(testdata.LetterOptions{Archive: testdata.ArchiveBomb}), false},
		{"ok/multipart without end", []byte("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"), true},
		{"fail/nested too deep", []byte(nested), false},
		{"fail/too many parts", []byte("Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\n\r\nx\r\n", 100) + "--a--"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := readLetter(tt.raw); (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzReadLetter(f *testing.F) {
	f.Add(testdata.Letter(testdata.LetterOptions{Content: []byte("<ClinicalDocument/>"), NoPDF: true}))
	f.Add(testdata.MDN(testdata.MDNOptions{}))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n--a--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := readLetter(raw)
		if err != nil {
			return
		}
		l.carries("1.2.3")
		l.everything()
		l.disposition("Disposition")
		if len(l.parts) > maxParts+maxDepth {
			t.Errorf("%d parts", len(l.parts))
		}
	})
}

func FuzzER7(f *testing.F) {
	f.Add(testdata.MDM(testdata.MessageOptions{Base64: "QQ=="}))
	f.Add([]byte("MSH"))
	f.Add([]byte("OBX|1|ED|||^^XML^Base64^%%"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		one := told{raw: raw, m: readER7(raw)}
		_, _, _, _ = one.event(), one.control(), one.answers(), one.about()
		embedded(one)
		if text := elide(raw, 1000); len(text) > 3*len(raw)+2000 {
			t.Errorf("%d bytes made of %d", len(text), len(raw))
		}
	})
}
