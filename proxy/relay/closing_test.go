package relay

import (
	"fmt"
	"testing"
	"time"
)

// sides runs a test of the closing for each side as the one that begins. Names in it are the beginner's and the other's.
func sides(t *testing.T, c Config, run func(p *pair, a, b Side)) {
	t.Helper()
	for side := Client; side <= Backend; side++ {
		t.Run(side.String(), func(t *testing.T) {
			script(t, c, func(p *pair) { run(p, side, side.Other()) })
		})
	}
}

// Frames by the side that sends them.
var (
	hello  = [2]string{clientHello, backendHello}
	begin  = [2]string{clientBegin, backendBegin}
	last   = [2]string{clientLast, backendLast}
	half   = [2]string{clientHalf, backendHalf}
	rest   = [2]string{clientRest, backendRest}
	ping   = [2]string{clientPing, backendPing}
	pong   = [2]string{clientPong, backendPong}
	closes = [2]string{clientClose, backendClose}
	bye    = [2]string{clientBye, backendBye}
)

// lost is the close that tells a side of the other's loss.
var lost = [2]string{lostToClient, lostToBackend}

func TestClosePassesBehindAllDataAndIsAnswered(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, hello[a], begin[a], bye[a], "'what_is_behind_it'")
		p.wants(b, "data, then the close", hello[a], begin[a], bye[a])
		p.send(b, begin[b])
		p.send(b, last[b], closes[b], "'what_is_behind_it'")
		p.wants(a, "the other side's data, then its close", begin[b], last[b], closes[b])
		p.wantsIdle(b, "it has its close")
		p.wantsLingering(Client)
		p.wantsLingering(Backend)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: 4001, Reason: ReasonClose})
		p.finish(Client, endOfStream)
		p.wantsClosed(Client)
		p.finish(Backend, endOfStream)
		p.wantsClosed(Backend)
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
		script(t, testConfig(), func(p *pair) {
			drawing := "1 000 1000 0 " + c
			p.send(Backend, drawing)
			p.wants(Client, "the backend's close", drawing)
		})
	}
}

func TestCloseIsCollectedWholeBeforeItsHeaderPasses(t *testing.T) {
	p := newPair(t, testConfig())
	p.send(Client, "1 000 1000  1 1111101  0x00000000 0x0fa1 *122")
	p.wantsIdle(Backend, "a close less one byte")
	if n := len(p.ends[Client].carry); n != MaxCarry {
		t.Errorf("%d bytes stay; want %d", n, MaxCarry)
	}
	p.send(Client, "*1")
	p.wants(Backend, "the close", "1 000 1000  1 1111101  0x00000000 0x0fa1 *123")
}

func TestCrossingClosesAreEachOthersAnswer(t *testing.T) {
	for _, split := range splits {
		p := newPair(t, testConfig())
		p.split = split.new()
		p.takes(Client, 0)
		p.takes(Backend, 0)
		p.send(Client, clientBye)
		p.send(Backend, backendClose)
		p.takes(Client, roomEnough)
		p.takes(Backend, roomEnough)
		p.wants(Backend, "the client's close", clientBye)
		p.wants(Client, "the backend's close", backendClose)
		p.wantsLingering(Client)
		p.wantsLingering(Backend)
	}
}

func TestNothingOfASideIsReadBehindItsClose(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.send(a, ping[a], hello[a], closes[a])
		p.wants(b, "the close", bye[a])
		p.wantsIdle(a, "no pong behind its close")
		if p.core.Reads(a) {
			p.t.Error("a side that closed is read")
		}
	})
}

func TestOtherSidesPingIsAnsweredUntilItsCloseIsQueued(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.send(b, ping[b], hello[b])
		p.wantsIdle(b, "nothing goes behind a close")
		p.wants(a, "the data of the side that has yet to answer", hello[b])
	})
}

func TestFaultAfterACloseWasSentCuts(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.send(b, hello[b], "1 111 0000")
		p.wantsReset(b)
		p.wantsIdle(b, "it can't be told")
		p.wants(a, "data before the fault, and that the other is lost", hello[b], lost[a])
		p.wantsLingering(a)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: 4001, Reason: ReasonClose})
	})
}

func TestFaultOfBothSidesCutsTheSecond(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, "1 111 0000 00000000")
		p.wants(b, "loss of the faulty side", lost[b])
		p.send(b, "1 111 0000 00000000")
		p.wantsReset(b)
		p.wants(a, "its own fault", ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
	})
}

func TestNothingMoreIsReadOfAnOffender(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, "1 111 0000 00000000")
		if p.core.Reads(a) {
			p.t.Error("the offender is read")
		}
		p.send(b, hello[b], bye[b])
		p.wants(a, "the answers, and the rule's code", hello[b], ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
	})
}

func TestOffenderIsToldAfterCloseTimeoutIfTheOtherSideIsSilent(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, "1 111 0000 00000000")
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "the rule's code", ourClose(a, 1002, "reserved bit is set"))
		p.wantsLingering(a)
		p.wantsReset(b)
	})
}

func TestEndOfStreamAtABoundaryIsACloseInTheSidesName(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, hello[a], begin[a])
		p.finish(a, endOfStream)
		p.wants(b, "data, then that it is lost", hello[a], begin[a], lost[b])
		p.wantsOpen(a)
		p.send(b, hello[b], bye[b])
		p.wants(a, "data until the other side's close", hello[b], bye[b])
		p.wantsClosed(a)
		p.wantsLingering(b)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: p.env.Config.lostCode(a), Reason: ReasonLost, Side: a})
	})
}

func TestEndOfStreamInsideAHeaderOrControlFrameIsAtABoundary(t *testing.T) {
	for _, part := range []string{"10000010", "1 000 0010  1 1111110  0x01", "1 000 1001  1 0000101  0x000000", "1 000 1000 1 0000010 0x00000000 0x03"} {
		script(t, testConfig(), func(p *pair) {
			p.send(Client, clientHello, part)
			p.finish(Client, endOfStream)
			p.wants(Backend, "what passed is whole", clientHello, lostToBackend)
		})
	}
}

func TestEndOfStreamInsideAFrameCutsTheReceiver(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, hello[a], half[a])
		p.finish(a, endOfStream)
		p.wants(b, "no close", hello[a], half[a])
		p.wantsReset(b)
		p.wants(a, "the other is lost by it", lost[a])
		p.wantsClosed(a)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: p.env.Config.lostCode(a), Reason: ReasonLost, Side: a})
	})
}

func TestResetAtABoundaryTellsTheOtherSide(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.ends[a].fin = connectionReset // behind what has arrived
		p.send(a, hello[a])
		p.wants(b, "data, then that it is lost", hello[a], lost[b])
		p.wantsReset(a)
		p.wantsOpen(b)
		p.send(b, hello[b])
		p.send(b, bye[b])
		p.wantsLingering(b)
		p.wantsIdle(a, "it is gone")
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: p.env.Config.lostCode(a), Reason: ReasonReset, Side: a})
	})
}

func TestResetInsideAFrameCutsBoth(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, half[a])
		p.finish(a, connectionReset)
		p.wants(b, "no close", half[a])
		p.wantsReset(a)
		p.wantsReset(b)
	})
}

func TestResetAfterItsCloseChangesNothingForTheOtherSide(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.core.Lost(&p.env, a)
		p.settle()
		p.wantsReset(a)
		p.wants(b, "the close", bye[a])
		p.send(b, closes[b])
		p.wantsLingering(b)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: 4001, Reason: ReasonClose})
	})
}

func TestEndOfStreamInsteadOfAnAnswerTellsTheLoss(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
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
	sides(t, testConfig(), func(p *pair, a, b Side) {
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
	sides(t, c, func(p *pair, a, b Side) {
		p.finish(a, endOfStream)
		p.wants(b, "the route's code", ourClose(b, []int{3000, 1013}[a], a.String()+" lost"))
	})
}

func TestSilentSideIsAnsweredForAfterCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.pass(time.Minute)
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsLingering(a)
		p.wantsReset(b)
	})
}

func TestSilentSideIsAnsweredForWithTheShapeOfTheOthersClose(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Client, "1 000 1000  1 0000000  0x01020304")
		p.pass(5 * time.Second)
		p.wants(Client, "a close without a code", "1 000 1000  0 0000000")
	})
}

func TestSilentSideIsAnsweredForAfterAnEndOfStream(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.finish(a, endOfStream)
		p.wants(b, "loss", lost[b])
		p.pass(5 * time.Second)
		p.wants(a, "the code that was made in its name", ourClose(a, int(p.env.Config.lostCode(a)), ""))
		p.wantsClosed(a)
		p.wantsReset(b)
	})
}

func TestCloseTimeoutInsideAFrameCuts(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.send(b, hello[b], half[b])
		p.pass(5 * time.Second)
		p.wants(a, "no close", hello[b], half[b])
		p.wantsReset(a)
		p.wantsReset(b)
	})
}

func TestCloseTimeoutBeginsWhenTheCloseIsInTheKernel(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
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
	sides(t, c, func(p *pair, a, b Side) {
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
		p.wantsReset(b)
	})
}

func TestCloseTimeoutRestsWhileTheAnsweringSideIsNotRead(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.core.Pause(b)
		p.pass(20 * time.Second)
		p.wantsIdle(a, "the other side couldn't be heard")
		p.core.Resume(&p.env, b)
		p.pass(5*time.Second - 1)
		p.wantsIdle(a, "the other side may still answer")
		p.send(b, closes[b])
		p.wants(a, "the answer", closes[b])
	})
}

func TestCloseTimeoutRestsOnlyUpToWriteTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.core.Pause(b)
		p.pass(time.Minute - 1)
		p.wantsIdle(a, "not the cap yet")
		p.pass(1)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
	})
}

func TestFailedWriteStillReadsWhatCameBefore(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.wantsOpen(b)
		p.send(b, hello[b], bye[b])
		p.wants(a, "its last words", hello[b], bye[b])
		p.wantsReset(b)
		p.send(a, closes[a])
		p.wantsLingering(a)
		p.wantsVerdict(Verdict{Initiator: initiatorOf(b), Code: 4001, Reason: ReasonClose})
	})
}

func TestFailedWriteAndAnEndOfStreamAreALoss(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.finish(b, endOfStream)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(Verdict{Initiator: initiatorOf(b), Code: p.env.Config.lostCode(b), Reason: ReasonLost, Side: b})
	})
}

func TestFailedWriteAndSilenceAreALossAfterCloseTimeout(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.fail(b)
		p.send(a, hello[a])
		p.pass(5*time.Second - 1)
		p.wantsOpen(b)
		p.pass(1)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(Verdict{Initiator: initiatorOf(b), Code: p.env.Config.lostCode(b), Reason: ReasonReset, Side: b})
	})
}

func TestFailedWriteOfACloseEndsAsIfItHadBeenSent(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.fail(b)
		p.send(a, bye[a])
		p.pass(5 * time.Second)
		p.wantsReset(b)
		p.wants(a, "its own code", ourClose(a, 4001, ""))
		p.wantsLingering(a)
	})
}

func TestSideThatTakesNothingForWriteTimeoutIsCut(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.takes(b, 3)
		p.send(a, hello[a])
		p.pass(30 * time.Second)
		p.takes(b, 1)
		p.pass(time.Minute - 1)
		p.wantsOpen(b)
		p.pass(1)
		p.wantsReset(b)
		p.wants(a, "loss", lost[a])
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: p.env.Config.lostCode(b), Reason: ReasonWriteTimeout, Side: b})
	})
}

func TestBegunFrameWithoutAByteForWriteTimeoutIsALoss(t *testing.T) {
	for _, part := range []string{clientHalf, "1 000 0010  1 1111110", "1 000 1001  1 0000101  0x00"} {
		script(t, testConfig(), func(p *pair) {
			p.send(Client, part)
			p.pass(time.Minute - 1)
			p.wantsOpen(Client)
			p.send(Client, "*1")
			p.pass(time.Minute - 1)
			p.wantsOpen(Client)
			p.pass(1)
			p.wantsReset(Client)
			p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1001, Reason: ReasonFrameTimeout, Side: Client})
		})
	}
}

func TestFrameThatIsNotReadMayStandStill(t *testing.T) {
	p := newPair(t, testConfig())
	p.send(Client, clientHalf)
	p.core.Pause(Client)
	p.pass(time.Hour)
	p.wantsOpen(Client)
	p.core.Resume(&p.env, Client)
	p.pass(time.Minute - 1)
	p.wantsOpen(Client)
	p.pass(1)
	p.wantsReset(Client)
}

func TestTwoHalfFramesDoNotKeepASessionAliveByItsPings(t *testing.T) {
	c := testConfig()
	c.PingInterval, c.PongTimeout = 30*time.Second, 10*time.Second
	p := newPair(t, c)
	p.send(Client, clientHalf)
	p.send(Backend, backendHalf)
	p.pass(time.Minute)
	p.wantsReset(Client)
	p.wantsReset(Backend)
}

func TestLingeringClientIsClosedAtItsEndOrAfterASecondOrTooMuch(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *pair)
	}{
		{"end of stream", func(p *pair) { p.finish(Client, endOfStream) }},
		{"reset", func(p *pair) { p.finish(Client, connectionReset) }},
		{"a second", func(p *pair) { p.pass(time.Second) }},
		{"256 KiB", func(p *pair) { p.send(Client, fmt.Sprintf("*%d", lingerBytes+1)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, testConfig())
			p.send(Client, clientBye)
			p.pass(3 * time.Second) // the answer's time isn't lingering's
			p.send(Backend, backendClose)
			p.pass(time.Second - 1)
			p.send(Client, fmt.Sprintf("*%d", lingerBytes))
			p.wantsLingering(Client)
			c.end(p)
			p.wantsClosed(Client)
		})
	}
}

func TestLingeringBackendIsClosedAtItsEndElseReset(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     func(p *pair)
		isReset bool
	}{
		{"end of stream", func(p *pair) { p.finish(Backend, endOfStream) }, false},
		{"reset", func(p *pair) { p.finish(Backend, connectionReset) }, true},
		{"a second", func(p *pair) { p.pass(time.Second) }, true},
		{"256 KiB", func(p *pair) { p.send(Backend, fmt.Sprintf("*%d", lingerBytes+1)) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, testConfig())
			p.send(Client, clientBye)
			p.pass(3 * time.Second)
			p.send(Backend, backendClose)
			p.pass(time.Second - 1)
			p.wantsLingering(Backend)
			c.end(p)
			if c.isReset {
				p.wantsReset(Backend)
			} else {
				p.wantsClosed(Backend)
			}
		})
	}
}

func TestCodesThatMayBeSentAreThoseOfTheRegistry(t *testing.T) {
	for code := range 70_000 {
		want := code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 || code >= 3000 && code < 5000
		if got := IsCloseCode(code); got != want {
			t.Errorf("IsCloseCode(%d) = %t; want %t", code, got, want)
		}
	}
}

func TestSecondFailedWriteDoesNotProlongTheWait(t *testing.T) {
	p := newPair(t, testConfig())
	p.core.WriteFailed(&p.env, Client)
	p.pass(4 * time.Second)
	p.core.WriteFailed(&p.env, Client)
	p.pass(time.Second)
	p.wantsReset(Client)
}

func TestSideThatIsGoneCannotBeLostAgain(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.core.Lost(&p.env, a)
		p.settle()
		p.core.Lost(&p.env, a)
		p.core.Ended(&p.env, a)
		if acts := p.core.Take(); acts != 0 {
			p.t.Errorf("acts are %b; want none", acts)
		}
		p.wants(b, "one loss", lost[b])
	})
}

func TestBytesOfASideThatEndedAreSkipped(t *testing.T) {
	p := newPair(t, testConfig())
	p.send(Client, clientBye)
	if pass, skip, step := p.core.Scan(&p.env, Client, wire(t, clientHello)); pass != 0 || skip != 11 || step != End {
		t.Errorf("Scan = %d, %d, %d; want 0, 11, End", pass, skip, step)
	}
}

func TestSideThatEndedIsNotPaused(t *testing.T) {
	p := newPair(t, testConfig())
	p.core.Pause(Client)
	p.finish(Client, connectionReset) // not read
	if !p.core.IsPaused(Client) {
		t.Error("a side that isn't read isn't paused")
	}
	p.core.Lost(&p.env, Client)
	if p.core.IsPaused(Client) {
		t.Error("a side that is lost is paused")
	}
	p.core.Pause(Client)
	if p.core.IsPaused(Client) {
		t.Error("a side that is lost can be paused")
	}
}

func TestInitiatorsAndRulesHaveNames(t *testing.T) {
	if ByClient.String() != "client" || ByBackend.String() != "backend" || Gateway.String() != "gateway" {
		t.Errorf("initiators are %s, %s, %s", ByClient, ByBackend, Gateway)
	}
	names := map[string]bool{}
	for r := Rule(1); r < NumRules; r++ {
		if names[r.String()] || r.String() == "" {
			t.Errorf("rule %d is named %q", r, r)
		}
		names[r.String()] = true
	}
}
