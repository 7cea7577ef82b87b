package insi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"time"
)

// Authenticator proves to INSi who asks. Never by a password (DMN INS 39).
type Authenticator interface {
	Authenticate(ctx context.Context, c Caller) (Credential, error)
}

// Caller is what an authenticator may use.
type Caller struct {
	Actor Actor
	ID    string // fresh id for an assertion
	At    time.Time
}

// Credential is what one call carries beside the certificate of the connection.
type Credential struct {
	Emitter   string                    // Emetteur of both contexts
	Assertion []byte                    // saml:Assertion, for wsse:Security; nil for none
	Prepare   func(*http.Request) error // last word on the HTTP request; nil for none
}

// The only common names that INSi takes of an organisation certificate.
const (
	CNAuto = "INSI-AUTO" // calls that nobody makes by hand
	CNManu = "INSI-MANU" // calls of an operator
)

// Organisation authenticates by the certificate of the connection alone
// (IGC-Santé, ELEMENTAIRE ORGANISATIONS).
type Organisation struct {
	cn, emitter string
}

// NewOrganisation judges a certificate: its CN must be exactly INSI-AUTO or
// INSI-MANU, or INSi answers DESIR_560. The sender of the calls is its OU;
// emitter replaces it where a certificate has none.
func NewOrganisation(leaf *x509.Certificate, emitter string) (*Organisation, error) {
	if leaf == nil || leaf.Subject.CommonName != CNAuto && leaf.Subject.CommonName != CNManu {
		return nil, fail(FaultCertificate, "certificate", nil)
	}
	if ou := leaf.Subject.OrganizationalUnit; len(ou) > 0 {
		emitter = ou[0]
	}
	if emitter == "" {
		return nil, fail(FaultCertificate, "certificate OU", nil)
	}
	return &Organisation{leaf.Subject.CommonName, emitter}, nil
}

// Authenticate refuses a machine that would use the certificate of operators.
func (o *Organisation) Authenticate(_ context.Context, c Caller) (Credential, error) {
	if o.cn == CNManu && !c.Actor.Human {
		return Credential{}, fail(FaultActor, "actor", nil)
	}
	return Credential{Emitter: o.emitter}, nil
}

// CPx authenticates by the card of a professional: Sign gives back the
// assertion with the enveloped signature (RSA-SHA256, exclusive C14N) that the
// card made.
type CPx struct {
	Sign func(ctx context.Context, assertion []byte) ([]byte, error)
}

// Authenticate has the card sign an assertion.
func (a CPx) Authenticate(ctx context.Context, c Caller) (Credential, error) {
	if a.Sign == nil {
		return Credential{}, fail(FaultConfig, "cpx", nil)
	}
	unsigned, err := assertion(c, "CPS", "codeSpecialite")
	if err != nil {
		return Credential{}, err
	}
	signed, err := a.Sign(ctx, unsigned)
	if err != nil {
		return Credential{}, fail(FaultCredential, "cpx", err)
	}
	// It goes into our header as it is: it must be one assertion and no more.
	if root, err := readXML(signed); err != nil || !root.is(nsSAML, "Assertion") || bytes.HasPrefix(bytes.TrimSpace(signed), []byte("<?")) {
		return Credential{}, fail(FaultCredential, "cpx", nil)
	}
	return Credential{Emitter: c.Actor.ID, Assertion: signed}, nil
}

// PSC authenticates a professional logged in with Pro Santé Connect: an unsigned
// assertion, and the token, which Carry puts into the request. UNCONFIRMED: how
// the token travels is not published; without Carry nothing is sent.
type PSC struct {
	Carry func(ctx context.Context, a Actor, r *http.Request) error
}

// Authenticate makes the unsigned assertion.
func (a PSC) Authenticate(ctx context.Context, c Caller) (Credential, error) {
	if a.Carry == nil {
		return Credential{}, fail(FaultUnconfirmed, "psc", nil)
	}
	unsigned, err := assertion(c, "PSC", "codeSpecialiteAMO")
	if err != nil {
		return Credential{}, err
	}
	return Credential{Emitter: c.Actor.ID, Assertion: unsigned, Prepare: func(r *http.Request) error {
		if err := a.Carry(ctx, c.Actor, r); err != nil {
			return fail(FaultCredential, "psc", err)
		}
		return nil
	}}, nil
}

// assertion writes the SAML 2.0 assertion of a person.
func assertion(c Caller, qualifier, specialty string) ([]byte, error) {
	if !c.Actor.Human {
		return nil, fail(FaultActor, "actor", nil)
	}
	billing := c.Actor.Billing
	if billing == "" {
		billing = c.Actor.FINESSGeo
	}
	w := &writer{}
	at := c.At.UTC().Format(instant)
	w.open("saml:Assertion", "xmlns:saml", nsSAML, "ID", "_"+c.ID, "IssueInstant", at, "Version", "2.0")
	w.leaf("saml:Issuer", c.Actor.ID)
	w.open("saml:Subject")
	name := c.Actor.Name
	if name == "" {
		name = c.Actor.ID
	}
	w.leaf("saml:NameID", name, "NameQualifier", qualifier)
	w.close("saml:Subject")
	w.open("saml:Conditions", "NotBefore", at, "NotOnOrAfter", c.At.Add(10*time.Minute).UTC().Format(instant))
	w.close("saml:Conditions")
	w.open("saml:AttributeStatement")
	for _, a := range [...][2]string{{"identifiantFacturation", billing}, {specialty, c.Actor.Specialty}} {
		if a[1] == "" {
			continue
		}
		w.open("saml:Attribute", "Name", a[0])
		w.leaf("saml:AttributeValue", a[1])
		w.close("saml:Attribute")
	}
	w.close("saml:AttributeStatement")
	w.close("saml:Assertion")
	return w.bytes()
}

// NewHTTPClient is an HTTP client for INSi: mutual TLS, no redirections, no
// proxy but the one given by the environment.
func NewHTTPClient(cert tls.Certificate, roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second,
			ResponseHeaderTimeout: time.Minute, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig:        &tls.Config{Certificates: slices.Clone([]tls.Certificate{cert}), RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
