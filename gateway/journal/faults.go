package journal

// The codes of this room's refusals. Those of the bytes and of the database are
// declared where they are born, in dmp/blob and dmp/sqldb.
const (
	FaultLocked = "GW-JOURNAL-LOCKED" // another process holds the folder
	FaultEntry  = "GW-JOURNAL-ENTRY"  // what was to be recorded contradicts itself

	FaultKeyFile  = "GW-KEY-FILE"       // the key file cannot be used
	FaultKeyWrong = "GW-KEY-WRONG"      // the key file is not the one that sealed the register
	FaultSealed   = "GW-SEALED-DAMAGED" // what was sealed does not open
)

// Error is a refusal of the journal.
type Error struct {
	code  string
	cause error
}

// Error is for logs.
func (e *Error) Error() string {
	if e.cause == nil {
		return "journal: " + e.code
	}
	return "journal: " + e.code + ": " + e.cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.code }

// FaultWhere is empty: the journal knows no place in what the sender wrote.
func (e *Error) FaultWhere() string { return "" }
