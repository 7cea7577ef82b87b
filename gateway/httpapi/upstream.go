package httpapi

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Upstream is the DMP, as professionals consult it through the gateway: with
// their own DMP token, over the gateway's certificate that it is bound to.
type Upstream struct {
	base string
	http *http.Client
}

// NewUpstream makes one for a FHIR base; it opens no connection. The
// configuration of TLS carries the gateway's certificate at the DMP.
func NewUpstream(base string, conf *tls.Config, timeout time.Duration) (*Upstream, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("httpapi: the base of the DMP is no https address")
	}
	return &Upstream{base: u.String(), http: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute},
		// A redirection would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close drops idle connections.
func (u *Upstream) Close() { u.http.CloseIdleConnections() }

const typeForm = "application/x-www-form-urlencoded"

// search passes a search on as POST _search, whichever way it came: no identity
// stands in a URL that leaves us.
func (a *API) search(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request, c *caller) error {
		if !acceptsFHIR(r) {
			return fault.New(FaultAccept)
		}
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return fault.New(FaultField).At("query")
		}
		if r.Method == http.MethodPost {
			body, err := readBody(r, maxSmall, typeForm)
			if err != nil {
				return err
			}
			form, err := url.ParseQuery(string(body))
			if err != nil {
				return fault.New(FaultField).At("form")
			}
			for name, list := range form {
				values[name] = append(values[name], list...)
			}
		}
		return a.consult(w, r, c, http.MethodPost, kind+"/_search", typeForm, values.Encode())
	}
}

// read passes a read on: ITI-68 for a Binary; of a DocumentReference also its
// versions.
func (a *API) read(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request, c *caller) error {
		if kind != "Binary" && !acceptsFHIR(r) {
			return fault.New(FaultAccept)
		}
		id, version := r.PathValue("id"), r.PathValue("version")
		if !fhir.IsID(id) {
			return fault.New(FaultField).At("id")
		}
		path := kind + "/" + id
		switch {
		case version != "" && !fhir.IsID(version):
			return fault.New(FaultField).At("version")
		case strings.Contains(r.Pattern, "/_history"):
			path = strings.TrimSuffix(path+"/_history/"+version, "/")
		}
		return a.consult(w, r, c, http.MethodGet, path, "", "")
	}
}

// patch passes a change of status, visibility or archiving on (TD3.3).
func (a *API) patch(w http.ResponseWriter, r *http.Request, c *caller) error {
	body, err := readBody(r, maxSmall, "application/json-patch+json")
	if err != nil {
		return err
	}
	path := "DocumentReference"
	if id := r.PathValue("id"); id != "" {
		if !fhir.IsID(id) {
			return fault.New(FaultField).At("id")
		}
		path += "/" + id
	} else {
		// The one search that must stand in the address names a document by its
		// uniqueId. Anything else is not passed on, least of all an identity.
		id := r.URL.Query()["identifier"]
		if len(id) != 1 || len(r.URL.Query()) != 1 || !strings.HasPrefix(id[0], fhir.SystemURN+"|") {
			return fault.New(FaultField).At("identifier")
		}
		path += "?" + url.Values{"identifier": id}.Encode()
	}
	return a.consult(w, r, c, http.MethodPatch, path, "application/json-patch+json", string(body))
}

// consult makes one call to the DMP on behalf of a professional and gives its
// answer, with addresses under the gateway's base.
func (a *API) consult(w http.ResponseWriter, r *http.Request, c *caller, method, path, kind, body string) error {
	if a.DMP == nil {
		return fault.New(FaultNoDMP)
	}
	token, err := a.Callers.DMPToken(r.Context(), *c.pro)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(r.Context(), method, a.DMP.base+"/"+path, strings.NewReader(body))
	if err != nil {
		return fault.New(fault.Internal).Because(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", fhir.MediaType)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for _, name := range []string{"Accept", "Prefer", "If-Match", "If-None-Match", "Range"} {
		if v := r.Header.Values(name); len(v) > 0 {
			req.Header[name] = v
		}
	}
	res, err := a.DMP.http.Do(req)
	if err != nil {
		return unreached(err)
	}
	defer res.Body.Close()
	a.Log.Info("consultation", "operation", r.Pattern, "status", res.StatusCode, "client", c.name, "session_state", c.pro.SessionState)
	return a.relay(w, r, res, strings.HasPrefix(path, "Binary/"))
}

// unreached says why there is no answer. Its cause may name the host; no
// identity stands in the address.
func unreached(err error) error {
	var late interface{ Timeout() bool }
	if errors.As(err, &late) && late.Timeout() {
		return fault.New(fhir.FaultTimeout).Because(errors.New("no answer in time"))
	}
	return fault.New(fhir.FaultUnreachable).Because(bare(err))
}

// bare is an error of a request without its address, which may hold a secret.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// relay gives the DMP's answer, once it can be believed.
func (a *API) relay(w http.ResponseWriter, r *http.Request, res *http.Response, binary bool) error {
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		// The professional's token is not good any more: only a login helps.
		return fault.New(psc.FaultDMPToken)
	case res.StatusCode == http.StatusNotModified, res.StatusCode >= 200 && res.StatusCode < 300:
		if binary {
			return a.stream(w, res)
		}
	case res.StatusCode < 400:
		return fault.New(fhir.FaultBadAnswer).Because(fmt.Errorf("status %d", res.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, a.Limits.Upstream+1))
	if err != nil {
		return fault.New(fhir.FaultBadAnswer).Because(err)
	}
	root, err := fhir.Parse(body)
	isFHIR := err == nil && root.Get("resourceType").Text() != ""
	switch {
	case len(body) == 0 && res.StatusCode == http.StatusNotModified:
	case int64(len(body)) > a.Limits.Upstream:
		return fault.New(fhir.FaultBadAnswer).Because(errors.New("too long"))
	case !isFHIR && res.StatusCode >= 500:
		return fault.New(fhir.FaultUnavailable).Because(fmt.Errorf("status %d", res.StatusCode))
	case !isFHIR:
		return fault.New(fhir.FaultBadAnswer).Because(fmt.Errorf("status %d without a resource", res.StatusCode))
	default:
		body = rebase(root, a.DMP.base, "https://"+r.Host+"/fhir")
	}
	copyHeaders(w, res)
	w.Header().Set("Content-Type", typeFHIR)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(body) // the caller went away: nobody is left to tell
	return nil
}

// stream passes the bytes of a document as they come.
func (a *API) stream(w http.ResponseWriter, res *http.Response) error {
	copyHeaders(w, res)
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	if res.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
	}
	w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(w, res.Body); err != nil {
		a.Log.Error("a document was cut on its way", "code", fhir.FaultBadAnswer, "cause", err)
		panic(http.ErrAbortHandler) // the connection must not look complete
	}
	return nil
}

func copyHeaders(w http.ResponseWriter, res *http.Response) {
	for _, name := range []string{"ETag", "Last-Modified", "Content-Range", "Accept-Ranges"} {
		if v := res.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
}

// rebase moves every address under one base to another, and leaves all other
// bytes as they are.
func rebase(root *fhir.Node, from, to string) []byte {
	var edits []fhir.Edit
	var visit func(*fhir.Node)
	visit = func(n *fhir.Node) {
		if rest, ok := strings.CutPrefix(n.Text(), from); ok && (rest == "" || rest[0] == '/' || rest[0] == '?') {
			edits = append(edits, n.Replace(fhir.Quote(to+rest)))
		}
		for _, m := range n.Members() {
			visit(m.Value)
		}
		for _, i := range n.Items() {
			visit(i)
		}
	}
	visit(root)
	return fhir.Splice(root, edits...)
}
