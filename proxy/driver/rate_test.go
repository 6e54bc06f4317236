package driver

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// numbered returns n messages of a client that differ, from a number on.
func numbered(c *peer, from, n int) (p []byte) {
	for i := from; i < from+n; i++ {
		p = append(p, c.text(fmt.Sprintf("%d %s", i, strings.Repeat("x", i)))...)
	}
	return p
}

func TestWhatAClientSendsAtTenTimesItsRateArrivesAtTheRate(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		delayed := make(chan struct{}, 200)
		x := begin(t, k, setup{
			config:  relay.Config{MessageRate: relay.Rate{PerSecond: 100, Burst: 10}, ControlRate: relay.Rate{PerSecond: 10}},
			onDelay: func() { delayed <- struct{}{} },
		})
		start := time.Now()
		sent := bytes.Join([][]byte{numbered(x.client, 0, 60), numbered(x.client, 60, 50)}, x.client.ping("in between"))
		done := x.client.writeAll(sent)
		x.backend.want("the first half", numbered(x.client, 0, 60))
		x.client.wantFrame("the pong", isFin|opPong, "in between")
		x.wantPassed(t, start, 500*time.Millisecond)
		x.backend.want("the second half", numbered(x.client, 60, 50))
		x.wantPassed(t, start, time.Second)
		<-done
		if n := len(delayed); n < 30 || n > 100 { // those of which the turn has come when the loop comes to them don't wait
			t.Errorf("%d messages were delayed; want 100 at most", n)
		}
		x.backend.write(x.backend.text("the other way"))
		x.client.want("the other way", x.backend.text("the other way"))
		x.end(t)
	})
}

func TestALargeFrameArrivesAtTheRateOfBytes(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		const rate, burst, size = 2 << 20, 128 << 10, 1 << 20
		x := begin(t, k, setup{config: relay.Config{ByteRate: relay.Rate{PerSecond: rate, Burst: burst}}})
		payload := newNoise(1)[:size]
		frame := x.client.frame(isFin|opBinary, payload)
		start := time.Now()
		done := x.client.writeAll(frame)
		x.backend.want("the frame", frame)
		x.wantPassed(t, start, time.Second*(size-burst)/rate-time.Millisecond) // costs are rounded down
		<-done
		x.end(t)
	})
}

func TestAllThatADelayedClientSendsBeforeItsCloseArrives(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{MessageRate: relay.Rate{PerSecond: 100, Burst: 5}}})
		x.client.write(numbered(x.client, 0, 30), x.client.closing(1000, "done"))
		x.client.close()
		x.backend.want("all, and the close", append(numbered(x.client, 0, 30), x.client.closing(1000, "done")...))
		x.backend.write(x.backend.closing(1000, ""))
		x.backend.close()
		x.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
	})
}

func TestAClientOverItsRateIsClosedWithAReason(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{MessageRate: relay.Rate{PerSecond: 10, Burst: 3}, ClosesOverRate: true, OverRate: 1008}})
		x.client.write(numbered(x.client, 0, 5))
		x.client.wantClose("the close", 1008, relay.ReasonRate.Text())
		x.client.write(x.client.closing(1008, ""))
		x.backend.want("what came before its close", numbered(x.client, 0, 5))
		x.backend.wantClose("the close", 1008, relay.ReasonRate.Text())
		x.backend.write(x.backend.closing(1008, ""))
		x.client.close()
		x.backend.close()
		x.wantVerdict(t, relay.Gateway, 1008, relay.ReasonRate)
	})
}

// What waits for a slow backend doesn't wait for the rate meanwhile.
func TestASlowBackendIsNoFaultOfADelayedClient(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.OverRate = relay.Rate{PerSecond: 10, Burst: 2}, 1008
	p := newScripted(t, c)
	p.ends[relay.Backend].room = 0
	p.send(relay.Client, "1 000 0010  1 1111111  0x0000000000014000 0x00000000 *81920"+strings.Repeat(" "+clientHello, 9)) // over the queue's mark
	p.pass(c.PongTimeout[relay.Client] + time.Second)
	p.takes(relay.Backend, roomEnough)
	p.pass(2 * time.Second)
	p.wantsIdle(relay.Client, "no close")
	if n := len(p.ends[relay.Backend].written); n != 14+81920+9*11 {
		t.Errorf("the backend got %d bytes; want all", n)
	}
}

// end closes the session in good order.
func (x *exchange) end(t *testing.T) {
	t.Helper()
	x.client.write(x.client.closing(1000, ""))
	x.backend.want("the close", x.client.closing(1000, ""))
	x.backend.write(x.backend.closing(1000, ""))
	x.client.close()
	x.backend.close()
	x.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
}
