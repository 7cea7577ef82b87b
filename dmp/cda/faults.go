package cda

import (
	"fmt"
	"strings"
)

// Codes of the refusals and findings of this package. Each has its row in
// gateway/fault; a code never changes meaning. Several rules share a code: the
// rule says precisely what, the code says what to do about it. Rules about the
// INS carry the codes of package ins.
const (
	// The bytes cannot be read as a CDA.
	FaultEmpty          = "CDA-EMPTY"           // no bytes
	FaultTooLarge       = "CDA-TOO-LARGE"       // above the size limit
	FaultEncoding       = "CDA-ENCODING"        // unknown or broken character encoding
	FaultXML            = "CDA-XML"             // not well-formed
	FaultDTD            = "CDA-DTD"             // a document type declaration
	FaultEntity         = "CDA-ENTITY"          // a declaration of entities (billion laughs)
	FaultEntityExternal = "CDA-ENTITY-EXTERNAL" // a reference to the outside (XXE)
	FaultTooDeep        = "CDA-TOO-DEEP"        // elements nested too deep, or too many
	FaultNotCDA         = "CDA-NOT-CDA"         // well-formed, and no ClinicalDocument

	// The document can be read and cannot be accepted.
	FaultNoID        = "CDA-NO-ID"        // no usable document id
	FaultNoType      = "CDA-NO-TYPE"      // no document code
	FaultNoPatient   = "CDA-NO-PATIENT"   // no recordTarget, or an empty one
	FaultTwoPatients = "CDA-TWO-PATIENTS" // several recordTarget
	FaultTwoINS      = "CDA-TWO-INS"      // several different INS for one patient
	FaultNoBody      = "CDA-NO-BODY"      // no body, or an empty one
	FaultTwoBodies   = "CDA-TWO-BODIES"   // several body components
	FaultBodyBase64  = "CDA-BODY-BASE64"  // the embedded file cannot be decoded
	FaultBodyFormat  = "CDA-BODY-FORMAT"  // the embedded file is not what is announced

	// The document can be accepted and is not as it should be.
	FaultQualifier     = "CDA-NAME-QUALIFIER" // name qualifier outside BR and CL
	FaultNoSetID       = "CDA-NO-SETID"       // no setId: versions cannot be linked
	FaultVersion       = "CDA-VERSION"        // versionNumber absent or not a number
	FaultIDExtension   = "CDA-ID-EXTENSION"   // the DMP takes an id without extension only
	FaultTypeUnknown   = "CDA-TYPE-UNKNOWN"   // type outside JDV_J07
	FaultTypeNotDMP    = "CDA-TYPE-NOT-DMP"   // type outside JDV_J66
	FaultFormatUnknown = "CDA-FORMAT-UNKNOWN" // no format for this template
	FaultFormatNotDMP  = "CDA-FORMAT-NOT-DMP" // format outside JDV_J60
	FaultValueSet      = "CDA-VALUE-SET"      // a code outside its value set
	FaultSchema        = "CDA-SCHEMA"         // order, cardinality or type of the CDA schema
	FaultStructure     = "CDA-STRUCTURE"      // structuration minimale
	FaultTemplate      = "CDA-TEMPLATE"       // missing or forbidden templateId
	FaultTelecom       = "CDA-TELECOM"        // malformed telecom
	FaultTime          = "CDA-TIME"           // a date that cannot be read
	FaultTimeZone      = "CDA-TIME-ZONE"      // a time without its zone
	FaultPDFA          = "CDA-PDFA"           // the PDF does not declare PDF/A
	FaultClassUnknown  = "CDA-CLASS-UNKNOWN"  // no class for this type
	FaultStylesheet    = "CDA-STYLESHEET"     // a stylesheet outside the document

	// A document cannot be made, or cannot be shown.
	FaultNotPDF = "CDA-NOT-PDF" // what was given as a PDF is none, or is cut
	FaultNoCopy = "CDA-NO-COPY" // no PDF copy can be made of this body

	// Submitted metadata and the document disagree.
	FaultMetaContradicts = "CDA-META-CONTRADICTS" // on what files or finds the document
	FaultMetaDiffers     = "CDA-META-DIFFERS"     // on anything else
)

// Severity is the weight of a finding.
type Severity uint8

// The three severities. Only Blocking refuses by default; Error is what the
// national checker refuses too.
const (
	Warning Severity = iota + 1
	Error
	Blocking
)

// String names the severity.
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	case Blocking:
		return "blocking"
	}
	return "none"
}

// Finding is one thing wrong or odd about a document: a code of the error
// table, the rule that found it, and a place; never a value. It is the error
// type of this package.
type Finding struct {
	Code     string   `json:"code"`
	Rule     string   `json:"rule,omitempty"` // id in the rule table; empty when the bytes cannot be read
	Severity Severity `json:"severity"`
	Line     int      `json:"line,omitempty"`
	XPath    string   `json:"xpath,omitempty"`
	cause    error
}

// Error is for logs: code, rule and place.
func (f *Finding) Error() string {
	var b strings.Builder
	b.WriteString(f.Code)
	if f.Rule != "" {
		b.WriteString(" (" + f.Rule + ")")
	}
	if w := f.FaultWhere(); w != "" {
		b.WriteString(" at " + w)
	}
	return b.String()
}

// FaultCode names the row of the error table.
func (f *Finding) FaultCode() string { return f.Code }

// FaultWhere is the XPath and the line: /ClinicalDocument/setId (line 12).
func (f *Finding) FaultWhere() string {
	switch {
	case f.Line == 0:
		return f.XPath
	case f.XPath == "":
		return fmt.Sprintf("line %d", f.Line)
	}
	return fmt.Sprintf("%s (line %d)", f.XPath, f.Line)
}

// Unwrap gives the cause that the XML reader told, if any. Its text may quote
// a word of the document: show it to nobody.
func (f *Finding) Unwrap() error { return f.cause }
