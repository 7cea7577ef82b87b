package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/testdata"
)

// lost is a journal that cannot be read.
type lost struct{ gateway.Journal }

func (lost) Submission(context.Context, string) (gateway.Submission, []gateway.DocumentRow, error) {
	return gateway.Submission{}, nil, fault.New("GW-STORAGE")
}

func (lost) Submissions(context.Context, gateway.Query) ([]gateway.Submission, error) {
	return nil, fault.New("GW-STORAGE")
}

// full is a gateway without space.
type full struct{ httpapi.Door }

func (full) Accept(_ context.Context, _ gateway.Inbound, receipt gateway.Receipt) gateway.Decision {
	d := gateway.Decision{Outcome: gateway.Unavailable, Faults: []*fault.Fault{fault.New("GW-DISK-FULL")}}
	d.Receipt = receipt(d)
	return d
}

// Found by review, issue 4: ?dryrun=1, and ?dry_run=1;lang=en, which URL.Query
// drops as a whole, were deposits that left.
func TestParameters(t *testing.T) {
	w := newWorld(t, options{idle: true})
	for _, tt := range []struct{ name, query, where string }{
		{"fail/misspelt", "?dryrun=1", " dryrun"},
		{"fail/dash", "?dry-run=1", " ?"},
		{"fail/semicolon", "?dry_run=1;lang=en", ""},
		{"fail/percent", "?dry_run=1&x=%zz", ""},
		{"fail/twice", "?dry_run=0&dry_run=1", " dry_run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.submit(w.machine, tt.query, thin(t), document(1), nil).refused(t, 400, httpapi.FaultParameter+tt.where)
			for _, path := range []string{"/fhir", "/fhir/"} {
				w.fhirPost(w.machine, path+tt.query, ordinary(t, 1), nil).refused(t, 400, httpapi.FaultParameter+tt.where)
			}
			w.fhirPost(w.machine, "/fhir/DocumentReference"+tt.query, published(t, 1, func(map[string]any) {}), nil).refused(t, 400, httpapi.FaultParameter+tt.where)
		})
	}
	for name, target := range map[string]string{
		"fail/a filter that is none": "/v1/submissions?controlid=x",
		"fail/of an event":           "/v1/submissions/s1/events?after=1&after=2",
	} {
		t.Run(name, func(t *testing.T) {
			w.do(w.machine, "GET", target, nil, nil).refused(t, 400, httpapi.FaultParameter)
		})
	}
	t.Run("fail/a state that is none", func(t *testing.T) {
		w.do(w.machine, "GET", "/v1/submissions?state=fini", nil, nil).refused(t, 422, httpapi.FaultField+" state")
	})
	t.Run("fail/a stranger is told nothing of parameters", func(t *testing.T) {
		w.do(w.nobody, "GET", "/v1/submissions?x=1", nil, nil).refused(t, 401, gateway.FaultUnauthenticated)
	})
	if n := w.count(); n != 0 {
		t.Errorf("%d submissions were kept", n)
	}
	t.Run("ok/the general parameters of FHIR", func(t *testing.T) {
		if a := w.fhirPost(w.machine, "/fhir?dry_run=1&_format=json&_pretty=true&lang=en", ordinary(t, 2), nil); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// Found by review, issue 4: a compressed body was "unreadable JSON", and nothing
// said why.
func TestCompressedBody(t *testing.T) {
	w := newWorld(t, options{idle: true})
	form, kind := parts(t, "envelope", thin(t), "document", document(1))
	for _, tt := range []struct {
		name, path, kind, coding string
		body                     []byte
		status                   int
	}{
		{"fail/JSON", "/v1/identities/check", "application/json", "gzip", []byte("{}"), 415},
		{"fail/form", "/v1/submissions", kind, "br", form, 415},
		{"fail/FHIR", "/fhir", "application/fhir+json", "gzip", []byte(ordinary(t, 1)), 415},
		{"ok/identity", "/v1/submissions", kind, "identity", form, 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.do(w.machine, "POST", tt.path, tt.body, with("", "Content-Type", tt.kind, "Content-Encoding", tt.coding))
			if tt.status == 415 {
				a.refused(t, 415, httpapi.FaultMediaType+" Content-Encoding")
			} else if a.status != tt.status {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// Found by review, issue 4: the place of a value of the wrong kind had the names
// of Go structs in it, that of a time was not told at all.
func TestPlacesOfFields(t *testing.T) {
	w := newWorld(t, options{idle: true})
	for _, tt := range []struct{ name, at, where string }{
		{"fail/in an embedded struct", "patient.traits.birth_date", "/patient/traits/birth_date"},
		{"fail/a time", "document.created", "/document/created"},
		{"fail/a time of the act", "act.start", "/act/start"},
		{"fail/of the author", "author.family", "/author/family"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.submit(w.machine, "", edit(t, envelope(t, 1), tt.at, 3), document(1), nil).refused(t, 422, httpapi.FaultField+" "+tt.where)
		})
	}
	t.Run("fail/a time that is none", func(t *testing.T) {
		w.submit(w.machine, "", edit(t, envelope(t, 1), "document.created", "hier"), document(1), nil).refused(t, 422, httpapi.FaultField+" /document/created")
	})
}

// Found by review, issue 4: a stream went on for ever after the token that had
// opened it was revoked.
func TestStreamEndsWithItsToken(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{Poll: 10 * time.Millisecond, Beat: 20 * time.Millisecond}})
	record(t, w, "s1", "M1", establishments()[0].FINESSGeo)
	bearer := w.bearer(testdata.PersonaPhysician)
	target := "/v1/submissions/s1/events?follow"
	s := w.followAs(w.vendor, target, with(bearer))
	s.events("pending")
	for range 2 {
		if m := s.next(); len(m) != 1 {
			t.Fatalf("not a heartbeat: %v", m)
		}
	}
	a := w.do(w.vendor, "POST", w.server.URL+"/oauth/revoke", []byte(url.Values{"token": {bearer}}.Encode()), with("", "Content-Type", "application/x-www-form-urlencoded"))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for range 1000 {
		if s.next() == nil {
			w.do(w.vendor, "GET", target, nil, with(bearer)).refused(t, 401, "AUTH-REVOKED")
			return
		}
	}
	t.Error("the stream of a revoked token goes on")
}

// Found by review, issue 4: while one software hung, every worker waited for it
// together, and the webhooks of the other establishments with them.
func TestOneProbeOfASilentSoftware(t *testing.T) {
	held, release := make(chan struct{}, 16), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		held <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	now := noon
	w := hooks(httpapi.Hook{URL: server.URL + "/?jeton=tres-secret", Secret: []byte(hookSecret)}, func() time.Time { return now })
	defer w.Close()
	quick, cancel := context.WithCancel(t.Context())
	go func() { <-held; cancel() }()
	err := w.Tell(quick, telling()) // it did not answer
	if fault.From(err).Code != httpapi.FaultHookDown {
		t.Fatal(err)
	}
	// The address may hold a secret: no log line has it.
	if cause := fault.From(err).Unwrap(); cause == nil || strings.Contains(cause.Error(), "tres-secret") {
		t.Errorf("the cause is %v", cause)
	}
	now = now.Add(time.Minute)
	probe := make(chan error, 1)
	go func() { probe <- w.Tell(t.Context(), telling()) }()
	<-held
	for range 3 {
		if err := w.Tell(t.Context(), telling()); fault.From(err).Code != httpapi.FaultHookDown || errors.Unwrap(fault.From(err)) != nil {
			t.Errorf("asked beside the one that tries: %v", err)
		}
	}
	free()
	if err := <-probe; fault.From(err).Code != httpapi.FaultHookDown {
		t.Error(err)
	}
}
