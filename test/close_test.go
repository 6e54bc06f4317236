//go:build unix

package test

import (
	"strings"
	"syscall"
	"testing"
)

func TestCloseCodesAndReasonsPassBothWays(t *testing.T) {
	t.Parallel()
	closes := []struct {
		code   int // as sent; 0: none
		reason string
		want   int // as told to both ends
	}{
		{1000, "", 1000},
		{1000, "done", 1000},
		{1001, "going away", 1001},
		{3000, "", 3000},
		{4001, strings.Repeat("reason ", 17) + "over", 4001},
		{4999, "Grüße", 4999},
		{0, "", 1005}, // RFC 6455 section 7.1.5: what a close without a code is told as
	}
	for _, pairing := range pairings {
		t.Run(pairing.name, func(t *testing.T) {
			client, backend := pairing.client(t), pairing.backend(t)
			g := runGateway(t, basics+toPool("/", "pool", backend.serve(t, false)))
			for _, test := range closes {
				for _, isByBackend := range []bool{false, true} {
					c := client.connect(t, command{URL: g.url("/")})
					b := backend.accept(t)
					closer, other := c, b
					if isByBackend {
						closer, other = b, c
					}
					closer.send(t, false, []byte("last words"))
					closer.close(t, test.code, test.reason)
					other.wantMessage(t, false, []byte("last words"))
					other.wantClose(t, test.want, test.reason)
					closer.wantClose(t, test.want, test.reason)
				}
			}
		})
	}
}

func TestAClientsPingIsAnsweredWhileItsBackendIsStopped(t *testing.T) {
	t.Parallel()
	eachPairing(t, func(t *testing.T, c, b *conn) { pingPastStopped(t, c, b) })
}

func TestABackendsPingIsAnsweredWhileItsClientIsStopped(t *testing.T) {
	t.Parallel()
	eachPairing(t, func(t *testing.T, c, b *conn) { pingPastStopped(t, b, c) })
}

// pingPastStopped pings while the process of the other end is stopped; afterwards the session lives on.
func pingPastStopped(t *testing.T, pinging, stopped *conn) {
	stopped.peer.signal(t, syscall.SIGSTOP)
	for _, data := range []string{"one", "two", ""} {
		pinging.ping(t, data)
		pinging.wantPong(t, data)
	}
	pinging.send(t, false, []byte("for later"))
	stopped.peer.signal(t, syscall.SIGCONT)
	stopped.wantPing(t, "one") // the next ones came before its pong
	stopped.wantMessage(t, false, []byte("for later"))
	stopped.wantNothing(t)
	stopped.send(t, false, []byte("still here"))
	pinging.wantMessage(t, false, []byte("still here"))
}

func TestAKilledBackendIsToldToItsClient(t *testing.T) {
	t.Parallel()
	eachPairing(t, func(t *testing.T, c, b *conn) {
		b.send(t, false, []byte("last words"))
		c.wantMessage(t, false, []byte("last words"))
		b.peer.signal(t, syscall.SIGKILL)
		c.wantClose(t, 1012, "backend lost")
	})
}

func TestAKilledClientIsToldToItsBackend(t *testing.T) {
	t.Parallel()
	eachPairing(t, func(t *testing.T, c, b *conn) {
		c.send(t, false, []byte("last words"))
		b.wantMessage(t, false, []byte("last words"))
		c.peer.signal(t, syscall.SIGKILL)
		b.wantClose(t, 1001, "client lost")
	})
}

// Data that the killed process had not read makes the kernel send a reset instead of an end of stream.
func TestABackendKilledWithUnreadDataIsToldToItsClient(t *testing.T) {
	t.Parallel()
	eachPairing(t, func(t *testing.T, c, b *conn) {
		b.peer.signal(t, syscall.SIGSTOP)
		c.send(t, false, []byte("never read"))
		c.ping(t, "behind it")
		c.wantPong(t, "behind it")
		b.peer.signal(t, syscall.SIGKILL)
		c.wantClose(t, 1012, "backend lost")
	})
}

// eachPairing runs a test with a relayed session of each pairing of peers.
func eachPairing(t *testing.T, test func(t *testing.T, c, b *conn)) {
	for _, pairing := range pairings {
		t.Run(pairing.name, func(t *testing.T) {
			client, backend := pairing.client(t), pairing.backend(t)
			g := runGateway(t, basics+toPool("/", "pool", backend.serve(t, false)))
			c := client.connect(t, command{URL: g.url("/")})
			test(t, c, backend.accept(t))
		})
	}
}
