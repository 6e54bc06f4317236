package gateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex

	text bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// writeIncludes writes a configuration in twelve files: sluice.toml, one.toml, eight files of a glob, of which one includes another, and a
// secret.
func writeIncludes(t *testing.T, directory string) (names []string) {
	t.Helper()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	write("sluice.toml", "include = [\"one.toml\", \"sites/*.toml\"]\n[gateway]\ndrain = \"0s\"\nwatch = \"${SLUICE_TEST_WATCH}\"\n"+
		"[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n")
	write("one.toml", "[admin]\naddress = \"${SLUICE_TEST_NONE:-127.0.0.1:0}\"\n")
	for i := range 8 {
		text := fmt.Sprintf("[[route]]\npath = \"/%d\"\npool = \"p%[1]d\"\nrequest_header = { Authorization = \"Bearer ${file:%s/secret}\" }\n"+
			"[[pool]]\nname = \"p%[1]d\"\nbackend = [{ address = \"127.0.0.1:1\" }]\n", i, directory)
		if i == 0 {
			text = "include = [\"more/more.toml\"]\n" + text
		}
		write(fmt.Sprintf("sites/%d.toml", i), text)
	}
	write("sites/more/more.toml", "[log]\nlevel = \"info\"\n")
	write("secret", "hunter2hunter2\n")
	return names
}

func TestEveryFileOfAConfigurationIsWatched(t *testing.T) {
	t.Setenv("SLUICE_TEST_WATCH", "true")
	directory := t.TempDir()
	names := writeIncludes(t, directory)
	log := new(lockedBuffer)
	g := newGatewayOf(t, filepath.Join(directory, "sluice.toml"), log)
	g.runInTest(t)
	applied, refused := 0.0, 0.0
	for _, name := range names {
		path := filepath.Join(directory, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put := func(text string) {
			t.Helper()
			fresh := filepath.Join(directory, "fresh")
			err := os.WriteFile(fresh, []byte(text), 0o600)
			if err == nil {
				err = os.Rename(fresh, path)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		before := g.file.Load()
		if name == "secret" {
			put("hunter3\x01hunter3\n")
		} else {
			put(string(good) + "[[broken\n")
		}
		refused++
		eventually(t, "a reload that a broken "+name+" refuses", func() bool { return countOf(t, g.reloads, reloadRefused) == refused })
		if g.file.Load() != before {
			t.Fatalf("a broken %s changed the configuration", name)
		}
		if problem := g.lastReload.Load().Error; name != "secret" && !strings.HasPrefix(problem, path+":") || strings.Contains(problem, "hunter") {
			t.Errorf("the problem of %s is %s", name, problem)
		}
		if name == "secret" {
			put("other4other4\n")
		} else {
			put(string(good) + "# changed\n")
		}
		applied++
		g.wantReloads(t, applied)
	}
	path := filepath.Join(directory, "sites", "new.toml")
	if err := os.WriteFile(path, []byte("[[route]]\npath = \"/new\"\npool = \"p0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.wantReloads(t, applied+1)
	if got := len(g.file.Load().Route); got != 9 {
		t.Errorf("with a new file there are %d routes, want 9", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	g.wantReloads(t, applied+2)
	// A file that only a refused configuration includes: once it is right, the configuration is applied.
	root := filepath.Join(directory, "sluice.toml")
	text, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, []byte(strings.Replace(string(text), "\"one.toml\"", "\"one.toml\", \"late.toml\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reload without late.toml is refused", func() bool { return countOf(t, g.reloads, reloadRefused) > refused })
	if err := os.WriteFile(filepath.Join(directory, "late.toml"), []byte("[[route]]\npath = \"/late\"\npool = \"p1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "late.toml is applied", func() bool { return len(g.file.Load().Route) == 9 })
	for _, secret := range []string{"hunter", "other4"} {
		if text := log.String(); strings.Contains(text, secret) {
			t.Errorf("the log has a secret: %s", text)
		}
	}
}
