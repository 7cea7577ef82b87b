package ins_test

import (
	"slices"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

func TestConfirm(t *testing.T) {
	camille := ins.Traits{BirthName: "D'ARC--LE GALL", GivenNames: "CAMILLE ZOE", BirthDate: "1990-01-15", Sex: "F", BirthPlace: "38185"}
	typed := camille
	typed.BirthName, typed.FirstGiven = "d'Arc Le Gall", "CAMILLE"
	with := func(change func(*ins.Identity, *ins.Trace)) func(*ins.Identity, *ins.Trace) { return change }
	for _, tt := range []struct {
		name   string
		change func(*ins.Identity, *ins.Trace)
		status ins.Status
		code   string
		where  string
		diffs  []string // the trait, and ! when it is another person's
	}{
		{"ok/validated", with(func(*ins.Identity, *ins.Trace) {}), ins.Qualified, "", "", []string{"birth_name"}},
		{"ok/provisional", with(func(id *ins.Identity, _ *ins.Trace) { id.Status = ins.Provisional }), ins.Retrieved, "", "", []string{"birth_name"}},
		{"ok/without a status", with(func(id *ins.Identity, _ *ins.Trace) { id.Status = "" }), ins.Retrieved, "", "", []string{"birth_name"}},
		{"ok/first given name only", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.GivenNames = "" }), ins.Qualified, "", "", []string{"birth_name"}},
		{"ok/written otherwise", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.FirstGiven = "Camille" }), ins.Qualified, "", "", []string{"birth_name", "first_given"}},
		{"ok/list only", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.FirstGiven = "" }), ins.Qualified, "", "", []string{"birth_name"}},
		{"ok/beginning of the list", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.GivenNames = "CAMILLE" }), ins.Qualified, "", "", []string{"birth_name", "given_names"}},
		{"ok/no place", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.BirthPlace = "" }), ins.Qualified, "", "", []string{"birth_name"}},
		{"ok/unknown place", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.BirthPlace = "99999" }), ins.Qualified, "", "", []string{"birth_name", "birth_place"}},
		{"ok/another place of a provisional identity", with(func(id *ins.Identity, _ *ins.Trace) { id.Status, id.Traits.BirthPlace = ins.Provisional, "63113" }), ins.Retrieved, "", "", []string{"birth_name", "birth_place!"}},
		{"ok/a wrong key of INSi, for the gate", with(func(_ *ins.Identity, tr *ins.Trace) { tr.INS = ins.Pair{Matricule: "181036322045660", OID: ins.OIDNIR} }), ins.Qualified, "", "", []string{"birth_name"}},
		{"fail/another place of a validated one", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.BirthPlace = "63113" }), "", ins.FaultUnconfirmed, "birth_place", []string{"birth_name", "birth_place!"}},
		{"fail/homonym by the list", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.GivenNames = "CAMILLE ANNE" }), "", ins.FaultUnconfirmed, "given_names", []string{"birth_name", "given_names!"}},
		{"fail/part of a word is no beginning", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.GivenNames = "CAMILLE ZO" }), "", ins.FaultUnconfirmed, "given_names", []string{"birth_name", "given_names!"}},
		{"fail/another first given name", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.FirstGiven = "ZOE" }), "", ins.FaultUnconfirmed, "first_given", []string{"birth_name", "first_given!"}},
		{"fail/another name", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.BirthName = "MARTIN" }), "", ins.FaultUnconfirmed, "birth_name", []string{"birth_name!"}},
		{"fail/another date", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.BirthDate = "1990-01-16" }), "", ins.FaultUnconfirmed, "birth_date", []string{"birth_name", "birth_date!"}},
		{"fail/another sex", with(func(id *ins.Identity, _ *ins.Trace) { id.Traits.Sex = "M" }), "", ins.FaultUnconfirmed, "sex", []string{"birth_name", "sex!"}},
		{"fail/doubtful", with(func(id *ins.Identity, _ *ins.Trace) { id.Attributes = []string{"DOUT"} }), "", ins.FaultCallForbidden, "attributes", nil},
		{"fail/nobody found", with(func(_ *ins.Identity, tr *ins.Trace) { tr.Result = "01" }), "", ins.FaultEvidence, "trace", nil},
		{"fail/no message id", with(func(_ *ins.Identity, tr *ins.Trace) { tr.MessageID = "" }), "", ins.FaultEvidence, "trace", nil},
		{"fail/lunar date", with(func(_ *ins.Identity, tr *ins.Trace) { tr.Traits.BirthDate = "1990-00-00" }), "", ins.FaultCorrected, "birth_date", nil},
		{"fail/no matricule", with(func(_ *ins.Identity, tr *ins.Trace) { tr.INS.Matricule = "12" }), "", ins.FaultForm, "matricule", nil},
		{"fail/INSi leaves a trait out", with(func(_ *ins.Identity, tr *ins.Trace) { tr.Traits.BirthPlace = "" }), "", ins.FaultIncomplete, "birth_place", []string{"birth_name", "birth_place!"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := ins.Identity{Status: ins.Validated, Traits: typed, Local: []ins.LocalID{{Value: "1", Authority: "1.2"}}}
			tr := ins.Trace{Channel: ins.ChannelINSi, MessageID: "uuid:1", Result: ins.Found, INS: ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest},
				Traits: camille, At: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)}
			tt.change(&id, &tr)
			got, diffs, err := id.Confirm(tr)
			var told []string
			for _, d := range diffs {
				told = append(told, d.Trait+map[ins.Severity]string{ins.Error: "!"}[d.Severity])
			}
			if !slices.Equal(told, tt.diffs) {
				t.Errorf("differences %v, want %v", told, tt.diffs)
			}
			if tt.code != "" {
				var r *ins.Refusal
				if r, _ = err.(*ins.Refusal); r == nil || r.Code != tt.code || r.Where != tt.where {
					t.Errorf("%v, want %s at %s", err, tt.code, tt.where)
				}
				if got.Matricule != "" || got.Status != id.Status || got.Traits != id.Traits {
					t.Errorf("a refused answer changed the identity: %+v", got)
				}
				return
			}
			if err != nil || got.Status != tt.status || got.Matricule != tr.INS.Matricule || got.OID != tr.INS.OID || len(got.Local) != 1 {
				t.Fatalf("%+v %v", got, err)
			}
			want := tr.Traits
			want.FirstGiven = "CAMILLE"
			if got.Traits != want {
				t.Errorf("%+v, want those of INSi", got.Traits)
			}
		})
	}
}
