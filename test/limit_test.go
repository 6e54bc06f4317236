//go:build unix

package test

import (
	"fmt"
	"strings"
	"testing"
)

func TestAHeadThatDoesNotEndInTimeIsRefused(t *testing.T) {
	t.Parallel()
	g := runGateway(t, basics+"head_timeout = \"300ms\"\n"+toPool("/", "pool", closedPort))
	c := dial(t, g.listeners["public"])
	c.send(t, "GET / HTTP/1.1\r\nHost: gateway.test\r\n")
	c.wantRefusal(t, 408)
	// Who says nothing at all is told nothing.
	dial(t, g.listeners["public"]).wantEnd(t)
}

func TestABackendThatCannotBeReachedIsToldAs502(t *testing.T) {
	t.Parallel()
	g := runGateway(t, basics+toPool("/", "pool", closedPort))
	c := dial(t, g.listeners["public"])
	c.send(t, request("/"))
	c.wantRefusal(t, 502)
}

func TestABackendThatEndsInsteadOfAnsweringIsToldAs502(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+toPool("/", "pool", backend.port()))
	c := dial(t, g.listeners["public"])
	c.send(t, request("/"))
	b := backend.accept(t)
	b.send(t, "HTTP/1.1 101 Switching")
	_ = b.Close()
	c.wantRefusal(t, 502)
}

func TestTheNextBackendTakesTheSessionWhereOneCannotBeReached(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+fmt.Sprintf(`
[[route]]
pool = "pool"
[[pool]]
name = "pool"
policy = "round_robin"
backend = [{ address = "127.0.0.1:%d" }, { address = %q }]
`, closedPort, backend.Addr()))
	for range 4 {
		open(t, g, backend, "/")
	}
}

func TestAGatewayWithAllItsSessionsRefusesMore(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	wantOneSession(t, strings.Replace(basics, "[admin]", "max_sessions = 1\n[admin]", 1)+toPool("/", "pool", backend.port()), backend)
}

func TestABackendWithAllItsSessionsGetsNoMore(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	wantOneSession(t, basics+fmt.Sprintf("[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q, max_sessions = 1 }]\n", backend.Addr()), backend)
}

// wantOneSession checks that there can be one session at a time, and another after it.
func wantOneSession(t *testing.T, config string, backend rawBackend) {
	t.Helper()
	g := runGateway(t, config)
	for range 2 {
		c, b := open(t, g, backend, "/")
		refused := dial(t, g.listeners["public"])
		refused.send(t, request("/"))
		if response := refused.wantRefusal(t, 503); response.Header.Get("Retry-After") == "" {
			t.Errorf("a 503 for want of room says nothing of when to come back: %v", response.Header)
		}
		c.send(t, c.closeFrame(1000, ""))
		b.wantClose(t, 1000)
		b.send(t, b.closeFrame(1000, ""))
		b.wantGone(t)
		c.wantClose(t, 1000)
		c.wantEnd(t)
		_ = c.Close()
		eventually(t, patience, "the session is over", func() bool {
			return strings.Contains(g.metrics(t), "\nsluice_backend_sessions{backend=\""+backend.Addr().String()+"\",pool=\"pool\"} 0\n")
		})
	}
}
