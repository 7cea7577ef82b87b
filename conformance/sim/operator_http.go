package sim

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/passerelle-sante/passerelle/testdata"
)

// openOperator starts the operator, the white list and the directory.
func (s *Sandbox) openOperator(ca *authority, certs map[string]tls.Certificate, pages net.Listener) error {
	smtp, err := s.listen(PortOperatorSMTP)
	if err != nil {
		return err
	}
	imap, err := s.listen(PortOperatorIMAP)
	if err != nil {
		return err
	}
	national, err := s.listen(PortDirectory)
	if err != nil {
		return err
	}
	boxes, err := openMailStore(s.path("operator"))
	if err != nil {
		return err
	}
	o := &operator{gateway: testdata.GatewayMailbox, domain: operatorDomain, store: boxes, smtp: newTroubles(), imap: newTroubles(),
		trust: &trustSpace{ca: ca, dn: certs[roleOperator].Leaf.Subject.String(), now: s.Now, list: Whitelist{Mode: listNormal}},
		now:   s.Now, random: s.cfg.Rand, log: s.cfg.Logger, mailboxes: "http://" + pages.Addr().String() + "/mailboxes",
		quit: make(chan struct{}), settings: ordinaryRules(), greeted: map[string]bool{}}
	config := operatorTLS(ca, certs[roleOperator], sync.OnceValues(func() (tls.Certificate, error) { return ca.leaf(roleOperatorRSA) }))
	o.smtpServer = &smtpServer{o: o, listener: newGate(smtp, o.smtp), tls: config, conns: map[net.Conn]bool{}}
	o.smtpServer.done.Go(o.smtpServer.accept)
	o.imapServer = newIMAPServer(o, newGate(imap, o.imap), config)
	s.operator = o
	s.closers = append(s.closers, o.close)
	s.serve(pages, localOnly(o.pages()))

	base := "https://" + national.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /listeblanchemssante.xml", o.trust.serveList)
	mux.Handle("/fhir/v2/", newDirectory(base+"/fhir/v2", directoryAPIKey))
	s.directory = &front{troubles: newTroubles(), service: mux}
	s.directoryGate = newGate(national, s.directory.troubles)
	s.serve(tls.NewListener(s.directoryGate, serverTLS(certs[roleDirectory], ca.pool())), s.directory)

	s.info.Operator = OperatorInfo{SMTP: smtp.Addr().String(), IMAP: imap.Addr().String(), Domain: o.domain, GatewayMailbox: o.gateway,
		Mailboxes: o.mailboxes, Whitelist: base + "/listeblanchemssante.xml", CRL: ca.crl}
	s.info.Directory = DirectoryInfo{FHIR: base + "/fhir/v2", APIKey: directoryAPIKey}
	return nil
}

// pages shows the mailboxes to whoever looks from outside, and takes the letters
// of correspondents.
func (o *operator) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /mailboxes", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "mailboxes": o.store.counts()})
	})
	mux.HandleFunc("GET /mailboxes/{address}", o.serveMailbox)
	mux.HandleFunc("POST /mailboxes/{address}", o.serveDrop)
	mux.HandleFunc("GET /mailboxes/{address}/{id}", o.serveMail)
	mux.HandleFunc("GET /submissions", func(w http.ResponseWriter, r *http.Request) {
		list := o.submitted()
		if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit > 0 {
			list = list[:min(limit, len(list))]
		}
		writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "submissions": list})
	})
	mux.HandleFunc("GET /crl", o.trust.serveCRL)
	return mux
}

// submitted lists the submissions, newest first.
func (o *operator) submitted() []Submission {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := slices.Clone(o.submissions)
	if list == nil {
		list = []Submission{}
	}
	slices.Reverse(list)
	return list
}

// listed gives the mails of a mailbox with their addresses.
func (o *operator) listed(address string) []Mail {
	list := o.store.list(address)
	for i, m := range list {
		list[i].Raw = o.mailboxes + "/" + url.PathEscape(m.Mailbox) + "/" + m.ID
	}
	return list
}

func (o *operator) serveMailbox(w http.ResponseWriter, r *http.Request) {
	box := o.host(r.PathValue("address"))
	if box == "" {
		refuseControl(w, http.StatusNotFound, "aucune boîte de cet opérateur n'a cette adresse")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"bac_a_sable": notice, "messages": o.listed(box)})
}

func (o *operator) serveMail(w http.ResponseWriter, r *http.Request) {
	raw, err := o.store.read(o.host(r.PathValue("address")), r.PathValue("id"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuseControl(w, http.StatusNotFound, "ce message n'existe pas")
	case err != nil:
		refuseControl(w, http.StatusInternalServerError, "le message ne se lit pas")
	default:
		w.Header().Set("Content-Type", "message/rfc822")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(raw) // a client that left is not our trouble
	}
}

// serveDrop takes a letter as a correspondent would send it: the body is the
// RFC 5322 bytes. ?from= is the envelope sender, by default that of the header.
func (o *operator) serveDrop(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuseControl(w, http.StatusRequestEntityTooLarge, "courrier illisible ou trop long")
		return
	}
	m, err := o.drop(r.PathValue("address"), r.URL.Query().Get("from"), raw)
	if err != nil {
		refuseControl(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusCreated, map[string]any{"bac_a_sable": notice, "message": m})
}

func (o *operator) drop(address, sender string, raw []byte) (Mail, error) {
	box := o.host(address)
	if box == "" {
		return Mail{}, errors.New("aucune boîte de cet opérateur n'a cette adresse")
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Mail{}, errors.New("le corps est un courriel RFC 5322 : en-têtes, ligne vide, texte")
	}
	switch sender {
	case "":
		sender = addressIn(m.Header.Get("From"))
	case "<>":
		sender = ""
	default:
		if sender = addressIn(sender); sender == "" {
			return Mail{}, errors.New("from est une adresse, ou <> pour un rapport")
		}
	}
	got, err := o.post(delivery{to: box, sender: sender}, raw)
	if err != nil {
		return Mail{}, errors.New("le courrier n'a pas pu être gardé")
	}
	got.Raw = o.mailboxes + "/" + url.PathEscape(box) + "/" + got.ID
	return got, nil
}

// operatorTLS is the profile of the API LPS (ECO.1.1.1 to 1.1.3). In TLS 1.2 its
// suites want an RSA certificate; one is made when the first such client comes.
// A client certificate is asked for; the mail protocols refuse who has none,
// with words.
func operatorTLS(ca *authority, cert tls.Certificate, rsaCert func() (tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(),
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.SupportsCertificate(&cert) == nil {
				return &cert, nil
			}
			old, err := rsaCert()
			return &old, err
		},
	}
}

// The knobs and lists of the operator, for tests in Go.

// SetSMTPTroubles replaces what goes wrong with the SMTP of the operator.
func (s *Sandbox) SetSMTPTroubles(list ...Trouble) {
	s.operator.mu.Lock()
	s.operator.greeted = map[string]bool{}
	s.operator.mu.Unlock()
	s.operator.smtp.set(list)
	s.operator.smtpServer.listener.enforce()
}

// SetIMAPTroubles replaces what goes wrong with the IMAP of the operator.
func (s *Sandbox) SetIMAPTroubles(list ...Trouble) {
	s.operator.imap.set(list)
	s.operator.imapServer.listener.enforce()
}

// ReleaseOperator lets go what the operator holds.
func (s *Sandbox) ReleaseOperator() {
	s.operator.smtp.letGo()
	s.operator.imap.letGo()
}

// SMTPCounters tell how many letters reached the final dot, were stored, and
// answered.
func (s *Sandbox) SMTPCounters() Counters { return s.operator.smtp.seen(false) }

// IMAPCounters tell which commands reached the mailboxes.
func (s *Sandbox) IMAPCounters() Counters { return s.operator.imap.seen(false) }

// SetSMTPRules replaces what the operator announces and asks for.
func (s *Sandbox) SetSMTPRules(r SMTPRules) error {
	if r.Size <= 0 || r.Size > maxBody || r.Recipients < 1 || r.Recipients > 1000 || len(r.Hide) > 20 {
		return errors.New("size va de 1 à 67108864, recipients de 1 à 1000")
	}
	s.operator.mu.Lock()
	defer s.operator.mu.Unlock()
	s.operator.settings = r
	return nil
}

// SetAutoAnswers replaces who answers without hands.
func (s *Sandbox) SetAutoAnswers(list ...AutoAnswer) error {
	for _, a := range list {
		if a.Dialect != "" && !slices.Contains(testdata.MDNDialects(), a.Dialect) {
			return errors.New("dialect inconnu")
		}
	}
	s.operator.mu.Lock()
	defer s.operator.mu.Unlock()
	s.operator.answers = slices.Clone(list)
	return nil
}

// SetWhitelist changes the white list and how it is served.
func (s *Sandbox) SetWhitelist(w Whitelist) error { return s.operator.trust.set(w) }

// SetRevocations changes the CRL.
func (s *Sandbox) SetRevocations(r Revocations) error { return s.operator.trust.setRevocations(r) }

// Mailbox lists a mailbox, newest first.
func (s *Sandbox) Mailbox(address string) []Mail { return s.operator.listed(s.operator.host(address)) }

// Mail reads the bytes of one mail of a mailbox.
func (s *Sandbox) Mail(address, id string) ([]byte, error) {
	return s.operator.store.read(s.operator.host(address), id)
}

// Drop puts a letter of a correspondent into a mailbox; sender is the envelope's,
// <> for a report, empty for the one of the header.
func (s *Sandbox) Drop(address, sender string, raw []byte) (Mail, error) {
	return s.operator.drop(address, sender, raw)
}

// Submissions lists what was submitted, newest first.
func (s *Sandbox) Submissions() []Submission { return s.operator.submitted() }

// MailCounts counts deliveries by mailbox and Message-ID.
func (s *Sandbox) MailCounts() map[string]BoxCount { return s.operator.store.counts() }
