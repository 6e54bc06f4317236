package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// mostSyntaxFaults bounds how many syntax errors are reported at once. A text with more is no configuration.
const mostSyntaxFaults = 20

// byteOrderMark is at the start of the files that some editors write.
const byteOrderMark = "\ufeff"

// readSyntax reads text into a tree of plain values. A key whose value can't be read is reported
// and left out, so that the same run finds the errors after it. If the end of an error is unknown, reading stops, and the tree is nil.
func readSyntax(text []byte, found *problems) (map[string]any, *positions) {
	text = slices.Clone(bytes.TrimPrefix(text, []byte(byteOrderMark)))
	for range mostSyntaxFaults {
		positions := newPositions(text)
		if positions.tooDeep > 0 {
			found.addSyntax(Problem{Line: positions.tooDeep, Text: fmt.Sprintf("keys are nested more than %d levels deep", mostLevels)})
			return nil, positions
		}
		tree := map[string]any{}
		err := toml.Unmarshal(text, &tree)
		if err == nil {
			return tree, positions
		}
		line := positions.faultLine(err)
		problem := Problem{Line: line, Text: "syntax: " + strings.TrimPrefix(err.Error(), "toml: ")}
		expression, isKnown := positions.around(line)
		if !isKnown || expression.isHeader || expression.key == "" {
			found.addSyntax(problem)
			return nil, positions
		}
		problem.Key = expression.key
		if expression == positions.failed {
			problem.Got, problem.Want = missingQuotes(string(positions.text(text, line)))
		}
		found.addSyntax(problem)
		for line := expression.first; line <= expression.last; line++ {
			blank(positions.text(text, line))
		}
	}
	return nil, newPositions(text)
}

// faultLine returns the line of go-toml's error, kept inside the text.
func (o *positions) faultLine(err error) int {
	var fault *toml.DecodeError
	if !errors.As(err, &fault) {
		return 1
	}
	line, _ := fault.Position()
	return min(max(line, 1), len(o.newlines)+1)
}

// blank turns a line into spaces; its offsets and its number stay.
func blank(line []byte) {
	for i := range line {
		line[i] = ' '
	}
}

// unquotedText is a value that is text and lacks its quotes, as in max_frame = 16MiB.
var unquotedText = regexp.MustCompile(`^[\w.:/*-]+$`)

// truthText is a truth value as other formats have it.
var truthText = regexp.MustCompile(`^(?i:true|yes|on|false|no|off)$`)

// missingQuotes returns the value of a line that could not be read, as found and as wanted, if it is text without quotes or with those of
// a word processor, or a truth value, else nothing.
func missingQuotes(line string) (got, want string) {
	_, value, _ := strings.Cut(line, "=")
	value, _, _ = strings.Cut(value, "#")
	value = shorten(strings.TrimSpace(value))
	switch text := strings.Trim(value, "“”„‘’"); {
	case truthText.MatchString(value):
		return value, "true or false"
	case unquotedText.MatchString(text):
		return value, fmt.Sprintf("%q, in quotes", text)
	default:
		return "", ""
	}
}
