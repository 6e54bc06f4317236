package test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// Faults C2.
func TestAFloodWithFewDescriptorsBreaksNoPromise(t *testing.T) {
	backend := floodBackend(t)
	for _, descriptors := range []int{400, 1024} {
		for _, driver := range []string{"loop", "goroutine"} {
			t.Run(fmt.Sprintf("%d descriptors, %s", descriptors, driver), func(t *testing.T) {
				g := runWithDescriptors(t, descriptors, fmt.Sprintf(`
[gateway]
driver = %q
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
access = false
[[listener]]
name = "public"
address = "127.0.0.1:0"
head_timeout = "2s"
[[listener]]
name = "secure"
address = "127.0.0.1:0"
head_timeout = "2s"
[listener.tls]
self_signed = true
[[route]]
pool = "pool"
[[pool]]
name = "pool"
backend = [{ address = %q }]
[pool.health]
kind = "tcp"
interval = "1s"
timeout = "1s"
`, driver, backend))
				var seen promises
				var running sync.WaitGroup
				stop := make(chan struct{})
				for i := range descriptors / 2 { // more than it has connections for
					from, secure := fmt.Sprintf("127.0.%d.%d", 2+i/250, 1+i%250), i%2 == 0
					running.Go(func() {
						for isOver := false; !isOver; {
							seen.ask(g, from, secure, i%4 < 2)
							select {
							case <-stop:
								isOver = true
							default:
							}
						}
					})
				}
				worst := time.Duration(0)
				for end := time.Now().Add(time.Duration(sized(20, 3)) * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					start := time.Now()
					if status := g.readiness(); status != http.StatusOK {
						t.Errorf("/readyz: %d during the flood", status)
					}
					worst = max(worst, time.Since(start))
				}
				close(stop)
				running.Wait()
				promised, broken := seen.promised.Load(), seen.broken.Load()
				t.Logf("%d sessions promised, %d broken, %d refused, %d without an answer; /readyz took %v at most; %s",
					promised, broken, seen.refused.Load(), seen.failed.Load(), worst, g.limits(t))
				if promised == 0 || broken > 0 {
					t.Errorf("of %d sessions that were promised %d ended without a close", promised, broken)
				}
				if g.count(t, "sluice_backend_up") != 1 {
					t.Error("the backend is blamed")
				}
				for _, message := range []string{"accept fails", "probes can't be made"} {
					if strings.Contains(g.log.String(), message) {
						t.Errorf("%s:\n%s", message, g.log.last())
					}
				}
			})
		}
	}
}

// promises counts what clients got.
type promises struct{ promised, broken, refused, failed atomic.Int64 }

// ask opens a connection, is silent or asks for a session, and checks that a session that was promised echoes.
func (p *promises) ask(g *gateway, from string, isSecure, isSilent bool) {
	address, connect := g.listeners["public"], connectPlain
	if isSecure {
		address, connect = g.listeners["secure"], connectTLS
	}
	if isSilent {
		connect = connectPlain
	}
	c, err := connect(address, from)
	if err != nil {
		p.failed.Add(1)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if isSilent {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	_, _ = io.WriteString(c, request("/"))
	br := bufio.NewReader(c)
	answer, err := http.ReadResponse(br, nil)
	switch {
	case err != nil:
		p.failed.Add(1)
		return
	case answer.StatusCode != 101:
		p.refused.Add(1)
		return
	}
	p.promised.Add(1)
	frame := ws.MustCompileFrame(ws.MaskFrameWith(ws.NewTextFrame([]byte("hello")), [4]byte{1, 2, 3, 4}))
	if _, err := c.Write(frame); err != nil {
		p.broken.Add(1)
		return
	}
	if _, err := ws.ReadHeader(br); err != nil {
		p.broken.Add(1)
	}
}

// runWithDescriptors is runGateway with a limit of descriptors.
func runWithDescriptors(t *testing.T, descriptors int, config string) *gateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("ulimit -n %d && exec %s run -config %s", descriptors, sluice, path)
	return runProgram(t, "/bin/sh", func(string) {}, strings.Count(config, "[[listener]]"), "-c", script)
}

var needNamespaces = need{"unshare", "util-linux (Debian), and the right to use it", succeeds("unshare", "-rn", "true")}

// namespaceVariable makes a test run in a network of its own.
const namespaceVariable = "SLUICE_TEST_NAMESPACE"

// Faults C2.
func TestPortsThatRunOutAreNotTheBackendsFault(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		requires(t, needNamespaces)
		cmd := exec.Command("unshare", "-rn", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), namespaceVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const ports = 16
	if err := upLoopback(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "40000 %d", 40000+ports-1), 0o600); err != nil {
		t.Fatal(err)
	}
	backend := floodBackend(t)
	g := runGateway(t, strings.Replace(basics, "127.0.0.1:0", "127.0.0.2:0", 1)+poolAt(backend)+"[pool.health]\nkind = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n")
	status := func(i int) int {
		c, err := dialFrom(g.listeners["public"], fmt.Sprintf("127.0.3.%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, request("/"))
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 100))
		if answer.StatusCode != 101 && !strings.Contains(string(text), "no ports left") {
			t.Errorf("status %d, %q; want a word of ports", answer.StatusCode, text)
		}
		return answer.StatusCode
	}
	for i := 0; status(i) == 101; i++ {
		if i > ports {
			t.Fatalf("%d sessions with %d ports", i, ports)
		}
	}
	eventually(t, patience, "a warning of clients and of probes", func() bool {
		text := g.log.String()
		return strings.Contains(text, `"message":"clients are refused"`) && strings.Contains(text, `"message":"probes can't be made`)
	})
	if status(100) != 503 {
		t.Error("a client gets a session without a port")
	}
	text := g.metrics(t)
	if !strings.Contains(text, `reason="ports"`) || g.count(t, "sluice_backend_up") != 1 || g.count(t, "sluice_backend_failures_total") != 0 {
		t.Errorf("the backend is blamed:\n%s", text)
	}
}

// upLoopback turns the loopback device of the network namespace on.
func upLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
