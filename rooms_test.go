package sluice_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A room is what one directory may and may not use. Only files that are built into the program
// count: a test may look at its room from outside, and compare it with net/http.
type room struct {
	ours  []string // rooms that it may import, beneath the module's path
	never []string // packages that it can't know, even if ours had them: of others with all beneath them
	calls []string // functions of imported packages that it may not use
}

// theClock is what reads or waits for the time.
var theClock = []string{"time.Now", "time.Since", "time.Until", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick", "time.Sleep"}

// rooms is the table of ARCHITECTURE.md. A directory that it lacks is a failure: whoever makes a
// room says what it may use.
var rooms = map[string]room{
	".":                  {},
	"internal/units":     {},
	"internal/recovery":  {},
	"internal/files":     {},
	"internal/filewatch": {ours: []string{"internal/recovery", "internal/files"}},
	"internal/netconn":   {},
	"internal/share":     {},
	"internal/epoll":     {},
	"internal/echo":      {ours: []string{"internal/epoll"}, never: []string{"go.uber.org/zap"}},
	"internal/load":      {ours: []string{"proxy/h2", "internal/units", "internal/epoll"}},
	"proxy/relay": {
		never: []string{"net", "os", "sync", "syscall", "golang.org/x/sys", "go.uber.org/zap", "log"},
		calls: theClock,
	},
	"proxy/h2": {
		never: []string{"net", "os", "sync", "syscall", "golang.org/x/sys", "net/http", "go.uber.org/zap", "log"},
		calls: theClock,
	},
	"proxy/h2/http1": {ours: []string{"proxy/h2", "upgrade"}, never: []string{"net", "os", "sync", "go.uber.org/zap", "log"}},
	"tls/record": {
		never: []string{"os", "syscall", "golang.org/x/sys", "net/http", "go.uber.org/zap", "log"},
		calls: theClock,
	},
	"handover":                   {never: []string{"net/http", "go.uber.org/zap"}},
	"tls/record/bogoshim":        {ours: []string{"tls/record"}},
	"proxy/driver":               {ours: []string{"proxy/relay", "proxy/h2", "tls/record", "internal/epoll", "internal/recovery"}, never: []string{"net/http"}},
	"upgrade":                    {ours: []string{"internal/units"}, never: []string{"net/http", "go.uber.org/zap"}},
	"balancer":                   {ours: []string{"balancer/discovery", "balancer/probe", "internal/files", "internal/units", "internal/recovery", "internal/netconn", "internal/share"}},
	"balancer/probe":             {ours: []string{"proxy/h2", "internal/units", "internal/recovery", "internal/netconn"}, never: []string{"go.uber.org/zap"}},
	"balancer/discovery":         {ours: []string{"internal/units"}, never: []string{"go.uber.org/zap"}},
	"balancer/discovery/dnstest": {},
	"tls":                        {ours: []string{"internal/files", "internal/units", "internal/recovery", "internal/filewatch", "internal/netconn"}},
	"tls/rekeytest":              {},
	"proxy/handshake": {
		ours:  []string{"proxy/reach", "proxy/route", "upgrade", "balancer", "internal/netconn", "internal/recovery"},
		never: []string{"net/http", "sync", "syscall", "golang.org/x/sys", "go.uber.org/zap"},
		calls: theClock,
	},
	"proxy/reach": {ours: []string{"proxy/route", "proxy/driver", "upgrade", "balancer", "internal/netconn"}, never: []string{"net/http", "go.uber.org/zap"}},
	"proxy/plain": {
		ours:  []string{"proxy/route", "proxy/reach", "upgrade", "balancer", "internal/netconn", "internal/recovery"},
		never: []string{"sluice/proxy", "sluice/proxy/handshake", "sluice/proxy/session"},
	},
	"proxy/session": {
		ours:  []string{"proxy/relay", "proxy/driver", "proxy/route", "proxy/reach", "balancer", "internal/recovery"},
		never: []string{"sluice/proxy", "sluice/proxy/plain", "net/http", "go.uber.org/zap"},
	},
	"proxy/limits": {ours: []string{"internal/share"}, never: []string{"sluice/proxy", "net/http", "go.uber.org/zap"}},
	"proxy/route":  {ours: []string{"proxy/relay", "upgrade", "balancer", "internal/units"}, never: []string{"sluice/proxy/driver", "go.uber.org/zap"}},
	"proxy":        {ours: []string{"proxy/relay", "proxy/h2", "proxy/h2/http1", "proxy/driver", "proxy/route", "proxy/limits", "proxy/reach", "proxy/handshake", "proxy/session", "proxy/plain", "internal/netconn", "internal/share", "upgrade", "balancer", "internal/units", "internal/epoll", "internal/recovery"}},
	"gateway": {ours: []string{
		"proxy", "proxy/driver", "proxy/handshake", "balancer", "handover", "tls", "tls/record", "internal/units", "internal/recovery", "internal/filewatch", "internal/systemd",
		"internal/config", "internal/admin", "internal/tracing",
	}},
	"cmd/sluice": {ours: []string{
		"gateway", "proxy", "proxy/session", "handover", "internal/units", "internal/recovery", "internal/netconn", "internal/echo", "internal/load", "internal/systemd",
		"internal/config", "internal/admin", "cmd/sluice/internal/demo",
		"internal/migrate", "internal/migrate/nginx", "internal/migrate/haproxy", "internal/migrate/caddy", "internal/migrate/traefik",
	}},
	"internal/config":              {ours: []string{"proxy", "proxy/route", "balancer", "tls", "internal/files", "internal/units", "internal/recovery", "internal/admin", "internal/tracing"}},
	"internal/admin":               {ours: []string{"proxy", "proxy/relay", "proxy/session", "internal/files", "internal/units", "internal/recovery", "internal/dashboard"}},
	"internal/dashboard":           {},
	"cmd/sluice/internal/demo":     {},
	"internal/acmetest":            {},
	"internal/h2test":              {},
	"bench/compare":                {ours: []string{"bench/peers", "internal/load"}},
	"bench/peers":                  {},
	"internal/systemd":             {},
	"internal/migrate":             {ours: []string{"internal/units"}, never: []string{"net/http", "go.uber.org/zap"}},
	"internal/migrate/migratetest": {ours: []string{"internal/migrate", "internal/config"}},
	"internal/migrate/nginx":       {ours: []string{"internal/migrate"}, never: []string{"net/http", "go.uber.org/zap"}},
	"internal/migrate/haproxy":     {ours: []string{"internal/migrate"}, never: []string{"net/http", "go.uber.org/zap"}},
	"internal/migrate/caddy":       {ours: []string{"internal/migrate"}, never: []string{"net/http"}},
	"internal/migrate/traefik":     {ours: []string{"internal/migrate"}, never: []string{"net/http", "go.uber.org/zap"}},
	"internal/pebble":              {},
	"internal/tracing":             {ours: []string{"proxy/handshake", "internal/units", "internal/recovery"}},
}

func TestRoomsImportWhatTheTableSays(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		checkFile(t, filepath.ToSlash(filepath.Dir(name)), name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheMakefileNamesEveryModule(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(makefile), "\nMODULES := ")
	line, _, _ := strings.Cut(rest, "\n")
	var modules []string
	err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.Name() == "go.mod" && name != "go.mod":
			modules = append(modules, filepath.ToSlash(filepath.Dir(name)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named := strings.Fields(line); !slices.Equal(named, modules) {
		t.Errorf("the Makefile names the modules %q, want %q", named, modules)
	}
}

// checkFile reports what a file uses beyond its room's rights.
func checkFile(t *testing.T, directory, name string) {
	t.Helper()
	may, isKnown := rooms[directory]
	if !isKnown {
		t.Errorf("%s: the room %s isn't in the table", name, directory)
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	names := map[string]string{} // as the file names a package → its path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		local := path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = imported
		if ours, isOurs := strings.CutPrefix(imported, "sluice/"); isOurs {
			if !slices.Contains(may.ours, ours) || slices.Contains(may.never, imported) {
				t.Errorf("%s: %s may not import %s", name, directory, ours)
			}
			continue
		}
		for _, banned := range may.never {
			if imported == banned || strings.HasPrefix(imported, banned+"/") {
				t.Errorf("%s: %s may not import %s", name, directory, imported)
			}
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if of, ok := selector.X.(*ast.Ident); ok && slices.Contains(may.calls, names[of.Name]+"."+selector.Sel.Name) {
				t.Errorf("%s: %s may not use %s.%s", name, directory, of.Name, selector.Sel.Name)
			}
		}
		return true
	})
}
