package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestASideThatTakesNothingForWriteTimeoutIsCut(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{config: relay.Config{WriteTimeout: time.Second}, isSmall: [2]bool{true, true}})
		stopped, p := x.peers(side)
		start := time.Now()
		done := p.writeAll(p.frame(isFin|opBinary, make([]byte, 2<<20)))
		<-done // not all of it can wait: the rest is read to be thrown away
		x.wantPassed(t, start, time.Second)
		r := x.wantResult(t)
		eventually(t, "nothing waits", func() bool { return x.driver.QueuedBytes() == 0 }) // that its stream was reset may still have to be sent
		if v := r.Verdict; v.Reason != relay.ReasonWriteTimeout || v.Side != side || v.Initiator != relay.Gateway {
			t.Errorf("verdict %+v; want write_timeout of the %s", v, side)
		}
		stopped.close()
	})
}

func TestASideThatWasNotReadIsHeardAgainWhenTheOtherIsCut(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{WriteTimeout: 500 * time.Millisecond}, isSmall: [2]bool{true, true}})
		c, b := x.client, x.backend
		start := time.Now()
		written := make(chan error, 1)
		go func() {
			_, err := b.conn.Write(append(b.frame(isFin|opBinary, make([]byte, 2<<20)), b.closing(1000, "done")...))
			written <- err
		}()
		b.wantClose("a client that takes nothing", 1001, "client lost")
		if err := <-written; err != nil {
			t.Errorf("backend writes: %v; want all of it to be read and thrown away", err)
		}
		b.close()
		x.wantVerdict(t, relay.Gateway, 1001, relay.ReasonWriteTimeout)
		x.wantPassed(t, start, 500*time.Millisecond)
		c.close()
	})
}

func TestABegunFrameThatDoesNotGoOnForWriteTimeoutIsALoss(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{config: relay.Config{WriteTimeout: 200 * time.Millisecond}})
		p, other := x.peers(side)
		half := p.text("this frame never ends")[:12]
		start := time.Now()
		p.write(half)
		other.want("half a frame", half)
		other.wantCut("its frame can't be finished")
		x.wantPassed(t, start, 200*time.Millisecond)
		if r := x.wantResult(t); r.Verdict.Reason != relay.ReasonFrameTimeout {
			t.Errorf("verdict %+v; want frame_timeout", r.Verdict)
		}
	})
}

func TestASessionWithoutDataIsClosedAfterIdleTimeout(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{IdleTimeout: 200 * time.Millisecond}})
		c, b := x.client, x.backend
		c.write(c.ping("is no data"))
		c.wantFrame("the pong", isFin|opPong, "is no data")
		start := time.Now()
		c.write(c.text("data"))
		b.want("data", c.text("data"))
		c.wantClose("idle", 1001, relay.ReasonIdle.Text())
		x.wantPassed(t, start, 200*time.Millisecond)
		c.write(c.closing(1001, ""))
		b.wantClose("idle", 1001, relay.ReasonIdle.Text())
		b.write(b.closing(1001, ""))
		c.close()
		b.close()
		x.wantVerdict(t, relay.Gateway, 1001, relay.ReasonIdle)
	})
}
