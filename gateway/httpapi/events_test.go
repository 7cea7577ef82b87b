package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
)

// stream is a followed timeline, read as it comes.
type stream struct {
	t     *testing.T
	lines <-chan string
	close func()
}

func (w *world) follow(target string, h http.Header) *stream {
	w.t.Helper()
	return w.followAs(w.machine, target, h)
}

func (w *world) followAs(c *http.Client, target string, h http.Header) *stream {
	t := w.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+target, nil)
	must(t, err)
	for k, v := range h {
		req.Header[k] = v
	}
	res, err := c.Do(req)
	must(t, err)
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%d %s", res.StatusCode, kind)
	}
	s := &stream{t: t, lines: lines(res.Body), close: sync.OnceFunc(func() { _ = res.Body.Close() })}
	t.Cleanup(s.close)
	return s
}

// next is the next message: its fields; a heartbeat has the field "". Nil: the
// stream ended.
func (s *stream) next() map[string]string {
	s.t.Helper()
	fields := map[string]string{}
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-s.lines:
			switch {
			case !ok:
				return nil
			case line == "" && len(fields) > 0:
				return fields
			case line != "":
				name, value, _ := strings.Cut(line, ":")
				fields[name] = strings.TrimPrefix(value, " ")
			}
		case <-timeout:
			s.t.Fatal("the stream is silent")
		}
	}
}

// events reads until the state of the submission is told to be this one.
func (s *stream) events(until string) (ids []int64, steps []string) {
	s.t.Helper()
	for {
		m := s.next()
		if m == nil {
			s.t.Fatal("the stream ended")
		}
		switch m["event"] {
		case "timeline":
			var e httpapi.Event
			must(s.t, json.Unmarshal([]byte(m["data"]), &e))
			id, err := strconv.ParseInt(m["id"], 10, 64)
			if err != nil || id != e.Seq || e.Text == "" {
				s.t.Fatalf("%v", m)
			}
			ids, steps = append(ids, id), append(steps, e.Step+" "+e.Outcome)
		case "state":
			var v struct{ State string }
			must(s.t, json.Unmarshal([]byte(m["data"]), &v))
			if v.State == until {
				return ids, steps
			}
		}
	}
}

func TestFollow(t *testing.T) {
	w := newWorld(t, options{limits: httpapi.Limits{Poll: 10 * time.Millisecond}})
	a := w.submit(w.machine, "", thin(t), document(1), nil)
	target := a.header.Get("Location") + "/events"
	ids, steps := w.follow(target, http.Header{"Accept": {"text/event-stream"}}).events("done")
	if len(ids) < 2 || steps[0] != "accepted ok" || steps[len(steps)-1] != "dmp ok" {
		t.Fatalf("%v %v", ids, steps)
	}
	for i := 1; i < len(ids); i++ {
		if ids[i] <= ids[i-1] {
			t.Errorf("ids %v", ids)
		}
	}
	// What a caller saw is not told again: neither by address nor by header, and
	// the header, which a browser sends when it reconnects, wins.
	first := strconv.FormatInt(ids[0], 10)
	for name, s := range map[string]*stream{
		"after":         w.follow(target+"?follow&after="+first, nil),
		"Last-Event-ID": w.follow(target+"?follow=1", http.Header{"Last-Event-Id": {first}}),
		"both":          w.follow(target+"?follow&after=0", http.Header{"Last-Event-Id": {first}}),
	} {
		if got, _ := s.events("done"); fmt.Sprint(got) != fmt.Sprint(ids[1:]) {
			t.Errorf("%s: resumed with %v after %s of %v", name, got, first, ids)
		}
	}
	// "follow=0" asks for the list.
	if a := w.do(w.machine, "GET", target+"?follow=0", nil, http.Header{"Accept": {"text/event-stream"}}); a.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v", a.header)
	}
	w.do(w.machine, "GET", target+"?follow", nil, http.Header{"Last-Event-Id": {"x"}}).refused(t, 422, httpapi.FaultField+" Last-Event-ID")
}

// TestLateEvent appends to a settled submission: who follows it learns so.
func TestLateEvent(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{Poll: 10 * time.Millisecond, Beat: 30 * time.Millisecond}})
	record(t, w, "s1", "M1", establishments()[0].FINESSGeo)
	s := w.follow("/v1/submissions/s1/events?follow", nil)
	if ids, _ := s.events("pending"); len(ids) != 2 {
		t.Fatalf("%v", ids)
	}
	if m := s.next(); m["event"] != "" || len(m) != 1 {
		t.Fatalf("not a heartbeat: %v", m)
	}
	if _, err := w.journal.Claim(t.Context(), gateway.DestinationDMP, "h", noon.Add(time.Second), noon.Add(time.Minute), 1); err != nil {
		t.Fatal(err)
	}
	must(t, w.journal.Settle(t.Context(), gateway.Settlement{Delivery: "ds1", Holder: "h", State: gateway.Done, Events: []gateway.Event{
		{Submission: "s1", Time: noon, Step: gateway.EventDMP, Outcome: gateway.OutcomeOK}}}))
	if ids, steps := s.events("done"); len(ids) != 1 || steps[0] != "dmp ok" {
		t.Errorf("%v %v", ids, steps)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, options{idle: true, limits: httpapi.Limits{Streams: 2, Poll: 5 * time.Millisecond, Beat: 5 * time.Millisecond}})
	record(t, w, "s1", "M1", establishments()[0].FINESSGeo)
	target := "/v1/submissions/s1/events?follow"
	one, two := w.follow(target, nil), w.follow(target, nil)
	w.do(w.machine, "GET", target, nil, nil).refused(t, 503, httpapi.FaultBusy)
	// A place that is given back can be taken.
	one.close()
	for range 1000 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+target, nil)
		must(t, err)
		res, err := w.machine.Do(req)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode == 200 {
			two.close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the place of a caller that left stays taken")
}
