package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

const (
	drainToClient  = "1 000 1000  0 0100000  0x03f4 'gateway_is_stopping,_reconnect'"
	drainToBackend = "1 000 1000  1 0100000  key  0x03f4 'gateway_is_stopping,_reconnect'"
)

func TestDrainClosesTheClientFirstThenTheBackend(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.wants(relay.Client, "the drain's close", drainToClient)
		p.wantsIdle(relay.Backend, "the client's data still passes")
		p.send(relay.Client, clientHello, clientClose)
		p.wants(relay.Backend, "the client's data, then the drain's close", clientHello, drainToBackend)
		p.wantsLingering(relay.Client)
		p.send(relay.Backend, backendClose)
		p.wantsLingering(relay.Backend)
		p.wantsIdle(relay.Client, "it has its close")
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1012, Reason: relay.ReasonDrain})
	})
}

func TestDrainDropsTheBackendsDataAndCountsIt(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.wants(relay.Client, "the drain's close", drainToClient)
		p.send(relay.Backend, backendHello, backendBegin, backendMiddle)
		p.wantsIdle(relay.Client, "nothing goes after a close")
		if got, want := p.core.Counts(relay.Backend), (relay.Counts{Frames: 3, Messages: 1, Bytes: 13}); got != want {
			p.t.Errorf("counts are %+v; want %+v", got, want)
		}
	})
}

func TestPingAmongDroppedDataIsAnswered(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, backendHello, backendPing, backendHello, backendHello, backendPing)
		p.wants(relay.Backend, "pongs alone", pongToBackend, pongToBackend)
		p.wants(relay.Client, "nothing after the close", drainToClient)
	})
}

func TestDrainWaitsForTheEndOfTheBackendsMessage(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.wants(relay.Client, "the message goes on", backendBegin)
		p.send(relay.Backend, backendMiddle, backendLast, backendHello)
		p.wants(relay.Client, "its end, then the close", backendMiddle, backendLast, drainToClient)
	})
}

func TestDrainWaitsForTheEndOfAnEmptyLastFrame(t *testing.T) {
	const empty = "1 000 0000  0 0000000"
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, empty, backendHello)
		p.wants(relay.Client, "its end, then the close", backendBegin, empty, drainToClient)
	})
}

func TestDrainTakesAFrameBoundaryAfterCloseTimeout(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.pass(5*time.Second - 1)
		p.wants(relay.Client, "the message may still end", backendBegin)
		p.pass(1)
		p.wants(relay.Client, "the close between two frames", drainToClient)
	})
}

func TestDrainTakesTheNextFrameBoundaryAfterCloseTimeout(t *testing.T) {
	const half, rest = "0 000 0000  0 0000010 'a'", "'b'"
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin, half)
		p.closeBoth(1012, relay.ReasonDrain)
		p.pass(5 * time.Second)
		p.wants(relay.Client, "not inside a frame", backendBegin, half)
		p.send(relay.Backend, rest, backendMiddle)
		p.wants(relay.Client, "the close between two frames", rest, drainToClient)
	})
}

func TestDrainEndsTheStreamInsideAFrameAfterTwoCloseTimeouts(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendHalf)
		p.closeBoth(1012, relay.ReasonDrain)
		p.pass(10*time.Second - 1)
		p.wantsOpen(relay.Client)
		p.pass(1)
		p.wants(relay.Client, "no close", backendHalf)
		p.wantsLingering(relay.Client)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
		p.send(relay.Backend, "'threst'", backendClose)
		p.wantsLingering(relay.Backend)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1012, Reason: relay.ReasonDrain})
	})
}

func TestDrainDoesNotWaitForSilentSidesThatHaveEverything(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.wants(relay.Client, "the drain's close", drainToClient)
		p.pass(5*time.Second - 1)
		p.wantsOpen(relay.Client)
		p.pass(1)
		p.wantsClosed(relay.Client)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
		p.pass(5*time.Second - 1)
		p.wantsOpen(relay.Backend)
		p.pass(1)
		p.wantsClosed(relay.Backend)
	})
}

func TestDrainWaitsForAClientThatStillSends(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		for range 3 {
			p.pass(4 * time.Second)
			p.send(relay.Client, clientHello)
			p.wants(relay.Backend, "data", clientHello)
		}
		p.send(relay.Client, clientClose)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
	})
}

func TestDrainInsideAFrameOfASilentClientEndsTheBackendsStream(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, clientHalf)
		p.closeBoth(1012, relay.ReasonDrain)
		p.pass(5 * time.Second)
		p.wants(relay.Backend, "no close", clientHalf)
		p.wantsClosed(relay.Client)
		p.wantsLingering(relay.Backend)
	})
}

func TestBackendsCloseDuringADrainIsDropped(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, backendBye)
		p.wants(relay.Client, "the first close alone", drainToClient)
		p.send(relay.Client, clientClose)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
		p.wantsLingering(relay.Client)
		p.wantsLingering(relay.Backend)
	})
}

func TestBackendsCloseInsideAMessageEndsTheDrainsWait(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, backendBye)
		p.wants(relay.Client, "the drain's close instead", backendBegin, drainToClient)
		p.send(relay.Client, clientClose)
		p.wantsLingering(relay.Client)
		p.wantsLingering(relay.Backend)
	})
}

func TestClientsCloseWhileTheDrainWaits(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Client, clientBye)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
		p.send(relay.Backend, backendLast)
		p.wants(relay.Client, "the message's end, then the close", backendBegin, backendLast, drainToClient)
		p.wantsLingering(relay.Client)
		p.send(relay.Backend, backendClose)
		p.wantsLingering(relay.Backend)
	})
}

func TestFaultsDuringADrain(t *testing.T) {
	const fault = "1 111 0000 00000000"
	t.Run("of the client, told already", func(t *testing.T) {
		p := newScripted(t, testConfig())
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Client, fault)
		p.wantsLingering(relay.Client)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
	})
	t.Run("of the client, not told yet", func(t *testing.T) {
		p := newScripted(t, testConfig())
		p.send(relay.Backend, backendBegin)
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Client, fault)
		p.wants(relay.Backend, "the drain's close", drainToBackend)
		p.send(relay.Backend, backendLast)
		p.wants(relay.Client, "its fault", backendBegin, backendLast, ourClose(relay.Client, 1002, "reserved bit is set"))
	})
	t.Run("of the backend", func(t *testing.T) {
		p := newScripted(t, testConfig())
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, fault)
		p.wants(relay.Client, "the first close alone", drainToClient)
		p.send(relay.Client, clientHello, clientClose)
		p.wants(relay.Backend, "data, then its fault", clientHello, ourClose(relay.Backend, 1002, "reserved bit is set"))
		p.wantsLingering(relay.Backend)
	})
}

func TestDrainOfASessionThatEndsChangesNothing(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, bye[a])
		p.closeBoth(1012, relay.ReasonDrain)
		p.wants(b, "the close", bye[a])
		p.send(b, closing[b])
		p.wants(a, "the answer", closing[b])
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: 4001, Reason: relay.ReasonClose})
	})
}

func TestSecondDrainChangesNothing(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Backend, backendBegin)
	p.closeBoth(1012, relay.ReasonDrain)
	p.pass(4 * time.Second)
	p.closeBoth(1001, relay.ReasonOperator)
	p.pass(time.Second)
	p.wants(relay.Client, "the first one's close in its time", backendBegin, drainToClient)
}

func TestIdleSessionIsClosed(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 10 * time.Minute
	p := newScripted(t, c)
	p.pass(9 * time.Minute)
	p.send(relay.Backend, backendHello)
	p.wants(relay.Client, "data", backendHello)
	for range 10 {
		p.pass(time.Minute - 1)
		p.send(relay.Client, clientPing, clientPong)
		p.wants(relay.Client, "a pong: pings aren't data", pongToClient)
	}
	p.wantsOpen(relay.Client)
	p.pass(10)
	p.wants(relay.Client, "the idle close", ourClose(relay.Client, 1001, "idle for too long"))
	p.send(relay.Client, clientClose)
	p.wants(relay.Backend, "the idle close", ourClose(relay.Backend, 1001, "idle for too long"))
	p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1001, Reason: relay.ReasonIdle})
}
