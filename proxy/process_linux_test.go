package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildOnce builds the program, statically.
var buildOnce = sync.OnceValues(func() (path string, err error) {
	builtIn, err = os.MkdirTemp("", "sluice-proxy-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "sluice")
	build := exec.Command("go", "build", "-o", path, "sluice/cmd/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return path, nil
})

func program(t *testing.T) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A process is the program as a process of its own, for tests of its limits and its memory.
type process struct {
	*exec.Cmd
	output *transcript
}

// start starts a process that ends with the test.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, output: new(transcript)}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		ended := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		if !ended.Stop() || err != nil {
			t.Errorf("%s on SIGTERM: %v\n%s", cmd.Path, err, p.output)
		}
	})
	return p
}

// startEcho starts an echo backend and returns its address.
func startEcho(t *testing.T) string {
	t.Helper()
	p := start(t, exec.Command(program(t), "echo", "-listen", "127.0.0.1:0"))
	var address string
	eventually(t, "an echo backend", func() bool {
		_, address, _ = strings.Cut(strings.TrimSpace(p.output.String()), "echo backend at ")
		return address != ""
	})
	return address
}

// startGateway starts a gateway with a limit of descriptors, or with 0 without one, and returns its address. keys are keys of its listener,
// and after "[gateway]" keys of that section.
func startGateway(t *testing.T, descriptors int, backend, keys string) (p *process, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sluice.toml")
	listenerKeys, gatewayKeys, _ := strings.Cut(keys, "[gateway]")
	config := fmt.Sprintf(`
[gateway]
drain = "0s"
%s
[admin]
address = ""
[log]
access = false
[[listener]]
name = "public"
address = "127.0.0.1:0"
%s
[[route]]
pool = "pool"
close_timeout = "1s"
request_body = "0"
[[pool]]
name = "pool"
backend = [{ address = %q }]
`, gatewayKeys, listenerKeys, backend)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("exec %s run -config %s", program(t), file)
	if descriptors > 0 {
		command = fmt.Sprintf("ulimit -n %d; %s", descriptors, command)
	}
	p = start(t, exec.Command("/bin/sh", "-c", command))
	eventually(t, "a gateway", func() bool {
		for line := range strings.Lines(p.output.String()) {
			var entry struct{ Message, Listener, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Listener == "public" && entry.Address != "" {
				address = entry.Address
			}
		}
		return address != ""
	})
	return p, address
}

// descriptors returns the number of descriptors that the process has open.
func (p *process) descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// resident returns the resident memory of the process in bytes.
func (p *process) resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// cpu returns the CPU time of the process.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	const tick = 10 * time.Millisecond // proc(5): utime and stime are the 14th and 15th, in clock ticks
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * tick
}

// openAt opens a session at an address, and returns the status of the answer.
func openAt(t *testing.T, address string) (c *wire, status int) {
	t.Helper()
	c = askAt(t, address)
	status = c.answer(t).StatusCode
	if status != 101 {
		_ = c.Close()
	}
	return c, status
}

// askAt sends a WebSocket request to an address.
func askAt(t *testing.T, address string) *wire {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := dialAddr(t, a)
	c.send(t, asking("/"))
	return c
}

// isAnswered reports whether input waits that was not read.
func (w *wire) isAnswered() bool {
	_ = w.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := w.reader.Peek(1)
	return err == nil
}

// wantEcho sends a message and waits until it comes back.
func (w *wire) wantEcho(t *testing.T) {
	t.Helper()
	w.send(t, w.text("are you there"))
	w.wantText(t, "are you there")
}

// A transcript is the output of a process. Its methods may be called from any goroutine.
type transcript struct {
	mu sync.Mutex

	text bytes.Buffer // guarded by mu
}

func (b *transcript) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *transcript) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
