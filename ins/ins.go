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
// Sources: référentiel INS, RNIV, IHE PAM FR 2.11, CI-SIS annexe INS.
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
func (o OID) Known() bool { return o == OIDNIR || o == OIDNIA || o == OIDTest || o == OIDDemo }

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
