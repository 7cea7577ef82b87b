package store

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// Bounds of one search.
const (
	maxCriteria     = 32
	maxAlternatives = 100
)

// criterion is one parameter of a search, read: the values are alternatives.
type criterion struct {
	Name     string   `json:"n"`
	Modifier string   `json:"m,omitempty"`
	Of       string   `json:"o,omitempty"` // type of the resource that a chain goes through
	Values   []string `json:"v"`
}

// cursor is where a search goes on, and what it was: it is sealed.
type cursor struct {
	Kind     string      `json:"k"`
	Patient  string      `json:"p"`
	Criteria []criterion `json:"q,omitempty"`
	Sort     []string    `json:"s,omitempty"`
	Include  []string    `json:"in,omitempty"` // Type:param
	Iterate  []string    `json:"it,omitempty"`
	Back     []string    `json:"ri,omitempty"` // _revinclude
	Count    int         `json:"c"`
	ID       string      `json:"i,omitempty"` // of the last one given, with what it is sorted by
	Date     int64       `json:"d,omitempty"`
	Updated  int64       `json:"u,omitempty"`
}

// search is what one resource type can be searched by and bring along.
type search struct {
	kind             string
	params           map[string]searchParam
	include, reverse []string
}

var (
	documentSearch = search{"DocumentReference", documentParams, fhir.DocumentIncludes, fhir.DocumentRevIncludes}
	listSearch     = search{"List", listParams, fhir.ListIncludes, nil}
	patientSearch  = search{"Patient", patientParams, nil, nil}
)

// modifiers are what may follow a parameter, by its type; missing goes with all.
var modifiers = map[models.SearchParamType][]string{
	models.SearchParamTypeString: {"exact", "contains"},
	models.SearchParamTypeToken:  {"not"},
}

// splitName reads base[:Type][.chain][:modifier]. A reference's :identifier is
// a chain; a chain from a PractitionerRole through its practitioner ends at the
// same names.
func splitName(raw string) (name, modifier, of string) {
	parts := strings.Split(raw, ".")
	for i, part := range parts {
		base, qualifier, _ := strings.Cut(part, ":")
		parts[i] = base
		switch {
		case qualifier == "":
		case qualifier[0] >= 'A' && qualifier[0] <= 'Z':
			if i == 0 {
				of = qualifier
			}
		case qualifier == "identifier":
			parts[i] += ".identifier"
		case i == len(parts)-1:
			modifier = qualifier
		default:
			parts[i] = part // a modifier in the middle: no such name
		}
	}
	if len(parts) == 3 && parts[1] == "practitioner" {
		parts = []string{parts[0], parts[2]}
	}
	return strings.Join(parts, "."), modifier, of
}

// splitValues cuts at commas that no backslash precedes.
func splitValues(s string) (out []string) {
	var one strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			one.WriteByte(s[i])
		case s[i] == ',':
			out = append(out, one.String())
			one.Reset()
		default:
			one.WriteByte(s[i])
		}
	}
	return append(out, one.String())
}

// query reads a search from the query and, for POST _search, from the form.
func (x *exchange) query(what search) (cursor, error) {
	c := cursor{Kind: what.kind, Count: min(50, x.s.limits.PageSize)}
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
		if err != nil || c.Kind != what.kind {
			return c, refuseAt(FaultSearch, "_cursor")
		}
		return c, nil
	}
	strict := false
	for _, prefer := range x.r.Header.Values("Prefer") {
		strict = strict || strings.Contains(strings.ReplaceAll(prefer, " ", ""), "handling=strict")
	}
	for _, name := range sortedNames(values) {
		for _, value := range values[name] {
			known, err := c.take(what, name, value)
			switch {
			case err != nil:
				return c, err
			case !known && strict:
				// The name is foreign text and may hold anything: it is not repeated.
				return c, refuse(FaultSearchParam)
			case len(c.Criteria) > maxCriteria:
				return c, refuse(FaultSearch)
			}
		}
	}
	c.Count = min(c.Count, x.s.limits.PageSize)
	return c, nil
}

// take reads one parameter; false when it is not one that is served.
func (c *cursor) take(what search, name, value string) (known bool, err error) {
	switch name {
	case "_format", "_cursor":
		return true, nil
	case "_count":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return true, refuseAt(FaultSearch, "_count")
		}
		c.Count = n
		return true, nil
	case "_summary":
		if value == "count" {
			c.Count = 0
		}
		return value == "count" || value == "false", nil
	case "_total":
		return value == "accurate" || value == "estimate" || value == "none", nil
	case "_sort":
		c.Sort = strings.Split(value, ",")
		for _, s := range c.Sort {
			if !slices.Contains(sortKeys, strings.TrimPrefix(s, "-")) {
				c.Sort = nil
				return false, nil
			}
		}
		return what.kind != "Patient", nil
	case "_include", "_include:iterate", "_revinclude":
		return c.takeInclude(what, name, value), nil
	}
	base, modifier, of := splitName(name)
	param, ok := what.params[base]
	if !ok {
		return false, nil
	}
	q := criterion{Name: base, Modifier: modifier, Of: of, Values: splitValues(value)}
	if err := q.judge(param); err != nil {
		return true, err
	}
	c.Criteria = append(c.Criteria, q)
	return true, nil
}

// judge refuses what could not be matched, whether or not there is a row, and
// folds texts once.
func (q criterion) judge(param searchParam) error {
	bad := refuseAt(FaultSearch, q.Name)
	switch {
	case len(q.Values) > maxAlternatives || slices.Contains(q.Values, "") || slices.Contains(q.Values, "|"):
		return bad
	case param.get == nil:
		if q.Modifier != "" {
			return bad
		}
	case q.Modifier == "missing":
		if len(q.Values) != 1 || q.Values[0] != "true" && q.Values[0] != "false" {
			return bad
		}
		return nil
	case q.Modifier != "" && !slices.Contains(modifiers[param.kind], q.Modifier):
		return bad
	case param.kind == models.SearchParamTypeDate:
		for _, v := range q.Values {
			if _, ok := readDate(v); !ok {
				return bad
			}
		}
	case param.kind == models.SearchParamTypeString && q.Modifier != "exact":
		for i, v := range q.Values {
			if q.Values[i] = folded(v); q.Values[i] == "" {
				return bad // it would begin every text
			}
		}
	}
	return nil
}

// values are those of the criteria of one name.
func (c cursor) values(name string) (out []string) {
	for _, q := range c.Criteria {
		if q.Name == name {
			out = append(out, q.Values...)
		}
	}
	return out
}

// patientQuery reads a search that names its patient, and replaces the identity
// by the key of the patient.
func (x *exchange) patientQuery(what search) (cursor, error) {
	c, err := x.query(what)
	if err == nil && c.Patient == "" {
		err = x.namePatient(&c)
	}
	x.trace.patient = c.Patient
	return c, err
}

func (x *exchange) namePatient(c *cursor) error {
	rest := c.Criteria[:0]
	for _, q := range c.Criteria {
		base, chained, isPatient := "", false, false
		base, _, chained = strings.Cut(q.Name, ".")
		isPatient = base == "patient" || base == "subject"
		if !isPatient {
			rest = append(rest, q)
			continue
		}
		if len(q.Values) != 1 || q.Of != "" && q.Of != "Patient" {
			return refuseAt(FaultSearch, q.Name)
		}
		key := strings.TrimPrefix(strings.TrimPrefix(q.Values[0], x.s.base.String()+"/"), "Patient/")
		if chained {
			oid, matricule, ok := parsePatientToken(q.Values[0])
			if !ok {
				return refuseAt(FaultSearch, q.Name)
			}
			key = x.s.patientKey(oid, matricule)
		}
		if c.Patient != "" && c.Patient != key {
			return refuseAt(FaultSearch, q.Name)
		}
		c.Patient = key
	}
	c.Criteria = rest
	if c.Patient == "" {
		return refuseAt(FaultNoPatient, "patient.identifier")
	}
	return nil
}

// matches applies every criterion: its values are alternatives, criteria must
// all match. Those on columns go first; the resource is read only if need be.
func (c cursor) matches(params map[string]searchParam, row *indexed, now int64) (bool, error) {
	for _, deep := range []bool{false, true} {
		for _, q := range c.Criteria {
			param := params[q.Name]
			if param.deep != deep {
				continue
			}
			if deep && row.node == nil {
				var err error
				if row.node, err = fhir.Parse(row.resource); err != nil {
					return false, err
				}
			}
			if !q.matches(param, row, now, c.Kind) {
				return false, nil
			}
		}
	}
	return true, nil
}

func (q criterion) matches(param searchParam, row *indexed, now int64, kind string) bool {
	have := param.get(row, q.Of)
	if q.Modifier == "missing" {
		return have.missing() == (q.Values[0] == "true")
	}
	if param.kind == models.SearchParamTypeString {
		return matchTexts(have.texts, q.Values, q.Modifier)
	}
	any := slices.ContainsFunc(q.Values, func(v string) bool {
		switch param.kind {
		case models.SearchParamTypeDate:
			d, _ := readDate(v)
			return d.matches(have.ranges, now, q.Name == "period")
		case models.SearchParamTypeReference:
			return slices.ContainsFunc(have.refs, func(ref string) bool {
				return ref == v || q.Of != "" && ref == q.Of+"/"+v || q.Of == "" && !strings.Contains(v, "/") && strings.HasSuffix(ref, "/"+v)
			})
		}
		return matchTokens(have.tokens, v)
	})
	return any != (q.Modifier == "not")
}

// deep tells whether the resources must be read.
func (c cursor) deep(params map[string]searchParam) bool {
	return slices.ContainsFunc(c.Criteria, func(q criterion) bool { return params[q.Name].deep })
}

// sortKeys are what an answer can be sorted by; newest first unless it is said.
var sortKeys = []string{"date", "_lastUpdated", "_id"}

func (c cursor) compare(a, b *held) int {
	sorts := c.Sort
	if len(sorts) == 0 {
		sorts = []string{"-date"}
	}
	for _, s := range sorts {
		name, down := strings.CutPrefix(s, "-")
		order := 0
		switch name {
		case "date":
			order = cmp.Compare(a.date, b.date)
		case "_lastUpdated":
			order = cmp.Compare(a.updated, b.updated)
		case "_id":
			order = cmp.Compare(a.id, b.id)
		}
		if down {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(b.id, a.id)
}

// page cuts one page out of rows, and says where the next begins.
func (c cursor) page(rows []*held) (page []*held, next *cursor) {
	slices.SortFunc(rows, c.compare)
	if c.ID != "" {
		last := &held{id: c.ID, date: c.Date, updated: c.Updated}
		from, _ := slices.BinarySearchFunc(rows, last, func(r, last *held) int {
			return cmp.Or(c.compare(r, last), -1) // the page begins after it
		})
		rows = rows[from:]
	}
	if len(rows) <= c.Count {
		return rows, nil
	}
	page = rows[:c.Count]
	if c.Count > 0 {
		after, last := c, page[c.Count-1]
		after.ID, after.Date, after.Updated = last.id, last.date, last.updated
		next = &after
	}
	return page, next
}

// hit is one entry of an answer.
type hit struct {
	kind, id string
	resource []byte
	held     *held // of a document
	included bool
}

// searchset writes the answer to a search.
func (x *exchange) searchset(c cursor, total int, hits []hit, next *cursor) (*reply, error) {
	b := fhir.Bundle{ResourceType: "Bundle", Type: "searchset", Total: &total}
	first := c
	first.ID, first.Date, first.Updated = "", 0, 0
	for _, link := range []struct {
		relation string
		at       *cursor
	}{{"self", &c}, {"next", next}, {"first", &first}} {
		if link.at == nil {
			continue
		}
		sealed, err := x.s.seal(*link.at)
		if err != nil {
			return nil, err
		}
		b.Link = append(b.Link, fhir.Link{Relation: link.relation, URL: x.s.base.String() + "/" + c.Kind + "?_cursor=" + sealed})
	}
	for _, h := range hits {
		mode := "match"
		if h.included {
			mode = "include"
		}
		b.Entry = append(b.Entry, fhir.Entry{FullURL: x.s.base.String() + "/" + h.kind + "/" + h.id,
			Resource: json.RawMessage(h.resource), Search: &fhir.Search{Mode: mode}})
	}
	body, err := fhir.Marshal(b)
	return &reply{status: http.StatusOK, body: body}, err
}

// searchDocuments finds documents: ITI-67 for a professional or the patient
// (TD3.1a), one uniqueId for a structure (TD3.1b).
func (x *exchange) searchDocuments(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	q, err := x.patientQuery(documentSearch)
	if err != nil {
		return nil, err
	}
	if x.trace.caller.indirect() {
		x.trace.action = "TD3.1b"
		// What else it could ask would tell what a document says.
		other := slices.ContainsFunc(q.Criteria, func(c criterion) bool {
			return c.Modifier != "" || c.Name != "identifier" && c.Name != "status"
		})
		if other || len(q.values("identifier")) != 1 || len(q.Include)+len(q.Iterate)+len(q.Back) > 0 {
			return nil, refuse(FaultMode)
		}
	}
	return x.answerSearch(ctx, q, x.documentRows)
}

// searchLists finds lots (ITI-66). A lot with a document that the caller may
// not know of is hidden with it: its entries would say that the document exists.
func (x *exchange) searchLists(ctx context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	if x.trace.caller.indirect() {
		return nil, refuse(FaultMode)
	}
	q, err := x.patientQuery(listSearch)
	if err != nil {
		return nil, err
	}
	return x.answerSearch(ctx, q, x.listRows)
}

// answerSearch finds rows, cuts a page, and brings along what is asked for.
func (x *exchange) answerSearch(ctx context.Context, q cursor, rowsOf func(context.Context, *sqldb.Tx, cursor, viewer) ([]*held, error)) (*reply, error) {
	var total int
	var hits []hit
	var next *cursor
	err := x.s.db.Read(ctx, func(tx *sqldb.Tx) error {
		hits = nil
		v, err := x.searchable(ctx, tx, q.Patient)
		if err != nil {
			return err
		}
		rows, err := rowsOf(ctx, tx, q, v)
		if err != nil {
			return err
		}
		total = len(rows)
		var page []*held
		page, next = q.page(rows)
		b := &bringer{x: x, tx: tx, q: q, v: v}
		for _, row := range page {
			if err := b.match(ctx, row.id); err != nil {
				return err
			}
		}
		hits, err = b.all(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, h := range hits {
		x.trace.target = append(x.trace.target, h.id)
	}
	return x.searchset(q, total, hits, next)
}

// searchable checks that the caller may search the record of a patient.
func (x *exchange) searchable(ctx context.Context, tx *sqldb.Tx, patient string) (viewer, error) {
	c := &x.trace.caller
	if c.mode == modePatient && c.patient != patient {
		return viewer{}, refuse(FaultMode)
	}
	p, err := x.s.patient(ctx, tx, patient)
	switch {
	case err != nil:
		return viewer{}, err
	case p == nil:
		return viewer{}, refuse(FaultNoDMP)
	case p.state != StateOpen:
		return viewer{}, refuse(FaultDMPClosed)
	case c.indirect():
		return x.viewer(ctx, tx, patient)
	}
	return x.consultant(ctx, tx, patient)
}

// documentRows are the documents that match and that the caller may know of.
func (x *exchange) documentRows(ctx context.Context, tx *sqldb.Tx, q cursor, v viewer) (out []*held, err error) {
	columns, deep := heldColumns, q.deep(documentParams)
	if deep {
		columns += ", resource"
	}
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM document WHERE patient = ? AND status <> ?`, q.Patient, statusDeleted)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*indexed
	unseen := map[string]bool{}
	for rows.Next() {
		row := &indexed{unseen: unseen}
		fields := row.fields()
		if deep {
			fields = append(fields, &row.resource)
		}
		if err := rows.Scan(fields...); err != nil {
			return nil, err
		}
		if row.sees(v) {
			all = append(all, row)
		} else {
			unseen[row.id] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return matching(q, documentParams, all, v.now)
}

// matching keeps the rows that match.
func matching(q cursor, params map[string]searchParam, all []*indexed, now int64) (out []*held, err error) {
	for _, row := range all {
		ok, err := q.matches(params, row, now)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, &row.held)
		}
	}
	return out, nil
}
