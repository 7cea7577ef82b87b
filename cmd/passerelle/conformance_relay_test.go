//go:build !nosandbox

package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
)

// relay stands between two systems and breaks one thing of what passes. With
// nothing set it passes everything on, byte for byte.
type relay struct {
	t  *testing.T
	up string // host and port behind it

	mu      sync.Mutex
	request func([]byte) []byte // nil passes it on; its nil result: not passed on
	answer  func(request, a []byte) []byte
}

// with sets what is broken from now on.
func (r *relay) with(request func([]byte) []byte, answer func(q, a []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.request, r.answer = request, answer
}

func (r *relay) broken() (func([]byte) []byte, func(q, a []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.request, r.answer
}

// mllpRelay listens before an MLLP server.
func mllpRelay(t *testing.T, up string) (*relay, string) {
	r := &relay{t: t, up: up}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				defer conn.Close()
				r.talk(ctx, conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
	})
	return r, l.Addr().String()
}

func (r *relay) talk(ctx context.Context, conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		q, err := unframed(in)
		if err != nil {
			return
		}
		request, answer := r.broken()
		pass := q
		if request != nil {
			pass = request(q)
		}
		// What is lost is acknowledged all the same: the sender does not know.
		a := []byte("MSH|^~\\&|||||20260105093000||ACK|PERDU|T|2.6\rMSA|AA|" + field(q, "MSH", 10) + "\r")
		if pass != nil {
			out, cancel := context.WithTimeout(ctx, 30*time.Second)
			a, err = sim.SendMLLP(out, r.up, pass)
			cancel()
			if err != nil {
				return
			}
		}
		if answer != nil {
			a = answer(q, a)
		}
		if _, err := conn.Write(frame(a)); err != nil {
			return
		}
	}
}

func unframed(r *bufio.Reader) ([]byte, error) {
	raw, err := r.ReadBytes(0x1c)
	if err != nil {
		return nil, err
	}
	if _, err := r.ReadByte(); err != nil {
		return nil, err
	}
	return bytes.TrimPrefix(raw[:len(raw)-1], []byte{0x0b}), nil
}

// withoutHeader drops one header of every letter, folded lines included.
func withoutHeader(name string) func([]byte) []byte {
	return func(raw []byte) []byte {
		head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
		if !ok {
			return raw
		}
		var kept []string
		skip := false
		for line := range strings.SplitSeq(string(head), "\r\n") {
			if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				skip = strings.HasPrefix(strings.ToLower(line), strings.ToLower(name)+":")
			}
			if !skip {
				kept = append(kept, line)
			}
		}
		return append([]byte(strings.Join(kept, "\r\n")+"\r\n\r\n"), body...)
	}
}

// edited changes one segment of an HL7 message.
func edited(message []byte, segment string, change func(fields []string)) []byte {
	lines := strings.Split(string(message), "\r")
	for i, line := range lines {
		if fields := strings.Split(line, "|"); fields[0] == segment {
			change(fields)
			lines[i] = strings.Join(fields, "|")
		}
	}
	return []byte(strings.Join(lines, "\r"))
}
