//go:build !unix

package files

import "os"

// CheckCreate returns an error if a directory doesn't exist. On this system only an attempt shows whether files can be created in it.
func CheckCreate(dir string) error {
	_, err := os.Stat(dir)
	return err
}
