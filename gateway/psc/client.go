package psc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// DiscoveryPath is where PSC publishes its metadata; the standard path is 404.
const DiscoveryPath = "/.well-known/wallet-openid-configuration"

// Scope is what is asked for. What is granted differs, and is not compared.
const scopes = "openid scope_all"

// Config is a client of PSC. Everything is required but Discovery and
// ClientSecret.
type Config struct {
	Issuer       string
	Discovery    string // default: Issuer + [DiscoveryPath]
	ClientID     string
	ClientSecret string       // empty: the certificate of HTTP says who we are
	RedirectURI  string       // byte-exact as registered
	HTTP         *http.Client // presents our certificate, knows the authorities
	Clock        func() time.Time
	Rand         io.Reader
	// Wait lets time pass between two questions to PSC (CIBA); by default, real time.
	Wait func(ctx context.Context, d time.Duration) error
}

// Client talks to PSC.
type Client struct {
	cfg    Config
	http   *http.Client
	flight flight[*provider]

	mu       sync.Mutex
	provider *provider
}

// provider is what discovery told.
type provider struct {
	oidc.ProviderConfig
	Introspection string `json:"introspection_endpoint"`
	EndSession    string `json:"end_session_endpoint"`
	Backchannel   string `json:"backchannel_authentication_endpoint"` // absent: no CIBA

	read     time.Time
	keys     *keySet
	verifier *oidc.IDTokenVerifier
	oauth    oauth2.Config
}

const providerLife = time.Hour

// NewClient checks a configuration; it asks PSC nothing.
func NewClient(cfg Config) (*Client, error) {
	switch {
	case cfg.ClientID == "" || cfg.HTTP == nil || cfg.Clock == nil || cfg.Rand == nil:
		return nil, errors.New("psc: ClientID, HTTP, Clock and Rand are required")
	case !secure(cfg.Issuer):
		return nil, errors.New("psc: Issuer is not an https URL")
	}
	u, err := url.Parse(cfg.RedirectURI)
	if err != nil || u.Host == "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, errors.New("psc: RedirectURI is not an https URL (http on loopback only)")
	}
	if cfg.Discovery == "" {
		cfg.Discovery = cfg.Issuer + DiscoveryPath
	}
	if !secure(cfg.Discovery) {
		return nil, errors.New("psc: Discovery is not an https URL")
	}
	if cfg.Wait == nil {
		cfg.Wait = pause
	}
	client := *cfg.HTTP
	// Nothing at PSC redirects a server; following would carry secrets along.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Timeout = requestLife
	return &Client{cfg: cfg, http: &client}, nil
}

func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bare is an error without the address that net/http adds to it.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// discover gives what discovery told less than an hour ago, or asks.
func (c *Client) discover(ctx context.Context) (*provider, error) {
	c.mu.Lock()
	known := c.provider
	c.mu.Unlock()
	if known != nil && c.cfg.Clock().Sub(known.read) < providerLife {
		return known, nil
	}
	p, err := c.flight.do(ctx, c.ask)
	if err != nil {
		if known != nil && isFault(err, FaultUnreachable) {
			return known, nil // yesterday's addresses are better than none
		}
		return nil, err
	}
	return p, nil
}

func (c *Client) ask(ctx context.Context) (*provider, error) {
	p := &provider{read: c.cfg.Clock()}
	if err := getJSON(ctx, c.http, c.cfg.Discovery, p); err != nil {
		return nil, err
	}
	if p.IssuerURL != c.cfg.Issuer {
		return nil, refuse(FaultDiscovery, "issuer")
	}
	for name, address := range map[string]string{"authorization_endpoint": p.AuthURL, "token_endpoint": p.TokenURL,
		"userinfo_endpoint": p.UserInfoURL, "jwks_uri": p.JWKSURL, "introspection_endpoint": p.Introspection,
		"end_session_endpoint": p.EndSession} {
		if !secure(address) {
			return nil, refuse(FaultDiscovery, name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider != nil && c.provider.JWKSURL == p.JWKSURL {
		p.keys = c.provider.keys
	} else {
		p.keys = &keySet{url: p.JWKSURL, client: c.http, clock: c.cfg.Clock}
	}
	// Time is judged by checkTimes: this verifier would allow five minutes.
	p.verifier = oidc.NewVerifier(c.cfg.Issuer, p.keys, &oidc.Config{ClientID: c.cfg.ClientID,
		SupportedSigningAlgs: []string{oidc.RS256}, SkipExpiryCheck: true})
	style := oauth2.AuthStyleInHeader
	if c.cfg.ClientSecret == "" {
		style = oauth2.AuthStyleInParams // client_id alone: tls_client_auth
	}
	p.oauth = oauth2.Config{ClientID: c.cfg.ClientID, ClientSecret: c.cfg.ClientSecret, RedirectURL: c.cfg.RedirectURI,
		Scopes: strings.Fields(scopes), Endpoint: oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, AuthStyle: style}}
	c.provider = p
	return p, nil
}

// authorization is the address to send a browser to.
func (c *Client) authorization(ctx context.Context, state, nonce, verifier, hint string) (string, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("acr_values", requiredACR)}
	if hint != "" {
		options = append(options, oauth2.SetAuthURLParam("kc_idp_hint", hint))
	}
	return p.oauth.AuthCodeURL(state, options...), nil
}

// requiredACR is the only level that PSC accepts to be asked for.
const requiredACR = "eidas1"

// grant is what PSC gave for a code or a refresh token.
type grant struct {
	access, refresh, id string
	refreshExpires      time.Time
	claims              claims
}

// claims are those of an ID or access token of PSC.
type claims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      textList `json:"aud"`
	Azp           string   `json:"azp"`
	ClientID      string   `json:"client_id"`
	Typ           string   `json:"typ"`
	JTI           string   `json:"jti"`
	Nonce         string   `json:"nonce"`
	Expires       *float64 `json:"exp"`
	IssuedAt      *float64 `json:"iat"`
	NotBefore     *float64 `json:"nbf"`
	AuthTime      *float64 `json:"auth_time"`
	ACR           string   `json:"acr"`
	AuthMode      string   `json:"authMode"`
	SessionState  string   `json:"session_state"`
	SID           string   `json:"sid"`
	SubjectNameID string   `json:"SubjectNameID"`
	Preferred     string   `json:"preferred_username"`
	Active        *bool    `json:"active"`
}

func (c claims) nameID() string {
	if c.SubjectNameID != "" {
		return c.SubjectNameID
	}
	return c.Preferred
}

func (c claims) session() string {
	if c.SessionState != "" {
		return c.SessionState
	}
	return c.SID
}

func instant(seconds *float64) time.Time {
	if seconds == nil || *seconds < 0 || *seconds > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(*seconds), 0)
}

// redeem exchanges a code, once and without retry, and checks all that came.
func (c *Client) redeem(ctx context.Context, code, verifier, nonce string) (grant, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return grant{}, err
	}
	token, err := p.oauth.Exchange(oidc.ClientContext(ctx, c.http), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return grant{}, tokenFailure(err, FaultCode)
	}
	return c.check(ctx, p, token, proof{fresh: true, nonced: true, nonce: nonce})
}

// renew uses a refresh token.
func (c *Client) renew(ctx context.Context, refresh string) (grant, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return grant{}, err
	}
	token, err := p.oauth.TokenSource(oidc.ClientContext(ctx, c.http), &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		return grant{}, tokenFailure(err, FaultSessionExpired)
	}
	return c.check(ctx, p, token, proof{})
}

// tokenFailure says what a refusal of the token endpoint means; invalid_grant is
// said by the given code.
func tokenFailure(err error, invalidGrant string) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		var network *url.Error
		if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return because(FaultUnreachable, "", bare(err))
		}
		return because(FaultAnswer, "", errors.New("token answer"))
	}
	switch refused.ErrorCode {
	case "invalid_grant":
		return because(invalidGrant, "", errors.New("invalid_grant"))
	case "invalid_client", "unauthorized_client":
		return because(FaultRegistration, "", errors.New("token endpoint refuses the client"))
	}
	status := 0
	if refused.Response != nil {
		status = refused.Response.StatusCode
	}
	return because(upstream(status), "", fmt.Errorf("token endpoint answers %d", status))
}

// proof is what a token answer must prove.
type proof struct {
	fresh  bool   // a login: the ID token must be there, and new
	nonced bool   // by a browser: it carries our nonce
	nonce  string // and not merely none
}

// check judges a token answer.
func (c *Client) check(ctx context.Context, p *provider, token *oauth2.Token, want proof) (grant, error) {
	g := grant{access: token.AccessToken, refresh: token.RefreshToken}
	if !strings.EqualFold(token.TokenType, "Bearer") {
		return g, because(FaultAnswer, "token_type", errors.New("not a bearer"))
	}
	if seconds, ok := token.Extra("refresh_expires_in").(float64); ok && seconds > 0 && seconds < 1e9 {
		g.refreshExpires = c.cfg.Clock().Add(time.Duration(seconds) * time.Second)
	}
	g.id, _ = token.Extra("id_token").(string)
	if g.id == "" {
		if want.fresh {
			return g, refuse(FaultIDToken, "id_token")
		}
		var err error
		g.claims, err = c.accessClaims(ctx, p, g.access, []string{c.cfg.ClientID})
		return g, err
	}
	var err error
	g.claims, err = c.idClaims(ctx, p, g.id, g.access, want)
	return g, err
}

// idClaims verifies an ID token (RP-04).
func (c *Client) idClaims(ctx context.Context, p *provider, raw, access string, want proof) (claims, error) {
	var out claims
	h, _, err := inspect(raw, maxToken)
	if err == nil && h.Alg != oidc.RS256 {
		err = refuse(FaultAlg, "alg")
	}
	if err != nil {
		return out, explain(FaultIDToken, err)
	}
	// go-oidc keeps the text of an error and loses its kind: whether PSC could
	// not be asked for its keys is found out first.
	if _, err := p.keys.VerifySignature(ctx, raw); err != nil {
		return out, explain(FaultIDToken, err)
	}
	token, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		// What it says holds values of claims, which are not for logs.
		return out, because(FaultIDToken, "", errors.New("issuer or audience"))
	}
	if err := token.Claims(&out); err != nil {
		return out, refuse(FaultIDToken, "claims")
	}
	switch {
	case out.Typ != "ID":
		return out, refuse(FaultIDToken, "typ")
	case out.Azp != "" && out.Azp != c.cfg.ClientID, len(out.Audience) > 1 && out.Azp == "":
		return out, refuse(FaultIDToken, "azp")
	case out.Subject == "" || out.nameID() == "":
		return out, refuse(FaultIDToken, "SubjectNameID")
	case !assured(out.ACR, requiredACR):
		return out, refuse(FaultACR, "acr")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil:
		return out, refuse(FaultIDToken, "at_hash")
	case want.nonced && (want.nonce == "" || subtle.ConstantTimeCompare([]byte(out.Nonce), []byte(want.nonce)) != 1):
		return out, refuse(FaultNonce, "nonce")
	}
	if err := c.checkTimes(out); err != nil {
		return out, explain(FaultIDToken, err)
	}
	if age := c.cfg.Clock().Sub(instant(out.IssuedAt)); want.fresh && (out.IssuedAt == nil || age > time.Minute) {
		return out, refuse(FaultIDToken, "iat")
	}
	return out, nil
}

// checkTimes judges exp, nbf and iat.
func (c *Client) checkTimes(t claims) error {
	now := c.cfg.Clock()
	switch {
	case instant(t.Expires).IsZero():
		return refuse(FaultTokenMalformed, "exp")
	case !now.Before(instant(t.Expires).Add(leeway)):
		return refuse(FaultExpired, "exp")
	case t.NotBefore != nil && now.Add(leeway).Before(instant(t.NotBefore)):
		return refuse(FaultNotYet, "nbf")
	case t.IssuedAt != nil && now.Add(leeway).Before(instant(t.IssuedAt)):
		return refuse(FaultNotYet, "iat")
	}
	return nil
}

// accessClaims verifies an access token of PSC by its keys. It carries no
// audience: who obtained it (azp) must be among the clients given, "*" is any.
func (c *Client) accessClaims(ctx context.Context, p *provider, raw string, clients []string) (claims, error) {
	var out claims
	h, peek, err := inspect(raw, maxToken)
	if err == nil && h.Alg != oidc.RS256 {
		err = refuse(FaultAlg, "alg")
	}
	if err == nil && unverifiedIssuer(peek) != c.cfg.Issuer {
		err = refuse(FaultIssuer, "iss")
	}
	if err != nil {
		return out, explain(FaultSubjectToken, err)
	}
	payload, err := p.keys.VerifySignature(ctx, raw)
	if err != nil {
		return out, explain(FaultSubjectToken, err)
	}
	if err := json.Unmarshal(payload, &out); err != nil {
		return out, refuse(FaultSubjectToken, "claims")
	}
	err = c.checkTimes(out)
	azp := out.Azp
	if azp == "" {
		azp = out.ClientID
	}
	switch {
	case isFault(err, FaultExpired):
		return out, because(FaultSubjectExpired, "exp", err)
	case err != nil:
		return out, explain(FaultSubjectToken, err)
	case out.Issuer != c.cfg.Issuer:
		return out, refuse(FaultSubjectToken, "iss")
	case out.Typ != "Bearer":
		return out, refuse(FaultSubjectToken, "typ")
	case out.Subject == "" || out.nameID() == "":
		return out, refuse(FaultSubjectToken, "SubjectNameID")
	case !assured(out.ACR, requiredACR):
		return out, refuse(FaultACR, "acr")
	case !allowed(clients, azp):
		return out, refuse(FaultSubjectClient, "azp")
	}
	return out, nil
}

func allowed(clients []string, azp string) bool {
	for _, c := range clients {
		if c == "*" || azp != "" && c == azp {
			return true
		}
	}
	return false
}

// unverifiedIssuer reads iss for diagnostics.
func unverifiedIssuer(payload []byte) string {
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return ""
	}
	return c.Issuer
}

// introspect asks PSC whether an access token is alive. There is no cache, and
// no answer is no access.
func (c *Client) introspect(ctx context.Context, p *provider, token string, known claims) error {
	status, _, body, err := c.post(ctx, p.Introspection, url.Values{"token": {token}, "token_type_hint": {"access_token"}})
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return because(FaultRegistration, "", fmt.Errorf("introspection answers %d", status))
	case status != http.StatusOK:
		return because(FaultUnreachable, "", fmt.Errorf("introspection answers %d", status))
	}
	var said claims
	if strictObject(body) != nil || json.Unmarshal(body, &said) != nil || said.Active == nil {
		return because(FaultAnswer, "", errors.New("introspection"))
	}
	switch {
	case !*said.Active:
		return refuse(FaultSubjectToken, "active")
	case said.Subject != known.Subject, said.nameID() != "" && said.nameID() != known.nameID():
		return refuse(FaultSubjectToken, "sub")
	}
	return nil
}

// post sends a form as the client that we are.
func (c *Client) post(ctx context.Context, address string, form url.Values) (int, http.Header, []byte, error) {
	if c.cfg.ClientSecret == "" {
		form.Set("client_id", c.cfg.ClientID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, nil, because(FaultDiscovery, "", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if c.cfg.ClientSecret != "" {
		req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(c.cfg.ClientSecret))
	}
	return send(c.http, req)
}

// person asks userinfo, and checks that it speaks of the person of the token
// (RP-05). It must be asked at once: the token lives two minutes.
func (c *Client) person(ctx context.Context, p *provider, access string, of claims) (Professional, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.UserInfoURL, nil)
	if err != nil {
		return Professional{}, because(FaultDiscovery, "", err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	status, header, body, err := send(c.http, req)
	switch {
	case err != nil:
		return Professional{}, err
	case status == http.StatusUnauthorized:
		return Professional{}, because(FaultUserinfo, "", fmt.Errorf("userinfo answers %d", status))
	case status != http.StatusOK:
		return Professional{}, because(upstream(status), "", fmt.Errorf("userinfo answers %d", status))
	}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch kind {
	case "application/json":
	case "application/jwt":
		h, peek, err := inspect(strings.TrimSpace(string(body)), maxToken)
		if err == nil && h.Alg != oidc.RS256 {
			err = refuse(FaultAlg, "alg")
		}
		if err == nil && unverifiedIssuer(peek) != c.cfg.Issuer {
			err = refuse(FaultIssuer, "iss")
		}
		if err == nil {
			body, err = p.keys.VerifySignature(ctx, strings.TrimSpace(string(body)))
		}
		var to struct {
			Audience textList `json:"aud"`
		}
		if err == nil && (json.Unmarshal(body, &to) != nil || !slices.Contains(to.Audience, of.Azp)) {
			err = refuse(FaultAudience, "aud")
		}
		if err != nil {
			return Professional{}, explain(FaultUserinfo, err)
		}
	default:
		return Professional{}, because(FaultAnswer, "Content-Type", errors.New("userinfo is neither JSON nor JWT"))
	}
	var u userinfo
	if strictObject(body) != nil || json.Unmarshal(body, &u) != nil {
		return Professional{}, because(FaultAnswer, "", errors.New("userinfo"))
	}
	if u.Sub == "" || u.Sub != of.Subject {
		return Professional{}, refuse(FaultUserinfo, "sub")
	}
	if u.nameID() != "" && u.nameID() != of.nameID() {
		return Professional{}, refuse(FaultUserinfo, "SubjectNameID")
	}
	pro := Professional{NationalID: of.nameID(), Subject: of.Subject, ACR: of.ACR, Means: of.AuthMode, SessionState: of.session(), At: instant(of.AuthTime)}
	if pro.At.IsZero() {
		pro.At = instant(of.IssuedAt)
	}
	pro.describe(u)
	return pro, nil
}

// endSession logs out of PSC.
func (c *Client) endSession(ctx context.Context, idToken string) error {
	p, err := c.discover(ctx)
	if err != nil {
		return err
	}
	status, _, _, err := c.post(ctx, p.EndSession, url.Values{"id_token_hint": {idToken}})
	if err != nil {
		return err
	}
	if status >= 400 {
		return because(upstream(status), "", fmt.Errorf("end_session answers %d", status))
	}
	return nil
}
