package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"sluice/internal/config"
	"sluice/internal/echo"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

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
func startGateway(t *testing.T, more string, log io.Writer) *Gateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, more)
	g := newGatewayOf(t, path, log)
	g.runInTest(t)
	return g
}

// writeConfig writes a configuration to path, with more in its [gateway] and an echo backend.
func writeConfig(t *testing.T, path, more string) {
	t.Helper()
	writeConfigOf(t, path, more, startEcho(t))
}

func writeConfigOf(t *testing.T, path, more, backend string) {
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
backend = [{ address = "` + backend + `" }]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newGatewayOf returns the gateway of a file.
func newGatewayOf(t *testing.T, path string, log io.Writer) *Gateway {
	t.Helper()
	file, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(file, Options{Path: path, Stderr: log})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// runInTest runs the gateway until the test ends.
func (g *Gateway) runInTest(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-g.started
}

// startEcho runs an echo backend until the test ends, and returns its address.
func startEcho(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- echo.Serve(ctx, listener, echo.Options{Loops: 1}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("echo backend: %v", err)
		}
	})
	return listener.Addr().String()
}

// dial opens a session.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, _, err := ws.Dial(ctx, "ws://"+address+"/") // an echo backend sends nothing early
	if err != nil {
		t.Fatalf("dial %s: %v", address, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantEcho sends a text and expects it back.
func wantEcho(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(c); err != nil || string(got) != text {
		t.Fatalf("echo of %q = %q, %v", text, got, err)
	}
}

func TestConnectionsLeaveDescriptorsForTheRest(t *testing.T) {
	limit, isKnown := descriptorLimit()
	if !isKnown {
		t.Skip("this system has no limit of descriptors")
	}
	if got := uint64(maxConnections(needs{client: true, backend: true})); got < 1 || 2*got >= limit {
		t.Errorf("maxConnections() = %d with %d descriptors", got, limit)
	}
}

func TestAGatewayThatDoesNotRunClosesItsSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfigOf(t, path, "watch = true", "127.0.0.1:1")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	g := newGatewayOf(t, path, failingLog{t})
	addresses := []net.Addr{g.Addr("public"), g.Addr("secure"), g.AdminAddr()}
	if err := g.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, address := range addresses {
		if conn, err := net.Dial("tcp", address.String()); err == nil {
			_ = conn.Close()
			t.Errorf("%v still accepts", address)
		}
	}
	if _, err := g.Reload(t.Context()); err == nil {
		t.Error("a closed gateway reloads")
	}
}

func TestAReloadWaitsForTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, "")
	g := newGatewayOf(t, path, failingLog{t})
	ended := make(chan error)
	go func() {
		_, err := g.Reload(context.Background())
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("the reload ended before the start: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	g.runInTest(t)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Faults D.
func TestWarningsOfTheConfigurationAreLoggedAtStartAndReload(t *testing.T) {
	log := new(keptLog)
	g := startGateway(t, "", log)
	const message = "configuration may not be what is meant"
	before := len(log.lines(t, message))
	g.append(t, "[[pool]]\nname = \"spare\"\nbackend = [{ address = \"127.0.0.1:9001\" }]\n")
	if _, err := g.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a warning of the reload", func() bool { return len(log.lines(t, message)) == before+1 })
	second := new(keptLog)
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, "")
	text, err := os.ReadFile(g.options.Path)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	newGatewayOf(t, path, second).runInTest(t)
	eventually(t, "a warning of the start", func() bool {
		lines := second.lines(t, message)
		return len(lines) == before+1 && strings.Contains(fmt.Sprint(lines[before]["problem"]), `no route uses the pool "spare"`)
	})
}

// Faults C9.
func TestAReloadNamesTheKeysThatWaitForARestart(t *testing.T) {
	g := startGateway(t, "", failingLog{t})
	for _, test := range []struct {
		append string
		want   []string
	}{
		{"[log]\nlevel = \"debug\"\n", nil},
		{"access = false\n", []string{"log.access"}},
		{"# another change\n", []string{"log.access"}}, // it still waits
	} {
		g.append(t, test.append)
		if waiting, err := g.Reload(t.Context()); err != nil || !slices.Equal(waiting, test.want) {
			t.Errorf("reload after %q: %q, %v; want %q", test.append, waiting, err, test.want)
		}
	}
}

func TestTheStatusHasTheLastReload(t *testing.T) {
	began := time.Now()
	g := startGateway(t, "", new(keptLog))
	if p := g.process(); p.Build != ReadBuild().String() || p.Start.Before(began) || p.LastReload != nil {
		t.Errorf("at the start the status has %+v", p)
	}
	for _, test := range []struct{ append, result, problem string }{
		{"# a change\n", "applied", ""},
		{"[log]\nlevel = \"loud\"\n", "refused", "log.level"},
	} {
		g.append(t, test.append)
		asked := time.Now()
		_, _ = g.Reload(t.Context()) // the status has its result
		last := g.process().LastReload
		if last.Result != test.result || (last.Error == "") != (test.problem == "") || !strings.Contains(last.Error, test.problem) || last.At.Before(asked) {
			t.Errorf("after a reload with %q appended the status has %+v; want %s with %q", test.append, last, test.result, test.problem)
		}
	}
}

// Faults C17.
func TestAReloadChangesTheModeOfAUnixSocket(t *testing.T) {
	directory := t.TempDir()
	path, socket := filepath.Join(directory, "sluice.toml"), filepath.Join(directory, "s")
	write := func(mode string) {
		text := fmt.Sprintf("admin.address = \"\"\ngateway.drain = \"0s\"\n[[listener]]\nname = \"public\"\naddress = %q\nmode = %q\n"+
			"[[route]]\npool = \"p\"\n[[pool]]\nname = \"p\"\nbackend = [{ address = \"127.0.0.1:1\" }]\n", "unix:"+socket, mode)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantMode := func(want os.FileMode) {
		t.Helper()
		info, err := os.Stat(socket)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode %04o, want %04o", info.Mode().Perm(), want)
		}
	}
	write("0600")
	g := newGatewayOf(t, path, failingLog{t})
	g.runInTest(t)
	wantMode(0o600)
	write("0666")
	if _, err := g.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMode(0o666)
}
