//go:build unix

package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/h2test"
)

// sluice is the path of the built program. Immutable after TestMain.
var sluice string

func TestMain(m *testing.M) {
	if os.Getenv(floodBackendVariable) != "" {
		serveFloods()
	}
	os.Exit(runTests(m))
}

// runTests builds the program, runs the tests, and removes what it built.
func runTests(m *testing.M) int {
	directory, err := os.MkdirTemp("", "sluice-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	sluice = filepath.Join(directory, "sluice")
	build := exec.Command("go", "build", "-o", sluice, "sluice/cmd/sluice")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build sluice: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A gateway is a running `sluice run`.
type gateway struct {
	*program
	admin     string            // host:port
	listeners map[string]string // name → host:port
	log       *tail             // all lines
	mayPanic  bool              // the test provokes panics
}

// basics are the sections of a configuration that most tests share; a test adds routes and pools.
const basics = `
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
level = "debug"
[[listener]]
name = "public"
address = "127.0.0.1:0"
`

// eachDriver runs a test with each way there is to move bytes. on puts it into a configuration.
func eachDriver(t *testing.T, test func(t *testing.T, on func(config string) string)) {
	for _, driver := range []string{"loop", "goroutine"} {
		t.Run(driver, func(t *testing.T) {
			test(t, func(config string) string {
				return strings.Replace(config, "[gateway]\n", "[gateway]\ndriver = \""+driver+"\"\n", 1)
			})
		})
	}
}

// eachTransport is eachDriver over HTTP/2 too. Bridges before the listener "public", and behind the gateway, make streams of the connections of
// the test's clients and backends, which speak HTTP/1.1.
func eachTransport(t *testing.T, test func(t *testing.T, on func(config string) string)) {
	eachDriver(t, test)
	if runtime.GOOS != "linux" {
		return // it has no loops
	}
	t.Run("h2 front", func(t *testing.T) {
		test(t, func(config string) string { return strings.Replace(config, "[[listener]]\n", overHTTP2, 1) })
	})
	t.Run("h2 both", func(t *testing.T) {
		test(t, func(config string) string {
			return bridgeBackends(t, strings.Replace(config, "[[listener]]\n", overHTTP2, 1))
		})
	})
}

// overHTTP2 begins a listener before which runGateway puts a bridge.
const overHTTP2 = "[[listener]] # bridged\nhttp2 = \"websocket\"\n"

var backendAddress = regexp.MustCompile(`(backend = \[\{ address = ")(127\.0\.0\.1:\d+)(" \}\])\n`)

// bridgeBackends has the pools of a configuration speak HTTP/2, to bridges before their backends.
func bridgeBackends(t *testing.T, config string) string {
	t.Helper()
	return backendAddress.ReplaceAllStringFunc(config, func(text string) string {
		parts := backendAddress.FindStringSubmatch(text)
		back, err := h2test.Back(parts[2], nil, h2test.BridgeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(back.Close)
		return parts[1] + back.Addr() + parts[3] + "\nprotocol = \"h2\"\n"
	})
}

// runGateway serves a configuration and waits until it is ready. At the end of the test it must exit
// with 0 on SIGTERM, unless the test has ended it.
func runGateway(t *testing.T, config string) *gateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g := runSluice(t, strings.Count(config, "[[listener]]"), "run", "-config", path)
	g.bridge(t, config)
	return g
}

// bridge puts a bridge before the listener "public" if the configuration asks for it.
func (g *gateway) bridge(t *testing.T, config string) {
	t.Helper()
	if strings.Contains(config, overHTTP2) {
		front, err := h2test.Front(g.listeners["public"], nil, h2test.BridgeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(front.Close)
		g.listeners["public"] = front.Addr()
	}
}

// runSluice is runGateway for any arguments that make the program serve at so many listeners.
func runSluice(t *testing.T, listeners int, args ...string) *gateway {
	t.Helper()
	return runWatched(t, func(string) {}, listeners, args...)
}

// runWatched is runSluice with a function that is called with each line of the log, by one goroutine.
func runWatched(t *testing.T, watch func(line string), listeners int, args ...string) *gateway {
	t.Helper()
	return runProgram(t, sluice, watch, listeners, args...)
}

// runProgram is runWatched with another build of the program.
func runProgram(t *testing.T, program string, watch func(line string), listeners int, args ...string) *gateway {
	t.Helper()
	g := &gateway{listeners: map[string]string{}, log: new(tail)}
	cmd := exec.Command(program, args...)
	lines := make(chan logLine, 64)
	cmd.Stderr = &logReader{log: g.log, watch: watch, lines: lines}
	g.program = start(t, cmd, nil)
	t.Cleanup(func() {
		g.stop(t)
		if !g.mayPanic {
			g.log.wantNoPanic(t)
		}
	})

	deadline := time.After(patience)
	for g.admin == "" || len(g.listeners) < listeners {
		select {
		case <-g.exited:
			t.Fatalf("sluice ended before it listened:\n%s", g.log.last())
		case line := <-lines:
			switch line.Message {
			case "admin listening":
				g.admin = line.Address
			case "listening":
				g.listeners[line.Listener] = line.Address
			}
		case <-deadline:
			t.Fatalf("sluice doesn't listen:\n%s", g.log.last())
		}
	}
	eventually(t, patience, "/readyz is 200", func() bool { return g.readiness() == http.StatusOK })
	return g
}

// A logLine is what is of interest in a line of the log.
type logLine struct {
	Message  string
	Listener string
	Address  string
}

// A logReader keeps what is written to a log, and passes on the first lines with addresses. All is read when the process has exited.
type logReader struct {
	log   *tail
	watch func(line string)
	lines chan<- logLine
	torn  []byte // the beginning of a line
}

func (r *logReader) Write(p []byte) (int, error) {
	_, _ = r.log.Write(p)
	r.torn = append(r.torn, p...)
	for {
		text, rest, isWhole := bytes.Cut(r.torn, []byte("\n"))
		if !isWhole {
			return len(p), nil
		}
		r.torn = rest
		r.watch(string(text))
		var line logLine
		if json.Unmarshal(text, &line) != nil || line.Address == "" {
			continue
		}
		select {
		case r.lines <- line:
		default:
			// Nobody waits for addresses any more.
		}
	}
}

// readiness returns the status of /readyz; 0: nobody answers.
func (g *gateway) readiness() int {
	response, err := http.Get("http://" + g.admin + "/readyz")
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// metrics returns the text of /metrics.
func (g *gateway) metrics(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: status %d, %v", response.StatusCode, err)
	}
	return string(text)
}

// count returns the sum of a metric over its labels.
func (g *gateway) count(t *testing.T, metric string) (sum int) {
	t.Helper()
	for line := range strings.Lines(g.metrics(t)) {
		if !strings.HasPrefix(line, metric+"{") && !strings.HasPrefix(line, metric+" ") {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum += int(value)
	}
	return sum
}

// url returns where clients of the listener "public" connect.
func (g *gateway) url(path string) string { return "ws://" + g.listeners["public"] + path }

// stop ends the gateway as an operator does, and checks that it ends cleanly.
func (g *gateway) stop(t *testing.T) {
	t.Helper()
	select {
	case <-g.exited:
		return // the test has ended it
	default:
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	if code := g.exitCode(t, 2*patience); code != 0 {
		t.Errorf("exit code %d on SIGTERM, want 0", code)
	}
	if t.Failed() {
		t.Logf("log of the gateway:\n%s", g.log.last())
	}
}
