//go:build !nosandbox

package main

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// safeLog keeps what is logged.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds a line.
func (s *safeLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeLog) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// stop closes the gateway of a route.
func (r *route) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.m.Close(ctx); err != nil {
		r.t.Error("close:", err)
	}
}
