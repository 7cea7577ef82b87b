//go:build unix

package sqldb

import (
	"os"
	"path/filepath"
)

// syncDir makes the name of a new database survive a crash.
func syncDir(file string) error {
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
