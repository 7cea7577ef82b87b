// Package directory finds a mailbox in the Annuaire Santé: by its address, or by
// the national id of a professional or of a structure.
//
// A hit is advice, never trust: the white list (mss/trust) says what may be sent
// to. No hit is advice too: a mailbox on the "liste rouge" is not shown.
//
// What was answered is kept for [Config.Keep], a day at most, in memory only: a
// crash forgets it. The same question asked by many at once may leave several
// times. Questions go by POST _search, so that nobody's id stands in an address
// that proxies write down. A patient's address, which holds the matricule, is
// never asked about.
//
// # Where we differ or had to choose
//
//   - Bearers are asked in the order professional, structure, work situation, and
//     the first that knows the address answers.
//   - One page of an answer (50 bearers) is read: an address or an id has fewer.
//   - What carries neither the MSSANTE coding nor the mailbox metadata is an
//     ordinary mail address, and left out.
//   - RPPS and FINESS are asked for under the national OID, with and without the
//     digit of their kind, because published examples have both.
package directory

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
)

// Config is where the directory is and what opens it. The zero value of a
// duration or a number is the default.
type Config struct {
	URL   string // base of the FHIR API, https
	Key   string // ESANTE-API-KEY
	TLS   *tls.Config
	Clock func() time.Time

	Timeout time.Duration // of one question: 10 s
	Keep    time.Duration // of an answer: 1 h; at most 24 h
	Max     int           // answers kept: 10,000
	Calls   int           // questions at once: 4
}

const (
	maxKeep   = 24 * time.Hour
	maxAnswer = 4 << 20
)

// Directory is safe for concurrent use.
type Directory struct {
	c      Config
	client *http.Client
	calls  chan struct{}

	mu   sync.Mutex
	kept map[string]answer
}

type answer struct {
	found []mss.Mailbox
	until time.Time
}

// New checks the configuration. It asks nothing of the network.
func New(c Config) (*Directory, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "":
		return nil, refuse(FaultSettings, "url", nil)
	case c.Key == "" || strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, refuse(FaultSettings, "key", nil)
	case c.Clock == nil:
		return nil, refuse(FaultSettings, "clock", nil)
	case c.Keep > maxKeep:
		return nil, refuse(FaultSettings, "keep", nil)
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Keep <= 0 {
		c.Keep = time.Hour
	}
	if c.Max <= 0 {
		c.Max = 10_000
	}
	if c.Calls <= 0 {
		c.Calls = 4
	}
	c.URL = strings.TrimRight(c.URL, "/")
	transport := &http.Transport{TLSClientConfig: c.TLS, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute}
	return &Directory{
		c: c, calls: make(chan struct{}, c.Calls), kept: map[string]answer{},
		client: &http.Client{
			Transport: transport, Timeout: c.Timeout,
			// The key is not for whoever the directory would send us to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close drops idle connections.
func (d *Directory) Close() { d.client.CloseIdleConnections() }

// ByAddress finds what is listed under an address; empty when nothing is.
func (d *Directory) ByAddress(ctx context.Context, a mss.Address) ([]mss.Mailbox, error) {
	if a.IsPatient() {
		return nil, refuse(FaultPatient, "", nil)
	}
	return d.cached("address "+a.Key(), func() ([]mss.Mailbox, error) {
		for _, bearer := range []string{"Practitioner", "Organization", "PractitionerRole"} {
			found, _, err := d.search(ctx, bearer, url.Values{"mailbox-mss:exact": {a.Key()}})
			if err != nil {
				return nil, err
			}
			for _, m := range found {
				if m.Address.Key() == a.Key() {
					return []mss.Mailbox{m.Mailbox}, nil
				}
			}
		}
		return nil, nil
	})
}

// The systems of national ids.
const (
	systemPerson    = "urn:oid:1.2.250.1.71.4.2.1"
	systemStructure = "urn:oid:1.2.250.1.71.4.2.2"
)

// ByHolder finds the mailboxes of a national id: 8 and the RPPS number of a
// professional, 1 and the FINESS of a structure. Those on the "liste rouge" are
// left out.
func (d *Directory) ByHolder(ctx context.Context, id string) ([]mss.Mailbox, error) {
	return d.cached("holder "+id, func() ([]mss.Mailbox, error) {
		bearer, system := "Organization", systemStructure
		if strings.HasPrefix(id, "8") {
			bearer, system = "Practitioner", systemPerson
		}
		found, ids, err := d.search(ctx, bearer, url.Values{"identifier": {system + "|" + id + "," + system + "|" + id[1:]}})
		if err != nil {
			return nil, err
		}
		name := ""
		for _, m := range found {
			name = m.Name
		}
		for _, technical := range ids {
			if bearer != "Practitioner" {
				break
			}
			more, _, err := d.search(ctx, "PractitionerRole", url.Values{"practitioner": {"Practitioner/" + technical}})
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
		var out []mss.Mailbox
		seen := map[string]bool{}
		for _, m := range found {
			if m.red || seen[m.Address.Key()] {
				continue
			}
			seen[m.Address.Key()] = true
			if m.Name == "" {
				m.Name = name
			}
			out = append(out, m.Mailbox)
		}
		return out, nil
	})
}

// cached gives an answer that is still good, or asks.
func (d *Directory) cached(question string, ask func() ([]mss.Mailbox, error)) ([]mss.Mailbox, error) {
	now := d.c.Clock()
	d.mu.Lock()
	a, ok := d.kept[question]
	d.mu.Unlock()
	// A clock that was set back must not keep an answer for ever.
	if left := a.until.Sub(now); ok && left > 0 && left <= d.c.Keep {
		return a.found, nil
	}
	found, err := ask()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.kept) >= d.c.Max {
		clear(d.kept) // advice is cheap to ask for again
	}
	d.kept[question] = answer{found, now.Add(d.c.Keep)}
	return found, nil
}

// search asks for one kind of bearer. ids are those of the resources.
func (d *Directory) search(ctx context.Context, bearer string, query url.Values) (found []listed, ids []string, err error) {
	select {
	case d.calls <- struct{}{}:
		defer func() { <-d.calls }()
	case <-ctx.Done():
		return nil, nil, refuse(FaultUnreached, bearer, ctx.Err())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.c.URL+"/"+bearer+"/_search", strings.NewReader(query.Encode()))
	if err != nil {
		return nil, nil, refuse(FaultSettings, "url", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/fhir+json")
	req.Header.Set("ESANTE-API-KEY", d.c.Key)
	res, err := d.client.Do(req)
	if err != nil {
		return nil, nil, refuse(FaultUnreached, bearer, errors.Unwrap(err)) // without the address
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	status := errors.New("status " + strconv.Itoa(res.StatusCode))
	switch {
	case err != nil:
		return nil, nil, refuse(FaultUnreached, bearer, err)
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, nil, refuse(FaultKey, bearer, status)
	case res.StatusCode == http.StatusTooManyRequests:
		return nil, nil, refuse(FaultBusy, bearer, status)
	case res.StatusCode >= 500:
		return nil, nil, refuse(FaultUnreached, bearer, status)
	case res.StatusCode != http.StatusOK:
		return nil, nil, refuse(FaultAnswer, bearer, status)
	case len(data) > maxAnswer:
		return nil, nil, refuse(FaultAnswer, bearer, errors.New("larger than the limit"))
	}
	found, ids, err = read(data)
	if err != nil {
		return nil, nil, refuse(FaultAnswer, bearer, err)
	}
	return found, ids, nil
}

// listed is a mailbox with what the directory keeps to itself.
type listed struct {
	mss.Mailbox
	red bool // liste rouge
}

type coded struct {
	Coding []struct {
		Code string `json:"code"`
	} `json:"coding"`
}

type extension struct {
	URL          string      `json:"url"`
	ValueCoding  coding      `json:"valueCoding"`
	ValueCode    string      `json:"valueCode"`
	ValueConcept coded       `json:"valueCodeableConcept"`
	ValueString  string      `json:"valueString"`
	ValueBoolean bool        `json:"valueBoolean"`
	Extension    []extension `json:"extension"`
}

type coding struct {
	Code string `json:"code"`
}

type telecom struct {
	System    string      `json:"system"`
	Value     string      `json:"value"`
	Extension []extension `json:"extension"`
}

// bearer is a resource that has mailboxes. Its name is an object or a text, by
// its kind.
type bearer struct {
	ID      string          `json:"id"`
	Name    json.RawMessage `json:"name"`
	Telecom []telecom       `json:"telecom"`
}

const (
	extEmailType = "/fr-core-contact-point-email-type"
	extMailbox   = "/as-ext-mailbox-mss-metadata"
)

// read reads a searchset.
func read(data []byte) (found []listed, ids []string, err error) {
	var bundle struct {
		ResourceType string `json:"resourceType"`
		Entry        []struct {
			Resource bearer `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		return nil, nil, errors.New("not the JSON of a Bundle")
	}
	if bundle.ResourceType != "Bundle" {
		return nil, nil, errors.New("no Bundle")
	}
	for _, e := range bundle.Entry {
		r := e.Resource
		if r.ID != "" {
			ids = append(ids, r.ID)
		}
		for _, t := range r.Telecom {
			if m, ok := t.mailbox(); ok {
				if m.Name == "" {
					m.Name = r.name()
				}
				found = append(found, m)
			}
		}
	}
	return found, ids, nil
}

func (b bearer) name() string {
	var text string
	if json.Unmarshal(b.Name, &text) == nil {
		return text
	}
	var people []struct {
		Family string   `json:"family"`
		Given  []string `json:"given"`
	}
	if json.Unmarshal(b.Name, &people) != nil || len(people) == 0 {
		return ""
	}
	return strings.TrimSpace(strings.Join(people[0].Given, " ") + " " + people[0].Family)
}

// mailbox tells an MSSanté mailbox from an ordinary address.
func (t telecom) mailbox() (m listed, ok bool) {
	if t.System != "email" {
		return m, false
	}
	for _, e := range t.Extension {
		switch {
		case strings.HasSuffix(e.URL, extEmailType) && e.ValueCoding.Code == "MSSANTE":
			ok = true
		case strings.HasSuffix(e.URL, extMailbox):
			ok = true
			for _, s := range e.Extension {
				switch s.URL {
				case "type":
					m.Kind = mss.MailboxKind(s.ValueCode)
					for _, c := range s.ValueConcept.Coding {
						m.Kind = mss.MailboxKind(c.Code)
					}
				case "digitization":
					m.Paperless = s.ValueBoolean
				case "listeRouge":
					m.red = s.ValueBoolean
				}
			}
		}
	}
	a, err := mss.ParseAddress(t.Value)
	m.Address = a
	return m, ok && err == nil
}
