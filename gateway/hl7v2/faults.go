package hl7v2

// The codes of this room; their rows are in gateway/fault/rows_hl7.go.
const (
	FaultFrameTooLarge = "HL7-FRAME-TOO-LARGE" // a frame above the limit
	FaultBusy          = "HL7-BUSY"            // too many frames in memory at once
	FaultShuttingDown  = "HL7-SHUTTING-DOWN"   // a frame that came while stopping
	FaultCrashed       = "HL7-CRASHED"         // a panic while this message was worked on

	FaultNotHL7           = "HL7-NO-MSH"            // no readable MSH
	FaultSeparators       = "HL7-SEPARATORS"        // other than |^~\&
	FaultProfile          = "HL7-PROFILE"           // MSH-21 not on this port's list
	FaultSender           = "HL7-SENDER"            // MSH-3/4 of nobody we know
	FaultType             = "HL7-TYPE"              // MSH-9.1 or .3
	FaultEvent            = "HL7-EVENT"             // MSH-9.2
	FaultVersion          = "HL7-VERSION"           // MSH-12
	FaultProcessing       = "HL7-PROCESSING"        // MSH-11
	FaultCharset          = "HL7-CHARSET"           // MSH-18 unknown, or bytes that do not fit
	FaultSegmentMalformed = "HL7-SEGMENT-MALFORMED" // a line that is no segment
	FaultTooManySegments  = "HL7-TOO-MANY-SEGMENTS" // above the bound
	FaultSegmentMissing   = "HL7-SEGMENT-MISSING"   // required by the profile
	FaultSegmentOrder     = "HL7-SEGMENT-ORDER"     // out of the profile's order
	FaultFieldMissing     = "HL7-FIELD-MISSING"     // required field
	FaultFieldRepeated    = "HL7-FIELD-REPEATED"    // above its cardinality
	FaultFieldValue       = "HL7-FIELD-VALUE"       // outside its table
	FaultFieldType        = "HL7-FIELD-TYPE"        // not of its data type
	FaultAction           = "HL7-ACTION"            // event, ORC-1 and OBX-11 disagree
	FaultTypeCode         = "HL7-TYPE-CODE"         // OBR-4, OBX-3 and TXA-2 disagree
	FaultDocumentMissing  = "HL7-DOCUMENT-MISSING"  // flags, but no document
	FaultDocuments        = "HL7-DOCUMENTS"         // more documents than the profile allows
	FaultFormat           = "HL7-FORMAT"            // OBX-5 is not XML in base64
	FaultBase64           = "HL7-BASE64"            // OBX-5.5 cannot be decoded

	FaultFlagMissing     = "HL7-FLAG-MISSING"
	FaultFlagRepeated    = "HL7-FLAG-REPEATED"
	FaultFlagValue       = "HL7-FLAG-VALUE"
	FaultRecipient       = "HL7-RECIPIENT-MISSING"   // a DESTMSS* without its recipient
	FaultAddress         = "HL7-ADDRESS"             // PRT-15.4 is no mail address
	FaultOtherPatient    = "HL7-RECIPIENT-PATIENT"   // patient mail to somebody else than PID
	FaultHiddenPatient   = "HL7-HIDDEN-FROM-PATIENT" // patient mail of an invisible document
	FaultMaskedPro       = "HL7-MASKED-TO-PRO"       // professional mail of a masked document
	FaultMatrix          = "HL7-FLAGS-MATRIX"        // outside the matrix (strict)
	FaultBody            = "HL7-BODY-BASE64"         // CORPSMAIL cut (tolerated unless strict)
	FaultTooManyPersons  = "HL7-TOO-MANY-RECIPIENTS" // above the bound
	FaultCharsetSuspect  = "HL7-CHARSET-SUSPECT"     // labelled 8859, looks like UTF-8
	FaultVisitMissing    = "HL7-VISIT-MISSING"       // ORU without PV1 (tolerated)
	FaultMatriculeAlone  = "HL7-MATRICULE-ALONE"     // INS without an authority, dropped
	FaultFlagOrder       = "HL7-FLAG-ORDER"          // older order (tolerated)
	FaultFlagUnknown     = "HL7-FLAG-UNKNOWN"        // an OBX that nobody reads
	FaultFlagDefault     = "HL7-FLAG-DEFAULT"        // ACK_* absent, taken as N
	FaultRecipientUnused = "HL7-RECIPIENT-UNUSED"    // a recipient that no flag asks for

	FaultNoticeRoute   = "HL7-ZAM-ROUTE"   // no address for this sender
	FaultNoticeDown    = "HL7-ZAM-DOWN"    // cannot connect
	FaultNoticeSilent  = "HL7-ZAM-SILENT"  // no answer in time
	FaultNoticeAnswer  = "HL7-ZAM-ANSWER"  // an answer that is not ours
	FaultNoticeBusy    = "HL7-ZAM-BUSY"    // AR
	FaultNoticeRefused = "HL7-ZAM-REFUSED" // AE

	FaultMDMRoute      = "HL7-MDM-ROUTE"      // no application for this establishment
	FaultMDMDown       = "HL7-MDM-DOWN"       // cannot connect
	FaultMDMSilent     = "HL7-MDM-SILENT"     // no answer in time
	FaultMDMAnswer     = "HL7-MDM-ANSWER"     // an answer that is not ours
	FaultMDMBusy       = "HL7-MDM-BUSY"       // AR
	FaultMDMRefused    = "HL7-MDM-REFUSED"    // AE
	FaultMDMMasked     = "HL7-MDM-MASKED"     // MASQUE_PS: must not be relayed
	FaultMDMPatient    = "HL7-MDM-PATIENT"    // the document is about another INS
	FaultMDMIncomplete = "HL7-MDM-INCOMPLETE" // something that the profile requires is missing

	FaultA47Route   = "HL7-A47-ROUTE"   // no application for this establishment
	FaultA47Down    = "HL7-A47-DOWN"    // no connection
	FaultA47Silent  = "HL7-A47-SILENT"  // no answer in time
	FaultA47Answer  = "HL7-A47-ANSWER"  // an answer to something else
	FaultA47Busy    = "HL7-A47-BUSY"    // AR
	FaultA47Refused = "HL7-A47-REFUSED" // AE
)

// Refusal is an error of this room. Detail is a word of the specification,
// such as the name of a flag; never something that the message brought.
type Refusal struct {
	Code   string
	Where  string // HL7 location: PID^1^3
	Detail string
	Answer string // MSA-1, when the other side answered
	// Application is ERR-5 of an AE (900 to 906); empty if there was none.
	Application string
	Cause       error // for logs; never shown outside
}

func refuse(code, where string) *Refusal { return &Refusal{Code: code, Where: where} }

// Error is for logs: code, place, detail, cause.
func (r *Refusal) Error() string {
	s := r.Code
	if r.Where != "" {
		s += " at " + r.Where
	}
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	if r.Cause != nil {
		s += ": " + r.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// FaultCode names the row of the error table.
func (r *Refusal) FaultCode() string { return r.Code }

// FaultWhere names the place.
func (r *Refusal) FaultWhere() string { return r.Where }

// AckCode is what the other side answered, for the timeline.
func (r *Refusal) AckCode() string { return r.Answer }

// ApplicationCode is the reason that the other side gave for an AE.
func (r *Refusal) ApplicationCode() string { return r.Application }
