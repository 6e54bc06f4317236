package relay

import (
	"bytes"
	"math/rand/v2"
	"strings"
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

// The script's verbs.

// send lets frames, as drawn, arrive from a side.
func (p *pair) send(from Side, drawings ...string) {
	p.t.Helper()
	for _, d := range drawings {
		p.ends[from].inbox = append(p.ends[from].inbox, wire(p.t, d)...)
	}
	p.run()
}

// finish lets a side's stream end.
func (p *pair) finish(side Side, f finish) {
	p.ends[side].fin = f
	p.run()
}

// fail lets writes to a side fail.
func (p *pair) fail(side Side) {
	p.ends[side].hasFailed = true
}

// takes lets a side's kernel take n bytes more, and no more.
func (p *pair) takes(side Side, n int) {
	p.ends[side].room = n
	p.flush(side)
	p.run()
}

// closeBoth is a drain's.
func (p *pair) closeBoth(code uint16, reason Reason) {
	p.core.CloseBoth(&p.env, code, reason)
	p.run()
}

// pass lets time go by, all deadlines in it met.
func (p *pair) pass(d time.Duration) {
	p.t.Helper()
	end := p.env.Now.Add(d)
	for n := 0; ; n++ {
		at := p.core.Deadline(&p.env)
		if at > end {
			break
		}
		if n > 10_000 {
			p.t.Fatalf("the deadline stays at %v", time.Duration(at))
		}
		p.env.Now = max(p.env.Now, at)
		for side := Client; side <= Backend; side++ {
			if p.ends[side].isLively {
				p.send(side, pong[side])
			}
		}
		p.core.Advance(&p.env)
		p.run()
	}
	p.env.Now = end
}

// wants checks that exactly these frames have been written to a side since the last look.
func (p *pair) wants(to Side, what string, drawings ...string) {
	p.t.Helper()
	got := p.ends[to].wire
	p.ends[to].wire = nil
	for _, d := range drawings {
		var key [4]byte
		if before, _, isMasked := strings.Cut(d, anyKey); isMasked {
			copy(key[:], got[min(len(got), len(wire(p.t, before))):])
		}
		want := draw(p.t, d, key)
		if !bytes.HasPrefix(got, want) {
			p.t.Fatalf("%s: %s got %x; want %x (%s)", what, to, got, want, d)
		}
		got = got[len(want):]
	}
	if len(got) > 0 {
		p.t.Fatalf("%s: %s got %x besides", what, to, got)
	}
}

// wantsIdle checks that nothing has been written to a side since the last look.
func (p *pair) wantsIdle(to Side, what string) {
	p.t.Helper()
	p.wants(to, what)
}

// wantsLingering checks that a side has been told all and its end is waited for.
func (p *pair) wantsLingering(side Side) {
	p.t.Helper()
	e := &p.ends[side]
	if !p.core.IsLingering(side) || e.isShut != (side == Client) || e.isClosed || e.isReset {
		p.t.Fatalf("%s: lingering %t, shut %t, closed %t, reset %t; want it to linger", side, p.core.IsLingering(side), e.isShut, e.isClosed, e.isReset)
	}
}

// wantsClosed checks that a side's connection has been closed in good order.
func (p *pair) wantsClosed(side Side) {
	p.t.Helper()
	if e := &p.ends[side]; !e.isClosed || e.isReset {
		p.t.Fatalf("%s: closed %t, reset %t; want it closed", side, e.isClosed, e.isReset)
	}
}

// wantsReset checks that a side's connection has been cut.
func (p *pair) wantsReset(side Side) {
	p.t.Helper()
	if e := &p.ends[side]; e.isClosed || !e.isReset {
		p.t.Fatalf("%s: closed %t, reset %t; want it reset", side, e.isClosed, e.isReset)
	}
}

// wantsOpen checks that nothing has been done to a side's connection.
func (p *pair) wantsOpen(side Side) {
	p.t.Helper()
	if e := &p.ends[side]; e.isClosed || e.isReset || e.isShut {
		p.t.Fatalf("%s: closed %t, reset %t, shut %t; want it open", side, e.isClosed, e.isReset, e.isShut)
	}
}

// wantsVerdict checks why the session ends.
func (p *pair) wantsVerdict(want Verdict) {
	p.t.Helper()
	if got := p.core.Verdict(); got != want {
		p.t.Fatalf("verdict is %+v; want %+v", got, want)
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

// splits are the ways in which bytes arrive. Every test that scans runs in all of them, with the same result.
var splits = []struct {
	name string
	new  func() func(n int) int
}{
	{"whole", func() func(int) int { return func(n int) int { return n } }},
	{"byte by byte", func() func(int) int { return func(int) int { return 1 } }},
	{"random 1", func() func(int) int { return randomSplit(1) }},
	{"random 2", func() func(int) int { return randomSplit(2) }},
	{"random 3", func() func(int) int { return randomSplit(3) }},
}

func randomSplit(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int) int { return 1 + r.IntN(n) }
}

// script runs a test for every way in which bytes arrive.
func script(t *testing.T, c Config, run func(p *pair)) {
	t.Helper()
	for _, split := range splits {
		t.Run(split.name, func(t *testing.T) {
			p := newPair(t, c)
			p.split = split.new()
			run(p)
		})
	}
}
