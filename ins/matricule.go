package ins

import "strings"

// OIDs that look like an INS and are none.
const (
	oidINSCProd  OID = "1.2.250.1.213.1.4.2"
	oidINSCTest  OID = "1.2.250.1.213.1.4.6"
	oidINSCDemo  OID = "1.2.250.1.213.1.4.7"
	oidSISAMU    OID = "1.2.250.1.213.1.4.12"
	oidSocialNIR OID = "1.2.250.1.213.1.4.13"
	oidSocialNIA OID = "1.2.250.1.213.1.4.14"
)

// Retired tells whether o named the INS-C, computed from a carte Vitale and no
// longer an INS.
func (o OID) Retired() bool { return o == oidINSCProd || o == oidINSCTest || o == oidINSCDemo }

// matriculeLen is the only length that may be exchanged: 13 and the key.
const matriculeLen = 15

// The refusals of a matricule are made once, so that judging a million of them
// allocates nothing.
var (
	errForm    = &Refusal{Code: FaultForm, Where: TraitMatricule}
	errKey     = &Refusal{Code: FaultKey, Where: TraitMatricule}
	errOID     = &Refusal{Code: FaultOID, Where: TraitOID}
	errNoOID   = &Refusal{Code: FaultIncomplete, Where: TraitOID}
	errAbsent  = &Refusal{Code: FaultAbsent, Where: TraitMatricule}
	errRetired = &Refusal{Code: FaultRetired, Where: TraitOID}
	errTestOID = &Refusal{Code: FaultTestOID, Where: TraitOID}
)

// CheckMatricule judges a matricule and its OID as they would stand on the
// wire: 15 characters, upper case, nothing around. It is nil when the pair may
// be used: warnings do not count, see [Inspect] for them. It allocates nothing.
//
// The key is judged on every OID, and refuses only on production OIDs: the
// national samples carry wrong keys on the test OID.
func CheckMatricule(m string, oid OID) error {
	if !oid.Known() {
		switch {
		case oid == "" && m == "":
			return errAbsent
		case oid == "":
			return errNoOID
		case oid.Retired():
			return errRetired
		}
		return errOID
	}
	if m == "" {
		return errAbsent
	}
	body, key, ok := split(m)
	if !ok {
		return errForm
	}
	if key != keyOf(body) && !oid.Fictive() {
		return errKey
	}
	return nil
}

// Inspect says everything that is wrong or odd about a matricule and its OID.
// It is empty for a sound pair.
func Inspect(m string, oid OID) []Finding {
	if err := CheckMatricule(m, oid); err != nil {
		r := err.(*Refusal)
		return []Finding{{Code: r.Code, Where: r.Where, Severity: Error}}
	}
	var found []Finding
	if body, key, _ := split(m); key != keyOf(body) {
		found = append(found, Finding{FaultKey, TraitMatricule, Warning})
	}
	if oid == OIDNIR && (m[0] == '7' || m[0] == '8') {
		found = append(found, Finding{FaultNumber, TraitMatricule, Warning})
	}
	return found
}

// Environment is what the running instance is allowed to meet.
type Environment string

// The three environments.
const (
	Production Environment = "production"
	Test       Environment = "test"
	Sandbox    Environment = "sandbox"
)

// Check refuses the OIDs of fictitious people in production. The other
// environments take every OID: the qualification INSi itself answers fictitious
// people on the OID of the NIR. An unknown environment is taken as production.
func (e Environment) Check(oid OID) error {
	if oid.Fictive() && e != Test && e != Sandbox {
		return errTestOID
	}
	return nil
}

// Key gives the control key of a 13-character body, 1 to 97: the complement to
// 97 of the body modulo 97, once the Corsican departments 2A and 2B are read
// as 19 and 18. It is false when body has not the form of a NIR or NIA.
func Key(body string) (int, bool) {
	if len(body) != matriculeLen-2 {
		return 0, false
	}
	n, ok := readBody(body)
	if !ok {
		return 0, false
	}
	return keyOf(n), true
}

// ParseMatricule reads a matricule as a person writes it: blanks between
// groups, lower-case Corsican letter. It returns the wire form. It judges the
// form only; the key is judged by [CheckMatricule], which knows the OID.
func ParseMatricule(s string) (string, error) {
	if len(s) > 4*matriculeLen {
		return "", errForm
	}
	s = strings.ToUpper(strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\u00a0', '\u202f':
			return -1
		}
		return r
	}, s))
	if _, _, ok := split(s); !ok {
		return "", errForm
	}
	return s, nil
}

// Display writes a matricule in the groups that people read:
// 2 79 03 51 215 189 89. A string that is no matricule is returned unchanged.
func Display(m string) string {
	if _, _, ok := split(m); !ok {
		return m
	}
	return m[:1] + " " + m[1:3] + " " + m[3:5] + " " + m[5:7] + " " + m[7:10] + " " + m[10:13] + " " + m[13:]
}

// split reads the form of a matricule: the body as a number and the key.
func split(m string) (body uint64, key int, ok bool) {
	if len(m) != matriculeLen || !digit(m[13]) || !digit(m[14]) {
		return 0, 0, false
	}
	key = int(m[13]-'0')*10 + int(m[14]-'0')
	if key < 1 || key > 97 {
		return 0, 0, false
	}
	body, ok = readBody(m[:13])
	return body, key, ok
}

// readBody judges the 13 characters (sex, year, month, place, order) and reads
// them as a number, 2A as 19 and 2B as 18. It is one pass: a register judges
// millions of them.
func readBody(b string) (n uint64, ok bool) {
	_ = b[12]
	for i := range 13 {
		c := b[i]
		switch {
		case digit(c):
			n = n*10 + uint64(c-'0')
		case i == 6 && b[5] == '2' && (c == 'A' || c == 'B'):
			n = n/10*100 + 19 - uint64(c-'A')
		default:
			return 0, false
		}
	}
	switch b[0] {
	case '1', '2', '3', '4', '7', '8':
	default:
		return 0, false
	}
	switch month := (b[3]-'0')*10 + b[4] - '0'; {
	case month >= 1 && month <= 12:
	case month >= 20 && month <= 42, month >= 50: // incomplete civil record
	default:
		return 0, false
	}
	return n, n%1000 != 0 // order 000
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func keyOf(body uint64) int { return 97 - int(body%97) }
