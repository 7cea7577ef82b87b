//go:build !nosandbox

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/testdata"
)

// route is the whole of it: the simulated world and the Main that production
// starts, over real sockets.
type route struct {
	*rehearsal
	m   *Main
	log *logText
}

// logText is what the gateway logs, at its most talkative.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRoute(t *testing.T, change func(*Config)) *route {
	t.Helper()
	r := &route{rehearsal: newRehearsal(t), log: &logText{}}
	cfg := r.w.config
	if change != nil {
		change(&cfg)
	}
	if p := cfg.problems(time.Now()); len(p) > 0 {
		t.Fatal(p)
	}
	r.m = &Main{Config: cfg, Clock: time.Now, Random: rand.Reader, Log: r.log.talkative(t, "the gateway")}
	if err := r.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := r.m.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	})
	return r
}

// send is one message on one connection.
func (r *route) send(message []byte) (ack []byte) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	ack, err := exchange(ctx, r.m.MLLP[0], message)
	if err != nil {
		r.t.Fatal(err)
	}
	return ack
}

// settled waits until a submission has ended and gives its state.
func (r *route) settled(id string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	var one listed
	err := r.until(ctx, func() bool {
		r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/submissions/"+id, &one)
		for _, d := range one.Deliveries {
			if d.State == "due" {
				return false
			}
		}
		return one.State != "pending"
	})
	if err != nil {
		r.t.Fatalf("%s stays %s", id, one.State)
	}
	return one.State
}

// verdict is MSA-1 and the first code: ERR-3, or ERR-5 beside 207.
func verdict(ack []byte) (msa, code string) {
	msa = field(ack, "MSA", 1)
	code, _, _ = strings.Cut(field(ack, "ERR", 3), "^")
	if code == "207" {
		code, _, _ = strings.Cut(field(ack, "ERR", 5), "^")
	}
	return msa, code
}

// The demonstration of the README, in process: its verdict is read from the
// DMP and from the hospital.
func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	e := &env{ctx: t.Context(), out: &out, err: io.Discard, clock: time.Now, random: rand.Reader, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	info := filepath.Join(t.TempDir(), "sandbox.json")
	if err := (&sandboxCmd{Demo: true, Once: true, Info: info, Data: t.TempDir()}).Run(e); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "Démonstration réussie") {
		t.Errorf("no verdict in:\n%s", &out)
	}
	for _, p := range testdata.Patients() {
		for _, secret := range []string{p.Matricule, p.BirthName} {
			if secret != "" && strings.Contains(out.String(), secret) {
				t.Errorf("the demonstration tells %q", secret)
			}
		}
	}
	data, err := os.ReadFile(info)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sim.ReadInfo(data); err != nil || got.Gateway.MLLP == "" || got.Control == "" {
		t.Errorf("the sandbox file: %+v %v", got, err)
	}
}

// Every message of the reference data gets the verdict that verdicts.tsv names,
// file by file, over a socket.
func TestReferenceMessages(t *testing.T) {
	root := os.Getenv("PASSERELLE_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	table, err := os.ReadFile(filepath.Join(root, "verdicts.tsv"))
	if err != nil {
		t.Skip("the reference data are not here: ", err)
	}
	r := newRoute(t, nil)
	judged, expected := 0, 0
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		f := strings.Split(line, "\t")
		if len(f) < 5 || f[1] != "message" {
			continue
		}
		expected++
		message, err := os.ReadFile(filepath.Join(root, f[0]))
		if err != nil {
			t.Errorf("%s: %v", f[0], err)
			continue
		}
		t.Run(f[0], func(t *testing.T) {
			ack := r.send(message)
			msa, code := verdict(ack)
			if msa != f[2] || f[3] != "-" && code != f[3] && (!strings.Contains(f[4], "199") || code != "199") {
				t.Errorf("%s %s, want %s %s: %s\n%s", msa, code, f[2], f[3], f[4], ack)
			}
			if echo := field(ack, "MSA", 2); echo != field(message, "MSH", 10) {
				t.Errorf("MSA-2 %q", echo)
			}
			if msa == "AA" {
				if state := r.settled(field(ack, "MSA", 3)); state == "pending" {
					t.Error("not settled")
				}
			}
			judged++
		})
	}
	t.Logf("reference: messages: %d judged / %d expected", judged, expected)
	if judged != expected {
		t.Errorf("%d judged of %d", judged, expected)
	}
}

// Bad input gets one clear code each; nothing is lost, and the service goes on.
func TestBadInput(t *testing.T) {
	r := newRoute(t, nil)
	trois := testdata.PatientByID(testdata.PatientTrois)
	without := func(segment string) func([]string) []string {
		return func(all []string) (kept []string) {
			for _, s := range all {
				if !strings.HasPrefix(s, segment+"|") {
					kept = append(kept, s)
				}
			}
			return kept
		}
	}
	latin := testdata.MDM(testdata.MessageOptions{ControlID: "B3", Charset: testdata.Latin9})
	tests := []struct {
		name    string
		message []byte
		msa     string
		code    string // ERR-3, or ERR-5
		ours    string // our stable code, in ERR-7
	}{
		{"fail/25 MB", testdata.MDM(testdata.MessageOptions{ControlID: "B1", Base64: strings.Repeat("QUFB", 25<<18)}), "AE", "906", "HL7-FRAME-TOO-LARGE"},
		{"fail/bytes are not the declared charset", bytes.Replace(latin, []byte("8859/15"), []byte("UNICODE UTF-8"), 1), "AE", "102", "HL7-CHARSET"},
		{"fail/base64 undecodable", testdata.MDM(testdata.MessageOptions{ControlID: "B4", Base64: "PD94!!!!"}), "AE", "102", "HL7-BASE64"},
		{"fail/not a document", testdata.MDM(testdata.MessageOptions{ControlID: "B5", Base64: base64.StdEncoding.EncodeToString([]byte("une phrase"))}), "AE", "102", "CDA-XML"},
		{"fail/DTD", testdata.MDM(testdata.MessageOptions{ControlID: "B6", Content: append([]byte("<!DOCTYPE ClinicalDocument>"), testdata.CDA(testdata.CDAOptions{})...)}), "AE", "102", "CDA-DTD"},
		{"fail/readability is told before flags", testdata.MDM(testdata.MessageOptions{ControlID: "B14", Base64: base64.StdEncoding.EncodeToString([]byte("une phrase")), Flags: testdata.Flags{"DESTDMP": "X"}}), "AE", "102", "CDA-XML"},
		{"fail/flag", testdata.MDM(testdata.MessageOptions{ControlID: "B15", Flags: testdata.Flags{"DESTDMP": "X"}}), "AE", "103", "HL7-FLAG-VALUE"},
		{"fail/another patient's document", testdata.MDM(testdata.MessageOptions{ControlID: "B7", Document: testdata.CDAOptions{Patient: trois}}), "AE", "904", "INS-MISMATCH"},
		{"fail/unknown profile", testdata.MDM(testdata.MessageOptions{ControlID: "B8", Profile: "9.9^AUTRE"}), "AE", "199", "HL7-PROFILE"},
		{"fail/missing segment", testdata.MDM(testdata.MessageOptions{ControlID: "B9", Edit: without("TXA")}), "AE", "100", "HL7-SEGMENT-MISSING"},
		{"fail/no patient", testdata.ORU(testdata.MessageOptions{ControlID: "B10", Edit: without("PID")}), "AE", "100", "HL7-SEGMENT-MISSING"},
		{"fail/separators", testdata.MDM(testdata.MessageOptions{ControlID: "B11", Separators: "|^~\\$"}), "AE", "102", "HL7-SEPARATORS"},
		{"fail/not HL7", []byte("GET / HTTP/1.1"), "AE", "100", "HL7-NO-MSH"},
		{"ok/8859-15", latin, "AA", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ack := r.send(tt.message)
			msa, code := verdict(ack)
			ours, _, _ := strings.Cut(field(ack, "ERR", 7), " ") // a place may follow
			if msa != tt.msa || code != tt.code || ours != tt.ours {
				t.Errorf("%s %s %s, want %s %s %s\n%s", msa, code, ours, tt.msa, tt.code, tt.ours, ack)
			}
		})
	}
	t.Run("fail/truncated frame is not accepted", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.m.MLLP[0])
		if err != nil {
			t.Fatal(err)
		}
		whole := frame(testdata.MDM(testdata.MessageOptions{ControlID: "B12"}))
		if _, err := conn.Write(whole[:len(whole)-200]); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if answer, err := bufio.NewReader(conn).ReadBytes(0x1c); err == nil {
			t.Errorf("answered %q", answer)
		}
		_ = conn.Close()
		if n := len(r.listed("B12")); n != 0 {
			t.Errorf("%d submissions of a truncated frame", n)
		}
	})
	t.Run("ok/the service goes on", func(t *testing.T) {
		ack := r.send(testdata.MDM(testdata.MessageOptions{ControlID: "B13", Document: testdata.CDAOptions{ID: testdata.DocumentID(13)}}))
		if state := r.settled(field(ack, "MSA", 3)); state != "done" {
			t.Errorf("state %s", state)
		}
	})
}

// A DMP that is down, slow, cutting, refusing or lying delays a document and
// loses nothing: once it is itself again, the document is there once and the
// hospital is told once.
func TestTroubledDMP(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.DMP.Timeout = 700 * time.Millisecond })
	troubles := []sim.Trouble{
		{Mode: sim.Down},
		{Mode: sim.Slow, Milliseconds: 1500},
		{Mode: sim.Refuse, Status: 503},
		{Mode: sim.Refuse, Status: 500, When: sim.After},
		{Mode: sim.Cut, Bytes: 0, When: sim.Before},
		{Mode: sim.Cut, Bytes: 40, When: sim.After},
		{Mode: sim.Hold, When: sim.After},
		{Mode: sim.Lie, Lie: "html"},
		{Mode: sim.Lie, Lie: "count", When: sim.After},
		{Mode: sim.Lie, Lie: "other-id", When: sim.After},
		{Mode: sim.Lie, Lie: "empty", When: sim.Before},
	}
	for i, trouble := range troubles {
		name := fmt.Sprintf("ok/%s %s %s", trouble.Mode, trouble.Lie, trouble.When)
		t.Run(name, func(t *testing.T) {
			control := fmt.Sprintf("T%d", i)
			id := testdata.DocumentID(500 + i)
			trouble.Path, trouble.Count = "/fhir", 2
			r.control(http.MethodPut, "/dmp/faults", trouble)
			o := testdata.MessageOptions{ControlID: control, Document: testdata.CDAOptions{ID: id}}
			ack := r.send(testdata.MDM(o))
			if msa, _ := verdict(ack); msa != "AA" {
				t.Fatalf("the DMP's trouble reached the door:\n%s", ack)
			}
			if state := r.settled(field(ack, "MSA", 3)); state != "done" {
				t.Fatalf("state %s", state)
			}
			if zams := r.hospitalZAMs()[control]; len(zams) != 1 {
				t.Errorf("%d ZAM", len(zams))
			}
			d, err := newDemo(&env{ctx: t.Context(), out: io.Discard, clock: time.Now}, r.w.info)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.inDMP(expectation{name, testdata.Patients()[0], id, "current", testdata.CDA(o.Document)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A hospital that is down, silent or refusing: the ZAM is retried with the same
// MSH-10 until it is acknowledged; AE ends it.
func TestTroubledHospital(t *testing.T) {
	r := newRoute(t, nil)
	for i, trouble := range []sim.Trouble{{Mode: sim.Down}, {Mode: sim.Refuse, Code: "AR"}, {Mode: sim.Cut, Bytes: 10}} {
		t.Run("ok/"+string(trouble.Mode), func(t *testing.T) {
			trouble.Count = 2
			r.control(http.MethodPut, "/hospital/faults", trouble)
			defer r.control(http.MethodDelete, "/hospital/faults", nil)
			control := fmt.Sprintf("H%d", i)
			ack := r.send(testdata.MDM(testdata.MessageOptions{ControlID: control, Document: testdata.CDAOptions{ID: testdata.DocumentID(700 + i)}}))
			r.settled(field(ack, "MSA", 3))
			if zams := r.hospitalZAMs()[control]; len(zams) != 1 {
				t.Errorf("control ids %v", zams)
			}
		})
	}
}

// Below the disk reserve a message is answered AR, an alarm is readable, and
// the same message is accepted once there is room.
func TestDiskFull(t *testing.T) {
	r := newRoute(t, func(c *Config) { c.Storage.ReserveMiB = 1 << 40 })
	message := testdata.MDM(testdata.MessageOptions{ControlID: "D1"})
	ack := r.send(message)
	if msa, code := verdict(ack); msa != "AR" || code != "906" || field(ack, "ERR", 7) != "GW-DISK-FULL" {
		t.Fatalf("%s", ack)
	}
	resp, err := http.Get("http://" + r.m.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "GW-DISK-FULL") {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	r.m.Config.Storage.ReserveMiB = 1
	*r.m = Main{Config: r.m.Config, Clock: time.Now, Random: rand.Reader, Log: r.m.Log}
	if err := r.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if msa, _ := verdict(r.send(message)); msa != "AA" {
		t.Errorf("with room again: %s", msa)
	}
}

// The exact same bytes get the stored acknowledgement, to the byte, also after
// a restart; nothing is created twice.
func TestDuplicate(t *testing.T) {
	r := newRoute(t, nil)
	message := testdata.MDM(testdata.MessageOptions{ControlID: "DUP1"})
	first := r.send(message)
	if again := r.send(message); !bytes.Equal(first, again) {
		t.Errorf("answers differ:\n%s\n%s", first, again)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	*r.m = Main{Config: r.m.Config, Clock: time.Now, Random: rand.Reader, Log: r.m.Log}
	if err := r.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := r.send(message); !bytes.Equal(first, again) {
		t.Errorf("answers differ after a restart:\n%s\n%s", first, again)
	}
	if n := len(r.listed("DUP1")); n != 1 {
		t.Errorf("%d submissions", n)
	}
	r.settled(field(first, "MSA", 3))
	if n := len(r.hospitalZAMs()["DUP1"]); n != 1 {
		t.Errorf("%d ZAM", n)
	}
}
