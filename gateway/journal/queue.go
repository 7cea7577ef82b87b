package journal

import (
	"context"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// These read what is not settled only: their cost follows the queue, not the age
// of the journal.
const (
	dueQuery     = `SELECT count(*), COALESCE(MIN(created), 0) FROM delivery WHERE state = 'due' AND destination = ?`
	waitingQuery = `SELECT count(*), COALESCE(MIN(created), 0) FROM delivery WHERE state = 'waiting' AND due > 0 AND destination = ?`
)

// Queue counts what waits, by destination and state.
func (j *Journal) Queue(ctx context.Context) (all []gateway.Queued, err error) {
	err = j.db.Read(ctx, func(tx *sqldb.Tx) error {
		all = nil
		for _, to := range gateway.Destinations() {
			for _, of := range []struct {
				state gateway.State
				query string
			}{{gateway.Due, dueQuery}, {gateway.Waiting, waitingQuery}} {
				if of.state == gateway.Waiting && !isMail(to) {
					continue
				}
				q := gateway.Queued{Destination: to, State: of.state}
				var oldest int64
				if err := tx.QueryRow(ctx, of.query, to).Scan(&q.Count, &oldest); err != nil {
					return err
				}
				q.Oldest = fromNanos(oldest)
				all = append(all, q)
			}
		}
		return nil
	})
	return all, err
}

const quarantineQuery = `SELECT count(*) FROM submission WHERE finess_geo = ? AND state = 'quarantined'`

// InQuarantine counts the mails of a site that wait for a person.
func (j *Journal) InQuarantine(ctx context.Context, finessGeo string) (n int64, err error) {
	err = j.db.Read(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, quarantineQuery, finessGeo).Scan(&n)
	})
	return n, err
}
