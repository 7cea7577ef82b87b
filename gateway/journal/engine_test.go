package journal_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
)

func TestOpenRefuses(t *testing.T) {
	clock, logger := journaltest.NewClock().Now, slog.New(slog.DiscardHandler)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "journal.db"), []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	held := t.TempDir()
	open(t, journal.Config{Dir: held})
	for _, c := range []struct {
		name string
		cfg  journal.Config
		code string
	}{
		{"fail/no-folder", journal.Config{Clock: clock, Logger: logger}, ""},
		{"fail/no-clock", journal.Config{Dir: t.TempDir(), Logger: logger}, ""},
		{"fail/no-logger", journal.Config{Dir: t.TempDir(), Clock: clock}, ""},
		{"fail/a-file-is-in-the-way", journal.Config{Dir: file, Clock: clock, Logger: logger}, "GW-STORAGE"},
		{"fail/damaged", journal.Config{Dir: damaged, Clock: clock, Logger: logger}, "GW-DATABASE-DAMAGED"},
		{"fail/held-by-another", journal.Config{Dir: held, Clock: clock, Logger: logger}, journal.FaultLocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := journal.Open(t.Context(), c.cfg)
			if err == nil || journaltest.Code(err) != c.code {
				t.Fatalf("got %v, want %q", err, c.code)
			}
		})
	}
	t.Run("ok/given-back-when-closed", func(t *testing.T) {
		dir := t.TempDir()
		for range 2 {
			if err := open(t, journal.Config{Dir: dir}).Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("ok/given-back-when-opening-failed", func(t *testing.T) {
		if err := os.Remove(filepath.Join(damaged, "journal.db")); err != nil {
			t.Fatal(err)
		}
		open(t, journal.Config{Dir: damaged})
	})
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	journaltest.Record(t, j, "a", "1.1")
	e := journaltest.Entry(t, j, "b", "1.2")
	if err := j.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	j.Close()

	j = open(t, journal.Config{Dir: dir, Reserve: 1 << 60})
	_, keepErr := j.Keep(t.Context(), []byte("something new"))
	for what, err := range map[string]error{"Keep": keepErr, "Record": j.Record(t.Context(), e), "Check": j.Check(t.Context())} {
		if journaltest.Code(err) != "GW-DISK-FULL" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	// The reserve is there for this: what was accepted goes on.
	leased, err := j.Claim(t.Context(), gateway.DestinationDMP, "h", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	if err != nil || len(leased) != 1 {
		t.Fatal(leased, err)
	}
	if err := j.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-a", Holder: "h", State: gateway.Done}); err != nil {
		t.Fatal(err)
	}
}

func TestFullDatabase(t *testing.T) {
	j := open(t, journal.Config{MaxBytes: 400 << 10})
	var err error
	recorded := 0
	for ; err == nil && recorded < 1000; recorded++ {
		e := journaltest.Entry(t, j, fmt.Sprintf("s%d", recorded), fmt.Sprintf("1.%d", recorded))
		e.Submission.Receipt = make([]byte, 20_000)
		err = j.Record(t.Context(), e)
	}
	if journaltest.Code(err) != "GW-DISK-FULL" || recorded < 2 {
		t.Fatalf("after %d: %v", recorded, err)
	}
	refused := fmt.Sprintf("s%d", recorded-1)
	if _, _, err := j.Submission(t.Context(), refused); err != gateway.ErrNotFound {
		t.Fatalf("something is left of what was refused: %v", err)
	}
	leased, err := j.Claim(t.Context(), gateway.DestinationDMP, "h", journaltest.T0, journaltest.T0.Add(time.Hour), 1000)
	if err != nil || len(leased) != recorded-1 {
		t.Fatalf("%d due, %v", len(leased), err)
	}
}

func TestInterrupted(t *testing.T) {
	j := open(t, journal.Config{})
	e := journaltest.Entry(t, j, "a", "1.1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Record(ctx, e); journaltest.Code(err) != "GW-INTERRUPTED" {
		t.Fatalf("got %v", err)
	}
	if _, _, err := j.Submission(t.Context(), "a"); err != gateway.ErrNotFound {
		t.Fatalf("got %v", err)
	}
}

// rawDB opens the file beside the journal, as an administrator might.
func rawDB(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestEventsAreOnlyAppended(t *testing.T) {
	dir := t.TempDir()
	journaltest.Record(t, open(t, journal.Config{Dir: dir}), "a")
	db := rawDB(t, dir)
	for _, statement := range []string{`UPDATE event SET outcome = 'x'`, `DELETE FROM event`, `REPLACE INTO event SELECT * FROM event`} {
		_, err := db.ExecContext(t.Context(), statement)
		if err == nil || !strings.Contains(err.Error(), "only appended") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// What is asked all the time must not read whole tables, however long the
// history is.
func TestQueriesUseIndexes(t *testing.T) {
	dir := t.TempDir()
	open(t, journal.Config{Dir: dir})
	db := rawDB(t, dir)
	for name, query := range journal.HotQueries {
		for _, detail := range plan(t, db, query) {
			if strings.HasPrefix(detail, "SCAN") && detail != "SCAN CONSTANT ROW" || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s: %s", name, detail)
			}
			if strings.HasPrefix(detail, "SEARCH earlier") && !strings.Contains(detail, "submission=?") {
				t.Errorf("%s reads the whole backlog for each delivery: %s", name, detail)
			}
		}
	}
	// The sites of a caller are read one by one: asked together, SQLite sorts all
	// that they ever sent to give one page.
	day := journal.ListQuery(gateway.Query{Since: journaltest.T0, Until: journaltest.T0.Add(time.Hour)})
	for query, want := range map[string]string{
		journal.ListQuery(gateway.Query{}): "[SEARCH submission USING INDEX submission_site (finess_geo=? AND seq>?)]",
		day:                                "[SEARCH submission USING INDEX submission_received (finess_geo=? AND received>? AND received<?) USE TEMP B-TREE FOR ORDER BY]",
	} {
		if got := fmt.Sprint(plan(t, db, query)); got != want {
			t.Errorf("%s\n%s\nwant %s", query, got, want)
		}
	}
}

// plan is how SQLite will read a query.
func plan(t *testing.T, db *sql.DB, query string) (details []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+strings.ReplaceAll(query, "?", "1"))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var a, b, c int
		var detail string
		if err := rows.Scan(&a, &b, &c, &detail); err != nil {
			t.Fatal(err)
		}
		details = append(details, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return details
}

func TestSendAttempts(t *testing.T) {
	j := open(t, journal.Config{})
	attempt := func(id string, at time.Time, outcome, ack string, documents ...gateway.DocumentMark) gateway.Settlement {
		s := gateway.Settlement{Delivery: "dmp-" + id, Holder: "h", State: gateway.Done}
		for _, m := range documents {
			s.Events = append(s.Events, gateway.Event{Submission: id, Time: at, Step: "dmp", Outcome: outcome, AckCode: ack, Destination: "dmp", Attempt: 1, Document: m})
		}
		if outcome == "retry" {
			s.State, s.Due = gateway.Due, at
		}
		return s
	}
	work := func(s gateway.Settlement) {
		t.Helper()
		if _, err := j.Claim(t.Context(), "dmp", "h", journaltest.T0, journaltest.T0.Add(time.Hour), 9); err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	record := func(id string, change func(*gateway.Submission)) {
		t.Helper()
		e := journaltest.Entry(t, j, id, "1."+id)
		change(&e.Submission)
		if err := j.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	letter, masked := gateway.DocumentMark{UniqueID: "1.1", TypeCode: "11490-0"}, gateway.DocumentMark{UniqueID: "1.2", TypeCode: "11490-0", Flags: "MASQUE_PS"}
	report := gateway.DocumentMark{UniqueID: "1.3", TypeCode: "11502-2"}
	t0 := journaltest.T0

	record("a", func(*gateway.Submission) {})
	work(attempt("a", t0, "retry", "503", letter, masked))
	zam := attempt("a", t0, "ok", "201", letter, masked, report)
	zam.Next = []gateway.Delivery{journaltest.Notice("a")}
	work(zam)
	if _, err := j.Claim(t.Context(), "zam", "h", t0, t0.Add(time.Hour), 9); err != nil {
		t.Fatal(err)
	}
	told := attempt("a", t0, "ok", "AA", letter)
	told.Delivery, told.Events[0].Destination = "zam-a", "zam"
	if err := j.Settle(t.Context(), told); err != nil {
		t.Fatal(err)
	}
	record("validated-only", func(s *gateway.Submission) { s.INSStatus = "VALI" })
	work(attempt("validated-only", t0, "ok", "201", letter))
	record("fictive", func(s *gateway.Submission) {
		s.Envelope = json.RawMessage(`{"patient":{"oid":"1.2.250.1.213.1.4.10"}}`)
	})
	work(attempt("fictive", t0, "ok", "201", report))
	record("other-site", func(s *gateway.Submission) { s.Establishment.FINESSGeo = "020000027" })
	work(attempt("other-site", t0, "failed", "422", report))
	record("next-month", func(*gateway.Submission) {})
	work(attempt("next-month", t0.AddDate(0, 1, 0), "ok", "201", letter))

	site, other := journaltest.Site.FINESSGeo, "020000027"
	month := journal.Period{FINESSGeo: []string{site, other}, From: t0, To: t0.AddDate(0, 1, 0)}
	rehearsal := month
	rehearsal.Fictive = true
	one := month
	one.FINESSGeo = []string{other}
	none := month
	none.FINESSGeo = nil
	lines := []journal.SendAttempts{
		{FINESSGeo: site, Channel: "DMP", TypeCode: "11490-0", Outcome: "ok", Count: 2, Masked: 1},
		{FINESSGeo: site, Channel: "DMP", TypeCode: "11490-0", Outcome: "retry", Count: 2, Masked: 1},
		{FINESSGeo: site, Channel: "DMP", TypeCode: "11502-2", Outcome: "ok", Count: 1},
		{FINESSGeo: other, Channel: "DMP", TypeCode: "11502-2", Outcome: "failed", Count: 1},
	}
	with := append([]journal.SendAttempts(nil), lines...)
	with[2].Count = 2
	for _, c := range []struct {
		name string
		p    journal.Period
		want []journal.SendAttempts
	}{
		{"ok/both-sites", month, lines}, {"ok/one-site", one, lines[3:]}, {"ok/no-site-sees-nothing", none, nil}, {"ok/fictive-too", rehearsal, with},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := j.SendAttempts(t.Context(), c.p)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

// BenchmarkAccept is what stands between a message and its acknowledgement:
// two Keeps and a Record, each synced.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{20 << 10, 2 << 20} {
		for _, senders := range []int{1, 8} {
			b.Run(fmt.Sprintf("%dKiB/%d-senders", size>>10, senders), func(b *testing.B) {
				j := open(b, journal.Config{})
				b.SetParallelism(senders)
				ids := make(chan int)
				go func() {
					for i := 0; ; i++ {
						select {
						case ids <- i:
						case <-b.Context().Done():
							return
						}
					}
				}()
				b.SetBytes(int64(size))
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					data := make([]byte, size)
					for pb.Next() {
						id := fmt.Sprint(<-ids)
						copy(data, id)
						digest, err := j.Keep(b.Context(), data)
						if err != nil {
							b.Fatal(err)
						}
						e := journaltest.Entry(b, j, id)
						e.Documents = []gateway.DocumentRow{{UniqueID: "1." + id, Digest: digest, Size: int64(size)}}
						if err := j.Record(b.Context(), e); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkDeliver is one delivery, leased, marked and settled, in front of a
// backlog such as a day without the DMP leaves.
func BenchmarkDeliver(b *testing.B) {
	j := open(b, journal.Config{})
	const backlog = 5000
	for i := range backlog {
		journaltest.Record(b, j, fmt.Sprint(i), fmt.Sprintf("1.%d", i))
	}
	for b.Loop() {
		now := journaltest.T0
		got, err := j.Claim(b.Context(), "dmp", "h", now, now.Add(time.Hour), 1)
		if err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
		if err := j.MarkSent(b.Context(), got[0].ID, "h", ""); err != nil {
			b.Fatal(err)
		}
		if err := j.Settle(b.Context(), gateway.Settlement{Delivery: got[0].ID, Holder: "h", State: gateway.Due, Due: now.Add(time.Nanosecond)}); err != nil {
			b.Fatal(err)
		}
	}
}
