package ins

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxName bounds a name, in characters: the longest that a datamatrix may hold.
const maxName = 100

// letters that have an equivalent in the alphabet of INSi and that the Unicode
// decomposition does not give.
var transliterate = map[rune]string{
	'Œ': "OE", 'œ': "OE", 'Æ': "AE", 'æ': "AE", 'ß': "SS", 'ẞ': "SS",
	'\u2018': "'", '\u2019': "'", '\u02bc': "'",
	'\u00a0': " ", '\u2007': " ", '\u202f': " ",
	'\u2010': "-", '\u2011': "-", '\u2012': "-", '\u2013': "-", '\u2014': "-",
}

// Normalize writes a name in the alphabet of INSi: A to Z, blank, apostrophe
// and hyphen. It serves the boundary only (an INSi call, a datamatrix, a
// comparison); an identity keeps its names verbatim.
//
// A character without an equivalent (a digit, a full stop) is refused, never
// dropped in silence.
func Normalize(s string) (string, error) {
	// Four bytes a character and as many marks is far more than any name.
	if len(s) > 8*maxName || !utf8.ValidString(s) {
		return "", &Refusal{Code: FaultName}
	}
	var b strings.Builder
	for _, r := range norm.NFD.String(s) {
		if to, ok := transliterate[r]; ok {
			b.WriteString(to)
			continue
		}
		if unicode.Is(unicode.Mn, r) {
			continue
		}
		r = unicode.ToUpper(r)
		if (r < 'A' || r > 'Z') && r != ' ' && r != '\'' && r != '-' {
			return "", &Refusal{Code: FaultName}
		}
		b.WriteRune(r)
	}
	if b.Len() > maxName {
		return "", &Refusal{Code: FaultName}
	}
	return b.String(), nil
}

// FamilyNameForINSi is a birth name as INSi accepts it. A double hyphen is
// allowed inside it and an apostrophe may begin it.
func FamilyNameForINSi(s string) (string, error) {
	n, err := Normalize(s)
	if err != nil || badName(n) || strings.Contains(n, "---") || strings.HasSuffix(n, " ") {
		return "", &Refusal{Code: FaultName, Where: TraitBirthName}
	}
	return n, nil
}

// GivenNameForINSi is a given name, or a list of given names, as INSi accepts it.
func GivenNameForINSi(s string) (string, error) {
	n, err := Normalize(s)
	if err != nil || badName(n) || strings.Contains(n, "--") || strings.HasSuffix(n, "-") || strings.HasSuffix(n, "'") {
		return "", &Refusal{Code: FaultName, Where: TraitGivenNames}
	}
	return n, nil
}

// badName judges what family and given names have in common.
func badName(n string) bool {
	if n == "" || !strings.ContainsFunc(n, unicode.IsLetter) || n[0] == ' ' || n[0] == '-' {
		return true
	}
	for _, pair := range [...]string{"  ", "''", " '", "' "} {
		if strings.Contains(n, pair) {
			return true
		}
	}
	return false
}

// MatchKey is what two writings of one name have in common: no accent, upper
// case, hyphen and apostrophe as a blank, blanks folded. It is for searching
// and for coherence, never for filing: filing is exact ([Equal]). A character
// without equivalent is kept, so that it still distinguishes.
func MatchKey(s string) string {
	if len(s) > 8*maxName {
		s = s[:8*maxName]
	}
	var b strings.Builder
	blank := false
	write := func(r rune) {
		if r == ' ' || r == '-' || r == '\'' || unicode.IsSpace(r) {
			blank = b.Len() > 0
			return
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	for _, r := range norm.NFD.String(s) {
		if to, ok := transliterate[r]; ok {
			for _, r := range to {
				write(r)
			}
		} else if !unicode.Is(unicode.Mn, r) {
			write(r)
		}
	}
	return b.String()
}

// CoherentFirstGiven tells whether a first given name may stand beside a list
// of given names (EXI ID 10): it is the list, or its first words. Hyphens,
// apostrophes, case and accents do not count, because the civil registry
// writes JEAN CHRISTOPHE for a compound name.
func CoherentFirstGiven(first, list string) bool {
	f, l := MatchKey(first), MatchKey(list)
	return f != "" && (f == l || strings.HasPrefix(l, f+" "))
}

// FirstOf is the first given name by default: what stands before the first
// blank of the list. INSi gives the list only.
func FirstOf(list string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(list), " ")
	return first
}
