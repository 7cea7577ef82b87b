package sqldb

// The codes of this room's refusals.
const (
	FaultDiskFull    = "GW-DISK-FULL"        // no room left to write
	FaultStorage     = "GW-STORAGE"          // reading or writing failed
	FaultDamaged     = "GW-DATABASE-DAMAGED" // the file is not a database, or no longer
	FaultBusy        = "GW-DATABASE-BUSY"    // the transaction lost every race
	FaultSchema      = "GW-DATABASE-SCHEMA"  // migrations disagree with the database
	FaultInterrupted = "GW-INTERRUPTED"      // the caller gave up before the end
)

// Error is a refusal of the database.
type Error struct {
	code  string
	where string
	cause error
}

// Error is for logs.
func (e *Error) Error() string {
	s := "sqldb: " + e.code
	if e.where != "" {
		s += " at " + e.where
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// FaultCode names the row of the error table.
func (e *Error) FaultCode() string { return e.code }

// FaultWhere names the migration that disagrees, if that is what is wrong.
func (e *Error) FaultWhere() string { return e.where }
