package ins

import (
	"slices"
	"strings"
	"unicode"
)

// Difference is a field on which two identities do not agree. It names the
// field, never a value.
type Difference struct {
	Trait    string   `json:"trait"`
	Severity Severity `json:"severity"`
}

// Finding is the difference in the words of the error table.
func (d Difference) Finding() Finding {
	code := FaultMismatch
	if d.Severity != Error {
		code = FaultTraitDiffers
	}
	return Finding{Code: code, Where: d.Trait, Severity: d.Severity}
}

// CompareOutbound compares what the envelope of a submission claims with what
// its document says, or two documents of one submission. It is symmetric.
//
// Matricule, OID, birth name, first given name, birth date and sex that differ
// are errors; the list of given names and the birth place are warnings.
//
// Values are compared as they stand, after one normalisation: white space
// around them, and runs of it inside, are how a format pads and not what it
// says. Case, accents and hyphens count.
//
// A field that one side does not give contradicts nothing: whether it may be
// missing is decided by [Gate], on the side that leaves (a document without
// INS for the DMP is INS-ABSENT, one that lacks a trait is INS-INCOMPLETE).
func CompareOutbound(claimed, document Identity) []Difference {
	var diffs []Difference
	for _, f := range fields(claimed, document) {
		a, b := squeeze(f.a), squeeze(f.b)
		if a == "" || b == "" || a == b {
			continue
		}
		diffs = append(diffs, Difference{Trait: f.trait, Severity: f.outbound})
	}
	return diffs
}

// Contradiction gives the refusal of the first error among differences; nil
// when there is none.
func Contradiction(diffs []Difference) error {
	i := slices.IndexFunc(diffs, func(d Difference) bool { return d.Severity == Error })
	if i < 0 {
		return nil
	}
	return &Refusal{Code: FaultMismatch, Where: diffs[i].Trait}
}

// Equal is the agreement asked before a received document is filed by itself:
// the same matricule, the same OID and the same six strict traits, byte for
// byte, none of them absent. Statuses are not compared: the caller asks that
// the identity held be [Identity.Qualified].
func Equal(held, received Identity) bool {
	for _, f := range fields(held, received) {
		if f.a == "" || f.a != f.b {
			return false
		}
	}
	return true
}

type field struct {
	trait    string
	a, b     string
	outbound Severity
}

func fields(a, b Identity) [8]field {
	return [8]field{
		{TraitMatricule, a.Matricule, b.Matricule, Error},
		{TraitOID, string(a.OID), string(b.OID), Error},
		{TraitBirthName, a.Traits.BirthName, b.Traits.BirthName, Error},
		{TraitFirstGiven, a.Traits.FirstGiven, b.Traits.FirstGiven, Error},
		{TraitGivenNames, a.Traits.GivenNames, b.Traits.GivenNames, Warning},
		{TraitBirthDate, a.Traits.BirthDate, b.Traits.BirthDate, Error},
		{TraitSex, a.Traits.Sex, b.Traits.Sex, Error},
		{TraitBirthPlace, a.Traits.BirthPlace, b.Traits.BirthPlace, Warning},
	}
}

// squeeze trims white space and folds its runs to one blank.
func squeeze(s string) string {
	if !strings.ContainsFunc(s, unicode.IsSpace) {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}
