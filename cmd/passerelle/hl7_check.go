package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

type hl7CheckCmd struct {
	Files  []string `arg:"" name:"fichier" help:"Messages ER7, un par fichier, ou plusieurs en trames MLLP."`
	Config string   `help:"Juge selon cette configuration (environnement, émetteurs, réglages) ; sinon selon les réglages par défaut." placeholder:"FICHIER"`
	Port   string   `help:"Avec --config : port HL7 (hl7.listen) ; le premier par défaut." placeholder:"HÔTE:PORT"`
	Env    string   `name:"env" enum:"production,test,sandbox," default:"" help:"Sans --config : environnement ; production refuse les identités de test. Par défaut : test."`
	judging
}

// hl7Report is the result of `hl7 check`.
type hl7Report struct {
	RuleSet  string       `json:"rule_set"`
	Wrong    int          `json:"wrong"` // messages that would not be answered AA
	Messages []hl7Verdict `json:"messages"`
}

// hl7Verdict is what the door would say of one message.
type hl7Verdict struct {
	File      string    `json:"file"`
	Frame     int       `json:"frame,omitempty"` // from 1, in a file of several
	Type      string    `json:"type"`
	ControlID string    `json:"control_id"`
	Profile   string    `json:"profile"`
	Answer    string    `json:"answer"`         // MSA-1; empty when there would be none
	Asks      string    `json:"asks,omitempty"` // what it wants done, in words
	Findings  []finding `json:"findings"`
	Ack       string    `json:"ack,omitempty"`
}

// hl7Door answers as the door would that nothing came to before.
type hl7Door struct {
	hl7CheckCmd
	gateway *gateway.Gateway
	options hl7v2.Options
	stamp   func() hl7v2.Stamp
}

// blank is the journal of a gateway that was never told anything: what is judged
// of a message then depends on the message alone.
type blank struct{ gateway.Journal }

func (blank) Submissions(context.Context, gateway.Query) ([]gateway.Submission, error) {
	return nil, nil
}

func (blank) Fate(context.Context, string, string) (gateway.DocumentFate, error) {
	return gateway.DocumentFate{}, gateway.ErrNotFound
}

func (blank) Consent(context.Context, []string) (gateway.ConsentRow, error) {
	return gateway.ConsentRow{}, gateway.ErrNotFound
}

// Run judges each message. Exit 1 when one would not be answered AA.
func (c *hl7CheckCmd) Run(e *env) error {
	door, err := c.door(e)
	if err != nil {
		return err
	}
	report := hl7Report{RuleSet: rulesVersion, Messages: []hl7Verdict{}}
	unread := eachFile(c.Files, func(name string, f io.Reader) error {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		return door.file(e.ctx, name, f, func(v hl7Verdict) {
			if v.Answer != "AA" {
				report.Wrong++
			}
			report.Messages = append(report.Messages, v)
			if !c.JSON {
				v.print(e.out, c.Lang)
			}
		})
	})
	return c.end(e, unread, report.Wrong, report, fmt.Sprintf(c.Lang.say("%s, %d sans acquittement AA. Réglages : %s. Règles : %s", "%s, %d not answered AA. Settings: %s. Rules: %s"),
		count(len(report.Messages), "message"), report.Wrong, join(", ", c.Config, string(door.gateway.Settings.Environment)), rulesVersion))
}

// door is made of a configuration, or of one that says nothing.
func (c *hl7CheckCmd) door(e *env) (*hl7Door, error) {
	cfg := Config{Environment: c.Env, HL7: []HL7Config{{}}}
	or(&cfg.Environment, envTest)
	cfg.defaults()
	var err error
	switch {
	case c.Config == "" && c.Port != "":
		return nil, usageError{errors.New("--port accompagne --config")}
	case c.Config != "" && c.Env != "":
		return nil, usageError{errors.New("--env et --config ne vont pas ensemble : la configuration dit l'environnement")}
	case c.Config != "":
		if cfg, err = loadConfig(c.Config); err != nil {
			return nil, usageError{err}
		}
	}
	zone, err := time.LoadLocation(cfg.Accept.Zone)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s : accept.zone : fuseau horaire inconnu", c.Config)}
	}
	d := &hl7Door{hl7CheckCmd: *c, gateway: &gateway.Gateway{
		Journal: blank{}, Settings: cfg.settings(zone), Rules: rulesVersion, Clock: e.clock, Log: e.log,
	}}
	d.gateway.Settings.StrictTargets = false // nothing that came before is known here
	d.stamp = func() hl7v2.Stamp { return hl7v2.Stamp{Time: e.clock().In(zone), ControlID: "HL7-CHECK"} }
	if c.Config == "" {
		d.gateway.Settings.Mail = true // whether mail can leave is not the message's affair
		d.options = cfg.HL7[0].options()
		return d, nil
	}
	for _, h := range cfg.HL7 {
		if c.Port == "" || c.Port == h.Listen {
			d.options = h.options()
			d.options.Sender = cfg.route(h)
			return d, nil
		}
	}
	return nil, usageError{fmt.Errorf("%s : aucun port HL7 %s", c.Config, c.Port)}
}

// file judges the frames of a file; one that does not begin like a frame is one
// message.
func (d *hl7Door) file(ctx context.Context, name string, f io.Reader, tell func(hl7Verdict)) error {
	in := bufio.NewReader(f)
	var r io.Reader = in
	first, err := in.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return usageError{errors.New(said(err))}
	}
	framed := string(first) == "\x0b"
	if !framed {
		r = io.MultiReader(strings.NewReader("\x0b"), in, strings.NewReader("\x1c\r"))
	}
	frames := hl7v2.NewReader(r, 0, nil)
	for n := 1; ; n++ {
		frame, err := frames.Next()
		v := hl7Verdict{File: name, Findings: []finding{}}
		if framed {
			v.Frame = n
		}
		switch {
		case errors.Is(err, hl7v2.ErrTruncated), errors.Is(err, hl7v2.ErrNoise):
			tell(v)
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return usageError{errors.New(said(err))}
		}
		d.judge(ctx, frame, &v)
		frame.Release()
		tell(v)
	}
}

// judge is what the door does with a frame, but for keeping it.
func (d *hl7Door) judge(ctx context.Context, frame *hl7v2.Frame, v *hl7Verdict) {
	in, head := hl7v2.Read(frame.Bytes, d.options)
	if frame.Refused != nil {
		in.Refusals, in.FlagRefusals = []error{frame.Refused}, 0
	}
	decision := d.gateway.DryRun(ctx, in)
	ack := hl7v2.Acknowledge(head, decision, d.stamp())
	v.Type, v.ControlID, v.Profile = plain(head.Message.Type), plain(head.Message.ControlID), plain(head.Message.Profile)
	v.Ack = strings.ReplaceAll(head.Text(ack), "\r", "\n")
	v.Answer = field(ack, "MSA", 1)
	for _, f := range decision.Faults {
		v.Findings = append(v.Findings, d.Lang.wrong(f))
	}
	for _, w := range decision.Warnings {
		if w.Code == gateway.FaultUnknownTarget {
			continue // here every target is
		}
		v.Findings = append(v.Findings, d.Lang.warned(w))
	}
	for i := range v.Findings {
		v.Findings[i].Where = d.Lang.place(v.Findings[i].Where)
	}
	kind, _, _ := strings.Cut(v.Type, "^")
	switch {
	case decision.Outcome == gateway.Accepted:
		v.Asks = d.Lang.asks(in)
	case kind == "ACK", kind == "ZAM", strings.Contains(v.Profile, "_LPS"):
		v.Asks = d.Lang.say("ce message va de la passerelle au logiciel du site, qui n'a pas à l'envoyer", "this message goes from the gateway to the software of the site, which has no reason to send it")
	}
}

// asks says what a message wants done, so that its sender sees how its flags
// were understood.
func (t tongue) asks(in gateway.Inbound) string {
	var to []string
	if in.Flags.ToDMP {
		to = append(to, "DMP")
	}
	if in.Flags.ToProfessionals {
		n := 0
		for _, r := range in.Recipients {
			if r.Kind != gateway.RecipientPatient {
				n++
			}
		}
		to = append(to, fmt.Sprintf(t.say("MSSanté professionnels (%d)", "MSSanté professionals (%d)"), n))
	}
	if in.Flags.ToPatient {
		to = append(to, t.say("MSSanté patient", "MSSanté patient"))
	}
	if len(to) == 0 {
		to = append(to, t.say("nulle part", "nowhere"))
	}
	return t.action(in.Action) + " → " + strings.Join(to, ", ")
}

// place is an HL7 location in words: PID^1^3 is PID, champ 3. What is none stays.
func (t tongue) place(where string) string {
	at, rest, _ := strings.Cut(where, ", ")
	parts := strings.Split(at, "^")
	if len(parts[0]) != 3 || strings.ToUpper(parts[0]) != parts[0] {
		return where
	}
	for i, p := range parts[1:] {
		n, err := strconv.Atoi(p)
		if err != nil || i > 2 {
			return where
		}
		switch word := []string{t.say(" n° ", " no. "), t.say(", champ ", ", field "), t.say(", répétition ", ", repetition ")}[i]; {
		case i == 0 && n == 1: // the first or only one
		default:
			parts[0] += word + p
		}
	}
	return join(", ", parts[0], rest)
}

func (v hl7Verdict) print(w io.Writer, t tongue) {
	name := v.File
	if v.Frame > 0 {
		name += fmt.Sprintf(t.say(", trame %d", ", frame %d"), v.Frame)
	}
	if v.Ack == "" {
		fmt.Fprintf(w, "%s : %s\n", name, t.say("aucune réponse : la trame MLLP n'a pas de fin (0x1C), ou ce qui l'entoure n'en est pas une",
			"no answer: the MLLP frame has no end (0x1C), or what surrounds it is none"))
		return
	}
	verdict := map[string]string{"AA": t.say("accepté", "accepted"), "AE": t.say("refusé", "refused"), "AR": t.say("à renvoyer", "send again")}[v.Answer]
	fmt.Fprintf(w, "%s : %s\n", name, join(", ", verdict+" ("+v.Answer+")", t.tally(v.Findings)))
	fmt.Fprintf(w, "  %s\n", join(" ; ", join(", ", v.Type, v.Profile, v.ControlID), v.Asks))
	for _, f := range v.Findings {
		f.print(w)
	}
	fmt.Fprintf(w, "  %s\n", t.say("acquittement :", "acknowledgement:"))
	for line := range strings.Lines(v.Ack) {
		fmt.Fprint(w, "    "+line)
	}
}
