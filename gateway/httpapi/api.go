package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// Door is what the HTTP doors need of the gateway.
type Door interface {
	gateway.Door
	// DryRun judges like Accept and keeps nothing.
	DryRun(ctx context.Context, in gateway.Inbound) gateway.Decision
	// AskINSi asks INSi about an identity without INS.
	AskINSi(ctx context.Context, q gateway.INSiQuery) (gateway.INSiVerdict, error)
}

// Limits bound what callers can make the gateway hold. The zero value of each
// is its default.
type Limits struct {
	Body     int64         // bytes of one request: 50 MiB
	InHand   int64         // bytes of all requests being read or judged: 256 MiB
	Streams  int64         // timelines followed at once: 200
	Wait     time.Duration // for the DMP's answer to a FHIR deposit: 10 s
	Poll     time.Duration // between two looks at the journal: 100 ms
	Beat     time.Duration // between two heartbeats of a stream: 15 s
	Upstream int64         // bytes of one JSON answer of the DMP: 16 MiB
}

func (l *Limits) defaults() {
	or(&l.Body, 50<<20)
	or(&l.InHand, 256<<20)
	or(&l.Streams, 200)
	or(&l.Wait, 10*time.Second)
	or(&l.Poll, 100*time.Millisecond)
	or(&l.Beat, 15*time.Second)
	or(&l.Upstream, 16<<20)
}

func or[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

const (
	maxEnvelope = 1 << 20
	maxSmall    = 64 << 10 // bodies that carry no document
)

// API serves /v1, /fhir and /openapi.yaml. Door, Journal, Establishments,
// Machines and Log are required.
type API struct {
	Door           Door
	Journal        gateway.Journal
	Establishments []gateway.Establishment // those that this gateway serves
	// Machines maps the SHA-256 fingerprint (hex) of a client certificate to the
	// FINESS géographique that it may deposit for and whose submissions it may see.
	Machines map[string][]string
	Callers  Callers   // nil: no professional can log in, bearers are refused
	DMP      *Upstream // nil: the DMP cannot be consulted through the gateway
	// Trusted tells whether a domain is in the MSSanté trust space, as at the
	// moment of sending; nil: no mail is configured.
	Trusted func(domain string) (bool, error)
	Places  func() (*ins.COG, error) // advice on birth places; nil: none
	Clock   func() time.Time         // birth dates are judged against it; nil: they are not
	// Environment refuses the OIDs that it may not meet; empty: none.
	Environment ins.Environment
	Directory   Directory       // nil: no Annuaire Santé is configured
	Closing     <-chan struct{} // closed when the gateway stops: streams end
	Limits      Limits
	Notice      string // said in every answer of a sandbox (header X-Passerelle-Environnement)
	Log         *slog.Logger

	inHand, streams atomic.Int64
}

// Handler returns the routes.
func (a *API) Handler() http.Handler {
	a.Limits.defaults()
	mux := http.NewServeMux()
	v1 := problemFace
	mux.HandleFunc("POST /v1/submissions", a.depositor(v1, asking(a.deposit, "dry_run")))
	mux.HandleFunc("GET /v1/submissions", a.depositor(v1, asking(a.submissions, "control_id", "state", "before", "limit")))
	mux.HandleFunc("GET /v1/submissions/{id}", a.depositor(v1, asking(a.submission)))
	mux.HandleFunc("GET /v1/submissions/{id}/events", a.depositor(v1, asking(a.events, "after", "follow")))
	mux.HandleFunc("POST /v1/identities/check", a.depositor(v1, asking(a.checkIdentity)))
	mux.HandleFunc("POST /v1/identities/query", a.depositor(v1, asking(a.queryIdentity)))
	mux.HandleFunc("GET /v1/mailboxes", a.depositor(v1, asking(a.mailboxes, "address", "id", "domain")))
	mux.HandleFunc("GET /openapi.yaml", openAPI)
	a.routesFHIR(mux)

	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		code := gateway.FaultNotFound
		if allowed := methods(mux, r); len(allowed) > 0 {
			code = gateway.FaultMethod
			w.Header().Set("Allow", strings.Join(allowed, ", "))
		}
		a.fail(faceOf(r), w, r, fault.New(code))
	})
	return a.Exact(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Notice != "" {
			w.Header().Set("X-Passerelle-Environnement", a.Notice)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength > a.Limits.Body {
			a.tooLarge(w, r)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, a.Limits.Body)
		mux.ServeHTTP(w, r)
	}))
}

// tooLarge refuses a body by its announced length. A client that sends without
// waiting to be asked reads the answer only after it has sent: up to twice the
// limit is read and thrown away, so that it sees 413 and not a broken connection.
func (a *API) tooLarge(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") == "" && r.ContentLength <= 2*a.Limits.Body {
		_, _ = io.Copy(io.Discard, r.Body) // what cannot be read is not needed either
	}
	a.fail(faceOf(r), w, r, fault.New(FaultTooLarge))
}

// methods are those that a path has a route for.
func methods(mux *http.ServeMux, r *http.Request) (all []string) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(probe); pattern != "" && pattern != "/" {
			all = append(all, method)
		}
	}
	return all
}

// hold counts the bytes of a request against what all requests may hold at
// once, and gives them back at the end.
func (a *API) hold(r *http.Request) (release func(), err error) {
	n := r.ContentLength
	if n < 0 {
		n = a.Limits.Body // unknown: the worst
	}
	if a.inHand.Add(n) > a.Limits.InHand {
		a.inHand.Add(-n)
		return nil, fault.New(FaultBusy)
	}
	return sync.OnceFunc(func() { a.inHand.Add(-n) }), nil
}
