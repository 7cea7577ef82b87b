package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// How values stand in columns, and how rows are read and written.

func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", &Error{code: FaultEntry, cause: err}
	}
	return string(b), nil
}

type scanner interface{ Scan(dest ...any) error }

// collect reads every row of a query.
func collect[T any](ctx context.Context, tx *sqldb.Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

const listColumns = `seq, id, received, door, finess_ej, finess_geo, est_name, source_oid, from_app, from_fac, message,
	dup_key, digest, rules, action, ins_status, stay, state, code, warnings`

const submissionColumns = listColumns + `, envelope, receipt`

// submissionRow is a submission with what only the journal needs.
type submissionRow struct {
	gateway.Submission
	seq     int64
	fictive bool
}

func scanListed(r scanner, more ...any) (s submissionRow, err error) {
	var received int64
	var message, warnings string
	e := &s.Establishment
	err = r.Scan(append([]any{&s.seq, &s.ID, &received, &s.Door, &e.FINESSEJ, &e.FINESSGeo, &e.Name, &e.SourceOID,
		&s.From.Application, &s.From.Facility, &message, &s.Key, &s.Digest, &s.Rules, &s.Action, &s.INSStatus, &s.Stay,
		&s.State, &s.Code, &warnings}, more...)...)
	if err != nil {
		return s, err
	}
	s.Received = fromNanos(received)
	if err := json.Unmarshal([]byte(message), &s.Message); err != nil {
		return s, err
	}
	if warnings != "" {
		err = json.Unmarshal([]byte(warnings), &s.Warnings)
	}
	return s, err
}

func scanSubmission(r scanner) (submissionRow, error) {
	var envelope sql.NullString
	var receipt []byte
	s, err := scanListed(r, &envelope, &receipt)
	if envelope.Valid {
		s.Envelope = json.RawMessage(envelope.String)
	}
	s.Receipt = receipt
	return s, err
}

func scanDocument(r scanner) (d gateway.DocumentRow, err error) {
	var replaces sql.NullString
	err = r.Scan(&d.Index, &d.Where, &d.UniqueID, &d.SetID, &d.Version, &d.TypeCode, &replaces, &d.Digest, &d.Size)
	d.Replaces = replaces.String
	return d, err
}

const deliveryColumns = `d.seq, d.id, s.id, d.finess_ej, d.finess_geo, d.est_name, d.source_oid, d.destination, d.state,
	d.created, d.due, d.attempts, d.sent, d.remote, d.notice, d.code, d.recipient, d.letter, d.message_id, d.round, d.since`

type deliveryRow struct {
	gateway.Delivery
	seq int64
}

func scanDelivery(r scanner) (d deliveryRow, err error) {
	var created, due, since int64
	var notice string
	e := &d.Establishment
	err = r.Scan(&d.seq, &d.ID, &d.Submission, &e.FINESSEJ, &e.FINESSGeo, &e.Name, &e.SourceOID, &d.Destination, &d.State,
		&created, &due, &d.Attempts, &d.Sent, &d.Remote, &notice, &d.Code, &d.Recipient, &d.Letter, &d.MessageID, &d.Round, &since)
	if err != nil {
		return d, err
	}
	d.Created, d.Due, d.Since = fromNanos(created), fromNanos(due), fromNanos(since)
	if notice != "" {
		err = json.Unmarshal([]byte(notice), &d.Notice)
	}
	return d, err
}

func scanEvent(r scanner) (e gateway.Event, err error) {
	var at int64
	m := &e.Document
	err = r.Scan(&e.Seq, &e.Submission, &at, &e.Step, &e.Outcome, &e.Code, &e.AckCode, &e.Destination, &e.Recipient, &e.Where,
		&e.Attempt, &m.UniqueID, &m.SetID, &m.Version, &m.TypeCode, &m.Flags, &e.By, &e.Why)
	e.Time = fromNanos(at)
	return e, err
}

func insertDocument(ctx context.Context, tx *sqldb.Tx, s submissionRow, d gateway.DocumentRow) error {
	_, err := tx.Exec(ctx, `INSERT INTO document (submission, position, finess_ej, finess_geo, place, unique_id, set_id,
		version, type_code, replaces, digest, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.seq, d.Index, s.Establishment.FINESSEJ, s.Establishment.FINESSGeo, d.Where, d.UniqueID, d.SetID,
		d.Version, d.TypeCode, sql.NullString{String: d.Replaces, Valid: d.Replaces != ""}, d.Digest, d.Size)
	return err
}

func (j *Journal) insertDelivery(ctx context.Context, tx *sqldb.Tx, s submissionRow, d gateway.Delivery) error {
	notice := ""
	if d.Notice != nil {
		var err error
		if notice, err = toJSON(d.Notice); err != nil {
			return err
		}
	}
	if d.Letter != "" {
		if _, err := j.blobs.Stat(ctx, d.Letter); err != nil {
			return err
		}
	}
	e := d.Establishment
	_, err := tx.Exec(ctx, `INSERT INTO delivery (id, submission, finess_ej, finess_geo, est_name, source_oid, destination,
		state, created, due, attempts, sent, remote, notice, code, recipient, letter, message_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ID, s.seq, e.FINESSEJ, e.FINESSGeo, e.Name, e.SourceOID, d.Destination,
		string(d.State), toNanos(d.Created), toNanos(d.Due), d.Attempts, d.Sent, d.Remote, notice, d.Code,
		d.Recipient, d.Letter, d.MessageID)
	return err
}

// insertEvent gives the number of the line.
func insertEvent(ctx context.Context, tx *sqldb.Tx, s submissionRow, e gateway.Event) (seq int64, err error) {
	m := e.Document
	err = tx.QueryRow(ctx, `INSERT INTO event (submission, finess_ej, finess_geo, time, step, outcome, code, ack_code,
		destination, recipient, place, attempt, ins_status, fictive, stay, unique_id, set_id, version, type_code, flags,
		decided_by, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
		s.seq, s.Establishment.FINESSEJ, s.Establishment.FINESSGeo, toNanos(e.Time), e.Step, e.Outcome, e.Code, e.AckCode,
		e.Destination, e.Recipient, e.Where, e.Attempt, s.INSStatus, s.fictive, s.Stay,
		m.UniqueID, m.SetID, m.Version, m.TypeCode, m.Flags, e.By, e.Why).Scan(&seq)
	return seq, err
}

// insertEvents writes lines of a timeline, then the deliveries that follow from
// them: a webhook is given the numbers of the lines that it tells.
func (j *Journal) insertEvents(ctx context.Context, tx *sqldb.Tx, s submissionRow, events []gateway.Event, next []gateway.Delivery) error {
	var told []string
	for _, e := range events {
		seq, err := insertEvent(ctx, tx, s, e)
		if err != nil {
			return err
		}
		told = append(told, strconv.FormatInt(seq, 10))
	}
	for _, d := range next {
		if d.Destination == gateway.DestinationWebhook && d.Remote == "" {
			if len(told) == 0 {
				return &Error{code: FaultEntry, cause: errors.New("a webhook that tells nothing")}
			}
			d.Remote = strings.Join(told, " ")
		}
		if err := j.insertDelivery(ctx, tx, s, d); err != nil {
			return err
		}
	}
	return nil
}
