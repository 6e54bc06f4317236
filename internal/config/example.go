package config

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sluice"
)

// A documented key is one of config.example.toml.
type documented struct {
	line       int
	text       string // what its comment says
	isOptional bool   // the key is commented out
}

// example has the keys of config.example.toml, by their paths without indexes.
var example = sync.OnceValue(func() map[string]documented {
	text := uncommented(sluice.Example)
	lines, written := strings.Split(string(text), "\n"), strings.Split(string(sluice.Example), "\n")
	keys := map[string]documented{}
	for path, line := range newPositions(text).lines {
		key := headerOf(path)
		if before, isKnown := keys[key]; !isKnown || line < before.line {
			keys[key] = documented{line, commentOf(lines, line), strings.HasPrefix(written[line-1], "#")}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) { // a table before its keys
		of := keys[key]
		around := keys[outerKey(key)]
		if around.line == of.line || strings.HasPrefix(strings.TrimSpace(lines[of.line-1]), "{") {
			of.text = itemOf(around.text, key[len(outerKey(key))+1:])
		}
		of.text = cmp.Or(of.text, around.text)
		keys[key] = of
	}
	return keys
})

// commentedKey matches a key or a header of config.example.toml that is commented out.
var commentedKey = regexp.MustCompile(`(?m)^# ?([a-z_0-9]+ = |\[\[?[a-z_.0-9]+\]\]?$)`)

// uncommented returns the text with its commented keys and tables as if they were in use.
func uncommented(text []byte) []byte { return commentedKey.ReplaceAll(text, []byte("$1")) }

// commentOf returns the comment of the key in a line: behind it, or above it and the keys that stand close to it.
func commentOf(lines []string, line int) string {
	if _, comment, isThere := strings.Cut(lines[line-1], " # "); isThere {
		return strings.TrimSpace(comment)
	}
	last := line - 2
	for last >= 0 && lines[last] != "" && lines[last][0] != '#' && lines[last][0] != '[' {
		last--
	}
	first := last + 1
	for first > 0 && strings.HasPrefix(lines[first-1], "#") {
		first--
	}
	var text strings.Builder
	for i := first; i <= last; i++ {
		part := strings.TrimPrefix(strings.TrimPrefix(lines[i], "#"), " ")
		switch {
		case text.Len() == 0:
		case part == "" || part[0] == ' ' || item.MatchString(part):
			text.WriteString("\n")
		default:
			text.WriteString(" ")
		}
		text.WriteString(part)
	}
	return text.String()
}

// valuesOf returns the values that a comment lists, each in an indented line that begins with it; nil: the lines are none of values, or
// there are none.
func valuesOf(comment string) (values []any) {
	for line := range strings.SplitSeq(comment, "\n") {
		match := listedValue.FindStringSubmatch(line)
		switch {
		case match != nil:
			values = append(values, strings.Trim(match[1], `"`))
		case strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "    "):
			return nil
		}
	}
	return values
}

// listedValue matches such a line. One that goes on with it is indented further.
var listedValue = regexp.MustCompile(`^  ([a-z_0-9./]+|"")  +[^ ]`)

// item matches the beginning of what a comment says of one value, or of one key of an inline table.
var item = regexp.MustCompile(`^([a-z_0-9]+): `)

// itemOf returns what a comment says of one key of an inline table.
func itemOf(comment, key string) string {
	for line := range strings.SplitSeq(comment, "\n") {
		if match := item.FindStringSubmatch(line); match != nil && match[1] == key {
			return line[len(match[0]):]
		}
	}
	return ""
}
