package httpapi

import (
	"net/http"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// metadata says what the FHIR door does. It asks for no caller.
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
	param := func(name string, kind models.SearchParamType) models.CapabilityStatementRestResourceSearchParam {
		return models.CapabilityStatementRestResourceSearchParam{Name: name, Type: kind}
	}
	title := "Passerelle : dépôt de documents (ITI-65, ITI-105) et consultation du DMP"
	security := "TLS et certificat client. Dépôt : certificat d'un établissement, ou jeton d'un professionnel lié à son certificat (RFC 8705). Consultation : jeton d'un professionnel."
	deposit := "Le dépôt est conservé durablement, remis au DMP aussitôt, et répondu par la réponse du DMP ; 202 et Content-Location au-delà de dix secondes ou avec Prefer: respond-async."
	cs := models.CapabilityStatement{
		Status: models.PublicationStatusActive, Date: "2026-11-21", Title: &title, Kind: models.CapabilityStatementKindInstance,
		FhirVersion: models.FHIRVersion4_0_1, Format: []string{"json", fhir.MediaType}, PatchFormat: []string{"application/json-patch+json"},
		Instantiates: []string{
			"https://interop.esante.gouv.fr/ig/fhir/pdsm/CapabilityStatement/PDSm-GestionnaireDePartageDeDocuments",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentRecipient.Comprehensive",
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
					Interaction: does(models.TypeRestfulInteractionCreate, models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType, models.TypeRestfulInteractionPatch),
					SearchParam: []models.CapabilityStatementRestResourceSearchParam{param("patient.identifier", models.SearchParamTypeToken), param("identifier", models.SearchParamTypeToken), param("status", models.SearchParamTypeToken)}},
				{Type: models.ResourceTypeList, SupportedProfile: []string{fhir.ProfileSubmissionSet},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: []models.CapabilityStatementRestResourceSearchParam{param("patient.identifier", models.SearchParamTypeToken), param("code", models.SearchParamTypeToken), param("status", models.SearchParamTypeToken)}},
				{Type: models.ResourceTypeBinary, Interaction: does(models.TypeRestfulInteractionRead)},
				{Type: models.ResourceTypePatient, SupportedProfile: []string{fhir.ProfilePatient},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: []models.CapabilityStatementRestResourceSearchParam{param("identifier", models.SearchParamTypeToken)}},
			},
		}},
	}
	jsonAnswer(http.StatusOK, typeFHIR, cs).write(w)
}
