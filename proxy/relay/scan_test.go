package relay

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestDataFramesPassUntouchedBothWays(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Client, clientHello, clientBegin, clientMiddle, clientLast)
		p.wants(Backend, "text arrives with its masking key", clientHello, clientBegin, clientMiddle, clientLast)
		p.send(Backend, backendHello, backendBegin, backendMiddle, backendLast)
		p.wants(Client, "text arrives unmasked", backendHello, backendBegin, backendMiddle, backendLast)
		if got, want := p.core.Counts(Client), (Counts{Frames: 4, Messages: 2, Bytes: 16}); got != want {
			t.Errorf("client's counts are %+v; want %+v", got, want)
		}
		if got, want := p.core.Counts(Backend), (Counts{Frames: 4, Messages: 2, Bytes: 16}); got != want {
			t.Errorf("backend's counts are %+v; want %+v", got, want)
		}
		if got := p.totals.Frames[Client]; got[opText] != 2 || got[opContinuation] != 2 {
			t.Errorf("client's frames by opcode are %v; want 2 of text, 2 continuations", got)
		}
		if got := p.totals.Bytes; got != [2]uint64{16, 16} {
			t.Errorf("bytes are %v; want 16 each", got)
		}
	})
}

func TestPayloadPassesBeforeItsFrameIsComplete(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		p.send(Client, clientHalf)
		p.wants(Backend, "half a frame", clientHalf)
		p.send(Client, clientRest)
		p.wants(Backend, "its rest", clientRest)
	})
}

func TestHeaderStaysUntilItIsComplete(t *testing.T) {
	for _, header := range []string{
		"1 000 0010  1 0000001  0x01020304",                    // 6 bytes
		"1 000 0010  1 1111110  0x00ff 0x01020304",             // 8
		"1 000 0010  1 1111111  0x0000000000010000 0x01020304", // 14
	} {
		p := newPair(t, testConfig())
		all := wire(t, header)
		p.ends[Client].inbox = bytes.Clone(all[:len(all)-1])
		p.run()
		p.wantsIdle(Backend, "a header less one byte")
		p.ends[Client].inbox = bytes.Clone(all[len(all)-1:])
		p.run()
		p.wants(Backend, "the header", header)
	}
}

func TestEveryFormOfLengthPasses(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		for _, frame := range []string{
			"1 000 0010  0 0000000",
			"1 000 0010  0 0000001  *1",
			"1 000 0010  0 1111101  *125",
			"1 000 0010  0 1111110  0x007e *126",
			"1 000 0010  0 1111110  0xffff *65535",
			"1 000 0010  0 1111111  0x0000000000010000 *65536",
		} {
			p.send(Backend, frame)
			p.wants(Client, "frame", frame)
		}
		if got, want := p.core.Counts(Backend), (Counts{Frames: 6, Messages: 6, Bytes: 1 + 125 + 126 + 65535 + 65536}); got != want {
			t.Errorf("counts are %+v; want %+v", got, want)
		}
	})
}

func TestLongestLengthPassesWhereNoLimitIsSet(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 0, 0
	const longest = "0 000 0010  0 1111111  0x7fffffffffffffff 'begin'"
	script(t, c, func(p *pair) {
		p.send(Backend, longest)
		p.wants(Client, "a frame of 2^63-1 bytes", longest)
	})
}

// A fault of a side: what is behind it, and what the offender is told.
var faults = []struct {
	rule    Rule
	from    Side
	before  string // frames that pass
	drawing string
	code    int
}{
	{RuleUnmasked, Client, "", "1 000 0001  0 0000101  'Hello'", 1002},
	{RuleUnmasked, Client, clientBegin, "1 000 1000  0 0000000", 1002},
	{RuleMasked, Backend, "", clientHello, 1002},
	{RuleMasked, Backend, "", clientPing, 1002},
	{RuleReservedBit, Client, "", "1 100 0001  1 0000001  0x00000000 'x'", 1002},
	{RuleReservedBit, Client, "", "1 010 0001  1 0000001  0x00000000 'x'", 1002},
	{RuleReservedBit, Backend, "", "1 001 0001  0 0000001  'x'", 1002},
	{RuleReservedBit, Backend, "", "1 100 1001  0 0000000", 1002},
	{RuleReservedBit, Client, clientBegin, "1 100 0000  1 0000001  0x00000000 'x'", 1002},
	{RuleReservedOpcode, Client, "", "1 000 0011  1 0000001  0x00000000 'x'", 1002},
	{RuleReservedOpcode, Client, clientHello, "0 000 0111  1 0000001  0x00000000 'x'", 1002},
	{RuleReservedOpcode, Backend, "", "1 000 1011  0 0000000", 1002},
	{RuleReservedOpcode, Backend, backendBegin, "1 000 1111  0 0000000", 1002},
	{RuleControlFragmented, Client, "", "0 000 1001  1 0000000  0x00000000", 1002},
	{RuleControlFragmented, Backend, "", "0 000 1010  0 0000000", 1002},
	{RuleControlFragmented, Backend, "", "0 000 1000  0 0000000", 1002},
	{RuleControlTooLong, Client, "", "1 000 1001  1 1111110  0x007e 0x00000000 *126", 1002},
	{RuleControlTooLong, Backend, "", "1 000 1000  0 1111111  0x0000000000010000", 1002},
	{RuleContinuation, Client, "", clientLast, 1002},
	{RuleContinuation, Backend, backendBegin + space + backendLast, backendMiddle, 1002},
	{RuleMessageInterrupted, Client, clientBegin, clientHello, 1002},
	{RuleMessageInterrupted, Backend, backendBegin + space + backendMiddle, "1 000 0010  0 0000001  'x'", 1002},
	{RuleLengthTopBit, Client, "", "1 000 0010  1 1111111  0x8000000000000000 0x00000000", 1002},
	{RuleLengthTopBit, Backend, backendHello, "1 000 0010  0 1111111  0xffffffffffffffff", 1002},
	{RuleLengthNotMinimal, Client, "", "1 000 0010  1 1111110  0x007d 0x00000000", 1002},
	{RuleLengthNotMinimal, Backend, "", "1 000 0010  0 1111110  0x0000", 1002},
	{RuleLengthNotMinimal, Backend, backendHello, "1 000 0010  0 1111111  0x000000000000ffff", 1002},
	{RuleClosePayload, Client, clientHello, "1 000 1000  1 0000001  0x00000000 'x'", 1002},
	{RuleClosePayload, Backend, "", "1 000 1000  0 0000001  'x'", 1002},
	{RuleCloseCode, Client, "", "1 000 1000  1 0000010  0x00000000 0x03e7", 1002}, // 999
	{RuleCloseCode, Client, "", "1 000 1000  1 0000010  0x00000000 0x03ec", 1002}, // 1004
	{RuleCloseCode, Client, "", "1 000 1000  1 0000010  0x00000000 0x03ed", 1002}, // 1005
	{RuleCloseCode, Backend, "", "1 000 1000  0 0000010  0x03ee", 1002},           // 1006
	{RuleCloseCode, Backend, "", "1 000 1000  0 0000010  0x03f7", 1002},           // 1015
	{RuleCloseCode, Backend, "", "1 000 1000  0 0000010  0x0bb7", 1002},           // 2999
	{RuleCloseCode, Client, "", "1 000 1000  1 0000010  0x00000000 0x1388", 1002}, // 5000
	{RuleCloseReason, Client, "", "1 000 1000  1 0000011  0x00000000 0x03e8ff", 1007},
	{RuleCloseReason, Backend, backendHello, "1 000 1000  0 0000100  0x03e8c328", 1007},
	{RuleFrameTooBig, Client, clientHello, "1 000 0010  1 1111110  0x03e9 0x00000000 *1001", 1009},
	{RuleFrameTooBig, Backend, "", "0 000 0010  0 1111111  0x7fffffffffffffff", 1009},
	{RuleMessageTooBig, Client, "0 000 0010  1 1111110  0x03e8 0x00000000 *1000", "1 000 0000  1 1111110  0x01f5 0x00000000", 1009},
}

func TestFaultPassesWhatCameBeforeItAndNothingOfIt(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 1000, 1500
	for _, f := range faults {
		t.Run(f.rule.String()+"/"+f.from.String(), func(t *testing.T) {
			script(t, c, func(p *pair) {
				p.send(f.from, f.before, f.drawing, "'what_is_behind_it'")
				other := f.from.Other()
				told, reply := ourClose(Backend, 1001, "client lost"), backendBye
				if f.from == Backend {
					told, reply = ourClose(Client, 1011, "backend lost"), clientBye
				}
				p.wants(other, "what came before, and the close", f.before, told)
				p.wantsIdle(f.from, "the other side has yet to answer")
				p.send(other, reply)
				p.wants(f.from, "the rule's code", ourClose(f.from, f.code, rules[f.rule].text))
				p.wantsIdle(other, "it has its close")
				p.wantsLingering(Client)
				if p.totals.Rules[f.from][f.rule] != 1 {
					p.t.Errorf("rules broken: %v; want one %s", p.totals.Rules[f.from], f.rule)
				}
				p.wantsVerdict(Verdict{Initiator: Gateway, Code: uint16(f.code), Reason: ReasonFault, Rule: f.rule, Side: f.from})
			})
		})
	}
}

func TestEveryRuleHasATestOfItsFault(t *testing.T) {
	var seen [NumRules]bool
	for _, f := range faults {
		seen[f.rule] = true
	}
	for rule := Rule(1); rule < NumRules; rule++ {
		if !seen[rule] {
			t.Errorf("no fault shows %s", rule)
		}
	}
}

func TestFirstOfTwoFaultsIsReportedHoweverItArrives(t *testing.T) {
	script(t, testConfig(), func(p *pair) {
		// A reserved bit, not masked, not minimal.
		p.send(Client, "1 010 0010  0 1111110  0x0001")
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1002, Reason: ReasonFault, Rule: RuleReservedBit, Side: Client})
	})
}

func TestCompressedMessageBeginsWithRSV1OnceDeflateIsAgreed(t *testing.T) {
	const (
		first = "0 100 0001  1 0000001  0x00000000 'x'"
		last  = "1 000 0000  1 0000001  0x00000000 'x'"
	)
	for _, split := range splits {
		p := newPair(t, testConfig())
		p.split = split.new()
		p.core.Begin(&p.env, true)
		p.send(Client, first, clientPing, last, first)
		p.wants(Backend, "a compressed message, and one more begins", first, last, first)
		p.send(Client, "1 100 0000  1 0000001  0x00000000 'x'")
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1002, Reason: ReasonFault, Rule: RuleReservedBit, Side: Client})
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 5, 8
	script(t, c, func(p *pair) {
		p.send(Client, clientBegin, clientLast, clientBegin, clientLast)
		p.wants(Backend, "messages of 5 + 3 bytes", clientBegin, clientLast, clientBegin, clientLast)
		p.send(Client, clientBegin, clientMiddle, "1 000 0000  1 0000001  0x00000000 'x'")
		p.wants(Backend, "8 bytes of a message", clientBegin, clientMiddle, lostToBackend)
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1009, Reason: ReasonFault, Rule: RuleMessageTooBig, Side: Client})
	})
}

func TestMessageLimitHoldsAgainstALengthThatOverflowsTheSum(t *testing.T) {
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 0, 1<<63-1
	script(t, c, func(p *pair) {
		p.send(Client, clientBegin)
		p.wants(Backend, "5 bytes of a message", clientBegin)
		p.send(Client, "1 000 0000  1 1111111  0x7fffffffffffffff 0x00000000")
		p.wants(Backend, "2^63-1 bytes more don't pass", lostToBackend)
		p.wantsVerdict(Verdict{Initiator: Gateway, Code: 1009, Reason: ReasonFault, Rule: RuleMessageTooBig, Side: Client})
	})
}

func TestScanAllocatesNothing(t *testing.T) {
	s, e := newBenchSession()
	p := wire(t, strings.Join([]string{clientHello, clientPing, clientBegin, clientLast}, space))
	pong := make([]byte, 0, maxControlFrame)
	allocs := testing.AllocsPerRun(100, func() {
		for b := p; len(b) > 0; {
			pass, skip, step := s.Scan(e, Client, b)
			if step == Pong {
				pong = s.AppendPong(pong[:0], Client, b[pass:pass+skip])
				s.PongQueued(Client, len(pong), len(pong))
				s.Sent(e, Client, len(pong), 0)
			}
			b = b[pass+skip:]
		}
	})
	if allocs != 0 {
		t.Errorf("a text, a ping, a fragmented text: %v allocations; want none", allocs)
	}
}

func TestSessionIsSmallAndHasNoPointers(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 320 {
		t.Errorf("a session takes %d bytes; want 320 at most", size)
	}
	if hasPointers(reflect.TypeFor[Session]()) {
		t.Error("a session has pointers; want none, so that the garbage collector doesn't look at a slab of them")
	}
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.NumField() {
			if hasPointers(t.Field(f).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return hasPointers(t.Elem())
	default:
		return t.Kind() < reflect.Bool || t.Kind() > reflect.Float64 || t.Kind() == reflect.Uintptr
	}
}

func TestIdleSinceIsTheLastPayloadByte(t *testing.T) {
	p := newPair(t, testConfig())
	begin := p.core.IdleSince()
	p.pass(time.Second)
	p.send(Client, clientPing, "1 000 0010  1 0000000  0x00000000")
	if got := p.core.IdleSince(); got != begin {
		t.Errorf("idle since %v after a ping and an empty frame; want %v", got, begin)
	}
	p.send(Client, clientHello)
	if got := p.core.IdleSince(); got != p.env.Now {
		t.Errorf("idle since %v after a text; want %v", got, p.env.Now)
	}
}
