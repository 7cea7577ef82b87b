package insi

import (
	"context"
	"log/slog"
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
