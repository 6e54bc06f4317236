package driver

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

var closes = []struct {
	code   uint16
	reason string
}{
	{1000, ""}, {1001, "going away"}, {3000, "library"}, {4001, strings.Repeat("ü", 61) + "."}, {0, ""},
}

func TestAClosePassesWithItsCodeAndReasonAndIsAnswered(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		for _, c := range closes {
			x := begin(t, k, setup{})
			p, other := x.peers(side)
			p.write(p.text("last words"), p.closing(c.code, c.reason))
			other.want("data, then the close, as they were sent", append(p.text("last words"), p.closing(c.code, c.reason)...))
			other.write(other.closing(c.code, "answer"[:min(6, int(c.code))]))
			p.want("the other side's own close", other.closing(c.code, "answer"[:min(6, int(c.code))]))
			x.client.wantEnd("both closes are through")
			x.client.close()
			x.backend.close()
			x.wantVerdict(t, relay.Initiator(side), c.code, relay.ReasonClose)
		}
	})
}

func TestCrossingClosesAreEachOthersAnswer(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		x.client.write(x.client.closing(3001, "client"))
		x.backend.write(x.backend.closing(3002, "backend"))
		x.client.wantClose("the backend's", 3002, "backend")
		x.backend.wantClose("the client's", 3001, "client")
		x.client.wantEnd("both closes are through")
		x.client.close()
		x.backend.close()
		x.wantResult(t)
	})
}

func TestDataAfterTheOthersCloseStillArrives(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{})
		p, other := x.peers(side)
		p.write(p.closing(1000, ""))
		other.wantClose("the close", 1000, "")
		data := other.frame(isFin|opBinary, bytes.Repeat([]byte("x"), 100<<10))
		done := other.writeAll(append(data, other.closing(1000, "done")...))
		p.want("what the other side still had to say", data)
		<-done
		p.wantClose("its close", 1000, "done")
		p.close()
		other.close()
		x.wantVerdict(t, relay.Initiator(side), 1000, relay.ReasonClose)
	})
}

func TestAFaultyClientIsTold1002AndItsBackend1001(t *testing.T) {
	unmasked := &peer{side: relay.Backend}
	for _, f := range []struct {
		name   string
		bytes  []byte
		code   uint16
		rule   relay.Rule
		config relay.Config
	}{
		{"unmasked", unmasked.text("x"), 1002, relay.RuleUnmasked, relay.Config{}},
		{"reserved bit", (&peer{}).frame(isFin|0x20|opText, nil), 1002, relay.RuleReservedBit, relay.Config{}},
		{"a close code that may not be sent", (&peer{}).closing(1006, ""), 1002, relay.RuleCloseCode, relay.Config{}},
		{"a reason that is not UTF-8", (&peer{}).closing(1000, "\xff"), 1007, relay.RuleCloseReason, relay.Config{}},
		{"too big", (&peer{}).frame(isFin|opBinary, make([]byte, 101)), 1009, relay.RuleFrameTooBig, relay.Config{MaxFrame: 100}},
	} {
		t.Run(f.name, func(t *testing.T) {
			play(t, func(t *testing.T, k *kind) {
				x := begin(t, k, setup{config: f.config})
				c, b := x.client, x.backend
				c.write(c.text("fine"), f.bytes)
				b.want("what came before the fault", c.text("fine"))
				b.wantClose("a faulty client", 1001, "client lost")
				b.write(b.text("still said"), b.closing(1001, ""))
				c.want("the backend's answer", b.text("still said"))
				c.wantClose("the fault", f.code, "*")
				c.wantEnd("both closes are through")
				c.close()
				b.close()
				if r := x.wantVerdict(t, relay.Gateway, f.code, relay.ReasonFault); r.Verdict.Rule != f.rule || r.Verdict.Side != relay.Client {
					t.Errorf("rule %v of %v; want %v of the client", r.Verdict.Rule, r.Verdict.Side, f.rule)
				}
				totals := x.driver.Totals()
				if n := totals.Rules[relay.Client][f.rule]; n != 1 {
					t.Errorf("Totals count %d faults; want 1", n)
				}
			})
		})
	}
}

func TestAFaultyBackendIsTold1002AndItsClient1011(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		c, b := x.client, x.backend
		b.write(b.text("fine"), c.text("masked"))
		c.want("what came before the fault", b.text("fine"))
		c.wantClose("a faulty backend", 1011, "backend lost")
		c.write(c.closing(1011, ""))
		b.wantClose("the fault", 1002, "*")
		c.wantEnd("both closes are through")
		c.close()
		b.close()
		x.wantVerdict(t, relay.Gateway, 1002, relay.ReasonFault)
	})
}

func TestACloseThatIsNotAnsweredComesBackAfterCloseTimeout(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{config: relay.Config{CloseTimeout: 100 * time.Millisecond}})
		p, silent := x.peers(side)
		start := time.Now()
		p.write(p.closing(4000, "bye"))
		silent.wantClose("the close", 4000, "bye")
		p.wantClose("its own code", 4000, "")
		x.wantPassed(t, start, 100*time.Millisecond)
		silent.wantCut("it didn't answer")
		p.close()
		x.wantVerdict(t, relay.Initiator(side), 4000, relay.ReasonClose)
	})
}

func TestCloseBothWaitsForTheMessagesEndAndTellsBothSides(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		c, b := x.client, x.backend
		first, last := b.frame(opText, []byte("half, ")), b.frame(isFin|opContinuation, []byte("whole"))
		b.write(first)
		c.want("a fragment", first)
		x.handle.CloseBoth(1012, relay.ReasonDrain)
		if _, isLive := x.handle.Stats(); !isLive { // CloseBoth has been done
			t.Fatal("the session is over")
		}
		b.write(last, b.text("dropped"))
		c.want("the rest of the message", last)
		c.wantClose("CloseBoth", 1012, relay.ReasonDrain.Text())
		c.write(c.text("last words"), c.closing(1012, ""))
		b.want("data of the client", c.text("last words"))
		b.wantClose("CloseBoth", 1012, relay.ReasonDrain.Text())
		b.write(b.closing(1012, ""))
		c.wantEnd("both closes are through")
		c.close()
		b.close()
		x.wantVerdict(t, relay.Gateway, 1012, relay.ReasonDrain)
	})
}

func TestCloseBothOfAnIdleSessionGoesAtOnce(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		x.handle.CloseBoth(1001, relay.ReasonOperator)
		x.client.wantClose("CloseBoth", 1001, relay.ReasonOperator.Text())
		x.client.write(x.client.closing(1001, ""))
		x.backend.wantClose("CloseBoth", 1001, relay.ReasonOperator.Text())
		x.backend.write(x.backend.closing(1001, ""))
		x.client.close()
		x.backend.close()
		x.wantVerdict(t, relay.Gateway, 1001, relay.ReasonOperator)
	})
}

func TestCloseBothInsideAMessageGoesAtAFrameBoundaryAfterCloseTimeout(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{CloseTimeout: 100 * time.Millisecond}})
		fragment := x.backend.frame(opText, []byte("never ends"))
		x.backend.write(fragment)
		x.client.want("a fragment", fragment)
		start := time.Now()
		x.handle.CloseBoth(1012, relay.ReasonDrain)
		x.client.wantClose("CloseBoth", 1012, "*")
		x.wantPassed(t, start, 100*time.Millisecond)
		x.client.write(x.client.closing(1012, ""))
		x.backend.wantClose("CloseBoth", 1012, "*")
	})
}

func TestCloseBothInsideAFrameCutsTheClientAfterTwiceCloseTimeout(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{CloseTimeout: 100 * time.Millisecond}})
		frame := x.backend.text("never ends")
		x.backend.write(frame[:6])
		x.client.want("half a frame", frame[:6])
		start := time.Now()
		x.handle.CloseBoth(1012, relay.ReasonDrain)
		x.client.wantCut("CloseBoth")
		x.wantPassed(t, start, 200*time.Millisecond)
		x.backend.wantClose("CloseBoth", 1012, "*")
		x.backend.close()
		x.wantVerdict(t, relay.Gateway, 1012, relay.ReasonDrain)
	})
}
