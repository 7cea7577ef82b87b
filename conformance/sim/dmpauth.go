package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/passerelle-sante/passerelle/testdata"
)

// GrantPersona is the grant by which the holder of the sandbox's client
// certificate gets the bearer of a fictitious professional. It exists in the
// sandbox only.
const GrantPersona = "urn:passerelle:params:oauth:grant-type:sandbox-persona"

const grantClient = "client_credentials"

// roleSystem is the value set that SubjectRole refers to (JDV_J65).
const roleSystem = "1.2.250.1.213.1.1.5.5"

// authServer is the DMP's authorization server. A client is known by its
// certificate; its client_id is the common name.
type authServer struct {
	issuer  string
	signer  jose.Signer
	keys    jose.JSONWebKeySet
	ca      *x509.CertPool
	clients map[string][]string // client_id → grants
	now     func() time.Time
	rand    io.Reader

	// subject checks an access token of Pro Santé Connect; see [PSC].
	subject func(token string) (who pscPerson, jti string, until time.Time, ok bool)

	mu        sync.Mutex
	lifetime  time.Duration
	exchanged map[string]time.Time // PSC tokens that passed, until they expire
	revoked   map[string]time.Time // jti of our tokens, until they expire
	legacyCNF bool                 // cnf as some material of the ANS has it
}

func newAuthServer(issuer, keyFile string, ca *x509.CertPool, now func() time.Time, random io.Reader) (*authServer, error) {
	key, err := signingKey(keyFile, random)
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sim: token key: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return nil, fmt.Errorf("sim: token signer: %w", err)
	}
	return &authServer{issuer: issuer, signer: signer, keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}, ca: ca,
		clients: map[string][]string{
			commonNames[roleGatewayDMP]: {grantClient, grantExchange},
			commonNames[roleMachine]:    {grantClient},
			commonNames[roleClient]:     {GrantPersona, grantExchange},
		},
		now: now, rand: random, lifetime: time.Hour}, nil
}

// signingKey reads the key of tokens, or makes it: a token outlives a restart.
func signingKey(path string, random io.Reader) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("sim: %s is not PEM", path)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("sim: %s is not an ECDSA key", path)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sim: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("sim: token key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("sim: token key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func (s *authServer) setLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifetime = d
}

func (s *authServer) getLifetime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lifetime
}

func (s *authServer) register(mux *http.ServeMux) {
	mux.HandleFunc("/token", s.token)
	mux.HandleFunc("/revoke", s.revoke)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.keys) })
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": s.issuer, "token_endpoint": s.issuer + "/token", "revocation_endpoint": s.issuer + "/revoke", "jwks_uri": s.issuer + "/jwks",
			"response_types_supported":                   []string{}, // no authorization endpoint
			"grant_types_supported":                      []string{grantClient, grantExchange, GrantPersona},
			"scopes_supported":                           []string{"dmp"},
			"token_endpoint_auth_methods_supported":      []string{"tls_client_auth"},
			"tls_client_certificate_bound_access_tokens": true,
			"access_token_signing_alg_values_supported":  []string{"ES256"},
			"service_documentation":                      "Passerelle, bac à sable : serveur d'autorisation fictif du DMP",
		})
	})
}

// oauthError is an error of RFC 6749 §5.2.
type oauthError struct {
	status int
	code   string
	text   string
}

func (e *oauthError) Error() string { return e.code + ": " + e.text }

func refuseToken(status int, code, text string) error {
	return &oauthError{status: status, code: code, text: text}
}

func (s *authServer) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	answer, err := s.grant(w, r)
	var refused *oauthError
	switch {
	case errors.As(err, &refused):
		writeJSON(w, refused.status, map[string]string{"error": refused.code, "error_description": "Bac à sable : " + refused.text})
	case err != nil:
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "server_error", "error_description": "Bac à sable : jeton impossible"})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

func (s *authServer) grant(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, refuseToken(http.StatusMethodNotAllowed, "invalid_request", "POST attendu")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return nil, refuseToken(http.StatusBadRequest, "invalid_request", "formulaire illisible")
	}
	form := r.PostForm
	for name, values := range form {
		if len(values) != 1 {
			return nil, refuseToken(http.StatusBadRequest, "invalid_request", "paramètre répété : "+name)
		}
	}
	cert := s.clientCert(r)
	if cert == nil {
		return nil, refuseToken(http.StatusUnauthorized, "invalid_client", "certificat client absent ou inconnu de l'AC du bac à sable")
	}
	id := cert.Subject.CommonName
	grants, known := s.clients[id]
	grant := form.Get("grant_type")
	// The certificate says enough of who asks; the standard grant wants the
	// client_id all the same (RFC 8705, section 2).
	named := form.Get("client_id") == id || (grant != grantClient && !form.Has("client_id"))
	if !known || !named {
		return nil, refuseToken(http.StatusUnauthorized, "invalid_client", "client_id est le CN du certificat présenté")
	}
	if grant == "" {
		return nil, refuseToken(http.StatusBadRequest, "invalid_request", "grant_type manque")
	}
	if grant != grantClient && grant != GrantPersona && grant != grantExchange {
		return nil, refuseToken(http.StatusBadRequest, "unsupported_grant_type", "grant_type inconnu")
	}
	if !slices.Contains(grants, grant) {
		return nil, refuseToken(http.StatusBadRequest, "unauthorized_client", "ce certificat n'a pas droit à ce grant_type")
	}
	if scope := form.Get("scope"); scope != "dmp" && (scope != "" || grant == grantClient) {
		return nil, refuseToken(http.StatusBadRequest, "invalid_scope", "scope=dmp attendu")
	}
	var claims map[string]any
	var err error
	switch grant {
	case grantClient:
		claims, err = indirectClaims(form.Get("mode"), form.Get("finess"), form.Get("sender"))
	case grantExchange:
		claims, err = s.exchangeClaims(form)
	default:
		claims, err = personaClaims(form.Get("persona"))
	}
	if err != nil {
		return nil, err
	}
	answer, err := s.issue(id, cert, claims)
	if err == nil && grant == grantExchange {
		answer["issued_token_type"] = typeAccessToken
	}
	return answer, err
}

var (
	finessForm = regexp.MustCompile(`^[0-9][0-9AB][0-9]{7}$`)
	senderForm = regexp.MustCompile(`^[^\x00-\x20]{1,64}$`)
)

func indirectClaims(mode, finess, sender string) (map[string]any, error) {
	switch {
	case mode != "indirecte":
		return nil, refuseToken(http.StatusBadRequest, "invalid_request", "mode=indirecte attendu")
	case !finessForm.MatchString(finess):
		return nil, refuseToken(http.StatusBadRequest, "invalid_request", "finess : neuf caractères attendus")
	case !senderForm.MatchString(sender):
		return nil, refuseToken(http.StatusBadRequest, "invalid_request", "sender : identifiant du demandeur (PRT SB) attendu")
	}
	return map[string]any{"sub": finess, "mode": mode, "finess": finess, "sender": sender}, nil
}

func personaClaims(name string) (map[string]any, error) {
	p := testdata.PersonaByID(name)
	if p.ID == "" {
		return nil, refuseToken(http.StatusBadRequest, "invalid_grant", "persona inconnue du bac à sable")
	}
	return professionalClaims(p), nil
}

func professionalClaims(p testdata.Persona) map[string]any {
	return map[string]any{"sub": p.NationalID, "mode": "direct", "SubjectNameID": p.NationalID,
		"SubjectRole": []string{p.Profession + "^" + roleSystem}, "given_name": p.Given, "family_name": p.Family,
		"acr": "eidas1"}
}

func (s *authServer) issue(client string, cert *x509.Certificate, claims map[string]any) (map[string]any, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.rand, id[:]); err != nil {
		return nil, fmt.Errorf("sim: token id: %w", err)
	}
	now, lifetime := s.now(), s.getLifetime()
	claims["iss"], claims["aud"], claims["client_id"], claims["scope"] = s.issuer, "dmp", client, "dmp"
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(lifetime).Unix()
	claims["jti"] = base64.RawURLEncoding.EncodeToString(id[:])
	claims["cnf"] = map[string]string{"x5t#S256": s.confirmation(cert)}
	token, err := jwt.Signed(s.signer).Claims(claims).Serialize()
	if err != nil {
		return nil, fmt.Errorf("sim: token: %w", err)
	}
	return map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime.Seconds()), "scope": "dmp"}, nil
}

// clientCert is the certificate of this connection, if the sandbox's CA made it
// for a client.
func (s *authServer) clientCert(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	cert := r.TLS.PeerCertificates[0]
	_, err := cert.Verify(x509.VerifyOptions{Roots: s.ca, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: s.now()})
	if err != nil {
		return nil
	}
	return cert
}

// thumbprint is x5t#S256 of RFC 8705.
func thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// serverTLS is the TLS of simulated services: a client certificate is asked for
// and checked, and its absence is left to the service, so that it is a 401 and
// not an alert.
func serverTLS(cert tls.Certificate, ca *x509.CertPool) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca, ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that left is not our trouble
}
