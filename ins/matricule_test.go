package ins_test

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/ins"
)

func code(err error) string {
	var r *ins.Refusal
	if errors.As(err, &r) {
		return r.FaultCode()
	}
	if err != nil {
		return "?"
	}
	return ""
}

func TestCheckMatricule(t *testing.T) {
	for _, c := range []struct {
		name, m string
		oid     ins.OID
		want    string
	}{
		{"ok/test", "279035121518989", ins.OIDTest, ""},
		{"ok/corse-2B", "180032B02040123", ins.OIDNIR, ""},
		{"ok/corse-2A", "297022A02077878", ins.OIDNIR, ""},
		{"ok/corse-2A-other", "253072A07300443", ins.OIDNIR, ""},
		{"ok/corse-2B-other", "253072B07300470", ins.OIDNIR, ""},
		{"ok/corse-2B-1960", "160012B02077713", ins.OIDNIR, ""},
		{"ok/abroad", "295109912611193", ins.OIDNIR, ""},
		{"ok/key-97", "279035121508497", ins.OIDNIR, ""},
		{"ok/key-01", "279035121508301", ins.OIDNIR, ""},
		{"ok/nia", "109076322088835", ins.OIDNIA, ""},
		{"ok/provisional", "785079935212389", ins.OIDNIA, ""},
		{"ok/pseudo-month", "155207511300116", ins.OIDNIR, ""},
		{"ok/wrong-key-test", "279035121518988", ins.OIDTest, ""},
		{"ok/wrong-key-demo", "279035121518988", ins.OIDDemo, ""},
		{"fail/wrong-key-nir", "279035121518988", ins.OIDNIR, ins.FaultKey},
		{"fail/wrong-key-nia", "279035121518988", ins.OIDNIA, ins.FaultKey},
		{"fail/key-letter-dropped", "180032B02040166", ins.OIDNIR, ins.FaultKey},
		{"fail/key-18-19-swapped", "180032B02040193", ins.OIDNIR, ins.FaultKey},
		{"fail/key-00", "279035121508400", ins.OIDNIR, ins.FaultForm},
		{"fail/key-00-test", "279035121508400", ins.OIDTest, ins.FaultForm},
		{"fail/key-98", "279035121518998", ins.OIDTest, ins.FaultForm},
		{"fail/lower-case", "180032b02040123", ins.OIDNIR, ins.FaultForm},
		{"fail/13", "2790351215189", ins.OIDTest, ins.FaultForm},
		{"fail/16", "2790351215189890", ins.OIDTest, ins.FaultForm},
		{"fail/blanks", "2 79 03 51 215 189 89", ins.OIDTest, ins.FaultForm},
		{"fail/trailing-blank", "27903512151898 ", ins.OIDTest, ins.FaultForm},
		{"fail/letter-elsewhere", "27903A121518989", ins.OIDTest, ins.FaultForm},
		{"fail/department-2C", "180032C02040123", ins.OIDNIR, ins.FaultForm},
		{"fail/department-3A", "180033A02040123", ins.OIDNIR, ins.FaultForm},
		{"fail/sex-5", "579035121518989", ins.OIDTest, ins.FaultForm},
		{"fail/sex-0", "079035121518989", ins.OIDTest, ins.FaultForm},
		{"fail/month-00", "279005121518989", ins.OIDTest, ins.FaultForm},
		{"fail/month-13", "279135121518989", ins.OIDTest, ins.FaultForm},
		{"fail/month-19", "279195121518989", ins.OIDTest, ins.FaultForm},
		{"fail/month-43", "279435121518989", ins.OIDTest, ins.FaultForm},
		{"fail/order-000", "279035121500089", ins.OIDTest, ins.FaultForm},
		{"fail/not-ascii", "27903512151898\u0669", ins.OIDTest, ins.FaultForm},
		{"fail/nul", "27903512151898\x00", ins.OIDTest, ins.FaultForm},
		{"fail/nothing", "", "", ins.FaultAbsent},
		{"fail/no-matricule", "", ins.OIDNIR, ins.FaultAbsent},
		{"fail/no-oid", "279035121518989", "", ins.FaultIncomplete},
		{"fail/ins-c", "279035121518989", "1.2.250.1.213.1.4.2", ins.FaultRetired},
		{"fail/ins-c-test", "279035121518989", "1.2.250.1.213.1.4.6", ins.FaultRetired},
		{"fail/ins-c-demo", "279035121518989", "1.2.250.1.213.1.4.7", ins.FaultRetired},
		{"fail/si-samu", "279035121518989", "1.2.250.1.213.1.4.12", ins.FaultOID},
		{"fail/urn", "279035121518989", "urn:oid:1.2.250.1.213.1.4.8", ins.FaultOID},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ins.CheckMatricule(c.m, c.oid)
			if got := code(err); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if c.m != "" && err != nil && strings.Contains(err.Error(), c.m) {
				t.Fatal("the error text holds the matricule")
			}
		})
	}
}

func TestInspectWarnsOfKeyOnFictiveOIDs(t *testing.T) {
	for _, oid := range []ins.OID{ins.OIDTest, ins.OIDDemo} {
		got := ins.Inspect("279035121518988", oid)
		if len(got) != 1 || got[0] != (ins.Finding{Code: ins.FaultKey, Where: ins.TraitMatricule, Severity: ins.Warning}) {
			t.Fatalf("%s: %v", oid, got)
		}
		if got := ins.Inspect("279035121518989", oid); len(got) != 0 {
			t.Fatalf("%s: %v", oid, got)
		}
	}
	if got := ins.Inspect("279035121518988", ins.OIDNIR); len(got) != 1 || got[0].Severity != ins.Error {
		t.Fatalf("production: %v", got)
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		env  ins.Environment
		oid  ins.OID
		want string
	}{
		{"ok/production-nir", ins.Production, ins.OIDNIR, ""},
		{"ok/production-nia", ins.Production, ins.OIDNIA, ""},
		{"ok/test-test", ins.Test, ins.OIDTest, ""},
		{"ok/test-nir", ins.Test, ins.OIDNIR, ""},
		{"ok/sandbox-demo", ins.Sandbox, ins.OIDDemo, ""},
		{"fail/production-test", ins.Production, ins.OIDTest, ins.FaultTestOID},
		{"fail/production-demo", ins.Production, ins.OIDDemo, ins.FaultTestOID},
		{"fail/unset-test", "", ins.OIDTest, ins.FaultTestOID},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := code(c.env.Check(c.oid)); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The key is judged against another way of computing it: substitution of the
// department as text, then arbitrary-precision arithmetic.
func TestKeyAgainstAnotherComputation(t *testing.T) {
	for _, body := range []string{
		"2790351215189", "297022A020778", "180032B020401", "2790351215084", "1090763220888", "1552075113001", "8999999999999",
	} {
		n, _ := new(big.Int).SetString(strings.NewReplacer("2A", "19", "2B", "18").Replace(body), 10)
		want := 97 - int(new(big.Int).Mod(n, big.NewInt(97)).Int64())
		if got, ok := ins.Key(body); !ok || got != want {
			t.Errorf("%s: got %d %v, want %d", body, got, ok, want)
		}
	}
	for _, body := range []string{"", "279035121518", "27903512151898", "279035121518A"} {
		if _, ok := ins.Key(body); ok {
			t.Errorf("%q has a key", body)
		}
	}
}

func TestParseAndDisplay(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"ok/plain", "279035121518989", "279035121518989"},
		{"ok/groups", "2 79 03 51 215 189 89", "279035121518989"},
		{"ok/narrow-blanks", "2\u202f79\u202f03 51\u00a0215 189 89", "279035121518989"},
		{"ok/lower-case", "180032b02040123", "180032B02040123"},
		{"fail/short", "2 79 03 51 215 189", ""},
		{"fail/dots", "2.79.03.51.215.189.89", ""},
		{"fail/long", "279035121518989" + strings.Repeat(" ", 100), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ins.ParseMatricule(c.in)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
	if got := ins.Display("279035121518989"); got != "2 79 03 51 215 189 89" {
		t.Errorf("display %q", got)
	}
	if got := ins.Display("27903512151"); got != "27903512151" {
		t.Errorf("display %q", got)
	}
}

func TestCheckMatriculeDoesNotAllocate(t *testing.T) {
	for _, m := range []string{"279035121518989", "180032B02040123", "279035121518988", "nonsense"} {
		if n := testing.AllocsPerRun(100, func() { _ = ins.CheckMatricule(m, ins.OIDNIR) }); n != 0 {
			t.Errorf("%g allocations", n)
		}
	}
}

func FuzzMatricule(f *testing.F) {
	for _, s := range []string{"279035121518989", "180032B02040123", "2 79 03 51 215 189 89", "180032b02040123", "", "27903512151898\u0669", "279435121518989"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ins.ParseMatricule(s)
		if err != nil {
			return
		}
		again, err := ins.ParseMatricule(ins.Display(m))
		if err != nil || again != m {
			t.Fatalf("display does not read back: %q %v", again, err)
		}
		key, ok := ins.Key(m[:13])
		if !ok || key < 1 || key > 97 {
			t.Fatalf("key %d %v", key, ok)
		}
		want := ""
		if k, _ := strconv.Atoi(m[13:]); k != key {
			want = ins.FaultKey
		}
		if got := code(ins.CheckMatricule(m, ins.OIDNIR)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func BenchmarkCheckMatricule(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if ins.CheckMatricule("180032B02040123", ins.OIDNIR) != nil {
			b.Fatal()
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
}
