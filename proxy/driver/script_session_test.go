package driver

import (
	"bytes"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// A scripted session is relayed by the engine that all drivers share, over transports in memory. What the two sides do is a script; the
// clock goes on in pass alone.
type scripted struct {
	engine
	t       testing.TB
	core    relay.Session
	state   *pending
	totals  relay.Totals
	ends    [2]scriptedEnd
	split   func(n int) int // how much of n bytes that have arrived one read takes
	moved   int             // how often the session has moved to another process, as it were
	maxHeld int             // the most bytes of pongs that were held at once
}

// A scriptedEnd is one side of a scripted session, and the transport of that side.
type scriptedEnd struct {
	inbox   []byte // has arrived, isn't read
	fin     finish // what comes after it
	written []byte // was written to it
	room    int    // bytes that its kernel's queue still accepts
	holds   int    // what the engine is told of unacknowledged bytes

	endsAtOnce  bool // its end comes with its last bytes, in one read
	isBroken    bool // it has broken TLS: nothing is put into the stream to it any more
	most        int  // bytes that are written to it then, in all
	isLively    bool // it says something whenever a deadline comes
	hasFailed   bool // writes to it fail
	isNotified  bool
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
	brokenTLS
)

// err returns the error of the read that finds it.
func (f finish) err() error {
	return [...]error{endOfStream: io.EOF, connectionReset: syscall.ECONNRESET, brokenTLS: errTLS, goesOn: nil}[f]
}

const roomEnough = 1 << 40

func newScripted(t testing.TB, c relay.Config) *scripted {
	p := &scripted{t: t, engine: newEngine(newPools(), new(atomic.Int64)), split: func(n int) int { return n }}
	p.marks = marks{high: 64 << 10, low: 16 << 10}
	p.env = relay.Env{Config: &c, Totals: &p.totals, Now: relay.Instant(time.Hour)}
	p.ends[relay.Client].room, p.ends[relay.Backend].room = roomEnough, roomEnough
	p.core.Begin(&p.env, false)
	return p
}

// testConfig is a route's default, but for pings and the code of a lost backend.
func testConfig() relay.Config {
	return relay.Config{
		MaxFrame:     256 << 20,
		MaxMessage:   256 << 20,
		PongTimeout:  both(10 * time.Second),
		CloseTimeout: 5 * time.Second,
		WriteTimeout: time.Minute,
		BackendLost:  1011,
		ClientLost:   1001,
	}
}

// pingModes are all of them.
var pingModes = []relay.PingMode{relay.AnswerPings, relay.MirrorPings, relay.ForwardPings}

// lostCode returns the code that tells of a side's loss.
func lostCode(c *relay.Config, side relay.Side) uint16 {
	if side == relay.Client {
		return c.ClientLost
	}
	return c.BackendLost
}

func (p *scripted) session() session {
	return session{core: &p.core, pending: &p.state, transport: [2]transport{&p.ends[relay.Client], &p.ends[relay.Backend]}}
}

// run reads what may be read, writes what can be written and does what the core asks for, until nothing is left to do.
func (p *scripted) run() {
	p.t.Helper()
	p.settle()
	for isBusy := true; isBusy; {
		isBusy = false
		for side := relay.Client; side <= relay.Backend; side++ {
			isBusy = p.write(side) || isBusy
			isBusy = p.read(side) || isBusy
		}
	}
}

// settle ends a handling of the session.
func (p *scripted) settle() {
	s := p.session()
	s.finish(p.engine.settle(&s))
	p.move()
}

// move goes on with what another process makes of the session's state. Where the session can move, no difference may be left.
func (p *scripted) move() {
	p.t.Helper()
	st, isMovable := p.core.State()
	if !isMovable {
		return
	}
	kept := p.kept()
	for side := relay.Client; side <= relay.Backend; side++ {
		if st.Sides[side.Other()].IsPaused && kept.Queued[side] == 0 {
			return // a script has paused it, without the bytes that are the cause
		}
	}
	moved, err := relay.Restore(&st, &kept, p.env.Now)
	if err != nil || moved != p.core {
		p.t.Fatalf("state %+v becomes the session %+v, %v; want %+v", st, moved, err, p.core)
	}
	p.core = moved
	p.moved++
}

// kept returns what the engine keeps of the session.
func (p *scripted) kept() (k relay.Kept) {
	for side := relay.Client; side <= relay.Backend; side++ {
		k.Queued[side], k.Held[side], k.Carried[side] = p.waiting(side), len(p.held(side)), len(p.carry(side))
	}
	return k
}

// read reads what has arrived from a side, if it is wanted.
func (p *scripted) read(side relay.Side) (hasRead bool) {
	p.t.Helper()
	e, s := &p.ends[side], p.session()
	if e.isClosed || e.isReset || !p.core.Reads(side) || len(e.inbox) == 0 && e.fin == goesOn {
		return false
	}
	isEnd := len(e.inbox) == 0
	if !isEnd {
		n := p.split(len(e.inbox))
		b := append(bytes.Clone(p.carried(&s, side)), e.inbox[:n]...)
		e.inbox = e.inbox[n:]
		p.receive(&s, side, b)
		p.maxHeld = max(p.maxHeld, len(p.held(side)))
		isEnd = len(e.inbox) == 0 && e.endsAtOnce
	}
	if isEnd {
		before := p.core.Verdict()
		p.readFailed(&s, side, e.fin.err())
		if e.fin == brokenTLS {
			e.isBroken, e.most = true, len(e.written)+p.waiting(side)+p.out[side].n
			if after := p.core.Verdict(); before.Reason == 0 && after != brokenVerdict(side) {
				p.t.Fatalf("%s has broken TLS; the verdict is %+v", side, after)
			}
		}
		e.fin = goesOn
	}
	p.settle()
	return true
}

// write writes what waits for a side, if that accepts something, or fails.
func (p *scripted) write(side relay.Side) (hasWritten bool) {
	e, s := &p.ends[side], p.session()
	if p.waiting(side) == 0 || e.room == 0 && !e.hasFailed {
		return false
	}
	p.drain(&s, side)
	p.settle()
	return true
}

// waiting returns how many bytes wait for a side.
func (p *scripted) waiting(side relay.Side) int { return p.state.waiting(side) }

// held returns the pongs that wait for a boundary.
func (p *scripted) held(side relay.Side) []byte {
	if p.state == nil {
		return nil
	}
	return p.state.held[side]
}

// carry returns the part of a header or control frame of a side that has come.
func (p *scripted) carry(side relay.Side) []byte {
	s := p.session()
	return p.carried(&s, side)
}

// seal implements transport.
func (*scriptedEnd) seal(*batch, bool) error { return nil }

// tryWrite implements transport.
func (e *scriptedEnd) tryWrite(spans [][]byte) (left [][]byte, n int, err error) {
	if e.isShut || e.isClosed || e.isReset {
		panic("BUG: bytes for a side whose stream has ended")
	}
	if e.isShut || e.isClosed || e.isReset {
		panic("BUG: bytes for a side after the end of its stream")
	}
	if e.hasFailed {
		return spans, 0, syscall.EPIPE
	}
	for len(spans) > 0 && e.room > 0 {
		k := min(e.room, len(spans[0]))
		e.written = append(e.written, spans[0][:k]...)
		e.room -= k
		n += k
		if spans[0] = spans[0][k:]; len(spans[0]) == 0 {
			spans = spans[1:]
		}
	}
	return spans, n, nil
}

// unacked implements transport.
func (e *scriptedEnd) unacked() int {
	e.lookedTimes++
	return e.holds
}

// notify implements transport.
func (e *scriptedEnd) notify() { e.isNotified = true }

// shut implements transport.
func (e *scriptedEnd) shut() { e.isShut = true }

// close implements transport.
func (e *scriptedEnd) close() { e.isClosed = true }

// cut implements transport.
func (e *scriptedEnd) cut() { e.isReset = true }
