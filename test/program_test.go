//go:build unix

package test

import (
	"bytes"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait for something that is expected at once. The machine may be busy.
const patience = 10 * time.Second

// A need is a program that a test can't do without.
type need struct {
	name     string
	packages string // what to install
	isThere  func() bool
}

var (
	needNode        = need{"Node's ws", "nodejs npm (Debian), then `npm ci` in test/", hasFile("node_modules/ws/package.json", "node")}
	needPython      = need{"python3-websockets", "python3-websockets (Debian)", succeeds("/usr/bin/python3", "-c", "import websockets")}
	needPythonHTTP2 = need{"python3-wsproto", "python3-h2 python3-wsproto (Debian)", succeeds("/usr/bin/python3", "-c", "import h2, wsproto")}
	needBrowser     = need{"Chromium", "chromium nodejs npm (Debian), then `npm ci` in test/", hasFile("node_modules/playwright-core/package.json", "node", "chromium")}
	needNginx       = need{"nginx", "nginx (Debian)", succeeds("/usr/sbin/nginx", "-v")}
	needNghttp      = need{"nghttp", "nghttp2-client (Debian)", succeeds("nghttp", "--version")}
	needNghttpx     = need{"nghttpx", "nghttp2-proxy (Debian)", succeeds("/usr/sbin/nghttpx", "--version")}
	needHAProxy     = need{"HAProxy", "haproxy (Debian)", succeeds("/usr/sbin/haproxy", "-v")}
	needCaddy       = need{"Caddy", "caddy (Debian)", succeeds("/usr/bin/caddy", "version")}
)

// requires skips the test where one of the programs is missing, or fails it where all must be there.
func requires(t *testing.T, needs ...need) {
	t.Helper()
	for _, n := range needs {
		if n.isThere() {
			continue
		}
		const format = "%s is missing: install %s; left out: %s"
		if os.Getenv("CI") == "true" {
			t.Fatalf(format, n.name, n.packages, t.Name())
		}
		t.Skipf(format, n.name, n.packages, t.Name())
	}
}

func succeeds(program string, args ...string) func() bool {
	return sync.OnceValue(func() bool { return exec.Command(program, args...).Run() == nil })
}

// hasFile reports whether a file and the programs are there.
func hasFile(path string, programs ...string) func() bool {
	return sync.OnceValue(func() bool {
		for _, program := range programs {
			if _, err := exec.LookPath(program); err != nil {
				return false
			}
		}
		_, err := os.Stat(path)
		return err == nil
	})
}

// A program is a process that a test started, and that ends with the test at the latest.
type program struct {
	cmd    *exec.Cmd
	stderr tail
	exited chan struct{} // closed once the process has ended and been waited for
}

// start starts a process. setUp may be nil; it is for pipes.
func start(t *testing.T, cmd *exec.Cmd, setUp func() error) *program {
	t.Helper()
	p := &program{cmd: cmd, exited: make(chan struct{})}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	if setUp != nil {
		if err := setUp(); err != nil {
			t.Fatalf("pipes to %s: %v", cmd.Path, err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go p.wait()
	t.Cleanup(func() {
		// Not Process.Kill: a stopped process, too, ends by SIGKILL, and one that has ended is no error.
		_ = cmd.Process.Kill()
		<-p.exited
		p.stderr.wantNoPanic(t)
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", cmd.Path, p.stderr.last())
		}
	})
	return p
}

func (p *program) wait() {
	_ = p.cmd.Wait() // ProcessState tells
	close(p.exited)
}

func (p *program) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%v to %s: %v", sig, p.cmd.Path, err)
	}
}

// exitCode waits for the end of the process; -1: a signal ended it.
func (p *program) exitCode(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s still runs after %v", p.cmd.Path, within)
		panic("unreachable")
	}
}

// A tail keeps the last bytes that were written to it. Its methods may be called from any goroutine.
type tail struct {
	mu sync.Mutex

	kept     bytes.Buffer // guarded by mu
	hasPanic bool         // guarded by mu; panicMessage was written
}

const mostTail = 256 << 10 // bytes

// panicMessage is the message of a gateway's line about a panic that it recovered.
const panicMessage = "panic recovered"

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	unread := max(0, b.kept.Len()-len(panicMessage)) // the message may be torn
	b.kept.Write(p)
	b.hasPanic = b.hasPanic || bytes.Contains(b.kept.Bytes()[unread:], []byte(panicMessage))
	if surplus := b.kept.Len() - mostTail; surplus > 0 {
		b.kept.Next(surplus)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.String()
}

// wantNoPanic fails the test if a gateway has recovered a panic, which would hide otherwise.
func (b *tail) wantNoPanic(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hasPanic {
		t.Error("the gateway has recovered a panic: its log has the stack")
	}
}

// last returns the end of it, for the report of a failure.
func (b *tail) last() string {
	text := b.String()
	return text[max(0, len(text)-mostReported):]
}

const mostReported = 8 << 10 // bytes

// eventually polls until what holds; it is for what no event tells of.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%v went by without: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAPanicInALogIsSeenHoweverItIsTorn(t *testing.T) {
	for i := range len(panicMessage) {
		var b tail
		_, _ = b.Write([]byte(`{"level":"error","message":"` + panicMessage[:i]))
		_, _ = b.Write([]byte(panicMessage[i:] + `"}` + "\n"))
		if !b.hasPanic {
			t.Errorf("a panic that is torn after %q isn't seen", panicMessage[:i])
		}
	}
}
