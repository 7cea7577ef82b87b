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

// mail are the destinations reached by letters: those that have a Message-ID,
// and about which a receipt may come.
const mail = `('` + gateway.DestinationPro + `', '` + gateway.DestinationPat + `', '` + gateway.DestinationMDN + `')`

func isMail(destination string) bool {
	switch destination {
	case gateway.DestinationPro, gateway.DestinationPat, gateway.DestinationMDN:
		return true
	}
	return false
}

const heldQuery = `SELECT destination, letter, message_id FROM delivery
	WHERE id = ? AND holder = ? AND holder <> '' AND state = 'due'`

// MarkLetter implements [gateway.Journal].
func (j *Journal) MarkLetter(ctx context.Context, delivery, holder, digest, messageID string) error {
	if digest == "" || messageID == "" || strings.ContainsAny(messageID, "<> \t\r\n") {
		return &Error{code: FaultEntry, cause: errors.New("a letter without bytes, or without a bare Message-ID")}
	}
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		var destination, letter, noted string
		err := tx.QueryRow(ctx, heldQuery, delivery, holder).Scan(&destination, &letter, &noted)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return gateway.ErrLeaseLost
		case err != nil:
			return err
		case !isMail(destination):
			return &Error{code: FaultEntry, cause: errors.New("a letter for a destination that takes none")}
		case letter != "" && (letter != digest || noted != messageID):
			return &Error{code: FaultEntry, cause: errors.New("another letter was noted before")}
		}
		if _, err := j.blobs.Stat(ctx, digest); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE delivery SET sent = 1, letter = ?, message_id = ? WHERE id = ?`, digest, messageID, delivery)
		return err
	})
	return j.taken(err)
}

const (
	letterQuery = `SELECT ` + deliveryColumns + `
		FROM delivery AS d JOIN submission AS s ON s.seq = d.submission WHERE d.id = ? AND d.destination IN ` + mail
	messageQuery = `SELECT ` + deliveryColumns + `
		FROM delivery AS d JOIN submission AS s ON s.seq = d.submission
		WHERE d.message_id = ? AND d.message_id <> '' AND d.destination IN ` + mail
)

// Letter implements [gateway.Journal].
func (j *Journal) Letter(ctx context.Context, id, messageID string) (gateway.Delivery, error) {
	query, arg := letterQuery, id
	if id == "" {
		query, arg = messageQuery, messageID
	}
	var d deliveryRow
	err := j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = scanDelivery(tx.QueryRow(ctx, query, arg))
		return err
	})
	return d.Delivery, orNotFound(err)
}

// Apply implements [gateway.Journal]. A report about what is not a letter is
// about nothing that we know: ErrNotFound.
func (j *Journal) Apply(ctx context.Context, r gateway.Report) error {
	if r.Key == "" {
		return &Error{code: FaultEntry, cause: errors.New("a report without a key")}
	}
	switch r.State {
	case gateway.Done, gateway.Failed, "":
	default:
		return &Error{code: FaultEntry, cause: errors.New("a report says done, failed or nothing")}
	}
	err := j.db.Write(ctx, func(tx *sqldb.Tx) error {
		s, err := concerned(ctx, tx, r.Delivery)
		if err != nil {
			return err
		}
		if !isMail(s.destination) {
			return gateway.ErrNotFound
		}
		n, err := tx.Exec(ctx, `INSERT INTO report (key, delivery, finess_ej, finess_geo, state, code)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`,
			r.Key, s.delivery, s.Establishment.FINESSEJ, s.Establishment.FINESSGeo, string(r.State), r.Code)
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.ErrDuplicate
		}
		if s.round != r.Round || r.Was != "" && s.was != r.Was {
			return gateway.ErrDecided
		}
		failure := r.Code
		switch {
		case r.State != "":
			if s.holder != "" { // apart: a webhook of Next tells Events alone
				if err := j.tell(ctx, tx, s.submissionRow, r.Ended, nil); err != nil {
					return err
				}
			}
			_, err = tx.Exec(ctx, `UPDATE delivery SET state = ?, code = ?, holder = '', lease_until = 0 WHERE seq = ?`,
				string(r.State), r.Code, s.delivery)
		case r.Code != "":
			_, err = tx.Exec(ctx, `UPDATE delivery SET code = ? WHERE seq = ?`, r.Code, s.delivery)
		}
		if r.State != gateway.Failed {
			failure = ""
		}
		if err != nil {
			return err
		}
		return j.follow(ctx, tx, s, r.Events, r.Next, failure)
	})
	return j.taken(err)
}

const overdue = `SELECT ` + deliveryColumns + `
	FROM delivery AS d JOIN submission AS s ON s.seq = d.submission
	WHERE d.state = 'waiting' AND d.due <= ? ORDER BY d.due LIMIT ?`

// Overdue implements [gateway.Journal].
func (j *Journal) Overdue(ctx context.Context, now time.Time, max int) ([]gateway.Delivery, error) {
	var all []gateway.Delivery
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := collect(ctx, tx, scanDelivery, overdue, toNanos(now), max)
		all = nil
		for _, r := range rows {
			all = append(all, r.Delivery)
		}
		return err
	})
	return all, err
}
