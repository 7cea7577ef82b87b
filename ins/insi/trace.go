package insi

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

// Operation names what was asked.
type Operation string

// The operations.
const (
	OpVitale Operation = "WS_INS1" // search by carte Vitale
	OpTraits Operation = "WS_INS2" // search by traits
	OpVerify Operation = "WS_INS3" // unit verification
)

// Actor is who asks, and for which house.
type Actor struct {
	ins.Actor
	FINESSGeo string `json:"finess_geo"`
	Name      string `json:"name,omitempty"`      // NameID of the assertion of a person
	Specialty string `json:"specialty,omitempty"` // code of the speciality, for a doctor
	Billing   string `json:"billing,omitempty"`   // identifiant de facturation, when it is not the FINESS
}

// Trace is one exchange with INSi, successful or not (EXI REC 07, INS va1.38
// and va1.35). Request and Response hold traits and matricules, verbatim: who
// keeps them encrypts them. The rest names nobody but the actor and may be
// shown.
type Trace struct {
	Operation Operation     `json:"operation"`
	MessageID string        `json:"message_id"`
	At        time.Time     `json:"at"`
	Took      time.Duration `json:"took"`
	Actor     Actor         `json:"actor"`
	Subject   string        `json:"subject,omitempty"` // who it is about, in the register's own words; never an INS
	Attempt   int           `json:"attempt"`           // 1 for the first call of a search
	Criteria  []string      `json:"criteria"`          // names of what was sent, no value
	Result    string        `json:"result,omitempty"`  // 00, 01, 02
	Fault     string        `json:"fault,omitempty"`   // our code
	Remote    string        `json:"remote,omitempty"`  // code of INSi

	Request  []byte `json:"-"`
	Response []byte `json:"-"`
}

// LogValue is what may stand in a log.
func (t Trace) LogValue() slog.Value {
	return slog.GroupValue(slog.String("operation", string(t.Operation)), slog.String("message_id", t.MessageID),
		slog.String("result", t.Result), slog.String("fault", t.Fault), slog.String("remote", t.Remote),
		slog.Int("attempt", t.Attempt), slog.Duration("took", t.Took))
}

// Tracer keeps traces. The answer is given to the caller only once Keep has
// returned nil.
type Tracer interface {
	Keep(ctx context.Context, t Trace) error
}

// maxTallied bounds the lines of a Tally: 20 years of 400 houses.
const maxTallied = 100_000

// Count is one line of the dashboard of INSi calls (TBB va1.02): how many calls
// of a house in a month had a result. Result is 00, 01 or 02, or "fault" for a
// call that failed.
type Count struct {
	FINESSGeo string    `json:"finess_geo"`
	Month     string    `json:"month"` // YYYY-MM
	Operation Operation `json:"operation"`
	Result    string    `json:"result"`
	Calls     int       `json:"calls"`
}

// Tally counts traces by house, month, operation and result. Months are those
// of its location. It may be used by several goroutines.
type Tally struct {
	location *time.Location
	mu       sync.Mutex
	calls    map[Count]int // Calls is 0 in the key
}

// NewTally makes an empty count, months being those of a place.
func NewTally(location *time.Location) *Tally {
	return &Tally{location: location, calls: map[Count]int{}}
}

// Add counts one trace. It is false when the tally is full of other lines.
func (t *Tally) Add(trace Trace) bool {
	key := Count{FINESSGeo: trace.Actor.FINESSGeo, Month: trace.At.In(t.location).Format("2006-01"),
		Operation: trace.Operation, Result: trace.Result}
	if trace.Result == "" || trace.Fault != "" {
		key.Result = "fault"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.calls[key]; !known && len(t.calls) >= maxTallied {
		return false
	}
	t.calls[key]++
	return true
}

// Counts gives the lines of months from and to, both included (YYYY-MM; empty
// for no bound), in order.
func (t *Tally) Counts(from, to string) []Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []Count{}
	for c, n := range t.calls {
		if c.Month >= from && (to == "" || c.Month <= to) {
			c.Calls = n
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Count) int {
		return slices.Compare([]string{a.FINESSGeo, a.Month, string(a.Operation), a.Result},
			[]string{b.FINESSGeo, b.Month, string(b.Operation), b.Result})
	})
	return out
}
