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

// ParseSex reads the sex of any of the representations: M, F and U (HL7 v2),
// UN (CDA), I (the letter that people type), male, female and unknown (FHIR).
// It gives M, F or U. O and other are no longer allowed.
func ParseSex(s string) (string, bool) {
	switch s {
	case "M", "male":
		return "M", true
	case "F", "female":
		return "F", true
	case "U", "UN", "I", "unknown":
		return "U", true
	}
	return "", false
}

// SexForCDA is the code of JDV_J143 for a sex of [Traits].
func SexForCDA(s string) string {
	if s == "M" || s == "F" {
		return s
	}
	return "UN"
}

// SexForFHIR is the administrative gender for a sex of [Traits].
func SexForFHIR(s string) string {
	switch s {
	case "M":
		return "male"
	case "F":
		return "female"
	}
	return "unknown"
}

// Systems of FR Core in which the reliability of an identity is coded. The
// first is that of version 2.1, which the DMP guides pin and which we write;
// the second came later and is read as well.
const (
	FHIRSystem0445   = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0445"
	FHIRSystemStatus = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-identity-status"
	FHIRSystem0203   = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
)

// FHIRCode is one code of the FR Core identity reliability, with its system.
type FHIRCode struct{ System, Code string }

// systems21 are the systems in which VALI beside an INS says qualified, because
// they have no word for it: that of FR Core 2.1, its name in an earlier draft,
// and the table of HL7 itself.
var systems21 = []string{FHIRSystem0445, "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-fiabilite-identite", "http://terminology.hl7.org/CodeSystem/v2-0445"}

// FromFHIRReliability reads the codes of the FR Core identity reliability. VALI
// beside an INS says qualified in the systems of 2.1, which have no QUAL; in the
// later one, or in a system that is not known, it says validated and no more. A
// status that claims an INS where there is none is lowered.
func FromFHIRReliability(said []FHIRCode, hasINS bool) (Status, []string) {
	rest := make([]string, 0, len(said))
	var retrieved, validatedOnly bool
	for _, s := range said {
		c := strings.ToUpper(strings.TrimSpace(s.Code))
		switch c {
		case string(Qualified):
			c = string(Validated)
		case string(Validated):
			validatedOnly = validatedOnly || !slices.Contains(systems21, s.System)
		case string(Retrieved):
			retrieved = true
			continue
		}
		rest = append(rest, c)
	}
	status, attributes := FromPID32(rest, hasINS)
	if validatedOnly && status == Qualified {
		status = Validated
	}
	if retrieved {
		// RECUP beside another status is a contradiction; RECUP never lets an
		// INS leave, so it is the lower of any pair but PROV.
		if status = Provisional; hasINS && !slices.Contains(rest, string(Provisional)) && !forcesPROV(attributes) {
			status = Retrieved
		}
	}
	return status, attributes
}

// ToFHIRReliability writes a status as FR Core 2.1 codes it, which is as PID-32.
func ToFHIRReliability(s Status) string { return ToPID32(s, nil)[0] }

// FHIRIdentifier gives the identifier type code (FR Core v2-0203), the use and
// the system of an INS in a FHIR Patient. It is false for an OID that assigns
// no INS. A NIA is provisional, hence use temp.
func FHIRIdentifier(oid OID) (code, use, system string, ok bool) {
	use, system = "official", "urn:oid:"+string(oid)
	switch oid {
	case OIDNIR:
		code = "INS-NIR"
	case OIDNIA:
		code, use = "INS-NIA", "temp"
	case OIDTest:
		code = "INS-NIR-TEST"
	case OIDDemo:
		code = "INS-NIR-DEMO"
	default:
		return "", "", "", false
	}
	return code, use, system, true
}

// FromFHIRIdentifier tells which authority a FHIR identifier comes from, and
// whether the identifier is an INS in use. The billing NIR (type NH) has the
// same system as the INS-NIR: the type decides, and when there is none the
// system does. An identifier of use old is a former INS.
func FromFHIRIdentifier(code, use, system string) (OID, bool) {
	oid, found := strings.CutPrefix(system, "urn:oid:")
	if !found || !OID(oid).Known() || use == "old" {
		return "", false
	}
	if want, _, _, _ := FHIRIdentifier(OID(oid)); code != "" && code != want {
		return "", false
	}
	return OID(oid), true
}

// IsPID3 tells whether a repetition of PID-3 is an INS: its type (CX-5) is INS
// and its authority assigns one. A billing NIR has the type NH and the same
// OID: it is never promoted.
func IsPID3(cxType string, oid OID) bool { return cxType == "INS" && oid.Known() }

// Pair is a matricule and its OID.
type Pair struct {
	Matricule string `json:"matricule"`
	OID       OID    `json:"oid"`
}

// Prefer chooses among the INS that one message gives for one person: a NIR
// before a NIA (PAM.fr 4.4.1). It is false when there is none, or several that
// nothing orders.
func Prefer(pairs []Pair) (Pair, bool) {
	var nir, nia []Pair
	for _, p := range pairs {
		list := &nir
		if p.OID == OIDNIA {
			list = &nia
		}
		if !slices.Contains(*list, p) {
			*list = append(*list, p)
		}
	}
	switch {
	case len(nir) == 1:
		return nir[0], true
	case len(nir) == 0 && len(nia) == 1:
		return nia[0], true
	}
	return Pair{}, false
}

// XDSPatientID writes the patientId of XDS and the DMP: 15^^^&OID&ISO^NH. The
// type is NH there and INS in HL7 v2.
func XDSPatientID(p Pair) (string, error) {
	if err := CheckMatricule(p.Matricule, p.OID); err != nil {
		return "", err
	}
	return p.Matricule + "^^^&" + string(p.OID) + "&ISO^NH", nil
}

// ParseXDSPatientID reads what [XDSPatientID] writes, and the type INS, which
// occurs. The matricule is not judged beyond its delimiters; the OID must
// assign an INS.
func ParseXDSPatientID(s string) (Pair, error) {
	bad := &Refusal{Code: FaultPatientID}
	if len(s) > 255 {
		return Pair{}, bad
	}
	cx := strings.Split(s, "^")
	if len(cx) != 5 || cx[0] == "" || cx[1] != "" || cx[2] != "" || cx[4] != "NH" && cx[4] != "INS" {
		return Pair{}, bad
	}
	// HD.1 stays empty in XDS (ITI TF-3, 4.2.3.1.5), whatever HL7 v2 puts there.
	hd := strings.Split(cx[3], "&")
	if len(hd) != 3 || hd[0] != "" || hd[2] != "ISO" {
		return Pair{}, bad
	}
	switch oid := OID(hd[1]); {
	case oid.Retired():
		return Pair{}, errRetired
	case !oid.Known():
		return Pair{}, errOID
	default:
		return Pair{cx[0], oid}, nil
	}
}
