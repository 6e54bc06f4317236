package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"sluice/internal/echo"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

// TestMain lets the test binary be the program, so that tests can send it signals.
func TestMain(m *testing.M) {
	if os.Getenv("SLUICE_TEST_AS_PROGRAM") != "" {
		os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// panicLine is the message of a recovered panic in the log.
const panicLine = "panic recovered"

// A failingLog is a log that fails the test if a panic was recovered.
type failingLog struct{ *testing.T }

func (l failingLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(panicLine)) {
		l.Errorf("%s", p)
	}
	return len(p), nil
}

// A process is sluice run by itself.
type process struct {
	t       *testing.T
	command *exec.Cmd
	lines   chan map[string]any // of the log
	panics  atomic.Int64        // lines of panics among them
	gateway string              // where it listens
	admin   string
}

// startProcess runs sluice with a configuration in front of an echo backend.
func startProcess(t *testing.T, gatewaySection string, environment ...string) *process {
	t.Helper()
	backend := startEcho(t)
	path := filepath.Join(t.TempDir(), "sluice.toml")
	text := "[gateway]\n" + gatewaySection + `
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[route]]
pool = "echo"
[[pool]]
name = "echo"
backend = [{ address = "` + backend + `" }]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, command: exec.Command(os.Args[0], "run", "-config", path), lines: make(chan map[string]any, 1024)}
	p.command.Env = append(append(os.Environ(), "SLUICE_TEST_AS_PROGRAM=1"), environment...)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go p.readLog(stderr)
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		for range p.lines { // to their end
		}
		if n := p.panics.Load(); n > 0 {
			t.Errorf("the gateway has recovered %d panics", n)
		}
	})
	for p.gateway == "" || p.admin == "" {
		switch line := p.next(); line["message"] {
		case "listening":
			p.gateway = line["address"].(string)
		case "admin listening":
			p.admin = line["address"].(string)
		}
	}
	return p
}

// readLog passes the lines of the log on until the process has closed it.
func (p *process) readLog(stderr io.Reader) {
	defer close(p.lines)
	for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
		line := map[string]any{}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			line["message"] = scanner.Text()
		}
		if line["message"] == panicLine {
			p.panics.Add(1)
		}
		p.lines <- line
	}
}

// next returns the next line of the log.
func (p *process) next() map[string]any {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatal("the log ended early")
		}
		p.t.Log(line)
		return line
	case <-time.After(patience):
		p.t.Fatal("no further line in the log")
		return nil
	}
}

// signal sends the process a signal.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the rest of the log and the end of the process.
func (p *process) wait() (rest []map[string]any, err error) {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	for line := range p.lines {
		p.t.Log(line)
		rest = append(rest, line)
	}
	return rest, p.command.Wait()
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

// A client is one end of a session; early frames of the other end stay in reader.
type client struct {
	net.Conn
	reader io.Reader
}

func (c client) Read(p []byte) (int, error) { return c.reader.Read(p) }

// dial opens a session.
func dial(t *testing.T, address string) client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, "ws://"+address+"/")
	if err != nil {
		t.Fatalf("dial %s: %v", address, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if early == nil {
		return client{conn, conn}
	}
	return client{conn, early}
}

// wantEcho sends a text and expects it back.
func wantEcho(t *testing.T, c client, text string) {
	t.Helper()
	if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(c); err != nil || string(got) != text {
		t.Fatalf("echo of %q = %q, %v", text, got, err)
	}
}

// wantClose reads up to the close frame and checks its code.
func wantClose(t *testing.T, c client, code ws.StatusCode) {
	t.Helper()
	header, err := ws.ReadHeader(c)
	if err != nil || header.OpCode != ws.OpClose || header.Length > ws.MaxControlFramePayloadSize {
		t.Fatalf("frame %+v, %v; want a close", header, err)
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(c, payload); err != nil {
		t.Fatal(err)
	}
	if got, _ := ws.ParseCloseFrameData(payload); got != code {
		t.Errorf("close code %d, want %d", got, code)
	}
}

func readyStatus(t *testing.T, admin string) int {
	t.Helper()
	http := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}
