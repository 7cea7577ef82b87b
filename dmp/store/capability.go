package store

import (
	"context"
	"net/http"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// metadata says what the store does: generated from the same tables that it
// works by.
func (x *exchange) metadata(_ context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	search := func(params map[string]searchParam) (out []models.CapabilityStatementRestResourceSearchParam) {
		for _, name := range sortedNames(params) {
			out = append(out, models.CapabilityStatementRestResourceSearchParam{Name: name, Type: params[name].kind})
		}
		return out
	}
	does := func(list ...models.TypeRestfulInteraction) (out []models.CapabilityStatementRestResourceInteraction) {
		for _, code := range list {
			out = append(out, models.CapabilityStatementRestResourceInteraction{Code: code})
		}
		return out
	}
	versioned := models.ResourceVersionPolicyVersionedUpdate
	title := "Passerelle, serveur de documents de type DMP"
	security := "TLS mutuel et jeton lié au certificat (RFC 8705)."
	cs := models.CapabilityStatement{
		Status:      models.PublicationStatusActive,
		Date:        "2026-11-21",
		Title:       &title,
		Kind:        models.CapabilityStatementKindInstance,
		FhirVersion: models.FHIRVersion4_0_1,
		Format:      []string{"json", fhir.MediaType},
		PatchFormat: []string{"application/json-patch+json"},
		Instantiates: []string{
			"https://interop.esante.gouv.fr/ig/fhir/pdsm/CapabilityStatement/PDSm-GestionnaireDePartageDeDocuments",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentRecipient.Comprehensive",
			"https://profiles.ihe.net/ITI/MHD/CapabilityStatement/IHE.MHD.DocumentResponder",
		},
		Software: &models.CapabilityStatementSoftware{Name: "Passerelle"},
		Implementation: &models.CapabilityStatementImplementation{
			Description: title,
		},
		Rest: []models.CapabilityStatementRest{{
			Mode:        models.RestfulCapabilityModeServer,
			Security:    &models.CapabilityStatementRestSecurity{Description: &security},
			Interaction: []models.CapabilityStatementRestInteraction{{Code: models.SystemRestfulInteractionTransaction}},
			Resource: []models.CapabilityStatementRestResource{
				{Type: models.ResourceTypeDocumentReference, SupportedProfile: []string{fhir.ProfileDocumentReference}, Versioning: &versioned,
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType, models.TypeRestfulInteractionPatch),
					SearchParam: search(documentParams)},
				{Type: models.ResourceTypeList, SupportedProfile: []string{fhir.ProfileSubmissionSet},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: search(listParams)},
				{Type: models.ResourceTypeBinary, Interaction: does(models.TypeRestfulInteractionRead)},
				{Type: models.ResourceTypePatient, SupportedProfile: []string{fhir.ProfilePatient},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: search(patientParams)},
			},
		}},
	}
	body, err := fhir.Marshal(cs)
	return &reply{status: http.StatusOK, body: body}, err
}
