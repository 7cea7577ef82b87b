// Package ins says what an INS identity is and when it may leave the house.
//
// An INS identity is a matricule (15 characters, key included), the OID of the
// authority that assigned it, and the INS traits. None of the three travels
// alone, and none travels at all unless the identity is qualified: that rule is
// [Gate], one function for every destination.
//
// The package keeps nothing and talks to nobody; it is pure functions over
// values. Strings are stored verbatim: normalisation happens only at the
// boundary (comparison, INSi call, datamatrix).
//
// What a register does with an identity over time is [Record] and [Rules]: the
// status follows from evidence and cannot be set. Who a received document is
// about is [Policy.File]: exact, or a person decides.
//
// Sources: référentiel INS, RNIV, IHE PAM FR 2.11, CI-SIS annexe INS.
//
// # Where we differ or had to choose
//
//   - The key of a matricule refuses on production OIDs and warns on those of
//     test and demonstration, where the national samples carry wrong keys. A
//     wrong key that INSi itself returned is held verbatim; the gate holds it
//     back.
//   - Month 13, months 00, 14–19 and 43–49, and order 000 are no matricule.
//   - To leave with an INS, all six strict traits are required, as the CI-SIS
//     schematron asks of a CDA; a letter between professionals may leave without
//     INS, never with a piece of one.
//   - PAM.fr bars the INS beside a completed ("corrected") birth date, and the
//     guide of 2024 could not be read: a lunar date from INSi is refused
//     ([FaultCorrected]) and left to a person.
//   - Nothing published that could be read says how often a QUAL identity is
//     verified again, nor the numbers of the requirements on searches and
//     duplicates (EXI SI 01–06, 11–21): the former is for the site, the latter are
//     kept by what they ask.
//   - FR Core codes the status in another system since 2.1. We write 2.1, as the
//     DMP guides pin it, and read both; VALI beside an INS is QUAL in 2.1 only
//     ([FromFHIRReliability]).
//   - DOUT and FICT hold an identity back whatever a site settles ([Policy]), and
//     codes of 0445 are read in any case.
//   - RECUP does not exist in HL7 table 0445: it is written PROV, and an A47
//     withdraws only an INS that was sent, hence one that left QUAL.
//   - DOUT or FICT beside VALI is read as PROV. FICT and homonym exclude each
//     other, as RNIV has it.
//   - Withdrawn by INSi (verification KO), an identity keeps its own proof: VALI
//     if it was controlled, else PROV.
//   - An identity validated elsewhere, which INSi confirms to the letter of its
//     traits, becomes QUAL without a person who accepts the answer
//     ([Identity.Confirm]); whatever INSi says otherwise is for a person. What a
//     register holds follows [Rules], which ask for that person.
//   - A scanned datamatrix is not signed: it is no evidence, neither trace nor
//     proof.
//   - What the register of an establishment says (ADT) is evidence only where a
//     site says so ([Rules.Assertions]); it never raises what was said, and its
//     silence does not withdraw evidence of our own.
//   - A record absorbed by a merge gives its INS up: two records never hold one.
//   - The devices of high trust are a short list ([DefaultDevices]); those that
//     need a second device (minors) are for the site to add.
//   - Whether an official geographic code exists is advice ([COG]), never part
//     of [Judge]: communes are renumbered, and INSi returns codes of no table.
//     The table carries few dates, because its sources give none.
//
// # Data of others
//
// The embedded table of places is made of the communes of the npm package
// @etalab/decoupage-administratif 6.0.0 of 9 March 2026, from the code officiel
// géographique of INSEE (data: Licence Ouverte / Etalab 2.0; package: MIT), and
// of the countries of TRE_R20 of the Agence du Numérique en Santé (version
// 20230718120000). [COG.Source] says the same of the table at hand.
package ins

// OID is the object identifier of the authority that assigned a matricule.
type OID string

// The authorities of the arc 1.2.250.1.213.1.4 that assign an INS.
const (
	OIDNIR  OID = "1.2.250.1.213.1.4.8"  // INS-NIR, production
	OIDNIA  OID = "1.2.250.1.213.1.4.9"  // INS-NIA, production
	OIDTest OID = "1.2.250.1.213.1.4.10" // INS-NIR of test
	OIDDemo OID = "1.2.250.1.213.1.4.11" // INS-NIR of demonstration
)

// Known tells whether o is an authority that assigns an INS.
func (o OID) Known() bool {
	switch o {
	case OIDNIR, OIDNIA, OIDTest, OIDDemo:
		return true
	}
	return false
}

// Fictive tells whether o only ever names fictitious people.
func (o OID) Fictive() bool { return o == OIDTest || o == OIDDemo }

// Traits are the six strict traits of an INS identity, verbatim as received.
type Traits struct {
	BirthName  string `json:"birth_name,omitempty"`  // nom de naissance
	FirstGiven string `json:"first_given,omitempty"` // premier prénom de naissance
	GivenNames string `json:"given_names,omitempty"` // liste des prénoms de naissance, blank-separated
	BirthDate  string `json:"birth_date,omitempty"`  // YYYY-MM-DD; month and day may be lunar
	Sex        string `json:"sex,omitempty"`         // M, F, or U when indeterminate
	BirthPlace string `json:"birth_place,omitempty"` // code officiel géographique, 5 characters
}

// LocalID is an identifier given by an establishment, such as an IPP.
type LocalID struct {
	Value     string `json:"value"`
	Authority string `json:"authority"` // OID or FINESS of the authority
}

// Status is one of the four mutually exclusive statuses of an identity
// (RNIV EXI SI 07).
type Status string

// The four statuses.
const (
	Provisional Status = "PROV"
	Validated   Status = "VALI"
	Retrieved   Status = "RECUP"
	Qualified   Status = "QUAL"
)

// Identity is a person as a sender, a document or a register names them.
// Matricule and OID are both empty or both present.
type Identity struct {
	Matricule  string    `json:"matricule,omitempty"` // 15 characters, key included
	OID        OID       `json:"oid,omitempty"`
	Traits     Traits    `json:"traits"`
	Status     Status    `json:"status,omitempty"`
	Attributes []string  `json:"attributes,omitempty"` // PID-32 codes other than the status: DOUT, FICT, HOMA, …
	Local      []LocalID `json:"local,omitempty"`
}

// Destination is where an identity would leave to.
type Destination string

// The destinations that [Gate] knows.
const (
	ToDMP          Destination = "dmp"
	ToProfessional Destination = "mss-pro"
	ToPatient      Destination = "mss-patient"
	ToHL7          Destination = "hl7"
	ToFHIR         Destination = "fhir"
	ToPaper        Destination = "paper"
)
