package ins_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
)

var (
	noon    = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	officer = ins.Actor{ID: "899700000001", Human: true, Entitled: true}
	clerk   = ins.Actor{ID: "899700000002", Human: true}
	batch   = ins.Actor{ID: "nightly"}
	nirPair = ins.Pair{Matricule: "279035121518989", OID: ins.OIDNIR}
	niaPair = ins.Pair{Matricule: "109076322088835", OID: ins.OIDNIA}
	newPair = ins.Pair{Matricule: "277076322082910", OID: ins.OIDNIR}
)

func answer(pair ins.Pair, change ...func(*ins.Trace)) *ins.Trace {
	t := &ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:1", Result: ins.Found, INS: pair, Traits: qualified().Traits, At: noon}
	t.Traits.FirstGiven = "" // INSi gives the list only
	for _, c := range change {
		c(t)
	}
	return t
}

func passport() *ins.Proof { return &ins.Proof{Device: "PA", Expiry: "2030-01-01"} }

// Events, by the people who may make them.
func control() ins.Event { return ins.Event{Kind: ins.Control, Actor: officer, Proof: passport()} }
func retrieve(t *ins.Trace) ins.Event {
	return ins.Event{Kind: ins.Retrieve, Actor: clerk, Trace: t}
}
func both(t *ins.Trace) ins.Event {
	return ins.Event{Kind: ins.Retrieve, Actor: officer, Trace: t, Proof: passport()}
}
func kind(k ins.EventKind) ins.Event { return ins.Event{Kind: k, Actor: clerk} }
func mark(a string) ins.Event        { return ins.Event{Kind: ins.Mark, Actor: clerk, Attribute: a} }
func unmark(a string) ins.Event      { return ins.Event{Kind: ins.Unmark, Actor: clerk, Attribute: a} }
func edit(change func(*ins.Traits), p *ins.Proof) ins.Event {
	t := qualified().Traits
	change(&t)
	return ins.Event{Kind: ins.Edit, Actor: officer, Traits: &t, Proof: p}
}
func by(a ins.Actor, e ins.Event) ins.Event { e.Actor = a; return e }

func newRecord(t *testing.T, change func(*ins.Traits)) ins.Record {
	t.Helper()
	traits := qualified().Traits
	if change != nil {
		change(&traits)
	}
	r, entry, err := ins.Rules{}.Create(traits, false, clerk, noon)
	if err != nil || r.Identity.Status != ins.Provisional || entry.To != ins.Provisional || len(entry.Tell) != 1 || entry.Tell[0].Event != "A28" {
		t.Fatalf("create: %v %+v", err, entry)
	}
	return r
}

func TestAutomaton(t *testing.T) {
	rename := func(t *ins.Traits) { t.BirthName = "DURAND" }
	refirst := func(t *ins.Traits) { t.FirstGiven = "DOMINIQUE MARIE" }
	lunar := func(t *ins.Trace) { t.Traits.BirthDate = "1979-00-00" }
	for _, c := range []struct {
		name   string
		before []ins.Event // all accepted
		event  ins.Event
		want   ins.Status // after the event, or unchanged when refused
		code   string
		tell   string // events told downstream; A47 with the INS withdrawn
	}{
		{"ok/prov-vali", nil, control(), ins.Validated, "", "A31"},
		{"ok/prov-recup", nil, retrieve(answer(nirPair)), ins.Retrieved, "", ""},
		{"ok/prov-qual-in-one-act", nil, both(answer(nirPair)), ins.Qualified, "", "A31"},
		{"ok/prov-qual-by-app", nil, ins.Event{Kind: ins.Retrieve, Actor: officer, Trace: &ins.Trace{Channel: ins.ChannelApp, INS: nirPair, Traits: qualified().Traits}, Proof: &ins.Proof{Device: "AV"}}, ins.Qualified, "", "A31"},
		{"ok/vali-qual", []ins.Event{control()}, retrieve(answer(nirPair)), ins.Qualified, "", "A31"},
		{"ok/recup-qual", []ins.Event{retrieve(answer(nirPair))}, control(), ins.Qualified, "", "A31"},
		{"ok/qual-recup", []ins.Event{both(answer(nirPair))}, kind(ins.WithdrawProof), ins.Retrieved, "", "A47 279035121518989"},
		{"ok/qual-vali", []ins.Event{both(answer(nirPair))}, kind(ins.RemoveINS), ins.Validated, "", "A47 279035121518989"},
		{"ok/qual-vali-by-verification", []ins.Event{both(answer(nirPair))}, by(batch, kind(ins.VerifyKO)), ins.Validated, "", "A47 279035121518989"},
		{"ok/recup-prov", []ins.Event{retrieve(answer(nirPair))}, kind(ins.RemoveINS), ins.Provisional, "", ""},
		{"ok/vali-prov", []ins.Event{control()}, kind(ins.WithdrawProof), ins.Provisional, "", "A31"},
		{"ok/doubtful", []ins.Event{both(answer(nirPair))}, mark("DOUT"), ins.Provisional, "", "A47 279035121518989 A31"},
		{"ok/fictive", []ins.Event{control()}, mark("FICT"), ins.Provisional, "", "A31"},
		{"ok/homonym-keeps-qual", []ins.Event{both(answer(nirPair))}, mark("HOMA"), ins.Qualified, "", "A31"},
		{"ok/doubt-lifted-stays-prov", []ins.Event{both(answer(nirPair)), mark("DOUT")}, unmark("DOUT"), ins.Provisional, "", "A31"},
		{"ok/doubt-lifted-then-qual", []ins.Event{mark("DOUT"), unmark("DOUT")}, both(answer(nirPair)), ins.Qualified, "", "A31"},
		{"ok/edit-prov", nil, edit(rename, nil), ins.Provisional, "", "A31"},
		{"ok/edit-qual-to-prov", []ins.Event{both(answer(nirPair))}, edit(rename, nil), ins.Provisional, "", "A47 279035121518989 A31"},
		{"ok/edit-qual-to-vali", []ins.Event{both(answer(nirPair))}, edit(rename, passport()), ins.Validated, "", "A47 279035121518989 A31"},
		{"ok/edit-vali-to-prov", []ins.Event{control()}, edit(rename, nil), ins.Provisional, "", "A31"},
		{"ok/edit-first-given-keeps-qual", []ins.Event{both(answer(nirPair))}, edit(refirst, nil), ins.Qualified, "", "A31"},
		{"ok/edit-nothing-keeps-qual", []ins.Event{both(answer(nirPair))}, edit(func(*ins.Traits) {}, nil), ins.Qualified, "", ""},
		{"ok/verified-again-by-batch", []ins.Event{both(answer(nirPair))}, by(batch, retrieve(answer(nirPair))), ins.Qualified, "", ""},
		{"ok/nia-becomes-nir-by-batch", []ins.Event{both(answer(niaPair))}, by(batch, retrieve(answer(nirPair))), ins.Qualified, "", "A31"},
		{"ok/other-ins", []ins.Event{both(answer(nirPair))}, retrieve(answer(newPair)), ins.Qualified, "", "A47 279035121518989"},
		{"ok/traits-rectified", []ins.Event{both(answer(nirPair))}, retrieve(answer(nirPair, func(t *ins.Trace) { t.Traits.Sex = "M" })), ins.Retrieved, "", "A47 279035121518989 A31"},
		{"ok/traits-rectified-with-proof", []ins.Event{both(answer(nirPair))}, both(answer(nirPair, func(t *ins.Trace) { t.Traits.Sex = "M" })), ins.Qualified, "", "A31"},
		{"ok/key-wrong-from-insi-is-kept", nil, both(answer(ins.Pair{Matricule: "181036322045660", OID: ins.OIDNIR})), ins.Qualified, "", "A31"},
		{"ok/merge", []ins.Event{both(answer(nirPair))}, kind(ins.Merge), ins.Validated, "", "A40"},

		{"fail/batch-controls", nil, by(batch, control()), ins.Provisional, ins.FaultActor, ""},
		{"fail/clerk-controls", nil, by(clerk, control()), ins.Provisional, ins.FaultActor, ""},
		{"fail/nobody-controls", nil, by(ins.Actor{Human: true, Entitled: true}, control()), ins.Provisional, ins.FaultActor, ""},
		{"fail/batch-retrieves", nil, by(batch, retrieve(answer(nirPair))), ins.Provisional, ins.FaultActor, ""},
		{"fail/batch-qualifies-vali", []ins.Event{control()}, by(batch, retrieve(answer(nirPair))), ins.Validated, ins.FaultActor, ""},
		{"fail/batch-takes-other-ins", []ins.Event{both(answer(nirPair))}, by(batch, retrieve(answer(newPair))), ins.Qualified, ins.FaultActor, ""},
		{"fail/batch-takes-other-traits", []ins.Event{both(answer(nirPair))}, by(batch, retrieve(answer(nirPair, func(t *ins.Trace) { t.Traits.Sex = "M" }))), ins.Qualified, ins.FaultActor, ""},
		{"fail/no-device", nil, ins.Event{Kind: ins.Control, Actor: officer}, ins.Provisional, ins.FaultEvidence, ""},
		{"fail/no-device-chosen", nil, ins.Event{Kind: ins.Control, Actor: officer, Proof: &ins.Proof{}}, ins.Provisional, ins.FaultEvidence, ""},
		{"fail/driving-licence", nil, ins.Event{Kind: ins.Control, Actor: officer, Proof: &ins.Proof{Device: "PC"}}, ins.Provisional, ins.FaultEvidence, ""},
		{"fail/no-trace", nil, retrieve(nil), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/insi-found-none", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Result = "01" })), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/insi-found-several", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Result = "02" })), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/typed-by-hand", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.MessageID = "" })), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/datamatrix", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Channel = "CB" })), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/app-without-proof", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Channel = ins.ChannelApp })), ins.Provisional, ins.FaultEvidence, ""},
		{"fail/matricule-form", nil, retrieve(answer(ins.Pair{Matricule: "2790351215189", OID: ins.OIDNIR})), ins.Provisional, ins.FaultForm, ""},
		{"fail/no-oid", nil, retrieve(answer(ins.Pair{Matricule: "279035121518989"})), ins.Provisional, ins.FaultIncomplete, ""},
		{"fail/ins-c", nil, retrieve(answer(ins.Pair{Matricule: "279035121518989", OID: "1.2.250.1.213.1.4.2"})), ins.Provisional, ins.FaultRetired, ""},
		{"fail/lunar-from-insi", nil, retrieve(answer(nirPair, lunar)), ins.Provisional, ins.FaultCorrected, ""},
		{"fail/lunar-from-insi-vali", []ins.Event{control()}, retrieve(answer(nirPair, lunar)), ins.Validated, ins.FaultCorrected, ""},
		{"fail/trait-missing", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Traits.BirthPlace = "" })), ins.Provisional, ins.FaultIncomplete, ""},
		{"fail/sex-from-insi", nil, retrieve(answer(nirPair, func(t *ins.Trace) { t.Traits.Sex = "U" })), ins.Provisional, ins.FaultIncomplete, ""},
		{"fail/insi-contradicts-vali", []ins.Event{control()}, retrieve(answer(nirPair, func(t *ins.Trace) { t.Traits.BirthName = "DURAND" })), ins.Validated, ins.FaultMismatch, ""},
		{"fail/nir-back-to-nia", []ins.Event{both(answer(nirPair))}, retrieve(answer(niaPair)), ins.Qualified, ins.FaultTransition, ""},
		{"fail/insi-when-doubtful", []ins.Event{mark("DOUT")}, both(answer(nirPair)), ins.Provisional, ins.FaultCallForbidden, ""},
		{"fail/insi-when-fictive", []ins.Event{mark("FICT")}, retrieve(answer(nirPair)), ins.Provisional, ins.FaultCallForbidden, ""},
		{"fail/control-when-doubtful", []ins.Event{mark("DOUT")}, control(), ins.Provisional, ins.FaultTransition, ""},
		{"fail/edit-with-proof-when-doubtful", []ins.Event{mark("DOUT")}, edit(rename, passport()), ins.Provisional, ins.FaultTransition, ""},
		{"fail/withdraw-nothing", nil, kind(ins.WithdrawProof), ins.Provisional, ins.FaultTransition, ""},
		{"fail/remove-nothing", []ins.Event{control()}, kind(ins.RemoveINS), ins.Validated, ins.FaultTransition, ""},
		{"fail/fictive-and-doubtful", []ins.Event{mark("FICT")}, mark("DOUT"), ins.Provisional, ins.FaultAttributes, ""},
		{"fail/fictive-and-homonym", []ins.Event{mark("HOMA")}, mark("FICT"), ins.Provisional, ins.FaultAttributes, ""},
		{"fail/mark-twice", []ins.Event{mark("HOMA")}, mark("HOMA"), ins.Provisional, ins.FaultAttributes, ""},
		{"fail/mark-unknown", nil, mark("QUAL"), ins.Provisional, ins.FaultAttributes, ""},
		{"fail/mark-merged", nil, mark("DESA"), ins.Provisional, ins.FaultAttributes, ""},
		{"fail/unmark-absent", nil, unmark("HOMA"), ins.Provisional, ins.FaultTransition, ""},
		{"fail/edit-nothing-given", nil, ins.Event{Kind: ins.Edit, Actor: officer}, ins.Provisional, ins.FaultEvidence, ""},
		{"fail/edit-lunar", nil, edit(func(t *ins.Traits) { t.BirthDate = "1950-00-00" }, nil), ins.Provisional, ins.FaultBirthDate, ""},
		{"fail/edit-empty-name", nil, edit(func(t *ins.Traits) { t.BirthName = " - " }, nil), ins.Provisional, ins.FaultIncomplete, ""},
		{"fail/edit-first-given-incoherent", []ins.Event{both(answer(nirPair))}, edit(func(t *ins.Traits) { t.FirstGiven = "MARIE" }, nil), ins.Qualified, ins.FaultFirstGiven, ""},
		{"fail/after-merge", []ins.Event{kind(ins.Merge)}, control(), ins.Provisional, ins.FaultTransition, ""},
		{"fail/unknown-event", nil, kind("qualify"), ins.Provisional, ins.FaultTransition, ""},
		{"fail/create-twice", nil, kind(ins.Create), ins.Provisional, ins.FaultTransition, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecord(t, nil)
			apply := func(e ins.Event) (ins.Record, ins.Entry, error) {
				e.At = noon
				return ins.Rules{}.Apply(r, e)
			}
			for i, e := range c.before {
				next, _, err := apply(e)
				if err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
				r = next
			}
			next, entry, err := apply(c.event)
			if got := code(err); got != c.code {
				t.Fatalf("code %q, want %q", got, c.code)
			}
			if next.Identity.Status != c.want {
				t.Fatalf("status %s, want %s", next.Identity.Status, c.want)
			}
			if err != nil {
				if !reflect.DeepEqual(next, r) || !reflect.DeepEqual(entry, ins.Entry{}) {
					t.Fatal("a refused event left a trace")
				}
				return
			}
			var told []string
			for _, x := range entry.Tell {
				told = append(told, x.Event)
				if x.Old != nil {
					told = append(told, x.Old.Matricule)
				}
			}
			if got := strings.Join(told, " "); got != c.tell {
				t.Fatalf("told %q, want %q", got, c.tell)
			}
			if entry.From != r.Identity.Status || entry.To != c.want {
				t.Fatalf("entry %s to %s", entry.From, entry.To)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*ins.Traits)
		by     ins.Actor
		at     time.Time
		want   string
	}{
		{"ok/machine-may-create", func(*ins.Traits) {}, batch, noon, ""},
		{"ok/sex-unknown", func(t *ins.Traits) { t.Sex = "U" }, clerk, noon, ""},
		{"fail/nobody", func(*ins.Traits) {}, ins.Actor{}, noon, ins.FaultActor},
		{"fail/never", func(*ins.Traits) {}, clerk, time.Time{}, ins.FaultEvidence},
		{"fail/no-name", func(t *ins.Traits) { t.BirthName = "" }, clerk, noon, ins.FaultIncomplete},
		{"fail/blank-first-given", func(t *ins.Traits) { t.FirstGiven = " " }, clerk, noon, ins.FaultIncomplete},
		{"fail/no-date", func(t *ins.Traits) { t.BirthDate = "" }, clerk, noon, ins.FaultIncomplete},
		{"fail/lunar", func(t *ins.Traits) { t.BirthDate = "1950-00-00" }, clerk, noon, ins.FaultBirthDate},
		{"fail/sex", func(t *ins.Traits) { t.Sex = "O" }, clerk, noon, ins.FaultSex},
		{"fail/place", func(t *ins.Traits) { t.BirthPlace = "PARIS" }, clerk, noon, ins.FaultBirthPlace},
	} {
		t.Run(c.name, func(t *testing.T) {
			traits := qualified().Traits
			c.change(&traits)
			if _, _, err := (ins.Rules{}).Create(traits, false, c.by, c.at); code(err) != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestRetrieveTakesTheTraitsOfINSi(t *testing.T) {
	r := newRecord(t, func(t *ins.Traits) { t.BirthName, t.GivenNames, t.BirthPlace = "Pat Trois", "", "99999" })
	for _, e := range []ins.Event{control(), retrieve(answer(nirPair))} {
		e.At = noon
		next, _, err := ins.Rules{}.Apply(r, e)
		if err != nil {
			t.Fatal(err)
		}
		r = next
	}
	if r.Identity.Traits != qualified().Traits {
		t.Errorf("traits %+v", r.Identity.Traits)
	}
	if err := ins.Gate(r.Identity, ins.ToDMP); err != nil {
		t.Errorf("the gate refuses: %v", err)
	}
}

// Found by review, issue 6: the history that INSi gives was shown and not kept,
// and a document under an INS of it was of nobody.
func TestRetrieveKeepsTheHistoryOfINSi(t *testing.T) {
	history := []ins.Pair{niaPair, nirPair, niaPair, {Matricule: "1", OID: "1.2.250.1.213.1.4.2"}}
	e := both(answer(nirPair, func(t *ins.Trace) { t.Former = history }))
	e.At = noon
	r, _, err := ins.Rules{}.Apply(newRecord(t, nil), e)
	if err != nil || !slices.Equal(r.Former, []ins.Pair{niaPair}) {
		t.Fatalf("%v, former %v", err, r.Former)
	}
	received := qualified()
	received.Matricule, received.OID = niaPair.Matricule, niaPair.OID
	if f := (ins.Policy{}).File(received, []ins.Candidate{{Identity: r.Identity, Former: r.Former}}); f.Code != ins.FaultFormer {
		t.Errorf("a document under the former INS: %+v", f)
	}
	e = both(answer(nirPair, func(t *ins.Trace) {
		for i := range 100 {
			t.Former = append(t.Former, ins.Pair{Matricule: strconv.Itoa(i), OID: ins.OIDNIR})
		}
	}))
	e.At = noon
	if r, _, err = (ins.Rules{}).Apply(r, e); err != nil || len(r.Former) != 20 {
		t.Errorf("%v, %d former INS", err, len(r.Former))
	}
}

func TestCorrectedDate(t *testing.T) {
	traits := qualified().Traits
	traits.BirthDate = "1979-12-31"
	r, _, err := ins.Rules{}.Create(traits, true, clerk, noon)
	if err != nil || !r.Corrected {
		t.Fatalf("%v, corrected %v", err, r.Corrected)
	}
	// INSi knows the day: the date is its own, no longer a corrected one.
	e := both(answer(nirPair))
	e.At = noon
	r, _, err = ins.Rules{}.Apply(r, e)
	if err != nil || r.Corrected || r.Identity.Traits.BirthDate != "1979-03-28" || r.Check() != nil {
		t.Fatalf("%v, corrected %v, %v", err, r.Corrected, r.Check())
	}
	// Told later that the date is uncertain, the identity loses its INS.
	doubt := edit(func(*ins.Traits) {}, nil)
	doubt.At, doubt.Corrected = noon, true
	r, entry, err := ins.Rules{}.Apply(r, doubt)
	if err != nil || r.Identity.HasINS() || entry.Lost == nil || *entry.Lost != nirPair {
		t.Fatalf("%v, INS %v, lost %v", err, r.Identity.HasINS(), entry.Lost)
	}
}

func TestWrongKeyFromINSiIsHeldAndNeverLeaves(t *testing.T) {
	e := both(answer(ins.Pair{Matricule: "181036322045660", OID: ins.OIDNIR}))
	e.At = noon
	r, _, err := ins.Rules{}.Apply(newRecord(t, nil), e)
	if err != nil || r.Identity.Matricule != "181036322045660" {
		t.Fatalf("not held verbatim: %v", err)
	}
	for _, to := range everywhere {
		if got := code(ins.Gate(r.Identity, to)); got != ins.FaultKey {
			t.Errorf("%s: %q", to, got)
		}
	}
}

func TestRulesReplaceTheDevices(t *testing.T) {
	licence := ins.Event{Kind: ins.Control, Actor: officer, At: noon, Proof: &ins.Proof{Device: "PC"}}
	site := ins.Rules{Devices: []string{"PC"}}
	if _, _, err := site.Apply(newRecord(t, nil), licence); err != nil {
		t.Errorf("the site's device is refused: %v", err)
	}
	e := control()
	e.At = noon
	if _, _, err := site.Apply(newRecord(t, nil), e); code(err) != ins.FaultEvidence {
		t.Errorf("a device that the site removed: %v", err)
	}
}

func TestForgedRecordIsRefused(t *testing.T) {
	forged := newRecord(t, nil)
	forged.Identity = qualified()
	if code(forged.Check()) != ins.FaultStatus {
		t.Error("QUAL without evidence")
	}
	if _, _, err := (ins.Rules{}).Apply(forged, mark("HOMA")); err == nil {
		t.Error("an event is applied to a forged record")
	}
	forged, _, _ = ins.Rules{}.Apply(newRecord(t, nil), func() ins.Event { e := both(answer(nirPair)); e.At = noon; return e }())
	if forged.Corrected = true; code(forged.Check()) != ins.FaultCorrected {
		t.Error("an INS beside a corrected date")
	}
	forged = newRecord(t, nil)
	forged.Identity.Attributes = []string{"DOUT"}
	forged.Proof, forged.Identity.Status = passport(), ins.Validated
	if code(forged.Check()) != ins.FaultAttributes {
		t.Error("doubtful and VALI")
	}
}

// drawEvent makes a sound event, or one with anything wrong, equally often.
func drawEvent(t *rapid.T) ins.Event {
	if rapid.Bool().Draw(t, "sound") {
		e := rapid.SampledFrom([]ins.Event{
			control(), both(answer(nirPair)), both(answer(niaPair)), retrieve(answer(nirPair)), retrieve(answer(newPair)),
			kind(ins.RemoveINS), kind(ins.WithdrawProof), mark("HOMA"), mark("COLV"), unmark("HOMA"), mark("DOUT"), unmark("DOUT"), unmark("FICT"),
		}).Draw(t, "event")
		e.At = noon
		return e
	}
	pair := rapid.SampledFrom([]ins.Pair{nirPair, niaPair, newPair, {Matricule: "181036322045660", OID: ins.OIDNIR}, {Matricule: "2790351215189", OID: ins.OIDNIR}, {Matricule: "279035121518989"}}).Draw(t, "pair")
	traits := qualified().Traits
	if rapid.IntRange(0, 3).Draw(t, "other traits") == 0 {
		rapid.SampledFrom([]func(*ins.Traits){
			// Often, because the others are refused: short sequences that seldom rectify
			// let a proof survive other traits (found by review, issue 6).
			func(t *ins.Traits) { t.BirthName = "DURAND" },
			func(t *ins.Traits) { t.BirthName = "DURAND" },
			func(t *ins.Traits) { t.BirthName = "DURAND" },
			func(t *ins.Traits) { t.BirthName = "DURAND" },
			func(t *ins.Traits) { t.BirthDate = "1979-00-00" },
			func(t *ins.Traits) { t.Sex = "U" },
			func(t *ins.Traits) { t.BirthPlace = "" },
			func(t *ins.Traits) { t.FirstGiven = "DOMINIQUE MARIE" },
		}).Draw(t, "trait")(&traits)
	}
	e := ins.Event{
		At:        noon,
		Kind:      rapid.SampledFrom([]ins.EventKind{ins.Control, ins.Retrieve, ins.Retrieve, ins.WithdrawProof, ins.RemoveINS, ins.VerifyKO, ins.Edit, ins.Mark, ins.Unmark, ins.Merge, ins.Assert, "?"}).Draw(t, "kind"),
		Actor:     rapid.SampledFrom([]ins.Actor{officer, officer, officer, clerk, batch, {}}).Draw(t, "actor"),
		Attribute: rapid.SampledFrom([]string{"HOMA", "HOMD", "DOUT", "FICT", "COLV", "DESA"}).Draw(t, "attribute"),
		Traits:    &traits,
		Corrected: rapid.IntRange(0, 5).Draw(t, "corrected") == 0,
	}
	if e.Kind == ins.Merge && rapid.IntRange(0, 20).Draw(t, "merge") != 0 {
		e.Kind = ins.Control
	}
	if rapid.Bool().Draw(t, "proof") || e.Kind == ins.Control {
		e.Proof = &ins.Proof{Device: rapid.SampledFrom([]string{"PA", "CN", "AV", "PC", ""}).Draw(t, "device")}
	}
	if e.Kind == ins.Retrieve && rapid.IntRange(0, 9).Draw(t, "trace") > 0 {
		e.Trace = answer(pair, func(tr *ins.Trace) { tr.Traits = traits })
		e.Trace.Former = rapid.SampledFrom([][]ins.Pair{nil, nil, {nirPair}, {niaPair, newPair, niaPair}, {{}}}).Draw(t, "history")
		e.Trace.Channel = rapid.SampledFrom([]string{ins.ChannelINSi, ins.ChannelINSi, ins.ChannelApp, "CB"}).Draw(t, "channel")
		e.Trace.Result = rapid.SampledFrom([]string{ins.Found, ins.Found, "01", "02"}).Draw(t, "result")
	}
	return e
}

// No sequence of events, accepted or refused, yields a matricule outside RECUP
// and QUAL, or lets one leave outside QUAL; and QUAL always stands on a person
// with the right, a device of high trust and an answer of INSi.
func TestNoSequenceOfEventsBreaksTheInvariants(t *testing.T) {
	reached := map[ins.Status]int{}
	rapid.Check(t, func(t *rapid.T) {
		r, _, err := ins.Rules{}.Create(qualified().Traits, false, clerk, noon)
		if err != nil {
			t.Fatal(err)
		}
		// What the accepted events say by themselves, seen from outside.
		var controlled, found bool
		var attributes []string
		sent := map[ins.Pair]bool{} // INS that were once under QUAL
		for _, e := range rapid.SliceOfN(rapid.Custom(drawEvent), 100, 200).Draw(t, "events") {
			before, _ := json.Marshal(r)
			next, entry, err := ins.Rules{}.Apply(r, e)
			if after, _ := json.Marshal(r); string(after) != string(before) {
				t.Fatal("the record was changed in place")
			}
			if err == nil {
				switch e.Kind {
				case ins.Retrieve:
					if e.Trace.Channel == ins.ChannelINSi && e.Trace.Result != ins.Found {
						t.Fatal("INSi found nobody")
					}
					found = true
				case ins.RemoveINS, ins.VerifyKO, ins.Merge:
					found = false
				case ins.WithdrawProof:
					controlled = false
				case ins.Mark:
					attributes = append(attributes, e.Attribute)
				case ins.Unmark:
					attributes = slices.DeleteFunc(attributes, func(a string) bool { return a == e.Attribute })
				}
				strictChanged := next.Identity.Traits.BirthName != r.Identity.Traits.BirthName || next.Identity.Traits.Sex != r.Identity.Traits.Sex ||
					next.Identity.Traits.BirthPlace != r.Identity.Traits.BirthPlace
				if e.Kind == ins.Edit && (strictChanged || next.Corrected != r.Corrected) {
					controlled, found = false, false
				}
				if e.Kind == ins.Retrieve && r.Identity.HasINS() && strictChanged {
					controlled = false
				}
				if e.Proof != nil && slices.Contains([]ins.EventKind{ins.Control, ins.Retrieve, ins.Edit}, e.Kind) {
					if !e.Actor.Human || !e.Actor.Entitled || !slices.Contains(ins.DefaultDevices(), e.Proof.Device) {
						t.Fatalf("controlled by %+v with %q", e.Actor, e.Proof.Device)
					}
					controlled = true
				}
				if slices.Contains(attributes, "DOUT") || slices.Contains(attributes, "FICT") {
					controlled, found = false, false
				}
			}
			want := map[[2]bool]ins.Status{
				{false, false}: ins.Provisional, {true, false}: ins.Validated, {false, true}: ins.Retrieved, {true, true}: ins.Qualified,
			}[[2]bool{controlled, found}]
			id := next.Identity
			if id.Status != want {
				t.Fatalf("%s: status %s, want %s", e.Kind, id.Status, want)
			}
			if hasINS := id.Matricule != "" || id.OID != ""; hasINS != (want == ins.Retrieved || want == ins.Qualified) {
				t.Fatalf("%s with a matricule: %v", want, hasINS)
			}
			for _, to := range everywhere {
				if id.Matricule != "" && ins.Gate(id, to) == nil && (want != ins.Qualified || next.Corrected) {
					t.Fatalf("a matricule leaves to %s under %s", to, want)
				}
			}
			for _, x := range entry.Tell {
				if x.Old != nil && !sent[*x.Old] {
					t.Fatal("an INS that was never sent is withdrawn downstream")
				}
			}
			if want == ins.Qualified {
				sent[ins.Pair{Matricule: id.Matricule, OID: id.OID}] = true
			}
			if r.Identity.Status == ins.Qualified && want != ins.Qualified && e.Kind != ins.Merge &&
				!slices.ContainsFunc(entry.Tell, func(x ins.Tell) bool { return x.Event == "A47" && x.Old != nil }) {
				t.Fatal("downstream is not told that the INS is withdrawn")
			}
			if slices.Contains(next.Former, ins.Pair{Matricule: id.Matricule, OID: id.OID}) {
				t.Fatal("the INS in use is among the former ones")
			}
			stored, _ := json.Marshal(next)
			var read ins.Record
			if err := json.Unmarshal(stored, &read); err != nil {
				t.Fatal(err)
			}
			if read.Check() != nil || !slices.Equal(read.Former, next.Former) {
				t.Fatal("a stored record reads back otherwise")
			}
			r = next
			reached[want]++
		}
	})
	for _, s := range []ins.Status{ins.Provisional, ins.Validated, ins.Retrieved, ins.Qualified} {
		if reached[s] == 0 && !testing.Short() { // -short draws too few to be sure
			t.Errorf("the generator never reached %s", s)
		}
	}
}

func TestFormerINSAndOlderRecordsStay(t *testing.T) {
	r := newRecord(t, nil)
	var records []ins.Record
	var images []string
	for i, e := range []ins.Event{
		mark("HOMA"), mark("COLV"), mark("FILI"),
		both(answer(nirPair)), retrieve(answer(newPair)), retrieve(answer(nirPair)), kind(ins.RemoveINS), retrieve(answer(newPair)),
		unmark("HOMA"), unmark("FILI"), mark("DPOT"), kind(ins.RemoveINS), retrieve(answer(nirPair)), mark("DOUT"),
	} {
		e.At = noon
		next, _, err := ins.Rules{}.Apply(r, e)
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		image, _ := json.Marshal(next)
		records, images = append(records, next), append(images, string(image))
		r = next
	}
	for i, r := range records {
		if image, _ := json.Marshal(r); string(image) != images[i] {
			t.Errorf("record %d was changed by a later event", i)
		}
	}
	for i, want := range map[int][]ins.Pair{
		3: nil, 4: {nirPair}, 5: {newPair}, 6: {newPair, nirPair}, 7: {nirPair}, 11: {nirPair, newPair}, 12: {newPair}, 13: {newPair, nirPair},
	} {
		if !slices.Equal(records[i].Former, want) {
			t.Errorf("after event %d, former INS %v, want %v", i, records[i].Former, want)
		}
	}
}
