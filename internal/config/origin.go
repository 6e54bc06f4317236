package config

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"sluice/internal/files"
)

// An Origin is what a configuration was read from: files, and the patterns that have found some of them.
type Origin struct {
	// Files are the configuration itself and the files that it includes, in the order in which they were read.
	Files []string
	// Values are the files of ${file:…}.
	Values []string
	// Globs are the patterns of include.
	Globs []string

	isText bool // the first of Files is the name of a text, and no file

	// What the files and patterns were found to be, in the same order.
	fileSums, valueSums, globSums [][]byte
}

// Paths returns all files.
func (o *Origin) Paths() []string { return slices.Concat(o.Files, o.Values) }

// Contents returns a sum of each file and of the matches of each pattern, as the configuration was made of them.
func (o *Origin) Contents() [][]byte { return slices.Concat(o.fileSums, o.valueSums, o.globSums) }

// Read returns the same of what is there now. If that differs from Contents, another configuration would be read. Its error is that the
// configuration itself is missing or empty, which is so for a moment where a program replaces it.
func (o *Origin) Read() ([][]byte, error) {
	now := &Origin{}
	left := int64(mostFileBytes)
	for i, path := range o.Files {
		read := readRegular
		if i == 0 {
			read = files.Read
		}
		text, err := read(path, left)
		if i == 0 && (err != nil || len(text) == 0) {
			return nil, errors.Join(err, errEmpty(path, err))
		}
		left -= int64(len(text))
		now.addFile(path, text, err)
	}
	for _, path := range o.Values {
		content, err := readRegular(path, mostValueBytes)
		now.addValue(path, content, err)
	}
	for _, glob := range o.Globs {
		paths, _ := matchesOf(glob)
		now.addGlob(glob, paths)
	}
	return now.Contents(), nil
}

// errEmpty is the error of a configuration without content; nil if there is another.
func errEmpty(path string, err error) error {
	if err != nil {
		return nil
	}
	return &fs.PathError{Op: "read", Path: path, Err: errors.New("empty")}
}

// addFile notes a file of the configuration, as it was read.
func (o *Origin) addFile(path string, text []byte, err error) {
	o.Files, o.fileSums = append(o.Files, path), append(o.fileSums, sumOf(text, err))
}

// addValue notes a file of ${file:…}, as it was read.
func (o *Origin) addValue(path string, content []byte, err error) {
	o.Values, o.valueSums = append(o.Values, path), append(o.valueSums, sumOf(content, err))
}

// addGlob notes a pattern and its matches.
func (o *Origin) addGlob(glob string, matches []string) {
	o.Globs, o.globSums = append(o.Globs, glob), append(o.globSums, sumOf([]byte(strings.Join(matches, "\x00")), nil))
}

// matchesOf returns the paths that match a pattern, which is clean. As in a shell, wildcards match no name that begins with a dot: editors,
// file systems and Kubernetes keep files of their own under such names.
func matchesOf(glob string) ([]string, error) {
	const separator = string(filepath.Separator)
	patterns := strings.Split(glob, separator)
	isHidden := func(path string) bool {
		for i, name := range strings.Split(path, separator) {
			if strings.HasPrefix(name, ".") && !strings.HasPrefix(strings.TrimPrefix(patterns[i], `\`), ".") {
				return true
			}
		}
		return false
	}
	paths, err := filepath.Glob(glob)
	return slices.DeleteFunc(paths, isHidden), err
}

// sumOf returns a sum that differs for different contents, and is empty for a file that can't be read.
func sumOf(content []byte, err error) []byte {
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(content)
	return sum[:]
}
