package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// A decoder assigns a tree of plain values to structs. It is our own since go-toml ends at its
// first type error and knows no defaults: a default must reach the absent keys of every element of
// an array of tables, and no others, or a 0 that the operator wrote would be lost.
type decoder struct {
	places *places
	found  *problems
}

// file assigns a whole text.
func (d decoder) file(tree map[string]any, file *File) {
	d.table("", tree, reflect.ValueOf(file).Elem())
}

// table assigns the keys of a table to the fields of a struct, gives the absent ones their
// defaults, and reports the keys that no field has.
func (d decoder) table(path string, tree map[string]any, to reflect.Value) {
	known := fieldsOf(to)
	for key, field := range known {
		d.setDefault(joinKey(path, key), field)
		if value, found := tree[key]; found {
			d.value(joinKey(path, key), value, field.value)
		}
	}
	for key := range tree {
		if _, found := known[key]; !found {
			d.unknownKey(joinKey(path, quoteKey(key)), key, slices.Sorted(maps.Keys(known)))
		}
	}
}

// unknownKey reports a key that nothing reads.
func (d decoder) unknownKey(path, key string, known []string) {
	at := d.places.of(path)
	problem := Problem{File: at.file, Line: at.line, Key: path, Text: "unknown key"}
	if near, found := nearest(key, known); found {
		problem.Text += fmt.Sprintf(", did you mean %q?", near)
	} else {
		problem.Want = "one of " + strings.Join(known, ", ")
	}
	d.found.add(problem, nil)
}

// value assigns one value of the tree.
func (d decoder) value(path string, value any, to reflect.Value) {
	if text, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(path, value, text)
		return
	}
	if s, ok := value.(substituted); ok {
		value = s.as(to.Kind())
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.value(path, value, to.Elem())
	case reflect.Struct:
		if tree, ok := value.(map[string]any); ok {
			d.table(path, tree, to)
			return
		}
		d.wrongType(path, value, "a table, "+formOf(path))
		d.table(path, nil, to) // what is checked of several elements needs the defaults
	case reflect.Slice:
		d.slice(path, value, to)
	case reflect.Map:
		d.mapping(path, value, to)
	case reflect.String:
		if s, ok := value.(string); ok {
			to.SetString(s)
			return
		}
		d.wrongType(path, value, "text in quotes")
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			to.SetBool(b)
			return
		}
		d.wrongType(path, value, "true or false")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := value.(int64); ok && !to.OverflowInt(n) {
			to.SetInt(n)
			return
		}
		d.wrongType(path, value, "a whole number")
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := value.(int64); ok && n >= 0 && !to.OverflowUint(uint64(n)) {
			to.SetUint(uint64(n))
			return
		}
		d.wrongType(path, value, "a whole number, not negative")
	case reflect.Float32, reflect.Float64:
		switch n := value.(type) {
		case float64:
			to.SetFloat(n)
		case int64:
			to.SetFloat(float64(n))
		default:
			d.wrongType(path, value, "a number")
		}
	default:
		panic("BUG: " + path + ": no values are read into a " + to.Type().String())
	}
}

// slice assigns an array, or an array of tables.
func (d decoder) slice(path string, value any, to reflect.Value) {
	elements, ok := value.([]any)
	if !ok {
		want := "an array, in [ ]"
		if to.Type().Elem().Kind() == reflect.Struct {
			want = "an array of tables, as [[" + headerOf(path) + "]]"
		}
		d.wrongType(path, value, want)
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(elements), len(elements)))
	for i, element := range elements {
		d.value(units.Indexed(path, i), element, to.Index(i))
	}
}

// mapping assigns a table whose keys the operator chooses.
func (d decoder) mapping(path string, value any, to reflect.Value) {
	tree, ok := value.(map[string]any)
	if !ok {
		d.wrongType(path, value, "a table")
		return
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), len(tree)))
	for key, value := range tree {
		element := reflect.New(to.Type().Elem()).Elem()
		d.value(joinKey(path, quoteKey(key)), value, element)
		to.SetMapIndex(reflect.ValueOf(key), element)
	}
}

// text assigns a value to a type that reads itself from text. A number or a truth value is given to
// it as it is written.
func (d decoder) text(path string, value any, to encoding.TextUnmarshaler) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case substituted:
		text = v.text
	case int64, bool:
		text = fmt.Sprint(v)
	default:
		d.wrongType(path, value, wantOf(to))
		return
	}
	switch err := to.UnmarshalText([]byte(text)); {
	case errors.Is(err, units.ErrTooLong):
		d.unread(path, units.ErrTooLong.Error(), value, wantOf(to))
	case err != nil:
		d.unread(path, "can't be read", value, wantOf(to))
	}
}

// formOf says how the table of a path is written: with a header, if it is in no element of an array other than the first one.
func formOf(path string) string {
	switch header := headerOf(path); {
	case !strings.HasSuffix(path, "]"):
		return "as [" + header + "]"
	case strings.Count(path, "[") == 1:
		return "as [[" + header + "]]"
	default:
		return "in { }"
	}
}

// headerOf returns the path as the header of its table writes it: without the indexes of elements.
func headerOf(path string) string { return indexes.ReplaceAllString(path, "") }

var indexes = regexp.MustCompile(`\[\d+\]`)

// wantOf says how a value of a type that reads itself is written.
func wantOf(to encoding.TextUnmarshaler) string {
	switch to.(type) {
	case *units.Duration:
		return `a duration such as "5s" or "1m30s"`
	case *units.OptionalDuration:
		return `a duration such as "5s" or "1m30s", or ""`
	case *units.Bytes:
		return `a size such as "64KiB" or "16MiB"`
	case *Access:
		return `"end", "start", "both", true or false`
	default:
		return "text in quotes"
	}
}

func (d decoder) wrongType(path string, value any, want string) {
	d.unread(path, "wrong type", value, want)
}

// unread reports a value that a field can't take.
func (d decoder) unread(path, problem string, got any, want string) {
	at := d.places.of(path)
	d.found.addUnread(Problem{File: at.file, Line: at.line, Key: path, Text: problem, Want: want}, got)
}

// A field is where a key's value goes.
type field struct {
	value       reflect.Value
	defaultText string
	hasDefault  bool
}

// fieldsOf returns the fields of a struct by their keys, those of embedded structs among them.
func fieldsOf(of reflect.Value) map[string]field {
	fields := map[string]field{}
	for _, d := range declaredFields(of.Type()) {
		fields[d.key] = field{of.FieldByIndex(d.index), d.defaultText, d.hasDefault}
	}
	return fields
}

// A declared is a field of a type that has a key.
type declared struct {
	key         string
	of          reflect.Type
	index       []int // as reflect.Type.FieldByIndex takes it
	defaultText string
	hasDefault  bool
}

// declaredFields returns the fields of a type that have keys, those of embedded structs among them.
func declaredFields(of reflect.Type) (fields []declared) {
	for _, f := range reflect.VisibleFields(of) {
		if key := f.Tag.Get("toml"); key != "" && key != "-" {
			text, hasDefault := f.Tag.Lookup("default")
			fields = append(fields, declared{key, f.Type, f.Index, text, hasDefault})
		}
	}
	return fields
}

// setDefault gives a field the value that it has when its key is absent. A default that can't be
// read is a mistake of the struct's author.
func (d decoder) setDefault(path string, f field) {
	_, readsText := f.value.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case !f.hasDefault && f.value.Kind() == reflect.Struct && !readsText:
		d.table(path, nil, f.value)
		return
	case !f.hasDefault:
		return
	}
	before := len(d.found.found)
	d.value(path, defaultOf(path, f.value.Type(), f.defaultText), f.value)
	if len(d.found.found) > before {
		panic("BUG: default of " + path + ": " + d.found.found[before].Error())
	}
}

// defaultOf returns a default as a plain value for a field of a type.
func defaultOf(path string, of reflect.Type, text string) (value any) {
	value = text
	var err error
	switch kind := of.Kind(); {
	case reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()), kind == reflect.String:
	case kind == reflect.Bool:
		value, err = strconv.ParseBool(text)
	case reflect.Int <= kind && kind <= reflect.Uint64:
		value, err = strconv.ParseInt(text, 10, 64)
	case kind == reflect.Float32, kind == reflect.Float64:
		value, err = strconv.ParseFloat(text, 64)
	case kind == reflect.Slice && of.Elem().Kind() == reflect.String:
		list := []any{}
		for text := range strings.SplitSeq(text, ",") {
			list = append(list, text)
		}
		value = list
	default:
		panic("BUG: " + path + ": no default is read into a " + of.String())
	}
	mustDefault(path, err)
	return value
}

func mustDefault(path string, err error) {
	if err != nil {
		panic("BUG: default of " + path + ": " + err.Error())
	}
}
