package driver

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// The script's verbs. Their tests are the specification of package relay, as the drivers' engine follows it.

// What package relay limits, as its scripts expect it.
const (
	maxPongs        = 4 << 10
	maxControlFrame = 2 + 4 + 125
	bitMask         = 0x80 // of the second byte
	lingerTime      = time.Second
	lingerMost      = 30 * time.Second
	lingerBytes     = 64 << 20
)

// send lets frames, as drawn, arrive from a side.
func (p *scripted) send(from relay.Side, drawings ...string) {
	p.t.Helper()
	for _, d := range drawings {
		p.ends[from].inbox = append(p.ends[from].inbox, drawn(p.t, d)...)
	}
	p.run()
}

// finish lets a side's stream end.
func (p *scripted) finish(side relay.Side, f finish) {
	p.ends[side].fin = f
	p.run()
}

// fail lets writes to a side fail.
func (p *scripted) fail(side relay.Side) {
	p.ends[side].hasFailed = true
}

// takes lets a side's kernel take n bytes more, and no more.
func (p *scripted) takes(side relay.Side, n int) {
	p.ends[side].room = n
	p.run()
}

// closeBoth is a drain's.
func (p *scripted) closeBoth(code uint16, reason relay.Reason) {
	p.core.CloseBoth(&p.env, code, reason)
	p.run()
}

// pass lets time go by, all deadlines in it met.
func (p *scripted) pass(d time.Duration) {
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
		for side := relay.Client; side <= relay.Backend; side++ {
			if p.ends[side].isLively {
				p.send(side, pong[side])
			}
		}
		p.move()
		p.core.Advance(&p.env)
		p.run()
	}
	p.env.Now = end
}

// wants checks that exactly these frames have been written to a side since the last look.
func (p *scripted) wants(to relay.Side, what string, drawings ...string) {
	p.t.Helper()
	got := p.ends[to].written
	p.ends[to].written = nil
	for _, d := range drawings {
		var key [4]byte
		if before, _, isMasked := strings.Cut(d, anyKey); isMasked {
			copy(key[:], got[min(len(got), len(drawn(p.t, before))):])
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
func (p *scripted) wantsIdle(to relay.Side, what string) {
	p.t.Helper()
	p.wants(to, what)
}

// wantsLingering checks that a side has been told all and its end is waited for.
func (p *scripted) wantsLingering(side relay.Side) {
	p.t.Helper()
	e := &p.ends[side]
	mayEnd := side == relay.Backend && p.core.HasClosed(side) // it has the first move
	if !p.core.IsLingering(side) || e.isShut == mayEnd || e.isNotified != mayEnd || e.isClosed || e.isReset {
		p.t.Fatalf("%s: lingering %t, notified %t, shut %t, closed %t, reset %t; want it to linger",
			side, p.core.IsLingering(side), e.isNotified, e.isShut, e.isClosed, e.isReset)
	}
}

// wantsClosed checks that a side's connection has been closed in good order.
func (p *scripted) wantsClosed(side relay.Side) {
	p.t.Helper()
	if e := &p.ends[side]; !e.isClosed || e.isReset {
		p.t.Fatalf("%s: closed %t, reset %t; want it closed", side, e.isClosed, e.isReset)
	}
}

// wantsReset checks that a side's connection has been cut.
func (p *scripted) wantsReset(side relay.Side) {
	p.t.Helper()
	if e := &p.ends[side]; e.isClosed || !e.isReset {
		p.t.Fatalf("%s: closed %t, reset %t; want it reset", side, e.isClosed, e.isReset)
	}
}

// wantsOpen checks that nothing has been done to a side's connection.
func (p *scripted) wantsOpen(side relay.Side) {
	p.t.Helper()
	if e := &p.ends[side]; e.isClosed || e.isReset || e.isShut {
		p.t.Fatalf("%s: closed %t, reset %t, shut %t; want it open", side, e.isClosed, e.isReset, e.isShut)
	}
}

// wantsVerdict checks why the session ends.
func (p *scripted) wantsVerdict(want relay.Verdict) {
	p.t.Helper()
	if got := p.core.Verdict(); got != want {
		p.t.Fatalf("verdict is %+v; want %+v", got, want)
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
func script(t *testing.T, c relay.Config, run func(p *scripted)) {
	t.Helper()
	for _, split := range splits {
		t.Run(split.name, func(t *testing.T) {
			p := newScripted(t, c)
			p.split = split.new()
			run(p)
		})
	}
}

// sides runs a test of the closing for each side as the one that begins. Names in it are the beginner's and the other's.
func sides(t *testing.T, c relay.Config, run func(p *scripted, a, b relay.Side)) {
	t.Helper()
	for side := relay.Client; side <= relay.Backend; side++ {
		t.Run(side.String(), func(t *testing.T) {
			script(t, c, func(p *scripted) { run(p, side, side.Other()) })
		})
	}
}

// answers lets a side's transport answer the side by n bytes.
func (p *scripted) answers(side relay.Side, n int) {
	b := &p.out[side]
	b.due = n
	b.pass(make([]byte, n))
	p.run()
}
