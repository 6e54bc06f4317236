//go:build unix

package files

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// CheckCreate returns why the process can't create files in a directory, or nil. It creates none.
func CheckCreate(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "create a file in", Path: dir, Err: err}
	}
	return nil
}
