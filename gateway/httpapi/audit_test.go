package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// What the tests of this file forbid was found by the audit of issue 4,
// 2026-11-22.

// TestDryRunWithoutValue: ?dry_run without a value published the document.
func TestDryRunWithoutValue(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	lot := ordinary(t, 1)
	for _, query := range []string{"?dry_run", "?dry_run=", "?dry_run&lang=en"} {
		t.Run("fail/"+query, func(t *testing.T) {
			w.submit(w.machine, query, thin(t), document(1), nil).refused(t, 422, httpapi.FaultField+" dry_run")
			w.fhirPost(w.machine, "/fhir"+query, lot, nil).refused(t, 422, httpapi.FaultField+" dry_run")
		})
	}
	for _, query := range []string{"?lang=de", "?lang="} {
		t.Run("fail/"+query, func(t *testing.T) {
			w.submit(w.machine, query, thin(t), document(1), nil).refused(t, 400, httpapi.FaultParameter+" lang")
		})
	}
	if n := w.count(); n != 0 {
		t.Errorf("%d submissions", n)
	}
}

// TestAddresses: an address with a slash too many got an HTML page and, with a
// deposit, the advice to send it again elsewhere.
func TestAddresses(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	handler := w.api.Handler()
	for _, tt := range []struct{ name, method, target, kind string }{
		{"fail/doubled slash", "GET", "//v1/submissions", "application/problem+json"},
		{"fail/inner slash", "POST", "/v1//submissions", "application/problem+json"},
		{"fail/dot", "GET", "/./openapi.yaml", "application/problem+json"},
		{"fail/FHIR", "POST", "//fhir", "application/fhir+json"},
		{"fail/FHIR, dot dot", "GET", "/v1/../fhir/metadata", "application/fhir+json"},
		{"fail/trailing slash", "GET", "/v1/submissions/", "application/problem+json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := httptest.NewRecorder()
			handler.ServeHTTP(got, httptest.NewRequest(tt.method, "https://passerelle.test"+tt.target, nil))
			a := answer{got.Code, got.Header(), got.Body.String()}
			a.refused(t, 404, gateway.FaultNotFound)
			if !strings.HasPrefix(a.header.Get("Content-Type"), tt.kind) || a.header.Get("Cache-Control") != "no-store" {
				t.Error(a.header)
			}
		})
	}
	for _, target := range []string{"/fhir/metadata", "/openapi.yaml"} {
		t.Run("ok/"+target, func(t *testing.T) {
			if a := w.do(w.machine, "GET", target, nil, nil); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// TestPlaces: an INS refusal named a bare trait, and a PDF whose envelope has a
// gap was answered with lines of a CDA that its sender never sees.
func TestPlaces(t *testing.T) {
	w := newWorld(t, options{insi: true, idle: true, noPSC: true})
	provisional, other := identity(testdata.Patients()[0]), identity(testdata.Patients()[0])
	provisional.Status, other.Traits.BirthName = ins.Provisional, "AUTREMENT"
	noSex := asked(twin)
	noSex.Traits.Sex = ""
	whole := envelope(t, 7)
	without := func(path string) string { return edit(t, whole, path, nil) }
	for _, tt := range []struct {
		name, envelope, document string
		want                     []string
	}{
		{"fail/status, PDF", edit(t, whole, "patient", provisional), pdf(), []string{"INS-NOT-QUALIFIED /patient/status"}},
		{"fail/status, CDA", edit(t, thin(t), "patient", provisional), document(7), []string{"INS-NOT-QUALIFIED /patient/status"}},
		{"fail/status that is none", edit(t, whole, "patient.status", "ZZZ"), pdf(), []string{httpapi.FaultField + " /patient/status"}},
		{"fail/name", edit(t, thin(t), "patient", other), document(7), []string{"INS-MISMATCH /patient/traits/birth_name"}},
		{"fail/creation", without("document.created"), pdf(), []string{"CDA-STRUCTURE /document/created"}},
		{"fail/id", without("document.id"), pdf(), []string{"CDA-NO-ID /document/id", "CDA-NO-SETID /document/set_id"}},
		{"fail/label of the type", without("document.type.display"), pdf(), []string{"CDA-STRUCTURE /document/type"}},
		{"fail/author", without("author"), pdf(), []string{"CDA-STRUCTURE /author"}},
		{"fail/name of the author", without("author.family"), pdf(), []string{"CDA-STRUCTURE /author"}},
		{"fail/start of the act", without("act.start"), pdf(), []string{"CDA-STRUCTURE /act/start"}},
		{"fail/practice setting", without("act.practice_setting"), pdf(), []string{"CDA-STRUCTURE /act/practice_setting"}},
		{"fail/facility", edit(t, whole, "act.facility.code", "ZZ"), pdf(), []string{"CDA-STRUCTURE /act/facility", "CDA-VALUE-SET /act/facility"}},
		{"fail/what is replaced", edit(t, whole, "action", "replace"), pdf(), []string{httpapi.FaultMissing + " /document/replaces"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.submit(w.machine, "", tt.envelope, tt.document, nil)
			a.refused(t, 422, tt.want[0])
			_, at, _ := strings.Cut(tt.want[0], " ")
			if told := w.do(w.machine, "GET", "/v1/submissions/"+a.header.Get("X-Passerelle-Submission")+"/events", nil, nil); !strings.Contains(told.body, `"where":"`+at+`"`) {
				t.Errorf("timeline: %s", told.body)
			}
			var said []string
			for _, e := range w.submit(w.machine, "?dry_run=1", tt.envelope, tt.document, nil).json(t)["errors"].([]any) {
				f := e.(map[string]any)
				said = append(said, f["code"].(string)+" "+f["where"].(string))
			}
			if !slices.Equal(said, tt.want) {
				t.Errorf("dry run: %v, want %v", said, tt.want)
			}
		})
	}
}

// TestDryRunKey: a dry run did not say that its key was taken, so publication
// refused what it had accepted.
func TestDryRunKey(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	key := with("", "Idempotency-Key", "cle-1")
	if a := w.submit(w.machine, "", thin(t), document(1), key); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	verdict := func(n int) map[string]any {
		return w.submit(w.machine, "?dry_run=1", thin(t), document(n), key).json(t)
	}
	if v := verdict(1); v["verdict"] != "accepted" {
		t.Errorf("the same content: %v", v)
	}
	if v := verdict(2); v["verdict"] != "refused" || v["errors"].([]any)[0].(map[string]any)["code"] != gateway.FaultKeyReused {
		t.Errorf("another content: %v", v)
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d submissions", n)
	}
}

// TestPages: a page after a submission that nobody knows was an empty page, as
// at the end; HEAD opened a stream without end; who showed nothing was told of a
// wrong token; a read in XML was answered in JSON.
func TestPages(t *testing.T) {
	w := newWorld(t, options{idle: true})
	sites := establishments()
	record(t, w, "s1", "M1", sites[0].FINESSGeo)
	record(t, w, "s2", "M2", sites[1].FINESSGeo)
	for _, before := range []string{"none", "s2"} {
		t.Run("fail/before "+before, func(t *testing.T) {
			w.do(w.machine, "GET", "/v1/submissions?before="+before, nil, nil).refused(t, 422, httpapi.FaultField+" before")
		})
	}
	t.Run("ok/before", func(t *testing.T) {
		if a := w.do(w.machine, "GET", "/v1/submissions?before=s1", nil, nil); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("ok/HEAD of a stream", func(t *testing.T) {
		for target, h := range map[string]http.Header{"events": with("", "Accept", "text/event-stream"), "events?follow": nil} {
			if a := w.do(w.machine, "HEAD", "/v1/submissions/s1/"+target, nil, h); a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
				t.Errorf("%s: %d %v", target, a.status, a.header)
			}
		}
	})
	t.Run("ok/challenge", func(t *testing.T) {
		a := w.do(w.nobody, "GET", "/v1/submissions", nil, nil)
		a.refused(t, 401, gateway.FaultUnauthenticated)
		if c := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(c, "Bearer ") || strings.Contains(c, "error=") {
			t.Error(c)
		}
	})
	t.Run("fail/read in XML", func(t *testing.T) {
		doctor := w.bearer(testdata.PersonaPhysician)
		w.do(w.vendor, "GET", "/fhir/DocumentReference/a?_format=xml", nil, with(doctor)).refused(t, 406, httpapi.FaultAccept)
	})
}

// TestSlowBody: a body that did not come within the server's read deadline was
// told to be a form that cannot be read, which nobody would send again.
func TestSlowBody(t *testing.T) {
	w := newWorld(t, options{idle: true, noPSC: true})
	for target, kind := range slowBodies {
		t.Run("fail/"+target, func(t *testing.T) { w.slow(target, kind).refused(t, 408, httpapi.FaultSlow) })
	}
}

var slowBodies = map[string]string{
	"/v1/submissions": "multipart/form-data; boundary=x", "/v1/identities/check": "application/json", "/fhir": "application/fhir+json",
}

// slow is what the machine is answered whose body does not come in time.
func (w *world) slow(target, kind string) answer {
	w.t.Helper()
	pair, err := tls.LoadX509KeyPair(w.info.TLS.MachineCert, w.info.TLS.MachineKey)
	must(w.t, err)
	r := httptest.NewRequest("POST", "https://passerelle.test"+target, iotest.ErrReader(os.ErrDeadlineExceeded))
	r.Header.Set("Content-Type", kind)
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{pair.Leaf}}}
	got := httptest.NewRecorder()
	(&httpapi.API{Machines: w.api.Machines, Establishments: w.api.Establishments, Log: w.api.Log}).Handler().ServeHTTP(got, r)
	return answer{got.Code, got.Header(), got.Body.String()}
}
