//go:build !nosandbox

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// mailedTo is a message that asks for a letter to one professional address.
func mailedTo(control, address string, o testdata.MessageOptions) []byte {
	o.ControlID = control
	o.Recipients = append([]testdata.Recipient{{Address: address, Persona: testdata.Personas()[0]}}, o.Recipients...)
	if o.Flags == nil {
		o.Flags = testdata.Flags{"DESTDMP": "N", "DESTMSSANTEPS": "Y"}
	}
	return testdata.MDM(o)
}

// ended waits until every delivery of a submission has ended, reports included.
func (r *route) ended(id string) listed {
	r.t.Helper()
	var one listed
	deadline := time.Now().Add(3 * time.Minute)
	for time.Now().Before(deadline) {
		r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/submissions/"+id, &one)
		if !slices.ContainsFunc(one.Deliveries, func(d delivery) bool { return d.State == "due" || d.State == "waiting" }) {
			return one
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("%s does not end: %+v", id, one)
	return one
}

// said is what the hospital was told about one message: "Z02 Y".
func (r *route) said(control string) string {
	r.t.Helper()
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Hospital.Messages, &list)
	got := map[string]string{}
	for _, m := range list.Messages {
		raw := []byte(m.Raw)
		if field(raw, "OBX", 4) != control {
			continue
		}
		answer, _, _ := strings.Cut(field(raw, "OBX", 5), "^")
		code, _, _ := strings.Cut(field(raw, "ERR", 5), "^")
		got[field(raw, "MSH", 10)] = strings.TrimSpace(strings.Split(field(raw, "MSH", 9), "^")[1] + " " + answer + " " + code)
	}
	return strings.Join(slices.Sorted(maps.Values(got)), ", ")
}

// An operator that is down, slow, busy, cutting or bouncing: the letter is in
// the mailbox under one Message-ID, or the hospital is told why not.
func TestTroubledOperator(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.MSS.Timeout, c.MSS.UnknownWait = time.Second, 300*time.Millisecond })
	tests := []struct {
		name    string
		trouble sim.Trouble
		said    string
	}{
		{"ok/down", sim.Trouble{Mode: sim.Down, Count: 2}, "Z02 Y"},
		{"ok/slow", sim.Trouble{Mode: sim.Slow, Milliseconds: 1500, Count: 2}, "Z02 Y"},
		{"ok/busy at MAIL", sim.Trouble{Mode: sim.Refuse, Method: "MAIL", Status: 451, Count: 2}, "Z02 Y"},
		{"ok/busy at RCPT", sim.Trouble{Mode: sim.Refuse, Method: "RCPT", Status: 450, Count: 2}, "Z02 Y"},
		{"ok/greylisted", sim.Trouble{Mode: sim.Greylist, Count: 1}, "Z02 Y"},
		{"ok/cut at byte 20", sim.Trouble{Mode: sim.Cut, Bytes: 20, Count: 2}, "Z02 Y"},
		{"ok/cut at byte 3000", sim.Trouble{Mode: sim.Cut, Bytes: 3000, Count: 2}, "Z02 Y"},
		{"ok/cut at byte 20000", sim.Trouble{Mode: sim.Cut, Bytes: 20000, Count: 2}, "Z02 Y"},
		{"ok/dropped after the final dot, not stored", sim.Trouble{Mode: sim.Cut, Method: "DOT", When: sim.Before, Count: 1}, "Z02 Y"},
		{"ok/dropped after the final dot, stored", sim.Trouble{Mode: sim.Cut, Method: "DOT", When: sim.After, Count: 1}, "Z02 Y"},
		{"fail/accepted then bounced", sim.Trouble{Mode: sim.Bounce, Count: 1}, "Z02 N 550"},
		{"fail/refused at RCPT", sim.Trouble{Mode: sim.Refuse, Method: "RCPT", Status: 550, Code: "5.1.1", Count: 1}, "Z02 N 550"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.control(http.MethodPut, "/operator/smtp/faults", tt.trouble)
			defer r.control(http.MethodDelete, "/operator/smtp/faults", nil)
			control, box := fmt.Sprintf("OP%d", i), fmt.Sprintf("dr.%d@test-ci-sis.mssante.fr", i)
			ack := r.send(mailedTo(control, box, testdata.MessageOptions{Document: testdata.CDAOptions{ID: testdata.DocumentID(3000 + i)}}))
			if msa, _ := verdict(ack); msa != "AA" {
				t.Fatalf("%s", ack)
			}
			r.ended(field(ack, "MSA", 3))
			if got := r.said(control); got != tt.said {
				t.Errorf("told %q, want %q", got, tt.said)
			}
			ids := map[string]bool{}
			for _, in := range r.inbox(box) {
				ids[in.MessageID] = true
			}
			if want := strings.HasSuffix(tt.said, "Y"); want != (len(ids) == 1) {
				t.Errorf("%d distinct letters in the mailbox", len(ids))
			}
		})
	}
}

// Nothing goes to the wrong person; each refusal has its code.
func TestBadMail(t *testing.T) {
	r := newRoute(t, nil)
	me, trois := testdata.Patients()[0], testdata.PatientByID(testdata.PatientTrois)
	patient := testdata.Flags{"DESTDMP": "N", "DESTMSSANTEPAT": "Y"}
	to := func(address string) []testdata.Recipient {
		return []testdata.Recipient{{Address: address, Patient: me}}
	}
	tests := []struct {
		name    string
		message func(control string) []byte
		ack     string // "AA", or the AE code
		said    string
	}{
		{"fail/domain off the list", func(c string) []byte { return mailedTo(c, "dr@exemple.org", testdata.MessageOptions{}) }, "AA", "Z02 N 550"},
		{"fail/mailbox absent", func(c string) []byte { return mailedTo(c, "absent@test-ci-sis.mssante.fr", testdata.MessageOptions{}) }, "AA", "Z02 N 550"},
		{"fail/address is no address", func(c string) []byte { return mailedTo(c, "dr delmas", testdata.MessageOptions{}) }, "102", ""},
		{"fail/header injection by an address", func(c string) []byte {
			return mailedTo(c, `dr@test-ci-sis.mssante.fr\X0D0A\Bcc: espion@test-ci-sis.mssante.fr`, testdata.MessageOptions{})
		}, "102", ""},
		{"fail/patient letter to another patient's mailbox", func(c string) []byte {
			return testdata.MDM(testdata.MessageOptions{ControlID: c, Flags: patient, Recipients: to(trois.Matricule + "@patient.mssante.fr")})
		}, "904", ""},
		{"fail/patient letter of an invisible document", func(c string) []byte {
			return testdata.MDM(testdata.MessageOptions{ControlID: c, Recipients: to(me.Matricule + "@patient.mssante.fr"),
				Flags: testdata.Flags{"DESTDMP": "N", "DESTMSSANTEPAT": "Y", "INVISIBLE_PATIENT": "Y"}})
		}, "906", ""},
		{"fail/patient letter without qualified INS", func(c string) []byte {
			p := testdata.PatientByID(testdata.PatientNoINS)
			return testdata.MDM(testdata.MessageOptions{ControlID: c, Patient: p, Flags: patient, Document: testdata.CDAOptions{NoINS: true},
				Recipients: []testdata.Recipient{{Address: me.Matricule + "@patient.mssante.fr", Patient: p}}})
		}, "", ""},
		{"ok/level 3 without PDF leaves with a rendered copy", func(c string) []byte {
			return mailedTo(c, "dr.niveau3@test-ci-sis.mssante.fr", testdata.MessageOptions{Document: testdata.CDAOptions{Level: 3, NoPDFCopy: true, ID: testdata.DocumentID(4001)}})
		}, "AA", "Z02 Y"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			control := fmt.Sprintf("BM%d", i)
			ack := r.send(tt.message(control))
			msa, code := verdict(ack)
			switch {
			case tt.ack == "" && msa == "AE": // any refusal of identity
			case tt.ack == "AA" && msa == "AA":
				r.ended(field(ack, "MSA", 3))
			case msa != "AE" || code != tt.ack:
				t.Fatalf("%s %s, want %s\n%s", msa, code, tt.ack, ack)
			}
			if got := r.said(control); got != tt.said {
				t.Errorf("told %q, want %q", got, tt.said)
			}
		})
	}
	for _, in := range r.inbox("dr.niveau3@test-ci-sis.mssante.fr") {
		if !slices.ContainsFunc(in.Attachments, func(a mss.Attachment) bool { return strings.HasPrefix(string(a.Content), "%PDF-") }) {
			t.Error("a level 3 document left without its PDF copy")
		}
	}
	for _, address := range []string{"espion@test-ci-sis.mssante.fr", trois.Matricule + "@patient.mssante.fr", me.Matricule + "@patient.mssante.fr"} {
		if n := len(r.inbox(address)); n != 0 {
			t.Errorf("%d letters reached %s", n, address)
		}
	}
	t.Run("ok/label with line ends stays a label", func(t *testing.T) {
		ack := r.send(mailedTo("BM90", "dr.titre@test-ci-sis.mssante.fr", testdata.MessageOptions{Document: testdata.CDAOptions{
			ID: testdata.DocumentID(4002), Title: "Compte rendu\r\nBcc: espion@test-ci-sis.mssante.fr"}}))
		if msa, _ := verdict(ack); msa == "AA" {
			r.ended(field(ack, "MSA", 3))
		}
		if n := len(r.inbox("espion@test-ci-sis.mssante.fr")); n != 0 {
			t.Errorf("%d letters by header injection", n)
		}
	})
}

// A letter over the operator's SIZE is refused before it is sent.
func TestLetterOverSize(t *testing.T) {
	r := newRoute(t, nil)
	r.control(http.MethodPut, "/operator/rules", map[string]any{"size": 20000, "recipients": 100})
	ack := r.send(mailedTo("SIZE1", "dr.taille@test-ci-sis.mssante.fr", testdata.MessageOptions{}))
	r.ended(field(ack, "MSA", 3))
	if got := r.said("SIZE1"); got != "Z02 N 552" {
		t.Errorf("told %q", got)
	}
}

// What cannot be filed exactly waits in quarantine, visible by GET; the hospital
// gets nothing of it.
func TestInboundQuarantine(t *testing.T) {
	r := newRoute(t, nil)
	trois := testdata.PatientByID(testdata.PatientTrois)
	other := trois
	other.GivenNames = "DOMINIQUE"
	letters := map[string]testdata.LetterOptions{
		"METADATA of another patient": {Metadata: &trois},
		"traversal":                   {Archive: testdata.ArchiveTraversal},
		"bomb":                        {Archive: testdata.ArchiveBomb},
		"PAT-TROIS with other traits": {Document: testdata.CDAOptions{Patient: other}},
		"an answer without document":  {Archive: testdata.ArchiveNone},
	}
	n := 0
	for _, o := range letters {
		o.MessageID, o.To, o.WantMDN = fmt.Sprintf("q-%d@test-ci-sis.mssante.fr", n), r.w.info.Operator.GatewayMailbox, true
		r.drop(testdata.Letter(o))
		n++
	}
	var page struct {
		Submissions []struct {
			ID, State, Code, Door string
		} `json:"submissions"`
	}
	deadline := time.Now().Add(2 * time.Minute)
	for len(page.Submissions) < n && time.Now().Before(deadline) {
		r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/submissions?state=quarantined", &page)
		time.Sleep(20 * time.Millisecond)
	}
	if len(page.Submissions) != n {
		t.Fatalf("%d in quarantine of %d", len(page.Submissions), n)
	}
	for _, s := range page.Submissions {
		if s.Code == "" || s.Door != gateway.DoorMail {
			t.Errorf("%+v", s)
		}
	}
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Hospital.Messages, &list)
	if len(list.Messages) != 0 {
		t.Errorf("%d messages at the hospital", len(list.Messages))
	}
}

// Independent programs accept what leaves: unzip, xmllint, pdftotext.
func TestPeersReadTheLetter(t *testing.T) {
	for _, tool := range []string{"unzip", "xmllint", "pdftotext"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, " is not installed")
		}
	}
	r := newRoute(t, nil)
	box := "dr.pairs@test-ci-sis.mssante.fr"
	ack := r.send(mailedTo("PEER1", box, testdata.MessageOptions{Document: testdata.CDAOptions{ID: testdata.DocumentID(4100)}}))
	r.ended(field(ack, "MSA", 3))
	letters := r.inbox(box)
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	dir := t.TempDir()
	var archive, pdf *mss.Attachment
	for i, a := range letters[0].Attachments {
		switch {
		case strings.EqualFold(a.Name, "IHE_XDM.zip"):
			archive = &letters[0].Attachments[i]
		case strings.HasSuffix(strings.ToLower(a.Name), ".pdf"):
			pdf = &letters[0].Attachments[i]
		}
	}
	if archive == nil || pdf == nil {
		t.Fatalf("attachments: archive %v, pdf %v", archive != nil, pdf != nil)
	}
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	zip, paper := filepath.Join(dir, "IHE_XDM.zip"), filepath.Join(dir, "copie.pdf")
	for file, a := range map[string]*mss.Attachment{zip: archive, paper: pdf} {
		if err := os.WriteFile(file, a.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("unzip", "-t", zip)
	run("unzip", "-q", zip, "-d", dir)
	for _, name := range []string{"INDEX.HTM", "README.TXT", filepath.Join("IHE_XDM", "SUBSET01", "METADATA.XML")} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	xml := 0
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.EqualFold(filepath.Ext(path), ".xml") {
			run("xmllint", "--noout", path)
			xml++
		}
		return err
	})
	if xml < 2 {
		t.Errorf("%d XML files in the archive", xml)
	}
	if text := run("pdftotext", paper, "-"); strings.TrimSpace(text) == "" {
		t.Error("the PDF has no text")
	}
}

// Advice before sending, by the white list and the directory of the sandbox.
func TestMailboxAdvice(t *testing.T) {
	r := newRoute(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for mailbox, want := range map[string]string{
		testdata.Personas()[0].Mailbox: "professional sent",
		"jean@exemple.fr":              "unknown refused",
	} {
		got := ""
		err := r.until(ctx, func() bool { // the white list is fetched beside the start
			var v struct {
				Mailboxes []struct{ Kind, Verdict string }
			}
			r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/mailboxes?address="+mailbox, &v)
			got = v.Mailboxes[0].Kind + " " + v.Mailboxes[0].Verdict
			return v.Mailboxes[0].Verdict != "delayed"
		})
		if err != nil || got != want {
			t.Errorf("%s: %s, want %s", mailbox, got, want)
		}
	}
}
