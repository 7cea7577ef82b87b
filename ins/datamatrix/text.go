package datamatrix

import (
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

const (
	// header is the marker IS, version 01, and what a 2D-Doc says of its
	// signature, all zero.
	header    = "IS01" + "0000000000000000000000"
	separator = '\x1d'
	typed     = "<GS>" // a separator as some scanners type it
	maxText   = 400    // the longest possible content has 291 bytes
)

// field is one row of the format.
type field struct {
	id       string
	min, max int
	optional bool
}

var fields = [...]field{
	{id: "S1", min: 15, max: 15},
	{id: "S2", min: 1, max: 20},
	{id: "S3", min: 1, max: 100},
	{id: "S4", min: 1, max: 100},
	{id: "S5", min: 1, max: 1},
	{id: "S6", min: 10, max: 10},
	{id: "S7", min: 5, max: 5, optional: true},
}

// Scan is what an INS datamatrix says. Nobody vouches for it.
type Scan struct {
	INS      ins.Pair   // to search by, or to have INSi verify
	Traits   ins.Traits // as they stand; the first given name is the first word of the list
	Repaired bool       // a separator was missing or typed as text: the scanner should be set
}

// Identity is the scan as a register may take it: traits of a provisional
// identity. It has no matricule, because only INSi gives one.
func (s Scan) Identity() ins.Identity {
	return ins.Identity{Traits: s.Traits, Status: ins.Provisional}
}

// Parse reads the text of an INS datamatrix, as a scanner gives it.
func Parse(text string) (Scan, error) {
	if len(text) > maxText {
		return Scan{}, &Refusal{Code: FaultTooLong}
	}
	// The symbology identifier that a scanner may be set to send first.
	if len(text) > 3 && strings.HasPrefix(text, "]d") && text[2] >= '0' && text[2] <= '9' {
		text = text[3:]
	}
	rest, ok := strings.CutPrefix(strings.TrimRight(text, "\r\n"), header)
	if !ok {
		return Scan{}, &Refusal{Code: FaultHeader}
	}
	values := map[string]string{}
	var scan Scan
	for rest != "" {
		f, err := fieldAt(rest)
		if err != nil {
			return Scan{}, err
		}
		if _, again := values[f.id]; again {
			return Scan{}, &Refusal{Code: FaultRepeated, Where: f.id}
		}
		rest = rest[len(f.id):]
		n := f.max
		if f.min != f.max {
			n = valueEnd(rest)
		}
		if n > len(rest) || n < f.min || n > f.max {
			return Scan{}, &Refusal{Code: FaultLength, Where: f.id}
		}
		values[f.id], rest = rest[:n], rest[n:]
		switch {
		case strings.HasPrefix(rest, string(separator)):
			rest = rest[1:]
		case strings.HasPrefix(rest, typed):
			rest, scan.Repaired = rest[len(typed):], true
		case rest != "" && n < f.max:
			scan.Repaired = true
		}
	}
	for _, f := range fields {
		if _, there := values[f.id]; !there && !f.optional {
			return Scan{}, &Refusal{Code: FaultMissing, Where: f.id}
		}
	}
	return scan.fill(values)
}

// fieldAt reads the identifier that stands at the beginning of s.
func fieldAt(s string) (field, error) {
	for _, f := range fields {
		if strings.HasPrefix(s, f.id) {
			return f, nil
		}
	}
	return field{}, &Refusal{Code: FaultField}
}

// valueEnd finds where a value of variable length ends: a separator, the next
// identifier (an S and a digit, which no value holds), or the end.
func valueEnd(s string) int {
	for i := range len(s) {
		switch {
		case s[i] == separator, strings.HasPrefix(s[i:], typed):
			return i
		case s[i] == 'S' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			return i
		}
	}
	return len(s)
}

// fill judges the values of all fields.
func (s Scan) fill(values map[string]string) (Scan, error) {
	bad := func(id string) (Scan, error) { return Scan{}, &Refusal{Code: FaultValue, Where: id} }
	s.INS = ins.Pair{Matricule: values["S1"], OID: ins.OID(values["S2"])}
	if err := ins.CheckMatricule(s.INS.Matricule, s.INS.OID); err != nil {
		return Scan{}, err
	}
	for _, id := range [...]string{"S3", "S4"} {
		if v := values[id]; !inAlphabet(v) {
			return bad(id)
		}
	}
	if v := values["S5"]; v != "M" && v != "F" {
		return bad("S5")
	}
	d := values["S6"]
	born, err := ins.ParseBirthDate(d[6:] + d[2:6] + d[:2])
	if err != nil {
		return bad("S6")
	}
	s.Traits = ins.Traits{BirthName: values["S4"], GivenNames: values["S3"], FirstGiven: ins.FirstOf(values["S3"]),
		BirthDate: born.String(), Sex: values["S5"], BirthPlace: values["S7"]}
	// Judge knows the form of a place, and nothing else of a place alone.
	if ins.Refuse(ins.Judge(ins.Identity{Traits: ins.Traits{BirthPlace: s.Traits.BirthPlace}})) != nil {
		return bad("S7")
	}
	return s, nil
}

// inAlphabet tells whether a name is written in the alphabet of INSi.
func inAlphabet(name string) bool {
	n, err := ins.Normalize(name)
	return err == nil && n == name && ins.MatchKey(name) != ""
}

// Text is the content of the symbol of an identity. It is refused by the rule
// of [ins.Gate] for what is printed: only a qualified identity, with its OID,
// its six traits and a right key, has one. Names are written in the alphabet of
// INSi.
func Text(id ins.Identity) (string, error) {
	if err := ins.Gate(id, ins.ToPaper); err != nil {
		return "", err
	}
	if !id.HasINS() { // the gate lets an identity without INS be printed
		return "", &ins.Refusal{Code: ins.FaultAbsent, Where: ins.TraitMatricule}
	}
	family, err := ins.FamilyNameForINSi(id.Traits.BirthName)
	if err != nil {
		return "", err
	}
	given, err := ins.GivenNameForINSi(id.Traits.GivenNames)
	if err != nil {
		return "", err
	}
	born, err := ins.ParseBirthDate(id.Traits.BirthDate)
	if err != nil {
		return "", err
	}
	if err := ins.Refuse(ins.Judge(id)); err != nil {
		return "", err
	}
	iso := born.String()
	values := [len(fields)]string{id.Matricule, string(id.OID), given, family, id.Traits.Sex,
		iso[8:] + "-" + iso[5:7] + "-" + iso[:4], id.Traits.BirthPlace}
	var b strings.Builder
	b.WriteString(header)
	for i, f := range fields {
		b.WriteString(f.id)
		b.WriteString(values[i])
		if len(values[i]) < f.max && i < len(fields)-1 {
			b.WriteByte(separator)
		}
	}
	return b.String(), nil
}
