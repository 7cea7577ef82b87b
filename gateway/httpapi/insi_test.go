package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// twin is the birth name of the first patient.
var twin = testdata.Patients()[0].BirthName

// fakeINSi knows the first patient, finds two people under the name DOUBLE,
// somebody born on another day under AUTRE, fails under names that begin with
// PANNE, and knows nobody else.
type fakeINSi struct {
	mu    sync.Mutex
	asked []gateway.INSiQuery
}

func (f *fakeINSi) Search(_ context.Context, q gateway.INSiQuery) (gateway.INSiAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q)
	p := testdata.Patients()[0]
	a := gateway.INSiAnswer{Calls: 1, Trace: ins.Trace{Channel: ins.ChannelINSi, MessageID: fmt.Sprintf("uuid:%d", len(f.asked)), At: noon}}
	name := strings.ToUpper(q.Identity.Traits.BirthName)
	if code, down := map[string]string{"PANNE SERVICE": "INSI-UNAVAILABLE", "PANNE ATTENTE": "INSI-TIMEOUT", "PANNE DROITS": "INSI-RIGHTS"}[name]; down {
		return a, fault.New(code)
	}
	switch name {
	case p.BirthName, "AUTRE":
		a.Trace.Result, a.Trace.INS = ins.Found, ins.Pair{Matricule: p.Matricule, OID: ins.OID(p.OID)}
		a.Former = []ins.Pair{{Matricule: testdata.PatientByID(testdata.PatientTrois).Matricule, OID: ins.OIDTest}}
		a.Trace.Traits = identity(p).Traits
		a.Trace.Traits.FirstGiven, a.Trace.Traits.BirthName = "", name
		if name == "AUTRE" {
			a.Trace.Traits.BirthDate = "1901-01-01"
		}
	case "DOUBLE":
		a.Trace.Result, a.Refusal = "02", fault.New("INSI-SEVERAL")
	default:
		a.Trace.Result, a.Refusal = "01", fault.New("INSI-NONE")
	}
	return a, nil
}

func (f *fakeINSi) Verify(_ context.Context, q gateway.INSiQuery) (gateway.INSiAnswer, error) {
	a := gateway.INSiAnswer{Calls: 1, Trace: ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:v", Result: ins.Found, At: noon}}
	if q.Identity.Traits != identity(testdata.Patients()[0]).Traits {
		a.Trace.Result, a.Refusal = "01", fault.New("INSI-DISAGREES")
	}
	return a, nil
}

// asked is the first patient, validated and without INS, under a birth name.
func asked(name string) ins.Identity {
	id := identity(testdata.Patients()[0])
	id.Matricule, id.OID, id.Status, id.Traits.BirthName = "", "", ins.Validated, name
	id.Local = []ins.LocalID{{Value: "IPP-1", Authority: "1.2.250.1.999.2"}}
	return id
}

func traitsOf(t *testing.T, name string) string {
	t.Helper()
	b, err := json.Marshal(asked(name))
	must(t, err)
	return string(b)
}

// TestTraitsOnly deposits documents of a patient without INS: the dry run first,
// which must say the same as the deposit.
func TestTraitsOnly(t *testing.T) {
	w := newWorld(t, options{insi: true, mail: true, idle: true})
	doctor := w.bearer(testdata.PersonaPhysician)
	provisional, doubtful, lower := asked(twin), asked(twin), asked(strings.ToLower(twin))
	provisional.Status, doubtful.Attributes = ins.Provisional, []string{"DOUT"}
	letter := func(e string) string {
		return edit(t, edit(t, edit(t, e, "flags", map[string]any{"destmssanteps": true}), "recipients",
			[]any{map[string]any{"kind": "professional", "address": "paul.delmas@test-ci-sis.mssante.fr"}}), "reply_to", nil)
	}
	bare := string(testdata.CDA(testdata.CDAOptions{ID: testdata.DocumentID(50), Patient: testdata.PatientByID(testdata.PatientNoINS)}))
	for n, tt := range []struct {
		name     string
		patient  ins.Identity
		change   func(string) string
		document string // PDF when empty
		vendor   bool
		status   int
		code     string // of the refusal, or of the warning
		ins      string // status with which the document is accepted
		calls    int    // of one verdict
	}{
		{name: "ok/PDF, validated", patient: asked(twin), status: 202, ins: "QUAL", calls: 1},
		{name: "ok/by a professional", patient: asked(twin), vendor: true, status: 202, ins: "QUAL", calls: 1},
		{name: "ok/CDA that carries the INS", patient: asked(twin), document: document(60), status: 202, ins: "QUAL", calls: 1},
		{name: "ok/written otherwise", patient: lower, status: 202, ins: "QUAL", calls: 1, code: ins.FaultReplaced},
		{name: "ok/letter, validated", patient: asked(twin), change: letter, status: 202, ins: "QUAL", calls: 1},
		{name: "ok/letter, provisional: not asked", patient: provisional, change: letter, status: 202, ins: "PROV"},
		{name: "ok/letter, doubtful: not asked", patient: doubtful, change: letter, status: 202, ins: "VALI"},
		{name: "ok/letter, nobody found", patient: asked("PERSONNE"), change: letter, status: 202, ins: "VALI", calls: 1, code: "INSI-NONE"},
		{name: "ok/letter, INSi is away", patient: asked("PANNE SERVICE"), change: letter, status: 202, ins: "VALI", calls: 1, code: "INSI-UNAVAILABLE"},
		{name: "ok/with its INS: not asked", patient: identity(testdata.Patients()[0]), status: 202, ins: "QUAL"},
		{name: "fail/provisional becomes RECUP", patient: provisional, status: 422, code: "INS-NOT-QUALIFIED", calls: 1},
		{name: "fail/doubtful", patient: doubtful, status: 422, code: "INS-CALL-FORBIDDEN"},
		{name: "fail/another birth date", patient: asked("AUTRE"), status: 422, code: ins.FaultUnconfirmed, calls: 1},
		{name: "fail/nobody", patient: asked("PERSONNE"), status: 422, code: "INSI-NONE", calls: 1},
		{name: "fail/several", patient: asked("DOUBLE"), status: 422, code: "INSI-SEVERAL", calls: 1},
		{name: "fail/INSi is away", patient: asked("PANNE SERVICE"), status: 503, code: "INSI-UNAVAILABLE", calls: 1},
		{name: "fail/the certificate is not good", patient: asked("PANNE DROITS"), status: 502, code: "INSI-RIGHTS", calls: 1},
		{name: "fail/CDA without INS", patient: asked(twin), document: bare, status: 422, code: "INS-MISMATCH", calls: 1},
		{name: "fail/refused before: not asked", patient: asked(twin), document: "Bonjour", status: 422, code: httpapi.FaultDocument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, doc, c, bearer := edit(t, envelope(t, 60+n), "patient", tt.patient), tt.document, w.machine, ""
			if doc == "" {
				doc = pdf()
			} else {
				e = edit(t, thin(t), "patient", tt.patient)
			}
			if tt.change != nil {
				e = tt.change(e)
			}
			if tt.vendor {
				c, bearer = w.vendor, doctor
			}
			w.insi.asked = nil
			before := w.count()
			dry := w.submit(c, "?dry_run=1", e, doc, with(bearer))
			a := w.submit(c, "", e, doc, with(bearer))
			if a.status != tt.status || len(w.insi.asked) != 2*tt.calls {
				t.Fatalf("%d after %d calls: %s", a.status, len(w.insi.asked), a.body)
			}
			for _, q := range w.insi.asked {
				if want := testdata.PersonaByID(testdata.PersonaPhysician).NationalID; tt.vendor != q.Asker.Human || tt.vendor && q.Asker.ID != want || q.Asker.ID == "" || q.Establishment.FINESSGeo == "" {
					t.Errorf("asked by %+v", q.Asker)
				}
			}
			if tt.status >= 500 {
				a.refused(t, tt.status, tt.code)
				if kept := w.count() - before; a.json(t)["temporary"] == true && (kept != 0 || dry.status != tt.status) || a.json(t)["temporary"] == false && kept != 1 {
					t.Errorf("%d submissions kept, dry run %d: %s", kept, dry.status, a.body)
				}
				return
			}
			if tt.status == 422 {
				a.refused(t, 422, tt.code)
				if v := dry.json(t); v["verdict"] != "refused" || v["errors"].([]any)[0].(map[string]any)["code"] != tt.code {
					t.Errorf("dry run: %s", dry.body)
				}
				return
			}
			if v := dry.json(t); v["verdict"] != "accepted" || tt.code != "" && !strings.Contains(dry.body, tt.code) || tt.code == "" && strings.Contains(dry.body, "INSI-") {
				t.Errorf("dry run: %s", dry.body)
			}
			if tt.code != "" && !strings.Contains(a.body, tt.code) {
				t.Errorf("no %s: %s", tt.code, a.body)
			}
			id := fmt.Sprint(a.json(t)["id"])
			s, docs, err := w.journal.Submission(t.Context(), id)
			must(t, err)
			kept, err := w.journal.Fetch(t.Context(), docs[0].Digest)
			must(t, err)
			if has := strings.Contains(string(kept), testdata.Patients()[0].Matricule); s.INSStatus != tt.ins || has != (tt.ins == "QUAL") {
				t.Errorf("status %s, matricule in the document: %v", s.INSStatus, has)
			}
			if told := strings.Contains(w.do(w.machine, "GET", "/v1/submissions/"+id+"/events", nil, nil).body, `"step":"insi"`); told != (tt.calls > 0 && tt.ins == "QUAL") {
				t.Errorf("the timeline tells of INSi: %v", told)
			}
			if tt.calls > 0 && w.insi.asked[1].Subject != id {
				t.Errorf("asked about %q, not about %s", w.insi.asked[1].Subject, id)
			}
		})
	}
	for _, secret := range []string{twin, testdata.Patients()[0].Matricule, testdata.Patients()[0].BirthDate, "PERSONNE"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// TestTraitsOnlyKey sends under one key while INSi is away, then knows nobody,
// then answers: nothing that INSi said before counts.
func TestTraitsOnlyKey(t *testing.T) {
	w := newWorld(t, options{insi: true, idle: true, noPSC: true})
	e := edit(t, envelope(t, 90), "patient", asked(twin))
	key := with("", "Idempotency-Key", "cle-1")
	for _, step := range []struct {
		answer string // the name that INSi hears instead of the patient's
		status int
	}{{"PANNE SERVICE", 503}, {"PANNE ATTENTE", 504}, {"PERSONNE", 422}, {"PANNE DROITS", 502}, {"", 202}, {"PANNE SERVICE", 202}} {
		w.api.Door.(*gateway.Gateway).INSi = hears{w.insi, step.answer}
		a := w.submit(w.machine, "", e, pdf(), key)
		if a.status != step.status {
			t.Fatalf("%s: %d %s", step.answer, a.status, a.body)
		}
		if last := a.header.Get("Idempotent-Replayed") == "true"; last != (step.answer != "" && step.status == 202) {
			t.Errorf("%s: replayed %v", step.answer, last)
		}
	}
}

// hears lets INSi hear another name.
type hears struct {
	*fakeINSi
	name string
}

func (h hears) Search(ctx context.Context, q gateway.INSiQuery) (gateway.INSiAnswer, error) {
	if h.name != "" {
		q.Identity.Traits.BirthName = h.name
	}
	return h.fakeINSi.Search(ctx, q)
}

func TestQueryIdentity(t *testing.T) {
	w := newWorld(t, options{insi: true, idle: true})
	second := w.bearer(testdata.PersonaRadiologist)
	provisional, doubtful := asked(twin), asked(twin)
	provisional.Status, doubtful.Attributes = "", []string{"FICT"}
	for _, tt := range []struct {
		name   string
		id     ins.Identity
		result string
		status string // of the identity that comes back
		code   string // of the first finding
		where  string
	}{
		{"ok/validated", asked(twin), "00", "QUAL", "", ""},
		{"ok/without a status", provisional, "00", "RECUP", "", ""},
		{"ok/written otherwise", asked(strings.ToLower(twin)), "00", "QUAL", ins.FaultReplaced, "/traits/birth_name"},
		{"fail/nobody", asked("PERSONNE"), "01", "", "INSI-NONE", ""},
		{"fail/several", asked("DOUBLE"), "02", "", "INSI-SEVERAL", ""},
		{"fail/another date", asked("AUTRE"), "00", "", ins.FaultUnconfirmed, "/traits/birth_date"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := json.Marshal(tt.id)
			must(t, err)
			a := w.do(w.machine, "POST", "/v1/identities/query", body, with("", "Content-Type", "application/json"))
			var got httpapi.IdentityAnswer
			must(t, json.Unmarshal([]byte(a.body), &got))
			if a.status != 200 || got.Result != tt.result || got.Accepted != (tt.status != "") || (got.Identity != nil) != got.Accepted || (got.Returned != nil) != (tt.result == "00") || got.Calls != 1 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if got.Accepted && (got.Identity.Matricule != testdata.Patients()[0].Matricule || string(got.Identity.Status) != tt.status || len(got.Former) != 1) {
				t.Errorf("%s", a.body)
			}
			if !got.Accepted && strings.Contains(a.body, testdata.Patients()[0].Matricule) {
				t.Errorf("an INS that is not taken: %s", a.body)
			}
			if tt.code == "" && len(got.Findings) != 0 || tt.code != "" && (len(got.Findings) != 1 || got.Findings[0].Code != tt.code || got.Findings[0].Where != tt.where) {
				t.Errorf("%+v", got.Findings)
			}
		})
	}
	post := func(id ins.Identity, establishment, bearer string) answer {
		body, err := json.Marshal(httpapi.IdentityQuery{Establishment: establishment, Identity: id})
		must(t, err)
		c := w.machine
		if bearer != "" {
			c = w.vendor
		}
		return w.do(c, "POST", "/v1/identities/query", body, with(bearer, "Content-Type", "application/json"))
	}
	// A key has no effect: what OpenAPI says. The second person gets their own answer.
	keyed := with("", "Content-Type", "application/json", "Idempotency-Key", "cle-1")
	for _, path := range []string{"check", "query"} {
		calls := len(w.insi.asked)
		var answers []string
		for _, name := range []string{twin, "PERSONNE", "PERSONNE"} {
			body, err := json.Marshal(asked(name))
			must(t, err)
			a := w.do(w.machine, "POST", "/v1/identities/"+path, body, keyed)
			if a.status != 200 || a.header.Get("Idempotent-Replayed") != "" {
				t.Errorf("%s under a key: %d %s", path, a.status, a.body)
			}
			answers = append(answers, a.body)
		}
		if path == "query" && (len(w.insi.asked) != calls+3 || answers[0] == answers[1]) {
			t.Errorf("%d calls of INSi, %q", len(w.insi.asked)-calls, answers)
		}
	}
	post(doubtful, "", "").refused(t, 422, "INS-CALL-FORBIDDEN /attributes")
	if a := post(identity(testdata.Patients()[0]), "", ""); a.status != 200 || a.json(t)["accepted"] != true || a.json(t)["returned"] != nil {
		t.Errorf("an INS that INSi knows: %d %s", a.status, a.body)
	}
	other := identity(testdata.Patients()[0])
	other.Traits.BirthDate = "1901-01-01"
	if a := post(other, "", ""); a.status != 200 || a.json(t)["accepted"] != false || !strings.Contains(a.body, `"INSI-DISAGREES"`) {
		t.Errorf("an INS of another date: %d %s", a.status, a.body)
	}
	post(asked(twin), "990000044", "").refused(t, 422, httpapi.FaultEstablishment)
	post(asked(twin), "", second).refused(t, 422, httpapi.FaultEstablishment)
	if a := post(asked(twin), "990000028", second); a.status != 200 || !w.insi.asked[len(w.insi.asked)-1].Asker.Human {
		t.Errorf("a professional: %d %s", a.status, a.body)
	}
	if log := w.log.String(); strings.Contains(log, twin) || strings.Contains(log, testdata.Patients()[0].Matricule) {
		t.Error("a trait or a matricule stands in the log")
	}
}
