package fhir

import (
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

func isINS(id dmp.ID) bool { return ins.OID(id.Root).Known() && id.Extension != "" }

// insTypes names the identifier types of FR Core for the authorities of an INS.
var insTypes = map[ins.OID]string{
	ins.OIDNIR:  "INS-NIR",
	ins.OIDNIA:  "INS-NIA",
	ins.OIDTest: "INS-NIR-TEST",
	ins.OIDDemo: "INS-NIR-DEMO",
}

// PatientView writes an identity as an FR Core Patient: the INS, a local
// identifier if there is one, and the traits.
func PatientView(id string, who ins.Identity, local dmp.ID) Patient {
	p := Patient{ResourceType: "Patient", ID: id}
	if who.Matricule != "" {
		insID := Identifier{Use: "official", System: OIDPrefix + string(who.OID), Value: who.Matricule}
		if kind, ok := insTypes[who.OID]; ok {
			insID.Type = &CodeableConcept{Coding: []Coding{{System: systemIdentifierType, Code: kind}}}
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
	switch t.Sex {
	case "M":
		p.Gender = "male"
	case "F":
		p.Gender = "female"
	case "U":
		p.Gender = "unknown"
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
func Matricule(identifiers []Identifier) (oid ins.OID, matricule string) {
	for _, id := range identifiers {
		o := ins.OID(strings.TrimPrefix(id.System, OIDPrefix))
		if strings.HasPrefix(id.System, OIDPrefix) && o.Known() {
			return o, id.Value
		}
	}
	return "", ""
}
