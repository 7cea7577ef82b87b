package store

import (
	"errors"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// The codes of this room's refusals.
const (
	// Who is asking.
	FaultNoCertificate = "STORE-NO-CERTIFICATE" // no client certificate
	FaultNoToken       = "STORE-NO-TOKEN"       // no bearer
	FaultToken         = "STORE-TOKEN"          // garbage, signature, issuer, audience
	FaultTokenExpired  = "STORE-TOKEN-EXPIRED"  // exp, nbf
	FaultTokenBinding  = "STORE-TOKEN-BINDING"  // bound to another certificate, or to none
	FaultIssuerDown    = "STORE-ISSUER-DOWN"    // keys of the issuer cannot be had

	// What they may do.
	FaultMode            = "STORE-MODE"             // this mode may not do this
	FaultNoAuthorisation = "STORE-NO-AUTHORISATION" // no valid authorisation
	FaultBlocked         = "STORE-BLOCKED"          // blocked by the patient
	FaultNotAuthor       = "STORE-NOT-AUTHOR"       // neither author nor same structure

	// The request.
	FaultNoRoute     = "STORE-NO-ROUTE"      // no such resource type or operation
	FaultMethod      = "STORE-METHOD"        // not on this resource
	FaultMediaType   = "STORE-MEDIA-TYPE"    // Content-Type
	FaultAccept      = "STORE-ACCEPT"        // Accept cannot be satisfied
	FaultBusy        = "STORE-BUSY"          // too many lots at once
	FaultTooLarge    = "STORE-TOO-LARGE"     // body
	FaultSlow        = "STORE-SLOW"          // a body that does not end
	FaultJSON        = "STORE-JSON"          // not a JSON that we accept
	FaultSearch      = "STORE-SEARCH"        // a parameter that cannot be read
	FaultSearchParam = "STORE-SEARCH-PARAM"  // an unknown parameter, handling=strict
	FaultCostly      = "STORE-SEARCH-COSTLY" // more than a search may bring
	FaultNoPatient   = "STORE-NO-PATIENT"    // a search that names no patient
	FaultNotFound    = "STORE-NOT-FOUND"     // no such resource
	FaultDeleted     = "STORE-DELETED"       // logically deleted
	FaultVersion     = "STORE-VERSION"       // If-Match

	// The patch.
	FaultPatch        = "STORE-PATCH"         // not a JSON Patch that we can apply
	FaultPatchElement = "STORE-PATCH-ELEMENT" // an element that may not change
	FaultAttribute    = "STORE-ATTRIBUTE"     // this attribute is not theirs to change
	FaultVisibility   = "STORE-VISIBILITY"    // visibilities that do not go together

	// The lot.
	FaultNotTransaction = "STORE-NOT-TRANSACTION" // not a transaction Bundle
	FaultEntry          = "STORE-ENTRY"           // an entry outside the closed slicing
	FaultProfile        = "STORE-PROFILE"         // the profile is not declared
	FaultLot            = "STORE-LOT"             // not exactly one SubmissionSet
	FaultReference      = "STORE-REFERENCE"       // a reference that leads nowhere
	FaultPatientDiffers = "STORE-PATIENT-DIFFERS" // more than one patient
	FaultRequired       = "STORE-REQUIRED"        // missing element
	FaultCardinality    = "STORE-CARDINALITY"     // too many, or not a list
	FaultNotAllowed     = "STORE-NOT-ALLOWED"     // forbidden element
	FaultValue          = "STORE-VALUE"           // not the value asked for
	FaultCode           = "STORE-CODE"            // not in the value set
	FaultContained      = "STORE-CONTAINED"       // must be contained, of a given type
	FaultHash           = "STORE-HASH"            // hash is not that of the bytes
	FaultSize           = "STORE-SIZE"            // size is not that of the bytes
	FaultContentType    = "STORE-CONTENT-TYPE"    // bytes are of another type
	FaultCDA            = "STORE-CDA"             // the CDA cannot be read
	FaultCDADiffers     = "STORE-CDA-DIFFERS"     // the CDA contradicts its entry
	FaultReplacement    = "STORE-REPLACEMENT"     // relatesTo and patch disagree

	// The record.
	FaultNoDMP         = "STORE-NO-DMP"         // no DMP for this INS
	FaultDMPClosed     = "STORE-DMP-CLOSED"     // closed
	FaultDuplicate     = "STORE-DUPLICATE"      // uniqueId already used
	FaultLotConflict   = "STORE-LOT-CONFLICT"   // lot already there with other content
	FaultUnknownTarget = "STORE-UNKNOWN-TARGET" // replaced document unknown
	FaultNotCurrent    = "STORE-NOT-CURRENT"    // replaced document not the latest

	// The folder.
	FaultLocked = "STORE-LOCKED" // another process holds it
	FaultAudit  = "STORE-AUDIT"  // a row of the audit does not follow from the one before
)

// maxIssues bounds an OperationOutcome.
const maxIssues = 50

// refusals is one or more refusals of one request; the first gives the status.
type refusals []*fault.Fault

// Error is for logs.
func (r refusals) Error() string {
	var list []string
	for _, f := range r {
		list = append(list, f.Error())
	}
	return strings.Join(list, "; ")
}

// add notes a refusal, up to the bound.
func (r *refusals) add(code, where string) {
	if len(*r) < maxIssues {
		*r = append(*r, fault.New(code).At(where))
	}
}

// err is r when there is something in it.
func (r refusals) err() error {
	if len(r) == 0 {
		return nil
	}
	return r
}

func refuse(code string) error { return refusals{fault.New(code)} }

func refuseAt(code, where string) error { return refusals{fault.New(code).At(where)} }

// faultsOf finds the rows of any error.
func faultsOf(err error) refusals {
	var r refusals
	if errors.As(err, &r) && len(r) > 0 {
		return r
	}
	return refusals{fault.From(err)}
}
