package driver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

// A verifier reads a stream as its receiver does, by another implementation, and fails on what must never be there.
type verifier struct {
	onControl func(h ws.Header, payload []byte)
	onData    func(header, payload []byte)

	hasClose bool
}

// verify reads all that was written to a side. The last frame may be incomplete.
func (v *verifier) verify(t testing.TB, to relay.Side, p []byte) {
	t.Helper()
	all := p
	state := ws.StateClientSide | ws.StateExtended
	if to == relay.Backend {
		state = ws.StateServerSide | ws.StateExtended
	}
	for len(p) > 0 {
		if v.hasClose {
			t.Fatalf("%x goes after a close to the %s: %x", p, to, all)
		}
		h, size, isWhole := readHeader(p)
		if !isWhole {
			return
		}
		if err := ws.CheckHeader(h, state); err != nil || h.Masked != (to == relay.Backend) {
			t.Fatalf("%x, header %+v, goes to the %s: %v", all, h, to, err)
		}
		n := int(min(h.Length, int64(len(p)-size)))
		header, payload := p[:size], p[size:size+n]
		p = p[size+n:]
		if !h.OpCode.IsControl() {
			if h.Fin {
				state = state.Clear(ws.StateFragmented)
			} else {
				state = state.Set(ws.StateFragmented)
			}
			if v.onData != nil {
				v.onData(header, payload)
			}
			continue
		}
		if int64(n) < h.Length {
			return
		}
		payload = bytes.Clone(payload)
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		if h.OpCode == ws.OpClose {
			v.hasClose = true
			if closeIsBad(payload) {
				t.Fatalf("close %x goes to the %s", payload, to)
			}
		}
		if v.onControl != nil {
			v.onControl(h, payload)
		}
	}
}

// maxRead is the most bytes that a model reads at once.
const maxRead = 5000

// A model drives a session by random events, and knows what each side has sent.
type model struct {
	*scripted
	r    *rand.Rand
	left [2]int  // payload bytes of a side's frame that it has yet to send
	in   [2]bool // a side is inside a message
	sent [2][]byte
	log  []string
}

func newModel(t testing.TB, seed uint64) *model {
	r := rand.New(rand.NewPCG(seed, 0))
	c := testConfig()
	c.MaxFrame, c.MaxMessage = 70_000, 140_000
	if r.IntN(4) == 0 {
		c.BackendLost, c.ClientLost = 0, 0
	}
	c.Pings = pingModes[r.IntN(len(pingModes))]
	if r.IntN(2) == 0 {
		c.PingInterval, c.PongTimeout = both(30*time.Second), both(10*time.Second)
	}
	if r.IntN(3) == 0 {
		c.IdleTimeout = 2 * time.Minute
	}
	m := &model{scripted: newScripted(t, c), r: r}
	m.marks = marks{high: 4096, low: 1024}
	m.split = func(n int) int { return 1 + r.IntN(min(n, []int{1, 20, maxRead, maxRead}[r.IntN(4)])) }
	return m
}

// step does one random thing; for each there are cases where it makes no sense, and then nothing happens.
func (m *model) step() {
	side := relay.Side(m.r.IntN(2))
	what := m.r.IntN(100)
	m.log = append(m.log, fmt.Sprintf("%d %s", what, side))
	e := &m.ends[side]
	switch {
	case what < 35:
		m.data(side)
	case what < 45:
		m.control(side, opPing)
	case what < 48:
		for range 300 {
			m.control(side, opPing)
		}
	case what < 52:
		m.control(side, opPong)
	case what < 60:
		m.answer(side)
	case what < 67:
		m.takes(side, m.r.IntN(3000))
	case what < 80:
		m.takes(side, roomEnough)
	case what < 93:
		e.holds = m.r.IntN(1000)
		m.pass(time.Duration(m.r.Int64N(int64(15 * time.Second))))
	case what == 93:
		m.control(side, opClose)
	case what == 94:
		m.abort([2]bool{m.r.IntN(4) == 0, m.r.IntN(4) == 0})
	case what == 95 || what == 96:
		e.endsAtOnce = m.r.IntN(2) == 0
		m.finish(side, []finish{endOfStream, connectionReset, brokenTLS}[m.r.IntN(3)])
	case what == 97:
		m.fail(side)
		m.run()
	case what == 98:
		m.closeBoth(uint16(1012*m.r.IntN(2)), relay.ReasonDrain)
	default:
		// Whatever: a fault, or payload.
		m.arrive(side, []byte{byte(m.r.Uint32()), byte(m.r.Uint32()), byte(m.r.Uint32())})
	}
}

// answer sends the pong to the last ping that a side got.
func (m *model) answer(side relay.Side) {
	var last []byte
	v := verifier{onControl: func(h ws.Header, payload []byte) {
		if h.OpCode == ws.OpPing {
			last = payload
		}
	}}
	v.verify(m.t, side, m.ends[side].written)
	if last != nil && m.left[side] == 0 {
		m.arrive(side, (&peer{side: side}).frame(isFin|opPong, last))
	}
}

func (m *model) arrive(from relay.Side, p []byte) {
	if m.ends[from].fin != goesOn {
		return // its stream has ended
	}
	m.sent[from] = append(m.sent[from], p...)
	m.ends[from].inbox = append(m.ends[from].inbox, p...)
	m.run()
}

// data sends a part of a frame: the rest of one, or a new one.
func (m *model) data(from relay.Side) {
	if m.left[from] == 0 {
		n := []int{0, 5, 125, 126, 1000, 5000, 65536, 80_000}[min(m.r.IntN(30), m.r.IntN(8))]
		isLast := m.r.IntN(2) == 0
		header := (&peer{side: from}).header(isFin|opBinary, n)
		if m.in[from] {
			header[0] &^= 0x0f
		}
		if !isLast {
			header[0] &^= isFin
		}
		m.in[from] = !isLast
		m.left[from] = n
		m.arrive(from, header)
	}
	n := m.r.IntN(m.left[from] + 1)
	m.left[from] -= n
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(m.r.Uint32())
	}
	m.arrive(from, p)
}

func (m *model) control(from relay.Side, opcode byte) {
	if m.left[from] > 0 {
		return
	}
	payload := make([]byte, m.r.IntN(10))
	if opcode == opClose && len(payload) > 1 {
		binary.BigEndian.PutUint16(payload, []uint16{1000, 1001, 1005, 1011, 1015, 4000}[m.r.IntN(6)])
	}
	m.arrive(from, (&peer{side: from}).frame(isFin|opcode, payload))
}

// check checks what must be true at all times.
func (m *model) check() {
	m.t.Helper()
	for side := relay.Client; side <= relay.Backend; side++ {
		e := &m.ends[side]
		var data []byte
		v := verifier{onData: func(header, payload []byte) { data = append(append(data, header...), payload...) }}
		v.verify(m.t, side, e.written)
		if !isPrefixOfData(m.t, side.Other(), m.sent[side.Other()], data) {
			m.t.Fatalf("%s got data that its other side didn't send\n%s", side, strings.Join(m.log, ", "))
		}
		if e.isClosed && e.isReset {
			m.t.Fatalf("%s is closed and reset\n%s", side, strings.Join(m.log, ", "))
		}
		if m.core.IsGone(side) != (e.isClosed || e.isReset) {
			m.t.Fatalf("%s: gone %t, closed %t, reset %t\n%s", side, m.core.IsGone(side), e.isClosed, e.isReset, strings.Join(m.log, ", "))
		}
		if e.isBroken && len(e.written) > e.most {
			m.t.Fatalf("%s has broken TLS: %d bytes were written to it; want %d at most\n%s", side, len(e.written), e.most, strings.Join(m.log, ", "))
		}
		if most := m.marks.high + maxRead + maxPongs + 3*maxRead; m.waiting(side) > most {
			m.t.Fatalf("%d bytes wait for the %s", m.waiting(side), side)
		}
		if !m.core.IsWritable(side) && len(m.held(side))+m.waiting(side) > 0 && !m.core.IsLingering(side) {
			m.t.Fatalf("%d bytes and %d bytes of pongs are kept for the %s, which gets nothing more\n%s",
				m.waiting(side), len(m.held(side)), side, strings.Join(m.log, ", "))
		}
		if most := maxPongs + 3*maxRead; len(m.held(side)) > most {
			m.t.Fatalf("%d bytes of pongs are held for the %s", len(m.held(side)), side)
		}
	}
	if n := m.waiting(relay.Client) + m.waiting(relay.Backend); m.queued.Load() != int64(n) {
		m.t.Fatalf("%d bytes are counted as waiting; want %d\n%s", m.queued.Load(), n, strings.Join(m.log, ", "))
	}

}

// isPrefixOfData reports whether data is how the data frames among what a side sent begin.
func isPrefixOfData(t testing.TB, from relay.Side, sent, data []byte) bool {
	t.Helper()
	for len(sent) > 0 && len(data) > 0 {
		h, size, isWhole := readHeader(sent)
		if !isWhole || h.Length < 0 {
			return false
		}
		n := int(min(int64(size)+h.Length, int64(len(sent))))
		frame := sent[:n]
		sent = sent[n:]
		if h.OpCode.IsControl() {
			continue
		}
		k := min(len(frame), len(data))
		if !bytes.Equal(frame[:k], data[:k]) {
			return false
		}
		data = data[k:]
	}
	return len(data) == 0
}

// end lets time go by until the session is over, once something has begun to end it.
func (m *model) end() {
	m.t.Helper()
	m.core.CloseBoth(&m.env, 1012, relay.ReasonDrain) // which does nothing if either direction has begun to end
	m.run()
	// What waits is bounded, and each wait is: a drain's two steps, both directions' closes, the pongs' time, lingering.
	for n := 0; !m.core.IsOver(); n++ {
		if n > 20 {
			m.t.Fatalf("not over after %d min: %+v\n%s", n, m.core, strings.Join(m.log, ", "))
		}
		m.pass(time.Minute)
		m.check()
	}
	if m.core.Verdict().Reason == 0 {
		m.t.Fatalf("over without a verdict\n%s", strings.Join(m.log, ", "))
	}
}

func TestEverySequenceOfEventsKeepsTheInvariantsAndEnds(t *testing.T) {
	runs := 2000
	if testing.Short() {
		runs = 300
	}
	moved := 0
	for seed := range uint64(runs) {
		m := newModel(t, seed)
		for range 1 + m.r.IntN(120) {
			m.step()
			m.check()
		}
		m.end()
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, strings.Join(m.log, ", "))
		}
		moved += m.moved
	}
	if moved < 10*runs {
		t.Errorf("%d sessions have moved %d times; want 10 times each, and more", runs, moved)
	}
}
