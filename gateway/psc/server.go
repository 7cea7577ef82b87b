package psc

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Audience and scope of the tokens that the gateway issues.
const (
	Audience     = "gateway"
	ScopeGateway = "gateway"
)

// RegisteredClient is software that may ask the gateway for tokens. It is known
// by its certificate, which the TLS layer has verified.
type RegisteredClient struct {
	ID string

	// One of the three says which certificates are its own. The common name alone
	// is free text under a national authority, where another structure may ask for
	// the same: it suits an authority of one's own.
	Subject     string   // the whole distinguished name, in any order
	CommonName  string   // of the subject
	Thumbprints []string // x5t#S256

	// PSCClients are the client_id at PSC whose access tokens it may bring. A
	// token that any other service obtained is refused. "*" takes all, which is
	// for a sandbox.
	PSCClients []string
}

// ways counts by how many means the certificates are named.
func (c RegisteredClient) ways() (n int) {
	for _, named := range []bool{c.Subject != "", c.CommonName != "", len(c.Thumbprints) > 0} {
		if named {
			n++
		}
	}
	return n
}

func (c RegisteredClient) owns(cert *x509.Certificate) bool {
	switch {
	case c.Subject != "":
		return isSubject(cert, c.Subject)
	case c.CommonName != "":
		return c.CommonName == cert.Subject.CommonName
	}
	own := thumbprint(cert)
	return slices.ContainsFunc(c.Thumbprints, func(t string) bool { return same(t, own) })
}

// ServerConfig is what a [Server] needs. Everything is required but DMP, Life
// and Proxies.
type ServerConfig struct {
	Issuer  string // https://host[:port], without a path
	Client  *Client
	Clients []RegisteredClient
	Keys    *Keys
	Store   Store
	DMP     DMPExchanger  // nil: tokens carry no DMP token
	Logger  *slog.Logger  // of exchanges (RP-15)
	Life    time.Duration // of a token: one hour by default, four at most

	// Proxies terminate TLS before the gateway: the header Client-Cert (RFC
	// 9440) counts when it comes from one of them, and from nobody else.
	Proxies []netip.Prefix
}

// Server is the gateway's own authorization server, and the judge of its tokens.
type Server struct {
	cfg ServerConfig
}

const (
	defaultLife = time.Hour
	maxLife     = 4 * time.Hour
	maxForm     = 128 << 10
)

// NewServer checks a configuration.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Client == nil || cfg.Keys == nil || cfg.Store == nil || cfg.Logger == nil {
		return nil, errors.New("psc: Client, Keys, Store and Logger are required")
	}
	u, err := url.Parse(cfg.Issuer)
	if err != nil || !secure(cfg.Issuer) || u.Path != "" || u.RawQuery != "" {
		return nil, errors.New("psc: Issuer is not https://host[:port]")
	}
	seen := map[string]bool{}
	for _, c := range cfg.Clients {
		switch {
		case c.ID == "" || seen["id "+c.ID]:
			return nil, errors.New("psc: a registered client has no id, or that of another")
		case c.ways() != 1:
			return nil, fmt.Errorf("psc: client %s: Subject, CommonName or Thumbprints, one of the three", c.ID)
		case c.Subject != "" && !SubjectForm(c.Subject):
			return nil, fmt.Errorf("psc: client %s: its Subject is no distinguished name", c.ID)
		case c.CommonName != "" && seen["cn "+c.CommonName]:
			return nil, fmt.Errorf("psc: client %s: its CommonName is that of another", c.ID)
		case len(c.PSCClients) == 0:
			return nil, fmt.Errorf("psc: client %s: PSCClients must say whose tokens it brings", c.ID)
		}
		seen["id "+c.ID], seen["cn "+c.CommonName] = true, true
	}
	if cfg.Life <= 0 {
		cfg.Life = defaultLife
	}
	cfg.Life = min(cfg.Life, maxLife)
	return &Server{cfg: cfg}, nil
}

// Register serves /oauth/… and the metadata of RFC 8414.
func (s *Server) Register(mux *http.ServeMux) {
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) (any, error){
		"/oauth/token": s.token, "/oauth/introspect": s.introspect, "/oauth/revoke": s.revoke} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, h) })
	}
	mux.HandleFunc("GET /oauth/jwks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		writeJSON(w, http.StatusOK, s.cfg.Keys.Public())
	})
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		mutual := []string{"tls_client_auth"}
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": s.cfg.Issuer, "token_endpoint": s.cfg.Issuer + "/oauth/token", "jwks_uri": s.cfg.Issuer + "/oauth/jwks",
			"introspection_endpoint": s.cfg.Issuer + "/oauth/introspect", "revocation_endpoint": s.cfg.Issuer + "/oauth/revoke",
			"response_types_supported": []string{}, // no authorization endpoint: that is PSC's
			"grant_types_supported":    []string{grantExchange}, "scopes_supported": []string{ScopeGateway},
			"token_endpoint_auth_methods_supported": mutual, "introspection_endpoint_auth_methods_supported": mutual,
			"revocation_endpoint_auth_methods_supported": mutual, "tls_client_certificate_bound_access_tokens": true,
		})
	})
}

// answer frames an endpoint: POST, a form without repetitions, errors as RFC
// 6749 says them.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, h func(http.ResponseWriter, *http.Request) (any, error)) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		oauthError(w, http.StatusMethodNotAllowed, refuse(FaultRequest, "method"))
		return
	}
	if err := readForm(w, r); err != nil {
		oauthError(w, 0, err)
		return
	}
	v, err := h(w, r)
	switch {
	case err != nil:
		oauthError(w, 0, err)
	case v == nil:
		w.WriteHeader(http.StatusOK)
	default:
		writeJSON(w, http.StatusOK, v)
	}
}

func readForm(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return refuse(FaultRequest, "Content-Type")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return because(FaultRequest, "", errors.New("form"))
	}
	for name, values := range r.PostForm {
		if len(values) > 1 && !slices.Contains([]string{"audience", "resource"}, name) {
			return refuse(FaultRequest, "")
		}
	}
	return nil
}

// oauthError answers a refusal; a status of 0 is that of its row.
func oauthError(w http.ResponseWriter, status int, err error) {
	f := fault.From(err)
	name := map[string]string{FaultClient: "invalid_client", FaultGrant: "unsupported_grant_type", FaultScopeAsked: "invalid_scope",
		FaultTarget: "invalid_target", FaultNotYours: "unauthorized_client"}[f.Row.Code]
	switch {
	case name != "":
	case f.HTTP == http.StatusServiceUnavailable:
		name = "temporarily_unavailable"
		w.Header().Set("Retry-After", "30")
	case f.HTTP >= 500:
		name = "server_error"
	default:
		name = "invalid_request" // RFC 8693 §2.2.2: a subject token that does not do, too
		if status == 0 {
			status = http.StatusBadRequest
		}
	}
	if status == 0 {
		status = f.HTTP
	}
	writeJSON(w, status, map[string]string{"error": name, "error_description": f.EN, "code": f.Row.Code, "detail": f.FR, "remedy": f.FixFR})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that left is not our trouble
}

// client says which registered client asks, and with which certificate.
func (s *Server) client(r *http.Request) (RegisteredClient, *x509.Certificate, error) {
	cert, err := s.certificate(r)
	if err != nil || cert == nil {
		return RegisteredClient{}, nil, because(FaultClient, "", err)
	}
	for _, c := range s.cfg.Clients {
		if c.owns(cert) {
			if id := r.PostForm.Get("client_id"); id != "" && id != c.ID {
				return RegisteredClient{}, nil, refuse(FaultClient, "client_id")
			}
			return c, cert, nil
		}
	}
	return RegisteredClient{}, nil, refuse(FaultClient, "")
}

// tokenRecord is what the store keeps of a token, sealed.
type tokenRecord struct {
	Professional Professional `json:"professional"`
	DMP          DMPToken     `json:"dmp"`
}

// tokenClaims are those of a token that the gateway issues.
type tokenClaims struct {
	Issuer        string            `json:"iss"`
	Subject       string            `json:"sub"`
	Audience      string            `json:"aud"`
	Expires       int64             `json:"exp"`
	NotBefore     int64             `json:"nbf"`
	IssuedAt      int64             `json:"iat"`
	JTI           string            `json:"jti"`
	ClientID      string            `json:"client_id"`
	Scope         string            `json:"scope"`
	SubjectNameID string            `json:"SubjectNameID"`
	ACR           string            `json:"acr"`
	AuthTime      int64             `json:"auth_time"`
	SessionState  string            `json:"session_state,omitempty"`
	Confirmation  map[string]string `json:"cnf"`
}

// token is POST /oauth/token: RFC 8693.
func (s *Server) token(_ http.ResponseWriter, r *http.Request) (any, error) {
	client, cert, err := s.client(r)
	if err != nil {
		return nil, err
	}
	form := r.PostForm
	if err := checkExchange(form); err != nil {
		return nil, err
	}
	ctx, c := r.Context(), s.cfg.Client
	p, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	subject := form.Get("subject_token")
	known, err := c.accessClaims(ctx, p, subject, client.PSCClients)
	if err != nil {
		return nil, err
	}
	if err := c.introspect(ctx, p, subject, known); err != nil {
		return nil, err
	}
	pro, err := c.person(ctx, p, subject, known)
	if err != nil {
		return nil, err
	}
	// By now the token is known to be good: it counts as used even if what
	// follows fails, and of two that bring it one alone passes.
	first, err := s.cfg.Store.Add(ctx, Record{Kind: kindSubject, Key: usedKey(known, subject), Expires: instant(known.Expires).Add(2 * leeway)})
	if err != nil {
		return nil, err
	}
	if !first {
		return nil, refuse(FaultSubjectUsed, "subject_token")
	}
	rec := tokenRecord{Professional: pro}
	if s.cfg.DMP != nil {
		if rec.DMP, err = s.cfg.DMP.Exchange(ctx, subject); err != nil {
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "psc: no DMP token", slog.String("session_state", pro.SessionState), slog.Any("error", err))
			rec.DMP = DMPToken{}
		}
	}
	return s.issue(r, client, cert, rec)
}

// usedKey names a PSC token that was exchanged: by its jti, so that the same
// token signed or spelt otherwise is the same.
func usedKey(c claims, raw string) string {
	if c.JTI != "" {
		return digest("jti " + c.Issuer + " " + c.JTI)
	}
	return digest("raw " + raw)
}

// checkExchange judges the parameters of RFC 8693 §2.1.
func checkExchange(form url.Values) error {
	switch form.Get("grant_type") {
	case "":
		return refuse(FaultRequest, "grant_type")
	case grantExchange:
	default:
		return refuse(FaultGrant, "grant_type")
	}
	switch form.Get("subject_token_type") {
	case typeAccessToken, typeJWT:
	default:
		return refuse(FaultRequest, "subject_token_type")
	}
	if asked := form.Get("requested_token_type"); asked != "" && asked != typeAccessToken && asked != typeJWT {
		return refuse(FaultRequest, "requested_token_type")
	}
	switch {
	case form.Get("subject_token") == "":
		return refuse(FaultRequest, "subject_token")
	case form.Has("actor_token"):
		return refuse(FaultRequest, "actor_token")
	case form.Get("scope") != ScopeGateway:
		return refuse(FaultScopeAsked, "scope")
	case form.Has("resource"):
		return refuse(FaultTarget, "resource")
	}
	for _, a := range form["audience"] {
		if a != Audience {
			return refuse(FaultTarget, "audience")
		}
	}
	return nil
}

// issue signs a token for the holder of a certificate. It ends with the DMP
// token when there is one.
func (s *Server) issue(r *http.Request, client RegisteredClient, cert *x509.Certificate, rec tokenRecord) (any, error) {
	ctx, c := r.Context(), s.cfg.Client
	now := c.cfg.Clock().Truncate(time.Second)
	expires := now.Add(s.cfg.Life)
	if rec.DMP.Value != "" && rec.DMP.Expires.Before(expires) {
		expires = rec.DMP.Expires.Truncate(time.Second)
	}
	if cert.NotAfter.Before(expires) {
		expires = cert.NotAfter
	}
	// EXI RIE-PS 13: what is derived from a session of PSC does not outlive it, and
	// that session began when the person proved who they are, not today.
	if end := rec.Professional.At.Add(maxAbsolute); !rec.Professional.At.IsZero() && end.Before(expires) {
		expires = end.Truncate(time.Second)
	}
	if !now.Before(expires) {
		return nil, refuse(FaultSubjectExpired, "auth_time")
	}
	jti, err := secret(c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	pro := &rec.Professional
	pro.Client, pro.Certificate, pro.Expires = client.ID, thumbprint(cert), expires
	key := digest(jti)
	value, err := s.cfg.Keys.sealed(kindToken, key, rec)
	if err != nil {
		return nil, err
	}
	signer, err := s.cfg.Keys.signer()
	if err != nil {
		return nil, fmt.Errorf("psc: sign: %w", err)
	}
	bearer, err := jwt.Signed(signer).Claims(tokenClaims{Issuer: s.cfg.Issuer, Subject: pro.NationalID, Audience: Audience, Expires: expires.Unix(),
		NotBefore: now.Unix(), IssuedAt: now.Unix(), JTI: jti, ClientID: client.ID, Scope: ScopeGateway, SubjectNameID: pro.NationalID,
		ACR: pro.ACR, AuthTime: pro.At.Unix(), SessionState: pro.SessionState, Confirmation: map[string]string{confirmation: pro.Certificate}}).Serialize()
	if err != nil {
		return nil, fmt.Errorf("psc: sign: %w", err)
	}
	if first, err := s.cfg.Store.Add(ctx, Record{Kind: kindToken, Key: key, Value: value, Expires: expires}); err != nil || !first {
		return nil, errors.Join(err, errIf(!first, "psc: token id drawn twice"))
	}
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "psc: exchange", append(trace(*pro, r), slog.String("jti", key), slog.Bool("dmp", rec.DMP.Value != ""))...)
	return map[string]any{"access_token": bearer, "issued_token_type": typeAccessToken, "token_type": "Bearer",
		"expires_in": int(expires.Sub(now).Seconds()), "scope": ScopeGateway}, nil
}

// introspect is POST /oauth/introspect (RFC 7662): to a client, of its own
// tokens. Of any other token it learns only that it is not active.
func (s *Server) introspect(_ http.ResponseWriter, r *http.Request) (any, error) {
	client, _, err := s.client(r)
	if err != nil {
		return nil, err
	}
	if r.PostForm.Get("token") == "" {
		return nil, refuse(FaultRequest, "token")
	}
	t, rec, err := s.judge(r.Context(), r.PostForm.Get("token"))
	if err != nil {
		if fault.From(err).HTTP >= 500 {
			return nil, err
		}
		return map[string]any{"active": false}, nil
	}
	if t.ClientID != client.ID {
		return map[string]any{"active": false}, nil
	}
	return struct {
		Active    bool   `json:"active"`
		TokenType string `json:"token_type"`
		tokenClaims
		SubjectRole []string `json:"SubjectRole"`
	}{true, "Bearer", t, rec.Professional.Professions}, nil
}

// revoke is POST /oauth/revoke (RFC 7009). A token that is not good any more is
// revoked already.
func (s *Server) revoke(_ http.ResponseWriter, r *http.Request) (any, error) {
	client, _, err := s.client(r)
	if err != nil {
		return nil, err
	}
	if r.PostForm.Get("token") == "" {
		return nil, refuse(FaultRequest, "token")
	}
	t, _, err := s.judge(r.Context(), r.PostForm.Get("token"))
	switch {
	case err != nil && fault.From(err).HTTP >= 500:
		return nil, err
	case err != nil:
		return nil, nil
	case t.ClientID != client.ID:
		return nil, refuse(FaultNotYours, "token")
	}
	_, err = s.cfg.Store.Delete(r.Context(), kindToken, digest(t.JTI))
	return nil, err
}

// DMPToken is the DMP bearer that came with a token of ours. FaultDMPToken is
// temporary: there is none until the next login.
func (s *Server) DMPToken(ctx context.Context, p Professional) (string, error) {
	rec, err := s.stored(ctx, p.token)
	if err != nil {
		return "", err
	}
	if !rec.DMP.good(s.cfg.Client.cfg.Clock()) {
		return "", refuse(FaultDMPToken, "")
	}
	return rec.DMP.Value, nil
}
