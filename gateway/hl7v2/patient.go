package hl7v2

import (
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// maxRepeats bounds the repetitions that are looked at in one field.
const maxRepeats = 64

// patient reads PID. Nothing is judged here but the form: whether the identity
// may leave the house is the gate's.
func (r *reader) patient(pid Segment) {
	id := &r.in.Patient
	r.identifiers(pid, 3, id)
	name := legalName(pid.Field(5))
	id.Traits.BirthName = name.Component(1).Sub(1).Text()
	id.Traits.FirstGiven = name.Component(2).Text()
	id.Traits.GivenNames = name.Component(3).Text()
	if id.Traits.BirthName == "" && !pid.Field(5).Empty() {
		r.refuse(FaultFieldMissing, pid.At(5))
	}
	if f := pid.Field(7); !f.Empty() {
		date, ok := isoDate(f.Code())
		if !ok {
			r.refuse(FaultFieldType, pid.At(7))
		}
		id.Traits.BirthDate = date
	}
	if f := pid.Field(8); !f.Empty() {
		id.Traits.Sex = f.Code()
		if !slices.Contains([]string{"M", "F", "U"}, id.Traits.Sex) {
			r.refuse(FaultFieldValue, pid.At(8))
		}
	}
	n := 0
	for a := range pid.Field(11).Repetitions() {
		if a.Component(7).Text() == "BDL" {
			id.Traits.BirthPlace = a.Component(9).Text()
			break
		}
		if n++; n == maxRepeats {
			break
		}
	}
	r.in.Visit.FileNumber = pid.Field(18).Code()
	var codes []string
	for c := range pid.Field(32).Repetitions() {
		if codes = append(codes, c.Component(1).Text()); len(codes) == maxRepeats {
			break
		}
	}
	id.Status, id.Attributes = ins.FromPID32(codes, id.HasINS())
}

// register reads what an ADT says to those who hold identities: the identifiers
// that its patient no longer has (MRG-1), and whether the birth date was
// completed (ZFD-4).
func (r *reader) register(segments []Segment) {
	if !strings.HasPrefix(r.in.Message.Type, "ADT^") {
		return
	}
	for _, s := range segments {
		switch {
		case s.Name == "MRG" && r.in.Prior == nil:
			before := len(r.in.Refusals)
			r.in.Prior = &ins.Identity{}
			if r.identifiers(s, 1, r.in.Prior); len(r.in.Refusals) > before {
				// The ADT says more than this: it is kept all the same.
				r.in.Refusals, r.in.Prior = r.in.Refusals[:before], &ins.Identity{}
				r.warn(FaultFieldRepeated, s.At(1))
			}
		case s.Name == "ZFD":
			r.in.DateCorrected = r.in.DateCorrected || s.Field(4).Code() == "Y"
		}
	}
}

// identifiers reads PID-3 or MRG-1, whose repetitions come in any order: the INS is
// found by its type and its OID, and a billing number (NH) is never taken for
// one even under the same OID. A NIR goes before a NIA.
func (r *reader) identifiers(pid Segment, field int, id *ins.Identity) {
	n := 0
	for cx := range pid.Field(field).Repetitions() {
		if n++; n > maxRepeats {
			r.refuse(FaultFieldRepeated, pid.At(field))
			return
		}
		value, kind := cx.Component(1).Text(), cx.Component(5).Text()
		name, oid := cx.Component(4).Sub(1).Text(), cx.Component(4).Sub(2).Text()
		if value == "" {
			continue
		}
		switch kind {
		case "INS":
			if oid == "" && ins.OID(name).Known() {
				oid = name
			}
			switch {
			case oid == "":
				// A matricule does not travel without its authority: as if
				// there were none, and told.
				r.warn(FaultMatriculeAlone, pid.At(field))
			case id.Matricule == "", id.OID == ins.OIDNIA && ins.OID(oid) != ins.OIDNIA:
				id.Matricule, id.OID = value, ins.OID(oid)
			case id.OID != ins.OIDNIA && ins.OID(oid) == ins.OIDNIA:
			case id.Matricule != value || id.OID != ins.OID(oid):
				r.refuse(FaultFieldRepeated, pid.At(field))
			}
		case "PI", "":
			if oid == "" {
				oid = name
			}
			id.Local = append(id.Local, ins.LocalID{Value: value, Authority: oid})
		}
	}
}

// legalName is the repetition of PID-5 that carries the birth name (type L).
// Documentation of PAM.fr has one caret too many before the type, and it is
// copied: both places are looked at.
func legalName(f Field) Field {
	n := 0
	for x := range f.Repetitions() {
		if x.Component(7).Text() == "L" || x.Component(7).Text() == "" && x.Component(8).Text() == "L" {
			return x
		}
		if n++; n == maxRepeats {
			break
		}
	}
	if first := f.First(); first.Component(7).Text() == "" {
		return first
	}
	return Field{set: f.set}
}

func (r *reader) visit(pv1 Segment, volet bool) {
	v := &r.in.Visit
	v.Class = pv1.Field(2).Code()
	v.Number = pv1.Field(19).Code()
	v.Admitted = pv1.Field(44).Code()
	v.Discharged = pv1.Field(45).Code()
	if volet && v.Number == "" && slices.Contains([]string{"E", "I", "O", "R"}, v.Class) {
		r.refuse(FaultFieldMissing, pv1.At(19))
	}
	for i, at := range []string{v.Admitted, v.Discharged} {
		if at != "" && !isTime(at) {
			r.refuse(FaultFieldType, pv1.At(44+i))
		}
	}
}

// isoDate reads the day of a TS. Month and day may be lunar (00): whether the
// calendar has that day is not judged here.
func isoDate(s string) (string, bool) {
	if len(s) < 8 || !isTime(s) || s[4:6] > "12" || s[6:8] > "31" {
		return "", false
	}
	return s[:4] + "-" + s[4:6] + "-" + s[6:8], true
}

// isTime tells whether s has the form YYYY[MM[DD[HHMM[SS[.S…]]]]][±ZZZZ].
func isTime(s string) bool {
	s, zone, zoned := cutZone(s)
	if zoned && (len(zone) != 4 || !digits(zone)) {
		return false
	}
	s, fraction, fractional := strings.Cut(s, ".")
	if fractional && (len(s) != 14 || len(fraction) == 0 || len(fraction) > 6 || !digits(fraction)) {
		return false
	}
	switch len(s) {
	case 4, 6, 8, 10, 12, 14:
		return digits(s)
	}
	return false
}

func cutZone(s string) (before, zone string, found bool) {
	if i := strings.IndexAny(s, "+-"); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
