package driver

import (
	"bytes"
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestDataFramesPassUntouchedBothWays(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, clientHello, clientBegin, clientMiddle, clientLast)
		p.wants(relay.Backend, "text arrives with its masking key", clientHello, clientBegin, clientMiddle, clientLast)
		p.send(relay.Backend, backendHello, backendBegin, backendMiddle, backendLast)
		p.wants(relay.Client, "text arrives unmasked", backendHello, backendBegin, backendMiddle, backendLast)
		if got, want := p.core.Counts(relay.Client), (relay.Counts{Frames: 4, Messages: 2, Bytes: 16}); got != want {
			t.Errorf("client's counts are %+v; want %+v", got, want)
		}
		if got, want := p.core.Counts(relay.Backend), (relay.Counts{Frames: 4, Messages: 2, Bytes: 16}); got != want {
			t.Errorf("backend's counts are %+v; want %+v", got, want)
		}
		if got := p.totals.Frames[relay.Client]; got[opText] != 2 || got[opContinuation] != 2 {
			t.Errorf("client's frames by opcode are %v; want 2 of text, 2 continuations", got)
		}
		if got := p.totals.Bytes; got != [2]uint64{16, 16} {
			t.Errorf("bytes are %v; want 16 each", got)
		}
	})
}

func TestPayloadPassesBeforeItsFrameIsComplete(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		p.send(relay.Client, clientHalf)
		p.wants(relay.Backend, "half a frame", clientHalf)
		p.send(relay.Client, clientRest)
		p.wants(relay.Backend, "its rest", clientRest)
	})
}

func TestHeaderStaysUntilItIsComplete(t *testing.T) {
	for _, header := range []string{
		"1 000 0010  1 0000001  0x01020304",                    // 6 bytes
		"1 000 0010  1 1111110  0x00ff 0x01020304",             // 8
		"1 000 0010  1 1111111  0x0000000000010000 0x01020304", // 14
	} {
		p := newScripted(t, testConfig())
		all := drawn(t, header)
		p.ends[relay.Client].inbox = bytes.Clone(all[:len(all)-1])
		p.run()
		p.wantsIdle(relay.Backend, "a header less one byte")
		p.ends[relay.Client].inbox = bytes.Clone(all[len(all)-1:])
		p.run()
		p.wants(relay.Backend, "the header", header)
	}
}

func TestEveryFormOfLengthPasses(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		for _, frame := range []string{
			"1 000 0010  0 0000000",
			"1 000 0010  0 0000001  *1",
			"1 000 0010  0 1111101  *125",
			"1 000 0010  0 1111110  0x007e *126",
			"1 000 0010  0 1111110  0xffff *65535",
			"1 000 0010  0 1111111  0x0000000000010000 *65536",
		} {
			p.send(relay.Backend, frame)
			p.wants(relay.Client, "frame", frame)
		}
		if got, want := p.core.Counts(relay.Backend), (relay.Counts{Frames: 6, Messages: 6, Bytes: 1 + 125 + 126 + 65535 + 65536}); got != want {
			t.Errorf("counts are %+v; want %+v", got, want)
		}
	})
}

func TestLongestLengthPassesWhereNoLimitIsSet(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 0, 0
	const longest = "0 000 0010  0 1111111  0x7fffffffffffffff 'begin'"
	script(t, c, func(p *scripted) {
		p.send(relay.Backend, longest)
		p.wants(relay.Client, "a frame of 2^63-1 bytes", longest)
	})
}

// A fault of a side: what follows it, and what the offender is told.
var faults = []struct {
	rule    relay.Rule
	from    relay.Side
	before  string // frames that pass
	drawing string
	code    int
}{
	{relay.RuleUnmasked, relay.Client, "", "1 000 0001  0 0000101  'Hello'", 1002},
	{relay.RuleUnmasked, relay.Client, clientBegin, "1 000 1000  0 0000000", 1002},
	{relay.RuleMasked, relay.Backend, "", clientHello, 1002},
	{relay.RuleMasked, relay.Backend, "", clientPing, 1002},
	{relay.RuleReservedBit, relay.Client, "", "1 100 0001  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleReservedBit, relay.Client, "", "1 010 0001  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleReservedBit, relay.Backend, "", "1 001 0001  0 0000001  'x'", 1002},
	{relay.RuleReservedBit, relay.Backend, "", "1 100 1001  0 0000000", 1002},
	{relay.RuleReservedBit, relay.Client, clientBegin, "1 100 0000  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleReservedOpcode, relay.Client, "", "1 000 0011  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleReservedOpcode, relay.Client, clientHello, "0 000 0111  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleReservedOpcode, relay.Backend, "", "1 000 1011  0 0000000", 1002},
	{relay.RuleReservedOpcode, relay.Backend, backendBegin, "1 000 1111  0 0000000", 1002},
	{relay.RuleControlFragmented, relay.Client, "", "0 000 1001  1 0000000  0x00000000", 1002},
	{relay.RuleControlFragmented, relay.Backend, "", "0 000 1010  0 0000000", 1002},
	{relay.RuleControlFragmented, relay.Backend, "", "0 000 1000  0 0000000", 1002},
	{relay.RuleControlTooLong, relay.Client, "", "1 000 1001  1 1111110  0x007e 0x00000000 *126", 1002},
	{relay.RuleControlTooLong, relay.Backend, "", "1 000 1000  0 1111111  0x0000000000010000", 1002},
	{relay.RuleContinuation, relay.Client, "", clientLast, 1002},
	{relay.RuleContinuation, relay.Backend, backendBegin + space + backendLast, backendMiddle, 1002},
	{relay.RuleMessageInterrupted, relay.Client, clientBegin, clientHello, 1002},
	{relay.RuleMessageInterrupted, relay.Backend, backendBegin + space + backendMiddle, "1 000 0010  0 0000001  'x'", 1002},
	{relay.RuleLengthTopBit, relay.Client, "", "1 000 0010  1 1111111  0x8000000000000000 0x00000000", 1002},
	{relay.RuleLengthTopBit, relay.Backend, backendHello, "1 000 0010  0 1111111  0xffffffffffffffff", 1002},
	{relay.RuleLengthNotMinimal, relay.Client, "", "1 000 0010  1 1111110  0x007d 0x00000000", 1002},
	{relay.RuleLengthNotMinimal, relay.Backend, "", "1 000 0010  0 1111110  0x0000", 1002},
	{relay.RuleLengthNotMinimal, relay.Backend, backendHello, "1 000 0010  0 1111111  0x000000000000ffff", 1002},
	{relay.RuleClosePayload, relay.Client, clientHello, "1 000 1000  1 0000001  0x00000000 'x'", 1002},
	{relay.RuleClosePayload, relay.Backend, "", "1 000 1000  0 0000001  'x'", 1002},
	{relay.RuleCloseCode, relay.Client, "", "1 000 1000  1 0000010  0x00000000 0x03e7", 1002}, // 999
	{relay.RuleCloseCode, relay.Client, "", "1 000 1000  1 0000010  0x00000000 0x03ec", 1002}, // 1004
	{relay.RuleCloseCode, relay.Client, "", "1 000 1000  1 0000010  0x00000000 0x03ed", 1002}, // 1005
	{relay.RuleCloseCode, relay.Backend, "", "1 000 1000  0 0000010  0x03ee", 1002},           // 1006
	{relay.RuleCloseCode, relay.Backend, "", "1 000 1000  0 0000010  0x03f7", 1002},           // 1015
	{relay.RuleCloseCode, relay.Backend, "", "1 000 1000  0 0000010  0x0bb7", 1002},           // 2999
	{relay.RuleCloseCode, relay.Client, "", "1 000 1000  1 0000010  0x00000000 0x1388", 1002}, // 5000
	{relay.RuleCloseReason, relay.Client, "", "1 000 1000  1 0000011  0x00000000 0x03e8ff", 1007},
	{relay.RuleCloseReason, relay.Backend, backendHello, "1 000 1000  0 0000100  0x03e8c328", 1007},
	{relay.RuleFrameTooBig, relay.Client, clientHello, "1 000 0010  1 1111110  0x03e9 0x00000000 *1001", 1009},
	{relay.RuleFrameTooBig, relay.Backend, "", "0 000 0010  0 1111111  0x7fffffffffffffff", 1009},
	{relay.RuleMessageTooBig, relay.Client, "0 000 0010  1 1111110  0x03e8 0x00000000 *1000", "1 000 0000  1 1111110  0x01f5 0x00000000", 1009},
}

func TestFaultPassesWhatCameBeforeItAndNothingOfIt(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 1000, 1500
	for _, f := range faults {
		t.Run(f.rule.String()+"/"+f.from.String(), func(t *testing.T) {
			script(t, c, func(p *scripted) {
				p.send(f.from, f.before, f.drawing, "'what_is_behind_it'")
				other := f.from.Other()
				told, reply := ourClose(relay.Backend, 1001, "client lost"), backendBye
				if f.from == relay.Backend {
					told, reply = ourClose(relay.Client, 1011, "backend lost"), clientBye
				}
				p.wants(other, "what came before, and the close", f.before, told)
				p.wantsIdle(f.from, "the other side has yet to answer")
				p.send(other, reply)
				p.wants(f.from, "the rule's code", ourClose(f.from, f.code, f.rule.Text()))
				p.wantsIdle(other, "it has its close")
				p.wantsLingering(relay.Client)
				if p.totals.Rules[f.from][f.rule] != 1 {
					p.t.Errorf("rules broken: %v; want one %s", p.totals.Rules[f.from], f.rule)
				}
				p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: uint16(f.code), Reason: relay.ReasonFault, Rule: f.rule, Side: f.from})
			})
		})
	}
}

func TestEveryRuleHasATestOfItsFault(t *testing.T) {
	var seen [relay.NumRules]bool
	for _, f := range faults {
		seen[f.rule] = true
	}
	for rule := relay.Rule(1); rule < relay.NumRules; rule++ {
		if !seen[rule] && rule < relay.RuleKeyUpdates { // the others no frame breaks: rekeying_test.go, broken_test.go, mux_linux_test.go
			t.Errorf("no fault shows %s", rule)
		}
	}
}

func TestFirstOfTwoFaultsIsReportedHoweverItArrives(t *testing.T) {
	script(t, testConfig(), func(p *scripted) {
		// A reserved bit, not masked, not minimal.
		p.send(relay.Client, "1 010 0010  0 1111110  0x0001")
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1002, Reason: relay.ReasonFault, Rule: relay.RuleReservedBit, Side: relay.Client})
	})
}

func TestCompressedMessageBeginsWithRSV1OnceDeflateIsAgreed(t *testing.T) {
	const (
		first = "0 100 0001  1 0000001  0x00000000 'x'"
		last  = "1 000 0000  1 0000001  0x00000000 'x'"
	)
	for _, split := range splits {
		p := newScripted(t, testConfig())
		p.split = split.new()
		p.core.Begin(&p.env, true)
		p.send(relay.Client, first, clientPing, last, first)
		p.wants(relay.Backend, "a compressed message, and one more begins", first, last, first)
		p.send(relay.Client, "1 100 0000  1 0000001  0x00000000 'x'")
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1002, Reason: relay.ReasonFault, Rule: relay.RuleReservedBit, Side: relay.Client})
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 5, 8
	script(t, c, func(p *scripted) {
		p.send(relay.Client, clientBegin, clientLast, clientBegin, clientLast)
		p.wants(relay.Backend, "messages of 5 + 3 bytes", clientBegin, clientLast, clientBegin, clientLast)
		p.send(relay.Client, clientBegin, clientMiddle, "1 000 0000  1 0000001  0x00000000 'x'")
		p.wants(relay.Backend, "8 bytes of a message", clientBegin, clientMiddle, lostToBackend)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1009, Reason: relay.ReasonFault, Rule: relay.RuleMessageTooBig, Side: relay.Client})
	})
}

func TestMessageLimitHoldsAgainstALengthThatOverflowsTheSum(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 0, 1<<63-1
	script(t, c, func(p *scripted) {
		p.send(relay.Client, clientBegin)
		p.wants(relay.Backend, "5 bytes of a message", clientBegin)
		p.send(relay.Client, "1 000 0000  1 1111111  0x7fffffffffffffff 0x00000000")
		p.wants(relay.Backend, "2^63-1 bytes more don't pass", lostToBackend)
		p.wantsVerdict(relay.Verdict{Initiator: relay.Gateway, Code: 1009, Reason: relay.ReasonFault, Rule: relay.RuleMessageTooBig, Side: relay.Client})
	})
}

func TestIdleSinceIsTheLastPayloadByte(t *testing.T) {
	p := newScripted(t, testConfig())
	begin := p.core.IdleSince()
	p.pass(time.Second)
	p.send(relay.Client, clientPing, "1 000 0010  1 0000000  0x00000000")
	if got := p.core.IdleSince(); got != begin {
		t.Errorf("idle since %v after a ping and an empty frame; want %v", got, begin)
	}
	p.send(relay.Client, clientHello)
	if got := p.core.IdleSince(); got != p.env.Now {
		t.Errorf("idle since %v after a text; want %v", got, p.env.Now)
	}
}
