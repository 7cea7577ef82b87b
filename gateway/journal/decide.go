package journal

import (
	"context"
	"database/sql"
	"errors"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// Decide implements [gateway.Journal].
func (j *Journal) Decide(ctx context.Context, r gateway.Ruling) error {
	if err := judgeRuling(r); err != nil {
		return err
	}
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		if r.Delivery == "" {
			return j.decideMail(ctx, tx, r)
		}
		return j.decideDelivery(ctx, tx, r)
	})
	return j.taken(err)
}

// judgeRuling refuses what is no decision: nobody made it, or it says nothing
// that a person may say.
func judgeRuling(r gateway.Ruling) error {
	wrong := func(text string) error { return &Error{code: FaultEntry, cause: errors.New(text)} }
	if r.Submission == "" || r.Now.IsZero() || len(r.Events) == 0 {
		return wrong("a decision without submission, time or event")
	}
	for _, e := range r.Events {
		if e.By == "" || e.Why == "" {
			return wrong("a decision without who or why")
		}
	}
	allowed := map[gateway.State][]gateway.State{
		gateway.Due: {gateway.Stopped}, gateway.Failed: {gateway.Due}, gateway.Stopped: {gateway.Due},
	}
	if r.Delivery == "" {
		allowed = map[gateway.State][]gateway.State{
			gateway.Quarantined: {gateway.Quarantined, gateway.RefusedState, gateway.Pending},
		}
	}
	for _, to := range allowed[r.Was] {
		if to == r.State && (r.Filed != nil) == (to == gateway.Pending) {
			return nil
		}
	}
	return wrong("not a decision that a person can take")
}

// The conditions stand in the update itself: of two decisions about the same
// thing one changes a row, and the other none.
const (
	stopQuery = `UPDATE delivery SET state = ?, code = ?, holder = '', lease_until = 0
		WHERE id = ? AND state = ? AND round = ? AND lease_until <= ?`
	againQuery = `UPDATE delivery SET state = 'due', code = '', due = ?, since = ?, round = round + 1, attempts = 0, sent = ?, remote = ?,
		holder = '', lease_until = 0
		WHERE id = ? AND state = ? AND round = ?`
	asSeenQuery = `SELECT count(*) FROM delivery WHERE id = ? AND state = ? AND round = ?`
	// A deletion only ever deletes again.
	supersededQuery = `SELECT count(*) FROM document AS f JOIN submission AS s ON s.seq = f.submission
		JOIN document_fate AS known ON known.finess_ej = f.finess_ej AND known.unique_id = f.unique_id
		WHERE f.submission = ? AND s.action <> 'delete' AND known.fate IN ('superseded', 'deleted')`
	// Of one identity nothing older is told after what is newer: 2 when that was
	// told, 1 when it is being told.
	toldLaterQuery = `SELECT COALESCE(MAX(n), 0) FROM (
		SELECT 2 AS n FROM delivery AS later
			WHERE later.destination = 'identity' AND later.state = 'done' AND later.recipient = ? AND later.seq > ?
		UNION ALL SELECT 1 FROM delivery AS later
			WHERE later.destination = 'identity' AND later.state = 'due' AND later.recipient = ? AND later.seq > ? AND later.lease_until > ?) AS told`
)

func (j *Journal) decideDelivery(ctx context.Context, tx *sqldb.Tx, r gateway.Ruling) error {
	row, err := concerned(ctx, tx, r.Delivery)
	if err != nil {
		return err
	}
	if row.ID != r.Submission {
		return gateway.ErrNotFound
	}
	var n int64
	now := toNanos(r.Now)
	if r.State == gateway.Stopped {
		n, err = tx.Exec(ctx, stopQuery, string(r.State), r.Code, r.Delivery, string(r.Was), r.Round, now)
	} else {
		if err := notSuperseded(ctx, tx, row, now); err != nil {
			return err
		}
		n, err = tx.Exec(ctx, againQuery, now, now, r.Sent, r.Remote, r.Delivery, string(r.Was), r.Round)
	}
	if err != nil {
		return err
	}
	if n == 0 {
		var asSeen int
		if err := tx.QueryRow(ctx, asSeenQuery, r.Delivery, string(r.Was), r.Round).Scan(&asSeen); err != nil {
			return err
		}
		if asSeen > 0 {
			return gateway.ErrLeased
		}
		return gateway.ErrDecided
	}
	return j.follow(ctx, tx, row, r.Events, r.Next, r.Code)
}

// notSuperseded refuses a new round that would bring what is out of date.
func notSuperseded(ctx context.Context, tx *sqldb.Tx, row outcomeRow, now int64) error {
	var later int
	switch row.destination {
	case gateway.DestinationDMP:
		if err := tx.QueryRow(ctx, supersededQuery, row.seq).Scan(&later); err != nil {
			return err
		}
		if later > 0 {
			return gateway.ErrSuperseded
		}
	case gateway.DestinationA47:
		err := tx.QueryRow(ctx, toldLaterQuery, row.recipient, row.delivery, row.recipient, row.delivery, now).Scan(&later)
		switch {
		case err != nil:
			return err
		case later == 2:
			return gateway.ErrSuperseded
		case later == 1:
			return gateway.ErrLeased
		}
	}
	return nil
}

const (
	quarantinedQuery = `SELECT seq, id, ins_status, fictive, stay, finess_ej, finess_geo, state FROM submission WHERE id = ?`
	ruleMailQuery    = `UPDATE submission SET state = ?, code = ?, action = COALESCE(?, action), ins_status = COALESCE(?, ins_status),
		envelope = COALESCE(?, envelope) WHERE seq = ? AND state = 'quarantined'`
)

// decideMail ends the wait of a mail, or lets it wait on.
func (j *Journal) decideMail(ctx context.Context, tx *sqldb.Tx, r gateway.Ruling) error {
	var row outcomeRow
	var state gateway.State
	e := &row.Establishment
	err := tx.QueryRow(ctx, quarantinedQuery, r.Submission).
		Scan(&row.seq, &row.ID, &row.INSStatus, &row.fictive, &row.Stay, &e.FINESSEJ, &e.FINESSGeo, &state)
	if err != nil {
		return orNotFound(err)
	}
	if state != gateway.Quarantined {
		return gateway.ErrDecided
	}
	if r.State != gateway.Quarantined {
		var action, status, envelope sql.NullString
		if f := r.Filed; f != nil {
			action, status = sql.NullString{String: string(f.Action), Valid: true}, sql.NullString{String: f.INSStatus, Valid: true}
			envelope = sql.NullString{String: string(f.Envelope), Valid: true}
			row.INSStatus = f.INSStatus
			for _, d := range f.Documents {
				if _, err := j.blobs.Stat(ctx, d.Digest); err != nil {
					return err
				}
				if err := insertDocument(ctx, tx, row.submissionRow, d); err != nil {
					return err
				}
			}
		}
		_, err := tx.Exec(ctx, ruleMailQuery, string(r.State), r.Code, action, status, envelope, row.seq)
		if err != nil {
			return err
		}
	}
	return j.tell(ctx, tx, row.submissionRow, r.Events, r.Next)
}
