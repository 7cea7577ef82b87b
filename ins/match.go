package ins

import (
	"slices"
	"strings"
)

// Candidate is an identity held, with what helps to recognise it.
type Candidate struct {
	Identity  Identity `json:"identity"`
	UsedName  string   `json:"used_name,omitempty"`  // nom utilisé
	UsedGiven string   `json:"used_given,omitempty"` // prénom utilisé
	Former    []Pair   `json:"former,omitempty"`     // INS that it once had
	Merged    bool     `json:"merged,omitempty"`     // absorbed by another: never found
}

// Filing is what is decided of a received document whose person must be found.
// Only a Filing with an empty Code files: everything else is quarantine.
type Filing struct {
	Code        string       `json:"code,omitempty"` // why it is not filed
	Candidates  []int        `json:"candidates"`     // who it may be: indexes in the list given
	Differences []Difference `json:"differences,omitempty"`
}

// Filed gives the candidate to file under; false when a person must decide.
func (f Filing) Filed() (int, bool) {
	if f.Code == "" && len(f.Candidates) == 1 {
		return f.Candidates[0], true
	}
	return 0, false
}

// File finds the person of a received document among identities held. It files
// on one condition only: exactly one identity holds the matricule, it is
// qualified, what was received is qualified, and both are [Equal]. Everything
// else names a code and who it may be, for a person to decide:
//
//	INS-DUPLICATE      several identities hold the matricule
//	INS-MISMATCH       the matricule agrees, a trait or the OID does not
//	INS-NOT-QUALIFIED  all agrees, one side is not qualified
//	INS-FORMER         an identity had this matricule before: ask INSi again
//	INS-MANUAL         no matricule received, the traits agree
//	INS-ABSENT         no matricule received, nobody has these traits
//	INS-UNKNOWN        nobody holds the matricule; some may have the traits
func (p Policy) File(received Identity, held []Candidate) Filing {
	var active, former, traits []int
	for i, c := range held {
		switch {
		case c.Merged:
		case received.Matricule != "" && c.Identity.Matricule == received.Matricule:
			active = append(active, i)
		case received.Matricule != "" && slices.ContainsFunc(c.Former, func(q Pair) bool { return q.Matricule == received.Matricule }):
			former = append(former, i)
		case c.Identity.Traits == received.Traits:
			traits = append(traits, i)
		}
	}
	switch {
	case len(active) > 1:
		return Filing{Code: FaultDuplicate, Candidates: active}
	case len(active) == 1:
		c := held[active[0]].Identity
		f := Filing{Candidates: active}
		switch {
		case !Equal(c, received):
			f.Code, f.Differences = FaultMismatch, exact(c, received)
		case !p.Qualified(c) || !p.Qualified(received):
			f.Code = FaultNotQualified
		}
		return f
	case len(former) > 0:
		return Filing{Code: FaultFormer, Candidates: former}
	case received.Matricule != "":
		return Filing{Code: FaultUnknown, Candidates: traits}
	case len(traits) > 0:
		return Filing{Code: FaultManual, Candidates: traits}
	}
	return Filing{Code: FaultAbsent}
}

// exact names every field on which two identities are not [Equal].
func exact(a, b Identity) []Difference {
	var out []Difference
	for _, f := range fields(a, b) {
		if f.a == "" || f.a != f.b {
			out = append(out, Difference{Trait: f.trait, Severity: Error})
		}
	}
	return out
}

// Query is a search for an antecedent, which comes before any creation.
type Query struct {
	INS       Pair   // by INS (without OID: whatever the authority), or
	BirthDate string // by birth date (YYYY-MM-DD), with
	Name      string // the first letters of the birth name or of the used name, and
	Given     string // those of a given name
}

// Matches tells whether a candidate answers a query. Accents, case, hyphens and
// apostrophes do not count, birth and used names are searched alike. A query
// by neither INS nor birth date matches nobody: it would list the register.
func (q Query) Matches(c Candidate) bool {
	if c.Merged {
		return false
	}
	if q.INS.Matricule != "" {
		same := func(p Pair) bool { return p.Matricule == q.INS.Matricule && (q.INS.OID == "" || p.OID == q.INS.OID) }
		return same(Pair{c.Identity.Matricule, c.Identity.OID}) || slices.ContainsFunc(c.Former, same)
	}
	if q.BirthDate == "" || q.BirthDate != c.Identity.Traits.BirthDate {
		return false
	}
	t := c.Identity.Traits
	return begins(q.Name, t.BirthName, c.UsedName) && begins(q.Given, t.FirstGiven, t.GivenNames, c.UsedGiven)
}

// begins tells whether one of the names begins with letters; blanks are left
// out on both sides, so that MARIELOUISE finds MARIE-LOUISE.
func begins(letters string, names ...string) bool {
	compact := func(s string) string { return strings.ReplaceAll(MatchKey(s), " ", "") }
	want := compact(letters)
	return slices.ContainsFunc(names, func(n string) bool { return want == "" || n != "" && strings.HasPrefix(compact(n), want) })
}

// Likeness is how two identities held resemble each other. It only ever
// proposes: nothing is merged or linked by itself.
type Likeness string

// The likenesses, the first that holds.
const (
	Duplicate  Likeness = "duplicate"  // one active INS on two records: proven (DOUA)
	Renumbered Likeness = "renumbered" // one had before the INS that the other has: ask INSi
	Twins      Likeness = "twins"      // born together, other given names: homonyms, never merged
	Homonym    Likeness = "homonym"    // the same traits, two INS (HOMA)
	Likely     Likeness = "likely"     // the same traits, an INS missing on a side
	Weak       Likeness = "weak"       // near traits
	Distinct   Likeness = "distinct"
)

// Compare says how two identities resemble each other. It is symmetric.
func Compare(a, b Candidate) Likeness {
	x, y := a.Identity, b.Identity
	px, py := Pair{x.Matricule, x.OID}, Pair{y.Matricule, y.OID}
	bothINS := px.Matricule != "" && py.Matricule != ""
	switch {
	case a.Merged || b.Merged:
		return Distinct
	case bothINS && px == py:
		return Duplicate
	case px.Matricule != "" && slices.Contains(b.Former, px), py.Matricule != "" && slices.Contains(a.Former, py):
		return Renumbered
	}
	name := MatchKey(x.Traits.BirthName) == MatchKey(y.Traits.BirthName) && MatchKey(x.Traits.BirthName) != ""
	// One civil record, two ways of cutting its list: not twins.
	sameList := MatchKey(x.Traits.GivenNames) == MatchKey(y.Traits.GivenNames) && x.Traits.GivenNames != ""
	first := sameList || MatchKey(x.Traits.FirstGiven) == MatchKey(y.Traits.FirstGiven)
	born := x.Traits.BirthDate == y.Traits.BirthDate && x.Traits.BirthDate != ""
	sex := x.Traits.Sex == y.Traits.Sex
	place := x.Traits.BirthPlace == y.Traits.BirthPlace && x.Traits.BirthPlace != ""
	switch {
	case name && born && place && !first:
		return Twins
	case name && born && sex && first && bothINS:
		return Homonym
	case name && born && sex && first:
		return Likely
	case bothINS:
		return Distinct
	}
	near := name || crossed(a, b) || crossed(b, a) || oneEdit(MatchKey(x.Traits.BirthName), MatchKey(y.Traits.BirthName))
	nearDate := born || swapped(x.Traits.BirthDate, y.Traits.BirthDate)
	if near && nearDate && first {
		return Weak
	}
	return Distinct
}

// crossed tells whether the used name of one is the birth name of the other.
func crossed(a, b Candidate) bool {
	return a.UsedName != "" && MatchKey(a.UsedName) == MatchKey(b.Identity.Traits.BirthName)
}

// swapped tells whether two dates differ by day and month exchanged only.
func swapped(a, b string) bool {
	x, errX := ParseBirthDate(a)
	y, errY := ParseBirthDate(b)
	return errX == nil && errY == nil && x.Year == y.Year && x.Month == y.Day && x.Day == y.Month
}

// oneEdit tells whether one letter added, removed or replaced, or two
// neighbours exchanged, make one word of the other.
func oneEdit(a, b string) bool {
	x, y := []rune(a), []rune(b)
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		x, y = x[1:], y[1:]
	}
	for len(x) > 0 && len(y) > 0 && x[len(x)-1] == y[len(y)-1] {
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	switch {
	case len(x) <= 1 && len(y) <= 1:
		return true
	case len(x) == 2 && len(y) == 2:
		return x[0] == y[1] && x[1] == y[0]
	}
	return false
}
