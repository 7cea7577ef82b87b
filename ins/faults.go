package ins

// Codes of the refusals and findings of this package. Each has its row in
// gateway/fault; a code never changes meaning.
const (
	FaultAbsent        = "INS-ABSENT"             // an INS is needed and there is none
	FaultNotQualified  = "INS-NOT-QUALIFIED"      // a matricule of an identity that is not qualified
	FaultIncomplete    = "INS-INCOMPLETE"         // matricule, OID or a strict trait is missing or unusable
	FaultMismatch      = "INS-MISMATCH"           // two identities that must agree contradict each other
	FaultTraitDiffers  = "INS-TRAIT-DIFFERS"      // two identities differ on a trait that does not refuse
	FaultForm          = "INS-FORM"               // not the form of a matricule
	FaultKey           = "INS-KEY"                // the control key is wrong
	FaultOID           = "INS-OID"                // the OID is not an authority that assigns an INS
	FaultRetired       = "INS-C-RETIRED"          // an INS-C offered as an INS
	FaultTestOID       = "INS-TEST-OID"           // a test identity in production
	FaultNumber        = "INS-PROVISIONAL-NUMBER" // a provisional number on the OID of the NIR
	FaultDigits        = "INS-DIGITS"             // the digits of the matricule and a trait tell different things
	FaultName          = "INS-NAME"               // a name outside the alphabet of INSi
	FaultFirstGiven    = "INS-FIRST-GIVEN"        // the first given name does not begin the list
	FaultBirthDate     = "INS-BIRTH-DATE"         // not a day of the calendar, or an impossible one
	FaultBirthPlace    = "INS-BIRTH-PLACE"        // not an official geographic code, or the unknown place
	FaultPlaceUnknown  = "INS-PLACE-UNKNOWN"      // a geographic code that the table does not have
	FaultPlaceDate     = "INS-PLACE-DATE"         // a geographic code that was not in force on the birth date
	FaultSex           = "INS-SEX"                // not a sex that an identity may hold
	FaultStatus        = "INS-STATUS"             // a status that the identity cannot have
	FaultAttributes    = "INS-ATTRIBUTES"         // attributes that exclude each other or the status
	FaultCallForbidden = "INS-CALL-FORBIDDEN"     // INSi may not be asked about this identity
	FaultPatientID     = "INS-PATIENT-ID"         // a patient identifier that cannot be read
	FaultTransition    = "INS-TRANSITION"         // the automaton forbids this event here
	FaultEvidence      = "INS-EVIDENCE"           // proof or INSi trace missing or not accepted
	FaultActor         = "INS-ACTOR"              // who acts is unknown or may not do this
	FaultCorrected     = "INS-DATE-CORRECTED"     // a corrected birth date bars the INS
	FaultUnknown       = "INS-UNKNOWN"            // no identity held under this INS
	FaultFormer        = "INS-FORMER"             // a matricule that an identity once had
	FaultDuplicate     = "INS-DUPLICATE"          // several identities held under one matricule
	FaultTwins         = "INS-TWINS"              // born together, other given names: never filed one for the other
	FaultManual        = "INS-MANUAL"             // traits agree without a matricule: a person must decide
	FaultLine          = "INS-LINE"               // a line of a batch that cannot be read
	FaultDestination   = "INS-DESTINATION"        // a destination that the gate does not know
	FaultUnconfirmed   = "INS-UNCONFIRMED"        // a validated identity on which INSi answers another trait
	FaultReplaced      = "INS-REPLACED"           // a trait that INSi writes otherwise: its writing is kept
)

// Severity is the weight of a [Finding] or a [Difference].
type Severity uint8

// The two severities: a warning is stored and shown, an error refuses.
const (
	Warning Severity = iota + 1
	Error
)

// String names the severity.
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "none"
}

// Finding is one thing found wrong or odd: a code, the trait or field that it
// concerns, never its value.
type Finding struct {
	Code     string   `json:"code"`
	Where    string   `json:"where,omitempty"`
	Severity Severity `json:"severity"`
}

// Refusal is the typed error of this package. Its text holds a code and a
// place, never a trait or a matricule.
type Refusal struct {
	Code  string
	Where string
}

// Error is the code and the place.
func (r *Refusal) Error() string {
	if r.Where == "" {
		return r.Code
	}
	return r.Code + " at " + r.Where
}

// FaultCode names the row of the error table.
func (r *Refusal) FaultCode() string { return r.Code }

// FaultWhere names the place.
func (r *Refusal) FaultWhere() string { return r.Where }

// At returns the refusal with another place, for a caller who knows where the
// identity was read (PID^1^3).
func (r *Refusal) At(where string) *Refusal { return &Refusal{Code: r.Code, Where: where} }

// Is tells whether target is a refusal with the same code, whatever the place.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code
}

// Refuse gives the first error among findings as a refusal; nil when there is
// none, warnings included.
func Refuse(findings []Finding) error {
	for _, f := range findings {
		if f.Severity == Error {
			return &Refusal{Code: f.Code, Where: f.Where}
		}
	}
	return nil
}
