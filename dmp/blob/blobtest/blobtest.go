// Package blobtest is the contract of a store of bytes, as tests: an engine
// proves itself by running [Test] on what it opens.
//
// The contract: bytes come back whole or with an error, the same bytes are kept
// once, and what was put again since is not removed as old, whoever runs at the
// same time. What an engine promises after a crash it proves by tests of its
// own, because only it knows how to crash.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/blob"
)

// Store is what is tested.
type Store interface {
	Put(ctx context.Context, data []byte) (digest string, err error)
	Get(ctx context.Context, digest string) ([]byte, error)
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
	Stat(ctx context.Context, digest string) (blob.Info, error)
	Walk(ctx context.Context, fn func(blob.Info) error) error
	Remove(ctx context.Context, digest string, before time.Time) (bool, error)
}

// Clock is a clock that a test moves by hand.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts a clock at a time that any store can write.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)} }

// Now reads it.
func (c *Clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

// Add moves it.
func (c *Clock) Add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// Code is the code of an error, empty when it declares none.
func Code(err error) string {
	var c interface{ FaultCode() string }
	if errors.As(err, &c) {
		return c.FaultCode()
	}
	return ""
}

// Test runs the contract. The function opens a new, empty store that reads its
// time from the clock.
func Test(t *testing.T, open func(t *testing.T, clock *Clock) Store) {
	absent := strings.Repeat("ab", 32)

	for _, c := range []struct {
		name string
		data []byte
	}{
		{"ok/empty", nil},
		{"ok/small", []byte("lettre")},
		{"ok/binary", random(70_000)},
		{"ok/24-MiB", random(24 << 20)},
	} {
		t.Run("round-trip/"+c.name, func(t *testing.T) {
			ctx, clock := t.Context(), NewClock()
			s := open(t, clock)
			digest := put(t, s, c.data)
			sum := sha256.Sum256(c.data)
			if digest != hex.EncodeToString(sum[:]) {
				t.Fatalf("the digest is not the SHA-256: %s", digest)
			}
			got, err := s.Get(ctx, digest)
			if err != nil || !bytes.Equal(got, c.data) {
				t.Fatalf("Get: %d bytes, %v", len(got), err)
			}
			r, err := s.Open(ctx, digest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err = io.ReadAll(r); err != nil || !bytes.Equal(got, c.data) {
				t.Fatalf("Open: %d bytes, %v", len(got), err)
			}
			info, err := s.Stat(ctx, digest)
			if err != nil || info.Digest != digest || info.Size != int64(len(c.data)) || !info.Modified.Equal(clock.Now()) {
				t.Fatalf("Stat: %+v, %v", info, err)
			}
		})
	}

	t.Run("ok/the-same-bytes-are-kept-once", func(t *testing.T) {
		s := open(t, NewClock())
		first, second := put(t, s, []byte("a")), put(t, s, []byte("a"))
		if first != second || len(walk(t, s)) != 1 {
			t.Fatal("kept twice")
		}
	})

	t.Run("ok/walk-sees-everything-once-in-order", func(t *testing.T) {
		s := open(t, NewClock())
		var want []string
		for i := range 300 {
			want = append(want, put(t, s, []byte{byte(i), byte(i >> 8)}))
		}
		slices.Sort(want)
		if got := walk(t, s); !slices.Equal(got, want) {
			t.Fatalf("%d seen, want %d, or not in order", len(got), len(want))
		}
	})

	t.Run("fail/walk-stops-on-error", func(t *testing.T) {
		s := open(t, NewClock())
		put(t, s, []byte("a"))
		put(t, s, []byte("b"))
		stop, seen := errors.New("stop"), 0
		err := s.Walk(t.Context(), func(blob.Info) error { seen++; return stop })
		if err != stop || seen != 1 {
			t.Fatalf("%v after %d", err, seen)
		}
	})

	t.Run("ok/remove-old-only", func(t *testing.T) {
		ctx, clock := t.Context(), NewClock()
		s := open(t, clock)
		start := clock.Now()
		old, renewed := put(t, s, []byte("old")), put(t, s, []byte("renewed"))
		clock.Add(time.Hour)
		put(t, s, []byte("renewed"))
		limit := start.Add(time.Minute)
		for _, c := range []struct {
			digest string
			before time.Time
			want   bool
		}{{old, start, false}, {old, limit, true}, {old, limit, false}, {renewed, limit, false}, {absent, limit, false}} {
			if got, err := s.Remove(ctx, c.digest, c.before); err != nil || got != c.want {
				t.Fatalf("Remove(%.8s, %v): %v, %v", c.digest, c.before, got, err)
			}
		}
		if _, err := s.Get(ctx, old); Code(err) != blob.FaultMissing {
			t.Fatalf("removed bytes: %v", err)
		}
		if _, err := s.Get(ctx, renewed); err != nil {
			t.Fatal(err)
		}
		if put(t, s, []byte("old")) != old {
			t.Fatal("cannot be put again")
		}
	})

	t.Run("fail/absent", func(t *testing.T) {
		s := open(t, NewClock())
		_, err1 := s.Get(t.Context(), absent)
		_, err2 := s.Open(t.Context(), absent)
		_, err3 := s.Stat(t.Context(), absent)
		for _, err := range []error{err1, err2, err3} {
			if Code(err) != blob.FaultMissing {
				t.Errorf("got %v, want %s", err, blob.FaultMissing)
			}
		}
	})

	for name, digest := range map[string]string{
		"empty": "", "short": "abcd", "upper-case": strings.Repeat("AB", 32),
		"path": "../../" + strings.Repeat("a", 58), "not-hexadecimal": strings.Repeat("zz", 32), "long": absent + "00",
	} {
		t.Run("fail/not-a-digest/"+name, func(t *testing.T) {
			s := open(t, NewClock())
			_, err1 := s.Get(t.Context(), digest)
			_, err2 := s.Stat(t.Context(), digest)
			_, err3 := s.Remove(t.Context(), digest, time.Time{})
			for _, err := range []error{err1, err2, err3} {
				if Code(err) != blob.FaultDigest {
					t.Errorf("got %v, want %s", err, blob.FaultDigest)
				}
			}
		})
	}

	t.Run("fail/interrupted", func(t *testing.T) {
		s := open(t, NewClock())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err1 := s.Put(ctx, []byte("a"))
		_, err2 := s.Get(ctx, absent)
		for _, err := range []error{err1, err2} {
			if Code(err) != blob.FaultInterrupted || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %s", err, blob.FaultInterrupted)
			}
		}
		if n := len(walk(t, s)); n != 0 {
			t.Fatalf("%d kept", n)
		}
	})

	t.Run("ok/many-at-once", func(t *testing.T) {
		s := open(t, NewClock())
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					data := []byte{byte(i), byte(g % 2)}
					digest, err := s.Put(t.Context(), data)
					if err != nil {
						t.Error(err)
						continue
					}
					if got, err := s.Get(t.Context(), digest); err != nil || !bytes.Equal(got, data) {
						t.Errorf("not readable after Put: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(walk(t, s)); n != 40 {
			t.Fatalf("%d kept, want 40", n)
		}
	})

	t.Run("ok/what-was-put-again-is-not-swept", func(t *testing.T) {
		ctx, clock := t.Context(), NewClock()
		s := open(t, clock)
		data := []byte("kept, forgotten, kept again")
		for range 50 {
			digest := put(t, s, data)
			clock.Add(48 * time.Hour)
			limit := clock.Now().Add(-time.Hour)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := s.Remove(ctx, digest, limit); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := s.Put(ctx, data); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			if _, err := s.Get(ctx, digest); err != nil {
				t.Fatalf("put, and gone: %v", err)
			}
		}
	})
}

func put(t *testing.T, s Store, data []byte) string {
	t.Helper()
	digest, err := s.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func walk(t *testing.T, s Store) (digests []string) {
	t.Helper()
	err := s.Walk(t.Context(), func(i blob.Info) error { digests = append(digests, i.Digest); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
