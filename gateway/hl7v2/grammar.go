package hl7v2

import "slices"

// A rule is one line of a profile's grammar: a segment, or a group that begins
// with its first segment.
type rule struct {
	segment  string
	group    []rule
	min, max int // max 0: no bound
}

func one(segment string) rule      { return rule{segment: segment, min: 1, max: 1} }
func optional(segment string) rule { return rule{segment: segment, max: 1} }
func any0(segment string) rule     { return rule{segment: segment} }

func groups(min, max int, rules ...rule) rule { return rule{group: rules, min: min, max: max} }

// first is the segment that opens a rule.
func (r rule) first() string {
	if r.group != nil {
		return r.group[0].first()
	}
	return r.segment
}

// The grammars of the volet (digest §3). PRT is pre-adopted from HL7 2.9 in
// both. One ORDER_OBSERVATION is used, so that a second one is refused.
var (
	grammarORU = []rule{ // ORU_R01, HL7 2.5
		one("MSH"),
		one("PID"),
		groups(0, 1, // PATIENT_VISIT
			one("PV1")),
		groups(1, 1, // ORDER_OBSERVATION
			one("ORC"),
			one("OBR"),
			any0("NTE"),
			any0("TQ1"),
			groups(1, 0, // OBSERVATION
				one("OBX"),
				any0("PRT"),
				any0("NTE"))),
	}
	grammarMDM = []rule{ // MDM_T02, HL7 2.6
		one("MSH"),
		one("EVN"),
		one("PID"),
		one("PV1"),
		groups(1, 1, // COMMON_ORDER
			one("ORC"),
			groups(0, 0, // TIMING
				one("TQ1"),
				any0("TQ2")),
			one("OBR"),
			any0("NTE")),
		one("TXA"),
		groups(1, 0, // OBXNTE
			one("OBX"),
			any0("PRT"),
			any0("NTE")),
	}
	grammarADT = []rule{ // PAM.fr: only what names the patient and the visit
		one("MSH"),
		one("EVN"),
		one("PID"),
		optional("PV1"),
	}
)

// fieldRule is a field that a profile requires, and the codes of its first
// component if it has a closed list.
type fieldRule struct {
	segment string
	field   int
	codes   []string
}

// The fields required in every message, then those of the volet (digest §4–7).
// What a condition requires is in read.go, flags.go and recipients.go.
var (
	fieldsMSH = []fieldRule{
		{segment: "MSH", field: 3}, {segment: "MSH", field: 4},
		{segment: "MSH", field: 5}, {segment: "MSH", field: 6},
		{segment: "MSH", field: 7}, {segment: "MSH", field: 10},
		{segment: "MSH", field: 17, codes: []string{"FRA"}},
	}
	fieldsVolet = []fieldRule{
		{segment: "PID", field: 3}, {segment: "PID", field: 5},
		{segment: "PV1", field: 2, codes: []string{"I", "O", "R", "E", "N"}},
		{segment: "ORC", field: 1, codes: []string{"NW", "RO", "CA"}},
		{segment: "OBR", field: 4},
		{segment: "TXA", field: 1}, {segment: "TXA", field: 2},
		{segment: "TXA", field: 3, codes: []string{"TEXT"}},
		{segment: "TXA", field: 12},
		{segment: "TXA", field: 17, codes: []string{"AU"}},
		{segment: "PRT", field: 2, codes: []string{"UC"}}, // any other would withdraw a person
	}
	fieldsADT = []fieldRule{
		{segment: "PID", field: 3}, {segment: "PID", field: 5},
	}
)

// match reads segments by a grammar and gives those that it knows, in order; a
// PRT or NTE belongs to the OBX before it. Segments that the grammar does not know
// are ignored, as the volet asks; so is an NTE about anything but the request or
// an observation (HL7 2.5 has one after PID). Every missing segment is reported; of the
// segments out of order only the first, because the others follow from it.
func match(grammar []rule, segments []Segment) (found []*Segment, faults []error, ordered bool) {
	known := map[string]bool{}
	var learn func([]rule)
	learn = func(rules []rule) {
		for _, r := range rules {
			known[r.segment] = true
			learn(r.group)
		}
	}
	learn(grammar)
	m := matcher{ordered: true}
	for i := range segments {
		s := &segments[i]
		if !known[s.Name] || s.Name == "NTE" && (len(m.input) == 0 || !commented[m.input[len(m.input)-1].Name]) {
			continue
		}
		m.input = append(m.input, s)
	}
	found = m.rules(grammar)
	if m.ordered && m.pos < len(m.input) {
		s := m.input[m.pos]
		m.faults, m.ordered = append(m.faults, refuse(FaultSegmentOrder, place(s.Name, s.Occ, 0))), false
	}
	return found, m.faults, m.ordered
}

// commented are the segments that an NTE of the volet may follow.
var commented = map[string]bool{"OBR": true, "TQ1": true, "TQ2": true, "OBX": true, "PRT": true, "NTE": true}

type matcher struct {
	input   []*Segment
	pos     int
	faults  []error
	ordered bool
}

func (m *matcher) rules(rules []rule) (found []*Segment) {
	for _, r := range rules {
		n := 0
		for ; (r.max == 0 || n < r.max) && m.pos < len(m.input) && m.input[m.pos].Name == r.first(); n++ {
			if r.group != nil {
				found = append(found, m.rules(r.group)...)
				continue
			}
			found = append(found, m.input[m.pos])
			m.pos++
		}
		if n < r.min {
			m.missing(r)
			if r.group != nil && m.beginsInside(r.group) {
				// The group lacks its first segment but is there: going on
				// reports the one that misses, not all that follow.
				found = append(found, m.rules(r.group[1:])...)
			}
		}
	}
	return found
}

// missing reports a required segment: absent, or present further on, and then
// what stands in its place is what is out of order.
func (m *matcher) missing(r rule) {
	name := r.first()
	later := slices.IndexFunc(m.input[m.pos:], func(s *Segment) bool { return s.Name == name })
	switch {
	case later < 0:
		m.faults = append(m.faults, refuse(FaultSegmentMissing, place(name, 1, 0)))
	case m.ordered:
		s := m.input[m.pos]
		m.faults, m.ordered = append(m.faults, refuse(FaultSegmentOrder, place(s.Name, s.Occ, 0))), false
	}
}

func (m *matcher) beginsInside(group []rule) bool {
	return m.pos < len(m.input) && slices.ContainsFunc(group[1:], func(r rule) bool {
		return r.first() == m.input[m.pos].Name
	})
}

// checkFields reports the required fields that are empty and the codes outside
// their list, segment by segment.
func checkFields(rules []fieldRule, segments []*Segment) (faults []error) {
	for _, s := range segments {
		for _, r := range rules {
			if r.segment != s.Name {
				continue
			}
			code := s.Field(r.field).First()
			switch {
			case code.Empty():
				faults = append(faults, refuse(FaultFieldMissing, s.At(r.field)))
			case r.codes != nil && !slices.Contains(r.codes, code.Code()):
				faults = append(faults, refuse(FaultFieldValue, s.At(r.field)))
			}
		}
	}
	return faults
}
