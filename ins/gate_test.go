package ins_test

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
)

func qualified() ins.Identity {
	return ins.Identity{
		Matricule: "279035121518989", OID: ins.OIDTest, Status: ins.Qualified,
		Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-28", Sex: "F", BirthPlace: "51215"},
		Local:  []ins.LocalID{{Value: "900001", Authority: "990000001"}},
	}
}

func with(change func(*ins.Identity)) ins.Identity {
	id := qualified()
	change(&id)
	return id
}

var everywhere = []ins.Destination{ins.ToDMP, ins.ToProfessional, ins.ToPatient, ins.ToHL7, ins.ToFHIR, ins.ToPaper}

func needsINS(to ins.Destination) bool { return to == ins.ToDMP || to == ins.ToPatient }

func TestGateOnAnIdentityWithMatricule(t *testing.T) {
	for _, c := range []struct {
		name  string
		id    ins.Identity
		want  string
		where string
	}{
		{"ok/qualified", qualified(), "", ""},
		{"ok/homonym", with(func(id *ins.Identity) { id.Attributes = []string{"HOMA"} }), "", ""},
		{"ok/wrong-key-on-test-oid", with(func(id *ins.Identity) { id.Matricule = "279035121518988" }), "", ""},
		{"fail/recup", with(func(id *ins.Identity) { id.Status = ins.Retrieved }), ins.FaultNotQualified, "status"},
		{"fail/vali", with(func(id *ins.Identity) { id.Status = ins.Validated }), ins.FaultNotQualified, "status"},
		{"fail/prov", with(func(id *ins.Identity) { id.Status = ins.Provisional }), ins.FaultNotQualified, "status"},
		{"fail/no-status", with(func(id *ins.Identity) { id.Status = "" }), ins.FaultNotQualified, "status"},
		{"fail/status-unknown", with(func(id *ins.Identity) { id.Status = "qual" }), ins.FaultNotQualified, "status"},
		{"fail/doubtful", with(func(id *ins.Identity) { id.Attributes = []string{"HOMA", "DOUT"} }), ins.FaultNotQualified, "attributes"},
		// Found by review, issue 6: an envelope writes attributes as it likes.
		{"fail/doubtful-lower-case", with(func(id *ins.Identity) { id.Attributes = []string{"dout"} }), ins.FaultNotQualified, "attributes"},
		{"fail/fictive-with-blanks", with(func(id *ins.Identity) { id.Attributes = []string{" Fict "} }), ins.FaultNotQualified, "attributes"},
		{"fail/blank-birth-name", with(func(id *ins.Identity) { id.Traits.BirthName = " \t" }), ins.FaultIncomplete, "birth_name"},
		{"fail/blank-birth-place", with(func(id *ins.Identity) { id.Traits.BirthPlace = "\u00a0" }), ins.FaultIncomplete, "birth_place"},
		{"fail/year-0000", with(func(id *ins.Identity) { id.Traits.BirthDate = "0000-01-01" }), ins.FaultIncomplete, "birth_date"},
		{"fail/no-oid", with(func(id *ins.Identity) { id.OID = "" }), ins.FaultIncomplete, "oid"},
		{"fail/oid-unknown", with(func(id *ins.Identity) { id.OID = "1.2.3" }), ins.FaultOID, "oid"},
		{"fail/ins-c", with(func(id *ins.Identity) { id.OID = "1.2.250.1.213.1.4.2" }), ins.FaultRetired, "oid"},
		{"fail/wrong-key", with(func(id *ins.Identity) { id.OID, id.Matricule = ins.OIDNIR, "279035121518988" }), ins.FaultKey, "matricule"},
		{"fail/13", with(func(id *ins.Identity) { id.Matricule = id.Matricule[:13] }), ins.FaultForm, "matricule"},
		{"fail/no-birth-name", with(func(id *ins.Identity) { id.Traits.BirthName = "" }), ins.FaultIncomplete, "birth_name"},
		{"fail/no-first-given", with(func(id *ins.Identity) { id.Traits.FirstGiven = "" }), ins.FaultIncomplete, "first_given"},
		{"fail/no-given-list", with(func(id *ins.Identity) { id.Traits.GivenNames = "" }), ins.FaultIncomplete, "given_names"},
		{"fail/no-birth-date", with(func(id *ins.Identity) { id.Traits.BirthDate = "" }), ins.FaultIncomplete, "birth_date"},
		{"fail/lunar-date", with(func(id *ins.Identity) { id.Traits.BirthDate = "1950-00-00" }), ins.FaultIncomplete, "birth_date"},
		{"fail/29-february", with(func(id *ins.Identity) { id.Traits.BirthDate = "1979-02-29" }), ins.FaultIncomplete, "birth_date"},
		{"fail/no-sex", with(func(id *ins.Identity) { id.Traits.Sex = "" }), ins.FaultIncomplete, "sex"},
		{"fail/sex-unknown", with(func(id *ins.Identity) { id.Traits.Sex = "U" }), ins.FaultIncomplete, "sex"},
		{"fail/no-birth-place", with(func(id *ins.Identity) { id.Traits.BirthPlace = "" }), ins.FaultIncomplete, "birth_place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, to := range everywhere {
				err := ins.Gate(c.id, to)
				if got := code(err); got != c.want {
					t.Fatalf("%s: got %q, want %q", to, got, c.want)
				}
				if r, ok := err.(*ins.Refusal); ok && r.FaultWhere() != c.where {
					t.Fatalf("%s: at %q, want %q", to, r.FaultWhere(), c.where)
				}
			}
		})
	}
}

func TestGateOnAnIdentityWithoutMatricule(t *testing.T) {
	for _, s := range []ins.Status{ins.Provisional, ins.Validated, ins.Qualified, ""} {
		for _, to := range everywhere {
			id := with(func(id *ins.Identity) { id.Matricule, id.OID, id.Status = "", "", s })
			want := ""
			if needsINS(to) {
				want = ins.FaultAbsent
			}
			if got := code(ins.Gate(id, to)); got != want {
				t.Errorf("%s to %s: got %q, want %q", s, to, got, want)
			}
			// An OID alone is a piece of an INS, and a piece never travels.
			id.OID = ins.OIDTest
			if ins.Gate(id, to) == nil {
				t.Errorf("%s to %s: an OID without matricule leaves", s, to)
			}
		}
	}
	if got := code(ins.Gate(qualified(), "fax")); got != ins.FaultDestination {
		t.Errorf("unknown destination: %q", got)
	}
}

func TestPolicyReplacesTheBlockingAttributes(t *testing.T) {
	for _, a := range ins.DefaultBlocking() {
		id := with(func(id *ins.Identity) { id.Attributes = []string{a} })
		if id.Qualified() || ins.Gate(id, ins.ToDMP) == nil {
			t.Errorf("%s does not block", a)
		}
		site := ins.Policy{Blocking: []string{"HOMD"}}
		// Found by review, issue 6: no site may let a doubtful or fictive identity
		// through (EXI SI 09).
		forced := a == ins.AttrDoubtful || a == ins.AttrFictive
		if site.Qualified(id) == forced || (site.Gate(id, ins.ToDMP) == nil) == forced {
			t.Errorf("%s: blocks %v although the site replaced the list", a, !forced)
		}
		id.Attributes = []string{"HOMD"}
		if site.Qualified(id) || site.Gate(id, ins.ToDMP) == nil {
			t.Error("HOMD does not block although the site asked for it")
		}
	}
	// The list given to a caller is a copy.
	ins.DefaultBlocking()[0] = "X"
	if (with(func(id *ins.Identity) { id.Attributes = []string{"FICT"} })).Qualified() {
		t.Error("a caller changed the default list")
	}
}

func TestReceiveDropsAnUnqualifiedINS(t *testing.T) {
	var p ins.Policy
	for _, c := range []struct {
		name    string
		id      ins.Identity
		dropped bool
		status  ins.Status
	}{
		{"ok/qualified", qualified(), false, ins.Qualified},
		{"ok/none", qualified().WithoutINS(), false, ins.Validated},
		{"fail/prov", with(func(id *ins.Identity) { id.Status = ins.Provisional }), true, ins.Provisional},
		{"fail/recup", with(func(id *ins.Identity) { id.Status = ins.Retrieved }), true, ins.Provisional},
		{"fail/doubtful", with(func(id *ins.Identity) { id.Attributes = []string{"DOUT"} }), true, ins.Validated},
		{"fail/oid-alone", with(func(id *ins.Identity) { id.Matricule = "" }), true, ins.Validated},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept, dropped := p.Receive(c.id)
			if dropped != c.dropped || kept.Status != c.status || dropped && (kept.Matricule != "" || kept.OID != "") {
				t.Fatalf("kept status %s, INS %v, dropped %v", kept.Status, kept.HasINS(), dropped)
			}
			if kept.Traits != c.id.Traits || len(kept.Local) != 1 {
				t.Fatal("traits or local identifiers were lost")
			}
		})
	}
}

func TestVouchedByAndByContract(t *testing.T) {
	doc := with(func(id *ins.Identity) { id.Status = "" })
	if ins.Gate(doc, ins.ToDMP) == nil {
		t.Fatal("a document without a status passes the gate")
	}
	if err := ins.Gate(doc.VouchedBy(qualified()), ins.ToDMP); err != nil {
		t.Fatalf("vouched by a qualified envelope: %v", err)
	}
	if err := ins.Gate(doc.ByContract(), ins.ToDMP); err != nil {
		t.Fatalf("by contract: %v", err)
	}
	for name, envelope := range map[string]ins.Identity{
		"provisional": with(func(id *ins.Identity) { id.Status = ins.Provisional }),
		"doubtful":    with(func(id *ins.Identity) { id.Attributes = []string{"DOUT"} }),
		"no INS":      with(func(id *ins.Identity) { id.Matricule, id.OID = "", "" }),
	} {
		if got := code(ins.Gate(doc.VouchedBy(envelope), ins.ToProfessional)); got != ins.FaultNotQualified {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := doc.WithoutINS().ByContract().Status; got == ins.Qualified {
		t.Error("qualified without an INS")
	}
}

func TestPID32(t *testing.T) {
	for _, c := range []struct {
		name   string
		codes  []string
		hasINS bool
		want   ins.Status
		attrs  []string
	}{
		{"ok/vali-ins", []string{"VALI"}, true, ins.Qualified, nil},
		{"ok/vali", []string{"VALI"}, false, ins.Validated, nil},
		{"ok/prov", []string{"PROV"}, false, ins.Provisional, nil},
		{"ok/prov-ins", []string{"PROV"}, true, ins.Provisional, nil},
		{"ok/empty", nil, true, ins.Provisional, nil},
		{"ok/blank", []string{" "}, true, ins.Provisional, nil},
		{"ok/both", []string{"VALI", "PROV"}, true, ins.Provisional, nil},
		{"ok/homonym", []string{"HOMA", "VALI", "HOMA"}, true, ins.Qualified, []string{"HOMA"}},
		{"ok/padded", []string{" vali "}, true, ins.Qualified, nil},
		{"fail/doubtful", []string{"VALI", "DOUT"}, true, ins.Provisional, []string{"DOUT"}},
		{"fail/fictive", []string{"FICT", "VALI"}, true, ins.Provisional, []string{"FICT"}},
		{"fail/not-in-0445", []string{"QUAL"}, true, ins.Provisional, []string{"QUAL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, attrs := ins.FromPID32(c.codes, c.hasINS)
			if s != c.want || !reflect.DeepEqual(attrs, c.attrs) {
				t.Fatalf("got %s %v", s, attrs)
			}
		})
	}
	for s, want := range map[ins.Status]string{ins.Provisional: "PROV", ins.Retrieved: "PROV", ins.Validated: "VALI", ins.Qualified: "VALI", "": "PROV"} {
		if got := ins.ToPID32(s, []string{"HOMA"}); !slices.Equal(got, []string{want, "HOMA"}) {
			t.Errorf("%s: %v", s, got)
		}
	}
}

// Whatever stands in an identity, a matricule passes the gate only qualified,
// whole and right, and to leave without it is always possible where no INS is
// needed.
func TestNothingUnqualifiedPassesTheGate(t *testing.T) {
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Custom(drawCandidate).Draw(t, "id").Identity
		id.Status = rapid.SampledFrom([]ins.Status{ins.Provisional, ins.Validated, ins.Retrieved, ins.Qualified, ins.Qualified, ins.Qualified, ""}).Draw(t, "status")
		id.Attributes = rapid.SliceOfN(rapid.SampledFrom([]string{"HOMA", "DOUT", "FICT", "COLP", "USUR"}), 0, 2).Draw(t, "attributes")
		if rapid.IntRange(0, 2).Draw(t, "hole") == 0 {
			rapid.SampledFrom(changes).Draw(t, "removed").remove(&id)
		}
		for _, to := range everywhere {
			err := ins.Gate(id, to)
			if err == nil && (id.Matricule != "" || id.OID != "") {
				passed++
				if !id.Qualified() || ins.CheckMatricule(id.Matricule, id.OID) != nil || len(id.Traits.Missing()) > 0 {
					t.Fatalf("%+v passes to %s", id, to)
				}
			}
			if err := ins.Gate(id.WithoutINS(), to); (err == nil) == needsINS(to) {
				t.Fatalf("without INS to %s: %v", to, err)
			}
		}
	})
	if passed == 0 && !testing.Short() { // -short draws too few to be sure of one
		t.Error("the generator never made an identity that passes")
	}
}
