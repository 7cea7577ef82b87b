package psc

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"sync"
	"time"
)

// sessions keeps who is logged in: by a browser ([Login]) or by software on a
// person's behalf ([Proxy]). Kinds are apart: the id of one opens nothing in the
// other.
type sessions struct {
	kind     string
	client   *Client
	keys     *Keys
	store    Store
	idle     time.Duration
	absolute time.Duration
	locks    [64]sync.Mutex // of sessions that are being changed
}

// sessionRecord is what the store keeps of a session, sealed.
type sessionRecord struct {
	Professional   Professional `json:"professional"`
	Created        time.Time    `json:"created"`
	Seen           time.Time    `json:"seen"`
	IDToken        string       `json:"id_token"`
	Refresh        string       `json:"refresh"`
	RefreshExpires time.Time    `json:"refresh_expires"`
	DMP            DMPToken     `json:"dmp"`

	// Of a [Proxy]: the tokens of its backends, by name.
	Tokens map[string]DMPToken `json:"tokens,omitempty"`
}

func newSessions(kind string, client *Client, keys *Keys, store Store, idle, absolute time.Duration) *sessions {
	if idle <= 0 || idle > maxIdle {
		idle = maxIdle
	}
	if absolute <= 0 || absolute > maxAbsolute {
		absolute = maxAbsolute
	}
	return &sessions{kind: kind, client: client, keys: keys, store: store, idle: idle, absolute: absolute}
}

func (s *sessions) record(key string, rec sessionRecord) (Record, error) {
	value, err := s.keys.sealed(s.kind, key, rec)
	return Record{Kind: s.kind, Key: key, Value: value, Expires: s.end(rec)}, err
}

// end is when the session ends however much it is used: no later than that of
// PSC, which may have begun before ours (EXI RIE-PS 13).
func (s *sessions) end(rec sessionRecord) time.Time {
	end := rec.Created.Add(s.absolute)
	if at := rec.Professional.At; !at.IsZero() && at.Add(maxAbsolute).Before(end) {
		return at.Add(maxAbsolute)
	}
	return end
}

// begin makes a session of what PSC gave, and gives its id.
func (s *sessions) begin(ctx context.Context, rec sessionRecord) (id string, err error) {
	if id, err = secret(s.client.cfg.Rand); err != nil {
		return "", err
	}
	out, err := s.record(digest(id), rec)
	if err != nil {
		return "", err
	}
	first, err := s.store.Add(ctx, out)
	return id, errors.Join(err, errIf(err == nil && !first, "psc: session id drawn twice"))
}

// begun is the record of a person who has just logged in.
func (s *sessions) begun(pro Professional, g grant) sessionRecord {
	now := s.client.cfg.Clock()
	return sessionRecord{Professional: pro, Created: now, Seen: now, IDToken: g.id, Refresh: g.refresh, RefreshExpires: g.refreshExpires}
}

// read gives a session that lives; one that is over is removed.
func (s *sessions) read(ctx context.Context, key string) (sessionRecord, error) {
	var rec sessionRecord
	stored, err := s.store.Get(ctx, s.kind, key)
	if errors.Is(err, ErrNoRecord) {
		return rec, refuse(FaultSession, "")
	}
	if err != nil {
		return rec, err
	}
	if err := s.keys.open(s.kind, key, stored.Value, &rec); err != nil {
		return rec, because(FaultSession, "", err)
	}
	now := s.client.cfg.Clock()
	if !now.Before(s.until(rec)) {
		_, err := s.store.Delete(ctx, s.kind, key)
		return rec, errors.Join(refuse(FaultSessionExpired, ""), err)
	}
	return rec, nil
}

// seen is read, by somebody who uses the session.
func (s *sessions) seen(ctx context.Context, key string) (sessionRecord, error) {
	rec, err := s.read(ctx, key)
	now := s.client.cfg.Clock()
	if err != nil || now.Sub(rec.Seen) < touchEvery {
		return rec, err
	}
	err = s.change(ctx, key, func(rec *sessionRecord) error { rec.Seen = now; return nil })
	rec.Seen = now
	return rec, err
}

// change rewrites a session, one change at a time in this process, and never
// brings back one that was logged out.
func (s *sessions) change(ctx context.Context, key string, f func(*sessionRecord) error) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash does not fail
	lock := &s.locks[h.Sum32()%uint32(len(s.locks))]
	lock.Lock()
	defer lock.Unlock()
	rec, err := s.read(ctx, key)
	if err != nil {
		return err
	}
	if err := f(&rec); err != nil {
		return err
	}
	out, err := s.record(key, rec)
	if err != nil {
		return err
	}
	there, err := s.store.Update(ctx, out)
	if err == nil && !there {
		err = refuse(FaultSession, "")
	}
	return err
}

// renewable tells whether PSC may be asked for new tokens.
func (r *sessionRecord) renewable(now time.Time) bool {
	return r.Refresh != "" && (r.RefreshExpires.IsZero() || now.Before(r.RefreshExpires))
}

// renew asks PSC for new tokens of the same person, and gives the access token.
func (s *sessions) renew(ctx context.Context, rec *sessionRecord) (access string, err error) {
	g, err := s.client.renew(ctx, rec.Refresh)
	if err != nil {
		return "", err
	}
	if g.claims.nameID() != rec.Professional.NationalID {
		return "", refuse(FaultUserinfo, "SubjectNameID")
	}
	if g.refresh != "" {
		rec.Refresh, rec.RefreshExpires = g.refresh, g.refreshExpires
	}
	if g.id != "" {
		rec.IDToken = g.id
	}
	return g.access, nil
}

// until is when the session ends if nobody uses it.
func (s *sessions) until(rec sessionRecord) time.Time {
	end := s.end(rec)
	if idle := rec.Seen.Add(s.idle); idle.Before(end) {
		return idle
	}
	return end
}

// withToken is a copy of a session's tokens with one replaced.
func withToken(all map[string]DMPToken, name string, t DMPToken) map[string]DMPToken {
	all = maps.Clone(all)
	if all == nil {
		all = map[string]DMPToken{}
	}
	all[name] = t
	return all
}

func errIf(wrong bool, text string) error {
	if wrong {
		return errors.New(text)
	}
	return nil
}
