package driver

import (
	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// How a session's bytes pass through its loop: what its sockets have is read, what waits is written when they accept it. Nothing here
// ends a handling: that is settle's.

// read reads one buffer of what a side sent. isHungUp: the connection is broken, or ended in both directions.
func (l *loop) read(s slot, x *session, from relay.Side, isHungUp bool) {
	if s.socket[from].fd < 0 {
		return
	}
	if !s.core.Reads(from) {
		if isHungUp {
			l.hungUp(s, x, from)
		}
		return
	}
	isSecure := s.secured[from] != 0
	switch {
	case s.core.Discards(from) && (!isSecure || !s.core.HasClosed(from)):
		l.readFrom(&s.socket[from], x, from, len(l.buf)) // records aren't opened; but close_notify after a close is looked for
	case isSecure:
		l.readFrom(l.secure(s, from), x, from, s.readLimit(from))
	default:
		l.readPlain(s, x, from)
	}
}

// A reader is a transport of a loop. read returns what the side has sent, without blocking; n > 0 may come with an error. The error is
// errAgain if nothing is there.
type reader interface {
	read(buf []byte) (n int, err error)
}

// readFrom reads at most limit bytes of a side and returns how many came.
func (l *loop) readFrom(in reader, x *session, from relay.Side, limit int) (n int) {
	k := copy(l.buf, l.carried(x, from))
	n, err := in.read(l.buf[k:min(k+limit, len(l.buf))])
	if n > 0 {
		l.receive(x, from, l.buf[:k+n])
	}
	l.readFailed(x, from, err)
	return n
}

// readLimit is how much of what a side sent may be read without the other side's queue growing over MaxQueued.
func (s slot) readLimit(from relay.Side) int {
	if s.pending.waiting(from.Other()) > 0 {
		return highMark
	}
	return readBytes - relay.MaxCarry
}

// hungUp handles a connection that is broken while it isn't read. What it sent before may still be wanted, when the other side's queue
// falls; until then the descriptor is taken out of epoll, which would report it again and again.
func (l *loop) hungUp(s slot, x *session, side relay.Side) {
	// A stream that was shut down both ways by a peer which reads nothing is hung up but never reported writable.
	l.write(s, x, side)
	if s.core.Reads(side) {
		return // the pongs for which it wasn't read are gone
	}
	if !s.core.IsPaused(side) {
		s.core.Lost(&l.env, side)
		return
	}
	if socket := &s.socket[side]; socket.interest != notWatched {
		_ = l.poller.Del(int(socket.fd))
		socket.interest = notWatched
	}
}

// wideAfter is how much a side has to be sent until it is known to read: more than its own kernel keeps for a program that doesn't.
const wideAfter = 16 << 20

// widen lifts the bound on what the kernel accepts for a side (epoll.Tune) if the side reads. Under the bound the kernel takes large frames in
// small parts, which costs up to twice the processor time.
func (s slot) widen(to relay.Side) {
	if out := &s.socket[to]; !out.isWide && s.core.Counts(to.Other()).Bytes >= wideAfter {
		out.isWide = true
		epoll.Widen(int(out.fd))
	}
}

// write sends what waits for a side, as far as the socket accepts it.
func (l *loop) write(s slot, x *session, to relay.Side) {
	if s.secured[to] != 0 && s.core.IsShut(to) {
		l.secure(s, to).goOnEnding()
		return
	}
	if s.pending != nil && s.pending.pipe[to] != nil && !l.drainPipe(s, x, to) {
		return
	}
	l.drain(x, to)
}
