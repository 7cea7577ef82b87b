package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss/directory"
	"github.com/passerelle-sante/passerelle/testdata"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// world is the outside world of the sandbox (Pro Santé Connect, DMP, their
// authorization servers) and a gateway on a real journal, all over TLS.
type world struct {
	t       *testing.T
	sandbox *sim.Sandbox
	info    sim.Info
	api     *httpapi.API
	server  *httptest.Server
	journal *journal.Journal
	psc     *psc.Server
	store   *psc.MemoryStore
	keyFile string
	insi    *fakeINSi
	log     *safeBuffer
	roots   *x509.CertPool
	closing chan struct{}
	ids     atomic.Int64

	machine, vendor, nobody *http.Client
	clients                 []*http.Client
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// options change a world before it starts.
type options struct {
	limits httpapi.Limits
	mail   bool
	noPSC  bool
	insi   bool // INSi is there, see fakeINSi
	idle   bool // no deliverer: what is queued stays queued
	life   time.Duration
	// directory is another Annuaire Santé than that of the sandbox.
	directory string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T, cert, key string) tls.Certificate {
	t.Helper()
	kp, err := tls.LoadX509KeyPair(cert, key)
	must(t, err)
	return kp
}

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, log: &safeBuffer{}, closing: make(chan struct{}), roots: x509.NewCertPool()}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.sandbox, err = sim.Start(t.Context(), sim.Config{Dir: t.TempDir(), Clock: func() time.Time { return noon }, Rand: rand.Reader,
		Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { _ = w.sandbox.Close() })
	w.info = w.sandbox.Info()
	files := w.sandbox.Files()
	data, err := os.ReadFile(w.info.TLS.CA)
	must(t, err)
	w.roots.AppendCertsFromPEM(data)
	w.machine = w.client(w.info.TLS.MachineCert, w.info.TLS.MachineKey)
	w.vendor = w.client(w.info.TLS.ClientCert, w.info.TLS.ClientKey)
	w.nobody = w.client("", "")

	w.journal, err = journal.Open(t.Context(), journal.Config{Dir: t.TempDir(), Clock: w.now, Logger: log})
	must(t, err)
	t.Cleanup(func() { _ = w.journal.Close() })
	g := &gateway.Gateway{
		Journal: w.journal, Rules: "règles d'essai", StayKey: bytes.Repeat([]byte{7}, 32), Clock: w.now, Log: log, Alarms: &gateway.Alarms{},
		NewID:    func() string { return fmt.Sprintf("s-%06d", w.ids.Add(1)) },
		Settings: gateway.Settings{Environment: ins.Sandbox, CDA: "blocking", PDFA: "warn", Duplicates: "warn", Mail: o.mail},
	}
	if o.insi {
		w.insi = &fakeINSi{}
		g.INSi = w.insi
	}
	atDMP := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.roots, Certificates: []tls.Certificate{pair(t, files.DMPCert, files.DMPKey)}}
	archive, err := fhir.NewClient(fhir.ClientConfig{BaseURL: w.info.DMP.FHIR, TokenURL: w.info.DMP.Token, ClientID: files.DMPClientID, TLS: atDMP, Clock: w.now})
	must(t, err)
	t.Cleanup(archive.Close)
	if !o.idle {
		w.deliver(g, archive, log)
	}

	house := establishments()
	machine := pair(t, w.info.TLS.MachineCert, w.info.TLS.MachineKey)
	w.api = &httpapi.API{
		Places: ins.EmbeddedCOG, Clock: w.now,
		Door: g, Journal: w.journal, Establishments: house, Machines: map[string][]string{httpapi.Fingerprint(machine.Certificate[0]): {house[0].FINESSGeo}},
		Closing: w.closing, Limits: o.limits, Notice: "sandbox", Log: log,
	}
	where := o.directory
	if where == "" {
		where = w.info.Directory.FHIR
	}
	annuaire, err := directory.New(directory.Config{URL: where, Key: w.info.Directory.APIKey, TLS: &tls.Config{RootCAs: w.roots}, Clock: w.now})
	must(t, err)
	t.Cleanup(annuaire.Close)
	w.api.Directory = annuaire
	w.api.Trusted = func(domain string) (bool, error) {
		switch domain {
		case "inconnue.mssante.fr":
			return false, fault.New("TRUST-LIST-MISSING")
		case "bac-a-sable.mssante.fr", "patient.mssante.fr", "test-ci-sis.mssante.fr", "partenaire.mssante.fr":
			return true, nil
		}
		return false, nil
	}
	w.api.DMP, err = httpapi.NewUpstream(w.info.DMP.FHIR, atDMP, 10*time.Second)
	must(t, err)
	t.Cleanup(w.api.DMP.Close)

	mux := http.NewServeMux()
	w.server = httptest.NewUnstartedServer(mux)
	w.server.Config.MaxHeaderBytes = 64 << 10 // as in production
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair(t, files.ServerCert, files.ServerKey)},
		ClientCAs: w.roots, ClientAuth: tls.VerifyClientCertIfGiven}
	w.server.StartTLS()
	t.Cleanup(func() {
		close(w.closing)
		for _, c := range w.clients {
			c.CloseIdleConnections()
		}
		w.server.Close()
	})
	if !o.noPSC {
		w.login(mux, atDMP, o, log)
		w.api.Callers = w.psc
	}
	mux.Handle("/", w.api.Handler())
	return w
}

func (w *world) now() time.Time { return w.sandbox.Now() }

func establishments() (all []gateway.Establishment) {
	for _, e := range testdata.Establishments() {
		all = append(all, gateway.Establishment{Name: e.Name, FINESSEJ: e.FINESSEJ, FINESSGeo: e.FINESSGeo, SourceOID: e.SourceOID})
	}
	return all
}

type mute struct{}

func (mute) Notify(context.Context, gateway.Notice) error { return nil }

func (w *world) deliver(g *gateway.Gateway, archive gateway.Archive, log *slog.Logger) {
	d := &gateway.Deliverer{
		Gateway: g, Archive: archive, Hospital: mute{}, Holder: "essai", Lease: time.Minute, Poll: 5 * time.Millisecond, Workers: 2,
		Jitter: func() float64 { return 0.5 }, Log: log, Backoff: gateway.Backoff{First: 20 * time.Millisecond, Max: 50 * time.Millisecond},
	}
	g.Wake = d.Wake
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
}

// login adds the gateway's authorization server, for the vendor's certificate.
func (w *world) login(mux *http.ServeMux, atDMP *tls.Config, o options, log *slog.Logger) {
	t := w.t
	w.store = psc.NewMemoryStore(1000)
	w.keyFile = filepath.Join(t.TempDir(), "keys.json")
	keys, err := psc.OpenKeys(w.keyFile, w.now, rand.Reader)
	must(t, err)
	redirect := w.server.URL + "/callback"
	must(t, w.sandbox.SetRedirectURI(redirect))
	client, err := psc.NewClient(psc.Config{Issuer: w.info.PSC.Issuer, ClientID: w.info.PSC.ClientID, ClientSecret: w.info.PSC.ClientSecret,
		RedirectURI: redirect, HTTP: w.vendor, Clock: w.now, Rand: rand.Reader})
	must(t, err)
	w.psc, err = psc.NewServer(psc.ServerConfig{Issuer: w.server.URL, Client: client, Keys: keys, Store: w.store, Logger: log, Life: o.life,
		DMP: &psc.Exchanger{TokenURL: w.info.DMP.Token, ClientID: w.sandbox.Files().DMPClientID, Clock: w.now,
			HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: atDMP}}},
		Clients: []psc.RegisteredClient{{ID: w.sandbox.Files().ClientCN, CommonName: w.sandbox.Files().ClientCN, PSCClients: []string{"*"}}}})
	must(t, err)
	w.psc.Register(mux)
}

// client is an HTTP client with a certificate, or without.
func (w *world) client(cert, key string) *http.Client {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.roots}
	if cert != "" {
		conf.Certificates = []tls.Certificate{pair(w.t, cert, key)}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.clients = append(w.clients, c)
	return c
}

// bearer logs a persona in and exchanges the token, as a vendor's software does.
func (w *world) bearer(persona string) string {
	t := w.t
	t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {w.info.PSC.ClientID}, "redirect_uri": {w.server.URL + "/callback"}, "scope": {"openid scope_all"},
		"acr_values": {"eidas1"}, "state": {"un-etat"}, "nonce": {"un-nonce"}, "login_hint": {testdata.PersonaByID(persona).NationalID}}
	a := w.do(w.nobody, "GET", w.info.PSC.Authorization+"?"+q.Encode(), nil, nil)
	back, err := url.Parse(a.header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("no code: %d %s", a.status, a.body)
	}
	token := w.form(w.info.PSC.Token, url.Values{"grant_type": {"authorization_code"}, "client_id": {w.info.PSC.ClientID},
		"client_secret": {w.info.PSC.ClientSecret}, "code": {back.Query().Get("code")}, "redirect_uri": {w.server.URL + "/callback"}})
	return w.form(w.server.URL+"/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "scope": {"gateway"},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}})
}

func (w *world) form(address string, form url.Values) string {
	w.t.Helper()
	a := w.do(w.vendor, "POST", address, []byte(form.Encode()), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	v := a.json(w.t)
	token, _ := v["access_token"].(string)
	if token == "" {
		w.t.Fatalf("no token from %s: %d %s", address, a.status, a.body)
	}
	return token
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d, no JSON: %s", a.status, a.body)
	}
	return v
}

// codes are those of a problem or of an OperationOutcome, with their places.
func (a answer) codes(t *testing.T) (all []string) {
	t.Helper()
	v := a.json(t)
	if code, ok := v["code"].(string); ok {
		where, _ := v["where"].(string)
		all = append(all, strings.TrimSpace(code+" "+where))
	}
	issues, _ := v["issue"].([]any)
	for _, i := range issues {
		issue := i.(map[string]any)
		details, _ := issue["details"].(map[string]any)
		if details == nil {
			continue
		}
		code := details["coding"].([]any)[0].(map[string]any)["code"].(string)
		where := ""
		if e, ok := issue["expression"].([]any); ok {
			where = e[0].(string)
		}
		all = append(all, strings.TrimSpace(code+" "+where))
	}
	return all
}

// refused checks a status and the first code.
func (a answer) refused(t *testing.T, status int, code string) {
	t.Helper()
	got := a.codes(t)
	if a.status != status || len(got) == 0 || !strings.HasPrefix(got[0]+" ", code+" ") {
		t.Errorf("%d %v, want %d %s: %s", a.status, got, status, code, a.body)
	}
}

func (w *world) do(c *http.Client, method, target string, body []byte, h http.Header) answer {
	w.t.Helper()
	a, err := w.try(c, method, target, body, h)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) try(c *http.Client, method, target string, body []byte, h http.Header) (answer, error) {
	if strings.HasPrefix(target, "/") {
		target = w.server.URL + target
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for k, v := range h {
		req.Header[k] = v
	}
	res, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(data)}, err
}

// with is headers: a bearer, and pairs of name and value.
func with(bearer string, pairs ...string) http.Header {
	h := http.Header{}
	if bearer != "" {
		h.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// parts writes a form: name, then content, any number of times.
func parts(t *testing.T, pairs ...string) ([]byte, string) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=\"f\"", pairs[i])}, "Content-Type": {"application/octet-stream"}}
		p, err := m.CreatePart(h)
		must(t, err)
		_, err = io.WriteString(p, pairs[i+1])
		must(t, err)
	}
	must(t, m.Close())
	return b.Bytes(), m.FormDataContentType()
}

// submit is POST /v1/submissions.
func (w *world) submit(c *http.Client, query, envelope, document string, h http.Header) answer {
	w.t.Helper()
	body, kind := parts(w.t, "envelope", envelope, "document", document)
	if h == nil {
		h = http.Header{}
	}
	h = h.Clone()
	h.Set("Content-Type", kind)
	return w.do(c, "POST", "/v1/submissions"+query, body, h)
}

// state waits until a submission is settled.
func (w *world) state(id string) string {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		s, _, err := w.journal.Submission(w.t.Context(), id)
		must(w.t, err)
		if s.State != gateway.Pending {
			return string(s.State)
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("%s is not settled:\n%s", id, w.log)
	return ""
}

// count is how many submissions the journal holds.
func (w *world) count() int {
	w.t.Helper()
	all, err := w.journal.Submissions(w.t.Context(), gateway.Query{FINESSGeo: []string{establishments()[0].FINESSGeo, establishments()[1].FINESSGeo}, Limit: 200})
	must(w.t, err)
	return len(all)
}

// identity is a patient as an envelope gives it.
func identity(p testdata.Patient) ins.Identity {
	id := ins.Identity{Matricule: p.Matricule, Status: ins.Status(p.Status), Traits: ins.Traits{BirthName: p.BirthName, FirstGiven: p.FirstGiven,
		GivenNames: p.GivenNames, BirthDate: p.BirthDate, Sex: p.Sex, BirthPlace: p.BirthPlace}}
	if p.Matricule != "" {
		id.OID = ins.OID(p.OID)
	}
	return id
}

// edit changes one place of a JSON object: names joined by dots.
func edit(t *testing.T, text, path string, value any) string {
	t.Helper()
	var root map[string]any
	must(t, json.Unmarshal([]byte(text), &root))
	at := root
	names := strings.Split(path, ".")
	for _, n := range names[:len(names)-1] {
		next, ok := at[n].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[n] = next
		}
		at = next
	}
	if value == nil {
		delete(at, names[len(names)-1])
	} else {
		at[names[len(names)-1]] = value
	}
	out, err := json.Marshal(root)
	must(t, err)
	return string(out)
}

// lines reads a stream line by line.
func lines(r io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		s := bufio.NewScanner(r)
		for s.Scan() {
			out <- s.Text()
		}
	}()
	return out
}
