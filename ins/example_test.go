package ins_test

import (
	"fmt"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

// A matricule leaves only under QUAL, which takes an answer of INSi and the
// control of an identification device.
func Example() {
	at := time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	admissions := ins.Actor{ID: "899700000001", Human: true, Entitled: true}
	traits := ins.Traits{BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", BirthDate: "1979-03-28", Sex: "F", BirthPlace: "51215"}
	var rules ins.Rules

	r, _, _ := rules.Create(traits, false, admissions, at)
	fmt.Println(r.Identity.Status, ins.Gate(r.Identity, ins.ToDMP))

	r, _, _ = rules.Apply(r, ins.Event{Kind: ins.Retrieve, At: at, Actor: admissions, Trace: &ins.Trace{
		Channel: ins.ChannelINSi, MessageID: "uuid:…", Result: ins.Found, At: at, Traits: traits,
		INS: ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest},
	}})
	fmt.Println(r.Identity.Status, ins.Gate(r.Identity, ins.ToDMP))

	r, _, _ = rules.Apply(r, ins.Event{Kind: ins.Control, At: at, Actor: admissions, Proof: &ins.Proof{Device: "PA"}})
	fmt.Println(r.Identity.Status, ins.Gate(r.Identity, ins.ToDMP))

	// Output:
	// PROV INS-ABSENT at matricule
	// RECUP INS-NOT-QUALIFIED at status
	// QUAL <nil>
}
