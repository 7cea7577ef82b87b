package sim

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The forms of cnf. The second is a deviation: base64 with padding of the
// hexadecimal text. A store that takes it without being told to is wrong.
const (
	cnfRFC = "rfc"
	cnfHex = "hex"
)

func (s *authServer) setCNF(form string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.legacyCNF = form == cnfHex
}

func (s *authServer) getCNF() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.legacyCNF {
		return cnfHex
	}
	return cnfRFC
}

func (s *authServer) confirmation(cert *x509.Certificate) string {
	if s.getCNF() == cnfHex {
		sum := sha256.Sum256(cert.Raw)
		return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
	}
	return thumbprint(cert)
}

// issued reads a token of this server, whatever its date.
func (s *authServer) issued(token string) (jti, client string, expires time.Time, ok bool) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", "", time.Time{}, false
	}
	payload, err := jws.Verify(s.keys.Keys[0])
	if err != nil {
		return "", "", time.Time{}, false
	}
	var c struct {
		JTI    string `json:"jti"`
		Client string `json:"client_id"`
		Exp    int64  `json:"exp"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return "", "", time.Time{}, false
	}
	return c.JTI, c.Client, time.Unix(c.Exp, 0), true
}

// revoke is RFC 7009, over mutual TLS: of a client's own tokens.
func (s *authServer) revoke(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	cert := s.clientCert(r)
	switch {
	case r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("token") == "":
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Bac à sable : POST d'un formulaire avec token"})
		return
	case cert == nil:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "Bac à sable : certificat client absent"})
		return
	}
	jti, client, expires, ok := s.issued(r.PostForm.Get("token"))
	if ok && client == cert.Subject.CommonName {
		s.mu.Lock()
		for k, end := range s.revoked {
			if s.now().After(end) || len(s.revoked) > pscMost {
				delete(s.revoked, k)
			}
		}
		if s.revoked == nil {
			s.revoked = map[string]time.Time{}
		}
		s.revoked[jti] = expires
		s.mu.Unlock()
	}
	w.WriteHeader(http.StatusOK)
}

// unrevoked stands before the store, which checks tokens by their signature.
func (s *authServer) unrevoked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if jti, _, _, ok := s.issued(token); ok {
			s.mu.Lock()
			_, revoked := s.revoked[jti]
			s.mu.Unlock()
			if revoked {
				outcome(w, http.StatusUnauthorized, "login", "jeton révoqué")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
