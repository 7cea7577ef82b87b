package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Queues is what the metrics need of the journal.
type Queues interface {
	Queue(ctx context.Context) ([]gateway.Queued, error)
	InQuarantine(ctx context.Context, finessGeo string) (int64, error)
}

// Metrics serves /metrics: the text format of Prometheus, version 0.0.4.
// Counters begin again at zero when the process does. No label concerns a
// patient: doors, destinations, outcomes, codes of the error table, FINESS.
type Metrics struct {
	Meters *gateway.Meters
	Queues Queues
	Alarms *gateway.Alarms
	Sites  []gateway.Establishment
	Rules  string
	Notice string // environment
	Clock  func() time.Time
	// INSiCalls counts the calls of INSi by month (TBB-3); nil: INSi is not asked.
	INSiCalls func(ctx context.Context) ([]INSiCalls, error)
}

// INSiCalls is one line of the dashboard of INSi calls.
type INSiCalls struct {
	gateway.INSiCount
	Month string // YYYY-MM
}

// metric is one family. Its lines are labels and value.
type metric struct {
	name, kind, help string
	lines            []string
}

func (m *metric) add(value any, pairs ...string) {
	var labels []string
	for i := 0; i+1 < len(pairs); i += 2 {
		labels = append(labels, fmt.Sprintf(`%s="%s"`, pairs[i], labelEscape.Replace(pairs[i+1])))
	}
	braces := ""
	if len(labels) > 0 {
		braces = "{" + strings.Join(labels, ",") + "}"
	}
	m.lines = append(m.lines, fmt.Sprintf("%s%s %v", m.name, braces, value))
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// counters are the families of [gateway.Meters], with the names of their labels.
var counters = []struct {
	what, of, outcome string
	metric
}{
	{gateway.MeterSubmissions, "door", "outcome", metric{"passerelle_submissions_total", "counter", "Soumissions jugées, par porte et issue.", nil}},
	{gateway.MeterDeliveries, "destination", "state", metric{"passerelle_deliveries_total", "counter", "Essais de remise terminés, par destination et état : done, failed, due (sera retenté), waiting (accusé attendu).", nil}},
	{gateway.MeterReceipts, "kind", "outcome", metric{"passerelle_receipts_total", "counter", "Accusés reçus sur nos courriels, par genre (dsn, mdn) et issue.", nil}},
}

func (m *Metrics) families(ctx context.Context) ([]metric, error) {
	var all []metric
	counts := m.Meters.Counts()
	keys := make([]gateway.Meter, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b gateway.Meter) int {
		return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.Outcome, b.Outcome))
	})
	for _, c := range counters {
		f := c.metric
		for _, k := range keys {
			if k.What == c.what {
				f.add(counts[k], c.of, k.Of, c.outcome, k.Outcome)
			}
		}
		all = append(all, f)
	}

	queue, err := m.Queues.Queue(ctx)
	if err != nil {
		return nil, err
	}
	now := m.Clock()
	length := metric{"passerelle_queue", "gauge", "Remises non réglées, par destination et état.", nil}
	age := metric{"passerelle_queue_oldest_seconds", "gauge", "Âge de la plus ancienne remise non réglée.", nil}
	for _, q := range queue {
		length.add(q.Count, "destination", q.Destination, "state", string(q.State))
		if q.Oldest.IsZero() {
			q.Oldest = now
		}
		age.add(int64(max(now.Sub(q.Oldest), 0)/time.Second), "destination", q.Destination, "state", string(q.State))
	}
	quarantine := metric{"passerelle_quarantine", "gauge", "Courriels en quarantaine, par site.", nil}
	for _, s := range m.Sites {
		n, err := m.Queues.InQuarantine(ctx, s.FINESSGeo)
		if err != nil {
			return nil, err
		}
		quarantine.add(n, "finess_geo", s.FINESSGeo)
	}
	alarms := metric{"passerelle_alarms", "gauge", "Alarmes en cours, par code.", nil}
	for _, a := range m.Alarms.Standing() {
		alarms.add(1, "code", a.Code)
	}
	insi := metric{"passerelle_insi_calls", "gauge", "Appels à l'INSi par site, mois, opération et résultat (TBB-3).", nil}
	if m.INSiCalls != nil {
		calls, err := m.INSiCalls(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range calls {
			insi.add(c.Calls, "finess_geo", c.FINESSGeo, "month", c.Month, "operation", string(c.Operation), "result", string(c.Result))
		}
	}
	info := metric{"passerelle_info", "gauge", "Toujours 1 : environnement (vide : production) et règles.", nil}
	info.add(1, "environment", m.Notice, "rules", m.Rules)
	return append(all, length, age, quarantine, alarms, insi, info), nil
}

func (m *Metrics) serve(w http.ResponseWriter, r *http.Request) {
	all, err := m.families(r.Context())
	if err != nil {
		Problem(w, r, fault.From(err))
		return
	}
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, l := range f.lines {
			b.WriteString(l + "\n")
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // the caller went away: nobody is left to tell
}
