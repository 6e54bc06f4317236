//go:build unix

package test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// invoke runs the program to its end.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), sluice, args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("sluice %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), complaints.String()
}

func TestTheExampleOfAConfigurationIsRight(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := invoke(t, "check", "-config", "../config.example.toml")
	if code != 0 || !strings.Contains(stdout, "OK") {
		t.Errorf("exit code %d, %q\n%s", code, stdout, stderr)
	}
}

const badConfig = `[gateway]
drain = "soon"
colour = "blue"

[[listener]]
name = "public"
address = "nowhere"

[[route]]
pool = "chat"
path = "chat"
close_codes = { drained = 1006 }
ping = "maybe"

[[pool]]
name = "chatter"
policy = "best"
backend = [
  { address = "127.0.0.1:9000" },
  { address = "127.0.0.1:9001", weight = -1 },
]
`

func TestEveryProblemOfAConfigurationIsToldWithItsLineAndNothingStarts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(path, []byte(badConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "-config", path}, {"run", "-config", path}} {
		code, stdout, stderr := invoke(t, args...)
		if code != 2 || stdout != "" {
			t.Errorf("sluice %s: exit code %d, stdout %q; want 2, and nothing", args[0], code, stdout)
		}
		for _, want := range []string{
			`:2: gateway\.drain: .*"?soon"?.*\(want .*\)`,
			`:3: gateway\.colour: unknown key.*`,
			`:7: listener\[0\]\.address: .*nowhere.*\(want .*\)`,
			`:10: route\[0\]\.pool: .*chat.*`,
			`:11: route\[0\]\.path: .*chat.*\(want .*\)`,
			`:12: route\[0\]\.close_codes\.drained: .*1006.*\(want .*\)`,
			`:13: route\[0\]\.ping: .*maybe.*\(want .*\)`,
			`:17: pool\[0\]\.policy: .*best.*\(want .*\)`,
			`:20: pool\[0\]\.backend\[1\]\.weight: .*-1.*\(want .*\)`,
		} {
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(path) + want + `$`).MatchString(stderr) {
				t.Errorf("sluice %s: no line like %s in\n%s", args[0], want, stderr)
			}
		}
		if lines := strings.Count(stderr, "\n"); lines != 9 {
			t.Errorf("sluice %s: %d lines, want 9:\n%s", args[0], lines, stderr)
		}
	}
}

func TestRunNeedsNoFileForASingleRoute(t *testing.T) {
	t.Parallel()
	if c, err := net.Dial("tcp", "127.0.0.1:9901"); err == nil {
		_ = c.Close()
		t.Skip("127.0.0.1:9901 is in use, where the admin listener is without a file")
	}
	first, second := listenRaw(t), listenRaw(t)
	g := runSluice(t, 1, "run", "-to", first.Addr().String()+","+second.Addr().String(), "-listen", "127.0.0.1:0")
	g.listeners["public"] = g.listeners["quick"]
	_, _ = open(t, g, first, "/")
	_, _ = open(t, g, second, "/any/path")
}
