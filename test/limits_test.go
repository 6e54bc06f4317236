//go:build unix

package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestAClientThatSendsTooFastIsDelayedAndCounted(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, "message_rate = 20\nmessage_burst = 5"))
	c, b := open(t, g, backend, "/")
	begin := time.Now()
	for i := range 20 {
		c.send(t, c.frame(ws.OpText, fmt.Sprint(i)))
	}
	for i := range 20 {
		if opcode, payload := b.answerPings(t); opcode != ws.OpText || payload != fmt.Sprint(i) {
			t.Fatalf("the backend got opcode %x, %q; want message %d", opcode, payload, i)
		}
	}
	if took := time.Since(begin); took < 750*time.Millisecond {
		t.Errorf("20 messages took %v; want what 15 need at the rate", took)
	}
	if n := g.count(t, "sluice_messages_delayed_total"); n == 0 || n > 15 {
		t.Errorf("%v messages were delayed; want 15 at most", n)
	}
}

func TestAClientThatSendsTooFastIsClosedIfItsRouteSaysSo(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, "byte_rate = \"1KiB\"\nover_rate = \"close\"\n[route.close_codes]\nrate = 3013"))
	c, _ := open(t, g, backend, "/")
	c.send(t, c.frame(ws.OpText, string(make([]byte, 2000))))
	opcode, payload := c.answerPings(t)
	wantCloseFrame(t, opcode, payload, 3013)
}

func TestASessionIsClosedAtItsMaximumAge(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, `max_lifetime = "1s"`))
	begin := time.Now()
	c, _ := open(t, g, backend, "/")
	opcode, payload := c.answerPings(t)
	wantCloseFrame(t, opcode, payload, 1001)
	if lived := time.Since(begin); lived < 900*time.Millisecond {
		t.Errorf("closed after %v; want nine tenths of max_lifetime at least", lived)
	}
}
