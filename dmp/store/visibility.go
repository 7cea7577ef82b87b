package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/sqldb"
)

// attributes are what may change of a document after its deposit (TD3.3).
type attributes struct {
	status    string
	hidden    bool // MASQUE_PS
	invisible bool // INVISIBLE_PATIENT
	secret    bool // INVISIBLE_REPRESENTANTS_LEGAUX
	archived  bool
}

// flags are the visibilities that stand, in the order they are written.
func (a attributes) flags() (out []dmp.Visibility) {
	for _, f := range []struct {
		set  bool
		flag dmp.Visibility
	}{{a.hidden, dmp.HiddenFromProfessionals}, {a.invisible, dmp.HiddenFromPatient}, {a.secret, dmp.HiddenFromRepresentatives}} {
		if f.set {
			out = append(out, f.flag)
		}
	}
	return out
}

func (a attributes) visibleTo(b attributes) bool {
	return a.hidden == b.hidden && a.invisible == b.invisible && a.secret == b.secret
}

// setFlag notes one visibility; a confidentiality is none.
func (a *attributes) setFlag(code string, on bool) {
	switch dmp.Visibility(code) {
	case dmp.HiddenFromProfessionals:
		a.hidden = on
	case dmp.HiddenFromPatient:
		a.invisible = on
	case dmp.HiddenFromRepresentatives:
		a.secret = on
	}
}

// announcement is how long a document stays invisible to the patient, at most
// (R.1111-53): after a month it is visible, announced or not.
func announcementEnds(deposited int64) int64 {
	return time.UnixMilli(deposited).UTC().AddDate(0, 1, 0).UnixMilli()
}

// viewer is who looks into one record, and what they are to its patient.
type viewer struct {
	*caller
	status    string // of the authorisation; empty unless a professional
	attending bool   // médecin traitant
	now       int64
}

// viewer finds what a caller is to a patient.
func (x *exchange) viewer(ctx context.Context, tx *sqldb.Tx, patient string) (v viewer, err error) {
	v = viewer{caller: &x.trace.caller, now: x.s.clock().UnixMilli()}
	if v.mode == modeDirect {
		v.status, v.attending, err = x.s.authorisation(ctx, tx, patient, v.sender)
	}
	return v, err
}

// wrote tells whether the caller is the depositing structure or an author.
func (h *held) wrote(c *caller) bool {
	switch c.mode {
	case modeIndirect:
		return h.finess == c.finess
	case modeDirect:
		return slices.Contains(strings.Split(h.authors, "\n"), c.sender)
	}
	return false
}

// sees tells whether a viewer may know that the document exists. Being
// archived hides nothing: it is told, and can be searched on.
func (h *held) sees(v viewer) bool {
	if v.mode != modePatient {
		return !h.hidden || v.attending || h.wrote(v.caller)
	}
	return h.patient == v.patient && (!h.invisible || v.now >= announcementEnds(h.deposited)) && !(h.secret && v.representative)
}

// mayChange refuses every change that no rule gives to this viewer.
func (h *held) mayChange(v viewer, to attributes) error {
	wrote := h.wrote(v.caller)
	near := wrote || v.attending
	switch {
	case to.status != h.status && !wrote:
		return refuse(FaultNotAuthor)
	case to.hidden != h.hidden && !near && v.mode != modePatient,
		(to.invisible != h.invisible || to.secret != h.secret) && !near,
		to.archived != h.archived && !near && v.mode != modePatient && v.status != Valid:
		return refuse(FaultAttribute)
	}
	if to.hidden && to.invisible && !h.attributes.visibleTo(to) || // EX_2.1-1050: a document nobody but its author could see
		to.invisible && !h.invisible && v.now >= announcementEnds(h.deposited) {
		return refuseAt(FaultVisibility, "DocumentReference.securityLabel")
	}
	return nil
}

// labelsEdit writes the visibilities behind the confidentiality, which is that
// of the document and never changes.
func labelsEdit(r *fhir.Node, flags []dmp.Visibility) fhir.Edit {
	labels := r.Get("securityLabel")
	raw := []string{string(labels.Items()[0].Raw())}
	for _, f := range flags {
		one := `{"coding":[{"system":` + fhir.Quote(fhir.SystemVisibility) + `,"code":` + fhir.Quote(string(f)) + `}]}`
		for _, l := range labels.Items()[1:] {
			if labelOf(l) == string(f) {
				one = string(l.Raw())
			}
		}
		raw = append(raw, one)
	}
	return labels.Replace("[" + strings.Join(raw, ",") + "]")
}

// archivedExtension is the extension isArchived; nil when there is none.
func archivedExtension(r *fhir.Node) *fhir.Node {
	for _, e := range r.Get("extension").Items() {
		if e.Get("url").Text() == fhir.ExtIsArchived {
			return e
		}
	}
	return nil
}

func archivedEdit(r *fhir.Node, archived bool) fhir.Edit {
	value := "false"
	if archived {
		value = "true"
	}
	if e := archivedExtension(r); e != nil {
		return e.Set("valueBoolean", value)
	}
	one := `{"url":` + fhir.Quote(fhir.ExtIsArchived) + `,"valueBoolean":` + value + `}`
	if items := r.Get("extension").Items(); len(items) > 0 {
		last := items[len(items)-1]
		return last.Replace(string(last.Raw()) + "," + one)
	}
	return r.Set("extension", "["+one+"]")
}

// shown is the resource as a viewer sees it: without the link to a replaced
// document that they may not know of.
func (s *Store) shown(ctx context.Context, tx *sqldb.Tx, h *held, v viewer) ([]byte, error) {
	if h.replaces == "" {
		return h.resource, nil
	}
	old, err := s.document(ctx, tx, h.patient, h.replaces)
	if err != nil || old == nil || old.sees(v) {
		return h.resource, err
	}
	r, err := fhir.Parse(h.resource)
	if err != nil {
		return nil, err
	}
	return fhir.Splice(r, r.Remove("relatesTo")...), nil
}
