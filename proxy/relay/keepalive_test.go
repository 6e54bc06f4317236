package relay

import (
	"fmt"
	"testing"
	"time"
)

// pingConfig pings after 30 s and waits 10 s.
func pingConfig() Config {
	c := testConfig()
	c.PingInterval, c.PongTimeout = 30*time.Second, 10*time.Second
	return c
}

// answerTo takes the gateway's own ping that was written to a side and draws the side's pong.
func answerTo(p *pair, side Side) string {
	p.t.Helper()
	got := p.ends[side].wire
	p.ends[side].wire = nil
	header := wire(p.t, pingToClient)
	if side == Backend {
		header = wire(p.t, pingToBackend)
	}
	if len(got) < len(header) || string(got[:len(header)]) != string(header) {
		p.t.Fatalf("%s got %x; want a ping", side, got)
	}
	if side == Client {
		return fmt.Sprintf("1 000 1010  1 0001000  0x00000000 0x%x", got[2:10])
	}
	var buf [maxControlPayload]byte
	return fmt.Sprintf("1 000 1010  0 0001000  0x%x", payload(buf[:], Client, got[:14]))
}

// newPingPair is newPair with pings; the side other than silent lets itself be heard all the time.
func newPingPair(t testing.TB, silent Side) *pair {
	p := newPair(t, pingConfig())
	p.ends[silent.Other()].isLively = true
	return p
}

// wantsPing checks that a ping, and nothing else, was written to a side.
func (p *pair) wantsPing(side Side) {
	p.t.Helper()
	n := 10
	if side == Backend {
		n = 14
	}
	if len(p.ends[side].wire) != n {
		p.t.Fatalf("%s got %x; want a ping", side, p.ends[side].wire)
	}
	answerTo(p, side)
}

func TestSilentSideIsPingedAndItsPongEndsTheWait(t *testing.T) {
	sides(t, pingConfig(), func(p *pair, a, b Side) {
		p.ends[b].isLively = true
		p.pass(20 * time.Second)
		p.send(b, hello[b])
		p.wants(a, "data to the silent side", hello[b])
		p.pass(10*time.Second - 1)
		p.wantsIdle(a, "not yet")
		p.pass(1)
		answer := answerTo(p, a)
		p.pass(250 * time.Millisecond)
		p.send(a, answer)
		if got := p.core.RTT(a); got != 250*time.Millisecond {
			p.t.Errorf("round-trip time is %v; want 250ms", got)
		}
		if h := p.totals.RTT[a]; h.Sum != 250*time.Millisecond {
			p.t.Errorf("histogram is %+v", h)
		}
		p.wantsIdle(a, "an answered ping isn't repeated")
		p.pass(30*time.Second - 1)
		p.wantsIdle(a, "not yet")
		p.pass(1)
		p.wantsPing(a)
	})
}

func TestSideThatIsHeardIsNotPinged(t *testing.T) {
	p := newPair(t, pingConfig())
	for range 10 {
		p.pass(30*time.Second - 1)
		p.send(Client, clientPong)
		p.send(Backend, backendPong)
	}
	p.wantsIdle(Client, "it is alive")
	p.wantsIdle(Backend, "it is alive")
}

func TestNoPingsWithoutAnInterval(t *testing.T) {
	p := newPair(t, testConfig())
	p.pass(24 * time.Hour)
	p.wantsIdle(Client, "no ping")
	p.wantsIdle(Backend, "no ping")
}

func TestSilenceAfterAPingIsALoss(t *testing.T) {
	sides(t, pingConfig(), func(p *pair, a, b Side) {
		p.ends[b].isLively = true
		p.pass(40*time.Second - 1)
		p.wantsPing(a)
		p.wantsOpen(a)
		p.pass(1)
		p.wantsReset(a)
		p.wants(b, "loss", lost[b])
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: p.env.Config.lostCode(a), Reason: ReasonPongTimeout, Side: a})
	})
}

func TestAnyByteAfterAPingIsASignOfLife(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(30 * time.Second)
	p.wantsPing(Client)
	for range 10 {
		p.pass(10*time.Second - 1)
		p.send(Client, clientHello)
	}
	p.wantsOpen(Client)
	if p.core.RTT(Client) != 0 {
		t.Error("a round-trip time without a pong")
	}
	p.wantsIdle(Client, "one ping is outstanding at most")
	p.pass(10 * time.Second)
	p.wantsReset(Client)
}

func TestPongOfAnotherPayloadIsNotTheAnswer(t *testing.T) {
	script(t, pingConfig(), func(p *pair) {
		p.pass(30 * time.Second)
		answer := answerTo(p, Client)
		p.send(Client, clientPong, "1 000 1010  1 0001000  0x00000000 'notmine!'", "1 000 1010  1 0000000 0x00000000")
		if p.core.RTT(Client) != 0 {
			p.t.Error("a round-trip time from another's pong")
		}
		p.pass(time.Second)
		p.send(Client, answer)
		if got := p.core.RTT(Client); got != time.Second {
			p.t.Errorf("round-trip time is %v; want 1s", got)
		}
	})
}

func TestPongsTimeBeginsWhenThePingHasGone(t *testing.T) {
	p := newPingPair(t, Client)
	p.takes(Client, 0)
	p.send(Backend, backendHello)
	p.pass(30 * time.Second)
	p.takes(Client, 7+9) // all but the ping's last byte
	p.pass(20 * time.Second)
	p.wantsOpen(Client)
	p.takes(Client, 1)
	p.pass(10*time.Second - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
}

func TestPingsTimeIsNotThatOfWhatIsQueuedBehindIt(t *testing.T) {
	p := newPingPair(t, Client)
	p.takes(Client, 0)
	p.pass(30 * time.Second)
	p.send(Backend, backendHello)
	p.takes(Client, 10)
	answer := answerTo(p, Client)
	p.pass(2 * time.Second)
	p.send(Client, answer)
	if got := p.core.RTT(Client); got != 2*time.Second {
		t.Errorf("round-trip time is %v; want 2s", got)
	}
}

func TestClockStopsWhileTheSideIsNotReadAndRestartsWhole(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(20 * time.Second)
	p.core.Pause(Client)
	p.pass(time.Minute)
	p.wantsIdle(Client, "it couldn't be heard")
	p.core.Resume(&p.env, Client)
	p.pass(30*time.Second - 1)
	p.wantsIdle(Client, "a whole interval")
	p.pass(1)
	p.wantsPing(Client)
	p.pass(9 * time.Second)
	p.core.Pause(Client)
	p.pass(time.Minute)
	p.core.Resume(&p.env, Client)
	p.pass(10*time.Second - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
}

func TestClockStopsWhileAFrameIntoTheSideIsHalfWritten(t *testing.T) {
	for _, split := range splits {
		p := newPair(t, pingConfig())
		p.split = split.new()
		trickle := func() {
			p.send(Backend, backendHalf)
			for range 6 { // bytes are left
				p.pass(8 * time.Second)
				p.send(Backend, "*1")
			}
			p.ends[Client].wire = nil
		}
		trickle()
		p.ends[Backend].isLively = true
		p.pass(30*time.Second - 1)
		p.wantsIdle(Client, "no ping in the frame, a whole interval behind it")
		p.pass(1)
		p.wantsPing(Client)

		p.ends[Backend].isLively = false
		trickle()
		p.ends[Backend].isLively = true
		p.pass(10*time.Second - 1)
		p.wantsOpen(Client)
		p.pass(1)
		p.wantsReset(Client)
	}
}

func TestClockRestartsWholeAfterAShortHalfFrame(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(30 * time.Second)
	p.wantsPing(Client)
	p.ends[Backend].isLively = false
	p.send(Backend, backendHalf)
	p.pass(9 * time.Second)
	p.send(Backend, backendRest)
	p.wants(Client, "the frame", backendHalf, backendRest)
	p.pass(10*time.Second - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
}

func TestSideThatWasToldACloseIsNotPinged(t *testing.T) {
	c := pingConfig()
	c.CloseTimeout = 50 * time.Second
	sides(t, c, func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.pass(49 * time.Second)
		p.wants(b, "nothing behind the close", bye[a])
		p.wantsIdle(a, "it has said its last")
	})
}

func TestPingThatWaitsForABoundaryGivesWayToAClose(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(25 * time.Second)
	p.send(Backend, backendBegin)
	p.closeBoth(1012, ReasonDrain)
	p.pass(5 * time.Second) // the ping's and the frame boundary's time
	got := p.ends[Client].wire
	want := len(wire(t, backendBegin)) + 10 + len(wire(t, drainToClient))
	if len(got) != want && len(got) != want-10 {
		t.Errorf("client got %x", got)
	}
}

func TestClockStopsInsideAFrameThatStandsStill(t *testing.T) {
	p := newPair(t, pingConfig())
	p.send(Backend, backendHalf)
	p.pass(25 * time.Second)
	p.send(Backend, "*1")
	p.pass(15 * time.Second) // the ping's time comes inside the frame
	p.send(Backend, "*5")
	p.ends[Client].wire = nil
	p.ends[Backend].isLively = true
	p.pass(30*time.Second - 1)
	p.wantsIdle(Client, "a whole interval")
	p.pass(1)
	p.wantsPing(Client)
	p.ends[Backend].isLively = false
	p.send(Backend, backendHalf)
	p.pass(25 * time.Second) // the pong's time comes inside the frame
	p.wantsOpen(Client)
	p.send(Backend, backendRest)
	p.pass(10 * time.Second)
	p.wantsReset(Client)
}

func TestPongsTimeDoesNotRunOnceTheSideWasToldAClose(t *testing.T) {
	c := pingConfig()
	c.CloseTimeout = 50 * time.Second
	p := newPair(t, c)
	p.ends[Backend].isLively = true
	p.pass(30 * time.Second)
	p.wantsPing(Client)
	p.send(Backend, backendBye)
	p.pass(50*time.Second - 1)
	p.wantsOpen(Client)
	p.send(Client, clientClose)
	p.wantsLingering(Client)
}

func TestSideThatIsCutAtThePingsTimeIsNotPinged(t *testing.T) {
	c := pingConfig()
	c.PingInterval = c.WriteTimeout
	p := newPair(t, c)
	p.takes(Client, 0)
	p.send(Backend, backendHello)
	p.env.Now = p.env.Now.Add(c.WriteTimeout)
	p.core.Advance(&p.env)
	if got := p.core.AppendOwn(&p.env, Client, nil, 0); len(got) > 0 {
		t.Errorf("%x goes to a side that is cut", got)
	}
}
