package hl7v2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

// say sends bytes and reads n answers.
func say(t *testing.T, addr string, b []byte, n int) (all []hl7v2.Answer) {
	t.Helper()
	c := dial(t, addr)
	mustWrite(t, c, b)
	r := hl7v2.NewReader(c, 0, nil)
	for range n {
		a, _ := answer(t, r)
		all = append(all, a)
	}
	return all
}

func codesOf(all []hl7v2.Answer) (list []string) {
	for _, a := range all {
		s := a.Code + " " + a.ControlID
		for _, e := range a.Errors {
			s += " " + e.Code
		}
		list = append(list, s)
	}
	return list
}

func TestServerAnswers(t *testing.T) {
	_, addr, _ := serve(t, &door{crash: "BOOM"}, func(s *hl7v2.Server) { s.Limits.MaxFrame = 1 << 20 })
	other := mdm().field("MSH", 10, "M0002")
	large := mdm().field("OBX", 5, "^TEXT^XML^Base64^"+strings.Repeat("A", 2<<20))
	cases := map[string]struct {
		bytes []byte
		want  []string
	}{
		"ok/one":                   {frame(mdm().bytes()), []string{"AA M0001"}},
		"ok/LF":                    {frame(bytes.ReplaceAll(mdm().bytes(), []byte("\r"), []byte("\n"))), []string{"AA M0001"}},
		"ok/CRLF":                  {frame(bytes.ReplaceAll(mdm().bytes(), []byte("\r"), []byte("\r\n"))), []string{"AA M0001"}},
		"ok/two in one write":      {append(frame(mdm().bytes()), frame(other.bytes())...), []string{"AA M0001", "AA M0002"}},
		"ok/no final CR":           {frame(mdm().bytes())[:len(mdm().bytes())+2], []string{"AA M0001"}},
		"ok/admission":             {frame(adt().bytes()), []string{"AA M0002"}},
		"fail/wrong encoding":      {frame(mdm().sub("É", "\xC9").bytes()), []string{"AE M0001 102"}},
		"fail/not HL7":             {frame([]byte("hello")), []string{"AE  100"}},
		"fail/unknown sender":      {frame(mdm().field("MSH", 3, "STRANGER").bytes()), []string{"AE M0001 207"}},
		"fail/too large, then one": {append(frame(large.bytes()), frame(other.bytes())...), []string{"AE M0001 207", "AA M0002"}},
		"fail/panic":               {frame(mdm().field("MSH", 10, "BOOM").bytes()), []string{"AR BOOM 207"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := codesOf(say(t, addr, c.bytes, len(c.want))); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestServerHandsOver(t *testing.T) {
	d := &door{}
	_, addr, log := serve(t, d)
	say(t, addr, frame(mdm().bytes()), 1)
	want, _ := hl7v2.Read(mdm().bytes(), hl7v2.Options{})
	want.Establishment = gateway.Establishment{FINESSGeo: "990000001"}
	if len(d.got) != 1 || !reflect.DeepEqual(d.got[0], want) {
		t.Errorf("%+v", d.got)
	}
	if strings.Contains(log.String(), "TESTEUR") || strings.Contains(log.String(), matricule) {
		t.Error("a trait is in the log")
	}
}

// TestServer25MB: the default limit, with the real size.
func TestServer25MB(t *testing.T) {
	d := &door{}
	s, addr, _ := serve(t, d)
	large := mdm().field("OBX", 5, "^TEXT^XML^Base64^"+strings.Repeat("A", 25<<20))
	got := codesOf(say(t, addr, append(frame(large.bytes()), frame(mdm().bytes())...), 2))
	if !slices.Equal(got, []string{"AE M0001 207", "AA M0001"}) {
		t.Error(got)
	}
	if len(d.got) != 2 || len(d.got[0].Raw) > 4<<10 || len(d.got[0].Documents) > 0 || d.got[0].Establishment.FINESSGeo == "" {
		t.Error("the refusal must be judged without the document")
	}
	if st := s.Stats(); st.RefusedFrames != 1 || st.Frames != 2 {
		t.Errorf("%+v", st)
	}
}

func TestServerByteAtATime(t *testing.T) {
	_, addr, _ := serve(t, &door{})
	c := dial(t, addr)
	for _, b := range frame(adt().bytes()) {
		mustWrite(t, c, []byte{b})
	}
	if a, _ := answer(t, hl7v2.NewReader(c, 0, nil)); a.Code != "AA" {
		t.Error(a)
	}
}

func TestServerTruncatedFrame(t *testing.T) {
	d := &door{}
	s, addr, _ := serve(t, d)
	c := dial(t, addr)
	whole := frame(mdm().bytes())
	mustWrite(t, c, whole[:len(whole)/2])
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("answered %q", rest)
	}
	if d.count() != 0 {
		t.Error("half a message was accepted")
	}
	eventually(t, func() bool { return s.Stats().Truncated == 1 && s.Stats().Connections == 0 })
}

func TestServerPanicCostsOneConnection(t *testing.T) {
	s, addr, log := serve(t, &door{crash: "BOOM"})
	healthy := dial(t, addr)
	r := hl7v2.NewReader(healthy, 0, nil)
	mustWrite(t, healthy, frame(mdm().bytes()))
	answer(t, r)

	bad := dial(t, addr)
	mustWrite(t, bad, frame(mdm().field("MSH", 10, "BOOM").bytes()))
	rb := hl7v2.NewReader(bad, 0, nil)
	if a, _ := answer(t, rb); a.Code != "AR" || a.Errors[0].Diagnostic != hl7v2.FaultCrashed {
		t.Errorf("%+v", a)
	}
	if _, err := rb.Next(); !errors.Is(err, io.EOF) {
		t.Error("the connection survived:", err)
	}
	mustWrite(t, healthy, frame(mdm().bytes()))
	if a, _ := answer(t, r); a.Code != "AA" {
		t.Error(a)
	}
	if s.Stats().Panics != 1 || strings.Contains(log.String(), "patient content") {
		t.Error("the value of a panic must not be logged:", s.Stats().Panics)
	}
}

// TestServerSlowReader: a sender that does not take its answers costs its own
// connection.
func TestServerSlowReader(t *testing.T) {
	s, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) { s.Limits.Write = 50 * time.Millisecond })
	c := dial(t, addr)
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	m := bytes.Repeat(frame([]byte("x")), 100) // each answered with a whole refusal
	for range 2_000 {
		if _, err := c.Write(m); err != nil {
			break // the server gave the connection up
		}
	}
	eventually(t, func() bool { return s.Stats().Unanswered == 1 && s.Stats().Connections == 0 })
	if got := codesOf(say(t, addr, frame(mdm().bytes()), 1)); !slices.Equal(got, []string{"AA M0001"}) {
		t.Error(got)
	}
}

func TestServerDeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*hl7v2.Limits)
		send []byte
		cut  int64
	}{
		"fail/idle":       {func(l *hl7v2.Limits) { l.Idle = 30 * time.Millisecond }, nil, 0},
		"fail/slow frame": {func(l *hl7v2.Limits) { l.Frame = 30 * time.Millisecond }, []byte("\x0bMSH|"), 1},
		"fail/noise":      {func(*hl7v2.Limits) {}, bytes.Repeat([]byte("x"), 70<<10), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) { c.set(&s.Limits) })
			conn := dial(t, addr)
			_, _ = conn.Write(c.send)
			if rest, _ := io.ReadAll(conn); len(rest) > 0 {
				t.Errorf("%q", rest)
			}
			eventually(t, func() bool { return s.Stats().Connections == 0 && s.Stats().Truncated == c.cut })
		})
	}
}

func TestServerConnectionCap(t *testing.T) {
	s, addr, log := serve(t, &door{}, func(s *hl7v2.Server) { s.Limits.Connections = 1 })
	first := dial(t, addr)
	whole := frame(mdm().bytes())
	mustWrite(t, first, slices.Concat(whole, whole[:50])) // in the middle of its second
	r := hl7v2.NewReader(first, 0, nil)
	answer(t, r)
	for range 3 {
		if rest, _ := io.ReadAll(dial(t, addr)); len(rest) > 0 {
			t.Errorf("%q", rest)
		}
	}
	if st := s.Stats(); st.TurnedAway != 3 || st.Evicted != 0 {
		t.Errorf("%+v", st)
	}
	mustWrite(t, first, whole[50:])
	answer(t, r)
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("%d warnings in one minute", n)
	}
}

// TestServerEvictsIdle: as many idle connections as the limit locked every
// sender out for an hour (found by the review of issue 2).
func TestServerEvictsIdle(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	goOn := sync.OnceFunc(func() { close(release) })
	d := &door{hold: func(in gateway.Inbound) {
		if in.Message.ControlID == "HELD" {
			once.Do(func() { close(inside); <-release })
		}
	}}
	s, addr, log := serve(t, d, func(s *hl7v2.Server) { s.Limits.Connections = 4 })
	t.Cleanup(goOn) // before the server's own
	whole := frame(mdm().bytes())
	half, worked, older, newer := dial(t, addr), dial(t, addr), dial(t, addr), dial(t, addr)
	mustWrite(t, half, whole[:50])
	mustWrite(t, worked, frame(mdm().field("MSH", 10, "HELD").bytes()))
	<-inside
	for _, c := range []net.Conn{newer, older, newer} { // the one that spoke last is the younger
		eventually(t, func() bool { return s.Stats().Idle == 2 })
		mustWrite(t, c, whole)
		if a, _ := answer(t, hl7v2.NewReader(c, 0, nil)); a.Code != "AA" {
			t.Fatalf("%+v", a)
		}
	}
	for i, first := range []net.Conn{older, newer} {
		eventually(t, func() bool { return s.Stats().Idle == 2-i })
		c := dial(t, addr)
		mustWrite(t, c, whole[:50]) // not idle: it cannot be the next to go
		if rest, err := io.ReadAll(first); len(rest) > 0 || err != nil {
			t.Errorf("%d: the one idle for longest: %q %v", i, rest, err)
		}
		mustWrite(t, c, slices.Concat(whole[50:], whole[:50]))
		if a, _ := answer(t, hl7v2.NewReader(c, 0, nil)); a.Code != "AA" {
			t.Errorf("%d: the new one: %+v", i, a)
		}
	}
	// Nobody is idle now: those at work stay, the next one goes.
	if rest, _ := io.ReadAll(dial(t, addr)); len(rest) > 0 || s.Stats().TurnedAway != 1 {
		t.Errorf("%q %+v", rest, s.Stats())
	}
	mustWrite(t, half, whole[50:])
	goOn()
	for _, c := range []net.Conn{half, worked} {
		if a, _ := answer(t, hl7v2.NewReader(c, 0, nil)); a.Code != "AA" {
			t.Errorf("a frame in progress was lost: %+v", a)
		}
	}
	eventually(t, func() bool { return s.Stats().Evicted == 2 && s.Stats().Connections == 4 })
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("%d warnings in one minute", n)
	}
}

// TestServerManyIdle: the same with real numbers.
func TestServerManyIdle(t *testing.T) {
	s, addr, _ := serve(t, &door{})
	for range 200 {
		dial(t, addr)
	}
	eventually(t, func() bool { return s.Stats().Idle == 200 })
	if got := codesOf(say(t, addr, frame(mdm().bytes()), 1)); !slices.Equal(got, []string{"AA M0001"}) {
		t.Error(got)
	}
}

func TestServerMemory(t *testing.T) {
	_, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) { s.Limits.MaxMemory = 64 << 10 })
	large := mdm().field("OBX", 5, "^TEXT^XML^Base64^"+strings.Repeat("A", 200_000))
	got := say(t, addr, append(frame(large.bytes()), frame(mdm().bytes())...), 2)
	if !slices.Equal(codesOf(got), []string{"AR M0001 207", "AA M0001"}) || got[0].Errors[0].Diagnostic != hl7v2.FaultBusy {
		t.Error(got)
	}
}

func TestServerTrace(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	_, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) {
		s.Trace = func(step gateway.Step, id string) {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, string(step)+" "+id)
		}
	})
	say(t, addr, append(frame(mdm().bytes()), frame(mdm().bytes())...), 2)
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(steps, []string{"ack-sent S-M0001", "ack-sent S-M0001"})
	})
}

// TestServerShutdown: the message in hand is answered, the one that comes after
// is told to come again, and an idle connection is closed.
func TestServerShutdown(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	d := &door{hold: func(gateway.Inbound) { close(inside); <-release }}
	s, addr, _ := serve(t, d)
	idle, busy, late := dial(t, addr), dial(t, addr), dial(t, addr)
	eventually(t, func() bool { return s.Stats().Connections == 3 })
	whole := frame(mdm().bytes())
	mustWrite(t, late, whole[:50])
	mustWrite(t, busy, append(slices.Clone(whole), whole...))
	<-inside

	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	if rest, err := io.ReadAll(idle); len(rest) > 0 || err != nil {
		t.Errorf("idle: %q %v", rest, err)
	}
	mustWrite(t, late, whole[50:])
	a, _ := answer(t, hl7v2.NewReader(late, 0, nil))
	if a.Code != "AR" || a.Errors[0].Diagnostic != hl7v2.FaultShuttingDown {
		t.Errorf("late: %+v", a)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening")
	}
	close(release)
	r := hl7v2.NewReader(busy, 0, nil)
	first, _ := answer(t, r)
	second, _ := answer(t, r)
	if first.Code != "AA" || second.Code != "AR" {
		t.Errorf("busy: %s then %s", first.Code, second.Code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if d.count() != 1 {
		t.Error(d.count(), "messages accepted")
	}
}

// TestServerShutdownHalfFrame: a frame of which half was sent held Shutdown for
// its whole grace period (found by the review of issue 2).
func TestServerShutdownHalfFrame(t *testing.T) {
	d := &door{}
	s, addr, _ := serve(t, d, func(s *hl7v2.Server) { s.Limits.Drain = 20 * time.Millisecond })
	whole := frame(mdm().bytes())
	half, between := dial(t, addr), dial(t, addr)
	mustWrite(t, half, whole[:50])
	mustWrite(t, between, slices.Concat(whole, whole[:50])) // the second half never comes
	r := hl7v2.NewReader(between, 0, nil)
	if a, _ := answer(t, r); a.Code != "AA" {
		t.Fatalf("%+v", a)
	}
	eventually(t, func() bool { return s.Stats().Connections == 2 && s.Stats().Idle == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error("held by a half-sent frame:", err)
	}
	for _, c := range []io.Reader{half, between} {
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("half a frame was answered: %q", rest)
		}
	}
	if st := s.Stats(); d.count() != 1 || st.Frames != 1 || st.Truncated != 2 {
		t.Errorf("%d accepted, %+v", d.count(), st)
	}
}

// TestServerHandshake: a TLS port waited for a handshake as long as for a frame
// (found by the review of issue 2).
func TestServerHandshake(t *testing.T) {
	certificate, pool := selfSigned(t)
	start := func(t *testing.T, handshake time.Duration) (*hl7v2.Server, string) {
		s, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) {
			s.Ports[0].TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
			s.Limits.Handshake, s.Limits.Idle = handshake, time.Hour
		})
		return s, addr
	}
	t.Run("fail/never begun", func(t *testing.T) {
		s, addr := start(t, 20*time.Millisecond)
		if rest, _ := io.ReadAll(dial(t, addr)); len(rest) > 0 {
			t.Errorf("%q", rest)
		}
		eventually(t, func() bool { return s.Stats().Connections == 0 })
	})
	t.Run("fail/never begun, at shutdown", func(t *testing.T) {
		s, addr := start(t, time.Hour)
		dial(t, addr)
		eventually(t, func() bool { return s.Stats().Connections == 1 })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("ok/idle for longer than a handshake may take", func(t *testing.T) {
		_, addr := start(t, time.Second)
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := hl7v2.NewReader(c, 0, nil)
		time.Sleep(1200 * time.Millisecond)
		mustWrite(t, c, frame(mdm().bytes()))
		if a, _ := answer(t, r); a.Code != "AA" {
			t.Fatalf("%+v", a)
		}
	})
}

func TestServerShutdownBreaksOff(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	s, addr, _ := serve(t, &door{hold: func(gateway.Inbound) { close(inside); <-release }})
	c := dial(t, addr)
	mustWrite(t, c, frame(mdm().bytes()))
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("%q", rest)
	}
	close(release)
}

func TestServerNeedsItsParts(t *testing.T) {
	if err := (&hl7v2.Server{}).Serve(context.Background()); err == nil {
		t.Error("a server without anything serves")
	}
}

func TestServerPorts(t *testing.T) {
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var ports []string
	_, addr, _ := serve(t, &door{}, func(s *hl7v2.Server) {
		s.Ports = append(s.Ports, hl7v2.Port{Name: "old", Listener: second, Options: hl7v2.Options{Profiles: []string{"2.0^CISIS_CDA_HL7_V2"}}})
		s.Route = func(port string, _ gateway.Party) (gateway.Establishment, bool) {
			mu.Lock()
			defer mu.Unlock()
			ports = append(ports, port)
			return gateway.Establishment{}, true
		}
	})
	older := frame(mdm().field("MSH", 21, "2.0^CISIS_CDA_HL7_V2").bytes())
	if got := codesOf(say(t, addr, older, 1)); !slices.Equal(got, []string{"AE M0001 199"}) {
		t.Error(got)
	}
	if got := codesOf(say(t, second.Addr().String(), older, 1)); !slices.Equal(got, []string{"AA M0001"}) {
		t.Error(got)
	}
	// The port that refuses asks too: the refusal belongs to an establishment.
	if !slices.Equal(ports, []string{"main", "old"}) {
		t.Error(ports)
	}
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("did not happen")
}
