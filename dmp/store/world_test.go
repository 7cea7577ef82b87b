package store_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/store"
	"github.com/passerelle-sante/passerelle/ins"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	issuerName = "https://as.dmp.example"
	finess     = "990000012"
	otherSite  = "990000999"
	physician  = "899700000017"
	otherPhys  = "899700000025"
	blocked    = "899700000033"
	attending  = "899700000058" // médecin traitant of patientTwo
	nurse      = "899700000066" // authorised on patientTwo
)

var (
	patientOpen   = ins.Identity{Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified, Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-01", Sex: "F", BirthPlace: "51215"}}
	patientClosed = ins.Identity{Matricule: "160017500100115", OID: ins.OIDTest, Status: ins.Qualified, Traits: ins.Traits{BirthName: "CLOS", FirstGiven: "PAUL", BirthDate: "1960-01-01", Sex: "M"}}
	patientNone   = ins.Identity{Matricule: "260017500100107", OID: ins.OIDTest, Status: ins.Qualified, Traits: ins.Traits{BirthName: "SANSDMP"}}
	patientTwo    = ins.Identity{Matricule: "180017500100103", OID: ins.OIDTest, Status: ins.Qualified, Traits: ins.Traits{BirthName: "DEUX", FirstGiven: "JEAN"}}
)

// pki is a throw-away authority.
type pki struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{t: t, pool: x509.NewCertPool()}
	p.key = newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &p.key.PublicKey, p.key)
	must(t, err)
	p.cert, err = x509.ParseCertificate(der)
	must(t, err)
	p.pool.AddCert(p.cert)
	return p
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func (p *pki) leaf(name string) tls.Certificate {
	p.t.Helper()
	key := newKey(p.t)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(p.t, err)
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.cert, &key.PublicKey, p.key)
	must(p.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// world is a store behind TLS, its authorization server, and who calls it.
type world struct {
	t       *testing.T
	dir     string
	clock   *clock
	pki     *pki
	gateway tls.Certificate // of the structure
	doctor  tls.Certificate
	signKey *ecdsa.PrivateKey
	store   *store.Store
	server  *httptest.Server
	auth    *httptest.Server
	limits  store.Limits

	mu      sync.Mutex
	tokens  int           // granted by the token endpoint
	life    time.Duration // of the tokens granted
	clients map[string]*http.Client
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{now: time.Now()}, pki: newPKI(t), signKey: newKey(t), life: time.Hour, clients: map[string]*http.Client{}}
	w.gateway, w.doctor = w.pki.leaf("gateway"), w.pki.leaf("doctor")
	w.auth = w.serve(http.HandlerFunc(w.authorize))
	w.open()
	must(t, w.store.Seed(t.Context(), []store.Patient{
		{Identity: patientOpen, State: store.StateOpen, Authorisations: []store.Authorisation{
			{NationalID: physician, Status: store.Valid}, {NationalID: otherPhys, Status: store.Expired}, {NationalID: blocked, Status: store.Blocked}}},
		{Identity: patientTwo, State: store.StateOpen, Authorisations: []store.Authorisation{{NationalID: physician, Status: store.Valid}, {NationalID: otherPhys, Status: store.Valid},
			{NationalID: nurse, Status: store.Valid}, {NationalID: attending, Status: store.Valid, Attending: true}}},
		{Identity: patientClosed, State: store.StateClosed, Authorisations: []store.Authorisation{{NationalID: physician, Status: store.Valid}}},
	}))
	return w
}

func (w *world) serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.pki.leaf("server")}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: w.pki.pool}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s
}

// open opens the store in its folder, again if it was open.
func (w *world) open() {
	w.t.Helper()
	var handler http.Handler
	if w.server != nil {
		w.server.Close()
		must(w.t, w.store.Close())
	}
	w.server = w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	var err error
	w.store, err = store.Open(context.Background(), store.Config{
		Dir: w.dir, BaseURL: w.server.URL + "/fhir",
		Issuers:    []store.Issuer{{Issuer: issuerName, JWKSURL: w.auth.URL + "/jwks", Audience: "dmp"}},
		HTTPClient: w.client(tls.Certificate{}), Clock: w.clock.Now, Rand: rand.Reader,
		Logger: slog.New(slog.DiscardHandler), Limits: w.limits,
	})
	must(w.t, err)
	w.t.Cleanup(func() { w.store.Close() })
	handler = w.store
}

func (w *world) tls(cert tls.Certificate) *tls.Config {
	cfg := &tls.Config{RootCAs: w.pki.pool}
	if cert.PrivateKey != nil {
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

// client keeps one client for each certificate.
func (w *world) client(cert tls.Certificate) *http.Client {
	name := ""
	if len(cert.Certificate) > 0 {
		name = string(cert.Certificate[0])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients[name] == nil {
		tr := &http.Transport{TLSClientConfig: w.tls(cert)}
		w.t.Cleanup(tr.CloseIdleConnections)
		w.clients[name] = &http.Client{Transport: tr, Timeout: 20 * time.Second}
	}
	return w.clients[name]
}

func thumbprint(cert []byte) string {
	sum := sha256.Sum256(cert)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// claims are those of a good token; nil removes one.
func (w *world) sign(cert tls.Certificate, change map[string]any) string {
	w.t.Helper()
	now := w.clock.Now()
	c := map[string]any{"iss": issuerName, "aud": "dmp", "sub": "x", "client_id": "passerelle", "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(time.Hour).Unix(), "cnf": map[string]string{"x5t#S256": thumbprint(cert.Certificate[0])}}
	for k, v := range change {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return w.signWith(jose.ES256, w.signKey, "k1", c)
}

func (w *world) signWith(alg jose.SignatureAlgorithm, key any, kid string, claims any) string {
	w.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	must(w.t, err)
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	must(w.t, err)
	return raw
}

// structure is a good token of mode indirecte.
func (w *world) structure(finess string) string {
	return w.sign(w.gateway, map[string]any{"mode": "indirecte", "finess": finess, "sender": physician})
}

// professional is a good token of mode direct.
func (w *world) professional(id string) string {
	return w.sign(w.doctor, map[string]any{"mode": "direct", "SubjectNameID": id, "SubjectRole": []string{"10^1.2.250.1.213.1.1.5.5"}})
}

// patient is a good token of the holder of a DMP, or of their representative.
func (w *world) patient(p ins.Identity, representative bool) string {
	return w.sign(w.doctor, map[string]any{"mode": "patient", "patient": "urn:oid:" + string(p.OID) + "|" + p.Matricule, "representative": representative})
}

// authorize is the authorization server.
func (w *world) authorize(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/jwks":
		json.NewEncoder(rw).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &w.signKey.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	case "/token":
		if len(r.TLS.PeerCertificates) == 0 || r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "dmp" ||
			r.PostFormValue("mode") != "indirecte" || r.PostFormValue("client_id") != "passerelle" || r.PostFormValue("finess") == "refused" {
			rw.WriteHeader(http.StatusUnauthorized)
			io.WriteString(rw, `{"error":"invalid_client"}`)
			return
		}
		w.mu.Lock()
		w.tokens++
		life := w.life
		w.mu.Unlock()
		tok := w.sign(tls.Certificate{Certificate: [][]byte{r.TLS.PeerCertificates[0].Raw}}, map[string]any{
			"mode": "indirecte", "finess": r.PostFormValue("finess"), "sender": r.PostFormValue("sender")})
		json.NewEncoder(rw).Encode(map[string]any{"access_token": tok, "token_type": "Bearer", "expires_in": int(life.Seconds())})
	}
}

// granted is how many tokens the authorization server gave.
func (w *world) granted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// codes are our codes in the OperationOutcome.
func (a answer) codes(t *testing.T) (codes, places []string) {
	t.Helper()
	n, err := fhir.Parse(a.body)
	must(t, err)
	if n.Get("resourceType").Text() != "OperationOutcome" {
		t.Fatalf("not an OperationOutcome: HTTP %d %s", a.status, a.body)
	}
	for _, issue := range n.Get("issue").Items() {
		codes = append(codes, issue.Get("details", "coding").Items()[0].Get("code").Text())
		for _, e := range issue.Get("expression").Items() {
			places = append(places, e.Text())
		}
	}
	return codes, places
}

// refused checks status and first code, and that no INS is told.
func (a answer) refused(t *testing.T, status int, code string) {
	t.Helper()
	codes, places := a.codes(t)
	if a.status != status || codes[0] != code {
		t.Fatalf("got HTTP %d %v at %v, want %d %s", a.status, codes, places, status, code)
	}
	for _, p := range []ins.Identity{patientOpen, patientClosed, patientNone, patientTwo} {
		if bytes.Contains(a.body, []byte(p.Matricule)) {
			t.Fatalf("a matricule in %s", a.body)
		}
	}
}

func (a answer) bundle(t *testing.T) fhir.Bundle {
	t.Helper()
	var b fhir.Bundle
	n, err := fhir.Parse(a.body)
	must(t, err)
	if a.status != http.StatusOK {
		t.Fatalf("HTTP %d %s", a.status, a.body)
	}
	must(t, n.Decode(&b))
	return b
}

type header map[string]string

// call makes one call over a real socket.
func (w *world) call(cert tls.Certificate, token, method, path string, body []byte, h header) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/fhir"+path, bytes.NewReader(body))
	must(w.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range h {
		req.Header.Set(k, v)
	}
	resp, err := w.client(cert).Do(req)
	must(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(w.t, err)
	return answer{resp.StatusCode, resp.Header, raw}
}

func (w *world) post(token string, bundle []byte) answer {
	w.t.Helper()
	return w.call(w.gateway, token, "POST", "", bundle, header{"Content-Type": fhir.MediaType})
}

// search is a POST _search by a professional.
func (w *world) search(token, kind, form string) answer {
	w.t.Helper()
	return w.call(w.doctor, token, "POST", "/"+kind+"/_search", []byte(form), header{"Content-Type": "application/x-www-form-urlencoded"})
}

func (w *world) get(token, path string, h header) answer {
	w.t.Helper()
	return w.call(w.doctor, token, "GET", path, nil, h)
}

func of(p ins.Identity) string {
	return "patient.identifier=urn%3Aoid%3A" + string(p.OID) + "%7C" + p.Matricule
}

// someDocument is a document with every metadata.
func someDocument(uniqueID string, text string) dmp.DepositDocument {
	author := dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: physician}, Family: "MARTIN", Given: "Claire"}
	org := dmp.Organisation{ID: dmp.ID{Root: "1.2.250.1.71.4.2.2", Extension: "1" + finess}, Name: "CH de Test <&>"}
	paris := time.FixedZone("", 3600)
	return dmp.DepositDocument{
		Content: []byte(`<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3">` + text + `</ClinicalDocument>`),
		Metadata: dmp.Metadata{
			UniqueID: dmp.ID{Root: uniqueID}, Version: 1,
			Type:   dmp.Code{Code: "11502-2", System: dmp.OIDLoinc, Display: "CR d'examens biologiques"},
			Class:  dmp.Code{Code: "10", System: dmp.OIDClass, Display: "Compte rendu"},
			Format: dmp.Code{Code: "urn:ihe:iti:xds-sd:pdf:2008", System: "http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode"},
			Title:  "CR de biologie", Language: "fr-FR", MimeType: "text/xml",
			Confidentiality:    dmp.Code{Code: "N", System: dmp.OIDConfidentiality},
			Created:            time.Date(2026, 11, 20, 10, 30, 0, 0, paris),
			ServiceStart:       time.Date(2026, 11, 20, 8, 0, 0, 0, paris),
			Authors:            []dmp.Author{{Person: &author, Organisation: org, Specialty: dmp.Code{Code: "G15_10/SM03", System: dmp.OIDSpecialty}, Role: "Biologiste"}},
			LegalAuthenticator: &author, Custodian: org,
			Facility: dmp.Code{Code: "SA01", System: dmp.OIDFacility}, PracticeSetting: dmp.Code{Code: "ETABLISSEMENT", System: dmp.OIDPracticeSetting},
			Events: []dmp.Code{{Code: "HGHB001", System: "1.2.250.1.213.2.5"}}, Patient: patientOpen, SourcePatientID: dmp.ID{Root: "1.2.250.1.999.1", Extension: "IPP42"},
		},
	}
}

func someDeposit(lot string, docs ...dmp.DepositDocument) dmp.Deposit {
	sum := sha256.Sum256([]byte(lot))
	u := sum[:16]
	return dmp.Deposit{
		Caller: someCaller(), LotID: dmp.ID{Root: lot},
		EntryUUID: "urn:uuid:" + strings.Join([]string{hexOf(u[:4]), hexOf(u[4:6]), hexOf(u[6:8]), hexOf(u[8:10]), hexOf(u[10:])}, "-"),
		Submitted: time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC), Patient: patientOpen,
		ContentType: dmp.Code{Code: "03", System: "1.2.250.1.213.2.2", Display: "Hospitalisation complète"}, Documents: docs,
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func someCaller() dmp.Caller {
	return dmp.Caller{
		Establishment: dmp.Establishment{FINESSEJ: "990000001", FINESSGeo: finess, SourceOID: "1.2.250.1.999.9"},
		Requester:     dmp.Requester{Person: &dmp.Person{ID: dmp.ID{Root: "1.2.250.1.71.4.2.1", Extension: physician}, Family: "MARTIN"}},
	}
}

// forPatient makes a deposit concern another patient.
func forPatient(d dmp.Deposit, p ins.Identity) dmp.Deposit {
	d.Patient = p
	for i := range d.Documents {
		d.Documents[i].Metadata.Patient = p
	}
	return d
}

func build(t *testing.T, d dmp.Deposit) []byte {
	t.Helper()
	b, err := fhir.BuildITI65(d)
	must(t, err)
	return b
}
