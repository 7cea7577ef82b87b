package hl7v2

import (
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway"
)

// consent reads ZFA of an ADT wherever it stands. What it says beyond its codes
// is told and left out: the ADT is kept all the same, and an ADT without ZFA
// says nothing.
func (r *reader) consent(segments []Segment) {
	if !strings.HasPrefix(r.in.Message.Type, "ADT^") {
		return
	}
	i := slices.IndexFunc(segments, func(s Segment) bool { return s.Name == "ZFA" })
	if i < 0 {
		return
	}
	zfa, c := segments[i], gateway.Consent{}
	c.Feeding, c.FeedingDate = r.answer(zfa, 9, gateway.NotOpposed, gateway.Opposed, gateway.NotCollected)
	c.Consultation, c.ConsultationDate = r.answer(zfa, 11, "IC", "INC", gateway.NotCollected)
	if c != (gateway.Consent{}) {
		r.in.Consent = &c
	}
}

// answer reads a code and the day after it.
func (r *reader) answer(zfa Segment, n int, codes ...string) (code, day string) {
	code = strings.ToUpper(zfa.Field(n).Code())
	if code == "" {
		return "", ""
	}
	if !slices.Contains(codes, code) {
		r.warn(FaultFieldValue, zfa.At(n))
		return "", ""
	}
	if at := zfa.Field(n + 1); !at.Empty() {
		date, ok := isoDate(at.Code())
		if !ok {
			r.warn(FaultFieldType, zfa.At(n+1))
		}
		day = date
	}
	return code, day
}
