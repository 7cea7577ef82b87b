package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/testdata"
)

// lockedBuffer is written by a command and read by its test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const earZAM = "MSH|^~\\&|PFI|X|SIL|Y|20260105||ZAM^Z02^ZAM_Z01|N7|P|2.6|||||FRA|8859/15|||2.1^CISIS_CDA_HL7_V2\r" +
	"OBX|1|CWE|ACK_RECEPTION_MSS^Accus\xe9 de r\xe9ception^AckMetierZAM|M0001|N^^expandedYes-NoIndicator||||||F\r" +
	"OBX|2|XTN|DESTINATAIRE_MSS^Destinataire MSSant\xe9^AckMetierZAM|%[1]s|^^X.400^%[1]s@patient.mssante.fr||||||F\r" +
	"ERR|||207|E|550 5.1.1^Bo\xeete \x1b[2Jabsente^SMTPERRORCODE\r"

func TestHL7Listen(t *testing.T) {
	p := testdata.Patients()[0]
	zam := []byte(strings.ReplaceAll(earZAM, "%[1]s", p.Matricule))
	mdm := testdata.MDM(testdata.MessageOptions{Action: testdata.Replace})
	for _, c := range []struct {
		name    string
		args    []string
		message []byte
		ack     []string // none: silence
		told    []string
	}{
		{"ok/ZAM", nil, zam, []string{"MSA|AA|N7"}, []string{"ZAM^Z02  N7  PFI → AA", "Accusé de réception : non, pour le message M0001", "Destinataire MSSanté : le patient", "erreur 550 5.1.1 Boîte [2Jabsente"}},
		{"ok/MDM", nil, mdm, []string{"MSA|AA|M0001"}, []string{"MDM^T10  M0001  DPI-ESSAIS → AA", "remplacement de " + testdata.DocumentID(1) + ", type 11502-2, identifiant " + testdata.DocumentID(2), "CDA de "}},
		{"ok/in English", []string{"--lang", "en"}, zam, []string{"MSA|AA|N7"}, []string{"the patient", "no, for message M0001"}},
		{"ok/machine", []string{"--json"}, zam, []string{"MSA|AA|N7"}, []string{`"type":"ZAM^Z02"`, `"answer":"AA"`}},
		{"ok/something else", nil, []byte("MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5\r"), []string{"MSA|AA|7"}, []string{"ni ZAM ni MDM"}},
		{"fail/refused", []string{"--answer", "AE", "--reason", "902"}, zam, []string{"MSA|AE|N7", "|902^^applicationErrorCode"}, []string{"→ AE"}},
		{"fail/busy", []string{"--answer", "AR"}, zam, []string{"MSA|AR|N7"}, []string{"→ AR"}},
		{"fail/silence", []string{"--answer", "none"}, zam, nil, []string{"→ none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := t.TempDir()
			// Found by the review of 2026-11-22: the numbers began again, and what an
			// earlier run had kept made every message be answered AR.
			if err := os.WriteFile(filepath.Join(kept, "000001.er7"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			var out lockedBuffer
			ended := make(chan int)
			go func() {
				ended <- run(ctx, append([]string{"hl7", "listen", "--addr", "127.0.0.1:0", "--out", kept}, c.args...), &out, &out)
			}()
			bounded, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			until := func(form string) string { // what the command tells of this form
				for found := regexp.MustCompile(form); bounded.Err() == nil; time.Sleep(time.Millisecond) {
					if m := found.FindStringSubmatch(out.String()); m != nil {
						return m[1]
					}
				}
				t.Errorf("nothing about %s in\n%s", form, out.String())
				return ""
			}
			addr := until(`(127\.0\.0\.1:[0-9]+)[ ,]`)
			ask, hangUp := context.WithCancel(bounded)
			defer hangUp()
			answer := make(chan []byte, 1)
			go func() {
				b, _ := hl7v2.Exchange(ask, hl7v2.Target{Address: addr}, c.message, nil)
				answer <- b
			}()
			until(`(000002\.er7)`) // the last thing that is told
			if c.ack == nil {
				hangUp()
			}
			ack := <-answer
			stop()
			if code := <-ended; code != 0 {
				t.Errorf("exit %d", code)
			}
			if c.ack == nil && ack != nil {
				t.Errorf("answered %q", ack)
			}
			for _, w := range c.ack {
				if !strings.Contains(string(ack), w) {
					t.Errorf("%q is not in %q", w, ack)
				}
			}
			for _, w := range c.told {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is not in\n%s", w, out.String())
				}
			}
			saysNobody(t, out.String())
			if b, err := os.ReadFile(filepath.Join(kept, "000002.er7")); err != nil || !bytes.Equal(b, c.message) {
				t.Errorf("the message was not kept as it came: %v", err)
			}
		})
	}
}
