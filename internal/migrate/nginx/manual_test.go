package nginx

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"sluice/internal/config"
)

// The manual shows a configuration of nginx, and what its import becomes.
func TestTheExampleOfTheManualIsWhatAnImportWrites(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/moving.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) []byte {
		found := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$").FindSubmatch(manual)
		if found == nil {
			t.Fatalf("docs/moving.md has no block of %s", language)
		}
		return found[1]
	}
	path := filepath.Join(t.TempDir(), "nginx.conf")
	if err := os.WriteFile(path, block("nginx"), 0o600); err != nil {
		t.Fatal(err)
	}
	draft, err := Read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := draft.WriteTOML(&text); err != nil {
		t.Fatal(err)
	}
	shown, err := config.Parse("docs/moving.md", block("toml"))
	if err != nil {
		t.Fatal(err)
	}
	imported, err := config.Parse("draft.toml", text.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, text.Bytes())
	}
	if diff := config.Compare(shown, imported); !diff.IsEmpty() {
		t.Errorf("from the example to the import: %+v\n%s", diff, text.Bytes())
	}
}
