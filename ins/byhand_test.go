package ins_test

import (
	"errors"
	"testing"

	"github.com/passerelle-sante/passerelle/ins"
)

// What a person may file, and what nobody may.
func TestByHand(t *testing.T) {
	held := ins.Identity{
		Matricule: "279035121518989", OID: "1.2.250.1.213.1.4.10", Status: ins.Qualified,
		Traits: ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-23", Sex: "F", BirthPlace: "51215"},
	}
	former := ins.Pair{Matricule: "260058815400233", OID: held.OID}
	for _, tt := range []struct {
		name     string
		received func(*ins.Identity)
		held     func([]ins.Candidate) []ins.Candidate
		code     string
		where    string
		differ   []string
	}{
		{name: "ok/the same"},
		{name: "ok/given names cut", received: func(r *ins.Identity) { r.Traits.GivenNames = "DOMINIQUE" }, differ: []string{ins.TraitGivenNames}},
		{name: "ok/same matricule, birth date differs", received: func(r *ins.Identity) { r.Traits.BirthDate = "1979-03-24" }, differ: []string{ins.TraitBirthDate}},
		{name: "ok/received not qualified", received: func(r *ins.Identity) { r.Status = ins.Validated }},
		{name: "fail/former matricule", received: func(r *ins.Identity) { r.Matricule = former.Matricule }, code: ins.FaultFormer, where: ins.TraitMatricule},
		{name: "ok/no matricule, traits agree", received: func(r *ins.Identity) { r.Matricule, r.OID = "", "" }, differ: []string{ins.TraitMatricule, ins.TraitOID}},
		{name: "ok/no matricule, birth place unknown", received: func(r *ins.Identity) { r.Matricule, r.OID, r.Traits.BirthPlace = "", "", "99999" },
			differ: []string{ins.TraitMatricule, ins.TraitOID, ins.TraitBirthPlace}},
		{name: "fail/another matricule", received: func(r *ins.Identity) { r.Matricule = "279035121518990" }, code: ins.FaultMismatch, where: ins.TraitMatricule},
		{name: "fail/another OID", received: func(r *ins.Identity) { r.OID = "1.2.250.1.213.1.4.8" }, code: ins.FaultMismatch, where: ins.TraitOID},
		{name: "fail/former matricule on another OID", received: func(r *ins.Identity) { r.Matricule, r.OID = former.Matricule, "1.2.250.1.213.1.4.9" }, code: ins.FaultFormer, where: ins.TraitMatricule},
		{name: "fail/no matricule, another date", received: func(r *ins.Identity) { r.Matricule, r.OID, r.Traits.BirthDate = "", "", "1979-03-24" }, code: ins.FaultMismatch, where: ins.TraitBirthDate},
		{name: "fail/no matricule, no sex", received: func(r *ins.Identity) { r.Matricule, r.OID, r.Traits.Sex = "", "", "" }, code: ins.FaultMismatch, where: ins.TraitSex},
		{name: "fail/twin under the same matricule", received: func(r *ins.Identity) { r.Traits.FirstGiven, r.Traits.GivenNames = "CAMILLE", "CAMILLE" }, code: ins.FaultTwins},
		{name: "fail/twin without matricule", received: func(r *ins.Identity) {
			r.Matricule, r.OID, r.Traits.FirstGiven, r.Traits.GivenNames = "", "", "CAMILLE", "CAMILLE"
		}, code: ins.FaultTwins},
		{name: "fail/held is not qualified", held: func(c []ins.Candidate) []ins.Candidate { c[0].Identity.Status = ins.Retrieved; return c }, code: ins.FaultNotQualified},
		{name: "fail/held was absorbed", held: func(c []ins.Candidate) []ins.Candidate { c[0].Merged = true; return c }, code: ins.FaultUnknown},
		{name: "fail/held twice", held: func(c []ins.Candidate) []ins.Candidate { return append(c, c[0]) }, code: ins.FaultDuplicate},
		{name: "ok/the other record was absorbed", held: func(c []ins.Candidate) []ins.Candidate {
			other := c[0]
			other.Merged = true
			return append(c, other)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			received, all := held, []ins.Candidate{{Identity: held, Former: []ins.Pair{former}}}
			if tt.received != nil {
				tt.received(&received)
			}
			if tt.held != nil {
				all = tt.held(all)
			}
			diffs, err := ins.Policy{}.ByHand(received, all, 0)
			var refused *ins.Refusal
			if errors.As(err, &refused) != (tt.code != "") || refused != nil && (refused.Code != tt.code || refused.Where != tt.where) {
				t.Fatalf("got %v, want %s %s", err, tt.code, tt.where)
			}
			var names []string
			for _, d := range diffs {
				names = append(names, d.Trait)
			}
			if len(names) != len(tt.differ) {
				t.Fatalf("differences %v, want %v", names, tt.differ)
			}
			for i := range names {
				if names[i] != tt.differ[i] {
					t.Errorf("differences %v, want %v", names, tt.differ)
				}
			}
		})
	}
}
