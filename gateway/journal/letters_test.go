package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp/sqldb"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
)

// A journal goes on that was written before there were letters; before the
// identities and the decisions of issue 4 (commit e3f2795); or by the release before.
func TestUpgrade(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps int
	}{{"ok/first-schema", 1}, {"ok/before-issue-4", 5}, {"ok/release-before", 8}} {
		t.Run(c.name, func(t *testing.T) { testUpgrade(t, c.steps) })
	}
}

func testUpgrade(t *testing.T, from int) {
	dir := t.TempDir()
	steps, err := sqldb.Migrations(os.DirFS("."), "schema")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "journal.db"), Migrations: steps[:from]})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO submission VALUES (1, 'old', 5, 'hl7', 'ej', 'geo', '', '', '', '', '', '{}', 'k', '', 0,
			'', 'new', 'QUAL', 0, '', 'pending', '', '', NULL, NULL)`)
		if err == nil {
			_, err = tx.Exec(t.Context(), `INSERT INTO delivery (id, submission, finess_ej, finess_geo, est_name, source_oid, destination, state,
				created, due, attempts, sent, remote, notice, code) VALUES
				('old-dmp', 1, 'ej', 'geo', '', '', 'dmp', 'due', 5, 5, 3, 1, 'r', '', 'X'),
				('old-zam', 1, 'ej', 'geo', '', '', 'zam', 'due', 5, 5, 0, 0, '', '', ''),
				('old-failed', 1, 'ej', 'geo', '', '', 'zam', 'failed', 5, 5, 9, 1, '', '', 'Y')`)
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}

	j := open(t, journal.Config{Dir: dir})
	leased, err := j.Claim(t.Context(), gateway.DestinationDMP, "h", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	old := gateway.Delivery{
		ID: "old-dmp", Submission: "old", Establishment: gateway.Establishment{FINESSEJ: "ej", FINESSGeo: "geo"}, Destination: "dmp",
		State: gateway.Due, Created: time.Unix(0, 5).UTC(), Due: time.Unix(0, 5).UTC(), Attempts: 4, Sent: true, Remote: "r", Code: "X",
	}
	if err != nil || len(leased) != 1 || !reflect.DeepEqual(leased[0], old) {
		t.Fatalf("got %+v, %v", leased, err)
	}
	if err := j.Settle(t.Context(), gateway.Settlement{Delivery: "old-dmp", Holder: "h", State: gateway.Done}); err != nil {
		t.Fatal(err)
	}
	if s, _, err := j.Submission(t.Context(), "old"); err != nil || s.State != gateway.Done {
		t.Fatalf("%+v, %v", s, err)
	}
	// What is new applies to what is old.
	err = j.Decide(t.Context(), gateway.Ruling{
		Submission: "old", Delivery: "old-failed", Was: gateway.Failed, Now: journaltest.T0, State: gateway.Due,
		Events: []gateway.Event{{Submission: "old", Time: journaltest.T0, Step: gateway.EventReplayed, By: "8", Why: "because"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	leased, err = j.Claim(t.Context(), gateway.DestinationZAM, "h", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	if err != nil || len(leased) != 2 || leased[1].ID != "old-failed" || leased[1].Round != 1 || leased[1].Attempts != 1 {
		t.Fatalf("got %+v, %v", leased, err)
	}
	d := journaltest.RecordLetter(t, j, "new", gateway.DestinationPro, "a@example.test")
	journaltest.Mark(t, j, d, "h")
}

func TestLettersAfterCrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	const to = gateway.DestinationPro
	waiting := journaltest.RecordLetter(t, j, "waiting", to, "a@example.test")
	digest := journaltest.Mark(t, j, waiting, "dead")
	err := j.Settle(t.Context(), gateway.Settlement{Delivery: waiting.ID, Holder: "dead", State: gateway.Waiting, Due: journaltest.T0.Add(time.Hour), Sent: true})
	if err != nil {
		t.Fatal(err)
	}
	told := journaltest.RecordLetter(t, j, "told", to, "a@example.test")
	journaltest.Mark(t, j, told, "dead")
	report := gateway.Report{Key: "dsn/told", Delivery: told.ID, State: gateway.Done, Next: []gateway.Delivery{journaltest.Notice("told")}}
	if err := j.Apply(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	unknown := journaltest.RecordLetter(t, j, "unknown", to, "a@example.test")
	journaltest.Mark(t, j, unknown, "dead")

	after := open(t, journal.Config{Dir: snapshot(t, dir)})
	if err := after.Apply(t.Context(), report); !errors.Is(err, gateway.ErrDuplicate) {
		t.Fatalf("the report was forgotten: %v", err)
	}
	zam, err := after.Deliveries(t.Context(), "told")
	if err != nil || len(zam) != 2 || zam[0].State != gateway.Done || zam[1].ID != "zam-told" {
		t.Fatalf("%+v, %v", zam, err)
	}
	d, err := after.Letter(t.Context(), "", waiting.ID+"@example.test")
	if err != nil || d.State != gateway.Waiting || d.Letter != digest {
		t.Fatalf("%+v, %v", d, err)
	}
	leased, err := after.Claim(t.Context(), to, "alive", journaltest.T0, journaltest.T0.Add(time.Hour), 9)
	if err != nil || len(leased) != 1 {
		t.Fatalf("%+v, %v", leased, err)
	}
	if d := leased[0]; d.ID != unknown.ID || !d.Sent || d.Attempts != 2 || d.MessageID != unknown.ID+"@example.test" {
		t.Fatalf("%+v", d)
	}
	if data, err := after.Fetch(t.Context(), leased[0].Letter); err != nil || string(data) != "letter "+unknown.ID {
		t.Fatalf("a resend would send %q, %v", data, err)
	}
	if err := after.Apply(t.Context(), gateway.Report{Key: "dsn/waiting", Delivery: waiting.ID, State: gateway.Done}); err != nil {
		t.Fatal(err)
	}
}

func TestSendAttemptsByMail(t *testing.T) {
	j := open(t, journal.Config{})
	t0 := journaltest.T0
	letter := []gateway.DocumentMark{{UniqueID: "1.1", TypeCode: "11490-0"}, {UniqueID: "1.2", TypeCode: "11502-2", Flags: "INVISIBLE_PATIENT"}}
	lines := func(d gateway.Delivery, step, outcome string) (all []gateway.Event) {
		for _, m := range letter {
			all = append(all, gateway.Event{
				Submission: d.Submission, Time: t0, Step: step, Outcome: outcome, Destination: d.Destination, Recipient: d.Recipient, Attempt: 1, Document: m,
			})
		}
		return all
	}
	send := func(submission, to, recipient, outcome string, reports ...string) gateway.Delivery {
		t.Helper()
		d := journaltest.RecordLetter(t, j, submission, to, recipient)
		journaltest.Mark(t, j, d, "h")
		s := gateway.Settlement{Delivery: d.ID, Holder: "h", State: gateway.Waiting, Due: t0.Add(time.Hour), Events: lines(d, "mail", outcome)}
		switch outcome {
		case "failed":
			s.State = gateway.Failed
		case "retry":
			s.State = gateway.Due
		}
		if err := j.Settle(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for i, r := range reports {
			err := j.Apply(t.Context(), gateway.Report{Key: d.ID + r + string(rune('0'+i)), Delivery: d.ID, Events: lines(d, "dsn", r)})
			if err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	send("delivered", gateway.DestinationPro, "a@example.test", "ok", "ok")
	send("bounced", gateway.DestinationPro, "b@example.test", "ok", "ok", "failed")
	send("no-report-yet", gateway.DestinationPro, "c@example.test", "ok")
	send("no-report-ever", gateway.DestinationPro, "d@example.test", "warning")
	send("refused", gateway.DestinationPat, "279@patient.example.test", "failed")
	read := send("read", gateway.DestinationPat, "279@patient.example.test", "ok", "ok")
	err := j.Apply(t.Context(), gateway.Report{Key: "mdn", Delivery: read.ID, Events: lines(read, "mdn", "failed")})
	if err != nil {
		t.Fatal(err)
	}
	// What came in, and the answers to it, are not attempts to send.
	for _, to := range []string{gateway.DestinationMDN, gateway.DestinationMDM} {
		d := journaltest.RecordLetter(t, j, "in-"+to, to, "")
		if _, err := j.Claim(t.Context(), to, "h", t0, t0.Add(time.Hour), 1); err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(t.Context(), gateway.Settlement{Delivery: d.ID, Holder: "h", State: gateway.Done, Events: lines(d, to, "ok")}); err != nil {
			t.Fatal(err)
		}
	}
	site := journaltest.Site.FINESSGeo
	var want []journal.SendAttempts
	for _, c := range []struct {
		channel, outcome string
		count            int64
	}{{"MSS-citizen", "failed", 1}, {"MSS-citizen", "ok", 1}, {"MSS-pro", "failed", 1}, {"MSS-pro", "ok", 2}, {"MSS-pro", "warning", 1}} {
		for i, m := range letter {
			want = append(want, journal.SendAttempts{
				FINESSGeo: site, Channel: c.channel, TypeCode: m.TypeCode, Outcome: c.outcome, Count: c.count, Masked: int64(i) * c.count,
			})
		}
	}
	got, err := j.SendAttempts(t.Context(), journal.Period{FINESSGeo: []string{site}, From: t0, To: t0.Add(time.Second)})
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g == w
		}
		if !found {
			t.Errorf("no line %+v in %+v", w, got)
		}
	}
}
