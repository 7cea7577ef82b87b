// Package sim plays the outside world of a gateway: the DMP and its
// authorization server, the MSSanté operator with the white list and the
// directory, INSi, and the software of a hospital, as small real servers
// on 127.0.0.1, with fictitious people ([testdata]) and a throw-away
// certification authority. Mutual TLS stays on, as it is outside.
//
// Everything that can go wrong outside can be asked for on the control port:
// GET / lists the knobs, with their values and their state.
//
// # What is promised
//
// When [Start] returns, everything listens. Started again on the same folder, a
// sandbox keeps its authority, its keys, what the DMP holds and what the
// hospital received; knobs are back to nothing broken and the clock on time.
// Ports change unless BasePort fixes them.
//
// The hospital writes a message and waits for the disk before it answers. A
// message that comes twice is kept twice, and flagged.
//
// The operator answers 250 to a letter when its copies for all recipients, and
// the delivery reports that do not wait on demand, are on the disk. A letter
// that is submitted twice is delivered twice, and counted so. Flags, moves and
// expunges of a mailbox are on the disk when they are answered; UIDs and
// UIDVALIDITY never change.
//
// The DMP is the store of dmp/store, the same that production may run: what the
// sandbox adds stands before it (faults) or beside it (tokens).
//
// # Where we differ or had to choose
//
//   - A client of the authorization server is known by its certificate, and its
//     client_id is the common name: nothing to register, nothing secret.
//   - One certificate never plays all roles: that of the gateway at the DMP and
//     that of a machine of the establishment may ask for client_credentials,
//     that of a vendor only for the bearer of a fictitious professional.
//   - Who presents no certificate gets a 401, not a TLS alert, as at the gateway.
//   - "down" resets connections as they come: the port stays ours, so that
//     nobody else takes it meanwhile.
//   - Filters of faults are beginnings of paths; a fault strikes the first
//     request that matches, in the order of the list.
//   - The BAL APP is known by its certificate; AUTH PLAIN or EXTERNAL, when it is
//     used, must name the mailbox of that certificate, and no password is looked
//     at. A BAL APP submits for its own mailbox or with a null return-path only.
//   - By IMAP, the certificate of the BAL APP opens the mailbox of the gateway
//     and no other; that of a vendor opens all the others, as the mail software
//     of the correspondents would.
//   - Domains of the white list that the operator does not host are played too:
//     their letters are kept and reported like those of its own.
//   - A letter without X-MSS-NIL is refused (550 5.6.0), a bare LF or a line
//     over 998 characters too. Between 25 MB, which a patient's mailbox takes,
//     and the SIZE announced, a letter to a patient bounces.
//   - Each delivery report speaks of one recipient. Without NOTIFY, only a
//     failure is reported, or a success too with Return-Receipt-To.
//   - The white list is not signed: whether the real one is, is not known.
//   - Certificates are valid since 2025: tests may stand still in time.
package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/store"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

// Config says where a sandbox lives. Everything but BasePort is required.
type Config struct {
	Dir      string // made if absent
	BasePort int    // first of [PortCount]; 0 means free ports
	Clock    func() time.Time
	Rand     io.Reader
	Logger   *slog.Logger
}

// Which port does what when BasePort is fixed, as an offset from it. The rest of
// the range is for the services to come.
const (
	PortControl      = 0
	PortHospitalMLLP = 1
	PortHospitalHTTP = 2
	PortDMP          = 3
	PortOperatorSMTP = 4
	PortOperatorIMAP = 5
	PortOperatorHTTP = 6
	PortDirectory    = 7 // and the white list
	PortPSC          = 8
	PortPSCWallet    = 9 // the login page
	PortINSi         = 10
	PortCount        = 20 // ports that a sandbox may use
)

// Sandbox is the outside world, running.
type Sandbox struct {
	cfg      Config
	auth     *authServer
	dmp      *front
	dmpGate  *gate
	hospital *hospital
	operator *operator
	info     Info
	files    Files
	closers  []func() error // in the order of opening

	directory     *front
	directoryGate *gate
	psc           *PSC
	insi          *INSi
	insiGate      *gate

	mu           sync.Mutex
	offset       time.Duration
	redirect     string // of the gateway at Pro Santé Connect
	vendor       VendorClient
	registration PSCRegistration
	once         sync.Once
	err          error
}

// Start opens a sandbox. On failure nothing is left running.
func Start(ctx context.Context, cfg Config) (*Sandbox, error) {
	switch {
	case cfg.Dir == "" || cfg.Clock == nil || cfg.Rand == nil || cfg.Logger == nil:
		return nil, errors.New("sim: Dir, Clock, Rand and Logger are required")
	case cfg.BasePort < 0 || cfg.BasePort > 65536-PortCount:
		return nil, fmt.Errorf("sim: base port %d is out of range", cfg.BasePort)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	s := &Sandbox{cfg: cfg}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sandbox) start(ctx context.Context) error {
	if err := s.loadVendor(); err != nil {
		return err
	}
	ca, err := openAuthority(s.path("tls"), s.cfg.Rand, s.cfg.Clock())
	if err != nil {
		return err
	}
	operatorHTTP, err := s.listen(PortOperatorHTTP)
	if err != nil {
		return err
	}
	ca.crl = "http://" + operatorHTTP.Addr().String() + "/crl"
	certs, err := ca.leaves()
	if err != nil {
		return err
	}
	dmpListener, err := s.listen(PortDMP)
	if err != nil {
		return err
	}
	mllp, err := s.listen(PortHospitalMLLP)
	if err != nil {
		return err
	}
	hospitalHTTP, err := s.listen(PortHospitalHTTP)
	if err != nil {
		return err
	}
	controlHTTP, err := s.listen(PortControl)
	if err != nil {
		return err
	}
	base := "https://" + dmpListener.Addr().String()
	s.auth, err = newAuthServer(base, s.path("dmp-token.key"), ca.pool(), s.Now, s.cfg.Rand)
	if err != nil {
		return err
	}
	s.hospital, err = openHospital(s.path("hospital.jsonl"), mllp, s.Now, s.cfg.Logger)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.hospital.close)

	// The listener of the DMP serves the keys of its tokens to the store that
	// stands behind it.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}}
	s.closers = append(s.closers, func() error { transport.CloseIdleConnections(); return nil })
	records, err := store.Open(ctx, store.Config{
		Dir: s.path("dmp"), BaseURL: base + "/fhir",
		Issuers:    []store.Issuer{{Issuer: base, JWKSURL: base + "/jwks", Audience: "dmp"}},
		HTTPClient: &http.Client{Transport: transport, Timeout: 10 * time.Second},
		Clock:      s.Now, Rand: s.cfg.Rand, Logger: s.cfg.Logger,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, records.Close)
	if err := records.Seed(ctx, seeds()); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/fhir", s.auth.unrevoked(records))
	mux.Handle("/fhir/", s.auth.unrevoked(records))
	s.auth.register(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		outcome(w, http.StatusNotFound, "not-found", "adresse inconnue ; le DMP est sous /fhir, les jetons sous /token")
	})
	s.dmp = &front{troubles: newTroubles(), service: mux}
	s.dmpGate = newGate(dmpListener, s.dmp.troubles)
	// The keys stay reachable whatever is broken on demand: they are between
	// the DMP and itself.
	handler := http.NewServeMux()
	handler.Handle("GET /jwks", mux)
	handler.Handle("/", s.dmp)
	s.serve(tls.NewListener(s.dmpGate, serverTLS(certs[roleDMPServer], ca.pool())), handler)

	messages := http.NewServeMux()
	messages.HandleFunc("GET /messages", s.hospital.serveMessages)
	s.serve(hospitalHTTP, localOnly(messages))
	if err := s.openOperator(ca, certs, operatorHTTP); err != nil {
		return err
	}
	if err := s.openPSC(ca, certs); err != nil {
		return err
	}
	if err := s.openINSi(ca, certs); err != nil {
		return err
	}
	s.serve(controlHTTP, s.control())
	s.describe(ca, base, mllp, hospitalHTTP, controlHTTP)
	return nil
}

func (s *Sandbox) describe(ca *authority, base string, mllp, hospitalHTTP, control net.Listener) {
	s.info = Info{Version: 1, Operator: s.info.Operator, Directory: s.info.Directory, PSC: s.info.PSC, INSi: s.info.INSi,
		Hospital: HospitalInfo{MLLP: mllp.Addr().String(), Messages: "http://" + hospitalHTTP.Addr().String() + "/messages"},
		DMP:      DMPInfo{FHIR: base + "/fhir", Token: base + "/token"},
		Control:  "http://" + control.Addr().String(),
		TLS: TLSInfo{CA: ca.certPath("ca"),
			ClientCert: ca.certPath(roleClient), ClientKey: ca.keyPath(roleClient),
			MachineCert: ca.certPath(roleMachine), MachineKey: ca.keyPath(roleMachine),
			INSiCert: ca.certPath(roleINSi), INSiKey: ca.keyPath(roleINSi),
			BALAppCert: ca.certPath(roleBALApp), BALAppKey: ca.keyPath(roleBALApp)},
		Personas: testdata.Personas(), Patients: testdata.Patients()}
	s.files = Files{CA: ca.certPath("ca"),
		ServerCert: ca.certPath(roleGatewayServer), ServerKey: ca.keyPath(roleGatewayServer),
		DMPCert: ca.certPath(roleGatewayDMP), DMPKey: ca.keyPath(roleGatewayDMP), DMPClientID: commonNames[roleGatewayDMP],
		DMPIssuer: base, DMPJWKS: base + "/jwks", MachineCN: commonNames[roleMachine], ClientCN: commonNames[roleClient],
		Establishment: testdata.Establishments()[0]}
}

// seeds are the DMPs of the fictitious people: who has one, and who may read
// that of the first.
func seeds() []store.Patient {
	var out []store.Patient
	for i, p := range testdata.Patients() {
		if p.DMP == "none" {
			continue
		}
		one := store.Patient{State: map[string]string{"open": store.StateOpen, "closed": store.StateClosed}[p.DMP],
			Identity: ins.Identity{Matricule: p.Matricule, OID: ins.OID(p.OID), Status: ins.Qualified,
				Traits: ins.Traits{BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames,
					BirthDate: p.BirthDate, Sex: p.Sex, BirthPlace: p.BirthPlace}}}
		for _, who := range testdata.Personas() {
			switch {
			case i == 0 && who.Authorised:
				one.Authorisations = append(one.Authorisations, store.Authorisation{NationalID: who.NationalID, Status: store.Valid})
			case i == 0 && who.Blocked:
				one.Authorisations = append(one.Authorisations, store.Authorisation{NationalID: who.NationalID, Status: store.Blocked})
			}
		}
		out = append(out, one)
	}
	return out
}

func (s *Sandbox) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// listen opens a port of the loopback.
func (s *Sandbox) listen(offset int) (net.Listener, error) {
	port := 0
	if s.cfg.BasePort > 0 {
		port = s.cfg.BasePort + offset
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	s.closers = append(s.closers, func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// serve answers HTTP on a listener until the sandbox is closed; closing waits
// for the handlers, so that what they use can be closed after them.
func (s *Sandbox) serve(l net.Listener, h http.Handler) {
	var mu sync.Mutex // running may not grow once it is waited for
	var running sync.WaitGroup
	closing := false
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if closing {
				mu.Unlock()
				panic(http.ErrAbortHandler)
			}
			running.Add(1)
			mu.Unlock()
			defer running.Done()
			h.ServeHTTP(w, r)
		})}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("sim: a server stopped", "error", err)
		}
	})
	s.closers = append(s.closers, func() error {
		mu.Lock()
		closing = true
		mu.Unlock()
		err := server.Close()
		accepting.Wait()
		running.Wait()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	})
}

// Close stops everything and waits for it. What was received stays in Dir.
func (s *Sandbox) Close() error {
	s.once.Do(func() {
		for i := len(s.closers) - 1; i >= 0; i-- {
			s.err = errors.Join(s.err, s.closers[i]())
		}
	})
	return s.err
}

// Now is the clock of the sandbox: the given one, moved by the offset.
func (s *Sandbox) Now() time.Time {
	return s.cfg.Clock().Add(s.Offset())
}

// Offset is by how much the clock is moved.
func (s *Sandbox) Offset() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offset
}

// SetOffset moves the clock.
func (s *Sandbox) SetOffset(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = d
}

// Info describes the sandbox; the caller fills Gateway.
func (s *Sandbox) Info() Info {
	i := s.info
	i.PSC = s.pscInfo()
	return i
}

// Files are the paths that a configuration of the gateway needs.
func (s *Sandbox) Files() Files { return s.files }

// SetDMPTroubles replaces what goes wrong with the DMP, and lets go what is
// held; without arguments everything works again.
func (s *Sandbox) SetDMPTroubles(list ...Trouble) {
	s.dmp.troubles.set(list)
	s.dmpGate.enforce()
}

// ReleaseDMP lets go the requests that the DMP holds.
func (s *Sandbox) ReleaseDMP() { s.dmp.troubles.letGo() }

// DMPCounters tell what reached the DMP.
func (s *Sandbox) DMPCounters() Counters { return s.dmp.troubles.seen(false) }

// SetHospitalTroubles replaces what goes wrong with the hospital software.
func (s *Sandbox) SetHospitalTroubles(list ...Trouble) {
	s.hospital.troubles.set(list)
	if s.hospital.isDown() {
		s.hospital.hangUpAll()
	}
}

// ReleaseHospital lets go the acknowledgements that the hospital holds.
func (s *Sandbox) ReleaseHospital() { s.hospital.troubles.letGo() }

// HospitalCounters tell what reached the hospital software.
func (s *Sandbox) HospitalCounters() Counters { return s.hospital.troubles.seen(false) }

// HospitalMessages lists what the hospital received, newest first.
func (s *Sandbox) HospitalMessages() []HospitalMessage { return s.hospital.received() }

// gate is the door of a port that can be down altogether: connections are reset
// before any TLS.
type gate struct {
	net.Listener
	troubles *troubles
	mu       sync.Mutex
	conns    map[net.Conn]bool
}

// down tells whether the port is down for everyone, with no filter or count.
func (g *gate) down() bool {
	for _, t := range g.troubles.get() {
		if t.Mode == Down && t.Method == "" && t.Path == "" && t.Count == 0 {
			return true
		}
	}
	return false
}

func newGate(l net.Listener, t *troubles) *gate {
	return &gate{Listener: l, troubles: t, conns: map[net.Conn]bool{}}
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.down() {
			reset(conn)
			conn.Close()
			continue
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		c := &gatedConn{Conn: conn, gate: g}
		g.conns[c] = true
		return c, nil
	}
}

// enforce resets the open connections of a port that went down.
func (g *gate) enforce() {
	if !g.down() {
		return
	}
	g.mu.Lock()
	var open []net.Conn
	for c := range g.conns {
		open = append(open, c)
	}
	g.mu.Unlock()
	for _, c := range open {
		reset(c)
		c.Close()
	}
}

type gatedConn struct {
	net.Conn
	gate *gate
}

// NetConn gives the connection beneath, for [reset].
func (c *gatedConn) NetConn() net.Conn { return c.Conn }

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
