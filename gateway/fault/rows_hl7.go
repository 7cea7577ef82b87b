package fault

// hl7Rows: prefix HL7.
var hl7Rows = []Row{}
