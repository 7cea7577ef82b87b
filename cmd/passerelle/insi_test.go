//go:build !nosandbox

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// rest deposits a PDF about a patient at the REST door.
func (r *route) rest(query, key string, patient ins.Identity, document int, flags ...string) (status int, body []byte) {
	r.t.Helper()
	envelope, err := traitsEnvelope(patient, testdata.DocumentID(document), flags...)
	if err != nil {
		r.t.Fatal(err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for name, content := range map[string][]byte{"envelope": envelope, "document": testdata.PDF("Consultation", []string{"Rien à signaler."})} {
		p, err := w.CreateFormFile(name, name)
		if err == nil {
			_, err = p.Write(content)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	return r.post("/v1/submissions"+query, w.FormDataContentType(), key, form.Bytes())
}

func (r *route) post(path, kind, key string, content []byte) (status int, body []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "https://"+r.m.HTTPS+path, bytes.NewReader(content))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, body
}

// filed waits for a deposit to end, and reads the document in the DMP of its
// patient: it must be the one that the gateway kept, with the INS.
func (r *route) filed(d *demo, accepted []byte, p testdata.Patient, document int) {
	r.t.Helper()
	var a struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(accepted, &a); err != nil {
		r.t.Fatal(err)
	}
	if state := r.settled(a.ID); state != "done" {
		r.t.Errorf("state %s", state)
	}
	_, docs, err := r.m.journal.Submission(r.t.Context(), a.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	content, err := r.m.journal.Fetch(r.t.Context(), docs[0].Digest)
	if err != nil || !bytes.Contains(content, []byte(p.Matricule)) {
		r.t.Errorf("a document without the INS of INSi: %v", err)
	}
	if err := d.inDMP(expectation{"INSi", p, testdata.DocumentID(document), "current", content}); err != nil {
		r.t.Error(err)
	}
}

// A patient without INS, from the REST envelope to the DMP and the patient's
// mailbox, over the INSi of the sandbox; homonyms, INSi away, its refusal of us.
// Nothing of any person stands in the log.
func TestINSi(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.INSi.Timeout = time.Second })
	d, err := newDemo(&env{ctx: t.Context(), out: io.Discard, clock: time.Now}, r.w.info)
	if err != nil {
		t.Fatal(err)
	}
	me, trois := testdata.Patients()[0], testdata.PatientByID(testdata.PatientTrois)
	refused := func(name string, status int, body []byte, want int, code string) {
		t.Helper()
		var p struct{ Code, Detail string }
		if err := json.Unmarshal(body, &p); err != nil || status != want || p.Code != code || p.Detail == "" {
			t.Errorf("%s: %d %s, want %d %s", name, status, body, want, code)
		}
	}

	if status, body := r.rest("?dry_run=1", "", traitsOnly(me), 8001, "destdmp"); status != 200 || !bytes.Contains(body, []byte(`"verdict":"accepted"`)) {
		t.Errorf("dry run: %d %s", status, body)
	}
	status, body := r.rest("", "k1", traitsOnly(me), 8001, "destdmp", "destmssantepat")
	if status != 202 {
		t.Fatalf("%d %s\n%s", status, body, r.log)
	}
	r.filed(d, body, me, 8001)
	if n := len(r.inbox(me.Matricule + "@patient.mssante.fr")); n != 1 {
		t.Errorf("%d letters in the patient's mailbox", n)
	}

	vinci := ins.Identity{Status: ins.Validated, Traits: ins.Traits{BirthName: "DE VINCI", FirstGiven: "LEONARDO", GivenNames: "LEONARDO", Sex: "M", BirthDate: "2014-02-01", BirthPlace: "63220"}}
	status, body = r.rest("", "k2", vinci, 8002, "destdmp")
	refused("homonyms", status, body, 422, "INSI-SEVERAL")
	status, body = r.rest("", "k3", traitsOnly(testdata.PatientByID(testdata.PatientNoINS)), 8003, "destdmp")
	refused("nobody", status, body, 422, "INSI-NONE")
	provisional := traitsOnly(me)
	provisional.Status = ins.Provisional
	status, body = r.rest("", "k4", provisional, 8004, "destdmp")
	refused("provisional", status, body, 422, "INS-NOT-QUALIFIED")

	r.control(http.MethodPut, "/insi/faults", sim.Trouble{Mode: sim.Down})
	status, body = r.rest("", "k5", traitsOnly(me), 8005, "destdmp")
	refused("INSi is down", status, body, 503, "INSI-UNREACHABLE")
	status, body = r.rest("?dry_run=1", "", traitsOnly(me), 8005, "destdmp")
	refused("INSi is down, dry run", status, body, 503, "INSI-UNREACHABLE")
	r.control(http.MethodPut, "/insi/faults", sim.Trouble{Mode: sim.Hold})
	status, body = r.rest("", "k5", traitsOnly(me), 8005, "destdmp")
	refused("INSi is silent", status, body, 504, "INSI-TIMEOUT")
	r.control(http.MethodPut, "/insi/faults", sim.Trouble{Mode: sim.Refuse, Code: "desir_560"})
	status, body = r.rest("", "k5", traitsOnly(me), 8005, "destdmp")
	refused("INSi refuses our certificate", status, body, 502, "INSI-RIGHTS")
	r.control(http.MethodDelete, "/insi/faults", nil)
	if status, body = r.rest("", "k5", traitsOnly(me), 8005, "destdmp"); status != 202 {
		t.Fatalf("the same request once INSi is back: %d %s", status, body)
	}
	r.filed(d, body, me, 8005)

	question, err := json.Marshal(traitsOnly(trois))
	if err != nil {
		t.Fatal(err)
	}
	if status, body = r.post("/v1/identities/query", "application/json", "", question); status != 200 || !bytes.Contains(body, []byte(`"matricule":"`+trois.Matricule+`"`)) || !bytes.Contains(body, []byte(`"QUAL"`)) {
		t.Errorf("query: %d %s", status, body)
	}
	held := traitsOnly(trois)
	held.Matricule, held.OID, held.Status = trois.Matricule, ins.OID(trois.OID), ins.Qualified
	if question, err = json.Marshal(held); err != nil {
		t.Fatal(err)
	}
	if status, body = r.post("/v1/identities/query", "application/json", "", question); status != 200 || !bytes.Contains(body, []byte(`"accepted":true`)) {
		t.Errorf("verification: %d %s", status, body)
	}

	metrics, err := do(http.DefaultClient, must(t, "http://"+r.m.HTTP+"/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	house := testdata.Establishments()[0].FINESSGeo
	for _, want := range []string{`operation="WS_INS2",result="00"`, `operation="WS_INS2",result="01"`, `operation="WS_INS2",result="02"`, `operation="WS_INS2",result="fault"`, `operation="WS_INS3",result="00"`} {
		if !strings.Contains(string(metrics), fmt.Sprintf(`passerelle_insi_calls{finess_geo=%q,month=%q,%s}`, house, time.Now().In(r.m.zone).Format("2006-01"), want)) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}

	log := r.log.String()
	if !strings.Contains(log, "call.operation=WS_INS2") {
		t.Error("the log does not tell the calls")
	}
	for _, p := range append(testdata.Patients(), testdata.Patient{BirthName: "DE VINCI", GivenNames: "LEONARDO"}) {
		for _, secret := range []string{p.Matricule, p.BirthName, p.GivenNames, p.BirthDate} {
			if secret != "" && strings.Contains(log, secret) {
				t.Errorf("%q stands in the log", secret)
			}
		}
	}
}

func must(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestINSQuery(t *testing.T) {
	r := newRoute(t, nil)
	info := filepath.Join(t.TempDir(), "bac.json")
	if err := sim.WriteInfo(info, *r.w.info); err != nil {
		t.Fatal(err)
	}
	me := testdata.Patients()[0]
	ask := func(name string, more ...string) []string {
		return append([]string{"--name", name, "--first", me.FirstGiven, "--given", me.GivenNames, "--sex", me.Sex, "--born", me.BirthDate, "--place", me.BirthPlace}, more...)
	}
	stdin := filepath.Join(t.TempDir(), "identite.json")
	data, err := json.Marshal(traitsOnly(me))
	if err == nil {
		err = os.WriteFile(stdin, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "sans-insi.yaml")
	without := r.m.Config
	without.INSi = nil
	if err := writeConfig(none, without); err != nil {
		t.Fatal(err)
	}
	type test struct {
		name  string
		from  []string
		args  []string
		stdin string
		code  int
		says  string
	}
	try := func(tests []test) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				if tt.stdin != "" {
					f, err := os.Open(tt.stdin)
					if err != nil {
						t.Fatal(err)
					}
					old := os.Stdin
					os.Stdin = f
					defer func() { os.Stdin = old; _ = f.Close() }()
				}
				var out bytes.Buffer
				if code := run(t.Context(), slices.Concat([]string{"ins", "query"}, tt.from, tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
					t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.says, &out)
				}
			})
		}
	}
	bySandbox, byConfig := []string{"--info", info}, []string{"--config", r.config}
	try([]test{
		{"ok/provisional", bySandbox, ask(me.BirthName), "", 0, "Statut               : RECUP\nIdentité récupérée, pas qualifiée"},
		{"ok/validated, by a professional", bySandbox, ask(me.BirthName, "--status", "VALI", "--as", "810000000001"), "", 0, ins.Display(me.Matricule)},
		{"ok/JSON on the standard input", bySandbox, []string{"--json"}, stdin, 0, `"status":"QUAL"`},
		{"ok/verification", bySandbox, ask(me.BirthName, "--matricule", me.Matricule, "--oid", me.OID), "", 0, "vont ensemble"},
		// Found by the audit of issue 6, 2026-11-22: a key that INSi itself has wrong (row 23 of the edge cases) was not told.
		{"ok/wrong key of INSi", bySandbox, []string{"--name", "HERMANN", "--first", "GATIEN", "--sex", "M", "--born", "1981-03-24"}, "", 0, ins.FaultKey},
		{"fail/verification", bySandbox, ask("MARTIN", "--matricule", me.Matricule, "--oid", me.OID), "", exitWrong, "INSI-DISAGREES"},
		{"fail/nobody", bySandbox, ask("MARTIN"), "", exitWrong, "INSI-NONE (erreur) : L'INSi ne trouve aucune identité"},
		{"fail/several", bySandbox, []string{"--name", "DE VINCI", "--first", "LEONARDO", "--sex", "M", "--born", "2014-02-01", "--json"}, "", exitWrong, `"result":"02"`},
		{"fail/a question that is none", bySandbox, []string{"--name", "MARTIN", "--first", "PAUL", "--sex", "M"}, "", exitWrong, "INSI-QUESTION"},
		{"fail/INSi refuses", bySandbox, ask("PANNE DROITS"), "", exitFailure, "INSI-RIGHTS"},
		{"fail/no name", bySandbox, []string{"--first", "PAUL"}, "", exitUsage, "--name manque"},
		{"fail/no JSON", bySandbox, nil, r.config, exitUsage, "identité illisible"},
		{"fail/no file", []string{"--info", info + ".none"}, ask("MARTIN"), "", exitUsage, "none"},
		{"fail/not a sandbox", []string{"--info", stdin}, ask("MARTIN"), "", exitUsage, "n'est pas un fichier"},
		{"fail/neither", nil, ask("MARTIN"), "", exitUsage, "config"},
		{"fail/the gateway runs", byConfig, ask(me.BirthName), "", exitFailure, "POST /v1/identities/query"},
		{"fail/no INSi", []string{"--config", none}, ask(me.BirthName), "", exitFailure, "GW-NO-INSI"},
	})
	if err := r.m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	try([]test{
		{"ok/configuration", byConfig, ask(me.BirthName, "--status", "VALI"), "", 0, "QUAL"},
		{"fail/another house", byConfig, ask(me.BirthName, "--finess", "990000044"), "", exitUsage, "--finess"},
	})
	*r.m = Main{Config: r.m.Config, Clock: time.Now, Random: rand.Reader, Log: r.m.Log}
	if err := r.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics, err := do(http.DefaultClient, must(t, "http://"+r.m.HTTP+"/metrics"))
	if err != nil || !strings.Contains(string(metrics), `operation="WS_INS2",result="00"} 1`) {
		t.Errorf("the call of the command is not kept: %v\n%s", err, metrics)
	}
}

// A certificate of another authority, ours or theirs, is told apart and lets
// nothing through; the next start with the right one takes the same request.
func TestINSiCertificates(t *testing.T) {
	other := newRehearsal(t).w.info.TLS
	good := INSiConfig{}
	r := newRoute(t, func(c *Config) { good = *c.INSi })
	for _, tt := range []struct {
		name   string
		change func(*INSiConfig)
		status int
		code   string
	}{
		{"fail/ours is of another authority", func(c *INSiConfig) { c.Certificate, c.Key = other.INSiCert, other.INSiKey }, 503, "INSI-UNREACHABLE"},
		{"fail/theirs is of another authority", func(c *INSiConfig) { c.CA = other.CA }, 502, "INSI-SERVER-TLS"},
		{"ok/both are good", func(*INSiConfig) {}, 202, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.m.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := r.m.Config
			c.INSi = new(INSiConfig)
			*c.INSi = good
			tt.change(c.INSi)
			*r.m = Main{Config: c, Clock: time.Now, Random: rand.Reader, Log: r.m.Log}
			if err := r.m.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			status, body := r.rest("", "k", traitsOnly(testdata.Patients()[0]), 8100, "destdmp")
			if status != tt.status || tt.code != "" && !bytes.Contains(body, []byte(`"code":"`+tt.code+`"`)) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}
