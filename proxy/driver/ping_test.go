package driver

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestAPingIsAnsweredWhileTheOtherSideTakesNothing(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{isSmall: [2]bool{true, true}})
		p, other := x.peers(side)
		data := p.frame(isFin|opBinary, make([]byte, highMark-1<<10))
		p.write(data, p.ping("alive?"))
		p.wantFrame("the pong after data that waits for the other side", isFin|opPong, "alive?")
		other.want("the data", data)
	})
}

func TestAPongWaitsForTheEndOfTheFrameIntoItsSide(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{})
		p, other := x.peers(side)
		frame := other.text("a frame in two parts")
		other.write(frame[:10])
		p.want("the first part", frame[:10])
		p.write(p.ping("1"), p.ping("2"), p.text("mark"))
		other.want("what followed the pings", p.text("mark"))
		other.write(frame[10:])
		p.want("the rest of the frame, the pongs not in it", frame[10:])
		p.wantFrame("the first pong", isFin|opPong, "1")
		p.wantFrame("the second pong", isFin|opPong, "2")
	})
}

func TestPongsForASideThatTakesNoneStayWithinTheBoundAndAllArrive(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{isSmall: [2]bool{true, true}})
		p, _ := x.peers(side)
		const count = 10_000
		var pings []byte
		for i := range count {
			pings = append(pings, p.ping(fmt.Sprintf("%0100d", i))...)
		}
		done := p.writeAll(pings)
		eventually(t, "pongs wait", func() bool { return x.driver.QueuedBytes() > 0 })
		for i := range count {
			p.wantFrame("a pong", isFin|opPong, fmt.Sprintf("%0100d", i))
			if n := x.driver.QueuedBytes(); n > MaxQueued {
				t.Fatalf("%d bytes wait; want %d at most", n, MaxQueued)
			}
		}
		<-done
	})
}

// The pong to a backend is three times as long as a ping without payload.
func TestEmptyPingsOfABackendThatTakesNoPongStayWithinTheBound(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{isSmall: [2]bool{false, true}})
		const count = 1 << 20
		done := x.backend.writeAll(bytes.Repeat(x.backend.ping(""), count))
		eventually(t, "pongs wait", func() bool { return x.driver.QueuedBytes() > 0 })
		for left := count * len(x.client.pong("")); left > 0; {
			left -= len(x.backend.read(min(left, 4<<10)))
			if n := x.driver.QueuedBytes(); n > MaxQueued {
				t.Fatalf("%d bytes wait; want %d at most", n, MaxQueued)
			}
		}
		<-done
	})
}

func TestAPingOfTheGatewayMeasuresTheRoundTrip(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{PingInterval: both(20 * time.Millisecond)}})
		eventually(t, "both round-trip times are known", func() bool {
			for _, p := range []*peer{x.client, x.backend} {
				first, payload := p.readFrame()
				if first != isFin|opPing || len(payload) != 8 {
					t.Fatalf("%s got %x %x; want a ping of 8 bytes", p.side, first, payload)
				}
				p.write(p.pong(string(payload)))
			}
			// A pong may overtake the news that its ping is sent.
			st, isLive := x.handle.Stats()
			return isLive && st.RTT[relay.Client] > 0 && st.RTT[relay.Backend] > 0
		})
	})
}

func TestASideThatAnswersNoPingIsCutAfterPongTimeout(t *testing.T) {
	for side, want := range map[relay.Side]struct {
		code uint16
		text string
	}{relay.Client: {1001, "client lost"}, relay.Backend: {1011, "backend lost"}} {
		t.Run(side.String(), func(t *testing.T) {
			play(t, func(t *testing.T, k *kind) {
				start := time.Now()
				x := begin(t, k, setup{config: relay.Config{PingInterval: both(100 * time.Millisecond), PongTimeout: both(200 * time.Millisecond)}})
				dead, alive := x.peers(side)
				first, payload := alive.readFrame()
				for first == isFin|opPing {
					alive.write(alive.pong(string(payload)))
					first, payload = alive.readFrame()
				}
				x.wantPassed(t, start, 300*time.Millisecond)
				if first != isFin|opClose || len(payload) < 2 || string(payload[2:]) != want.text {
					t.Errorf("%s got %x %q; want a close that says %q", alive.side, first, payload, want.text)
				}
				alive.write(alive.closing(want.code, ""))
				alive.close()
				first, _ = dead.readFrame()
				if first != isFin|opPing {
					t.Errorf("%s got %x; want a ping", dead.side, first)
				}
				dead.wantCut("no answer to the ping")
				x.wantVerdict(t, relay.Gateway, want.code, relay.ReasonPongTimeout)
			})
		})
	}
}

func TestPongTimeoutStartsWhenThePingHasLeftTheQueue(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{
			config:  relay.Config{PingInterval: both(time.Second), PongTimeout: both(2 * time.Second)},
			isSmall: [2]bool{true, true},
		})
		slow, alive := x.peers(side)
		data := alive.frame(isFin|opBinary, make([]byte, highMark-1<<10))
		alive.write(data)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			answerPings(alive)
		}()
		time.Sleep(1500 * time.Millisecond) // the ping waits after the data now
		slow.want("some of the data", data[:lowMark])
		time.Sleep(2500 * time.Millisecond) // longer than a ping that has left may be out
		slow.want("the rest", data[lowMark:])
		first, payload := slow.readFrame()
		if first != isFin|opPing {
			t.Fatalf("%s got %x; want the ping", slow.side, first)
		}
		time.Sleep(time.Millisecond) // where clocks jump, there would be no time between the ping and its answer
		slow.write(slow.pong(string(payload)))
		eventually(t, "the round-trip time is known", func() bool {
			st, isLive := x.handle.Stats()
			return isLive && st.RTT[side] > 0
		})
		alive.close()
		<-ended
	})
}

// answerPings answers pings of the gateway, which are all that comes, until the connection ends.
func answerPings(p *peer) {
	size := len((&peer{side: p.side.Other()}).ping("8 bytes."))
	b := make([]byte, size)
	for {
		_, err := io.ReadFull(p.conn, b)
		if err == nil {
			_, err = p.conn.Write(p.pong(string(unmasked(b, size-8))))
		}
		if err != nil {
			return
		}
	}
}
