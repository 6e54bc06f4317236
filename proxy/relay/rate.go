package relay

import (
	"math"
	"math/bits"
	"time"
)

// A Rate is how much of a kind a client may send: PerSecond on average, and Burst at once.
type Rate struct {
	PerSecond int64 // 0 means no limit
	Burst     int64 // 0 means what a second allows
}

func (r Rate) state() [2]int64 { return [2]int64{r.PerSecond, r.Burst} }

func rateOf(st [2]int64) Rate { return Rate{st[0], st[1]} }

// leeway is the least by which a meter may be ahead: a timer that is late by less costs a client nothing of its rate.
const leeway = Instant(20 * time.Millisecond)

// cost returns how long n take at the rate, rounded down; at most maxTimeout.
func (r Rate) cost(n int64) Instant {
	hi, lo := bits.Mul64(uint64(n), uint64(time.Second))
	if hi >= uint64(r.PerSecond) {
		return maxTimeout
	}
	q, _ := bits.Div64(hi, lo, uint64(r.PerSecond))
	return Instant(min(q, maxTimeout))
}

// in returns how many d allows, rounded down.
func (r Rate) in(d Instant) int64 {
	hi, lo := bits.Mul64(uint64(max(d, 0)), uint64(r.PerSecond))
	if hi >= uint64(time.Second) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	return int64(min(q, math.MaxInt64))
}

// window returns by how much a meter may be ahead of the time: as cost rounds down, a nanosecond more.
func (r Rate) window() Instant {
	burst := r.Burst
	if burst == 0 {
		burst = r.PerSecond
	}
	return max(r.cost(burst), r.cost(1)+leeway) + 1
}

// A meter is how far a client has used a rate: the instant at which all that has passed is within the average (the theoretical arrival time
// of the generic cell rate algorithm, ITU-T I.371).
type meter Instant

// room returns how many may pass now.
func (m meter) room(r Rate, now Instant) int64 {
	return r.in(r.window() - max(Instant(m)-now, 0))
}

// readyAt returns when n may pass, which the window has room for: as cost rounds down, a nanosecond later.
func (m meter) readyAt(r Rate, n int64) Instant { return Instant(m) + r.cost(n) + 1 - r.window() }

// take notes that n pass.
func (m *meter) take(r Rate, now Instant, n int64) { *m = meter(max(Instant(*m), now) + r.cost(n)) }

// IsMetered reports whether the configuration limits how fast a client may send.
func (c *Config) IsMetered() bool {
	return c.MessageRate.PerSecond > 0 || c.ByteRate.PerSecond > 0 || c.ControlRate.PerSecond > 0
}

// metered returns the allowance whose rates apply to what a side sends; nil: none do.
func (e *Env) metered(from Side) *Allowance {
	if a := e.Allowance; a != nil && from == Client && e.Config.IsMetered() {
		return a
	}
	return nil
}

// admitFrame counts the header of a client's frame by which a message begins, or that of a ping or pong. It returns false if the frame has to wait.
func (s *Session) admitFrame(e *Env, opcode byte) bool {
	a := e.Allowance
	r, m := e.Config.MessageRate, &a.messages
	switch {
	case opcode == opContinuation, opcode == opClose:
		return true
	case opcode&opControl != 0:
		r, m = e.Config.ControlRate, &a.controls
	}
	if r.PerSecond == 0 {
		return true
	}
	if m.room(r, e.Now) < 1 && !a.isHurried {
		s.delay(e, m.readyAt(r, 1), opcode&opControl == 0)
		return false
	}
	m.take(r, e.Now, 1)
	return true
}

// shortestWait is how long payload waits at least once it is over its rate, where the burst allows: not each byte by itself.
const shortestWait = Instant(50 * time.Millisecond)

// admitBytes counts payload of a client, and returns how many bytes of it may pass now. The rest has to wait.
func (s *Session) admitBytes(e *Env, n int) int {
	a, r := e.Allowance, e.Config.ByteRate
	if r.PerSecond == 0 {
		return n
	}
	k := n
	if !a.isHurried {
		k = int(min(int64(n), a.bytes.room(r, e.Now)))
	}
	a.bytes.take(r, e.Now, int64(k))
	if k < n {
		next := max(r.in(min(shortestWait, r.window()/2)), 1)
		s.delay(e, a.bytes.readyAt(r, min(s.in[Client].left-int64(k), next)), true)
	}
	return k
}

// delay stops reading the client until an instant at which what waits may go on. isMessage: a data message waits, with its header or its
// payload.
func (s *Session) delay(e *Env, until Instant, isMessage bool) {
	a, in := e.Allowance, &s.in[Client]
	a.readyAt = until
	if a.waitsSince == 0 {
		a.waitsSince = e.Now
	}
	if number := in.Messages + 1; isMessage && a.delayed != number {
		a.delayed = number
		if a.OnDelay != nil {
			a.OnDelay()
		}
	}
	in.paused |= pauseRate
	s.acts |= ActTimer
	if e.Config.ClosesOverRate {
		s.CloseBoth(e, e.Config.OverRate, ReasonRate)
	}
}

// delayDue returns when delayTimer is to be called.
func (s *Session) delayDue(e *Env) (at Instant, isDue bool) {
	if s.in[Client].paused&pauseRate == 0 {
		return 0, false
	}
	at = e.Allowance.readyAt
	if s.isOpen() {
		at = min(at, e.Allowance.waitsSince.Add(e.Config.PongTimeout[Client]))
	}
	return at, true
}

// delayTimer ends a delay. A client that can't be read for longer than pong_timeout can't show that it is alive: its session is closed.
func (s *Session) delayTimer(e *Env) {
	a := e.Allowance
	if e.Now >= a.waitsSince.Add(e.Config.PongTimeout[Client]) {
		s.CloseBoth(e, e.Config.OverRate, ReasonRate)
	}
	if e.Now >= a.readyAt {
		s.unpause(e, Client, pauseRate)
	}
}

// Hurry has what waits for a rate pass at once, in the calls of Scan until HurryEnded: it counts, and what comes later waits longer for it.
func (s *Session) Hurry(e *Env) {
	if a := e.Allowance; a != nil {
		a.isHurried = true
		s.unpause(e, Client, pauseRate)
	}
}

// HurryEnded ends Hurry.
func (s *Session) HurryEnded(e *Env) {
	if a := e.Allowance; a != nil {
		a.isHurried = false
	}
}

const (
	readAhead  = time.Second // of a rate: how much is read before it may pass
	leastRead  = 64          // bytes
	leastFrame = 2 + 4       // bytes of a client's empty message or ping
)

// ReadLimit returns how many bytes of a side the driver may read at once, most at most. What is over a rate is better left to the kernel, which
// slows the client down: what has been read has to pass within pong_timeout.
func (s *Session) ReadLimit(e *Env, from Side, most int) int {
	a := e.metered(from)
	if a == nil {
		return most
	}
	ahead := Instant(min(readAhead, e.Config.PongTimeout[Client]/2))
	limit := int64(most)
	for _, of := range []struct {
		rate Rate
		used meter
		size int64
		free int64 // bytes that the rate doesn't count
	}{
		{e.Config.MessageRate, a.messages, leastFrame, s.in[from].left},
		{e.Config.ControlRate, a.controls, leastFrame, s.in[from].left},
		{e.Config.ByteRate, a.bytes, 1, 0},
	} {
		if of.rate.PerSecond == 0 {
			continue
		}
		n := min(of.used.room(of.rate, e.Now), int64(most)) + min(of.rate.in(ahead), int64(most))
		limit = min(limit, n*of.size+min(of.free, int64(most)))
	}
	return int(min(max(limit, leastRead), int64(most)))
}
