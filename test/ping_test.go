//go:build unix

package test

import (
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestASideThatAnswersPingsLives(t *testing.T) {
	t.Parallel()
	bothWays(t, "ping_interval = \"100ms\"", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		begin := time.Now()
		for range 3 {
			for _, w := range []*wire{one, other} {
				opcode, payload := w.nextFrame(t)
				if opcode != ws.OpPing {
					t.Fatalf("got opcode %x, want a ping", opcode)
				}
				w.send(t, w.frame(ws.OpPong, payload))
			}
		}
		// Not as late as half of pong_timeout, when a ping without an answer is looked after.
		if took := time.Since(begin); took > slack {
			t.Errorf("3 pings at ping_interval = 100ms take %v", took)
		}
		one.send(t, one.frame(ws.OpText, "alive"))
		if opcode, payload := other.answerPings(t); opcode != ws.OpText || payload != "alive" {
			t.Errorf("got opcode %x, %q; want the text, and no pong of the other side", opcode, payload)
		}
	})
}
