package ins

import (
	"fmt"
	"strings"
	"time"
)

// BirthDate is a birth date as the civil registry knows it, which is not
// always a day of the calendar: INSi answers 1950-00-00 when day and month are
// unknown, and out-of-range days or months occur ("date lunaire"). The zero
// value is no date.
type BirthDate struct {
	Year, Month, Day int
}

// ParseBirthDate reads YYYY-MM-DD, YYYY-MM or YYYY. It judges digits only, see
// [BirthDate.Real].
func ParseBirthDate(s string) (BirthDate, error) {
	switch len(s) {
	case 10, 7, 4:
	default:
		return BirthDate{}, errBirthDate
	}
	for i := range len(s) {
		if dash := i == 4 || i == 7; dash != (s[i] == '-') || !dash && !digit(s[i]) {
			return BirthDate{}, errBirthDate
		}
	}
	return fromDigits(strings.ReplaceAll(s, "-", "")), nil
}

// ParseCompactBirthDate reads the form of HL7 v2 and CDA: YYYY, YYYYMM or
// YYYYMMDD, and ignores a time of day after the day.
func ParseCompactBirthDate(s string) (BirthDate, error) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	switch {
	case len(s) > 32:
	case n == len(s) && (n == 4 || n == 6 || n == 8), n >= 10 && n <= 14 && n%2 == 0 && strings.Trim(s[n:], "0123456789.+-") == "":
		return fromDigits(s[:min(n, 8)]), nil
	}
	return BirthDate{}, errBirthDate
}

var errBirthDate = &Refusal{Code: FaultBirthDate, Where: TraitBirthDate}

// fromDigits reads 4, 6 or 8 digits.
func fromDigits(s string) BirthDate {
	var n int
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	switch len(s) {
	case 4:
		return BirthDate{Year: n}
	case 6:
		return BirthDate{Year: n / 100, Month: n % 100}
	}
	return BirthDate{n / 10000, n / 100 % 100, n % 100}
}

// String is YYYY-MM-DD, unknown parts as 00; empty for no date.
func (d BirthDate) String() string {
	if d == (BirthDate{}) {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Compact is the form of HL7 v2 and CDA, without the trailing unknown parts.
func (d BirthDate) Compact() string {
	switch {
	case d == (BirthDate{}):
		return ""
	case d.Month == 0 && d.Day == 0:
		return fmt.Sprintf("%04d", d.Year)
	case d.Day == 0:
		return fmt.Sprintf("%04d%02d", d.Year, d.Month)
	}
	return fmt.Sprintf("%04d%02d%02d", d.Year, d.Month, d.Day)
}

// Real tells whether d is a day of the calendar. Only such a date may stand in
// an identity (EXI ID 12).
func (d BirthDate) Real() bool {
	return d.Year > 0 && d.Month >= 1 && d.Month <= 12 && d.Day >= 1 && d.Day <= daysIn(d.Year, d.Month)
}

// Complete gives the date that an identity holds in place of a partial or lunar
// one (EXI ID 11, RNIV EXI PP 19): day unknown, the first of the month; month
// unknown, that day of January; both, 31 December. It tells whether it had to
// change d: such a date is corrected, and bars the INS (see [Record]). A date
// without a year cannot be completed and comes back unchanged.
func (d BirthDate) Complete() (BirthDate, bool) {
	if d.Real() || d.Year <= 0 {
		return d, false
	}
	month := d.Month >= 1 && d.Month <= 12
	// Without the month, a day may be any of January's.
	day := d.Day >= 1 && d.Day <= 31 && (!month || d.Day <= daysIn(d.Year, d.Month))
	switch {
	case month:
		d.Day = 1
	case day:
		d.Month = 1
	default:
		d.Month, d.Day = 12, 31
	}
	return d, true
}

// Check judges a birth date against today: the future is an error, a date
// before 1870 a warning.
func (d BirthDate) Check(today time.Time) []Finding {
	if !d.Real() {
		return []Finding{{FaultBirthDate, TraitBirthDate, Error}}
	}
	switch y, m, day := today.Date(); {
	case d.String() > (BirthDate{y, int(m), day}).String():
		return []Finding{{FaultBirthDate, TraitBirthDate, Error}}
	case d.Year < 1870:
		return []Finding{{FaultBirthDate, TraitBirthDate, Warning}}
	}
	return nil
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
