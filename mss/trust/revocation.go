package trust

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// RevocationConfig is how revocations are learnt. The zero value of a duration
// is the default.
type RevocationConfig struct {
	Dir   string // where the lists are kept
	Clock func() time.Time
	Proxy ProxyFunc
	// Points are asked for certificates that name no CRL themselves.
	Points []string

	Timeout time.Duration // of one download: 10 s
	Refresh time.Duration // download again after, though the list is still good: 6 h
	Retry   time.Duration // after a failed download: 1 min
}

// maxPoints bounds the lists that one certificate can make us ask for, and
// maxHeld those that are held at all.
const (
	maxPoints = 4
	maxHeld   = 64
)

// Revocations refuses certificates that their authority revoked.
type Revocations struct {
	c      RevocationConfig
	client *http.Client

	mu    sync.Mutex
	lists map[string]*published
}

// published is one list as it is published at one place, for one authority.
type published struct {
	mu    sync.Mutex // held while it is fetched
	list  *crl
	asked time.Time // last attempt
	got   time.Time // last success
	err   error     // of the last attempt
}

// OpenRevocations checks the configuration. Lists are read back from disk when
// a certificate asks for them.
func OpenRevocations(c RevocationConfig) (*Revocations, error) {
	switch {
	case c.Clock == nil:
		return nil, refuse(FaultSettings, "clock", nil)
	case c.Dir == "":
		return nil, refuse(FaultSettings, "dir", nil)
	case len(c.Points) > maxPoints || slices.ContainsFunc(c.Points, func(p string) bool { return !fetchable(p) }):
		return nil, refuse(FaultSettings, "points", nil)
	}
	fallback(&c.Timeout, 10*time.Second)
	fallback(&c.Refresh, 6*time.Hour)
	fallback(&c.Retry, time.Minute)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, refuse(FaultSettings, "dir", err)
	}
	return &Revocations{c: c, client: newClient(nil, c.Proxy, c.Timeout), lists: map[string]*published{}}, nil
}

// fetchable: the list is signed, so that it may come over plain HTTP.
func fetchable(point string) bool {
	return strings.HasPrefix(point, "http://") || strings.HasPrefix(point, "https://")
}

// Verify judges the other side of a connection; it is made for
// tls.Config.VerifyConnection. One chain of which nothing is revoked is enough.
// It may download a list, within the timeout.
func (r *Revocations) Verify(state tls.ConnectionState) error {
	// A handshake has no context to give: the timeout is the bound.
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Timeout)
	defer cancel()
	err := error(refuse(FaultUnverified, "", nil))
	for i, chain := range state.VerifiedChains {
		failed := r.CheckChain(ctx, chain)
		if failed == nil {
			return nil
		}
		if i == 0 {
			err = failed
		}
	}
	return err
}

// CheckChain judges every certificate of a verified chain, leaf first, but its
// root, which only the configuration can revoke.
func (r *Revocations) CheckChain(ctx context.Context, chain []*x509.Certificate) error {
	if len(chain) < 2 {
		return refuse(FaultUnverified, "", nil)
	}
	for i := range len(chain) - 1 {
		if err := r.Check(ctx, chain[i], chain[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// Check judges one certificate by the first list of its issuer that is current.
// The places that a certificate names are alternatives.
func (r *Revocations) Check(ctx context.Context, cert, issuer *x509.Certificate) error {
	where := "leaf"
	if cert.IsCA {
		where = "authority"
	}
	points := slices.DeleteFunc(slices.Clone(cert.CRLDistributionPoints), func(p string) bool { return !fetchable(p) })
	if len(cert.CRLDistributionPoints) == 0 {
		points = r.c.Points
	}
	if len(points) == 0 {
		return refuse(FaultNoCRL, where, nil)
	}
	points = points[:min(len(points), maxPoints)]
	var err error
	for _, point := range points {
		list, failed := r.current(ctx, point, issuer)
		switch {
		case failed != nil:
		case !list.covers(cert, points):
			failed = refuse(FaultCRLInvalid, "scope", nil)
		case list.has(cert):
			return refuse(FaultRevoked, where, nil)
		default:
			return nil
		}
		if err == nil {
			err = failed
		}
	}
	return err
}

// CheckList judges one certificate by a list that was handed over, whose place
// of publication is not judged. A list that has expired still tells what it
// revokes, but not that the rest is good.
func CheckList(data []byte, cert, issuer *x509.Certificate, now time.Time) error {
	list, err := parseCRL(data, issuer, now)
	switch {
	case err != nil:
		return refuse(FaultCRLInvalid, "", err)
	case !list.covers(cert, list.points):
		return refuse(FaultCRLInvalid, "scope", nil)
	case list.has(cert):
		return refuse(FaultRevoked, "", nil)
	case list.expired(now):
		return refuse(FaultCRLStale, "", nil)
	}
	return nil
}

// current gives a list that has not expired.
func (r *Revocations) current(ctx context.Context, point string, issuer *x509.Certificate) (*crl, error) {
	sum := sha256.Sum256(append([]byte(point+"\x00"), issuer.Raw...))
	key := hex.EncodeToString(sum[:16])
	p := r.published(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := r.c.Clock()
	if p.list == nil && p.asked.IsZero() {
		if n, data, ok := load(r.c.Dir, key+".crl", point, maxCRL); ok {
			if list, err := parseCRL(data, issuer, now); err == nil {
				p.list, p.got = list, n.Confirmed
			}
		}
	}
	if p.due(now, r.c) {
		p.asked = now
		p.err = r.download(ctx, p, key, point, issuer, now)
	}
	switch {
	case p.list == nil:
		return nil, p.err
	case p.list.expired(now):
		return nil, refuse(FaultCRLStale, "", p.err)
	}
	return p.list, nil
}

// due: none good is held, or it is time for a newer one; but not at once after
// a failure. A clock that was set back asks again.
func (p *published) due(now time.Time, c RevocationConfig) bool {
	if p.err != nil && !now.Before(p.asked) && now.Sub(p.asked) < c.Retry {
		return false
	}
	if p.list == nil || p.list.expired(now) {
		return true
	}
	age := now.Sub(p.got)
	return age >= c.Refresh || age < 0
}

// download takes a newer list. One that is older than the list held is not
// taken: whoever serves it would bring back what was revoked since.
func (r *Revocations) download(ctx context.Context, p *published, key, point string, issuer *x509.Certificate, now time.Time) error {
	got, err := get(ctx, r.client, point, note{}, maxCRL)
	if err != nil {
		return refuse(FaultCRLFetch, "", err)
	}
	list, err := parseCRL(got.data, issuer, now)
	switch {
	case err != nil:
		return refuse(FaultCRLInvalid, "", err)
	case list.expired(now):
		return refuse(FaultCRLStale, "", nil)
	case p.list != nil && list.this.Before(p.list.this):
		return refuse(FaultCRLInvalid, "older", nil)
	}
	p.list, p.got = list, now
	return save(r.c.Dir, key+".crl", note{URL: point, Confirmed: now}, got.data)
}

// Troubles are the failures of the last downloads: told even while the lists
// held are still good, because they will not be for ever.
func (r *Revocations) Troubles() []error {
	r.mu.Lock()
	lists := slices.Collect(maps.Values(r.lists))
	r.mu.Unlock()
	var all []error
	for _, p := range lists {
		p.mu.Lock()
		if p.err != nil {
			all = append(all, p.err)
		}
		p.mu.Unlock()
	}
	return all
}

// published finds the slot of one list. Authorities and places are few; should
// they not be, slots are given up, and lists read from disk again.
func (r *Revocations) published(key string) *published {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.lists[key]; ok {
		return p
	}
	if len(r.lists) >= maxHeld {
		clear(r.lists)
	}
	p := &published{}
	r.lists[key] = p
	return p
}
