package journal

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
)

// Record implements [gateway.Journal].
func (j *Journal) Record(ctx context.Context, e gateway.Entry) error {
	w, err := j.prepared(e)
	if err != nil {
		return err
	}
	return j.taken(j.db.Write(ctx, func(tx *sqldb.Tx) error { return j.record(ctx, tx, w) }))
}

// writing is an entry that was judged, ready for its transaction.
type writing struct {
	gateway.Entry
	row               submissionRow
	message, warnings string
}

// prepared judges an entry before any transaction, and that there is room for it.
func (j *Journal) prepared(e gateway.Entry) (w writing, err error) {
	w.Entry = e
	if w.row, w.message, w.warnings, err = prepare(e); err != nil {
		return w, err
	}
	return w, j.blobs.Room(0)
}

// record writes an entry inside a transaction.
func (j *Journal) record(ctx context.Context, tx *sqldb.Tx, w writing) error {
	row := w.row
	s, kept := row.Submission, row.State != gateway.RefusedState
	var envelope sql.NullString
	if s.Envelope != nil {
		envelope = sql.NullString{String: string(s.Envelope), Valid: true}
	}
	n, err := tx.Exec(ctx, `INSERT INTO submission (id, received, door, finess_ej, finess_geo, est_name, source_oid,
		from_app, from_fac, control_id, message, dup_key, digest, kept, rules, action, ins_status, fictive, stay,
		state, code, warnings, envelope, receipt)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (dup_key) WHERE dup_key <> '' DO NOTHING`,
		s.ID, toNanos(s.Received), s.Door, s.Establishment.FINESSEJ, s.Establishment.FINESSGeo, s.Establishment.Name,
		s.Establishment.SourceOID, s.From.Application, s.From.Facility, s.Message.ControlID, w.message, s.Key, s.Digest,
		kept, s.Rules, string(s.Action), s.INSStatus, row.fictive, s.Stay, string(s.State), s.Code, w.warnings, envelope, s.Receipt)
	if err != nil {
		return err
	}
	if n == 0 {
		return gateway.ErrDuplicate
	}
	if err := tx.QueryRow(ctx, `SELECT seq FROM submission WHERE id = ?`, s.ID).Scan(&row.seq); err != nil {
		return err
	}
	// Inside the transaction: a sweep removes inside its own, so what is
	// found here stays.
	if kept {
		if _, err := j.blobs.Stat(ctx, s.Digest); err != nil {
			return err
		}
	}
	for _, d := range w.Documents {
		if _, err := j.blobs.Stat(ctx, d.Digest); err != nil {
			return err
		}
		if err := insertDocument(ctx, tx, row, d); err != nil {
			return err
		}
	}
	if err := j.insertEvents(ctx, tx, row, w.Events, w.Deliveries); err != nil {
		return err
	}
	for _, c := range w.Consents {
		if err := insertConsent(ctx, tx, row, c); err != nil {
			return err
		}
	}
	return nil
}

// taken is what the journal says when an id or a Message-ID is somebody else's.
func (j *Journal) taken(err error) error {
	if j.db.IsUnique(err) {
		return &Error{code: FaultEntry, cause: err}
	}
	return err
}

// prepare refuses an entry that contradicts itself, and writes out its JSON.
func prepare(e gateway.Entry) (row submissionRow, message, warnings string, err error) {
	s := e.Submission
	if s.ID == "" || s.State == "" {
		return row, "", "", &Error{code: FaultEntry, cause: errors.New("a submission without id or state")}
	}
	for _, d := range e.Deliveries {
		if err := judgeDelivery(d, s.ID); err != nil {
			return row, "", "", err
		}
	}
	for _, ev := range e.Events {
		if ev.Submission != s.ID {
			return row, "", "", &Error{code: FaultEntry, cause: errors.New("an event of another submission")}
		}
	}
	for _, c := range e.Consents {
		if c.Person == "" || c.Feeding == "" || c.At.IsZero() {
			return row, "", "", &Error{code: FaultEntry, cause: errors.New("a consent without person, answer or time")}
		}
	}
	row = submissionRow{Submission: s}
	if s.Envelope != nil {
		// Only this much of the envelope is copied out of it.
		var in gateway.Inbound
		if err := json.Unmarshal(s.Envelope, &in); err != nil {
			return row, "", "", &Error{code: FaultEntry, cause: errors.New("the envelope cannot be read back")}
		}
		row.fictive = in.Patient.OID.Fictive()
	}
	if message, err = toJSON(s.Message); err != nil {
		return row, "", "", err
	}
	if len(s.Warnings) > 0 {
		warnings, err = toJSON(s.Warnings)
	}
	return row, message, warnings, err
}

func judgeDelivery(d gateway.Delivery, submission string) error {
	if d.ID == "" || d.Destination == "" || d.State == "" || d.Submission != submission || d.Due.IsZero() {
		return &Error{code: FaultEntry, cause: errors.New("a delivery without id, destination, state or time, or of another submission")}
	}
	if (d.Letter == "") != (d.MessageID == "") || d.Letter != "" && !isMail(d.Destination) {
		return &Error{code: FaultEntry, cause: errors.New("a letter without Message-ID or the other way round, or for a destination that takes none")}
	}
	return nil
}

const (
	recordedQuery   = `SELECT ` + submissionColumns + ` FROM submission WHERE dup_key = ? AND dup_key <> ''`
	submissionQuery = `SELECT ` + submissionColumns + ` FROM submission WHERE id = ?`
	documentsQuery  = `SELECT position, place, unique_id, set_id, version, type_code, replaces, digest, size
		FROM document WHERE submission = ? ORDER BY position`
	deliveriesQuery = `SELECT ` + deliveryColumns + `
		FROM delivery AS d JOIN submission AS s ON s.seq = d.submission WHERE d.submission = ? ORDER BY d.seq`
	eventsQuery = `SELECT e.seq, s.id, e.time, e.step, e.outcome, e.code, e.ack_code,
		e.destination, e.recipient, e.place, e.attempt, e.unique_id, e.set_id, e.version, e.type_code, e.flags, e.decided_by, e.reason
		FROM event AS e JOIN submission AS s ON s.seq = e.submission
		WHERE e.submission = ? AND e.seq > ? ORDER BY e.seq`
)

// Recorded implements [gateway.Journal].
func (j *Journal) Recorded(ctx context.Context, key string) (gateway.Submission, error) {
	if key == "" {
		return gateway.Submission{}, gateway.ErrNotFound
	}
	var s submissionRow
	err := j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		s, err = scanSubmission(tx.QueryRow(ctx, recordedQuery, key))
		return err
	})
	return s.Submission, orNotFound(err)
}

// orNotFound is what the journal says when there is no such row.
func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.ErrNotFound
	}
	return err
}

// Submission implements [gateway.Journal].
func (j *Journal) Submission(ctx context.Context, id string) (gateway.Submission, []gateway.DocumentRow, error) {
	var s submissionRow
	var docs []gateway.DocumentRow
	err := j.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		s, err = scanSubmission(tx.QueryRow(ctx, submissionQuery, id))
		if err != nil {
			return err
		}
		docs, err = collect(ctx, tx, scanDocument, documentsQuery, s.seq)
		return err
	})
	if err != nil {
		return gateway.Submission{}, nil, orNotFound(err)
	}
	return s.Submission, docs, nil
}

// number gives the number of a submission, and refuses an unknown one.
func number(ctx context.Context, tx *sqldb.Tx, id string) (seq int64, err error) {
	err = tx.QueryRow(ctx, `SELECT seq FROM submission WHERE id = ?`, id).Scan(&seq)
	return seq, orNotFound(err)
}

// Deliveries implements [gateway.Journal].
func (j *Journal) Deliveries(ctx context.Context, submission string) ([]gateway.Delivery, error) {
	var all []gateway.Delivery
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		seq, err := number(ctx, tx, submission)
		if err != nil {
			return err
		}
		rows, err := collect(ctx, tx, scanDelivery, deliveriesQuery, seq)
		all = nil
		for _, r := range rows {
			all = append(all, r.Delivery)
		}
		return err
	})
	return all, err
}

// Events implements [gateway.Journal].
func (j *Journal) Events(ctx context.Context, submission string, after int64) ([]gateway.Event, error) {
	var all []gateway.Event
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		seq, err := number(ctx, tx, submission)
		if err != nil {
			return err
		}
		all, err = collect(ctx, tx, scanEvent, eventsQuery, seq, after)
		return err
	})
	return all, err
}

// The length of a page of submissions.
const (
	defaultPage = 50
	maxPage     = 500
)

// Submissions implements [gateway.Journal]. It leaves out envelope and receipt.
// Each site is read newest first along its index, and no further down than the
// page that the sites before it filled: nothing is sorted but the page.
func (j *Journal) Submissions(ctx context.Context, q gateway.Query) ([]gateway.Submission, error) {
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	q.Limit = min(q.Limit, maxPage)
	query, args := listQuery(q)
	var page []submissionRow
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		page = nil
		for _, site := range slices.Compact(slices.Sorted(slices.Values(q.FINESSGeo))) {
			var floor int64
			if len(page) == q.Limit {
				floor = page[q.Limit-1].seq
			}
			rows, err := collect(ctx, tx, func(r scanner) (submissionRow, error) { return scanListed(r) },
				query, append([]any{site, floor}, args...)...)
			if err != nil {
				return err
			}
			page = append(page, rows...)
			slices.SortFunc(page, func(a, b submissionRow) int { return cmp.Compare(b.seq, a.seq) })
			page = page[:min(len(page), q.Limit)]
		}
		return nil
	})
	var all []gateway.Submission
	for _, r := range page {
		all = append(all, r.Submission)
	}
	return all, err
}

// listQuery reads a page of one site, above a place; args are those after both.
func listQuery(q gateway.Query) (query string, args []any) {
	where := `finess_geo = ? AND seq > ?`
	if !q.Since.IsZero() || !q.Until.IsZero() {
		// One day among years is found by its index, and what it holds is sorted:
		// the + keeps SQLite from walking down from today.
		where = `finess_geo = ? AND +seq > ?`
	}
	if q.Door != "" {
		where += ` AND door = ?`
		args = append(args, q.Door)
	}
	if q.ControlID != "" {
		where += ` AND control_id = ?`
		args = append(args, q.ControlID)
	}
	if q.State != "" {
		where += ` AND state = ?`
		args = append(args, string(q.State))
	}
	if q.Document != "" {
		where += ` AND seq IN (SELECT submission FROM document WHERE unique_id = ? UNION SELECT submission FROM document WHERE replaces = ?)`
		args = append(args, q.Document, q.Document)
	}
	if !q.Since.IsZero() {
		where += ` AND received >= ?`
		args = append(args, toNanos(q.Since))
	}
	if !q.Until.IsZero() {
		where += ` AND received < ?`
		args = append(args, toNanos(q.Until))
	}
	if q.Before != "" {
		where += ` AND seq < (SELECT seq FROM submission WHERE id = ?)`
		args = append(args, q.Before)
	}
	return `SELECT ` + listColumns + ` FROM submission WHERE ` + where + ` ORDER BY seq DESC LIMIT ?`, append(args, q.Limit)
}

func inSites(sites []string) (where string, args []any) {
	return fmt.Sprintf(`finess_geo IN (?%s)`, strings.Repeat(`, ?`, len(sites)-1)), anys(sites)
}

// queuedFateQuery: what queued deliveries will make of a document.
const queuedFateQuery = `SELECT s.seq AS place, CASE s.action WHEN 'delete' THEN 'deleted' ELSE 'current' END AS fate, '' AS replaced_by
	FROM document AS f JOIN submission AS s ON s.seq = f.submission
	WHERE f.unique_id = ? AND f.finess_ej = ? AND ` + queued + `
	UNION ALL SELECT s.seq, 'superseded', f.unique_id
	FROM document AS f JOIN submission AS s ON s.seq = f.submission
	WHERE f.replaces = ? AND f.finess_ej = ? AND s.action = 'replace' AND ` + queued

const queued = `EXISTS (SELECT 1 FROM delivery AS d
	WHERE d.submission = f.submission AND d.destination = '` + gateway.DestinationDMP + `' AND d.state = 'due')`

const fateQuery = `SELECT fate, replaced_by FROM document_fate WHERE finess_ej = ? AND unique_id = ?`

// Fate implements [gateway.Journal].
func (j *Journal) Fate(ctx context.Context, finessEJ, uniqueID string) (gateway.DocumentFate, error) {
	var f gateway.DocumentFate
	err := j.db.Read(ctx, func(tx *sqldb.Tx) error {
		f = gateway.DocumentFate{UniqueID: uniqueID}
		err := tx.QueryRow(ctx, fateQuery, finessEJ, uniqueID).Scan(&f.Fate, &f.ReplacedBy)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		ahead, err := collect(ctx, tx, scanFate, queuedFateQuery, uniqueID, finessEJ, uniqueID, finessEJ)
		slices.SortFunc(ahead, func(a, b queuedFate) int { return cmp.Compare(a.place, b.place) }) // as they will be done
		for _, next := range ahead {
			if f.Fate == gateway.FateSuperseded && next.Fate == gateway.FateCurrent {
				continue // as when it is settled
			}
			f.Fate = next.Fate
			if next.ReplacedBy != "" {
				f.ReplacedBy = next.ReplacedBy
			}
		}
		return err
	})
	switch {
	case err != nil:
		return gateway.DocumentFate{}, err
	case f.Fate == "":
		return gateway.DocumentFate{}, gateway.ErrNotFound
	}
	return f, nil
}

type queuedFate struct {
	gateway.DocumentFate
	place int64
}

func scanFate(r scanner) (f queuedFate, err error) {
	err = r.Scan(&f.place, &f.Fate, &f.ReplacedBy)
	return f, err
}
