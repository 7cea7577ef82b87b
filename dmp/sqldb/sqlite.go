package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const pageSize = 4096

// cacheKiB bounds the page cache of each connection.
const cacheKiB = 16 << 10

// walKiB is what is kept of the log after a transaction that made it larger.
const walKiB = 64 << 10

func openSQLite(ctx context.Context, cfg Config) (*DB, error) {
	// Made by us, because SQLite would let everybody read it; the log and the
	// shared memory take its mode.
	file, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return nil, &Error{code: FaultStorage, cause: err}
	}
	writer, err := openPool(cfg, false)
	if err != nil {
		return nil, err
	}
	readers, err := openPool(cfg, true)
	if err != nil {
		writer.Close()
		return nil, err
	}
	db := &DB{writer: writer, readers: readers, dialect: sqliteDialect{}, attempts: cfg.Attempts}
	// The writer goes first: it creates the file and switches it to WAL.
	if err := writer.PingContext(ctx); err != nil {
		db.Close()
		return nil, db.fail(ctx, err)
	}
	return db, nil
}

func openPool(cfg Config, readOnly bool) (*sql.DB, error) {
	name, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, &Error{code: FaultStorage, cause: err}
	}
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(cfg.BusyTimeout.Milliseconds(), 10))
	q.Set("_foreign_keys", "on")
	q.Set("_synchronous", "FULL")
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Add("_pragma", fmt.Sprintf("page_size(%d)", pageSize))
	q.Add("_pragma", fmt.Sprintf("cache_size(%d)", -cacheKiB))
	q.Add("_pragma", fmt.Sprintf("journal_size_limit(%d)", walKiB<<10))
	q.Add("_pragma", "trusted_schema(0)")
	if cfg.MaxBytes > 0 {
		q.Add("_pragma", fmt.Sprintf("max_page_count(%d)", max(cfg.MaxBytes/pageSize, 1)))
	}
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_journal_mode", "WAL")
		q.Set("_txlock", "immediate")
	}
	// As a URI, so that a "?" or a "%" in a folder name cannot become an option.
	// A drive letter needs the slash that makes it an absolute path.
	path := filepath.ToSlash(name)
	if path[0] != '/' {
		path = "/" + path
	}
	dsn := url.URL{Scheme: "file", Path: path, OmitHost: true, RawQuery: q.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, &Error{code: FaultStorage, cause: err}
	}
	pool := sql.OpenDB(connector)
	n := 1
	if readOnly {
		n = cfg.Readers
	}
	pool.SetMaxOpenConns(n)
	pool.SetMaxIdleConns(n)
	return pool, nil
}

type sqliteDialect struct{}

func (sqliteDialect) bind(query string) string { return query }

func (sqliteDialect) classify(err error) verdict {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return notOurs
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return unique
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return lostRace
	case sqlite3.SQLITE_FULL:
		return diskFull
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged
	}
	return otherFailure
}
