//go:build linux

package driver

import (
	"io"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// The flow of a session's bytes through its loop: what its sockets have is read, what passes is written, what they don't take waits
// in queues. Nothing here ends a handling: that is settle's.

// read takes what a side sent, one buffer of it. isHungUp: the connection is broken or ended in both directions.
func (l *loop) read(s slot, from relay.Side, isHungUp bool) {
	switch {
	case s.fd[from] < 0:
		return
	case !s.core.Reads(from):
		if isHungUp {
			l.hungUp(s, from)
		}
		return
	case s.core.IsLingering(from):
		l.linger(s, from)
		return
	}
	if s.isSecure(from) {
		l.readTLS(s, from)
		return
	}
	limit := s.readLimit(from)
	plain, isPlain := s.plain()
	isLarge := isPlain && plain.isLarge(from)
	if isLarge {
		limit = headerRead
	}
	if isPlain && l.move(plain, from) {
		return
	}
	k := carried(s.rare, from, l.buf)
	n, err := epoll.Read(int(s.fd[from]), l.buf[k:k+limit])
	switch err {
	case nil:
		l.receive(&s.core, &s.rare, from, l.buf[:k+n])
		if isLarge {
			l.flush(s, from.Other())
			if !l.move(plain, from) {
				plain.setLarge(from, false)
			}
		}
	case unix.EAGAIN:
	case io.EOF:
		s.core.Ended(&l.env, from)
	default:
		s.core.Lost(&l.env, from)
	}
}

// readLimit is how much of what a side sent may be read without the other side's queue growing over MaxQueued.
func (s slot) readLimit(from relay.Side) int {
	if s.rare.waiting(from.Other()) > 0 {
		return highMark
	}
	return readBytes - relay.MaxCarry
}

// hungUp takes care of a connection that is broken while it isn't read. What it sent before may still be wanted, when the
// other side's queue falls; until then epoll, which would report it again and again, has to forget it.
func (l *loop) hungUp(s slot, side relay.Side) {
	// A stream that was shut down both ways by a peer who reads nothing is hung up but never reported writable.
	l.write(s, side)
	if s.core.Reads(side) {
		return // the pongs that it wasn't read for are gone
	}
	if !s.core.IsPaused(side) {
		s.core.Lost(&l.env, side)
		return
	}
	if s.interest[side] != notWatched {
		_ = l.poller.Del(int(s.fd[side]))
		s.interest[side] = notWatched
	}
}

// linger throws away what a finished side still sends.
func (l *loop) linger(s slot, side relay.Side) {
	n, err := epoll.Read(int(s.fd[side]), l.buf)
	switch err {
	case nil:
		s.core.Discarded(side, n)
	case unix.EAGAIN:
	case io.EOF:
		s.core.Ended(&l.env, side)
	default:
		s.core.Lost(&l.env, side)
	}
}

// write sends what waits for a side, as far as the socket takes it.
func (l *loop) write(s slot, to relay.Side) {
	if c := s.secure(); c != nil && c.isEnding && to == relay.Client {
		l.finish(s)
		return
	}
	if s.rare != nil && s.rare.pipe[to] != nil && !l.empty(s, to) {
		return
	}
	var slices [epoll.MaxSlices][]byte
	for s.rare != nil && s.rare.queue[to].n > 0 && s.core.IsWritable(to) {
		q := &s.rare.queue[to]
		n, err := epoll.Writev(int(s.fd[to]), q.slices(slices[:0], len(slices)))
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			l.writeFailed(s, to)
			return
		}
		q.drop(l.pools, n)
		l.queued.Add(-int64(n))
		s.core.Sent(&l.env, to, n, q.n)
		if q.n < lowMark {
			s.core.Resume(&l.env, to.Other())
		}
	}
}

// flush sends the batch for a side, behind what waits; what the socket doesn't take waits too.
func (l *loop) flush(s slot, to relay.Side) {
	b := &l.out[to]
	if s.isSecure(to) {
		if !l.seal(s, to) {
			return
		}
		defer l.sealed(to)
	}
	if b.n == 0 {
		return
	}
	defer b.reset()
	if !s.core.IsWritable(to) {
		return
	}
	spans, n := b.spans, 0
	if s.rare.waiting(to) == 0 {
		var err error
		if spans, n, err = send(int(s.fd[to]), spans); err != nil {
			l.writeFailed(s, to)
			return
		}
	}
	if left := b.n - n; left > 0 {
		q := &l.rareOf(&s.rare).queue[to]
		for _, p := range spans {
			q.append(l.pools, p)
		}
		l.queued.Add(int64(left))
		s.core.Sent(&l.env, to, n, s.rare.waiting(to))
		if s.rare.waiting(to) > highMark {
			s.core.Pause(to.Other())
		}
		return
	}
	s.core.Sent(&l.env, to, n, 0)
}

// send writes spans as far as the socket takes them and returns those that are left, the first one cut.
func send(fd int, spans [][]byte) (left [][]byte, sent int, err error) {
	for len(spans) > 0 {
		var n int
		if len(spans) == 1 {
			n, err = epoll.Write(fd, spans[0])
		} else {
			n, err = epoll.Writev(fd, spans)
		}
		if err == unix.EAGAIN {
			return spans, sent, nil
		}
		if err != nil {
			return spans, sent, err
		}
		sent += n
		for len(spans) > 0 && n >= len(spans[0]) {
			n -= len(spans[0])
			spans = spans[1:]
		}
		if n > 0 {
			spans[0] = spans[0][n:]
		}
	}
	return spans, sent, nil
}

// writeFailed notes that a side takes nothing any more.
func (l *loop) writeFailed(s slot, to relay.Side) {
	s.core.WriteFailed(&l.env, to)
	l.discard(s, to)
	s.core.Resume(&l.env, to.Other())
}

// discard throws away what waits for a side.
func (l *loop) discard(s slot, to relay.Side) {
	l.discardPipe(s, to)
	if n := l.wire.discard(s.rare, to); n > 0 {
		l.queued.Add(-int64(n))
	}
}
