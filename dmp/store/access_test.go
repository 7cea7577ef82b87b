package store_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/dmp/store"
)

// TestCallers makes one thing wrong at a time in who is asking.
func TestCallers(t *testing.T) {
	w := newWorld(t)
	direct := map[string]any{"mode": "direct", "SubjectNameID": physician}
	with := func(change map[string]any) string {
		all := map[string]any{}
		for k, v := range direct {
			all[k] = v
		}
		for k, v := range change {
			all[k] = v
		}
		return w.sign(w.doctor, all)
	}
	at := func(d time.Duration) int64 { return w.clock.Now().Add(d).Unix() }
	claims := map[string]any{"iss": issuerName, "aud": "dmp", "exp": at(time.Hour), "mode": "direct", "SubjectNameID": physician,
		"cnf": map[string]string{"x5t#S256": thumbprint(w.doctor.Certificate[0])}}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	good := with(nil)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + "."
	tampered := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuerName+`"}`)) + "." + parts[2]

	for _, c := range []struct {
		name   string
		cert   tls.Certificate
		token  string
		status int
		code   string
	}{
		{"ok/good", w.doctor, good, 200, ""},
		{"ok/several audiences", w.doctor, with(map[string]any{"aud": []string{"gateway", "dmp"}}), 200, ""},
		{"ok/expired within the leeway", w.doctor, with(map[string]any{"exp": at(-20 * time.Second)}), 200, ""},
		{"fail/no certificate", tls.Certificate{}, good, 401, "STORE-NO-CERTIFICATE"},
		{"fail/no token", w.doctor, "", 401, "STORE-NO-TOKEN"},
		{"fail/garbage", w.doctor, "garbage", 401, "STORE-TOKEN"},
		{"fail/huge", w.doctor, strings.Repeat("a", 20<<10), 401, "STORE-TOKEN"},
		{"fail/alg none", w.doctor, none, 401, "STORE-TOKEN"},
		{"fail/HS256", w.doctor, w.signWith(jose.HS256, bytes.Repeat([]byte("k"), 32), "k1", claims), 401, "STORE-TOKEN"},
		{"fail/ES384 key", w.doctor, w.signWith(jose.RS256, rsaKey, "k1", claims), 401, "STORE-TOKEN"},
		{"fail/another key under the same kid", w.doctor, w.signWith(jose.ES256, newKey(t), "k1", claims), 401, "STORE-TOKEN"},
		{"fail/kid unknown", w.doctor, w.signWith(jose.ES256, w.signKey, "k2", claims), 401, "STORE-TOKEN"},
		{"fail/tampered", w.doctor, tampered, 401, "STORE-TOKEN"},
		{"fail/expired", w.doctor, with(map[string]any{"exp": at(-time.Minute)}), 401, "STORE-TOKEN-EXPIRED"},
		{"fail/not yet", w.doctor, with(map[string]any{"nbf": at(time.Minute)}), 401, "STORE-TOKEN-EXPIRED"},
		{"fail/no expiry", w.doctor, with(map[string]any{"exp": nil}), 401, "STORE-TOKEN"},
		{"fail/another issuer", w.doctor, with(map[string]any{"iss": "https://evil.example"}), 401, "STORE-TOKEN"},
		{"fail/another audience", w.doctor, with(map[string]any{"aud": "gateway"}), 401, "STORE-TOKEN"},
		{"fail/no audience", w.doctor, with(map[string]any{"aud": nil}), 401, "STORE-TOKEN"},
		{"fail/bound to nothing", w.doctor, with(map[string]any{"cnf": nil}), 401, "STORE-TOKEN-BINDING"},
		{"fail/bound to another certificate", w.gateway, good, 401, "STORE-TOKEN-BINDING"},
		{"fail/no mode", w.doctor, with(map[string]any{"mode": nil}), 401, "STORE-TOKEN"},
		{"fail/direct without a person", w.doctor, with(map[string]any{"SubjectNameID": nil}), 401, "STORE-TOKEN"},
		{"fail/indirect without structure", w.doctor, with(map[string]any{"mode": "indirecte", "sender": physician}), 401, "STORE-TOKEN"},
		{"fail/expired authorisation", w.doctor, with(map[string]any{"SubjectNameID": otherPhys}), 403, "STORE-NO-AUTHORISATION"},
		{"fail/no authorisation", w.doctor, with(map[string]any{"SubjectNameID": "899700000041"}), 403, "STORE-NO-AUTHORISATION"},
		{"fail/blocked", w.doctor, with(map[string]any{"SubjectNameID": blocked}), 403, "STORE-BLOCKED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.call(c.cert, c.token, "POST", "/DocumentReference/_search", []byte(of(patientOpen)), header{"Content-Type": "application/x-www-form-urlencoded"})
			if c.code == "" {
				a.bundle(t)
				return
			}
			a.refused(t, c.status, c.code)
			if challenge := a.header.Get("WWW-Authenticate"); (c.status == 401) != strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if c.token != "" && bytes.Contains(a.body, []byte(c.token)) {
				t.Error("the token comes back")
			}
		})
	}
	t.Run("ok/a new key of the issuer is found", func(t *testing.T) {
		w.signKey = newKey(t)
		w.search(w.professional(physician), "DocumentReference", of(patientOpen)).refused(t, 401, "STORE-TOKEN")
		w.clock.Move(11 * time.Minute)
		w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t)
	})
}

func TestIssuerDown(t *testing.T) {
	w := newWorld(t)
	tok := w.professional(physician)
	w.auth.Close()
	w.search(tok, "DocumentReference", of(patientOpen)).refused(t, 503, "STORE-ISSUER-DOWN")
}

// TestIssuerGoesDown keeps serving with the keys that are known.
func TestIssuerGoesDown(t *testing.T) {
	w := newWorld(t)
	w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t)
	w.auth.Close()
	w.clock.Move(20 * time.Minute)
	w.search(w.professional(physician), "DocumentReference", of(patientOpen)).bundle(t)
}

// TestModes says what each mode may not do.
func TestModes(t *testing.T) {
	w := newWorld(t)
	lot := build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x")))
	w.post(w.structure(finess), lot).bundle(t)
	held := w.held()["1.2.250.1.999.1.1"]
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	for _, c := range []struct{ name, method, path, body string }{
		{"fail/search without identifier", "POST", "/DocumentReference/_search", of(patientOpen)},
		{"fail/search of two identifiers", "POST", "/DocumentReference/_search", of(patientOpen) + "&identifier=a,b"},
		{"fail/read", "GET", "/DocumentReference/" + held.ID, ""},
		{"fail/binary", "GET", "/Binary/" + held.ID, ""},
		{"fail/lists", "POST", "/List/_search", of(patientOpen)},
		{"fail/list", "GET", "/List/" + held.ID, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.call(w.gateway, w.structure(finess), c.method, c.path, []byte(c.body), form).refused(t, 403, "STORE-MODE")
		})
	}
	t.Run("fail/a professional deposits", func(t *testing.T) {
		w.call(w.doctor, w.professional(physician), "POST", "/", lot, header{"Content-Type": fhir.MediaType}).refused(t, 403, "STORE-MODE")
	})
	t.Run("ok/one uniqueId, minimal answer", func(t *testing.T) {
		a := w.call(w.gateway, w.structure(finess), "POST", "/DocumentReference/_search",
			[]byte(of(patientOpen)+"&identifier=urn%3Aietf%3Arfc%3A3986%7Curn%3Aoid%3A1.2.250.1.999.1.1"), form)
		b := a.bundle(t)
		if *b.Total != 1 || !bytes.Contains(a.body, []byte("SUBSETTED")) || bytes.Contains(a.body, []byte("biologie")) || bytes.Contains(a.body, []byte("MARTIN")) {
			t.Errorf("%s", a.body)
		}
	})
}

// TestMasked hides a document and its lot from all but its author and its
// structure, by every way in.
func TestMasked(t *testing.T) {
	w := newWorld(t)
	hidden := someDocument("1.2.250.1.999.1.1", "masqué")
	hidden.Metadata.Visibility = []dmp.Visibility{dmp.HiddenFromProfessionals}
	hidden.Metadata.Patient = patientTwo
	shown := someDocument("1.2.250.1.999.1.2", "visible")
	w.post(w.structure(finess), build(t, forPatient(someDeposit("1.2.250.1.999.2.1", hidden), patientTwo))).bundle(t)
	w.post(w.structure(finess), build(t, forPatient(someDeposit("1.2.250.1.999.2.2", shown), patientTwo))).bundle(t)

	author, other := w.professional(physician), w.professional(otherPhys)
	b := w.search(author, "DocumentReference", of(patientTwo)).bundle(t)
	if *b.Total != 2 {
		t.Fatalf("the author sees %d", *b.Total)
	}
	var id, list string
	for _, e := range b.Entry {
		n, err := fhir.Parse(e.Resource)
		must(t, err)
		if bytes.Contains(e.Resource, []byte("MASQUE_PS")) {
			id = n.Get("id").Text()
		}
	}
	for _, e := range w.search(author, "List", of(patientTwo)).bundle(t).Entry {
		n, err := fhir.Parse(e.Resource)
		must(t, err)
		if bytes.Contains(e.Resource, []byte(id)) {
			list = n.Get("id").Text()
		}
	}
	if a := w.search(other, "DocumentReference", of(patientTwo)); *a.bundle(t).Total != 1 || bytes.Contains(a.body, []byte(id)) {
		t.Errorf("%s", a.body)
	}
	if a := w.search(other, "List", of(patientTwo)); *a.bundle(t).Total != 1 || bytes.Contains(a.body, []byte(id)) {
		t.Errorf("%s", a.body)
	}
	w.search(other, "DocumentReference", of(patientTwo)+"&_id="+id).bundle(t)
	for _, path := range []string{"/DocumentReference/" + id, "/Binary/" + id, "/List/" + list} {
		w.get(other, path, nil).refused(t, 404, "STORE-NOT-FOUND")
		if a := w.get(author, path, nil); a.status != 200 {
			t.Errorf("%s: HTTP %d to the author", path, a.status)
		}
	}
	td31b := of(patientTwo) + "&identifier=urn%3Aietf%3Arfc%3A3986%7Curn%3Aoid%3A1.2.250.1.999.1.1"
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	for site, want := range map[string]int{finess: 1, otherSite: 0} {
		if b := w.call(w.gateway, w.structure(site), "POST", "/DocumentReference/_search", []byte(td31b), form).bundle(t); *b.Total != want {
			t.Errorf("%s finds %d", site, *b.Total)
		}
	}
	patch := []byte(`[{"op":"replace","path":"/status","value":"entered-in-error"}]`)
	w.call(w.gateway, w.structure(otherSite), "PATCH", "/DocumentReference/"+id, patch, header{"Content-Type": "application/json-patch+json"}).
		refused(t, 404, "STORE-NOT-FOUND")
}

// TestRoutes asks for what is not there, and in ways that are not served.
func TestRoutes(t *testing.T) {
	w := newWorld(t)
	w.limits = store.Limits{Body: 64 << 10}
	w.open()
	tok := w.professional(physician)
	long := build(t, someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", strings.Repeat("x", 70<<10))))
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	absent := strings.Repeat("a", 26) + "-" + strings.Repeat("b", 26)
	for _, c := range []struct {
		name, method, path, body string
		h                        header
		status                   int
		code                     string
	}{
		{"fail/other resource", "GET", "/Observation", "", nil, 404, "STORE-NO-ROUTE"},
		{"fail/id that cannot be", "GET", "/Binary/a%2Fb", "", nil, 404, "STORE-NO-ROUTE"},
		{"fail/delete", "DELETE", "/DocumentReference/a", "", nil, 405, "STORE-METHOD"},
		{"fail/put", "PUT", "/DocumentReference/a", "", nil, 405, "STORE-METHOD"},
		{"fail/unknown document", "GET", "/DocumentReference/" + absent, "", nil, 404, "STORE-NOT-FOUND"},
		{"fail/unknown shape of id", "GET", "/Binary/1", "", nil, 404, "STORE-NOT-FOUND"},
		{"fail/unknown patient", "GET", "/Patient/" + absent, "", nil, 404, "STORE-NOT-FOUND"},
		{"fail/XML only", "GET", "/DocumentReference?" + of(patientOpen), "", header{"Accept": "application/fhir+xml"}, 406, "STORE-ACCEPT"},
		{"fail/_format", "GET", "/DocumentReference?_format=xml&" + of(patientOpen), "", nil, 406, "STORE-ACCEPT"},
		{"fail/form as JSON", "POST", "/DocumentReference/_search", "{}", header{"Content-Type": "application/json"}, 415, "STORE-MEDIA-TYPE"},
		{"fail/no patient", "POST", "/DocumentReference/_search", "status=current", form, 400, "STORE-NO-PATIENT"},
		{"fail/no patient for a list", "GET", "/List", "", nil, 400, "STORE-NO-PATIENT"},
		{"fail/patient without system", "GET", "/DocumentReference?patient.identifier=1", "", nil, 400, "STORE-SEARCH"},
		{"fail/two patients", "GET", "/DocumentReference?" + of(patientOpen) + "&" + of(patientTwo), "", nil, 400, "STORE-SEARCH"},
		{"fail/bad query", "GET", "/DocumentReference?%zz", "", nil, 400, "STORE-SEARCH"},
		{"fail/unknown parameter, strict", "GET", "/DocumentReference?colour=red&" + of(patientOpen), "", header{"Prefer": "handling=strict"}, 400, "STORE-SEARCH-PARAM"},
		{"ok/unknown parameter, lenient", "GET", "/DocumentReference?colour=red&" + of(patientOpen), "", nil, 200, ""},
		{"ok/known result parameters, strict", "GET", "/DocumentReference?_count=5&_format=json&" + of(patientOpen), "", header{"Prefer": "handling=strict"}, 200, ""},
		{"fail/bad count", "GET", "/DocumentReference?_count=-1&" + of(patientOpen), "", nil, 400, "STORE-SEARCH"},
		{"fail/forged cursor", "GET", "/DocumentReference?_cursor=AAAA", "", nil, 400, "STORE-SEARCH"},
		{"fail/no DMP", "GET", "/DocumentReference?" + of(patientNone), "", nil, 404, "STORE-NO-DMP"},
		{"fail/closed DMP", "GET", "/DocumentReference?" + of(patientClosed), "", nil, 422, "STORE-DMP-CLOSED"},
		{"ok/metadata asks for nobody", "GET", "/metadata", "", nil, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.call(w.doctor, tok, c.method, c.path, []byte(c.body), c.h)
			if c.code == "" {
				if a.status != c.status {
					t.Errorf("HTTP %d %s", a.status, a.body)
				}
				return
			}
			a.refused(t, c.status, c.code)
		})
	}
	t.Run("fail/too large", func(t *testing.T) { w.post(w.structure(finess), long).refused(t, 413, "STORE-TOO-LARGE") })
	t.Run("fail/too large, length unsaid", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/fhir", struct{ *bytes.Reader }{bytes.NewReader(long)})
		must(t, err)
		req.ContentLength = -1
		req.Header.Set("Authorization", "Bearer "+w.structure(finess))
		req.Header.Set("Content-Type", fhir.MediaType)
		resp, err := w.client(w.gateway).Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("HTTP %d", resp.StatusCode)
		}
	})
	t.Run("ok/metadata without certificate or token", func(t *testing.T) {
		a := w.call(tls.Certificate{}, "", "GET", "/metadata", nil, nil)
		for _, want := range []string{`"CapabilityStatement"`, "PDSm-GestionnaireDePartageDeDocuments", `"patient.identifier"`, `"transaction"`} {
			if !bytes.Contains(a.body, []byte(want)) {
				t.Errorf("no %s in %s", want, a.body)
			}
		}
	})
	t.Run("fail/without TLS", func(t *testing.T) {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/fhir/DocumentReference", nil)
		req.Header.Set("Authorization", "Bearer "+tok)
		w.store.ServeHTTP(rec, req)
		answer{rec.Code, rec.Header(), rec.Body.Bytes()}.refused(t, 401, "STORE-NO-CERTIFICATE")
	})
}
