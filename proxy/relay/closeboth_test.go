package relay

import (
	"testing"
	"time"
)

const (
	drainToClient  = "1 000 1000  0 0100000  0x03f4 'gateway_is_stopping,_reconnect'"
	drainToBackend = "1 000 1000  1 0100000  key  0x03f4 'gateway_is_stopping,_reconnect'"
)

func TestDrainClosesTheClientFirstThenTheBackend(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		p.wants(Client, "the drain's close", drainToClient)
		p.wantsIdle(Backend, "the client's data still passes")
		p.send(Client, clientHello, clientClose)
		p.wants(Backend, "the client's data, then the drain's close", clientHello, drainToBackend)
		p.wantsLingering(Client)
		p.send(Backend, backendClose)
		p.wantsLingering(Backend)
		p.wantsIdle(Client, "it has its close")
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1012, Reason: ReasonDrain})
	})
}

func TestDrainDropsTheBackendsDataAndCountsIt(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		p.wants(Client, "the drain's close", drainToClient)
		p.send(Backend, backendHello, backendBegin, backendMiddle)
		p.wantsIdle(Client, "nothing goes behind a close")
		if got, want := p.core.Counts(Backend), (Counts{Frames: 3, Messages: 1, Bytes: 13}); got != want {
			p.t.Errorf("counts are %+v; want %+v", got, want)
		}
	})
}

func TestPingAmongDroppedDataIsAnswered(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		p.send(Backend, backendHello, backendPing, backendHello, backendHello, backendPing)
		p.wants(Backend, "pongs alone", pongToBackend, pongToBackend)
		p.wants(Client, "nothing behind the close", drainToClient)
	})
}

func TestDrainWaitsForTheEndOfTheBackendsMessage(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.wants(Client, "the message goes on", backendBegin)
		p.send(Backend, backendMiddle, backendLast, backendHello)
		p.wants(Client, "its end, then the close", backendMiddle, backendLast, drainToClient)
	})
}

func TestDrainWaitsForTheEndOfAnEmptyLastFrame(t *testing.T) {
	const empty = "1 000 0000  0 0000000"
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.send(Backend, empty, backendHello)
		p.wants(Client, "its end, then the close", backendBegin, empty, drainToClient)
	})
}

func TestDrainTakesAFrameBoundaryAfterCloseTimeout(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.pass(5*time.Second - 1)
		p.wants(Client, "the message may still end", backendBegin)
		p.pass(1)
		p.wants(Client, "the close between two frames", drainToClient)
	})
}

func TestDrainTakesTheNextFrameBoundaryAfterCloseTimeout(t *testing.T) {
	const half, rest = "0 000 0000  0 0000010 'a'", "'b'"
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin, half)
		p.closeBoth(1012, ReasonDrain)
		p.pass(5 * time.Second)
		p.wants(Client, "not inside a frame", backendBegin, half)
		p.send(Backend, rest, backendMiddle)
		p.wants(Client, "the close between two frames", rest, drainToClient)
	})
}

func TestDrainCutsAHalfFrameAfterTwoCloseTimeouts(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendHalf)
		p.closeBoth(1012, ReasonDrain)
		p.pass(10*time.Second - 1)
		p.wantsOpen(Client)
		p.pass(1)
		p.wants(Client, "no close", backendHalf)
		p.wantsReset(Client)
		p.wants(Backend, "the drain's close", drainToBackend)
		p.send(Backend, "'threst'", backendClose)
		p.wantsLingering(Backend)
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1012, Reason: ReasonDrain})
	})
}

func TestDrainResetsASilentClientAndTellsTheBackend(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		p.wants(Client, "the drain's close", drainToClient)
		p.pass(5*time.Second - 1)
		p.wantsOpen(Client)
		p.pass(1)
		p.wantsReset(Client)
		p.wants(Backend, "the drain's close", drainToBackend)
		p.pass(5*time.Second - 1)
		p.wantsOpen(Backend)
		p.pass(1)
		p.wantsReset(Backend)
	})
}

func TestDrainWaitsForAClientThatStillSends(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		for range 3 {
			p.pass(4 * time.Second)
			p.send(Client, clientHello)
			p.wants(Backend, "data", clientHello)
		}
		p.send(Client, clientClose)
		p.wants(Backend, "the drain's close", drainToBackend)
	})
}

func TestDrainInsideAFrameOfASilentClientCutsTheBackend(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Client, clientHalf)
		p.closeBoth(1012, ReasonDrain)
		p.pass(5 * time.Second)
		p.wants(Backend, "no close", clientHalf)
		p.wantsReset(Client)
		p.wantsReset(Backend)
	})
}

func TestBackendsCloseDuringADrainIsDropped(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.closeBoth(1012, ReasonDrain)
		p.send(Backend, backendBye)
		p.wants(Client, "the first close alone", drainToClient)
		p.send(Client, clientClose)
		p.wants(Backend, "the drain's close", drainToBackend)
		p.wantsLingering(Client)
		p.wantsLingering(Backend)
	})
}

func TestBackendsCloseInsideAMessageEndsTheDrainsWait(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.send(Backend, backendBye)
		p.wants(Client, "the drain's close instead", backendBegin, drainToClient)
		p.send(Client, clientClose)
		p.wantsLingering(Client)
		p.wantsLingering(Backend)
	})
}

func TestClientsCloseWhileTheDrainWaits(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.send(Client, clientBye)
		p.wants(Backend, "the drain's close", drainToBackend)
		p.send(Backend, backendLast)
		p.wants(Client, "the message's end, then the close", backendBegin, backendLast, drainToClient)
		p.wantsLingering(Client)
		p.send(Backend, backendClose)
		p.wantsLingering(Backend)
	})
}

func TestFaultsDuringADrain(t *testing.T) {
	const fault = "1 111 0000 00000000"
	t.Run("of the client, told already", func(t *testing.T) {
		p := newPair(t, testConfig())
		p.closeBoth(1012, ReasonDrain)
		p.send(Client, fault)
		p.wantsReset(Client)
		p.wants(Backend, "the drain's close", drainToBackend)
	})
	t.Run("of the client, not told yet", func(t *testing.T) {
		p := newPair(t, testConfig())
		p.send(Backend, backendBegin)
		p.closeBoth(1012, ReasonDrain)
		p.send(Client, fault)
		p.wants(Backend, "the drain's close", drainToBackend)
		p.send(Backend, backendLast)
		p.wants(Client, "its fault", backendBegin, backendLast, ourClose(Client, 1002, "reserved bit is set"))
	})
	t.Run("of the backend", func(t *testing.T) {
		p := newPair(t, testConfig())
		p.closeBoth(1012, ReasonDrain)
		p.send(Backend, fault)
		p.wants(Client, "the first close alone", drainToClient)
		p.send(Client, clientHello, clientClose)
		p.wants(Backend, "data, then its fault", clientHello, ourClose(Backend, 1002, "reserved bit is set"))
		p.wantsLingering(Backend)
	})
}

func TestDrainOfASessionThatEndsChangesNothing(t *testing.T) {
	sides(t, testConfig(), func(p *pair, a, b Side) {
		p.send(a, bye[a])
		p.closeBoth(1012, ReasonDrain)
		p.wants(b, "the close", bye[a])
		p.send(b, closes[b])
		p.wants(a, "the answer", closes[b])
		p.wantsVerdict(Verdict{Initiator: initiatorOf(a), Code: 4001, Reason: ReasonClose})
	})
}

func TestSecondDrainChangesNothing(t *testing.T) {
	p := newPair(t, testConfig())
	p.send(Backend, backendBegin)
	p.closeBoth(1012, ReasonDrain)
	p.pass(4 * time.Second)
	p.closeBoth(1001, ReasonOperator)
	p.pass(time.Second)
	p.wants(Client, "the first one's close in its time", backendBegin, drainToClient)
}

func TestIdleSessionIsClosed(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 10 * time.Minute
	p := newPair(t, c)
	p.pass(9 * time.Minute)
	p.send(Backend, backendHello)
	p.wants(Client, "data", backendHello)
	for range 10 {
		p.pass(time.Minute - 1)
		p.send(Client, clientPing, clientPong)
		p.wants(Client, "a pong: pings aren't data", pongToClient)
	}
	p.wantsOpen(Client)
	p.pass(10)
	p.wants(Client, "the idle close", ourClose(Client, 1001, "idle for too long"))
	p.send(Client, clientClose)
	p.wants(Backend, "the idle close", ourClose(Backend, 1001, "idle for too long"))
	p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1001, Reason: ReasonIdle})
}

func TestEveryReasonForCloseBothFitsIntoAClose(t *testing.T) {
	for r := Reason(1); r < numReasons; r++ {
		if r.String() == "" || len(r.Text()) > maxControlPayload-2 {
			t.Errorf("reason %d is named %q and tells %q", r, r, r.Text())
		}
	}
}
