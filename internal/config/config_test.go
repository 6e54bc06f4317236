package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-multierror"

	"sluice"
	"sluice/internal/units"
	"sluice/proxy"
)

const least = `
[[listener]]
name = "public"
address = "127.0.0.1:8080"
[[route]]
pool = "echo"
[[pool]]
name = "echo"
backend = [{ address = "127.0.0.1:9000" }]
`

// mustParse returns the configuration of a text that has no problem.
func mustParse(t *testing.T, text string) *File {
	t.Helper()
	file, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatalf("Parse:\n%v", err)
	}
	return file
}

func TestEachMistakeIsToldWithItsLine(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.bad.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no testdata/*.bad.toml: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(path, ".bad.toml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(path)
			if err == nil {
				t.Fatalf("Load(%s) found no problem, want:\n%s", path, want)
			}
			got := strings.ReplaceAll(err.Error(), "testdata/", "") + "\n"
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems of %s (-want +got):\n%s", path, diff)
			}
		})
	}
}

func TestExampleLoads(t *testing.T) {
	if _, err := Load("../../config.example.toml"); err != nil {
		t.Errorf("config.example.toml:\n%v", err)
	}
}

func TestExampleShowsEveryKeyAndNoOther(t *testing.T) {
	existing := map[string]reflect.Kind{}
	addKeys(existing, "", reflect.TypeFor[File]())
	shown := map[string]reflect.Kind{}
	for path := range newPositions(uncommented(sluice.Example)).lines {
		// The keys in a map are the operator's.
		if path = headerOf(path); existing[outerKey(path)] != reflect.Map {
			shown[path] = existing[path]
		}
	}
	if diff := cmp.Diff(existing, shown); diff != "" {
		t.Errorf("keys of the configuration, and of config.example.toml (-exist +shown):\n%s", diff)
	}
}

// addKeys adds every key of a struct and of the structs within it, and what kind of value it has.
func addKeys(keys map[string]reflect.Kind, path string, of reflect.Type) {
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for field := range of.Fields() {
		if field.Anonymous {
			addKeys(keys, path, field.Type)
		} else if key := field.Tag.Get("toml"); key != "" {
			keys[joinKey(path, key)] = field.Type.Kind()
			addKeys(keys, joinKey(path, key), field.Type)
		}
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	// What the example writes is what a file gets that leaves the key out. The few keys without a
	// default have the same value in both texts.
	example, err := Load("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	bare := mustParse(t, least)
	var reporter pathReporter
	areSame := cmp.Comparer(func(a, b units.OptionalDuration) bool { return a == b })
	cmp.Equal(*bare, *example, cmp.Reporter(&reporter), cmpopts.EquateEmpty(), areSame, cmpopts.IgnoreFields(File{}, "Origin", "masked"))
	for _, path := range reporter.differences {
		t.Errorf("%s of config.example.toml isn't the default", path)
	}
}

// A pathReporter collects the key paths at which two configurations differ.
type pathReporter struct {
	path        cmp.Path
	differences []string
}

func (r *pathReporter) PushStep(step cmp.PathStep) { r.path = append(r.path, step) }
func (r *pathReporter) PopStep()                   { r.path = r.path[:len(r.path)-1] }
func (r *pathReporter) Report(result cmp.Result) {
	if result.Equal() {
		return
	}
	key := ""
	for i, step := range r.path {
		switch step := step.(type) {
		case cmp.StructField:
			if field, _ := r.path[i-1].Type().FieldByName(step.Name()); !field.Anonymous {
				key = joinKey(key, field.Tag.Get("toml"))
			}
		case cmp.SliceIndex:
			key = units.Indexed(key, step.Key())
		}
	}
	r.differences = append(r.differences, key)
}

// Faults B14.
func TestAbsentKeysTakeTheirDefaults(t *testing.T) {
	file := mustParse(t, least)
	if file.Gateway.Drain != units.Duration(30*time.Second) || file.Admin.Address != "127.0.0.1:9901" || file.Log.Access != (Access{AtEnd: true}) {
		t.Errorf("sections that the text doesn't have: %+v %+v %+v", file.Gateway, file.Admin, file.Log)
	}
	route := file.Route[0]
	if route.Path != "/" || route.PingInterval.Std() != 20*time.Second || route.MaxFrame != 256<<20 || route.MaxMessage != 256<<20 || route.CloseCodes.BackendLost != 1012 {
		t.Errorf("keys that the route doesn't have: %+v", route)
	}
}

func TestValuesThatLookLikeNoneSurvive(t *testing.T) {
	file := mustParse(t, `
admin.address = ""
[log]
access = false
[gateway]
drain = "0s"
[[listener]]
name = "public"
address = "127.0.0.1:8080"
[[route]]
pool = "echo"
ping_interval = "0s"
backend_ping_interval = ""
max_frame = 0
[[route]]
pool = "echo"
path = "/second"
backend_ping_interval = "0s"
backend_pong_timeout = ""
close_codes = { drained = 4000 }
[[pool]]
name = "echo"
backend = [{ address = "127.0.0.1:9000" }]
`)
	if d := file.Route[0].BackendPingInterval.Or(5); d != 5 {
		t.Errorf("backend_ping_interval = \"\" is %v", d)
	}
	if r := file.Route[1]; r.BackendPingInterval.Or(5) != 0 || r.BackendPongTimeout.Or(5) != 5 {
		t.Errorf("backend_ping_interval = \"0s\" is %v, backend_pong_timeout = \"\" is %v", r.BackendPingInterval, r.BackendPongTimeout)
	}
	if file.Admin.Address != "" || file.Log.Access != (Access{}) || file.Gateway.Drain != 0 {
		t.Errorf("written zero values: %+v %+v %+v", file.Admin, file.Log, file.Gateway)
	}
	if r := file.Route[0]; r.PingInterval != 0 || r.MaxFrame != 0 || r.MaxMessage != 256<<20 {
		t.Errorf("route[0] = %+v", r)
	}
	if r := file.Route[1]; r.PingInterval.Std() != 20*time.Second || r.CloseCodes.Drained != 4000 || r.CloseCodes.ClientLost != 1001 {
		t.Errorf("route[1] = %+v", r)
	}
}

func TestFileThatCannotBeReadIsToldByItsPath(t *testing.T) {
	_, err := Load("testdata/none.toml")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "testdata/none.toml") {
		t.Errorf("Load of no file: %v", err)
	}
}

func TestFormsOfTheSameKeyHaveTheirOwnLines(t *testing.T) {
	o := newPositions([]byte(`a.b = 1
[t]
x = [
  1,
  { y = 2,
    z.w = [3] },
]
[[s]]
[[s.u]]
v = 1
[[s]]
[[s.u]]
[[s.u]]
"q.r" = 1
`))
	want := map[string]int{
		"a": 1, "a.b": 1, "t": 2, "t.x": 3, "t.x[0]": 4, "t.x[1]": 5, "t.x[1].y": 5, "t.x[1].z": 6, "t.x[1].z.w": 6, "t.x[1].z.w[0]": 6,
		"s": 8, "s[0]": 8, "s[0].u": 9, "s[0].u[0]": 9, "s[0].u[0].v": 10, "s[1]": 11, "s[1].u": 12, "s[1].u[0]": 12, "s[1].u[1]": 13, `s[1].u[1]."q.r"`: 14,
	}
	if diff := cmp.Diff(want, o.lines); diff != "" {
		t.Errorf("lines of keys (-want +got):\n%s", diff)
	}
	if got := o.line("s[0].u[0].absent.inner[3]"); got != 9 {
		t.Errorf("line of an absent key = %d, want that of its table: 9", got)
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"pool", "pool", 0}, {"pol", "pool", 1}, {"poool", "pool", 1},
		{"pule", "pool", 3}, {"opol", "pool", 1}, {"ping_intreval", "ping_interval", 1},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// FuzzParse: whatever the text is, Parse returns, and an operator finds the line of each problem.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, "../../config.example.toml") {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// A file that the text names is no matter of this test.
		if strings.Contains(string(text), "token") || strings.Contains(string(text), "include") || strings.Contains(string(text), "${file") {
			t.Skip()
		}
		file, err := Parse("fuzz.toml", text)
		if err == nil {
			if file == nil || len(file.Listener) == 0 || len(file.Route) == 0 || len(file.Pool) == 0 {
				t.Fatalf("Parse(%q) = %+v without a problem", text, file)
			}
			return
		}
		var all *multierror.Error
		if !errors.As(err, &all) || file != nil {
			t.Fatalf("Parse(%q) = %v, %T; want nil and a *multierror.Error", text, file, err)
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, problem := range all.Errors {
			if p := problem.(Problem); p.Line < 1 || p.Line > lines || p.Text == "" || strings.Contains(p.Error(), "\n") {
				t.Errorf("Parse(%q) of %d lines: problem %q", text, lines, p)
			}
		}
	})
}

func TestAccessIsSaidInWordsOrAsATruthValue(t *testing.T) {
	for text, want := range map[string]Access{
		`true`: {AtEnd: true}, `"end"`: {AtEnd: true}, `false`: {}, `"start"`: {AtStart: true}, `"both"`: {AtStart: true, AtEnd: true},
	} {
		file := mustParse(t, "[log]\naccess = "+text+"\n"+least)
		if file.Log.Access != want {
			t.Errorf("access = %s is %+v, want %+v", text, file.Log.Access, want)
		}
		if lines := file.Log.Lines(); want.AtEnd && (lines.When == proxy.AtStart) || want.AtStart && (lines.When == proxy.AtEnd) {
			t.Errorf("access = %s writes lines as %+v", text, lines)
		}
	}
	for _, wrong := range []string{`access = "never"`, "access_sample = 0", "access_sample = 1.5", `mask_query = [""]`, `output = ""`,
		`output = "/no/such/directory/sluice.log"`, `output = "config_test.go/sluice.log"`} {
		if _, err := Parse("x", []byte("[log]\n"+wrong+"\n"+least)); err == nil {
			t.Errorf("%s is no problem", wrong)
		}
	}
}
