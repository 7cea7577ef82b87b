package xdm

// Codes of this room; each has its row in gateway/fault.
const (
	// Packing.
	FaultLot      = "XDM-LOT"      // the lot lacks what the standard requires
	FaultDocument = "XDM-DOCUMENT" // a document lacks what the standard requires
	FaultTarget   = "XDM-TARGET"   // a replacement that does not say what it replaces

	// Both ways.
	FaultDigest  = "XDM-DIGEST"  // digest or size differ from the metadata
	FaultPatient = "XDM-PATIENT" // more than one patient

	// Unpacking.
	FaultZip             = "XDM-ZIP"              // not a readable zip
	FaultLimit           = "XDM-LIMIT"            // a limit is passed
	FaultPath            = "XDM-PATH"             // a name that leaves the archive or cannot be trusted
	FaultDuplicate       = "XDM-DUPLICATE"        // two entries of the same name
	FaultEntry           = "XDM-ENTRY"            // encrypted, linked or compressed in an unknown way
	FaultNoMetadata      = "XDM-NO-METADATA"      // no METADATA.XML
	FaultMetadata        = "XDM-METADATA"         // METADATA.XML cannot be read, or has a DTD
	FaultField           = "XDM-FIELD"            // a required metadata is missing or unusable
	FaultMissingDocument = "XDM-MISSING-DOCUMENT" // the URI names no entry

	// Tolerated and told.
	FaultLayout      = "XDM-LAYOUT"       // INDEX.HTM or README.TXT missing, names in another case
	FaultOddMetadata = "XDM-ODD-METADATA" // metadata of an old or careless sender
	FaultUndescribed = "XDM-UNDESCRIBED"  // a file that no metadata describe
)

// Error is a refusal of this room. Where is a place (entry[2],
// SUBSET01/document[1]/hash), never a value.
type Error struct {
	Code  string
	Where string
	Cause error
}

// Error is for logs. The cause is left out: it may quote foreign bytes.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Code
	}
	return e.Code + " at " + e.Where
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.Code }

// FaultWhere names the place.
func (e *Error) FaultWhere() string { return e.Where }

func refuse(code, where string) *Error { return &Error{Code: code, Where: where} }
