package driver

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

// pingConfig pings after 30 s and waits 10 s.
func pingConfig() relay.Config {
	c := testConfig()
	c.PingInterval, c.PongTimeout = both(30*time.Second), both(10*time.Second)
	return c
}

// answerTo takes the gateway's own ping that was written to a side and draws the side's pong.
func answerTo(p *scripted, side relay.Side) string {
	p.t.Helper()
	got := p.ends[side].written
	p.ends[side].written = nil
	header := drawn(p.t, pingToClient)
	if side == relay.Backend {
		header = drawn(p.t, pingToBackend)
	}
	if len(got) < len(header) || string(got[:len(header)]) != string(header) {
		p.t.Fatalf("%s got %x; want a ping", side, got)
	}
	if side == relay.Client {
		return fmt.Sprintf("1 000 1010  1 0001000  0x00000000 0x%x", got[2:10])
	}
	payload := bytes.Clone(got[6:14])
	ws.Cipher(payload, [4]byte(got[2:6]), 0)
	return fmt.Sprintf("1 000 1010  0 0001000  0x%x", payload)
}

// newPinged is newScripted with pings; the side other than silent lets itself be heard all the time.
func newPinged(t testing.TB, silent relay.Side) *scripted {
	p := newScripted(t, pingConfig())
	p.ends[silent.Other()].isLively = true
	return p
}

// wantsPing checks that a ping, and nothing else, was written to a side.
func (p *scripted) wantsPing(side relay.Side) {
	p.t.Helper()
	n := 10
	if side == relay.Backend {
		n = 14
	}
	if len(p.ends[side].written) != n {
		p.t.Fatalf("%s got %x; want a ping", side, p.ends[side].written)
	}
	answerTo(p, side)
}

func TestSilentSideIsPingedAndItsPongEndsTheWait(t *testing.T) {
	sides(t, pingConfig(), func(p *scripted, a, b relay.Side) {
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
	p := newScripted(t, pingConfig())
	for range 10 {
		p.pass(30*time.Second - 1)
		p.send(relay.Client, clientPong)
		p.send(relay.Backend, backendPong)
	}
	p.wantsIdle(relay.Client, "it is alive")
	p.wantsIdle(relay.Backend, "it is alive")
}

func TestNoPingsWithoutAnInterval(t *testing.T) {
	p := newScripted(t, testConfig())
	p.pass(24 * time.Hour)
	p.wantsIdle(relay.Client, "no ping")
	p.wantsIdle(relay.Backend, "no ping")
}

func TestSilenceAfterAPingIsALoss(t *testing.T) {
	sides(t, pingConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[b].isLively = true
		p.pass(40*time.Second - 1)
		p.wantsPing(a)
		p.wantsOpen(a)
		p.pass(1)
		p.wantsReset(a)
		p.wants(b, "loss", lost[b])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: lostCode(p.env.Config, a), Reason: relay.ReasonPongTimeout, Side: a})
	})
}

func TestAnyByteAfterAPingIsASignOfLife(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(30 * time.Second)
	p.wantsPing(relay.Client)
	for range 10 {
		p.pass(10*time.Second - 1)
		p.send(relay.Client, clientHello)
	}
	p.wantsOpen(relay.Client)
	if p.core.RTT(relay.Client) != 0 {
		t.Error("a round-trip time without a pong")
	}
	p.wantsIdle(relay.Client, "one ping is outstanding at most")
	p.pass(10 * time.Second)
	p.wantsReset(relay.Client)
}

func TestPongOfAnotherPayloadIsNotTheAnswer(t *testing.T) {
	script(t, pingConfig(), func(p *scripted) {
		p.pass(30 * time.Second)
		answer := answerTo(p, relay.Client)
		p.send(relay.Client, clientPong, "1 000 1010  1 0001000  0x00000000 'notmine!'", "1 000 1010  1 0000000 0x00000000")
		if p.core.RTT(relay.Client) != 0 {
			p.t.Error("a round-trip time from another's pong")
		}
		p.pass(time.Second)
		p.send(relay.Client, answer)
		if got := p.core.RTT(relay.Client); got != time.Second {
			p.t.Errorf("round-trip time is %v; want 1s", got)
		}
	})
}

func TestPongsTimeBeginsWhenThePingHasGone(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.takes(relay.Client, 0)
	p.send(relay.Backend, backendHello)
	p.pass(30 * time.Second)
	p.takes(relay.Client, 7+9) // all but the ping's last byte
	p.pass(20 * time.Second)
	p.wantsOpen(relay.Client)
	p.takes(relay.Client, 1)
	p.pass(10*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

func TestPingsTimeIsNotThatOfWhatIsQueuedAfterIt(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.takes(relay.Client, 0)
	p.pass(30 * time.Second)
	p.send(relay.Backend, backendHello)
	p.takes(relay.Client, 10)
	answer := answerTo(p, relay.Client)
	p.pass(2 * time.Second)
	p.send(relay.Client, answer)
	if got := p.core.RTT(relay.Client); got != 2*time.Second {
		t.Errorf("round-trip time is %v; want 2s", got)
	}
}

func TestClockStopsWhileTheSideIsNotReadAndRestartsWhole(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(20 * time.Second)
	p.core.Pause(relay.Client)
	p.pass(time.Minute)
	p.wantsIdle(relay.Client, "it couldn't be heard")
	p.core.Resume(&p.env, relay.Client)
	p.pass(30*time.Second - 1)
	p.wantsIdle(relay.Client, "a whole interval")
	p.pass(1)
	p.wantsPing(relay.Client)
	p.pass(9 * time.Second)
	p.core.Pause(relay.Client)
	p.pass(time.Minute)
	p.core.Resume(&p.env, relay.Client)
	p.pass(10*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

func TestClockStopsWhileAFrameIntoTheSideIsHalfWritten(t *testing.T) {
	for _, split := range splits {
		p := newScripted(t, pingConfig())
		p.split = split.new()
		trickle := func() {
			p.send(relay.Backend, backendHalf)
			for range 6 { // bytes are left
				p.pass(8 * time.Second)
				p.send(relay.Backend, "*1")
			}
			p.ends[relay.Client].written = nil
		}
		trickle()
		p.ends[relay.Backend].isLively = true
		p.pass(30*time.Second - 1)
		p.wantsIdle(relay.Client, "no ping in the frame, a whole interval after it")
		p.pass(1)
		p.wantsPing(relay.Client)

		p.ends[relay.Backend].isLively = false
		trickle()
		p.ends[relay.Backend].isLively = true
		p.pass(10*time.Second - 1)
		p.wantsOpen(relay.Client)
		p.pass(1)
		p.wantsReset(relay.Client)
	}
}

func TestClockRestartsWholeAfterAShortHalfFrame(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(30 * time.Second)
	p.wantsPing(relay.Client)
	p.ends[relay.Backend].isLively = false
	p.send(relay.Backend, backendHalf)
	p.pass(9 * time.Second)
	p.send(relay.Backend, backendRest)
	p.wants(relay.Client, "the frame", backendHalf, backendRest)
	p.pass(10*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

func TestSideThatWasToldACloseIsNotPinged(t *testing.T) {
	c := pingConfig()
	c.CloseTimeout = 50 * time.Second
	sides(t, c, func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.pass(49 * time.Second)
		p.wants(b, "nothing after the close", bye[a])
		p.wantsIdle(a, "it has said its last")
	})
}

func TestPingThatWaitsForABoundaryGivesWayToAClose(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(25 * time.Second)
	p.send(relay.Backend, backendBegin)
	p.closeBoth(1012, relay.ReasonDrain)
	p.pass(5 * time.Second) // the ping's and the frame boundary's time
	got := p.ends[relay.Client].written
	want := len(drawn(t, backendBegin)) + 10 + len(drawn(t, drainToClient))
	if len(got) != want && len(got) != want-10 {
		t.Errorf("client got %x", got)
	}
}

func TestClockStopsInsideAFrameThatStandsStill(t *testing.T) {
	p := newScripted(t, pingConfig())
	p.send(relay.Backend, backendHalf)
	p.pass(25 * time.Second)
	p.send(relay.Backend, "*1")
	p.pass(15 * time.Second) // the ping's time comes inside the frame
	p.send(relay.Backend, "*5")
	p.ends[relay.Client].written = nil
	p.ends[relay.Backend].isLively = true
	p.pass(30*time.Second - 1)
	p.wantsIdle(relay.Client, "a whole interval")
	p.pass(1)
	p.wantsPing(relay.Client)
	p.ends[relay.Backend].isLively = false
	p.send(relay.Backend, backendHalf)
	p.pass(25 * time.Second) // the pong's time comes inside the frame
	p.wantsOpen(relay.Client)
	p.send(relay.Backend, backendRest)
	p.pass(10 * time.Second)
	p.wantsReset(relay.Client)
}

func TestPongsTimeDoesNotRunOnceTheSideWasToldAClose(t *testing.T) {
	c := pingConfig()
	c.CloseTimeout = 50 * time.Second
	p := newScripted(t, c)
	p.ends[relay.Backend].isLively = true
	p.pass(30 * time.Second)
	p.wantsPing(relay.Client)
	p.send(relay.Backend, backendBye)
	p.pass(50*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.send(relay.Client, clientClose)
	p.wantsLingering(relay.Client)
}
