//go:build !nosandbox && !gateoff

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle-sante/passerelle/testdata"
)

// No matricule leaves on any wire unless it is qualified (issue 6, item 4).
//
// There is one gate, ins.Gate, and these are the places that ask it at the moment
// of sending; whatever leaves by another protocol comes of what went through one:
//
//	DMP (FHIR out)             gateway.judgeIdentity, again in Deliverer.load
//	MSSanté, professional      the same; mss.Letter.identity; xdm.Pack; gateway.gateBeside
//	MSSanté, patient           the same; mss.PatientAddress
//	HL7 out, MDM               gateway.Receiver.person; hl7v2.RenderMDM
//	HL7 out, ZAM               a notice of a letter, hence of what went through
//	receipt to a sender        gateway.Deliverer.bareReceipt
//	paper (copy in a letter)   with the letter; datamatrix.Encode
//	a CDA built from a PDF     cda.Build
//	REST, FHIR answers         the faces of the doors name no patient
//
// Two things do not ask it, on purpose: INSi, which assigns the matricule and is
// asked about those that are not qualified, and the console's view of a document,
// which is the local record. A professional's own search at the DMP is passed on
// under their token: the question is theirs.
//
// Every byte that leaves every port is caught by relays that end TLS, and by the
// clients of our doors. Longer: go test -run TestWire ./cmd/passerelle -rapid.checks=2000
func TestWire(t *testing.T) {
	c := newCrowd(t)
	c.walk(len(c.held))
	rapid.Check(t, func(t *rapid.T) {
		j := draw(t)
		c.meet(&j)
		c.play(j)
		for protocol, leaked := range c.leaks() {
			t.Fatalf("%s: %s", protocol, strings.Join(leaked, "\n"))
		}
	})
	c.stop() // what was still in hand leaves now
	c.listen()
	for protocol, leaked := range c.leaks() {
		t.Errorf("%s: %s", protocol, strings.Join(leaked, "\n"))
	}
	t.Log(c.table())
	everyone := testdata.Patients()
	for _, j := range c.who {
		everyone = append(everyone, j.patient)
	}
	for _, line := range tellsOf([]byte(c.log.String()), everyone) {
		t.Errorf("the log tells who a patient is: %s", line)
	}
	// The taps are not deaf: those who are qualified are heard wherever they may be,
	// and every port has said something.
	for _, protocol := range qualifiedProtocols {
		if len(c.heard[protocol]) == 0 {
			t.Errorf("%s: nobody was heard at all", protocol)
		}
	}
	for _, port := range []string{"imap", "white list", "psc", "hl7 acknowledgements", "rest answers"} {
		if c.heard[port] == nil {
			t.Errorf("%s: not a byte", port)
		}
	}
}

func draw(t *rapid.T) journey {
	pick := func(label string, from []string) string { return rapid.SampledFrom(from).Draw(t, label) }
	j := journey{
		who: rapid.SampledFrom(everybody()).Draw(t, "who"), door: pick("door", doors), hiding: pick("hiding", hidingNames()),
		level: rapid.SampledFrom([]int{1, 3}).Draw(t, "level"), action: testdata.New,
	}
	for _, d := range destinations {
		if rapid.Bool().Draw(t, d) {
			j.to = append(j.to, d)
		}
	}
	if len(j.to) == 0 {
		j.to = destinations[1:2]
	}
	if !slices.Contains([]string{"REST PDF", "ITI-65", "ITI-105"}, j.door) {
		j.action = pick("action", []string{testdata.New, testdata.New, testdata.Replace, testdata.Delete})
	}
	return j
}

// The twin of TestWire, in a test binary whose gate is gone, hears somebody who
// is not qualified on every protocol: it is the gate that holds them back, and
// the taps would hear them.
func TestWireTwin(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the twin is built and run anew")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the twin is built by the tool go: ", err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "test", "-tags", "gateoff", "-count=1", "-v", "-run", "^TestWireWithoutGate$", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWireWithoutGate") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// No program has the gate taken away: the file stands outside every build but
// that of the twin, and a program built with its tag ends before it begins.
func TestGateIsInEveryProgram(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the tool go says what is in a build: ", err)
	}
	for _, tags := range []string{"", "nosandbox"} {
		out, err := exec.CommandContext(t.Context(), tool, "list", "-tags", tags, "-f", "{{.GoFiles}} {{.Imports}}", "../../ins").Output()
		if err != nil {
			t.Fatal(err)
		}
		if files := string(out); strings.Contains(files, "gateoff.go") || !strings.Contains(files, "gateon.go") || strings.Contains(files, "testing") {
			t.Errorf("tags %q: %s", tags, files)
		}
	}
	if testing.Short() {
		t.Skip("-short: a program is built with the tag")
	}
	// The maker of the table of places is the smallest program that has the gate.
	out, err := exec.CommandContext(t.Context(), tool, "run", "-tags", "gateoff", "../../ins/.cog").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "serves tests only") {
		t.Errorf("it ran: %v\n%s", err, out)
	}
}
