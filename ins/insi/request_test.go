package insi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/antchfx/xmlquery"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

func vitale() insi.Vitale {
	return insi.Vitale{Insured: insi.Number{Body: "2790351215189", Key: "89"}, Beneficiary: insi.Number{Body: "2790351215189", Key: "89"},
		CertifiedOn: "2020-01-02", BirthName: "Pat-Trois", BirthDate: "1979-03-28", Rank: "1", Regime: "01", Organisme: "751", Centre: "0000", Holder: "1"}
}

func verified() insi.Query {
	q := query()
	q.Identity.Matricule, q.Identity.OID, q.Identity.Status = "279035121518989", ins.OIDTest, ins.Qualified
	return q
}

// text is the text of the one node that a path names.
func text(t *testing.T, doc *xmlquery.Node, path string) string {
	t.Helper()
	found, err := xmlquery.QueryAll(doc, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%d nodes at %s", len(found), path)
	}
	return found[0].InnerText()
}

func TestRequest(t *testing.T) {
	s := serve(t, always(200, result("00", person)))
	w := newWorld(t, s)
	if _, err := w.client(t).Search(context.Background(), who(), query()); err != nil {
		t.Fatal(err)
	}
	doc, err := xmlquery.Parse(strings.NewReader(s.seen()[0]))
	if err != nil {
		t.Fatal(err)
	}
	local := func(path string) string {
		var b strings.Builder
		for _, name := range strings.Split(path, "/") {
			fmt.Fprintf(&b, "/*[local-name()='%s']", name)
		}
		return text(t, doc, b.String())
	}
	const bam, lps = "Envelope/Header/ContexteBAM/", "Envelope/Header/ContexteLPS/"
	for path, want := range map[string]string{
		bam + "Temps": "2026-01-05T12:00:01.000Z", bam + "Emetteur": "1990000010", bam + "COUVERTURE": "",
		lps + "Temps": "2026-01-05T12:00:01.000Z", lps + "Emetteur": "1990000010", lps + "LPS/IDAM": "BAC-A-SABLE",
		lps + "LPS/Version": "1.0", lps + "LPS/Nom": "Passerelle", lps + "LPS/Instance": "2f0ad29a-1a44-4a8e-9a2c-1f3a5b0c7d11",
		"Envelope/Header/Action":                   "urn:ServiceIdentiteCertifiee:1.0.0:rechercherInsAvecTraitsIdentite",
		"Envelope/Body/RECSANSVITALE/NomNaissance": "PAT-TROIS", "Envelope/Body/RECSANSVITALE/Prenom": "DOMINIQUE",
		"Envelope/Body/RECSANSVITALE/Sexe": "F", "Envelope/Body/RECSANSVITALE/DateNaissance": "1979-03-28", "Envelope/Body/RECSANSVITALE/LieuNaissance": "51215",
	} {
		if got := local(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	ids := map[string]bool{}
	for _, path := range []string{bam + "Id", lps + "Id", "Envelope/Header/MessageID"} {
		id := strings.TrimPrefix(local(path), "uuid:")
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) || ids[id] {
			t.Errorf("%s is %q", path, id)
		}
		ids[id] = true
	}
	if text(t, doc, "//*[local-name()='IDAM']/@R") != "4" || strings.Contains(s.seen()[0], "Security") {
		t.Error("IDAM R, or an assertion that nobody asked for")
	}
	if got := s.headers[0].Get("Content-Type"); got != "application/soap+xml; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	if w.traces.list[0].Took != time.Second || string(w.traces.list[0].Request) != s.seen()[0] {
		t.Errorf("trace %+v", w.traces.list[0])
	}
	if got := strings.Join(w.traces.list[0].Criteria, " "); got != "birth_name first_given sex birth_date birth_place" {
		t.Errorf("criteria %s", got)
	}
}

func TestSearchVitale(t *testing.T) {
	s := serve(t, always(200, result("00", person)))
	w := newWorld(t, s)
	a, err := w.client(t).SearchVitale(context.Background(), who(), "ipp-1", vitale())
	if err != nil || a.INS.Matricule != "279035121518989" || a.Operation != insi.OpVitale {
		t.Fatalf("%+v %v", a, err)
	}
	for _, want := range []string{"<r:MatriculeIndividu><r:NumIdentifiant>2790351215189</r:NumIdentifiant><r:Cle>89</r:Cle></r:MatriculeIndividu><r:MatriculeOD>",
		"<r:NomNaissance>PAT-TROIS<", "<r:RangNaissance>1<", "<ctxbam:Rang>1<", "rechercherInsAvecCarteVitale", "<ctxbam:DateCertification>2020-01-02<"} {
		if !strings.Contains(s.seen()[0], want) {
			t.Errorf("%s is not in the request", want)
		}
	}
	for name, change := range map[string]func(*insi.Vitale){
		"insured":     func(v *insi.Vitale) { v.Insured = insi.Number{} },
		"body":        func(v *insi.Vitale) { v.Insured.Body = "279035121518" },
		"letter":      func(v *insi.Vitale) { v.Beneficiary.Body = "279032C215189" },
		"key":         func(v *insi.Vitale) { v.Beneficiary.Key = "8" },
		"date":        func(v *insi.Vitale) { v.BirthDate = "28/03/1979" },
		"short date":  func(v *insi.Vitale) { v.BirthDate = "1979" },
		"certified":   func(v *insi.Vitale) { v.CertifiedOn = "hier" },
		"rank":        func(v *insi.Vitale) { v.Rank = "12" },
		"holder":      func(v *insi.Vitale) { v.Holder = "x" },
		"regime":      func(v *insi.Vitale) { v.Regime = strings.Repeat("0", 21) },
		"name":        func(v *insi.Vitale) { v.BirthName = "PAT_TROIS" },
		"insured key": func(v *insi.Vitale) { v.Insured.Key = "" },
	} {
		v := vitale()
		change(&v)
		_, err := w.client(t).SearchVitale(context.Background(), who(), "", v)
		if c := code(err); c != insi.FaultQuestion && c != ins.FaultName {
			t.Errorf("fail/%s: %v", name, err)
		}
	}
	v := vitale()
	v.Beneficiary, v.CertifiedOn, v.BirthName, v.Holder = insi.Number{}, "", "", ""
	if _, err := w.client(t).SearchVitale(context.Background(), who(), "", v); err != nil {
		t.Errorf("ok/insured only: %v", err)
	}
	if _, err := w.client(t).SearchVitale(context.Background(), insi.Actor{}, "", vitale()); code(err) != insi.FaultActor {
		t.Errorf("fail/nobody: %v", err)
	}
	if len(s.seen()) != 2 {
		t.Errorf("%d calls", len(s.seen()))
	}
}

func TestVerify(t *testing.T) {
	answer := func(code string) string {
		return soap(`<n:RESULTAT xmlns:n="http://www.cnamts.fr/INSiLot2/REPUnitaire"><n:CR><n:CodeCR>` + code + `</n:CodeCR></n:CR></n:RESULTAT>`)
	}
	for _, c := range []struct {
		name, body string
		change     func(*insi.Config, *insi.Query)
		agrees     bool
		want       string
	}{
		{"ok/yes", answer("00"), nil, true, ""},
		{"ok/no", answer("01"), nil, false, ""},
		{"ok/codes-are-configured", answer("KO"), func(c *insi.Config, _ *insi.Query) { c.Verification.Disagree = []string{"KO"} }, false, ""},
		{"fail/off", answer("00"), func(c *insi.Config, _ *insi.Query) { c.Verification = nil }, false, insi.FaultUnconfirmed},
		{"fail/unknown-code", answer("07"), nil, false, insi.FaultAnswer},
		{"fail/result-of-a-search", result("00", person), nil, false, insi.FaultAnswer},
		{"fail/fault", fault("S:Sender", "siram_100", "desir_550"), nil, false, insi.FaultSoftware},
		{"fail/doubtful", answer("00"), func(_ *insi.Config, q *insi.Query) { q.Identity.Attributes = []string{"DOUT"} }, false, ins.FaultCallForbidden},
		{"fail/no-ins", answer("00"), func(_ *insi.Config, q *insi.Query) { q.Identity = q.Identity.WithoutINS() }, false, ins.FaultAbsent},
		{"fail/key", answer("00"), func(_ *insi.Config, q *insi.Query) {
			q.Identity.OID, q.Identity.Matricule = ins.OIDNIR, "279035121518988"
		}, false, ins.FaultKey},
		{"fail/traits", answer("00"), func(_ *insi.Config, q *insi.Query) { q.Identity.Traits.Sex = "" }, false, insi.FaultQuestion},
		{"fail/given", answer("00"), func(_ *insi.Config, q *insi.Query) {
			q.Identity.Traits.FirstGiven, q.Identity.Traits.GivenNames = "", ""
		}, false, insi.FaultQuestion},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, always(200, c.body))
			w := newWorld(t, s)
			w.config.Verification = insi.GuessedVerification()
			q := verified()
			if c.change != nil {
				c.change(&w.config, &q)
			}
			v, err := w.client(t).Verify(context.Background(), who(), q)
			if code(err) != c.want || v.Agrees != c.agrees {
				t.Fatalf("%+v %v", v, err)
			}
			if err == nil && ((v.Err() == nil) != c.agrees || v.MessageID == "" || w.traces.list[0].Result != v.Code || w.traces.list[0].Operation != insi.OpVerify) {
				t.Errorf("%+v %v, trace %+v", v, v.Err(), w.traces.list[0])
			}
			if err != nil {
				quiet(t, err.Error())
			}
			quiet(t, w.log.String())
		})
	}
	for name, shape := range map[string]struct {
		change func(*insi.Verification)
		want   string
	}{
		"ok/list":     {func(*insi.Verification) {}, "<v:ListePrenom>DOMINIQUE MARIE-LOUISE</v:ListePrenom>"},
		"ok/separate": {func(v *insi.Verification) { v.ListOfGivenNames, v.SeparateGivenName = false, true }, "<v:Prenom>DOMINIQUE</v:Prenom><v:Prenom>MARIE-LOUISE</v:Prenom>"},
		"ok/first":    {func(v *insi.Verification) { v.ListOfGivenNames = false }, "</v:NomNaissance><v:Prenom>DOMINIQUE</v:Prenom><v:Sexe>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, always(200, answer("00")))
			w := newWorld(t, s)
			w.config.Verification = insi.GuessedVerification()
			shape.change(w.config.Verification)
			if _, err := w.client(t).Verify(context.Background(), who(), verified()); err != nil || !strings.Contains(s.seen()[0], shape.want) {
				t.Fatalf("%v: %s", err, s.seen()[0])
			}
		})
	}
}

func TestNew(t *testing.T) {
	for name, change := range map[string]func(*insi.Config){
		"url":               func(c *insi.Config) { c.URL = "http://insi.example/lps" },
		"url with query":    func(c *insi.Config) { c.URL = "https://insi.example/lps?nir=1" },
		"url with password": func(c *insi.Config) { c.URL = "https://a:b@insi.example/lps" },
		"http":              func(c *insi.Config) { c.HTTP = nil },
		"auth":              func(c *insi.Config) { c.Auth = nil },
		"authorisation":     func(c *insi.Config) { c.Software.Authorisation = "" },
		"instance":          func(c *insi.Config) { c.Software.Instance = "1" },
		"environment":       func(c *insi.Config) { c.Environment = "recette" },
		"tracer":            func(c *insi.Config) { c.Tracer = nil },
		"clock":             func(c *insi.Config) { c.Clock = nil },
		"rand":              func(c *insi.Config) { c.Rand = nil },
		"logger":            func(c *insi.Config) { c.Logger = nil },
		"timeout":           func(c *insi.Config) { c.Timeout = -1 },
		"attempts":          func(c *insi.Config) { c.Attempts = 51 },
		"verification":      func(c *insi.Config) { c.Verification = &insi.Verification{} },
		"ambiguous": func(c *insi.Config) {
			c.Verification = insi.GuessedVerification()
			c.Verification.Disagree = c.Verification.Agree
		},
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			w := newWorld(t, nil)
			change(&w.config)
			if _, err := insi.New(w.config); code(err) != insi.FaultConfig {
				t.Fatal(err)
			}
		})
	}
}

func TestOrganisation(t *testing.T) {
	subject := func(cn, ou string) *x509.Certificate {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
		if ou != "" {
			c.Subject.OrganizationalUnit = []string{ou}
		}
		return c
	}
	for _, c := range []struct {
		name    string
		cert    *x509.Certificate
		emitter string
		human   bool
		want    string
		sender  string
	}{
		{"ok/auto", subject("INSI-AUTO", "1990000010"), "", false, "", "1990000010"},
		{"ok/auto-for-a-person", subject("INSI-AUTO", "1990000010"), "", true, "", "1990000010"},
		{"ok/manu", subject("INSI-MANU", "1990000010"), "x", true, "", "1990000010"},
		{"ok/emitter-configured", subject("INSI-AUTO", ""), "1990000036", false, "", "1990000036"},
		{"fail/manu-for-a-machine", subject("INSI-MANU", "1990000010"), "", false, insi.FaultActor, ""},
		{"fail/no-ou", subject("INSI-AUTO", ""), "", false, insi.FaultCertificate, ""},
		{"fail/cn", subject("INSI-AUTO ", "1990000010"), "", false, insi.FaultCertificate, ""},
		{"fail/case", subject("insi-auto", "1990000010"), "", false, insi.FaultCertificate, ""},
		{"fail/none", nil, "x", false, insi.FaultCertificate, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := insi.NewOrganisation(c.cert, c.emitter)
			var cred insi.Credential
			if err == nil {
				cred, err = o.Authenticate(context.Background(), insi.Caller{Actor: insi.Actor{Actor: ins.Actor{ID: "x", Human: c.human}}})
			}
			if code(err) != c.want || cred.Emitter != c.sender || cred.Assertion != nil {
				t.Fatalf("%+v %v", cred, err)
			}
		})
	}
}

// authenticators of a person, by what they put into a call.
func TestPersons(t *testing.T) {
	doctor := who()
	doctor.Name, doctor.Specialty, doctor.Billing = `DELMAS "Paul" & Co`, "01", "991234567"
	token := func(_ context.Context, a insi.Actor, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer jeton-de-"+a.ID)
		return nil
	}
	for _, c := range []struct {
		name  string
		auth  insi.Authenticator
		actor insi.Actor
		want  string
		sends []string
	}{
		{"ok/cpx", insi.CPx{Sign: func(_ context.Context, a []byte) ([]byte, error) {
			return []byte(strings.Replace(string(a), "<saml:Subject>", `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><saml:Subject>`, 1)), nil
		}}, doctor, "", []string{`NameQualifier="CPS"`, `Name="codeSpecialite"`, "<ds:Signature", ">991234567<", "DELMAS &#34;Paul&#34; &amp; Co", "<wsse:Security"}},
		{"ok/psc", insi.PSC{Carry: token}, who(), "", []string{`NameQualifier="PSC"`, `Name="identifiantFacturation"`, ">990000028<"}},
		{"fail/psc-unconfirmed", insi.PSC{}, who(), insi.FaultUnconfirmed, nil},
		{"fail/psc-session-over", insi.PSC{Carry: func(context.Context, insi.Actor, *http.Request) error { return errors.New("expired") }}, who(), insi.FaultCredential, nil},
		{"fail/cpx-without-a-card", insi.CPx{}, who(), insi.FaultConfig, nil},
		{"fail/cpx-card-removed", insi.CPx{Sign: func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no card") }}, who(), insi.FaultCredential, nil},
		{"fail/cpx-signs-something-else", insi.CPx{Sign: func(context.Context, []byte) ([]byte, error) {
			return []byte("</wsse:Security><a/>"), nil
		}}, who(), insi.FaultCredential, nil},
		{"fail/cpx-declaration", insi.CPx{Sign: func(_ context.Context, a []byte) ([]byte, error) {
			return append([]byte("<?xml version='1.0'?>"), a...), nil
		}}, who(), insi.FaultCredential, nil},
		{"fail/machine", insi.PSC{Carry: token}, insi.Actor{Actor: ins.Actor{ID: "batch"}, FINESSGeo: "990000028"}, insi.FaultActor, nil},
		{"fail/control-character", insi.PSC{Carry: token}, insi.Actor{Actor: ins.Actor{ID: "8\x01", Human: true}, FINESSGeo: "990000028"}, insi.FaultQuestion, nil},
		{"fail/foreign", foreign{}, who(), insi.FaultCredential, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, always(200, result("00", person)))
			w := newWorld(t, s)
			w.config.Auth = c.auth
			_, err := w.client(t).Search(context.Background(), c.actor, query())
			if code(err) != c.want {
				t.Fatal(err)
			}
			if (len(s.seen()) == 1) != (c.want == "") {
				t.Fatalf("%d calls", len(s.seen()))
			}
			for _, want := range c.sends {
				if !strings.Contains(s.seen()[0], want) {
					t.Errorf("%s is not in the request", want)
				}
			}
			if c.name == "ok/psc" && s.headers[0].Get("Authorization") != "Bearer jeton-de-810000000010" {
				t.Error("no token")
			}
			quiet(t, w.log.String())
		})
	}
}

type foreign struct{}

func (foreign) Authenticate(context.Context, insi.Caller) (insi.Credential, error) {
	return insi.Credential{}, errors.New("no")
}

func TestConnection(t *testing.T) {
	t.Run("ok/mutual-tls", func(t *testing.T) {
		s := serve(t, always(200, result("00", person)))
		s.TLS.ClientAuth = tls.RequireAnyClientCert
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		w := newWorld(t, s)
		w.config.HTTP = insi.NewHTTPClient(certificate(t, insi.CNAuto), pool)
		t.Cleanup(w.config.HTTP.CloseIdleConnections)
		if _, err := w.client(t).Search(context.Background(), who(), query()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("fail/server-of-another-authority", func(t *testing.T) {
		s := serve(t, always(200, result("00", person)))
		w := newWorld(t, s)
		w.config.HTTP = insi.NewHTTPClient(certificate(t, insi.CNAuto), x509.NewCertPool())
		_, err := w.client(t).Search(context.Background(), who(), query())
		if code(err) != insi.FaultServer || len(s.seen()) != 0 {
			t.Fatal(err)
		}
	})
	t.Run("fail/redirected-elsewhere", func(t *testing.T) {
		other := serve(t, always(200, result("00", person)))
		s := serve(t, always(200, ""))
		s.Config.Handler = http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)
		w := newWorld(t, s)
		if _, err := w.client(t).Search(context.Background(), who(), query()); code(err) != insi.FaultAnswer || len(other.seen()) != 0 {
			t.Fatalf("%v, %d requests elsewhere", err, len(other.seen()))
		}
	})
	t.Run("fail/too-slow", func(t *testing.T) {
		release := make(chan struct{})
		s := serve(t, func(int, string) reply { <-release; return reply{200, ""} })
		w := newWorld(t, s)
		w.config.Timeout = 50 * time.Millisecond
		_, err := w.client(t).Search(context.Background(), who(), query())
		close(release)
		if code(err) != insi.FaultTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
	t.Run("fail/caller-gave-up", func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		s := serve(t, func(int, string) reply { cancel(); <-release; return reply{200, ""} })
		w := newWorld(t, s)
		_, err := w.client(t).Search(ctx, who(), query())
		close(release)
		if code(err) != insi.FaultInterrupted || len(w.traces.list) != 1 {
			t.Fatalf("%v, %d traces", err, len(w.traces.list))
		}
	})
	t.Run("fail/nobody-listens", func(t *testing.T) {
		w := newWorld(t, nil)
		if _, err := w.client(t).Search(context.Background(), who(), query()); code(err) != insi.FaultUnreachable {
			t.Fatal(err)
		}
	})
	t.Run("fail/no-randomness", func(t *testing.T) {
		w := newWorld(t, nil)
		w.config.Rand = strings.NewReader("")
		if _, err := w.client(t).Search(context.Background(), who(), query()); code(err) != insi.FaultConfig {
			t.Fatal(err)
		}
	})
}

// TestReferenceINSiRequests has the schemas of the service judge what we send.
func TestReferenceINSiRequests(t *testing.T) {
	data := os.Getenv("PASSERELLE_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	data, err := filepath.Abs(data)
	if err != nil {
		t.Fatal(err)
	}
	xsd := filepath.Join(data, "insi", "xsd")
	if _, err := os.Stat(xsd); err != nil {
		t.Skip("no reference data: set PASSERELLE_DATA")
	}
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed")
	}
	s := serve(t, always(200, result("00", person)))
	w := newWorld(t, s)
	doctor := who()
	doctor.Specialty = "01"
	w.config.Auth = insi.PSC{Carry: func(context.Context, insi.Actor, *http.Request) error { return nil }}
	c := w.client(t)
	if _, err := c.Search(context.Background(), doctor, query()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SearchVitale(context.Background(), doctor, "", vitale()); err != nil {
		t.Fatal(err)
	}
	v := vitale()
	v.Beneficiary, v.CertifiedOn, v.BirthName, v.Holder, v.Regime = insi.Number{}, "", "", "", ""
	if _, err := c.SearchVitale(context.Background(), doctor, "", v); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]string{"ContexteBAM": "CTX/ROOT_ctxbam_CTXBAM_V01_02.xsd", "ContexteLPS": "CTX/ROOT_ctxlps_CTXLPS_V01_00.xsd",
		"Security": "WSSE/Security.xsd", "RECSANSVITALE": "ServiceIdentiteCertifiee/INSi_RECSANS_INS.xsd", "RECVITALE": "ServiceIdentiteCertifiee/INSi_RECVITALE_INS.xsd"}
	judged := 0
	for _, request := range s.seen() {
		doc, err := xmlquery.Parse(strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		for name, schema := range schemas {
			for _, n := range xmlquery.Find(doc, "//*[local-name()='"+name+"']") {
				cmd := exec.Command(xmllint, "--nonet", "--noout", "--schema", filepath.Join(xsd, schema), "-")
				cmd.Stdin = strings.NewReader(n.OutputXML(true))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s", name, out)
				}
				judged++
			}
		}
	}
	t.Logf("reference: insi: %d judged / %d expected", judged, 3*4)
	if judged != 3*4 {
		t.Error("something was not judged")
	}
}
