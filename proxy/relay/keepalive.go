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
	pingDue                     // AppendOwn is asked to send it
	pingQueued                  // in the queue
	pingSent                    // its last byte has gone: the pong's time runs
)

// keepalive is the state of the pings to one side. One ping is outstanding at most.
type keepalive struct {
	pingAt    Instant // when its last byte went
	restartAt Instant // when the side's clock last restarted, beside what is heard of it (input.clock)
	pingLeft  int32   // bytes that have to go before it has gone
	unacked   int32   // bytes in the kernel's queue at the last look; -1: not looked in this wait, for a pong or for a close
	rttMicros uint32
	waits     uint16 // how often that queue, which still shrank, was waited for
	pingState pingState
}

// heard notes that the side is alive: the wait for it begins anew.
func (k *keepalive) heard() { k.unacked = -1 }

// untilLook returns how far into a wait the kernel's queue is looked at: half of it the first time, to compare with at the end.
func (k *keepalive) untilLook(wait time.Duration) time.Duration {
	if k.unacked < 0 {
		return wait / 2
	}
	return wait
}

// restart begins the wait for the side anew, though nothing was heard of it.
func (k *keepalive) restart(now Instant) {
	k.restartAt = now
	k.unacked = -1
}

// newPing starts a ping to a side and returns its payload: one of the session's own, not to be taken for one that passes.
func (s *Session) newPing(side Side) uint64 {
	for s.pingID == 0 {
		s.pingID = rand.Uint64()
	}
	s.out[side].pingState = pingQueued
	return s.pingID
}

// pinged notes that the ping's last byte has gone.
func (k *keepalive) pinged(now Instant) {
	k.pingLeft = 0
	k.pingAt = now
	k.pingState = pingSent
	k.unacked = -1
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
	if len(p) != 8 || binary.BigEndian.Uint64(p) != s.pingID {
		return false
	}
	if k.pingState == pingSent {
		rtt := time.Duration(e.Now - k.pingAt)
		k.rttMicros = uint32(min(max(rtt/time.Microsecond, 1), 1<<32-1))
		e.Totals.RTT[from].observe(rtt)
	}
	k.pingState = pingNone
	s.acts |= ActTimer // the next ping may be due before what is armed
	k.pingLeft = 0
	return true
}

// keepaliveDue returns when something is to be done about the pings to a side.
func (s *Session) keepaliveDue(c *Config, side Side) (at Instant, isDue bool) {
	in, out := &s.in[side], &s.out[side]
	if c.PingInterval <= 0 || in.state != inOpen || out.state > outWanting || in.paused != 0 {
		return 0, false
	}
	since := max(in.clock, out.restartAt)
	switch out.pingState {
	case pingNone:
		return since.Add(c.PingInterval), true
	case pingSent:
		return max(since, out.pingAt).Add(out.untilLook(c.PongTimeout)), true
	}
	return 0, false
}

// keepaliveTimer acts on what keepaliveDue said is due.
func (s *Session) keepaliveTimer(e *Env, side Side) {
	out := &s.out[side]
	switch {
	case !s.AtBoundary(side):
		out.restart(e.Now) // the clock stops while a frame into the side is half-written
	case out.pingState == pingNone:
		out.pingState = pingDue
		s.acts |= actOwn(side)
	default:
		s.acts |= actUnacked(side)
	}
}

// Unacked tells how many bytes the kernel still holds unacknowledged for a side; 0 where nobody knows. The driver calls it
// when Acts asks, before the next Deadline.
func (s *Session) Unacked(e *Env, side Side, bytes int) {
	out := &s.out[side]
	isClosing := out.state == outFlushed
	if out.pingState != pingSent && !isClosing || s.in[side].state != inOpen {
		return
	}
	s.acts |= ActTimer
	before := out.unacked
	out.unacked = int32(min(bytes, 1<<31-1))
	if before < 0 {
		out.waits = 0
		return
	}
	// A slow link may still carry what was queued in front of the close, or of the ping.
	if isClosing {
		if out.unacked < before {
			out.closedAt = e.Now // up to capAt
		} else {
			s.silent(e, side)
		}
		return
	}
	waits := out.waits + 1
	if out.unacked < before && waits != 0 && time.Duration(waits)*e.Config.PongTimeout <= e.Config.WriteTimeout {
		out.waits = waits
		out.restartAt = e.Now
		return
	}
	s.lose(e, side, ReasonPongTimeout)
}
