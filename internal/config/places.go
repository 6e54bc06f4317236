package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// A place is a line of a file.
type place struct {
	file string
	line int
}

// places has the place of each key of a configuration, whose text may be in several files.
type places struct {
	root  string // the file that includes the others
	byKey map[string]place
}

// of returns the place of a key; that of the nearest table around it when the key is absent.
func (p *places) of(key string) place {
	for ; key != ""; key = outerKey(key) {
		if at, found := p.byKey[key]; found {
			return at
		}
	}
	return place{p.root, 1}
}

// section matches what a problem calls another section.
var section = regexp.MustCompile(`\b(?:listener|route|pool)\[\d+\]`)

// located returns the text of a problem in a file, in which the sections of other files have their places: their numbers are not seen there.
func (p *places) located(text, file string) string {
	return section.ReplaceAllStringFunc(text, func(key string) string {
		if at := p.of(key); at.file != file {
			return fmt.Sprintf("%s (%s:%d)", key, at.file, at.line)
		}
		return key
	})
}

// add adds the keys of a document, which moves renames. Where a key has a place already, it keeps it.
func (p *places) add(d *document, moves moves) {
	for key, line := range d.positions.lines {
		if key = moves.rename(key); p.byKey[key] == (place{}) {
			p.byKey[key] = place{d.name, line}
		}
	}
}

// moves has the arrays whose elements stand behind those of other files: key → how many these are.
type moves map[string]int

// rename returns the key that a key of the document has in the whole configuration. Arrays are only joined in tables that are in no array,
// so the first index is the only one that changes.
func (m moves) rename(key string) string {
	array, rest, isElement := strings.Cut(key, "[")
	by := m[array]
	if !isElement || by == 0 {
		return key
	}
	digits, rest, _ := strings.Cut(rest, "]")
	index, err := strconv.Atoi(digits)
	if err != nil { // the bracket is a part of a quoted key
		return key
	}
	return units.Indexed(array, index+by) + rest
}
