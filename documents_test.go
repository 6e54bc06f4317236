//go:build unix

package sluice_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	goFile = regexp.MustCompile(`[\w*/.-]*\w\.go\b`)
	// linkTarget matches the target of a link, without a scheme and without its fragment.
	linkTarget = regexp.MustCompile(`\]\(([^)#:]+)[)#]`)
)

// The files that documents name, and those that their links lead to, exist.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || entry.Name() != "doc.go" && filepath.Ext(name) != ".md" || name == "CHANGELOG.md":
			return nil
		}
		text := read(t, name)
		for _, file := range goFile.FindAllString(text, -1) {
			if !exists(file) && !exists(filepath.Join(filepath.Dir(name), file)) {
				t.Errorf("%s names %s, which does not exist", name, file)
			}
		}
		for _, match := range linkTarget.FindAllStringSubmatch(text, -1) {
			if !exists(filepath.Join(filepath.Dir(name), match[1])) {
				t.Errorf("%s has a link to %s, which does not exist", name, match[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exists reports whether files match a pattern of filepath.Glob.
func exists(pattern string) bool {
	files, err := filepath.Glob(pattern)
	return err == nil && len(files) > 0
}
