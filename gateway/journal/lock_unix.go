//go:build unix

package journal

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes a lock that the system gives back when the process ends,
// however it ends.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{code: FaultStorage, cause: err}
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		code := FaultStorage
		if errors.Is(err, unix.EWOULDBLOCK) {
			code = FaultLocked
		}
		return nil, &Error{code: code, cause: &os.PathError{Op: "flock", Path: name, Err: err}}
	}
	return f, nil
}
