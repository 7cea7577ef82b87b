package journaltest

import (
	"errors"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
)

func testConsent(t *testing.T, open Open) {
	day := func(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }
	j := open(t, NewClock())
	ask := func(persons ...string) string {
		t.Helper()
		c, err := j.Consent(t.Context(), persons)
		if errors.Is(err, gateway.ErrNotFound) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return c.Person + " " + c.Feeding + " " + c.At.Format(time.DateOnly)
	}
	n := 0
	say := func(rows ...gateway.ConsentRow) {
		t.Helper()
		n++
		e := Entry(t, j, "consent-"+string(rune('a'+n)))
		e.Consents = rows
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want(t, "nothing was said", ask("p1", "p2"), "")
	want(t, "about nobody", ask(), "")
	say(gateway.ConsentRow{Person: "p1", Feeding: "IO", At: day(5)}, gateway.ConsentRow{Person: "p2", Feeding: "IO", At: day(5)})
	want(t, "one id", ask("p2"), "p2 IO 2026-03-05")
	want(t, "another person", ask("p3"), "")
	say(gateway.ConsentRow{Person: "p1", Feeding: "INO", At: day(4)})
	want(t, "an older day that comes late", ask("p1"), "p1 IO 2026-03-05")
	say(gateway.ConsentRow{Person: "p1", Feeding: "INO", At: day(5)})
	want(t, "the same day: the last recorded", ask("p2", "p1", "p3"), "p1 INO 2026-03-05")
	say(gateway.ConsentRow{Person: "p2", Feeding: "IO", At: day(6)})
	want(t, "the latest of all ids", ask("p1", "p2"), "p2 IO 2026-03-06")

	e := Entry(t, j, "consent-refused")
	e.Consents = []gateway.ConsentRow{{Person: "p4", Feeding: "IO", At: day(7)}, {Feeding: "IO", At: day(7)}}
	if err := j.Record(t.Context(), e); Code(err) == "" {
		t.Fatalf("a consent about nobody: %v", err)
	}
	want(t, "of an entry that was not recorded", ask("p4"), "")
}
