package migratetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/migrate"
)

// Routes imports a text as a file of that name and returns its routes, one a line: the keys that choose requests and what happens to them. A
// line with "less strict:" follows for each directive that refuses requests there and not here. The draft has to pass the check.
func Routes(t *testing.T, read Reader, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	draft, err := read([]string{file})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	Check(t, draft)
	var lines []string
	for _, route := range draft.Routes {
		var keys []string
		for _, key := range route.Keys {
			if i := slices.Index(shown, strings.SplitN(key.Name, ".", 2)[0]); i >= 0 {
				keys = append(keys, key.Name+"="+show(key.Value))
			}
		}
		lines = append(lines, strings.Join(keys, " "))
	}
	for _, s := range draft.LessStrict() {
		lines = append(lines, "less strict: "+s.Text)
	}
	return strings.Join(lines, "\n")
}

var shown = []string{"host", "hosts", "path", "path_exact", "path_regexp", "method", "header", "query", "priority", "allow", "deny", "pool",
	"respond", "redirect", "rewrite_path", "strip_prefix"}

// show returns a value in few characters.
func show(value any) string {
	switch v := value.(type) {
	case []string:
		if slices.Equal(v, migrate.Everybody) {
			return "all"
		}
		return strings.Join(v, ",")
	case migrate.Inline:
		var all []string
		for _, key := range v {
			all = append(all, fmt.Sprint(key.Value))
		}
		return strings.Join(all, ",")
	}
	return fmt.Sprint(value)
}
