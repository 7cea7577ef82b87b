package sim

import (
	"crypto"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// PSCRealm is the path of the issuer, as Pro Santé Connect has it.
const PSCRealm = "/auth/realms/esante-wallet"

// Lifetimes as observed or documented at Pro Santé Connect.
const (
	pscAccessLife  = 120 * time.Second
	pscRefreshLife = 30 * time.Minute
	pscSessionLife = 4 * time.Hour
	pscCodeLife    = 60 * time.Second
	pscPageLife    = 10 * time.Minute
	pscMost        = 10_000 // of what is kept in memory, each kind
)

// pscScope is what is granted, whatever was asked for.
const pscScope = "openid profile scope_all identity"

// PSCClient is a service registered at the simulated Pro Santé Connect.
type PSCClient struct {
	ID             string
	Secret         string   // client_secret_basic, client_secret_post
	CommonName     string   // tls_client_auth: subject of its certificate
	RedirectURIs   []string // byte-exact
	PostLogoutURIs []string // byte-exact
	MTLSOnly       bool     // espace de Confiance: a secret is not enough
	CIBA           bool     // enabled on request, as outside
}

// PSCConfig says where a simulated Pro Santé Connect stands. Everything is
// required but Clients.
type PSCConfig struct {
	Issuer  string         // https://host:port + [PSCRealm]
	Wallet  string         // authorization endpoint, on another host or port
	Dir     string         // where its keys are kept
	CA      *x509.CertPool // of the certificates of clients
	Clients []PSCClient
	Clock   func() time.Time
	Rand    io.Reader
}

// PSC plays Pro Santé Connect: a realm (back channel) and a wallet (the login
// page), each with its handler. Sessions and codes are in memory and die with
// it, keys outlive it.
//
// # Where we differ or had to choose
//
//   - There is no silent single sign-on: the page is shown at each login, so
//     that a tester changes persona without logging out.
//   - PKCE is checked when a challenge is sent, and only S256; it is not
//     required, because nothing says that Pro Santé Connect requires it.
//   - The refresh token is not revoked when it is used.
//   - CIBA is advertised, as outside, and off for every client until it is
//     turned on. login_hint is the whole SubjectNameID: whether a bare RPPS
//     passes outside is not known. The device is a page of the wallet, /ciba,
//     or the control port; nobody is told that a request waits for them.
//   - A login that a person lets time out comes back as Keycloak says it:
//     temporarily_unavailable, authentication_expired.
//   - A logout without id_token_hint is refused: there is no page to confirm it.
type PSC struct {
	cfg   PSCConfig
	ready func() error // the keys are there

	mu       sync.Mutex
	clients  map[string]PSCClient
	keys     []pscKey // newest first; the second is still published
	encKey   *rsa.PrivateKey
	secret   []byte // of refresh tokens
	pages    map[string]pscRequest
	codes    map[string]*pscCode
	sessions map[string]*pscSession
	revoked  map[string]time.Time // jti of access tokens
	faults   []PSCFault
	access   time.Duration
	asked    map[string]*pscAsked // CIBA, by auth_req_id
	device   PSCDevice
	skew     atomic.Int64 // of its clock
}

type pscKey struct {
	id  string
	key *rsa.PrivateKey
}

// pscRequest is an authorization request that was found in order.
type pscRequest struct {
	client, redirect, state, nonce, challenge string
	expires                                   time.Time
}

type pscCode struct {
	pscRequest
	session string
	used    bool
}

type pscSession struct {
	id, client, nonce string
	person            pscPerson
	started, used     time.Time
	ended             bool
}

// NewPSC makes a simulated Pro Santé Connect; its keys are in Dir.
func NewPSC(cfg PSCConfig) (*PSC, error) {
	if cfg.Issuer == "" || cfg.Wallet == "" || cfg.Dir == "" || cfg.CA == nil || cfg.Clock == nil || cfg.Rand == nil {
		return nil, errors.New("sim: PSC: Issuer, Wallet, Dir, CA, Clock and Rand are required")
	}
	p := &PSC{cfg: cfg, clients: map[string]PSCClient{}, pages: map[string]pscRequest{}, codes: map[string]*pscCode{},
		sessions: map[string]*pscSession{}, revoked: map[string]time.Time{}, asked: map[string]*pscAsked{}, access: pscAccessLife,
		device: PSCDevice{Interval: pscInterval}, secret: make([]byte, 32)}
	p.cfg.Clock = func() time.Time { return cfg.Clock().Add(time.Duration(p.skew.Load())) }
	if _, err := io.ReadFull(cfg.Rand, p.secret); err != nil {
		return nil, fmt.Errorf("sim: PSC: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("sim: PSC: %w", err)
	}
	p.ready = sync.OnceValue(p.open)
	p.SetClients(cfg.Clients...)
	return p, nil
}

// open reads the keys or makes them; making them takes long, so it is done at
// the first token and not when the sandbox starts.
func (p *PSC) open() error {
	sig, err := rsaKey(filepath.Join(p.cfg.Dir, "psc-sig.key"), p.cfg.Rand)
	if err != nil {
		return err
	}
	enc, err := rsaKey(filepath.Join(p.cfg.Dir, "psc-enc.key"), p.cfg.Rand)
	if err != nil {
		return err
	}
	id, err := keyID(sig)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.encKey = []pscKey{{id, sig}}, enc
	return nil
}

// SetClients replaces the registered clients.
func (p *PSC) SetClients(list ...PSCClient) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = map[string]PSCClient{}
	for _, c := range list {
		p.clients[c.ID] = c
	}
}

// RotateKeys starts to sign with a new key; the previous one stays published.
func (p *PSC) RotateKeys() error {
	if err := p.ready(); err != nil {
		return err
	}
	path := filepath.Join(p.cfg.Dir, "psc-sig.key")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sim: PSC: %w", err)
	}
	key, err := rsaKey(path, p.cfg.Rand)
	if err != nil {
		return err
	}
	id, err := keyID(key)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append([]pscKey{{id, key}}, p.keys[0])
	return nil
}

// SetAccessLife changes how long access tokens live; zero is 120 seconds again.
func (p *PSC) SetAccessLife(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d <= 0 {
		d = pscAccessLife
	}
	p.access = d
}

// SetSkew puts the clock of Pro Santé Connect ahead of everybody else's, or behind.
func (p *PSC) SetSkew(d time.Duration) { p.skew.Store(int64(d)) }

// Skew is by how much its clock is ahead.
func (p *PSC) Skew() time.Duration { return time.Duration(p.skew.Load()) }

// AccessLife is how long access tokens live.
func (p *PSC) AccessLife() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.access
}

func rsaKey(path string, random io.Reader) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("sim: %s is not PEM", path)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, ok := parsed.(*rsa.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("sim: %s is not an RSA key", path)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sim: %w", err)
	}
	key, err := rsa.GenerateKey(random, 2048)
	if err != nil {
		return nil, fmt.Errorf("sim: PSC key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("sim: PSC key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func keyID(key *rsa.PrivateKey) (string, error) {
	k := jose.JSONWebKey{Key: &key.PublicKey}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sim: PSC key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// text is a random value of n bytes, or an error that ends the request.
func (p *PSC) text(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("sim: PSC: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Realm is the back channel: discovery, keys, tokens.
func (p *PSC) Realm() http.Handler {
	mux := http.NewServeMux()
	oidc := PSCRealm + "/protocol/openid-connect"
	mux.HandleFunc("GET "+PSCRealm+"/.well-known/wallet-openid-configuration", p.discovery)
	mux.HandleFunc("GET "+oidc+"/certs", p.certs)
	mux.HandleFunc("POST "+oidc+"/token", p.token)
	mux.HandleFunc("POST "+oidc+"/token/introspect", p.introspect)
	mux.HandleFunc("POST "+oidc+"/revoke", p.revoke)
	mux.HandleFunc("GET "+oidc+"/userinfo", p.userinfo)
	mux.HandleFunc("POST "+oidc+"/userinfo", p.userinfo)
	mux.HandleFunc("GET "+oidc+"/logout", p.logout)
	mux.HandleFunc("POST "+oidc+"/logout", p.logout)
	mux.HandleFunc("POST "+oidc+"/ext/ciba/auth", p.cibaAuth)
	return p.troubled(mux)
}

// Wallet is the login page, and the devices of CIBA.
func (p *PSC) Wallet() http.Handler {
	path := "/auth"
	if u, err := url.Parse(p.cfg.Wallet); err == nil && u.Path != "" {
		path = u.Path
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, p.authorize)
	mux.HandleFunc("POST "+path, p.choose)
	mux.HandleFunc("GET /ciba", p.devicePage)
	mux.HandleFunc("POST /ciba", p.deviceAnswer)
	return p.troubled(mux)
}

func (p *PSC) discovery(w http.ResponseWriter, _ *http.Request) {
	oidc := p.cfg.Issuer + "/protocol/openid-connect"
	issuer, userinfo := p.cfg.Issuer, oidc+"/userinfo"
	if _, ok := p.strike("discovery-issuer", ""); ok {
		issuer += "/"
	}
	if _, ok := p.strike("discovery-http", ""); ok {
		userinfo = strings.Replace(userinfo, "https://", "http://", 1)
	}
	// The noise is Pro Santé Connect's own: a client must pin RS256 and eidas1.
	algs := []string{"PS384", "RS384", "EdDSA", "ES384", "HS256", "HS512", "ES256", "RS256", "HS384", "ES512", "PS256", "PS512", "RS512"}
	auth := []string{"private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth", "client_secret_jwt"}
	aliases := map[string]string{"token_endpoint": oidc + "/token", "revocation_endpoint": oidc + "/revoke",
		"introspection_endpoint": oidc + "/token/introspect", "userinfo_endpoint": oidc + "/userinfo",
		"backchannel_authentication_endpoint": oidc + "/ext/ciba/auth"}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": issuer, "authorization_endpoint": p.cfg.Wallet, "token_endpoint": oidc + "/token",
		"introspection_endpoint": oidc + "/token/introspect", "userinfo_endpoint": userinfo,
		"end_session_endpoint": oidc + "/logout", "jwks_uri": oidc + "/certs", "revocation_endpoint": oidc + "/revoke",
		"backchannel_authentication_endpoint":            oidc + "/ext/ciba/auth",
		"grant_types_supported":                          []string{"authorization_code", "implicit", "refresh_token", "password", "client_credentials", "urn:openid:params:grant-type:ciba", "urn:ietf:params:oauth:grant-type:device_code"},
		"acr_values_supported":                           []string{"0", "0"},
		"response_types_supported":                       []string{"code", "none", "id_token", "token", "id_token token", "code id_token", "code token", "code id_token token"},
		"response_modes_supported":                       []string{"query", "fragment", "form_post"},
		"subject_types_supported":                        []string{"public", "pairwise"},
		"id_token_signing_alg_values_supported":          algs,
		"userinfo_signing_alg_values_supported":          append(slices.Clone(algs), "none"),
		"request_object_signing_alg_values_supported":    append(slices.Clone(algs), "none"),
		"token_endpoint_auth_methods_supported":          auth,
		"introspection_endpoint_auth_methods_supported":  auth,
		"revocation_endpoint_auth_methods_supported":     auth,
		"scopes_supported":                               []string{"openid", "scope_all", "scope_1", "scope_2", "identity", "rpps", "referentiel", "interop", "eidas1", "eidas2", "acr", "basic", "profile", "email", "phone", "address", "roles", "web-origins", "offline_access", "microprofile-jwt"},
		"code_challenge_methods_supported":               []string{"plain", "S256"},
		"tls_client_certificate_bound_access_tokens":     true,
		"authorization_response_iss_parameter_supported": true,
		"backchannel_token_delivery_modes_supported":     []string{"poll", "ping"},
		"frontchannel_logout_supported":                  true,
		"frontchannel_logout_session_supported":          true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"mtls_endpoint_aliases":                          aliases,
		"require_pushed_authorization_requests":          false,
		"claims_parameter_supported":                     false,
	})
}

func (p *PSC) certs(w http.ResponseWriter, _ *http.Request) {
	if err := p.ready(); err != nil {
		pscRefuse(w, http.StatusInternalServerError, "server_error", "clés impossibles")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &k.key.PublicKey, KeyID: k.id, Use: "sig", Algorithm: "RS256"})
	}
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: &p.encKey.PublicKey, KeyID: "enc-" + p.keys[0].id, Use: "enc", Algorithm: "RSA-OAEP"})
	writeJSON(w, http.StatusOK, set)
}

// pscRefuse answers an error of RFC 6749 §5.2.
func pscRefuse(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, status, map[string]string{"error": code, "error_description": pscASCII.Replace("Bac à sable : " + text)})
}

// pscASCII writes French with the characters that RFC 6749 §5.2 admits in
// error_description.
var pscASCII = strings.NewReplacer("à", "a", "é", "e", "è", "e", "ê", "e", "î", "i", "ç", "c", "É", "E", "\"", "'")

// authenticated reads the form of a back-channel request and says which client
// asks. Otherwise it has answered.
func (p *PSC) authenticated(w http.ResponseWriter, r *http.Request) (PSCClient, url.Values, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, 256<<10)
	if err := r.ParseForm(); err != nil {
		pscRefuse(w, http.StatusBadRequest, "invalid_request", "formulaire illisible ou trop long")
		return PSCClient{}, nil, false
	}
	for name, values := range r.PostForm {
		if len(values) != 1 {
			pscRefuse(w, http.StatusBadRequest, "invalid_request", "paramètre répété : "+name)
			return PSCClient{}, nil, false
		}
	}
	user, password, basic := r.BasicAuth()
	if basic && r.PostForm.Has("client_secret") {
		pscRefuse(w, http.StatusBadRequest, "invalid_request", "deux authentifications du client à la fois")
		return PSCClient{}, nil, false
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if basic {
		// RFC 6749 §2.3.1: both parts are form-encoded.
		var err1, err2 error
		id, err1 = url.QueryUnescape(user)
		secret, err2 = url.QueryUnescape(password)
		if err := errors.Join(err1, err2); err != nil {
			id = ""
		}
	}
	p.mu.Lock()
	c, known := p.clients[id]
	p.mu.Unlock()
	ok := false
	switch {
	case !known:
	case c.CommonName != "" && p.commonName(r) == c.CommonName:
		ok = true
	case secret != "" && c.Secret != "" && !c.MTLSOnly:
		ok = subtle.ConstantTimeCompare([]byte(secret), []byte(c.Secret)) == 1
	}
	if !ok {
		if basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="esante-wallet"`)
		}
		pscRefuse(w, http.StatusUnauthorized, "invalid_client", "client inconnu, ou secret ou certificat qui ne lui appartient pas")
		return PSCClient{}, nil, false
	}
	return c, r.PostForm, true
}

// commonName is the subject of the certificate of this connection, if the
// sandbox's CA made it for a client.
func (p *PSC) commonName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	cert := r.TLS.PeerCertificates[0]
	_, err := cert.Verify(x509.VerifyOptions{Roots: p.cfg.CA, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: p.cfg.Clock()})
	if err != nil {
		return ""
	}
	return cert.Subject.CommonName
}

// alive finds a session that has not ended, and is within its limits.
func (p *PSC) alive(id string) (*pscSession, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.sessions[id]
	now := p.cfg.Clock()
	if !ok || s.ended || now.After(s.started.Add(pscSessionLife)) || now.After(s.used.Add(pscRefreshLife)) {
		return nil, false
	}
	return s, true
}

func (p *PSC) end(session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sessions[session]; ok {
		s.ended = true
	}
}

// tidy forgets what has expired; the caller holds the lock.
func (p *PSC) tidy() {
	now := p.cfg.Clock()
	for k, v := range p.pages {
		if now.After(v.expires) || len(p.pages) > pscMost {
			delete(p.pages, k)
		}
	}
	for k, v := range p.codes {
		// A code that was used is remembered, so that its replay is known.
		if now.After(v.expires.Add(pscSessionLife)) || len(p.codes) > pscMost {
			delete(p.codes, k)
		}
	}
	for k, v := range p.sessions {
		if now.After(v.started.Add(pscSessionLife)) || len(p.sessions) > pscMost {
			delete(p.sessions, k)
		}
	}
	for k, v := range p.asked {
		// One that expired is remembered for a while, so that expired_token is said.
		if now.After(v.expires.Add(pscPageLife)) || len(p.asked) > pscMost {
			delete(p.asked, k)
		}
	}
	for k, v := range p.revoked {
		if now.After(v) || len(p.revoked) > pscMost {
			delete(p.revoked, k)
		}
	}
}
