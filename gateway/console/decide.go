package console

import (
	"context"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Decisions is what people decide; [gateway.Decider] does it.
type Decisions interface {
	Stop(ctx context.Context, submission, delivery string, round int, o gateway.Opinion) error
	Replay(ctx context.Context, submission, delivery string, round int, o gateway.Opinion) error
	Unfiled(ctx context.Context, submission string) (gateway.Unfiled, error)
	File(ctx context.Context, submission, key string, o gateway.Opinion) error
	Reject(ctx context.Context, submission, code string, o gateway.Opinion) error
	Keep(ctx context.Context, submission string, o gateway.Opinion) error
}

// maxForm bounds what a form may send.
const maxForm = 16 << 10

// act is one thing that a person may decide.
type act struct {
	title, lead, button, done words
	danger                    bool // the button says that something ends
	step                      string
}

var acts = map[string]act{
	"stop": {
		step:   gateway.EventStopped,
		title:  words{"Arrêter un envoi", "Stop a delivery"},
		lead:   words{"L'envoi ne sera plus réessayé. L'établissement est prévenu comme d'un échec, s'il a demandé un accusé.", "The delivery will not be tried again. The hospital is told as of a failure, if it asked for it."},
		button: words{"Arrêter cet envoi", "Stop this delivery"}, done: words{"L'envoi est arrêté.", "The delivery is stopped."}, danger: true,
	},
	"replay": {
		step:   gateway.EventReplayed,
		title:  words{"Relancer un envoi", "Begin a delivery again"},
		lead:   words{"L'envoi repart, avec les règles appliquées de nouveau. Rien n'est transmis deux fois : le DMP est interrogé d'abord, un courriel repart à l'identique.", "The delivery begins again, under the rules applied anew. Nothing is shown twice: the DMP is asked first, a letter leaves again as it was."},
		button: words{"Relancer cet envoi", "Begin this delivery again"}, done: words{"L'envoi est relancé.", "The delivery begins again."},
	},
	"file": {
		step:   gateway.EventFiled,
		title:  words{"Rattacher à un patient", "File under a patient"},
		lead:   words{"Le document part vers le logiciel de l'établissement, sous l'identité choisie.", "The document goes to the hospital software, under the chosen identity."},
		button: words{"Rattacher à cette identité", "File under this identity"}, done: words{"Le courriel est rattaché ; son document part vers le logiciel de l'établissement.", "The mail is filed; its document goes to the hospital software."},
	},
	"reject": {
		step:   gateway.EventRejected,
		title:  words{"Écarter un courriel", "Reject a mail"},
		lead:   words{"Le courriel sort de la quarantaine sans être intégré. Il reste conservé et consultable ici.", "The mail leaves the quarantine and is not filed. It is kept and can be read here."},
		button: words{"Écarter ce courriel", "Reject this mail"}, done: words{"Le courriel est écarté.", "The mail is rejected."}, danger: true,
	},
	"keep": {
		step:   gateway.EventKept,
		title:  words{"Garder en quarantaine", "Keep in quarantine"},
		lead:   words{"Le courriel reste en quarantaine. Votre note s'ajoute à sa chronologie, pour la prochaine personne.", "The mail stays in quarantine. Your note is added to its timeline, for the next person."},
		button: words{"Enregistrer la note", "Save the note"}, done: words{"La note est enregistrée.", "The note is saved."},
	},
}

// act is the decision that the path names, and its delivery.
func (v *visit) act() (name, delivery string, a act, err error) {
	name, delivery = v.r.PathValue("act"), v.r.PathValue("d")
	a, ok := acts[name]
	if !ok || (delivery != "") != (name == "stop" || name == "replay") {
		return "", "", act{}, gateway.ErrNotFound
	}
	return name, delivery, a, nil
}

type decidePage struct {
	Back, Action, Token string
	Title, Lead, Button string
	Danger              bool
	Wrong               *tell
	Why                 string
	Facts               []fact
	Round               int
	Key                 string // of the identity that is compared
	Lines               []comparison
	Differ              bool
	Confirmed           bool
	Proposals           []proposal // to choose from
	Choosing            bool
	Codes               []option // what the sender may be told
	Receipt             bool     // the sender asked for a receipt
	BackToChoice        string
}

type proposal struct {
	URL, Name, Born, Local string
	Differences            string
	Refused                *tell
}

// comparison is one field of two identities.
type comparison struct {
	Name, Received, Held string
	Differs              bool
}

// mayDecide refuses who only reads.
func (c *Console) mayDecide(v *visit) error {
	if c.cfg.Decisions == nil || !v.decides {
		return fault.New(FaultDecide)
	}
	return nil
}

// decide shows the page on which a person decides, and takes what it sends.
func (c *Console) decide(v *visit) error {
	name, delivery, a, err := v.act()
	if err != nil {
		return err
	}
	s, _, err := c.load(v)
	if err != nil {
		return err
	}
	if err := c.mayDecide(v); err != nil {
		return err
	}
	if name == "file" { // identities are shown
		if err := v.who.Care(); err != nil {
			return err
		}
	}
	page := decidePage{
		Back: submissionURL(v, s.ID), Action: v.r.URL.RequestURI(), Token: c.cfg.Sessions.FormToken(v.r, v.r.URL.Path),
		Title: a.title.in(v.lang), Lead: a.lead.in(v.lang), Button: a.button.in(v.lang), Danger: a.danger,
	}
	if v.r.Method != http.MethodPost {
		page.Round, _ = strconv.Atoi(v.r.URL.Query().Get("round")) // another round is found changed
		return c.ask(v, s, name, delivery, page, http.StatusOK)
	}
	if err := c.sent(v); err != nil {
		return err
	}
	form := v.r.PostForm
	page.Round, _ = strconv.Atoi(form.Get("round"))
	page.Why, page.Confirmed = form.Get("why"), form.Get("confirmed") == "yes"
	if err := c.take(v, s, name, delivery, page); err != nil {
		f := fault.From(err)
		if f.Code != gateway.FaultReason && f.Code != gateway.FaultReasonTells && f.Code != gateway.FaultUnconfirmed {
			return err
		}
		wrong := notice(v.lang, f.Code, "")
		page.Wrong = &wrong
		return c.ask(v, s, name, delivery, page, f.HTTP)
	}
	http.Redirect(v.w, v.r, local("/console/submissions/"+url.PathEscape(s.ID), v.lang, "done", name), http.StatusSeeOther)
	return nil
}

// sent checks that a form is ours, of this session and of this page.
func (c *Console) sent(v *visit) error {
	if err := c.origin.Check(v.r); err != nil {
		return fault.New(FaultForm).Because(err)
	}
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return fault.New(FaultForm)
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return fault.New(FaultForm).Because(err)
	}
	if !c.cfg.Sessions.FormSent(v.r, v.r.URL.Path, v.r.PostForm.Get("token")) {
		return fault.New(FaultForm)
	}
	return nil
}

// take has a decision taken.
func (c *Console) take(v *visit, s gateway.Submission, name, delivery string, page decidePage) error {
	ctx, o := v.r.Context(), gateway.Opinion{By: v.who.NationalID, Why: page.Why}
	release, err := c.hold(v)
	if err != nil {
		return err
	}
	defer release()
	switch d := c.cfg.Decisions; name {
	case "stop":
		return d.Stop(ctx, s.ID, delivery, page.Round, o)
	case "replay":
		return d.Replay(ctx, s.ID, delivery, page.Round, o)
	case "file":
		if !page.Confirmed {
			return fault.New(gateway.FaultUnconfirmed)
		}
		return d.File(ctx, s.ID, v.r.URL.Query().Get("who"), o)
	case "reject":
		return d.Reject(ctx, s.ID, v.r.PostForm.Get("code"), o)
	default:
		return d.Keep(ctx, s.ID, o)
	}
}

// ask shows what is decided of, and asks why.
func (c *Console) ask(v *visit, s gateway.Submission, name, delivery string, page decidePage, status int) error {
	add := func(name, value string) {
		if value != "" {
			page.Facts = append(page.Facts, fact{name, value})
		}
	}
	add(in(v.lang, "Message", "Message"), s.Message.ControlID)
	add(in(v.lang, "Reçu le", "Received"), c.moment(s.Received))
	add(in(v.lang, "Établissement", "Establishment"), s.Establishment.Name)
	if delivery != "" {
		if err := c.askDelivery(v, s, name, delivery, &page, add); err != nil {
			return err
		}
		c.render(v, status, "decide", acts[name].title, page)
		return nil
	}
	if s.State != gateway.Quarantined {
		return fault.New(gateway.FaultDecided)
	}
	if r := reason(v.lang, s); r != nil {
		add(in(v.lang, "Motif de la quarantaine", "Why it is in quarantine"), r.Text)
	}
	if name != "keep" {
		if err := c.askMail(v, s, name, &page); err != nil {
			return err
		}
	}
	c.render(v, status, "decide", acts[name].title, page)
	return nil
}

// askDelivery describes the delivery, if it still is in the state of the page
// that led here.
func (c *Console) askDelivery(v *visit, s gateway.Submission, name, delivery string, page *decidePage, add func(name, value string)) error {
	all, err := c.cfg.Journal.Deliveries(v.r.Context(), s.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(d gateway.Delivery) bool { return d.ID == delivery })
	if i < 0 {
		return gateway.ErrNotFound
	}
	if decision(all[i].State) != name || all[i].Round != page.Round {
		return fault.New(gateway.FaultDecided)
	}
	d := c.delivery(v, all[i])
	add(in(v.lang, "Destination", "Destination"), d.Destination)
	add(in(v.lang, "Destinataire", "Recipient"), d.Recipient)
	add(in(v.lang, "État", "State"), d.State.Label)
	if d.Reason != nil {
		add(in(v.lang, "Dernière erreur", "Last error"), d.Reason.Text+" "+d.Reason.Fix)
	}
	return nil
}

// askMail shows whom a mail may concern, or whom its sender may be told.
func (c *Console) askMail(v *visit, s gateway.Submission, name string, page *decidePage) error {
	release, err := c.hold(v)
	if err != nil {
		return err
	}
	defer release()
	u, err := c.cfg.Decisions.Unfiled(v.r.Context(), s.ID)
	if err != nil {
		return err
	}
	if name == "reject" {
		page.Receipt = u.Receipt != ""
		for _, code := range slices.Sorted(maps.Keys(answers)) {
			page.Codes = append(page.Codes, option{code, code + " – " + answers[code].in(v.lang), code == u.Code})
		}
		return nil
	}
	if u.Err != nil {
		return u.Err
	}
	c.consulted(v, "identities", s.ID, 0)
	here := "/console/submissions/" + url.PathEscape(s.ID) + "/file"
	who := v.r.URL.Query().Get("who")
	for _, p := range u.Proposals {
		if who == p.Key {
			if p.Err != nil {
				return p.Err
			}
			page.Key, page.BackToChoice = p.Key, local(here, v.lang)
			page.Lines = compare(v.lang, u.Received, p.Identity, p.Differences)
			page.Differ = len(p.Differences) > 0
			return nil
		}
		page.Proposals = append(page.Proposals, propose(v.lang, p, local(here, v.lang, "who", p.Key)))
	}
	if who != "" {
		return fault.New(gateway.FaultDecided)
	}
	page.Choosing = true
	return nil
}

func propose(lang string, p gateway.Proposal, address string) proposal {
	t := p.Identity.Traits
	out := proposal{
		URL: address, Name: strings.TrimSpace(t.BirthName + " " + t.GivenNames), Born: date(t.BirthDate), Local: localIDs(p.Identity),
	}
	switch n := len(p.Differences); {
	case p.Err != nil:
		f := fault.From(p.Err)
		refused := notice(lang, f.Code, "")
		refused.Where = traitName(lang, f.Where)
		out.Refused, out.URL = &refused, ""
	case n == 0:
		out.Differences = in(lang, "Aucune différence", "No difference")
	default:
		var names []string
		for _, d := range p.Differences {
			names = append(names, traitName(lang, d.Trait))
		}
		out.Differences = in(lang, "Diffère : ", "Differs: ") + strings.Join(names, ", ")
	}
	return out
}

func localIDs(id ins.Identity) string {
	var all []string
	for _, l := range id.Local {
		all = append(all, l.Value)
	}
	return strings.Join(all, ", ")
}

// date is a day as people read it; one that is partial stays as it is.
func date(s string) string {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return s
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// compare lists every field, so that a person sees what agrees too.
func compare(lang string, received, held ins.Identity, differ []ins.Difference) []comparison {
	var out []comparison
	for _, f := range []struct{ trait, received, held string }{
		{ins.TraitBirthName, received.Traits.BirthName, held.Traits.BirthName},
		{ins.TraitFirstGiven, received.Traits.FirstGiven, held.Traits.FirstGiven},
		{ins.TraitGivenNames, received.Traits.GivenNames, held.Traits.GivenNames},
		{ins.TraitBirthDate, date(received.Traits.BirthDate), date(held.Traits.BirthDate)},
		{ins.TraitSex, received.Traits.Sex, held.Traits.Sex},
		{ins.TraitBirthPlace, received.Traits.BirthPlace, held.Traits.BirthPlace},
		{ins.TraitMatricule, received.Matricule, held.Matricule},
		{ins.TraitOID, string(received.OID), string(held.OID)},
	} {
		differs := slices.ContainsFunc(differ, func(d ins.Difference) bool { return d.Trait == f.trait })
		out = append(out, comparison{traitName(lang, f.trait), f.received, f.held, differs})
	}
	if l := localIDs(held); l != "" {
		out = append(out, comparison{Name: in(lang, "Identifiant local (IPP)", "Local id (IPP)"), Held: l})
	}
	return out
}

// decision is what may be decided of a delivery in a state; empty: nothing.
func decision(s gateway.State) string {
	switch s {
	case gateway.Due:
		return "stop"
	case gateway.Failed, gateway.Stopped:
		return "replay"
	}
	return ""
}

// refusedAct logs that somebody sent a form that is not theirs.
func (c *Console) refusedAct(v *visit, f *fault.Fault) {
	if f.Code == FaultForm || f.Code == FaultDecide {
		c.cfg.Log.LogAttrs(v.r.Context(), slog.LevelWarn, "console: decision refused", slog.String("national_id", v.who.NationalID),
			slog.String("code", f.Code), slog.String("route", v.r.Pattern))
	}
}
