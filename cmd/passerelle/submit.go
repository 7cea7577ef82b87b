package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/ins"
)

type submitCmd struct {
	Files    []string `arg:"" help:"CDA (XML) ou PDF." name:"fichier"`
	Envelope string   `help:"Enveloppe JSON, obligatoire avec un PDF ; d'un CDA, elle est déduite." placeholder:"FICHIER"`
	To       []string `help:"Adresse MSSanté d'un professionnel destinataire, avec l'enveloppe déduite ; répétable." placeholder:"ADRESSE"`
	DMP      bool     `name:"dmp" default:"true" negatable:"" help:"Alimenter le DMP, avec l'enveloppe déduite."`
	Delete   bool     `help:"Supprimer le document du DMP, avec l'enveloppe déduite."`
	Site     string   `name:"establishment" help:"FINESS géographique, si le certificat sert plusieurs établissements." placeholder:"FINESS"`

	Info string `help:"Fichier écrit par « sandbox --info », à la place de --url, --cert, --key et --ca." placeholder:"FICHIER"`
	URL  string `name:"url" help:"Adresse de la passerelle : https://hôte:port." placeholder:"URL"`
	Cert string `help:"Certificat client de la machine." placeholder:"FICHIER"`
	Key  string `help:"Sa clé." placeholder:"FICHIER"`
	CA   string `name:"ca" help:"Autorités du serveur." placeholder:"FICHIER"`

	DryRun         bool          `help:"Rend le verdict des règles de publication ; rien n'est conservé."`
	Follow         bool          `help:"Suit chaque document jusqu'à son état final."`
	Timeout        time.Duration `help:"Avec --follow : ne pas suivre plus longtemps ; 0 : sans limite." placeholder:"DURÉE"`
	IdempotencyKey string        `help:"Clé du dépôt ; par défaut l'empreinte de l'envoi : relancée, la commande ne dépose pas deux fois." placeholder:"CLÉ"`
	JSON           bool          `name:"json" help:"Un objet JSON par document."`
	Lang           string        `default:"fr" enum:"fr,en" help:"Langue des textes : fr ou en."`
}

// submitted is what became of one document.
type submitted struct {
	File     string            `json:"file"`
	ID       string            `json:"id,omitempty"`
	Verdict  string            `json:"verdict"` // accepted, noted, refused
	State    string            `json:"state,omitempty"`
	Code     string            `json:"code,omitempty"`
	Errors   []httpapi.Finding `json:"errors,omitempty"`
	Warnings []httpapi.Finding `json:"warnings,omitempty"`
	Events   []httpapi.Event   `json:"events,omitempty"`
}

// Run submits each document. Exit 1 when one is refused or does not arrive, 3
// when the gateway cannot be asked.
func (c *submitCmd) Run(e *env) error {
	if c.Follow && c.DryRun {
		return usageError{errors.New("--dry-run ne conserve rien : il n'y a rien à suivre")}
	}
	if c.IdempotencyKey != "" && len(c.Files) > 1 {
		return usageError{errors.New("--idempotency-key nomme un seul document")}
	}
	if c.Envelope != "" && (len(c.To) > 0 || c.Delete || !c.DMP) {
		return usageError{errors.New("--to, --delete et --no-dmp complètent l'enveloppe déduite d'un CDA : avec --envelope, écrivez-les dans l'enveloppe")}
	}
	s, err := c.sender(e)
	if err != nil {
		return err
	}
	wrong := false
	for _, file := range c.Files {
		out, err := s.submit(file)
		if errors.Is(err, errWrong) { // told, and the others are not concerned
			out.Verdict, err = "refused", nil
		}
		if err != nil {
			return err
		}
		if c.JSON {
			if err := json.NewEncoder(e.out).Encode(out); err != nil {
				return err
			}
		}
		bad := out.State != "" && out.State != string(gateway.Done) && out.State != string(gateway.Kept)
		wrong = wrong || out.Verdict == "refused" || bad
	}
	if wrong {
		return errWrong
	}
	return nil
}

// sender is the command with what it needs of the gateway.
type sender struct {
	*submitCmd
	e      *env
	base   string
	client *http.Client
	pause  time.Duration // before a timeline that broke off is taken up
}

func (c *submitCmd) sender(e *env) (*sender, error) {
	if c.Info != "" {
		data, err := os.ReadFile(c.Info)
		if err != nil {
			return nil, usageError{err}
		}
		var info struct {
			Gateway struct {
				HTTPS string `json:"https"`
			} `json:"gateway"`
			TLS struct {
				CA   string `json:"ca"`
				Cert string `json:"machine_cert"`
				Key  string `json:"machine_key"`
			} `json:"tls"`
		}
		if err := json.Unmarshal(data, &info); err != nil {
			return nil, usageError{fmt.Errorf("%s : %w", c.Info, err)}
		}
		or(&c.URL, info.Gateway.HTTPS)
		or(&c.CA, info.TLS.CA)
		or(&c.Cert, info.TLS.Cert)
		or(&c.Key, info.TLS.Key)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || c.Cert == "" || c.Key == "" || c.CA == "" {
		return nil, usageError{errors.New("indiquez la passerelle : --info FICHIER, ou --url https://… avec --cert, --key et --ca")}
	}
	client, err := clientFor(c.CA, c.Cert, c.Key)
	if err != nil {
		return nil, usageError{err}
	}
	client.Timeout = 0 // a timeline is followed for as long as it takes; a deposit has its own limit
	return &sender{c, e, strings.TrimRight(c.URL, "/"), client, time.Second}, nil
}

func (s *sender) submit(file string) (submitted, error) {
	out := submitted{File: file}
	document, err := os.ReadFile(file)
	if err != nil {
		return out, usageError{err}
	}
	envelope, err := s.envelope(file, document)
	if err != nil {
		return out, err
	}
	if err := s.deposit(envelope, document, &out); err != nil {
		return out, err
	}
	s.tell(out)
	if s.Follow && out.ID != "" && out.Verdict != "refused" {
		err = s.follow(&out)
	}
	return out, err
}

// envelope is the one given, or what follows from a CDA: its patient, its author
// and what it replaces. An INS in a CDA counts as qualified by contract.
func (s *sender) envelope(file string, document []byte) ([]byte, error) {
	if s.Envelope != "" {
		data, err := os.ReadFile(s.Envelope)
		if err != nil {
			return nil, usageError{err}
		}
		return data, nil
	}
	if bytes.HasPrefix(document, []byte("%PDF-")) {
		return nil, usageError{fmt.Errorf("%s : un PDF ne dit pas de qui il est : ajoutez --envelope FICHIER", file)}
	}
	d, err := cda.Read(document)
	if err != nil {
		return nil, refused(s.e, file, err)
	}
	m, _ := d.Metadata(document)
	in := httpapi.Envelope{Action: dmp.New, Establishment: s.Site}
	in.Patient.Identity = d.Patient()
	if in.Patient.Matricule != "" {
		in.Patient.Status = ins.Qualified
	}
	switch {
	case s.Delete:
		in.Action = dmp.Delete
	case m.Replaces != nil:
		in.Action = dmp.Replace
	}
	if len(m.Authors) > 0 {
		in.Author = &httpapi.EnvelopeAuthor{Device: m.Authors[0].Device}
		if p := m.Authors[0].Person; p != nil {
			in.Author.Person = *p
		}
		in.Author.Organisation.Organisation = m.Authors[0].Organisation
	}
	in.Flags.ToDMP, in.Flags.ToProfessionals = s.DMP, len(s.To) > 0
	for _, to := range s.To {
		in.Recipients = append(in.Recipients, httpapi.EnvelopeRecipient{Kind: "professional", Address: to})
	}
	return json.Marshal(in)
}

// depositTime is how long the gateway may take to answer a deposit.
const depositTime = 2 * time.Minute

func (s *sender) deposit(envelope, document []byte, out *submitted) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, part := range []struct {
		name string
		data []byte
	}{{"envelope", envelope}, {"document", document}} {
		w, err := form.CreateFormFile(part.name, part.name)
		if err == nil {
			_, err = w.Write(part.data)
		}
		if err != nil {
			return err
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	q := url.Values{"lang": {s.Lang}}
	if s.DryRun {
		q.Set("dry_run", "1")
	}
	ctx, cancel := context.WithTimeout(s.e.ctx, depositTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/v1/submissions?"+q.Encode(), &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	key := s.IdempotencyKey
	if key == "" {
		sum := sha256.Sum256(append(append(append([]byte{}, envelope...), 0), document...))
		key = "submit-" + hex.EncodeToString(sum[:16])
	}
	req.Header.Set("Idempotency-Key", key)
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return err
	}
	return s.read(res, data, out)
}

// read understands the answer to a deposit: accepted, a verdict, or a problem.
// What is wrong for now, or with who asks, is no verdict on the document.
func (s *sender) read(res *http.Response, data []byte, out *submitted) error {
	var a struct {
		ID         string            `json:"id"`
		Outcome    string            `json:"outcome"`
		Verdict    string            `json:"verdict"`
		Warnings   []httpapi.Finding `json:"warnings"`
		Errors     []httpapi.Finding `json:"errors"`
		Code       string            `json:"code"`
		Title      string            `json:"title"`
		Detail     string            `json:"detail"`
		Where      string            `json:"where"`
		Temporary  bool              `json:"temporary"`
		Submission string            `json:"submission"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("la passerelle répond %s, sans JSON", res.Status)
	}
	out.Warnings, out.Errors = a.Warnings, a.Errors
	switch {
	case res.StatusCode == http.StatusAccepted:
		out.ID, out.Verdict = a.ID, a.Outcome
	case res.StatusCode == http.StatusOK:
		out.Verdict = a.Verdict
	case a.Code == "" || a.Temporary || res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("la passerelle répond %s : %s %s [%s]", res.Status, a.Title, a.Detail, a.Code)
	default:
		out.Verdict, out.Code, out.ID = "refused", a.Code, a.Submission
		if len(out.Errors) == 0 {
			out.Errors = []httpapi.Finding{{Code: a.Code, Where: a.Where, Text: a.Title, Remedy: a.Detail}}
		}
	}
	return nil
}

func (s *sender) say(format string, args ...any) {
	if !s.JSON {
		fmt.Fprintf(s.e.out, format, args...)
	}
}

// words are what the command says of verdicts and states, in French and English.
var words = map[string][2]string{
	"accepted": {"accepté", "accepted"}, "noted": {"noté, rien à remettre", "noted, nothing to deliver"}, "refused": {"refusé", "refused"},
	string(gateway.Pending): {"en cours", "pending"}, string(gateway.Done): {"remis", "done"}, string(gateway.Kept): {"conservé", "kept"},
	string(gateway.Failed): {"échec", "failed"}, string(gateway.Partial): {"remis en partie", "partly delivered"},
}

func (s *sender) word(w string) string {
	said, ok := words[w]
	switch {
	case !ok:
		return w
	case s.Lang == "en":
		return said[1]
	}
	return said[0]
}

func (s *sender) tell(out submitted) {
	name := "soumission"
	if s.Lang == "en" {
		name = "submission"
	}
	id := ""
	if out.ID != "" {
		id = ", " + name + " " + out.ID
	}
	s.say("%s : %s%s\n", out.File, s.word(out.Verdict), id)
	for _, f := range out.Errors {
		s.say("  ✗ %s %s [%s]\n", f.Text, f.Remedy, strings.TrimSpace(f.Code+" "+f.Where))
	}
	for _, f := range out.Warnings {
		s.say("  ! %s %s [%s]\n", f.Text, f.Remedy, strings.TrimSpace(f.Code+" "+f.Where))
	}
}

// resumes is how often in a row a timeline that broke off is taken up without
// news.
const resumes = 10

// follow reads the timeline until the submission has a final state. What breaks
// is taken up after the last event that was seen.
func (s *sender) follow(out *submitted) error {
	ctx := s.e.ctx
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Timeout)
		defer cancel()
	}
	for broken := 0; ; broken++ {
		seen := len(out.Events)
		final, err := s.stream(ctx, out)
		switch {
		case final:
			s.say("  → %s", s.word(out.State))
			if out.Code != "" {
				s.say(" [%s]", out.Code)
			}
			s.say("\n")
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("suivi interrompu, état %q ; l'envoi continue : GET %s/v1/submissions/%s", s.word(out.State), s.base, out.ID)
		case len(out.Events) > seen:
			broken = 0
		case broken >= resumes:
			return fmt.Errorf("le suivi de %s s'interrompt sans cesse : %w", out.ID, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.pause):
		}
	}
}

// stream reads server-sent events until the state is final or the stream breaks.
func (s *sender) stream(ctx context.Context, out *submitted) (final bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v1/submissions/"+url.PathEscape(out.ID)+"/events?follow=1&lang="+s.Lang, nil)
	if err != nil {
		return false, err
	}
	if n := len(out.Events); n > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(out.Events[n-1].Seq, 10))
	}
	res, err := s.client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, errors.New(res.Status)
	}
	kind := ""
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "event":
			kind = value
		case name == "data" && kind == "timeline":
			var ev httpapi.Event
			if err := json.Unmarshal([]byte(value), &ev); err != nil {
				return false, err
			}
			out.Events = append(out.Events, ev)
			about := strings.TrimSpace(ev.Destination + " " + ev.Recipient)
			s.say("  %s  %-9s %-8s %s", ev.Time.Local().Format("15:04:05"), ev.Step, ev.Outcome, ev.Text)
			if about != "" && about != ev.Step {
				s.say(" (%s)", about)
			}
			if ev.Code != "" {
				s.say(" [%s]", ev.Code)
			}
			s.say("\n")
		case name == "data" && kind == "state":
			var state struct{ State, Code string }
			if err := json.Unmarshal([]byte(value), &state); err != nil {
				return false, err
			}
			out.State, out.Code = state.State, state.Code
			if state.State != string(gateway.Pending) {
				return true, nil
			}
		}
	}
	return false, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}

// clientFor presents a client certificate to a server of these authorities.
func clientFor(ca, cert, key string) (*http.Client, error) {
	kp, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	roots, err := pool(ca)
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{kp}, RootCAs: roots},
	}}, nil
}
