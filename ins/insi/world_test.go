package insi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509/pkix"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// teleservice is a server that answers what a test says, and keeps requests.
type teleservice struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
	headers  []http.Header
}

type reply struct {
	status int
	body   string
}

func (s *teleservice) seen() []string { s.mu.Lock(); defer s.mu.Unlock(); return s.requests }

// serve answers each request by a function of its number, from 0.
func serve(t testing.TB, answer func(n int, request string) reply) *teleservice {
	t.Helper()
	s := &teleservice{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := len(s.requests)
		s.requests, s.headers = append(s.requests, string(body)), append(s.headers, r.Header.Clone())
		s.mu.Unlock()
		a := answer(n, string(body))
		if a.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/soap+xml; charset=utf-8")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body) // a client that left is part of the tests
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func always(status int, body string) func(int, string) reply {
	return func(int, string) reply { return reply{status, body} }
}

// soap puts a body into an envelope, with the prefixes that INSi has used.
func soap(body string) string {
	return `<?xml version='1.0' encoding='UTF-8'?><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><env:Body xmlns:env="http://www.w3.org/2003/05/soap-envelope">` + body + `</env:Body></soap:Envelope>`
}

func result(code, person string) string {
	return soap(`<RESULTAT xmlns="http://www.cnamts.fr/INSiResultat"><CR><CodeCR>` + code + `</CodeCR><LibelleCR>x</LibelleCR></CR>` + person + `</RESULTAT>`)
}

const (
	active = `<INSACTIF><IdIndividu><NumIdentifiant>2790351215189</NumIdentifiant><Cle>89</Cle></IdIndividu><OID>1.2.250.1.213.1.4.10</OID></INSACTIF>`
	tiq    = `<TIQ><NomNaissance>PAT-TROIS</NomNaissance><ListePrenom>DOMINIQUE MARIE-LOUISE</ListePrenom><Sexe>F</Sexe><DateNaissance>1979-03-28</DateNaissance><LieuNaissance>51215</LieuNaissance></TIQ>`
	person = `<INDIVIDU>` + active + tiq + `</INDIVIDU>`
)

func fault(value, subcode, detail string) string {
	return soap(`<S:Fault xmlns:S="http://www.w3.org/2003/05/soap-envelope"><S:Code><S:Value>` + value + `</S:Value><S:Subcode><S:Value>` + subcode +
		`</S:Value></S:Subcode></S:Code><S:Reason><S:Text xml:lang="en">Erreur sur PAT-TROIS</S:Text></S:Reason><S:Detail><siram:Erreur xmlns:siram="urn:siram" severite="fatal" code="` +
		detail + `">PAT-TROIS</siram:Erreur></S:Detail></S:Fault>`)
}

// traces keeps traces in memory.
type traces struct {
	mu   sync.Mutex
	list []insi.Trace
	fail error
}

func (k *traces) Keep(_ context.Context, t insi.Trace) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, t)
	return k.fail
}

type world struct {
	config insi.Config
	traces *traces
	log    *bytes.Buffer
}

func organisation(t testing.TB, cn string) *insi.Organisation {
	t.Helper()
	o, err := insi.NewOrganisation(&x509.Certificate{Subject: pkix.Name{CommonName: cn, OrganizationalUnit: []string{"1990000010"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func newWorld(t testing.TB, s *teleservice) *world {
	t.Helper()
	w := &world{traces: &traces{}, log: &bytes.Buffer{}}
	var mu sync.Mutex
	now := noon
	w.config = insi.Config{
		URL: "https://127.0.0.1:1/lps", HTTP: http.DefaultClient, Auth: organisation(t, insi.CNAuto),
		Software:    insi.Software{Authorisation: "BAC-A-SABLE", Name: "Passerelle", Version: "1.0", Instance: "2f0ad29a-1a44-4a8e-9a2c-1f3a5b0c7d11"},
		Environment: ins.Sandbox, Tracer: w.traces, Rand: rand.Reader,
		Clock: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(time.Second)
			return now
		},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if s != nil {
		w.config.URL, w.config.HTTP = s.URL+"/lps", s.Client()
	}
	return w
}

func (w *world) client(t testing.TB) *insi.Client {
	t.Helper()
	c, err := insi.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func who() insi.Actor {
	return insi.Actor{Actor: ins.Actor{ID: "810000000010", Human: true}, FINESSGeo: "990000028"}
}

func query() insi.Query {
	return insi.Query{Subject: "ipp-900003", Identity: ins.Identity{Status: ins.Provisional, Traits: ins.Traits{BirthName: "Pat-Trois", FirstGiven: "Dominique",
		GivenNames: "Dominique Marie-Louise", Sex: "F", BirthDate: "1979-03-28", BirthPlace: "51215"}}}
}

func code(err error) string {
	var c interface{ FaultCode() string }
	if errors.As(err, &c) {
		return c.FaultCode()
	}
	if err != nil {
		return "untyped: " + err.Error()
	}
	return ""
}

// secrets are what may stand in no log line and no error.
var secrets = []string{"PAT-TROIS", "Pat-Trois", "DOMINIQUE", "Dominique", "1979-03-28", "2790351215189", "279035121518989", "51215", "jeton"}

func quiet(t testing.TB, text string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%q stands in %q", s, text)
		}
	}
}

// certificate is a self-signed certificate of a client.
func certificate(t testing.TB, cn string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Unix(0, 0),
		NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
