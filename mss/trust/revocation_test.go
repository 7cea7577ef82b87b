package trust

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type crlWorld struct {
	t      *testing.T
	ca     *authority
	clock  *clock
	source *source
	config RevocationConfig
	leaf   *x509.Certificate
}

func newCRLWorld(t *testing.T) *crlWorld {
	t.Helper()
	w := &crlWorld{t: t, ca: newAuthority(t, "IGC"), clock: newClock(), source: newSource(t)}
	w.config = RevocationConfig{Dir: filepath.Join(t.TempDir(), "crl"), Clock: w.clock.Now, Timeout: time.Minute}
	w.leaf = w.named(w.source.URL)
	return w
}

// named issues a certificate that names these places.
func (w *crlWorld) named(points ...string) *x509.Certificate {
	return w.ca.issue(func(c *x509.Certificate) { c.CRLDistributionPoints = points }).Leaf
}

func (w *crlWorld) open() *Revocations {
	w.t.Helper()
	r, err := OpenRevocations(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// fresh is a list of now, good for a day.
func (w *crlWorld) fresh(serials ...*big.Int) []byte {
	now := w.clock.Now()
	return w.ca.crl(now.Add(-time.Hour), now.Add(24*time.Hour), nil, serials...)
}

func (w *crlWorld) check(r *Revocations) error {
	return r.Check(w.t.Context(), w.leaf, w.ca.cert)
}

func extension(oid asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
}

// scoped is the extension issuingDistributionPoint.
func scoped(t *testing.T, d distribution, point string) func(*x509.RevocationList) {
	t.Helper()
	if point != "" {
		uri, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(point)})
		if err != nil {
			t.Fatal(err)
		}
		full, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: uri})
		if err != nil {
			t.Fatal(err)
		}
		d.Point = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: full}
	}
	value, err := asn1.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return extension(oidDistribution, true, value)
}

func TestCheck(t *testing.T) {
	type edit = func(*x509.RevocationList)
	list := func(w *crlWorld, e edit, serials ...*big.Int) []byte {
		return w.ca.crl(w.clock.Now().Add(-time.Hour), w.clock.Now().Add(24*time.Hour), e, serials...)
	}
	for name, c := range map[string]struct {
		serve func(*crlWorld) []byte
		want  string
	}{
		"ok/empty list":      {func(w *crlWorld) []byte { return w.fresh() }, ""},
		"ok/others revoked":  {func(w *crlWorld) []byte { return w.fresh(big.NewInt(7), big.NewInt(8)) }, ""},
		"ok/PEM":             {func(w *crlWorld) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: w.fresh()}) }, ""},
		"ok/for users":       {func(w *crlWorld) []byte { return list(w, scoped(w.t, distribution{Users: true}, "")) }, ""},
		"ok/names its place": {func(w *crlWorld) []byte { return list(w, scoped(w.t, distribution{}, w.source.URL)) }, ""},
		"ok/unknown, not critical": {func(w *crlWorld) []byte {
			return list(w, extension(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{5, 0}))
		}, ""},
		"fail/revoked": {func(w *crlWorld) []byte { return w.fresh(big.NewInt(7), w.leaf.SerialNumber) }, FaultRevoked},
		"fail/suspended": {func(w *crlWorld) []byte {
			return list(w, func(l *x509.RevocationList) {
				l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: w.leaf.SerialNumber, RevocationTime: begin, ReasonCode: 6}}
			})
		}, FaultRevoked},
		"fail/expired":        {func(w *crlWorld) []byte { return w.ca.crl(begin, w.clock.Now().Add(-time.Minute), nil) }, FaultCRLStale},
		"fail/future":         {func(w *crlWorld) []byte { return w.ca.crl(w.clock.Now().Add(48*time.Hour), end, nil) }, FaultCRLInvalid},
		"fail/another signer": {func(w *crlWorld) []byte { return newAuthority(w.t, "IGC").crl(begin, end, nil) }, FaultCRLInvalid},
		"fail/another issuer": {func(w *crlWorld) []byte { return newAuthority(w.t, "AC").crl(begin, end, nil) }, FaultCRLInvalid},
		"fail/changed": {func(w *crlWorld) []byte {
			b := w.fresh(big.NewInt(7))
			b[len(b)-1] ^= 1
			return b
		}, FaultCRLInvalid},
		"fail/web page":     {func(*crlWorld) []byte { return []byte("<html>") }, FaultCRLInvalid},
		"fail/empty answer": {func(*crlWorld) []byte { return nil }, FaultCRLInvalid},
		"fail/delta":        {func(w *crlWorld) []byte { return list(w, extension(oidDelta, true, []byte{2, 1, 1})) }, FaultCRLInvalid},
		"fail/indirect":     {func(w *crlWorld) []byte { return list(w, scoped(w.t, distribution{Indirect: true}, "")) }, FaultCRLInvalid},
		"fail/some reasons": {func(w *crlWorld) []byte {
			return list(w, scoped(w.t, distribution{Reasons: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}}, ""))
		}, FaultCRLInvalid},
		"fail/for CAs":       {func(w *crlWorld) []byte { return list(w, scoped(w.t, distribution{CAs: true}, "")) }, FaultCRLInvalid},
		"fail/another place": {func(w *crlWorld) []byte { return list(w, scoped(w.t, distribution{}, "http://elsewhere.test/crl")) }, FaultCRLInvalid},
		"fail/bad scope":     {func(w *crlWorld) []byte { return list(w, extension(oidDistribution, true, []byte{1, 2, 3})) }, FaultCRLInvalid},
		"fail/unknown, critical": {func(w *crlWorld) []byte {
			return list(w, extension(asn1.ObjectIdentifier{1, 2, 3}, true, []byte{5, 0}))
		}, FaultCRLInvalid},
		"fail/entry of another issuer": {func(w *crlWorld) []byte {
			return list(w, func(l *x509.RevocationList) {
				l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: begin,
					ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}}
			})
		}, FaultCRLInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCRLWorld(t)
			w.source.set(0, c.serve(w), "")
			want(t, w.check(w.open()), c.want)
		})
	}
}

// TestCRLKept: a list is used until its next update though its source is down,
// from memory and from disk, and no longer (ECO.1.1.7).
// A list that is handed over is judged without its place, and an old one still
// tells what it revokes.
func TestCheckList(t *testing.T) {
	w := newCRLWorld(t)
	now, other := w.clock.Now(), newAuthority(t, "IGC")
	old := func(serials ...*big.Int) []byte {
		return w.ca.crl(now.Add(-48*time.Hour), now.Add(-time.Hour), nil, serials...)
	}
	for name, c := range map[string]struct {
		list []byte
		want string
	}{
		"ok/empty":                {w.fresh(), ""},
		"ok/of another place":     {w.ca.crl(now.Add(-time.Hour), now.Add(time.Hour), scoped(t, distribution{}, "http://ailleurs.test/crl")), ""},
		"fail/revoked":            {w.fresh(w.leaf.SerialNumber), FaultRevoked},
		"fail/revoked, long ago":  {old(w.leaf.SerialNumber), FaultRevoked},
		"fail/out of date":        {old(), FaultCRLStale},
		"fail/for authorities":    {w.ca.crl(now.Add(-time.Hour), now.Add(time.Hour), scoped(t, distribution{CAs: true}, "")), FaultCRLInvalid},
		"fail/another's, renamed": {other.crl(now.Add(-time.Hour), now.Add(time.Hour), nil), FaultCRLInvalid},
		"fail/garbage":            {[]byte("x"), FaultCRLInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckList(c.list, w.leaf, w.ca.cert, now)
			var e *Error
			if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &e) || e.Code != c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestCRLKept(t *testing.T) {
	w := newCRLWorld(t)
	w.source.set(0, w.fresh(), "")
	r := w.open()
	want(t, w.check(r), "")
	want(t, w.check(r), "")
	if n := w.source.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.source.set(503, nil, "")
	for _, later := range []time.Duration{7 * time.Hour, 7 * time.Hour} {
		w.clock.add(later)
		want(t, w.check(r), "")
		want(t, w.check(w.open()), "")
	}
	if len(r.Troubles()) != 1 || code(r.Troubles()[0]) != FaultCRLFetch {
		t.Error(r.Troubles())
	}
	w.clock.add(11 * time.Hour)
	want(t, w.check(r), FaultCRLStale)
	want(t, w.check(w.open()), FaultCRLStale)
	w.source.set(0, w.fresh(w.leaf.SerialNumber), "")
	w.clock.add(time.Minute)
	want(t, w.check(r), FaultRevoked)
	if len(r.Troubles()) != 0 {
		t.Error(r.Troubles())
	}
	// The list of before would forgive: it is not taken back.
	now := w.clock.Now()
	w.source.set(0, w.ca.crl(now.Add(-12*time.Hour), now.Add(48*time.Hour), nil), "")
	w.clock.add(7 * time.Hour)
	want(t, w.check(r), FaultRevoked)
	want(t, w.check(w.open()), FaultRevoked)
}

func TestCRLCacheIsJudged(t *testing.T) {
	w := newCRLWorld(t)
	w.source.set(0, w.fresh(w.leaf.SerialNumber), "")
	want(t, w.check(w.open()), FaultRevoked)
	w.source.set(503, nil, "")
	files, err := filepath.Glob(filepath.Join(w.config.Dir, "*.crl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	forged := newAuthority(t, "IGC").crl(begin, end, nil)
	if err := save(w.config.Dir, filepath.Base(files[0]), note{URL: w.source.URL, Confirmed: w.clock.Now()}, forged); err != nil {
		t.Fatal(err)
	}
	want(t, w.check(w.open()), FaultCRLFetch)
	if err := os.RemoveAll(w.config.Dir); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRevocations(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.config.Dir); err != nil {
		t.Fatal(err)
	}
	w.source.set(0, w.fresh(), "")
	want(t, w.check(r), "") // used, and told
	if len(r.Troubles()) != 1 || code(r.Troubles()[0]) != FaultCache {
		t.Error(r.Troubles())
	}
}

// TestRetry: a source that fails is not asked for every connection.
func TestRetry(t *testing.T) {
	w := newCRLWorld(t)
	w.source.set(503, nil, "")
	r := w.open()
	for range 3 {
		want(t, w.check(r), FaultCRLFetch)
	}
	if n := w.source.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.source.set(0, w.fresh(), "")
	want(t, w.check(r), FaultCRLFetch)
	w.clock.add(time.Minute)
	want(t, w.check(r), "")
}

func TestPoints(t *testing.T) {
	for name, c := range map[string]struct {
		points, configured []string
		want               string
	}{
		"ok/the second place answers":  {points: []string{"http://127.0.0.1:1/crl", "SOURCE"}},
		"ok/LDAP is passed over":       {points: []string{"ldap://igc.test/cn=x", "SOURCE"}},
		"ok/none named, configured":    {configured: []string{"SOURCE"}},
		"fail/none named":              {want: FaultNoCRL},
		"fail/LDAP alone":              {points: []string{"ldap://igc.test/cn=x"}, configured: []string{"SOURCE"}, want: FaultNoCRL},
		"fail/nobody there":            {points: []string{"http://127.0.0.1:1/crl"}, want: FaultCRLFetch},
		"fail/beyond the first places": {points: []string{"http://127.0.0.1:1/a", "http://127.0.0.1:1/b", "http://127.0.0.1:1/c", "http://127.0.0.1:1/d", "SOURCE"}, want: FaultCRLFetch},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCRLWorld(t)
			w.source.set(0, w.fresh(), "")
			here := func(list []string) []string {
				var out []string
				for _, p := range list {
					if p == "SOURCE" {
						p = w.source.URL
					}
					out = append(out, p)
				}
				return out
			}
			w.config.Points = here(c.configured)
			w.leaf = w.named(here(c.points)...)
			want(t, w.check(w.open()), c.want)
		})
	}
	t.Run("fail/redirect", func(t *testing.T) {
		w := newCRLWorld(t)
		other := newSource(t)
		other.set(0, w.fresh(), "")
		w.source.redirect = other.URL
		want(t, w.check(w.open()), FaultCRLFetch)
	})
}

func TestCheckChain(t *testing.T) {
	w := newCRLWorld(t)
	second := newSource(t)
	sub := w.ca.sub("AC 2", w.source.URL)
	leaf := sub.issue(func(c *x509.Certificate) { c.CRLDistributionPoints = []string{second.URL} }).Leaf
	now := w.clock.Now()
	good := sub.crl(now.Add(-time.Hour), now.Add(24*time.Hour), nil)
	chain := []*x509.Certificate{leaf, sub.cert, w.ca.cert}
	for name, c := range map[string]struct {
		root, sub []byte
		want      string
	}{
		"ok/nothing revoked":     {w.fresh(), good, ""},
		"fail/authority revoked": {w.fresh(sub.cert.SerialNumber), good, FaultRevoked},
		"fail/authority unknown": {nil, good, FaultCRLInvalid},
		"fail/leaf revoked":      {w.fresh(), sub.crl(now.Add(-time.Hour), now.Add(24*time.Hour), nil, leaf.SerialNumber), FaultRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			w.config.Dir = t.TempDir()
			w.source.set(0, c.root, "")
			second.set(0, c.sub, "")
			want(t, w.open().CheckChain(t.Context(), chain), c.want)
		})
	}
	want(t, w.open().CheckChain(t.Context(), chain[2:]), FaultUnverified)
	want(t, w.open().CheckChain(t.Context(), nil), FaultUnverified)
}

// TestVerify runs handshakes: what is revoked, or cannot be known, gets no byte.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(*crlWorld, *x509.Certificate) (int, []byte)
		want  string
	}{
		"ok/current":   {func(w *crlWorld, _ *x509.Certificate) (int, []byte) { return 0, w.fresh() }, ""},
		"fail/revoked": {func(w *crlWorld, c *x509.Certificate) (int, []byte) { return 0, w.fresh(c.SerialNumber) }, FaultRevoked},
		"fail/down":    {func(*crlWorld, *x509.Certificate) (int, []byte) { return 503, nil }, FaultCRLFetch},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCRLWorld(t)
			pair := w.ca.issue(func(c *x509.Certificate) { c.CRLDistributionPoints = []string{w.source.URL} })
			status, body := c.serve(w, pair.Leaf)
			w.source.set(status, body, "")
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			got := make(chan int, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				n, _ := conn.Read(make([]byte, 10))
				got <- n
			}()
			raw, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{RootCAs: w.ca.pool(), ServerName: "op.mssante.test", VerifyConnection: w.open().Verify})
			defer raw.Close()
			err = conn.HandshakeContext(t.Context())
			want(t, err, c.want)
			if err == nil {
				_, _ = conn.Write([]byte("x"))
			}
			raw.Close()
			if n := <-got; (n > 0) != (c.want == "") {
				t.Errorf("%d bytes came through", n)
			}
		})
	}
	w := newCRLWorld(t)
	want(t, w.open().Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{w.leaf}}), FaultUnverified)
}

// TestVerifyChains: one good chain is enough, and the first one tells why none is.
func TestVerifyChains(t *testing.T) {
	w := newCRLWorld(t)
	w.source.set(0, w.fresh(w.leaf.SerialNumber), "")
	other := w.named(w.source.URL)
	bad, good := []*x509.Certificate{w.leaf, w.ca.cert}, []*x509.Certificate{other, w.ca.cert}
	r := w.open()
	want(t, r.Verify(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{bad, good}}), "")
	want(t, r.Verify(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{bad, {w.ca.cert}}}), FaultRevoked)
}

func TestRevocationSettings(t *testing.T) {
	for name, set := range map[string]func(*RevocationConfig){
		"clock":  func(c *RevocationConfig) { c.Clock = nil },
		"dir":    func(c *RevocationConfig) { c.Dir = "" },
		"points": func(c *RevocationConfig) { c.Points = []string{"file:///etc/passwd"} },
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			w := newCRLWorld(t)
			set(&w.config)
			_, err := OpenRevocations(w.config)
			var e *Error
			if want(t, err, FaultSettings); errors.As(err, &e) && e.FaultWhere() != name {
				t.Error(e)
			}
		})
	}
}

// TestManyLists: strangers' places cannot fill the memory.
func TestManyLists(t *testing.T) {
	w := newCRLWorld(t)
	r := w.open()
	w.source.set(0, w.fresh(), "")
	for i := range 3 * maxHeld {
		r.published(string(rune('a' + i)))
	}
	if len(r.lists) > maxHeld {
		t.Errorf("%d lists held", len(r.lists))
	}
	want(t, w.check(r), "")
}

func TestCheckCancelled(t *testing.T) {
	w := newCRLWorld(t)
	w.source.set(0, w.fresh(), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, w.open().Check(ctx, w.leaf, w.ca.cert), FaultCRLFetch)
}

// FuzzParseCRL: no bytes panic, and none are taken that the authority did not
// sign.
func FuzzParseCRL(f *testing.F) {
	ca := newAuthority(f, "IGC")
	now := newClock().now
	good := ca.crl(now, now.Add(time.Hour), nil, big.NewInt(7))
	f.Add(good)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: good}))
	noise := make([]byte, 100)
	_, _ = rand.Read(noise)
	f.Add(noise)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCRL(data, ca.cert, now)
		if err == nil && !c.next.Equal(now.Add(time.Hour)) {
			t.Fatal("a list that was not signed")
		}
		var scope crl
		_ = scope.scope(data)
	})
}
