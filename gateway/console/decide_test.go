package console_test

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/console"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/testdata"
)

const motive = "Panne annoncée par le destinataire"

// post sends a form as a browser does; change spoils the request.
func (w *world) post(c *http.Client, path string, form url.Values, change func(*http.Request)) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", w.server.URL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if change != nil {
		change(req)
	}
	res, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Request.URL.Path, string(body)}
}

// between is what stands between two texts of a page.
func between(t *testing.T, page, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, from)
	value, _, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("no %q on the page:\n%s", from, page)
	}
	return html.UnescapeString(value)
}

// form reads the hidden fields of a page, and adds a reason.
func form(t *testing.T, a answer) url.Values {
	t.Helper()
	return url.Values{
		"token": {between(t, a.body, `name="token" value="`, `"`)}, "round": {between(t, a.body, `name="round" value="`, `"`)}, "why": {motive},
	}
}

// queued records a message that is due at the DMP, or in another state.
func (w *world) queued(control string, state gateway.State) (id, delivery string) {
	w.t.Helper()
	id = w.add(item{control: control, state: gateway.Pending, document: testdata.CDA(testdata.CDAOptions{}), change: func(e *gateway.Entry) {
		s := e.Submission
		delivery = "d-" + s.ID
		d := gateway.Delivery{ID: delivery, Submission: s.ID, Establishment: s.Establishment, Destination: gateway.DestinationDMP, State: state, Created: s.Received, Due: noon.Add(time.Hour)}
		if state == gateway.Failed {
			d.Code = "DMPClosed"
		}
		e.Deliveries = []gateway.Delivery{d}
	}})
	return id, delivery
}

func (w *world) stateOf(id string) gateway.State {
	w.t.Helper()
	s, _, err := w.journal.Submission(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.State
}

// A person stops a delivery, sees it told in the timeline, and has it begin
// again.
func TestStopAndReplay(t *testing.T) {
	w := newWorld(t)
	id, delivery := w.queued("EX-1", gateway.Due)
	b := w.enter(first)
	stop := biology + id + "/deliveries/" + delivery + "/stop?round=0"
	w.get(b, biology+id).has(t, `href="`+stop+`"`, ">Arrêter<")
	page := w.get(b, stop)
	page.has(t, "Arrêter cet envoi", "EX-1", "DMP", `method="post"`, `required minlength="5"`)

	f := form(t, page)
	f.Set("why", "Dossier de "+patient.BirthName)
	named := w.post(b, stop, f, nil)
	if named.status != 422 || w.stateOf(id) != gateway.Pending {
		t.Errorf("a reason that names the patient: %d", named.status)
	}
	named.has(t, "GW-REASON-TELLS", `role="alert"`, `aria-invalid="true"`, `name="token"`)
	f.Set("why", " ")
	w.post(b, stop, f, nil).has(t, "GW-REASON", "Arrêter cet envoi")

	f.Set("why", `Panne <b>"annoncée"</b>`)
	done := w.post(b, stop, f, nil)
	if done.status != 200 || done.path != biology+id || w.stateOf(id) != gateway.Failed {
		t.Fatalf("%d at %s, %s", done.status, done.path, w.stateOf(id))
	}
	done.has(t, "L&#39;envoi est arrêté.", "Arrêté par une personne", "Arrêt décidé", "Panne &lt;b&gt;&#34;annoncée&#34;&lt;/b&gt;", first, "GW-STOPPED", ">Relancer<")
	done.hides(t, "<b>", patient.BirthName)
	if again := w.post(b, stop, f, nil); again.status != 409 {
		t.Errorf("stopped twice: %d", again.status)
	} else {
		again.has(t, "GW-DECIDED")
	}

	replay := biology + id + "/deliveries/" + delivery + "/replay?round=0"
	f = form(t, w.get(b, replay))
	w.post(b, replay, f, nil).has(t, "L&#39;envoi est relancé.", "Relance décidée", "À envoyer", ">Arrêter<")
	if w.stateOf(id) != gateway.Pending {
		t.Errorf("state %s", w.stateOf(id))
	}
	if old := w.get(b, stop); old.status != 409 {
		t.Errorf("a page of the round before: %d", old.status)
	}
	log := w.log.String()
	if !strings.Contains(log, "msg=decision submission="+id) || !strings.Contains(log, "national_id="+first) || strings.Contains(log, "Panne") || strings.Contains(log, patient.BirthName) {
		t.Errorf("the log: %s", log)
	}
	en := w.get(b, biology+id+"?lang=en&done=replay")
	en.has(t, "The delivery begins again.", "Begun again", "Decided by", "/stop?lang=en&amp;round=1")
}

// An address that says that something was done does not make it so (found by the
// review of the console).
func TestDoneIsNotSaidByAnAddress(t *testing.T) {
	w := newWorld(t)
	id, delivery := w.queued("EX-1", gateway.Due)
	b := w.enter(first)
	for _, done := range []string{"stop", "replay", "file", "nothing"} {
		w.get(b, biology+id+"?done="+done).hides(t, `class="done"`)
	}
	path := biology + id + "/deliveries/" + delivery + "/stop?round=0"
	w.post(b, path, form(t, w.get(b, path)), nil).has(t, `class="done"`)
	w.get(w.enter(both), biology+id+"?done=stop").hides(t, `class="done"`) // somebody else
	w.advance(6 * time.Minute)
	w.get(b, biology+id+"?done=stop").hides(t, `class="done"`)
}

// A browser that reads slowly, or not at all, keeps nobody from the documents
// (found by the review of the console).
func TestSlowReaders(t *testing.T) {
	w := newWorld(t)
	id := w.add(item{control: "UN", document: testdata.CDA(testdata.CDAOptions{Level: 3})})
	b := w.enter(first)
	u, err := url.Parse(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 { // more than there are places
		stalled := &stalledWriter{header: http.Header{}, begun: make(chan struct{}), end: make(chan struct{})}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+biology+id+"/documents/0", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, cookie := range b.Jar.Cookies(u) {
			r.AddCookie(cookie)
		}
		r.Host = u.Host
		go w.server.Config.Handler.ServeHTTP(stalled, r)
		t.Cleanup(func() { close(stalled.end) })
		select {
		case <-stalled.begun:
		case <-time.After(2 * time.Minute):
			t.Fatal("who reads slowly keeps others out")
		}
	}
	if a := w.get(b, biology+id+"/documents/0"); a.status != 200 {
		t.Errorf("status %d", a.status)
	}
}

// stalledWriter is a browser that takes nothing.
type stalledWriter struct {
	header     http.Header
	begun, end chan struct{}
}

func (s *stalledWriter) Header() http.Header { return s.header }
func (s *stalledWriter) WriteHeader(int)     {}
func (s *stalledWriter) Write(p []byte) (int, error) {
	close(s.begun)
	<-s.end
	return len(p), nil
}

// A form counts only when this page gave it to this person: anything else
// changes nothing.
func TestForgedDecision(t *testing.T) {
	w := newWorld(t)
	id, delivery := w.queued("EX-1", gateway.Due)
	other, otherDelivery := w.queued("EX-2", gateway.Due)
	b := w.enter(first)
	path := biology + id + "/deliveries/" + delivery + "/stop?round=0"
	good := form(t, w.get(b, path))
	another := form(t, w.get(w.enter(first), path))
	elsewhere := form(t, w.get(b, biology+other+"/deliveries/"+otherDelivery+"/stop?round=0"))
	with := func(name, value string) url.Values {
		f := url.Values{"token": good["token"], "round": good["round"], "why": good["why"]}
		f.Set(name, value)
		return f
	}
	for _, tt := range []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		status int
		code   string
	}{
		{"fail/no token", with("token", ""), nil, 403, "CONSOLE-FORM"},
		{"fail/made up token", with("token", "AAAA"), nil, 403, "CONSOLE-FORM"},
		{"fail/token of another session of the same person", another, nil, 403, "CONSOLE-FORM"},
		{"fail/token of another page", elsewhere, nil, 403, "CONSOLE-FORM"},
		{"fail/from another site", good, func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://exemple.fr")
		}, 403, "CONSOLE-FORM"},
		{"fail/from a browser without Sec-Fetch, elsewhere", good, func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://exemple.fr")
		}, 403, "CONSOLE-FORM"},
		{"fail/origin null", good, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }, 403, "CONSOLE-FORM"},
		{"fail/as text", good, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 403, "CONSOLE-FORM"},
		{"fail/huge", with("why", strings.Repeat("x", 1<<20)), nil, 403, "CONSOLE-FORM"},
		{"fail/logged out", good, func(r *http.Request) { r.Header.Set("Cookie", "x=y") }, 401, "return_to"},
		{"fail/another round", with("round", "7"), nil, 409, "GW-DECIDED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := b
			if tt.status == 401 {
				client = w.browser()
			}
			a := w.post(client, path, tt.form, tt.change)
			if a.status != tt.status {
				t.Errorf("status %d", a.status)
			}
			a.has(t, tt.code)
			if got := w.stateOf(id); got != gateway.Pending {
				t.Fatalf("it is %s", got)
			}
		})
	}
	t.Run("fail/by an address", func(t *testing.T) {
		w.get(b, path+"&why=x&token="+url.QueryEscape(good.Get("token")))
		if got := w.stateOf(id); got != gateway.Pending {
			t.Errorf("a link decides: %s", got)
		}
	})
	t.Run("ok/the form itself", func(t *testing.T) {
		if a := w.post(b, path, good, nil); a.status != 200 || w.stateOf(id) != gateway.Failed {
			t.Errorf("%d, %s", a.status, w.stateOf(id))
		}
	})
}

// Reading is not deciding.
func TestWhoDecides(t *testing.T) {
	w := newWorld(t)
	id, delivery := w.queued("EX-1", gateway.Due)
	letter := w.differing("LETTRE")
	for _, tt := range []struct {
		name, who string
		status    int
	}{{"fail/reads only", both, 403}, {"fail/another house", second, 404}, {"fail/decides and is not listed", nobody, 403}, {"ok/decides", first, 200}} {
		t.Run(tt.name, func(t *testing.T) {
			b := w.enter(tt.who)
			for _, path := range []string{
				biology + id + "/deliveries/" + delivery + "/stop?round=0", biology + letter + "/file", biology + letter + "/reject", biology + letter + "/keep",
			} {
				a := w.get(b, path)
				if a.status != tt.status {
					t.Errorf("%s: %d", path, a.status)
				}
				if tt.status != 200 {
					a.hides(t, patient.BirthName, "name=\"token\"")
					if p := w.post(b, path, url.Values{"why": {motive}}, nil); p.status != tt.status {
						t.Errorf("POST %s: %d", path, p.status)
					}
				}
			}
			if tt.who == both {
				w.get(b, biology+id).hides(t, ">Arrêter<")
				w.get(b, biology+letter).hides(t, "Écarter un courriel")
				w.get(b, biology+letter+"/keep").has(t, "CONSOLE-DECIDE", "decide: true")
			}
		})
	}
	b := w.enter(first)
	for _, path := range []string{
		biology + id + "/stop", biology + id + "/deliveries/" + delivery + "/file", biology + id + "/deliveries/" + delivery + "/done",
		biology + id + "/deliveries/none/stop?round=0", biology + "none/keep", biology + id + "/deliveries/" + url.PathEscape("../x") + "/stop",
	} {
		if a := w.get(b, path); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	for path, status := range map[string]int{biology + id + "/keep": 409, biology + id + "/deliveries/" + delivery + "/replay?round=0": 409} {
		if a := w.get(b, path); a.status != status {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if w.stateOf(id) != gateway.Pending || w.stateOf(letter) != gateway.Quarantined {
		t.Error("something was decided")
	}
}

// differing records a letter whose patient differs by a trait from the one held.
func (w *world) differing(control string) string {
	other := patient
	other.GivenNames = "CLAIRE ANNE"
	o := testdata.LetterOptions{From: testdata.Personas()[0].Mailbox, Document: testdata.CDAOptions{Patient: other, ID: testdata.DocumentID(w.seq + 500)}, WantMDN: true}
	raw := append([]byte("Return-Path: <"+o.From+">\r\n"), testdata.Letter(o)...)
	return w.add(item{control: control, door: gateway.DoorMail, state: gateway.Quarantined, code: "INS-MISMATCH", raw: raw, change: func(e *gateway.Entry) { e.Submission.Envelope = nil }})
}

func TestQuarantineDecisions(t *testing.T) {
	w := newWorld(t)
	b := w.enter(first)
	t.Run("ok/file", func(t *testing.T) {
		id := w.differing("A")
		w.get(b, biology+id).has(t, biology+id+"/file", biology+id+"/reject", biology+id+"/keep")
		list := w.get(b, biology+id+"/file")
		list.has(t, "Diffère : Liste des prénoms", patient.BirthName, patient.IPP, "Comparer")
		path := between(t, list.body, `class="button" href="`, `"`)
		if strings.Contains(path, patient.Matricule) {
			t.Errorf("the address holds a matricule: %s", path)
		}
		page := w.get(b, path)
		page.has(t, "CLAIRE ANNE", patient.GivenNames, "Différent", patient.Matricule, `type="checkbox"`)
		f := form(t, page)
		a := w.post(b, path, f, nil)
		if a.status != 422 || w.stateOf(id) != gateway.Quarantined {
			t.Errorf("unconfirmed: %d", a.status)
		}
		a.has(t, "GW-UNCONFIRMED", motive, "Différent")
		f.Set("confirmed", "yes")
		filed := w.post(b, path, f, nil)
		filed.has(t, "Le courriel est rattaché", "Rattachement décidé", motive, "Document vers le logiciel")
		filed.hides(t, patient.BirthName, patient.Matricule)
		if got := w.stateOf(id); got != gateway.Pending {
			t.Errorf("state %s", got)
		}
		if a := w.post(b, path, f, nil); a.status != 409 {
			t.Errorf("filed twice: %d", a.status)
		}
		if log := w.log.String(); !strings.Contains(log, "submission="+id+" what=identities") || strings.Contains(log, patient.BirthName) || strings.Contains(log, patient.Matricule) {
			t.Error("the consultation is not logged, or names the patient")
		}
	})
	t.Run("fail/twin", func(t *testing.T) {
		twin := patient
		twin.FirstGiven, twin.GivenNames = "ZOE", "ZOE"
		id := w.add(item{control: "T", door: gateway.DoorMail, state: gateway.Quarantined, code: "INS-MISMATCH", raw: testdata.Letter(testdata.LetterOptions{Document: testdata.CDAOptions{Patient: twin}})})
		a := w.get(b, biology+id+"/file")
		a.has(t, "Rattachement impossible", "jumeaux", "INS-TWINS")
		a.hides(t, "?who=")
	})
	t.Run("fail/an identity that nobody proposed", func(t *testing.T) {
		id := w.differing("X")
		if a := w.get(b, biology+id+"/file?who=0000"); a.status != 409 {
			t.Errorf("status %d", a.status)
		}
	})
	t.Run("fail/no document to file", func(t *testing.T) {
		id := w.add(item{control: "N", door: gateway.DoorMail, state: gateway.Quarantined, raw: testdata.Letter(testdata.LetterOptions{Archive: testdata.ArchiveNone})})
		if a := w.get(b, biology+id+"/file"); a.status != 422 && a.status != 400 {
			t.Errorf("status %d", a.status)
		}
		w.get(b, biology+id+"/reject").has(t, "il ne sera pas prévenu")
	})
	t.Run("ok/keep, then reject and tell", func(t *testing.T) {
		id := w.differing("B")
		w.post(b, biology+id+"/keep", form(t, w.get(b, biology+id+"/keep")), nil).has(t, "La note est enregistrée", motive, "En quarantaine", "Écarter")
		page := w.get(b, biology+id+"/reject")
		page.has(t, `<option value="904" selected>`, "Ne rien envoyer")
		f := form(t, page)
		f.Set("code", "904")
		w.post(b, biology+id+"/reject", f, nil).has(t, "Le courriel est écarté", "Écarté par une personne", "Accusé vers l&#39;expéditeur", motive)
		if got := w.stateOf(id); got != gateway.RefusedState {
			t.Errorf("state %s", got)
		}
		w.get(b, biology+id+"/mail").has(t, "Texte seul") // it stays readable
	})
	t.Run("fail/no activity of care", func(t *testing.T) {
		id := w.differing("C")
		w.personIs("non-care")
		s := w.enter(first)
		if a := w.get(s, biology+id+"/file"); a.status != 403 {
			t.Errorf("status %d", a.status)
		} else {
			a.hides(t, patient.BirthName)
		}
		if a := w.get(s, biology+id+"/keep"); a.status != 200 {
			t.Errorf("a note: %d", a.status)
		}
	})
}

// Found by the audit of issue 4, 2026-11-22: a letter without a document was
// offered for filing, which always refused; the step of a webhook had no name.
func TestNothingToFile(t *testing.T) {
	w := newWorld(t)
	id := w.add(item{control: "courrier-2@exemple.fr", door: gateway.DoorMail, state: gateway.Quarantined, code: gateway.FaultNoArchive, raw: testdata.Letter(testdata.LetterOptions{}),
		change: func(e *gateway.Entry) {
			e.Events = append(e.Events, gateway.Event{Submission: e.Submission.ID, Time: noon, Step: gateway.EventWebhook, Outcome: gateway.OutcomeOK})
		}})
	a := w.get(w.enter(first), biology+id)
	a.has(t, biology+id+"/reject", biology+id+"/keep", "écartez-le ou gardez-le", "Évènement (webhook)")
	a.hides(t, biology+id+"/file", "rattachez-le", ">webhook<")
}

func TestWarnings(t *testing.T) {
	w := newWorld(t)
	b := w.enter(second)
	w.get(b, "/console/warnings").has(t, "Aucune alarme", "Aucun certificat")
	w.gateway.Alarms.Raise(fault.New("GW-DISK-FULL"), noon)
	w.certificates = []console.Certificate{
		{Name: "gateway.certificate", Subject: "passerelle.exemple.fr", Expires: noon.Add(400 * 24 * time.Hour)},
		{Name: "dmp.certificate", Subject: "<b>", Expires: noon.Add(29*24*time.Hour + time.Minute)},
		{Name: "mss.certificate", Subject: "mss", Expires: noon.Add(-time.Hour)},
		{Name: "mss.ca", Problem: "illisible"},
	}
	a := w.get(b, "/console/warnings")
	a.has(t, "GW-DISK-FULL", "05/01/2026 12:00:00", "Valide", "400 jours", "Expire bientôt", "29 jours", "Expiré", "Illisible", "&lt;b&gt;")
	order := []int{strings.Index(a.body, "Valide"), strings.Index(a.body, "Expire bientôt"), strings.Index(a.body, "Expiré"), strings.Index(a.body, "Illisible")}
	if !slices.IsSorted(order) {
		t.Errorf("the states stand beside other certificates: %v", order)
	}
	w.get(b, "/console/warnings?lang=en").has(t, "Standing alarms", "Expires soon", "29 days")
	if a := w.get(w.enter(nobody), "/console/warnings"); a.status != 403 {
		t.Errorf("not listed: %d", a.status)
	}
}
