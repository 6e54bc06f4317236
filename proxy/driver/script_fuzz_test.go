package driver

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

// seeds gives a fuzz target frames of each kind.
func seeds(f *testing.F, add func(from relay.Side, p []byte)) {
	for _, d := range []string{
		clientHello, clientBegin + space + clientPing + space + clientLast, clientHalf, clientPing, clientPong, clientClose, clientBye,
	} {
		add(relay.Client, drawn(f, d))
	}
	for _, d := range []string{
		backendHello, backendBegin + space + backendPing + space + backendLast, backendHalf, backendPing, backendPong, backendClose, backendBye,
		"1 000 0010  0 1111110  0x007e *126",
		"1 000 0010  0 1111111  0x0000000000010000 *100",
	} {
		add(relay.Backend, drawn(f, d))
	}
	for _, fault := range faults {
		add(fault.from, append(drawn(f, fault.before), drawn(f, fault.drawing)...))
	}
}

// FuzzScanSplits shows that it doesn't matter how bytes are split: what passes, what is answered, counted and found at fault
// is the same whole, byte by byte and at random places.
func FuzzScanSplits(f *testing.F) {
	seeds(f, func(from relay.Side, p []byte) {
		for mode := range byte(64) {
			f.Add(byte(from)|mode<<1, uint64(mode), p)
		}
	})
	f.Fuzz(func(t *testing.T, mode byte, seed uint64, b []byte) {
		want := scanned(t, mode, func(n int) int { return n }, b)
		for _, split := range []func(int) int{func(int) int { return 1 }, randomSplit(seed), randomSplit(seed + 1)} {
			got := scanned(t, mode, split, b)
			if !bytes.Equal(got.passed, want.passed) {
				t.Fatalf("passed %x; whole %x", got.passed, want.passed)
			}
			if !bytes.Equal(got.answered, want.answered) {
				t.Fatalf("answered %x; whole %x", got.answered, want.answered)
			}
			if got.state != want.state {
				t.Fatalf("state %+v; whole %+v", got.state, want.state)
			}
		}
	})
}

// observed is all that can be seen of a session after some bytes.
type observed struct {
	passed   []byte
	answered []byte
	state    struct {
		counts   relay.Counts
		totals   relay.Totals
		verdict  relay.Verdict
		reads    bool
		boundary bool
		carry    string
		idle     relay.Instant
		closed   [2]bool
		reset    [2]bool
		deadline relay.Instant
	}
}

// scanned gives bytes to a session and returns what can be seen of it. mode's bits: the side that sends; pings are forwarded;
// deflate is agreed; limits; a drain has begun, before or inside a message; pings are mirrored.
func scanned(t *testing.T, mode byte, split func(int) int, b []byte) (o observed) {
	c := testConfig()
	from := relay.Side(mode & 1)
	switch {
	case mode&2 != 0:
		c.Pings = relay.ForwardPings
	case mode&64 != 0:
		c.Pings = relay.MirrorPings
	}
	if mode&8 != 0 {
		c.MaxFrame, c.MaxMessage = 5, 8
	}
	p := newScripted(t, c)
	p.core.Begin(&p.env, mode&4 != 0)
	if mode&16 != 0 {
		if mode&32 != 0 && from == relay.Backend {
			p.ends[relay.Backend].inbox = drawn(t, backendBegin)
			p.run()
		}
		p.closeBoth(1012, relay.ReasonDrain)
	}
	p.split = split
	p.ends[from].inbox = bytes.Clone(b)
	p.run()
	o.passed = plain(t, from.Other(), p.ends[from.Other()].written)
	o.answered = plain(t, from, p.ends[from].written)
	s := &o.state
	s.counts, s.totals, s.verdict = p.core.Counts(from), p.totals, p.core.Verdict()
	s.reads, s.boundary = p.core.Reads(from), p.core.AtBoundary(from.Other())
	if s.reads {
		s.carry = string(p.carry(from))
	}
	s.idle, s.deadline = p.core.IdleSince(), p.core.Deadline(&p.env)
	for side := range p.ends {
		s.closed[side], s.reset[side] = p.ends[side].isClosed, p.ends[side].isReset
	}
	return o
}

// plain returns what was written to a side with all masking keys of control frames taken off: the gateway's own are random.
func plain(t *testing.T, to relay.Side, p []byte) (out []byte) {
	if to == relay.Client {
		return p
	}
	var v verifier
	v.onControl = func(h ws.Header, payload []byte) {
		out = append(out, byte(h.OpCode), byte(len(payload)))
		out = append(out, payload...)
	}
	v.onData = func(header, payload []byte) { out = append(append(out, header...), payload...) }
	v.verify(t, to, p)
	return out
}

// FuzzScanOracle holds Scan against gobwas/ws's reader: a frame passes exactly if that reads it, its CheckHeader has nothing
// against it, and it obeys the rules that CheckHeader leaves out.
func FuzzScanOracle(f *testing.F) {
	seeds(f, func(from relay.Side, p []byte) { f.Add(byte(from), p) })
	f.Fuzz(func(t *testing.T, mode byte, b []byte) {
		from := relay.Side(mode & 1)
		hasDeflate := mode&4 != 0
		c := testConfig()
		c.MaxFrame, c.MaxMessage = 0, 0
		c.Pings = relay.ForwardPings // so that what passes is a prefix of what came
		p := newScripted(t, c)
		p.core.Begin(&p.env, hasDeflate)
		p.ends[from].inbox = bytes.Clone(b)
		p.run()

		passed, isFaulty := oracle(from, hasDeflate, b)
		got := p.ends[from.Other()].written
		if !bytes.HasPrefix(got, b[:passed]) {
			t.Fatalf("%s sent %x; %x passed, want %x", from, b, got, b[:passed])
		}
		rest := got[passed:]
		if v := p.core.Verdict(); (v.Reason == relay.ReasonFault) != isFaulty {
			t.Fatalf("%s sent %x; verdict %+v, want a fault: %t", from, b, v, isFaulty)
		}
		if isFaulty {
			var key [4]byte
			if from == relay.Client {
				copy(key[:], rest[min(2, len(rest)):])
			}
			if want := draw(t, lost[from.Other()], key); !bytes.Equal(rest, want) {
				t.Fatalf("%s sent %x; after what passed is %x, want the close %x", from, b, rest, want)
			}
		} else if len(rest) > 0 {
			t.Fatalf("%s sent %x; %x passed, want %x", from, b, got, b[:passed])
		}
	})
}

// oracle returns how many bytes may pass of what a side sent, by gobwas/ws.
func oracle(from relay.Side, hasDeflate bool, b []byte) (passed int, isFaulty bool) {
	// A server sees the client's frames, a client the server's.
	state := ws.StateServerSide
	if from == relay.Backend {
		state = ws.StateClientSide
	}
	state |= ws.StateExtended // RSV bits: below
	for passed < len(b) {
		rest := b[passed:]
		h, size, isWhole := readHeader(rest)
		if !isWhole {
			// A fault shows as soon as the first byte, the second, or the length is there.
			return passed, !canGoOn(state, from, hasDeflate, rest)
		}
		if refuses(state, from, hasDeflate, h, size) {
			return passed, true
		}
		if h.OpCode.IsControl() {
			if len(rest) < size+int(h.Length) {
				return passed, false
			}
			if h.OpCode == ws.OpClose {
				payload := bytes.Clone(rest[size : size+int(h.Length)])
				if h.Masked {
					ws.Cipher(payload, h.Mask, 0)
				}
				if closeIsBad(payload) {
					return passed, true
				}
				return passed + size + int(h.Length), false
			}
			passed += size + int(h.Length)
			continue
		}
		if h.Fin {
			state = state.Clear(ws.StateFragmented)
		} else {
			state = state.Set(ws.StateFragmented)
		}
		passed += size
		if int64(len(b)-passed) < h.Length {
			return len(b), false
		}
		passed += int(h.Length)
	}
	return passed, false
}

// readHeader reads a header by ws.ReadHeader; isWhole: it has arrived. A length with the top bit set is reported as -1.
func readHeader(p []byte) (h ws.Header, size int, isWhole bool) {
	r := bytes.NewReader(p)
	h, err := ws.ReadHeader(r)
	switch {
	case err == nil:
		return h, len(p) - r.Len(), true
	case errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
		h.Length = -1
		return h, len(p) - r.Len(), true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return h, 0, false
	}
	panic(err)
}

// canGoOn reports whether some bytes after a begun header make a header that isn't refused.
func canGoOn(state ws.State, from relay.Side, hasDeflate bool, part []byte) bool {
	if len(part) >= 2 {
		switch n := part[1] &^ bitMask; {
		case n == 126 && len(part) < 4, n == 127 && len(part) < 10:
			part = part[:2]
		}
	}
	for _, second := range []byte{0, 126, 127} {
		if from == relay.Client {
			second |= bitMask
		}
		p := bytes.Clone(part)
		if len(p) == 1 {
			p = append(p, second)
		}
		// The largest and the smallest of what a length may still become.
		for _, fill := range []byte{0x00, 0x01, 0xff} {
			q := append(bytes.Clone(p), bytes.Repeat([]byte{fill}, 14)...) // the longest header
			if h, size, isWhole := readHeader(q); isWhole && !refuses(state, from, hasDeflate, h, size) {
				return true
			}
		}
	}
	return false
}

// refuses reports whether a header breaks a rule: ws.CheckHeader, and what that leaves out.
func refuses(state ws.State, from relay.Side, hasDeflate bool, h ws.Header, size int) bool {
	if h.Length < 0 || ws.CheckHeader(h, state) != nil {
		return true
	}
	if h.Masked != (from == relay.Client) {
		return true
	}
	if h.Rsv2() || h.Rsv3() || h.Rsv1() && (!hasDeflate || h.OpCode != ws.OpText && h.OpCode != ws.OpBinary) {
		return true
	}
	return size != ws.HeaderSize(h) // not the shortest form of the length
}

// closeIsBad reports whether a close's payload breaks a rule: ws.CheckCloseFrameData, but for the codes that it knows nothing of
// (1012 to 1014) and those that it lets pass (over 4999).
func closeIsBad(payload []byte) bool {
	switch len(payload) {
	case 0:
		return false
	case 1:
		return true
	}
	code, reason := ws.ParseCloseFrameData(payload)
	switch {
	case code >= 1012 && code <= 1014:
		code = 1000
	case code > 4999:
		return true
	}
	return ws.CheckCloseFrameData(code, reason) != nil
}
