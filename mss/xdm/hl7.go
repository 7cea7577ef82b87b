package xdm

import (
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/ins"
)

// The identifier of a person or structure, as its type says it (HL7 table 0203
// as France extends it).
const (
	typeINS    = "NH"    // INS, in XDS; PAM says INS
	typeLocal  = "PI"    // IPP
	typePerson = "IDNPS" // national identifier of a professional
	typeIntern = "EI"    // professional known by a structure
	typeOrg    = "IDNST"
	typeDevice = "RI"

	oidPersons = "1.2.250.1.71.4.2.1"
	oidOrgs    = "1.2.250.1.71.4.2.2"
)

var (
	escaper   = strings.NewReplacer(`\`, `\E\`, `|`, `\F\`, `^`, `\S\`, `&`, `\T\`, `~`, `\R\`)
	unescaper = strings.NewReplacer(`\E\`, `\`, `\F\`, `|`, `\S\`, `^`, `\T\`, `&`, `\R\`, `~`)
)

// hl7 joins components and drops the empty ones at the end. A component that
// holds an assigning authority comes ready-made from authority.
func hl7(components ...string) string {
	return strings.TrimRight(strings.Join(components, "^"), "^")
}

func authority(oid string) string {
	if oid == "" {
		return ""
	}
	return "&" + escaper.Replace(oid) + "&ISO"
}

// component gives component n (from 1) of a field, still escaped.
func component(field string, n int) string {
	parts := strings.Split(field, "^")
	if n > len(parts) {
		return ""
	}
	return parts[n-1]
}

func text(field string, n int) string { return unescaper.Replace(component(field, n)) }

// oidOf reads the universal id of an assigning authority.
func oidOf(hd string) string {
	parts := strings.Split(hd, "&")
	if len(parts) < 2 {
		return ""
	}
	return unescaper.Replace(parts[1])
}

// cxINS is the patientId of an INS; cxLocal that of any other identifier.
func cxINS(id ins.Identity) string {
	return hl7(escaper.Replace(id.Matricule), "", "", authority(string(id.OID)), typeINS)
}

func cxLocal(id dmp.ID) string {
	return hl7(escaper.Replace(id.Extension), "", "", authority(id.Root), typeLocal)
}

// readCX gives the identifier of a CX, and whether its authority assigns an INS.
func readCX(cx string) (id dmp.ID, isINS bool) {
	id = dmp.ID{Root: oidOf(component(cx, 4)), Extension: text(cx, 1)}
	return id, ins.OID(id.Root).Known()
}

// xcn writes a person. The type code of an identifier follows its shape: the
// national one, an internal one (structure/person), an INS of a patient author.
func xcn(p dmp.Person) string {
	kind := typePerson
	switch {
	case ins.OID(p.ID.Root).Known():
		kind = typeINS
	case strings.Contains(p.ID.Extension, "/"):
		kind = typeIntern
	case p.ID.Root != "" && p.ID.Root != oidPersons:
		kind = typeLocal
	case p.ID.Extension == "":
		kind = ""
	}
	e := escaper.Replace
	return hl7(e(p.ID.Extension), e(p.Family), e(p.Given), "", e(p.Suffix), e(p.Prefix), "", "",
		authority(p.ID.Root), "D", "", "", kind)
}

func xcnDevice(d dmp.Device) string {
	e := escaper.Replace
	return hl7(e(d.ID.Extension), e(d.Name), e(d.Model), "", "", "", "", "",
		authority(d.ID.Root), "U", "", "", typeDevice)
}

// readXCN reads a person or a device.
func readXCN(s string) (*dmp.Person, *dmp.Device) {
	id := dmp.ID{Root: oidOf(component(s, 9)), Extension: text(s, 1)}
	if component(s, 10) == "U" || component(s, 13) == typeDevice {
		return nil, &dmp.Device{ID: id, Name: text(s, 2), Model: text(s, 3)}
	}
	return &dmp.Person{ID: id, Family: text(s, 2), Given: text(s, 3), Suffix: text(s, 5), Prefix: text(s, 6)}, nil
}

func xon(o dmp.Organisation) string {
	kind := ""
	if o.ID.Root == oidOrgs {
		kind = typeOrg
	}
	e := escaper.Replace
	return hl7(e(o.Name), "", "", "", "", authority(o.ID.Root), kind, "", "", e(o.ID.Extension))
}

func readXON(s string) dmp.Organisation {
	return dmp.Organisation{
		Name: text(s, 1),
		ID:   dmp.ID{Root: oidOf(component(s, 6)), Extension: text(s, 10)},
	}
}

// ce writes a code as the specialty of an author wants it.
func ce(c dmp.Code) string {
	e := escaper.Replace
	return hl7(e(c.Code), e(c.Display), e(c.System))
}

func readCE(s string) dmp.Code {
	return dmp.Code{Code: text(s, 1), Display: text(s, 2), System: text(s, 3)}
}

// patientInfo is sourcePatientInfo: PID-5, PID-7 and PID-8.
func patientInfo(t ins.Traits) []string {
	e := escaper.Replace
	var out []string
	if t.BirthName != "" || t.FirstGiven != "" {
		out = append(out, "PID-5|"+hl7(e(t.BirthName), e(t.FirstGiven), e(t.GivenNames), "", "", "", "L"))
	}
	if t.BirthDate != "" {
		out = append(out, "PID-7|"+strings.ReplaceAll(t.BirthDate, "-", ""))
	}
	if t.Sex != "" {
		out = append(out, "PID-8|"+e(t.Sex))
	}
	return out
}

func readPatientInfo(values []string) ins.Traits {
	var t ins.Traits
	for _, v := range values {
		name, value, _ := strings.Cut(v, "|")
		switch strings.TrimSpace(name) {
		case "PID-5":
			t.BirthName, t.FirstGiven, t.GivenNames = text(value, 1), text(value, 2), text(value, 3)
		case "PID-7":
			// Not a date of the calendar: month and day of an INS may be lunar.
			if len(value) >= 8 && strings.Trim(value[:8], "0123456789") == "" {
				t.BirthDate = value[:4] + "-" + value[4:6] + "-" + value[6:8]
			}
		case "PID-8":
			t.Sex = text(value, 1)
		}
	}
	return t
}

const dtm = "20060102150405"

func writeDTM(t time.Time) string { return t.UTC().Format(dtm) }

// readDTM reads a time of any precision from the year to the second.
func readDTM(s string) (time.Time, bool) {
	if n := len(s); n < 4 || n > len(dtm) || n%2 != 0 {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation(dtm[:len(s)], s, time.UTC)
	return t, err == nil
}

// The code systems of formatCode: FHIR says a URI, XDS an OID.
var formatSystems = [][2]string{
	{"https://mos.esante.gouv.fr/NOS/TRE_A06-FormatCodeComplementaire/FHIR/TRE-A06-FormatCodeComplementaire", "1.2.250.1.213.1.1.4.2.282"},
	{"https://mos.esante.gouv.fr/NOS/TRE_A11-IheFormatCode/FHIR/TRE-A11-IheFormatCode", "1.3.6.1.4.1.19376.1.2.3"},
	{"https://mos.esante.gouv.fr/NOS/TRE_A09-DICOMuidRegistry/FHIR/TRE-A09-DICOMuidRegistry", "1.2.840.10008.2.6.1"},
	{"http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode", "1.3.6.1.4.1.19376.1.2.3"},
}

func formatOID(uri string) string {
	for _, p := range formatSystems {
		if p[0] == uri {
			return p[1]
		}
	}
	return strings.TrimPrefix(uri, "urn:oid:")
}

func formatURI(oid string) string {
	for _, p := range formatSystems {
		if p[1] == oid {
			return p[0]
		}
	}
	return oid
}
