package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds what a simulated service reads of a request.
const maxBody = 64 << 20

// front stands before a service and misbehaves on demand.
type front struct {
	troubles *troubles
	service  http.Handler
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, release := f.troubles.strike(r.Method, r.URL.Path)
	if t.Mode == Down {
		hangUp(w, nil)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		outcome(w, http.StatusRequestEntityTooLarge, "too-long", "requête illisible ou trop longue")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.troubles.received(kindOf(r))

	if t.When == "" {
		t.When = map[Mode]string{Refuse: Before, Cut: After, Hold: Before, Lie: After}[t.Mode]
	}
	var answer *recorder
	if t.When == After {
		answer = f.process(r)
	}
	switch t.Mode {
	case "":
		f.troubles.count(func(c *Counters) { c.Processed++ })
		f.service.ServeHTTP(w, r)
	case Slow:
		wait(time.Duration(t.Milliseconds)*time.Millisecond, r.Context().Done())
		if r.Context().Err() != nil {
			hangUp(w, nil) // nobody waits any more: a bare return would say 200
			return
		}
		f.process(r).copyTo(w)
	case Refuse:
		status := t.Status
		if status == 0 {
			status = http.StatusServiceUnavailable
		}
		code := t.Code
		if code == "" {
			code = "transient"
		}
		outcome(w, status, code, "refus demandé au bac à sable")
	case Cut:
		var raw []byte
		if answer != nil {
			raw = answer.wire(r)
		}
		hangUp(w, raw[:min(t.Bytes, len(raw))])
		return
	case Hold:
		f.troubles.count(func(c *Counters) { c.Held++ })
		select {
		case <-release:
		case <-r.Context().Done():
		}
		f.troubles.count(func(c *Counters) { c.Held-- })
		if r.Context().Err() != nil {
			hangUp(w, nil) // nobody waits any more: a request held before is never processed
			return
		}
		if answer == nil {
			answer = f.process(r)
		}
		answer.copyTo(w)
	case Lie:
		lieAs(t.Lie, answer).copyTo(w)
	}
	f.troubles.count(func(c *Counters) { c.Answered++ })
}

// process gives the request to the service and keeps its answer.
func (f *front) process(r *http.Request) *recorder {
	f.troubles.count(func(c *Counters) { c.Processed++ })
	a := &recorder{header: http.Header{}, status: http.StatusOK}
	f.service.ServeHTTP(a, r)
	return a
}

// hangUp writes raw bytes and closes the connection at once (RST when nothing
// was written).
func hangUp(w http.ResponseWriter, raw []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes the connection, as asked
	}
	defer conn.Close()
	if len(raw) > 0 {
		_, _ = conn.Write(raw) // the other side may be gone: that is the point
		return
	}
	reset(conn)
}

// reset makes the coming Close abrupt.
func reset(conn net.Conn) {
	for {
		t, ok := conn.(interface{ NetConn() net.Conn }) // TLS, then the gate
		if !ok {
			break
		}
		conn = t.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an option that cannot be set changes only the politeness
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header { return a.header }

func (a *recorder) WriteHeader(status int) {
	if !a.wrote {
		a.status, a.wrote = status, true
	}
}

func (a *recorder) Write(p []byte) (int, error) {
	a.wrote = true
	return a.body.Write(p)
}

func (a *recorder) copyTo(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that left is not our trouble
}

// wire is the answer as it would stand on the connection.
func (a *recorder) wire(r *http.Request) []byte {
	res := &http.Response{StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: a.header,
		ContentLength: int64(a.body.Len()), Body: io.NopCloser(bytes.NewReader(a.body.Bytes()))}
	var b bytes.Buffer
	_ = res.Write(&b) // a buffer does not fail
	return b.Bytes()
}

// lieAs turns an answer (nil when nothing was processed) into a wrong one that
// says 200.
func lieAs(lie string, answer *recorder) *recorder {
	a := &recorder{header: http.Header{"Content-Type": {"application/fhir+json"}}, status: http.StatusOK}
	bundle := map[string]any{"resourceType": "Bundle", "type": "transaction-response", "entry": []any{}}
	if answer != nil {
		var got map[string]any
		if json.Unmarshal(answer.body.Bytes(), &got) == nil && got["resourceType"] == "Bundle" {
			bundle = got
		}
	}
	entries, _ := bundle["entry"].([]any)
	switch lie {
	case "html":
		a.header.Set("Content-Type", "text/html; charset=utf-8")
		a.body.WriteString("<!doctype html><title>Bac à sable</title><p>Mensonge demandé au bac à sable : ceci n'est pas du FHIR.</p>")
		return a
	case "empty":
		return a
	case "count": // one entry less, and a total that disagrees
		if len(entries) > 0 {
			bundle["entry"] = entries[:len(entries)-1]
		} else {
			bundle["entry"] = []any{map[string]any{"response": map[string]any{"status": "201 Created", "location": "DocumentReference/bac-a-sable"}}}
		}
		if _, ok := bundle["total"]; ok {
			bundle["total"] = len(entries) + 7
		}
	case "other-id": // everything is there, about something else
		for i, e := range entries {
			entry, _ := e.(map[string]any)
			if res, ok := entry["resource"].(map[string]any); ok {
				res["id"] = fmt.Sprintf("bac-a-sable-%d", i)
				res["masterIdentifier"] = map[string]any{"use": "usual", "system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.250.1.999.66.6"}
			}
			if res, ok := entry["response"].(map[string]any); ok {
				res["location"] = fmt.Sprintf("DocumentReference/bac-a-sable-%d/_history/1", i)
			}
		}
	}
	_ = json.NewEncoder(&a.body).Encode(bundle) // decoded from JSON: it encodes
	return a
}

// outcome answers an OperationOutcome of the sandbox.
func outcome(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/fhir+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{
		"severity": "error", "code": code, "diagnostics": "Bac à sable : " + text}}})
}
