//go:build unix

package files

import (
	"errors"
	"io/fs"
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

func TestADirectoryThatCannotBeWrittenIsFoundWithoutAFile(t *testing.T) {
	dir := t.TempDir()
	if err := CheckCreate(dir); err != nil {
		t.Errorf("CheckCreate of a directory of our own = %v", err)
	}
	if err := CheckCreate(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CheckCreate of no directory = %v, want %v", err, fs.ErrNotExist)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("CheckCreate leaves %v, %v", left, err)
	}
	if os.Getuid() == 0 {
		t.Skip("root may write every directory")
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := CheckCreate(dir); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("CheckCreate of a directory that may only be read = %v, want %v", err, fs.ErrPermission)
	}
}
