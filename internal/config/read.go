package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"sluice/internal/units"
)

// mostFiles bounds how many files a configuration has.
const mostFiles = 1000

// includeKey is the key that names further files.
const includeKey = "include"

// A document is one file of a configuration. Its keys are those that it would have alone.
type document struct {
	name      string
	tree      map[string]any // nil: its syntax can't be read to the end
	positions *positions
	found     *problems
}

// A reader reads the files of one configuration into one tree. Owned by one call of Parse.
type reader struct {
	found  *problems
	origin *Origin

	tree       map[string]any
	places     *places
	isComplete bool // every file could be read to its end

	included   map[string]place     // absolute path without symbolic links → where it is included
	values     map[string]fileValue // path of a ${file:…} → what it stands for
	bytesLeft  int64                // of all files
	valuesLeft int                  // bytes that substitutions may still make
}

// newReader returns a reader of the configuration in a file.
func newReader(name string) *reader {
	return &reader{
		found:      newProblems(name),
		origin:     &Origin{},
		tree:       map[string]any{},
		places:     &places{root: name, byKey: map[string]place{}},
		isComplete: true,
		included:   map[string]place{},
		values:     map[string]fileValue{},
		bytesLeft:  mostFileBytes,
		valuesLeft: mostValues,
	}
}

// read adds the text of a file, after that of the files that it includes.
func (r *reader) read(name string, text []byte) {
	d := &document{name: name, found: newProblems(name)}
	r.bytesLeft -= int64(len(text))
	d.tree, d.positions = readSyntax(text, d.found)
	if d.tree == nil {
		r.isComplete = false
	} else {
		substitution{r, d.found, d.positions}.value("", d.tree)
		r.include(d)
	}
	r.merge(d)
}

// include reads the files that a document includes.
func (r *reader) include(d *document) {
	value, isThere := d.tree[includeKey]
	list, isArray := value.([]any)
	if d.name != r.places.root || !isArray {
		delete(d.tree, includeKey)
	}
	if isThere && !isArray && !d.found.unread[includeKey] {
		d.report(includeKey, "wrong type", value, `an array of files and globs, as ["conf.d/*.toml"]`)
		return
	}
	for i, element := range list {
		key := units.Indexed(includeKey, i)
		if s, isSubstituted := element.(substituted); isSubstituted {
			element = s.text
		}
		pattern, isText := element.(string)
		switch {
		case d.found.unread[key]: // it was to be replaced
		case !isText:
			d.report(key, "wrong type", element, "a file or a glob, in quotes")
			d.found.unread[key] = true
		case pattern == "":
			d.report(key, "empty", element, "a file or a glob, relative to the directory of this file")
		case len(r.origin.Files)+len(r.origin.Globs) > mostFiles:
			d.report(key, "too many files and globs", pattern, fmt.Sprintf("at most %d", mostFiles))
			r.isComplete = false
			return
		case strings.Contains(pattern, "**"):
			d.report(key, `"**" is not supported`, pattern, `"*", which matches names in one directory`)
			r.isComplete = false
		case hasMeta(pattern):
			r.includeGlob(d, key, pattern)
		default:
			r.includeFile(d, key, within(d.name, pattern), pattern)
		}
	}
}

// report reports a problem of the document alone.
func (d *document) report(key, problem string, got any, want string) {
	d.found.add(Problem{File: d.name, Line: d.positions.line(key), Key: key, Text: problem, Want: want}, got)
}

// includeGlob reads the files that match a pattern, in the order of their names.
func (r *reader) includeGlob(d *document, key, pattern string) {
	glob := filepath.Clean(pattern)
	if !filepath.IsAbs(glob) {
		glob = filepath.Join(escapeMeta(filepath.Dir(d.name)), glob)
	}
	paths, err := matchesOf(glob)
	r.origin.addGlob(glob, paths)
	if err != nil {
		d.report(key, "not a glob", pattern, `one such as "conf.d/*.toml"`)
		r.isComplete = false
	}
	for _, path := range paths {
		if len(r.origin.Files) > mostFiles {
			d.report(key, "too many files", pattern, fmt.Sprintf("at most %d", mostFiles))
			r.isComplete = false
			return
		}
		r.includeFile(d, key, path, pattern)
	}
}

// includeFile reads one file, whose path the pattern of key has given.
func (r *reader) includeFile(d *document, key, path, pattern string) {
	identity := identityOf(path)
	at, isIncluded := r.included[identity]
	switch {
	case identity == identityOf(r.places.root):
		d.report(key, "the configuration includes itself: "+path, pattern, "other files")
	case isIncluded:
		d.report(key, fmt.Sprintf("%s is included at %s:%d", path, at.file, at.line), pattern, "each file once")
	default:
		r.included[identity] = place{d.name, d.positions.line(key)}
		text, err := readRegular(path, r.bytesLeft)
		r.origin.addFile(path, text, err)
		if err != nil {
			d.report(key, err.Error(), pattern, "a file that can be read, relative to the directory of this file")
			r.isComplete = false
			return
		}
		r.read(path, text)
	}
}

// within returns the path of a file that another one names.
func within(including, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(including), path)
}

// identityOf returns what all paths of a file have in common.
func identityOf(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return path
}

// hasMeta reports whether a name is a pattern of filepath.Match.
func hasMeta(name string) bool {
	if runtime.GOOS == "windows" {
		return strings.ContainsAny(name, `*?[`)
	}
	return strings.ContainsAny(name, `*?[\`)
}

var meta = regexp.MustCompile(`[*?\[\\]`)

// escapeMeta returns the pattern that matches a name alone.
func escapeMeta(name string) string {
	if runtime.GOOS == "windows" { // where a pattern has no escapes
		return name
	}
	return meta.ReplaceAllString(name, `\$0`)
}

// merge adds a document to the configuration.
func (r *reader) merge(d *document) {
	moved := moves{}
	r.join("", r.tree, d.tree, d, moved)
	r.places.add(d, moved)
	r.found.absorb(d.found, moved)
}

// join adds the keys of one table of a document to the same table of the configuration.
func (r *reader) join(at string, to, from map[string]any, d *document, moved moves) {
	for name, value := range from {
		key := joinKey(at, quoteKey(name))
		before, isThere := to[name]
		if !isThere {
			to[name] = value
			continue
		}
		table, isTable := before.(map[string]any)
		more, addsTable := value.(map[string]any)
		array, isArray := before.([]any)
		further, addsArray := value.([]any)
		switch {
		case isTable && addsTable:
			r.join(key, table, more, d, moved)
		case isArray && addsArray && areTables(array) && areTables(further):
			moved[key] = len(array)
			to[name] = slices.Concat(array, further)
		case isArray && addsTable && areTables(array):
			d.found.add(withoutElement(place{d.name, d.positions.line(key)}, key), nil)
		case isTable && addsArray && areTables(further):
			to[name] = value
			d.found.add(withoutElement(r.places.of(key), key), nil)
		default:
			first := r.places.of(key)
			d.found.add(Problem{File: d.name, Line: d.positions.line(key), Key: key, Text: fmt.Sprintf("set a second time, after %s:%d", first.file, first.line),
				Want: "each key in one file"}, nil)
		}
	}
}

// withoutElement returns the problem of a table that stands without the element of an array of tables to which it would belong.
func withoutElement(at place, key string) Problem {
	header := "[[" + key + "]]"
	return Problem{File: at.file, Line: at.line, Key: key, Text: "a table without its " + header, Want: header + " above it, in the same file"}
}

// areTables reports whether an array has tables and nothing else.
func areTables(array []any) bool {
	return !slices.ContainsFunc(array, func(element any) bool {
		_, isTable := element.(map[string]any)
		return !isTable
	})
}
