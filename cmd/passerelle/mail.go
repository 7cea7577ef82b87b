package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/operator"
	"github.com/passerelle-sante/passerelle/mss/trust"
	"github.com/passerelle-sante/passerelle/mss/xdm"
)

// MSSConfig is the MSSanté operator and the gateway's mailbox there.
type MSSConfig struct {
	NIL          string        `yaml:"nil"`        // X-MSS-NIL: product reference; mandatory
	Mailbox      string        `yaml:"mailbox"`    // BAL APP
	Name         string        `yaml:"name"`       // display name
	ReplyTo      string        `yaml:"reply_to"`   // where people answer
	Contact      string        `yaml:"contact"`    // in README.TXT
	FINESSGeo    string        `yaml:"finess_geo"` // whose mailbox it is; empty: the only establishment
	SMTP         string        `yaml:"smtp"`
	IMAP         string        `yaml:"imap"`
	Folder       string        `yaml:"folder"`
	ServerName   string        `yaml:"server_name"` // in the operator's certificate; empty: the host of smtp
	Certificate  string        `yaml:"certificate"`
	Key          string        `yaml:"key"`
	CA           string        `yaml:"ca"`
	PasswordFile string        `yaml:"password_file"` // SASL PLAIN beside the certificate, where the operator asks for it
	Domains      []string      `yaml:"domains"`       // of the trust space, when there is no white list
	WhiteList    string        `yaml:"white_list"`    // https:// address of the white list
	Revocation   string        `yaml:"revocation"`    // check (default) or off: of the operator's certificate
	Identities   string        `yaml:"identities"`    // JSON file of the people held as qualified, for incoming letters
	MaxSize      int64         `yaml:"max_size"`      // bytes of a letter
	Timeout      time.Duration `yaml:"timeout"`
	Poll         time.Duration `yaml:"poll"`         // of the mailbox
	ReportWait   time.Duration `yaml:"report_wait"`  // how long a delivery report is expected
	UnknownWait  time.Duration `yaml:"unknown_wait"` // before a letter of unknown fate is sent again

	Directory *DirectoryConfig `yaml:"directory,omitempty"` // absent: addresses are advised on by the white list alone
}

func (c *MSSConfig) defaults() {
	or(&c.Folder, "INBOX")
	or(&c.Revocation, "check")
	or(&c.MaxSize, 20<<20)
	or(&c.Timeout, time.Minute)
	or(&c.Poll, 15*time.Second)
	or(&c.ReportWait, 5*24*time.Hour)
	or(&c.UnknownWait, 10*time.Minute)
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(c.SMTP)
	}
}

func (c *Config) mssProblems(p *problemList, now time.Time) {
	m := c.MSS
	if m == nil {
		return
	}
	p.require("mss.nil", m.NIL)
	// Without a reply address a letter could be refused after its message was
	// accepted, for a setting that is ours.
	for _, a := range [][2]string{{"mss.mailbox", m.Mailbox}, {"mss.reply_to", m.ReplyTo}} {
		if _, err := mss.ParseAddress(a[1]); err != nil {
			p.add(a[0], "adresse de messagerie attendue")
		}
	}
	if m.ReplyTo != "" && strings.EqualFold(m.ReplyTo, m.Mailbox) {
		p.add("mss.reply_to", "boîte personnelle ou organisationnelle attendue : à la BAL applicative, personne ne lit les réponses")
	}
	p.address("mss.smtp", m.SMTP)
	if m.IMAP != "" {
		p.address("mss.imap", m.IMAP)
		if m.Identities != "" {
			if _, err := readIdentities(m.Identities); err != nil {
				p.add("mss.identities", said(err))
			}
		}
	}
	p.oneOf("mss.revocation", m.Revocation, "check", "off")
	p.pair(c.Environment, "mss", m.Certificate, m.Key, clientRole, now)
	p.authority(c.Environment, "mss.ca", m.CA)
	if len(m.Domains) == 0 && m.WhiteList == "" {
		p.add("mss", "indiquez la liste blanche (white_list) ou les domaines de confiance (domains)")
	}
	if host, _, err := net.SplitHostPort(m.SMTP); err == nil && c.Environment == envProduction && loopback(host) {
		p.add("mss.smtp", "adresse d'un simulateur (boucle locale) refusée en production")
	}
	if m.Directory != nil {
		m.Directory.problems(p, c.Environment)
	}
	if _, err := c.mailHouse(); err != nil {
		p.add("mss.finess_geo", said(err))
	}
}

// mailHouse is the establishment whose mailbox it is.
func (c *Config) mailHouse() (EstablishmentConfig, error) {
	if c.MSS.FINESSGeo == "" && len(c.Establishments) == 1 {
		return c.Establishments[0], nil
	}
	for _, e := range c.Establishments {
		if e.FINESSGeo == c.MSS.FINESSGeo {
			return e, nil
		}
	}
	return EstablishmentConfig{}, errors.New("établissement non déclaré")
}

// mail makes what deliveries need of secure mail; nil when none is configured.
func (m *Main) mail() (*gateway.Mail, error) {
	c := m.Config.MSS
	if c == nil {
		return nil, nil
	}
	house, err := m.Config.mailHouse()
	if err != nil {
		return nil, err
	}
	from, err := mss.ParseAddress(c.Mailbox)
	if err != nil {
		return nil, err
	}
	var replyTo mss.Address
	if c.ReplyTo != "" {
		if replyTo, err = mss.ParseAddress(c.ReplyTo); err != nil {
			return nil, err
		}
	}
	trusted, err := m.trusted()
	if err != nil {
		return nil, err
	}
	m.trustedDomain = trusted
	composer, err := mss.New(mss.Config{
		NIL: c.NIL, From: from, FromName: c.Name, ReplyTo: replyTo, Institution: house.Name, Contact: c.Contact,
		Product: xdm.Product{Name: "Passerelle", Version: "0", Vendor: "Passerelle", Contact: c.Contact},
		MaxSize: c.MaxSize, Trusted: trusted,
	})
	if err != nil {
		return nil, err
	}
	verify, err := m.revocations()
	if err != nil {
		return nil, err
	}
	server, err := c.server(c.SMTP, verify)
	if err != nil {
		return nil, err
	}
	smtp, err := operator.NewSMTP(server, "passerelle."+from.Domain())
	if err != nil {
		return nil, err
	}
	return &gateway.Mail{
		Composer: composer, From: from, Operator: submitter{smtp}, ReportWait: c.ReportWait, UnknownWait: c.UnknownWait,
	}, nil
}

// trusted tells the domains of the trust space: those of the white list, kept
// fresh for as long as the gateway runs, or those of the configuration.
func (m *Main) trusted() (func(string) (bool, error), error) {
	c := m.Config.MSS
	if c.WhiteList == "" {
		return func(domain string) (bool, error) { return slices.Contains(c.Domains, domain), nil }, nil
	}
	roots, err := pool(c.CA)
	if err != nil {
		return nil, err
	}
	list, err := trust.OpenWhitelist(trust.WhitelistConfig{
		URL: c.WhiteList, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		Dir: filepath.Join(m.Config.Data, "liste-blanche"), Clock: m.Clock,
	})
	if err != nil {
		return nil, err
	}
	m.background = append(m.background, func(ctx context.Context) {
		list.Run(ctx, func(err error) { m.Log.Warn("the white list cannot be refreshed", "code", fault.From(err).Code) })
	})
	return list.Trusted, nil
}

// revocations refuses an operator whose certificate was revoked.
func (m *Main) revocations() (func(tls.ConnectionState) error, error) {
	if m.Config.MSS.Revocation == "off" {
		return nil, nil
	}
	r, err := trust.OpenRevocations(trust.RevocationConfig{Dir: filepath.Join(m.Config.Data, "revocations"), Clock: m.Clock})
	if err != nil {
		return nil, err
	}
	return r.Verify, nil
}

func (c *MSSConfig) server(address string, verify func(tls.ConnectionState) error) (operator.Server, error) {
	kp, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return operator.Server{}, err
	}
	roots, err := pool(c.CA)
	if err != nil {
		return operator.Server{}, err
	}
	s := operator.Server{Address: address, Name: c.ServerName, Roots: roots, Client: kp, Timeout: c.Timeout, Verify: verify}
	if c.PasswordFile != "" {
		secret, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return s, err
		}
		s.Username, s.Password = c.Mailbox, strings.TrimSpace(string(secret))
	}
	return s, nil
}

// submitter is the operator as deliveries see it.
type submitter struct{ smtp *operator.SMTP }

// Submit hands one letter to one recipient over.
func (s submitter) Submit(ctx context.Context, p gateway.Posting) gateway.Posted {
	outcomes := s.smtp.Submit(ctx, operator.Envelope{From: p.From, To: []mss.Address{p.To}, ID: p.ID, Raw: p.Raw})
	if len(outcomes) != 1 {
		return gateway.Posted{Err: fault.New(fault.Internal)}
	}
	o := outcomes[0]
	posted := gateway.Posted{Err: o.Err, Unknown: o.Fate == operator.Unknown, Report: o.DSN, Reply: o.Queue}
	if o.Err != nil && o.SMTP != 0 { // otherwise nobody answered: the row of the error says it
		posted.Code = o.ErrorCode()
	}
	return posted
}

// application routes received documents and lowered identities by establishment.
func (m *Main) application() *hl7v2.Application {
	software := map[string]hl7v2.Software{}
	for _, e := range m.Config.Establishments {
		if e.Hospital == "" {
			continue
		}
		software[e.FINESSGeo] = hl7v2.Software{
			Target: hl7v2.Target{Address: e.Hospital}, Processing: m.processing(),
			To: gateway.Party{Application: e.Application.Application, Facility: e.Application.Facility},
			As: gateway.Party{Application: "PASSERELLE", Facility: e.Application.Facility},
		}
	}
	return &hl7v2.Application{
		Route: func(e gateway.Establishment) (hl7v2.Software, bool) {
			s, ok := software[e.FINESSGeo]
			return s, ok
		},
		Timeout: m.Config.Delivery.AckTimeout, Zone: m.zone,
	}
}

// processing is MSH-11 of what the gateway sends by itself.
func (m *Main) processing() string {
	if m.Config.Environment == envProduction {
		return "P"
	}
	return "T"
}

// receiver reads the gateway's mailbox; nil when there is none.
func (m *Main) receiver(g *gateway.Gateway) (*gateway.Receiver, error) {
	c := m.Config.MSS
	if c == nil || c.IMAP == "" {
		return nil, nil
	}
	house, err := m.Config.mailHouse()
	if err != nil {
		return nil, err
	}
	verify, err := m.revocations()
	if err != nil {
		return nil, err
	}
	server, err := c.server(c.IMAP, verify)
	if err != nil {
		return nil, err
	}
	server.Username = c.Mailbox // IMAP has no login without a name (SASL PLAIN after the certificate)
	imap, err := operator.NewIMAP(server, c.Folder, 2*c.MaxSize)
	if err != nil {
		return nil, err
	}
	people, err := readIdentities(c.Identities)
	if err != nil {
		return nil, err
	}
	own, err := mss.ParseAddress(c.Mailbox)
	if err != nil {
		return nil, err
	}
	return &gateway.Receiver{
		Gateway: g, Mailbox: mailbox{imap}, Own: own, Identities: gateway.Held{Register: g.Register, File: people}, Poll: c.Poll, Establishment: house.establishment(),
		OnError: func(err error) {
			f := fault.From(err)
			m.Log.Warn("the mailbox cannot be read", "code", f.Code, "cause", f.Unwrap())
		},
	}, nil
}

// mailbox is the gateway's mailbox as the receiver sees it.
type mailbox struct{ imap *operator.IMAP }

// Each treats every mail that nobody marked as seen, oldest first.
func (b mailbox) Each(ctx context.Context, handle func(raw []byte) error, unreadable func(name string, reason error) error) error {
	s, err := b.imap.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }() // what was marked is marked; a bad goodbye changes nothing
	return each(ctx, s, handle, unreadable)
}

// session is an open mailbox.
type session interface {
	Unseen(ctx context.Context, max int) ([]operator.Ref, error)
	Fetch(ctx context.Context, r operator.Ref) ([]byte, error)
	MarkSeen(ctx context.Context, r operator.Ref) error
}

func each(ctx context.Context, s session, handle func(raw []byte) error, unreadable func(name string, reason error) error) (stuck error) {
	refs, err := s.Unseen(ctx, 100)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		raw, err := s.Fetch(ctx, ref)
		switch {
		case err == nil:
			err = handle(raw)
		case fault.From(err).Code == operator.FaultMailGone:
			continue
		case fault.From(err).Code == operator.FaultMailboxRefused:
			stuck = err // tried again, and told, at every round; those behind it are read
			continue
		case fault.From(err).Kind == fault.Permanent:
			err = unreadable(ref.Key(), err) // it must not hide those behind it
		}
		if err != nil {
			return err
		}
		switch err := s.MarkSeen(ctx, ref); {
		case err == nil:
		case fault.From(err).Code == operator.FaultMailboxRefused:
			stuck = err // what was decided of it is kept; it is recognised at the next round
		default:
			return err
		}
	}
	return stuck
}

// people are the identities held as qualified, from a file.
type people []ins.Candidate

func readIdentities(path string) (people, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p people
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("%s : %w", path, err)
	}
	return p, nil
}

// Candidates gives all: the matching rules choose.
func (p people) Candidates(context.Context, string, ins.Identity) ([]ins.Candidate, error) {
	return p, nil
}
