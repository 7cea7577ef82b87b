package ins

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// cogCommune is an entry of data/communes.json of @etalab/decoupage-administratif.
type cogCommune struct {
	Code    string   `json:"code"`
	Name    string   `json:"nom"`
	Kind    string   `json:"type"`
	Seat    string   `json:"chefLieu"` // of a delegated or associated commune
	Of      string   `json:"commune"`  // of a municipal arrondissement
	Formers []string `json:"anciensCodes"`
}

// cogDated are the days that no open table gives and that matter: Saint-Martin
// and Saint-Barthélemy left Guadeloupe on 15 July 2007 (loi organique 2007-223)
// and got codes of their own. The codes of Corsica (1976) and of the Paris
// region (1968) are left undated on purpose: INSi returns them for people born
// before, and these are no mistake of who typed.
var cogDated = map[string]Place{
	"97123": {Kind: PlaceFormer, Until: "2007-07-15", Now: "97701", Name: "Saint-Barthélemy"},
	"97127": {Kind: PlaceFormer, Until: "2007-07-15", Now: "97801", Name: "Saint-Martin"},
	"97701": {Kind: PlaceCommune, Since: "2007-07-15", Name: "Saint-Barthélemy"},
	"97801": {Kind: PlaceCommune, Since: "2007-07-15", Name: "Saint-Martin"},
}

// BuildCOG writes a table of places from the npm package
// @etalab/decoupage-administratif (the .tgz that npm pack gives) and the
// national table of countries TRE_R20 as tab-separated values with a first
// line that names its source. The same inputs give the same bytes.
func BuildCOG(w io.Writer, npm, countries io.Reader) error {
	places := map[string]Place{}
	version, date, err := readNPM(npm, places)
	if err != nil {
		return err
	}
	countrySource, err := readCountries(countries, places)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("ins: %w", err)
	}
	fmt.Fprintln(z, cogMagic)
	fmt.Fprintf(z, "# communes: npm @etalab/decoupage-administratif %s (%s), from the code officiel géographique of INSEE; data under Licence Ouverte / Etalab 2.0, package under MIT\n", version, date)
	fmt.Fprintln(z, "# countries:", countrySource)
	fmt.Fprintln(z, "# dates of Saint-Martin and Saint-Barthélemy: loi organique 2007-223 of 21 February 2007")
	letters := map[PlaceKind]string{}
	for letter, kind := range placeKinds {
		letters[kind] = letter
	}
	for _, code := range slices.Sorted(maps.Keys(places)) {
		p := places[code]
		fmt.Fprintln(z, strings.Join([]string{code, letters[p.Kind], p.Since, p.Until, p.Now, p.Name}, "\t"))
	}
	if err := z.Close(); err != nil { // gives the first error of the writes as well
		return fmt.Errorf("ins: table of places: %w", err)
	}
	return nil
}

func readNPM(npm io.Reader, places map[string]Place) (version, date string, err error) {
	z, err := gzip.NewReader(npm)
	if err != nil {
		return "", "", fmt.Errorf("ins: npm package: %w", err)
	}
	archive := tar.NewReader(io.LimitReader(z, 8*maxCOGBytes))
	var communes []cogCommune
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", "", fmt.Errorf("ins: npm package: %w", err)
		}
		switch path.Clean(h.Name) {
		case "package/package.json":
			var p struct{ Name, Version string }
			if err := json.NewDecoder(archive).Decode(&p); err != nil || p.Name != "@etalab/decoupage-administratif" {
				return "", "", errors.New("ins: not the package @etalab/decoupage-administratif")
			}
			version, date = p.Version, h.ModTime.UTC().Format("2006-01-02")
		case "package/data/communes.json":
			if err := json.NewDecoder(archive).Decode(&communes); err != nil {
				return "", "", fmt.Errorf("ins: communes.json: %w", err)
			}
		}
	}
	if version == "" || len(communes) == 0 {
		return "", "", errors.New("ins: npm package without package.json or data/communes.json")
	}
	// Communes come first, so that their parts and former codes do not hide them.
	kinds := map[string]PlaceKind{"commune-actuelle": PlaceCommune, "arrondissement-municipal": PlaceDistrict,
		"commune-deleguee": PlacePart, "commune-associee": PlacePart}
	for _, kind := range [...]PlaceKind{PlaceCommune, PlaceDistrict, PlacePart} {
		for _, c := range communes {
			if _, there := places[c.Code]; kinds[c.Kind] == kind && !there {
				places[c.Code] = Place{Kind: kind, Name: oneLine(c.Name), Now: cmp.Or(c.Seat, c.Of)}
			}
		}
	}
	for _, c := range communes {
		for _, old := range c.Formers {
			if _, there := places[old]; !there {
				places[old] = Place{Kind: PlaceFormer, Now: c.Code}
			}
		}
	}
	for code, p := range cogDated {
		// The dates stand over whatever the package says of these four.
		if old, there := places[code]; there {
			p.Name = old.Name
		}
		places[code] = p
	}
	for code := range places {
		if !placeForm(code) {
			return "", "", fmt.Errorf("ins: communes.json: %q is no code", code)
		}
	}
	return version, date, nil
}

// readCountries reads columns code, display and date_fin.
func readCountries(r io.Reader, places map[string]Place) (source string, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxCOGBytes))
	column := map[string]int{}
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		switch {
		case source == "":
			text, ok := strings.CutPrefix(lines.Text(), "# source: ")
			if !ok {
				return "", errors.New("ins: table of countries without its source")
			}
			source = "TRE_R20-Pays, nomenclatures des objets de santé (ANS), " + oneLine(text)
			continue
		case len(column) == 0:
			for i, name := range f {
				column[name] = i
			}
			for _, name := range [...]string{"code", "display", "date_fin"} {
				if _, ok := column[name]; !ok {
					return "", fmt.Errorf("ins: table of countries without column %s", name)
				}
			}
			continue
		case len(f) != len(column):
			return "", errors.New("ins: table of countries: a line has not its columns")
		}
		code, p := f[column["code"]], Place{Kind: PlaceCountry, Name: oneLine(f[column["display"]]), Until: f[column["date_fin"]]}
		if p.Until != "" {
			p.Kind = PlaceAbolished
		}
		if code == UnknownPlace {
			continue // the code of no place is not a place
		}
		if !placeForm(code) || code[:2] != "99" || !dayOrNothing(p.Until) {
			return "", fmt.Errorf("ins: table of countries: %q is no country", code)
		}
		places[code] = p
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("ins: table of countries: %w", err)
	}
	if len(column) == 0 {
		return "", errors.New("ins: empty table of countries")
	}
	return source, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
