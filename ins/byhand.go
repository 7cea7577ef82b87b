package ins

import "slices"

// ByHand tells whether a person may file a received document under held[chosen],
// and on what both differ, for the person to see and confirm. What a person
// cannot decide is refused:
//
//	INS-UNKNOWN        the identity was absorbed by another one
//	INS-NOT-QUALIFIED  the identity held is not qualified
//	INS-DUPLICATE      several identities hold its matricule: they are merged first
//	INS-FORMER         the matricule received is one that it had before: no message
//	                   carries one matricule around a document that carries another
//	INS-MISMATCH       another matricule or OID was received than it has; or none was,
//	                   and birth name, first given name, birth date or sex is not
//	                   the same
//	INS-TWINS          born together, other given names: never one for the other,
//	                   even under one matricule, which twins are given by mistake
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
	former := func(q Pair) bool { return q.Matricule == received.Matricule }
	switch {
	case c.Identity.Matricule == received.Matricule && c.Identity.OID != received.OID:
		return nil, &Refusal{Code: FaultMismatch, Where: TraitOID}
	case c.Identity.Matricule == received.Matricule:
		return exact(c.Identity, received), nil
	case slices.ContainsFunc(c.Former, former):
		return nil, &Refusal{Code: FaultFormer, Where: TraitMatricule}
	}
	return nil, &Refusal{Code: FaultMismatch, Where: TraitMatricule}
}
