package ins_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

func embedded(t testing.TB) *ins.COG {
	t.Helper()
	c, err := ins.EmbeddedCOG()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmbeddedCOG(t *testing.T) {
	c := embedded(t)
	source := strings.Join(c.Source(), "\n")
	for _, want := range []string{"@etalab/decoupage-administratif 6.0.0", "2026-03-09", "Licence Ouverte / Etalab 2.0", "TRE_R20-Pays", "20230718120000"} {
		if !strings.Contains(source, want) {
			t.Errorf("the source does not say %q:\n%s", want, source)
		}
	}
	if c.Len() < 39_000 {
		t.Errorf("%d codes", c.Len())
	}
	for _, want := range []ins.Place{
		{Code: "51215", Kind: ins.PlaceCommune, Name: "Dompremy"},
		{Code: "2B020", Kind: ins.PlaceCommune, Name: "Aregno"},
		{Code: "20020", Kind: ins.PlaceFormer, Now: "2B020"},
		{Code: "20004", Kind: ins.PlaceFormer, Now: "2A004"},
		{Code: "75044", Kind: ins.PlaceFormer, Now: "92044"},
		{Code: "75112", Kind: ins.PlaceDistrict, Now: "75056", Name: "Paris 12e Arrondissement"},
		{Code: "01340", Kind: ins.PlacePart, Now: "01015", Name: "Saint-Bois"},
		{Code: "97801", Kind: ins.PlaceCommune, Name: "Saint-Martin", Since: "2007-07-15"},
		{Code: "97127", Kind: ins.PlaceFormer, Now: "97801", Name: "Saint-Martin", Until: "2007-07-15"},
		{Code: "99350", Kind: ins.PlaceCountry, Name: "Royaume du Maroc"},
		{Code: "99115", Kind: ins.PlaceAbolished, Name: "Tchécoslovaquie", Until: "2016-02-09"},
	} {
		if got, ok := c.Lookup(want.Code); !ok || got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, code := range []string{"2A020", ins.UnknownPlace, "", "00000"} {
		if p, ok := c.Lookup(code); ok {
			t.Errorf("%q is %+v", code, p)
		}
	}
}

func TestCOGJudge(t *testing.T) {
	c := embedded(t)
	for _, tc := range []struct{ name, code, born, want string }{
		{"ok/commune", "51215", "1979-03-28", ""},
		{"ok/former-undated", "75044", "1960-02-01", ""},
		{"ok/2B-before-1976", "2B020", "1960-01-01", ""},
		{"ok/Saint-Martin-since", "97801", "2007-07-15", ""},
		{"ok/Saint-Martin-before-as-Guadeloupe", "97127", "1990-07-01", ""},
		{"ok/lunar-same-year", "97801", "2007-00-00", ""},
		{"ok/lunar-same-month", "97801", "2007-07-00", ""},
		{"ok/birth-date-unknown", "97801", "", ""},
		{"ok/country", "99352", "1955-03-01", ""},
		{"ok/country-then", "99115", "1980-03-01", ""},
		{"ok/unknown-place", ins.UnknownPlace, "1980-03-01", ""},
		{"ok/form-is-left-to-Judge", "2C020", "1980-03-01", ""},
		{"fail/not-in-the-table", "2A020", "1997-02-26", ins.FaultPlaceUnknown},
		{"fail/Saint-Martin-too-early", "97801", "1990-07-01", ins.FaultPlaceDate},
		{"fail/eve", "97801", "2007-07-14", ins.FaultPlaceDate},
		{"fail/lunar-too-early", "97801", "2006-00-00", ins.FaultPlaceDate},
		{"fail/lunar-month-too-early", "97801", "2007-06-00", ins.FaultPlaceDate},
		{"fail/Guadeloupe-too-late", "97127", "2007-07-15", ins.FaultPlaceDate},
		{"fail/Guadeloupe-lunar-too-late", "97127", "2008-00-00", ins.FaultPlaceDate},
		{"fail/country-too-late", "99115", "2020-03-01", ins.FaultPlaceDate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var born ins.BirthDate
			if tc.born != "" {
				var err error
				if born, err = ins.ParseBirthDate(tc.born); err != nil {
					t.Fatal(err)
				}
			}
			found := c.Judge(tc.code, born)
			switch {
			case tc.want == "" && len(found) == 0:
			case len(found) == 1 && found[0] == (ins.Finding{Code: tc.want, Where: ins.TraitBirthPlace, Severity: ins.Warning}):
			default:
				t.Fatalf("got %v, want %q", found, tc.want)
			}
		})
	}
}

// npmPackage is a small package in the shape of the real one.
func npmPackage(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range []string{"package/package.json", "package/data/communes.json"} {
		text, ok := files[name]
		if !ok {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: time.Date(2027, 2, 3, 0, 0, 0, 0, time.UTC)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	smallPackage  = `{"name":"@etalab/decoupage-administratif","version":"7.0.0"}`
	smallCommunes = `[{"code":"01015","nom":"Part seule","type":"commune-deleguee","chefLieu":"01015"},
		{"code":"01015","nom":"Neuve","type":"commune-actuelle","anciensCodes":["01340","01341"]},
		{"code":"01340","nom":"Part","type":"commune-deleguee","chefLieu":"01015"}]`
	smallCountries = "# source: essai | version 1\ncode\tdisplay\tdate_fin\n99350\tMaroc\t\n99115\tTchécoslovaquie\t2016-02-09\n99999\tInconnu\t\n"
)

func TestBuildCOG(t *testing.T) {
	good := func() (npm []byte, countries string) {
		return npmPackage(t, map[string]string{"package/package.json": smallPackage, "package/data/communes.json": smallCommunes}), smallCountries
	}
	t.Run("ok/replaces", func(t *testing.T) {
		npm, countries := good()
		var first, second bytes.Buffer
		for _, b := range []*bytes.Buffer{&first, &second} {
			if err := ins.BuildCOG(b, bytes.NewReader(npm), strings.NewReader(countries)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Error("the same inputs give two tables")
		}
		c, err := ins.LoadCOG(&first)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []ins.Place{
			{Code: "01015", Kind: ins.PlaceCommune, Name: "Neuve"},
			{Code: "01340", Kind: ins.PlacePart, Name: "Part", Now: "01015"},
			{Code: "01341", Kind: ins.PlaceFormer, Now: "01015"},
			{Code: "99350", Kind: ins.PlaceCountry, Name: "Maroc"},
			{Code: "99115", Kind: ins.PlaceAbolished, Name: "Tchécoslovaquie", Until: "2016-02-09"},
		} {
			if got, _ := c.Lookup(want.Code); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		if !slices.ContainsFunc(c.Source(), func(s string) bool { return strings.Contains(s, "7.0.0 (2027-02-03)") }) {
			t.Errorf("source %q", c.Source())
		}
	})
	for name, change := range map[string]func(files map[string]string, countries *string){
		"fail/another-package":   func(f map[string]string, _ *string) { f["package/package.json"] = `{"name":"autre","version":"1"}` },
		"fail/no-package":        func(f map[string]string, _ *string) { delete(f, "package/package.json") },
		"fail/no-communes":       func(f map[string]string, _ *string) { delete(f, "package/data/communes.json") },
		"fail/communes-not-JSON": func(f map[string]string, _ *string) { f["package/data/communes.json"] = "[{" },
		"fail/code": func(f map[string]string, _ *string) {
			f["package/data/communes.json"] = `[{"code":"1","type":"commune-actuelle"}]`
		},
		"fail/former-code": func(f map[string]string, _ *string) {
			f["package/data/communes.json"] = strings.ReplaceAll(smallCommunes, "01341", "1\t1")
		},
		"fail/countries-source":    func(_ map[string]string, c *string) { *c = strings.TrimPrefix(*c, "# source: ") },
		"fail/countries-column":    func(_ map[string]string, c *string) { *c = strings.Replace(*c, "date_fin", "fin", 1) },
		"fail/countries-cut":       func(_ map[string]string, c *string) { *c = strings.Replace(*c, "99350\tMaroc\t", "99350\tMaroc", 1) },
		"fail/countries-code":      func(_ map[string]string, c *string) { *c = strings.Replace(*c, "99350", "75056", 1) },
		"fail/countries-date":      func(_ map[string]string, c *string) { *c = strings.Replace(*c, "2016-02-09", "2016-02-31", 1) },
		"fail/countries-are-empty": func(_ map[string]string, c *string) { *c = "# source: x\n" },
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"package/package.json": smallPackage, "package/data/communes.json": smallCommunes}
			countries := smallCountries
			change(files, &countries)
			if err := ins.BuildCOG(&bytes.Buffer{}, bytes.NewReader(npmPackage(t, files)), strings.NewReader(countries)); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func compressed(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadCOG(t *testing.T) {
	const head = "# passerelle COG 1\n# source\n"
	for name, c := range map[string]struct {
		data []byte
		ok   bool
	}{
		"ok/one-row":        {compressed(t, head+"01001\tC\t\t\t\tL'Abergement\n"), true},
		"fail/not-gzip":     {[]byte(head), false},
		"fail/empty":        {compressed(t, head), false},
		"fail/nothing":      {nil, false},
		"fail/another-file": {compressed(t, "code;nom\n"), false},
		"fail/columns":      {compressed(t, head+"01001\tC\t\t\n"), false},
		"fail/code":         {compressed(t, head+"1001\tC\t\t\t\tX\n"), false},
		"fail/kind":         {compressed(t, head+"01001\tX\t\t\t\tX\n"), false},
		"fail/date":         {compressed(t, head+"01001\tC\t2007-13-15\t\t\tX\n"), false},
		"fail/line":         {compressed(t, head+strings.Repeat("x", 1<<20)), false},
		"fail/bomb":         {compressed(t, head+strings.Repeat("01001\tC\t\t\t\tX\n", 300_000)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ins.LoadCOG(bytes.NewReader(c.data)); (err == nil) != c.ok {
				t.Fatal(err)
			}
		})
	}
}
