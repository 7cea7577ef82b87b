package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseList(t *testing.T) {
	at := newClock().now
	good := string(document(at, "a.mssante.fr", "UC-CMP.mssante.fr", "a.mssante.fr"))
	for name, c := range map[string]struct {
		in      string
		domains []string // nil: refused
		ignored int
	}{
		"ok/two, one of them twice":   {good, []string{"a.mssante.fr", "uc-cmp.mssante.fr"}, 0},
		"ok/byte order mark":          {"\ufeff" + good, []string{"a.mssante.fr", "uc-cmp.mssante.fr"}, 0},
		"ok/blank around":             {strings.ReplaceAll(good, "<Nom>", "<Nom>\n  ") + "\n", []string{"a.mssante.fr", "uc-cmp.mssante.fr"}, 0},
		"ok/names nobody can write":   {string(document(at, "a.mssante.fr", "hôpital.mssante.fr", "", "local", "a b.fr", strings.Repeat("a", 300)+".fr")), []string{"a.mssante.fr"}, 5},
		"ok/a signature beside":       {strings.Replace(good, "</ListeBlancheMSSante>", `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Nom>evil.fr</ds:Nom></ds:Signature></ListeBlancheMSSante>`, 1), []string{"a.mssante.fr", "uc-cmp.mssante.fr"}, 0},
		"ok/names elsewhere":          {strings.Replace(good, "<ListeDomaines>", "<Autre><Domaine><Nom>evil.fr</Nom></Domaine></Autre><ListeDomaines>", 1), []string{"a.mssante.fr", "uc-cmp.mssante.fr"}, 0},
		"fail/cut before the root":    {strings.TrimSuffix(good, "</ListeBlancheMSSante>"), nil, 0},
		"fail/cut in a domain":        {good[:len(good)/2], nil, 0},
		"fail/empty":                  {"", nil, 0},
		"fail/no domain":              {string(document(at)), nil, 0},
		"fail/only names left out":    {string(document(at, "é.fr")), nil, 0},
		"fail/web page":               {"<!doctype html><title>x</title>", nil, 0},
		"fail/another root":           {strings.ReplaceAll(good, "ListeBlancheMSSante", "Liste"), nil, 0},
		"fail/another namespace":      {strings.Replace(good, namespace, "urn:x", 1), nil, 0},
		"fail/DOCTYPE":                {strings.Replace(good, "\n", "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>", 1), nil, 0},
		"fail/entity":                 {strings.Replace(good, "é", "&e;", 1), nil, 0},
		"fail/two roots":              {good + strings.SplitN(good, "\n", 2)[1], nil, 0},
		"fail/text after":             {good + "x", nil, 0},
		"fail/no date":                {strings.Replace(good, "DateDeGeneration", "Date", 2), nil, 0},
		"fail/two dates":              {strings.Replace(good, "<ListeDomaines>", "<DateDeGeneration>2026-01-01T00:00:00Z</DateDeGeneration><ListeDomaines>", 1), nil, 0},
		"fail/date that is none":      {strings.Replace(good, at.Format(time.RFC3339), "demain", 1), nil, 0},
		"fail/too deep":               {strings.Replace(good, "<ListeDomaines>", strings.Repeat("<x>", 1000), 1), nil, 0},
		"fail/other encoding":         {strings.Replace(good, "UTF-8", "ISO-8859-1", 1), nil, 0},
		"fail/bytes that are no text": {strings.Replace(good, "é", "\xff", 1), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := parseList([]byte(c.in))
			if (err != nil) != (c.domains == nil) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			if len(l.domains) != len(c.domains) || l.ignored != c.ignored || !l.generated.Equal(at) {
				t.Errorf("%v, %d ignored, %v", l.domains, l.ignored, l.generated)
			}
			for _, d := range c.domains {
				if _, ok := l.domains[d]; !ok {
					t.Errorf("%s is missing", d)
				}
			}
		})
	}
}

// FuzzParseList: no bytes panic, and what is taken is whole.
func FuzzParseList(f *testing.F) {
	f.Add(document(newClock().now, "a.mssante.fr"))
	f.Add([]byte("<!DOCTYPE x><a/>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseList(data)
		if err == nil && (len(l.domains) == 0 || !bytes.Contains(data, []byte("DateDeGeneration"))) {
			t.Fatal("taken")
		}
		for d := range l.domains {
			if d != strings.ToLower(d) || strings.ContainsAny(d, " @\x00") {
				t.Fatalf("%q", d)
			}
		}
	})
}

type trustWorld struct {
	t      *testing.T
	ca     *authority
	clock  *clock
	source *source
	config WhitelistConfig
}

func newTrustWorld(t *testing.T) *trustWorld {
	t.Helper()
	w := &trustWorld{t: t, ca: newAuthority(t, "IGC"), clock: newClock()}
	w.source = newTLSSource(t, w.ca)
	w.config = WhitelistConfig{URL: w.source.URL, TLS: &tls.Config{RootCAs: w.ca.pool()}, Dir: filepath.Join(t.TempDir(), "trust"), Clock: w.clock.Now, Timeout: time.Minute}
	return w
}

func (w *trustWorld) open() *Whitelist {
	w.t.Helper()
	l, err := OpenWhitelist(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *trustWorld) serve(domains ...string) {
	w.source.set(0, document(w.clock.Now().Add(-time.Hour), domains...), "")
}

func trusts(t *testing.T, l *Whitelist, domain string, wanted bool) {
	t.Helper()
	if ok, err := l.Trusted(domain); err != nil || ok != wanted {
		t.Errorf("%s: %v %v, want %v", domain, ok, err, wanted)
	}
}

func TestTrusted(t *testing.T) {
	w := newTrustWorld(t)
	l := w.open()
	_, err := l.Trusted("a.mssante.fr")
	want(t, err, FaultListMissing)
	if s := l.Status(); !s.Stale || !s.Late || s.Domains != 0 {
		t.Errorf("%+v", s)
	}
	w.serve("a.mssante.fr", "UC-CMP.mssante.fr")
	want(t, l.Refresh(t.Context()), "")
	for domain, wanted := range map[string]bool{
		"a.mssante.fr": true, "A.MSSANTE.FR": true, "uc-cmp.mssante.fr": true,
		"mssante.fr": false, "b.a.mssante.fr": false, "a.mssante.fr.evil.com": false, "a.mssante.fr.": false, "": false, "а.mssante.fr": false,
	} {
		trusts(t, l, domain, wanted)
	}
	if s := l.Status(); s.Stale || s.Late || s.Domains != 2 || s.Err != nil || !s.Confirmed.Equal(w.clock.Now()) {
		t.Errorf("%+v", s)
	}
	w.serve("a.mssante.fr", "c.mssante.fr")
	want(t, l.Refresh(t.Context()), "")
	trusts(t, l, "uc-cmp.mssante.fr", false) // removed: at once
	trusts(t, l, "c.mssante.fr", true)
}

// TestRefreshRefuses: whatever is served, the list held goes on being used.
func TestRefreshRefuses(t *testing.T) {
	many := make([]string, 10)
	for i := range many {
		many[i] = "d" + strconv.Itoa(i) + ".mssante.fr"
	}
	for name, c := range map[string]struct {
		serve func(*trustWorld)
		want  string
	}{
		"fail/malformed":     {func(w *trustWorld) { w.source.set(0, []byte("<html/>"), "") }, FaultListMalformed},
		"fail/empty":         {func(w *trustWorld) { w.serve() }, FaultListMalformed},
		"fail/down":          {func(w *trustWorld) { w.source.Close() }, FaultListFetch},
		"fail/503":           {func(w *trustWorld) { w.source.set(503, document(w.clock.Now(), many...), "") }, FaultListFetch},
		"fail/204":           {func(w *trustWorld) { w.source.set(204, nil, "") }, FaultListFetch},
		"fail/304 unasked":   {func(w *trustWorld) { w.source.set(304, nil, "") }, FaultListFetch},
		"fail/redirect":      {func(w *trustWorld) { w.source.redirect = "/elsewhere" }, FaultListFetch},
		"fail/older":         {func(w *trustWorld) { w.source.set(0, document(w.clock.Now().Add(-2*time.Hour), many...), "") }, FaultListOlder},
		"fail/future":        {func(w *trustWorld) { w.source.set(0, document(w.clock.Now().AddDate(0, 0, 10), many...), "") }, FaultListFuture},
		"fail/shrunk":        {func(w *trustWorld) { w.serve(many[:7]...) }, FaultListShrunk},
		"fail/too large":     {func(w *trustWorld) { w.source.set(0, bytes.Repeat([]byte(" "), maxList+1), "") }, FaultListFetch},
		"ok/a fifth is lost": {func(w *trustWorld) { w.serve(many[:8]...) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTrustWorld(t)
			w.serve(many...)
			l := w.open()
			want(t, l.Refresh(t.Context()), "")
			c.serve(w)
			err := l.Refresh(t.Context())
			want(t, err, c.want)
			trusts(t, l, many[0], true)
			if s := l.Status(); !errors.Is(s.Err, err) || s.Stale {
				t.Errorf("%+v", s)
			}
			again := w.open() // and after a restart
			trusts(t, again, many[0], true)
			trusts(t, again, many[9], c.want != "")
		})
	}
	t.Run("ok/shrunk, on a person's word", func(t *testing.T) {
		w := newTrustWorld(t)
		w.serve(many...)
		l := w.open()
		want(t, l.Refresh(t.Context()), "")
		w.serve(many[0])
		want(t, l.Refresh(t.Context()), FaultListShrunk)
		want(t, l.RefreshShrunk(t.Context()), "")
		trusts(t, l, many[9], false)
	})
	t.Run("fail/generated long ago, none held", func(t *testing.T) {
		w := newTrustWorld(t)
		w.source.set(0, document(w.clock.Now().AddDate(0, 0, -31), "a.mssante.fr"), "")
		l := w.open()
		want(t, l.Refresh(t.Context()), FaultListStale)
		_, err := l.Trusted("a.mssante.fr")
		want(t, err, FaultListMissing)
	})
	t.Run("fail/another authority", func(t *testing.T) {
		w := newTrustWorld(t)
		w.serve("a.mssante.fr")
		w.config.TLS = &tls.Config{RootCAs: newAuthority(t, "IGC").pool()}
		want(t, w.open().Refresh(t.Context()), FaultListFetch)
		if w.source.count() != 0 {
			t.Error("asked a server that nobody vouches for")
		}
	})
}

func TestSignature(t *testing.T) {
	w := newTrustWorld(t)
	good := true
	w.config.Signature = func(b []byte) error {
		if !good || !bytes.Contains(b, []byte("a.mssante.fr")) {
			return errors.New("bad signature")
		}
		return nil
	}
	w.serve("a.mssante.fr")
	l := w.open()
	want(t, l.Refresh(t.Context()), "")
	good = false
	want(t, l.Refresh(t.Context()), FaultListSignature)
	trusts(t, l, "a.mssante.fr", true)
	again := w.open() // what is read back is checked as well
	_, err := again.Trusted("a.mssante.fr")
	want(t, err, FaultListMissing)
	want(t, again.Status().Err, FaultListSignature)
}

// TestStale: the last good list is used within its time, and no longer.
func TestStale(t *testing.T) {
	w := newTrustWorld(t)
	w.serve("a.mssante.fr")
	w.source.etag = `"1"`
	l := w.open()
	want(t, l.Refresh(t.Context()), "")
	w.clock.add(49 * time.Hour)
	trusts(t, l, "a.mssante.fr", true)
	if s := l.Status(); !s.Late || s.Stale {
		t.Errorf("%+v", s)
	}
	w.clock.add(5 * 24 * time.Hour)
	for name, held := range map[string]*Whitelist{"held": l, "read back": w.open()} {
		if _, err := held.Trusted("a.mssante.fr"); code(err) != FaultListStale {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The source stands by the same list: it is good again.
	want(t, l.Refresh(t.Context()), "")
	if since := w.source.since; since[len(since)-1] != `"1"` {
		t.Errorf("asked without a condition: %q", since)
	}
	trusts(t, l, "a.mssante.fr", true)
	trusts(t, w.open(), "a.mssante.fr", true)
	// But not for ever, if it never generates another.
	for range 5 {
		w.clock.add(6 * 24 * time.Hour)
		want(t, l.Refresh(t.Context()), "")
	}
	_, err := l.Trusted("a.mssante.fr")
	want(t, err, FaultListStale)
	// A clock set back keeps nothing alive.
	w.clock.add(-60 * 24 * time.Hour)
	_, err = l.Trusted("a.mssante.fr")
	want(t, err, FaultListStale)
}

func TestKept(t *testing.T) {
	damage := map[string]func([]byte) []byte{
		"fail/cut":           func(b []byte) []byte { return b[:len(b)-10] },
		"fail/one byte":      func(b []byte) []byte { b[len(b)-80] ^= 1; return b },
		"fail/no head":       func(b []byte) []byte { return bytes.TrimLeft(b, "{") },
		"fail/empty":         func([]byte) []byte { return nil },
		"fail/one line":      func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), nil) },
		"fail/other source":  func(b []byte) []byte { return bytes.Replace(b, []byte("https://"), []byte("https://x"), 1) },
		"fail/head too long": func(b []byte) []byte { return append(bytes.Repeat([]byte(" "), maxHead+1), b...) },
	}
	for name, edit := range damage {
		t.Run(name, func(t *testing.T) {
			w := newTrustWorld(t)
			w.serve("a.mssante.fr")
			want(t, w.open().Refresh(t.Context()), "")
			path := filepath.Join(w.config.Dir, listFile)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, edit(b), 0o600); err != nil {
				t.Fatal(err)
			}
			l := w.open()
			_, err = l.Trusted("a.mssante.fr")
			want(t, err, FaultListMissing)
			want(t, l.Refresh(t.Context()), "")
			trusts(t, l, "a.mssante.fr", true)
			if files, _ := filepath.Glob(filepath.Join(w.config.Dir, "*")); len(files) != 1 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
	t.Run("fail/disk gone", func(t *testing.T) {
		w := newTrustWorld(t)
		w.serve("a.mssante.fr")
		l := w.open()
		if err := os.RemoveAll(w.config.Dir); err != nil {
			t.Fatal(err)
		}
		want(t, l.Refresh(t.Context()), FaultCache)
		trusts(t, l, "a.mssante.fr", true) // told, and used
	})
}

func TestWhitelistSettings(t *testing.T) {
	for name, set := range map[string]func(*WhitelistConfig){
		"url":    func(c *WhitelistConfig) { c.URL = "http://espacedeconfiance.mssante.fr/x.xml" },
		"tls":    func(c *WhitelistConfig) { c.TLS = &tls.Config{} },
		"clock":  func(c *WhitelistConfig) { c.Clock = nil },
		"dir":    func(c *WhitelistConfig) { c.Dir = "" },
		"shrink": func(c *WhitelistConfig) { c.Shrink = 101 },
	} {
		t.Run("fail/"+name, func(t *testing.T) {
			w := newTrustWorld(t)
			set(&w.config)
			_, err := OpenWhitelist(w.config)
			var e *Error
			if want(t, err, FaultSettings); errors.As(err, &e) && e.FaultWhere() != name {
				t.Error(e)
			}
		})
	}
	w := newTrustWorld(t)
	w.config.TLS.InsecureSkipVerify = true //nolint:gosec // that it is refused is the test
	_, err := OpenWhitelist(w.config)
	want(t, err, FaultSettings)
}

func TestRun(t *testing.T) {
	w := newTrustWorld(t)
	w.config.Retry = time.Millisecond
	l := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	told := make(chan error, 1)
	var failures atomic.Int64
	go func() {
		defer close(ended)
		l.Run(ctx, func(err error) {
			failures.Add(1)
			select {
			case told <- err:
			default:
			}
		})
	}()
	want(t, <-told, FaultListMalformed) // an empty answer
	w.serve("a.mssante.fr")
	for {
		if ok, err := l.Trusted("a.mssante.fr"); err == nil && ok {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if failures.Load() == 0 {
		t.Error("nobody was told")
	}
}
