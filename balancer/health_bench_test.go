package balancer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/balancer/probe"
	"sluice/internal/echo"
)

// backendsEnv makes the test binary serve this many backends instead of running tests.
const backendsEnv = "SLUICE_TEST_BACKENDS"

// serveBackends listens on n ports of loopback, prints their addresses, and answers HTTP and
// WebSocket handshakes until its standard input ends.
func serveBackends(n string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	for range count {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(ln.Addr())
		// Without a descriptor echo needs no loops for each listener.
		go func() { _ = echo.Serve(context.Background(), struct{ net.Listener }{ln}, echo.Options{}) }()
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// BenchmarkHealthOfThousand runs the probes of 1,000 backends for ten seconds and reports their cost to
// this process, user and system, in percent of one core. The backends are another process. It does
// not show what probes cost the backends, nor the path between machines. Run with -benchtime 1x.
func BenchmarkHealthOfThousand(b *testing.B) {
	for _, kind := range []string{probe.TCP, probe.HTTP, probe.WebSocket} {
		b.Run(kind, func(b *testing.B) {
			addresses := startBackends(b, 1000)
			c := configOf(PolicyLeastConn, 0)
			for _, a := range addresses {
				c.Backend = append(c.Backend, BackendConfig{Address: a, Weight: 1})
			}
			c.Health = healthConfig(0).Health
			c.Health.Kind = kind
			for b.Loop() {
				p := newPool(b, c)
				go p.Run(b.Context(), Owner{})
				time.Sleep(c.Health.Interval.Std()) // goroutines and their stacks are made
				before, start := cpuTime(b), time.Now()
				time.Sleep(2 * c.Health.Interval.Std())
				used, took := cpuTime(b)-before, time.Since(start)
				for _, s := range p.Status() {
					if s.State != Up || s.Failures["probe"] != 0 {
						b.Fatalf("%s is %v after %d failed probes", s.Name, s.State, s.Failures["probe"])
					}
				}
				p.Close()
				b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
			}
		})
	}
}

// startBackends starts n backends in a process of their own and returns their addresses.
func startBackends(b *testing.B, n int) []string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), backendsEnv+"="+strconv.Itoa(n))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	var addresses []string
	for lines := bufio.NewScanner(stdout); len(addresses) < n && lines.Scan(); {
		addresses = append(addresses, strings.TrimSpace(lines.Text()))
	}
	if len(addresses) != n {
		b.Fatalf("%d backends; want %d", len(addresses), n)
	}
	return addresses
}
