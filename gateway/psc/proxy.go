package psc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// ProxyCookie carries the session of a [Proxy]. Its name is that of the
// contract, so it has no prefix; what the prefix __Host- would protect from, a
// session that somebody else slips in, does not pass for want of their
// certificate.
const ProxyCookie = "proxy_session_id"

// Bounds of /connect.
const (
	maxConnect = 16 << 10
	maxAsking  = 200    // logins that wait on devices at once
	maxTraces  = 10_000 // in one answer of /traces
)

// ProxyConfig is what a [Proxy] needs. Everything is required but Idle, Absolute
// and ShowTraces.
type ProxyConfig struct {
	Server   *Server // knows the software that may call, by its certificate
	Backends []Backend
	Traces   Tracer

	Idle     time.Duration // at most, and by default, 30 minutes
	Absolute time.Duration // at most, and by default, 4 hours

	// ShowTraces serves GET /traces, for conformity tests: in a sandbox only.
	ShowTraces bool
}

// Proxy is the proxy e-Santé of psc.md §4.4: software without a browser logs a
// professional in on their own device (/connect), then calls the APIs of others
// in their name (/send) until it logs them out (/disconnect). The tokens of PSC
// and of the APIs never leave it.
//
// Software shows its client certificate on every call, and a session opens to
// the certificate that began it and to no other. A session and its tokens are
// good as long as their record is in the store. A trace is durable before what
// it tells of is done; when it cannot be written, the call is refused.
type Proxy struct {
	cfg      ProxyConfig
	server   *Server
	client   *Client
	log      *slog.Logger
	sessions *sessions
	backends map[string]*Backend
	origin   *http.CrossOriginProtection

	mu     sync.Mutex
	asking map[string]bool // national identifiers that a device is asked for now
}

// NewProxy checks a configuration.
func NewProxy(cfg ProxyConfig) (*Proxy, error) {
	if cfg.Server == nil || cfg.Traces == nil || len(cfg.Backends) == 0 {
		return nil, errors.New("psc: a proxy needs Server, Traces and a backend")
	}
	s := cfg.Server.cfg
	p := &Proxy{cfg: cfg, server: cfg.Server, client: s.Client, log: s.Logger, backends: map[string]*Backend{},
		sessions: newSessions(kindProxy, s.Client, s.Keys, s.Store, cfg.Idle, cfg.Absolute),
		origin:   http.NewCrossOriginProtection(), asking: map[string]bool{}}
	for _, b := range cfg.Backends {
		if err := b.check(); err != nil {
			return nil, err
		}
		if p.backends[b.Name] != nil {
			return nil, errors.New("psc: two backends are named " + b.Name)
		}
		p.backends[b.Name] = &b
	}
	return p, nil
}

// Register serves /connect, /send, /disconnect, and /traces where that is asked
// for.
func (p *Proxy) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /connect", p.connect)
	mux.HandleFunc("/send/", p.send)
	mux.HandleFunc("DELETE /disconnect", p.disconnect)
	if p.cfg.ShowTraces {
		mux.HandleFunc("GET /traces", p.traces)
	}
}

// connection is the body of /connect.
type connection struct {
	NationalID string `json:"nationalId"`
	Message    string `json:"bindingMessage"`
	ClientID   string `json:"clientId"`
	Channel    string `json:"channel"`
}

func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	private(w)
	var in connection
	id, state, err := p.login(w, r, &in)
	switch {
	case err != nil:
		p.refuse(w, err, &in)
	case id == "":
		w.WriteHeader(http.StatusNotModified)
	default:
		http.SetCookie(w, p.cookie(id, p.sessions.absolute))
		writeJSON(w, http.StatusOK, map[string]string{"proxy_session_id": id, "session_state": state})
	}
}

// login is /connect; no id and no error is "already connected".
func (p *Proxy) login(w http.ResponseWriter, r *http.Request, in *connection) (id, state string, err error) {
	software, cert, err := p.caller(r)
	if err != nil {
		return "", "", err
	}
	if err := readConnection(w, r, in); err != nil {
		return "", "", err
	}
	if in.ClientID != p.client.cfg.ClientID {
		return "", "", refuse(FaultProxyClient, "clientId")
	}
	ctx := r.Context()
	old := ""
	if c, err := r.Cookie(ProxyCookie); err == nil {
		key := digest(c.Value)
		// One of another certificate is not theirs to use, nor to end.
		if rec, err := p.sessions.read(ctx, key); err == nil && same(rec.Professional.Certificate, cert) {
			if rec.Professional.NationalID == in.NationalID {
				if _, err := p.sessions.seen(ctx, key); err != nil {
					return "", "", err
				}
				return "", "", p.trace(r, Trace{Type: TraceReplayed, Session: key}, rec.Professional)
			}
			old = key
		}
	}
	pro, rec, err := p.authenticate(w, r, *in)
	if err != nil {
		failed := Professional{NationalID: in.NationalID, Client: p.client.cfg.ClientID}
		return "", "", errors.Join(err, p.trace(r, Trace{Type: TraceRefused, Code: fault.From(err).Code}, failed))
	}
	pro.Client, pro.Certificate = software.ID, cert
	rec.Professional = pro
	if id, err = p.sessions.begin(ctx, rec); err == nil {
		err = p.trace(r, Trace{Type: TraceConnected, Session: digest(id)}, pro)
	}
	if err != nil {
		p.leave(ctx, digest(id), rec)
		return "", "", err
	}
	if old != "" { // the session that this software had in its hands ends
		if rec, err := p.sessions.read(ctx, old); err == nil {
			p.leave(ctx, old, rec)
		}
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "psc: connect", trace(pro, r)...)
	return id, pro.SessionState, nil
}

// caller says which registered software calls, and with which certificate. A
// browser that another site made call is refused whatever it asks, GET included:
// /send acts with a cookie.
func (p *Proxy) caller(r *http.Request) (RegisteredClient, string, error) {
	strict := *r
	strict.Method = http.MethodPost
	if err := p.origin.Check(&strict); err != nil {
		return RegisteredClient{}, "", because(FaultCrossOrigin, "Origin", err)
	}
	software, cert, err := p.server.client(r)
	if err != nil {
		return software, "", err
	}
	return software, thumbprint(cert), nil
}

func readConnection(w http.ResponseWriter, r *http.Request, in *connection) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refuse(FaultProxyRequest, "Content-Type")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConnect))
	if err != nil {
		return because(FaultProxyRequest, "", errors.New("body"))
	}
	var got connection
	if strictObject(body) != nil || json.Unmarshal(body, &got) != nil {
		return because(FaultProxyRequest, "", errors.New("not JSON"))
	}
	if got.ClientID == "" || len(got.ClientID) > 200 {
		return refuse(FaultProxyRequest, "clientId")
	}
	if wrong := got.device().check(); wrong != "" {
		return refuse(FaultProxyRequest, wrong)
	}
	*in = got
	return nil
}

func (c connection) device() device { return device{c.NationalID, c.Message, c.Channel} }

// authenticate asks the person's device, then every backend for its token. One
// that gives a token is enough: the others are asked again when they are wanted.
func (p *Proxy) authenticate(w http.ResponseWriter, r *http.Request, in connection) (Professional, sessionRecord, error) {
	var rec sessionRecord
	if !p.ask(in.NationalID) {
		return Professional{}, rec, refuse(FaultCIBABusy, "nationalId")
	}
	defer p.asked(in.NationalID)
	// The server's deadlines are for short answers, and would cut a person short;
	// this one is bounded by the life of the request at PSC. A server that has no
	// deadlines to lift keeps its own.
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})

	ctx := r.Context()
	g, err := p.client.authenticate(ctx, in.device())
	if err != nil {
		return Professional{}, rec, err
	}
	known, err := p.client.discover(ctx)
	if err != nil {
		return Professional{}, rec, err
	}
	if g.claims.Azp == "" {
		g.claims.Azp = p.client.cfg.ClientID
	}
	pro, err := p.client.person(ctx, known, g.access, g.claims)
	if err == nil {
		rec = p.sessions.begun(pro, g)
		rec.Tokens, err = p.tokens(ctx, g.access)
	}
	if err != nil {
		p.endSession(ctx, g.id)
		return Professional{}, rec, err
	}
	return pro, rec, nil
}

// ask takes the one place that there is for a person.
func (p *Proxy) ask(who string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking[who] || len(p.asking) >= maxAsking {
		return false
	}
	p.asking[who] = true
	return true
}

func (p *Proxy) asked(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asking, who)
}

// tokens exchanges a PSC token at every backend.
func (p *Proxy) tokens(ctx context.Context, access string) (map[string]DMPToken, error) {
	all, refused, missed := map[string]DMPToken{}, error(nil), error(nil)
	for _, name := range slices.Sorted(maps.Keys(p.backends)) {
		t, err := p.backends[name].Tokens.Exchange(ctx, access)
		switch {
		case err == nil:
			all[name] = t
			continue
		case isFault(err, FaultBackendRefuse):
			refused = err
		default:
			missed = because(FaultBackendToken, "", err)
		}
		p.log.LogAttrs(ctx, slog.LevelWarn, "psc: no token of a backend", slog.String("backend", name), slog.Any("error", err))
	}
	if len(all) > 0 {
		return all, nil
	}
	if refused != nil {
		return nil, refused
	}
	return nil, missed
}

func (p *Proxy) endSession(ctx context.Context, idToken string) {
	if err := p.client.endSession(context.WithoutCancel(ctx), idToken); err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "psc: PSC keeps its session", slog.Any("error", err))
	}
}

// leave ends a session everywhere: here first, then the tokens of the backends,
// then PSC. What does not answer is logged, and forgets by itself in time.
func (p *Proxy) leave(ctx context.Context, key string, rec sessionRecord) {
	if _, err := p.sessions.store.Delete(ctx, kindProxy, key); err != nil {
		p.log.LogAttrs(ctx, slog.LevelError, "psc: a session could not be removed", slog.Any("error", err))
	}
	for name, t := range rec.Tokens {
		b := p.backends[name]
		if b == nil {
			continue // taken out of the configuration since
		}
		if err := b.Tokens.Revoke(context.WithoutCancel(ctx), t); err != nil {
			p.log.LogAttrs(ctx, slog.LevelWarn, "psc: a token lives until it expires", slog.String("backend", name), slog.Any("error", err))
		}
	}
	p.endSession(ctx, rec.IDToken)
}

// session says whose session a request carries. It opens to the certificate that
// began it.
func (p *Proxy) session(r *http.Request) (key string, rec sessionRecord, err error) {
	_, cert, err := p.caller(r)
	if err != nil {
		return "", rec, err
	}
	c, err := r.Cookie(ProxyCookie)
	if err != nil || c.Value == "" {
		return "", rec, refuse(FaultSession, ProxyCookie)
	}
	key = digest(c.Value)
	if rec, err = p.sessions.read(r.Context(), key); err != nil {
		return "", rec, err
	}
	if !same(rec.Professional.Certificate, cert) {
		return "", sessionRecord{}, refuse(FaultSession, ProxyCookie)
	}
	rec, err = p.sessions.seen(r.Context(), key)
	return key, rec, err
}

func (p *Proxy) disconnect(w http.ResponseWriter, r *http.Request) {
	private(w)
	key, rec, err := p.session(r)
	if err != nil {
		p.refuse(w, err, nil)
		return
	}
	ctx := r.Context()
	there, err := p.sessions.store.Delete(ctx, kindProxy, key)
	switch {
	case err == nil && !there:
		err = refuse(FaultSession, ProxyCookie) // another request has ended it
		fallthrough
	case err != nil:
		p.refuse(w, err, nil)
		return
	}
	p.leave(ctx, key, rec)
	http.SetCookie(w, p.cookie("", 0))
	if err := p.trace(r, Trace{Type: TraceDisconnected, Session: key}, rec.Professional); err != nil {
		p.refuse(w, err, nil)
		return
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "psc: disconnect", trace(rec.Professional, r)...)
	writeJSON(w, http.StatusOK, map[string]string{"session_state": rec.Professional.SessionState})
}

func (p *Proxy) cookie(id string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: ProxyCookie, Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if c.MaxAge = int(life.Seconds()); life <= 0 {
		c.MaxAge = -1
	}
	return c
}

// trace writes one, with what every trace says.
func (p *Proxy) trace(r *http.Request, t Trace, pro Professional) error {
	t.NationalID, t.ClientID, t.SessionState, t.Time = pro.NationalID, p.client.cfg.ClientID, pro.SessionState, p.client.cfg.Clock().UTC()
	t.Address, t.Ports = p.source(r)
	if cert, err := p.server.certificate(r); err == nil && cert != nil {
		t.DN = cert.Subject.String()
	}
	// Whoever asked may have gone: what happened is told all the same.
	if err := p.cfg.Traces.Write(context.WithoutCancel(r.Context()), t); err != nil {
		return because(FaultTrace, "", err)
	}
	return nil
}

// source is where a request comes from. X-Forwarded-For counts from a named
// proxy only, and of what it says the last address that is not one of ours.
func (p *Proxy) source(r *http.Request) (string, []int) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, []int{}
	}
	ports := []int{int(peer.Port())}
	if here, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); ok {
		if own, err := netip.ParseAddrPort(here.String()); err == nil {
			ports = append(ports, int(own.Port()))
		}
	}
	from := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.server.proxied(from); i-- {
		said, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		from = said.Unmap()
	}
	return from.String(), ports
}

// traces lists them, for conformity tests.
func (p *Proxy) traces(w http.ResponseWriter, r *http.Request) {
	private(w)
	if _, _, err := p.caller(r); err != nil {
		p.refuse(w, err, nil)
		return
	}
	moment := func(name string) (time.Time, error) {
		t, err := time.Parse(time.RFC3339, r.URL.Query().Get(name))
		if err != nil {
			return t, refuse(FaultProxyRequest, name)
		}
		return t, nil
	}
	start, err1 := moment("start")
	end, err2 := moment("end")
	err := err1
	if err == nil {
		err = err2
	}
	var list []Trace
	if err == nil {
		list, err = p.cfg.Traces.Between(r.Context(), start, end, maxTraces)
	}
	if err != nil {
		p.refuse(w, err, nil)
		return
	}
	writeJSON(w, http.StatusOK, list)
}

// refuse answers as the contract has it: code, message, metadata; the remedy
// beside them is ours.
func (p *Proxy) refuse(w http.ResponseWriter, err error, of *connection) {
	f := fault.From(err)
	if f.HTTP >= 500 {
		p.log.Error("psc: proxy", "code", f.Code, "error", err)
	}
	switch f.HTTP {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Session realm="passerelle"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(30))
	}
	answer := map[string]any{"code": f.Row.Code, "message": f.FR, "remedy": f.FixFR}
	if f.Where != "" {
		answer["where"] = f.Where
	}
	if of != nil && of.ClientID != "" {
		answer["metadata"] = map[string]string{"nationalId": of.NationalID, "clientId": of.ClientID}
	}
	writeJSON(w, f.HTTP, answer)
}
