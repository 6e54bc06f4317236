package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

// mirrorConfig mirrors pings; the gateway has none of its own.
func mirrorConfig() relay.Config {
	c := testConfig()
	c.Pings = relay.MirrorPings
	c.PongTimeout = [2]time.Duration{10 * time.Second, 60 * time.Second}
	return c
}

// pongTo is what the gateway answers to ping.
var pongTo = [2]string{pongToClient, pongToBackend}

// Faults B13.
func TestMirroredPingIsAnsweredAndPassesAndItsPongDoesNot(t *testing.T) {
	sides(t, mirrorConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, beginning[a], ping[a], last[a])
		p.wants(a, "a pong at once", pongTo[a])
		p.wants(b, "the ping in its place", beginning[a], ping[a], last[a])
		p.pass(250 * time.Millisecond)
		p.send(b, pong[b], hello[b])
		p.wants(a, "the data alone", hello[b])
		if got := p.core.RTT(b); got != 250*time.Millisecond {
			p.t.Errorf("round-trip time is %v; want 250ms", got)
		}
		if got := p.core.RTT(a); got != 0 {
			p.t.Errorf("round-trip time of the side that pings is %v; want none", got)
		}
	})
}

// Faults B13.
func TestPingThatComesBeforeThePongOfAMirroredOneIsOnlyAnswered(t *testing.T) {
	sides(t, mirrorConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, ping[a], ping[a], ping[a])
		p.wants(a, "each is answered", pongTo[a], pongTo[a], pongTo[a])
		p.wants(b, "the first alone", ping[a])
		p.send(b, []string{
			"1 000 1010  1 0000101  0x00000000 'other' 1 000 1010  1 0000000  0x00000000",
			"1 000 1010  0 0000101             'other' 1 000 1010  0 0000000",
		}[b])
		p.send(a, ping[a])
		p.wantsIdle(b, "pongs of other payloads are no answer")
		p.send(b, pong[b])
		p.send(a, ping[a])
		p.wants(b, "the next after the pong", ping[a])
	})
}

// Faults B13.
func TestMirroredPingsOfBothSidesAreIndependent(t *testing.T) {
	script(t, mirrorConfig(), func(p *scripted) {
		p.send(relay.Client, "1 000 1001  1 1111101  0x00000000 *125")
		p.send(relay.Backend, backendPing)
		p.wants(relay.Client, "its pong, the backend's ping", "1 000 1010  0 1111101 *125", backendPing)
		p.wants(relay.Backend, "the client's ping, its pong", "1 000 1001  1 1111101  0x00000000 *125", pongToBackend)
		p.pass(time.Second)
		p.send(relay.Backend, "1 000 1010  0 1111101 *125")
		p.pass(time.Second)
		p.send(relay.Client, clientPong)
		p.wantsIdle(relay.Client, "no pong passes")
		p.wantsIdle(relay.Backend, "no pong passes")
		if c, b := p.core.RTT(relay.Client), p.core.RTT(relay.Backend); c != 2*time.Second || b != time.Second {
			p.t.Errorf("round-trip times are %v and %v; want 2s and 1s", c, b)
		}
	})
}

// Faults B13.
func TestPingIsNotMirroredWhileOneOfTheGatewaysOwnIsOutstanding(t *testing.T) {
	c := mirrorConfig()
	c.PingInterval = both(30 * time.Second)
	sides(t, c, func(p *scripted, a, b relay.Side) {
		p.ends[a].isLively = true
		p.pass(30 * time.Second)
		answer := answerTo(p, b)
		p.ends[a].isLively = false
		p.send(a, ping[a])
		p.wantsIdle(b, "one ping is outstanding at most")
		p.wants(a, "the pong", pongTo[a])
		p.send(b, pong[b], answer)
		p.send(a, ping[a])
		p.wants(b, "the next", ping[a])
		p.pass(30*time.Second - 1)
		p.wantsIdle(b, "none of the gateway's own while it is outstanding")
	})
}

// Faults B13: for the side that gets it, a mirrored ping is one of the gateway's.
func TestSideThatDoesNotAnswerAMirroredPingIsLost(t *testing.T) {
	c := mirrorConfig()
	sides(t, c, func(p *scripted, a, b relay.Side) {
		p.send(a, ping[a])
		p.pass(c.PongTimeout[b] - 1)
		p.wantsOpen(b)
		p.pass(1)
		p.wantsReset(b)
		p.wants(a, "its pong, then the loss", pongTo[a], lost[a])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: lostCode(p.env.Config, b), Reason: relay.ReasonPongTimeout, Side: b})
	})
}

// Faults B13.
func TestPongTimeoutOfAMirroredPingBeginsWhenItHasGone(t *testing.T) {
	p := newScripted(t, mirrorConfig())
	p.takes(relay.Client, 0)
	p.send(relay.Backend, backendHello, backendPing, backendHello)
	p.takes(relay.Client, 7+6) // all but the ping's last byte
	p.pass(20 * time.Second)
	p.wantsOpen(relay.Client)
	p.takes(relay.Client, 1)
	p.pass(10*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.pass(1)
	p.wantsReset(relay.Client)
}

// Faults B13.
func TestPingIsNotMirroredToASideThatCannotAnswer(t *testing.T) {
	sides(t, mirrorConfig(), func(p *scripted, a, b relay.Side) {
		p.send(b, bye[b])
		p.wants(a, "the close", bye[b])
		p.send(a, ping[a], hello[a])
		p.wants(b, "the data alone: its pong would not be read", hello[a])
	})
	script(t, mirrorConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, backendPing)
		p.wants(relay.Client, "nothing after the close", drainToClient)
	})
}

// Faults B10: a backend that stands still has longer than a client.
func TestEachSideHasItsOwnIntervalAndPongTimeout(t *testing.T) {
	c := testConfig()
	c.PingInterval = [2]time.Duration{20 * time.Second, 0}
	c.PongTimeout = [2]time.Duration{10 * time.Second, 60 * time.Second}
	p := newScripted(t, c)
	p.pass(20 * time.Second)
	p.wantsPing(relay.Client)
	p.pass(10 * time.Second)
	p.wantsReset(relay.Client)
	p.wants(relay.Backend, "no ping, the loss", lostToBackend)

	c.PingInterval = both(20 * time.Second)
	p = newPinged(t, relay.Backend)
	p.env.Config = &c
	p.pass(20 * time.Second)
	p.wantsPing(relay.Backend)
	p.pass(60*time.Second - 1)
	p.wantsOpen(relay.Backend)
	p.pass(1)
	p.wantsReset(relay.Backend)
}
