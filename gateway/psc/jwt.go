package psc

import (
	"bytes"
	"context"
	"crypto/rsa"
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
)

// Bounds of what others send.
const (
	maxBearer = 8 << 10   // a token of ours
	maxToken  = 64 << 10  // a token of PSC: userinfo may be one
	maxAnswer = 256 << 10 // a body of PSC or of the DMP's server
	maxDepth  = 16        // of JSON
)

// leeway is how much the clocks of PSC and of the gateway may differ. A token
// of PSC lives 120 seconds: a longer one would void its expiry.
const leeway = 30 * time.Second

// jwtHeader is what we read of a header.
type jwtHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// inspect reads a compact JWS without verifying it: size, form, JSON without
// duplicates, no key that the token would bring itself. The claims that it
// returns are good for diagnostics only.
func inspect(token string, most int) (jwtHeader, []byte, error) {
	var h jwtHeader
	if len(token) > most {
		return h, nil, refuse(FaultTokenLong, "")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 { // five parts are a JWE
		return h, nil, refuse(FaultTokenMalformed, "")
	}
	var decoded [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil {
			return h, nil, refuse(FaultTokenMalformed, "")
		}
		decoded[i] = b
	}
	for _, b := range decoded[:2] {
		if err := strictObject(b); err != nil {
			return h, nil, because(FaultTokenMalformed, "", err)
		}
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(decoded[0], &members) != nil || json.Unmarshal(decoded[0], &h) != nil {
		return h, nil, refuse(FaultTokenMalformed, "header")
	}
	for _, own := range []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"} {
		if _, ok := members[own]; ok {
			return h, nil, refuse(FaultKey, own)
		}
	}
	switch {
	case h.Alg == "" || strings.EqualFold(h.Alg, "none"):
		return h, decoded[1], refuse(FaultAlgNone, "alg")
	case len(decoded[2]) == 0:
		return h, decoded[1], refuse(FaultSignature, "")
	case strings.HasPrefix(h.Alg, "HS"):
		return h, decoded[1], refuse(FaultAlg, "alg")
	case h.Kid == "":
		return h, decoded[1], refuse(FaultKey, "kid")
	}
	return h, decoded[1], nil
}

// strictObject refuses what two readers could understand differently: keys that
// come twice (whatever their case, because encoding/json folds it), deep
// nesting, anything after the object.
func strictObject(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	var keys []map[string]bool // of the objects that are open; nil for an array
	expectKey := false
	for {
		tok, err := d.Token()
		if err != nil {
			return errors.New("not JSON")
		}
		if len(keys) == 0 && tok != json.Delim('{') {
			return errors.New("not an object")
		}
		switch tok := tok.(type) {
		case json.Delim:
			switch tok {
			case '{':
				keys, expectKey = append(keys, map[string]bool{}), true
			case '[':
				keys, expectKey = append(keys, nil), false
			default:
				keys = keys[:len(keys)-1]
				expectKey = len(keys) > 0 && keys[len(keys)-1] != nil
			}
			if len(keys) > maxDepth {
				return errors.New("nested too deep")
			}
			if len(keys) == 0 {
				if _, err := d.Token(); !errors.Is(err, io.EOF) {
					return errors.New("more than one value")
				}
				return nil
			}
		case string:
			if expectKey {
				k := strings.ToLower(tok)
				if keys[len(keys)-1][k] {
					return errors.New("a key comes twice")
				}
				keys[len(keys)-1][k] = true
				expectKey = false
				continue
			}
			expectKey = keys[len(keys)-1] != nil
		default:
			expectKey = keys[len(keys)-1] != nil
		}
	}
}

// keySet is the keys of PSC. They are fetched when first needed and again after
// an hour; a kid that is not among them has them fetched again at most once a
// minute, so that forged tokens do not become requests to PSC.
type keySet struct {
	url    string
	client *http.Client
	clock  func() time.Time

	flight flight[[]jose.JSONWebKey]
	mu     sync.Mutex
	keys   []jose.JSONWebKey
	read   time.Time // last success
	missed time.Time // last fetch for an unknown kid
}

const (
	keysLife  = time.Hour
	keysPause = time.Minute
)

// VerifySignature is that of oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, refuse(FaultTokenMalformed, "")
	}
	kid := jws.Signatures[0].Header.KeyID
	if kid == "" {
		return nil, refuse(FaultKey, "kid")
	}
	key, err := k.find(ctx, kid)
	if err != nil {
		return nil, err
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, refuse(FaultSignature, "")
	}
	return payload, nil
}

func (k *keySet) find(ctx context.Context, kid string) (*rsa.PublicKey, error) {
	now := k.clock()
	k.mu.Lock()
	keys, fresh := k.keys, k.keys != nil && now.Sub(k.read) < keysLife
	k.mu.Unlock()
	if fresh {
		if key := pick(keys, kid); key != nil {
			return key, nil
		}
		k.mu.Lock()
		wait := !k.missed.IsZero() && now.Sub(k.missed) < keysPause
		if !wait {
			k.missed = now
		}
		k.mu.Unlock()
		if wait {
			return nil, refuse(FaultKey, "kid")
		}
	}
	newer, err := k.flight.do(ctx, func(ctx context.Context) ([]jose.JSONWebKey, error) {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := getJSON(ctx, k.client, k.url, &set); err != nil {
			return nil, err
		}
		out := []jose.JSONWebKey{}
		for _, raw := range set.Keys {
			var one jose.JSONWebKey
			// A kind of key that we do not know is not ours to refuse.
			if len(out) < 64 && json.Unmarshal(raw, &one) == nil {
				out = append(out, one)
			}
		}
		k.mu.Lock()
		k.keys, k.read = out, k.clock()
		k.mu.Unlock()
		return out, nil
	})
	if err != nil {
		// Keys of an hour ago are better than no login, while PSC does not answer.
		if key := pick(keys, kid); key != nil {
			return key, nil
		}
		return nil, err
	}
	if key := pick(newer, kid); key != nil {
		return key, nil
	}
	return nil, refuse(FaultKey, "kid")
}

func pick(keys []jose.JSONWebKey, kid string) *rsa.PublicKey {
	for _, k := range keys {
		if k.KeyID != kid || k.Use == "enc" || (k.Algorithm != "" && k.Algorithm != string(jose.RS256)) {
			continue
		}
		if key, ok := k.Key.(*rsa.PublicKey); ok && key.N.BitLen() >= 2048 {
			return key
		}
	}
	return nil
}

// flight lets callers that want the same thing at the same time ask once.
type flight[T any] struct {
	mu      sync.Mutex
	running *call[T]
}

type call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do runs fn, or waits for the run that is under way. fn outlives the caller
// that started it, because others may be waiting for it.
func (f *flight[T]) do(ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	c := f.running
	if c == nil {
		c = &call[T]{done: make(chan struct{})}
		f.running = c
		go func() {
			c.value, c.err = fn(context.WithoutCancel(ctx))
			f.mu.Lock()
			f.running = nil
			f.mu.Unlock()
			close(c.done)
		}()
	}
	f.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var zero T
		return zero, because(FaultUnreachable, "", ctx.Err())
	}
}

// requestLife bounds one request to PSC or to the DMP's server.
const requestLife = 10 * time.Second

// getJSON reads one JSON document.
func getJSON(ctx context.Context, client *http.Client, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return because(FaultDiscovery, "", err)
	}
	status, _, body, err := send(client, req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return because(upstream(status), "", fmt.Errorf("status %d", status))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return because(FaultAnswer, "", errors.New("not JSON"))
	}
	return nil
}

// send does one request, within its bounds.
func send(client *http.Client, req *http.Request) (status int, header http.Header, body []byte, err error) {
	ctx, cancel := context.WithTimeout(req.Context(), requestLife)
	defer cancel()
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, nil, nil, because(FaultUnreachable, "", bare(err))
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, nil, because(FaultUnreachable, "", bare(err))
	}
	if len(body) > maxAnswer {
		return 0, nil, nil, because(FaultAnswer, "", errors.New("answer too long"))
	}
	return res.StatusCode, res.Header, body, nil
}

// upstream is the refusal that an unexpected status of PSC means.
func upstream(status int) string {
	if status == http.StatusTooManyRequests || status >= 500 {
		return FaultUnreachable
	}
	return FaultAnswer
}
