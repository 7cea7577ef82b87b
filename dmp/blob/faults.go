package blob

import (
	"context"
	"errors"
	"io/fs"
)

// The codes of this room's refusals.
const (
	FaultDiskFull    = "GW-DISK-FULL"    // no room left, or less than the reserve
	FaultStorage     = "GW-STORAGE"      // reading or writing failed
	FaultMissing     = "GW-BLOB-MISSING" // nothing is kept under that digest
	FaultDamaged     = "GW-BLOB-DAMAGED" // what is kept does not match its digest
	FaultDigest      = "GW-BLOB-DIGEST"  // not a SHA-256 in lower-case hexadecimal
	FaultInterrupted = "GW-INTERRUPTED"  // the caller gave up before the end
)

// Error is a refusal of the store of bytes.
type Error struct {
	code  string
	cause error
}

// Error is for logs.
func (e *Error) Error() string {
	if e.cause == nil {
		return "blob: " + e.code
	}
	return "blob: " + e.code + ": " + e.cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.code }

// FaultWhere is empty: bytes have no place in what the sender wrote.
func (e *Error) FaultWhere() string { return "" }

// failed gives an error of the system its code.
func failed(err error) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{code: FaultInterrupted, cause: err}
	case isFull(err):
		return &Error{code: FaultDiskFull, cause: err}
	}
	return &Error{code: FaultStorage, cause: err}
}

// unread is failed for reads, where a missing file has a meaning.
func unread(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{code: FaultMissing, cause: err}
	}
	return failed(err)
}
