package gateway

import (
	"sync"
	"time"
)

// Meters counts what happened since the process started. The nil value counts
// nothing. What must survive a restart is counted from the journal's events.
type Meters struct {
	mu     sync.Mutex
	counts map[Meter]int64
}

// Meter names one count: submissions by door and outcome, deliveries (attempts
// that ended) by destination and state, receipts by step and outcome. No name
// concerns a patient.
type Meter struct{ What, Of, Outcome string }

// What is counted.
const (
	MeterSubmissions = "submissions"
	MeterDeliveries  = "deliveries"
	MeterReceipts    = "receipts"
)

func (m *Meters) add(what, of, outcome string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[Meter]int64{}
	}
	m.counts[Meter{what, of, outcome}]++
}

// Counts is a copy of all.
func (m *Meters) Counts() map[Meter]int64 {
	out := map[Meter]int64{}
	if m == nil {
		return out
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, n := range m.counts {
		out[k] = n
	}
	return out
}

// Queued is what waits for one destination, perhaps nothing.
type Queued struct {
	Destination string
	State       State // Due or Waiting
	Count       int64
	Oldest      time.Time // when the oldest of them was queued; zero: there is none
}
