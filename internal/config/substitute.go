package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/internal/files"
	"sluice/internal/units"
)

// mostValueBytes bounds what is read of a file for ${file:…}, and mostValues what all substitutions of a configuration make together.
const (
	mostValueBytes = 64 << 10
	mostValues     = 16 << 20
)

// A substituted is a string of a configuration of which a part stood for something else, which must not be shown.
type substituted struct {
	text    string
	isWhole bool // the string consisted of one substitution
}

// as returns the value for a field of a kind: a number or a truth value may be written as a substitution.
func (s substituted) as(kind reflect.Kind) any {
	if s.isWhole {
		switch kind {
		case reflect.Bool:
			if b, err := strconv.ParseBool(s.text); err == nil && strings.ToLower(s.text) == strconv.FormatBool(b) {
				return b
			}
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			if n, err := strconv.ParseInt(s.text, 10, 64); err == nil {
				return n
			}
		case reflect.Float32, reflect.Float64:
			if n, err := strconv.ParseFloat(s.text, 64); err == nil {
				return n
			}
		}
	}
	return s.text
}

// A substitution replaces what the strings of one document refer to.
type substitution struct {
	reader *reader
	found  *problems // of the document
	lines  *positions
}

// value returns a value of the tree with its strings replaced.
func (s substitution) value(key string, value any) any {
	switch v := value.(type) {
	case string:
		return s.text(key, v)
	case []any:
		for i := range v {
			v[i] = s.value(units.Indexed(key, i), v[i])
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			v[name] = s.value(joinKey(key, quoteKey(name)), v[name])
		}
	}
	return value
}

// text replaces each ${NAME}, ${NAME:-default} and ${file:PATH} of a string, and each $${ by ${. It returns a string if that is all there
// was, else a substituted.
func (s substitution) text(key, text string) any {
	var result strings.Builder
	count, rest := 0, text
	for {
		before, after, isThere := strings.Cut(rest, "${")
		if !isThere {
			result.WriteString(rest)
			break
		}
		if literal, isEscaped := strings.CutSuffix(before, "$"); isEscaped {
			result.WriteString(literal + "${")
			rest = after
			continue
		}
		result.WriteString(before)
		reference, after, isClosed := strings.Cut(after, "}")
		if !isClosed {
			s.report(key, `"${" without "}"`, wantEscape)
			return substituted{}
		}
		value, problem, want := s.reader.refer(reference)
		if problem != "" {
			s.report(key, problem, want)
			return substituted{}
		}
		result.WriteString(value)
		count, rest = count+1, after
	}
	if count == 0 {
		return result.String()
	}
	s.found.masked[key] = true
	return substituted{result.String(), count == 1 && strings.HasPrefix(text, "${") && strings.Index(text, "}") == len(text)-1}
}

func (s substitution) report(key, problem, want string) {
	s.found.masked[key] = true
	s.found.addUnread(Problem{File: s.found.file, Line: s.lines.line(key), Key: key, Text: problem, Want: want}, nil)
}

// wantEscape says how a text is written that is no substitution.
const wantEscape = `"$${" for a "${" that is meant as it stands`

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// refer returns what stands for ${reference}, or what is wrong with it and what would be right.
func (r *reader) refer(reference string) (value, problem, want string) {
	if path, isFile := strings.CutPrefix(reference, "file:"); isFile {
		value, problem = r.valueOf(path)
		want = "a file with text of at most " + units.Bytes(mostValueBytes).String()
	} else {
		name, otherwise, hasDefault := strings.Cut(reference, ":-")
		isSet := false
		value, isSet = os.LookupEnv(name)
		switch {
		case hasDefault && strings.Contains(otherwise, "${"):
			return "", `"${" in a default`, "a default without references"
		case !variableName.MatchString(name):
			return "", "not the name of a variable", "${NAME}, ${NAME:-default} or ${file:/path}; " + wantEscape
		case hasDefault && value == "":
			value = otherwise
		case !isSet:
			problem, want = "the environment has no variable "+name, "it set, or a default: ${"+name+":-default}"
		case !utf8.ValidString(value):
			problem, want = "the variable "+name+" is not UTF-8", "text"
		}
	}
	if r.valuesLeft -= len(value); r.valuesLeft < 0 && problem == "" {
		problem, want = "all substitutions together are too long", "at most "+units.Bytes(mostValues).String()
	}
	if problem != "" {
		return "", problem, want
	}
	r.found.hide(value)
	return value, "", ""
}

// A fileValue is what ${file:…} stands for.
type fileValue struct{ text, problem string }

// valueOf returns the content of a file without its last line feed, or why it can't be had.
func (r *reader) valueOf(path string) (value, problem string) {
	if known, isKnown := r.values[path]; isKnown {
		return known.text, known.problem
	}
	if len(r.values) == mostFiles {
		return "", "too many files of ${file:…}"
	}
	content, err := readRegular(path, mostValueBytes)
	r.origin.addValue(path, content, err)
	var read fileValue
	switch {
	case err != nil:
		read.problem = err.Error()
	case !utf8.Valid(content):
		read.problem = "the file " + path + " is not UTF-8"
	default:
		read.text = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	}
	r.values[path] = read
	return read.text, read.problem
}

// errNoFile is what is wrong with a path that leads to a directory, a pipe or a device.
var errNoFile = errors.New("not a regular file")

// readRegular reads a regular file of at most that many bytes. Its error is for a problem.
func readRegular(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: errNoFile}
	}
	if err != nil {
		return nil, err
	}
	return files.Read(path, most)
}
