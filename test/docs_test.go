//go:build unix

package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	// installed are the files that a configuration of the documents names by where they would be.
	installed = regexp.MustCompile(`"/etc/sluice/([a-z.]+)"`)
)

// Every whole configuration that the documents show is one.
func TestTheConfigurationsOfTheDocumentsAreRight(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for _, path := range append(documents, "../README.md") {
		name := strings.TrimPrefix(path, "../")
		for _, block := range tomlBlock.FindAllStringSubmatch(readDoc(t, name), -1) {
			if !strings.Contains(block[1], "[[listener]]") || !strings.Contains(block[1], "[[pool]]") {
				continue // a part of one
			}
			shown[name]++
			if code, _, stderr := invoke(t, "check", "-config", installFor(t, block[1])); code != 0 {
				t.Errorf("%s: sluice check: %s\n%s", name, stderr, block[1])
			}
		}
	}
	if shown["docs/moving.md"] != 1 || shown["README.md"] != 1 {
		t.Errorf("configurations by document: %v, want 1 in docs/moving.md and 1 in README.md", shown)
	}
}

// installFor writes a configuration with the files that it names, and returns its path.
func installFor(t *testing.T, config string) string {
	t.Helper()
	directory := t.TempDir()
	for _, match := range installed.FindAllStringSubmatch(config, -1) {
		name := match[1]
		text := strings.Repeat("secret", 4)
		if base, isPair := strings.CutSuffix(name, ".pem"); isPair {
			p := newAuthority(t, t.TempDir(), base)
			var parts []string
			for _, file := range []string{p.cert, p.key} {
				part, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, string(part))
			}
			text = strings.Join(parts, "")
		}
		path := filepath.Join(directory, name)
		if _, err := os.Stat(path); err == nil {
			continue // named twice
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(directory, "sluice.toml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(config, "/etc/sluice", directory)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Keys that the tables of docs/moving.md name are in the manual.
func TestWhatIsMovedToExists(t *testing.T) {
	t.Parallel()
	manual := readDoc(t, "config.example.toml")
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| ([^|]+) \|.*\|$`).FindAllStringSubmatch(readDoc(t, "docs/moving.md"), -1)
	if len(rows) < 60 {
		t.Fatalf("%d rows", len(rows))
	}
	key := regexp.MustCompile("`(?:\\[+[a-z._]+\\]+ ?)?([a-z_]*)( = [^`]*)?`")
	commands := []string{"sluice", "metrics"}
	for _, row := range rows {
		for _, match := range key.FindAllStringSubmatch(row[1], -1) {
			if name := match[1]; name != "" && !slices.Contains(commands, name) && !regexp.MustCompile(`(?m)(^|[{ ])`+name+` = `).MatchString(manual) {
				t.Errorf("%s: %s isn't in config.example.toml", row[1], name)
			}
		}
	}
}
