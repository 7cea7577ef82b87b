package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Issuer is an authorization server whose tokens are believed.
type Issuer struct {
	Issuer   string // iss, exactly
	JWKSURL  string
	Audience string // what aud must contain
}

// The modes of access.
const (
	modeIndirect = "indirecte"
	modeDirect   = "direct"
	modePatient  = "patient"
)

// Bounds of tokens and keys.
const (
	maxToken       = 16 << 10
	maxKeySet      = 1 << 20
	tokenLeeway    = 30 * time.Second
	keySetAge      = 10 * time.Minute
	keySetInterval = 10 * time.Second // between two fetches that an unknown kid causes
	keySetTimeout  = 5 * time.Second
)

// algorithms are the only ones accepted; none and HS256 are not among them.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}

// caller is who is asking, once it is proven.
type caller struct {
	mode   string
	client string
	sender string // national id of the professional, or id of the device; in mode patient, who of the two
	finess string // structure; empty in mode direct

	patient        string // key of the one record, in mode patient
	representative bool   // of the patient, who is not the holder
}

func (c *caller) indirect() bool { return c.mode == modeIndirect }

// authenticate proves the caller: a certificate on this connection and a token
// of a known issuer bound to it.
func (s *Store) authenticate(r *http.Request) (*caller, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, refuse(FaultNoCertificate)
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return nil, refuse(FaultToken)
	}
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return nil, refuse(FaultNoToken)
	}
	if len(raw) > maxToken {
		return nil, refuse(FaultToken)
	}
	tok, err := jwt.ParseSigned(raw, algorithms)
	if err != nil || len(tok.Headers) != 1 {
		return nil, refuse(FaultToken)
	}
	var unproven jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&unproven); err != nil {
		return nil, refuse(FaultToken)
	}
	from, ok := s.issuers[unproven.Issuer]
	if !ok {
		return nil, refuse(FaultToken)
	}
	key, err := from.key(r.Context(), tok.Headers[0].KeyID, tok.Headers[0].Algorithm)
	if err != nil {
		return nil, err
	}
	var claims jwt.Claims
	var ours struct {
		Mode      string `json:"mode"`
		ClientID  string `json:"client_id"`
		FINESS    string `json:"finess"`
		Sender    string `json:"sender"`
		SubjectID string `json:"SubjectNameID"`
		Patient   string `json:"patient"`
		ForOther  bool   `json:"representative"`
		Cnf       struct {
			Thumbprint string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	if err := tok.Claims(key, &claims, &ours); err != nil {
		return nil, refuse(FaultToken)
	}
	if claims.Expiry == nil {
		return nil, refuse(FaultToken)
	}
	err = claims.ValidateWithLeeway(jwt.Expected{Issuer: from.Issuer.Issuer, AnyAudience: jwt.Audience{from.Audience}, Time: s.clock()}, tokenLeeway)
	switch {
	case errors.Is(err, jwt.ErrExpired), errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, refuse(FaultTokenExpired)
	case err != nil:
		return nil, refuse(FaultToken)
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	if subtle.ConstantTimeCompare([]byte(ours.Cnf.Thumbprint), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
		return nil, refuse(FaultTokenBinding)
	}
	c := &caller{mode: ours.Mode, client: ours.ClientID, finess: ours.FINESS, sender: ours.Sender}
	switch {
	case c.mode == modeIndirect && c.finess != "" && c.sender != "":
	case c.mode == modeDirect && ours.SubjectID != "":
		c.sender, c.finess = ours.SubjectID, ""
	case c.mode == modePatient:
		oid, matricule, ok := parsePatientToken(ours.Patient)
		if !ok {
			return nil, refuse(FaultToken)
		}
		c.patient, c.representative = s.patientKey(oid, matricule), ours.ForOther
		if c.sender, c.finess = "patient", ""; c.representative {
			c.sender = "representant"
		}
	default:
		return nil, refuse(FaultToken)
	}
	return c, nil
}

// consultant is the caller as the viewer of a record that they may search and
// read. A patient's own record was checked before.
func (x *exchange) consultant(ctx context.Context, tx *sqldb.Tx, patient string) (viewer, error) {
	v, err := x.viewer(ctx, tx, patient)
	switch {
	case err != nil, v.mode != modeDirect, v.status == Valid:
		return v, err
	case v.status == Blocked:
		return v, refuse(FaultBlocked)
	}
	return v, refuse(FaultNoAuthorisation)
}

// NotThere is the status of an authorisation that was never given.
const NotThere = "NON_EXISTE"

func (s *Store) authorisation(ctx context.Context, tx *sqldb.Tx, patient, nationalID string) (status string, attending bool, err error) {
	err = tx.QueryRow(ctx, `SELECT status, attending FROM authorisation WHERE patient = ? AND national_id = ?`, patient, nationalID).
		Scan(&status, &attending)
	if noRows(err) {
		return NotThere, false, nil
	}
	// Who may not look has no more rights for being the médecin traitant.
	return status, attending && status == Valid, err
}

// issuer holds the keys of an authorization server.
type issuer struct {
	Issuer
	client *http.Client
	clock  func() time.Time

	mu      sync.Mutex // also held during a fetch: one at a time
	keys    jose.JSONWebKeySet
	fetched time.Time
	tried   time.Time // last fetch, successful or not
}

// key finds the key of a token. A set that is old, or a kid that we do not
// know, makes the set be fetched, but not more often than every keySetInterval;
// while the issuer is down, old keys serve.
func (i *issuer) key(ctx context.Context, kid, alg string) (any, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.clock()
	mayFetch := i.fetched.IsZero() || now.Sub(i.tried).Abs() > keySetInterval
	var failed error
	if mayFetch && now.Sub(i.fetched).Abs() > keySetAge {
		failed = i.fetch(ctx)
		mayFetch = false
	}
	key := i.find(kid, alg)
	if key == nil && mayFetch {
		failed = i.fetch(ctx)
		key = i.find(kid, alg)
	}
	if key == nil && failed != nil {
		return nil, refusals{fault.New(FaultIssuerDown).Because(failed)}
	}
	if key == nil {
		return nil, refuse(FaultToken)
	}
	return key, nil
}

// find keeps to public keys of the two kinds that the algorithms need.
func (i *issuer) find(kid, alg string) any {
	for _, k := range i.keys.Keys {
		if k.KeyID != kid || k.Algorithm != "" && k.Algorithm != alg || k.Use != "" && k.Use != "sig" {
			continue
		}
		switch key := k.Key.(type) {
		case *ecdsa.PublicKey:
			if alg == string(jose.ES256) && key.Curve == elliptic.P256() {
				return key
			}
		case *rsa.PublicKey:
			if alg == string(jose.RS256) && key.N.BitLen() >= 2048 {
				return key
			}
		}
	}
	return nil
}

func (i *issuer) fetch(ctx context.Context) error {
	// One caller that gives up must not make the fetch fail for the others.
	i.tried = i.clock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keySetTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.JWKSURL, nil)
	if err != nil {
		return err
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("keys: HTTP %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet))
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return err
	}
	i.keys, i.fetched = set, i.clock()
	return nil
}
