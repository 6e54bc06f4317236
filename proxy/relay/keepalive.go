package relay

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

// A pingState is the state of the gateway's ping to a side: its own, or one of the other side that it mirrors.
type pingState uint8

const (
	pingNone   pingState = iota // none is outstanding
	pingDue                     // AppendOwn is to send it
	pingQueued                  // it is in the queue
	pingSent                    // its last byte has left the queue: pong_timeout runs
)

// keepalive is the state of the pings to one side. One ping is outstanding at most.
type keepalive struct {
	pingAt    Instant // when the ping's last byte left the queue
	restartAt Instant // when the side's clock last restarted for another reason than bytes from it (input.clock)
	pingLeft  int32   // bytes that have to leave the queue before the ping has left it
	unacked   int32   // bytes in the kernel's queue at the last look; -1: none yet in this wait for a pong or a close
	rttMicros uint32
	waits     uint16 // how often the wait was extended because that queue still shrank
	pingState pingState
}

// heard notes that the side is alive: the wait for it starts again.
func (k *keepalive) heard() { k.unacked = -1 }

// untilLook returns when during a wait the kernel's queue is looked at: after half of the wait, and again at its end.
func (k *keepalive) untilLook(wait time.Duration) time.Duration {
	if k.unacked < 0 {
		return wait / 2
	}
	return wait
}

// restart starts the wait for the side again, though nothing came from it.
func (k *keepalive) restart(now Instant) {
	k.restartAt = now
	k.unacked = -1
}

// newPing starts a ping to a side and returns its payload. It is the session's own: a ping that passes doesn't have it.
func (s *Session) newPing(side Side) uint64 {
	for s.pingID == 0 {
		s.pingID = rand.Uint64()
	}
	s.out[side].pingState = pingQueued
	s.out[side].mirrored = 0
	return s.pingID
}

// mayPing reports whether a ping may go to a side: none is outstanding, and the pong would be read.
func (s *Session) mayPing(side Side) bool {
	return s.out[side].pingState == pingNone && s.out[side].state <= outWanting && s.in[side].state == inOpen
}

// sumOf returns what is kept of the payload of a mirrored ping: an idle session has no room for 125 bytes. A pong that has the same sum
// by chance passes nowhere either; it only shortens the round-trip time that is measured.
func sumOf(payload []byte) uint32 { return max(crc32.ChecksumIEEE(payload), 1) }

// pinged notes that the ping's last byte has left the queue.
func (k *keepalive) pinged(now Instant) {
	k.pingLeft = 0
	k.pingAt = now
	k.pingState = pingSent
	k.unacked = -1
}

// ponged reads a pong; isOurs: it answers the gateway's ping. RFC 6455 section 5.5.3 lets an endpoint answer only the
// most recent ping; there never is more than one of ours, mirrored ones included.
func (s *Session) ponged(e *Env, from Side, frame []byte) (isOurs bool) {
	k := &s.out[from].keepalive
	if k.pingState < pingQueued {
		return false
	}
	var buf [maxControlPayload]byte
	p := payload(buf[:], from, frame)
	if sum := s.out[from].mirrored; sum != 0 {
		isOurs = sumOf(p) == sum
	} else {
		isOurs = len(p) == 8 && binary.BigEndian.Uint64(p) == s.pingID
	}
	if !isOurs {
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

// refusalTime is how long after a ping the end of a backend counts as its answer.
const refusalTime = time.Second

// refusesPings reports whether an end is that of a backend which knows no pings: it comes right after the first one, and instead of a pong.
func (s *Session) refusesPings(now Instant, v Verdict) bool {
	out := &s.out[Backend]
	return v.Initiator == ByBackend && (v.Reason != ReasonClose || v.Code == 1002) &&
		out.pingState == pingSent && out.rttMicros == 0 && now <= out.pingAt.Add(refusalTime)
}

// keepaliveDue returns when keepaliveTimer is to be called for a side.
func (s *Session) keepaliveDue(c *Config, side Side) (at Instant, isDue bool) {
	in, out := &s.in[side], &s.out[side]
	if in.state != inOpen || out.state > outWanting || in.paused != 0 {
		return 0, false
	}
	since := max(in.clock, out.restartAt)
	switch out.pingState {
	case pingNone:
		return since.Add(c.PingInterval[side]), c.PingInterval[side] > 0
	case pingSent:
		return max(since, out.pingAt).Add(out.untilLook(c.PongTimeout[side])), true
	}
	return 0, false
}

// keepaliveTimer sends a ping to a side, or checks whether the wait for the pong has failed.
func (s *Session) keepaliveTimer(e *Env, side Side) {
	out := &s.out[side]
	switch {
	case !s.AtBoundary(side):
		out.restart(e.Now) // no wait counts while a frame to the side is half-written
	case out.pingState == pingNone:
		out.pingState = pingDue
		s.acts |= actOwn(side)
	default:
		s.acts |= actUnacked(side)
	}
}

// Unacked reports the number of bytes that the kernel still holds unacknowledged for a side; 0 if that isn't known. The
// driver calls it when Acts asks for it, before the next Deadline.
func (s *Session) Unacked(e *Env, side Side, bytes int) {
	out, n := &s.out[side], int32(min(bytes, 1<<31-1))
	for t := range numTimers {
		if due, isDue := s.due(e.Config, t, side); !isDue || e.Now < due {
			continue
		}
		s.acts |= ActTimer
		switch {
		case t == timerWrite:
			s.stillAccepts(e, side, n)
		case t == timerLinger:
			s.lingers(e, side, n)
		case t == timerClose && out.state == outFlushed:
			s.stillOnItsWay(e, side, n)
		case t == timerKeepalive && out.pingState == pingSent:
			s.stillAlive(e, side, n)
		}
	}
}

// stillAlive looks at the kernel's queue during the wait for a pong.
func (s *Session) stillAlive(e *Env, side Side, bytes int32) {
	out := &s.out[side]
	before := out.unacked
	out.unacked = bytes
	if before < 0 {
		out.waits = 0
		return
	}
	// A slow link may still transmit what was queued before the ping.
	waits := out.waits + 1
	if out.unacked < before && waits != 0 && time.Duration(waits)*e.Config.PongTimeout[side] <= e.Config.WriteTimeout {
		out.waits = waits
		out.restartAt = e.Now
		return
	}
	s.lose(e, side, ReasonPongTimeout)
}
