package insi

import "strings"

// Codes of the refusals of this package. Each has its row in gateway/fault.
const (
	FaultConfig      = "INSI-CONFIG"      // a client that cannot work as it is configured
	FaultCertificate = "INSI-CERTIFICATE" // not a certificate that INSi takes: CN INSI-AUTO or INSI-MANU
	FaultCredential  = "INSI-CREDENTIAL"  // no card or Pro Santé Connect assertion could be had
	FaultActor       = "INSI-ACTOR"       // who asks is unknown, or may not with this certificate
	FaultQuestion    = "INSI-QUESTION"    // a criterion is missing or unusable
	FaultUnconfirmed = "INSI-UNCONFIRMED" // an operation that the configuration has not switched on
	FaultTrace       = "INSI-TRACE"       // the trace could not be kept: the answer is withheld
	FaultUnreachable = "INSI-UNREACHABLE" // no connection
	FaultServer      = "INSI-SERVER-TLS"  // the server is not who it should be
	FaultTimeout     = "INSI-TIMEOUT"     // no answer in time
	FaultInterrupted = "INSI-INTERRUPTED" // the caller gave up
	FaultUnavailable = "INSI-UNAVAILABLE" // INSi says to come back later
	FaultBusy        = "INSI-BUSY"        // too many calls are under way
	FaultSoftware    = "INSI-SOFTWARE"    // the authorisation number of the software is unknown (desir_550)
	FaultRights      = "INSI-RIGHTS"      // insufficient rights (DESIR_560)
	FaultRejected    = "INSI-REJECTED"    // any other fault of INSi
	FaultAnswer      = "INSI-BAD-ANSWER"  // an answer that cannot be believed
	FaultEnvironment = "INSI-TEST-ANSWER" // a fictitious person in production
	FaultSeveral     = "INSI-SEVERAL"     // several people answer the criteria
	FaultNone        = "INSI-NONE"        // nobody answers the criteria
	FaultDisagrees   = "INSI-DISAGREES"   // INS and traits do not belong together
)

// Error is a refusal before the call, or a failure of it. Its text holds codes
// and places, never a trait, a matricule or a token, nor words of the server.
type Error struct {
	code   string
	where  string
	siram  string // subcode of the SOAP fault
	detail string // code of its siram:Erreur
	cause  error
}

// Error is for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("insi: " + e.code)
	for _, part := range [...]struct{ before, text string }{{" at ", e.where}, {", ", e.siram}, {", ", e.detail}} {
		if part.text != "" {
			b.WriteString(part.before + part.text)
		}
	}
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.code }

// FaultWhere names the criterion or the field concerned.
func (e *Error) FaultWhere() string { return e.where }

// RemoteCode is the code that INSi itself gave (desir_550, insi_102), in lower
// case; its subcode (siram_40) when it gave no more.
func (e *Error) RemoteCode() string {
	if e.detail != "" {
		return e.detail
	}
	return e.siram
}

func fail(code, where string, cause error) *Error {
	return &Error{code: code, where: where, cause: cause}
}
