package psc

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Limits of a session (EXI RIE-PS 13) and of a login that is under way.
const (
	maxIdle     = 30 * time.Minute
	maxAbsolute = 4 * time.Hour
	loginLife   = 10 * time.Minute
	touchEvery  = time.Minute // a session that is in use is written this often
)

// LoginConfig is what a [Login] needs. Everything is required but DMP, Idle,
// Absolute and ErrorPage.
type LoginConfig struct {
	Client *Client
	Keys   *Keys
	Store  Store
	DMP    DMPExchanger // nil: sessions have no DMP token
	Logger *slog.Logger // of logins and logouts (RP-15)

	Idle     time.Duration // at most, and by default, 30 minutes
	Absolute time.Duration // at most, and by default, 4 hours

	// ErrorPage answers a login that failed; id is in the log too, back is the
	// local page that was to be returned to. By default a page of our own.
	ErrorPage func(w http.ResponseWriter, r *http.Request, err error, id, back string)
}

// Login logs people in with their browser. It may be used by many requests at
// once.
type Login struct {
	cfg         LoginConfig
	home        string // path of the callback
	secure      bool
	loginCookie string
	cookie      string
	origin      *http.CrossOriginProtection
	sessions    *sessions
}

// Session is a person who is logged in.
type Session struct {
	Professional Professional
	Created      time.Time
	key          string
}

// pending is a login that left for PSC, in the browser's cookie, sealed.
type pending struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Return   string    `json:"return"`
	Expires  time.Time `json:"expires"`
}

// NewLogin checks a configuration.
func NewLogin(cfg LoginConfig) (*Login, error) {
	if cfg.Client == nil || cfg.Keys == nil || cfg.Store == nil || cfg.Logger == nil {
		return nil, errors.New("psc: Client, Keys, Store and Logger are required")
	}
	u, err := url.Parse(cfg.Client.cfg.RedirectURI)
	if err != nil {
		return nil, errors.New("psc: RedirectURI is not a URL")
	}
	l := &Login{cfg: cfg, home: u.Path, secure: u.Scheme == "https", loginCookie: "passerelle-login", cookie: "passerelle",
		origin: http.NewCrossOriginProtection(), sessions: newSessions(kindSession, cfg.Client, cfg.Keys, cfg.Store, cfg.Idle, cfg.Absolute)}
	if l.secure {
		l.loginCookie, l.cookie = "__Host-"+l.loginCookie, "__Host-"+l.cookie
	}
	if cfg.ErrorPage == nil {
		l.cfg.ErrorPage = errorPage
	}
	return l, nil
}

// Register serves /login, the path of the redirect URI, and /logout.
func (l *Login) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", l.Start)
	mux.HandleFunc("GET "+l.home, l.Callback)
	mux.HandleFunc("POST /logout", l.Logout)
}

// Start sends a browser to PSC; return_to is the local page to come back to.
func (l *Login) Start(w http.ResponseWriter, r *http.Request) {
	private(w)
	address, cookie, err := l.start(r)
	if err != nil {
		l.fail(w, r, err, localPath(r.URL.Query().Get("return_to")))
		return
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, address, http.StatusSeeOther)
}

func (l *Login) start(r *http.Request) (string, *http.Cookie, error) {
	c := l.cfg.Client
	state, err1 := secret(c.cfg.Rand)
	nonce, err2 := secret(c.cfg.Rand)
	verifier, err3 := secret(c.cfg.Rand)
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", nil, err
	}
	p := pending{State: state, Nonce: nonce, Verifier: verifier, Return: localPath(r.URL.Query().Get("return_to")),
		Expires: c.cfg.Clock().Add(loginLife)}
	sealed, err := l.cfg.Keys.sealed("login", l.loginCookie, p)
	if err != nil {
		return "", nil, err
	}
	address, err := c.authorization(r.Context(), state, nonce, verifier, idpHint(r.URL.Query().Get("kc_idp_hint")))
	if err != nil {
		return "", nil, err
	}
	return address, l.newCookie(l.loginCookie, base64.RawURLEncoding.EncodeToString(sealed), loginLife), nil
}

// idpHint lets through the name of a delegated local identity provider.
func idpHint(s string) string {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return s
}

// localPath is a path of this server, or its root: never another host (N20).
func localPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > 1000 || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || u.Host != "" || u.Scheme != "" ||
		strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return "/"
	}
	return s
}

func (l *Login) newCookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: l.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if c.MaxAge = int(life.Seconds()); life <= 0 {
		c.MaxAge = -1
	}
	return c
}

// Callback takes the browser back from PSC.
func (l *Login) Callback(w http.ResponseWriter, r *http.Request) {
	private(w)
	http.SetCookie(w, l.newCookie(l.loginCookie, "", 0))
	p, err := l.callback(w, r)
	if err != nil {
		l.fail(w, r, err, localPath(p.Return))
		return
	}
	http.Redirect(w, r, p.Return, http.StatusSeeOther)
}

func (l *Login) callback(w http.ResponseWriter, r *http.Request) (pending, error) {
	c := l.cfg.Client
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return pending{}, refuse(FaultState, "")
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(q[name]) > 1 || len(q.Get(name)) > 4096 {
			return pending{}, refuse(FaultState, name)
		}
	}
	p, err := l.pending(r, q.Get("state"))
	if err != nil {
		return p, err
	}
	if q.Has("iss") && q.Get("iss") != c.cfg.Issuer {
		return p, refuse(FaultMixUp, "iss")
	}
	// From here on this state has been used, whatever comes of it.
	first, err := l.cfg.Store.Add(r.Context(), Record{Kind: kindState, Key: digest(p.State), Expires: p.Expires})
	if err != nil {
		return p, err
	}
	if !first {
		return p, refuse(FaultState, "state")
	}
	switch q.Get("error") {
	case "":
	case "access_denied":
		return p, refuse(FaultRefused, "error")
	case "temporarily_unavailable", "server_error":
		if q.Get("error_description") == "authentication_expired" {
			return p, refuse(FaultLogin, "error") // the person did not answer in time
		}
		return p, refuse(FaultUnreachable, "error")
	case "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_response_type":
		return p, refuse(FaultRegistration, "error")
	default:
		return p, refuse(FaultLogin, "error")
	}
	if q.Get("code") == "" {
		return p, refuse(FaultLogin, "code")
	}
	return p, l.enter(w, r, q.Get("code"), p)
}

// pending reads the cookie of the login that state names (RP-02).
func (l *Login) pending(r *http.Request, state string) (pending, error) {
	var p pending
	cookie, err := r.Cookie(l.loginCookie)
	if err != nil || state == "" {
		return p, refuse(FaultState, "state")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return p, refuse(FaultState, "state")
	}
	if err := l.cfg.Keys.open("login", l.loginCookie, sealed, &p); err != nil {
		return pending{}, because(FaultState, "state", err)
	}
	if subtle.ConstantTimeCompare([]byte(p.State), []byte(state)) != 1 || !l.cfg.Client.cfg.Clock().Before(p.Expires) {
		return pending{}, refuse(FaultState, "state")
	}
	return p, nil
}

// enter makes a session out of a code.
func (l *Login) enter(w http.ResponseWriter, r *http.Request, code string, p pending) error {
	ctx, c := r.Context(), l.cfg.Client
	g, err := c.redeem(ctx, code, p.Verifier, p.Nonce)
	if err != nil {
		return err
	}
	known, err := c.discover(ctx)
	if err != nil {
		return err
	}
	if g.claims.Azp == "" {
		g.claims.Azp = c.cfg.ClientID // checked: the token is ours alone
	}
	pro, err := c.person(ctx, known, g.access, g.claims)
	if err != nil {
		return err
	}
	pro.Client = c.cfg.ClientID
	rec := l.sessions.begun(pro, g)
	rec.DMP = l.exchange(ctx, pro, g.access)
	id, err := l.sessions.begin(ctx, rec)
	if err != nil {
		return err
	}
	// A session that this browser had ends: its id must not outlive a login.
	if old, err := r.Cookie(l.cookie); err == nil {
		if _, err := l.cfg.Store.Delete(ctx, kindSession, digest(old.Value)); err != nil {
			return err
		}
	}
	http.SetCookie(w, l.newCookie(l.cookie, id, l.sessions.absolute))
	l.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "psc: login", append(trace(pro, r), slog.String("jti", g.claims.JTI))...)
	return nil
}

// trace is what is logged of who did something (RP-15): no token, no name.
func trace(p Professional, r *http.Request) []slog.Attr {
	out := []slog.Attr{slog.String("national_id", p.NationalID), slog.String("client_id", p.Client), slog.String("session_state", p.SessionState),
		slog.String("acr", p.ACR), slog.String("means", p.Means), slog.String("remote", r.RemoteAddr)}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		out = append(out, slog.String("certificate", r.TLS.PeerCertificates[0].Subject.String()))
	}
	return out
}

// exchange asks for a DMP token; without one the session lives all the same.
func (l *Login) exchange(ctx context.Context, p Professional, access string) DMPToken {
	if l.cfg.DMP == nil {
		return DMPToken{}
	}
	t, err := l.cfg.DMP.Exchange(ctx, access)
	if err != nil {
		l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "psc: no DMP token", slog.String("session_state", p.SessionState), slog.Any("error", err))
		return DMPToken{}
	}
	return t
}

// Session says who is logged in.
func (l *Login) Session(r *http.Request) (Session, error) {
	cookie, err := r.Cookie(l.cookie)
	if err != nil || cookie.Value == "" {
		return Session{}, refuse(FaultSession, "")
	}
	key := digest(cookie.Value)
	rec, err := l.sessions.seen(r.Context(), key)
	if err != nil {
		return Session{}, err
	}
	s := Session{Professional: rec.Professional, Created: rec.Created, key: key}
	s.Professional.Expires = l.sessions.until(rec)
	return s, nil
}

// Choose sets the work situation of a session (RP-10): one of its
// Professional.Situations, by its key.
func (l *Login) Choose(ctx context.Context, s Session, key string) error {
	return l.sessions.change(ctx, s.key, func(rec *sessionRecord) error { return rec.Professional.choose(key) })
}

// DMPToken is the DMP bearer of a session. When it is about to expire it is
// renewed through PSC; when PSC says that the person is no longer logged in, the
// session ends. FaultDMPToken is temporary: no token until the next login.
func (l *Login) DMPToken(ctx context.Context, s Session) (string, error) {
	now := l.cfg.Client.cfg.Clock()
	rec, err := l.sessions.read(ctx, s.key)
	if err != nil {
		return "", err
	}
	if rec.DMP.good(now) {
		return rec.DMP.Value, nil
	}
	if l.cfg.DMP == nil {
		return "", refuse(FaultDMPToken, "")
	}
	token := ""
	err = l.sessions.change(ctx, s.key, func(rec *sessionRecord) error {
		if rec.DMP.good(now) { // another request has renewed it
			token = rec.DMP.Value
			return nil
		}
		if !rec.renewable(now) {
			return refuse(FaultDMPToken, "")
		}
		access, err := l.sessions.renew(ctx, rec)
		if err != nil {
			return err
		}
		rec.DMP = l.exchange(ctx, rec.Professional, access)
		token = rec.DMP.Value
		return nil
	})
	if isFault(err, FaultSessionExpired) {
		_, gone := l.cfg.Store.Delete(ctx, kindSession, s.key)
		return "", errors.Join(err, gone)
	}
	if err == nil && token == "" {
		err = refuse(FaultDMPToken, "")
	}
	return token, err
}

// Logout ends the session here, then at PSC. Whatever PSC answers, the person is
// logged out of the gateway.
func (l *Login) Logout(w http.ResponseWriter, r *http.Request) {
	private(w)
	if err := l.origin.Check(r); err != nil {
		l.fail(w, r, because(FaultCrossOrigin, "Origin", err), "/")
		return
	}
	http.SetCookie(w, l.newCookie(l.cookie, "", 0))
	if cookie, err := r.Cookie(l.cookie); err == nil {
		if err := l.leave(r, digest(cookie.Value)); err != nil {
			l.fail(w, r, err, "/")
			return
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (l *Login) leave(r *http.Request, key string) error {
	ctx := r.Context()
	rec, err := l.sessions.read(ctx, key)
	if _, derr := l.cfg.Store.Delete(ctx, kindSession, key); derr != nil {
		return derr // the person must know that they are still logged in
	}
	if isFault(err, FaultSession) || isFault(err, FaultSessionExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	attrs := trace(rec.Professional, r)
	if l.cfg.DMP != nil {
		if err := l.cfg.DMP.Revoke(ctx, rec.DMP); err != nil {
			l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "psc: logout, but the DMP token lives until it expires", append(attrs, slog.Any("error", err))...)
		}
	}
	if err := l.cfg.Client.endSession(ctx, rec.IDToken); err != nil {
		l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "psc: logout, but PSC keeps its session", append(attrs, slog.Any("error", err))...)
		return nil
	}
	l.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "psc: logout", attrs...)
	return nil
}

// private keeps an answer out of caches and its address out of referrers.
func private(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
}

func (l *Login) fail(w http.ResponseWriter, r *http.Request, err error, back string) {
	id, drawn := secret(l.cfg.Client.cfg.Rand)
	if drawn != nil {
		id = "" // the page matters more than its number
	}
	id = digest(id)[:12]
	l.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "psc: login refused", slog.String("id", id),
		slog.Any("error", err), slog.String("remote", r.RemoteAddr))
	l.cfg.ErrorPage(w, r, err, id, back)
}

// english tells whether an address says lang=en, as those of the console do;
// nothing else makes a page English.
func english(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Query().Get("lang") == "en"
}

// errorPage says what is wrong and what to do: in French, or in English to who
// asked for it here or reads the page to return to in English.
func errorPage(w http.ResponseWriter, r *http.Request, err error, id, back string) {
	f := fault.From(err)
	page := errorTemplate
	if english(r.URL.String()) || english(back) {
		page = errorTemplateEnglish
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.HTTP == http.StatusServiceUnavailable {
		h.Set("Retry-After", "30")
	}
	w.WriteHeader(f.HTTP)
	_ = page.Execute(w, struct {
		*fault.Fault
		ID, Again string
	}{f, id, "/login?return_to=" + url.QueryEscape(back)}) // a browser that left is not our trouble
}

var (
	errorTemplate        = errorWords("fr", "Connexion impossible", "{{.FR}}", "{{.FixFR}}", "Réessayer")
	errorTemplateEnglish = errorWords("en", "Login impossible", "{{.EN}}", "{{.FixEN}}", "Try again")
)

func errorWords(lang, title, text, fix, again string) *template.Template {
	return template.Must(template.New("error").Parse(`<!doctype html>
<html lang="` + lang + `">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>` + title + `</title>
<style>body{font-family:system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;color:#12264a}small{color:#44546f}</style></head>
<body><main>
<h1>` + title + `</h1>
<p role="alert">` + text + `</p>
<p>` + fix + `</p>
<p><a href="{{.Again}}">` + again + `</a></p>
<p><small>Code {{.Row.Code}}, incident {{.ID}}</small></p>
</main></body></html>
`))
}
