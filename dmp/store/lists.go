package store

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// listRows are the lots that match and that the caller may know of.
func (x *exchange) listRows(ctx context.Context, tx *sqldb.Tx, q cursor, v viewer) ([]*held, error) {
	masked, err := x.maskedLots(ctx, tx, q.Patient, v)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT id, date, updated, resource FROM list WHERE patient = ?`, q.Patient)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*indexed
	for rows.Next() {
		row := &indexed{held: held{attributes: attributes{status: statusCurrent}}}
		if err := rows.Scan(&row.id, &row.date, &row.updated, &row.resource); err != nil {
			return nil, err
		}
		if !masked[row.id] {
			all = append(all, row)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return matching(q, listParams, all, v.now)
}

// maskedLots are the lots of a patient with a document that the viewer may not
// know of.
func (x *exchange) maskedLots(ctx context.Context, tx *sqldb.Tx, patient string, v viewer) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT `+heldColumns+` FROM document WHERE patient = ? AND (hidden <> 0 OR invisible <> 0 OR secret <> 0)`, patient)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	masked := map[string]bool{}
	for rows.Next() {
		var h held
		if err := rows.Scan(h.fields()...); err != nil {
			return nil, err
		}
		if !h.sees(v) {
			masked[h.lot] = true
		}
	}
	return masked, rows.Err()
}

// readList reads one lot.
func (x *exchange) readList(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	if x.trace.caller.indirect() {
		return nil, refuse(FaultMode)
	}
	patient, ok := patientOf(x.id())
	if !ok {
		return nil, refuse(FaultNotFound)
	}
	x.trace.target = []string{"List/" + x.id()}
	out := &reply{status: http.StatusOK, etag: etag(1)}
	err := x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		v, err := x.consult(ctx, tx, patient)
		if err != nil {
			return err
		}
		masked, err := x.maskedLots(ctx, tx, patient, v)
		if err != nil {
			return err
		}
		if masked[x.id()] {
			return refuse(FaultNotFound)
		}
		err = tx.QueryRow(ctx, `SELECT updated, resource FROM list WHERE patient = ? AND id = ?`, patient, x.id()).Scan(&out.modified, &out.body)
		if noRows(err) {
			return refuse(FaultNotFound)
		}
		return err
	})
	return out, err
}

// maxIncluded bounds what a search brings along.
const maxIncluded = 1000

// bringer collects the matches of a page and what they bring along, each once.
type bringer struct {
	x      *exchange
	tx     *sqldb.Tx
	q      cursor
	v      viewer
	hits   []hit
	seen   map[string]bool
	masked map[string]bool // lots
}

// takeInclude reads one _include; false when it is not served. A third part
// names the type of the target, which is known.
func (c *cursor) takeInclude(what search, name, value string) bool {
	parts := strings.SplitN(value, ":", 3)
	if len(parts) < 2 {
		return false
	}
	one := parts[0] + ":" + parts[1]
	switch {
	case name == "_include" && slices.Contains(what.include, one):
		c.Include = append(c.Include, one)
	case name == "_include:iterate" && what.include != nil && (slices.Contains(fhir.DocumentIncludes, one) || slices.Contains(fhir.ListIncludes, one)):
		c.Iterate = append(c.Iterate, one)
	case name == "_revinclude" && slices.Contains(what.reverse, one):
		c.Back = append(c.Back, one)
	default:
		return false
	}
	return len(c.Include)+len(c.Iterate)+len(c.Back) <= maxCriteria
}

// match adds one resource of the page.
func (b *bringer) match(ctx context.Context, id string) error {
	return b.add(ctx, b.q.Kind, id, false)
}

// add adds a resource that the viewer may see, once.
func (b *bringer) add(ctx context.Context, kind, id string, included bool) error {
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	if id == "" || b.seen[kind+"/"+id] {
		return nil
	}
	b.seen[kind+"/"+id] = true
	h := hit{kind: kind, id: id, included: included}
	var err error
	switch kind {
	case "Patient":
		h.resource, err = b.x.patientResource(ctx, b.tx, id)
	case "List":
		if b.masked == nil {
			if b.masked, err = b.x.maskedLots(ctx, b.tx, b.q.Patient, b.v); err != nil {
				return err
			}
		}
		if b.masked[id] {
			return nil
		}
		err = b.tx.QueryRow(ctx, `SELECT resource FROM list WHERE patient = ? AND id = ?`, b.q.Patient, id).Scan(&h.resource)
	default:
		h.held, err = b.x.s.document(ctx, b.tx, b.q.Patient, id)
		switch {
		case err != nil:
			return err
		case h.held == nil || h.held.status == statusDeleted || !h.held.sees(b.v):
			return nil
		case b.v.indirect():
			h.resource, err = h.held.minimal()
		default:
			h.resource, err = b.x.s.shown(ctx, b.tx, h.held, b.v)
		}
	}
	if err != nil {
		return err
	}
	if b.hits = append(b.hits, h); included && len(b.hits) > maxIncluded {
		return refuse(FaultCostly)
	}
	return nil
}

// all follows what the page brings along, and what that brings when it is to be
// iterated.
func (b *bringer) all(ctx context.Context) ([]hit, error) {
	for i := 0; i < len(b.hits); i++ {
		h := b.hits[i]
		follow := b.q.Iterate
		if !h.included {
			follow = slices.Concat(b.q.Include, b.q.Iterate)
			if h.held != nil && len(b.q.Back) > 0 {
				if err := b.add(ctx, "List", h.held.lot, true); err != nil {
					return nil, err
				}
			}
		}
		for _, one := range follow {
			if err := b.follow(ctx, h, one); err != nil {
				return nil, err
			}
		}
	}
	return b.hits, nil
}

func (b *bringer) follow(ctx context.Context, h hit, include string) error {
	kind, param, _ := strings.Cut(include, ":")
	switch {
	case kind != h.kind:
		return nil
	case param == "patient" || param == "subject":
		return b.add(ctx, "Patient", b.q.Patient, true)
	case param == "relatesto":
		return b.add(ctx, "DocumentReference", h.held.replaces, true)
	}
	r, err := fhir.Parse(h.resource)
	if err != nil {
		return err
	}
	for _, e := range r.Get("entry").Items() {
		id, _ := strings.CutPrefix(e.Get("item", "reference").Text(), "DocumentReference/")
		if err := b.add(ctx, "DocumentReference", id, true); err != nil {
			return err
		}
	}
	return nil
}

// minimal is what a structure learns of a document (TD3.1b): enough to replace,
// delete or recognise it, nothing of what it says.
func (h *held) minimal() ([]byte, error) {
	return fhir.Marshal(fhir.DocumentReference{
		ResourceType: "DocumentReference",
		ID:           h.id,
		Meta: &fhir.Meta{VersionID: strconv.Itoa(h.version), LastUpdated: instant(h.updated),
			Tag: []fhir.Coding{{System: "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", Code: "SUBSETTED"}}},
		MasterIdentifier: &fhir.Identifier{Use: "usual", System: fhir.SystemURN, Value: h.uniqueID},
		Status:           h.status,
		Content:          []fhir.Content{{Attachment: fhir.Attachment{ContentType: h.contentType, Size: h.size, Hash: h.hash}}},
	})
}
