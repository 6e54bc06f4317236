package driver

import (
	"slices"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// deliveries are the ways in which a session ends while side b stands still, after what side a sent it. isPart: b's stream ends inside a
// frame.
var deliveries = []struct {
	name   string
	isPart bool
	end    func(p *scripted, a, b relay.Side)
}{
	{"a closes", false, func(p *scripted, a, b relay.Side) { p.send(a, bye[a]) }},
	{"a closes and ends its stream", false, func(p *scripted, a, b relay.Side) { p.send(a, bye[a]); p.finish(a, endOfStream) }},
	{"a closes and is reset", false, func(p *scripted, a, b relay.Side) { p.send(a, bye[a]); p.finish(a, connectionReset) }},
	{"a ends its stream", false, func(p *scripted, a, b relay.Side) { p.finish(a, endOfStream) }},
	{"a ends its stream inside a frame", true, func(p *scripted, a, b relay.Side) { p.send(a, half[a]); p.finish(a, endOfStream) }},
	{"a is reset", false, func(p *scripted, a, b relay.Side) { p.finish(a, connectionReset) }},
	{"a is reset inside a frame", true, func(p *scripted, a, b relay.Side) { p.send(a, half[a]); p.finish(a, connectionReset) }},
	{"a breaks a rule", false, func(p *scripted, a, b relay.Side) { p.send(a, "1 111 0000 00000000") }},
	{"b closes", false, func(p *scripted, a, b relay.Side) { p.send(b, bye[b]); p.send(a, closing[a]) }},
	{"b closes and ends its stream", false, func(p *scripted, a, b relay.Side) {
		p.send(b, bye[b])
		p.finish(b, endOfStream)
		p.send(a, closing[a])
	}},
	{"b breaks a rule", false, func(p *scripted, a, b relay.Side) { p.send(b, "1 111 0000 00000000") }},
	{"both close", false, func(p *scripted, a, b relay.Side) { p.send(a, bye[a]); p.send(b, bye[b]) }},
	{"b breaks a rule after its close", false, func(p *scripted, a, b relay.Side) { p.send(a, bye[a]); p.send(b, "1 111 0000 00000000") }},
	{"the gateway closes, a answers", false, func(p *scripted, a, b relay.Side) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(a, closing[a])
	}},
	{"the gateway closes, a is silent", false, func(p *scripted, a, b relay.Side) { p.closeBoth(1012, relay.ReasonDrain) }},
	{"the gateway closes inside a frame", true, func(p *scripted, a, b relay.Side) {
		p.send(a, half[a])
		p.closeBoth(1012, relay.ReasonDrain)
	}},
	{"idle_timeout", false, func(p *scripted, a, b relay.Side) { p.pass(p.env.Config.IdleTimeout) }},
	{"a fault of the gateway's own", false, func(p *scripted, a, b relay.Side) { p.abort([2]bool{}) }},
	{"a fault of the gateway's own inside a frame", true, func(p *scripted, a, b relay.Side) {
		p.send(a, half[a])
		p.abort([2]bool{})
	}},
}

// Faults B16.
func TestScriptWhatCameBeforeAnEndArrivesHoweverLongTheReceiverStandsStill(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 5 * time.Second
	for _, ending := range deliveries {
		t.Run(ending.name, func(t *testing.T) {
			sides(t, c, func(p *scripted, a, b relay.Side) {
				messages := slices.Repeat([]string{hello[a]}, 100)
				// Half stays in the gateway's queue, half in the kernel's.
				p.takes(b, len(drawn(t, hello[a]))*50+3)
				p.ends[b].holds = 1000
				p.send(a, messages...)
				ending.end(p, a, b)
				p.pass(50 * time.Second)
				if e := &p.ends[b]; e.isReset || e.isClosed {
					t.Fatalf("%s with bytes in the gateway's queue: closed %t, reset %t", b, e.isClosed, e.isReset)
				}
				p.takes(b, roomEnough)
				p.pass(50 * time.Second)
				p.ends[b].holds = 500
				p.pass(50 * time.Second)
				if e := &p.ends[b]; e.isReset || e.isClosed && e.fin == goesOn && !p.core.HasClosed(b) {
					t.Fatalf("%s with bytes in the kernel's queue: closed %t, reset %t", b, e.isClosed, e.isReset)
				}
				p.ends[b].holds = 0
				p.pass(30 * time.Second)
				p.wantsClosed(b)
				if !p.core.IsOver() {
					t.Fatalf("the session isn't over: %+v", p.core)
				}
				got := p.ends[b].written
				p.ends[b].written = got[:min(len(got), len(drawn(t, hello[a]))*100)]
				p.wants(b, "all that came before", messages...)
				hasClose := false
				v := verifier{}
				v.verify(t, b, got)
				if hasClose = v.hasClose; hasClose == ending.isPart {
					t.Errorf("%s got a close: %t; want %t", b, hasClose, !ending.isPart)
				}
			})
		})
	}
}

// Faults B16.
func TestScriptAReceiverThatStandsStillForWriteTimeoutIsCut(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 5 * time.Second
	for _, ending := range deliveries {
		for _, where := range []string{"queue", "kernel"} {
			t.Run(ending.name+", "+where, func(t *testing.T) {
				sides(t, c, func(p *scripted, a, b relay.Side) {
					if where == "queue" {
						p.takes(b, 3)
					}
					p.ends[b].holds = 1000
					p.send(a, hello[a])
					ending.end(p, a, b)
					p.pass(2*time.Minute + 30*time.Second) // two waits, one after the other, at most
					if !p.core.IsOver() {
						t.Errorf("the session isn't over: %+v", p.core)
					}
					if e := &p.ends[b]; where == "queue" && !e.isReset {
						t.Errorf("%s isn't cut", b)
					}
				})
			})
		}
	}
}

// Faults B16.
func TestScriptAReceiverThatAcceptsAByteNowAndThenIsCutAfterTenWriteTimeouts(t *testing.T) {
	for _, ending := range deliveries {
		t.Run(ending.name, func(t *testing.T) {
			c := testConfig()
			c.IdleTimeout = 5 * time.Second
			sides(t, c, func(p *scripted, a, b relay.Side) {
				p.ends[b].holds = 1 << 20
				p.send(a, hello[a])
				ending.end(p, a, b)
				for range 610 {
					p.ends[b].holds--
					p.pass(time.Second)
				}
				if !p.core.IsOver() {
					t.Errorf("the session isn't over: %+v", p.core)
				}
			})
		})
	}
}

// Faults B16: the kernel reports room only once much of its queue has gone.
func TestScriptASlowReceiverIsNotCutWhileTheKernelsQueueShrinks(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(b, 3)
		p.ends[b].holds = 1 << 20
		p.send(a, hello[a], bye[a])
		for range 150 {
			p.ends[b].holds -= 1000
			p.pass(time.Second)
		}
		p.takes(b, roomEnough)
		p.wants(b, "all of it", hello[a], bye[a])
	})
}

// Faults B16: the wait for a boundary doesn't run while the backend isn't read.
func TestScriptADrainWaitsForAClientThatReadsSlowlyInsideAFrame(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.takes(relay.Client, 0)
		p.send(relay.Backend, "1 000 0010  0 1111111 0x0000000000020000 *70000") // more than the mark
		if !p.core.IsPaused(relay.Backend) {
			t.Fatal("the backend is read")
		}
		p.ends[relay.Backend].inbox = append(p.ends[relay.Backend].inbox, drawn(t, "*61072")...)
		p.closeBoth(1012, relay.ReasonDrain)
		p.pass(40 * time.Second)
		p.wantsOpen(relay.Client)
		p.takes(relay.Client, roomEnough)
		p.wants(relay.Client, "the frame, then the close", "1 000 0010  0 1111111 0x0000000000020000 *131072", drainToClient)
	})
}

// Faults B16: a stop whose time is over waits for no peer, but tells what can be told, and leaves to the kernel what that has.
func TestScriptAStopTellsBothSidesOfASessionThatEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(p *scripted, a, b relay.Side)
		told func(a relay.Side) string
	}{
		"by a's close":       {func(p *scripted, a, b relay.Side) { p.send(a, bye[a]) }, func(a relay.Side) string { return ourClose(a, 4001, "") }},
		"by a's end":         {func(p *scripted, a, b relay.Side) { p.finish(a, endOfStream) }, func(a relay.Side) string { return ourClose(a, int([]uint16{1001, 1011}[a]), "") }},
		"by the drain":       {func(p *scripted, a, b relay.Side) { p.closeBoth(1012, relay.ReasonDrain) }, func(a relay.Side) string { return ourClose(a, 1012, "gateway is stopping, reconnect") }},
		"not: it's cut open": {func(p *scripted, a, b relay.Side) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
				p.ends[b].holds = 1000
				p.send(a, hello[a])
				c.end(p, a, b)
				p.core.Leave(&p.env)
				p.run()
				for side := relay.Client; side <= relay.Backend; side++ {
					p.core.Lost(&p.env, side)
				}
				p.run()
				if c.told == nil {
					p.wantsReset(a)
					p.wantsReset(b)
					return
				}
				p.wants(a, "its close", c.told(a))
				p.wantsClosed(a)
				p.wantsClosed(b)
			})
		})
	}
}
