package console

// The refusals of the console. Each has its row in gateway/fault.
const (
	FaultAccess = "CONSOLE-ACCESS" // logged in, and not listed
	FaultSearch = "CONSOLE-SEARCH" // a criterion that cannot be read
	FaultDecide = "CONSOLE-DECIDE" // may look, and not decide
	FaultForm   = "CONSOLE-FORM"   // a form that is not ours, or of another session
	FaultNoPDF  = "CONSOLE-NO-PDF" // the document carries no PDF
)
