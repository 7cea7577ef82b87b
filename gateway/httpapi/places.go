package httpapi

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/fault"
	"github.com/passerelle-sante/passerelle/ins"
)

// placing gives a place of a refusal in the words of what was sent. The INS gate
// names a trait, which each door writes in its own way.
type placing func(where string) string

func (p placing) faults(faults []*fault.Fault) []*fault.Fault {
	out := make([]*fault.Fault, len(faults))
	for i, f := range faults {
		out[i] = f.At(p(f.Where))
	}
	return out
}

func (p placing) notes(notes []gateway.Note) []gateway.Note {
	out := make([]gateway.Note, len(notes))
	for i, n := range notes {
		out[i] = gateway.Note{Code: n.Code, Where: p(n.Where)}
	}
	return out
}

// traits are the names that ins gives to the parts of an identity, and where each
// stands in an FR Core Patient.
var traits = map[string]string{
	ins.TraitMatricule: "Patient.identifier", ins.TraitOID: "Patient.identifier.system",
	ins.TraitBirthName: "Patient.name.family", ins.TraitFirstGiven: "Patient.name.given",
	ins.TraitGivenNames: "Patient.name.extension('https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-patient-birth-list-given-name')",
	ins.TraitBirthDate:  "Patient.birthDate", ins.TraitSex: "Patient.gender",
	ins.TraitBirthPlace: "Patient.extension('http://hl7.org/fhir/StructureDefinition/patient-birthPlace')",
	ins.TraitStatus:     "Patient.extension('https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability')",
	ins.TraitAttributes: "Patient.extension('https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability')",
}

// inIdentity is a place in the JSON of an identity, inEnvelope in that of an
// envelope, inBundle in a FHIR resource.
func inIdentity(where string) string {
	if traits[where] == "" {
		return where
	}
	return "/" + pointer(where)
}

func inEnvelope(where string) string {
	if traits[where] == "" {
		return where
	}
	return "/patient/" + pointer(where)
}

func inBundle(where string) string {
	if at := traits[where]; at != "" {
		return at
	}
	return where
}

// places are those of the doors that have their own.
var places = map[string]placing{"rest": inEnvelope, "fhir": inBundle}

// sources say which member of an envelope an element of the CDA that is built
// from it comes from, the deepest first.
var sources = []struct{ xpath, member string }{
	{"id", "/document/id"}, {"code", "/document/type"}, {"title", "/document/title"}, {"effectiveTime", "/document/created"},
	{"confidentialityCode", "/document/confidentiality"}, {"languageCode", "/document/language"}, {"setId", "/document/set_id"},
	{"versionNumber", "/document/version"}, {"relatedDocument", "/document/replaces"}, {"recordTarget", "/patient"},
	{"author/time", "/document/created"}, {"author/functionCode", "/author/function"}, {"author/assignedAuthor/code", "/author/specialty"},
	{"author/assignedAuthor/assignedAuthoringDevice", "/author/device"}, {"author/assignedAuthor/representedOrganization", "/author/organisation"},
	{"author", "/author"}, {"legalAuthenticator/time", "/document/created"}, {"legalAuthenticator", "/author"}, {"custodian", "/organisation"},
	{"documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/standardIndustryClassCode", "/act/practice_setting"},
	{"documentationOf/serviceEvent/performer", "/author"}, {"documentationOf/serviceEvent/code", "/act/code"},
	{"documentationOf/serviceEvent/effectiveTime", "/act/start"}, {"documentationOf", "/act"},
	{"componentOf/encompassingEncounter/location", "/act/facility"}, {"componentOf/encompassingEncounter/code", "/act/encounter"}, {"componentOf", "/act"},
}

// absent names the member whose absence a rule finds: such a finding stands at
// the element that should hold it.
var absent = map[string]string{
	cda.FaultNoID: "/document/id", cda.FaultNoType: "/document/type", cda.FaultNoSetID: "/document/set_id", cda.FaultVersion: "/document/version",
	"T10": "/document/title", "T11": "/document/created", "P03": "/document/created", "P31": "/document/created",
	"P30": "/author", "E02": "/author", "E03": "/act/start", "E04": "/act/start", "E09": "/act/practice_setting", "E35": "/act/facility",
}

// enveloped gives the refusals of a CDA that is built here their place in the
// envelope: its sender never sees that CDA. What the schema says of the same gaps
// is left out.
func enveloped(findings []*cda.Finding) (out []error) {
	said := map[string]bool{}
	for _, schema := range []bool{false, true} {
		if schema && len(out) > 0 {
			break
		}
		for _, f := range findings {
			at := source(f)
			if (f.Code == cda.FaultSchema) != schema || said[f.Code+at] {
				continue
			}
			said[f.Code+at] = true
			out = append(out, fault.From(f).At(at))
		}
	}
	return out
}

func source(f *cda.Finding) string {
	for _, name := range []string{f.Code, f.Rule} {
		if at := absent[name]; at != "" {
			return at
		}
	}
	element := strings.TrimPrefix(f.XPath, "/ClinicalDocument/")
	for _, s := range sources {
		if rest, ok := strings.CutPrefix(element, s.xpath); ok && (rest == "" || rest[0] == '/' || rest[0] == '[') {
			return s.member
		}
	}
	return "/document"
}

// Exact answers an address of the interfaces that is not written as it should be
// (//v1/submissions, /fhir/./metadata) as unknown, with the face of its
// interface: the redirection that the standard library would give is an HTML
// page, and sends a deposit to be made again.
func (a *API) Exact(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean("/" + r.URL.Path)
		first, _, _ := strings.Cut(clean[1:], "/")
		if strings.TrimSuffix(r.URL.Path, "/") == clean || !slices.Contains([]string{"v1", "fhir", "openapi.yaml"}, first) {
			next.ServeHTTP(w, r)
			return
		}
		r.URL.Path = clean
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		a.fail(faceOf(r), w, r, fault.New(gateway.FaultNotFound))
	})
}
