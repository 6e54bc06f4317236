//go:build unix

package apps

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait for something that is expected soon. The machine may be busy, and some programs start slowly.
const patience = 3 * time.Minute

// isLong reports whether the tests run that take long to install or to start.
func isLong() bool { return os.Getenv("SLUICE_TEST_LONG") == "true" }

// requires skips the test where a program or file is missing, or fails it where all must be there.
func requires(t *testing.T, packages string, files ...string) {
	t.Helper()
	for _, file := range files {
		if _, err := exec.LookPath(file); err == nil {
			continue
		}
		if _, err := os.Stat(file); err == nil {
			continue
		}
		const format = "%s is missing: install %s"
		if os.Getenv("CI") == "true" {
			t.Fatalf(format, file, packages)
		}
		t.Skipf(format, file, packages)
	}
}

// A program is a process that a test started, with all that it starts. They end with the test at the latest.
type program struct {
	cmd    *exec.Cmd
	output tail
	exited chan struct{} // closed once the process has ended and been waited for
}

// start starts a process. What it writes is kept, and passed to watch, if that isn't nil.
func start(t *testing.T, cmd *exec.Cmd, watch io.Writer) *program {
	t.Helper()
	p := &program{cmd: cmd, exited: make(chan struct{})}
	var output io.Writer = &p.output
	if watch != nil {
		output = io.MultiWriter(&p.output, watch)
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // what it has started may hold the pipe
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go p.wait()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("output of %v:\n%s", cmd.Args, p.output.String())
		}
	})
	return p
}

func (p *program) wait() {
	_ = p.cmd.Wait() // ProcessState tells
	close(p.exited)
}

// end asks the process to end, so that it ends what it has started, and kills what is left.
func (p *program) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	p.kill()
}

// kill ends the process, and those of its group, at once.
func (p *program) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// wantSuccess waits for the process to exit with 0.
func (p *program) wantSuccess(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		t.Fatalf("%v still runs after %v", p.cmd.Args, within)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("%v ends with %d", p.cmd.Args, code)
	}
}

// wantListening waits until the process accepts connections at the port.
func (p *program) wantListening(t *testing.T, port int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.exited:
			t.Fatalf("%v has ended before it listened at port %d", p.cmd.Args, port)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %v", p.cmd.Args, err)
		}
	}
}

// givenPorts has the ports that freePort has returned: a test may not listen at its own yet, or be about to do so again.
var givenPorts sync.Map

// freePort returns a port of loopback at which nothing listens. It isn't one of those that the kernel gives away.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		if _, isGiven := givenPorts.LoadOrStore(port, true); isGiven {
			continue
		}
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	panic("unreachable")
}

// A tail keeps the last bytes that were written to it. Its methods may be called from any goroutine.
type tail struct {
	mu sync.Mutex

	kept bytes.Buffer // guarded by mu
}

const mostTail = 8 << 10 // bytes

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept.Write(p)
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
