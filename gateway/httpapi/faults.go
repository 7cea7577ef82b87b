package httpapi

// The refusals of the HTTP doors. Each has its row in gateway/fault.
const (
	FaultNoLogin       = "HTTP-NO-LOGIN"      // a bearer, and no Pro Santé Connect configured
	FaultMultipart     = "HTTP-MULTIPART"     // not multipart/form-data, or broken
	FaultPart          = "HTTP-PART"          // a part missing, repeated or unknown
	FaultTooLarge      = "HTTP-TOO-LARGE"     // body, part or document above its limit
	FaultCut           = "HTTP-CUT"           // the body ended early
	FaultSlow          = "HTTP-SLOW"          // the body did not come in time
	FaultBusy          = "HTTP-BUSY"          // the memory for requests in hand is used up
	FaultMediaType     = "HTTP-MEDIA-TYPE"    // Content-Type
	FaultAccept        = "HTTP-ACCEPT"        // Accept, _format
	FaultJSON          = "HTTP-JSON"          // not JSON, or a member twice
	FaultUnknownField  = "HTTP-UNKNOWN-FIELD" // in an envelope
	FaultParameter     = "HTTP-PARAMETER"     // in the address: unknown, repeated or unreadable
	FaultField         = "HTTP-FIELD"         // a value of the wrong kind, or outside its list
	FaultMissing       = "HTTP-MISSING-FIELD" // in an envelope
	FaultKey           = "HTTP-KEY"           // Idempotency-Key is not one
	FaultEstablishment = "HTTP-ESTABLISHMENT" // not one of the caller's, or not named
	FaultDocument      = "HTTP-DOCUMENT"      // neither a CDA nor a PDF
	FaultRecipient     = "HTTP-RECIPIENT"     // no address
	FaultNoDMP         = "HTTP-NO-DMP"        // no DMP is configured for consulting

	FaultNoDirectory     = "HTTP-NO-DIRECTORY"     // no Annuaire Santé is configured
	FaultMailboxPatient  = "HTTP-MAILBOX-PATIENT"  // about a patient's mailbox
	FaultMailboxUnlisted = "HTTP-MAILBOX-UNLISTED" // warning: the directory does not know the address

	FaultHookNone    = "HTTP-HOOK-NONE"    // a webhook is queued, and none is configured any more
	FaultHookDown    = "HTTP-HOOK-DOWN"    // no answer from the software that a webhook tells
	FaultHookRefused = "HTTP-HOOK-REFUSED" // it answered, and not 2xx

	FaultBundle     = "FHIR-BUNDLE"     // not a transaction of ITI-65, not a DocumentReference of ITI-105
	FaultEntry      = "FHIR-ENTRY"      // an entry that the profile has no place for
	FaultReference  = "FHIR-REFERENCE"  // what is named is not there, or what is there is not named
	FaultPatient    = "FHIR-PATIENT"    // no patient, or several
	FaultHash       = "FHIR-HASH"       // digest or size is not that of the document
	FaultElement    = "FHIR-ELEMENT"    // an element that is required, or that cannot be read
	FaultMixed      = "FHIR-MIXED"      // a lot whose documents ask for different things
	FaultNoAddress  = "FHIR-NO-ADDRESS" // warning: an intendedRecipient without MSSanté address
	FaultLotContent = "FHIR-LOT"        // warning: a contentTypeCode that the queue cannot carry
)
