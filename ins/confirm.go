package ins

import (
	"errors"
	"strings"
)

// Confirm is what an identity given without INS becomes once INSi has answered
// its traits with one person: the traits of INSi, verbatim, with its INS. INSi
// gives no first given name: that of the sender stays, hyphens included, in the
// alphabet of INSi.
//
// The axes are those of [Record]: an identity that its sender validated (VALI)
// becomes QUAL when INSi returns the same person; any other becomes RECUP,
// whose INS leaves for nowhere. Nobody has to accept the answer, because nothing
// of it contradicts what was controlled: a validated identity on which INSi
// differs is not confirmed ([FaultUnconfirmed]), and a person decides.
//
// The differences are told in each case: as errors what makes it another
// person, as warnings what is only written otherwise. The list of given names
// counts as well, because homonyms differ by it: one list must begin with the
// other.
func (id Identity) Confirm(t Trace) (Identity, []Difference, error) {
	if err := MayCallINSi(id); err != nil {
		return id, nil, err
	}
	if !t.evidence(nil) {
		return id, nil, &Refusal{Code: FaultEvidence, Where: "trace"}
	}
	// A wrong key of INSi itself is kept verbatim; the gate holds it back.
	if err := CheckMatricule(t.INS.Matricule, t.INS.OID); err != nil && !errors.Is(err, errKey) {
		return id, nil, err
	}
	if d, err := ParseBirthDate(t.Traits.BirthDate); err == nil && !d.Real() {
		return id, nil, &Refusal{Code: FaultCorrected, Where: TraitBirthDate}
	}
	first := firstGiven(id.Traits)
	kept, err := GivenNameForINSi(first)
	if err != nil || !CoherentFirstGiven(first, t.Traits.GivenNames) {
		kept = FirstOf(t.Traits.GivenNames)
	}
	traits := t.Traits
	traits.FirstGiven = kept
	diffs := differences(id.Traits, first, traits)
	out := id
	out.Matricule, out.OID, out.Traits, out.Status = t.INS.Matricule, t.INS.OID, traits, Retrieved
	if missing := traits.Missing(); len(missing) > 0 {
		return id, diffs, &Refusal{Code: FaultIncomplete, Where: missing[0]}
	}
	if id.Status != Validated {
		return out, diffs, nil
	}
	for _, d := range diffs {
		if d.Severity == Error {
			return id, diffs, &Refusal{Code: FaultUnconfirmed, Where: d.Trait}
		}
	}
	out.Status = Qualified
	return out, diffs, nil
}

// differences compares what was asked with what INSi returned. What was not
// given differs from nothing; first is the first given name that was implied.
func differences(asked Traits, first string, insi Traits) (diffs []Difference) {
	for _, f := range [...]struct {
		trait       string
		asked, insi string
		same        bool // the same person, however it is written
	}{
		{TraitBirthName, asked.BirthName, insi.BirthName, MatchKey(asked.BirthName) == MatchKey(insi.BirthName)},
		{TraitFirstGiven, first, insi.FirstGiven, CoherentFirstGiven(first, insi.GivenNames)},
		{TraitGivenNames, asked.GivenNames, insi.GivenNames, beginsWith(asked.GivenNames, insi.GivenNames)},
		{TraitBirthDate, asked.BirthDate, insi.BirthDate, false},
		{TraitSex, asked.Sex, insi.Sex, false},
		{TraitBirthPlace, asked.BirthPlace, insi.BirthPlace, asked.BirthPlace == UnknownPlace},
	} {
		switch {
		case f.asked == "" || f.asked == f.insi:
		case f.same:
			diffs = append(diffs, Difference{Trait: f.trait, Severity: Warning})
		default:
			diffs = append(diffs, Difference{Trait: f.trait, Severity: Error})
		}
	}
	return diffs
}

// firstGiven is the first given name that t gives, or implies by its list.
func firstGiven(t Traits) string {
	if t.FirstGiven != "" {
		return t.FirstGiven
	}
	return FirstOf(t.GivenNames)
}

// beginsWith tells whether one list of given names begins with the other, word
// by word.
func beginsWith(a, b string) bool {
	x, y := MatchKey(a)+" ", MatchKey(b)+" "
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}
