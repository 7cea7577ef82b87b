package ins_test

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/ins"
)

func TestSex(t *testing.T) {
	for in, want := range map[string]string{"M": "M", "F": "F", "U": "U", "UN": "U", "I": "U", "male": "M", "female": "F", "unknown": "U"} {
		got, ok := ins.ParseSex(in)
		if !ok || got != want {
			t.Errorf("%s: %s %v", in, got, ok)
		}
		for name, code := range map[string]string{"CDA": ins.SexForCDA(got), "FHIR": ins.SexForFHIR(got)} {
			if back, ok := ins.ParseSex(code); !ok || back != want {
				t.Errorf("%s through %s: %s %v", in, name, back, ok)
			}
		}
	}
	for _, in := range []string{"", "O", "other", "m", "X"} {
		if _, ok := ins.ParseSex(in); ok {
			t.Errorf("%q is a sex", in)
		}
	}
	if ins.SexForCDA("U") != "UN" || ins.SexForFHIR("U") != "unknown" {
		t.Error("indeterminate sex")
	}
}

func fhirCodes(system string, codes []string) (all []ins.FHIRCode) {
	for _, c := range codes {
		all = append(all, ins.FHIRCode{System: system, Code: c})
	}
	return all
}

// Found by review, issue 6: VALI of the system that has a word for QUAL counted
// as QUAL beside an INS.
func TestFHIRReliabilityBySystem(t *testing.T) {
	for _, c := range []struct {
		name string
		said []ins.FHIRCode
		want ins.Status
	}{
		{"ok/2.1", fhirCodes(ins.FHIRSystem0445, []string{"VALI"}), ins.Qualified},
		{"ok/2.1-draft", fhirCodes("https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-fiabilite-identite", []string{"VALI"}), ins.Qualified},
		{"ok/both", append(fhirCodes(ins.FHIRSystem0445, []string{"VALI"}), fhirCodes(ins.FHIRSystemStatus, []string{"QUAL"})...), ins.Qualified},
		{"fail/later", fhirCodes(ins.FHIRSystemStatus, []string{"VALI"}), ins.Validated},
		{"fail/no-system", fhirCodes("", []string{"VALI"}), ins.Validated},
		{"fail/contradiction", append(fhirCodes(ins.FHIRSystem0445, []string{"VALI"}), fhirCodes(ins.FHIRSystemStatus, []string{"VALI"})...), ins.Validated},
		{"fail/later-prov", append(fhirCodes(ins.FHIRSystem0445, []string{"VALI"}), fhirCodes(ins.FHIRSystemStatus, []string{"PROV"})...), ins.Provisional},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, _ := ins.FromFHIRReliability(c.said, true); got != c.want {
				t.Fatalf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestFHIRReliability(t *testing.T) {
	for _, c := range []struct {
		name   string
		codes  []string
		hasINS bool
		want   ins.Status
		attrs  []string
	}{
		{"ok/2.1-vali-ins", []string{"VALI"}, true, ins.Qualified, nil},
		{"ok/2.1-vali", []string{"VALI"}, false, ins.Validated, nil},
		{"ok/2.1-prov", []string{"PROV"}, false, ins.Provisional, nil},
		{"ok/later-qual", []string{"QUAL"}, true, ins.Qualified, nil},
		{"ok/later-recup", []string{"RECUP"}, true, ins.Retrieved, nil},
		{"ok/homonym", []string{"QUAL", "HOMA"}, true, ins.Qualified, []string{"HOMA"}},
		{"ok/nothing", nil, true, ins.Provisional, nil},
		{"fail/qual-without-ins", []string{"QUAL"}, false, ins.Validated, nil},
		{"fail/recup-without-ins", []string{"RECUP"}, false, ins.Provisional, nil},
		{"fail/recup-and-vali", []string{"VALI", "RECUP"}, true, ins.Retrieved, nil},
		{"fail/recup-and-prov", []string{"RECUP", "PROV"}, true, ins.Provisional, nil},
		{"fail/qual-doubtful", []string{"QUAL", "DOUT"}, true, ins.Provisional, []string{"DOUT"}},
		{"fail/recup-fictive", []string{"RECUP", "FICT"}, true, ins.Provisional, []string{"FICT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, attrs := ins.FromFHIRReliability(fhirCodes(ins.FHIRSystem0445, c.codes), c.hasINS)
			if s != c.want || !reflect.DeepEqual(attrs, c.attrs) {
				t.Fatalf("got %s %v", s, attrs)
			}
		})
	}
}

func TestFHIRIdentifier(t *testing.T) {
	for oid, want := range map[ins.OID][2]string{
		ins.OIDNIR: {"INS-NIR", "official"}, ins.OIDNIA: {"INS-NIA", "temp"}, ins.OIDTest: {"INS-NIR-TEST", "official"}, ins.OIDDemo: {"INS-NIR-DEMO", "official"},
	} {
		code, use, system, ok := ins.FHIRIdentifier(oid)
		if !ok || code != want[0] || use != want[1] || system != "urn:oid:"+string(oid) {
			t.Errorf("%s: %s %s %s %v", oid, code, use, system, ok)
		}
		for _, typ := range []string{code, ""} {
			if back, ok := ins.FromFHIRIdentifier(typ, use, system); !ok || back != oid {
				t.Errorf("%s of type %q reads back as %s %v", oid, typ, back, ok)
			}
		}
	}
	if _, _, _, ok := ins.FHIRIdentifier("1.2.250.1.213.1.4.2"); ok {
		t.Error("an INS-C has a type")
	}
	for name, f := range map[string][3]string{
		"billing NIR": {"NH", "official", "urn:oid:1.2.250.1.213.1.4.8"},
		"other type":  {"INS-NIA", "official", "urn:oid:1.2.250.1.213.1.4.8"},
		"former":      {"INS-NIR", "old", "urn:oid:1.2.250.1.213.1.4.8"},
		"INS-C":       {"INS-C", "official", "urn:oid:1.2.250.1.213.1.4.2"},
		"no urn":      {"INS-NIR", "official", "1.2.250.1.213.1.4.8"},
	} {
		if oid, ok := ins.FromFHIRIdentifier(f[0], f[1], f[2]); ok {
			t.Errorf("%s is the INS of %s", name, oid)
		}
	}
}

func TestXDSPatientID(t *testing.T) {
	p := ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest}
	s, err := ins.XDSPatientID(p)
	if err != nil || s != "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" {
		t.Fatalf("%q, %v", s, err)
	}
	for _, in := range []string{s, strings.Replace(s, "NH", "INS", 1)} {
		if back, err := ins.ParseXDSPatientID(in); err != nil || back != p {
			t.Errorf("%q: %v %v", in, back, err)
		}
	}
	if _, err := ins.XDSPatientID(ins.Pair{Matricule: "279035121518988", OID: ins.OIDNIR}); code(err) != ins.FaultKey {
		t.Errorf("wrong key: %v", err)
	}
	for in, want := range map[string]string{
		"":                ins.FaultPatientID,
		"279035121518989": ins.FaultPatientID,
		"279035121518989^^^&1.2.250.1.213.1.4.10&ISO^PI":  ins.FaultPatientID,
		"279035121518989^^^&1.2.250.1.213.1.4.10&DNS^NH":  ins.FaultPatientID,
		"279035121518989^^^1.2.250.1.213.1.4.10&ISO^NH":   ins.FaultPatientID,
		"279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH^": ins.FaultPatientID,
		"^^^&1.2.250.1.213.1.4.10&ISO^NH":                 ins.FaultPatientID,
		// Found by fuzzing in CI: an authority name that nobody would write back.
		"279035121518989^^^0&1.2.250.1.213.1.4.10&ISO^NH": ins.FaultPatientID,
		"279035121518989^^^&1.2.250.1.213.1.4.2&ISO^NH":   ins.FaultRetired,
		"279035121518989^^^&1.2.3&ISO^NH":                 ins.FaultOID,
	} {
		if _, err := ins.ParseXDSPatientID(in); code(err) != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

func FuzzXDSPatientID(f *testing.F) {
	f.Add("279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH")
	f.Add("^^^&&^")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ins.ParseXDSPatientID(s)
		if err != nil || ins.CheckMatricule(p.Matricule, p.OID) != nil {
			return
		}
		if w, err := ins.XDSPatientID(p); err != nil || strings.TrimSuffix(w, "^NH") != strings.TrimSuffix(strings.TrimSuffix(s, "^NH"), "^INS") {
			t.Fatalf("%q written as %q, %v", s, w, err)
		}
	})
}

// What a sender says of a person never becomes more than it said, whatever the
// codes: an INS is taken as qualified only beside VALI (or QUAL), and never
// beside a code that blocks.
func TestStatusesAreNeverRaised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codes := rapid.SliceOfN(rapid.SampledFrom([]string{"PROV", "VALI", "QUAL", "RECUP", "DOUT", "FICT", "HOMA", "DESA", "", "vali", "?"}), 0, 5).Draw(t, "codes")
		hasINS := rapid.Bool().Draw(t, "INS")
		said := func(want ...string) bool {
			for _, c := range codes {
				for _, w := range want {
					if strings.EqualFold(c, w) {
						return true
					}
				}
			}
			return false
		}
		v2, _ := ins.FromPID32(codes, hasINS)
		fhir, _ := ins.FromFHIRReliability(fhirCodes(rapid.SampledFrom([]string{ins.FHIRSystem0445, ins.FHIRSystemStatus, ""}).Draw(t, "system"), codes), hasINS)
		if v2 == ins.Qualified && (!hasINS || !said("VALI") || said("PROV", "DOUT", "FICT")) {
			t.Fatalf("PID-32 %v raised to QUAL", codes)
		}
		if fhir == ins.Qualified && (!hasINS || !said("VALI", "QUAL") || said("PROV", "RECUP", "DOUT", "FICT")) {
			t.Fatalf("FHIR %v raised to QUAL", codes)
		}
		for _, s := range []ins.Status{v2, fhir} {
			// Written and read again, a status is what PID-32 can say of it.
			again, _ := ins.FromPID32(ins.ToPID32(s, nil), hasINS)
			want := map[ins.Status]ins.Status{ins.Provisional: ins.Provisional, ins.Retrieved: ins.Provisional, ins.Validated: ins.Validated, ins.Qualified: ins.Qualified}[s]
			if s == ins.Validated && hasINS {
				want = ins.Qualified // VALI beside an INS says QUAL
			}
			if again != want {
				t.Fatalf("%s reads back as %s", s, again)
			}
		}
	})
}
