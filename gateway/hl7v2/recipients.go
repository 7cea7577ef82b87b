package hl7v2

import (
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/ins"
)

// The kinds of recipient of the contract.
const (
	kindProfessional = "professional"
	kindPatient      = "patient"
	kindOrganisation = "organisation"
	kindDevice       = "device"
)

const (
	oidProfessional = "1.2.250.1.71.4.2.1"
	oidOrganisation = "1.2.250.1.71.4.2.2"
	patientDomain   = "patient.mssante.fr"
	maxRecipients   = 200
	maxAddress      = 254 // RFC 5321, path without its brackets
)

// people reads the PRT segments: one SB, several RCT, one REPLY, told apart by
// the code alone, because texts and systems vary. It is false when not
// all of them were read.
func (r *reader) people(all []*Segment) bool {
	var sb, reply *Segment
	for _, s := range all {
		switch s.Field(4).Code() {
		case "SB":
			if sb != nil {
				r.refuse(FaultFieldRepeated, s.At(4))
				continue
			}
			sb = s
			r.in.Requester = requester(*s)
		case "RCT":
			if len(r.in.Recipients) == maxRecipients {
				r.refuse(FaultTooManyPersons, s.At(4))
				return false
			}
			r.recipient(*s)
		case "REPLY":
			if reply != nil {
				r.refuse(FaultFieldRepeated, s.At(4))
				continue
			}
			reply = s
			to, one := address(*s)
			switch r.in.ReplyTo = to; {
			case !one:
				r.refuse(FaultFieldRepeated, s.At(15))
			case !mailAddress(to):
				r.refuse(FaultAddress, s.At(15))
			}
		}
	}
	return true
}

// requester reads PRT SB. PRT-8 is trimmed and passed on, never compared.
func requester(s Segment) *dmp.Requester {
	q := &dmp.Requester{Person: person(s), Organisation: organisation(s)}
	if id := s.Field(10).Code(); id != "" && q.Person == nil {
		q.Device = &dmp.Device{ID: deviceID(s.Field(10))}
	}
	return q
}

func (r *reader) recipient(s Segment) {
	to, one := address(s)
	c := gateway.Recipient{Address: to, Person: person(s), Org: organisation(s), Device: s.Field(10).Code()}
	xcn := s.Field(5).First()
	_, domain, _ := strings.Cut(c.Address, "@")
	switch {
	case xcn.Component(13).Text() == "INS", ins.OID(authority(xcn.Component(9))).Known(),
		strings.EqualFold(domain, patientDomain):
		c.Kind = kindPatient
	case c.Person != nil:
		c.Kind = kindProfessional
	case c.Org.ID.Extension != "" || c.Org.Name != "":
		c.Kind = kindOrganisation
	case c.Device != "":
		c.Kind = kindDevice
	default: // a bare address is a mailbox of nobody in particular
		c.Kind = kindOrganisation
	}
	patient := c.Kind == kindPatient
	if patient && !r.in.Flags.ToPatient || !patient && !r.in.Flags.ToProfessionals {
		// Whoever sends decides by the flags: nothing goes to this one.
		r.warn(FaultRecipientUnused, s.At(4))
		return
	}
	switch {
	case !one: // which of the two is meant? the other would be lost
		r.refuse(FaultFieldRepeated, s.At(15))
	case c.Address == "" && !strings.Contains(s.Field(15).Text(), "@"):
		r.refuse(FaultFieldMissing, s.At(15))
	case !mailAddress(c.Address):
		r.refuse(FaultAddress, s.At(15))
	}
	if patient && !r.samePatient(c, domain) {
		r.refuse(FaultOtherPatient, s.At(15))
	}
	r.in.Recipients = append(r.in.Recipients, c)
}

// samePatient: the mailbox of Mon espace santé is the matricule, so that one
// wrong digit writes to somebody else.
func (r *reader) samePatient(c gateway.Recipient, domain string) bool {
	if !r.in.Patient.HasINS() {
		return true // the gate refuses such mail anyway
	}
	if c.Person != nil && c.Person.ID.Extension != "" && c.Person.ID.Extension != r.in.Patient.Matricule {
		return false
	}
	local, _, _ := strings.Cut(c.Address, "@")
	return !strings.EqualFold(domain, patientDomain) || strings.EqualFold(local, r.in.Patient.Matricule)
}

// needRequester: the DMP asks who sends, as a person or a device, and for
// which structure.
func (r *reader) needRequester() {
	q := r.in.Requester
	switch {
	case q == nil, q.Person == nil && q.Device == nil:
		r.detail(gateway.FaultNoSender, "PRT", "PRT-5 / PRT-10")
	case q.Organisation.ID.Extension == "":
		r.detail(gateway.FaultNoSender, "PRT", "PRT-8.10")
	}
}

// needRecipients: a destination without anybody to receive is a mistake.
func (r *reader) needRecipients() {
	has := func(patient bool) bool {
		return slices.ContainsFunc(r.in.Recipients, func(c gateway.Recipient) bool {
			return (c.Kind == kindPatient) == patient
		})
	}
	if r.in.Flags.ToProfessionals && !has(false) {
		r.detail(FaultRecipient, "PRT", "DESTMSSANTEPS")
	}
	if r.in.Flags.ToPatient && !has(true) {
		r.detail(FaultRecipient, "PRT", flagPatient)
	}
}

// person reads PRT-5. The national id carries its type digit in French
// directories: an RPPS or ADELI number sent bare gets it.
func person(s Segment) *dmp.Person {
	x := s.Field(5).First()
	id := dmp.ID{Root: authority(x.Component(9)), Extension: x.Component(1).Text()}
	p := dmp.Person{ID: id, Family: x.Component(2).Sub(1).Text(), Given: x.Component(3).Text(),
		Suffix: x.Component(5).Text(), Prefix: x.Component(6).Text()}
	if p.ID.Extension == "" {
		return nil
	}
	switch kind := x.Component(13).Text(); {
	case kind == "RPPS" && len(id.Extension) == 11:
		p.ID.Extension = "8" + id.Extension
	case kind == "ADELI" && len(id.Extension) == 9:
		p.ID.Extension = "0" + id.Extension
	case kind == "INS":
		return &p
	}
	if p.ID.Root == "" {
		p.ID.Root = oidProfessional
	}
	return &p
}

// organisation reads PRT-8. A FINESS gets its type digit; an internal unit
// (UF, SVR) keeps its own number under the authority that gave it.
func organisation(s Segment) dmp.Organisation {
	x := s.Field(8).First()
	o := dmp.Organisation{Name: x.Component(1).Text()}
	number := x.Component(10).Text()
	if number == "" {
		return o
	}
	o.ID = dmp.ID{Root: authority(x.Component(6)), Extension: number}
	switch x.Component(7).Text() {
	case "FINEJ", "FINEG":
		o.ID.Root = oidOrganisation
		if len(number) == 9 {
			o.ID.Extension = "1" + number
		}
	case "IDNST":
		o.ID.Root = oidOrganisation
	}
	return o
}

// deviceID reads the EI of PRT-10.
func deviceID(f Field) dmp.ID {
	f = f.First()
	return dmp.ID{Root: f.Component(3).Text(), Extension: f.Component(1).Text()}
}

// authority is the universal id of an HD written as sub-components; samples
// also write the OID alone.
func authority(f Field) string {
	if oid := f.Sub(2).Text(); oid != "" {
		return oid
	}
	return f.Sub(1).Text()
}

// address is the mail address of PRT-15, an XTN whose other repetitions are
// telephones (their number may stand in the fourth component of old). It is not
// one when there are two addresses.
func address(s Segment) (found string, one bool) {
	n := 0
	for x := range s.Field(15).Repetitions() {
		if n++; n > maxRepeats {
			return found, false
		}
		a := x.Component(4).Text()
		switch {
		case a == "" || found == a:
		case !strings.Contains(found, "@"):
			found = a
		case strings.Contains(a, "@"):
			return found, false
		}
	}
	return found, true
}

// mailAddress accepts what can stand in an SMTP command and a mail header
// without quoting: one @, no blank, no control character.
func mailAddress(a string) bool {
	local, domain, ok := strings.Cut(a, "@")
	if !ok || local == "" || len(a) > maxAddress || len(local) > 64 {
		return false
	}
	for i := range len(local) {
		c := local[i]
		if !alphanumeric(c) && !strings.ContainsRune(".!#$%&'*+/=?^_`{|}~-", rune(c)) {
			return false
		}
	}
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			if !alphanumeric(l[i]) && l[i] != '-' {
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
