package console_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/console"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/testdata"
)

var (
	noon    = time.Date(2026, 1, 5, 11, 0, 0, 0, time.UTC) // noon in Paris
	patient = testdata.Patients()[0]
	houses  = testdata.Establishments()
)

// sharedDir holds the keys of Pro Santé Connect, which are long to make.
var sharedDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "console-test-")
	if err != nil {
		panic(err)
	}
	sharedDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir) // the folder of temporary files is cleaned by others if not
	os.Exit(code)
}

// world is a console over TLS, its journal, and a Pro Santé Connect.
type world struct {
	t       *testing.T
	journal *journal.Journal
	psc     *sim.PSC
	server  *httptest.Server
	pool    *x509.CertPool
	log     *safeBuffer
	seq     int

	gateway      *gateway.Gateway
	receiver     *gateway.Receiver
	certificates []console.Certificate
	ids          int

	mu     sync.Mutex
	offset time.Duration
}

// held are people known to the hospital.
type held []ins.Candidate

func (h held) Candidates(context.Context, string, ins.Identity) ([]ins.Candidate, error) {
	return h, nil
}

func heldIdentity(p testdata.Patient) ins.Identity {
	return ins.Identity{
		Matricule: p.Matricule, OID: ins.OID(p.OID), Status: ins.Status(p.Status), Local: []ins.LocalID{{Value: p.IPP, Authority: "1.2.3"}},
		Traits: ins.Traits{BirthName: p.BirthName, FirstGiven: p.FirstGiven, GivenNames: p.GivenNames, BirthDate: p.BirthDate, Sex: p.Sex, BirthPlace: p.BirthPlace},
	}
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

func establishment(h testdata.Establishment) gateway.Establishment {
	return gateway.Establishment{Name: h.Name, FINESSEJ: h.FINESSEJ, FINESSGeo: h.FINESSGeo, SourceOID: h.SourceOID}
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

// The people of the tests: one sees the first house, one the second, one both;
// the pharmacist is not listed.
var (
	first  = testdata.PersonaByID(testdata.PersonaPhysician).NationalID
	second = testdata.PersonaByID(testdata.PersonaBiologist).NationalID
	both   = testdata.PersonaByID(testdata.PersonaNurse).NationalID
	nobody = testdata.PersonaByID(testdata.PersonaPharmacist).NationalID
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, log: &safeBuffer{}, pool: x509.NewCertPool()}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	w.journal, err = journal.Open(t.Context(), journal.Config{Dir: t.TempDir(), Clock: w.now, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.journal.Close() })

	w.gateway = &gateway.Gateway{
		Journal: w.journal, StayKey: bytes.Repeat([]byte{7}, 32), Clock: w.now, Log: logger, Alarms: &gateway.Alarms{},
		NewID: func() string { w.ids++; return fmt.Sprintf("0190bbbb-0000-7000-8000-%012d", w.ids) },
	}
	var known held
	for _, p := range testdata.Patients() {
		known = append(known, ins.Candidate{Identity: heldIdentity(p)})
	}
	w.receiver = &gateway.Receiver{Gateway: w.gateway, Identities: known, Establishment: establishment(houses[0])}

	realm, wallet, mux := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	atRealm, atWallet := w.serve(realm), w.serve(wallet)
	w.server = w.serve(mux)
	issuer := atRealm.URL + sim.PSCRealm
	const id, secret = "passerelle-essai", "un-secret-d-essai"
	w.psc, err = sim.NewPSC(sim.PSCConfig{Issuer: issuer, Wallet: atWallet.URL + "/auth", Dir: filepath.Join(sharedDir, "psc"), CA: w.pool, Clock: w.now, Rand: rand.Reader,
		Clients: []sim.PSCClient{{ID: id, Secret: secret, RedirectURIs: []string{w.server.URL + "/callback"}}}})
	if err != nil {
		t.Fatal(err)
	}
	realm.Handle("/", w.psc.Realm())
	wallet.Handle("/", w.psc.Wallet())

	client, err := psc.NewClient(psc.Config{Issuer: issuer, ClientID: id, ClientSecret: secret, RedirectURI: w.server.URL + "/callback",
		HTTP: w.http(), Clock: w.now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := psc.OpenKeys(filepath.Join(t.TempDir(), "keys.json"), w.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	login, err := psc.NewLogin(psc.LoginConfig{Client: client, Keys: keys, Store: psc.NewMemoryStore(1000), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	login.Register(mux)
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	c, err := console.New(console.Config{
		Journal: w.journal, Sessions: login, Establishments: []gateway.Establishment{establishment(houses[0]), establishment(houses[1])},
		Access: map[string][]string{first: {houses[0].FINESSGeo}, second: {houses[1].FINESSGeo}, both: {houses[0].FINESSGeo, houses[1].FINESSGeo}},
		Zone:   paris, Log: logger, Notice: "sandbox", Clock: w.now,
		Decisions: gateway.Decider{Gateway: w.gateway, Receiver: w.receiver}, Decide: map[string]bool{first: true, nobody: true},
		Alarms: w.gateway.Alarms.Standing, Certificates: func() []console.Certificate { return w.certificates },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Register(mux)
	return w
}

func (w *world) serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	w.pool.AddCert(s.Certificate())
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) http() *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.pool}}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// browser follows redirections and keeps cookies.
func (w *world) browser() *http.Client {
	c := w.http()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Jar = jar
	return c
}

// enter logs a person in, as the link of the welcome page and the page of Pro
// Santé Connect do.
func (w *world) enter(nationalID string) *http.Client {
	w.t.Helper()
	b := w.browser()
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/auth") {
			q := r.URL.Query()
			q.Set("login_hint", nationalID)
			r.URL.RawQuery = q.Encode()
		}
		return nil
	}
	if a := w.get(b, "/login?return_to="+url.QueryEscape("/console/")); a.path != "/console/" {
		w.t.Fatalf("login ends at %s (%d)", a.path, a.status)
	}
	return b
}

// answer is what came back, and from where.
type answer struct {
	status int
	header http.Header
	path   string
	body   string
}

func (w *world) get(c *http.Client, path string) answer {
	w.t.Helper()
	return w.do(c, http.MethodGet, path)
}

func (w *world) do(c *http.Client, method, path string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Request.URL.Path, string(body)}
}

// has tells whether all texts are on the page.
func (a answer) has(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s does not show %q:\n%s", a.path, text, a.body)
		}
	}
}

// hides tells whether none of the texts is on the page.
func (a answer) hides(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			t.Errorf("%s shows %q", a.path, text)
		}
	}
}

// item is one submission of a test.
type item struct {
	house    testdata.Establishment
	control  string
	received time.Time
	state    gateway.State
	code     string
	door     string
	raw      []byte
	document []byte
	change   func(*gateway.Entry)
}

// add records a submission and gives its id.
func (w *world) add(i item) string {
	w.t.Helper()
	w.seq++
	id := "0190aaaa-0000-7000-8000-" + hex.EncodeToString([]byte{0, 0, 0, 0, byte(w.seq >> 8), byte(w.seq)})
	if i.house.ID == "" {
		i.house = houses[0]
	}
	if i.received.IsZero() {
		i.received = noon.Add(time.Duration(w.seq) * time.Second)
	}
	if i.state == "" {
		i.state = gateway.Done
	}
	if i.door == "" {
		i.door = "hl7"
	}
	if i.raw == nil {
		i.raw = []byte("message " + id)
	}
	keep := func(data []byte) string {
		digest, err := w.journal.Keep(w.t.Context(), data)
		if err != nil {
			w.t.Fatal(err)
		}
		return digest
	}
	envelope, err := json.Marshal(map[string]any{"patient": map[string]any{"matricule": patient.Matricule, "oid": patient.OID, "traits": map[string]string{"birth_name": patient.BirthName}}})
	if err != nil {
		w.t.Fatal(err)
	}
	key := sha256.Sum256([]byte(id))
	e := gateway.Entry{Submission: gateway.Submission{
		ID: id, Received: i.received, Door: i.door, Establishment: establishment(i.house), From: gateway.Party{Application: "LABO", Facility: "CH"},
		Message: gateway.Message{Type: "ORU^R01", ControlID: i.control, Profile: "2.1^CISIS_CDA_HL7_V2"}, Key: hex.EncodeToString(key[:]), Digest: keep(i.raw),
		Rules: "règles 1", Action: "new", INSStatus: "QUAL", State: i.state, Code: i.code, Envelope: envelope, Receipt: []byte("MSH|^~\\&|PASSERELLE\rMSA|AA|" + i.control + "\r"),
	}, Events: []gateway.Event{{Submission: id, Time: i.received, Step: gateway.EventAccepted, Outcome: gateway.OutcomeOK}}}
	if i.document != nil {
		e.Documents = []gateway.DocumentRow{{UniqueID: testdata.DocumentID(w.seq), Version: 1, TypeCode: "11502-2", Digest: keep(i.document), Size: int64(len(i.document))}}
	}
	if i.change != nil {
		i.change(&e)
	}
	if err := w.journal.Record(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// personIs makes the next login that of somebody else than a professional of
// care.
func (w *world) personIs(kind string) {
	w.t.Helper()
	if err := w.psc.SetFaults(sim.PSCFault{Fault: "person-" + kind}); err != nil {
		w.t.Fatal(err)
	}
}

var discard = slog.New(slog.DiscardHandler)

// closed is a door without sessions.
type closed struct{}

func (closed) FormToken(*http.Request, string) string      { return "" }
func (closed) FormSent(*http.Request, string, string) bool { return false }
func (closed) Session(*http.Request) (psc.Session, error)  { return psc.Session{}, io.EOF }
