package ins_test

import (
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

func TestBirthDate(t *testing.T) {
	for _, c := range []struct {
		name, in, str, compact string
		real                   bool
		complete               string
	}{
		{"ok/day", "1979-03-28", "1979-03-28", "19790328", true, "1979-03-28"},
		{"ok/29-february", "2000-02-29", "2000-02-29", "20000229", true, "2000-02-29"},
		{"ok/lunar", "1950-00-00", "1950-00-00", "1950", false, "1950-12-31"},
		{"ok/day-unknown", "1950-05-00", "1950-05-00", "195005", false, "1950-05-01"},
		{"ok/month-unknown", "1950-00-17", "1950-00-17", "19500017", false, "1950-01-17"},
		{"ok/out-of-range", "1985-13-33", "1985-13-33", "19851333", false, "1985-12-31"},
		{"ok/month-out-of-range", "1985-13-09", "1985-13-09", "19851309", false, "1985-01-09"},
		{"ok/30-february", "1985-02-30", "1985-02-30", "19850230", false, "1985-02-01"},
		{"ok/29-february-1900", "1900-02-29", "1900-02-29", "19000229", false, "1900-02-01"},
		{"ok/year", "1950", "1950-00-00", "1950", false, "1950-12-31"},
		{"ok/month", "1950-05", "1950-05-00", "195005", false, "1950-05-01"},
		{"ok/no-year", "0000-05-01", "0000-05-01", "00000501", false, "0000-05-01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := ins.ParseBirthDate(c.in)
			if err != nil || d.String() != c.str || d.Compact() != c.compact || d.Real() != c.real {
				t.Fatalf("%v: %s %s %v", err, d, d.Compact(), d.Real())
			}
			full, changed := d.Complete()
			if full.String() != c.complete || changed != (full != d) {
				t.Fatalf("completed %s, changed %v", full, changed)
			}
			if changed && !full.Real() {
				t.Fatal("completed to no day of the calendar")
			}
			back, err := ins.ParseCompactBirthDate(d.Compact())
			if err != nil || back != d {
				t.Fatalf("compact form reads back as %s, %v", back, err)
			}
		})
	}
	for _, s := range []string{"", "19790328", "1979/03/28", "1979-3-28", "1979-03-2x", "1979-03-", "79-03-28", "1979-03-28T00:00:00Z", "+979-03-28", "٠١٢٣"} {
		if _, err := ins.ParseBirthDate(s); code(err) != ins.FaultBirthDate {
			t.Errorf("%q: %v", s, err)
		}
	}
	for s, want := range map[string]string{"19790328": "1979-03-28", "197903281200": "1979-03-28", "20240102030405.678+0200": "2024-01-02", "197903": "1979-03-00", "1979": "1979-00-00"} {
		if d, err := ins.ParseCompactBirthDate(s); err != nil || d.String() != want {
			t.Errorf("%q: %s, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "197", "19790", "1979-03-28", "197903281", "1979032812x", "19790328+01", "197903280000000000"} {
		if d, err := ins.ParseCompactBirthDate(s); code(err) != ins.FaultBirthDate {
			t.Errorf("%q: %s, %v", s, d, err)
		}
	}
	if (ins.BirthDate{}).String() != "" || (ins.BirthDate{}).Compact() != "" {
		t.Error("no date is written")
	}
}

func TestBirthDateCheck(t *testing.T) {
	today := time.Date(2026, 5, 4, 23, 59, 0, 0, time.UTC)
	for in, want := range map[string]ins.Severity{
		"2026-05-04": 0, "2026-05-05": ins.Error, "2027-01-01": ins.Error, "1979-03-28": 0,
		"1870-01-01": 0, "1869-12-31": ins.Warning, "1950-00-00": ins.Error,
	} {
		d, err := ins.ParseBirthDate(in)
		if err != nil {
			t.Fatal(err)
		}
		var got ins.Severity
		for _, f := range d.Check(today) {
			got = f.Severity
		}
		if got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func FuzzBirthDate(f *testing.F) {
	for _, s := range []string{"1979-03-28", "1950-00-00", "19790328", "197903281200+0200", "9999-99-99", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (ins.BirthDate, error){ins.ParseBirthDate, ins.ParseCompactBirthDate} {
			d, err := parse(s)
			if err != nil || d == (ins.BirthDate{}) {
				continue
			}
			if again, err := ins.ParseBirthDate(d.String()); err != nil || again != d {
				t.Fatalf("%s reads back as %s, %v", d, again, err)
			}
			if _, err := time.Parse(time.DateOnly, d.String()); (err == nil) != d.Real() && d.Year > 0 {
				t.Fatalf("%s: real %v, %v", d, d.Real(), err)
			}
			if full, changed := d.Complete(); changed && (!full.Real() || full.Year != d.Year) {
				t.Fatalf("%s completed to %s", d, full)
			}
		}
	})
}
