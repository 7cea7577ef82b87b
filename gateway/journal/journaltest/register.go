package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
)

// OpenRegister opens a new, empty register and the journal that it belongs to.
type OpenRegister func(t *testing.T) (gateway.Register, gateway.Journal)

// officer may control identities.
var officer = ins.Actor{ID: "899900000001", Human: true, Entitled: true}

// Somebody is a person held as QUAL by an answer of INSi kept under messageID.
func Somebody(t testing.TB, id, messageID string, identity ins.Identity) []gateway.PersonChange {
	t.Helper()
	record, entry, err := ins.Rules{}.Create(identity.Traits, false, officer, T0)
	if err != nil {
		t.Fatal(err)
	}
	record.Identity.Local = identity.Local
	p := gateway.Person{ID: id, Establishment: Site, Version: 1, Record: record, UsedName: "NOM-UTILISÉ"}
	all := []gateway.PersonChange{{Person: p, Entry: entry}}
	return append(all, Next(t, p, ins.Event{
		Kind: ins.Retrieve, Actor: officer, At: T0, Proof: &ins.Proof{Device: "CN"},
		Trace: &ins.Trace{
			Channel: ins.ChannelINSi, MessageID: messageID, Result: ins.Found, At: T0, Traits: identity.Traits,
			INS: ins.Pair{Matricule: identity.Matricule, OID: identity.OID},
		},
	}))
}

// Next is a person after one more event.
func Next(t testing.TB, p gateway.Person, e ins.Event) gateway.PersonChange {
	t.Helper()
	record, entry, err := ins.Rules{}.Apply(p.Record, e)
	if err != nil {
		t.Fatal(err)
	}
	p.Record, p.Version = record, p.Version+1
	return gateway.PersonChange{Person: p, Entry: entry}
}

// Exchange is a call of INSi that found one person.
func Exchange(messageID string) gateway.INSiExchange {
	return gateway.INSiExchange{
		MessageID: messageID, Establishment: Site, Operation: "WS_INS2", At: T0, Took: time.Second, Actor: []byte(`{"id":"899900000001"}`),
		Subject: "p1", Attempt: 1, Criteria: []string{"birth_name"}, Result: ins.Found, Request: []byte("<NomNaissance>"), Response: []byte("<TIQ>"),
	}
}

// PatTrois is the well-known test identity.
func PatTrois(ipp string) ins.Identity {
	return ins.Identity{
		Matricule: "279035121518989", OID: ins.OIDTest,
		Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-28", Sex: "F", BirthPlace: "51215"},
		Local:  []ins.LocalID{{Value: ipp, Authority: "1.2.250.1.999.2"}},
	}
}

// TestRegister runs the contract of [gateway.Register].
func TestRegister(t *testing.T, open OpenRegister) {
	t.Run("hold", func(t *testing.T) { testHold(t, open) })
	t.Run("commit", func(t *testing.T) { testCommit(t, open) })
	t.Run("race", func(t *testing.T) { testRace(t, open) })
	t.Run("exchanges", func(t *testing.T) { testExchanges(t, open) })
}

func people(t *testing.T, all []gateway.Person, err error) (ids []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	return ids
}

func testHold(t *testing.T, open OpenRegister) {
	r, _ := open(t)
	ctx, ej := t.Context(), Site.FINESSEJ
	if err := r.KeepINSi(ctx, Exchange("m1")); err != nil {
		t.Fatal(err)
	}
	who := PatTrois("IPP-1")
	changes := Somebody(t, "p1", "m1", who)
	if err := r.Commit(ctx, changes, nil); err != nil {
		t.Fatal(err)
	}
	twin := PatTrois("IPP-2")
	twin.Traits.FirstGiven, twin.Traits.GivenNames = "CAMILLE", "CAMILLE"
	if err := r.Commit(ctx, Somebody(t, "p2", "m1", twin)[:1], nil); err != nil {
		t.Fatal(err)
	}
	got, err := r.Person(ctx, ej, "p1")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "read back", got, changes[1].Person)
	history, err := r.History(ctx, ej, "p1")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "history", history, changes)

	for _, c := range []struct {
		name string
		ej   string
		q    ins.Query
		want []string
	}{
		{"ok/ins", ej, ins.Query{INS: ins.Pair{Matricule: who.Matricule}}, []string{"p1"}},
		{"ok/ins-and-authority", ej, ins.Query{INS: ins.Pair{Matricule: who.Matricule, OID: who.OID}}, []string{"p1"}},
		{"ok/birth-date", ej, ins.Query{BirthDate: "1979-03-28"}, []string{"p1", "p2"}},
		{"ok/first-letters", ej, ins.Query{BirthDate: "1979-03-28", Name: "pat t", Given: "cam"}, []string{"p2"}},
		{"ok/used-name", ej, ins.Query{BirthDate: "1979-03-28", Name: "nom utilise"}, []string{"p1", "p2"}},
		{"fail/other-authority", ej, ins.Query{INS: ins.Pair{Matricule: who.Matricule, OID: ins.OIDNIR}}, nil},
		{"fail/other-day", ej, ins.Query{BirthDate: "1979-03-29"}, nil},
		{"fail/name-alone", ej, ins.Query{Name: "PAT"}, nil},
		{"fail/other-house", "020000001", ins.Query{INS: ins.Pair{Matricule: who.Matricule}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := r.Search(t.Context(), c.ej, c.q)
			want(t, "found", people(t, all, err), c.want)
		})
	}
	known, err := r.Known(ctx, ej, append(twin.Local, ins.LocalID{Value: "IPP-1", Authority: "another"}))
	want(t, "by local number", people(t, known, err), []string{"p2"})
	known, err = r.Known(ctx, ej, nil)
	want(t, "by none", people(t, known, err), []string(nil))
	if _, err := r.Person(ctx, "020000001", "p1"); !errors.Is(err, gateway.ErrNotFound) {
		t.Errorf("a person of another house: %v", err)
	}
	if _, err := r.History(ctx, "020000001", "p1"); !errors.Is(err, gateway.ErrNotFound) {
		t.Errorf("the history of a person of another house: %v", err)
	}

	// Lost, the INS still finds who had it.
	gone := Next(t, got, ins.Event{Kind: ins.VerifyKO, Actor: officer, At: T0})
	if err := r.Commit(ctx, []gateway.PersonChange{gone}, nil); err != nil {
		t.Fatal(err)
	}
	all, err := r.Search(ctx, ej, ins.Query{INS: ins.Pair{Matricule: who.Matricule}})
	want(t, "a former INS", people(t, all, err), []string{"p1"})

	for i := range gateway.MaxFound {
		other := PatTrois(fmt.Sprint("X", i))
		if err := r.Commit(ctx, Somebody(t, fmt.Sprint("x", i), "m1", other)[:1], nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Search(ctx, ej, ins.Query{BirthDate: "1979-03-28"}); Code(err) != gateway.FaultIdentityMany {
		t.Errorf("a list that would be cut: %v", err)
	}
}

func testCommit(t *testing.T, open OpenRegister) {
	r, j := open(t)
	ctx, ej := t.Context(), Site.FINESSEJ
	changes := Somebody(t, "p1", "m1", PatTrois("IPP-1"))
	if err := r.Commit(ctx, changes, nil); Code(err) != gateway.FaultIdentityTrace {
		t.Fatalf("an INS without its trace: %v", err)
	}
	if _, err := r.Person(ctx, ej, "p1"); !errors.Is(err, gateway.ErrNotFound) {
		t.Fatalf("half a commit: %v", err)
	}
	elsewhere := Exchange("m1")
	elsewhere.Establishment = gateway.Establishment{FINESSEJ: "020000001", FINESSGeo: "020000019"}
	none := Exchange("none")
	none.Result = "01"
	for _, x := range []gateway.INSiExchange{elsewhere, none, Exchange("m2")} {
		if err := r.KeepINSi(ctx, x); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"m1", "none"} {
		if err := r.Commit(ctx, Somebody(t, "p1", id, PatTrois("IPP-1")), nil); Code(err) != gateway.FaultIdentityTrace {
			t.Errorf("a trace of another house or of nobody (%s): %v", id, err)
		}
	}
	changes = Somebody(t, "p1", "m2", PatTrois("IPP-1"))
	e := Entry(t, j, "with")
	if err := r.Commit(ctx, changes, &e); err != nil {
		t.Fatal(err)
	}
	want(t, "the entry is there too", submission(t, j, "with").ID, "with")

	forged := changes[1]
	forged.Person.Version, forged.Person.Record.Proof = 3, nil // QUAL without its proof
	for _, c := range []struct {
		name   string
		change gateway.PersonChange
	}{
		{"fail/version-again", changes[1]},
		{"fail/a-local-number-of-another", Somebody(t, "p2", "m2", PatTrois("IPP-1"))[0]},
		{"fail/the-same-id", Somebody(t, "p1", "m2", PatTrois("IPP-9"))[0]},
		{"fail/a-status-without-its-evidence", forged},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Entry(t, j, c.name)
			err := r.Commit(t.Context(), []gateway.PersonChange{c.change}, &e)
			if !errors.Is(err, gateway.ErrChanged) && Code(err) == "" {
				t.Fatalf("%v", err)
			}
			if _, _, err := j.Submission(t.Context(), c.name); !errors.Is(err, gateway.ErrNotFound) {
				t.Errorf("refused, and its entry is there: %v", err)
			}
		})
	}
	got, err := r.Person(ctx, ej, "p1")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "after refusals", got, changes[1].Person)
	dup := Entry(t, j, "again")
	dup.Submission.Key = e.Submission.Key
	next := Next(t, got, ins.Event{Kind: ins.WithdrawProof, Actor: officer, At: T0})
	if err := r.Commit(ctx, []gateway.PersonChange{next}, &dup); !errors.Is(err, gateway.ErrDuplicate) {
		t.Fatalf("a duplicate entry: %v", err)
	}
	got, _ = r.Person(ctx, ej, "p1")
	want(t, "after a duplicate entry", got.Version, int64(2))
}

// Two events on one identity at once: one is the next version, the other must
// read again.
func testRace(t *testing.T, open OpenRegister) {
	r, _ := open(t)
	ctx := t.Context()
	if err := r.KeepINSi(ctx, Exchange("m1")); err != nil {
		t.Fatal(err)
	}
	changes := Somebody(t, "p1", "m1", PatTrois("IPP-1"))
	if err := r.Commit(ctx, changes, nil); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			next := Next(t, changes[1].Person, ins.Event{Kind: ins.Mark, Actor: officer, At: T0, Attribute: []string{"HOMA", "DPOT"}[i%2]})
			errs[i] = r.Commit(ctx, []gateway.PersonChange{next}, nil)
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, gateway.ErrChanged) {
			t.Errorf("%v", err)
		}
	}
	want(t, "how many were first", done, 1)
	history, err := r.History(ctx, Site.FINESSEJ, "p1")
	if err != nil || len(history) != 3 {
		t.Fatalf("%d changes, %v", len(history), err)
	}
}

func testExchanges(t *testing.T, open OpenRegister) {
	r, _ := open(t)
	ctx := t.Context()
	x := Exchange("m1")
	if err := r.KeepINSi(ctx, x); err != nil {
		t.Fatal(err)
	}
	if err := r.KeepINSi(ctx, x); !errors.Is(err, gateway.ErrDuplicate) {
		t.Errorf("kept twice: %v", err)
	}
	if err := r.KeepINSi(ctx, gateway.INSiExchange{MessageID: "m"}); Code(err) == "" {
		t.Errorf("of nobody: %v", err)
	}
	got, err := r.INSi(ctx, Site.FINESSEJ, "m1")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "read back", got, x)
	if _, err := r.INSi(ctx, "020000001", "m1"); !errors.Is(err, gateway.ErrNotFound) {
		t.Errorf("an exchange of another house: %v", err)
	}
	failed := Exchange("m2")
	failed.Result, failed.Fault = "", "INSI-DOWN"
	next := Exchange("m3")
	next.At = T0.AddDate(0, 1, 0)
	for _, x := range []gateway.INSiExchange{failed, next} {
		if err := r.KeepINSi(ctx, x); err != nil {
			t.Fatal(err)
		}
	}
	counts, err := r.INSiCounts(ctx, []string{Site.FINESSGeo}, T0, T0.AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "counted", counts, []gateway.INSiCount{
		{FINESSGeo: Site.FINESSGeo, Operation: "WS_INS2", Result: "00", Calls: 1},
		{FINESSGeo: Site.FINESSGeo, Operation: "WS_INS2", Result: "fault", Calls: 1},
	})
	counts, err = r.INSiCounts(ctx, nil, T0, T0.AddDate(0, 2, 0))
	want(t, "no site sees nothing", len(counts), 0)
	want(t, "no site", err, error(nil))
}
