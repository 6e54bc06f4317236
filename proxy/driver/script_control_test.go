package driver

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestPingIsAnsweredToItsSideAndPassesNowhere(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, clientPing)
		p.wants(relay.Client, "a pong with the same payload", pongToClient)
		p.send(relay.Backend, backendPing)
		p.wants(relay.Backend, "a masked pong with the same payload", pongToBackend)
		p.send(relay.Client, "1 000 1001  1 0000000  0x01020304", "1 000 1001  1 1111101  0x00000000 *125")
		p.wants(relay.Client, "pongs of the shortest and the longest", "1 000 1010  0 0000000", "1 000 1010  0 1111101 *125")
	})
}

func TestPingBetweenFragmentsIsCutOutOfTheMessage(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, beginning[a], ping[a], last[a], ping[a], hello[a])
		p.wants(b, "the data alone", beginning[a], last[a], hello[a])
		p.wants(a, "both pongs", []string{pongToClient, pongToBackend}[a], []string{pongToClient, pongToBackend}[a])
	})
}

func TestPongPassesNowhere(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, pong[a], hello[a], pong[a])
		p.wants(b, "the data alone", hello[a])
		p.wantsIdle(a, "a pong isn't answered")
	})
}

func TestPongIsHeldWhileAFrameIsHalfWritten(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		answer := []string{pongToClient, pongToBackend}[a]
		p.send(b, half[b])
		p.send(a, ping[a], ping[a])
		p.wants(a, "half a frame, no pong in it", half[b])
		p.send(b, rest[b], hello[b])
		p.wants(a, "its rest, the pongs, then what follows", rest[b], answer, answer, hello[b])
		p.send(a, ping[a])
		p.wants(a, "at a boundary at once", answer)
	})
}

func TestPingIsAnsweredInOrderAfterWhatWaits(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(a, 1)
		p.send(b, hello[b])
		p.send(a, ping[a])
		p.send(b, hello[b])
		p.takes(a, roomEnough)
		p.wants(a, "data, pong, data", hello[b], []string{pongToClient, pongToBackend}[a], hello[b])
	})
}

func TestSideThatDoesNotTakeItsPongsIsNotRead(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		const pings = maxPongs/7 + 1 // a pong to the client takes 7 bytes
		p.takes(relay.Client, 0)
		for range pings - 1 {
			p.send(relay.Client, clientPing)
		}
		if !p.core.Reads(relay.Client) {
			p.t.Fatal("the client isn't read at the limit")
		}
		p.send(relay.Client, clientPing)
		if p.core.Reads(relay.Client) || !p.core.IsPaused(relay.Client) {
			p.t.Fatal("the client is read over the limit")
		}
		p.send(relay.Client, clientHello)
		p.wantsIdle(relay.Backend, "what isn't read")
		p.takes(relay.Client, 7*pings-1)
		if p.core.Reads(relay.Client) {
			p.t.Fatal("the client is read before its last pong has gone")
		}
		p.takes(relay.Client, 1)
		p.wants(relay.Backend, "read again", clientHello)
		if n := len(p.ends[relay.Client].written); n != 7*pings {
			p.t.Errorf("%d bytes of pongs; want %d", n, 7*pings)
		}
	})
}

func TestPongsThatAreSentDoNotCount(t *testing.T) {
	p := newScripted(t, testConfig())
	for range maxPongs {
		p.send(relay.Client, clientPing)
	}
	if !p.core.Reads(relay.Client) {
		t.Error("the client isn't read")
	}
}

func TestDataThatWaitsForASideDoesNotStopReadingIt(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.takes(relay.Client, 0)
		p.send(relay.Client, clientPing)
		p.send(relay.Backend, "1 000 0010 0 1111110 0xffff *65535", backendHello)
		if p.core.Reads(relay.Backend) {
			p.t.Error("the backend is read over the high mark")
		}
		p.send(relay.Client, clientHello)
		p.wants(relay.Backend, "a full-duplex peer goes on", clientHello)
	})
}

func TestSideIsReadAgainOnceTheOthersQueueIsBelowTheLowMark(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(a, 0)
		p.send(b, []string{"1 000 0010  1 1111110  0xffff 0x00000000 *65535", "1 000 0010  0 1111110  0xffff *65535"}[b], hello[b])
		if p.core.Reads(b) {
			p.t.Fatal("a side is read above the high mark")
		}
		for p.waiting(a) > p.marks.low {
			p.takes(a, 1)
			if p.waiting(a) >= p.marks.low && p.core.Reads(b) {
				p.t.Fatalf("a side is read with %d bytes in the other's queue", p.waiting(a))
			}
			p.takes(a, max(0, p.waiting(a)-p.marks.low-1))
		}
		p.takes(a, 1)
		if !p.core.Reads(b) {
			p.t.Errorf("a side isn't read with %d bytes in the other's queue", p.waiting(a))
		}
	})
}

func TestHeldPongsAreBoundedAndAllAreAnsweredInOrder(t *testing.T) {
	for _, split := range splits {
		t.Run(split.name, func(t *testing.T) {
			const pings = 2000
			p := newScripted(t, testConfig())
			p.split = split.new()
			largest := 0
			p.split = func(n int) int {
				n = min(n, 1<<10)
				k := split.new()(n)
				largest = max(largest, k)
				return k
			}
			p.send(relay.Backend, backendHalf)
			for i := range pings {
				// A ping with a number in it.
				p.ends[relay.Client].inbox = append(p.ends[relay.Client].inbox, 0x89, 0x82, 0, 0, 0, 0, byte(i>>8), byte(i))
			}
			p.run()
			if p.core.Reads(relay.Client) {
				t.Fatal("the client is read")
			}
			if most := maxPongs + maxControlFrame + largest; p.maxHeld > most {
				t.Errorf("%d bytes were held; want %d at most", p.maxHeld, most)
			}
			p.wants(relay.Client, "half a frame", backendHalf)
			// The rest of the frame lets them go; the pongs held then may fill up again.
			p.send(relay.Backend, backendRest)
			got := p.ends[relay.Client].written
			if want := drawn(t, backendRest); len(got) != len(want)+4*pings {
				t.Fatalf("%d bytes; want %d", len(got), len(want)+4*pings)
			}
			got = got[len(drawn(t, backendRest)):]
			for i := range pings {
				if f := got[4*i:]; f[0] != 0x8a || f[1] != 2 || f[2] != byte(i>>8) || f[3] != byte(i) {
					t.Fatalf("pong %d is %x", i, f[:4])
				}
			}
		})
	}
}

func TestHeldAndQueuedPongsCountTogether(t *testing.T) {
	p := newScripted(t, testConfig())
	p.takes(relay.Client, 0)
	const pings = maxPongs / 7
	for range pings {
		p.send(relay.Client, clientPing)
	}
	p.send(relay.Backend, backendHalf)
	p.send(relay.Client, clientPing) // held: over the limit
	if p.core.Reads(relay.Client) {
		t.Fatal("the client is read over the limit")
	}
	p.takes(relay.Client, 7*pings)
	if !p.core.Reads(relay.Client) {
		t.Fatal("the client isn't read though all but a held pong has gone")
	}
}

func TestEndedPongsOfACutSideDoNotMatter(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Backend, backendHalf)
	for range maxPongs {
		p.send(relay.Client, clientPing)
	}
	p.fail(relay.Client)
	p.send(relay.Backend, backendRest)
	p.send(relay.Client, clientBye)
	p.wants(relay.Backend, "what the client sent before its socket failed", clientBye)
}

func TestForwardedPingsAndPongsKeepTheirPlace(t *testing.T) {
	c := testConfig()
	c.Pings = relay.ForwardPings
	sides(t, c, func(p *scripted, a, b relay.Side) {
		frames := []string{beginning[a], ping[a], last[a], pong[a], ping[a], hello[a]}
		p.send(a, frames...)
		p.wants(b, "all of it", frames...)
		p.wantsIdle(a, "nothing is answered")
	})
}

func TestForwardedPingIsDroppedAfterAClose(t *testing.T) {
	c := testConfig()
	c.Pings = relay.ForwardPings
	script(t, c, func(p *scripted) {
		p.closeBoth(1012, relay.ReasonDrain)
		p.send(relay.Backend, backendPing, backendPong)
		p.wants(relay.Client, "the close alone", drainToClient)
		p.wantsIdle(relay.Backend, "no answer: the client's would come")
	})
}

func TestOwnPingIsSwallowedWherePongsPass(t *testing.T) {
	c := testConfig()
	c.Pings = relay.ForwardPings
	c.PingInterval, c.PongTimeout = both(30*time.Second), both(10*time.Second)
	p := newScripted(t, c)
	p.pass(30 * time.Second)
	answer := answerTo(p, relay.Client)
	p.send(relay.Client, answer, clientPong)
	p.ends[relay.Backend].written = p.ends[relay.Backend].written[len(drawn(t, pingToBackend))+12:] // its own ping
	p.wants(relay.Backend, "the other pong alone", clientPong)
	p.send(relay.Client, answer)
	p.wants(relay.Backend, "a second answer isn't one", answer)
}

func TestHeldPongsOverTheLimitStopReadingThoughTheQueueDrains(t *testing.T) {
	p := newScripted(t, testConfig())
	p.takes(relay.Client, 0)
	p.send(relay.Client, clientPing)
	p.send(relay.Backend, backendHalf)
	p.send(relay.Client, strings.Repeat(clientPing+space, maxPongs/7+1)) // in one read
	p.takes(relay.Client, roomEnough)
	if p.core.Reads(relay.Client) {
		t.Error("the client is read over the limit")
	}
	p.send(relay.Backend, backendRest)
	if !p.core.Reads(relay.Client) {
		t.Error("the client isn't read though its pongs have gone")
	}
}

func TestNothingOfTheGatewaysOwnGoesInsideAFrame(t *testing.T) {
	p := newScripted(t, testConfig())
	p.send(relay.Backend, backendHalf)
	p.closeBoth(1012, relay.ReasonDrain)
	p.pass(5 * time.Second)
	if got := p.core.AppendOwn(&p.env, relay.Client, nil, 0); len(got) > 0 {
		t.Errorf("%x goes inside a frame", got)
	}
}
