package ins_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/ins"
)

// The numbers are those of the table of edge cases of the INS digest (§9).
// Row 36 stands for PID-3.
func TestEdgeCases(t *testing.T) {
	const (
		ok     = ""
		warn   = "warning"
		reject = "error"
	)
	worst := func(found []ins.Finding) string {
		v := ok
		for _, f := range found {
			if v != reject {
				v = f.Severity.String()
			}
		}
		return v
	}
	err := func(e error) string {
		if e != nil {
			return reject
		}
		return ok
	}
	matricule := func(m string, oid ins.OID) string { return worst(ins.Inspect(m, oid)) }
	judged := func(m, born, place, sex string) string {
		return worst(ins.Judge(ins.Identity{Matricule: m, OID: ins.OIDNIR, Traits: ins.Traits{BirthDate: born, BirthPlace: place, Sex: sex}}))
	}
	family := func(s string) string { _, e := ins.FamilyNameForINSi(s); return err(e) }
	given := func(s string) string { _, e := ins.GivenNameForINSi(s); return err(e) }
	first := func(f, list string) string {
		return worst(ins.Judge(ins.Identity{Traits: ins.Traits{FirstGiven: f, GivenNames: list}}))
	}
	parse := func(s string) string { _, e := ins.ParseMatricule(s); return err(e) }
	placed := func(code, born string) string {
		day, e := ins.ParseBirthDate(born)
		if e != nil {
			t.Fatal(e)
		}
		// The syntax is no error, the table only warns.
		if v := worst(ins.Judge(ins.Identity{Traits: ins.Traits{BirthDate: born, BirthPlace: code}})); v != ok {
			return v
		}
		return worst(embedded(t).Judge(code, day))
	}
	held := func(change func(*ins.Identity)) string { return worst(ins.Judge(with(change))) }
	filed := func(change func(*ins.Identity)) string {
		_, ok := ins.Policy{}.File(with(change), []ins.Candidate{{Identity: qualified()}}).Filed()
		if ok {
			return ""
		}
		return reject
	}

	for _, c := range []struct{ name, got, want string }{
		{"1 ok/test-oid-in-test", matricule("279035121518989", ins.OIDTest) + err(ins.Test.Check(ins.OIDTest)), ok},
		{"2 fail/test-oid-in-production", err(ins.Production.Check(ins.OIDTest)), reject},
		{"3 ok/corse-key", matricule("180032B02040123", ins.OIDNIR), ok},
		{"4 ok/lower-case-typed", parse("180032b02040123"), ok},
		{"4 fail/lower-case-on-the-wire", matricule("180032b02040123", ins.OIDNIR), reject},
		{"5 ok/corse-20-and-2B", judged("160012002077756", "1960-01-01", "2B020", ""), ok},
		{"5 fail/corse-20-after-1976", judged("180032002040166", "1980-03-02", "2B020", ""), warn},
		{"6 ok/2B-before-1976", judged("160012B02077713", "1960-01-01", "2B020", ""), warn},
		{"7 ok/algeria-99", judged("185079935212301", "1985-07-01", "99352", ""), ok},
		{"8 ok/algeria-92", judged("155039235212344", "1955-03-01", "99352", ""), warn},
		{"9 ok/levallois", judged("260027504401237", "1960-02-01", "92044", ""), warn},
		{"10 ok/apostrophes", family("D'ARTAGNAN DE L'HERAULT"), ok},
		{"11 ok/typographic-apostrophe", family("D’ARTAGNAN"), ok},
		{"12 fail/blank-after-apostrophe", family("D' ARTAGNAN"), reject},
		{"12 fail/two-apostrophes", family("O''NEIL"), reject},
		{"12 fail/leading-hyphen", family("-MARTIN"), reject},
		{"13 ok/double-hyphen-family", family("DUPONT--MARTIN"), ok},
		{"13 fail/double-hyphen-given", given("ANNE--LISE"), reject},
		{"14 ok/first-hyphen", first("PIERRE-ALAIN", "PIERRE-ALAIN MURIEL"), ok},
		{"14 ok/first-blank", first("PIERRE ALAIN", "PIERRE-ALAIN MURIEL"), ok},
		{"14 ok/first-word", first("PIERRE", "PIERRE-ALAIN MURIEL"), ok},
		{"15 ok/first-not-a-prefix", first("ALAIN", "PIERRE-ALAIN MURIEL"), warn},
		{"16 fail/lunar-under-QUAL", held(func(id *ins.Identity) { id.Traits.BirthDate = "1950-00-00" }), reject},
		{"17 fail/lunar-typed", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{BirthDate: "1950-00-00"}})), reject},
		{"18 ok/pseudo-month", judged("155207511300116", "1955-03-01", "75113", ""), ok},
		{"19 ok/nia", matricule("109076322088835", ins.OIDNIA), ok},
		{"20 ok/provisional-nia", matricule("785079935212389", ins.OIDNIA), ok},
		{"20 ok/provisional-nir", matricule("785079935212389", ins.OIDNIR), warn},
		{"21 ok/sex-I", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{Sex: "I"}})), ok},
		{"21 ok/sex-U", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{Sex: "U"}})), ok},
		{"21 ok/sex-UN", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{Sex: "UN"}})), ok},
		{"21 fail/sex-O", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{Sex: "O"}})), reject},
		{"22 fail/sex-unknown-under-QUAL", held(func(id *ins.Identity) { id.Traits.Sex = "U" }), reject},
		{"23 fail/wrong-key", matricule("181036322045660", ins.OIDNIR), reject},
		{"24 ok/sex-digit", judged("180032B02040123", "", "", "F"), warn},
		{"25 ok/century-1909", judged("109076322083489", "1909-07-14", "", "M"), ok},
		{"25 ok/century-2009", judged("109076322083489", "2009-07-14", "", "M"), ok},
		{"26 fail/code-before-its-time", placed("97801", "1990-07-01"), warn},
		{"27 ok/place-of-no-table", placed("2A020", "1997-02-26"), warn},
		{"28 ok/unknown-place-PROV", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Traits: ins.Traits{BirthPlace: "99999"}})), ok},
		{"28 ok/unknown-place-QUAL", held(func(id *ins.Identity) { id.Traits.BirthPlace = "99999" }), warn},
		{"29 fail/13", matricule("2790351215189", ins.OIDTest), reject},
		{"32 ok/same", filed(func(*ins.Identity) {}), ok},
		{"32 fail/accent", filed(func(id *ins.Identity) { id.Traits.FirstGiven = "DOMINIQUÉ" }), reject},
		{"33 fail/fict-dout", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Attributes: []string{"FICT", "DOUT"}})), reject},
		{"33 fail/fict-qual", held(func(id *ins.Identity) { id.Attributes = []string{"FICT"} }), reject},
		{"33 fail/dout-vali", worst(ins.Judge(ins.Identity{Status: ins.Validated, Attributes: []string{"DOUT"}})), reject},
		{"33 fail/fict-homa", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Attributes: []string{"HOMA", "FICT"}})), reject},
		{"33 ok/dout-homa", worst(ins.Judge(ins.Identity{Status: ins.Provisional, Attributes: []string{"DOUT", "HOMA"}})), ok},
		{"34 fail/call-doubtful", err(ins.MayCallINSi(ins.Identity{Attributes: []string{"DOUT"}})), reject},
		{"34 fail/call-fictive", err(ins.MayCallINSi(ins.Identity{Attributes: []string{"HOMA", "FICT"}})), reject},
		{"34 ok/call", err(ins.MayCallINSi(ins.Identity{Attributes: []string{"HOMA"}})), ok},
		{"35 fail/ins-c", matricule("279035121518989", "1.2.250.1.213.1.4.2"), reject},
		{"38 fail/recup-to-dmp", err(ins.Gate(with(func(id *ins.Identity) { id.Status = ins.Retrieved }), ins.ToDMP)), reject},
		{"39 ok/display-form", parse("2 79 03 51 215 189 89"), ok},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			if c.got != c.want {
				t.Fatalf("got %q, want %q", c.got, c.want)
			}
		})
	}

	t.Run("30-ok/INS-beside-PROV-is-dropped", func(t *testing.T) {
		for _, codes := range [][]string{{"PROV"}, nil} {
			id := qualified()
			id.Status, id.Attributes = ins.FromPID32(codes, id.HasINS())
			if kept, dropped := (ins.Policy{}).Receive(id); !dropped || kept.HasINS() || kept.Traits != id.Traits {
				t.Errorf("%v: dropped %v", codes, dropped)
			}
		}
	})
	t.Run("31-fail/no-list-or-place", func(t *testing.T) {
		for _, change := range []func(*ins.Identity){
			func(id *ins.Identity) { id.Traits.GivenNames = "" },
			func(id *ins.Identity) { id.Traits.BirthPlace = "" },
		} {
			if got := code(ins.Gate(with(change), ins.ToDMP)); got != ins.FaultIncomplete {
				t.Errorf("got %q", got)
			}
		}
	})
	t.Run("36-ok/billing-NIR-is-no-INS", func(t *testing.T) {
		if ins.IsPID3("NH", ins.OIDNIR) || !ins.IsPID3("INS", ins.OIDNIR) || ins.IsPID3("INS", "1.2.250.1.213.1.4.13") {
			t.Error("the type does not decide")
		}
	})
	t.Run("37-ok/NIR-before-NIA", func(t *testing.T) {
		nir, nia := ins.Pair{Matricule: "109076322083489", OID: ins.OIDNIR}, ins.Pair{Matricule: "109076322088835", OID: ins.OIDNIA}
		for _, list := range [][]ins.Pair{{nir, nia}, {nia, nir}, {nir}, {nia, nir, nia, nir}} {
			if p, ok := ins.Prefer(list); !ok || p != nir {
				t.Errorf("%v: %v %v", list, p, ok)
			}
		}
		if p, ok := ins.Prefer([]ins.Pair{nia}); !ok || p != nia {
			t.Error("a NIA alone is not taken")
		}
		if _, ok := ins.Prefer([]ins.Pair{nir, {Matricule: "180032B02040123", OID: ins.OIDNIR}}); ok {
			t.Error("a choice among two NIR is a guess")
		}
	})
	t.Run("40-fail/duplicate", func(t *testing.T) {
		f := ins.Policy{}.File(qualified(), []ins.Candidate{{Identity: qualified()}, {Identity: qualified()}})
		if _, ok := f.Filed(); ok || f.Code != ins.FaultDuplicate || !slices.Equal(f.Candidates, []int{0, 1}) {
			t.Errorf("%+v", f)
		}
	})
}

// Matricules of the national samples (§7): the key of each is known.
func TestPublishedMatricules(t *testing.T) {
	for _, m := range []string{
		"279035121518989", "277076322082910", "236066322083656", "275126322074974", "297022A02077878", "160012B02077713",
		"180032B02040123", "109076322083489", "209076322083439", "209066322012355", "109076322088835", "110086322083060",
		"181016322075140", "260058815400233",
	} {
		if err := ins.CheckMatricule(m, ins.OIDNIR); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	for _, m := range []string{
		"181036322045660", "281036322045610", "221042545611404", "222127505611201", "223042545611404", "224027511583555",
		"276037510669380", "260058815400244",
	} {
		if got := code(ins.CheckMatricule(m, ins.OIDNIR)); got != ins.FaultKey {
			t.Errorf("%s: %q", m, got)
		}
		if err := ins.CheckMatricule(m, ins.OIDTest); err != nil {
			t.Errorf("%s on the test OID: %v", m, err)
		}
	}
}
