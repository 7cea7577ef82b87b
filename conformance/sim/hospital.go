package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what a hospital lists and remembers; its file keeps everything.
const (
	maxKept      = 2000      // messages
	maxKeptBytes = 256 << 20 // their bytes
	maxSeen      = 200_000   // control ids, for the flag of duplicates
)

// idle is how long a connection of the hospital may say nothing.
const idle = 10 * time.Minute

// HospitalMessage is one message that the hospital received.
type HospitalMessage struct {
	Received  time.Time `json:"received"`
	Raw       string    `json:"raw"`                 // as text
	Bytes     []byte    `json:"raw_base64"`          // as it came
	Ack       string    `json:"ack"`                 // empty when none was sent
	Type      string    `json:"type"`                // MSH-9
	ControlID string    `json:"control_id"`          // MSH-10
	Duplicate bool      `json:"duplicate,omitempty"` // MSH-3/4/10 seen before
	Number    int       `json:"number"`
}

// hospital is hospital software: it receives ZAM and MDM over MLLP, keeps each
// message before answering, and answers.
type hospital struct {
	listener net.Listener
	troubles *troubles
	now      func() time.Time
	log      *slog.Logger

	mu       sync.Mutex
	file     *os.File
	messages []HospitalMessage // oldest first, the last ones
	bytes    int               // of these messages
	seen     map[string]bool   // MSH-3/4/10
	number   int
	conns    map[net.Conn]bool
	closed   bool
	done     sync.WaitGroup
	quit     chan struct{}
}

func openHospital(path string, l net.Listener, now func() time.Time, log *slog.Logger) (*hospital, error) {
	h := &hospital{listener: l, troubles: newTroubles(), now: now, log: log,
		seen: map[string]bool{}, conns: map[net.Conn]bool{}, quit: make(chan struct{})}
	if err := h.load(path); err != nil {
		return nil, err
	}
	h.done.Go(h.accept)
	return h, nil
}

// load reads what was received before a restart. A last line cut by a crash was
// not acknowledged: it is dropped.
func (h *hospital) load(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("sim: messages of the hospital: %w", err)
	}
	r, whole := bufio.NewReader(f), int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.Close()
			return fmt.Errorf("sim: messages of the hospital: %w", err)
		}
		whole += int64(len(line))
		var m HospitalMessage
		if json.Unmarshal(line, &m) == nil {
			h.remember(m)
		}
	}
	if err := errors.Join(f.Truncate(whole), seekEnd(f)); err != nil {
		f.Close()
		return fmt.Errorf("sim: messages of the hospital: %w", err)
	}
	h.file = f
	return nil
}

func seekEnd(f *os.File) error {
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

func (h *hospital) remember(m HospitalMessage) {
	h.number = max(h.number, m.Number)
	h.messages = append(h.messages, m)
	h.bytes += len(m.Bytes)
	for len(h.messages) > maxKept || (h.bytes > maxKeptBytes && len(h.messages) > 1) {
		h.bytes -= len(h.messages[0].Bytes)
		h.messages = h.messages[1:]
	}
	if parsed, ok := parseER7(m.Bytes); ok && len(h.seen) < maxSeen {
		h.seen[identity(parsed)] = true
	}
}

func identity(m message) string {
	return m.get("MSH", 3) + "\x00" + m.get("MSH", 4) + "\x00" + m.get("MSH", 10)
}

func (h *hospital) accept() {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return // closed
		}
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			conn.Close()
			return
		}
		h.conns[conn] = true
		h.done.Go(func() { h.talk(conn) })
		h.mu.Unlock()
	}
}

func (h *hospital) talk(conn net.Conn) {
	defer func() {
		conn.Close()
		h.mu.Lock()
		delete(h.conns, conn)
		h.mu.Unlock()
	}()
	if h.isDown() {
		reset(conn)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		timer := time.AfterFunc(idle, func() { conn.Close() })
		raw, err := readFrame(r)
		timer.Stop()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				h.log.DebugContext(ctx, "hospital: connection ends", "error", err)
			}
			return
		}
		if !h.receive(conn, raw) {
			return
		}
	}
}

// isDown tells whether every connection is refused at the door.
func (h *hospital) isDown() bool {
	for _, t := range h.troubles.get() {
		if t.Mode == Down && t.Path == "" && t.Count == 0 {
			return true
		}
	}
	return false
}

// receive keeps a message and answers it; false closes the connection.
func (h *hospital) receive(conn net.Conn, raw []byte) bool {
	parsed, ok := parseER7(raw)
	kind := parsed.get("MSH", 9)
	t, release := h.troubles.strike("", kind)
	h.troubles.received(kind)
	code := "AA"
	switch {
	case t.Mode == Down, t.Mode == Cut && t.When == Before:
		reset(conn)
		return false
	case t.Mode == Refuse:
		code = t.Code
	case !ok:
		code = "AR"
	}
	ack := parsed.acknowledge(code, "H"+strconv.Itoa(h.next()), h.now())
	if t.Mode == Lie {
		ack = bytes.Replace(ack, []byte("MSA|AA|"), []byte("MSA|AA|MENSONGE-"), 1)
	}
	sent := ack
	if t.Mode == Silent {
		sent = nil
	}
	if err := h.keep(parsed, ok, raw, sent); err != nil {
		h.log.Error("hospital: a message could not be kept", "error", err)
		return false
	}
	h.troubles.count(func(c *Counters) { c.Processed++ })
	framed := frameOf(ack)
	switch t.Mode {
	case Silent:
		return true
	case Slow:
		wait(time.Duration(t.Milliseconds)*time.Millisecond, h.quit)
	case Hold:
		h.troubles.count(func(c *Counters) { c.Held++ })
		select {
		case <-release:
		case <-h.quit:
		}
		h.troubles.count(func(c *Counters) { c.Held-- })
	case Cut:
		if n := min(t.Bytes, len(framed)); n > 0 {
			_, _ = conn.Write(framed[:n]) // cut on purpose
		} else {
			reset(conn)
		}
		return false
	}
	if _, err := conn.Write(framed); err != nil {
		return false
	}
	h.troubles.count(func(c *Counters) { c.Answered++ })
	return true
}

func (h *hospital) next() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	return h.number
}

// keep writes a message to the file and waits for the disk.
func (h *hospital) keep(parsed message, ok bool, raw, ack []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := HospitalMessage{Received: h.now().UTC(), Raw: decode(raw), Bytes: raw, Ack: decode(ack),
		Type: parsed.get("MSH", 9), ControlID: parsed.get("MSH", 10), Number: h.number}
	m.Duplicate = ok && h.seen[identity(parsed)]
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := h.file.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := h.file.Sync(); err != nil {
		return err
	}
	h.remember(m)
	return nil
}

// received lists the messages, newest first.
func (h *hospital) received() []HospitalMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]HospitalMessage, 0, len(h.messages))
	for i := len(h.messages) - 1; i >= 0; i-- {
		out = append(out, h.messages[i])
	}
	return out
}

// serveMessages answers GET /messages; ?type=ZAM^Z01 and ?limit=10 narrow it.
func (h *hospital) serveMessages(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Query().Get("type")
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit <= 0 {
		limit = maxKept
	}
	list := []HospitalMessage{}
	for _, m := range h.received() {
		if strings.HasPrefix(m.Type, kind) && len(list) < limit {
			list = append(list, m)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "messages": list})
}

// hangUpAll closes the open connections.
func (h *hospital) hangUpAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		reset(conn)
		conn.Close()
	}
}

func (h *hospital) close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	close(h.quit)
	err := h.listener.Close()
	h.hangUpAll()
	h.done.Wait()
	return errors.Join(err, h.file.Close())
}
