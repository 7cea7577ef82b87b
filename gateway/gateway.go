package gateway

import (
	"context"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Establishment is who a submission belongs to. Every row of the journal
// carries it.
type Establishment = dmp.Establishment

// Party is an application and its facility (HD of MSH-3/4).
type Party struct {
	Application string `json:"application"`
	Facility    string `json:"facility"`
}

// Message identifies what came through the door.
type Message struct {
	Type       string `json:"type"`              // MSH-9 without structure: ORU^R01, MDM^T02, ADT^A01
	ControlID  string `json:"control_id"`        // MSH-10
	Version    string `json:"version"`           // MSH-12.1
	Profile    string `json:"profile"`           // MSH-21: 2.1^CISIS_CDA_HL7_V2
	Processing string `json:"processing"`        // MSH-11: P, T, D
	Charset    string `json:"charset,omitempty"` // MSH-18
	To         Party  `json:"to"`                // MSH-5/6
}

// Flags are the routing flags of the volet (table MetaDMPMSS).
type Flags struct {
	HiddenFromProfessionals   bool `json:"masque_ps,omitempty"`
	HiddenFromPatient         bool `json:"invisible_patient,omitempty"`
	HiddenFromRepresentatives bool `json:"invisible_rep_legaux,omitempty"`
	SecretConnection          bool `json:"connexion_secrete,omitempty"`
	VisibilityChange          bool `json:"modif_conf_code,omitempty"`
	ToDMP                     bool `json:"destdmp,omitempty"`
	ToProfessionals           bool `json:"destmssanteps,omitempty"`
	ToPatient                 bool `json:"destmssantepat,omitempty"`
	PatientMayNotReply        bool `json:"fin,omitempty"` // NTE-4 = FIN after DESTMSSANTEPAT
	WantReception             bool `json:"ack_reception,omitempty"`
	WantReading               bool `json:"ack_lecture_mss,omitempty"`
}

// Recipient is one addressee (PRT RCT).
type Recipient struct {
	Kind    string           `json:"kind"` // professional, patient, organisation, device
	Address string           `json:"address"`
	Person  *dmp.Person      `json:"person,omitempty"`
	Org     dmp.Organisation `json:"organisation"`
	Device  string           `json:"device,omitempty"`
}

// Visit is what PV1 and PID-18 say of the stay.
type Visit struct {
	Class      string `json:"class,omitempty"`       // PV1-2: I, O, R, E, N
	Number     string `json:"number,omitempty"`      // PV1-19
	FileNumber string `json:"file_number,omitempty"` // PID-18
	Admitted   string `json:"admitted,omitempty"`    // PV1-44, as written
	Discharged string `json:"discharged,omitempty"`  // PV1-45, as written
}

// InboundDocument is one document of a message. Claimed values are what the
// envelope says; the CDA has the last word and a contradiction refuses.
type InboundDocument struct {
	Where    string   `json:"where"`              // HL7 location: OBX^1^5
	Content  []byte   `json:"-"`                  // the document, decoded
	Type     dmp.Code `json:"type"`               // OBR-4 / OBX-3 / TXA-2
	ID       *dmp.ID  `json:"id,omitempty"`       // TXA-12, if present
	Replaces *dmp.ID  `json:"replaces,omitempty"` // TXA-13, if present
	// Claimed is what an HTTP sender says of the document, in full: what it says
	// is compared with the document, what it leaves out contradicts nothing.
	Claimed *dmp.Metadata `json:"claimed,omitempty"`
	// Build makes Content, for a door that received no CDA, once the identity of
	// the patient is settled. It must not fail otherwise than by refusals.
	Build func(patient ins.Identity) ([]byte, []error) `json:"-"`
}

// Note is something tolerated and told: a code of the error table and a place.
type Note struct {
	Code  string `json:"code"`
	Where string `json:"where,omitempty"`
}

// Inbound is what a door understood of one message. A door never decides: what
// it could not read goes into Refusals, and [Gateway.Accept] refuses with it.
type Inbound struct {
	Door          string            `json:"door"` // hl7, fhir, rest
	Establishment Establishment     `json:"establishment"`
	From          Party             `json:"from"` // MSH-3/4
	Message       Message           `json:"message"`
	Raw           []byte            `json:"-"` // the message exactly as it came
	Action        dmp.Action        `json:"action"`
	Patient       ins.Identity      `json:"patient"`                  // PID
	Asker         *Asker            `json:"-"`                        // for whom INSi may be asked for the patient's INS; nil: it is not
	Prior         *ins.Identity     `json:"prior,omitempty"`          // MRG: the identifiers that it no longer has
	DateCorrected bool              `json:"date_corrected,omitempty"` // ZFD-4: the birth date was completed
	Visit         Visit             `json:"visit"`
	Consent       *Consent          `json:"consent,omitempty"` // ZFA
	Flags         Flags             `json:"flags"`
	Documents     []InboundDocument `json:"documents"`
	Requester     *dmp.Requester    `json:"requester,omitempty"` // PRT SB
	Recipients    []Recipient       `json:"recipients,omitempty"`
	ReplyTo       string            `json:"reply_to,omitempty"`
	BodyPro       []byte            `json:"body_pro,omitempty"`     // CORPSMAIL_PS
	BodyPatient   []byte            `json:"body_patient,omitempty"` // CORPSMAIL_PATIENT
	Warnings      []Note            `json:"warnings,omitempty"`
	Refusals      []error           `json:"-"` // framing, separators, profile, structure, flags: in this order
	FlagRefusals  int               `json:"-"` // how many of the last Refusals are about flags and recipients
	// IdempotencyKey names this message among those of its sender at its door:
	// the same bytes get the stored answer; once bytes were accepted under it, all
	// others are refused.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
}

// Outcome is what was decided of a message.
type Outcome string

// The outcomes. Only Accepted and Noted make the gateway responsible.
const (
	Accepted    Outcome = "accepted"    // durable; deliveries are queued
	Noted       Outcome = "noted"       // durable; nothing to deliver (PAM.fr)
	Refused     Outcome = "refused"     // permanent: the sender must correct (AE)
	Unavailable Outcome = "unavailable" // temporary: the sender may resend as is (AR)
	Replayed    Outcome = "replayed"    // exact retransmission: Receipt is the stored one
)

// Decision is the answer of [Gateway.Accept] to a door.
type Decision struct {
	Submission string // id; follows the document to the last acknowledgement
	Outcome    Outcome
	Faults     []*fault.Fault // why it was refused, in the order of the design
	Warnings   []Note
	Receipt    []byte // the bytes to answer with, as stored
	Rules      string // version of the rules and settings that judged

	elsewhere bool // what is unavailable is another service, not the gateway
}

// Receipt renders the door's answer to a decision. It must not fail and must
// not block: it is called before the commit, and its bytes are stored with it.
type Receipt func(Decision) []byte

// Door is what the doors need of the gateway.
type Door interface {
	// Accept judges a message and, if it is accepted, makes it durable before
	// returning. The decision always carries a receipt.
	Accept(ctx context.Context, in Inbound, receipt Receipt) Decision
}

// Archive is the DMP, as deliveries need it; dmp/fhir implements it. Errors
// carry a code of the table that says whether they are temporary.
type Archive interface {
	// Deposit hands over a lot. Sent again with the same LotID it must not
	// create a second one.
	Deposit(ctx context.Context, d dmp.Deposit) (dmp.Deposited, error)
	// Find asks for one document by its uniqueId (TD3.1b), whatever its status.
	// It returns nil when the DMP does not know it or holds it as deleted.
	Find(ctx context.Context, c dmp.Caller, patient ins.Identity, id dmp.ID) (*dmp.Held, error)
	// Delete marks a document as deleted (TD3.3c). A document that is already
	// deleted is a success.
	Delete(ctx context.Context, c dmp.Caller, patient ins.Identity, technicalID string) error
}

// Notice is an outcome to tell the hospital (ZAM).
type Notice struct {
	ControlID     string        `json:"control_id"` // MSH-10 of the ZAM; the same on every resend
	Event         string        `json:"event"`      // Z01, Z02, Z03
	Composed      time.Time     `json:"composed"`   // MSH-7 and EVN-2
	To            Party         `json:"to"`         // MSH-3/4 of the original message
	As            Party         `json:"as"`         // MSH-5/6 of the original message
	Processing    string        `json:"processing"`
	Answers       string        `json:"answers"` // MSH-10 of the original message
	Success       bool          `json:"success"`
	Code          string        `json:"code,omitempty"`         // ERR-5.1 when not Success
	Text          string        `json:"text,omitempty"`         // ERR-5.2
	Recipient     string        `json:"recipient,omitempty"`    // address (Z02, Z03)
	RecipientID   string        `json:"recipient_id,omitempty"` // national id (Z02, Z03)
	Establishment Establishment `json:"establishment"`
}

// Hospital delivers a notice to the hospital software and waits for its
// acknowledgement. Nil means acknowledged AA.
type Hospital interface {
	Notify(ctx context.Context, n Notice) error
}
