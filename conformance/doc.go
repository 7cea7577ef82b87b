// Package conformance is the judge: each requirement, its scenarios, its
// verdict and its evidence, over the wire only.
//
// A scenario speaks to a system by the addresses of its sandbox or product file
// and by nothing else: it imports no part of the gateway, so that the same
// scenario, run against another vendor's system, proves the same thing. What it
// reads of XDM and CDA it reads in the raw XML.
//
// The outside world that scenarios need is played by conformance/sim, with the
// people and documents of testdata.
package conformance
