package psc_test

import (
	"fmt"
	"os"
	"testing"
)

// sharedDir holds what is long to make and that no test changes.
var sharedDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "psc-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sharedDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir) // the folder of temporary files is cleaned by others if not
	os.Exit(code)
}
