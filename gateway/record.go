package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// State is where a submission or a delivery stands.
type State string

// States of a delivery. A submission is Pending while one of its deliveries to
// the outside is due or waiting, then Done, Failed or Partial; Refused and Kept
// bring nothing outside, and only a person ends a Quarantined one.
const (
	Due     State = "due"     // waiting for its time, or leased
	Waiting State = "waiting" // a letter: the operator has it, its report will settle it
	Done    State = "done"    // the other side answered and said yes
	Failed  State = "failed"  // permanent: the other side, or a rule, said no
	Stopped State = "stopped" // a person stopped the retries; a person may have it begin again

	Pending      State = "pending"
	Partial      State = "partial"
	RefusedState State = "refused"
	Kept         State = "kept"
	Quarantined  State = "quarantined" // an incoming letter that waits for a person
)

// The destinations of deliveries.
const (
	DestinationDMP = "dmp"         // ITI-65, replacement, deletion
	DestinationZAM = "zam"         // Z01 … to the hospital
	DestinationPro = "mss-pro"     // a letter to a professional, an organisation or an application
	DestinationPat = "mss-patient" // a letter to the patient
	DestinationMDM = "mdm"         // an incoming letter's document, to the hospital
	DestinationMDN = "mdn"         // what became of an incoming letter, to its sender

	// DestinationWebhook: an outcome, to the software of the establishment.
	DestinationWebhook = "webhook"
	DestinationA47     = "identity" // a lowered identity, to the hospital; Recipient is its id, Remote the version
)

// Submission is one message that came through a door, accepted or refused.
type Submission struct {
	ID            string
	Received      time.Time
	Door          string
	Establishment Establishment
	From          Party
	Message       Message
	Key           string // duplicate key: MSH-3/4/10 and the digest of the bytes
	Digest        string // of the message as it came; kept as bytes only when accepted
	Rules         string // fingerprint of the rules and settings that judged it
	Action        dmp.Action
	INSStatus     string
	Stay          string // keyed hash of the stay number; empty if none
	State         State
	Code          string          // first refusal, or last failure; when Done, that of a ZAM, MDN or webhook that could not be told
	Warnings      []Note          // tolerated at the door
	Envelope      json.RawMessage // the Inbound without its bytes; nil when refused
	Receipt       []byte          // what the door answered
}

// DocumentRow is one document of an accepted submission.
type DocumentRow struct {
	Index    int
	Where    string
	UniqueID string // dmp.ID.String
	SetID    string
	Version  int
	TypeCode string
	Replaces string
	Digest   string // SHA-256, hex: where its bytes are kept
	Size     int64
}

// Delivery is one thing to bring to one destination. It is worked on in place,
// under a lease; it is never taken out of the journal.
type Delivery struct {
	ID            string
	Submission    string
	Establishment Establishment
	Destination   string
	State         State
	Created       time.Time
	Due           time.Time // not before
	Attempts      int
	Sent          bool // a request may have reached the other side: ask before resending
	// Remote is, blank-separated, the technical ids noted before a deletion was
	// sent, or the locations that a deposit got; the code that a receipt carries;
	// of a webhook the events that it tells, by Seq: the journal puts there those
	// that it commits with it.
	Remote    string
	Notice    *Notice   // destination zam
	Code      string    // last failure
	Recipient string    // address, for the destinations of mail
	Letter    string    // digest of the letter's bytes, once composed: a resend sends these
	MessageID string    // of the letter, without angle brackets; distinct among all deliveries
	Round     int       // how often a person had it begun again
	Since     time.Time // when its last round began; zero: it is the first
}

// Event is one line of a timeline, and the event record from which indicators
// are computed (segur-rem §4.2): its establishment is that of its submission.
type Event struct {
	Seq         int64 // set by the journal; grows within a submission
	Submission  string
	Time        time.Time
	Step        string
	Outcome     string // ok, warning, retry, failed
	Code        string // of the error table, when not ok
	AckCode     string // what the other side answered, done or refused: HTTP status, MSA-1, SMTP code; empty when it was asked and had it already
	Destination string
	Recipient   string
	Where       string // place of a warning or a refusal
	Attempt     int
	Document    DocumentMark
	By          string // national identifier of the professional who decided; empty: nobody did
	Why         string // their reason, in their words; no patient is named in it
}

// DocumentMark is the part of an event record that concerns one document.
type DocumentMark struct {
	UniqueID string
	SetID    string
	Version  int
	TypeCode string
	Flags    string // the visibility flags that are set, blank-separated
}

// Entry is what one acceptance or refusal commits: all of it or nothing.
type Entry struct {
	Submission Submission
	Documents  []DocumentRow
	Deliveries []Delivery
	Events     []Event
	Consents   []ConsentRow
}

// Settlement is the end of one attempt: all of it or nothing, and before
// anything else happens.
type Settlement struct {
	Delivery  string
	Holder    string
	State     State     // Done, Failed, Waiting, or Due again
	Due       time.Time // when State is Due; when Waiting, no report is expected after it
	Sent      bool      // see Delivery.Sent
	Code      string
	Events    []Event
	Documents []DocumentFate
	Next      []Delivery // what follows from it: the ZAM of a DMP answer, a webhook that tells Events
}

// Report is what a receipt (DSN or MDN) says of one letter: all of it or
// nothing. It may come long after the letter was settled, and changes that one
// delivery only.
type Report struct {
	Key      string // unique for ever: what the receipt is about and what it says
	Delivery string
	Round    int   // of the delivery, as it was when this was decided
	Was      State // likewise; empty: any state will do
	State    State // Done or Failed; empty: the state stays (an MDN says nothing of delivery)
	Code     string
	Ended    []Event // of the attempt that State ends, if one is under way: it can no longer write them itself; told by no Next
	Events   []Event
	Next     []Delivery // the ZAM that tells it, a webhook that tells Events
}

// Ruling is what a person decided of one delivery, or of one mail in quarantine:
// all of it or nothing.
type Ruling struct {
	Submission string
	Delivery   string // empty: the mail itself
	Was        State  // as the person saw it: Due, Failed, Stopped; of a mail Quarantined
	Round      int    // of the delivery, as the person saw it
	Now        time.Time
	State      State // Stopped, or Due for a new round; of a mail Quarantined, RefusedState, Pending
	Code       string
	Sent       bool   // of a new round; see Delivery.Sent
	Remote     string // of a new round; see Delivery.Remote
	Filed      *Filed // of a mail that becomes Pending
	Events     []Event
	Next       []Delivery
}

// Filed is what a mail becomes once a person said whom it concerns.
type Filed struct {
	Action    dmp.Action
	INSStatus string
	Envelope  json.RawMessage
	Documents []DocumentRow
}

// DocumentFate is what became of one document in the DMP.
type DocumentFate struct {
	UniqueID   string
	Fate       string // current, superseded, deleted
	ReplacedBy string
}

// Query selects submissions, newest first.
type Query struct {
	Door      string   // empty: all
	FINESSGeo []string // sites the caller may see; empty means none
	ControlID string
	State     State
	Document  string    // a uniqueId (dmp.ID.String): those that bring, replace or delete it
	Since     time.Time // received at this time or later; zero: no bound
	Until     time.Time // received before this time; zero: no bound
	Before    string    // id of the last submission of the previous page
	Limit     int
}

// What a journal says besides yes.
var (
	// ErrDuplicate: the key is already recorded; use Journal.Recorded.
	ErrDuplicate = errors.New("journal: already recorded")
	// ErrLeaseLost: somebody else holds the delivery, or it is settled.
	ErrLeaseLost = errors.New("journal: lease lost")
	// ErrLeased: an attempt is under way.
	ErrLeased = errors.New("journal: leased")
	// ErrDecided: it is not, or no longer, as who decided saw it.
	ErrDecided = errors.New("journal: changed meanwhile")
	// ErrSuperseded: a later version of the document was fed, or it was deleted; or
	// what changed later was told of the identity.
	ErrSuperseded = errors.New("journal: superseded")
	// ErrNotFound: no such submission.
	ErrNotFound = errors.New("journal: not found")
)

// Journal is the durable record. What a method that returned nil wrote survives
// a crash of the process and of the machine. Any other error than those above
// carries a code of the table; a full disk is GW-DISK-FULL.
type Journal interface {
	// Keep makes bytes durable under their SHA-256 (hex), which it returns.
	// Keeping the same bytes again is free.
	Keep(ctx context.Context, data []byte) (digest string, err error)
	// Fetch gives back kept bytes, checked against their digest.
	Fetch(ctx context.Context, digest string) ([]byte, error)

	// Record commits an entry. The digests that it names must have been kept.
	// Keys are unique but for the empty key: ErrDuplicate.
	Record(ctx context.Context, e Entry) error
	// Recorded finds a submission by its key.
	Recorded(ctx context.Context, key string) (Submission, error)
	// Submission reads one with its documents.
	Submission(ctx context.Context, id string) (Submission, []DocumentRow, error)
	// Deliveries reads the deliveries of one submission, oldest first.
	Deliveries(ctx context.Context, submission string) ([]Delivery, error)
	// Events reads a timeline from after seq on, in order.
	Events(ctx context.Context, submission string, after int64) ([]Event, error)
	// Submissions lists.
	Submissions(ctx context.Context, q Query) ([]Submission, error)
	// Fate says what is known of a document that this establishment (FINESS EJ)
	// fed, or will have fed once its due deliveries to the DMP are done, in their
	// order: one that is to be fed is current, the target of a replacement or of a
	// deletion superseded or deleted. What failed or was stopped counts for
	// nothing. Zero value and ErrNotFound when nothing is known under that id.
	Fate(ctx context.Context, finessEJ, uniqueID string) (DocumentFate, error)
	// Consent gives the row that counts among those about any of the persons:
	// the latest At, then the last recorded. ErrNotFound when there is none.
	Consent(ctx context.Context, persons []string) (ConsentRow, error)

	// Claim leases up to max due deliveries of one destination to holder until
	// the given time, oldest due first, and counts an attempt on each; those of
	// the sites (FINESS géographique) named by except are left for later. Two
	// deliveries to the same destination whose submissions name a common
	// document (one replaces or deletes what the other brings) are never leased
	// out of order: the later waits until the earlier is settled.
	Claim(ctx context.Context, destination, holder string, now, until time.Time, max int, except ...string) ([]Delivery, error)
	// MarkSent notes, before a request leaves, that it may reach the other side.
	MarkSent(ctx context.Context, delivery, holder, remote string) error
	// Settle commits the end of an attempt. ErrLeaseLost if holder lost it.
	Settle(ctx context.Context, s Settlement) error
	// MarkLetter is MarkSent for a letter: before it is first submitted, notes
	// the digest of its bytes (kept before) and its Message-ID. Once noted, both
	// stand for ever: another value is an error.
	MarkLetter(ctx context.Context, delivery, holder, digest, messageID string) error
	// Letter finds a mail delivery by its id, or by Message-ID when id is empty.
	Letter(ctx context.Context, id, messageID string) (Delivery, error)
	// Apply commits what a receipt says, whoever holds the delivery: if it gives
	// a state, a lease that is running is lost. ErrDuplicate when the key was
	// applied before, ErrNotFound when there is no such letter, ErrDecided when the
	// letter is not, or no longer, as the report says that it was.
	Apply(ctx context.Context, r Report) error
	// Overdue reads up to max letters that still wait for a report after the time
	// until which one was expected.
	Overdue(ctx context.Context, now time.Time, max int) ([]Delivery, error)
	// Decide commits what a person decided; its events say who and why. Of two
	// decisions about what both saw alike, the first is committed and the other is
	// ErrDecided. ErrLeased while an attempt is under way: what it does is not
	// known yet. ErrSuperseded when a new round would bring to the DMP what a later
	// submission replaced or deleted there, or tell the hospital of a change of an
	// identity after a later one.
	Decide(ctx context.Context, r Ruling) error
	// NextDue is the earliest time at which a delivery of the destination is
	// due or a lease on one ends, those of sites named by except left out; zero
	// when there is none.
	NextDue(ctx context.Context, destination string, except ...string) (time.Time, error)

	// Sweep removes kept bytes older than before that no row names.
	Sweep(ctx context.Context, before time.Time) (removed int, err error)
}

// Step names a moment between which a crash must lose nothing; see [Trace].
type Step string

// The moments that a trace reports.
const (
	StepStored    Step = "bytes-fsynced"
	StepCommitted Step = "committed"
	StepAcked     Step = "ack-sent"
	StepLeased    Step = "lease-taken"
	StepRequested Step = "dmp-request-sent"
	StepAnswered  Step = "dmp-answer-received"
	StepSubmitted Step = "letter-kept"      // about to be handed to the operator
	StepPosted    Step = "operator-replied" // its outcome unwritten
	StepFiled     Step = "mdm-answered"     // its outcome unwritten
	StepTold      Step = "webhook-answered" // its outcome unwritten
	StepSettled   Step = "settled"
)

// Trace is told when a moment is reached, with the submission it concerns. It
// may block; production passes a debug log, the kill test passes a trap.
type Trace func(step Step, submission string)
