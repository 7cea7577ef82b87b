package psc

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNoRecord: the store holds no record of this kind and key.
var ErrNoRecord = errors.New("psc: no record")

// Record is something to keep until Expires. Key is a digest and Value is
// sealed: a store learns neither who is logged in nor any token.
type Record struct {
	Kind    string // at most 16 characters, a to z
	Key     string // at most 64 characters
	Value   []byte // at most 256 KiB; may be empty
	Expires time.Time
}

// Store keeps sessions, tokens and what was used once. What a method that
// returned nil wrote must be seen by every later call, of any instance of the
// gateway that shares the store, and after a crash. psctest.Run is the contract
// as tests.
//
// A record past Expires may still be found until it is swept; callers check.
type Store interface {
	// Add writes a record unless there is one of its kind and key already, and
	// tells whether it wrote. Among concurrent calls exactly one is told true.
	Add(ctx context.Context, r Record) (bool, error)
	// Update replaces a record that is there, and tells whether it was: a
	// record that was deleted meanwhile stays deleted.
	Update(ctx context.Context, r Record) (bool, error)
	// Get reads a record, or ErrNoRecord.
	Get(ctx context.Context, kind, key string) (Record, error)
	// Delete removes a record, and tells whether it was there.
	Delete(ctx context.Context, kind, key string) (bool, error)
	// Sweep removes the records whose Expires is before now.
	Sweep(ctx context.Context, now time.Time) (removed int, err error)
}

// The kinds of records.
const (
	kindSession = "session"
	kindToken   = "token"
	kindProxy   = "proxy"   // sessions of software, on a person's behalf
	kindState   = "state"   // of logins that came back
	kindSubject = "subject" // PSC tokens that were exchanged
)

// MemoryStore is a [Store] that a restart empties: every session ends, every
// token of ours is refused, and a PSC token that was exchanged less than two
// minutes before may be exchanged once more. It suits tests and a gateway whose
// users may be asked to log in again.
type MemoryStore struct {
	most int

	mu      sync.Mutex
	records map[[2]string]Record
}

// NewMemoryStore makes an empty store of at most a number of records; when it
// is full, Add refuses.
func NewMemoryStore(most int) *MemoryStore {
	return &MemoryStore{most: most, records: map[[2]string]Record{}}
}

// Add is [Store].Add.
func (m *MemoryStore) Add(_ context.Context, r Record) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.records[[2]string{r.Kind, r.Key}]; taken {
		return false, nil
	}
	if len(m.records) >= m.most {
		return false, refuse(FaultFull, "")
	}
	m.put(r)
	return true, nil
}

// Update is [Store].Update.
func (m *MemoryStore) Update(_ context.Context, r Record) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.records[[2]string{r.Kind, r.Key}]; !there {
		return false, nil
	}
	m.put(r)
	return true, nil
}

func (m *MemoryStore) put(r Record) {
	r.Value = append([]byte(nil), r.Value...)
	m.records[[2]string{r.Kind, r.Key}] = r
}

// Get is [Store].Get.
func (m *MemoryStore) Get(_ context.Context, kind, key string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[[2]string{kind, key}]
	if !ok {
		return Record{}, ErrNoRecord
	}
	r.Value = append([]byte(nil), r.Value...)
	return r, nil
}

// Delete is [Store].Delete.
func (m *MemoryStore) Delete(_ context.Context, kind, key string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := m.records[[2]string{kind, key}]
	delete(m.records, [2]string{kind, key})
	return there, nil
}

// Sweep is [Store].Sweep.
func (m *MemoryStore) Sweep(_ context.Context, now time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	removed := 0
	for k, r := range m.records {
		if r.Expires.Before(now) {
			delete(m.records, k)
			removed++
		}
	}
	return removed, nil
}
