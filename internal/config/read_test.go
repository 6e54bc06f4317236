package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice"
)

// writeFiles writes files into a new directory: name → text. It returns the directory.
func writeFiles(t *testing.T, texts map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// loadFiles loads sluice.toml of such files. In the error, names are relative to the directory.
func loadFiles(t *testing.T, texts map[string]string) (*File, string) {
	t.Helper()
	directory := writeFiles(t, texts)
	file, err := Load(filepath.Join(directory, "sluice.toml"))
	if err != nil {
		return nil, strings.ReplaceAll(err.Error(), directory+string(filepath.Separator), "")
	}
	return file, ""
}

const listenerText = "[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:8080\"\n"

func poolText(name string) string {
	return fmt.Sprintf("[[pool]]\nname = %q\nbackend = [{ address = \"127.0.0.1:9000\" }]\n[[route]]\npath = \"/%[1]s\"\npool = %[1]q\n", name)
}

func TestIncludedFilesStandBeforeTheFileThatIncludesThem(t *testing.T) {
	file, problems := loadFiles(t, map[string]string{
		"sluice.toml":       "include = [\"sites/*.toml\", \"late.toml\"]\n[log]\nlevel = \"warn\"\n" + listenerText + poolText("own"),
		"sites/b.toml":      "include = [\"more/*.toml\"]\n" + poolText("b"),
		"sites/a.toml":      poolText("a") + "[log]\nformat = \"console\"\n[route.close_codes]\ndrained = 4000\n",
		"sites/more/c.toml": poolText("c"),
		"sites/other.txt":   "no TOML",
		"late.toml":         "",
	})
	if problems != "" {
		t.Fatal(problems)
	}
	var order []string
	for _, pool := range file.Pool {
		order = append(order, pool.Name)
	}
	if want := []string{"a", "c", "b", "own"}; !slices.Equal(order, want) {
		t.Errorf("pools in the order %q, want %q", order, want)
	}
	if file.Log.Level != "warn" || file.Log.Format != "console" || file.Route[0].CloseCodes.Drained != 4000 {
		t.Errorf("a table of two files: %+v; route[0] %+v", file.Log, file.Route[0].CloseCodes)
	}
	var names []string
	for _, path := range file.Origin.Files {
		names = append(names, filepath.Base(path))
	}
	if want := []string{"sluice.toml", "a.toml", "b.toml", "c.toml", "late.toml"}; !slices.Equal(names, want) {
		t.Errorf("read %q, want %q", names, want)
	}
}

func TestAGlobMayMatchNoFile(t *testing.T) {
	if _, problems := loadFiles(t, map[string]string{"sluice.toml": "include = [\"conf.d/*.toml\"]\n" + least}); problems != "" {
		t.Error(problems)
	}
}

// As the globs of a shell.
func TestGlobsMatchNoNamesThatBeginWithADot(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the creation of symbolic links needs a privilege")
	}
	directory := writeFiles(t, map[string]string{
		"sluice.toml":           "include = [\"conf.d/*\", \"volume/*/*.toml\", \"hidden/.*.toml\"]\n" + least,
		"conf.d/a.toml":         poolText("a"),
		"conf.d/.a.toml.swp":    "no TOML",
		"volume/..1/b.toml":     poolText("b"),
		"volume/link/.ignored":  "",
		"hidden/.c.toml":        poolText("c"),
		"hidden/not.hidden.txt": "no TOML",
	})
	for name, destination := range map[string]string{"conf.d/.#a.toml": "nobody@host.1", "volume/..data": "..1", "volume/link/b.toml": "../..data/b.toml"} {
		if err := os.Symlink(destination, filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	file, err := Load(filepath.Join(directory, "sluice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Pool) != 4 || file.Pool[1].Name != "b" || file.Pool[2].Name != "c" {
		t.Errorf("pools %+v", file.Pool)
	}
	if now, err := file.Origin.Read(); err != nil || !cmp.Equal(now, file.Origin.Contents()) {
		t.Errorf("a change that was not made, or %v", err)
	}
}

func TestAByteOrderMarkIsNoPartOfAFile(t *testing.T) {
	file, problems := loadFiles(t, map[string]string{"sluice.toml": "\ufeffinclude = [\"a.toml\"]\r\n" + least, "a.toml": "\ufefflog.level = \"warn\"\r\n"})
	if problems != "" || file.Log.Level != "warn" {
		t.Errorf("%+v, %s", file, problems)
	}
}

func TestProblemsNameTheFileThatTheyAreIn(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a key of an included file", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least, "a.toml": poolText("a") + "nothing = 1\n"},
			`a.toml:7: route[0].nothing: unknown key (want one of *`},
		{"the element's number is that of the whole", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least + "retries = -1\n", "a.toml": poolText("a")},
			`sluice.toml:11: pool[1].retries: *`},
		{"faults of syntax in two files", map[string]string{"sluice.toml": "include = [\"a.toml\", \"b.toml\"]\n" + least,
			"a.toml": poolText("a") + "ping_interval = 5s\n", "b.toml": "[[pool\n"},
			"a.toml:7: route[0].ping_interval: syntax: *\nb.toml:1: syntax: *"},
		{"one that breaks a file beside one of a value", map[string]string{"sluice.toml": "include = [\"a.toml\", \"b.toml\"]\n" + least,
			"a.toml": "[[pool\n", "b.toml": "[log]\nformat = 3\n"},
			"a.toml:1: syntax: *\nb.toml:2: log.format: wrong type, got 3 *"},
		{"a file that is missing", map[string]string{"sluice.toml": least, "conf.toml": "", "x": ""}, ""},
		{"a name that no file has", map[string]string{"sluice.toml": "\ninclude = [\n  \"none.toml\",\n]\n" + least},
			`sluice.toml:3: include[0]: stat none.toml: no such file or directory, got "none.toml" (want a file *`},
		{"itself", map[string]string{"sluice.toml": "include = [\"*.toml\"]\n" + least},
			`sluice.toml:1: include[0]: the configuration includes itself: sluice.toml, got "\*.toml" (want other files)`},
		{"a circle", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least, "a.toml": "include = [\"b.toml\"]\n", "b.toml": "# b\ninclude = [\"a.toml\"]\n"},
			`b.toml:2: include[0]: a.toml is included at sluice.toml:1, got "a.toml" (want each file once)`},
		{"a key in two files", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n[log]\nlevel = \"warn\"\n" + least, "a.toml": "\n[log]\nlevel = \"info\"\n"},
			`sluice.toml:3: log.level: set a second time, after a.toml:3 (want each key in one file)`},
		{"an array and a table", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least, "a.toml": "[route]\npool = \"echo\"\n"},
			"a.toml:1: route: a table without its [[route]] (want [[route]] above it, in the same file)"},
		{"a name that a section of another file has", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least, "a.toml": "\n" + poolText("echo")},
			`sluice.toml:9: pool[1].name: taken by pool[0] (a.toml:2), got "echo" (want a name of its own)`},
		{"a table of an element in another file", map[string]string{"sluice.toml": "include = [\"a.toml\", \"b.toml\"]\n" + least, "a.toml": poolText("a"), "b.toml": "\n[pool.tls]\nca = \"x\"\n"},
			"b.toml:2: pool: a table without its [[pool]] (want [[pool]] above it, in the same file)"},
		{"another type", map[string]string{"sluice.toml": "include = \"a.toml\"\n" + least},
			`sluice.toml:1: include: wrong type, got "a.toml" (want an array of files and globs*`},
		{"another type in an included file", map[string]string{"sluice.toml": "include = [\"a.toml\"]\n" + least, "a.toml": "include = [3, \"\"]\n"},
			"a.toml:1: include[0]: wrong type, got 3 *\na.toml:1: include[1]: empty, got \"\" *"},
		{"a bad glob", map[string]string{"sluice.toml": "include = [\"[\"]\n" + least}, `sluice.toml:1: include[0]: not a glob, got "\[" *`},
		{"a glob of more than a directory", map[string]string{"sluice.toml": "include = [\"conf.d/**/*.toml\"]\n" + least}, `sluice.toml:1: include[0]: "\*\*" is not supported, got *`},
		{"a name with a line feed", map[string]string{"sluice.toml": "include = [\"a\\n\\u001b.toml\"]\n" + least}, `sluice.toml:1: include[0]: stat a\u000a\u001b.toml: no such file *`},
		{"keys that are nested too deep", map[string]string{"sluice.toml": "include = [\"a.toml\", \"b.toml\", \"c.toml\"]\n" + least,
			"a.toml": "\n" + strings.Repeat("a.", 100000) + "a = 1\n", "b.toml": "a = " + strings.Repeat("{ a = [", 4000), "c.toml": "a = " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)},
			"a.toml:2: keys are nested more than 32 levels deep\nb.toml:1: a: syntax: *\nc.toml:1: keys are nested *"},
		{"each file of a glob that can't be read", map[string]string{"sluice.toml": "include = [\"conf.d/*\"]\n" + least, "conf.d/a/x": "", "conf.d/b/x": ""},
			"sluice.toml:1: include[0]: read conf.d/a: not a regular file, got *\nsluice.toml:1: include[0]: read conf.d/b: not a regular file, got *"},
		{"a directory", map[string]string{"sluice.toml": "include = [\"conf.d\"]\n" + least, "conf.d/a": ""},
			`sluice.toml:1: include[0]: read conf.d: not a regular file, got "conf.d" *`},
	} {
		_, got := loadFiles(t, test.files)
		if !matchLines(test.want, got) {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// matchLines matches each line against that of a pattern.
func matchLines(pattern, text string) bool {
	patterns, lines := strings.Split(pattern, "\n"), strings.Split(text, "\n")
	return slices.EqualFunc(patterns, lines, func(pattern, line string) bool {
		start, _, isOpen := strings.Cut(strings.ReplaceAll(pattern, `\*`, "\x00"), "*")
		start = strings.ReplaceAll(strings.ReplaceAll(start, "\x00", "*"), `\[`, "[")
		return line == start || isOpen && strings.HasPrefix(line, start)
	})
}

func TestAConfigurationHasABoundedNumberOfFiles(t *testing.T) {
	texts := map[string]string{"sluice.toml": "include = [\"*.inc\"]\n" + least}
	for i := range mostFiles + 2 {
		texts[fmt.Sprintf("%04d.inc", i)] = ""
	}
	if _, got := loadFiles(t, texts); !matchLines(`sluice.toml:1: include[0]: too many files, got "\*.inc" (want at most 1000)`, got) {
		t.Errorf("%.200s", got)
	}
}

func TestStringsAreReplaced(t *testing.T) {
	t.Setenv("SLUICE_TEST_NAME", "echo")
	t.Setenv("SLUICE_TEST_EMPTY", "")
	t.Setenv("SLUICE_TEST_NUMBER", "12")
	t.Setenv("SLUICE_TEST_TRUTH", "true")
	t.Setenv("SLUICE_TEST_SHARE", "0.5")
	t.Setenv("SLUICE_TEST_REFERENCE", "${SLUICE_TEST_NAME}")
	path := filepath.Join(writeFiles(t, map[string]string{"value": "from a file\r\n", "part.toml": "gateway.drain = \"${SLUICE_TEST_NUMBER}s\"\n"}), "value")
	file := mustParse(t, fmt.Sprintf("include = [\"%s/${NONE:-part}.toml\"]\n", filepath.Dir(path))+`
gateway.max_sessions = "${SLUICE_TEST_NUMBER}"
gateway.watch = "${SLUICE_TEST_TRUTH}"
gateway.drain_delay = "${SLUICE_TEST_NUMBER}s"
log.access_sample = "${SLUICE_TEST_SHARE}"
log.access = "${SLUICE_TEST_TRUTH}"
log.mask_query = ["${SLUICE_TEST_REFERENCE}"]
[[listener]]
name = "public"
address = "127.0.0.1:${SLUICE_TEST_PORT:-8080}"
[[route]]
pool = "${SLUICE_TEST_NAME}"
path = "/$${x}/$x/$$/${SLUICE_TEST_EMPTY:-default}${SLUICE_TEST_EMPTY}"
[route.request_header]
X-File = "${file:`+path+`}"
[[pool]]
name = "echo"
backend = [{ address = "127.0.0.1:9000", weight = "${SLUICE_TEST_NUMBER}" }]
retry_statuses = ["${NONE:-502}"]
`)
	route := &file.Route[0]
	for _, test := range []struct{ key, got, want string }{
		{"gateway", fmt.Sprint(file.Gateway.MaxSessions, file.Gateway.Watch, file.Gateway.DrainDelay, file.Gateway.Drain), "12 true 12s 12s"},
		{"log", fmt.Sprint(file.Log.AccessSample, file.Log.Access), "0.5 {false true}"},
		{"address", file.Listener[0].Address, "127.0.0.1:8080"},
		{"pool", route.Pool, "echo"},
		{"path", route.Path, "/${x}/$x/$$/default"},
		{"X-File", route.RequestHeader["X-File"], "from a file"},
		{"mask_query", fmt.Sprint(file.Log.MaskQuery), "[${SLUICE_TEST_NAME}]"},
		{"weight", fmt.Sprint(file.Pool[0].Backend[0].Weight), "12"},
		{"retry_statuses", fmt.Sprint(file.Pool[0].RetryStatuses), "[502]"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %q, want %q", test.key, test.got, test.want)
		}
	}
}

func TestSubstitutionsThatFailAreProblems(t *testing.T) {
	t.Setenv("SLUICE_TEST_WORD", "a-long-word")
	t.Setenv("SLUICE_TEST_BYTES", "\xff")
	directory := writeFiles(t, map[string]string{"bytes": "\xff", "large": strings.Repeat("x", mostValueBytes+1)})
	for _, test := range []struct{ line, want string }{
		{`gateway.driver = "${SLUICE_TEST_NONE}"`, "gateway.driver: the environment has no variable SLUICE_TEST_NONE (want it set, or a default: ${SLUICE_TEST_NONE:-default})"},
		{`gateway.driver = "${"`, "gateway.driver: \"${\" without \"}\" (want \"$${\" for a \"${\" that is meant as it stands)"},
		{`gateway.driver = "${a b}"`, "gateway.driver: not the name of a variable (want ${NAME}, ${NAME:-default} or ${file:/path}; \"$${\" for a \"${\" that is meant as it stands)"},
		{`gateway.driver = "${NONE:-${SLUICE_TEST_WORD}}"`, `gateway.driver: "${" in a default (want a default without references)`},
		{`gateway.driver = "${SLUICE_TEST_BYTES}"`, "gateway.driver: the variable SLUICE_TEST_BYTES is not UTF-8 (want text)"},
		{`gateway.driver = "${file:` + directory + `/none}"`, "gateway.driver: stat " + directory + "/none: no such file or directory (want a file with text of at most 64KiB)"},
		{`gateway.driver = "${file:` + directory + `}"`, "gateway.driver: read " + directory + ": not a regular file (want a file with text of at most 64KiB)"},
		{`gateway.driver = "${file:` + directory + `/large}"`, "gateway.driver: " + directory + "/large: over 65536 bytes (want a file with text of at most 64KiB)"},
		{`gateway.driver = "${file:` + directory + `/bytes}"`, "gateway.driver: the file " + directory + "/bytes is not UTF-8 (want a file with text of at most 64KiB)"},
		{`gateway.driver = "${SLUICE_TEST_WORD}"`, "gateway.driver: unknown, got *** (want auto, loop or goroutine)"},
		{`gateway.workers = "${SLUICE_TEST_WORD}"`, "gateway.workers: wrong type, got *** (want a whole number)"},
		{`gateway.workers = "1${NONE:-2}"`, "gateway.workers: wrong type, got *** (want a whole number)"},
		{`gateway.watch = "${NONE:-1}"`, "gateway.watch: wrong type, got *** (want true or false)"},
		{`gateway.drain = "${SLUICE_TEST_WORD}"`, "gateway.drain: can't be read, got *** (want a duration such as \"5s\" or \"1m30s\")"},
		{`gateway = "${SLUICE_TEST_WORD}"`, "gateway: wrong type, got *** (want a table, as [gateway])"},
		{`log.mask_query = "${SLUICE_TEST_WORD}"`, "log.mask_query: wrong type, got *** (want an array, in [ ])"},
	} {
		_, err := Parse("test.toml", []byte(test.line+least))
		if got := fmt.Sprint(err); got != "test.toml:1: "+test.want {
			t.Errorf("%s:\n%s\nwant\ntest.toml:1: %s", test.line, got, test.want)
		}
	}
}

func TestSubstitutionsTogetherHaveABound(t *testing.T) {
	path := filepath.Join(writeFiles(t, map[string]string{"value": strings.Repeat("x", mostValueBytes)}), "value")
	_, err := Parse("test.toml", []byte("log.mask_query = ["+strings.Repeat("\"${file:"+path+"}\",\n", mostValues/mostValueBytes+1)+"]\n"+least))
	want := fmt.Sprintf("test.toml:%d: log.mask_query[%[2]d]: all substitutions together are too long (want at most 16MiB)", mostValues/mostValueBytes+1, mostValues/mostValueBytes)
	if got := fmt.Sprint(err); got != want {
		t.Errorf("%.300s\nwant %s", got, want)
	}
}

// TestNoOutputHasASecret: what a problem or a warning is about may stand in its own text, and in that of another key.
func TestNoOutputHasASecret(t *testing.T) {
	const secret = `s3cret"{value}`
	t.Setenv("SLUICE_TEST_SECRET", secret)
	path := filepath.Join(writeFiles(t, map[string]string{"value": secret + "\n"}), "value")
	var keys []string
	for key := range newPositions(uncommented(sluice.Example)).lines {
		keys = append(keys, headerOf(key))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, value := range []string{`"${SLUICE_TEST_SECRET}"`, `"${file:` + path + `}"`, `"${NONE:-s3cret}\"{value"`, `"prefix://${SLUICE_TEST_SECRET}:99999/{"`} {
		for _, key := range keys {
			text := string(withKey(key, value))
			for _, text := range []string{text, strings.ReplaceAll(text, "= "+value, "= ["+value+"]"), strings.ReplaceAll(text, "= "+value, "= { X-Name = "+value+" }")} {
				file, err := Parse("test.toml", []byte(text))
				output := fmt.Sprint(err)
				if err == nil {
					for _, w := range file.Warnings {
						output += w.Warning()
					}
				}
				if strings.Contains(output, "s3cret") || strings.Contains(output, "{value") {
					t.Errorf("%s: %s", key, output)
				}
			}
		}
	}
}

func TestAnOriginTellsWhetherAnotherConfigurationWouldBeRead(t *testing.T) {
	directory := writeFiles(t, map[string]string{"sluice.toml": "include = [\"conf.d/*.toml\", \"one.toml\"]\n" + least, "conf.d/a.toml": "", "one.toml": "# one\n"})
	path := filepath.Join(directory, "sluice.toml")
	value := filepath.Join(directory, "value")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("value", "info\n")
	write("one.toml", "log.level = \"${file:"+value+"}\"\n")
	for _, change := range []struct {
		name string
		make func()
	}{
		{"a file of a glob", func() { write("conf.d/a.toml", "# a\n") }},
		{"a new file of a glob", func() { write("conf.d/b.toml", "") }},
		{"a file less", func() { _ = os.Remove(filepath.Join(directory, "conf.d/b.toml")) }},
		{"a file that has a name", func() { write("one.toml", "# other\nlog.level = \"${file:"+value+"}\"\n") }},
		{"a value", func() { write("value", "warn\n") }},
		{"one that is missing", func() { _ = os.Remove(value) }},
		{"one that comes back", func() { write("value", "error\n") }},
		{"a broken one", func() { write("conf.d/a.toml", "[[") }},
		{"a mended one", func() { write("conf.d/a.toml", "") }},
	} {
		_, origin, _ := Read(path)
		if now, err := origin.Read(); err != nil || !cmp.Equal(now, origin.Contents()) {
			t.Errorf("before %s: %v, or a change that wasn't made", change.name, err)
		}
		change.make()
		if now, err := origin.Read(); err != nil || cmp.Equal(now, origin.Contents()) {
			t.Errorf("%s: %v, or no change", change.name, err)
		}
	}
	_, origin, _ := Read(path)
	write("sluice.toml", "")
	if _, err := origin.Read(); err == nil {
		t.Error("an empty configuration is read")
	}
}

func TestANamedGroupOfARouteIsWrittenWithTwoDollarSigns(t *testing.T) {
	const text = listenerText + "[[route]]\npath_regexp = \"^/(?P<room>[a-z]+)$\"\nredirect = \"/rooms/%s/$1\"\n"
	file, problems := loadFiles(t, map[string]string{"sluice.toml": fmt.Sprintf(text, "$${room}")})
	if problems != "" || file.Route[0].Redirect != "/rooms/${room}/$1" {
		t.Errorf("%+v, %s", file, problems)
	}
	if _, problems = loadFiles(t, map[string]string{"sluice.toml": fmt.Sprintf(text, "$${hall}")}); !strings.Contains(problems, "redirect: no such group in path_regexp") {
		t.Errorf("problems %q; want one of the group", problems)
	}
}
