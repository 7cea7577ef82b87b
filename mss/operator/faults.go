package operator

// Codes of this room; each has its row in gateway/fault.
const (
	FaultDown              = "MSS-OPERATOR-DOWN"      // unreachable, or cut before the final dot
	FaultBusy              = "MSS-OPERATOR-BUSY"      // 4xx
	FaultRefused           = "MSS-OPERATOR-REFUSED"   // 5xx
	FaultNoMailbox         = "MSS-NO-MAILBOX"         // 5xx about the recipient's mailbox
	FaultFateUnknown       = "MSS-FATE-UNKNOWN"       // lost after the final dot
	FaultSTARTTLS          = "MSS-STARTTLS"           // not offered: nothing is said in clear
	FaultServerCertificate = "MSS-SERVER-CERTIFICATE" // theirs, not accepted by us
	FaultClientCertificate = "MSS-CLIENT-CERTIFICATE" // ours, not accepted by them
	FaultLogin             = "MSS-LOGIN"

	FaultMailboxDown    = "MSS-MAILBOX-DOWN"
	FaultMailboxRefused = "MSS-MAILBOX-REFUSED"
	FaultMailGone       = "MSS-MAIL-GONE"
)

// Error is a refusal of this room. It says what the operator answered, which
// its text leaves out: an operator quotes addresses.
type Error struct {
	Code     string
	Where    string // stage of the dialogue: connect, tls, login, mail, rcpt, data, dot
	SMTP     int    // reply code; 0 when there was none
	Enhanced string // 5.1.1; empty when there was none
	Cause    error
}

// Error is for logs.
func (e *Error) Error() string { return e.Code + " at " + e.Where }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.Code }

// FaultWhere names the place.
func (e *Error) FaultWhere() string { return e.Where }
