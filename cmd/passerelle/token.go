//go:build !nosandbox

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/passerelle-sante/passerelle/conformance/sim"
)

type tokenCmd struct {
	Info string `required:"" help:"Fichier écrit par « sandbox --info »." placeholder:"FICHIER"`
	As   string `required:"" help:"Professionnel : identifiant ou identifiant national." placeholder:"PERSONA"`
	For  string `default:"dmp" enum:"gateway,dmp" help:"Destinataire du jeton : gateway ou dmp."`
}

// Run prints a bearer and nothing else.
func (c *tokenCmd) Run(e *env) error {
	data, err := os.ReadFile(c.Info)
	if err != nil {
		return usageError{err}
	}
	info, err := sim.ReadInfo(data)
	if err != nil {
		return usageError{err}
	}
	client, err := clientFor(info.TLS.CA, info.TLS.ClientCert, info.TLS.ClientKey)
	if err != nil {
		return err
	}
	token, err := sandboxToken(e.ctx, client, &info, c.As, c.For)
	if err != nil {
		return err
	}
	_, err = io.WriteString(e.out, token+"\n")
	return err
}

// dmpToken gives a bearer of the sandbox's DMP in a professional's name, bound
// to the client's certificate.
func dmpToken(ctx context.Context, client *http.Client, info *sim.Info, persona string) (string, error) {
	return sandboxToken(ctx, client, info, persona, "dmp")
}

// sandboxToken does what a vendor's software does: it logs a professional in to
// Pro Santé Connect, then exchanges the token where it is to serve. One login
// serves for one exchange at each server, so each call logs in anew.
func sandboxToken(ctx context.Context, client *http.Client, info *sim.Info, persona, scope string) (string, error) {
	national := ""
	var known []string
	for _, p := range info.Personas {
		known = append(known, p.ID)
		if p.ID == persona || p.NationalID == persona {
			national = p.NationalID
		}
	}
	if national == "" {
		return "", usageError{errors.New("professionnel inconnu du bac à sable ; connus : " + strings.Join(known, ", "))}
	}
	subject, err := pscLogin(ctx, client, info.PSC, national)
	if err != nil {
		return "", fmt.Errorf("connexion à Pro Santé Connect : %w", err)
	}
	server := map[string]string{"gateway": info.Gateway.Token, "dmp": info.DMP.Token}[scope]
	token, err := askToken(ctx, client, server, nil, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "scope": {scope},
		"subject_token": {subject}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}})
	if err != nil {
		return "", fmt.Errorf("échange du jeton (%s) : %w", scope, err)
	}
	return token, nil
}

// pscLogin is the authorization code flow without a browser: in the sandbox,
// login_hint skips the page.
func pscLogin(ctx context.Context, client *http.Client, p sim.PSCInfo, national string) (string, error) {
	state, nonce, verifier := rand.Text(), rand.Text(), rand.Text()+rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	q := url.Values{"response_type": {"code"}, "client_id": {p.ClientID}, "redirect_uri": {p.RedirectURI}, "scope": {"openid scope_all"},
		"acr_values": {"eidas1"}, "state": {state}, "nonce": {nonce}, "login_hint": {national},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Authorization+"?"+q.Encode(), nil)
	if err != nil {
		return "", err
	}
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return "", err
	}
	if err := resp.Body.Close(); err != nil {
		return "", err
	}
	back, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("réponse %s, sans retour vers redirect_uri", resp.Status)
	}
	answer := back.Query()
	switch {
	case answer.Get("error") != "":
		return "", errors.New(answer.Get("error"))
	case answer.Get("state") != state, answer.Get("iss") != p.Issuer:
		return "", errors.New("la réponse n'est pas celle de cette demande (state ou iss)")
	}
	return askToken(ctx, client, p.Token, url.UserPassword(p.ClientID, p.ClientSecret), url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Get("code")}, "redirect_uri": {p.RedirectURI}, "code_verifier": {verifier}})
}

// askToken posts to a token endpoint.
func askToken(ctx context.Context, client *http.Client, server string, who *url.Userinfo, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if who != nil {
		secret, _ := who.Password()
		req.SetBasicAuth(url.QueryEscape(who.Username()), url.QueryEscape(secret))
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := doJSON(client, req, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", errors.New("le serveur n'a pas donné de jeton")
	}
	return answer.AccessToken, nil
}
