package mss

// Codes of this room; each has its row in gateway/fault.
const (
	// Configuration: the gateway does not start.
	FaultNIL    = "MSS-NIL"    // X-MSS-NIL is empty
	FaultSender = "MSS-SENDER" // the gateway's mailbox, or a limit, cannot be used

	// Composing: nothing leaves to this recipient.
	FaultAddress             = "MSS-ADDRESS"              // not the form of an address
	FaultDomain              = "MSS-DOMAIN"               // outside the trust space
	FaultPatientAddress      = "MSS-PATIENT-ADDRESS"      // not the address of this INS
	FaultHiddenPatient       = "MSS-HIDDEN-PATIENT"       // the patient may not see it yet
	FaultHiddenProfessionals = "MSS-HIDDEN-PROFESSIONALS" // the patient hid it
	FaultOpposed             = "MSS-OPPOSED"              // the patient opposes
	FaultHeader              = "MSS-HEADER"               // a control character on its way to a header
	FaultLetter              = "MSS-LETTER"               // something that a letter needs is missing
	FaultSize                = "MSS-SIZE"                 // too big for the operator or the recipient
	FaultReplyTo             = "MSS-REPLY-TO"             // no reply address that can be used

	// Composing: tolerated and told.
	FaultNoPDF          = "MSS-NO-PDF"           // a document without its PDF copy
	FaultReplyToIgnored = "MSS-REPLY-TO-IGNORED" // the configured reply address was used

	// Reading.
	FaultInboundSize     = "MSS-INBOUND-SIZE"
	FaultMIME            = "MSS-MIME"
	FaultMIMELimit       = "MSS-MIME-LIMIT"
	FaultSeveralArchives = "MSS-SEVERAL-ARCHIVES"
	FaultReport          = "MSS-REPORT"      // a report that no machine can use
	FaultMDNUnasked      = "MSS-MDN-UNASKED" // no MDN was asked for
	FaultLoop            = "MSS-LOOP"        // an MDN could loop

	// What receipts say.
	FaultBounced       = "MSS-BOUNCED"        // DSN: failed
	FaultNotIntegrated = "MSS-NOT-INTEGRATED" // MDN: error
	FaultNotRead       = "MSS-NOT-READ"       // MDN: deleted or denied
)

// Error is a refusal of this room. Where is a place (document[1]/title), never
// a value.
type Error struct {
	Code  string
	Where string
	Cause error
}

// Error is for logs. The cause is left out: it may quote foreign bytes.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Code
	}
	return e.Code + " at " + e.Where
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.Code }

// FaultWhere names the place.
func (e *Error) FaultWhere() string { return e.Where }

func refuse(code, where string) *Error { return &Error{Code: code, Where: where} }
