package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

const (
	pageLength   = 25
	maxCriterion = 200 // characters
	dayForm      = "2006-01-02"
)

// criteria are the fields of the search, as the person wrote them.
type criteria struct {
	Control, Document, State, Site, Since, Until string
}

func read(r *http.Request) criteria {
	q := r.URL.Query()
	field := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return criteria{field("control"), strings.TrimPrefix(field("document"), "urn:oid:"), field("state"), field("site"), field("since"), field("until")}
}

// query is what the criteria ask of the journal, among the sites of the person.
func (k criteria) query(v *visit, zone *time.Location) (gateway.Query, error) {
	q := gateway.Query{FINESSGeo: v.sites, ControlID: k.Control, Document: k.Document, State: gateway.State(k.State)}
	wrong := func(field string) (gateway.Query, error) { return gateway.Query{}, fault.New(FaultSearch).At(field) }
	for _, s := range []struct{ name, value string }{{"control", k.Control}, {"document", k.Document}} {
		if len(s.value) > maxCriterion {
			return wrong(s.name)
		}
	}
	if k.State != "" && !slices.Contains(searchStates, q.State) {
		return wrong("state")
	}
	if k.Site != "" {
		if !slices.Contains(v.sites, k.Site) {
			return wrong("site")
		}
		q.FINESSGeo = []string{k.Site}
	}
	var err error
	if k.Since != "" {
		if q.Since, err = time.ParseInLocation(dayForm, k.Since, zone); err != nil {
			return wrong("since")
		}
	}
	if k.Until != "" {
		if q.Until, err = time.ParseInLocation(dayForm, k.Until, zone); err != nil {
			return wrong("until")
		}
		q.Until = q.Until.AddDate(0, 0, 1) // the day is included
	}
	return q, nil
}

// row is one submission of a list.
type row struct {
	URL, Mail, Control, Type, Sender, Site, Door string
	Received                                     time.Time
	State                                        mark
	Reason                                       *tell
}

// option is one choice of a list of choices.
type option struct {
	Value, Label string
	Chosen       bool
}

type listPage struct {
	Criteria criteria
	States   []option
	Sites    []option
	Rows     []row
	Next     string // address of the next page
	Wrong    *tell
	Asked    bool // a criterion was given
	Decides  bool // the person may decide
}

// search lists submissions, newest first.
func (c *Console) search(v *visit) error {
	k := read(v.r)
	if found, err := c.numbered(v, k.Control); found || err != nil {
		return err
	}
	out := listPage{Criteria: k, Asked: k != criteria{}}
	for _, s := range searchStates {
		out.States = append(out.States, option{string(s), stateMark(v.lang, s).Label, string(s) == k.State})
	}
	for _, e := range c.cfg.Establishments {
		if slices.Contains(v.sites, e.FINESSGeo) {
			out.Sites = append(out.Sites, option{e.FINESSGeo, e.Name + " (" + e.FINESSGeo + ")", e.FINESSGeo == k.Site})
		}
	}
	q, err := k.query(v, c.cfg.Zone)
	if err != nil {
		f := fault.From(err)
		wrong := notice(v.lang, f.Code, "")
		wrong.Where = criterionName(v.lang, f.Where)
		out.Wrong = &wrong
		c.render(v, f.HTTP, "search", titleSearch, out)
		return nil
	}
	var last string
	if out.Rows, last, err = c.rows(v, q); err != nil {
		return err
	}
	if last != "" {
		out.Next = local("/console/", v.lang, "control", k.Control, "document", k.Document, "state", k.State, "site", k.Site,
			"since", k.Since, "until", k.Until, "before", last)
	}
	c.render(v, http.StatusOK, "search", titleSearch, out)
	return nil
}

// numbered goes to the submission whose number was typed: an acknowledgement
// (MSA-3) and the answer to a deposit give it.
func (c *Console) numbered(v *visit, id string) (bool, error) {
	if id == "" || len(id) > maxCriterion {
		return false, nil
	}
	s, _, err := c.cfg.Journal.Submission(v.r.Context(), id)
	if errors.Is(err, gateway.ErrNotFound) || err == nil && !slices.Contains(v.sites, s.Establishment.FINESSGeo) {
		return false, nil // as if unknown
	}
	if err != nil {
		return false, err
	}
	http.Redirect(v.w, v.r, submissionURL(v, s.ID), http.StatusSeeOther)
	return true, nil
}

// quarantine lists the mails that wait for a person.
func (c *Console) quarantine(v *visit) error {
	rows, last, err := c.rows(v, gateway.Query{FINESSGeo: v.sites, State: gateway.Quarantined})
	if err != nil {
		return err
	}
	out := listPage{Rows: rows, Decides: c.mayDecide(v) == nil}
	if last != "" {
		out.Next = local("/console/quarantine", v.lang, "before", last)
	}
	c.render(v, http.StatusOK, "quarantine", titleQuarantine, out)
	return nil
}

// rows reads one page; last is the id to go on from when there is more.
func (c *Console) rows(v *visit, q gateway.Query) (rows []row, last string, err error) {
	q.Before, q.Limit = v.r.URL.Query().Get("before"), pageLength+1
	all, err := c.cfg.Journal.Submissions(v.r.Context(), q)
	if err != nil {
		return nil, "", err
	}
	if len(all) > pageLength {
		all = all[:pageLength]
		last = all[pageLength-1].ID
	}
	for _, s := range all {
		one := row{
			URL: submissionURL(v, s.ID), Control: s.Message.ControlID, Type: s.Message.Type, Sender: sender(s.From), Site: s.Establishment.Name,
			Door: doorName(v.lang, s.Door), Received: s.Received, State: submissionMark(v.lang, s),
		}
		if s.Door == gateway.DoorMail {
			one.Type = ""
			one.Mail = mailURL(v, s.ID)
		}
		one.Reason = reason(v.lang, s)
		rows = append(rows, one)
	}
	return rows, last, nil
}

func sender(p gateway.Party) string {
	return strings.Trim(p.Application+" / "+p.Facility, " /")
}
