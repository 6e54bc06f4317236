//go:build unix

package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// ways are what may become of a connection, right or wrong. Each ends the connections of its client.
var ways = []func(t *testing.T, g *gateway, backend rawBackend){
	func(t *testing.T, g *gateway, backend rawBackend) { // a session from beginning to end
		c, b := open(t, g, backend, "/")
		c.send(t, c.frame(ws.OpText, "hello")+c.closeFrame(1000, ""))
		b.wantFrame(t, ws.OpText, "hello")
		b.wantClose(t, 1000)
		b.send(t, b.closeFrame(1000, ""))
		c.wantClose(t, 1000)
		c.wantEnd(t)
		_ = c.Close()
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // a refusal
		c := dial(t, g.listeners["public"])
		c.send(t, request("/", "X : y"))
		c.wantRefusal(t, 400)
		_ = c.Close()
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a bad answer
		c := dial(t, g.listeners["public"])
		c.send(t, request("/"))
		b := backend.accept(t)
		b.send(t, "garbage\r\n")
		c.wantRefusal(t, 502)
		_ = c.Close()
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // a head that never ends
		c := dial(t, g.listeners["public"])
		c.send(t, "GET / HTTP/1.1\r\nHost: gate")
		_ = c.Close()
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a client that goes while its backend is asked
		c := dial(t, g.listeners["public"])
		c.send(t, request("/"))
		b := backend.accept(t)
		_ = c.Close()
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a client's reset inside a frame
		c, b := open(t, g, backend, "/")
		c.send(t, c.frame(ws.OpBinary, strings.Repeat("x", 10_000))[:5000])
		_ = c.SetLinger(0)
		_ = c.Close()
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a backend's end inside a frame
		c, b := open(t, g, backend, "/")
		b.send(t, b.frame(ws.OpBinary, strings.Repeat("x", 10_000))[:5000])
		_ = b.Close()
		c.wantGone(t)
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a fault
		c, b := open(t, g, backend, "/")
		c.send(t, "\xff\xff\xff")
		b.wantClose(t, 1001)
		_ = b.Close()
		c.wantClose(t, 1002)
		_ = c.Close()
	},
}

func TestNothingIsLeftOfConnectionsThatEnded(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		wantNothingLeft(t, runGateway(t, on(tuned(backend, ""))), backend, ways)
	})
}

// wantNothingLeft lets 200 connections come and end in various ways.
func wantNothingLeft(t *testing.T, g *gateway, backend rawBackend, ways []func(*testing.T, *gateway, rawBackend)) {
	t.Helper()
	descriptors := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for _, way := range ways { // what is made once is made by now
		way(t, g, backend)
	}
	eventually(t, patience, "no session", func() bool { return g.count(t, "sluice_sessions_active") == 0 })
	descriptorsBefore, goroutinesBefore := descriptors(), g.count(t, "go_goroutines")

	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		ways[random.IntN(len(ways))](t, g, backend)
	}
	for name, isBack := range map[string]func() bool{
		"sessions":          func() bool { return g.count(t, "sluice_sessions_active") == 0 },
		"places at backend": func() bool { return g.count(t, "sluice_backend_sessions") == 0 },
		"queued bytes":      func() bool { return g.count(t, "sluice_queued_bytes") == 0 },
		"descriptors":       func() bool { return descriptors() <= descriptorsBefore },
		"goroutines":        func() bool { return g.count(t, "go_goroutines") <= goroutinesBefore },
	} {
		eventually(t, patience, name+" as at the beginning", isBack)
	}
}
