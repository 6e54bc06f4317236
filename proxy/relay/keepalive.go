package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// A pingState is where the gateway's own ping to a side is.
type pingState uint8

const (
	pingNone   pingState = iota // none is out
	pingDue                     // waits for a boundary
	pingQueued                  // in the queue
	pingSent                    // its last byte has gone: the pong's time runs
)

// keepalive is the state of the pings to one side. One ping is outstanding at most.
type keepalive struct {
	pingID    uint64  // its payload
	pingAt    Instant // when its last byte went
	waitAt    Instant // when a slow kernel queue began to be waited for; 0: not
	pingLeft  int32   // bytes that have to go before it has gone
	unacked   int32   // bytes in the kernel's queue at the last look; -1: not looked
	rttMicros uint32
	pingState pingState
}

func (k *keepalive) newPing() uint64 {
	k.pingID = rand.Uint64()
	k.pingState = pingQueued
	k.waitAt, k.unacked = 0, -1
	return k.pingID
}

// pinged notes that the ping's last byte has gone.
func (k *keepalive) pinged(now Instant) {
	k.pingLeft = 0
	k.pingAt = now
	k.pingState = pingSent
}

// ponged reads a pong; isOurs: it answers the gateway's ping. RFC 6455 section 5.5.3 lets an endpoint answer only the
// most recent ping; there never is more than one of ours.
func (s *Session) ponged(e *Env, from Side, frame []byte) (isOurs bool) {
	k := &s.out[from].keepalive
	if k.pingState < pingQueued {
		return false
	}
	var buf [maxControlPayload]byte
	p := payload(buf[:], from, frame)
	if len(p) != 8 || binary.BigEndian.Uint64(p) != k.pingID {
		return false
	}
	if k.pingState == pingSent {
		rtt := time.Duration(e.Now - k.pingAt)
		k.rttMicros = uint32(min(max(rtt/time.Microsecond, 1), 1<<32-1))
		e.Totals.RTT[from].observe(rtt)
	}
	k.pingState = pingNone
	k.pingLeft = 0
	return true
}

// keepaliveDue returns when something is to be done about the pings to a side.
func (s *Session) keepaliveDue(c *Config, side Side) (at Instant, isDue bool) {
	in, out := &s.in[side], &s.out[side]
	if c.PingInterval <= 0 || in.state != inOpen || out.state > outWanting || in.paused != 0 {
		return 0, false
	}
	switch out.pingState {
	case pingNone:
		return in.clock.Add(c.PingInterval), true
	case pingSent:
		// Half of the time is for a look at the kernel's queue, to compare with at the end.
		wait := c.PongTimeout
		if out.unacked < 0 {
			wait /= 2
		}
		return max(in.clock, out.pingAt).Add(wait), true
	}
	return 0, false
}

// keepaliveTimer acts on what keepaliveDue said is due.
func (s *Session) keepaliveTimer(e *Env, side Side) {
	in, out := &s.in[side], &s.out[side]
	if out.pingState == pingNone {
		if !s.AtBoundary(side) {
			in.clock = e.Now // the clock stops while a frame into the side is half-written, and restarts whole
			return
		}
		out.pingState = pingDue
		s.acts |= actOwn(side)
		return
	}
	if !s.AtBoundary(side) {
		out.pingAt = e.Now
		return
	}
	s.acts |= actUnacked(side)
}

// Unacked tells how many bytes the kernel still holds unacknowledged for a side, as Acts asked; 0 where nobody knows.
func (s *Session) Unacked(e *Env, side Side, bytes int) {
	out := &s.out[side]
	if out.pingState != pingSent || s.in[side].state != inOpen {
		return
	}
	before := out.unacked
	out.unacked = int32(min(bytes, 1<<31-1))
	if before < 0 {
		return
	}
	if out.waitAt == 0 {
		out.waitAt = e.Now
	}
	// A slow link may still carry what was queued in front of the ping.
	if out.unacked < before && e.Now < out.waitAt.Add(e.Config.WriteTimeout) {
		out.pingAt = e.Now
		return
	}
	s.lose(e, side, ReasonPongTimeout)
}
