package dmp

// OIDs of the code systems that a CDA header uses.
const (
	OIDLoinc           = "2.16.840.1.113883.6.1"
	OIDClass           = "1.2.250.1.213.1.1.4.1"  // TRE_A03
	OIDTypeFR          = "1.2.250.1.213.1.1.4.12" // TRE_A05
	OIDConfidentiality = "2.16.840.1.113883.5.25" // v3-Confidentiality, TRE_A08
	OIDVisibility      = "1.2.250.1.213.1.1.4.13" // TRE_A07
	OIDPracticeSetting = "1.2.250.1.213.1.1.4.9"  // TRE_A01
	OIDFacility        = "1.2.250.1.71.4.2.4"     // TRE_R02
	OIDSpecialty       = "1.2.250.1.213.1.1.4.5"  // TRE_A02
	OIDNonPS           = "1.2.250.1.213.1.1.4.6"  // TRE_A00
	OIDProfession      = "1.2.250.1.71.1.2.7"     // TRE_G15
	OIDPerson          = "1.2.250.1.71.4.2.1"     // identifiers of professionals
	OIDOrganisation    = "1.2.250.1.71.4.2.2"     // identifiers of structures
)

const (
	nos       = "https://mos.esante.gouv.fr/NOS/"
	systemA06 = nos + "TRE_A06-FormatCodeComplementaire/FHIR/TRE-A06-FormatCodeComplementaire"
	systemA09 = nos + "TRE_A09-DICOMuidRegistry/FHIR/TRE-A09-DICOMuidRegistry"
	systemA10 = nos + "TRE_A10-NomenclatureURN/FHIR/TRE-A10-NomenclatureURN"
	systemA11 = nos + "TRE_A11-IheFormatCode/FHIR/TRE-A11-IheFormatCode"
)

// systems pairs the OID that a CDA writes with the URI that FHIR writes. The
// first pair of an OID is the one that we write; further pairs are read only.
var systems = []struct{ oid, uri string }{
	{OIDLoinc, "http://loinc.org"},
	{"2.16.840.1.113883.6.96", "http://snomed.info/sct"},
	{"2.16.840.1.113883.6.3", "http://hl7.org/fhir/sid/icd-10"},
	{"2.16.840.1.113883.6.73", "http://www.whocc.no/atc"},
	{"2.16.840.1.113883.6.8", "http://unitsofmeasure.org"},
	{"1.2.840.10008.2.16.4", "http://dicom.nema.org/resources/ontology/DCM"},
	{OIDConfidentiality, "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"},
	{OIDConfidentiality, nos + "TRE_A08-HL7Confidentiality/FHIR/TRE-A08-HL7Confidentiality"},
	{"2.16.840.1.113883.5.4", "http://terminology.hl7.org/CodeSystem/v3-ActCode"},
	{"2.16.840.1.113883.5.1", "http://terminology.hl7.org/CodeSystem/v3-AdministrativeGender"},
	{"2.16.840.1.113883.5.88", "http://terminology.hl7.org/CodeSystem/v3-ParticipationFunction"},
	{OIDNonPS, nos + "TRE_A00-ProducteurDocNonPS/FHIR/TRE-A00-ProducteurDocNonPS"},
	{OIDPracticeSetting, nos + "TRE_A01-CadreExercice/FHIR/TRE-A01-CadreExercice"},
	{OIDSpecialty, nos + "TRE_A02-ProfessionSavFaire-CISIS/FHIR/TRE-A02-ProfessionSavFaire-CISIS"},
	{OIDClass, nos + "TRE_A03-ClasseDocument/FHIR/TRE-A03-ClasseDocument"},
	{OIDTypeFR, nos + "TRE_A05-TypeDocComplementaire/FHIR/TRE-A05-TypeDocComplementaire"},
	{"1.2.250.1.213.1.1.4.2.282", systemA06},
	{OIDVisibility, nos + "TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument"},
	{"1.2.840.10008.2.6.1", systemA09},
	{"URN", systemA10},
	{"1.3.6.1.4.1.19376.1.2.3", systemA11},
	{"ASTM", nos + "TRE_A12-NomenclatureASTM/FHIR/TRE-A12-NomenclatureASTM"},
	{OIDProfession, nos + "TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"},
	{"1.2.250.1.71.1.2.8", nos + "TRE_G16-ProfessionFormation/FHIR/TRE-G16-ProfessionFormation"},
	{"1.2.250.1.71.4.2.5", nos + "TRE_R01-EnsembleSavoirFaire-CISIS/FHIR/TRE-R01-EnsembleSavoirFaire-CISIS"},
	{"1.2.250.1.71.4.2.6", nos + "TRE_G05-SousSectionTableauCNOP/FHIR/TRE-G05-SousSectionTableauCNOP"},
	{OIDFacility, nos + "TRE_R02-SecteurActivite/FHIR/TRE-R02-SecteurActivite"},
	{"1.2.250.1.213.1.6.1.17", nos + "TRE_R21-Fonction/FHIR/TRE-R21-Fonction"},
	{"1.2.250.1.213.1.6.1.19", nos + "TRE_R22-GenreActivite/FHIR/TRE-R22-GenreActivite"},
	{"1.2.250.1.213.1.6.1.107", nos + "TRE_R85-RolePriseCharge/FHIR/TRE-R85-RolePriseCharge"},
	{"1.2.250.1.213.1.6.1.4", nos + "TRE_R94-ProfessionSocial/FHIR/TRE-R94-ProfessionSocial"},
	{"1.2.250.1.213.1.6.1.109", nos + "TRE_R95-UsagerTitre/FHIR/TRE-R95-UsagerTitre"},
	{"1.2.250.1.213.2.2", nos + "TRE_R209-TypeActivite/FHIR/TRE-R209-TypeActivite"},
	{"1.2.250.1.213.1.6.1.140", nos + "TRE_R291-AutreProfession/FHIR/TRE-R291-AutreProfession"},
}

var uriOfOID, oidOfURI = func() (map[string]string, map[string]string) {
	uris, oids := map[string]string{}, map[string]string{}
	for _, s := range systems {
		if _, ok := uris[s.oid]; !ok {
			uris[s.oid] = s.uri
		}
		oids[s.uri] = s.oid
	}
	return uris, oids
}()

// SystemURI gives the FHIR URI of a code system from the OID that a CDA writes.
func SystemURI(oid string) (string, bool) {
	uri, ok := uriOfOID[oid]
	return uri, ok
}

// SystemOID gives the OID of a code system from its FHIR URI. Both URIs of the
// confidentiality codes (HL7 and TRE_A08) are known.
func SystemOID(uri string) (string, bool) {
	oid, ok := oidOfURI[uri]
	return oid, ok
}
