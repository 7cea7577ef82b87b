//go:build nosandbox

package main

// sandboxCommands is empty: this build leaves the simulators out.
type sandboxCommands struct{}
