//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// answerPings answers pings until a frame of another kind comes.
func (w *wire) answerPings(t *testing.T) (ws.OpCode, string) {
	t.Helper()
	for {
		opcode, payload := w.nextFrame(t)
		if opcode != ws.OpPing {
			return opcode, payload
		}
		w.send(t, w.frame(ws.OpPong, payload))
	}
}

func TestASideThatAnswersNoPingIsLost(t *testing.T) {
	t.Parallel()
	bothWays(t, "ping_interval = \"100ms\"\npong_timeout = \"1s\"", func(t *testing.T, one, other *wire, lost ws.StatusCode) {
		opcode, payload := other.answerPings(t)
		wantCloseFrame(t, opcode, payload, lost)
		one.nextFrame(t) // the ping
		one.wantGone(t)
	})
}

func TestPingsAreForwardedWhereTheRouteSaysSo(t *testing.T) {
	t.Parallel()
	bothWays(t, "ping = \"forward\"\nping_interval = \"100ms\"", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		// The gateway's own ping has 8 bytes; its pong goes no further.
		opcode, own := other.nextFrame(t)
		if opcode != ws.OpPing || len(own) != 8 {
			t.Fatalf("got opcode %x, %q; want a ping of 8 bytes", opcode, own)
		}
		other.send(t, other.frame(ws.OpPong, own)+other.frame(ws.OpPong, "unasked"))
		one.send(t, one.frame(ws.OpPing, "a question of the side's"))
		seen := ""
		for seen != "a question of the side's" {
			if opcode, seen = other.nextFrame(t); opcode != ws.OpPing {
				t.Fatalf("got opcode %x, %q; want pings", opcode, seen)
			}
		}
		other.send(t, other.frame(ws.OpPong, seen))
		for _, want := range []string{"unasked", "a question of the side's"} {
			if opcode, payload := one.answerPings(t); opcode != ws.OpPong || payload != want {
				t.Errorf("got opcode %x, %q; want the pong %q", opcode, payload, want)
			}
		}
	})
}

func TestASessionWithoutDataIsClosedAfterIdleTimeoutThoughItPings(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, `idle_timeout = "700ms"`))
	begin := time.Now()
	c, b := open(t, g, backend, "/")
	for {
		c.send(t, c.frame(ws.OpPing, "?"))
		opcode, payload := c.nextFrame(t)
		if opcode == ws.OpPong {
			continue
		}
		wantCloseFrame(t, opcode, payload, 1001)
		break
	}
	if lived := time.Since(begin); lived < 700*time.Millisecond {
		t.Errorf("closed after %v, want idle_timeout", lived)
	}
	c.send(t, c.closeFrame(1001, ""))
	opcode, payload := b.answerPings(t)
	wantCloseFrame(t, opcode, payload, 1001)
}

// Who asks and doesn't listen is not asked to go on: what the gateway keeps for him has a bound.
func TestAFloodOfPingsIsAnsweredInOrderAndHeldBack(t *testing.T) {
	t.Parallel()
	bothWays(t, "", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		const mostPings = 400_000
		ask := func(i int) string { return fmt.Sprintf("%0100d", i) }
		asked, rest := 0, ""
		for ; asked < mostPings && rest == ""; asked++ {
			frame := one.frame(ws.OpPing, ask(asked))
			_ = one.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := io.WriteString(one, frame)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			rest = frame[n:]
		}
		if asked == mostPings {
			t.Fatalf("all of %d pings are taken from a side that reads no pong", mostPings)
		}
		sent := make(chan error, 1)
		go func() {
			_ = one.SetWriteDeadline(time.Now().Add(patience))
			_, err := io.WriteString(one, rest+one.frame(ws.OpText, "behind all pings"))
			sent <- err
		}()
		for i := range asked {
			if opcode, payload := one.nextFrame(t); opcode != ws.OpPong || payload != ask(i) {
				t.Fatalf("got opcode %x, %q; want pong %d of %d", opcode, payload, i, asked)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if opcode, payload := other.answerPings(t); opcode != ws.OpText || payload != "behind all pings" {
			t.Errorf("got opcode %x, %q; want what came behind all pings", opcode, payload)
		}
	})
}

func TestTheFirstFrameOfACompressedMessageAloneHasRSV1(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, ""))
	c := dial(t, g.listeners["public"])
	c.send(t, request("/", "Sec-WebSocket-Extensions: permessage-deflate"))
	b := backend.accept(t)
	b.send(t, switching("Sec-WebSocket-Extensions: permessage-deflate"))
	c.wantOpen(t)
	first, last := "\x41\x81\x00\x00\x00\x00x", "\x80\x81\x00\x00\x00\x00y"
	c.send(t, first+last+first+"\xc0\x81\x00\x00\x00\x00z")
	got := make([]byte, len(first+last+first))
	b.mayWait()
	if _, err := io.ReadFull(b.reader, got); err != nil || string(got) != first+last+first {
		t.Fatalf("got %x, %v; want %x", got, err, first+last+first)
	}
	b.wantClose(t, 1001)
	b.send(t, b.closeFrame(1001, ""))
	c.wantClose(t, 1002)
	if !strings.Contains(g.metrics(t), `sluice_protocol_errors_total{rule="reserved_bit",side="client"} 1`) {
		t.Error("the fault isn't counted")
	}
}
