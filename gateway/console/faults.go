package console

// The refusals of the console. Each has its row in gateway/fault.
const (
	FaultAccess = "CONSOLE-ACCESS" // logged in, and not listed
	FaultSearch = "CONSOLE-SEARCH" // a criterion that cannot be read
	FaultNoPDF  = "CONSOLE-NO-PDF" // the document carries no PDF
)
