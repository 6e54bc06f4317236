package relay

import (
	"fmt"
	"testing"
	"time"
)

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

func TestBytesOfASideThatEndedAreSkipped(t *testing.T) {
	p := newPair(t, testConfig())
	p.send(Client, clientBye)
	if pass, skip, step := p.core.Scan(&p.env, Client, wire(t, clientHello)); pass != 0 || skip != 11 || step != End {
		t.Errorf("Scan = %d, %d, %d; want 0, 11, End", pass, skip, step)
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
