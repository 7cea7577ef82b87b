package ins

import (
	"strings"
)

// Names of the fields of an identity, as findings and differences give them.
const (
	TraitMatricule  = "matricule"
	TraitOID        = "oid"
	TraitBirthName  = "birth_name"
	TraitFirstGiven = "first_given"
	TraitGivenNames = "given_names"
	TraitBirthDate  = "birth_date"
	TraitSex        = "sex"
	TraitBirthPlace = "birth_place"
	TraitStatus     = "status"
	TraitAttributes = "attributes"
)

// DefaultBlocking are the PID-32 codes (HL7 table 0445) that keep an identity
// from being used as qualified, whatever its status.
func DefaultBlocking() []string {
	return []string{"FICT", "DOUT", "DOUB", "DOUA", "COLV", "USUR", "INVA", "DESA", "ANOM", "CACH"}
}

// Policy is what a site may settle of the gate. The zero value is the default.
type Policy struct {
	// Blocking replaces [DefaultBlocking] when it is not nil. DOUT and FICT block
	// whatever it holds: no site may let them through (EXI SI 09).
	Blocking []string
}

// Blocks gives the first attribute of id that keeps it from being used as
// qualified; empty when there is none.
func (p Policy) Blocks(id Identity) string {
	blocking := p.Blocking
	if blocking == nil {
		blocking = defaultBlocking
	}
	for _, a := range id.Attributes {
		if forcesPROV([]string{a}) || has(blocking, a) {
			return a
		}
	}
	return ""
}

var defaultBlocking = DefaultBlocking()

// Qualified tells whether id has an INS, the status QUAL and no blocking attribute.
func (p Policy) Qualified(id Identity) bool {
	return id.HasINS() && (gateOff || id.Status == Qualified && p.Blocks(id) == "")
}

// HasINS tells whether id carries a matricule with its OID.
func (id Identity) HasINS() bool { return id.Matricule != "" && id.OID != "" }

// Qualified is [Policy.Qualified] with the default policy.
func (id Identity) Qualified() bool { return Policy{}.Qualified(id) }

// Gate is [Policy.Gate] with the default policy.
func Gate(id Identity, to Destination) error { return Policy{}.Gate(id, to) }

// Gate says whether an identity may leave to a destination exactly as it
// stands. Nil means yes. A refusal is a [*Refusal].
//
// The DMP and the patient's own mailbox need an INS. Every other destination
// takes an identity without matricule and OID: a person does not need an INS to
// be treated. Wherever a matricule leaves, it leaves qualified, with its OID,
// its six strict traits and a right key, or not at all (EXI SI 08, EXI ID 29).
//
// Gate judges what it is given: the identity that would be written, hence the
// one of the document when a document leaves. An identity read from a CDA has
// no status; see [Identity.VouchedBy] and [Identity.ByContract].
func (p Policy) Gate(id Identity, to Destination) error {
	if gateOff {
		return nil
	}
	switch to {
	case ToDMP, ToPatient:
		if id.Matricule == "" {
			return errAbsent
		}
	case ToProfessional, ToHL7, ToFHIR, ToPaper:
		if id.Matricule == "" && id.OID == "" {
			return nil
		}
		if id.Matricule == "" {
			return &Refusal{Code: FaultIncomplete, Where: TraitMatricule}
		}
	default:
		return &Refusal{Code: FaultDestination}
	}
	if err := CheckMatricule(id.Matricule, id.OID); err != nil {
		return err
	}
	if id.Status != Qualified {
		return &Refusal{Code: FaultNotQualified, Where: TraitStatus}
	}
	if p.Blocks(id) != "" {
		return &Refusal{Code: FaultNotQualified, Where: TraitAttributes}
	}
	if missing := id.Traits.Missing(); len(missing) > 0 {
		return &Refusal{Code: FaultIncomplete, Where: missing[0]}
	}
	return nil
}

// Missing lists the strict traits that an INS identity needs and t does not
// give: absent, or given in a way that no INS identity can have (a birth date
// that is not a day of the calendar, a sex other than M and F).
func (t Traits) Missing() []string {
	var m []string
	if blank(t.BirthName) {
		m = append(m, TraitBirthName)
	}
	if blank(t.FirstGiven) {
		m = append(m, TraitFirstGiven)
	}
	if blank(t.GivenNames) {
		m = append(m, TraitGivenNames)
	}
	if d, err := ParseBirthDate(t.BirthDate); err != nil || !d.Real() || d.String() != t.BirthDate {
		m = append(m, TraitBirthDate)
	}
	if t.Sex != "M" && t.Sex != "F" {
		m = append(m, TraitSex)
	}
	if blank(t.BirthPlace) {
		m = append(m, TraitBirthPlace)
	}
	return m
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// WithoutINS is id without its matricule and OID. A status that says "retrieved
// from INSi" says so of a matricule, so it goes with it: QUAL becomes VALI,
// RECUP becomes PROV.
func (id Identity) WithoutINS() Identity {
	id.Matricule, id.OID = "", ""
	switch id.Status {
	case Qualified:
		id.Status = Validated
	case Retrieved:
		id.Status = Provisional
	}
	return id
}

// Receive is the rule of a receiver (PAM.fr 6.6.15): an INS that its sender
// does not give as qualified is dropped, the rest is kept. It tells whether it
// dropped one.
func (p Policy) Receive(id Identity) (kept Identity, dropped bool) {
	if id.Matricule == "" && id.OID == "" || p.Qualified(id) {
		return id, false
	}
	return id.WithoutINS(), true
}

// VouchedBy is the identity of a document with the status and attributes that
// the envelope (PID, REST envelope) gives to its person: what the sender says
// of a person holds for the document sent. An envelope without INS vouches for
// none: its document is at most VALI.
func (id Identity) VouchedBy(envelope Identity) Identity {
	if envelope.Matricule == "" {
		envelope = envelope.WithoutINS()
	}
	id.Status, id.Attributes = envelope.Status, envelope.Attributes
	return id
}

// ByContract is the identity of a document that comes without an envelope (a
// letter received, a bundle): a CDA carries an INS only when it is qualified,
// by contract of its author. Without INS the status stays unknown.
func (id Identity) ByContract() Identity {
	if id.HasINS() {
		id.Status = Qualified
	}
	return id
}
