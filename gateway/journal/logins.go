package journal

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// maxLogins bounds the records of each kind. Kinds are bounded apart: anybody
// who can reach the login page makes records of used states, and those must not
// take the room of sessions.
const maxLogins = 20_000

// Logins is the [psc.Store] that outlives a restart: nobody has to log in again
// because the gateway was started anew, and no token of Pro Santé Connect passes
// twice. It keeps its promises as the journal does: what a method that returned
// nil wrote is on the disk.
//
// The reserve of free space does not bind it: who is to mend a full disk may have
// to log in first, and what a login writes is small and bounded in number.
type Logins struct {
	db   *sqldb.DB
	most int
}

var _ psc.Store = (*Logins)(nil)

// Logins is the store of sessions and tokens, in the journal's database. It
// closes with the journal.
func (j *Journal) Logins() *Logins { return &Logins{db: j.db, most: maxLogins} }

// full is the refusal that package psc names for it.
func full() error {
	return &Error{code: psc.FaultFull, cause: errors.New("too many records of this kind")}
}

const (
	loginsQuery   = `SELECT count(*) FROM login WHERE kind = ?`
	loginQuery    = `SELECT value, expires FROM login WHERE kind = ? AND key = ?`
	oldLoginQuery = `SELECT rowid FROM login WHERE expires < ? LIMIT ?`
)

// Add implements [psc.Store].
func (l *Logins) Add(ctx context.Context, r psc.Record) (added bool, err error) {
	err = l.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO login (kind, key, value, expires) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO NOTHING`,
			r.Kind, r.Key, loginValue(r), toNanos(r.Expires))
		if err != nil {
			return err
		}
		added = n == 1
		if !added {
			return nil
		}
		var all int
		if err := tx.QueryRow(ctx, loginsQuery, r.Kind).Scan(&all); err != nil {
			return err
		}
		if all > l.most {
			return full()
		}
		return nil
	})
	return added && err == nil, err
}

// Update implements [psc.Store].
func (l *Logins) Update(ctx context.Context, r psc.Record) (bool, error) {
	return l.touched(ctx, `UPDATE login SET value = ?, expires = ? WHERE kind = ? AND key = ?`, loginValue(r), toNanos(r.Expires), r.Kind, r.Key)
}

// Get implements [psc.Store].
func (l *Logins) Get(ctx context.Context, kind, key string) (psc.Record, error) {
	r := psc.Record{Kind: kind, Key: key}
	var expires int64
	err := l.db.Read(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, loginQuery, kind, key).Scan(&r.Value, &expires)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return psc.Record{}, psc.ErrNoRecord
	}
	if err != nil {
		return psc.Record{}, err
	}
	r.Expires = fromNanos(expires)
	return r, nil
}

// Delete implements [psc.Store].
func (l *Logins) Delete(ctx context.Context, kind, key string) (bool, error) {
	return l.touched(ctx, `DELETE FROM login WHERE kind = ? AND key = ?`, kind, key)
}

// Sweep implements [psc.Store]; in batches, so that it does not hold up those
// who write.
func (l *Logins) Sweep(ctx context.Context, now time.Time) (removed int, err error) {
	for {
		var n int64
		err := l.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM login WHERE rowid IN (`+oldLoginQuery+`)`, toNanos(now), sweepBatch)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += int(n)
		if n < sweepBatch {
			return removed, nil
		}
	}
}

func (l *Logins) touched(ctx context.Context, statement string, args ...any) (there bool, err error) {
	err = l.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, statement, args...)
		there = n > 0
		return err
	})
	return there && err == nil, err
}

// loginValue is never NULL: an empty value is a value.
func loginValue(r psc.Record) []byte {
	if r.Value == nil {
		return []byte{}
	}
	return r.Value
}
