package relay

import "time"

// A pause is a set of reasons why a side isn't read.
type pause uint8

const (
	pauseQueue pause = 1 << iota // the other side's queue is above its high mark
	pausePongs                   // the side doesn't accept the pongs that it causes
)

// Pause notes that the driver stops reading a side, because the other side's queue is above its high mark. The session
// itself pauses a side that doesn't accept its pongs (Reads).
func (s *Session) Pause(side Side) {
	if s.in[side].state == inOpen {
		s.in[side].paused |= pauseQueue
	}
}

// Resume ends Pause. The side's clocks restart: what it sent during the pause wasn't read.
func (s *Session) Resume(e *Env, side Side) { s.unpause(e, side, pauseQueue) }

// IsPaused reports whether a side isn't read at present: after Pause, or because it doesn't accept its pongs.
func (s *Session) IsPaused(side Side) bool { return s.in[side].paused != 0 }

func (s *Session) unpause(e *Env, side Side, why pause) {
	in := &s.in[side]
	if in.paused&why == 0 {
		return
	}
	in.paused &^= why
	if in.paused != 0 {
		return
	}
	in.clock = e.Now
	s.out[side].heard()
	if s.out[side].isAnswering() {
		s.out[side].closedAt = e.Now
	}
	if side == Backend && s.closeBoth.at != 0 {
		s.closeBoth.at = e.Now
	}
	s.acts |= ActTimer
}

// Sent notes that n bytes of what waited for a side entered the kernel, and that left bytes still wait. The driver calls
// it after each attempt to write, even if the kernel accepted nothing: then write_timeout starts.
func (s *Session) Sent(e *Env, to Side, n, left int) {
	out := &s.out[to]
	switch {
	case left == 0:
		out.stalledAt = 0
	case out.stalledAt == 0:
		out.stalledAt, out.atStall = e.Now, -1
		s.acts |= ActTimer
	case n > 0:
		out.stalledAt, out.atStall = e.Now, -1
	}
	if out.pingState == pingQueued {
		if out.pingLeft -= int32(min(n, 1<<30)); out.pingLeft <= 0 || left == 0 {
			out.pinged(e.Now)
			s.acts |= ActTimer
		}
	}
	if out.pongs > 0 {
		if out.pongsLeft -= int32(min(n, 1<<30)); out.pongsLeft <= 0 || left == 0 {
			out.pongs, out.pongsLeft = 0, 0
			if out.held <= maxPongs {
				s.unpause(e, to, pausePongs)
			}
		}
	}
	if left == 0 && out.state == outClosing {
		s.flushed(e, to)
	}
}

// Deadline returns when Advance has to be called next. It is at most write_timeout away: the beginning of a frame doesn't
// change the driver's timer, and yet the frame is checked in time.
func (s *Session) Deadline(e *Env) Instant {
	at := e.Now.Add(e.Config.WriteTimeout)
	for t := range numTimers {
		for side := Client; side <= Backend; side++ {
			if due, isDue := s.due(e.Config, t, side); isDue && due < at {
				at = due
			}
		}
	}
	return at
}

// Advance does what is due. The driver calls it at Deadline or later; an early call does nothing. The next Deadline is known
// once the driver has done all acts.
func (s *Session) Advance(e *Env) {
	for t := range numTimers {
		for side := Client; side <= Backend; side++ {
			if due, isDue := s.due(e.Config, t, side); isDue && e.Now >= due {
				s.expire(e, t, side)
			}
		}
	}
}

// lastResort is how many write_timeouts the end of a session may take, whatever progress it makes: every peer that accepts a byte now and
// then makes some.
const lastResort = 10

// endedFor returns when the session has been ending for that long, to the second.
func (s *Session) endedFor(d time.Duration) Instant {
	return Instant(s.judgedAt)*Instant(time.Second) + Instant(d)
}

// untilLookAtStall returns when during a stall the kernel's queue is looked at: after half of the wait, and again at its end.
func (o *output) untilLookAtStall(wait time.Duration) time.Duration {
	if o.atStall < 0 {
		return wait / 2
	}
	return wait
}

// stillAccepts looks at the kernel's queue while bytes wait for a side. The kernel accepts more only when a good part of its own queue
// has gone: a slow peer may take longer than write_timeout for that.
func (s *Session) stillAccepts(e *Env, side Side, bytes int32) {
	out := &s.out[side]
	before := out.atStall
	out.atStall = bytes
	switch {
	case before < 0:
	case bytes < before:
		out.stalledAt = e.Now
	default:
		s.lose(e, side, ReasonWriteTimeout)
	}
}

type timer uint8

const (
	timerKeepalive timer = iota
	timerWrite           // bytes wait for a side that accepts none
	timerFrame           // the rest of a frame doesn't come
	timerClose           // the answer to a close doesn't come
	timerLinger          // a lingering side doesn't end its stream
	timerIdle            // no data either way
	timerBoundary        // a close of both sides finds no boundary
	timerEnd             // the end takes too long
	numTimers
)

// due returns when a timer expires. The timers of the session as a whole are the client's.
func (s *Session) due(c *Config, t timer, side Side) (at Instant, isDue bool) {
	in, out := &s.in[side], &s.out[side]
	switch t {
	case timerKeepalive:
		return s.keepaliveDue(c, side)
	case timerWrite:
		return out.stalledAt.Add(out.untilLookAtStall(c.WriteTimeout)), out.stalledAt != 0 && out.state < outBroken
	case timerFrame:
		return in.clock.Add(c.WriteTimeout), in.state == inOpen && in.paused == 0 && (in.left > 0 || in.isPartial)
	case timerClose:
		at = out.capAt
		switch {
		case in.paused != 0: // an answer wouldn't be read
		case out.state == outFlushed:
			at = min(out.closedAt.Add(out.untilLook(c.CloseTimeout)), at)
		default:
			at = min(out.closedAt.Add(c.CloseTimeout), at)
		}
		return at, out.isAnswering() && in.state == inOpen
	case timerLinger:
		return out.lingerDue(), out.state == outEnding
	case timerIdle:
		return s.dataAt.Add(c.IdleTimeout), side == Client && c.IdleTimeout > 0 && s.isOpen()
	case timerBoundary:
		at = s.endedFor(time.Duration(1+s.closeBoth.step) * c.WriteTimeout)
		if s.in[Backend].paused == 0 {
			at = min(s.closeBoth.at.Add(c.CloseTimeout), at)
		}
		return at, side == Client && s.closeBoth.at != 0 && out.state == outWanting
	case timerEnd:
		return s.endedFor(lastResort * c.WriteTimeout), s.judgedAt != 0 && out.state != outGone
	}
	panic("BUG: no such timer")
}

// expire does what follows when a timer expires.
func (s *Session) expire(e *Env, t timer, side Side) {
	switch t {
	case timerKeepalive:
		s.keepaliveTimer(e, side)
	case timerWrite:
		s.acts |= actUnacked(side)
	case timerFrame:
		s.lose(e, side, ReasonFrameTimeout)
	case timerClose:
		if s.out[side].state == outFlushed {
			s.acts |= actUnacked(side)
			return
		}
		s.silent(e, side)
	case timerLinger:
		s.acts |= actUnacked(side)
	case timerIdle:
		s.CloseBoth(e, 1001, ReasonIdle)
	case timerBoundary:
		s.escalate(e)
	case timerEnd:
		s.lose(e, side, ReasonWriteTimeout)
	default:
		panic("BUG: no such timer")
	}
}
