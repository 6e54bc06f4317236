package config

import (
	"bytes"
	"encoding/json"
	"reflect"

	"sluice/internal/units"
)

// Schema returns the JSON schema (draft 2020-12) of a configuration, as text with a line feed at its end. Its keys, types and defaults are
// those of the structs into which a configuration is read, its descriptions the comments of config.example.toml.
func Schema() []byte {
	schema := tree{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "Configuration of Sluice"}}
	schema = append(schema, schemaOf("", reflect.TypeFor[File]())...)
	schema = append(schema, entry{"$defs", definitions})
	text, err := json.Marshal(schema)
	var indented bytes.Buffer
	if err == nil {
		err = json.Indent(&indented, text, "", "  ")
	}
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(indented.Bytes(), '\n')
}

// definitions are the types of values that are more than a type of JSON: a substitution may stand for all of them.
var definitions = tree{
	{"substitution", tree{{"type", "string"}, {"pattern", `^\$\{[^}]*\}$`}}},
	{"integer", anyOf(tree{{"type", "integer"}})},
	{"natural", anyOf(tree{{"type", "integer"}, {"minimum", 0}})},
	{"number", anyOf(tree{{"type", "number"}})},
	{"boolean", anyOf(tree{{"type", "boolean"}})},
	{"duration", anyOf(tree{{"type", "string"}, {"pattern", durationPattern}}, tree{{"const", 0}})},
	{"optional_duration", anyOf(tree{{"type", "string"}, {"pattern", `^$|` + durationPattern}}, tree{{"const", 0}})},
	{"size", anyOf(tree{{"type", "string"}, {"pattern", sizePattern}}, tree{{"type", "integer"}, {"minimum", 0}})},
	{"access", anyOf(tree{{"enum", []any{"end", "start", "both", "true", "false", true, false}}})},
}

// The texts that units.Duration and units.Bytes read, and those that have a substitution.
const (
	durationPattern = `^\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$|\$\{`
	sizePattern     = `^[0-9]+( ?([KMGT]iB|[kKMGT]?B))?$|\$\{`
)

// anyOf returns a schema of values that fit one of several, or are a substitution.
func anyOf(schemas ...tree) tree {
	list := []any{}
	for _, schema := range schemas {
		list = append(list, schema)
	}
	return tree{{"anyOf", append(list, reference("substitution"))}}
}

func reference(definition string) tree { return tree{{"$ref", "#/$defs/" + definition}} }

// schemaOf returns the schema of the values that a type is read from.
func schemaOf(path string, of reflect.Type) tree {
	switch reflect.New(of).Interface().(type) {
	case *units.Duration:
		return reference("duration")
	case *units.OptionalDuration:
		return reference("optional_duration")
	case *units.Bytes:
		return reference("size")
	case *Access:
		return reference("access")
	}
	switch kind := of.Kind(); kind {
	case reflect.Pointer:
		return schemaOf(path, of.Elem())
	case reflect.Struct:
		properties := tree{}
		for _, field := range orderedFields(path, of) {
			properties = append(properties, entry{field.key, field.schema(joinKey(path, field.key))})
		}
		return tree{{"type", "object"}, {"additionalProperties", false}, {"properties", properties}}
	case reflect.Slice:
		return tree{{"type", "array"}, {"items", schemaOf(path, of.Elem())}}
	case reflect.Map:
		return tree{{"type", "object"}, {"additionalProperties", schemaOf(path, of.Elem())}}
	case reflect.String:
		return tree{{"type", "string"}}
	case reflect.Bool:
		return reference("boolean")
	case reflect.Float32, reflect.Float64:
		return reference("number")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return reference("integer")
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return reference("natural")
	default:
		panic("BUG: " + path + ": no schema for a " + of.String())
	}
}

// withValues narrows the schema of a string, or of an array of strings, to values.
func withValues(schema tree, values []any) tree {
	items, isArray := schema.get("items").(tree)
	switch {
	case len(values) == 0:
		return schema
	case isArray:
		return tree{{"type", "array"}, {"items", withValues(items, values)}}
	default:
		return append(schema, entry{"anyOf", []any{tree{{"enum", values}}, tree{{"pattern", `\$\{`}}}})
	}
}

// schema returns the schema of a key.
func (f declared) schema(path string) tree {
	var schema tree
	if text := example()[path].text; text != "" {
		schema = append(schema, entry{"description", text})
	}
	if f.hasDefault {
		schema = append(schema, entry{"default", defaultOf(path, f.of, f.defaultText)})
	}
	return append(schema, withValues(schemaOf(path, f.of), valuesOf(example()[path].text))...)
}
