//go:build unix

package files

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe to which nobody writes holds up neither a start nor a reload.
// Faults D: secret files are read without a bound.
func TestAPipeIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if text, err := Read(path, 5); err != nil || len(text) > 0 {
		t.Errorf("Read of a pipe that nobody writes to = %q, %v; want nothing", text, err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := Read(path, 5); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read of a pipe whose writer stands still = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if _, err := writer.WriteString("123456"); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, 5); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read of a pipe with a byte too many = %v, want an error with the bound", err)
	}
}
