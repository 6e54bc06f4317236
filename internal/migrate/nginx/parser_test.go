package nginx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/migrate"
)

// written returns directives as lines, with a tab for each block around them and the line of the file before them.
func written(block []*directive, indent string) string {
	var s strings.Builder
	for _, d := range block {
		s.WriteString(indent + d.name)
		for _, arg := range d.args {
			s.WriteString(" [" + arg + "]")
		}
		s.WriteString(" " + d.place.String() + "\n" + written(d.block, indent+"\t"))
	}
	return s.String()
}

func TestWordsAreReadAsNginxReadsThem(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"words and blocks", "a b c;\nd{e f;}", "a [b] [c] x:1\nd x:2\n\te [f] x:2\n"},
		{"comments", "a # b;\n c; # d\n#e\nf;", "a [c] x:1\nf x:4\n"},
		{"a # within a word", "a b#c;", "a [b#c] x:1\n"},
		{"quotes", `a "b c" 'd;e' "f\"g" "";`, `a [b c] [d;e] [f"g] [] x:1` + "\n"},
		{"a quote within a word", `a b"c d";`, "a [b\"c] [d\"] x:1\n"},
		{"escapes", `a b\ c \"d \. \\ \t;`, "a [b\\ c] [\"d] [\\.] [\\] [\t] x:1\n"},
		{"lines within quotes", "a 'b\nc';\nd;", "a [b\nc] x:1\nd x:3\n"},
		{"variables", "a ${b}c $d{e;}", "a [${b}c] [$d] x:1\n\te x:1\n"},
		{"conditions", `if ($a = "b") { return 1; }`, "if [($a] [=] [b] [)] x:1\n\treturn [1] x:1\n"},
		{"regular expressions", `location ~ "^/a{2}$" { } location ~ \.b$ {}`, "location [~] [^/a{2}$] x:1\nlocation [~] [\\.b$] x:1\n"},
		{"Lua", "content_by_lua_block {\n local t = { '}', -- }\n }\n}\na;", "content_by_lua_block x:1\na x:5\n"},
		{"a mark of byte order", "\uFEFFa;", "a x:1\n"},
		{"nothing", "\n# a\n", ""},
	} {
		p := &parser{draft: &migrate.Draft{}}
		block, err := p.parseText("x", test.text, 0)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if diff := cmp.Diff(test.want, written(block, "")); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", test.name, test.text, diff)
		}
	}
}

func TestAFaultOfSyntaxIsToldWithItsLine(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"a;\nb {\nc;\n", "x:2: a block is not closed"},
		{"a;\n}", `x:2: unexpected '}'`},
		{"\na b", `x:2: a is not ended by ";"`},
		{"a {\n b }", `x:2: b is not ended by ";"`},
		{";", `x:1: unexpected ';'`},
		{"a 'b\n\n;", "x:1: a quote is not closed"},
		{`a "b"c;`, `x:1: unexpected 'c' after a quote`},
		{"\nset_by_lua_block { {\n}", "x:2: a block of Lua is not closed"},
		{strings.Repeat("a{", 60), "x:1: more than 50 blocks or includes in each other"},
	} {
		p := &parser{draft: &migrate.Draft{}}
		if _, err := p.parseText("x", test.text, 0); err == nil || err.Error() != test.want {
			t.Errorf("%.40q: %v, want %s", test.text, err, test.want)
		}
	}
}

func TestIncludesStandInTheirPlaceRelativeToTheMainFile(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nginx.conf", "a;\ninclude conf.d/*.conf none/*.conf;\ninclude absent.conf;\nz;\n")
	write("conf.d/2.conf", "two;")
	write("conf.d/1.conf", "include deep/one.conf;")
	write("conf.d/1.txt", "never;")
	write("deep/one.conf", "one;")
	t.Chdir(directory)
	draft := &migrate.Draft{}
	block, err := parse("nginx.conf", draft)
	if err != nil {
		t.Fatal(err)
	}
	want := "a nginx.conf:1\none deep/one.conf:1\ntwo conf.d/2.conf:1\nz nginx.conf:4\n"
	if diff := cmp.Diff(want, written(block, "")); diff != "" {
		t.Errorf("directives (-want +got):\n%s", diff)
	}
	if len(draft.Skipped) != 1 || draft.Skipped[0].From != (migrate.Place{File: "nginx.conf", Line: 3}) {
		t.Errorf("skipped: %v, want the include of line 3", draft.Skipped)
	}

	write("loop.conf", "include loop.conf;")
	if _, err := parse("loop.conf", draft); err == nil || !strings.Contains(err.Error(), "in each other") {
		t.Errorf("an include of itself: %v", err)
	}
	if _, err := parse("none.conf", draft); err == nil || !strings.Contains(err.Error(), "none.conf") {
		t.Errorf("a main file that doesn't exist: %v", err)
	}
}

// FuzzRead: whatever a configuration has, a draft of it or an error comes back, and the draft can be written.
func FuzzRead(f *testing.F) {
	mains, err := filepath.Glob("testdata/*/nginx.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, main := range mains {
		text, err := os.ReadFile(main)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			t.Skip()
		}
		r := newReader()
		block, err := (&parser{draft: r.draft}).parseText("x", text, 0)
		if err != nil {
			return
		}
		r.read(block)
		if err := r.draft.WriteTOML(&strings.Builder{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
