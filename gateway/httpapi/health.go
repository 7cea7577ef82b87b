package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Health serves /healthz (the process answers) and /readyz (it can take
// responsibility for a message: 503 and the standing alarms otherwise), and the
// counts of [Metrics].
type Health struct {
	Alarms *gateway.Alarms
	Notice string

	Metrics *Metrics // nil: there is no /metrics
}

// Handler returns the routes.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]string{"status": "ok", "environnement": h.Notice})
	})
	mux.HandleFunc("GET /readyz", h.ready)
	if h.Metrics != nil {
		mux.HandleFunc("GET /metrics", h.Metrics.serve)
	}
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
