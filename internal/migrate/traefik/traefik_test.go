package traefik

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/migrate"
	"sluice/internal/migrate/migratetest"
)

func TestConfigurationsAreImported(t *testing.T) {
	files := append(migratetest.Files(t, ".yml"), migratetest.Files(t, ".toml")...)
	i := -1
	migratetest.Run(t, Read, files, func(text string) (lines []int) {
		i++
		documents, err := readFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents {
			if document.field("kind").is() {
				document = document.field("spec")
			}
			if !document.field("services").is() { // of the services of a compose file only labels and options count
				document.leaves(func(n *node) { lines = append(lines, n.Line) })
				continue
			}
			for number, line := range strings.Split(text, "\n") {
				if strings.Contains(line, "traefik.") || strings.Contains(line, "- --") {
					lines = append(lines, number+1)
				}
			}
		}
		return lines
	})
}

func TestARuleIsTheAlternativesOfItsConditions(t *testing.T) {
	for _, test := range []struct{ rule, want string }{
		{"Host(`a`)", "host=a"},
		{"Host(`a`, \"B\") && PathPrefix(`/x/`)", "hosts=[a b] path=/x"},
		{"Host(`a`) && (Path(`/x`) || Path(`/y`))", "host=a path_exact=/x; host=a path_exact=/y"},
		{"!(Path(`/x`) || Method(`get`))", "not path_exact=/x not method=[GET]"},
		{"!(Path(`/x`) && Method(`get`))", "not path_exact=/x; not method=[GET]"},
		{"HostRegexp(`{sub:[a-z]+}.example.com`)", "host=*.example.com"},
		{"HostRegexp(`^[a-z]+\\.example\\.com$`)", "host=*.example.com"},
		{"Headers(`Upgrade`, `websocket`)", "header=Upgrade:~(?i)websocket"},
		{"HeadersRegexp(`A`, `^b`) && Query(`c=d`)", "header=A:~^b query=c:d"},
		{"PathPrefix(`/{name:[a-z]+}/x`)", "path_regexp=^/(?:[a-z]+)/x"},
		{"Host(`a`", "error: an argument of Host that isn't in quotes"},
		{"Host(a)", "error: an argument of Host that isn't in quotes"},
		{"Host(`a`) Path(`/`)", `error: "Path(` + "`/`)" + `" is no rule`},
		{"HostSNI(`*`)", "error: HostSNI can't be a condition of a route"},
		{strings.Repeat("(", 60) + "Host(`a`)", "error: parentheses too deep"},
	} {
		parser := ruleParser{text: test.rule, note: func(string) {}}
		clauses, err := parser.parse()
		if got := describe(clauses, err); got != test.want {
			t.Errorf("%s: %s; want %s", test.rule, got, test.want)
		}
	}
}

// describe returns clauses as text.
func describe(clauses []migrate.Clause, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	keys := func(m migrate.Match) string {
		s := migrate.Section{}
		m.Write(&s, migrate.Place{})
		var all []string
		for _, k := range s.Keys {
			text := fmt.Sprint(k.Value)
			if table, isTable := k.Value.(migrate.Inline); isTable {
				text = fmt.Sprint(table[0].Name, ":", table[0].Value)
			}
			all = append(all, k.Name+"="+text)
		}
		return strings.Join(all, " ")
	}
	var all []string
	for _, c := range clauses {
		text := keys(c.Is)
		for _, not := range c.Not {
			text += " not " + keys(not)
		}
		all = append(all, strings.TrimSpace(text))
	}
	return strings.Join(all, "; ")
}

func TestWhatIsNoConfigurationIsToldWithItsFile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a.yml", "a: [\n", "a.yml: yaml: line 1:"},
		{"a.yml", "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n" +
			"d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n", "a.yml:1: more than 200000 values"},
		{"a.toml", strings.Repeat("a.", 60) + "a = 1\n", "a.toml:1: deeper than 50 levels"},
		{"a.toml", "a = " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\n", "a.toml:1: deeper than 50 levels"},
		{"a.toml", "\na = \n", "a.toml:2:"},
	} {
		file := filepath.Join(t.TempDir(), test.name)
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read([]string{file}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v; want %s", test.text, err, test.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{"compose.yml", "dynamic.yml", "meet.toml", "kubernetes.yml"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, strings.HasSuffix(file, ".toml"))
	}
	f.Fuzz(func(t *testing.T, text []byte, isTOML bool) {
		name := "a.yml"
		if isTOML {
			name = "a.toml"
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		draft, err := Read([]string{file})
		if err != nil {
			return
		}
		if err := draft.WriteTOML(io.Discard); err != nil {
			t.Errorf("%v", err)
		}
	})
}
