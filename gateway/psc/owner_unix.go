//go:build unix

package psc

import (
	"os"
	"syscall"
)

// keepOwner gives a file the owner of the one it replaces.
func keepOwner(f *os.File, like os.FileInfo) error {
	was, ok := like.Sys().(*syscall.Stat_t)
	if !ok || (int(was.Uid) == os.Geteuid() && int(was.Gid) == os.Getegid()) {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}
