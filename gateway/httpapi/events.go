package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// events answers with a timeline, or follows it (server-sent events) when the
// caller asks for text/event-stream or ?follow. Both go on after the last event
// that the caller knows: ?after, or Last-Event-ID, which wins because a browser
// that reconnects sends the first address again.
func (a *API) events(w http.ResponseWriter, r *http.Request, c *caller) error {
	s, _, err := a.load(r, c)
	if err != nil {
		return err
	}
	after := int64(0)
	for _, known := range []struct{ raw, where string }{{r.URL.Query().Get("after"), "after"}, {r.Header.Get("Last-Event-ID"), "Last-Event-ID"}} {
		if known.raw == "" {
			continue
		}
		if after, err = strconv.ParseInt(known.raw, 10, 64); err != nil || after < 0 {
			return fault.New(FaultField).At(known.where)
		}
	}
	if follows(r) {
		return a.follow(w, r, c, s, after)
	}
	events, err := a.timeline(r, s, after)
	if err != nil {
		return err
	}
	reply(w, map[string]any{"events": events})
	return nil
}

// follows tells whether a stream is asked for; not by HEAD, whose answer has an end.
func follows(r *http.Request) bool {
	if f := r.URL.Query(); f.Has("follow") {
		return r.Method == http.MethodGet && f.Get("follow") != "0" && f.Get("follow") != "false"
	}
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// follow streams events as they are committed: each once and in order, its id
// being its seq. "event: state" tells the state of the submission when it
// changes. The stream stays open on a settled submission, because a late receipt
// may still come; the caller closes it. A professional's ends at the first
// heartbeat after their token did.
func (a *API) follow(w http.ResponseWriter, r *http.Request, c *caller, s gateway.Submission, after int64) error {
	if a.streams.Add(1) > a.Limits.Streams {
		a.streams.Add(-1)
		return fault.New(FaultBusy)
	}
	defer a.streams.Add(-1)
	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects events defeats them
	w.WriteHeader(http.StatusOK)
	// The server's write deadline is for answers, not for streams: a caller that
	// is gone is found by TCP, and the number of streams is bounded. A server that
	// has none to lift keeps its own.
	_ = rc.SetWriteDeadline(time.Time{})
	send := func(text string) bool {
		_, err := w.Write([]byte(text))
		return err == nil && rc.Flush() == nil
	}
	look := time.NewTicker(a.Limits.Poll)
	defer look.Stop()
	beat := time.NewTicker(a.Limits.Beat)
	defer beat.Stop()
	state := gateway.State("")
	for {
		text, next, err := a.news(r, s.ID, after, &state)
		if err != nil {
			// The answer has begun: the only way to tell is to break it off. The
			// caller reconnects with the last id that it saw.
			a.Log.Error("a followed timeline cannot be read", "submission", s.ID, "code", fault.From(err).Code, "error", err)
			return nil
		}
		after = next
		if text != "" && !send(text) {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-a.Closing:
			return nil
		case <-look.C:
		case <-beat.C:
			if c.pro != nil {
				if _, err := a.Callers.Verify(r); err != nil {
					return nil // the status was given long ago: who reconnects is told why
				}
			}
			if !send(": encore là\n\n") {
				return nil
			}
		}
	}
}

// news is what was committed since the last look, as a piece of the stream.
func (a *API) news(r *http.Request, id string, after int64, state *gateway.State) (string, int64, error) {
	// The state is read first: an event committed in between is told before the
	// state that it led to, never after.
	s, _, err := a.Journal.Submission(r.Context(), id)
	if err != nil {
		return "", after, err
	}
	events, err := a.timeline(r, s, after)
	if err != nil {
		return "", after, err
	}
	var b strings.Builder
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return "", after, err
		}
		fmt.Fprintf(&b, "id: %d\nevent: timeline\ndata: %s\n\n", e.Seq, data)
		after = e.Seq
	}
	if s.State != *state {
		*state = s.State
		data, err := json.Marshal(map[string]string{"id": id, "state": string(s.State), "code": s.Code})
		if err != nil {
			return "", after, err
		}
		fmt.Fprintf(&b, "event: state\ndata: %s\n\n", data)
	}
	return b.String(), after, nil
}
