package store

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

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
	wish, err := readPatch(body)
	if err != nil {
		return nil, err
	}
	s, c := x.s, x.trace.caller
	out := &reply{status: http.StatusOK}
	t := x.trace
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		t = x.trace
		h, err := find(tx)
		if err != nil {
			return err
		}
		if h == nil {
			return refuse(FaultNotFound)
		}
		v, err := x.viewer(ctx, tx, h.patient)
		if err != nil {
			return err
		}
		if !h.sees(v) {
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
		case v.status == Blocked:
			return refuse(FaultBlocked)
		case wish.deletes && !h.wrote(&c):
			return refuse(FaultNotAuthor)
		case p.state != StateOpen:
			return refuse(FaultDMPClosed)
		case h.status == statusDeleted:
			return refuse(FaultDeleted)
		case h.status == statusSuperseded && !wish.deletes:
			return refuse(FaultNotCurrent)
		}
		if !x.matches(h.version) {
			return refuse(FaultVersion)
		}
		changed, err := x.apply(ctx, tx, h, p, v, wish, &t)
		if err != nil {
			return err
		}
		for _, id := range changed {
			t.target = append(t.target, "DocumentReference/"+id)
		}
		if out.body, err = s.shown(ctx, tx, h, v); err != nil {
			return err
		}
		out.etag, out.modified = etag(h.version), h.updated
		return s.note(ctx, tx, &t, "ok", http.StatusOK)
	})
	if err != nil {
		return nil, err
	}
	x.trace.noted = true
	return out, nil
}

// matches tells whether If-Match admits a version; without it, all are.
func (x *exchange) matches(version int) bool {
	list := x.r.Header.Values("If-Match")
	if len(list) == 0 {
		return true
	}
	for _, one := range strings.Split(strings.Join(list, ","), ",") {
		if one = strings.TrimSpace(one); one == "*" || one == etag(version) || one == strconv.Quote(strconv.Itoa(version)) {
			return true
		}
	}
	return false
}

// apply makes a change that is allowed, and says which replaced versions
// followed. What is already so makes no version.
func (x *exchange) apply(ctx context.Context, tx *sqldb.Tx, h *held, p *known, v viewer, wish *wish, t *trace) (followed []string, err error) {
	to, err := wish.on(h)
	if err != nil {
		return nil, err
	}
	if h.invisible && v.now >= announcementEnds(h.deposited) && !h.attributes.visibleTo(to) {
		// The month is over: the label has no effect left, and goes with the next change.
		h.invisible, to.invisible = false, false
	}
	t.action, x.trace.action = actionOf(h.attributes, to), actionOf(h.attributes, to)
	if err := h.mayChange(v, to); err != nil {
		return nil, err
	}
	before := h.attributes
	if before == to {
		return nil, nil
	}
	if err := x.s.change(ctx, tx, h, p, v.caller, to); err != nil {
		return nil, err
	}
	if before.visibleTo(to) {
		return nil, nil
	}
	// What says the same in older words is seen by the same people.
	for id, seen := h.replaces, map[string]bool{}; id != "" && !seen[id]; {
		seen[id] = true
		old, err := x.s.document(ctx, tx, h.patient, id)
		if err != nil || old == nil {
			return followed, err
		}
		id = old.replaces
		follow := old.attributes
		follow.hidden, follow.invisible, follow.secret = to.hidden, to.invisible, to.secret
		if old.status == statusDeleted || follow == old.attributes {
			continue
		}
		if err := x.s.change(ctx, tx, old, p, v.caller, follow); err != nil {
			return nil, err
		}
		followed = append(followed, old.id)
	}
	return followed, nil
}

// wish is a patch that can be read: what it does to attributes, not yet
// whether they may be changed.
type wish struct {
	deletes bool
	steps   []step
}

// step is one operation: on attributes, where it may need the resource to know
// what an index means.
type step func(a *attributes, resource *fhir.Node) error

// on applies the operations in their order.
func (w *wish) on(h *held) (attributes, error) {
	a := h.attributes
	r, err := fhir.Parse(h.resource)
	if err != nil {
		return a, err
	}
	for _, step := range w.steps {
		if err := step(&a, r); err != nil {
			return a, err
		}
	}
	return a, nil
}

// actionOf names a change in the audit.
func actionOf(from, to attributes) string {
	actions := []string{}
	for _, one := range []struct {
		changed bool
		action  string
	}{
		{from.hidden != to.hidden, "TD3.3a"}, {from.invisible != to.invisible || from.secret != to.secret, "TD3.3b"},
		{from.status != to.status, "TD3.3c"}, {from.archived != to.archived, "TD3.3d"},
	} {
		if one.changed {
			actions = append(actions, one.action)
		}
	}
	if len(actions) != 1 {
		return "TD3.3"
	}
	return actions[0]
}

// readPatch reads a JSON Patch of the three attributes that may change: status
// (deletion only), securityLabel, and the extension isArchived.
func readPatch(body []byte) (*wish, error) {
	root, err := fhir.Parse(body)
	if err != nil || !root.Is(fhir.Array) || len(root.Items()) == 0 || len(root.Items()) > 16 {
		return nil, refuse(FaultPatch)
	}
	w := &wish{}
	for i, op := range root.Items() {
		where := fmt.Sprintf("[%d]", i)
		path := op.Get("path").Text()
		var step step
		switch {
		case !op.Is(fhir.Object) || !strings.HasPrefix(path, "/"):
		case path == "/status":
			step = statusStep(op)
			w.deletes = true
		case path == "/securityLabel" || strings.HasPrefix(path, "/securityLabel/"):
			step = labelStep(op, strings.TrimPrefix(path, "/securityLabel"), where)
		case path == "/extension" || strings.HasPrefix(path, "/extension/") || strings.HasPrefix(path, "/extension["):
			step = archiveStep(op, strings.TrimPrefix(path, "/extension"), where)
		default:
			return nil, refuseAt(FaultPatchElement, where)
		}
		if step == nil {
			return nil, refuseAt(FaultPatch, where)
		}
		w.steps = append(w.steps, step)
	}
	if w.deletes && len(w.steps) > 1 {
		return nil, refuse(FaultPatch)
	}
	return w, nil
}

func statusStep(op *fhir.Node) step {
	if op.Get("op").Text() != "replace" || op.Get("value").Text() != statusDeleted {
		return nil
	}
	return func(a *attributes, _ *fhir.Node) error { a.status = statusDeleted; return nil }
}

// labelStep reads one operation on securityLabel. The documents of the draft
// have one label, where confidentiality and visibility take each other's place;
// ours have the confidentiality first and visibilities behind it. So an
// operation on /0 or on the whole says which visibilities there are, and N says
// that there is none.
func labelStep(op *fhir.Node, rest, where string) step {
	kind, value := op.Get("op").Text(), op.Get("value")
	labels := []*fhir.Node{value}
	if rest == "" {
		labels = value.Items()
	}
	var codes []string
	for _, l := range labels {
		code := labelOf(l)
		if code == "" && kind != "remove" {
			return nil
		}
		codes = append(codes, code)
	}
	all := func(on ...string) step {
		return func(a *attributes, _ *fhir.Node) error {
			a.hidden, a.invisible, a.secret = false, false, false
			for _, code := range on {
				a.setFlag(code, true)
			}
			return nil
		}
	}
	index, err := strconv.Atoi(strings.TrimPrefix(rest, "/"))
	numbered := err == nil && index >= 0 && index < 4 && rest == "/"+strconv.Itoa(index)
	switch {
	case kind == "replace" && (rest == "/0" || rest == "" && len(codes) > 0), kind == "add" && rest == "" && len(codes) > 0:
		return all(codes...)
	case kind == "add" && (rest == "/-" || numbered):
		return func(a *attributes, _ *fhir.Node) error { a.setFlag(codes[0], true); return nil }
	case (kind == "replace" || kind == "remove") && numbered && index > 0:
		return func(a *attributes, _ *fhir.Node) error {
			flags := a.flags()
			if index > len(flags) {
				return refuseAt(FaultPatch, where)
			}
			a.setFlag(string(flags[index-1]), false)
			if kind == "replace" {
				a.setFlag(codes[0], true)
			}
			return nil
		}
	}
	return nil
}

// archiveStep reads one operation on the extension isArchived. Its path may be
// that of the national examples, which is not RFC 6901.
func archiveStep(op *fhir.Node, rest, where string) step {
	kind, value := op.Get("op").Text(), op.Get("value")
	if filter, ok := strings.CutSuffix(rest, "/valueBoolean"); ok && strings.HasPrefix(rest, "[") {
		filter = strings.NewReplacer(`'`, "", `"`, "", " ", "", "=", ":").Replace(filter)
		if filter != "[url:"+fhir.ExtIsArchived+"]" || kind != "replace" && kind != "add" {
			return nil
		}
		return archivedStep(value)
	}
	if member, ok := strings.CutPrefix(rest, "/"); ok && kind != "add" {
		// An index, as RFC 6901 has it: it must be that of isArchived.
		number, member, _ := strings.Cut(member, "/")
		index, err := strconv.Atoi(number)
		archived := archivedStep(value)
		if err != nil || kind == "replace" && (member != "valueBoolean" || archived == nil) || kind == "remove" && member != "" || kind != "replace" && kind != "remove" {
			return nil
		}
		return func(a *attributes, r *fhir.Node) error {
			items := r.Get("extension").Items()
			if index < 0 || index >= len(items) || items[index].Get("url").Text() != fhir.ExtIsArchived {
				return refuseAt(FaultPatchElement, where)
			}
			if kind == "remove" {
				a.archived = false
				return nil
			}
			return archived(a, r)
		}
	}
	if kind != "add" {
		return nil
	}
	switch items := value.Items(); {
	case rest == "" && len(items) == 1:
		value = items[0]
	case rest != "/-":
		return nil
	}
	if value.Get("url").Text() != fhir.ExtIsArchived {
		return nil
	}
	return archivedStep(value.Get("valueBoolean"))
}

func archivedStep(value *fhir.Node) step {
	if !value.Is(fhir.Bool) {
		return nil
	}
	on := string(value.Raw()) == "true"
	return func(a *attributes, _ *fhir.Node) error { a.archived = on; return nil }
}
