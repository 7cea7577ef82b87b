package directory_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/directory"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// annuaire answers what a test says, by kind of bearer, and remembers what it
// was asked.
type annuaire struct {
	mu      sync.Mutex
	status  int
	answers map[string]string
	asked   []string
}

func (a *annuaire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	form, _ := url.ParseQuery(string(body))
	a.asked = append(a.asked, r.Method+" "+r.URL.String()+" "+form.Encode()+" "+r.Header.Get("ESANTE-API-KEY"))
	if a.status == http.StatusFound {
		http.Redirect(w, r, "https://ailleurs.exemple.fr/", a.status)
		return
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	answer, ok := a.answers[strings.Split(r.URL.Path, "/")[1]]
	if !ok {
		answer = `{"resourceType":"Bundle","type":"searchset","total":0}`
	}
	_, _ = io.WriteString(w, answer)
}

// mailbox is a telecom of the directory.
func mailbox(address, kind, more string) string {
	return `{"system":"email","value":"` + address + `","extension":[
		{"url":"https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-contact-point-email-type","valueCoding":{"code":"MSSANTE"}},
		{"url":"https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-mailbox-mss-metadata","extension":[
			{"url":"type",` + kind + `}` + more + `]}]}`
}

func bundle(resources ...string) string {
	var entries []string
	for _, r := range resources {
		entries = append(entries, `{"resource":`+r+`}`)
	}
	return `{"resourceType":"Bundle","type":"searchset","entry":[` + strings.Join(entries, ",") + `]}`
}

func open(t *testing.T, a *annuaire, now func() time.Time) *directory.Directory {
	t.Helper()
	server := httptest.NewUnstartedServer(a)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	d, err := directory.New(directory.Config{URL: server.URL + "/", Key: "cle", TLS: &tls.Config{RootCAs: roots}, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func address(t *testing.T, s string) mss.Address {
	t.Helper()
	a, err := mss.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func code(err error) string {
	var c interface{ FaultCode() string }
	if errors.As(err, &c) {
		return c.FaultCode()
	}
	return ""
}

func TestByAddress(t *testing.T) {
	const at = "Lea.Morel@ch.mssante.fr"
	concept := `"valueCodeableConcept":{"coding":[{"code":"PER"}]}`
	tests := []struct {
		name    string
		answers map[string]string
		want    mss.Mailbox
		found   bool
	}{
		{name: "ok/professional", found: true, want: mss.Mailbox{Kind: mss.MailboxPerson, Name: "LEA MOREL", Paperless: true}, answers: map[string]string{
			"Practitioner": bundle(`{"id":"1","name":[{"family":"MOREL","given":["LEA"]}],"telecom":[` + mailbox("lea.morel@ch.mssante.fr", concept, `,{"url":"digitization","valueBoolean":true}`) + `]}`)}},
		{name: "ok/situation, type as a code", found: true, want: mss.Mailbox{Kind: mss.MailboxPerson}, answers: map[string]string{
			"PractitionerRole": bundle(`{"telecom":[` + mailbox(at, `"valueCode":"PER"`, "") + `]}`)}},
		{name: "ok/structure among ordinary addresses", found: true, want: mss.Mailbox{Kind: mss.MailboxApplication, Name: "CH"}, answers: map[string]string{
			"Organization": bundle(`{"name":"CH","telecom":[{"system":"phone","value":"0100000000"},{"system":"email","value":"` + at + `"},` + mailbox(at, `"valueCode":"APP"`, "") + `]}`)}},
		{name: "ok/unknown"},
		{name: "ok/ordinary address only", answers: map[string]string{"Organization": bundle(`{"name":"CH","telecom":[{"system":"email","value":"` + at + `"}]}`)}},
		{name: "ok/another address than asked for", answers: map[string]string{"Practitioner": bundle(`{"telecom":[` + mailbox("autre@ch.mssante.fr", concept, "") + `]}`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &annuaire{answers: tt.answers}
			d := open(t, a, func() time.Time { return noon })
			got, err := d.ByAddress(t.Context(), address(t, at))
			if err != nil || (len(got) == 1) != tt.found || len(got) > 1 {
				t.Fatalf("%+v %v", got, err)
			}
			if tt.found {
				tt.want.Address = got[0].Address
				if got[0] != tt.want || got[0].Address.Key() != strings.ToLower(at) {
					t.Errorf("%+v, want %+v", got[0], tt.want)
				}
			}
			for _, q := range a.asked {
				if before, _, _ := strings.Cut(q, " mailbox-mss"); strings.Contains(strings.ToLower(before), "morel") || !strings.HasSuffix(q, " cle") || !strings.HasPrefix(q, "POST ") {
					t.Errorf("asked %q", q)
				}
			}
		})
	}
}

func TestByHolder(t *testing.T) {
	red := mailbox("rouge@ch.mssante.fr", `"valueCode":"PER"`, `,{"url":"listeRouge","valueBoolean":true}`)
	one := mailbox("lea@ch.mssante.fr", `"valueCode":"PER"`, "")
	a := &annuaire{answers: map[string]string{
		"Practitioner":     bundle(`{"id":"42","name":[{"family":"MOREL"}],"telecom":[` + one + `,` + red + `]}`),
		"PractitionerRole": bundle(`{"telecom":[`+one+`]}`, `{"telecom":[`+mailbox("lea@clinique.mssante.fr", `"valueCode":"PER"`, "")+`]}`),
	}}
	d := open(t, a, func() time.Time { return noon })
	got, err := d.ByHolder(t.Context(), "810000000001")
	if err != nil || len(got) != 2 || got[0].Address.String() != "lea@ch.mssante.fr" || got[1].Address.String() != "lea@clinique.mssante.fr" || got[0].Name != "MOREL" {
		t.Fatalf("%+v %v", got, err)
	}
	if len(a.asked) != 2 || !strings.Contains(a.asked[0], "identifier="+url.QueryEscape("urn:oid:1.2.250.1.71.4.2.1|810000000001,urn:oid:1.2.250.1.71.4.2.1|10000000001")) || !strings.Contains(a.asked[1], url.QueryEscape("Practitioner/42")) {
		t.Errorf("asked %q", a.asked)
	}
	a.asked = nil
	if _, err := d.ByHolder(t.Context(), "1990000028"); err != nil || len(a.asked) != 1 || !strings.Contains(a.asked[0], "/Organization/_search") {
		t.Errorf("%v %q", err, a.asked)
	}
}

// An answer is good for an hour, and an error is not kept.
func TestAnswersAreKept(t *testing.T) {
	a := &annuaire{}
	now := noon
	d := open(t, a, func() time.Time { return now })
	ask := func() int {
		t.Helper()
		before := len(a.asked)
		if _, err := d.ByHolder(t.Context(), "1990000028"); err != nil {
			t.Fatal(err)
		}
		return len(a.asked) - before
	}
	for i, c := range []struct {
		after time.Duration
		asked int
	}{{0, 1}, {time.Minute, 0}, {time.Hour, 1}, {-48 * time.Hour, 1}} {
		now = now.Add(c.after)
		if n := ask(); n != c.asked {
			t.Errorf("question %d: asked %d times", i, n)
		}
	}
	a.status = 500
	now = now.Add(2 * time.Hour)
	for range 2 {
		before := len(a.asked)
		if _, err := d.ByHolder(t.Context(), "1990000028"); code(err) != directory.FaultUnreached || len(a.asked) != before+1 {
			t.Errorf("%v", err)
		}
	}
}

func TestTroubledDirectory(t *testing.T) {
	tests := []struct {
		name   string
		status int
		answer string
		want   string
	}{
		{"fail/key", 401, "", directory.FaultKey},
		{"fail/forbidden", 403, "", directory.FaultKey},
		{"fail/too many", 429, "", directory.FaultBusy},
		{"fail/down", 503, "", directory.FaultUnreached},
		{"fail/unknown parameter", 400, "{}", directory.FaultAnswer},
		{"fail/sent elsewhere", 302, "", directory.FaultAnswer},
		{"fail/HTML", 200, "<html>", directory.FaultAnswer},
		{"fail/another resource", 200, `{"resourceType":"Patient"}`, directory.FaultAnswer},
		{"fail/endless", 200, `{"resourceType":"Bundle","x":"` + strings.Repeat("x", 5<<20) + `"}`, directory.FaultAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &annuaire{status: tt.status, answers: map[string]string{"Practitioner": tt.answer}}
			d := open(t, a, func() time.Time { return noon })
			_, err := d.ByAddress(t.Context(), address(t, "lea.morel@ch.mssante.fr"))
			if code(err) != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "morel") {
				t.Errorf("the error tells who was asked about: %v", err)
			}
		})
	}
	t.Run("fail/nobody waits for ever", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d := open(t, &annuaire{}, func() time.Time { return noon })
		if _, err := d.ByAddress(ctx, address(t, "a@ch.mssante.fr")); code(err) != directory.FaultUnreached {
			t.Errorf("%v", err)
		}
	})
}

// A patient's address, which holds the matricule, never leaves.
func TestPatientsAreNotAskedAbout(t *testing.T) {
	a := &annuaire{}
	d := open(t, a, func() time.Time { return noon })
	if _, err := d.ByAddress(t.Context(), address(t, "279035121518989@patient.mssante.fr")); code(err) != directory.FaultPatient || len(a.asked) != 0 {
		t.Errorf("%v, asked %v", err, a.asked)
	}
}

func TestSettings(t *testing.T) {
	good := directory.Config{URL: "https://annuaire.exemple.fr/fhir/v2", Key: "k", Clock: time.Now}
	for name, c := range map[string]struct {
		change func(*directory.Config)
		want   string
	}{
		"ok/good":         {func(*directory.Config) {}, ""},
		"fail/in clear":   {func(c *directory.Config) { c.URL = "http://annuaire.exemple.fr" }, "DIR-SETTINGS at url"},
		"fail/no key":     {func(c *directory.Config) { c.Key = "" }, "DIR-SETTINGS at key"},
		"fail/key":        {func(c *directory.Config) { c.Key = "a\r\nb" }, "DIR-SETTINGS at key"},
		"fail/no clock":   {func(c *directory.Config) { c.Clock = nil }, "DIR-SETTINGS at clock"},
		"fail/a week old": {func(c *directory.Config) { c.Keep = 7 * 24 * time.Hour }, "DIR-SETTINGS at keep"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := good
			c.change(&conf)
			_, err := directory.New(conf)
			if got := ""; err != nil && err.Error() != c.want || err == nil && c.want != got {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(bundle(`{"id":"1","name":[{"family":"MOREL","given":["LEA"]}],"telecom":[` + mailbox("lea@ch.mssante.fr", `"valueCode":"PER"`, "") + `]}`))
	f.Add(bundle(`{"name":"CH","telecom":[` + mailbox("x", `"valueCode":1`, "") + `]}`))
	f.Add(`{"resourceType":"Bundle","entry":[{"resource":null}]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		found, _, err := directory.Read([]byte(text))
		for _, a := range found {
			if err != nil || a == (mss.Address{}) {
				t.Errorf("%v %v", a, err)
			}
		}
	})
}
