package psc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// FormToken is what a form of ours carries, so that another site cannot send it
// for the person: it follows from the secret of the session, which no page and no
// store holds, and from what the form does. Empty when there is no session.
func (l *Login) FormToken(r *http.Request, purpose string) string {
	cookie, err := r.Cookie(l.cookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(cookie.Value))
	mac.Write([]byte("form\x00" + purpose))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// FormSent tells whether a form carries the token of this session and purpose.
func (l *Login) FormSent(r *http.Request, purpose, token string) bool {
	want := l.FormToken(r, purpose)
	return want != "" && hmac.Equal([]byte(want), []byte(token))
}
