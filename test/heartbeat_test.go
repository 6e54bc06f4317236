//go:build unix

package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Faults B13: an active client, which the gateway has no cause to ping, ends itself unless it sees the pings of its server.
func TestAClientThatLivesByItsServersPingsLives(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		client, backend := startNode(t), startNode(t)
		const every, within = 200, 4000 // the README's 30 and 31 s; a busy machine needs more than a second of tolerance
		g := runGateway(t, on(basics+toPool("/", "pool", backend.listen(t, command{PingEvery: every}))))
		c := client.connect(t, command{URL: "ws://" + g.listeners["public"] + "/", PingWithin: within})
		b := backend.accept(t)
		pings := 0
		for end := time.Now().Add(within*time.Millisecond + time.Second); time.Now().Before(end); {
			c.send(t, false, []byte("active"))
			switch e := c.next(t); e.Event {
			case "ping":
				pings++
			case "close", "error":
				t.Fatalf("the client got %v after %d pings", e, pings)
			}
			for waits := true; waits; {
				select {
				case e := <-backend.events(b.number):
					if e.Event == "close" || e.Event == "error" {
						t.Fatalf("the backend got %v", e)
					}
				default:
					waits = false
				}
			}
		}
		if pings < 2 {
			t.Errorf("the client saw %d pings", pings)
		}
	})
}

// Faults B13: the other way round, and the gateway's keys.
func TestAPingIsMirroredUnlessTheRouteSaysOtherwise(t *testing.T) {
	t.Parallel()
	for keys, isMirrored := range map[string]bool{"": true, `ping = "mirror"`: true, `ping = "answer"`: false} {
		t.Run(keys, func(t *testing.T) {
			bothWays(t, keys, func(t *testing.T, one, other *wire, _ ws.StatusCode) {
				for i := range 3 {
					text := fmt.Sprintf("ping %d", i)
					one.send(t, one.frame(ws.OpPing, text)+one.frame(ws.OpPing, "at once")+one.frame(ws.OpText, "data"))
					one.wantFrame(t, ws.OpPong, text)
					one.wantFrame(t, ws.OpPong, "at once")
					if isMirrored {
						other.wantFrame(t, ws.OpPing, text)
						other.send(t, other.frame(ws.OpPong, text)+other.frame(ws.OpText, "answered"))
						one.wantFrame(t, ws.OpText, "answered")
					}
					other.wantFrame(t, ws.OpText, "data")
				}
			})
		})
	}
}

// Faults B10: a backend that stands still for longer than a client may, and for less than backend_pong_timeout.
func TestABackendThatStandsStillKeepsItsSessions(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		const pongTimeout = 3 * time.Second
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, fmt.Sprintf("ping_interval = \"200ms\"\npong_timeout = \"%v\"", pongTimeout))))
		c, b := open(t, g, backend, "/")
		c.send(t, c.frame(ws.OpText, "before"))
		if opcode, payload := b.answerPings(t); opcode != ws.OpText || payload != "before" {
			t.Fatalf("got opcode %x, %q; want the text", opcode, payload)
		}
		c.send(t, c.frame(ws.OpText, "meanwhile"))
		for end := time.Now().Add(2 * pongTimeout); time.Now().Before(end); {
			c.send(t, c.frame(ws.OpPing, "still there?"))
			if opcode, payload := c.answerPings(t); opcode != ws.OpPong || payload != "still there?" {
				t.Fatalf("got opcode %x, %q; want the pong", opcode, payload)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if opcode, payload := b.answerPings(t); opcode != ws.OpText || payload != "meanwhile" {
			t.Fatalf("got opcode %x, %q; want the text", opcode, payload)
		}
		b.send(t, b.frame(ws.OpText, "after"))
		if opcode, payload := c.answerPings(t); opcode != ws.OpText || payload != "after" {
			t.Fatalf("got opcode %x, %q; want the text", opcode, payload)
		}
	})
}
