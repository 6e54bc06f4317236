package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestFaultAfterACloseWasSentEndsTheStream(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.send(b, hello[b], "1 111 0000")
		p.wantsLingering(b)
		p.wantsIdle(b, "it can't be told")
		p.wants(a, "data before the fault, and that the other is lost", hello[b], lost[a])
		p.wantsLingering(a)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: 4001, Reason: relay.ReasonClose})
	})
}

func TestFaultOfBothSidesEndsBoth(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, "1 111 0000 00000000")
		p.wants(b, "loss of the faulty side", lost[b])
		p.send(b, "1 111 0000 00000000")
		p.wantsLingering(b)
		p.wants(a, "its own fault", ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
	})
}

func TestWhatAnOffenderStillSendsIsDiscarded(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, "1 111 0000 00000000")
		p.send(a, hello[a])
		p.wants(b, "that the offender is lost", lost[b])
		p.send(b, hello[b], bye[b])
		p.wants(a, "the answers, and the rule's code", hello[b], ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
	})
}

func TestOffenderIsToldAfterCloseTimeoutIfTheOtherSideIsSilent(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, "1 111 0000 00000000")
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "the rule's code", ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
		p.wantsClosed(b)
	})
}

func TestEndOfStreamAtABoundaryIsACloseInTheSidesName(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, hello[a], beginning[a])
		p.finish(a, endOfStream)
		p.wants(b, "data, then that it is lost", hello[a], beginning[a], lost[b])
		p.wantsOpen(a)
		p.send(b, hello[b], bye[b])
		p.wants(a, "data until the other side's close", hello[b], bye[b])
		p.wantsClosed(a)
		p.wantsLingering(b)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: lostCode(p.env.Config, a), Reason: relay.ReasonLost, Side: a})
	})
}

func TestEndOfStreamInsideAHeaderOrControlFrameIsAtABoundary(t *testing.T) {
	for _, part := range []string{"10000010", "1 000 0010  1 1111110  0x01", "1 000 1001  1 0000101  0x000000", "1 000 1000 1 0000010 0x00000000 0x03"} {
		script(t, testConfig(), func(p *scripted) {
			p.send(relay.Client, clientHello, part)
			p.finish(relay.Client, endOfStream)
			p.wants(relay.Backend, "what passed is whole", clientHello, lostToBackend)
		})
	}
}

func TestEndOfStreamInsideAFrameEndsTheReceiversWithoutAClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, hello[a], half[a])
		p.finish(a, endOfStream)
		p.wants(b, "no close", hello[a], half[a])
		p.wantsLingering(b)
		p.wants(a, "the other is lost by it", lost[a])
		p.wantsClosed(a)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: lostCode(p.env.Config, a), Reason: relay.ReasonLost, Side: a})
	})
}

func TestResetAtABoundaryTellsTheOtherSide(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[a].fin = connectionReset // after what has arrived
		p.send(a, hello[a])
		p.wants(b, "data, then that it is lost", hello[a], lost[b])
		p.wantsReset(a)
		p.wantsOpen(b)
		p.send(b, hello[b])
		p.send(b, bye[b])
		p.wantsLingering(b)
		p.wantsIdle(a, "it is gone")
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: lostCode(p.env.Config, a), Reason: relay.ReasonReset, Side: a})
	})
}

func TestResetInsideAFrameEndsTheReceiversStreamWithoutAClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, half[a])
		p.finish(a, connectionReset)
		p.wants(b, "no close", half[a])
		p.wantsReset(a)
		p.wantsLingering(b)
	})
}

func TestResetAfterItsCloseChangesNothingForTheOtherSide(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.core.Lost(&p.env, a)
		p.settle()
		p.wantsReset(a)
		p.wants(b, "the close", bye[a])
		p.send(b, closing[b])
		p.wantsLingering(b)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: 4001, Reason: relay.ReasonClose})
	})
}

func TestEndOfStreamInsteadOfAnAnswerTellsTheLoss(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.send(b, hello[b])
		p.finish(b, endOfStream)
		p.wants(a, "data, then the loss", hello[b], lost[a])
		p.wantsLingering(a)
		p.wantsClosed(b)
	})
}

func TestEndsOfBothStreamsCloseBoth(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.finish(a, endOfStream)
		p.finish(b, endOfStream)
		p.wants(b, "loss of the first", lost[b])
		p.wants(a, "loss of the second", lost[a])
		p.wantsClosed(a)
		p.wantsClosed(b)
	})
}

func TestCodesOfALossAreConfigured(t *testing.T) {
	c := testConfig()
	c.BackendLost, c.ClientLost = 1013, 3000
	sides(t, c, func(p *scripted, a, b relay.Side) {
		p.finish(a, endOfStream)
		p.wants(b, "the route's code", ourClose(b, []int{3000, 1013}[a], a.String()+" lost"))
	})
}

func TestFailedWriteStillReadsWhatCameBefore(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.wantsOpen(b)
		p.send(b, hello[b], bye[b])
		p.wants(a, "its last words", hello[b], bye[b])
		p.wantsReset(b)
		p.send(a, closing[a])
		p.wantsLingering(a)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(b), Code: 4001, Reason: relay.ReasonClose})
	})
}

func TestFailedWriteAndAnEndOfStreamAreALoss(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.finish(b, endOfStream)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(b), Code: lostCode(p.env.Config, b), Reason: relay.ReasonLost, Side: b})
	})
}

func TestFailedWriteAndSilenceAreALossAfterCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.pass(5*time.Second - 1)
		p.wantsOpen(b)
		p.pass(1)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(b), Code: lostCode(p.env.Config, b), Reason: relay.ReasonReset, Side: b})
	})
}

func TestFailedWriteOfACloseEndsAsIfItHadBeenSent(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.fail(b)
		p.send(a, bye[a])
		p.pass(5 * time.Second)
		p.wantsReset(b)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsLingering(a)
	})
}

func TestSideThatTakesNothingForWriteTimeoutIsCut(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(b, 3)
		p.send(a, hello[a])
		p.pass(30 * time.Second)
		p.takes(b, 1)
		p.pass(time.Minute - 1)
		p.wantsOpen(b)
		p.pass(1)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: lostCode(p.env.Config, b), Reason: relay.ReasonWriteTimeout, Side: b})
	})
}

func TestBegunFrameWithoutAByteForWriteTimeoutIsALoss(t *testing.T) {
	for _, part := range []string{clientHalf, "1 000 0010  1 1111110", "1 000 1001  1 0000101  0x00"} {
		script(t, testConfig(), func(p *scripted) {
			p.send(relay.Client, part)
			p.pass(time.Minute - 1)
			p.wantsOpen(relay.Client)
			p.send(relay.Client, "*1")
			p.pass(time.Minute - 1)
			p.wantsOpen(relay.Client)
			p.pass(1)
			p.wantsReset(relay.Client)
			p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1001, Reason: relay.ReasonFrameTimeout, Side: relay.Client})
		})
	}
}

func TestFrameThatIsNotReadMayStandStill(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Client, clientHalf)
	p.core.Pause(relay.Client)
	p.pass(time.Hour)
	p.wantsOpen(relay.Client)
	p.core.Resume(&p.env, relay.Client)
	p.pass(time.Minute - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

func TestTwoHalfFramesDoNotKeepASessionAliveByItsPings(t *testing.T) {
	c := testConfig()
	c.PingInterval, c.PongTimeout = both(30*time.Second), both(10*time.Second)
	p := newScripted(t, c)
	p.send(relay.Client, clientHalf)
	p.send(relay.Backend, backendHalf)
	p.pass(time.Minute)
	p.wantsReset(relay.Client)
	p.wantsLingering(relay.Backend)
}

func TestSecondFailedWriteDoesNotProlongTheWait(t *testing.T) {
	p := newScripted(t, testConfig())
	p.core.WriteFailed(&p.env, relay.Client)
	p.pass(4 * time.Second)
	p.core.WriteFailed(&p.env, relay.Client)
	p.pass(time.Second)
	p.wantsReset(relay.Client)
}

func TestSideThatIsGoneCannotBeLostAgain(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.core.Lost(&p.env, a)
		p.settle()
		p.core.Lost(&p.env, a)
		p.core.Ended(&p.env, a)
		if acts := p.core.TakeActs(); acts != 0 {
			p.t.Errorf("acts are %b; want none", acts)
		}
		p.wants(b, "one loss", lost[b])
	})
}

func TestSideThatEndedIsNotPaused(t *testing.T) {
	p := newScripted(t, testConfig())
	p.core.Pause(relay.Client)
	p.finish(relay.Client, connectionReset) // not read
	if !p.core.IsPaused(relay.Client) {
		t.Error("a side that isn't read isn't paused")
	}
	p.core.Lost(&p.env, relay.Client)
	if p.core.IsPaused(relay.Client) {
		t.Error("a side that is lost is paused")
	}
	p.core.Pause(relay.Client)
	if p.core.IsPaused(relay.Client) {
		t.Error("a side that is lost can be paused")
	}
}

// Faults C25.
func TestABackendsEndAfterAWholeMessageWithNothingQueuedIsItsOwnReason(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(p *scripted)
		want  relay.Reason
	}{
		{"after a message", func(p *scripted) { p.send(relay.Client, clientHello); p.send(relay.Backend, backendHello) }, relay.ReasonEOF},
		{"before any data", func(p *scripted) { p.send(relay.Client, clientHello) }, relay.ReasonLost},
		{"inside a message", func(p *scripted) { p.send(relay.Backend, backendHello, backendBegin) }, relay.ReasonLost},
		{"inside a header", func(p *scripted) { p.send(relay.Backend, backendHello, "10000010") }, relay.ReasonLost},
		{"with bytes queued for it", func(p *scripted) {
			p.send(relay.Backend, backendHello)
			p.takes(relay.Backend, 3)
			p.send(relay.Client, clientHello)
		}, relay.ReasonLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			script(t, testConfig(), func(p *scripted) {
				c.begin(p)
				p.finish(relay.Backend, endOfStream)
				p.wantsVerdict(relay.Verdict{Initiator: relay.ByBackend, Code: 1011, Reason: c.want, Side: relay.Backend})
			})
		})
	}
}
