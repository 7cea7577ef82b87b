package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

type hl7ListenCmd struct {
	Addr   string `required:"" help:"Adresse d'écoute MLLP : celle d'« establishments.hospital »." placeholder:"HÔTE:PORT"`
	Answer string `default:"AA" enum:"AA,AE,AR,none" help:"Acquittement rendu : AA (pris), AE (refusé), AR (à renvoyer) ou none (aucun)."`
	Reason string `default:"906" enum:"900,901,902,903,904,905,906" help:"Avec AE : code d'erreur applicative (ERR-5)."`
	Out    string `help:"Écrit aussi chaque message, tel que reçu, dans ce dossier." placeholder:"DOSSIER"`
	judging
}

// hl7Notice is one message received. It tells no patient: neither PID, nor the
// subject of a letter, nor the mailbox of a patient, whose name is a matricule.
type hl7Notice struct {
	Received  time.Time `json:"received"`
	Type      string    `json:"type"`
	ControlID string    `json:"control_id"`
	From      string    `json:"from"`
	Text      []string  `json:"text"`
	Answer    string    `json:"answer"`
	File      string    `json:"file,omitempty"`
}

// ear is the door of a site: it takes whatever comes.
type ear struct {
	*hl7ListenCmd
	e      *env
	mu     sync.Mutex
	number int
}

// Run listens until it is told to stop.
func (c *hl7ListenCmd) Run(e *env) error {
	if c.Out != "" {
		if err := os.MkdirAll(c.Out, 0o700); err != nil {
			return usageError{err}
		}
	}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintf(e.err, c.Lang.say("À l'écoute sur %s, réponse %s. Ctrl-C pour arrêter.\n", "Listening on %s, answer %s. Ctrl-C to stop.\n"), l.Addr(), c.Answer)
	if c.Answer == "none" {
		l = mute{l}
	}
	s := &hl7v2.Server{
		Ports: []hl7v2.Port{{Name: c.Addr, Listener: l}}, Door: &ear{hl7ListenCmd: c, e: e},
		Route: func(string, gateway.Party) (gateway.Establishment, bool) { return gateway.Establishment{}, true },
		Clock: e.clock, Rand: e.random, Logger: slog.New(slog.DiscardHandler),
	}
	if e.verbose {
		s.Logger = e.log
	}
	return s.Serve(e.ctx)
}

// mute accepts connections on which nothing is ever said.
type mute struct{ net.Listener }

type muteConn struct{ net.Conn }

func (m mute) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	return muteConn{c}, err
}

func (muteConn) Write(b []byte) (int, error) { return len(b), nil }

// Accept tells a message and answers as was asked, whatever the message is. One
// that cannot be kept where --out says is answered AR.
func (r *ear) Accept(_ context.Context, in gateway.Inbound, receipt gateway.Receipt) gateway.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	h := hl7Notice{Received: r.e.clock(), Type: plain(in.Message.Type), ControlID: plain(in.Message.ControlID), From: plain(in.From.Application), Answer: r.Answer}
	h.Text = r.Lang.heard(in)
	if r.Out != "" {
		name := func() string { return filepath.Join(r.Out, fmt.Sprintf("%06d.er7", r.number)) }
		err := keepNew(name(), in.Raw)
		for ; errors.Is(err, fs.ErrExist); err = keepNew(name(), in.Raw) { // of an earlier run
			r.number++
		}
		if h.File = name(); err != nil {
			fmt.Fprintln(r.e.err, "passerelle :", said(err))
			h.File, h.Answer = "", "AR"
		}
	}
	r.tell(h)
	d := gateway.Decision{Outcome: map[string]gateway.Outcome{"AA": gateway.Accepted, "AE": gateway.Refused}[h.Answer]}
	if d.Receipt = receipt(d); h.Answer == "AE" {
		d.Receipt = append(d.Receipt, "ERR||MSH^1|207^Application error^messageErrorCondition|E|"+r.Reason+"^^applicationErrorCode\r"...)
	}
	return d
}

// keepNew writes a file that must not be there yet.
func keepNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (r *ear) tell(h hl7Notice) {
	if r.JSON {
		if err := json.NewEncoder(r.e.out).Encode(h); err != nil {
			fmt.Fprintln(r.e.err, "passerelle :", said(err))
		}
		return
	}
	fmt.Fprintf(r.e.out, "%s  %s  %s  %s → %s\n", h.Received.Format("15:04:05"), h.Type, h.ControlID, h.From, h.Answer)
	for _, line := range h.Text {
		fmt.Fprintln(r.e.out, "  ", line)
	}
	if h.File != "" {
		fmt.Fprintln(r.e.out, "  ", h.File)
	}
}

// heard says what a ZAM or an MDM tells.
func (t tongue) heard(in gateway.Inbound) []string {
	if !strings.HasPrefix(in.Message.Type, "ZAM") && !strings.HasPrefix(in.Message.Type, "MDM") {
		return []string{t.say("ni ZAM ni MDM : la passerelle n'envoie pas ce message", "neither ZAM nor MDM: the gateway does not send this message")}
	}
	var out []string
	for line := range strings.FieldsFuncSeq(hl7v2.ReadHeader(in.Raw, "").Text(in.Raw), func(c rune) bool { return c == '\r' || c == '\n' }) {
		f := strings.Split(line, "|")
		get := func(n, component int) string {
			if n >= len(f) {
				return ""
			}
			parts := strings.Split(f[n], "^")
			if component > len(parts) {
				return ""
			}
			return plain(parts[component-1])
		}
		switch name := get(3, 1); {
		case f[0] == "OBX" && (name == "DESTINATAIRE_MSS" || name == "LECTEUR_MSS"):
			out = append(out, get(3, 2)+" : "+t.mailbox(get(5, 4)))
		case f[0] == "OBX" && get(3, 3) == "AckMetierZAM":
			verdict := map[string]string{"Y": t.say("oui", "yes"), "N": t.say("non", "no")}[get(5, 1)]
			out = append(out, fmt.Sprintf(t.say("%s : %s, pour le message %s", "%s: %s, for message %s"), get(3, 2), verdict, get(4, 1)))
		case f[0] == "ERR":
			out = append(out, t.say("erreur ", "error ")+join(" ", get(5, 1), get(5, 2)))
		case f[0] == "TXA":
			what := map[string]string{"MDM^T02": t.say("nouveau document", "new document"), "MDM^T10": t.say("remplacement de ", "replacement of ") + get(13, 1),
				"MDM^T04": t.say("suppression", "deletion")}[in.Message.Type]
			out = append(out, join(", ", what, "type "+get(2, 1), t.say("identifiant ", "identifier ")+join("^", get(12, 3), get(12, 1))))
		case f[0] == "OBX" && get(2, 1) == "ED" && get(5, 3) == "XML":
			parts := strings.Split(f[5], "^")
			out = append(out, fmt.Sprintf(t.say("CDA de %d octets", "CDA of %d bytes"), base64.StdEncoding.DecodedLen(len(parts[len(parts)-1]))))
		case f[0] == "PRT" && get(4, 1) == "SB":
			out = append(out, t.say("expéditeur ", "sender ")+t.mailbox(get(15, 4)))
		}
		if len(out) == maxHeard {
			break
		}
	}
	return out
}

// What is shown of one message: so many lines, and so much of a field.
const (
	maxHeard = 20
	maxField = 200
)

// mailbox is an address, but that of a patient.
func (t tongue) mailbox(address string) string {
	a, err := mss.ParseAddress(address)
	if err != nil {
		return t.say("adresse illisible", "unreadable address")
	}
	local, _, _ := strings.Cut(address, "@")
	if _, err := ins.ParseMatricule(local); a.IsPatient() || err == nil {
		return t.say("le patient", "the patient")
	}
	return a.String()
}

// plain is a field as a terminal may show it.
func plain(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > maxField {
		s = string(r[:maxField]) + "…"
	}
	return s
}
