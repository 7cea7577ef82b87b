//go:build linux || darwin || freebsd

package blob

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is what an unprivileged process may still write.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := float64(st.Bavail) * float64(st.Bsize)
	if free >= math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return int64(free), nil
}
