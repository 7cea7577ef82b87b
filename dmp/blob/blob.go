// Package blob keeps bytes under their SHA-256, in a folder.
//
// # What is promised
//
// When [Folder.Put] returned nil, the bytes and their name survive a crash of
// the process and of the machine: they were written to a temporary file on the
// same file system, that file was synced, renamed, and its folder synced. At no
// moment is a name visible whose bytes are not whole. When Put failed, its
// bytes are not there, unless somebody else had put them.
//
// Content never changes under a digest, and the same bytes are kept once. Bytes
// that are there already are read again and compared before they are relied
// upon; if they rotted they are written anew. Every read is checked against the
// digest.
//
// Put renews the age of what it finds, and [Folder.Remove] looks at the age
// under the same lock: what was put again since is never removed as old.
//
// A folder belongs to one process; its owner sees to that.
//
// # Where we differ or had to choose
//
//   - 256 sub-folders are made and synced at open, so that a Put never has to
//     sync more than one folder.
//   - The age of a file is its modification time, written from the clock that
//     was handed in, so that a rehearsed clock and the sweep agree.
//   - A failed sync is never retried on the same file: the system may have
//     dropped the pages and say yes the second time. The file is removed.
//   - Below the reserve of free space nothing is put, so that what follows from
//     what was accepted can still be recorded.
//   - Where the system cannot sync a folder (Windows) the file system's own log
//     keeps the names.
package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where a folder is and how it is kept.
type Config struct {
	Dir     string           // created if absent
	Clock   func() time.Time // age of what is put; required
	Reserve int64            // bytes that must stay free on the disk after a Put
}

// Info is what is known of kept bytes without reading them.
type Info struct {
	Digest   string // SHA-256, hex
	Size     int64
	Modified time.Time // when they were last put
}

// Folder keeps bytes in a folder. It is safe for concurrent use.
type Folder struct {
	dir     string
	clock   func() time.Time
	reserve int64
	sys     system
	serial  atomic.Uint64
	shards  [256]sync.Mutex // guards what is visible in one sub-folder
}

// system is what a test can make fail, step by step.
type system interface {
	Create(name string) (writer, error)
	Chtimes(name string, t time.Time) error
	Rename(from, to string) error
	Remove(name string) error
	SyncDir(name string) error
	Free(dir string) (int64, error)
}

type writer interface {
	io.Writer
	Sync() error
	Close() error
}

// Open opens a folder and clears what a crash left half-written in it.
func Open(cfg Config) (*Folder, error) {
	return open(cfg, osSystem{})
}

func open(cfg Config, sys system) (*Folder, error) {
	if cfg.Dir == "" || cfg.Clock == nil {
		return nil, errors.New("blob: Dir and Clock are required")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, failed(err)
	}
	f := &Folder{dir: dir, clock: cfg.Clock, reserve: cfg.Reserve, sys: sys}
	if err := f.makeDirs(); err != nil {
		return nil, failed(err)
	}
	return f, nil
}

// makeDirs makes the folder and its sub-folders, empties the temporary one, and
// syncs what gained a name.
func (f *Folder) makeDirs() error {
	if err := makeDir(f.sys, f.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(f.tmp("")); err != nil {
		return err
	}
	if err := os.Mkdir(f.tmp(""), 0o700); err != nil {
		return err
	}
	for i := range f.shards {
		if err := os.Mkdir(filepath.Join(f.dir, fmt.Sprintf("%02x", i)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return f.sys.SyncDir(f.dir)
}

// MakeDir makes a folder, with its parents, whose name survives a crash.
func MakeDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = makeDir(osSystem{}, dir)
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// makeDir syncs the parent of every folder that it had to make.
func makeDir(sys system, dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(sys, parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return &os.PathError{Op: "mkdir", Path: dir, Err: errors.Join(fs.ErrExist, err)}
	}
	return sys.SyncDir(parent)
}

func (f *Folder) tmp(name string) string     { return filepath.Join(f.dir, "tmp", name) }
func (f *Folder) shard(digest string) string { return filepath.Join(f.dir, digest[:2]) }
func (f *Folder) path(digest string) string  { return filepath.Join(f.dir, digest[:2], digest) }

func (f *Folder) lock(digest string) *sync.Mutex {
	b, _ := hex.DecodeString(digest[:2])
	return &f.shards[b[0]]
}

// Put keeps data and returns its digest.
func (f *Folder) Put(ctx context.Context, data []byte) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", failed(err)
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if found, err := f.renew(digest, data); found || err != nil {
		return digest, err
	}
	if err := f.Room(int64(len(data))); err != nil {
		return "", err
	}
	tmp := f.tmp(fmt.Sprintf("%s.%d", digest, f.serial.Add(1)))
	if err := f.write(tmp, data); err != nil {
		f.sys.Remove(tmp)
		return "", failed(err)
	}
	if err := f.publish(tmp, digest, data); err != nil {
		f.sys.Remove(tmp)
		return "", failed(err)
	}
	return digest, nil
}

func (f *Folder) write(name string, data []byte) error {
	w, err := f.sys.Create(name)
	if err != nil {
		return err
	}
	n, err := w.Write(data)
	if err == nil && n != len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = w.Sync()
	}
	if e := w.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = f.sys.Chtimes(name, f.clock())
	}
	return err
}

// publish gives a whole, synced file its name. The lock is held until the
// folder is synced: nobody relies on a name that a crash could take away, and a
// name that could not be synced is taken back before anybody saw it.
func (f *Folder) publish(tmp, digest string, data []byte) error {
	mu := f.lock(digest)
	mu.Lock()
	defer mu.Unlock()
	found, err := f.renewLocked(digest, data)
	if err != nil {
		return err
	}
	if found {
		return f.sys.Remove(tmp)
	}
	if err := f.sys.Rename(tmp, f.path(digest)); err != nil {
		return err
	}
	if err := f.sys.SyncDir(f.shard(digest)); err != nil {
		f.sys.Remove(f.path(digest))
		return err
	}
	return nil
}

func (f *Folder) renew(digest string, data []byte) (bool, error) {
	mu := f.lock(digest)
	mu.Lock()
	defer mu.Unlock()
	found, err := f.renewLocked(digest, data)
	if err != nil {
		return false, failed(err)
	}
	return found, nil
}

// renewLocked tells whether the very bytes are there, and makes them young. The
// folder is synced again because a process that died may have renamed only.
func (f *Folder) renewLocked(digest string, data []byte) (bool, error) {
	name := f.path(digest)
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Size() != int64(len(data)) {
		return false, nil
	}
	kept, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(kept, data) {
		return false, nil // unreadable or rotten: write it anew
	}
	if err := f.sys.Chtimes(name, f.clock()); err != nil {
		return false, err
	}
	return true, f.sys.SyncDir(f.shard(digest))
}

// Room refuses, as a full disk would, when n more bytes would eat into the
// reserve.
func (f *Folder) Room(n int64) error {
	if f.reserve <= 0 {
		return nil
	}
	free, err := f.sys.Free(f.dir)
	if err != nil {
		return failed(err)
	}
	if free-n < f.reserve {
		return &Error{code: FaultDiskFull, cause: errors.New("free space is below the reserve")}
	}
	return nil
}

// Get reads kept bytes and checks them.
func (f *Folder) Get(ctx context.Context, digest string) ([]byte, error) {
	r, err := f.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size := r.(*reader).size
	buf := bytes.NewBuffer(make([]byte, 0, min(size, maxPrealloc)+bytes.MinRead))
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, failed(err)
	}
	return buf.Bytes(), nil
}

const maxPrealloc = 64 << 20

// Open streams kept bytes. The last Read fails, instead of giving io.EOF, when
// they do not match their digest.
func (f *Folder) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	if err := check(ctx, digest); err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(digest))
	if err != nil {
		return nil, unread(err)
	}
	st, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, failed(err)
	}
	return &reader{ctx: ctx, file: file, size: st.Size(), sum: sha256.New(), want: digest}, nil
}

type reader struct {
	ctx  context.Context
	file *os.File
	size int64
	sum  hash.Hash
	want string
}

func (r *reader) Close() error { return r.file.Close() }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, failed(err)
	}
	n, err := r.file.Read(p)
	r.sum.Write(p[:n])
	switch {
	case err == io.EOF && hex.EncodeToString(r.sum.Sum(nil)) != r.want:
		return n, &Error{code: FaultDamaged, cause: errors.New("bytes do not match their digest")}
	case err != nil && err != io.EOF:
		return n, failed(err)
	}
	return n, err
}

// Stat tells whether bytes are kept, without reading them.
func (f *Folder) Stat(ctx context.Context, digest string) (Info, error) {
	if err := check(ctx, digest); err != nil {
		return Info{}, err
	}
	st, err := os.Stat(f.path(digest))
	if err != nil {
		return Info{}, unread(err)
	}
	return Info{Digest: digest, Size: st.Size(), Modified: st.ModTime()}, nil
}

// Walk calls fn for everything kept, in the order of digests. What is put or
// removed meanwhile may or may not be seen.
func (f *Folder) Walk(ctx context.Context, fn func(Info) error) error {
	for i := range f.shards {
		entries, err := os.ReadDir(filepath.Join(f.dir, fmt.Sprintf("%02x", i)))
		if err != nil {
			return failed(err)
		}
		for _, e := range entries {
			if err := check(ctx, e.Name()); err != nil {
				if ctx.Err() != nil {
					return err
				}
				continue // not ours
			}
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return failed(err)
			}
			if err := fn(Info{Digest: e.Name(), Size: st.Size(), Modified: st.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove removes kept bytes if they were last put before the given time, and
// tells whether it did. What is not there is no error.
func (f *Folder) Remove(ctx context.Context, digest string, before time.Time) (bool, error) {
	if err := check(ctx, digest); err != nil {
		return false, err
	}
	mu := f.lock(digest)
	mu.Lock()
	defer mu.Unlock()
	st, err := os.Stat(f.path(digest))
	if err == nil && !st.ModTime().Before(before) {
		return false, nil
	}
	if err == nil {
		err = f.sys.Remove(f.path(digest))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, failed(err)
	}
	return true, nil
}

// check refuses what is not a digest before it becomes part of a path.
func check(ctx context.Context, digest string) error {
	if err := ctx.Err(); err != nil {
		return failed(err)
	}
	if len(digest) != 2*sha256.Size {
		return &Error{code: FaultDigest}
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return &Error{code: FaultDigest}
		}
	}
	return nil
}
