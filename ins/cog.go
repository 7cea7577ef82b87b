package ins

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // the table of places
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// COG is the dated table of official geographic codes: communes (code officiel
// géographique of INSEE) and countries. It only ever advises: codes are
// abolished and renumbered, a birth place keeps the code that it had at the
// civil registry, and INSi returns codes of no table. Syntax alone refuses, in
// [Judge].
//
// A COG does not change after it was made and may be shared.
type COG struct {
	source []string
	places map[string]Place
}

// Place is what the table knows of one code.
type Place struct {
	Code  string    `json:"code"`
	Kind  PlaceKind `json:"kind"`
	Name  string    `json:"name,omitempty"`  // empty for most communes that are no more
	Now   string    `json:"now,omitempty"`   // the code of the commune that it is, or belongs to, today
	Since string    `json:"since,omitempty"` // first day of the code, YYYY-MM-DD; empty when unknown
	Until string    `json:"until,omitempty"` // first day without the code; empty when unknown or in force
}

// PlaceKind is what a code stands for.
type PlaceKind string

// The kinds.
const (
	PlaceCommune   PlaceKind = "commune"   // a commune of the vintage
	PlacePart      PlaceKind = "part"      // a delegated or associated commune, part of another
	PlaceDistrict  PlaceKind = "district"  // an arrondissement of Paris, Lyon or Marseille
	PlaceFormer    PlaceKind = "former"    // a code that a commune had before
	PlaceCountry   PlaceKind = "country"   // a country
	PlaceAbolished PlaceKind = "abolished" // a country that is no more
)

var placeKinds = map[string]PlaceKind{
	"C": PlaceCommune, "P": PlacePart, "D": PlaceDistrict, "F": PlaceFormer, "N": PlaceCountry, "A": PlaceAbolished,
}

// Bounds of a table: the present one has 39,000 rows and 0.9 MB.
const (
	maxCOGBytes = 16 << 20
	maxCOGRows  = 200_000
	cogMagic    = "# passerelle COG 1"
)

//go:generate go run ./.cog -communes decoupage-administratif.tgz -countries TRE_R20-Pays.tsv -out cog.tsv.gz

//go:embed cog.tsv.gz
var embeddedCOG []byte

var parsedCOG = sync.OnceValues(func() (*COG, error) { return LoadCOG(bytes.NewReader(embeddedCOG)) })

// EmbeddedCOG is the table that the program carries, see [COG.Source]. It is
// read at the first call.
func EmbeddedCOG() (*COG, error) { return parsedCOG() }

// LoadCOG reads a table that [BuildCOG] wrote, to replace the embedded one.
func LoadCOG(r io.Reader) (*COG, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("ins: table of places: %w", err)
	}
	lines := bufio.NewScanner(io.LimitReader(z, maxCOGBytes+1))
	c := &COG{places: map[string]Place{}}
	read, n := 0, 0
	for lines.Scan() {
		line := lines.Text()
		read += len(line) + 1
		n++
		if n == 1 && line != cogMagic {
			return nil, errors.New("ins: not a table of places of this program")
		}
		if read > maxCOGBytes || n > maxCOGRows {
			return nil, errors.New("ins: table of places too long")
		}
		if text, comment := strings.CutPrefix(line, "# "); comment {
			if n > 1 {
				c.source = append(c.source, text)
			}
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 6 || !placeForm(f[0]) || placeKinds[f[1]] == "" || !dayOrNothing(f[2]) || !dayOrNothing(f[3]) {
			return nil, fmt.Errorf("ins: table of places: line %d is not one", n)
		}
		c.places[f[0]] = Place{Code: f[0], Kind: placeKinds[f[1]], Since: f[2], Until: f[3], Now: f[4], Name: f[5]}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("ins: table of places: %w", err)
	}
	if len(c.places) == 0 {
		return nil, errors.New("ins: empty table of places")
	}
	return c, nil
}

func dayOrNothing(s string) bool {
	d, err := ParseBirthDate(s)
	return s == "" || err == nil && d.Real()
}

// Source names the sources of the table, their versions, dates and licences,
// one a line.
func (c *COG) Source() []string { return slices.Clone(c.source) }

// Len is the number of codes.
func (c *COG) Len() int { return len(c.places) }

// Lookup finds a code.
func (c *COG) Lookup(code string) (Place, bool) {
	p, ok := c.places[code]
	return p, ok
}

// Judge says what is odd about a birth place for somebody born on a day (the
// zero date when it is unknown). Both findings are warnings: a code that the
// table does not have, and a code that was not in force on that day. What has
// not the form of a code is left to the [Judge] of the identity.
func (c *COG) Judge(code string, born BirthDate) []Finding {
	if !placeForm(code) || code == UnknownPlace {
		return nil
	}
	p, ok := c.places[code]
	switch {
	case !ok:
		return []Finding{{FaultPlaceUnknown, TraitBirthPlace, Warning}}
	case p.Since != "" && born.surelyBefore(p.Since), p.Until != "" && born.surelyFrom(p.Until):
		return []Finding{{FaultPlaceDate, TraitBirthPlace, Warning}}
	}
	return nil
}

// known is the part of a date that is known, as far as it can be compared.
func (d BirthDate) known() string {
	switch s := d.String(); {
	case d.Year <= 0:
		return ""
	case d.Month < 1 || d.Month > 12:
		return s[:4]
	case d.Day < 1 || d.Day > 31:
		return s[:7]
	default:
		return s
	}
}

// surelyBefore tells whether every day that d may stand for is before a day.
func (d BirthDate) surelyBefore(day string) bool {
	k := d.known()
	return k != "" && k < day[:len(k)]
}

// surelyFrom tells whether every day that d may stand for is that day or later.
func (d BirthDate) surelyFrom(day string) bool {
	k := d.known()
	if len(k) == len(day) {
		return k >= day
	}
	return k != "" && k > day[:len(k)]
}
