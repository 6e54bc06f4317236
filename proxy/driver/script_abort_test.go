package driver

import (
	"testing"

	"sluice/proxy/relay"
)

// abort is what a driver does after a fault of the gateway's own.
func (p *scripted) abort(isTorn [2]bool) {
	p.core.Abort(&p.env, isTorn)
	p.run()
}

// internalClose draws the close that side is sent by Abort.
func internalClose(side relay.Side) string {
	return ourClose(side, 1011, "internal error of the gateway")
}

func TestAbortTellsBothSidesBetweenFrames(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, clientHello)
		p.send(relay.Backend, backendBegin) // a message has begun, but no frame is half sent
		p.abort([2]bool{})
		p.wants(relay.Backend, "what came before, then the close", clientHello, internalClose(relay.Backend))
		p.wants(relay.Client, "what came before, then the close", backendBegin, internalClose(relay.Client))
		p.send(relay.Client, clientHello)
		p.send(relay.Backend, backendHello)
		p.wantsIdle(relay.Client, "nothing goes after a close")
		p.wantsIdle(relay.Backend, "nothing goes after a close")
		p.wantsLingering(relay.Client)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1011, Reason: relay.ReasonInternal})
		p.pass(lingerTime)
		if !p.core.IsOver() {
			t.Error("the session isn't over after the time that it lingers")
		}
	})
}

func TestAbortEndsAStreamInsideAFrameWithoutAClose(t *testing.T) {
	for from, hello := range map[relay.Side]string{relay.Client: clientHello, relay.Backend: backendHello} {
		to := from.Other()
		t.Run("from the "+from.String(), func(t *testing.T) {
			p := newScripted(t, testConfig())
			frame := drawn(t, hello)
			p.ends[from].inbox = append(p.ends[from].inbox, frame[:len(frame)-1]...)
			p.run()
			p.ends[to].written = nil
			p.abort([2]bool{})
			p.wantsLingering(to)
			p.wantsIdle(to, "no close inside a frame")
			p.wants(from, "the close", internalClose(from))
			p.pass(lingerTime)
			if !p.core.IsOver() {
				t.Error("the session isn't over after the time that it lingers")
			}
		})
	}
}

func TestAbortCutsASideOfWhoseStreamAPartIsLost(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.abort([2]bool{relay.Client: true})
		p.wantsReset(relay.Client)
		p.wantsIdle(relay.Client, "it is cut")
		p.wants(relay.Backend, "the close", internalClose(relay.Backend))
	})
}

func TestAbortLetsACloseThatIsOnItsWayArrive(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.ends[relay.Backend].room = 0
		p.send(relay.Client, clientClose)
		p.abort([2]bool{})
		p.wants(relay.Client, "the close", internalClose(relay.Client))
		p.takes(relay.Backend, roomEnough)
		p.wants(relay.Backend, "the client's close, and no other", clientClose)
		p.wantsVerdict(relay.Verdict{Initiator: relay.ByClient, Code: 1000, Reason: relay.ReasonClose})
		p.pass(lingerTime)
		if !p.core.IsOver() {
			t.Error("the session isn't over after the time that it lingers")
		}
	})
}

func TestAbortOfASideThatTakesNothingEndsByWriteTimeout(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.ends[relay.Client].room = 0
		p.send(relay.Backend, backendHello)
		p.abort([2]bool{})
		p.pass(p.env.Config.WriteTimeout)
		p.wantsReset(relay.Client)
		if !p.core.IsOver() {
			t.Error("the session isn't over after write_timeout")
		}
	})
}

func TestASecondAbortChangesNothing(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.abort([2]bool{})
		p.abort([2]bool{})
		p.wants(relay.Client, "one close", internalClose(relay.Client))
		p.wants(relay.Backend, "one close", internalClose(relay.Backend))
	})
}

func TestKillIsTheEndFromEveryState(t *testing.T) {
	for name, before := range map[string]func(p *scripted){
		"open":          func(*scripted) {},
		"inside frames": func(p *scripted) { p.send(relay.Backend, backendBegin); p.send(relay.Client, clientHello) },
		"drained":       func(p *scripted) { p.closeBoth(1012, relay.ReasonDrain) },
		"closed":        func(p *scripted) { p.send(relay.Client, clientClose); p.send(relay.Backend, backendClose) },
		"lost":          func(p *scripted) { p.finish(relay.Client, connectionReset) },
		"aborted":       func(p *scripted) { p.abort([2]bool{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newScripted(t, testConfig())
			before(p)
			p.core.Kill()
			if !p.core.IsOver() || p.core.TakeActs() != 0 || p.core.Reads(relay.Client) || p.core.Reads(relay.Backend) {
				t.Error("something is left to do")
			}
			if p.core.Verdict().Reason == 0 {
				t.Error("no verdict")
			}
			for range 10 {
				p.core.Advance(&p.env) // a timer that runs still would expire
			}
		})
	}
}
