package store_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

func (w *world) dmp(cert tls.Certificate, change func(*fhir.ClientConfig)) *fhir.Client {
	w.t.Helper()
	cfg := fhir.ClientConfig{BaseURL: w.server.URL + "/fhir/", TokenURL: w.auth.URL + "/token", ClientID: "passerelle",
		TLS: w.tls(cert), Clock: w.clock.Now, Timeout: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := fhir.NewClient(cfg)
	must(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// failed checks the code of an error, its kind, and that it tells no INS.
func failed(t *testing.T, err error, code, ack string) {
	t.Helper()
	var e *fhir.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.FaultCode() != code || e.AckCode() != ack {
		t.Errorf("got %s with ack %q, want %s with %q (%v)", e.FaultCode(), e.AckCode(), code, ack, err)
	}
	if _, ok := fault.Lookup(e.FaultCode()); !ok {
		t.Errorf("%s has no row", e.FaultCode())
	}
	if strings.Contains(err.Error(), patientOpen.Matricule) || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("the text tells too much: %v", err)
	}
}

// TestClient drives the client against the store.
func TestClient(t *testing.T) {
	w := newWorld(t)
	c := w.dmp(w.gateway, nil)
	ctx := t.Context()
	const x, y = "1.2.250.1.999.1.1", "1.2.250.1.999.1.2"
	doc := someDocument(x, "x")
	deposit := someDeposit("1.2.250.1.999.2.1", doc)

	t.Run("ok/unknown document", func(t *testing.T) {
		held, err := c.Find(ctx, someCaller(), patientOpen, dmp.ID{Root: x})
		if held != nil || err != nil {
			t.Errorf("%+v, %v", held, err)
		}
	})
	var id string
	t.Run("ok/deposit, and again", func(t *testing.T) {
		first, err := c.Deposit(ctx, deposit)
		must(t, err)
		again, err := c.Deposit(ctx, deposit)
		must(t, err)
		if len(first.Locations) != 1 || first.Status != "201" || fmt.Sprint(first) != fmt.Sprint(again) || !strings.HasPrefix(first.Lot, "List/") {
			t.Errorf("%+v, %+v", first, again)
		}
		id = strings.Split(first.Locations[0], "/")[1]
	})
	t.Run("ok/find", func(t *testing.T) {
		held, err := c.Find(ctx, someCaller(), patientOpen, dmp.ID{Root: x})
		must(t, err)
		sum := sha1.Sum(doc.Content)
		if held.ID != id || held.Status != "current" || !bytes.Equal(held.SHA1, sum[:]) || held.Size != int64(len(doc.Content)) {
			t.Errorf("%+v", held)
		}
	})
	t.Run("ok/replace", func(t *testing.T) {
		_, err := c.Deposit(ctx, someDeposit("1.2.250.1.999.2.2", replacing(y, id, x)))
		must(t, err)
		held, err := c.Find(ctx, someCaller(), patientOpen, dmp.ID{Root: x})
		must(t, err)
		if held.Status != "superseded" {
			t.Errorf("%+v", held)
		}
	})
	t.Run("fail/replace what is not the latest", func(t *testing.T) {
		_, err := c.Deposit(ctx, someDeposit("1.2.250.1.999.2.3", replacing("1.2.250.1.999.1.3", id, x)))
		failed(t, err, fhir.FaultNotLatest, "409")
	})
	t.Run("fail/replace the unknown", func(t *testing.T) {
		_, err := c.Deposit(ctx, someDeposit("1.2.250.1.999.2.4", replacing("1.2.250.1.999.1.4", "nowhere", "1.2.3")))
		failed(t, err, fhir.FaultUnknown, "422")
	})
	t.Run("ok/delete, and again", func(t *testing.T) {
		held, err := c.Find(ctx, someCaller(), patientOpen, dmp.ID{Root: y})
		must(t, err)
		for range 2 {
			must(t, c.Delete(ctx, someCaller(), patientOpen, held.ID))
		}
		held, err = c.Find(ctx, someCaller(), patientOpen, dmp.ID{Root: y})
		if held != nil || err != nil {
			t.Errorf("%+v, %v", held, err)
		}
	})
	t.Run("fail/delete the unknown", func(t *testing.T) {
		failed(t, c.Delete(ctx, someCaller(), patientOpen, "nowhere"), fhir.FaultUnknown, "404")
	})
	t.Run("fail/delete for another structure", func(t *testing.T) {
		other := someCaller()
		other.Establishment.FINESSGeo = otherSite
		failed(t, c.Delete(ctx, other, patientOpen, id), fhir.FaultForbidden, "403")
	})
	t.Run("fail/duplicate", func(t *testing.T) {
		_, err := c.Deposit(ctx, someDeposit("1.2.250.1.999.2.5", someDocument(x, "x")))
		failed(t, err, fhir.FaultDuplicate, "409")
	})
	t.Run("fail/closed", func(t *testing.T) {
		_, err := c.Deposit(ctx, forPatient(someDeposit("1.2.250.1.999.2.6", someDocument("1.2.250.1.999.1.6", "x")), patientClosed))
		failed(t, err, fhir.FaultClosed, "422")
		_, err = c.Find(ctx, someCaller(), patientClosed, dmp.ID{Root: x})
		failed(t, err, fhir.FaultClosed, "422")
	})
	t.Run("fail/no DMP", func(t *testing.T) {
		_, err := c.Deposit(ctx, forPatient(someDeposit("1.2.250.1.999.2.7", someDocument("1.2.250.1.999.1.7", "x")), patientNone))
		failed(t, err, fhir.FaultNoPatient, "404")
	})
	t.Run("fail/rejected by the profile", func(t *testing.T) {
		bad := someDocument("1.2.250.1.999.1.8", "x")
		bad.Metadata.Type.Code = "00000-0"
		_, err := c.Deposit(ctx, someDeposit("1.2.250.1.999.2.8", bad))
		failed(t, err, fhir.FaultRejected, "422")
		var e *fhir.Error
		if errors.As(err, &e); e.RemoteCode() != "STORE-CODE" || e.FaultWhere() != "Bundle.entry[1].resource.type" {
			t.Errorf("%q at %q", e.RemoteCode(), e.FaultWhere())
		}
	})
	t.Run("fail/extension, before any call", func(t *testing.T) {
		before := w.granted()
		bad := someDocument("1.2.250.1.999.1.9", "x")
		bad.Metadata.UniqueID.Extension = "9"
		other := someCaller()
		other.Requester.Person.ID.Extension = otherPhys
		d := someDeposit("1.2.250.1.999.2.9", bad)
		d.Caller = other
		_, err := c.Deposit(ctx, d)
		failed(t, err, fhir.FaultIDExtension, "")
		_, err = c.Find(ctx, other, patientOpen, dmp.ID{Root: "1.2", Extension: "3"})
		failed(t, err, fhir.FaultIDExtension, "")
		if w.granted() != before {
			t.Error("a token was asked for")
		}
	})
	t.Run("fail/no certificate", func(t *testing.T) {
		_, err := w.dmp(tls.Certificate{}, nil).Deposit(ctx, deposit)
		failed(t, err, fhir.FaultTokenRefused, "401")
	})
}

func TestClientTokens(t *testing.T) {
	w := newWorld(t)
	c := w.dmp(w.gateway, nil)
	find := func(caller dmp.Caller) {
		t.Helper()
		_, err := c.Find(t.Context(), caller, patientOpen, dmp.ID{Root: "1.2.3"})
		must(t, err)
	}
	other := someCaller()
	other.Establishment.FINESSGeo = otherSite
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"ok/first", func() { find(someCaller()) }, 1},
		{"ok/cached", func() { find(someCaller()) }, 1},
		{"ok/another structure", func() { find(other) }, 2},
		{"ok/shortly before its end", func() { w.clock.Move(time.Hour - 20*time.Second); find(someCaller()) }, 3},
		{"ok/the server finds it expired sooner: one refresh", func() {
			w.mu.Lock()
			w.life = 12 * time.Hour // announced; the token itself lives one hour
			w.mu.Unlock()
			w.clock.Move(time.Hour)
			find(someCaller())
			w.clock.Move(2 * time.Hour)
			find(someCaller())
		}, 5},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			if got := w.granted(); got != step.want {
				t.Errorf("%d tokens, want %d", got, step.want)
			}
		})
	}
	t.Run("fail/token refused", func(t *testing.T) {
		no := someCaller()
		no.Establishment.FINESSGeo = "refused"
		_, err := c.Find(t.Context(), no, patientOpen, dmp.ID{Root: "1.2.3"})
		failed(t, err, fhir.FaultTokenRefused, "401")
		if f := fault.From(err); f.Kind != fault.Temporary {
			t.Error("a refused token must be temporary")
		}
	})
}

// TestLyingServer answers a deposit, a search and a deletion in every way that
// must not be believed.
func TestLyingServer(t *testing.T) {
	w := newWorld(t)
	var script atomic.Pointer[http.HandlerFunc]
	var calls atomic.Int32
	scripted := w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if strings.Contains(r.URL.String(), patientOpen.Matricule) {
			t.Error("a matricule in a URL")
		}
		io.Copy(io.Discard, r.Body)
		(*script.Load())(rw, r)
	}))
	c := w.dmp(w.gateway, func(cfg *fhir.ClientConfig) {
		cfg.BaseURL, cfg.Timeout, cfg.MaxAnswer = scripted.URL, 500*time.Millisecond, 64<<10
	})
	say := func(status int, contentType, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", contentType)
			rw.WriteHeader(status)
			io.WriteString(rw, body)
		}
	}
	json200 := func(body string) http.HandlerFunc { return say(200, fhir.MediaType, body) }
	outcome := func(status int, code string) http.HandlerFunc {
		return say(status, fhir.MediaType, `{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"x","details":{"coding":[{"code":"IGNORED"}]}},{"severity":"error","code":"processing","details":{"coding":[{"code":"`+code+`"}]},"diagnostics":"INS `+patientOpen.Matricule+`","expression":["Patient.where(id='`+patientOpen.Matricule+`')"]}]}`)
	}
	cut := func(rw http.ResponseWriter, _ *http.Request) {
		conn, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		buf.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: 5000\r\n\r\n{\"resourceType\":")
		buf.Flush()
		conn.Close()
	}
	drop := func(rw http.ResponseWriter, _ *http.Request) {
		if conn, _, err := rw.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	entry := func(kind string) string {
		return `{"response":{"status":"201 Created","location":"` + kind + `/a/_history/1"}}`
	}
	answer := func(entries ...string) string {
		return `{"resourceType":"Bundle","type":"transaction-response","entry":[` + strings.Join(entries, ",") + `]}`
	}
	found := func(resource string) string {
		return `{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"resource":` + resource + `}]}`
	}
	ref := func(id, unique, status, hash string) string {
		return `{"resourceType":"DocumentReference","id":"` + id + `","masterIdentifier":{"value":"urn:oid:` + unique + `"},"status":"` + status + `","content":[{"attachment":{"hash":"` + hash + `"}}]}`
	}
	const goodHash = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="

	deposit := func() error {
		_, err := c.Deposit(t.Context(), someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x")))
		return err
	}
	find := func() error {
		_, err := c.Find(t.Context(), someCaller(), patientOpen, dmp.ID{Root: "1.2.250.1.999.1.1"})
		return err
	}
	remove := func() error { return c.Delete(t.Context(), someCaller(), patientOpen, "a") }
	for _, s := range []struct {
		name string
		do   func() error
		say  http.HandlerFunc
		code string // empty: success
		ack  string
	}{
		{"ok/deposit", deposit, json200(answer(entry("List"), entry("DocumentReference"), entry("Binary"))), "", ""},
		{"ok/absolute location", deposit, json200(answer(entry("List"), entry("https://other.example/r4/DocumentReference"), entry("Binary"))), "", ""},
		{"fail/HTML", deposit, say(200, "text/html", "<html>"), fhir.FaultBadAnswer, "200"},
		{"fail/HTML announced as FHIR", deposit, json200("<html>"), fhir.FaultBadAnswer, "200"},
		{"fail/right body, wrong type", deposit, say(200, "text/plain", answer(entry("List"), entry("DocumentReference"), entry("Binary"))), fhir.FaultBadAnswer, "200"},
		{"fail/empty", deposit, json200(""), fhir.FaultBadAnswer, "200"},
		{"fail/OperationOutcome with 200", deposit, outcome(200, "STORE-DUPLICATE"), fhir.FaultBadAnswer, "200"},
		{"fail/searchset", deposit, json200(`{"resourceType":"Bundle","type":"searchset"}`), fhir.FaultBadAnswer, "200"},
		{"fail/one entry less", deposit, json200(answer(entry("List"), entry("DocumentReference"))), fhir.FaultBadAnswer, "200"},
		{"fail/one entry more", deposit, json200(answer(entry("List"), entry("DocumentReference"), entry("Binary"), entry("Binary"))), fhir.FaultBadAnswer, "200"},
		{"fail/entry refused", deposit, json200(answer(entry("List"), `{"response":{"status":"422"}}`, entry("Binary"))), fhir.FaultBadAnswer, "200"},
		{"fail/no location", deposit, json200(answer(entry("List"), `{"response":{"status":"201 Created"}}`, entry("Binary"))), fhir.FaultBadAnswer, "200"},
		{"fail/location of another kind", deposit, json200(answer(entry("DocumentReference"), entry("List"), entry("Binary"))), fhir.FaultBadAnswer, "200"},
		{"fail/misspelt member", deposit, json200(strings.Replace(answer(entry("List"), entry("DocumentReference"), entry("Binary")), `"location"`, `"Location"`, 1)), fhir.FaultBadAnswer, "200"},
		{"fail/truncated", deposit, json200(`{"resourceType":"Bundle","type":"transaction-resp`), fhir.FaultBadAnswer, "200"},
		{"fail/cut in the body", deposit, cut, fhir.FaultBadAnswer, "200"},
		{"fail/too large", deposit, json200(strings.Repeat(" ", 65<<10)), fhir.FaultBadAnswer, "200"},
		{"fail/redirection", deposit, func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		}, fhir.FaultBadAnswer, "307"},
		{"fail/202", deposit, say(202, fhir.MediaType, ""), fhir.FaultBadAnswer, "202"},
		{"fail/connection dropped", deposit, drop, fhir.FaultUnreachable, ""},
		{"fail/no answer", deposit, hang, fhir.FaultTimeout, ""},
		{"fail/503", deposit, say(503, "text/plain", "later"), fhir.FaultUnavailable, "503"},
		{"fail/500 with outcome", deposit, outcome(500, "X"), fhir.FaultUnavailable, "500"},
		{"fail/429", deposit, say(429, "text/plain", ""), fhir.FaultUnavailable, "429"},
		{"fail/401 twice", deposit, outcome(401, "STORE-TOKEN"), fhir.FaultTokenRefused, "401"},
		{"fail/404 of a proxy", deposit, say(404, "text/html", "<html>"), fhir.FaultBadAnswer, "404"},
		{"fail/403 of a proxy", deposit, say(403, "text/html", "<html>"), fhir.FaultBadAnswer, "403"},
		{"fail/403 of the DMP", deposit, outcome(403, "whatever"), fhir.FaultForbidden, "403"},
		{"fail/413", deposit, say(413, "text/html", ""), fhir.FaultTooLarge, "413"},
		{"fail/code of MHD", deposit, outcome(422, "XDSUnknownPatientId"), fhir.FaultNoPatient, "422"},
		{"fail/closed, spelt as in the SOAP DMP", deposit, outcome(400, "DMPClosed"), fhir.FaultClosed, "400"},
		{"fail/unknown code", deposit, outcome(422, "SOMETHING"), fhir.FaultRejected, "422"},
		{"fail/a matricule as code", deposit, outcome(422, patientOpen.Matricule), fhir.FaultRejected, "422"},
		{"ok/found", find, json200(found(ref("a", "1.2.250.1.999.1.1", "current", goodHash))), "", ""},
		{"fail/another document", find, json200(found(ref("a", "1.2.3", "current", goodHash))), fhir.FaultBadAnswer, "200"},
		{"fail/bad id", find, json200(found(ref("a/b", "1.2.250.1.999.1.1", "current", goodHash))), fhir.FaultBadAnswer, "200"},
		{"fail/bad status", find, json200(found(ref("a", "1.2.250.1.999.1.1", "draft", goodHash))), fhir.FaultBadAnswer, "200"},
		{"fail/bad hash", find, json200(found(ref("a", "1.2.250.1.999.1.1", "current", "AAAA"))), fhir.FaultBadAnswer, "200"},
		{"fail/another resource", find, json200(found(`{"resourceType":"Patient","id":"a"}`)), fhir.FaultBadAnswer, "200"},
		{"fail/patient unknown", find, outcome(404, ""), fhir.FaultNoPatient, "404"},
		{"ok/deleted", remove, json200(ref("a", "1.2.3", "entered-in-error", goodHash)), "", ""},
		{"ok/already deleted", remove, outcome(410, "STORE-DELETED"), "", ""},
		{"fail/said yes, did nothing", remove, json200(ref("a", "1.2.3", "current", goodHash)), fhir.FaultBadAnswer, "200"},
		{"fail/deleted another", remove, json200(ref("b", "1.2.3", "entered-in-error", goodHash)), fhir.FaultBadAnswer, "200"},
		{"fail/410 of a proxy", remove, say(410, "text/html", ""), fhir.FaultBadAnswer, "410"},
	} {
		t.Run(s.name, func(t *testing.T) {
			script.Store(&s.say)
			calls.Store(0)
			err := s.do()
			if s.code == "" {
				must(t, err)
				return
			}
			failed(t, err, s.code, s.ack)
			want := int32(1)
			if s.ack == "401" {
				want = 2
			}
			if got := calls.Load(); got != want && s.code != fhir.FaultUnreachable {
				t.Errorf("%d calls, want %d", got, want)
			}
		})
	}
	t.Run("fail/nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		addr := l.Addr().String()
		l.Close()
		gone := w.dmp(w.gateway, func(cfg *fhir.ClientConfig) { cfg.BaseURL = "https://" + addr })
		failed(t, gone.Delete(t.Context(), someCaller(), ins.Identity{}, "a"), fhir.FaultUnreachable, "")
	})
	t.Run("ok/warnings are kept", func(t *testing.T) {
		warn, err := json.Marshal(map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{"severity": "warning", "code": "informational",
			"details": map[string]any{"coding": []any{map[string]any{"code": "PartialFolderContentNotProcessed"}}}}}})
		must(t, err)
		say := json200(answer(strings.Replace(entry("List"), `"location"`, `"outcome":`+string(warn)+`,"location"`, 1), entry("DocumentReference"), entry("Binary")))
		script.Store(&say)
		got, err := c.Deposit(t.Context(), someDeposit("1.2.250.1.999.2.1", someDocument("1.2.250.1.999.1.1", "x")))
		must(t, err)
		if fmt.Sprint(got.Warnings) != "[PartialFolderContentNotProcessed]" {
			t.Errorf("%v", got.Warnings)
		}
	})
}

// TestBigDocument brings the largest document that a message of 24 MiB can hold.
func TestBigDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("24 MiB over TLS is long under the race detector")
	}
	w := newWorld(t)
	doc := someDocument("1.2.250.1.999.1.1", strings.Repeat("0123456789abcdef", 24<<16))
	_, err := w.dmp(w.gateway, func(c *fhir.ClientConfig) { c.Timeout = time.Minute }).Deposit(t.Context(), someDeposit("1.2.250.1.999.2.1", doc))
	must(t, err)
	for _, r := range w.held() {
		if a := w.get(w.professional(physician), "/"+r.Content[0].Attachment.URL, nil); !bytes.Equal(a.body, doc.Content) {
			t.Errorf("HTTP %d, %d bytes", a.status, len(a.body))
		}
	}
}
