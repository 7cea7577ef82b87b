package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func splitScope(s string) []string { return strings.Fields(s) }

// uuid is a random UUID, version 4.
func (p *PSC) uuid() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(p.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("sim: PSC: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func (p *PSC) token(w http.ResponseWriter, r *http.Request) {
	client, form, ok := p.authenticated(w, r)
	if !ok {
		return
	}
	var session *pscSession
	var refused string
	switch form.Get("grant_type") {
	case "authorization_code":
		session, refused = p.redeem(client, form)
	case "refresh_token":
		session, refused = p.refresh(client, form)
	case grantCIBA:
		var code string
		if session, code, refused = p.poll(client, form); code != "" {
			pscRefuse(w, http.StatusBadRequest, code, refused)
			return
		}
	case "":
		pscRefuse(w, http.StatusBadRequest, "invalid_request", "grant_type manque")
		return
	default:
		pscRefuse(w, http.StatusBadRequest, "unsupported_grant_type", "grant_type non pris en charge par ce simulateur")
		return
	}
	if session == nil {
		pscRefuse(w, http.StatusBadRequest, "invalid_grant", refused)
		return
	}
	answer, err := p.issue(session)
	if err != nil {
		pscRefuse(w, http.StatusInternalServerError, "server_error", "jeton impossible")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, http.StatusOK, answer)
}

// redeem gives the session of a code; a code that comes twice ends it.
func (p *PSC) redeem(client PSCClient, form url.Values) (*pscSession, string) {
	p.mu.Lock()
	code, ok := p.codes[form.Get("code")]
	if !ok {
		p.mu.Unlock()
		return nil, "code inconnu"
	}
	if code.used {
		p.mu.Unlock()
		p.end(code.session)
		return nil, "code déjà utilisé : la session est fermée"
	}
	now := p.cfg.Clock()
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	reason := ""
	switch {
	case code.client != client.ID:
		reason = "code d'un autre client"
	case now.After(code.expires):
		reason = "code expiré"
	case form.Get("redirect_uri") != code.redirect:
		reason = "redirect_uri différent de celui de la demande"
	case code.challenge != "" && base64.RawURLEncoding.EncodeToString(sum[:]) != code.challenge:
		reason = "code_verifier ne correspond pas à code_challenge"
	case code.challenge == "" && form.Has("code_verifier"):
		reason = "code_verifier sans code_challenge"
	}
	code.used = true // of whoever tried: a code is tried once
	p.mu.Unlock()
	if reason != "" {
		p.end(code.session)
		return nil, reason
	}
	s, ok := p.alive(code.session)
	if !ok {
		return nil, "session fermée"
	}
	return s, ""
}

func (p *PSC) refresh(client PSCClient, form url.Values) (*pscSession, string) {
	if _, ok := p.strike("refresh-refused", ""); ok {
		return nil, "refus demandé au bac à sable"
	}
	claims, ok := p.readRefresh(form.Get("refresh_token"))
	if !ok || claims.Azp != client.ID || p.cfg.Clock().Unix() > claims.Exp {
		return nil, "jeton de rafraîchissement inconnu ou expiré"
	}
	s, ok := p.alive(claims.Sid)
	if !ok {
		return nil, "session fermée"
	}
	p.mu.Lock()
	s.used = p.cfg.Clock()
	p.mu.Unlock()
	return s, ""
}

// issue makes the tokens of a session.
func (p *PSC) issue(s *pscSession) (map[string]any, error) {
	p.mu.Lock()
	life := p.access
	p.mu.Unlock()
	now := p.cfg.Clock()
	jti, err1 := p.uuid()
	idJTI, err2 := p.uuid()
	refreshJTI, err3 := p.uuid()
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	common := func(typ, jti string) map[string]any {
		return map[string]any{"iss": p.cfg.Issuer, "sub": s.person.sub(), "typ": typ, "jti": jti, "azp": s.client,
			"iat": now.Unix(), "exp": now.Add(life).Unix(), "auth_time": s.started.Unix(), "acr": "eidas1",
			"nonce": s.nonce, "session_state": s.id, "sid": s.id, "authMode": s.person.means,
			"preferred_username": s.person.NationalID, "SubjectNameID": s.person.NationalID}
	}
	accessClaims := common("Bearer", jti)
	accessClaims["scope"] = pscScope
	accessClaims["otherIds"] = s.person.otherIDs()
	access, err := p.sign("access", accessClaims)
	if err != nil {
		return nil, err
	}
	idClaims := common("ID", idJTI)
	idClaims["aud"] = s.client
	idClaims["given_name"], idClaims["family_name"] = s.person.Given, s.person.Family
	half := sha256.Sum256([]byte(access))
	idClaims["at_hash"] = base64.RawURLEncoding.EncodeToString(half[:16])
	if s.nonce == "" {
		delete(idClaims, "nonce")
	}
	id, err := p.sign("id", idClaims)
	if err != nil {
		return nil, err
	}
	refreshLife := min(pscRefreshLife, s.started.Add(pscSessionLife).Sub(now))
	refresh, err := p.signRefresh(pscRefreshClaims{Iss: p.cfg.Issuer, Aud: p.cfg.Issuer, Sub: s.person.sub(), Typ: "Refresh", Azp: s.client,
		Jti: refreshJTI, Sid: s.id, Iat: now.Unix(), Exp: now.Add(refreshLife).Unix(), Scope: pscScope})
	if err != nil {
		return nil, err
	}
	return map[string]any{"access_token": access, "expires_in": int(life.Seconds()), "refresh_token": refresh,
		"refresh_expires_in": int(refreshLife.Seconds()), "token_type": "Bearer", "id_token": id, "not-before-policy": 0,
		"session_state": s.id, "scope": pscScope}, nil
}

// pscRefreshClaims are for the simulator alone: the token is opaque to clients.
type pscRefreshClaims struct {
	Iss   string `json:"iss"`
	Aud   string `json:"aud"`
	Sub   string `json:"sub"`
	Typ   string `json:"typ"`
	Azp   string `json:"azp"`
	Jti   string `json:"jti"`
	Sid   string `json:"sid"`
	Iat   int64  `json:"iat"`
	Exp   int64  `json:"exp"`
	Scope string `json:"scope"`
}

func (p *PSC) signRefresh(c pscRefreshClaims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sim: PSC: %w", err)
	}
	return compact(map[string]any{"alg": "HS256", "typ": "JWT", "kid": "sim-hs"}, payload, p.hs256(p.secret))
}

func (p *PSC) readRefresh(token string) (pscRefreshClaims, bool) {
	var c pscRefreshClaims
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return c, false
	}
	payload, err := jws.Verify(p.secret)
	return c, err == nil && json.Unmarshal(payload, &c) == nil && c.Typ == "Refresh"
}

// pscAccessClaims are those of the simulator's own tokens that it reads again.
type pscAccessClaims struct {
	Iss           string `json:"iss"`
	Typ           string `json:"typ"`
	Azp           string `json:"azp"`
	Jti           string `json:"jti"`
	Sid           string `json:"sid"`
	Exp           int64  `json:"exp"`
	SubjectNameID string `json:"SubjectNameID"`
	ACR           string `json:"acr"`
}

// readSigned reads a token that this server signed, whatever its date.
func (p *PSC) readSigned(token string) (pscAccessClaims, []byte, bool) {
	var c pscAccessClaims
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return c, nil, false
	}
	p.mu.Lock()
	keys := slices.Clone(p.keys)
	p.mu.Unlock()
	for _, k := range keys {
		payload, err := jws.Verify(&k.key.PublicKey)
		if err == nil {
			return c, payload, json.Unmarshal(payload, &c) == nil
		}
	}
	return c, nil, false
}

// live reads an access token that may be used now.
func (p *PSC) live(token string) (pscAccessClaims, []byte, *pscSession, bool) {
	c, payload, ok := p.readSigned(token)
	if !ok || c.Typ != "Bearer" || p.cfg.Clock().Unix() >= c.Exp {
		return c, nil, nil, false
	}
	p.mu.Lock()
	_, revoked := p.revoked[c.Jti]
	p.mu.Unlock()
	s, alive := p.alive(c.Sid)
	return c, payload, s, alive && !revoked
}

// introspect tells SubjectNameID of an access token only, as outside.
func (p *PSC) introspect(w http.ResponseWriter, r *http.Request) {
	_, form, ok := p.authenticated(w, r)
	if !ok {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	token := form.Get("token")
	if token == "" {
		pscRefuse(w, http.StatusBadRequest, "invalid_request", "token manque")
		return
	}
	_, inactive := p.strike("inactive", "")
	if _, payload, _, ok := p.live(token); ok && !inactive {
		claims := map[string]any{}
		if err := json.Unmarshal(payload, &claims); err == nil {
			claims["active"], claims["client_id"], claims["username"] = true, claims["azp"], claims["preferred_username"]
			writeJSON(w, http.StatusOK, claims)
			return
		}
	}
	if c, ok := p.readRefresh(token); ok && !inactive && p.cfg.Clock().Unix() < c.Exp {
		if s, alive := p.alive(c.Sid); alive {
			writeJSON(w, http.StatusOK, map[string]any{"active": true, "typ": "Refresh", "iss": c.Iss, "sub": c.Sub, "azp": c.Azp,
				"client_id": c.Azp, "jti": c.Jti, "iat": c.Iat, "exp": c.Exp, "scope": c.Scope, "session_state": s.id})
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"active": false})
}

// revoke is RFC 7009: a refresh token takes its session with it.
func (p *PSC) revoke(w http.ResponseWriter, r *http.Request) {
	client, form, ok := p.authenticated(w, r)
	if !ok {
		return
	}
	token := form.Get("token")
	if token == "" {
		pscRefuse(w, http.StatusBadRequest, "invalid_request", "token manque")
		return
	}
	if c, ok := p.readRefresh(token); ok && c.Azp == client.ID {
		p.end(c.Sid)
	} else if c, _, ok := p.readSigned(token); ok && c.Azp == client.ID {
		p.mu.Lock()
		p.tidy()
		p.revoked[c.Jti] = time.Unix(c.Exp, 0)
		p.mu.Unlock()
	}
	w.WriteHeader(http.StatusOK)
}

func (p *PSC) userinfo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="esante-wallet"`)
		pscRefuse(w, http.StatusUnauthorized, "invalid_token", "jeton absent")
		return
	}
	_, _, s, ok := p.live(bearer)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="esante-wallet", error="invalid_token", error_description="Token verification failed"`)
		pscRefuse(w, http.StatusUnauthorized, "invalid_token", "jeton invalide, expiré ou révoqué")
		return
	}
	claims := s.person.userinfo()
	if _, ok := p.strike("userinfo-sub", ""); ok {
		claims["sub"] = "f:00000000-0000-4000-8000-0000000000aa:899999999999"
	}
	if _, ok := p.strike("userinfo-name-id", ""); ok {
		claims["SubjectNameID"] = "899999999999"
	}
	if _, ok := p.strike("userinfo-html", ""); ok {
		p.page(w, http.StatusOK, pscPage{Error: "Panne demandée : une page au lieu de userinfo."})
		return
	}
	_, signed := p.strike("userinfo-jwt", "")
	if signed || r.Header.Get("Accept") == "application/jwt" {
		claims["iss"], claims["aud"] = p.cfg.Issuer, s.client
		token, err := p.sign("userinfo", claims)
		if err != nil {
			pscRefuse(w, http.StatusInternalServerError, "server_error", "jeton impossible")
			return
		}
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = io.WriteString(w, token) // a client that left is not our trouble
		return
	}
	writeJSON(w, http.StatusOK, claims)
}

// logout is RP-initiated logout; the hint may have expired.
func (p *PSC) logout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		p.page(w, http.StatusBadRequest, pscPage{Error: "La requête est illisible."})
		return
	}
	c, _, ok := p.readSigned(r.Form.Get("id_token_hint"))
	if !ok || c.Typ != "ID" {
		p.page(w, http.StatusBadRequest, pscPage{Error: "id_token_hint manque ou n'est pas un jeton d'identité de ce serveur."})
		return
	}
	p.mu.Lock()
	client := p.clients[c.Azp]
	p.mu.Unlock()
	back := r.Form.Get("post_logout_redirect_uri")
	if back != "" && !slices.Contains(client.PostLogoutURIs, back) {
		p.page(w, http.StatusBadRequest, pscPage{Error: "post_logout_redirect_uri n'est pas enregistré, à l'octet près, pour ce client."})
		return
	}
	p.end(c.Sid)
	u, err := url.Parse(back)
	if back == "" || err != nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	if state := r.Form.Get("state"); state != "" {
		q := u.Query()
		q.Set("state", state)
		u.RawQuery = q.Encode()
	}
	http.Redirect(w, r, u.String(), http.StatusFound)
}

func (p *PSC) hs256(secret []byte) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		m := hmac.New(sha256.New, secret)
		_, _ = m.Write(input) // a hash does not fail
		return m.Sum(nil), nil
	}
}

// compact is a JWS in compact form, signed by any means, wrong ones included.
func compact(header map[string]any, payload []byte, sign func([]byte) ([]byte, error)) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("sim: token: %w", err)
	}
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := sign([]byte(input))
	if err != nil {
		return "", fmt.Errorf("sim: token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
