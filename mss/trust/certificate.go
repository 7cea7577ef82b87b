package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"
)

// Role is what a service wants a certificate for.
type Role string

// The roles of this gateway.
const (
	Server    Role = "server"     // TLS server
	Client    Role = "client"     // ORG AUTH_CLI: TLS client of the operator, the DMP, PSC
	INSiAuto  Role = "insi-auto"  // TLS client of INSi without a person: CN INSI-AUTO
	INSiHuman Role = "insi-human" // TLS client of INSi for a person: CN INSI-MANU
)

// imposed are the common names that a service wants.
var imposed = map[Role]string{INSiAuto: "INSI-AUTO", INSiHuman: "INSI-MANU"}

// Use is how a certificate is meant to be used.
type Use struct {
	Role          Role
	Name          string         // of a server, as clients will call it; empty: not judged
	Roots         *x509.CertPool // authorities that the other side accepts; nil: not judged
	Intermediates *x509.CertPool
	At            time.Time
	Soon          time.Duration // warn before the end; 60 days if zero
}

const soon = 60 * 24 * time.Hour

// Roles lists what a certificate can be used for, from its key usages and its
// name. An empty list means nothing of ours.
func Roles(cert *x509.Certificate) []Role {
	var roles []Role
	if allows(cert, x509.ExtKeyUsageServerAuth) {
		roles = append(roles, Server)
	}
	if allows(cert, x509.ExtKeyUsageClientAuth) {
		roles = append(roles, Client)
		for _, r := range []Role{INSiAuto, INSiHuman} {
			if cert.Subject.CommonName == imposed[r] {
				roles = append(roles, r)
			}
		}
	}
	return roles
}

// allows: a certificate without extended usage is for any, as RFC 5280 has it;
// the key must be one that signs handshakes, and an authority is no end of one.
func allows(cert *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if cert.IsCA || cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return false
	}
	none := len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
	return none || slices.Contains(cert.ExtKeyUsage, usage) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// Inspect lists everything that speaks against a use of a certificate, worst
// first; [FaultExpiring] alone does not prevent it. Where is what it is about.
func Inspect(cert *x509.Certificate, use Use) []*Error {
	var found []*Error
	warn := func(code, where string, cause error) { found = append(found, refuse(code, where, cause)) }
	switch {
	case use.At.After(cert.NotAfter):
		warn(FaultExpired, "notAfter", nil)
	case use.At.Before(cert.NotBefore):
		warn(FaultNotYet, "notBefore", nil)
	}
	usage := x509.ExtKeyUsageClientAuth
	if use.Role == Server {
		usage = x509.ExtKeyUsageServerAuth
	}
	if !allows(cert, usage) {
		warn(FaultRole, "keyUsage", nil)
	}
	if cn := imposed[use.Role]; cn != "" && cert.Subject.CommonName != cn {
		warn(FaultName, "subject", nil)
	}
	if use.Name != "" && cert.VerifyHostname(use.Name) != nil {
		warn(FaultName, "subjectAltName", nil)
	}
	if use.Roots != nil {
		// Dates were judged above; inside them, so that an expired certificate
		// is not also said to come from elsewhere.
		at := use.At
		if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
			at = cert.NotBefore
		}
		_, err := cert.Verify(x509.VerifyOptions{
			Roots: use.Roots, Intermediates: use.Intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			warn(FaultAuthority, "issuer", err)
		}
	}
	if weak(cert) {
		warn(FaultWeak, "key", nil)
	}
	margin := use.Soon
	if margin <= 0 {
		margin = soon
	}
	if !use.At.After(cert.NotAfter) && use.At.Add(margin).After(cert.NotAfter) {
		warn(FaultExpiring, "notAfter", nil)
	}
	return found
}

// weak: below what the API LPS takes (ECO.1.1.3), or signed with SHA-1.
func weak(cert *x509.Certificate) bool {
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() < 2048
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize < 256
	}
	return false
}

// InspectPair is Inspect of a certificate with its chain and its private key.
func InspectPair(pair tls.Certificate, use Use) []*Error {
	if len(pair.Certificate) == 0 {
		return []*Error{refuse(FaultRole, "certificate", nil)}
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return []*Error{refuse(FaultRole, "certificate", err)}
	}
	if len(pair.Certificate) > 1 {
		pool := x509.NewCertPool()
		if use.Intermediates != nil {
			pool = use.Intermediates.Clone()
		}
		for _, der := range pair.Certificate[1:] {
			if c, err := x509.ParseCertificate(der); err == nil {
				pool.AddCert(c)
			}
		}
		use.Intermediates = pool
	}
	found := Inspect(leaf, use)
	signer, ok := pair.PrivateKey.(crypto.Signer)
	public, comparable := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !comparable || !public.Equal(signer.Public()) {
		found = slices.Insert(found, 0, refuse(FaultKey, "key", nil))
	}
	return found
}
