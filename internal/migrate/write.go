package migrate

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/internal/units"
)

// widest is the longest line whose comment is aligned with those of the lines around it, in characters.
const widest = 72

// WriteTOML writes the draft as a configuration. Each key has a comment with its place, and each skipped directive is a comment in its
// section. Its error is one of w, or names a key whose value has a type that Key doesn't list.
func (d *Draft) WriteTOML(w io.Writer) error {
	t := text{directory: d.Directory}
	t.comment("Imported from " + d.Origin)
	t.comment("A comment behind a key is the line that it comes from. `sluice check` checks the whole.")
	if less := d.LessStrict(); len(less) > 0 {
		t.WriteString("\n")
		t.skipped(lessStrict, less)
	}
	if skipped := d.skippedIn(nil); len(skipped) > 0 {
		t.WriteString("\n")
		t.skipped(others, skipped)
	}
	for _, part := range []struct {
		header   string
		sections []*Section
	}{{"[[listener]]", d.Listeners}, {"[[route]]", d.Routes}, {"[[pool]]", d.Pools}} {
		for _, s := range part.sections {
			if err := t.section(part.header, s, d.skippedIn(s)); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(t.Bytes())
	return err
}

// The titles of what is skipped.
const (
	lessStrict = "Less strict than the original, which refuses requests because of these lines:"
	others     = "Not carried over:"
)

// WriteSkipped writes the skipped directives as a list, one a line: FILE:LINE: TEXT: WHY. Those without which the draft is less strict than
// the original come first, below a title.
func (d *Draft) WriteSkipped(w io.Writer) error {
	var t text
	list := func(isLessStrict bool) {
		for _, s := range d.Skipped {
			if s.IsLessStrict == isLessStrict {
				t.WriteString(oneLine(fmt.Sprintf("%v: %s: %s", s.From, s.Text, s.Why)) + "\n")
			}
		}
	}
	if less := d.LessStrict(); len(less) > 0 {
		t.WriteString(lessStrict + "\n")
		list(true)
		t.WriteString(others + "\n")
	}
	list(false)
	_, err := w.Write(t.Bytes())
	return err
}

// skippedIn returns what is skipped in a section; nil: in none that is written.
func (d *Draft) skippedIn(in *Section) []Skipped {
	var found []Skipped
	for _, s := range d.Skipped {
		if s.IsLessStrict {
			continue
		}
		isWritten := slices.Contains(d.Listeners, s.In) || slices.Contains(d.Routes, s.In) || slices.Contains(d.Pools, s.In)
		if s.In == in || in == nil && !isWritten {
			found = append(found, s)
		}
	}
	return found
}

// A text is a configuration that is being written.
type text struct {
	bytes.Buffer
	directory string // which places leave out
}

// place returns a place as comments have it.
func (t *text) place(p Place) string {
	if in, isIn := strings.CutPrefix(p.File, t.directory+string(filepath.Separator)); isIn && t.directory != "" {
		p.File = in
	}
	return p.String()
}

// comment writes a comment that has a line of its own.
func (t *text) comment(s string) { t.WriteString("# " + oneLine(s) + "\n") }

// skipped writes directives as comments below a title, those with the same reason together.
func (t *text) skipped(title string, all []Skipped) {
	if len(all) == 0 {
		return
	}
	t.comment(title)
	isWritten := map[string]bool{}
	for _, first := range all {
		if isWritten[first.Why] {
			continue
		}
		isWritten[first.Why] = true
		t.comment("- " + first.Why)
		for _, s := range all {
			if s.Why == first.Why {
				t.comment("    " + t.place(s.From) + ": " + s.Text)
			}
		}
	}
}

// section writes a section, what is skipped in it at the end.
func (t *text) section(header string, s *Section, skipped []Skipped) error {
	t.WriteString("\n")
	for _, note := range s.Notes {
		t.comment(note)
	}
	lines := []line{{header, t.behind(&Key{From: s.From})}}
	for _, key := range s.Keys {
		of, err := t.key(&key)
		if err != nil {
			return err
		}
		lines = append(lines, of...)
	}
	t.aligned(lines)
	t.skipped(others, skipped)
	return nil
}

// A line is a line of a section.
type line struct{ code, comment string }

// aligned writes lines with their comments below each other.
func (t *text) aligned(lines []line) {
	column := 0
	for _, l := range lines {
		if n := utf8.RuneCountInString(l.code); n <= widest {
			column = max(column, n)
		}
	}
	for _, l := range lines {
		t.WriteString(l.code)
		if l.comment != "" {
			t.WriteString(strings.Repeat(" ", max(0, column-utf8.RuneCountInString(l.code))) + "  # " + l.comment)
		}
		t.WriteString("\n")
	}
}

// behind returns the places of a key and its remark as one comment; empty: there is neither. Of further places in the same file it has the
// line alone.
func (t *text) behind(k *Key) string {
	var places strings.Builder
	if k.From != (Place{}) {
		places.WriteString(t.place(k.From))
	}
	before := k.From
	for _, also := range k.Also {
		switch {
		case also == before:
		case also.File == before.File:
			fmt.Fprintf(&places, ", %d", also.Line)
		default:
			places.WriteString(", " + t.place(also))
		}
		before = also
	}
	if k.Note != "" && places.Len() > 0 {
		places.WriteString(": ")
	}
	return oneLine(places.String() + k.Note)
}

// key returns a key as lines: several for an array of more than one table, each with the place of its first key.
func (t *text) key(k *Key) ([]line, error) {
	elements, isArray := k.Value.([]any)
	if !isArray || len(elements) < 2 || !slices.ContainsFunc(elements, isTable) {
		value, err := k.format(k.Value)
		return []line{{k.Name + " = " + value, t.behind(k)}}, err
	}
	lines := []line{{k.Name + " = [", t.behind(k)}}
	for _, element := range elements {
		value, err := k.format(element)
		if err != nil {
			return nil, err
		}
		of := line{code: "  " + value + ","}
		if table, ok := element.(Inline); ok && len(table) > 0 {
			of.comment = t.behind(&table[0])
		}
		lines = append(lines, of)
	}
	return append(lines, line{code: "]"}), nil
}

// isTable reports whether a value is an inline table.
func isTable(value any) bool {
	switch value.(type) {
	case Inline, map[string]any:
		return true
	}
	return false
}

// format returns a value as TOML, on one line.
func (k *Key) format(value any) (string, error) {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s, nil
	case string:
		return quote(strings.ReplaceAll(v, "${", "$${")), nil
	case Template:
		return quote(string(v)), nil
	case []string:
		elements := make([]any, len(v))
		for i, s := range v {
			elements[i] = s
		}
		return k.format(elements)
	case []any:
		return k.join("[", "]", len(v), func(i int) (string, any) { return "", v[i] })
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		return k.join("{ ", " }", len(v), func(i int) (string, any) { return quoteKey(names[i]) + " = ", v[names[i]] })
	case Inline:
		return k.join("{ ", " }", len(v), func(i int) (string, any) { return quoteKey(v[i].Name) + " = ", v[i].Value })
	}
	return "", fmt.Errorf("key %s: no value of a configuration: %T", k.Name, value)
}

// join returns n values, each with what stands before it, between two brackets.
func (k *Key) join(open, end string, n int, at func(int) (before string, value any)) (string, error) {
	if n == 0 {
		return strings.TrimSpace(open) + strings.TrimSpace(end), nil
	}
	all := make([]string, n)
	for i := range all {
		before, value := at(i)
		s, err := k.format(value)
		if err != nil {
			return "", err
		}
		all[i] = before + s
	}
	return open + strings.Join(all, ", ") + end, nil
}

// quote returns a string as TOML wants it. One with a backslash, as regular expressions have, is written in single quotes, so that it stays
// readable.
func quote(s string) string {
	if strings.Contains(s, `\`) && !strings.Contains(s, "'") && !strings.ContainsFunc(s, units.IsUnsafe) && utf8.ValidString(s) {
		return "'" + s + "'"
	}
	return units.QuoteTOML(s)
}

// oneLine returns a text as a comment can have it: a run of white space as one space, without what a terminal may obey. The spaces that it
// begins with stay.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	indent := s[:len(s)-len(strings.TrimLeft(s, " "))]
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || units.IsUnsafe(r) })
	return indent + strings.Join(words, " ")
}
