package fhir

import models "github.com/samply/golang-fhir-models/fhir-models/fhir"

// SearchParam is a search parameter as a CapabilityStatement declares it. A
// name with a dot is a chain that ends in the resource itself (a contained
// author, the identifier of a reference).
type SearchParam struct {
	Name string
	Type models.SearchParamType
}

const (
	searchToken     = models.SearchParamTypeToken
	searchDate      = models.SearchParamTypeDate
	searchString    = models.SearchParamTypeString
	searchReference = models.SearchParamTypeReference
)

// DocumentSearch is what PDSm and MHD (ITI-67) ask of a document manager.
var DocumentSearch = []SearchParam{
	{"_id", searchToken}, {"_lastUpdated", searchDate},
	{"author", searchReference}, {"author.family", searchString}, {"author.given", searchString}, {"author.identifier", searchToken},
	{"category", searchToken}, {"creation", searchDate}, {"date", searchDate}, {"event", searchToken}, {"facility", searchToken},
	{"format", searchToken}, {"identifier", searchToken}, {"isArchived", searchToken},
	{"patient", searchReference}, {"patient.identifier", searchToken},
	{"period", searchDate}, {"period-end", searchDate}, {"period-start", searchDate},
	{"related", searchReference}, {"related.identifier", searchToken}, {"relatesto", searchReference},
	{"security-label", searchToken}, {"setting", searchToken}, {"status", searchToken},
	{"subject", searchReference}, {"subject.identifier", searchToken}, {"type", searchToken},
}

// ListSearch is what they ask for lots (ITI-66).
var ListSearch = []SearchParam{
	{"_id", searchToken}, {"_lastUpdated", searchDate},
	{"authorOrg", searchReference}, {"authorOrg.identifier", searchToken}, {"authorOrg.name", searchString},
	{"code", searchToken}, {"date", searchDate}, {"designationType", searchToken}, {"identifier", searchToken}, {"isArchived", searchToken},
	{"item", searchReference}, {"patient", searchReference}, {"patient.identifier", searchToken},
	{"source", searchReference}, {"source.family", searchString}, {"source.given", searchString}, {"source.identifier", searchToken},
	{"sourceId", searchToken}, {"status", searchToken},
	{"subject", searchReference}, {"subject.identifier", searchToken}, {"title", searchString},
}

// PatientSearch is TD0.2.
var PatientSearch = []SearchParam{{"identifier", searchToken}}

// What a search may bring along.
var (
	DocumentIncludes    = []string{"DocumentReference:relatesto", "DocumentReference:patient", "DocumentReference:subject"}
	DocumentRevIncludes = []string{"List:item"}
	ListIncludes        = []string{"List:item", "List:patient", "List:subject"}
)
