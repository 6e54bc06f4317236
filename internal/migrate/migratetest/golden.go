// Package migratetest compares what importers make of configurations with what they should, for tests.
package migratetest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/config"
	"sluice/internal/migrate"
)

var update = flag.Bool("update", false, "write the files that results are compared with")

// A Reader is the Read of an importer.
type Reader func(files []string) (*migrate.Draft, error)

// Run imports each of the files by itself, and compares the result with FILE.want.toml and FILE.skipped. It has to pass the check of a
// configuration, and each of the file's directives has to be in it or among what is skipped. directives returns the numbers of their lines.
func Run(t *testing.T, read Reader, files []string, directives func(text string) []int) {
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			draft, err := read([]string{file})
			if err != nil {
				t.Fatal(err)
			}
			Compare(t, draft, file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mentioned := draft.Mentioned()
			for _, number := range directives(string(text)) {
				if !mentioned[migrate.Place{File: file, Line: number}] {
					t.Errorf("%s:%d: neither written nor skipped: %s", file, number, strings.Split(string(text), "\n")[number-1])
				}
			}
		})
	}
}

// Compare compares a draft with NAME.want.toml and NAME.skipped. It has to pass the check of a configuration.
func Compare(t *testing.T, draft *migrate.Draft, name string) {
	t.Helper()
	var toml, skipped bytes.Buffer
	if err := draft.WriteTOML(&toml); err != nil {
		t.Fatal(err)
	}
	if err := draft.WriteSkipped(&skipped); err != nil {
		t.Fatal(err)
	}
	compare(t, name+".want.toml", toml.Bytes())
	compare(t, name+".skipped", skipped.Bytes())
	Check(t, draft)
}

// compare compares a result with the file that has what it should be.
func compare(t *testing.T, file string, got []byte) {
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s differs (-want, +got); -update writes it:\n%s", file, diff)
	}
}

// Check reports the problems of a draft as a configuration, but for files that it names.
func Check(t *testing.T, draft *migrate.Draft) {
	var text bytes.Buffer
	if err := draft.WithoutFiles().WriteTOML(&text); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse("imported", text.Bytes()); err != nil {
		t.Errorf("%v\n%s", err, text.Bytes())
	}
}

// Files returns the files of testdata with that ending, but for those that results are compared with.
func Files(t *testing.T, ending string) []string {
	all, err := filepath.Glob(filepath.Join("testdata", "*"+ending))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(file string) bool {
		return strings.HasSuffix(file, ".want.toml") || strings.HasSuffix(file, ".skipped")
	})
}
