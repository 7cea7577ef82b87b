package gateway

import (
	"context"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
)

// Mail is what deliveries need of secure mail. Composing is ours and pure;
// submitting goes through Operator.
type Mail struct {
	Composer *mss.Composer
	From     mss.Address
	Operator Operator
	// ReportWait is how long a report is expected on a letter that the operator
	// took; UnknownWait how long before a letter of unknown fate is sent again,
	// so that its report may come first.
	ReportWait  time.Duration
	UnknownWait time.Duration
}

// Operator hands letters over to the MSSanté operator.
type Operator interface {
	Submit(ctx context.Context, p Posting) Posted
}

// Posting is one letter to one recipient.
type Posting struct {
	ID       string // ENVID
	From, To mss.Address
	Raw      []byte
}

// Posted is what became of it, as far as the submission tells.
type Posted struct {
	Err     error // nil: the operator answers for it
	Unknown bool  // with Err: lost after the final dot, the operator may hold it
	Report  bool  // a delivery report was asked for
	Reply   string
	Code    int // of the HL7 table SMTPERRORCODE, with Err
}

// Mailbox is the gateway's mailbox at the operator.
type Mailbox interface {
	// Each calls handle with every mail that nobody treated, oldest first, and
	// marks as treated those for which it returned nil. A mail that can never be
	// read (too large) goes to unreadable instead, with a name that stays the
	// same. It stops at the first temporary error of the mailbox itself; a mail
	// that the server will not give is left for later, and its error returned.
	Each(ctx context.Context, handle func(raw []byte) error, unreadable func(name string, reason error) error) error
}

// Application delivers a document received by mail to the hospital software
// (VOL-B, MDM of profile CISIS_CDA_HL7_LPS) and waits for its acknowledgement.
// Nil means AA. An error with a method ApplicationCode() string gives ERR-5 of
// an AE: 900 to 906.
type Application interface {
	File(ctx context.Context, f Filing) error
}

// Filing is one document for one person of the hospital.
type Filing struct {
	ControlID     string // MSH-10: the same on every resend
	Composed      time.Time
	Establishment Establishment
	Action        dmp.Action
	Patient       ins.Identity // as held by the hospital, with its IPP
	Document      []byte       // the CDA
	Metadata      dmp.Metadata
	MessageID     string // of the letter
	Subject       string
	Body          string
	Sender        string   // address
	Recipients    []string // addresses
	ReplyTo       []string // addresses
	// VisibilityChange: the letter only changes who may see the document.
	VisibilityChange bool
}

// Identities are the people that the hospital knows.
type Identities interface {
	// Candidates finds those that may be the person received: at least all that
	// hold, or once held, the same matricule.
	Candidates(ctx context.Context, finessEJ string, received ins.Identity) ([]ins.Candidate, error)
}
