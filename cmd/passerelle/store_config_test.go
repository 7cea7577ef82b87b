package main

import (
	"strings"
	"testing"
	"time"
)

// TestStoreAttending: the médecin traitant is one of the professionals that the
// patient authorised.
func TestStoreAttending(t *testing.T) {
	for _, c := range []struct {
		name, attending string
		ok              bool
	}{{"ok/none", "", true}, {"ok/authorised", "899700000017", true}, {"fail/another", "899700000025", false}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := StoreConfig{Environment: envTest, Patients: []StorePatient{{Matricule: "279035121518989", OID: "1.2.250.1.213.1.4.10", State: "open",
				Authorised: []string{"899700000017", "899700000033"}, Attending: c.attending}}}
			var told []string
			for _, p := range cfg.problems(time.Now()) {
				if strings.HasPrefix(p, "patients") {
					told = append(told, p)
				}
			}
			if c.ok != (len(told) == 0) || !c.ok && !strings.HasPrefix(told[0], "patients[0].attending") {
				t.Errorf("%v", told)
			}
			attending := 0
			for _, a := range cfg.seeds()[0].Authorisations {
				if a.Attending {
					attending++
				}
			}
			if want := map[bool]int{true: 1}[c.ok && c.attending != ""]; attending != want {
				t.Errorf("%d médecins traitants", attending)
			}
		})
	}
}
