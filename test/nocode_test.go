//go:build unix

package test

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

const noCodes = "[route.close_codes]\ndrained = 0\nbackend_lost = 0\nclient_lost = 0"

// Faults B16, B17. What goes the other way goes on, as in a tunnel.
func TestALossWithoutACodeIsAnEndOfTheStream(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*wire) error{
		"end of stream": func(w *wire) error { return w.CloseWrite() },
		"reset": func(w *wire) error {
			_ = w.SetLinger(0)
			return w.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, noCodes, func(t *testing.T, one, other *wire, _ ws.StatusCode) {
				one.send(t, one.frame(ws.OpText, "last"))
				other.wantFrame(t, ws.OpText, "last")
				if err := lose(one); err != nil {
					t.Fatal(err)
				}
				other.wantEnd(t)
				if name == "reset" {
					return
				}
				other.send(t, other.frame(ws.OpText, "late"))
				one.wantFrame(t, ws.OpText, "late")
				if err := other.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				one.wantEnd(t)
			})
		})
	}
}

// Faults B17.
func TestADrainWithoutACodeIsAnEndOfBothStreams(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, noCodes)))
		c, b := open(t, g, backend, "/")
		b.send(t, b.frame(ws.OpText, "last"))
		c.wantFrame(t, ws.OpText, "last")
		g.stop(t)
		c.wantEnd(t)
		b.wantEnd(t)
	})
}

// Faults B18.
func TestABackendThatEndsAtItsFirstPingIsNamed(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "ping_interval = \"100ms\"")))
		for range 2 {
			c, b := open(t, g, backend, "/")
			if opcode, payload := b.nextFrame(t); opcode != ws.OpPing {
				t.Fatalf("got opcode %x, %q; want a ping", opcode, payload)
			}
			_ = b.Close()
			if opcode, payload := c.answerPings(t); opcode != ws.OpClose {
				t.Fatalf("got opcode %x, %q; want a close", opcode, payload)
			}
			_ = c.Close()
		}
		eventually(t, patience, "both access lines", func() bool { return strings.Count(g.log.String(), `"reason":"ping_refused"`) == 2 })
		if n := strings.Count(g.log.String(), "backend ends a session at the first ping"); n != 1 {
			t.Errorf("%d warnings; want 1", n)
		}
	})
}

// Faults B18: the way out.
func TestABackendIsNotPingedWhereItsIntervalIsOff(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "ping_interval = \"50ms\"\nbackend_ping_interval = \"0s\"")))
		c, b := open(t, g, backend, "/")
		for range 5 {
			opcode, payload := c.nextFrame(t)
			if opcode != ws.OpPing {
				t.Fatalf("got opcode %x, %q; want a ping", opcode, payload)
			}
			c.send(t, c.frame(ws.OpPong, payload))
		}
		c.send(t, c.frame(ws.OpText, "data"))
		b.wantFrame(t, ws.OpText, "data")
	})
}
