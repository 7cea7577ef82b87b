package conformance

import "errors"

// Codes of what stops a judgement; what is judged has verdicts, not faults.
const (
	FaultCatalogue = "CONF-CATALOGUE"
	FaultTarget    = "CONF-TARGET"
	FaultWire      = "CONF-WIRE"
	FaultRun       = "CONF-RUN"
	FaultBusy      = "CONF-BUSY"
)

// ErrFolder says that the folder of a run holds something already.
var ErrFolder = errors.New("the folder is not empty")

// Fault is why nothing could be judged.
type Fault struct {
	Code  string
	Where string // a file or an address of the target, never a person
	Err   error
}

func (f *Fault) Error() string {
	s := f.Code
	if f.Where != "" {
		s += " (" + f.Where + ")"
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Fault) Unwrap() error { return f.Err }

// FaultCode is the stable code of the error table.
func (f *Fault) FaultCode() string { return f.Code }

// FaultWhere is the place that is at fault.
func (f *Fault) FaultWhere() string { return f.Where }
