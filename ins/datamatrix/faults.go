package datamatrix

// Codes of the refusals of this package, beside those of ins (matricule, key,
// OID, gate). Each has its row in gateway/fault.
const (
	FaultTooLong   = "SCAN-TOO-LONG"   // more bytes than any INS datamatrix
	FaultHeader    = "SCAN-HEADER"     // not the header of an INS datamatrix
	FaultField     = "SCAN-FIELD"      // a field that the format does not have
	FaultRepeated  = "SCAN-REPEATED"   // a field that comes twice
	FaultMissing   = "SCAN-MISSING"    // a required field that does not come
	FaultLength    = "SCAN-LENGTH"     // a field too short or too long
	FaultValue     = "SCAN-VALUE"      // a value outside its alphabet or form
	FaultImage     = "SCAN-IMAGE"      // not an image that can be read
	FaultImageSize = "SCAN-IMAGE-SIZE" // an image above the limits
	FaultNoSymbol  = "SCAN-NO-SYMBOL"  // no readable datamatrix in the image
	FaultDrawing   = "SCAN-DRAWING"    // a size that cannot be drawn
)

// Refusal is the typed error of this package. Its text holds a code and a
// field, never a value.
type Refusal struct {
	Code  string
	Where string
}

// Error is the code and the place.
func (r *Refusal) Error() string {
	if r.Where == "" {
		return r.Code
	}
	return r.Code + " at " + r.Where
}

// FaultCode names the row of the error table.
func (r *Refusal) FaultCode() string { return r.Code }

// FaultWhere names the field (S1 to S7).
func (r *Refusal) FaultWhere() string { return r.Where }
