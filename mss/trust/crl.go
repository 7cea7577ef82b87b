package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"time"
)

const maxCRL = 64 << 20

// crl is one list of revocations, read and found signed by its authority.
type crl struct {
	this, next time.Time
	revoked    map[string]struct{} // serial numbers
	users, cas bool                // for these certificates only
	points     []string            // where it is published, if it says so
}

var (
	oidDelta        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidNumber       = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReason       = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidity   = asn1.ObjectIdentifier{2, 5, 29, 24}

	errIssuer  = errors.New("issued by another authority")
	errPartial = errors.New("a delta, indirect or partial list")
	errUnknown = errors.New("an extension that must be understood")
	errFuture  = errors.New("issued after now")
)

// distribution is the extension issuingDistributionPoint.
type distribution struct {
	Point      asn1.RawValue  `asn1:"optional,tag:0"`
	Users      bool           `asn1:"optional,tag:1"`
	CAs        bool           `asn1:"optional,tag:2"`
	Reasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect   bool           `asn1:"optional,tag:4"`
	Attributes bool           `asn1:"optional,tag:5"`
}

// parseCRL reads a CRL, DER or PEM, of one authority. Its dates are for the
// caller, except that it must not come from the future.
func parseCRL(data []byte, issuer *x509.Certificate, now time.Time) (*crl, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == "X509 CRL" {
		data = block.Bytes
	}
	rl, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(rl.RawIssuer, issuer.RawSubject) {
		return nil, errIssuer
	}
	if err := rl.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	if rl.ThisUpdate.After(now.Add(skew)) {
		return nil, errFuture
	}
	c := &crl{this: rl.ThisUpdate, next: rl.NextUpdate, revoked: make(map[string]struct{}, len(rl.RevokedCertificateEntries))}
	for _, e := range rl.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return nil, errPartial
		case e.Id.Equal(oidDistribution):
			if err := c.scope(e.Value); err != nil {
				return nil, err
			}
		case e.Critical && !e.Id.Equal(oidAuthorityKey) && !e.Id.Equal(oidNumber):
			return nil, errUnknown
		}
	}
	for _, e := range rl.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical && !x.Id.Equal(oidReason) && !x.Id.Equal(oidInvalidity) {
				return nil, errUnknown // certificateIssuer: an entry of another authority
			}
		}
		c.revoked[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	return c, nil
}

// scope reads for which certificates the list is.
func (c *crl) scope(value []byte) error {
	var d distribution
	if rest, err := asn1.Unmarshal(value, &d); err != nil || len(rest) > 0 {
		return errUnknown
	}
	if d.Indirect || d.Attributes || d.Reasons.BitLength > 0 || d.Users && d.CAs {
		return errPartial
	}
	c.users, c.cas = d.Users, d.CAs
	if len(d.Point.FullBytes) == 0 {
		return nil
	}
	// DistributionPointName: fullName [0] GeneralNames, of which the URIs are [6].
	var name asn1.RawValue
	if _, err := asn1.Unmarshal(d.Point.Bytes, &name); err != nil || name.Tag != 0 {
		return errUnknown
	}
	for rest := name.Bytes; len(rest) > 0; {
		var general asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &general); err != nil {
			return errUnknown
		}
		if general.Class == asn1.ClassContextSpecific && general.Tag == 6 {
			c.points = append(c.points, string(general.Bytes))
		}
	}
	if len(c.points) == 0 {
		return errUnknown
	}
	return nil
}

// covers tells whether the list speaks of a certificate that names these points.
func (c *crl) covers(cert *x509.Certificate, points []string) bool {
	if c.users && cert.IsCA || c.cas && !cert.IsCA {
		return false
	}
	return len(c.points) == 0 || slices.ContainsFunc(c.points, func(p string) bool { return slices.Contains(points, p) })
}

// expired: a list without a next update has none to wait for.
func (c *crl) expired(now time.Time) bool { return c.next.IsZero() || now.After(c.next) }

func (c *crl) has(cert *x509.Certificate) bool {
	_, ok := c.revoked[string(cert.SerialNumber.Bytes())]
	return ok
}
