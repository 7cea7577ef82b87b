package fhir

import (
	"net/http"
	"strconv"
	"strings"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// remoteCodes gives our code for those that a DMP-style server writes in
// OperationOutcome.issue.details: ours, and the names used by the SOAP DMP and
// by MHD.
var remoteCodes = map[string]string{
	"STORE-DMP-CLOSED":               FaultClosed,
	"DMPClosed":                      FaultClosed,
	"STORE-NO-DMP":                   FaultNoPatient,
	"XDSUnknownPatientId":            FaultNoPatient,
	"STORE-DUPLICATE":                FaultDuplicate,
	"STORE-LOT-CONFLICT":             FaultDuplicate,
	"XDSDuplicateUniqueIdInRegistry": FaultDuplicate,
	"XDSNonIdenticalHash":            FaultDuplicate,
	"STORE-NOT-CURRENT":              FaultNotLatest,
	"XDSReplaceFailed":               FaultNotLatest,
	"STORE-UNKNOWN-TARGET":           FaultUnknown,
	"UnresolvedReferenceException":   FaultUnknown,
	"STORE-NOT-AUTHOR":               FaultForbidden,
}

// refusal turns an error status into a code. Without an OperationOutcome the
// refusal is not the DMP's, unless HTTP itself says enough.
func refusal(what op, a *answer) error {
	e := &Error{ack: strconv.Itoa(a.status)}
	remote, location, isOutcome := outcome(a)
	e.remote, e.where = remote, location
	switch s := a.status; {
	case s == http.StatusUnauthorized:
		e.code = FaultTokenRefused
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500:
		e.code = FaultUnavailable
	case s == http.StatusRequestEntityTooLarge:
		e.code = FaultTooLarge
	case s < 400, !isOutcome:
		e.code = FaultBadAnswer
	case remoteCodes[remote] != "":
		e.code = remoteCodes[remote]
	case s == http.StatusForbidden:
		e.code = FaultForbidden
	case s == http.StatusNotFound && what == opDelete, s == http.StatusGone:
		e.code = FaultUnknown
	case s == http.StatusNotFound:
		e.code = FaultNoPatient
	case s == http.StatusConflict && what == opDeposit:
		e.code = FaultDuplicate
	case s == http.StatusConflict, s == http.StatusPreconditionFailed:
		e.code = FaultNotLatest
	default:
		e.code = FaultRejected
	}
	return e
}

// outcome reads the first error of an OperationOutcome: its code and its place.
// Only words that look like codes are kept: the rest is foreign text.
func outcome(a *answer) (code, where string, ok bool) {
	node, err := Parse(a.body)
	if err != nil || node.Get("resourceType").Text() != "OperationOutcome" {
		return "", "", false
	}
	for _, issue := range node.Get("issue").Items() {
		if s := issue.Get("severity").Text(); s != "error" && s != "fatal" {
			continue
		}
		for _, coding := range issue.Get("details", "coding").Items() {
			if code == "" && isWord(coding.Get("code").Text()) {
				code = coding.Get("code").Text()
			}
		}
		for _, at := range issue.Get("expression").Items() {
			if where == "" && isPath(at.Text()) {
				where = at.Text()
			}
		}
		break
	}
	return code, where, true
}

// warnings reads the codes of an OperationOutcome that accompanies a success.
func warnings(raw []byte) ([]string, error) {
	var oo models.OperationOutcome
	node, err := Parse(raw)
	if err == nil {
		err = node.Decode(&oo)
	}
	if err != nil {
		return nil, err
	}
	var codes []string
	for _, issue := range oo.Issue {
		if issue.Severity != models.IssueSeverityWarning || issue.Details == nil {
			continue
		}
		for _, coding := range issue.Details.Coding {
			if coding.Code != nil && isWord(*coding.Code) {
				codes = append(codes, *coding.Code)
			}
		}
	}
	return codes, nil
}

// maxDigits is fewer than there are in a matricule without its key.
const maxDigits = 12

// isWord accepts what can be a code and cannot be an identifier of a person.
func isWord(s string) bool { return IsID(s) && isPath(s) }

// isPath accepts the FHIRPath of an element and nothing that could be an
// identifier of a person: its digits are indexes.
func isPath(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	digits := 0
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune("._[]()':/-", r):
		default:
			return false
		}
	}
	return digits <= maxDigits
}
