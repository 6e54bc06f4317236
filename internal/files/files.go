// Package files reads files that an operator names: to a bound, whatever they turn out to be, and with a look at who else may read them.
package files

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"
)

// pipeTime is how long a program that writes to a pipe may take.
const pipeTime = 5 * time.Second

// Read returns the content of a file of at most that many bytes; more is an error. It doesn't wait for anybody to open a pipe: one that
// nobody has written to is empty.
func Read(path string, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	_ = file.SetReadDeadline(time.Now().Add(pipeTime)) // a file of another kind has none
	var content bytes.Buffer
	n, err := content.ReadFrom(io.LimitReader(file, most+1))
	switch {
	case err != nil:
		return nil, err
	case n > most:
		return nil, fmt.Errorf("%s: over %d bytes", path, most)
	}
	return content.Bytes(), nil
}

// Exposure returns what is wrong with the mode of a file that holds a secret: users other than its owner and group may read or write it.
// It returns "" if nothing is, if the mode can't be read, or on a system without such modes.
func Exposure(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return exposure(info, 0o007)
}

// GroupExposure returns what is wrong with the mode of a file that holds a secret: users other than its owner may read or write it, those of
// its group too. It returns "" as Exposure does.
func GroupExposure(info fs.FileInfo) string { return exposure(info, 0o077) }

// exposure is Exposure of a file for the users of a mask.
func exposure(info fs.FileInfo, users fs.FileMode) string {
	if runtime.GOOS == "windows" {
		return ""
	}
	mode := info.Mode().Perm()
	for _, e := range []struct {
		bit fs.FileMode
		may string
	}{
		{0o002, "every user may write"},
		{0o004, "every user may read"},
		{0o020, "its group may write"},
		{0o040, "its group may read"},
	} {
		if mode&users&e.bit != 0 {
			return fmt.Sprintf("%s the file: its mode is %04o", e.may, mode)
		}
	}
	return ""
}
