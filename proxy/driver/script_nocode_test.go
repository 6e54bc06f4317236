package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

// silentConfig has no code for either side's loss.
func silentConfig() relay.Config {
	c := testConfig()
	c.BackendLost, c.ClientLost = 0, 0
	return c
}

// wantsStreamEnd checks that a side's stream has ended after what was written, and that the side isn't reset.
func (p *scripted) wantsStreamEnd(side relay.Side) {
	p.t.Helper()
	if e := &p.ends[side]; !e.isShut && !e.isClosed || e.isReset {
		p.t.Fatalf("%s: shut %t, closed %t, reset %t; want its stream ended", side, e.isShut, e.isClosed, e.isReset)
	}
}

// Faults B17.
func TestLossWithoutACodeEndsTheOthersStreamAtOnce(t *testing.T) {
	for name, f := range map[string]finish{"end of stream": endOfStream, "reset": connectionReset} {
		t.Run(name, func(t *testing.T) {
			sides(t, silentConfig(), func(p *scripted, a, b relay.Side) {
				p.send(a, hello[a], half[a])
				p.send(b, hello[b])
				p.finish(a, f)
				p.wants(b, "what was sent, and no close", hello[a], half[a])
				p.wantsStreamEnd(b)
				p.finish(b, endOfStream)
				p.wants(a, "what was sent, and no close", hello[b])
				if !p.core.IsOver() {
					p.t.Error("the session isn't over though both sides have ended")
				}
				reason := relay.ReasonLost
				if f == connectionReset {
					reason = relay.ReasonReset
				}
				p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Reason: reason, Side: a})
			})
		})
	}
}

// Faults B17.
func TestLossWithoutACodeWaitsForWhatTheOtherSideHasYetToTake(t *testing.T) {
	sides(t, silentConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(b, 0)
		p.send(a, hello[a])
		p.finish(a, endOfStream)
		p.pass(50 * time.Second)
		if e := &p.ends[b]; e.isShut || e.isClosed || e.isReset {
			p.t.Fatal("the stream ends before what was sent")
		}
		p.takes(b, roomEnough)
		p.wants(b, "what was sent, and no close", hello[a])
		p.wantsStreamEnd(b)
	})
}

// Faults B16, B17.
func TestASideWhoseStreamEndsWithoutACodeIsHeardToItsOwnEnd(t *testing.T) {
	sides(t, silentConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, hello[a])
		p.finish(a, endOfStream)
		p.wants(b, "what was sent", hello[a])
		p.wantsStreamEnd(b)
		p.send(b, hello[b], hello[b])
		p.pass(time.Second)
		p.send(b, hello[b])
		p.wants(a, "what was sent after the end", hello[b], hello[b], hello[b])
		p.finish(b, endOfStream)
		p.wantsStreamEnd(a)
		if !p.core.IsOver() {
			p.t.Error("the session isn't over though both sides have ended")
		}
	})
}

// Faults B17.
func TestASideThatNeverEndsIsNotWaitedForLongerThanCloseTimeout(t *testing.T) {
	sides(t, silentConfig(), func(p *scripted, a, b relay.Side) {
		p.finish(a, endOfStream)
		p.wantsStreamEnd(b)
		p.pass(testConfig().CloseTimeout + 3*time.Second)
		p.wantsStreamEnd(a)
		if !p.core.IsOver() {
			p.t.Error("the session isn't over")
		}
	})
}

// Faults B17.
func TestDrainWithoutACodeEndsBothStreamsAtAMessageBoundary(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(0, relay.ReasonDrain)
		p.wantsOpen(relay.Client)
		p.send(relay.Backend, backendLast, backendHello)
		p.wants(relay.Client, "the message, and no close", backendBegin, backendLast)
		p.wantsStreamEnd(relay.Client)
		p.send(relay.Client, clientHello)
		p.finish(relay.Client, endOfStream)
		p.wants(relay.Backend, "what its client still had to say, and no close", clientHello)
		p.wantsStreamEnd(relay.Backend)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Reason: relay.ReasonDrain})
	})
}

// Faults B18.
func TestBackendThatEndsAtTheFirstPingRefusesIt(t *testing.T) {
	refused := relay.Verdict{Initiator: relay.ByBackend, Code: 1011, Reason: relay.ReasonPingRefused, Side: relay.Backend}
	for name, test := range map[string]struct {
		end  func(p *scripted)
		want relay.Verdict
	}{
		"by the end of its stream": {func(p *scripted) { p.finish(relay.Backend, endOfStream) }, refused},
		"by a reset":               {func(p *scripted) { p.finish(relay.Backend, connectionReset) }, refused},
		"by a protocol error": {func(p *scripted) { p.send(relay.Backend, "1 000 1000  0 0000010  0x03ea") },
			relay.Verdict{Initiator: relay.ByBackend, Code: 1002, Reason: relay.ReasonPingRefused}},
		"not by a close of its own": {func(p *scripted) { p.send(relay.Backend, backendBye) },
			relay.Verdict{Initiator: relay.ByBackend, Code: 4001, Reason: relay.ReasonClose}},
		"not later": {func(p *scripted) { p.pass(2 * time.Second); p.finish(relay.Backend, endOfStream) },
			relay.Verdict{Initiator: relay.ByBackend, Code: 1011, Reason: relay.ReasonLost, Side: relay.Backend}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPinged(t, relay.Backend)
			p.pass(30 * time.Second)
			p.wantsPing(relay.Backend)
			test.end(p)
			p.wantsVerdict(test.want)
		})
	}
	t.Run("not after it has answered one", func(t *testing.T) {
		p := newPinged(t, relay.Backend)
		p.pass(30 * time.Second)
		answer := answerTo(p, relay.Backend)
		p.pass(time.Millisecond)
		p.send(relay.Backend, answer)
		p.pass(30 * time.Second)
		p.wantsPing(relay.Backend)
		p.finish(relay.Backend, endOfStream)
		p.wantsVerdict(relay.Verdict{Initiator: relay.ByBackend, Code: 1011, Reason: relay.ReasonLost, Side: relay.Backend})
	})
}
