package ins

import (
	"slices"
	"strings"
)

// Judge says everything wrong or odd about an identity at rest, as a register
// holds it. It does not say whether it may leave: that is [Gate].
//
// Errors are what the référentiel forbids to hold; warnings are stored and
// shown. Nothing is ever corrected: the digits of a matricule and the traits
// may disagree for good reasons (a rectified civil record, a commune renamed),
// the century of its year is ambiguous, and its month is never compared.
func Judge(id Identity) []Finding {
	var found []Finding
	add := func(code, where string, s Severity) { found = append(found, Finding{code, where, s}) }

	if id.Matricule != "" || id.OID != "" {
		found = append(found, Inspect(id.Matricule, id.OID)...)
	}
	switch id.Status {
	case Retrieved, Qualified:
		if !id.HasINS() {
			add(FaultStatus, TraitStatus, Error)
		}
		for _, t := range id.Traits.Missing() {
			add(FaultIncomplete, t, Error)
		}
	case Provisional, Validated:
		if id.Matricule != "" || id.OID != "" {
			add(FaultNotQualified, TraitStatus, Error)
		}
	case "":
	default:
		add(FaultStatus, TraitStatus, Error)
	}
	if !compatible(id.Attributes) || id.Status != Provisional && id.Status != "" && forcesPROV(id.Attributes) {
		add(FaultAttributes, TraitAttributes, Error)
	}
	t := id.Traits
	date, err := ParseBirthDate(t.BirthDate)
	// The dates of a RECUP or QUAL identity are judged above.
	if t.BirthDate != "" && (err != nil || !date.Real()) && id.Status != Retrieved && id.Status != Qualified {
		add(FaultBirthDate, TraitBirthDate, Error)
	}
	if _, ok := ParseSex(t.Sex); t.Sex != "" && !ok {
		add(FaultSex, TraitSex, Error)
	}
	if t.FirstGiven != "" && t.GivenNames != "" && !CoherentFirstGiven(t.FirstGiven, t.GivenNames) {
		add(FaultFirstGiven, TraitFirstGiven, Warning)
	}
	switch {
	case t.BirthPlace == "":
	case !placeForm(t.BirthPlace):
		add(FaultBirthPlace, TraitBirthPlace, Error)
	case t.BirthPlace == UnknownPlace && (id.Status == Retrieved || id.Status == Qualified):
		add(FaultBirthPlace, TraitBirthPlace, Warning)
	}
	if _, _, ok := split(id.Matricule); ok {
		found = append(found, digitsAgainstTraits(id.Matricule, t, date)...)
	}
	return found
}

// UnknownPlace is the code of a birth place that nobody knows.
const UnknownPlace = "99999"

// placeForm judges the syntax of an official geographic code; only syntax
// refuses, because codes are abolished and renumbered.
func placeForm(s string) bool {
	if len(s) != 5 {
		return false
	}
	for i := range 5 {
		if !digit(s[i]) && (i != 1 || s[0] != '2' || s[i] != 'A' && s[i] != 'B') {
			return false
		}
	}
	return true
}

// digitsAgainstTraits compares the sex, the year and the place in a matricule
// with the traits. A difference is a warning on the trait.
func digitsAgainstTraits(m string, t Traits, date BirthDate) []Finding {
	var found []Finding
	add := func(where string) { found = append(found, Finding{FaultDigits, where, Warning}) }

	sex := "M"
	switch m[0] {
	case '2', '4', '8':
		sex = "F"
	}
	if (t.Sex == "M" || t.Sex == "F") && t.Sex != sex {
		add(TraitSex)
	}
	if date.Year > 0 && date.Year%100 != int(m[1]-'0')*10+int(m[2]-'0') {
		add(TraitBirthDate)
	}
	place := m[5:10]
	// Corsica was the single department 20 until 1976: numbers given before
	// keep it, whatever the code of the commune is today.
	beforeSplit := date.Year > 0 && date.Year < 1976
	sameCorsica := place[:2] == "20" && len(t.BirthPlace) == 5 && (t.BirthPlace[:2] == "2A" || t.BirthPlace[:2] == "2B") && place[2:] == t.BirthPlace[2:]
	switch {
	case t.BirthPlace == "" || t.BirthPlace == UnknownPlace:
	case beforeSplit && (place[1] == 'A' || place[1] == 'B'):
		add(TraitBirthPlace)
	case place != t.BirthPlace && (!sameCorsica || date.Year > 0 && !beforeSplit):
		add(TraitBirthPlace)
	}
	return found
}

// compatible tells whether attributes may stand together: of the attributes of
// RNIV, only doubtful and homonym may (FR Core fr-core-identity-reliability-1
// and -2).
func compatible(attributes []string) bool {
	if !has(attributes, AttrFictive) {
		return true
	}
	for _, a := range [...]string{AttrDoubtful, AttrHomonym, AttrHomonymSuspected} {
		if has(attributes, a) {
			return false
		}
	}
	return true
}

// has tells whether a code stands among attributes, however it is written: an
// envelope that says "dout" must not count as one that says nothing.
func has(attributes []string, code string) bool {
	return slices.ContainsFunc(attributes, func(a string) bool {
		return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(code))
	})
}

// forcesPROV tells whether an attribute keeps the status at PROV (EXI SI 09).
func forcesPROV(attributes []string) bool {
	return has(attributes, AttrDoubtful) || has(attributes, AttrFictive)
}

// MayCallINSi refuses, before any network, to ask INSi about a doubtful or
// fictive identity (EXI SI 09).
func MayCallINSi(id Identity) error {
	if forcesPROV(id.Attributes) {
		return &Refusal{Code: FaultCallForbidden, Where: TraitAttributes}
	}
	return nil
}
