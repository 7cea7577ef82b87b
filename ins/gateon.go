//go:build !gateoff

package ins

// gateOff is false in every program. The build tag gateoff makes it true, for
// the one test that shows what the gate holds back.
const gateOff = false
