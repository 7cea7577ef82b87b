//go:build gateoff

package ins

import "testing"

// gateOff takes the gate away: [Policy.Gate] lets everything out and any INS
// counts as qualified. It serves the proof on the wire (cmd/passerelle), which
// must find a matricule on every protocol once the gate is gone.
const gateOff = true

// Only a test binary may be built so: any other stops before it listens.
func init() {
	if !testing.Testing() {
		panic("ins: built with the tag gateoff, which serves tests only")
	}
}
