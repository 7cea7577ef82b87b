package blob_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/blob"
	"github.com/passerelle-sante/passerelle/dmp/blob/blobtest"
)

func TestContract(t *testing.T) {
	blobtest.Test(t, func(t *testing.T, clock *blobtest.Clock) blobtest.Store {
		f, err := blob.Open(blob.Config{Dir: filepath.Join(t.TempDir(), "not", "there"), Clock: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

func TestOpenRefuses(t *testing.T) {
	clock := blobtest.NewClock()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  blob.Config
		code string
	}{
		{"fail/no-folder", blob.Config{Clock: clock.Now}, ""},
		{"fail/no-clock", blob.Config{Dir: t.TempDir()}, ""},
		{"fail/a-file-is-in-the-way", blob.Config{Dir: file, Clock: clock.Now}, blob.FaultStorage},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := blob.Open(c.cfg)
			if err == nil || blobtest.Code(err) != c.code {
				t.Fatalf("got %v, want %q", err, c.code)
			}
		})
	}
}

func TestReserve(t *testing.T) {
	dir, clock := t.TempDir(), blobtest.NewClock()
	f, err := blob.Open(blob.Config{Dir: dir, Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := f.Put(t.Context(), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	f, err = blob.Open(blob.Config{Dir: dir, Clock: clock.Now, Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(t.Context(), []byte("b")); blobtest.Code(err) != blob.FaultDiskFull {
		t.Fatalf("got %v, want %s", err, blob.FaultDiskFull)
	}
	if _, err := f.Put(t.Context(), []byte("a")); err != nil {
		t.Fatalf("what is kept already costs no room: %v", err)
	}
	if _, err := f.Get(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(path string) error
	}{
		{"one-byte", func(p string) error { return os.WriteFile(p, []byte("Xhole"), 0o600) }},
		{"cut", func(p string) error { return os.Truncate(p, 2) }},
		{"emptied", func(p string) error { return os.Truncate(p, 0) }},
		{"longer", func(p string) error { return os.WriteFile(p, []byte("whole and more"), 0o600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := blob.Open(blob.Config{Dir: dir, Clock: blobtest.NewClock().Now})
			if err != nil {
				t.Fatal(err)
			}
			digest, err := f.Put(t.Context(), []byte("whole"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(filepath.Join(dir, digest[:2], digest)); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Get(t.Context(), digest); blobtest.Code(err) != blob.FaultDamaged || got != nil {
				t.Fatalf("got %q, %v, want %s", got, err, blob.FaultDamaged)
			}
			if _, err := f.Put(t.Context(), []byte("whole")); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Get(t.Context(), digest); err != nil || string(got) != "whole" {
				t.Fatalf("a Put must mend what rotted: %q, %v", got, err)
			}
		})
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	cfg := blob.Config{Dir: dir, Clock: blobtest.NewClock().Now}
	if _, err := blob.Open(cfg); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "00", ".DS_Store")
	left := filepath.Join(dir, "tmp", "half.1")
	for _, name := range []string{foreign, left} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := blob.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Walk(t.Context(), func(i blob.Info) error { t.Errorf("walked over %s", i.Digest); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is not ours is gone: %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left half-written is still there: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"4KiB", 4 << 10}, {"256KiB", 256 << 10}, {"4MiB", 4 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			f, err := blob.Open(blob.Config{Dir: b.TempDir(), Clock: blobtest.NewClock().Now})
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, c.size)
			b.SetBytes(int64(c.size))
			for i := 0; b.Loop(); i++ {
				data[0], data[1], data[2], data[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
				if _, err := f.Put(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
