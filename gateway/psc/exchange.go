package psc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The URNs of RFC 8693.
const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// DMPToken is a token of audience dmp (or of another backend of a [Proxy]),
// bound to the gateway's certificate.
type DMPToken struct {
	Value   string    `json:"value"`
	Expires time.Time `json:"expires"`
}

// good tells whether the token may be used for a moment still.
func (t DMPToken) good(now time.Time) bool {
	return t.Value != "" && now.Add(leeway).Before(t.Expires)
}

// DMPExchanger gives a token of the DMP for an access token of PSC.
type DMPExchanger interface {
	// Exchange asks the DMP's authorization server, with the gateway's own
	// certificate. The server takes a PSC token once: who calls keeps the answer.
	Exchange(ctx context.Context, pscToken string) (DMPToken, error)
	// Revoke ends a token before its time. Nil when there is nothing to revoke,
	// or nowhere to say it.
	Revoke(ctx context.Context, t DMPToken) error
}

// Exchanger is the [DMPExchanger] that speaks RFC 8693 over mutual TLS.
type Exchanger struct {
	TokenURL  string
	RevokeURL string // RFC 7009; empty: tokens live until they expire
	ClientID  string
	Scope     string       // default: dmp
	HTTP      *http.Client // presents the gateway's certificate
	Clock     func() time.Time
}

// Exchange is [DMPExchanger].Exchange.
func (e *Exchanger) Exchange(ctx context.Context, pscToken string) (DMPToken, error) {
	scope := cmp.Or(e.Scope, "dmp")
	status, body, err := e.post(ctx, e.TokenURL, url.Values{"grant_type": {grantExchange}, "client_id": {e.ClientID}, "scope": {scope},
		"subject_token": {pscToken}, "subject_token_type": {typeAccessToken}, "requested_token_type": {typeAccessToken}})
	if err != nil {
		return DMPToken{}, because(FaultDMPToken, "", err)
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		ExpiresIn   float64 `json:"expires_in"`
		Scope       string  `json:"scope"`
		Error       string  `json:"error"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	// The code of RFC 6749 says enough; the description may quote anything.
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
		return DMPToken{}, because(FaultBackendRefuse, "", fmt.Errorf("the authorization server answers %d %.40q", status, answer.Error))
	case status != http.StatusOK:
		return DMPToken{}, because(FaultDMPToken, "", fmt.Errorf("the DMP's server answers %d %.40q", status, answer.Error))
	case err != nil || answer.AccessToken == "" || len(answer.AccessToken) > maxToken || !strings.EqualFold(answer.TokenType, "Bearer"):
		return DMPToken{}, because(FaultDMPToken, "", errors.New("the DMP's server gives no bearer"))
	case answer.Scope != "" && !hasWord(answer.Scope, scope):
		return DMPToken{}, because(FaultDMPToken, "scope", errors.New("the DMP's server gives another scope"))
	case answer.ExpiresIn < 1 || answer.ExpiresIn > 1e9:
		return DMPToken{}, because(FaultDMPToken, "expires_in", errors.New("the DMP's server gives a token without a life"))
	}
	return DMPToken{Value: answer.AccessToken, Expires: e.Clock().Add(time.Duration(answer.ExpiresIn) * time.Second)}, nil
}

// Revoke is [DMPExchanger].Revoke.
func (e *Exchanger) Revoke(ctx context.Context, t DMPToken) error {
	if e.RevokeURL == "" || t.Value == "" || !e.Clock().Before(t.Expires) {
		return nil
	}
	status, _, err := e.post(ctx, e.RevokeURL, url.Values{"client_id": {e.ClientID}, "token": {t.Value}, "token_type_hint": {"access_token"}})
	if err == nil && status != http.StatusOK {
		err = because(FaultDMPToken, "", fmt.Errorf("revocation answers %d", status))
	}
	return err
}

func (e *Exchanger) post(ctx context.Context, address string, form url.Values) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	client := *e.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, _, body, err = send(&client, req)
	return status, body, err
}

// hasWord tells whether a blank-separated list names a word.
func hasWord(list, word string) bool {
	for one := range strings.FieldsSeq(list) {
		if one == word {
			return true
		}
	}
	return false
}
