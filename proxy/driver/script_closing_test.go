package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestClosePassesAfterAllDataAndIsAnswered(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, hello[a], beginning[a], bye[a], "'what_is_behind_it'")
		p.wants(b, "data, then the close", hello[a], beginning[a], bye[a])
		p.send(b, beginning[b])
		p.send(b, last[b], closing[b], "'what_is_behind_it'")
		p.wants(a, "the other side's data, then its close", beginning[b], last[b], closing[b])
		p.wantsIdle(b, "it has its close")
		p.wantsLingering(relay.Client)
		p.wantsLingering(relay.Backend)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: 4001, Reason: relay.ReasonClose})
		p.finish(relay.Client, endOfStream)
		p.wantsClosed(relay.Client)
		p.finish(relay.Backend, endOfStream)
		p.wantsClosed(relay.Backend)
		if !p.core.IsOver() {
			p.t.Error("the session isn't over")
		}
	})
}

func TestClosesOfEveryShapePass(t *testing.T) {
	for _, c := range []string{
		"0000000",
		"0000010 0x03e9",
		"0000010 0x03eb",
		"0000010 0x03ef",
		"0000010 0x03f6",
		"0000010 0x0bb8",
		"0000010 0x1387",
		"0001001 0x03e8 'caf' 0xc3a9 'é'",
		"1111101 0x0fa1 *123",
	} {
		script(t, testConfig(), func(p *scripted) {
			drawing := "1 000 1000 0 " + c
			p.send(relay.Backend, drawing)
			p.wants(relay.Client, "the backend's close", drawing)
		})
	}
}

func TestCloseIsCollectedWholeBeforeItsHeaderPasses(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Client, "1 000 1000  1 1111101  0x00000000 0x0fa1 *122")
	p.wantsIdle(relay.Backend, "a close less one byte")
	if n := len(p.carry(relay.Client)); n != relay.MaxCarry {
		t.Errorf("%d bytes stay; want %d", n, relay.MaxCarry)
	}
	p.send(relay.Client, "*1")
	p.wants(relay.Backend, "the close", "1 000 1000  1 1111101  0x00000000 0x0fa1 *123")
}

func TestScriptCrossingClosesAreEachOthersAnswer(t *testing.T) {
	for _, split := range splits {
		p := newScripted(t, testConfig())
		p.split = split.new()
		p.takes(relay.Client, 0)
		p.takes(relay.Backend, 0)
		p.send(relay.Client, clientBye)
		p.send(relay.Backend, backendClose)
		p.takes(relay.Client, roomEnough)
		p.takes(relay.Backend, roomEnough)
		p.wants(relay.Backend, "the client's close", clientBye)
		p.wants(relay.Client, "the backend's close", backendClose)
		p.wantsLingering(relay.Client)
		p.wantsLingering(relay.Backend)
	}
}

func TestWhatASideSendsAfterItsCloseIsDiscarded(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.send(a, ping[a], hello[a], closing[a])
		p.wants(b, "the close", bye[a])
		p.wantsIdle(a, "no pong after its close")
		if len(p.ends[a].inbox) > 0 {
			p.t.Error("a side that closed isn't read")
		}
	})
}

func TestOtherSidesPingIsAnsweredUntilItsCloseIsQueued(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.send(b, ping[b], hello[b])
		p.wantsIdle(b, "nothing goes after a close")
		p.wants(a, "the data of the side that has yet to answer", hello[b])
	})
}

func TestSilentSideIsAnsweredForAfterCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.pass(time.Minute)
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsLingering(a)
		p.wantsClosed(b)
	})
}

func TestSilentSideIsAnsweredForWithTheShapeOfTheOthersClose(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, "1 000 1000  1 0000000  0x01020304")
		p.pass(5 * time.Second)
		p.wants(relay.Client, "a close without a code", "1 000 1000  0 0000000")
	})
}

func TestSilentSideIsAnsweredForAfterAnEndOfStream(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.finish(a, endOfStream)
		p.wants(b, "loss", lost[b])
		p.pass(5 * time.Second)
		p.wants(a, "the code that was made in its name", ourClose(a, int(lostCode(p.env.Config, a)), ""))
		p.wantsClosed(a)
		p.wantsClosed(b)
	})
}

func TestCloseTimeoutInsideAFrameEndsTheStreamWithoutAClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.send(b, hello[b], half[b])
		p.pass(5 * time.Second)
		p.wants(a, "no close", hello[b], half[b])
		p.wantsLingering(a)
		p.wantsClosed(b)
	})
}

func TestCloseTimeoutBeginsWhenTheCloseIsInTheKernel(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(b, 3)
		p.send(a, bye[a])
		p.pass(30 * time.Second)
		p.takes(b, roomEnough)
		p.wants(b, "the close", bye[a])
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
	})
}

func TestCloseTimeoutBeginsAgainOnProgressUpToWriteTimeout(t *testing.T) {
	c := testConfig()
	c.WriteTimeout = 18 * time.Second
	sides(t, c, func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		for range 4 {
			p.pass(4 * time.Second)
			p.send(b, hello[b])
			p.wants(a, "data of the answering side", hello[b])
		}
		p.pass(2*time.Second - 1)
		p.wantsIdle(a, "not the cap yet")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsClosed(b)
	})
}

func TestCloseTimeoutRestsWhileTheAnsweringSideIsNotRead(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.core.Pause(b)
		p.pass(20 * time.Second)
		p.wantsIdle(a, "the other side couldn't be heard")
		p.core.Resume(&p.env, b)
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.send(b, closing[b])
		p.wants(a, "the answer", closing[b])
	})
}

func TestCloseTimeoutRestsOnlyUpToWriteTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.core.Pause(b)
		p.pass(time.Minute - 1)
		p.wantsIdle(a, "not the cap yet")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
	})
}

func TestLingeringSideIsClosedAtItsEndOrAfterASecondOfSilence(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *scripted, side relay.Side)
	}{
		{"end of stream", func(p *scripted, side relay.Side) { p.finish(side, endOfStream) }},
		{"reset", func(p *scripted, side relay.Side) { p.finish(side, connectionReset) }},
		{"silence", func(p *scripted, side relay.Side) { p.pass(time.Second) }},
		{"a flood", func(p *scripted, side relay.Side) {
			for range 64 {
				p.send(side, "*1048576")
				p.wantsLingering(side)
			}
			p.send(side, "*1")
			p.pass(1) // no second
		}},
		// Faults C23.
		{"sending without an end", func(p *scripted, side relay.Side) {
			for range int(lingerMost/time.Second) - 1 {
				p.pass(time.Second - 1)
				p.send(side, "*100000")
				p.wantsLingering(side)
			}
			p.pass(time.Second)
		}},
	} {
		for side := relay.Client; side <= relay.Backend; side++ {
			t.Run(c.name+" of the "+side.String(), func(t *testing.T) {
				p := newScripted(t, testConfig())
				p.send(relay.Client, clientBye)
				p.pass(3 * time.Second) // the answer's time isn't lingering's
				p.send(relay.Backend, backendClose)
				p.pass(time.Second - 1)
				p.send(side, "'more'")
				p.wantsLingering(side)
				c.end(p, side)
				p.wantsClosed(side)
			})
		}
	}
}

func TestBytesOfASideThatEndedAreSkipped(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Client, clientBye)
	if pass, skip, step := p.core.Scan(&p.env, relay.Client, drawn(t, clientHello)); pass != 0 || skip != 11 || step != relay.End {
		t.Errorf("Scan = %d, %d, %d; want 0, 11, End", pass, skip, step)
	}
}
