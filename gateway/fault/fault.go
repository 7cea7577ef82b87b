// Package fault is the error table of Passerelle and its faces.
//
// Every refusal that a person or a system outside can see comes from one row of
// [Table]: HTTP status, FHIR issue type, HL7 ERR, SMTP reply, French and
// English text, remedy, requirement ids. A code never changes meaning. The
// texts are constants: no patient trait, matricule or token can reach them.
// What is specific to one case is a place ([Fault.Where]: HL7 location, XPath,
// JSON pointer), never a value.
//
// Rooms that may not import this package (ins, dmp, mss, …) declare typed
// errors with a method FaultCode; [From] finds their row. An error that
// declares no code is the row INTERNAL, whose text says nothing of the cause.
package fault

import (
	"errors"
	"fmt"
)

// Kind says whether the same request may succeed later without being changed.
type Kind int

// The two kinds. It is decided where the error is born; queues only obey.
const (
	Permanent Kind = iota
	Temporary
)

// Coded is an error that names its row.
type Coded interface {
	error
	FaultCode() string
}

// Located is an error that names its place: an HL7 location (PID^1^3), an
// XPath, a JSON pointer. Never a value.
type Located interface {
	FaultWhere() string
}

// HL7 is the face in an acknowledgement.
type HL7 struct {
	Ack  string // AE or AR
	Code string // ERR-3, table 0357
	App  string // ERR-5, table 900–906, beside ERR-3 207; empty otherwise
}

// SMTP is the face in a mail dialogue (RFC 5321, RFC 3463).
type SMTP struct {
	Code     int
	Enhanced string
}

// Row is one line of the error table.
type Row struct {
	Code         string
	Kind         Kind
	HTTP         int
	FHIR         string // OperationOutcome.issue.code
	HL7          HL7
	SMTP         SMTP
	FR, EN       string // what is wrong, one sentence
	FixFR, FixEN string // what to do
	Requirements []string
}

// Fault is a refusal: a row of the table and the place it concerns.
type Fault struct {
	Row
	Where string
	cause error
}

// New makes the refusal of one code. It panics on a code that is not in the
// table, because that is a mistake of the program, which a test finds.
func New(code string) *Fault {
	row, ok := Lookup(code)
	if !ok {
		panic("fault: no row for " + code)
	}
	return &Fault{Row: row}
}

// At returns f with its place.
func (f *Fault) At(where string) *Fault { g := *f; g.Where = where; return &g }

// Because returns f with its cause, which logs may show and answers never do.
func (f *Fault) Because(err error) *Fault { g := *f; g.cause = err; return &g }

// Error is for logs: code, place and cause.
func (f *Fault) Error() string {
	s := f.Code
	if f.Where != "" {
		s += " at " + f.Where
	}
	if f.cause != nil {
		s = fmt.Sprintf("%s: %v", s, f.cause)
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.cause }

// FaultCode names the row.
func (f *Fault) FaultCode() string { return f.Row.Code }

// FaultWhere names the place.
func (f *Fault) FaultWhere() string { return f.Where }

// Internal is the code of an error that nobody declared.
const Internal = "INTERNAL"

// From finds the row of any error.
func From(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var c Coded
	if errors.As(err, &c) {
		if row, ok := Lookup(c.FaultCode()); ok {
			g := &Fault{Row: row, cause: err}
			var l Located
			if errors.As(err, &l) {
				g.Where = l.FaultWhere()
			}
			return g
		}
	}
	return New(Internal).Because(err)
}

// Lookup finds a row by its code.
func Lookup(code string) (Row, bool) {
	row, ok := index[code]
	return row, ok
}

var index = func() map[string]Row {
	m := make(map[string]Row, len(Table))
	for _, r := range Table {
		m[r.Code] = r
	}
	return m
}()
