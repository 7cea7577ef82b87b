package sqldb

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrLocked: another process, or another opening in this one, holds the lock.
var ErrLocked = errors.New("sqldb: locked by another")

// Lock takes a folder for its caller alone, by a lock on the named file, which
// it makes: the system gives it back when the process ends, however it ends. It
// does not wait. SQLite's own locks would let a second process in, whose blobs
// and memory then know nothing of the first's.
func Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{code: FaultStorage, cause: err}
	}
	held, err := lock(f)
	if err == nil {
		return f, nil
	}
	f.Close()
	err = &os.PathError{Op: "lock", Path: name, Err: err}
	if held {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return nil, &Error{code: FaultStorage, cause: err}
}
