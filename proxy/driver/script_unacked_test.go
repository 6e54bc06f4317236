package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestSlowKernelQueueIsWaitedForWhileItShrinksUpToWriteTimeout(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.ends[relay.Client].holds = 1 << 20
	p.pass(30 * time.Second)
	p.wantsPing(relay.Client)
	for n := range 69 {
		p.ends[relay.Client].holds--
		p.pass(time.Second)
		if p.ends[relay.Client].isReset {
			t.Fatalf("reset %d s after the ping; want 70", n)
		}
	}
	p.ends[relay.Client].holds--
	p.pass(time.Second)
	p.wantsReset(relay.Client)
}

func TestKernelQueueThatStandsStillIsALoss(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.ends[relay.Client].holds = 500
	p.pass(40*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
	if n := p.ends[relay.Client].lookedTimes; n != 2 {
		t.Errorf("looked %d times; want 2", n)
	}
}

func TestQueueThatEmptiedLateGivesTheSideAWholeWait(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.ends[relay.Client].holds = 500
	p.pass(36 * time.Second) // the first look is over
	p.wantsPing(relay.Client)
	p.ends[relay.Client].holds = 0
	p.pass(14*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

func TestLookFromBeforeTheLastByteHeardDoesNotCount(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(30 * time.Second)
	p.ends[relay.Client].holds = 10
	p.pass(6 * time.Second) // looked: 10
	p.send(relay.Client, clientHello)
	p.ends[relay.Client].holds = 1 << 20
	p.pass(6 * time.Second) // looked again
	p.ends[relay.Client].holds = 1 << 19
	p.pass(6 * time.Second)
	p.wantsOpen(relay.Client)
}

func TestRoundTripTimeIsThatOfThePingThoughTheClockRestarted(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.ends[relay.Client].holds = 100
	p.pass(30 * time.Second)
	answer := answerTo(p, relay.Client)
	p.pass(6 * time.Second)
	p.ends[relay.Client].holds = 50
	p.pass(6 * time.Second)
	p.send(relay.Client, answer)
	if got := p.core.RTT(relay.Client); got != 12*time.Second {
		t.Errorf("round-trip time is %v; want 12s", got)
	}
}

func TestEachWaitForASlowKernelQueueIsAWholeOne(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(30 * time.Second)
	p.wantsPing(relay.Client)
	for range 3 {
		p.ends[relay.Client].holds = 1 << 20
		for range 60 {
			p.ends[relay.Client].holds--
			p.pass(time.Second)
			p.wantsOpen(relay.Client)
		}
		p.send(relay.Client, clientHello)
	}
}

func TestLookFromBeforeAPauseDoesNotCount(t *testing.T) {
	p := newPinged(t, relay.Client)
	p.pass(30 * time.Second)
	p.ends[relay.Client].holds = 10
	p.pass(6 * time.Second) // looked: 10
	p.core.Pause(relay.Client)
	p.core.Resume(&p.env, relay.Client)
	p.ends[relay.Client].holds = 1 << 20
	p.pass(6 * time.Second) // looked again
	p.ends[relay.Client].holds = 1 << 19
	p.pass(6 * time.Second)
	p.wantsOpen(relay.Client)
}

func TestUnaskedLookChangesNothing(t *testing.T) {
	p := newScripted(t, pingConfig())
	for range 3 {
		p.core.Unacked(&p.env, relay.Client, 100)
	}
	p.settle()
	p.wantsOpen(relay.Client)
}

func TestCloseOnItsWayIsWaitedForWhileTheKernelsQueueShrinks(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[b].holds = 1 << 20
		p.send(a, hello[a], bye[a])
		p.wants(b, "data, then the close", hello[a], bye[a])
		for range 599 {
			p.ends[b].holds--
			p.pass(time.Second)
			p.wantsIdle(a, "the other side has yet to see the close")
			p.wantsOpen(b)
		}
		p.ends[b].holds--
		p.pass(time.Second) // ten write_timeouts
		p.wantsReset(b)
	})
}

func TestCloseThatArrivedLateHasAWholeCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[b].holds = 500
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(4 * time.Second)
		p.ends[b].holds = 0
		p.pass(6*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsClosed(b)
	})
}

func TestKernelQueueThatStandsStillEndsTheWaitForAClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[b].holds = 500
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(time.Minute - 1)
		p.wantsIdle(a, "the other side has yet to see the close")
		p.wantsOpen(b)
		p.pass(1)
		p.wants(a, "loss of the side that took nothing for write_timeout", lost[a])
		p.wantsReset(b)
	})
}
