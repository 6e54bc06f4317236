package migratetest

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Fuzz gives a reader texts as a file of that name, from those of the seeds on. Whatever the text is, there is an error, or a draft that can be
// written.
func Fuzz(f *testing.F, read Reader, name string, seeds ...string) {
	for _, seed := range seeds {
		text, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		draft, err := read([]string{file})
		if err != nil {
			return
		}
		if err := draft.WriteTOML(io.Discard); err != nil {
			t.Errorf("%v", err)
		}
	})
}
