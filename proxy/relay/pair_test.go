package relay

import (
	"bytes"
	"testing"
	"time"
)

// A pair is a session with a driver that has no sockets: the reference of how a driver calls the core. What the two
// sides do is a script; the clock goes on in pass alone.
type pair struct {
	t       testing.TB
	core    Session
	env     Env
	totals  Totals
	ends    [2]end
	split   func(n int) int // how much of n bytes that have arrived one read takes
	maxHeld int             // the most bytes of pongs that were held at once

	highMark, lowMark int // of a side's queue, between which its other side isn't read
}

// An end is one side of a pair: its connection, and what the driver keeps for it.
type end struct {
	inbox []byte // has arrived, isn't read
	fin   finish // what comes behind it
	wire  []byte // was written to it
	room  int    // bytes that its kernel's queue still takes
	holds int    // what the driver is told of unacknowledged bytes

	queue []byte // waits for it
	held  []byte // pongs that wait for a boundary
	carry []byte // part of a header or control frame of it

	isLively    bool // it says something whenever a deadline comes
	hasFailed   bool // writes to it fail
	isShut      bool
	isClosed    bool
	isReset     bool
	lookedTimes int // how often unacknowledged bytes were asked for
}

type finish uint8

const (
	goesOn finish = iota
	endOfStream
	connectionReset
)

const roomEnough = 1 << 40

func newPair(t testing.TB, c Config) *pair {
	p := &pair{t: t, split: func(n int) int { return n }, highMark: 64 << 10, lowMark: 16 << 10}
	p.env = Env{Config: &c, Totals: &p.totals, Now: Instant(time.Hour)}
	p.ends[Client].room, p.ends[Backend].room = roomEnough, roomEnough
	p.core.Begin(&p.env, false)
	return p
}

// testConfig is a route's default.
func testConfig() Config {
	return Config{
		MaxFrame:     16 << 20,
		MaxMessage:   64 << 20,
		CloseTimeout: 5 * time.Second,
		WriteTimeout: time.Minute,
		BackendLost:  1011,
		ClientLost:   1001,
	}
}

// The driver.

// run reads what may be read and does what the core asks for, until nothing is left to do.
func (p *pair) run() {
	p.t.Helper()
	p.settle()
	for isBusy := true; isBusy; {
		isBusy = p.read(Client)
		isBusy = p.read(Backend) || isBusy
	}
}

// read takes what has arrived from a side, if it is wanted.
func (p *pair) read(side Side) (hasRead bool) {
	p.t.Helper()
	e := &p.ends[side]
	switch {
	case e.isClosed || e.isReset || !p.core.Reads(side):
		return false
	case len(e.inbox) > 0:
		n := p.split(len(e.inbox))
		b := e.inbox[:n]
		e.inbox = e.inbox[n:]
		if p.core.IsLingering(side) {
			p.core.Discarded(side, n)
		} else {
			p.receive(side, b)
		}
	case e.fin == endOfStream:
		e.fin = goesOn
		p.core.Ended(&p.env, side)
	case e.fin == connectionReset:
		e.fin = goesOn
		p.core.Lost(&p.env, side)
	default:
		return false
	}
	p.settle()
	return true
}

// receive scans bytes that were read from a side, behind those that stayed.
func (p *pair) receive(from Side, b []byte) {
	p.t.Helper()
	e, to := &p.ends[from], from.Other()
	b = append(e.carry, b...)
	e.carry = nil
	for {
		pass, skip, step := p.core.Scan(&p.env, from, b)
		if pass < 0 || skip < 0 || pass+skip > len(b) || step == End && pass+skip != len(b) {
			p.t.Fatalf("Scan(%s, %x) = %d, %d, %d", from, b, pass, skip, step)
		}
		p.ends[to].queue = append(p.ends[to].queue, b[:pass]...)
		frame := b[pass : pass+skip]
		b = b[pass+skip:]
		switch step {
		case More:
			if len(b) > MaxCarry {
				p.t.Fatalf("%d bytes stay; at most %d may", len(b), MaxCarry)
			}
			e.carry = bytes.Clone(b)
			return
		case Again:
		case Pong:
			p.pong(from, frame)
		case Own:
			p.own(to)
		case End:
			return
		default:
			p.t.Fatalf("step %d", step)
		}
	}
}

// pong answers a ping: in the queue if the stream is at a boundary, else held until it is.
func (p *pair) pong(to Side, ping []byte) {
	e := &p.ends[to]
	if p.core.AtBoundary(to) {
		before := len(e.queue)
		e.queue = p.core.AppendPong(e.queue, to, ping)
		p.core.PongQueued(to, len(e.queue)-before, len(e.queue))
		return
	}
	before := len(e.held)
	e.held = p.core.AppendPong(e.held, to, ping)
	p.core.PongHeld(to, len(e.held)-before)
	p.maxHeld = max(p.maxHeld, len(e.held))
}

// own puts what waits for a boundary into the stream to a side: the pongs first, behind a close nothing goes.
func (p *pair) own(to Side) {
	e := &p.ends[to]
	if !p.core.AtBoundary(to) {
		return
	}
	if len(e.held) > 0 {
		e.queue = append(e.queue, e.held...)
		e.held = nil
		p.core.PongQueued(to, 0, len(e.queue))
	}
	e.queue = p.core.AppendOwn(&p.env, to, e.queue, len(e.queue))
}

// settle writes, and does what the core asks for, until that is nothing more.
func (p *pair) settle() {
	p.t.Helper()
	for {
		p.flush(Client)
		p.flush(Backend)
		acts := p.core.Take()
		if acts == 0 {
			return
		}
		for side := Client; side <= Backend; side++ {
			e := &p.ends[side]
			if acts.Own(side) {
				p.own(side)
			}
			if acts.Unacked(side) {
				e.lookedTimes++
				p.core.Unacked(&p.env, side, e.holds)
			}
			if acts.Close(side) {
				e.isClosed = true
			}
			if acts.Reset(side) {
				e.isReset = true
			}
		}
		if acts&ActShut != 0 {
			p.ends[Client].isShut = true
		}
	}
}

// flush writes what waits for a side, as far as it takes it.
func (p *pair) flush(to Side) {
	e := &p.ends[to]
	if !p.core.IsWritable(to) {
		e.queue, e.held = nil, nil
		return
	}
	if len(e.queue) == 0 {
		return
	}
	if e.hasFailed {
		p.core.WriteFailed(&p.env, to)
		e.queue, e.held = nil, nil
		p.core.Resume(&p.env, to.Other())
		return
	}
	n := min(e.room, len(e.queue))
	e.room -= n
	e.wire = append(e.wire, e.queue[:n]...)
	e.queue = e.queue[n:]
	p.core.Sent(&p.env, to, n, len(e.queue))
	switch {
	case len(e.queue) > p.highMark:
		p.core.Pause(to.Other())
	case len(e.queue) < p.lowMark && p.core.IsPaused(to.Other()):
		p.core.Resume(&p.env, to.Other())
	}
}
