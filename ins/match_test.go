package ins_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
)

func TestFile(t *testing.T) {
	pair := ins.Pair{Matricule: qualified().Matricule, OID: qualified().OID}
	without := qualified().WithoutINS()
	other := with(func(id *ins.Identity) { id.Matricule = "277076322082910"; id.Traits.BirthName = "NESSI" })
	for _, c := range []struct {
		name     string
		received ins.Identity
		held     []ins.Candidate
		code     string
		who      []int
	}{
		{"ok/exact", qualified(), []ins.Candidate{{Identity: other}, {Identity: qualified()}}, "", []int{1}},
		{"ok/exact-beside-merged", qualified(), []ins.Candidate{{Identity: qualified(), Merged: true}, {Identity: qualified()}}, "", []int{1}},
		{"ok/exact-beside-same-traits", qualified(), []ins.Candidate{{Identity: without}, {Identity: qualified()}}, "", []int{1}},
		{"fail/nobody", qualified(), nil, ins.FaultUnknown, nil},
		{"fail/nobody-same-traits", qualified(), []ins.Candidate{{Identity: without}}, ins.FaultUnknown, []int{0}},
		{"fail/trait", with(func(id *ins.Identity) { id.Traits.BirthPlace = "63220" }), []ins.Candidate{{Identity: qualified()}}, ins.FaultMismatch, []int{0}},
		{"fail/oid", with(func(id *ins.Identity) { id.OID = ins.OIDNIR }), []ins.Candidate{{Identity: qualified()}}, ins.FaultMismatch, []int{0}},
		{"fail/trait-missing", with(func(id *ins.Identity) { id.Traits.GivenNames = "" }), []ins.Candidate{{Identity: qualified()}}, ins.FaultMismatch, []int{0}},
		{"fail/held-recup", qualified(), []ins.Candidate{{Identity: with(func(id *ins.Identity) { id.Status = ins.Retrieved })}}, ins.FaultNotQualified, []int{0}},
		{"fail/held-doubtful", qualified(), []ins.Candidate{{Identity: with(func(id *ins.Identity) { id.Attributes = []string{"DOUT"} })}}, ins.FaultNotQualified, []int{0}},
		{"fail/received-prov", with(func(id *ins.Identity) { id.Status = ins.Provisional }), []ins.Candidate{{Identity: qualified()}}, ins.FaultNotQualified, []int{0}},
		{"fail/duplicate", qualified(), []ins.Candidate{{Identity: qualified()}, {Identity: other}, {Identity: with(func(id *ins.Identity) { id.Traits.BirthName = "X" })}}, ins.FaultDuplicate, []int{0, 2}},
		{"fail/former", qualified(), []ins.Candidate{{Identity: other, Former: []ins.Pair{pair}}}, ins.FaultFormer, []int{0}},
		{"fail/no-matricule", without, []ins.Candidate{{Identity: other}, {Identity: qualified()}}, ins.FaultManual, []int{1}},
		{"fail/no-matricule-nobody", without, []ins.Candidate{{Identity: other}}, ins.FaultAbsent, nil},
		{"fail/merged", qualified(), []ins.Candidate{{Identity: qualified(), Merged: true}}, ins.FaultUnknown, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ins.Policy{}.File(c.received, c.held)
			if f.Code != c.code || !slices.Equal(f.Candidates, c.who) {
				t.Fatalf("%+v", f)
			}
			if i, ok := f.Filed(); ok != (c.code == "") || ok && i != c.who[0] {
				t.Fatalf("filed under %d %v", i, ok)
			}
			if (len(f.Differences) > 0) != (c.code == ins.FaultMismatch) {
				t.Fatalf("differences %v", f.Differences)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	c := ins.Candidate{
		Identity: with(func(id *ins.Identity) { id.Traits.BirthName = "D'HÉRAULT-MARTIN" }),
		UsedName: "LE GOFF", UsedGiven: "Zoé", Former: []ins.Pair{{Matricule: "277076322082910", OID: ins.OIDNIR}},
	}
	for _, q := range []struct {
		name string
		q    ins.Query
		want bool
	}{
		{"ok/date", ins.Query{BirthDate: "1979-03-28"}, true},
		{"ok/birth-name", ins.Query{BirthDate: "1979-03-28", Name: "d her"}, true},
		{"ok/birth-name-joined", ins.Query{BirthDate: "1979-03-28", Name: "dheraultm"}, true},
		{"ok/used-name", ins.Query{BirthDate: "1979-03-28", Name: "legoff"}, true},
		{"ok/given", ins.Query{BirthDate: "1979-03-28", Name: "LE G", Given: "dom"}, true},
		{"ok/used-given", ins.Query{BirthDate: "1979-03-28", Given: "ZOE"}, true},
		{"ok/ins", ins.Query{INS: ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest}}, true},
		{"ok/former-ins", ins.Query{INS: ins.Pair{Matricule: "277076322082910", OID: ins.OIDNIR}}, true},
		{"ok/matricule-typed", ins.Query{INS: ins.Pair{Matricule: "277076322082910"}}, true},
		{"fail/oid-alone", ins.Query{INS: ins.Pair{OID: ins.OIDTest}}, false},
		{"fail/other-date", ins.Query{BirthDate: "1979-03-29"}, false},
		{"fail/name-only", ins.Query{Name: "LE GOFF", Given: "ZOE"}, false},
		{"fail/other-name", ins.Query{BirthDate: "1979-03-28", Name: "GOFF"}, false},
		{"fail/other-given", ins.Query{BirthDate: "1979-03-28", Given: "LOUISE"}, false},
		{"fail/ins-other-oid", ins.Query{INS: ins.Pair{Matricule: "279035121518989", OID: ins.OIDNIR}}, false},
		{"fail/nothing", ins.Query{}, false},
	} {
		t.Run(q.name, func(t *testing.T) {
			if got := q.q.Matches(c); got != q.want {
				t.Fatalf("got %v", got)
			}
			merged := c
			merged.Merged = true
			if q.q.Matches(merged) {
				t.Fatal("a merged record is found")
			}
		})
	}
}

func TestCompare(t *testing.T) {
	bare := func(change func(*ins.Traits)) ins.Candidate {
		id := qualified().WithoutINS()
		if change != nil {
			change(&id.Traits)
		}
		return ins.Candidate{Identity: id}
	}
	full := ins.Candidate{Identity: qualified()}
	renumbered := ins.Candidate{Identity: with(func(id *ins.Identity) { id.Matricule = "277076322082910" })}
	for _, c := range []struct {
		name string
		a, b ins.Candidate
		want ins.Likeness
	}{
		{"ok/same-ins", full, ins.Candidate{Identity: with(func(id *ins.Identity) { id.Traits.BirthName = "X" })}, ins.Duplicate},
		{"ok/former-ins", full, ins.Candidate{Identity: renumbered.Identity, Former: []ins.Pair{{Matricule: "279035121518989", OID: ins.OIDTest}}}, ins.Renumbered},
		{"ok/homonym", full, renumbered, ins.Homonym},
		{"ok/likely", full, bare(nil), ins.Likely},
		{"ok/likely-writing", full, bare(func(t *ins.Traits) { t.BirthName, t.FirstGiven = "Pat Trois", "dominique" }), ins.Likely},
		{"ok/list-cut-otherwise", full, bare(func(t *ins.Traits) { t.FirstGiven = "DOMINIQUE MARIE-LOUISE" }), ins.Likely},
		{"ok/twins", full, bare(func(t *ins.Traits) { t.FirstGiven, t.GivenNames = "CLAUDE", "CLAUDE ANNE" }), ins.Twins},
		{"ok/twins-with-ins", full, ins.Candidate{Identity: with(func(id *ins.Identity) {
			id.Matricule, id.Traits.FirstGiven, id.Traits.GivenNames = "279035121519086", "CLAUDE", "CLAUDE"
		})}, ins.Twins},
		{"ok/weak-date-swapped", bare(func(t *ins.Traits) { t.BirthDate = "1979-03-05" }), bare(func(t *ins.Traits) { t.BirthDate = "1979-05-03" }), ins.Weak},
		{"ok/weak-one-letter-less", full, bare(func(t *ins.Traits) { t.BirthName = "PAT-TROI" }), ins.Weak},
		{"ok/weak-one-letter-other", full, bare(func(t *ins.Traits) { t.BirthName = "PAT-TROIX" }), ins.Weak},
		{"ok/weak-neighbours", full, bare(func(t *ins.Traits) { t.BirthName = "PAT-TRIOS" }), ins.Weak},
		{"ok/weak-other-sex", full, bare(func(t *ins.Traits) { t.Sex = "M" }), ins.Weak},
		{"ok/weak-used-name", full, func() ins.Candidate {
			c := bare(func(t *ins.Traits) { t.BirthName = "DURAND" })
			c.UsedName = "PAT TROIS"
			return c
		}(), ins.Weak},
		{"fail/two-letters", full, bare(func(t *ins.Traits) { t.BirthName = "PAT-TREES" }), ins.Distinct},
		{"fail/other-year", full, bare(func(t *ins.Traits) { t.BirthDate = "1980-03-28" }), ins.Distinct},
		{"fail/other-name", full, bare(func(t *ins.Traits) { t.BirthName = "DURAND" }), ins.Distinct},
		{"fail/no-traits", ins.Candidate{}, ins.Candidate{}, ins.Distinct},
		{"fail/merged", full, ins.Candidate{Identity: qualified(), Merged: true}, ins.Distinct},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ins.Compare(c.a, c.b); got != c.want {
				t.Errorf("got %s", got)
			}
			if got := ins.Compare(c.b, c.a); got != c.want {
				t.Errorf("the other way: %s", got)
			}
		})
	}
}

// Whatever is held and received, filing is never a guess.
func TestFilingIsExactOrNothing(t *testing.T) {
	var filed int
	rapid.Check(t, func(t *rapid.T) {
		held := rapid.SliceOfN(rapid.Custom(drawCandidate), 0, 3).Draw(t, "held")
		received := rapid.Custom(drawCandidate).Draw(t, "received").Identity
		if len(held) > 0 && rapid.Bool().Draw(t, "somebody held") {
			received = rapid.SampledFrom(held).Draw(t, "who").Identity
		}
		f := ins.Policy{}.File(received, held)
		i, ok := f.Filed()
		if !ok {
			if f.Code == "" {
				t.Fatal("neither filed nor a reason")
			}
			return
		}
		filed++
		if h := held[i]; h.Merged || !h.Identity.Qualified() || !received.Qualified() || !ins.Equal(h.Identity, received) {
			t.Fatalf("filed under %+v", h)
		}
		for j, h := range held {
			if j != i && !h.Merged && h.Identity.Matricule == received.Matricule {
				t.Fatal("filed although another record holds the matricule")
			}
		}
	})
	if filed == 0 && !testing.Short() { // -short draws too few to be sure of one
		t.Error("the generator never made a document that can be filed")
	}
}

func drawCandidate(t *rapid.T) ins.Candidate {
	c := ins.Candidate{Identity: qualified(), Merged: rapid.IntRange(0, 9).Draw(t, "merged") == 0}
	c.Identity.Status = rapid.SampledFrom([]ins.Status{ins.Qualified, ins.Qualified, ins.Qualified, ins.Validated, ins.Retrieved}).Draw(t, "status")
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		rapid.SampledFrom(changes).Draw(t, "change").change(&c.Identity)
	}
	return c
}
