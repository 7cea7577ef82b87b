package blob

import (
	"os"
	"time"
)

// osSystem is the real one.
type osSystem struct{}

func (osSystem) Create(name string) (writer, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
func (osSystem) Chtimes(name string, t time.Time) error { return os.Chtimes(name, t, t) }
func (osSystem) Rename(from, to string) error           { return os.Rename(from, to) }
func (osSystem) Remove(name string) error               { return os.Remove(name) }
func (osSystem) SyncDir(name string) error              { return syncDir(name) }
func (osSystem) Free(dir string) (int64, error)         { return freeBytes(dir) }
