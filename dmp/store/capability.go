package store

import (
	"context"
	"net/http"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"github.com/passerelle-sante/passerelle/dmp/fhir"
)

// metadata says what the store does: generated from the same tables that it
// works by. A test asks for everything that it declares.
func (x *exchange) metadata(_ context.Context) (*reply, error) {
	if err := x.acceptsFHIR(); err != nil {
		return nil, err
	}
	search := func(params []fhir.SearchParam) (out []models.CapabilityStatementRestResourceSearchParam) {
		for _, p := range params {
			out = append(out, models.CapabilityStatementRestResourceSearchParam{Name: p.Name, Type: p.Type})
		}
		return out
	}
	does := func(list ...models.TypeRestfulInteraction) (out []models.CapabilityStatementRestResourceInteraction) {
		for _, code := range list {
			out = append(out, models.CapabilityStatementRestResourceInteraction{Code: code})
		}
		return out
	}
	yes := true
	conditional := "PATCH conditionnel sur identifier (uniqueId), et If-Match. Ni PUT ni DELETE : la suppression est status=entered-in-error. " +
		"Modificateurs : :missing partout, :exact et :contains sur les textes, :not sur les codes. _sort : date, _lastUpdated, _id."
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
					ReadHistory: &yes, ConditionalUpdate: &yes, Documentation: &conditional,
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionVread, models.TypeRestfulInteractionHistoryInstance,
						models.TypeRestfulInteractionSearchType, models.TypeRestfulInteractionPatch),
					SearchInclude: fhir.DocumentIncludes, SearchRevInclude: fhir.DocumentRevIncludes,
					SearchParam: search(fhir.DocumentSearch)},
				{Type: models.ResourceTypeList, SupportedProfile: []string{fhir.ProfileSubmissionSet},
					Interaction:   does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchInclude: fhir.ListIncludes, SearchParam: search(fhir.ListSearch)},
				{Type: models.ResourceTypeBinary, Interaction: does(models.TypeRestfulInteractionRead)},
				{Type: models.ResourceTypePatient, SupportedProfile: []string{fhir.ProfilePatient},
					Interaction: does(models.TypeRestfulInteractionRead, models.TypeRestfulInteractionSearchType),
					SearchParam: search(fhir.PatientSearch)},
			},
		}},
	}
	body, err := fhir.Marshal(cs)
	return &reply{status: http.StatusOK, body: body}, err
}
