package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	patient, id          string
	version              int
	uniqueID, status     string
	hidden               bool
	typ, category        string
	date, updated        int64
	finess, authors, lot string
	content, contentType string
	size                 int64
	hash                 string
	resource             []byte
}

const heldColumns = `patient, id, version, unique_id, status, hidden, type, category, date, updated, finess, authors, lot, content, content_type, size, hash`

func (h *held) fields() []any {
	return []any{&h.patient, &h.id, &h.version, &h.uniqueID, &h.status, &h.hidden, &h.typ, &h.category, &h.date, &h.updated,
		&h.finess, &h.authors, &h.lot, &h.content, &h.contentType, &h.size, &h.hash}
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
	_, err := tx.Exec(ctx, `INSERT INTO document (`+heldColumns+`, resource) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		h.patient, h.id, h.version, h.uniqueID, h.status, h.hidden, h.typ, h.category, h.date, h.updated, h.finess, h.authors, h.lot,
		h.content, h.contentType, h.size, h.hash, h.resource)
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

// change gives a document another status: a new version with its own
// entryUUID.
func (s *Store) change(ctx context.Context, tx *sqldb.Tx, h *held, p *known, c *caller, status string) error {
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
	h.status = status
	edits := append(metaEdits(r, h.version, h.updated), r.Get("status").Replace(fhir.Quote(status)), officialEdit(r, uuid))
	h.resource = fhir.Splice(r, edits...)
	_, err = tx.Exec(ctx, `UPDATE document SET version = ?, status = ?, updated = ?, resource = ? WHERE patient = ? AND id = ?`,
		h.version, h.status, h.updated, h.resource, h.patient, h.id)
	if err != nil {
		return err
	}
	return s.keepVersion(ctx, tx, h, c)
}

// wrote tells whether the caller is the depositing structure or an author.
func (h *held) wrote(c *caller) bool {
	if c.indirect() {
		return h.finess == c.finess
	}
	return slices.Contains(strings.Split(h.authors, "\n"), c.sender)
}

// sees tells whether the caller may know that the document exists.
func (h *held) sees(c *caller) bool { return !h.hidden || h.wrote(c) }

// readable finds a document that a professional may read, by the id of the
// DocumentReference or of its Binary.
func (x *exchange) readable(ctx context.Context) (h *held, err error) {
	c := x.trace.caller
	if c.indirect() {
		return nil, refuse(FaultMode)
	}
	patient, ok := patientOf(x.id())
	if !ok {
		return nil, refuse(FaultNotFound)
	}
	x.trace.target = []string{x.id()}
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		if err := x.consult(ctx, tx, patient); err != nil {
			return err
		}
		h, err = x.s.document(ctx, tx, patient, x.id())
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case h == nil || !h.sees(&c):
		return nil, refuse(FaultNotFound)
	case h.status == statusDeleted:
		return nil, refuse(FaultDeleted)
	}
	return h, nil
}

// consult checks that the patient has an open DMP that the professional may
// read.
func (x *exchange) consult(ctx context.Context, tx *sqldb.Tx, patient string) error {
	p, err := x.s.patient(ctx, tx, patient)
	switch {
	case err != nil:
		return err
	case p == nil:
		return refuse(FaultNotFound)
	case p.state != StateOpen:
		return refuse(FaultDMPClosed)
	}
	return x.s.mayConsult(ctx, tx, &x.trace.caller, patient)
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

// patchByID changes the document named in the path (TD3.3).
func (x *exchange) patchByID(ctx context.Context) (*reply, error) {
	patient, ok := patientOf(x.id())
	if !ok {
		return nil, refuse(FaultNotFound)
	}
	return x.patch(ctx, func(tx *sqldb.Tx) (*held, error) { return x.s.document(ctx, tx, patient, x.id()) })
}

// patchByIdentifier changes the document whose uniqueId is in the query.
func (x *exchange) patchByIdentifier(ctx context.Context) (*reply, error) {
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil || len(query["identifier"]) != 1 || len(query) != 1 {
		return nil, refuse(FaultSearch)
	}
	system, value, found := strings.Cut(query.Get("identifier"), "|")
	if !found || system != fhir.SystemURN || value == "" {
		return nil, refuse(FaultSearch)
	}
	return x.patch(ctx, func(tx *sqldb.Tx) (*held, error) {
		var patient, id string
		err := tx.QueryRow(ctx, `SELECT patient FROM unique_id WHERE unique_id = ?`, value).Scan(&patient)
		if err == nil {
			err = tx.QueryRow(ctx, `SELECT id FROM document WHERE patient = ? AND unique_id = ?`, patient, value).Scan(&id)
		}
		if noRows(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return x.s.document(ctx, tx, patient, id)
	})
}

// maxPatch bounds the body of a patch.
const maxPatch = 64 << 10

func (x *exchange) patch(ctx context.Context, find func(*sqldb.Tx) (*held, error)) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	body, err := x.read(maxPatch, "application/json-patch+json")
	if err != nil {
		return nil, err
	}
	if err := judgePatch(body); err != nil {
		return nil, err
	}
	s, c := x.s, x.trace.caller
	var h *held
	t := x.trace
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		t = x.trace
		h, err = find(tx)
		if err != nil {
			return err
		}
		if h == nil || !h.sees(&c) {
			return refuse(FaultNotFound)
		}
		t.patient, t.target = h.patient, []string{"DocumentReference/" + h.id}
		x.trace.patient, x.trace.target = t.patient, t.target
		p, err := s.patient(ctx, tx, h.patient)
		switch {
		case err != nil:
			return err
		case p == nil:
			return fmt.Errorf("store: document %s without its patient", h.id)
		case !h.wrote(&c):
			return refuse(FaultNotAuthor)
		case p.state != StateOpen:
			return refuse(FaultDMPClosed)
		case h.status == statusDeleted:
			return refuse(FaultDeleted)
		}
		if want := x.r.Header.Get("If-Match"); want != "" && want != etag(h.version) && want != strconv.Quote(strconv.Itoa(h.version)) {
			return refuse(FaultVersion)
		}
		if err := s.change(ctx, tx, h, p, &c, statusDeleted); err != nil {
			return err
		}
		return s.note(ctx, tx, &t, "ok", http.StatusOK)
	})
	if err != nil {
		return nil, err
	}
	x.trace.noted = true
	return h.reply(), nil
}

// judgePatch accepts the one change that is served: status to entered-in-error.
func judgePatch(body []byte) error {
	root, err := fhir.Parse(body)
	if err != nil || !root.Is(fhir.Array) || len(root.Items()) == 0 || len(root.Items()) > 16 {
		return refuse(FaultPatch)
	}
	for i, op := range root.Items() {
		where := fmt.Sprintf("[%d]", i)
		path := op.Get("path").Text()
		switch {
		case !op.Is(fhir.Object) || !strings.HasPrefix(path, "/"):
			return refuseAt(FaultPatch, where)
		case strings.HasPrefix(path, "/securityLabel") || strings.HasPrefix(path, "/extension"):
			return refuseAt(FaultPatchUnsupported, where)
		case path != "/status":
			return refuseAt(FaultPatchElement, where)
		case op.Get("op").Text() != "replace" || op.Get("value").Text() != statusDeleted:
			return refuseAt(FaultPatch, where)
		}
	}
	return nil
}

func lastModified(ms int64) string { return time.UnixMilli(ms).UTC().Format(http.TimeFormat) }
