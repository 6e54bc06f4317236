package caddy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestConfigurationsAreImported(t *testing.T) {
	files := migratetest.Files(t, ".Caddyfile")
	i := -1
	migratetest.Run(t, Read, files, func(string) (lines []int) {
		i++
		sites, err := parse(files[i])
		if err != nil {
			t.Fatal(err)
		}
		var add func(block []*directive)
		add = func(block []*directive) {
			for _, d := range block {
				lines = append(lines, d.Line)
				add(d.block)
			}
		}
		for _, s := range sites {
			add(s.block)
		}
		return lines
	})
}

func TestTheWordsOfAText(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"a b # c\nd#e", "a|b|d#e"},
		{`"a \" \n b" ` + "`c \"`", `a " \n b|c "`},
		{"a \\\n b", "a|b"},
		{"respond <<END\n  x\n   y\n  END\nz", "respond|x\n y|z"},
		{`{$NAME} {$NAME:v}/x`, "${NAME}|${NAME:-v}/x"},
	} {
		words, err := lex("f", test.text)
		if err != nil {
			t.Errorf("lex(%q): %v", test.text, err)
			continue
		}
		var texts []string
		for _, w := range words {
			texts = append(texts, w.text)
		}
		if got := strings.Join(texts, "|"); got != test.want {
			t.Errorf("lex(%q) = %q; want %q", test.text, got, test.want)
		}
	}
}

func TestWhatIsNoCaddyfileIsToldWithFileAndLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	for _, test := range []struct{ text, want string }{
		{"a {\n", ":1: a { that isn't closed"},
		{"a {\n}\n}\n", ":3: a } too many"},
		{"a {\n}\nb\n", ":3: b has no block"},
		{"a {\n \"x\n", ":2: a quote that isn't closed"},
		{"a {\n import nothing\n}", ":2: neither a snippet nor a file: nothing"},
		{"(a) {\n import a\n import a\n}\nb {\n import a\n}\n", ":2: imports within imports, more than 20 deep"},
	} {
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := parse(file); err == nil || !strings.HasPrefix(err.Error(), file) || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("parse(%q): %v; want %s", test.text, err, test.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	migratetest.Fuzz(f, Read, "Caddyfile", "testdata/chat.Caddyfile", "testdata/home.Caddyfile", "testdata/paths.Caddyfile", "testdata/meet.Caddyfile")
}
