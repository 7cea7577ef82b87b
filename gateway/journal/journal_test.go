package journal_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
)

func open(t testing.TB, cfg journal.Config) *journal.Journal {
	t.Helper()
	j, err := tryOpen(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func tryOpen(t testing.TB, cfg journal.Config) (*journal.Journal, error) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "data", "journal")
	}
	if cfg.Clock == nil {
		cfg.Clock = journaltest.NewClock().Now
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	return journal.Open(t.Context(), cfg)
}

func TestContract(t *testing.T) {
	journaltest.Test(t, func(t *testing.T, clock *journaltest.Clock) gateway.Journal {
		return open(t, journal.Config{Clock: clock.Now})
	})
}
