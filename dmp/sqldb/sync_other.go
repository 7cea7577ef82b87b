//go:build !unix

package sqldb

// syncDir has nothing to do: a folder cannot be synced here, the file system
// keeps names with its own log.
func syncDir(string) error { return nil }
