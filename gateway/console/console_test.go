package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/console"
	"github.com/passerelle-sante/passerelle/testdata"
)

const biology = "/console/submissions/"

// Who sees what: one row a page, one column a person.
func TestAccess(t *testing.T) {
	w := newWorld(t)
	doc := testdata.CDA(testdata.CDAOptions{})
	one := w.add(item{control: "UN", document: doc})
	two := w.add(item{control: "DEUX", house: houses[1], document: doc})
	letter := w.add(item{control: "LETTRE", door: gateway.DoorMail, state: gateway.Quarantined, code: "GW-MAIL-NO-ARCHIVE", raw: testdata.Letter(testdata.LetterOptions{})})
	people := []struct {
		name   string
		client *http.Client
	}{{"stranger", w.browser()}, {"not listed", w.enter(nobody)}, {"first house", w.enter(first)}, {"second house", w.enter(second)}, {"both", w.enter(both)}}
	rows := []struct {
		path string
		want [5]int
	}{
		{"/console/", [5]int{401, 403, 200, 200, 200}},
		{"/console/?site=" + houses[0].FINESSGeo, [5]int{401, 403, 200, 400, 200}},
		{"/console/quarantine", [5]int{401, 403, 200, 200, 200}},
		{biology + one, [5]int{401, 403, 200, 404, 200}},
		{biology + one + "/documents/0", [5]int{401, 403, 200, 404, 200}},
		{biology + one + "/documents/0/copy", [5]int{401, 403, 200, 404, 200}},
		{biology + one + "/documents/1", [5]int{401, 403, 404, 404, 404}},
		{biology + one + "/documents/x", [5]int{401, 403, 404, 404, 404}},
		{biology + one + "/mail", [5]int{401, 403, 404, 404, 404}},
		{biology + two, [5]int{401, 403, 404, 200, 200}},
		{biology + two + "/documents/0/copy", [5]int{401, 403, 404, 200, 200}},
		{biology + letter + "/mail", [5]int{401, 403, 200, 404, 200}},
		{biology + "unknown", [5]int{401, 403, 404, 404, 404}},
		{"/console/unknown", [5]int{401, 403, 404, 404, 404}},
		{"/console/warnings", [5]int{401, 403, 200, 200, 200}},
		{biology + letter + "/file", [5]int{401, 403, 200, 404, 403}}, // "both" only reads
		{biology + letter + "/keep", [5]int{401, 403, 200, 404, 403}},
		{"/", [5]int{200, 200, 200, 200, 200}},
	}
	for _, row := range rows {
		for i, p := range people {
			name := "ok/"
			if row.want[i] != 200 {
				name = "fail/"
			}
			t.Run(name+p.name+" "+row.path, func(t *testing.T) {
				a := w.get(p.client, row.path)
				if a.status != row.want[i] {
					t.Errorf("status %d, want %d", a.status, row.want[i])
				}
				if a.status != 200 {
					a.hides(t, patient.BirthName, patient.Matricule, "UN<", "DEUX<", "LABO")
				}
			})
		}
	}
	t.Run("ok/each sees the rows of their own houses", func(t *testing.T) {
		w.get(people[2].client, "/console/").hides(t, "DEUX", houses[1].Name)
		w.get(people[3].client, "/console/").hides(t, ">UN<", houses[0].Name, "LETTRE")
		w.get(people[3].client, "/console/quarantine").hides(t, "LETTRE")
		w.get(people[4].client, "/console/").has(t, "UN", "DEUX", "LETTRE")
	})
	t.Run("ok/who is not listed learns under which identifier to be", func(t *testing.T) {
		w.get(people[1].client, "/console/").has(t, nobody, "CONSOLE-ACCESS")
	})
	t.Run("ok/the way in comes back to the page", func(t *testing.T) {
		w.get(people[0].client, biology+one).has(t, "/login?return_to="+url.QueryEscape(biology+one))
	})
	t.Run("fail/other methods change nothing", func(t *testing.T) {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
			if a := w.do(people[2].client, method, biology+one); a.status == 200 {
				t.Errorf("%s answers %d", method, a.status)
			}
		}
	})
}

// A person without activity of care follows messages, and reads no document.
func TestNoCare(t *testing.T) {
	w := newWorld(t)
	id := w.add(item{control: "UN", document: testdata.CDA(testdata.CDAOptions{})})
	letter := w.add(item{control: "LETTRE", door: gateway.DoorMail, state: gateway.Quarantined, raw: testdata.Letter(testdata.LetterOptions{})})
	w.personIs("non-care")
	b := w.enter(first)
	if a := w.get(b, biology+id); a.status != 200 {
		t.Errorf("timeline %d", a.status)
	}
	for _, path := range []string{biology + id + "/documents/0", biology + id + "/documents/0/copy", biology + letter + "/mail"} {
		a := w.get(b, path)
		if a.status != 403 {
			t.Errorf("%s answers %d", path, a.status)
		}
		a.has(t, "PSC-NO-CARE")
		a.hides(t, patient.BirthName)
	}
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	day := 24 * time.Hour
	w.add(item{control: "ANCIEN", received: noon.Add(-10 * day)})
	w.add(item{control: "MINUIT", received: time.Date(2026, 1, 2, 23, 0, 0, 0, time.UTC)}) // the 3rd in Paris
	w.add(item{control: "ECHEC", state: gateway.Failed, code: "DMPClosed"})
	w.add(item{control: "DOC", document: testdata.CDA(testdata.CDAOptions{})})
	docID := testdata.DocumentID(w.seq)
	other := w.add(item{control: "AUTRE", house: houses[1]})
	b := w.enter(both)
	// Found by the audit of issue 4, 2026-11-22: the number that MSA-3 gives found nothing.
	t.Run("ok/submission number", func(t *testing.T) {
		a := w.get(b, "/console/?lang=en&control=+"+other)
		a.has(t, `<html lang="en">`, "AUTRE", other)
		a.hides(t, `name="control"`) // its page, not the list
	})
	t.Run("fail/submission number of a site that is not theirs", func(t *testing.T) {
		if a := w.get(w.enter(first), "/console/?control="+other); a.status != 200 || !strings.Contains(a.body, "Aucun message ne répond") {
			t.Errorf("%d %s", a.status, a.header.Get("Location"))
		}
	})
	all := []string{"ANCIEN", "MINUIT", "ECHEC", "DOC", "AUTRE"}
	for _, tt := range []struct {
		name, query string
		want        []string
		status      int
	}{
		{"ok/everything", "", all, 200},
		{"ok/control id", "?control=ECHEC", []string{"ECHEC"}, 200},
		{"ok/control id with blanks around", "?control=+ECHEC+", []string{"ECHEC"}, 200},
		{"ok/control id unknown", "?control=NON", nil, 200},
		{"ok/control id is no pattern", "?control=%25", nil, 200},
		{"ok/state", "?state=failed", []string{"ECHEC"}, 200},
		{"ok/document", "?document=" + docID, []string{"DOC"}, 200},
		{"ok/document as the DMP names it", "?document=urn:oid:" + docID, []string{"DOC"}, 200},
		{"ok/site", "?site=" + houses[1].FINESSGeo, []string{"AUTRE"}, 200},
		{"ok/one day in Paris", "?since=2026-01-03&until=2026-01-03", []string{"MINUIT"}, 200},
		{"ok/until the day before", "?until=2026-01-02", []string{"ANCIEN"}, 200},
		{"ok/criteria together", "?state=failed&control=DOC", nil, 200},
		{"fail/state", "?state=nope", nil, 400},
		{"fail/day", "?since=05/01/2026", nil, 400},
		{"fail/last day", "?until=2026-02-31", nil, 400},
		{"fail/site unknown", "?site=000000000", nil, 400},
		{"fail/too long", "?control=" + strings.Repeat("x", 201), nil, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.get(b, "/console/"+tt.query)
			if a.status != tt.status {
				t.Fatalf("status %d", a.status)
			}
			for _, control := range all {
				if shown := strings.Contains(a.body, ">"+control+"</a>"); shown != slices.Contains(tt.want, control) {
					t.Errorf("%s shown: %v", control, shown)
				}
			}
			if tt.status == 400 {
				a.has(t, `role="alert"`)
			} else if tt.want == nil {
				a.has(t, "Aucun message ne répond")
			}
		})
	}
}

// Pages follow each other without a gap and without a repetition, also when
// messages arrive in between.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		w.add(item{control: fmt.Sprintf("P%02d", i)})
	}
	b := w.enter(first)
	seen := map[string]int{}
	path, pages := "/console/?state=done", 0
	for path != "" {
		a := w.get(b, path)
		pages++
		for i := range 60 {
			if strings.Contains(a.body, fmt.Sprintf(">P%02d</a>", i)) {
				seen[fmt.Sprintf("P%02d", i)]++
			}
		}
		w.add(item{control: "NOUVEAU"})
		path = ""
		if _, rest, ok := strings.Cut(a.body, `<p class="next"><a class="button" href="`); ok {
			link, _, _ := strings.Cut(rest, `"`)
			path = strings.ReplaceAll(link, "&amp;", "&")
			if !strings.Contains(path, "state=done") {
				t.Errorf("the criterion is lost: %s", path)
			}
		}
	}
	if pages != 3 || len(seen) != 60 {
		t.Errorf("%d pages, %d messages", pages, len(seen))
	}
	for control, n := range seen {
		if n != 1 {
			t.Errorf("%s shown %d times", control, n)
		}
	}
}

// The page of one message tells everything but who the patient is.
func TestSubmission(t *testing.T) {
	w := newWorld(t)
	toPatient := patient.Matricule + "@patient.mssante.fr"
	id := w.add(item{control: "EX-1", state: gateway.Partial, code: "MSS-NO-MAILBOX", document: testdata.CDA(testdata.CDAOptions{}), change: func(e *gateway.Entry) {
		s := e.Submission
		e.Submission.Warnings = []gateway.Note{{Code: "CDA-PDFA", Where: "OBX^1^5"}}
		d := func(n, destination string, state gateway.State) gateway.Delivery {
			return gateway.Delivery{ID: s.ID + n, Submission: s.ID, Establishment: s.Establishment, Destination: destination, State: state, Created: s.Received, Due: noon.Add(time.Hour)}
		}
		waiting := d("2", gateway.DestinationPro, gateway.Due)
		waiting.Recipient, waiting.Attempts, waiting.Code = "lea.morel@test-ci-sis.mssante.fr", 3, "MSS-OPERATOR-BUSY"
		failed := d("3", gateway.DestinationPat, gateway.Failed)
		failed.Recipient, failed.Code = toPatient, "MSS-NO-MAILBOX"
		told := d("4", gateway.DestinationZAM, gateway.Done)
		told.Notice = &gateway.Notice{ControlID: "Z1", Event: "Z02", Success: true, Recipient: toPatient}
		e.Deliveries = []gateway.Delivery{d("1", gateway.DestinationDMP, gateway.Done), waiting, failed, told}
		e.Events = append(e.Events,
			gateway.Event{Submission: s.ID, Time: noon, Step: gateway.EventDMP, Outcome: gateway.OutcomeOK, AckCode: "200", Destination: gateway.DestinationDMP, Attempt: 1},
			gateway.Event{Submission: s.ID, Time: noon, Step: gateway.EventMail, Outcome: gateway.OutcomeRetry, Code: "MSS-OPERATOR-BUSY", AckCode: "450", Destination: gateway.DestinationPro, Recipient: waiting.Recipient, Attempt: 3},
			gateway.Event{Submission: s.ID, Time: noon, Step: gateway.EventDSN, Outcome: gateway.OutcomeFailed, Code: "MSS-NO-MAILBOX", Destination: gateway.DestinationPat, Recipient: toPatient},
			gateway.Event{Submission: s.ID, Time: noon, Step: gateway.EventDSN, Outcome: gateway.OutcomeOK, Destination: "mss-pro", Recipient: strings.ToUpper(toPatient)})
	}})
	b := w.enter(first)
	a := w.get(b, biology+id)
	a.has(t, "EX-1", "Échec partiel", "Le DMP a répondu", "Nouvel essai prévu (essai 3)", "lea.morel@test-ci-sis.mssante.fr", "05/01/2026 13:00:00",
		"Compte rendu à l&#39;établissement (Z02 Y)", "Messagerie du patient", "OBX^1^5", "CDA-PDFA", "MSA|AA|EX-1", testdata.DocumentID(w.seq), "<title>Suivi d&#39;un message – Passerelle</title>")
	a.hides(t, patient.Matricule, patient.BirthName, patient.FirstGiven)
	en := w.get(b, biology+id+"?lang=en")
	en.has(t, `<html lang="en">`, "Partly failed", "The DMP answered", "Will be tried again (attempt 3)", "The patient&#39;s mailbox", "Acknowledgement sent to the sender", `/console/?lang=en`)
	en.hides(t, "Échec", "Destinataire", patient.Matricule)
}

// A document is shown with its PDF, a consultation is logged, and no trait
// leaves the page.
func TestDocument(t *testing.T) {
	w := newWorld(t)
	pdf := testdata.PDF("CR", []string{"Compte rendu"})
	one := w.add(item{control: "NIVEAU-1", document: testdata.CDA(testdata.CDAOptions{PDF: pdf})})
	three := w.add(item{control: "NIVEAU-3", document: testdata.CDA(testdata.CDAOptions{Level: 3, NoPDFCopy: true})})
	text := w.add(item{control: "TEXTE", document: testdata.CDA(testdata.CDAOptions{MediaType: "text/plain", PDF: []byte("Texte simple du compte rendu")})})
	b := w.enter(first)

	a := w.get(b, biology+one+"/documents/0")
	a.has(t, patient.BirthName, `<object class="cda-pdf" type="application/pdf" data="`+biology+one+`/documents/0/copy#navpanes=0"`, "<title>Document – Passerelle</title>")
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "object-src 'self'") || strings.Contains(csp, "script-src") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
	copied := w.get(b, biology+one+"/documents/0/copy")
	if copied.body != string(pdf) || copied.header.Get("Content-Type") != "application/pdf" || copied.header.Get("X-Frame-Options") != "SAMEORIGIN" || copied.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the copy: %d bytes, %v", len(copied.body), copied.header)
	}
	w.get(b, biology+three+"/documents/0").has(t, patient.BirthName, "Copie PDF du document", "<table>")
	if made := w.get(b, biology+three+"/documents/0/copy"); !strings.HasPrefix(made.body, "%PDF-") {
		t.Errorf("no copy is made: %d", made.status)
	}
	w.get(b, biology+text+"/documents/0").has(t, "Texte simple du compte rendu")
	if none := w.get(b, biology+text+"/documents/0/copy"); none.status != 404 {
		t.Errorf("a text has a PDF: %d", none.status)
	} else {
		none.has(t, "CONSOLE-NO-PDF")
	}

	log := w.log.String()
	for _, line := range []string{
		`msg="console: consultation" national_id=` + first + " submission=" + one + " what=document document=0",
		`msg="console: consultation" national_id=` + first + " submission=" + one + " what=pdf document=0",
		`msg="console: consultation" national_id=` + first + " submission=" + three + " what=document document=0",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %q", line)
		}
	}
	for _, trait := range []string{patient.BirthName, patient.FirstGiven, patient.Matricule, patient.BirthDate} {
		if strings.Contains(log, trait) {
			t.Errorf("the log tells %q", trait)
		}
	}
	if strings.Contains(log, text+" what=pdf") {
		t.Error("a refusal is logged as a consultation")
	}
}

func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	letter := w.add(item{control: "courrier-1@exemple.fr", door: gateway.DoorMail, state: gateway.Quarantined, code: "MSS-NO-ARCHIVE",
		raw: testdata.Letter(testdata.LetterOptions{Subject: "Compte rendu <b>urgent</b>"})})
	broken := w.add(item{control: "casse", door: gateway.DoorMail, state: gateway.Quarantined, code: "MSS-MIME",
		raw: []byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n<script>alert(1)</script>\x00\x1b[31m sans fin")})
	w.add(item{control: "EX-9"})
	b := w.enter(first)
	list := w.get(b, "/console/quarantine")
	list.has(t, "courrier-1@exemple.fr", "casse", "Lire le courriel", biology+letter+"/mail", "une personne doit décider")
	list.hides(t, "EX-9", "urgent", patient.BirthName)

	a := w.get(b, biology+letter+"/mail")
	a.has(t, "Compte rendu &lt;b&gt;urgent&lt;/b&gt;", "IHE_XDM.zip", "Texte seul")
	a.hides(t, "<b>urgent")
	bad := w.get(b, biology+broken+"/mail")
	if bad.status != 200 {
		t.Errorf("status %d", bad.status)
	}
	bad.has(t, "&lt;script&gt;alert(1)&lt;/script&gt;")
	bad.hides(t, "<script", "\x1b", "\x00")
	if log := w.log.String(); !strings.Contains(log, "submission="+letter+" what=mail") || strings.Contains(log, "urgent") {
		t.Error("the consultation of the mail is not logged, or its subject is")
	}
	w.get(w.enter(second), "/console/quarantine").has(t, "La quarantaine est vide")
}

// What others wrote is text wherever it is shown.
func TestHostileText(t *testing.T) {
	w := newWorld(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	house := houses[0]
	doc := testdata.CDA(testdata.CDAOptions{Level: 3, Title: evil})
	id := w.add(item{control: evil, house: house, document: doc, change: func(e *gateway.Entry) {
		e.Submission.From.Application, e.Submission.Message.Type, e.Submission.Message.Profile = evil, evil, evil
		e.Submission.Establishment.Name = evil
		e.Submission.Receipt = []byte(`{"status":422,"body":{"detail":"` + `<script>alert(1)</script>` + `"}}`)
		e.Submission.Warnings = []gateway.Note{{Code: evil, Where: evil}}
		e.Documents[0].UniqueID, e.Documents[0].TypeCode, e.Documents[0].Replaces = evil, evil, evil
		e.Events = append(e.Events, gateway.Event{Submission: e.Submission.ID, Time: noon, Step: evil, Outcome: evil, AckCode: evil, Destination: evil, Recipient: evil, Where: evil})
		e.Deliveries = []gateway.Delivery{{ID: "d" + e.Submission.ID, Submission: e.Submission.ID, Establishment: e.Submission.Establishment, Destination: evil, State: gateway.State(evil), Recipient: evil, Code: evil, Created: noon, Due: noon}}
	}})
	mail := w.add(item{control: "M", door: gateway.DoorMail, state: gateway.Quarantined, code: evil, raw: []byte(
		"From: a@b.fr\r\nSubject: " + evil + "\r\nMessage-ID: <" + evil + "@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
			"--b\r\nContent-Type: text/plain\r\n\r\n" + evil + "\r\n--b\r\nContent-Type: text/html\r\n\r\n<iframe src=https://exemple.fr></iframe>\r\n" +
			"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"<script>alert(1)</script>.zip\"\r\n\r\nx\r\n--b--\r\n")})
	b := w.enter(first)
	for _, path := range []string{
		"/console/", "/console/?control=" + url.QueryEscape(evil), "/console/?document=" + url.QueryEscape(evil), "/console/?state=" + url.QueryEscape(evil), "/console/?since=" + url.QueryEscape(evil),
		"/console/?lang=" + url.QueryEscape(evil), "/console/?x=" + url.QueryEscape(evil), biology + id, biology + id + "/documents/0", biology + mail, biology + mail + "/mail",
		"/console/quarantine", biology + url.PathEscape(evil), biology + id + "/documents/" + url.PathEscape(evil), "/?lang=" + url.QueryEscape(evil),
	} {
		for _, lang := range []string{"fr", "en"} {
			if lang == "en" {
				if strings.Contains(path, "?") {
					path += "&lang=en"
				} else {
					path += "?lang=en"
				}
			}
			t.Run("ok/"+path, func(t *testing.T) {
				a := w.get(b, path)
				a.hides(t, "<script", "<img", "<iframe", "onerror=alert(1)>", "javascript:", " style=")
			})
		}
	}
}

// Every answer carries the headers that keep it where it is.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	id := w.add(item{control: "UN", document: testdata.CDA(testdata.CDAOptions{})})
	b := w.enter(first)
	stranger := w.browser()
	sheet := w.get(stranger, "/")
	_, rest, _ := strings.Cut(sheet.body, `rel="stylesheet" href="`)
	sheetPath, _, _ := strings.Cut(rest, `"`)
	for _, path := range []string{"/", "/console/", "/console/quarantine", "/console/warnings", biology + id, biology + id + "/keep", biology + id + "/documents/0", biology + id + "/documents/0/copy", biology + "no", sheetPath} {
		for _, c := range []*http.Client{b, stranger} {
			a := w.get(c, path)
			h := a.header
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "frame-ancestors") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || strings.Contains(csp, "http") || !strings.Contains(csp, "base-uri 'none'") {
				t.Errorf("%s: policy %q", path, csp)
			}
			if strings.HasPrefix(h.Get("Content-Type"), "text/html") && (!strings.HasPrefix(csp, "default-src 'none'; style-src 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY") {
				t.Errorf("%s: policy %q, %s", path, csp, h.Get("X-Frame-Options"))
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%s: %v", path, h)
			}
			if path != sheetPath && h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s may be kept: %s", path, h.Get("Cache-Control"))
			}
			a.hides(t, "<style", "http-equiv", "src=\"http", "href=\"http")
		}
	}
	if a := w.get(stranger, sheetPath); a.status != 200 || a.header.Get("Content-Type") != "text/css; charset=utf-8" || strings.Contains(a.body, "url(") || strings.Contains(a.body, "@import") {
		t.Errorf("the style sheet: %d %v", a.status, a.header)
	}
}

// A session that ended shows the way in, and no more.
func TestSessionEnds(t *testing.T) {
	w := newWorld(t)
	w.add(item{control: "UN"})
	t.Run("ok/idle", func(t *testing.T) {
		b := w.enter(first)
		w.advance(31 * time.Minute)
		a := w.get(b, "/console/?control=UN")
		if a.status != 401 || a.path != "/console/" {
			t.Errorf("%d at %s", a.status, a.path)
		}
		a.has(t, "Votre session a expiré", url.QueryEscape("/console/?control=UN"))
		a.hides(t, "LABO")
	})
	t.Run("ok/logout", func(t *testing.T) {
		b := w.enter(first)
		out := w.do(b, http.MethodPost, "/logout")
		if out.status != 200 || out.path != "/" {
			t.Errorf("%d at %s", out.status, out.path)
		}
		out.has(t, "Se connecter avec Pro Santé Connect")
		if a := w.get(b, "/console/"); a.status != 401 {
			t.Errorf("after logout: %d", a.status)
		}
	})
}

func TestNew(t *testing.T) {
	w := newWorld(t)
	if _, err := console.New(console.Config{Journal: w.journal}); err == nil {
		t.Error("a console without sessions")
	}
	_, err := console.New(console.Config{Journal: w.journal, Sessions: closed{}, Zone: time.UTC, Log: discard, Clock: w.now,
		Alarms: w.gateway.Alarms.Standing, Certificates: func() []console.Certificate { return nil }, Access: map[string][]string{first: {"990000028"}}})
	if err == nil || !strings.Contains(err.Error(), "990000028") {
		t.Errorf("an establishment that nobody declared: %v", err)
	}
}
