package httpapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/journal"
)

var at = time.Date(2026, 1, 5, 9, 30, 0, 0, time.UTC)

func open(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{
		Dir: t.TempDir(), Clock: func() time.Time { return at }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func record(t *testing.T, j *journal.Journal, id, control, geo string) {
	t.Helper()
	digest, err := j.Keep(t.Context(), []byte("message "+id))
	if err != nil {
		t.Fatal(err)
	}
	est := gateway.Establishment{FINESSEJ: "990000010", FINESSGeo: geo}
	err = j.Record(t.Context(), gateway.Entry{
		Submission: gateway.Submission{
			ID: id, Received: at, Door: "hl7", Establishment: est, From: gateway.Party{Application: "DPI", Facility: "CH"},
			Message: gateway.Message{Type: "MDM^T02", ControlID: control}, Key: "k" + id, Digest: digest, Rules: "r", Action: "new",
			State: gateway.Pending, Envelope: json.RawMessage(`{}`), Receipt: []byte("ack"),
		},
		Deliveries: []gateway.Delivery{{ID: "d" + id, Submission: id, Establishment: est, Destination: gateway.DestinationDMP, State: gateway.Due, Created: at, Due: at}},
		Events: []gateway.Event{
			{Submission: id, Time: at, Step: gateway.EventAccepted, Outcome: gateway.OutcomeOK},
			{Submission: id, Time: at, Step: gateway.EventAccepted, Outcome: gateway.OutcomeWarning, Code: gateway.FaultNoMail},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// call asks the API as the holder of a certificate; nil for none.
func call(t *testing.T, h http.Handler, cert []byte, method, target string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, target, nil)
	r.TLS = &tls.ConnectionState{}
	if cert != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{{Raw: cert}}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s %s: %v: %s", method, target, err, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("an answer may be cached")
	}
	return w.Code, v
}

func TestSubmissions(t *testing.T) {
	j := open(t)
	record(t, j, "s1", "M1", "990000028")
	record(t, j, "s2", "M2", "990000044")
	mine, stranger := []byte("machine"), []byte("somebody")
	api := &httpapi.API{
		Journal: j, Machines: map[string][]string{httpapi.Fingerprint(mine): {"990000028"}}, Notice: "sandbox",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	h := api.Handler()
	tests := []struct {
		name, method, target string
		cert                 []byte
		status               int
		code                 string
	}{
		{"ok/timeline", "GET", "/v1/submissions/s1", mine, 200, ""},
		{"ok/events after", "GET", "/v1/submissions/s1/events?after=1", mine, 200, ""},
		{"ok/list", "GET", "/v1/submissions?control_id=M1", mine, 200, ""},
		{"fail/no certificate", "GET", "/v1/submissions/s1", nil, 401, gateway.FaultUnauthenticated},
		{"fail/certificate of nobody", "GET", "/v1/submissions/s1", stranger, 401, gateway.FaultUnauthenticated},
		{"fail/of another establishment, as if unknown", "GET", "/v1/submissions/s2", mine, 404, gateway.FaultNotFound},
		{"fail/events of another establishment", "GET", "/v1/submissions/s2/events", mine, 404, gateway.FaultNotFound},
		{"fail/unknown", "GET", "/v1/submissions/none", mine, 404, gateway.FaultNotFound},
		{"fail/unknown path", "GET", "/v1/other", mine, 404, gateway.FaultNotFound},
		{"fail/method", "DELETE", "/v1/submissions/s1", mine, 405, gateway.FaultMethod},
		{"fail/outside", "GET", "/", mine, 404, gateway.FaultNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, v := call(t, h, tt.cert, tt.method, tt.target)
			if status != tt.status {
				t.Fatalf("status %d, want %d: %v", status, tt.status, v)
			}
			if tt.code != "" && (v["code"] != tt.code || v["title"] == "" || v["detail"] == "") {
				t.Errorf("problem %v", v)
			}
		})
	}

	_, v := call(t, h, mine, "GET", "/v1/submissions/s1")
	events := v["events"].([]any)
	if len(events) != 2 || v["state"] != "pending" || v["message"].(map[string]any)["control_id"] != "M1" {
		t.Errorf("%v", v)
	}
	french := events[1].(map[string]any)["text"].(string)
	_, v = call(t, h, mine, "GET", "/v1/submissions/s1?lang=en")
	english := v["events"].([]any)[1].(map[string]any)["text"].(string)
	row, _ := fault.Lookup(gateway.FaultNoMail)
	if !strings.Contains(french, row.FR) || !strings.Contains(english, row.EN) {
		t.Errorf("texts %q and %q", french, english)
	}
	_, v = call(t, h, mine, "GET", "/v1/submissions")
	if n := len(v["submissions"].([]any)); n != 1 {
		t.Errorf("the list shows %d submissions of two establishments", n)
	}
	_, v = call(t, h, mine, "GET", "/v1/submissions/s1/events?after=1")
	if n := len(v["events"].([]any)); n != 1 {
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
	alarms.Raise(fault.New("GW-DISK-FULL"), at)
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
