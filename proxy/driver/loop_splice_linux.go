package driver

import (
	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// The payload of large frames is moved from socket to socket by splice(2) through a pipe, without a copy. A pipe is in one of three
// places: empty in its loop's list, in use for the time of a call, or with a session while what is in it waits for its receiver. A loop has a
// few of them: each costs two descriptors, and many sessions may stand still. Without one, payload is read instead.
// One that may still hold bytes never goes back into the list; it is closed.
const (
	moveMin    = 24 << 10  // for frames of 32 KiB and more; below, a copy through the loop's buffer costs no more
	moveMax    = 512 << 10 // by one call, so that a turn stays bounded
	pipeBytes  = 1 << 20
	maxPipes   = 16      // of a loop, those that sessions hold included
	headerRead = 4 << 10 // how much is read after a large frame: the next frame's header, and little of its payload
)

// moveIn moves bytes that the side sent into a pipe.
func (s plainSocket) moveIn(p *pipe, n int) (moved int, err error) {
	return epoll.Splice(int(s.fd), p.write, n)
}

// moveOut moves what is in a pipe to the side.
func (s plainSocket) moveOut(p *pipe) (moved int, err error) {
	return epoll.Splice(p.read, int(s.fd), p.n)
}

// readPlain reads a side without TLS, or moves payload that it sent.
func (l *loop) readPlain(s slot, x *session, from relay.Side) {
	in := &s.socket[from]
	limit := s.readLimit(from)
	isAfterLarge := in.isAfterLarge
	if isAfterLarge {
		limit = headerRead
	}
	if l.move(s, x, from) {
		return
	}
	n := l.readFrom(in, x, from, limit)
	if isAfterLarge && n > 0 {
		l.send(x, from.Other())
		in.isAfterLarge = l.move(s, x, from)
	}
}

// move moves payload of the frame that a side is sending, if both sides are plain, there is much of it and nothing waits in front;
// false: it has to be read.
func (l *loop) move(s slot, x *session, from relay.Side) bool {
	to := from.Other()
	n := s.core.Movable(from)
	if n < moveMin || s.pending.waiting(to) > 0 || !s.core.Reads(from) || !s.core.IsWritable(to) {
		return false
	}
	in, isInPlain := s.plain(from)
	if _, isOutPlain := s.plain(to); !isInPlain || !isOutPlain {
		return false
	}
	p := l.acquirePipe()
	if p == nil {
		return false
	}
	moved, err := in.moveIn(p, int(min(n, moveMax)))
	if err != nil {
		l.releasePipe(p)
		if err == unix.EINVAL {
			return false // a kind of socket that doesn't support it
		}
		l.readFailed(x, from, err)
		return true
	}
	in.isAfterLarge = true
	s.core.Moved(&l.env, from, moved)
	p.n = moved
	l.queued.Add(int64(moved))
	l.acquirePending(x).pipe[to] = p
	if l.drainPipe(s, x, to); s.pending.waiting(to) > l.marks.high {
		s.core.Pause(from)
	}
	return true
}

// drainPipe sends what is in the pipe for a side, which is plain; false: something is left, or the side accepts nothing any more. What
// comes meanwhile waits in the queue after it.
func (l *loop) drainPipe(s slot, x *session, to relay.Side) bool {
	p := s.pending.pipe[to]
	out, isPlain := s.plain(to)
	if !isPlain {
		panic("BUG: a pipe for a side with TLS")
	}
	for p.n > 0 {
		n, err := out.moveOut(p)
		if err == unix.EAGAIN {
			s.core.Sent(&l.env, to, 0, s.pending.waiting(to))
			return false
		}
		if err != nil {
			l.discardPipe(s, to)
			l.writeFailed(x, to)
			return false
		}
		p.n -= n
		l.accepted(x, to, n)
	}
	s.pending.pipe[to] = nil
	l.releasePipe(p)
	return true
}

// discardPipe closes a side's pipe, with what is in it.
func (l *loop) discardPipe(s slot, to relay.Side) {
	if s.pending == nil || s.pending.pipe[to] == nil {
		return
	}
	p := s.pending.pipe[to]
	s.pending.pipe[to] = nil
	l.queued.Add(-int64(p.n))
	l.pipeCount--
	p.close()
}

// acquirePipe returns an empty pipe, or nil if the loop may have no more, or there are no descriptors left.
func (l *loop) acquirePipe() *pipe {
	if last := len(l.pipes) - 1; last >= 0 {
		p := l.pipes[last]
		l.pipes = l.pipes[:last]
		return p
	}
	if l.pipeCount == maxPipes {
		return nil
	}
	read, write, err := epoll.Pipe(pipeBytes)
	if err != nil {
		return nil
	}
	l.pipeCount++
	return &pipe{read: read, write: write}
}

// releasePipe keeps an empty pipe for the next one.
func (l *loop) releasePipe(p *pipe) { l.pipes = append(l.pipes, p) }

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
