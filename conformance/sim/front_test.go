package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const bundleAnswer = `{"resourceType":"Bundle","type":"transaction-response","total":2,"entry":[` +
	`{"response":{"status":"201 Created","location":"List/a/_history/1"}},` +
	`{"response":{"status":"201 Created","location":"DocumentReference/b/_history/1"},"resource":{"resourceType":"DocumentReference","id":"b"}}]}`

// broken is a service behind a front on a real socket.
func broken(t *testing.T, list ...Trouble) (*httptest.Server, *front, *atomic.Int32) {
	t.Helper()
	var served atomic.Int32
	f := &front{troubles: newTroubles(), service: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/fhir+json")
		fmt.Fprint(w, bundleAnswer)
	})}
	f.troubles.set(list)
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv, f, &served
}

func TestFront(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble Trouble
		status  int // 0: the connection breaks
		served  int32
		body    string
	}{
		{"ok/nothing wrong", Trouble{Mode: Slow, Path: "/elsewhere"}, 200, 1, bundleAnswer},
		{"ok/another method", Trouble{Mode: Refuse, Method: "GET"}, 200, 1, bundleAnswer},
		{"ok/slow", Trouble{Mode: Slow, Milliseconds: 1}, 200, 1, bundleAnswer},
		{"fail/down for a path", Trouble{Mode: Down, Path: "/fhir"}, 0, 0, ""},
		{"fail/refuse", Trouble{Mode: Refuse, Status: 429, Code: "throttled"}, 429, 0, "throttled"},
		{"fail/refuse by default", Trouble{Mode: Refuse}, 503, 0, "OperationOutcome"},
		{"fail/refuse what was done", Trouble{Mode: Refuse, Status: 500, When: After}, 500, 1, "OperationOutcome"},
		{"fail/cut with nothing said", Trouble{Mode: Cut}, 0, 1, ""},
		{"fail/cut before processing", Trouble{Mode: Cut, When: Before, Bytes: 100}, 0, 0, ""},
		{"fail/cut in the head", Trouble{Mode: Cut, Bytes: 20}, 0, 1, ""},
		{"fail/lie html", Trouble{Mode: Lie, Lie: "html"}, 200, 1, "Bac à sable"},
		{"fail/lie empty", Trouble{Mode: Lie, Lie: "empty"}, 200, 1, ""},
		{"fail/lie without processing", Trouble{Mode: Lie, Lie: "count", When: Before}, 200, 0, "transaction-response"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, f, served := broken(t, c.trouble)
			res, err := http.Post(srv.URL+"/fhir", "application/fhir+json", strings.NewReader("{}"))
			if c.status == 0 {
				if err == nil {
					res.Body.Close()
					t.Errorf("answers %d", res.StatusCode)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != c.status || !strings.Contains(string(body), c.body) || (c.body == "" && len(body) > 0) {
					t.Errorf("%d %v %s", res.StatusCode, err, body)
				}
			}
			if served.Load() != c.served || f.troubles.seen(false).Processed != int(c.served) {
				t.Errorf("processed %d (counted %d), want %d", served.Load(), f.troubles.seen(false).Processed, c.served)
			}
		})
	}
}

func TestFrontCutsInTheBody(t *testing.T) {
	srv, _, served := broken(t, Trouble{Mode: Cut, Bytes: 200})
	res, err := http.Post(srv.URL+"/fhir", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || len(body) >= len(bundleAnswer) || served.Load() != 1 {
		t.Errorf("%v, %d bytes, processed %d", err, len(body), served.Load())
	}
}

func TestFrontLies(t *testing.T) {
	ask := func(t *testing.T, lie string) map[string]any {
		t.Helper()
		srv, _, _ := broken(t, Trouble{Mode: Lie, Lie: lie})
		return do(t, srv.Client(), "POST", srv.URL+"/fhir", "", "{}").json(t)
	}
	t.Run("ok/count", func(t *testing.T) {
		b := ask(t, "count")
		if len(b["entry"].([]any)) != 1 || b["total"] == 2.0 {
			t.Errorf("%v", b)
		}
	})
	t.Run("ok/other-id", func(t *testing.T) {
		b := ask(t, "other-id")
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(b["entry"].([]any)) != 2 || bytes.Contains(data, []byte("DocumentReference/b/")) || bytes.Contains(data, []byte(`"id":"b"`)) {
			t.Errorf("%s", data)
		}
	})
}

func TestFrontCount(t *testing.T) {
	srv, f, _ := broken(t, Trouble{Mode: Refuse, Status: 500, Count: 2})
	var got []int
	for range 3 {
		got = append(got, do(t, srv.Client(), "POST", srv.URL+"/fhir/DocumentReference/secret-id", "", "{}").status)
	}
	if fmt.Sprint(got) != "[500 500 200]" || len(f.troubles.get()) != 0 {
		t.Errorf("%v, left %v", got, f.troubles.get())
	}
	c := f.troubles.seen(true)
	if c.Received != 3 || c.Processed != 1 || c.Answered != 3 || c.By["POST /fhir/DocumentReference"] != 3 {
		t.Errorf("%+v", c)
	}
	if c := f.troubles.seen(false); c.Received != 0 || len(c.By) != 0 {
		t.Errorf("after reset: %+v", c)
	}
}

func TestKindsAreBounded(t *testing.T) {
	x := newTroubles()
	for i := range 3 * maxKinds {
		x.received(fmt.Sprintf("GET /%d", i))
	}
	x.received(strings.Repeat("x", 1000))
	if c := x.seen(false); len(c.By) > maxKinds+1 || c.Received != 3*maxKinds+1 || c.By["autres"] != 2*maxKinds+1 {
		t.Errorf("%d kinds, %d received, %d others", len(c.By), c.Received, c.By["autres"])
	}
}

func TestFrontHolds(t *testing.T) {
	for _, c := range []struct {
		name, when string
		served     int32 // while held
		letGo      func(*front)
		after      int // how many of the next requests are held
	}{
		{"ok/before, released", Before, 0, func(f *front) { f.troubles.letGo() }, 1},
		{"ok/after, repaired", After, 1, func(f *front) { f.troubles.set(nil) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, f, served := broken(t, Trouble{Mode: Hold, When: c.when})
			status := make(chan int, 1)
			go func() {
				res, err := http.Post(srv.URL+"/fhir", "", strings.NewReader("{}"))
				if err != nil {
					status <- 0
					return
				}
				res.Body.Close()
				status <- res.StatusCode
			}()
			eventually(t, "held", func() bool { return f.troubles.seen(false).Held == 1 })
			if served.Load() != c.served || len(status) != 0 {
				t.Errorf("while held: processed %d, answered %d", served.Load(), len(status))
			}
			c.letGo(f)
			if got := <-status; got != 200 || served.Load() != 1 {
				t.Errorf("then: %d, processed %d", got, served.Load())
			}
			if len(f.troubles.get()) != c.after {
				t.Errorf("troubles left: %v", f.troubles.get())
			}
		})
	}
	t.Run("ok/client gives up", func(t *testing.T) {
		srv, f, served := broken(t, Trouble{Mode: Hold})
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error, 1)
		req, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/fhir", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				res.Body.Close()
			}
			gone <- err
		}()
		eventually(t, "held", func() bool { return f.troubles.seen(false).Held == 1 })
		cancel()
		if err := <-gone; err == nil {
			t.Error("answered")
		}
		eventually(t, "let go", func() bool { return f.troubles.seen(false).Held == 0 })
		if served.Load() != 0 {
			t.Error("processed for nobody")
		}
	})
}

func TestTroubleChecked(t *testing.T) {
	for name, c := range map[string]struct {
		t  Trouble
		ok bool
	}{
		"ok/down":             {Trouble{Mode: Down}, true},
		"ok/lie":              {Trouble{Mode: Lie, Lie: "count"}, true},
		"fail/unknown mode":   {Trouble{Mode: "explode"}, false},
		"fail/silent DMP":     {Trouble{Mode: Silent}, false},
		"fail/when":           {Trouble{Mode: Cut, When: "during"}, false},
		"fail/negative":       {Trouble{Mode: Cut, Bytes: -1}, false},
		"fail/status":         {Trouble{Mode: Refuse, Status: 99}, false},
		"fail/unknown lie":    {Trouble{Mode: Lie, Lie: "white"}, false},
		"fail/very very slow": {Trouble{Mode: Slow, Milliseconds: int(time.Hour.Milliseconds())}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.t.check(dmpModes); (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
}
