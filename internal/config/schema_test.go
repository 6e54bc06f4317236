package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"
	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice"
	"sluice/internal/units"
)

// compiledSchema returns the schema of a configuration, or of a definition in it.
func compiledSchema(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("sluice.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("sluice.schema.json" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate returns what is wrong with the text of a configuration by a schema.
func validate(schema *jsonschema.Schema, text []byte) error {
	var values map[string]any
	err := toml.Unmarshal(text, &values)
	if err != nil {
		return err
	}
	asJSON, err := json.Marshal(values)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

func TestTheSchemaHasEveryKeyOfTheExampleAndNoOther(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	addProperties(described, "", schema)
	for key := range example() {
		if _, isThere := described[key]; !isThere && example()[outerKey(key)].line == 0 {
			t.Errorf("the schema lacks %s", key)
		}
	}
	for key, text := range described {
		if _, isThere := example()[key]; !isThere {
			t.Errorf("config.example.toml lacks %s", key)
		}
		if text == "" {
			t.Errorf("%s has no description", key)
		}
	}
}

// addProperties adds the keys of a schema with their descriptions.
func addProperties(keys map[string]string, path string, schema map[string]any) {
	if items, isArray := schema["items"].(map[string]any); isArray {
		schema = items
	}
	properties, _ := schema["properties"].(map[string]any)
	for key, property := range properties {
		property := property.(map[string]any)
		text, _ := property["description"].(string)
		keys[joinKey(path, key)] = text
		addProperties(keys, joinKey(path, key), property)
	}
}

func TestTheExampleFitsTheSchema(t *testing.T) {
	schema := compiledSchema(t, "")
	for _, text := range [][]byte{sluice.Example, uncommented(sluice.Example)} {
		if err := validate(schema, text); err != nil {
			t.Error(err)
		}
	}
}

var tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```")

// Configurations of documents and of deploy/: what loads fits the schema.
func TestWhatLoadsFitsTheSchema(t *testing.T) {
	schema := compiledSchema(t, "")
	const root = "../.."
	count := 0
	check := func(name string, text []byte) {
		if _, err := Parse(name, text); err != nil {
			return
		}
		count++
		if err := validate(schema, text); err != nil {
			t.Errorf("%s:\n%s\n%v", name, text, err)
		}
	}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && name != root):
			return filepath.SkipDir
		}
		text := []byte(nil)
		if extension := filepath.Ext(name); !entry.IsDir() && (extension == ".toml" || extension == ".md") {
			if text, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		if filepath.Ext(name) == ".toml" {
			check(name, text)
		}
		for _, block := range tomlBlock.FindAllSubmatch(text, -1) {
			check(name, block[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count == 0 {
		t.Error("no configuration was found")
	}
}

func TestTheSchemaRefusesWhatTheDecoderRefuses(t *testing.T) {
	schema := compiledSchema(t, "")
	for _, test := range []struct {
		line string
		want bool
	}{
		{`gateway.workers = 1`, true},
		{`gateway.workers = "${WORKERS}"`, true},
		{`gateway.workers = "1"`, false},
		{`gateway.watch = "${WATCH:-true}"`, true},
		{`gateway.watch = "true"`, false},
		{`gateway.drain = "${SECONDS}s"`, true},
		{`gateway.drian = "1s"`, false},
		{`log.access = false`, true},
		{`log.access = "never"`, false},
		{`include = "a.toml"`, false},
		{`pool = [{ backend = [{ weigth = 1 }] }]`, false},
		{`route = [{ request_header = { X-Any = "text" } }]`, true},
		{`route = [{ request_header = { X-Any = 3 } }]`, false},
	} {
		if err := validate(schema, []byte(test.line)); (err == nil) != test.want {
			t.Errorf("%s: %v", test.line, err)
		}
	}
}

// The values that the example lists are all that the sections take.
func TestTheListedValuesAreThoseThatAreTaken(t *testing.T) {
	count := 0
	for key, of := range example() {
		values := valuesOf(of.text)
		if len(values) == 0 {
			continue
		}
		count++
		for _, value := range append([]any{"no such value", ""}, values...) {
			_, err := Parse("test.toml", withKey(key, fmt.Sprintf("%q", value)))
			_, errArray := Parse("test.toml", withKey(key, fmt.Sprintf("[%q]", value)))
			isTaken := !hasProblem(err, key) || !hasProblem(errArray, key)
			if want := slices.Contains(values, value); isTaken != want {
				t.Errorf("%s = %q is taken: %v, want %v: %v", key, value, isTaken, want, err)
			}
		}
	}
	if count < 12 {
		t.Errorf("the values of %d keys are listed, want 12 at least", count)
	}
}

// withKey returns the least configuration with one more key, in the section that it is of.
func withKey(key, value string) []byte {
	section, rest, isSection := strings.Cut(key, ".")
	if header := "[[" + section + "]]\n"; isSection && strings.Contains(least, header) {
		return []byte(strings.Replace(least, header, header+rest+" = "+value+"\n", 1))
	}
	return []byte(key + " = " + value + "\n" + least)
}

// hasProblem reports whether there is a problem of a key, which has no indexes.
func hasProblem(err error, key string) bool {
	for _, err := range multierror.Append(nil, err).Errors {
		if headerOf(err.(Problem).Key) == key {
			return true
		}
	}
	return false
}

func TestThePatternsOfTheSchemaAreWhatIsRead(t *testing.T) {
	durations, sizes := compiledSchema(t, "#/$defs/duration"), compiledSchema(t, "#/$defs/size")
	for _, text := range []string{"", "0", "5", "5s", "1.5h", ".5s", "1.s", "1m30s", "+5s", "5 s", "1d", "3us", "3µs", "-", "fast", "5sx",
		"64KiB", "16 MiB", "1kB", "1KB", "5B", "5 B", "1.5MiB", "5Mb", "5kiB", "5  KiB", "x", "1TiB", "1GB"} {
		for _, test := range []struct {
			schema *jsonschema.Schema
			read   func([]byte) error
		}{{durations, new(units.Duration).UnmarshalText}, {sizes, new(units.Bytes).UnmarshalText}} {
			read, valid := test.read([]byte(text)), test.schema.Validate(text)
			if (read == nil) != (valid == nil) {
				t.Errorf("%q: read %v, by the schema %v", text, read, valid)
			}
		}
	}
}
