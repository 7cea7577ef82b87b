package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Health serves /healthz (the process answers) and /readyz (it can take
// responsibility for a message: 503 and the standing alarms otherwise), and the
// counts of /metrics in the text format of Prometheus.
type Health struct {
	Alarms *gateway.Alarms
	Notice string
	// INSiCalls counts the calls of INSi by month (TBB-3); nil: INSi is not asked.
	INSiCalls func(ctx context.Context) ([]INSiCalls, error)
}

// INSiCalls is one line of the dashboard of INSi calls.
type INSiCalls struct {
	gateway.INSiCount
	Month string // YYYY-MM
}

// Handler returns the routes.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]string{"status": "ok", "environnement": h.Notice})
	})
	mux.HandleFunc("GET /readyz", h.ready)
	mux.HandleFunc("GET /metrics", h.metrics)
	return mux
}

type alarm struct {
	Code  string    `json:"code"`
	Since time.Time `json:"since"`
	Text  string    `json:"text"`
	Fix   string    `json:"fix"`
}

func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	alarms := []alarm{}
	for _, a := range h.Alarms.Standing() {
		row, _ := fault.Lookup(a.Code)
		v := alarm{a.Code, a.Since, row.FR, row.FixFR}
		if language(r) == "en" {
			v.Text, v.Fix = row.EN, row.FixEN
		}
		alarms = append(alarms, v)
	}
	status := "prêt"
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if len(alarms) > 0 {
		status = "alarme"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "alarms": alarms, "environnement": h.Notice})
}

func (h *Health) metrics(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	b.WriteString("# HELP passerelle_alarms Alarmes en cours, par code.\n# TYPE passerelle_alarms gauge\n")
	for _, a := range h.Alarms.Standing() {
		fmt.Fprintf(&b, "passerelle_alarms{code=%q} 1\n", a.Code)
	}
	if h.INSiCalls != nil {
		calls, err := h.INSiCalls(r.Context())
		if err != nil {
			Problem(w, r, fault.From(err))
			return
		}
		b.WriteString("# HELP passerelle_insi_calls Appels à l'INSi par site, mois, opération et résultat (TBB-3).\n# TYPE passerelle_insi_calls gauge\n")
		for _, c := range calls {
			fmt.Fprintf(&b, "passerelle_insi_calls{finess_geo=%q,month=%q,operation=%q,result=%q} %d\n", c.FINESSGeo, c.Month, c.Operation, c.Result, c.Calls)
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, b.String()) // the caller went away: nobody is left to tell
}
