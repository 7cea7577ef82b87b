package ins

import (
	"slices"
	"strings"
)

// FromPID32 reads the identity reliability codes of PID-32 (HL7 table 0445).
// hasINS tells whether PID-3 carries an INS. Table 0445 has neither RECUP nor
// QUAL: VALI beside an INS is what a sender says of a qualified identity.
//
// DOUT and FICT force PROV (EXI SI 09), and so does PROV beside VALI: of two
// statuses the lower one is kept. The other codes are returned as attributes,
// in order and without repetition.
func FromPID32(codes []string, hasINS bool) (Status, []string) {
	var validated, provisional bool
	var attributes []string
	for _, c := range codes {
		switch c = strings.ToUpper(strings.TrimSpace(c)); c {
		case "":
			continue
		case string(Validated):
			validated = true
			continue
		case string(Provisional):
			provisional = true
			continue
		case AttrDoubtful, AttrFictive:
			provisional = true
		}
		if !slices.Contains(attributes, c) {
			attributes = append(attributes, c)
		}
	}
	switch {
	case provisional || !validated:
		return Provisional, attributes
	case hasINS:
		return Qualified, attributes
	}
	return Validated, attributes
}

// ToPID32 writes a status and its attributes as PID-32 repetitions: RECUP is
// PROV there, QUAL is VALI. An INS goes to PID-3 for QUAL only.
func ToPID32(s Status, attributes []string) []string {
	code := string(Provisional)
	if s == Validated || s == Qualified {
		code = string(Validated)
	}
	return append([]string{code}, attributes...)
}

// The attributes that RNIV defines; the other codes of table 0445 are of
// management.
const (
	AttrDoubtful         = "DOUT" // identité douteuse
	AttrFictive          = "FICT" // identité fictive
	AttrHomonym          = "HOMA" // homonyme avéré
	AttrHomonymSuspected = "HOMD" // homonyme détecté
)
