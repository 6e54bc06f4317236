//go:build unix

package gateway

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Neither a start nor the signal that opens the log anew waits for the reader of a pipe.
// Faults C4.
func TestAPipeThatNobodyReadsIsNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	notice := func(uint64) []byte { return nil }
	if o, err := openOutput(path, io.Discard, notice); err == nil {
		o.close()
		t.Fatal("the output is open, want an error")
	} else if !strings.Contains(err.Error(), "no program reads") {
		t.Errorf("%v, want that no program reads", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOutput(path, io.Discard, notice)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = o.Write([]byte("a line\n"))
	if err := o.reopen(); err != nil {
		t.Error(err)
	}
	_, _ = o.Write([]byte("another\n"))
	o.close()
	if text, err := io.ReadAll(reader); string(text) != "a line\nanother\n" {
		t.Errorf("the reader gets %q, %v", text, err)
	}
	_ = reader.Close()
	if err := o.reopen(); err == nil {
		t.Error("the output of a pipe without a reader is opened anew")
	}
}
