package driver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// many returns n times the same drawing.
func many(drawing string, n int) []string { return slices.Repeat([]string{drawing}, n) }

func TestWhatIsOverARatePassesWhenTheRateAllowsIt(t *testing.T) {
	const (
		frame = "1 000 0001  1 1100100  0x00000000 *100"
		empty = "1 000 0010  1 0000000  0x00000000"
	)
	type step struct {
		after time.Duration
		want  []string
	}
	for _, s := range []struct {
		name   string
		config relay.Config
		send   []string
		steps  []step
	}{
		{"messages", relay.Config{MessageRate: relay.Rate{PerSecond: 10, Burst: 3}}, many(clientHello, 6),
			[]step{{0, many(clientHello, 3)}, {99 * time.Millisecond, nil}, {time.Millisecond, many(clientHello, 1)}, {time.Second, many(clientHello, 2)}}},
		{"a second's worth is the burst by itself", relay.Config{MessageRate: relay.Rate{PerSecond: 4}}, many(empty, 6),
			[]step{{0, many(empty, 4)}, {500 * time.Millisecond, many(empty, 2)}}},
		{"messages, not frames", relay.Config{MessageRate: relay.Rate{PerSecond: 1, Burst: 1}}, []string{clientBegin, clientMiddle, clientLast, clientHello},
			[]step{{0, []string{clientBegin, clientMiddle, clientLast}}, {990 * time.Millisecond, []string{clientHello}}}},
		{"bytes", relay.Config{ByteRate: relay.Rate{PerSecond: 50, Burst: 20}}, []string{frame, empty, frame},
			[]step{
				{0, []string{"1 000 0001  1 1100100  0x00000000 *20"}},
				{time.Second, []string{"*50"}},
				{1100 * time.Millisecond, []string{"*30", empty, "1 000 0001  1 1100100  0x00000000 *24"}},
				{time.Minute, []string{"*76"}},
			}},
		{"control frames", relay.Config{Pings: relay.ForwardPings, ControlRate: relay.Rate{PerSecond: 2}}, []string{clientPing, clientPong, clientPing, clientHello},
			[]step{{0, []string{clientPing, clientPong}}, {500 * time.Millisecond, []string{clientPing, clientHello}}}},
		{"no rate for what isn't limited", relay.Config{ControlRate: relay.Rate{PerSecond: 1}}, many(clientHello, 20), []step{{0, many(clientHello, 20)}}},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := testConfig()
			c.Pings, c.MessageRate, c.ByteRate, c.ControlRate = s.config.Pings, s.config.MessageRate, s.config.ByteRate, s.config.ControlRate
			script(t, c, func(p *scripted) {
				p.send(relay.Client, s.send...)
				for i, step := range s.steps {
					p.pass(step.after + 10) // a nanosecond for each wait
					p.run()
					p.wants(relay.Backend, fmt.Sprintf("step %d", i), step.want...)
				}
				p.wantsOpen(relay.Client)
			})
		})
	}
}

func TestAClientUnderItsRateIsNotDelayed(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.ByteRate, c.ControlRate = relay.Rate{PerSecond: 10, Burst: 1}, relay.Rate{PerSecond: 50, Burst: 5}, relay.Rate{PerSecond: 10}
	script(t, c, func(p *scripted) {
		p.env.Allowance.OnDelay = func() { t.Error("a message was delayed") }
		for range 100 {
			p.send(relay.Client, clientHello, clientPing)
			p.wants(relay.Backend, "at once", clientHello)
			p.pass(100 * time.Millisecond)
		}
	})
}

func TestTheBackendIsUnderNoRate(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.ByteRate, c.ControlRate = relay.Rate{PerSecond: 1}, relay.Rate{PerSecond: 1}, relay.Rate{PerSecond: 1}
	script(t, c, func(p *scripted) {
		p.send(relay.Backend, many(backendHello, 50)...)
		p.wants(relay.Client, "all", many(backendHello, 50)...)
	})
}

func TestEachMessageThatWaitsIsCountedOnce(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.ByteRate = relay.Rate{PerSecond: 10, Burst: 2}, relay.Rate{PerSecond: 10}
	script(t, c, func(p *scripted) {
		delayed := 0
		p.env.Allowance.OnDelay = func() { delayed++ }
		p.send(relay.Client, many(clientHello, 5)...)
		p.pass(time.Minute)
		p.wants(relay.Backend, "all", many(clientHello, 5)...)
		if delayed != 3 {
			t.Errorf("%d messages were delayed; want 3", delayed)
		}
	})
}

func TestOtherDirectionGoesOnWhileAClientIsDelayed(t *testing.T) {
	c := testConfig()
	c.MessageRate = relay.Rate{PerSecond: 1, Burst: 1}
	script(t, c, func(p *scripted) {
		p.send(relay.Client, many(clientHello, 3)...)
		p.wants(relay.Backend, "the first one", clientHello)
		p.send(relay.Backend, backendHello, backendPing)
		p.wants(relay.Client, "data", backendHello)
		p.wants(relay.Backend, "the pong, between messages of the client", pongToBackend)
		p.pass(2 * time.Second)
		p.wants(relay.Backend, "the others", many(clientHello, 2)...)
	})
}

func TestThePongToABackendThatPingsInsideADelayedFrameWaitsForItsEnd(t *testing.T) {
	c := testConfig()
	c.ByteRate = relay.Rate{PerSecond: 4, Burst: 4}
	script(t, c, func(p *scripted) {
		p.send(relay.Client, clientHalf+space+clientRest)
		p.wants(relay.Backend, "what the burst allows", clientHalf)
		p.send(relay.Backend, backendPing)
		p.wantsIdle(relay.Backend, "nothing inside a frame")
		p.pass(2 * time.Second)
		p.wants(relay.Backend, "the rest, and the pong", clientRest, pongToBackend)
	})
}

func TestWhatADelayedClientSentBeforeItsEndArrives(t *testing.T) {
	for _, f := range []finish{endOfStream, connectionReset} {
		for _, endsAtOnce := range []bool{false, true} {
			c := testConfig()
			c.MessageRate = relay.Rate{PerSecond: 1, Burst: 1}
			script(t, c, func(p *scripted) {
				p.ends[relay.Client].endsAtOnce, p.ends[relay.Client].fin = endsAtOnce, f
				p.send(relay.Client, many(clientHello, 4)...)
				p.pass(5 * time.Second)
				p.wants(relay.Backend, "all, then the close", append(many(clientHello, 4), lostToBackend)...)
			})
		}
	}
}

func TestADelayedClientsCloseKeepsItsPlace(t *testing.T) {
	c := testConfig()
	c.MessageRate = relay.Rate{PerSecond: 1, Burst: 1}
	script(t, c, func(p *scripted) {
		p.send(relay.Client, clientHello, clientHello, clientClose)
		p.wants(relay.Backend, "the first one", clientHello)
		p.pass(time.Second)
		p.wants(relay.Backend, "the second one and the close", clientHello, clientClose)
		p.send(relay.Backend, backendClose)
		p.wantsVerdict(relay.Verdict{Initiator: relay.ByClient, Code: 1000, Reason: relay.ReasonClose})
	})
}

// What has been read at once shows up as one delay, though each message waits for less.
func TestAClientThatIsNotReadForPongTimeoutIsClosed(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.OverRate = relay.Rate{PerSecond: 1, Burst: 1}, 1008
	p := newScripted(t, c)
	p.send(relay.Client, many(clientHello, 15)...)
	p.pass(10*time.Second - 1)
	p.wantsOpen(relay.Client)
	p.wantsIdle(relay.Client, "not yet")
	p.pass(1)
	p.wants(relay.Client, "the close", ourClose(relay.Client, 1008, relay.ReasonRate.Text()))
	p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1008, Reason: relay.ReasonRate})
	p.send(relay.Client, clientClose)
	p.pass(5 * time.Second)
	p.wants(relay.Backend, "all, and then the close", append(many(clientHello, 15), ourClose(relay.Backend, 1008, relay.ReasonRate.Text()))...)
}

func TestAClientThatIsReadAgainAndAgainIsNotClosed(t *testing.T) {
	c := testConfig()
	c.MessageRate = relay.Rate{PerSecond: 10, Burst: 1}
	p := newScripted(t, c)
	p.split = func(n int) int { return min(n, 44) } // four messages
	p.send(relay.Client, many(clientHello, 600)...)
	p.pass(time.Minute)
	p.wants(relay.Backend, "all", many(clientHello, 600)...)
	p.wantsOpen(relay.Client)
}

func TestAClientOverItsRateIsClosedIfTheRouteSaysSo(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.OverRate, c.ClosesOverRate = relay.Rate{PerSecond: 2}, 3008, true
	script(t, c, func(p *scripted) {
		p.send(relay.Client, many(clientHello, 2)...)
		p.wantsIdle(relay.Client, "not over the rate")
		p.send(relay.Client, clientHello)
		p.wants(relay.Client, "the close", ourClose(relay.Client, 3008, relay.ReasonRate.Text()))
		p.send(relay.Client, clientClose)
		p.pass(time.Second)
		p.wants(relay.Backend, "all, and then the close", append(many(clientHello, 3), ourClose(relay.Backend, 3008, relay.ReasonRate.Text()))...)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 3008, Reason: relay.ReasonRate})
	})
}

// The clock of pongs stands still while they can't be read.
func TestADelayedClientIsNotLostForItsPong(t *testing.T) {
	c := testConfig()
	c.PingInterval[relay.Client], c.PongTimeout[relay.Client] = 3*time.Second, 4*time.Second
	c.MessageRate = relay.Rate{PerSecond: 1, Burst: 1}
	p := newScripted(t, c)
	p.pass(3 * time.Second)
	if n := len(p.ends[relay.Client].written); n == 0 {
		t.Fatal("no ping")
	}
	ping := p.ends[relay.Client].written[2:]
	p.ends[relay.Client].written = nil
	p.pass(3 * time.Second)
	p.send(relay.Client, many(clientHello, 4)...)
	p.ends[relay.Client].inbox = (&peer{side: relay.Client}).frame(isFin|opPong, ping)
	p.pass(3500 * time.Millisecond)
	p.wantsOpen(relay.Client)
	p.wants(relay.Backend, "all", many(clientHello, 4)...)
}

func TestWhatIsLateIsReadSlowly(t *testing.T) {
	c := testConfig()
	c.MessageRate, c.ByteRate, c.ControlRate = relay.Rate{PerSecond: 100, Burst: 50}, relay.Rate{PerSecond: 1000}, relay.Rate{PerSecond: 100}
	p := newScripted(t, c)
	// The burst, and a second's worth, of the shortest messages.
	if got := p.core.ReadLimit(&p.env, relay.Client, 1<<20); got != 6*(50+100) {
		t.Errorf("ReadLimit = %d; want %d", got, 6*(50+100))
	}
	if got := p.core.ReadLimit(&p.env, relay.Backend, 1<<20); got != 1<<20 {
		t.Errorf("ReadLimit of the backend = %d; want %d", got, 1<<20)
	}
	p.send(relay.Client, "1 000 0010  1 1111110  0x4000 0x00000000")
	if got := p.core.ReadLimit(&p.env, relay.Client, 1<<20); got != 2000 { // the rest of the frame counts as bytes alone
		t.Errorf("ReadLimit inside a frame = %d; want %d", got, 2000)
	}
}
