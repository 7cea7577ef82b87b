package psc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// confirmation is the member of cnf that binds a token to a certificate
// (RFC 8705).
const confirmation = "x5t#S256"

// thumbprint is x5t#S256 of a certificate: base64url, without padding, of the
// SHA-256 of its DER.
func thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// certificate is that of the caller, verified by TLS or by a proxy of ours; nil
// when there is none.
func (s *Server) certificate(r *http.Request) (*x509.Certificate, error) {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && s.proxied(peer.Addr().Unmap()) {
		return headerCertificate(r.Header.Values("Client-Cert"))
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil, nil
	}
	return r.TLS.VerifiedChains[0][0], nil
}

// proxied tells whether an address is that of a proxy of ours.
func (s *Server) proxied(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Certificate is that of the caller, verified by TLS or by a proxy of ours; nil
// when there is none. It is the one that [Server.Verify] holds a token against.
func (s *Server) Certificate(r *http.Request) (*x509.Certificate, error) { return s.certificate(r) }

// headerCertificate reads Client-Cert: a byte sequence, :base64: (RFC 9440).
func headerCertificate(values []string) (*x509.Certificate, error) {
	if len(values) == 0 {
		return nil, nil
	}
	v := strings.TrimSpace(values[0])
	if len(values) > 1 || len(v) < 2 || len(v) > 16<<10 || v[0] != ':' || v[len(v)-1] != ':' {
		return nil, refuse(FaultNoCertificate, "Client-Cert")
	}
	der, err := base64.StdEncoding.DecodeString(v[1 : len(v)-1])
	if err != nil {
		return nil, refuse(FaultNoCertificate, "Client-Cert")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse(FaultNoCertificate, "Client-Cert")
	}
	return cert, nil
}

// Verify says who calls: the holder of a token of the gateway, over the
// certificate that the token is bound to. Every refusal has its code; a refusal
// of 401 is told to the client with [Challenge].
//
// A certificate alone is FaultCertificateOnly: whether it may do something by
// itself is for the door to say.
func (s *Server) Verify(r *http.Request) (Professional, error) {
	cert, err := s.certificate(r)
	if err != nil {
		return Professional{}, err
	}
	raw, err := bearer(r)
	if err != nil {
		return Professional{}, err
	}
	if raw == "" {
		if cert != nil {
			return Professional{}, refuse(FaultCertificateOnly, "Authorization")
		}
		return Professional{}, refuse(FaultNoToken, "Authorization")
	}
	t, rec, err := s.judge(r.Context(), raw)
	switch {
	case err != nil:
		return Professional{}, err
	case cert == nil:
		return Professional{}, refuse(FaultNoCertificate, "")
	case !same(t.Confirmation[confirmation], thumbprint(cert)):
		return Professional{}, refuse(FaultBinding, "cnf")
	}
	p := rec.Professional
	p.token = digest(t.JTI)
	return p, nil
}

// bearer reads Authorization; another scheme counts as none.
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", refuse(FaultTokenMalformed, "Authorization")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", refuse(FaultTokenMalformed, "Authorization")
	}
	return token, nil
}

// judge says whether a token is ours, good now, and not revoked. Whom it is
// bound to is for the caller to check.
func (s *Server) judge(ctx context.Context, raw string) (tokenClaims, tokenRecord, error) {
	var t tokenClaims
	h, peek, err := inspect(raw, maxBearer)
	if err != nil {
		return t, tokenRecord{}, err
	}
	if unverifiedIssuer(peek) != s.cfg.Issuer {
		// Said before the signature, because "another server's token" helps more
		// than "unknown key"; it tells nothing that the sender does not know.
		return t, tokenRecord{}, refuse(FaultIssuer, "iss")
	}
	if h.Alg != string(jose.ES256) {
		return t, tokenRecord{}, refuse(FaultAlg, "alg")
	}
	key, ok := s.cfg.Keys.public(h.Kid)
	if !ok {
		return t, tokenRecord{}, refuse(FaultKey, "kid")
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return t, tokenRecord{}, refuse(FaultTokenMalformed, "")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return t, tokenRecord{}, refuse(FaultSignature, "")
	}
	if !strings.EqualFold(h.Typ, "at+jwt") && !strings.EqualFold(h.Typ, "application/at+jwt") {
		return t, tokenRecord{}, refuse(FaultTokenType, "typ")
	}
	var to struct {
		Audience textList `json:"aud"`
	}
	if json.Unmarshal(payload, &to) != nil {
		return t, tokenRecord{}, refuse(FaultTokenMalformed, "aud")
	}
	if len(to.Audience) != 1 || to.Audience[0] != Audience {
		return t, tokenRecord{}, refuse(FaultAudience, "aud")
	}
	if json.Unmarshal(payload, &t) != nil {
		return t, tokenRecord{}, refuse(FaultTokenMalformed, "")
	}
	now := s.cfg.Client.cfg.Clock()
	switch {
	case t.Issuer != s.cfg.Issuer:
		return t, tokenRecord{}, refuse(FaultIssuer, "iss")
	case t.Expires == 0 || t.JTI == "" || t.SubjectNameID == "":
		return t, tokenRecord{}, refuse(FaultTokenMalformed, "")
	case !now.Before(time.Unix(t.Expires, 0)):
		return t, tokenRecord{}, refuse(FaultExpired, "exp")
	case now.Add(time.Second).Before(time.Unix(max(t.NotBefore, t.IssuedAt), 0)):
		return t, tokenRecord{}, refuse(FaultNotYet, "nbf")
	case !hasWord(t.Scope, ScopeGateway):
		return t, tokenRecord{}, refuse(FaultScope, "scope")
	}
	rec, err := s.stored(ctx, digest(t.JTI))
	return t, rec, err
}

// stored reads what was kept of a token; nothing kept is revoked.
func (s *Server) stored(ctx context.Context, key string) (tokenRecord, error) {
	var rec tokenRecord
	r, err := s.cfg.Store.Get(ctx, kindToken, key)
	if errors.Is(err, ErrNoRecord) {
		return rec, refuse(FaultRevoked, "")
	}
	if err != nil {
		return rec, err
	}
	if err := s.cfg.Keys.open(kindToken, key, r.Value, &rec); err != nil {
		return rec, because(FaultRevoked, "", err)
	}
	return rec, nil
}

// Challenge is the WWW-Authenticate of a refusal (RFC 6750); empty when the
// refusal is not of 401 or 403.
func Challenge(err error) string {
	const realm = `Bearer realm="passerelle", scope="gateway"`
	f := fault.From(err)
	switch {
	case f.Row.Code == FaultNoToken, f.Row.Code == FaultCertificateOnly:
		return realm
	case f.Row.Code == FaultScope:
		return realm + `, error="insufficient_scope", error_description="` + f.EN + `"`
	case f.HTTP == http.StatusUnauthorized:
		return realm + `, error="invalid_token", error_description="` + f.EN + `"`
	}
	return ""
}
