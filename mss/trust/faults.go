package trust

// Codes of this room; each has its row in gateway/fault.
const (
	FaultSettings = "TRUST-SETTINGS" // configuration: does not start
	FaultCache    = "TRUST-CACHE"    // what was fetched could not be written to disk

	// The white list.
	FaultListMissing   = "TRUST-LIST-MISSING"   // none held: nothing can be answered
	FaultListStale     = "TRUST-LIST-STALE"     // the one held is too old
	FaultListFetch     = "TRUST-LIST-FETCH"     // not reached, or not answered as it should
	FaultListMalformed = "TRUST-LIST-MALFORMED" // not a white list, or not whole
	FaultListSignature = "TRUST-LIST-SIGNATURE"
	FaultListOlder     = "TRUST-LIST-OLDER"  // generated before the one held
	FaultListFuture    = "TRUST-LIST-FUTURE" // generated after now
	FaultListShrunk    = "TRUST-LIST-SHRUNK" // lost too many domains

	// Revocation.
	FaultRevoked    = "TRUST-REVOKED"
	FaultUnverified = "TRUST-UNVERIFIED"  // no verified chain: not one of ours to judge
	FaultNoCRL      = "TRUST-CRL-UNNAMED" // the certificate names none
	FaultCRLFetch   = "TRUST-CRL-FETCH"
	FaultCRLInvalid = "TRUST-CRL-INVALID" // not a complete CRL of this authority
	FaultCRLStale   = "TRUST-CRL-STALE"

	// What a certificate can be used for.
	FaultExpired   = "TRUST-CERT-EXPIRED"
	FaultNotYet    = "TRUST-CERT-NOT-YET"
	FaultExpiring  = "TRUST-CERT-EXPIRING" // soon
	FaultRole      = "TRUST-CERT-ROLE"     // not for this use
	FaultName      = "TRUST-CERT-NAME"     // not the name that the service wants
	FaultAuthority = "TRUST-CERT-AUTHORITY"
	FaultWeak      = "TRUST-CERT-WEAK"
	FaultKey       = "TRUST-CERT-KEY"        // not the private key of the certificate
	FaultKeyLocked = "TRUST-CERT-KEY-LOCKED" // under a password
)

// Error is a refusal, or a warning, of this room. Where is a setting, the place
// of a certificate in its chain, or the kind of failure; never a value.
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
