package psc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/testdata"
)

var (
	noon   = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	doctor = testdata.PersonaByID(testdata.PersonaPhysician)
)

const (
	software = "editeur-essai" // client_id and common name
	other    = "autre-logiciel"
)

// world is a Pro Santé Connect, a DMP server and a gateway, over TLS.
type world struct {
	t        *testing.T
	psc      *sim.PSC
	client   *psc.Client
	login    *psc.Login
	server   *psc.Server
	store    *spyStore
	keys     *psc.Keys
	keyFile  string
	dmp      *dmpServer
	log      *safeBuffer
	realm    *httptest.Server
	wallet   *httptest.Server
	gateway  *httptest.Server
	issuer   string
	callback string
	pool     *x509.CertPool
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	clients  map[string]tls.Certificate
	api      *apiServer
	tracer   *psc.TraceFolder
	secret   string

	untraceable bool
	waits       []time.Duration // between two questions to PSC
	onWait      func()

	mu     sync.Mutex
	offset time.Duration
}

// options change a world before it starts.
type options struct {
	noDMP   bool
	secret  bool // client_secret_basic instead of the certificate
	proxies []netip.Prefix
	life    time.Duration
	idle    time.Duration
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return noon.Add(w.offset)
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// safeBuffer is a log that tests read while servers write.
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

// dmpServer is the DMP's authorization server, as small as can be.
type dmpServer struct {
	*httptest.Server
	mu     sync.Mutex
	seen   []url.Values
	certs  []string
	answer func(w http.ResponseWriter)
}

func (d *dmpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, r.PostForm)
	for _, c := range r.TLS.PeerCertificates {
		d.certs = append(d.certs, c.Subject.CommonName)
	}
	d.answer(w)
}

func (d *dmpServer) set(status int, body string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (d *dmpServer) asked() []url.Values {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]url.Values{}, d.seen...)
}

const dmpAnswer = `{"access_token":"dmp-bearer","token_type":"Bearer","expires_in":3600,"scope":"dmp"}`

func build(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, log: &safeBuffer{}, clients: map[string]tls.Certificate{}}
	w.authority()
	server := w.certificate("serveur", true)
	for _, cn := range []string{software, other, "inconnu"} {
		w.clients[cn] = w.certificate(cn, false)
	}
	w.dmp = &dmpServer{}
	w.dmp.set(200, dmpAnswer)
	w.dmp.Server = w.serve(server, w.dmp)
	realm, wallet, gateway := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	w.realm, w.wallet, w.gateway = w.serve(server, realm), w.serve(server, wallet), w.serve(server, gateway)
	w.issuer = w.realm.URL + sim.PSCRealm
	w.callback = w.gateway.URL + "/callback"
	var err error
	if o.secret {
		w.secret = "a secret: with %odd+ bytes"
	}
	w.psc, err = sim.NewPSC(sim.PSCConfig{Issuer: w.issuer, Wallet: w.wallet.URL + "/auth", Dir: filepath.Join(sharedDir, "psc"), CA: w.pool,
		Clock: w.now, Rand: rand.Reader, Clients: w.registered(true)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.psc.SetDevice(sim.PSCDevice{Auto: "approve"}); err != nil {
		t.Fatal(err)
	}
	realm.Handle("/", w.psc.Realm())
	wallet.Handle("/", w.psc.Wallet())

	w.client, err = psc.NewClient(psc.Config{Issuer: w.issuer, ClientID: software, ClientSecret: w.secret, RedirectURI: w.callback,
		HTTP: w.http(software), Clock: w.now, Rand: rand.Reader, Wait: w.wait})
	if err != nil {
		t.Fatal(err)
	}
	w.keyFile = filepath.Join(t.TempDir(), "keys.json")
	w.keys, err = psc.OpenKeys(w.keyFile, w.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.store = &spyStore{MemoryStore: psc.NewMemoryStore(1000)}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	var exchanger psc.DMPExchanger
	if !o.noDMP {
		exchanger = &psc.Exchanger{TokenURL: w.dmp.URL + "/token", ClientID: "passerelle-dmp", HTTP: w.http(software), Clock: w.now}
	}
	w.login, err = psc.NewLogin(psc.LoginConfig{Client: w.client, Keys: w.keys, Store: w.store, DMP: exchanger, Logger: logger, Idle: o.idle})
	if err != nil {
		t.Fatal(err)
	}
	w.server, err = psc.NewServer(psc.ServerConfig{Issuer: w.gateway.URL, Client: w.client, Keys: w.keys, Store: w.store, DMP: exchanger,
		Logger: logger, Proxies: o.proxies, Life: o.life, Clients: []psc.RegisteredClient{
			{ID: software, CommonName: software, PSCClients: []string{software}},
			{ID: other, CommonName: other, PSCClients: []string{other}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.proxied(gateway, server)
	w.login.Register(gateway)
	w.server.Register(gateway)
	gateway.HandleFunc("GET /who", func(rw http.ResponseWriter, r *http.Request) {
		p, err := w.server.Verify(r)
		token := ""
		if err == nil {
			token, _ = w.server.DMPToken(r.Context(), p)
		}
		show(rw, p, token, err)
	})
	gateway.HandleFunc("GET /me", func(rw http.ResponseWriter, r *http.Request) {
		s, err := w.login.Session(r)
		token := ""
		if err == nil && r.URL.Query().Has("dmp") {
			token, err = w.login.DMPToken(r.Context(), s)
		}
		show(rw, s.Professional, token, err)
	})
	gateway.HandleFunc("POST /situation", func(rw http.ResponseWriter, r *http.Request) {
		s, err := w.login.Session(r)
		if err == nil {
			err = w.login.Choose(r.Context(), s, r.FormValue("key"))
		}
		show(rw, s.Professional, "", err)
	})
	return w
}

// show is a door: what it knows of its caller, or the refusal.
func show(w http.ResponseWriter, p psc.Professional, dmp string, err error) {
	if err != nil {
		f := fault.From(err)
		if c := psc.Challenge(err); c != "" {
			w.Header().Set("WWW-Authenticate", c)
		}
		w.WriteHeader(f.HTTP)
		_, _ = io.WriteString(w, "Code "+f.Code)
		return
	}
	care := ""
	if err := p.Care(); err != nil {
		care = fault.From(err).Code
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"who": p, "dmp": dmp, "care": care})
}

func (w *world) authority() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "AC des tests"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.ca, err = x509.ParseCertificate(der); err != nil {
		w.t.Fatal(err)
	}
	w.caKey = key
	w.pool = x509.NewCertPool()
	w.pool.AddCert(w.ca)
}

func (w *world) certificate(cn string, server bool) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: w.ca.NotBefore, NotAfter: w.ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if server {
		tmpl.ExtKeyUsage, tmpl.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, w.ca, &key.PublicKey, w.caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (w *world) serve(cert tls.Certificate, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Config.MaxHeaderBytes = 4 << 20 // so that a long token reaches us
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: w.pool, ClientAuth: tls.VerifyClientCertIfGiven}
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s
}

// http is a client that presents the certificate of a name, or none for "".
func (w *world) http(cn string) *http.Client {
	cfg := &tls.Config{RootCAs: w.pool}
	if cn != "" {
		cfg.Certificates = []tls.Certificate{w.clients[cn]}
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// browser is a person's browser: cookies, no certificate.
func (w *world) browser() *http.Client {
	c := w.http("")
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Jar = jar
	return c
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is that of the error table which a page or a JSON error names.
func (a answer) code() string {
	if m := codeIn.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

var codeIn = regexp.MustCompile(`(?:Code |"code":")([A-Z][A-Z-]+)`)

func (w *world) do(c *http.Client, req *http.Request) answer {
	w.t.Helper()
	res, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func (w *world) get(c *http.Client, address string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(c, req)
}

func (w *world) post(c *http.Client, address string, form url.Values) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(c, req)
}

func (w *world) bearer(c *http.Client, token string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.gateway.URL+"/who", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(c, req)
}

// location is where an answer sends the browser.
func location(t *testing.T, a answer) *url.URL {
	t.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		t.Fatalf("status %d, no location: %s", a.status, a.body)
	}
	return u
}

// toPSC begins a login and gives the address of the callback.
func (w *world) toPSC(b *http.Client, returnTo, who string) *url.URL {
	w.t.Helper()
	a := w.get(b, w.gateway.URL+"/login?return_to="+url.QueryEscape(returnTo))
	u := location(w.t, a)
	q := u.Query()
	q.Set("login_hint", who)
	u.RawQuery = q.Encode()
	return location(w.t, w.get(w.http(""), u.String()))
}

// enter logs a person in with a browser.
func (w *world) enter(b *http.Client, who string) answer {
	w.t.Helper()
	return w.get(b, w.toPSC(b, "/apres", who).String())
}

// pscToken gets an access token as a vendor does: the code by the page, then the
// token by the client's certificate.
func (w *world) pscToken(who string) map[string]any {
	w.t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {software}, "redirect_uri": {w.callback}, "scope": {"openid scope_all"},
		"acr_values": {"eidas1"}, "state": {"un-etat"}, "nonce": {"un-nonce"}, "login_hint": {who}}
	back := location(w.t, w.get(w.http(""), w.wallet.URL+"/auth?"+q.Encode()))
	a := w.post(w.http(software), w.issuer+"/protocol/openid-connect/token", url.Values{"grant_type": {"authorization_code"},
		"client_id": {software}, "code": {back.Query().Get("code")}, "redirect_uri": {w.callback}})
	if a.status != http.StatusOK {
		w.t.Fatalf("PSC answers %d: %s", a.status, a.body)
	}
	return decoded(w.t, a.body)
}

func exchangeForm(subject string) url.Values {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "scope": {"gateway"}}
}

// token gets a token of the gateway.
func (w *world) token(who string) string {
	w.t.Helper()
	a := w.post(w.http(software), w.gateway.URL+"/oauth/token", exchangeForm(w.pscToken(who)["access_token"].(string)))
	if a.status != http.StatusOK {
		w.t.Fatalf("exchange answers %d: %s", a.status, a.body)
	}
	return decoded(w.t, a.body)["access_token"].(string)
}

func decoded(t *testing.T, body string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("not JSON: %v: %s", err, body)
	}
	return v
}

// payload reads the claims of a token.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	return decoded(t, string(part(t, token, 1)))
}

func part(t *testing.T, token string, n int) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) fault(list ...sim.PSCFault) {
	w.t.Helper()
	if err := w.psc.SetFaults(list...); err != nil {
		w.t.Fatal(err)
	}
}

// who reads what a door knows.
func who(t *testing.T, a answer) (p psc.Professional, dmp, care string) {
	t.Helper()
	var v struct {
		Who  psc.Professional `json:"who"`
		DMP  string           `json:"dmp"`
		Care string           `json:"care"`
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return v.Who, v.DMP, v.Care
}
