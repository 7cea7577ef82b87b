package journal_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
	"github.com/passerelle-sante/passerelle/gateway/psc"
	"github.com/passerelle-sante/passerelle/gateway/psc/psctest"
)

func TestLoginsContract(t *testing.T) {
	psctest.Run(t, func(t *testing.T) psc.Store { return open(t, journal.Config{}).Logins() })
}

func login(kind, key, value string) psc.Record {
	return psc.Record{Kind: kind, Key: key, Value: []byte(value), Expires: journaltest.T0.Add(time.Hour)}
}

// What was answered is there after the machine lost its power: a session is
// still open, one that was logged out stays so, a state is still used.
func TestLoginsAfterCrash(t *testing.T) {
	dir := t.TempDir()
	l := open(t, journal.Config{Dir: dir}).Logins()
	for _, r := range []psc.Record{login("session", "open", "before"), login("session", "left", "x"), login("state", "used", "")} {
		if first, err := l.Add(t.Context(), r); err != nil || !first {
			t.Fatal(first, err)
		}
	}
	if there, err := l.Update(t.Context(), login("session", "open", "after")); err != nil || !there {
		t.Fatal(there, err)
	}
	if there, err := l.Delete(t.Context(), "session", "left"); err != nil || !there {
		t.Fatal(there, err)
	}

	again := open(t, journal.Config{Dir: snapshot(t, dir)}).Logins()
	if r, err := again.Get(t.Context(), "session", "open"); err != nil || string(r.Value) != "after" {
		t.Errorf("%q, %v", r.Value, err)
	}
	if _, err := again.Get(t.Context(), "session", "left"); !errors.Is(err, psc.ErrNoRecord) {
		t.Errorf("logged out, and back: %v", err)
	}
	if first, err := again.Add(t.Context(), login("state", "used", "")); err != nil || first {
		t.Errorf("used twice: %v, %v", first, err)
	}
}

// Who can reach the login page can fill the room of states, not that of
// sessions; and room comes back with time.
func TestLoginsAreBounded(t *testing.T) {
	const most = 3
	l := journal.BoundedLogins(open(t, journal.Config{}), most)
	for i := range most {
		if first, err := l.Add(t.Context(), login("state", fmt.Sprint(i), "")); err != nil || !first {
			t.Fatal(first, err)
		}
	}
	first, err := l.Add(t.Context(), login("state", "more", ""))
	if first || journaltest.Code(err) != psc.FaultFull {
		t.Fatalf("%v, %v", first, err)
	}
	if _, err := l.Get(t.Context(), "state", "more"); !errors.Is(err, psc.ErrNoRecord) {
		t.Errorf("refused and kept: %v", err)
	}
	if first, err := l.Add(t.Context(), login("state", "0", "")); err != nil || first {
		t.Errorf("used before, told full or first: %v, %v", first, err)
	}
	if first, err := l.Add(t.Context(), login("session", "a", "")); err != nil || !first {
		t.Errorf("another kind: %v, %v", first, err)
	}
	if n, err := l.Sweep(t.Context(), journaltest.T0.Add(2*time.Hour)); err != nil || n != most+1 {
		t.Fatalf("swept %d, %v", n, err)
	}
	if first, err := l.Add(t.Context(), login("state", "more", "")); err != nil || !first {
		t.Errorf("after the sweep: %v, %v", first, err)
	}
}

// A sweep takes all that is past, however much there is.
func TestLoginsSweepMany(t *testing.T) {
	l := open(t, journal.Config{}).Logins()
	const many = 250
	for i := range many {
		if _, err := l.Add(t.Context(), login("subject", fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := l.Sweep(t.Context(), journaltest.T0.Add(2*time.Hour)); err != nil || n != many {
		t.Fatalf("swept %d of %d, %v", n, many, err)
	}
}

// Below the reserve a login still works: somebody has to make room.
func TestLoginsBelowTheReserve(t *testing.T) {
	l := open(t, journal.Config{Reserve: 1 << 60}).Logins()
	if first, err := l.Add(t.Context(), login("session", "a", "x")); err != nil || !first {
		t.Fatal(first, err)
	}
}

func TestLoginsOfAClosedJournal(t *testing.T) {
	j := open(t, journal.Config{})
	l := j.Logins()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if first, err := l.Add(t.Context(), login("session", "a", "x")); err == nil || first {
		t.Errorf("Add: %v, %v", first, err)
	}
	if _, err := l.Get(t.Context(), "session", "a"); err == nil || errors.Is(err, psc.ErrNoRecord) {
		t.Errorf("Get says %v: a store that is gone is not a session that ended", err)
	}
}
