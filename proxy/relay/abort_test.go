package relay

import "testing"

// abort is what a driver does after a fault of the gateway's own.
func (p *pair) abort(isTorn [2]bool) {
	p.core.Abort(&p.env, isTorn)
	p.run()
}

// internalClose draws the close that side is sent by Abort.
func internalClose(side Side) string { return ourClose(side, 1011, "internal error of the gateway") }

func TestAbortTellsBothSidesBetweenFrames(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Client, clientHello)
		p.send(Backend, backendBegin) // a message has begun, but no frame is half sent
		p.abort([2]bool{})
		p.wants(Backend, "what came before, then the close", clientHello, internalClose(Backend))
		p.wants(Client, "what came before, then the close", backendBegin, internalClose(Client))
		p.send(Client, clientHello)
		p.send(Backend, backendHello)
		p.wantsIdle(Client, "nothing goes behind a close")
		p.wantsIdle(Backend, "nothing goes behind a close")
		p.wantsLingering(Client)
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1011, Reason: ReasonInternal})
		p.pass(lingerTime)
		if !p.core.IsOver() {
			t.Error("the session isn't over after the time that it lingers")
		}
	})
}

func TestAbortCutsTheSideThatIsInsideAFrame(t *testing.T) {
	for from, hello := range map[Side]string{Client: clientHello, Backend: backendHello} {
		to := from.Other()
		t.Run("from the "+from.String(), func(t *testing.T) {
			p := newPair(t, testConfig())
			frame := wire(t, hello)
			p.ends[from].inbox = append(p.ends[from].inbox, frame[:len(frame)-1]...)
			p.run()
			p.ends[to].wire = nil
			p.abort([2]bool{})
			p.wantsReset(to)
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
	script(t, testConfig(), func(p *pair) {
		p.abort([2]bool{Client: true})
		p.wantsReset(Client)
		p.wantsIdle(Client, "it is cut")
		p.wants(Backend, "the close", internalClose(Backend))
	})
}

func TestAbortLetsACloseThatIsOnItsWayArrive(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.ends[Backend].room = 0
		p.send(Client, clientClose)
		p.abort([2]bool{})
		p.wants(Client, "the close", internalClose(Client))
		p.takes(Backend, roomEnough)
		p.wants(Backend, "the client's close, and no other", clientClose)
		p.wantsVerdict(Verdict{Initiator: ByClient, Code: 1000, Reason: ReasonClose})
		p.pass(lingerTime)
		if !p.core.IsOver() {
			t.Error("the session isn't over after the time that it lingers")
		}
	})
}

func TestAbortOfASideThatTakesNothingEndsByWriteTimeout(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.ends[Client].room = 0
		p.send(Backend, backendHello)
		p.abort([2]bool{})
		p.pass(p.env.Config.WriteTimeout)
		p.wantsReset(Client)
		if !p.core.IsOver() {
			t.Error("the session isn't over after write_timeout")
		}
	})
}

func TestASecondAbortChangesNothing(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.abort([2]bool{})
		p.abort([2]bool{})
		p.wants(Client, "one close", internalClose(Client))
		p.wants(Backend, "one close", internalClose(Backend))
	})
}

func TestKillIsTheEndFromEveryState(t *testing.T) {
	for name, before := range map[string]func(p *pair){
		"open":          func(*pair) {},
		"inside frames": func(p *pair) { p.send(Backend, backendBegin); p.send(Client, clientHello) },
		"drained":       func(p *pair) { p.closeBoth(1012, ReasonDrain) },
		"closed":        func(p *pair) { p.send(Client, clientClose); p.send(Backend, backendClose) },
		"lost":          func(p *pair) { p.finish(Client, connectionReset) },
		"aborted":       func(p *pair) { p.abort([2]bool{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, testConfig())
			before(p)
			p.core.Kill()
			if !p.core.IsOver() || p.core.Take() != 0 || p.core.Reads(Client) || p.core.Reads(Backend) {
				t.Error("something is left to do")
			}
			if p.core.Verdict().Reason == 0 {
				t.Error("no verdict")
			}
			for range numTimers {
				p.core.Advance(&p.env) // a timer that runs still would expire
			}
		})
	}
}
