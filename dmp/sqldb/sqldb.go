// Package sqldb opens a database, brings its schema up to date and runs
// retried transactions.
//
// # What is promised
//
// A [DB.Write] that returned nil survives a crash of the process and of the
// machine: the engine is SQLite in WAL mode with synchronous=FULL, which syncs
// the log before a commit returns. A Write that returned an error left nothing.
// Writers are served one at a time, in the order in which they asked; each
// begins with the write lock (BEGIN IMMEDIATE), so that what it read is still
// true when it writes. [DB.Read] sees one snapshot and never waits for a writer.
//
// The function handed to Write may be run several times: when the engine says
// that the transaction lost a race (SQLITE_BUSY, and 40001 on engines that have
// it) it is rolled back and run again, a bounded number of times. It must
// therefore only touch its transaction and variables that it sets anew.
//
// # Errors
//
// What the function itself returns comes back unchanged. What the engine
// returns comes back as *[Error], which carries a code of the error table and
// whose text holds no value of any row. [database/sql.ErrNoRows] is left as it is.
//
// # Where we differ or had to choose
//
//   - Queries are written once, with "?" for each argument and never inside a
//     literal; the dialect renumbers them if its engine wants $1. Schema files
//     are written per engine: types and triggers do not translate honestly.
//   - A conflict that a caller expects is asked for by ON CONFLICT DO NOTHING
//     and the number of rows, not by catching an error: on PostgreSQL an error
//     ends the transaction.
//   - No LISTEN/NOTIFY, no advisory locks, no deferrable constraints: engines
//     that shard do not have them.
//   - A migration that was applied and then edited is refused at open, rather
//     than guessed about; so is a database that is newer than the program.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Config says which database to open and how.
type Config struct {
	Path        string        // file; its folder must exist
	Migrations  []Migration   // see [Migrations]
	Readers     int           // size of the reader pool; 0 means 4
	BusyTimeout time.Duration // wait for a lock held by another process; 0 means 5 s
	Attempts    int           // how often a transaction that lost a race is run; 0 means 5
	MaxBytes    int64         // the file never grows beyond this; 0 means the disk decides
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	writer   *sql.DB // exactly one connection
	readers  *sql.DB
	dialect  dialect
	attempts int
}

// dialect is what differs between engines once a database is open.
type dialect interface {
	bind(query string) string   // rewrites "?" placeholders
	classify(err error) verdict // what an error of the engine means
}

// verdict is the meaning of an engine's error.
type verdict int

const (
	notOurs verdict = iota // not an error of the engine
	lostRace
	diskFull
	damaged
	unique
	otherFailure
)

// Tx is a transaction. It is valid only inside the function that received it.
type Tx struct {
	tx *sql.Tx
	d  dialect
}

// Exec runs a statement and says how many rows it touched.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(ctx, t.d.bind(query), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Query runs a query. The caller closes the rows before its next statement.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, t.d.bind(query), args...)
}

// QueryRow runs a query of one row; Scan gives [sql.ErrNoRows] when there is none.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, t.d.bind(query), args...)
}

// Open opens the database, creates it if it is not there, and applies the
// migrations that it has not seen.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Readers <= 0 {
		cfg.Readers = 4
	}
	if cfg.BusyTimeout <= 0 {
		cfg.BusyTimeout = 5 * time.Second
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 5
	}
	db, err := openSQLite(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx, cfg.Migrations); err != nil {
		db.Close()
		return nil, err
	}
	if err := syncDir(cfg.Path); err != nil {
		db.Close()
		return nil, &Error{code: FaultStorage, cause: err}
	}
	return db, nil
}

// Write runs fn in a transaction that may write, and commits it when fn returns
// nil. See the package comment for what fn may do.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	pause := 5 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := db.once(ctx, db.writer, nil, fn)
		if err == nil {
			return nil
		}
		if db.dialect.classify(err) != lostRace || attempt >= db.attempts || ctx.Err() != nil {
			return db.fail(ctx, err)
		}
		select {
		case <-ctx.Done():
			return db.fail(ctx, err)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// Read runs fn on one snapshot; what fn tries to write fails.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	return db.fail(ctx, db.once(ctx, db.readers, &sql.TxOptions{ReadOnly: true}, fn))
}

// Close closes the database. Transactions under way are rolled back.
func (db *DB) Close() error {
	return errors.Join(db.readers.Close(), db.writer.Close())
}

func (db *DB) once(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) error {
	tx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	// After a commit this does nothing; after a panic of fn it frees the writer.
	defer tx.Rollback()
	if err := fn(&Tx{tx: tx, d: db.dialect}); err != nil {
		return err
	}
	return tx.Commit()
}

// fail gives an engine's error its code and leaves the caller's own alone.
func (db *DB) fail(ctx context.Context, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	interrupted := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	v := db.dialect.classify(err)
	if ctx.Err() != nil && (interrupted || v != notOurs || errors.Is(err, sql.ErrTxDone)) {
		return &Error{code: FaultInterrupted, cause: errors.Join(ctx.Err(), err)}
	}
	switch v {
	case lostRace:
		return &Error{code: FaultBusy, cause: err}
	case diskFull:
		return &Error{code: FaultDiskFull, cause: err}
	case damaged:
		return &Error{code: FaultDamaged, cause: err}
	case unique, otherFailure:
		return &Error{code: FaultStorage, cause: err}
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) {
		return &Error{code: FaultStorage, cause: err}
	}
	return err
}

// IsUnique tells whether err is the engine's refusal of a second row under a
// unique key.
func (db *DB) IsUnique(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		err = e.cause
	}
	return db.dialect.classify(err) == unique
}
