package conformance

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle-sante/passerelle/testdata"
)

// Target is where the system that is judged and the outside world around it
// listen: the part of the sandbox file that scenarios use.
type Target struct {
	Version int `json:"version"`
	Gateway struct {
		MLLP  string `json:"mllp"`
		HTTPS string `json:"https"`
	} `json:"gateway"`
	PSC struct {
		Authorization string `json:"authorization"`
	} `json:"psc"`
	Hospital struct {
		Messages string `json:"messages"`
	} `json:"hospital"`
	DMP struct {
		FHIR  string `json:"fhir"`
		Token string `json:"token"`
	} `json:"dmp"`
	Operator struct {
		GatewayMailbox string `json:"gateway_mailbox"`
		Mailboxes      string `json:"mailboxes"`
	} `json:"operator"`
	Control string `json:"control"`
	TLS     struct {
		CA         string `json:"ca"`
		ClientCert string `json:"client_cert"`
		ClientKey  string `json:"client_key"`
	} `json:"tls"`
	Personas []testdata.Persona `json:"personas"`
	Patients []testdata.Patient `json:"patients"`

	Product Product `json:"-"`
	Login   string  `json:"-"` // where a browser begins a login; empty: not looked at
}

// Product is what the vendor of a system says of it, so that the same suite
// judges it: YAML.
type Product struct {
	Name          string         `yaml:"name" json:"name"`
	Version       string         `yaml:"version" json:"version,omitempty"`
	Vendor        string         `yaml:"vendor" json:"vendor,omitempty"`
	Sandbox       string         `yaml:"sandbox" json:"-"`           // the file of the outside world it is plugged into
	MLLP          string         `yaml:"mllp" json:"-"`              // instead of that of the sandbox
	Mailbox       string         `yaml:"mailbox" json:"-"`           // same
	Login         string         `yaml:"login" json:"-"`             // where a browser begins a login by Pro Santé Connect
	Profiles      []string       `yaml:"profiles" json:"profiles"`   // declared; empty: all
	NotApplicable []NotConcerned `yaml:"not_applicable" json:"-"`    // with a reason each
	Reference     string         `yaml:"reference" json:"reference"` // X-MSS-NIL declared; empty: any
}

// NotConcerned is a requirement that a product is not concerned by.
type NotConcerned struct {
	ID     string `yaml:"id"`
	Reason string `yaml:"reason"`
}

const maxTargetFile = 4 << 20

func readSmall(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxTargetFile {
		err = errors.New("file too large")
	}
	if err != nil {
		return nil, &Fault{FaultTarget, path, err}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Fault{FaultTarget, path, err}
	}
	return data, nil
}

// ReadInfo reads a sandbox file.
func ReadInfo(path string) (Target, error) {
	data, err := readSmall(path)
	if err != nil {
		return Target{}, err
	}
	t := Target{Product: Product{Name: "Système décrit par " + filepath.Base(path)}}
	if err := json.Unmarshal(data, &t); err != nil {
		return Target{}, &Fault{FaultTarget, path, err}
	}
	if t.Gateway.HTTPS != "" {
		t.Login = t.Gateway.HTTPS + "/login"
	}
	return t, t.check(path)
}

// ReadProduct reads a product file and the sandbox file that it names, beside
// it when its path is relative.
func ReadProduct(path string) (Target, error) {
	data, err := readSmall(path)
	if err != nil {
		return Target{}, err
	}
	var p Product
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil {
		return Target{}, &Fault{FaultTarget, path, err}
	}
	if p.Name == "" || p.Sandbox == "" {
		return Target{}, &Fault{FaultTarget, path, errors.New("name and sandbox are wanted")}
	}
	for _, n := range p.NotApplicable {
		if n.ID == "" || strings.TrimSpace(n.Reason) == "" {
			return Target{}, &Fault{FaultTarget, path, fmt.Errorf("not_applicable %q: an id and a reason are wanted", n.ID)}
		}
	}
	info := p.Sandbox
	if !filepath.IsAbs(info) {
		info = filepath.Join(filepath.Dir(path), info)
	}
	t, err := ReadInfo(info)
	if err != nil {
		return Target{}, err
	}
	if p.MLLP != "" {
		t.Gateway.MLLP, t.Login = p.MLLP, "" // not the login of another
	}
	if p.Login != "" {
		t.Login = p.Login
	}
	if p.Mailbox != "" {
		t.Operator.GatewayMailbox = p.Mailbox
	}
	t.Product = p
	return t, nil
}

func (t *Target) check(where string) error {
	fail := func(text string) error { return &Fault{FaultTarget, where, errors.New(text)} }
	switch {
	case t.Version != 1:
		return fail("this program reads version 1")
	case t.Gateway.MLLP == "" || t.Hospital.Messages == "":
		return fail("gateway.mllp and hospital.messages are wanted")
	case len(t.Personas) == 0 || !strings.Contains(t.Personas[0].Mailbox, "@"):
		return fail("a first persona with a mailbox is wanted")
	}
	// The messages are about the people of testdata: a sandbox that knows others
	// would refuse them all, and say nothing of the system that is judged.
	for _, id := range []string{testdata.PatientOpen, testdata.PatientTrois, testdata.PatientClosed, testdata.PatientNoINS} {
		want := testdata.PatientByID(id)
		if !slices.ContainsFunc(t.Patients, func(p testdata.Patient) bool { return p.ID == want.ID && p.Matricule == want.Matricule }) {
			return fail("the fictitious patient " + id + " is not in the sandbox")
		}
	}
	return nil
}

// concerned tells whether a requirement applies, and why not.
func (t *Target) concerned(r Requirement) (reason string, yes bool) {
	for _, n := range t.Product.NotApplicable {
		if n.ID == r.ID {
			return n.Reason, false
		}
	}
	if len(t.Product.Profiles) > 0 && r.Profile != "Général" && !slices.Contains(t.Product.Profiles, r.Profile) {
		return "Le produit ne déclare pas le profil « " + r.Profile + " ».", false
	}
	return "", true
}

// client is an HTTP client with the certificate of the vendor.
func (t *Target) client() (*http.Client, error) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if t.TLS.CA != "" {
		pem, err := os.ReadFile(t.TLS.CA)
		if err != nil {
			return nil, &Fault{FaultTarget, "tls.ca", err}
		}
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &Fault{FaultTarget, "tls.ca", errors.New("no certificate in it")}
		}
	}
	if t.TLS.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(t.TLS.ClientCert, t.TLS.ClientKey)
		if err != nil {
			return nil, &Fault{FaultTarget, "tls.client_cert", err}
		}
		tr.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}, nil
}
