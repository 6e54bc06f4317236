//go:build linux

package driver

import (
	"io"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// The payload of large frames is moved from socket to socket by splice(2) through a pipe, without a copy. A pipe is in one of three
// places: empty in its loop's list, in use for the time of a call, or with a session while what is in it waits for its receiver.
// One that may still hold bytes never goes back into the list; it is closed.
const (
	moveMin    = 24 << 10  // of frames of 32 KiB and over; below, what copying through the loop's buffer costs is no more
	moveMax    = 512 << 10 // a call, so that a turn stays bounded
	pipeBytes  = 1 << 20
	maxPipes   = 16      // empty ones that a loop keeps
	headerRead = 4 << 10 // how much is read behind a large frame: the next one's header is in it, and little of its payload
)

// A plainSlot is a slot of which both sides are plain sockets. Payload moves from socket to socket between those alone.
type plainSlot struct{ slot }

// plain returns the slot as a plain one; false: a side has TLS.
func (s slot) plain() (p plainSlot, isPlain bool) { return plainSlot{s}, s.secure() == nil }

// splicing is what a session of two plain sockets has after a large frame. Owned by the loop goroutine.
type splicing struct {
	isLarge [2]bool // the side's last frame was: most of it was moved unseen
}

func (*splicing) isTransport() {}

// isLarge reports whether a side's last frame was large.
func (p plainSlot) isLarge(from relay.Side) bool {
	sp, _ := p.transport.(*splicing)
	return sp != nil && sp.isLarge[from]
}

// setLarge notes whether a side's last frame was large.
func (p plainSlot) setLarge(from relay.Side, isLarge bool) {
	if p.transport == nil {
		p.transport = new(splicing)
	}
	sp := p.transport.(*splicing)
	sp.isLarge[from] = isLarge
	if *sp == (splicing{}) {
		p.transport = nil
	}
}

// move moves payload of the frame that a side is sending, if there is much of it and nothing waits in front; false: it has to be read.
func (l *loop) move(s plainSlot, from relay.Side) bool {
	to := from.Other()
	n := s.core.Movable(from)
	if n < moveMin || s.rare.waiting(to) > 0 || !s.core.Reads(from) || !s.core.IsWritable(to) {
		return false
	}
	p := l.takePipe()
	if p == nil {
		return false
	}
	moved, err := epoll.Splice(int(s.fd[from]), p.write, int(min(n, moveMax)))
	if err != nil {
		l.givePipe(p)
		switch err {
		case unix.EAGAIN:
			return true
		case unix.EINVAL:
			return false // a socket of a kind that can't
		case io.EOF:
			s.core.Ended(&l.env, from)
		default:
			s.core.Lost(&l.env, from)
		}
		return true
	}
	s.setLarge(from, true)
	s.core.Moved(&l.env, from, moved)
	p.n = moved
	l.queued.Add(int64(moved))
	l.rareOf(&s.rare).pipe[to] = p
	if l.empty(s.slot, to); s.rare.waiting(to) > highMark {
		s.core.Pause(from)
	}
	return true
}

// empty sends what is in the pipe for a side; false: something is left, or the side takes nothing any more. What comes meanwhile waits
// in the queue behind it.
func (l *loop) empty(s slot, to relay.Side) bool {
	p := s.rare.pipe[to]
	for p.n > 0 {
		n, err := epoll.Splice(p.read, int(s.fd[to]), p.n)
		if err == unix.EAGAIN {
			s.core.Sent(&l.env, to, 0, s.rare.waiting(to))
			return false
		}
		if err != nil {
			l.writeFailed(s, to)
			return false
		}
		p.n -= n
		l.queued.Add(-int64(n))
		waiting := s.rare.waiting(to)
		s.core.Sent(&l.env, to, n, waiting)
		if waiting < lowMark {
			s.core.Resume(&l.env, to.Other())
		}
	}
	s.rare.pipe[to] = nil
	l.givePipe(p)
	return true
}

// discardPipe throws away a side's pipe with what is in it.
func (l *loop) discardPipe(s slot, to relay.Side) {
	if s.rare == nil || s.rare.pipe[to] == nil {
		return
	}
	p := s.rare.pipe[to]
	s.rare.pipe[to] = nil
	l.queued.Add(-int64(p.n))
	p.close()
}

// takePipe returns an empty pipe; nil: there are no descriptors left.
func (l *loop) takePipe() *pipe {
	if last := len(l.pipes) - 1; last >= 0 {
		p := l.pipes[last]
		l.pipes = l.pipes[:last]
		return p
	}
	read, write, err := epoll.Pipe(pipeBytes)
	if err != nil {
		return nil
	}
	return &pipe{read: read, write: write}
}

// givePipe keeps an empty pipe for the next one.
func (l *loop) givePipe(p *pipe) {
	if len(l.pipes) == maxPipes {
		p.close()
		return
	}
	l.pipes = append(l.pipes, p)
}

// closePipes ends the list.
func (l *loop) closePipes() {
	for _, p := range l.pipes {
		p.close()
	}
	l.pipes = nil
}

func (p *pipe) close() {
	epoll.Close(p.read)
	epoll.Close(p.write)
}
