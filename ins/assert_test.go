package ins_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
)

var adtActor = ins.Actor{ID: "DPI|CH"}

// drawSaid is what a register may say, right or wrong.
func drawSaid(t *rapid.T) *ins.Identity {
	pair := rapid.SampledFrom([]ins.Pair{nirPair, newPair, {}, {Matricule: "2790351215189", OID: ins.OIDNIR}, {Matricule: "279035121518989"}}).Draw(t, "said pair")
	said := ins.Identity{Matricule: pair.Matricule, OID: pair.OID, Traits: qualified().Traits,
		Status: rapid.SampledFrom([]ins.Status{ins.Provisional, ins.Validated, ins.Retrieved, ins.Qualified, ins.Qualified, "?"}).Draw(t, "said status")}
	if rapid.IntRange(0, 3).Draw(t, "said other traits") == 0 {
		said.Traits.BirthName = "DURAND"
	}
	if rapid.IntRange(0, 3).Draw(t, "said incomplete") == 0 {
		said.Traits.BirthPlace = ""
	}
	if rapid.IntRange(0, 3).Draw(t, "said attribute") == 0 {
		said.Attributes = []string{rapid.SampledFrom([]string{"DOUT", "FICT", "HOMA", "x"}).Draw(t, "said code")}
	}
	return &said
}

// What another register says, mixed with events of our own, never yields a
// record that its evidence does not bear, lets a matricule leave outside QUAL,
// or leaves QUAL in silence; and what it says first is never more than it said.
func TestAssertionsKeepTheInvariants(t *testing.T) {
	rules := ins.Rules{Assertions: true}
	rank := map[ins.Status]int{ins.Provisional: 0, ins.Validated: 1, ins.Retrieved: 1, ins.Qualified: 2}
	reached := 0
	rapid.Check(t, func(t *rapid.T) {
		r := ins.Record{Identity: ins.Identity{Status: ins.Provisional}}
		own := false // evidence of our own
		for i, n := 0, rapid.IntRange(12, 40).Draw(t, "events"); i < n; i++ {
			e := drawEvent(t)
			if i == 0 || rapid.Bool().Draw(t, "assert") {
				e = ins.Event{Kind: ins.Assert, At: noon, Actor: adtActor, Said: drawSaid(t), Reason: "ADT^A31 1", Corrected: rapid.IntRange(0, 5).Draw(t, "completed") == 0}
			}
			next, entry, err := rules.Apply(r, e)
			if err != nil {
				continue
			}
			own = own || e.Kind != ins.Assert
			if err := next.Check(); err != nil {
				t.Fatalf("%s: %v", e.Kind, err)
			}
			id := next.Identity
			if e.Kind == ins.Assert && !own && rank[id.Status] > rank[e.Said.Status] {
				t.Fatalf("said %s, held %s", e.Said.Status, id.Status)
			}
			for _, to := range everywhere {
				if id.Matricule != "" && ins.Gate(id, to) == nil && id.Status != ins.Qualified {
					t.Fatalf("a matricule leaves under %s", id.Status)
				}
			}
			if r.Identity.Status == ins.Qualified && id.Status != ins.Qualified && e.Kind != ins.Merge &&
				!slices.ContainsFunc(entry.Tell, func(x ins.Tell) bool { return x.Event == "A47" }) {
				t.Fatal("downstream is not told")
			}
			if id.Status == ins.Qualified {
				reached++
			}
			r = next
		}
	})
	if reached == 0 {
		t.Error("no sequence reached QUAL: the property says nothing")
	}
}

func TestAssert(t *testing.T) {
	full := qualified()
	full.Matricule, full.OID, full.Status = nirPair.Matricule, nirPair.OID, ins.Qualified
	say := func(change func(*ins.Event)) ins.Event {
		said := full
		e := ins.Event{Kind: ins.Assert, At: noon, Actor: adtActor, Said: &said, Reason: "ADT^A28 1"}
		if change != nil {
			change(&e)
		}
		return e
	}
	start := ins.Record{Identity: ins.Identity{Status: ins.Provisional}}
	for _, c := range []struct {
		name  string
		rules ins.Rules
		e     ins.Event
		want  ins.Status
		code  string
	}{
		{"ok/qual", ins.Rules{Assertions: true}, say(nil), ins.Qualified, ""},
		{"ok/matricule-not-in-form", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said.Matricule = "1" }), ins.Validated, ""},
		{"ok/recup-is-not-said-by-an-adt", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said.Status = ins.Retrieved }), ins.Provisional, ""},
		{"ok/doubtful", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said.Attributes = []string{"DOUT"} }), ins.Provisional, ""},
		{"fail/not-trusted", ins.Rules{}, say(nil), "", ins.FaultTransition},
		{"fail/nothing-said", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said = nil }), "", ins.FaultEvidence},
		{"fail/by-no-message", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Reason = "" }), "", ins.FaultEvidence},
		{"fail/nameless", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said.Traits.BirthName = "" }), "", ins.FaultIncomplete},
		{"fail/attributes-that-exclude-each-other", ins.Rules{Assertions: true}, say(func(e *ins.Event) { e.Said.Attributes = []string{"FICT", "DOUT"} }), "", ins.FaultAttributes},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, err := c.rules.Apply(start, c.e)
			if c.code == "" && (err != nil || r.Identity.Status != c.want) || c.code != "" && code(err) != c.code {
				t.Fatalf("%s, %v", r.Identity.Status, err)
			}
		})
	}
}
