package driver

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// brokenVerdict is the end of a session whose side has broken a rule of TLS.
func brokenVerdict(side relay.Side) relay.Verdict {
	return relay.Verdict{Initiator: relay.Gateway, Reason: relay.ReasonFault, Rule: relay.RuleTLS, Side: side}
}

func TestASideThatBreaksTLSGetsWhatWasSentBeforeAndNoClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(a, 0)
		p.send(b, hello[b])
		p.send(a, hello[a], half[a])
		p.finish(a, brokenTLS)
		p.wants(b, "what was sent, then that the side is lost", hello[a], half[a])
		if e := &p.ends[a]; e.isShut || e.isReset || e.isClosed {
			p.t.Fatal("its stream ends before what was sent to it")
		}
		p.takes(a, roomEnough)
		p.wants(a, "what was sent before, and no close", hello[b])
		p.wantsStreamEnd(a)
		p.finish(a, endOfStream)
		p.wantsClosed(a)
		p.finish(b, endOfStream)
		p.wantsVerdict(brokenVerdict(a))
		if n := p.totals.Rules[a][relay.RuleTLS]; n != 1 {
			p.t.Errorf("%d faults of TLS; want 1", n)
		}
	})
}

func TestASideThatBreaksTLSAtABoundaryMakesTheOtherSideGetAClose(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.send(a, hello[a])
		p.finish(a, brokenTLS)
		p.wants(b, "what was sent, then that the side is lost", hello[a], lost[b])
		p.wants(a, "no close")
		p.wantsStreamEnd(a)
		p.send(b, bye[b])
		p.wants(a, "no close")
		p.wantsVerdict(brokenVerdict(a))
	})
}

func TestASideThatBreaksTLSAfterItsCloseGetsNoAnswerToIt(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.takes(a, 0)
		p.send(b, hello[b])
		p.send(a, bye[a])
		p.wants(b, "the close", bye[a])
		p.finish(a, brokenTLS)
		p.send(b, hello[b], bye[b])
		p.takes(a, roomEnough)
		p.wants(a, "what was sent before, and no close", hello[b])
		p.wantsStreamEnd(a)
		p.finish(a, endOfStream)
		p.wantsClosed(a)
		if n := p.totals.Rules[a][relay.RuleTLS]; n != 1 {
			p.t.Errorf("%d faults of TLS; want 1", n)
		}
		p.wantsVerdict(relay.Verdict{Initiator: relay.Initiator(a), Code: 4001, Reason: relay.ReasonClose})
	})
}

func TestASideThatBreaksTLSBehindABadFrameGetsNoCloseButIsNotCut(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, b relay.Side) {
		p.ends[a].endsAtOnce = true
		p.ends[a].fin = brokenTLS
		p.send(a, hello[a], "1 111 0010 0 0000000")
		p.wants(b, "what came before, then that the side is lost", hello[a], lost[b])
		p.wants(a, "no close")
		p.wantsStreamEnd(a)
	})
}

// RFC 8446 section 6.2: an alert tells the peer what it did wrong. Unread input must not make the kernel send a reset before it.
func TestAFaultOfTLSIsToldByItsAlert(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		for name, fault := range map[string]struct {
			raw   []byte
			alert string
		}{
			"a record that is not authentic":       {append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...), "bad record MAC"},
			"a record that is too long":            {append([]byte{23, 3, 3, 0xff, 0xff}, make([]byte, 100)...), "record overflow"},
			"an unauthentic one and much after it": {append([]byte{23, 3, 3, 0, 64}, make([]byte, 300_000)...), "bad record MAC"},
		} {
			for side := relay.Client; side <= relay.Backend; side++ {
				t.Run(name+" of the "+side.String(), func(t *testing.T) {
					x, taps := tapped(t, open, false)
					p, other := x.peers(side)
					p.write(p.text("last"))
					other.want("what came before", p.text("last"))
					go func() { _, _ = taps[side].Conn.Write(fault.raw) }()
					_, err := p.readOn()
					if want := "remote error: tls: " + fault.alert; err.Error() != want {
						t.Errorf("the %s reads %v; want %s", side, err, want)
					}
					code := map[relay.Side]uint16{relay.Client: 1001, relay.Backend: 1011}[side]
					other.wantClose("the loss", code, "*")
					other.close()
					p.close()
					if v := x.wantResult(t).Verdict; v != brokenVerdict(side) {
						t.Errorf("verdict %+v; want %+v", v, brokenVerdict(side))
					}
				})
			}
		}
	})
}

func TestAnAlertGoesAfterWhatWaitsForItsPeer(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		if strings.HasSuffix(t.Name(), "goroutine") {
			t.Skip("there crypto/tls sends its alert itself, and then nothing more")
		}
		x, taps := tapped(t, open, false)
		large := x.backend.frame(isFin|opBinary, bytes.Repeat([]byte("large"), 2_000_000))
		x.backend.writeAll(large)
		eventually(t, "bytes wait", func() bool { return x.driver.QueuedBytes() > 0 })
		if _, err := taps[relay.Client].Conn.Write(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		n, err := x.client.readOn()
		if want := "remote error: tls: bad record MAC"; err.Error() != want {
			t.Errorf("after %d bytes the client reads %v; want %s", n, err, want)
		}
		if n == 0 {
			t.Error("the client has got nothing of what waited for it")
		}
	})
}
