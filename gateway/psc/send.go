package psc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of /send.
const (
	sendLife   = 60 * time.Second
	maxSend    = 16 << 20 // of a request
	maxSendAns = 64 << 20 // of an answer
	maxReplay  = 1 << 20  // of a request that can be sent again with a fresh token
	maxPath    = 2000
)

// Backend is an API that software calls through a [Proxy], in the name of who is
// logged in.
type Backend struct {
	Name   string       // in the path: /send/<name>/…
	Base   string       // https; nothing above it can be reached
	HTTP   *http.Client // presents the certificate that tokens are bound to
	Tokens DMPExchanger // gives its tokens

	// Allow refuses what may not pass through; nil: everything may. The path is
	// below Base, with its escapes undone.
	Allow func(method, path string, query url.Values) error
}

var backendForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (b *Backend) check() error {
	u, err := url.Parse(b.Base)
	if err != nil || !secure(b.Base) || u.RawQuery != "" || strings.HasSuffix(b.Base, "/") || !backendForm.MatchString(b.Name) || b.HTTP == nil || b.Tokens == nil {
		return fmt.Errorf("psc: backend %q: a name in lower case, an https address without a last slash, HTTP and Tokens are required", b.Name)
	}
	return nil
}

// ConsultationOnly is the Allow of a DMP: what a professional reads. Deposits and
// changes go through the doors of the gateway, which hold them against the INS
// and keep them; a search travels in a body, so that no identity stands in an
// address.
func ConsultationOnly(method, path string, query url.Values) error {
	switch {
	case method == http.MethodGet && len(query) == 0:
		return nil
	case method == http.MethodGet:
		return refuse(FaultProxyPath, "query")
	case method == http.MethodPost && strings.HasSuffix(path, "/_search") && len(query) == 0:
		return nil
	}
	return refuse(FaultProxyDeposit, "method")
}

// The headers that pass, in either direction; no other does. Authorization and
// cookies are ours, hop-by-hop headers are of a connection, and Forwarded would
// tell the backend what it did not ask.
var (
	sendHeaders = []string{"Accept", "Accept-Language", "Content-Type", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Exist",
		"If-None-Match", "If-Unmodified-Since", "Prefer", "Range", "X-Request-Id"}
	answerHeaders = []string{"Accept-Ranges", "Content-Disposition", "Content-Language", "Content-Range", "Content-Type", "ETag", "Last-Modified",
		"Retry-After", "X-Request-Id"}
	placeHeaders = []string{"Location", "Content-Location"}
	sendMethods  = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
)

// errReplay: the backend refused the token, and the request can be sent again.
var errReplay = errors.New("psc: the backend refuses the token")

func (p *Proxy) send(w http.ResponseWriter, r *http.Request) {
	private(w)
	// The bytes of a backend are shown, if at all, as those of nobody: our origin
	// has sessions of its own.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := p.pass(w, r); err != nil {
		p.refuse(w, err, nil)
	}
}

// pass sends one request to a backend and gives its answer.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request) error {
	key, rec, err := p.session(r)
	if err != nil {
		return err
	}
	if !slices.Contains(sendMethods, r.Method) {
		w.Header().Set("Allow", strings.Join(sendMethods, ", "))
		return refuse(FaultProxyMethod, "method")
	}
	if err := rec.Professional.Care(); err != nil {
		return err
	}
	name, path, err := sendPath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	b := p.backends[name]
	if b == nil {
		return refuse(FaultProxyBackend, "backend")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(FaultProxyPath, "query")
	}
	if b.Allow != nil {
		if err := b.Allow(r.Method, path, query); err != nil {
			return err
		}
	}
	if r.ContentLength > maxSend {
		return refuse(FaultProxySize, "")
	}
	body := http.MaxBytesReader(w, r.Body, maxSend)
	head, err := io.ReadAll(io.LimitReader(body, maxReplay+1))
	if err != nil {
		return bodyFailure(err)
	}
	said := &APIRequest{Backend: name, Method: r.Method, Path: masked(path)}
	if err := p.trace(r, Trace{Type: TraceSent, Session: key, Request: said}, rec.Professional); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendLife)
	defer cancel()
	rest := io.Reader(body)
	if len(head) <= maxReplay {
		rest = nil
	}
	target := b.Base + (&url.URL{Path: path}).EscapedPath()
	if encoded := query.Encode(); encoded != "" {
		target += "?" + encoded
	}
	err = p.try(ctx, w, r, b, key, rec, target, head, rest, false)
	if errors.Is(err, errReplay) {
		err = p.try(ctx, w, r, b, key, rec, target, head, nil, true)
	}
	return err
}

// sendPath reads /send/<backend>/<path>. What two readers of an address could
// understand differently does not pass: dot segments, empty ones, escapes of
// slashes or of escapes.
func sendPath(escaped string) (backend, path string, err error) {
	rest, ok := strings.CutPrefix(escaped, "/send/")
	if !ok || len(escaped) > maxPath {
		return "", "", refuse(FaultProxyPath, "path")
	}
	backend, rest, _ = strings.Cut(rest, "/")
	if !backendForm.MatchString(backend) {
		return "", "", refuse(FaultProxyBackend, "backend")
	}
	if rest == "" {
		return backend, "", nil
	}
	for segment := range strings.SplitSeq(rest, "/") {
		s, err := url.PathUnescape(segment)
		if err != nil || s == "" || s == "." || s == ".." || strings.ContainsAny(s, `/\%;`) ||
			strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			return "", "", refuse(FaultProxyPath, "path")
		}
		path += "/" + s
	}
	return backend, path, nil
}

var digitsForm = regexp.MustCompile(`[0-9]{10,}`)

// masked is a path for a trace: what may be a matricule does not stand in it.
func masked(path string) string { return digitsForm.ReplaceAllString(path, "#") }

func bodyFailure(err error) error {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return refuse(FaultProxySize, "")
	}
	return because(FaultProxyRequest, "", errors.New("body"))
}

// try makes the call with a token of the session, or with a fresh one.
func (p *Proxy) try(ctx context.Context, w http.ResponseWriter, r *http.Request, b *Backend, key string, rec sessionRecord, target string,
	head []byte, rest io.Reader, fresh bool) error {
	token, err := p.token(ctx, b, key, rec, fresh)
	if err != nil {
		return err
	}
	body := io.Reader(bytes.NewReader(head))
	if rest != nil {
		body = io.MultiReader(body, rest)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, body)
	if err != nil {
		return because(FaultProxyPath, "path", errors.New("address"))
	}
	if req.ContentLength = r.ContentLength; rest == nil {
		req.ContentLength = int64(len(head))
	}
	if req.ContentLength == 0 {
		req.Body = http.NoBody
	}
	for _, name := range sendHeaders {
		if v := r.Header.Values(name); len(v) > 0 {
			req.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "passerelle")
	client := *b.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	res, err := client.Do(req)
	if err != nil {
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return refuse(FaultProxySize, "")
		}
		return unreached(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized && !fresh && rest == nil && rec.renewable(p.client.cfg.Clock()) {
		return errReplay
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "psc: send", slog.String("backend", b.Name), slog.String("method", r.Method), slog.Int("status", res.StatusCode),
		slog.String("session_state", rec.Professional.SessionState))
	return p.relay(w, b, res)
}

// unreached says why there is no answer; no address stands in it.
func unreached(err error) error {
	var late interface{ Timeout() bool }
	if errors.As(err, &late) && late.Timeout() {
		return because(FaultBackendLate, "", errors.New("no answer in time"))
	}
	return because(FaultBackendDown, "", bare(err))
}

// relay gives the answer. A redirection passes when it stays under the backend,
// as an address of ours; nothing follows it here.
func (p *Proxy) relay(w http.ResponseWriter, b *Backend, res *http.Response) error {
	h := w.Header()
	places := map[string]string{}
	for _, name := range placeHeaders {
		if v := res.Header.Get(name); v != "" {
			if here, ok := b.here(v); ok {
				places[name] = here
			}
		}
	}
	redirects := res.StatusCode >= 300 && res.StatusCode < 400 && res.StatusCode != http.StatusNotModified
	if redirects && places["Location"] == "" || res.StatusCode < 200 {
		return because(FaultBackendDown, "", fmt.Errorf("the backend answers %d", res.StatusCode))
	}
	if res.ContentLength > maxSendAns {
		return because(FaultBackendDown, "", errors.New("the answer is too long"))
	}
	for _, name := range answerHeaders {
		if v := res.Header.Values(name); len(v) > 0 {
			h[http.CanonicalHeaderKey(name)] = v
		}
	}
	for name, v := range places {
		h.Set(name, v)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	w.WriteHeader(res.StatusCode)
	n, err := io.Copy(w, io.LimitReader(res.Body, maxSendAns+1))
	if err != nil || n > maxSendAns {
		panic(http.ErrAbortHandler) // the connection must not look complete
	}
	return nil
}

// here is the address under /send of an address of the backend.
func (b *Backend) here(place string) (string, bool) {
	base, err := url.Parse(b.Base + "/")
	if err != nil {
		return "", false
	}
	u, err := base.Parse(place)
	if err != nil || u.Scheme != base.Scheme || u.Host != base.Host || u.User != nil {
		return "", false
	}
	rest, ok := strings.CutPrefix(u.EscapedPath(), strings.TrimSuffix(base.EscapedPath(), "/"))
	if !ok || rest != "" && rest[0] != '/' || strings.Contains(rest, "/../") || strings.HasSuffix(rest, "/..") {
		return "", false
	}
	out := "/send/" + b.Name + rest
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out, true
}

// token is a bearer of a backend: the one that is held, or a new one by way of
// PSC. When PSC says that the person is no longer logged in, the session ends.
func (p *Proxy) token(ctx context.Context, b *Backend, key string, rec sessionRecord, fresh bool) (string, error) {
	held := rec.Tokens[b.Name]
	now := p.client.cfg.Clock()
	if held.good(now) && !fresh {
		return held.Value, nil
	}
	token := ""
	err := p.sessions.change(ctx, key, func(rec *sessionRecord) error {
		if t := rec.Tokens[b.Name]; t.good(now) && t.Value != held.Value { // another request has renewed it
			token = t.Value
			return nil
		}
		if !rec.renewable(now) {
			return refuse(FaultSessionExpired, "")
		}
		access, err := p.sessions.renew(ctx, rec)
		if err != nil {
			return err
		}
		// What PSC gave is kept, whatever the backend says: its refresh token may
		// have been replaced.
		t, err := b.Tokens.Exchange(ctx, access)
		if err != nil {
			p.log.LogAttrs(ctx, slog.LevelWarn, "psc: no token of a backend", slog.String("backend", b.Name), slog.Any("error", err))
			t = DMPToken{}
		}
		rec.Tokens = withToken(rec.Tokens, b.Name, t)
		token = t.Value
		return nil
	})
	if isFault(err, FaultSessionExpired) {
		p.leave(ctx, key, rec)
		return "", err
	}
	if err == nil && token == "" {
		err = refuse(FaultBackendToken, "")
	}
	return token, err
}
