package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/passerelle-sante/passerelle/dmp/blob"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/ins"
)

// rulesVersion names the rules of this build in each verdict: ours, then the
// CDA rule set.
var rulesVersion = "passerelle 2026.11 / " + cda.RuleSet

// Main is the gateway as production runs it. The end-to-end tests and the
// sandbox start this same struct.
type Main struct {
	Config Config
	Clock  func() time.Time
	Random io.Reader
	Log    *slog.Logger
	Trace  gateway.Trace // nil in production

	zone *time.Location // of the times that hospitals read

	// Set by Start.
	HTTP, HTTPS string   // addresses listened on
	MLLP        []string // in the order of the configuration

	journal *journal.Journal
	stop    context.CancelFunc
	running sync.WaitGroup
	closers []func(context.Context) error
	people  *professionals // nil: nobody logs in
	decider gateway.Decider
	// trustedDomain is the white list, or the domains of the configuration; nil:
	// no mail.
	trustedDomain func(string) (bool, error)
	// background are what must run beside the doors until the end.
	background []func(context.Context)
}

// Start opens the journal, listens everywhere, and begins to deliver. It
// returns when everything listens; on an error nothing is left running.
func (m *Main) Start(ctx context.Context) (err error) {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close(ctx))
		}
	}()
	c := m.Config
	if m.zone, err = time.LoadLocation(c.Accept.Zone); err != nil {
		return err
	}
	if err := blob.MakeDir(c.Data); err != nil {
		return err
	}
	stayKey, err := secretFile(filepath.Join(c.Data, "stay.key"), m.Random)
	if err != nil {
		return err
	}
	if err := m.openJournal(ctx); err != nil {
		return err
	}

	alarms := &gateway.Alarms{}
	g := &gateway.Gateway{
		Journal: m.journal, Rules: rulesVersion, StayKey: stayKey, Clock: m.Clock, NewID: newID, Log: m.Log,
		Trace: m.trace(), Alarms: alarms, Meters: &gateway.Meters{},
		Settings: c.settings(m.zone),
	}
	if err := m.openRegister(ctx, g); err != nil {
		return err
	}
	if err := m.openINSi(g); err != nil {
		return err
	}
	archive, err := m.archive()
	if err != nil {
		return err
	}
	mail, err := m.mail()
	if err != nil {
		return err
	}
	receiver, err := m.receiver(g)
	if err != nil {
		return err
	}
	hooks, err := m.webhooks()
	if err != nil {
		return err
	}
	g.Hooked = hooks.Hooked
	software := m.application()
	m.decider = gateway.Decider{Gateway: g, Receiver: receiver}
	d := &gateway.Deliverer{
		Gateway: g, Archive: archive, Hospital: m.hospital(), Mail: mail, Application: software, Downstream: software, Webhook: hooks, Holder: newID(), Lease: 5 * max(c.DMP.Timeout, c.Delivery.AckTimeout), Poll: 2 * time.Second,
		Workers: c.Delivery.Workers, Jitter: jitter(m.Random), Log: m.Log,
		Backoff: gateway.Backoff{First: c.Delivery.First, Max: c.Delivery.Max, GiveUp: c.Delivery.GiveUp},
	}
	g.Wake = d.Wake
	if m.people, err = m.professionals(); err != nil {
		return err
	}

	if err := m.listenHTTP(run, alarms, g); err != nil {
		return err
	}
	if err := m.listenMLLP(context.WithoutCancel(ctx), g); err != nil {
		return err
	}
	m.running.Go(func() { d.Run(run) })
	if receiver != nil {
		m.background = append(m.background, receiver.Run)
	}
	for _, f := range m.background {
		m.running.Go(func() { f(run) })
	}
	m.running.Go(func() { m.watch(run, alarms) })
	return nil
}

// openJournal opens the journal, which closes last.
func (m *Main) openJournal(ctx context.Context) (err error) {
	m.journal, err = journal.Open(ctx, journal.Config{
		Dir: filepath.Join(m.Config.Data, "journal"), Clock: m.Clock, Reserve: m.Config.Storage.ReserveMiB << 20, Logger: m.Log,
	})
	if err == nil {
		m.closers = append(m.closers, func(context.Context) error { return m.journal.Close() })
	}
	return err
}

// Close stops taking, lets what is in hand end, and closes the journal last.
func (m *Main) Close(ctx context.Context) error {
	m.stop()
	var errs []error
	// The doors were opened last: they close first, the journal last.
	for i := len(m.closers) - 1; i >= 1; i-- {
		errs = append(errs, m.closers[i](ctx))
	}
	// What is in hand may take most of a lease; whoever stops us does not wait
	// for ever. What did not end is found again as due.
	ended := make(chan struct{})
	go func() { m.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		m.Log.Warn("stopped with work in hand; it will be found again at the next start")
	}
	if len(m.closers) > 0 {
		errs = append(errs, m.closers[0](ctx))
	}
	m.closers = nil
	return errors.Join(errs...)
}

func (m *Main) trace() gateway.Trace {
	if m.Trace != nil {
		return m.Trace
	}
	return func(step gateway.Step, submission string) {
		m.Log.Debug("step", "step", string(step), "submission", submission)
	}
}

// watch raises the alarm of a full disk before a message has to be refused, and
// removes bytes that no row names after 24 hours.
func (m *Main) watch(ctx context.Context, alarms *gateway.Alarms) {
	look := time.NewTicker(5 * time.Second)
	defer look.Stop()
	sweep := time.NewTicker(time.Hour)
	defer sweep.Stop()
	for {
		if err := m.journal.Check(ctx); err != nil && ctx.Err() == nil {
			if code, fresh := alarms.Raise(err, m.Clock()); fresh {
				row, _ := fault.Lookup(code)
				m.Log.Error("alarm", "code", code, "text", row.FR, "fix", row.FixFR, "error", err)
			}
		} else {
			alarms.Clear(nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-sweep.C:
			if n, err := m.journal.Sweep(ctx, m.Clock().Add(-24*time.Hour)); err != nil && ctx.Err() == nil {
				m.Log.Error("sweep failed", "error", err)
			} else if n > 0 {
				m.Log.Info("sweep", "removed", n)
			}
		}
	}
}

// archive is the client of the DMP.
func (m *Main) archive() (gateway.Archive, error) {
	c := m.Config.DMP
	conf, err := m.dmpTLS()
	if err != nil {
		return nil, err
	}
	return fhir.NewClient(fhir.ClientConfig{
		BaseURL: c.FHIR, TokenURL: c.Token, ClientID: c.ClientID, Timeout: c.Timeout, Clock: m.Clock, TLS: conf,
	})
}

// dmpTLS presents the gateway's certificate to the DMP.
func (m *Main) dmpTLS() (*tls.Config, error) {
	c := m.Config.DMP
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	roots, err := pool(c.CA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: roots}, nil
}

// hospital routes notices by establishment.
func (m *Main) hospital() gateway.Hospital {
	routes := map[string]string{}
	for _, e := range m.Config.Establishments {
		routes[e.FINESSGeo] = e.Hospital
	}
	return &hl7v2.Client{
		Route: func(e gateway.Establishment, _ gateway.Party) (hl7v2.Target, bool) {
			addr := routes[e.FINESSGeo]
			return hl7v2.Target{Address: addr}, addr != ""
		},
		Timeout: m.Config.Delivery.AckTimeout, Zone: m.zone,
	}
}

func (m *Main) listenHTTP(run context.Context, alarms *gateway.Alarms, g *gateway.Gateway) error {
	c := m.Config
	machines := map[string][]string{}
	sites := m.sites()
	for _, e := range c.Establishments {
		for _, file := range e.Machines {
			cert, err := readCertificate(file)
			if err != nil {
				return err
			}
			fp := httpapi.Fingerprint(cert.Raw)
			machines[fp] = append(machines[fp], e.FINESSGeo)
		}
	}
	notice := ""
	if c.Environment != envProduction {
		notice = c.Environment
	}
	metrics := &httpapi.Metrics{
		Meters: g.Meters, Queues: m.journal, Alarms: alarms, Sites: sites, Rules: rulesVersion, Notice: notice, Clock: m.Clock,
	}
	if g.INSi != nil {
		metrics.INSiCalls = m.insiCalls(g.Register)
	}
	health := &httpapi.Health{Alarms: alarms, Notice: notice, Metrics: metrics}
	api := &httpapi.API{
		Door: g, Journal: m.journal, Establishments: sites, Machines: machines, Closing: run.Done(), Notice: notice, Log: m.Log,
	}
	api.Trusted = m.trustedDomain
	api.Clock, api.Environment = m.Clock, g.Settings.Environment
	api.Places = sync.OnceValues(func() (*ins.COG, error) { return loadPlaces(c.Places) })
	var err error
	if api.Directory, err = m.directory(); err != nil {
		return err
	}
	if m.people != nil {
		api.Callers, api.DMP = m.people.server, m.people.dmp
	}
	if err := m.openConsole(sites, alarms, notice); err != nil {
		return err
	}
	secure, local := m.people.doors(notice, api.Handler(), health.Handler())
	secure = announced(notice, api.Exact(secure))
	addr, err := m.serveHTTP(c.Gateway.HTTP, nil, local)
	if err != nil {
		return err
	}
	m.HTTP = addr

	conf, err := serverTLS(c.Gateway.Certificate, c.Gateway.Key, c.Gateway.ClientCA)
	if err != nil {
		return err
	}
	m.HTTPS, err = m.serveHTTP(c.Gateway.HTTPS, conf, secure)
	return err
}

func (m *Main) sites() (all []gateway.Establishment) {
	for _, e := range m.Config.Establishments {
		all = append(all, e.establishment())
	}
	return all
}

func (m *Main) serveHTTP(addr string, conf *tls.Config, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	bound := l.Addr().String()
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(m.Log.Handler(), slog.LevelDebug),
	}
	m.closers = append(m.closers, s.Shutdown)
	m.running.Go(func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			m.Log.Error("an HTTP server stopped", "address", bound, "error", err)
		}
	})
	return bound, nil
}

// listenMLLP opens every HL7 port.
func (m *Main) listenMLLP(ctx context.Context, g *gateway.Gateway) error {
	clock := func() time.Time { return m.Clock().In(m.zone) }
	s := &hl7v2.Server{Door: g, Clock: clock, Rand: m.Random, Logger: m.Log, Trace: m.trace()}
	routes := map[string]func(gateway.Party) (gateway.Establishment, bool){}
	for _, h := range m.Config.HL7 {
		port := hl7v2.Port{Name: h.Listen, Options: h.options()}
		routes[port.Name] = m.Config.route(h)
		if h.Certificate != "" {
			conf, err := serverTLS(h.Certificate, h.Key, h.ClientCA)
			if err != nil {
				return err
			}
			if h.ClientCA != "" {
				conf.ClientAuth = tls.RequireAndVerifyClientCert
			}
			port.TLS = conf
		}
		l, err := net.Listen("tcp", h.Listen)
		if err != nil {
			return err
		}
		m.closers = append(m.closers, func(context.Context) error { return ignoreClosed(l.Close()) })
		m.MLLP = append(m.MLLP, l.Addr().String())
		port.Listener = l
		s.Ports = append(s.Ports, port)
	}
	if len(s.Ports) == 0 {
		return nil
	}
	s.Route = func(port string, from gateway.Party) (gateway.Establishment, bool) { return routes[port](from) }
	m.closers = append(m.closers, s.Shutdown)
	m.running.Go(func() {
		if err := s.Serve(ctx); err != nil {
			m.Log.Error("the HL7 door stopped", "error", err)
		}
	})
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// settings are those by which the gateway judges.
func (c *Config) settings(zone *time.Location) gateway.Settings {
	return gateway.Settings{
		Environment: ins.Environment(c.Environment), CDA: c.Accept.CDA, PDFA: c.Accept.PDFA,
		Mail:       c.MSS != nil,
		Duplicates: c.Accept.Duplicates, StrictTargets: c.Accept.StrictTargets, Zone: zone,
		Opposition: c.Accept.Opposition,
	}
}

// options are those by which the port reads.
func (h HL7Config) options() hl7v2.Options {
	return hl7v2.Options{
		Profiles: h.Profiles, Matrix: hl7v2.Matrix(h.Matrix), DefaultCharset: h.Charset, MaskedToPro: h.MaskedToPro, StrictBodies: h.StrictBodies,
	}
}

// route finds the establishment of a sender on one port: exact names first,
// then "*".
func (c *Config) route(h HL7Config) func(gateway.Party) (gateway.Establishment, bool) {
	allowed := map[string]bool{}
	for _, f := range h.Establishments {
		allowed[f] = true
	}
	exact := map[gateway.Party]gateway.Establishment{}
	var wild []struct {
		SenderConfig
		gateway.Establishment
	}
	for _, e := range c.Establishments {
		if len(allowed) > 0 && !allowed[e.FINESSGeo] {
			continue
		}
		est := e.establishment()
		for _, s := range e.Senders {
			if s.Application == "*" || s.Facility == "*" {
				wild = append(wild, struct {
					SenderConfig
					gateway.Establishment
				}{s, est})
				continue
			}
			exact[gateway.Party{Application: s.Application, Facility: s.Facility}] = est
		}
	}
	return func(p gateway.Party) (gateway.Establishment, bool) {
		if e, ok := exact[p]; ok {
			return e, true
		}
		for _, w := range wild {
			if (w.Application == "*" || w.Application == p.Application) && (w.Facility == "*" || w.Facility == p.Facility) {
				return w.Establishment, true
			}
		}
		return gateway.Establishment{}, false
	}
}

// serverTLS asks for a client certificate without requiring it, so that a
// missing one can be answered in HTTP.
func serverTLS(cert, key, clientCA string) (*tls.Config, error) {
	kp, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{kp}}
	if clientCA != "" {
		if conf.ClientCAs, err = pool(clientCA); err != nil {
			return nil, err
		}
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return conf, nil
}

func pool(file string) (*x509.CertPool, error) {
	certs, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p, nil
}

// secretFile reads a 32-byte secret, made at first use and kept beside the data
// it protects.
func secretFile(path string, random io.Reader) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		key, err := hex.DecodeString(strings.TrimSpace(string(data)))
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s : secret illisible", path)
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(tmp, path)
}

// newID is a time-ordered UUID (RFC 9562, version 7).
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func jitter(random io.Reader) func() float64 {
	return func() float64 {
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0
		}
		return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
	}
}

type serveCmd struct {
	Config string `required:"" help:"Configuration." placeholder:"FICHIER"`
}

// Run checks the configuration, then serves until it is told to stop.
func (c *serveCmd) Run(e *env) error {
	problems, err := checkFile(c.Config, e)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		tell(e, c.Config, problems)
		return errWrong
	}
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	m := &Main{Config: cfg, Clock: e.clock, Random: e.random, Log: e.log}
	if err := m.Start(e.ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "Passerelle démarrée (environnement %s).\n  HL7 (MLLP) : %s\n  HTTPS      : https://%s\n  Santé      : http://%s/readyz\n",
		cfg.Environment, strings.Join(m.MLLP, ", "), m.HTTPS, m.HTTP)
	if cfg.Storage.KeyFile == "" {
		fmt.Fprintln(e.out, "  Identités  : aucune n'est tenue, sans fichier de clés (storage.key_file)")
	}
	if cfg.PSC != nil {
		fmt.Fprintf(e.out, "  Connexion  : par Pro Santé Connect, retour sur %s\n", cfg.PSC.RedirectURI)
	}
	<-e.ctx.Done()
	fmt.Fprintln(e.out, "Arrêt demandé : les envois en cours se terminent (au plus 15 s).")
	stop, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := m.Close(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
