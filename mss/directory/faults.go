package directory

// Codes of this room; each has its row in gateway/fault.
const (
	FaultSettings  = "DIR-SETTINGS"  // configuration: does not start
	FaultPatient   = "DIR-PATIENT"   // a patient's address is never asked about
	FaultUnreached = "DIR-UNREACHED" // no answer
	FaultKey       = "DIR-KEY"       // the key is refused
	FaultBusy      = "DIR-BUSY"      // too many calls
	FaultAnswer    = "DIR-ANSWER"    // not the answer of a FHIR directory
)

// Error is a refusal of this room. It tells nothing of who was asked about.
type Error struct {
	Code  string
	Where string
	Cause error
}

// Error is for logs.
func (e *Error) Error() string {
	s := e.Code
	if e.Where != "" {
		s += " at " + e.Where
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.Code }

// FaultWhere names the place.
func (e *Error) FaultWhere() string { return e.Where }

func refuse(code, where string, cause error) *Error {
	return &Error{Code: code, Where: where, Cause: cause}
}
