package httpapi

import (
	"context"
	"net/http"
	"regexp"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/mss"
)

// Directory is the Annuaire Santé; mss/directory implements it.
type Directory interface {
	ByAddress(ctx context.Context, a mss.Address) ([]mss.Mailbox, error)
	ByHolder(ctx context.Context, id string) ([]mss.Mailbox, error)
}

// Mailbox is advice on one mailbox, or on a domain: what the gateway would do
// with a letter to it, and why.
type Mailbox struct {
	Address   string    `json:"address,omitempty"`
	Domain    string    `json:"domain"`
	Kind      string    `json:"kind"`    // professional, organisation, application, patient, unknown
	Trusted   *bool     `json:"trusted"` // the domain is in the trust space; null: nobody can tell
	Listed    *bool     `json:"listed"`  // the directory knows it; null: not asked, or no answer
	Name      string    `json:"name,omitempty"`
	Paperless *bool     `json:"paperless,omitempty"`
	Verdict   string    `json:"verdict"` // sent, delayed, refused
	Findings  []Finding `json:"findings"`
}

// The verdicts on a mailbox.
const (
	mailboxSent    = "sent"
	mailboxDelayed = "delayed" // kept and tried again: the white list is missing
	mailboxRefused = "refused"
)

// holderForm is a national id of a professional (8, RPPS) or a structure (1, FINESS).
var holderForm = regexp.MustCompile(`^(8[0-9]{11}|1[0-9][0-9AB][0-9]{7})$`)

// mailboxes is GET /v1/mailboxes: advice before sending, by the same white list
// that judges at the moment of sending. Nothing is kept.
func (a *API) mailboxes(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q := r.URL.Query()
	given := ""
	for _, name := range []string{"address", "id", "domain"} {
		if !q.Has(name) {
			continue
		}
		if given != "" {
			return fault.New(FaultField).At(name)
		}
		given = name
	}
	out := []Mailbox{}
	switch value := q.Get(given); given {
	case "address":
		address, err := mss.ParseAddress(value)
		if err != nil {
			return fault.New(FaultRecipient).At("address")
		}
		if address.IsPatient() {
			return fault.New(FaultMailboxPatient).At("address")
		}
		out = append(out, a.advise(r, address, a.lookUp(r, address)))
	case "domain":
		// Any mailbox of the domain: its name says nothing.
		address, err := mss.ParseAddress("x@" + value)
		if err != nil {
			return fault.New(FaultRecipient).At("domain")
		}
		m := a.advise(r, address, listing{})
		m.Address = ""
		out = append(out, m)
	case "id":
		if !holderForm.MatchString(value) {
			return fault.New(FaultField).At("id")
		}
		if a.Directory == nil {
			return fault.New(FaultNoDirectory)
		}
		found, err := a.Directory.ByHolder(r.Context(), value)
		if err != nil {
			return err
		}
		yes := true
		for _, m := range found {
			out = append(out, a.advise(r, m.Address, listing{listed: &yes, Mailbox: m}))
		}
	default:
		return fault.New(FaultMissing).At("address")
	}
	reply(w, map[string]any{"mailboxes": out})
	return nil
}

// listing is what the directory says of an address.
type listing struct {
	mss.Mailbox
	listed *bool
	note   error // to be told
}

func (a *API) lookUp(r *http.Request, address mss.Address) listing {
	if a.Directory == nil {
		return listing{}
	}
	found, err := a.Directory.ByAddress(r.Context(), address)
	if err != nil {
		f := fault.From(err)
		a.Log.Warn("the directory cannot be asked", "code", f.Code, "cause", f.Unwrap())
		return listing{note: err}
	}
	known := len(found) > 0
	if !known {
		return listing{listed: &known, note: fault.New(FaultMailboxUnlisted)}
	}
	return listing{Mailbox: found[0], listed: &known}
}

// advise says what the gateway would do with a letter to an address.
func (a *API) advise(r *http.Request, address mss.Address, l listing) Mailbox {
	m := Mailbox{Address: address.String(), Domain: address.Domain(), Kind: "unknown", Listed: l.listed, Name: l.Name, Verdict: mailboxSent, Findings: []Finding{}}
	tell := func(err error) {
		f := fault.From(err)
		m.Findings = append(m.Findings, finding(f.Row, f.Where, language(r)))
	}
	switch l.Kind {
	case mss.MailboxPerson:
		m.Kind = "professional"
	case mss.MailboxOrganisation, mss.MailboxCabinet:
		m.Kind = "organisation"
	case mss.MailboxApplication:
		m.Kind = "application"
	}
	if l.listed != nil && *l.listed {
		m.Paperless = &l.Paperless
	}
	if address.IsPatient() {
		m.Kind = "patient"
		tell(fault.New(FaultMailboxPatient))
	}
	if l.note != nil {
		tell(l.note)
	}
	if a.Trusted == nil {
		m.Verdict = mailboxRefused
		tell(fault.New(gateway.FaultNoMail))
		return m
	}
	trusted, err := a.Trusted(address.Domain())
	switch {
	case err != nil:
		m.Verdict = mailboxDelayed
		tell(err)
		return m
	case !trusted:
		m.Verdict = mailboxRefused
		tell(fault.New(mss.FaultDomain))
	}
	m.Trusted = &trusted
	return m
}
