//go:build unix

package sluice_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	goFile = regexp.MustCompile(`[\w*/.-]*\w\.go\b`)
	// linkTarget matches the target of a link, without a scheme and without its fragment.
	linkTarget = regexp.MustCompile(`\]\(([^)#:]+)[)#]`)
	// fragment matches the target of a link that has a fragment: the file, or nothing, and the fragment.
	fragment  = regexp.MustCompile(`\]\(([^)#:]*)#([^)]+)\)`)
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```$")
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// unlinked matches what GitHub leaves out of the fragment of a heading.
	unlinked = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
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

// The headings exist that links between documents lead to.
func TestLinksOfDocumentsLeadToHeadings(t *testing.T) {
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(documents, "README.md", "ARCHITECTURE.md", "CHANGELOG.md") {
		for _, match := range fragment.FindAllStringSubmatch(read(t, name), -1) {
			target := name
			if match[1] != "" {
				target = filepath.Join(filepath.Dir(name), match[1])
			}
			if !slices.Contains(fragmentsOf(read(t, target)), match[2]) {
				t.Errorf("%s has a link to %s#%s, a heading that does not exist", name, target, match[2])
			}
		}
	}
}

// fragmentsOf returns the fragments by which links name the headings of a document.
func fragmentsOf(text string) (all []string) {
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return all
}

// exists reports whether files match a pattern of filepath.Glob.
func exists(pattern string) bool {
	files, err := filepath.Glob(pattern)
	return err == nil && len(files) > 0
}
