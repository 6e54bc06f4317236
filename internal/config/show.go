package config

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sluice/internal/admin"
	"sluice/internal/units"
)

// Show returns the configuration that a gateway runs: what it was started with and what a reload has applied since, with every key and its
// value, but for values that must not be shown. The keys that wait for a restart are those of start.
func Show(start, inUse *File) *admin.Configuration {
	shown := &admin.Configuration{Files: inUse.Origin.Paths(), Waiting: []admin.WaitingKey{}}
	if inUse.Origin.isText {
		shown.Files = shown.Files[1:]
	}
	for _, path := range shown.Files {
		shown.TOML = fmt.Appendf(shown.TOML, "# read from %s\n", units.QuoteTOML(path))
	}
	before, after, running := start.shown(), inUse.shown(), *inUse
	running.Include = nil // what they have is here
	running.masked = maps.Clone(inUse.masked)
	for _, key := range Compare(start, inUse).Waiting {
		waits := admin.WaitingKey{Key: key, Running: before.get(key), Configured: after.get(key)}
		shown.Waiting = append(shown.Waiting, waits)
		if waits.Configured != nil {
			shown.TOML = fmt.Appendf(shown.TOML, "# waits for a restart: %s = %s\n", key, tomlOf(waits.Configured))
		} else {
			shown.TOML = fmt.Appendf(shown.TOML, "# waits for a restart: %s is not set any more\n", key)
		}
		running.restore(key, start)
	}
	tree := running.shown()
	shown.Configuration, shown.TOML = tree, tree.appendTOML(shown.TOML, "")
	return shown
}

// restore gives a key of a section the value that it has in another configuration.
func (f *File) restore(key string, from *File) {
	section, name, _ := strings.Cut(key, ".")
	to, of := reflect.ValueOf(f).Elem(), reflect.ValueOf(from).Elem()
	for _, part := range []string{section, name} {
		i := slices.IndexFunc(declaredFields(to.Type()), func(d declared) bool { return d.key == part })
		index := declaredFields(to.Type())[i].index
		to, of = to.FieldByIndex(index), of.FieldByIndex(index)
	}
	to.Set(of)
	isOfKey := func(masked string, _ bool) bool { return isWithin(map[string]bool{key: true}, masked) }
	maps.DeleteFunc(f.masked, isOfKey)
	for masked := range from.masked {
		if isOfKey(masked, true) {
			f.masked[masked] = true
		}
	}
}

// shown returns every key with its value.
func (f *File) shown() tree {
	found := newProblems("")
	found.masked = f.masked
	return shower{found}.table("", reflect.ValueOf(f).Elem())
}

// A shower turns a configuration into trees.
type shower struct {
	found *problems // knows what must not be shown
}

// table returns a struct as a table, with its keys in the order of config.example.toml.
func (s shower) table(path string, of reflect.Value) (t tree) {
	for _, field := range orderedFields(path, of.Type()) {
		key := joinKey(path, field.key)
		value := of.FieldByIndex(field.index)
		if value.Kind() == reflect.Pointer || value.Kind() == reflect.Slice && example()[headerOf(key)].isOptional {
			if value.IsNil() {
				continue
			}
		}
		t = append(t, entry{field.key, s.value(key, value)})
	}
	return t
}

// value returns one value.
func (s shower) value(key string, of reflect.Value) any {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if text, isText := of.Interface().(encoding.TextMarshaler); isText {
		written, err := text.MarshalText()
		if err != nil {
			panic("BUG: " + key + ": " + err.Error())
		}
		return s.masked(key, string(written))
	}
	switch of.Kind() {
	case reflect.Struct:
		return s.table(key, of)
	case reflect.Slice:
		return s.slice(key, of)
	case reflect.Map:
		t := inline{}
		for _, name := range slices.Sorted(maps.Keys(of.Interface().(map[string]string))) {
			t = append(t, entry{name, s.value(joinKey(key, quoteKey(name)), of.MapIndex(reflect.ValueOf(name)))})
		}
		return t
	case reflect.String:
		return s.masked(key, of.String())
	case reflect.Bool:
		return s.masked(key, of.Bool())
	case reflect.Float32, reflect.Float64:
		return s.masked(key, of.Float())
	}
	switch {
	case of.CanInt():
		return s.masked(key, of.Int())
	case of.CanUint():
		return s.masked(key, of.Uint())
	default:
		panic("BUG: " + key + ": no value is shown of a " + of.Type().String())
	}
}

// slice returns an array. One of tables has headers if it is in no other array.
func (s shower) slice(key string, of reflect.Value) any {
	if of.Type().Elem().Kind() == reflect.Struct && !strings.Contains(key, "[") {
		tables := []tree{}
		for i := range of.Len() {
			tables = append(tables, s.table(units.Indexed(key, i), of.Index(i)))
		}
		return tables
	}
	list := []any{}
	for i := range of.Len() {
		element := s.value(units.Indexed(key, i), of.Index(i))
		if t, isTable := element.(tree); isTable {
			element = inline(t)
		}
		list = append(list, element)
	}
	return list
}

// masked returns a value, or what stands for one that must not be shown. That a secret is not set may be seen.
func (s shower) masked(key string, value any) any {
	if isWithin(s.found.masked, key) || isSecret(key) && value != "" {
		return mask
	}
	if text, isText := value.(string); isText {
		return withoutUsers(text)
	}
	return value
}

// orderedFields returns the fields of a section in the order of config.example.toml.
func orderedFields(path string, of reflect.Type) []declared {
	fields := declaredFields(of)
	line := func(f declared) int { return example()[headerOf(joinKey(path, f.key))].line }
	slices.SortStableFunc(fields, func(a, b declared) int { return cmp.Compare(line(a), line(b)) })
	return fields
}
