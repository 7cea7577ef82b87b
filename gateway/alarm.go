package gateway

import (
	"sort"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Alarms is what a person must act on now, by code of the error table. An alarm
// stands until what raised it works again.
type Alarms struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// Alarm is one standing alarm.
type Alarm struct {
	Code  string
	Since time.Time
}

// Raise records a refusal that a person must act on. It tells whether the alarm
// is new, so that it is logged once.
func (a *Alarms) Raise(err error, now time.Time) (code string, fresh bool) {
	code = fault.From(err).Code
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since == nil {
		a.since = map[string]time.Time{}
	}
	if _, standing := a.since[code]; standing {
		return code, false
	}
	a.since[code] = now
	return code, true
}

// Clear ends every alarm whose code keep does not hold back; nil clears all.
func (a *Alarms) Clear(keep func(code string) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for code := range a.since {
		if keep == nil || !keep(code) {
			delete(a.since, code)
		}
	}
}

// Standing lists the alarms, oldest first.
func (a *Alarms) Standing() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Alarm
	for code, since := range a.since {
		all = append(all, Alarm{code, since})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Since.Before(all[j].Since) })
	return all
}
