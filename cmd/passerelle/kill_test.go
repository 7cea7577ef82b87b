//go:build !nosandbox

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

// The variables by which the kill test's child knows what it is. The child is
// this test binary run again: the same Main as production, in a process of its
// own, with a trap in its Trace.
const (
	childConfig = "PASSERELLE_TEST_SERVE"
	childTrap   = "PASSERELLE_TEST_TRAP" // step at which it stops for ever, waiting to be killed
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childConfig); path != "" {
		os.Exit(serveForKill(path, gateway.Step(os.Getenv(childTrap))))
	}
	os.Exit(m.Run())
}

// serveForKill is `passerelle serve` with a trap. It says on its standard
// output when it is ready and when it is caught.
func serveForKill(path string, trap gateway.Step) int {
	cfg, err := loadConfig(path)
	if err != nil {
		fmt.Println("error", err)
		return exitFailure
	}
	var once sync.Once
	m := &Main{
		Config: cfg, Clock: time.Now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Trace: func(step gateway.Step, submission string) {
			if step == trap {
				once.Do(func() { fmt.Println("caught", step, submission) })
				select {} // until SIGKILL
			}
		},
	}
	if err := m.Start(context.Background()); err != nil {
		fmt.Println("error", err)
		return exitFailure
	}
	fmt.Println("ready")
	select {}
}

// child is one life of the gateway, in a process that can be killed.
type child struct {
	cmd    *exec.Cmd
	caught chan struct{} // closed when the trap closed on it
	done   chan struct{}
	stderr *tail
}

// tail keeps the end of what a child said, for a failing test.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if n := len(t.data) - 8<<10; n > 0 {
		t.data = t.data[n:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

func startChild(t *testing.T, config string, trap gateway.Step) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self), caught: make(chan struct{}), done: make(chan struct{}), stderr: &tail{}}
	c.cmd.Env = append(os.Environ(), childConfig+"="+config, childTrap+"="+string(trap))
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan error, 1)
	go func() {
		defer close(c.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
			case "ready":
				ready <- nil
			case "caught":
				close(c.caught)
			case "error":
				ready <- errors.New(rest)
			}
		}
		_ = c.cmd.Wait()
		select {
		case ready <- errors.New("ended before it was ready"):
		default:
		}
	}()
	select {
	case err = <-ready:
	case <-time.After(3 * time.Minute):
		err = errors.New("not ready after three minutes")
	}
	if err != nil {
		c.kill()
		t.Fatalf("serve: %v\n%s", err, c.stderr)
	}
	return c
}

// kill is SIGKILL, and waits for the end of the process.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// rehearsal is the world that stays up while the gateway dies.
type rehearsal struct {
	t      *testing.T
	w      *world
	config string
	client *http.Client // the machine of the establishment
}

func newRehearsal(t *testing.T) *rehearsal {
	t.Helper()
	dir := t.TempDir()
	log := (&logText{}).talkative(t, "the simulators")
	e := &env{ctx: t.Context(), out: io.Discard, err: io.Discard, clock: time.Now, random: rand.Reader, log: log}
	w, err := startWorld(t.Context(), worldConfig{dir: dir, e: e, log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.close() })
	r := &rehearsal{t: t, w: w, config: dir + "/gateway.yaml"}
	if err := writeConfig(r.config, w.config); err != nil {
		t.Fatal(err)
	}
	if r.client, err = clientFor(w.info.TLS.CA, w.info.TLS.MachineCert, w.info.TLS.MachineKey); err != nil {
		t.Fatal(err)
	}
	return r
}

// sendUntilAcknowledged does what an HL7 sender must do: resend the same bytes
// until an acknowledgement comes. AR means: resend as is, later.
func (r *rehearsal) sendUntilAcknowledged(ctx context.Context, message []byte) (ack []byte, err error) {
	for {
		ack, err = exchange(ctx, r.w.config.HL7[0].Listen, message)
		if err == nil && field(ack, "MSA", 1) != "AR" {
			return ack, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("never acknowledged: %w", errors.Join(ctx.Err(), err))
		case <-time.After(15 * time.Millisecond):
		}
	}
}

// exchange sends one MLLP frame and reads one. It is written here, and not
// taken from the gateway or the simulator, so that the test speaks for itself.
func exchange(ctx context.Context, addr string, message []byte) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, ok := ctx.Deadline()
	if limit := time.Now().Add(2 * time.Minute); !ok || limit.Before(deadline) {
		deadline = limit
	}
	_ = conn.SetDeadline(deadline)
	if _, err := conn.Write(frame(message)); err != nil {
		return nil, err
	}
	return readFrame(bufio.NewReader(conn))
}

func frame(message []byte) []byte {
	return append(append([]byte{0x0b}, message...), 0x1c, 0x0d)
}

func readFrame(in *bufio.Reader) ([]byte, error) {
	if b, err := in.ReadByte(); err != nil || b != 0x0b {
		return nil, fmt.Errorf("no start of frame: %x %w", b, err)
	}
	body, err := in.ReadBytes(0x1c)
	if err != nil {
		return nil, err
	}
	if b, err := in.ReadByte(); err != nil || b != 0x0d {
		return nil, fmt.Errorf("no end of frame: %x %w", b, err)
	}
	return body[:len(body)-1], nil
}

// hospitalZAMs is what the hospital received: answered MSH-10 → distinct MSH-10
// of the ZAM → how often.
func (r *rehearsal) hospitalZAMs() map[string]map[string]int {
	r.t.Helper()
	var list struct {
		Messages []struct {
			Raw string `json:"raw"`
		} `json:"messages"`
	}
	r.getJSON(http.DefaultClient, r.w.info.Hospital.Messages, &list)
	all := map[string]map[string]int{}
	for _, m := range list.Messages {
		raw := []byte(m.Raw)
		answers := field(raw, "OBX", 4)
		if all[answers] == nil {
			all[answers] = map[string]int{}
		}
		all[answers][field(raw, "MSH", 10)]++
	}
	return all
}

func (r *rehearsal) getJSON(c *http.Client, link string, v any) {
	r.t.Helper()
	if err := getJSON(r.t.Context(), c, link, "", v); err != nil {
		r.t.Fatal(err)
	}
}

// control turns one knob of the sandbox.
func (r *rehearsal) control(method, path string, v any) {
	r.t.Helper()
	body := []byte{}
	if v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			r.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.w.info.Control+path, strings.NewReader(string(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := do(http.DefaultClient, req); err != nil {
		r.t.Fatal(err)
	}
}
