package relay

import (
	"testing"
	"time"
)

func TestSlowKernelQueueIsWaitedForWhileItShrinksUpToWriteTimeout(t *testing.T) {
	p := newPingPair(t, Client)
	p.ends[Client].holds = 1 << 20
	p.pass(30 * time.Second)
	p.wantsPing(Client)
	for n := range 69 {
		p.ends[Client].holds--
		p.pass(time.Second)
		if p.ends[Client].isReset {
			t.Fatalf("reset %d s after the ping; want 70", n)
		}
	}
	p.ends[Client].holds--
	p.pass(time.Second)
	p.wantsReset(Client)
}

func TestKernelQueueThatStandsStillIsALoss(t *testing.T) {
	p := newPingPair(t, Client)
	p.ends[Client].holds = 500
	p.pass(40*time.Second - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
	if n := p.ends[Client].lookedTimes; n != 2 {
		t.Errorf("looked %d times; want 2", n)
	}
}

func TestQueueThatEmptiedLateGivesTheSideAWholeWait(t *testing.T) {
	p := newPingPair(t, Client)
	p.ends[Client].holds = 500
	p.pass(36 * time.Second) // the first look is over
	p.wantsPing(Client)
	p.ends[Client].holds = 0
	p.pass(14*time.Second - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
}

func TestLookFromBeforeTheLastByteHeardDoesNotCount(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(30 * time.Second)
	p.ends[Client].holds = 10
	p.pass(6 * time.Second) // looked: 10
	p.send(Client, clientHello)
	p.ends[Client].holds = 1 << 20
	p.pass(6 * time.Second) // looked again
	p.ends[Client].holds = 1 << 19
	p.pass(6 * time.Second)
	p.wantsOpen(Client)
}

func TestRoundTripTimeIsThatOfThePingThoughTheClockRestarted(t *testing.T) {
	p := newPingPair(t, Client)
	p.ends[Client].holds = 100
	p.pass(30 * time.Second)
	answer := answerTo(p, Client)
	p.pass(6 * time.Second)
	p.ends[Client].holds = 50
	p.pass(6 * time.Second)
	p.send(Client, answer)
	if got := p.core.RTT(Client); got != 12*time.Second {
		t.Errorf("round-trip time is %v; want 12s", got)
	}
}

func TestEachWaitForASlowKernelQueueIsAWholeOne(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(30 * time.Second)
	p.wantsPing(Client)
	for range 3 {
		p.ends[Client].holds = 1 << 20
		for range 60 {
			p.ends[Client].holds--
			p.pass(time.Second)
			p.wantsOpen(Client)
		}
		p.send(Client, clientHello)
	}
}

func TestLookFromBeforeAPauseDoesNotCount(t *testing.T) {
	p := newPingPair(t, Client)
	p.pass(30 * time.Second)
	p.ends[Client].holds = 10
	p.pass(6 * time.Second) // looked: 10
	p.core.Pause(Client)
	p.core.Resume(&p.env, Client)
	p.ends[Client].holds = 1 << 20
	p.pass(6 * time.Second) // looked again
	p.ends[Client].holds = 1 << 19
	p.pass(6 * time.Second)
	p.wantsOpen(Client)
}

func TestUnaskedLookChangesNothing(t *testing.T) {
	p := newPair(t, pingConfig())
	for range 3 {
		p.core.Unacked(&p.env, Client, 100)
	}
	p.settle()
	p.wantsOpen(Client)
}

func TestCloseOnItsWayIsWaitedForWhileTheKernelsQueueShrinksUpToWriteTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.ends[b].holds = 1 << 20
		p.send(a, hello[a], bye[a])
		p.wants(b, "data, then the close", hello[a], bye[a])
		for range 59 {
			p.ends[b].holds--
			p.pass(time.Second)
			p.wantsIdle(a, "the other side has yet to see the close")
			p.wantsOpen(b)
		}
		p.ends[b].holds--
		p.pass(time.Second)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsReset(b)
	})
}

func TestCloseThatArrivedLateHasAWholeCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.ends[b].holds = 500
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(4 * time.Second)
		p.ends[b].holds = 0
		p.pass(6*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsReset(b)
	})
}

func TestKernelQueueThatStandsStillEndsTheWaitForAClose(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.ends[b].holds = 500
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsReset(b)
	})
}
