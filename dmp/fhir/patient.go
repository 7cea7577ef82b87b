package fhir

import (
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

func isINS(id dmp.ID) bool { return ins.OID(id.Root).Known() && id.Extension != "" }

// PatientView writes an identity as an FR Core Patient: the INS, a local
// identifier if there is one, and the traits.
func PatientView(id string, who ins.Identity, local dmp.ID) Patient {
	p := Patient{ResourceType: "Patient", ID: id}
	if who.Matricule != "" {
		insID := Identifier{Use: "official", System: OIDPrefix + string(who.OID), Value: who.Matricule}
		if code, use, system, ok := ins.FHIRIdentifier(who.OID); ok {
			insID.Use, insID.System = use, system
			insID.Type = &CodeableConcept{Coding: []Coding{{System: systemIdentifierType, Code: code}}}
		}
		p.Identifier = append(p.Identifier, insID)
	}
	if !local.Zero() && (local.Root != string(who.OID) || local.Extension != who.Matricule) {
		for _, one := range identifier(local, "PI") {
			one.Use = "usual"
			p.Identifier = append(p.Identifier, one)
		}
	}
	t := who.Traits
	if t.BirthName != "" || t.FirstGiven != "" || t.GivenNames != "" {
		name := HumanName{Use: "official", Family: t.BirthName}
		if t.FirstGiven != "" {
			name.Given = []string{t.FirstGiven}
		}
		if t.GivenNames != "" {
			name.Extension = []Extension{{URL: core + "fr-core-patient-birth-list-given-name", ValueString: t.GivenNames}}
		}
		p.Name = []HumanName{name}
	}
	if t.Sex != "" {
		p.Gender = ins.SexForFHIR(t.Sex)
	}
	p.BirthDate = birthDate(t.BirthDate)
	if t.BirthPlace != "" {
		p.Extension = append(p.Extension, Extension{
			URL: "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
			ValueAddress: &Address{Extension: []Extension{{
				URL:         core + "fr-core-address-insee-code",
				ValueCoding: &Coding{System: systemCommune, Code: t.BirthPlace},
			}}},
		})
	}
	return p
}

// birthDate keeps the part of a date that exists in the calendar: a lunar
// month (20, 30…) or an unknown day (00) cannot be said in a FHIR date.
func birthDate(s string) string {
	for _, layout := range []string{"2006-01-02", "2006-01", "2006"} {
		if len(s) >= len(layout) {
			if _, err := time.Parse(layout, s[:len(layout)]); err == nil {
				return s[:len(layout)]
			}
		}
	}
	return ""
}

// Matricule reads the INS that a list of identifiers carries, if there is one.
// The billing number (type NH) stands under the same system and is none; nor is
// a former INS (use old). A NIR goes before a NIA; two that nothing orders are
// as good as none.
func Matricule(identifiers []Identifier) (oid ins.OID, matricule string) {
	var all []ins.Pair
	for _, id := range identifiers {
		if o, ok := ins.FromFHIRIdentifier(typeCode(id), id.Use, id.System); ok {
			all = append(all, ins.Pair{Matricule: id.Value, OID: o})
		}
	}
	chosen, _ := ins.Prefer(all)
	return chosen.OID, chosen.Matricule
}

// typeCode is the first code of an identifier's type; other when it has none
// but has a text, so that a type that we cannot read does not count as absent.
func typeCode(id Identifier) string {
	if id.Type == nil {
		return ""
	}
	for _, c := range id.Type.Coding {
		if c.Code != "" {
			return c.Code
		}
	}
	if id.Type.Text != "" {
		return "other"
	}
	return ""
}
