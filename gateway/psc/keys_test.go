package psc_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/gateway/psc/psctest"
	"github.com/passerelle-sante/passerelle/testdata"
)

func TestMemoryStore(t *testing.T) {
	psctest.Run(t, func(*testing.T) psc.Store { return psc.NewMemoryStore(100) })
	t.Run("fail/full", func(t *testing.T) {
		s := psc.NewMemoryStore(1)
		ctx := context.Background()
		if first, err := s.Add(ctx, psc.Record{Kind: "a", Key: "1"}); err != nil || !first {
			t.Fatal(first, err)
		}
		_, err := s.Add(ctx, psc.Record{Kind: "a", Key: "2"})
		if fault.From(err).Code != psc.FaultFull {
			t.Fatalf("%v", err)
		}
		if first, err := s.Add(ctx, psc.Record{Kind: "a", Key: "1"}); err != nil || first {
			t.Fatalf("what is there already: %v, %v", first, err)
		}
	})
}

func clock() time.Time { return noon }

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "keys.json")
	const openers = 8
	var wg sync.WaitGroup
	ids := make(chan string, openers)
	for range openers {
		wg.Go(func() {
			k, err := psc.OpenKeys(path, clock, rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			ids <- k.Public().Keys[0].KeyID
		})
	}
	wg.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Error("two openers have two keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%d files, %v", len(left), err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var other map[string]any
	if err := json.Unmarshal(good, &other); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		mode os.FileMode
	}{
		"fail/empty":              {nil, 0o600},
		"fail/garbage":            {[]byte("garbage"), 0o600},
		"fail/cut":                {good[:len(good)/2], 0o600},
		"fail/no keys":            {[]byte(`{"version":1,"seal":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","keys":[]}`), 0o600},
		"fail/readable by others": {good, 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode != 0o600 && runtime.GOOS == "windows" {
				t.Skip("this system has no such modes")
			}
			file := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(file, c.data, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := psc.OpenKeys(file, clock, rand.Reader)
			if err == nil || fault.From(err).Code != psc.FaultKeyFile {
				t.Fatalf("%v", err)
			}
			if after, _ := os.ReadFile(file); string(after) != string(c.data) {
				t.Error("the file was written over")
			}
		})
	}
	t.Run("fail/no chance", func(t *testing.T) {
		if _, err := psc.OpenKeys(filepath.Join(t.TempDir(), "k"), clock, brokenRand{}); err == nil {
			t.Fatal("keys out of nothing")
		}
	})
}

type brokenRand struct{}

func (brokenRand) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// What is stored tells neither who is logged in nor any token, and cannot be
// moved from one key to another.
func TestSealed(t *testing.T) {
	w := build(t, options{})
	first, second := w.token(doctor.NationalID), w.token(testdata.PersonaByID(testdata.PersonaNurse).NationalID)
	w.enter(w.browser(), doctor.NationalID)
	records := w.store.added()
	kinds := map[string][]psc.Record{}
	for _, r := range records {
		kinds[r.Kind] = append(kinds[r.Kind], r)
		for _, tell := range []string{doctor.NationalID, doctor.Family, "dmp-bearer", first, second} {
			if strings.Contains(string(r.Value), tell) || strings.Contains(r.Key, tell) {
				t.Errorf("record %s tells %q", r.Kind, tell)
			}
		}
	}
	if len(kinds["token"]) != 2 || len(kinds["session"]) != 1 || len(kinds["subject"]) != 2 {
		t.Fatalf("records: %d token, %d session, %d subject", len(kinds["token"]), len(kinds["session"]), len(kinds["subject"]))
	}
	moved := kinds["token"][0]
	moved.Value = kinds["token"][1].Value
	if there, err := w.store.Update(context.Background(), moved); err != nil || !there {
		t.Fatal(there, err)
	}
	if a := w.bearer(w.http(software), first); a.code() != psc.FaultRevoked {
		t.Errorf("a record passes for another: %d %s", a.status, a.body)
	}
}

// spyStore remembers what was written.
type spyStore struct {
	*psc.MemoryStore
	mu  sync.Mutex
	all []psc.Record
}

func (s *spyStore) added() []psc.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]psc.Record{}, s.all...)
}

func (s *spyStore) Add(ctx context.Context, r psc.Record) (bool, error) {
	s.mu.Lock()
	s.all = append(s.all, r)
	s.mu.Unlock()
	return s.MemoryStore.Add(ctx, r)
}
