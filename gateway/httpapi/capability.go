package httpapi

import (
	"net/http"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// metadata says what the FHIR door does. It asks for no caller. What concerns
// consulting is what PDSm asks of a DMP; the DMP behind may refuse more.
func (a *API) metadata(w http.ResponseWriter, r *http.Request) {
	if !acceptsFHIR(r) {
		a.fail(outcomeFace, w, r, fault.New(FaultAccept))
		return
	}
	does := func(list ...models.TypeRestfulInteraction) (out []models.CapabilityStatementRestResourceInteraction) {
		for _, code := range list {
			out = append(out, models.CapabilityStatementRestResourceInteraction{Code: code})
		}
		return out
	}
	// What PDSm asks of a DMP: searches are passed to it as they come.
	search := func(list []fhir.SearchParam) (out []models.CapabilityStatementRestResourceSearchParam) {
		for _, p := range list {
			out = append(out, models.CapabilityStatementRestResourceSearchParam{Name: p.Name, Type: p.Type})
		}
		return out
	}
	yes := true
	title := "Passerelle : dépôt de documents (ITI-65, ITI-105) et consultation du DMP"
	security := "TLS et certificat client. Dépôt : certificat d'un établissement, ou jeton d'un professionnel lié à son certificat (RFC 8705). Consultation : jeton d'un professionnel."
	conditional := "PATCH conditionnel sur identifier (uniqueId), et If-Match ; ni PUT ni DELETE."
	deposit := "Le dépôt est conservé durablement, remis au DMP aussitôt, et répondu par la réponse du DMP ; 202 et Content-Location au-delà de dix secondes ou avec Prefer: respond-async."
	cs := models.CapabilityStatement{
		Status: models.PublicationStatusActive, Date: "2026-11-21", Title: &title, Kind: models.CapabilityStatementKindInstance,
		FhirVersion: models.FHIRVersion4_0_1, Format: []string{"json", fhir.MediaType}, PatchFormat: []string{"application/json-patch+json"},
		Instantiates: []string{
			"https://interop.esante.gouv.fr/ig/fhir/pdsm/CapabilityStatement/PDSm-GestionnaireDePartageDeDocuments",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentRecipient.Comprehensive",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentRecipient.Simplified",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentResponder",
		},
		Software:       &models.CapabilityStatementSoftware{Name: "Passerelle"},
		Implementation: &models.CapabilityStatementImplementation{Description: title},
		Rest: []models.CapabilityStatementRest{{
			Mode: models.RestfulCapabilityModeServer, Documentation: &deposit,
			Security:    &models.CapabilityStatementRestSecurity{Description: &security},
			Interaction: []models.CapabilityStatementRestInteraction{{Code: models.SystemRestfulInteractionTransaction}},
			Resource: []models.CapabilityStatementRestResource{
				{Type: models.ResourceTypeDocumentReference, SupportedProfile: []string{fhir.ProfileDocumentReference},
					Interaction: does(models.TypeRestfulInteractionCreate, models.TypeRestfulInteractionRead, models.TypeRestfulInteractionVread, models.TypeRestfulInteractionHistoryInstance,
						models.TypeRestfulInteractionSearchType, models.TypeRestfulInteractionPatch), ReadHistory: &yes, ConditionalUpdate: &yes, Documentation: &conditional,
					SearchParam: search(fhir.DocumentSearch), SearchInclude: fhir.DocumentIncludes, SearchRevInclude: fhir.DocumentRevIncludes},
				{Type: models.ResourceTypeList, SupportedProfile: []string{fhir.ProfileSubmissionSet},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: search(fhir.ListSearch), SearchInclude: fhir.ListIncludes},
				{Type: models.ResourceTypeBinary, Interaction: does(models.TypeRestfulInteractionRead)},
				{Type: models.ResourceTypePatient, SupportedProfile: []string{fhir.ProfilePatient},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: search(fhir.PatientSearch)},
			},
		}},
	}
	jsonAnswer(http.StatusOK, typeFHIR, cs).write(w)
}
