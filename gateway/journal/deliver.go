package journal

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// unhindered: no earlier submission still has to bring something to the same
// destination about a document that this one names too. CROSS JOIN keeps SQLite
// from starting at the deliveries: a day without the DMP leaves many.
const unhindered = `NOT EXISTS (
		SELECT 1 FROM document AS mine CROSS JOIN document AS theirs CROSS JOIN delivery AS earlier
		WHERE mine.submission = d.submission AND theirs.submission < d.submission
		AND (theirs.unique_id IN (mine.unique_id, mine.replaces) OR theirs.replaces IN (mine.unique_id, mine.replaces))
		AND earlier.submission = theirs.submission AND earlier.destination = d.destination AND earlier.state = 'due')`

const claimable = `SELECT ` + deliveryColumns + `
	FROM delivery AS d JOIN submission AS s ON s.seq = d.submission
	WHERE d.destination = ? AND d.state = 'due' AND d.due <= ? AND d.lease_until <= ? AND ` + unhindered + `
	ORDER BY d.due, d.seq LIMIT ?`

// Claim implements [gateway.Journal].
func (j *Journal) Claim(ctx context.Context, destination, holder string, now, until time.Time, max int) ([]gateway.Delivery, error) {
	if holder == "" {
		return nil, &Error{code: FaultEntry, cause: errors.New("a lease without a holder")}
	}
	if max <= 0 {
		return nil, nil
	}
	var leased []gateway.Delivery
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		leased = nil
		rows, err := collect(ctx, tx, scanDelivery, claimable, destination, toNanos(now), toNanos(now), max)
		if err != nil {
			return err
		}
		for _, r := range rows {
			_, err := tx.Exec(ctx, `UPDATE delivery SET holder = ?, lease_until = ?, attempts = attempts + 1 WHERE seq = ?`,
				holder, toNanos(until), r.seq)
			if err != nil {
				return err
			}
			r.Attempts++
			leased = append(leased, r.Delivery)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leased, nil
}

// MarkSent implements [gateway.Journal]. An empty remote leaves what was noted.
func (j *Journal) MarkSent(ctx context.Context, delivery, holder, remote string) error {
	return j.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE delivery SET sent = 1, remote = CASE WHEN ? = '' THEN remote ELSE ? END
			WHERE id = ? AND holder = ? AND holder <> '' AND state = 'due'`, remote, remote, delivery, holder)
		if err == nil && n == 0 {
			err = gateway.ErrLeaseLost
		}
		return err
	})
}

// Settle implements [gateway.Journal].
func (j *Journal) Settle(ctx context.Context, s gateway.Settlement) error {
	switch s.State {
	case gateway.Done, gateway.Failed, gateway.Due:
	default:
		return &Error{code: FaultEntry, cause: errors.New("an attempt ends done, failed or due")}
	}
	if s.State == gateway.Due && s.Due.IsZero() {
		return &Error{code: FaultEntry, cause: errors.New("due again, but never")}
	}
	return j.db.Write(ctx, func(tx *sqldb.Tx) error {
		due := sql.NullInt64{Int64: toNanos(s.Due), Valid: s.State == gateway.Due}
		n, err := tx.Exec(ctx, `UPDATE delivery SET state = ?, due = COALESCE(?, due), sent = ?, code = ?, holder = '', lease_until = 0
			WHERE id = ? AND holder = ? AND holder <> '' AND state = 'due'`, string(s.State), due, s.Sent, s.Code, s.Delivery, s.Holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.ErrLeaseLost
		}
		row, destination, err := settled(ctx, tx, s.Delivery)
		if err != nil {
			return err
		}
		for _, e := range s.Events {
			if e.Submission != row.ID {
				return &Error{code: FaultEntry, cause: errors.New("an event of another submission")}
			}
			if err := insertEvent(ctx, tx, row, e); err != nil {
				return err
			}
		}
		for _, f := range s.Documents {
			if err := setFate(ctx, tx, row, f); err != nil {
				return err
			}
		}
		for _, d := range s.Next {
			if err := judgeDelivery(d, row.ID); err != nil {
				return err
			}
			if err := insertDelivery(ctx, tx, row, d); err != nil {
				return err
			}
		}
		code := s.Code
		if destination == gateway.DestinationZAM {
			code = ""
		}
		return restate(ctx, tx, row.seq, code)
	})
}

// settled reads what the rows that follow a settlement repeat.
func settled(ctx context.Context, tx *sqldb.Tx, delivery string) (row submissionRow, destination string, err error) {
	e := &row.Establishment
	err = tx.QueryRow(ctx, `SELECT s.seq, s.id, s.ins_status, s.fictive, s.stay, s.finess_ej, s.finess_geo, d.destination
		FROM delivery AS d JOIN submission AS s ON s.seq = d.submission WHERE d.id = ?`, delivery).
		Scan(&row.seq, &row.ID, &row.INSStatus, &row.fictive, &row.Stay, &e.FINESSEJ, &e.FINESSGeo, &destination)
	return row, destination, err
}

func setFate(ctx context.Context, tx *sqldb.Tx, row submissionRow, f gateway.DocumentFate) error {
	_, err := tx.Exec(ctx, `INSERT INTO document_fate (finess_ej, unique_id, finess_geo, fate, replaced_by, submission)
		VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (finess_ej, unique_id) DO UPDATE SET
			finess_geo = excluded.finess_geo, fate = excluded.fate, submission = excluded.submission,
			replaced_by = CASE WHEN excluded.replaced_by = '' THEN document_fate.replaced_by ELSE excluded.replaced_by END
		WHERE NOT (document_fate.fate = 'superseded' AND excluded.fate = 'current')`,
		row.Establishment.FINESSEJ, f.UniqueID, row.Establishment.FINESSGeo, f.Fate, f.ReplacedBy, row.seq)
	return err
}

const stateQuery = `SELECT count(*),
	COALESCE(SUM(CASE WHEN state = 'due' THEN 1 ELSE 0 END), 0),
	COALESCE(SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0)
	FROM delivery WHERE submission = ? AND destination <> 'zam'`

// restate counts the state of a submission from its deliveries to the outside;
// code is the failure that was just settled, if it was one.
func restate(ctx context.Context, tx *sqldb.Tx, submission int64, code string) error {
	var all, due, done int
	err := tx.QueryRow(ctx, stateQuery, submission).Scan(&all, &due, &done)
	if err != nil || all == 0 {
		return err
	}
	state := gateway.Partial
	switch {
	case due > 0:
		state = gateway.Pending
	case done == all:
		state = gateway.Done
	case done == 0:
		state = gateway.Failed
	}
	if code == "" {
		err := tx.QueryRow(ctx, `SELECT code FROM delivery
			WHERE submission = ? AND destination <> 'zam' AND state <> 'done' AND code <> ''
			ORDER BY seq DESC LIMIT 1`, submission).Scan(&code)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	_, err = tx.Exec(ctx, `UPDATE submission SET state = ?, code = ? WHERE seq = ?`, string(state), code, submission)
	return err
}

const (
	nextFreeQuery = `SELECT d.due FROM delivery AS d
		WHERE d.destination = ? AND d.state = 'due' AND d.holder = '' AND ` + unhindered + ` ORDER BY d.due LIMIT 1`
	nextLeaseQuery = `SELECT MIN(lease_until) FROM delivery WHERE destination = ? AND holder <> ''`
)

// NextDue implements [gateway.Journal]. A delivery that waits for an earlier one
// is not counted: what it waits for is the settlement of the other, and whoever
// looked again at its own time would look in vain, and often.
func (j *Journal) NextDue(ctx context.Context, destination string) (time.Time, error) {
	var free, leased sql.NullInt64
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, nextFreeQuery, destination).Scan(&free)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.QueryRow(ctx, nextLeaseQuery, destination).Scan(&leased)
	})
	switch {
	case err != nil:
		return time.Time{}, err
	case !free.Valid || leased.Valid && leased.Int64 < free.Int64:
		return fromNanos(leased.Int64), nil
	}
	return fromNanos(free.Int64), nil
}
