package fhir

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
)

// A token is renewed this long before it ends, so that it does not end on the way.
const tokenMargin = 30 * time.Second

// maxTokenAnswer bounds an answer of the token endpoint.
const maxTokenAnswer = 64 << 10

// tokenKey is on whose behalf a token is held.
type tokenKey struct{ finess, sender string }

func keyOf(c dmp.Caller) (tokenKey, error) {
	k := tokenKey{finess: c.Establishment.FINESSGeo, sender: c.Requester.Sender()}
	if k.finess == "" {
		return k, &Error{code: FaultIncomplete, where: "finess"}
	}
	if k.sender == "" {
		return k, &Error{code: FaultIncomplete, where: "sender"}
	}
	return k, nil
}

type token struct {
	value  string
	expiry time.Time
}

// maxTokens bounds the cache; beyond it the cache starts afresh.
const maxTokens = 10_000

// tokens obtains and keeps access tokens (RFC 6749 §4.4 over RFC 8705).
type tokens struct {
	url      string
	clientID string
	http     *http.Client
	clock    func() time.Time

	mu     sync.Mutex
	cached map[tokenKey]token
}

func (t *tokens) get(ctx context.Context, k tokenKey) (string, error) {
	t.mu.Lock()
	held, ok := t.cached[k]
	t.mu.Unlock()
	if ok && t.clock().Before(held.expiry) {
		return held.value, nil
	}
	fresh, err := t.fetch(ctx, k)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cached) >= maxTokens {
		t.cached = map[tokenKey]token{}
	}
	t.cached[k] = fresh
	return fresh.value, nil
}

// forget drops a token that was refused, unless another has replaced it.
func (t *tokens) forget(k tokenKey, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cached[k].value == value {
		delete(t.cached, k)
	}
}

func (t *tokens) fetch(ctx context.Context, k tokenKey) (token, error) {
	form := url.Values{
		"grant_type": {"client_credentials"},
		"client_id":  {t.clientID},
		"scope":      {"dmp"},
		"mode":       {"indirecte"},
		"finess":     {k.finess},
		"sender":     {k.sender},
	}
	asked := t.clock()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, &Error{code: FaultIncomplete, where: "token", cause: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := t.http.Do(req)
	if err != nil {
		return token{}, transportError(err)
	}
	defer resp.Body.Close()
	ack := strconv.Itoa(resp.StatusCode)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer+1))
	if err != nil {
		return token{}, transportError(err)
	}
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests || s >= 500:
		return token{}, &Error{code: FaultUnavailable, where: "token", ack: ack}
	case s >= 400:
		return token{}, &Error{code: FaultTokenRefused, where: "token", ack: ack, remote: oauthError(body)}
	}
	var granted struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	bad := func(cause error) (token, error) {
		return token{}, &Error{code: FaultBadAnswer, where: "token", ack: ack, cause: cause}
	}
	if resp.StatusCode != http.StatusOK || len(body) > maxTokenAnswer {
		return bad(nil)
	}
	// The cause of a decoding error would quote the answer: it is not kept.
	if json.Unmarshal(body, &granted) != nil {
		return bad(errors.New("not a token"))
	}
	if granted.AccessToken == "" || !strings.EqualFold(granted.TokenType, "Bearer") || strings.ContainsAny(granted.AccessToken, " \r\n\t") {
		return bad(errors.New("not a bearer token"))
	}
	life := time.Duration(min(max(granted.ExpiresIn, 0), 24*3600)) * time.Second
	return token{value: granted.AccessToken, expiry: asked.Add(life - min(tokenMargin, life/2))}, nil
}

// oauthError keeps the code of an OAuth error (RFC 6749 §5.2), never its text.
func oauthError(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || !isWord(strings.ReplaceAll(e.Error, "_", "-")) {
		return ""
	}
	return e.Error
}
