package journal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/journal"
	"github.com/passerelle-sante/passerelle/gateway/journal/journaltest"
	"github.com/passerelle-sante/passerelle/ins"
)

// keyLine is a key that a test recognises by its first letter.
func keyLine(seed string) string {
	return hex.EncodeToString([]byte(strings.Repeat(seed+"é", 16)[:32]))
}

func keys(t testing.TB, lines ...string) journal.Keys {
	t.Helper()
	k, err := journal.ParseKeys([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func register(t testing.TB, j *journal.Journal, lines ...string) *journal.Register {
	t.Helper()
	r, err := j.Register(t.Context(), keys(t, lines...), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegisterContract(t *testing.T) {
	journaltest.TestRegister(t, func(t *testing.T) (gateway.Register, gateway.Journal) {
		j := open(t, journal.Config{})
		return register(t, j, keyLine("a")), j
	})
}

func TestParseKeys(t *testing.T) {
	good := keyLine("a")
	for _, c := range []struct{ name, file string }{
		{"ok/one", good + "\n"}, {"ok/comment-and-two", "# identités\n\n" + good + "\r\n  " + keyLine("b")},
		{"fail/empty", ""}, {"fail/comment-alone", "# clé\n"}, {"fail/short", good[:62]}, {"fail/not-hexadecimal", "clé" + good},
		{"fail/twice", good + "\n" + good}, {"fail/one-byte", strings.Repeat("00", 32)}, {"fail/too-many", manyKeys(256)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := journal.ParseKeys([]byte(c.file))
			if strings.HasPrefix(c.name, "ok/") != (err == nil) || err != nil && journaltest.Code(err) != journal.FaultKeyFile {
				t.Fatal(err)
			}
			if err != nil && strings.Contains(err.Error(), good[:16]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(hex.EncodeToString(append(bytes.Repeat([]byte{7}, 31), byte(i))) + "\n")
	}
	return b.String()
}

// hold puts one QUAL person in.
func hold(t testing.TB, r *journal.Register, id, ipp string) gateway.Person {
	t.Helper()
	x := journaltest.Exchange("m-" + id)
	x.Request, x.Response = []byte("<NomNaissance>PAT-TROIS</NomNaissance>"), []byte("<NumIdentifiant>2790351215189</NumIdentifiant>")
	if err := r.KeepINSi(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	changes := journaltest.Somebody(t, id, "m-"+id, journaltest.PatTrois(ipp))
	if err := r.Commit(t.Context(), changes, nil); err != nil {
		t.Fatal(err)
	}
	return changes[1].Person
}

// Whoever reads the file, the log or a copy of them learns nobody's name.
func TestRegisterIsSealedOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	hold(t, register(t, j, keyLine("a")), "p1", "IPP-8841")
	secrets := []string{
		"279035121518989", "2790351215189", "PAT-TROIS", "DOMINIQUE", "MARIE-LOUISE", "1979-03-28", "51215", "NOM-UTILIS", "IPP-8841",
		"NomNaissance", "899900000001", "QUAL",
	}
	var all []byte
	for _, name := range []string{"journal.db", "journal.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	for _, s := range secrets {
		if bytes.Contains(all, []byte(s)) {
			t.Errorf("%q stands in the file", s)
		}
	}
	if !bytes.Contains(all, []byte("m-p1")) {
		t.Error("not even the id of the exchange: the wrong files were read")
	}
}

// A wrong key is told; it never passes for an empty register.
func TestRegisterUnderAnotherKey(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	hold(t, register(t, j, keyLine("a"), keyLine("b")), "p1", "IPP-1")
	for _, c := range []struct {
		name  string
		lines []string
	}{
		{"fail/another", []string{keyLine("c"), keyLine("b")}}, {"fail/exchanged", []string{keyLine("b"), keyLine("a")}},
		{"fail/the-last-one-alone", []string{keyLine("b")}}, {"fail/the-first-one-alone", []string{keyLine("a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := j.Register(t.Context(), keys(t, c.lines...), rand.Reader); journaltest.Code(err) != journal.FaultKeyWrong {
				t.Fatalf("%v", err)
			}
		})
	}
	t.Run("ok/the-same", func(t *testing.T) {
		if _, err := register(t, j, keyLine("a"), keyLine("b")).Person(t.Context(), journaltest.Site.FINESSEJ, "p1"); err != nil {
			t.Fatal(err)
		}
	})
}

// A key is changed by adding one: who was sealed before is still found, and
// nobody gets their local number a second time.
func TestRegisterKeyIsChanged(t *testing.T) {
	j := open(t, journal.Config{})
	if sealed, err := j.Sealed(t.Context()); sealed || err != nil {
		t.Errorf("sealed before anybody was held: %v, %v", sealed, err)
	}
	before := hold(t, register(t, j, keyLine("a")), "p1", "IPP-1")
	if sealed, err := j.Sealed(t.Context()); !sealed || err != nil {
		t.Errorf("somebody is held: %v, %v", sealed, err)
	}
	r := register(t, j, keyLine("a"), keyLine("b"))
	found := func(q ins.Query) int {
		all, err := r.Search(t.Context(), journaltest.Site.FINESSEJ, q)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := found(ins.Query{INS: ins.Pair{Matricule: "279035121518989"}}); n != 1 {
		t.Fatalf("%d found under the old key", n)
	}
	other := journaltest.Somebody(t, "p2", "m-p1", journaltest.PatTrois("IPP-1"))
	if err := r.Commit(t.Context(), other[:1], nil); err != gateway.ErrChanged {
		t.Errorf("a local number given twice: %v", err)
	}
	hold(t, r, "p3", "IPP-3")
	next := journaltest.Next(t, before, ins.Event{Kind: ins.Mark, Actor: ins.Actor{ID: "x"}, At: journaltest.T0, Attribute: "HOMA"})
	if err := r.Commit(t.Context(), []gateway.PersonChange{next}, nil); err != nil {
		t.Fatal(err)
	}
	if n := found(ins.Query{BirthDate: "1979-03-28"}); n != 2 {
		t.Errorf("%d found under both keys", n)
	}
	if h, err := r.History(t.Context(), journaltest.Site.FINESSEJ, "p1"); err != nil || len(h) != 3 {
		t.Errorf("%d changes, %v", len(h), err)
	}
}

// Rows that somebody exchanges, cuts or empties are told, not read.
func TestRegisterRowsAreBoundToTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, statement, code string }{
		{"ok/untouched", `SELECT 1`, ""},
		{"fail/exchanged", `UPDATE person SET sealed = (SELECT sealed FROM person WHERE id = 'p2') WHERE id = 'p1'`, journal.FaultSealed},
		{"fail/of-the-history", `UPDATE person SET sealed = (SELECT sealed FROM person_change LIMIT 1) WHERE id = 'p1'`, journal.FaultSealed},
		{"fail/cut", `UPDATE person SET sealed = substr(sealed, 1, 20) WHERE id = 'p1'`, journal.FaultSealed},
		{"fail/one-byte", `UPDATE person SET sealed = x'01' WHERE id = 'p1'`, journal.FaultSealed},
		{"fail/emptied", `UPDATE person SET sealed = x'' WHERE id = 'p1'`, journal.FaultKeyWrong},
		{"fail/another-version", `UPDATE person SET sealed = x'09' || substr(sealed, 2) WHERE id = 'p1'`, journal.FaultKeyWrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := register(t, open(t, journal.Config{Dir: dir}), keyLine("a"))
			hold(t, r, "p1", "IPP-1")
			hold(t, r, "p2", "IPP-2")
			if _, err := rawDB(t, dir).ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			_, err := r.Search(t.Context(), journaltest.Site.FINESSEJ, ins.Query{BirthDate: "1979-03-28"})
			if journaltest.Code(err) != c.code || (c.code == "") != (err == nil) {
				t.Fatalf("%v", err)
			}
		})
	}
	t.Run("fail/history-removed", func(t *testing.T) {
		dir := t.TempDir()
		hold(t, register(t, open(t, journal.Config{Dir: dir}), keyLine("a")), "p1", "IPP-1")
		if _, err := rawDB(t, dir).ExecContext(t.Context(), `DELETE FROM person_change`); err == nil {
			t.Error("the history of a person can be removed")
		}
	})
}

// What was answered is there after the machine lost its power: person, history
// and entry together.
func TestRegisterAfterCrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Config{Dir: dir})
	r := register(t, j, keyLine("a"))
	p := hold(t, r, "p1", "IPP-1")
	e := journaltest.Entry(t, j, "lowering")
	next := journaltest.Next(t, p, ins.Event{Kind: ins.VerifyKO, Actor: ins.Actor{ID: "x"}, At: journaltest.T0})
	if err := r.Commit(t.Context(), []gateway.PersonChange{next}, &e); err != nil {
		t.Fatal(err)
	}
	again := open(t, journal.Config{Dir: snapshot(t, dir)})
	got, err := register(t, again, keyLine("a")).Person(t.Context(), journaltest.Site.FINESSEJ, "p1")
	if err != nil || got.Version != 3 || got.Record.Identity.Status != ins.Validated {
		t.Fatalf("version %d, %s, %v", got.Version, got.Record.Identity.Status, err)
	}
	if all, err := again.Deliveries(t.Context(), "lowering"); err != nil || len(all) != 1 {
		t.Errorf("%d deliveries, %v", len(all), err)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(keyLine("a")))
	f.Add([]byte("# x\n\n00\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := journal.ParseKeys(file); err != nil && journaltest.Code(err) != journal.FaultKeyFile {
			t.Fatal(err)
		}
	})
}
