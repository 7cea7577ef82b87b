package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/gateway/psc"
)

// Journal is what the console reads; [gateway.Journal] is one.
type Journal interface {
	Fetch(ctx context.Context, digest string) ([]byte, error)
	Submission(ctx context.Context, id string) (gateway.Submission, []gateway.DocumentRow, error)
	Submissions(ctx context.Context, q gateway.Query) ([]gateway.Submission, error)
	Deliveries(ctx context.Context, submission string) ([]gateway.Delivery, error)
	Events(ctx context.Context, submission string, after int64) ([]gateway.Event, error)
}

// Sessions says who is logged in; [psc.Login] does. A refusal of 401 means
// nobody.
type Sessions interface {
	Session(r *http.Request) (psc.Session, error)
	// FormToken is what a form carries, bound to the session and to a purpose;
	// FormSent tells whether it came back.
	FormToken(r *http.Request, purpose string) string
	FormSent(r *http.Request, purpose, token string) bool
}

// Config is what a [Console] needs. Everything is required but Decisions, Decide
// and Notice.
type Config struct {
	Journal        Journal
	Sessions       Sessions
	Establishments []gateway.Establishment
	// Access gives each national identifier the FINESS géographiques whose
	// submissions the person may see. Nobody else comes in.
	Access map[string][]string
	// Decisions has decided what people decide; nil: they only look.
	Decisions Decisions
	// Decide names those who may decide, where they may see; nobody else can.
	Decide map[string]bool
	// Alarms are those that stand; Certificates those that the gateway uses.
	Alarms       func() []gateway.Alarm
	Certificates func() []Certificate
	Clock        func() time.Time
	Zone         *time.Location // of the times that people read and search by
	Log          *slog.Logger   // of consultations
	Notice       string         // the environment, said on every page; empty in production
}

// Console is the handler of /console/ and of the welcome page. It may be used by
// many requests at once.
type Console struct {
	cfg   Config
	mux   *http.ServeMux
	heavy chan struct{} // documents and mails being read

	origin *http.CrossOriginProtection
}

// maxHeavy bounds how many documents are in memory at once.
const maxHeavy = 4

// New checks a configuration. An establishment that is given and not declared is
// an error: it may be a typing mistake.
func New(cfg Config) (*Console, error) {
	if cfg.Journal == nil || cfg.Sessions == nil || cfg.Zone == nil || cfg.Log == nil || cfg.Alarms == nil || cfg.Certificates == nil || cfg.Clock == nil {
		return nil, errors.New("console: Journal, Sessions, Zone, Log, Alarms, Certificates and Clock are required")
	}
	for _, sites := range cfg.Access {
		for _, site := range sites {
			if !slices.ContainsFunc(cfg.Establishments, func(e gateway.Establishment) bool { return e.FINESSGeo == site }) {
				return nil, fmt.Errorf("console: establishment %s is not declared", site)
			}
		}
	}
	c := &Console{cfg: cfg, mux: http.NewServeMux(), heavy: make(chan struct{}, maxHeavy), origin: http.NewCrossOriginProtection()}
	c.mux.HandleFunc("GET /{$}", c.welcome)
	c.mux.HandleFunc("GET "+stylePath, c.style)
	for pattern, show := range map[string]func(*visit) error{
		"GET /console/{$}":                                    c.search,
		"GET /console/quarantine":                             c.quarantine,
		"GET /console/warnings":                               c.warnings,
		"GET /console/submissions/{id}/{act}":                 c.decide,
		"POST /console/submissions/{id}/{act}":                c.decide,
		"GET /console/submissions/{id}/deliveries/{d}/{act}":  c.decide,
		"POST /console/submissions/{id}/deliveries/{d}/{act}": c.decide,
		"GET /console/submissions/{id}":                       c.submission,
		"GET /console/submissions/{id}/mail":                  c.mail,
		"GET /console/submissions/{id}/documents/{n}":         c.document,
		"GET /console/submissions/{id}/documents/{n}/copy":    c.pdf,
		"/console/": func(*visit) error { return fault.New(gateway.FaultNotFound) },
	} {
		c.mux.HandleFunc(pattern, c.visitor(show))
	}
	return c, nil
}

// Register serves /console/ and the welcome page at the root.
func (c *Console) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", c)
	mux.Handle("/console/", c)
}

func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Nothing leaves the house; inside, who sends a form must be able to say from
	// where: without a referrer a browser writes "Origin: null".
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	c.mux.ServeHTTP(w, r)
}

// The policies: of pages, of pages that show a document, of a PDF. The viewers of
// browsers bring their own scripts and styles to a PDF, so its policy says only
// where it may be shown.
const (
	commonPolicy   = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	pagePolicy     = commonPolicy
	documentPolicy = commonPolicy + "; img-src data:; object-src 'self'; frame-src 'self'"
	pdfPolicy      = "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)

// visit is one request of a person who may come in.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	lang    string
	who     psc.Professional
	sites   []string // FINESS géographiques that they may see
	decides bool
}

// visitor lets in who is logged in and listed.
func (c *Console) visitor(show func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, lang: language(r)}
		session, err := c.cfg.Sessions.Session(r)
		if err == nil {
			v.who, v.sites = session.Professional, c.cfg.Access[session.Professional.NationalID]
			v.decides = c.cfg.Decide[v.who.NationalID]
			if len(v.sites) == 0 {
				err = fault.New(FaultAccess)
				c.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "console: access refused", slog.String("national_id", v.who.NationalID))
			}
		}
		if err == nil {
			err = show(v)
		}
		if err != nil {
			c.fail(v, err)
		}
	}
}

// fail answers a refusal with a page; who is not logged in gets the way in.
func (c *Console) fail(v *visit, err error) {
	if errors.Is(err, gateway.ErrNotFound) {
		err = fault.New(gateway.FaultNotFound)
	}
	f := fault.From(err)
	c.refusedAct(v, f)
	if f.HTTP >= 500 {
		c.cfg.Log.Error("console: request failed", "route", v.r.Pattern, "code", f.Code, "cause", f.Unwrap())
	}
	if f.HTTP == http.StatusUnauthorized {
		v.w.Header().Set("WWW-Authenticate", `ProSanteConnect realm="console"`)
		c.render(v, f.HTTP, "welcome", titleLogin, welcomePage{Login: loginURL(v.r), Expired: f.Code == psc.FaultSessionExpired})
		return
	}
	if f.HTTP == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "5")
	}
	c.render(v, f.HTTP, "fault", titleFault, faultPage{Fault: notice(v.lang, f.Code, f.Where), ID: refusedID(v, f)})
}

// refusedID tells a person who is not listed under which identifier to be.
func refusedID(v *visit, f *fault.Fault) string {
	if f.Code == FaultAccess {
		return v.who.NationalID
	}
	return ""
}

type welcomePage struct {
	Login   string
	Expired bool
}

type faultPage struct {
	Fault tell
	ID    string
}

// welcome is the root: where a logout ends and a login begins.
func (c *Console) welcome(w http.ResponseWriter, r *http.Request) {
	v := &visit{w: w, r: r, lang: language(r)}
	c.render(v, http.StatusOK, "welcome", titleLogin, welcomePage{Login: "/login?return_to=" + url.QueryEscape(local("/console/", v.lang))})
}

// loginURL comes back to the page that was asked for.
func loginURL(r *http.Request) string {
	return "/login?return_to=" + url.QueryEscape(r.URL.RequestURI())
}

// language is French unless the address says otherwise.
func language(r *http.Request) string {
	if r.URL.Query().Get("lang") == "en" {
		return "en"
	}
	return "fr"
}

// local is an address of the console in the language of the reader; more are
// names and values of its query, and empty values are left out.
func local(path, lang string, more ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			q.Set(more[i], more[i+1])
		}
	}
	if lang == "en" {
		q.Set("lang", lang)
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// otherLanguage is the same page in the other language.
func otherLanguage(r *http.Request, lang string) string {
	q := r.URL.Query()
	q.Del("lang")
	if lang == "fr" {
		q.Set("lang", "en")
	}
	return strings.TrimSuffix(r.URL.EscapedPath()+"?"+q.Encode(), "?")
}
