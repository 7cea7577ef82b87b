package journal

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// unhindered: no earlier submission still has to bring something to the same
// destination about a document that this one names too. CROSS JOIN keeps SQLite
// from starting at the deliveries: a day without the DMP leaves many. Letters to
// different people do not wait for each other; the patient is one person,
// whatever the address. What is told of one identity is told in its order.
const unhindered = `NOT EXISTS (
		SELECT 1 FROM document AS mine CROSS JOIN document AS theirs CROSS JOIN delivery AS earlier
		WHERE mine.submission = d.submission AND theirs.submission < d.submission
		AND (theirs.unique_id IN (mine.unique_id, mine.replaces) OR theirs.replaces IN (mine.unique_id, mine.replaces))
		AND earlier.submission = theirs.submission AND earlier.destination = d.destination AND earlier.state = 'due'
		AND (d.destination = '` + gateway.DestinationPat + `' OR lower(earlier.recipient) = lower(d.recipient)))
	AND (d.destination <> '` + gateway.DestinationA47 + `' OR NOT EXISTS (
		SELECT 1 FROM delivery AS before WHERE before.destination = '` + gateway.DestinationA47 + `' AND before.state = 'due'
		AND before.recipient = d.recipient AND before.seq < d.seq))`

// claimable is asked with n sites to leave out, before the limit.
func claimable(n int) string {
	return `SELECT ` + deliveryColumns + `
	FROM delivery AS d JOIN submission AS s ON s.seq = d.submission
	WHERE d.destination = ? AND d.state = 'due' AND d.due <= ? AND d.lease_until <= ?` + without(n) + ` AND ` + unhindered + `
	ORDER BY d.due, d.seq LIMIT ?`
}

// without leaves n sites out of what is due.
func without(n int) string {
	if n == 0 {
		return ""
	}
	return ` AND d.finess_geo NOT IN (?` + strings.Repeat(`, ?`, n-1) + `)`
}

func anys(texts []string) (all []any) {
	for _, s := range texts {
		all = append(all, s)
	}
	return all
}

// Claim implements [gateway.Journal].
func (j *Journal) Claim(ctx context.Context, destination, holder string, now, until time.Time, max int, except ...string) ([]gateway.Delivery, error) {
	if holder == "" {
		return nil, &Error{code: FaultEntry, cause: errors.New("a lease without a holder")}
	}
	if max <= 0 {
		return nil, nil
	}
	var leased []gateway.Delivery
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		leased = nil
		args := append([]any{destination, toNanos(now), toNanos(now)}, anys(except)...)
		rows, err := collect(ctx, tx, scanDelivery, claimable(len(except)), append(args, max)...)
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
	case gateway.Done, gateway.Failed, gateway.Due, gateway.Waiting:
	default:
		return &Error{code: FaultEntry, cause: errors.New("an attempt ends done, failed, waiting or due")}
	}
	timed := s.State == gateway.Due || s.State == gateway.Waiting
	if timed && s.Due.IsZero() {
		return &Error{code: FaultEntry, cause: errors.New("due again or waiting, but without a time")}
	}
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		due := sql.NullInt64{Int64: toNanos(s.Due), Valid: timed}
		n, err := tx.Exec(ctx, `UPDATE delivery SET state = ?, due = COALESCE(?, due), sent = ?, code = ?, holder = '', lease_until = 0
			WHERE id = ? AND holder = ? AND holder <> '' AND state = 'due'`, string(s.State), due, s.Sent, s.Code, s.Delivery, s.Holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.ErrLeaseLost
		}
		row, err := concerned(ctx, tx, s.Delivery)
		if err != nil {
			return err
		}
		if s.State == gateway.Waiting && row.letter == "" {
			return &Error{code: FaultEntry, cause: errors.New("waiting for a report on a letter that was never noted")}
		}
		for _, f := range s.Documents {
			if err := setFate(ctx, tx, row.submissionRow, f); err != nil {
				return err
			}
		}
		return j.follow(ctx, tx, row, s.Events, s.Next, s.Code)
	})
	return j.taken(err)
}

// outcomeRow is a delivery whose outcome is written, and what the rows that
// follow from it repeat of its submission.
type outcomeRow struct {
	submissionRow
	delivery            int64
	destination, letter string
	recipient           string
	round               int
	was                 gateway.State // of the delivery
	holder              string        // of its lease
}

func concerned(ctx context.Context, tx *sqldb.Tx, delivery string) (r outcomeRow, err error) {
	e := &r.Establishment
	err = tx.QueryRow(ctx, `SELECT s.seq, s.id, s.ins_status, s.fictive, s.stay, s.finess_ej, s.finess_geo,
		d.seq, d.destination, d.letter, d.recipient, d.round, d.state, d.holder
		FROM delivery AS d JOIN submission AS s ON s.seq = d.submission WHERE d.id = ?`, delivery).
		Scan(&r.seq, &r.ID, &r.INSStatus, &r.fictive, &r.Stay, &e.FINESSEJ, &e.FINESSGeo, &r.delivery, &r.destination, &r.letter, &r.recipient, &r.round, &r.was, &r.holder)
	return r, orNotFound(err)
}

// follow writes what follows from an outcome: lines of the timeline, more
// deliveries, the state of the submission. failure is the code of what just
// failed, if it did.
func (j *Journal) follow(ctx context.Context, tx *sqldb.Tx, row outcomeRow, events []gateway.Event, next []gateway.Delivery, failure string) error {
	if err := j.tell(ctx, tx, row.submissionRow, events, next); err != nil {
		return err
	}
	switch row.destination {
	case gateway.DestinationZAM, gateway.DestinationMDN, gateway.DestinationWebhook:
		failure = ""
	}
	return restate(ctx, tx, row.seq, failure)
}

// tell writes lines of the timeline and the deliveries that come of them.
func (j *Journal) tell(ctx context.Context, tx *sqldb.Tx, row submissionRow, events []gateway.Event, next []gateway.Delivery) error {
	for _, e := range events {
		if e.Submission != row.ID {
			return &Error{code: FaultEntry, cause: errors.New("an event of another submission")}
		}
	}
	for _, d := range next {
		if err := judgeDelivery(d, row.ID); err != nil {
			return err
		}
	}
	return j.insertEvents(ctx, tx, row, events, next)
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

// outward are the destinations that a submission asked for. Telling somebody
// how it went is not among them.
const outward = `('` + gateway.DestinationDMP + `', '` + gateway.DestinationPro + `', '` + gateway.DestinationPat + `', '` + gateway.DestinationMDM + `', '` + gateway.DestinationA47 + `')`

const stateQuery = `SELECT count(*),
	COALESCE(SUM(CASE WHEN state IN ('due', 'waiting') THEN 1 ELSE 0 END), 0),
	COALESCE(SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0)
	FROM delivery WHERE submission = ? AND destination IN ` + outward

const (
	lastCodeQuery = `SELECT code FROM delivery
		WHERE submission = ? AND destination IN ` + outward + ` AND state <> 'done' AND code <> ''
		ORDER BY seq DESC LIMIT 1`
	untoldQuery = `SELECT code FROM delivery
		WHERE submission = ? AND destination NOT IN ` + outward + ` AND state = 'failed' AND code <> ''
		ORDER BY seq DESC LIMIT 1`
)

// restate counts the state of a submission from its deliveries to the outside;
// code is the failure that was just settled, if it was one. What waits for a
// person waits on: no outcome takes it out of quarantine. Where nothing else
// failed, the code is that of a ZAM or read receipt that was not taken: nobody
// would see otherwise that the sender was never told.
func restate(ctx context.Context, tx *sqldb.Tx, submission int64, code string) error {
	var all, open, done int
	err := tx.QueryRow(ctx, stateQuery, submission).Scan(&all, &open, &done)
	if err != nil {
		return err
	}
	for _, query := range []string{lastCodeQuery, untoldQuery} {
		if code != "" {
			break
		}
		err := tx.QueryRow(ctx, query, submission).Scan(&code)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	if all == 0 {
		_, err = tx.Exec(ctx, `UPDATE submission SET code = ? WHERE seq = ? AND code = ''`, code, submission)
		return err
	}
	state := gateway.Partial
	switch {
	case open > 0:
		state = gateway.Pending
	case done == all:
		state = gateway.Done
	case done == 0:
		state = gateway.Failed
	}
	_, err = tx.Exec(ctx, `UPDATE submission SET state = ?, code = ? WHERE seq = ? AND state <> 'quarantined'`, string(state), code, submission)
	return err
}

// nextLeaseQuery is asked with n sites to leave out too: who leaves them out
// would not take what a lease that ends there sets free, and would look in vain.
func nextLeaseQuery(n int) string {
	return `SELECT MIN(d.lease_until) FROM delivery AS d WHERE d.destination = ? AND d.holder <> ''` + without(n)
}

// nextFreeQuery is asked with n sites to leave out.
func nextFreeQuery(n int) string {
	return `SELECT d.due FROM delivery AS d
		WHERE d.destination = ? AND d.state = 'due' AND d.holder = ''` + without(n) + ` AND ` + unhindered + ` ORDER BY d.due LIMIT 1`
}

// NextDue implements [gateway.Journal]. A delivery that waits for an earlier one
// is not counted: what it waits for is the settlement of the other, and whoever
// looked again at its own time would look in vain, and often.
func (j *Journal) NextDue(ctx context.Context, destination string, except ...string) (time.Time, error) {
	var free, leased sql.NullInt64
	args := append([]any{destination}, anys(except)...)
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, nextFreeQuery(len(except)), args...).Scan(&free)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.QueryRow(ctx, nextLeaseQuery(len(except)), args...).Scan(&leased)
	})
	switch {
	case err != nil:
		return time.Time{}, err
	case !free.Valid || leased.Valid && leased.Int64 < free.Int64:
		return fromNanos(leased.Int64), nil
	}
	return fromNanos(free.Int64), nil
}
