package hl7v2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Port is one listening socket and its settings.
type Port struct {
	Name     string // passed to Route
	Listener net.Listener
	TLS      *tls.Config // nil: in clear
	Options  Options     // Sender is set by the server
}

// Limits bound what senders can cost. A zero field has its default.
type Limits struct {
	MaxFrame    int           // bytes of one frame: 24 MiB
	MaxMemory   int64         // bytes of all frames being received or worked on: 256 MiB
	Connections int           // at once, all ports together: 200
	Idle        time.Duration // without a frame: 1 h
	Frame       time.Duration // to receive one frame: 2 min
	Write       time.Duration // to take one answer: 30 s
	Handshake   time.Duration // of TLS: 10 s
	Drain       time.Duration // to receive the rest of a frame once Shutdown began: 1 s
}

func (l Limits) withDefaults() Limits {
	if l.MaxFrame <= 0 {
		l.MaxFrame = DefaultMaxFrame
	}
	if l.MaxMemory <= 0 {
		l.MaxMemory = 256 << 20
	}
	if l.Connections <= 0 {
		l.Connections = 200
	}
	if l.Idle <= 0 {
		l.Idle = time.Hour
	}
	if l.Frame <= 0 {
		l.Frame = 2 * time.Minute
	}
	if l.Write <= 0 {
		l.Write = 30 * time.Second
	}
	if l.Handshake <= 0 {
		l.Handshake = 10 * time.Second
	}
	if l.Drain <= 0 {
		l.Drain = time.Second
	}
	return l
}

// Server is the MLLP door. Its fields are set before Serve and not changed
// after; all but Trace are required.
type Server struct {
	Ports  []Port
	Door   gateway.Door
	Route  func(port string, from gateway.Party) (gateway.Establishment, bool)
	Limits Limits
	Clock  func() time.Time
	Rand   io.Reader
	Logger *slog.Logger
	Trace  gateway.Trace

	once     sync.Once
	mu       sync.Mutex
	conns    map[*conn]struct{}
	leaving  int          // of conns: closed to make room, not gone yet
	waits    atomic.Int64 // counts the waits for a frame: their order
	warned   time.Time    // of a full house, last
	draining bool
	work     sync.WaitGroup
	drawing  sync.Mutex // of Rand, which need not be safe for several goroutines
	drawn    int64
	budget   Budget
	stats    counters
	cancel   context.CancelFunc
}

type counters struct {
	frames, truncated, abandoned, noise, refusedFrames, panics, evicted, turnedAway, unanswered atomic.Int64
}

// Stats are counted since the start.
type Stats struct {
	Connections   int   // open now
	Idle          int   // of these, between two frames
	Frames        int64 // complete frames received
	Truncated     int64 // connections that ended inside a frame: nothing accepted
	Abandoned     int64 // frames cut by a new start block: nothing accepted
	Noise         int64 // bytes outside frames
	RefusedFrames int64 // too large, or no memory for them
	Panics        int64
	Evicted       int64 // idle connections closed because the limit was reached
	TurnedAway    int64 // connections above the limit while none was idle
	Unanswered    int64 // answers that could not be written
}

// Stats gives the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open, waiting := len(s.conns), 0
	for k := range s.conns {
		if _, idle := k.idleSince(); idle {
			waiting++
		}
	}
	s.mu.Unlock()
	c := &s.stats
	return Stats{Connections: open, Idle: waiting, Frames: c.frames.Load(), Truncated: c.truncated.Load(),
		Abandoned: c.abandoned.Load(), Noise: c.noise.Load(), RefusedFrames: c.refusedFrames.Load(),
		Panics: c.panics.Load(), Evicted: c.evicted.Load(), TurnedAway: c.turnedAway.Load(), Unanswered: c.unanswered.Load()}
}

// Serve accepts connections on all ports until Shutdown, Close or the end of
// ctx, which breaks connections off. It returns nil after Shutdown.
func (s *Server) Serve(ctx context.Context) error {
	if s.Door == nil || s.Route == nil || s.Clock == nil || s.Rand == nil || s.Logger == nil || len(s.Ports) == 0 {
		return errors.New("hl7v2: server needs Ports, Door, Route, Clock, Rand and Logger")
	}
	s.Limits = s.Limits.withDefaults()
	s.budget.Max = s.Limits.MaxMemory
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.conns, s.cancel = map[*conn]struct{}{}, cancel
	drained := s.draining
	s.mu.Unlock()
	if drained {
		s.closeListeners()
	}
	stop := context.AfterFunc(ctx, s.breakOff)
	defer stop()
	failed := make(chan error, len(s.Ports))
	for _, p := range s.Ports {
		if p.TLS != nil {
			p.Listener = tls.NewListener(p.Listener, p.TLS)
		}
		go func() { failed <- s.accept(ctx, p) }()
	}
	var err error
	for range s.Ports {
		if e := <-failed; e != nil && err == nil {
			err = e
			cancel()
		}
	}
	s.work.Wait()
	return err
}

func (s *Server) accept(ctx context.Context, p Port) error {
	pause := 5 * time.Millisecond
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			s.mu.Lock()
			ended := s.draining
			s.mu.Unlock()
			if ended || ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("hl7v2: port %s: %w", p.Name, err)
			}
			// Too many open files, most often: it passes.
			s.Logger.Error("mllp: accept", "port", p.Name, "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		k := &conn{Conn: c, server: s, port: p}
		if !s.admit(k) {
			c.Close()
			continue
		}
		go func() {
			defer s.work.Done()
			defer s.dismiss(k)
			k.serve(ctx)
		}()
	}
}

// admit takes a connection in. When there are too many, the one that has been
// between two frames for longest makes room: its sender opens another when it
// has something to say, but one that is turned away now has.
func (s *Server) admit(k *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	if len(s.conns)-s.leaving >= s.Limits.Connections {
		room := s.evict()
		if !room {
			s.stats.turnedAway.Add(1)
		}
		s.warnFull(k, room)
		if !room {
			return false
		}
	}
	k.idle, k.since = true, s.waits.Add(1)
	s.conns[k] = struct{}{}
	s.work.Add(1)
	return true
}

// evict ends the connection that has been idle for longest, if there is one. A
// frame that begins at this very moment is still received and answered.
func (s *Server) evict() bool {
	var oldest *conn
	var since int64
	for k := range s.conns {
		if n, idle := k.idleSince(); idle && (oldest == nil || n < since) {
			oldest, since = k, n
		}
	}
	if oldest == nil || !oldest.leave() {
		return false
	}
	s.leaving++
	oldest.evicted = true
	s.stats.evicted.Add(1)
	return true
}

// warnFull says at most once a minute that the limit is reached: somebody who
// opens connections in a loop must not fill the log.
func (s *Server) warnFull(k *conn, room bool) {
	now := s.Clock()
	if !s.warned.IsZero() && now.Sub(s.warned) < time.Minute {
		return
	}
	s.warned = now
	s.Logger.Warn("mllp: too many connections", "port", k.port.Name, "remote", k.RemoteAddr().String(), "limit", s.Limits.Connections,
		"taken", room, "closed_idle", s.stats.evicted.Load(), "turned_away", s.stats.turnedAway.Load())
}

func (s *Server) dismiss(k *conn) {
	k.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, k)
	if k.evicted {
		s.leaving--
	}
}

// Shutdown stops accepting, answers the frames in hand, and waits. A frame
// that is complete only after this moment is answered AR; one that is still not
// complete after Limits.Drain ends its connection unanswered, since nothing of
// it was accepted. A connection between two frames is closed. When ctx ends
// first, connections are broken off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	open := make([]*conn, 0, len(s.conns))
	for k := range s.conns {
		open = append(open, k)
	}
	cancel := s.cancel
	s.mu.Unlock()
	s.closeListeners()
	for _, k := range open {
		k.drain()
	}
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if cancel != nil {
			cancel()
		}
		return ctx.Err()
	}
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) closeListeners() {
	s.once.Do(func() {
		for _, p := range s.Ports {
			p.Listener.Close()
		}
	})
}

func (s *Server) breakOff() {
	s.closeListeners()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.conns {
		k.Close()
	}
}

// conn is one connection. Frames are worked on one after the other, so that
// answers come in the order of the messages.
type conn struct {
	net.Conn
	server  *Server
	port    Port
	evicted bool // under the server's mutex

	mu    sync.Mutex
	idle  bool  // between two frames, or in the TLS handshake
	since int64 // if idle: smaller is longer
	ended bool  // no more waiting for frames
}

// timeLimit is the moment at which d will have passed. Socket deadlines are
// physical time, whatever clock the gateway was given.
func timeLimit(d time.Duration) time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	t, _ := ctx.Deadline()
	return t
}

var past = time.Unix(1, 0)

// drain ends the connection after the frame in hand. A deadline set while a
// frame is worked on concerns nothing: await or begun sets the next one.
func (k *conn) drain() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	if k.idle {
		_ = k.SetReadDeadline(past)
	} else {
		_ = k.SetReadDeadline(timeLimit(k.server.Limits.Drain))
	}
}

// idleSince orders the connections that wait for a frame.
func (k *conn) idleSince() (since int64, idle bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.since, k.idle && !k.ended
}

// leave is drain for a connection that is idle; false when it is not, or no more.
func (k *conn) leave() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.idle || k.ended {
		return false
	}
	k.ended = true
	_ = k.SetReadDeadline(past)
	return true
}

// await opens the wait for a frame; false when there will be none.
func (k *conn) await(buffered bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended && !buffered {
		return false
	}
	k.idle, k.since = !buffered, k.server.waits.Add(1)
	k.patience(k.server.Limits.Idle)
	return true
}

func (k *conn) begun() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = false
	k.patience(k.server.Limits.Frame)
}

// patience sets how long the next reads may take.
func (k *conn) patience(d time.Duration) {
	if k.ended {
		d = k.server.Limits.Drain
	}
	_ = k.SetReadDeadline(timeLimit(d))
}

// handshake does that of TLS before anything is waited for: whoever does not
// begin it must not have the patience that an idle sender has.
func (k *conn) handshake(ctx context.Context) error {
	c, ok := k.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	k.mu.Lock()
	k.idle, k.since = true, k.server.waits.Add(1)
	_ = k.SetWriteDeadline(timeLimit(k.server.Limits.Handshake))
	if k.ended {
		_ = k.SetReadDeadline(past)
	} else {
		_ = k.SetReadDeadline(timeLimit(k.server.Limits.Handshake))
	}
	k.mu.Unlock()
	return c.HandshakeContext(ctx)
}

func (k *conn) serve(ctx context.Context) {
	s := k.server
	log := s.Logger.With("port", k.port.Name, "remote", k.RemoteAddr().String())
	if err := k.handshake(ctx); err != nil {
		if _, waiting := k.idleSince(); waiting && !errors.Is(err, io.EOF) { // a probe of the port says nothing
			log.Warn("mllp: TLS handshake failed", "error", err)
		}
		return
	}
	r := NewReader(k, s.Limits.MaxFrame, &s.budget)
	r.Begun = k.begun
	defer func() {
		s.stats.noise.Add(r.Noise)
		s.stats.abandoned.Add(r.Abandoned)
		if r.Noise+r.Abandoned > 0 {
			log.Warn("mllp: bytes outside frames", "noise", r.Noise, "abandoned", r.Abandoned)
		}
	}()
	for k.await(r.Buffered()) {
		f, err := r.Next()
		switch {
		case err == nil:
		case errors.Is(err, ErrTruncated):
			s.stats.truncated.Add(1)
			log.Warn("mllp: frame cut, nothing accepted")
			return
		case errors.Is(err, io.EOF):
			return
		default:
			k.mu.Lock()
			waiting := k.idle
			k.mu.Unlock()
			if waiting && isTimeout(err) {
				return // idle for too long, or draining
			}
			if !waiting {
				s.stats.truncated.Add(1)
			}
			log.Warn("mllp: connection given up", "error", err)
			return
		}
		s.stats.frames.Add(1)
		if !k.answer(ctx, log, f) {
			return
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// answer works on one frame and writes its answer; false ends the connection.
func (k *conn) answer(ctx context.Context, log *slog.Logger, f *Frame) bool {
	s := k.server
	defer f.Release()
	receipt, submission, sound := s.handle(ctx, log, k.port, f)
	_ = k.SetWriteDeadline(timeLimit(s.Limits.Write))
	if err := WriteFrame(k, receipt); err != nil {
		// The sender will send again, and gets the stored answer then.
		s.stats.unanswered.Add(1)
		log.Warn("mllp: answer not taken", "submission", submission, "error", err)
		return false
	}
	if s.Trace != nil && submission != "" {
		s.Trace(gateway.StepAcked, submission)
	}
	return sound
}

// handle makes the answer to one frame. A panic costs this connection only.
func (s *Server) handle(ctx context.Context, log *slog.Logger, port Port, f *Frame) (receipt []byte, submission string, sound bool) {
	var h Header
	stamp := s.stamp()
	local := func(code string) []byte {
		return Acknowledge(h, gateway.Decision{Outcome: gateway.Unavailable,
			Faults: []*fault.Fault{fault.New(code)}}, stamp)
	}
	defer func() {
		if p := recover(); p != nil {
			s.stats.panics.Add(1)
			// The value of a panic may hold message content: only where, not what.
			log.Error("mllp: panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			receipt, submission, sound = local(FaultCrashed), "", false
		}
	}()
	opt := port.Options
	opt.Sender = func(from gateway.Party) (gateway.Establishment, bool) { return s.Route(port.Name, from) }
	h = ReadHeader(f.Bytes, opt.DefaultCharset)
	if s.isDraining() {
		return local(FaultShuttingDown), "", true
	}
	var in gateway.Inbound
	switch {
	case f.Refused == nil:
		in, h = Read(f.Bytes, opt)
	case f.Refused.Code == FaultBusy:
		s.stats.refusedFrames.Add(1)
		return local(FaultBusy), "", true
	default:
		s.stats.refusedFrames.Add(1)
		in = gateway.Inbound{Door: "hl7", Raw: f.Bytes, From: h.From, Message: h.Message, Refusals: []error{f.Refused}}
		if e, ok := opt.Sender(h.From); ok && h.Standard {
			in.Establishment = e
		}
	}
	d := s.Door.Accept(ctx, in, func(d gateway.Decision) []byte { return Acknowledge(h, d, stamp) })
	if len(d.Receipt) == 0 {
		return local(FaultCrashed), d.Submission, false
	}
	return d.Receipt, d.Submission, true
}

func (s *Server) stamp() Stamp {
	now := s.Clock()
	s.drawing.Lock()
	defer s.drawing.Unlock()
	id, err := NewControlID(s.Rand)
	if err != nil {
		s.drawn++
		id = fallbackID(now, s.drawn)
	}
	return Stamp{Time: now, ControlID: id}
}
