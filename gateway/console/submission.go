package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
)

// maxReceipt bounds what is shown of an acknowledgement.
const maxReceipt = 64 << 10

type submissionPage struct {
	Back       string
	Control    string
	State      mark
	Reason     *tell
	Facts      []fact
	Mail       string // address of the mail, when it came by mail
	Done       string // what the person has just decided
	Decides    bool   // the person may decide
	Acts       []link // what may be decided of a mail in quarantine
	Documents  []documentLine
	Deliveries []deliveryLine
	Events     []eventLine
	Warnings   []tell
	Receipt    string
	Cut        bool // the acknowledgement is longer
}

type link struct{ URL, Label string }

// fact is one line of a list of terms.
type fact struct{ Name, Value string }

type documentLine struct {
	URL, Type, UniqueID, Replaces string
	Version                       int
	KiB                           int64
}

type deliveryLine struct {
	Destination, Recipient string
	State                  mark
	Attempts               int
	Next                   time.Time // zero: nothing is planned
	Reason                 *tell
	Act                    *link // what the person may decide of it
}

type eventLine struct {
	Time                                                time.Time
	Step, Text, Recipient, Answer, Where, Code, By, Why string
	Outcome                                             mark
}

// load finds the submission of the path among those that the person may see.
func (c *Console) load(v *visit) (gateway.Submission, []gateway.DocumentRow, error) {
	s, docs, err := c.cfg.Journal.Submission(v.r.Context(), v.r.PathValue("id"))
	if err == nil && !slices.Contains(v.sites, s.Establishment.FINESSGeo) {
		err = gateway.ErrNotFound // as if unknown
	}
	if err != nil {
		return gateway.Submission{}, nil, err
	}
	return s, docs, nil
}

// submission shows what became of one message.
func (c *Console) submission(v *visit) error {
	s, docs, err := c.load(v)
	if err != nil {
		return err
	}
	out := submissionPage{Back: local("/console/", v.lang), Control: s.Message.ControlID, State: submissionMark(v.lang, s), Reason: reason(v.lang, s), Facts: c.facts(v.lang, s)}
	if s.Door == gateway.DoorMail {
		out.Mail = mailURL(v, s.ID)
	}
	out.Decides = c.mayDecide(v) == nil
	if s.State == gateway.Quarantined && out.Decides {
		for _, name := range []string{"file", "reject", "keep"} {
			if name == "file" && s.Code == gateway.FaultNoArchive {
				continue // it has no document
			}
			out.Acts = append(out.Acts, link{local("/console/submissions/"+url.PathEscape(s.ID)+"/"+name, v.lang), acts[name].title.in(v.lang)})
		}
	}
	for _, d := range docs {
		out.Documents = append(out.Documents, documentLine{
			URL: documentURL(v, s.ID, d.Index), Type: typeName(d.TypeCode), UniqueID: d.UniqueID, Replaces: d.Replaces, Version: d.Version, KiB: (d.Size + 1023) / 1024,
		})
	}
	deliveries, err := c.cfg.Journal.Deliveries(v.r.Context(), s.ID)
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		out.Deliveries = append(out.Deliveries, c.delivery(v, d))
	}
	events, err := c.cfg.Journal.Events(v.r.Context(), s.ID, 0)
	if err != nil {
		return err
	}
	for _, e := range events {
		line := eventLine{
			Time: e.Time, Step: stepName(v.lang, e.Step), Text: gateway.Describe(e, v.lang), Outcome: outcomeMark(v.lang, e.Outcome),
			Recipient: recipient(v.lang, e.Destination, e.Recipient), Answer: e.AckCode, Where: e.Where, Code: e.Code, By: e.By, Why: e.Why,
		}
		if e.Step == gateway.EventQuarantined {
			why := reason(v.lang, gateway.Submission{State: gateway.Quarantined, Code: e.Code})
			if line.Outcome = stateMark(v.lang, gateway.Quarantined); why != nil {
				line.Text = why.Text
			}
		}
		out.Events = append(out.Events, line)
	}
	out.Done = c.justDone(v, events)
	for _, n := range s.Warnings {
		out.Warnings = append(out.Warnings, notice(v.lang, n.Code, n.Where))
	}
	out.Receipt, out.Cut = receipt(s.Receipt)
	c.render(v, http.StatusOK, "submission", titleSubmission, out)
	return nil
}

// justDone confirms to a person what they decided a moment ago. The timeline says
// whether they did: an address alone confirms nothing.
func (c *Console) justDone(v *visit, events []gateway.Event) string {
	a, ok := acts[v.r.URL.Query().Get("done")]
	mine := func(e gateway.Event) bool {
		return e.Step == a.step && e.By == v.who.NationalID && c.cfg.Clock().Sub(e.Time) < confirmFor
	}
	if !ok || !slices.ContainsFunc(events, mine) {
		return ""
	}
	return a.done.in(v.lang)
}

// confirmFor is how long a decision is confirmed to who took it.
const confirmFor = 5 * time.Minute

func (c *Console) facts(lang string, s gateway.Submission) []fact {
	all := []fact{
		{in(lang, "Reçu le", "Received"), c.moment(s.Received)},
		{in(lang, "Entrée", "Door"), doorName(lang, s.Door)},
		{in(lang, "Établissement", "Establishment"), s.Establishment.Name + " (FINESS " + s.Establishment.FINESSGeo + ")"},
		{in(lang, "Émetteur", "Sender"), sender(s.From)},
		{in(lang, "Type de message", "Message type"), strings.TrimPrefix(s.Message.Type, gateway.DoorMail)},
		{in(lang, "Profil", "Profile"), s.Message.Profile},
		{in(lang, "Demande", "Request"), actionName(lang, string(s.Action))},
		{in(lang, "Identité du patient", "Identity of the patient"), named(identityStatuses, lang, s.INSStatus)},
		{in(lang, "Numéro de suivi", "Submission"), s.ID},
		{in(lang, "Règles appliquées", "Rules applied"), s.Rules},
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Value == "" })
}

func (c *Console) delivery(v *visit, d gateway.Delivery) deliveryLine {
	lang := v.lang
	about := d.Recipient
	if d.Notice != nil {
		about = d.Notice.Recipient
	}
	out := deliveryLine{Destination: destinationName(lang, d), Recipient: recipient(lang, d.Destination, about), State: stateMark(lang, d.State), Attempts: d.Attempts}
	if d.State == gateway.Due {
		out.Next = d.Due
	}
	if d.Code != "" {
		reason := notice(lang, d.Code, "")
		out.Reason = &reason
	}
	if name := decision(d.State); name != "" && c.mayDecide(v) == nil {
		label := in(lang, "Arrêter", "Stop")
		if name == "replay" {
			label = in(lang, "Relancer", "Begin again")
		}
		path := "/console/submissions/" + url.PathEscape(d.Submission) + "/deliveries/" + url.PathEscape(d.ID) + "/" + name
		out.Act = &link{local(path, lang, "round", strconv.Itoa(d.Round)), label}
	}
	return out
}

// typeName is the code of a document type, and its class in words.
func typeName(code string) string {
	if class, ok := dmp.ClassOf(code); ok && class.Display != "" {
		return class.Display + " (" + code + ")"
	}
	return code
}

// receipt is the answer of a door as a person reads it: an acknowledgement one
// segment a line, the answer of an HTTP door as its body.
func receipt(raw []byte) (text string, cut bool) {
	var answer struct {
		Body json.RawMessage `json:"body"`
	}
	if json.Unmarshal(raw, &answer) == nil && len(answer.Body) > 0 {
		var indented bytes.Buffer
		if json.Indent(&indented, answer.Body, "", "  ") == nil {
			raw = indented.Bytes()
		}
	}
	return plain(raw, maxReceipt)
}

// plain is text without controls, ends of lines apart.
func plain(raw []byte, most int) (text string, cut bool) {
	if len(raw) > most {
		raw, cut = raw[:most], true
	}
	s := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(raw))
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return -1 // controls, and marks that turn the reading direction
		}
		return r
	}, s)
	return strings.TrimSpace(s), cut
}

func submissionURL(v *visit, id string) string {
	return local("/console/submissions/"+url.PathEscape(id), v.lang)
}

func mailURL(v *visit, id string) string {
	return local("/console/submissions/"+url.PathEscape(id)+"/mail", v.lang)
}

func documentURL(v *visit, id string, n int) string {
	return local("/console/submissions/"+url.PathEscape(id)+"/documents/"+strconv.Itoa(n), v.lang)
}
