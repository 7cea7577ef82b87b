package ins

// ByHand tells whether a person may file a received document under held[chosen],
// and on what both differ, for the person to see and confirm. What a person
// cannot decide is refused:
//
//	INS-UNKNOWN        the identity was absorbed by another one
//	INS-NOT-QUALIFIED  the identity held is not qualified
//	INS-DUPLICATE      several identities hold its matricule: they are merged first
//	INS-MISMATCH       another matricule or OID was received than it has or had; or
//	                   none was, and birth name, first given name, birth date or sex
//	                   is not the same
//	INS-TWINS          born together, other given names: never one for the other,
//	                   even under one matricule, which twins are given by mistake
//
// A former matricule is accepted: [Policy.File] asked for INSi first.
func (p Policy) ByHand(received Identity, held []Candidate, chosen int) ([]Difference, error) {
	c := held[chosen]
	switch {
	case c.Merged:
		return nil, &Refusal{Code: FaultUnknown}
	case !p.Qualified(c.Identity):
		return nil, &Refusal{Code: FaultNotQualified}
	}
	for i, other := range held {
		if i != chosen && !other.Merged && other.Identity.Matricule == c.Identity.Matricule {
			return nil, &Refusal{Code: FaultDuplicate}
		}
	}
	traits := func(id Identity) Candidate { return Candidate{Identity: Identity{Traits: id.Traits}} }
	if Compare(traits(received), traits(c.Identity)) == Twins {
		return nil, &Refusal{Code: FaultTwins}
	}
	if received.Matricule == "" {
		for _, f := range fields(c.Identity, received) {
			if f.outbound == Error && f.trait != TraitMatricule && f.trait != TraitOID && squeeze(f.a) != squeeze(f.b) {
				return nil, &Refusal{Code: FaultMismatch, Where: f.trait}
			}
		}
		return exact(c.Identity, received), nil
	}
	for _, known := range append([]Pair{{c.Identity.Matricule, c.Identity.OID}}, c.Former...) {
		switch {
		case known.Matricule != received.Matricule:
		case known.OID != received.OID:
			return nil, &Refusal{Code: FaultMismatch, Where: TraitOID}
		default:
			return exact(c.Identity, received), nil
		}
	}
	return nil, &Refusal{Code: FaultMismatch, Where: TraitMatricule}
}
