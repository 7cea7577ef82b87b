package main

import (
	"context"
	"crypto/tls"
	"net/url"

	"github.com/passerelle-sante/passerelle/gateway/httpapi"
	"github.com/passerelle-sante/passerelle/mss/directory"
)

// DirectoryConfig is the Annuaire Santé: advice on addresses before sending.
type DirectoryConfig struct {
	URL     string `yaml:"url"`
	KeyFile string `yaml:"key_file"`     // ESANTE-API-KEY, alone in its file
	CA      string `yaml:"ca,omitempty"` // empty: the authorities of the machine
}

func (d *DirectoryConfig) problems(p *problemList, environment string) {
	p.outside(environment, "mss.directory.url", d.URL)
	if u, err := url.Parse(d.URL); err == nil && u.RawQuery != "" {
		p.add("mss.directory.url", "adresse sans paramètre attendue : la base FHIR")
	}
	if _, err := clientSecret(d.KeyFile); err != nil {
		p.add("mss.directory.key_file", said(err))
	}
	if d.CA != "" {
		p.authority(environment, "mss.directory.ca", d.CA)
	}
}

// directory makes the client of the Annuaire Santé; nil when none is configured.
func (m *Main) directory() (httpapi.Directory, error) {
	if m.Config.MSS == nil || m.Config.MSS.Directory == nil {
		return nil, nil
	}
	c := m.Config.MSS.Directory
	key, err := clientSecret(c.KeyFile)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		if conf.RootCAs, err = pool(c.CA); err != nil {
			return nil, err
		}
	}
	d, err := directory.New(directory.Config{URL: c.URL, Key: key, TLS: conf, Clock: m.Clock})
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func(context.Context) error { d.Close(); return nil })
	return d, nil
}
