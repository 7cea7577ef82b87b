package fhir

// The codes of this room's refusals: what the DMP said, or failed to say.
const (
	FaultIDExtension  = "DMP-ID-EXTENSION"     // uniqueId with an extension
	FaultIncomplete   = "DMP-INCOMPLETE"       // a required metadata is missing
	FaultInconsistent = "DMP-INCONSISTENT"     // metadata contradict the bytes
	FaultUnreachable  = "DMP-UNREACHABLE"      // no connection
	FaultTimeout      = "DMP-TIMEOUT"          // no answer in time
	FaultUnavailable  = "DMP-UNAVAILABLE"      // 5xx, 429
	FaultTokenRefused = "DMP-TOKEN-REFUSED"    // no token, or 401 with a fresh one
	FaultBadAnswer    = "DMP-BAD-ANSWER"       // an answer that cannot be believed
	FaultClosed       = "DMPClosed"            // the DMP of the patient is closed
	FaultNoPatient    = "DMP-NO-PATIENT"       // no DMP for this INS
	FaultDuplicate    = "DMP-DUPLICATE"        // the uniqueId is already there
	FaultNotLatest    = "DMP-NOT-LATEST"       // the target is not the latest version
	FaultUnknown      = "DMP-UNKNOWN-DOCUMENT" // the target is not there
	FaultForbidden    = "DMP-FORBIDDEN"        // habilitation
	FaultTooLarge     = "DMP-TOO-LARGE"        // more than the DMP takes
	FaultRejected     = "DMP-REJECTED"         // any other refusal of the DMP
)

// Error is a failure to build a transaction or to have it done.
type Error struct {
	code   string
	where  string
	ack    string // HTTP status that was answered
	remote string // code in the OperationOutcome that was answered
	cause  error
}

// Error is for logs.
func (e *Error) Error() string {
	s := "dmp: " + e.code
	if e.where != "" {
		s += " at " + e.where
	}
	if e.ack != "" {
		s += ", HTTP " + e.ack
	}
	if e.remote != "" {
		s += ", " + e.remote
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.code }

// FaultWhere names the element concerned (FHIRPath), when one is known.
func (e *Error) FaultWhere() string { return e.where }

// AckCode is the HTTP status that the DMP answered; empty when it did not.
func (e *Error) AckCode() string { return e.ack }

// RemoteCode is the code that the DMP's OperationOutcome carried.
func (e *Error) RemoteCode() string { return e.remote }
