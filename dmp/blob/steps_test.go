package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

var morning = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// fragile is a system whose steps fail on command and are written down.
type fragile struct {
	osSystem
	fail  string // the step that fails
	with  error
	steps []string

	synced []string // folders
}

func (f *fragile) step(name string) error {
	f.steps = append(f.steps, name)
	if f.fail == name {
		return f.with
	}
	return nil
}

type fragileFile struct {
	writer
	f *fragile
}

func (f *fragile) Create(name string) (writer, error) {
	if err := f.step("create"); err != nil {
		return nil, err
	}
	w, err := f.osSystem.Create(name)
	return fragileFile{w, f}, err
}

func (w fragileFile) Write(p []byte) (int, error) {
	if err := w.f.step("write"); err != nil {
		w.writer.Write(p[:len(p)/2])
		return len(p) / 2, err
	}
	if w.f.fail == "short-write" {
		return w.writer.Write(p[:len(p)/2])
	}
	return w.writer.Write(p)
}

func (w fragileFile) Sync() error {
	if err := w.f.step("sync"); err != nil {
		return err
	}
	return w.writer.Sync()
}

func (w fragileFile) Close() error {
	err := w.writer.Close()
	if e := w.f.step("close"); e != nil {
		return e
	}
	return err
}

func (f *fragile) Chtimes(name string, t time.Time) error {
	if err := f.step("chtimes"); err != nil {
		return err
	}
	return f.osSystem.Chtimes(name, t)
}

func (f *fragile) Rename(from, to string) error {
	if err := f.step("rename"); err != nil {
		return err
	}
	return f.osSystem.Rename(from, to)
}

func (f *fragile) SyncDir(name string) error {
	if err := f.step("sync-folder"); err != nil {
		return err
	}
	f.synced = append(f.synced, name)
	return f.osSystem.SyncDir(name)
}

func (f *fragile) Free(string) (int64, error) { return 1 << 40, f.step("free") }

func openFragile(t *testing.T) (*Folder, *fragile) {
	t.Helper()
	sys := &fragile{}
	f, err := open(Config{Dir: t.TempDir(), Clock: func() time.Time { return morning }, Reserve: 1}, sys)
	if err != nil {
		t.Fatal(err)
	}
	sys.steps = nil
	return f, sys
}

// files are all files under the folder, half-written ones included.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOrderOfSteps(t *testing.T) {
	f, sys := openFragile(t)
	if _, err := f.Put(t.Context(), []byte("document")); err != nil {
		t.Fatal(err)
	}
	want := []string{"free", "create", "write", "sync", "close", "chtimes", "rename", "sync-folder"}
	if !slices.Equal(sys.steps, want) {
		t.Fatalf("steps %v, want %v", sys.steps, want)
	}
	sys.steps = nil
	if _, err := f.Put(t.Context(), []byte("document")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"chtimes", "sync-folder"}; !slices.Equal(sys.steps, want) {
		t.Fatalf("steps of a second Put %v, want %v", sys.steps, want)
	}
}

func TestEveryStepMayFail(t *testing.T) {
	eio := &os.PathError{Op: "x", Path: "y", Err: syscall.EIO}
	full := &os.PathError{Op: "x", Path: "y", Err: syscall.ENOSPC}
	quota := &os.PathError{Op: "x", Path: "y", Err: syscall.EDQUOT}
	tooBig := &os.PathError{Op: "x", Path: "y", Err: syscall.EFBIG}
	for _, c := range []struct {
		step string
		with error
		code string
	}{
		{"free", eio, FaultStorage},
		{"create", full, FaultDiskFull},
		{"create", &os.PathError{Op: "x", Path: "y", Err: syscall.ENOENT}, FaultStorage},
		{"write", full, FaultDiskFull},
		{"write", quota, FaultDiskFull},
		{"write", tooBig, FaultDiskFull},
		{"write", eio, FaultStorage},
		{"short-write", nil, FaultStorage},
		{"sync", eio, FaultStorage},
		{"sync", full, FaultDiskFull},
		{"close", quota, FaultDiskFull},
		{"chtimes", eio, FaultStorage},
		{"rename", full, FaultDiskFull},
		{"rename", eio, FaultStorage},
		{"sync-folder", eio, FaultStorage},
	} {
		t.Run(fmt.Sprintf("fail/%s/%v", c.step, c.with), func(t *testing.T) {
			f, sys := openFragile(t)
			sys.fail, sys.with = c.step, c.with
			_, err := f.Put(t.Context(), []byte("document"))
			var e *Error
			if !errors.As(err, &e) || e.FaultCode() != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if left := files(t, f.dir); len(left) != 0 {
				t.Fatalf("something is left: %v", left)
			}
			sys.fail = ""
			digest, err := f.Put(t.Context(), []byte("document"))
			if err != nil {
				t.Fatalf("the next Put must work: %v", err)
			}
			if got, err := f.Get(t.Context(), digest); err != nil || string(got) != "document" {
				t.Fatalf("%q, %v", got, err)
			}
		})
	}
}

// A Put that finds the bytes must not say yes when it could not renew them: a
// sweep could take them away before they are named.
func TestRenewalMayFail(t *testing.T) {
	for _, step := range []string{"chtimes", "sync-folder"} {
		t.Run("fail/"+step, func(t *testing.T) {
			f, sys := openFragile(t)
			digest, err := f.Put(t.Context(), []byte("document"))
			if err != nil {
				t.Fatal(err)
			}
			sys.fail, sys.with = step, syscall.EIO
			if _, err := f.Put(t.Context(), []byte("document")); err == nil {
				t.Fatal("said yes")
			}
			if got, err := f.Get(t.Context(), digest); err != nil || string(got) != "document" {
				t.Fatalf("what was kept before is gone: %q, %v", got, err)
			}
		})
	}
}

func TestNewFoldersAreSynced(t *testing.T) {
	root := t.TempDir()
	sys := &fragile{}
	_, err := open(Config{Dir: filepath.Join(root, "a", "b"), Clock: func() time.Time { return morning }}, sys)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{root, filepath.Join(root, "a"), filepath.Join(root, "a", "b")}; !slices.Equal(sys.synced, want) {
		t.Fatalf("synced %v, want %v", sys.synced, want)
	}
	sys = &fragile{fail: "sync-folder", with: syscall.EIO}
	if _, err := open(Config{Dir: root, Clock: func() time.Time { return morning }}, sys); err == nil {
		t.Fatal("opened although its folder could not be synced")
	}
}
