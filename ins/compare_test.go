package ins_test

import (
	"slices"
	"testing"

	"github.com/passerelle-sante/passerelle/ins"
)

// changes make one field of an identity different, and absent.
var changes = []struct {
	trait    string
	outbound ins.Severity
	change   func(*ins.Identity)
	remove   func(*ins.Identity)
}{
	{ins.TraitMatricule, ins.Error, func(id *ins.Identity) { id.Matricule = "277076322082910" }, func(id *ins.Identity) { id.Matricule = "" }},
	{ins.TraitOID, ins.Error, func(id *ins.Identity) { id.OID = ins.OIDNIR }, func(id *ins.Identity) { id.OID = "" }},
	{ins.TraitBirthName, ins.Error, func(id *ins.Identity) { id.Traits.BirthName = "PAT TROIS" }, func(id *ins.Identity) { id.Traits.BirthName = "" }},
	{ins.TraitFirstGiven, ins.Error, func(id *ins.Identity) { id.Traits.FirstGiven = "Dominique" }, func(id *ins.Identity) { id.Traits.FirstGiven = "" }},
	{ins.TraitGivenNames, ins.Warning, func(id *ins.Identity) { id.Traits.GivenNames = "DOMINIQUE" }, func(id *ins.Identity) { id.Traits.GivenNames = "" }},
	{ins.TraitBirthDate, ins.Error, func(id *ins.Identity) { id.Traits.BirthDate = "1979-03-29" }, func(id *ins.Identity) { id.Traits.BirthDate = "" }},
	{ins.TraitSex, ins.Error, func(id *ins.Identity) { id.Traits.Sex = "M" }, func(id *ins.Identity) { id.Traits.Sex = "" }},
	{ins.TraitBirthPlace, ins.Warning, func(id *ins.Identity) { id.Traits.BirthPlace = "63220" }, func(id *ins.Identity) { id.Traits.BirthPlace = "" }},
}

func TestCompareOutbound(t *testing.T) {
	if d := ins.CompareOutbound(qualified(), qualified()); len(d) != 0 {
		t.Fatalf("the same identity differs: %v", d)
	}
	for _, c := range changes {
		t.Run("fail/"+c.trait, func(t *testing.T) {
			other := with(c.change)
			want := []ins.Difference{{Trait: c.trait, Severity: c.outbound}}
			if d := ins.CompareOutbound(qualified(), other); !slices.Equal(d, want) {
				t.Fatalf("got %v", d)
			}
			d := ins.CompareOutbound(other, qualified())
			if !slices.Equal(d, want) {
				t.Fatalf("not symmetric: %v", d)
			}
			err := ins.Contradiction(d)
			if (err != nil) != (c.outbound == ins.Error) || err != nil && code(err) != ins.FaultMismatch {
				t.Fatalf("contradiction: %v", err)
			}
			code := map[ins.Severity]string{ins.Error: ins.FaultMismatch, ins.Warning: ins.FaultTraitDiffers}[c.outbound]
			if f := d[0].Finding(); f != (ins.Finding{Code: code, Where: c.trait, Severity: c.outbound}) {
				t.Fatalf("finding %v", f)
			}
		})
		t.Run("ok/absent-"+c.trait, func(t *testing.T) {
			if d := ins.CompareOutbound(qualified(), with(c.remove)); len(d) != 0 {
				t.Fatalf("got %v", d)
			}
		})
	}
	t.Run("ok/padding", func(t *testing.T) {
		padded := with(func(id *ins.Identity) { id.Traits.GivenNames = " DOMINIQUE\n  MARIE-LOUISE " })
		if d := ins.CompareOutbound(padded, qualified()); len(d) != 0 {
			t.Fatalf("got %v", d)
		}
	})
	t.Run("fail/accent", func(t *testing.T) {
		a, b := qualified(), qualified()
		a.Traits.FirstGiven, b.Traits.FirstGiven = "LEA", "LÉA"
		if ins.Contradiction(ins.CompareOutbound(a, b)) == nil {
			t.Fatal("LEA and LÉA agree")
		}
	})
	t.Run("fail/first-error-after-warning", func(t *testing.T) {
		other := with(func(id *ins.Identity) { id.Traits.GivenNames, id.Traits.Sex = "X", "M" })
		if r := ins.Contradiction(ins.CompareOutbound(qualified(), other)).(*ins.Refusal); r.Where != ins.TraitSex {
			t.Fatalf("at %s", r.Where)
		}
	})
}

func TestEqual(t *testing.T) {
	if !ins.Equal(qualified(), with(func(id *ins.Identity) { id.Status, id.Local = "", nil })) {
		t.Fatal("status or local identifiers are compared")
	}
	for _, c := range changes {
		for name, change := range map[string]func(*ins.Identity){"changed": c.change, "absent": c.remove} {
			if ins.Equal(qualified(), with(change)) || ins.Equal(with(change), qualified()) {
				t.Errorf("%s %s: equal", c.trait, name)
			}
		}
		if ins.Equal(with(c.remove), with(c.remove)) {
			t.Errorf("%s absent on both sides: equal", c.trait)
		}
	}
	if ins.Equal(qualified(), with(func(id *ins.Identity) { id.Traits.BirthName += " " })) {
		t.Error("a trailing blank is ignored")
	}
}
