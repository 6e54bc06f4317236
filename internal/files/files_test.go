package files

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestAFileIsReadUpToABound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := Read(path, 5); err != nil || string(text) != "12345" {
		t.Errorf("Read of five bytes = %q, %v", text, err)
	}
	if _, err := Read(path, 4); err == nil || !strings.Contains(err.Error(), "over 4 bytes") {
		t.Errorf("Read of a byte too many = %v, want an error with the bound", err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), 4); err == nil {
		t.Error("Read of no file = nil")
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := Read("/dev/zero", 1<<20); err == nil {
			t.Error("Read of a file without an end = nil")
		}
	}
}

// Faults D.
func TestExposureNamesTheMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system has no such modes")
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "", 0o660: "", 0o644: "read the file: its mode is 0644", 0o666: "write the file: its mode is 0666"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := Exposure(path); !strings.HasSuffix(got, want) || (got == "") != (want == "") {
			t.Errorf("Exposure with mode %04o = %q, want %q", mode, got, want)
		}
	}
	for mode, want := range map[os.FileMode]string{0o600: "", 0o700: "", 0o640: "its group may read the file: its mode is 0640", 0o660: "its group may write the file: its mode is 0660",
		0o644: "every user may read the file: its mode is 0644", 0o602: "every user may write the file: its mode is 0602"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := GroupExposure(info); got != want {
			t.Errorf("GroupExposure with mode %04o = %q, want %q", mode, got, want)
		}
	}
	if got := Exposure(path + ".none"); got != "" {
		t.Errorf("Exposure of no file = %q", got)
	}
}
