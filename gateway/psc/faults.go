package psc

import "errors"

// The refusals of the doors: a bearer or a certificate that does not do.
const (
	FaultNoToken         = "AUTH-NO-TOKEN"
	FaultCertificateOnly = "AUTH-CERTIFICATE-ONLY" // a certificate, and no bearer
	FaultNoCertificate   = "AUTH-NO-CERTIFICATE"   // a bearer, and no certificate
	FaultTokenLong       = "AUTH-TOKEN-LONG"
	FaultTokenMalformed  = "AUTH-TOKEN-MALFORMED"
	FaultAlgNone         = "AUTH-ALG-NONE"
	FaultAlg             = "AUTH-ALG"
	FaultKey             = "AUTH-KEY" // no kid, or one that is not ours
	FaultSignature       = "AUTH-SIGNATURE"
	FaultTokenType       = "AUTH-TOKEN-TYPE"
	FaultIssuer          = "AUTH-ISSUER"
	FaultAudience        = "AUTH-AUDIENCE"
	FaultExpired         = "AUTH-EXPIRED"
	FaultNotYet          = "AUTH-NOT-YET"
	FaultScope           = "AUTH-SCOPE"
	FaultBinding         = "AUTH-BINDING" // bound to another certificate
	FaultRevoked         = "AUTH-REVOKED"
)

// The refusals of the gateway's own authorization server.
const (
	FaultClient         = "AUTH-CLIENT"
	FaultRequest        = "AUTH-REQUEST"
	FaultGrant          = "AUTH-GRANT"
	FaultScopeAsked     = "AUTH-SCOPE-ASKED"
	FaultTarget         = "AUTH-TARGET"
	FaultSubjectToken   = "AUTH-SUBJECT-TOKEN"
	FaultSubjectExpired = "AUTH-SUBJECT-EXPIRED"
	FaultSubjectClient  = "AUTH-SUBJECT-CLIENT"
	FaultSubjectUsed    = "AUTH-SUBJECT-USED"
	FaultNotYours       = "AUTH-NOT-YOURS"
)

// The refusals of a login and of a session.
const (
	FaultUnreachable    = "PSC-UNREACHABLE"
	FaultAnswer         = "PSC-ANSWER"
	FaultDiscovery      = "PSC-DISCOVERY"
	FaultRegistration   = "PSC-REGISTRATION" // PSC does not know us
	FaultState          = "PSC-STATE"
	FaultMixUp          = "PSC-MIX-UP"
	FaultRefused        = "PSC-REFUSED"
	FaultLogin          = "PSC-LOGIN"
	FaultCode           = "PSC-CODE"
	FaultIDToken        = "PSC-ID-TOKEN"
	FaultNonce          = "PSC-NONCE"
	FaultACR            = "PSC-ACR"
	FaultUserinfo       = "PSC-USERINFO"
	FaultSession        = "PSC-SESSION"
	FaultSessionExpired = "PSC-SESSION-EXPIRED"
	FaultCrossOrigin    = "PSC-CROSS-ORIGIN"
	FaultNoCare         = "PSC-NO-CARE"
	FaultSituation      = "PSC-SITUATION"
	FaultDMPToken       = "PSC-DMP-TOKEN"
	FaultKeyFile        = "PSC-KEY-FILE"
	FaultFull           = "PSC-FULL"
)

// The refusals of a login on a device (CIBA).
const (
	FaultCIBAOff     = "PSC-CIBA-OFF"
	FaultCIBANobody  = "PSC-CIBA-NOBODY"
	FaultCIBARefused = "PSC-CIBA-REFUSED"
	FaultCIBAExpired = "PSC-CIBA-EXPIRED"
	FaultCIBABusy    = "PSC-CIBA-BUSY"
	FaultOtherPerson = "PSC-OTHER-PERSON"
)

// The refusals of the proxy: /connect, /send, /disconnect.
const (
	FaultProxyRequest  = "PSC-PROXY-REQUEST"
	FaultProxyClient   = "PSC-PROXY-CLIENT"
	FaultProxyBackend  = "PSC-PROXY-BACKEND"
	FaultProxyPath     = "PSC-PROXY-PATH"
	FaultProxyMethod   = "PSC-PROXY-METHOD"
	FaultProxyDeposit  = "PSC-PROXY-DEPOSIT"
	FaultProxySize     = "PSC-PROXY-SIZE"
	FaultBackendToken  = "PSC-BACKEND-TOKEN"
	FaultBackendRefuse = "PSC-BACKEND-REFUSED"
	FaultBackendDown   = "PSC-BACKEND-DOWN"
	FaultBackendLate   = "PSC-BACKEND-LATE"
	FaultTrace         = "PSC-TRACE"
)

// Error is a refusal: a row of the error table, the place it concerns (a claim,
// a parameter; never a value), and a cause for the logs.
type Error struct {
	code  string
	where string
	cause error
}

// Error is for logs; it never holds a token, a code or a name.
func (e *Error) Error() string {
	s := "psc: " + e.code
	if e.where != "" {
		s += " at " + e.where
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

// FaultWhere names the claim or the parameter.
func (e *Error) FaultWhere() string { return e.where }

func refuse(code, where string) error { return &Error{code: code, where: where} }

func because(code, where string, cause error) error {
	return &Error{code: code, where: where, cause: cause}
}

// isFault tells whether the outermost refusal of err is this one.
func isFault(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.code == code
}

// explain says a refusal under another code, with its place and as its cause.
// What PSC's own absence caused keeps its code: the person is not to blame.
func explain(code string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		switch e.code {
		case FaultUnreachable, FaultAnswer, FaultDiscovery, FaultRegistration:
			return err
		}
		return because(code, e.where, err)
	}
	return because(code, "", err)
}
