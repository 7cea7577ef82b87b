package httpapi

import (
	"strconv"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// IssueType tells whether a word is an issue type of FHIR.
func IssueType(s string) bool {
	var t models.IssueType
	return t.UnmarshalJSON([]byte(strconv.Quote(s))) == nil
}

// Signature is how a webhook is signed.
var Signature = signature
