package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

// lifetimeIsOver is the reason in the close of a session that has reached max_lifetime.
var lifetimeIsOver = relay.ReasonLifetime.Text()

func TestASessionIsClosedAtItsLifetimesEndLessATenthOfChance(t *testing.T) {
	c := testConfig()
	c.MaxLifetime, c.LifetimeOver = time.Hour, 1001
	ended := map[time.Duration]bool{}
	for range 20 {
		p := newScripted(t, c)
		began := p.env.Now
		p.pass(54*time.Minute - 1)
		p.wantsIdle(relay.Client, "before nine tenths of the time")
		for p.core.Verdict().Reason == 0 {
			p.pass(time.Second)
		}
		if at := time.Duration(p.env.Now - began); at > time.Hour+time.Second {
			t.Errorf("the session ends after %v; want an hour at most", at)
		} else {
			ended[at] = true
		}
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1001, Reason: relay.ReasonLifetime})
		p.wants(relay.Client, "the close", ourClose(relay.Client, 1001, lifetimeIsOver))
		p.send(relay.Client, clientClose)
		p.wants(relay.Backend, "the close", ourClose(relay.Backend, 1001, lifetimeIsOver))
	}
	if len(ended) < 5 {
		t.Errorf("20 sessions end at %d different times; want them spread", len(ended))
	}
}

func TestAnExpiryClosesASessionAtAMessageBoundary(t *testing.T) {
	c := testConfig()
	c.AuthExpired = 1008
	script(t, c, func(p *scripted) {
		p.env.Allowance = &relay.Allowance{}
		p.env.Allowance.ExpireAt(p.env.Now.Add(time.Minute))
		p.pass(time.Minute - time.Second)
		p.send(relay.Backend, backendBegin)
		p.pass(time.Second)
		p.wants(relay.Client, "no close inside a message", backendBegin)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1008, Reason: relay.ReasonAuthExpired})
		p.send(relay.Backend, backendLast)
		p.wants(relay.Client, "the message and the close", backendLast, ourClose(relay.Client, 1008, "authentication has expired"))
		p.send(relay.Client, clientHello, clientClose)
		p.wants(relay.Backend, "what the client sent before, and the close", clientHello, ourClose(relay.Backend, 1008, "authentication has expired"))
	})
}

func TestTheLastExpiryThatWasSetCounts(t *testing.T) {
	c := testConfig()
	p := newScripted(t, c)
	p.env.Allowance = &relay.Allowance{}
	p.env.Allowance.ExpireAt(p.env.Now.Add(time.Minute))
	p.pass(59 * time.Second)
	p.env.Allowance.ExpireAt(p.env.Now.Add(time.Hour))
	p.pass(time.Hour - 1)
	p.wantsOpen(relay.Client)
	p.env.Allowance.ExpireAt(0)
	p.pass(24 * time.Hour)
	p.wantsOpen(relay.Client)
	p.env.Allowance.ExpireAt(1)
	p.pass(time.Millisecond)
	p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Reason: relay.ReasonAuthExpired})
	p.wantsIdle(relay.Client, "with 0 as its code it gets no close")
}

func TestTheEarlierOfExpiryAndLifetimeEndsASession(t *testing.T) {
	for _, s := range []struct {
		name    string
		expires time.Duration
		want    relay.Reason
	}{{"expiry", 10 * time.Minute, relay.ReasonAuthExpired}, {"lifetime", 2 * time.Hour, relay.ReasonLifetime}} {
		c := testConfig()
		c.MaxLifetime = time.Hour
		p := newScripted(t, c)
		p.env.Allowance.ExpireAt(p.env.Now.Add(s.expires))
		p.pass(3 * time.Hour)
		if got := p.core.Verdict().Reason; got != s.want {
			t.Errorf("%s: the session ends because of %v; want %v", s.name, got, s.want)
		}
	}
}

func TestASessionIsClosedWhenItsLifetimeIsOver(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := begin(t, k, setup{config: relay.Config{MaxLifetime: 200 * time.Millisecond, LifetimeOver: 1001}})
		x.wantClosedBy(t, relay.ReasonLifetime, 1001)
		if passed := time.Since(start); passed < 180*time.Millisecond {
			t.Errorf("the session ended after %v; want nine tenths of its lifetime at least", passed)
		}
	})
}

func TestASessionIsClosedWhenItHasExpired(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{AuthExpired: 1008}})
		x.handle.ExpireAt(time.Now().Add(time.Hour))
		x.client.write(x.client.text("data"))
		x.backend.want("data", x.client.text("data"))
		start := time.Now()
		x.handle.ExpireAt(start.Add(100 * time.Millisecond))
		x.wantClosedBy(t, relay.ReasonAuthExpired, 1008)
		x.wantPassed(t, start, 100*time.Millisecond)
	})
}

func TestAnExpiryInThePastClosesASessionAtOnce(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{AuthExpired: 3000}})
		x.handle.ExpireAt(time.Unix(1, 0))
		x.wantClosedBy(t, relay.ReasonAuthExpired, 3000)
	})
}

// wantClosedBy checks that the gateway closes the session for a reason, and ends it.
func (x *exchange) wantClosedBy(t *testing.T, reason relay.Reason, code uint16) {
	t.Helper()
	c, b := x.client, x.backend
	c.wantClose("the close", code, reason.Text())
	c.write(c.closing(code, ""))
	b.wantClose("the close", code, reason.Text())
	b.write(b.closing(code, ""))
	c.close()
	b.close()
	x.wantVerdict(t, relay.Gateway, code, reason)
}
