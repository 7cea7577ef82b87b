package sim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mode is a way for a simulated service to misbehave.
type Mode string

// The modes. Which of them a service knows is listed by the control port.
const (
	Down   Mode = "down"   // connections are closed without an answer
	Slow   Mode = "slow"   // the answer waits
	Refuse Mode = "refuse" // an error is answered
	Cut    Mode = "cut"    // the connection is closed in the middle of the answer
	Hold   Mode = "hold"   // the request is received and not answered until released
	Lie    Mode = "lie"    // a wrong answer that says that all is well
	Silent Mode = "silent" // hospital: stored, never answered; operator: no delivery report

	Bounce   Mode = "bounce"   // operator: accepted, then a failure report
	Quota    Mode = "quota"    // operator: the mailbox is full
	Greylist Mode = "greylist" // operator: each pair of sender and recipient is put off once
)

// When a trouble strikes, where that can be chosen.
const (
	Before = "before" // the request was received and is not processed
	After  = "after"  // the request was processed
)

// Trouble is one knob turned: what goes wrong, for which requests, how often.
type Trouble struct {
	Mode Mode `json:"mode"`

	// Which requests. Empty means all. For the hospital, Path is the beginning
	// of MSH-9, such as ZAM^Z01.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`  // beginning of the path
	Count  int    `json:"count,omitempty"` // how many times; 0 means until it is reset

	Milliseconds int    `json:"ms,omitempty"`     // slow
	Status       int    `json:"status,omitempty"` // refuse: HTTP status, default 503
	Code         string `json:"code,omitempty"`   // refuse: FHIR issue code, or AE/AR of the hospital
	Bytes        int    `json:"bytes,omitempty"`  // cut: of the whole answer, status line included
	When         string `json:"when,omitempty"`   // cut, hold, refuse, lie: before or after processing
	Lie          string `json:"lie,omitempty"`    // count, html, other-id, empty
}

// The lies that the DMP knows.
var lies = []string{"count", "html", "other-id", "empty"}

// check says what is wrong with a trouble of the DMP.
func (t Trouble) check(modes []Mode) error {
	switch {
	case !slices.Contains(modes, t.Mode):
		return fmt.Errorf("mode inconnu %q, attendu : %v", t.Mode, modes)
	case t.When != "" && t.When != Before && t.When != After:
		return errors.New(`when vaut "before" ou "after"`)
	case t.Count < 0 || t.Milliseconds < 0 || t.Bytes < 0:
		return errors.New("count, ms et bytes ne sont pas négatifs")
	case t.Milliseconds > 600_000:
		return errors.New("ms vaut 600000 au plus")
	case t.Status != 0 && (t.Status < 200 || t.Status > 599):
		return errors.New("status est un statut HTTP de 200 à 599")
	case t.Mode == Lie && !slices.Contains(lies, t.Lie):
		return fmt.Errorf("lie vaut l'un de %v", lies)
	}
	return nil
}

// troubles is what currently goes wrong with one service, and what it counted.
type troubles struct {
	mu       sync.Mutex
	list     []Trouble
	release  chan struct{} // closed to let go what is held
	counters Counters
}

// Counters tell what reached a service since it started or was reset.
type Counters struct {
	Received  int            `json:"received"`  // read entirely
	Processed int            `json:"processed"` // given to the service itself
	Answered  int            `json:"answered"`  // answered entirely
	Held      int            `json:"held"`      // waiting for a release now
	By        map[string]int `json:"by"`        // received, by kind of request
}

func newTroubles() *troubles {
	return &troubles{release: make(chan struct{}), counters: Counters{By: map[string]int{}}}
}

func (t *troubles) set(list []Trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.Clone(list)
	close(t.release)
	t.release = make(chan struct{})
}

func (t *troubles) get() []Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Trouble{}, t.list...)
}

// letGo releases what is held and keeps the troubles.
func (t *troubles) letGo() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.release)
	t.release = make(chan struct{})
}

// strike finds the trouble of one request, counts it down, and gives the
// channel whose closing releases it.
func (t *troubles) strike(method, path string) (Trouble, <-chan struct{}) {
	return t.strikeIf(func(one Trouble) bool {
		return (one.Method == "" || strings.EqualFold(one.Method, method)) && strings.HasPrefix(path, one.Path)
	})
}

// strikeIf is strike for a service that has its own filters.
func (t *troubles) strikeIf(matches func(Trouble) bool) (Trouble, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, one := range t.list {
		if !matches(one) {
			continue
		}
		switch one.Count {
		case 0:
		case 1:
			t.list = slices.Delete(slices.Clone(t.list), i, i+1)
		default:
			t.list[i].Count--
		}
		return one, t.release
	}
	return Trouble{}, t.release
}

func (t *troubles) count(f func(*Counters)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.counters)
}

// maxKinds bounds the kinds of requests that are counted apart: they are words
// of whoever sends.
const maxKinds = 100

// received counts a request that was read entirely.
func (t *troubles) received(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counters.Received++
	if _, known := t.counters.By[kind]; len(kind) > 80 || (!known && len(t.counters.By) >= maxKinds) {
		kind = "autres"
	}
	t.counters.By[kind]++
}

// seen returns the counters; reset starts them again.
func (t *troubles) seen(reset bool) Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counters
	c.By = map[string]int{}
	for k, n := range t.counters.By {
		c.By[k] = n
	}
	if reset {
		t.counters = Counters{Held: c.Held, By: map[string]int{}}
	}
	return c
}

// kindOf names a request for the counters: method and first two segments of the
// path, so that no identifier is kept.
func kindOf(r *http.Request) string {
	parts := strings.SplitN(strings.Trim(r.URL.Path, "/"), "/", 3)
	return r.Method + " /" + strings.Join(parts[:min(2, len(parts))], "/")
}

// wait sleeps for the trouble's delay, less if done is closed first.
func wait(d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}
