//go:build !nosandbox

package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/conformance"
	"github.com/passerelle-sante/passerelle/testdata"
)

// Each scenario that a gateway can break alone has a gateway that does, and no
// other verdict changes.
func TestConformanceWrong(t *testing.T) {
	var p *tape
	var right map[string]conformance.Verdict
	if !t.Run("ok/recorded", func(inner *testing.T) {
		r := newRoute(inner, nil) // closed as soon as its answers are kept
		p = newTape(t, *r.w.info, r.m.MLLP[0])
		right = p.judge(t, tampering{})
	}) {
		return
	}
	for id, verdict := range p.judge(t, tampering{}) {
		if verdict != right[id] || verdict == conformance.NotConform {
			t.Fatalf("%s is %s, and %s when played again", id, right[id], verdict)
		}
	}
	if testing.Short() {
		t.Skip("the gateways made wrong on purpose are left out by -short")
	}
	proven := map[string]bool{}
	for _, wrong := range tamperings(p) {
		t.Run(wrong.name, func(t *testing.T) {
			got := p.judge(t, wrong)
			want := map[string]conformance.Verdict{}
			for id, v := range right {
				want[id] = v
			}
			for _, id := range wrong.fails {
				if want[id] != conformance.Conform {
					t.Fatalf("%s is %s when nothing is wrong", id, want[id])
				}
				want[id], proven[id] = conformance.NotConform, true
			}
			for id, v := range got {
				if v != want[id] {
					t.Errorf("%s is %s, want %s", id, v, want[id])
				}
			}
		})
	}
	// Proven by the relays of TestConformance.
	for _, wrong := range wrongGateways() {
		for _, id := range wrong.fails {
			proven[id] = true
		}
	}
	for id, v := range right {
		if v == conformance.Conform && !proven[id] {
			t.Errorf("no gateway made wrong proves %s", id)
		}
	}
	t.Run("fail/acknowledges and does nothing", func(t *testing.T) { idle(t, p, "AA", "CDA/HL7.01.01", "CDA/HL7.01.P2") })
	t.Run("fail/refuses and does nothing", func(t *testing.T) { idle(t, p, "AE", "CDA/HL7.01.P1", "CDA/HL7.01.P2") })
}

// idle judges a gateway that answers and does nothing else.
func idle(t *testing.T, p *tape, code string, praised ...string) {
	t.Helper()
	for id, v := range p.judge(t, tampering{
		ack: func(_ int, q, _ []byte) []byte {
			return []byte("MSH|^~\\&|||||20260105093000||ACK|RIEN|T|2.6\rMSA|" + code + "|" + field(q, "MSH", 10) + "\rERR|||207|E|900\r")
		},
		told: func([]byte) []byte { return nil },
		view: func(link string, body []byte) []byte {
			switch {
			case strings.HasPrefix(link, "/mailboxes/"), strings.HasPrefix(link, "/submissions"):
				return []byte(`{"messages":[],"submissions":[]}`)
			case strings.Contains(link, "/_search?"):
				return []byte(`{"resourceType":"Bundle","type":"searchset","total":0}`)
			}
			return body
		},
		to: func(string) string { return "https://ailleurs.invalid/" },
	}) {
		want := false
		for _, one := range praised {
			want = want || one == id
		}
		if (v == conformance.Conform) != want {
			t.Errorf("%s is %s", id, v)
		}
	}
}

func tamperings(p *tape) []tampering {
	swap := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(old), []byte(new)) }
	}
	re := func(expression, new string) func([]byte) []byte {
		found := regexp.MustCompile(expression)
		return func(b []byte) []byte { return found.ReplaceAll(b, []byte(new)) }
	}
	on := func(mark string, change func([]byte) []byte) func([]byte) []byte {
		return func(b []byte) []byte {
			if bytes.Contains(b, []byte(mark)) {
				return change(b)
			}
			return b
		}
	}
	at := func(link string, change func([]byte) []byte) func(string, []byte) []byte {
		return func(l string, b []byte) []byte {
			if strings.Contains(l, link) {
				return change(b)
			}
			return b
		}
	}
	// A letter that lies in a mailbox where none must be.
	// In the box of a patient it comes with others: what was there before the run is
	// not judged.
	forge := func(box string, alone bool) func(string, []byte) []byte {
		return at(box, func(body []byte) []byte {
			var view struct {
				Messages []map[string]any `json:"messages"`
			}
			_ = json.Unmarshal(body, &view) // none when the mailbox does not exist
			if len(view.Messages) == 0 && !alone {
				return body
			}
			list := append([]map[string]any{{"id": "forge", "raw": p.front(p.fronts[2]) + "/forge", "message_id": "forge@x"}}, view.Messages...)
			out, err := json.Marshal(map[string]any{"messages": list})
			if err != nil {
				p.t.Error(err)
			}
			return out
		})
	}
	bare := []byte("From: a@x.fr\r\nSubject: Résultats\r\nContent-Type: text/plain\r\n\r\nCi-joint.\r\n")
	ackOf := func(mark, code string) func(int, []byte, []byte) []byte {
		return func(_ int, q, a []byte) []byte {
			if !strings.Contains(string(q), mark) {
				return a
			}
			return edited(a, "MSA", func(f []string) { f[1] = code })
		}
	}
	mdm := func(change func(m []byte) []byte) func([]byte) []byte {
		return func(m []byte) []byte {
			if strings.HasPrefix(field(m, "MSH", 9), "MDM") {
				return change(m)
			}
			return m
		}
	}
	searched := func(change func([]byte) []byte) func(string, []byte) []byte { return at("/_search?", change) }
	masked := `"code":"MASQUE_PS"`
	nothingFound := []byte(`{"resourceType":"Bundle","type":"searchset","total":0}`)
	me := testdata.Patients()[0].Matricule
	doc := func(scene int) string { return strings.Split(field(p.sent[p.position(scene)], "TXA", 12), "^")[0] }
	patientLetter := testdata.Letter(testdata.LetterOptions{To: me + "@patient.mssante.fr",
		Document: testdata.CDAOptions{Kind: testdata.Imaging, ID: doc(12)}})
	var before []byte
	identity := field(p.sent[p.position(3)], "MSH", 10)
	first := ""
	return []tampering{
		{name: "fail/the answer is no ACK", fails: []string{"CDA/HL7.01.01"}, ack: func(_ int, _, a []byte) []byte {
			return edited(a, "MSH", func(f []string) { f[8] = strings.Replace(f[8], "ACK", "RSP", 1) })
		}},
		{name: "fail/AA to everything", fails: []string{"CDA/HL7.01.P1"}, ack: func(_ int, _, a []byte) []byte {
			return edited(a, "MSA", func(f []string) { f[1] = "AA" })
		}},
		{name: "fail/MSA-2 of another message", fails: []string{"CDA/HL7.01.P2"}, ack: func(_ int, _, a []byte) []byte {
			return edited(a, "MSA", func(f []string) { f[2] = "AUTRE" })
		}},
		{name: "fail/the same message again is refused", fails: []string{"CDA/HL7.01.P3"}, ack: func(n int, _, a []byte) []byte {
			if n == 0 {
				return a
			}
			return edited(a, "MSA", func(f []string) { f[1] = "AE" })
		}},
		{name: "fail/8859-15 is refused", fails: []string{"CDA/HL7.01.P4"}, ack: ackOf("|8859/15", "AE")},
		{name: "fail/a qualified identity is refused", fails: []string{"INS/va1.16.01"}, ack: ackOf("|"+identity+"|", "AE")},
		{name: "fail/the Z03 names the other recipient", fails: []string{"CDA/HL7.02.P2"}, told: func(m []byte) []byte {
			if !strings.Contains(field(m, "MSH", 9), "^Z03^") {
				return m
			}
			return re(`\^\^X\.400\^[^|]*`, "^^X.400^"+me+"@patient.mssante.fr")(m)
		}},
		{name: "fail/both Z02 name one recipient", fails: []string{"CDA/HL7.02.P1"}, told: func(m []byte) []byte {
			if !strings.Contains(field(m, "MSH", 9), "^Z02^") {
				return m
			}
			return re(`\^\^X\.400\^`+me+`@[^|]*`, "^^X.400^autre@x.fr")(m)
		}},
		{name: "fail/the MDM carries another document", fails: []string{"CDA/HL7.03.01"}, told: mdm(swap("^Base64^PD94", "^Base64^ICAg"))},
		{name: "fail/the receipt says an error", fails: []string{"CDA/HL7.04.01"}, mail: swap("sent-automatically; processed\r\n", "sent-automatically; processed/error\r\n")},
		{name: "fail/the refusal of the hospital is told as a success", fails: []string{"CDA/HL7.04.P1"}, mail: func(m []byte) []byte {
			return re(`(?m)^Error: .*\r\n`, "")(swap("; processed/error", "; processed")(m))
		}},
		{name: "fail/the DMP holds other bytes", fails: []string{"DMP/va1.01.01"}, view: at("/Binary/", on("examens biologiques", swap("examens biologiques", "analyses biologiques")))},
		{name: "fail/the old version stays", fails: []string{"DMP/va1.01.P1"}, view: searched(swap(`"status":"superseded"`, `"status":"current"`))},
		{name: "fail/the deleted document stays", fails: []string{"DMP/va1.01.P2"}, view: at(doc(1), func(b []byte) []byte {
			if before == nil {
				before = b
			}
			return before
		})},
		{name: "fail/the queue is forgotten", fails: []string{"DMP/ALI/PROG.07.P1"}, view: at(doc(-1), func([]byte) []byte { return nothingFound })},
		{name: "fail/the DMP refuses to mask", fails: []string{"INTRA/va1.01.01"}, view: searched(swap(masked, `"code":"N"`))},
		{name: "fail/the masked document is lost", fails: []string{"INTRA/va1.01.01"}, view: searched(on(masked, func([]byte) []byte { return nothingFound }))},
		{name: "fail/MASQUE_PS is mailed", fails: []string{"INTRA/va1.02.P1"}, view: forge(".masque@", true), forged: bare},
		{name: "fail/a matricule not qualified is mailed", fails: []string{"INS/va1.53.P2"}, view: forge(".nonqualifiee@", true), forged: bare},
		{name: "fail/the patient without INS is written to", fails: []string{"MSS/va1.19.02"}, view: forge(me+"@patient", false), forged: patientLetter},
		{name: "fail/a header names the matricule", fails: []string{"INS/va1.53.P3"}, mail: on("X-MSS-INS: N", swap("X-MSS-INS: N", "X-Dossier: "+me[:13]+"\r\nX-MSS-INS: N"))},
		{name: "fail/TLS 1.1", fails: []string{"MSS/CONF.01.01"}, view: at("/submissions", re(`"TLS 1\.\d"`, `"TLS 1.1"`))},
		{name: "fail/RC4 is offered", fails: []string{"MSS/CONF.03.01"}, view: at("/submissions", swap(`"C030"`, `"C030","0005"`))},
		{name: "fail/a letter is lost", fails: []string{"MSS/CONF.05.01"}, view: at(".simple@", func([]byte) []byte { return []byte(`{"messages":[]}`) })},
		{name: "fail/the mailbox is not read", fails: []string{"MSS/CONF.06.01"}, view: at("/mailboxes/passerelle", swap(`Seen"`, `Draft"`))},
		{name: "fail/no client certificate", fails: []string{"MSS/CONF.12.01"}, view: at("/submissions", re(`"certificate": *"[^"]*"`, `"certificate":""`))},
		{name: "fail/X-MSS-INS is missing", fails: []string{"MSS/CONF.14.01"}, mail: withoutHeader("X-MSS-INS")},
		{name: "fail/X-MSS-CODECDA is missing", fails: []string{"MSS/CONF.15.01"}, mail: withoutHeader("X-MSS-CODECDA")},
		{name: "fail/X-MSS-NIL is missing", fails: []string{"MSS/CONF.16.01"}, mail: withoutHeader("X-MSS-NIL")},
		{name: "fail/the patient may reply all the same", fails: []string{"MSS/CONF.21.01"}, mail: withoutHeader("X-MSS-MES")},
		{name: "fail/the archive has another name", fails: []string{"MSS/CONF.23.01"}, mail: swap("IHE_XDM.zip", "DOCUMENT.zip")},
		{name: "fail/the metadata name two patients", fails: []string{"MSS/CONF.23.P1"}, mail: on("X-MSS-CODECDA: 11502-2", rezip(p.t, "METADATA.XML",
			re(`(?s)(<(?:\w+:)?ExternalIdentifier [^>]*58a6f841-87b3-4a3e-92fd-a8ffeff98427.*?</(?:\w+:)?ExternalIdentifier>)`, "$1<ExternalIdentifier identificationScheme=\"urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427\" value=\"AUTRE\"/>")))},
		{name: "fail/filed to the patient of the CDA", fails: []string{"MSS/CONF.24.01"}, told: mdm(func(m []byte) []byte {
			if first == "" {
				first = field(m, "MSH", 10)
			}
			if field(m, "MSH", 10) != first {
				return m
			}
			return append(bytes.TrimSuffix(m, []byte("\r")), []byte("\rNTE|1||"+p.mails[1]+"\r")...)
		})},
		{name: "fail/another subject", fails: []string{"MSS/CONF.25.01"}, mail: swap("XDM/1.0/DDM+", "XDM/2.0/DDM+")},
		{name: "fail/a document is made of any mail", fails: []string{"MSS/UX.01.01"}, told: mdm(func(m []byte) []byte {
			return append(bytes.TrimSuffix(m, []byte("\r")), []byte("\rNTE|1||"+p.mails[2]+"\r")...)
		})},
		{name: "fail/no read receipt is asked", fails: []string{"MSS/UX.33.01"}, mail: withoutHeader("Disposition-Notification-To")},
		{name: "fail/no address to reply to", fails: []string{"MSS/va1.09.01"}, mail: withoutHeader("Reply-To")},
		{name: "fail/the body is HTML alone", fails: []string{"MSS/va1.11.01"}, mail: on("X-MSS-CODECDA", swap("Content-Type: text/plain", "Content-Type: text/html"))},
		{name: "fail/no Message-ID of its own", fails: []string{"MSS/va1.12.01"}, mail: sameID(p), view: at("/submissions", sameID(p))},
		{name: "fail/the correction is not linked", fails: []string{"MSS/va1.13.01"}, mail: on("X-MSS-CODECDA: 11490-0", rezip(p.t, "METADATA.XML", swap(":RPLC", ":APND")))},
		{name: "fail/no delivery report is asked", fails: []string{"MSS/va1.15.01"}, view: at("/submissions", re(`"notify": *"[^"]*"`, `"notify":"NEVER"`))},
		{name: "fail/the sender has no name", fails: []string{"MSS/va1.16.01"}, mail: on("X-MSS-CODECDA", re(`(?m)^From: [^<\r]*<`, "From: <"))},
		{name: "fail/the letter of the patient names another", fails: []string{"MSS/va1.19.01"}, mail: on("To: <"+me, rezip(p.t, "METADATA.XML", swap(me, "279035121518989")))},
		{name: "fail/a login without acr_values", fails: []string{"PSC.08.P1"}, to: func(location string) string {
			return strings.Replace(location, "acr_values=eidas1", "acr_values=eidas2", 1)
		}},
	}
}

// position is where the message of a scene stands, in the order of the script;
// that of the cut link was sent before the first.
func (p *tape) position(scene int) int { return scene + 1 }

// sameID gives two letters one Message-ID.
func sameID(p *tape) func([]byte) []byte {
	var ids []string
	for _, code := range []string{"X-MSS-CODECDA: 11502-2", "X-MSS-MES: FIN"} {
		for key, list := range p.kept {
			if strings.HasPrefix(key, http.MethodGet) && len(list) > 0 && bytes.Contains(list[0].body, []byte(code)) {
				_, rest, _ := bytes.Cut(list[0].body, []byte("Message-ID: <"))
				id, _, _ := bytes.Cut(rest, []byte(">"))
				ids = append(ids, string(id))
				break
			}
		}
	}
	if len(ids) != 2 || ids[0] == ids[1] {
		p.t.Fatal("two letters are wanted: ", ids)
	}
	return func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(ids[0]), []byte(ids[1])) }
}

// rezip changes one entry of the archive of a letter.
func rezip(t *testing.T, entry string, change func([]byte) []byte) func([]byte) []byte {
	return func(raw []byte) []byte {
		i := bytes.Index(raw, []byte("\r\n\r\nUEsD"))
		if i < 0 {
			return raw
		}
		i += 4
		n := bytes.Index(raw[i:], []byte("\r\n--"))
		old, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(raw[i:i+n]), "\r\n", ""))
		if err != nil {
			t.Error(err)
			return raw
		}
		z, err := zip.NewReader(bytes.NewReader(old), int64(len(old)))
		if err != nil {
			t.Error(err)
			return raw
		}
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		for _, f := range z.File {
			in, err := f.Open()
			if err != nil {
				t.Error(err)
				return raw
			}
			data, err := io.ReadAll(in)
			if err != nil {
				t.Error(err)
			}
			if strings.HasSuffix(f.Name, entry) {
				data = change(data)
			}
			to, err := w.Create(f.Name)
			if err == nil {
				_, err = to.Write(data)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		return append(append(bytes.Clone(raw[:i]), base64.StdEncoding.EncodeToString(out.Bytes())...), raw[i+n:]...)
	}
}
