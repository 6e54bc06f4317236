package haproxy

import (
	"strings"
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestConfigurationsAreImported(t *testing.T) {
	t.Setenv("CONNECT_TIMEOUT", "5s")
	migratetest.Run(t, Read, migratetest.Files(t, ".cfg"), func(text string) (lines []int) {
		sections, err := parse("", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sections {
			for _, l := range s.lines {
				lines = append(lines, l.Line)
			}
		}
		return lines
	})
}

func TestTheWordsOfALine(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`  bind  *:80	# comment`, `bind|*:80`},
		{`a\ b 'c d' "e f" g"h"'i'`, `a b|c d|e f|ghi`},
		{`"a # b" \# 'c "' "d '"`, `a # b|#|c "|d '`},
		{`"\"x\"" 'a\b' ^/a\.b$`, `"x"|a\b|^/a\.b$`},
		{`"$NAME/x" "${NAME}" "${NAME-y}" '$NAME' $NAME`, `${NAME}/x|${NAME}|${NAME:-y}|$NAME|$NAME`},
		{`\x41\xg4 ""`, `A\xg4|`},
	} {
		words, err := split(test.text)
		if got := strings.Join(words, "|"); got != test.want || err != nil {
			t.Errorf("split(%s) = %q, %v; want %q", test.text, got, err, test.want)
		}
	}
}

func TestWhatIsNoConfigurationIsToldWithFileAndLine(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"\nbind :80\n", `f:2: "bind" stands in no section`},
		{"frontend a\n  bind \"x\n", "f:2: a quote \" that isn't closed"},
		{"frontend\n", "f:1: frontend has no name"},
		{"frontend a from b\n", `f:1: no defaults section "b" before this`},
		{"frontend a\n x \\\n", "f:2: a backslash at the end of the line"},
	} {
		if _, err := parse("f", []byte(test.text), nil); err == nil || err.Error() != test.want {
			t.Errorf("parse(%q): %v; want %s", test.text, err, test.want)
		}
	}
}

func TestNoPasswordIsListed(t *testing.T) {
	for _, text := range []string{"user a insecure-password hidden", "user a password hidden groups b", "stats auth a:hidden"} {
		words, err := split(text)
		if got := (&line{words: words}).text(); err != nil || strings.Contains(got, "hidden") {
			t.Errorf("%s is listed as %q, %v", text, got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	migratetest.Fuzz(f, Read, "haproxy.cfg", "testdata/chat.cfg", "testdata/home.cfg", "testdata/paths.cfg", "testdata/video.cfg")
}
