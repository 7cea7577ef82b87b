package datamatrix_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/datamatrix"
)

const (
	gs   = "\x1d"
	head = "IS010000000000000000000000"
	// published is the example of the format, for the person of the national examples.
	published = head + "S1279035121518989S21.2.250.1.213.1.4.10S3DOMINIQUE MARIE-LOUISE" + gs + "S4PAT-TROIS" + gs + "S5FS628-03-1979S751215"
)

func patTrois() ins.Identity {
	return ins.Identity{Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified, Traits: ins.Traits{
		BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE",
		BirthDate: "1979-03-28", Sex: "F", BirthPlace: "51215"}}
}

func code(err error) string {
	var c interface{ FaultCode() string }
	if errors.As(err, &c) {
		return c.FaultCode()
	}
	if err != nil {
		return "untyped: " + err.Error()
	}
	return ""
}

func TestParse(t *testing.T) {
	if len(published) != 124 {
		t.Fatalf("the example has %d bytes", len(published))
	}
	pat := patTrois()
	replace := func(old, with string) string {
		if strings.Count(published, old) != 1 {
			t.Fatalf("%q does not stand once in the example", old)
		}
		return strings.Replace(published, old, with, 1)
	}
	sameButPlace := pat.Traits
	sameButPlace.BirthPlace = ""
	for _, c := range []struct {
		name, text string
		want       ins.Traits
		repaired   bool
	}{
		{"ok/published", published, pat.Traits, false},
		{"ok/separators-typed", strings.ReplaceAll(published, gs, "<GS>"), pat.Traits, true},
		{"ok/separators-dropped", strings.ReplaceAll(published, gs, ""), pat.Traits, true},
		{"ok/separator-too-many", replace("4.10S3", "4.10"+gs+"S3"), pat.Traits, false},
		{"ok/separator-after-fixed", replace("S5F", "S5F"+gs), pat.Traits, false},
		{"ok/separator-at-the-end", published + gs, pat.Traits, false},
		{"ok/line-end-of-the-scanner", published + "\r\n", pat.Traits, false},
		{"ok/symbology-identifier", "]d1" + published, pat.Traits, false},
		{"ok/no-place", replace("S751215", ""), sameButPlace, false},
		{"ok/production-oid-needs-separator", replace("4.10S3", "4.8"+gs+"S3"), pat.Traits, false},
		{"ok/another-order", head + "S5FS628-03-1979S751215S1279035121518989S21.2.250.1.213.1.4.10S4PAT-TROIS" + gs + "S3DOMINIQUE MARIE-LOUISE", pat.Traits, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := datamatrix.Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got.Traits != c.want || got.Repaired != c.repaired || got.INS.Matricule != pat.Matricule {
				t.Errorf("got %+v", got)
			}
		})
	}
	long := strings.Repeat("A", 101)
	for _, c := range []struct{ name, text, want, where string }{
		{"fail/empty", "", datamatrix.FaultHeader, ""},
		{"fail/header-of-a-2D-Doc", replace("IS01", "DC04"), datamatrix.FaultHeader, ""},
		{"fail/header-version", replace("IS01", "IS02"), datamatrix.FaultHeader, ""},
		{"fail/header-not-zero", replace("IS0100000", "IS0100001"), datamatrix.FaultHeader, ""},
		{"fail/header-cut", head[:20], datamatrix.FaultHeader, ""},
		{"fail/nothing-but-the-header", head, datamatrix.FaultMissing, "S1"},
		{"fail/too-long", published + strings.Repeat(gs, 400), datamatrix.FaultTooLong, ""},
		{"fail/unknown-field", published + "S8X", datamatrix.FaultField, ""},
		{"fail/no-field", published + "??", datamatrix.FaultField, ""},
		{"fail/separator-twice", replace("S4PAT", gs+"S4PAT"), datamatrix.FaultField, ""},
		{"fail/twice", published + "S5F", datamatrix.FaultRepeated, "S5"},
		{"fail/no-matricule", replace("S1279035121518989", ""), datamatrix.FaultMissing, "S1"},
		{"fail/no-oid", replace("S21.2.250.1.213.1.4.10", ""), datamatrix.FaultMissing, "S2"},
		{"fail/no-given", replace("S3DOMINIQUE MARIE-LOUISE"+gs, ""), datamatrix.FaultMissing, "S3"},
		{"fail/no-name", replace("S4PAT-TROIS"+gs, ""), datamatrix.FaultMissing, "S4"},
		{"fail/no-sex", replace("S5F", ""), datamatrix.FaultMissing, "S5"},
		{"fail/no-date", replace("S628-03-1979", ""), datamatrix.FaultMissing, "S6"},
		{"fail/oid-too-long", replace("4.10S3", "4.100S3"), datamatrix.FaultLength, "S2"},
		{"fail/oid-empty", replace("1.2.250.1.213.1.4.10", gs), datamatrix.FaultLength, "S2"},
		{"fail/name-empty", replace("PAT-TROIS", ""), datamatrix.FaultLength, "S4"},
		{"fail/name-too-long", replace("PAT-TROIS", long), datamatrix.FaultLength, "S4"},
		{"fail/given-too-long", replace("DOMINIQUE MARIE-LOUISE", long), datamatrix.FaultLength, "S3"},
		{"fail/cut-in-the-last-field", strings.TrimSuffix(published, "15"), datamatrix.FaultLength, "S7"},
		{"fail/name-lower-case", replace("PAT-TROIS", "Pat-Trois"), datamatrix.FaultValue, "S4"},
		{"fail/name-accent", replace("DOMINIQUE", "DOMINIQUÉ"), datamatrix.FaultValue, "S3"},
		{"fail/name-digit", replace("PAT-TROIS", "PAT-3"), datamatrix.FaultValue, "S4"},
		{"fail/name-of-hyphens", replace("PAT-TROIS", "--"), datamatrix.FaultValue, "S4"},
		{"fail/sex", replace("S5F", "S5U"), datamatrix.FaultValue, "S5"},
		{"fail/date-order", replace("28-03-1979", "1979-03-28"), datamatrix.FaultValue, "S6"},
		{"fail/date-slashes", replace("28-03-1979", "28/03/1979"), datamatrix.FaultValue, "S6"},
		{"fail/date-letters", replace("28-03-1979", "AA-03-1979"), datamatrix.FaultValue, "S6"},
		{"fail/place", replace("S751215", "S72C215"), datamatrix.FaultValue, "S7"},
		{"fail/matricule-form", replace("279035121518989", "979035121518989"), ins.FaultForm, "matricule"},
		{"fail/key-on-a-production-oid", strings.Replace(replace("4.10S3", "4.8"+gs+"S3"), "S1279035121518989", "S1279035121518988", 1), ins.FaultKey, "matricule"},
		{"fail/oid-of-no-authority", replace("4.10", "4.99"), ins.FaultOID, "oid"},
		{"fail/INS-C", replace("4.10S3", "4.2"+gs+"S3"), ins.FaultRetired, "oid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := datamatrix.Parse(c.text)
			if code(err) != c.want || got != (datamatrix.Scan{}) {
				t.Fatalf("got %v, %+v", err, got)
			}
			var located interface{ FaultWhere() string }
			if !errors.As(err, &located) || located.FaultWhere() != c.where {
				t.Errorf("at %q, want %q", located.FaultWhere(), c.where)
			}
		})
	}
}

func TestText(t *testing.T) {
	if got, err := datamatrix.Text(patTrois()); err != nil || got != published {
		t.Fatalf("got %q %v", got, err)
	}
	for _, c := range []struct {
		name   string
		change func(*ins.Identity)
		want   string
	}{
		{"ok/production-oid", func(id *ins.Identity) { id.OID = ins.OIDNIR }, ""},
		{"ok/accents-are-mapped", func(id *ins.Identity) { id.Traits.BirthName = "D’HÉRAULT" }, ""},
		{"fail/retrieved", func(id *ins.Identity) { id.Status = ins.Retrieved }, ins.FaultNotQualified},
		{"fail/validated", func(id *ins.Identity) { id.Status = ins.Validated }, ins.FaultNotQualified},
		{"fail/doubtful", func(id *ins.Identity) { id.Attributes = []string{"DOUT"} }, ins.FaultNotQualified},
		{"fail/no-ins", func(id *ins.Identity) { *id = id.WithoutINS() }, ins.FaultAbsent},
		{"fail/no-oid", func(id *ins.Identity) { id.OID = "" }, ins.FaultIncomplete},
		{"fail/no-place", func(id *ins.Identity) { id.Traits.BirthPlace = "" }, ins.FaultIncomplete},
		{"fail/place", func(id *ins.Identity) { id.Traits.BirthPlace = "PARIS" }, ins.FaultBirthPlace},
		{"fail/key", func(id *ins.Identity) { id.OID, id.Matricule = ins.OIDNIR, "279035121518988" }, ins.FaultKey},
		{"fail/sex", func(id *ins.Identity) { id.Traits.Sex = "U" }, ins.FaultIncomplete},
		{"fail/lunar-date", func(id *ins.Identity) { id.Traits.BirthDate = "1979-00-00" }, ins.FaultIncomplete},
		{"fail/name", func(id *ins.Identity) { id.Traits.BirthName = "PAT 3" }, ins.FaultName},
		{"fail/name-too-long", func(id *ins.Identity) { id.Traits.BirthName = strings.Repeat("A", 101) }, ins.FaultName},
		{"fail/given", func(id *ins.Identity) { id.Traits.GivenNames = "ANNE--LISE" }, ins.FaultName},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := patTrois()
			c.change(&id)
			got, err := datamatrix.Text(id)
			if code(err) != c.want || (err == nil) != (got != "") {
				t.Fatalf("got %q %v", got, err)
			}
			if _, err := datamatrix.New(id); code(err) != c.want {
				t.Errorf("New: %v", err)
			}
		})
	}
}

// qualified draws an identity that may be printed.
func qualified(t *rapid.T) ins.Identity {
	body := rapid.StringMatching(`[12][0-9]{2}(0[1-9]|1[0-2])(0[1-9]|2A|2B|[3-9][0-9])[0-9]{3}[0-9]{2}[1-9]`).Draw(t, "body")
	key, ok := ins.Key(body)
	if !ok {
		t.Fatalf("%q has no key", body)
	}
	name := rapid.StringMatching(`[A-Z]{1,20}([-' ][A-Z]{1,20}){0,3}`)
	given := name.Draw(t, "given")
	return ins.Identity{Matricule: body + string(rune('0'+key/10)) + string(rune('0'+key%10)), Status: ins.Qualified,
		OID: rapid.SampledFrom([]ins.OID{ins.OIDNIR, ins.OIDNIA, ins.OIDTest, ins.OIDDemo}).Draw(t, "oid"),
		Traits: ins.Traits{BirthName: name.Draw(t, "name"), GivenNames: given, FirstGiven: ins.FirstOf(given),
			BirthDate:  rapid.StringMatching(`(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])`).Draw(t, "born"),
			Sex:        rapid.SampledFrom([]string{"M", "F"}).Draw(t, "sex"),
			BirthPlace: rapid.StringMatching(`[0-9]{5}|2[AB][0-9]{3}`).Draw(t, "place")}}
}

func TestTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := qualified(t)
		text, err := datamatrix.Text(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, as := range []string{text, strings.ReplaceAll(text, gs, ""), strings.ReplaceAll(text, gs, "<GS>")} {
			scan, err := datamatrix.Parse(as)
			if err != nil {
				t.Fatalf("%v: %q", err, as)
			}
			if scan.Traits != id.Traits || scan.INS != (ins.Pair{Matricule: id.Matricule, OID: id.OID}) {
				t.Fatalf("got %+v from %q", scan, as)
			}
		}
	})
}

// A scan never qualifies: what it gives has no matricule, passes no gate that
// needs one, and is accepted neither as a trace nor as a proof.
func TestScanNeverQualifies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := datamatrix.Text(qualified(t))
		if err != nil {
			t.Fatal(err)
		}
		scan, err := datamatrix.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		id := scan.Identity()
		if id.HasINS() || id.Matricule != "" || id.OID != "" || id.Status != ins.Provisional || id.Qualified() {
			t.Fatalf("a scan gives %+v", id)
		}
		for _, to := range []ins.Destination{ins.ToDMP, ins.ToPatient} {
			if code(ins.Gate(id, to)) != ins.FaultAbsent {
				t.Errorf("a scan leaves to %s", to)
			}
		}
		var rules ins.Rules
		who := ins.Actor{ID: "1", Human: true, Entitled: true}
		at := day()
		record, _, err := rules.Create(id.Traits, false, who, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, channel := range []string{"CB", "SM", ""} { // ZFD-5: CB is a barcode
			trace := &ins.Trace{Channel: channel, Result: ins.Found, MessageID: "m", INS: scan.INS, Traits: scan.Traits, At: at}
			e := ins.Event{Kind: ins.Retrieve, At: at, Actor: who, Trace: trace, Proof: &ins.Proof{Device: "CN"}}
			if _, _, err := rules.Apply(record, e); code(err) != ins.FaultEvidence {
				t.Errorf("channel %q: %v", channel, err)
			}
		}
		if _, _, err := rules.Apply(record, ins.Event{Kind: ins.Control, At: at, Actor: who, Proof: &ins.Proof{Device: "CB"}}); code(err) != ins.FaultEvidence {
			t.Errorf("a scan as a device: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(published)
	f.Add(strings.ReplaceAll(published, gs, "<GS>"))
	f.Add(strings.ReplaceAll(published, gs, ""))
	f.Add(head)
	f.Add(published[:60])
	f.Fuzz(func(t *testing.T, text string) {
		scan, err := datamatrix.Parse(text)
		if err != nil {
			if strings.HasPrefix(code(err), "untyped") {
				t.Fatalf("untyped refusal %v", err)
			}
			return
		}
		// What is accepted can be written, once somebody has qualified it.
		id := ins.Identity{Matricule: scan.INS.Matricule, OID: scan.INS.OID, Traits: scan.Traits, Status: ins.Qualified}
		written, err := datamatrix.Text(id)
		if err != nil {
			return // no place, a lunar date, a name that INSi refuses
		}
		if again, err := datamatrix.Parse(written); err != nil || again.Traits != scan.Traits || again.INS != scan.INS {
			t.Fatalf("%+v became %+v (%v)", scan, again, err)
		}
	})
}
