package sim

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/testdata"
)

// The domains of the operator. It hosts the first three; the others are those of
// its neighbours in the trust space, whose mailboxes it plays as well.
const (
	operatorDomain = "bac-a-sable.mssante.fr"
	ciSISDomain    = "test-ci-sis.mssante.fr"
)

var (
	hostedDomains    = []string{operatorDomain, ciSISDomain, mss.PatientDomain}
	neighbourDomains = []string{"partenaire.mssante.fr", "labo.partenaire.mssante.fr"}
)

// absent is the local part that no domain knows.
const absent = "absent"

// patientLimit is what a patient's mailbox takes of one mail.
const patientLimit = mss.MaxPatientSize

// SMTPRules is what the SMTP of the operator announces and asks for.
type SMTPRules struct {
	Size         int64    `json:"size"`          // bytes of a letter
	Recipients   int      `json:"recipients"`    // of a letter
	AuthRequired bool     `json:"auth_required"` // AUTH besides the certificate
	Hide         []string `json:"hide"`          // extensions that EHLO leaves out
}

func ordinaryRules() SMTPRules { return SMTPRules{Size: 25 << 20, Recipients: 100, Hide: []string{}} }

// AutoAnswer says who answers letters without hands.
type AutoAnswer struct {
	// Dialect of the read receipt, one of testdata.MDNDialects; empty for none.
	Dialect string `json:"dialect"`
	Code    string `json:"code"`  // of an error; default 902
	Label   string `json:"label"` // of an error
	// Reply sends an ordinary answer, as an absent person's mailbox does.
	Reply bool `json:"reply"`
	// Rude sends the answer without Auto-Submitted, asking for a receipt itself:
	// the loop that a gateway has to break.
	Rude bool `json:"rude"`
	// Mailboxes are beginnings of addresses; empty means all.
	Mailboxes []string `json:"mailboxes"`
}

// operator is the MSSanté operator: SMTP and IMAP over one set of mailboxes.
type operator struct {
	gateway   string // mailbox of the gateway
	domain    string
	store     *mailStore
	smtp      *troubles
	imap      *troubles
	trust     *trustSpace
	now       func() time.Time
	random    io.Reader
	log       *slog.Logger
	mailboxes string // URL
	quit      chan struct{}

	smtpServer *smtpServer
	imapServer *imapServer

	mu          sync.Mutex
	settings    SMTPRules
	answers     []AutoAnswer
	submissions []Submission
	greeted     map[string]bool // pairs that greylisting has put off
	closed      bool
	late        sync.WaitGroup // reports that wait
}

func (o *operator) rules() SMTPRules {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.settings
	r.Hide = slices.Clone(r.Hide)
	return r
}

func (o *operator) record(s Submission) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Recipients = slices.Clone(s.Recipients)
	o.submissions = append(o.submissions, s)
	if len(o.submissions) > maxKept {
		o.submissions = slices.Clone(o.submissions[len(o.submissions)-maxKept:])
	}
}

// strikeSMTP finds the trouble of a stage. A trouble that names none strikes at
// MAIL; the cut that names none is one by bytes, and strikes elsewhere.
func (o *operator) strikeSMTP(stage, address string) (Trouble, <-chan struct{}) {
	return o.smtp.strikeIf(func(t Trouble) bool {
		at := strings.ToUpper(t.Method)
		switch {
		case t.Mode == Down:
			return stage == stageConnect && t.Count > 0
		case t.Mode == Cut && at == "":
			return false
		case at == "" && t.Mode == Silent:
			at = stageReport
		case at == "":
			at = stageMAIL
		}
		return at == stage && slices.Contains([]Mode{Slow, Hold, Refuse, Cut, Silent}, t.Mode) && strings.HasPrefix(address, t.Path)
	})
}

// hold waits for a release.
func (o *operator) hold(t *troubles, release <-chan struct{}) {
	t.count(func(c *Counters) { c.Held++ })
	select {
	case <-release:
	case <-o.quit:
	}
	t.count(func(c *Counters) { c.Held-- })
}

// judge decides on a recipient: refused at once, or bounced later.
func (o *operator) judge(from string, to mss.Address) (refusal, bounce string) {
	if !o.trust.listed(to.Domain()) {
		return "550 5.7.1 The domain is not in the trust space", ""
	}
	of := func(mode Mode) (Trouble, bool) {
		t, _ := o.smtp.strikeIf(func(t Trouble) bool { return t.Mode == mode && strings.HasPrefix(to.Key(), t.Path) })
		return t, t.Mode == mode
	}
	if _, yes := of(Quota); yes {
		return "452 4.2.2 The mailbox is full", ""
	}
	pair := from + "\x00" + to.Key()
	o.mu.Lock()
	known := o.greeted[pair]
	o.mu.Unlock()
	if !known {
		if _, yes := of(Greylist); yes {
			o.mu.Lock()
			if len(o.greeted) < maxBoxes {
				o.greeted[pair] = true
			}
			o.mu.Unlock()
			return "451 4.7.1 Greylisted, try again", ""
		}
	}
	if t, yes := of(Bounce); yes {
		if t.Code == "" {
			t.Code = "5.1.1"
		}
		status := map[bool]string{true: "552", false: "550"}[t.Code == "5.2.2" || t.Code == "5.3.4"]
		return "", status + " " + t.Code + " Message non distribue"
	}
	if strings.HasPrefix(to.Key(), absent+"@") {
		return "550 5.1.1 No such mailbox here", ""
	}
	return "", ""
}

// examine checks what the operator asks of every letter.
func examine(raw []byte) (id, refusal string) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", "554 5.6.0 The header cannot be read"
	}
	_, _, id = glance(raw)
	switch {
	case strings.TrimSpace(m.Header.Get("X-MSS-NIL")) == "":
		return id, "550 5.6.0 X-MSS-NIL is missing"
	case id == "":
		return id, "550 5.6.0 Message-ID is missing"
	case m.Header.Get("From") == "" || m.Header.Get("Date") == "":
		return id, "550 5.6.0 From or Date is missing"
	}
	return id, ""
}

// take stores a submission for all its recipients at once, and reports. The
// letters and the reports that are due at once are on the disk when it returns.
func (o *operator) take(s *Submission, raw []byte, trace string) (string, error) {
	var to []delivery
	var delivered []SubmissionRecipient
	var failed []SubmissionRecipient
	sender := strings.ToLower(s.From)
	for _, r := range s.Recipients {
		switch {
		case !r.taken():
			continue
		case r.bounce == "" && strings.HasSuffix(r.key, "@"+mss.PatientDomain) && len(raw) > patientLimit:
			r.bounce = "552 5.3.4 Message trop volumineux pour Mon espace sante"
			failed = append(failed, r)
		case r.bounce != "":
			failed = append(failed, r)
		case slices.ContainsFunc(to, func(d delivery) bool { return d.to == r.key }):
			delivered = append(delivered, r) // named twice, delivered once
		default:
			to = append(to, delivery{to: r.key, sender: sender, envelope: s.EnvelopeID, trace: "Return-Path: <" + s.From + ">\r\n" + trace})
			delivered = append(delivered, r)
		}
	}
	mails, err := o.store.deliver(raw, o.now(), to...)
	if err != nil {
		o.log.Error("operator: a letter could not be kept", "error", err)
		return "", err
	}
	receipt := false
	if m, err := mail.ReadMessage(bytes.NewReader(raw)); err == nil {
		receipt = m.Header.Get("Return-Receipt-To") != ""
	}
	for _, r := range delivered {
		if strings.Contains(r.Notify, "SUCCESS") || r.Notify == "" && receipt {
			o.report(s, r, raw)
		}
	}
	for _, r := range failed {
		if r.Notify == "" || strings.Contains(r.Notify, "FAILURE") {
			o.report(s, r, raw)
		}
	}
	for _, d := range to {
		o.answer(d.to, sender, raw)
	}
	if len(mails) == 0 {
		return "R", nil
	}
	return mails[0].ID, nil
}

// report sends a delivery report to the sender's mailbox.
func (o *operator) report(s *Submission, r SubmissionRecipient, raw []byte) {
	sender := strings.ToLower(s.From)
	if sender == "" || o.host(sender) == "" {
		return
	}
	far := r.key[strings.LastIndexByte(r.key, '@')+1:]
	one := testdata.DSNRecipient{Original: r.Original, Final: r.Address}
	if r.bounce != "" {
		one.Action, one.Diagnostic = "failed", r.bounce
		one.Status = strings.Fields(r.bounce)[1]
	}
	send := func() {
		o.post(delivery{to: sender}, testdata.DSN(testdata.DSNOptions{
			Return:     testdata.Return{MessageID: o.id(), From: "MAILER-DAEMON@" + far, To: s.From, Date: o.now().Format(time.RFC1123Z), Original: raw, Whole: s.Return == "FULL"},
			EnvelopeID: s.EnvelopeID, ReportingMTA: far, Recipients: []testdata.DSNRecipient{one}}))
	}
	t, release := o.strikeSMTP(stageReport, r.key)
	switch t.Mode {
	case Silent, Refuse, Cut:
	case Slow:
		o.later(func() { wait(time.Duration(t.Milliseconds)*time.Millisecond, o.quit); send() })
	case Hold:
		o.later(func() { o.hold(o.smtp, release); send() })
	default:
		send()
	}
}

// later runs beside; closing waits for it.
func (o *operator) later(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.late.Go(f)
	}
}

// host is the hosted mailbox of an address; empty when the operator has none.
func (o *operator) host(address string) string {
	a, err := mss.ParseAddress(address)
	if err != nil || strings.HasPrefix(a.Key(), absent+"@") || !o.trust.listed(a.Domain()) {
		return ""
	}
	return a.Key()
}

// post delivers a mail that the operator or a correspondent wrote.
func (o *operator) post(d delivery, raw []byte) (Mail, error) {
	d.trace = "Return-Path: <" + d.sender + ">\r\n" + d.trace
	mails, err := o.store.deliver(raw, o.now(), d)
	if err != nil {
		o.log.Error("operator: a mail could not be kept", "error", err)
		return Mail{}, err
	}
	return mails[0], nil
}

// id is a new Message-ID.
func (o *operator) id() string {
	var b [12]byte
	if _, err := io.ReadFull(o.random, b[:]); err != nil {
		_, _ = rand.Read(b[:]) // never fails
	}
	return hex.EncodeToString(b[:]) + "@" + o.domain
}

// answer plays the correspondents that answer without hands. It answers neither
// a report nor what a machine sent, unless it was asked to be rude.
func (o *operator) answer(recipient, sender string, raw []byte) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil || recipient == o.gateway {
		return
	}
	automatic := m.Header.Get("Auto-Submitted") != "" || strings.HasPrefix(strings.ToLower(m.Header.Get("Content-Type")), "multipart/report")
	_, subject, id := glance(raw)
	o.mu.Lock()
	answers := slices.Clone(o.answers)
	o.mu.Unlock()
	for _, a := range answers {
		if len(a.Mailboxes) > 0 && !slices.ContainsFunc(a.Mailboxes, func(p string) bool { return strings.HasPrefix(recipient, strings.ToLower(p)) }) {
			continue
		}
		if to := addressIn(m.Header.Get("Disposition-Notification-To")); a.Dialect != "" && to != "" && to == sender && !automatic && o.host(to) != "" {
			_, _ = o.post(delivery{to: to}, testdata.MDN(testdata.MDNOptions{ // post has logged its failure
				Return:  testdata.Return{MessageID: o.id(), To: to, NIL: "9001", Date: o.now().Format(time.RFC1123Z), Original: raw, Whole: true},
				Dialect: a.Dialect, Code: a.Code, Label: a.Label, Recipient: recipient, OriginalRecipient: "rfc822;" + recipient,
				OriginalMessageID: id, Subject: subject}))
		}
		closed := strings.HasSuffix(recipient, "@"+mss.PatientDomain) && strings.EqualFold(m.Header.Get("X-MSS-MES"), "FIN")
		to := addressIn(m.Header.Get("Reply-To"))
		if to == "" || a.Rude {
			to = addressIn(m.Header.Get("From"))
		}
		if a.Reply && !closed && (!automatic || a.Rude) && o.host(to) != "" {
			sender := recipient
			if !a.Rude {
				sender = "" // an automatic answer has a null return-path (RFC 3834)
			}
			_, _ = o.post(delivery{to: to, sender: sender}, o.autoReply(recipient, to, id, subject, a.Rude)) // logged
		}
	}
}

func (o *operator) autoReply(from, to, id, subject string, rude bool) []byte {
	lines := []string{"Date: " + o.now().Format(time.RFC1123Z), "Message-ID: <" + o.id() + ">", "From: <" + from + ">", "To: <" + to + ">",
		"Subject: Re: =?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(strings.ToValidUTF8(subject[:min(len(subject), 40)], ""))) + "?=",
		"In-Reply-To: <" + id + ">", "References: <" + id + ">", "X-MSS-NIL: 9001"}
	if rude {
		lines = append(lines, "Disposition-Notification-To: <"+from+">")
	} else {
		lines = append(lines, "Auto-Submitted: auto-replied")
	}
	lines = append(lines, "MIME-Version: 1.0", "Content-Type: text/plain; charset=UTF-8", "", "Message automatique du bac à sable : je suis absent(e).", "")
	return []byte(strings.Join(lines, "\r\n"))
}

// addressIn is the one address of a header field, as a key.
func addressIn(v string) string {
	a, err := mail.ParseAddress(v)
	if err != nil {
		return ""
	}
	b, err := mss.ParseAddress(a.Address)
	if err != nil {
		return ""
	}
	return b.Key()
}

// saslLogin reads the initial response of PLAIN or EXTERNAL: who wants in. The
// password is not looked at: the certificate is the proof.
func saslLogin(mechanism, response string) (string, bool) {
	if response == "=" {
		response = ""
	}
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil || len(raw) > 1000 {
		return "", false
	}
	if mechanism == "EXTERNAL" {
		return strings.ToLower(string(raw)), true
	}
	parts := strings.Split(string(raw), "\x00")
	if len(parts) != 3 || parts[1] == "" || (parts[0] != "" && !strings.EqualFold(parts[0], parts[1])) {
		return "", false
	}
	return strings.ToLower(parts[1]), true
}

// errCut ends a connection that has spent its bytes.
var errCut = errors.New("sim: cut")

// cutting counts the bytes of a connection, both ways, TLS included, when a cut
// by bytes was asked for.
func cutting(conn net.Conn, t *troubles) net.Conn {
	cut, _ := t.strikeIf(func(t Trouble) bool { return t.Mode == Cut && t.Method == "" })
	if cut.Mode != Cut {
		return conn
	}
	return &cutConn{Conn: conn, left: cut.Bytes}
}

type cutConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

// NetConn gives the connection beneath, for [reset].
func (c *cutConn) NetConn() net.Conn { return c.Conn }

// spend takes up to n bytes of what is left; an error when that is the end.
func (c *cutConn) spend(n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	if c.left > 0 {
		return n, nil
	}
	return n, errCut
}

func (c *cutConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	room := min(len(p), c.left)
	c.mu.Unlock()
	if room == 0 {
		c.hangUp()
		return 0, errCut
	}
	n, err := c.Conn.Read(p[:room])
	if _, over := c.spend(n); over != nil {
		c.hangUp() // what was read is not processed: it is the byte of the cut
		return 0, over
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, over := c.spend(len(p))
	written, err := c.Conn.Write(p[:n])
	if over != nil {
		c.hangUp()
		return written, over
	}
	return written, err
}

func (c *cutConn) hangUp() {
	reset(c.Conn)
	c.Conn.Close()
}

func (o *operator) close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	o.mu.Unlock()
	close(o.quit)
	err := errors.Join(o.smtpServer.close(), o.imapServer.close())
	o.late.Wait()
	return errors.Join(err, o.store.close())
}
