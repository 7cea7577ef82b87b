package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/passerelle-sante/passerelle/gateway/httpapi"
)

// WebhookConfig is where the software of an establishment is told what becomes
// of its submissions. The secret stands in a file or in a variable of the
// environment, never here.
type WebhookConfig struct {
	URL        string `yaml:"url"`
	SecretFile string `yaml:"secret_file,omitempty"`
	SecretEnv  string `yaml:"secret_env,omitempty"`
	CA         string `yaml:"ca,omitempty"` // empty: the authorities of the machine
}

// minHookSecret is the length below which a shared secret could be guessed.
const minHookSecret = 32

func (w *WebhookConfig) secret() (string, error) {
	switch {
	case w.SecretFile != "" && w.SecretEnv != "", w.SecretFile == "" && w.SecretEnv == "":
		return "", errors.New("indiquez le secret partagé : soit secret_file, soit secret_env")
	case w.SecretFile != "":
		return longEnough(clientSecret(w.SecretFile))
	}
	return longEnough(os.Getenv(w.SecretEnv), nil)
}

func longEnough(secret string, err error) (string, error) {
	if err == nil && len(secret) < minHookSecret {
		err = fmt.Errorf("secret absent ou trop court : %d caractères au moins (par exemple : openssl rand -hex 32)", minHookSecret)
	}
	return secret, err
}

func (w *WebhookConfig) problems(p *problemList, environment, at string) {
	p.hookURL(environment, at+".url", w.URL)
	if _, err := w.secret(); err != nil {
		p.add(at, said(err))
	}
	if w.CA != "" {
		p.authority(environment, at+".ca", w.CA)
	}
}

// hookURL checks where outcomes are sent: in clear only on the machine itself,
// or in the sandbox.
func (p *problemList) hookURL(environment, at, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		p.add(at, "adresse https:// attendue, sans nom ni mot de passe")
	case u.Scheme == "http" && environment != envSandbox && !loopback(u.Hostname()):
		p.add(at, "https:// obligatoire en dehors de la boucle locale")
	}
}

// webhooks makes the sender. It is there without any webhook too: what was
// queued before the last one was taken out must end.
func (m *Main) webhooks() (*httpapi.Webhooks, error) {
	hooks := map[string]httpapi.Hook{}
	for _, e := range m.Config.Establishments {
		if e.Webhook == nil {
			continue
		}
		secret, err := e.Webhook.secret()
		if err != nil {
			return nil, err
		}
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if e.Webhook.CA != "" {
			if conf.RootCAs, err = pool(e.Webhook.CA); err != nil {
				return nil, err
			}
		}
		hooks[e.FINESSGeo] = httpapi.Hook{URL: e.Webhook.URL, Secret: []byte(secret), TLS: conf}
	}
	w := httpapi.NewWebhooks(hooks, m.Clock)
	m.closers = append(m.closers, func(context.Context) error { w.Close(); return nil })
	return w, nil
}
