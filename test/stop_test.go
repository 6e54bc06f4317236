//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// draining is basics with a drain of that time, and a route whose sessions have a second to close.
func draining(keys string, backendPort int) string {
	return strings.Replace(basics, `drain = "0s"`, keys, 1) + fmt.Sprintf(`
[[route]]
pool = "pool"
close_timeout = "1s"
[[pool]]
name = "pool"
backend = [{ address = "127.0.0.1:%d" }]
`, backendPort)
}

func TestAStopClosesLiveSessionsWith1012AndExitsWith0(t *testing.T) {
	t.Parallel()
	client, backend := startNode(t), startPython(t)
	g := runGateway(t, draining(`drain = "1s"`, backend.serve(t, false)))
	type session struct{ c, b *conn }
	var sessions []session
	for range 10 {
		c := client.connect(t, command{URL: g.url("/")})
		sessions = append(sessions, session{c, backend.accept(t)})
	}
	begin := time.Now()
	g.signal(t, syscall.SIGTERM)
	eventually(t, patience, "new connections are refused", g.refusesConnections)
	for _, s := range sessions {
		s.c.wantClose(t, 1012, "gateway is stopping, reconnect")
		s.b.wantClose(t, 1012, "gateway is stopping, reconnect")
	}
	// One session's close is as late as chance has it; all of them within drain and close_timeout.
	if code := g.exitCode(t, time.Until(begin.Add(2*time.Second+slack))); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// slack is what a bound of time may be exceeded by on a busy machine.
const slack = 3 * time.Second

// refusesConnections tells whether nobody listens at the listener any more.
func (g *gateway) refusesConnections() bool {
	c, err := net.Dial("tcp", g.listeners["public"])
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func TestSessionsThatAreNotReadDelayAStopByWriteTimeoutAtMostAndNoOtherSession(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	config := strings.Replace(draining(`drain = "0s"`, backend.port()), "close_timeout", "write_timeout = \"4s\"\nclose_timeout", 1)
	g := runGateway(t, config)
	for range 3 {
		_, b := open(t, g, backend, "/")
		// Until neither the sockets nor the gateway take more: the client reads nothing.
		stuff := strings.Repeat(b.frame(ws.OpBinary, strings.Repeat("x", 1<<16)), 16)
		var err error
		for err == nil {
			_ = b.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			_, err = io.WriteString(b, stuff)
		}
	}
	reading, _ := open(t, g, backend, "/")
	begin := time.Now()
	g.signal(t, syscall.SIGTERM)
	reading.wantClose(t, 1012)
	if code := g.exitCode(t, time.Until(begin.Add(5*time.Second+slack))); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, draining(`drain = "1m"`, backend.port()))
	open(t, g, backend, "/")
	open(t, g, backend, "/")
	g.signal(t, syscall.SIGTERM)
	eventually(t, patience, "new connections are refused", g.refusesConnections)
	g.signal(t, syscall.SIGTERM)
	if code := g.exitCode(t, slack); code == 0 {
		t.Error("exit code 0, want that of a process that a signal ended")
	}
}

func TestReadinessGoesBeforeTheListenersDo(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, draining("drain = \"0s\"\ndrain_delay = \"1s\"", backend.port()))
	c, b := open(t, g, backend, "/")
	g.signal(t, syscall.SIGTERM)
	eventually(t, patience, "/readyz is 503", func() bool { return g.readiness() == http.StatusServiceUnavailable })
	// Whoever sends clients here may not have looked yet: they are served still.
	c.send(t, c.frame(ws.OpText, "as before"))
	b.wantFrame(t, ws.OpText, "as before")
	late, _ := open(t, g, backend, "/")
	c.wantClose(t, 1012)
	late.wantClose(t, 1012)
	if code := g.exitCode(t, time.Second+slack); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
