package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

var schema = []sqldb.Migration{
	{Name: "0001_town", SQL: `CREATE TABLE town (name TEXT PRIMARY KEY, people INTEGER NOT NULL);
		CREATE TABLE street (town TEXT NOT NULL REFERENCES town(name), name TEXT NOT NULL)`},
	{Name: "0002_mayor", SQL: `ALTER TABLE town ADD COLUMN mayor TEXT`},
}

func open(t *testing.T, cfg sqldb.Config) *sqldb.DB {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "a b%20?.db")
	}
	if cfg.Migrations == nil {
		cfg.Migrations = schema
	}
	db, err := sqldb.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(ctx context.Context, db *sqldb.DB, name string, people int) error {
	return db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO town (name, people) VALUES (?, ?)`, name, people)
		return err
	})
}

func count(t *testing.T, db *sqldb.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM town`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var coded interface{ FaultCode() string }
	if !errors.As(err, &coded) || coded.FaultCode() != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

func TestSettingsThatDurabilityRestsOn(t *testing.T) {
	db := open(t, sqldb.Config{})
	read := func(run func(context.Context, func(*sqldb.Tx) error) error, pragma string) (v string) {
		err := run(t.Context(), func(tx *sqldb.Tx) error {
			return tx.QueryRow(t.Context(), `PRAGMA `+pragma).Scan(&v)
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ pragma, want string }{
		{"journal_mode", "wal"}, {"synchronous", "2"}, {"foreign_keys", "1"}, {"busy_timeout", "5000"},
	} {
		if got := read(db.Write, c.pragma); got != c.want {
			t.Errorf("writer: %s is %s, want %s", c.pragma, got, c.want)
		}
	}
	if got := read(db.Read, "query_only"); got != "1" {
		t.Errorf("readers may write: query_only is %s", got)
	}
}

func TestWrite(t *testing.T) {
	ctx := t.Context()
	mine := errors.New("mine")
	for _, c := range []struct {
		name string
		fn   func(*sqldb.Tx) error
		want int
		code string
		is   error
	}{
		{"ok/commits", func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO town VALUES ('Brest', 1, NULL)`)
			return err
		}, 1, "", nil},
		{"fail/own-error-rolls-back-and-comes-back", func(tx *sqldb.Tx) error {
			tx.Exec(ctx, `INSERT INTO town VALUES ('Brest', 1, NULL)`)
			return mine
		}, 0, "", mine},
		{"fail/no-rows-is-left-alone", func(tx *sqldb.Tx) error {
			var n int
			return tx.QueryRow(ctx, `SELECT people FROM town`).Scan(&n)
		}, 0, "", sql.ErrNoRows},
		{"fail/foreign-key", func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO street VALUES ('Nowhere', 'Rue')`)
			return err
		}, 0, sqldb.FaultStorage, nil},
		{"fail/bad-statement", func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO nothing VALUES (1)`)
			return err
		}, 0, sqldb.FaultStorage, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, sqldb.Config{})
			err := db.Write(ctx, c.fn)
			switch {
			case c.code != "":
				wantCode(t, err, c.code)
			case !errors.Is(err, c.is) || (c.is == nil && err != nil):
				t.Fatalf("got %v, want %v", err, c.is)
			}
			if n := count(t, db); n != c.want {
				t.Fatalf("%d rows, want %d", n, c.want)
			}
		})
	}
}

func TestWriteSurvivesPanicOfItsFunction(t *testing.T) {
	db := open(t, sqldb.Config{})
	func() {
		defer func() { recover() }()
		db.Write(t.Context(), func(tx *sqldb.Tx) error {
			tx.Exec(t.Context(), `INSERT INTO town VALUES ('Brest', 1, NULL)`)
			panic("bug")
		})
	}()
	if err := insert(t.Context(), db, "Lyon", 1); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db); n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
}

func TestReadCannotWriteAndSeesOneSnapshot(t *testing.T) {
	ctx := t.Context()
	db := open(t, sqldb.Config{})
	err := db.Read(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO town VALUES ('Brest', 1, NULL)`)
		return err
	})
	wantCode(t, err, sqldb.FaultStorage)
	err = db.Read(ctx, func(tx *sqldb.Tx) error {
		var before, after int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM town`).Scan(&before); err != nil {
			return err
		}
		if err := insert(ctx, db, "Lyon", 1); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM town`).Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("the snapshot moved: %d then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIsUnique(t *testing.T) {
	db := open(t, sqldb.Config{})
	if err := insert(t.Context(), db, "Brest", 1); err != nil {
		t.Fatal(err)
	}
	if err := insert(t.Context(), db, "Brest", 2); !db.IsUnique(err) {
		t.Fatalf("not told as unique: %v", err)
	}
	err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO town (name) VALUES ('Lyon')`)
		return err
	})
	if err == nil || db.IsUnique(err) {
		t.Fatalf("a missing value told as unique: %v", err)
	}
}

func TestFullDatabase(t *testing.T) {
	ctx := t.Context()
	db := open(t, sqldb.Config{MaxBytes: 96 << 10})
	var err error
	kept := 0
	for err == nil && kept < 1000 {
		if err = insert(ctx, db, strings.Repeat("x", 3000)+time.Duration(kept).String(), 1); err == nil {
			kept++
		}
	}
	wantCode(t, err, sqldb.FaultDiskFull)
	if n := count(t, db); n != kept {
		t.Fatalf("%d rows, want the %d that were committed", n, kept)
	}
	err = db.Write(ctx, func(tx *sqldb.Tx) error { _, err := tx.Exec(ctx, `DELETE FROM town`); return err })
	if err != nil {
		t.Fatalf("a full database must let rows go: %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	db := open(t, sqldb.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := insert(ctx, db, "Brest", 1)
	wantCode(t, err, sqldb.FaultInterrupted)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the cause is lost: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = db.Write(ctx, func(tx *sqldb.Tx) error {
		cancel()
		_, err := tx.Exec(ctx, `INSERT INTO town VALUES ('Brest', 1, NULL)`)
		return err
	})
	wantCode(t, err, sqldb.FaultInterrupted)
	if n := count(t, db); n != 0 {
		t.Fatalf("%d rows after an interruption", n)
	}
}

func TestLostRace(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, sqldb.Config{Path: path, BusyTimeout: time.Millisecond, Attempts: 3})
	other := open(t, sqldb.Config{Path: path})

	var busy error
	t.Run("fail/every-attempt", func(t *testing.T) {
		err := other.Write(ctx, func(*sqldb.Tx) error {
			busy = insert(ctx, db, "Brest", 1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, busy, sqldb.FaultBusy)
	})
	t.Run("ok/last-attempt", func(t *testing.T) {
		runs := 0
		err := db.Write(ctx, func(tx *sqldb.Tx) error {
			runs++
			if _, err := tx.Exec(ctx, `INSERT INTO town VALUES ('Lyon', ?, NULL)`, runs); err != nil {
				return err
			}
			if runs < 3 {
				return busy
			}
			return nil
		})
		if err != nil || runs != 3 || count(t, db) != 1 {
			t.Fatalf("%v after %d runs, %d rows", err, runs, count(t, db))
		}
	})
}

func TestWritersAreServedOneAtATime(t *testing.T) {
	ctx := t.Context()
	db := open(t, sqldb.Config{})
	if err := insert(ctx, db, "Brest", 0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := db.Write(ctx, func(tx *sqldb.Tx) error {
					var n int
					if err := tx.QueryRow(ctx, `SELECT people FROM town`).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, `UPDATE town SET people = ?`, n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	db.Read(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT people FROM town`).Scan(&n) })
	if n != 80 {
		t.Fatalf("lost updates: %d of 80", n)
	}
}

func TestMigrations(t *testing.T) {
	edited := []sqldb.Migration{schema[0], {Name: "0002_mayor", SQL: `ALTER TABLE town ADD COLUMN maire TEXT`}}
	broken := append(schema[:2:2], sqldb.Migration{Name: "0003_broken", SQL: `CREATE TABLE half (a INTEGER); CREATE NONSENSE`})
	crlf := []sqldb.Migration{{Name: schema[0].Name, SQL: strings.ReplaceAll(schema[0].SQL, "\n", "\r\n")}, schema[1]}
	for _, c := range []struct {
		name   string
		first  []sqldb.Migration
		second []sqldb.Migration
		code   string
	}{
		{"ok/again", schema, schema, ""},
		{"ok/one-more", schema[:1], schema, ""},
		{"ok/line-ends-differ", schema, crlf, ""},
		{"fail/edited", schema, edited, sqldb.FaultSchema},
		{"fail/newer-than-the-program", schema, schema[:1], sqldb.FaultSchema},
		{"fail/broken-step", schema, broken, sqldb.FaultStorage},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			db := open(t, sqldb.Config{Path: path, Migrations: c.first})
			if err := insert(t.Context(), db, "Brest", 1); err != nil {
				t.Fatal(err)
			}
			db.Close()
			db, err := sqldb.Open(t.Context(), sqldb.Config{Path: path, Migrations: c.second})
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
			} else {
				wantCode(t, err, c.code)
				db = open(t, sqldb.Config{Path: path, Migrations: c.first})
				half := -1
				err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
					return tx.QueryRow(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name = 'half'`).Scan(&half)
				})
				if err != nil || half != 0 {
					t.Fatalf("half a step is left: %d, %v", half, err)
				}
			}
			if n := count(t, db); n != 1 {
				t.Fatalf("%d rows, want 1", n)
			}
		})
	}
}

func TestMigrationsFromFolder(t *testing.T) {
	list, err := sqldb.Migrations(fstest.MapFS{
		"sqlite/0002_b.sql": {Data: []byte("b")}, "sqlite/0001_a.sql": {Data: []byte("a")}, "sqlite/notes.txt": {Data: []byte("n")},
	}, "sqlite")
	if err != nil || len(list) != 2 || list[0] != (sqldb.Migration{Name: "0001_a", SQL: "a"}) || list[1].Name != "0002_b" {
		t.Fatalf("%v, %v", list, err)
	}
	if _, err := sqldb.Migrations(fstest.MapFS{}, "sqlite"); err == nil {
		t.Fatal("an empty folder is a mistake of the build and must be told")
	}
}

func TestOnlyTheOwnerReads(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("rights are inherited from the folder here")
	}
	dir := t.TempDir()
	db := open(t, sqldb.Config{Path: filepath.Join(dir, "x.db")})
	if err := insert(t.Context(), db, "Brest", 1); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v: want the file, its log, its shared memory", files, err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), st.Mode(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("fail/not-a-database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("this is not a database ", 400)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := sqldb.Open(t.Context(), sqldb.Config{Path: path, Migrations: schema})
		wantCode(t, err, sqldb.FaultDamaged)
	})
	t.Run("fail/no-folder", func(t *testing.T) {
		_, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "none", "x.db"), Migrations: schema})
		wantCode(t, err, sqldb.FaultStorage)
	})
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, err := sqldb.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqldb.Lock(name); !errors.Is(err, sqldb.ErrLocked) {
		t.Errorf("held twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sqldb.Lock(name)
	if err != nil {
		t.Fatal("not given back:", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	var known *sqldb.Error
	if _, err := sqldb.Lock(filepath.Join(name, "below a file")); !errors.As(err, &known) || known.FaultCode() != sqldb.FaultStorage || errors.Is(err, sqldb.ErrLocked) {
		t.Errorf("got %v", err)
	}
}
