package psc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// grantCIBA is the grant by which PSC is asked whether the person has answered.
const grantCIBA = "urn:openid:params:grant-type:ciba"

// Bounds of a login on a device, whatever PSC says of its own.
const (
	maxCIBALife     = 5 * time.Minute
	maxCIBAInterval = time.Minute
	cibaInterval    = 5 * time.Second // when PSC names none, and what slow_down adds
	maxRequestID    = 4096
)

// device is a login to ask for on a person's own device.
type device struct {
	NationalID string // SubjectNameID
	Message    string // two digits, shown on the workstation and on the device
	Channel    string // MOBILE or CARD
}

var (
	nationalForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z/._-]{2,63}$`)
	messageForm  = regexp.MustCompile(`^[0-9]{2}$`)
)

// check names the first field that does not do.
func (d device) check() string {
	switch {
	case !nationalForm.MatchString(d.NationalID):
		return "nationalId"
	case !messageForm.MatchString(d.Message):
		return "bindingMessage"
	case d.Channel != "MOBILE" && d.Channel != "CARD":
		return "channel"
	}
	return ""
}

// cibaAnswer is what the two endpoints say.
type cibaAnswer struct {
	RequestID   string  `json:"auth_req_id"`
	ExpiresIn   float64 `json:"expires_in"`
	Interval    float64 `json:"interval"`
	Error       string  `json:"error"`
	Description string  `json:"error_description"`

	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"`

	IDToken        string  `json:"id_token"`
	RefreshExpires float64 `json:"refresh_expires_in"`
}

// authenticate logs a person in on their device (CIBA, poll mode). It returns
// when they have answered, when they did not in time, or when ctx ends; PSC is
// then asked no more. Any refusal but "not yet" and "slower" ends it at once.
//
// There is neither state nor nonce: that the person is the one who was asked is
// checked last, and is what binds the answer to the request.
func (c *Client) authenticate(ctx context.Context, d device) (grant, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return grant{}, err
	}
	if p.Backchannel == "" {
		return grant{}, refuse(FaultCIBAOff, "")
	}
	began := c.cfg.Clock()
	asked, err := c.askDevice(ctx, p, d)
	if err != nil {
		return grant{}, err
	}
	life := min(time.Duration(asked.ExpiresIn*float64(time.Second)), maxCIBALife)
	interval := min(time.Duration(asked.Interval*float64(time.Second)), maxCIBAInterval)
	if interval <= 0 {
		interval = cibaInterval
	}
	for end := began.Add(life); ; {
		if c.cfg.Clock().Add(interval).After(end) {
			return grant{}, refuse(FaultCIBAExpired, "")
		}
		if err := c.cfg.Wait(ctx, interval); err != nil {
			return grant{}, because(FaultCIBAExpired, "", err)
		}
		token, wait, err := c.poll(ctx, p, asked.RequestID)
		if err != nil {
			return grant{}, err
		}
		if token == nil {
			interval += wait
			continue
		}
		g, err := c.check(ctx, p, token, proof{fresh: true})
		if err != nil {
			return grant{}, err
		}
		if g.claims.nameID() != d.NationalID {
			return grant{}, refuse(FaultOtherPerson, "SubjectNameID")
		}
		return g, nil
	}
}

func (c *Client) askDevice(ctx context.Context, p *provider, d device) (cibaAnswer, error) {
	status, a, err := c.cibaPost(ctx, p.Backchannel, url.Values{"scope": {scopes}, "login_hint": {d.NationalID}, "binding_message": {d.Message},
		"acr_values": {requiredACR}, "channel": {d.Channel}})
	switch {
	case err != nil:
		return a, err
	case status == http.StatusOK:
		if a.RequestID == "" || len(a.RequestID) > maxRequestID || a.ExpiresIn < 1 || a.ExpiresIn > 1e6 || a.Interval < 0 || a.Interval > 1e6 {
			return a, because(FaultAnswer, "", errors.New("backchannel authentication"))
		}
		return a, nil
	case a.Error == "invalid_client":
		return a, because(FaultRegistration, "", errors.New("backchannel authentication refuses the client"))
	case a.Error == "unknown_user_id", a.Error == "invalid_user", strings.Contains(strings.ReplaceAll(a.Description, " ", "_"), "invalid_user"):
		return a, refuse(FaultCIBANobody, "nationalId")
	case a.Error == "invalid_grant", a.Error == "unauthorized_client":
		return a, refuse(FaultCIBAOff, "")
	case a.Error == "access_denied":
		return a, refuse(FaultCIBARefused, "")
	}
	return a, because(upstream(status), "", fmt.Errorf("backchannel authentication answers %d %.40q", status, a.Error))
}

// poll asks once. No token and no error is "not yet": wait is by how much the
// interval grows.
func (c *Client) poll(ctx context.Context, p *provider, id string) (_ *oauth2.Token, wait time.Duration, err error) {
	status, a, err := c.cibaPost(ctx, p.TokenURL, url.Values{"grant_type": {grantCIBA}, "auth_req_id": {id}})
	switch {
	case err != nil:
		return nil, 0, err
	case status == http.StatusOK && a.AccessToken != "":
		token := &oauth2.Token{AccessToken: a.AccessToken, TokenType: a.TokenType, RefreshToken: a.RefreshToken}
		return token.WithExtra(map[string]any{"id_token": a.IDToken, "refresh_expires_in": a.RefreshExpires}), 0, nil
	case status == http.StatusOK:
		return nil, 0, because(FaultAnswer, "access_token", errors.New("token answer"))
	case a.Error == "authorization_pending":
		return nil, 0, nil
	case a.Error == "slow_down":
		return nil, cibaInterval, nil
	case a.Error == "access_denied":
		return nil, 0, refuse(FaultCIBARefused, "")
	case a.Error == "expired_token", a.Error == "invalid_grant":
		return nil, 0, because(FaultCIBAExpired, "", fmt.Errorf("token endpoint answers %.40q", a.Error))
	case a.Error == "invalid_client", a.Error == "unauthorized_client":
		return nil, 0, because(FaultRegistration, "", errors.New("token endpoint refuses the client"))
	}
	return nil, 0, because(upstream(status), "", fmt.Errorf("token endpoint answers %d %.40q", status, a.Error))
}

func (c *Client) cibaPost(ctx context.Context, address string, form url.Values) (int, cibaAnswer, error) {
	status, _, body, err := c.post(ctx, address, form)
	if err != nil {
		return 0, cibaAnswer{}, err
	}
	return parseCIBA(status, body)
}

// parseCIBA reads an answer of either endpoint. A page in front of PSC is no
// answer of PSC.
func parseCIBA(status int, body []byte) (int, cibaAnswer, error) {
	var a cibaAnswer
	if strictObject(body) != nil || json.Unmarshal(body, &a) != nil {
		return status, cibaAnswer{}, because(upstream(status), "", fmt.Errorf("CIBA answers %d, and no JSON", status))
	}
	return status, a, nil
}

// pause is real time.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
