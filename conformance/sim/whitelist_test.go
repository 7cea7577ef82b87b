package sim

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

// listFile is the white list as a reader of the public file sees it.
type listFile struct {
	XMLName   xml.Name  `xml:"https://listeblanche.mssante.fr/schema ListeBlancheMSSante"`
	Generated time.Time `xml:"DateDeGeneration"`
	Domains   []struct {
		Name string `xml:"Nom"`
		DN   string `xml:"DNCertificatOperateur"`
	} `xml:"ListeDomaines>Domaine"`
}

func (l listFile) has(domain string) bool {
	return slices.ContainsFunc(l.Domains, func(d struct {
		Name string `xml:"Nom"`
		DN   string `xml:"DNCertificatOperateur"`
	}) bool {
		return d.Name == domain
	})
}

func TestWhitelist(t *testing.T) {
	s := start(t)
	c := client(t, s, "", "")
	read := func() (listFile, answered, error) {
		a := do(t, c, http.MethodGet, s.Info().Operator.Whitelist, "", "")
		var l listFile
		return l, a, xml.Unmarshal(a.body, &l)
	}
	set := func(body string) { control(t, s, http.MethodPut, "/operator/whitelist", body, http.StatusOK) }

	l, a, err := read()
	if err != nil || a.status != http.StatusOK || !l.Generated.Equal(noon) {
		t.Fatalf("%v %d %s", err, a.status, a.body)
	}
	for _, d := range []string{"bac-a-sable.mssante.fr", "test-ci-sis.mssante.fr", "patient.mssante.fr", "partenaire.mssante.fr"} {
		if !l.has(d) {
			t.Errorf("no %s", d)
		}
	}
	block, _ := pem.Decode(must[[]byte](t)(os.ReadFile(strings.TrimSuffix(s.Info().TLS.CA, "ca.pem") + "operator-server.pem")))
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(block.Bytes))
	if at := slices.IndexFunc(l.Domains, func(d struct {
		Name string `xml:"Nom"`
		DN   string `xml:"DNCertificatOperateur"`
	}) bool {
		return d.Name == "bac-a-sable.mssante.fr"
	}); l.Domains[at].DN != cert.Subject.String() {
		t.Errorf("DN %q, certificate %q", l.Domains[at].DN, cert.Subject)
	}
	t.Run("ok/unchanged", func(t *testing.T) {
		req := must[*http.Request](t)(http.NewRequest(http.MethodGet, s.Info().Operator.Whitelist, nil))
		req.Header.Set("If-None-Match", a.header.Get("ETag"))
		res := must[*http.Response](t)(c.Do(req))
		res.Body.Close()
		if res.StatusCode != http.StatusNotModified {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("ok/a domain leaves and another comes", func(t *testing.T) {
		set(`{"add":["Nouveau.mssante.fr"],"remove":["partenaire.mssante.fr"]}`)
		l, _, err := read()
		if err != nil || l.has("partenaire.mssante.fr") || !l.has("nouveau.mssante.fr") {
			t.Errorf("%v %+v", err, l)
		}
		each, err := submit(t, s, submission{raw: outgoing("wl@x.fr"), to: []string{"a@partenaire.mssante.fr", "a@nouveau.mssante.fr"}})
		wantReply(t, each[0], "550 5.7.1")
		wantReply(t, each[1], "<nil>")
		wantReply(t, err, "<nil>")
	})
	for mode, check := range map[string]func(l listFile, a answered, err error) bool{
		listTruncated: func(_ listFile, _ answered, err error) bool { return err != nil },
		listEmpty:     func(l listFile, _ answered, err error) bool { return err == nil && len(l.Domains) == 0 },
		listOld: func(l listFile, _ answered, err error) bool {
			return err == nil && l.Generated.Before(noon.AddDate(0, 0, -9))
		},
		listFuture: func(l listFile, _ answered, err error) bool {
			return err == nil && l.Generated.After(noon.AddDate(0, 0, 9))
		},
		listHTML:       func(_ listFile, a answered, err error) bool { return err != nil && a.status == http.StatusOK },
		listDoctype:    func(_ listFile, a answered, _ error) bool { return bytes.Contains(a.body, []byte("<!DOCTYPE")) },
		listNotChanged: func(l listFile, _ answered, err error) bool { return err == nil && l.Generated.Equal(noon) },
	} {
		t.Run("ok/"+mode, func(t *testing.T) {
			set(`{"mode":"` + mode + `"}`)
			if mode == listNotChanged {
				s.SetOffset(48 * time.Hour)
				defer s.SetOffset(0)
			}
			if l, a, err := read(); !check(l, a, err) {
				t.Errorf("%v %s", err, a.body)
			}
		})
	}
	for name, body := range map[string]string{"fail/mode": `{"mode":"salade"}`, "fail/domain": `{"add":["pas un domaine"]}`, "fail/misspelt": `{"ad":[]}`} {
		t.Run(name, func(t *testing.T) { control(t, s, http.MethodPut, "/operator/whitelist", body, http.StatusBadRequest) })
	}
	control(t, s, http.MethodDelete, "/operator/whitelist", "", http.StatusOK)
	control(t, s, http.MethodPut, "/directory/faults", `{"mode":"refuse","status":503,"path":"/liste"}`, http.StatusOK)
	if _, a, _ := read(); a.status != http.StatusServiceUnavailable {
		t.Errorf("%d", a.status)
	}
}

func TestRevocations(t *testing.T) {
	s := start(t)
	info := s.Info()
	block, _ := pem.Decode(must[[]byte](t)(os.ReadFile(info.TLS.CA)))
	ca := must[*x509.Certificate](t)(x509.ParseCertificate(block.Bytes))
	config := balApp(t, s)
	var seen *x509.Certificate
	config.VerifyConnection = func(c tls.ConnectionState) error { seen = c.PeerCertificates[0]; return nil }
	mustSubmit(t, s, submission{tls: config, raw: outgoing("crl@x.fr")})
	if !slices.Equal(seen.CRLDistributionPoints, []string{info.Operator.CRL}) {
		t.Fatalf("distribution points %v", seen.CRLDistributionPoints)
	}
	read := func() *x509.RevocationList {
		t.Helper()
		list := must[*x509.RevocationList](t)(x509.ParseRevocationList(do(t, http.DefaultClient, http.MethodGet, info.Operator.CRL, "", "").body))
		if err := list.CheckSignatureFrom(ca); err != nil {
			t.Error(err)
		}
		return list
	}
	first := read()
	if len(first.RevokedCertificateEntries) != 0 || !first.NextUpdate.After(noon) {
		t.Errorf("%+v", first)
	}
	control(t, s, http.MethodPut, "/operator/crl", `{"roles":["operator-server"],"stale":true}`, http.StatusOK)
	second := read()
	if len(second.RevokedCertificateEntries) != 1 || second.RevokedCertificateEntries[0].SerialNumber.Cmp(seen.SerialNumber) != 0 ||
		!second.NextUpdate.Before(noon) || second.Number.Cmp(first.Number) <= 0 {
		t.Errorf("%+v", second)
	}
	control(t, s, http.MethodPut, "/operator/crl", `{"down":true}`, http.StatusOK)
	if a := do(t, http.DefaultClient, http.MethodGet, info.Operator.CRL, "", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("%d", a.status)
	}
	control(t, s, http.MethodPut, "/operator/crl", `{"roles":["salade"]}`, http.StatusBadRequest)
	control(t, s, http.MethodDelete, "/operator/crl", "", http.StatusOK)
	if got := read(); len(got.RevokedCertificateEntries) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestDirectory(t *testing.T) {
	s := start(t)
	c := client(t, s, "", "")
	ask := func(t *testing.T, method, path, form, key string) answered {
		t.Helper()
		req := must[*http.Request](t)(http.NewRequest(method, s.Info().Directory.FHIR+path, strings.NewReader(form)))
		req.Header.Set("ESANTE-API-KEY", key)
		if form != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res := must[*http.Response](t)(c.Do(req))
		defer res.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		return answered{res.StatusCode, res.Header, b.Bytes()}
	}
	key := s.Info().Directory.APIKey
	n := len(testdata.Personas())
	for name, tc := range map[string]struct {
		method, path, form, key string
		status, total           int
		holds                   string
	}{
		"ok/who has one":            {"GET", "/Practitioner?mailbox-mss:contains=%40", "", key, 200, n, ""},
		"ok/exact":                  {"GET", "/Practitioner?mailbox-mss:exact=" + colleague, "", key, 200, 1, `"MSSANTE"`},
		"ok/of a domain":            {"GET", "/PractitionerRole?mailbox-mss:contains=@test-ci-sis.mssante.fr", "", key, 200, n, ""},
		"ok/by form":                {"POST", "/Practitioner/_search", "mailbox-mss:exact=" + colleague, key, 200, 1, "DELMAS"},
		"ok/by number":              {"GET", "/Practitioner?identifier=urn:oid:1.2.250.1.71.4.2.1%7C819990000010", "", key, 200, 1, colleague},
		"ok/by name":                {"GET", "/Practitioner?family=delm", "", key, 200, 1, colleague},
		"ok/organisations":          {"GET", "/Organization?mailbox-mss:contains=%40", "", key, 200, 2, `"APP"`},
		"ok/liste rouge unseen":     {"GET", "/Organization?name:contains=liste+rouge", "", key, 200, 1, "LISTE ROUGE"},
		"ok/nobody":                 {"GET", "/Practitioner?mailbox-mss:exact=x@y.fr", "", key, 200, 0, ""},
		"ok/page":                   {"GET", "/Practitioner?_count=2&active=true", "", key, 200, n, "_page_token=2"},
		"ok/last page":              {"GET", "/Practitioner?_count=2&_page_token=4", "", key, 200, n, "LEDUC"},
		"ok/read":                   {"GET", "/Practitioner/819990000010", "", key, 200, -1, "DELMAS"},
		"ok/metadata":               {"GET", "/metadata", "", key, 200, -1, "CapabilityStatement"},
		"fail/no key":               {"GET", "/Practitioner", "", "", 401, -1, "OperationOutcome"},
		"fail/wrong key":            {"GET", "/Practitioner", "", "x", 401, -1, "OperationOutcome"},
		"fail/mailbox type":         {"GET", "/Practitioner?mailbox-mss-type=PER&family=zzz", "", key, 400, -1, "OperationOutcome"},
		"fail/type of resource":     {"GET", "/Device", "", key, 404, -1, "OperationOutcome"},
		"fail/unknown":              {"GET", "/Practitioner/1", "", key, 404, -1, "OperationOutcome"},
		"fail/batch":                {"POST", "/", "{}", key, 404, -1, "OperationOutcome"},
		"fail/write":                {"PUT", "/Practitioner/819990000010", "", key, 405, -1, "OperationOutcome"},
		"fail/count":                {"GET", "/Practitioner?_count=x", "", key, 400, -1, "OperationOutcome"},
		"fail/page that is unknown": {"GET", "/Practitioner?_page_token=x", "", key, 400, -1, "OperationOutcome"},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(t, tc.method, tc.path, tc.form, tc.key)
			if a.status != tc.status || !strings.Contains(string(a.body), tc.holds) {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if tc.total >= 0 && a.json(t)["total"] != float64(tc.total) {
				t.Errorf("total %v, want %d", a.json(t)["total"], tc.total)
			}
			if strings.Contains(string(a.body), "confidentiel@") {
				t.Error("a mailbox of the liste rouge is shown")
			}
		})
	}
	control(t, s, http.MethodPut, "/directory/faults", `{"mode":"refuse","status":429,"path":"/fhir/v2/Practitioner","count":1}`, http.StatusOK)
	if a := ask(t, "GET", "/Practitioner", "", key); a.status != http.StatusTooManyRequests {
		t.Errorf("%d", a.status)
	}
	if a := ask(t, "GET", "/Practitioner", "", key); a.status != http.StatusOK {
		t.Errorf("%d", a.status)
	}
}
