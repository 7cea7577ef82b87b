// Package psctest is the contract of a psc.Store, as tests.
//
// A store proves with [Run] that among concurrent calls exactly one is first,
// that what was deleted stays deleted, and that it gives back the bytes it was
// given. It says nothing of crashes: a durable store proves those itself.
package psctest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Run judges a store; open gives an empty one for each case.
func Run(t *testing.T, open func(t *testing.T) psc.Store) {
	ctx := context.Background()
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	record := func(key, value string) psc.Record {
		return psc.Record{Kind: "session", Key: key, Value: []byte(value), Expires: noon}
	}
	add := func(t *testing.T, s psc.Store, r psc.Record, want bool) {
		t.Helper()
		if got, err := s.Add(ctx, r); err != nil || got != want {
			t.Fatalf("Add gives %v, %v; want %v", got, err, want)
		}
	}
	get := func(t *testing.T, s psc.Store, kind, key, want string) {
		t.Helper()
		r, err := s.Get(ctx, kind, key)
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Value) != want || r.Kind != kind || r.Key != key || !r.Expires.Equal(noon) {
			t.Fatalf("Get gives another record: %s %s, %d bytes, %v", r.Kind, r.Key, len(r.Value), r.Expires)
		}
	}
	gone := func(t *testing.T, s psc.Store, kind, key string) {
		t.Helper()
		if _, err := s.Get(ctx, kind, key); !errors.Is(err, psc.ErrNoRecord) {
			t.Fatalf("Get says %v, want ErrNoRecord", err)
		}
	}

	t.Run("ok/added is found", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one\x00\xff"), true)
		get(t, s, "session", "a", "one\x00\xff")
	})
	t.Run("ok/empty value", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", ""), true)
		get(t, s, "session", "a", "")
	})
	t.Run("ok/largest value", func(t *testing.T) {
		s := open(t)
		large := string(bytes.Repeat([]byte{7}, 256<<10))
		add(t, s, record("a", large), true)
		get(t, s, "session", "a", large)
	})
	t.Run("fail/added twice", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one"), true)
		add(t, s, record("a", "two"), false)
		get(t, s, "session", "a", "one")
	})
	t.Run("ok/kinds are apart", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one"), true)
		other := record("a", "two")
		other.Kind = "token"
		add(t, s, other, true)
		get(t, s, "session", "a", "one")
		get(t, s, "token", "a", "two")
		if there, err := s.Delete(ctx, "token", "a"); err != nil || !there {
			t.Fatal(there, err)
		}
		get(t, s, "session", "a", "one")
	})
	t.Run("fail/unknown", func(t *testing.T) {
		s := open(t)
		gone(t, s, "session", "a")
		if there, err := s.Delete(ctx, "session", "a"); err != nil || there {
			t.Fatalf("Delete of nothing: %v, %v", there, err)
		}
	})
	t.Run("ok/updated", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one"), true)
		if there, err := s.Update(ctx, record("a", "two")); err != nil || !there {
			t.Fatal(there, err)
		}
		get(t, s, "session", "a", "two")
	})
	t.Run("fail/updated after it was deleted", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one"), true)
		if there, err := s.Delete(ctx, "session", "a"); err != nil || !there {
			t.Fatal(there, err)
		}
		if there, err := s.Update(ctx, record("a", "two")); err != nil || there {
			t.Fatalf("Update brought it back: %v, %v", there, err)
		}
		gone(t, s, "session", "a")
	})
	t.Run("ok/its bytes are its own", func(t *testing.T) {
		s := open(t)
		r := record("a", "one")
		add(t, s, r, true)
		r.Value[0] = 'x'
		get(t, s, "session", "a", "one")
		got, err := s.Get(ctx, "session", "a")
		if err != nil {
			t.Fatal(err)
		}
		got.Value[0] = 'x'
		get(t, s, "session", "a", "one")
	})
	t.Run("ok/swept when past", func(t *testing.T) {
		s := open(t)
		add(t, s, record("a", "one"), true)
		later := record("b", "two")
		later.Expires = noon.Add(time.Hour)
		add(t, s, later, true)
		if n, err := s.Sweep(ctx, noon); err != nil || n != 0 {
			t.Fatalf("swept %d, %v at the very moment", n, err)
		}
		if n, err := s.Sweep(ctx, noon.Add(time.Second)); err != nil || n != 1 {
			t.Fatalf("swept %d, %v; want 1", n, err)
		}
		gone(t, s, "session", "a")
		if _, err := s.Get(ctx, "session", "b"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ok/one is first", func(t *testing.T) {
		s := open(t)
		const callers = 20
		var wg sync.WaitGroup
		firsts := make(chan bool, callers)
		for range callers {
			wg.Go(func() {
				first, err := s.Add(ctx, record("a", "one"))
				if err != nil {
					t.Error(err)
				}
				firsts <- first
			})
		}
		wg.Wait()
		close(firsts)
		n := 0
		for first := range firsts {
			if first {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d callers were first", n)
		}
	})
}
