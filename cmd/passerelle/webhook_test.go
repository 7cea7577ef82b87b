//go:build !nosandbox

package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/testdata"
)

// software is the establishment's: it checks what it is told, as the README
// says, and remembers it.
type software struct {
	t      *testing.T
	secret string
	*httptest.Server

	mu     sync.Mutex
	busy   int            // so many answers of 503 first
	events map[string]int // id → how often
	bodies []string
}

func newSoftware(t *testing.T) (*software, *WebhookConfig) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	s := &software{t: t, secret: strings.Repeat("secret-", 6), events: map[string]int{}}
	if err := os.WriteFile(file, []byte(s.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s, &WebhookConfig{URL: s.URL + "/evenements", SecretFile: file}
}

func (s *software) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	stamp, v1, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Passerelle-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(stamp + "." + string(body)))
	if hex.EncodeToString(mac.Sum(nil)) != v1 {
		s.t.Errorf("a signature is wrong: %s", r.Header.Get("Passerelle-Signature"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[r.Header.Get("Passerelle-Event")]++
	s.bodies = append(s.bodies, string(body))
	if s.busy > 0 {
		s.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *software) told() (events map[string]int, bodies []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events = map[string]int{}
	for k, v := range s.events {
		events[k] = v
	}
	return events, append([]string(nil), s.bodies...)
}

// Outcomes of messages and of refusals reach the establishment's software,
// signed, again and again under one id until it takes them, and say nothing of
// the patient.
func TestWebhook(t *testing.T) {
	s, conf := newSoftware(t)
	s.busy = 1
	r := newRoute(t, func(c *Config) { c.Establishments[0].Webhook = conf })
	ack := r.send(testdata.MDM(testdata.MessageOptions{ControlID: "W1"}))
	id := field(ack, "MSA", 3)
	if state := r.settled(id); state != "done" {
		t.Fatalf("state %s", state)
	}
	refused := r.send(testdata.MDM(testdata.MessageOptions{ControlID: "W2", Flags: testdata.Flags{"DESTDMP": "X"}}))
	if msa, _ := verdict(refused); msa != "AE" {
		t.Fatalf("%s", refused)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	err := r.until(ctx, func() bool { events, bodies := s.told(); return len(events) == 2 && len(bodies) == 3 })
	events, bodies := s.told()
	if err != nil {
		t.Fatalf("told %v", events)
	}
	steps := map[string]string{}
	for _, body := range bodies {
		var told struct {
			Submission struct {
				ID      string
				Message struct {
					ControlID string `json:"control_id"`
				}
			}
			Events []struct{ Step, Outcome, Code string }
		}
		if err := json.Unmarshal([]byte(body), &told); err != nil || len(told.Events) != 1 {
			t.Fatalf("%v: %s", err, body)
		}
		e := told.Events[0]
		steps[told.Submission.Message.ControlID] = strings.TrimSpace(e.Step + " " + e.Outcome + " " + e.Code)
		p := testdata.Patients()[0]
		for _, secret := range []string{p.Matricule, p.BirthName, p.FirstGiven} {
			if strings.Contains(body, secret) {
				t.Errorf("the webhook tells %q", secret)
			}
		}
	}
	if steps["W1"] != "dmp ok" || steps["W2"] != "refused failed HL7-FLAG-VALUE" {
		t.Errorf("told %v", steps)
	}
}

// Killed by SIGKILL after the software answered and before that was written:
// the same event is told again, under the same id, and no other.
func TestWebhookSurvivesAKill(t *testing.T) {
	s, conf := newSoftware(t)
	r := newRehearsal(t)
	c := r.w.config
	c.Establishments[0].Webhook = conf
	if err := writeConfig(r.config, c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	first := startChild(t, r.config, gateway.StepTold)
	if _, err := r.sendUntilAcknowledged(ctx, testdata.MDM(testdata.MessageOptions{ControlID: "W1"})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.caught:
	case <-ctx.Done():
		t.Fatalf("nothing is told\n%s", first.stderr)
	}
	first.kill()
	before, _ := s.told()
	second := startChild(t, r.config, "")
	defer second.kill()
	r.drain(&flow{all: []sent{{control: "W1"}}})
	after, bodies := s.told()
	if len(before) != 1 || len(after) != 1 || len(bodies) != 2 || bodies[0] != bodies[1] {
		t.Errorf("told %v, after the kill %v:\n%s", before, after, strings.Join(bodies, "\n"))
	}
}

// What happened is counted, and no count names anybody.
func TestMetrics(t *testing.T) {
	r := newRoute(t, nil)
	r.settled(field(r.send(testdata.MDM(testdata.MessageOptions{ControlID: "C1"})), "MSA", 3))
	r.send(testdata.MDM(testdata.MessageOptions{ControlID: "C2", Flags: testdata.Flags{"DESTDMP": "X"}}))
	text := ""
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := r.until(ctx, func() bool { // a settlement is counted just after it is committed
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.m.HTTP+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := do(http.DefaultClient, req)
		if err != nil {
			t.Fatal(err)
		}
		text = string(body)
		for _, line := range []string{
			`passerelle_submissions_total{door="hl7",outcome="accepted"} 1`, `passerelle_submissions_total{door="hl7",outcome="refused"} 1`,
			`passerelle_deliveries_total{destination="dmp",state="done"} 1`, `passerelle_deliveries_total{destination="zam",state="done"} 1`,
		} {
			if !strings.Contains(text, line+"\n") {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Errorf("a line is missing in\n%s", text)
	}
	for _, p := range testdata.Patients() {
		if p.Matricule != "" && strings.Contains(text, p.Matricule) || strings.Contains(text, p.BirthName) {
			t.Errorf("the metrics name %s", p.ID)
		}
	}
}
