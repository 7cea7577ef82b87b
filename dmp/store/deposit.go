package store

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// transaction takes a lot (ITI-65, TD2 option B).
func (x *exchange) transaction(ctx context.Context) (*reply, error) {
	if !x.trace.caller.indirect() {
		return nil, refuse(FaultMode)
	}
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	s := x.s
	// A lot is held in memory while it is judged: their number is bounded.
	wait := time.NewTimer(s.limits.Wait)
	defer wait.Stop()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-wait.C:
		return nil, refuse(FaultBusy)
	case <-ctx.Done():
		return nil, refuse(FaultBusy)
	}
	body, err := x.read(s.limits.Body, fhir.MediaType, "application/json")
	if err != nil {
		return nil, err
	}
	l, err := readLot(body)
	if l != nil && l.matricule != "" {
		x.trace.patient = s.patientKey(l.oid, l.matricule)
	}
	if err != nil {
		return nil, err
	}

	var response []byte
	var replaced map[string]*held
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		response, _, replaced, err = x.admit(ctx, tx, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	if response != nil {
		return &reply{status: http.StatusOK, body: response}, nil
	}
	for _, d := range l.documents {
		if d.digest, err = s.blobs.Put(ctx, d.content); err != nil {
			return nil, err
		}
	}
	t := x.trace
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		t = x.trace // the function may run several times
		var p *known
		response, p, replaced, err = x.admit(ctx, tx, l)
		if err != nil || response != nil {
			return err
		}
		response, err = x.record(ctx, tx, l, p, replaced, &t)
		if err != nil {
			return err
		}
		return s.note(ctx, tx, &t, "ok", http.StatusOK)
	})
	if err != nil {
		return nil, err
	}
	// A lot that somebody else committed meanwhile is a replay: its audit row
	// is still to be written.
	x.trace.noted = len(t.target) > 0
	return &reply{status: http.StatusOK, body: response}, nil
}

// admit compares a lot with what the store holds. A lot that is already there
// gives the response of the first time.
func (x *exchange) admit(ctx context.Context, tx *sqldb.Tx, l *lot) (response []byte, p *known, replaced map[string]*held, err error) {
	s, c := x.s, x.trace.caller
	key := s.patientKey(l.oid, l.matricule)
	fail := func(err error) ([]byte, *known, map[string]*held, error) { return nil, nil, nil, err }

	var owner string
	err = tx.QueryRow(ctx, `SELECT patient FROM lot WHERE unique_id = ?`, l.uniqueID).Scan(&owner)
	switch {
	case err == nil:
		var digest, finess string
		if owner == key {
			err = tx.QueryRow(ctx, `SELECT digest, finess, response FROM list WHERE patient = ? AND unique_id = ?`, key, l.uniqueID).
				Scan(&digest, &finess, &response)
			if err != nil {
				return fail(err)
			}
		}
		if digest != l.digest || finess != c.finess {
			return fail(refuseAt(FaultLotConflict, l.list.at("identifier")))
		}
		return response, nil, nil, nil
	case !noRows(err):
		return fail(err)
	}

	p, err = s.patient(ctx, tx, key)
	switch {
	case err != nil:
		return fail(err)
	case p == nil:
		return fail(refuseAt(FaultNoDMP, l.list.at("subject")))
	case p.state != StateOpen:
		return fail(refuseAt(FaultDMPClosed, l.list.at("subject")))
	}
	var out refusals
	replaced = map[string]*held{}
	for _, d := range l.documents {
		err := tx.QueryRow(ctx, `SELECT patient FROM unique_id WHERE unique_id = ?`, d.uniqueID).Scan(&owner)
		if err == nil {
			out.add(FaultDuplicate, d.at("masterIdentifier"))
		} else if !noRows(err) {
			return fail(err)
		}
		if d.patch == nil {
			continue
		}
		where := d.at("relatesTo[0].target")
		h, err := s.document(ctx, tx, key, d.patch.target)
		if err != nil {
			return fail(err)
		}
		identifier := d.replaces.Get("identifier", "value").Text()
		switch {
		case h == nil, identifier != "" && identifier != h.uniqueID, !h.sees(viewer{caller: &c}):
			out.add(FaultUnknownTarget, where)
		case h.finess != c.finess:
			out.add(FaultNotAuthor, where)
		case h.status != statusCurrent, replaced[h.id] != nil:
			out.add(FaultNotCurrent, where)
		default:
			replaced[h.id] = h
		}
	}
	return nil, p, replaced, out.err()
}

// record writes a lot that was admitted, and its response.
func (x *exchange) record(ctx context.Context, tx *sqldb.Tx, l *lot, p *known, replaced map[string]*held, t *trace) ([]byte, error) {
	s, c := x.s, x.trace.caller
	now, err := s.tick(ctx, tx, p)
	if err != nil {
		return nil, err
	}
	listID, err := s.newID(p.key)
	if err != nil {
		return nil, err
	}
	answers := make([]fhir.Entry, l.entries)
	created := func(p *part, kind, id string) {
		location := kind + "/" + id
		if kind != "Binary" {
			location += "/_history/1"
		}
		answers[p.index].Response = &fhir.Response{Status: "201 Created", Location: location, Etag: etag(1), LastModified: instant(now)}
		t.target = append(t.target, kind+"/"+id)
	}
	created(l.list, "List", listID)
	ids := map[string]string{} // fullUrl → id
	for _, d := range l.documents {
		if ids[d.fullURL], err = s.newID(p.key); err != nil {
			return nil, err
		}
	}

	for _, d := range l.documents {
		id := ids[d.fullURL]
		as := d.attributes
		if old := d.replaced(replaced); old != nil && old.hidden && !d.invisible {
			as.hidden = true // the patient masked the document: its next version must not undo it
		}
		resource, err := s.stored(d, p, id, now, as)
		if err != nil {
			return nil, err
		}
		date, _, _ := timeRange(d.resource.Get("date").Text())
		h := &held{patient: p.key, id: id, version: 1, uniqueID: d.uniqueID, attributes: as, deposited: now,
			typ: tokens(d.resource.Get("type")), category: tokens(d.resource.Get("category").Items()...), date: date, updated: now,
			finess: c.finess, authors: authorsOf(d.resource), lot: listID, content: d.digest,
			contentType: d.contentType, size: int64(len(d.content)), hash: d.hash, resource: resource}
		if d.patch != nil {
			h.replaces = d.patch.target
		}
		if err := s.insertDocument(ctx, tx, h, &c); err != nil {
			return nil, err
		}
		created(d.part, "DocumentReference", id)
		created(d.binary, "Binary", id)
		if d.patch == nil {
			continue
		}
		old := d.replaced(replaced)
		superseded := old.attributes
		superseded.status = statusSuperseded
		if err := s.change(ctx, tx, old, p, &c, superseded); err != nil {
			return nil, err
		}
		answers[d.patch.index].Response = &fhir.Response{Status: "200 OK",
			Location: fmt.Sprintf("DocumentReference/%s/_history/%d", old.id, old.version), Etag: etag(old.version), LastModified: instant(old.updated)}
		t.target = append(t.target, "DocumentReference/"+old.id)
	}

	response, err := fhir.Marshal(fhir.Bundle{ResourceType: "Bundle", Type: "transaction-response", Entry: answers})
	if err != nil {
		return nil, err
	}
	list := l.list.resource
	edits := []fhir.Edit{list.Set("id", fhir.Quote(listID)), subjectEdit(list, p)}
	edits = append(edits, metaEdits(list, 1, now)...)
	for _, e := range list.Get("entry").Items() {
		ref := e.Get("item", "reference")
		edits = append(edits, ref.Replace(fhir.Quote("DocumentReference/"+ids[ref.Text()])))
	}
	date, _, _ := timeRange(list.Get("date").Text())
	_, err = tx.Exec(ctx, `INSERT INTO list (patient, id, unique_id, finess, digest, date, updated, response, resource) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.key, listID, l.uniqueID, c.finess, l.digest, date, now, response, fhir.Splice(list, edits...))
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO lot (unique_id, patient) VALUES (?, ?)`, l.uniqueID, p.key)
	return response, err
}

// replaced is what a document replaces, of what was found; nil when nothing.
func (d *document) replaced(found map[string]*held) *held {
	if d.patch == nil {
		return nil
	}
	return found[d.patch.target]
}

// stored is the resource as it will be served: what was received, with what
// the server decides spliced in.
func (s *Store) stored(d *document, p *known, id string, now int64, as attributes) ([]byte, error) {
	r := d.resource
	edits := []fhir.Edit{
		r.Set("id", fhir.Quote(id)),
		subjectEdit(r, p),
		attachment(r).Get("url").Replace(fhir.Quote("Binary/" + id)),
	}
	edits = append(edits, metaEdits(r, 1, now)...)
	if as != d.attributes {
		edits = append(edits, labelsEdit(r, as.flags()))
	}
	if d.patch != nil {
		edits = append(edits, d.replaces.Set("reference", fhir.Quote("DocumentReference/"+d.patch.target)))
	}
	if officialValue(r) == nil {
		uuid, err := s.newUUID()
		if err != nil {
			return nil, err
		}
		edits = append(edits, officialEdit(r, uuid))
	}
	return fhir.Splice(r, edits...), nil
}

// subjectEdit resolves the reference to the patient, as a transaction does.
func subjectEdit(r *fhir.Node, p *known) fhir.Edit {
	return r.Get("subject").Set("reference", fhir.Quote("Patient/"+p.key))
}

// metaEdits sets what the server says of a version.
func metaEdits(r *fhir.Node, version int, at int64) []fhir.Edit {
	versionID, updated := fhir.Quote(fmt.Sprint(version)), fhir.Quote(instant(at))
	meta := r.Get("meta")
	if !meta.Is(fhir.Object) || len(meta.Members()) == 0 {
		return []fhir.Edit{r.Set("meta", `{"versionId":`+versionID+`,"lastUpdated":`+updated+`}`)}
	}
	return []fhir.Edit{meta.Set("versionId", versionID), meta.Set("lastUpdated", updated)}
}

// officialValue is the value of the entryUUID; nil when there is none.
func officialValue(r *fhir.Node) *fhir.Node {
	for _, id := range r.Get("identifier").Items() {
		if id.Get("use").Text() == "official" {
			return id.Get("value")
		}
	}
	return nil
}

// officialEdit gives the resource another entryUUID.
func officialEdit(r *fhir.Node, uuid string) fhir.Edit {
	if v := officialValue(r); v != nil {
		return v.Replace(fhir.Quote(uuid))
	}
	one := `{"use":"official","system":` + fhir.Quote(fhir.SystemURN) + `,"value":` + fhir.Quote(uuid) + `}`
	if list := r.Get("identifier"); list.Is(fhir.Array) && len(list.Items()) > 0 {
		first := list.Items()[0]
		return first.Replace(one + "," + string(first.Raw()))
	}
	return r.Set("identifier", "["+one+"]")
}

func etag(version int) string { return fmt.Sprintf(`W/"%d"`, version) }

// tokens writes the codes of concepts as they are searched.
func tokens(concepts ...*fhir.Node) string {
	var list []string
	for _, c := range concepts {
		for _, pair := range codings(c) {
			list = append(list, pair[0]+"|"+pair[1])
		}
	}
	return strings.Join(list, "\n")
}

// authorsOf lists the national ids of authors and authenticator: they may
// delete, and see what they masked.
func authorsOf(r *fhir.Node) string {
	var list []string
	var collect func(resource *fhir.Node)
	collect = func(resource *fhir.Node) {
		for _, id := range resource.Get("identifier").Items() {
			if id.Get("system").Text() == fhir.SystemProfessional && id.Get("value").Text() != "" {
				list = append(list, id.Get("value").Text())
			}
		}
		if ref := resource.Get("practitioner"); ref != nil && resource.Get("resourceType").Text() == "PractitionerRole" {
			collect(r.Contained(ref))
		}
	}
	for _, ref := range append([]*fhir.Node{r.Get("authenticator")}, r.Get("author").Items()...) {
		if c := r.Contained(ref); c != nil {
			collect(c)
		}
	}
	return strings.Join(list, "\n")
}
