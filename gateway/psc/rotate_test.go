package psc_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Another process rotates the keys of a server that runs: it follows, and what
// it issued before stays good for a day.
func TestRotationByAnotherProcess(t *testing.T) {
	w := build(t, options{})
	before := w.token(doctor.NationalID)
	command, err := psc.OpenKeys(w.keyFile, w.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old := command.List()[0].ID
	if err := command.Rotate(); err != nil {
		t.Fatal(err)
	}
	list := command.List()
	if len(list) != 2 || list[0].ID == old || list[1].ID != old || !list[1].Until.Equal(noon.Add(24*time.Hour)) || !list[0].Retired.IsZero() {
		t.Fatalf("%+v", list)
	}
	if got := w.keys.Public().Keys; len(got) != 2 || got[0].KeyID != list[0].ID {
		t.Errorf("the server publishes %d keys", len(got))
	}
	after := w.token(doctor.NationalID)
	for name, token := range map[string]string{"before": before, "after": after} {
		if a := w.bearer(w.http(software), token); a.status != 200 {
			t.Errorf("token of %s: %d %s", name, a.status, a.code())
		}
	}
	if h := header(t, after); h["kid"] != list[0].ID {
		t.Errorf("signed by %v", h["kid"])
	}

	// A gateway that shares the file verifies what another has signed with a key
	// that it has not read yet.
	if err := command.Rotate(); err != nil {
		t.Fatal(err)
	}
	if a := w.bearer(w.http(software), w.token(doctor.NationalID)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.code())
	}
	if n := len(w.keys.Public().Keys); n != 3 {
		t.Errorf("%d keys after two rotations in a day", n)
	}
	w.advance(25 * time.Hour)
	if err := command.Rotate(); err != nil {
		t.Fatal(err)
	}
	if n := len(command.List()); n != 2 { // what was retired a day ago is gone from the file too
		t.Errorf("%d keys in the file a day later", n)
	}
}

// A file that is damaged, or of another gateway, changes nothing for who runs.
func TestReloadRefused(t *testing.T) {
	w := build(t, options{})
	good, err := os.ReadFile(w.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.json")
	if _, err := psc.OpenKeys(other, w.now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	kid := w.keys.List()[0].ID
	for name, data := range map[string][]byte{"fail/cut": good[:len(good)/2], "fail/of another gateway": foreign, "fail/empty": nil} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(w.keyFile, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if w.keys.Reload() == nil || w.keys.Rotate() == nil {
				t.Error("taken")
			}
			if got := w.keys.List(); len(got) != 1 || got[0].ID != kid {
				t.Errorf("%+v", got)
			}
			if a := w.bearer(w.http(software), w.token(doctor.NationalID)); a.status != 200 {
				t.Errorf("%d %s", a.status, a.code())
			}
		})
	}
	t.Run("fail/gone", func(t *testing.T) {
		if err := os.Remove(w.keyFile); err != nil {
			t.Fatal(err)
		}
		if w.keys.Reload() == nil {
			t.Error("taken")
		}
	})
	t.Run("ok/mended", func(t *testing.T) {
		if err := os.WriteFile(w.keyFile, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.keys.Reload(); err != nil {
			t.Error(err)
		}
	})
}

func header(t *testing.T, token string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(part(t, token, 0), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
