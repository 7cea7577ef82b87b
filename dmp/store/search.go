package store

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// searchParam is one parameter of a search: how it is declared, and whether a
// row matches one of its values.
type searchParam struct {
	kind  models.SearchParamType
	match func(row *indexed, value string, now int64) (ok bool, err error)
}

// indexed is what a row of a search is matched on.
type indexed struct {
	id, uniqueID, status string
	typ, category        string
	date, updated        int64
	official             string
}

// documentParams are the parameters of ITI-67, besides those that name the
// patient.
var documentParams = map[string]searchParam{
	"patient":            {kind: models.SearchParamTypeReference},
	"patient.identifier": {kind: models.SearchParamTypeToken},
	"_id":                {models.SearchParamTypeToken, func(r *indexed, v string, _ int64) (bool, error) { return r.id == v, nil }},
	"identifier":         {models.SearchParamTypeToken, matchIdentifier},
	"status":             {models.SearchParamTypeToken, func(r *indexed, v string, _ int64) (bool, error) { return matchToken(r.status, v), nil }},
	"type":               {models.SearchParamTypeToken, func(r *indexed, v string, _ int64) (bool, error) { return matchToken(r.typ, v), nil }},
	"category":           {models.SearchParamTypeToken, func(r *indexed, v string, _ int64) (bool, error) { return matchToken(r.category, v), nil }},
	"date":               {models.SearchParamTypeDate, func(r *indexed, v string, now int64) (bool, error) { return matchDate(r.date, v, now) }},
	"_lastUpdated":       {models.SearchParamTypeDate, func(r *indexed, v string, now int64) (bool, error) { return matchDate(r.updated, v, now) }},
}

// listParams are the parameters of ITI-66.
var listParams = map[string]searchParam{
	"patient":            {kind: models.SearchParamTypeReference},
	"patient.identifier": {kind: models.SearchParamTypeToken},
	"_id":                documentParams["_id"],
	"identifier":         documentParams["identifier"],
	"status":             documentParams["status"],
	"code": {models.SearchParamTypeToken, func(_ *indexed, v string, _ int64) (bool, error) {
		_, code, _ := strings.Cut("|"+v, "|")
		if i := strings.LastIndex(v, "|"); i >= 0 {
			code = v[i+1:]
		}
		return code == "submissionset", nil
	}},
	"date":         documentParams["date"],
	"_lastUpdated": documentParams["_lastUpdated"],
}

// resultParams are those that shape the answer.
var resultParams = map[string]bool{"_count": true, "_format": true, "_cursor": true, "_summary": false}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// matchToken matches system|code, |code, code or system| with one a line.
func matchToken(have, want string) bool {
	system, code, both := strings.Cut(want, "|")
	for _, line := range strings.Split(have, "\n") {
		s, c, _ := strings.Cut(line, "|")
		if !strings.Contains(line, "|") {
			s, c = "", line
		}
		switch {
		case !both && c == want, both && code == "" && s == system, both && s == system && c == code:
			return true
		}
	}
	return false
}

func matchIdentifier(r *indexed, v string, _ int64) (bool, error) {
	system, value, found := strings.Cut(v, "|")
	if !found {
		value = system
	} else if system != fhir.SystemURN {
		return false, nil
	}
	return value != "" && (value == r.uniqueID || value == r.official), nil
}

// matchDate compares a time with a prefixed FHIR date (ge2026-01).
func matchDate(at int64, v string, now int64) (bool, error) {
	prefix := "eq"
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		prefix, v = v[:2], v[2:]
	}
	lo, hi, ok := timeRange(v)
	if !ok {
		return false, refuse(FaultSearch)
	}
	switch prefix {
	case "eq":
		return lo <= at && at < hi, nil
	case "ne":
		return at < lo || at >= hi, nil
	case "ge":
		return at >= lo, nil
	case "gt", "sa":
		return at >= hi, nil
	case "le":
		return at < hi, nil
	case "lt", "eb":
		return at < lo, nil
	case "ap": // a tenth of the distance to now, as FHIR suggests
		slack := max(now-lo, lo-now) / 10
		return lo-slack <= at && at < hi+slack, nil
	}
	return false, refuse(FaultSearch)
}

// cursor is where a search goes on, and what it was: it is sealed.
type cursor struct {
	Kind    string              `json:"k"`
	Patient string              `json:"p"`
	Params  map[string][]string `json:"q"`
	Count   int                 `json:"c"`
	Date    int64               `json:"d,omitempty"`
	ID      string              `json:"i,omitempty"`
}

// query reads a search from the query and, for POST _search, from the form.
func (x *exchange) query(kind string, params map[string]searchParam) (cursor, error) {
	c := cursor{Kind: kind, Params: map[string][]string{}, Count: min(50, x.s.limits.PageSize)}
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return c, refuse(FaultSearch)
	}
	if x.r.Method == http.MethodPost {
		body, err := x.read(maxPatch, "application/x-www-form-urlencoded")
		if err != nil {
			return c, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return c, refuse(FaultSearch)
		}
		for name, list := range form {
			values[name] = append(values[name], list...)
		}
	}
	if sealed := values.Get("_cursor"); sealed != "" {
		c, err = x.s.unseal(sealed)
		if err != nil || c.Kind != kind {
			return c, refuseAt(FaultSearch, "_cursor")
		}
		return c, nil
	}
	strict := false
	for _, prefer := range x.r.Header.Values("Prefer") {
		strict = strict || strings.Contains(strings.ReplaceAll(prefer, " ", ""), "handling=strict")
	}
	for _, name := range sortedNames(values) {
		list := values[name]
		if len(list) > 16 {
			return c, refuseAt(FaultSearch, name)
		}
		if _, known := params[name]; known {
			c.Params[name] = list
		} else if strict && !resultParams[name] {
			// The name is foreign text and may hold anything: it is not repeated.
			return c, refuse(FaultSearchParam)
		}
	}
	if raw := values.Get("_count"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 0 {
			return c, refuseAt(FaultSearch, "_count")
		}
		c.Count = min(n, x.s.limits.PageSize)
	}
	return c, nil
}

// patientQuery reads a search that names its patient, and replaces the identity
// by the key of the patient.
func (x *exchange) patientQuery(kind string, params map[string]searchParam) (cursor, error) {
	c, err := x.query(kind, params)
	if err == nil && c.Patient == "" {
		err = x.namePatient(&c)
	}
	x.trace.patient = c.Patient
	return c, err
}

func (x *exchange) namePatient(c *cursor) error {
	list := append(slices.Clone(c.Params["patient.identifier"]), c.Params["patient"]...)
	if len(list) == 0 {
		return refuseAt(FaultNoPatient, "patient.identifier")
	}
	for i, v := range list {
		key := strings.TrimPrefix(v, "Patient/")
		if i < len(c.Params["patient.identifier"]) {
			oid, matricule, ok := parsePatientToken(v)
			if !ok {
				return refuseAt(FaultSearch, "patient.identifier")
			}
			key = x.s.patientKey(oid, matricule)
		}
		if c.Patient != "" && c.Patient != key {
			return refuseAt(FaultSearch, "patient.identifier")
		}
		c.Patient = key
	}
	delete(c.Params, "patient.identifier")
	delete(c.Params, "patient")
	return nil
}

// matches applies every parameter: values of one are alternatives by comma,
// occurrences and parameters must all match.
func (c cursor) matches(params map[string]searchParam, row *indexed, now int64) (bool, error) {
	for _, name := range sortedNames(c.Params) {
		for _, occurrence := range c.Params[name] {
			any := false
			for _, v := range strings.Split(occurrence, ",") {
				ok, err := params[name].match(row, v, now)
				if err != nil {
					return false, refuseAt(FaultSearch, name)
				}
				any = any || ok
			}
			if !any {
				return false, nil
			}
		}
	}
	return true, nil
}

// page cuts one page out of rows, newest first, and says where the next begins.
func (c cursor) page(rows []indexed) (page []indexed, next *cursor) {
	slices.SortFunc(rows, func(a, b indexed) int {
		return cmp.Or(cmp.Compare(b.date, a.date), cmp.Compare(b.id, a.id))
	})
	from := 0
	if c.ID != "" {
		from, _ = slices.BinarySearchFunc(rows, c, func(r indexed, c cursor) int {
			if order := cmp.Or(cmp.Compare(c.Date, r.date), cmp.Compare(c.ID, r.id)); order != 0 {
				return order
			}
			return -1 // the page begins after it
		})
	}
	rows = rows[from:]
	if len(rows) <= c.Count {
		return rows, nil
	}
	page = rows[:c.Count]
	if c.Count > 0 {
		after := c
		after.Date, after.ID = page[c.Count-1].date, page[c.Count-1].id
		next = &after
	}
	return page, next
}

// searchset writes the answer to a search.
func (x *exchange) searchset(c cursor, total int, resources [][2]string, next *cursor) (*reply, error) {
	b := fhir.Bundle{ResourceType: "Bundle", Type: "searchset", Total: &total}
	for _, link := range []struct {
		relation string
		at       *cursor
	}{{"self", &c}, {"next", next}} {
		if link.at == nil {
			continue
		}
		sealed, err := x.s.seal(*link.at)
		if err != nil {
			return nil, err
		}
		b.Link = append(b.Link, fhir.Link{Relation: link.relation, URL: x.s.base.String() + "/" + c.Kind + "?_cursor=" + sealed})
	}
	for _, r := range resources {
		b.Entry = append(b.Entry, fhir.Entry{FullURL: x.s.base.String() + "/" + c.Kind + "/" + r[0],
			Resource: json.RawMessage(r[1]), Search: &fhir.Search{Mode: "match"}})
	}
	body, err := fhir.Marshal(b)
	return &reply{status: http.StatusOK, body: body}, err
}

// searchDocuments finds documents: ITI-67 for a professional (TD3.1a), one
// uniqueId for a structure (TD3.1b).
func (x *exchange) searchDocuments(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	q, err := x.patientQuery("DocumentReference", documentParams)
	if err != nil {
		return nil, err
	}
	c := x.trace.caller
	if c.indirect() {
		x.trace.action = "TD3.1b"
		if len(q.Params["identifier"]) != 1 || strings.Contains(q.Params["identifier"][0], ",") {
			return nil, refuse(FaultMode)
		}
	}
	var total int
	var found [][2]string
	var next *cursor
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found = nil
		if err := x.searchable(ctx, tx, q.Patient); err != nil {
			return err
		}
		rows, err := x.documentRows(ctx, tx, q)
		if err != nil {
			return err
		}
		total = len(rows)
		var page []indexed
		page, next = q.page(rows)
		for _, row := range page {
			h, err := x.s.document(ctx, tx, q.Patient, row.id)
			if err != nil {
				return err
			}
			resource := h.resource
			if c.indirect() {
				if resource, err = h.minimal(); err != nil {
					return err
				}
			}
			found = append(found, [2]string{h.id, string(resource)})
			x.trace.target = append(x.trace.target, h.id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return x.searchset(q, total, found, next)
}

// searchable checks that the caller may search the record of a patient.
func (x *exchange) searchable(ctx context.Context, tx *sqldb.Tx, patient string) error {
	p, err := x.s.patient(ctx, tx, patient)
	switch {
	case err != nil:
		return err
	case p == nil:
		return refuse(FaultNoDMP)
	case p.state != StateOpen:
		return refuse(FaultDMPClosed)
	case x.trace.caller.indirect():
		return nil
	}
	return x.s.mayConsult(ctx, tx, &x.trace.caller, patient)
}

// documentRows are the documents that match and that the caller may know of.
func (x *exchange) documentRows(ctx context.Context, tx *sqldb.Tx, q cursor) (out []indexed, err error) {
	now := x.s.clock().UnixMilli()
	official := ""
	for _, v := range q.Params["identifier"] {
		if i := strings.Index(v, "urn:uuid:"); i >= 0 {
			official = v[i:]
		}
	}
	columns := heldColumns
	if official != "" {
		columns += ", resource"
	}
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM document WHERE patient = ? AND status <> ?`, q.Patient, statusDeleted)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h held
		fields := h.fields()
		if official != "" {
			fields = append(fields, &h.resource)
		}
		if err := rows.Scan(fields...); err != nil {
			return nil, err
		}
		if !h.sees(&x.trace.caller) {
			continue
		}
		row := indexed{id: h.id, uniqueID: h.uniqueID, status: h.status, typ: h.typ, category: h.category, date: h.date, updated: h.updated}
		if official != "" {
			r, err := fhir.Parse(h.resource)
			if err != nil {
				return nil, err
			}
			row.official = officialValue(r).Text()
		}
		ok, err := q.matches(documentParams, &row, now)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, row)
		}
	}
	return out, rows.Err()
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

// searchLists finds lots (ITI-66). A lot with a masked document is hidden with
// it: its entries would say that the document exists.
func (x *exchange) searchLists(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	if x.trace.caller.indirect() {
		return nil, refuse(FaultMode)
	}
	q, err := x.patientQuery("List", listParams)
	if err != nil {
		return nil, err
	}
	var total int
	var found [][2]string
	var next *cursor
	err = x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found = nil
		if err := x.searchable(ctx, tx, q.Patient); err != nil {
			return err
		}
		rows, err := x.listRows(ctx, tx, q)
		if err != nil {
			return err
		}
		total = len(rows)
		var page []indexed
		page, next = q.page(rows)
		for _, row := range page {
			var resource []byte
			if err := tx.QueryRow(ctx, `SELECT resource FROM list WHERE patient = ? AND id = ?`, q.Patient, row.id).Scan(&resource); err != nil {
				return err
			}
			found = append(found, [2]string{row.id, string(resource)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return x.searchset(q, total, found, next)
}

func (x *exchange) listRows(ctx context.Context, tx *sqldb.Tx, q cursor) (out []indexed, err error) {
	masked, err := x.maskedLots(ctx, tx, q.Patient)
	if err != nil {
		return nil, err
	}
	now := x.s.clock().UnixMilli()
	rows, err := tx.Query(ctx, `SELECT id, unique_id, date, updated, resource FROM list WHERE patient = ?`, q.Patient)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		row := indexed{status: statusCurrent}
		var resource []byte
		if err := rows.Scan(&row.id, &row.uniqueID, &row.date, &row.updated, &resource); err != nil {
			return nil, err
		}
		if masked[row.id] {
			continue
		}
		if len(q.Params["identifier"]) > 0 {
			r, err := fhir.Parse(resource)
			if err != nil {
				return nil, err
			}
			row.official = officialValue(r).Text()
		}
		ok, err := q.matches(listParams, &row, now)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, row)
		}
	}
	return out, rows.Err()
}

// maskedLots are the lots of a patient with a document that the caller may not
// know of.
func (x *exchange) maskedLots(ctx context.Context, tx *sqldb.Tx, patient string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT lot, finess, authors FROM document WHERE patient = ? AND hidden <> 0`, patient)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	masked := map[string]bool{}
	for rows.Next() {
		h := held{hidden: true}
		if err := rows.Scan(&h.lot, &h.finess, &h.authors); err != nil {
			return nil, err
		}
		if !h.sees(&x.trace.caller) {
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
		if err := x.consult(ctx, tx, patient); err != nil {
			return err
		}
		masked, err := x.maskedLots(ctx, tx, patient)
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
