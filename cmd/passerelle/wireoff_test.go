//go:build !nosandbox && gateoff

package main

import "testing"

// TestWireWithoutGate is run by TestWireTwin: without the gate somebody who is not
// qualified is heard on every protocol.
func TestWireWithoutGate(t *testing.T) {
	c := newCrowd(t)
	c.walk(6) // six kinds of people are enough to be heard
	t.Log(c.table())
	leaks := c.leaks()
	for _, protocol := range qualifiedProtocols {
		if len(leaks[protocol]) == 0 {
			t.Errorf("%s: nobody was heard: the taps are deaf, or something else holds them back", protocol)
		}
	}
}
