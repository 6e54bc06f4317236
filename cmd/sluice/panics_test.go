package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/internal/config"
)

// panicLine is the message of a recovered panic in the log. It fails a test, unless the test is about panics.
const panicLine = "panic recovered"

// A failingLog is a log that fails the test if a panic was recovered.
type failingLog struct{ *testing.T }

func (l failingLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(panicLine)) {
		l.Errorf("%s", p)
	}
	return len(p), nil
}

// A keptLog is a log that a test reads. Its methods may be called from any goroutine.
type keptLog struct {
	mu sync.Mutex

	text bytes.Buffer // guarded by mu
}

func (l *keptLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines returns the lines with that message, up to now.
func (l *keptLog) lines(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text.Bytes()) {
		fields := map[string]any{}
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if fields["message"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// eventually polls until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v went by without: %s", patience, what)
		}
	}
}

// startGateway runs a gateway in this process until the test ends.
func startGateway(t *testing.T, more string, log io.Writer) *gateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, more)
	g := newGatewayOf(t, path, log)
	g.serveInTest(t)
	return g
}

// writeConfig writes a configuration to path, with more in its [gateway].
func writeConfig(t *testing.T, path, more string) {
	t.Helper()
	text := "[gateway]\ndrain = \"0s\"\n" + more + `
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[listener]]
name = "secure"
address = "127.0.0.1:0"
tls = { self_signed = true }
[[route]]
pool = "echo"
[[pool]]
name = "echo"
backend = [{ address = "` + startEcho(t) + `" }]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newGatewayOf returns the gateway of a file.
func newGatewayOf(t *testing.T, path string, log io.Writer) *gateway {
	t.Helper()
	file, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGateway(file, surroundings{path: path}, log)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// serveInTest serves until the test ends.
func (g *gateway) serveInTest(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the gateway serves", func() bool {
		g.reloading.Lock()
		defer g.reloading.Unlock()
		return g.security.isStarted
	})
}

// breakReloads makes reloads panic until mend is called.
func (g *gateway) breakReloads() (mend func()) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	s := g.security
	g.security = new(security) // whose suite is missing
	return func() {
		g.reloading.Lock()
		defer g.reloading.Unlock()
		g.security = s
	}
}

// append adds to the configuration's file.
func (g *gateway) append(t *testing.T, text string) {
	t.Helper()
	before, err := os.ReadFile(g.in.path)
	if err == nil {
		err = os.WriteFile(g.in.path, append(before, text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// countOf returns a counter that has one label with that value.
func countOf(t *testing.T, counter *prometheus.CounterVec, value string) (count float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(counter)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == value {
			count = m.GetCounter().GetValue()
		}
	}
	return count
}

func TestAPanicOfAReloadIsToldAndChangesNothing(t *testing.T) {
	log := new(keptLog)
	g := startGateway(t, "", log)
	session := dial(t, g.proxy.Addr("public").String())
	mend, before := g.breakReloads(), g.file
	g.append(t, "[log]\nlevel = \"debug\"\n")
	answer, err := http.Post("http://"+g.admin.Addr().String()+"/api/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(text), errPanicked.Error()) {
		t.Errorf("POST /api/v1/reload: %d %s, %v", answer.StatusCode, text, err)
	}
	eventually(t, "a line of the panic", func() bool { return len(log.lines(t, panicLine)) > 0 })
	line := log.lines(t, panicLine)[0]
	if line["level"] != "error" || line["room"] != room || !strings.Contains(fmt.Sprint(line["panic"]), "nil pointer") || !strings.Contains(fmt.Sprint(line["stack"]), "(*security).prepare") {
		t.Errorf("the line of the panic is %v", line)
	}
	if n := len(log.lines(t, "reload refused, the configuration in use stays")); n != 1 {
		t.Errorf("%d lines of a refused reload, want 1", n)
	}
	if g.file != before || g.logs.level.Level() != zap.InfoLevel {
		t.Error("the new file is in use")
	}
	mend()
	if err := g.reload(t.Context()); err != nil || g.logs.level.Level() != zap.DebugLevel {
		t.Errorf("the next reload: %v, level %v; want debug", err, g.logs.level)
	}
	if n := countOf(t, g.panics.CounterVec, room); n != 1 {
		t.Errorf("%v panics are counted, want 1", n)
	}
	wantEcho(t, session, "alive")
}

func TestReloadsBySignalGoOnAfterAPanic(t *testing.T) {
	g := startGateway(t, "", new(keptLog))
	mend := g.breakReloads()
	signals, ended := make(chan os.Signal), make(chan struct{})
	go g.watchReload(signals, ended)
	signals <- syscall.SIGHUP
	signals <- syscall.SIGHUP // the first one's reload is over
	eventually(t, "two panics", func() bool { return countOf(t, g.panics.CounterVec, room) == 2 })
	mend()
	signals <- syscall.SIGHUP
	close(signals)
	<-ended
	if n := countOf(t, g.reloads, reloadApplied); n != 1 {
		t.Errorf("%v reloads applied, want the last one", n)
	}
}

func TestTheFileIsWatchedOnAfterAPanic(t *testing.T) {
	g := startGateway(t, "watch = true", new(keptLog))
	mend := g.breakReloads()
	g.append(t, "# one\n")
	eventually(t, "a panic", func() bool { return countOf(t, g.panics.CounterVec, room) == 1 })
	mend()
	g.append(t, "# two\n")
	eventually(t, "a reload", func() bool { return countOf(t, g.reloads, reloadApplied) == 1 })
}

func TestTheLogIsReopenedAfterAPanic(t *testing.T) {
	told := 0
	l := &logs{main: zap.NewNop()} // out is missing
	signals, ended := make(chan os.Signal, 2), make(chan struct{})
	signals <- syscall.SIGUSR1
	signals <- syscall.SIGUSR1
	close(signals)
	l.watchReopen(signals, ended, func(string, any, []byte) { told++ })
	<-ended
	if told != 2 {
		t.Errorf("%d panics were told, want 2", told)
	}
}

func TestEveryRoomHasItsCountOfPanicsFromTheStart(t *testing.T) {
	values := startProcess(t, "").scrape()
	for _, room := range []string{"proxy", "driver", "balancer", "tls", "admin", "tracing", "filewatch", "sluice"} {
		key := "sluice_recovered_panics_total{room=" + room + "}"
		if n, isThere := values[key]; n != 0 || !isThere {
			t.Errorf("%s is %v (there: %v), want 0", key, n, isThere)
		}
	}
}

// A standingLog blocks until it is opened.
type standingLog struct {
	open  chan struct{}
	lines chan string
}

func (l *standingLog) Write(p []byte) (int, error) {
	<-l.open
	l.lines <- string(p)
	return len(p), nil
}

// An event loop may be the caller.
func TestAPanicIsToldWithoutWaitingForTheLog(t *testing.T) {
	out := &standingLog{open: make(chan struct{}), lines: make(chan string, 100)}
	logs, err := openLogs(config.Log{Output: outputStderr, Level: "info", Format: "json"}, out)
	if err != nil {
		t.Fatal(err)
	}
	p := newPanics(logs.main)
	const count = 100
	for range count {
		p.Guard("proxy", func() { panic("boom") })
	}
	if n := countOf(t, p.CounterVec, "proxy"); n != count {
		t.Errorf("%v panics are counted, want %d", n, count)
	}
	close(out.open)
	p.stop()
	if len(out.lines) != mostPanicLines {
		t.Errorf("%d lines, want %d", len(out.lines), mostPanicLines)
	}
	p.Guard("proxy", func() { panic("late") })
	if n := countOf(t, p.CounterVec, "proxy"); n != count+1 {
		t.Errorf("%v panics are counted, want %d", n, count+1)
	}
}
