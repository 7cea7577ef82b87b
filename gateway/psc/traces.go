package psc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of traces.
const (
	TraceConnected    = "CONNECT_SUCCESS"
	TraceReplayed     = "CONNECT_REPLAY"
	TraceRefused      = "CONNECT_FAILURE"
	TraceSent         = "SEND"
	TraceDisconnected = "DISCONNECT"
)

// Trace is who did what through a [Proxy], and from where. Session is the
// SHA-256 of the id that the software holds, in hexadecimal: the id itself opens
// the session and is written nowhere.
type Trace struct {
	Type         string      `json:"type"`
	ClientID     string      `json:"clientId,omitempty"`
	NationalID   string      `json:"IdRPPS"`
	Address      string      `json:"ipAddress"`
	Ports        []int       `json:"ports"` // of the caller, then ours
	Session      string      `json:"proxy_id_session,omitempty"`
	SessionState string      `json:"session_state,omitempty"`
	DN           string      `json:"dn,omitempty"` // of the caller's certificate
	Time         time.Time   `json:"timestamp"`
	Request      *APIRequest `json:"apiRequest,omitempty"` // of SEND
	Code         string      `json:"code,omitempty"`       // of CONNECT_FAILURE: the refusal
}

// APIRequest is what was sent to a backend; its path is without its query, and
// what looks like a matricule in it is masked.
type APIRequest struct {
	Backend string `json:"nomApiPsc"`
	Method  string `json:"methode"`
	Path    string `json:"path"`
}

// Tracer keeps traces. What Write returned nil for outlives a crash.
type Tracer interface {
	Write(ctx context.Context, t Trace) error
	// Between lists traces from start until end, oldest first, at most a number.
	Between(ctx context.Context, start, end time.Time, most int) ([]Trace, error)
}

// TraceFolder is a [Tracer] in files of JSON lines, one a day (UTC), each line
// synced before Write returns. A line that a crash cut is passed over by readers
// and ends where the next one begins. Files older than Keep are removed when a
// day begins.
type TraceFolder struct {
	dir  string
	keep time.Duration

	mu   sync.Mutex
	day  string
	file *os.File
}

const (
	tracePrefix, traceSuffix = "psc-traces-", ".jsonl"
	maxTraceLine             = 64 << 10
)

// OpenTraces opens a folder of traces, or makes it.
func OpenTraces(dir string, keep time.Duration) (*TraceFolder, error) {
	if dir == "" || keep < 24*time.Hour {
		return nil, errors.New("psc: traces: a folder and at least a day are required")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, because(FaultTrace, "", err)
	}
	return &TraceFolder{dir: dir, keep: keep}, nil
}

// Close closes the file of the day.
func (f *TraceFolder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file, f.day = nil, ""
	return file.Close()
}

// Write is [Tracer].Write.
func (f *TraceFolder) Write(_ context.Context, t Trace) error {
	line, err := json.Marshal(t)
	if err != nil {
		return because(FaultTrace, "", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	day := t.Time.UTC().Format(time.DateOnly)
	if day != f.day {
		err = f.turn(day, t.Time)
	}
	if err == nil {
		if _, err = f.file.Write(append(line, '\n')); err == nil {
			err = f.file.Sync()
		}
	}
	if err != nil {
		// The line may be cut: the next one begins in a file that is opened anew.
		if f.file != nil {
			_ = f.file.Close() // what failed is told already
		}
		f.file, f.day = nil, ""
		return because(FaultTrace, "", err)
	}
	return nil
}

// turn opens the file of a day, and removes those that are too old.
func (f *TraceFolder) turn(day string, now time.Time) error {
	if f.file != nil {
		if err := f.file.Close(); err != nil {
			return err
		}
		f.file = nil
	}
	days, err := f.days()
	if err != nil {
		return err
	}
	oldest := now.Add(-f.keep).UTC().Format(time.DateOnly)
	for _, d := range days {
		if d < oldest {
			if err := os.Remove(f.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	file, err := os.OpenFile(f.path(day), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := f.begin(file); err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.day = file, day
	return nil
}

// begin ends a line that a crash cut, and makes a new file durable.
func (f *TraceFolder) begin(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] == '\n' {
			return nil
		}
		_, err := file.Write([]byte{'\n'})
		return err
	}
	return syncFolder(f.dir)
}

func (f *TraceFolder) path(day string) string {
	return filepath.Join(f.dir, tracePrefix+day+traceSuffix)
}

// days lists the days that have a file, oldest first.
func (f *TraceFolder) days() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		day, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), traceSuffix), tracePrefix)
		if _, err := time.Parse(time.DateOnly, day); ok && err == nil && strings.HasSuffix(e.Name(), traceSuffix) {
			all = append(all, day)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Between is [Tracer].Between.
func (f *TraceFolder) Between(_ context.Context, start, end time.Time, most int) ([]Trace, error) {
	days, err := f.days()
	if err != nil {
		return nil, because(FaultTrace, "", err)
	}
	out := []Trace{}
	first, last := start.UTC().Format(time.DateOnly), end.UTC().Format(time.DateOnly)
	for _, d := range days {
		if d < first || d > last {
			continue
		}
		if err := f.read(d, func(t Trace) bool {
			if !t.Time.Before(start) && t.Time.Before(end) {
				out = append(out, t)
			}
			return len(out) < most
		}); err != nil {
			return nil, because(FaultTrace, "", err)
		}
		if len(out) == most {
			break
		}
	}
	return out, nil
}

func (f *TraceFolder) read(day string, take func(Trace) bool) error {
	file, err := os.Open(f.path(day))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since it was listed
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxTraceLine)
	for lines.Scan() {
		var t Trace
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &t) == nil && !take(t) {
			break
		}
	}
	return errors.Join(lines.Err(), file.Close())
}
