package cda

import (
	"strings"

	"github.com/passerelle-sante/passerelle/ins"
)

// Patient is the identity of the patient as the document names it. An INS in
// it counts as qualified by contract; see the package comment. With several
// recordTarget it is the first one, and [Document.Blocking] says so.
func (d *Document) Patient() ins.Identity {
	if len(d.Header.Patients) == 0 {
		return ins.Identity{}
	}
	p := d.Header.Patients[0]
	id := ins.Identity{Traits: p.traits()}
	for _, i := range p.IDs {
		switch {
		case i.Root == "" && i.Extension == "":
		case ins.OID(i.Root).Known() && id.Matricule == "" && i.Extension != "":
			id.Matricule, id.OID, id.Status = i.Extension, ins.OID(i.Root), ins.Qualified
		case ins.OID(i.Root).Known():
			// The same INS again, or another one, which is CDA-TWO-INS.
		case nearINS(i.Root):
			// A NIR under an OID that assigns no INS (INS-C, social NIR): it is
			// no INS, and must not travel as if it were a local identifier.
		default:
			id.Local = append(id.Local, ins.LocalID{Value: i.Extension, Authority: i.Root})
		}
	}
	return id
}

// traits reads the INS traits: birth family name, first given name, list.
func (p PatientRole) traits() ins.Traits {
	t := ins.Traits{Sex: p.Gender.Code, BirthPlace: p.BirthPlace.Value, BirthDate: birthDate(p.BirthTime.Value)}
	if t.Sex == "UN" {
		t.Sex = "U"
	}
	for _, f := range p.Name.Family {
		if f.Qualifier == "BR" && t.BirthName == "" {
			t.BirthName = f.Value
		}
	}
	for _, g := range p.Name.Given {
		switch {
		case g.Qualifier == "BR" && t.FirstGiven == "":
			t.FirstGiven = g.Value
		case g.Qualifier == "" && t.GivenNames == "":
			t.GivenNames = g.Value
		case g.Qualifier == "":
			t.GivenNames += " " + g.Value
		}
	}
	return t
}

// birthDate reads YYYYMMDD, whatever follows, without judging month and day:
// both may be lunar. Anything else is left out.
func birthDate(v string) string {
	if len(v) < 8 || strings.Trim(v[:8], "0123456789") != "" {
		return ""
	}
	return v[:4] + "-" + v[4:6] + "-" + v[6:8]
}
