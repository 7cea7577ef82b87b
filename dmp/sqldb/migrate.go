package sqldb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Migration is one step of a schema. A step that has been released is never
// edited: its checksum is kept in the database and compared at every open.
type Migration struct {
	Name string // 0001_journal
	SQL  string // one or more statements
}

// Migrations reads the *.sql files of a folder, in the order of their names.
func Migrations(fsys fs.FS, dir string) ([]Migration, error) {
	names, err := fs.Glob(fsys, path.Join(dir, "*.sql"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("sqldb: no migration in %s", dir)
	}
	sort.Strings(names)
	var list []Migration
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		list = append(list, Migration{Name: strings.TrimSuffix(path.Base(name), ".sql"), SQL: string(text)})
	}
	return list, nil
}

// Line ends do not count: a checkout may change them.
func (m Migration) checksum() string {
	sum := sha256.Sum256([]byte(strings.ReplaceAll(m.SQL, "\r\n", "\n")))
	return hex.EncodeToString(sum[:])
}

// migrate applies what the database has not seen, each step in a transaction
// of its own together with its mark, so that a crash leaves whole steps.
func (db *DB) migrate(ctx context.Context, list []Migration) error {
	err := db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS schema_migration (
			position INTEGER NOT NULL PRIMARY KEY,
			name     TEXT    NOT NULL,
			checksum TEXT    NOT NULL)`)
		return err
	})
	if err != nil {
		return err
	}
	for i, m := range list {
		err := db.Write(ctx, func(tx *Tx) error {
			applied, err := appliedAt(ctx, tx, i+1)
			if err != nil {
				return err
			}
			switch applied {
			case "":
			case m.checksum():
				return nil
			default:
				return &Error{code: FaultSchema, where: m.Name, cause: errors.New("the step changed after it was applied")}
			}
			if _, err := tx.Exec(ctx, m.SQL); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			_, err = tx.Exec(ctx, `INSERT INTO schema_migration (position, name, checksum) VALUES (?, ?, ?)`, i+1, m.Name, m.checksum())
			return err
		})
		if err != nil {
			return err
		}
	}
	return db.Read(ctx, func(tx *Tx) error {
		later, err := appliedAt(ctx, tx, len(list)+1)
		if err == nil && later != "" {
			return &Error{code: FaultSchema, cause: errors.New("the database is newer than the program")}
		}
		return err
	})
}

func appliedAt(ctx context.Context, tx *Tx, position int) (checksum string, err error) {
	err = tx.QueryRow(ctx, `SELECT COALESCE(MAX(checksum), '') FROM schema_migration WHERE position = ?`, position).Scan(&checksum)
	return checksum, err
}
