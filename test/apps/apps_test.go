//go:build unix

package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// An app is a server that listens at a port of loopback, and a client of it that works through the gateway.
type app struct {
	name     string
	isLong   bool     // takes long to install or to start
	packages string   // of Debian
	files    []string // of those packages: programs, or paths
	route    string   // what its route says beside the defaults
	serve    func(t *testing.T, directory string, port int) *exec.Cmd
}

// ofNode is the server of servers/NAME.js, which ends with 0 on SIGTERM.
func ofNode(name string) func(*testing.T, string, int) *exec.Cmd {
	return func(_ *testing.T, directory string, port int) *exec.Cmd {
		return exec.Command("node", "servers/"+name+".js", strconv.Itoa(port), directory)
	}
}

// ofDebian is a server that reads a configuration.
func ofDebian(config func(directory string, port int) string, program string, args ...string) func(*testing.T, string, int) *exec.Cmd {
	return func(t *testing.T, directory string, port int) *exec.Cmd {
		t.Helper()
		path := filepath.Join(directory, "config")
		writeFile(t, path, config(directory, port))
		return exec.Command(program, append(args, path)...)
	}
}

// mostWork is the time that a client may take beside its pause.
const mostWork = 4 * time.Minute

func TestAnApplicationWorksThroughTheGateway(t *testing.T) {
	for _, a := range apps {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			if a.isLong && !isLong() {
				t.Skip("takes long: make apps runs it")
			}
			requires(t, "nodejs npm (Debian), then `npm ci` in test/apps", "node", "node_modules/ws/package.json")
			requires(t, a.packages+" (Debian)", a.files...)
			directory, port := serverDirectory(t), freePort(t)
			server := start(t, a.serve(t, directory, port), nil)
			server.wantListening(t, port)
			g := runGateway(t, a.route, port)
			clients := map[string]*program{}
			for security, url := range g.urls {
				cmd := exec.Command("node", "clients/"+a.name+".js", url, directory)
				cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+certificate)
				clients[security] = start(t, cmd, nil)
			}
			for security, client := range clients {
				t.Log(security)
				client.wantSuccess(t, mostWork)
			}
			if got := g.sessions(t); got < 2 {
				t.Errorf("%d sessions have passed the gateway, want two at least", got)
			}
		})
	}
}

// serverDirectory makes a directory that a server may use as another user, too.
func serverDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for _, d := range []string{directory, filepath.Dir(directory)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}
