package trust

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// WhitelistConfig is where the white list comes from and how long it is good.
// The zero value of a duration or a share is the default.
type WhitelistConfig struct {
	URL   string      // https
	TLS   *tls.Config // with the authorities of the source (IGC-Santé)
	Proxy ProxyFunc
	Dir   string // where the last good list is kept
	Clock func() time.Time

	Timeout time.Duration // of one fetch: 1 min
	Refresh time.Duration // fetch again after: 12 h
	Retry   time.Duration // after a failure, and how often [Whitelist.Run] looks: 15 min
	Late    time.Duration // tell that the list was not confirmed for: 48 h
	MaxAge  time.Duration // not used once not confirmed for: 7 days
	MaxOld  time.Duration // not used once generated before: 30 days
	Shrink  int           // percentage of domains that a new list may lose: 20

	// Signature checks the bytes of a list; nil: TLS vouches for them.
	Signature func(list []byte) error
}

// skew is by how much clocks may differ.
const skew = 24 * time.Hour

const listFile = "liste-blanche.xml"

// Whitelist is the trust space, as far as it is known.
type Whitelist struct {
	c      WhitelistConfig
	client *http.Client

	refreshing sync.Mutex // one fetch at a time

	mu      sync.RWMutex
	held    *heldList
	lastErr error
}

type heldList struct {
	list
	note
	raw []byte
}

func fallback[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// OpenWhitelist checks the configuration and reads the last good list back. It
// asks nothing of the network: until [Whitelist.Refresh], the list is as old as
// it is.
func OpenWhitelist(c WhitelistConfig) (*Whitelist, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return nil, refuse(FaultSettings, "url", nil)
	case c.TLS == nil || c.TLS.RootCAs == nil || c.TLS.InsecureSkipVerify:
		return nil, refuse(FaultSettings, "tls", nil)
	case c.Clock == nil:
		return nil, refuse(FaultSettings, "clock", nil)
	case c.Dir == "":
		return nil, refuse(FaultSettings, "dir", nil)
	case c.Shrink > 100:
		return nil, refuse(FaultSettings, "shrink", nil)
	}
	fallback(&c.Timeout, time.Minute)
	fallback(&c.Refresh, 12*time.Hour)
	fallback(&c.Retry, 15*time.Minute)
	fallback(&c.Late, 48*time.Hour)
	fallback(&c.MaxAge, 7*24*time.Hour)
	fallback(&c.MaxOld, 30*24*time.Hour)
	fallback(&c.Shrink, 20)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, refuse(FaultSettings, "dir", err)
	}
	w := &Whitelist{c: c, client: newClient(c.TLS.Clone(), c.Proxy, c.Timeout)}
	if n, raw, ok := load(c.Dir, listFile, c.URL, maxList); ok {
		if l, err := w.read(raw); err == nil {
			w.held = &heldList{l, n, raw}
		} else {
			w.lastErr = err
		}
	}
	return w, nil
}

// read parses a list and checks its signature.
func (w *Whitelist) read(raw []byte) (list, error) {
	if w.c.Signature != nil {
		if err := w.c.Signature(raw); err != nil {
			return list{}, refuse(FaultListSignature, "", err)
		}
	}
	l, err := parseList(raw)
	if err != nil {
		return list{}, refuse(FaultListMalformed, "", err)
	}
	return l, nil
}

// Trusted tells whether exactly this domain is in the trust space. An error
// means that nobody can tell.
func (w *Whitelist) Trusted(domain string) (bool, error) {
	held := w.current()
	if held == nil {
		return false, refuse(FaultListMissing, "", nil)
	}
	if w.stale(held) {
		return false, refuse(FaultListStale, "", nil)
	}
	_, ok := held.domains[strings.ToLower(domain)]
	return ok, nil
}

func (w *Whitelist) current() *heldList {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.held
}

// stale: not confirmed for too long, or confirmed after now: a clock that was
// set back must not keep a list alive.
func (w *Whitelist) stale(h *heldList) bool {
	now := w.c.Clock()
	return now.Sub(h.Confirmed) > w.c.MaxAge || h.Confirmed.Sub(now) > skew || now.Sub(h.generated) > w.c.MaxOld
}

// WhitelistStatus is what people watch.
type WhitelistStatus struct {
	Generated time.Time // by the source; zero when no list is held
	Confirmed time.Time // last time the source stood by it
	Domains   int
	Ignored   int // names that no address can have
	Late      bool
	Stale     bool  // or none held: nothing can be sent
	Err       error // of the last attempt to refresh
}

// Status tells how things stand.
func (w *Whitelist) Status() WhitelistStatus {
	w.mu.RLock()
	h, err := w.held, w.lastErr
	w.mu.RUnlock()
	if h == nil {
		return WhitelistStatus{Late: true, Stale: true, Err: err}
	}
	stale := w.stale(h)
	return WhitelistStatus{
		Generated: h.generated, Confirmed: h.Confirmed, Domains: len(h.domains), Ignored: h.ignored,
		Late: stale || w.c.Clock().Sub(h.Confirmed) > w.c.Late, Stale: stale, Err: err,
	}
}

// Refresh fetches the list once. An error leaves the list held as it was, but
// for [FaultCache]: the new list is used, and would be lost by a crash.
func (w *Whitelist) Refresh(ctx context.Context) error { return w.refresh(ctx, false) }

// RefreshShrunk is Refresh on the word of a person that the list may have lost
// many domains.
func (w *Whitelist) RefreshShrunk(ctx context.Context) error { return w.refresh(ctx, true) }

func (w *Whitelist) refresh(ctx context.Context, shrunk bool) error {
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	next, err := w.fetch(ctx, shrunk)
	if err == nil {
		err = save(w.c.Dir, listFile, next.note, next.raw)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if next != nil {
		w.held = next
	}
	w.lastErr = err
	return err
}

// fetch gives the list to hold from now on.
func (w *Whitelist) fetch(ctx context.Context, shrunk bool) (*heldList, error) {
	held, since := w.current(), note{}
	if held != nil {
		since = held.note
	}
	got, err := get(ctx, w.client, w.c.URL, since, maxList)
	if err != nil {
		return nil, refuse(FaultListFetch, "", err)
	}
	now := w.c.Clock()
	n := note{URL: w.c.URL, ETag: got.etag, Modified: got.modified, Confirmed: now}
	if got.unchanged {
		return &heldList{held.list, n, held.raw}, nil
	}
	l, err := w.read(got.data)
	if err != nil {
		return nil, err
	}
	switch {
	case l.generated.Sub(now) > skew:
		return nil, refuse(FaultListFuture, "", nil)
	case now.Sub(l.generated) > w.c.MaxOld:
		return nil, refuse(FaultListStale, "", nil)
	case held != nil && l.generated.Before(held.generated):
		return nil, refuse(FaultListOlder, "", nil)
	case held != nil && !shrunk && len(l.domains)*100 < len(held.domains)*(100-w.c.Shrink):
		return nil, refuse(FaultListShrunk, "", nil)
	}
	return &heldList{l, n, got.data}, nil
}

// Run keeps the list fresh until the context ends. tell, which must be given,
// hears of each attempt that failed.
func (w *Whitelist) Run(ctx context.Context, tell func(error)) {
	t := time.NewTicker(w.c.Retry)
	defer t.Stop()
	for {
		if h := w.current(); h == nil || w.due(h) {
			if err := w.Refresh(ctx); err != nil && ctx.Err() == nil {
				tell(err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (w *Whitelist) due(h *heldList) bool {
	age := w.c.Clock().Sub(h.Confirmed)
	return age >= w.c.Refresh || age < 0
}
