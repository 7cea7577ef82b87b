package store

import (
	"context"
	"encoding/base64"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// The statuses of a document.
const (
	statusCurrent    = "current"
	statusSuperseded = "superseded"
	statusDeleted    = "entered-in-error"
)

// held is the row of a document.
type held struct {
	patient, id string
	version     int
	uniqueID    string
	attributes
	typ, category        string
	date, updated        int64
	finess, authors, lot string
	content, contentType string
	size                 int64
	hash                 string
	deposited            int64
	replaces             string // id of the document that it replaced
	resource             []byte
}

const heldColumns = `patient, id, version, unique_id, status, hidden, type, category, date, updated, finess, authors, lot, content, content_type, size, hash, invisible, secret, archived, deposited, replaces`

func (h *held) fields() []any {
	return []any{&h.patient, &h.id, &h.version, &h.uniqueID, &h.status, &h.hidden, &h.typ, &h.category, &h.date, &h.updated,
		&h.finess, &h.authors, &h.lot, &h.content, &h.contentType, &h.size, &h.hash, &h.invisible, &h.secret, &h.archived, &h.deposited, &h.replaces}
}

// document reads the row of a document; nil when there is none.
func (s *Store) document(ctx context.Context, tx *sqldb.Tx, patient, id string) (*held, error) {
	h := &held{}
	err := tx.QueryRow(ctx, `SELECT `+heldColumns+`, resource FROM document WHERE patient = ? AND id = ?`, patient, id).
		Scan(append(h.fields(), &h.resource)...)
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (s *Store) insertDocument(ctx context.Context, tx *sqldb.Tx, h *held, c *caller) error {
	_, err := tx.Exec(ctx, `INSERT INTO document (`+heldColumns+`, resource) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		h.patient, h.id, h.version, h.uniqueID, h.status, h.hidden, h.typ, h.category, h.date, h.updated, h.finess, h.authors, h.lot,
		h.content, h.contentType, h.size, h.hash, h.invisible, h.secret, h.archived, h.deposited, h.replaces, h.resource)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO unique_id (unique_id, patient) VALUES (?, ?)`, h.uniqueID, h.patient); err != nil {
		return err
	}
	return s.keepVersion(ctx, tx, h, c)
}

func (s *Store) keepVersion(ctx context.Context, tx *sqldb.Tx, h *held, c *caller) error {
	_, err := tx.Exec(ctx, `INSERT INTO document_history (patient, id, version, updated, finess, sender, resource) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		h.patient, h.id, h.version, h.updated, c.finess, c.sender, h.resource)
	return err
}

// change gives a document other attributes: a new version with its own
// entryUUID.
func (s *Store) change(ctx context.Context, tx *sqldb.Tx, h *held, p *known, c *caller, to attributes) error {
	r, err := fhir.Parse(h.resource)
	if err != nil {
		return err
	}
	uuid, err := s.newUUID()
	if err != nil {
		return err
	}
	if h.updated, err = s.tick(ctx, tx, p); err != nil {
		return err
	}
	h.version++
	edits := append(metaEdits(r, h.version, h.updated), r.Get("status").Replace(fhir.Quote(to.status)), officialEdit(r, uuid))
	if !h.attributes.visibleTo(to) {
		edits = append(edits, labelsEdit(r, to.flags()))
	}
	if h.archived != to.archived {
		edits = append(edits, archivedEdit(r, to.archived))
	}
	h.attributes = to
	h.resource = fhir.Splice(r, edits...)
	_, err = tx.Exec(ctx, `UPDATE document SET version = ?, status = ?, hidden = ?, invisible = ?, secret = ?, archived = ?, updated = ?, resource = ?
		WHERE patient = ? AND id = ?`,
		h.version, h.status, h.hidden, h.invisible, h.secret, h.archived, h.updated, h.resource, h.patient, h.id)
	if err != nil {
		return err
	}
	return s.keepVersion(ctx, tx, h, c)
}

// readable finds a document that the caller may read, by the id of the
// DocumentReference or of its Binary; its resource is as they see it.
func (x *exchange) readable(ctx context.Context) (h *held, err error) {
	if x.trace.caller.indirect() {
		return nil, refuse(FaultMode)
	}
	patient, ok := patientOf(x.id())
	if !ok {
		return nil, refuse(FaultNotFound)
	}
	x.trace.target = []string{x.id()}
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		v, err := x.consult(ctx, tx, patient)
		if err != nil {
			return err
		}
		if h, err = x.s.document(ctx, tx, patient, x.id()); err != nil || h == nil {
			return err
		}
		if !h.sees(v) {
			h = nil
			return nil
		}
		h.resource, err = x.s.shown(ctx, tx, h, v)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return nil, refuse(FaultNotFound)
	case h.status == statusDeleted:
		return nil, refuse(FaultDeleted)
	}
	return h, nil
}

// consult checks that the patient has an open DMP that the professional may
// read.
func (x *exchange) consult(ctx context.Context, tx *sqldb.Tx, patient string) (viewer, error) {
	p, err := x.s.patient(ctx, tx, patient)
	if err == nil && (p == nil || x.trace.caller.mode == modePatient && x.trace.caller.patient != patient) {
		err = refuse(FaultNotFound)
	}
	if err == nil && p.state != StateOpen {
		err = refuse(FaultDMPClosed)
	}
	if err != nil {
		return viewer{}, err
	}
	return x.consultant(ctx, tx, patient)
}

// readDocument reads one DocumentReference.
func (x *exchange) readDocument(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	h, err := x.readable(ctx)
	if err != nil {
		return nil, err
	}
	return h.reply(), nil
}

func (h *held) reply() *reply {
	return &reply{status: http.StatusOK, etag: etag(h.version), modified: h.updated, body: h.resource}
}

// readBinary reads the bytes of a document (ITI-68): as they are, or in a
// Binary when the caller asks for FHIR.
func (x *exchange) readBinary(ctx context.Context) (*reply, error) {
	h, err := x.readable(ctx)
	if err != nil {
		return nil, err
	}
	kind, _, err := mime.ParseMediaType(h.contentType)
	if err != nil {
		return nil, err
	}
	asked := strings.Join(x.r.Header.Values("Accept"), ",")
	if strings.Contains(asked, fhir.MediaType) {
		content, err := x.s.blobs.Get(ctx, h.content)
		if err != nil {
			return nil, err
		}
		body, err := fhir.Marshal(fhir.Binary{ResourceType: "Binary", ID: h.id, ContentType: h.contentType,
			Data: base64.StdEncoding.EncodeToString(content)})
		return &reply{status: http.StatusOK, etag: etag(1), body: body}, err
	}
	if !accepts(x.r, kind) {
		return nil, refuse(FaultAccept)
	}
	stream, err := x.s.blobs.Open(ctx, h.content)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, contentType: h.contentType, etag: etag(1), stream: stream, size: h.size}, nil
}

func lastModified(ms int64) string { return time.UnixMilli(ms).UTC().Format(http.TimeFormat) }
