package cda

import (
	"strings"
	"time"
)

// ParseTime reads an HL7 time (TS): YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±HHMM].
// Precision that is missing is taken at its beginning. A time without a zone is
// read in loc, and zoned is false.
func ParseTime(v string, loc *time.Location) (t time.Time, zoned, ok bool) {
	digits, zone := v, ""
	if i := strings.IndexAny(v, "+-"); i >= 0 {
		digits, zone = v[:i], v[i:]
	}
	digits, fraction, dotted := strings.Cut(digits, ".")
	if dotted && (len(digits) != 14 || fraction == "" || len(fraction) > 9 || !number(fraction)) || !number(digits) {
		return time.Time{}, false, false
	}
	switch len(digits) {
	case 4, 6, 8, 10, 12, 14:
	default:
		return time.Time{}, false, false
	}
	if zone != "" {
		if len(zone) != 5 || !number(zone[1:]) {
			return time.Time{}, false, false
		}
		h, m := atoi(zone[1:3]), atoi(zone[3:])
		if h > 14 || m > 59 {
			return time.Time{}, false, false
		}
		seconds := h*3600 + m*60
		if zone[0] == '-' {
			seconds = -seconds
		}
		loc = time.FixedZone("", seconds)
	}
	t, err := time.ParseInLocation("20060102150405", digits+"00000101000000"[len(digits):], loc)
	if err != nil {
		return time.Time{}, false, false
	}
	if dotted {
		t = t.Add(time.Duration(atoi((fraction + "00000000")[:9])))
	}
	return t, zone != "", true
}

// number tells whether s is made of digits only.
func number(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// atoi reads digits that [number] accepted, of which there are few.
func atoi(s string) int {
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
