package sim

import (
	"net/http"
	"net/url"
	"time"
)

// grantExchange is the grant of RFC 8693: an access token of Pro Santé Connect
// for one of the DMP.
const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// subject says whose an access token of Pro Santé Connect is, until when, and
// which token: false when it may not be used now.
func (p *PSC) subject(token string) (who pscPerson, jti string, until time.Time, ok bool) {
	c, _, s, ok := p.live(token)
	if !ok || c.Iss != p.cfg.Issuer || c.ACR != "eidas1" || c.SubjectNameID != s.person.NationalID {
		return pscPerson{}, "", time.Time{}, false
	}
	return s.person, c.Jti, time.Unix(c.Exp, 0), true
}

// exchangeClaims judges an exchange and gives the claims of the professional. A
// token of Pro Santé Connect passes once.
func (s *authServer) exchangeClaims(form url.Values) (map[string]any, error) {
	refuse := func(text string) error { return refuseToken(http.StatusBadRequest, "invalid_request", text) }
	switch kind := form.Get("subject_token_type"); {
	case form.Get("subject_token") == "":
		return nil, refuse("subject_token manque")
	case kind != typeAccessToken && kind != typeJWT:
		return nil, refuse("subject_token_type : jeton d'accès attendu")
	case form.Has("actor_token"):
		return nil, refuse("actor_token n'est pas pris en charge")
	case form.Get("requested_token_type") != "" && form.Get("requested_token_type") != typeAccessToken && form.Get("requested_token_type") != typeJWT:
		return nil, refuse("requested_token_type : jeton d'accès attendu")
	case form.Has("resource") || form.Has("audience") && form.Get("audience") != "dmp":
		return nil, refuseToken(http.StatusBadRequest, "invalid_target", "audience=dmp attendu")
	case form.Get("scope") != "dmp":
		return nil, refuseToken(http.StatusBadRequest, "invalid_scope", "scope=dmp attendu")
	case s.subject == nil:
		return nil, refuse("aucun Pro Santé Connect n'est simulé")
	}
	who, jti, until, ok := s.subject(form.Get("subject_token"))
	if !ok {
		return nil, refuse("jeton Pro Santé Connect refusé : illisible, expiré, révoqué, ou ce n'est pas un jeton d'accès")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, end := range s.exchanged {
		if s.now().After(end) {
			delete(s.exchanged, k)
		}
	}
	if _, used := s.exchanged[jti]; used {
		return nil, refuse("ce jeton Pro Santé Connect a déjà été échangé")
	}
	if len(s.exchanged) >= pscMost {
		return nil, refuseToken(http.StatusServiceUnavailable, "temporarily_unavailable", "trop d'échanges en deux minutes")
	}
	if s.exchanged == nil {
		s.exchanged = map[string]time.Time{}
	}
	s.exchanged[jti] = until
	return professionalClaims(who.Persona), nil
}
