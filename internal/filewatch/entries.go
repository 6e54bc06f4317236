package filewatch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An interest is what decides which files there are and what they hold. Paths are absolute and without symbolic links.
type interest struct {
	entries  []string // of directories; sorted
	patterns []string // a directory, and the pattern of the names in it; sorted
}

func (i interest) equals(other interest) bool {
	return slices.Equal(i.entries, other.entries) && slices.Equal(i.patterns, other.patterns)
}

// interestOf returns the interest in the files at paths and in those that globs match.
func interestOf(paths, globs []string) interest {
	var now interest
	paths = slices.Clone(paths)
	for _, glob := range globs {
		directories := now.add(glob)
		paths = append(paths, directories...)
	}
	now.entries = entriesOf(paths)
	slices.Sort(now.patterns)
	return now
}

// add adds the patterns of a glob, and returns the directories that decide which files it matches.
func (i *interest) add(glob string) (directories []string) {
	at, name := filepath.Split(glob)
	at = filepath.Clean(at)
	matches := []string{at}
	if at != glob && strings.ContainsAny(at, `*?[\`) {
		directories = i.add(at)
		matches, _ = filepath.Glob(at)
	}
	for _, directory := range matches {
		resolved, err := filepath.EvalSymlinks(directory)
		if err == nil {
			resolved, err = filepath.Abs(resolved)
		}
		if err == nil {
			i.patterns = append(i.patterns, filepath.Join(resolved, name))
		}
	}
	return append(directories, matches...)
}

// entriesOf returns the entries of directories that decide which files are at paths and what these hold, sorted and each once: the
// files, and every symbolic link on the way to them.
func entriesOf(paths []string) []string {
	var entries []string
	for _, path := range paths {
		entries = append(entries, trail(path)...)
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// maxLinks is how many symbolic links of a path are followed: as many as Linux follows, see path_resolution(7).
const maxLinks = 40

// trail returns the entries for one path, each as an absolute path without symbolic links. Where something is missing, its entry is the
// last one: the file can't be there before that is.
func trail(path string) (entries []string) {
	if !filepath.IsAbs(path) {
		directory, err := os.Getwd()
		if err != nil {
			return nil
		}
		path = directory + string(filepath.Separator) + path // not by Join: it resolves ".." without regard to symbolic links
	}
	at, rest := split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		entry := filepath.Join(at, name)
		info, err := os.Lstat(entry)
		if err != nil {
			return append(entries, entry)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			if len(rest) == 0 {
				return append(entries, entry)
			}
			at = entry
			continue
		}
		entries = append(entries, entry)
		destination, err := os.Readlink(entry)
		if links++; err != nil || links > maxLinks {
			return entries
		}
		under := names(destination)
		if filepath.IsAbs(destination) {
			at, under = split(destination)
		}
		rest = slices.Concat(under, rest)
	}
	return entries
}

// split returns the root of an absolute path, and the names under it.
func split(path string) (root string, under []string) {
	volume := filepath.VolumeName(path)
	return volume + string(filepath.Separator), names(path[len(volume):])
}

func names(path string) []string { return strings.Split(filepath.ToSlash(path), "/") }
