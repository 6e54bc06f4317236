package relay

import "time"

// How long the gateway waits for the end of a side's stream once nothing more is expected of the side.
const (
	lingerTime = time.Second      // since the last byte from the side, and at least. RFC 6455 section 7.1.1 lets the server close first
	lingerMost = 30 * time.Second // in all, however much the side still sends, as nginx's lingering_time

	lingerBytes = 64 << 20 // of input: a large message that was refused is on its way, but not a flood
)

// linger ends a side's stream and waits until the side ends its own. What the side still sends is discarded: a large frame that was
// refused may take a while. Then, and also if the side never ends its stream, the connection is closed, once the peer has acknowledged
// all that went to it. A backend that has sent its close is left the first move, so that the ports in TIME_WAIT are its own.
func (s *Session) linger(e *Env, side Side) {
	out := &s.out[side]
	out.state = outEnding
	out.closedAt, out.stalledAt = e.Now, e.Now
	out.capAt = e.Now.Add(lingerMost)
	if rule := s.in[side].rule; rule >= RuleKeyUpdates {
		out.capAt = e.Now.Add(lingerTime) // a flood isn't a message that is on its way
	}
	out.unacked, out.atStall = -1, 0
	s.acts |= ActTimer
	if side == Backend && s.in[side].state == inClosed {
		s.acts |= ActNotify
	} else {
		s.acts |= actShut(side)
	}
}

// lingerDue returns when the kernel's queue for a lingering side is looked at.
func (o *output) lingerDue() Instant { return min(o.closedAt.Add(lingerTime), o.capAt) }

// lingers looks at the kernel's queue for a lingering side.
func (s *Session) lingers(e *Env, side Side, bytes int32) {
	out := &s.out[side]
	switch {
	case bytes == 0:
		s.release(side, false)
		return
	case out.unacked < 0 || bytes < out.unacked:
		out.stalledAt = e.Now
	case e.Now >= out.stalledAt.Add(e.Config.WriteTimeout):
		s.release(side, true)
		return
	}
	out.unacked, out.atStall = bytes, 0
	out.closedAt, out.capAt = e.Now, e.Now.Add(lingerMost) // the next look
}

// Leave has a session that is ending wait for nothing more: each side is told now what it would have been told later. The driver calls
// Lost for what is left afterwards.
func (s *Session) Leave(e *Env) {
	if s.verdict.Reason == 0 {
		return
	}
	for side := Client; side <= Backend; side++ {
		if s.in[side].state == inOpen {
			s.over(e, side, inSilent)
		}
	}
}

// Discarded notes that the driver has discarded n bytes that a side sent.
func (s *Session) Discarded(e *Env, side Side, n int) {
	out := &s.out[side]
	if out.state != outEnding {
		return
	}
	out.closedAt = e.Now
	if out.atStall += int32(n); out.atStall > lingerBytes {
		out.capAt = e.Now
		s.acts |= ActTimer
	}
}
