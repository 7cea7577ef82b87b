package journaltest

import (
	"errors"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
)

// testFate: what is queued for the DMP counts as if it were done. It counted for
// nothing, so that a replacement accepted while the DMP was down was told that
// its target is unknown (found by the review of issue 2).
func testFate(t *testing.T, open Open) {
	record := func(t *testing.T, j gateway.Journal, id string, action dmp.Action, documents ...string) {
		t.Helper()
		e := Entry(t, j, id, documents...)
		e.Submission.Action = action
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	// end settles the delivery of a submission that is first in its queue.
	end := func(t *testing.T, j gateway.Journal, id string, state gateway.State, fates ...gateway.DocumentFate) {
		t.Helper()
		want(t, "leased", claim(t, j, gateway.DestinationDMP, "h", T0, 1), []string{"dmp-" + id})
		settle(t, j, gateway.Settlement{Delivery: "dmp-" + id, State: state, Due: T0.Add(time.Hour), Code: "X", Documents: fates})
	}
	fed := gateway.DocumentFate{UniqueID: "1.1", Fate: "current"}
	replaced := []gateway.DocumentFate{{UniqueID: "1.2", Fate: "current"}, {UniqueID: "1.1", Fate: "superseded", ReplacedBy: "1.2"}}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, j gateway.Journal)
		fate map[string]string // id: fate and what replaced it; empty: not found
	}{
		{"ok/new", func(t *testing.T, j gateway.Journal) { record(t, j, "a", dmp.New, "1.1", "1.3") },
			map[string]string{"1.1": "current ", "1.3": "current ", "1.2": ""}},
		{"ok/leased", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			claim(t, j, gateway.DestinationDMP, "h", T0, 1)
		}, map[string]string{"1.1": "current "}},
		{"ok/tried-in-vain", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Due)
		}, map[string]string{"1.1": "current "}},
		{"ok/new-then-replaced", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			record(t, j, "b", dmp.Replace, "1.2<1.1")
		}, map[string]string{"1.1": "superseded 1.2", "1.2": "current "}},
		{"ok/fed-then-replaced", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Done, fed)
			record(t, j, "b", dmp.Replace, "1.2<1.1")
		}, map[string]string{"1.1": "superseded 1.2", "1.2": "current "}},
		{"ok/replaced-then-sent-again", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.Replace, "1.2<1.1")
			end(t, j, "a", gateway.Done, replaced...)
			record(t, j, "b", dmp.New, "1.1")
		}, map[string]string{"1.1": "superseded 1.2", "1.2": "current "}},
		{"ok/replacement-of-what-another-fed", func(t *testing.T, j gateway.Journal) { record(t, j, "a", dmp.Replace, "1.2<1.1") },
			map[string]string{"1.1": "superseded 1.2", "1.2": "current "}},
		{"ok/new-replaced-deleted", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			record(t, j, "b", dmp.Replace, "1.2<1.1")
			record(t, j, "c", dmp.Delete, "1.2<1.1") // the target of a deletion is the document that comes with it
		}, map[string]string{"1.1": "superseded 1.2", "1.2": "deleted "}},
		{"ok/fed-then-deleted", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Done, fed)
			record(t, j, "b", dmp.Delete, "1.1")
		}, map[string]string{"1.1": "deleted "}},
		{"ok/the-replacement-failed", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Done, fed)
			record(t, j, "b", dmp.Replace, "1.2<1.1")
			end(t, j, "b", gateway.Failed)
		}, map[string]string{"1.1": "current ", "1.2": ""}},
		{"fail/failed", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Failed)
		}, map[string]string{"1.1": ""}},
		{"fail/done-without-a-fate", func(t *testing.T, j gateway.Journal) {
			record(t, j, "a", dmp.New, "1.1")
			end(t, j, "a", gateway.Done)
		}, map[string]string{"1.1": ""}},
		{"fail/for-mail-only", func(t *testing.T, j gateway.Journal) {
			e := Entry(t, j, "a", "1.2<1.1")
			e.Submission.Action, e.Deliveries[0].Destination = dmp.Replace, gateway.DestinationPro
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"1.1": "", "1.2": ""}},
		{"fail/of-another-establishment", func(t *testing.T, j gateway.Journal) {
			e := Entry(t, j, "a", "1.2<1.1")
			e.Submission.Action, e.Submission.Establishment.FINESSEJ = dmp.Replace, "999999999"
			e.Deliveries[0].Establishment.FINESSEJ = "999999999"
			if err := j.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"1.1": "", "1.2": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := open(t, NewClock())
			c.do(t, j)
			for id, w := range c.fate {
				f, err := j.Fate(t.Context(), Site.FINESSEJ, id)
				switch {
				case w == "" && (!errors.Is(err, gateway.ErrNotFound) || f != gateway.DocumentFate{}):
					t.Errorf("%s: %+v, %v", id, f, err)
				case w != "" && (err != nil || f.UniqueID != id || f.Fate+" "+f.ReplacedBy != w):
					t.Errorf("%s: got %+v, %v, want %q", id, f, err, w)
				}
			}
		})
	}
}
