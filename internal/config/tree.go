package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// A tree is a table with its keys in order. Its values are trees, inlines, []any and what TOML and JSON have for strings, numbers and truth
// values.
type tree []entry

// An inline is a tree that is written in one line.
type inline tree

// An entry is a key of a tree.
type entry struct {
	key   string
	value any
}

// get returns the value of a dotted key; nil: there is none.
func (t tree) get(key string) any {
	name, rest, isDotted := strings.Cut(key, ".")
	for _, e := range t {
		if e.key != name {
			continue
		}
		if below, isTree := e.value.(tree); isTree && isDotted {
			return below.get(rest)
		}
		return e.value
	}
	return nil
}

// MarshalJSON returns the tree as an object with its keys in the same order.
func (t tree) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, e := range t {
		if i > 0 {
			text.WriteByte(',')
		}
		for j, value := range []any{e.key, e.value} {
			if j > 0 {
				text.WriteByte(':')
			}
			part, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			text.Write(part)
		}
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// MarshalJSON is that of a tree.
func (t inline) MarshalJSON() ([]byte, error) { return tree(t).MarshalJSON() }

// appendTOML appends the tree as TOML: first the values, then the tables. path is that of the tree.
func (t tree) appendTOML(text []byte, path string) []byte {
	for _, e := range t {
		switch e.value.(type) {
		case tree, []tree:
			continue
		}
		text = fmt.Appendf(text, "%s = %s\n", quoteKey(e.key), tomlOf(e.value))
	}
	for _, e := range t {
		key := joinKey(path, quoteKey(e.key))
		switch v := e.value.(type) {
		case tree:
			text = v.appendTOML(fmt.Appendf(text, "\n[%s]\n", key), key)
		case []tree:
			for _, element := range v {
				text = element.appendTOML(fmt.Appendf(text, "\n[[%s]]\n", key), key)
			}
		}
	}
	return text
}

// tomlOf returns a value as it is written on one line.
func tomlOf(value any) string {
	switch v := value.(type) {
	case string:
		return units.QuoteTOML(strings.ReplaceAll(v, "${", "$${")) // it is no reference
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	case []any:
		parts := make([]string, len(v))
		for i, element := range v {
			parts[i] = tomlOf(element)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case inline:
		if len(v) == 0 {
			return "{}"
		}
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = quoteKey(e.key) + " = " + tomlOf(e.value)
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	default:
		return fmt.Sprint(v)
	}
}
