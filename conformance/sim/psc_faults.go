package sim

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// PSCFault is one thing that goes wrong at Pro Santé Connect.
type PSCFault struct {
	Fault        string `json:"fault"`           // one of [PSCFaults]
	Token        string `json:"token,omitempty"` // token faults: id (default), access, userinfo
	Path         string `json:"path,omitempty"`  // down, unavailable, slow, html: end of the path
	Count        int    `json:"count,omitempty"` // 0: until it is reset
	Milliseconds int    `json:"ms,omitempty"`    // slow
}

// forged is a token before it is signed: what a fault may spoil.
type forged struct {
	header map[string]any
	claims map[string]any
	raw    []byte // instead of claims, when set
	now    time.Time
	public *rsa.PublicKey
	sign   func([]byte) ([]byte, error)
	p      *PSC
}

// pscTokenFaults spoil a token.
var pscTokenFaults = map[string]func(*forged) error{
	"nonce-wrong":  func(f *forged) error { f.claims["nonce"] = "bac-a-sable"; return nil },
	"nonce-absent": func(f *forged) error { delete(f.claims, "nonce"); return nil },
	"aud-wrong":    func(f *forged) error { f.claims["aud"] = "account"; return nil },
	"azp-wrong": func(f *forged) error {
		if own, ok := f.claims["aud"]; ok {
			f.claims["aud"] = []any{own, "autre-client"}
		}
		f.claims["azp"] = "autre-client"
		return nil
	},
	"iss-wrong":   func(f *forged) error { f.claims["iss"] = "https://auth.esw.example" + PSCRealm; return nil },
	"iss-slash":   func(f *forged) error { f.claims["iss"] = fmt.Sprint(f.claims["iss"], "/"); return nil },
	"expired":     func(f *forged) error { f.claims["exp"] = f.now.Add(-31 * time.Second).Unix(); return nil },
	"exp-absent":  func(f *forged) error { delete(f.claims, "exp"); return nil },
	"iat-future":  func(f *forged) error { f.claims["iat"] = f.now.Add(time.Hour).Unix(); return nil },
	"nbf-future":  func(f *forged) error { f.claims["nbf"] = f.now.Add(time.Hour).Unix(); return nil },
	"acr-absent":  func(f *forged) error { delete(f.claims, "acr"); return nil },
	"acr-0":       func(f *forged) error { f.claims["acr"] = "0"; return nil },
	"acr-1":       func(f *forged) error { f.claims["acr"] = "1"; return nil },
	"acr-unknown": func(f *forged) error { f.claims["acr"] = "eidas9"; return nil },
	"at-hash-wrong": func(f *forged) error {
		f.claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
		return nil
	},
	"typ-wrong": func(f *forged) error {
		f.claims["typ"] = map[string]string{"ID": "Bearer", "Bearer": "ID"}[fmt.Sprint(f.claims["typ"])]
		return nil
	},
	"no-name-id": func(f *forged) error {
		delete(f.claims, "SubjectNameID")
		delete(f.claims, "preferred_username")
		return nil
	},
	"alg-none": func(f *forged) error {
		f.header["alg"] = "none"
		delete(f.header, "kid")
		f.sign = func([]byte) ([]byte, error) { return nil, nil }
		return nil
	},
	"alg-hs256": func(f *forged) error { // confusion: the public key as a secret
		der, err := x509.MarshalPKIXPublicKey(f.public)
		if err != nil {
			return err
		}
		f.header["alg"] = "HS256"
		f.sign = f.p.hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		return nil
	},
	"kid-unknown": func(f *forged) error { f.header["kid"] = "bac-a-sable-inconnu"; return nil },
	"kid-absent":  func(f *forged) error { delete(f.header, "kid"); return nil },
	"key-other":   func(f *forged) error { f.sign = f.p.rs256(f.p.encKey); return nil },
	"jwk-embedded": func(f *forged) error {
		f.header["jwk"] = jose.JSONWebKey{Key: &f.p.encKey.PublicKey, Algorithm: "RS256"}
		f.sign = f.p.rs256(f.p.encKey)
		return nil
	},
	"claims-duplicate": func(f *forged) error {
		raw, err := json.Marshal(f.claims)
		if err != nil {
			return err
		}
		f.raw = append([]byte(`{"sub":"f:00000000-0000-4000-8000-0000000000aa:899999999999",`), raw[1:]...)
		return nil
	},
	"claims-deep": func(f *forged) error {
		raw, err := json.Marshal(f.claims)
		if err != nil {
			return err
		}
		deep := strings.Repeat("[", 2000) + strings.Repeat("]", 2000)
		f.raw = append([]byte(`{"deep":`+deep+`,`), raw[1:]...)
		return nil
	},
	"huge": func(f *forged) error { f.claims["padding"] = strings.Repeat("A", 1<<20); return nil },
}

// pscOtherFaults concern something else than a token.
var pscOtherFaults = []string{"down", "unavailable", "slow", "html", "discovery-issuer", "discovery-http",
	"userinfo-sub", "userinfo-name-id", "userinfo-html", "userinfo-jwt", "callback-iss", "callback-state", "inactive",
	"refresh-refused", "ciba-other-person", "ciba-slow-down", "ciba-channel", "person-no-pro", "person-student", "person-non-care"}

// PSCFaults lists everything that can be made to go wrong.
func PSCFaults() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(pscTokenFaults)), pscOtherFaults...)))
}

func (f PSCFault) check() error {
	switch {
	case !slices.Contains(PSCFaults(), f.Fault):
		return fmt.Errorf("fault inconnu %q", f.Fault)
	case !slices.Contains([]string{"", "id", "access", "userinfo"}, f.Token):
		return errors.New("token vaut id, access ou userinfo")
	case f.Count < 0 || f.Milliseconds < 0 || f.Milliseconds > 600_000:
		return errors.New("count n'est pas négatif, ms va de 0 à 600000")
	}
	return nil
}

// SetFaults replaces what goes wrong; without arguments everything works again.
func (p *PSC) SetFaults(list ...PSCFault) error {
	if len(list) > 100 {
		return errors.New("cent pannes au plus")
	}
	for _, f := range list {
		if err := f.check(); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = slices.Clone(list)
	return nil
}

// Faults lists what currently goes wrong.
func (p *PSC) Faults() []PSCFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]PSCFault{}, p.faults...)
}

// strike finds a fault and counts it down.
func (p *PSC) strike(fault, path string) (PSCFault, bool) {
	return p.strikeIf(func(f PSCFault) bool { return f.Fault == fault && strings.HasSuffix(path, f.Path) })
}

func (p *PSC) strikeIf(matches func(PSCFault) bool) (PSCFault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.faults {
		if !matches(f) {
			continue
		}
		switch f.Count {
		case 0:
		case 1:
			p.faults = slices.Delete(slices.Clone(p.faults), i, i+1)
		default:
			p.faults[i].Count--
		}
		return f, true
	}
	return PSCFault{}, false
}

// troubled stands before the endpoints: what goes wrong with the connection.
func (p *PSC) troubled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := p.strike("down", r.URL.Path); ok {
			hangUp(w, nil)
			return
		}
		if _, ok := p.strike("unavailable", r.URL.Path); ok {
			http.Error(w, "Bac à sable : indisponibilité demandée", http.StatusServiceUnavailable)
			return
		}
		if _, ok := p.strike("html", r.URL.Path); ok { // as the protection in front of the real one
			p.page(w, http.StatusForbidden, pscPage{Error: "Accès refusé (panne demandée)."})
			return
		}
		if f, ok := p.strike("slow", r.URL.Path); ok {
			wait(time.Duration(f.Milliseconds)*time.Millisecond, r.Context().Done())
		}
		next.ServeHTTP(w, r)
	})
}

func (p *PSC) rs256(key *rsa.PrivateKey) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) {
		sum := sha256.Sum256(input)
		return rsa.SignPKCS1v15(p.cfg.Rand, key, crypto.SHA256, sum[:])
	}
}

// sign makes a token of a kind (id, access, userinfo), spoilt as asked.
func (p *PSC) sign(kind string, claims map[string]any) (string, error) {
	if err := p.ready(); err != nil {
		return "", err
	}
	p.mu.Lock()
	key := p.keys[0]
	p.mu.Unlock()
	f := &forged{header: map[string]any{"alg": "RS256", "typ": "JWT", "kid": key.id}, claims: claims, now: p.cfg.Clock(),
		public: &key.key.PublicKey, sign: p.rs256(key.key), p: p}
	for _, name := range slices.Sorted(maps.Keys(pscTokenFaults)) {
		_, ok := p.strikeIf(func(one PSCFault) bool {
			return one.Fault == name && (one.Token == kind || one.Token == "" && kind == "id")
		})
		if !ok {
			continue
		}
		if err := pscTokenFaults[name](f); err != nil {
			return "", fmt.Errorf("sim: token: %w", err)
		}
	}
	if f.raw == nil {
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(f.claims); err != nil {
			return "", fmt.Errorf("sim: token: %w", err)
		}
		f.raw = bytes.TrimSpace(b.Bytes())
	}
	return compact(f.header, f.raw, f.sign)
}
