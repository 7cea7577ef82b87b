package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/testdata"
)

// record puts a submission of a site in the journal, as the HL7 door would.
func record(t *testing.T, w *world, id, control, geo string) {
	t.Helper()
	j := w.journal
	digest, err := j.Keep(t.Context(), []byte("message "+id))
	must(t, err)
	est := gateway.Establishment{FINESSEJ: "990000010", FINESSGeo: geo}
	must(t, j.Record(t.Context(), gateway.Entry{
		Submission: gateway.Submission{
			ID: id, Received: noon, Door: "hl7", Establishment: est, From: gateway.Party{Application: "DPI", Facility: "CH"},
			Message: gateway.Message{Type: "MDM^T02", ControlID: control}, Key: "k" + id, Digest: digest, Rules: "r", Action: "new",
			State: gateway.Pending, Envelope: json.RawMessage(`{}`), Receipt: []byte("ack"),
		},
		Deliveries: []gateway.Delivery{{ID: "d" + id, Submission: id, Establishment: est, Destination: gateway.DestinationDMP, State: gateway.Due, Created: noon, Due: noon}},
		Events: []gateway.Event{
			{Submission: id, Time: noon, Step: gateway.EventAccepted, Outcome: gateway.OutcomeOK},
			{Submission: id, Time: noon, Step: gateway.EventAccepted, Outcome: gateway.OutcomeWarning, Code: gateway.FaultNoMail},
		},
	}))
}

func TestSubmissions(t *testing.T) {
	w := newWorld(t, options{idle: true})
	sites := establishments()
	record(t, w, "s1", "M1", sites[0].FINESSGeo)
	record(t, w, "s2", "M2", sites[1].FINESSGeo)
	doctor := w.bearer(testdata.PersonaPhysician)        // works at the first site
	radiologist := w.bearer(testdata.PersonaRadiologist) // works at both
	tests := []struct {
		name, method, target, who, bearer string
		status                            int
		code                              string
	}{
		{"ok/timeline", "GET", "/v1/submissions/s1", "machine", "", 200, ""},
		{"ok/timeline of a professional's site", "GET", "/v1/submissions/s1", "vendor", doctor, 200, ""},
		{"ok/timeline of a professional's other site", "GET", "/v1/submissions/s2", "vendor", radiologist, 200, ""},
		{"ok/events after", "GET", "/v1/submissions/s1/events?after=1", "machine", "", 200, ""},
		{"ok/list", "GET", "/v1/submissions?control_id=M1&limit=1", "machine", "", 200, ""},
		{"fail/no certificate", "GET", "/v1/submissions/s1", "nobody", "", 401, gateway.FaultUnauthenticated},
		{"fail/certificate of nobody", "GET", "/v1/submissions/s1", "vendor", "", 401, gateway.FaultUnauthenticated},
		{"fail/of another establishment, as if unknown", "GET", "/v1/submissions/s2", "machine", "", 404, gateway.FaultNotFound},
		{"fail/of another establishment, to a professional", "GET", "/v1/submissions/s2", "vendor", doctor, 404, gateway.FaultNotFound},
		{"fail/events of another establishment", "GET", "/v1/submissions/s2/events", "machine", "", 404, gateway.FaultNotFound},
		{"fail/stream of another establishment", "GET", "/v1/submissions/s2/events?follow", "machine", "", 404, gateway.FaultNotFound},
		{"fail/unknown", "GET", "/v1/submissions/none", "machine", "", 404, gateway.FaultNotFound},
		{"fail/after is no number", "GET", "/v1/submissions/s1/events?after=x", "machine", "", 422, httpapi.FaultField},
		{"fail/limit is no number", "GET", "/v1/submissions?limit=all", "machine", "", 422, httpapi.FaultField},
		{"fail/unknown path", "GET", "/v1/other", "machine", "", 404, gateway.FaultNotFound},
		{"fail/method", "DELETE", "/v1/submissions/s1", "machine", "", 405, gateway.FaultMethod},
		{"fail/outside", "GET", "/", "machine", "", 404, gateway.FaultNotFound},
		{"fail/FHIR path", "GET", "/fhir/Observation", "machine", "", 404, gateway.FaultNotFound},
		{"fail/FHIR method", "DELETE", "/fhir/DocumentReference", "machine", "", 405, gateway.FaultMethod},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := map[string]*http.Client{"machine": w.machine, "vendor": w.vendor, "nobody": w.nobody}[tt.who]
			a := w.do(c, tt.method, tt.target, nil, with(tt.bearer))
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Passerelle-Environnement") != "sandbox" {
				t.Errorf("headers %v", a.header)
			}
			if tt.code == "" {
				if a.status != tt.status {
					t.Errorf("%d %s", a.status, a.body)
				}
				return
			}
			a.refused(t, tt.status, tt.code)
			if tt.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("a 401 without a challenge")
			}
			if tt.status == 405 && a.header.Get("Allow") == "" {
				t.Error("a 405 that names no method")
			}
		})
	}

	v := w.do(w.machine, "GET", "/v1/submissions/s1", nil, nil).json(t)
	events := v["events"].([]any)
	if len(events) != 2 || v["state"] != "pending" || v["message"].(map[string]any)["control_id"] != "M1" {
		t.Errorf("%v", v)
	}
	french := events[1].(map[string]any)["text"].(string)
	v = w.do(w.machine, "GET", "/v1/submissions/s1?lang=en", nil, nil).json(t)
	english := v["events"].([]any)[1].(map[string]any)["text"].(string)
	row, _ := fault.Lookup(gateway.FaultNoMail)
	if !strings.Contains(french, row.FR) || !strings.Contains(english, row.EN) {
		t.Errorf("texts %q and %q", french, english)
	}
	for target, want := range map[string]int{"/v1/submissions": 1, "/v1/submissions?before=s1": 0} {
		if n := len(w.do(w.machine, "GET", target, nil, nil).json(t)["submissions"].([]any)); n != want {
			t.Errorf("%s shows %d submissions to one of two establishments, want %d", target, n, want)
		}
	}
	if n := len(w.do(w.vendor, "GET", "/v1/submissions", nil, with(radiologist)).json(t)["submissions"].([]any)); n != 2 {
		t.Errorf("a professional of two sites sees %d submissions", n)
	}
	if n := len(w.do(w.machine, "GET", "/v1/submissions/s1/events?after=1", nil, nil).json(t)["events"].([]any)); n != 1 {
		t.Errorf("%d events after the first", n)
	}
}

func TestHealth(t *testing.T) {
	alarms := &gateway.Alarms{}
	h := (&httpapi.Health{Alarms: alarms, Notice: "sandbox"}).Handler()
	get := func(path string) (int, map[string]any) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		var v map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		return w.Code, v
	}
	if status, v := get("/readyz"); status != 200 || v["status"] != "prêt" {
		t.Errorf("%d %v", status, v)
	}
	alarms.Raise(fault.New("GW-DISK-FULL"), noon)
	status, v := get("/readyz")
	if status != 503 || v["alarms"].([]any)[0].(map[string]any)["code"] != "GW-DISK-FULL" {
		t.Errorf("%d %v", status, v)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("the process is alive and says %d", status)
	}
	alarms.Clear(nil)
	if status, _ := get("/readyz"); status != 200 {
		t.Errorf("cleared, and still %d", status)
	}
}

// queues is what a journal would count.
type queues struct{ err error }

func (q queues) Queue(context.Context) ([]gateway.Queued, error) {
	return []gateway.Queued{{Destination: "dmp", State: gateway.Due, Count: 3, Oldest: noon.Add(-90 * time.Second)}}, q.err
}

func (queues) InQuarantine(context.Context, string) (int64, error) { return 2, nil }

func TestMetrics(t *testing.T) {
	alarms := &gateway.Alarms{}
	alarms.Raise(fault.New("GW-DISK-FULL"), noon)
	m := &httpapi.Metrics{Queues: queues{}, Alarms: alarms, Sites: establishments()[:1], Rules: `une "règle"` + "\n", Notice: "sandbox", Clock: func() time.Time { return noon }}
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		(&httpapi.Health{Alarms: alarms, Metrics: m}).Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		return w
	}
	w := get()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, line := range []string{
		"# TYPE passerelle_submissions_total counter", `passerelle_queue{destination="dmp",state="due"} 3`,
		`passerelle_queue_oldest_seconds{destination="dmp",state="due"} 90`, `passerelle_quarantine{finess_geo="` + establishments()[0].FINESSGeo + `"} 2`,
		`passerelle_alarms{code="GW-DISK-FULL"} 1`, `passerelle_info{environment="sandbox",rules="une \"règle\"\n"} 1`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, w.Body)
		}
	}
	m.Queues = queues{fault.New("GW-DISK-FULL")}
	if w := get(); w.Code < 500 {
		t.Errorf("the journal cannot be read, and %d", w.Code)
	}
}
