package journal_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
)

// snapshot copies what a machine that lost its power would find: all files but
// the lock and the shared memory, which do not outlive a process.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case d.Name() == "lock" || d.Name() == "journal.db-shm":
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestReopenAfterCrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	journaltest.Record(t, j, "settled", "1.1")
	journaltest.Record(t, j, "leased", "1.2")
	journaltest.Record(t, j, "waiting", "1.3")
	leased, err := j.Claim(t.Context(), gateway.DestinationDMP, "dead", journaltest.T0, journaltest.T0.Add(time.Hour), 2)
	if err != nil || len(leased) != 2 {
		t.Fatal(leased, err)
	}
	if err := j.MarkSent(t.Context(), "dmp-leased", "dead", "remote"); err != nil {
		t.Fatal(err)
	}
	err = j.Settle(t.Context(), gateway.Settlement{
		Delivery: "dmp-settled", Holder: "dead", State: gateway.Done, Next: []gateway.Delivery{journaltest.Notice("settled")},
		Documents: []gateway.DocumentFate{{UniqueID: "1.1", Fate: "current"}},
	})
	if err != nil {
		t.Fatal(err)
	}

	after := open(t, journal.Config{Dir: snapshot(t, dir)})
	// The lease is void at once, although its time has not come; what was noted stands.
	again, err := after.Claim(t.Context(), gateway.DestinationDMP, "alive", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	if err != nil || len(again) != 2 || again[0].ID != "dmp-leased" || again[1].ID != "dmp-waiting" {
		t.Fatalf("%+v, %v", again, err)
	}
	if d := again[0]; !d.Sent || d.Remote != "remote" || d.Attempts != 2 {
		t.Fatalf("%+v", d)
	}
	if err := after.Settle(t.Context(), gateway.Settlement{Delivery: "dmp-leased", Holder: "dead", State: gateway.Done}); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Fatalf("the dead settled: %v", err)
	}
	zam, err := after.Claim(t.Context(), gateway.DestinationZAM, "alive", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	if err != nil || len(zam) != 1 || zam[0].ID != "zam-settled" {
		t.Fatalf("%+v, %v", zam, err)
	}
	if f, err := after.Fate(t.Context(), journaltest.Site.FINESSEJ, "1.1"); err != nil || f.Fate != "current" {
		t.Fatalf("%+v, %v", f, err)
	}
	_, docs, err := after.Submission(t.Context(), "leased")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := after.Fetch(t.Context(), docs[0].Digest); err != nil || string(data) != "document 1.2" {
		t.Fatalf("%q, %v", data, err)
	}
}

// The power goes while the log is written: it ends anywhere. What had been
// committed before that point is there, whole; the rest is not, at all.
func TestTornLog(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	wal := filepath.Join(dir, "journal.db-wal")
	size := func() int64 {
		st, err := os.Stat(wal)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	start := size()
	var ends []int64
	for i := range 6 {
		journaltest.Record(t, j, fmt.Sprintf("s%d", i), fmt.Sprintf("1.%d", i))
		ends = append(ends, size())
	}
	for cut := start; cut <= ends[len(ends)-1]+1; cut += (ends[len(ends)-1] - start) / 25 {
		t.Run(fmt.Sprintf("at-%d", cut), func(t *testing.T) {
			torn := snapshot(t, dir)
			if err := os.Truncate(filepath.Join(torn, "journal.db-wal"), min(cut, ends[len(ends)-1])); err != nil {
				t.Fatal(err)
			}
			after := open(t, journal.Config{Dir: torn})
			for i, end := range ends {
				id := fmt.Sprintf("s%d", i)
				s, docs, err := after.Submission(t.Context(), id)
				if end > cut {
					if !errors.Is(err, gateway.ErrNotFound) {
						t.Fatalf("%s was not whole, yet: %+v, %v", id, s, err)
					}
					continue
				}
				if err != nil || len(docs) != 1 {
					t.Fatalf("%s was committed: %v", id, err)
				}
				deliveries, err1 := after.Deliveries(t.Context(), id)
				events, err2 := after.Events(t.Context(), id, 0)
				_, err3 := after.Fetch(t.Context(), docs[0].Digest)
				if len(deliveries) != 1 || len(events) != 1 || errors.Join(err1, err2, err3) != nil {
					t.Fatalf("%s is half there: %v %v %v", id, deliveries, events, errors.Join(err1, err2, err3))
				}
			}
			journaltest.Record(t, after, "later")
		})
	}
}

const victimDir = "PASSERELLE_TEST_JOURNAL_VICTIM"

// TestKill kills a process that records as fast as it can, and looks for
// everything that it had said to be recorded.
func TestKill(t *testing.T) {
	if dir := os.Getenv(victimDir); dir != "" {
		j := open(t, journal.Config{Dir: dir})
		for i := 0; ; i++ {
			id := fmt.Sprintf("s%d", i)
			journaltest.Record(t, j, id, fmt.Sprintf("1.%d", i))
			fmt.Println("recorded", id)
		}
	}
	for round := range 3 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var id string
			if n, _ := fmt.Sscanf(lines.Text(), "recorded %s", &id); n == 1 {
				said = append(said, id)
			}
			if len(said) == 5+20*round {
				if _, err := tryOpen(t, journal.Config{Dir: dir}); journaltest.Code(err) != journal.FaultLocked {
					t.Errorf("while it runs, a second process got: %v", err)
				}
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if len(said) < 5+20*round {
			t.Fatalf("the victim died of itself after %d", len(said))
		}
		j := open(t, journal.Config{Dir: dir})
		for _, id := range said {
			_, docs, err := j.Submission(t.Context(), id)
			if err != nil || len(docs) != 1 {
				t.Fatalf("%s was said to be recorded: %v", id, err)
			}
			if _, err := j.Fetch(t.Context(), docs[0].Digest); err != nil {
				t.Fatal(err)
			}
		}
		leased, err := j.Claim(t.Context(), gateway.DestinationDMP, "h", journaltest.T0, journaltest.T0.Add(time.Hour), 1<<20)
		if err != nil || len(leased) < len(said) || len(leased) > len(said)+1 {
			t.Fatalf("%d due after %d were said, %v", len(leased), len(said), err)
		}
	}
}
